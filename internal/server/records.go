package server

import (
	"cmp"
	"context"
	"encoding/json"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
)

// Components that this package speaks for (contract section 4).
const (
	componentAPI       = "api"
	componentMigration = "migration"
)

// systemEvent is a record of SystemRecordWriter in the system log. It is
// shared: it is part of the environment of every tenant's runs.
type systemEvent struct {
	component, event string
	severity         string    // default INFO
	at               time.Time // default now
	version          string
	configDigest     string
	causedBy         string
	summary          string
	details          any // nil: none
}

func (e systemEvent) record(now time.Time) (*evidence.Record, error) {
	r := &evidence.Record{Kind: evidence.KindSystem, ID: ledger.NewID(evidence.MicrosOf(now)), OccurredAt: evidence.MicrosOf(now)}
	if !e.at.IsZero() {
		r.OccurredAt = evidence.MicrosOf(e.at)
	}
	r.SetText("source_domain", "SYSTEM")
	r.SetText("source_component", "SystemRecordWriter")
	r.SetText("component", e.component)
	r.SetText("event_type", e.event)
	r.SetText("severity", cmp.Or(e.severity, "INFO"))
	r.SetText("caused_by", e.causedBy)
	r.SetText("visibility", "shared")
	r.SetText("version", e.version)
	r.SetText("config_digest", e.configDigest)
	r.SetSealed("/summary", evidence.QuoteJSON(e.summary))
	if e.details != nil {
		b, err := json.Marshal(e.details)
		if err != nil {
			return nil, err
		}
		r.SetSealed("/details", b)
	}
	return r, r.Complete()
}

// record appends events to the system log.
func (d *Deployment) record(ctx context.Context, events ...systemEvent) error {
	var records []*evidence.Record
	for _, e := range events {
		r, err := e.record(time.Now())
		if err != nil {
			return err
		}
		records = append(records, r)
	}
	_, err := d.Ledger.Append(ctx, evidence.SystemTenant, records, ledger.AppendOptions{})
	return err
}

// recordRules appends RBACChanged: the rules of access are others than at the
// last start. They are named by the digests of their files.
func (d *Deployment) recordRules(ctx context.Context, before, after string) error {
	now := evidence.MicrosOf(time.Now())
	r := &evidence.Record{Kind: evidence.KindAudit, ID: ledger.NewID(now), OccurredAt: now}
	r.SetText("source_domain", "LOGS")
	r.SetText("source_component", "AuditLedgerWriter")
	r.SetText("event_type", "RBACChanged")
	r.SetText("entity_type", "RBAC")
	r.SetText("entity_id", "rbac_rules")
	r.SetText("system_id", componentAPI)
	r.SetSealed("/before_state", evidence.QuoteJSON(before))
	r.SetSealed("/after_state", evidence.QuoteJSON(after))
	if err := r.Complete(); err != nil {
		return err
	}
	_, err := d.Ledger.Append(ctx, evidence.SystemTenant, []*evidence.Record{r}, ledger.AppendOptions{})
	return err
}
