package postgres

import (
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

// term is a condition of a query: it holds where one of its alternatives does.
// One without any holds nowhere.
type term []alternative

// alternative is about the values of a column, or about an entry of the sealed
// index.
type alternative struct {
	column string
	// The values, distinct: texts or, of a column of integers, ints.
	texts []string
	ints  []int64

	seal *store.IndexTerm
	// ofTrace: an entry of the record's trace, else one of the record itself.
	ofTrace bool
}

// len is how many values an alternative has.
func (a *alternative) len() int { return len(a.texts) + len(a.ints) }

// all is the values as an argument, and its type.
func (a *alternative) all() (values any, sqlType string) {
	if a.ints != nil {
		return a.ints, "bigint[]"
	}
	return a.texts, "text[]"
}

// maxValues bounds the values of a query.
const maxValues = 4096

// parseTerms reads conditions. It asks the database nothing, so what is wrong
// is wrong for every tenant.
func parseTerms(t *topic, where []store.Condition) ([]term, error) {
	var terms []term
	total := 0
	for i := range where {
		var tm term
		if err := tm.parse(t, &where[i], &total); err != nil {
			return nil, err
		}
		terms = append(terms, slices.DeleteFunc(tm, func(a alternative) bool { return a.seal == nil && a.len() == 0 }))
	}
	if total > maxValues {
		return nil, invalid("%d values in one query, more than %d", total, maxValues)
	}
	return terms, nil
}

// parse adds the alternatives of a condition, and its values to total.
func (tm *term) parse(t *topic, c *store.Condition, total *int) error {
	switch {
	case c.Field != "" && c.Index == nil && c.Any == nil:
		*total += len(c.Values)
		return tm.parseField(t, c.Field, c.Values)
	case c.Field == "" && c.Values == nil && c.Index != nil && c.Any == nil:
		if t.kind == evidence.KindTraceStep || t.kind == evidence.KindTraceEvent {
			*tm = append(*tm, alternative{seal: c.Index, ofTrace: true})
		}
		*tm = append(*tm, alternative{seal: c.Index})
		return nil
	case c.Field == "" && c.Values == nil && c.Index == nil && c.Any != nil:
		for i := range c.Any {
			if err := tm.parse(t, &c.Any[i], total); err != nil {
				return err
			}
		}
		return nil
	}
	return invalid("a condition is about a field, the index, or any of others")
}

func (tm *term) parseField(t *topic, field string, values []string) error {
	alt := alternative{column: "run_id"}
	var f *evidence.Field
	if field != "run" {
		if f = evidence.PublicField(t.kind, field); f == nil {
			return invalid("%s has no field %q", t.kind, field)
		}
		if f.Type == evidence.TypeNames {
			return invalid("field %s is a list: nothing is found by its members", field)
		}
		alt.column = f.Column()
	}
	// One alternative a column: they must exclude one another.
	at := slices.IndexFunc(*tm, func(have alternative) bool { return have.column == alt.column })
	if at < 0 {
		at = len(*tm)
		*tm = append(*tm, alt)
	}
	return (*tm)[at].add(f, values)
}

// add adds values of a field, or, where it is nil, of the run.
func (a *alternative) add(f *evidence.Field, values []string) error {
	for _, text := range values {
		if f == nil || f.Type.IsText() {
			if storable(text) { // else nothing has it
				a.texts = append(a.texts, text)
			}
			continue
		}
		n, err := integer(f, text)
		if err != nil {
			return err
		}
		a.ints = append(a.ints, n)
	}
	a.texts, a.ints = distinct(a.texts), distinct(a.ints)
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

// storable reports whether a text can stand in a column: PostgreSQL takes valid
// UTF-8 without NUL, and refuses a whole query for anything else.
func storable(s string) bool { return utf8.ValidString(s) && !strings.Contains(s, "\x00") }

func distinct[T comparable](values []T) []T {
	seen := make(map[T]bool, len(values))
	return slices.DeleteFunc(values, func(v T) bool {
		had := seen[v]
		seen[v] = true
		return had
	})
}
