package ledger

import (
	"fmt"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

// ExpiryOrder says what a RetentionApplied record orders: that rows of one table leave
// it, with their sealed content.
type ExpiryOrder struct {
	LogNo int
	// Table is that of a kind, or store.TableLeaves.
	Table string
	// Ranges are the leaves, in order, without paths. They are about records of the
	// table's kind only; of store.TableLeaves there is one.
	Ranges []evidence.TargetRange
	// From and Before bound when the records were recorded: From <= t < Before.
	From, Before evidence.Micros
	// Class is the class of retention, Days the policy that was applied.
	Class string
	Days  int
	Rows  int64 // how many records
	// Archive is where they stand; none where the class is not archived.
	Archive []store.ArchiveUnit
	Reason  string
	By      string // the operator; "" where the scheduler acts
}

// EarlyError says that an order is too early by the policy and the clock of now. It wraps
// evidence.ErrConflict.
type EarlyError struct {
	Table, Class string
	Before       evidence.Micros
}

// Error implements error.
func (e *EarlyError) Error() string {
	return fmt.Sprintf("%s from before %s, of class %s: %s: by the policy and the clock of now it is too early; what is due must be chosen anew",
		e.Table, e.Before, e.Class, evidence.ErrConflict)
}

// Unwrap returns evidence.ErrConflict.
func (e *EarlyError) Unwrap() error { return evidence.ErrConflict }

// ExpiryStep is what one step of ExpireStep did.
type ExpiryStep struct {
	Rows     int64 // topic rows, or leaf segments, that are gone
	Segments int   // sealed segments that are gone or were written anew
	More     bool  // there is more to do
}

// Retired is what RetireKeys or FinishErasures did.
type Retired struct {
	Keys     int // data keys that were destroyed
	Segments int // sealed segments that were sealed anew
	Erasures int // of FinishErasures: that were executed before, and whose statement it wrote
}

// HoldOrder asks for a legal hold.
type HoldOrder struct {
	Scope       string          // store.HoldTenant, …
	Run         string          // of scope run: its id, as the log has it
	Subject     string          // of scope subject: a human actor or data subject
	From, Until evidence.Micros // of scope time
	Reason      string          // required
	By          string          // the operator
}

// ErasurePlan is what an erasure would do.
type ErasurePlan struct {
	Records int // that would lose content
	Fields  int
	Runs    int
	Keys    int      // data keys that would be destroyed at once
	Retire  int      // data keys of the day that would be destroyed after sealing anew the rest under them
	Held    []string // ids of the holds that forbid it
	// Beside, of a person: other records of the runs that are about the person have content that stays, since they name
	// nobody, or somebody else. It is counted in the first thousand of these runs.
	Beside int
}
