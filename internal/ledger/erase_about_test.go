package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/store"
)

// said is an audit entry about a run, which is none of its records.
func said(n, run int, more string) string {
	return fmt.Sprintf(`{"kind":"audit","id":"00000000-0000-4000-8001-%012d","occurred_at":"2026-11-23T16:00:00Z","event_type":"ReplayMismatchReported","entity_type":"SIGNAL",`+
		`"entity_id":"m-%d","about_run":%q,"actor_type":"HUMAN","human_actor_id":"rob","action_reason":"it said: the prompt","before_state":{"value":"the prompt"},`+
		`"after_state":{"value":"another"},"source_domain":"LOGS","source_component":"AuditLedgerWriter"%s}`, n, n, runOf(run), more)
}

// TestEraseQuotes: what producers quote of a run in entries about it goes with the run's content, and with that
// of the person whom the run is about, but not who said it.
func TestEraseQuotes(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	r := eraseRig(t)
	r.append(t, "acme", step(1, 1, content), step(2, 1, content+`,"subject":"sue"`), step(2, 2, content), step(3, 1, content+`,"human_actor_id":"sue"`))
	quotes := r.append(t, "acme", said(1, 1, ""), said(2, 2, ""), said(3, 3, ""), said(4, 1, ""), said(5, 3, `,"subject":"sue"`))
	opens := func(i int, paths ...string) {
		t.Helper()
		r.opens(t, "acme", 1, quotes[i].LeafIndex, paths...)
	}
	whole := []string{"/actor", "/action_reason", "/before_state", "/after_state"}
	hold, _, err := r.PlaceHold(ctx, "acme", ledger.HoldOrder{Scope: store.HoldRun, Run: runOf(1), Reason: "case"})
	if err != nil {
		t.Fatal(err)
	}
	sue := ledger.Erasure{Person: "sue", Reason: "asked"}
	plan, err := r.PlanErasure(ctx, "acme", sue)
	if err != nil || plan.Records != 4 || plan.Beside != 1 { // the steps of run 2 and 3, what is said of run 2, and of her about run 3; a step of run 2 names nobody
		t.Errorf("%+v, %v", plan, err)
	}
	if out := r.erase(t, "acme", sue); out.Records != plan.Records || out.Fields != plan.Fields || out.Runs != 2 {
		t.Errorf("%+v", out)
	}
	opens(0, whole...)
	opens(1, "/actor")
	opens(2, whole...) // the run is not about her, though something about it is
	opens(4, "/actor")
	if _, err := r.Erase(ctx, "acme", ledger.Erasure{Run: runOf(1), Reason: "asked"}); !errors.Is(err, store.ErrHeld) {
		t.Errorf("held: %v", err)
	}
	if _, _, err := r.ReleaseHold(ctx, "acme", hold.ID, "over", "op"); err != nil {
		t.Fatal(err)
	}
	if out := r.erase(t, "acme", ledger.Erasure{Run: runOf(1), Reason: "asked"}); out.Records != 3 || out.Runs != 1 || len(out.Receipts) != 1 {
		t.Errorf("%+v", out)
	}
	opens(0, "/actor")
	opens(3, "/actor")
	opens(2, whole...)
	if _, err := r.FinishErasures(ctx, "acme"); err != nil {
		t.Fatal(err)
	}
	r.sound(t)
}

// TestEraseOneself: who orders their own erasure is not named in what says so, and the log stays as verifiable as it was.
func TestEraseOneself(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	r := eraseRig(t)
	r.append(t, "acme", said(1, 1, ""), step(1, 1, content+`,"subject":"rob"`))
	out := r.erase(t, "acme", ledger.Erasure{Person: "rob", Reason: "asked", By: "rob"})
	if out.Records != 2 {
		t.Errorf("%+v", out)
	}
	if _, err := r.FinishErasures(ctx, "acme"); err != nil {
		t.Fatal(err)
	}
	if known, _, err := r.KnownPerson(ctx, "acme", "rob"); err != nil || known {
		t.Errorf("rob is known: %v, %v", known, err)
	}
	r.sound(t)
	if e, err := r.Erasure(ctx, "acme", out.ID); err != nil || len(e.Receipts) == 0 {
		t.Errorf("%+v, %v", e, err)
	}
	r.append(t, "acme", said(2, 1, "")) // rob acts again
	r.erase(t, "acme", ledger.Erasure{Run: runOf(1), Reason: "asked", By: "rob"})
	r.sound(t)
}
