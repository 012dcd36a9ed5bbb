// Package replay is the API by which an SDK verifies replays (/api/v1/traces,
// contract section 7): it stores a trace, gives it back by run or by root hash,
// compares two runs, and keeps mismatches that were reported.
//
// # What it is not
//
// It has no authority over logs. It holds no store, ledger or key, and decides
// nothing about who may do what: it reads with the functions of package facade,
// as the reader it is given, and writes through [Ingest], which checks what
// comes in as it checks what comes from anybody. It changes and deletes
// nothing. A test of package archtest holds it to that.
//
// # Storing
//
// A trace with its steps is one request. It becomes native records, a trace and
// its trace_steps (contract section 10), under the same names, and what the
// request does not know about them is left to ingest. Their ids follow from trace
// and span ids, so sending it again changes nothing.
//
// # Comparing
//
// Two runs are in parity when what was given to them and what they did is the
// same. Of the traces that is seed, frozen_timestamp and plan (by plan_hash
// where both have it). Of each step, in this order: kind, skill_id, skill_name,
// replay_behavior, its input, status, outcome_category, outcome_code, its
// output. Input is input_hash where both have one that may be read, else params
// and prompt; output is output_hash, else outcome_data and response. They are
// compared as canonical JSON (RFC 8785, but with integers of any size exact).
// Times, durations, tokens, costs and ids may differ. rng_state_before is not
// compared: the facade does not show it.
//
// Steps are aligned from the top: the steps without a parent, then the children
// of each pair. Among siblings a step goes with the one of the same
// idempotency_key, where that stands once in both runs; then with the next one of
// the same kind, skill_id and skill_name, in the order of time; then, where a
// step was replaced by another, with the next that is left. So steps that
// ran in parallel may end in any order, but calls of the same skill with the same
// parent and no key must begin in the same order. Conflict records are left
// out.
//
// replay_behavior says what a replay does with a step, in either run:
//   - skip: it may be missing, with all below it. Where both have it, what it
//     was and was given is compared and what came of it is not.
//   - check: it is compared like any other, and a divergence says that it was
//     one that had to be checked.
//
// Content that may not be read, is erased, or was captured in one run only
// cannot be compared. The runs are then not comparable, and no parity is
// claimed, though a difference elsewhere is still one. What neither run
// captured is no difference; content_compared says of how many steps content
// was compared at all.
//
// # Mismatches
//
// A mismatch is an audit record ReplayMismatchReported about a SIGNAL, whose
// entity_id is the mismatch and the record's own id. Its resolution is a second
// record, whose id follows from the first's: so there is never more than one
// of either, whoever races. Both name the run in about_run, so that saying
// something about a run does not change it. Reason, expectation and finding are
// sealed.
package replay
