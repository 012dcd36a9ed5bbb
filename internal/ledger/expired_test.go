package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/store"
	"github.com/runledger/runledger/internal/store/storerig"
)

// runKinds are the kinds that make up a run.
var runKinds = []evidence.Kind{evidence.KindLLMRun, evidence.KindTrace, evidence.KindTraceStep, evidence.KindTraceEvent}

// agedRig has a tenant with runs of half a year ago, and is opened anew now: the
// database's own clock is real. Each run has, beside what makes it up, a system record
// and an audit entry.
type agedRig struct {
	*rig
	lines map[int][]string
	old   map[int][]ledger.Receipt // of the old runs
	end   int64                    // the first leaf that is not old
}

func runName(n int) string { return fmt.Sprintf("%032x", n) }

// runLines are the records of a run; its system record is the second, the audit entry
// the fourth.
func runLines(n int) []string {
	run := runName(n)
	secret := fmt.Sprintf(`,"prompt":"secret %d","human_actor_id":"ada"`, n)
	trace := `"run_id":"` + run + `","trace_id":"` + run + `","source_domain":"ACTIVITY","source_component":"TraceStore"`
	return []string{
		fmt.Sprintf(`{"kind":"trace","occurred_at":"2026-01-01T15:00:00Z",%s,"root_hash":"%064x"}`, trace, n),
		fmt.Sprintf(`{"kind":"system","id":"%s","occurred_at":"2026-01-01T15:00:00Z","run_id":"%s","component":"worker","event_type":"ERROR",`+
			`"severity":"INFO","source_domain":"SYSTEM","source_component":"SystemRecordWriter","summary":"slow"}`, fixedID("system"+run), run),
		step(n, 1, secret),
		fmt.Sprintf(`{"kind":"audit","id":"%s","occurred_at":"2026-01-01T15:00:00Z","run_id":"%s","event_type":"PolicyEvaluated","entity_type":"POLICY_RULE",`+
			`"entity_id":"rule-1","actor_type":"SYSTEM","decision":"ALLOWED","source_domain":"POLICY","source_component":"AuditLedgerWriter"}`, fixedID("audit"+run), run),
		fmt.Sprintf(`{"kind":"trace_event","id":"%s","occurred_at":"2026-01-01T15:00:00Z",%s,"event_name":"note","body":"text"}`, fixedID("event"+run), trace),
		step(n, 2, secret),
		fmt.Sprintf(`{"kind":"llm_run","occurred_at":"2026-01-01T15:00:00Z",%s,"execution_status":"SUCCEEDED","agent_id":"agent-7","prompt":"p"}`, trace),
	}
}

func openAged(t testing.TB, dir string) *agedRig {
	t.Helper()
	at := func(now time.Time) rigOption {
		h := newHands()
		h.wall = now
		return h.clock
	}
	r := &agedRig{lines: map[int][]string{}, old: map[int][]ledger.Receipt{}}
	old := openRig(t, dir, at(time.Now().AddDate(0, 0, -180)))
	old.tenant(t, "acme")
	for n := 1; n <= 3; n++ {
		r.lines[n] = runLines(n)
		r.old[n] = old.append(t, "acme", r.lines[n]...)
	}
	r.end = r.old[3][len(r.lines[3])-1].LeafIndex + 1
	old.close()
	r.rig = openRig(t, dir, at(time.Now()))
	return r
}

// order orders that rows of those kinds go, of the old leaves from <= seq < to.
func (r *agedRig) order(t testing.TB, from, to int64, kinds ...evidence.Kind) {
	t.Helper()
	if _, _, err := r.OrderExpiry(context.Background(), "acme", agedOrders(from, to, kinds...)); err != nil {
		t.Fatal(err)
	}
}

// agedOrders are of what is older than 100 days.
func agedOrders(from, to int64, kinds ...evidence.Kind) (orders []ledger.ExpiryOrder) {
	for _, k := range kinds {
		orders = append(orders, ledger.ExpiryOrder{
			LogNo: 1, Table: k.Table(), Ranges: []evidence.TargetRange{{From: from, To: to}}, From: 1,
			Before: evidence.MicrosOf(time.Now().AddDate(0, 0, -100).Truncate(24 * time.Hour)), Class: k.Class(), Days: evidence.RetentionDays(k.Class()), Reason: "retention",
		})
	}
	return orders
}

