package storetest

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

// testFindRevision sees that a run is found by its newest revision below the
// pin, wherever that stands, and never by a conflict record.
func testFindRevision(t *testing.T, s store.Store) {
	first, other := openLog(t, s, "a"), openLog(t, s, "b")
	add := func(l *testLog, run string, revision int64, status string, set ...func(*evidence.Leaf)) store.Position {
		set = append(set, inRun(run, 0), integer("revision", revision), text("execution_status", status))
		return l.at(l.append(l.entry(evidence.KindLLMRun, set...)))
	}
	conflict := text("conflict_of", newID().String())
	r1 := add(first, "r", 1, "FAILED")
	add(other, "r", 9, "SUCCEEDED")
	q1 := add(first, "q", 1, "FAILED")
	r1c := add(first, "r", 3, "ABORTED", conflict)
	r3 := add(first, "r", 3, "SUCCEEDED")
	second := openLogNo(t, s, store.LogRef{Tenant: "a", No: 2})
	r2 := add(second, "r", 2, "FAILED") // a revision that came late is not the newest
	r4 := add(second, "r", 4, "FAILED")

	ask := func(what string, below store.Position, want []store.Position, where ...store.Condition) {
		t.Helper()
		q := store.Query{Tenant: "a", Kind: evidence.KindLLMRun, Where: where, Below: below, NewestRevision: true}
		wantEqual(t, what, positions(t, s, q), want, cmpopts.EquateEmpty())
	}
	end := second.at(second.head.Size)
	ask("newest", end, []store.Position{r4, q1})
	ask("newest, no pin", store.Position{}, []store.Position{r4, q1})
	ask("before the fourth", r4, []store.Position{r3, q1})
	ask("before the second", r2, []store.Position{r3, q1})
	ask("before the third", r3, []store.Position{q1, r1})
	ask("FAILED", end, []store.Position{r4, q1}, is("execution_status", "FAILED"))
	ask("FAILED before the fourth", r4, []store.Position{q1}, is("execution_status", "FAILED"))
	ask("SUCCEEDED", end, nil, is("execution_status", "SUCCEEDED"))
	ask("ABORTED", end, nil, is("execution_status", "ABORTED"))
	ask("of the run", r4, []store.Position{r3}, is("run", "r"))
	ask("of another's run", end, nil, is("run", "never"))
	all := store.Query{Tenant: "a", Kind: evidence.KindLLMRun, Where: []store.Condition{is("run", "r")}}
	wantEqual(t, "all of the run", positions(t, s, all), []store.Position{r4, r2, r3, r1c, r1})
}

// testFindState sees that an export is found by its newest record below the
// pin; ids are a tenant's own.
func testFindState(t *testing.T, s store.Store) {
	first, other := openLog(t, s, "a"), openLog(t, s, "b")
	add := func(l *testLog, id, status, run string) store.Position {
		return l.at(l.append(l.entry(evidence.KindExport, text("export_id", id), text("status", status), text("about_run", run))))
	}
	e1 := add(first, "e", "pending", "r")
	f1 := add(first, "f", "pending", "r")
	add(other, "f", "pending", "r")
	second := openLogNo(t, s, store.LogRef{Tenant: "a", No: 2})
	e2 := add(second, "e", "completed", "r")
	add(other, "e", "failed", "r")
	ask := func(what string, below store.Position, want []store.Position, where ...store.Condition) {
		t.Helper()
		q := store.Query{Tenant: "a", Kind: evidence.KindExport, Where: where, Below: below, NewestState: true}
		wantEqual(t, what, positions(t, s, q), want, cmpopts.EquateEmpty())
	}
	ask("newest", store.Position{}, []store.Position{e2, f1})
	ask("before the second", e2, []store.Position{f1, e1})
	ask("pending", store.Position{}, []store.Position{f1}, is("status", "pending"))
	ask("about the run", store.Position{}, []store.Position{e2, f1}, is("about_run", "r"))
	ask("one", store.Position{}, []store.Position{e2}, is("export_id", "e"))
	wantEqual(t, "all of one", positions(t, s, store.Query{Tenant: "a", Kind: evidence.KindExport, Where: []store.Condition{is("export_id", "e")}}), []store.Position{e2, e1})
}

