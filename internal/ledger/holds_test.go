package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/store"
)

func runOf(n int) string { return fmt.Sprintf("%032x", n) }

// TestHoldSubject: what names a person is held, also what comes later, be it that the
// process ends in between.
func TestHoldSubject(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	r, h := pastRig(t)
	ada, sue := `,"human_actor_id":"ada"`, `,"subject":"ada"`
	a := r.append(t, "acme", step(1, 1, content+ada), step(2, 1, content+sue), step(2, 2, content), step(3, 1, content))
	hold, receipt, err := r.PlaceHold(ctx, "acme", ledger.HoldOrder{Scope: store.HoldSubject, Subject: "ada", Reason: "a case", By: "counsel"})
	if err != nil || hold.NRuns != 2 || hold.NRecord != 1 {
		t.Fatal(hold, err)
	}
	rec := r.record(t, "acme", 1, receipt.LeafIndex)
	if rec.Leaf.Text("event_type") != "LegalHoldPlaced" || rec.Leaf.Text("entity_id") != hold.ID || rec.Leaf.Text("rule_id") != "subject" ||
		rec.Open["/subject"].JSON != `"ada"` || rec.Open["/action_reason"].JSON != `"a case"` || rec.Open["/actor"].JSON != fmt.Sprintf(actorJSON, "counsel") {
		t.Errorf("%s %+v", rec.Raw, rec.Open)
	}
	b := r.append(t, "acme", step(4, 1, content+ada), step(5, 1, content))
	r.close()
	r = openRig(t, r.dir, h.clock)
	r.order(t, h, 1, "aos_trace_steps", evidence.ClassLLMRuns, ranges(append(a, b...)...))
	if n := r.expire(t); n != 2 {
		t.Errorf("%d rows went", n)
	}
	for i, want := range []bool{false, false, false, true} {
		r.gone(t, a[i], want)
	}
	r.gone(t, b[0], false)
	r.gone(t, b[1], true)
	// Erasure is refused, of the person, of a run and of the record of the hold, and nothing has changed.
	size, segments := r.Integrity("acme").TreeSize, len(r.sealedSegments(t))
	for name, e := range map[string]ledger.Erasure{
		"the person": {Person: "ada"}, "a run": {Run: runOf(2)}, "a run that came later": {Run: runOf(4)},
		"a field":    {Fields: []ledger.ErasedField{{Position: store.Position{LogNo: 1, Seq: a[2].LeafIndex}, Paths: []string{"/prompt"}}}},
		"its record": {Fields: []ledger.ErasedField{{Position: hold.Placed}}},
	} {
		if _, err := r.Erase(ctx, "acme", e); !errors.Is(err, store.ErrHeld) || errors.Is(err, evidence.ErrUnavailable) {
			t.Errorf("%s: %v", name, err)
		}
		plan, err := r.PlanErasure(ctx, "acme", e)
		if err != nil || len(plan.Held) != 1 || plan.Held[0] != hold.ID {
			t.Errorf("%s: %+v, %v", name, plan, err)
		}
	}
	if n := len(r.sealedSegments(t)); r.Integrity("acme").TreeSize != size || n != segments {
		t.Errorf("%d leaves, were %d; %d segments, were %d", r.Integrity("acme").TreeSize, size, n, segments)
	}
	r.opens(t, "acme", 1, a[0].LeafIndex, "/actor", "/params", "/prompt", "/status_message")
	if _, _, err := r.ReleaseHold(ctx, "acme", hold.ID, "closed", "counsel"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.ReleaseHold(ctx, "acme", hold.ID, "closed", "counsel"); !errors.Is(err, evidence.ErrConflict) {
		t.Errorf("a second release: %v", err)
	}
	out := r.erase(t, "acme", ledger.Erasure{Person: "ada"})
	if out.Records != 4 { // with that of the hold
		t.Errorf("%+v", out)
	}
	if n := r.expire(t); n != 4 || r.pending(t) != 0 {
		t.Errorf("%d rows went", n)
	}
	r.sound(t)
}

// TestHoldTime: what occurred or was recorded in a time stays.
func TestHoldTime(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	r, h := pastRig(t)
	occurred := evidence.MicrosOf(time.Date(2026, 11, 23, 15, 0, 0, 0, time.UTC)) // that of step, and the span number in µs
	a := r.append(t, "acme", step(1, 1, content), step(1, 2, content), step(1, 3, content))
	hold, receipt, err := r.PlaceHold(ctx, "acme", ledger.HoldOrder{Scope: store.HoldTime, From: occurred + 2, Until: occurred + 3, Reason: "a case"})
	if err != nil {
		t.Fatal(err)
	}
	if from, _ := r.record(t, "acme", 1, receipt.LeafIndex).Leaf.Int("valid_from"); from != int64(occurred+2) {
		t.Errorf("valid_from %d", from)
	}
	r.order(t, h, 1, "aos_trace_steps", evidence.ClassLLMRuns, ranges(a...))
	if n := r.expire(t); n != 2 {
		t.Errorf("%d rows went", n)
	}
	r.gone(t, a[1], false)
	r.opens(t, "acme", 1, a[1].LeafIndex, "/actor", "/params", "/prompt", "/status_message")
	if _, err := r.Erase(ctx, "acme", ledger.Erasure{Run: runOf(1)}); !errors.Is(err, store.ErrHeld) {
		t.Errorf("erase: %v", err)
	}
	if _, _, err := r.ReleaseHold(ctx, "acme", hold.ID, "closed", "counsel"); err != nil {
		t.Fatal(err)
	}
	r.erase(t, "acme", ledger.Erasure{Run: runOf(1)})
	r.opens(t, "acme", 1, a[1].LeafIndex)
	r.sound(t)
}

func TestHoldRefuses(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	r, _ := pastRig(t)
	r.append(t, "acme", step(1, 1, content))
	size := r.Integrity("acme").TreeSize
	for name, tc := range map[string]struct {
		o    ledger.HoldOrder
		want error
	}{
		"no reason":      {ledger.HoldOrder{Scope: store.HoldTenant}, evidence.ErrInvalid},
		"no scope":       {ledger.HoldOrder{Reason: "x"}, evidence.ErrInvalid},
		"no run":         {ledger.HoldOrder{Scope: store.HoldRun, Reason: "x"}, evidence.ErrInvalid},
		"an unknown run": {ledger.HoldOrder{Scope: store.HoldRun, Run: runOf(9), Reason: "x"}, evidence.ErrNotFound},
		"no subject":     {ledger.HoldOrder{Scope: store.HoldSubject, Reason: "x"}, evidence.ErrInvalid},
		"no time":        {ledger.HoldOrder{Scope: store.HoldTime, From: 5, Until: 5, Reason: "x"}, evidence.ErrInvalid},
	} {
		if _, _, err := r.PlaceHold(ctx, "acme", tc.o); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, _, err := r.ReleaseHold(ctx, "acme", "hold-000000000000", "x", ""); !errors.Is(err, evidence.ErrNotFound) {
		t.Errorf("an unknown hold: %v", err)
	}
	hold, _, err := r.PlaceHold(ctx, "acme", ledger.HoldOrder{Scope: store.HoldSubject, Subject: "nobody yet", Reason: "x"})
	if err != nil || hold.NRuns != 0 {
		t.Error(hold, err)
	}
	if _, err := r.CreateTenant(ctx, "globex"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.ReleaseHold(ctx, "globex", hold.ID, "x", ""); !errors.Is(err, evidence.ErrNotFound) {
		t.Errorf("another tenant's hold: %v", err)
	}
	if n := r.Integrity("acme").TreeSize; n != size+1 {
		t.Errorf("%d leaves, were %d", n, size)
	}
}

// TestHoldSubjectUnindexed: steps of a trace are indexed once, and that entry may have gone with the
// record that it was of. What else names the person is held all the same.
func TestHoldSubjectUnindexed(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		first string
		lose  func(r *rig, h *hands, first ledger.Receipt)
	}{
		"a field was erased": {"", func(r *rig, _ *hands, first ledger.Receipt) {
			e := ledger.Erasure{Fields: []ledger.ErasedField{{Position: store.Position{LogNo: 1, Seq: first.LeafIndex}, Paths: []string{"/subject"}}}}
			if _, err := r.Erase(context.Background(), "acme", e); err != nil {
				t.Error(err)
			}
		}},
		"a synthetic record has expired": {`,"is_synthetic":true`, func(r *rig, h *hands, first ledger.Receipt) {
			r.order(t, h, 1, "aos_trace_steps", evidence.ClassSynthetic, ranges(first))
			r.expire(t)
			r.gone(t, first, true)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := context.Background()
			r, h := pastRig(t)
			const sue = `,"subject":"sue"`
			a := r.append(t, "acme", step(1, 1, content+sue+test.first), step(1, 2, content+sue), step(2, 1, content))
			test.lose(r, h, a[0])
			place := func() store.Hold {
				hold, _, err := r.PlaceHold(ctx, "acme", ledger.HoldOrder{Scope: store.HoldSubject, Subject: "sue", Reason: "a case"})
				if err != nil {
					t.Fatal(err)
				}
				return hold
			}
			if hold := place(); hold.NRuns != 1 {
				t.Errorf("the hold covers %d runs", hold.NRuns)
			}
			r.order(t, h, 1, "aos_trace_steps", evidence.ClassLLMRuns, ranges(a...))
			r.expire(t)
			r.gone(t, a[1], false)
			r.gone(t, a[2], true)
			r.sound(t)
		})
	}
}

// ofRun says of a step that it is of another run than its trace's.
func ofRun(line string, trace, run int) string {
	return strings.Replace(line, `"run_id":"`+runOf(trace)+`"`, `"run_id":"`+runOf(run)+`"`, 1)
}

// TestHoldTwoRuns: two runs may have one trace, of which the index has one entry. Both are held.
func TestHoldTwoRuns(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	r, h := pastRig(t)
	const sue = content + `,"subject":"sue"`
	a := r.append(t, "acme", step(1, 1, sue), ofRun(step(1, 2, sue), 1, 2))
	hold, _, err := r.PlaceHold(ctx, "acme", ledger.HoldOrder{Scope: store.HoldSubject, Subject: "sue", Reason: "a case"})
	if err != nil || hold.NRuns != 2 {
		t.Fatal(hold, err)
	}
	b := r.append(t, "acme", ofRun(step(1, 3, sue), 1, 3)) // and what comes later
	if _, err := r.Erase(ctx, "acme", ledger.Erasure{Run: runOf(3)}); !errors.Is(err, store.ErrHeld) {
		t.Errorf("erasure of what is held: %v", err)
	}
	r.order(t, h, 1, "aos_trace_steps", evidence.ClassLLMRuns, ranges(append(a, b...)...))
	if n := r.expire(t); n != 0 {
		t.Errorf("%d rows went", n)
	}
	if _, _, err := r.ReleaseHold(ctx, "acme", hold.ID, "closed", "counsel"); err != nil {
		t.Fatal(err)
	}
	r.order(t, h, 1, "aos_trace_steps", evidence.ClassLLMRuns, ranges(a[0]))
	r.expire(t)
	r.sound(t)
}

// TestHoldPartsRemoved: what somebody removes of a hold by hand, with the triggers gone, comes back before anything
// goes by it.
func TestHoldPartsRemoved(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	r, h := pastRig(t)
	a := r.append(t, "acme", step(1, 1, content+`,"subject":"sue"`), step(2, 1, content))
	if _, _, err := r.PlaceHold(ctx, "acme", ledger.HoldOrder{Scope: store.HoldSubject, Subject: "sue", Reason: "a case"}); err != nil {
		t.Fatal(err)
	}
	d := &deployment{dir: r.dir}
	d.tamper(t, func(e *evil) { e.change(1, `DELETE FROM hold_runs`) })
	r.order(t, h, 1, "aos_trace_steps", evidence.ClassLLMRuns, ranges(a...))
	if n := r.expire(t); n != 1 {
		t.Errorf("%d rows went", n)
	}
	r.gone(t, a[0], false)
}
