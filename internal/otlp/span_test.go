package otlp

import (
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/dialect"
)

const (
	testTrace = "01000000000000000000000000000000"
	testSpan  = "0200000000000000"
)

func TestSpanLeast(t *testing.T) {
	got := only(t, testMapper().Traces(oneSpan(nil)))
	want := shown{
		Kind: "trace_step", Key: testTrace + ":" + testSpan, Run: testTrace, At: "2026-11-23T12:00:00.000000Z",
		Said: []string{"/attrs", "duration_us", "occurred_at", "parent_span_id", "span_id", "trace_id"},
		Pub: map[string]string{
			"actor_type": `"SYSTEM"`, "origin": `"SYSTEM"`, "system_id": `"shop"`, "source_component": `"shop"`, "source_domain": `"ACTIVITY"`,
			"policy_ids": `[]`, "incident_ids": `[]`, "is_synthetic": `false`, "flags": `[]`, "trace_id": `"` + testTrace + `"`,
			"span_id": `"` + testSpan + `"`, "step_kind": `"other"`, "skill_id": `"other"`, "skill_name": `"work"`, "status": `"success"`,
			"outcome_category": `"SUCCESS"`, "duration_us": `1500`, "retry_count": `0`, "replay_behavior": `"execute"`,
		},
		Sealed: map[string]string{
			"/actor": `{}`,
			"/attrs": `[["span.name","string","work"],["span.kind","string","unspecified"],["span.start_time_unix_nano","int","1795435200000000000"],` +
				`["span.end_time_unix_nano","int","1795435200001500000"],["resource.service.name","string","shop"],["scope.name","string",""],["scope.version","string",""]]`,
		},
	}
	want.Content = want.Sealed["/attrs"] + "\x00"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// All forms of values.
func TestSpanAttributes(t *testing.T) {
	td := oneSpan(func(s ptrace.Span) {
		a := s.Attributes()
		a.PutStr("text", "a\"\\\n\x01é\u2028")
		a.PutInt("int", math.MinInt64)
		a.PutDouble("double", 1e21)
		a.PutDouble("small", 1e-7)
		a.PutDouble("whole", 100)
		a.PutDouble("nan", math.NaN())
		a.PutDouble("inf", math.Inf(-1))
		a.PutBool("bool", true)
		a.PutEmptyBytes("bytes").FromRaw([]byte{0xff, 0})
		a.PutEmpty("empty")
		a.PutEmptyMap("map").PutEmptySlice("list").AppendEmpty().SetInt(1)
		a.PutEmptyMap("no map")
		a.PutEmptySlice("no list")
		a.PutStr("raw", "a\xff")
		a.PutStr("key\xff", "v")
	})
	got := only(t, testMapper().Traces(td)).Sealed["/attrs"]
	want := `[["text","string","a\"\\\n\u0001é` + "\u2028" + `"],["int","int","-9223372036854775808"],["double","double",1e+21],["small","double",1e-7],` +
		`["whole","double",100],["nan","double","NaN"],["inf","double","-Infinity"],["bool","bool",true],["bytes","bytes","/wA="],["empty","kvlist",null],` +
		`["map","kvlist",[["list","array",[["int","1"]]]]],["no map","kvlist",[]],["no list","array",[]],["raw","bytes","Yf8="],["key` + "\uFFFD" + `","string","v"],` +
		`["span.name",`
	if !strings.HasPrefix(got, want) {
		t.Errorf("attrs\n%s\nwant\n%s", got, want)
	}
}

func TestSpanWhole(t *testing.T) {
	td := oneSpan(func(s ptrace.Span) {
		s.SetParentSpanID(pcommon.SpanID{3})
		s.SetKind(ptrace.SpanKindClient)
		s.Status().SetCode(ptrace.StatusCodeError)
		s.Status().SetMessage("no \"luck\"")
		s.TraceState().FromRaw("a=b")
		s.SetFlags(0x301)
		s.SetDroppedAttributesCount(1)
		s.SetDroppedEventsCount(2)
		s.SetDroppedLinksCount(3)
		l := s.Links().AppendEmpty()
		l.SetTraceID(pcommon.TraceID{4})
		l.SetSpanID(pcommon.SpanID{5})
		l.TraceState().FromRaw("c=d")
		l.Attributes().PutStr("k", "v")
		e := s.Events().AppendEmpty()
		e.SetName("retry")
		e.SetTimestamp(s.StartTimestamp() + 1999)
		e.SetDroppedAttributesCount(7)
		e.Attributes().PutInt("n", 2)
		s.Events().AppendEmpty()
	})
	rs := td.ResourceSpans().At(0)
	rs.SetSchemaUrl("https://opentelemetry.io/schemas/1.38.0")
	rs.Resource().SetDroppedAttributesCount(8)
	rs.ScopeSpans().At(0).SetSchemaUrl("https://example.test/s")
	rs.ScopeSpans().At(0).Scope().SetDroppedAttributesCount(9)
	rs.ScopeSpans().At(0).Scope().SetName("lib")
	rs.ScopeSpans().At(0).Scope().Attributes().PutStr("name", "not the name")
	b := testMapper().Traces(td)
	if len(b.Items) != 3 || len(b.Errors) != 0 {
		t.Fatalf("%d items, %q", len(b.Items), b.Errors)
	}
	step := show(b.Items[0].Record)
	wantFacts(t, step.Pub, map[string]string{"parent_span_id": `"0300000000000000"`, "flags": `["attrs_dropped"]`})
	wantFacts(t, step.Sealed, map[string]string{
		"/status_message": `"no \"luck\""`,
		"/attrs": `[["span.name","string","work"],["span.kind","string","client"],["span.start_time_unix_nano","int","1795435200000000000"],` +
			`["span.end_time_unix_nano","int","1795435200001500000"],["span.status_code","string","error"],["span.status_message","string","no \"luck\""],["span.trace_state","string","a=b"],["span.flags","int","1"],` +
			`["span.dropped_attributes_count","int","1"],["span.dropped_events_count","int","2"],["span.dropped_links_count","int","3"],` +
			`["otlp.resource_schema_url","string","https://opentelemetry.io/schemas/1.38.0"],["otlp.resource_dropped_attributes_count","int","8"],` +
			`["resource.service.name","string","shop"],["otlp.scope_schema_url","string","https://example.test/s"],["otlp.scope_dropped_attributes_count","int","9"],` +
			`["scope.name","string","lib"],["scope.version","string",""],["scope.name","string","not the name"],` +
			`["link.0.trace_id","string","04000000000000000000000000000000"],["link.0.span_id","string","0500000000000000"],["link.0.trace_state","string","c=d"],["link.0.k","string","v"]]`,
	})
	for i, want := range []struct{ key, name, at, attrs string }{
		{":e0", `"retry"`, "2026-11-23T12:00:00.000001Z", `[["n","int","2"],["event.name","string","retry"],["event.time_unix_nano","int","1795435200000001999"],["event.dropped_attributes_count","int","7"]]`},
		{":e1", `"event"`, "2026-11-23T12:00:00.000000Z", `[["event.name","string",""]]`},
	} {
		e := show(b.Items[i+1].Record)
		if e.Kind != "trace_event" || e.Key != step.Key+want.key || e.At != want.at || e.Pub["event_name"] != want.name || e.Sealed["/attrs"] != want.attrs {
			t.Errorf("event %d: %+v", i, e)
		}
		if diff := cmp.Diff([]string{"/attrs", "/body", "event_name", "occurred_at", "span_id", "trace_id"}, e.Said); diff != "" {
			t.Error(diff)
		}
	}
	trace := show(b.Traces[0].Record)
	wantFacts(t, trace.Pub, map[string]string{
		"trace_id": `"` + testTrace + `"`, "schema_version": `"https://opentelemetry.io/schemas/1.38.0"`, "service_name": `"shop"`,
		"started_at": `"2026-11-23T12:00:00.000000Z"`,
	})
}

func TestSpanTimes(t *testing.T) {
	now := pcommon.NewTimestampFromTime(testNow)
	tests := map[string]struct {
		start, end pcommon.Timestamp
		at         string
		duration   string
		flags      string
	}{
		"truncated":   {now + 999, now + 2998, "2026-11-23T12:00:00.000000Z", "1", `[]`},
		"reversed":    {now, now - 1, "2026-11-23T12:00:00.000000Z", "0", `["time_reversed"]`},
		"no end":      {now, 0, "2026-11-23T12:00:00.000000Z", "0", `["time_missing"]`},
		"no start":    {0, now, "2026-11-23T12:00:00.000000Z", "0", `["time_missing"]`},
		"no time":     {0, 0, "1970-01-01T00:00:00.000000Z", "0", `["clock_skew","time_missing"]`},
		"2554":        {math.MaxUint64, math.MaxUint64, "2554-07-21T23:34:33.709551Z", "0", `["clock_skew"]`},
		"until 2554":  {1, math.MaxUint64, "1970-01-01T00:00:00.000000Z", "9007199254740991", `["clock_skew"]`},
		"skewed":      {now - 73*3600*1e9, now, "2026-11-20T11:00:00.000000Z", "262800000000", `["clock_skew"]`},
		"not so much": {now - 71*3600*1e9, now, "2026-11-20T13:00:00.000000Z", "255600000000", `[]`},
		"future end":  {now, now + 73*3600*1e9, "2026-11-23T12:00:00.000000Z", "262800000000", `["clock_skew"]`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := only(t, testMapper().Traces(oneSpan(func(s ptrace.Span) {
				s.SetStartTimestamp(tt.start)
				s.SetEndTimestamp(tt.end)
			})))
			if got.At != tt.at || got.Pub["duration_us"] != tt.duration || got.Pub["flags"] != tt.flags {
				t.Errorf("at %s for %s, flags %s", got.At, got.Pub["duration_us"], got.Pub["flags"])
			}
		})
	}
}

