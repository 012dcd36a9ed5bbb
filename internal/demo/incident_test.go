package demo

import (
	"slices"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"

	"github.com/runledger/runledger/client"
)

// TestStory holds the incident together: what its records say of one another.
func TestStory(t *testing.T) {
	end := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	story := Story(end)
	var steps, denials, breaches, overrides, restarts, critical, baseline int
	var in, out, cost int64
	spans := map[string]bool{}
	var last time.Time
	for i, e := range story {
		if e.At.Before(last) || e.At.After(end) {
			t.Errorf("%s at %v: not in its order", e.Story, e.At)
		}
		last = e.At
		switch r := e.Record.(type) {
		case client.Step:
			steps++
			if spans[r.SpanID] {
				t.Errorf("span %s twice", r.SpanID)
			}
			spans[r.SpanID] = true
			if r.OccurredAt.Add(r.Duration).After(end) {
				t.Errorf("%s ends after the run", e.Story)
			}
			if r.Input != nil {
				in, out, cost = in+*r.Input, out+*r.Output, cost+*r.CostNanos
			}
		case client.Audit:
			denials += count(r.Decision == "BLOCKED")
			breaches += count(r.EventType == "LimitBreached")
			overrides += count(r.EventType == "LimitOverrideGranted" && r.HumanActorID != "" && !r.ValidUntil.IsZero())
			if strings.ContainsAny(r.HumanActorID, "@") && !strings.HasSuffix(r.HumanActorID, ".example") {
				t.Errorf("%s could be somebody", r.HumanActorID)
			}
		case client.System:
			restarts += count(r.EventType == "RESTART")
			critical += count(r.Severity == "CRITICAL")
			baseline += count(r.OccurredAt.Before(end.Add(-runTime)))
			if turning := end.Add(-runTime).Add(4600 * time.Millisecond); r.Severity == "CRITICAL" && r.OccurredAt.Sub(turning) > 30*time.Second {
				t.Errorf("%s is outside the window", e.Story)
			}
		case client.Run:
			if *r.Input != in || *r.Output != out || *r.CostNanos != cost {
				t.Errorf("the run has %d, %d, %d; its steps %d, %d, %d", *r.Input, *r.Output, *r.CostNanos, in, out, cost)
			}
			if i != len(story)-1 || !r.CompletedAt.Equal(end) {
				t.Error("the run's record is not the end")
			}
			if !slices.ContainsFunc(story, func(o Entry) bool { return o.At.Equal(r.InflectionAt) }) {
				t.Error("nothing happened at the turning point")
			}
		}
	}
	if steps < 8 || steps > 12 || denials != 1 || breaches != 1 || overrides != 1 || restarts != 1 || critical != 1 || baseline < 4 {
		t.Errorf("%d steps, %d denials, %d breaches, %d overrides, %d restarts, %d critical, %d before the run",
			steps, denials, breaches, overrides, restarts, critical, baseline)
	}
}

func count(yes bool) int {
	if yes {
		return 1
	}
	return 0
}

func TestMetrics(t *testing.T) {
	end := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	b, err := Metrics(end)
	if err != nil {
		t.Fatal(err)
	}
	req := pmetricotlp.NewExportRequest()
	if err := req.UnmarshalProto(b); err != nil {
		t.Fatal(err)
	}
	for _, m := range req.Metrics().ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().All() {
		for _, p := range points(m) {
			if at := p.Timestamp().AsTime(); at.Before(end.Add(-runTime)) || at.After(end) {
				t.Errorf("%s at %v is outside the run", m.Name(), at)
			}
		}
	}
	if n := req.Metrics().DataPointCount(); n != 21 {
		t.Errorf("%d points", n)
	}
}