// expire orders it, and goes on until they are gone.
func (r *agedRig) expire(t testing.TB, from, to int64, kinds ...evidence.Kind) {
	t.Helper()
	r.order(t, from, to, kinds...)
	for more := true; more; {
		s, err := r.ExpireStep(context.Background(), "acme")
		if err != nil {
			t.Fatal(err)
		}
		more = s.More
	}
}

// sound verifies what is open, and returns the report.
func (r *agedRig) sound(t testing.TB) *ledger.LiveReport {
	t.Helper()
	report, err := ledger.Verify(context.Background(), ledger.LiveConfig{Reader: r.db, Sealer: r.sealer, Anchor: r.anchor})
	if err != nil {
		t.Fatal(err)
	}
	if len(report.Findings) > 0 {
		t.Errorf("what has expired: %s", listFindings(report))
	}
	return report
}

// TestExpired: a deployment whose runs have expired is sound, and a retry of what has
// expired gets the first receipts.
func TestExpired(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	r := openAged(t, filepath.Join(t.TempDir(), "data"))
	r.expire(t, 0, r.old[3][0].LeafIndex, runKinds...)
	if report := r.sound(t); report.Expired != 10 || report.Erased != 0 {
		t.Errorf("%d records have expired and %d fields are erased, want those of two runs", report.Expired, report.Erased)
	}
	for n := 1; n <= 3; n++ {
		again := r.append(t, "acme", r.lines[n]...)
		want := slices.Clone(r.old[n])
		for i := range want {
			want[i].Duplicate = true
		}
		if diff := cmp.Diff(want, again); diff != "" {
			t.Errorf("run %d again: %s", n, diff)
		}
		leaf, err := r.ExpiredRun(ctx, "acme", runName(n))
		if err != nil || (leaf != nil) != (n < 3) || leaf != nil && leaf.Run != runName(n) {
			t.Errorf("run %d has expired: %v %v", n, leaf, err)
		}
		_, err = r.RunPlaces(ctx, "acme", runName(n))
		if errors.Is(err, ledger.ErrExpired) != (n < 3) || n == 3 && err != nil {
			t.Errorf("places of run %d: %v", n, err)
		}
		if n == 1 { // no difference, once it is known to be of another text
			_, err := r.Append(ctx, "acme", native(t, step(1, 1, `,"prompt":"another","human_actor_id":"ada"`)), ledger.AppendOptions{Producer: "test"})
			if err != nil {
				t.Error(err)
			}
		}
	}
	// One that comes late to what is not there any more.
	late := r.append(t, "acme", step(1, 9, `,"prompt":"late"`))[0]
	err := r.RunRecords(ctx, "acme", runName(1), func(ledger.RunRecord) error { return nil })
	if late.Duplicate || !errors.Is(err, ledger.ErrExpired) {
		t.Errorf("a late record: %+v, and the run: %v", late, err)
	}
	r.sound(t)
}

// TestExpiredBeside: a system record of a run expires before the run does. The run is
// there as a whole, without the content of that record.
func TestExpiredBeside(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	r := openAged(t, filepath.Join(t.TempDir(), "data"))
	r.expire(t, 1, r.end, evidence.KindSystem)
	if n := r.sound(t).Expired; n != 3 {
		t.Errorf("%d records have expired", n)
	}
	n := 0
	err := r.RunRecords(ctx, "acme", runName(2), func(rec ledger.RunRecord) error {
		if open := len(rec.Open) == len(rec.Leaf.H); open == (rec.Leaf.Kind == evidence.KindSystem) {
			t.Errorf("record %d, a %s: %d of %d fields", n, rec.Leaf.Kind, len(rec.Open), len(rec.Leaf.H))
		}
		n++
		return nil
	})
	if err != nil || n != len(r.lines[2]) {
		t.Errorf("%d records: %v", n, err)
	}
	if leaf, err := r.ExpiredRun(ctx, "acme", runName(2)); leaf != nil || err != nil {
		t.Errorf("the run has expired: %v %v", leaf, err)
	}
	// What whole logs are exported from.
	head, err := r.db.Head(ctx, store.LogRef{Tenant: "acme", No: 1})
	if err != nil {
		t.Fatal(err)
	}
	gone := 0
	err = r.Records(ctx, "acme", 1, 0, head.Size, func(rec ledger.LogRecord) error {
		if len(rec.Open) < len(rec.Leaf.H) {
			gone++
		}
		return nil
	})
	if err != nil || gone != 3 {
		t.Errorf("%d records of the log have no content: %v", gone, err)
	}
}

