package dialect

import (
	"testing"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

// benchSpan is a chat span of 20 attributes, without content.
func benchSpan() (ptrace.Span, pcommon.InstrumentationScope) {
	sp := ptrace.NewSpan()
	sp.SetName("chat gpt-4o-mini")
	a := sp.Attributes()
	for k, v := range map[string]string{
		"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": "gpt-4o-mini",
		"gen_ai.response.model": "gpt-4o-mini-2024-07-18", "gen_ai.response.id": "chatcmpl-1", "gen_ai.agent.name": "support",
		"server.address": "api.openai.com", "gen_ai.conversation.id": "c-1", "user.id": "u-1", "session.id": "s-1",
		"gen_ai.output.type": "text", "http.request.method": "POST", "url.path": "/v1/chat", "runledger.policy_id": "p-1",
	} {
		a.PutStr(k, v)
	}
	a.PutInt("gen_ai.usage.input_tokens", 100)
	a.PutInt("gen_ai.usage.output_tokens", 20)
	a.PutInt("gen_ai.usage.cache_read.input_tokens", 64)
	a.PutInt("server.port", 443)
	a.PutDouble("gen_ai.request.temperature", 0.2)
	a.PutEmptySlice("gen_ai.response.finish_reasons").AppendEmpty().SetStr("stop")
	scope := pcommon.NewInstrumentationScope()
	scope.SetName("@opentelemetry/instrumentation-openai")
	scope.SetVersion("0.22.0")
	return sp, scope
}

func benchResource() pcommon.Resource {
	res := pcommon.NewResource()
	for _, k := range []string{"service.name", "service.version", "host.name", "telemetry.sdk.name", "telemetry.sdk.language", "telemetry.sdk.version"} {
		res.Attributes().PutStr(k, "x")
	}
	return res
}

func BenchmarkReadSpan(b *testing.B) {
	table := Default()
	sp, scope := benchSpan()
	res := benchResource()
	b.Run("plain", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			table.ReadSpan(res, scope, sp)
		}
	})
	sp.Attributes().PutStr("gen_ai.input.messages", `[{"role":"system","parts":[{"type":"text","content":"You are a support agent."}]},{"role":"user","parts":[{"type":"text","content":"AGENT2: weather in Oslo and 100 EUR in NOK?"}]},{"role":"assistant","parts":[{"type":"tool_call","id":"call_1","name":"get_weather","arguments":{"city":"Oslo","unit":"celsius"}}]}]`)
	sp.Attributes().PutStr("gen_ai.output.messages", `[{"role":"assistant","parts":[{"type":"text","content":"It is 7 C in Oslo."}],"finish_reason":"stop"}]`)
	b.Run("content", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			table.ReadSpan(res, scope, sp)
		}
	})
}

// BenchmarkReadCaptures reads all spans of all captures but the bulky ones.
func BenchmarkReadCaptures(b *testing.B) {
	m := readManifest(b)
	table := Default()
	type item struct {
		res   pcommon.Resource
		scope pcommon.InstrumentationScope
		span  ptrace.Span
	}
	var items []item
	for i := range m.Entries {
		if c := &m.Entries[i]; c.ID != "vercel-ai-6.0.326/bulk_over_4mib" {
			traces, _ := decode(b, c)
			for _, td := range traces {
				for _, rs := range td.ResourceSpans().All() {
					for _, ss := range rs.ScopeSpans().All() {
						for _, sp := range ss.Spans().All() {
							items = append(items, item{rs.Resource(), ss.Scope(), sp})
						}
					}
				}
			}
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		for _, it := range items {
			table.ReadSpan(it.res, it.scope, it.span)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(items)), "ns/span")
}
