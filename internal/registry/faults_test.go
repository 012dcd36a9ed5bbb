package registry

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// fault is a server that breaks one promise.
type fault struct {
	name     string
	scenario string // S-1: one record; S-2: a list
	get      func(w http.ResponseWriter, body map[string]any) bool
	change   func(f *fake, s *Scenario, cfg *Config)
	want     Failure // Detail: a part of it
	once     bool    // there is nothing to wait for
}

func metadataOf(body map[string]any) map[string]any { return body["metadata"].(map[string]any) }

func itemOf(body map[string]any, i int) map[string]any {
	return body["items"].([]any)[i].(map[string]any)
}

func changes(f func(body map[string]any)) func(http.ResponseWriter, map[string]any) bool {
	return func(_ http.ResponseWriter, body map[string]any) bool { f(body); return false }
}

func refuses(status int, code, detail string) func(http.ResponseWriter, map[string]any) bool {
	return func(w http.ResponseWriter, _ map[string]any) bool { return problem(w, status, code, detail) }
}

func without(id string) func(*fake, *Scenario, *Config) {
	return func(_ *fake, s *Scenario, _ *Config) {
		s.Invariants = slices.DeleteFunc(slices.Clone(s.Invariants), func(u UsedInvariant) bool { return u.ID == id || id == "" })
	}
}

