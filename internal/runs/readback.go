package runs

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/dialect"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/store"
)

// history is a run as the ledger has it.
type history struct {
	run    *run
	newest *revision       // nil where it has none
	last   evidence.Micros // when its last record was written
	// closed: its last record is its newest revision.
	closed bool
	// erased: sealed content of it is gone.
	erased bool
}

// read puts a run together from its records.
func (t *Tracker) read(ctx context.Context, tenant, id string) (*history, error) {
	h := &history{run: newRun(tenant, id, t.cfg.NearThreshold)}
	err := t.cfg.Ledger.RunRecords(ctx, tenant, id, func(rr ledger.RunRecord) error {
		r, whole := recordOf(&rr)
		h.erased = h.erased || !whole && r.Kind != evidence.KindLLMRun
		p := place{id: rr.Leaf.ID, n: rr.Leaf.N, step: none, conflict: rr.Leaf.Text("conflict_of") != ""}
		if n, ok := rr.Leaf.Int("step_index"); ok {
			p.step = n
		}
		hints := t.reread(r)
		h.run.add(r, p, &hints)
		h.last = max(h.last, rr.Leaf.RecordedAt)
		h.closed = r.Kind == evidence.KindLLMRun && !p.conflict
		if h.closed {
			h.revision(&rr, r)
		}
		return nil
	})
	return h, err
}

func (h *history) revision(rr *ledger.RunRecord, r *evidence.Record) {
	n, _ := rr.Leaf.Int("revision")
	if h.newest == nil || n > h.newest.number {
		h.newest = &revision{number: n, native: rr.Leaf.Text("producer") != "", record: r, leaf: rr.Leaf}
	}
}

// recordOf returns a stored record as it came, as far as its content opens.
func recordOf(rr *ledger.RunRecord) (r *evidence.Record, whole bool) {
	l := rr.Leaf
	r = &evidence.Record{Kind: l.Kind, ID: l.ID, OccurredAt: l.OccurredAt, Run: l.Run, Pub: l.Pub}
	for _, c := range l.H {
		if o, ok := rr.Open[c.Path]; ok {
			r.Sealed = append(r.Sealed, evidence.SealedValue{Path: c.Path, JSON: []byte(o.JSON)})
		}
	}
	return r, len(r.Sealed) == len(l.H)
}

// withHints are the kinds of record that come with hints about their run.
var withHints = []evidence.Kind{evidence.KindTrace, evidence.KindTraceStep, evidence.KindTraceEvent}

// reread returns the hints of a stored record. What cannot be read gives none, as
// it did when it came: a native producer's /attrs need not be those of a span.
func (t *Tracker) reread(r *evidence.Record) dialect.Hints {
	if !slices.Contains(withHints, r.Kind) {
		return dialect.Hints{}
	}
	attrs, body := r.SealedJSON("/attrs"), r.SealedJSON("/body")
	if attrs == nil && body == nil {
		return dialect.Hints{}
	}
	h, err := t.cfg.Reread(r.Kind, attrs, body)
	if err != nil {
		return dialect.Hints{}
	}
	return h
}

// readBack reads runs and does with each what is due. It reports whether the
// ledger could not be reached or takes no records now.
func (t *Tracker) readBack(j job) (failed bool) {
	var out []*ending
	settle, counts := map[string]*entry{}, map[string]int64{}
	for i, e := range j.list {
		seen, due := t.grasp(e)
		if !due {
			continue
		}
		var h *history
		state, err := t.cfg.Ledger.RunState(t.ctx, e.tenant, e.key.run)
		if err == nil {
			if t.elsewhere(e, state) {
				continue
			}
			h, err = t.read(t.ctx, e.tenant, e.key.run)
		}
		if errors.Is(err, ledger.ErrExpired) {
			// What came late to a run that is not there any more makes no revision of it.
			settle[e.key.run], counts[e.key.run] = e, state.NextN
			continue
		}
		if err == nil && h.run.records < seen {
			err = fmt.Errorf("%w: it has %d records where %d were written", evidence.ErrTampered, h.run.records, seen)
		}
		if err == nil {
			t.metrics.rebuilt.Inc()
			switch x, say := t.decide(e, h); {
			case x == nil:
			case say:
				out = append(out, x)
			default:
				settle[e.key.run], counts[e.key.run] = e, x.n
			}
			continue
		}
		if unavailable(err) && !errors.Is(err, evidence.ErrTampered) {
			for _, e := range j.list[i:] {
				t.again([]*ending{{e: e}})
			}
			failed = true
			break
		}
		t.fail(&ending{e: e}, err)
	}
	failed = t.settle(j.tenant, settle, counts) || failed
	return t.append(j.tenant, out) || failed
}