func testFindIndex(t *testing.T, s store.Store) {
	l, other := openLog(t, s, "a"), openLog(t, s, "b")
	add := func(l *testLog, e store.Entry, m byte, trace string) store.Position {
		c := l.extend(e)
		if m > 0 {
			c.Index = []store.IndexEntry{l.indexed(e.Leaf.Seq, "actor", m, trace)}
		}
		l.mustCommit(c)
		return l.at(e.Leaf.Seq)
	}
	run := func(id string) store.Entry {
		return l.entry(evidence.KindLLMRun, inRun(id, 0), integer("revision", 1), text("agent_id", "agent "+id))
	}
	r1 := add(l, run("r1"), 1, "")
	r2 := add(l, run("r2"), 2, "")
	add(l, l.entry(evidence.KindAudit), 1, "") // another kind of the same person
	add(other, run("r1"), 1, "")
	s1 := add(l, l.step(traceID(1), spanID(1)), 1, traceID(1))
	add(l, l.step(traceID(2), spanID(1)), 2, traceID(2))
	e1 := add(l, l.entry(evidence.KindTraceEvent, text("trace_id", traceID(1))), 0, "")
	second := openLogNo(t, s, store.LogRef{Tenant: "a", No: 2})
	r3 := add(second, run("r3"), 1, "")
	s2 := add(second, second.step(traceID(1), spanID(2)), 1, traceID(1)) // not indexed again
	e2 := add(second, second.entry(evidence.KindTraceEvent), 1, "")
	add(second, second.entry(evidence.KindTraceEvent), 0, "")

	term := func(m byte) store.Condition {
		return store.Condition{Index: &store.IndexTerm{Name: "actor", MAC: mac(m)}}
	}
	ask := func(what string, kind evidence.Kind, want []store.Position, where ...store.Condition) {
		t.Helper()
		for _, order := range []store.Order{store.Newest, store.ByTimeDown} { // all at one time
			q := store.Query{Tenant: "a", Kind: kind, Where: where, Order: order}
			wantEqual(t, what, positions(t, s, q), want, cmpopts.EquateEmpty())
		}
	}
	ask("runs", evidence.KindLLMRun, []store.Position{r3, r1}, term(1))
	ask("runs of two", evidence.KindLLMRun, []store.Position{r3, r2, r1}, store.Condition{Any: []store.Condition{term(1), term(2)}})
	ask("runs of both", evidence.KindLLMRun, nil, term(1), term(2))
	ask("runs of nobody", evidence.KindLLMRun, nil, term(3))
	ask("of another name", evidence.KindLLMRun, nil, store.Condition{Index: &store.IndexTerm{Name: "nobody", MAC: mac(1)}})
	ask("steps", evidence.KindTraceStep, []store.Position{s2, s1}, term(1))
	ask("steps of a run", evidence.KindTraceStep, []store.Position{s2, s1}, is("run", traceID(1)), term(1))
	ask("steps of another run", evidence.KindTraceStep, nil, is("run", traceID(2)), term(1))
	ask("events", evidence.KindTraceEvent, []store.Position{e2, e1}, term(1))
	// A record that two alternatives hold for is found once.
	ask("the actor or an agent", evidence.KindLLMRun, []store.Position{r3, r2, r1},
		store.Condition{Any: []store.Condition{term(1), is("agent_id", "agent r1", "agent r2", "agent r1"), term(1)}})
	ask("an agent or the actor", evidence.KindLLMRun, []store.Position{r3, r1},
		store.Condition{Any: []store.Condition{is("agent_id", "agent r1"), {Any: []store.Condition{term(1)}}}}, is("run", "r1", "r3"))
	ask("of what has no index", evidence.KindLLMRun, []store.Position{r3, r1},
		store.Condition{Any: []store.Condition{is("revision", "7"), term(1)}})
}

func testComponents(t *testing.T, s store.Store) {
	components := func(tenant string, limit int) []string {
		return must[[]string](t)(s.Components(ctx, tenant, limit))
	}
	wantEqual(t, "of nobody", components("a", 9), nil, cmpopts.EquateEmpty())
	a, b := openLog(t, s, "a"), openLog(t, s, "b") // their first records have no component
	wantEqual(t, "of none", components("a", 9), nil, cmpopts.EquateEmpty())
	add := func(l *testLog, components ...string) {
		for _, c := range components {
			l.append(l.entry(evidence.KindSystem, text("component", c)))
		}
	}
	add(a, "worker", "api", "worker")
	add(b, "db", "Api")
	add(openLogNo(t, s, store.LogRef{Tenant: "a", No: 2}), "api", "Über", "migration")
	wantEqual(t, "all", components("a", 9), []string{"api", "migration", "worker", "Über"})
	wantEqual(t, "two", components("a", 2), []string{"api", "migration"})
	wantEqual(t, "none", components("a", 0), nil, cmpopts.EquateEmpty())
	wantEqual(t, "of b", components("b", 9), []string{"Api", "db"})
}

