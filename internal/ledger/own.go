package ledger

import (
	"context"
	"encoding/json"

	"github.com/runledger/runledger/evidence"
)

// Events that the ledger itself records.
const (
	eventOpened    = "LOG_OPENED"
	eventClosed    = "LOG_CLOSED"
	eventAnomaly   = "INTEGRITY_ANOMALY"
	eventAnchored  = "CHECKPOINT_ANCHORED"
	eventErased    = "ErasureExecuted"
	eventRetention = "RetentionApplied"
	eventPolicy    = "RetentionPolicyChanged" // of package lifecycle

	component = "ledger"
	writer    = "SystemRecordWriter"
	auditor   = "AuditLedgerWriter"
)

// systemRecord returns a system record of the ledger, complete but for what
// the caller adds before Complete.
func (l *Ledger) systemRecord(now evidence.Micros, event, severity, summary string) *evidence.Record {
	r := &evidence.Record{Kind: evidence.KindSystem, ID: NewID(now), OccurredAt: now}
	r.SetText("source_domain", "LOGS")
	r.SetText("source_component", writer)
	r.SetText("component", component)
	r.SetText("event_type", event)
	r.SetText("severity", severity)
	r.SetSealed("/summary", evidence.QuoteJSON(summary))
	return r
}

// auditRecord returns an audit entry of the ledger.
func (l *Ledger) auditRecord(now evidence.Micros, event, entityType, entityID string) *evidence.Record {
	r := &evidence.Record{Kind: evidence.KindAudit, ID: NewID(now), OccurredAt: now}
	r.SetText("source_domain", "LOGS")
	r.SetText("source_component", auditor)
	r.SetText("system_id", component)
	r.SetText("event_type", event)
	r.SetText("entity_type", entityType)
	r.SetText("entity_id", entityID)
	return r
}

// setDetails seals v as the details of a system record.
func setDetails(r *evidence.Record, path string, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		panic("ledger: " + err.Error()) // plain data of this package
	}
	r.SetSealed(path, b)
}

// appendOwn appends records of the server itself.
func (l *Ledger) appendOwn(ctx context.Context, tenant string, records ...*evidence.Record) error {
	for _, r := range records {
		if err := r.Complete(); err != nil {
			return err
		}
	}
	_, err := l.Append(ctx, tenant, records, AppendOptions{})
	return err
}
