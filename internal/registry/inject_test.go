package registry

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestInjectionRefused: a cause that the server does not take fails the scenario, which
// then looks at nothing.
func TestInjectionRefused(t *testing.T) {
	answer := func(status int, v any) func(http.ResponseWriter, *http.Request, map[string]any) bool {
		return func(w http.ResponseWriter, _ *http.Request, _ map[string]any) bool {
			return send(w, status, typeJSON, v)
		}
	}
	for _, c := range []struct {
		name, scenario string
		post           func(http.ResponseWriter, *http.Request, map[string]any) bool
		want           Failure
		tries          int // 0: more than one
	}{
		{"422", "S-2", answer(422, object{"code": "invalid", "detail": "record 1: kind: is unknown"}), Failure{InvariantViolated, "INV-L0-003", "inject[0]", "422: invalid: record 1: kind: is unknown"}, 1},
		{"400 of OTLP", "S-1", answer(400, object{"code": 3, "message": "no span"}), Failure{InvariantViolated, "INV-L0-003", "inject[0]", "400: no span"}, 1},
		{"403", "S-1", answer(403, object{"code": "forbidden", "detail": "not permitted"}), Failure{AuthFailed, "", "inject[0]", "403: forbidden: not permitted"}, 1},
		{"404", "S-1", answer(404, "404 page not found"), Failure{EndpointMissing, "", "inject[0]", "404"}, 1},
		{"405", "S-2", answer(405, object{"code": "method_not_allowed"}), Failure{EndpointMissing, "", "inject[0]", "405"}, 1},
		{"429", "S-2", answer(429, object{"code": "too_many_requests"}), Failure{InvariantViolated, "INV-L0-003", "inject[0]", "429: too_many_requests"}, 0},
		{"503", "S-1", answer(503, object{"code": "unavailable"}), Failure{InvariantViolated, "INV-L0-005", "inject[0]", "503: unavailable"}, 0},
		{"a part", "S-1", answer(200, object{"partialSuccess": object{"rejectedSpans": "2", "errorMessage": "bad ids"}}), Failure{SchemaMismatch, "", "inject[0]", "2 were refused: bad ids"}, 1},
		{"no object", "S-1", answer(200, "ok"), Failure{SchemaMismatch, "", "inject[0]", "no JSON object"}, 1},
		{"no receipts", "S-2", answer(200, "{}"), Failure{SchemaMismatch, "", "inject[0]", "2 records were sent, and the answer has 0 receipts"}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t)
			f.post = c.post
			cfg := f.config(testRegistry())
			cfg.MaxWait = 2 * time.Second
			o, err := Run(t.Context(), cfg, c.scenario)
			if err != nil || o.Scenarios[0].Failure == nil {
				t.Fatalf("%+v, %v", o, err)
			}
			got := *o.Scenarios[0].Failure
			if detail := got.Detail; strings.Contains(detail, c.want.Detail) {
				got.Detail = c.want.Detail
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
			s := o.Scenarios[0]
			tries := len(f.sentTo(s.Sent[0].Target))
			if len(s.Sent) != 1 || len(s.Seen) != 0 || c.tries > 0 && tries != c.tries || c.tries == 0 && tries < 2 {
				t.Errorf("sent %+v, seen %+v, %d tries", s.Sent, s.Seen, tries)
			}
		})
	}
	// A message without anything that was refused is a warning.
	f := newFake(t)
	f.post = answer(200, object{"partialSuccess": object{"rejectedSpans": 0, "errorMessage": "old names"}})
	if o, err := Run(t.Context(), f.config(testRegistry()), "S-1"); err != nil || !o.Passed {
		t.Errorf("%+v, %v", o, err)
	}
}

// reading is a scenario whose cause is an access.
func reading(r *Registry, read Read) *Scenario {
	s := r.Scenarios[0]
	s.Inject = append(s.Inject, Injection{Read: &read})
	return s
}

