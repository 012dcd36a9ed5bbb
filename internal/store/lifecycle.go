package store

import (
	"context"
	"fmt"

	"github.com/runledger/runledger/evidence"
)

// ErrHeld says that a legal hold is in force on what was to be removed. Nothing of the
// call is done.
var ErrHeld = fmt.Errorf("store: a legal hold is in force: %w", evidence.ErrConflict)

// TableLeaves is the Table of an Expiry of leaf segments; those of topic rows have
// the name of their kind's table (evidence.Kind.Table).
const TableLeaves = "leaf_segments"

// Expiry says which rows may leave a table: an order that a RetentionApplied record
// gives. It is written in the commit of that record, never changed but for Done, and
// the database refuses one whose record is not there, that names a time or table the
// record does not (valid_until, entity_id), that is younger than the tenant's policy by
// the database's own clock (evidence.Class of the table; the newest
// RetentionPolicyChanged of that class, else the default), or that is about the audit
// ledger, whose records are removed only where they are synthetic.
//
// An expiry is named by By, LogNo and From; another one of that name is
// evidence.ErrConflict. A limit of a policy that is no whole number of days, from 1 up, in at
// most six digits lets nothing of its class go. Refusals are evidence.ErrForbidden, and ErrHeld under a hold of the tenant.
//
// Of leaf segments only a prefix of the log may go, and only what stands in an
// archive: From is 0 or the To of the expiry before, and both are those of an ArchiveUnit.
type Expiry struct {
	By    Position // of the RetentionApplied record
	Table string
	LogNo int   // of the rows
	From  int64 // leaf index
	To    int64 // not in it
	// Before: only rows that were recorded before this.
	Before evidence.Micros
	// Synthetic: only synthetic records. The record says so by its rule_id "synthetic".
	Synthetic bool
	// Done: what was to go is gone. Until then some of it may still be there.
	Done bool
}

// Scopes of a Hold.
const (
	HoldTenant  = "tenant"  // everything of the tenant
	HoldTime    = "time"    // what occurred or was recorded From <= t < Until
	HoldRun     = "run"     // one run
	HoldSubject = "subject" // the runs that name a person, and their records without a run
)

// Hold is a legal hold. While it is in force the database refuses to remove rows that
// it covers, by whatever order, and an ErasureExecuted record of a run that it covers.
type Hold struct {
	ID          string   // entity_id of LegalHoldPlaced and LegalHoldReleased
	Scope       string   // HoldTenant, …
	Placed      Position // of its LegalHoldPlaced
	Released    Position // of its LegalHoldReleased; LogNo 0: in force
	From, Until evidence.Micros
	// Runs and Records are what a hold of a run or a subject covers. Records are
	// those without a run. A Reader leaves them out and gives their numbers.
	Runs           []string
	Records        []Position
	NRuns, NRecord int64
}

// ArchiveUnit is a stretch of a log that was written to an archive and verified there.
// Units of a log stand one behind another without gaps or overlap, the first at 0.
type ArchiveUnit struct {
	LogRef
	From, To int64
	// FirstAt and LastAt are the times of recording of its first and last leaf.
	FirstAt, LastAt evidence.Micros
	Archive         string        // the archive, as configured
	Name            string        // of the unit within it
	Manifest        evidence.Hash // SHA-256 of its manifest.json
	Bytes           int64         // of all its objects
	At              evidence.Micros
}

// RowMark is the little of a topic row that says whether it may go.
type RowMark struct {
	Seq                   int64
	RecordedAt            evidence.Micros
	OccurredAt            evidence.Micros
	Run                   string
	Synthetic             bool
	Segment, ActorSegment int64 // as in Entry
}

// HoldsMark counts what holds of a tenant say. None of it ever gets less.
type HoldsMark struct{ Placed, Released, Runs, Records int64 }

// LifecycleReader reads what lifecycle left. Its methods are part of Reader. An
// unknown tenant or log has none.
type LifecycleReader interface {
	// Expiries yields the expiries of a tenant, by log, table and From.
	Expiries(ctx context.Context, tenant string, fn func(Expiry) error) error
	// Holds yields a tenant's holds, those in force and those released, in the order in
	// which they were placed.
	Holds(ctx context.Context, tenant string, fn func(Hold) error) error
	// HoldParts yields what a hold of a run or a subject covers, in force or not: runs (at
	// is then zero) by their text, then records without a run (run is then ""), by position.
	HoldParts(ctx context.Context, tenant, id string, fn func(run string, at Position) error) error
	// HeldRuns returns which of these runs a hold in force of scope run or subject
	// covers, with the id of one such hold. Holds of tenant and time it leaves out.
	HeldRuns(ctx context.Context, tenant string, runs []string) (map[string]string, error)
	// HeldRecords returns the same of records without a run.
	HeldRecords(ctx context.Context, tenant string, at []Position) (map[Position]string, error)
	// HoldsMark returns what changes whenever a hold of the tenant is placed, extended or
	// released, see Removal.Holds.
	HoldsMark(ctx context.Context, tenant string) (HoldsMark, error)
	// Marks yields the marks of the rows of a kind with from <= seq < to, by seq.
	Marks(ctx context.Context, log LogRef, kind evidence.Kind, from, to int64, fn func(*RowMark) error) error
	// Archives yields the units of a log, by From.
	Archives(ctx context.Context, log LogRef, fn func(ArchiveUnit) error) error
	// SealedUnder yields the sealed segments of a tenant that are encrypted under a
	// key, by log and number, behind after (zero: from the start), at most limit. It
	// reads no others.
	SealedUnder(ctx context.Context, tenant string, key KeyID, after SegmentRef, limit int, fn func(SealedSegment) error) error
}

