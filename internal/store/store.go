// Package store is the contract between the ledger and the database that
// keeps it. It holds no logic: what a leaf is, what is signed and what is
// sealed is decided above it. A backend must satisfy the suite in
// storetest.
//
// # The contract
//
// A store keeps, per tenant, one or more logs. All that a commit brings is
// written in one transaction, synced to stable storage before Commit
// returns nil, or not at all. A commit moves the head of each of its logs
// from exactly the size, root and note the caller saw (compare-and-swap).
//
// Tables have three classes (fields.md). Evidence is inserted and read,
// never updated or deleted: the database itself refuses, through triggers.
// Sealed content is inserted, read, and removed only where an erasure or
// expiry is recorded. Operational rows may change; nothing in them is
// evidence.
//
// Text is kept byte for byte: case, non-ASCII and trailing spaces count.
// Times are kept to the microsecond. Tenants never mix: every lookup names
// its tenant.
//
// All methods may be called from several goroutines. After Close they
// return an error.
package store

import (
	"context"
	"errors"
	"time"

	"github.com/runledger/runledger/evidence"
)

// Errors of Commit, beside the sentinels of package evidence. After
// ErrDuplicate, ErrHeadMoved, evidence.ErrUnavailable and these, nothing of
// the commit is stored: evidence.ErrInvalid (a malformed commit, a gap in
// log numbers), evidence.ErrConflict (an origin, key or segment that is taken
// or was removed), evidence.ErrForbidden (a removal that no record of an
// erasure or expiry orders), evidence.ErrNotFound (a log that is not open).
// After any other error its outcome is unknown until the head has been read
// back.
var (
	// ErrDuplicate: a record's id or span is stored already (in this tenant).
	ErrDuplicate = errors.New("store: duplicate record")
	// ErrHeadMoved: the head of a log is not the one the commit starts from, or the
	// log has a successor: then it takes no commits.
	ErrHeadMoved = errors.New("store: head moved")
	// ErrKeyGone: a data key that content of the commit is sealed under is not
	// stored: another process destroyed it. Nothing of the commit is stored. A
	// SingleWriter need not look.
	ErrKeyGone = errors.New("store: data key is destroyed")
	// ErrSync: stable storage failed. The process must stop writing; what is
	// stored is found out by opening the store anew.
	ErrSync = errors.New("store: sync failed")
	// ErrLocked: another process holds the data directory.
	ErrLocked = errors.New("store: data directory is in use by another process")
)

// LogRef names a log: a tenant's logs are numbered from 1.
type LogRef struct {
	Tenant string
	No     int
}

// Log is what is fixed when a log is opened.
type Log struct {
	LogRef
	Origin     string
	VKey       string // verifier key, C2SP signed-note form
	WrappedKey []byte // signing key, encrypted under the master keyset
}

// Head is the state of a log that was last signed.
type Head struct {
	Size int64
	Root evidence.Hash
	Note []byte // the signed checkpoint, verbatim
}

// Position is where a record stands in its tenant's logs.
type Position struct {
	LogNo int
	Seq   int64
}

// Entry is one record of a commit.
type Entry struct {
	Leaf *evidence.Leaf
	// Segment and ActorSegment are the numbers of the sealed segments of
	// this log that hold the record's openings: Segment all but those that
	// stand under a person's own key as actor. NoSegment where there is none.
	Segment, ActorSegment int64
}

// NoSegment stands for the absence of a sealed segment.
const NoSegment int64 = -1

// LeafSegment is a run of consecutive leaves, compressed.
type LeafSegment struct {
	First int64 // leaf index of the first
	Count int   // 1 to 256
	Data  []byte
}

// Tile is a full tile: 256 hashes of one level (C2SP tlog-tiles).
type Tile struct {
	Level int
	N     int64
	Data  []byte // 256 * 32 bytes
}

// Checkpoint is a signed note that is kept.
type Checkpoint struct {
	Size int64
	Note []byte
}

// Kinds of an Attestation.
const (
	KindCosignature = "cosignature"
	KindTimestamp   = "timestamp"
)

// Attestation is what somebody outside said about a log's tree of one size.
type Attestation struct {
	Size int64
	Kind string
	By   string          // who, by name
	Key  string          // of a cosignature: the key's id, 8 hex digits; else empty
	At   evidence.Micros // when, as they say
	Note []byte          // what was stamped; empty: the checkpoint of that size
	Data []byte          // what they said, verbatim
}

// AttestationQuery chooses attestations of one log.
type AttestationQuery struct {
	Kind     string // of one kind; empty: of any
	From, To int64  // with From <= size <= To
	Newest   bool   // in the opposite order
	Limit    int    // at most so many; 0: all
}

