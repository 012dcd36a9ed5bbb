package export_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/export"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/problem"
	"github.com/runledger/runledger/internal/store"
	"github.com/runledger/runledger/verify"
)

// happened is a system record at seconds after 15:00, by its event and what it says.
func happened(n int, at, event, more string) string {
	return fmt.Sprintf(`{"kind":"system","id":"00000000-0000-4000-8001-%012x","occurred_at":"2026-11-23T%sZ","component":"worker",`+
		`"event_type":%q,"severity":"WARN","summary":"summary of %s","source_domain":"SYSTEM","source_component":"SystemRecordWriter"%s}`,
		n, at, event, event, more)
}

// judged is an audit entry about a kind of entity.
func judged(n int, at, event, entity, more string) string {
	return fmt.Sprintf(`{"kind":"audit","id":"00000000-0000-4000-8002-%012x","occurred_at":"2026-11-23T%sZ","event_type":%q,`+
		`"entity_type":%q,"entity_id":"e-1","actor_type":"SYSTEM","action_reason":"reason of %s",`+
		`"source_domain":"POLICY","source_component":"AuditLedgerWriter"%s}`, n, at, event, entity, event, more)
}

// systemKey is the verifier key of the system tenant's newest log.
func (r *rig) systemKey() string {
	r.t.Helper()
	logs, err := r.Logs(context.Background(), evidence.SystemTenant)
	if err != nil {
		r.t.Fatal(err)
	}
	return logs[len(logs)-1].VKey
}

// events returns the events of the records in a directory.
func events(t testing.TB, z []byte, dir string) (list []string) {
	t.Helper()
	for _, leaf := range parsedLeaves(t, z, dir) {
		if e := leaf.Text("event_type"); e != "" {
			list = append(list, e)
		} else {
			list = append(list, leaf.Kind.String())
		}
	}
	return list
}

func parsedLeaves(t testing.TB, z []byte, dir string) (list []*evidence.Leaf) {
	t.Helper()
	for line := range linesOf(fileOf(t, z, dir+"/records.jsonl")) {
		rec, err := verify.ParseRecord(line)
		if err != nil {
			t.Fatal(err)
		}
		leaf, err := evidence.ParseLeaf(rec.Leaf)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, leaf)
	}
	return list
}

// counted is completeness.json of a bundle of a run.
func countedRun(t testing.TB, z []byte) (run map[string]any) {
	t.Helper()
	var c struct{ Run map[string]any }
	if err := json.Unmarshal(fileOf(t, z, "completeness.json"), &c); err != nil {
		t.Fatal(err)
	}
	return c.Run
}

// turned is the ending of a run that turned at 15:00:00.
func turned(run, more string) string {
	return end(run, 1, `,"inflection_at":"2026-11-23T15:00:00Z","inflection_kind":"denial","completed_at":"2026-11-23T15:09:00Z"`+more)
}

// windowRig has a run that turned at 15:00:00, and around it what belongs into its
// bundle and what does not.
func windowRig(t testing.TB) *rig {
	r := newRig(t)
	const shared = `,"visibility":"shared"`
	r.append("acme",
		happened(1, "14:59:30", "EDGE", ""),
		happened(2, "14:59:29.999999", "TOO_EARLY", ""),
		happened(3, "15:00:30", "LAST", ""),
		happened(4, "15:00:30.000001", "TOO_LATE", ""),
		happened(5, "15:00:00", "OF_ANOTHER_RUN", `,"run_id":"run-2"`),
		happened(6, "15:00:00", "OF_THIS_RUN", `,"run_id":"run-1"`),
		judged(1, "15:00:00", "PolicyEvaluated", "POLICY_RULE", ""),
		judged(2, "15:00:00", "LimitChecked", "LIMIT", ""),
		judged(3, "15:00:00", "EmergencyOverrideActivated", "INCIDENT", ""),
		judged(4, "15:00:00", "IncidentResolved", "INCIDENT", ""),
		judged(5, "15:00:00", "LimitUpdated", "LIMIT", `,"run_id":"run-2"`),
		judged(6, "15:00:00", "LimitBreached", "LIMIT", `,"run_id":"run-1"`),
		judged(7, "14:59:29.999999", "PolicyRuleCreated", "POLICY_RULE", ""),
		turned("run-1", ""))
	r.append(evidence.SystemTenant,
		happened(11, "14:59:59", "SHARED", shared),
		happened(12, "14:59:59", "NOT_SHARED", ""),
		happened(13, "15:00:31", "SHARED_LATER", shared),
		happened(14, "15:00:00", "SHARED_OF_A_RUN", shared+`,"run_id":"run-9"`))
	return r
}

