package facade

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/runledger/runledger/answer"
	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/problem"
)

// TestExpired: a run whose records have expired is not found by any of its routes, which
// say so, and lists do not have it; who could not have seen it learns nothing.
func TestExpired(t *testing.T) {
	t.Parallel()
	long := time.Date(2024, 1, 1, 12, 0, 0, 0, time.UTC) // by the database's own clock, which is real
	r := openRigAt(t, filepath.Join(t.TempDir(), "base"), long)
	t.Cleanup(r.close)
	_, err := r.ledger.CreateTenant(r.ctx, "acme")
	r.must(err)
	r.add("acme", r.simpleRun(1, 0)...)
	r.add("acme", r.simpleRun(2, 0)...)
	r.settle()
	end, err := r.ledger.End(r.ctx, "acme")
	r.must(err)
	r.clock.add(48 * time.Hour)
	r.add("acme", r.simpleRun(3, 0)...)
	r.settle()
	r.clock.add(90 * 24 * time.Hour)
	before := evidence.MicrosOf(long.AddDate(0, 0, 1))
	var orders []ledger.ExpiryOrder
	for _, k := range []evidence.Kind{evidence.KindLLMRun, evidence.KindTrace, evidence.KindTraceStep, evidence.KindTraceEvent} {
		orders = append(orders, ledger.ExpiryOrder{
			LogNo: 1, Table: k.Table(), Ranges: []evidence.TargetRange{{From: 1, To: end.Seq}}, From: 1, Before: before,
			Class: k.Class(), Days: evidence.RetentionDays(k.Class()), Reason: "retention",
		})
	}
	_, _, err = r.ledger.OrderExpiry(r.ctx, "acme", orders)
	r.must(err)
	for more := true; more; {
		s, err := r.ledger.ExpireStep(r.ctx, "acme")
		r.must(err)
		more = s.More
	}

	routes := map[string]func(rd Reader, run string) error{
		"envelope":   func(rd Reader, run string) error { _, err := r.Envelope(r.ctx, rd, run); return err },
		"trace":      func(rd Reader, run string) error { _, err := r.Trace(r.ctx, rd, run, Paging{}); return err },
		"governance": func(rd Reader, run string) error { _, err := r.Governance(r.ctx, rd, run, Paging{}); return err },
		"replay":     func(rd Reader, run string) error { _, err := r.Replay(r.ctx, rd, run, ReplayParams{}); return err },
		"snapshot":   func(rd Reader, run string) error { _, err := r.Snapshot(r.ctx, rd, run); return err },
		"events":     func(rd Reader, run string) error { _, err := r.Events(r.ctx, rd, run, Paging{}); return err },
		"telemetry":  func(rd Reader, run string) error { _, err := r.Telemetry(r.ctx, rd, run, Paging{}); return err },
	}
	synthetic := r.privileged()
	synthetic.SyntheticOnly = true
	for name, route := range routes {
		detail := func(rd Reader, run string) string {
			err := route(rd, run)
			if !errors.Is(err, evidence.ErrNotFound) {
				t.Errorf("%s of run %s: %v", name, run, err)
				return ""
			}
			_, p := problem.Answer(err)
			return p.Detail
		}
		unknown := detail(r.privileged(), traceID(9))
		if got := detail(r.privileged(), traceID(1)); got == unknown || !strings.Contains(got, "expired") {
			t.Errorf("%s of a run that has expired: %q", name, got)
		}
		if got := detail(synthetic, traceID(1)); got != unknown {
			t.Errorf("%s, for who sees synthetic runs only: %q, want %q", name, got, unknown)
		}
		if err := route(r.privileged(), traceID(3)); err != nil {
			t.Errorf("%s of a run that is there: %v", name, err)
		}
	}

	// What comes late makes no run of it again.
	r.add("acme", r.step(1, 77, 0, "tool", 0, time.Second))
	r.settle()
	if err := routes["envelope"](r.privileged(), traceID(1)); !errors.Is(err, ledger.ErrExpired) {
		t.Errorf("after a late record: %v", err)
	}
	list, err := r.Runs(r.ctx, Reader{Tenant: "acme", MaxRows: 100}, RunFilter{}, Paging{})
	r.must(err)
	if len(list.Items) != 1 || list.Items[0].RunID != traceID(3) {
		t.Errorf("the list has %d runs", len(list.Items))
	}
}

// TestExpiredContent: content of a record that is about to go has expired; that of
// another is erased.
func TestExpiredContent(t *testing.T) {
	step := &evidence.Leaf{Kind: evidence.KindTraceStep, H: []evidence.Commitment{{Path: "/prompt"}}}
	for reason, expired := range map[string]bool{answer.Expired: true, answer.Erased: false} {
		r := record{&ledger.Fetched{Leaf: step, Expired: expired}, Reader{Content: true}}
		if c := r.content("/prompt"); c.Withheld == nil || c.Withheld.Reason != reason {
			t.Errorf("%+v, want %s", c, reason)
		}
	}
}
