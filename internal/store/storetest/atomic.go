package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

var errStop = errors.New("stop")

// rich returns a commit that writes to every table, and fails at its last
// entry if fail is set, because its id is taken.
func (l *testLog) rich(taken evidence.ID, fail bool) store.LogCommit {
	n := l.head.Size
	last := l.entry(evidence.KindTrace, text("trace_id", traceID(900+n)))
	if fail {
		last.Leaf.ID = taken
	}
	c := l.extend(
		l.step(traceID(900+n), spanID(n), text("skill_name", fmt.Sprint("skill ", n))),
		l.entry(evidence.KindLLMRun, inRun(traceID(900+n), 1), integer("revision", 1)),
		last,
	)
	c.Tiles = []store.Tile{{Level: 0, N: n, Data: make([]byte, 8192)}}
	c.KeepCheckpoint = true
	c.Keys = []store.DataKey{key(byte(n), store.ScopeDay, "d")}
	c.Sealed = []store.SealedSegment{l.segment(n, byte(n), "data")}
	c.Index = []store.IndexEntry{l.indexed(n, fmt.Sprint("name ", n), 1, traceID(900+n))}
	c.Runs = []store.RunState{{Run: traceID(900 + n), NextN: 2, Last: l.at(n + 1)}}
	return c
}

// wantNothingAt checks that a refused rich commit left nothing.
func (l *testLog) wantNothingAt(n int64) {
	l.t.Helper()
	l.wantHead()
	s, tenant := l.r, l.ref.Tenant
	for _, kind := range evidence.Kinds() {
		if rows := l.rows(kind, n, n+10); len(rows) != 0 {
			l.t.Errorf("rows are left: %v", rows)
		}
	}
	if segs := collect(l.t, func(fn func(store.LeafSegment) error) error { return s.Segments(ctx, l.ref, n, n+10, fn) }); len(segs) != 0 {
		l.t.Errorf("leaf segments are left: %v", segs)
	}
	_, err := s.Tile(ctx, l.ref, 0, n)
	wantErr(l.t, "tile", err, evidence.ErrNotFound)
	if cps := collect(l.t, func(fn func(store.Checkpoint) error) error { return s.Checkpoints(ctx, l.ref, n+1, fn) }); len(cps) != 0 {
		l.t.Errorf("checkpoints are left: %v", cps)
	}
	_, err = s.DataKey(ctx, tenant, key(byte(n), "", "").ID)
	wantErr(l.t, "data key", err, evidence.ErrNotFound)
	_, err = s.SealedSegment(ctx, tenant, store.SegmentRef{LogNo: l.ref.No, No: n})
	wantErr(l.t, "sealed segment", err, evidence.ErrNotFound)
	if list := l.find(fmt.Sprint("name ", n), 1, 9); len(list) != 0 {
		l.t.Errorf("index entries are left: %v", list)
	}
	if m := must[map[string]store.RunState](l.t)(s.Runs(ctx, tenant, []string{traceID(900 + n)})); len(m) != 0 {
		l.t.Errorf("run states are left: %v", m)
	}
	if m := must[map[store.Span]store.Position](l.t)(s.FindSpans(ctx, tenant, []store.Span{{TraceID: traceID(900 + n), SpanID: spanID(n)}})); len(m) != 0 {
		l.t.Errorf("spans are left: %v", m)
	}
}

func testAtomic(t *testing.T, s store.Store) {
	l := openLog(t, s, "a")
	taken := l.entry(evidence.KindAudit)
	l.append(taken)
	for range 3 {
		n := l.head.Size
		wantErr(t, "a commit with a duplicate", l.commit(l.rich(taken.Leaf.ID, true)), store.ErrDuplicate)
		l.wantNothingAt(n)
		// What the refused commit had first seen gets its numbers and names
		// anew; nothing remembered from it may stand in their place.
		other := l.entry(evidence.KindTraceEvent, inRun(fmt.Sprint("other run ", n), 0), text("event_name", fmt.Sprint("event ", n)))
		at := l.append(other)
		c := l.rich(taken.Leaf.ID, false)
		l.mustCommit(c)
		l.wantHead()
		wantEqual(t, "the record between", l.row(evidence.KindTraceEvent, at), rowOf(other), equalFacts)
		for _, e := range c.Entries {
			wantEqual(t, "a record of the good commit", l.row(e.Leaf.Kind, e.Leaf.Seq), rowOf(e), equalFacts)
		}
	}
}

