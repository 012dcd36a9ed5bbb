package move_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/move"
	"github.com/runledger/runledger/internal/store"
)

// TestCopy moves a deployment of everything from each backend to each, and goes on
// there.
func TestCopy(t *testing.T) {
	for from := range backends {
		for to := range backends {
			t.Run(from+" to "+to, func(t *testing.T) {
				t.Parallel()
				d, other := source(t, from), backends[to](t)
				report, err := d.copyTo(t, other, func(cfg *move.Config) { cfg.ChunkLeaves = 300 })
				if err != nil {
					t.Fatal(err)
				}
				if report.Resumed || report.Copied != report.Leaves || report.Leaves < 700 || report.Logs < 7 || report.Tenants < 4 {
					t.Errorf("%+v", report)
				}
				for name, rows := range tables(report) {
					if rows == 0 {
						t.Errorf("there are no %s in it: that shows nothing", name)
					}
				}
				if report.Destination.Erased == 0 || report.Destination.Erased != report.Source.Erased {
					t.Errorf("%d and %d fields are erased", report.Source.Erased, report.Destination.Erased)
				}
				goOn(t, d, d.at(other))
			})
		}
	}
}

// goOn sees that the source cannot be opened any more, and that the copy works.
func goOn(t *testing.T, was, is deployment) {
	t.Helper()
	if _, _, err := was.ledger(t); !errors.Is(err, evidence.ErrForbidden) {
		t.Errorf("the source can be opened: %v", err)
	}
	is.use(t, func(l *ledger.Ledger, db store.Store) {
		again := appendTo(t, l, "acme", step(3, 5, fmt.Sprintf(content, 4, 3)))
		if !again[0].Duplicate && again[0].ConflictOf == (evidence.ID{}) {
			t.Errorf("a span that is there came anew: %+v", again[0])
		}
		appendTo(t, l, "acme", step(3, 500, fmt.Sprintf(content, 4, 2)), step(900, 1, ""))
		if _, err := l.Rollover(context.Background(), "0"); err != nil {
			t.Error(err)
		}
		erase(t, l, ledger.Erasure{By: "op", Reason: "asked", Person: "ada-3"})
		refuseErased(t, db)
	})
	if _, err := is.copyTo(t, sqliteSide(t)); err != nil { // which verifies it
		t.Errorf("copied on: %v", err)
	}
}

// refuseErased sees that what was erased does not come back here either.
func refuseErased(t *testing.T, db store.Store) {
	t.Helper()
	ctx := context.Background()
	head, err := db.Head(ctx, store.LogRef{Tenant: "acme", No: 3})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	err = db.Removals(ctx, "acme", func(r store.Removed) error {
		if r.What == store.RemovedKey {
			n++
			c := store.LogCommit{Log: store.LogRef{Tenant: "acme", No: 3}, Prev: head, Next: head, Keys: []store.DataKey{{ID: store.KeyID(r.ID), Scope: "day", Label: "x", Wrapped: []byte{1}}}}
			defer func() {
				if err := db.Commit(ctx, &store.Commit{Logs: []store.LogCommit{c}}); !errors.Is(err, evidence.ErrConflict) {
					t.Errorf("a destroyed key came back: %v", err)
				}
			}()
		}
		return nil
	})
	if err != nil || n == 0 {
		t.Errorf("%d keys are known to be destroyed, %v", n, err)
	}
}

// TestThereAndBack moves to the other backend and back, and compares with what it
// was: nothing may be lost on the way.
func TestThereAndBack(t *testing.T) {
	t.Parallel()
	first, there, back := source(t, "sqlite"), postgresSide(t), sqliteSide(t)
	if _, err := first.copyTo(t, there); err != nil {
		t.Fatal(err)
	}
	if _, err := first.at(there).copyTo(t, back); err != nil {
		t.Fatal(err)
	}
	// What came back is what the first one is: a comparison, since nothing is missing.
	report, err := first.at(back).copyTo(t, first.side, func(cfg *move.Config) { cfg.Rehearse = true })
	if !errors.Is(err, move.ErrOccupied) {
		t.Fatalf("the first one, which went elsewhere, was taken for a copy: %+v %v", report, err)
	}
	set(t, first.side, move.Mark{State: move.Rehearsed, Other: back.name})
	report, err = first.at(back).copyTo(t, first.side, func(cfg *move.Config) { cfg.Rehearse = true })
	if err != nil || report.Copied != 0 || !report.Resumed {
		t.Fatalf("there and back: %+v, %v", report, err)
	}
}

