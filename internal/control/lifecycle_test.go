package control_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/access"
	"github.com/runledger/runledger/internal/control"
	"github.com/runledger/runledger/internal/lifecycle"
	"github.com/runledger/runledger/internal/store"
)

// changed is a Lifecycle that notes what is asked of it.
type changed struct {
	control.Lifecycle
	asked []string
}

func (c *changed) note(tenant string, by lifecycle.Actor, what any) {
	c.asked = append(c.asked, fmt.Sprintf("%s %s %+v", tenant, by.Human, what))
}

func (c *changed) SetPolicy(_ context.Context, tenant string, q lifecycle.PolicyChange, by lifecycle.Actor) (lifecycle.Policy, error) {
	c.note(tenant, by, q.Class+" "+q.Reason)
	return lifecycle.Policy{Class: q.Class}, nil
}

func (c *changed) ReleaseHold(_ context.Context, tenant, id, reason string, by lifecycle.Actor) (lifecycle.HoldInfo, error) {
	c.note(tenant, by, id+" "+reason)
	return lifecycle.HoldInfo{ID: id}, nil
}

func (c *changed) Erase(_ context.Context, tenant string, q lifecycle.ErasureRequest, by lifecycle.Actor) (lifecycle.ErasureAnswer, error) {
	c.note(tenant, by, q.Run)
	return lifecycle.ErasureAnswer{}, fmt.Errorf("hold-1: %w", store.ErrHeld)
}

// TestLifecycle: what is changed is changed for whom the kernel names, of a tenant that
// is there; and a hold is told from any other conflict.
func TestLifecycle(t *testing.T) {
	db, l, _ := openLedger(t)
	gate, err := access.New(t.Context(), access.Config{Store: db, Ledger: l})
	if err != nil {
		t.Fatal(err)
	}
	life := &changed{}
	c := control.Local(control.Handler(control.Config{Ledger: l, Lifecycle: life, Access: gate}))
	if p, err := c.SetPolicy(t.Context(), "acme", lifecycle.PolicyChange{Class: "llm_runs", Reason: "r"}); err != nil || p.Class != "llm_runs" {
		t.Errorf("%v %v", p, err)
	}
	if h, err := c.ReleaseHold(t.Context(), "acme", "hold/1 x", "closed"); err != nil || h.ID != "hold/1 x" {
		t.Errorf("%v %v", h, err)
	}
	before, err := l.End(t.Context(), "acme")
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Erase(t.Context(), "acme", lifecycle.ErasureRequest{Run: "run-1"})
	if p := (*control.Problem)(nil); !errors.As(err, &p) || p.Code != control.CodeHeld || !errors.Is(err, evidence.ErrConflict) {
		t.Errorf("held: %v", err)
	}
	by := "cli:" + control.CurrentUser().Name
	want := []string{"acme " + by + " llm_runs r", "acme " + by + " hold/1 x closed", "acme " + by + " run-1"}
	if fmt.Sprint(life.asked) != fmt.Sprint(want) {
		t.Errorf("asked %q, want %q", life.asked, want)
	}
	if _, err := c.Erase(t.Context(), "nobody", lifecycle.ErasureRequest{}); !errors.Is(err, evidence.ErrNotFound) {
		t.Errorf("unknown tenant: %v", err)
	}
	// It is recorded that somebody asked, although nothing was erased.
	after, err := l.End(t.Context(), "acme")
	if err != nil || after.Seq != before.Seq+1 {
		t.Errorf("the log ends at %d, after %d, %v", after.Seq, before.Seq, err)
	}
	// Where it cannot be recorded who asks, nothing is done.
	blind := control.Local(control.Handler(control.Config{Ledger: l, Lifecycle: life}))
	for _, q := range []lifecycle.ErasureRequest{{Run: "run-1"}, {Run: "run-1", DryRun: true}} {
		if _, err := blind.Erase(t.Context(), "acme", q); !errors.Is(err, evidence.ErrUnavailable) {
			t.Errorf("an erasure is not recorded: %v", err)
		}
	}
	if len(life.asked) != len(want) {
		t.Errorf("asked %q", life.asked)
	}
	if _, err := control.Local(control.Handler(control.Config{Ledger: l})).Expire(t.Context(), "acme", lifecycle.RunRequest{}); !errors.Is(err, evidence.ErrUnavailable) {
		t.Errorf("without lifecycle: %v", err)
	}
}

// TestReadLifecycle: of what is about the life of evidence only looks go through read.
func TestReadLifecycle(t *testing.T) {
	var asked []string
	reads(t, func(_ context.Context, _ string, _ access.Actor, path string) (int, string, []byte, error) {
		asked = append(asked, path)
		return 200, "application/json", []byte("{}"), nil
	}, func(t *testing.T, c *control.Client) {
		asked = nil
		if _, err := c.Preview(t.Context(), "acme", "2027-01-01T00:00:00Z"); err != nil {
			t.Error(err)
		}
		if _, err := c.Certificate(t.Context(), "acme", "erasure-1"); err != nil {
			t.Error(err)
		}
		if _, err := c.Erasures(t.Context(), "acme", lifecycle.ErasureQuery{Before: "erasure-1", Limit: 7}); err != nil {
			t.Error(err)
		}
		want := []string{"/api/v1/retention/preview?at=2027-01-01T00%3A00%3A00Z", "/api/v1/erasures/erasure-1/certificate", "/api/v1/erasures?before=erasure-1&limit=7"}
		if fmt.Sprint(asked) != fmt.Sprint(want) {
			t.Errorf("asked %q, want %q", asked, want)
		}
		for _, path := range []string{
			"/api/v1/erasures/", "/api/v1/erasures/a/b/certificate", "/api/v1/erasures//certificate", "/api/v1/apikeys", "/api/v1/holds/h/release", "/metrics",
		} {
			if status, body := get(t, c, "acme", path); status != 422 {
				t.Errorf("%s: %d %s", path, status, body)
			}
		}
	})
}
