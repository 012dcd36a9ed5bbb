package ledger

import (
	"context"
	"fmt"
	"math"

	"github.com/runledger/runledger/internal/c2sp"
	"github.com/runledger/runledger/internal/store"
)

// readAttestations checks what others said, as far as it concerns the log: which tree
// it is about. Whether they said it is for who has their keys.
func (f *logFold) readAttestations(ctx context.Context) error {
	q := store.AttestationQuery{From: f.saidTo, To: math.MaxInt64}
	return f.t.read.Attestations(ctx, f.lg.LogRef, q, func(a store.Attestation) error {
		f.saidTo = a.Size + 1
		why := ""
		switch a.Kind {
		case store.KindCosignature:
			sigs, err := c2sp.ParseSignatures(a.Data)
			if err != nil || len(sigs) != 1 || sigs[0].Name != a.By || fmt.Sprintf("%08x", sigs[0].KeyID) != a.Key {
				why = "the cosignature is not one line of the witness that it names"
			}
		default:
			c, err := c2sp.Verify(a.Note, f.key)
			switch {
			case err != nil:
				why = "what was stamped is not signed by the log's key"
			case c.Origin != f.lg.Origin || c.Size != a.Size:
				why = "what was stamped is of another log or size than its place"
			}
		}
		if why != "" {
			f.finding(Finding{Code: CodeHead, Table: "attestations", From: max(a.Size-1, 0), To: a.Size, Message: why + " (" + a.By + ")"})
		}
		return nil
	})
}
