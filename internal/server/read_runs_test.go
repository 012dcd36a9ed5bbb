package server_test

import (
	"bytes"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/server"
	"github.com/runledger/runledger/internal/store"
)

// TestReadRunning follows a run from its first step over its end to a later
// revision.
func TestReadRunning(t *testing.T) {
	r := newReads(t, nil)
	producer, operator := r.newKey(t, own), r.roleKey(t, own, "operator")
	const run = "/api/v1/logs/llm-runs/job-7"
	r.put(t, producer, r.line("trace", 1, object{"run_id": "job-7", "trace_id": longTrace}), r.line("trace_step", 1, object{
		"run_id": "job-7", "trace_id": longTrace, "span_id": "00000000000000aa", "agent_id": "bot", "human_actor_id": "ada", "params": object{"n": 1},
	}))
	envelope := r.ask(t, operator, run+"/envelope", http.StatusOK)
	wantAt(t, envelope, object{
		"run_id": "job-7", "status": "RUNNING", "outcome": nil, "completed_at": nil, "revision": 0, "sealed_by": nil, "step_count": 1,
		"executor_type": "agent", "started_at": r.time(1), "metadata.run_id": "job-7", "metadata.human_actor_id": "ada", "metadata.checksum": nil,
	})
	if len(listOf(t, envelope, "revisions")) != 0 {
		t.Errorf("revisions of a run that goes on: %v", envelope)
	}
	list := func(query string) []string {
		t.Helper()
		return each(t, r.ask(t, operator, "/api/v1/logs/llm-runs"+query, http.StatusOK), "items", "run_id")
	}
	if got := list("?status=RUNNING"); !slices.Equal(got, []string{"job-7"}) {
		t.Errorf("running: %q", got)
	}
	if got := list(""); len(got) != 0 {
		t.Errorf("ended: %q", got)
	}
	wantAt(t, r.ask(t, operator, run+"/trace", http.StatusOK), object{"total_steps": 1, "steps.0.params.n": 1, "steps.0.late": false})
	for _, depth := range []string{"/governance", "/replay"} {
		wantAt(t, r.ask(t, operator, run+depth, http.StatusOK), object{"run_id": "job-7"})
	}
	for _, depth := range []string{"snapshot", "telemetry", "events", "replay"} {
		wantAt(t, r.ask(t, operator, "/api/v1/logs/system/job-7/"+depth, http.StatusOK), object{"run_id": "job-7"})
	}
	window := r.ask(t, operator, run+"/replay", http.StatusOK)
	wantAt(t, window, object{"center_source": "started_at", "center_timestamp": r.time(1), "window_start": r.time(-29), "window_end": r.time(31)})

	end := object{"run_id": "job-7", "trace_id": longTrace, "agent_id": "bot", "completed_at": r.time(9)}
	r.put(t, producer, r.line("llm_run", 1, end))
	wantAt(t, r.ask(t, operator, run+"/envelope", http.StatusOK), object{
		"status": "SUCCEEDED", "outcome": "success", "revision": 1, "completed_at": r.time(9), "sealed_by": "completion", "record_count": 3,
	})
	if got := list("?status=RUNNING"); len(got) != 0 {
		t.Errorf("running: %q", got)
	}
	end["revision"], end["outcome"], end["execution_status"] = 2, "failure", "FAILED"
	r.put(t, producer, r.line("llm_run", 1, end))
	envelope = r.ask(t, operator, run+"/envelope", http.StatusOK)
	wantAt(t, envelope, object{
		"status": "FAILED", "revision": 2, "revisions.0.revision": 1, "revisions.0.status": "SUCCEEDED", "revisions.1.revision": 2,
		"revisions.1.status": "FAILED", "record_count": 4,
	})
	if at(t, envelope, "metadata.checksum") != at(t, envelope, "revisions.1.metadata.checksum") ||
		at(t, envelope, "metadata.checksum") == at(t, envelope, "revisions.0.metadata.checksum") {
		t.Errorf("the newest revision is not the canonical one: %v", envelope)
	}
	wantAt(t, r.ask(t, operator, "/api/v1/logs/llm-runs", http.StatusOK), object{"total": 1, "items.0.revision": 2, "items.0.status": "FAILED"})
	if got := list("?status=SUCCEEDED"); len(got) != 0 {
		t.Errorf("found by a revision that is not the newest: %q", got)
	}
	if got := list("?run_id=" + longTrace); !slices.Equal(got, []string{"job-7"}) {
		t.Errorf("by trace id: %q", got)
	}
}

