package otlp

import (
	"errors"
	"testing"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/runledger/runledger/evidence"
)

// A span's own attributes may have the keys of ours, and one key twice.
func TestRereadAmbiguous(t *testing.T) {
	span := spanBytes("name", id16, id8, nil)
	for _, kv := range [][]byte{
		kvBytes("span.name", stringBytes("own")), kvBytes("scope.name", stringBytes("own")), kvBytes("resource.a", stringBytes("own")),
		kvBytes("twice", stringBytes("1")), kvBytes("twice", stringBytes("2")), kvBytes("empty", nil),
	} {
		span = appendMessage(span, 9, kv)
	}
	rec := only(t, testMapper().Traces(mustTraces(t, inRequest(span), Protobuf)))
	req, err := spanRequest([]byte(rec.Sealed["/attrs"]))
	if err != nil {
		t.Fatal(err)
	}
	td := mustTraces(t, req, Protobuf)
	rs := td.ResourceSpans().At(0)
	s := rs.ScopeSpans().At(0).Spans().At(0)
	if s.Name() != "name" || s.Attributes().Len() != 6 || rs.Resource().Attributes().Len() != 1 || rs.ScopeSpans().At(0).Scope().Name() != "scope" {
		t.Errorf("read back as %s", marshalTraces(t, td, JSON))
	}
	var keys []string
	for k, v := range s.Attributes().All() {
		keys = append(keys, k+"="+v.AsString())
	}
	if keys[3] != "twice=1" || keys[4] != "twice=2" {
		t.Errorf("attributes %q", keys)
	}
	if v, _ := s.Attributes().Get("empty"); v.Type() != pcommon.ValueTypeEmpty {
		t.Errorf("empty is %v", v.Type())
	}
}

func TestRereadOfOthers(t *testing.T) {
	m := testMapper()
	for name, attrs := range map[string]string{
		"native":     `[["a","string","b"]]`,
		"nothing":    `[]`,
		"span event": `[["log.time_unix_nano","int","1"],["event.name","string","x"]]`,
	} {
		for _, k := range evidence.Kinds() {
			h, err := m.Reread(k, []byte(attrs), nil)
			if err != nil || h.RunAlias != "" {
				t.Errorf("%s, %s: %+v %v", name, k, h, err)
			}
		}
	}
	for name, attrs := range map[string]string{
		"no JSON":     `[`,
		"no list":     `{}`,
		"short":       `[["a","string"]]`,
		"odd type":    `[["span.name","text","x"]]`,
		"odd int":     `[["span.name","int","x"]]`,
		"odd bytes":   `[["span.name","bytes","*"]]`,
		"odd double":  `[["span.name","double","x"]]`,
		"odd bool":    `[["span.name","bool",1]]`,
		"odd array":   `[["span.name","array",[["int"]]]]`,
		"long":        `[["span.name","string","x",1]]`,
		"key no text": `[[1,"string","x"]]`,
	} {
		if _, err := m.Reread(evidence.KindTraceStep, []byte(attrs), nil); !errors.Is(err, evidence.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := m.Reread(evidence.KindTraceEvent, []byte(`[["log.time_unix_nano","int","1"]]`), []byte(`{`)); !errors.Is(err, evidence.ErrInvalid) {
		t.Errorf("body: %v", err)
	}
}

// Strings that are not UTF-8 mean the same when they are read again.
func TestRereadNotUTF8(t *testing.T) {
	m := testMapper()
	td := oneSpan(func(s ptrace.Span) {
		s.SetName("n\xff")
		s.Attributes().PutStr("gen_ai.conversation.id", "c\xff")
		s.Attributes().PutEmptySlice("l").AppendEmpty().SetStr("\xfe")
	})
	td.ResourceSpans().At(0).Resource().Attributes().PutStr("service.name", "\xff")
	td.ResourceSpans().At(0).ScopeSpans().At(0).Scope().SetName("s\xff")
	b := m.Traces(td)
	only(t, b)
	req, err := spanRequest(b.Items[0].Record.SealedJSON("/attrs"))
	if err != nil {
		t.Fatal(err)
	}
	got := mustTraces(t, req, Protobuf)
	// The mapper changed td as it changes what a dialect sees.
	s := td.ResourceSpans().At(0).ScopeSpans().At(0).Spans().At(0)
	s.SetTraceID(pcommon.TraceID{})
	s.SetSpanID(pcommon.SpanID{})
	if a, b := marshalTraces(t, td, JSON), marshalTraces(t, got, JSON); string(a) != string(b) {
		t.Errorf("mapped\n%s\nread again\n%s", a, b)
	}
	rec := oneLog(func(r plog.LogRecord) { r.SetTraceID(pcommon.TraceID{1}); r.Body().SetEmptyMap().PutStr("k", "\xff") })
	it := m.Logs(rec).Items[0]
	req, err = logRequest(it.Record.SealedJSON("/attrs"), it.Record.SealedJSON("/body"))
	if err != nil {
		t.Fatal(err)
	}
	ld := mustLogs(t, req, Protobuf)
	body := ld.ResourceLogs().At(0).ScopeLogs().At(0).LogRecords().At(0).Body()
	if v, _ := body.Map().Get("k"); v.Type() != pcommon.ValueTypeBytes {
		t.Errorf("body read again as %v", body.AsRaw())
	}
}