// TestRead: an access is a cause, and what it shows can be named later.
func TestRead(t *testing.T) {
	f, r := newFake(t), testRegistry()
	s := reading(r, Read{Path: envelopePath, Params: map[string]string{"run_id": "${trace_id}"}, Save: map[string]string{"run": "$.run_id", "tokens": "$.input_tokens"}})
	s.Observe[0].Params["run_id"] = "${run}"
	s.Observe[0].Expect = append(s.Observe[0].Expect,
		Expect{Path: "$.input_tokens", Equals: "${tokens}"}, Expect{Path: "$.metadata[?@ == '${run}']", Count: ptr(2)}, Expect{Path: "$[?@ == ${tokens}]", Count: ptr(1)})
	o, err := Run(t.Context(), f.config(r), "S-1")
	if err != nil || !o.Passed {
		t.Fatalf("%+v, %v", o.Scenarios[0], err)
	}
	sent := o.Scenarios[0].Sent
	const empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	if len(sent) != 2 || sent[1].Method != "GET" || sent[1].SHA256 != empty || sent[1].Bytes != 0 || sent[1].Status != 200 || sent[1].Target != o.Scenarios[0].Seen[0].Target {
		t.Errorf("%+v", sent)
	}
}

func TestReadRefused(t *testing.T) {
	for _, c := range []struct {
		name   string
		get    func(http.ResponseWriter, map[string]any) bool
		status int
		save   string
		want   *Failure // nil: it is what must be
	}{
		{"denied", refuses(403, "forbidden", "not permitted"), 0, "", &Failure{AuthFailed, "", "inject[1]", "403: forbidden: not permitted"}},
		{"denied, as it must", refuses(403, "forbidden", "not permitted"), 403, "", nil},
		{"not denied", changes(func(map[string]any) {}), 403, "", &Failure{InvariantViolated, "INV-L0-003", "inject[1]", "200"}},
		{"unknown", refuses(404, "not_found", "run: not found"), 0, "", &Failure{Timeout, "", "inject[1]", "404: not_found: run: not found"}},
		{"unknown, as it must", refuses(404, "not_found", "run: not found"), 404, "", nil},
		{"no route where unknown must be", refuses(404, "not_found", "there is no such route"), 404, "", &Failure{EndpointMissing, "", "inject[1]", "404: not_found: there is no such route"}},
		{"broken", refuses(500, "internal", "Internal error"), 0, "", &Failure{InvariantViolated, "INV-L0-005", "inject[1]", "500: internal: Internal error"}},
		{"nothing to save", changes(func(map[string]any) {}), 0, "$.nobody", &Failure{Timeout, "", "inject[1]", "save kept, $.nobody: it selects 0 values, and not one"}},
		{"an empty text to save", changes(func(b map[string]any) { b["status"] = "" }), 0, "$.status", &Failure{Timeout, "", "inject[1]", "save kept, $.status: it is empty, and would ask for nothing"}},
		{"an object to save", changes(func(map[string]any) {}), 0, "$.metadata", &Failure{Timeout, "", "inject[1]", "save kept, $.metadata: object is no text, number or boolean"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f, r := newFake(t), testRegistry()
			read := Read{Path: listPath, Query: map[string]string{"run_id": "${trace_id}"}, Status: c.status}
			if c.save != "" {
				read.Save = map[string]string{"kept": c.save}
			}
			reading(r, read)
			f.get = func(w http.ResponseWriter, r *http.Request, body map[string]any) bool {
				return r.URL.Path == listPath && c.get(w, body)
			}
			cfg := f.config(r)
			cfg.MaxWait = 60 * time.Millisecond
			o, err := Run(t.Context(), cfg, "S-1")
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, o.Scenarios[0].Failure); diff != "" {
				t.Error(diff)
			}
		})
	}
	f, r := newFake(t), testRegistry()
	reading(r, Read{Path: "/api/v1/logs/nothing"})
	o, err := Run(t.Context(), f.config(r), "S-1")
	if err != nil || o.Scenarios[0].Failure == nil || o.Scenarios[0].Failure.Reason != EndpointMissing || len(f.sentTo("/v1/traces")) != 0 {
		t.Errorf("%+v, %v", o, err)
	}
}
