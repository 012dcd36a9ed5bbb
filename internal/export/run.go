package export

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/store"
	"github.com/runledger/runledger/verify"
)

// runParts is what a bundle of profile run is made of: the run's own records;
// audit entries that a correlation id binds to it; the LOG_OPENED records that
// put several logs in order; and the records of erasures and expiries that
// account for what is gone. The run's own erasures are among its records.
type runParts struct {
	places map[int][]store.Found // by log number, in order of seq
	has    map[store.Position]bool
	oldest int // number of the oldest log that the bundle needs
	bound  int64
	cut    bool // there are more entries than maxBound

	// Of the pass over the records:
	next   int64 // n of the run's next record
	gone   goneFields
	covers []cover
	known  goneFields // of the pass before
	meta   runMetadata
}

// maxBound is how many audit entries of one correlation a bundle takes.
const maxBound = 10_000

// find refuses a run that the tenant does not have.
func (j *job) find(ctx context.Context) error {
	if j.req.Profile != verify.ProfileRun {
		return nil
	}
	state, err := j.e.cfg.Ledger.RunState(ctx, j.req.Tenant, j.req.Run)
	if err == nil && state.NextN == 0 {
		err = fmt.Errorf("run %q: %w", j.req.Run, evidence.ErrNotFound)
	}
	return err
}

// chooseRun finds the records of the bundle and publishes the checkpoints of
// the logs they stand in. The newest log is always among them: it gets the
// receipt.
func (j *job) chooseRun(ctx context.Context, logs []ledger.LogInfo) error {
	newest := logs[len(logs)-1]
	if err := j.part(ctx, newest); err != nil {
		return err
	}
	if err := j.checkSince(); err != nil {
		return err
	}
	own, err := j.e.cfg.Ledger.RunPlaces(ctx, j.req.Tenant, j.req.Run)
	if err != nil {
		return err
	}
	j.run = &runParts{places: map[int][]store.Found{}, has: map[store.Position]bool{}, oldest: newest.No}
	for _, f := range own {
		j.take(f)
	}
	if err := j.correlated(ctx); err != nil {
		return fmt.Errorf("correlated audit entries: %w", err)
	}
	for _, info := range slices.Backward(logs[:len(logs)-1]) {
		if info.No < j.run.oldest {
			break
		}
		// The one after it says that it follows.
		first, err := j.e.cfg.Ledger.Place(ctx, j.req.Tenant, store.Position{LogNo: info.No + 1})
		if err != nil {
			return err
		}
		j.take(first)
		if err := j.part(ctx, info); err != nil {
			return err
		}
	}
	return nil
}

// take adds a record to the bundle, once, unless it stands beyond the newest
// checkpoint: it came meanwhile.
func (j *job) take(f store.Found) bool {
	newest := j.logs[0]
	if f.LogNo > newest.No || f.LogNo == newest.No && f.Seq >= newest.head.Size || j.run.has[f.Position] {
		return false
	}
	j.run.has[f.Position] = true
	list := j.run.places[f.LogNo]
	at, _ := slices.BinarySearchFunc(list, f, func(a, b store.Found) int { return cmp.Compare(a.Seq, b.Seq) })
	j.run.places[f.LogNo] = slices.Insert(list, at, f)
	j.run.oldest = min(j.run.oldest, f.LogNo)
	j.total++
	return true
}

