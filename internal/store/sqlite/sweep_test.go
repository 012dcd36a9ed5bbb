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
	for no := range count {
		page := data[no*4096:][:4096]
		from, to := sqlite.Gap(page, no+1, count)
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
	s.db.SweepFails(true)
	s.add(400)
	gone := s.remove(1, 2)
	s.db.SweepFails(false)
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
		if from, to := sqlite.Gap(test.page, test.no, test.count); from != test.from || to != test.to {
			t.Errorf("%s: %d to %d, want %d to %d", name, from, to, test.from, test.to)
		}
	}
}
