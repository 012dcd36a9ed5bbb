package store

import "context"

// What a Removed took away.
const (
	RemovedSegment = "segment"
	RemovedKey     = "key"
	RemovedIndex   = "index"
)

// Removed is what a store keeps of one thing that a Removal took away: enough to
// refuse that it comes back, and nothing of what it was.
type Removed struct {
	What string
	// LogNo and No say where a segment stood, by its number, or the record of an
	// index entry, by its leaf index. Of a key both are 0.
	LogNo int
	No    int64
	ID    [16]byte // of a segment or key
	Name  string   // of an index entry
	By    Position // the record that ordered it
}

// Mover is what a copy of a whole deployment needs beside Reader and Commit. Its
// methods are part of Store.
type Mover interface {
	// SealedRange yields those sealed segments of a log that have from <= number <
	// to, by number.
	SealedRange(ctx context.Context, log LogRef, from, to int64, fn func(SealedSegment) error) error
	// Removals yields what was taken away from a tenant, in no order. An unknown
	// tenant has none.
	Removals(ctx context.Context, tenant string, fn func(Removed) error) error
	// KeepRemovals writes down, all or none, what another store of the same
	// deployment took away, so that it does not come back here. It deletes nothing.
	// What is written down already is no error; a record that orders no removal, or
	// is not there, is evidence.ErrForbidden, an unknown What evidence.ErrInvalid,
	// a tenant without a log evidence.ErrNotFound.
	KeepRemovals(ctx context.Context, tenant string, list []Removed) error
	// KeepCheckpoints keeps checkpoints as KeepCheckpoint does, all or none.
	KeepCheckpoints(ctx context.Context, log LogRef, list []Checkpoint) error
	// Others names the other programs that have the store open, as far as the
	// backend can tell: one that it cannot see is none.
	Others(ctx context.Context) ([]string, error)
}
