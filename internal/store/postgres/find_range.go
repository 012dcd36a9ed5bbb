package postgres

import (
	"strings"

	"github.com/runledger/runledger/internal/store"
)

// indexSearch is a range of an index: its columns behind tenant_id, of which
// the first have values and the tail has bounds.
type indexSearch struct {
	columns []string
	values  []string // what the first columns are, in SQL
	tail    int
	where   string
	one     bool // the values are the position of a row
}

// search returns the range that a branch reads for each of its values.
func (b *branch) search(s *search) *indexSearch {
	switch {
	case b.seal != nil && b.seal.ofTrace:
		p := &s.keyOf("trace_id").parts[0]
		return &indexSearch{columns: p.columns, values: []string{"v.v1"}, tail: p.tail, where: p.where}
	case b.seal != nil:
		return &indexSearch{columns: position, values: []string{"v.log_no", "v.leaf_index"}, one: true}
	case b.part == nil:
		return &indexSearch{columns: position, tail: len(position)}
	}
	k := &indexSearch{columns: b.part.columns, tail: b.part.tail, where: b.part.where}
	for i := range b.values {
		k.values = append(k.values, [...]string{"v.v1", "v.v2"}[i])
	}
	return k
}

// add adds the range as conditions on t, and returns the order to ask for, which
// is that of the index. A row of columns is compared up to its first column that
// differs, but a scan ends only where that is the first one (the others say
// nothing about what lies behind). So a range that must end within one value is
// written with equalities, which leave the planner a choice: here between this
// index and that of the rest of the columns, and the range bounds both.
func (k *indexSearch) add(x *statement, s *search, sp span) []string {
	down := s.q.Order != store.ByTime
	var order []string
	switch {
	case k.tail == 2 && sp.lo.log == sp.hi.log:
		k.equal(x)
		x.add(" AND t.log_no = ", x.int(sp.lo.log), " AND t.leaf_index >= ", x.int(sp.lo.leaf), " AND t.leaf_index < ", x.int(sp.hi.leaf))
		order = k.columns[len(k.columns)-1:]
	case k.tail == 2:
		k.row(x, k.columns, " >= ", x.place(sp.lo), " < ", x.place(sp.hi))
		order = k.columns
	case k.tail == 3:
		from, until := x.int(sp.from.at)+", "+x.place(sp.from.place), x.int(sp.until.at)+", "+x.place(sp.until.place)
		rest := *k
		if down && sp.from != always.from || !down && sp.until != always.until {
			k.equal(x)
			rest.columns, rest.values = k.columns[len(k.values):], nil
		}
		rest.row(x, rest.columns, " > ", from, " < ", until)
		order = rest.columns
	case k.tail == 1 && k.columns[len(k.columns)-1] == "occurred_at":
		k.row(x, k.columns, " >= ", x.int(sp.from.at), " <= ", x.int(sp.until.at))
		order = k.columns
	case k.one:
		// Not an equality of both: then the planner would have no order to follow.
		x.add(" AND t.log_no = ", k.values[0], " AND t.leaf_index >= ", k.values[1], " AND t.leaf_index <= ", k.values[1])
		order = k.columns[1:]
	default: // what follows the values has no bounds
		k.row(x, k.columns[:len(k.values)], " >= ", "", " <= ", "")
		order = k.columns
	}
	if k.where != "" {
		x.add(" AND ", k.where)
	}
	return order
}

// equal adds the values as equalities.
func (k *indexSearch) equal(x *statement) {
	for i, v := range k.values {
		x.add(" AND t.", k.columns[i], " = ", v)
	}
}

// row adds bounds of columns, of which the first are the values.
func (k *indexSearch) row(x *statement, columns []string, lower, from, upper, until string) {
	bound := func(tail string) string {
		values := strings.Join(k.values, ", ")
		if values != "" && tail != "" {
			values += ", "
		}
		return "(" + values + tail + ")"
	}
	row := "(t." + strings.Join(columns, ", t.") + ")"
	x.add(" AND ", row, lower, bound(from), " AND ", row, upper, bound(until))
}

// within adds the bounds of a span that the range of a branch does not have.
func (s *search) within(x *statement, b *branch, sp span) {
	k := b.search(s)
	if k.tail != 2 && (sp.lo != first || sp.hi != last) && (b.seal == nil || b.seal.ofTrace) {
		x.add(" AND (t.log_no, t.leaf_index) >= (", x.place(sp.lo), ") AND (t.log_no, t.leaf_index) < (", x.place(sp.hi), ")")
	}
	if k.tail != 3 && (s.ranged() || s.q.Order != store.Newest) {
		x.add(" AND (t.occurred_at, t.log_no, t.leaf_index) > (", x.int(sp.from.at), ", ", x.place(sp.from.place), ")")
		x.add(" AND (t.occurred_at, t.log_no, t.leaf_index) < (", x.int(sp.until.at), ", ", x.place(sp.until.place), ")")
	}
}
