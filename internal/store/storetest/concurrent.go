package storetest

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

// testCallbackErrors sees that iteration stops at the callback's error.
func testCallbackErrors(t *testing.T, s store.Store) {
	l := openLog(t, s, "a")
	for range 3 {
		l.mustCommit(l.rich(evidence.ID{}, false))
	}
	l.setRuns(store.RunState{Run: "x", NextN: 1, Last: l.at(0), Open: true}, store.RunState{Run: "y", NextN: 1, Last: l.at(0), Open: true})
	calls := 0
	stop := func() error {
		calls++
		return errStop
	}
	for what, iterate := range map[string]func() error{
		"Segments":       func() error { return s.Segments(ctx, l.ref, 0, 100, func(store.LeafSegment) error { return stop() }) },
		"Tiles":          func() error { return s.Tiles(ctx, l.ref, func(store.Tile) error { return stop() }) },
		"Checkpoints":    func() error { return s.Checkpoints(ctx, l.ref, 0, func(store.Checkpoint) error { return stop() }) },
		"AllRuns":        func() error { return s.AllRuns(ctx, "a", func(store.RunState) error { return stop() }) },
		"OpenRuns":       func() error { return s.OpenRuns(ctx, func(string, store.RunState) error { return stop() }) },
		"SealedSegments": func() error { return s.SealedSegments(ctx, l.ref, func(store.SealedSegment) error { return stop() }) },
		"Rows": func() error {
			return s.Rows(ctx, l.ref, evidence.KindTraceStep, 0, 100, func(*store.Row) error { return stop() })
		},
		"RunRecords": func() error {
			return s.RunRecords(ctx, "a", traceID(901), func(store.RunRecord) error { return stop() })
		},
		"RecordIDs": func() error {
			return s.RecordIDs(ctx, "a", func(evidence.ID, store.Position) error { return stop() })
		},
		"Index": func() error { return s.Index(ctx, "a", func(store.IndexEntry) error { return stop() }) },
	} {
		for range 2 { // what was stopped can begin again
			calls = 0
			if err := iterate(); !errors.Is(err, errStop) || calls != 1 {
				t.Errorf("%s: %d calls, error %v", what, calls, err)
			}
		}
	}
	l.mustCommit(l.rich(evidence.ID{}, false))
}

// testParallel commits to several logs at once, and to one from several
// goroutines, of which one wins each time.
func testParallel(t *testing.T, s store.Store) {
	const writers, commits = 4, 25
	var wg sync.WaitGroup
	logs := make([]*testLog, writers)
	for i := range logs {
		logs[i] = openLog(t, s, fmt.Sprint("tenant-", i))
	}
	for _, l := range logs {
		wg.Go(func() {
			for range commits {
				c := l.rich(evidence.ID{}, false)
				if err := l.commit(c); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	shared := openLog(t, s, "shared")
	var won, lost atomic.Int64
	for range writers {
		wg.Go(func() {
			for range commits {
				l := *shared
				head, err := s.Head(ctx, l.ref)
				if err != nil {
					t.Error(err)
					return
				}
				l.head = head
				switch err := l.commit(l.extend(l.entry(evidence.KindAudit))); {
				case err == nil:
					won.Add(1)
				case errors.Is(err, store.ErrHeadMoved):
					lost.Add(1)
				default:
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for _, l := range logs {
		l.wantHead()
		wantEqual(t, "steps", len(l.rows(evidence.KindTraceStep, 0, 1000)), commits)
		runs := collect(t, func(fn func(store.RunState) error) error { return s.AllRuns(ctx, l.ref.Tenant, fn) })
		wantEqual(t, "runs", len(runs), commits)
	}
	head := must[store.Head](t)(s.Head(ctx, shared.ref))
	if head.Size != won.Load()+1 || won.Load()+lost.Load() != writers*commits {
		t.Errorf("size %d after %d commits won and %d lost", head.Size, won.Load(), lost.Load())
	}
	wantEqual(t, "records", len(shared.rows(evidence.KindAudit, 0, 1000)), int(won.Load()))
}

// testReadWhileWriting sees that a reader sees whole commits: as many rows as
// the head it read before, or more.
func testReadWhileWriting(t *testing.T, s store.Store) {
	l := openLog(t, s, "a")
	done := make(chan struct{})
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if err := checkWhole(s, l.ref); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for range 50 {
		c := l.extend(l.entry(evidence.KindAudit), l.step(traceID(unique()), spanID(1)), l.entry(evidence.KindSystem))
		if err := l.commit(c); err != nil {
			t.Error(err)
			break
		}
	}
	close(done)
	wg.Wait()
}

func checkWhole(s store.Store, ref store.LogRef) error {
	head, err := s.Head(ctx, ref)
	if err != nil {
		return err
	}
	n := int64(0)
	for _, kind := range evidence.Kinds() {
		if err := s.Rows(ctx, ref, kind, 0, head.Size, func(*store.Row) error { n++; return nil }); err != nil {
			return err
		}
	}
	if n != head.Size {
		return fmt.Errorf("%d rows under a head of size %d", n, head.Size)
	}
	snap, err := s.Snapshot(ctx)
	if err != nil {
		return err
	}
	defer snap.Close()
	if head, err = snap.Head(ctx, ref); err != nil {
		return err
	}
	n = 0
	for _, kind := range evidence.Kinds() {
		if err := snap.Rows(ctx, ref, kind, 0, 1<<60, func(*store.Row) error { n++; return nil }); err != nil {
			return err
		}
	}
	if n != head.Size {
		return fmt.Errorf("a snapshot has %d rows under a head of size %d", n, head.Size)
	}
	return nil
}

func testClosed(t *testing.T, s store.Store) {
	l := openLog(t, s, "a")
	for range 2 {
		if err := s.Close(); err != nil {
			t.Fatalf("close: %v", err)
		}
	}
	_, head := s.Head(ctx, l.ref)
	_, logs := s.Logs(ctx, "")
	_, snap := s.Snapshot(ctx)
	_, row := s.Row(ctx, l.ref, evidence.KindSystem, 0)
	_, guards := s.Guards(ctx)
	_, claim := s.Claim(ctx, l.ref)
	_, lease := s.Lease(ctx, "x", "one", time.Hour)
	for what, err := range map[string]error{
		"Commit":         s.Commit(ctx, &store.Commit{Logs: []store.LogCommit{l.extend(l.entry(evidence.KindAudit))}}),
		"KeepCheckpoint": s.KeepCheckpoint(ctx, l.ref, store.Checkpoint{Size: 1}),
		"SetSetting":     s.SetSetting(ctx, "a", "b"),
		"Claim":          claim,
		"Lease":          lease,
		"Scrub":          s.Scrub(ctx),
		"Prepare":        s.Prepare(ctx),
		"SettleRuns":     s.SettleRuns(ctx, "a", map[string]int64{"r": 1}),
		"OpenRuns":       s.OpenRuns(ctx, func(string, store.RunState) error { return nil }),
		"RunRecords":     s.RunRecords(ctx, "a", "r", func(store.RunRecord) error { return nil }),
		"Head":           head, "Logs": logs, "Snapshot": snap, "Row": row, "Guards": guards,
		"Tiles": s.Tiles(ctx, l.ref, func(store.Tile) error { return nil }),
		"Rows":  s.Rows(ctx, l.ref, evidence.KindSystem, 0, 1, func(*store.Row) error { return nil }),
	} {
		if err == nil {
			t.Errorf("%s of a closed store succeeds", what)
		}
	}
}
