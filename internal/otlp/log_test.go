package otlp

import (
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/dialect"
)

func TestLogOfTrace(t *testing.T) {
	b := testMapper().Logs(oneLog(func(r plog.LogRecord) {
		r.SetTraceID(pcommon.TraceID{1})
		r.SetSpanID(pcommon.SpanID{2})
		r.SetEventName("gen_ai.choice")
		r.SetSeverityNumber(plog.SeverityNumberError2)
		r.SetSeverityText("err")
		r.SetObservedTimestamp(r.Timestamp() + 5)
		r.SetFlags(0x101)
		r.SetDroppedAttributesCount(3)
		r.Attributes().PutInt("n", 1)
		m := r.Body().SetEmptyMap()
		m.PutStr("role", "user")
		m.PutInt("i", math.MaxInt64)
		m.PutDouble("d", 2)
		m.PutEmpty("e")
		m.PutEmptySlice("l").AppendEmpty().SetBool(false)
	}))
	got := only(t, b)
	if got.Kind != "trace_event" || got.Run != testTrace || got.Key != "" || !got.ContentKey || got.Ordinal != 0 {
		t.Errorf("%+v", got)
	}
	wantFacts(t, got.Pub, map[string]string{
		"trace_id": `"` + testTrace + `"`, "span_id": `"` + testSpan + `"`, "event_name": `"gen_ai.choice"`, "severity": `"ERROR"`,
		"source_component": `"shop"`, "source_domain": `"ACTIVITY"`,
	})
	wantFacts(t, got.Sealed, map[string]string{
		"/body": `{"role":"user","i":9223372036854775807,"d":2.0,"e":null,"l":[false]}`,
		"/attrs": `[["n","int","1"],["log.time_unix_nano","int","1795435200000000000"],["log.observed_time_unix_nano","int","1795435200000000005"],` +
			`["log.severity_number","int","18"],["log.severity_text","string","err"],["log.event_name","string","gen_ai.choice"],["log.flags","int","1"],` +
			`["log.dropped_attributes_count","int","3"],["resource.service.name","string","shop"],["scope.name","string",""],["scope.version","string",""]]`,
	})
	if diff := cmp.Diff([]string{"trace_id"}, got.Said); diff != "" {
		t.Error(diff)
	}
	if len(b.Traces) != 1 || b.Traces[0].Record.Run != testTrace {
		t.Errorf("%d traces", len(b.Traces))
	}
}

func TestLogWithoutTrace(t *testing.T) {
	tests := map[string]struct {
		change                     func(plog.LogRecord)
		severity, summary, details string
	}{
		"nothing": {nil, `"INFO"`, `"log"`, ""},
		"text":    {func(r plog.LogRecord) { r.Body().SetStr("up"); r.SetSeverityNumber(plog.SeverityNumberFatal) }, `"CRITICAL"`, `"up"`, ""},
		"map":     {func(r plog.LogRecord) { r.Body().SetEmptyMap().PutInt("a", 1); r.SetSeverityText("Error") }, `"WARN"`, `"{\"a\":1}"`, `{"a":1}`},
		"warning": {func(r plog.LogRecord) { r.SetEventName("boot"); r.SetSeverityNumber(13) }, `"WARN"`, `"boot"`, ""},
		"bytes":   {func(r plog.LogRecord) { r.Body().SetEmptyBytes().FromRaw([]byte{1}); r.SetSeverityNumber(-3) }, `"INFO"`, `"AQ=="`, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			b := testMapper().Logs(oneLog(func(r plog.LogRecord) {
				r.SetSpanID(pcommon.SpanID{2})
				if tt.change != nil {
					tt.change(r)
				}
			}))
			got := only(t, b)
			if got.Kind != "system" || got.Run != "" || !got.ContentKey || len(b.Traces) != 0 || got.Said == nil || len(got.Said) != 0 {
				t.Errorf("%+v", got)
			}
			wantFacts(t, got.Pub, map[string]string{
				"event_type": `"OBSERVATION"`, "component": `"shop"`, "system_id": `"shop"`, "source_domain": `"SYSTEM"`,
				"visibility": `"tenant"`, "severity": tt.severity,
			})
			if got.Sealed["/summary"] != tt.summary || got.Sealed["/details"] != tt.details {
				t.Errorf("summary %s, details %s", got.Sealed["/summary"], got.Sealed["/details"])
			}
			if !strings.Contains(got.Sealed["/attrs"], `["log.span_id","string","`+testSpan+`"]`) {
				t.Errorf("attrs %s", got.Sealed["/attrs"])
			}
		})
	}
}

