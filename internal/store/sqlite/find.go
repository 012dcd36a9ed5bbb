package sqlite

import (
	"context"
	"math"

	"zombiezen.com/go/sqlite"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

// How records are found. Each log is searched by itself, newest first, because
// its rows are one range of row keys; what its searches yield is put in order
// here. A search follows one way: an index with its values, chosen in
// find_plan.go; all other conditions are tested on the rows that it leads to.
// SQL names the index, since SQLite has no statistics and would guess.

// search is one call of Find or Count.
type search struct {
	r        *reader
	topic    *topic
	finding  *finding
	q        *store.Query
	tenant   int64
	terms    []term
	logs     map[int64]int // numbers of the tenant's logs, by key
	spans    []span        // of its logs, newest first
	below    int64         // row that q.Below stands for
	counting bool
}

// span is a range of rows, and of times for the searches by time.
type span struct {
	lo, hi int64 // lo <= row < hi
	times
}

// times bounds (occurred_at, row). Where there is no bound, it is one that
// nothing reaches.
type times struct{ from, until moment }

// moment is a place in the order by time.
type moment struct{ at, row int64 }

var always = times{moment{math.MinInt64, math.MinInt64}, moment{math.MaxInt64, math.MaxInt64}}

// Find implements store.Reader.
func (q queries) Find(ctx context.Context, query store.Query, fn func(store.Found) error) error {
	if query.Limit < 1 {
		return invalid("limit %d", query.Limit)
	}
	var found []hit
	if err := q.search(ctx, &query, false, func(s *search) (err error) {
		found, err = s.find(ctx)
		return err
	}); err != nil {
		return err
	}
	for _, h := range found {
		if err := fn(h.Found); err != nil {
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
	err = q.ofTenant(ctx, query.Tenant, func(r *reader, no int64) error {
		defer r.interruptible(ctx)()
		s := &search{r: r, topic: t, finding: &findings[t.kind], q: query, tenant: no, counting: counting}
		never := false
		for _, tm := range terms {
			tm, err := r.resolve(ctx, no, tm)
			if err != nil {
				return err
			}
			// The others are resolved all the same: what a query costs should not
			// tell which of its values is known.
			never = never || len(tm) == 0
			s.terms = append(s.terms, tm)
		}
		if err := s.readLogs(ctx); err != nil || never || len(s.spans) == 0 {
			return err
		}
		return f(s)
	})
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx) // SQLite says that it was interrupted
	}
	return err
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

const sqlLogsBack = `SELECT log_key, log_no FROM logs WHERE tenant_no = ?1 ORDER BY log_no DESC`

// readLogs finds the rows of the tenant's logs that the query is about.
func (s *search) readLogs(ctx context.Context) error {
	s.logs = map[int64]int{}
	keys := map[int]int64{}
	if err := s.r.run(ctx, sqlLogsBack, func(st *sqlite.Stmt) error {
		s.logs[st.ColumnInt64(0)] = st.ColumnInt(1)
		keys[st.ColumnInt(1)] = st.ColumnInt64(0)
		return nil
	}, s.tenant); err != nil {
		return err
	}
	rowOf := func(p store.Position) int64 {
		key, ok := keys[p.LogNo]
		switch {
		case ok:
			return rowKey(key, min(max(p.Seq, 0), 1<<numberBits))
		case p.LogNo < 1:
			return 0
		default: // behind all logs
			return math.MaxInt64
		}
	}
	s.below = math.MaxInt64
	if s.q.Below != (store.Position{}) {
		s.below = rowOf(s.q.Below)
	}
	hi, when := s.below, always
	if s.q.From != nil {
		when.from.at = int64(*s.q.From)
	}
	if s.q.Until != nil {
		when.until.at = int64(*s.q.Until)
	}
	if s.q.After != nil {
		row := rowOf(*s.q.After)
		m := moment{int64(s.q.AfterTime), row}
		switch {
		case s.q.Order == store.Newest:
			hi = min(hi, row)
		case s.q.Order == store.ByTime && m.at >= when.from.at:
			when.from = m
		case s.q.Order == store.ByTimeDown && m.at <= when.until.at:
			when.until = m
		}
	}
	for no := len(keys); no > 0; no-- {
		key := keys[no]
		if sp := (span{rowKey(key, 0), min(rowKey(key+1, 0), hi), when}); sp.lo < sp.hi {
			s.spans = append(s.spans, sp)
		}
	}
	return nil
}

// ranged reports whether the query has a range of time.
func (s *search) ranged() bool { return s.q.From != nil || s.q.Until != nil }

// hit is a record that was found.
type hit struct {
	store.Found
	row int64
}

// find follows the way chosen and returns what it finds, in order.
func (s *search) find(ctx context.Context) ([]hit, error) {
	w, err := s.choose(ctx)
	if err != nil {
		return nil, err
	}
	best := &ranking{order: s.q.Order, limit: s.q.Limit}
	err = s.follow(ctx, w, func(sp span, b *branch) (bool, error) {
		if sp = best.within(sp); sp.lo >= sp.hi {
			return best.done(), nil
		}
		text, args := s.rowsOf(w, b, sp)
		err := s.r.cached(ctx, text, func(st *sqlite.Stmt) error {
			row := st.ColumnInt64(0)
			no, ok := s.logs[row>>numberBits]
			if !ok {
				return nil // under a number that was tampered with; verification says so
			}
			best.add(hit{row: row, Found: store.Found{
				Kind: s.topic.kind, Position: store.Position{LogNo: no, Seq: row & numberMask},
				OccurredAt: evidence.Micros(st.ColumnInt64(1)), Segment: segmentNo(st, 2), ActorSegment: segmentNo(st, 3),
			}})
			return nil
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
		found, err := s.countOf(ctx, w, b, sp, limit-n)
		n += found
		return n >= limit, err
	})
	return n, err
}
