package ledger

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

// metrics are the ledger's. No label has more values than this file names.
type metrics struct {
	records    *prometheus.CounterVec // by kind
	commits    *prometheus.CounterVec // by outcome
	seconds    prometheus.Histogram
	batch      prometheus.Histogram
	conflicts  prometheus.Counter
	claims     prometheus.Counter
	anomalies  *prometheus.CounterVec // by code
	verified   prometheus.Counter
	scrubbedAt prometheus.Gauge
	guards     prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer, l *Ledger) *metrics {
	m := &metrics{
		records: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "runledger_records_appended_total", Help: "Records made durable, by kind.",
		}, []string{"kind"}),
		commits: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "runledger_commits_total", Help: "Store transactions, by outcome.",
		}, []string{"outcome"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "runledger_commit_seconds", Help: "Duration of a store transaction, sync included.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 14),
		}),
		batch: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "runledger_commit_records", Help: "Records of a store transaction.",
			Buckets: prometheus.ExponentialBuckets(1, 4, 8),
		}),
		conflicts: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "runledger_conflicts_total", Help: "Records that contradict a stored one.",
		}),
		claims: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "runledger_log_claims_total", Help: "Times a log was claimed, since other processes write it too.",
		}),
		anomalies: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "runledger_integrity_anomalies_total", Help: "Anomalies that verification found, by code.",
		}, []string{"code"}),
		verified: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "runledger_leaves_verified_total", Help: "Leaves that continuous verification has checked.",
		}),
		scrubbedAt: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "runledger_last_scrub_timestamp_seconds", Help: "End of the last full verification.",
		}),
		guards: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "runledger_guards_broken", Help: "Guards of the database that were missing or damaged when they were last looked at.",
		}),
	}
	if reg != nil {
		writable := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "runledger_writable", Help: "1 while appends are taken.",
		}, func() float64 {
			if l.Writable() != nil {
				return 0
			}
			return 1
		})
		waiting := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "runledger_requests_waiting", Help: "Appends that wait for a committer.",
		}, func() float64 { return float64(l.committers.waiting()) })
		reg.MustRegister(m.records, m.commits, m.seconds, m.batch, m.conflicts, m.claims, m.anomalies, m.verified, m.scrubbedAt, m.guards, writable, waiting)
	}
	return m
}

func (m *metrics) commit(took time.Duration, err error) {
	m.seconds.Observe(took.Seconds())
	outcome := "ok"
	switch {
	case err == nil:
	case errors.Is(err, store.ErrDuplicate):
		outcome = "duplicate"
	case errors.Is(err, store.ErrHeadMoved):
		outcome = "head_moved"
	case errors.Is(err, store.ErrKeyGone):
		outcome = "key_gone"
	case errors.Is(err, store.ErrSync):
		outcome = "sync_failed"
	case errors.Is(err, evidence.ErrUnavailable):
		outcome = "unavailable"
	default:
		outcome = "unknown"
	}
	m.commits.WithLabelValues(outcome).Inc()
}

func (m *metrics) appended(p *plan) {
	var n [16]int
	for _, lp := range p.logs {
		for i := range lp.commit.Entries {
			n[lp.commit.Entries[i].Leaf.Kind]++
		}
	}
	for _, k := range evidence.Kinds() {
		if n[k] > 0 {
			m.records.WithLabelValues(k.String()).Add(float64(n[k]))
		}
	}
	m.batch.Observe(float64(p.records))
}
