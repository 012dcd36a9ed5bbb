package sqlite_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

// TestScrub removes half of many sealed rows of all sizes and looks for what
// they held in the bytes of every file.
func TestScrub(t *testing.T) {
	dir := t.TempDir()
	db := open(t, dir)
	l := newLoad("t-1")
	secret := func(what string, n int64) []byte {
		return fmt.Appendf(nil, "%s-%08d-SECRET", what, n) // 15 bytes or more
	}
	const total = 160
	var keys []store.DataKey
	for batch := range int64(4) {
		c := l.commit()
		log := &c.Logs[0]
		log.Sealed = nil
		for i := range int64(total / 4) {
			n := batch*(total/4) + i
			key := store.DataKey{ID: store.KeyID(l.random(16)), Scope: store.ScopePerson, Label: fmt.Sprint(n), Wrapped: secret("key", n)}
			keys = append(keys, key)
			log.Keys = append(log.Keys, key)
			log.Sealed = append(log.Sealed, store.SealedSegment{
				SegmentRef: store.SegmentRef{LogNo: 1, No: n}, ID: [16]byte(l.random(16)), Key: key.ID,
				Data: bytes.Repeat(secret("seg", n), 1+int(n*n%300)),
			})
			log.Index = append(log.Index, store.IndexEntry{Name: "subject", MAC: [16]byte(secret("ix", n)[:16]), Position: store.Position{LogNo: 1, Seq: n}})
		}
		if err := db.Commit(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	c := l.commit()
	log := &c.Logs[0]
	log.Sealed = nil
	by := &evidence.Leaf{ID: evidence.ID(l.random(16)), Kind: evidence.KindAudit, Seq: log.Next.Size}
	by.SetFact(evidence.Fact{Field: evidence.PublicField(by.Kind, "event_type"), Str: "ErasureExecuted"})
	log.Entries = append(log.Entries, store.Entry{Leaf: by, Segment: store.NoSegment, ActorSegment: store.NoSegment})
	log.Next.Size++
	log.Removal = &store.Removal{By: store.Position{LogNo: 1, Seq: by.Seq}}
	for n := int64(0); n < total; n += 2 {
		log.Removal.Segments = append(log.Removal.Segments, store.SegmentRef{LogNo: 1, No: n})
		log.Removal.Keys = append(log.Removal.Keys, keys[n].ID)
		log.Removal.Index = append(log.Removal.Index, store.IndexEntry{Name: "subject", MAC: [16]byte(secret("ix", n)[:16]), Position: store.Position{LogNo: 1, Seq: n}})
	}
	if err := db.Commit(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if err := db.Scrub(t.Context()); err != nil {
		t.Fatal(err)
	}
	var all []byte
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		b, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b...)
	}
	for n := range int64(total) {
		for _, what := range [][]byte{secret("key", n), secret("seg", n), secret("ix", n)[:16]} {
			if found, want := bytes.Contains(all, what), n%2 == 1; found != want {
				t.Errorf("%s: found %v, want %v", what, found, want)
			}
		}
	}
}

// TestScrubBusy sees that a reader of an older state is reported.
func TestScrubBusy(t *testing.T) {
	db := open(t, t.TempDir())
	l := newLoad("t-1")
	if err := db.Commit(t.Context(), l.commit()); err != nil {
		t.Fatal(err)
	}
	snap, err := db.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Commit(t.Context(), l.commit()); err != nil {
		t.Fatal(err)
	}
	if err := db.Scrub(t.Context()); !errors.Is(err, evidence.ErrUnavailable) {
		t.Errorf("scrubbing under a reader: %v, want ErrUnavailable", err)
	}
	if err := snap.Close(); err != nil {
		t.Fatal(err)
	}
	if err := db.Scrub(t.Context()); err != nil {
		t.Error(err)
	}
}
