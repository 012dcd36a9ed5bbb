package registry

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	testTenant   = "synthetic"
	producerKey  = "rl_producer_secretsecret"
	observerKey  = "rl_observer_secretsecret"
	envelopePath = "/api/v1/logs/llm-runs/{run_id}/envelope"
	listPath     = "/api/v1/logs/llm-runs"
)

// fake is a server that answers one run as an envelope and in a list. Each part may be
// made to fail.
type fake struct {
	*httptest.Server
	// get and post see each request before it is answered; true: they have answered it.
	get, post func(w http.ResponseWriter, r *http.Request, body map[string]any) bool
	doc       map[string]any

	mu     sync.Mutex
	bodies map[string][]string // what was sent, by path
	asked  map[string]int      // GETs, by path
}

func newFake(t *testing.T) *fake {
	t.Helper()
	f := &fake{bodies: map[string][]string{}, asked: map[string]int{}, doc: fakeDocument()}
	f.Server = httptest.NewServer(http.HandlerFunc(f.serve))
	t.Cleanup(f.Close)
	return f
}

func problem(w http.ResponseWriter, status int, code, detail string) bool {
	return send(w, status, "application/problem+json", map[string]any{"type": "about:blank", "title": code, "status": status, "code": code, "detail": detail})
}

func send(w http.ResponseWriter, status int, contentType string, v any) bool {
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(status)
	if s, ok := v.(string); ok {
		_, _ = io.WriteString(w, s)
		return true
	}
	_ = json.NewEncoder(w).Encode(v)
	return true
}

func (f *fake) serve(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == documentPath {
		send(w, http.StatusOK, typeJSON, f.doc)
		return
	}
	text, _ := io.ReadAll(r.Body)
	f.mu.Lock()
	if r.Method == http.MethodPost {
		f.bodies[r.URL.Path] = append(f.bodies[r.URL.Path], string(text))
	} else {
		f.asked[r.URL.Path]++
	}
	f.mu.Unlock()
	key := map[string]string{http.MethodGet: observerKey, http.MethodPost: producerKey}[r.Method]
	if r.Header.Get("Authorization") != "Bearer "+key {
		problem(w, http.StatusUnauthorized, "unauthenticated", "no valid credential")
		return
	}
	if r.Method == http.MethodPost {
		f.take(w, r, text)
		return
	}
	body := fakeList(r.URL.Query().Get("run_id"))
	if run, ok := strings.CutSuffix(strings.TrimPrefix(r.URL.Path, "/api/v1/logs/llm-runs/"), "/envelope"); ok {
		body = fakeEnvelope(run)
	}
	if f.get != nil && f.get(w, r, body) {
		return
	}
	send(w, http.StatusOK, typeJSON, body)
}

func (f *fake) take(w http.ResponseWriter, r *http.Request, text []byte) {
	if f.post != nil && f.post(w, r, nil) {
		return
	}
	if r.Header.Get("Content-Type") != typeJSON {
		problem(w, http.StatusUnsupportedMediaType, "unsupported_media_type", "JSON only")
		return
	}
	if r.URL.Path != recordsPath {
		send(w, http.StatusOK, typeJSON, "{}")
		return
	}
	var records []json.RawMessage
	if err := json.Unmarshal(text, &records); err != nil {
		problem(w, http.StatusBadRequest, "malformed", err.Error())
		return
	}
	var receipts []any
	for i := range records {
		receipts = append(receipts, map[string]any{"index": i, "id": fmt.Sprintf("id-%d", i)})
	}
	send(w, http.StatusOK, typeJSON, map[string]any{"receipts": receipts, "errors": []any{}})
}

func fakeMetadata(run string) map[string]any {
	return map[string]any{
		"tenant_id": testTenant, "run_id": run, "human_actor_id": nil, "agent_id": nil, "system_id": "s",
		"occurred_at": "2026-01-02T03:04:05.000006Z", "recorded_at": "2026-01-02T03:04:06.000007Z", "timezone": "UTC", "trace_id": run,
		"policy_ids": []any{}, "incident_ids": []any{}, "export_id": nil, "correlation_id": nil,
		"source_domain": "ACTIVITY", "source_component": "TraceStore", "origin": "SYSTEM", "checksum": nil, "immutable": true,
		"log": nil, "leaf_index": 3,
	}
}

func fakeEnvelope(run string) map[string]any {
	return map[string]any{"run_id": run, "status": "SUCCEEDED", "input_tokens": 9007199254740993, "metadata": fakeMetadata(run)}
}

func fakeList(run string) map[string]any {
	return map[string]any{"items": []any{fakeEnvelope(run), fakeEnvelope(run)}, "total": 2, "metadata": fakeMetadata(run)}
}

