package postgres

import (
	"context"
	"math"

	"github.com/jackc/pgx/v5"

	"github.com/runledger/runledger/internal/store"
)

// follow calls f for each branch of a way: in the span of the query or, where
// the way is walked by stretches, in parts of it, the newest first, until f has
// said for a whole part that it is enough.
func (s *search) follow(ctx context.Context, w *way, f func(span, *branch) (enough bool, err error)) error {
	each := func(sp span) (enough bool, err error) {
		for i := range w.branches {
			if enough, err = f(sp, &w.branches[i]); err != nil {
				return false, err
			}
		}
		return enough, nil
	}
	if !s.leaps(w) {
		_, err := each(s.span)
		return err
	}
	logs, err := s.logs(ctx)
	for i := 0; err == nil && i < len(logs); i++ {
		sp := s.span
		if lo := (place{logs[i], math.MinInt64}); sp.lo.before(lo) {
			sp.lo = lo
		}
		if hi := (place{logs[i], math.MaxInt64}); hi.before(sp.hi) {
			sp.hi = hi
		}
		if !sp.lo.before(sp.hi) {
			continue
		}
		var enough bool
		if enough, err = s.walk(ctx, logs[i], sp, each); enough {
			break
		}
	}
	return err
}

// leaps reports whether a way is walked by stretches: where it leads to many
// rows, and does not know their times.
func (s *search) leaps(w *way) bool {
	return s.ranged() && s.q.Order == store.Newest && s.finding.stretch != "" && !w.timed && !w.small
}

const sqlLogsBack = `SELECT log_no FROM logs WHERE tenant_id = $1 ORDER BY log_no DESC`

// logs returns the numbers of the tenant's logs, the newest first.
func (s *search) logs(ctx context.Context) ([]int64, error) {
	return s.numbers(ctx, sqlLogsBack, s.q.Tenant)
}

func (s *search) numbers(ctx context.Context, query string, args ...any) (list []int64, err error) {
	err = s.r.run(ctx, query, func(rows pgx.Rows) error {
		var n int64
		err := scan(rows, &n)
		list = append(list, n)
		return err
	}, args...)
	return list, err
}

// walk goes back through a span of one log, newest first, and calls each for
// the parts of it that have records of the query's range of time. The first
// part is one stretch, each next one up to twice as many: a page is mostly
// found in the first, and a long way takes few searches.
func (s *search) walk(ctx context.Context, log int64, sp span, each func(span) (bool, error)) (enough bool, err error) {
	oldest, newest, err := s.ends(ctx, log, sp)
	if err != nil {
		return false, err
	}
	most := 1
	for limit := fewStretches; newest >= oldest; limit = min(4*limit, maxStretches) {
		list, err := s.numbers(ctx, s.topic.stretches(), s.q.Tenant, log, newest, oldest, sp.from.at, sp.until.at, limit)
		if err != nil {
			return false, err
		}
		for rest := list; len(rest) > 0; most *= 2 {
			n := 1 // stretches side by side
			for n < min(len(rest), most) && rest[n] == rest[n-1]-1 {
				n++
			}
			if enough, err = each(sp.part(log, rest[n-1], rest[0])); err != nil || enough {
				return enough, err
			}
			rest = rest[n:]
		}
		if len(list) < limit {
			break
		}
		newest = list[len(list)-1] - 1
	}
	return false, nil
}

// How many stretches the first question yields, and the greatest.
const (
	fewStretches = 4
	maxStretches = 256
)

// part is what of a span lies in the stretches of a log from one to another.
func (sp span) part(log, from, to int64) span {
	if lo := (place{log, from << stretchBits}); sp.lo.before(lo) {
		sp.lo = lo
	}
	if hi := (place{log, (to + 1) << stretchBits}); hi.before(sp.hi) {
		sp.hi = hi
	}
	return sp
}

// ends returns the first and last stretch of a kind in a span of a log; none is
// there where the last is less than the first.
func (s *search) ends(ctx context.Context, log int64, sp span) (oldest, newest int64, err error) {
	var at [2]int64
	for i, order := range []string{"ASC", "DESC"} {
		list, err := s.numbers(ctx, s.topic.edge(order), s.q.Tenant, log, sp.lo.leaf, sp.hi.leaf)
		if err != nil || len(list) == 0 {
			return 0, -1, err
		}
		at[i] = list[0] >> stretchBits
	}
	return at[0], at[1], nil
}

// edge is the query for the first or last leaf index of a span of a log.
func (t *topic) edge(order string) string {
	return `SELECT leaf_index FROM ` + t.table + ` WHERE tenant_id = $1 AND log_no = $2
		AND leaf_index >= $3 AND leaf_index < $4 ORDER BY leaf_index ` + order + ` LIMIT 1`
}

// stretches is the query for the stretches of a log, from $3 down to $4, that
// have records of a range of time: whose first record since it began has come
// before its end.
func (t *topic) stretches() string {
	return `SELECT s.n FROM generate_series($3::bigint, $4::bigint, -1::bigint) AS s (n)
		WHERE (SELECT t.occurred_at FROM ` + t.table + ` AS t WHERE t.tenant_id = $1 AND t.log_no = $2
			AND (t.leaf_index >> 14, t.occurred_at) >= (s.n, $5) AND (t.leaf_index >> 14) <= s.n
			ORDER BY t.leaf_index >> 14, t.occurred_at LIMIT 1) <= $6 LIMIT $7`
}