// TestExpiredTampered: what nobody ordered to go is missing, whatever has expired
// around it, and the database is not believed about what may go.
func TestExpiredTampered(t *testing.T) {
	t.Parallel()
	base := filepath.Join(t.TempDir(), "data")
	r := openAged(t, base)
	steps := evidence.KindTraceStep
	r.expire(t, 0, r.old[2][0].LeafIndex, steps)
	kept, _, err := r.PlaceHold(context.Background(), "acme", ledger.HoldOrder{Scope: store.HoldRun, Run: runName(3), Reason: "case 7", By: "operator-1"})
	if err != nil {
		t.Fatal(err)
	}
	ended, _, err := r.PlaceHold(context.Background(), "acme", ledger.HoldOrder{Scope: store.HoldTenant, Reason: "case 8", By: "operator-1"})
	if err == nil {
		_, _, err = r.ReleaseHold(context.Background(), "acme", ended.ID, "over", "operator-1")
	}
	if err != nil {
		t.Fatal(err)
	}
	r.order(t, 1, r.end, evidence.KindSystem) // and nothing has gone yet
	r.sound(t)
	d := &deployment{}
	if err := d.note(context.Background(), r.rig); err != nil {
		t.Fatal(err)
	}
	r.close()
	l := d.log("acme", 1)
	in := func(n, i int) int64 { return r.old[n][i].LeafIndex }
	missing := func(table string, seq int64) want {
		return want{code: ledger.CodeColumn, table: table, log: l, seq: seq, at: true, says: "no record says that it has expired"}
	}
	table := func(name, column, says string) want {
		return want{code: ledger.CodeColumn, table: name, column: column, seq: anywhere, says: says}
	}
	goOn := func(e *evil) { // as an expiry does, which leaves nothing of the content in the end
		e.change(3, `DELETE FROM r_system WHERE row > ?1 AND row < ?2`, row(l, 0), row(l, r.end))
	}
	ordered := func(e *evil, k evidence.Kind, lite, pg string) {
		e.change(1, `UPDATE expiries SET `+storerig.Pick(lite+` WHERE tbl = ?1`, pg+` WHERE table_name = ?1`), k.Table())
	}
	held := func(e *evil, id, lite, pg string) {
		e.change(1, `UPDATE holds SET `+storerig.Pick(lite, pg)+` WHERE id = ?1`, id)
	}
	// Each on a copy of its own, which takes longer than all else.
	cases := []struct {
		name string
		do   func(e *evil)
		want []want // none: nothing is found
	}{
		{"an expiry goes on", goOn, nil},
		{"an expiry is done, but content is left", func(e *evil) {
			goOn(e)
			e.exec(`UPDATE expiries SET done = ` + storerig.Pick("1", "true"))
			held(e, kept.ID, `scope = 'subject'`, `scope = 'subject'`)
		}, []want{
			{code: ledger.CodeCommit, table: "sealed_segments", seq: in(2, 0), says: "the segment holds content of"},
			table("holds", "scope", "something else"),
		}},
		{"rows among and behind those that have expired", func(e *evil) {
			e.change(1, `DELETE FROM r_trace_event WHERE row = ?1`, row(l, in(1, 4)))
			e.change(1, `DELETE FROM r_trace_step WHERE row = ?1`, row(l, in(2, 2)))
			e.change(1, `DELETE FROM r_audit WHERE row = ?1`, row(l, in(1, 3)))
			ordered(e, steps, `to_leaf = to_leaf + 2`, `until = until + 2`)
			ordered(e, evidence.KindSystem, `before = before + 86400000000`, `before = before + 86400000000`)
			e.change(1, `DELETE FROM holds WHERE id = ?1`, kept.ID)
		}, []want{
			missing("aos_trace_events", in(1, 4)), missing("aos_trace_steps", in(2, 2)), missing("audit_ledger", in(1, 3)),
			table("expiries", "", "more may leave a table than the record names"),
			table("expiries", "before", "younger or older"),
			table("holds", "", "is missing"),
		}},
		{"all steps", func(e *evil) {
			e.exec(`DELETE FROM r_trace_step WHERE row >= ?1`, row(l, 0))
			ordered(e, steps, `tbl = 'aos_traces'`, `table_name = 'aos_traces'`)
			ordered(e, evidence.KindSystem, `by_row = by_row + 1`, `by_leaf = by_leaf + 1`)
			held(e, kept.ID, `released_row = placed_row + 1`, `released_log = placed_log, released_leaf = placed_leaf + 1`)
			held(e, ended.ID, `released_row = NULL`, `released_log = NULL, released_leaf = NULL`)
		}, []want{
			missing("aos_trace_steps", in(2, 2)), missing("aos_trace_steps", in(3, 5)),
			table("expiries", "table", "not the one that the record names"),
			table("expiries", "by", "ordered by no RetentionApplied"),
			table("holds", "released", "no record there releases it"), table("holds", "released", "is not written down"),
		}},
		{"holds", func(e *evil) {
			held(e, ended.ID, `id = 'hold-000000000000'`, `id = 'hold-000000000000'`)
			e.change(1, `DELETE FROM hold_runs`)
		}, []want{table("holds", "", "that no record places"), table("holds", "runs", "is not held")}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			copied := &deployment{dir: filepath.Join(t.TempDir(), "data"), logs: d.logs}
			for _, suffix := range []string{"", ".anchor"} {
				if err := storerig.Copy(copied.dir+suffix, base+suffix); err != nil {
					t.Fatal(err)
				}
			}
			copied.tamper(t, c.do)
			report := verifyDir(t, copied.dir)
			if c.want == nil && len(report.Findings) > 0 {
				t.Error(listFindings(report))
			}
			for _, w := range c.want {
				if !w.in(report) {
					t.Errorf("no %s:%s", w, listFindings(report))
				}
			}
		})
	}
}

