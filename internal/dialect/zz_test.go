package dialect

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

func TestZZShapes(t *testing.T) {
	shapes := map[string]func(n int) string{
		"arr":      func(n int) string { return strings.Repeat("[", n) },
		"obj":      func(n int) string { return strings.Repeat(`{"content":`, n) },
		"objmsg":   func(n int) string { return strings.Repeat(`{"message":`, n) },
		"objparts": func(n int) string { return strings.Repeat(`{"role":"user","parts":[`, n) },
		"objcont":  func(n int) string { return strings.Repeat(`{"role":"user","content":[`, n) },
		"msgs":     func(n int) string { return `[` + strings.Repeat(`{"role":"user","content":"x"},`, n) + `{}]` },
		"parts":    func(n int) string { return `[{"role":"user","content":[` + strings.Repeat(`{"type":"text","text":"x"},`, n) + `{}]}]` },
		"calls":    func(n int) string { return `[{"role":"assistant","tool_calls":[` + strings.Repeat(`{"id":"1","function":{"name":"f","arguments":"{}"}},`, n) + `{}]}]` },
		"results":  func(n int) string { return `[{"role":"user","content":[` + strings.Repeat(`{"type":"tool_result","tool_use_id":"x","content":"y"},`, n) + `{}]}]` },
		"kwargs":   func(n int) string { return `[` + strings.Repeat(`{"lc":1,"id":["AIMessage"],"kwargs":`, n) },
		"pairs":    func(n int) string { return `[` + strings.Repeat(`["user","x"],`, n) + `["user","y"]]` },
		"quoted":   func(n int) string { return `"` + strings.Repeat(`\"`, n) + `"` },
		"brackets": func(n int) string { return `[` + strings.Repeat(`"`, n) },
		"generations": func(n int) string { return `{"generations":[[` + strings.Repeat(`{"message":{"kwargs":{"content":"x"}}},`, n) + `{}]]}` },
		"choices":  func(n int) string { return `{"choices":[` + strings.Repeat(`{"message":{"role":"assistant","content":"x"}},`, n) + `{}]}` },
		"fcalls":   func(n int) string { return `[` + strings.Repeat(`{"type":"function_call","call_id":"1","name":"x","arguments":"{}"},`, n) + `{}]` },
		"toolreq":  func(n int) string { return `{"message":{"content":[` + strings.Repeat(`{"toolRequest":{"name":"x"}},`, n) + `{}]}}` },
		"dupkeys":  func(n int) string { return `{` + strings.Repeat(`"input":1,`, n) + `"a":1}` },
	}
	keys := []string{"gen_ai.input.messages", "gen_ai.output.messages", "gen_ai.system_instructions", "ai.prompt.messages", "ai.prompt", "ai.response.toolCalls", "input.value", "output.value", "langfuse.observation.input", "langfuse.observation.usage_details", "traceloop.entity.input", "genkit:input", "genkit:output", "gen_ai.prompt.0.content", "llm.invocation_parameters", "metadata", "gen_ai.tool.definitions", "gen_ai.response.finish_reasons"}
	bases := []map[string]string{
		{"gen_ai.operation.name": "chat"}, {"openinference.span.kind": "LLM"}, {"ai.operationId": "ai.generateText.doGenerate"}, {"langfuse.observation.type": "generation"}, {"genkit:metadata:subtype": "model", "genkit:type": "action"}, {"llm.request.type": "chat", "traceloop.span.kind": "workflow"}, {"gen_ai.operation.name": "execute_tool"},
	}
	tb := Default()
	for name, f := range shapes {
		for _, base := range bases {
			var took [2]time.Duration
			for i, n := range []int{4000, 16000} {
				text := f(n)
				sp := ptrace.NewSpan()
				for k, v := range base {
					sp.Attributes().PutStr(k, v)
				}
				for _, k := range keys {
					sp.Attributes().PutStr(k, text)
				}
				ev := sp.Events().AppendEmpty()
				ev.SetName("gen_ai.choice")
				ev.Attributes().PutStr("gen_ai.event.content", text)
				lr := plog.NewLogRecord()
				lr.SetEventName("gen_ai.user.message")
				lr.Body().SetStr(text)
				start := time.Now()
				tb.ReadSpan(pcommon.NewResource(), pcommon.NewInstrumentationScope(), sp)
				tb.ReadLog(pcommon.NewResource(), pcommon.NewInstrumentationScope(), lr)
				took[i] = time.Since(start)
			}
			if took[1] > 150*time.Millisecond || took[1] > 9*took[0] && took[1] > 20*time.Millisecond {
				fmt.Println(name, base, took, len(f(16000)))
			}
		}
	}
}
