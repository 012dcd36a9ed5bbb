package verify

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/c2sp"
	"github.com/runledger/runledger/internal/zipstore"
)

// Bounds of files that are read into memory, in bytes, and of entries.
const (
	maxManifest   = 64 << 20
	maxSmall      = 1 << 20 // receipts and other texts
	maxBundle     = c2sp.TileWidth * (2 + evidence.MaxLeafSize)
	maxZIPEntries = 4096 // of profiles run and period
	minLeaf       = 64   // less than any leaf: memory is planned by leaves, so they must be there
)

const manifestPath = "manifest.json"

// Receipt files, in their order in a ZIP; they are not in the manifest.
const (
	receiptLeaf        = "receipt.leaf"
	receiptProof       = "receipt.tlog-proof"
	receiptConsistency = "receipt.consistency"
)

var receiptPaths = []string{receiptLeaf, receiptProof, receiptConsistency}

// source is a bundle as files, from a ZIP or a directory.
type source struct {
	fsys  fs.FS
	names []string // in the order of the container
	size  map[string]int64
	zip   bool
}

func zipSource(r io.ReaderAt, size int64) (*source, error) {
	z, err := zipstore.Open(r, size)
	if err != nil {
		return nil, err
	}
	s := &source{fsys: z, size: map[string]int64{}, zip: true}
	for _, e := range z.Entries() {
		s.names = append(s.names, e.Name)
		s.size[e.Name] = e.Size
	}
	return s, nil
}

// errContainer is a failure of check 1.
type errContainer string

func (e errContainer) Error() string { return string(e) }

func dirSource(fsys fs.FS) (*source, error) {
	s := &source{fsys: fsys, size: map[string]int64{}}
	err := fs.WalkDir(fsys, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if !d.Type().IsRegular() {
			return errContainer(path + " is not a regular file")
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		s.names = append(s.names, path)
		s.size[path] = info.Size()
		return nil
	})
	return s, err
}

// read reads a file of at most limit bytes, exactly as long as listed.
func (s *source) read(path string, limit int64) ([]byte, error) {
	return s.readInto(nil, path, limit)
}

func (s *source) readInto(buf []byte, path string, limit int64) ([]byte, error) {
	size, ok := s.size[path]
	if !ok {
		return nil, &fs.PathError{Op: "read", Path: path, Err: fs.ErrNotExist}
	}
	if size > limit {
		return nil, errContainer(fmt.Sprintf("%s has %d bytes; at most %d", path, size, limit))
	}
	f, err := s.fsys.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if int64(cap(buf)) < size+1 {
		// Some room, as the next bundle has another size.
		buf = make([]byte, size+1, size+1+size/8)
	}
	// One byte more than listed makes a reader notice the end, and a ZIP
	// check its CRC; and a file that has grown shows.
	n, err := io.ReadFull(f, buf[:size+1])
	ended := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
	switch {
	case err != nil && !ended:
		return nil, err
	case !ended || int64(n) != size:
		return nil, errContainer(path + " has changed while it was read")
	}
	return buf[:size], nil
}

// broken reports whether an error is about the bundle, as against the
// machine that reads it.
func broken(err error) bool {
	var c errContainer
	return errors.As(err, &c) || errors.Is(err, zipstore.ErrFormat) || errors.Is(err, fs.ErrNotExist)
}

// dirFiles are the files of one log directory.
type dirFiles struct {
	entries     int64             // number of entry bundles
	anchors     []int64           // sizes that have a .note, sorted
	stamps      []int64           // sizes that have a .tsr, sorted
	consistency []consistencyName // sorted
	records     bool
}

type consistencyName struct{ old, new int64 }

func (c consistencyName) path(dir string) string {
	return fmt.Sprintf("%s/consistency/%d-%d.add-checkpoint", dir, c.old, c.new)
}

func anchorPath(dir string, size int64, ext string) string {
	return fmt.Sprintf("%s/anchors/%d.%s", dir, size, ext)
}

// layout checks that the container holds exactly the manifest's files, each
// in a place that formats.md section 7 knows, and returns them by directory.
func (s *source) layout(m *Manifest) ([]dirFiles, error) {
	want := map[string]int64{}
	order := []string{manifestPath}
	for _, f := range m.Files {
		want[f.Path] = f.Size
		order = append(order, f.Path)
	}
	for _, path := range receiptPaths {
		if _, listed := want[path]; listed {
			return nil, errContainer("the manifest lists " + path)
		}
		if _, ok := s.size[path]; ok {
			order = append(order, path)
		}
	}
	if _, listed := want[manifestPath]; listed {
		return nil, errContainer("the manifest lists itself")
	}
	if extra := difference(s.names, order); extra != "" {
		return nil, errContainer(extra + " is not in the manifest")
	}
	if missing := difference(order, s.names); missing != "" {
		return nil, errContainer(missing + " is missing")
	}
	if s.zip {
		if n := len(s.names); n > maxZIPEntries && m.Profile != ProfileLog {
			return nil, errContainer(fmt.Sprintf("%d entries; at most %d", n, maxZIPEntries))
		}
		if !slices.Equal(s.names, order) {
			return nil, errContainer("the entries are not in their order: manifest.json, the manifest's files, the receipt")
		}
	}
	dirs := make([]dirFiles, len(m.Logs))
	for _, f := range m.Files {
		if s.size[f.Path] != f.Size {
			return nil, errContainer(fmt.Sprintf("%s has %d bytes, not the manifest's %d", f.Path, s.size[f.Path], f.Size))
		}
		if err := locate(m, dirs, f); err != nil {
			return nil, err
		}
	}
	for k := range dirs {
		if err := dirs[k].check(m, k, want); err != nil {
			return nil, err
		}
	}
	return dirs, nil
}

