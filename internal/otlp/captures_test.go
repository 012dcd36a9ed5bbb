package otlp

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/dialect"
)

func mapCapture(t testing.TB, c capture) *Batch {
	t.Helper()
	m := testMapper()
	switch c.signal {
	case "traces":
		return m.Traces(mustTraces(t, c.body, c.enc))
	case "logs":
		return m.Logs(mustLogs(t, c.body, c.enc))
	default:
		md, err := DecodeMetrics(c.body, c.enc)
		if err != nil {
			t.Fatal(err)
		}
		return m.Metrics(md)
	}
}

// Nothing that a real SDK sends is rejected, the same bytes always become the
// same records, and they are those that evidence's setters would have made.
func TestCaptures(t *testing.T) {
	for _, signal := range []string{"traces", "logs", "metrics"} {
		records := 0
		for _, c := range captures(t, signal) {
			b := mapCapture(t, c)
			if b.Rejected != 0 || len(b.Errors) != 0 {
				t.Errorf("%s: %d rejected, %q", c.name, b.Rejected, b.Errors)
			}
			records += len(b.Items)
			for _, it := range b.Items {
				sameAsSlowWay(t, it.Record)
				if n := leafSize(t, it.Record); n > 4<<10 {
					t.Errorf("%s: a leaf has %d bytes", c.name, n)
				}
			}
			if diff := cmp.Diff(showAll(b), showAll(mapCapture(t, c))); diff != "" {
				t.Errorf("%s: mapped twice (-first +second):\n%s", c.name, diff)
			}
		}
		if records == 0 {
			t.Errorf("no record of %s", signal)
		}
	}
}

// A span's records are as many as it has events, and there is one trace
// record for each trace, at its earliest span.
func TestCapturesCounts(t *testing.T) {
	for _, c := range captures(t, "traces") {
		td := mustTraces(t, c.body, c.enc)
		events, first := 0, map[string]pcommon.Timestamp{}
		eachSpan(td, func(_ ptrace.ResourceSpans, _ ptrace.ScopeSpans, s ptrace.Span) {
			events += s.Events().Len()
			id := s.TraceID().String()
			if at, ok := first[id]; !ok || s.StartTimestamp() < at {
				first[id] = s.StartTimestamp()
			}
		})
		b := testMapper().Traces(td)
		got := map[evidence.Kind]int{}
		for _, it := range b.Items {
			got[it.Record.Kind]++
		}
		if got[evidence.KindTraceStep] != td.SpanCount() || got[evidence.KindTraceEvent] != events {
			t.Errorf("%s: %d steps and %d events, want %d and %d", c.name, got[evidence.KindTraceStep], got[evidence.KindTraceEvent], td.SpanCount(), events)
		}
		if len(b.Traces) != len(first) {
			t.Errorf("%s: %d traces, want %d", c.name, len(b.Traces), len(first))
		}
		for _, it := range b.Traces {
			if r := it.Record; r.OccurredAt != micros(first[r.Run]) || r.NaturalKey != r.Run {
				t.Errorf("%s: trace %s at %s with key %s", c.name, r.Run, r.OccurredAt, r.NaturalKey)
			}
		}
	}
}

func eachSpan(td ptrace.Traces, f func(ptrace.ResourceSpans, ptrace.ScopeSpans, ptrace.Span)) {
	for _, rs := range td.ResourceSpans().All() {
		for _, ss := range rs.ScopeSpans().All() {
			for _, s := range ss.Spans().All() {
				f(rs, ss, s)
			}
		}
	}
}

// expectValue writes a value with encoding/json, as the package comment says.
func expectValue(v pcommon.Value) (string, any) {
	switch v.Type() {
	case pcommon.ValueTypeStr:
		return "string", v.Str()
	case pcommon.ValueTypeInt:
		return "int", fmt.Sprint(v.Int())
	case pcommon.ValueTypeBool:
		return "bool", v.Bool()
	case pcommon.ValueTypeDouble:
		switch f := v.Double(); {
		case math.IsNaN(f):
			return "double", "NaN"
		case math.IsInf(f, 0):
			return "double", strings.TrimPrefix(map[bool]string{true: "Infinity", false: "-Infinity"}[f > 0], "+")
		default:
			return "double", f
		}
	case pcommon.ValueTypeBytes:
		return "bytes", base64.StdEncoding.EncodeToString(v.Bytes().AsRaw())
	case pcommon.ValueTypeSlice:
		list := []any{}
		for _, e := range v.Slice().All() {
			typ, val := expectValue(e)
			list = append(list, []any{typ, val})
		}
		return "array", list
	case pcommon.ValueTypeMap:
		return "kvlist", expectMap("", v.Map())
	default:
		return "kvlist", nil
	}
}