// TestTakenBack copies, and gives the place back as long as nobody used the copy.
func TestTakenBack(t *testing.T) {
	t.Parallel()
	d, other := source(t, "sqlite"), sqliteSide(t)
	if _, err := d.copyTo(t, other); err != nil {
		t.Fatal(err)
	}
	again, err := d.copyTo(t, other)
	if err != nil || !again.Resumed || again.Copied != 0 {
		t.Fatalf("the same call again: %+v %v", again, err)
	}
	if _, err := d.at(other).copyTo(t, d.side); err != nil {
		t.Fatal(err)
	}
	d.use(t, func(l *ledger.Ledger, _ store.Store) { appendTo(t, l, "acme", step(77, 1, "")) })
	if _, _, err := d.at(other).ledger(t); !errors.Is(err, evidence.ErrForbidden) {
		t.Errorf("both can be opened: %v", err)
	}
	if _, err := d.copyTo(t, other); !errors.Is(err, move.ErrOccupied) {
		t.Errorf("over a copy that is older: %v", err)
	}
}

func TestRehearsal(t *testing.T) {
	t.Parallel()
	d, other, third := source(t, "sqlite"), sqliteSide(t), sqliteSide(t)
	rehearse := func(cfg *move.Config) { cfg.Rehearse = true }
	if _, err := d.copyTo(t, other, rehearse); err != nil {
		t.Fatal(err)
	}
	if _, _, err := d.at(other).ledger(t); !errors.Is(err, evidence.ErrForbidden) {
		t.Errorf("a rehearsal can be opened: %v", err)
	}
	if _, err := d.at(other).copyTo(t, third); !errors.Is(err, evidence.ErrForbidden) {
		t.Errorf("a rehearsal was moved: %v", err)
	}
	// It can take the place of its source while that did not go on.
	if report, err := d.copyTo(t, other); err != nil || report.Copied != 0 {
		t.Fatalf("%+v %v", report, err)
	}
	if _, err := d.copyTo(t, third); !errors.Is(err, evidence.ErrForbidden) {
		t.Errorf("what moved was moved once more: %v", err)
	}
	if _, err := d.copyTo(t, third, rehearse); err != nil {
		t.Errorf("a rehearsal of what moved: %v", err)
	}
	goOn(t, d, d.at(other))
	// By the anchor they share it is a restored backup now.
	if _, err := d.copyTo(t, sqliteSide(t), rehearse); !errors.Is(err, evidence.ErrTampered) {
		t.Errorf("a rehearsal of what moved and went on: %v", err)
	}
}

func TestAnchors(t *testing.T) {
	t.Parallel()
	d, other := source(t, "sqlite"), sqliteSide(t)
	from, err := ledger.NewDirAnchor(d.anchor)
	if err != nil {
		t.Fatal(err)
	}
	origins, err := from.Origins()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := from.KeepFork(origins[0], []byte("ours\n"), []byte("seen\n")); err != nil {
		t.Fatal(err)
	}
	elsewhere := filepath.Join(t.TempDir(), "anchor")
	to, err := ledger.NewDirAnchor(elsewhere)
	if err != nil {
		t.Fatal(err)
	}
	use := func(cfg *move.Config) { cfg.ToAnchor = to }
	if err := to.Write(origins[0], []byte("another\n")); err != nil {
		t.Fatal(err)
	}
	if _, err := d.copyTo(t, other, use); !errors.Is(err, move.ErrOccupied) {
		t.Fatalf("over another anchor: %v", err)
	}
	note, err := from.Read(origins[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := to.Write(origins[0], note); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := d.copyTo(t, other, use); err != nil {
			t.Fatal(err)
		}
		for _, origin := range origins {
			a, errA := from.Read(origin)
			b, errB := to.Read(origin)
			if errA != nil || errB != nil || string(a) != string(b) {
				t.Errorf("anchor of %s: %v %v", origin, errA, errB)
			}
		}
		forks, err := to.Forks(origins[0])
		if diff := cmp.Diff([][]byte{[]byte("ours\n"), []byte("seen\n")}, forks); err != nil || diff != "" {
			t.Errorf("forks: %v %s", err, diff)
		}
	}
	is := d.at(other)
	is.anchor = elsewhere
	is.use(t, func(l *ledger.Ledger, _ store.Store) { appendTo(t, l, "acme", step(77, 1, "")) })
}
