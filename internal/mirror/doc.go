// Package mirror copies a log while it grows and checks it as it goes: who runs a
// mirror has, on a machine of their own, every leaf that the log ever showed them and
// the signatures under them.
//
// # What is checked
//
// Of each checkpoint: its signature by the pinned key, that it extends the newest one
// seen before, and the quorum of witnesses of the policy. Of each entry bundle: that it
// belongs to the signed tree, before anything of it is kept. Of each leaf: what
// evidence.ParseLeaf and verify.LogRules demand, and that its id is new. Of the whole:
// that its root is the signed one. Codes are those of formats.md section 8:
//
//	E_LOGSIG      not a checkpoint of this log, or not signed by the pinned key
//	E_FORK        it does not extend what was seen: another root, or a smaller tree
//	E_INCLUSION   tiles or entries are not those of the signed tree
//	E_LEAF        a leaf that no honest log has
//	E_TIME        a witness signed before a leaf that it covers
//	E_QUORUM      too few witnesses so far; the copy waits
//	W_NO_KEY      the log is closed, and nothing vouches for its successor's key
//
// # The directory
//
//	<12 hex>/checkpoint           the newest one that all of the below is in
//	<12 hex>/checkpoint.seen      the newest one that was seen
//	<12 hex>/key                  the verifier key
//	<12 hex>/tile/…               C2SP tlog-tiles: hashes and entries
//	forks/…, rejected/…           what the server showed that contradicts: kept for good
//
// It is C2SP's layout, so any server of files serves it on. A process that dies at any
// point leaves a directory that the next one goes on from: files appear whole and
// durable, and the checkpoint last. What is there is checked anew at the start.
//
// # Closed logs
//
// A log that ends with LOG_CLOSED is followed to the successor that it names where the
// successor's key was given too, or where the closing checkpoint has the quorum of a
// policy (formats.md section 4). The successor must name the closed log's last tree.
//
// # What it is not
//
// A witness: it signs nothing. And alone it cannot know that others are shown the same
// log; two mirrors that compare checkpoints can.
package mirror
