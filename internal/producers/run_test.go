package producers

import (
	"context"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// silentValues are those of the metric, by tenant.
func silentValues(t *testing.T, reg *prometheus.Registry) map[string]float64 {
	t.Helper()
	all, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]float64{}
	for _, f := range all {
		if f.GetName() == "runledger_producer_silent" {
			for _, m := range f.GetMetric() {
				out[m.GetLabel()[0].GetValue()] = m.GetGauge().GetValue()
			}
		}
	}
	return out
}

func TestMetricLabelsBounded(t *testing.T) {
	reg := prometheus.NewRegistry()
	m := newMetrics(reg)
	values := map[string]int{}
	for i := range maxLabels + 5 {
		values["tenant-"+string(rune('a'+i/26))+string(rune('a'+i%26))] = 2
	}
	m.show(values, 0)
	if got := silentValues(t, reg); len(got) != maxLabels+1 || got[otherTenants] != 10 {
		t.Errorf("%d values, and %v of others", len(got), got[otherTenants])
	}
}

// Run follows by itself, stores what it knows when it stops, and gives its turn up.
func TestRun(t *testing.T) {
	r := newRig(t)
	r.send("acme", "key_a", "ERROR")
	tr := r.tracker(func(cfg *Config) { cfg.tempo.save = time.Hour })
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); tr.Run(ctx, func() error { return nil }) }()
	deadline := time.Now().Add(20 * time.Second)
	for time.Now().Before(deadline) {
		var m dto.Metric
		if err := tr.metrics.read.Write(&m); err != nil {
			t.Fatal(err)
		}
		if m.GetCounter().GetValue() > 1 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	// Beside it somebody asks.
	if p := find(t, r.list(tr, "acme"), "key_a", "worker"); p.Total != 1 {
		t.Errorf("%+v", p)
	}
	stop()
	<-done
	if _, err := r.db.Setting(t.Context(), setting("acme")); err != nil {
		t.Errorf("nothing is stored: %v", err)
	}
}
