package registry

import (
	"context"
	"fmt"
	"strings"

	"github.com/runledger/runledger/client"
	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/c2sp"
)

// failedScenario is an entry of a record's details.
type failedScenario struct {
	ID        string `json:"id"`
	Reason    string `json:"reason"`
	Invariant string `json:"invariant,omitempty"`
}

// observationDetails is what the record says besides its summary. The observation
// itself stays in its file.
type observationDetails struct {
	Registry   string           `json:"registry"`
	Program    string           `json:"program"`
	Server     string           `json:"server"`
	Scenarios  int              `json:"scenarios"`
	Passed     int              `json:"passed"`
	Failed     []failedScenario `json:"failed"`
	DurationMS int64            `json:"duration_ms"`
}

// Record appends the record OBSERVATION with a producer's key of the observed tenant,
// and waits until a checkpoint covers it: until ctx ends, where none does. The same
// observation again is no second record. Errors are the client's; one that wraps
// evidence.ErrTampered says that the receipt does not hold even by the key that the
// server states.
func Record(ctx context.Context, c *client.Client, o *Observation) (*Receipt, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	rec := observationRecord(o)
	receipts, err := c.Append(ctx, rec)
	if err != nil {
		return nil, fmt.Errorf("record observation: %w", err)
	}
	if of := receipts[0].ConflictOf; of != "" {
		return nil, fmt.Errorf("record observation: record %s says otherwise: %w", of, evidence.ErrConflict)
	}
	in, err := c.WaitReceipt(ctx, rec.ID)
	if err != nil {
		return nil, fmt.Errorf("record observation: %w", err)
	}
	if len(in.Leaf) == 0 {
		return nil, fmt.Errorf("record observation: the server does not show the leaf of %s: another credential has appended it: %w", rec.ID, evidence.ErrForbidden)
	}
	r, err := receiptOf(in)
	if err != nil {
		return nil, fmt.Errorf("record observation: %w", err)
	}
	if err := (&File{*o, r}).Verify([]string{r.VKey}); err != nil {
		return nil, fmt.Errorf("record observation: %w", err)
	}
	return r, nil
}

func observationRecord(o *Observation) client.System {
	digest := o.Digest()
	d := observationDetails{
		Registry: o.Registry, Program: o.Program, Server: o.Server,
		Scenarios: len(o.Scenarios), Failed: []failedScenario{},
		DurationMS: int64(o.FinishedAt-o.StartedAt) / 1000,
	}
	var names []string
	for _, s := range o.Scenarios {
		if s.Passed {
			d.Passed++
			continue
		}
		d.Failed = append(d.Failed, failedScenario{s.ID, s.Failure.Reason, s.Failure.Invariant})
		names = append(names, s.ID)
	}
	scenario := "registry"
	if len(o.Scenarios) == 1 {
		scenario = o.Scenarios[0].ID
	}
	severity, summary := "INFO", fmt.Sprintf("Passed: %s.", countOf(d.Passed, d.Scenarios))
	if !o.Passed {
		severity, summary = "WARN", fmt.Sprintf("Failed: %s: %s.", countOf(len(names), d.Scenarios), strings.Join(names, ", "))
	}
	return client.System{
		Common: client.Common{
			ID: observationID(o.Tenant, digest).String(), OccurredAt: o.FinishedAt.Time(), CorrelationID: digest,
			SourceDomain: "SYSTEM", SourceComponent: observationComponent, IsSynthetic: true, ScenarioID: scenario,
		},
		Component: observationComponent, EventType: observationEvent, Severity: severity, Summary: summary, Details: d,
	}
}

// countOf is "3 of 7 scenarios", "all 7 scenarios" or "1 scenario".
func countOf(n, all int) string {
	switch {
	case n == 1 && all == 1:
		return "1 scenario"
	case n == all:
		return fmt.Sprintf("all %d scenarios", n)
	default:
		return fmt.Sprintf("%d of %d scenarios", n, all)
	}
}

// receiptOf keeps the log's own signature alone: those of witnesses are for those who
// have their keys, and may come and go between two answers.
func receiptOf(in *client.Inclusion) (*Receipt, error) {
	key, err := c2sp.ParseVKey(in.VKey)
	if err != nil {
		return nil, fmt.Errorf("the key that the server states: %w", err)
	}
	p, err := c2sp.ParseProof([]byte(in.Proof))
	if err != nil {
		return nil, err
	}
	if p.Note, err = c2sp.OnlyLogSignature(p.Note, key); err != nil {
		return nil, err
	}
	return &Receipt{
		ID: in.ID, Log: in.Log, LeafIndex: in.LeafIndex,
		Leaf: string(in.Leaf), Proof: string(p.Marshal()), VKey: in.VKey,
	}, nil
}
