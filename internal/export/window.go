package export

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

// windowHalf is how far the window of a run reaches to either side of its center, in
// microseconds: 30 s.
const windowHalf = evidence.Micros(30_000_000)

// window is the time around the turning point of a run, both ends in it.
type window struct {
	center, start, end evidence.Micros
	why                string // what the center is
	// What the bundle has in it: system records of the tenant, entries about
	// policy, and shared records of the system log. Where there are more of one than
	// maxBound, cut is true.
	system, policy, shared int64
	cut                    bool
	// leftOut counts shared records whose content is gone: who ordered that is said
	// in a log that is not the tenant's.
	leftOut int64
}

func (w *window) has(at evidence.Micros) bool { return w.start <= at && at <= w.end }

// course is what a run's own records say that decides what else belongs to it.
type course struct {
	correlations map[string]bool
	ending       *evidence.Leaf  // its newest llm_run; nil: it has none
	first        evidence.Micros // occurred_at of its first record
	began        bool
}

// add takes a record of the run, in order of n.
func (c *course) add(l *evidence.Leaf) error {
	if !c.began {
		c.first, c.began = l.OccurredAt, true
	}
	if id := l.Text("correlation_id"); id != "" {
		c.correlations[id] = true
	}
	if l.Kind != evidence.KindLLMRun || l.Text("conflict_of") != "" {
		return nil
	}
	revision, _ := l.Int("revision")
	if c.ending != nil {
		if newest, _ := c.ending.Int("revision"); newest > revision {
			return nil
		}
	}
	c.ending = l
	return nil
}

// window returns the window of the run: around its turning point where it has one,
// else its end, else its start.
func (c *course) window() (w window) {
	w.center, w.why = c.first, "first record"
	if c.ending != nil {
		for _, name := range []string{"started_at", "completed_at", "inflection_at"} {
			if at, ok := c.ending.Int(name); ok {
				w.center, w.why = evidence.Micros(at), name
			}
		}
	}
	w.start, w.end = w.center-windowHalf, w.center+windowHalf
	if !w.start.InRange() { // it ends where times do
		w.start = w.center
	}
	if !w.end.InRange() {
		w.end = w.center
	}
	return w
}

