package otlp

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"go.opentelemetry.io/collector/pdata/ptrace"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/runledger/runledger/evidence"
)

// spanBytes is the protobuf message of a span with these ids.
func spanBytes(name string, trace, span, parent []byte) []byte {
	b := appendMessage(nil, 1, trace)
	b = appendMessage(b, 2, span)
	if parent != nil {
		b = appendMessage(b, 4, parent)
	}
	return appendMessage(b, 5, []byte(name))
}

func inRequest(ones ...[]byte) []byte {
	inScope := appendMessage(nil, 1, appendMessage(nil, 1, []byte("scope")))
	for _, one := range ones {
		inScope = appendMessage(inScope, 2, one)
	}
	inResource := appendMessage(nil, 1, appendMessage(nil, 1, kvBytes("service.name", stringBytes("shop"))))
	inResource = appendMessage(inResource, 2, inScope)
	return appendMessage(nil, 1, inResource)
}

func kvBytes(key string, value []byte) []byte {
	return appendMessage(appendMessage(nil, 1, []byte(key)), 2, value)
}

func stringBytes(s string) []byte { return appendMessage(nil, 1, []byte(s)) }

// deepValue is a value in n arrays.
func deepValue(n int) []byte {
	v := stringBytes("x")
	for range n {
		v = appendMessage(nil, 5, appendMessage(nil, 1, v))
	}
	return v
}

var (
	id16 = bytes.Repeat([]byte{0xab}, 16)
	id8  = bytes.Repeat([]byte{0xcd}, 8)
)

// One span that pdata refuses must not cost the others.
func TestDecodeTracesSalvage(t *testing.T) {
	good := spanBytes("good", id16, id8, nil)
	tests := map[string][]byte{
		"long trace id":          spanBytes("bad", append(id16, 1), id8, nil),
		"short trace id":         spanBytes("bad", id16[:8], id8, nil),
		"short span id":          spanBytes("bad", id16, id8[:4], nil),
		"long parent":            spanBytes("bad", id16, id8, id16),
		"wire type":              protowire.AppendVarint(protowire.AppendTag(good, 5, protowire.VarintType), 1),
		"link with a long id":    appendMessage(bytes.Clone(good), 13, appendMessage(nil, 1, append(id16, 1))),
		"10,000 arrays":          appendMessage(bytes.Clone(good), 9, kvBytes("k", deepValue(10_000))),
		"a field that ends late": append(bytes.Clone(good), 0x2a, 0x7f, 'x'),
	}
	for name, bad := range tests {
		t.Run(name, func(t *testing.T) {
			td, rejected, err := DecodeTraces(inRequest(good, bad, good), Protobuf)
			if err != nil || rejected != 1 || td.SpanCount() != 2 {
				t.Fatalf("%d spans, %d rejected, %v", td.SpanCount(), rejected, err)
			}
			rs := td.ResourceSpans().At(0)
			if v, _ := rs.Resource().Attributes().Get("service.name"); v.Str() != "shop" || rs.ScopeSpans().At(0).Scope().Name() != "scope" {
				t.Error("resource or scope is lost")
			}
		})
	}
}

func TestDecodeJSONSalvage(t *testing.T) {
	const good = `{"traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174","name":"good"}`
	tests := map[string]string{
		"long trace id": `{"traceId":"5b8efff798038103d269b633813fc60c00","spanId":"eee19b7ec3c1b174"}`,
		"base64 id":     `{"traceId":"W47/95gDgQPSabYzgT/GDA==","spanId":"eee19b7ec3c1b174"}`,
		"string":        `"span"`,
		"time":          `{"startTimeUnixNano":"soon"}`,
		"kind":          `{"kind":"SPAN_KIND_ODD"}`,
	}
	for name, bad := range tests {
		t.Run(name, func(t *testing.T) {
			body := `{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"shop"}}]},` +
				`"scopeSpans":[{"scope":{"name":"scope"},"spans":[` + good + `,` + bad + `,` + good + `]}]}]}`
			td, rejected, err := DecodeTraces([]byte(body), JSON)
			if err != nil || rejected != 1 || td.SpanCount() != 2 {
				t.Fatalf("%d spans, %d rejected, %v", td.SpanCount(), rejected, err)
			}
			if v, _ := td.ResourceSpans().At(0).Resource().Attributes().Get("service.name"); v.Str() != "shop" {
				t.Error("resource is lost")
			}
		})
	}
	ld, rejected, err := DecodeLogs([]byte(`{"resource_logs":[{"scope_logs":[{"log_records":[{"traceId":"00"},{"body":{"stringValue":"x"}}]}]}]}`), JSON)
	if err != nil || rejected != 1 || ld.LogRecordCount() != 1 {
		t.Errorf("%d log records, %d rejected, %v", ld.LogRecordCount(), rejected, err)
	}
}