func TestSpanRejected(t *testing.T) {
	tests := map[string]struct {
		change func(ptrace.Span)
		text   string
	}{
		"no trace id": {func(s ptrace.Span) { s.SetTraceID(pcommon.TraceID{}) }, "all zero"},
		"no span id":  {func(s ptrace.Span) { s.SetSpanID(pcommon.SpanID{}) }, "all zero"},
		"too deep": {func(s ptrace.Span) {
			v := s.Attributes().PutEmpty("k")
			for range maxNesting + 1 {
				v = v.SetEmptySlice().AppendEmpty()
			}
		}, "deep"},
		"too large": {func(s ptrace.Span) { s.Attributes().PutStr("k", strings.Repeat("\x01", evidence.MaxSealed/6+1)) }, "attrs: takes the sealed content"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			b := testMapper().Traces(oneSpan(tt.change))
			if b.Rejected != 1 || len(b.Items) != 0 || len(b.Traces) != 0 || len(b.Errors) != 1 || !strings.Contains(b.Errors[0], tt.text) {
				t.Errorf("%d rejected, %d items, %d traces, %q", b.Rejected, len(b.Items), len(b.Traces), b.Errors)
			}
		})
	}
	deepest := oneSpan(func(s ptrace.Span) {
		v := s.Attributes().PutEmpty("k")
		for range maxNesting {
			v = v.SetEmptyMap().PutEmpty("k")
		}
	})
	only(t, testMapper().Traces(deepest))
	// Messages are bounded.
	many := ptrace.NewTraces()
	for range 100 {
		many.ResourceSpans().AppendEmpty().ScopeSpans().AppendEmpty().Spans().AppendEmpty()
	}
	if b := testMapper().Traces(many); b.Rejected != 100 || len(b.Errors) != maxErrors {
		t.Errorf("%d rejected, %d errors", b.Rejected, len(b.Errors))
	}
}

