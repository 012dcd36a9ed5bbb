package otlp

import (
	"bytes"
	"fmt"
	"math"
	"strings"
	"testing"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/runledger/runledger/evidence"
)

// everyMetric has a point of each type with all that it can have.
func everyMetric() pmetric.Metrics {
	md := pmetric.NewMetrics()
	rm := md.ResourceMetrics().AppendEmpty()
	rm.SetSchemaUrl("https://opentelemetry.io/schemas/1.38.0")
	rm.Resource().Attributes().PutStr("service.name", "shop")
	sm := rm.ScopeMetrics().AppendEmpty()
	sm.Scope().SetName("lib")
	sm.SetSchemaUrl("https://example.test/s")
	add := func(name string) pmetric.Metric {
		m := sm.Metrics().AppendEmpty()
		m.SetName(name)
		m.SetUnit("{token}")
		m.SetDescription("what it is")
		m.Metadata().PutStr("k", "v")
		return m
	}
	n := add("gauge").SetEmptyGauge().DataPoints()
	p := n.AppendEmpty()
	p.SetStartTimestamp(1_000_000)
	p.SetTimestamp(2_000_000)
	p.SetIntValue(math.MinInt64)
	p.Attributes().PutDouble("d", 0.1)
	e := p.Exemplars().AppendEmpty()
	e.SetDoubleValue(1.0 / 3)
	e.SetTraceID(pcommon.TraceID{1})
	e.SetSpanID(pcommon.SpanID{2})
	e.FilteredAttributes().PutBool("b", true)
	n.AppendEmpty().SetDoubleValue(math.NaN())
	s := add("sum").SetEmptySum()
	s.SetIsMonotonic(true)
	s.SetAggregationTemporality(pmetric.AggregationTemporalityDelta)
	s.DataPoints().AppendEmpty().SetDoubleValue(math.SmallestNonzeroFloat64)
	h := add("histogram").SetEmptyHistogram()
	h.SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
	hp := h.DataPoints().AppendEmpty()
	hp.SetTimestamp(9_000_000)
	hp.SetCount(math.MaxUint64)
	hp.SetSum(math.MaxFloat64)
	hp.SetMin(0)
	hp.BucketCounts().FromRaw([]uint64{1, 0, math.MaxUint64})
	hp.ExplicitBounds().FromRaw([]float64{0.1, 1e300})
	hp.Exemplars().AppendEmpty().SetIntValue(5)
	xp := add("exponential").SetEmptyExponentialHistogram().DataPoints().AppendEmpty()
	xp.SetScale(-3)
	xp.SetZeroCount(2)
	xp.SetZeroThreshold(1e-9)
	xp.Positive().SetOffset(-4)
	xp.Positive().BucketCounts().FromRaw([]uint64{7})
	xp.Negative().BucketCounts().FromRaw([]uint64{8})
	sp := add("summary").SetEmptySummary().DataPoints().AppendEmpty()
	sp.SetCount(3)
	q := sp.QuantileValues().AppendEmpty()
	q.SetQuantile(0.99)
	q.SetValue(math.Inf(1))
	add("empty")
	return md
}

func TestMetrics(t *testing.T) {
	md := everyMetric()
	got := only(t, testMapper().Metrics(md))
	if got.Kind != "metric" || got.Run != "" || !got.ContentKey || got.Said == nil || len(got.Said) != 0 {
		t.Errorf("%+v", got)
	}
	wantFacts(t, got.Pub, map[string]string{
		"names": `["gauge","sum","histogram","exponential","summary","empty"]`, "from": `"1970-01-01T00:00:00.001000Z"`,
		"until": `"1970-01-01T00:00:00.009000Z"`, "point_count": "6", "service_name": `"shop"`, "system_id": `"shop"`,
		"source_component": `"shop"`, "source_domain": `"SYSTEM"`,
	})
	if !comesBack(t, md, got) {
		t.Errorf("points lost something: %s", got.Sealed["/points"])
	}
}

// What a resource says of all that it sends is said of its metrics, too.
func TestMetricsOfAScenario(t *testing.T) {
	md := everyMetric()
	attrs := md.ResourceMetrics().At(0).Resource().Attributes()
	attrs.PutBool("runledger.synthetic", true)
	attrs.PutStr("runledger.scenario_id", "s-1")
	attrs.PutStr("runledger.correlation_id", "c-1")
	got := only(t, testMapper().Metrics(md))
	wantFacts(t, got.Pub, map[string]string{"is_synthetic": "true", "synthetic_scenario_id": `"s-1"`, "correlation_id": `"c-1"`})
	if !comesBack(t, md, got) {
		t.Errorf("the resource lost something: %s", got.Sealed["/resource"])
	}
	attrs.Remove("runledger.synthetic")
	if got := only(t, testMapper().Metrics(md)); got.Pub["is_synthetic"] != "true" {
		t.Error("a scenario does not imply that it is synthetic")
	}
	if got := only(t, testMapper().Metrics(everyMetric())); got.Pub["is_synthetic"] != "false" {
		t.Error("metrics are synthetic that do not say so")
	}
}

