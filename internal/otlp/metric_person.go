package otlp

import (
	"strconv"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
)

// personKeys are the attributes by which metrics name a person: coding agents put them on every data point.
var personKeys = []string{"runledger.subject", "runledger.user_id", "user.id", "enduser.id", "user.email"}

// personOf returns the person that attributes name, or "".
func personOf(attrs pcommon.Map) string {
	for _, key := range personKeys {
		if v, ok := attrs.Get(key); ok && (v.Type() == pcommon.ValueTypeStr && v.Str() != "" || v.Type() == pcommon.ValueTypeInt) {
			return v.AsString()
		}
	}
	return ""
}

// byPerson gives the metrics of a resource to split: as they are where they name nobody, else a part for each person, so that
// what names one stands under that person's key and goes with them (ADR 012).
func (q *request) byPerson(rm pmetric.ResourceMetrics) {
	owner := personOf(rm.Resource().Attributes())
	several := false
	for _, sm := range rm.ScopeMetrics().All() {
		if p := personOf(sm.Scope().Attributes()); p != "" && p != owner {
			several = true
		}
	}
	eachAttributes(rm, func(a pcommon.Map) {
		if p := personOf(a); p != "" && p != owner {
			several = true
		}
	})
	if !several {
		q.split(rm, owner)
		return
	}
	s := &personSplit{q: q, rm: rm, of: owner, parts: map[string]*personPart{}}
	for _, sm := range rm.ScopeMetrics().All() {
		s.scope++
		if s.owner = personOf(sm.Scope().Attributes()); s.owner == "" {
			s.owner = owner
		}
		for _, m := range sm.Metrics().All() {
			s.metric(sm, m)
		}
	}
	for _, person := range s.order {
		q.split(s.parts[person].all.ResourceMetrics().At(0), person)
	}
	if s.lost > 0 {
		q.batch.reject(s.lost, strconv.Itoa(s.lost)+" data points: "+s.fault)
	}
}

// personSplit copies the metrics of one resource into a part for each person.
type personSplit struct {
	q     *request
	rm    pmetric.ResourceMetrics
	of    string // whom the resource names
	owner string // whom points are about that name nobody: the scope's, or of
	scope int    // number of the scope
	parts map[string]*personPart
	order []string
	// copied is what was copied, in bytes, and lost the points that there was no room for.
	copied, lost int
	fault        string
}

type personPart struct {
	all   pmetric.Metrics
	to    pmetric.ScopeMetrics
	scope int // that to is of
}

// metric copies the points of a metric to those whom they name.
func (s *personSplit) metric(sm pmetric.ScopeMetrics, m pmetric.Metric) {
	head := pmetric.NewMetric()
	head.SetName(m.Name())
	head.SetDescription(m.Description())
	head.SetUnit(m.Unit())
	m.Metadata().CopyTo(head.Metadata())
	into := map[string]pmetric.Metric{}
	to := func(attrs pcommon.Map) (pmetric.Metric, bool) {
		person := personOf(attrs)
		if person == "" {
			person = s.owner
		}
		if copied, known := into[person]; known {
			return copied, true
		}
		copied, ok := s.begin(person, sm, head)
		if !ok {
			s.lost++
			return copied, false
		}
		into[person] = copied
		return copied, true
	}
	if points(m) == 0 { // it names nobody
		if c, ok := to(pcommon.NewMap()); ok {
			m.CopyTo(c)
		}
		return
	}
	switch m.Type() {
	case pmetric.MetricTypeGauge:
		for _, p := range m.Gauge().DataPoints().All() {
			if c, ok := to(p.Attributes()); ok {
				if c.Type() == pmetric.MetricTypeEmpty {
					c.SetEmptyGauge()
				}
				p.CopyTo(c.Gauge().DataPoints().AppendEmpty())
			}
		}
	case pmetric.MetricTypeSum:
		for _, p := range m.Sum().DataPoints().All() {
			if c, ok := to(p.Attributes()); ok {
				if c.Type() == pmetric.MetricTypeEmpty {
					sum := c.SetEmptySum()
					sum.SetAggregationTemporality(m.Sum().AggregationTemporality())
					sum.SetIsMonotonic(m.Sum().IsMonotonic())
				}
				p.CopyTo(c.Sum().DataPoints().AppendEmpty())
			}
		}
	case pmetric.MetricTypeHistogram:
		for _, p := range m.Histogram().DataPoints().All() {
			if c, ok := to(p.Attributes()); ok {
				if c.Type() == pmetric.MetricTypeEmpty {
					c.SetEmptyHistogram().SetAggregationTemporality(m.Histogram().AggregationTemporality())
				}
				p.CopyTo(c.Histogram().DataPoints().AppendEmpty())
			}
		}
	case pmetric.MetricTypeExponentialHistogram:
		for _, p := range m.ExponentialHistogram().DataPoints().All() {
			if c, ok := to(p.Attributes()); ok {
				if c.Type() == pmetric.MetricTypeEmpty {
					c.SetEmptyExponentialHistogram().SetAggregationTemporality(m.ExponentialHistogram().AggregationTemporality())
				}
				p.CopyTo(c.ExponentialHistogram().DataPoints().AppendEmpty())
			}
		}
	case pmetric.MetricTypeSummary:
		for _, p := range m.Summary().DataPoints().All() {
			if c, ok := to(p.Attributes()); ok {
				if c.Type() == pmetric.MetricTypeEmpty {
					c.SetEmptySummary()
				}
				p.CopyTo(c.Summary().DataPoints().AppendEmpty())
			}
		}
	}
}

