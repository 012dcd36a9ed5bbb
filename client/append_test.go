package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/runledger/runledger/client"
	"github.com/runledger/runledger/evidence"
)

const traceID = "4bf92f3577b34da6a3ce929d0e0e4736"

func deploy() client.System {
	return client.System{Component: "api", EventType: "DEPLOY", Severity: "INFO", Version: "1.2.3", Summary: "deployed"}
}

func step() client.Step {
	return client.Step{
		Common:  client.Common{RunID: "run-1", OccurredAt: time.Unix(1_790_000_000, 0)},
		TraceID: traceID, SpanID: "00f067aa0ba902b7", Kind: "tool", Name: "lookup", Status: "success",
	}
}

// TestRetry sends one record through each fault. Whatever happens, the record is
// in the log once and its receipt is returned.
func TestRetry(t *testing.T) {
	tests := []struct {
		name      string
		faults    []fault
		requests  int
		duplicate bool
		atLeast   time.Duration
	}{
		{"no fault", nil, 1, false, 0},
		{"busy", []fault{status(429), status(503), status(502), status(504), status(408)}, 6, false, 500 * time.Millisecond},
		{"retry after seconds", []fault{status(429, "Retry-After", "7")}, 2, false, 7 * time.Second},
		{"retry after a date", []fault{status(503, "Retry-After", "Sat, 01 Jan 2000 00:00:20 GMT")}, 2, false, 19 * time.Second},
		{"no connection", []fault{down, down}, 3, false, 300 * time.Millisecond},
		{"answer lost after the commit", []fault{lost}, 2, true, 0},
		{"answer cut off", []fault{cut}, 2, true, 0},
		{"answer too late", []fault{slow}, 2, true, time.Minute},
		{"answer without the receipt", []fault{empty}, 2, false, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(t)
				f.faults = test.faults
				began := time.Now() // 2000-01-01 in the bubble
				receipts, err := f.client(nil).Append(t.Context(), deploy())
				if err != nil {
					t.Fatal(err)
				}
				if len(receipts) != 1 || receipts[0].Duplicate != test.duplicate || receipts[0].Log != origin {
					t.Errorf("receipts %+v", receipts)
				}
				if len(f.log) != 1 || receipts[0].ID != f.log[0].ID.String() {
					t.Errorf("the log has %d records", len(f.log))
				}
				if f.requests != test.requests {
					t.Errorf("%d requests, want %d", f.requests, test.requests)
				}
				if took := time.Since(began); took < test.atLeast {
					t.Errorf("took %v, want at least %v", took, test.atLeast)
				}
			})
		})
	}
}

// TestRefused checks that what no repetition saves is not repeated.
func TestRefused(t *testing.T) {
	bad := client.Audit{EventType: "PolicyEvaluated", EntityType: "POLICY_RULE", EntityID: "r", Decision: "MAYBE"}
	tests := []struct {
		name   string
		fault  fault
		change func(*client.Config)
		record client.Record
		want   error
		status int
	}{
		{"no credential", nil, func(c *client.Config) { c.Key = "other" }, deploy(), evidence.ErrForbidden, 401},
		{"forbidden", status(403), nil, deploy(), evidence.ErrForbidden, 403},
		{"conflict", status(409), nil, deploy(), evidence.ErrConflict, 409},
		{"too large", status(413), nil, deploy(), evidence.ErrTooLarge, 413},
		{"redirect", status(307, "Location", "http://elsewhere.example/"), nil, deploy(), nil, 307},
		{"internal", status(500), nil, deploy(), nil, 500},
		{"bad record", nil, nil, bad, evidence.ErrInvalid, 422},
		{"no object", nil, nil, client.Raw(`[1]`), evidence.ErrInvalid, 0},
		{"two objects", nil, nil, client.Raw(`{"kind":"system"},{}`), evidence.ErrInvalid, 0},
		{"nil", nil, nil, nil, evidence.ErrInvalid, 0},
		{"nil pointer", nil, nil, (*client.System)(nil), evidence.ErrInvalid, 0},
		{"sealed value that is no JSON", nil, nil, client.System{Summary: json.RawMessage(`{`)}, evidence.ErrInvalid, 0},
		{"embedded", nil, nil, struct{ client.System }{}, evidence.ErrInvalid, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := newFake(t)
			if test.fault != nil {
				f.faults = []fault{test.fault}
			}
			_, err := f.client(test.change).Append(t.Context(), deploy(), test.record)
			var e *client.Error
			if !errors.As(err, &e) || e.Status != test.status {
				t.Fatalf("error %v", err)
			}
			if test.want != nil && !errors.Is(err, test.want) || test.want == nil && errors.Is(err, evidence.ErrUnavailable) {
				t.Errorf("%v does not wrap %v", err, test.want)
			}
			want := 1
			if test.status == 0 {
				want = 0
			}
			if f.requests != want || len(f.log) != 0 {
				t.Errorf("%d requests, %d records", f.requests, len(f.log))
			}
		})
	}
}