// SegmentRef names a sealed segment within its tenant.
//
// No is given out by the ledger: the leaf index of the record that the segment
// begins with, shifted left by SegmentBits, and below that what tells apart the
// segments that begin with the same record: 0 for all openings but those that stand
// under a person's own key as actor, 1 for these; the rest is free. So numbers are
// unique in a log without a counter that processes would share, and a backend learns
// from a number alone with which record, and so at which time, a segment came:
// PostgreSQL's keeps and finds it in that month's partition.
// A backend keeps a segment whose number names no record of its commit all the same,
// by the time of the commit's first. Replacements have the number, and stay in the
// place, of what they replace.
type SegmentRef struct {
	LogNo int
	No    int64
}

// SegmentBits are the low bits of a sealed segment's number, which are not of the leaf
// index.
const SegmentBits = 4

// SealedSegment is encrypted content of records of one log.
type SealedSegment struct {
	SegmentRef
	ID   [16]byte // random, part of the encryption's associated data
	Key  KeyID    // the data key it is encrypted under
	Data []byte
}

// KeyID names a data key. It is random.
type KeyID [16]byte

// Scopes of data keys.
const (
	ScopeDay    = "day"    // label: the UTC date, 2026-11-23
	ScopePerson = "person" // label: a MAC of the person's id, in hex
	ScopeIndex  = "index"  // the tenant's key of index and content MACs
)

// DataKey is a key of a tenant, encrypted under the master keyset.
type DataKey struct {
	ID      KeyID
	Scope   string
	Label   string
	Wrapped []byte
}

// IndexEntry finds a record by the MAC of a sealed value.
type IndexEntry struct {
	Name string
	MAC  [16]byte
	Position
	// Trace is set for steps and events, which are indexed once a trace: a
	// further entry of the same name, MAC and trace is not stored. Empty
	// for other records.
	Trace string
}

// RunState is what sequencing must know of a run. It is operational: it can
// be rebuilt from the leaves, and verification does.
type RunState struct {
	Run      string
	NextN    int64 // number of the run's next record
	NextStep int64 // index of its next step
	Revision int64 // of its newest llm_run record; 0 where it has none
	Last     Position
	// Open: a record has come since its newest llm_run record, or it has none,
	// and nobody has settled it. It says whom to look at, no more.
	Open bool
}

// RunRecord is where a record of a run stands.
type RunRecord struct {
	Position
	Kind                  evidence.Kind
	N                     int64
	Segment, ActorSegment int64 // as in Entry
}

// Commit is what one transaction writes.
type Commit struct {
	Logs []LogCommit
}

// LogCommit extends one log.
type LogCommit struct {
	Log  LogRef
	Open *Log // set in the first commit of a log; Prev is then the empty tree
	Prev Head
	Next Head
	// Entries are the records Prev.Size .. Next.Size-1, in order.
	Entries  []Entry
	Segments []LeafSegment
	Tiles    []Tile
	// KeepCheckpoint keeps Next.Note among the checkpoints.
	KeepCheckpoint bool
	// Keys are new data keys. One that is stored already is skipped: two
	// commits in a row may bring the same.
	Keys []DataKey
	// Sealed is content of Entries: with segments and no entries a commit is
	// evidence.ErrInvalid.
	Sealed  []SealedSegment
	Index   []IndexEntry
	Runs    []RunState
	Removal *Removal
	// Expiries are ordered by records of Entries; Holds are placed, and Releases (of
	// which ID and Released count) end holds, by records of Entries.
	Expiries        []Expiry
	Holds, Releases []Hold
}

// Removal takes sealed content away. It is written after all else of its
// commit.
type Removal struct {
	// By is the record of this tenant that orders it: ErasureExecuted or
	// RetentionApplied.
	By Position
	// Segments are deleted. Where Replace has one of the same number, that
	// one is put in its place. IDs, where not nil, are the ids that the segments have:
	// one that has another, because somebody sealed it anew meanwhile, or is gone, is
	// evidence.ErrConflict, and nothing is done.
	Segments []SegmentRef
	IDs      [][16]byte
	Replace  []SealedSegment
	// Holds, where not nil, is what was known of holds when this was decided on. Only
	// Expire asks for it: one that was placed or extended since is evidence.ErrConflict.
	Holds *HoldsMark
	// NewKeys are data keys that Replace is sealed under and that are not stored yet.
	NewKeys []DataKey
	// Keys are destroyed, with what stands under them: PostgreSQL refuses one under which content
	// would be left (evidence.ErrForbidden).
	Keys  []KeyID
	Index []IndexEntry
}

// Span names a step by its natural key.
type Span struct{ TraceID, SpanID string }

