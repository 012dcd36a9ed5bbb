package facade

import (
	"encoding/json"
	"fmt"
	"math"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/runledger/runledger/answer"
	"github.com/runledger/runledger/evidence"
)

// seriesOf returns what a metric record measured between two moments, both
// included: a series for each metric and set of attributes that has a point there.
// A reader who may not see the points, or one of a record whose points are erased,
// gets a series for each name, withheld.
func seriesOf(r record, from, until evidence.Micros) ([]answer.Series, error) {
	points := r.content("/points")
	if points.Value == nil {
		return withheldSeries(r, points.Withheld), nil
	}
	var j pmetric.JSONUnmarshaler
	md, err := j.UnmarshalMetrics(points.Value)
	if err != nil {
		// A native record may have points in a form of its own.
		return withheldSeries(r, nil), nil
	}
	resource := map[string]any{}
	if text := r.content("/resource").Value; text != nil {
		if rm, err := j.UnmarshalMetrics(text); err == nil && rm.ResourceMetrics().Len() > 0 {
			putAttributes(resource, rm.ResourceMetrics().At(0).Resource().Attributes())
		}
	}
	s := seriesMaker{leaf: r.Leaf.Seq, from: from, until: until, resource: resource}
	for _, rm := range md.ResourceMetrics().All() {
		for _, sm := range rm.ScopeMetrics().All() {
			for _, m := range sm.Metrics().All() {
				if err := s.metric(sm.Scope().Name(), m); err != nil {
					return nil, err
				}
			}
		}
	}
	return s.out, nil
}

// withheldSeries names what is not shown.
func withheldSeries(r record, why *answer.Withheld) []answer.Series {
	names := r.list("names")
	out := make([]answer.Series, len(names))
	for i, name := range names {
		attributes := map[string]any{}
		if service := r.text("service_name"); service != "" {
			attributes[serviceName] = service
		}
		out[i] = answer.Series{
			Name: name, Attributes: attributes, Points: []answer.Point{}, LeafIndex: r.Leaf.Seq, Withheld: why,
		}
	}
	return out
}

const (
	serviceName = "service.name"
	scopeName   = "scope.name" // as in /attrs of other records
)

// seriesMaker collects the series of one record.
type seriesMaker struct {
	leaf        int64
	from, until evidence.Micros
	resource    map[string]any
	out         []answer.Series
}

// measured is a point with the time it is about: a gauge's moment, or the
// interval that a sum or distribution covers.
type measured struct {
	since, at  pcommon.Timestamp
	attributes pcommon.Map
	point      answer.Point
}

func (s *seriesMaker) metric(scope string, m pmetric.Metric) error {
	kind, points := pointsOf(m)
	places := map[string]int{} // of a set of attributes in out
	for _, p := range points {
		at := evidence.Micros(p.at / 1000)
		since := at
		if p.since != 0 {
			since = min(at, evidence.Micros(p.since/1000))
		}
		if at < s.from || since > s.until {
			continue
		}
		attributes := map[string]any{}
		putAttributes(attributes, p.attributes)
		key, err := json.Marshal(attributes)
		if err != nil {
			return fmt.Errorf("attributes of metric %s: %w", m.Name(), err)
		}
		place, ok := places[string(key)]
		if !ok {
			place = len(s.out)
			places[string(key)] = place
			s.out = append(s.out, answer.Series{
				Name: m.Name(), Unit: m.Unit(), Type: kind, Attributes: s.withResource(scope, attributes), LeafIndex: s.leaf,
			})
		}
		p.point.Timestamp = at
		s.out[place].Points = append(s.out[place].Points, p.point)
	}
	return nil
}

// withResource adds to the attributes of points those of the resource and the
// name of the scope. Where a point has an attribute of that name, the resource's
// stands under "resource.".
func (s *seriesMaker) withResource(scope string, attributes map[string]any) map[string]any {
	out := map[string]any{}
	for k, v := range s.resource {
		if _, taken := attributes[k]; taken {
			k = "resource." + k
		}
		out[k] = v
	}
	if scope != "" {
		out[scopeName] = scope
	}
	for k, v := range attributes {
		out[k] = v
	}
	return out
}

// pointsOf returns the type of a metric, as answers name it, and its points. A
// type that is not known has none.
func pointsOf(m pmetric.Metric) (kind string, points []measured) {
	switch m.Type() {
	case pmetric.MetricTypeGauge:
		// What a start means for a gauge is not defined: its value is of its moment.
		points = numbers(m.Gauge().DataPoints())
		for i := range points {
			points[i].since = 0
		}
		return "gauge", points
	case pmetric.MetricTypeSum:
		return "sum", numbers(m.Sum().DataPoints())
	case pmetric.MetricTypeHistogram:
		for _, p := range m.Histogram().DataPoints().All() {
			points = append(points, distribution(p, p.HasSum(), p.Sum(), p.Count()))
		}
		return "histogram", points
	case pmetric.MetricTypeExponentialHistogram:
		for _, p := range m.ExponentialHistogram().DataPoints().All() {
			points = append(points, distribution(p, p.HasSum(), p.Sum(), p.Count()))
		}
		return "exponential_histogram", points
	case pmetric.MetricTypeSummary:
		for _, p := range m.Summary().DataPoints().All() {
			points = append(points, distribution(p, true, p.Sum(), p.Count()))
		}
		return "summary", points
	}
	return "", nil
}

func numbers(list pmetric.NumberDataPointSlice) (points []measured) {
	for _, p := range list.All() {
		q := measured{since: p.StartTimestamp(), at: p.Timestamp(), attributes: p.Attributes()}
		switch {
		case p.Flags().NoRecordedValue():
		case p.ValueType() == pmetric.NumberDataPointValueTypeInt:
			v := float64(p.IntValue())
			q.point.Value = &v
		case p.ValueType() == pmetric.NumberDataPointValueTypeDouble:
			q.point.Value = finite(p.DoubleValue())
		}
		points = append(points, q)
	}
	return points
}

type distributed interface {
	StartTimestamp() pcommon.Timestamp
	Timestamp() pcommon.Timestamp
	Attributes() pcommon.Map
	Flags() pmetric.DataPointFlags
}

func distribution(p distributed, hasSum bool, sum float64, count uint64) measured {
	q := measured{since: p.StartTimestamp(), at: p.Timestamp(), attributes: p.Attributes()}
	if p.Flags().NoRecordedValue() {
		return q
	}
	n := int64(min(count, math.MaxInt64))
	q.point.Count = &n
	if hasSum {
		q.point.Sum = finite(sum)
	}
	return q
}

// finite returns nil for what JSON has no number for.
func finite(v float64) *float64 {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return nil
	}
	return &v
}

// putAttributes writes attributes as JSON values; of several of a name the last
// counts.
func putAttributes(to map[string]any, from pcommon.Map) {
	for k, v := range from.All() {
		to[k] = plain(v.AsRaw())
	}
}

// plain makes what JSON has no number for a text, as OTLP/JSON does.
func plain(v any) any {
	switch v := v.(type) {
	case float64:
		switch {
		case math.IsNaN(v):
			return "NaN"
		case math.IsInf(v, 1):
			return "Infinity"
		case math.IsInf(v, -1):
			return "-Infinity"
		}
	case []any:
		for i := range v {
			v[i] = plain(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = plain(v[k])
		}
	}
	return v
}
