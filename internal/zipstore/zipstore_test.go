package zipstore

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/runledger/runledger/internal/testneeds"
)

type item struct{ name, data string }

var sample = []item{
	{"manifest.json", `{"format":1}`},
	{"README.txt", "read me\n"},
	{"logs/0/checkpoint", ""},
	{"logs/0/tile/entries/000", strings.Repeat("leaf", 1000)},
	{"receipt.tlog-proof", "proof"},
}

func build(t testing.TB, items []item) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := NewWriter(&buf)
	for i, it := range items {
		var err error
		if i%2 == 0 {
			err = w.Add(it.name, []byte(it.data))
		} else {
			err = w.AddReader(it.name, iotest.OneByteReader(strings.NewReader(it.data)), int64(len(it.data)), crc32.ChecksumIEEE([]byte(it.data)))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	size := w.Size()
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if int64(buf.Len()) != size {
		t.Errorf("archive has %d bytes, Size said %d", buf.Len(), size)
	}
	return buf.Bytes()
}

func open(b []byte) (*Reader, error) { return Open(bytes.NewReader(b), int64(len(b))) }

func TestRoundTrip(t *testing.T) {
	b := build(t, sample)
	if again := build(t, sample); !bytes.Equal(again, b) {
		t.Error("the same entries do not give the same bytes")
	}
	z, err := open(b)
	if err != nil {
		t.Fatal(err)
	}
	var got []item
	for _, e := range z.Entries() {
		data, err := z.ReadFile(e.Name)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, item{e.Name, string(data)})
	}
	if diff := cmp.Diff(sample, got, cmp.AllowUnexported(item{})); diff != "" {
		t.Error(diff)
	}
	var names []string
	for _, it := range sample {
		names = append(names, it.name)
	}
	if err := fstest.TestFS(z, names...); err != nil {
		t.Error(err)
	}
}

func TestOpensWithArchiveZip(t *testing.T) {
	b := build(t, sample)
	z, err := zip.NewReader(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	if len(z.File) != len(sample) {
		t.Fatalf("%d files", len(z.File))
	}
	for i, f := range z.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil || f.Name != sample[i].name || string(data) != sample[i].data {
			t.Errorf("%s: %d bytes, %v", f.Name, len(data), err)
		}
		if f.Method != zip.Store || f.Flags != 0 || len(f.Extra) != 0 || f.Comment != "" || f.ModifiedDate != 0 || f.ModifiedTime != 0 {
			t.Errorf("%s: header %+v", f.Name, f.FileHeader)
		}
	}
}

func TestOpensWithUnzip(t *testing.T) {
	unzip := testneeds.Program(t, "unzip")
	dir := t.TempDir()
	path := filepath.Join(dir, "b.zip")
	if err := os.WriteFile(path, build(t, sample), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(unzip, "-q", "-d", dir, path).CombinedOutput(); err != nil {
		t.Fatalf("unzip: %v\n%s", err, out)
	}
	for _, it := range sample {
		if b, err := os.ReadFile(filepath.Join(dir, it.name)); err != nil || string(b) != it.data {
			t.Errorf("%s: %d bytes, %v", it.name, len(b), err)
		}
	}
}

func TestNames(t *testing.T) {
	for _, name := range []string{
		"", ".", "..", "/a", "a/", "a//b", "a/../b", "./a", "a/.", `a\b`, "a\x00b", "a\nb", "a b", "é", "a:b", "C:/a",
		strings.Repeat("a", MaxName+1),
	} {
		w := NewWriter(io.Discard)
		if err := w.Add(name, nil); !errors.Is(err, ErrFormat) {
			t.Errorf("name %q: %v", name, err)
		}
	}
	for _, pair := range [][2]string{{"a", "a"}, {"a", "a/b"}, {"a/b", "a"}, {"a/b/c", "a/b"}} {
		w := NewWriter(io.Discard)
		if err := w.Add(pair[0], nil); err != nil {
			t.Fatal(err)
		}
		if err := w.Add(pair[1], nil); !errors.Is(err, ErrFormat) {
			t.Errorf("%q after %q: %v", pair[1], pair[0], err)
		}
	}
}

func TestWriterRefuses(t *testing.T) {
	data := "data"
	crc := crc32.ChecksumIEEE([]byte(data))
	tests := []struct {
		name string
		size int64
		crc  uint32
	}{{"too short", 5, crc}, {"too long", 3, crc}, {"crc", 4, crc + 1}, {"negative", -1, crc}, {"4 GiB", 1 << 32, crc}}
	for _, tt := range tests {
		w := NewWriter(io.Discard)
		if err := w.AddReader("a", strings.NewReader(data), tt.size, tt.crc); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v", tt.name, err)
		}
		if err := w.Close(); err == nil {
			t.Errorf("%s: Close after a failure is nil", tt.name)
		}
	}
	w := NewWriter(io.Discard)
	if err := w.Close(); !errors.Is(err, ErrFormat) {
		t.Errorf("empty archive: %v", err)
	}
	if err := w.Add("a", nil); err == nil {
		t.Error("Add after Close is nil")
	}
}

