package ledger

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/c2sp"
	"github.com/runledger/runledger/internal/seal"
	"github.com/runledger/runledger/internal/store"
)

// segmentLeaves is the greatest number of leaves of a leaf segment; segments
// never cross a multiple of it, so that they make up whole entry bundles.
const segmentLeaves = c2sp.TileWidth

// plan is one store transaction to be: requests, sequenced.
type plan struct {
	runs    *runCache // of its committer
	logs    []*logPlan
	done    []planned
	records int
	touched []runKey
	ids     map[evidence.ID]store.Position // of careful plans only
	brought map[store.KeyID]bool           // data keys that this plan, or the one before it, writes
	bad     *openLog                       // the log that close could not sign
	runEnds bool
}

// planned is a request with the receipts it gets once the plan is durable.
type planned struct {
	req      *request
	receipts []Receipt
	refused  error // its records were refused; the plan records that
}

// logPlan is a plan's part in one log.
type logPlan struct {
	log    *openLog
	before logState
	after  logState // set when the plan is closed
	commit store.LogCommit
	room   *planRoom // until the plan is closed
	segN   int       // leaves in room.seg
	runs   map[string]store.RunState
	// indexed are the terms of the plan's traces: of those a store keeps the first only.
	indexed map[indexedOnce]struct{}
}

// indexedOnce is a term of the sealed index within a trace.
type indexedOnce struct {
	trace, name string
	mac         [16]byte
}

// newPlan returns a plan that stands on the one that is being written.
func (c *committer) newPlan() *plan {
	p := &plan{runs: c.runs}
	if c.writing != nil {
		for _, lp := range c.writing.logs {
			for _, k := range lp.commit.Keys {
				p.bring(k)
			}
		}
	}
	return p
}

// bring reports whether a key is still to be written.
func (p *plan) bring(k store.DataKey) bool {
	if p.brought[k.ID] {
		return false
	}
	if p.brought == nil {
		p.brought = map[store.KeyID]bool{}
	}
	p.brought[k.ID] = true
	return true
}

func (p *plan) logPlan(o *openLog) *logPlan {
	for _, lp := range p.logs {
		if lp.log == o {
			return lp
		}
	}
	before := o.next
	lp := &logPlan{
		log: o, before: before, room: planRooms.Get().(*planRoom),
		runs: map[string]store.RunState{}, indexed: map[indexedOnce]struct{}{},
		commit: store.LogCommit{Log: o.LogRef, Prev: before.head()},
	}
	p.logs = append(p.logs, lp)
	return lp
}

// add sequences the records of a batch and returns their receipts. Nothing
// of it may fail after the first record: what could has been checked.
func (p *plan) add(ctx context.Context, l *Ledger, o *openLog, batch *seal.Batch, runRecords map[string]int64) ([]Receipt, error) {
	check := func(s store.RunState) error { return l.checkRun(ctx, o.Tenant, s) }
	if err := p.runs.load(ctx, l.store, o.Tenant, runsOf(batch), check); err != nil {
		return nil, fmt.Errorf("read run states: %w: %w", evidence.ErrUnavailable, err)
	}
	if stale := p.stale(o.Tenant, runRecords); stale != nil {
		return nil, &StaleError{stale}
	}
	t, err := l.clock.next(o.next.lastT)
	if err != nil {
		return nil, err
	}
	lp := p.logPlan(o)
	for _, k := range l.sealer.NewKeys(batch) {
		if p.bring(k) {
			lp.commit.Keys = append(lp.commit.Keys, k)
		}
	}
	lp.commit.Entries = slices.Grow(lp.commit.Entries, len(batch.Records))
	receipts := make([]Receipt, len(batch.Records))
	segNo := make([]int64, len(batch.Segments))
	for i := range segNo {
		segNo[i] = store.NoSegment
	}
	for i := range batch.Records {
		s := &batch.Records[i]
		hash, leaf := lp.sequence(p, s, t)
		lp.placeSegments(s, batch, segNo, leaf)
		receipts[i] = receiptOf(o, leaf, hash)
		if p.ids != nil {
			p.ids[leaf.ID] = store.Position{LogNo: o.No, Seq: leaf.Seq}
		}
	}
	p.records += len(batch.Records)
	return receipts, nil
}

