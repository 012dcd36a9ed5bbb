package archive

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

// TestUnits writes units that begin and end anywhere, checks and reads them.
func TestUnits(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		size int
		ends []int64
	}{
		{1, nil},
		{255, nil},
		{256, nil},
		{257, []int64{256}},
		{700, []int64{255, 257}},
		{1024, []int64{100, 300, 1000}},
	} {
		l := newTestLog(t, test.size)
		a := openDir(t, t.TempDir())
		var prev evidence.Hash
		from := int64(0)
		for _, to := range append(test.ends, int64(test.size)) {
			u := mustWrite(t, a, l.unit(from, to, prev))
			if u.From != from || u.To != to || u.Tenant != testTenant || u.Bytes == 0 {
				t.Errorf("unit: %+v", u)
			}
			if err := a.Verify(t.Context(), u, l.log.VKey); err != nil {
				t.Error(err)
			}
			l.mustRead(a, u, from, to)
			from, prev = to, u.Manifest
		}
		r := mustCheck(t, a, CheckOptions{Keys: []string{l.log.VKey}})
		if len(r.Findings) > 0 || r.Records != int64(test.size) || !r.Units[0].OK {
			t.Errorf("%d leaves, units to %v: %+v", test.size, test.ends, r)
		}
		if r = mustCheck(t, a, CheckOptions{}); len(r.Findings) > 0 || r.Units[0].OK || r.Units[0].Signed {
			t.Errorf("without a key: %+v", r)
		}
		if left, _ := os.ReadDir(a.spool); len(left) > 0 {
			t.Errorf("the spool still has %v", left)
		}
	}
}

func (l *testLog) mustRead(a *Archive, u store.ArchiveUnit, from, to int64) {
	l.t.Helper()
	seq := from
	err := a.Leaves(context.Background(), u, from, to, func(s int64, leaf []byte) error {
		if s != seq || string(leaf) != string(l.leaves[s]) {
			l.t.Errorf("leaf %d where %d is to come", s, seq)
		}
		seq++
		return nil
	})
	if err != nil || seq != to {
		l.t.Errorf("leaves %d to %d: to %d, %v", from, to, seq, err)
	}
}

// TestSame: the same unit has the same bytes, wherever it is written.
func TestSame(t *testing.T) {
	t.Parallel()
	l := newTestLog(t, 600)
	a, b := openDir(t, t.TempDir()), openDir(t, t.TempDir())
	one, two := mustWrite(t, a, l.unit(0, 600, evidence.Hash{})), mustWrite(t, b, l.unit(0, 600, evidence.Hash{}))
	if one.Manifest != two.Manifest {
		t.Error("two archives of one unit have other manifests")
	}
	info, err := os.Stat(filepath.Join(a.spec, one.Name, logName))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if info, err = os.Stat(filepath.Join(a.spec, one.Name)); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("mode of the directory %v, %v", info.Mode(), err)
	}
}

// faulty is a destination that fails at the n-th object that is written, before or after
// it is there.
type faulty struct {
	destination
	mu     sync.Mutex // of n
	n      int
	after  bool
	change func(name string, b []byte) []byte
}

var errDisk = errors.New("the disk is full")

func (f *faulty) write(ctx context.Context, name string, r io.ReaderAt, size int64, put func(context.Context, string, io.ReaderAt, int64) error) error {
	f.mu.Lock()
	f.n--
	last := f.n == 0
	f.mu.Unlock()
	if last && !f.after {
		return unavailable(errDisk)
	}
	if f.change != nil {
		b := make([]byte, size)
		if _, err := r.ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		r, size = bytesAt(f.change(name, b))
	}
	if err := put(ctx, name, r, size); err != nil {
		return err
	}
	if last {
		return unavailable(errDisk)
	}
	return nil
}

func (f *faulty) put(ctx context.Context, name string, r io.ReaderAt, size int64) error {
	return f.write(ctx, name, r, size, f.destination.put)
}

func (f *faulty) create(ctx context.Context, name string, r io.ReaderAt, size int64) error {
	return f.write(ctx, name, r, size, f.destination.create)
}

