package export_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/export"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/store"
	"github.com/runledger/runledger/internal/zipstore"
	"github.com/runledger/runledger/verify"
)

// append appends native records to a tenant's log.
func (r *rig) append(tenant string, lines ...string) []ledger.Receipt {
	r.t.Helper()
	var records []*evidence.Record
	for _, line := range lines {
		rec, err := evidence.ParseNative([]byte(line))
		if err != nil {
			r.t.Fatalf("%s: %v", line, err)
		}
		records = append(records, rec)
	}
	receipts, err := r.Append(context.Background(), tenant, records, ledger.AppendOptions{Producer: "cli:test"})
	if err != nil {
		r.t.Fatal(err)
	}
	return receipts
}

const source = `"source_domain":"ACTIVITY","source_component":"TraceStore"`

// end is the ending of a run.
func end(run string, revision int, more string) string {
	return fmt.Sprintf(`{"kind":"llm_run","occurred_at":"2026-11-23T15:00:01Z","run_id":%q,"revision":%d,"execution_status":"SUCCEEDED",`+
		`"prompt":"Where is order A-17?",%s%s}`, run, revision, source, more)
}

// policy is an audit entry about no run, or with more about one.
func policy(n int, more string) string {
	return fmt.Sprintf(`{"kind":"audit","id":"00000000-0000-4000-8000-%012x","occurred_at":"2026-11-23T15:00:02Z","event_type":"PolicyEvaluated",`+
		`"entity_type":"POLICY_RULE","entity_id":"rule-%d","actor_type":"SYSTEM","action_reason":"refund over the limit",`+
		`"source_domain":"POLICY","source_component":"AuditLedgerWriter"%s}`, n, n, more)
}

func (r *rig) exportRun(req export.Request) *export.Bundle {
	r.t.Helper()
	req.Tenant, req.Profile = "acme", verify.ProfileRun
	if req.By.Name == "" {
		req.By = export.Requester{Name: "cli:operator", Human: true}
	}
	b, err := r.exporter.Export(context.Background(), req)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = b.Close() })
	return b
}