func testSeveralLogs(t *testing.T, s store.Store) {
	a, b := openLog(t, s, "a"), openLog(t, s, "b")
	taken := b.entry(evidence.KindAudit)
	b.append(taken)
	both := func(ca, cb store.LogCommit) error {
		err := s.Commit(ctx, &store.Commit{Logs: []store.LogCommit{a.bring(ca), b.bring(cb)}})
		if err == nil {
			a.head, b.head = ca.Next, cb.Next
		}
		return err
	}
	na, nb := a.head.Size, b.head.Size
	wantErr(t, "a duplicate in the second log", both(a.rich(taken.Leaf.ID, false), b.rich(taken.Leaf.ID, true)), store.ErrDuplicate)
	a.wantNothingAt(na)
	b.wantNothingAt(nb)

	stale := b.rich(taken.Leaf.ID, false)
	stale.Prev.Size--
	stale.Entries, stale.Sealed = stale.Entries[:0], nil
	stale.Next.Size = stale.Prev.Size
	wantErr(t, "a moved head of the second log", both(a.rich(taken.Leaf.ID, false), stale), store.ErrHeadMoved)
	a.wantNothingAt(na)
	b.wantNothingAt(nb)

	// A log that is opened and rolled back leaves no trace.
	fresh := newLog(t, s, store.LogRef{Tenant: "fresh", No: 1})
	c := fresh.extend(fresh.entry(evidence.KindSystem))
	c.Open = &fresh.info
	wantErr(t, "a new log beside a duplicate", both(c, b.rich(taken.Leaf.ID, true)), store.ErrDuplicate)
	wantEqual(t, "logs of fresh", must[[]store.Log](t)(s.Logs(ctx, "fresh")), nil)
	third := openLog(t, s, "third")
	fresh.mustCommit(c)
	fresh.wantHead()
	third.wantHead()

	if err := both(a.rich(taken.Leaf.ID, false), b.rich(taken.Leaf.ID, false)); err != nil {
		t.Fatal(err)
	}
	a.wantHead()
	b.wantHead()
	if err := s.Commit(ctx, &store.Commit{}); err != nil {
		t.Errorf("an empty commit: %v", err)
	}
}

// testTenants writes the same ids to two tenants and sees each has its own.
func testTenants(t *testing.T, s store.Store) {
	a, b := openLog(t, s, "a"), openLog(t, s, "b")
	for i, l := range []*testLog{a, b, a, b} {
		n := int64(i)
		e := l.step(traceID(1), spanID(n/2), text("skill_name", l.ref.Tenant))
		c := l.extend(e)
		c.Keys = []store.DataKey{key(byte(n/2), store.ScopeDay, l.ref.Tenant)}
		c.Sealed = []store.SealedSegment{l.segment(n/2, 1, l.ref.Tenant)}
		c.Runs = []store.RunState{{Run: "run", NextN: n, Last: l.at(0)}}
		l.mustCommit(c)
	}
	for i, l := range []*testLog{a, b} {
		tenant := l.ref.Tenant
		rows := l.rows(evidence.KindTraceStep, 0, 100)
		if len(rows) != 2 {
			t.Fatalf("%s has %d steps", tenant, len(rows))
		}
		for _, r := range rows {
			for _, f := range r.Facts {
				if f.Field.Name == "skill_name" && f.Str != tenant {
					t.Errorf("%s has a row of %s", tenant, f.Str)
				}
			}
		}
		runs := must[map[string]store.RunState](t)(s.Runs(ctx, tenant, []string{"run"}))
		wantEqual(t, "run of "+tenant, runs["run"].NextN, int64(i+2))
		for _, k := range must[[]store.DataKey](t)(s.DataKeys(ctx, tenant, "", "")) {
			wantEqual(t, "key of "+tenant, k.Label, tenant)
		}
		for _, seg := range l.sealedSegments() {
			wantEqual(t, "segment of "+tenant, string(seg.Data), tenant)
		}
		spans := must[map[store.Span]store.Position](t)(s.FindSpans(ctx, tenant, []store.Span{{TraceID: traceID(1), SpanID: spanID(0)}}))
		wantEqual(t, "spans of "+tenant, len(spans), 1)
		all := collect(t, func(fn func(store.RunState) error) error { return s.AllRuns(ctx, tenant, fn) })
		wantEqual(t, "all runs of "+tenant, len(all), 1)
	}
}

func testSnapshot(t *testing.T, s store.Store) {
	l := openLog(t, s, "a")
	l.mustCommit(l.rich(evidence.ID{}, false))
	head := l.head
	snap, err := s.Snapshot(ctx)
	if err != nil {
		t.Fatal(err)
	}
	n := l.head.Size
	l.mustCommit(l.rich(evidence.ID{}, false))
	fresh := openLog(t, s, "fresh")

	old := *l
	old.r, old.head = snap, head
	old.wantNothingAt(n)
	_, err = snap.Head(ctx, fresh.ref)
	wantErr(t, "a log that came later", err, evidence.ErrNotFound)
	wantEqual(t, "logs", len(must[[]store.Log](t)(snap.Logs(ctx, ""))), 1)
	if list := must[[]string](t)(snap.Guards(ctx)); len(list) != 0 {
		t.Errorf("guards are missing: %q", list)
	}
	var wg sync.WaitGroup // a snapshot too is used by several goroutines
	for range 4 {
		wg.Go(func() {
			if h, err := snap.Head(ctx, l.ref); err != nil || h.Size != head.Size {
				t.Errorf("head %v, %v", h, err)
			}
		})
	}
	wg.Wait()
	for range 2 {
		if err := snap.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := snap.Head(ctx, l.ref); err == nil {
		t.Error("a closed snapshot answers")
	}
	l.wantHead()
}

func testCancelled(t *testing.T, s store.Store) {
	l := openLog(t, s, "a")
	done, cancel := context.WithCancel(ctx)
	cancel()
	c := l.extend(l.entry(evidence.KindAudit))
	err := s.Commit(done, &store.Commit{Logs: []store.LogCommit{c}})
	wantErr(t, "a commit that is called off before it begins", err, evidence.ErrUnavailable)
	wantErr(t, "the same", err, context.Canceled)
	l.wantHead()
	_, err = s.Head(done, l.ref)
	wantErr(t, "Head", err, context.Canceled)
	_, err = s.Snapshot(done)
	wantErr(t, "Snapshot", err, context.Canceled)
	l.mustCommit(c)
}
