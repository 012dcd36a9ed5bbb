package dialect

import (
	_ "embed"
	"slices"
	"sync"

	"go.opentelemetry.io/collector/pdata/pcommon"
)

//go:embed dialects.yaml
var shipped []byte

// Table is all dialects, compiled. It may be used from several goroutines.
type Table struct {
	keys     map[string]int32 // attribute keys that any dialect reads
	families []string         // prefixes, each with its dot
	columns  []*column
	plain    *column // of spans that no dialect matches

	providers, finish, decisions map[string]string // in lower case -> ours
	redacted                     map[string]bool
	embedding                    []string
	firstToken                   map[string]bool

	scratch sync.Pool // of *scratch
}

// column is one dialect, compiled: what it inherits and falls back on is in it.
type column struct {
	name    string
	matches []match
	kind    []kindRule
	fields  [numFields][]source

	excludesCached [][]cond // any of them
	estimated      [][]cond
	zero           [numFields]bool
	callsFinish    bool
}

// match is one way to recognise a dialect: all that it names must hold.
type match struct {
	scope       string
	exact       bool
	from, below []int
	has         []int32 // at least one of them
}

// kindRule gives a step its kind.
type kindRule struct {
	src  source
	is   map[string]string
	ends []suffixKind
	kind string // where when holds
	when []cond
}

type suffixKind struct{ suffix, kind string }

// source is where a fact may stand.
type source struct {
	key    int32    // index of the attribute; keyName for the span's name
	family int8     // index of the family, -1 for none
	path   []string // inside the JSON of the value
	as     transform
	prefix string // of json-sum: which members
	when   []cond
}

const keyName = -1

// cond is a condition on an attribute.
type cond struct {
	src  source
	op   byte // 0 it is there, '=', '^' begins with, '*' contains
	text string
	not  bool
}

var parseShipped = sync.OnceValues(func() (*Table, error) { return Parse(shipped) })

// Default returns the table that ships with the program. A test makes sure
// that it parses.
func Default() *Table {
	t, err := parseShipped()
	if err != nil {
		panic("dialect: the embedded table: " + err.Error())
	}
	return t
}

// DefaultFile returns the YAML of the table that ships with the program.
func DefaultFile() []byte { return slices.Clone(shipped) }

// Dialects lists the names of the entries in the order in which they are tried.
func (t *Table) Dialects() []string {
	names := make([]string, len(t.columns))
	for i, c := range t.columns {
		names[i] = c.name
	}
	return names
}

// scratch is the working memory of one reading.
type scratch struct {
	gen    uint32
	seen   []uint32 // seen[k] == gen: vals[k] is there
	vals   []pcommon.Value
	family []indexed
	own    own
}

// indexed is an attribute of a family: prefix.n.rest.
type indexed struct {
	family int8
	n      int
	rest   string
	val    pcommon.Value
}

func (t *Table) get() *scratch {
	s, _ := t.scratch.Get().(*scratch)
	if s == nil {
		s = &scratch{seen: make([]uint32, len(t.keys)), vals: make([]pcommon.Value, len(t.keys))}
	}
	s.gen++
	if s.gen == 0 { // wrapped: old marks would look new
		clear(s.seen)
		s.gen = 1
	}
	s.family = s.family[:0]
	s.own = own{}
	return s
}

// put gives the memory back without what it points to.
func (t *Table) put(s *scratch) {
	clear(s.vals)
	clear(s.family[:cap(s.family)])
	s.own = own{}
	t.scratch.Put(s)
}

// load is the one pass over the attributes. Of a key that stands twice the
// first counts.
func (t *Table) load(s *scratch, attrs pcommon.Map) {
	for k, v := range attrs.All() {
		if id, ok := t.keys[k]; ok {
			if s.seen[id] != s.gen {
				s.seen[id] = s.gen
				s.vals[id] = v
			}
			continue
		}
		if len(k) > len(ownPrefix) && k[:len(ownPrefix)] == ownPrefix {
			s.own.set(k[len(ownPrefix):], v)
			continue
		}
		for f, prefix := range t.families {
			if len(k) > len(prefix) && k[:len(prefix)] == prefix {
				if n, rest, ok := cutIndex(k[len(prefix):]); ok {
					s.family = append(s.family, indexed{int8(f), n, rest, v})
				}
				break
			}
		}
	}
}

// cutIndex splits "12.rest".
func cutIndex(s string) (n int, rest string, ok bool) {
	for i := range len(s) {
		if s[i] == '.' {
			n, ok = index(s[:i])
			return n, s[i+1:], ok
		}
	}
	return 0, "", false
}

// columnOf returns the first column that matches.
func (t *Table) columnOf(s *scratch, scope pcommon.InstrumentationScope) *column {
	name, version := scope.Name(), scope.Version()
	for _, c := range t.columns {
		for i := range c.matches {
			if c.matches[i].holds(s, name, version) {
				return c
			}
		}
	}
	return t.plain
}

func (m *match) holds(s *scratch, scope, version string) bool {
	if m.scope != "" {
		if len(scope) < len(m.scope) || scope[:len(m.scope)] != m.scope || m.exact && len(scope) != len(m.scope) {
			return false
		}
	}
	if m.from != nil || m.below != nil {
		v, ok := parseVersion(version)
		if !ok || m.from != nil && compareVersions(v, m.from) < 0 || m.below != nil && compareVersions(v, m.below) >= 0 {
			return false
		}
	}
	for _, k := range m.has {
		if s.seen[k] == s.gen {
			return true
		}
	}
	return len(m.has) == 0
}
