package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

// Why records stay that are old enough.
const (
	whyHold     = "hold"
	whyOpen     = "open_run"
	whyGoesOn   = "run_goes_on"
	whyHighRisk = "high_risk"
	whyBaseline = "baseline"
	whyNever    = "never"
)

// batchMarks is how many rows are looked at before ingest gets its turn.
const batchMarks = 8192

// errEnough ends a read early.
var errEnough = errors.New("enough")

// removable are the classes whose records go, in the order of the contract.
func removable() []string {
	return slices.DeleteFunc(evidence.RetentionClasses(), func(c string) bool { return c == evidence.ClassAudit })
}

// kindsOf returns the kinds that records of a class have.
func kindsOf(class string) []evidence.Kind {
	if class == evidence.ClassSynthetic {
		return evidence.Kinds()
	}
	return slices.DeleteFunc(evidence.Kinds(), func(k evidence.Kind) bool { return k.Class() != class })
}

func classOf(k evidence.Kind, synthetic bool) string {
	if synthetic {
		return evidence.ClassSynthetic
	}
	return k.Class()
}

// due is what is to go of one table of one log for one class.
type due struct {
	log  store.Log
	kind evidence.Kind
	// ranges cover the records that go, and of the kind's others only such as go too,
	// or went.
	ranges []evidence.TargetRange
	rows   int64
	from   evidence.Micros // when the earliest was recorded
}

// stay is why a record stays.
type stay struct{ why, detail string }

// chosen is what a selection found of a class.
type chosen struct {
	policy Policy
	before evidence.Micros
	due    []*due
	rows   int64
	kept   map[stay]int64
}

// tables counts by table, in order of the contract.
func (c *chosen) tables() []TablePreview {
	out := []TablePreview{}
	for _, k := range evidence.Kinds() {
		var n int64
		for _, d := range c.due {
			if d.kind == k {
				n += d.rows
			}
		}
		if n > 0 {
			out = append(out, TablePreview{k.Table(), n})
		}
	}
	return out
}

func (c *chosen) keptList() []Kept {
	out := []Kept{}
	for s, n := range c.kept {
		out = append(out, Kept{s.why, s.detail, n})
	}
	sort.Slice(out, func(i, j int) bool {
		return out[i].Why < out[j].Why || out[i].Why == out[j].Why && out[i].Detail < out[j].Detail
	})
	return out
}

// lowKey names where rows of a class may begin in a table of a log.
type lowKey struct {
	store.LogRef
	kind  evidence.Kind
	class string
}

// selection decides which records of a tenant go at a time.
//
// A run goes as a whole: when it has ended, its last record is old enough, and nothing
// holds it. Records of other kinds go by their own time, whatever run they are about. Where leaves stand is decided by time of recording, which
// does not decrease along a log, so it is asked of a few leaves that the signed tree has,
// and not of the columns.
type selection struct {
	s        *Service
	tenant   string
	at       evidence.Micros
	logs     []store.Log
	policies map[string]Policy
	// goes says which classes may be removed now: a range may only lie across records of
	// these.
	goes  func(class string) bool
	cuts  map[cutKey]int64
	holds holds
	runs  map[string]run
	risky map[string]bool
	// newest has the place of the newest event of a baseline, by component and event.
	newest map[[2]string]store.Position
	pause  func(ctx context.Context, worked time.Duration) error
}

// cutKey: a log, and a class ("" for the floor of high risk).
type cutKey struct {
	log   int
	class string
}