// correlated adds the audit entries that have a correlation id of one of the
// run's own records.
func (j *job) correlated(ctx context.Context) error {
	seen := map[string]bool{}
	for _, no := range slices.Sorted(maps.Keys(j.run.places)) {
		err := j.e.cfg.Ledger.LeavesAt(ctx, j.req.Tenant, no, j.run.places[no], func(l *evidence.Leaf) error {
			if id := l.Text("correlation_id"); id != "" {
				seen[id] = true
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	const together = 50
	for ids := range slices.Chunk(slices.Sorted(maps.Keys(seen)), together) {
		err := j.audits(ctx, j.seen(store.Condition{Field: "correlation_id", Values: ids}), func(page []store.Found) (bool, error) {
			for _, f := range page {
				if j.run.bound == maxBound {
					j.run.cut = true
					return false, nil
				}
				if j.take(f) {
					j.run.bound++
				}
			}
			return true, nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// seen adds to a condition that of records which the requester may see.
func (j *job) seen(c store.Condition) []store.Condition {
	if s := j.req.Synthetic; s != nil {
		return []store.Condition{c, {Field: "is_synthetic", Values: []string{strconv.FormatBool(*s)}}}
	}
	return []store.Condition{c}
}

// audits calls fn for the audit entries of a condition, newest first and page by
// page, as long as it returns true.
func (j *job) audits(ctx context.Context, where []store.Condition, fn func([]store.Found) (bool, error)) error {
	newest := j.logs[0]
	q := store.Query{
		Tenant: j.req.Tenant, Kind: evidence.KindAudit, Where: where,
		Below: store.Position{LogNo: newest.No, Seq: newest.head.Size}, Limit: 500,
	}
	for {
		page, err := j.e.cfg.Ledger.Find(ctx, q)
		if err != nil {
			return err
		}
		if more, err := fn(page); err != nil || !more || len(page) < q.Limit {
			return err
		}
		q.After = &page[len(page)-1].Position
	}
}

// collectRun writes the records of a run. Where something is gone and none of
// these records says by whose order, it looks for the ones that do and begins
// again.
func (j *job) collectRun(ctx context.Context) error {
	if err := j.runPass(ctx); err != nil {
		return err
	}
	again, err := j.explain(ctx)
	if err != nil || !again {
		return err
	}
	for _, s := range j.spools {
		if err := s.Close(); err != nil {
			return err
		}
	}
	j.files, j.spools, j.done = nil, nil, 0
	return j.runPass(ctx)
}

// runPass writes the files of all logs, from the oldest to the newest: so the
// run's records come by n.
func (j *job) runPass(ctx context.Context) error {
	r := j.run
	j.counts = newCompleteness(j.logs)
	j.counts.Run = &oneRun{RunID: j.req.Run, Correlated: r.bound, Truncated: r.cut, Marks: []string{}}
	r.next, r.gone, r.covers, r.meta = 0, goneFields{}, nil, runMetadata{}
	for k, part := range slices.Backward(j.logs) {
		if err := j.runLog(ctx, part, &j.counts.Logs[k]); err != nil {
			return fmt.Errorf("log %s: %w", part.Origin, err)
		}
	}
	if r.next == 0 {
		return fmt.Errorf("run %q: %w: none of its records is there", j.req.Run, evidence.ErrTampered)
	}
	if run := j.counts.Run; run.Ended {
		run.Later = run.Records - run.RecordCount
	}
	return nil
}

func (j *job) runLog(ctx context.Context, part logPart, counts *logCompleteness) error {
	var records *fileWriter
	sealed := discloser{choice: &j.choice, counts: counts}
	if err := j.writers(&records, &sealed.disclosed, &sealed.withheld); err != nil {
		return err
	}
	var line []byte
	err := j.e.cfg.Ledger.ProveRecords(ctx, j.req.Tenant, part.No, part.head, j.run.places[part.No], func(rec *ledger.ProvenRecord) error {
		if err := j.run.record(j.req, part, rec); err != nil {
			return err
		}
		j.counts.add(counts, rec.Leaf)
		if rec.Leaf.Run == j.req.Run {
			j.counts.Run.add(rec.Leaf)
		}
		out := verify.Record{Seq: rec.Seq, Leaf: rec.Raw, Proof: rec.Proof}
		line = out.Append(line[:0])
		if _, err := records.Write(line); err != nil {
			return err
		}
		gone := func(path string) verify.Reason {
			j.run.gone.add(part.Origin, rec.Seq, path)
			return cmp.Or(j.run.known.reason(part.Origin, rec.Seq, path), verify.Erased)
		}
		if err := sealed.record(rec.Leaf, rec.Open, gone); err != nil {
			return fmt.Errorf("leaf %d: %w", rec.Seq, err)
		}
		j.progress(1)
		return ctx.Err()
	})
	if err != nil {
		return err
	}
	j.files = append(j.files, records.finish(part.dir+"/records.jsonl"),
		sealed.disclosed.finish(part.dir+"/disclosures.jsonl"), sealed.withheld.finish(part.dir+"/withheld.jsonl"))
	return nil
}

// record notes what one record of the bundle says, and that the run has no gap:
// where the database leads is not believed.
func (r *runParts) record(req Request, part logPart, rec *ledger.ProvenRecord) error {
	if rec.Leaf.Run == req.Run {
		if rec.Leaf.N != r.next {
			return fmt.Errorf("run %q: %w: record %d is not where the database says", req.Run, evidence.ErrTampered, r.next)
		}
		r.next++
		r.meta.add(evidence.MetadataOf(req.Tenant, rec.Leaf, "", evidence.Hash{}))
	}
	list, err := coversOf(part.Origin, rec.Leaf, rec.Open)
	r.covers = append(r.covers, list...)
	return err
}
