package ledger

import (
	"context"

	"github.com/runledger/runledger/evidence"
)

// Kinds of an attestation.
const (
	AttestCosignature = "cosignature"
	AttestTimestamp   = "timestamp"
)

// Attestation is what somebody outside said about a log's tree of one size: a
// witness by a cosignature, an authority by a time stamp.
type Attestation struct {
	Size int64
	Kind string
	By   string          // key name of the witness, or name of the authority in the configuration
	At   evidence.Micros // as they say
	// Note is the checkpoint with the log's own signature alone: what was stamped.
	Note []byte
	// Data is the signature line with its newline, or the DER of the response.
	Data []byte
}

// Attestations returns those of a tenant's log with from <= size, by size, kind and
// name.
func (l *Ledger) Attestations(ctx context.Context, tenant string, logNo int, from int64) ([]Attestation, error) {
	return nil, nil
}

// Cosigned returns a published note of a log with the cosignatures that are kept for
// its size behind the log's own signature, in order of their names; without any it
// is the note itself.
func (l *Ledger) Cosigned(ctx context.Context, tenant string, logNo int, note []byte) ([]byte, error) {
	return note, nil
}
