package server_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/runledger/runledger/internal/access"
	"github.com/runledger/runledger/internal/lifecycle"
	"github.com/runledger/runledger/internal/server"
)

// Words that stand in what is real and in what is not, and in no request that reads.
const (
	actual = "actual-word"
	unreal = "unreal-word"
)

// mixed makes the same evidence twice in a tenant, of all kinds, at the same time and
// under the same correlation id: real in the runs real and kept-real, synthetic in made
// and kept-made. It returns the id of a mismatch of the
// former, and one that nobody has.
func (r *reads) mixed(t *testing.T, tenant string) (mismatches map[string]string) {
	t.Helper()
	producer := r.newKey(t, tenant)
	mismatches = map[string]string{}
	for name, made := range map[string]bool{"real": false, "made": true} {
		word, trace, id := actual, strings.Repeat("a", 32), "018f0000-0000-4000-8000-0000000000c1"
		if made {
			word, trace, id = unreal, strings.Repeat("b", 32), "018f0000-0000-4000-8000-0000000000c2"
		}
		of := func(more object) object { return with(object{"correlation_id": "c-1", "is_synthetic": made}, more) }
		in := func(more object) object { return of(with(object{"run_id": name}, more)) }
		r.put(t, producer,
			r.line("trace_step", 1, in(object{"trace_id": trace, "span_id": "00000000000000aa", "skill_name": word, "params": object{"w": word}})),
			r.line("trace_event", 1, in(object{"trace_id": trace, "span_id": "00000000000000aa", "event_name": word, "body": word})),
			r.line("audit", 1, in(object{"entity_id": word, "action_reason": word, "policy_ids": []string{word}})),
			r.line("audit", 1, in(object{"event_type": "LimitBreached", "entity_type": "LIMIT", "entity_id": word, "limit_id": word, "limit_value": "1", "observed_value": "2", "decision": "BREACHED"})),
			r.line("system", 1, in(object{"component": word, "summary": word})),
			r.line("system", 1, of(object{"component": word, "event_type": "DEPLOY", "summary": word})),
			r.line("system", 0, of(object{"component": "worker", "event_type": "STARTUP", "summary": word, "version": word})),
			r.line("audit", 1, of(object{"entity_id": word, "incident_ids": []string{word}})),
			r.line("llm_run", 1, in(object{"trace_id": trace, "model": word, "provider": word, "prompt": word, "response": word})))
		nanos := r.start.Add(1500 * time.Millisecond).UnixNano()
		metrics := fmt.Sprintf(`{"resourceMetrics":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":%q}},{"key":"runledger.synthetic","value":{"boolValue":%t}}]},`+
			`"scopeMetrics":[{"metrics":[{"name":%q,"gauge":{"dataPoints":[{"timeUnixNano":"%d","asDouble":1}]}}]}]}]}`, word, made, word, nanos)
		if status, body := r.post(t, r.url+"/v1/metrics", "application/json", producer, []byte(metrics)); status != http.StatusOK {
			t.Fatalf("metrics: %d %s", status, body)
		}
		kept := with(r.traceOf("kept-"+name, trace[:1], word), object{"is_synthetic": made, "trace_id": strings.Repeat(trace[:1]+"0", 16), "plan": object{"goal": word}})
		r.send(t, producer, "/api/v1/traces", http.StatusCreated, kept)
		r.put(t, producer, r.line("llm_run", 1, of(object{"run_id": "kept-" + name, "trace_id": kept["trace_id"], "model": word})))
		if mismatches[name] = id; !made { // a producer may report none of a run that production hides
			r.send(t, producer, "/api/v1/traces/mismatches", http.StatusCreated, object{"id": id, "run_id": "kept-" + name, "reason": word, "expected": word})
		}
	}
	return mismatches
}

// reading is a route as a reader asks for it, of what is real and of what is not.
type reading struct {
	path       string
	real, made string // made is "" where the route is about nothing in particular
	synthetic  bool   // it has the parameter is_synthetic
}

// readings are all routes of the document that show records: lists, depths, exports of
// runs, and stored traces. What else there is has other rules: receipts and entries show a leaf to
// who asks for it by its id or index and may see synthetic ones, as an auditor may; an
// export of a period is a copy of the log, for the same.
func (r *reads) readings(t *testing.T, mismatches map[string]string) (list []reading) {
	t.Helper()
	for path, methods := range r.doc.Paths {
		op := methods["get"]
		if op == nil || !viewed(path) || strings.HasPrefix(path, "/api/v1/exports") || strings.HasPrefix(path, "/api/v1/erasures") {
			continue
		}
		of := func(name string) string {
			run := name
			if strings.HasPrefix(path, "/api/v1/traces") {
				run = "kept-" + name
			}
			return strings.NewReplacer("{run_id}", run, "{root_hash}", "hash-of-kept-"+name, "{id}", mismatches[name]).Replace(path) + op.query(run)
		}
		rd := reading{path: path, real: of("real"), made: of("made")}
		if rd.made == rd.real {
			rd.made = ""
		}
		for _, p := range op.Params {
			rd.synthetic = rd.synthetic || p.Name == "is_synthetic"
		}
		list = append(list, rd)
	}
	if len(list) < 25 {
		t.Fatalf("only %d routes show records", len(list))
	}
	return list
}

