package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

// PlaceHold appends LegalHoldPlaced and puts the hold in force, in one transaction.
// Errors: *evidence.FieldError wrapping evidence.ErrInvalid; evidence.ErrNotFound where the
// run is unknown. A subject nobody has heard of is no error: later records may name it.
func (l *Ledger) PlaceHold(ctx context.Context, tenant string, o HoldOrder) (store.Hold, Receipt, error) {
	ctx = store.NoLag(ctx)
	if err := o.validate(); err != nil {
		return store.Hold{}, Receipt{}, err
	}
	life, ctx, unlock, err := l.lifeAlone(ctx, tenant)
	if err != nil {
		return store.Hold{}, Receipt{}, err
	}
	defer unlock()
	h := store.Hold{ID: "hold-" + randomHex(6), Scope: o.Scope, From: o.From, Until: o.Until}
	var named namedUntil
	if o.Scope == store.HoldSubject { // most of it before appends wait
		if h.Runs, h.Records, err = l.namedSince(ctx, tenant, o.Subject, &named); err != nil {
			return h, Receipt{}, err
		}
	}
	var receipt Receipt
	err = l.control(ctx, tenant, func(ctx context.Context, c *committer) error {
		log, err := c.newest(tenant)
		if err != nil {
			return err
		}
		r := l.holdRecord(eventHoldPlaced, h.ID, h.Scope, o.Reason, o.By)
		h.Placed = store.Position{LogNo: log.No, Seq: log.next.tree.size()}
		switch o.Scope {
		case store.HoldTime:
			r.SetInt("valid_from", int64(o.From))
			r.SetInt("valid_until", int64(o.Until))
		case store.HoldRun:
			state, err := l.RunState(ctx, tenant, o.Run)
			if err != nil {
				return err
			}
			if state.NextN == 0 {
				return fmt.Errorf("run %q: %w", o.Run, evidence.ErrNotFound)
			}
			h.Runs = []string{o.Run}
			r.SetText("about_run", o.Run)
		case store.HoldSubject:
			runs, records, err := l.namedSince(ctx, tenant, o.Subject, &named)
			if err != nil {
				return err
			}
			h.Runs, h.Records = unique(h.Runs, runs), unique(h.Records, records)
			// The record of the hold names the person too: without it nobody would know whom it is about.
			h.Records = append(h.Records, h.Placed)
			r.SetSealed("/subject", evidence.QuoteJSON(o.Subject))
		}
		p := c.newPlan()
		receipts, err := l.planOwn(ctx, p, log, r)
		if err != nil {
			p.restore(l)
			return err
		}
		receipt = receipts[0]
		lp := p.logPlan(log)
		lp.commit.Holds = []store.Hold{h}
		return c.commitNow(ctx, p)
	})
	if err != nil {
		return store.Hold{}, Receipt{}, fmt.Errorf("place a hold: %w", err)
	}
	h.NRuns, h.NRecord = int64(len(h.Runs)), int64(len(h.Records))
	named.runs, named.records = h.NRuns, h.NRecord
	life.named[h.ID] = named
	return h, receipt, nil
}

func (o *HoldOrder) validate() error {
	invalid := func(field, reason string) error {
		return &evidence.FieldError{Field: field, Reason: reason, Err: evidence.ErrInvalid}
	}
	if o.Reason == "" {
		return invalid("reason", "is required")
	}
	switch o.Scope {
	case store.HoldTenant:
	case store.HoldRun:
		if o.Run == "" {
			return invalid("run_id", "is required")
		}
	case store.HoldSubject:
		if o.Subject == "" {
			return invalid("subject", "is required")
		}
	case store.HoldTime:
		if !o.From.InRange() || !o.Until.InRange() || o.From >= o.Until {
			return invalid("until", "must be after from")
		}
	default:
		return invalid("scope", "is not tenant, time, run or subject")
	}
	return nil
}

func (l *Ledger) holdRecord(event, id, scope, reason, by string) *evidence.Record {
	r := l.auditRecord(evidence.MicrosOf(l.clock.Now()), event, "RETENTION", id)
	r.SetText("rule_id", scope)
	r.SetSealed("/action_reason", evidence.QuoteJSON(reason))
	if by != "" {
		r.SetHumanActor(by)
	}
	return r
}

// ReleaseHold appends LegalHoldReleased and ends the hold. Errors: evidence.ErrNotFound;
// evidence.ErrConflict where it was released before.
func (l *Ledger) ReleaseHold(ctx context.Context, tenant, id, reason, by string) (store.Hold, Receipt, error) {
	ctx = store.NoLag(ctx)
	if reason == "" {
		return store.Hold{}, Receipt{}, &evidence.FieldError{Field: "reason", Reason: "is required", Err: evidence.ErrInvalid}
	}
	var h store.Hold
	var receipt Receipt
	err := l.control(ctx, tenant, func(ctx context.Context, c *committer) error {
		log, err := c.newest(tenant)
		if err != nil {
			return err
		}
		if h, err = l.hold(ctx, tenant, id); err != nil {
			return err
		}
		if h.Released.LogNo != 0 {
			return fmt.Errorf("hold %s: %w: it was released before", id, evidence.ErrConflict)
		}
		p := c.newPlan()
		h.Released = store.Position{LogNo: log.No, Seq: log.next.tree.size()}
		receipts, err := l.planOwn(ctx, p, log, l.holdRecord(eventHoldReleased, id, h.Scope, reason, by))
		if err != nil {
			p.restore(l)
			return err
		}
		receipt = receipts[0]
		lp := p.logPlan(log)
		lp.commit.Releases = []store.Hold{{ID: id, Released: h.Released}}
		return c.commitNow(ctx, p)
	})
	if err != nil {
		return store.Hold{}, Receipt{}, fmt.Errorf("release hold: %w", err)
	}
	return h, receipt, nil
}

func (l *Ledger) hold(ctx context.Context, tenant, id string) (h store.Hold, err error) {
	err = l.store.Holds(ctx, tenant, func(x store.Hold) error {
		if x.ID == id {
			h = x
			return errFound
		}
		return nil
	})
	switch {
	case errors.Is(err, errFound):
		return h, nil
	case err != nil:
		return h, err
	}
	return h, fmt.Errorf("hold %q: %w", id, evidence.ErrNotFound)
}

// holdsInForce returns a tenant's holds that were not released.
func (l *Ledger) holdsInForce(ctx context.Context, tenant string) (list []store.Hold, err error) {
	err = l.store.Holds(ctx, tenant, func(h store.Hold) error {
		if h.Released.LogNo == 0 {
			list = append(list, h)
		}
		return nil
	})
	return list, err
}

// holdCovering returns the first hold of the tenant or of a time that covers a record, or "".
func holdCovering(holds []store.Hold, occurred, recorded evidence.Micros) string {
	for i := range holds {
		if coversTime(&holds[i], occurred, recorded) {
			return holds[i].ID
		}
	}
	return ""
}

// unique returns what is in a or b, each once.
func unique[T comparable](a, b []T) []T {
	seen := make(map[T]bool, len(a)+len(b))
	var out []T
	for _, x := range slices.Concat(a, b) {
		if !seen[x] {
			seen[x] = true
			out = append(out, x)
		}
	}
	return out
}