func fileOf(t testing.TB, z []byte, name string) []byte {
	t.Helper()
	zr, err := zipstore.Open(bytes.NewReader(z), int64(len(z)))
	if err != nil {
		t.Fatal(err)
	}
	b, err := zr.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// linesOf yields the lines of a file.
func linesOf(b []byte) iter.Seq[[]byte] { return bytes.SplitSeq(bytes.TrimSpace(b), []byte("\n")) }

// leavesOf returns "<run>/<n> <kind>" of the records in a directory.
func leavesOf(t testing.TB, z []byte, dir string) (list []string) {
	t.Helper()
	for _, l := range parsedLeaves(t, z, dir) {
		list = append(list, strings.TrimSpace(fmt.Sprintf("%s/%d %s %s", l.Run, l.N, l.Kind, l.Text("event_type"))))
	}
	return list
}

func TestRunBundle(t *testing.T) {
	r := newRig(t)
	r.steps(1, 0, 30)
	r.steps(2, 30, 300)
	r.append("acme", end("run-1", 1, `,"policy_ids":["p-2"],"human_actor_id":"ada"`))
	since, err := r.Checkpoint(context.Background(), "acme")
	if err != nil {
		t.Fatal(err)
	}
	r.steps(2, 400, 10)
	b := r.exportRun(export.Request{Run: "run-1", ExportID: "export-1"})
	z := zipOf(t, b)
	if again := zipOf(t, b); !bytes.Equal(z, again) {
		t.Error("the second writing of a bundle differs from the first")
	}
	rep := r.good(z, verify.Options{})
	want := &verify.RunReport{RunID: "run-1", Records: 31, Ended: true, Revision: 1, RecordCount: 31, Later: []verify.LaterRecord{}}
	if diff := cmp.Diff(want, rep.Run); diff != "" {
		t.Error(diff)
	}
	// And that this export was begun.
	if rep.Counts["leaves"] != 32 || rep.Counts["export"] != 1 || rep.Logs[0].Records != 32 || b.Records != 32 || int64(len(z)) != b.Bytes {
		t.Errorf("counts %v, %d records, %d bytes", rep.Counts, b.Records, b.Bytes)
	}
	if bytes.Contains(z, []byte("step 31")) || !bytes.Contains(z, []byte("step 29")) {
		t.Error("not the content of this run alone")
	}
	if rep := r.verify(z, verify.Options{Since: since}); !rep.Has(verify.USince) {
		t.Errorf("%s %v", rep.Verdict, rep.Findings)
	}
	// Metadata of an answer: of the records, by who asked.
	m := b.Metadata
	if *m.RunID != "run-1" || *m.ExportID != "export-1" || *m.Checksum != b.Digest || m.Origin != "HUMAN" || *m.HumanActorID != "cli:operator" ||
		m.SystemID != nil || m.AgentID != nil || !slices.Equal(m.PolicyIDs, []string{"p-2"}) || m.SourceComponent != "LogExportService" ||
		m.OccurredAt.String() != "2026-11-23T15:00:00.000000Z" || *m.TraceID != fmt.Sprintf("%032x", 1) {
		t.Errorf("metadata %+v", m)
	}
	var counted struct {
		Records int64
		Run     map[string]any
		Runs    any
	}
	if err := json.Unmarshal(fileOf(t, z, "completeness.json"), &counted); err != nil {
		t.Fatal(err)
	}
	if counted.Records != 32 || counted.Run["records"] != 31.0 || counted.Run["ended"] != true || counted.Run["record_count"] != 31.0 || counted.Runs != nil {
		t.Errorf("completeness %+v", counted)
	}
}

func TestRunSinceSize(t *testing.T) {
	r := newRig(t)
	r.steps(1, 0, 5)
	head, note, err := r.PublishNow(context.Background(), "acme", 1)
	if err != nil {
		t.Fatal(err)
	}
	r.steps(1, 5, 5)
	r.append("acme", end("run-1", 1, ""))
	z := zipOf(t, r.exportRun(export.Request{Run: "run-1", SinceSize: head.Size}))
	r.good(z, verify.Options{Since: note})
}

// TestRunLife exports a run that is open, then ended, then revised with late
// records.
func TestRunLife(t *testing.T) {
	r := newRig(t)
	r.steps(1, 0, 3)
	rep := r.verify(zipOf(t, r.exportRun(export.Request{Run: "run-1"})), verify.Options{})
	if !rep.Has(verify.WOpen) || rep.Verdict != verify.VerifiedWithLimits || rep.Run.Records != 3 {
		t.Fatalf("open: %s %v", rep.Verdict, rep.Findings)
	}
	r.append("acme", end("run-1", 1, ""))
	r.steps(1, 3, 2)
	rep = r.good(zipOf(t, r.exportRun(export.Request{Run: "run-1"})), verify.Options{})
	if rep.Run.RecordCount != 4 || rep.Run.LaterCount != 2 || rep.Run.Later[1].N != 5 || rep.Run.Later[1].Kind != "trace_step" {
		t.Errorf("late records: %+v", rep.Run)
	}
	r.append("acme", end("run-1", 2, ""))
	rep = r.good(zipOf(t, r.exportRun(export.Request{Run: "run-1"})), verify.Options{})
	if rep.Run.Revision != 2 || rep.Run.RecordCount != 7 || rep.Run.LaterCount != 0 || rep.Counts["llm_run"] != 2 {
		t.Errorf("revised: %+v %v", rep.Run, rep.Counts)
	}
	// A contradicting ending counts in n and does not end the run anew.
	r.append("acme", end("run-1", 2, `,"response":"other"`))
	rep = r.good(zipOf(t, r.exportRun(export.Request{Run: "run-1"})), verify.Options{})
	if rep.Run.Records != 8 || rep.Run.RecordCount != 7 || rep.Run.LaterCount != 1 {
		t.Errorf("contradicted: %+v", rep.Run)
	}
}

// TestRunErased exports a run of which single fields and a person were erased.
func TestRunErased(t *testing.T) {
	r := newRig(t)
	r.steps(1, 0, 6)
	r.steps(2, 6, 6)
	r.append("acme", end("run-1", 1, ""))
	ctx := context.Background()
	places, err := r.RunPlaces(ctx, "acme", "run-1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Erase(ctx, "acme", ledger.Erasure{Fields: []ledger.ErasedField{{Position: places[0].Position, Paths: []string{"/prompt"}}}}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Erase(ctx, "acme", ledger.Erasure{Person: "operator-1@example.com", Reason: "asked"}); err != nil {
		t.Fatal(err)
	}
	for name, req := range map[string]export.Request{
		"": {}, "withheld": {Withhold: []string{"*"}}, "not permitted": {NotPermitted: true},
	} {
		req.Run = "run-1"
		z := zipOf(t, r.exportRun(req))
		rep := r.good(z, verify.Options{})
		if n := rep.Counts["withheld_erased"]; n != 3 { // a prompt, and the actor of 2 of 6 steps
			t.Errorf("%s: %d erased fields, want 3", name, n)
		}
		if rep.Run.LaterCount != 2 {
			t.Errorf("%s: %d later records, want those of the two erasures", name, rep.Run.LaterCount)
		}
		if bytes.Contains(z, []byte("run-2")) {
			t.Errorf("%s: the bundle speaks of another run", name)
		}
	}
}

func TestRunWithhold(t *testing.T) {
	// 3 steps with actor, params and prompt; the ending with actor and prompt; the
	// pending export with actor, request, and twice who requested it.
	for name, tt := range map[string]struct {
		req                                export.Request
		disclosed, requested, notPermitted int64
	}{
		"all":                    {export.Request{}, 15, 0, 0},
		"withhold":               {export.Request{Withhold: []string{"/prompt"}}, 11, 4, 0},
		"disclose":               {export.Request{Disclose: []string{"p*"}}, 7, 8, 0},
		"both":                   {export.Request{Disclose: []string{"p*"}, Withhold: []string{"params"}}, 4, 11, 0},
		"not permitted":          {export.Request{NotPermitted: true}, 0, 0, 15},
		"not permitted and more": {export.Request{NotPermitted: true, Withhold: []string{"/prompt"}, Disclose: []string{"*"}}, 0, 0, 15},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.steps(1, 0, 3)
			r.append("acme", end("run-1", 1, ""))
			tt.req.Run = "run-1"
			b := r.exportRun(tt.req)
			z := zipOf(t, b)
			c := r.good(z, verify.Options{}).Counts
			if c["disclosed"] != tt.disclosed || c["withheld_requested"] != tt.requested || c["withheld_not_permitted"] != tt.notPermitted {
				t.Errorf("counts %v", c)
			}
			if tt.req.NotPermitted && (bytes.Contains(z, []byte("order A-17")) || bytes.Contains(z, []byte("operator-")) || bytes.Contains(z, []byte("cli:operator")) || b.Metadata.HumanActorID != nil) {
				t.Error("content, or who asked, shows")
			}
		})
	}
}

