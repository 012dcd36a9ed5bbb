package server_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
)

const captures = "../../testdata/captures"

// capture is an entry of the captures' manifest.
type capture struct {
	ID             string   `json:"id"`
	SDK            string   `json:"sdk"`
	ContentCapture bool     `json:"content_capture"`
	Files          []file   `json:"files"`
	Expected       truth    `json:"expected"`
	Observed       observed `json:"observed"`
	Deviations     []string `json:"deviations"`
}

type file struct {
	Path     string `json:"path"`
	Signal   string `json:"signal"`
	Encoding string `json:"encoding"`
}

type observed struct{ Spans, Traces, Roots, OrphanParents, Logs int }

// truth is what the provider and the driver of a capture know.
type truth struct {
	Provider       string   `json:"provider"`
	CallsOK        int      `json:"llm_calls_ok"`
	Embeddings     int      `json:"embedding_calls"`
	ProviderErrors []int    `json:"provider_errors"`
	RequestModels  []string `json:"request_models"`
	ResponseModels []string `json:"response_models"`
	Input          int64    `json:"input_tokens"`
	Output         int64    `json:"output_tokens"`
	Cached         int64    `json:"cached_input_tokens"`
	CacheWrite     int64    `json:"cache_write_input_tokens"`
	Reasoning      int64    `json:"reasoning_output_tokens"`
	ToolCalls      []string `json:"tool_calls"`
	ToolsExecuted  bool     `json:"tools_executed"`
	FailedTools    []string `json:"failed_tools"`
	ToolError      string   `json:"tool_error_message"`
	Prompt         texts    `json:"prompt"`
	FinalText      texts    `json:"final_text"`
	Identity       struct {
		User     string `json:"user_id"`
		Session  string `json:"session_id"`
		Thread   string `json:"thread_id"`
		Group    string `json:"group_id"`
		Agent    string `json:"agent_name"`
		Function string `json:"function_id"`
	} `json:"identity"`
	Cost *struct {
		Total float64 `json:"total"`
	} `json:"cost_usd"`
	Guardrail *struct {
		Name      string `json:"name"`
		Triggered bool   `json:"triggered"`
		Verdict   string `json:"verdict"`
	} `json:"guardrail"`
}

// texts is a string, a list of strings, or null.
type texts []string

func (t *texts) UnmarshalJSON(b []byte) error {
	var one *string
	if json.Unmarshal(b, &one) == nil {
		if one != nil {
			*t = texts{*one}
		}
		return nil
	}
	return json.Unmarshal(b, (*[]string)(t))
}

