// Package seal keeps content secret: it commits to sealed fields, encrypts
// their openings, finds them by MAC, opens them, and makes them unreadable
// for good when they are erased.
//
// A sealed segment holds the openings of records that came together and
// share a data key, as JSON
//
//	{"<record id>": {"seed": "<base64url>", "fields": {"<path>": "<JSON text>"}}}
//
// compressed with zstd and encrypted with XAES-256-GCM (C2SP) under a
// 24-byte random nonce, with associated data
//
//	"runledger/seal/v1" || 0x00 || u16be(len(origin)) || origin || segment id[16]
//
// so that a segment can be opened only as what it is and where it stands. A
// record that lost a field to erasure has "salts" with the remaining salts
// in place of its seed.
//
// Data keys have a scope: a person's /actor is under that person's key;
// everything else under the data subject's key if the record names one,
// else under the tenant's key of the day. They are wrapped by the master
// keyset. Whoever holds the database and not the master keyset can read
// nothing sealed; whoever erases must delete the segment and destroy the key.
//
// It does not decide who may read: internal/access does.
package seal