// TestRunCorrelated: audit entries with a correlation id of the run come with it,
// also those of other runs, and what explains what was erased of them.
func TestRunCorrelated(t *testing.T) {
	r := newRig(t)
	ctx := context.Background()
	r.append("acme", policy(1, `,"correlation_id":"order-7"`))
	r.steps(1, 0, 2)
	r.append("acme", policy(2, `,"correlation_id":"order-7","run_id":"run-2"`), policy(3, `,"correlation_id":"order-8"`),
		policy(4, `,"run_id":"run-2"`), policy(5, `,"run_id":"run-1"`), end("run-1", 1, `,"correlation_id":"order-7"`))
	z := zipOf(t, r.exportRun(export.Request{Run: "run-1"}))
	rep := r.good(z, verify.Options{})
	want := []string{
		"/0 audit PolicyEvaluated", "run-1/0 trace_step", "run-1/1 trace_step", "run-2/0 audit PolicyEvaluated",
		"/0 audit PolicyEvaluated", // of another correlation, but in the window
		"run-1/2 audit PolicyEvaluated", "run-1/3 llm_run", "/0 export",
	}
	if diff := cmp.Diff(want, leavesOf(t, z, "logs/0")); diff != "" {
		t.Error(diff)
	}
	if rep.Run.Records != 4 || !bytes.Contains(fileOf(t, z, "completeness.json"), []byte(`"correlated": 2`)) {
		t.Errorf("%+v", rep.Run)
	}
	// What is erased of entries that are not the run's own is explained by records
	// that are not the run's own.
	found, err := r.Find(ctx, store.Query{
		Tenant: "acme", Kind: evidence.KindAudit, Limit: 10,
		Where: []store.Condition{{Field: "correlation_id", Values: []string{"order-7"}}},
	})
	if err != nil || len(found) != 2 {
		t.Fatal(found, err)
	}
	for _, f := range found {
		if _, err := r.Erase(ctx, "acme", ledger.Erasure{Fields: []ledger.ErasedField{{Position: f.Position, Paths: []string{"/action_reason"}}}}); err != nil {
			t.Fatal(err)
		}
	}
	z = zipOf(t, r.exportRun(export.Request{Run: "run-1"}))
	rep = r.good(z, verify.Options{})
	if rep.Counts["withheld_erased"] != 2 || rep.Counts["leaves"] != 13 || rep.Counts["export"] != 3 || rep.Run.Records != 4 {
		t.Errorf("counts %v", rep.Counts)
	}
}

