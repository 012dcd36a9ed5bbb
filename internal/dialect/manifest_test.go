package dialect

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
)

const captures = "../../testdata/captures"

// manifest is the truth about the captures.
type manifest struct {
	Totals  struct{ Entries int }
	Entries []capture
}

type capture struct {
	ID             string
	SDK            string
	ContentCapture bool `json:"content_capture"`
	Files          []struct{ Path, Signal, Encoding string }
	Expected       expected
	Observed       struct{ Spans, Logs int }
	Deviations     []string
}

type expected struct {
	Provider       string
	HTTPCalls      int      `json:"http_calls"`
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
	PerCall        []struct {
		Op, ResponseModel string
		Status            int
		ResponseID        string `json:"response_id"`
		Input, Output     int64
		Finish            string   `json:"provider_finish_reason"`
		ToolCalls         []string `json:"tool_calls"`
	} `json:"per_call"`
	ToolCalls     []string `json:"tool_calls"`
	ToolsExecuted bool     `json:"tools_executed"`
	FailedTools   []string `json:"failed_tools"`
	ToolError     string   `json:"tool_error_message"`
	Prompt        texts
	System        string `json:"system_prompt"`
	Final         string `json:"final_text"`
	Identity      map[string]json.RawMessage
	Guardrail     *struct {
		Name      string
		Triggered bool
		Verdict   string
		Policy    string
		Score     json.Number
		Action    string
	}
	Cost    *struct{ Total json.Number } `json:"cost_usd"`
	Pricing map[string]struct {
		Input, Output json.Number
	} `json:"pricing_usd_per_1k"`
}

// texts is a string or a list of strings.
type texts []string

func (t *texts) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil {
		if one != "" {
			*t = texts{one}
		}
		return nil
	}
	return json.Unmarshal(b, (*[]string)(t))
}

func readManifest(tb testing.TB) manifest {
	tb.Helper()
	b, err := os.ReadFile(filepath.Join(captures, "manifest.json"))
	if err != nil {
		tb.Fatal(err)
	}
	var m manifest
	if err := json.Unmarshal(b, &m); err != nil {
		tb.Fatal(err)
	}
	if len(m.Entries) == 0 || len(m.Entries) != m.Totals.Entries {
		tb.Fatalf("manifest has %d entries, says %d", len(m.Entries), m.Totals.Entries)
	}
	return m
}

// step is a span with its reading.
type step struct {
	Reading
	trace, id, parent string
	start, end        uint64
	tools             []string // that the response asks for
	leaf              bool
}

// reading is all that a capture says.
type reading struct {
	steps []*step
	logs  []Reading
	// log messages by span id
	prompts, responses map[string][][]byte
	spans              []ptrace.Span
}

func decode(tb testing.TB, c *capture) (traces []ptrace.Traces, logs []plogotlp.ExportRequest) {
	tb.Helper()
	for _, f := range c.Files {
		body, err := os.ReadFile(filepath.Join(captures, f.Path))
		if err != nil {
			tb.Fatal(err)
		}
		switch f.Signal {
		case "traces":
			req := ptraceotlp.NewExportRequest()
			if f.Encoding == "json" {
				err = req.UnmarshalJSON(body)
			} else {
				err = req.UnmarshalProto(body)
			}
			traces = append(traces, req.Traces())
		case "logs":
			req := plogotlp.NewExportRequest()
			if f.Encoding == "json" {
				err = req.UnmarshalJSON(body)
			} else {
				err = req.UnmarshalProto(body)
			}
			logs = append(logs, req)
		case "metrics":
		default:
			tb.Fatalf("unknown signal %q", f.Signal)
		}
		if err != nil {
			tb.Fatalf("%s: %v", f.Path, err)
		}
	}
	return traces, logs
}