// says appends an audit entry about retention, as nobody's orders would: there is no expiry in the
// database.
func (r *agedRig) says(t testing.TB, event, entity string, facts map[string]string, until evidence.Micros, leaf int64, paths ...string) ledger.Receipt {
	t.Helper()
	at := evidence.MicrosOf(time.Now())
	rec := &evidence.Record{Kind: evidence.KindAudit, ID: ledger.NewID(at), OccurredAt: at}
	for name, v := range map[string]string{
		"source_domain": "LOGS", "source_component": "AuditLedgerWriter", "event_type": event, "entity_type": "RETENTION",
		"entity_id": entity, "actor_type": "SYSTEM", "system_id": "ledger",
	} {
		rec.SetText(name, v)
	}
	for name, v := range facts {
		rec.SetText(name, v)
	}
	if until != 0 {
		rec.SetInt("valid_until", int64(until))
	}
	if leaf > 0 {
		rec.SetSealed("/targets", (&evidence.Targets{Ranges: []evidence.TargetRange{{From: leaf, To: leaf + 1, Paths: paths}}}).JSON())
	}
	if err := rec.Complete(); err != nil {
		t.Fatal(err)
	}
	receipts, err := r.Append(context.Background(), "acme", []*evidence.Record{rec}, ledger.AppendOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return receipts[0]
}

// TestExpiredEarly: a RetentionApplied is judged by the policy that was on record when it was
// made, and accounts for nothing that was recorded after the time that it names. The database's
// guards, which would have refused it, are not asked.
func TestExpiredEarly(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	r := openAged(t, dir)
	ago := func(days int) evidence.Micros { return evidence.MicrosOf(time.Now().AddDate(0, 0, -days)) }
	entity := "RETENTION"
	applied := func(leaf int64, limit string, until evidence.Micros) int64 {
		facts := map[string]string{"rule_id": "llm_runs", "limit_value": limit, "limit_unit": "days", "entity_type": entity}
		return r.says(t, "RetentionApplied", evidence.KindTraceStep.Table(), facts, until, leaf).LeafIndex
	}
	var early []int64
	for _, x := range []struct {
		policy, limit string
		until         evidence.Micros
		early         bool
	}{
		{"", "90", ago(89), true}, // the default
		{"", "90", ago(91), false},
		{"30", "30", ago(31), false},
		{"30", "90", ago(31), false}, // it became shorter meanwhile
		{"30", "30", ago(29), true},
		{"30", "29", ago(31), false}, // it became longer meanwhile
		{"30", "29.5", ago(31), true},
		{"30", "30", 0, true},
		{"120", "30", ago(31), true},
		{"120", "120", ago(121), false},
		{"1.5", "1", ago(150), true}, // a limit that lets nothing go
		{"0", "0", ago(150), true},
	} {
		if x.policy != "" {
			r.says(t, "RetentionPolicyChanged", "llm_runs", map[string]string{"limit_value": x.policy, "limit_unit": "days"}, x.until, 0)
		}
		if seq := applied(r.old[1][2].LeafIndex, x.limit, x.until); x.early {
			early = append(early, seq)
		}
	}
	entity = "LOG" // which makes it cover no less
	early = append(early, applied(r.old[1][2].LeafIndex, "30", ago(29)))
	entity = "RETENTION"
	report, err := ledger.Verify(context.Background(), ledger.LiveConfig{Reader: r.db, Sealer: r.sealer, Anchor: r.anchor})
	if err != nil {
		t.Fatal(err)
	}
	var got []int64
	for _, f := range report.Findings {
		if f.Code != ledger.CodeUnaccounted || f.Table != "audit_ledger" || f.Column != "valid_until" {
			t.Errorf("something else: %s", f)
		}
		for seq := f.From; seq < f.To; seq++ { // those of neighbours are one
			got = append(got, seq)
		}
	}
	if diff := cmp.Diff(early, got); diff != "" {
		t.Errorf("%s%s", diff, listFindings(report))
	}

	young, covered := r.old[2][2].LeafIndex, r.old[3][2].LeafIndex
	applied(young, "400", ago(181))
	applied(covered, "400", ago(179))
	// Of leaves that move, and keys that are retired, records name none.
	moved := map[string]string{"rule_id": "moved"}
	r.says(t, "RetentionApplied", "leaf_segments", moved, ago(1), 0)
	r.says(t, "RetentionApplied", "data_keys", map[string]string{"rule_id": "retired"}, ago(1), 0)
	noTable := r.says(t, "RetentionApplied", "leaf_segments", moved, ago(1), young, "/prompt").LeafIndex
	d := &deployment{dir: dir}
	if err := d.note(context.Background(), r.rig); err != nil {
		t.Fatal(err)
	}
	r.close()
	l := d.log("acme", 1)
	d.tamper(t, func(e *evil) {
		e.change(2, `DELETE FROM r_trace_step WHERE row = ?1 OR row = ?2`, row(l, young), row(l, covered))
	})
	report = verifyDir(t, dir)
	missing := func(seq int64) bool {
		return want{code: ledger.CodeColumn, table: "aos_trace_steps", log: l, seq: seq, at: true, says: "no record says that it has expired"}.in(report)
	}
	if !missing(young) || missing(covered) {
		t.Errorf("a row younger than its expiry says is missing: %v, one that was older: %v%s", missing(young), missing(covered), listFindings(report))
	}
	for seq := noTable - 2; seq <= noTable; seq++ {
		column := want{code: ledger.CodeColumn, table: "audit_ledger", column: "targets", log: l, seq: seq, at: true, says: "of no table"}.in(report)
		judged := want{code: ledger.CodeUnaccounted, table: "audit_ledger", log: l, seq: seq, at: true, says: "about no table of records"}.in(report)
		if is := seq == noTable; column != is || judged != is {
			t.Errorf("leaf %d: %v, %v, want %v%s", seq, column, judged, is, listFindings(report))
		}
	}
}

// TestOrderChanged: between the choice and the order, while an archive is written, the policy becomes
// longer or the clock is set back. What is old enough all the same goes, and is no finding; what is not is
// refused, whatever the database's own clock says, and nothing is written.
func TestOrderChanged(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	r := openAged(t, filepath.Join(t.TempDir(), "data"))
	to := r.old[3][0].LeafIndex
	policy := func(days string) {
		r.says(t, "RetentionPolicyChanged", evidence.ClassLLMRuns, map[string]string{"limit_value": days, "limit_unit": "days"}, 0, 0)
	}
	refused := func(why string) {
		t.Helper()
		size := r.Integrity("acme").TreeSize
		// Old enough is what is of another class: all or nothing is ordered.
		orders := agedOrders(1, to, evidence.KindSystem, evidence.KindTraceStep)
		if _, _, err := r.OrderExpiry(ctx, "acme", orders); !errors.Is(err, evidence.ErrConflict) || errors.Is(err, evidence.ErrUnavailable) {
			t.Errorf("%s: %v", why, err)
		}
		if n := r.Integrity("acme").TreeSize; n != size || r.pending(t) != 0 {
			t.Errorf("%s: %d leaves, were %d; %d expiries", why, n, size, r.pending(t))
		}
	}
	policy("120")
	refused("a policy of 120 days")
	policy("1.5")
	refused("a policy that lets nothing go")
	policy("95")
	r.expire(t, 1, to, evidence.KindSystem, evidence.KindTraceStep)
	if n := r.sound(t).Expired; n != 6 {
		t.Errorf("%d records have expired", n)
	}
}

// TestOrderClockBack: see TestOrderChanged. The times of a log do not decrease, so what counts is
// that of the record itself.
func TestOrderClockBack(t *testing.T) {
	t.Parallel()
	r := openAged(t, filepath.Join(t.TempDir(), "data"))
	r.close()
	h := newHands()
	h.wall = time.Now().AddDate(0, 0, -15) // before the clock was set right
	r.rig = openRig(t, r.dir, h.clock)
	orders := agedOrders(0, r.old[3][0].LeafIndex, evidence.KindTraceStep)
	if _, _, err := r.OrderExpiry(context.Background(), "acme", orders); !errors.Is(err, evidence.ErrConflict) {
		t.Error(err)
	}
	if r.sound(t); r.pending(t) != 0 {
		t.Error("it is ordered")
	}
}

// TestExpiredAudit: no record lets entries of the audit ledger go that are not synthetic.
func TestExpiredAudit(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	dir := filepath.Join(t.TempDir(), "data")
	r := openAged(t, dir)
	seq := r.old[1][3].LeafIndex
	receipts := []ledger.Receipt{r.says(t, "RetentionApplied", "audit_ledger", map[string]string{"rule_id": "audit"}, 0, seq)}
	d := &deployment{dir: dir}
	if err := d.note(ctx, r.rig); err != nil {
		t.Fatal(err)
	}
	r.close()
	l := d.log("acme", 1)
	d.tamper(t, func(e *evil) { e.change(1, `DELETE FROM r_audit WHERE row = ?1`, row(l, seq)) })
	report := verifyDir(t, dir)
	for _, w := range []want{
		{code: ledger.CodeColumn, table: "audit_ledger", column: "targets", log: l, seq: receipts[0].LeafIndex, at: true, says: "which are never removed"},
		{code: ledger.CodeColumn, table: "audit_ledger", log: l, seq: seq, at: true, says: "missing"},
	} {
		if !w.in(report) {
			t.Errorf("no %s:%s", w, listFindings(report))
		}
	}
}

// TestFollowExpired: new leaves that nobody has verified before their rows expired are no finding.
func TestFollowExpired(t *testing.T) {
	t.Parallel()
	r := openAged(t, filepath.Join(t.TempDir(), "data"))
	r.expire(t, 0, r.end, evidence.KindTraceStep)
	if err := r.FollowFrom(context.Background(), "acme", 0); err != nil {
		t.Fatal(err)
	}
	if in := r.Integrity("acme"); len(in.Anomalies) > 0 || in.Status == ledger.StatusCompromised {
		t.Errorf("%+v", in)
	}
}

// TestExpiredTerm: steps of a trace are indexed once. Where the step with the entry has expired and others have
// not, nothing is missing.
func TestExpiredTerm(t *testing.T) {
	t.Parallel()
	r, h := pastRig(t)
	const ada = `,"human_actor_id":"ada"`
	a := r.append(t, "acme", step(1, 1, content+ada+`,"is_synthetic":true`), step(1, 2, content+ada), step(1, 3, content+ada))
	r.order(t, h, 1, "aos_trace_steps", evidence.ClassSynthetic, ranges(a...))
	if n := r.expire(t); n != 1 {
		t.Fatalf("%d rows went", n)
	}
	r.sound(t)
	r.append(t, "acme", step(1, 4, content+ada)) // which brings the entry anew
	r.sound(t)
}
