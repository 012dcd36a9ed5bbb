package move_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/move"
	"github.com/runledger/runledger/internal/store"
)

const (
	old = 200 * 24 * time.Hour // how long ago age is

	expiredRun, heldRun, otherRun = 1200, 1201, 1202
	perRun                        = 5
)

// age gives a new deployment records that are old: from leaf 1 on, run after run.
func age(t testing.TB, l *ledger.Ledger) {
	t.Helper()
	if _, err := l.CreateTenant(context.Background(), "acme"); err != nil {
		t.Fatal(err)
	}
	for _, r := range []struct {
		run  int
		more string
	}{{expiredRun, ""}, {heldRun, `,"subject":"held-sue"`}, {otherRun, ""}} {
		var lines []string
		for j := range perRun {
			lines = append(lines, step(r.run, j+1, fmt.Sprintf(content, j, 9)+r.more))
		}
		appendTo(t, l, "acme", lines...)
	}
}

// expire has what age made expire, but for a run that is held, and holds what is gone.
func expire(t testing.TB, l *ledger.Ledger, db store.Store) {
	t.Helper()
	ctx := context.Background()
	at := func(ago time.Duration) evidence.Micros { return evidence.MicrosOf(time.Now().Add(-ago)) }
	run := fmt.Sprintf("%032x", heldRun)
	hold := func(o ledger.HoldOrder) store.Hold {
		o.Reason, o.By = "a case", "op"
		h, _, err := l.PlaceHold(ctx, "acme", o)
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	hold(ledger.HoldOrder{Scope: store.HoldRun, Run: run})
	whole := hold(ledger.HoldOrder{Scope: store.HoldTenant})
	if _, _, err := l.ReleaseHold(ctx, "acme", whole.ID, "a mistake", "op"); err != nil {
		t.Fatal(err)
	}
	order := func(from, to int64) {
		before := at(100 * 24 * time.Hour)
		_, _, err := l.OrderExpiry(ctx, "acme", []ledger.ExpiryOrder{{
			LogNo: 1, Table: evidence.KindTraceStep.Table(), Ranges: []evidence.TargetRange{{From: from, To: to}}, From: at(old + time.Hour),
			Before: before, Class: evidence.ClassLLMRuns, Days: 90, Rows: to - from, Reason: "the policy",
		}})
		if err != nil {
			t.Fatal(err)
		}
	}
	order(1, 1+2*perRun)
	for more := true; more; {
		s, err := l.ExpireStep(ctx, "acme")
		if err != nil {
			t.Fatal(err)
		}
		more = s.More
	}
	// These came too late for what is gone, and for what is ordered and still there they do not.
	hold(ledger.HoldOrder{Scope: store.HoldTime, From: at(old + 24*time.Hour), Until: at(old - 24*time.Hour)})
	hold(ledger.HoldOrder{Scope: store.HoldSubject, Subject: "held-sue"})
	order(1+2*perRun, 1+3*perRun)
	for from := int64(0); from < 12; from += 6 {
		u := store.ArchiveUnit{
			LogRef: store.LogRef{Tenant: "acme", No: 1}, From: from, To: from + 6, FirstAt: at(old), LastAt: at(old), Archive: "/mnt/archive zürich",
			Name: fmt.Sprintf("acme/1-0123456789ab/%012d-%012d", from, from+6), Manifest: evidence.Hash{byte(from), 7}, Bytes: 12345, At: at(0),
		}
		if err := db.KeepArchive(ctx, u); err != nil {
			t.Fatal(err)
		}
	}
}

// TestExpiredStaysAway copies what expired and is held, both ways and cut at each write
// of the lifecycle's, and sees that the same rows are absent.
func TestExpiredStaysAway(t *testing.T) {
	for from := range backends {
		for to := range backends {
			if from == to {
				continue // see TestCutEverywhere
			}
			t.Run(from+" to "+to, func(t *testing.T) {
				t.Parallel()
				d, other := source(t, from), backends[to](t)
				for n := 1; cutAtLifecycle(t, d, other, n); n++ {
					if n > 20 {
						t.Fatal("it does not come to an end")
					}
				}
				report, err := d.copyTo(t, other)
				if err != nil {
					t.Fatal(err)
				}
				got := tables(report)
				if got["expiries"] != 2 || got["holds"] != 4 || got["archive units"] != 2 || got["held runs and records"] < 2 {
					t.Errorf("%v", got)
				}
				if n := report.Leaves - got["records"]; n != perRun {
					t.Errorf("%d rows are absent, want %d", n, perRun)
				}
			})
		}
	}
}

// lifecycleCut is a store whose power goes at its n-th write of the lifecycle.
type lifecycleCut struct {
	store.Store
	left int
	cut  bool
}

func (s *lifecycleCut) RestoreLifecycle(ctx context.Context, tenant string, e []store.Expiry, h []store.Hold, a []store.ArchiveUnit) error {
	err := s.Store.RestoreLifecycle(ctx, tenant, e, h, a)
	if s.left--; s.left == 0 && err == nil {
		s.cut = true
		return errCut
	}
	return err
}

func (s *lifecycleCut) Expire(ctx context.Context, tenant string, list []store.Expiry, from, to int64, done bool, r *store.Removal) (int64, error) {
	if s.left--; s.left == 0 {
		s.cut = true
		return 0, errCut
	}
	return s.Store.Expire(ctx, tenant, list, from, to, done, r)
}

func cutAtLifecycle(t *testing.T, d deployment, other side, n int) bool {
	t.Helper()
	var cutting *lifecycleCut
	_, err := d.copyTo(t, other, func(cfg *move.Config) {
		cutting = &lifecycleCut{Store: cfg.To, left: n}
		cfg.To, cfg.Rehearse = cutting, true
	})
	if !cutting.cut && err != nil {
		t.Fatal(err)
	}
	return cutting.cut
}
