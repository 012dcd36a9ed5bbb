package postgres

import (
	"strconv"
	"strings"

	"github.com/runledger/runledger/internal/store"
)

// How a statement says which index it means. PostgreSQL has no hints, and its
// planner, which guesses from statistics, would now and then walk through a
// year for a value that has not come for long. So a search is written in the
// order of one index and of no other, as a range of rows of it:
//
//	WHERE tenant_id = … AND (model, log_no, leaf_index) >= ('o3', …)
//	AND (model, log_no, leaf_index) < ('o3', …) ORDER BY model, log_no, leaf_index
//
// With an equality, model would be no part of the order. And planner (below)
// makes what is not such an index in its order cost more than anything: sorting
// within a search, bitmaps, reading a table. What is left to the planner is how
// to go over partitions, which it does well, by merging. Sorting what a search
// has found is written around it, where there is no choice.
//
// On a distributed database the settings do not reach the workers, and their
// planner chooses; the statements are right under any plan.

// planner is settings of each connection that reads.
var planner = map[string]string{
	"enable_seqscan":          "off",
	"enable_bitmapscan":       "off",
	"enable_sort":             "off",
	"enable_incremental_sort": "off",
	// The plan is the same whatever the values: it need not be made for each.
	"plan_cache_mode": "force_generic_plan",
}

// maxStatements is how many statements a connection that reads keeps, each with
// its plan. There are as many as there are combinations of filters, and who asks
// chooses them; a plan that goes over many partitions is large, and takes longer
// to make than to follow.
const maxStatements = 160

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
func (x *statement) arg(v any, sqlType string) string {
	x.args = append(x.args, v)
	return "$" + strconv.Itoa(len(x.args)) + "::" + sqlType
}

func (x *statement) int(v int64) string { return x.arg(v, "bigint") }

// place is a position, as two values.
func (x *statement) place(p place) string { return x.int(p.log) + ", " + x.int(p.leaf) }

// rowsOf is the statement for the rows of a branch, in order.
func (s *search) rowsOf(w *way, b *branch, sp span) (string, []any) {
	x := &statement{}
	x.add("SELECT f.log_no, f.leaf_index, f.occurred_at, f.sealed_segment, f.actor_segment FROM ")
	limit := int64(0)
	if s.sorts(b) && (b.part == nil || b.part.sorted != few) {
		limit = int64(s.q.Limit)
	}
	s.from(x, b, sp, "t.log_no, t.leaf_index, t.occurred_at, t.sealed_segment, t.actor_segment", limit, func() {
		s.within(x, b, sp)
		s.rest(x, w, b)
	})
	switch {
	case s.q.Order == store.ByTime:
		x.add(" ORDER BY f.occurred_at, f.log_no, f.leaf_index")
	case s.q.Order == store.ByTimeDown:
		x.add(" ORDER BY f.occurred_at DESC, f.log_no DESC, f.leaf_index DESC")
	case b.seal != nil && !b.seal.ofTrace:
		x.add(" ORDER BY v.log_no DESC, v.leaf_index DESC") // the same, and the order it comes in
	default:
		x.add(" ORDER BY f.log_no DESC, f.leaf_index DESC")
	}
	x.add(" LIMIT ", x.int(int64(s.q.Limit)))
	return x.String(), x.args
}

// countOf counts the rows of a branch, to at most limit.
func (s *search) countOf(w *way, b *branch, sp span, limit int64) (string, []any) {
	x := &statement{}
	x.add("SELECT count(*) FROM (SELECT 1 FROM ")
	s.from(x, b, sp, "1", limit, func() {
		s.within(x, b, sp)
		s.rest(x, w, b)
	})
	x.add(" LIMIT ", x.int(limit), ") AS c")
	return x.String(), x.args
}

// probeOf counts what the index of a branch leads to, and tests nothing.
func (s *search) probeOf(b *branch, sp span, limit int64) (string, []any) {
	x := &statement{}
	x.add("SELECT count(*) FROM (SELECT 1 FROM ")
	if b.seal != nil && !b.seal.ofTrace {
		s.sealed(x, b, sp)
	} else {
		s.from(x, b, sp, "1", limit, func() {})
	}
	x.add(" LIMIT ", x.int(limit), ") AS c")
	return x.String(), x.args
}