func TestTooManyEntries(t *testing.T) {
	w := NewWriter(io.Discard)
	for i := range MaxEntries {
		if err := w.Add(fmt.Sprint(i), nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Add("x", nil); !errors.Is(err, ErrFormat) {
		t.Errorf("entry 65,536: %v", err)
	}
}

// Every altered byte of the headers is refused by Open, every altered byte
// of the data on reading.
func TestEveryByte(t *testing.T) {
	b := build(t, sample)
	for i := range b {
		for _, flip := range []byte{1, 0x80} {
			bad := bytes.Clone(b)
			bad[i] ^= flip
			z, err := open(bad)
			if err != nil {
				if !errors.Is(err, ErrFormat) {
					t.Fatalf("byte %d: %v", i, err)
				}
				continue
			}
			failed := false
			for _, e := range z.Entries() {
				_, err1 := z.ReadFile(e.Name)
				f, err := z.Open(e.Name)
				if err != nil {
					t.Fatal(err)
				}
				_, err2 := io.ReadAll(f)
				if (err1 == nil) != (err2 == nil) {
					t.Fatalf("byte %d: ReadFile %v, Read %v", i, err1, err2)
				}
				failed = failed || errors.Is(err1, ErrFormat) && errors.Is(err2, ErrFormat)
			}
			if !failed {
				t.Errorf("byte %d ^ %#x is not noticed", i, flip)
			}
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	b := build(t, sample)
	for n := range b {
		if _, err := open(b[:n]); !errors.Is(err, ErrFormat) {
			t.Fatalf("cut to %d bytes: %v", n, err)
		}
	}
	for name, bad := range map[string][]byte{
		"trailing byte":  append(bytes.Clone(b), 0),
		"leading byte":   append([]byte{0}, b...),
		"two archives":   append(bytes.Clone(b), b...),
		"gap before end": append(append(bytes.Clone(b[:len(b)-22]), 0), b[len(b)-22:]...),
	} {
		if _, err := open(bad); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Archives of other writers have descriptors, times or other versions.
	var other bytes.Buffer
	zw := zip.NewWriter(&other)
	w, err := zw.CreateHeader(&zip.FileHeader{Name: "a", Method: zip.Store})
	if err != nil {
		t.Fatal(err)
	}
	_, _ = w.Write([]byte("data"))
	if err := zw.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := open(other.Bytes()); !errors.Is(err, ErrFormat) {
		t.Errorf("archive/zip: %v", err)
	}
}

type failingReader struct{ err error }

func (f failingReader) ReadAt([]byte, int64) (int, error) { return 0, f.err }

func TestReadErrorsAreNotFormatErrors(t *testing.T) {
	broken := errors.New("disk broken")
	if _, err := Open(failingReader{broken}, 1000); !errors.Is(err, broken) || errors.Is(err, ErrFormat) {
		t.Errorf("Open = %v", err)
	}
	b := build(t, sample)
	z, err := open(b)
	if err != nil {
		t.Fatal(err)
	}
	z.r = failingReader{broken}
	if _, err := fs.ReadFile(z, "README.txt"); !errors.Is(err, broken) || errors.Is(err, ErrFormat) {
		t.Errorf("ReadFile = %v", err)
	}
}

func TestProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		names := rapid.SliceOfNDistinct(rapid.StringMatching(`[a-z]{1,3}(/[a-z0-9.]{1,3}x){0,2}`), 1, 8, rapid.ID).Draw(t, "names")
		var buf bytes.Buffer
		w := NewWriter(&buf)
		want := map[string]string{}
		for _, name := range names {
			data := rapid.SliceOf(rapid.Byte()).Draw(t, "data")
			if w.Add(name, data) != nil {
				return // a file that is also a directory
			}
			want[name] = string(data)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		z, err := open(buf.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range z.Entries() {
			if b, err := z.ReadFile(e.Name); err != nil || string(b) != want[e.Name] {
				t.Fatalf("%s: %q, %v", e.Name, b, err)
			}
		}
	})
}

// What Open accepts, and whose CRCs hold, is what the writer makes of its
// entries.
func FuzzOpen(f *testing.F) {
	f.Add(build(f, sample))
	f.Add(build(f, sample[:1]))
	f.Fuzz(func(t *testing.T, b []byte) {
		z, err := open(b)
		if err != nil {
			if !errors.Is(err, ErrFormat) {
				t.Fatalf("%v does not wrap ErrFormat", err)
			}
			return
		}
		var again bytes.Buffer
		w := NewWriter(&again)
		for _, e := range z.Entries() {
			data, err := z.ReadFile(e.Name)
			if err != nil {
				return
			}
			if err := w.Add(e.Name, data); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(again.Bytes(), b) {
			t.Fatal("an archive written again has other bytes")
		}
	})
}
