package facade

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/runledger/runledger/evidence"
)

// fields are the members of a native record.
type fields map[string]any

// native makes a record at a moment. What is not said is what is usual; nil
// takes a member out.
func (r *rig) native(kind string, at evidence.Micros, more ...fields) *evidence.Record {
	r.t.Helper()
	obj := fields{"kind": kind, "occurred_at": at.String(), "source_domain": "ACTIVITY", "source_component": "test"}
	switch kind {
	case "trace_event", "metric", "llm_run", "trace":
	case "audit":
		obj["source_domain"], obj["actor_type"] = "POLICY", "SYSTEM"
	case "system":
		obj["source_domain"], obj["severity"], obj["summary"] = "SYSTEM", "INFO", "something happened"
	}
	switch kind {
	case "audit", "system", "trace_event", "metric":
		r.nextID++
		obj["id"] = fmt.Sprintf("018f0000-0000-7000-8000-%012x", r.nextID)
	}
	for _, m := range more {
		for k, v := range m {
			if v == nil {
				delete(obj, k)
				continue
			}
			obj[k] = v
		}
	}
	line, err := json.Marshal(obj)
	r.must(err)
	rec, err := evidence.ParseNative(line)
	if err != nil {
		r.t.Fatalf("%s: %v", line, err)
	}
	return rec
}

// traceID returns the n-th trace id, which is also the id of its run.
func traceID(n int) string { return fmt.Sprintf("%032x", n) }

func spanID(n int) string { return fmt.Sprintf("%016x", n) }

// step is a span of a run, from and to after rigStart. A parent of 0 is none.
func (r *rig) step(run, id, parent int, kind string, from, to time.Duration, more ...fields) *evidence.Record {
	r.t.Helper()
	f := fields{
		"run_id": traceID(run), "trace_id": traceID(run), "span_id": spanID(id), "skill_name": fmt.Sprintf("step %d", id),
		"step_kind": kind, "status": "success", "duration_us": (to - from).Microseconds(),
	}
	if parent != 0 {
		f["parent_span_id"] = spanID(parent)
	}
	return r.native("trace_step", after(from), append([]fields{f}, more...)...)
}

// simpleRun is a run of three steps within a second of rigStart+at: an agent, a
// model call of 100 and 20 tokens, and a tool.
func (r *rig) simpleRun(run int, at time.Duration, more ...fields) []*evidence.Record {
	r.t.Helper()
	call := fields{
		"input_tokens": 100, "output_tokens": 20, "cost_usd_nanos": 15_000_000, "provider": "openai",
		"model": "gpt-5-2026", "request_model": "gpt-5", "params": fields{"temperature": 0},
		"prompt":   []any{fields{"role": "user", "content": "what is due?"}},
		"response": []any{fields{"role": "assistant", "content": "nothing"}},
	}
	with := func(f ...fields) []fields { return append(f, more...) }
	return []*evidence.Record{
		r.step(run, 1, 0, "agent", at, at+900*time.Millisecond, with(fields{"agent_id": "planner"})...),
		r.step(run, 2, 1, "llm", at+100*time.Millisecond, at+400*time.Millisecond, with(call)...),
		r.step(run, 3, 1, "tool", at+500*time.Millisecond, at+800*time.Millisecond, with()...),
	}
}

// want compares what a test got.
func want[T comparable](t testing.TB, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s is %v, want %v", what, got, want)
	}
}

// said returns a pointer's value as text, "null" for nil.
func said[T any](p *T) string {
	if p == nil {
		return "null"
	}
	return fmt.Sprint(*p)
}

// text is the JSON of an answer.
func (r *rig) text(v any) string {
	r.t.Helper()
	b, err := json.Marshal(v)
	r.must(err)
	return string(b)
}
