package otlp

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/dialect"
	"github.com/runledger/runledger/internal/prices"
)

func TestCost(t *testing.T) {
	m := testMapper()
	m.cfg.Prices = prices.Default()
	tests := map[string]struct {
		rd   dialect.Reading
		kind string
		want dialect.Opt
	}{
		"stated":            {dialect.Reading{CostNanos: dialect.Some(7)}, "other", dialect.Some(7)},
		"stated as nothing": {dialect.Reading{CostNanos: dialect.Some(0)}, "llm", dialect.Some(0)},
		"no tokens":         {dialect.Reading{Provider: "openai", Model: "gpt-4o-mini", Input: dialect.Some(1)}, "llm", dialect.Opt{}},
		"no model call":     {dialect.Reading{Provider: "openai", Model: "gpt-4o-mini", Input: dialect.Some(1), Output: dialect.Some(1)}, "agent", dialect.Opt{}},
		"cached unknown":    {dialect.Reading{Provider: "openai", Model: "gpt-4o-mini", Input: dialect.Some(1), Output: dialect.Some(1), Failed: true}, "llm", dialect.Opt{}},
		"written unknown": {dialect.Reading{
			Provider: "anthropic", Model: "claude-sonnet-4-5", Input: dialect.Some(1), Output: dialect.Some(1), Cached: dialect.Some(0),
		}, "llm", dialect.Opt{}},
		"price of another model": {dialect.Reading{
			Provider: "openai", Model: "no-such-model", RequestModel: "gpt-4o-mini", Input: dialect.Some(1), Output: dialect.Some(1), Cached: dialect.Some(0),
		}, "llm", dialect.Opt{}},
		"nobody knows model": {dialect.Reading{Provider: "openai", Model: "no-such-model", Input: dialect.Some(1), Output: dialect.Some(1)}, "llm", dialect.Opt{}},
	}
	for name, tt := range tests {
		if got := m.cost(&tt.rd, tt.kind, evidence.MicrosOf(testNow)); got != tt.want {
			t.Errorf("%s: %+v, want %+v", name, got, tt.want)
		}
	}
}

func TestTraces(t *testing.T) {
	td := oneSpan(nil)
	rs := td.ResourceSpans().AppendEmpty()
	rs.Resource().Attributes().PutStr("service.name", "earlier")
	for i, id := range []pcommon.TraceID{{1}, {9}} {
		s := rs.ScopeSpans().AppendEmpty().Spans().AppendEmpty()
		s.SetTraceID(id)
		s.SetSpanID(pcommon.SpanID{7})
		s.SetStartTimestamp(pcommon.NewTimestampFromTime(testNow.Add(-time.Duration(i+1) * time.Second)))
		s.SetEndTimestamp(pcommon.NewTimestampFromTime(testNow))
	}
	b := testMapper().Traces(td)
	if len(b.Traces) != 2 {
		t.Fatalf("%d traces", len(b.Traces))
	}
	for i, want := range []struct{ run, at, service string }{
		{testTrace, "2026-11-23T11:59:59.000000Z", `"earlier"`},
		{"09000000000000000000000000000000", "2026-11-23T11:59:58.000000Z", `"earlier"`},
	} {
		got := show(b.Traces[i].Record)
		if got.Run != want.run || got.At != want.at || got.Pub["service_name"] != want.service || got.Pub["schema_version"] != `"1"` {
			t.Errorf("trace %d: %+v", i, got)
		}
		if diff := cmp.Diff([]string{"trace_id"}, got.Said); diff != "" {
			t.Error(diff)
		}
	}
}

func TestRequestBudget(t *testing.T) {
	q := newRequest(testMapper(), 0)
	if f := q.spend(maxBatch); f != "" {
		t.Error(f)
	}
	if f := q.spend(1); !strings.Contains(f, "MiB") {
		t.Errorf("over the budget: %q", f)
	}
}