func expectMap(prefix string, m pcommon.Map) []any {
	list := []any{}
	for k, v := range m.All() {
		typ, val := expectValue(v)
		list = append(list, []any{prefix + k, typ, val})
	}
	return list
}

func decodeJSON(t testing.TB, text []byte) []any {
	t.Helper()
	var v []any
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// Every attribute of every span is found again in /attrs, with its type and
// value and in order; also those of resource, scope and links.
func TestCapturesAttributes(t *testing.T) {
	values := 0
	for _, c := range captures(t, "traces") {
		td := mustTraces(t, c.body, c.enc)
		b := testMapper().Traces(td)
		steps := map[string]*evidence.Record{}
		for _, it := range b.Items {
			steps[it.Record.NaturalKey] = it.Record
		}
		eachSpan(td, func(rs ptrace.ResourceSpans, ss ptrace.ScopeSpans, s ptrace.Span) {
			key := s.TraceID().String() + ":" + s.SpanID().String()
			got := decodeJSON(t, steps[key].SealedJSON("/attrs"))
			want := expectMap("", s.Attributes())
			values += len(want)
			want = append(want, []any{"span.name", "string", s.Name()}, []any{"span.kind", "string", strings.ToLower(s.Kind().String())})
			if diff := cmp.Diff(want, got[:min(len(want), len(got))]); diff != "" {
				t.Fatalf("%s: span %s (-want +got):\n%s", c.name, key, diff)
			}
			rest := expectMap("resource.", rs.Resource().Attributes())
			rest = append(rest, []any{"scope.name", "string", ss.Scope().Name()}, []any{"scope.version", "string", ss.Scope().Version()})
			rest = append(rest, expectMap("scope.", ss.Scope().Attributes())...)
			for i, l := range s.Links().All() {
				p := fmt.Sprintf("link.%d.", i)
				rest = append(rest, []any{p + "trace_id", "string", l.TraceID().String()}, []any{p + "span_id", "string", l.SpanID().String()})
				rest = append(rest, expectMap(p, l.Attributes())...)
			}
			if diff := cmp.Diff(rest, got[max(0, len(got)-len(rest)):]); diff != "" {
				t.Fatalf("%s: span %s (-want +got):\n%s", c.name, key, diff)
			}
			for i, e := range s.Events().All() {
				got := decodeJSON(t, steps[fmt.Sprintf("%s:e%d", key, i)].SealedJSON("/attrs"))
				want := append(expectMap("", e.Attributes()), []any{"event.name", "string", e.Name()})
				if diff := cmp.Diff(want, got[:min(len(want), len(got))]); diff != "" {
					t.Fatalf("%s: event %d of span %s (-want +got):\n%s", c.name, i, key, diff)
				}
			}
		})
	}
	if values < 8_000 {
		t.Errorf("only %d values were compared", values)
	}
}

// Both encodings of a request become the same records.
func TestCapturesOtherEncoding(t *testing.T) {
	var tj ptrace.JSONMarshaler
	var tp ptrace.ProtoMarshaler
	for _, c := range captures(t, "traces") {
		td := mustTraces(t, c.body, c.enc)
		o := c
		o.body, o.enc = must(tj.MarshalTraces(td)), JSON
		if c.enc == JSON {
			o.body, o.enc = must(tp.MarshalTraces(td)), Protobuf
		}
		compareCaptures(t, c, o)
	}
	var lj plog.JSONMarshaler
	var lp plog.ProtoMarshaler
	for _, c := range captures(t, "logs") {
		ld := mustLogs(t, c.body, c.enc)
		o := c
		o.body, o.enc = must(lj.MarshalLogs(ld)), JSON
		if c.enc == JSON {
			o.body, o.enc = must(lp.MarshalLogs(ld)), Protobuf
		}
		compareCaptures(t, c, o)
	}
	var mj pmetric.JSONMarshaler
	var mp pmetric.ProtoMarshaler
	for _, c := range captures(t, "metrics") {
		md := must(DecodeMetrics(c.body, c.enc))
		o := c
		o.body, o.enc = must(mj.MarshalMetrics(md)), JSON
		if c.enc == JSON {
			o.body, o.enc = must(mp.MarshalMetrics(md)), Protobuf
		}
		compareCaptures(t, c, o)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func compareCaptures(t *testing.T, c, o capture) {
	t.Helper()
	if diff := cmp.Diff(showAll(mapCapture(t, c)), showAll(mapCapture(t, o))); diff != "" {
		t.Errorf("%s: in the other encoding (-sent +other):\n%s", c.name, diff)
	}
}

// What was written gives the hints that mapping gave, and the span or log
// record itself comes back from /attrs, byte for byte but for what stands
// elsewhere.
func TestCapturesReread(t *testing.T) {
	m := testMapper()
	said := 0
	for _, signal := range []string{"traces", "logs"} {
		for _, c := range captures(t, signal) {
			for _, it := range mapCapture(t, c).Items {
				if it.Record.Kind == evidence.KindAudit {
					continue
				}
				if !reflect.DeepEqual(it.Hints, dialect.Hints{}) {
					said++
				}
				body := it.Record.SealedJSON("/body")
				got, err := m.Reread(it.Record.Kind, it.Record.SealedJSON("/attrs"), body)
				if err != nil {
					t.Fatalf("%s: %v", c.name, err)
				}
				if diff := cmp.Diff(it.Hints, got); diff != "" {
					t.Errorf("%s: hints of %s (-mapped +read):\n%s", c.name, it.Record.NaturalKey, diff)
				}
			}
		}
	}
	if said < 100 {
		t.Errorf("only %d spans and log records gave hints", said)
	}
}

func TestCapturesSpansComeBack(t *testing.T) {
	for _, c := range captures(t, "traces") {
		td := mustTraces(t, c.body, c.enc)
		b := testMapper().Traces(td)
		steps := map[string]*evidence.Record{}
		for _, it := range b.Items {
			steps[it.Record.NaturalKey] = it.Record
		}
		eachSpan(td, func(rs ptrace.ResourceSpans, ss ptrace.ScopeSpans, s ptrace.Span) {
			want := ptrace.NewTraces()
			wr := want.ResourceSpans().AppendEmpty()
			rs.Resource().CopyTo(wr.Resource())
			wr.SetSchemaUrl(rs.SchemaUrl())
			ws := wr.ScopeSpans().AppendEmpty()
			ss.Scope().CopyTo(ws.Scope())
			ws.SetSchemaUrl(ss.SchemaUrl())
			w := ws.Spans().AppendEmpty()
			s.CopyTo(w)
			key := s.TraceID().String() + ":" + s.SpanID().String()
			w.SetTraceID(pcommon.TraceID{})
			w.SetSpanID(pcommon.SpanID{})
			w.SetParentSpanID(pcommon.SpanID{})
			w.SetFlags(s.Flags() & 0xff)
			w.Events().RemoveIf(func(ptrace.SpanEvent) bool { return true })
			w.Links().RemoveIf(func(ptrace.SpanLink) bool { return true })
			req, err := spanRequest(steps[key].SealedJSON("/attrs"))
			if err != nil {
				t.Fatal(err)
			}
			got := mustTraces(t, req, Protobuf)
			if !bytes.Equal(marshalTraces(t, want, Protobuf), marshalTraces(t, got, Protobuf)) {
				t.Fatalf("%s: span %s:\n%s\n%s", c.name, key, marshalTraces(t, want, JSON), marshalTraces(t, got, JSON))
			}
		})
	}
}

func TestCapturesLogsComeBack(t *testing.T) {
	n := 0
	for _, c := range captures(t, "logs") {
		for _, it := range mapCapture(t, c).Items {
			r := it.Record
			if r.Kind == evidence.KindAudit {
				continue
			}
			n++
			body := r.SealedJSON("/body")
			if r.Kind == evidence.KindSystem {
				if body = r.SealedJSON("/details"); body == nil {
					body = r.SealedJSON("/summary")
				}
			}
			req, err := logRequest(r.SealedJSON("/attrs"), body)
			if err != nil {
				t.Fatal(err)
			}
			// The record's content is the request that it was.
			want := mustLogs(t, r.Content, Protobuf)
			wl := want.ResourceLogs().At(0).ScopeLogs().At(0).LogRecords().At(0)
			wl.SetFlags(wl.Flags() & 0xff)
			wl.SetTraceID(pcommon.TraceID{})
			wl.SetSpanID(pcommon.SpanID{})
			got := mustLogs(t, req, Protobuf)
			got.ResourceLogs().At(0).SetSchemaUrl("")
			got.ResourceLogs().At(0).ScopeLogs().At(0).SetSchemaUrl("")
			var p plog.ProtoMarshaler
			if a, b := must(p.MarshalLogs(want)), must(p.MarshalLogs(got)); !bytes.Equal(a, b) {
				t.Fatalf("%s:\n%s\n%s", c.name, hex.Dump(a), hex.Dump(b))
			}
		}
	}
	if n == 0 {
		t.Error("no log records")
	}
}
