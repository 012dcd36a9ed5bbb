package facade

import (
	"context"
	"errors"

	"github.com/runledger/runledger/answer"
	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
)

// Integrity is O4 of AUDIT: what continuous verification knows of the tenant's
// logs, and what others have said of the newest. It reads what is known: a check is
// never started by a question.
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
		Witnesses:       []answer.Witness{},
		Timestamps:      []answer.Timestamp{},
		Metadata:        f.union(r, "", nil),
	}
	for n, found := range i.Anomalies {
		a.Anomalies[n] = answer.Anomaly{
			Code: found.Code, Table: found.Table, Column: optional(found.Column), Log: optional(found.Log),
			LeafFrom: found.From, LeafUntil: found.To, Expected: optional(found.Expected), Found: optional(found.Found),
			Message: found.Message, FirstSeen: found.FirstSeen,
		}
	}
	if i.LogNo == 0 {
		return a, nil
	}
	if a.Checkpoint != "" {
		note, err := f.cfg.Ledger.Cosigned(ctx, r.Tenant, i.LogNo, []byte(a.Checkpoint))
		if err != nil {
			return nil, err
		}
		a.Checkpoint = string(note)
	}
	return a, f.outside(ctx, r.Tenant, i.LogNo, a)
}

// outside adds what others have said of a log.
func (f *Facade) outside(ctx context.Context, tenant string, logNo int, a *answer.AuditIntegrity) error {
	list, err := f.cfg.Ledger.Newest(ctx, tenant, logNo)
	if err != nil {
		return err
	}
	for i := range list {
		said := &list[i]
		switch {
		case said.Kind == ledger.AttestTimestamp:
			a.Timestamps = append(a.Timestamps, answer.Timestamp{Authority: said.By, Size: said.Size, Time: said.At})
		case f.cfg.Witnesses == nil:
			a.Witnesses = append(a.Witnesses, answer.Witness{Name: said.By, Size: said.Size, Time: &said.At})
		}
	}
	if f.cfg.Witnesses == nil {
		return nil
	}
	witnesses, why := f.cfg.Witnesses(tenant)
	a.Witnesses = append(a.Witnesses, witnesses...)
	if why != "" && a.IntegrityStatus != ledger.StatusCompromised && a.Why == nil {
		a.IntegrityStatus, a.Why = ledger.StatusDegraded, &why
	}
	return nil
}