// A log record without a trace may name what happened to the environment, and nothing
// that is the server's to state.
func TestLogNamesEvent(t *testing.T) {
	attr := func(name, value string) func(plog.LogRecord) {
		return func(r plog.LogRecord) { r.Attributes().PutStr(name, value) }
	}
	tests := map[string]struct {
		change func(plog.LogRecord)
		want   string
	}{
		"heartbeat":         {func(r plog.LogRecord) { r.SetEventName("runledger.health_check") }, `"HEALTH_CHECK"`},
		"in the attribute":  {attr("event.name", "runledger.shutdown"), `"SHUTDOWN"`},
		"the server's":      {func(r plog.LogRecord) { r.SetEventName("runledger.producer_silent") }, `"OBSERVATION"`},
		"capitals":          {func(r plog.LogRecord) { r.SetEventName("runledger.HEALTH_CHECK") }, `"OBSERVATION"`},
		"another's":         {func(r plog.LogRecord) { r.SetEventName("health_check") }, `"OBSERVATION"`},
		"nothing behind it": {func(r plog.LogRecord) { r.SetEventName("runledger.") }, `"OBSERVATION"`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := only(t, testMapper().Logs(oneLog(tt.change)))
			if got.Kind != "system" || got.Pub["event_type"] != tt.want {
				t.Errorf("%+v", got)
			}
		})
	}
	// Within a trace it stays an event of the trace.
	got := only(t, testMapper().Logs(oneLog(func(r plog.LogRecord) {
		r.SetTraceID(pcommon.TraceID{1})
		r.SetEventName("runledger.health_check")
	})))
	if got.Kind != "trace_event" {
		t.Errorf("%+v", got)
	}
}

// A body that JSON cannot say is in /attrs as it was.
func TestLogBodyInexact(t *testing.T) {
	tests := map[string]struct {
		set         func(pcommon.Value)
		body, typed string
	}{
		"bytes":     {func(v pcommon.Value) { v.SetEmptyBytes().FromRaw([]byte{255}) }, `"/w=="`, `["log.body","bytes","/w=="]`},
		"NaN":       {func(v pcommon.Value) { v.SetDouble(math.NaN()) }, `"NaN"`, `["log.body","double","NaN"]`},
		"not UTF-8": {func(v pcommon.Value) { v.SetStr("\xff") }, `"` + "\uFFFD" + `"`, `["log.body","bytes","/w=="]`},
		"bad keys":  {func(v pcommon.Value) { m := v.SetEmptyMap(); m.PutInt("\xff", 1); m.PutInt("\xfe", 2) }, `{"` + "\uFFFD" + `":1}`, `["log.body","kvlist",[`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := only(t, testMapper().Logs(oneLog(func(r plog.LogRecord) { r.SetTraceID(pcommon.TraceID{1}); tt.set(r.Body()) })))
			if got.Sealed["/body"] != tt.body || !strings.Contains(got.Sealed["/attrs"], tt.typed) {
				t.Errorf("body %s, attrs %s", got.Sealed["/body"], got.Sealed["/attrs"])
			}
		})
	}
	// A key that stands twice: only the wire can say it.
	twice := appendMessage(nil, 6, append(appendMessage(nil, 1, kvBytes("k", stringBytes("a"))), appendMessage(nil, 1, kvBytes("k", stringBytes("b")))...))
	ld := mustLogs(t, inRequest(appendMessage(appendMessage(nil, 5, twice), 9, id16)), Protobuf)
	got := only(t, testMapper().Logs(ld))
	if got.Sealed["/body"] != `{"k":"a"}` || !strings.Contains(got.Sealed["/attrs"], `["log.body","kvlist",[["k","string","a"],["k","string","b"]]]`) {
		t.Errorf("body %s, attrs %s", got.Sealed["/body"], got.Sealed["/attrs"])
	}
	deep := oneLog(func(r plog.LogRecord) {
		v := r.Body()
		for range maxNesting + 1 {
			v = v.SetEmptyMap().PutEmpty("k")
		}
	})
	if b := testMapper().Logs(deep); b.Rejected != 1 || !strings.Contains(b.Errors[0], "deep") {
		t.Errorf("%d rejected, %q", b.Rejected, b.Errors)
	}
}

// Equal log records of a request are told apart by their number, others are
// not numbered, and what differs in the resource alone is not equal.
func TestLogOrdinals(t *testing.T) {
	ld := plog.NewLogs()
	for _, service := range []string{"a", "b"} {
		rl := ld.ResourceLogs().AppendEmpty()
		rl.Resource().Attributes().PutStr("service.name", service)
		list := rl.ScopeLogs().AppendEmpty().LogRecords()
		for _, text := range []string{"x", "y", "x", "x"} {
			list.AppendEmpty().Body().SetStr(text)
		}
	}
	var got []int
	contents := map[string]int{}
	for _, it := range testMapper().Logs(ld).Items {
		got = append(got, it.Record.ContentOrdinal)
		contents[string(it.Record.Content)]++
	}
	if diff := cmp.Diff([]int{0, 0, 1, 2, 0, 0, 1, 2}, got); diff != "" || len(contents) != 4 {
		t.Errorf("%d contents, ordinals (-want +got):\n%s", len(contents), diff)
	}
}