// Lifecycle removes what may go. Its methods are part of Store; each is one durable
// transaction.
type Lifecycle interface {
	// Expire removes, of the rows that these expiries of one tenant and log name, those
	// with from <= leaf index < to, with their entries of the sealed index, and carries
	// out r (nil: nothing), whose By is the record of one of them. Rows that a hold of a
	// run, a subject or a time covers are left out; one of the tenant is ErrHeld. It
	// returns how many rows went. done marks the expiries as Done: the caller says that no row of them
	// is left. (PostgreSQL looks for itself: some may wait for a drop, see PlanDrop.) Of
	// TableLeaves nothing is removed here. Errors: ErrHeld; evidence.ErrForbidden where an
	// expiry is not written down just so, or r is by none of their records; evidence.ErrConflict
	// where a segment of r is not the one that it expects (Removal.IDs), or holds are not
	// those that it knew of (Removal.Holds);
	// evidence.ErrInvalid where there is no expiry, or they are of several logs.
	Expire(ctx context.Context, tenant string, list []Expiry, from, to int64, done bool, r *Removal) (rows int64, err error)
	// ExpireLeaves removes the leaf segments that lie wholly in the prefix that the
	// tenant's expiries of TableLeaves name, at most limit, and returns how many are
	// left of them. With none left these expiries are Done; a segment that goes on behind
	// the prefix is none of them, and goes with the next.
	ExpireLeaves(ctx context.Context, log LogRef, limit int) (left int64, err error)
	// Remove carries out a removal by itself, as an erasure that was recorded before
	// goes on. Errors are those of Commit's Removal, and evidence.ErrConflict as in
	// Expire.
	Remove(ctx context.Context, tenant string, r *Removal) error
	// PlanDrop plans, in PostgreSQL, that partitions of months that have ended are
	// dropped as a whole, with what must stay moved before: those of whose rows expiries that
	// are not done name at least half, all tenants' together. It returns the names of those that
	// are planned now, be it before. Of such a partition Expire removes what it is
	// to remove but the rows, and marks no expiry as Done that names one, until DropPlanned. A
	// backend without partitions plans nothing.
	PlanDrop(ctx context.Context) ([]string, error)
	// DropPlanned drops what is planned, and marks as Done the expiries that name no row any
	// more. Rows whose sealed content is there stay, and what a hold covers. A plan that
	// does not succeed is given up: Expire removes its rows then. It returns the names
	// of both. Without an answer of the database plans stay for the next call.
	DropPlanned(ctx context.Context) (dropped, left []string, err error)
	// DropExpired gives back what belongs to nobody any more: in PostgreSQL the
	// partitions of months that have ended and that hold nothing. It returns the names. A
	// backend without partitions does nothing.
	DropExpired(ctx context.Context) ([]string, error)
	// ExtendHold adds runs and records to a hold in force of a subject; what it has is no
	// error. Errors: evidence.ErrNotFound; evidence.ErrConflict where it is released;
	// evidence.ErrInvalid where it is of another scope.
	ExtendHold(ctx context.Context, tenant, id string, runs []string, records []Position) error
	// KeepArchive writes down a unit. The same again is no error; another one with the
	// same From is evidence.ErrConflict (At aside: the first stays), and one that does not
	// follow the last, or ends behind the log, evidence.ErrInvalid.
	KeepArchive(ctx context.Context, u ArchiveUnit) error
	// RestoreLifecycle writes down, all or none, what another store of the same
	// deployment has of expiries, holds (with Runs and Records) and archives, for a copy
	// of it, archives first; what is there already is no error, and becomes Done or
	// Released where this says so. In the place of the database's own clock stand the time at
	// which the record of an expiry was made, which must not lie ahead of it, and the policy
	// that was in force before; all else is asked as ever.
	RestoreLifecycle(ctx context.Context, tenant string, e []Expiry, h []Hold, a []ArchiveUnit) error
}