func testRunOf(t *testing.T, s store.Store) {
	a, b := openLog(t, s, "a"), openLog(t, s, "b")
	trace := func(l *testLog, run, id string, set ...func(*evidence.Leaf)) {
		l.append(l.entry(evidence.KindTrace, append(set, inRun(run, 0), text("trace_id", id))...))
	}
	trace(a, "r1", traceID(1), text("run_alias", "x"))
	trace(b, "foreign", traceID(1), text("run_alias", "only b"))
	trace(a, "r2", traceID(1))
	trace(a, traceID(2), traceID(2), text("run_alias", "y"))
	trace(a, traceID(3), traceID(4))
	trace(a, "old", traceID(5))
	a.append(a.entry(evidence.KindLLMRun, inRun("r3", 0), integer("revision", 1), text("run_alias", "x"), text("trace_id", traceID(6))))
	second := openLogNo(t, s, store.LogRef{Tenant: "a", No: 2})
	trace(second, traceID(5), traceID(5))
	trace(b, "foreign", traceID(7), text("run_alias", "x"))
	second.append(second.entry(evidence.KindLLMRun, inRun("r4", 0), integer("revision", 1), text("run_alias", "y")))

	for _, test := range []struct{ tenant, id, alias, trace string }{
		{"a", "x", "r3", ""},
		{"a", "y", "r4", ""},
		{"a", "only b", "", ""},
		{"a", "X", "", ""},
		{"a", "", "", ""},
		{"b", "x", "foreign", ""},
		{"a", traceID(1), "", "r2"},
		{"a", traceID(2), "", traceID(2)},
		{"a", traceID(3), "", ""}, // the name of a run is no trace id
		{"a", traceID(4), "", traceID(3)},
		{"a", traceID(5), "", traceID(5)},
		{"a", traceID(6), "", ""}, // without a trace record
		{"a", traceID(7), "", ""},
		{"b", traceID(1), "", "foreign"},
		{"nobody", traceID(1), "", ""},
		{"nobody", "x", "", ""},
	} {
		for what, run := range map[string]string{"alias": test.alias, "trace": test.trace} {
			find := s.RunOfAlias
			if what == "trace" {
				find = s.RunOfTrace
			}
			got, err := find(ctx, test.tenant, test.id)
			if run == "" {
				wantErr(t, fmt.Sprintf("run of %s %q of %s", what, test.id, test.tenant), err, evidence.ErrNotFound)
			} else if err != nil || got != run {
				t.Errorf("run of %s %q of %s: %q, %v, want %q", what, test.id, test.tenant, got, err, run)
			}
		}
	}
}

func testOpenRunsOf(t *testing.T, s store.Store) {
	a, b := openLog(t, s, "a"), openLog(t, s, "b")
	state := func(l *testLog, run string, revision int64, open bool) store.RunState {
		return store.RunState{Run: run, NextN: 4, NextStep: 2, Revision: revision, Last: l.at(0), Open: open}
	}
	runs := func(tenant, before string, limit int) []string {
		list := []string{}
		for _, r := range collect(t, func(fn func(store.RunState) error) error { return s.OpenRunsOf(ctx, tenant, before, limit, fn) }) {
			if r.NextN != 4 || r.NextStep != 2 || r.Revision != 0 || !r.Open || r.Last.LogNo != 1 {
				t.Errorf("state %+v", r)
			}
			list = append(list, r.Run)
		}
		return list
	}
	wantEqual(t, "of nobody", runs("nobody", "", 9), []string{})
	a.setRuns(state(a, "r1", 0, true), state(a, "ended", 1, false))
	b.setRuns(state(b, "r1", 0, true), state(b, "b", 0, true))
	a.setRuns(state(a, "again", 2, true), state(a, "läuft ", 0, true), state(a, "settled", 0, false))
	a.setRuns(state(a, "r4", 0, true), state(a, "r5", 0, true))
	wantEqual(t, "of a", runs("a", "", 9), []string{"r5", "r4", "läuft ", "r1"})
	wantEqual(t, "of b", runs("b", "", 9), []string{"b", "r1"})
	wantEqual(t, "two", runs("a", "", 2), []string{"r5", "r4"})
	wantEqual(t, "the next", runs("a", "r4", 2), []string{"läuft ", "r1"})
	wantEqual(t, "after the last", runs("a", "r1", 2), []string{})
	wantEqual(t, "after an unknown", runs("a", "b", 2), []string{})
	wantEqual(t, "none", runs("a", "", 0), []string{})

	a.setRuns(state(a, "r4", 1, false), state(a, "r1", 1, true)) // they end, r1 and some more
	if err := s.SettleRuns(ctx, "a", map[string]int64{"läuft ": 4}); err != nil {
		t.Fatal(err)
	}
	wantEqual(t, "of a", runs("a", "", 9), []string{"r5"})
	wantEqual(t, "of b", runs("b", "", 9), []string{"b", "r1"})
	a.setRuns(state(a, "läuft ", 0, true))
	wantEqual(t, "of a", runs("a", "", 9), []string{"r5", "läuft "})
	if all := openRuns(t, s); !slices.ContainsFunc(all, func(r tenantRun) bool { return r.Run == "again" }) {
		t.Error("a run that has ended and goes on is not open")
	}
}