func TestRecordErrors(t *testing.T) {
	f := newFake(t)
	bad := client.Audit{EventType: "PolicyEvaluated", EntityType: "POLICY_RULE", EntityID: "r", Decision: "MAYBE"}
	_, err := f.client(nil).Append(t.Context(), deploy(), bad)
	var e *client.Error
	if !errors.As(err, &e) || len(e.Records) != 1 || e.Records[0].Index != 1 || e.Records[0].Field != "decision" {
		t.Fatalf("error %#v", err)
	}
	if e.Field != "decision" || !errors.Is(&e.Records[0], evidence.ErrInvalid) {
		t.Errorf("error %+v", e)
	}
	res, err := f.client(nil).AppendBatch(t.Context(), client.AppendOptions{Partial: true, WaitCheckpoint: true}, deploy(), bad, step())
	if err != nil {
		t.Fatal(err)
	}
	if len(res.Receipts) != 2 || res.Receipts[1].Index != 2 || len(res.Errors) != 1 || res.Errors[0].Index != 1 {
		t.Errorf("result %+v", res)
	}
	if !strings.HasPrefix(res.Checkpoint, origin+"\n2\n") {
		t.Errorf("checkpoint %q", res.Checkpoint)
	}
}

// TestGiveUp checks that retries end, and that the context ends them.
func TestGiveUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		f.faults = []fault{down, down, down, down, down, down}
		c := f.client(func(c *client.Config) { c.MaxRetries = 2 })
		if _, err := c.Append(t.Context(), deploy()); !errors.Is(err, evidence.ErrUnavailable) || f.requests != 3 {
			t.Errorf("after %d requests: %v", f.requests, err)
		}
		c = f.client(func(c *client.Config) { c.MaxRetries = -1 })
		if _, err := c.Append(t.Context(), deploy()); !errors.Is(err, evidence.ErrUnavailable) || f.requests != 4 {
			t.Errorf("after %d requests: %v", f.requests, err)
		}
		f.faults = []fault{status(503, "Retry-After", "30")}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := f.client(nil).Append(ctx, deploy()); !errors.Is(err, context.DeadlineExceeded) || f.requests != 5 {
			t.Errorf("after %d requests: %v", f.requests, err)
		}
	})
}

// TestBrokenAnswers checks that no answer is believed that does not account for
// the records that were sent.
func TestBrokenAnswers(t *testing.T) {
	receipts := func(a map[string]any) []map[string]any { return a["receipts"].([]map[string]any) }
	tests := map[string]func(a map[string]any){
		"one missing":     func(a map[string]any) { a["receipts"] = receipts(a)[:1] },
		"one twice":       func(a map[string]any) { receipts(a)[1]["index"] = 0 },
		"unknown index":   func(a map[string]any) { receipts(a)[1]["index"] = 2 },
		"negative index":  func(a map[string]any) { receipts(a)[1]["index"] = -1 },
		"swapped":         func(a map[string]any) { receipts(a)[0]["index"], receipts(a)[1]["index"] = 1, 0 },
		"no log":          func(a map[string]any) { receipts(a)[0]["log"] = "" },
		"short hash":      func(a map[string]any) { receipts(a)[0]["leaf_hash"] = "ab" },
		"no id":           func(a map[string]any) { delete(receipts(a)[0], "id") },
		"other type":      func(a map[string]any) { a["receipts"] = "none" },
		"error, not part": func(a map[string]any) { a["errors"] = []map[string]any{{"index": 0, "code": "invalid"}} },
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			f.change = change
			c := f.client(func(c *client.Config) { c.MaxRetries = -1 })
			if got, err := c.Append(t.Context(), deploy(), deploy()); !errors.Is(err, evidence.ErrUnavailable) {
				t.Errorf("receipts %v, error %v", got, err)
			}
		})
	}
}

