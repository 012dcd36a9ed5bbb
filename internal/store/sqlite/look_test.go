package sqlite_test

import (
	"context"
	"testing"
	"time"

	"github.com/runledger/runledger/internal/store/sqlite"
)

// dirty returns a deployment whose file another program has checkpointed unswept, of several looks,
// opened anew, and what was removed of it before.
func dirty(t *testing.T) (s *sealing, gone []int64) {
	t.Helper()
	s = newSealing(t)
	for range 6 {
		s.add(800)
		query(t, shell(t, s.dir), "PRAGMA wal_checkpoint(TRUNCATE)")
	}
	gone = s.remove(1, 3)
	query(t, shell(t, s.dir), "PRAGMA wal_checkpoint(TRUNCATE)")
	data, filled := s.file()
	if len(data) < 2*sqlite.LookPages*4096 || filled == 0 {
		t.Fatalf("%d pages, %d with something in the gap", len(data)/4096, filled)
	}
	closeIt(t, s.db)
	s.db = open(t, s.dir)
	return s, gone
}

// TestPrepare sees that a look beforehand is as good as that of the first scrub, which makes none then.
func TestPrepare(t *testing.T) {
	t.Parallel()
	s, gone := dirty(t)
	if err := s.db.Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, done := s.db.Looked(); !done {
		t.Error("it is not through")
	}
	s.add(100)
	gone = append(gone, s.remove(1, 3)...)
	missed := s.db.Missed()
	s.scrub()
	s.clean("prepared", gone)
	if _, done := s.db.Looked(); !done || s.db.Missed() != missed {
		t.Error("the scrub has to look again")
	}
}

// TestPrepareScrub comes with a scrub before a look is through: that goes on from there, and what is changed
// behind it is found.
func TestPrepareScrub(t *testing.T) {
	t.Parallel()
	s, gone := dirty(t)
	if more, err := s.db.LookOn(t.Context()); err != nil || !more {
		t.Fatal(more, err)
	}
	s.add(400)
	gone = append(gone, s.remove(1, 2)...)
	if next, done := s.db.Looked(); next != 1+sqlite.LookPages || done {
		t.Errorf("at page %d, through %v", next, done)
	}
	s.scrub()
	s.clean("scrubbed", gone)
}

// TestPrepareOther sees that a look begins anew where something may have come in behind it, be it written by
// another program to a log of which all was swept.
func TestPrepareOther(t *testing.T) {
	t.Parallel()
	s, gone := dirty(t)
	for range 2 {
		if more, err := s.db.LookOn(t.Context()); err != nil || !more {
			t.Fatal(more, err)
		}
	}
	missed := s.db.Missed()
	sh := shell(t, s.dir)
	query(t, sh, "CREATE TABLE other (a)")
	query(t, sh, "INSERT INTO other VALUES (zeroblob(100))")
	query(t, sh, "PRAGMA wal_checkpoint(TRUNCATE)")
	s.add(1) // sees it
	if s.db.Missed() == missed {
		t.Error("it is not noticed that another program has written")
	}
	if more, err := s.db.LookOn(t.Context()); err != nil || !more {
		t.Fatal(more, err)
	}
	if next, done := s.db.Looked(); next != 1+sqlite.LookPages || done {
		t.Errorf("at page %d, through %v", next, done)
	}
	s.scrub()
	s.clean("scrubbed", gone)
}

// TestPrepareStops sees that a look ends with who asked for it, and that the rest is done later.
func TestPrepareStops(t *testing.T) {
	t.Parallel()
	s, gone := dirty(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- s.db.Prepare(ctx) }()
	for next := int64(0); next <= 1; time.Sleep(time.Millisecond) {
		next, _ = s.db.Looked()
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	s.scrub()
	s.clean("scrubbed", gone)
}

// TestPrepareOtherAlone sees that it is noticed when another program writes and checkpoints between two scrubs in which
// this one writes nothing.
func TestPrepareOtherAlone(t *testing.T) {
	t.Parallel()
	s, gone := dirty(t)
	s.scrub()
	s.scrub()
	missed := s.db.Missed()
	s.scrub()
	if s.db.Missed() != missed {
		t.Error("something was missed before")
	}
	sh := shell(t, s.dir)
	query(t, sh, "CREATE TABLE other (a)")
	query(t, sh, "PRAGMA wal_checkpoint(TRUNCATE)")
	s.scrub()
	if s.db.Missed() == missed {
		t.Error("it is not noticed that another program has written")
	}
	s.clean("scrubbed", gone)
}
