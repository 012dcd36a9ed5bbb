package ledger

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

// HeldError says which legal holds forbid something. It wraps store.ErrHeld.
type HeldError struct{ Holds []string } // ids, sorted

// Error implements error.
func (e *HeldError) Error() string {
	return fmt.Sprintf("%s: %v", HoldNames(e.Holds), store.ErrHeld)
}

// Unwrap implements errors.Unwrap.
func (e *HeldError) Unwrap() error { return store.ErrHeld }

// maxHoldNames bounds the holds that a text names.
const maxHoldNames = 10

// HoldNames lists holds for people, the first ten by name.
func HoldNames(ids []string) string {
	if n := len(ids) - maxHoldNames; n > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(ids[:maxHoldNames], ", "), n)
	}
	return strings.Join(ids, ", ")
}

// heldBy returns the ids of all holds that forbid the erasure, sorted.
func (w *eraser) heldBy(ctx context.Context, holds []store.Hold) ([]string, error) {
	held := []string{}
	if len(holds) == 0 {
		return held, nil
	}
	runs, records := map[string]bool{}, map[store.Position]bool{}
	var times [][2]evidence.Micros // when what is erased occurred, and was recorded
	for _, seg := range w.order {
		for _, h := range seg.hits {
			times = append(times, [2]evidence.Micros{h.occurred, h.recorded})
			if h.run != "" {
				runs[h.run] = true
			} else {
				records[h.at] = true
			}
		}
	}
	for i := range holds {
		h := &holds[i]
		covers := slices.ContainsFunc(times, func(t [2]evidence.Micros) bool { return coversTime(h, t[0], t[1]) })
		if h.Scope == store.HoldRun || h.Scope == store.HoldSubject {
			err := w.l.store.HoldParts(ctx, w.tenant, h.ID, func(run string, at store.Position) error {
				if run != "" && runs[run] || run == "" && records[at] {
					covers = true
					return errFound
				}
				return nil
			})
			if err != nil && !covers {
				return nil, err
			}
		}
		if covers {
			held = append(held, h.ID)
		}
	}
	slices.Sort(held)
	return held, nil
}

// coversTime reports whether a hold of the tenant or of a time covers a record.
func coversTime(h *store.Hold, occurred, recorded evidence.Micros) bool {
	switch h.Scope {
	case store.HoldTenant:
		return true
	case store.HoldTime:
		return h.From <= occurred && occurred < h.Until || h.From <= recorded && recorded < h.Until
	}
	return false
}