// TestIDs checks which records get an id, and that nothing else of a raw record
// is touched.
func TestIDs(t *testing.T) {
	tests := []struct {
		raw  string
		made bool
	}{
		{`{"kind":"system", "summary": 1.0}`, true},
		{"{ }", true},
		{" {\n\"kind\":\"trace_step\"}\n", true},
		{`{"kind":"audit","ID":"x"}`, true}, // names of members are exact
		{`{"kind":"trace_step","span_id":"00f067aa0ba902b7"}`, false},
		{`{"kind":"llm_run"}`, false},
		{`{"kind":"trace"}`, false},
		{`{"kind":"audit","id":"3f2a9c1e-5b7d-4e8a-9c60-1d2e3f4a5b6c"}`, false},
		{`{"kind":"audit","id":null}`, false},
	}
	for _, test := range tests {
		var sent string
		h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			var raws []json.RawMessage
			if err := json.NewDecoder(r.Body).Decode(&raws); err != nil {
				t.Error(err)
				return
			}
			sent = string(raws[0])
			w.WriteHeader(422)
		})
		c, err := client.New(client.Config{BaseURL: "http://h", HTTPClient: &http.Client{Transport: direct{h}}})
		if err != nil {
			t.Fatal(err)
		}
		_, _ = c.Append(t.Context(), client.Raw(test.raw))
		text := strings.TrimSpace(test.raw)
		if !test.made {
			if sent != text {
				t.Errorf("sent %s, want %s", sent, text)
			}
			continue
		}
		const before = len(`{"id":"`)
		id, ok := evidence.ParseID(sent[before : before+36])
		if !ok || id.Version() != 7 {
			t.Errorf("sent %s", sent)
		}
		rest := strings.TrimPrefix(sent[before+36+1:], ",")
		if want := strings.TrimPrefix(text, "{"); rest != want {
			t.Errorf("sent %q after the id, want %q", rest, want)
		}
	}
}

// TestNatural checks the client's idea of natural keys against the parser's: a
// record that the client gives no id must not need one.
func TestNatural(t *testing.T) {
	f := newFake(t)
	c := f.client(nil)
	noSpan := step()
	noSpan.SpanID = ""
	receipts, err := c.Append(t.Context(), step(), noSpan,
		client.Trace{Common: client.Common{RunID: "run-1"}, TraceID: traceID},
		client.Run{Common: client.Common{RunID: "run-1"}, Status: "SUCCEEDED"},
		client.Event{Common: client.Common{RunID: "run-1"}, Name: "note"},
		deploy(), &client.Audit{EventType: "LimitChecked", EntityType: "LIMIT", EntityID: "l", Common: client.Common{AgentID: "a"}})
	if err != nil {
		t.Fatal(err)
	}
	var versions []int
	for _, r := range receipts {
		id, _ := evidence.ParseID(r.ID)
		versions = append(versions, id.Version())
	}
	if diff := cmp.Diff([]int{8, 7, 8, 8, 7, 7, 7}, versions); diff != "" {
		t.Error("UUID versions (8 follows from a natural key):\n" + diff)
	}
	if again, err := c.Append(t.Context(), step()); err != nil || !again[0].Duplicate {
		t.Errorf("the same span again: %+v, %v", again, err)
	}
}

// TestNetwork goes over a real connection: a redirect must not take the key
// elsewhere, and a connection that breaks in the answer is repeated.
func TestNetwork(t *testing.T) {
	f := newFake(t)
	f.faults = []fault{func(w http.ResponseWriter, _ *http.Request, commit func(http.ResponseWriter)) {
		rec := httptest.NewRecorder()
		commit(rec)
		w.Header().Set("Content-Length", "1000") // more than comes
		_, _ = w.Write(rec.Body.Bytes())
	}, lost}
	s := httptest.NewServer(f)
	defer s.Close()
	c, err := client.New(client.Config{BaseURL: s.URL + "/", Key: "secret", MinBackoff: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	receipts, err := c.Append(t.Context(), deploy())
	if err != nil || len(receipts) != 1 || !receipts[0].Duplicate || f.requests != 3 {
		t.Errorf("%d requests: %+v, %v", f.requests, receipts, err)
	}
	s.Close()
	c, err = client.New(client.Config{BaseURL: s.URL, MaxRetries: -1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Append(t.Context(), deploy()); !errors.Is(err, evidence.ErrUnavailable) {
		t.Errorf("no server: %v", err)
	}
}

func TestConfig(t *testing.T) {
	for name, cfg := range map[string]client.Config{
		"nothing":         {},
		"no scheme":       {BaseURL: "ledger.example:8080"},
		"other scheme":    {BaseURL: "ftp://ledger.example"},
		"credential":      {BaseURL: "http://u:p@ledger.example"},
		"query":           {BaseURL: "http://ledger.example/?a=b"},
		"key with a line": {BaseURL: "http://ledger.example", Key: "a\nb"},
		"verifier key":    {BaseURL: "http://ledger.example", VerifierKeys: []string{"x"}},
		"negative":        {BaseURL: "http://ledger.example", MinBackoff: -1},
	} {
		if _, err := client.New(cfg); !errors.Is(err, evidence.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := client.New(client.Config{BaseURL: "https://ledger.example/behind/a/proxy/"}); err != nil {
		t.Error(err)
	}
}
