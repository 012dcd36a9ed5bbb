package sqlite_test

import (
	"os"
	"path/filepath"
	"testing"
)

// other lets another program write rows, in one transaction and in an order that makes SQLite move them.
func (s *sealing) other(rows int) {
	s.t.Helper()
	sh := shell(s.t, s.dir)
	query(s.t, sh, "PRAGMA wal_autocheckpoint = 0")
	query(s.t, sh, "BEGIN IMMEDIATE")
	query(s.t, sh, "CREATE TABLE other (no INTEGER PRIMARY KEY, data)")
	query(s.t, sh, `WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
		INSERT INTO other SELECT i * 7919 % 1000003, zeroblob(50 + i * 31 % 600) || hex(randomblob(i * 37 % 400)) FROM n`, int64(rows))
	query(s.t, sh, "COMMIT")
}

// TestSweepOtherWrites lets another program write and checkpoint when all that was in the log has been swept: only
// data_version tells.
func TestSweepOtherWrites(t *testing.T) {
	s := newSealing(t)
	s.scrub()
	s.add(20)
	if err := s.db.SweepLog(); err != nil {
		t.Fatal(err)
	}
	missed := s.db.Missed()
	s.other(2000)
	query(t, shell(t, s.dir), "PRAGMA wal_checkpoint(TRUNCATE)")
	if _, filled := s.file(); filled == 0 {
		t.Fatal("the other program leaves nothing")
	}
	s.scrub()
	if n := s.db.Missed() - missed; n != 1 {
		t.Errorf("noticed %d times, want once", n)
	}
	s.clean("written by another", nil)
}

// TestSweepMuch has more pages to sweep than are written at once, and dies between.
func TestSweepMuch(t *testing.T) {
	s := newSealing(t)
	s.scrub()
	s.add(20) // the log has begun
	s.other(16000)
	whole := s.copied()
	dir := s.copied()
	part := *s
	part.db, part.dir = open(t, dir), dir
	pages, err := part.db.SweepPart()
	if err != nil {
		t.Fatal(err)
	}
	if pages < 1500 {
		t.Fatalf("%d pages are filled, want more", pages)
	}
	died := part.copied()
	missed := s.db.Missed()
	s.scrub()
	s.clean("much", nil)
	if s.db.Missed() != missed {
		t.Error("all pages were looked at")
	}
	for what, dir := range map[string]string{"not begun": whole, "died": died} {
		s.db, s.dir = open(t, dir), dir
		s.scrub()
		s.clean(what, nil)
		if ok := query(t, shell(t, dir), "PRAGMA integrity_check")[0][0]; ok != "ok" {
			t.Errorf("%s: integrity: %s", what, ok)
		}
	}
}

// copied copies the files as a process that dies leaves them.
func (s *sealing) copied() string {
	s.t.Helper()
	dir := s.t.TempDir()
	for _, name := range []string{"runledger.db", "runledger.db-wal"} {
		b, err := os.ReadFile(filepath.Join(s.dir, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), b, 0o600)
		}
		if err != nil {
			s.t.Fatal(err)
		}
	}
	return dir
}
