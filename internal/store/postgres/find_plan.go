package postgres

import (
	"context"
	"slices"

	"github.com/runledger/runledger/internal/store"
)

// way is how records are looked for: branches that exclude one another.
type way struct {
	branches []branch
	// exact: every row it leads to is asked for, but for those that a newer one
	// stands before.
	exact  bool
	sorted bool // its branches yield in the order asked for
	timed  bool // a range of time bounds its searches
	narrow bool
	whole  bool // it leads to all that is in the range of time
	small  bool // known to lead to few rows
	uses   []bool
}

// branch is one statement: of an index for values, of the sealed index, or,
// where it is neither, of the table.
type branch struct {
	part   *part
	values []column // of the key, all of one length: the n-th of each are looked for together
	seal   *alternative
	except []alternative // what other branches find
}

// column is values of a column.
type column struct {
	texts []string
	ints  []int64 // where they are integers
}

// maxBranches bounds the searches of a statement: it is one per value.
const maxBranches = 512

// ways returns the ways there are, the preferred first. The last resort, to
// walk through the table, is not among them.
func (s *search) ways() []*way {
	var list []*way
	add := func(w *way, columns int, uses ...int) {
		if w == nil {
			return
		}
		w.uses = make([]bool, len(s.terms))
		for _, i := range uses {
			w.uses[i] = true
		}
		w.sorted, w.timed = true, true
		for i := range w.branches {
			w.sorted = w.sorted && s.sorts(&w.branches[i])
			w.timed = w.timed && w.branches[i].part != nil && w.branches[i].part.sorted == byTime
		}
		if w.timed && !w.narrow && columns > 0 && !s.ranged() && s.q.Order == store.Newest && !s.counting {
			return // the index by position finds the same, sorted
		}
		w.exact = columns == len(s.terms) && (w.timed || !s.ranged())
		list = append(list, w)
	}
	for i, tm := range s.terms {
		if len(tm) > 1 || tm[0].seal != nil {
			add(s.anyOf(tm), 1, i)
		}
	}
	for i := range s.finding.keys {
		k := &s.finding.keys[i]
		if uses := s.termsOf(k); uses != nil {
			add(s.byKey(k, uses), len(uses), uses...)
		}
	}
	if s.finding.occurred != "" && (s.ranged() || s.q.Order != store.Newest) {
		p := &part{index: s.finding.occurred, columns: moments, tail: 3, sorted: byTime}
		add(&way{branches: []branch{{part: p}}, whole: true}, 0)
	}
	return list
}

// sorts reports whether a branch yields in the order asked for.
func (s *search) sorts(b *branch) bool {
	switch {
	case s.counting:
		return true
	case b.part != nil && b.part.sorted == few:
		return true
	case s.q.Order == store.Newest:
		return b.inRows()
	default:
		return b.part != nil && b.part.sorted == byTime
	}
}

// inRows reports whether a branch yields by position.
func (b *branch) inRows() bool {
	return b.part != nil && b.part.sorted == byRow || b.part == nil && (b.seal == nil || !b.seal.ofTrace)
}

// termsOf returns the terms that are about the columns of a key and nothing
// else, or nil where a column has none.
func (s *search) termsOf(k *key) []int {
	var uses []int
	for _, column := range k.columns {
		i := slices.IndexFunc(s.terms, func(tm term) bool { return len(tm) == 1 && tm[0].column == column })
		if i < 0 {
			return nil
		}
		uses = append(uses, i)
	}
	return uses
}

// byKey returns the way of a key for each combination of values, or nil where
// those are too many.
func (s *search) byKey(k *key, uses []int) *way {
	combinations := 1
	for _, i := range uses {
		if combinations *= s.terms[i][0].len(); combinations > maxBranches {
			return nil
		}
	}
	var values []column
	each := combinations // how often a value follows itself
	for _, i := range uses {
		alt := &s.terms[i][0]
		each /= alt.len()
		values = append(values, column{
			texts: spread(alt.texts, each, combinations), ints: spread(alt.ints, each, combinations),
		})
	}
	w := &way{narrow: k.narrow}
	for i := range k.parts {
		if p := &k.parts[i]; !p.conflicts || !s.q.NewestRevision {
			w.branches = append(w.branches, branch{part: p, values: values})
		}
	}
	return w
}

// spread repeats each value, and all of them, to a list of a length.
func spread[T any](values []T, each, length int) []T {
	if values == nil {
		return nil
	}
	list := make([]T, length)
	for i := range list {
		list[i] = values[i/each%len(values)]
	}
	return list
}

// anyOf returns the way of a term of several alternatives, or nil where one of
// them has no index or they have too many values.
func (s *search) anyOf(tm term) *way {
	w := &way{narrow: true}
	total := 0
	for i := range tm {
		alt := &tm[i]
		total += max(1, alt.len())
		if alt.seal != nil {
			w.branches = append(w.branches, branch{seal: alt, except: tm[:i]})
			continue
		}
		k := s.keyOf(alt.column)
		if k == nil || total > maxBranches {
			return nil
		}
		w.narrow = w.narrow && k.narrow
		for j := range k.parts {
			w.branches = append(w.branches, branch{
				part: &k.parts[j], values: []column{{alt.texts, alt.ints}}, except: tm[:i],
			})
		}
	}
	return w
}

// keyOf returns the key of one column that suits the order best, or nil.
func (s *search) keyOf(column string) *key {
	var found *key
	for i := range s.finding.keys {
		k := &s.finding.keys[i]
		if len(k.columns) == 1 && k.columns[0] == column && (found == nil || s.sorts(&branch{part: &k.parts[0]})) {
			found = k
		}
	}
	return found
}

// Bounds of the searches that show which way leads to fewest rows, in turn. In
// the order by time a walk cannot leap (see walk), so more is worth finding out.
var probes = []int64{64, 512, 8192}

// fewRows is what is read and sorted at once sooner than anything is counted.
const fewRows = 100

// choose returns the way to follow.
func (s *search) choose(ctx context.Context) (*way, error) {
	ways := s.ways()
	for _, w := range ways {
		if w.exact && w.sorted {
			return w, nil
		}
	}
	walking := s.q.Order == store.Newest
	bounds := probes
	if walking {
		bounds = probes[:min(2, len(probes))]
	}
	if len(ways) == 1 && (ways[0].sorted || ways[0].narrow) && !(walking && s.ranged()) {
		bounds = nil
	}
	for _, least := range bounds {
		var best *way
		for _, w := range ways {
			if w.whole && !s.ranged() {
				continue
			}
			n, err := s.probe(ctx, w, least)
			if err != nil {
				return nil, err
			}
			if n < least {
				best, least = w, n
			}
			if best != nil && least <= fewRows {
				break // another way cannot be worth its own probe
			}
		}
		if best != nil {
			best.small = true
			return best, nil
		}
	}
	for _, fit := range []func(*way) bool{
		func(w *way) bool { return w.sorted },
		func(w *way) bool { return w.narrow },
	} {
		if i := slices.IndexFunc(ways, fit); i >= 0 {
			return ways[i], nil
		}
	}
	return &way{branches: []branch{{}}, sorted: walking, uses: make([]bool, len(s.terms))}, nil
}

// probe counts the rows that a way leads to, to at most limit.
func (s *search) probe(ctx context.Context, w *way, limit int64) (n int64, err error) {
	for i := range w.branches {
		text, args := s.probeOf(&w.branches[i], s.span, limit-n)
		found, err := s.number(ctx, text, args)
		if n += found; err != nil || n >= limit {
			return n, err
		}
	}
	return n, nil
}