// fullReading has something in every field, at its greatest where there is
// one and unfit for the public where it can be.
func fullReading(name func(string) string) *dialect.Reading {
	ids := make([]string, 100)
	for i := range ids {
		ids[i] = name("p")
	}
	n := dialect.Some(evidence.MaxInt)
	return &dialect.Reading{
		Kind: "llm", Name: name("n"), Provider: name("p"), RequestModel: name("r"), Model: name("m"), Operation: name("o"),
		FinishReason: name("f"), Input: n, Output: n, Cached: n, CacheWrite: n, Reasoning: n, CostNanos: n, FirstTokenUS: n,
		Failed: true, ErrorType: name("e"), ErrorText: "broken", AgentID: name("a"), ToolCallID: name("t"),
		Params: []byte(`{"a":1}`), Result: []byte(`"r"`), Prompt: []byte(`[]`), Response: []byte(`[1]`), InputRaw: []byte("in"), OutputRaw: []byte("out"),
		User: "u", Subject: "s", PolicyIDs: ids, IncidentIDs: ids, Flags: []string{"a_flag", "tokens_unknown"},
		Hints: dialect.Hints{Synthetic: true, ScenarioID: name("s"), CorrelationID: name("c")},
	}
}

// stepOf makes a step of a reading.
func stepOf(t testing.TB, td ptrace.Traces, rd *dialect.Reading) (*evidence.Record, error) {
	t.Helper()
	m := testMapper()
	rs := td.ResourceSpans().At(0)
	src := newSource(newOrigin(rs.Resource(), ""), rs.ScopeSpans().At(0).Scope(), "")
	span := rs.ScopeSpans().At(0).Spans().At(0)
	w, truncated := src.who(rd)
	s := spanState{src: src, span: span, rd: rd, who: &w, trace: testTrace, key: testTrace + ":" + testSpan, truncated: truncated}
	s.iv = m.interval(span.StartTimestamp(), span.EndTimestamp())
	attrs, fault := newRequest(m, 1).spanAttrs(src, span)
	if fault != "" {
		t.Fatal(fault)
	}
	r := m.step(&s, attrs)
	return r, complete(r)
}