// TestEachWriteFails fails at each point at which something is written, and goes on.
func TestEachWriteFails(t *testing.T) {
	t.Parallel()
	l := newTestLog(t, 60)
	want := mustWrite(t, openDir(t, t.TempDir()), l.unit(0, 60, evidence.Hash{}))
	points := 0
	for n := 1; points == 0; n++ {
		for _, after := range []bool{false, true} {
			a := openDir(t, t.TempDir())
			good := a.dest
			f := &faulty{destination: good, n: n, after: after}
			a.dest = f
			_, err := a.Write(t.Context(), l.unit(0, 60, evidence.Hash{}))
			if f.n > 0 {
				points = n - 1
				break
			}
			if !errors.Is(err, evidence.ErrUnavailable) || !errors.Is(err, errDisk) {
				t.Fatalf("fault %d: %v", n, err)
			}
			a.dest = good
			// By then the log has grown: the checkpoint is another one, and the time too.
			u := l.unit(0, 60, evidence.Hash{})
			u.At += 1e6
			got := mustWrite(t, a, u)
			if r := mustCheck(t, a, CheckOptions{Keys: []string{l.log.VKey}}); len(r.Findings) > 0 || !r.Units[0].OK {
				t.Errorf("fault %d, after %v: %v", n, after, r.Findings)
			}
			if got.From != want.From || got.To != want.To || got.FirstAt != want.FirstAt {
				t.Errorf("fault %d: unit %+v", n, got)
			}
		}
	}
	if points < 10 {
		t.Errorf("only %d points", points)
	}
}

// TestLeftovers: what an unfinished attempt has left is kept where it is the same, and
// replaced where it is not.
func TestLeftovers(t *testing.T) {
	t.Parallel()
	l := newTestLog(t, 300)
	a := openDir(t, t.TempDir())
	good := a.dest
	a.dest = &faulty{destination: good, n: 9}
	if _, err := a.Write(t.Context(), l.unit(0, 200, evidence.Hash{})); err == nil {
		t.Fatal("no fault")
	}
	a.dest = good
	g := newGenerator(9)
	for range 500 {
		l.append(g.leaf(int64(len(l.leaves))))
	}
	u := mustWrite(t, a, l.unit(0, 200, evidence.Hash{}))
	m, err := a.readManifest(t.Context(), u)
	if err != nil || m.CheckpointSize != 800 {
		t.Errorf("%+v, %v", m, err)
	}
	// A call that did not live to say that it is done: the unit of then is taken.
	for range 10 {
		l.append(g.leaf(int64(len(l.leaves))))
	}
	again := l.unit(0, 200, evidence.Hash{})
	again.At++
	if got := mustWrite(t, a, again); got != u {
		t.Errorf("unit %+v instead of %+v", got, u)
	}
}

func TestConflict(t *testing.T) {
	t.Parallel()
	l := newTestLog(t, 300)
	a := openDir(t, t.TempDir())
	u := mustWrite(t, a, l.unit(0, 300, evidence.Hash{}))
	other := newTestLog(t, 299)
	other.append(newGenerator(77).make(299, evidence.KindSystem)) // a fork of the log
	if _, err := a.Write(t.Context(), other.unit(0, 300, evidence.Hash{})); !errors.Is(err, evidence.ErrConflict) || !strings.Contains(err.Error(), u.Name) {
		t.Errorf("a fork: %v", err)
	}
	if err := a.Verify(t.Context(), u, l.log.VKey); err != nil {
		t.Error(err)
	}
	r, n := bytesAt([]byte("x"))
	if err := a.dest.create(t.Context(), u.Name+"/"+manifestName, r, n); !errors.Is(err, evidence.ErrConflict) {
		t.Errorf("a manifest over another: %v", err)
	}
}

