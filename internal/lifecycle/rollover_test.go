package lifecycle

import (
	"context"
	"testing"
	"time"

	"github.com/runledger/runledger/evidence"
)

// TestHighRiskOverLogs: a run whose mark stands in the log after the one it began in is
// kept there, too.
func TestHighRiskOverLogs(t *testing.T) {
	t.Parallel()
	c := &clock{at: ago(llmDays + 10)}
	r := openRig(t, t.TempDir(), c, func(c *Config) { c.HighRiskPolicies, c.HighRiskFloor = []string{"high-risk"}, 183 })
	t.Cleanup(func() { r.close() })
	if _, err := r.ledger.CreateTenant(context.Background(), tenant); err != nil {
		t.Fatal(err)
	}
	at := c.now()
	r.add(step("risky", at, 1, ""), step("other", at, 1, ""))
	if _, err := r.ledger.Rollover(context.Background(), tenant); err != nil {
		t.Fatal(err)
	}
	r.add(completion("risky", at, `,"policy_ids":["high-risk"]`), completion("other", at, ""))
	c.move(today.Sub(at))
	preview, err := r.Preview(context.Background(), tenant, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range preview.Classes {
		if p.Class == evidence.ClassLLMRuns && (keptOf(p.Kept)[whyHighRisk] != p.Due || p.Due == 0) {
			t.Errorf("%d records are due, kept are %v", p.Due, p.Kept)
		}
	}
}
