package replay

import (
	"cmp"
	"slices"
)

// pair is a step of each run, by position; -1 where a run does not have it.
type pair struct {
	this, other int
	// skipped: it stands in one run only, and may: a replay skips it, or one above
	// it.
	skipped bool
}

// order is where a pair stands among the others.
func (p pair) order() int {
	if p.this >= 0 {
		return p.this
	}
	return p.other
}

// aligner aligns two runs as the package comment says.
type aligner struct {
	this, other []step
	below       [2][][]int // children by position of their parent + 1
	pairs       []pair
}

// align returns what belongs together, in the order of this run's steps; a step
// that only the other run has stands where it stands there.
func align(this, other []step) []pair {
	a := &aligner{this: this, other: other, below: [2][][]int{children(this), children(other)}}
	open := [][2]int{{-1, -1}} // pairs whose children are to be aligned
	for len(open) > 0 {
		top := open[len(open)-1]
		open = open[:len(open)-1]
		open = a.siblings(a.below[0][top[0]+1], a.below[1][top[1]+1], open)
	}
	slices.SortFunc(a.pairs, func(x, y pair) int {
		return cmp.Or(cmp.Compare(x.order(), y.order()), cmp.Compare(y.this, x.this))
	})
	return a.pairs
}

func children(steps []step) [][]int {
	below := make([][]int, len(steps)+1)
	for i := range steps {
		p := steps[i].parent + 1
		below[p] = append(below[p], i)
	}
	return below
}

// siblings aligns the children of a pair, and adds the new pairs to open.
func (a *aligner) siblings(this, other []int, open [][2]int) [][2]int {
	partner := make(map[int]int, len(this)) // of this run's steps
	taken := make(map[int]bool, len(other)) // of the other's
	join := func(x, y int) {
		partner[x], taken[y] = y, true
		a.pairs = append(a.pairs, pair{this: x, other: y})
		open = append(open, [2]int{x, y})
	}
	a.byKey(this, other, join)
	a.bySkill(this, other, partner, taken, join)
	free := func(x int) bool { _, ok := partner[x]; return !ok }
	// What is left was replaced, in order. What may be missing is not taken for
	// something else.
	left := slices.DeleteFunc(slices.Clone(this), func(x int) bool { return !free(x) || a.this[x].skips() })
	right := slices.DeleteFunc(slices.Clone(other), func(y int) bool { return taken[y] || a.other[y].skips() })
	for i := range min(len(left), len(right)) {
		join(left[i], right[i])
	}
	for _, x := range this {
		if free(x) {
			a.alone(0, a.this, x)
		}
	}
	for _, y := range other {
		if !taken[y] {
			a.alone(1, a.other, y)
		}
	}
	return open
}

// byKey joins steps by their idempotency keys.
func (a *aligner) byKey(this, other []int, join func(x, y int)) {
	single := func(steps []step, group []int) map[string]int {
		at := map[string]int{}
		for _, i := range group {
			key := steps[i].key
			if key == "" {
				continue
			}
			if _, twice := at[key]; twice {
				at[key] = -1
				continue
			}
			at[key] = i
		}
		return at
	}
	keys := single(a.other, other)
	mine := single(a.this, this)
	for _, x := range this {
		key := a.this[x].key
		if y, ok := keys[key]; ok && y >= 0 && mine[key] == x {
			join(x, y)
		}
	}
}

// skill is what a step does.
type skill struct{ kind, id, name string }

func (s *step) skill() skill { return skill{s.kind, s.skillID, s.skillName} }

// bySkill joins what is left by what it does, in order.
func (a *aligner) bySkill(this, other []int, partner map[int]int, taken map[int]bool, join func(x, y int)) {
	queue := map[skill][]int{}
	for _, y := range other {
		if !taken[y] {
			s := a.other[y].skill()
			queue[s] = append(queue[s], y)
		}
	}
	for _, x := range this {
		if _, ok := partner[x]; ok {
			continue
		}
		s := a.this[x].skill()
		if q := queue[s]; len(q) > 0 {
			queue[s] = q[1:]
			join(x, q[0])
		}
	}
}

// alone adds a step that one run only has, with all below it.
func (a *aligner) alone(side int, steps []step, top int) {
	type branch struct {
		at      int
		skipped bool
	}
	open := []branch{{top, false}}
	for len(open) > 0 {
		b := open[len(open)-1]
		open = open[:len(open)-1]
		p := pair{this: b.at, other: -1, skipped: b.skipped || steps[b.at].skips()}
		if side == 1 {
			p.this, p.other = -1, b.at
		}
		a.pairs = append(a.pairs, p)
		for _, c := range a.below[side][b.at+1] {
			open = append(open, branch{c, p.skipped})
		}
	}
}