func TestStepOfReading(t *testing.T) {
	r, err := stepOf(t, oneSpan(nil), fullReading(func(s string) string { return s + "-1" }))
	if err != nil {
		t.Fatal(err)
	}
	sameAsSlowWay(t, r)
	got := show(r)
	big := "9007199254740991"
	wantFacts(t, got.Pub, map[string]string{
		"actor_type": `"HUMAN"`, "origin": `"HUMAN"`, "agent_id": `"a-1"`, "step_kind": `"llm"`, "skill_id": `"llm"`, "skill_name": `"n-1"`,
		"status": `"failure"`, "outcome_category": `"FAILURE"`, "outcome_code": `"e-1"`, "provider": `"p-1"`, "request_model": `"r-1"`,
		"model": `"m-1"`, "operation": `"o-1"`, "finish_reason": `"f-1"`, "tool_call_id": `"t-1"`, "input_tokens": big, "output_tokens": big,
		"cached_input_tokens": big, "cache_write_input_tokens": big, "reasoning_tokens": big, "cost_usd_nanos": big, "first_token_us": big,
		"is_synthetic": "true", "synthetic_scenario_id": `"s-1"`, "correlation_id": `"c-1"`, "flags": `["a_flag","ids_truncated","tokens_unknown"]`,
	})
	wantFacts(t, got.Sealed, map[string]string{
		"/actor": `{"human_actor_id":"u"}`, "/subject": `"s"`, "/params": `{"a":1}`, "/outcome_data": `"r"`, "/prompt": `[]`, "/response": `[1]`,
		"/status_message": `"broken"`,
		"/input_hash":     `"sha256:582967534d0f909d196b97f9e6921342777aea87b46fa52df165389db1fb8ccf"`,
	})
}

// However long and unfit, names do not break a leaf.
func TestStepLeafSize(t *testing.T) {
	long := strings.Repeat("x", evidence.MaxName-1)
	for what, name := range map[string]func(string) string{
		"longest": func(s string) string { return s + long },
		"unfit":   func(s string) string { return s + long + "éé" },
	} {
		td := oneSpan(func(s ptrace.Span) { s.Status().SetMessage("m"); s.SetParentSpanID(pcommon.SpanID{1}) })
		td.ResourceSpans().At(0).Resource().Attributes().PutStr("service.name", name("s"))
		r, err := stepOf(t, td, fullReading(name))
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		sameAsSlowWay(t, r)
		if n := leafSize(t, r); n < 4<<10 || n > evidence.MaxLeafSize {
			t.Errorf("%s: leaf of %d bytes", what, n)
		}
	}
}

