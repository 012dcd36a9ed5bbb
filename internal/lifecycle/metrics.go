package lifecycle

import (
	"context"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/runledger/runledger/internal/store"
)

// metrics are the lifecycle's. No label has more values than this package names.
type metrics struct {
	removed  *prometheus.CounterVec // by class
	archived prometheus.Counter
	moved    prometheus.Counter
	bytes    prometheus.Counter
	erasures *prometheus.CounterVec // by result
	holds    prometheus.Gauge
	last     prometheus.Gauge
	failures prometheus.Counter
	blocked  *prometheus.GaugeVec // by reason
	pending  prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		removed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "runledger_lifecycle_removed_records_total", Help: "Records whose rows and content were removed, by class.",
		}, []string{"class"}),
		archived: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "runledger_lifecycle_archived_records_total", Help: "Records that were written to an archive and verified there.",
		}),
		moved: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "runledger_lifecycle_moved_leaves_total", Help: "Leaves that left the database and are read from the archive since.",
		}),
		bytes: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "runledger_lifecycle_archived_bytes_total", Help: "Bytes of the archive units that were written.",
		}),
		erasures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "runledger_lifecycle_erasures_total", Help: "Erasures, by result: executed, held, failed.",
		}, []string{"result"}),
		holds: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "runledger_lifecycle_holds_in_force", Help: "Legal holds in force.",
		}),
		last: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "runledger_lifecycle_last_run_timestamp_seconds", Help: "When the scheduler was last through with all tenants.",
		}),
		failures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "runledger_lifecycle_run_failures_total", Help: "Tenants for which a round of the scheduler failed.",
		}),
		blocked: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "runledger_lifecycle_blocked", Help: "Tenants whose due records do not go, by reason: clock, hold, no_archive, archive, guards, policy, failed.",
		}, []string{"reason"}),
		pending: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "runledger_lifecycle_pending_expiries", Help: "Expiries that were ordered and are not done.",
		}),
	}
	for _, class := range removable() {
		m.removed.WithLabelValues(class)
	}
	for _, result := range []string{resultExecuted, resultHeld, resultFailed} {
		m.erasures.WithLabelValues(result)
	}
	for _, reason := range reasons {
		m.blocked.WithLabelValues(reason)
	}
	if reg != nil {
		reg.MustRegister(m.removed, m.archived, m.moved, m.bytes, m.erasures, m.holds, m.last, m.failures, m.blocked, m.pending)
	}
	return m
}

// Results of an erasure.
const (
	resultExecuted = "executed"
	resultHeld     = "held"
	resultFailed   = "failed"
)

// Reasons why what is due does not go.
const (
	reasonClock     = "clock"
	reasonHold      = "hold"
	reasonNoArchive = "no_archive"
	reasonArchive   = "archive"
	reasonGuards    = "guards"
	reasonPolicy    = "policy"
	reasonFailed    = "failed"
)

var reasons = []string{reasonClock, reasonHold, reasonNoArchive, reasonArchive, reasonGuards, reasonPolicy, reasonFailed}

// blocked says why what is due of a tenant does not go; the zero value: it does.
type blocked struct {
	reason string
	text   string // for who may administer the tenant
}

// setBlocked notes what came of the last attempt for a tenant.
func (s *Service) setBlocked(tenant string, b blocked) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.blocked[tenant] = b; b.reason == "" {
		delete(s.blocked, tenant)
	}
	n := map[string]int{}
	for _, b := range s.blocked {
		n[b.reason]++
	}
	for _, reason := range reasons {
		s.metrics.blocked.WithLabelValues(reason).Set(float64(n[reason]))
	}
}

// Blocked says why something that is due does not go, or "". It names no tenant and no
// place, so everybody may see it. A hold is no such reason: somebody wants it so.
func (s *Service) Blocked() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var have []string
	for _, b := range s.blocked {
		have = append(have, b.reason)
	}
	for _, r := range [][2]string{
		{reasonClock, "the clock is not confirmed, so nothing expires"},
		{reasonArchive, "the archive fails, so what is due does not expire"},
		{reasonNoArchive, "no archive is configured, so what is due does not expire"},
		{reasonGuards, "the database does not protect evidence as it must, so nothing expires"},
		{reasonFailed, "the last expiry failed"},
	} {
		if slices.Contains(have, r[0]) {
			return r[1]
		}
	}
	return ""
}

// countHolds sets the gauge of holds. What cannot be counted is left as it was.
func (s *Service) countHolds(ctx context.Context) {
	tenants, err := s.cfg.Ledger.Tenants(ctx)
	n := 0
	for _, t := range tenants {
		if err == nil {
			err = s.cfg.Store.Holds(ctx, t.Tenant, func(h store.Hold) error {
				if h.Released.LogNo == 0 {
					n++
				}
				return nil
			})
		}
	}
	if err != nil {
		s.cfg.Logger.Warn("count legal holds", "err", err)
		return
	}
	s.metrics.holds.Set(float64(n))
}

// countPending sets the gauge of expiries that are not done.
func (s *Service) countPending(ctx context.Context, tenants []string) {
	n := 0
	for _, t := range tenants {
		err := s.cfg.Store.Expiries(ctx, t, func(e store.Expiry) error {
			if !e.Done {
				n++
			}
			return nil
		})
		if err != nil {
			s.cfg.Logger.Warn("count expiries", "tenant", t, "err", err)
			return
		}
	}
	s.metrics.pending.Set(float64(n))
}

// classLeaves is the class of leaf segments that leave the database for the archive, as
// their RetentionApplied names it.
const classLeaves = "moved"
