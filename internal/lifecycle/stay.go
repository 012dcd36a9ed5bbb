package lifecycle

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

// run is what decides about the records of a run.
type run struct {
	last  store.Position // its last record, or the last of kinds that are a run's
	exact bool           // the latter
	known bool           // the store has a state of it
	open  bool           // it has not ended
	holds string         // a hold of runs or subjects that covers it
}

// wholeRun reports whether records of a kind go with their run, and not by their own time.
// What others said about a run does not keep it.
func wholeRun(k evidence.Kind) bool { return k.Class() == evidence.ClassLLMRuns }

// about is what decides about the records of a batch that have no run of their own, or
// are kept for what they say.
type about struct {
	held     map[store.Position]string
	baseline map[int64]bool
}

// lookAtOnce bounds how many runs or records one query of the store names.
const lookAtOnce = 1000

// stays says why a record stays, if it does.
func (w *selection) stays(lg store.Log, k evidence.Kind, class string, m *store.RowMark, a about) (stay, bool) {
	at := store.Position{LogNo: lg.No, Seq: m.Seq}
	switch {
	case class == evidence.ClassAudit:
		return stay{why: whyNever}, true
	case !w.old(at, class):
		return stay{}, true // its time has not come
	}
	r := w.runs[m.Run]
	switch {
	case m.Run != "" && r.holds != "":
		return stay{whyHold, r.holds}, true
	case m.Run != "" && wholeRun(k):
		if why, stays := w.runStays(class, m.Run, r); stays {
			return why, true
		}
	default:
		if hold := w.holds.atTime(m); hold != "" {
			return stay{whyHold, hold}, true
		}
		if hold := a.held[at]; hold != "" {
			return stay{whyHold, hold}, true
		}
	}
	if a.baseline[m.Seq] {
		return stay{why: whyBaseline}, true
	}
	return stay{}, false
}

func (w *selection) runStays(class, name string, r run) (stay, bool) {
	if hold := w.holds.runs[name]; hold != "" {
		return stay{whyHold, hold}, true
	}
	switch {
	case r.open || !r.known:
		return stay{why: whyOpen}, true
	case !w.old(r.last, class):
		return stay{why: whyGoesOn}, true
	case w.highRisk(class, name) && !w.old(r.last, ""):
		return stay{why: whyHighRisk}, true
	}
	return stay{}, false
}

func (w *selection) highRisk(class, name string) bool {
	return class == evidence.ClassLLMRuns && w.risky[name]
}

// learn finds out what stays needs to know of a batch.
func (w *selection) learn(ctx context.Context, lg store.Log, k evidence.Kind, marks []store.RowMark) (about, error) {
	a := about{held: map[store.Position]string{}, baseline: map[int64]bool{}}
	var names []string
	var alone []store.Position
	seen := map[string]bool{}
	of := map[string]string{} // the class by which a run is asked about
	for i := range marks {
		m := &marks[i]
		at := store.Position{LogNo: lg.No, Seq: m.Seq}
		// What stays whatever its run does need not be asked.
		class := classOf(k, m.Synthetic)
		if class == evidence.ClassAudit || !w.old(at, class) {
			continue
		}
		if m.Run == "" {
			alone = append(alone, at)
			continue
		}
		if wholeRun(k) {
			of[m.Run] = class
		}
		if _, known := w.runs[m.Run]; !known && !seen[m.Run] {
			seen[m.Run] = true
			names = append(names, m.Run)
		}
	}
	for some := range slices.Chunk(names, lookAtOnce) {
		if err := w.learnRuns(ctx, some); err != nil {
			return a, err
		}
	}
	for name, class := range of {
		if err := w.lookCloser(ctx, name, class); err != nil {
			return a, err
		}
	}
	if w.holds.some {
		for some := range slices.Chunk(alone, lookAtOnce) {
			held, err := w.s.cfg.Store.HeldRecords(ctx, w.tenant, some)
			if err != nil {
				return a, err
			}
			for at, hold := range held {
				a.held[at] = hold
			}
		}
	}
	if k == evidence.KindSystem && len(marks) > 0 {
		return a, w.learnBaseline(ctx, lg, marks, a)
	}
	return a, nil
}

func (w *selection) learnRuns(ctx context.Context, names []string) error {
	states, err := w.s.cfg.Store.Runs(ctx, w.tenant, names)
	if err != nil {
		return err
	}
	held := map[string]string{}
	if w.holds.some {
		if held, err = w.s.cfg.Store.HeldRuns(ctx, w.tenant, names); err != nil {
			return err
		}
	}
	for _, name := range names {
		st, known := states[name]
		w.runs[name] = run{last: st.Last, known: known, open: st.Open, holds: held[name]}
	}
	return nil
}

