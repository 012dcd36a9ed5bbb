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
	leaf   []byte // buffer
	seg    []byte // entries of the leaf segment that is being filled
	segN   int
	runs   map[string]store.RunState
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
		log: o, before: before, runs: map[string]store.RunState{},
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

// sequence gives a record its place: the facts that only the server knows,
// the leaf bytes, the leaf hash, the place in the tree.
func (lp *logPlan) sequence(p *plan, s *seal.Sealed, t evidence.Micros) (evidence.Hash, *evidence.Leaf) {
	o, r := lp.log, s.Record
	pub := r.Pub
	if r.Kind == evidence.KindLLMRun || r.Text("conflict_of") != "" {
		pub = slices.Clone(pub) // the record keeps its marks, should it be sequenced again
	}
	leaf := &evidence.Leaf{
		Log: o.Origin, Seq: o.next.tree.size(), ID: r.ID, Kind: r.Kind, RecordedAt: t, OccurredAt: r.OccurredAt,
		Run: r.Run, Pub: pub, H: s.H,
	}
	if r.Run != "" {
		lp.number(p, leaf)
	}
	var err error
	lp.leaf, err = leaf.Append(lp.leaf[:0])
	if err != nil {
		panic("ledger: " + err.Error()) // checkSize let it through: a broken invariant
	}
	hash := evidence.LeafHash(lp.leaf)
	o.next.tree.append(hash, func(tile store.Tile) { lp.commit.Tiles = append(lp.commit.Tiles, tile) })
	o.next.lastT = t
	lp.seg = appendEntry(lp.seg, lp.leaf)
	lp.segN++
	if (leaf.Seq+1)%segmentLeaves == 0 {
		lp.closeSegment(leaf.Seq + 1)
	}
	return hash, leaf
}

// number sets the facts that count within the run.
func (lp *logPlan) number(p *plan, leaf *evidence.Leaf) {
	k := runKey{lp.log.Tenant, leaf.Run}
	st, _ := p.runs.get(k)
	leaf.N = st.NextN
	conflict := leaf.Text("conflict_of") != ""
	switch leaf.Kind {
	case evidence.KindTraceStep:
		if conflict { // it has the index of the step that it contradicts
			if at, _ := leaf.Int("step_index"); at == stepOfConflict {
				setInt(leaf, "step_index", lp.stepIndex(leaf.Text("conflict_of")))
			}
		} else {
			setInt(leaf, "step_index", st.NextStep)
			st.NextStep++
		}
		late := int64(0)
		if st.Revision > 0 {
			late = 1
		}
		setInt(leaf, "late", late)
	case evidence.KindLLMRun:
		setInt(leaf, "record_count", leaf.N+1)
		if n, _ := leaf.Int("step_count"); n == stepCountOfRun {
			setInt(leaf, "step_count", st.NextStep)
		}
		if rev, _ := leaf.Int("revision"); !conflict {
			st.Revision = max(st.Revision, rev)
		}
		p.runEnds = true
	}
	st.NextN++
	st.Open = conflict || leaf.Kind != evidence.KindLLMRun
	st.Last = store.Position{LogNo: lp.log.No, Seq: leaf.Seq}
	p.runs.put(k, st)
	lp.runs[leaf.Run] = st
	p.touched = append(p.touched, k)
}

// stepOfConflict stands for the index of a step that comes in the same plan.
const stepOfConflict = -1

func (lp *logPlan) stepIndex(id string) int64 {
	for _, e := range lp.commit.Entries {
		if e.Leaf.ID.String() == id {
			n, _ := e.Leaf.Int("step_index")
			return n
		}
	}
	return 0
}

func setInt(leaf *evidence.Leaf, name string, v int64) {
	leaf.SetFact(evidence.Fact{Field: evidence.PublicField(leaf.Kind, name), Int: v})
}

// placeSegments numbers the sealed segments that begin with this record and
// makes the record's entry.
func (lp *logPlan) placeSegments(s *seal.Sealed, batch *seal.Batch, segNo []int64, leaf *evidence.Leaf) {
	place := func(at int, actor bool) int64 {
		if at < 0 {
			return store.NoSegment
		}
		if segNo[at] == store.NoSegment {
			segNo[at] = segmentNo(leaf.Seq, actor)
			seg := &batch.Segments[at]
			lp.commit.Sealed = append(lp.commit.Sealed, store.SealedSegment{
				SegmentRef: store.SegmentRef{LogNo: lp.log.No, No: segNo[at]}, ID: seg.ID, Key: seg.Key, Data: seg.Data,
			})
		}
		return segNo[at]
	}
	e := store.Entry{Leaf: leaf, Segment: place(s.Segment, false), ActorSegment: place(s.Actor, true)}
	lp.commit.Entries = append(lp.commit.Entries, e)
	for _, term := range s.Index {
		lp.commit.Index = append(lp.commit.Index, store.IndexEntry{
			Name: term.Name, MAC: term.MAC, Position: store.Position{LogNo: lp.log.No, Seq: leaf.Seq}, Trace: traceScope(leaf),
		})
	}
}

// traceScope returns the trace within which a record's index terms are kept
// once.
func traceScope(leaf *evidence.Leaf) string {
	if leaf.Kind == evidence.KindTraceStep || leaf.Kind == evidence.KindTraceEvent {
		return leaf.Text("trace_id")
	}
	return ""
}

func (lp *logPlan) closeSegment(end int64) {
	if lp.segN == 0 {
		return
	}
	lp.commit.Segments = append(lp.commit.Segments, store.LeafSegment{
		First: end - int64(lp.segN), Count: lp.segN, Data: seal.Compress(nil, lp.seg),
	})
	lp.seg, lp.segN = lp.seg[:0], 0
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
