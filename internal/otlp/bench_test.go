package otlp

import (
	"fmt"
	"testing"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

const benchSpans = 100

// benchTraces has spans of 20 attributes, as a model call has them: two long
// texts, numbers and short names; the resource has 8.
func benchTraces() ptrace.Traces {
	td := ptrace.NewTraces()
	rs := td.ResourceSpans().AppendEmpty()
	rs.Resource().Attributes().PutStr("service.name", "shop")
	for i := range 7 {
		rs.Resource().Attributes().PutStr(fmt.Sprint("telemetry.sdk.attribute.", i), "nodejs-something")
	}
	ss := rs.ScopeSpans().AppendEmpty()
	ss.Scope().SetName("@opentelemetry/instrumentation-openai")
	ss.Scope().SetVersion("0.22.0")
	for i := range benchSpans {
		s := ss.Spans().AppendEmpty()
		s.SetTraceID(pcommon.TraceID{1, byte(i / 10)})
		s.SetSpanID(pcommon.SpanID{2, byte(i)})
		s.SetParentSpanID(pcommon.SpanID{3})
		s.SetName("chat gpt-4o-mini")
		s.SetKind(ptrace.SpanKindClient)
		s.SetStartTimestamp(pcommon.NewTimestampFromTime(testNow))
		s.SetEndTimestamp(pcommon.NewTimestampFromTime(testNow.Add(time.Second)))
		a := s.Attributes()
		a.PutStr("gen_ai.operation.name", "chat")
		a.PutStr("gen_ai.provider.name", "openai")
		a.PutStr("gen_ai.request.model", "gpt-4o-mini")
		a.PutStr("gen_ai.response.model", "gpt-4o-mini-2024-07-18")
		a.PutStr("gen_ai.response.id", "chatcmpl-0123456789")
		a.PutEmptySlice("gen_ai.response.finish_reasons").AppendEmpty().SetStr("stop")
		a.PutInt("gen_ai.usage.input_tokens", 23)
		a.PutInt("gen_ai.usage.output_tokens", 11)
		a.PutDouble("gen_ai.request.temperature", 0.7)
		a.PutStr("gen_ai.input.messages", `[{"role":"user","parts":[{"type":"text","content":"What is the weather in Paris, and what should I wear there tomorrow?"}]}]`)
		a.PutStr("gen_ai.output.messages", `[{"role":"assistant","parts":[{"type":"text","content":"It is going to rain; take a coat."}],"finish_reason":"stop"}]`)
		for i := range 9 {
			a.PutStr(fmt.Sprint("server.attribute.", i), "api.openai.example")
		}
	}
	return td
}

func perSpan(b *testing.B) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*benchSpans), "ns/span")
}

// All: decoding, mapping and checking.
func BenchmarkDecodeAndMap(b *testing.B) {
	body, m := marshalTraces(b, benchTraces(), Protobuf), testMapper()
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		m.Traces(mustTraces(b, body, Protobuf))
	}
	perSpan(b)
}

func BenchmarkDecode(b *testing.B) {
	body := marshalTraces(b, benchTraces(), Protobuf)
	b.ReportAllocs()
	for b.Loop() {
		mustTraces(b, body, Protobuf)
	}
	perSpan(b)
}

func BenchmarkDecodeJSON(b *testing.B) {
	body := marshalTraces(b, benchTraces(), JSON)
	b.ReportAllocs()
	for b.Loop() {
		mustTraces(b, body, JSON)
	}
	perSpan(b)
}

func BenchmarkMap(b *testing.B) {
	td, m := benchTraces(), testMapper()
	b.ReportAllocs()
	for b.Loop() {
		m.Traces(td)
	}
	perSpan(b)
}

// The parts of BenchmarkMap.
func BenchmarkMapParts(b *testing.B) {
	td, m := benchTraces(), testMapper()
	rs := td.ResourceSpans().At(0)
	ss := rs.ScopeSpans().At(0)
	src := newSource(newOrigin(rs.Resource(), ""), ss.Scope(), "")
	span := ss.Spans().At(0)
	q := newRequest(m, 1)
	rd := m.cfg.Dialects.ReadSpan(src.res, src.scope, span)
	w, _ := src.who(&rd)
	s := spanState{src: src, span: span, rd: &rd, who: &w, trace: testTrace, key: testTrace + ":" + testSpan}
	s.iv = m.interval(span.StartTimestamp(), span.EndTimestamp())
	b.Run("dialect", func(b *testing.B) {
		for b.Loop() {
			m.cfg.Dialects.ReadSpan(src.res, src.scope, span)
		}
	})
	b.Run("attrs", func(b *testing.B) {
		for b.Loop() {
			q.spent = 0
			_, _ = q.spanAttrs(src, span)
		}
	})
	attrs, _ := q.spanAttrs(src, span)
	b.Run("step", func(b *testing.B) {
		for b.Loop() {
			m.step(&s, attrs)
		}
	})
	b.Run("setters", func(b *testing.B) {
		r := m.step(&s, attrs)
		for b.Loop() {
			slowWay(r)
		}
	})
	b.Run("complete", func(b *testing.B) {
		r := m.step(&s, attrs)
		for b.Loop() {
			if err := r.Complete(); err != nil {
				b.Fatal(err)
			}
		}
	})
}
