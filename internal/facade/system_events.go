package facade

import (
	"context"
	"slices"

	"github.com/runledger/runledger/answer"
	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

// Events is O3 of SYSTEM_LOGS: the system records that name the run or its
// correlation id, whenever they happened, and the shared system-wide ones inside
// its time (both ends included; a run that goes on ends now). By occurred_at,
// ties: the tenant's own first, then by leaf.
func (f *Facade) Events(ctx context.Context, r Reader, run string, p Paging) (*answer.SystemEvents, error) {
	t, err := f.run(ctx, r, run)
	if err != nil {
		return nil, err
	}
	limit, err := r.limit(p.Limit, defaultLimit)
	if err != nil {
		return nil, err
	}
	q := &eventsQuery{f: f, r: r, name: digest("events", r.Tenant, t.id, r.SyntheticOnly), limit: limit}
	q.from, q.until = f.timeOf(t)
	if err := q.place(ctx, p.Cursor); err != nil {
		return nil, err
	}
	if err := q.ask(ctx, t); err != nil {
		return nil, err
	}
	return q.answer(ctx, t.id)
}

// timeOf returns when a run began and ended, or now where it goes on.
func (f *Facade) timeOf(t *theRun) (from, until evidence.Micros) {
	from, until = t.startedAt(), f.now()
	if end := t.completedAt(); end != nil {
		until = *end
	} else if t.newest != nil { // it ended, nobody knows when
		until = from
	}
	return from, max(from, until)
}

// eventsQuery is one page of the events of a run.
type eventsQuery struct {
	f           *Facade
	r           Reader
	name        string
	limit       int
	from, until evidence.Micros // of the run
	own, shared store.Position  // pins
	last        *eventPlace     // of the page before
	sources     []source        // disjoint
	ranks       []int           // of the sources
}

// eventPlace is where an event stands in the order of the answer. rank is 0 for
// the tenant's own records and 1 for system-wide ones.
type eventPlace struct {
	at   evidence.Micros
	rank int
	store.Position
}

func (a eventPlace) before(b eventPlace) bool {
	switch {
	case a.at != b.at:
		return a.at < b.at
	case a.rank != b.rank:
		return a.rank < b.rank
	case a.LogNo != b.LogNo:
		return a.LogNo < b.LogNo
	}
	return a.Seq < b.Seq
}

// place settles the pins and where the page begins. The end of the run's time is
// pinned too: that of a run that goes on moves.
func (q *eventsQuery) place(ctx context.Context, text string) (err error) {
	if text == "" {
		if q.own, err = q.f.cfg.Ledger.End(ctx, q.r.Tenant); err != nil {
			return err
		}
		q.shared, err = q.f.cfg.Ledger.End(ctx, evidence.SystemTenant)
		return err
	}
	c, err := parseCursor(text, q.name)
	if err != nil {
		return err
	}
	n, err := parseNumbers(c.Extra, 3)
	if err != nil || c.Until == nil || n[0] > 1 {
		return badCursor()
	}
	q.until = max(q.from, min(q.until, *c.Until))
	q.own, q.shared = positionOf(c.Below), store.Position{LogNo: int(n[1]), Seq: n[2]}
	q.last = &eventPlace{c.Time, int(n[0]), positionOf(c.After)}
	return nil
}

func (q *eventsQuery) cursor(last eventPlace) *string {
	return cursor{
		Query: q.name, Below: pair(q.own), After: pair(last.Position), Time: last.at, Until: &q.until,
		Extra: formatNumbers(int64(last.rank), int64(q.shared.LogNo), q.shared.Seq),
	}.encode()
}

// ask says what is looked for. No two queries find the same record: what the run
// is bound to is asked for outside its time where all of its time is asked for.
func (q *eventsQuery) ask(ctx context.Context, t *theRun) error {
	correlation, err := q.f.correlationOf(ctx, q.r, t)
	if err != nil {
		return err
	}
	c := q.f.filters(ctx, q.r)
	c.synthetic(nil)
	if c.err != nil {
		return c.err
	}
	bound := []store.Condition{{Field: "run", Values: []string{t.id}}}
	var correlated []store.Condition
	if correlation != "" {
		correlated = []store.Condition{{Field: "correlation_id", Values: []string{correlation}}}
	}
	byID := store.Condition{Any: append(bound, correlated...)}
	if q.r.Tenant == evidence.SystemTenant { // its own records are the system-wide ones
		q.add(q.r, 0, &q.from, &q.until, c.where)
		q.around(q.r, 0, c.where, byID)
		return nil
	}
	q.add(q.r, 0, nil, nil, c.where, byID)
	system := q.r.of(evidence.SystemTenant)
	q.add(system, 1, &q.from, &q.until, c.where, sharedOnly)
	// A replacement of an unfit name says nothing in another log.
	if correlated != nil && !evidence.IsReplacement(correlation) {
		q.around(system, 1, c.where, sharedOnly, correlated[0])
	}
	return nil
}

// around asks for what happened before and after the run's time.
func (q *eventsQuery) around(reader Reader, rank int, where []store.Condition, more ...store.Condition) {
	before, after := q.from-1, q.until+1
	q.add(reader, rank, nil, &before, where, more...)
	q.add(reader, rank, &after, nil, where, more...)
}

func (q *eventsQuery) add(reader Reader, rank int, from, until *evidence.Micros, where []store.Condition, more ...store.Condition) {
	below := q.own
	if rank > 0 {
		below = q.shared
	}
	q.ranks = append(q.ranks, rank)
	q.sources = append(q.sources, source{reader, store.Query{
		Tenant: reader.Tenant, Kind: evidence.KindSystem, Where: slices.Concat(where, more), From: from, Until: until,
		Below: below, Order: store.ByTime, Limit: q.limit + 1,
	}})
}

// find asks source i for what stands behind the page before.
func (q *eventsQuery) find(ctx context.Context, i int) ([]store.Found, error) {
	query := q.sources[i].query
	if last := q.last; last != nil {
		switch from := last.at; {
		case q.ranks[i] == last.rank:
			query.After, query.AfterTime = &last.Position, last.at
		case q.ranks[i] < last.rank: // all of that moment have been shown
			from++
			fallthrough
		default: // none of that moment
			if query.From == nil || *query.From < from {
				query.From = &from
			}
		}
	}
	return q.f.cfg.Ledger.Find(ctx, query)
}

// correlationOf returns the run's correlation id as it stands in columns.
func (f *Facade) correlationOf(ctx context.Context, r Reader, t *theRun) (string, error) {
	var id string
	if t.newest != nil {
		id = t.newest.Leaf.Text("correlation_id")
	} else {
		id = t.live.Text("correlation_id")
	}
	if id == "" {
		return "", nil
	}
	return f.cfg.Ledger.FilterName(ctx, r.Tenant, "correlation_id", id)
}

func (q *eventsQuery) answer(ctx context.Context, run string) (*answer.SystemEvents, error) {
	found := make([][]store.Found, len(q.sources))
	for i := range q.sources {
		var err error
		if found[i], err = q.find(ctx, i); err != nil {
			return nil, err
		}
	}
	out := &answer.SystemEvents{RunID: run}
	taken := make([]int, len(found))
	var order []int // whose the next is
	for {
		best, place := q.next(found, taken)
		if best < 0 {
			break
		}
		if len(order) == q.limit {
			out.HasMore = true
			break
		}
		taken[best]++
		order = append(order, best)
		if len(order) == q.limit {
			out.NextCursor = q.cursor(place)
		}
	}
	if !out.HasMore {
		out.NextCursor = nil
	}
	records, err := q.open(ctx, found, taken, order)
	if err != nil {
		return nil, err
	}
	if out.Total, err = q.f.countAll(ctx, q.sources); err != nil {
		return nil, err
	}
	out.TotalIsExact = out.Total < countLimit
	out.Events = systemEventsOf(records)
	out.Metadata = q.f.union(q.r, run, metadataOf(records))
	return out, nil
}

// next returns which source has the next event, and its place; -1 where none
// has any.
func (q *eventsQuery) next(found [][]store.Found, taken []int) (best int, place eventPlace) {
	best = -1
	for i := range found {
		if taken[i] == len(found[i]) {
			continue
		}
		next := found[i][taken[i]]
		if p := (eventPlace{next.OccurredAt, q.ranks[i], next.Position}); best < 0 || p.before(place) {
			best, place = i, p
		}
	}
	return best, place
}

func (q *eventsQuery) open(ctx context.Context, found [][]store.Found, taken, order []int) ([]record, error) {
	opened := make([][]record, len(found))
	for i, s := range q.sources {
		var err error
		if opened[i], err = q.f.fetch(ctx, s.reader, s.reader.Tenant, found[i][:taken[i]]); err != nil {
			return nil, err
		}
	}
	out := make([]record, 0, len(order))
	for _, i := range order {
		out = append(out, opened[i][0])
		opened[i] = opened[i][1:]
	}
	return out, nil
}
