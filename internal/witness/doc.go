// Package witness is both sides of C2SP tlog-witness.
//
// A [Server] is a witness, to be run by someone else than the log: it cosigns a
// checkpoint of a log only if that extends what it last cosigned, so nobody can be
// shown another history of the log under its cosignature. Its state is one small file
// for each log, synced before it answers. What contradicts that state and is signed by
// the log is kept as proof.
//
// A [Client] belongs to the log's server. It shows each published checkpoint to the
// witnesses of a policy and keeps their cosignatures; it asks a time-stamping
// authority now and then; and it asks the witnesses before the first append after a
// start, so that a restored backup is found although the anchor was restored with it.
//
// Several processes may write one log, each with a Client of its own. What one of them
// has had cosigned the others find in the store, and do not ask for again. A witness that
// knows a larger tree than was shown to it contradicts nothing as long as the store has
// that tree too ([ledger.Ledger.Contradicted]). Of the stampers one at a time has a log
// stamped.
//
// Beyond tlog-witness, which leaves retrieval open, a Server answers
//
//	GET <prefix>/checkpoint?origin=<origin>
//
// with the checkpoint that it last cosigned, with the signatures of the log and its
// own. That is what lets a Client tell a fork, which that note proves, from the word of
// a witness.
package witness
