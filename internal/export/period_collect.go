package export

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/store"
	"github.com/runledger/runledger/verify"
)

// periodCompleteness says what there is of the period of a bundle.
type periodCompleteness struct {
	Scope string `json:"scope"`
	From  string `json:"from"`
	Until string `json:"until"`
	// Records were recorded in the period, in the tenant's own logs; InScope of them
	// are of the kinds whose content the scope discloses.
	Records int64 `json:"records"`
	InScope int64 `json:"in_scope"`
	// Shared counts the system log's records, of which those whose content is gone
	// are left out (SharedGone).
	Shared     int64           `json:"shared"`
	SharedGone int64           `json:"shared_gone"`
	Logs       []periodStretch `json:"logs"`
}

// periodStretch is what there is of one log: the leaves first_seq to last_seq, of
// which those from period_from to before period_until are of the period. The others
// are its neighbours. Apart from them stand the records that say by whose order content
// of the period went later, be it erased or expired.
type periodStretch struct {
	Dir         string `json:"dir"`
	FirstSeq    int64  `json:"first_seq"`
	LastSeq     int64  `json:"last_seq"`
	PeriodFrom  int64  `json:"period_from"`
	PeriodUntil int64  `json:"period_until"`

	Apart []int64 `json:"apart,omitempty"`
}

const (
	// periodChunk is how many leaves are looked up and proven together.
	periodChunk = 4096
	// maxPasses bounds how often the records are written: again where something was
	// erased while they were.
	maxPasses = 4
)

// collectPeriod writes the records of a period. Where content is gone and no record
// of the stretch says by whose order, the one that does is added, however much later it
// came, and all is written again.
func (j *job) collectPeriod(ctx context.Context, scope *verify.Scope) error {
	scope.Kind, scope.From, scope.Until = j.req.Scope, j.req.From.String(), j.req.Until.String()
	for range maxPasses {
		if err := j.periodPass(ctx); err != nil {
			return err
		}
		again, err := j.explainPeriod(ctx)
		if err != nil {
			return err
		}
		if !again {
			return j.finishPeriod(ctx)
		}
		for _, s := range j.spools {
			if err := s.Close(); err != nil {
				return err
			}
		}
		j.files, j.spools, j.stamped, j.done = nil, nil, nil, 0
	}
	return fmt.Errorf("content of the period is being erased: %w", evidence.ErrUnavailable)
}

// periodPass writes the files of all logs: those of the tenant from the oldest to the
// newest, then those of the system.
func (j *job) periodPass(ctx context.Context) error {
	p := j.period
	j.counts = newCompleteness(j.logs)
	j.counts.Period = &periodCompleteness{
		Scope: j.req.Scope, From: j.req.From.String(), Until: j.req.Until.String(), Logs: []periodStretch{},
	}
	p.gone, p.covers, p.tally = goneFields{}, nil, nil
	if j.req.Scope == ScopeCompliance {
		p.tally = newTally()
	}
	if err := j.openViews(newPeriodReport(j), j.inScope, scopeKinds[j.req.Scope]...); err != nil {
		return err
	}
	for _, s := range slices.Backward(p.stretches) {
		if err := j.stretch(ctx, s); err != nil {
			return fmt.Errorf("log %s: %w", j.logs[s.part].Origin, err)
		}
	}
	for _, s := range slices.Backward(p.shared) {
		if err := j.sharedRecords(ctx, s); err != nil {
			return fmt.Errorf("log %s: %w", j.logs[s.part].Origin, err)
		}
	}
	return nil
}

// withholdAll discloses nothing but what every bundle must, see alwaysDisclosed.
var withholdAll = choice{withhold: patterns{"*"}}

func requested(string) verify.Reason { return verify.Requested }

