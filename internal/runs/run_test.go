package runs

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/dialect"
)

const testTrace = "0af7651916cd43dd8448eb211c80319c"

var testStart, _ = evidence.ParseMicros("2026-11-23T15:00:00.000000Z")

// item is a record of a test run, with what its receipt and mapping would say.
type item struct {
	record *evidence.Record
	hints  dialect.Hints
	place  place
}

// m is the members of a native record that differ from the usual.
type m map[string]any

func native(t testing.TB, kind string, at int, more m) item {
	t.Helper()
	obj := m{
		"kind": kind, "occurred_at": (testStart + evidence.Micros(at)).String(), "run_id": testTrace,
		"source_domain": "ACTIVITY", "source_component": "test",
	}
	for k, v := range more {
		if v == nil {
			delete(obj, k)
			continue
		}
		obj[k] = v
	}
	line, err := json.Marshal(obj)
	if err != nil {
		t.Fatal(err)
	}
	r, err := evidence.ParseNative(line)
	if err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	if err := r.AssignID("acme"); err != nil {
		t.Fatal(err)
	}
	return item{record: r, place: place{id: r.ID}}
}

func spanOf(n int) string { return fmt.Sprintf("%016x", n) }

// span is a step of a span from start to end, in microseconds of the test.
func spanItem(t testing.TB, id, parent int, kind string, start, end int, more m) item {
	t.Helper()
	obj := m{
		"trace_id": testTrace, "span_id": spanOf(id), "skill_name": fmt.Sprintf("step %d", id), "step_kind": kind,
		"status": "success", "duration_us": end - start,
	}
	if parent != 0 {
		obj["parent_span_id"] = spanOf(parent)
	}
	for k, v := range more {
		obj[k] = v
	}
	return native(t, "trace_step", start, obj)
}

func audit(t testing.TB, id, at int, more m) item {
	t.Helper()
	obj := m{
		"id": fmt.Sprintf("018f0000-0000-7000-8000-%012x", id), "source_domain": "POLICY", "actor_type": "SYSTEM",
		"event_type": "PolicyEvaluated", "entity_type": "POLICY_RULE", "entity_id": "rule-1",
	}
	for k, v := range more {
		obj[k] = v
	}
	return native(t, "audit", at, obj)
}

func event(t testing.TB, id, at int, span int, h dialect.Hints) item {
	t.Helper()
	obj := m{"id": fmt.Sprintf("018f0000-0000-7000-8001-%012x", id), "event_name": "gen_ai.event", "trace_id": testTrace}
	if span != 0 {
		obj["span_id"] = spanOf(span)
	}
	it := native(t, "trace_event", at, obj)
	it.hints = h
	return it
}

func (it item) with(h dialect.Hints) item {
	it.hints = h
	return it
}

// numbered gives records their places in order of arrival.
func numbered(items []item) []item {
	steps := int64(0)
	for i := range items {
		p := &items[i].place
		p.n, p.step = int64(i), -1
		if items[i].record.Kind == evidence.KindTraceStep && !p.conflict {
			p.step = steps
			steps++
		}
	}
	return items
}

func fold(items []item) *run {
	a := newRun("acme", testTrace, 80)
	for _, it := range items {
		a.add(it.record, it.place, &it.hints)
	}
	return a
}

// ended returns the record of a run of these records.
func endedBy(t testing.TB, by string, items ...item) *evidence.Record {
	t.Helper()
	a := fold(numbered(items))
	if !a.complete() {
		t.Errorf("%d records, up to n %d", a.records, a.maxN)
	}
	r := a.facts(by, 1)
	if err := r.Complete(); err != nil {
		t.Fatal(err)
	}
	return r
}

func ended(t testing.TB, items ...item) *evidence.Record {
	t.Helper()
	return endedBy(t, byRoot, items...)
}

// flat writes a record's facts and sealed fields as text.
func flat(r *evidence.Record) map[string]string {
	out := map[string]string{}
	for i := range r.Pub {
		f := &r.Pub[i]
		text := string(f.AppendJSON(nil))
		if f.Field.Type.IsText() {
			text = f.Str
		}
		out[f.Field.Name] = text
	}
	for _, v := range r.Sealed {
		out[v.Path] = string(v.JSON)
	}
	return out
}

// want compares some facts; "" means absent.
func want(t *testing.T, r *evidence.Record, facts map[string]string) {
	t.Helper()
	got := flat(r)
	for name, w := range facts {
		if got[name] != w {
			t.Errorf("%s is %q, want %q", name, got[name], w)
		}
	}
}

func messages(role, text string) []any { return []any{m{"role": role, "content": text}} }