// TestSyntheticIsHidden asks every route that shows records, as who reads in
// production: of what is synthetic there is no byte, no id and no count, asked for or
// not; neither in a tenant that sends such records nor in that of scenarios, where what
// the server itself records about an observer is.
func TestSyntheticIsHidden(t *testing.T) {
	t.Parallel()
	r := newReads(t, func(c *server.ServeConfig) { c.Archive = filepath.Join(t.TempDir(), "archive") })
	for _, tenant := range []string{own, synthetic} {
		mismatches := r.mixed(t, tenant)
		if _, err := r.control(t).Archive(t.Context(), tenant, lifecycle.ArchiveRequest{}); err != nil {
			t.Fatal(err)
		}
		hidden := []string{unreal, `"made"`, `"kept-made"`}
		if tenant == synthetic {
			observer := r.roleKey(t, tenant, "observer")
			bundle := r.ask(t, observer, "/api/v1/logs/llm-runs/made/export", http.StatusOK)
			r.bytesOf(t, observer, at(t, bundle, "download_url").(string))
			id, _, _ := strings.Cut(strings.TrimPrefix(observer, "rl_"), "_")
			hidden = append(hidden, id, at(t, bundle, "export_id").(string))
			for path, list := range map[string]string{"/audit/access": "access_events", "/audit/exports": "exports", "/audit/identity": "entries", "/audit/authorization": "decisions"} {
				if shown := r.ask(t, observer, "/api/v1/logs"+path, http.StatusOK); len(listOf(t, shown, list)) == 0 {
					t.Errorf("an observer sees nothing in %s", path)
				}
			}
		}
		look := func(what string, body []byte) {
			t.Helper()
			for _, word := range hidden {
				if strings.Contains(string(body), word) {
					t.Errorf("%s shows %s", what, word)
				}
			}
		}
		for _, role := range []string{"viewer", "operator", "auditor"} {
			key := r.roleKey(t, tenant, role)
			shown := 0
			for _, rd := range r.readings(t, mismatches) {
				what := rd.path + " as " + role + " of " + tenant
				status, _, body := r.get(t, key, rd.real, nil)
				look(what, body)
				switch {
				case !may(role, rd.path) || role == "viewer" && strings.Contains(rd.path, "{root_hash}"):
					if status != http.StatusForbidden {
						t.Errorf("%s: %d", what, status)
					}
					continue
				case status != http.StatusOK:
					t.Errorf("%s: %d %.200s", what, status, body)
					continue
				}
				if strings.Contains(string(body), actual) {
					shown++
				}
				if strings.HasSuffix(rd.path, "/export") {
					look("the bundle of "+what, r.bytesOf(t, key, at(t, decode(t, body), "download_url").(string)))
				}
				if rd.made != "" {
					status, _, body := r.get(t, key, rd.made, nil)
					look(what, body)
					if status != http.StatusNotFound {
						t.Errorf("%s: %d of what is synthetic", what, status)
					}
				}
				if rd.synthetic {
					status, _, body := r.get(t, key, rd.real+"?is_synthetic=true", nil)
					look(what, body)
					if status != http.StatusForbidden {
						t.Errorf("%s: %d where it is asked for", what, status)
					}
				}
			}
			if shown < 12 {
				t.Errorf("%s of %s: what is real is shown by %d routes only", role, tenant, shown)
			}
		}
	}
}

// TestSyntheticInPreflight: where the rules permit it, what is synthetic is shown to who
// asks, and what is real to who asks for that.
func TestSyntheticInPreflight(t *testing.T) {
	t.Parallel()
	rules := preflightRules(t, time.Now().UTC().Truncate(time.Second).Add(time.Hour))
	r := newReads(t, func(c *server.ServeConfig) { c.Rules, c.Environment = rules, access.Preflight })
	mismatches := r.mixed(t, own)
	for _, role := range []string{"viewer", "operator", "auditor"} {
		key := r.roleKey(t, own, role)
		var tried []string
		for _, rd := range r.readings(t, mismatches) {
			if !rd.synthetic || !may(role, rd.path) {
				continue
			}
			for asked, words := range map[string][2]string{"true": {unreal, actual}, "false": {actual, unreal}} {
				status, _, body := r.get(t, key, rd.real+"?is_synthetic="+asked, nil)
				text := string(body)
				if status != http.StatusOK || strings.Contains(text, words[1]) {
					t.Errorf("%s as %s, is_synthetic=%s: %d %.300s", rd.path, role, asked, status, body)
				}
				if strings.Contains(text, words[0]) {
					tried = append(tried, rd.path+asked)
				}
			}
		}
		for _, want := range []string{"/api/v1/logs/llm-runstrue", "/api/v1/logs/systemtrue", "/guard/logsfalse"} {
			if !slices.Contains(tried, want) {
				t.Errorf("%s: nothing is shown by %s", role, want)
			}
		}
	}
}

// decode reads an answer.
func decode(t *testing.T, body []byte) (out object) {
	t.Helper()
	if err := json.Unmarshal(body, &out); err != nil {
		t.Fatalf("%v: %.600s", err, body)
	}
	return out
}
