package ingest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/otlp"
)

func TestExportHTTP(t *testing.T) {
	r := newRig(t, nil)
	body := protoTraces(t, spans(1, 3))
	td, err := ptraceotlp.NewExportRequestFromTraces(spans(2, 2)).MarshalJSON()
	must(t, err)
	for _, tc := range []struct {
		name string
		call call
		want int
	}{
		{"protobuf", call{path: "/v1/traces", contentType: typeProtobuf, body: body}, 200},
		{"again", call{path: "/v1/traces", contentType: typeProtobuf, body: body}, 200},
		{"prefix", call{path: "/api/public/otel/v1/traces", contentType: typeProtobuf, body: body}, 200},
		{"gzip", call{path: "/v1/traces", contentType: typeProtobuf, encoding: "gzip", body: gzipped(t, body)}, 200},
		{"chunked", call{path: "/v1/traces", contentType: typeProtobuf, reader: struct{ *bytes.Reader }{bytes.NewReader(body)}}, 200},
		{"json", call{path: "/v1/traces", contentType: "application/json; charset=utf-8", body: td}, 200},
		{"json gzip", call{path: "/v1/traces", contentType: typeJSON, encoding: "gzip", body: gzipped(t, td)}, 200},
		{"empty", call{path: "/v1/traces", contentType: typeProtobuf}, 200},
		{"empty gzip", call{path: "/v1/traces", contentType: typeProtobuf, encoding: "gzip"}, 200},
		{"empty json", call{path: "/v1/traces", contentType: typeJSON, body: []byte("{}")}, 200},
		{"logs", call{path: "/v1/logs", contentType: typeProtobuf, body: protoLogs(t, logs(2))}, 200},
		{"metrics", call{path: "/v1/metrics", contentType: typeProtobuf, body: protoMetrics(t, metricData())}, 200},
		{"no credential", call{path: "/v1/traces", credential: "none", contentType: typeProtobuf, body: body}, 401},
		{"no permission", call{path: "/v1/traces", credential: "viewer-acme", contentType: typeProtobuf, body: body}, 403},
		{"no tenant", call{path: "/v1/traces", credential: "producer-", contentType: typeProtobuf, body: body}, 403},
		{"unknown tenant", call{path: "/v1/traces", credential: "producer-nobody", contentType: typeProtobuf, body: body}, 403},
		{"no type", call{path: "/v1/traces", body: body}, 415},
		{"text", call{path: "/v1/traces", contentType: "text/plain", body: body}, 415},
		{"zstd", call{path: "/v1/traces", contentType: typeProtobuf, encoding: "zstd", body: body}, 415},
		{"no gzip", call{path: "/v1/traces", contentType: typeProtobuf, encoding: "gzip", body: body}, 400},
		{"no JSON", call{path: "/v1/traces", contentType: typeJSON, body: []byte(`{"resourceSpans":[`)}, 400},
		{"GET", call{method: http.MethodGet, path: "/v1/traces"}, 405},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := r.do(tc.call)
			if got.status != tc.want {
				t.Fatalf("status %d, want %d: %s", got.status, tc.want, got.body)
			}
			if tc.want == 405 {
				return
			}
			wantType := typeJSON
			if tc.call.contentType == typeProtobuf {
				wantType = typeProtobuf
			}
			if ct := got.header.Get("Content-Type"); ct != wantType {
				t.Errorf("Content-Type %q, want %q", ct, wantType)
			}
			checkOTLPBody(t, got, wantType)
		})
	}
	want := map[string]int{"trace": 2, "trace_step": 5, "system": 2, "metric": 1}
	if diff := cmp.Diff(want, r.count("acme")); diff != "" {
		t.Errorf("records in the log (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want, r.runs.kinds()); diff != "" {
		t.Errorf("records observed (-want +got):\n%s", diff)
	}
}

// checkOTLPBody reads an answer as an exporter does.
func checkOTLPBody(t *testing.T, got reply, contentType string) {
	t.Helper()
	if got.status == 200 {
		if contentType == typeProtobuf && len(got.body) != 0 {
			t.Errorf("partial_success is set: %q", got.body)
		}
		if contentType == typeJSON && strings.TrimSpace(string(got.body)) != "{}" {
			t.Errorf("partial_success is set: %s", got.body)
		}
		return
	}
	st := &spb.Status{}
	if contentType == typeProtobuf {
		must(t, proto.Unmarshal(got.body, st))
	} else {
		must(t, json.Unmarshal(got.body, st))
	}
	if st.GetMessage() == "" || st.GetCode() == 0 {
		t.Errorf("status says nothing: %v", st)
	}
}

