package producers

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
)

// maxTold bounds the silences that are stated in one append.
const maxTold = 100

// details are those of a record PRODUCER_SILENT.
type details struct {
	Credential string          `json:"credential"`
	Component  string          `json:"source_component"`
	LastSeen   evidence.Micros `json:"last_seen"`        // recorded_at of its last record
	Interval   float64         `json:"interval_seconds"` // between heartbeats
	Patience   float64         `json:"patience_seconds"`
	LastSeq    *int64          `json:"last_producer_seq"`
}

// tell states which producers have become silent by now. The book is at the end of the
// tenant's logs as of then.
func (t *Tracker) tell(ctx context.Context, b *book, now evidence.Micros) error {
	var quiet []*producer
	for _, p := range b.list {
		if p.quiet(t.since, now) {
			quiet = append(quiet, p)
		}
	}
	slices.SortFunc(quiet, byName)
	for len(quiet) > 0 {
		n := min(len(quiet), maxTold)
		if err := t.append(ctx, b.tenant, quiet[:n], now); err != nil {
			return fmt.Errorf("producers of %s that are silent are not recorded: %w", b.tenant, err)
		}
		for _, p := range quiet[:n] {
			t.log.Warn("a producer is silent", "tenant", b.tenant, "credential", p.Credential, "component", p.Component,
				"last_seen", p.LastRecorded.String())
		}
		quiet = quiet[n:]
	}
	return nil
}

// quiet reports whether the producer has been silent for too long, and there is no
// record of it. since is from when on it has been listened to.
func (p *producer) quiet(since, now evidence.Micros) bool {
	return p.Heart.expected() && !p.silent() && duration(max(p.LastRecorded, since), now) >= p.Heart.patience()
}

func (t *Tracker) append(ctx context.Context, tenant string, quiet []*producer, now evidence.Micros) error {
	var records []*evidence.Record
	for _, p := range quiet {
		r, err := p.record(tenant, now)
		if err != nil {
			return err
		}
		records = append(records, r)
	}
	if _, err := t.cfg.Ledger.Append(ctx, tenant, records, ledger.AppendOptions{}); err != nil {
		return err
	}
	for _, p := range quiet {
		p.Heart.asked = p.LastRecorded
	}
	return nil
}

// record is that of a silence. Whoever states it again says the same of what counts.
func (p *producer) record(tenant string, now evidence.Micros) (*evidence.Record, error) {
	r := &evidence.Record{Kind: evidence.KindSystem, OccurredAt: now, NaturalKey: p.silence(), Said: []string{"event_type"}}
	r.SetText("source_domain", "SYSTEM")
	r.SetText("source_component", "SystemRecordWriter")
	r.SetText("component", componentOf(p))
	r.SetText("event_type", eventSilent)
	r.SetText("severity", "WARN")
	r.SetText("correlation_id", p.Credential)
	if tenant == evidence.SyntheticTenant {
		r.SetBool("is_synthetic", true)
	}
	d := details{
		Credential: p.Credential, Component: p.Component, LastSeen: p.LastRecorded,
		Interval: p.Heart.interval().Seconds(), Patience: p.Heart.patience().Seconds(),
	}
	if p.Seq != nil {
		d.LastSeq = &p.Seq.Last
	}
	b, err := json.Marshal(d)
	if err != nil {
		return nil, err
	}
	r.SetSealed("/details", b)
	r.SetSealed("/summary", evidence.QuoteJSON(fmt.Sprintf(
		"The producer %s (%s) is silent: it was last heard of at %s, and sent a heartbeat every %.0f s.",
		p.Credential, p.Component, p.LastRecorded, d.Interval)))
	return r, r.Complete()
}