// grasp takes an entry into the worker's hands and returns how many records the
// run has at least; unless more has come since it was queued and it has time
// again.
func (t *Tracker) grasp(e *entry) (seen int64, due bool) {
	s := t.shardOf(e.key.run)
	s.mu.Lock()
	defer s.mu.Unlock()
	if e.at.Add(t.quiet(e)).After(t.cfg.Now()) {
		s.schedule(e)
		return 0, false
	}
	s.drop(e)
	e.state, e.more = writing, false
	return e.next, true
}

// elsewhere gives up a run that has ended, and puts off one that was found open and has
// got records since: another process is at it. To ask for that costs little, which to
// read a whole run does not.
func (t *Tracker) elsewhere(e *entry, state store.RunState) bool {
	s := t.shardOf(e.key.run)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case state.NextN < e.next: // the database lost some: reading says so
		return false
	case !state.Open && state.Revision > 0:
		s.finish(e)
		return true
	case e.at.IsZero() && state.NextN > e.next:
		e.next, e.at = state.NextN, t.cfg.Now()
		s.schedule(e)
		return true
	}
	return false
}

// decide says what is due of a run that was read back: its record is to be
// written (say), or it is to be settled, or nothing is (nil), because it has
// ended or has time.
func (t *Tracker) decide(e *entry, h *history) (x *ending, say bool) {
	x = &ending{e: e, run: h.run, prev: h.newest, erased: h.erased, by: t.sealedBy(h.run), rev: 1, n: h.run.records}
	switch {
	case h.closed:
		s := t.shardOf(e.key.run)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.finish(e)
		return nil, false
	case h.newest != nil && h.newest.native:
		return x, false
	case t.hasTime(e, h):
		return nil, false
	case h.newest == nil:
		return x, true
	}
	x.rev = h.newest.number + 1
	record, err := x.record()
	if err != nil {
		t.fail(x, err)
		return nil, false
	}
	return x, changed(h.newest, record, h.erased)
}

// hasTime puts a run back to waiting that has not been quiet for long enough.
// What was read is kept where nothing else has come and it has not ended before.
func (t *Tracker) hasTime(e *entry, h *history) bool {
	s := t.shardOf(e.key.run)
	s.mu.Lock()
	defer s.mu.Unlock()
	at := h.last.Time()
	if e.at.After(at) {
		at = e.at
	}
	steps, root := len(h.run.steps) > 0, h.run.hasRoot
	if !at.Add(t.limit(steps, root)).After(t.cfg.Now()) {
		return false
	}
	e.at, e.unknown, e.going = at, false, h.newest == nil
	e.hasSteps, e.hasRoot = e.hasSteps || steps, e.hasRoot || root
	e.next = max(e.next, h.run.records)
	if !e.more && h.newest == nil && t.memory.Load()+h.run.bytes <= t.cfg.MaxMemory {
		e.run = h.run
		t.memory.Add(h.run.bytes)
	}
	s.schedule(e)
	return true
}

// settle says that runs need no further record, as long as they have the
// number of records given.
func (t *Tracker) settle(tenant string, list map[string]*entry, counts map[string]int64) (failed bool) {
	if len(list) == 0 {
		return false
	}
	err := t.cfg.Ledger.SettleRuns(t.ctx, tenant, counts)
	if err != nil && t.ctx.Err() == nil {
		t.cfg.Logger.Warn("cannot settle runs now", "tenant", tenant, "runs", len(list), "err", err)
	}
	for _, e := range list {
		if err != nil {
			t.again([]*ending{{e: e}})
			continue
		}
		t.metrics.settled.Inc()
		s := t.shardOf(e.key.run)
		s.mu.Lock()
		s.finish(e)
		s.mu.Unlock()
	}
	return err != nil
}