func hintMessages(role, text string) []byte {
	b, err := json.Marshal(messages(role, text))
	if err != nil {
		panic(err)
	}
	return b
}

func at(us int) string { return (testStart + evidence.Micros(us)).String() }

// call is a model call with all numbers.
func call(id, parent, start, end, in, out int, more m) func(t testing.TB) item {
	return func(t testing.TB) item {
		obj := m{
			"input_tokens": in, "output_tokens": out, "cached_input_tokens": 1, "cache_write_input_tokens": 2,
			"reasoning_tokens": 3, "cost_usd_nanos": in * 1000, "provider": "openai", "model": "gpt-5-2026", "request_model": "gpt-5",
		}
		for k, v := range more {
			obj[k] = v
		}
		return spanItem(t, id, parent, "llm", start, end, obj)
	}
}

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

func TestContent(t *testing.T) {
	root := func(more m) item { return spanItem(t, 1, 0, "agent", 0, 1000, more) }
	user := func(s string) m { return m{"prompt": messages("user", s)} }
	tests := []struct {
		name             string
		items            []item
		prompt, response string
	}{
		{"nothing", []item{root(nil)}, "", ""},
		{"first and last call", []item{
			root(m{"prompt": messages("user", "root")}), call(3, 1, 50, 60, 1, 1, m{"prompt": messages("user", "second"), "response": messages("assistant", "b")})(t),
			call(2, 1, 10, 20, 1, 1, m{"prompt": messages("user", "first"), "response": messages("assistant", "a")})(t),
		}, "first", "b"},
		{"the first call has no user", []item{root(nil), call(2, 1, 10, 20, 1, 1, m{"prompt": messages("system", "be kind")})(t), call(3, 1, 30, 40, 1, 1, user("q"))(t)}, "q", ""},
		{"only the root has it", []item{root(m{"prompt": messages("user", "root"), "response": messages("assistant", "bye")}), call(2, 1, 10, 20, 1, 1, nil)(t)}, "root", "bye"},
		{"the last call asks for a tool, the root answers", []item{root(m{"outcome_data": "done"}), call(2, 1, 10, 20, 1, 1, m{"response": []any{m{"role": "assistant", "tool_calls": []any{}}}})(t)}, "", "done"},
		{"the root puts out JSON", []item{root(m{"outcome_data": m{"n": 1}})}, "", `{"n":1}`},
		{"the outer call has the content", []item{
			root(nil), call(2, 1, 10, 50, 1, 1, m{"prompt": messages("user", "o"), "response": messages("assistant", "outer")})(t), call(3, 2, 20, 40, 1, 1, nil)(t),
		}, "o", "outer"},
		{"the last call failed", []item{root(nil), call(2, 1, 10, 20, 1, 1, m{"response": messages("assistant", "a")})(t), call(3, 1, 30, 40, 1, 1, m{"status": "failure"})(t)}, "", ""},
		{"log events", []item{
			event(t, 1, 11, 2, dialect.Hints{Prompt: hintMessages("user", "from log")}), event(t, 2, 19, 2, dialect.Hints{Response: hintMessages("assistant", "log answer")}),
			event(t, 3, 12, 2, dialect.Hints{Prompt: hintMessages("user", "later")}), root(nil), call(2, 1, 10, 20, 1, 1, nil)(t),
		}, "from log", "log answer"},
		{"a step before its events", []item{
			event(t, 1, 1, 2, dialect.Hints{Prompt: hintMessages("user", "log"), Response: hintMessages("assistant", "log")}),
			call(2, 1, 10, 20, 1, 1, m{"prompt": messages("user", "step"), "response": messages("assistant", "step")})(t), root(nil),
		}, "step", "step"},
		{"events of the first call, steps of the second", []item{
			call(3, 1, 50, 60, 1, 1, user("second"))(t), call(2, 1, 10, 20, 1, 1, nil)(t), event(t, 1, 70, 2, dialect.Hints{Prompt: hintMessages("user", "first")}), root(nil),
		}, "first", ""},
		{"events of no step", []item{event(t, 1, 1, 0, dialect.Hints{Prompt: hintMessages("user", "q"), Response: hintMessages("assistant", "a")})}, "q", "a"},
		{"several subjects", []item{root(m{"subject": "ada"}), call(2, 1, 1, 2, 1, 1, m{"subject": "bob", "prompt": messages("user", "x"), "status": "failure"})(t)}, "", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := ended(t, test.items...)
			for path, w := range map[string]string{"/prompt": test.prompt, "/response": test.response} {
				if got := textOf(r.SealedJSON(path)); got != w {
					t.Errorf("%s is %q, want %q", path, got, w)
				}
				if has := r.SealedJSON(path+"_hash") != nil; has != (w != "") {
					t.Errorf("%s_hash: %v", path, has)
				}
			}
			if test.name == "several subjects" && (r.SealedJSON("/inflection_reason") != nil || r.SealedJSON("/subject") != nil) {
				t.Error("content is copied though there are several subjects")
			}
		})
	}
}