// difference returns a name that a has and b has not, or "".
func difference(a, b []string) string {
	have := make(map[string]bool, len(b))
	for _, name := range b {
		have[name] = true
	}
	for _, name := range a {
		if !have[name] {
			return name
		}
	}
	return ""
}

// topFiles are views and hints; they are digested and not read further.
var topFiles = map[string]int64{
	"README.txt": maxSmall, "policy": maxPolicy, "completeness.json": maxManifest,
	"report.pdf": 1 << 30, "report.html": 1 << 30,
}

// locate puts a file where it belongs, or refuses it.
func locate(m *Manifest, dirs []dirFiles, f ManifestFile) error {
	limit, ok := topFiles[f.Path]
	if !ok {
		var err error
		if limit, err = locateInDir(m, dirs, f.Path, f.Size); err != nil {
			return err
		}
	}
	if f.Size > limit {
		return errContainer(fmt.Sprintf("%s has %d bytes; at most %d", f.Path, f.Size, limit))
	}
	return nil
}

func locateInDir(m *Manifest, dirs []dirFiles, path string, size int64) (limit int64, err error) {
	unknown := errContainer(path + " has no place in a bundle")
	rest, ok := strings.CutPrefix(path, "logs/")
	number, rest, ok2 := strings.Cut(rest, "/")
	k, err := strconv.Atoi(number)
	if !ok || !ok2 || err != nil || k < 0 || k >= len(dirs) || strconv.Itoa(k) != number {
		return 0, unknown
	}
	d := &dirs[k]
	switch {
	case rest == "checkpoint":
		return c2sp.MaxNoteSize, nil
	case rest == "disclosures.jsonl" || rest == "withheld.jsonl":
		return c2sp.MaxSize, nil // read line by line
	case rest == "records.jsonl" && m.Profile != ProfileLog:
		d.records = true
		return c2sp.MaxSize, nil
	case strings.HasPrefix(rest, "tile/entries/") && m.Profile == ProfileLog:
		_, n, width, err := c2sp.ParseTilePath(rest)
		full := m.Logs[k].Size / c2sp.TileWidth
		if err != nil || n > full || n < full && width != c2sp.TileWidth || n == full && int64(width) != m.Logs[k].Size%c2sp.TileWidth {
			return 0, unknown
		}
		if size < int64(width)*minLeaf {
			return 0, errContainer(path + " is too small for its leaves")
		}
		d.entries++
		return int64(width) * (2 + evidence.MaxLeafSize), nil
	case strings.HasPrefix(rest, "anchors/"):
		name, ext, _ := strings.Cut(strings.TrimPrefix(rest, "anchors/"), ".")
		of, err := strconv.ParseInt(name, 10, 64)
		if err != nil || of < 1 || of > c2sp.MaxSize || anchorPath("", of, ext) != "/"+rest {
			return 0, unknown
		}
		switch ext {
		case "note":
			d.anchors = append(d.anchors, of)
			return c2sp.MaxNoteSize, nil
		case "tsr":
			d.stamps = append(d.stamps, of)
			return maxSmall, nil
		}
	case strings.HasPrefix(rest, "consistency/"):
		var c consistencyName
		n, err := fmt.Sscanf(rest, "consistency/%d-%d.add-checkpoint", &c.old, &c.new)
		if err == nil && n == 2 && c.path("") == "/"+rest && 0 <= c.old && c.old < c.new && c.old <= m.Logs[k].Size && c.new <= c2sp.MaxSize {
			d.consistency = append(d.consistency, c)
			return maxSmall, nil
		}
	}
	return 0, unknown
}

// check says whether a directory has what its profile needs.
func (d *dirFiles) check(m *Manifest, k int, have map[string]int64) error {
	dir := m.Logs[k].Dir
	if _, ok := have[dir+"/checkpoint"]; !ok {
		return errContainer(dir + "/checkpoint is missing")
	}
	bundles := (m.Logs[k].Size + c2sp.TileWidth - 1) / c2sp.TileWidth
	switch {
	case m.Profile == ProfileLog && d.entries != bundles:
		return errContainer(fmt.Sprintf("%s has %d of the %d entry bundles of its %d leaves", dir, d.entries, bundles, m.Logs[k].Size))
	case m.Profile != ProfileLog && !d.records:
		return errContainer(dir + "/records.jsonl is missing")
	}
	slices.Sort(d.anchors)
	slices.Sort(d.stamps)
	slices.SortFunc(d.consistency, func(a, b consistencyName) int {
		return cmp.Or(cmp.Compare(a.old, b.old), cmp.Compare(a.new, b.new))
	})
	for _, size := range d.stamps {
		if _, ok := slices.BinarySearch(d.anchors, size); !ok {
			return errContainer(anchorPath(dir, size, "tsr") + " has no note")
		}
	}
	return nil
}

// entriesWidth returns the number of leaves of bundle n of a log.
func entriesWidth(n, size int64) int {
	return int(min(size-n*c2sp.TileWidth, c2sp.TileWidth))
}
