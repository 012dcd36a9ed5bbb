package ledger

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/runledger/runledger/evidence"
)

// TestAbsences: what stretches and coverage leave over is each leaf without a row that no
// target covers, one by one.
func TestAbsences(t *testing.T) {
	const origin = "test.example/0123456789ab"
	kinds := []evidence.Kind{evidence.KindTraceStep, evidence.KindTraceEvent, evidence.KindAudit}
	rapid.Check(t, func(t *rapid.T) {
		type leaf struct {
			evidence.Leaf
			gone bool
		}
		var leaves []leaf
		seq := int64(0)
		for range rapid.IntRange(1, 60).Draw(t, "leaves") {
			l := leaf{gone: rapid.Bool().Draw(t, "gone")}
			l.Kind, l.Seq = rapid.SampledFrom(kinds).Draw(t, "kind"), seq
			synthetic := int64(rapid.IntRange(0, 1).Draw(t, "synthetic"))
			l.Pub = []evidence.Fact{{Field: evidence.PublicField(l.Kind, "is_synthetic"), Int: synthetic}}
			leaves = append(leaves, l)
			seq += rapid.SampledFrom([]int64{1, 1, 1, absentGap - 1, absentGap, 3 * absentGap}).Draw(t, "step")
		}
		var targets []target
		for range rapid.IntRange(0, 6).Draw(t, "targets") {
			from := rapid.Int64Range(0, seq).Draw(t, "from")
			x := target{
				log: origin, before: rapid.Int64Range(0, seq+1).Draw(t, "before"),
				kind: rapid.SampledFrom(append(kinds, 0)).Draw(t, "of"), synthetic: rapid.Bool().Draw(t, "only synthetic"),
			}
			x.by.LogNo = rapid.IntRange(1, 3).Draw(t, "by")
			x.From, x.To = from, from+rapid.Int64Range(1, seq+1).Draw(t, "length")
			x.Paths = rapid.SampledFrom([][]string{nil, nil, nil, {"/prompt"}}).Draw(t, "paths")
			targets = append(targets, x)
		}
		absent := absences{list: map[absentKey][]stretch{}, shut: map[absentKey]bool{}}
		n := int64(0)
		var want []int64
		for i := range leaves {
			l := &leaves[i]
			absent.leaf(2, &l.Leaf, l.gone)
			if !l.gone {
				continue
			}
			n++
			covered := slices.ContainsFunc(targets, func(x target) bool {
				return x.kind == l.Kind && len(x.Paths) == 0 && x.by.LogNo >= 2 && x.From <= l.Seq && l.Seq < min(x.To, x.before) &&
					(!x.synthetic || synthetic(&l.Leaf)) && (l.Kind != evidence.KindAudit || x.synthetic)
			})
			if !covered {
				want = append(want, l.Seq)
			}
		}
		if absent.n != n {
			t.Fatalf("%d of %d are counted", absent.n, n)
		}
		coverage := newCoverage(targets, map[string]int{origin: 2})
		var got []int64
		for k, list := range absent.list {
			may := coverage.rows(origin, k)
			for _, s := range list {
				for _, gap := range s.without(may) {
					for i := range leaves {
						l := &leaves[i]
						if l.Kind == k.kind && synthetic(&l.Leaf) == k.synthetic && gap.from <= l.Seq && l.Seq < gap.to {
							got = append(got, l.Seq)
						}
					}
				}
			}
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Fatalf("left over are %v, want %v", got, want)
		}
	})
}
