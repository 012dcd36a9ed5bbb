package answer

import "github.com/runledger/runledger/evidence"

// StoredTrace is a trace of a run as the replay API gives it (/api/v1/traces):
// the facade's trace, and how much was said about its replays.
type StoredTrace struct {
	Trace RunTrace `json:"trace" doc:"as /api/v1/logs/llm-runs/{run_id}/trace shows it; further pages are read by run id"`
	// RunIDs is about the request: who asks for a run gets that run.
	RunIDs             []string          `json:"run_ids" doc:"runs with the root hash asked for, newest first, the first is the one shown; by run id that run alone"`
	MismatchesReported int64             `json:"mismatches_reported" doc:"about this run; counting stops at 10000"`
	MismatchesResolved int64             `json:"mismatches_resolved"`
	Metadata           evidence.Metadata `json:"metadata"`
}

// TraceReceipt says where the records of a trace stand that was stored.
type TraceReceipt struct {
	RunID     string            `json:"run_id"`
	TraceID   string            `json:"trace_id"`
	Receipts  []Receipt         `json:"receipts" doc:"of the trace, then of its steps in the order of the request"`
	Duplicate bool              `json:"duplicate" doc:"all of it was there already: nothing changed"`
	Conflicts int64             `json:"conflicts" doc:"records that contradict ones stored before; both are kept, and these count in no total"`
	Metadata  evidence.Metadata `json:"metadata"`
}

// Receipt says where one record of a request stands.
type Receipt struct {
	Index      int     `json:"index" doc:"of the records of the request, from 0"`
	ID         string  `json:"id"`
	Log        string  `json:"log"`
	LogNo      int     `json:"log_no"`
	LeafIndex  int64   `json:"leaf_index"`
	LeafHash   string  `json:"leaf_hash" doc:"hex"`
	Duplicate  bool    `json:"duplicate" doc:"the record was there already"`
	ConflictOf *string `json:"conflict_of" doc:"id of the record that this one contradicts"`
}

// Comparison says whether two runs took the same steps, as far as the log holds
// them when they are compared.
type Comparison struct {
	RunID      string `json:"run_id"`
	OtherRunID string `json:"other_run_id"`
	// Parity is only claimed where everything could be checked.
	Parity          bool          `json:"parity" doc:"nothing differs that must be the same, and nothing was left unchecked"`
	Comparable      bool          `json:"comparable" doc:"false where content that decides is withheld, erased, or was captured in one run only"`
	Compared        int64         `json:"compared" doc:"steps that both runs have"`
	ContentCompared int64         `json:"content_compared" doc:"those of them whose input or output was compared, by hash or as it is"`
	Skipped         int64         `json:"skipped" doc:"steps that a replay skips and that only one run has"`
	Divergent       int64         `json:"divergent" doc:"steps that differ, or that only one run has"`
	Divergence      *Divergence   `json:"divergence" doc:"the first step that differs; null where none does"`
	Differences     []Divergence  `json:"differences" doc:"what differs of the traces themselves: seed, frozen_timestamp, plan"`
	Uncheckable     []Uncheckable `json:"uncheckable" doc:"what could not be compared, and why"`

	Metadata evidence.Metadata `json:"metadata"`
}

// Reasons of a Divergence.
const (
	Differs     = "differs"
	OnlyInThis  = "only_in_this"
	OnlyInOther = "only_in_other"
)

// Divergence is a difference between two runs.
type Divergence struct {
	StepIndex      *int64  `json:"step_index" doc:"position among the steps of this run in their order, from 0; of the other run where only that has the step; null where it is about the trace"`
	ThisStepIndex  *int64  `json:"this_step_index" doc:"step_index of the step's own record; null where this run has no such step"`
	OtherStepIndex *int64  `json:"other_step_index"`
	ReplayBehavior *string `json:"replay_behavior" enum:"execute,skip,check" doc:"of the step in this run, else in the other: with check, what was to be checked did not hold"`
	Field          string  `json:"field" doc:"of the step; step where one run does not have it"`
	Reason         string  `json:"reason" enum:"differs,only_in_this,only_in_other"`
	Detail         string  `json:"detail" doc:"for people"`
	This           Content `json:"this"`
	Other          Content `json:"other"`
}

// Uncheckable is a field that could not be compared.
type Uncheckable struct {
	Field     string `json:"field"`
	Reason    string `json:"reason" enum:"not_permitted,erased,expired,not_captured" doc:"not_captured: one of the runs has it and the other does not"`
	Steps     int64  `json:"steps" doc:"how many steps; 0 where it is about the trace"`
	StepIndex *int64 `json:"step_index" doc:"position of the first of them"`
}

// States of a Mismatch.
const (
	MismatchOpen     = "open"
	MismatchResolved = "resolved"
)

// Mismatch is a reported difference between a run and its replay, with its
// newest state. Both its report and its resolution are audit records
// (ReplayMismatchReported, ReplayMismatchResolved).
type Mismatch struct {
	ID         string            `json:"id" doc:"UUID; also that of the report's record"`
	RunID      string            `json:"run_id"`
	OtherRunID *string           `json:"other_run_id" doc:"the replay, where it was named and content may be read"`
	StepIndex  *int64            `json:"step_index" doc:"as reported, where content may be read"`
	Field      *string           `json:"field" doc:"as reported, where content may be read"`
	Status     string            `json:"status" enum:"open,resolved"`
	Reason     Content           `json:"reason"`
	Expected   Content           `json:"expected"`
	Found      Content           `json:"found"`
	ReportedAt evidence.Micros   `json:"reported_at"`
	ReportedBy *string           `json:"reported_by" doc:"null where it is a person who may not be shown"`
	ResolvedAt *evidence.Micros  `json:"resolved_at"`
	ResolvedBy *string           `json:"resolved_by"`
	Resolution Content           `json:"resolution" doc:"why it counts as resolved; not_captured while it is open"`
	Metadata   evidence.Metadata `json:"metadata" doc:"of the report and the resolution together"`
}

// MismatchList is a list of mismatches, newest report first. With a status in
// the filters a page may be short of its limit although has_more is true, and
// total counts the reports whatever their state.
type MismatchList struct {
	Items []Mismatch `json:"items"`
	Page
}
