package sqlite

import (
	"context"
	"strconv"
	"strings"

	"zombiezen.com/go/sqlite"

	"github.com/runledger/runledger/internal/store"
)

// statement is SQL with its arguments. Values are arguments, always; what is
// written into the text is named by this package.
type statement struct {
	strings.Builder
	args []any
}

func (x *statement) add(parts ...string) {
	for _, p := range parts {
		x.WriteString(p)
	}
}

// arg adds an argument and returns its parameter.
func (x *statement) arg(v any) string {
	x.args = append(x.args, v)
	return "?" + strconv.Itoa(len(x.args))
}

// rowsOf is the statement for the rows of a branch, in order.
func (s *search) rowsOf(w *way, b *branch, sp span) (string, []any) {
	x := &statement{}
	x.add("SELECT t.row, t.occurred_at, t.sealed_segment, t.actor_segment FROM ")
	s.source(x, b)
	s.place(x, b, sp, false)
	s.rest(x, w, b)
	switch {
	case s.q.Order == store.ByTime:
		x.add(" ORDER BY t.occurred_at, t.row")
	case s.q.Order == store.ByTimeDown:
		x.add(" ORDER BY t.occurred_at DESC, t.row DESC")
	case b.seal != nil && !b.seal.ofTrace:
		x.add(" ORDER BY i.row DESC")
	default:
		x.add(" ORDER BY t.row DESC")
	}
	x.add(" LIMIT ", x.arg(int64(s.q.Limit)))
	return x.String(), x.args
}

// countOf counts the rows of a branch, to at most limit.
func (s *search) countOf(ctx context.Context, w *way, b *branch, sp span, limit int64) (n int64, err error) {
	if limit <= 0 {
		return 0, nil
	}
	x := &statement{}
	x.add("SELECT count(*) FROM (SELECT 1 FROM ")
	s.source(x, b)
	s.place(x, b, sp, false)
	s.rest(x, w, b)
	x.add(" LIMIT ", x.arg(limit), ")")
	err = s.r.cached(ctx, x.String(), func(st *sqlite.Stmt) error {
		n = st.ColumnInt64(0)
		return nil
	}, x.args...)
	return n, err
}

// probeOf counts what the index of a branch leads to, and looks at no row.
func (s *search) probeOf(b *branch, sp span, limit int64) (string, []any) {
	x := &statement{}
	x.add("SELECT count(*) FROM (SELECT 1 FROM ")
	if b.seal != nil && !b.seal.ofTrace {
		x.add("sealed_index AS i")
	} else {
		s.source(x, b)
	}
	s.place(x, b, sp, true)
	x.add(" LIMIT ", x.arg(limit), ")")
	return x.String(), x.args
}

// source adds the tables that a branch is searched in.
func (s *search) source(x *statement, b *branch) {
	switch {
	case b.seal != nil && b.seal.ofTrace:
		x.add("sealed_index AS i CROSS JOIN ", s.topic.table, " AS t INDEXED BY ", s.keyOf("trace_id").parts[0].index, " ON t.trace_id = i.trace_no")
	case b.seal != nil:
		x.add("sealed_index AS i CROSS JOIN ", s.topic.table, " AS t ON t.row = i.row")
	case b.part != nil:
		x.add(s.topic.table, " AS t INDEXED BY ", b.part.index)
	default:
		x.add(s.topic.table, " AS t NOT INDEXED")
	}
}

// place adds what a branch is searched for, within a span. probing leaves out
// what its index does not know.
func (s *search) place(x *statement, b *branch, sp span, probing bool) {
	row := "t.row"
	x.add(" WHERE ")
	switch {
	case b.seal != nil:
		x.add("i.tenant_no = ", x.arg(s.tenant), " AND i.name_no = ", x.arg(b.seal.name), " AND i.mac = ", x.arg(b.seal.seal.MAC[:]), " AND ")
		if b.seal.ofTrace {
			x.add("i.trace_no IS NOT NULL AND ")
		} else {
			row = "i.row"
		}
	case b.part != nil:
		if b.part.inLog {
			x.add("t.row >> 40 = ", x.arg(sp.lo>>numberBits), " AND ")
		}
		where := b.part.where
		for i, v := range b.values {
			where = strings.ReplaceAll(where, ":"+strconv.Itoa(i+1), x.arg(v))
		}
		if where != "" {
			x.add(where, " AND ")
		}
	}
	x.add(row, " >= ", x.arg(sp.lo), " AND ", row, " < ", x.arg(sp.hi))
	if probing && (b.part == nil || b.part.sorted != byTime) {
		return
	}
	switch {
	case s.q.Order != store.Newest:
		x.add(" AND (t.occurred_at, t.row) > (", x.arg(sp.from.at), ", ", x.arg(sp.from.row), ")")
		x.add(" AND (t.occurred_at, t.row) < (", x.arg(sp.until.at), ", ", x.arg(sp.until.row), ")")
	case s.ranged():
		x.add(" AND t.occurred_at >= ", x.arg(sp.from.at), " AND t.occurred_at <= ", x.arg(sp.until.at))
	}
}

// rest adds the conditions that the search of a branch does not settle.
func (s *search) rest(x *statement, w *way, b *branch) {
	for i, tm := range s.terms {
		if w.uses[i] {
			continue
		}
		for j := range tm {
			if j == 0 {
				x.add(" AND (")
			} else {
				x.add(" OR ")
			}
			s.test(x, &tm[j])
		}
		x.add(")")
	}
	for i := range b.except {
		x.add(" AND (")
		s.test(x, &b.except[i])
		x.add(") IS NOT TRUE")
	}
	if s.q.NewestRevision {
		x.add(` AND t.conflict_of IS NULL AND NOT EXISTS (SELECT 1 FROM r_llm_run AS n INDEXED BY r_llm_run_later
			WHERE n.run_no = t.run_no AND n.revision > t.revision AND n.revision > 1 AND n.conflict_of IS NULL AND n.row < `, x.arg(s.below), ")")
	}
	if s.q.NewestState {
		x.add(` AND NOT EXISTS (SELECT 1 FROM r_export AS n INDEXED BY r_export_id
			WHERE n.export_id = t.export_id AND n.row > t.row AND n.row < `, x.arg(s.below),
			` AND (SELECT l.tenant_no FROM logs AS l WHERE l.log_key = n.row >> 40) = `, x.arg(s.tenant), ")")
	}
}

// test adds an alternative as a condition on t.
func (s *search) test(x *statement, alt *alternative) {
	switch {
	case alt.seal != nil && alt.ofTrace:
		x.add("EXISTS (SELECT 1 FROM sealed_index AS e INDEXED BY sealed_index_once WHERE e.trace_no = t.trace_id AND e.name_no = ",
			x.arg(alt.name), " AND e.mac = ", x.arg(alt.seal.MAC[:]), ")")
	case alt.seal != nil:
		x.add("EXISTS (SELECT 1 FROM sealed_index AS e WHERE e.tenant_no = ", x.arg(s.tenant), " AND e.name_no = ",
			x.arg(alt.name), " AND e.mac = ", x.arg(alt.seal.MAC[:]), " AND e.row = t.row)")
	case len(alt.values) == 1:
		x.add(`t."`, alt.column, `" = `, x.arg(alt.values[0]))
	default:
		// Filled up to a power of two, so that statements are few.
		x.add(`t."`, alt.column, `" IN (`, x.arg(alt.values[0]))
		n := 1
		for n < len(alt.values) {
			n *= 2
		}
		for i := 1; i < n; i++ {
			x.add(", ", x.arg(alt.values[min(i, len(alt.values)-1)]))
		}
		x.add(")")
	}
}
