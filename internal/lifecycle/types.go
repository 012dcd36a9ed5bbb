// Package lifecycle keeps evidence for as long as the rules say: policies, legal holds, archive,
// expiry and erasure, each of them on record. It decides what goes and when; that it may go is
// checked by the ledger and by the database once more.
package lifecycle

import (
	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

// Actor is who asks: "" stands for the scheduler.
type Actor struct{ Human string }

// Policy is how long a class of evidence is kept.
type Policy struct {
	Class string `json:"class"`
	Days  int    `json:"days"`
	// Archive: records are in an archive before they expire; without an archive they do not expire.
	Archive bool `json:"archive"`
	// Never: records of the class are not removed at all (audit).
	Never bool `json:"never_removed"`
	// Default: no RetentionPolicyChanged says so. Else Record is that record's id.
	Default bool   `json:"default"`
	Record  string `json:"record_id,omitempty"`
	Since   string `json:"since,omitempty"` // when it was set: occurred_at of the record
}

// PolicyList is what holds for a tenant, and within which bounds it can be changed.
type PolicyList struct {
	TenantID      string   `json:"tenant_id"`
	Policies      []Policy `json:"policies"`
	FloorDays     int      `json:"floor_days"`
	HighRiskFloor int      `json:"high_risk_floor_days"`
	CeilingDays   int      `json:"ceiling_days"`
	Archive       string   `json:"archive"` // "" where there is none
}

// PolicyChange asks for another policy. nil: as it is.
type PolicyChange struct {
	Class   string `json:"class"`
	Days    *int   `json:"days,omitempty"`
	Archive *bool  `json:"archive,omitempty"`
	Reason  string `json:"reason"`
}

// Preview is what an expiry would do now, or at a later time.
type Preview struct {
	TenantID string         `json:"tenant_id"`
	At       string         `json:"at"`
	Classes  []ClassPreview `json:"classes"`
	// Blocked says why nothing at all would be removed; "" where it would.
	Blocked string `json:"blocked,omitempty"`
}

// ClassPreview is about one class.
type ClassPreview struct {
	Class  string         `json:"class"`
	Days   int            `json:"days"`
	Before string         `json:"recorded_before"` // records before this time are due
	Due    int64          `json:"due_records"`
	Tables []TablePreview `json:"tables"`
	// NextAt is when the oldest record that is not due will be; "" where there is none.
	NextAt  string `json:"next_at,omitempty"`
	Kept    []Kept `json:"kept"` // what is old enough and stays all the same
	Blocked string `json:"blocked,omitempty"`
}

// TablePreview counts the due records of one table.
type TablePreview struct {
	Table   string `json:"table"`
	Records int64  `json:"records"`
}

// Kept says why records stay that are old enough to go.
type Kept struct {
	Why     string `json:"why"` // hold, open_run, high_risk, run_goes_on, baseline, never
	Detail  string `json:"detail,omitempty"`
	Records int64  `json:"records"`
}

// RunRequest asks for an expiry now.
type RunRequest struct {
	Class        string `json:"class,omitempty"` // "": all
	ConfirmClock bool   `json:"confirm_clock,omitempty"`
	Reason       string `json:"reason,omitempty"`
}

// RunResult is what an expiry did.
type RunResult struct {
	TenantID string        `json:"tenant_id"`
	Classes  []ClassResult `json:"classes"`
	Archived []UnitInfo    `json:"archived"`
	Retired  int           `json:"keys_destroyed"`
	Dropped  []string      `json:"partitions_dropped"`
	Segments int64         `json:"leaf_segments_moved"`
}

// ClassResult is about one class.
type ClassResult struct {
	Class   string         `json:"class"`
	Removed int64          `json:"removed_records"`
	Tables  []TablePreview `json:"tables"`
	Records []string       `json:"record_ids"` // of the RetentionApplied records
	Kept    []Kept         `json:"kept"`
	Blocked string         `json:"blocked,omitempty"`
}

// HoldRequest asks for a legal hold: exactly one of Run, Subject, All and the two times.
type HoldRequest struct {
	Run     string `json:"run_id,omitempty"`
	Subject string `json:"subject,omitempty"`
	All     bool   `json:"all,omitempty"`
	From    string `json:"from,omitempty"`
	Until   string `json:"until,omitempty"`
	Reason  string `json:"reason"`
}

// HoldInfo is a hold. Reason and By are shown to who may read content.
type HoldInfo struct {
	ID         string `json:"hold_id"`
	Scope      string `json:"scope"`
	Run        string `json:"run_id,omitempty"`
	From       string `json:"from,omitempty"`
	Until      string `json:"until,omitempty"`
	Runs       int64  `json:"runs"`
	Records    int64  `json:"records_without_run"`
	PlacedAt   string `json:"placed_at"`
	PlacedBy   string `json:"placed_by,omitempty"`
	Reason     string `json:"reason,omitempty"`
	ReleasedAt string `json:"released_at,omitempty"`
	ReleasedBy string `json:"released_by,omitempty"`
	Record     string `json:"record_id"`
	InForce    bool   `json:"in_force"`
}

// HoldList is the answer of a list.
type HoldList struct {
	TenantID string     `json:"tenant_id"`
	Holds    []HoldInfo `json:"holds"`
}

// ArchiveRequest asks for an archive of what was recorded before a time, whatever is due.
type ArchiveRequest struct {
	Until string `json:"until,omitempty"` // default: all that is published
}

// UnitInfo is a unit of an archive.
type UnitInfo struct {
	Log      string `json:"log"`
	LogNo    int    `json:"log_no"`
	From     int64  `json:"from"`
	To       int64  `json:"to"`
	FirstAt  string `json:"first_at"`
	LastAt   string `json:"last_at"`
	Archive  string `json:"archive"`
	Name     string `json:"name"`
	Manifest string `json:"manifest"` // sha256:<hex>
	Bytes    int64  `json:"size_bytes"`
	At       string `json:"archived_at"`
}

// ArchiveList is the answer of a list, and of a run.
type ArchiveList struct {
	TenantID string     `json:"tenant_id"`
	Units    []UnitInfo `json:"units"`
}

// ShowRequest asks for the records of a run from the archive.
type ShowRequest struct {
	Run string `json:"run_id"`
}

// ShowAnswer is the answer.
type ShowAnswer struct {
	TenantID string        `json:"tenant_id"`
	Run      string        `json:"run_id"`
	Records  []ShownRecord `json:"records"`
}

// ShownRecord is one record: its leaf, verbatim.
type ShownRecord struct {
	Log   string `json:"log"`
	Index int64  `json:"leaf_index"`
	Hash  string `json:"leaf_hash"`
	Leaf  string `json:"leaf"`
	Unit  string `json:"unit"`
}

// ErasureRequest asks for an erasure: exactly one of Subject, Run and Records.
type ErasureRequest struct {
	Subject string `json:"subject,omitempty"`
	Run     string `json:"run_id,omitempty"`
	// Records are ids of records; Paths which sealed fields of them (none: all).
	Records []string `json:"record_ids,omitempty"`
	Paths   []string `json:"paths,omitempty"`
	// Copies: of Records; the other fields in which the same text stands are erased with them. Text is the text that is looked
	// for, "" all that the fields have. It is not recorded.
	Copies bool   `json:"copies,omitempty"`
	Text   string `json:"text,omitempty"`
	DryRun bool   `json:"dry_run,omitempty"`
	Reason string `json:"reason"`
}

// ErasureAnswer is what was done, or would be.
type ErasureAnswer struct {
	TenantID string   `json:"tenant_id"`
	DryRun   bool     `json:"dry_run"`
	ID       string   `json:"erasure_id,omitempty"`
	Records  int      `json:"records"`
	Fields   int      `json:"fields"`
	Runs     int      `json:"runs"`
	Keys     int      `json:"keys_destroyed"`
	Retire   int      `json:"keys_to_retire"`
	Held     []string `json:"held_by"`
	// Copies are where the erased text stands as well, in other fields of the records, of their runs, and of what was said
	// about these: where it goes, too, if that was asked for, and else stays. The first hundred of CopyCount records.
	Copies    []CopyInfo `json:"copies"`
	CopyCount int        `json:"copy_count"`
	// Beside, of a subject and a dry run: how many other records of the runs that are about the person keep content, since
	// they name nobody, or somebody else; in the first thousand of these runs.
	Beside int `json:"records_beside"`
	// ScrubLater: a reader holds an older state of the database's files, which are freed of what
	// was erased as soon as it lets go.
	ScrubLater bool `json:"scrub_pending"`
	// Certificate is the erasure certificate (package verify); absent of a dry run.
	Certificate []byte `json:"certificate,omitempty"`
}

// CopyInfo is a record that has copies of erased text.
type CopyInfo struct {
	Record string   `json:"record_id"`
	Kind   string   `json:"kind"`
	Log    string   `json:"log"`
	Index  int64    `json:"leaf_index"`
	Paths  []string `json:"paths"`
}

func micros(m evidence.Micros) string { return m.String() }

// infoOf describes a unit.
func infoOf(u store.ArchiveUnit, origin string) UnitInfo {
	return UnitInfo{
		Log: origin, LogNo: u.No, From: u.From, To: u.To, FirstAt: micros(u.FirstAt), LastAt: micros(u.LastAt),
		Archive: u.Archive, Name: u.Name, Manifest: "sha256:" + u.Manifest.String(), Bytes: u.Bytes, At: micros(u.At),
	}
}
