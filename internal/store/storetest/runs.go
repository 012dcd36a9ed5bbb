package storetest

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

// tenantRun is a run as OpenRuns yields it.
type tenantRun struct {
	Tenant string
	store.RunState
}

func openRuns(t *testing.T, r store.Reader) []tenantRun {
	t.Helper()
	return collect(t, func(fn func(tenantRun) error) error {
		return r.OpenRuns(ctx, func(tenant string, s store.RunState) error { return fn(tenantRun{tenant, s}) })
	})
}

// setRuns commits run states.
func (l *testLog) setRuns(runs ...store.RunState) {
	l.t.Helper()
	c := l.extend(l.entry(evidence.KindAudit))
	c.Runs = runs
	l.mustCommit(c)
}

func testOpenRuns(t *testing.T, s store.Store) {
	a, b := openLog(t, s, "a"), openLog(t, s, "b")
	wantEqual(t, "open runs of an empty store", openRuns(t, s), nil, cmpopts.EquateEmpty())
	state := func(l *testLog, run string, n int64, open bool) store.RunState {
		return store.RunState{Run: run, NextN: n, NextStep: n + 1, Revision: n + 2, Last: l.at(0), Open: open}
	}
	a.setRuns(state(a, "r1", 1, true))
	b.setRuns(state(b, "läuft ", 2, true))
	a.setRuns(state(a, "closed", 3, false))
	b.setRuns(state(b, "r1", 4, true))
	a.setRuns(state(a, "R1", 5, true))
	want := []tenantRun{
		{"a", state(a, "r1", 1, true)}, {"b", state(b, "läuft ", 2, true)}, {"b", state(b, "r1", 4, true)}, {"a", state(a, "R1", 5, true)},
	}
	wantEqual(t, "open runs", openRuns(t, s), want)

	// They open and close with their state; the oldest stays first.
	a.setRuns(state(a, "closed", 6, true))
	b.setRuns(state(b, "r1", 7, false))
	a.setRuns(state(a, "r1", 8, true))
	want = []tenantRun{
		{"a", state(a, "r1", 8, true)}, {"b", state(b, "läuft ", 2, true)}, {"a", state(a, "closed", 6, true)}, {"a", state(a, "R1", 5, true)},
	}
	wantEqual(t, "open runs", openRuns(t, s), want)
	got := must[map[string]store.RunState](t)(s.Runs(ctx, "b", []string{"r1", "läuft "}))
	if got["r1"].Open || !got["läuft "].Open {
		t.Errorf("Runs says %+v", got)
	}
	for _, r := range collect(t, func(fn func(store.RunState) error) error { return s.AllRuns(ctx, "a", fn) }) {
		if !r.Open {
			t.Errorf("AllRuns says %+v", r)
		}
	}
}

func testSettleRuns(t *testing.T, s store.Store) {
	a, b := openLog(t, s, "a"), openLog(t, s, "b")
	state := func(run string, n int64) store.RunState {
		return store.RunState{Run: run, NextN: n, NextStep: 2, Revision: 1, Last: a.at(0), Open: true}
	}
	a.setRuns(state("r1", 5), state("r2", 6), state("r3", 7), state("R1", 5))
	b.setRuns(state("r1", 5))
	before := a.head
	if err := s.SettleRuns(ctx, "a", map[string]int64{"r1": 5, "r2": 5, "r3": 8, "never": 1}); err != nil {
		t.Fatal(err)
	}
	var open []string
	for _, r := range openRuns(t, s) {
		open = append(open, r.Tenant+" "+r.Run)
	}
	// Those that have another number of records stay open, and no other run,
	// name or tenant is touched.
	slices.Sort(open)
	wantEqual(t, "open runs", open, []string{"a R1", "a r2", "a r3", "b r1"})
	got := must[map[string]store.RunState](t)(s.Runs(ctx, "a", []string{"r1", "never"}))
	settled := state("r1", 5)
	settled.Open = false
	wantEqual(t, "the settled run", got, map[string]store.RunState{"r1": settled})
	wantEqual(t, "head", a.head, before)
	a.wantHead()
	if err := s.SettleRuns(ctx, "nobody", map[string]int64{"r1": 5}); err != nil { // nor is any made
		t.Error(err)
	}
	if logs := must[[]store.Log](t)(s.Logs(ctx, "")); len(logs) != 2 {
		t.Errorf("logs %v", logs)
	}
	for range 2 { // twice is no error, nor is nothing
		if err := s.SettleRuns(ctx, "a", map[string]int64{"r1": 5}); err != nil {
			t.Error(err)
		}
		if err := s.SettleRuns(ctx, "a", nil); err != nil {
			t.Error(err)
		}
	}
	a.setRuns(state("r1", 6)) // it opens again
	if got := must[map[string]store.RunState](t)(s.Runs(ctx, "a", []string{"r1"})); !got["r1"].Open {
		t.Error("a record came and the run is not open")
	}
}

