package server_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// traceOf is a trace with three steps, of which the last gives an output.
func (r *reads) traceOf(run, trace, output string) object {
	steps := []object{}
	for i, name := range []string{"plan", "fetch", "answer"} {
		steps = append(steps, object{
			"occurred_at": r.time(float64(i)), "span_id": fmt.Sprintf("%016x", i+1), "step_kind": "tool", "skill_name": name, "status": "success",
			"params": object{"step": i}, "outcome_data": object{"text": "sealed " + name},
		})
	}
	steps[2]["outcome_data"] = object{"text": output}
	return object{
		"run_id": run, "trace_id": strings.Repeat(trace, 32), "occurred_at": r.time(0), "seed": "42", "root_hash": "hash-of-" + run,
		"plan": object{"goal": "sealed plan"}, "steps": steps,
	}
}

// TestReadTraces stores traces with a producer's key, and reads, compares and
// disputes them with others.
func TestReadTraces(t *testing.T) {
	t.Parallel()
	r := newReads(t, nil)
	producer := r.newKey(t, own)
	viewer, operator := r.roleKey(t, own, "viewer"), r.roleKey(t, own, "operator")
	stranger := r.roleKey(t, own, "operator")
	r.newKey(t, foreign)
	others := r.roleKey(t, foreign, "operator")
	r.used(t, producer, viewer, operator, others, stranger)
	receipt := r.send(t, producer, "/api/v1/traces", http.StatusCreated, r.traceOf("first", "a", "sealed yes"))
	wantAt(t, receipt, object{"run_id": "first", "duplicate": false, "conflicts": 0, "receipts.3.duplicate": false, "metadata.run_id": "first"})
	repeat := r.send(t, producer, "/api/v1/traces", http.StatusCreated, r.traceOf("first", "a", "sealed yes"))
	wantAt(t, repeat, object{"duplicate": true, "receipts.3.leaf_hash": at(t, receipt, "receipts.3.leaf_hash")})
	r.send(t, producer, "/api/v1/traces", http.StatusCreated, r.traceOf("same", "b", "sealed yes"))
	r.send(t, producer, "/api/v1/traces", http.StatusCreated, r.traceOf("again", "c", "sealed no"))

	stored := r.ask(t, operator, "/api/v1/traces/first", http.StatusOK)
	wantAt(t, stored, object{
		"trace.run_id": "first", "trace.total_steps": 3, "trace.seed": "42", "trace.root_hash": "hash-of-first", "trace.plan.goal": "sealed plan",
		"trace.steps.2.outcome_data.text": "sealed yes", "run_ids": []any{"first"}, "mismatches_reported": 0,
	})
	wantAt(t, r.ask(t, operator, "/api/v1/traces/by-root-hash/hash-of-again", http.StatusOK), object{"trace.run_id": "again"})
	r.ask(t, operator, "/api/v1/traces/by-root-hash/hash-of-nothing", http.StatusNotFound)
	wantAt(t, r.ask(t, viewer, "/api/v1/traces/first", http.StatusOK), object{"trace.root_hash.reason": "not_permitted", "trace.steps.2.outcome_data.withheld": true})
	r.ask(t, viewer, "/api/v1/traces/by-root-hash/hash-of-first", http.StatusForbidden)
	// It is a trace like any other.
	wantAt(t, r.ask(t, operator, "/api/v1/logs/llm-runs/first/trace", http.StatusOK), object{"steps.1.skill_name": "fetch", "root_hash": "hash-of-first"})

	compare := func(key, other string) object {
		return r.ask(t, key, "/api/v1/traces/compare?run_id=first&other_run_id="+other, http.StatusOK)
	}
	wantAt(t, compare(operator, "same"), object{"parity": true, "comparable": true, "compared": 3, "divergence": nil})
	wantAt(t, compare(operator, "again"), object{
		"parity": false, "divergent": 1, "divergence.step_index": 2, "divergence.field": "outcome_data", "divergence.reason": "differs",
		"divergence.this.text": "sealed yes", "divergence.other.text": "sealed no",
	})
	// Who sees no content is told that it could not be compared, and no parity.
	out := compare(viewer, "same")
	wantAt(t, out, object{"parity": false, "comparable": false, "divergence": nil, "uncheckable.0.reason": "not_permitted"})
	if strings.Contains(fmt.Sprint(compare(viewer, "again")), "sealed") {
		t.Error("a comparison shows content to who may not read it")
	}

	const id = "018f0000-0000-4000-8000-0000000000f1"
	mismatch := object{"id": id, "run_id": "first", "other_run_id": "again", "step_index": 2, "field": "outcome_data", "reason": "sealed why", "expected": "yes", "found": "no"}
	r.wantAdded(t, "a report", map[string]int{"ReplayMismatchReported": 1}, func() {
		wantAt(t, r.send(t, producer, "/api/v1/traces/mismatches", http.StatusCreated, mismatch), object{"id": id, "status": "open", "run_id": "first"})
		wantAt(t, r.send(t, producer, "/api/v1/traces/mismatches", http.StatusCreated, mismatch), object{"id": id})
	})
	mismatch["reason"] = "something else"
	r.send(t, producer, "/api/v1/traces/mismatches", http.StatusConflict, mismatch)
	r.send(t, producer, "/api/v1/traces/mismatches", http.StatusNotFound, object{"run_id": "none", "reason": "x"})
	wantAt(t, r.ask(t, operator, "/api/v1/traces/mismatches?status=open", http.StatusOK), object{
		"items.0.id": id, "items.0.reason": "sealed why", "items.0.expected": "yes", "items.0.other_run_id": "again", "items.0.resolution.reason": "not_captured",
	})
	wantAt(t, r.ask(t, viewer, "/api/v1/traces/mismatches/"+id, http.StatusOK), object{"reason.reason": "not_permitted", "other_run_id": nil, "step_index": nil})
	wantAt(t, r.ask(t, operator, "/api/v1/traces/first", http.StatusOK), object{"mismatches_reported": 1, "mismatches_resolved": 0})

	resolve := "/api/v1/traces/mismatches/" + id + "/resolve"
	r.send(t, viewer, resolve, http.StatusForbidden, object{"resolution": "x"})
	r.wantAdded(t, "a resolution", map[string]int{"ReplayMismatchResolved": 1}, func() {
		wantAt(t, r.send(t, producer, resolve, http.StatusOK, object{"resolution": "sealed because"}), object{"status": "resolved"})
		wantAt(t, r.send(t, producer, resolve, http.StatusConflict, object{"resolution": "sealed because"}), object{"code": "conflict"})
	})
	wantAt(t, r.ask(t, operator, "/api/v1/traces/mismatches?status=resolved", http.StatusOK), object{"items.0.id": id, "items.0.resolution": "sealed because"})
	if list := listOf(t, r.ask(t, operator, "/api/v1/traces/mismatches?status=open", http.StatusOK), "items"); len(list) != 0 {
		t.Errorf("open: %v", list)
	}
	wantAt(t, r.ask(t, operator, "/api/v1/traces/first", http.StatusOK), object{"mismatches_reported": 1, "mismatches_resolved": 1})
}

