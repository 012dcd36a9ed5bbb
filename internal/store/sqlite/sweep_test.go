package sqlite_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
	"github.com/runledger/runledger/internal/store/sqlite"
)

// sealing writes sealed segments in random order, so that SQLite moves rows from page
// to page, and removes them again.
type sealing struct {
	*load
	t    *testing.T
	db   *sqlite.DB
	dir  string
	rand *rand.Rand
	next int64
	keys map[int64]store.KeyID // by segment; those that are there
}

func newSealing(t *testing.T) *sealing {
	dir := t.TempDir()
	return &sealing{load: newLoad("t-1"), t: t, db: open(t, dir), dir: dir, rand: rand.New(rand.NewPCG(1, 3)), keys: map[int64]store.KeyID{}}
}

// secret is what stands in a segment, or in its wrapped key, again and again, with secretEnd
// behind it.
func secret(what string, n int64) string { return fmt.Sprintf("%s-%06d", what, n) }

const secretName = len("seg-000000")

var secretEnd = []byte("-SECRET.")

func content(what string, n int64, times int) []byte {
	return bytes.Repeat(append([]byte(secret(what, n)), secretEnd...), times)
}

// add writes n segments under a key each, in commits of 20.
func (s *sealing) add(n int) {
	s.t.Helper()
	order := s.rand.Perm(n)
	for len(order) > 0 {
		part := order[:min(20, len(order))]
		order = order[len(part):]
		s.write(s.t, s.db, func(c *store.LogCommit) {
			for _, i := range part {
				no := s.next + int64(i)
				key := store.DataKey{
					ID: store.KeyID(s.random(16)), Scope: store.ScopePerson, Label: fmt.Sprint(no), Wrapped: content("key", no, 2+s.rand.IntN(12)),
				}
				s.keys[no] = key.ID
				c.Keys = append(c.Keys, key)
				c.Sealed = append(c.Sealed, store.SealedSegment{
					SegmentRef: store.SegmentRef{LogNo: 1, No: no}, ID: [16]byte(s.random(16)), Key: key.ID,
					Data: content("seg", no, 2+s.rand.IntN(60)*s.rand.IntN(8)),
				})
			}
		}, s.audit(map[string]any{"event_type": "PolicyEvaluated"}))
	}
	s.next += int64(n)
}

// remove takes away as many of the segments and their keys as it says.
func (s *sealing) remove(of, in int) (gone []int64) {
	s.t.Helper()
	at := s.write(s.t, s.db, nil, s.audit(map[string]any{"event_type": "ErasureExecuted"}))
	r := store.Removal{By: store.Position{LogNo: 1, Seq: at}}
	for no := range s.next {
		if key, found := s.keys[no]; found && s.rand.IntN(in) < of {
			gone = append(gone, no)
			r.Segments = append(r.Segments, store.SegmentRef{LogNo: 1, No: no})
			r.Keys = append(r.Keys, key)
			delete(s.keys, no)
		}
	}
	if err := s.db.Remove(s.t.Context(), "t-1", &r); err != nil {
		s.t.Fatal(err)
	}
	return gone
}

// file reads the database's file and says of how many pages the gap is filled.
func (s *sealing) file() (data []byte, filled int) {
	s.t.Helper()
	data, err := os.ReadFile(filepath.Join(s.dir, "runledger.db"))
	if err != nil {
		s.t.Fatal(err)
	}
	count := int64(len(data) / 4096)
	l, err := sqlite.LayoutOf(data[:4096], count)
	if err != nil {
		s.t.Fatal(err)
	}
	for no := range count {
		page := data[no*4096:][:4096]
		from, to := l.Gap(page, no+1)
		if len(bytes.Trim(page[from:to], "\x00")) > 0 {
			filled++
		}
	}
	return data, filled
}

// clean sees that nothing of what is gone is in the file, nor in the log.
func (s *sealing) clean(what string, gone []int64) {
	s.t.Helper()
	data, filled := s.file()
	if filled > 0 {
		s.t.Errorf("%s: something is left in the gaps of %d pages", what, filled)
	}
	log, err := os.ReadFile(filepath.Join(s.dir, "runledger.db-wal"))
	if err != nil && !os.IsNotExist(err) {
		s.t.Fatal(err)
	}
	found := map[string]bool{}
	for _, b := range [][]byte{data, log} {
		for at := bytes.Index(b, secretEnd); at >= 0; at = bytes.Index(b, secretEnd) {
			found[string(b[max(at-secretName, 0):at])] = true
			b = b[at+len(secretEnd):]
		}
	}
	left := 0
	for _, no := range gone {
		for _, name := range []string{"seg", "key"} {
			if found[secret(name, no)] {
				left++
			}
		}
	}
	if left > 0 {
		s.t.Errorf("%s: %d of %d segments and keys that are gone can be found", what, left, 2*len(gone))
	}
	for no := range s.keys {
		if !found[secret("seg", no)] {
			s.t.Fatalf("%s: segment %d, which stays, cannot be found", what, no)
		}
	}
}