// TestInvalid: what is no unit, or not what the log has signed, is not written.
func TestInvalid(t *testing.T) {
	t.Parallel()
	l := newTestLog(t, 300)
	for name, test := range map[string]struct {
		change func(u *Unit)
		want   error
	}{
		"beyond the checkpoint": {func(u *Unit) { u.To = 301 }, evidence.ErrInvalid},
		"empty":                 {func(u *Unit) { u.From = 300 }, evidence.ErrInvalid},
		"follows nothing":       {func(u *Unit) { u.From = 10 }, evidence.ErrInvalid},
		"another key":           {func(u *Unit) { u.Log.VKey = strings.Replace(u.Log.VKey, "test", "best", 1) }, evidence.ErrInvalid},
		"not signed":            {func(u *Unit) { u.Checkpoint = bytes.Replace(u.Checkpoint, []byte("300"), []byte("301"), 1) }, evidence.ErrTampered},
		"a leaf is another": {func(u *Unit) {
			u.Leaves = func(ctx context.Context, from, to int64, fn func(int64, []byte) error) error {
				return l.each(ctx, from, to, func(seq int64, leaf []byte) error {
					if seq == 77 {
						leaf = bytes.Replace(leaf, []byte(`"late":false`), []byte(`"late":true`), 1)
						leaf = bytes.Replace(leaf, []byte(`"is_synthetic":false`), []byte(`"is_synthetic":true`), 1)
					}
					return fn(seq, leaf)
				})
			}
		}, evidence.ErrTampered},
		"a leaf is missing": {func(u *Unit) {
			u.Leaves = func(ctx context.Context, from, _ int64, fn func(int64, []byte) error) error {
				return l.each(ctx, from, 299, fn)
			}
		}, evidence.ErrTampered},
		"a tile is another": {func(u *Unit) {
			u.Tile = func(ctx context.Context, level int, n int64, width int) ([]byte, error) {
				b, err := l.tile(ctx, level, n, width)
				if level == 0 && n == 0 {
					b[9]++
				}
				return b, err
			}
		}, evidence.ErrTampered},
	} {
		root := t.TempDir()
		a := openDir(t, root)
		u := l.unit(0, 300, evidence.Hash{})
		test.change(&u)
		if _, err := a.Write(t.Context(), u); !errors.Is(err, test.want) {
			t.Errorf("%s: %v", name, err)
		}
		if left, _ := os.ReadDir(root); len(left) > 0 {
			t.Errorf("%s: something was written: %v", name, left)
		}
	}
}

// TestReadBack: what is not there as it was sent is found before the unit counts.
func TestReadBack(t *testing.T) {
	t.Parallel()
	l := newTestLog(t, 60)
	for _, object := range []string{logName, checkpointName, "trace_step.parquet", "system.jsonl.gz", manifestName} {
		for name, change := range map[string]func(b []byte) []byte{
			"cut off": func(b []byte) []byte { return b[:len(b)-1] },
			"changed": func(b []byte) []byte { b[len(b)/2] ^= 1; return b },
		} {
			a := openDir(t, t.TempDir())
			a.dest = &faulty{destination: a.dest, change: func(n string, b []byte) []byte {
				if strings.HasSuffix(n, "/"+object) {
					return change(b)
				}
				return b
			}}
			_, err := a.Write(t.Context(), l.unit(0, 60, evidence.Hash{}))
			if !errors.Is(err, evidence.ErrTampered) || !strings.Contains(err.Error(), object) {
				t.Errorf("%s %s: %v", object, name, err)
			}
		}
	}
}

// late is a destination to which somebody else writes in the moment in which the log of a unit was looked for, or is
// about to be written.
type late struct {
	destination
	looked, writes func()
}

func (l *late) open(ctx context.Context, name string) (object, error) {
	o, err := l.destination.open(ctx, name)
	if f := l.looked; f != nil && filepath.Base(name) == logName {
		l.looked = nil
		f()
	}
	return o, err
}

func (l *late) create(ctx context.Context, name string, r io.ReaderAt, size int64) error {
	if f := l.writes; f != nil && filepath.Base(name) == logName {
		l.writes = nil
		f()
	}
	return l.destination.create(ctx, name, r, size)
}

// TestTwoWriters: of two that write one unit, the one that is late changes nothing of the other's, be it that it found
// nothing there or what a third one had left.
func TestTwoWriters(t *testing.T) {
	t.Parallel()
	for name, leftover := range map[string]bool{"nothing there": false, "a leftover": true} {
		root := t.TempDir()
		l := newTestLog(t, 700)
		early := l.unit(0, 512, evidence.Hash{})
		for range 100 { // the log has grown: another checkpoint
			l.append(newGenerator(9).leaf(int64(len(l.leaves))))
		}
		other := l.unit(0, 512, evidence.Hash{})
		a, b := openDir(t, root), openDir(t, root)
		whole := func() { mustWrite(t, a, early) }
		d := &late{destination: b.dest, writes: whole}
		if leftover {
			d.looked, d.writes = whole, nil
			r, n := bytesAt([]byte("x"))
			if err := a.dest.put(t.Context(), unitName(early.Log.Tenant, early.Log.No, early.Log.Origin, 0, 512)+"/"+logName, r, n); err != nil {
				t.Fatal(err)
			}
		}
		b.dest = d
		if _, err := b.Write(t.Context(), other); !errors.Is(err, evidence.ErrConflict) {
			t.Errorf("%s: the late one: %v", name, err)
		}
		if r := mustCheck(t, a, CheckOptions{}); len(r.Findings) > 0 {
			t.Errorf("%s: %v", name, r.Findings)
		}
	}
}