// from adds the rows of a branch, as f: columns of the table t for each value,
// at most limit (0: all) each. more adds further conditions.
func (s *search) from(x *statement, b *branch, sp span, columns string, limit int64, more func()) {
	search := b.search(s)
	switch {
	case b.seal != nil:
		s.sealed(x, b, sp)
	case len(b.values) > 0:
		x.add("unnest(")
		for i, c := range b.values {
			if i > 0 {
				x.add(", ")
			}
			alt := alternative{texts: c.texts, ints: c.ints}
			x.add(x.arg(alt.all()))
		}
		x.add(") AS v (v1")
		for i := range b.values[1:] {
			x.add(", v", strconv.Itoa(i+2))
		}
		x.add(")")
	}
	if len(search.values) > 0 {
		x.add(" CROSS JOIN LATERAL ")
	}
	x.add("(SELECT ", columns, " FROM ", s.topic.table, " AS t WHERE t.tenant_id = ", x.arg(s.q.Tenant, "text"))
	order := search.add(x, s, sp)
	more()
	s.order(x, order, limit)
	x.add(") AS f")
}

// order adds the order of the index that a search follows, and its limit.
func (s *search) order(x *statement, columns []string, limit int64) {
	down := " DESC"
	if s.q.Order == store.ByTime {
		down = ""
	}
	for i, c := range columns {
		if i == 0 {
			x.add(" ORDER BY ")
		} else {
			x.add(", ")
		}
		x.add("t.", c, down)
	}
	switch {
	case limit == 0:
	case columns[len(columns)-1] == "occurred_at": // those of the last one's time are put in order later
		x.add(" FETCH FIRST (", x.int(limit), ") ROWS WITH TIES")
	default:
		x.add(" LIMIT ", x.int(limit))
	}
}

// sealed adds the entries of the sealed index that a branch begins with, as v.
func (s *search) sealed(x *statement, b *branch, sp span) {
	columns, trace := "i.log_no, i.leaf_index", ""
	if b.seal.ofTrace {
		columns, trace = "i.trace_id AS v1", " AND i.trace_id IS NOT NULL"
	}
	x.add("(SELECT ", columns, " FROM sealed_index AS i WHERE i.tenant_id = ", x.arg(s.q.Tenant, "text"),
		" AND i.name = ", x.arg(b.seal.seal.Name, "text"), " AND i.mac = ", x.arg(b.seal.seal.MAC[:], "bytea"), trace)
	switch {
	case trace != "":
	case sp.lo.log == sp.hi.log:
		x.add(" AND i.log_no = ", x.int(sp.lo.log), " AND i.leaf_index >= ", x.int(sp.lo.leaf), " AND i.leaf_index < ", x.int(sp.hi.leaf))
	default:
		x.add(" AND (i.log_no, i.leaf_index) >= (", x.place(sp.lo), ") AND (i.log_no, i.leaf_index) < (", x.place(sp.hi), ")")
	}
	x.add(" ORDER BY i.log_no DESC, i.leaf_index DESC) AS v")
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
		x.add(` AND t.conflict_of IS NULL AND (SELECT 1 FROM run_revisions AS n WHERE n.tenant_id = `, x.arg(s.q.Tenant, "text"),
			` AND (n.run_id, n.revision) > (t.run_id, t.revision) AND n.run_id <= t.run_id AND n.revision > 1
			AND (n.log_no, n.leaf_index) < (`, x.place(s.below), `) ORDER BY n.run_id, n.revision LIMIT 1) IS NULL`)
	}
	if s.q.NewestState {
		x.add(` AND (SELECT 1 FROM log_exports AS n WHERE n.tenant_id = `, x.arg(s.q.Tenant, "text"),
			` AND (n.export_id, n.log_no, n.leaf_index) > (t.export_id, t.log_no, t.leaf_index)
			AND (n.export_id, n.log_no, n.leaf_index) < (t.export_id, `, x.place(s.below), `)
			ORDER BY n.export_id, n.log_no, n.leaf_index LIMIT 1) IS NULL`)
	}
}

// test adds an alternative as a condition on t. (Scalar queries and not EXISTS,
// which the planner turns into joins.)
func (s *search) test(x *statement, alt *alternative) {
	if alt.seal == nil {
		x.add(`t."`, alt.column, `" = ANY (`, x.arg(alt.all()), ")")
		return
	}
	x.add("(SELECT 1 FROM sealed_index AS e WHERE e.tenant_id = ", x.arg(s.q.Tenant, "text"),
		" AND e.name = ", x.arg(alt.seal.Name, "text"), " AND e.mac = ", x.arg(alt.seal.MAC[:], "bytea"))
	if alt.ofTrace {
		x.add(" AND e.trace_id = t.trace_id)")
	} else {
		x.add(" AND e.log_no = t.log_no AND e.leaf_index = t.leaf_index)")
	}
	x.add(" = 1")
}
