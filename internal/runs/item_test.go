package runs

import (
	"encoding/json"
	"fmt"
	"testing"

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
