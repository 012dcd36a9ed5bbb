package otlp

import (
	"strings"
	"testing"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
)

// name has each metric of md get a point more that names a person.
func name(md pmetric.Metrics, key, person string) {
	for _, m := range md.ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().All() {
		var a pcommon.Map
		switch m.Type() {
		case pmetric.MetricTypeGauge:
			a = m.Gauge().DataPoints().AppendEmpty().Attributes()
		case pmetric.MetricTypeSum:
			a = m.Sum().DataPoints().AppendEmpty().Attributes()
		case pmetric.MetricTypeHistogram:
			a = m.Histogram().DataPoints().AppendEmpty().Attributes()
		case pmetric.MetricTypeExponentialHistogram:
			a = m.ExponentialHistogram().DataPoints().AppendEmpty().Attributes()
		case pmetric.MetricTypeSummary:
			a = m.Summary().DataPoints().AppendEmpty().Attributes()
		default:
			continue
		}
		a.PutStr(key, person)
		a.PutStr("of", "the point of "+person)
	}
}

// TestMetricPersons: data points that name a person are in a record about that person, and nothing else is.
func TestMetricPersons(t *testing.T) {
	t.Parallel()
	md := everyMetric()
	name(md, "user.id", "mia@example.com")
	name(md, "user.email", "noa@example.com")
	m := md.ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().AppendEmpty()
	m.SetName("no points")
	m.SetEmptyGauge()
	all := everyMetric()
	m.CopyTo(all.ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().AppendEmpty())
	plain := only(t, testMapper().Metrics(all))
	b := testMapper().Metrics(md)
	if len(b.Items) != 3 || b.Rejected != 0 {
		t.Fatalf("%d items, %d rejected, %q", len(b.Items), b.Rejected, b.Errors)
	}
	byPerson := map[string]shown{}
	for i := range b.Items {
		s := show(b.Items[i].Record)
		byPerson[s.Sealed["/subject"]] = s
	}
	if got := byPerson[""].Sealed["/points"]; got != plain.Sealed["/points"] {
		t.Errorf("what names nobody: %s\nwant %s", got, plain.Sealed["/points"])
	}
	const metrics = 5 // with points
	for person, other := range map[string]string{"mia@example.com": "noa", "noa@example.com": "mia"} {
		s := byPerson[`"`+person+`"`]
		points := s.Sealed["/points"]
		if strings.Contains(points, other) || strings.Count(points, "the point of "+person) != metrics || s.Pub["point_count"] != "5" ||
			!strings.Contains(points, `"isMonotonic":true`) || strings.Count(points, `"description":"what it is"`) != metrics || s.Sealed["/resource"] != plain.Sealed["/resource"] {
			t.Errorf("%s: %+v", person, s)
		}
	}
	// Whom the resource, or a scope, names is in no record about somebody else.
	md = everyMetric()
	md.ResourceMetrics().At(0).Resource().Attributes().PutInt("user.id", 4711)
	scope := md.ResourceMetrics().At(0).ScopeMetrics().AppendEmpty()
	scope.Scope().Attributes().PutStr("user.id", "zoe@example.com")
	scope.Metrics().AppendEmpty().SetEmptyGauge().DataPoints().AppendEmpty()
	name(md, "user.id", "mia@example.com")
	for i, it := range testMapper().Metrics(md).Items {
		s, all := show(it.Record), 0
		for _, person := range []string{"4711", "mia@example.com", "zoe@example.com"} {
			if strings.Contains(s.Sealed["/resource"]+s.Sealed["/points"], person) {
				all++
				if s.Sealed["/subject"] != `"`+person+`"` {
					t.Errorf("record %d about %s names %s", i, s.Sealed["/subject"], person)
				}
			}
		}
		if all != 1 {
			t.Errorf("record %d names %d persons", i, all)
		}
	}
	// One person alone, by a point or by the resource: nothing is taken apart.
	md = everyMetric()
	md.ResourceMetrics().At(0).Resource().Attributes().PutStr("enduser.id", "mia@example.com")
	name(md, "user.id", "mia@example.com")
	if s := only(t, testMapper().Metrics(md)); s.Sealed["/subject"] != `"mia@example.com"` || s.Pub["point_count"] != "11" {
		t.Errorf("%+v", s)
	}
}

// TestMetricPersonsBomb: that each of many points names another person makes no more of a request than it may have.
func TestMetricPersonsBomb(t *testing.T) {
	t.Parallel()
	md := pmetric.NewMetrics()
	m := md.ResourceMetrics().AppendEmpty().ScopeMetrics().AppendEmpty().Metrics().AppendEmpty()
	m.SetDescription(strings.Repeat("x", 100_000))
	points := m.SetEmptyGauge().DataPoints()
	const n = 20_000
	for i := range n {
		points.AppendEmpty().Attributes().PutStr("user.id", strings.Repeat("p", i%50)+string(rune('a'+i%26))+strings.Repeat("q", i/1300))
	}
	b := testMapper().Metrics(md)
	if b.Rejected == 0 || b.Rejected >= n || len(b.Errors) == 0 || !strings.Contains(b.Errors[len(b.Errors)-1], "so many persons") {
		t.Errorf("%d of %d rejected, %.200q", b.Rejected, n, b.Errors)
	}
}