// What OTLP says a receiver must accept.
func TestDecodeLenient(t *testing.T) {
	td := mustTraces(t, []byte(` {"extra":{"a":[1]},"resourceSpans":[{"extra":1,"scopeSpans":[{"spans":[{
		"traceId":"5B8EFFF798038103D269B633813FC60C","spanId":"eee19b7ec3c1b174","kind":3,"extra":null,"flags":257,
		"startTimeUnixNano":1544712660000000000,"endTimeUnixNano":"1544712661000000000",
		"attributes":[{"key":"a","value":{"intValue":"9223372036854775807"}},{"key":"b","value":{"intValue":12}}]}]}]}]} `), JSON)
	s := td.ResourceSpans().At(0).ScopeSpans().At(0).Spans().At(0)
	if a, _ := s.Attributes().Get("a"); a.Int() != 1<<63-1 || s.EndTimestamp()-s.StartTimestamp() != 1e9 || s.Kind() != ptrace.SpanKindClient {
		t.Errorf("read as %v %v", s.Attributes().AsRaw(), s.Kind())
	}
	// Unknown fields of protobuf, and the field that scope_spans had before.
	span := appendVarint(spanBytes("old", id16, id8, nil), 999, 1)
	old := appendMessage(nil, 1, appendMessage(nil, 1000, appendMessage(nil, 2, span)))
	if td := mustTraces(t, old, Protobuf); td.SpanCount() != 1 {
		t.Errorf("%d spans", td.SpanCount())
	}
	if td := mustTraces(t, nil, Protobuf); td.SpanCount() != 0 {
		t.Errorf("%d spans in nothing", td.SpanCount())
	}
}

// What is broken as a whole is refused, and the error says where and quotes
// nothing.
func TestDecodeRefuses(t *testing.T) {
	whole := inRequest(spanBytes("a secret", id16, id8, nil))
	json := string(marshalTraces(t, mustTraces(t, whole, Protobuf), JSON))
	deep := strings.Repeat(`{"arrayValue":{"values":[`, 10_000)
	tests := map[string]struct {
		body string
		enc  Encoding
		want error
		text string
	}{
		"truncated protobuf":    {string(whole[:len(whole)-3]), Protobuf, evidence.ErrInvalid, "byte 0, field 1"},
		"truncated within":      {string(appendMessage(nil, 1, []byte{0x12, 0x7f, 1})), Protobuf, evidence.ErrInvalid, "byte 2, field 2"},
		"not protobuf":          {"\xff\xff", Protobuf, evidence.ErrInvalid, "byte 0"},
		"group":                 {"\x0c", Protobuf, evidence.ErrInvalid, "byte 0"},
		"resource of no use":    {string(appendMessage(nil, 1, appendMessage(nil, 1, []byte{0x0d, 1, 2, 3, 4}))), Protobuf, evidence.ErrInvalid, "traces request"},
		"truncated JSON":        {json[:len(json)-5], JSON, evidence.ErrInvalid, "unexpected end"},
		"no JSON":               {`{"resourceSpans":x}`, JSON, evidence.ErrInvalid, "byte 17"},
		"nothing":               {"", JSON, evidence.ErrInvalid, "unexpected end"},
		"two values":            {json + "{}", JSON, evidence.ErrInvalid, "more than one"},
		"deep JSON":             {`{"resourceSpans":[{"x":` + deep, JSON, evidence.ErrInvalid, "deep"},
		"resource of wrong use": {`{"resourceSpans":[{"resource":{"attributes":[{"key":1}]},"secret":1}]}`, JSON, evidence.ErrInvalid, "traces request"},
		"empty spans":           {string(bomb(3_000_000)), Protobuf, evidence.ErrTooLarge, "MiB"},
		"empty JSON spans":      {`{"resourceSpans":[{"scopeSpans":[{"spans":[{}` + strings.Repeat(",{}", 4_000_000) + `]}]}]}`, JSON, evidence.ErrTooLarge, "MiB"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			td, _, err := DecodeTraces([]byte(tt.body), tt.enc)
			if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.text) {
				t.Fatalf("error %v, want %v with %q", err, tt.want, tt.text)
			}
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("the error quotes content: %v", err)
			}
			if td.SpanCount() != 0 {
				t.Errorf("%d spans", td.SpanCount())
			}
		})
	}
}

// bomb is a request of n empty spans, 2 bytes each.
func bomb(n int) []byte {
	spans := bytes.Repeat([]byte{0x12, 0}, n)
	return appendMessage(nil, 1, appendMessage(nil, 2, spans))
}

func TestDecodeOtherSignals(t *testing.T) {
	bad := []byte{0x0a, 0x7f}
	if _, _, err := DecodeLogs(bad, Protobuf); !errors.Is(err, evidence.ErrInvalid) {
		t.Errorf("logs: %v", err)
	}
	if _, err := DecodeMetrics(bad, Protobuf); !errors.Is(err, evidence.ErrInvalid) {
		t.Errorf("metrics: %v", err)
	}
	if _, err := DecodeMetrics([]byte(`{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"gauge":{"dataPoints":[{"exemplars":[{"traceId":"00"}]}]}}]}]}]}`), JSON); !errors.Is(err, evidence.ErrInvalid) {
		t.Errorf("metrics: %v", err)
	}
	rec := appendMessage(appendMessage(nil, 9, id16), 10, id16) // span id too long
	ld, rejected, err := DecodeLogs(inRequest(rec, appendMessage(nil, 5, stringBytes("x"))), Protobuf)
	if err != nil || rejected != 1 || ld.LogRecordCount() != 1 {
		t.Errorf("logs: %d, %d rejected, %v", ld.LogRecordCount(), rejected, err)
	}
}
