package postgres

import (
	"context"
	"math"

	"github.com/jackc/pgx/v5"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

// How records are found. A search follows one way: an index with its values,
// chosen in find_plan.go by looking how much each leads to; all other
// conditions are tested on the rows that it leads to. Statistics have as little
// say in that as can be (find_sql.go says how): they are old after a load, and
// know nothing of a value that has not come for long.

// search is one call of Find or Count.
type search struct {
	r        *reader
	topic    *topic
	finding  *finding
	q        *store.Query
	terms    []term
	span     span  // of all the tenant's logs
	below    place // that q.Below stands for
	counting bool
}

// place is a position, in the order of the logs.
type place struct{ log, leaf int64 }

func (p place) before(o place) bool { return p.log < o.log || p.log == o.log && p.leaf < o.leaf }

// span is a range of positions, and of times for the searches by time.
type span struct {
	lo, hi place // lo <= position < hi
	times
}

// times bounds (occurred_at, position), both ends excluded. Where there is no
// bound, it is one that nothing reaches.
type times struct{ from, until moment }

// moment is a place in the order by time.
type moment struct {
	at int64
	place
}

var (
	first  = place{math.MinInt64, math.MinInt64}
	last   = place{math.MaxInt64, math.MaxInt64}
	always = times{moment{math.MinInt64, first}, moment{math.MaxInt64, last}}
)

// Find implements store.Reader.
func (q queries) Find(ctx context.Context, query store.Query, fn func(store.Found) error) error {
	if query.Limit < 1 {
		return invalid("limit %d", query.Limit)
	}
	var found []store.Found
	if err := q.search(ctx, &query, false, func(s *search) (err error) {
		found, err = s.find(ctx)
		return err
	}); err != nil {
		return err
	}
	for _, f := range found {
		if err := fn(f); err != nil {
			return err
		}
	}
	return nil
}

// Count implements store.Reader.
func (q queries) Count(ctx context.Context, query store.Query, limit int64) (int64, error) {
	n := int64(0)
	err := q.search(ctx, &query, true, func(s *search) (err error) {
		if limit > 0 {
			n, err = s.count(ctx, limit)
		}
		return err
	})
	return n, err
}

// search prepares a query and calls f, unless nothing can be found.
func (q queries) search(ctx context.Context, query *store.Query, counting bool, f func(*search) error) error {
	t, terms, err := parseQuery(query)
	if err != nil {
		return err
	}
	if counting {
		query.After, query.Order = nil, store.Newest
	}
	return q.with(ctx, func(r *reader) error {
		s := &search{r: r, topic: t, finding: &findings[t.kind], q: query, terms: terms, counting: counting}
		s.bound()
		for _, tm := range terms {
			if len(tm) == 0 {
				return nil
			}
		}
		if !storable(query.Tenant) || !s.span.lo.before(s.span.hi) {
			return nil
		}
		return f(s)
	})
}

func parseQuery(q *store.Query) (*topic, []term, error) {
	t := topicOf(q.Kind)
	switch {
	case t == nil:
		return nil, nil, invalid("%s", q.Kind)
	case q.Order > store.ByTimeDown:
		return nil, nil, invalid("order %d", q.Order)
	case q.NewestRevision && q.Kind != evidence.KindLLMRun, q.NewestState && q.Kind != evidence.KindExport:
		return nil, nil, invalid("%s has no newest", q.Kind)
	}
	terms, err := parseTerms(t, q.Where)
	return t, terms, err
}

// bound finds the positions and times that the query is about.
func (s *search) bound() {
	s.span, s.below = span{first, last, always}, last
	if s.q.Below != (store.Position{}) {
		s.below = place{int64(s.q.Below.LogNo), s.q.Below.Seq}
		s.span.hi = s.below
	}
	if s.q.From != nil {
		s.span.from.at = int64(*s.q.From)
	}
	if s.q.Until != nil {
		s.span.until.at = int64(*s.q.Until)
	}
	if s.q.After == nil {
		return
	}
	m := moment{int64(s.q.AfterTime), place{int64(s.q.After.LogNo), s.q.After.Seq}}
	switch {
	case s.q.Order == store.Newest:
		if m.before(s.span.hi) {
			s.span.hi = m.place
		}
	case s.q.Order == store.ByTime && m.at >= s.span.from.at:
		s.span.from = m
	case s.q.Order == store.ByTimeDown && m.at <= s.span.until.at:
		s.span.until = m
	}
}

// ranged reports whether the query has a range of time.
func (s *search) ranged() bool { return s.q.From != nil || s.q.Until != nil }

// find follows the way chosen and returns what it finds, in order.
func (s *search) find(ctx context.Context) ([]store.Found, error) {
	w, err := s.choose(ctx)
	if err != nil {
		return nil, err
	}
	best := &ranking{order: s.q.Order, limit: s.q.Limit}
	err = s.follow(ctx, w, func(sp span, b *branch) (bool, error) {
		text, args := s.rowsOf(w, b, sp)
		err := s.r.run(ctx, text, func(rows pgx.Rows) error {
			f := store.Found{Kind: s.topic.kind}
			var segment, actor *int64
			err := scan(rows, &f.LogNo, &f.Seq, &f.OccurredAt, &segment, &actor)
			f.Segment, f.ActorSegment = or(segment, store.NoSegment), or(actor, store.NoSegment)
			best.add(f)
			return err
		}, args...)
		best.settle()
		return best.done(), err
	})
	return best.hits, err
}

func (s *search) count(ctx context.Context, limit int64) (int64, error) {
	w, err := s.choose(ctx)
	if err != nil {
		return 0, err
	}
	n := int64(0)
	err = s.follow(ctx, w, func(sp span, b *branch) (bool, error) {
		if n >= limit {
			return true, nil
		}
		text, args := s.countOf(w, b, sp, limit-n)
		found, err := s.number(ctx, text, args)
		n += found
		return n >= limit, err
	})
	return n, err
}

// number asks a query for one number.
func (s *search) number(ctx context.Context, text string, args []any) (n int64, err error) {
	err = s.r.run(ctx, text, func(rows pgx.Rows) error { return scan(rows, &n) }, args...)
	return n, err
}