// stretch writes the leaves of one of the tenant's logs. Those of the period that
// are of the scope's kinds are disclosed as the request has it; of the others there
// is the leaf only.
func (j *job) stretch(ctx context.Context, s *stretch) error {
	p, part := j.period, &j.logs[s.part]
	w, err := j.recordFiles(part, &j.counts.Logs[s.part])
	if err != nil {
		return err
	}
	next := s.from
	each := func(rec *ledger.ProvenRecord) error {
		t := rec.Leaf.RecordedAt
		inside := s.in <= rec.Seq && rec.Seq < s.out
		if rec.Seq < s.to && rec.Seq != next || inside != (j.req.From <= t && t < j.req.Until) {
			return tampered("leaf %d is not where its time says", rec.Seq)
		}
		if next++; rec.Seq >= s.to && coverReason(rec.Leaf) == "" {
			return tampered("leaf %d is not the record that the database says", rec.Seq)
		}
		list, err := coversOf(part.Origin, rec.Leaf, rec.Open)
		if err != nil {
			return err
		}
		p.covers = append(p.covers, list...)
		gone := requested
		w.sealed.choice = &withholdAll
		if inside {
			j.counts.Period.Records++
			p.tally.add(rec.Leaf)
		}
		if inside && p.kinds[rec.Leaf.Kind] {
			j.counts.Period.InScope++
			w.sealed.choice = &j.choice
			gone = func(path string) verify.Reason {
				p.gone.add(part.Origin, rec.Leaf, path)
				return cmp.Or(p.known.reason(part.Origin, rec.Seq, path), verify.Erased)
			}
		}
		if err := w.add(rec, gone); err != nil {
			return fmt.Errorf("leaf %d: %w", rec.Seq, err)
		}
		return ctx.Err()
	}
	if err := j.eachOf(ctx, s, each); err != nil {
		return err
	}
	if err := j.e.cfg.Ledger.ProveRecords(ctx, part.Tenant, part.No, part.head, s.apart, each); err != nil {
		return err
	}
	there := periodStretch{Dir: part.dir, FirstSeq: s.from, LastSeq: s.to - 1, PeriodFrom: s.in, PeriodUntil: s.out}
	for _, f := range s.apart {
		there.Apart = append(there.Apart, f.Seq)
	}
	j.counts.Period.Logs = append(j.counts.Period.Logs, there)
	w.finish()
	return nil
}

// eachOf calls fn for the records of a stretch, with the content of those that may
// have to be disclosed.
func (j *job) eachOf(ctx context.Context, s *stretch, fn func(*ledger.ProvenRecord) error) error {
	part := &j.logs[s.part]
	at := make([]store.Found, 0, min(s.to-s.from, periodChunk))
	for from := s.from; from < s.to; from += periodChunk {
		to := min(s.to, from+periodChunk)
		at = at[:0]
		for seq := from; seq < to; seq++ {
			at = append(at, store.Found{
				Position: store.Position{LogNo: part.No, Seq: seq}, Segment: store.NoSegment, ActorSegment: store.NoSegment,
			})
		}
		fill := func(f store.Found) { at[f.Seq-from] = f }
		for _, kind := range evidence.Kinds() {
			if !j.period.kinds[kind] {
				continue
			}
			if err := j.found(ctx, *part, max(from, s.in), min(to, s.out), kind, nil, fill); err != nil {
				return err
			}
		}
		// What says by whose order something is gone is disclosed wherever it stands.
		if err := j.found(ctx, *part, from, to, evidence.KindAudit, []store.Condition{goneEvents}, fill); err != nil {
			return err
		}
		if err := j.e.cfg.Ledger.ProveRecords(ctx, part.Tenant, part.No, part.head, at, fn); err != nil {
			return err
		}
	}
	return nil
}

// sharedRecords writes the shared records of a log of the system. One whose content
// is gone is left out: what accounts for it is in the system's log, and not shared.
func (j *job) sharedRecords(ctx context.Context, s *sharedPart) error {
	p, part := j.period, &j.logs[s.part]
	w, err := j.recordFiles(part, &j.counts.Logs[s.part])
	if err != nil {
		return err
	}
	err = j.e.cfg.Ledger.ProveRecords(ctx, part.Tenant, part.No, part.head, s.places, func(rec *ledger.ProvenRecord) error {
		l := rec.Leaf
		if l.Kind != evidence.KindSystem || l.Run != "" || l.Text("visibility") != "shared" || l.RecordedAt < j.req.From || l.RecordedAt >= j.req.Until {
			return tampered("leaf %d is not the record that the database says", rec.Seq)
		}
		for _, h := range l.H {
			if _, ok := rec.Open[h.Path]; !ok {
				j.counts.Period.SharedGone++
				j.progress(1)
				return nil
			}
		}
		j.counts.Period.Shared++
		p.tally.add(l)
		if err := w.add(rec, wasErased); err != nil {
			return fmt.Errorf("leaf %d: %w", rec.Seq, err)
		}
		return ctx.Err()
	})
	if err != nil {
		return err
	}
	w.finish()
	return nil
}

