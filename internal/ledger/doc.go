// Package ledger turns evidence into signed, append-only Merkle logs, one
// per tenant, and proves and checks what it wrote.
//
// # Write path
//
// Append seals records in the caller's goroutine and hands them to the one
// committer. It sequences what waits into a plan (leaf bytes, tree, signed
// head) while the previous plan is being written, and writes each plan in
// one store transaction that moves the head of every log it touches by
// compare-and-swap. A receipt is given only after that transaction is
// durable, so it always means: stored, in the tree, under a head signed in
// the same transaction. Nothing signed leaves the process earlier.
//
// Duplicates are found optimistically: the store refuses them, the plan is
// taken back, and its records are resolved one by one against what is
// stored (same content: the first receipt; other content: a conflict
// record, or a refusal).
//
// # What it trusts
//
// Not the database. A head read from it counts only if its signature
// verifies, the root recomputed from tiles and leaf segments matches, and
// it extends what memory and the anchor (a copy of the newest note outside
// the database) last saw. On any contradiction, on a failed sync, and on a
// clock that jumps, writing stops and nothing is signed.
//
// # What it is not
//
// It does not know what a run means, who may read, or how bundles look.
package ledger
