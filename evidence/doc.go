// Package evidence defines what runledger keeps: the eight kinds of record,
// the one table of their fields, the leaf that commits to a record, and the
// commitments that hide its sealed content.
//
// It is pure: no clock, no randomness, no I/O. The ledger, the stores, the
// verifier and the client all stand on it, so that each of them reads the
// same bytes the same way.
//
// # Leaf
//
// One record is one leaf: a JSON object in RFC 8785 (JCS) form of at most
// [MaxLeafSize] bytes, with these keys in this order:
//
//	et   occurred_at                  h    sealed path -> commitment
//	id   the record's UUID            kind one of the eight kinds
//	log  origin of the log            n    number within the run (with run)
//	pub  object of public facts       run  run id (with n)
//	seq  leaf index                   t    recorded_at
//	v    1
//
// The profile has no floats, no null, integers within ±(2^53−1), no
// duplicate keys and no insignificant white space; [Leaf.Parse] accepts
// exactly the canonical bytes and nothing else. The leaf hash is
// SHA-256(0x00 || leaf) as in RFC 6962 section 2.1.
//
// # Commitment
//
// A sealed field is committed to, never shown:
//
//	C = SHA-256("runledger/field/v1" || 0x00 || salt[16] ||
//	            u16be(len(path)) || path || u64be(len(value)) || value)
//
// where value is the exact JSON text as it was received, and the salt of a
// path is HMAC-SHA256(seed, path)[:16] with a random seed for each record.
package evidence
