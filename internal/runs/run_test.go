package runs

import (
	"slices"
	"testing"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/dialect"
)

func TestWholeRun(t *testing.T) {
	root := spanItem(t, 1, 0, "agent", 0, 900, m{
		"agent_id": "planner", "system_id": "shop", "human_actor_id": "ada@example.com", "subject": "ada@example.com",
		"correlation_id": "order-7", "policy_ids": []string{"p2"},
	}).with(dialect.Hints{
		RunAlias: "run-42", Conversation: "conv-1", AgentName: "Planner", Source: "SDK", Executor: "agent",
	})
	r := ended(t,
		call(2, 1, 100, 300, 10, 5, m{"prompt": messages("user", "Hi «you»"), "response": messages("assistant", "calling")})(t),
		spanItem(t, 3, 1, "tool", 300, 400, m{"policy_ids": []string{"p1"}, "incident_ids": []string{"i1"}}),
		call(4, 1, 400, 800, 20, 7, m{"model": "gpt-5-mini", "response": messages("assistant", "Done.")})(t),
		root,
	)
	want(t, r, map[string]string{
		"revision": "1", "trace_id": testTrace, "run_alias": "run-42", "execution_status": "SUCCEEDED",
		"executor_type": "agent", "outcome": "success", "provider": "openai", "model": "gpt-5-2026",
		"models": `["gpt-5-2026","gpt-5-mini"]`, "input_tokens": "30", "output_tokens": "12",
		"cached_input_tokens": "2", "cache_write_input_tokens": "4", "reasoning_tokens": "6", "cost_usd_nanos": "30000",
		"started_at": `"` + at(0) + `"`, "completed_at": `"` + at(900) + `"`, "source": "SDK", "conversation_id": "conv-1",
		"agent_name": "Planner", "agent_id": "planner", "system_id": "shop", "correlation_id": "order-7",
		"actor_type": "HUMAN", "origin": "HUMAN", "source_domain": "ACTIVITY", "source_component": "TraceStore",
		"policy_ids": `["p1","p2"]`, "incident_ids": `["i1"]`, "completeness": "[]", "step_count": "4", "sealed_by": "root_span",
		"inflection_at": "", "inflection_kind": "", "producer": "", "is_synthetic": "false",
		"/actor": `{"human_actor_id":"ada@example.com"}`, "/subject": `"ada@example.com"`,
		"/prompt": `"Hi «you»"`, "/response": `"Done."`, "/inflection_reason": "",
		"/prompt_hash":   `"sha256:a384400b643830b32f4d4ff5fab7f2652e04da9129b73df20896d3a9f58c3fbb"`,
		"/response_hash": `"sha256:` + shaDone + `"`,
	})
}