// runDepths are the routes about one run.
var runDepths = []string{
	"/api/v1/logs/llm-runs/RUN/envelope", "/api/v1/logs/llm-runs/RUN/trace", "/api/v1/logs/llm-runs/RUN/governance",
	"/api/v1/logs/llm-runs/RUN/replay", "/api/v1/logs/llm-runs/RUN/export", "/api/v1/logs/system/RUN/snapshot",
	"/api/v1/logs/system/RUN/telemetry", "/api/v1/logs/system/RUN/events", "/api/v1/logs/system/RUN/replay",
	"/guard/logs/RUN", "/guard/logs/export?run_id=RUN", "/api/v1/traces/RUN", "/api/v1/traces/compare?run_id=RUN&other_run_id=RUN",
}

// TestReadSynthetic: in production nobody sees a synthetic run but an observer, who
// sees no other. Observers are of the tenant of scenarios; what is shown there of real
// and synthetic records follows from the role, as in any tenant.
func TestReadSynthetic(t *testing.T) {
	t.Parallel()
	r := newReads(t, nil)
	producer := r.newKey(t, synthetic)
	operator, observer := r.roleKey(t, synthetic, "operator"), r.roleKey(t, synthetic, "observer")
	for run, synthetic := range map[string]bool{"real": false, "made": true} {
		trace := strings.Repeat(map[bool]string{false: "a", true: "b"}[synthetic], 32)
		more := object{"run_id": run, "trace_id": trace, "is_synthetic": synthetic}
		if synthetic {
			more["synthetic_scenario_id"] = "SDSR-LOG-LLM-001"
		}
		step, note, event, rule := object{"span_id": "00000000000000aa"}, object{}, object{"event_type": "OBSERVATION"}, object{"entity_id": "of-" + run}
		for k, v := range more {
			step[k], note[k] = v, v
			if k != "trace_id" {
				event[k], rule[k] = v, v
			}
		}
		r.put(t, producer, r.line("trace_step", 1, step), r.line("llm_run", 1, note), r.line("system", 1, event), r.line("audit", 1, rule))
	}
	for _, who := range []struct{ key, sees, not string }{{operator, "real", "made"}, {observer, "made", "real"}} {
		for _, depth := range runDepths {
			target := strings.ReplaceAll(depth, "RUN", who.sees)
			r.ask(t, who.key, target, http.StatusOK)
			// What is hidden is as what is not there.
			hidden, _ := r.askWith(t, who.key, strings.ReplaceAll(depth, "RUN", who.not), http.StatusNotFound, nil)
			unknown, _ := r.askWith(t, who.key, strings.ReplaceAll(depth, "RUN", "none"), http.StatusNotFound, nil)
			if a, b := at(t, hidden, "detail"), at(t, unknown, "detail"); a != b {
				t.Errorf("%s: %v of a hidden run, %v of none", depth, a, b)
			}
		}
		for list, member := range map[string]string{
			"/api/v1/logs/llm-runs": "run_id", "/guard/logs": "run_id", "/api/v1/logs/system?event_type=OBSERVATION": "metadata.run_id",
		} {
			if got := each(t, r.ask(t, who.key, list, http.StatusOK), "items", member); !slices.Equal(got, []string{who.sees}) {
				t.Errorf("%s shows %q, want %q", list, got, who.sees)
			}
		}
		window := r.ask(t, who.key, "/api/v1/logs/llm-runs/"+who.sees+"/replay?center="+r.time(1), http.StatusOK)
		for _, events := range []string{"llm_events", "system_events", "policy_events"} {
			if got := each(t, window, events, "metadata.run_id"); !slices.Equal(got, []string{who.sees}) {
				t.Errorf("%s of a window: %q", events, got)
			}
		}
		// No byte of the other in anything that is exported.
		bundle := r.ask(t, who.key, "/api/v1/logs/llm-runs/"+who.sees+"/export", http.StatusOK)
		if b := r.bytesOf(t, who.key, at(t, bundle, "download_url").(string)); bytes.Contains(b, []byte("of-"+who.not)) || !bytes.Contains(b, []byte("of-"+who.sees)) {
			t.Errorf("the bundle of %s is about %s too, or not about itself", who.sees, who.not)
		}
	}
	wantAt(t, r.ask(t, operator, "/api/v1/logs/llm-runs?is_synthetic=true", http.StatusForbidden), object{"field": "is_synthetic"})
	wantAt(t, r.ask(t, observer, "/api/v1/logs/llm-runs?is_synthetic=false", http.StatusUnprocessableEntity), object{"field": "is_synthetic"})
	wantAt(t, r.ask(t, observer, "/api/v1/logs/llm-runs/made/envelope", http.StatusOK), object{"is_synthetic": true, "synthetic_scenario_id": "SDSR-LOG-LLM-001"})
}