func manifest(t *testing.T) []capture {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(captures, "manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	var m struct{ Entries []capture }
	if err := json.Unmarshal(b, &m); err != nil {
		t.Fatal(err)
	}
	if len(m.Entries) != 97 {
		t.Fatalf("%d captures", len(m.Entries))
	}
	return m.Entries
}

// request is an OTLP request to be.
type request struct {
	signal string
	raw    []byte // as captured
	json   bool
	traces ptrace.Traces
	logs   plog.Logs
	metric pmetric.Metrics
}

func (c *capture) requests(t *testing.T) []request {
	t.Helper()
	var out []request
	for _, f := range c.Files {
		b, err := os.ReadFile(filepath.Join(captures, f.Path))
		if err != nil {
			t.Fatal(err)
		}
		r := request{signal: f.Signal, raw: b, json: f.Encoding == "json"}
		if err := r.decode(); err != nil {
			t.Fatalf("%s: %v", f.Path, err)
		}
		out = append(out, r)
	}
	return out
}

func (r *request) decode() error {
	switch r.signal {
	case "traces":
		q := ptraceotlp.NewExportRequest()
		err := pick(r.json, q.UnmarshalJSON, q.UnmarshalProto)(r.raw)
		r.traces = q.Traces()
		return err
	case "logs":
		q := plogotlp.NewExportRequest()
		err := pick(r.json, q.UnmarshalJSON, q.UnmarshalProto)(r.raw)
		r.logs = q.Logs()
		return err
	}
	q := pmetricotlp.NewExportRequest()
	err := pick(r.json, q.UnmarshalJSON, q.UnmarshalProto)(r.raw)
	r.metric = q.Metrics()
	return err
}

func pick[T any](cond bool, a, b T) T {
	if cond {
		return a
	}
	return b
}

// body encodes the request, as it came or anew.
func (r *request) body(asJSON bool) ([]byte, error) {
	if r.raw != nil && asJSON == r.json {
		return r.raw, nil
	}
	switch r.signal {
	case "traces":
		q := ptraceotlp.NewExportRequestFromTraces(r.traces)
		return pick(asJSON, q.MarshalJSON, q.MarshalProto)()
	case "logs":
		q := plogotlp.NewExportRequestFromLogs(r.logs)
		return pick(asJSON, q.MarshalJSON, q.MarshalProto)()
	}
	q := pmetricotlp.NewExportRequestFromMetrics(r.metric)
	return pick(asJSON, q.MarshalJSON, q.MarshalProto)()
}

// explode makes a request of each span and each log record.
func explode(list []request) []request {
	var out []request
	for _, r := range list {
		switch r.signal {
		case "traces":
			for _, rs := range r.traces.ResourceSpans().All() {
				for _, ss := range rs.ScopeSpans().All() {
					for _, s := range ss.Spans().All() {
						td := ptrace.NewTraces()
						to := td.ResourceSpans().AppendEmpty()
						rs.Resource().CopyTo(to.Resource())
						to.SetSchemaUrl(rs.SchemaUrl())
						sc := to.ScopeSpans().AppendEmpty()
						ss.Scope().CopyTo(sc.Scope())
						sc.SetSchemaUrl(ss.SchemaUrl())
						s.CopyTo(sc.Spans().AppendEmpty())
						out = append(out, request{signal: r.signal, traces: td})
					}
				}
			}
		case "logs":
			for _, rl := range r.logs.ResourceLogs().All() {
				for _, sl := range rl.ScopeLogs().All() {
					for _, rec := range sl.LogRecords().All() {
						ld := plog.NewLogs()
						to := ld.ResourceLogs().AppendEmpty()
						rl.Resource().CopyTo(to.Resource())
						to.SetSchemaUrl(rl.SchemaUrl())
						sc := to.ScopeLogs().AppendEmpty()
						sl.Scope().CopyTo(sc.Scope())
						sc.SetSchemaUrl(sl.SchemaUrl())
						rec.CopyTo(sc.LogRecords().AppendEmpty())
						out = append(out, request{signal: r.signal, logs: ld})
					}
				}
			}
		default:
			out = append(out, r)
		}
	}
	return out
}

// permutation is a way to send a capture.
type permutation struct {
	name            string
	json, gzip, rpc bool
	explode, dup    bool
	reverse         bool
	shuffle         uint64 // 0: not
}

var permutations = []permutation{
	{name: "asis"},
	{name: "json", json: true},
	{name: "gzip", gzip: true},
	{name: "grpc", rpc: true},
	{name: "split", explode: true},
	{name: "reverse", explode: true, reverse: true},
	{name: "shuffle", explode: true, shuffle: 1},
	{name: "twice", dup: true},
	{name: "all", explode: true, shuffle: 2, dup: true, gzip: true, json: true},
}

// sender sends requests as an exporter does.
type sender struct {
	url, key string
	conn     *grpc.ClientConn
}

func dial(t *testing.T, addr string) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallSendMsgSize(64<<20)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func (s *sender) send(c *capture, p permutation, list []request) error {
	if p.explode {
		list = explode(list)
	}
	if p.reverse {
		slices.Reverse(list)
	}
	if p.shuffle != 0 {
		rng := rand.New(rand.NewPCG(p.shuffle, uint64(len(c.ID))))
		rng.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	}
	for _, r := range list {
		for range pick(p.dup, 2, 1) {
			if err := s.one(p, &r); err != nil {
				return fmt.Errorf("%s as %s: %w", c.ID, p.name, err)
			}
		}
	}
	return nil
}

func (s *sender) one(p permutation, r *request) error {
	if p.rpc {
		return s.rpc(r)
	}
	asJSON := r.json || p.json
	body, err := r.body(asJSON)
	if err != nil {
		return err
	}
	var buf bytes.Buffer
	buf.Write(body)
	if p.gzip {
		buf.Reset()
		z := gzip.NewWriter(&buf)
		if _, err := z.Write(body); err != nil {
			return err
		}
		if err := z.Close(); err != nil {
			return err
		}
	}
	req, err := http.NewRequest(http.MethodPost, s.url+"/v1/"+r.signal, &buf)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", pick(asJSON, "application/json", "application/x-protobuf"))
	if p.gzip {
		req.Header.Set("Content-Encoding", "gzip")
	}
	req.Header.Set("Authorization", "Bearer "+s.key)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != req.Header.Get("Content-Type") {
		return fmt.Errorf("%s: %s %s", resp.Status, resp.Header.Get("Content-Type"), answer)
	}
	if strings.Contains(string(answer), "ejected") {
		return fmt.Errorf("partly rejected: %s", answer)
	}
	if !asJSON && len(answer) != 0 {
		return fmt.Errorf("an answer with content: %x", answer)
	}
	return nil
}

func (s *sender) rpc(r *request) error {
	ctx := metadata.AppendToOutgoingContext(context.Background(), "authorization", "Bearer "+s.key)
	switch r.signal {
	case "traces":
		_, err := ptraceotlp.NewGRPCClient(s.conn).Export(ctx, ptraceotlp.NewExportRequestFromTraces(r.traces))
		return err
	case "logs":
		_, err := plogotlp.NewGRPCClient(s.conn).Export(ctx, plogotlp.NewExportRequestFromLogs(r.logs))
		return err
	}
	_, err := pmetricotlp.NewGRPCClient(s.conn).Export(ctx, pmetricotlp.NewExportRequestFromMetrics(r.metric))
	return err
}