// begin puts the head of a metric into a person's part, with its scope where that is another one. What is copied once
// more for each person is taken from what the request may spend.
func (s *personSplit) begin(person string, sm pmetric.ScopeMetrics, head pmetric.Metric) (to pmetric.Metric, ok bool) {
	part := s.parts[person]
	var sizer pmetric.ProtoMarshaler
	size := 64 + len(head.Name()) + len(head.Description()) + len(head.Unit())
	for _, v := range head.Metadata().All() {
		size += 64 + len(v.AsString())
	}
	if part == nil || part.scope != s.scope {
		scope := pmetric.NewMetrics()
		of := scope.ResourceMetrics().AppendEmpty().ScopeMetrics().AppendEmpty()
		sm.Scope().CopyTo(of.Scope())
		size += sizer.MetricsSize(scope)
	}
	if part == nil {
		alone := pmetric.NewMetrics()
		s.rm.Resource().CopyTo(alone.ResourceMetrics().AppendEmpty().Resource())
		size += sizer.MetricsSize(alone)
	}
	if s.fault != "" {
		return to, false
	}
	if s.copied += size; s.copied > s.q.m.room/4 { // records take as much and more
		s.fault = "they name so many persons that the request is too large; send smaller requests"
	} else {
		s.fault = s.q.spend(size)
	}
	if s.fault != "" {
		return to, false
	}
	if part == nil {
		part = &personPart{all: pmetric.NewMetrics()}
		rm := part.all.ResourceMetrics().AppendEmpty()
		s.rm.Resource().CopyTo(rm.Resource())
		if person != s.of { // whom the resource names is in their own part
			for _, key := range personKeys {
				rm.Resource().Attributes().Remove(key)
			}
		}
		rm.SetSchemaUrl(s.rm.SchemaUrl())
		s.parts[person] = part
		s.order = append(s.order, person)
	}
	if part.scope != s.scope {
		part.to = part.all.ResourceMetrics().At(0).ScopeMetrics().AppendEmpty()
		part.scope = s.scope
		sm.Scope().CopyTo(part.to.Scope())
		part.to.SetSchemaUrl(sm.SchemaUrl())
	}
	to = part.to.Metrics().AppendEmpty()
	head.CopyTo(to)
	return to, true
}

// eachAttributes calls fn for the attributes of all data points of a resource.
func eachAttributes(rm pmetric.ResourceMetrics, fn func(pcommon.Map)) {
	for _, sm := range rm.ScopeMetrics().All() {
		for _, m := range sm.Metrics().All() {
			switch m.Type() {
			case pmetric.MetricTypeGauge:
				attributes(m.Gauge().DataPoints().All(), fn)
			case pmetric.MetricTypeSum:
				attributes(m.Sum().DataPoints().All(), fn)
			case pmetric.MetricTypeHistogram:
				attributes(m.Histogram().DataPoints().All(), fn)
			case pmetric.MetricTypeExponentialHistogram:
				attributes(m.ExponentialHistogram().DataPoints().All(), fn)
			case pmetric.MetricTypeSummary:
				attributes(m.Summary().DataPoints().All(), fn)
			}
		}
	}
}

func attributes[P interface{ Attributes() pcommon.Map }](points func(func(int, P) bool), fn func(pcommon.Map)) {
	for _, p := range points {
		fn(p.Attributes())
	}
}