func TestPartialSuccess(t *testing.T) {
	r := newRig(t, nil)
	td := spans(1, 3)
	td.ResourceSpans().At(0).ScopeSpans().At(0).Spans().At(1).SetSpanID([8]byte{})
	got := r.traces("acme", td)
	if got.status != 200 {
		t.Fatalf("status %d: %s", got.status, got.body)
	}
	resp := ptraceotlp.NewExportResponse()
	must(t, resp.UnmarshalProto(got.body))
	if n := resp.PartialSuccess().RejectedSpans(); n != 1 {
		t.Errorf("%d spans rejected, want 1", n)
	}
	if resp.PartialSuccess().ErrorMessage() == "" {
		t.Error("no message")
	}
	body, err := ptraceotlp.NewExportRequestFromTraces(td).MarshalJSON()
	must(t, err)
	got = r.do(call{path: "/v1/traces", contentType: typeJSON, body: body})
	resp = ptraceotlp.NewExportResponse()
	must(t, resp.UnmarshalJSON(got.body))
	if n := resp.PartialSuccess().RejectedSpans(); n != 1 {
		t.Errorf("JSON: %d spans rejected, want 1: %s", n, got.body)
	}
	if n := r.count("acme")["trace_step"]; n != 2 {
		t.Errorf("%d steps, want 2", n)
	}
}

// TestTraceFirst: a trace's record stands before its steps, once.
func TestTraceFirst(t *testing.T) {
	r := newRig(t, nil)
	for i := range 3 {
		td := spans(7, 2)
		for j := range 2 {
			td.ResourceSpans().At(0).ScopeSpans().At(0).Spans().At(j).SetSpanID([8]byte{1, byte(i), byte(j)})
		}
		if i == 2 { // as after a restart
			r.Handler.traces = newTraceCache(10)
		}
		if got := r.traces("acme", td); got.status != 200 {
			t.Fatalf("status %d: %s", got.status, got.body)
		}
	}
	steps, traces := 0, 0
	for _, l := range r.leaves("acme") {
		switch l.Kind {
		case evidence.KindTrace:
			if steps > 0 {
				t.Error("the trace's record comes after a step")
			}
			traces++
		case evidence.KindTraceStep:
			steps++
		}
	}
	if traces != 1 || steps != 6 {
		t.Errorf("%d traces, %d steps; want 1 and 6", traces, steps)
	}
}

// TestConcurrentFirst: requests that race for a trace's first record make one
// record and no conflict, and tenants with the same trace ids never meet.
func TestConcurrentFirst(t *testing.T) {
	r := newRig(t, nil)
	const n = 16
	var wg sync.WaitGroup
	for i := range n {
		for _, tenant := range []string{"acme", "other"} {
			td := spans(9, 1)
			first := td.ResourceSpans().At(0).ScopeSpans().At(0).Spans().At(0)
			first.SetSpanID([8]byte{2, byte(i)})
			first.SetStartTimestamp(first.StartTimestamp() - pcommon.Timestamp(i)*1e6) // each has the trace begin at another time
			body := protoTraces(t, td)
			wg.Go(func() {
				got, err := r.try(call{path: "/v1/traces", credential: "producer-" + tenant, contentType: typeProtobuf, body: body})
				if err != nil || got.status != 200 {
					t.Errorf("status %d: %s: %v", got.status, got.body, err)
				}
			})
		}
	}
	wg.Wait()
	ids := map[evidence.ID]string{}
	for _, tenant := range []string{"acme", "other"} {
		if diff := cmp.Diff(map[string]int{"trace": 1, "trace_step": n}, r.count(tenant)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tenant, diff)
		}
		for _, l := range r.leaves(tenant) {
			if l.Text("conflict_of") != "" {
				t.Errorf("%s: %s is a conflict record", tenant, l.ID)
			}
			if l.Kind == evidence.KindTrace || l.Kind == evidence.KindTraceStep {
				if was := ids[l.ID]; was != "" {
					t.Errorf("%s and %s share the id %s", was, tenant, l.ID)
				}
				ids[l.ID] = tenant
				if want := "key-producer-" + tenant; l.Text("producer") != want {
					t.Errorf("producer %q in the log of %s", l.Text("producer"), tenant)
				}
			}
		}
	}
}