func TestNames(t *testing.T) {
	// Names as they stand after sealing: the public place holds a replacement.
	step := spanItem(t, 1, 0, "agent", 0, 9, m{"agent_id": "Агент", "policy_ids": []string{"ok", "größe"}})
	for i, f := range step.record.Pub {
		switch f.Field.Name {
		case "agent_id":
			step.record.Pub[i].Str = "h:0123456789abcdef"
		case "policy_ids":
			step.record.Pub[i].List = []string{"ok", "h:0123456789abcdef"}
		}
	}
	r := ended(t, step)
	want(t, r, map[string]string{"agent_id": "Агент", "/agent_id": `"Агент"`, "/policy_ids": `["größe","ok"]`})

	// Where it was erased the name is not known.
	step.record.Sealed = slices.DeleteFunc(step.record.Sealed, func(v evidence.SealedValue) bool { return v.Path != "/actor" })
	r = ended(t, step)
	want(t, r, map[string]string{"agent_id": "", "policy_ids": `["ok"]`, "/agent_id": ""})

	var many []string
	for i := range 60 {
		many = append(many, fmt.Sprintf("%03d%s", 99-i, strings.Repeat("x", 125)))
	}
	r = ended(t, spanItem(t, 1, 0, "agent", 0, 9, m{"policy_ids": many[:30]}), spanItem(t, 2, 1, "tool", 0, 9, m{"policy_ids": many[30:], "incident_ids": many[:30]}))
	f, _ := r.Fact("policy_ids")
	if len(f.List) != maxSet || f.List[0] != many[59] {
		t.Errorf("%d policy ids, first %.3s", len(f.List), f.List[0])
	}
	want(t, r, map[string]string{"completeness": `["lists_truncated"]`})
}

func TestSyntheticAndOrigin(t *testing.T) {
	root := spanItem(t, 1, 0, "agent", 0, 9, m{"origin": "REPLAY"})
	want(t, ended(t, root), map[string]string{"origin": "REPLAY", "source": "API"})
	r := ended(t, root, spanItem(t, 2, 1, "tool", 1, 2, nil).with(dialect.Hints{Synthetic: true, ScenarioID: "SDSR-1", Source: "nonsense"}))
	want(t, r, map[string]string{"origin": "SYSTEM", "is_synthetic": "true", "synthetic_scenario_id": "SDSR-1"})
	r = ended(t, root, spanItem(t, 2, 1, "tool", 1, 2, nil).with(dialect.Hints{Synthetic: true}))
	want(t, r, map[string]string{"source": "SYNTHETIC"})
	// Two people: neither is the run's.
	r = ended(t, spanItem(t, 1, 0, "agent", 0, 9, m{"human_actor_id": "ada"}), spanItem(t, 2, 1, "tool", 1, 2, m{"human_actor_id": "bob"}))
	want(t, r, map[string]string{"/actor": "{}", "actor_type": "SYSTEM"})
	// Who decided about it did not act in it.
	r = ended(t, root, audit(t, 1, 1, m{"human_actor_id": "boss", "actor_type": "HUMAN", "event_type": "LimitOverrideGranted"}))
	want(t, r, map[string]string{"/actor": "{}"})
}

func TestRunning(t *testing.T) {
	a := fold(numbered([]item{spanItem(t, 1, 7, "agent", 0, 9, nil)}))
	r := a.facts("", 1)
	want(t, r, map[string]string{"execution_status": "", "outcome": "", "completed_at": "", "sealed_by": "", "step_count": "1", "started_at": `"` + at(0) + `"`})
	if diff := cmp.Diff(flat(r), flat(a.facts("", 1))); diff != "" {
		t.Errorf("asked twice (-first +second):\n%s", diff)
	}
}

// TestFarTimes has steps at the ends of what can be written.
func TestFarTimes(t *testing.T) {
	far := native(t, "trace_step", 0, m{
		"occurred_at": "9999-12-31T23:59:59.999999Z", "trace_id": testTrace, "span_id": spanOf(1), "skill_name": "x",
		"step_kind": "tool", "status": "failure", "duration_us": evidence.MaxInt,
	})
	want(t, ended(t, far), map[string]string{"completed_at": "", "inflection_at": "", "inflection_kind": "failure"})
}
