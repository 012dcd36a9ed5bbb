package verify

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestNothingKept: leaves are read where they lie, in memory that is used
// again. What the report says of the first ones must not change with the last.
func TestNothingKept(t *testing.T) {
	l := newLog(t, testOrigin)
	l.step = 1000
	l.opened(facts{"predecessor_log": FormatPredecessor("log.example/aaaaaaaaaaaa", 1, l.root(0))})
	for l.size() < 3000 {
		run := []string{"run-a", "run-b", "another run"}[l.size()%3]
		if l.size()%500 == 7 {
			l.n[run]++ // a gap
		}
		l.step1(run, sealed{path: "/prompt", value: `"x"`})
		if l.size()%700 == 9 {
			l.open = l.open[:len(l.open)-1] // not accounted for
		}
	}
	b := newBundle(t, l).seal(nil)
	opts := b.keys()
	var first *Report
	for i := range 8 {
		opts.Workers = 1 + i%4
		r := verifyZIP(t, b.zip(), opts)
		if first == nil {
			first = r
		}
		if diff := cmp.Diff(first, r, cmp.AllowUnexported(Report{})); diff != "" {
			t.Fatal(diff)
		}
	}
	if !first.Has(EGap) || !first.Has(EUnaccounted) || first.Counts["runs"] != 3 {
		t.Errorf("%v %v", first.Findings, first.Counts)
	}
	for _, f := range first.Findings {
		if f.Code == EUnaccounted && f.Path != "/prompt" {
			t.Errorf("%v", &f)
		}
	}
}
