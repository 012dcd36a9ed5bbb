package postgres

import (
	"errors"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

// metrics are the store's. No label has more values than this file names.
type metrics struct {
	commits  *prometheus.CounterVec // by outcome
	retries  prometheus.Counter
	claims   prometheus.Histogram
	replicas *prometheus.CounterVec // by choice

	registry prometheus.Registerer
	all      []prometheus.Collector // what is registered
}

// Choices of who answers a read that a replica may answer.
const (
	choseReplica = "replica"
	choseBehind  = "behind" // the primary: no replica has come as far
	choseDown    = "down"   // the primary: no replica answers
)

func newMetrics() *metrics {
	return &metrics{
		commits: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "runledger_postgres_commits_total", Help: "Commits to the database, by outcome.",
		}, []string{"outcome"}),
		retries: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "runledger_postgres_retries_total", Help: "Transactions run again because they lost against another one.",
		}),
		claims: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "runledger_postgres_claim_seconds", Help: "How long claims of a log waited for other writers.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 4, 8),
		}),
		replicas: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "runledger_postgres_replica_choices_total", Help: "Who was chosen to answer reads that a replica may answer.",
		}, []string{"choice"}),
	}
}

// watch registers the metrics, and those of the pools.
func (m *metrics) watch(db *DB) error {
	if m.registry = db.cfg.Metrics; m.registry == nil {
		return nil
	}
	pools := poolMetrics{"read": {db.readers}, "replica": db.replicas.pools()}
	if db.writers != nil {
		pools["write"] = []*pool{db.writers}
	}
	for _, c := range []prometheus.Collector{m.commits, m.retries, m.claims, m.replicas, pools} {
		if err := m.registry.Register(c); err != nil {
			return err
		}
		m.all = append(m.all, c)
	}
	return nil
}

// unwatch takes back what watch did, so that the store can be opened again.
func (m *metrics) unwatch() {
	for _, c := range m.all {
		m.registry.Unregister(c)
	}
}

func (m *metrics) commit(err error) {
	m.commits.WithLabelValues(outcome(err)).Inc()
}

func (m *metrics) claimed(waited time.Duration) { m.claims.Observe(waited.Seconds()) }

func (m *metrics) chose(choice string) { m.replicas.WithLabelValues(choice).Inc() }

// outcome names what came of a commit.
func outcome(err error) string {
	if err == nil {
		return "ok"
	}
	for _, class := range []struct {
		err  error
		name string
	}{
		{store.ErrHeadMoved, "head_moved"},
		{store.ErrDuplicate, "duplicate"},
		{store.ErrKeyGone, "key_gone"},
		{evidence.ErrTampered, "tampered"},
		{evidence.ErrUnavailable, "unavailable"},
	} {
		if errors.Is(err, class.err) {
			return class.name
		}
	}
	if hasSentinel(err) {
		return "refused"
	}
	return "unknown"
}

// poolMetrics are those of the pools of each role.
type poolMetrics map[string][]*pool

var poolDescs = []struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	of   func(*pgxpool.Stat) float64
}{
	{poolDesc("connections_in_use", "Connections that are lent."), prometheus.GaugeValue, func(s *pgxpool.Stat) float64 { return float64(s.AcquiredConns()) }},
	{poolDesc("connections_idle", "Connections that wait to be lent."), prometheus.GaugeValue, func(s *pgxpool.Stat) float64 { return float64(s.IdleConns()) }},
	{poolDesc("connections_limit", "The greatest number of connections."), prometheus.GaugeValue, func(s *pgxpool.Stat) float64 { return float64(s.MaxConns()) }},
	{poolDesc("connections_made_total", "Connections that were made."), prometheus.CounterValue, func(s *pgxpool.Stat) float64 { return float64(s.NewConnsCount()) }},
	{poolDesc("waits_total", "How often a connection was waited for."), prometheus.CounterValue, func(s *pgxpool.Stat) float64 { return float64(s.EmptyAcquireCount()) }},
	{poolDesc("wait_seconds_total", "How long connections were waited for."), prometheus.CounterValue, func(s *pgxpool.Stat) float64 { return s.EmptyAcquireWaitTime().Seconds() }},
}

func poolDesc(name, help string) *prometheus.Desc {
	return prometheus.NewDesc("runledger_postgres_"+name, help, []string{"pool"}, nil)
}

// Describe implements prometheus.Collector.
func (poolMetrics) Describe(to chan<- *prometheus.Desc) {
	for _, d := range poolDescs {
		to <- d.desc
	}
}

// Collect implements prometheus.Collector.
func (m poolMetrics) Collect(to chan<- prometheus.Metric) {
	for name, pools := range m {
		for _, d := range poolDescs {
			sum := 0.0
			for _, p := range pools {
				sum += d.of(p.Stat())
			}
			to <- prometheus.MustNewConstMetric(d.desc, d.kind, sum, name)
		}
	}
}