// testRunRecords has runs whose records are of every kind, in two logs, in a
// run that is named after its trace and in ones that are not.
func testRunRecords(t *testing.T, s store.Store) {
	l, other := openLog(t, s, "a"), openLog(t, s, "b")
	want := map[string][]store.RunRecord{}
	next := map[string]int64{}
	add := func(l *testLog, run string, e store.Entry) {
		e.Leaf.Run, e.Leaf.N = run, next[run]
		next[run]++
		e.Segment, e.ActorSegment = e.Leaf.N+100, store.NoSegment
		if e.Leaf.N%2 == 1 {
			e.Segment, e.ActorSegment = store.NoSegment, e.Leaf.N+200
		}
		at := l.append(e)
		want[run] = append(want[run], store.RunRecord{
			Position: l.at(at), Kind: e.Leaf.Kind, N: e.Leaf.N, Segment: e.Segment, ActorSegment: e.ActorSegment,
		})
	}
	second := func() *testLog { return openLogNo(t, s, store.LogRef{Tenant: "a", No: 2}) }
	runs := []string{traceID(1), "native", "Native", "läuft "}
	fill := func(l *testLog, span int64) {
		for i, run := range runs {
			trace := traceID(1) // steps of other runs are in the same trace too
			id := spanID(span + int64(i))
			add(l, run, l.entry(evidence.KindTrace, text("trace_id", trace)))
			add(l, run, l.step(trace, id))
			add(l, run, l.step(trace, ""))
			add(l, run, l.step(trace, id, text("conflict_of", newID().String())))
			add(l, run, l.step(traceID(2), id))
			add(l, run, l.entry(evidence.KindTraceEvent, text("trace_id", trace)))
			add(l, run, l.entry(evidence.KindTraceEvent, text("trace_id", traceID(2))))
			add(l, run, l.entry(evidence.KindTraceEvent))
			for _, kind := range []evidence.Kind{evidence.KindSystem, evidence.KindMetric, evidence.KindAudit} {
				add(l, run, l.entry(kind))
			}
			add(l, run, l.entry(evidence.KindLLMRun, integer("revision", span)))
			add(l, run, l.entry(evidence.KindLLMRun, integer("revision", span), text("conflict_of", newID().String())))
		}
	}
	fill(l, 10)
	l.append(l.entry(evidence.KindAudit), l.entry(evidence.KindTraceEvent, text("trace_id", traceID(1)))) // of no run
	fill(second(), 50)
	other.append(other.step(traceID(1), spanID(10)), other.entry(evidence.KindAudit, inRun("native", 1)))

	records := func(tenant, run string) []store.RunRecord {
		return collect(t, func(fn func(store.RunRecord) error) error { return s.RunRecords(ctx, tenant, run, fn) })
	}
	for run, w := range want {
		wantEqual(t, fmt.Sprintf("records of %q", run), records("a", run), w)
	}
	wantEqual(t, "records of b", len(records("b", "native")), 1)
	for _, run := range []string{"NATIVE", "läuft", "", traceID(2), "never"} {
		wantEqual(t, fmt.Sprintf("records of %q", run), records("a", run), nil, cmpopts.EquateEmpty())
	}
	wantEqual(t, "records of no tenant", records("nobody", "native"), nil, cmpopts.EquateEmpty())
}
