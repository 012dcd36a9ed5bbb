package facade

import (
	"cmp"
	"context"
	"slices"

	"github.com/runledger/runledger/answer"
	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

// maxResponsibility bounds how many records the responsibility is counted over,
// scanChunk how many of a log are read at once.
const (
	maxResponsibility = 10_000
	scanChunk         = 500
)

// SystemAudit is O5 of SYSTEM_LOGS: the entries of the list System, and who or
// what is responsible for them. The responsibility is of all that the filter
// finds, whatever the page: it is counted over the newest 10,000 of it, and
// filters_applied says in responsibility_over over how many.
func (f *Facade) SystemAudit(ctx context.Context, r Reader, q SystemFilter, p Paging) (*answer.SystemAudit, error) {
	m, err := f.systemMerge(ctx, r, q, p)
	if err != nil {
		return nil, err
	}
	t := tally{groups: map[tallyKey]*tallyGroup{}}
	over, err := m.scan(ctx, maxResponsibility, t.add)
	if err != nil {
		return nil, err
	}
	responsibility, err := t.result(ctx, f, m.sources)
	if err != nil {
		return nil, err
	}
	l, err := m.page(ctx)
	if err != nil {
		return nil, err
	}
	l.FiltersApplied["responsibility_over"] = over
	return &answer.SystemAudit{
		Entries: systemEventsOf(l.records), Responsibility: responsibility,
		Total: l.Total, TotalIsExact: l.TotalIsExact, HasMore: l.HasMore, NextCursor: l.NextCursor,
		FiltersApplied: l.FiltersApplied, Metadata: l.Metadata,
	}, nil
}

// scan calls fn for what the list holds, newest first, from its beginning
// whatever the page, without content; at most limit records. It returns how many
// there were.
func (m *merge) scan(ctx context.Context, limit int, fn func(source int, at store.Found, rec record)) (int, error) {
	heads := make([]head, len(m.sources))
	ends := make([]bool, len(m.sources))
	n := 0
	for n < limit {
		for i := range heads {
			if heads[i].taken < len(heads[i].leaves) || ends[i] {
				continue
			}
			q := m.sources[i].query
			q.Limit, q.After = min(scanChunk, limit-n), nil
			if all := heads[i].found; len(all) > 0 {
				q.After = &all[len(all)-1].Position
			}
			found, err := m.f.cfg.Ledger.Find(ctx, q)
			if err != nil {
				return n, err
			}
			leaves, err := m.f.fetch(ctx, closed(m.sources[i].reader), q.Tenant, found)
			if err != nil {
				return n, err
			}
			heads[i] = head{found, leaves, 0}
			ends[i] = len(found) < q.Limit
		}
		best := newestHead(heads)
		if best < 0 {
			break
		}
		h := &heads[best]
		fn(best, h.found[h.taken], h.leaves[h.taken])
		h.taken++
		n++
	}
	return n, nil
}

// tally counts records by what caused them and where.
type tally struct {
	groups map[tallyKey]*tallyGroup
}

type tallyKey struct{ causedBy, component string }

type tallyGroup struct {
	answer.Responsibility
	rank   int // of the worst severity
	source int // one record of the group
	at     store.Found
}

func (t tally) add(source int, at store.Found, rec record) {
	key := tallyKey{rec.Leaf.Text("caused_by"), rec.Leaf.Text("component")}
	when, severity := rec.Leaf.OccurredAt, rec.Leaf.Text("severity")
	rank := slices.Index(enumOf(evidence.KindSystem, "severity"), severity)
	g := t.groups[key]
	if g == nil {
		g = &tallyGroup{Responsibility: answer.Responsibility{
			CausedBy: optional(key.causedBy), Component: key.component, First: when, Last: when,
		}, rank: -1, source: source, at: at}
		t.groups[key] = g
	}
	g.Count++
	g.First, g.Last = min(g.First, when), max(g.Last, when)
	if rank > g.rank {
		g.rank, g.WorstSeverity = rank, severity
	}
}

// result returns the groups: worst severity first, then the most records, then
// by name. Where a component's name was not fit to be public, who may read it
// gets it from one of the records.
func (t tally) result(ctx context.Context, f *Facade, sources []source) ([]answer.Responsibility, error) {
	groups := make([]*tallyGroup, 0, len(t.groups))
	for _, g := range t.groups {
		groups = append(groups, g)
	}
	slices.SortFunc(groups, func(a, b *tallyGroup) int {
		return cmp.Or(cmp.Compare(b.rank, a.rank), cmp.Compare(b.Count, a.Count), cmp.Compare(a.Component, b.Component),
			cmp.Compare(causeText(a.CausedBy), causeText(b.CausedBy)))
	})
	out := make([]answer.Responsibility, len(groups))
	for i, g := range groups {
		out[i] = g.Responsibility
		reader := sources[g.source].reader
		if !reader.Content || !evidence.IsReplacement(g.Component) {
			continue
		}
		records, err := f.fetch(ctx, reader, reader.Tenant, []store.Found{g.at})
		if err != nil {
			return nil, err
		}
		out[i].Component = records[0].text("component")
	}
	return out, nil
}

func causeText(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