// TestReadTracesAuthority: what is stored goes by the permissions of ingest, what is
// read by those of logs, and nothing is taken away.
func TestReadTracesAuthority(t *testing.T) {
	r := newReads(t, nil)
	producer := r.newKey(t, own)
	viewer := r.roleKey(t, own, "viewer")
	r.newKey(t, foreign)
	others := r.roleKey(t, foreign, "operator")
	r.used(t, producer, viewer, others)
	r.send(t, producer, "/api/v1/traces", http.StatusCreated, r.traceOf("first", "a", "sealed"))
	mismatch := r.send(t, producer, "/api/v1/traces/mismatches", http.StatusCreated, object{"run_id": "first", "reason": "x"})
	id := at(t, mismatch, "id").(string)
	r.wantAdded(t, "a viewer writes", map[string]int{"ACCESS_DECISION": 2}, func() {
		r.send(t, viewer, "/api/v1/traces", http.StatusForbidden, r.traceOf("second", "b", "x"))
		r.send(t, viewer, "/api/v1/traces/mismatches", http.StatusForbidden, object{"run_id": "first", "reason": "x"})
	})
	r.wantAdded(t, "a producer reads", map[string]int{"ACCESS_DECISION": 4}, func() {
		for _, path := range []string{"/first", "/mismatches", "/mismatches/" + id, "/compare?run_id=first&other_run_id=first"} {
			r.ask(t, producer, "/api/v1/traces"+path, http.StatusForbidden)
		}
	})
	for _, path := range []string{"/first", "/mismatches/" + id, "/compare?run_id=first&other_run_id=first", "/by-root-hash/hash-of-first"} {
		unknown := strings.NewReplacer("first", "other", id, "018f0000-0000-4000-8000-0000000000ff").Replace(path)
		if diff := cmp.Diff(r.ask(t, others, "/api/v1/traces"+path, http.StatusNotFound), r.ask(t, others, "/api/v1/traces"+unknown, http.StatusNotFound)); diff != "" {
			t.Errorf("%s: a foreign id is told from an unknown one:\n%s", path, diff)
		}
	}
	if list := each(t, r.ask(t, others, "/api/v1/traces/mismatches", http.StatusOK), "items", "id"); slices.Contains(list, id) {
		t.Errorf("another tenant's mismatch: %q", list)
	}
	for _, method := range []string{http.MethodDelete, http.MethodPut, http.MethodPatch} {
		for _, path := range []string{"", "/first", "/mismatches/" + id} {
			for _, key := range []string{producer, viewer} {
				if status, _, body := r.do(t, method, r.url+"/api/v1/traces"+path, key, ""); status != http.StatusMethodNotAllowed {
					t.Errorf("%s %s: %d %s", method, path, status, body)
				}
			}
		}
	}
	for name, body := range map[string]object{
		"an unknown field":       {"run_id": "x", "trace_id": strings.Repeat("d", 32), "occurred_at": r.time(0), "color": "red"},
		"what the server says":   {"run_id": "x", "trace_id": strings.Repeat("d", 32), "occurred_at": r.time(0), "steps": []object{{"occurred_at": r.time(0), "step_kind": "tool", "skill_name": "x", "status": "success", "span_id": "00000000000000aa", "step_index": 4}}},
		"a trace id that is not": {"run_id": "x", "trace_id": "xyz", "occurred_at": r.time(0)},
	} {
		out := r.send(t, producer, "/api/v1/traces", http.StatusUnprocessableEntity, body)
		if field, _ := at(t, out, "field").(string); field == "" {
			t.Errorf("%s: no field in %v", name, out)
		}
	}
}
