package archive

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/c2sp"
	"github.com/runledger/runledger/internal/testneeds"
)

// memory is an object in memory.
type memory []byte

func (m memory) size() int64  { return int64(len(m)) }
func (m memory) Close() error { return nil }

func (m memory) readAt(_ context.Context, p []byte, off int64) error {
	if off < 0 || off+int64(len(p)) > int64(len(m)) {
		return evidence.ErrTampered
	}
	copy(p, m[off:])
	return nil
}

// zipOf is the log.zip of a span of the log, with what change makes of an entry.
func (l *testLog) zipOf(t testing.TB, s span, change func(id tileID, data []byte) []byte) memory {
	t.Helper()
	var out bytes.Buffer
	z, err := newZipWriter(&out)
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range s.entries() {
		var data []byte
		switch id.level {
		case noteLevel:
			data = l.note()
		case c2sp.EntriesLevel:
			for i := range int64(id.width) {
				data, _ = c2sp.AppendEntry(data, l.leaves[id.n*batchLeaves+i])
			}
		default:
			if data, err = l.tile(t.Context(), id.level, id.n, id.width); err != nil {
				t.Fatal(err)
			}
		}
		if change != nil {
			data = change(id, data)
		}
		if err := z.add(id, data); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// TestForgedLog: log.zip is well formed and fits the manifest, and has other leaves or tiles.
func TestForgedLog(t *testing.T) {
	t.Parallel()
	l := newTestLog(t, 700)
	leaf, err := evidence.ParseLeaf(l.leaves[10])
	if err != nil {
		t.Fatal(err)
	}
	leaf.OccurredAt++
	other, err := leaf.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	entries := func(change func(leaves [][]byte) [][]byte) func(id tileID, data []byte) []byte {
		return func(id tileID, data []byte) []byte {
			if id.level != c2sp.EntriesLevel || id.n != 0 {
				return data
			}
			leaves, _ := c2sp.SplitEntries(data, id.width)
			data = nil
			for _, b := range change(slices.Clone(leaves)) {
				data, _ = c2sp.AppendEntry(data, b)
			}
			return data
		}
	}
	for name, test := range map[string]struct {
		change func(id tileID, data []byte) []byte
		code   string
	}{
		"another leaf":   {entries(func(b [][]byte) [][]byte { b[10] = other; return b }), CodeInclusion},
		"leaves swapped": {entries(func(b [][]byte) [][]byte { b[10], b[11] = b[11], b[10]; return b }), CodeLeaf},
		"a leaf less":    {entries(func(b [][]byte) [][]byte { return b[1:] }), CodeLeaf},
		"a leaf more":    {entries(func(b [][]byte) [][]byte { return append(b, b[0]) }), CodeLeaf},
		"no leaf":        {entries(func(b [][]byte) [][]byte { b[3] = []byte("{}"); return b }), CodeLeaf},
		"cut off": {func(id tileID, b []byte) []byte {
			if id.level == c2sp.EntriesLevel {
				return b[:len(b)-1]
			}
			return b
		}, CodeLeaf},
		"a tile of level 0": {func(id tileID, b []byte) []byte {
			if id.level == 0 && id.n == 1 {
				b = slices.Clone(b)
				b[77]++
			}
			return b
		}, CodeInclusion},
		"a tile above": {func(id tileID, b []byte) []byte {
			if id.level == 1 {
				b = slices.Clone(b)
				b[0]++
			}
			return b
		}, CodeInclusion},
		"another checkpoint": {func(id tileID, b []byte) []byte {
			if id.level == noteLevel {
				return newTestLog(t, 3).note()
			}
			return b
		}, CodeFile},
	} {
		a := openDir(t, t.TempDir())
		u := mustWrite(t, a, l.unit(0, 700, evidence.Hash{}))
		forge(t, a, u, func(_ *manifest, f map[string][]byte) { f[logName] = l.zipOf(t, span{0, 700, 700}, test.change) })
		r := mustCheck(t, a, CheckOptions{Keys: []string{l.log.VKey}})
		if !found(r, logName, test.code) || r.Units[0].OK {
			t.Errorf("%s: %v", name, r.Findings)
		}
		// Who reads a few leaves, with the forged manifest on record, finds it too.
		u.Manifest = sha256.Sum256(mustReadFile(t, unitFiles(t, a, u)[manifestName]))
		err := a.Leaves(t.Context(), u, 0, 700, func(seq int64, leaf []byte) error {
			if !bytes.Equal(leaf, l.leaves[seq]) {
				t.Errorf("%s: leaf %d is given out", name, seq)
			}
			return nil
		})
		if !errors.Is(err, evidence.ErrTampered) && name != "another checkpoint" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestZip: what is no log.zip, though it is a ZIP.
func TestZip(t *testing.T) {
	t.Parallel()
	l := newTestLog(t, 300)
	s := span{0, 300, 300}
	good := l.zipOf(t, s, nil)
	if _, err := openZip(t.Context(), good, s); err != nil {
		t.Fatal(err)
	}
	// The library that others read it with sees the same.
	z, err := zip.NewReader(bytes.NewReader(good), good.size())
	if err != nil || len(z.File) != len(s.entries()) || z.File[0].Name != "tile/entries/000" {
		t.Fatalf("%v, %v", z.File, err)
	}
	build := func(change func(h *zip.FileHeader)) memory {
		var out bytes.Buffer
		w := zip.NewWriter(&out)
		for _, f := range z.File {
			h := f.FileHeader
			change(&h)
			dst, err := w.CreateRaw(&h)
			if err != nil {
				t.Fatal(err)
			}
			src, err := f.OpenRaw()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(dst, src); err != nil {
				t.Fatal(err)
			}
		}
		_ = w.Close()
		return out.Bytes()
	}
	first := func(change func(h *zip.FileHeader)) memory {
		n := 0
		return build(func(h *zip.FileHeader) {
			if n++; n == 1 {
				change(h)
			}
		})
	}
	for name, b := range map[string]memory{
		"a path out":     first(func(h *zip.FileHeader) { h.Name = "../../etc/passwd" }),
		"another bundle": first(func(h *zip.FileHeader) { h.Name = "tile/entries/001" }),
		"a bomb":         first(func(h *zip.FileHeader) { h.UncompressedSize64 = 1 << 40 }),
		"a large one":    first(func(h *zip.FileHeader) { h.CompressedSize64 = 1 << 40 }),
		"stored":         first(func(h *zip.FileHeader) { h.Method = zip.Store }),
		"encrypted":      first(func(h *zip.FileHeader) { h.Flags = 1 }),
		"extra":          first(func(h *zip.FileHeader) { h.Extra = []byte{9, 9, 0, 0} }),
		"comment":        first(func(h *zip.FileHeader) { h.Comment = "x" }),
		"another place":  elsewhere(good),
		"one behind":     append(slices.Clone(good), 'x'),
		"cut off":        good[:len(good)-1],
		"empty":          {},
	} {
		if _, err := openZip(t.Context(), b, s); !errors.Is(err, evidence.ErrTampered) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, size := range []int64{1, 299, 301, 1 << 19} {
		if _, err := openZip(t.Context(), good, span{0, size, size}); !errors.Is(err, evidence.ErrTampered) {
			t.Errorf("of another span: %v", err)
		}
	}
	// A size that is not the one of the data.
	for _, d := range []uint64{1, ^uint64(0)} {
		b := first(func(h *zip.FileHeader) { h.UncompressedSize64 += d })
		r, err := openZip(t.Context(), b, s)
		if err != nil {
			continue
		}
		if _, err := r.read(t.Context(), s.entries()[0]); !errors.Is(err, evidence.ErrTampered) {
			t.Errorf("another size: %v", err)
		}
	}
}

// elsewhere has the directory say that an entry stands where another one does, as a reader that goes by it would find.
func elsewhere(good memory) memory {
	b := slices.Clone(good)
	last := bytes.LastIndex(b, []byte("PK\x01\x02"))
	first := bytes.Index(b, []byte("PK\x01\x02"))
	copy(b[first+42:first+46], b[last+42:last+46])
	return b
}

func FuzzZip(f *testing.F) {
	l := newTestLog(f, 300)
	s := span{0, 300, 300}
	good := l.zipOf(f, s, nil)
	f.Add([]byte(good))
	f.Add([]byte(good[len(good)-600:]))
	f.Fuzz(func(t *testing.T, b []byte) {
		z, err := openZip(t.Context(), memory(b), s)
		if err != nil {
			if !errors.Is(err, evidence.ErrTampered) {
				t.Fatalf("error: %v", err)
			}
			return
		}
		for _, id := range s.entries() {
			if data, err := z.read(t.Context(), id); err == nil && len(data) > maxBundle {
				t.Fatalf("%s has %d bytes", id.path(), len(data))
			}
		}
	})
}

func testManifest(t testing.TB) *manifest {
	l := newTestLog(t, 1)
	f := func(path string) file { return file{path, hex.EncodeToString(make([]byte, 32)), 5} }
	return &manifest{
		Format: format, TenantID: testTenant, Log: logID{1, testOrigin, l.log.VKey}, From: 0, To: 1, CheckpointSize: 1, Kinds: map[string]kindCount{"trace": {1}},
		Files: []file{f(checkpointName), f(logName), f("trace.jsonl.gz"), f("trace.parquet")}, At: 5, FirstAt: 3, LastAt: 4,
	}
}

func TestManifest(t *testing.T) {
	t.Parallel()
	text, err := testManifest(t).marshal()
	if err != nil {
		t.Fatal(err)
	}
	if m, err := parseManifest(text); err != nil || m.name() != "acme/1-0123456789ab/000000000000-000000000001" {
		t.Fatalf("%+v, %v", m, err)
	}
	for text, says := range map[string]string{
		`{"format":"a",x`: "no JSON from byte ", `{"log":{"log_no":"one"}}`: "/log/log_no cannot be a string", `{"more":1}`: "/more is none of a unit",
	} {
		if _, err := parseManifest([]byte(text)); err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "Go ") {
			t.Errorf("%s: %v", text, err)
		}
	}
	for name, change := range map[string]func(m *manifest){
		"format":        func(m *manifest) { m.Format = "runledger archive unit v2" },
		"tenant":        func(m *manifest) { m.TenantID = "../x" },
		"origin":        func(m *manifest) { m.Log.Origin = "test.example/../../x" },
		"key":           func(m *manifest) { m.Log.VKey = newKey(t, "test.example/ba9876543210", 1) },
		"previous":      func(m *manifest) { m.Previous = "sha256:00" },
		"no previous":   func(m *manifest) { m.From, m.To, m.CheckpointSize = 1, 2, 2 },
		"previous of 0": func(m *manifest) { m.Previous = evidence.Checksum(evidence.Hash{1}) },
		"empty":         func(m *manifest) { m.To = 0 },
		"too large":     func(m *manifest) { m.To, m.CheckpointSize = maxUnit+1, maxUnit+1 },
		"size":          func(m *manifest) { m.CheckpointSize = 0 },
		"kind":          func(m *manifest) { m.Kinds = map[string]kindCount{"x": {1}} },
		"records":       func(m *manifest) { m.Kinds["trace"] = kindCount{2} },
		"path":          func(m *manifest) { m.Files[2].Path = "../../x" },
		"no file":       func(m *manifest) { m.Files = m.Files[1:] },
		"twice":         func(m *manifest) { m.Files[1] = m.Files[0] },
		"negative":      func(m *manifest) { m.Files[0].Size = -1 },
		"digest":        func(m *manifest) { m.Files[0].SHA256 = "AB" },
		"checkpoint":    func(m *manifest) { m.Files[0].Size = 1 << 30 },
		"sealed":        func(m *manifest) { m.Sealed = true },
	} {
		m := testManifest(t)
		change(m)
		text, err := m.marshal()
		if err != nil {
			continue
		}
		if _, err := parseManifest(text); !errors.Is(err, evidence.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, b := range map[string][]byte{
		"space": append([]byte(" "), text...), "behind": append(slices.Clone(text), '\n'), "empty": {},
		"another member": bytes.Replace(text, []byte(`{"at"`), []byte(`{"a":1,"at"`), 1),
		"large":          append(slices.Clone(text), bytes.Repeat([]byte(" "), maxManifest)...),
	} {
		if _, err := parseManifest(b); !errors.Is(err, evidence.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzManifest(f *testing.F) {
	text, err := testManifest(f).marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := parseManifest(b)
		if err != nil {
			return
		}
		again, err := m.marshal()
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("%s is not what it says again: %s, %v", b, again, err)
		}
		if unit, _, ok := splitName(m.name() + "/" + manifestName); !ok || unit != m.name() {
			t.Fatalf("name %q", m.name())
		}
	})
}

func packed(t testing.TB, text []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, err := z.Write(text)
	if err = errors.Join(err, z.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func FuzzLines(f *testing.F) {
	f.Add(packed(f, []byte("a\nbb\n")))
	f.Add(packed(f, []byte("a\nbb")))
	f.Add(append(packed(f, []byte("a\n")), packed(f, []byte("b\n"))...))
	f.Add(packed(f, bytes.Repeat([]byte("x"), 1<<20)))
	f.Fuzz(func(t *testing.T, b []byte) {
		const limit = 1000
		l, err := openLines(bytes.NewReader(b), int64(len(b)))
		for n := 0; err == nil && n < 1000; n++ {
			var line []byte
			if line, err = l.next(limit); err == nil && len(line) >= limit {
				t.Fatalf("a line of %d bytes", len(line))
			}
		}
	})
}

// sparse is a file of which zeros take no room.
type sparse struct {
	*os.File
	n int64
}

func (s *sparse) Write(p []byte) (int, error) {
	if len(bytes.Trim(p, "\x00")) > 0 {
		if _, err := s.WriteAt(p, s.n); err != nil {
			return 0, err
		}
	}
	s.n += int64(len(p))
	return len(p), nil
}

// TestLargeZip: a log.zip of over 4 GiB has another form of directory, and no more in it than one that is smaller.
func TestLargeZip(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it goes over 4 GiB")
	}
	s := span{0, 1040 * batchLeaves, 1040 * batchLeaves}
	f, err := os.Create(filepath.Join(t.TempDir(), "large.zip"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	file := &sparse{File: f}
	w := zip.NewWriter(file)
	zeros := make([]byte, maxBundle)
	for _, id := range s.entries() {
		h := &zip.FileHeader{Name: id.path(), Method: zip.Store, ReaderVersion: 20, UncompressedSize64: uint64(id.width * len(evidence.Hash{}))}
		switch id.level {
		case c2sp.EntriesLevel:
			h.Method, h.UncompressedSize64 = zip.Deflate, maxBundle
		case noteLevel:
			h.UncompressedSize64 = 100
		}
		h.CompressedSize64 = h.UncompressedSize64
		out, err := w.CreateRaw(h)
		if err == nil {
			_, err = out.Write(zeros[:h.CompressedSize64])
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(file.n); err != nil {
		testneeds.Missing(t, "no sparse file of that size: %v", err)
	}
	o := &fileObject{f, file.n}
	z, err := openZip(t.Context(), o, s)
	if err != nil || len(z.entries) != len(s.entries()) {
		t.Fatal(err)
	}
	// More behind it, between its parts, and other places.
	for name, change := range map[string]func() (size int64, undo func()){
		"more behind": func() (int64, func()) { return file.n + 1, func() {} },
		"another place": func() (int64, func()) {
			at := file.n - endRecord - 20 - 56 - 8 // of the offset of the last entry
			return file.n, flip(t, f, at)
		},
		"another size":   func() (int64, func()) { return file.n, flip(t, f, file.n-endRecord-20-56+40) },
		"another number": func() (int64, func()) { return file.n, flip(t, f, file.n-endRecord-20-56+32) },
		"another end":    func() (int64, func()) { return file.n, flip(t, f, file.n-endRecord-20+8) },
	} {
		size, undo := change()
		if err := f.Truncate(size); err != nil {
			t.Fatal(err)
		}
		if _, err := openZip(t.Context(), &fileObject{f, size}, s); !errors.Is(err, evidence.ErrTampered) {
			t.Errorf("%s: %v", name, err)
		}
		if undo(); f.Truncate(file.n) != nil {
			t.Fatal("truncate")
		}
	}
	if _, err := openZip(t.Context(), o, s); err != nil {
		t.Errorf("as it was: %v", err)
	}
}

// flip changes a byte of a file, and gives back what undoes that.
func flip(t *testing.T, f *os.File, at int64) (undo func()) {
	t.Helper()
	turn := func() {
		var b [1]byte
		_, err := f.ReadAt(b[:], at)
		b[0] ^= 1
		if _, werr := f.WriteAt(b[:], at); err != nil || werr != nil {
			t.Fatal(err, werr)
		}
	}
	turn()
	return turn
}
