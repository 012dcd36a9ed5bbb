package export

import (
	"context"
	"encoding/json"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
)

// States of an export, one record each.
const (
	pending   = "pending"
	completed = "completed"
	failedNow = "failed"
)

// NewID returns a new export id.
func (e *Exporter) NewID() string { return ledger.NewID(e.now()).String() }

func (e *Exporter) now() evidence.Micros { return evidence.MicrosOf(e.cfg.Now()) }

// record returns a record of this service about an export, but for what its
// kind adds.
func (j *job) record(kind evidence.Kind, component string) *evidence.Record {
	now := j.e.now()
	r := &evidence.Record{Kind: kind, ID: ledger.NewID(now), OccurredAt: now}
	r.SetText("source_domain", "LOGS")
	r.SetText("source_component", component)
	setSynthetic(r, j.req.Tenant)
	if j.req.By.Human {
		r.SetHumanActor(j.req.By.Name)
	} else {
		r.SetText("system_id", j.req.By.Name)
	}
	return r
}

// state appends the export's next state.
func (j *job) state(ctx context.Context, status string, more func(*evidence.Record)) (ledger.Receipt, error) {
	r := j.record(evidence.KindExport, "LogExportService")
	r.SetText("export_id", j.req.ExportID)
	r.SetText("scope", ScopeCompliance)
	r.SetNames("compliance_tags", j.req.Tags)
	switch j.req.Profile {
	case ProfilePeriod:
		r.SetText("scope", j.req.Scope)
		r.SetText("retention_class", RetentionHot)
		setTime(r, "from", j.req.From)
		setTime(r, "until", j.req.Until)
	case ProfileRun:
		r.SetText("scope", "llm_run")
		r.SetText("about_run", j.req.Run)
		r.SetText("retention_class", RetentionHot)
	}
	r.SetText("format", j.req.Format)
	r.SetText("status", status)
	r.SetSealed("/requested_by", evidence.QuoteJSON(j.req.By.Name))
	if j.req.By.Human { // all that is sealed here is about them
		r.SetSealed("/subject", evidence.QuoteJSON(j.req.By.Name))
	}
	request, err := json.Marshal(struct {
		Profile      string   `json:"profile"`
		Directory    bool     `json:"directory"`
		Disclose     []string `json:"disclose"`
		Withhold     []string `json:"withhold"`
		NotPermitted bool     `json:"not_permitted"`
		NoAudit      bool     `json:"no_audit"`
		SinceSize    int64    `json:"since_size"`
	}{
		j.req.Profile, j.req.Directory, append([]string{}, j.req.Disclose...), append([]string{}, j.req.Withhold...),
		j.req.NotPermitted, j.req.NoAudit, j.req.SinceSize,
	})
	if err != nil {
		return ledger.Receipt{}, err
	}
	r.SetSealed("/request", request)
	more(r)
	return j.append(ctx, r)
}

// access appends the LOG_EXPORT entry: what was given to whom.
func (j *job) access(ctx context.Context, b *Bundle) error {
	r := j.record(evidence.KindAudit, "AuditLedgerWriter")
	r.SetText("event_type", "LOG_EXPORT")
	r.SetText("entity_type", "EXPORT")
	r.SetText("entity_id", j.req.ExportID)
	r.SetText("about_run", j.req.Run)
	r.SetText("decision", "ALLOWED")
	r.SetText("credential_id", j.req.By.credential())
	r.SetInt("byte_count", b.Bytes)
	r.SetInt("record_count", b.Records)
	r.SetSealed("/view_digest", evidence.QuoteJSON(b.Digest))
	_, err := j.append(ctx, r)
	return err
}

func (j *job) append(ctx context.Context, r *evidence.Record) (ledger.Receipt, error) {
	if err := r.Complete(); err != nil {
		return ledger.Receipt{}, err
	}
	receipts, err := j.e.cfg.Ledger.Append(ctx, j.req.Tenant, []*evidence.Record{r}, ledger.AppendOptions{})
	if err != nil {
		return ledger.Receipt{}, err
	}
	return receipts[0], nil
}

func setTime(r *evidence.Record, name string, at evidence.Micros) {
	r.PutFact(evidence.Fact{Field: evidence.PublicField(r.Kind, name), Int: int64(at)})
}

// setSynthetic marks a record of this service in the tenant of scenarios, and in no
// other: an export is evidence, whoever asks for it.
func setSynthetic(r *evidence.Record, tenant string) {
	if tenant == evidence.SyntheticTenant {
		r.SetBool("is_synthetic", true)
	}
}
