package export

import (
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
// audit entries that a correlation id binds to it; what happened around its turning
// point; who looked at it; the LOG_OPENED records that put several logs in order; and
// the records of erasures and expiries that account for what is gone. The run's own
// erasures are among its records.
type runParts struct {
	places map[int][]store.Found // by log number, in order of seq once they are sorted
	shared map[int][]store.Found // of the system tenant's logs
	has    map[store.Position]bool
	oldest int // number of the oldest log that the bundle needs
	bound  int64
	cut    bool // there are more entries than maxBound
	window window
	// correlations are those of the run's own records.
	correlations map[string]bool
	// looks and exports count the entries about who looked at the run, and the
	// records of its exports. Where there are more, looksCut is true.
	looks, exports int64
	looksCut       bool

	// Of the pass over the records:
	next    int64 // n of the run's next record
	gone    goneFields
	covers  []cover
	reasons goneFields // of the pass before
	meta    runMetadata
}

// in returns the places of the bundle's records of a log.
func (r *runParts) in(req *Request, part *logPart) []store.Found {
	if part.system(req) {
		return r.shared[part.No]
	}
	return r.places[part.No]
}

// maxBound is how many audit entries of one correlation a bundle takes.
const maxBound = 10_000

// find refuses a run that the tenant does not have, or has no more.
func (j *job) find(ctx context.Context) error {
	if j.req.Profile != verify.ProfileRun {
		return nil
	}
	state, err := j.e.cfg.Ledger.RunState(ctx, j.req.Tenant, j.req.Run)
	if err == nil && state.NextN == 0 {
		err = fmt.Errorf("run %q: %w", j.req.Run, evidence.ErrNotFound)
	}
	if err != nil {
		return err
	}
	last, err := j.e.cfg.Ledger.ExpiredRun(ctx, j.req.Tenant, j.req.Run)
	if err == nil && last != nil {
		err = fmt.Errorf("run %q: %w", j.req.Run, ledger.ErrExpired)
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
	j.run = &runParts{
		places: map[int][]store.Found{}, shared: map[int][]store.Found{}, has: map[store.Position]bool{}, oldest: newest.No,
	}
	for _, f := range own {
		j.take(f)
	}
	course, err := j.readCourse(ctx)
	if err != nil {
		return err
	}
	j.run.window, j.run.correlations = course.window(), course.correlations
	if err := j.correlated(ctx, course.correlations); err != nil {
		return fmt.Errorf("correlated audit entries: %w", err)
	}
	if err := j.inWindow(ctx); err != nil {
		return err
	}
	if err := j.accesses(ctx); err != nil {
		return err
	}
	if err := j.systemParts(ctx); err != nil {
		return err
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

// systemParts adds the logs of the system tenant whose records the bundle has, the
// newest first.
func (j *job) systemParts(ctx context.Context) error {
	if len(j.run.shared) == 0 {
		return nil
	}
	logs, err := j.e.cfg.Ledger.Logs(ctx, evidence.SystemTenant)
	if err != nil {
		return err
	}
	for _, info := range slices.Backward(logs) {
		if list := j.run.shared[info.No]; len(list) > 0 {
			slices.SortFunc(list, bySeq)
			if err := j.part(ctx, info); err != nil {
				return err
			}
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
	j.run.places[f.LogNo] = append(j.run.places[f.LogNo], f)
	j.run.oldest = min(j.run.oldest, f.LogNo)
	j.total++
	return true
}

// correlated adds the audit entries that have one of the correlation ids of the
// run's own records.
func (j *job) correlated(ctx context.Context, ids map[string]bool) error {
	if j.req.NoAudit {
		return nil
	}
	const together = 50
	for ids := range slices.Chunk(slices.Sorted(maps.Keys(ids)), together) {
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

// seen adds to conditions that of records which the requester may see.
func (j *job) seen(c ...store.Condition) []store.Condition {
	if s := j.req.Synthetic; s != nil {
		c = append(c, store.Condition{Field: "is_synthetic", Values: []string{strconv.FormatBool(*s)}})
	}
	return c
}

// audits calls fn for the audit entries of a condition, newest first and page by
// page, as long as it returns true.
func (j *job) audits(ctx context.Context, where []store.Condition, fn func([]store.Found) (bool, error)) error {
	return j.pages(ctx, j.query(evidence.KindAudit, where...), fn)
}

// collectRun writes the records of a run. Where something is gone and none of
// these records says by whose order, it looks for the ones that do and begins
// again: of them something may be gone as well, who ordered it first of all.
func (j *job) collectRun(ctx context.Context) error {
	for {
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
		j.files, j.spools, j.stamped, j.done = nil, nil, nil, 0
	}
}

// runPass writes the files of all logs, from the oldest to the newest: so the
// run's records come by n.
func (j *job) runPass(ctx context.Context) error {
	r := j.run
	j.counts = newCompleteness(j.logs)
	j.counts.Run = r.completeness(&j.req)
	r.next, r.gone, r.covers, r.meta = 0, goneFields{}, nil, runMetadata{}
	own := func(s *shown) bool { return s.leaf.Run == j.req.Run && !s.part.system(&j.req) }
	if err := j.openViews(newRunReport(j), own, runKinds...); err != nil {
		return err
	}
	for k := range slices.Backward(j.logs) {
		if err := j.runLog(ctx, &j.logs[k], &j.counts.Logs[k]); err != nil {
			return fmt.Errorf("log %s: %w", j.logs[k].Origin, err)
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

func (j *job) runLog(ctx context.Context, part *logPart, counts *logCompleteness) error {
	out, err := j.recordFiles(part, counts)
	if err != nil {
		return err
	}
	list := j.run.in(&j.req, part)
	slices.SortFunc(list, bySeq)
	if len(list) == 0 { // the newest log may have none
		out.finish()
		return nil
	}
	// Time stamps are to say when the run's own records were made; who looked at it
	// came later, and comes again with each export.
	span, own := [2]int64{list[0].Seq, list[len(list)-1].Seq}, false
	err = j.e.cfg.Ledger.ProveRecords(ctx, part.Tenant, part.No, part.head, list, func(rec *ledger.ProvenRecord) error {
		if rec.Leaf.Run == j.req.Run && !part.system(&j.req) {
			if !own {
				span[0], own = rec.Seq, true
			}
			span[1] = rec.Seq
		}
		if err := j.run.record(j.req, part, rec); err != nil {
			return err
		}
		if rec.Leaf.Run == j.req.Run {
			j.counts.Run.add(rec.Leaf)
		}
		gone := func(path string) verify.Reason { return j.run.known(part.Origin, rec.Leaf, path) }
		if err := out.add(rec, gone); err != nil {
			return fmt.Errorf("leaf %d: %w", rec.Seq, err)
		}
		return ctx.Err()
	})
	if err != nil {
		return err
	}
	out.finish()
	return j.anchors(ctx, part, span[0], span[1])
}

// runKinds are the kinds of record that the table of a run has.
var runKinds = []evidence.Kind{evidence.KindLLMRun, evidence.KindTrace, evidence.KindTraceStep, evidence.KindTraceEvent}

// known returns the reason that the pass before found for a field that is gone, and
// notes the field for the next.
func (r *runParts) known(origin string, l *evidence.Leaf, path string) verify.Reason {
	r.gone.add(origin, l, path)
	return orErased(r.reasons.reason(origin, l.Seq, path))
}

// record notes what one record of the bundle says, and that the run has no gap:
// where the database leads is not believed.
func (r *runParts) record(req Request, part *logPart, rec *ledger.ProvenRecord) error {
	if rec.Leaf.Run == req.Run && !part.system(&req) {
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
