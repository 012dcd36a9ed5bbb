package witness

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// clientMetrics are the client's. Labels are the names of the policy, and outcomes
// that this file names.
type clientMetrics struct {
	requests       *prometheus.CounterVec
	contradictions prometheus.Counter
}

func newClientMetrics(reg prometheus.Registerer, c *Client) *clientMetrics {
	m := &clientMetrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "runledger_witness_requests_total", Help: "Exchanges with witnesses, by witness and outcome.",
		}, []string{"witness", "outcome"}),
		contradictions: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "runledger_witness_contradictions_total", Help: "Times that a witness had seen another tree of a log.",
		}),
	}
	if reg != nil {
		without := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "runledger_logs_without_quorum", Help: "Logs whose newest checkpoint too few witnesses have cosigned.",
		}, func() float64 { return float64(c.withoutQuorum()) })
		reg.MustRegister(m.requests, m.contradictions, without)
	}
	return m
}

func (m *clientMetrics) asked(r *result) {
	outcome := "failed"
	switch {
	case r.seen != nil:
		outcome = "contradicted"
	case errors.Is(r.err, errUnknownLog):
		outcome = "unknown_log"
	case errors.Is(r.err, errRefused):
		outcome = "refused"
	case r.err == nil && r.c.line == nil:
		outcome = "behind"
	case r.err == nil:
		outcome = "cosigned"
	}
	m.requests.WithLabelValues(r.p.name, outcome).Inc()
}