func TestRunWindow(t *testing.T) {
	r := windowRig(t)
	keys := []string{r.keys[0], r.systemKey()}
	z := zipOf(t, r.exportRun(export.Request{Run: "run-1"}))
	rep := r.good(z, verify.Options{Keys: keys})
	want := []string{
		"EDGE", "LAST", "OF_THIS_RUN", "PolicyEvaluated", "LimitChecked", "EmergencyOverrideActivated", "LimitBreached", "llm_run", "export",
	}
	if diff := cmp.Diff(want, events(t, z, "logs/0")); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"SHARED"}, events(t, z, "logs/1")); diff != "" {
		t.Error(diff)
	}
	if rep.Run.Records != 3 || len(rep.Logs) != 2 {
		t.Errorf("%+v", rep.Run)
	}
	got, _ := json.Marshal(countedRun(t, z)["window"])
	const window = `{"center":"2026-11-23T15:00:00.000000Z","end":"2026-11-23T15:00:30.000000Z","policy":4,"shared":1,"shared_left_out":0,` +
		`"start":"2026-11-23T14:59:30.000000Z","system":3,"truncated":false,"why":"inflection_at"}`
	if string(got) != window {
		t.Errorf("window %s", got)
	}
	if rep := r.verify(z, verify.Options{Keys: keys[:1]}); !rep.Has(verify.WNoKey) || rep.Verdict != verify.VerifiedWithLimits {
		t.Errorf("without the key of the system log: %s %v", rep.Verdict, rep.Findings)
	}
}

// TestRunNoAudit: who may not read audit entries gets those of the run itself.
func TestRunNoAudit(t *testing.T) {
	r := windowRig(t)
	r.append("acme", policy(21, `,"correlation_id":"order-7"`), end("run-1", 2, `,"correlation_id":"order-7"`))
	r.exportRun(export.Request{Run: "run-1"})
	all := countedRun(t, zipOf(t, r.exportRun(export.Request{Run: "run-1"})))
	if all["accesses"] != 1.0 || all["exports"] != 3.0 || all["accesses_hidden"] != false || all["correlated"] != 1.0 {
		t.Errorf("accesses %v", all)
	}
	z := zipOf(t, r.exportRun(export.Request{Run: "run-1", NoAudit: true}))
	r.good(z, verify.Options{Keys: []string{r.keys[0], r.systemKey()}})
	for _, leaf := range parsedLeaves(t, z, "logs/0") {
		if leaf.Run != "run-1" && (leaf.Kind == evidence.KindAudit || leaf.Kind == evidence.KindExport) {
			t.Errorf("%s %s of run %q", leaf.Kind, leaf.Text("event_type"), leaf.Run)
		}
	}
	// The entry of an erasure accounts for what is gone; why and by whom is not shown.
	places, err := r.RunPlaces(t.Context(), "acme", "run-1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Erase(t.Context(), "acme", ledger.Erasure{
		Fields: []ledger.ErasedField{{Position: places[0].Position}}, Reason: "SecretReason", By: "secret-operator@example.com",
	}); err != nil {
		t.Fatal(err)
	}
	for _, format := range []string{export.FormatZIP, export.FormatJSON, export.FormatCSV} {
		for noAudit, want := range map[bool]bool{true: false, false: format != export.FormatCSV} {
			b := bytesOf(t, r.exportRun(export.Request{Run: "run-1", NoAudit: noAudit, Format: format}))
			if got := bytes.Contains(b, []byte("SecretReason")) && bytes.Contains(b, []byte("secret-operator")); got != want {
				t.Errorf("%s, no audit %v: who erased and why is there: %v", format, noAudit, got)
			}
		}
	}
	r.good(zipOf(t, r.exportRun(export.Request{Run: "run-1", NoAudit: true})), verify.Options{Keys: []string{r.keys[0], r.systemKey()}})
	hidden := countedRun(t, z)
	if hidden["accesses"] != 0.0 || hidden["exports"] != 0.0 || hidden["accesses_hidden"] != true || hidden["correlated"] != 0.0 {
		t.Errorf("accesses %v", hidden)
	}
}

