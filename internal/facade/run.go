package facade

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/store"
)

// theRun is a run that a request names.
type theRun struct {
	id    string
	state store.RunState
	// newest is the newest llm_run record, the canonical one, without its sealed
	// content; nil while the run's end has not been seen.
	newest *record
	// live is what is known of a run whose end has not been seen, with the names
	// that the reader may see; nil once it has.
	live *evidence.Record
	// correlation is the run's correlation_id as columns have it, or "".
	correlation string
}

// run returns a run as the reader may see it. A run of another tenant, one that
// is not there, and one that the rules hide (synthetic) are the same: the error
// wraps evidence.ErrNotFound. It does so too, and says more, where the run has expired.
func (f *Facade) run(ctx context.Context, r Reader, id string) (*theRun, error) {
	unknown := fmt.Errorf("run: %w in this tenant", evidence.ErrNotFound)
	run, err := f.cfg.Ledger.ResolveRun(ctx, r.Tenant, id)
	if errors.Is(err, evidence.ErrNotFound) {
		return nil, unknown
	} else if err != nil {
		return nil, err
	}
	t := &theRun{id: run}
	if t.state, err = f.cfg.Ledger.RunState(ctx, r.Tenant, run); err != nil {
		return nil, err
	}
	// A run that ends between the two looks of one try is there in the next.
	for try := 0; try < 2 && t.newest == nil && t.live == nil; try++ {
		if err := f.look(ctx, r, t); err != nil {
			return nil, err
		}
	}
	if t.newest == nil && t.live == nil {
		return nil, f.expired(ctx, r, run, unknown)
	}
	if !r.sees(t.synthetic()) {
		return nil, unknown
	}
	return t, nil
}

// expired returns the error of a run that was not found: unknown, unless it has expired
// and the reader might have seen it.
func (f *Facade) expired(ctx context.Context, r Reader, run string, unknown error) error {
	last, err := f.cfg.Ledger.ExpiredRun(ctx, r.Tenant, run)
	if err != nil || last == nil {
		return cmp.Or(err, unknown)
	}
	if n, _ := last.Int("is_synthetic"); !r.sees(n != 0) {
		return unknown
	}
	return fmt.Errorf("run: %w", ledger.ErrExpired)
}

// look finds the newest record of a run, or else what is known of it.
func (f *Facade) look(ctx context.Context, r Reader, t *theRun) error {
	found, err := f.cfg.Ledger.Find(ctx, store.Query{
		Tenant: r.Tenant, Kind: evidence.KindLLMRun, Where: ofRun(t.id), NewestRevision: true, Limit: 1,
	})
	if err != nil {
		return err
	}
	if len(found) > 0 {
		// To open its content costs as much as all else of most answers.
		records, err := f.fetch(ctx, closed(r), r.Tenant, found)
		if err != nil {
			return err
		}
		t.newest = &records[0]
		t.correlation = t.newest.Leaf.Text("correlation_id")
		return nil
	}
	live, err := f.cfg.Runs.Live(ctx, r.Tenant, t.id)
	if errors.Is(err, evidence.ErrNotFound) {
		return nil
	} else if err != nil {
		return err
	}
	if c := live.Text("correlation_id"); c != "" {
		if t.correlation, err = f.cfg.Ledger.FilterName(ctx, r.Tenant, "correlation_id", c); err != nil {
			return err
		}
	}
	t.live = live
	return f.hide(ctx, r, live)
}

// hide makes what is known of open runs what the reader may see of it.
func (f *Facade) hide(ctx context.Context, r Reader, runs ...*evidence.Record) error {
	erased, err := f.erased(ctx, r, runs)
	if err != nil {
		return err
	}
	for _, live := range runs {
		if human := live.HumanActor(); live.Text("origin") == "" {
			live.SetText("origin", evidence.ActingType(human, live.Text("agent_id")))
		}
		if !r.Content || erased[live.Run] {
			live.SetHumanActor("")
		}
		if err := f.hideNames(ctx, r, live); err != nil {
			return err
		}
	}
	return nil
}

// maxErasures bounds how many records of erasures are read to find the open runs
// they were about.
const maxErasures = 1000