type object = map[string]any

func fakeDocument() map[string]any {
	answers := func(name string) any {
		return object{"get": object{"responses": object{"200": object{"content": object{typeJSON: object{"schema": object{"$ref": "#/components/schemas/" + name}}}}}}}
	}
	closed := func(properties object) object {
		var names []any
		for name := range properties {
			names = append(names, name)
		}
		return object{"type": "object", "properties": properties, "required": names, "additionalProperties": false}
	}
	return object{
		"openapi": "3.1.0", "info": object{"title": "fake", "version": "1.2.3"},
		"paths": object{envelopePath: answers("Envelope"), listPath: answers("List"), recordsPath: object{"post": object{}}},
		"components": object{"schemas": object{
			"Envelope": closed(object{"run_id": object{"type": "string"}, "status": object{"enum": []any{"SUCCEEDED", "FAILED"}}, "input_tokens": object{"type": "integer"}, "metadata": object{"type": "object"}}),
			"List":     closed(object{"items": object{"type": "array", "items": object{"$ref": "#/components/schemas/Envelope"}}, "total": object{"type": "integer"}, "metadata": object{"type": "object"}}),
		}},
	}
}

// testInvariants are all that there are, as the contract has them.
func testInvariants() []*Invariant {
	var out []*Invariant
	add := func(layer, format string, checks ...string) {
		for i, c := range checks {
			c, advisory := strings.CutPrefix(c, "?")
			inv := &Invariant{ID: fmt.Sprintf(format, i+1), Layer: layer, Level: Required, Check: c}
			if advisory {
				inv.Level = Advisory
			}
			out = append(out, inv)
		}
	}
	add("transport", "INV-L0-%03d", "not_empty", "object_or_list", "status_2xx", "not_401_403", "not_5xx", "?within", "?provenance", "?items")
	add("logs", "INV-LOG-%03d", "metadata", "metadata_fields", "source_domain", "?origin", "immutable", "tenant", "times", "?spine")
	return out
}

func testRegistry() *Registry {
	r := &Registry{Invariants: testInvariants(), Digest: "sha256:00"}
	var all []UsedInvariant
	for _, inv := range r.Invariants {
		u := UsedInvariant{ID: inv.ID}
		if inv.Check == "items" || inv.Check == "within" {
			u.Level = Required
		}
		all = append(all, u)
	}
	envelope := Observe{
		ID: "envelope", Path: envelopePath, Params: map[string]string{"run_id": "${trace_id}"},
		Expect: []Expect{{Path: "$.run_id", Equals: "${trace_id}"}, {Path: "$.input_tokens", Equals: 9007199254740993}},
	}
	list := Observe{
		ID: "list", Path: listPath, Query: map[string]string{"run_id": "${trace_id}", "is_synthetic": "true"}, Items: "items", ItemMetadata: true,
		Expect: []Expect{{Path: "$.items[?@.run_id == '${trace_id}']", Type: "object", Min: ptr(1)}},
	}
	r.Scenarios = []*Scenario{
		{
			ID: "S-1", Version: "1", Capability: "logs.llm_runs", Panel: "LOG-REC-LLM-O1", Invariants: all, Observe: []Observe{envelope},
			Inject: []Injection{{OTLP: "traces", Body: object{"resourceSpans": []any{
				object{"resource": object{"attributes": []any{object{"key": "service.name", "value": object{"stringValue": "a"}}}}, "scopeSpans": []any{object{"spans": []any{
					object{"traceId": "${trace_id}", "spanId": "${span.a}", "startTimeUnixNano": "${nanos-5s}"},
				}}}},
				object{"scopeSpans": []any{}},
			}}}},
		},
		{
			ID: "S-2", Version: "1", Capability: "logs.llm_runs", Invariants: all, Observe: []Observe{list},
			Inject: []Injection{{Records: []map[string]any{{"kind": "system", "id": "${uuid.a}", "run_id": "${trace_id}"}, {"kind": "system", "id": "${uuid.b}"}}}},
		},
	}
	return r
}

func ptr[T any](v T) *T { return &v }

func (f *fake) config(r *Registry) Config {
	return Config{
		Registry: r, BaseURL: f.URL, HTTP: f.Client(), Tenant: testTenant, Program: "test",
		Producer: Key{ID: "cred-p", Secret: producerKey}, Observer: Key{ID: "cred-o", Secret: observerKey},
		Now: func() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC) },
	}
}

func (f *fake) asks(path string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.asked[path]
}

func (f *fake) sentTo(path string) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.bodies[path]...)
}