// TestRetryAndConflict: the same span again changes nothing, another span of
// the same id is kept beside it.
func TestRetryAndConflict(t *testing.T) {
	r := newRig(t, nil)
	for range 2 {
		if got := r.traces("acme", spans(3, 2)); got.status != 200 || len(got.body) != 0 {
			t.Fatalf("status %d: %q", got.status, got.body)
		}
	}
	if n := len(r.runs.kinds()); n != 2 || r.runs.kinds()["trace_step"] != 2 {
		t.Errorf("observed %v", r.runs.kinds())
	}
	before := len(r.leaves("acme"))
	td := spans(3, 2)
	td.ResourceSpans().At(0).ScopeSpans().At(0).Spans().At(1).SetName("something else")
	if got := r.traces("acme", td); got.status != 200 {
		t.Fatalf("status %d: %s", got.status, got.body)
	}
	all := r.leaves("acme")
	if len(all) != before+1 || all[len(all)-1].Text("conflict_of") == "" {
		t.Errorf("%d leaves, then %d; the last contradicts %q", before, len(all), all[len(all)-1].Text("conflict_of"))
	}
	r.runs.mu.Lock()
	defer r.runs.mu.Unlock()
	if last := r.runs.seen[len(r.runs.seen)-1]; last.Receipt.ConflictOf == (evidence.ID{}) {
		t.Error("the conflict was not observed")
	}
}

// TestRefusedRecords: what the ledger refuses for good is counted, the rest is
// kept, also where it is refused before anything is sequenced.
func TestRefusedRecords(t *testing.T) {
	r := newRig(t, nil)
	decode := r.signals[0].decode
	r.signals[0].decode = func(m *otlp.Mapper, body []byte, enc otlp.Encoding) (*otlp.Batch, int, error) {
		b, n, err := decode(m, body, enc)
		// No mapper makes such a record; the ledger must say so all the same.
		big := b.Items[1].Record
		var ids []string
		for i := range 200 {
			ids = append(ids, fmt.Sprintf("%0120d", i))
		}
		big.SetNames("policy_ids", ids)
		return b, n, err
	}
	got := r.traces("acme", spans(4, 3))
	resp := ptraceotlp.NewExportResponse()
	must(t, resp.UnmarshalProto(got.body))
	if got.status != 200 || resp.PartialSuccess().RejectedSpans() != 1 {
		t.Fatalf("status %d, %d rejected: %s", got.status, resp.PartialSuccess().RejectedSpans(), got.body)
	}
	if n := r.count("acme")["trace_step"]; n != 2 {
		t.Errorf("%d steps, want 2", n)
	}
}

func TestUnavailable(t *testing.T) {
	var paused error
	r := newRig(t, func(c *Config) { c.Paused = func() error { return paused } })
	body := protoTraces(t, spans(1, 1))
	send := func() reply { return r.do(call{path: "/v1/traces", contentType: typeProtobuf, body: body}) }
	check := func(what string, got reply) {
		t.Helper()
		if got.status != 503 || got.header.Get("Retry-After") == "" {
			t.Errorf("%s: status %d, Retry-After %q: %s", what, got.status, got.header.Get("Retry-After"), got.body)
		}
	}
	paused = fmt.Errorf("disk: %w", evidence.ErrUnavailable)
	check("paused", send())
	check("paused, native", r.do(call{path: "/api/v1/ingest/records", contentType: typeJSON, body: []byte("[]")}))
	paused = nil
	r.gate.down = fmt.Errorf("keys: %w", evidence.ErrUnavailable)
	check("gate", send())
	r.gate.down = fmt.Errorf("another tenant: %w", evidence.ErrForbidden)
	if got := send(); got.status != 403 {
		t.Errorf("another tenant's: status %d", got.status)
	}
	if got := r.do(call{path: "/api/v1/ingest/records", contentType: typeJSON, body: []byte("[]")}); got.status != 403 {
		t.Errorf("another tenant's, native: status %d", got.status)
	}
	r.gate.down = nil
	r.signals[0].decode = func(*otlp.Mapper, []byte, otlp.Encoding) (*otlp.Batch, int, error) { panic("a bug of ours") }
	got := send()
	check("panic", got)
	if strings.Contains(string(got.body), "bug") {
		t.Errorf("internals are told: %s", got.body)
	}
	must(t, r.Close(context.Background()))
	r.signals = r.otlpSignals()
	check("stopping", r.do(call{path: "/v1/logs", contentType: typeProtobuf, body: protoLogs(t, logs(1))}))
	r.roomBack()
}