// What a dialect gets wrong does not cost the span.
func TestStepBadReading(t *testing.T) {
	tests := map[string]struct {
		rd    dialect.Reading
		facts map[string]string
		path  string
		want  string
	}{
		"no JSON":        {dialect.Reading{Prompt: []byte(`[`)}, map[string]string{"flags": `["content_unread"]`}, "/prompt", `"["`},
		"not UTF-8":      {dialect.Reading{Params: []byte("\"\xff\"")}, map[string]string{"flags": `["content_unread"]`}, "/params", `"\"` + "\uFFFD" + `\""`},
		"all bad":        {dialect.Reading{Params: []byte("1 2"), Result: []byte("{"), Prompt: []byte("x"), Response: []byte("\x00")}, map[string]string{"flags": `["content_unread"]`}, "/response", `"\u0000"`},
		"too large":      {dialect.Reading{Prompt: []byte(`"` + strings.Repeat("x", evidence.MaxSealed) + `"`)}, map[string]string{"flags": `["content_unread"]`}, "/prompt", ""},
		"unknown kind":   {dialect.Reading{Kind: "odd"}, map[string]string{"step_kind": `"other"`}, "", ""},
		"negative count": {dialect.Reading{Kind: "llm", Input: dialect.Some(-1), Output: dialect.Some(1)}, map[string]string{"input_tokens": "", "output_tokens": "1", "flags": `["cost_unknown","tokens_unknown"]`}, "", ""},
		"huge cost":      {dialect.Reading{Kind: "llm", CostNanos: dialect.Some(math.MaxInt64)}, map[string]string{"cost_usd_nanos": "", "flags": `["cost_unknown"]`}, "", ""},
		"raw name":       {dialect.Reading{Name: "\xff"}, map[string]string{}, "/skill_name", `"` + "\uFFFD" + `"`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r, err := stepOf(t, oneSpan(nil), &tt.rd)
			if err != nil {
				t.Fatal(err)
			}
			got := show(r)
			for f, w := range tt.facts {
				if got.Pub[f] != w {
					t.Errorf("%s is %s, want %s", f, got.Pub[f], w)
				}
			}
			if tt.path != "" && got.Sealed[tt.path] != tt.want {
				t.Errorf("%s is %.80s, want %s", tt.path, got.Sealed[tt.path], tt.want)
			}
		})
	}
}

// A retried span is the same record for a server that reads it otherwise.
func TestStepSaid(t *testing.T) {
	one, err := stepOf(t, oneSpan(nil), &dialect.Reading{Kind: "llm", Provider: "openai"})
	if err != nil {
		t.Fatal(err)
	}
	two, err := stepOf(t, oneSpan(nil), fullReading(func(s string) string { return s }))
	if err != nil {
		t.Fatal(err)
	}
	other, err := stepOf(t, oneSpan(func(s ptrace.Span) { s.Attributes().PutInt("n", 1) }), &dialect.Reading{})
	if err != nil {
		t.Fatal(err)
	}
	leaf := func(r *evidence.Record) *evidence.Leaf {
		l := &evidence.Leaf{Kind: r.Kind, OccurredAt: r.OccurredAt, Run: r.Run, Pub: r.Pub}
		for _, v := range r.Sealed {
			l.H = append(l.H, evidence.Commitment{Path: v.Path})
		}
		return l
	}
	if !one.SameFacts(leaf(two)) || !two.SameFacts(leaf(one)) || string(one.Content) != string(two.Content) {
		t.Error("another reading is another record")
	}
	if string(one.Content) == string(other.Content) {
		t.Error("other spans have the same content")
	}
	later, _ := stepOf(t, oneSpan(func(s ptrace.Span) { s.SetEndTimestamp(s.EndTimestamp() + 1000) }), &dialect.Reading{})
	if one.SameFacts(leaf(later)) {
		t.Error("another end is the same record")
	}
	if msg := one.SealedJSON("/attrs"); string(msg) == string(later.SealedJSON("/attrs")) {
		t.Error("another end is not in /attrs")
	}
}
