package export_test

import (
	"context"
	"maps"
	"testing"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/export"
	"github.com/runledger/runledger/internal/ledger"
)

// TestSyntheticTenant: what is recorded of exports in the tenant of scenarios is
// synthetic, in every state; in another tenant nothing is.
func TestSyntheticTenant(t *testing.T) {
	r, x, _, req := jobs(t)
	ctx := context.Background()
	if _, err := r.CreateTenant(ctx, evidence.SyntheticTenant); err != nil {
		t.Fatal(err)
	}
	for _, tenant := range []string{"acme", evidence.SyntheticTenant} {
		r.systems(tenant, "tenant", 2)
		req := req
		req.Tenant, req.Unrecorded = tenant, false
		req.From, req.Until = evidence.MicrosOf(time.Now().Add(-time.Hour)), evidence.MicrosOf(time.Now().Add(time.Hour))
		id := start(t, x, req, "").Leaf.Text("export_id")
		waitFor(t, x, tenant, id, "completed")
		lost := &evidence.Record{Kind: evidence.KindExport, ID: ledger.NewID(evidence.MicrosOf(time.Now())), OccurredAt: evidence.MicrosOf(time.Now())}
		for field, value := range map[string]string{
			"source_domain": "LOGS", "source_component": "LogExportService", "system_id": "key-1", "export_id": "lost", "scope": export.ScopeAudit,
			"format": "zip", "status": "pending",
		} {
			lost.SetText(field, value)
		}
		lost.SetBool("is_synthetic", tenant == evidence.SyntheticTenant)
		if err := lost.Complete(); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Append(ctx, tenant, []*evidence.Record{lost}, ledger.AppendOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := x.Recover(ctx); err != nil {
		t.Fatal(err)
	}
	for _, tenant := range []string{"acme", evidence.SyntheticTenant} {
		waitFor(t, x, tenant, "lost", "failed")
		head, _, err := r.PublishNow(ctx, tenant, 1)
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]int{}
		err = r.Records(ctx, tenant, 1, 1, head.Size, func(rec ledger.LogRecord) error {
			what := rec.Leaf.Text("event_type")
			if rec.Leaf.Kind == evidence.KindExport {
				what = rec.Leaf.Text("status")
			} else if what != "LOG_EXPORT" {
				return nil
			}
			got[what]++
			if n, _ := rec.Leaf.Int("is_synthetic"); (n == 1) != (tenant == evidence.SyntheticTenant) {
				t.Errorf("%s of %s: synthetic %d", what, tenant, n)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if want := map[string]int{"pending": 2, "completed": 1, "failed": 1, "LOG_EXPORT": 1}; !maps.Equal(got, want) {
			t.Errorf("%s: %v, want %v", tenant, got, want)
		}
	}
}

func waitFor(t *testing.T, x *export.Exports, tenant, id, want string) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		s, err := x.State(context.Background(), tenant, id)
		if err != nil {
			t.Fatal(err)
		}
		if s.Status == want {
			return
		}
		if time.Now().After(deadline) || s.Status != "pending" {
			t.Fatalf("export %s of %s is %s, want %s", id, tenant, s.Status, want)
		}
	}
}
