package ingest

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are those of ingest. Labels have few values: signals and transports
// are fixed, codes are HTTP statuses or numbers of gRPC codes.
type metrics struct {
	requests *prometheus.CounterVec   // by signal, transport, code
	seconds  *prometheus.HistogramVec // by signal, transport
	items    *prometheus.CounterVec   // by signal, result
	bytes    *prometheus.CounterVec   // by signal
	inFlight prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "runledger_ingest_requests_total", Help: "Requests, by signal (traces, logs, metrics, records, receipts), transport and status.",
		}, []string{"signal", "transport", "code"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "runledger_ingest_request_seconds", Help: "Duration of a request, durable write included.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 16),
		}, []string{"signal", "transport"}),
		items: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "runledger_ingest_items_total", Help: "Spans, log records, data points and native records, by result (accepted, rejected).",
		}, []string{"signal", "result"}),
		bytes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "runledger_ingest_bytes_total", Help: "Bytes of bodies, decompressed.",
		}, []string{"signal"}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "runledger_ingest_in_flight_bytes", Help: "Bytes of bodies that requests hold.",
		}),
	}
	if reg != nil {
		reg.MustRegister(m.requests, m.seconds, m.items, m.bytes, m.inFlight)
	}
	return m
}

func (m *metrics) request(signal, transport, code string, start time.Time) {
	m.requests.WithLabelValues(signal, transport, code).Inc()
	m.seconds.WithLabelValues(signal, transport).Observe(time.Since(start).Seconds())
}
