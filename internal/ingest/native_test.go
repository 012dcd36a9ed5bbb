package ingest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/c2sp"
	"github.com/runledger/runledger/internal/ledger"
)

const (
	uuid1 = "0192f0c0-0000-7000-8000-000000000001"
	uuid2 = "0192f0c0-0000-7000-8000-000000000002"
)

func system(id, summary string) string {
	return fmt.Sprintf(`{"kind":"system","id":%q,"occurred_at":"2026-11-24T10:00:00Z","source_domain":"SYSTEM","source_component":"test","component":"worker","event_type":"RESTART","severity":"INFO","summary":%q}`, id, summary)
}

func llmRun(run, status, more string) string {
	return fmt.Sprintf(`{"kind":"llm_run","occurred_at":"2026-11-24T10:00:00Z","run_id":%q,"source_domain":"ACTIVITY","source_component":"test","execution_status":%q,"outcome":"success"%s}`, run, status, more)
}

func step(run, span string) string {
	return fmt.Sprintf(`{"kind":"trace_step","occurred_at":"2026-11-24T10:00:00Z","run_id":%q,"trace_id":"0102030405060708090a0b0c0d0e0f10","span_id":%q,"source_domain":"ACTIVITY","source_component":"test","skill_name":"s","step_kind":"tool","status":"success"}`, run, span)
}

func (r *rig) records(query, contentType, body string) (reply, RecordsAnswer, Problem) {
	r.t.Helper()
	got := r.do(call{path: "/api/v1/ingest/records" + query, contentType: contentType, body: []byte(body)})
	var ans RecordsAnswer
	var p Problem
	if got.status == 200 {
		must(r.t, json.Unmarshal(got.body, &ans))
	} else {
		must(r.t, json.Unmarshal(got.body, &p))
		if ct := got.header.Get("Content-Type"); ct != "application/problem+json" {
			r.t.Errorf("Content-Type %q", ct)
		}
		if p.Status != got.status || p.Type != "about:blank" || p.Code == "" || p.Title == "" {
			r.t.Errorf("problem %s", got.body)
		}
	}
	return got, ans, p
}

func TestNative(t *testing.T) {
	r := newRig(t, nil)
	const ndjson = "application/x-ndjson"
	for _, tc := range []struct {
		name, query, media, body string
		want, receipts           int
		code, field              string
	}{
		{"one", "", typeJSON, system(uuid1, "a"), 200, 1, "", ""},
		{"again", "", typeJSON, " [" + system(uuid1, "a") + "]\n", 200, 1, "", ""},
		{"lines", "", ndjson, system(uuid1, "a") + "\n\n" + step("r1", "0102030405060708") + "\r\n", 200, 2, "", ""},
		{"empty array", "", typeJSON, "[]", 200, 0, "", ""},
		{"empty lines", "", ndjson, "\n", 200, 0, "", ""},
		{"conflict", "", typeJSON, system(uuid1, "b"), 409, 0, "conflict", ""},
		{"invalid", "", typeJSON, "[" + system(uuid2, "a") + `,{"kind":"system"}]`, 422, 0, "invalid", "occurred_at"},
		{"unknown field", "", typeJSON, `{"kind":"system","nonsense":1}`, 422, 0, "invalid", "nonsense"},
		{"name twice", "", typeJSON, `[{"kind":"system","kind":"system"}]`, 422, 0, "invalid", "kind"},
		{"server's fact", "", typeJSON, strings.Replace(system(uuid2, "a"), "RESTART", "LOG_CLOSED", 1), 422, 0, "invalid", "event_type"},
		{"no JSON", "", typeJSON, "[{", 400, 0, "malformed", ""},
		{"two values", "", typeJSON, "{}{}", 400, 0, "malformed", ""},
		{"nothing", "", typeJSON, "", 400, 0, "malformed", ""},
		{"media type", "", "text/plain", "{}", 415, 0, "unsupported_media_type", ""},
		{"parameter", "?nonsense=1", typeJSON, "[]", 422, 0, "invalid", `"nonsense"`},
		{"partial what", "?partial=perhaps", typeJSON, "[]", 422, 0, "invalid", "partial"},
		{"wait for what", "?wait=godot", typeJSON, "[]", 422, 0, "invalid", "wait"},
		{"too many", "", ndjson, strings.Repeat("{}\n", ledger.MaxAppend+1), 413, 0, "too_large", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, ans, p := r.records(tc.query, tc.media, tc.body)
			if got.status != tc.want || len(ans.Receipts) != tc.receipts || p.Code != tc.code || p.Field != tc.field {
				t.Errorf("status %d, code %q, field %q: %s", got.status, p.Code, p.Field, got.body)
			}
			if got.status == 200 && (ans.Receipts == nil || ans.Errors == nil) {
				t.Errorf("null in %s", got.body)
			}
		})
	}
	// The refusal of a conflict is a record of the ledger's own.
	if diff := cmp.Diff(map[string]int{"system": 1, "trace_step": 1}, r.count("acme")); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]int{"system": 1, "trace_step": 1}, r.runs.kinds()); diff != "" {
		t.Errorf("observed (-want +got):\n%s", diff)
	}
	got := r.do(call{path: "/api/v1/ingest/records", credential: "viewer-acme", contentType: typeJSON, body: []byte("[]")})
	if got.status != 403 {
		t.Errorf("a viewer: status %d", got.status)
	}
	if got := r.do(call{path: "/api/v1/ingest/records", credential: "none", contentType: typeJSON, body: []byte("[]")}); got.status != 401 || got.header.Get("WWW-Authenticate") == "" {
		t.Errorf("nobody: status %d", got.status)
	}
}

