package lifecycle

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
	"github.com/runledger/runledger/internal/store/storerig"
)

// TestRefusalRecorded: that an erasure was asked for and refused is evidence, too.
func TestRefusalRecorded(t *testing.T) {
	t.Parallel()
	storerig.Only(t, storerig.SQLite, "the records are the same")
	ctx := context.Background()
	r := newRig(t, nil)
	hold, err := r.PlaceHold(ctx, tenant, HoldRequest{Run: "run-010", Reason: "a case"}, Actor{"ada"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Erase(ctx, tenant, ErasureRequest{Run: "run-010", Reason: "asked for"}, Actor{"bob"}); !errors.Is(err, store.ErrHeld) {
		t.Fatalf("a held run: %v", err)
	}
	found, err := r.ledger.Find(ctx, store.Query{
		Tenant: tenant, Kind: evidence.KindAudit, Limit: 10, Where: []store.Condition{{Field: "event_type", Values: []string{"ErasureRefused"}}},
	})
	if err != nil || len(found) != 1 {
		t.Fatalf("%d refusals: %v", len(found), err)
	}
	list, err := r.ledger.Fetch(ctx, tenant, found, true)
	if err != nil {
		t.Fatal(err)
	}
	got := list[0]
	if l := got.Leaf; l.Text("entity_id") != hold.ID || l.Text("decision") != "DENIED" || l.Text("about_run") != "run-010" || l.Run != "" {
		t.Errorf("%s", got.Raw)
	}
	if actor := evidence.ActorOf([]byte(got.Open["/actor"].JSON)); actor != "bob" || got.Open["/action_reason"].JSON != `"asked for"` {
		t.Errorf("%+v", got.Open)
	}
}

// TestNoGuards: nothing expires from a database that would let anything go.
func TestNoGuards(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	_, before := r.rows()
	r.orderTwo()
	err := storerig.Attack(filepath.Join(r.base, "data"), func(a *storerig.Attacker) error {
		return a.DropTriggers(storerig.Table("expiries"))
	})
	if err != nil {
		t.Fatal(err)
	}
	res, err := r.Expire(context.Background(), tenant, RunRequest{}, Actor{})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range res.Classes {
		if c.Removed != 0 || !strings.Contains(c.Blocked, "does not protect evidence") {
			t.Errorf("%+v", c)
		}
	}
	r.finishAll(context.Background(), []string{tenant}) // nor what was ordered before
	if _, now := r.rows(); now[evidence.KindTraceStep] != before[evidence.KindTraceStep] {
		t.Errorf("%v rows, and %v before", now, before)
	}
	if why := r.Blocked(); !strings.Contains(why, "does not protect") {
		t.Errorf("blocked: %q", why)
	}
}