func TestStatus(t *testing.T) {
	failed := m{"status": "failure"}
	block := func(d, entity string) item {
		return audit(t, 1, 5, m{"decision": d, "entity_type": entity})
	}
	tests := []struct {
		name            string
		by              string
		items           []item
		status, outcome string
	}{
		{"root succeeded", byRoot, []item{spanItem(t, 1, 0, "agent", 0, 9, nil), spanItem(t, 2, 1, "tool", 1, 2, failed)}, "SUCCEEDED", "success"},
		{"root failed", byRoot, []item{spanItem(t, 1, 0, "agent", 0, 9, failed), spanItem(t, 2, 1, "tool", 1, 2, nil)}, "FAILED", "failure"},
		{"last of two roots failed", byRoot, []item{spanItem(t, 1, 0, "agent", 0, 9, failed), spanItem(t, 2, 0, "agent", 1, 8, nil)}, "FAILED", "failure"},
		{"first of two roots failed", byRoot, []item{spanItem(t, 1, 0, "agent", 0, 7, failed), spanItem(t, 2, 0, "agent", 1, 8, nil)}, "SUCCEEDED", "success"},
		{"root counts, not a later orphan", byRoot, []item{spanItem(t, 1, 0, "agent", 0, 7, nil), spanItem(t, 2, 77, "agent", 1, 8, failed)}, "SUCCEEDED", "success"},
		{"last top-level failed", byQuiet, []item{spanItem(t, 1, 77, "agent", 0, 9, failed), spanItem(t, 2, 78, "agent", 1, 8, nil), spanItem(t, 3, 1, "tool", 1, 99, nil)}, "FAILED", "failure"},
		{"last top-level succeeded", byQuiet, []item{spanItem(t, 1, 77, "agent", 0, 7, failed), spanItem(t, 2, 78, "agent", 1, 8, nil)}, "SUCCEEDED", "success"},
		{"a retried root", byRoot, []item{spanItem(t, 1, 0, "agent", 0, 9, m{"status": "retry"})}, "SUCCEEDED", "success"},
		{"no step", byTimeout, []item{event(t, 1, 0, 5, dialect.Hints{})}, "TIMEOUT", "terminated"},
		{"idle with a top-level step", byTimeout, []item{spanItem(t, 1, 77, "agent", 0, 9, nil)}, "SUCCEEDED", "success"},
		{"blocked", byRoot, []item{spanItem(t, 1, 0, "agent", 0, 9, failed), block("BLOCKED", "POLICY_RULE")}, "ABORTED", "terminated"},
		{"blocked by a limit, no step", byTimeout, []item{block("BLOCKED", "LIMIT")}, "ABORTED", "terminated"},
		{"a breach that was blocked", byRoot, []item{spanItem(t, 1, 0, "agent", 0, 9, nil), audit(t, 1, 5, m{"decision": "BLOCKED", "entity_type": "LIMIT", "event_type": "LimitBreached", "limit_value": "10", "observed_value": "11"})}, "ABORTED", "terminated"},
		{"denied by a guardrail", byRoot, []item{spanItem(t, 1, 0, "agent", 0, 9, nil), spanItem(t, 2, 1, "guardrail", 1, 2, failed), block("DENIED", "POLICY_RULE")}, "ABORTED", "terminated"},
		{"denied, guardrail passed", byRoot, []item{spanItem(t, 1, 0, "agent", 0, 9, nil), spanItem(t, 2, 1, "guardrail", 1, 2, nil), block("DENIED", "POLICY_RULE")}, "SUCCEEDED", "success"},
		{"guardrail broke without a decision", byRoot, []item{spanItem(t, 1, 0, "agent", 0, 9, nil), spanItem(t, 2, 1, "guardrail", 1, 2, failed)}, "SUCCEEDED", "success"},
		{"allowed", byRoot, []item{spanItem(t, 1, 0, "agent", 0, 9, nil), block("ALLOWED", "POLICY_RULE")}, "SUCCEEDED", "success"},
		{"parents in a circle", byQuiet, []item{spanItem(t, 1, 2, "agent", 0, 9, failed), spanItem(t, 2, 1, "agent", 1, 8, nil)}, "FAILED", "failure"},
		{"its own parent", byQuiet, []item{spanItem(t, 1, 1, "agent", 0, 9, failed)}, "FAILED", "failure"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := endedBy(t, test.by, test.items...)
			want(t, r, map[string]string{"execution_status": test.status, "outcome": test.outcome})
		})
	}
}

func TestThresholds(t *testing.T) {
	limit := func(id int, value, observed, decision string) item {
		obj := m{"event_type": "LimitChecked", "entity_type": "LIMIT", "limit_id": "tokens", "limit_value": value, "observed_value": observed, "limit_unit": "USD"}
		if decision != "" {
			obj["decision"] = decision
		}
		return audit(t, id, id, obj)
	}
	root := spanItem(t, 1, 0, "agent", 0, 9, nil)
	tests := []struct {
		name    string
		items   []item
		outcome string
		breach  string
	}{
		{"exactly 80 %", []item{limit(1, "0.30", "0.240", "PASSED")}, "near_threshold", ""},
		{"just below", []item{limit(1, "0.30", "0.23999999999999999999", "PASSED")}, "success", ""},
		{"beyond float", []item{limit(1, "100000000000000000000001", "80000000000000000000000.79", "PASSED")}, "success", ""},
		{"at the limit", []item{limit(1, "10", "10", "WARNED")}, "near_threshold", ""},
		{"above it, no decision", []item{limit(1, "10", "10.1", "")}, "success", "breach"},
		{"above it, let pass", []item{limit(1, "10", "10.1", "PASSED")}, "near_threshold", ""},
		{"breached", []item{limit(1, "10", "9", "BREACHED"), limit(2, "10", "9", "PASSED")}, "success", "breach"},
		{"nothing allowed, nothing seen", []item{limit(1, "0", "0", "PASSED")}, "success", ""},
		{"a negative limit", []item{limit(1, "-5", "3", "PASSED")}, "success", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := ended(t, append(test.items, root)...)
			want(t, r, map[string]string{"outcome": test.outcome, "inflection_kind": test.breach})
		})
	}
	r := ended(t, root, limit(1, "10", "12", "BREACHED"))
	want(t, r, map[string]string{"/inflection_reason": `"limit tokens: observed 12 of 10 USD"`, "inflection_at": `"` + at(1) + `"`, "inflection_step_index": ""})
	failedRoot := spanItem(t, 1, 0, "agent", 0, 9, m{"status": "failure"})
	want(t, ended(t, failedRoot, limit(1, "10", "9", "PASSED")), map[string]string{"outcome": "failure"})
}

