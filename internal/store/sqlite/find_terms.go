package sqlite

import (
	"context"
	"slices"
	"strconv"

	"zombiezen.com/go/sqlite"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

// term is a condition of a query: it holds where one of its alternatives does.
// One without any holds nowhere.
type term []alternative

// alternative is about the values of a column, or about an entry of the sealed
// index.
type alternative struct {
	column   string
	encoding encoding
	texts    []string // values as they were asked for
	values   []any    // as they stand in the column, distinct; see resolve

	seal *store.IndexTerm
	// ofTrace: an entry of the record's trace, else one of the record itself.
	ofTrace bool
	name    int64 // number of the name of seal
}

// maxValues bounds the values of a query: each is a parameter of a statement.
const maxValues = 4096

// parseTerms reads conditions. It asks the database nothing, so what is wrong
// is wrong for every tenant.
func parseTerms(t *topic, where []store.Condition) ([]term, error) {
	var terms []term
	total := 0
	for i := range where {
		var tm term
		if err := tm.parse(t, &where[i]); err != nil {
			return nil, err
		}
		for _, alt := range tm {
			total += len(alt.texts)
		}
		terms = append(terms, tm)
	}
	if total > maxValues {
		return nil, invalid("%d values in one query, more than %d", total, maxValues)
	}
	return terms, nil
}

// parse adds the alternatives of a condition.
func (tm *term) parse(t *topic, c *store.Condition) error {
	switch {
	case c.Field != "" && c.Index == nil && c.Any == nil:
		return tm.parseField(t, c.Field, c.Values)
	case c.Field == "" && c.Values == nil && c.Index != nil && c.Any == nil:
		if t.kind == evidence.KindTraceStep || t.kind == evidence.KindTraceEvent {
			*tm = append(*tm, alternative{seal: c.Index, ofTrace: true})
		}
		*tm = append(*tm, alternative{seal: c.Index})
		return nil
	case c.Field == "" && c.Values == nil && c.Index == nil && c.Any != nil:
		for i := range c.Any {
			if err := tm.parse(t, &c.Any[i]); err != nil {
				return err
			}
		}
		return nil
	}
	return invalid("a condition is about a field, the index, or any of others")
}

func (tm *term) parseField(t *topic, field string, values []string) error {
	alt := alternative{column: "run_no", encoding: encSpine}
	if field != "run" {
		f := evidence.PublicField(t.kind, field)
		if f == nil {
			return invalid("%s has no field %q", t.kind, field)
		}
		alt.column, alt.encoding = f.Column(), t.encoding[f.Index()]
		if alt.encoding == encNames {
			return invalid("field %s is a list: nothing is found by its members", field)
		}
		if alt.encoding == encInt {
			for _, text := range values {
				n, err := integer(f, text)
				if err != nil {
					return err
				}
				alt.values = append(alt.values, n)
			}
		}
	}
	alt.texts = values
	// One alternative a column: they must exclude one another.
	for i := range *tm {
		if have := &(*tm)[i]; have.column == alt.column {
			have.texts = slices.Concat(have.texts, alt.texts)
			have.values = slices.Concat(have.values, alt.values)
			return nil
		}
	}
	*tm = append(*tm, alt)
	return nil
}

// integer reads a value of a column of integers.
func integer(f *evidence.Field, text string) (int64, error) {
	switch f.Type {
	case evidence.TypeBool:
		switch text {
		case "true":
			return 1, nil
		case "false":
			return 0, nil
		}
	case evidence.TypeTime:
		if m, ok := evidence.ParseMicros(text); ok {
			return int64(m), nil
		}
	default:
		if n, err := strconv.ParseInt(text, 10, 64); err == nil {
			return n, nil
		}
	}
	return 0, invalid("field %s cannot be %q", f.Name, text)
}

// resolve looks up what stands for the values of a term in this database.
// Values that stand nowhere are dropped, and alternatives that have none left.
func (r *reader) resolve(ctx context.Context, tenant int64, tm term) (term, error) {
	var out term
	for _, alt := range tm {
		if alt.seal != nil {
			found, err := r.one(ctx, sqlNameNo, func(s *sqlite.Stmt) { alt.name = s.ColumnInt64(0) }, alt.seal.Name)
			if err != nil {
				return nil, err
			}
			if found {
				out = append(out, alt)
			}
			continue
		}
		if alt.encoding != encInt {
			for _, text := range alt.texts {
				v, err := r.stored(ctx, tenant, alt.encoding, text)
				if err != nil {
					return nil, err
				}
				if v != nil {
					alt.values = append(alt.values, v)
				}
			}
		}
		alt.values = distinct(alt.values)
		if len(alt.values) > 0 {
			out = append(out, alt)
		}
	}
	return out, nil
}

// stored returns what a text is in its column, or nil where it stands nowhere.
func (r *reader) stored(ctx context.Context, tenant int64, e encoding, text string) (any, error) {
	switch e {
	case encName:
		var no int64
		found, err := r.one(ctx, sqlNameNo, func(s *sqlite.Stmt) { no = s.ColumnInt64(0) }, text)
		if err != nil || !found {
			return nil, err
		}
		return no, nil
	case encSpine:
		no, found, err := r.spineNo(ctx, tenant, text)
		if err != nil || !found {
			return nil, err
		}
		return no, nil
	case encSpan:
		bits, err := spanBits(text)
		if err != nil {
			return nil, nil //nolint:nilerr,nilnil // what is no span id is stored nowhere
		}
		return bits, nil
	default:
		return text, nil
	}
}

func distinct(values []any) []any {
	seen := make(map[any]bool, len(values))
	var out []any
	for _, v := range values {
		if !seen[v] {
			seen[v] = true
			out = append(out, v)
		}
	}
	return out
}
