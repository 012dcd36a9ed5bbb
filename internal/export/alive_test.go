package export_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/export"
	"github.com/runledger/runledger/internal/problem"
)

// lease is that of one of several processes.
func (r *rig) lease(process string) export.LeaseFunc {
	return func(ctx context.Context, name string, ttl time.Duration) (bool, error) {
		return r.db.Lease(ctx, name, process, ttl)
	}
}

// TestLiveExports: a process that starts takes no export of another that lives for one
// that died, and sends nobody away as if its bytes were gone.
func TestLiveExports(t *testing.T) {
	r, _, c, req := jobs(t)
	ctx := context.Background()
	hold := make(chan struct{})
	exporter := export.New(export.Config{
		Ledger: r.Ledger, SpoolDir: r.spool, Lease: r.lease("one"),
		Cosign: func(ctx context.Context, _ string, _ int) error { <-hold; return nil },
	})
	one := export.NewExports(export.ExportsConfig{Exporter: exporter, Links: r.master, Now: c.Now})
	id := start(t, one, req, "").Leaf.Text("export_id")
	two := export.NewExports(export.ExportsConfig{
		Exporter: export.New(export.Config{Ledger: r.Ledger, SpoolDir: r.spool, Lease: r.lease("two")}), Links: r.master, Now: c.Now,
	})
	defer two.Close()
	status := func(want string) {
		t.Helper()
		if err := two.Recover(ctx); err != nil {
			t.Fatal(err)
		}
		if s, err := two.State(ctx, "acme", id); err != nil || s.Status != want {
			t.Fatalf("%+v %v, want %s", s, err, want)
		}
	}
	status("pending")
	status("pending")
	close(hold)
	ended(t, one, id)
	status("completed")
	if _, err := two.Content(ctx, "acme", id); !errors.Is(err, evidence.ErrUnavailable) {
		t.Errorf("its bytes at the other process: %v", err)
	}
	if err := one.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := two.Content(ctx, "acme", id); !errors.Is(err, problem.ErrGone) {
		t.Errorf("its bytes, when nobody has them: %v", err)
	}

	// One that died left its lease, which ends.
	req.Scope = export.ScopeSystem
	stuck := make(chan struct{})
	defer close(stuck)
	died := export.New(export.Config{
		Ledger: r.Ledger, SpoolDir: r.spool, Lease: r.lease("three"),
		Cosign: func(ctx context.Context, _ string, _ int) error { <-stuck; return nil },
	})
	three := export.NewExports(export.ExportsConfig{Exporter: died, Links: r.master, Now: c.Now})
	id = start(t, three, req, "").Leaf.Text("export_id")
	status("pending")
	if _, err := r.db.Lease(ctx, "export/"+id, "three", 0); err != nil {
		t.Fatal(err)
	}
	status("failed")
	status("failed")
}
