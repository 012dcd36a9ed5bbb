package stream

import "github.com/prometheus/client_golang/prometheus"

// Reasons of failures.
const (
	reasonUnavailable = "unavailable" // the sink did not answer, or not now
	reasonRefused     = "refused"     // the sink answered that it will not have it
	reasonUnreadable  = "unreadable"  // the record could not be read
)

// metrics are those of all streams and alarms. The label stream has the names of the
// configuration, reason those above.
type metrics struct {
	delivered *prometheus.CounterVec // by stream
	failures  *prometheus.CounterVec // by stream and reason
	blocked   *prometheus.GaugeVec   // by stream
	behind    *prometheus.GaugeVec   // by stream
	waiting   *prometheus.GaugeVec   // by stream
	unsaved   *prometheus.CounterVec // by stream
}

func newMetrics(reg prometheus.Registerer) *metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	gauge := func(name, help string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, []string{"stream"})
	}
	m := &metrics{
		delivered: counter("runledger_stream_events_total", "Events that the sink of a stream or alarm has confirmed.", "stream"),
		failures:  counter("runledger_stream_failures_total", "Attempts that failed, by reason (unavailable, refused, unreadable).", "stream", "reason"),
		blocked:   gauge("runledger_stream_blocked_tenants", "Tenants whose records wait behind one that is refused or cannot be read."),
		behind:    gauge("runledger_stream_behind_leaves", "Leaves of all tenants that a stream has not looked at yet."),
		waiting:   gauge("runledger_stream_waiting_seconds", "How long the sink has taken nothing; 0 while it does."),
		unsaved:   counter("runledger_stream_positions_unsaved_total", "Positions that could not be stored; a crash then delivers again.", "stream"),
	}
	if reg != nil {
		reg.MustRegister(m.delivered, m.failures, m.blocked, m.behind, m.waiting, m.unsaved)
	}
	return m
}

// show makes the values of a stream exist before something happens.
func (m *metrics) show(stream string) {
	m.delivered.WithLabelValues(stream)
	m.unsaved.WithLabelValues(stream)
	for _, reason := range []string{reasonUnavailable, reasonRefused, reasonUnreadable} {
		m.failures.WithLabelValues(stream, reason)
	}
	for _, g := range []*prometheus.GaugeVec{m.blocked, m.behind, m.waiting} {
		g.WithLabelValues(stream).Set(0)
	}
}