// TestDetached: an append that nobody waits for any more comes to its end, is
// observed, and holds its room until then.
func TestDetached(t *testing.T) {
	r := newRig(t, func(c *Config) { c.AppendTimeout = 20 * time.Millisecond })
	r.runs.mu.Lock() // the append cannot end before this is released
	got := r.do(call{path: "/v1/traces", contentType: typeProtobuf, body: protoTraces(t, spans(1, 4))})
	held := !r.bytes.TryAcquire(r.cfg.MaxInFlight)
	r.runs.mu.Unlock()
	if got.status != 503 || got.header.Get("Retry-After") == "" {
		t.Errorf("status %d", got.status)
	}
	if !held {
		t.Error("room was given back too early")
		r.bytes.Release(r.cfg.MaxInFlight)
	}
	must(t, r.Close(context.Background()))
	if n := r.runs.kinds()["trace_step"]; n != 4 {
		t.Errorf("%d steps observed, want 4", n)
	}
	r.roomBack()
}

// TestClientGone: the same for a client that does not wait.
func TestClientGone(t *testing.T) {
	r := newRig(t, nil)
	r.runs.mu.Lock()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.http.URL+"/v1/traces", bytes.NewReader(protoTraces(t, spans(1, 4))))
	must(t, err)
	req.Header.Set("Content-Type", typeProtobuf)
	req.Header.Set("Authorization", "Bearer producer-acme")
	resp, err := r.http.Client().Do(req)
	r.runs.mu.Unlock()
	if err == nil {
		t.Errorf("status %d before the append had ended", resp.StatusCode)
		_ = resp.Body.Close()
	}
	must(t, r.Close(context.Background()))
	if n := r.runs.kinds()["trace_step"]; n != 4 {
		t.Errorf("%d steps observed, want 4", n)
	}
}

// TestQueueFull: where more records wait for the ledger than it queues, a
// request is to come again.
func TestQueueFull(t *testing.T) {
	r := newRig(t, func(c *Config) { c.MaxRecords, c.QueueWait = 10, 200*time.Millisecond })
	if !r.Handler.records.TryAcquire(10) {
		t.Fatal("not empty")
	}
	for _, c := range []call{
		{path: "/v1/traces", contentType: typeProtobuf, body: protoTraces(t, spans(1, 1))},
		{path: "/api/v1/ingest/records", contentType: typeJSON, body: []byte(system(uuid1, "a"))},
	} {
		if got := r.do(c); got.status != 429 || got.header.Get("Retry-After") == "" {
			t.Errorf("%s: status %d: %s", c.path, got.status, got.body)
		}
	}
	r.Handler.records.Release(10)
	// A request with more records than the queue has room for waits for all of it.
	if got := r.traces("acme", spans(1, 50)); got.status != 200 {
		t.Errorf("status %d: %s", got.status, got.body)
	}
}

// TestLedgerStopped: evidence cannot be made durable.
func TestLedgerStopped(t *testing.T) {
	r := newRig(t, nil)
	must(t, r.cfg.Ledger.Close())
	for _, c := range []call{
		{path: "/v1/traces", contentType: typeProtobuf, body: protoTraces(t, spans(1, 1))},
		{path: "/v1/logs", contentType: typeProtobuf, body: protoLogs(t, logs(1))},
		{path: "/api/v1/ingest/records", contentType: typeJSON, body: []byte(system(uuid1, "a"))},
	} {
		if got := r.do(c); got.status != 503 || got.header.Get("Retry-After") == "" {
			t.Errorf("%s: status %d: %s", c.path, got.status, got.body)
		}
	}
}

func TestMetrics(t *testing.T) {
	reg := prometheus.NewRegistry()
	r := newRig(t, func(c *Config) { c.Metrics = reg })
	r.traces("acme", spans(1, 3))
	r.do(call{path: "/v1/traces", credential: "none", contentType: typeProtobuf})
	got, err := reg.Gather()
	must(t, err)
	text := fmt.Sprint(got)
	for _, want := range []string{"runledger_ingest_requests_total", "runledger_ingest_request_seconds", "runledger_ingest_items_total", "runledger_ingest_bytes_total", "runledger_ingest_in_flight_bytes", `value:"401"`, `value:"accepted"`} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in %s", want, text)
		}
	}
}