// Row is a topic row as the database has it.
type Row struct {
	Seq                   int64
	RecordedAt            evidence.Micros
	OccurredAt            evidence.Micros
	Run                   string
	N                     int64
	Facts                 []evidence.Fact // the columns that are not null, by field
	Segment, ActorSegment int64
}

// Reader reads. Its methods see only what is committed. A method that
// yields many rows calls fn for each in the order stated and stops at fn's
// error, which it returns; fn may not keep what it is given, nor call the
// store.
type Reader interface {
	// Logs returns a tenant's logs in order, or with tenant "" those of all
	// tenants, by tenant id and number.
	Logs(ctx context.Context, tenant string) ([]Log, error)
	// Head returns the head of a log, or evidence.ErrNotFound.
	Head(ctx context.Context, log LogRef) (Head, error)
	// Segments yields the leaf segments that overlap [from, to), in order.
	Segments(ctx context.Context, log LogRef, from, to int64, fn func(LeafSegment) error) error
	// Tile returns the 8192 bytes of a full tile, or evidence.ErrNotFound.
	Tile(ctx context.Context, log LogRef, level int, n int64) ([]byte, error)
	// Tiles yields all full tiles of a log, by level and number.
	Tiles(ctx context.Context, log LogRef, fn func(Tile) error) error
	// Checkpoints yields the kept checkpoints of a log with size >= from, by
	// size.
	Checkpoints(ctx context.Context, log LogRef, from int64, fn func(Checkpoint) error) error
	// Attestations yields the attestations of a log that a query chooses, by
	// size, and within one size by kind, name and key.
	Attestations(ctx context.Context, log LogRef, q AttestationQuery, fn func(Attestation) error) error
	// FindIDs returns where records with these ids stand. Steps that have a
	// span id and contradict no other record are found by FindSpans instead.
	FindIDs(ctx context.Context, tenant string, ids []evidence.ID) (map[evidence.ID]Position, error)
	FindSpans(ctx context.Context, tenant string, spans []Span) (map[Span]Position, error)
	// Runs returns the states of those runs that have one.
	Runs(ctx context.Context, tenant string, runs []string) (map[string]RunState, error)
	// AllRuns yields every run state of a tenant, in no order.
	AllRuns(ctx context.Context, tenant string, fn func(RunState) error) error
	// OpenRuns yields the open runs of all tenants, oldest first.
	OpenRuns(ctx context.Context, fn func(tenant string, s RunState) error) error
	// RunRecords yields all records of a run, by n.
	RunRecords(ctx context.Context, tenant, run string, fn func(RunRecord) error) error
	// DataKeys returns a tenant's keys of a scope and label, or with scope ""
	// all of them, oldest first.
	DataKeys(ctx context.Context, tenant, scope, label string) ([]DataKey, error)
	// DataKey returns one key, or evidence.ErrNotFound.
	DataKey(ctx context.Context, tenant string, id KeyID) (DataKey, error)
	// SealedSegment returns one segment, or evidence.ErrNotFound.
	SealedSegment(ctx context.Context, tenant string, ref SegmentRef) (SealedSegment, error)
	// SealedSegmentsOf yields those of a log that have these numbers and are there, by
	// number. numbers must rise.
	SealedSegmentsOf(ctx context.Context, log LogRef, numbers []int64, fn func(SealedSegment) error) error
	// SealedSegments yields all of a log, by number.
	SealedSegments(ctx context.Context, log LogRef, fn func(SealedSegment) error) error
	// Row returns the topic row of one record, or evidence.ErrNotFound.
	Row(ctx context.Context, log LogRef, kind evidence.Kind, seq int64) (Row, error)
	// Rows yields the topic rows of a kind with from <= seq < to, by seq.
	Rows(ctx context.Context, log LogRef, kind evidence.Kind, from, to int64, fn func(*Row) error) error
	// RecordIDs yields a tenant's record ids, in no order.
	RecordIDs(ctx context.Context, tenant string, fn func(evidence.ID, Position) error) error
	// FindIndex returns the index entries of a name and MAC, newest first,
	// at most limit.
	FindIndex(ctx context.Context, tenant, name string, mac [16]byte, limit int) ([]IndexEntry, error)
	// Index yields all index entries of a tenant, in no order.
	Index(ctx context.Context, tenant string, fn func(IndexEntry) error) error
	// Setting returns a setting, or evidence.ErrNotFound.
	Setting(ctx context.Context, name string) (string, error)
	// Settings yields all settings, by name.
	Settings(ctx context.Context, fn func(name, value string) error) error
	// SettingsUnder yields the settings whose names begin with prefix, which ends in "/", by
	// name, and of each value the first most characters; it reads no others. Another prefix
	// is evidence.ErrInvalid.
	SettingsUnder(ctx context.Context, prefix string, most int, fn func(name, value string) error) error
	// APIKey returns a credential, or evidence.ErrNotFound.
	APIKey(ctx context.Context, id string) (APIKey, error)
	// APIKeys yields the credentials of a tenant, or of all with tenant "*"
	// (those of the platform have tenant ""), by creation and id.
	APIKeys(ctx context.Context, tenant string, fn func(APIKey) error) error
	// Guards returns what is missing of the database's own protection:
	// triggers, constraints and indexes, one line each; none is good.
	Guards(ctx context.Context) ([]string, error)
	// Damage returns where the database contradicts itself below the level
	// of rows, above all an index that does not hold what its table does,
	// one line each. It reads everything once.
	Damage(ctx context.Context) ([]string, error)
	Finder
	LifecycleReader
}

