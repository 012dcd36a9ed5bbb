package server_test

import (
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/runledger/runledger/internal/access"
	"github.com/runledger/runledger/internal/server"
)

// preflightRules are the shipped rules, of which the temporary one of runs expires
// at a time.
func preflightRules(t *testing.T, expires time.Time) *access.Rules {
	t.Helper()
	text := string(access.DefaultRulesFile())
	// Whatever the shipped file says, the others do not expire now.
	text = regexp.MustCompile(`expires: \S+`).ReplaceAllString(text, "expires: "+expires.AddDate(1, 0, 0).Format(time.RFC3339))
	from := strings.Index(text, "- id: preflight.llm-runs")
	if from < 0 {
		t.Fatal("the shipped rules have no preflight.llm-runs")
	}
	text = text[:from] + strings.Replace(text[from:], expires.AddDate(1, 0, 0).Format(time.RFC3339), expires.Format(time.RFC3339), 1)
	rules, err := access.ParseRules([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return rules
}

// TestReadPreflight: in preflight a temporary rule shows more, and synthetic runs;
// once it has expired the standing one counts again, without a restart.
func TestReadPreflight(t *testing.T) {
	t.Parallel()
	expires := time.Now().UTC().Truncate(time.Second).Add(4 * time.Second)
	rules := preflightRules(t, expires)
	r := newReads(t, func(c *server.ServeConfig) { c.Rules, c.Environment = rules, access.Preflight })
	producer, auditor := r.newKey(t, own), r.roleKey(t, own, "auditor")
	viewer := r.roleKey(t, own, "viewer")
	r.put(t, producer,
		r.line("llm_run", 0, object{"run_id": "real"}),
		r.line("llm_run", 0, object{"run_id": "made", "is_synthetic": true, "synthetic_scenario_id": "SDSR-LOG-LLM-001"}))
	month := "?limit=500&occurred_after=" + r.start.AddDate(0, 0, -29).Format(time.RFC3339)
	// On a machine so slow that it has expired meanwhile, this part says nothing.
	status, _, list := r.get(t, viewer, "/api/v1/logs/llm-runs"+month, nil)
	envelope, _, _ := r.get(t, viewer, "/api/v1/logs/llm-runs/made/envelope", nil)
	synthetic, _, _ := r.get(t, viewer, "/api/v1/logs/llm-runs?is_synthetic=true", nil)
	wide, _, _ := r.get(t, viewer, "/api/v1/logs/llm-runs?limit=501", nil)
	if time.Now().Before(expires) {
		if status != http.StatusOK || envelope != http.StatusOK || synthetic != http.StatusOK || wide != http.StatusUnprocessableEntity ||
			!strings.Contains(string(list), `"made"`) || !strings.Contains(string(list), `"real"`) {
			t.Errorf("before it expires: %d %d %d %d %.300s", status, envelope, synthetic, wide, list)
		}
	} else {
		t.Log("the temporary rule had expired before it was tried")
	}
	time.Sleep(time.Until(expires) + 10*time.Millisecond)
	wantAt(t, r.ask(t, viewer, "/api/v1/logs/llm-runs?limit=101", http.StatusUnprocessableEntity), object{"field": "limit"})
	wantAt(t, r.ask(t, viewer, "/api/v1/logs/llm-runs?occurred_after="+r.start.AddDate(0, 0, -29).Format(time.RFC3339), http.StatusUnprocessableEntity), object{"field": "occurred_after"})
	wantAt(t, r.ask(t, viewer, "/api/v1/logs/llm-runs?is_synthetic=true", http.StatusForbidden), object{"field": "is_synthetic"})
	r.ask(t, viewer, "/api/v1/logs/llm-runs/made/envelope", http.StatusNotFound)
	if got := each(t, r.ask(t, viewer, "/api/v1/logs/llm-runs", http.StatusOK), "items", "run_id"); !slices.Equal(got, []string{"real"}) {
		t.Errorf("after it expired: %q", got)
	}
	// The others still count.
	r.ask(t, viewer, "/api/v1/logs/system"+month, http.StatusOK)
	r.ask(t, auditor, "/api/v1/logs/audit"+month, http.StatusOK)
	// Each record says by which rule.
	views := r.ask(t, auditor, "/api/v1/logs/audit/access", http.StatusOK)
	byRule := each(t, views, "access_events", "rule_id")
	for _, id := range []string{"logs.llm-runs", "preflight.system", "preflight.audit"} {
		if !slices.Contains(byRule, id) {
			t.Errorf("no look by rule %s: %q", id, byRule)
		}
	}
}

// TestReadOwnRules: a file of rules counts whole. What it does not let in is
// closed, and what it narrows is narrow.
func TestReadOwnRules(t *testing.T) {
	rules, err := access.ParseRules([]byte(`
version: 1
public_paths: [/healthz, /openapi.json]
rules:
  - {id: health, path: /healthz, methods: [GET], tier: PUBLIC, environments: [production]}
  - {id: document, path: /openapi.json, methods: [GET], tier: PUBLIC, environments: [production]}
  - {id: schemas, path: /schemas, methods: [GET], tier: SESSION, permissions: [], tenant: optional, environments: [production], record: none}
  - {id: in, path: /api/v1/ingest, methods: [POST], tier: KEY, permissions: [ingest.write], environments: [production], record: none}
  - id: runs
    path: /api/v1/logs/llm-runs
    methods: [GET]
    tier: SESSION
    permissions: [logs.read]
    environments: [production]
    topic: LLM_RUNS
    record: view
    authority: {include_synthetic: false, max_rows: 3, max_time_range_days: 1, export_allowed: false}
  - id: bundle
    path: /api/v1/logs/llm-runs/*/export
    methods: [GET]
    tier: SESSION
    permissions: [logs.export]
    environments: [production]
    topic: LLM_RUNS
    record: export
    authority: {include_synthetic: false, max_rows: 3, max_time_range_days: 1, export_allowed: false}
`))
	if err != nil {
		t.Fatal(err)
	}
	r := newReads(t, func(c *server.ServeConfig) { c.Rules = rules })
	producer, operator := r.newKey(t, own), r.roleKey(t, own, "operator")
	r.keys["producer@"+own] = producer
	run := r.nativeRun(t)
	r.used(t, producer, operator)
	r.ask(t, operator, "/api/v1/logs/llm-runs?limit=3", http.StatusOK)
	r.ask(t, operator, "/api/v1/logs/llm-runs?limit=4", http.StatusUnprocessableEntity)
	r.wantAdded(t, "what no rule lets in", map[string]int{"ACCESS_DECISION": 2}, func() {
		r.ask(t, operator, "/api/v1/logs/system", http.StatusForbidden)
		r.ask(t, operator, "/api/v1/logs/llm-runs/"+run+"/export", http.StatusForbidden)
	})
	if status, _ := get(t, r.url+"/readyz"); status != http.StatusUnauthorized {
		t.Errorf("readyz is public although no rule says so: %d", status)
	}
}
