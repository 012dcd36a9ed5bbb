package storetest

import (
	"testing"

	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

func testDuplicateID(t *testing.T, s store.Store) {
	l, other := openLog(t, s, "a"), openLog(t, s, "b")
	first := l.entry(evidence.KindAudit)
	at := l.append(first)
	for _, kind := range evidence.Kinds() { // ids are unique across kinds
		e := l.entry(kind)
		e.Leaf.ID = first.Leaf.ID
		wantErr(t, "the id again, of kind "+kind.String(), l.commit(l.extend(l.entry(evidence.KindAudit), e)), store.ErrDuplicate)
		l.wantHead()
	}
	// Twice in one commit.
	twice := l.entry(evidence.KindSystem)
	again := l.entry(evidence.KindSystem)
	again.Leaf.ID = twice.Leaf.ID
	wantErr(t, "an id twice", l.commit(l.extend(twice, again)), store.ErrDuplicate)
	l.wantHead()

	e := other.entry(evidence.KindAudit)
	e.Leaf.ID = first.Leaf.ID
	otherAt := other.append(e) // another tenant's ids are another matter
	for tenant, want := range map[string]store.Position{"a": l.at(at), "b": other.at(otherAt)} {
		got := must[map[evidence.ID]store.Position](t)(s.FindIDs(ctx, tenant, []evidence.ID{first.Leaf.ID}))
		wantEqual(t, "found in "+tenant, got, map[evidence.ID]store.Position{first.Leaf.ID: want})
	}

	// The second log of a tenant shares its ids.
	second := openLogNo(t, s, store.LogRef{Tenant: "a", No: 2})
	e = second.entry(evidence.KindAudit)
	e.Leaf.ID = first.Leaf.ID
	wantErr(t, "the id in the tenant's second log", second.commit(second.extend(e)), store.ErrDuplicate)
	second.wantHead()
}

func testDuplicateSpan(t *testing.T, s store.Store) {
	l, other := openLog(t, s, "a"), openLog(t, s, "b")
	l.append(l.step(traceID(1), spanID(1)))
	wantErr(t, "the span again", l.commit(l.extend(l.step(traceID(1), spanID(1)))), store.ErrDuplicate)
	l.wantHead()
	wantErr(t, "a span twice", l.commit(l.extend(l.step(traceID(2), spanID(1)), l.step(traceID(2), spanID(1)))), store.ErrDuplicate)
	l.wantHead()
	l.append(
		l.step(traceID(2), spanID(1)), // what was rolled back may come again
		l.step(traceID(1), spanID(2)),
		l.step(traceID(1), ""), l.step(traceID(1), ""), // no span, no key
		l.step(traceID(1), spanID(1), text("conflict_of", newID().String())),
		l.step(traceID(1), spanID(1), text("conflict_of", newID().String())),
	)
	other.append(other.step(traceID(1), spanID(1)))
	second := openLogNo(t, s, store.LogRef{Tenant: "a", No: 2})
	wantErr(t, "the span in the tenant's second log", second.commit(second.extend(second.step(traceID(1), spanID(1)))), store.ErrDuplicate)
}

func testDuplicateRevision(t *testing.T, s store.Store) {
	l, other := openLog(t, s, "a"), openLog(t, s, "b")
	run := func(l *testLog, id string, revision int64, set ...func(*evidence.Leaf)) store.Entry {
		return l.entry(evidence.KindLLMRun, append(set, inRun(id, 0), integer("revision", revision))...)
	}
	l.append(run(l, "r", 1))
	wantErr(t, "the revision again", l.commit(l.extend(run(l, "r", 1))), store.ErrDuplicate)
	l.wantHead()
	l.append(run(l, "r", 2), run(l, "R", 1), run(l, "r", 1, text("conflict_of", newID().String())))
	other.append(run(other, "r", 1))
}

func testFindIDs(t *testing.T, s store.Store) {
	l := openLog(t, s, "a")
	want := map[evidence.ID]store.Position{}
	var ids []evidence.ID
	add := func(l *testLog, e store.Entry, byID bool) {
		at := l.append(e)
		ids = append(ids, e.Leaf.ID)
		if byID {
			want[e.Leaf.ID] = l.at(at)
		}
	}
	for _, kind := range evidence.Kinds() {
		add(l, l.entry(kind), true)
	}
	add(l, l.step(traceID(1), spanID(1)), false) // found by its span
	add(l, l.step(traceID(1), ""), true)
	add(l, l.step(traceID(1), spanID(1), text("conflict_of", ids[0].String())), true)
	second := openLogNo(t, s, store.LogRef{Tenant: "a", No: 2})
	add(second, second.entry(evidence.KindTrace, text("trace_id", traceID(1))), true)
	ids = append(ids, newID(), evidence.ID{})

	wantEqual(t, "found", must[map[evidence.ID]store.Position](t)(s.FindIDs(ctx, "a", ids)), want)
	wantEqual(t, "found of none", must[map[evidence.ID]store.Position](t)(s.FindIDs(ctx, "a", nil)), nil, cmpopts.EquateEmpty())

	all := map[evidence.ID]store.Position{}
	if err := s.RecordIDs(ctx, "a", func(id evidence.ID, p store.Position) error {
		all[id] = p
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for id, p := range want {
		if all[id] != p {
			t.Errorf("RecordIDs has %v at %v, want %v", id, all[id], p)
		}
	}
	if len(all) != len(want)+2 { // and the first record of each log
		t.Errorf("RecordIDs yields %d ids, want %d", len(all), len(want)+2)
	}
}

func testFindSpans(t *testing.T, s store.Store) {
	l := openLog(t, s, "a")
	want := map[store.Span]store.Position{}
	var spans []store.Span
	for i := range int64(10) {
		span := store.Span{TraceID: traceID(i % 3), SpanID: spanID(i - 5)}
		want[span] = l.at(l.append(l.step(span.TraceID, span.SpanID)))
		spans = append(spans, span)
	}
	l.append(l.step(traceID(1), spanID(77), text("conflict_of", newID().String())), l.entry(evidence.KindTraceEvent, text("trace_id", traceID(1)), text("span_id", spanID(78))))
	second := openLogNo(t, s, store.LogRef{Tenant: "a", No: 2})
	span := store.Span{TraceID: traceID(1), SpanID: "ffffffffffffff00"}
	want[span] = second.at(second.append(second.step(span.TraceID, span.SpanID)))
	spans = append(spans, span)

	spans = append(spans,
		store.Span{TraceID: traceID(1), SpanID: spanID(77)}, // only a conflict
		store.Span{TraceID: traceID(1), SpanID: spanID(78)}, // only an event
		store.Span{TraceID: traceID(99), SpanID: spanID(1)}, store.Span{TraceID: traceID(1), SpanID: spanID(99)},
		store.Span{TraceID: traceID(1), SpanID: "FFFFFFFFFFFFFF00"}, store.Span{},
	)
	wantEqual(t, "found", must[map[store.Span]store.Position](t)(s.FindSpans(ctx, "a", spans)), want)
}

func testRuns(t *testing.T, s store.Store) {
	l, other := openLog(t, s, "a"), openLog(t, s, "b")
	state := func(run string, n int64, last store.Position) store.RunState {
		return store.RunState{Run: run, NextN: n, NextStep: n + 1, Revision: n + 2, Last: last}
	}
	set := func(l *testLog, runs ...store.RunState) {
		c := l.extend(l.entry(evidence.KindAudit))
		c.Runs = runs
		l.mustCommit(c)
	}
	set(l, state("r1", 1, l.at(0)), state("R1", 2, l.at(1)), state("läuft ", 0, l.at(1)))
	set(other, state("r1", 77, other.at(0)))
	set(l, state("r1", 5, l.at(2)), state("r2", evidence.MaxInt-9, l.at(2)))
	l.append(l.entry(evidence.KindAudit, inRun("no state", 0)))
	second := openLogNo(t, s, store.LogRef{Tenant: "a", No: 2})
	set(second, state("r3", 3, l.at(2)), state("R1", 9, second.at(1)))

	want := map[string]store.RunState{}
	for _, r := range []store.RunState{
		state("r1", 5, l.at(2)), state("R1", 9, second.at(1)), state("läuft ", 0, l.at(1)),
		state("r2", evidence.MaxInt-9, l.at(2)), state("r3", 3, l.at(2)),
	} {
		want[r.Run] = r
	}
	got := must[map[string]store.RunState](t)(s.Runs(ctx, "a", []string{"r1", "R1", "läuft ", "r2", "r3", "läuft", "no state", "never", ""}))
	wantEqual(t, "runs", got, want)
	list := collect(t, func(fn func(store.RunState) error) error { return s.AllRuns(ctx, "a", fn) })
	all := map[string]store.RunState{}
	for _, r := range list {
		all[r.Run] = r
	}
	if len(list) != len(want) {
		t.Errorf("AllRuns yields %d runs, want %d", len(list), len(want))
	}
	wantEqual(t, "all runs", all, want)
	wantEqual(t, "runs of b", collect(t, func(fn func(store.RunState) error) error { return s.AllRuns(ctx, "b", fn) }),
		[]store.RunState{state("r1", 77, other.at(0))})
}