var faults = []fault{
	{name: "no metadata", get: changes(func(b map[string]any) { delete(b, "metadata") }), want: Failure{InvariantViolated, "INV-LOG-001", "envelope", "$.metadata is not there"}},
	{name: "item without metadata", scenario: "S-2", get: changes(func(b map[string]any) { delete(itemOf(b, 1), "metadata") }), want: Failure{InvariantViolated, "INV-LOG-001", "list", "$.items[1].metadata is not there"}},
	{name: "empty items", scenario: "S-2", get: changes(func(b map[string]any) { b["items"] = []any{} }), want: Failure{InvariantViolated, "INV-L0-008", "list", "$.items is empty"}},
	{name: "items are null", scenario: "S-2", get: changes(func(b map[string]any) { b["items"] = nil }), want: Failure{InvariantViolated, "INV-L0-008", "list", "$.items is null"}},
	{name: "another tenant's entry of another list", get: changes(func(b map[string]any) {
		other := fakeMetadata("r")
		other["tenant_id"] = "globex"
		b["others"] = []any{object{}, object{"metadata": other}}
	}), want: Failure{InvariantViolated, "INV-LOG-006", "envelope", `$.others[1].metadata.tenant_id is "globex"`}},
	{name: "says two things", get: func(w http.ResponseWriter, b map[string]any) bool {
		text, _ := json.Marshal(b)
		return send(w, 200, typeJSON, `{"run_id":"r",`+string(text[1:]))
	}, want: Failure{InvariantViolated, "INV-L0-002", "envelope", "no JSON"}},
	{name: "500", get: refuses(500, "internal", "Internal error"), want: Failure{InvariantViolated, "INV-L0-005", "envelope", "500: internal: Internal error"}},
	{name: "500 of a scenario that does not ask", get: refuses(500, "internal", ""), change: without(""), want: Failure{InvariantViolated, "INV-L0-005", "envelope", "500"}},
	{name: "422", get: refuses(422, "invalid", "limit"), want: Failure{InvariantViolated, "INV-L0-003", "envelope", "the status is 422"}},
	{name: "another tenant", get: changes(func(b map[string]any) { metadataOf(b)["tenant_id"] = "globex" }), want: Failure{InvariantViolated, "INV-LOG-006", "envelope", `$.metadata.tenant_id is "globex", and not "synthetic"`}},
	{name: "another tenant's item", scenario: "S-2", get: changes(func(b map[string]any) { metadataOf(itemOf(b, 0))["tenant_id"] = "globex" }), want: Failure{InvariantViolated, "INV-LOG-006", "list", `$.items[0].metadata.tenant_id is "globex"`}},
	{
		name: "slow", get: changes(func(map[string]any) { time.Sleep(60 * time.Millisecond) }), want: Failure{InvariantViolated, "INV-L0-006", "envelope", "and not at most 20ms"},
		change: func(_ *fake, _ *Scenario, cfg *Config) {
			cfg.Registry.Invariants[5].Limit = 20 * time.Millisecond
		},
	},
	{name: "it can be changed", get: changes(func(b map[string]any) { metadataOf(b)["immutable"] = false }), want: Failure{InvariantViolated, "INV-LOG-005", "envelope", "$.metadata.immutable is false"}},
	{name: "an item can be changed", scenario: "S-2", get: changes(func(b map[string]any) { metadataOf(itemOf(b, 1))["immutable"] = false }), want: Failure{InvariantViolated, "INV-LOG-005", "list", "$.items[1].metadata.immutable is false"}},
	{
		name: "HTML", want: Failure{InvariantViolated, "INV-L0-002", "envelope", `the answer is no JSON (Content-Type "text/html")`},
		get: func(w http.ResponseWriter, _ map[string]any) bool { return send(w, 200, "text/html", "<html>") },
	},
	{
		name: "HTML, and no invariant of it", want: Failure{SchemaMismatch, "", "envelope", `Content-Type is "text/html"`}, change: without(""),
		get: func(w http.ResponseWriter, _ map[string]any) bool { return send(w, 200, "text/html", "<html>") },
	},
	{
		name: "broken JSON, and no invariant of it", want: Failure{SchemaMismatch, "", "envelope", "the answer is no JSON"}, change: without(""),
		get: func(w http.ResponseWriter, _ map[string]any) bool { return send(w, 200, typeJSON, `{"run_id":`) },
	},
	{
		name: "nothing", want: Failure{InvariantViolated, "INV-L0-001", "envelope", "the answer is empty"},
		get: func(w http.ResponseWriter, _ map[string]any) bool { return send(w, 200, typeJSON, " \n") },
	},
	{
		name: "a redirect", want: Failure{InvariantViolated, "INV-L0-003", "envelope", "the status is 302"},
		get: func(w http.ResponseWriter, _ map[string]any) bool {
			w.Header().Set("Location", "/elsewhere")
			return send(w, 302, typeJSON, `{"a":1}`)
		},
	},
	{name: "no such route", get: refuses(404, "not_found", "there is no such route: not found"), want: Failure{EndpointMissing, "", "envelope", "no such route"}, once: true},
	{
		name: "no such route, of another server", want: Failure{EndpointMissing, "", "envelope", "404"}, once: true,
		get: func(w http.ResponseWriter, _ map[string]any) bool {
			return send(w, 404, "text/plain", "404 page not found\n")
		},
	},
	{name: "no such method", get: refuses(405, "method_not_allowed", "it has POST"), want: Failure{EndpointMissing, "", "envelope", "405"}, once: true},
	{name: "unknown run", get: refuses(404, "not_found", "run: not found in this tenant"), want: Failure{Timeout, "", "envelope", "404: not_found: run: not found in this tenant"}},
	{name: "401", get: refuses(401, "unauthenticated", "no or bad credential"), want: Failure{AuthFailed, "", "envelope", "401: unauthenticated"}, once: true},
	{name: "403", get: refuses(403, "forbidden", "not permitted"), want: Failure{AuthFailed, "", "envelope", "403: forbidden: not permitted"}, once: true},
	{name: "wrong type", get: changes(func(b map[string]any) { b["status"] = 3 }), want: Failure{SchemaMismatch, "", "envelope", "$.status breaks enum"}},
	{name: "wrong type of an item", scenario: "S-2", get: changes(func(b map[string]any) { itemOf(b, 1)["input_tokens"] = "many" }), want: Failure{SchemaMismatch, "", "list", "$.items[1].input_tokens is string, and not integer"}},
	{name: "a member that is not known", get: changes(func(b map[string]any) { b["extra"] = "secret" }), want: Failure{SchemaMismatch, "", "envelope", "$ has extra"}},
	{name: "a member is missing", get: changes(func(b map[string]any) { delete(b, "status") }), want: Failure{SchemaMismatch, "", "envelope", "$ has no status"}},
	{name: "another run", get: changes(func(b map[string]any) { b["run_id"] = "r" }), want: Failure{Timeout, "", "envelope", `$.run_id: $.run_id is "r", and not "`}},
	{name: "a digit is lost", get: changes(func(b map[string]any) { b["input_tokens"] = 9007199254740992 }), want: Failure{Timeout, "", "envelope", "$.input_tokens is 9007199254740992, and not 9007199254740993"}},
	{
		name: "no answer", want: Failure{Timeout, "", "envelope", "no answer: none within 1s"},
		get: changes(func(map[string]any) { time.Sleep(1500 * time.Millisecond) }),
		change: func(_ *fake, _ *Scenario, cfg *Config) {
			cfg.timeout = time.Second
		},
	},
	{
		name: "not described", want: Failure{SchemaMismatch, "", "envelope", "has no schema of the answer"},
		change: func(f *fake, _ *Scenario, _ *Config) {
			get := f.doc["paths"].(map[string]any)[envelopePath].(map[string]any)["get"].(map[string]any)
			delete(get, "responses")
		},
	},
	{
		name: "not in the document", want: Failure{EndpointMissing, "", "envelope", "has no GET " + envelopePath},
		change: func(f *fake, _ *Scenario, _ *Config) {
			delete(f.doc["paths"].(map[string]any), envelopePath)
		},
	},
}

