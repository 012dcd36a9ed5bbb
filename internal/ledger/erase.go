package ledger

import (
	"context"
	"errors"
	"fmt"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

// Erasure says what to erase: sealed fields of single records, or all that
// stands under a person's own keys. Leaves are never touched: the log stays
// as verifiable as it was.
type Erasure struct {
	Fields []ErasedField
	// Person is a human actor or data subject: their /actor in every record,
	// everything sealed in the records that name them as data subject, and what producers said
	// about the runs of these in entries of their own (reports of mismatches).
	Person string
	// Run is a run: everything sealed in its records, and what producers said about it in such entries.
	Run    string
	Reason string
	// By is the operator who orders it; it stands sealed in the record, unless it is the person who is erased.
	By string
}

// orderedBy is who is named as the one who ordered it: their name would be sealed under a key that goes, and is to go.
func (e *Erasure) orderedBy() string {
	if e.By == e.Person {
		return ""
	}
	return e.By
}

// ErasedField is one record's sealed fields.
type ErasedField struct {
	store.Position
	Paths []string // empty: all
}

// Erased is what an erasure did.
type Erased struct {
	Records  int // records that lost content
	Fields   int // sealed fields that are gone
	Keys     int // data keys that were destroyed
	Runs     int
	Receipts []Receipt // of the ErasureExecuted records with targets
	// ID names the erasure. Statement is the record that says of it as a whole, by counts alone,
	// what was done; Body is the text of its sealed /after_state (ADR 031).
	ID        string
	At        evidence.Micros
	Statement Receipt
	Body      string
	// ScrubLater: see Ledger.Scrub.
	ScrubLater bool
}

// Erase makes sealed content unreadable for good. In one transaction it
// appends ErasureExecuted, one record for each run concerned, and removes
// or rewrites the sealed segments, the index entries, and the keys whose
// whole scope goes; the statement of the whole erasure follows in the next. It runs
// alone: appends wait meanwhile, but not while what is concerned is looked for.
//
// Content under a key that opens other content too is sealed anew under a later key of the
// same label; the old key still opens copies of the old segments in backups until
// FinishErasures has sealed the others anew too and destroyed it.
//
// The error is a *HeldError where holds cover some of it: then nothing is erased. Where
// Erased.ID is set in spite of an error, it is erased; FinishErasures does what is left.
func (l *Ledger) Erase(ctx context.Context, tenant string, e Erasure) (Erased, error) {
	ctx = store.NoLag(ctx)
	life, unlock := l.life(tenant)
	out, done, err := l.erase(ctx, tenant, life, e)
	for tries := 1; tries < expireTries && errors.Is(err, evidence.ErrConflict) && !errors.Is(err, store.ErrHeld); tries++ {
		out, done, err = l.erase(ctx, tenant, life, e) // another process has sealed some of it anew
	}
	unlock()
	if err != nil {
		return Erased{}, err
	}
	out.Statement, out.Body, err = l.stateErasure(ctx, tenant, done)
	var scrubbed error
	out.ScrubLater, scrubbed = l.Scrub(ctx) // behind the statement, with which the note of it goes
	return out, errors.Join(err, scrubbed)
}

func (l *Ledger) erase(ctx context.Context, tenant string, life *tenantLife, e Erasure) (Erased, *erasureNote, error) {
	w := newEraser(l, tenant, e)
	if err := w.collect(ctx); err != nil {
		return Erased{}, nil, err
	}
	if err := w.rewrite(ctx); err != nil {
		return Erased{}, nil, err
	}
	var out Erased
	var done *erasureNote
	err := l.control(ctx, tenant, func(ctx context.Context, c *committer) error {
		o, err := c.newest(tenant)
		if err != nil {
			return err
		}
		// Once more: what came in between is of it, and what was opened is not opened again.
		if err := w.collect(ctx); err != nil {
			return err
		}
		if len(w.segments) == 0 {
			return fmt.Errorf("erase: nothing of it is sealed here: %w", evidence.ErrNotFound)
		}
		holds, err := l.refreshHolds(ctx, tenant, life)
		if err != nil {
			return err
		}
		held, err := w.heldBy(ctx, holds)
		if err != nil {
			return err
		}
		if len(held) > 0 {
			return fmt.Errorf("erase: %w", &HeldError{held})
		}
		if err := w.rewrite(ctx); err != nil {
			return err
		}
		out, done, err = w.execute(ctx, c, o)
		return err
	})
	return out, done, err
}

// PlanErasure counts what Erase would do, and does nothing.
func (l *Ledger) PlanErasure(ctx context.Context, tenant string, e Erasure) (ErasurePlan, error) {
	ctx = store.NoLag(ctx)
	if _, err := l.current(ctx, tenant); err != nil {
		return ErasurePlan{}, err
	}
	w := newEraser(l, tenant, e)
	if err := w.collect(ctx); err != nil {
		return ErasurePlan{}, err
	}
	life, unlock := l.life(tenant)
	holds, err := l.refreshHolds(ctx, tenant, life)
	unlock()
	if err != nil {
		return ErasurePlan{}, err
	}
	n := w.counts()
	plan := ErasurePlan{Records: n.records, Fields: n.fields, Runs: n.runs, Keys: len(w.keys), Retire: len(w.toRetire())}
	if plan.Held, err = w.heldBy(ctx, holds); err != nil || e.Person == "" {
		return plan, err
	}
	plan.Beside, err = w.beside(ctx)
	return plan, err
}

// ServerErasure reports whether a leaf is the record of an erasure.
func ServerErasure(leaf *evidence.Leaf) bool {
	return leaf.Kind == evidence.KindAudit && leaf.Text("event_type") == eventErased
}

// namesTargets reports whether a leaf is a record that says what is gone: it is never erased
// itself, else nothing would tell what was removed from what was lost.
func namesTargets(leaf *evidence.Leaf) bool {
	return ServerErasure(leaf) || leaf.Kind == evidence.KindAudit && leaf.Text("event_type") == eventRetention
}