// explainPeriod gives what is gone its reason, and takes the records that say it into
// the stretches. It reports whether the records have to be written again.
func (j *job) explainPeriod(ctx context.Context) (again bool, err error) {
	p := j.period
	for _, c := range p.covers {
		if p.gone.explain(c) && c.reason != verify.Erased {
			again = true
		}
	}
	if p.gone.left > 0 {
		for _, s := range p.stretches {
			found, err := j.explainBehind(ctx, s)
			if err != nil {
				return false, err
			}
			again = again || found
		}
	}
	// What was known before needs no second writing, whatever its reason.
	again = again && !p.gone.same(&p.known)
	p.known, p.gone = p.gone, goneFields{}
	return again, nil
}

// explainBehind looks behind a stretch for the records that say why something is gone,
// and adds them to it. Those that it has already were asked before.
func (j *job) explainBehind(ctx context.Context, s *stretch) (found bool, err error) {
	p, part := j.period, &j.logs[s.part]
	var at []store.Found
	err = j.found(ctx, *part, s.to, part.head.Size, evidence.KindAudit, []store.Condition{goneEvents}, func(f store.Found) {
		at = append(at, f)
	})
	if err != nil {
		return false, err
	}
	slices.Reverse(at)
	at = slices.DeleteFunc(at, func(f store.Found) bool { return s.has(f.Seq) })
	var more []store.Found
	next := 0
	err = j.e.cfg.Ledger.ProveRecords(ctx, part.Tenant, part.No, part.head, at, func(rec *ledger.ProvenRecord) error {
		f := at[next] // they come in the order in which they were asked for
		next++
		list, err := coversOf(part.Origin, rec.Leaf, rec.Open)
		needed := false
		for _, c := range list {
			needed = p.gone.explain(c) || needed
		}
		if needed {
			more = append(more, f)
		}
		return err
	})
	if err != nil || len(more) == 0 {
		return false, err
	}
	j.total += int64(len(more))
	s.apart = append(s.apart, more...)
	slices.SortFunc(s.apart, bySeq)
	return true, nil
}

// same reports whether other has the same fields with the same reasons.
func (g *goneFields) same(other *goneFields) bool {
	if len(g.by) != len(other.by) {
		return false
	}
	for origin, list := range g.by {
		if !slices.Equal(list, other.by[origin]) {
			return false
		}
	}
	return true
}

// inScope reports whether a record is one of those that the export is about, and the
// requester may see it.
func (j *job) inScope(s *shown) bool {
	t := s.leaf.RecordedAt
	return j.req.From <= t && t < j.req.Until && j.period.kinds[s.leaf.Kind] && !j.choice.hides(s.leaf)
}

// finishPeriod adds what is known once all records are written: the controls, and the
// time stamps around the records of each log.
func (j *job) finishPeriod(ctx context.Context) error {
	if t := j.period.tally; t != nil {
		j.counts.Controls = t.counts
		if j.table != nil {
			if err := j.table.controls(t.counts); err != nil {
				return err
			}
		}
	}
	for _, s := range j.period.stretches {
		if err := j.anchors(ctx, &j.logs[s.part], s.from, s.to-1); err != nil {
			return err
		}
	}
	for _, s := range j.period.shared {
		if len(s.places) == 0 {
			continue
		}
		if err := j.anchors(ctx, &j.logs[s.part], s.places[0].Seq, s.places[len(s.places)-1].Seq); err != nil {
			return err
		}
	}
	return nil
}