// comesBack puts /resource and /points together again and compares.
func comesBack(t *testing.T, md pmetric.Metrics, r shown) bool {
	t.Helper()
	var j pmetric.JSONUnmarshaler
	var p pmetric.ProtoMarshaler
	resource, err := j.UnmarshalMetrics([]byte(r.Sealed["/resource"]))
	if err != nil {
		t.Fatal(err)
	}
	points, err := j.UnmarshalMetrics([]byte(r.Sealed["/points"]))
	if err != nil {
		t.Fatal(err)
	}
	resource.ResourceMetrics().At(0).Resource().CopyTo(points.ResourceMetrics().At(0).Resource())
	a, b := must(p.MarshalMetrics(md)), must(p.MarshalMetrics(points))
	return bytes.Equal(a, b) && string(a) == r.Content
}

func TestCapturesMetricsComeBack(t *testing.T) {
	for _, c := range captures(t, "metrics") {
		md := must(DecodeMetrics(c.body, c.enc))
		if md.ResourceMetrics().Len() != 1 {
			t.Fatalf("%s: %d resources", c.name, md.ResourceMetrics().Len())
		}
		if got := only(t, testMapper().Metrics(md)); !comesBack(t, md, got) {
			t.Errorf("%s: something is lost", c.name)
		}
	}
}

// Over 64 metrics are several records, with their scopes.
func TestMetricsSplit(t *testing.T) {
	md := pmetric.NewMetrics()
	for range 2 {
		rm := md.ResourceMetrics().AppendEmpty()
		for s := range 3 {
			sm := rm.ScopeMetrics().AppendEmpty()
			sm.Scope().SetName(fmt.Sprint("scope ", s))
			for i := range 50 * s {
				m := sm.Metrics().AppendEmpty()
				m.SetName(strings.Repeat("n", evidence.MaxName-5) + fmt.Sprint("-", s, "-", i))
				m.SetEmptyGauge().DataPoints().AppendEmpty().SetIntValue(int64(i))
			}
		}
	}
	b := testMapper().Metrics(md)
	if len(b.Items) != 6 || b.Rejected != 0 {
		t.Fatalf("%d records, %d rejected, %q", len(b.Items), b.Rejected, b.Errors)
	}
	total := int64(0)
	for i, it := range b.Items {
		names, _ := it.Record.Fact("names")
		points, _ := it.Record.Fact("point_count")
		if len(names.List) > 64 || int64(len(names.List)) != points.Int {
			t.Errorf("record %d: %d names, %d points", i, len(names.List), points.Int)
		}
		total += points.Int
		if it.Record.ContentOrdinal != i/3 { // the second resource says the same
			t.Errorf("record %d has ordinal %d", i, it.Record.ContentOrdinal)
		}
		leafSize(t, it.Record)
		if p := string(it.Record.SealedJSON("/points")); i%3 == 0 && (!strings.Contains(p, `"scope 1"`) || !strings.Contains(p, `"scope 2"`)) {
			t.Errorf("record %d lost a scope", i)
		}
	}
	if total != 300 {
		t.Errorf("%d points", total)
	}
}

func TestMetricsOdd(t *testing.T) {
	if b := testMapper().Metrics(pmetric.NewMetrics()); len(b.Items) != 0 {
		t.Error("a record of nothing")
	}
	raw := pmetric.NewMetrics()
	m := raw.ResourceMetrics().AppendEmpty().ScopeMetrics().AppendEmpty().Metrics().AppendEmpty()
	m.SetName("\xff")
	m.SetEmptyGauge().DataPoints().AppendEmpty().Attributes().PutStr("k", "\xfe")
	got := only(t, testMapper().Metrics(raw))
	if got.Sealed["/names"] != `["`+"\uFFFD"+`"]` || got.Pub["source_component"] != `"otlp"` {
		t.Errorf("names %s", got.Sealed["/names"])
	}
	deep := pmetric.NewMetrics()
	points := deep.ResourceMetrics().AppendEmpty().ScopeMetrics().AppendEmpty().Metrics().AppendEmpty().SetEmptyGauge().DataPoints()
	points.AppendEmpty()
	v := points.AppendEmpty().Attributes().PutEmpty("k")
	for range 30 {
		v = v.SetEmptyMap().PutEmpty("k")
	}
	if b := testMapper().Metrics(deep); b.Rejected != 2 || len(b.Items) != 0 || !strings.Contains(b.Errors[0], "points") {
		t.Errorf("%d rejected, %q", b.Rejected, b.Errors)
	}
}