// TestReadErased: what was erased is gone from every answer, and each says so.
func TestReadErased(t *testing.T) {
	t.Parallel()
	dir := freshData(t)
	r := openReads(t, dir, nil)
	r.keys["producer@"+own] = r.newKey(t, own)
	operator := r.roleKey(t, own, "operator")
	run := r.nativeRun(t)
	trace := r.ask(t, operator, "/api/v1/logs/llm-runs/"+run+"/trace", http.StatusOK)
	wantAt(t, trace, object{"steps.0.params.order": "secret-order"})
	leaf := int64(at(t, trace, "steps.0.leaf_index").(float64))
	withheld := r.ask(t, r.roleKey(t, own, "viewer"), "/api/v1/logs/llm-runs/"+run+"/trace", http.StatusOK)
	wantAt(t, withheld, object{"steps.0.params.reason": "not_permitted"})
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	d, err := server.Open(t.Context(), server.Stored(t, server.Config{Data: dir}))
	if err != nil {
		t.Fatal(err)
	}
	_, err = d.Ledger.Erase(t.Context(), own, ledger.Erasure{Fields: []ledger.ErasedField{{Position: store.Position{LogNo: 1, Seq: leaf}, Paths: []string{"/params"}}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	r = openReads(t, dir, nil)
	after := r.ask(t, operator, "/api/v1/logs/llm-runs/"+run+"/trace", http.StatusOK)
	wantAt(t, after, object{
		"steps.0.params.withheld": true, "steps.0.params.reason": "erased", "steps.0.params.commitment": at(t, withheld, "steps.0.params.commitment"),
		"steps.0.metadata.checksum": at(t, trace, "steps.0.metadata.checksum"),
	})
	wantAt(t, r.ask(t, operator, "/api/v1/logs/llm-runs/"+run+"/envelope", http.StatusOK), object{"prompt": "secret-prompt"})
	bundle := r.ask(t, operator, "/api/v1/logs/llm-runs/"+run+"/export", http.StatusOK)
	z := r.bytesOf(t, operator, at(t, bundle, "download_url").(string))
	if bytes.Contains(z, []byte("secret-order")) || !bytes.Contains(z, []byte("secret-prompt")) || !bytes.Contains(z, []byte(`"reason":"erased"`)) {
		t.Error("the bundle has what was erased, or lacks what was not, or does not say so")
	}
	verified(t, r, z)
}
