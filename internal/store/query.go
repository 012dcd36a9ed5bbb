package store

import (
	"context"

	"github.com/runledger/runledger/evidence"
)

// Order is the order in which records are found.
type Order uint8

const (
	// Newest first: by log number and leaf index, descending.
	Newest Order = iota
	// ByTime is by occurred_at, ties by log number and leaf index.
	ByTime
	// ByTimeDown is the reverse of ByTime.
	ByTimeDown
)

// Query asks for records of one kind of one tenant. Conditions must all hold.
// An unknown tenant has none.
type Query struct {
	Tenant string
	Kind   evidence.Kind
	Where  []Condition
	// From and Until bound occurred_at, both included; nil: no bound.
	From, Until *evidence.Micros
	// Below bounds what is found to records that stand before this position:
	// what was there when a first page was read. The zero value: no bound.
	Below Position
	// After is the last record of the page before: found are those behind it in
	// the order. AfterTime is its occurred_at, used by the orders by time. nil: the
	// first page.
	After     *Position
	AfterTime evidence.Micros
	Order     Order
	Limit     int // at least 1
	// NewestRevision: of the llm_run records of a run only that with the highest
	// revision (Below counts) is found, and no conflict record. Without it, and
	// of all other kinds, conflict records are found like any. A run whose newest
	// revision does not meet the conditions is not found by an older one.
	NewestRevision bool
	// NewestState: of the export records of an export only the newest (Below counts)
	// is found.
	NewestState bool
}

// Condition is about one column, or about the sealed index, or holds where any
// of others does: exactly one of Field, Index and Any is set, else the query is
// evidence.ErrInvalid.
type Condition struct {
	// Field is a public field of the kind, or "run" for the record's own run. The
	// condition holds where its value is one of Values, so without any it holds
	// nowhere, nor does it where the field is absent. Values are written as in
	// native records: a bool is "true" or "false", a time has six decimals. An
	// unknown field is evidence.ErrInvalid, so is a list ([]), by whose members
	// nothing is found, and what no integer, bool or time is; a text that no
	// record has finds nothing. All conditions of a query have at most 4096 values.
	Field  string
	Values []string
	// Index holds for records that the sealed index finds under this name and MAC.
	// For steps and events that is any of their trace.
	Index *IndexTerm
	// Any holds where one of these does.
	Any []Condition
}

// IndexTerm is a name and MAC of the sealed index.
type IndexTerm struct {
	Name string
	MAC  [16]byte
}

// Found is where a record stands, with what is needed to order and open it.
type Found struct {
	Kind evidence.Kind
	Position
	OccurredAt            evidence.Micros
	Segment, ActorSegment int64 // as in Entry
}

// Finder finds records. Its methods are part of Reader. Each condition of the
// contract's lists and views is served by an index, so what a query costs
// follows from how much it finds and not from how much is stored; conditions
// that are frequent each and rare together are the exception. What is found
// comes from the columns, so who shows a record reads its leaf.
type Finder interface {
	// Find yields records in order, at most q.Limit. fn may not call the store.
	Find(ctx context.Context, q Query, fn func(Found) error) error
	// Count counts what Find would yield without a limit and After, but stops at
	// limit. Order does not matter.
	Count(ctx context.Context, q Query, limit int64) (int64, error)
	// Components returns the distinct components of a tenant's system records,
	// sorted, at most limit.
	Components(ctx context.Context, tenant string, limit int) ([]string, error)
	// RunOfAlias returns the run whose trace or llm_run record names this
	// run_alias; of several that of the newest record, be it a conflict record.
	// Else evidence.ErrNotFound.
	RunOfAlias(ctx context.Context, tenant, alias string) (string, error)
	// RunOfTrace returns the run of the newest trace record of this trace id, or
	// evidence.ErrNotFound.
	RunOfTrace(ctx context.Context, tenant, traceID string) (string, error)
	// OpenRunsOf yields a tenant's runs whose end has not been seen and which have
	// no llm_run record, the last to be first seen first, at most limit. before,
	// where not "", is the last run of the page before; after an unknown one there
	// is none.
	OpenRunsOf(ctx context.Context, tenant, before string, limit int, fn func(RunState) error) error
}
