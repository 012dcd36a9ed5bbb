package dialect

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

// testSpan makes a span of plain Go values.
func testSpan(tb testing.TB, name string, attrs map[string]any) ptrace.Span {
	tb.Helper()
	sp := ptrace.NewSpan()
	sp.SetName(name)
	sp.SetStartTimestamp(pcommon.NewTimestampFromTime(time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)))
	if err := sp.Attributes().FromRaw(attrs); err != nil {
		tb.Fatal(err)
	}
	return sp
}

func testScope(name, version string) pcommon.InstrumentationScope {
	s := pcommon.NewInstrumentationScope()
	s.SetName(name)
	s.SetVersion(version)
	return s
}

func read(tb testing.TB, scope, name string, attrs map[string]any) Reading {
	tb.Helper()
	return Default().ReadSpan(pcommon.NewResource(), testScope(scope, "1.0.0"), testSpan(tb, name, attrs))
}

// ignoreRaw leaves out what other tests compare.
var ignoreRaw = cmpopts.IgnoreFields(Reading{}, "InputRaw", "OutputRaw")

func TestOldAndOtherDialects(t *testing.T) {
	for _, tt := range []struct {
		name, scope, span string
		attrs             map[string]any
		want              Reading
	}{
		{
			"traceloop, indexed", "opentelemetry.instrumentation.openai", "openai.chat",
			map[string]any{
				"llm.request.type": "chat", "gen_ai.system": "OpenAI", "gen_ai.request.model": "gpt-4o", "gen_ai.response.model": "gpt-4o-2024-08-06",
				"gen_ai.usage.prompt_tokens": 10, "gen_ai.usage.completion_tokens": 5, "gen_ai.usage.cache_read_input_tokens": 4, "llm.is_streaming": true,
				"gen_ai.prompt.0.role": "system", "gen_ai.prompt.0.content": "Be brief.",
				"gen_ai.prompt.1.role": "user", "gen_ai.prompt.1.content": `[{"type":"text","text":"Hi"}]`,
				"gen_ai.prompt.10.role": "tool", "gen_ai.prompt.10.tool_call_id": "c0", "gen_ai.prompt.10.content": "ten",
				"gen_ai.prompt.2.role": "user", "gen_ai.prompt.2.content": "two",
				"gen_ai.completion.0.role": "assistant", "gen_ai.completion.0.finish_reason": "tool_calls",
				"gen_ai.completion.0.tool_calls.0.id": "c1", "gen_ai.completion.0.tool_calls.0.name": "f", "gen_ai.completion.0.tool_calls.0.arguments": `{"a": 1}`,
			},
			Reading{
				Dialect: "traceloop", Kind: "llm", Name: "openai.chat", Provider: "openai", RequestModel: "gpt-4o", Model: "gpt-4o-2024-08-06",
				Operation: "chat", FinishReason: "tool_calls", Input: Some(10), Output: Some(5), Cached: Some(4),
				Prompt:   []byte(`[{"role":"system","content":"Be brief."},{"role":"user","content":"Hi"},{"role":"user","content":"two"},{"role":"tool","content":"ten","tool_call_id":"c0"}]`),
				Response: []byte(`[{"role":"assistant","content":null,"tool_calls":[{"id":"c1","name":"f","arguments":{"a": 1}}]}]`),
				Flags:    []string{FlagReasoning, FlagTokensEstimated},
			},
		},
		{
			"genkit", "genkit-tracer", "gemini",
			map[string]any{
				"genkit:name": "googleai/gemini-2.5-flash", "genkit:type": "action", "genkit:metadata:subtype": "model", "genkit:state": "success",
				"genkit:input":  `{"messages":[{"role":"user","content":[{"text":"Hi"}]}],"tools":[]}`,
				"genkit:output": `{"message":{"role":"model","content":[{"text":"Yo"},{"toolRequest":{"ref":"1","name":"f","input":{"a":1}}}]},"finishReason":"stop","usage":{"inputTokens":7,"outputTokens":3,"thoughtsTokens":1}}`,
			},
			Reading{
				Dialect: "genkit", Kind: "llm", Name: "gemini", Provider: "gcp.gemini", RequestModel: "gemini-2.5-flash", FinishReason: "stop",
				Input: Some(7), Output: Some(3), Reasoning: Some(1),
				Prompt:   []byte(`[{"role":"user","content":"Hi"}]`),
				Response: []byte(`[{"role":"assistant","content":"Yo","tool_calls":[{"id":"1","name":"f","arguments":{"a":1}}],"finish_reason":"stop"}]`),
				Flags:    []string{FlagCachedUnknown},
			},
		},
		{
			"vercel 5 on Anthropic counts without the cache", "ai", "ai.generateText.doGenerate",
			map[string]any{
				"ai.operationId": "ai.generateText.doGenerate", "ai.model.provider": "anthropic.messages", "ai.model.id": "claude-sonnet-4-5",
				"ai.usage.inputTokens": 5000, "ai.usage.outputTokens": 5, "ai.usage.cachedInputTokens": 2000, "ai.response.msToFirstChunk": 12.5,
			},
			Reading{
				Dialect: "vercel-ai", Kind: "llm", Name: "ai.generateText.doGenerate", Provider: "anthropic", RequestModel: "claude-sonnet-4-5",
				Operation: "ai.generateText.doGenerate", Input: Some(7000), Output: Some(5), Cached: Some(2000), FirstTokenUS: Some(12500),
				Flags: []string{FlagReasoning},
			},
		},
		{
			"input below the cache proves that it lacks it", "some-sdk", "chat",
			map[string]any{
				"gen_ai.operation.name": "chat", "gen_ai.system": "aws.bedrock", "gen_ai.usage.input_tokens": 3, "gen_ai.usage.output_tokens": 1,
				"gen_ai.usage.cache_read.input_tokens": 100, "gen_ai.usage.cache_creation.input_tokens": 20,
			},
			Reading{
				Dialect: "otel-genai", Kind: "llm", Name: "chat", Provider: "aws.bedrock", Operation: "chat",
				Input: Some(123), Output: Some(1), Cached: Some(100), CacheWrite: Some(20), Flags: []string{FlagReasoning},
			},
		},
		{
			"excluded and not said is not known", "@traceloop/instrumentation-anthropic", "chat",
			map[string]any{"gen_ai.operation.name": "chat", "gen_ai.usage.input_tokens": 3, "gen_ai.usage.output_tokens": 1},
			Reading{
				Dialect: "traceloop-anthropic-js", Kind: "llm", Name: "chat", Operation: "chat", Output: Some(1),
				Flags: []string{FlagCachedUnknown, FlagReasoning, FlagTokensUnknown},
			},
		},
		{
			"openai-agents python: a retriever", "openinference.instrumentation.langchain", "docs",
			map[string]any{"openinference.span.kind": "RETRIEVER", "input.value": "q", "output.value": `[1]`, "session.id": "s"},
			Reading{Dialect: "openinference-langchain", Kind: "retrieval", Name: "docs", Params: []byte(`"q"`), Result: []byte(`[1]`), Hints: Hints{Conversation: "s"}},
		},
		{
			"MCP", "mcp", "tools/call get_weather",
			map[string]any{"mcp.method.name": "tools/call", "gen_ai.tool.name": "get_weather", "gen_ai.tool.call.arguments": `{"a":`, "error.type": "tool_error"},
			Reading{
				Dialect: "otel-genai", Kind: "tool", Name: "get_weather", Params: []byte(`"{\"a\":"`), Failed: true, ErrorType: "tool_error",
				Flags: []string{FlagAttrsTruncated},
			},
		},
		{
			"no dialect", "app", "GET /",
			map[string]any{"http.response.status_code": 503, "user.id": "u"},
			Reading{Kind: "other", Name: "GET /", User: "u"},
		},
		{
			"negative, fractional and huge tokens are none", "x", "chat",
			map[string]any{"gen_ai.operation.name": "chat", "gen_ai.usage.input_tokens": -1, "gen_ai.usage.prompt_tokens": "17", "gen_ai.usage.output_tokens": 1e300},
			Reading{
				Dialect: "otel-genai", Kind: "llm", Name: "chat", Operation: "chat", Input: Some(17),
				Flags: []string{FlagCachedUnknown, FlagReasoning, FlagTokensUnknown},
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := read(t, tt.scope, tt.span, tt.attrs)
			if d := cmp.Diff(tt.want, got, ignoreRaw, cmp.Transformer("text", func(b []byte) string { return string(b) })); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

func TestFailure(t *testing.T) {
	for _, tt := range []struct {
		name                string
		attrs               map[string]any
		edit                func(ptrace.Span)
		failed              bool
		errorType, errorTxt string
	}{
		{"fine", map[string]any{"http.response.status_code": 200}, nil, false, "", ""},
		{"status", nil, func(s ptrace.Span) { s.Status().SetCode(ptrace.StatusCodeError); s.Status().SetMessage("m") }, true, "", "m"},
		{"HTTP status of a failed span", map[string]any{"http.response.status_code": 429}, func(s ptrace.Span) { s.Status().SetCode(ptrace.StatusCodeError) }, true, "429", ""},
		{"HTTP status alone", map[string]any{"http.response.status_code": 404}, nil, false, "", ""},
		{"error.type", map[string]any{"error.type": "X", "http.response.status_code": 500}, nil, true, "X", ""},
		{"exception", nil, func(s ptrace.Span) {
			for _, kind := range []string{"First", "Second"} {
				e := s.Events().AppendEmpty()
				e.SetName("exception")
				e.Attributes().PutStr("exception.type", kind)
				e.Attributes().PutStr("exception.message", kind+" text")
			}
		}, true, "First", "First text"},
		{"finish reason", map[string]any{"gen_ai.operation.name": "chat", "gen_ai.response.finish_reasons": []any{"error"}}, func(s ptrace.Span) { s.Status().SetCode(ptrace.StatusCodeOk) }, true, "", ""},
		{"langfuse level", map[string]any{"langfuse.observation.type": "span", "langfuse.observation.level": "ERROR", "langfuse.observation.status_message": "m"}, nil, true, "", "m"},
		{"langfuse warning", map[string]any{"langfuse.observation.type": "span", "langfuse.observation.level": "WARNING", "langfuse.observation.status_message": "m"}, nil, false, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			sp := testSpan(t, "s", tt.attrs)
			if tt.edit != nil {
				tt.edit(sp)
			}
			r := Default().ReadSpan(pcommon.NewResource(), testScope("x", ""), sp)
			if r.Failed != tt.failed || r.ErrorType != tt.errorType || r.ErrorText != tt.errorTxt {
				t.Errorf("got %v %q %q", r.Failed, r.ErrorType, r.ErrorText)
			}
		})
	}
}

func TestHints(t *testing.T) {
	res := pcommon.NewResource()
	res.Attributes().PutStr("runledger.scenario_id", "SDSR-1")
	res.Attributes().PutStr("runledger.correlation_id", "from resource")
	res.Attributes().PutStr("runledger.decision", "DENIED") // belongs to one span, not to all
	r := Default().ReadSpan(res, testScope("app", ""), testSpan(t, "s", map[string]any{
		"runledger.run_id": "r-1", "runledger.subject": "customer-1", "runledger.user_id": "u-2", "user.id": "u-1", "runledger.correlation_id": "c",
		"runledger.source": "worker", "runledger.executor": "HUMAN", "runledger.agent_name": "a", "runledger.agent_id": "a-1", "runledger.conversation_id": "conv",
	}))
	want := Reading{
		Kind: "other", Name: "s", AgentID: "a-1", AgentName: "a", User: "u-2", Subject: "customer-1",
		Hints: Hints{
			RunAlias: "r-1", Conversation: "conv", AgentName: "a", Source: "WORKER", Synthetic: true,
			ScenarioID: "SDSR-1", CorrelationID: "c", Executor: "human",
		},
	}
	if d := cmp.Diff(want, r); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestSpanEvents(t *testing.T) {
	sp := testSpan(t, "chat", map[string]any{"gen_ai.operation.name": "chat", "gen_ai.system": "az.ai.openai"})
	add := func(name string, attrs map[string]any) {
		e := sp.Events().AppendEmpty()
		e.SetName(name)
		e.SetTimestamp(sp.StartTimestamp() + 1_500_000)
		if err := e.Attributes().FromRaw(attrs); err != nil {
			t.Fatal(err)
		}
	}
	add("gen_ai.system.message", map[string]any{"gen_ai.event.content": `{"role":"system","content":"S"}`})
	add("gen_ai.user.message", map[string]any{"content": "U"})
	add("gen_ai.choice", map[string]any{"gen_ai.event.content": `{"index":0,"finish_reason":"stop","message":{"content":"A"}}`})
	add("First Token Stream Event", nil)
	add("gen_ai.evaluation.result", map[string]any{
		"gen_ai.evaluation.name": "relevance", "gen_ai.evaluation.score.value": 0.25, "gen_ai.evaluation.score.label": "fail", "gen_ai.evaluation.explanation": "off topic",
	})
	r := Default().ReadSpan(pcommon.NewResource(), testScope("x", ""), sp)
	if got, want := string(r.Prompt), `[{"role":"system","content":"S"},{"role":"user","content":"U"}]`; got != want {
		t.Errorf("prompt %s", got)
	}
	if got, want := string(r.Response), `[{"role":"assistant","content":"A","finish_reason":"stop"}]`; got != want {
		t.Errorf("response %s", got)
	}
	if r.FirstTokenUS != Some(1500) || r.FinishReason != "stop" || r.Provider != "azure.ai.openai" {
		t.Errorf("got %v %q %q", r.FirstTokenUS, r.FinishReason, r.Provider)
	}
	want := []Governance{{Event: "EvaluationRecorded", EntityType: "SIGNAL", EntityID: "relevance", RuleID: "relevance", Decision: "WARNED", ObservedValue: "0.25", Reason: "off topic"}}
	if d := cmp.Diff(want, r.Governance); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestReadLog(t *testing.T) {
	for _, tt := range []struct {
		name, event string
		attrs       map[string]any
		body        any
		prompt      string
		response    string
	}{
		{"user", "gen_ai.user.message", nil, map[string]any{"content": "Hi"}, `[{"role":"user","content":"Hi"}]`, ""},
		{"body as text", "gen_ai.user.message", nil, `{"content":"Hi"}`, `[{"role":"user","content":"Hi"}]`, ""},
		{"tool", "gen_ai.tool.message", nil, map[string]any{"content": "7", "id": "c"}, `[{"role":"tool","content":"7","tool_call_id":"c"}]`, ""},
		{"without content", "gen_ai.user.message", nil, map[string]any{}, "", ""},
		{"choice", "gen_ai.choice", nil, map[string]any{"finish_reason": "stop", "message": map[string]any{"content": "A"}}, "", `[{"role":"assistant","content":"A","finish_reason":"stop"}]`},
		{
			"details", "gen_ai.client.inference.operation.details",
			map[string]any{
				"gen_ai.system_instructions": []any{map[string]any{"type": "text", "content": "S"}},
				"gen_ai.input.messages":      []any{map[string]any{"role": "user", "parts": []any{map[string]any{"type": "text", "content": "U"}}}},
				"gen_ai.output.messages":     `[{"role":"assistant","parts":[{"type":"text","content":"A"}]}]`,
			},
			nil,
			`[{"role":"system","content":"S"},{"role":"user","content":"U"}]`, `[{"role":"assistant","content":"A"}]`,
		},
		{"an application's own line", "order.created", nil, `{"content":"Hi"}`, "", ""},
		{"no event", "", nil, "plain text", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, asAttr := range []bool{false, true} {
				rec := plog.NewLogRecord()
				if err := rec.Attributes().FromRaw(tt.attrs); err != nil {
					t.Fatal(err)
				}
				if asAttr {
					rec.Attributes().PutStr("event.name", tt.event)
				} else {
					rec.SetEventName(tt.event)
				}
				if err := rec.Body().FromRaw(tt.body); err != nil {
					t.Fatal(err)
				}
				r := Default().ReadLog(pcommon.NewResource(), testScope("x", ""), rec)
				if string(r.Hints.Prompt) != tt.prompt || string(r.Hints.Response) != tt.response {
					t.Errorf("prompt %s\nresponse %s", r.Hints.Prompt, r.Hints.Response)
				}
				if r.Prompt != nil || r.Response != nil || r.Kind != "" {
					t.Errorf("a log record has no content of its own: %+v", r)
				}
			}
		})
	}
}

func TestRawBytes(t *testing.T) {
	in := `[{"role":"user","parts":[{"type":"text","content":"Hi"}]}]`
	r := read(t, "x", "chat", map[string]any{"gen_ai.operation.name": "chat", "gen_ai.input.messages": in, "gen_ai.output.messages": "text"})
	if string(r.InputRaw) != in || string(r.OutputRaw) != "text" {
		t.Errorf("input %s, output %s", r.InputRaw, r.OutputRaw)
	}
	r = read(t, "x", "chat", map[string]any{"gen_ai.operation.name": "chat", "gen_ai.input.messages": in, "gen_ai.system_instructions": "S"})
	if string(r.InputRaw) != "S\n"+in || r.OutputRaw != nil {
		t.Errorf("input %s, output %s", r.InputRaw, r.OutputRaw)
	}
}

// A reading must not depend on what was read before: the working memory is
// used again.
func TestScratchIsClean(t *testing.T) {
	table, err := Parse(shipped)
	if err != nil {
		t.Fatal(err)
	}
	rich := testSpan(t, "chat", map[string]any{
		"gen_ai.operation.name": "chat", "gen_ai.usage.input_tokens": 5, "runledger.decision": "DENIED", "runledger.policy_id": "p", "runledger.run_id": "r",
		"llm.input_messages.0.message.content": "x", "gen_ai.prompt.0.content": "y",
	})
	for range 10 {
		if r := table.ReadSpan(pcommon.NewResource(), testScope("x", ""), rich); len(r.Governance) != 1 || !r.Input.OK {
			t.Fatalf("got %+v", r)
		}
		r := table.ReadSpan(pcommon.NewResource(), testScope("x", ""), testSpan(t, "s", nil))
		if d := cmp.Diff(Reading{Kind: "other", Name: "s"}, r); d != "" {
			t.Fatalf("(-want +got):\n%s", d)
		}
	}
}
