package archive

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
	"github.com/runledger/runledger/internal/testneeds"
)

// TestNoFile: what stands in the place of a file and is none is found at once, and hides nothing else.
func TestNoFile(t *testing.T) {
	t.Parallel()
	l := newTestLog(t, 600)
	for name, put := range map[string]func(path string) error{
		"pipe":      func(path string) error { return unix.Mkfifo(path, 0o600) },
		"directory": func(path string) error { return os.Mkdir(path, 0o700) },
		"link":      func(path string) error { return os.Symlink(path+".moved", path) },
		"device":    func(path string) error { return os.Symlink("/dev/zero", path) },
	} {
		for _, object := range []string{logName, checkpointName, manifestName, "trace_step.parquet"} {
			a := openDir(t, t.TempDir())
			first := mustWrite(t, a, l.unit(0, 300, evidence.Hash{}))
			second := mustWrite(t, a, l.unit(300, 600, first.Manifest))
			path := filepath.Join(a.spec, first.Name, object)
			if err := os.Rename(path, path+".moved"); err != nil {
				t.Fatal(err)
			}
			if err := put(path); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			if err := a.Verify(ctx, first, l.log.VKey); !errors.Is(err, evidence.ErrTampered) || !strings.Contains(err.Error(), object) {
				t.Errorf("%s for %s: %v", name, object, err)
			}
			err := a.Leaves(ctx, first, 0, 300, func(int64, []byte) error { return nil })
			if object != "trace_step.parquet" && !errors.Is(err, evidence.ErrTampered) || ctx.Err() != nil {
				t.Errorf("leaves with a %s for %s: %v", name, object, err)
			}
			r, err := a.Check(ctx, CheckOptions{Keys: []string{l.log.VKey}})
			if err != nil || len(r.Units) != 2 || !found(r, object, CodeFile) || r.Records < 300 {
				t.Errorf("%s for %s: %+v, %v", name, object, r, err)
			}
			if err := a.Verify(ctx, second, l.log.VKey); err != nil {
				t.Errorf("another unit: %v", err)
			}
			cancel()
		}
	}
	// The archive itself may be a link; a tenant may not.
	a := openDir(t, t.TempDir())
	mustWrite(t, a, l.unit(0, 300, evidence.Hash{}))
	link := filepath.Join(t.TempDir(), "archive")
	if err := os.Symlink(a.spec, link); err != nil {
		t.Fatal(err)
	}
	if r := mustCheck(t, openDir(t, link), CheckOptions{Keys: []string{l.log.VKey}}); len(r.Units) != 1 || !r.Units[0].OK {
		t.Errorf("behind a link: %+v", r)
	}
	if err := os.Symlink(testTenant, filepath.Join(a.spec, "globex")); err != nil {
		t.Fatal(err)
	}
	if r := mustCheck(t, a, CheckOptions{Keys: []string{l.log.VKey}}); !found(r, "globex", CodeFile) || r.Records != 300 {
		t.Errorf("a tenant that is a link: %+v", r)
	}
	// What is beside a log's own is nobody's business of who writes that log.
	if to, err := a.Begun(t.Context(), l.log, 300, 900, evidence.Hash{1}); err != nil || to != 0 {
		t.Errorf("%d, %v", to, err)
	}
	// Nothing is written behind one.
	other := t.TempDir()
	b := openDir(t, t.TempDir())
	if err := os.Symlink(other, filepath.Join(b.spec, testTenant)); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Write(t.Context(), l.unit(0, 300, evidence.Hash{})); err == nil {
		t.Error("a unit was written behind a link")
	}
	if left, _ := os.ReadDir(other); len(left) > 0 {
		t.Errorf("behind the link stands %v", left)
	}
}