func TestNativePartial(t *testing.T) {
	r := newRig(t, nil)
	r.records("", typeJSON, system(uuid1, "a"))
	body := "[" + system(uuid1, "b") + `,{"kind":"nothing"},` + system(uuid2, "c") + "," + system(uuid1, "a") + "]"
	got, ans, _ := r.records("?partial=true", typeJSON, body)
	if got.status != 200 || len(ans.Receipts) != 2 || len(ans.Errors) != 2 {
		t.Fatalf("status %d: %s", got.status, got.body)
	}
	if ans.Receipts[0].Index != 2 || ans.Receipts[1].Index != 3 || !ans.Receipts[1].Duplicate {
		t.Errorf("receipts %+v", ans.Receipts)
	}
	if ans.Errors[0].Index != 0 || ans.Errors[0].Code != "conflict" || ans.Errors[1].Index != 1 || ans.Errors[1].Field != "kind" {
		t.Errorf("errors %+v", ans.Errors)
	}
}

// TestNativeVerbatim: a sealed value of an array's element is kept byte for byte.
func TestNativeVerbatim(t *testing.T) {
	r := newRig(t, nil)
	odd := `{ "a" : 1.0e+2,"b":"é\/", "c":[ ] }`
	body := "[ " + strings.Replace(system(uuid1, "a"), `"summary"`, `"details":`+odd+`,"summary"`, 1) + " , " + system(uuid2, "b") + "]"
	got, ans, _ := r.records("", typeJSON, body)
	if got.status != 200 {
		t.Fatalf("status %d: %s", got.status, got.body)
	}
	at := ans.Receipts[0]
	err := r.cfg.Ledger.Records(t.Context(), "acme", at.LogNo, at.LeafIndex, at.LeafIndex+1, func(rec ledger.LogRecord) error {
		if rec.Open["/details"].JSON != odd {
			t.Errorf("details are %q", rec.Open["/details"].JSON)
		}
		return nil
	})
	must(t, err)
}

// TestRevision: which revision a completion has that does not say it.
func TestRevision(t *testing.T) {
	r := newRig(t, nil)
	revision := func(a RecordsAnswer) int64 {
		t.Helper()
		if len(a.Receipts) != 1 {
			t.Fatalf("receipts %+v", a.Receipts)
		}
		for _, l := range r.leaves("acme") {
			if l.Seq == a.Receipts[0].LeafIndex {
				n, _ := l.Int("revision")
				return n
			}
		}
		return -1
	}
	check := func(what string, a RecordsAnswer, want int64, duplicate bool) {
		t.Helper()
		if got := revision(a); got != want || a.Receipts[0].Duplicate != duplicate || a.Receipts[0].ConflictOf != "" {
			t.Errorf("%s: revision %d, %+v", what, got, a.Receipts[0])
		}
	}
	_, a, _ := r.records("", typeJSON, llmRun("r1", "SUCCEEDED", ""))
	check("first", a, 1, false)
	start := time.Now()
	_, a, _ = r.records("", typeJSON, llmRun("r1", "SUCCEEDED", ""))
	check("again", a, 1, true)
	if took := time.Since(start); took > time.Second {
		t.Errorf("a retry took %s", took)
	}
	_, a, _ = r.records("", typeJSON, llmRun("r1", "FAILED", ""))
	if a.Receipts[0].ConflictOf == "" {
		t.Errorf("another completion is no conflict: %+v", a.Receipts[0])
	}
	_, a, _ = r.records("", typeJSON, llmRun("r1", "FAILED", `,"revision":2`))
	check("explicit", a, 2, false)

	rec, err := evidence.ParseNative([]byte(llmRun("r2", "SUCCEEDED", "")))
	must(t, err)
	_, err = r.cfg.Ledger.Append(t.Context(), "acme", []*evidence.Record{rec}, ledger.AppendOptions{})
	must(t, err)
	_, a, _ = r.records("", typeJSON, llmRun("r2", "SUCCEEDED", ""))
	check("after the server's", a, 2, false)
	_, a, _ = r.records("", typeJSON, llmRun("r2", "SUCCEEDED", ""))
	check("after the server's, again", a, 2, true)
	_, a, _ = r.records("", "application/x-ndjson", step("r3", "0102030405060709")+"\n"+llmRun("r3", "SUCCEEDED", ""))
	if len(a.Receipts) != 2 {
		t.Errorf("with its step: %+v", a)
	}
	if n := r.runs.kinds()["llm_run"]; n == 0 {
		t.Error("completions are not observed")
	}
}