func TestTotals(t *testing.T) {
	root := spanItem(t, 1, 0, "agent", 0, 1000, m{"input_tokens": 999, "output_tokens": 999}) // an agent repeats them
	lack := func(id, parent, start int, names ...string) item {
		obj := m{}
		for _, n := range names {
			obj[n] = nil
		}
		return call(id, parent, start, start+10, 10, 5, obj)(t)
	}
	none := []string{"input_tokens", "output_tokens", "cached_input_tokens", "cache_write_input_tokens", "reasoning_tokens", "cost_usd_nanos"}
	failedCall := func(id int, keep ...string) item {
		obj := m{"status": "failure", "model": nil}
		for _, n := range none {
			if !slices.Contains(keep, n) {
				obj[n] = nil
			}
		}
		return call(id, 1, id*10, id*10+5, 10, 5, obj)(t)
	}
	tests := []struct {
		name  string
		items []item
		want  map[string]string
	}{
		{"no model call", nil, map[string]string{"input_tokens": "", "cost_usd_nanos": "", "model": "", "models": "[]", "completeness": "[]"}},
		{"a call within a call", []item{call(2, 1, 0, 90, 10, 5, nil)(t), spanItem(t, 3, 2, "other", 1, 80, nil), call(4, 3, 2, 70, 10, 5, nil)(t)}, map[string]string{"input_tokens": "10"}},
		{"two calls within a call", []item{call(2, 1, 0, 90, 30, 5, nil)(t), call(4, 2, 2, 70, 10, 5, nil)(t), call(5, 2, 72, 80, 20, 5, nil)(t)}, map[string]string{"input_tokens": "30"}},
		{"a tool within a call", []item{call(2, 1, 0, 90, 10, 5, nil)(t), spanItem(t, 3, 2, "tool", 1, 80, nil)}, map[string]string{"input_tokens": "10"}},
		{"calls in a circle", []item{call(2, 3, 0, 90, 10, 5, nil)(t), call(3, 2, 5, 80, 10, 5, nil)(t)}, map[string]string{"input_tokens": "10"}},
		{"one call lacks input", []item{lack(2, 1, 1), lack(3, 1, 20, "input_tokens")}, map[string]string{"input_tokens": "", "output_tokens": "10", "cost_usd_nanos": "20000", "completeness": `["tokens_unknown"]`}},
		{"one call lacks a cost", []item{lack(2, 1, 1), lack(3, 1, 20, "cost_usd_nanos")}, map[string]string{"input_tokens": "20", "cost_usd_nanos": "", "completeness": `["cost_unknown"]`}},
		{"cached not known", []item{lack(2, 1, 1, "cached_input_tokens")}, map[string]string{"cached_input_tokens": "", "completeness": `["cached_tokens_unknown"]`}},
		{"reasoning of one", []item{lack(2, 1, 1), lack(3, 1, 20, "reasoning_tokens")}, map[string]string{"reasoning_tokens": "", "completeness": `["reasoning_tokens_unknown"]`}},
		{"reasoning of none", []item{lack(2, 1, 1, "reasoning_tokens", "cache_write_input_tokens")}, map[string]string{"reasoning_tokens": "", "cache_write_input_tokens": "", "completeness": `[]`}},
		{"an embedding", []item{spanItem(t, 2, 1, "embedding", 1, 2, m{"input_tokens": 8, "cost_usd_nanos": 16}), lack(3, 1, 20)}, map[string]string{"input_tokens": "18", "output_tokens": "5", "cached_input_tokens": "1", "cost_usd_nanos": "10016", "completeness": "[]"}},
		{"a failed call without usage", []item{failedCall(2), lack(3, 1, 50)}, map[string]string{"input_tokens": "10", "cost_usd_nanos": "10000", "completeness": "[]", "model": "gpt-5", "models": `["gpt-5","gpt-5-2026"]`}},
		{"only failed calls", []item{failedCall(2), failedCall(3)}, map[string]string{"input_tokens": "0", "output_tokens": "0", "cost_usd_nanos": "0", "completeness": "[]"}},
		{"a failed call with usage but no cost", []item{failedCall(2, "input_tokens")}, map[string]string{"input_tokens": "10", "output_tokens": "0", "cost_usd_nanos": "", "completeness": `["cost_unknown"]`}},
		{"beyond what a leaf holds", []item{call(2, 1, 1, 2, 1<<53-1, 5, m{"cost_usd_nanos": 1})(t), call(3, 1, 3, 4, 1, 5, nil)(t)}, map[string]string{"input_tokens": "", "output_tokens": "10", "completeness": `["tokens_unknown"]`}},
		{"zero is not absent", []item{call(2, 1, 1, 2, 0, 0, nil)(t)}, map[string]string{"input_tokens": "0", "output_tokens": "0", "cost_usd_nanos": "0", "completeness": "[]"}},
		{"without span ids", []item{call(2, 1, 1, 2, 3, 4, m{"span_id": nil, "id": "018f0000-0000-7000-8000-000000000001"})(t), call(3, 1, 1, 2, 3, 4, nil)(t)}, map[string]string{"input_tokens": "6"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { want(t, ended(t, append(test.items, root)...), test.want) })
	}
}

func TestFlags(t *testing.T) {
	root := spanItem(t, 1, 0, "agent", 0, 1000, m{"flags": []string{"attrs_dropped", "tokens_maybe_estimated"}})
	outer := call(2, 1, 1, 100, 5, 5, m{"flags": []string{"tokens_maybe_estimated", "attrs_truncated"}})(t)
	inner := call(3, 2, 2, 90, 5, 5, m{"flags": []string{"clock_skew", "made_up"}})(t)
	want(t, ended(t, root, outer, inner), map[string]string{"completeness": `["attrs_dropped","attrs_truncated","clock_skew"]`})
	want(t, endedBy(t, byQuiet, outer), map[string]string{"completeness": `["attrs_truncated","root_missing","tokens_maybe_estimated"]`})
	want(t, endedBy(t, byTimeout, event(t, 1, 1, 1, dialect.Hints{})), map[string]string{"completeness": `["root_missing"]`, "step_count": "0", "completed_at": "", "started_at": `"` + at(1) + `"`})
}

func TestInflection(t *testing.T) {
	failed := m{"status": "failure", "status_message": "rate limited", "outcome_code": "429"}
	root := spanItem(t, 1, 0, "agent", 0, 1000, m{"status": "failure", "status_message": "gave up"})
	first, second := spanItem(t, 2, 1, "tool", 500, 600, failed), spanItem(t, 3, 1, "tool", 100, 900, m{"status": "failure", "outcome_code": "timeout"})
	denial := audit(t, 1, 700, m{"decision": "DENIED", "action_reason": "not at night"})
	breach := audit(t, 2, 10, m{"decision": "BREACHED", "entity_type": "LIMIT", "action_reason": "over"})

	want(t, ended(t, root, second, first, breach), map[string]string{
		"inflection_kind": "failure", "inflection_at": `"` + at(600) + `"`, "inflection_step_index": "2", "/inflection_reason": `"rate limited"`,
	})
	want(t, ended(t, root, second, denial), map[string]string{
		"inflection_kind": "denial", "inflection_at": `"` + at(700) + `"`, "inflection_step_index": "", "/inflection_reason": `"not at night"`,
	})
	want(t, ended(t, second, spanItem(t, 1, 0, "agent", 0, 1000, nil)), map[string]string{"/inflection_reason": `"timeout"`, "inflection_step_index": "0"})
	want(t, ended(t, breach, spanItem(t, 1, 0, "agent", 0, 1000, nil)), map[string]string{"inflection_kind": "breach", "/inflection_reason": `"over"`})
	// What failed together failed from within.
	want(t, ended(t, root, spanItem(t, 2, 1, "tool", 500, 1000, failed)), map[string]string{"/inflection_reason": `"rate limited"`})

	// A governance fact of a span is known by its id.
	guard := spanItem(t, 5, 1, "guardrail", 50, 60, m{"status": "failure"})
	own := audit(t, 3, 650, m{"decision": "BLOCKED", "policy_id": "pii-v2"})
	own.place.id = evidence.NaturalID("acme", evidence.KindAudit, evidence.SpanKey(testTrace, spanOf(5))+":g2")
	want(t, ended(t, root, first, guard, own), map[string]string{
		"inflection_kind": "denial", "inflection_step_index": "2", "/inflection_reason": `"policy pii-v2: BLOCKED"`,
		"execution_status": "ABORTED", "policy_ids": `["pii-v2"]`,
	})
}

func TestConflictsCountNowhere(t *testing.T) {
	root := spanItem(t, 1, 0, "agent", 0, 9, nil)
	other := spanItem(t, 1, 0, "agent", 0, 99, m{"status": "failure", "agent_id": "mallory"})
	other.place.conflict = true
	items := numbered([]item{root, other, call(2, 1, 1, 2, 3, 4, nil)(t)})
	a := fold(items)
	if a.records != 3 || !a.complete() {
		t.Errorf("%d records, complete %v", a.records, a.complete())
	}
	r := a.facts(byRoot, 1)
	if err := r.Complete(); err != nil {
		t.Fatal(err)
	}
	want(t, r, map[string]string{"execution_status": "SUCCEEDED", "step_count": "2", "agent_id": "", "completed_at": `"` + at(9) + `"`})
}