// TestRunRollover exports runs that stand in the log before, in both, and in the
// newest.
func TestRunRollover(t *testing.T) {
	r := newRig(t)
	ctx := context.Background()
	r.steps(1, 0, 300)
	r.steps(2, 300, 2)
	r.append("acme", end("run-2", 1, ""))
	info, err := r.Rollover(ctx, "acme")
	if err != nil {
		t.Fatal(err)
	}
	r.steps(1, 300, 20)
	places, err := r.RunPlaces(ctx, "acme", "run-1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Erase(ctx, "acme", ledger.Erasure{Fields: []ledger.ErasedField{{Position: places[7].Position}}}); err != nil {
		t.Fatal(err)
	}
	r.append("acme", end("run-1", 1, ""))
	r.steps(3, 400, 2)
	r.append("acme", end("run-3", 1, ""))
	keys := []string{r.keys[0], info.VKey}
	for run, want := range map[string]struct{ logs, newest, older, records int64 }{
		"run-1": {2, 24, 300, 322}, "run-2": {2, 2, 3, 3}, "run-3": {1, 4, 0, 3},
	} {
		z := zipOf(t, r.exportRun(export.Request{Run: run}))
		rep := r.good(z, verify.Options{Keys: keys})
		if int64(len(rep.Logs)) != want.logs || rep.Logs[0].Records != want.newest || want.logs == 2 && rep.Logs[1].Records != want.older ||
			rep.Run.Records != want.records || rep.Logs[0].Origin != info.Origin {
			t.Errorf("%s: %+v %+v", run, rep.Logs, rep.Run)
		}
	}
	z := zipOf(t, r.exportRun(export.Request{Run: "run-1"}))
	if rep := r.verify(z, verify.Options{Keys: keys[1:]}); rep.Verdict != verify.VerifiedWithLimits || !rep.Has(verify.WNoKey) {
		t.Errorf("without the older log's key: %s %v", rep.Verdict, rep.Findings)
	}
}

