package lifecycle

import (
	"fmt"

	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/store"
)

// ErrHeld is returned where a legal hold is in force on what was to be removed.
var ErrHeld = store.ErrHeld

// heldErasure says which holds forbid an erasure, for people.
type heldErasure struct {
	error
	holds []string
}

// Error implements error.
func (e heldErasure) Error() string {
	if len(e.holds) == 0 { // the database refused, for one that was placed just now
		return "nothing is erased: a legal hold is in force on it"
	}
	if len(e.holds) > 1 {
		return "nothing is erased: legal holds are in force on it: " + ledger.HoldNames(e.holds)
	}
	return "nothing is erased: a legal hold is in force on it: " + e.holds[0]
}

// Unwrap implements errors.Unwrap.
func (e heldErasure) Unwrap() error { return e.error }

// Partly is an error of Expire for who cannot be shown both it and the result: what has
// gone all the same is said in it.
func (r RunResult) Partly(err error) error {
	removed := int64(0)
	for _, c := range r.Classes {
		removed += c.Removed
	}
	if err == nil || removed == 0 {
		return err
	}
	return fmt.Errorf("%d records were removed before this: %w", removed, err)
}
