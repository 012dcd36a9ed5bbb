package producers

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/runledger/runledger/evidence"
)

func counted(numbers ...int64) *sequence {
	s := newSequence(numbers[0])
	for _, n := range numbers[1:] {
		s.add(n)
	}
	return s
}

func upTo(from, to int64) (out []int64) {
	for n := from; n <= to; n++ {
		out = append(out, n)
	}
	return out
}

func TestSequence(t *testing.T) {
	none := []Range{}
	tests := []struct {
		name    string
		numbers []int64
		want    Sequence
	}{
		{"one", []int64{7}, Sequence{First: 7, Highest: 7, Last: 7, Missing: none}},
		{"in order", upTo(0, 5), Sequence{First: 0, Highest: 5, Last: 5, Missing: none}},
		{"a gap", []int64{1, 2, 5}, Sequence{First: 1, Highest: 5, Last: 5, Missing: []Range{{3, 4, 0}}, MissingCount: 2}},
		{"closed in the middle", []int64{1, 5, 3}, Sequence{First: 1, Highest: 5, Last: 3, Missing: []Range{{2, 2, 0}, {4, 4, 0}}, MissingCount: 2, Late: 1}},
		{"closed at its ends", []int64{1, 5, 2, 4, 3}, Sequence{First: 1, Highest: 5, Last: 3, Missing: none, Late: 3}},
		{"overtaken at the beginning", []int64{5, 3, 4}, Sequence{First: 3, Highest: 5, Last: 4, Missing: none, Late: 2}},
		{"before the first nothing is missing", []int64{500, 501}, Sequence{First: 500, Highest: 501, Last: 501, Missing: none}},
		{"a repeat", []int64{1, 2, 3, 2, 4}, Sequence{First: 1, Highest: 4, Last: 4, Missing: none, Repeated: 1}},
		{"numbers of batches", []int64{1, 1, 1, 2, 2, 3}, Sequence{First: 1, Highest: 3, Last: 3, Missing: none, Repeated: 3}},
		{
			"a restart", append(upTo(1, 50), upTo(1, 20)...),
			Sequence{First: 1, Highest: 20, Last: 20, Missing: none, Restarts: 1},
		},
		{
			"a restart that is young",
			[]int64{1, 2, 3, 4, 1, 2},
			Sequence{First: 1, Highest: 2, Last: 2, Missing: none, Restarts: 1},
		},
		{
			"what was missing stays so", append([]int64{1, 2, 5, 6}, append(upTo(1, 4), 6, 7, 8, 9, 10, 11, 12)...),
			Sequence{First: 1, Highest: 12, Last: 12, Missing: []Range{{3, 4, 0}, {5, 5, 1}}, MissingCount: 3, Restarts: 1},
		},
		{
			"a restart out of order", append(upTo(1, 50), 2, 1, 3),
			Sequence{First: 1, Highest: 3, Last: 3, Missing: none, Restarts: 1},
		},
		{
			"a restart far below the first", append(upTo(5000, 5050), 1, 2, 3),
			Sequence{First: 1, Highest: 3, Last: 3, Missing: none, Restarts: 1},
		},
		{
			"a repeat where the count begins", append(upTo(1, 50), 1, 51, 52),
			Sequence{First: 1, Highest: 52, Last: 52, Missing: none, Repeated: 1},
		},
		{
			"and one beside a lost number", append(upTo(1, 50), 1, 2, 53),
			Sequence{First: 1, Highest: 53, Last: 53, Missing: []Range{{51, 52, 0}}, MissingCount: 2, Repeated: 2},
		},
		{
			"two instances with one name",
			[]int64{1, 2, 3, 1, 4, 2, 5, 3, 6, 4, 7},
			Sequence{First: 1, Highest: 7, Last: 7, Missing: none, Repeated: 4},
		},
		{
			"back to a stored number", append(upTo(1, 150), upTo(101, 160)...),
			Sequence{First: 1, Highest: 160, Last: 160, Missing: none, Repeated: 50},
		},
		{
			"two restarts", append(append(upTo(0, 20), upTo(0, 20)...), upTo(0, 3)...),
			Sequence{First: 0, Highest: 3, Last: 3, Missing: none, Restarts: 2},
		},
		{
			"a number from far",
			[]int64{1, evidence.MaxInt},
			Sequence{First: 1, Highest: evidence.MaxInt, Last: evidence.MaxInt, Missing: []Range{{2, evidence.MaxInt - 1, 0}}, MissingCount: evidence.MaxInt - 2},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(&tt.want, counted(tt.numbers...).shown()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Whatever the order in which numbers come, what is missing is what has not come, and
// at the end nothing is.
func TestSequenceAnyOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		from := rapid.Int64Range(0, 1<<40).Draw(t, "from")
		n := rapid.Int64Range(1, 2*maxSpans).Draw(t, "n")
		order := rapid.Permutation(upTo(from, from+n-1)).Draw(t, "order")
		s := newSequence(order[0])
		came := map[int64]bool{order[0]: true}
		low, high := order[0], order[0]
		for _, v := range order[1:] {
			s.add(v)
			came[v] = true
			low, high = min(low, v), max(high, v)
			missing := map[int64]bool{}
			for _, m := range s.missing() {
				for x := m.From; x <= m.To; x++ {
					missing[x] = true
				}
			}
			for x := low; x <= high; x++ {
				if came[x] == missing[x] {
					t.Fatalf("after %d: %d came %v and is missing %v", v, x, came[x], missing[x])
				}
			}
			if int64(len(came)+len(missing)) != high-low+1 {
				t.Fatalf("%d numbers are missing outside of %d to %d", len(missing), low, high)
			}
		}
		if got := s.shown(); len(got.Missing) != 0 || got.More != 0 || got.Repeated != 0 || got.Restarts != 0 || got.First != from || got.Highest != from+n-1 {
			t.Fatalf("all came: %+v", got)
		}
	})
}

// Whatever comes, what is kept is bounded, in order, and without overlap.
func TestSequenceBounded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		near, far := rapid.Int64Range(0, 40), rapid.Int64Range(0, evidence.MaxInt)
		s := newSequence(near.Draw(t, "first"))
		for range rapid.IntRange(1, 400).Draw(t, "n") {
			switch rapid.IntRange(0, 9).Draw(t, "how") {
			case 0:
				s.add(far.Draw(t, "far"))
			case 1, 2, 3, 4, 5:
				s.add(min(s.Now.High+near.Draw(t, "step"), evidence.MaxInt))
			default:
				s.add(near.Draw(t, "near"))
			}
		}
		if s.spans() > maxSpans || len(s.Again) > maxAgain {
			t.Fatalf("%d ranges, %d repeats", s.spans(), len(s.Again))
		}
		last := s.Now.First
		for _, m := range s.Now.Missing {
			if m.From <= last || m.To < m.From || m.To >= s.Now.High {
				t.Fatalf("%+v of %+v", m, s.Now)
			}
			last = m.To + 1
		}
		if s.Late < 0 || s.Repeated < 0 || s.Restarts < 0 || s.More < 0 || s.More > evidence.MaxInt {
			t.Fatalf("%+v", s)
		}
	})
}

func TestSequenceMore(t *testing.T) {
	var odd []int64
	for n := int64(1); n < 2*150; n += 2 {
		odd = append(odd, n)
	}
	got := counted(odd...).shown()
	if len(got.Missing) != maxSpans || got.Missing[0].From != 100 || got.MissingCount != maxSpans || got.More != 49 {
		t.Errorf("%+v", got)
	}
	// What was let go is not known any more, and no reason to begin anew.
	got = counted(slices.Concat(odd, []int64{2, 298})...).shown()
	if got.Restarts != 0 || got.More != 49 || got.MissingCount != maxSpans-1 || got.Late != 1 || got.Repeated != 1 {
		t.Errorf("%+v", got)
	}
}
