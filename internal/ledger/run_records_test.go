package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/store"
	"github.com/runledger/runledger/internal/store/storerig"
)

func (r *rig) runRecords(t testing.TB, tenant, run string) []ledger.RunRecord {
	t.Helper()
	var list []ledger.RunRecord
	err := r.RunRecords(context.Background(), tenant, run, func(rr ledger.RunRecord) error {
		list = append(list, rr)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// serverRun is an llm_run record of the server's own.
func serverRun(t testing.TB, run string, revision int64, status string) *evidence.Record {
	t.Helper()
	r := &evidence.Record{Kind: evidence.KindLLMRun, Run: run, OccurredAt: 1_764_000_000_000_000}
	r.SetText("source_domain", "ACTIVITY")
	r.SetText("source_component", "TraceStore")
	r.SetText("execution_status", status)
	r.SetText("sealed_by", "root_span")
	r.SetInt("revision", revision)
	if err := r.Complete(); err != nil {
		t.Fatal(err)
	}
	return r
}

// TestRunRecords has a run in two logs, with a conflict and a completion.
func TestRunRecords(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	r := openRig(t, dir)
	r.tenant(t, "acme")
	r.tenant(t, "other")
	run := fmt.Sprintf("%032x", 1)
	first := r.append(t, "acme", step(1, 1, `,"params":{"n":1.50},"human_actor_id":"ada"`), step(2, 1, ""), step(1, 2, ""))
	conflict := r.append(t, "acme", step(1, 1, `,"params":{"n":2}`))
	r.append(t, "other", step(1, 1, ""))
	if _, err := r.Rollover(context.Background(), "acme"); err != nil {
		t.Fatal(err)
	}
	r.append(t, "acme", step(1, 3, `,"params":"later"`))
	check := func() {
		t.Helper()
		list := r.runRecords(t, "acme", run)
		var places []string
		for i, rr := range list {
			if rr.Leaf.N != int64(i) || rr.Leaf.Run != run {
				t.Errorf("record %d is number %d of %q", i, rr.Leaf.N, rr.Leaf.Run)
			}
			places = append(places, fmt.Sprintf("%d/%d %s", rr.LogNo, rr.Seq, rr.Leaf.Text("span_id")))
		}
		want := []string{"1/1 " + fmt.Sprintf("%016x", 1), "1/3 " + fmt.Sprintf("%016x", 2), "1/4 " + fmt.Sprintf("%016x", 1), "2/1 " + fmt.Sprintf("%016x", 3)}
		if !slices.Equal(places, want) {
			t.Fatalf("records %q, want %q", places, want)
		}
		if got := list[0].Open["/params"].JSON; got != `{"n":1.50}` {
			t.Errorf("params %s", got)
		}
		if got := list[0].Open["/actor"].JSON; got != fmt.Sprintf(actorJSON, "ada") {
			t.Errorf("actor %s", got)
		}
		if got := list[2].Leaf.Text("conflict_of"); got != first[0].ID.String() || conflict[0].ConflictOf != first[0].ID {
			t.Errorf("conflict of %q, receipt %+v", got, conflict[0])
		}
		if got := list[3].Open["/params"].JSON; got != `"later"` {
			t.Errorf("params in the second log %s", got)
		}
		if n := len(r.runRecords(t, "other", run)); n != 1 {
			t.Errorf("the other tenant's run has %d records", n)
		}
		for _, none := range [][2]string{{"acme", "never"}, {"nobody", run}} {
			if n := len(r.runRecords(t, none[0], none[1])); n != 0 {
				t.Errorf("%v has %d records", none, n)
			}
		}
	}
	check()
	r.close()
	r = openRig(t, dir)
	check()

	stop := errors.New("stop")
	calls := 0
	err := r.RunRecords(context.Background(), "acme", run, func(ledger.RunRecord) error { calls++; return stop })
	if !errors.Is(err, stop) || calls != 1 {
		t.Errorf("%d calls, error %v", calls, err)
	}

	// What is erased is absent; the rest stands.
	r.erase(t, "acme", ledger.Erasure{Person: "ada", Reason: "asked", By: "op"})
	r.erase(t, "acme", ledger.Erasure{Fields: []ledger.ErasedField{{Position: store.Position{LogNo: 2, Seq: 1}, Paths: []string{"/params"}}}, Reason: "asked", By: "op"})
	list := r.runRecords(t, "acme", run)
	if _, ok := list[0].Open["/actor"]; ok || list[0].Open["/params"].JSON == "" {
		t.Errorf("after the person's erasure: %v", list[0].Open)
	}
	if _, ok := list[3].Open["/params"]; ok || list[3].Open["/actor"].JSON == "" {
		t.Errorf("after the field's erasure: %v", list[3].Open)
	}
	if n := len(list); n != 6 { // and the records of the erasures
		t.Errorf("%d records after two erasures", n)
	}
}

func TestReceiptsCountWithinTheRun(t *testing.T) {
	r := openRig(t, filepath.Join(t.TempDir(), "data"))
	r.tenant(t, "acme")
	run := fmt.Sprintf("%032x", 1)
	event := func(id string) string {
		return `{"kind":"trace_event","id":"` + fixedID(id).String() + `","occurred_at":"2026-11-23T15:00:00Z","run_id":"` + run +
			`","event_name":"e","source_domain":"ACTIVITY","source_component":"TraceStore"}`
	}
	outside := fmt.Sprintf(`{"kind":"audit","id":"%s","occurred_at":"2026-11-23T15:00:00Z","event_type":"PolicyEvaluated","entity_type":"POLICY_RULE",`+
		`"entity_id":"r","actor_type":"SYSTEM","source_domain":"POLICY","source_component":"AuditLedgerWriter"}`, fixedID("outside"))
	type counts struct {
		n, step         int64
		late, duplicate bool
	}
	check := func(what string, receipts []ledger.Receipt, want ...counts) {
		t.Helper()
		for i, got := range receipts {
			if c := (counts{got.N, got.StepIndex, got.Late, got.Duplicate}); c != want[i] {
				t.Errorf("%s: receipt %d is %+v, want %+v", what, i, c, want[i])
			}
		}
	}
	check("first", r.append(t, "acme", step(1, 1, ""), event("a"), outside, step(1, 2, "")),
		counts{0, 0, false, false}, counts{1, -1, false, false}, counts{-1, -1, false, false}, counts{2, 1, false, false})
	check("again", r.append(t, "acme", step(1, 2, ""), event("a"), step(1, 3, "")),
		counts{2, 1, false, true}, counts{1, -1, false, true}, counts{3, 2, false, false})
	check("twice in a batch", r.append(t, "acme", step(1, 4, ""), step(1, 4, "")), counts{4, 3, false, false}, counts{4, 3, false, true})
	receipts, err := r.Append(context.Background(), "acme", []*evidence.Record{serverRun(t, run, 1, "SUCCEEDED")}, ledger.AppendOptions{})
	if err != nil {
		t.Fatal(err)
	}
	check("its end", receipts, counts{5, -1, false, false})
	check("late", r.append(t, "acme", step(1, 5, ""), step(1, 1, "")), counts{6, 4, true, false}, counts{0, 0, false, true})
	check("a conflict", r.append(t, "acme", step(1, 2, `,"params":1`)), counts{7, 1, true, false})
}

// TestStaleRuns: a batch that was made from fewer records than its runs have is
// not stored, nor is any part of it.
func TestStaleRuns(t *testing.T) {
	r := openRig(t, filepath.Join(t.TempDir(), "data"))
	r.tenant(t, "acme")
	ctx := context.Background()
	a, b := fmt.Sprintf("%032x", 1), fmt.Sprintf("%032x", 2)
	r.append(t, "acme", step(1, 1, ""), step(1, 2, ""), step(2, 1, ""))
	end := func(status string, revision int64, expect map[string]int64) ([]ledger.Receipt, error) {
		var records []*evidence.Record
		for _, run := range []string{a, b} {
			if _, ok := expect[run]; ok {
				records = append(records, serverRun(t, run, revision, status))
			}
		}
		return r.Append(ctx, "acme", records, ledger.AppendOptions{RunRecords: expect})
	}
	wantStale := func(what string, err error, want ...string) {
		t.Helper()
		var stale *ledger.StaleError
		if !errors.As(err, &stale) {
			t.Fatalf("%s: error %v", what, err)
		}
		slices.Sort(stale.Runs)
		if !slices.Equal(stale.Runs, want) {
			t.Errorf("%s: stale are %q, want %q", what, stale.Runs, want)
		}
		for run, n := range map[string]int{a: 2, b: 1} {
			if got := len(r.runRecords(t, "acme", run)); got != n {
				t.Errorf("%s: run has %d records, want %d", what, got, n)
			}
		}
	}
	_, err := end("SUCCEEDED", 1, map[string]int64{a: 1, b: 1})
	wantStale("one too few", err, a)
	_, err = end("SUCCEEDED", 1, map[string]int64{a: 3, b: 0})
	wantStale("too many and none", err, a, b)

	receipts, err := end("SUCCEEDED", 1, map[string]int64{a: 2, b: 1})
	if err != nil || receipts[0].N != 2 || receipts[1].N != 1 {
		t.Fatalf("%+v, %v", receipts, err)
	}
	for _, run := range []string{a, b} {
		state, err := r.RunState(ctx, "acme", run)
		if err != nil || state.Open || state.Revision != 1 {
			t.Errorf("%+v, %v", state, err)
		}
	}
	// Who ends the run as well is told so: the same record or another one,
	// there is no second and no conflict.
	for _, status := range []string{"SUCCEEDED", "FAILED"} {
		_, err = end(status, 1, map[string]int64{a: 2, b: 1})
		var stale *ledger.StaleError
		if err == nil || !errors.As(err, &stale) {
			t.Fatalf("ended twice: %v", err)
		}
	}
	for run, n := range map[string]int{a: 3, b: 2} {
		if got := len(r.runRecords(t, "acme", run)); got != n {
			t.Errorf("run has %d records, want %d", got, n)
		}
	}
	// A record opens the run again; to settle it takes the right number.
	r.append(t, "acme", step(1, 3, ""))
	open := func() (runs []string) {
		if err := r.OpenRuns(ctx, func(tenant string, s store.RunState) error { runs = append(runs, tenant+" "+s.Run); return nil }); err != nil {
			t.Fatal(err)
		}
		return runs
	}
	if got := open(); !slices.Equal(got, []string{"acme " + a}) {
		t.Errorf("open are %q", got)
	}
	for _, c := range []struct {
		n    int64
		open int
	}{{3, 1}, {4, 0}} {
		if err := r.SettleRuns(ctx, "acme", map[string]int64{a: c.n}); err != nil || len(open()) != c.open {
			t.Errorf("settled at %d: %v, open are %q", c.n, err, open())
		}
	}
}

// TestRunRecordsTampered: nothing is given out that the signed log does not hold.
func TestRunRecordsTampered(t *testing.T) {
	run := fmt.Sprintf("%032x", 203)
	const rowsOfRun = `run_no = (SELECT spine_no FROM spine WHERE text = ?1 AND tenant_no = (SELECT tenant_no FROM tenants WHERE tenant_id = 'acme'))`
	tests := []struct {
		name   string
		tamper func(e *evil)
	}{
		{"nothing", func(*evil) {}},
		{"a record is missing", func(e *evil) { e.change(1, `DELETE FROM r_trace_step WHERE n = 3 AND `+rowsOfRun, run) }},
		{"a number is another", func(e *evil) {
			e.change(1, `UPDATE r_trace_step SET n = 50 WHERE n = 3 AND `+rowsOfRun, run)
		}},
		{"a record of another run", func(e *evil) {
			e.change(1, storerig.Pick(`UPDATE r_trace_event SET run_no = (SELECT run_no FROM r_trace_event WHERE n = 9 AND NOT `+rowsOfRun+
				` AND trace_id IS NOT NULL LIMIT 1)`, `UPDATE r_trace_event SET run_id = (SELECT run_id FROM aos_trace_events
				WHERE n = 9 AND tenant_id = 'acme' AND run_id <> ?1 AND trace_id IS NOT NULL ORDER BY leaf_index LIMIT 1)`)+` WHERE n = 9 AND `+rowsOfRun, run)
		}},
		{"a leaf says something else", func(e *evil) {
			l := e.main()
			leaf := l.find(0, func(l *evidence.Leaf) bool { return l.Run == run && l.N == 4 })
			e.setLeaf(l, leaf.Seq, altered(e, l.leaves[leaf.Seq], `"status":"success"`, `"status":"failure"`))
		}},
		{"its content is another's", func(e *evil) {
			seg := e.int(`SELECT sealed_segment FROM r_trace_step WHERE n = 3 AND `+rowsOfRun, run)
			e.change(1, `UPDATE sealed_segments SET data = (SELECT data FROM sealed_segments WHERE row <> ?1 ORDER BY row LIMIT 1) WHERE row = ?1`, row(e.main(), seg))
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			d := copyOf(t)
			d.tamper(t, test.tamper)
			r := openRig(t, d.dir)
			n := 0
			err := r.RunRecords(context.Background(), "acme", run, func(ledger.RunRecord) error { n++; return nil })
			switch {
			case test.name == "nothing":
				if err != nil || n != 11 {
					t.Errorf("%d records, %v", n, err)
				}
			case !errors.Is(err, evidence.ErrTampered):
				t.Errorf("after %d records: %v", n, err)
			}
		})
	}
}

// TestContentKeys: what has no id is known by its content, and by its place
// among equals of one request.
func TestContentKeys(t *testing.T) {
	r := openRig(t, filepath.Join(t.TempDir(), "data"))
	r.tenant(t, "acme")
	event := func(content string, ordinal int) *evidence.Record {
		rec := &evidence.Record{
			Kind: evidence.KindTraceEvent, OccurredAt: 1_764_000_000_000_000, Run: "run",
			ContentKey: true, Content: []byte(content), ContentOrdinal: ordinal, Said: []string{},
		}
		rec.SetText("event_name", "log")
		rec.SetText("source_domain", "ACTIVITY")
		rec.SetText("source_component", "svc")
		if err := rec.Complete(); err != nil {
			t.Fatal(err)
		}
		return rec
	}
	add := func(records ...*evidence.Record) []ledger.Receipt {
		t.Helper()
		receipts, err := r.Append(context.Background(), "acme", records, ledger.AppendOptions{Producer: "test"})
		if err != nil {
			t.Fatal(err)
		}
		return receipts
	}
	first := add(event("a", 0), event("a", 1), event("b", 0))
	again := add(event("a", 0), event("a", 1), event("a", 2))
	for i, want := range []bool{true, true, false} {
		if again[i].Duplicate != want || again[i].ConflictOf != (evidence.ID{}) || want && again[i].ID != first[i].ID {
			t.Errorf("receipt %d of a retry: %+v, first %+v", i, again[i], first[i])
		}
	}
	if n := len(r.runRecords(t, "acme", "run")); n != 4 {
		t.Errorf("%d records, want 4", n)
	}
}

// TestNewReadingIsNoConflict: a retry that a newer server reads otherwise is the
// same record, as long as its producer said the same.
func TestNewReadingIsNoConflict(t *testing.T) {
	r := openRig(t, filepath.Join(t.TempDir(), "data"))
	r.tenant(t, "acme")
	send := func(more string) ledger.Receipt {
		t.Helper()
		records := native(t, step(1, 1, more))
		records[0].Said = []string{"/attrs", "/status_message", "duration_us", "parent_span_id", "span_id", "trace_id"}
		receipts, err := r.Append(context.Background(), "acme", records, ledger.AppendOptions{Producer: "test"})
		if err != nil {
			t.Fatal(err)
		}
		return receipts[0]
	}
	const attrs = `,"attrs":[["k","string","v"]]`
	first := send(attrs + `,"model":"gpt-5","prompt":"hi"`)
	for _, more := range []string{attrs, attrs + `,"model":"gpt-5.1","prompt":"hi"`, attrs + `,"model":"gpt-5","prompt":"ho","response":"x"`} {
		if got := send(more); !got.Duplicate || got.ID != first.ID {
			t.Errorf("%s: %+v", more, got)
		}
	}
	for _, more := range []string{`,"attrs":[["k","string","w"]]`, attrs + `,"duration_us":7`, attrs + `,"status_message":"no"`} {
		if got := send(more); got.Duplicate || got.ConflictOf != first.ID {
			t.Errorf("%s: %+v", more, got)
		}
	}
}
