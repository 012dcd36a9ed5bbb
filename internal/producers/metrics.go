package producers

import (
	"maps"
	"slices"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// maxLabels bounds the tenants that are told apart in metrics. Those beyond it are
// together under otherTenants, which is no tenant's name.
const (
	maxLabels    = 100
	otherTenants = "_other"
)

// metrics are those of the process whose turn it is; of others they are 0.
type metrics struct {
	read   prometheus.Counter
	behind prometheus.Gauge
	silent *silentMetric
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		read: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "runledger_producer_leaves_total", Help: "Leaves that were read to know who wrote them.",
		}),
		behind: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "runledger_producer_behind_leaves", Help: "Leaves of all tenants that are not read yet; until then nobody is found silent.",
		}),
		silent: &silentMetric{desc: prometheus.NewDesc("runledger_producer_silent", "Producers that are silent, of tenants that have any.", []string{"tenant"}, nil)},
	}
	if reg != nil {
		reg.MustRegister(m.read, m.behind, m.silent)
	}
	return m
}

func (m *metrics) show(silent map[string]int, behind int64) {
	m.behind.Set(float64(behind))
	m.silent.set(silent)
}

// silentMetric is a gauge by tenant that has values of some tenants only.
type silentMetric struct {
	desc *prometheus.Desc

	mu     sync.Mutex // guards values
	values map[string]int
}

func (s *silentMetric) set(values map[string]int) {
	out := map[string]int{}
	for i, tenant := range slices.Sorted(maps.Keys(values)) {
		label := tenant
		if i >= maxLabels {
			label = otherTenants
		}
		out[label] += values[tenant]
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.values = out
}

// Describe implements prometheus.Collector.
func (s *silentMetric) Describe(ch chan<- *prometheus.Desc) { ch <- s.desc }

// Collect implements prometheus.Collector.
func (s *silentMetric) Collect(ch chan<- prometheus.Metric) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for tenant, n := range s.values {
		ch <- prometheus.MustNewConstMetric(s.desc, prometheus.GaugeValue, float64(n), tenant)
	}
}