func TestBrokenServer(t *testing.T) {
	for _, c := range faults {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f, r := newFake(t), testRegistry()
			s := r.Scenarios[0]
			if c.scenario == "S-2" {
				s = r.Scenarios[1]
			}
			if c.get != nil {
				f.get = func(w http.ResponseWriter, _ *http.Request, body map[string]any) bool { return c.get(w, body) }
			}
			cfg := f.config(r)
			cfg.MaxWait = 150 * time.Millisecond
			if c.change != nil {
				c.change(f, s, &cfg)
			}
			o, err := Run(t.Context(), cfg, s.ID)
			if err != nil {
				t.Fatal(err)
			}
			if err := o.check(); err != nil {
				t.Error(err)
			}
			got := o.Scenarios[0].Failure
			if o.Passed || got == nil {
				t.Fatalf("it passed: %+v", o)
			}
			if got.Reason != c.want.Reason || got.Invariant != c.want.Invariant || got.Step != c.want.Step || !strings.Contains(got.Detail, c.want.Detail) {
				t.Errorf("%+v, want %+v", *got, c.want)
			}
			if seen := o.Scenarios[0].Seen; c.once && seen[0].Tries != 1 {
				t.Errorf("%d tries", seen[0].Tries)
			}
		})
	}
}

// TestWaits: what is not there is asked for until the wait is over, and then the last
// answer counts.
func TestWaits(t *testing.T) {
	f := newFake(t)
	f.get = func(w http.ResponseWriter, _ *http.Request, _ map[string]any) bool {
		return problem(w, http.StatusNotFound, "not_found", "run: not found in this tenant")
	}
	r := testRegistry()
	r.Scenarios[0].Observe[0].Wait = time.Second
	o, err := Run(t.Context(), f.config(r), "S-1")
	if err != nil || o.Passed || o.Scenarios[0].Failure.Reason != Timeout {
		t.Fatalf("%+v, %v", o, err)
	}
	if s := o.Scenarios[0].Seen[0]; s.Tries < 2 || s.Tries > 6 || s.WaitedMS < 1000 || f.asks(strings.Replace(s.Target, "?", "", 1)) != s.Tries {
		t.Errorf("%d tries within %d ms", s.Tries, s.WaitedMS)
	}
}
