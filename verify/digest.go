package verify

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
)

var copyBuffers = sync.Pool{New: func() any { return new([128 << 10]byte) }}

// digests is check 2: every file of the manifest has its SHA-256. The entry
// bundles of logs whose leaves will be read are left for then, so that they are
// read once.
func (c *checker) digests() error {
	var now []ManifestFile
	c.entries = map[string]*ManifestFile{}
	for i := range c.man.Files {
		f := &c.man.Files[i]
		if c.isEntries(f.Path) {
			c.entries[f.Path] = f
		} else {
			now = append(now, *f)
		}
	}
	return c.digestsOf(now)
}

// isEntries reports whether a file is an entry bundle of a log whose key is
// pinned.
func (c *checker) isEntries(path string) bool {
	if c.man.Profile != ProfileLog {
		return false
	}
	dir, _, ok := strings.Cut(path, "/tile/")
	if !ok {
		return false
	}
	k, err := strconv.Atoi(strings.TrimPrefix(dir, "logs/"))
	if err != nil || k >= len(c.man.Logs) { // other paths have not passed check 1
		return false
	}
	_, pinned := c.trust.keys[c.man.Logs[k].Origin]
	return pinned
}

// settle is called where the checks end before all entry bundles have been read,
// or where one of them failed: if one of those has another digest, that is what
// comes first.
func (c *checker) settle(before Report) error {
	var rest []ManifestFile
	for _, f := range c.man.Files {
		if c.entries[f.Path] != nil {
			rest = append(rest, f)
		}
	}
	later := c.rep
	c.rep = &before
	if err := c.digestsOf(rest); err != nil {
		return err
	}
	if !c.rep.stopped() {
		c.rep = later
	}
	return nil
}

func (c *checker) digestsOf(files []ManifestFile) error {
	total := int64(0)
	for _, f := range files {
		total += f.Size
	}
	i := 0
	next := func() (ManifestFile, error) {
		if i == len(files) {
			return ManifestFile{}, io.EOF
		}
		i++
		return files[i-1], nil
	}
	type sum struct {
		file ManifestFile
		sum  [sha256.Size]byte
		err  error
	}
	done := int64(0)
	for s, err := range inOrder(c.ctx, c.workers, next, func(f ManifestFile) sum {
		h, err := c.src.digest(f)
		return sum{f, h, err}
	}) {
		if err != nil {
			return err
		}
		if s.err != nil {
			if !broken(s.err) {
				return s.err
			}
			c.rep.add(Finding{Code: EContainer, Path: s.file.Path, Message: s.err.Error()})
			return nil
		}
		if f := s.file.differs(s.sum); f != nil {
			c.rep.add(*f)
			return nil
		}
		done += s.file.Size
		c.progress("files", done, total)
	}
	return nil
}

// differs returns a finding if that is not the file's digest.
func (f *ManifestFile) differs(sum [sha256.Size]byte) *Finding {
	got := hex.EncodeToString(sum[:])
	if got == f.SHA256 {
		return nil
	}
	return &Finding{
		Code: EFile, Path: f.Path, Expected: f.SHA256, Found: got,
		Message: "the file is not the one that the manifest lists: its SHA-256 differs",
	}
}

// digest hashes a file, which must be as long as listed.
func (s *source) digest(f ManifestFile) (sum [sha256.Size]byte, err error) {
	r, err := s.fsys.Open(f.Path)
	if err != nil {
		return sum, err
	}
	defer r.Close()
	h := sha256.New()
	buf := copyBuffers.Get().(*[128 << 10]byte)
	defer copyBuffers.Put(buf)
	n := int64(0)
	for {
		k, err := r.Read(buf[:])
		h.Write(buf[:k])
		if n += int64(k); n > f.Size {
			return sum, errContainer(f.Path + " has changed while it was read")
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return sum, err
		}
	}
	if n != f.Size {
		return sum, errContainer(fmt.Sprintf("%s has %d bytes, not the manifest's %d", f.Path, n, f.Size))
	}
	h.Sum(sum[:0])
	return sum, nil
}
