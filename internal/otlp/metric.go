package otlp

import (
	"bytes"
	"errors"
	"slices"
	"strconv"
	"unicode/utf8"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/dialect"
)

// maxMetrics is how many metrics a record holds (fields.md).
const maxMetrics = 64

// Metrics maps metrics: a record for each resource, person that its data points name, and at most 64 of its
// metrics. /resource and /points are OTLP/JSON requests, one with the
// resource alone and one with all but the resource, as pmetric reads them.
func (m *Mapper) Metrics(md pmetric.Metrics) *Batch {
	q := newRequest(m, md.ResourceMetrics().Len())
	for _, rm := range md.ResourceMetrics().All() {
		q.byPerson(rm)
	}
	return q.batch
}

// split copies the metrics of a resource into parts of at most 64, each a
// request of one resource. Scopes without metrics are left out. All of it is about a person; "": about none.
func (q *request) split(rm pmetric.ResourceMetrics, person string) {
	part := pmetric.NewMetrics()
	to := part.ResourceMetrics().AppendEmpty()
	rm.Resource().CopyTo(to.Resource())
	shared := (&pmetric.ProtoMarshaler{}).MetricsSize(part) // in each part
	n, over := 0, 0
	for _, sm := range rm.ScopeMetrics().All() {
		var scope pmetric.ScopeMetrics
		for i, metric := range sm.Metrics().All() {
			if n == 0 && over == 0 && q.spend(recordSize+shared) != "" {
				over = 1
			}
			if over > 0 {
				over += points(metric)
				continue
			}
			if i == 0 || n == 0 {
				scope = to.ScopeMetrics().AppendEmpty()
				sm.Scope().CopyTo(scope.Scope())
				scope.SetSchemaUrl(sm.SchemaUrl())
			}
			metric.CopyTo(scope.Metrics().AppendEmpty())
			if n++; n == maxMetrics {
				to.SetSchemaUrl(rm.SchemaUrl())
				q.metrics(part, person)
				part, n = pmetric.NewMetrics(), 0
				to = part.ResourceMetrics().AppendEmpty()
				rm.Resource().CopyTo(to.Resource())
			}
		}
	}
	if n > 0 {
		to.SetSchemaUrl(rm.SchemaUrl())
		q.metrics(part, person)
	}
	if over > 0 {
		q.batch.reject(over-1, strconv.Itoa(over-1)+" data points: "+q.spend(recordSize+shared))
	}
}

func points(m pmetric.Metric) int {
	n := 0
	eachPoint(m, func(_, _ pcommon.Timestamp) { n++ })
	return n
}

// metrics appends the record of one part.
func (q *request) metrics(part pmetric.Metrics, person string) {
	count := part.DataPointCount()
	rec, content, err := metricRecord(part)
	if err == nil && person != "" {
		rec.SetSealed("/subject", appendQuoted(nil, person))
	}
	if err == nil {
		q.content(rec, content)
		err = complete(rec)
	}
	if err == nil {
		var size int
		for _, v := range rec.Sealed {
			size += len(v.JSON)
		}
		if fault := q.spend(size); fault != "" {
			err = errors.New(fault)
		}
	}
	if err != nil {
		q.batch.reject(count, strconv.Itoa(count)+" data points: "+err.Error())
		return
	}
	q.add(rec, dialect.Hints{})
}

func metricRecord(part pmetric.Metrics) (*evidence.Record, []byte, error) {
	var p pmetric.ProtoMarshaler
	content, err := p.MarshalMetrics(part)
	if err != nil {
		return nil, nil, err
	}
	rm := part.ResourceMetrics().At(0)
	sum := summarize(rm)
	name, said := service(rm.Resource()), dialect.ResourceHints(rm.Resource())
	resource, points, err := metricJSON(part)
	if err != nil {
		return nil, nil, err
	}
	r := &evidence.Record{Kind: evidence.KindMetric, OccurredAt: sum.from, Said: saidNothing}
	r.SetText("source_domain", "SYSTEM")
	r.SetText("source_component", firstText(name, sum.scope, "otlp"))
	r.SetText("system_id", name)
	r.SetText("service_name", name)
	r.SetText("correlation_id", said.CorrelationID)
	r.SetText("synthetic_scenario_id", said.ScenarioID)
	r.SetBool("is_synthetic", said.Synthetic)
	r.SetNames("names", sum.names)
	r.SetInt("from", int64(sum.from))
	r.SetInt("until", int64(sum.until))
	r.SetInt("point_count", int64(part.DataPointCount()))
	r.SetSealed("/resource", resource)
	r.SetSealed("/points", points)
	return r, content, nil
}

// metricJSON writes /resource and /points. It takes part apart.
func metricJSON(part pmetric.Metrics) (resource, points []byte, err error) {
	alone := pmetric.NewMetrics()
	rm := part.ResourceMetrics().At(0)
	to := alone.ResourceMetrics().AppendEmpty()
	rm.Resource().MoveTo(to.Resource())
	to.SetSchemaUrl(rm.SchemaUrl())
	if resource, err = marshalMetrics(alone); err != nil {
		return nil, nil, err
	}
	points, err = marshalMetrics(part)
	return resource, points, err
}

func marshalMetrics(md pmetric.Metrics) ([]byte, error) {
	var j pmetric.JSONMarshaler
	text, err := j.MarshalMetrics(md)
	if err != nil || utf8.Valid(text) {
		return text, err
	}
	// pdata writes strings as they are. The record's content still has them.
	return bytes.ToValidUTF8(text, []byte("\uFFFD")), nil
}

// summary is what the public fields say of a part.
type summary struct {
	names       []string // each once
	scope       string   // the first
	from, until evidence.Micros
}

func summarize(rm pmetric.ResourceMetrics) summary {
	var s summary
	var first, last pcommon.Timestamp
	see := func(start, t pcommon.Timestamp) {
		for _, x := range []pcommon.Timestamp{start, t} {
			if x != 0 && (first == 0 || x < first) {
				first = x
			}
			last = max(last, x)
		}
	}
	for _, sm := range rm.ScopeMetrics().All() {
		s.scope = firstText(s.scope, sm.Scope().Name())
		for _, m := range sm.Metrics().All() {
			if n := firstText(m.Name(), "unnamed"); !slices.Contains(s.names, n) {
				s.names = append(s.names, n)
			}
			eachPoint(m, see)
		}
	}
	s.from, s.until = micros(first), micros(last)
	return s
}

func eachPoint(m pmetric.Metric, see func(start, t pcommon.Timestamp)) {
	switch m.Type() {
	case pmetric.MetricTypeGauge:
		times(m.Gauge().DataPoints().All(), see)
	case pmetric.MetricTypeSum:
		times(m.Sum().DataPoints().All(), see)
	case pmetric.MetricTypeHistogram:
		times(m.Histogram().DataPoints().All(), see)
	case pmetric.MetricTypeExponentialHistogram:
		times(m.ExponentialHistogram().DataPoints().All(), see)
	case pmetric.MetricTypeSummary:
		times(m.Summary().DataPoints().All(), see)
	}
}

type point interface {
	StartTimestamp() pcommon.Timestamp
	Timestamp() pcommon.Timestamp
}

func times[P point](points func(func(int, P) bool), see func(start, t pcommon.Timestamp)) {
	for _, p := range points {
		see(p.StartTimestamp(), p.Timestamp())
	}
}
