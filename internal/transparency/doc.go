// Package transparency serves the logs of a tenant to those who watch them: signed
// checkpoints, tiles of the Merkle tree, entries and proofs, at the paths of C2SP
// tlog-tiles and in the formats of formats.md sections 4 and 5. Nothing that it says
// needs to be believed: whoever has the log's verifier key checks it.
//
//	/api/v1/transparency/logs               the logs that may be asked for, JSON
//	/api/v1/transparency/log/<12 hex>/…     one of them, by the end of its origin
//	/api/v1/transparency/…                  the tenant's newest
//
//	checkpoint                              the newest published one, with cosignatures
//	key                                     the log's verifier key, a hint
//	tile/<L>/<N>[.p/<W>]                    hashes
//	tile/entries/<N>[.p/<W>]                leaves
//	proof/inclusion?index=&size=            C2SP tlog-proof
//	proof/consistency?old=&new=             body of C2SP tlog-witness add-checkpoint
//
// # Who may ask
//
// Checkpoints, hashes and proofs say how much a log holds and nothing of what: they
// are for who may read the tenant's logs. Entries show the public facts of every
// record, so they take the permission to read audit, and a rule that shows synthetic
// and other records alike. Of the system log, tenants are shown what says nothing of
// its content: their bundles hold records of it. Requests are not views and are not
// recorded; denials are.
//
// # What is served
//
// Only what a published checkpoint covers, and only what belongs to the tree that it
// signs: the database is not believed. With a quorum of witnesses the checkpoint is
// the newest that has it, but never an older one than was served before. Where several
// processes serve a log, that holds across all of them: each answer follows from what
// the store has. With a quorum that none of the newest cosignatures make, there is then
// no checkpoint (503).
package transparency