// receiptOf returns the receipt of a sequenced or stored leaf.
func receiptOf(o *openLog, leaf *evidence.Leaf, hash evidence.Hash) Receipt {
	r := Receipt{ID: leaf.ID, Log: o.Origin, LogNo: o.No, LeafIndex: leaf.Seq, LeafHash: hash, N: -1, StepIndex: -1}
	if leaf.Run != "" {
		r.N = leaf.N
	}
	if leaf.Kind == evidence.KindTraceStep {
		r.StepIndex, _ = leaf.Int("step_index")
		late, _ := leaf.Int("late")
		r.Late = late != 0
	}
	return r
}

// stale returns the runs that do not have the number of records expected.
func (p *plan) stale(tenant string, runRecords map[string]int64) (stale []string) {
	for run, n := range runRecords {
		if s, _ := p.runs.get(runKey{tenant, run}); s.NextN != n {
			stale = append(stale, run)
		}
	}
	return stale
}

// checkRun compares the stored state of a run with the run's last leaf. A
// state that was put back to an earlier one of its own is not noticed here,
// but by verification.
func (l *Ledger) checkRun(ctx context.Context, tenant string, s store.RunState) error {
	o, err := l.logByNo(ctx, tenant, s.Last.LogNo)
	if err != nil {
		return err
	}
	leaf, _, err := l.storedLeaf(ctx, o, s.Last.Seq)
	if err != nil {
		return err
	}
	if leaf.Run != s.Run || leaf.N != s.NextN-1 {
		return fmt.Errorf("run %q: %w: its stored state is not what its last leaf says", s.Run, evidence.ErrTampered)
	}
	return nil
}

func mergeKeys(have, more []store.DataKey) []store.DataKey {
next:
	for _, k := range more {
		for _, h := range have {
			if h.ID == k.ID {
				continue next
			}
		}
		have = append(have, k)
	}
	return have
}

func runsOf(batch *seal.Batch) []string {
	var runs []string
	seen := map[string]bool{}
	last := ""
	for i := range batch.Records {
		if run := batch.Records[i].Record.Run; run != "" && run != last && !seen[run] {
			seen[run] = true
			runs = append(runs, run)
			last = run
		}
	}
	return runs
}

// close signs the new heads. It is the only place where a log is signed
// beyond its first, empty head.
func (p *plan) close(l *Ledger, now time.Time) (*store.Commit, error) {
	if err := l.running(); err != nil {
		return nil, err
	}
	c := &store.Commit{Logs: make([]store.LogCommit, len(p.logs))}
	for i, lp := range p.logs {
		o := lp.log
		if err := l.checkAnchor(o, now); err != nil {
			p.bad = o
			return nil, err
		}
		lp.closeSegment(o.next.tree.size())
		planRooms.Put(lp.room)
		lp.room = nil
		note, err := c2sp.SignCheckpoint(o.next.tree.frontier.Checkpoint(o.Origin), o.signer)
		if err != nil {
			return nil, err
		}
		o.next.note = note
		lp.after = o.next
		lp.commit.Next = o.next.head()
		lp.commit.KeepCheckpoint = p.runEnds || now.Sub(o.lastKept) >= l.cfg.PublishEvery || lp.commit.Open != nil
		for _, st := range lp.runs {
			lp.commit.Runs = append(lp.commit.Runs, st)
		}
		c.Logs[i] = lp.commit
	}
	return c, nil
}

// restore takes the plan back: the logs' next states and the run cache are
// as they were before it. Plans are taken back newest first.
func (p *plan) restore(l *Ledger) {
	for i := len(p.logs) - 1; i >= 0; i-- {
		p.logs[i].log.next = p.logs[i].before
	}
	for _, k := range p.touched {
		p.runs.drop(k)
	}
	// Whether the plan's new keys are stored may be unknown: they are
	// forgotten, and what is sealed under them is sealed anew.
	for _, lp := range p.logs {
		var ids []store.KeyID
		for _, k := range lp.commit.Keys {
			ids = append(ids, k.ID)
		}
		l.sealer.Destroyed(ids)
	}
}

// committed makes the plan's states the durable ones.
func (p *plan) committed(l *Ledger, now time.Time) {
	for _, lp := range p.logs {
		o := lp.log
		// o.next may be ahead by the plan that comes after this one.
		st := lp.after
		if lp.commit.KeepCheckpoint {
			o.lastKept = now
		}
		o.mu.Lock()
		if st.tree.size() >= o.durable.tree.size() { // another process may have gone on from there
			o.durable = st
		}
		o.mu.Unlock()
		l.sealer.Stored(lp.commit.Keys)
	}
}
