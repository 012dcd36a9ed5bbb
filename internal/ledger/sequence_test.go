package ledger

import (
	"testing"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/seal"
)

// Of the terms of a trace a plan has the first of each, of what has no trace all: that is
// what a store would keep of them.
func TestIndexOncePerTrace(t *testing.T) {
	lp := &logPlan{log: &openLog{}, indexed: map[indexedOnce]struct{}{}}
	add := func(seq int64, kind evidence.Kind, trace string, macs ...byte) {
		leaf := &evidence.Leaf{Seq: seq, Kind: kind}
		if trace != "" {
			leaf.SetFact(evidence.Fact{Field: evidence.PublicField(kind, "trace_id"), Str: trace})
		}
		s := &seal.Sealed{Segment: -1, Actor: -1}
		for _, m := range macs {
			s.Index = append(s.Index, seal.IndexTerm{Name: "subject", MAC: [16]byte{m}})
		}
		lp.placeSegments(s, &seal.Batch{}, nil, leaf)
	}
	add(0, evidence.KindTraceStep, "a", 1)
	add(1, evidence.KindTraceStep, "a", 1, 2)
	add(2, evidence.KindTraceEvent, "a", 1)
	add(3, evidence.KindTraceStep, "b", 1)
	add(4, evidence.KindTraceStep, "", 1)
	add(5, evidence.KindTraceStep, "", 1)
	add(6, evidence.KindAudit, "", 1)
	var got []int64
	for _, e := range lp.commit.Index {
		got = append(got, e.Position.Seq, int64(e.MAC[0]))
	}
	want := []int64{0, 1, 1, 2, 3, 1, 4, 1, 5, 1, 6, 1}
	if len(got) != len(want) {
		t.Fatalf("leaves and MACs %v, want %v", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("leaves and MACs %v, want %v", got, want)
		}
	}
}
