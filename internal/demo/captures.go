package demo

import (
	"embed"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
)

// Directories are SDKs with their versions, files are requests in their order:
// SCENARIO[.NN].SIGNAL.pb.
//
//go:embed captures
var captured embed.FS

// signals of OTLP, and what is at the end of their path.
const (
	signalTraces  = "traces"
	signalLogs    = "logs"
	signalMetrics = "metrics"
)

// Capture is an OTLP request that an SDK once made.
type Capture struct {
	SDK    string // with its version
	Name   string // of the file
	Signal string // traces, logs, metrics: /v1/SIGNAL takes it
	Body   []byte // protobuf
}

// Captures returns the captures, those of one run one after the other.
func Captures() ([]Capture, error) {
	var list []Capture
	err := fs.WalkDir(captured, "captures", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		parts := strings.Split(path, "/")
		c := Capture{SDK: parts[1], Name: parts[2]}
		names := strings.Split(c.Name, ".")
		c.Signal = names[len(names)-2]
		c.Body, err = captured.ReadFile(path)
		list = append(list, c)
		return err
	})
	return list, err
}

// request is a decoded capture.
type request struct {
	spans   ptraceotlp.ExportRequest
	logs    plogotlp.ExportRequest
	metrics pmetricotlp.ExportRequest
	signal  string
}

func decode(c *Capture) (*request, error) {
	r := &request{signal: c.Signal}
	var err error
	switch c.Signal {
	case signalTraces:
		r.spans = ptraceotlp.NewExportRequest()
		err = r.spans.UnmarshalProto(c.Body)
	case signalLogs:
		r.logs = plogotlp.NewExportRequest()
		err = r.logs.UnmarshalProto(c.Body)
	case signalMetrics:
		r.metrics = pmetricotlp.NewExportRequest()
		err = r.metrics.UnmarshalProto(c.Body)
	default:
		err = fmt.Errorf("%q is no signal", c.Signal)
	}
	if err != nil {
		return nil, fmt.Errorf("capture %s/%s: %w", c.SDK, c.Name, err)
	}
	return r, nil
}

func (r *request) encode() ([]byte, error) {
	switch r.signal {
	case signalTraces:
		return r.spans.MarshalProto()
	case signalLogs:
		return r.logs.MarshalProto()
	}
	return r.metrics.MarshalProto()
}

// times calls f for every time of the request. Zero stands for none, and f does
// not see it.
func (r *request) times(f func(get pcommon.Timestamp, set func(pcommon.Timestamp))) {
	visit := func(get pcommon.Timestamp, set func(pcommon.Timestamp)) {
		if get != 0 {
			f(get, set)
		}
	}
	switch r.signal {
	case signalTraces:
		r.spanTimes(visit)
	case signalLogs:
		for _, rl := range r.logs.Logs().ResourceLogs().All() {
			for _, sl := range rl.ScopeLogs().All() {
				for _, l := range sl.LogRecords().All() {
					visit(l.Timestamp(), l.SetTimestamp)
					visit(l.ObservedTimestamp(), l.SetObservedTimestamp)
				}
			}
		}
	default:
		r.pointTimes(visit)
	}
}

func (r *request) spanTimes(visit func(pcommon.Timestamp, func(pcommon.Timestamp))) {
	for _, rs := range r.spans.Traces().ResourceSpans().All() {
		for _, ss := range rs.ScopeSpans().All() {
			for _, s := range ss.Spans().All() {
				visit(s.StartTimestamp(), s.SetStartTimestamp)
				visit(s.EndTimestamp(), s.SetEndTimestamp)
				for _, e := range s.Events().All() {
					visit(e.Timestamp(), e.SetTimestamp)
				}
			}
		}
	}
}

func (r *request) pointTimes(visit func(pcommon.Timestamp, func(pcommon.Timestamp))) {
	for _, rm := range r.metrics.Metrics().ResourceMetrics().All() {
		for _, sm := range rm.ScopeMetrics().All() {
			for _, m := range sm.Metrics().All() {
				for _, p := range points(m) {
					visit(p.StartTimestamp(), p.SetStartTimestamp)
					visit(p.Timestamp(), p.SetTimestamp)
				}
			}
		}
	}
}

// point is what the points of all types of metrics have.
type point interface {
	StartTimestamp() pcommon.Timestamp
	SetStartTimestamp(pcommon.Timestamp)
	Timestamp() pcommon.Timestamp
	SetTimestamp(pcommon.Timestamp)
}

// points returns the points of a metric. The captures have gauges, sums and
// histograms, and no exemplars, which a test holds them to.
func points(m pmetric.Metric) []point {
	var list []point
	switch m.Type() {
	case pmetric.MetricTypeGauge:
		for _, p := range m.Gauge().DataPoints().All() {
			list = append(list, p)
		}
	case pmetric.MetricTypeSum:
		for _, p := range m.Sum().DataPoints().All() {
			list = append(list, p)
		}
	case pmetric.MetricTypeHistogram:
		for _, p := range m.Histogram().DataPoints().All() {
			list = append(list, p)
		}
	}
	return list
}

// Shift moves all times of the captures by as much, so that the newest is last.
func Shift(list []Capture, last time.Time) ([]Capture, error) {
	requests := make([]*request, len(list))
	newest := pcommon.Timestamp(0)
	for i := range list {
		var err error
		if requests[i], err = decode(&list[i]); err != nil {
			return nil, err
		}
		requests[i].times(func(t pcommon.Timestamp, _ func(pcommon.Timestamp)) { newest = max(newest, t) })
	}
	by := last.UnixNano() - int64(newest) //nolint:gosec // a time of the captures
	out := slices.Clone(list)
	for i, r := range requests {
		r.times(func(t pcommon.Timestamp, set func(pcommon.Timestamp)) {
			set(pcommon.Timestamp(int64(t) + by)) //nolint:gosec // the same
		})
		var err error
		if out[i].Body, err = r.encode(); err != nil {
			return nil, fmt.Errorf("capture %s/%s: %w", out[i].SDK, out[i].Name, err)
		}
	}
	return out, nil
}

// runIDs returns the runs that the captures are of: their trace ids.
func runIDs(list []Capture) ([]string, error) {
	var ids []string
	for i := range list {
		if list[i].Signal != signalTraces {
			continue
		}
		r, err := decode(&list[i])
		if err != nil {
			return nil, err
		}
		for _, rs := range r.spans.Traces().ResourceSpans().All() {
			for _, ss := range rs.ScopeSpans().All() {
				for _, s := range ss.Spans().All() {
					if id := s.TraceID().String(); !slices.Contains(ids, id) {
						ids = append(ids, id)
					}
				}
			}
		}
	}
	return ids, nil
}
