package facade

import (
	"context"
	"errors"
	"slices"

	"github.com/runledger/runledger/answer"
	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

var (
	runStatuses = append([]string{statusRunning}, evidence.PublicField(evidence.KindLLMRun, "execution_status").Enum...)
	runOutcomes = evidence.PublicField(evidence.KindLLMRun, "outcome").Enum
)

// Runs lists runs that have ended, each by its newest revision, newest first.
// Those whose end has not been seen are listed by status RUNNING only: they have
// no record that a cursor could pin. `revisions` of an item holds only the newest
// one; the envelope has all.
func (f *Facade) Runs(ctx context.Context, r Reader, q RunFilter, p Paging) (*answer.RunList, error) {
	c := f.filters(ctx, r)
	c.run("run_id", "run", q.RunID)
	c.exact("trace_id", "trace_id", q.TraceID)
	c.name("provider", "provider", q.Provider)
	c.name("model", "model", q.Model)
	c.enum("status", "execution_status", q.Status, runStatuses)
	c.enum("outcome", "outcome", q.Outcome, runOutcomes)
	c.name("agent_id", "agent_id", q.AgentID)
	c.sealed("human_actor_id", "actor", q.HumanActorID)
	c.name("correlation_id", "correlation_id", q.CorrelationID)
	c.name("conversation_id", "conversation_id", q.ConversationID)
	c.synthetic(q.IsSynthetic)
	if c.err != nil {
		return nil, c.err
	}
	if q.Status == statusRunning {
		return f.openRuns(ctx, r, q, p, c)
	}
	l, err := f.list(ctx, r, store.Query{
		Tenant: r.Tenant, Kind: evidence.KindLLMRun, Where: c.where, NewestRevision: true,
	}, q.Window, p, c.applied)
	if err != nil {
		return nil, err
	}
	out := &answer.RunList{Items: []answer.RunEnvelope{}, Page: l.Page}
	for _, rec := range l.records {
		out.Items = append(out.Items, envelopeOf(rec))
	}
	return out, nil
}

// run filters by a run, which may be named by any of its ids. One that the tenant
// does not have finds nothing.
func (q *filters) run(param, field, id string) {
	if id == "" || q.err != nil {
		return
	}
	run, err := q.f.cfg.Ledger.ResolveRun(q.ctx, q.r.Tenant, id)
	if errors.Is(err, evidence.ErrNotFound) {
		run, err = id, nil
	}
	if err != nil {
		q.err = err
		return
	}
	q.equal(param, id, store.Condition{Field: field, Values: []string{run}})
}

// openAtOnce is how many open runs are looked at between two questions to the
// store; maxOpenLooks how many for one page, so that a filter which nothing
// matches costs no more than that: the page then ends early, and has a cursor.
const (
	openAtOnce   = 200
	maxOpenLooks = 2000
)

// openRun is an open run and what is known of it.
type openRun struct {
	state store.RunState
	live  *evidence.Record
}

// openRuns lists runs whose end has not been seen. They have no columns: the
// filters are held against what is known of each.
func (f *Facade) openRuns(ctx context.Context, r Reader, q RunFilter, p Paging, c *filters) (*answer.RunList, error) {
	limit, err := r.limit(p.Limit, defaultLimit)
	if err != nil {
		return nil, err
	}
	name := digest("open", c.where, q.Window)
	last := ""
	w := q.Window
	if p.Cursor == "" {
		w, err = r.window(w, f.now())
	} else {
		var cur cursor
		if cur, err = parseCursor(p.Cursor, name); err == nil {
			last = cur.Extra
			w, err = r.laterWindow(Window{cur.From, cur.Until}, f.now())
		}
	}
	if err != nil {
		return nil, err
	}
	w.tell(c.applied)
	runs, next, err := f.findOpen(ctx, r, c, w, last, limit)
	if err != nil {
		return nil, err
	}
	known := make([]*evidence.Record, len(runs))
	for i, o := range runs {
		known[i] = o.live
	}
	if err := f.hide(ctx, r, known...); err != nil {
		return nil, err
	}
	out := &answer.RunList{Items: []answer.RunEnvelope{}}
	out.FiltersApplied = c.applied
	var parts []evidence.Metadata
	for _, o := range runs {
		e := f.liveEnvelope(r, o.state, o.live)
		out.Items = append(out.Items, e)
		parts = append(parts, e.Metadata)
	}
	slices.SortStableFunc(out.Items, func(a, b answer.RunEnvelope) int { return int(b.StartedAt - a.StartedAt) })
	if next != "" {
		out.HasMore = true
		out.NextCursor = cursor{Query: name, Below: [2]int64{1, 0}, From: w.After, Until: w.Before, Extra: next}.encode()
	}
	out.Total, out.TotalIsExact = int64(len(out.Items)), next == "" && last == ""
	if !out.TotalIsExact { // how many of the others match is not known without a look at each
		out.Total = 0
		err = f.cfg.Ledger.Finder().OpenRunsOf(ctx, r.Tenant, "", countLimit, func(store.RunState) error {
			out.Total++
			return nil
		})
	}
	out.Metadata = f.union(r, "", parts)
	return out, err
}

// findOpen returns open runs that the filters let pass, and where the next page
// begins: behind that run, or "" where there are no more.
func (f *Facade) findOpen(ctx context.Context, r Reader, c *filters, w Window, last string, limit int) (runs []openRun, next string, err error) {
	for looks := 0; ; {
		var some []store.RunState
		err = f.cfg.Ledger.Finder().OpenRunsOf(ctx, r.Tenant, last, openAtOnce, func(s store.RunState) error {
			some = append(some, s)
			return nil
		})
		if err != nil {
			return nil, "", err
		}
		for _, s := range some {
			if looks == maxOpenLooks {
				return runs, last, nil
			}
			looks++
			live, err := f.cfg.Runs.Live(ctx, r.Tenant, s.Run)
			if errors.Is(err, evidence.ErrNotFound) {
				last = s.Run // it has ended meanwhile
				continue
			} else if err != nil {
				return nil, "", err
			}
			ok, err := c.passes(live, w)
			if err != nil {
				return nil, "", err
			}
			if ok && len(runs) == limit {
				return runs, last, nil
			}
			last = s.Run
			if !ok {
				continue
			}
			runs = append(runs, openRun{s, live})
		}
		if len(some) < openAtOnce {
			return runs, "", nil
		}
	}
}

// passes holds the conditions of a list against what is known of an open run.
func (q *filters) passes(live *evidence.Record, w Window) (bool, error) {
	if w.After != nil && live.OccurredAt < *w.After || w.Before != nil && live.OccurredAt >= *w.Before {
		return false, nil
	}
	for _, c := range q.where {
		ok, err := q.holds(live, c)
		if !ok || err != nil {
			return false, err
		}
	}
	return true, nil
}

func (q *filters) holds(live *evidence.Record, c store.Condition) (bool, error) {
	if c.Index != nil && c.Index.Name != "actor" { // a name that is not fit to be public
		text := live.Text(c.Index.Name)
		if text == "" {
			return false, nil
		}
		term, err := q.f.cfg.Ledger.IndexTerm(q.ctx, q.r.Tenant, c.Index.Name, text)
		return err == nil && term == *c.Index, err
	}
	if c.Index != nil {
		human := live.HumanActor()
		if erased, err := q.f.erased(q.ctx, q.r, []*evidence.Record{live}); err != nil || human == "" || erased[live.Run] {
			return false, err
		}
		term, err := q.f.cfg.Ledger.IndexTerm(q.ctx, q.r.Tenant, c.Index.Name, human)
		return err == nil && term == *c.Index, err
	}
	var value string
	switch fact, ok := live.Fact(c.Field); {
	case c.Field == "run":
		value = live.Run
	case c.Field == "execution_status":
		value = statusRunning
	case !ok:
		return false, nil
	case fact.Field.Type == evidence.TypeBool:
		value = map[bool]string{true: "true", false: "false"}[fact.Int != 0]
	case fact.Field.Type == evidence.TypeName:
		var err error
		if value, err = q.f.cfg.Ledger.FilterName(q.ctx, q.r.Tenant, c.Field, fact.Str); err != nil {
			return false, err
		}
	default:
		value = fact.Str
	}
	return slices.Contains(c.Values, value), nil
}
