// Package verify checks evidence bundles of runledger offline: whole logs,
// single runs and periods, from a ZIP or a directory, with nothing but the verifier keys
// that the auditor holds. It is pure: it opens no network connection and reads no
// clock, and nothing in a bundle is trusted that does not follow from the
// auditor's keys.
//
// # What is checked
//
// In this order, stopping at the first failure in 1 to 5 and collecting
// findings after (formats.md section 8):
//
//	 1 E_CONTAINER   the ZIP is byte for byte the one form that its files give;
//	                 exactly the manifest's files, each in a known place
//	 2 E_FILE        SHA-256 of every file
//	 3 E_LOGSIG      every checkpoint strict, of the expected log, signed by its
//	                 pinned key; those of anchors/ and consistency/ too
//	 4 E_LEAF        every leaf canonical and in profile; log, seq and t; ids
//	                 unique; LOG_OPENED first, with the pinned key, LOG_CLOSED
//	                 last; facts of the server's own without a producer
//	 5 E_INCLUSION   the root computed from all leaves is the signed one; of a
//	                 run or period, each leaf has its proof
//	 6 E_QUORUM      witnesses of the policy have cosigned (no policy: W_NO_QUORUM)
//	 7 E_TIME        their times, and those of RFC 3161 time stamps, agree with t,
//	                 ± 5 minutes (none: W_NO_TIME); stamps hold, under the roots
//	                 that the auditor trusts (none given: W_TIME_UNCHECKED)
//	 8 E_FORK        the log extends the checkpoint that the auditor kept, and
//	                 every other signed tree in the bundle is one of its own
//	 9 E_GAP         each run has n = 0, 1, … without gaps in log order, and each
//	                 llm_run counts right; a period has all its leaves
//	10 E_COMMIT      what is disclosed is what was committed to
//	   E_UNACCOUNTED every sealed field is disclosed, or withheld with a reason;
//	                 erased and expired ones by a record of the log; one that
//	                 says that rows of a table have expired speaks of no others,
//	                 and of none younger than the policy on record let go
//	11 E_RECEIPT     the export of this manifest is itself recorded in the log
//
// # One run
//
// A bundle of profile run holds some leaves of each log. Its records are those
// of the run, system records and audit entries of no run, exports of this run,
// records of erasures and expiries, and audit entries of other runs that share a
// correlation id with this one; any other is E_LEAF. Check 9 demands n = 0, 1, …
// over all its logs, from the oldest to the newest, where each names the one
// before it as its predecessor (else W_PREDECESSOR). What came after the newest
// llm_run is listed, see [RunReport]; a run without one is W_OPEN. Older trees
// cannot be computed, so checkpoints in anchors/ and the one that the auditor kept
// need a consistency proof to the directory's.
//
// # A period
//
// A bundle of profile period holds, of the tenant's own logs, every leaf with
// from <= t < until, and the ones next to them, so that one that is missing shows
// (E_GAP): the seqs of a directory have no gaps; the first leaf is older than the
// period, or leaf 0; where leaf 0 is not older, the log before it is there too;
// the last leaf is younger than the period, or the last of its checkpoint. Where
// that is so of the newest log, the period's end is open (W_OPEN). The record of
// an erasure or expiry may stand apart behind the others, as it may be much later.
// What runs did before and after is not there, so n is not checked.
//
// # Which log is whose
//
// Of profiles run and period, logs/0 is the tenant's newest log; then comes the one
// that its LOG_OPENED names, where the bundle holds it, and so on. A directory that
// this does not lead to and that holds nothing but shared system records is the
// system's log. Of a period any other is E_GAP. A log whose key is not given is
// left out (W_NO_KEY); records of a run may be missing there, but only where
// another log names it as its predecessor.
//
// # A certificate
//
// [Certificate] checks an [ErasureCertificate]: records of an erasure, with their proofs,
// in one JSON file. Its own code is E_CERTIFICATE.
//
// # What is not proven
//
// That a producer told the truth, and that events which were never sent do
// not exist. Without a witness quorum, that everybody is shown the same log.
// Of a run, that no later record or revision of it exists, and that what is
// there beside its own records is all that there is. Of a period, what came
// before and after, and that the system shared no more.
// What the reports, the policy and completeness.json of a bundle say is a
// view or a hint of its maker: their digests are checked, and nothing else.
//
// # Lines
//
// disclosures.jsonl and withheld.jsonl are lines of RFC 8785 objects in
// order of (seq, path), each at most once; see [Disclosure] and [Withheld].
// records.jsonl has them in order of seq; see [Record].
// That order lets them be matched with the leaves as both are read. What
// grows in memory with a log is 8 bytes for each leaf, 24 for each field said
// to be erased or expired, and one map entry for each run, or, with a bundle of
// a run or period, some 100 bytes for each record; beyond that there are some
// entry bundles and lines for each worker.
package verify