func (s *sealing) scrub() {
	s.t.Helper()
	if err := s.db.Scrub(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
}

// TestSweep removes content whose rows SQLite has moved, also long before: secure_delete
// alone leaves pieces of some where they had stood.
func TestSweep(t *testing.T) {
	s := newSealing(t)
	s.scrub() // the first looks at all pages; what comes now is for the sweeping of the log
	missed := s.db.Missed()
	var gone []int64
	for i := range 3 {
		s.add(800) // well over 1,000 pages of the log, which begins anew meanwhile
		gone = append(gone, s.remove(1, 3)...)
		if i == 1 {
			continue // without a scrub
		}
		s.scrub()
		s.clean(fmt.Sprintf("round %d", i), gone)
	}
	if n := s.db.Missed() - missed; n != 0 {
		t.Errorf("%d times the log was taken for one that another program has checkpointed", n)
	}
	if ok := query(t, shell(t, s.dir), "PRAGMA integrity_check")[0][0]; ok != "ok" {
		t.Errorf("integrity: %s", ok)
	}
}

// TestSweepClosing sees that closing, which checkpoints, leaves nothing either.
func TestSweepClosing(t *testing.T) {
	s := newSealing(t)
	s.add(200)
	gone := s.remove(1, 2)
	closeIt(t, s.db)
	s.clean("closed", gone)
}

// TestSweepReader sees that a reader of an older state, which keeps pages out of the file, is no way
// around.
func TestSweepReader(t *testing.T) {
	s := newSealing(t)
	s.scrub()
	missed := s.db.Missed()
	s.add(400)
	snap, err := s.db.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.add(400)
	gone := s.remove(1, 2)
	s.add(400)
	closeIt(t, snap)
	s.scrub()
	s.clean("after the reader", gone)
	if n := s.db.Missed() - missed; n != 0 {
		t.Errorf("%d times the log was taken for one that another program has checkpointed", n)
	}
}

// TestSweepAll begins with a file that an older program, or another one, has checkpointed.
func TestSweepAll(t *testing.T) {
	s := newSealing(t)
	s.add(200)
	query(t, shell(t, s.dir), "PRAGMA wal_checkpoint(TRUNCATE)")
	gone := s.remove(1, 2)
	query(t, shell(t, s.dir), "PRAGMA wal_checkpoint(TRUNCATE)")
	if _, filled := s.file(); filled == 0 {
		t.Fatal("SQLite leaves nothing in gaps any more: then sweeping need not be")
	}
	s.scrub()
	s.clean("after the first scrub", gone)
}

// TestSweepFails sees that the log is checkpointed where it cannot be swept, and that the next scrub
// looks at all pages then.
func TestSweepFails(t *testing.T) {
	s := newSealing(t)
	s.scrub()
	restore := s.db.SweepFails()
	s.add(400)
	gone := s.remove(1, 2)
	if err := s.db.Scrub(t.Context()); !errors.Is(err, evidence.ErrUnavailable) { // tried again
		t.Errorf("a scrub that cannot read the log: %v, want ErrUnavailable", err)
	}
	restore()
	if _, filled := s.file(); filled == 0 {
		t.Fatal("nothing was checkpointed unswept")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.db.Scrub(ctx); !errors.Is(err, evidence.ErrUnavailable) {
		t.Errorf("a scrub for nobody: %v, want ErrUnavailable", err)
	}
	s.scrub()
	s.clean("swept after all", gone)
}

// TestSweepOther sees that it is noticed when another program checkpoints what was not swept, and that
// nothing else is taken for that.
func TestSweepOther(t *testing.T) {
	for _, pragma := range []string{"wal_checkpoint(PASSIVE)", "wal_checkpoint(RESTART)", "wal_checkpoint(TRUNCATE)"} {
		s := newSealing(t)
		s.scrub()
		missed := s.db.Missed()
		s.add(400)
		s.scrub()
		s.add(100)
		gone := s.remove(1, 2)
		s.scrub()
		if s.db.Missed() != missed {
			t.Errorf("%s: something was missed before", pragma)
		}
		sh := shell(t, s.dir)
		s.add(100)
		gone = append(gone, s.remove(1, 2)...)
		query(t, sh, "PRAGMA "+pragma)
		s.remove(0, 2) // begins the log anew
		s.scrub()
		s.clean(pragma, gone)

		// Right before a scrub, and what the shell wrote itself.
		s.add(100)
		gone = append(gone, s.remove(1, 2)...)
		s.scrub()
		query(t, sh, "CREATE TABLE IF NOT EXISTS other (a)")
		s.add(100)
		query(t, sh, "PRAGMA "+pragma)
		s.scrub()
		s.clean(pragma+" at last", gone)
	}
}

// TestSweepAutoVacuum sees that pages which are not of b-trees, and look so, are let be.
func TestSweepAutoVacuum(t *testing.T) {
	s := newSealing(t)
	s.add(20)
	closeIt(t, s.db)
	sh := shell(t, s.dir)
	query(t, sh, "PRAGMA auto_vacuum = INCREMENTAL")
	query(t, sh, "VACUUM")
	s.db = open(t, s.dir)
	s.scrub()
	var gone []int64
	for range 8 { // to more than 822 pages, where the second map is
		s.add(400)
		gone = append(gone, s.remove(1, 3)...)
		s.scrub()
		if ok := query(t, sh, "PRAGMA integrity_check(1)")[0][0]; ok != "ok" {
			t.Fatalf("integrity: %s", ok)
		}
	}
	if data, _ := s.file(); len(data) < 900*4096 {
		t.Errorf("a file of %d pages, want more", len(data)/4096)
	}
	query(t, sh, "PRAGMA incremental_vacuum") // moves pages
	s.scrub()
	s.clean("after all", gone)
}

// TestSweepPath opens by a relative name that is a symbolic link, and goes elsewhere.
func TestSweepPath(t *testing.T) {
	s := newSealing(t)
	closeIt(t, s.db)
	name, file := filepath.Join(s.dir, "runledger.db"), filepath.Join(t.TempDir(), "file.db")
	if err := errors.Join(os.Rename(name, file), os.Symlink(file, name)); err != nil {
		t.Fatal(err)
	}
	t.Chdir(s.dir)
	s.db = open(t, ".")
	t.Chdir(t.TempDir())
	s.add(20)
	s.scrub()
	if log, err := os.Stat(file + "-wal"); err != nil || log.Size() != 0 {
		t.Errorf("the log: %v, %v, want an empty one", log, err)
	}
}

func TestPointerMaps(t *testing.T) {
	for name, test := range map[string]struct {
		size, reserved int
		autoVacuum     byte
		maps, others   []int64
	}{
		"no auto_vacuum": {4096, 0, 0, nil, []int64{1, 2, 822}},
		"usual pages":    {4096, 0, 1, []int64{2, 822, 1642}, []int64{1, 3, 821, 823, 1641}},
		"part reserved":  {4096, 32, 1, []int64{2, 2 + 813}, []int64{1, 3, 822}},
		// 1<<20 + 1 is 2 + 5115*205, and the page of the locks.
		"at the locks": {1024, 0, 1, []int64{2, 207, 1<<20 + 2, 1<<20 + 206}, []int64{1 << 20, 1<<20 + 1, 1<<20 + 3, 1<<20 + 207}},
	} {
		first := make([]byte, test.size)
		first[20], first[55] = byte(test.reserved), test.autoVacuum
		l, err := sqlite.LayoutOf(first, 1<<21)
		if err != nil {
			t.Fatal(err)
		}
		for _, no := range test.maps {
			if !l.PointerMap(no) {
				t.Errorf("%s: page %d is no pointer map", name, no)
			}
		}
		for _, no := range test.others {
			if l.PointerMap(no) {
				t.Errorf("%s: page %d is a pointer map", name, no)
			}
		}
	}
	if _, err := sqlite.LayoutOf(nil, 0); !errors.Is(err, evidence.ErrTampered) {
		t.Errorf("layout of nothing: %v, want ErrTampered", err)
	}
}

func TestGap(t *testing.T) {
	page := func(at int, kind byte, cells, start uint16) []byte {
		p := make([]byte, 4096)
		p[at] = kind
		binary.BigEndian.PutUint16(p[at+3:], cells)
		binary.BigEndian.PutUint16(p[at+5:], start)
		return p
	}
	const small = 1000
	for name, test := range map[string]struct {
		page      []byte
		no, count int64
		from, to  int
	}{
		"leaf of a table":     {page(0, 13, 3, 4000), 2, small, 14, 4000},
		"leaf of an index":    {page(0, 10, 0, 4096), 2, small, 8, 4096},
		"inner of a table":    {page(0, 5, 1, 100), 2, small, 14, 100},
		"inner of an index":   {page(0, 2, 1, 14), 2, small, 14, 14},
		"the first page":      {page(100, 13, 1, 4000), 1, small, 110, 4000},
		"the schema at large": {page(100, 5, 1, 4000), 1, 1 << 31, 114, 4000},
		"no b-tree":           {page(0, 0, 3, 4000), 2, small, 0, 0},
		"pointers over rows":  {page(0, 13, 2000, 4000), 2, small, 0, 0},
		"rows over the end":   {page(0, 13, 1, 4097), 2, small, 0, 0},
		// These may be overflow pages before one of such a number.
		"inner of a large index":  {page(0, 2, 1, 4000), 2, 2 << 24, 0, 0},
		"and of one just smaller": {page(0, 2, 1, 4000), 2, 2<<24 - 1, 14, 4000},
		"leaf of a huge table":    {page(0, 13, 1, 4000), 2, 13 << 24, 0, 0},
	} {
		l, err := sqlite.LayoutOf(make([]byte, 4096), test.count)
		if err != nil {
			t.Fatal(err)
		}
		if from, to := l.Gap(test.page, test.no); from != test.from || to != test.to {
			t.Errorf("%s: %d to %d, want %d to %d", name, from, to, test.from, test.to)
		}
	}
}