// lookCloser finds the last record of a run that is a run's, where its last record would
// keep it or says that it goes on: that may be one about it, such as of an erasure.
func (w *selection) lookCloser(ctx context.Context, name, class string) error {
	r := w.runs[name]
	old := w.old(r.last, class) && (!w.highRisk(class, name) || w.old(r.last, ""))
	if r.exact || !r.known || r.holds != "" || old && !r.open {
		return nil
	}
	r.exact, r.open, r.last = true, true, store.Position{}
	err := w.s.cfg.Store.RunRecords(ctx, w.tenant, name, func(x store.RunRecord) error {
		if wholeRun(x.Kind) && (x.LogNo > r.last.LogNo || x.LogNo == r.last.LogNo && x.Seq > r.last.Seq) {
			r.last, r.open = x.Position, x.Kind != evidence.KindLLMRun
		}
		return nil
	})
	w.runs[name] = r
	return err
}

// baselineEvents say what a component is: the newest of each is part of the environment
// of runs to come.
var baselineEvents = []string{"STARTUP", "DEPLOY", "CONFIG_CHANGE", "MIGRATION"}

// foundations are never removed: where a log begins and ends, and by which rules.
var foundations = []string{"LOG_OPENED", "LOG_CLOSED", eventAcknowledged}

// learnBaseline finds the system records of a batch that are kept for what they say.
func (w *selection) learnBaseline(ctx context.Context, lg store.Log, marks []store.RowMark, a about) error {
	type event struct {
		seq       int64
		what      [2]string // component, event type
		synthetic bool
	}
	var events []event
	from, to := marks[0].Seq, marks[len(marks)-1].Seq+1
	err := w.s.cfg.Store.Rows(ctx, lg.LogRef, evidence.KindSystem, from, to, func(r *store.Row) error {
		e := event{seq: r.Seq}
		for _, f := range r.Facts {
			switch f.Field.Name {
			case "component":
				e.what[0] = f.Str
			case "event_type":
				e.what[1] = f.Str
			case "is_synthetic":
				e.synthetic = f.Int != 0
			}
		}
		if slices.Contains(foundations, e.what[1]) {
			a.baseline[e.seq] = true
		} else if slices.Contains(baselineEvents, e.what[1]) && !e.synthetic {
			events = append(events, e)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, e := range events {
		at, err := w.newestEvent(ctx, e.what)
		if err != nil {
			return err
		}
		if at == (store.Position{LogNo: lg.No, Seq: e.seq}) {
			a.baseline[e.seq] = true
		}
	}
	return nil
}

// newestEvent returns where the newest event of a component stands, as a baseline takes it.
func (w *selection) newestEvent(ctx context.Context, what [2]string) (store.Position, error) {
	if at, known := w.newest[what]; known {
		return at, nil
	}
	found, err := w.s.cfg.Ledger.Find(store.NoLag(ctx), store.Query{
		Tenant: w.tenant, Kind: evidence.KindSystem, Order: store.ByTimeDown, Limit: 1,
		Where: []store.Condition{
			{Field: "component", Values: what[:1]},
			{Field: "event_type", Values: what[1:]},
			{Field: "is_synthetic", Values: []string{strconv.FormatBool(false)}},
		},
	})
	if err != nil {
		return store.Position{}, err
	}
	var at store.Position
	if len(found) > 0 {
		at = found[0].Position
	}
	w.newest[what] = at
	return at, nil
}

// markRisky notes the runs that are marked as high risk by what their own record or their
// trace's says.
func (w *selection) markRisky(ctx context.Context, lg store.Log) error {
	c := &w.s.cfg
	if c.HighRiskFloor <= w.policies[evidence.ClassLLMRuns].Days || len(c.HighRiskPolicies)+len(c.HighRiskAgents) == 0 {
		return nil
	}
	end := w.cuts[cutKey{lg.No, evidence.ClassLLMRuns}]
	for _, k := range []evidence.Kind{evidence.KindLLMRun, evidence.KindTrace} {
		for from := w.s.lowest(lowKey{lg.LogRef, k, evidence.ClassLLMRuns}); from < end; {
			began := time.Now()
			n, next := 0, end
			err := c.Store.Rows(ctx, lg.LogRef, k, from, end, func(r *store.Row) error {
				if n == batchMarks {
					next = r.Seq
					return errEnough
				}
				n++
				if r.Run != "" && w.names(r.Facts) {
					w.risky[r.Run] = true
				}
				return nil
			})
			if err != nil && !errors.Is(err, errEnough) {
				return err
			}
			from = next
			if err := w.pause(ctx, time.Since(began)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *selection) names(facts []evidence.Fact) bool {
	for _, f := range facts {
		switch f.Field.Name {
		case "agent_id", "agent_name":
			if slices.Contains(w.s.cfg.HighRiskAgents, f.Str) {
				return true
			}
		case "policy_ids":
			for _, id := range f.List {
				if slices.Contains(w.s.cfg.HighRiskPolicies, id) {
					return true
				}
			}
		}
	}
	return false
}
