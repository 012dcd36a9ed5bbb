package runs

import (
	"context"
	"fmt"

	"github.com/runledger/runledger/evidence"
)

// Live returns what is known so far of a run whose end has not been seen: its
// llm_run record to be, without status, outcome and end. It must not be
// appended. The error wraps evidence.ErrNotFound where there is no such run or
// it has ended.
func (t *Tracker) Live(ctx context.Context, tenant, run string) (*evidence.Record, error) {
	// Another process may have taken in more of it, or have ended it.
	state, err := t.cfg.Ledger.RunState(ctx, tenant, run)
	if err != nil {
		return nil, err
	}
	if state.NextN == 0 || state.Revision > 0 {
		return nil, fmt.Errorf("open run %s: %w", run, evidence.ErrNotFound)
	}
	if r := t.known(tenant, run, state.NextN); r != nil {
		return r, nil
	}
	h, err := t.read(ctx, tenant, run)
	if err != nil {
		return nil, err
	}
	if h.run.records == 0 || h.newest != nil {
		return nil, fmt.Errorf("open run %s: %w", run, evidence.ErrNotFound)
	}
	return h.run.live(), nil
}

// known is Live of what is in memory, where that is all of so many records at least;
// nil where the run must be read.
func (t *Tracker) known(tenant, run string, records int64) *evidence.Record {
	s := t.shardOf(run)
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.runs[key{tenant, run}]
	if e == nil || e.run == nil || !e.run.complete() || e.run.records < records {
		return nil
	}
	return e.run.live()
}

// Viewer looks at open runs without following them: for a command that reads a
// data directory which no server holds.
type Viewer struct{ t *Tracker }

// NewViewer returns a viewer. Of cfg it needs what Live needs: Ledger, Reread
// and NearThreshold.
func NewViewer(cfg Config) (*Viewer, error) {
	if err := cfg.defaults(); err != nil {
		return nil, err
	}
	return &Viewer{&Tracker{cfg: cfg}}, nil
}

// Live is that of a Tracker.
func (v *Viewer) Live(ctx context.Context, tenant, run string) (*evidence.Record, error) {
	return v.t.Live(ctx, tenant, run)
}

// live is what the record of the run would say now, for who looks at it.
func (a *run) live() *evidence.Record {
	r := a.facts("", 1)
	// Who it was may be erased; that it was a person stands in the open.
	if r.HumanActor() == "" && a.origin.get() == "HUMAN" {
		r.SetText("origin", "HUMAN")
	}
	return r
}