// readCourse reads the run's own records once, as the database has them: what the
// bundle says of them is proven when it is written.
func (j *job) readCourse(ctx context.Context) (*course, error) {
	c := &course{correlations: map[string]bool{}}
	for _, no := range slices.Sorted(maps.Keys(j.run.places)) {
		if err := j.e.cfg.Ledger.LeavesAt(ctx, j.req.Tenant, no, j.run.places[no], c.add); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// overrides are the events by which somebody sets a rule or limit aside, whatever they
// are about.
var overrides = []string{
	"LimitOverrideGranted", "LimitOverrideRevoked", "EmergencyOverrideActivated", "EmergencyOverrideDeactivated",
}

// aboutPolicy are the kinds of entity whose entries belong to the window.
var aboutPolicy = []string{"POLICY_RULE", "LIMIT"}

var policyEntries = store.Condition{Any: []store.Condition{
	{Field: "entity_type", Values: aboutPolicy}, {Field: "event_type", Values: overrides},
}}

// isPolicy reports what [policyEntries] finds.
func isPolicy(l *evidence.Leaf) bool {
	return l.Kind == evidence.KindAudit &&
		(slices.Contains(aboutPolicy, l.Text("entity_type")) || slices.Contains(overrides, l.Text("event_type")))
}

// inWindow adds what happened around the turning point: the tenant's system records
// and entries about policy that are of no other run, and the shared records of the
// system log. Those of other runs are nobody's business here.
func (j *job) inWindow(ctx context.Context) error {
	w := &j.run.window
	ours := func(l *evidence.Leaf) bool { return l.Run == "" || l.Run == j.req.Run }
	q := j.query(evidence.KindSystem, j.seen()...)
	q.Order, q.From, q.Until = store.ByTime, &w.start, &w.end
	add := func(q store.Query, count *int64) error {
		return j.keep(ctx, q, ours, func(f store.Found) bool {
			if *count == maxBound {
				w.cut = true
				return false
			}
			*count++
			j.take(f)
			return true
		})
	}
	if err := add(q, &w.system); err != nil {
		return fmt.Errorf("system records of the window: %w", err)
	}
	if !j.req.NoAudit {
		q.Kind, q.Where = evidence.KindAudit, j.seen(policyEntries)
		if err := add(q, &w.policy); err != nil {
			return fmt.Errorf("policy entries of the window: %w", err)
		}
	}
	if j.req.Tenant == evidence.SystemTenant {
		return nil
	}
	q.Tenant, q.Kind, q.Below = evidence.SystemTenant, evidence.KindSystem, store.Position{}
	q.Where = j.seen(store.Condition{Field: "visibility", Values: []string{"shared"}})
	return j.inSystemLog(ctx, q)
}

// inSystemLog adds the shared records that a query finds in the system tenant's log.
func (j *job) inSystemLog(ctx context.Context, q store.Query) error {
	w := &j.run.window
	shared := func(l *evidence.Leaf) bool { return l.Run == "" && l.Text("visibility") == "shared" }
	var found []store.Found
	err := j.keep(ctx, q, shared, func(f store.Found) bool {
		if len(found) == maxBound {
			w.cut = true
			return false
		}
		found = append(found, f)
		return true
	})
	if err != nil {
		return fmt.Errorf("shared records of the window: %w", err)
	}
	// Content that is gone cannot be accounted for: only the system log says who
	// ordered it, in a record that is not shared.
	for list := range slices.Chunk(found, fetchTogether) {
		records, err := j.e.cfg.Ledger.Fetch(ctx, q.Tenant, list, true)
		if err != nil {
			return fmt.Errorf("shared records of the window: %w", err)
		}
		for i := range records {
			if len(records[i].Open) < len(records[i].Leaf.H) {
				w.leftOut++
				continue
			}
			j.run.shared[list[i].LogNo] = append(j.run.shared[list[i].LogNo], list[i])
			w.shared++
			j.total++
		}
	}
	return nil
}

// fetchTogether is how many records are looked at together.
const fetchTogether = 500

// query returns one for the tenant's records of a kind below its checkpoint.
func (j *job) query(kind evidence.Kind, where ...store.Condition) store.Query {
	newest := j.logs[0]
	return store.Query{
		Tenant: j.req.Tenant, Kind: kind, Where: where, Limit: fetchTogether,
		Below: store.Position{LogNo: newest.No, Seq: newest.head.Size},
	}
}

// pages calls fn for what a query finds, page by page, as long as it returns true.
func (j *job) pages(ctx context.Context, q store.Query, fn func([]store.Found) (bool, error)) error {
	for {
		page, err := j.e.cfg.Ledger.Find(ctx, q)
		if err != nil {
			return err
		}
		if more, err := fn(page); err != nil || !more || len(page) < q.Limit {
			return err
		}
		last := page[len(page)-1]
		q.After, q.AfterTime = &last.Position, last.OccurredAt
	}
}

// keep calls fn, in order and as long as it returns true, for what a query finds and
// whose leaf is one that is wanted.
func (j *job) keep(ctx context.Context, q store.Query, wanted func(*evidence.Leaf) bool, fn func(store.Found) bool) error {
	return j.pages(ctx, q, func(page []store.Found) (bool, error) {
		by := map[int][]store.Found{}
		for _, f := range page {
			by[f.LogNo] = append(by[f.LogNo], f)
		}
		good := map[store.Position]bool{}
		for no, list := range by {
			slices.SortFunc(list, bySeq)
			err := j.e.cfg.Ledger.LeavesAt(ctx, q.Tenant, no, list, func(l *evidence.Leaf) error {
				good[store.Position{LogNo: no, Seq: l.Seq}] = wanted(l)
				return nil
			})
			if err != nil {
				return false, err
			}
		}
		for _, f := range page {
			if good[f.Position] && !fn(f) {
				return false, nil
			}
		}
		return true, nil
	})
}

func bySeq(a, b store.Found) int { return cmp.Compare(a.Seq, b.Seq) }

// accesses adds who looked at the run, and its exports: the newest of each.
func (j *job) accesses(ctx context.Context) error {
	if j.req.NoAudit {
		return nil
	}
	about := store.Condition{Field: "about_run", Values: []string{j.req.Run}}
	looks := store.Condition{Field: "event_type", Values: []string{"LOG_VIEW", "LOG_EXPORT"}}
	for _, of := range []struct {
		query store.Query
		count *int64
	}{
		{j.query(evidence.KindAudit, j.seen(about, looks)...), &j.run.looks},
		{j.query(evidence.KindExport, j.seen(about)...), &j.run.exports},
	} {
		err := j.pages(ctx, of.query, func(page []store.Found) (bool, error) {
			for _, f := range page {
				if *of.count == maxBound {
					j.run.looksCut = true
					return false, nil
				}
				*of.count++
				j.take(f)
			}
			return true, nil
		})
		if err != nil {
			return fmt.Errorf("accesses to the run: %w", err)
		}
	}
	return nil
}
