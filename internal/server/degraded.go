package server

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/runledger/runledger/internal/ledger"
)

// Reasons for which a server that is ready is degraded. They are shown to everybody,
// and so say no more than this; logs and records do.
const (
	reasonIntegrity   = "integrity"   // verification found something, or does not run
	reasonWitnesses   = "witnesses"   // too few have cosigned
	reasonReplicas    = "replicas"    // a read replica does not answer
	reasonPartitions  = "partitions"  // those of the months to come are not made
	reasonDisk        = "disk"        // little space for exports that are being made
	reasonProcess     = "process"     // another process has this one's name
	reasonObservation = "observation" // self-observation fails, or has not passed for long
	reasonLifecycle   = "lifecycle"   // what is due does not expire
	reasonGuards      = "guards"      // the database's own protection of evidence is not whole
)

var allReasons = []string{reasonIntegrity, reasonWitnesses, reasonReplicas, reasonPartitions, reasonDisk, reasonProcess, reasonObservation, reasonLifecycle, reasonGuards}

// degradedEvery is after how many looks at readiness the rest is looked at: it asks
// the database, and tells of nothing that is lost in between.
const degradedEvery = 10

// reason is why a server is degraded.
type reason struct {
	Code string
	Why  string // for who may read logs and records
}

// state is what a server knows of how it is.
type state struct {
	looking  sync.Mutex // of look
	mu       sync.Mutex // guards what follows
	reasons  []reason
	upkeep   error     // why the last upkeep failed
	until    time.Time // the first moment without a partition; zero: not known, or there are none
	degraded *prometheus.GaugeVec
}

// reasons returns why the server is degraded; none is good.
func (s *server) reasons() []reason {
	s.state.mu.Lock()
	defer s.state.mu.Unlock()
	return s.state.reasons
}

// look finds the reasons anew. One look at a time: else an old one could come after
// what is newer.
func (s *server) look(ctx context.Context, now time.Time) {
	s.state.looking.Lock()
	defer s.state.looking.Unlock()
	var list []reason
	add := func(code, why string) {
		if why != "" {
			list = append(list, reason{code, why})
		}
	}
	add(reasonIntegrity, s.integrityReason(ctx))
	add(reasonWitnesses, s.witnessReason(ctx))
	if replicas := s.d.db.replicas; replicas != nil {
		add(reasonReplicas, replicas(ctx))
	}
	add(reasonPartitions, s.partitionReason(now))
	if s.d.db.shared() {
		if err := s.disk.full(); err != nil {
			add(reasonDisk, err.Error())
		}
		add(reasonProcess, s.probe.taken())
	}
	add(reasonObservation, s.observationReason(now))
	add(reasonLifecycle, s.lifecycleReason())
	add(reasonGuards, s.d.Ledger.Unguarded())
	s.state.mu.Lock()
	defer s.state.mu.Unlock()
	s.state.reasons = list
	for _, code := range allReasons {
		v := 0.0
		for _, r := range list {
			if r.Code == code {
				v = 1
			}
		}
		s.state.degraded.WithLabelValues(code).Set(v)
	}
}

// integrityReason names a tenant whose evidence is not known to be whole. Where nothing
// can be written, that is what readiness says.
func (s *server) integrityReason(ctx context.Context) string {
	if s.ready() != nil {
		return ""
	}
	tenants, err := s.d.Ledger.Tenants(ctx)
	if err != nil {
		return "" // the database is asked elsewhere whether it answers
	}
	for _, t := range tenants {
		switch in := s.d.Ledger.Integrity(t.Tenant); in.Status {
		case ledger.StatusCompromised:
			return fmt.Sprintf("tenant %s: %d anomalies, the first: %s", t.Tenant, len(in.Anomalies), in.Anomalies[0].Message)
		case ledger.StatusDegraded:
			return fmt.Sprintf("tenant %s: %s", t.Tenant, in.Why)
		}
	}
	return ""
}

func (s *server) witnessReason(ctx context.Context) string {
	status := s.d.outside.status()
	if status == nil {
		return ""
	}
	tenants, err := s.d.Ledger.Tenants(ctx)
	if err != nil {
		return ""
	}
	for _, t := range tenants {
		if _, why := status(t.Tenant); why != "" {
			return fmt.Sprintf("tenant %s: %s", t.Tenant, why)
		}
	}
	return ""
}

// shortFuture is how long before the last partition ends an operator is told. Upkeep
// makes them months ahead, so it has failed for long by then.
const shortFuture = 45 * 24 * time.Hour

func (s *server) partitionReason(now time.Time) string {
	s.state.mu.Lock()
	defer s.state.mu.Unlock()
	switch left := s.state.until.Sub(now); {
	case s.state.until.IsZero() || left >= shortFuture:
		return ""
	case s.state.upkeep != nil:
		return fmt.Sprintf("partitions end on %s: %v", s.state.until.UTC().Format(time.DateOnly), s.state.upkeep)
	default:
		return fmt.Sprintf("partitions end on %s", s.state.until.UTC().Format(time.DateOnly))
	}
}

// register makes the metrics of how the server is.
func (s *server) register() {
	s.state.degraded = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "runledger_degraded", Help: "1 while the server is degraded, by reason.",
	}, []string{"reason"})
	for _, code := range allReasons {
		s.state.degraded.WithLabelValues(code)
	}
	s.registry.MustRegister(s.state.degraded, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "runledger_ready", Help: "1 while evidence can be made durable.",
	}, func() float64 {
		if s.ready() != nil {
			return 0
		}
		return 1
	}))
	if s.d.db.until == nil {
		return
	}
	s.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "runledger_partitions_until_timestamp_seconds", Help: "The first moment that has no partition; 0: not known.",
	}, func() float64 {
		s.state.mu.Lock()
		defer s.state.mu.Unlock()
		if s.state.until.IsZero() {
			return 0
		}
		return float64(s.state.until.Unix())
	}))
}
