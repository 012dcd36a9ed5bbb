package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/runledger/runledger/answer"
)

// command runs the program.
func command(words ...string) (status int, stdout, stderr string) {
	var out, errs bytes.Buffer
	status = run(context.Background(), words, nil, &out, &errs)
	return status, out.String(), errs.String()
}

// ledgerServer answers with f and keeps what was asked.
func ledgerServer(t *testing.T, f func(w http.ResponseWriter, r *http.Request)) (address string, asked *[]string) {
	t.Helper()
	asked = &[]string{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		*asked = append(*asked, r.URL.RequestURI())
		f(w, r)
	}))
	t.Cleanup(s.Close)
	return s.URL, asked
}

func goldenPage(cursor string) answer.Page {
	p := answer.Page{Total: 10000, FiltersApplied: map[string]any{"occurred_after": "2026-11-16T16:00:02.000000Z", "model": "m"}, Metadata: goldenMeta()}
	if cursor != "" {
		p.HasMore, p.NextCursor = true, &cursor
	}
	return p
}

// wholeRun is a run as a list has it.
func wholeRun(id string) answer.RunEnvelope {
	r := *goldenEnvelope()
	r.RunID = id
	return r
}

// TestReadCommands: each command asks its route with its parameters, and shows
// the answer as it came where that is asked for.
func TestReadCommands(t *testing.T) {
	const logs = "/api/v1/logs"
	list := []string{"--limit", "7", "--occurred-after", "2026-11-23T17:00:00+01:00", "--occurred-before", "2026-11-24", "--no-is-synthetic"}
	const listed = "is_synthetic=false&limit=7"
	const times = "&occurred_after=2026-11-23T16%3A00%3A00.000000Z&occurred_before=2026-11-24T00%3A00%3A00.000000Z"
	steps := goldenTrace()
	for i := range steps.Steps {
		steps.Steps[i].Metadata = goldenMeta()
		for k := range steps.Steps[i].Events {
			steps.Steps[i].Events[k].Metadata = goldenMeta()
		}
	}
	steps.Events[0].Metadata, steps.Metadata = goldenMeta(), goldenMeta()
	window := &answer.ReplayWindow{LLMEvents: []answer.ReplayEvent{}, SystemEvents: []answer.ReplayEvent{}, PolicyEvents: []answer.ReplayEvent{}, Metadata: goldenMeta()}
	entry := goldenEntries()[1]
	tests := []struct {
		words  []string
		asks   string
		answer any
		says   string
	}{
		{append([]string{"runs", "--model", "a b", "--human-actor-id", "x&y"}, list...), logs + "/llm-runs?human_actor_id=x%26y&" + listed + "&model=a+b" + times, answer.RunList{Items: []answer.RunEnvelope{wholeRun("r")}, Page: goldenPage("")}, "support-bot"},
		{[]string{"run", "show", "order 42/x"}, logs + "/llm-runs/order%2042%2Fx/envelope", goldenEnvelope(), "150 EUR is over the limit"},
		{[]string{"run", "trace", "r"}, logs + "/llm-runs/r/trace", steps, "tool refund"},
		{
			[]string{"run", "governance", "r"},
			logs + "/llm-runs/r/governance",
			answer.RunGovernance{ThresholdChecks: []answer.ThresholdCheck{}, PolicyEvaluations: []answer.PolicyEvaluation{}, Overrides: []answer.Override{}, Metadata: goldenMeta()},
			"Overrides: none",
		},
		{[]string{"run", "replay", "r", "--window-seconds", "10", "--center", "2026-11-23T16:00:00.000001Z"}, logs + "/llm-runs/r/replay?center=2026-11-23T16%3A00%3A00.000001Z&window_seconds=10", window, "Nothing is on record"},
		{append([]string{"system", "--component", "db"}, list...), logs + "/system?component=db&" + listed + times, answer.SystemList{Items: []answer.SystemEvent{{Component: "db", Metadata: goldenMeta()}}, Page: goldenPage("")}, "db"},
		{[]string{"system", "list"}, logs + "/system", answer.SystemList{Items: []answer.SystemEvent{}, Page: goldenPage("")}, ""},
		{[]string{"system", "snapshot", "r"}, logs + "/system/r/snapshot", answer.SystemSnapshot{EnvironmentID: "env-1", Baseline: []answer.SystemEvent{}, Metadata: goldenMeta()}, "environment env-1"},
		{[]string{"system", "telemetry", "r"}, logs + "/system/r/telemetry", answer.SystemTelemetry{Status: "telemetry_not_collected", Metadata: goldenMeta()}, "telemetry_not_collected"},
		{[]string{"system", "events", "r"}, logs + "/system/r/events", answer.SystemEvents{Events: []answer.SystemEvent{}, Metadata: goldenMeta()}, "No event"},
		{[]string{"system", "replay", "r"}, logs + "/system/r/replay", window, "Nothing is on record"},
		{
			[]string{"system", "audit", "--caused-by", "HUMAN"},
			logs + "/system/audit?caused_by=HUMAN",
			answer.SystemAudit{Entries: []answer.SystemEvent{}, Responsibility: []answer.Responsibility{{Component: "db"}}, FiltersApplied: map[string]any{}, Metadata: goldenMeta()},
			"not known  db",
		},
		{append([]string{"audit", "--event-type", "LOG_VIEW"}, list...), logs + "/audit?event_type=LOG_VIEW&" + listed + times, answer.AuditList{Items: []answer.AuditEntry{entry}, Page: goldenPage("")}, "needs audit.read"},
		{[]string{"audit", "list", "--run-id", "r"}, logs + "/audit?run_id=r", answer.AuditList{Items: []answer.AuditEntry{}, Page: goldenPage("")}, ""},
		{[]string{"audit", "identity"}, logs + "/audit/identity", answer.AuditIdentity{Entries: []answer.AuditEntry{entry}, Page: goldenPage("")}, "viewer"},
		{[]string{"audit", "authorization"}, logs + "/audit/authorization", answer.AuditAuthorization{Decisions: []answer.AuthorizationDecision{}, Page: goldenPage("")}, ""},
		{[]string{"audit", "access"}, logs + "/audit/access", answer.AuditAccess{AccessEvents: []answer.AuditEntry{entry}, Page: goldenPage("")}, "viewer"},
		{[]string{"audit", "integrity"}, logs + "/audit/integrity", answer.AuditIntegrity{IntegrityStatus: "verified", Anomalies: []answer.Anomaly{}, Witnesses: []answer.Witness{}, Timestamps: []answer.Timestamp{}, Metadata: goldenMeta()}, "Anomalies: none"},
		{[]string{"audit", "exports", "--run-id", "r"}, logs + "/audit/exports?run_id=r", answer.AuditExports{Exports: []answer.ExportState{}, Page: goldenPage("")}, ""},
	}
	for _, test := range tests {
		t.Run(strings.Join(test.words, " "), func(t *testing.T) {
			b, err := json.MarshalIndent(test.answer, "", " ") // not as the program writes JSON
			if err != nil {
				t.Fatal(err)
			}
			address, asked := ledgerServer(t, func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Authorization") != "Bearer k" || r.Header.Get("X-Tenant-ID") != "acme" {
					t.Errorf("headers %v", r.Header)
				}
				fmt.Fprintf(w, "%s\n", b)
			})
			words := append(slices.Clone(test.words), "--url", address, "--key", "k", "--tenant", "acme")
			status, stdout, stderr := command(words...)
			if status != 0 || !strings.Contains(stdout, test.says) {
				t.Errorf("exit status %d: %s%s", status, stdout, stderr)
			}
			harmless(t, stdout+stderr)
			status, stdout, stderr = command(append(words, "--json")...)
			if status != 0 || stdout != string(b)+"\n" || stderr != "" {
				t.Errorf("with --json: exit status %d, %s, not the API's words:\n%s", status, stderr, stdout)
			}
			if diff := cmp.Diff([]string{test.asks, test.asks}, *asked); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestReadPages: how many entries are shown, and how they are asked for.
func TestReadPages(t *testing.T) {
	const all = 130
	tests := []struct {
		words []string
		asks  []string // queries
		shown int
		says  string
	}{
		{nil, []string{""}, 50, "50 of more than 10000 runs with model m, occurred_after 2026-11-16T16:00:02.000000Z (--all shows all)\n"},
		{[]string{"--limit", "3"}, []string{"limit=3"}, 3, "3 of more than"},
		{[]string{"--limit", "50"}, []string{""}, 50, "50 of more than"},
		{[]string{"--limit", "60"}, []string{"", "cursor=50&limit=10"}, 60, "60 of more than"},
		{[]string{"--limit", "1000"}, []string{"", "cursor=50", "cursor=100"}, all, "130 of more than 10000 runs with model m, occurred_after 2026-11-16T16:00:02.000000Z\n"},
		{[]string{"--all"}, []string{"", "cursor=50", "cursor=100"}, all, "130 of more than"},
	}
	for _, test := range tests {
		t.Run(strings.Join(test.words, " "), func(t *testing.T) {
			address, asked := ledgerServer(t, func(w http.ResponseWriter, r *http.Request) {
				from, limit := 0, 50
				_, _ = fmt.Sscan(r.URL.Query().Get("cursor"), &from)
				_, _ = fmt.Sscan(r.URL.Query().Get("limit"), &limit)
				until, cursor := min(from+limit, all), ""
				if until < all {
					cursor = fmt.Sprint(until)
				}
				l := answer.RunList{Items: []answer.RunEnvelope{}, Page: goldenPage(cursor)}
				for i := from; i < until; i++ {
					l.Items = append(l.Items, wholeRun(fmt.Sprintf("run-%d", i)))
				}
				_ = json.NewEncoder(w).Encode(l)
			})
			words := append([]string{"runs", "--url", address}, test.words...)
			status, stdout, stderr := command(words...)
			if status != 0 || strings.Count(stdout, "\nrun-") != test.shown || !strings.HasPrefix(stderr, test.says) {
				t.Errorf("exit status %d, %d runs: %s", status, strings.Count(stdout, "\nrun-"), stderr)
			}
			var queries []string
			for _, a := range *asked {
				u, err := url.Parse(a)
				if err != nil {
					t.Fatal(err)
				}
				queries = append(queries, u.RawQuery)
			}
			if diff := cmp.Diff(test.asks, queries); diff != "" {
				t.Error(diff)
			}
			_, stdout, stderr = command(append(words, "--json")...)
			if strings.Count(stdout, "\n") != len(test.asks) || stderr != "" {
				t.Errorf("with --json: %d lines for %d pages, %s", strings.Count(stdout, "\n"), len(test.asks), stderr)
			}
		})
	}
}

// TestNoRuns: who sees no run is told when runs appear, but for programs.
func TestNoRuns(t *testing.T) {
	address, _ := ledgerServer(t, func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(answer.RunList{Items: []answer.RunEnvelope{}, Page: answer.Page{TotalIsExact: true, FiltersApplied: map[string]any{}, Metadata: goldenMeta()}})
	})
	status, stdout, stderr := command("runs", "--url", address)
	if want := "0 of 0 runs\n" + runsAppear + "\n"; status != 0 || stderr != want {
		t.Errorf("exit status %d: %s%s, not %s", status, stdout, stderr, want)
	}
	if status, _, stderr := command("runs", "--url", address, "--json"); status != 0 || stderr != "" {
		t.Errorf("with --json: exit status %d: %s", status, stderr)
	}
}

// TestReadTracePages: a run is shown whole, whatever the pages.
func TestReadTracePages(t *testing.T) {
	address, _ := ledgerServer(t, func(w http.ResponseWriter, r *http.Request) {
		tr := answer.RunTrace{RunID: "r", TotalSteps: 3, Events: []answer.StepEvent{}, Metadata: goldenMeta()}
		at := map[string]int64{"": 0, "1": 1, "2": 2}[r.URL.Query().Get("cursor")]
		tr.Steps = []answer.Step{{StepIndex: at, Kind: "tool", SkillName: fmt.Sprintf("step-%d", at), Timestamp: goldenTime, Events: []answer.StepEvent{}, Flags: []string{}, Metadata: goldenMeta()}}
		if at < 2 {
			next := fmt.Sprint(at + 1)
			tr.HasMore, tr.NextCursor = true, &next
		}
		_ = json.NewEncoder(w).Encode(tr)
	})
	_, stdout, stderr := command("run", "trace", "r", "--url", address)
	if strings.Count(stdout, "step-") != 3 || stderr != "" {
		t.Errorf("%s%s", stdout, stderr)
	}
	_, stdout, stderr = command("run", "trace", "r", "--limit", "2", "--url", address)
	if strings.Count(stdout, "step-") != 2 || !strings.Contains(stderr, "there is more") {
		t.Errorf("%s%s", stdout, stderr)
	}
}

// TestReadErrors: what the API refuses, in the words and with the exit statuses
// of commands, and nothing of it can move the cursor.
func TestReadErrors(t *testing.T) {
	tests := []struct {
		status     int
		body       string
		exitStatus int
		says       string
		json       string
	}{
		{400, `{"code":"malformed","detail":"colour: is not a parameter of this route","field":"colour"}`, 2, "colour: is not a parameter", `"status":400,"code":"malformed","detail":"colour: is not a parameter of this route","field":"colour"`},
		{401, `{"code":"unauthenticated","detail":"a credential is required"}`, 2, "a credential is required (set --key, or RUNLEDGER_KEY)", `"status":401,"code":"unauthenticated"`},
		{403, `{"code":"forbidden","detail":"not permitted"}`, 2, "not permitted", `"status":403,"code":"forbidden"`},
		{404, `{"code":"not_found","detail":"run \u001b[2Jx: not found"}`, 2, "run \ufffd[2Jx: not found", `"status":404,"code":"not_found"`},
		{422, `{"code":"invalid","detail":"occurred_after: too wide","field":"occurred_after"}`, 2, "too wide", `"field":"occurred_after"`},
		{500, `{"code":"tampered","detail":"Stored evidence does not match"}`, 1, "Stored evidence", `"code":"tampered"`},
		{500, `{"code":"internal","detail":"Internal error"}`, 3, "Internal error", `"code":"internal"`},
		{404, `<html>a proxy</html>`, 2, "status 404: <html>a proxy", `"code":"unexpected"`},
		{302, ``, 3, "status 302", `"code":"unexpected"`},
	}
	for _, test := range tests {
		address, asked := ledgerServer(t, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(test.status)
			fmt.Fprint(w, test.body)
		})
		status, stdout, stderr := command("run", "show", "x", "--url", address)
		if status != test.exitStatus || stdout != "" || !strings.Contains(stderr, test.says) || len(*asked) != 1 {
			t.Errorf("%d: exit status %d after %d requests: %s%s", test.status, status, len(*asked), stdout, stderr)
		}
		harmless(t, stderr)
		status, stdout, stderr = command("run", "show", "x", "--url", address, "--json")
		if status != test.exitStatus || stdout != "" || !strings.Contains(stderr, test.json) || !json.Valid([]byte(stderr)) {
			t.Errorf("%d: with --json exit status %d: %s%s", test.status, status, stdout, stderr)
		}
	}
}

