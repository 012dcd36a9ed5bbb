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
	if r := t.known(tenant, run); r != nil {
		return r, nil
	}
	state, err := t.cfg.Ledger.RunState(ctx, tenant, run)
	if err != nil {
		return nil, err
	}
	if state.NextN == 0 || state.Revision > 0 {
		return nil, fmt.Errorf("open run %s: %w", run, evidence.ErrNotFound)
	}
	h, err := t.read(ctx, tenant, run)
	if err != nil {
		return nil, err
	}
	if h.run.records == 0 || h.newest != nil {
		return nil, fmt.Errorf("open run %s: %w", run, evidence.ErrNotFound)
	}
	return h.run.facts("", 1), nil
}

// known is Live of what is in memory; nil where the store must be asked.
func (t *Tracker) known(tenant, run string) *evidence.Record {
	s := t.shardOf(run)
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.runs[key{tenant, run}]
	if e == nil || e.run == nil || !e.run.complete() {
		return nil
	}
	return e.run.facts("", 1)
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
