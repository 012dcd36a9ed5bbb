package runs

import "github.com/prometheus/client_golang/prometheus"

// metrics are the tracker's. No label has more values than this file names.
type metrics struct {
	ended     *prometheus.CounterVec // by sealed_by
	revisions prometheus.Counter
	settled   prometheus.Counter
	rebuilt   prometheus.Counter
	dropped   prometheus.Counter
	failed    prometheus.Counter
}

func newMetrics(reg prometheus.Registerer, t *Tracker) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	m := &metrics{
		ended: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "runledger_runs_ended_total", Help: "Runs whose first llm_run record the server wrote, by what ended them.",
		}, []string{"sealed_by"}),
		revisions: counter("runledger_run_revisions_total", "Further llm_run records, for what came late."),
		settled:   counter("runledger_runs_settled_total", "Runs to which something came late that changed nothing."),
		rebuilt:   counter("runledger_runs_read_back_total", "Runs that were put together from the store."),
		dropped:   counter("runledger_run_states_dropped_total", "Open runs that were dropped from memory, to be read back."),
		failed:    counter("runledger_run_end_failures_total", "Attempts to end a run that failed for good."),
	}
	for _, by := range []string{byRoot, byQuiet, byTimeout} {
		m.ended.WithLabelValues(by)
	}
	if reg != nil {
		open := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "runledger_runs_open", Help: "Runs that are followed.",
		}, func() float64 { return float64(t.open.Load()) })
		memory := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "runledger_run_states_bytes", Help: "About what is kept of open runs.",
		}, func() float64 { return float64(t.memory.Load()) })
		reg.MustRegister(m.ended, m.revisions, m.settled, m.rebuilt, m.dropped, m.failed, open, memory)
	}
	return m
}