// TestHugeObjects: nothing is read of an object that is larger than one of its unit can be.
func TestHugeObjects(t *testing.T) {
	t.Parallel()
	l := newTestLog(t, 60)
	for _, object := range []string{logName, "trace_step.parquet", "trace_step.jsonl.gz"} {
		a := openDir(t, t.TempDir())
		u := mustWrite(t, a, l.unit(0, 60, evidence.Hash{}))
		path := filepath.Join(a.spec, u.Name, object)
		forge(t, a, u, func(_ *manifest, f map[string][]byte) { f[object] = append(f[object], 0) })
		text := mustReadFile(t, filepath.Join(a.spec, u.Name, manifestName))
		m, err := parseManifest(text)
		if err != nil {
			t.Fatal(err)
		}
		m.file(object).Size = 1 << 50
		if text, err = m.marshal(); err != nil {
			t.Fatal(err)
		}
		mustWriteFile(t, filepath.Join(a.spec, u.Name, manifestName), text)
		if err := os.Truncate(path, 1<<42); err != nil {
			testneeds.Missing(t, "no sparse file of that size: %v", err)
		}
		if r := mustCheck(t, a, CheckOptions{Keys: []string{l.log.VKey}}); !found(r, manifestName, CodeFile) {
			t.Errorf("%s: %v", object, r.Findings)
		}
	}
	// What a ZIP says of itself, before the library believes it.
	end := func(n uint16) []byte {
		b := make([]byte, endRecord)
		binary.LittleEndian.PutUint32(b, 0x06054b50)
		binary.LittleEndian.PutUint16(b[8:], n)
		binary.LittleEndian.PutUint16(b[10:], n)
		return b
	}
	end64 := func(n, at uint64) []byte {
		b := make([]byte, 56+20)
		binary.LittleEndian.PutUint32(b, 0x06064b50)
		binary.LittleEndian.PutUint64(b[4:], 44)
		binary.LittleEndian.PutUint64(b[24:], n)
		binary.LittleEndian.PutUint64(b[32:], n)
		binary.LittleEndian.PutUint32(b[56:], 0x07064b50)
		binary.LittleEndian.PutUint64(b[64:], at)
		return b
	}
	for name, data := range map[string][]byte{
		"many": append(make([]byte, 8<<20), end(60000)...), "very many": append(append(make([]byte, 8<<20), end64(1<<18, 8<<20)...), end(0xffff)...),
		"elsewhere": append(append(append(end64(1<<18, 0), make([]byte, 8<<20)...), end64(4, 0)...), end(0xffff)...), "nothing": nil,
	} {
		if _, err := openZip(t.Context(), memory(data), span{0, 60, 60}); !errors.Is(err, evidence.ErrTampered) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestTwoHistories: units that the log's key has signed, each by itself, are of one history.
func TestTwoHistories(t *testing.T) {
	t.Parallel()
	l, other := newTestLog(t, 900), newOtherLog(t, 900)
	for _, ends := range [][2]int64{{300, 600}, {256, 512}, {512, 900}, {255, 257}} {
		for _, second := range []*testLog{l, other} {
			a := openDir(t, t.TempDir())
			first := mustWrite(t, a, l.unit(0, ends[0], evidence.Hash{}))
			mustWrite(t, a, second.unit(ends[0], ends[1], first.Manifest))
			r := mustCheck(t, a, CheckOptions{Keys: []string{l.log.VKey}})
			if second == l && len(r.Findings) > 0 || second != l && !found(r, logName, CodeInclusion) {
				t.Errorf("units to %v, of one history: %v: %v", ends, second == l, r.Findings)
			}
		}
	}
}

// TestOneLogTwice: a log that stands below two names is that of one tenant, and which one the archive cannot tell.
func TestOneLogTwice(t *testing.T) {
	t.Parallel()
	l := newTestLog(t, 60)
	a := openDir(t, t.TempDir())
	mustWrite(t, a, l.unit(0, 60, evidence.Hash{}))
	for _, as := range []store.LogRef{{Tenant: "globex", No: 1}, {Tenant: testTenant, No: 2}} {
		b := openDir(t, t.TempDir())
		u := l.unit(0, 60, evidence.Hash{})
		u.Log.LogRef = as
		copied := mustWrite(t, b, u)
		if err := os.CopyFS(filepath.Join(a.spec, copied.Name), os.DirFS(filepath.Join(b.spec, copied.Name))); err != nil {
			t.Fatal(err)
		}
		if r := mustCheck(t, a, CheckOptions{Keys: []string{l.log.VKey}}); len(r.Findings) == 0 || !found(r, "", CodeGap) {
			t.Errorf("as %v: %v", as, r.Findings)
		}
		if err := os.RemoveAll(filepath.Join(a.spec, copied.Name)); err != nil {
			t.Fatal(err)
		}
	}
}

// TestBegun: a unit whose writer died is finished as it was begun; where it was not, it is no unit beside the one that was
// written in its place.
func TestBegun(t *testing.T) {
	t.Parallel()
	l := newTestLog(t, 900)
	a := openDir(t, t.TempDir())
	first := mustWrite(t, a, l.unit(0, 300, evidence.Hash{}))
	whole := mustWrite(t, a, l.unit(300, 500, first.Manifest))
	if to, err := a.Begun(t.Context(), l.log, 300, 900, first.Manifest); err != nil || to != 500 {
		t.Errorf("%d, %v", to, err)
	}
	if err := os.Remove(filepath.Join(a.spec, whole.Name, manifestName)); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		from, size, to int64
		prev           evidence.Hash
	}{{300, 900, 500, first.Manifest}, {300, 499, 0, first.Manifest}, {500, 900, 0, whole.Manifest}, {0, 900, 300, evidence.Hash{}}} {
		if to, err := a.Begun(t.Context(), l.log, test.from, test.size, test.prev); err != nil || to != test.to {
			t.Errorf("%+v: %d, %v", test, to, err)
		}
	}
	keys := CheckOptions{Keys: []string{l.log.VKey}}
	if r := mustCheck(t, a, keys); len(r.Findings) != 1 || r.Findings[0].Object != manifestName {
		t.Errorf("the last is not finished: %v", r.Findings)
	}
	next := mustWrite(t, a, l.unit(300, 700, first.Manifest))
	mustWrite(t, a, l.unit(700, 900, next.Manifest))
	if r := mustCheck(t, a, keys); len(r.Findings) > 0 || r.Records != 900 || len(r.Units) != 3 {
		t.Errorf("another was written: %v, %v", r.Findings, r.Units)
	}
	if to, err := a.Begun(t.Context(), l.log, 300, 900, first.Manifest); err != nil || to != 700 {
		t.Errorf("one is finished: %d, %v", to, err)
	}
	// Two that are whole, of which the next one names one; and one whose manifest is none.
	mustWrite(t, a, l.unit(300, 600, first.Manifest))
	if r := mustCheck(t, a, keys); len(r.Findings) > 0 || len(r.Units) != 4 {
		t.Errorf("two from one leaf: %v, %v", r.Findings, r.Units)
	}
	none := filepath.Join(a.spec, strings.Replace(whole.Name, "300-000000000500", "900-000000000950", 1))
	if err := os.MkdirAll(none, 0o700); err != nil {
		t.Fatal(err)
	}
	mustWriteFile(t, filepath.Join(none, manifestName), []byte("{}"))
	mustWriteFile(t, filepath.Join(none, "x"), []byte("x"))
	if to, err := a.Begun(t.Context(), l.log, 900, 1000, next.Manifest); err != nil || to != 0 {
		t.Errorf("no manifest: %d, %v", to, err)
	}
	if err := os.RemoveAll(none); err != nil {
		t.Fatal(err)
	}
	// A key of a log that is not there.
	keys.Keys = append(keys.Keys, newKey(t, "other.example/ba9876543210", 3))
	if r := mustCheck(t, a, keys); len(r.Absent) != 1 || r.Absent[0] != "other.example/ba9876543210" {
		t.Errorf("absent: %v", r.Absent)
	}
	// Another manifest than the one on record is not read.
	o := CheckOptions{Keys: []string{l.log.VKey}, Name: first.Name, Manifest: evidence.Checksum(next.Manifest)}
	if r := mustCheck(t, a, o); len(r.Findings) != 1 || !found(r, manifestName, CodeFile) || r.Records != 0 {
		t.Errorf("another manifest: %v", r.Findings)
	}
	o.Manifest = evidence.Checksum(first.Manifest)
	if r := mustCheck(t, a, o); len(r.Findings) > 0 || r.Records != 300 {
		t.Errorf("the manifest: %v", r.Findings)
	}
}