func (s *Service) selectDue(ctx context.Context, tenant string, at evidence.Micros, policies []Policy, h holds, goes func(string) bool, classes []string) (map[string]*chosen, error) {
	w := &selection{
		s: s, tenant: tenant, at: at, goes: goes, holds: h, policies: map[string]Policy{},
		cuts: map[cutKey]int64{}, runs: map[string]run{}, risky: map[string]bool{}, newest: map[[2]string]store.Position{}, pause: s.pause,
	}
	for _, p := range policies {
		w.policies[p.Class] = p
	}
	var err error
	if w.logs, err = s.cfg.Store.Logs(ctx, tenant); err != nil {
		return nil, err
	}
	if err := w.cutAll(ctx); err != nil {
		return nil, err
	}
	if err := w.timeHolds(ctx); err != nil {
		return nil, err
	}
	out := map[string]*chosen{}
	for _, class := range classes {
		c := &chosen{policy: w.policies[class], before: w.before(class), kept: map[stay]int64{}}
		out[class] = c
		// In all logs first: a run whose mark is of its end may have begun in the log before.
		if class == evidence.ClassLLMRuns {
			for _, lg := range w.logs {
				if err := w.markRisky(ctx, lg); err != nil {
					return nil, err
				}
			}
		}
		for _, lg := range w.logs {
			for _, k := range kindsOf(class) {
				if err := w.scan(ctx, lg, k, class, c); err != nil {
					return nil, fmt.Errorf("select %s of %s: %w", k.Table(), lg.Origin, err)
				}
			}
		}
	}
	return out, nil
}

func (w *selection) before(class string) evidence.Micros {
	return cutoff(w.at, w.policies[class].Days)
}

// old reports whether a place is one of records that are old enough for a class.
func (w *selection) old(at store.Position, class string) bool {
	return at.Seq < w.cuts[cutKey{at.LogNo, class}]
}

// scan looks at the rows of a kind that are old enough for a class.
func (w *selection) scan(ctx context.Context, lg store.Log, k evidence.Kind, class string, c *chosen) error {
	end := w.cuts[cutKey{lg.No, class}]
	key := lowKey{lg.LogRef, k, class}
	from := w.s.lowest(key)
	first := int64(-1)
	d := &due{log: lg, kind: k}
	open := false // the last range goes on
	for from < end {
		began := time.Now()
		marks, err := w.marks(ctx, lg.LogRef, k, from, end)
		if err != nil {
			return err
		}
		if len(marks) == 0 {
			break
		}
		about, err := w.learn(ctx, lg, k, marks)
		if err != nil {
			return err
		}
		for i := range marks {
			m := &marks[i]
			of := classOf(k, m.Synthetic)
			if of == class && first < 0 {
				first = m.Seq
			}
			why, stays := w.stays(lg, k, of, m, about)
			switch {
			case stays && of == class:
				c.kept[why]++
				open = false
			case stays || of != class && !w.goes(of):
				open = false
			case of == class:
				d.add(m, open)
				open = true
			}
		}
		from = marks[len(marks)-1].Seq + 1
		if err := w.pause(ctx, time.Since(began)); err != nil {
			return err
		}
	}
	if first < 0 {
		first = end
	}
	w.s.raise(key, first)
	if d.rows > 0 {
		c.due = append(c.due, d)
		c.rows += d.rows
	}
	return nil
}

func (d *due) add(m *store.RowMark, open bool) {
	if d.rows == 0 || m.RecordedAt < d.from {
		d.from = m.RecordedAt
	}
	d.rows++
	if open {
		d.ranges[len(d.ranges)-1].To = m.Seq + 1
		return
	}
	d.ranges = append(d.ranges, evidence.TargetRange{From: m.Seq, To: m.Seq + 1})
}

// marks reads some marks.
func (w *selection) marks(ctx context.Context, ref store.LogRef, k evidence.Kind, from, end int64) ([]store.RowMark, error) {
	var out []store.RowMark
	err := w.s.cfg.Store.Marks(ctx, ref, k, from, end, func(m *store.RowMark) error {
		out = append(out, *m)
		if len(out) == batchMarks {
			return errEnough
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return out, err
}

// lowest is the first leaf of a log at which a row of that class may be left in a table.
// It is remembered, so that what is young is not read again each time to find that
// little of it is synthetic.
func (s *Service) lowest(k lowKey) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.low[k]
}

func (s *Service) raise(k lowKey, to int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.low[k] = max(s.low[k], to)
}

// pause lets ingest have its turn where it waits for this. What an append waits for at most is one
// piece of work, however long the pauses are.
func (s *Service) pause(ctx context.Context, worked time.Duration) error {
	return s.cfg.Ledger.Pace(ctx, worked)
}
