package sqlite

import (
	"context"
	"errors"

	"zombiezen.com/go/sqlite"

	"github.com/runledger/runledger/internal/store"
)

// follow calls f for each span and branch of a way, until f has said for a
// whole span that it is enough.
func (s *search) follow(ctx context.Context, w *way, f func(span, *branch) (enough bool, err error)) error {
	each := func(sp span) (enough bool, err error) {
		for i := range w.branches {
			if enough, err = f(sp, &w.branches[i]); err != nil {
				return false, err
			}
		}
		return enough, nil
	}
	leaps, spans := s.leaps(w), s.spans
	if !leaps {
		spans = s.spansOf(w)
	}
	for _, sp := range spans {
		var enough bool
		var err error
		if leaps {
			enough, err = s.walk(ctx, sp, each)
		} else {
			enough, err = each(sp)
		}
		if err != nil || enough {
			return err
		}
	}
	return nil
}

// leaps reports whether a way is walked by stretches: where it leads to many
// rows, and does not know their times.
func (s *search) leaps(w *way) bool {
	return s.ranged() && s.q.Order == store.Newest && s.finding.stretch != "" && !w.timed && !w.small
}

// errEnough ends a walk.
var errEnough = errors.New("enough")

// walk goes back through a span, newest first, and calls each for the parts of
// it that have records of the query's range of time. The first part is one
// stretch, each next one up to twice as many: a page is mostly found in the
// first, and a long way takes few searches.
func (s *search) walk(ctx context.Context, sp span, each func(span) (bool, error)) (enough bool, err error) {
	first, last, err := s.r.ends(ctx, s.topic, sp.lo, sp.hi)
	if err != nil || last < first {
		return false, err
	}
	lo, hi, most := int64(0), int64(-1), int64(1) // stretches not yet looked at
	flush := func() error {
		if hi < lo {
			return nil
		}
		part := sp
		part.lo, part.hi = max(sp.lo, lo<<stretchBits), min(sp.hi, (hi+1)<<stretchBits)
		hi, most = lo-1, 2*most
		enough, err := each(part)
		if err == nil && enough {
			err = errEnough
		}
		return err
	}
	err = s.r.run(ctx, s.topic.stretches(s.finding.stretch), func(st *sqlite.Stmt) error {
		n := st.ColumnInt64(0)
		if hi >= lo && (n != lo-1 || hi-lo+1 == most) {
			if err := flush(); err != nil {
				return err
			}
		}
		if hi < lo {
			hi = n
		}
		lo = n
		return nil
	}, last>>stretchBits, first>>stretchBits, sp.from.at, sp.until.at)
	if err == nil {
		err = flush()
	}
	if errors.Is(err, errEnough) {
		return true, nil
	}
	return false, err
}

// ends returns the first and last row of a kind in a range of rows; none is
// there where last is less than first.
func (r *reader) ends(ctx context.Context, t *topic, lo, hi int64) (first, last int64, err error) {
	if _, err = r.one(ctx, t.edge("ASC"), func(s *sqlite.Stmt) { first = s.ColumnInt64(0) }, lo, hi); err != nil {
		return 0, -1, err
	}
	found, err := r.one(ctx, t.edge("DESC"), func(s *sqlite.Stmt) { last = s.ColumnInt64(0) }, lo, hi)
	if !found {
		last = first - 1
	}
	return first, last, err
}

// edge is the query for the first or last row of a range.
func (t *topic) edge(order string) string {
	return "SELECT row FROM " + t.table + " WHERE row >= ?1 AND row < ?2 ORDER BY row " + order + " LIMIT 1"
}

// stretches is the query for the stretches, from the last to the first, that
// have records of a range of time. (A comparison of a scalar, since SQLite
// turns EXISTS into a join, for which it does not see the index.)
func (t *topic) stretches(index string) string {
	return `WITH RECURSIVE stretch(n) AS (SELECT ?1 UNION ALL SELECT n - 1 FROM stretch WHERE n > ?2)
		SELECT n FROM stretch WHERE (SELECT 1 FROM ` + t.table + ` AS t INDEXED BY ` + index + `
			WHERE t.row >> 14 = stretch.n AND t.occurred_at >= ?3 AND t.occurred_at <= ?4 LIMIT 1) = 1`
}