// erased returns which of these runs lost content. Who follows an open run may
// still know what was erased.
func (f *Facade) erased(ctx context.Context, r Reader, runs []*evidence.Record) (map[string]bool, error) {
	if !r.Content || len(runs) == 0 {
		return nil, nil
	}
	ids := make([]string, len(runs))
	for i, live := range runs {
		ids[i] = live.Run
	}
	found, err := f.cfg.Ledger.Find(ctx, store.Query{
		Tenant: r.Tenant, Kind: evidence.KindAudit, Limit: maxErasures,
		Where: []store.Condition{anyOf("run", ids), anyOf("event_type", []string{"ErasureExecuted"})},
	})
	if err != nil || len(found) == 0 {
		return nil, err
	}
	erased := map[string]bool{}
	if len(found) == maxErasures { // it may be any of them
		for _, id := range ids {
			erased[id] = true
		}
		return erased, nil
	}
	records, err := f.fetch(ctx, closed(r), r.Tenant, found)
	for _, rec := range records {
		erased[rec.Leaf.Run] = true
	}
	return erased, err
}

// hideNames puts in the place of names that are not fit to be public what a
// record will have there, unless the reader may see them.
func (f *Facade) hideNames(ctx context.Context, r Reader, live *evidence.Record) error {
	if r.Content {
		return nil
	}
	for _, fact := range slices.Clone(live.Pub) {
		var err error
		switch fact.Field.Type {
		case evidence.TypeName:
			fact.Str, err = f.cfg.Ledger.FilterName(ctx, r.Tenant, fact.Field.Name, fact.Str)
		case evidence.TypeNames:
			fact.List = slices.Clone(fact.List)
			for i := range fact.List {
				if err == nil {
					fact.List[i], err = f.cfg.Ledger.FilterName(ctx, r.Tenant, fact.Field.Name, fact.List[i])
				}
			}
		default:
			continue
		}
		if err != nil {
			return err
		}
		live.PutFact(fact)
	}
	return nil
}

func ofRun(run string) []store.Condition {
	return []store.Condition{{Field: "run", Values: []string{run}}}
}

// sees reports whether the rules show synthetic, or other, records.
func (r Reader) sees(synthetic bool) bool {
	if synthetic {
		return r.IncludeSynthetic || r.SyntheticOnly
	}
	return !r.SyntheticOnly
}

// where adds to conditions that of records which the rules show.
func (r Reader) where(conditions ...store.Condition) []store.Condition {
	switch {
	case r.SyntheticOnly:
		return append(conditions, store.Condition{Field: "is_synthetic", Values: []string{"true"}})
	case !r.IncludeSynthetic:
		return append(conditions, store.Condition{Field: "is_synthetic", Values: []string{"false"}})
	}
	return conditions
}

// number returns an integer fact of the run, and whether it is known.
func (t *theRun) number(field string) (int64, bool) {
	if t.newest != nil {
		return t.newest.Leaf.Int(field)
	}
	fact, ok := t.live.Fact(field)
	return fact.Int, ok
}

func (t *theRun) synthetic() bool {
	n, _ := t.number("is_synthetic")
	return n != 0
}

// startedAt and completedAt are the run's own; completedAt is nil while it runs.
func (t *theRun) startedAt() evidence.Micros {
	n, _ := t.number("started_at")
	return evidence.Micros(n)
}

func (t *theRun) completedAt() *evidence.Micros {
	if t.newest == nil {
		return nil
	}
	return t.newest.maybeTime("completed_at")
}

// traceID is that of the run, or "".
func (t *theRun) traceID() string {
	if t.newest != nil {
		return t.newest.Leaf.Text("trace_id")
	}
	return t.live.Text("trace_id")
}

// metadata is what an answer composed of the run's records says of the run itself where there
// are no other records: empty while it runs.
func (t *theRun) metadata() []evidence.Metadata {
	if t.newest == nil {
		return nil
	}
	return []evidence.Metadata{t.newest.metadata()}
}

// RunID returns the id of the run that a request names by any of its ids, as
// the reader may see it.
func (f *Facade) RunID(ctx context.Context, r Reader, id string) (string, error) {
	t, err := f.run(ctx, r, id)
	if err != nil {
		return "", err
	}
	return t.id, nil
}