func TestLogTime(t *testing.T) {
	for _, tt := range []struct {
		time, observed pcommon.Timestamp
		want           string
	}{
		{1_000_999, 5_000_000, "1970-01-01T00:00:00.001000Z"},
		{0, 5_000_000, "1970-01-01T00:00:00.005000Z"},
		{0, 0, "1970-01-01T00:00:00.000000Z"},
		{math.MaxUint64, 0, "2554-07-21T23:34:33.709551Z"},
	} {
		got := only(t, testMapper().Logs(oneLog(func(r plog.LogRecord) { r.SetTimestamp(tt.time); r.SetObservedTimestamp(tt.observed) })))
		if got.At != tt.want {
			t.Errorf("at %s, want %s", got.At, tt.want)
		}
	}
}

func TestGovernance(t *testing.T) {
	long := strings.Repeat("9", 200)
	facts := []dialect.Governance{
		{
			Event: "LimitBreached", EntityType: "LIMIT", EntityID: "l1", Decision: "BREACHED", LimitID: "l1", LimitValue: "10.50", ObservedValue: "11",
			LimitUnit: "USD", PolicyID: "p1", RuleID: "r1", IncidentID: "i1", Reason: "too \"much\"", ValidFrom: 1, ValidUntil: 2,
		},
		{Event: "LOG_OPENED", EntityType: "LOG", EntityID: "x"},
		{EntityType: "odd", Decision: "MAYBE", LimitValue: "1e3", ObservedValue: long, ValidUntil: math.MaxInt64},
		{Event: "IncidentOpened", IncidentID: "i2"},
	}
	src := newSource(newOrigin(pcommon.NewResource(), ""), pcommon.NewInstrumentationScope(), "")
	for what, from := range map[string]*fact{
		"span": {at: evidence.MicrosOf(testNow), run: testTrace, key: "k:s"},
		"log":  {at: evidence.MicrosOf(testNow), content: []byte("log")},
	} {
		w, _ := src.who(&dialect.Reading{AgentName: "bot", PolicyIDs: []string{"p0"}})
		from.who = &w
		q := newRequest(testMapper(), 0)
		q.governance(from, facts)
		if len(q.batch.Items) != 3 || len(q.batch.Errors) != 1 || q.batch.Rejected != 0 || !strings.Contains(q.batch.Errors[0], "event_type") {
			t.Fatalf("%s: %d items, %d rejected, %q", what, len(q.batch.Items), q.batch.Rejected, q.batch.Errors)
		}
		wants := []map[string]string{
			{
				"event_type": `"LimitBreached"`, "entity_type": `"LIMIT"`, "entity_id": `"l1"`, "decision": `"BREACHED"`, "limit_value": `"10.50"`,
				"observed_value": `"11"`, "limit_unit": `"USD"`, "policy_id": `"p1"`, "rule_id": `"r1"`, "policy_ids": `["p1","p0"]`, "incident_ids": `["i1"]`,
				"valid_from": `"1970-01-01T00:00:00.000001Z"`, "actor_type": `"AGENT"`, "agent_id": `"bot"`, "source_domain": `"POLICY"`,
			},
			{"event_type": `"PolicyEvaluated"`, "entity_type": `"POLICY_RULE"`, "entity_id": `"unknown"`},
			{"event_type": `"IncidentOpened"`, "entity_type": `"INCIDENT"`, "entity_id": `"i2"`, "source_domain": `"INCIDENTS"`},
		}
		for i, it := range q.batch.Items {
			got := show(it.Record)
			wantFacts(t, got.Pub, wants[i])
			if got.Run != from.run || (got.Key == "") != (from.key == "") || got.ContentKey != (from.key == "") {
				t.Errorf("%s %d: %+v", what, i, got)
			}
		}
		if from.key != "" {
			if k := q.batch.Items[1].Record.NaturalKey; k != "k:s:g2" {
				t.Errorf("key %s", k)
			}
		}
		bad := q.batch.Items[1].Record
		for _, name := range []string{"decision", "limit_value", "observed_value", "valid_until"} {
			if f, ok := bad.Fact(name); ok {
				t.Errorf("%s is %v", name, f)
			}
		}
		if r := q.batch.Items[0].Record.SealedJSON("/action_reason"); string(r) != `"too \"much\""` {
			t.Errorf("reason %s", r)
		}
	}
}