func TestReadUnavailable(t *testing.T) {
	// Busy is repeated a little, and an answer that is none is not shown.
	for name, f := range map[string]http.HandlerFunc{
		"busy":    func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) },
		"no JSON": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>log in</html>") },
		"bare":    func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"run_id":"x"}`) },
	} {
		address, asked := ledgerServer(t, f)
		status, stdout, _ := command("run", "show", "x", "--url", address, "--json")
		if status != 3 || stdout != "" || len(*asked) != 3 {
			t.Errorf("%s: exit status %d after %d requests: %s", name, status, len(*asked), stdout)
		}
	}
	if status, _, stderr := command("runs", "--url", "http://127.0.0.1:1"); status != 3 || !strings.Contains(stderr, "refused") {
		t.Errorf("nobody there: exit status %d: %s", status, stderr)
	}
}

func TestReadIntegrityBad(t *testing.T) {
	address, _ := ledgerServer(t, func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(answer.AuditIntegrity{IntegrityStatus: "compromised", Anomalies: []answer.Anomaly{}, Witnesses: []answer.Witness{}, Timestamps: []answer.Timestamp{}, Metadata: goldenMeta()})
	})
	for _, more := range [][]string{nil, {"--json"}} {
		if status, stdout, _ := command(append([]string{"audit", "integrity", "--url", address}, more...)...); status != 1 || !strings.Contains(stdout, "compromised") {
			t.Errorf("%v: exit status %d: %s", more, status, stdout)
		}
	}
}

// TestReadUse: wrong use is exit status 2 before anything is asked.
func TestReadUse(t *testing.T) {
	address, asked := ledgerServer(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	for _, words := range [][]string{
		{"run", "show"},
		{"run", "show", ".."},
		{"run"},
		{"runs", "--limit", "-1"},
		{"runs", "--limit", "5", "--all"},
		{"runs", "--occurred-after", "yesterday"},
		{"runs", "--occurred-after", "-5h"},
		{"runs", "--colour", "x"},
		{"run", "trace", "x", "--limit", "-1"},
		{"run", "replay", "x", "--window-seconds", "-1"},
		{"runs", "--url", "ftp://x"},
		{"runs", "--url", "http://user:secret@x"},
		{"runs", "--key", "a b"},
	} {
		if !slices.Contains(words, "--url") {
			words = append(words, "--url", address)
		}
		if status, stdout, stderr := command(words...); status != 2 || stdout != "" || strings.Contains(stderr, "secret") {
			t.Errorf("%v: exit status %d: %s%s", words, status, stdout, stderr)
		}
	}
	if len(*asked) != 0 {
		t.Errorf("asked %v", *asked)
	}
}

func TestInstant(t *testing.T) {
	now := time.Now()
	for text, want := range map[string]time.Time{
		"2026-11-23T16:00:00.5Z": time.Date(2026, 11, 23, 16, 0, 0, 500_000_000, time.UTC), "2026-11-23": time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC),
		"7d": now.Add(-7 * 24 * time.Hour), "90m": now.Add(-90 * time.Minute), "1h30m": now.Add(-90 * time.Minute), "0s": now,
	} {
		var got instant
		if err := got.UnmarshalText([]byte(text)); err != nil || got.Sub(want).Abs() > time.Minute {
			t.Errorf("%s: %v, want %v: %v", text, got, want, err)
		}
	}
	for _, text := range []string{"", "now", "-1h", "7", "2026-13-01", "99999d"} {
		if err := new(instant).UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is a time", text)
		}
	}
}

// TestKeyNotShown: help says where a key comes from, and not the key.
func TestKeyNotShown(t *testing.T) {
	t.Setenv("RUNLEDGER_KEY", "rl_secret")
	if _, stdout, stderr := command("runs", "--help"); strings.Contains(stdout+stderr, "rl_secret") || !strings.Contains(stdout, "$RUNLEDGER_KEY") {
		t.Error(stdout)
	}
}