// TestRunOfAnotherTenant: it is as unknown as a run that nobody has, and leaves
// no record.
func TestRunOfAnotherTenant(t *testing.T) {
	r := newRig(t)
	if _, err := r.CreateTenant(context.Background(), "other"); err != nil {
		t.Fatal(err)
	}
	r.append("other", end("secret", 1, ""))
	r.steps(1, 0, 1)
	size := func() int64 {
		h, _, err := r.PublishNow(context.Background(), "acme", 1)
		if err != nil {
			t.Fatal(err)
		}
		return h.Size
	}
	before := size()
	texts := map[string]string{}
	for _, run := range []string{"secret", "nobody"} {
		_, err := r.exporter.Export(context.Background(), export.Request{
			Tenant: "acme", Profile: verify.ProfileRun, Run: run, By: export.Requester{Name: "cli:test"},
		})
		if !errors.Is(err, evidence.ErrNotFound) {
			t.Fatalf("%s: %v", run, err)
		}
		texts[strings.ReplaceAll(err.Error(), run, "RUN")] = run
	}
	if len(texts) != 1 {
		t.Errorf("the errors differ: %v", texts)
	}
	if after := size(); after != before {
		t.Errorf("%d records were left", after-before)
	}
}

func TestRunBadRequests(t *testing.T) {
	r := newRig(t)
	r.steps(1, 0, 1)
	for name, edit := range map[string]func(*export.Request){
		"no run":           func(r *export.Request) { r.Run = "" },
		"long run":         func(r *export.Request) { r.Run = strings.Repeat("x", 129) },
		"format":           func(r *export.Request) { r.Format = "xml" },
		"table of a log":   func(r *export.Request) { r.Profile, r.Run, r.Format = verify.ProfileLog, "", export.FormatCSV },
		"csv directory":    func(r *export.Request) { r.Format, r.Directory = export.FormatCSV, true },
		"json of a log":    func(r *export.Request) { r.Profile, r.Run, r.Format = verify.ProfileLog, "", export.FormatJSON },
		"json directory":   func(r *export.Request) { r.Format, r.Directory = export.FormatJSON, true },
		"run of a log":     func(r *export.Request) { r.Profile = verify.ProfileLog },
		"disclose nothing": func(r *export.Request) { r.Disclose = []string{"/promt"} },
		"since":            func(r *export.Request) { r.SinceSize = 5000 },
	} {
		req := export.Request{Tenant: "acme", Profile: verify.ProfileRun, Run: "run-1", By: export.Requester{Name: "cli:test"}}
		edit(&req)
		if _, err := r.exporter.Export(context.Background(), req); !errors.Is(err, evidence.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestRunErasedOrderers: who looked at a run was erased by order of somebody who was erased, and so on: the bundle has the
// orders that account for each.
func TestRunErasedOrderers(t *testing.T) {
	r := newRig(t)
	ctx := context.Background()
	r.steps(1, 0, 2)
	r.append("acme", end("run-1", 1, ""))
	look := &evidence.Record{Kind: evidence.KindAudit, ID: ledger.NewID(r.now()), OccurredAt: r.now()}
	for name, text := range map[string]string{
		"event_type": "LOG_VIEW", "entity_type": "LOG", "entity_id": "llm_runs", "actor_type": "HUMAN", "about_run": "run-1", "decision": "ALLOWED",
		"source_domain": "LOGS", "source_component": "AuditLedgerWriter",
	} {
		look.SetText(name, text)
	}
	look.SetHumanActor("person-0")
	if err := look.Complete(); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Append(ctx, "acme", []*evidence.Record{look}, ledger.AppendOptions{}); err != nil {
		t.Fatal(err)
	}
	for n := range 4 {
		e := ledger.Erasure{Person: fmt.Sprintf("person-%d", n), Reason: "left", By: fmt.Sprintf("person-%d", n+1)}
		if _, err := r.Erase(ctx, "acme", e); err != nil {
			t.Fatal(err)
		}
		rep := r.good(zipOf(t, r.exportRun(export.Request{Run: "run-1"})), verify.Options{})
		if got := rep.Counts["withheld_erased"]; got < int64(n+1) {
			t.Errorf("%d fields are erased after %d erasures", got, n+1)
		}
	}
}