// Snapshot is a Reader at one point in time.
type Snapshot interface {
	Reader
	Close() error
}

// Store is a database that keeps evidence.
type Store interface {
	Reader
	Mover
	Lifecycle
	// Commit writes c in one durable transaction. See the errors above.
	Commit(ctx context.Context, c *Commit) error
	// KeepCheckpoint keeps a checkpoint; one of that size is kept already is
	// no error if it has the same bytes, and ErrHeadMoved otherwise.
	KeepCheckpoint(ctx context.Context, log LogRef, c Checkpoint) error
	// KeepAttestations keeps attestations of a log, all or none. Where one of
	// that size, kind, name and key is kept already, that one stays: it is the
	// earlier. A kind that is not one of the two, and no data, is
	// evidence.ErrInvalid.
	KeepAttestations(ctx context.Context, log LogRef, list []Attestation) error
	// SetSetting sets an operational setting.
	SetSetting(ctx context.Context, name, value string) error
	// SettleRuns says that these runs are not open, as long as their number of
	// records (NextN) is the one given.
	SettleRuns(ctx context.Context, tenant string, runs map[string]int64) error
	// PutAPIKey stores a credential, or replaces the one with its id.
	PutAPIKey(ctx context.Context, k APIKey) error
	// Snapshot opens a consistent view of the whole store.
	Snapshot(ctx context.Context) (Snapshot, error)
	// SingleWriter reports that this process alone writes, one Commit at a
	// time, so that commits of several logs are best put together and what this
	// process wrote is all there is. Else other processes may write the same
	// logs, and a Commit is of one tenant.
	SingleWriter() bool
	// Claim waits until no other process extends a log, and keeps it so until the
	// claim is ended: what is read meanwhile is what a commit finds. It gives its
	// turn to who loses every race of Commit. evidence.ErrNotFound where the log
	// is not open, evidence.ErrUnavailable where waiting took too long. A process
	// must not commit to that log by other ways while it holds the claim.
	Claim(ctx context.Context, log LogRef) (Claim, error)
	// Lease makes holder the one that has a name for ttl from now, by the
	// database's clock, unless another has it: then it returns false. A holder
	// extends its lease by asking again, and gives it up with ttl 0. A lease spares
	// work that two processes would do twice; it is no lock, since who has lost it
	// may not know yet.
	Lease(ctx context.Context, name, holder string, ttl time.Duration) (held bool, err error)
	// Scrub makes removed content unrecoverable from the store's own files
	// (free pages, write-ahead log) as far as the backend can.
	Scrub(ctx context.Context) error
	// Prepare does beforehand what the first Scrub of a process would take long for, in small pieces with
	// pauses. It returns when that is done, or nil when ctx is.
	Prepare(ctx context.Context) error
	Close() error
}

// Claim is the right to extend one log, for a while. It is for one goroutine.
type Claim interface {
	// Commit writes c as Store.Commit does, and ends the claim whatever comes of
	// it. c extends the claimed log, and may open its successor.
	Commit(ctx context.Context, c *Commit) error
	// Release ends the claim. Behind Commit or another Release it does nothing.
	Release()
}

// APIKey is a credential as stored: operational, its creation, first use and
// revocation are evidence.
type APIKey struct {
	ID        string // public, a name
	Tenant    string // "" for a credential of the platform
	Role      string
	Name      string   // for people
	Scopes    []string // permissions it is narrowed to; empty: all of its role
	Hash      [32]byte // SHA-256 of the secret
	CreatedAt evidence.Micros
	CreatedBy string
	ExpiresAt evidence.Micros // 0: never
	RevokedAt evidence.Micros // 0: not
	UsedAt    evidence.Micros // of its first use; 0: not used yet
	// Recorded: the revocation has its record.
	Recorded bool
}