// TestRunWindowOfLife: the center is the turning point, else the end, else the
// start, else the first record; of the newest revision.
func TestRunWindowOfLife(t *testing.T) {
	r := newRig(t)
	center := func() string {
		w, _ := countedRun(t, zipOf(t, r.exportRun(export.Request{Run: "run-1"})))["window"].(map[string]any)
		return fmt.Sprint(w["center"], " ", w["why"])
	}
	for _, tt := range []struct{ append, want string }{
		{judged(1, "10:00:00", "LimitChecked", "LIMIT", `,"run_id":"run-1"`), "2026-11-23T10:00:00.000000Z first record"},
		{end("run-1", 1, ""), "2026-11-23T15:00:01.000000Z started_at"},
		{end("run-1", 2, `,"completed_at":"2026-11-23T15:30:00Z"`), "2026-11-23T15:30:00.000000Z completed_at"},
		{end("run-1", 3, `,"completed_at":"2026-11-23T15:30:00Z","inflection_at":"2026-11-23T15:10:00Z"`), "2026-11-23T15:10:00.000000Z inflection_at"},
		{end("run-1", 3, `,"inflection_at":"2026-11-23T15:20:00Z"`), "2026-11-23T15:10:00.000000Z inflection_at"}, // contradicts
	} {
		r.append("acme", tt.append)
		if got := center(); got != tt.want {
			t.Errorf("center %s, want %s", got, tt.want)
		}
	}
}

// TestRunWindowOfRollovers: the system's logs stand between the tenant's.
func TestRunWindowOfRollovers(t *testing.T) {
	r := windowRig(t)
	ctx := context.Background()
	keys := []string{r.keys[0], r.systemKey()}
	for _, tenant := range []string{"acme", evidence.SystemTenant} {
		info, err := r.Rollover(ctx, tenant)
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, info.VKey)
	}
	r.append(evidence.SystemTenant, happened(21, "15:00:01", "SHARED_AFTER", `,"visibility":"shared"`))
	z := zipOf(t, r.exportRun(export.Request{Run: "run-1"}))
	rep := r.good(z, verify.Options{Keys: keys})
	if len(rep.Logs) != 4 || rep.Run.Records != 3 {
		t.Fatalf("%+v", rep.Logs)
	}
	got := [][]string{events(t, z, "logs/0"), events(t, z, "logs/1"), events(t, z, "logs/2")}
	if diff := cmp.Diff([][]string{{"LOG_OPENED", "export"}, {"SHARED_AFTER"}, {"SHARED"}}, got); diff != "" {
		t.Error(diff)
	}
	if last := events(t, z, "logs/3"); !slices.Contains(last, "EDGE") {
		t.Errorf("logs/3 has %v", last)
	}
}

// TestRunWindowErased: a shared record of which content is gone cannot be accounted
// for, and is left out.
func TestRunWindowErased(t *testing.T) {
	r := windowRig(t)
	ctx := context.Background()
	found, err := r.Find(ctx, store.Query{
		Tenant: evidence.SystemTenant, Kind: evidence.KindSystem, Limit: 10,
		Where: []store.Condition{{Field: "event_type", Values: []string{"SHARED"}}},
	})
	if err != nil || len(found) != 1 {
		t.Fatal(found, err)
	}
	x, _ := r.exports(0)
	before := open(t, x, runRequest("run-1"), "")
	if !bytes.Contains(content(t, x, before.ExportID), []byte("summary of SHARED")) {
		t.Fatal("the export lacks what it is about")
	}
	_, err = r.Erase(ctx, evidence.SystemTenant, ledger.Erasure{Fields: []ledger.ErasedField{{Position: found[0].Position, Paths: []string{"/summary"}}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := x.Content(ctx, "acme", before.ExportID); !errors.Is(err, problem.ErrGone) {
		t.Errorf("from before the erasure: %v", err)
	}
	z := zipOf(t, r.exportRun(export.Request{Run: "run-1"}))
	if rep := r.good(z, verify.Options{}); len(rep.Logs) != 1 {
		t.Errorf("%+v", rep.Logs)
	}
	w, _ := countedRun(t, z)["window"].(map[string]any)
	if w["shared"] != 0.0 || w["shared_left_out"] != 1.0 {
		t.Errorf("window %v", w)
	}
}