func TestReceipt(t *testing.T) {
	r := newRig(t, nil)
	got, ans, _ := r.records("?wait=checkpoint", typeJSON, system(uuid1, "a"))
	if got.status != 200 || ans.Checkpoint == "" {
		t.Fatalf("status %d: %s", got.status, got.body)
	}
	r.traces("acme", spans(1, 1))
	span := spans(1, 1).ResourceSpans().At(0).ScopeSpans().At(0).Spans().At(0)
	key := evidence.SpanKey(span.TraceID().String(), span.SpanID().String())
	for _, name := range []string{uuid1, evidence.NaturalID("acme", evidence.KindTraceStep, key).String(), key} {
		for _, credential := range []string{"producer-acme", "viewer-acme"} {
			p := r.receiptOf(credential, name)
			proof, err := c2sp.ParseProof([]byte(p.Proof))
			must(t, err)
			vkey, err := c2sp.ParseVKey(p.VKey)
			must(t, err)
			c, err := c2sp.Verify([]byte(p.Checkpoint), vkey)
			must(t, err)
			must(t, c2sp.CheckInclusion(proof.Hashes, c.Size, c.Root, p.LeafIndex, evidence.LeafHash([]byte(p.Leaf))))
			if p.LeafHash != evidence.LeafHash([]byte(p.Leaf)).String() || p.Log == "" || p.LogNo != 1 {
				t.Errorf("%+v", p)
			}
		}
	}
	for _, tc := range []struct {
		credential, id string
		want           int
	}{
		{"producer-acme", uuid2, 404},
		{"producer-other", uuid1, 404},
		{"producer-acme", "nonsense", 422},
		{"producer-acme", strings.Repeat("0", 32) + ":" + strings.Repeat("0", 16), 404},
		{"none", uuid1, 401},
		{"auditor-acme", uuid1, 403},
	} {
		if got := r.do(call{method: http.MethodGet, path: "/api/v1/receipts/" + tc.id, credential: tc.credential}); got.status != tc.want {
			t.Errorf("%s of %s: status %d, want %d: %s", tc.id, tc.credential, got.status, tc.want, got.body)
		}
	}
	if r.gate.denied != 1 {
		t.Errorf("%d denials recorded, want 1", r.gate.denied)
	}
}

// receiptOf waits for a receipt as a client does.
func (r *rig) receiptOf(credential, name string) ProofAnswer {
	r.t.Helper()
	for range 500 {
		got := r.do(call{method: http.MethodGet, path: "/api/v1/receipts/" + name, credential: credential})
		var p ProofAnswer
		must(r.t, json.Unmarshal(got.body, &p))
		switch {
		case got.status == 202 && got.header.Get("Retry-After") != "":
			time.Sleep(5 * time.Millisecond)
			continue
		case got.status != 200:
			r.t.Fatalf("%s: status %d: %s", name, got.status, got.body)
		}
		return p
	}
	r.t.Fatalf("%s: no checkpoint came", name)
	return ProofAnswer{}
}

func TestSchema(t *testing.T) {
	r := newRig(t, nil)
	got := r.do(call{method: http.MethodGet, path: "/schemas/record.json", credential: "none"})
	if got.status != 200 || string(got.body) != string(evidence.Schema()) {
		t.Errorf("status %d", got.status)
	}
}
