package replay

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/runledger/runledger/answer"
)

// steps draws a run: some steps of few skills, each below any other, circles
// included.
func steps(t *rapid.T, label string) []step {
	n := rapid.IntRange(0, 12).Draw(t, label)
	c := &course{steps: make([]step, n)}
	parents := make([]*int64, n)
	for i := range c.steps {
		c.steps[i] = step{
			index: int64(i), parent: -1, kind: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "kind"),
			key:      rapid.SampledFrom([]string{"", "", "k", "l"}).Draw(t, "key"),
			behavior: rapid.SampledFrom([]string{"execute", "skip", "check"}).Draw(t, "behavior"),
		}
		if p := rapid.Int64Range(-2, int64(n)).Draw(t, "parent"); p >= 0 {
			parents[i] = &p
		}
	}
	c.link(parents)
	return c.steps
}

// TestAlign: every step stands in one pair; steps are only paired below steps
// that are; a step that may be missing is one that is skipped, or below one; and
// a run goes with itself.
func TestAlign(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		this, other := steps(t, "this"), steps(t, "other")
		seen := [2]map[int]int{{-1: -1}, {-1: -1}}
		last := -1
		for _, p := range align(this, other) {
			if p.this >= 0 {
				if _, twice := seen[0][p.this]; twice {
					t.Fatalf("step %d of this run stands twice", p.this)
				}
				seen[0][p.this] = p.other
			}
			if p.other >= 0 {
				if _, twice := seen[1][p.other]; twice {
					t.Fatalf("step %d of the other run stands twice", p.other)
				}
				seen[1][p.other] = p.this
			}
			if p.order() < last {
				t.Fatalf("%+v stands behind %d", p, last)
			}
			last = p.order()
			if p.skipped && p.this >= 0 && p.other >= 0 {
				t.Fatalf("%+v is skipped in both", p)
			}
			if p.skipped && !anySkips(this, p.this) && !anySkips(other, p.other) {
				t.Fatalf("%+v may not be missing", p)
			}
		}
		if len(seen[0]) != len(this)+1 || len(seen[1]) != len(other)+1 {
			t.Fatalf("%d and %d steps of %d and %d", len(seen[0])-1, len(seen[1])-1, len(this), len(other))
		}
		for x, y := range seen[0] {
			if x >= 0 && y >= 0 && (seen[0][this[x].parent] != other[y].parent || other[y].parent < 0 && this[x].parent >= 0) {
				t.Fatalf("%d and %d are paired, what is above them is not", x, y)
			}
		}
		for _, p := range align(this, this) {
			if p.this != p.other {
				t.Fatalf("a run goes with itself as %+v", p)
			}
		}
	})
}

// anySkips reports whether a step, or one above it, is skipped.
func anySkips(steps []step, at int) bool {
	for ; at >= 0; at = steps[at].parent {
		if steps[at].skips() {
			return true
		}
	}
	return false
}

func TestCanonical(t *testing.T) {
	for _, tc := range []struct {
		a, b string
		same bool
	}{
		{`{"a":1,"b":[true,null]}`, ` { "b" : [ true , null ] , "a" : 1 } `, true},
		{`"\u00e9\/"`, `"é/"`, true},
		{`1.0`, `1`, true},
		{`1e2`, `100`, true},
		{`9007199254740993`, `9007199254740992`, false},
		{`12345678901234567890`, `12345678901234567891`, false},
		{`[1,2]`, `[2,1]`, false},
		{`"1"`, `1`, false},
		{`null`, `{}`, false},
	} {
		x, y := valueOf(answer.Shown([]byte(tc.a))), valueOf(answer.Shown([]byte(tc.b)))
		if (x == y) != tc.same {
			t.Errorf("%s and %s: the same %v, want %v", tc.a, tc.b, x == y, tc.same)
		}
	}
	text := []byte(` {"b":1,"a":2} `)
	canonical(text)
	if diff := cmp.Diff(` {"b":1,"a":2} `, string(text)); diff != "" {
		t.Errorf("the text itself was changed: %s", diff)
	}
}
