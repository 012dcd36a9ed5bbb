package postgres_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

// TestReadPages reads more than one page of everything that is read by pages:
// each row once, in order where there is one.
func TestReadPages(t *testing.T) {
	db := open(t, migrated(t))
	const total = 1500
	for _, tenant := range []string{"a", "b", "c"} { // others' rows lie on both sides
		l := newFindLoad(tenant, total)
		c := l.commit(total)
		to := &c.Logs[0]
		to.Keys = append(to.Keys, store.DataKey{ID: store.KeyID{}, Scope: store.ScopeDay, Label: "d"})
		for i := range int64(total) {
			to.Segments = append(to.Segments, store.LeafSegment{First: i, Count: 1, Data: []byte{1}})
			to.Sealed = append(to.Sealed, store.SealedSegment{SegmentRef: store.SegmentRef{LogNo: 1, No: i}, Data: []byte{1}})
			to.Runs = append(to.Runs, store.RunState{Run: fmt.Sprint("run ", total-i), NextN: i, Last: store.Position{LogNo: 1}, Open: true})
			to.Index = append(to.Index, store.IndexEntry{Name: fmt.Sprint(i % 3), MAC: [16]byte{byte(i)}, Position: store.Position{LogNo: 1, Seq: i}})
			to.Tiles = append(to.Tiles, store.Tile{Level: int(i % 2), N: i / 2, Data: []byte{1}})
		}
		if err := db.Commit(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	log := store.LogRef{Tenant: "b", No: 1}
	for i := range int64(total) {
		if err := db.KeepCheckpoint(t.Context(), log, store.Checkpoint{Size: 2*i + 1, Note: []byte{1}}); err != nil {
			t.Fatal(err)
		}
	}
	stop := errors.New("stop")
	for what, read := range map[string]func(f func(id string, order int64) error) error{
		"leaf segments": func(f func(string, int64) error) error {
			return db.Segments(t.Context(), log, 0, total, func(s store.LeafSegment) error { return f(fmt.Sprint(s.First), s.First) })
		},
		"sealed segments": func(f func(string, int64) error) error {
			return db.SealedSegments(t.Context(), log, func(s store.SealedSegment) error { return f(fmt.Sprint(s.No), s.No) })
		},
		"tiles": func(f func(string, int64) error) error {
			return db.Tiles(t.Context(), log, func(s store.Tile) error { return f(fmt.Sprint(s.Level, s.N), int64(s.Level)<<32|s.N) })
		},
		"checkpoints": func(f func(string, int64) error) error {
			return db.Checkpoints(t.Context(), log, 0, func(c store.Checkpoint) error { return f(fmt.Sprint(c.Size), c.Size) })
		},
		"record ids": func(f func(string, int64) error) error {
			return db.RecordIDs(t.Context(), "b", func(id evidence.ID, _ store.Position) error { return f(id.String(), 0) })
		},
		"index": func(f func(string, int64) error) error {
			return db.Index(t.Context(), "b", func(e store.IndexEntry) error { return f(fmt.Sprint(e), 0) })
		},
		"runs": func(f func(string, int64) error) error {
			return db.AllRuns(t.Context(), "b", func(s store.RunState) error { return f(s.Run, 0) })
		},
		"open runs": func(f func(string, int64) error) error {
			return db.OpenRuns(t.Context(), func(tenant string, s store.RunState) error {
				if tenant != "b" {
					return nil
				}
				return f(s.Run, s.NextN)
			})
		},
	} {
		seen, last := map[string]bool{}, int64(-1)
		if err := read(func(id string, order int64) error {
			if seen[id] || order < last {
				return fmt.Errorf("%s comes again, or late: %d after %d", id, order, last)
			}
			seen[id], last = true, order
			return nil
		}); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		want := total
		if what == "index" {
			want += 3 // the load's own
		}
		if len(seen) != want {
			t.Errorf("%d %s, want %d", len(seen), what, want)
		}
		n := 0
		if err := read(func(string, int64) error {
			if n++; n == 100 {
				return stop
			}
			return nil
		}); !errors.Is(err, stop) || n != 100 {
			t.Errorf("%s stopped after %d: %v", what, n, err)
		}
	}
	n := 0
	for _, kind := range evidence.Kinds() {
		if err := db.Rows(t.Context(), log, kind, 0, total, func(*store.Row) error { n++; return nil }); err != nil {
			t.Fatal(err)
		}
	}
	if n != total {
		t.Errorf("%d rows", n)
	}
}
