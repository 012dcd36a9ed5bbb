package facade

import (
	"context"
	"errors"

	"github.com/runledger/runledger/answer"
	"github.com/runledger/runledger/evidence"
)

// Integrity is O4 of AUDIT: what continuous verification knows of the tenant's
// logs. It reads memory: a check is never started by a question.
func (f *Facade) Integrity(ctx context.Context, r Reader) (*answer.AuditIntegrity, error) {
	// A log that nobody has written to since the start is not in memory yet.
	if _, err := f.cfg.Ledger.End(ctx, r.Tenant); err != nil && !errors.Is(err, evidence.ErrNotFound) {
		return nil, err
	}
	i := f.cfg.Ledger.Integrity(r.Tenant)
	a := &answer.AuditIntegrity{
		IntegrityStatus: i.Status,
		Anomalies:       make([]answer.Anomaly, len(i.Anomalies)),
		LastVerified:    i.LastVerified,
		TreeSize:        i.TreeSize,
		RootHash:        i.RootHash.String(),
		Checkpoint:      i.Checkpoint,
		VerifiedThrough: i.VerifiedThrough,
		Why:             optional(i.Why),
		Witnesses:       []string{},
		Timestamps:      []string{},
		Metadata:        f.union(r, "", nil),
	}
	for n, found := range i.Anomalies {
		a.Anomalies[n] = answer.Anomaly{
			Code: found.Code, Table: found.Table, Column: optional(found.Column), Log: optional(found.Log),
			LeafFrom: found.From, LeafUntil: found.To, Expected: optional(found.Expected), Found: optional(found.Found),
			Message: found.Message, FirstSeen: found.FirstSeen,
		}
	}
	return a, nil
}