func readCapture(tb testing.TB, table *Table, c *capture) *reading {
	tb.Helper()
	out := &reading{prompts: make(map[string][][]byte), responses: make(map[string][][]byte)}
	traces, logs := decode(tb, c)
	for _, td := range traces {
		for _, rs := range td.ResourceSpans().All() {
			for _, ss := range rs.ScopeSpans().All() {
				for _, sp := range ss.Spans().All() {
					st := &step{
						Reading: table.ReadSpan(rs.Resource(), ss.Scope(), sp),
						trace:   sp.TraceID().String(), id: sp.SpanID().String(), parent: sp.ParentSpanID().String(),
						start: uint64(sp.StartTimestamp()), end: uint64(sp.EndTimestamp()),
					}
					out.steps = append(out.steps, st)
					out.spans = append(out.spans, sp)
				}
			}
		}
	}
	for _, req := range logs {
		for _, rl := range req.Logs().ResourceLogs().All() {
			for _, sl := range rl.ScopeLogs().All() {
				for _, rec := range sl.LogRecords().All() {
					r := table.ReadLog(rl.Resource(), sl.Scope(), rec)
					out.logs = append(out.logs, r)
					id := rec.SpanID().String()
					if r.Hints.Prompt != nil {
						out.prompts[id] = append(out.prompts[id], r.Hints.Prompt)
					}
					if r.Hints.Response != nil {
						out.responses[id] = append(out.responses[id], r.Hints.Response)
					}
				}
			}
		}
	}
	if len(out.steps) != c.Observed.Spans || len(out.logs) != c.Observed.Logs {
		tb.Fatalf("read %d spans and %d logs, the manifest has %d and %d", len(out.steps), len(out.logs), c.Observed.Spans, c.Observed.Logs)
	}
	out.link()
	return out
}

// link finds the leaf calls and gives steps the messages of their logs.
func (r *reading) link() {
	byID := make(map[string]*step)
	for _, s := range r.steps {
		byID[s.trace+s.id] = s
		s.leaf = s.Kind == "llm" || s.Kind == "embedding"
	}
	for _, s := range r.steps {
		if s.Kind != "llm" && s.Kind != "embedding" {
			continue
		}
		for p := byID[s.trace+s.parent]; p != nil; p = byID[p.trace+p.parent] {
			if p.Kind == s.Kind {
				p.leaf = false
			}
		}
	}
	for _, s := range r.steps {
		if _, ok := UserText(s.Prompt); !ok {
			s.Prompt = Join(append([][]byte{s.Prompt}, r.prompts[s.id]...)...)
		}
		if s.Response == nil {
			s.Response = Join(r.responses[s.id]...)
		}
		s.tools = requested(s.Response)
	}
	slices.SortStableFunc(r.steps, func(a, b *step) int {
		if a.trace != b.trace {
			return strings.Compare(a.trace, b.trace)
		}
		return int(a.start) - int(b.start) //nolint:gosec // times of one run
	})
}

// ourMessage is the form that the package promises.
type ourMessage struct {
	Role      string          `json:"role"`
	Content   json.RawMessage `json:"content"`
	ToolCalls []struct {
		ID        string          `json:"id"`
		Name      string          `json:"name"`
		Arguments json.RawMessage `json:"arguments"`
	} `json:"tool_calls"`
	ToolCallID   string `json:"tool_call_id"`
	Name         string `json:"name"`
	FinishReason string `json:"finish_reason"`
}

func ours(list []byte) []ourMessage {
	var m []ourMessage
	if list != nil {
		dec := json.NewDecoder(strings.NewReader(string(list)))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&m); err != nil {
			panic(err)
		}
	}
	return m
}

func requested(list []byte) []string {
	var names []string
	for _, m := range ours(list) {
		for _, c := range m.ToolCalls {
			names = append(names, c.Name)
		}
	}
	return names
}

var (
	missingTokens = regexp.MustCompile(`^(\w+_tokens) missing \(truth (\d+)\)$`)
	wrongTokens   = regexp.MustCompile(`^(\w+_tokens) (\d+) vs truth (\d+)$`)
)

// deviations is what a capture does not hold.
type deviations struct {
	missing map[string]bool  // token classes and other facts
	wrong   map[string]int64 // token classes -> what the span says
	plain   map[string]bool
}

func parseDeviations(t *testing.T, list []string) deviations {
	t.Helper()
	d := deviations{missing: map[string]bool{}, wrong: map[string]int64{}, plain: map[string]bool{}}
	for _, s := range list {
		if m := missingTokens.FindStringSubmatch(s); m != nil {
			d.missing[m[1]] = true
			continue
		}
		if m := wrongTokens.FindStringSubmatch(s); m != nil {
			d.wrong[m[1]], _ = strconv.ParseInt(m[2], 10, 64)
			continue
		}
		switch s {
		case "request model missing", "response model missing", "provider missing", "finish reason missing":
			d.missing[strings.TrimSuffix(s, " missing")] = true
		case "no error.type on the failed span", "no tool spans", "retries invisible",
			"root/parent span never exported", "1 nested duplicate llm spans",
			"failed llm span not marked error", "no trace at all":
			d.plain[s] = true
		default:
			t.Fatalf("unknown deviation %q", s)
		}
	}
	return d
}
