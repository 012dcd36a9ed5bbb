package ledger

import (
	"context"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

// TestExpiryWindows: whatever the ranges, the steps of a pass go through each leaf that an
// expiry names exactly once, with all expiries that name it, and no step is too large.
func TestExpiryWindows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 2*expireList).Draw(t, "expiries")
		width := rapid.SampledFrom([]int64{1, 3, 2000, 20000}).Draw(t, "width")
		gap := rapid.SampledFrom([]int64{0, 1, 50, 100000}).Draw(t, "gap")
		var list []store.Expiry
		at := int64(0)
		for i := range n {
			e := store.Expiry{Table: []string{"a", "b", "c"}[i%3], From: at, By: store.Position{LogNo: 1, Seq: int64(1<<40 + i)}}
			e.To = at + rapid.Int64Range(1, width).Draw(t, "len")
			list = append(list, e)
			at += rapid.Int64Range(0, gap+width/2).Draw(t, "step")
		}
		p := &expiryPass{list: list, next: list[0].From}
		end, seen := p.end(), map[store.Expiry]int64{}
		for steps := 0; p.next < end; steps++ {
			part, from, to := p.window(expireLeaves)
			if len(part) == 0 || from < p.next || to <= from || steps > 100000 {
				t.Fatalf("step %d from %d: %d expiries, %d to %d", steps, p.next, len(part), from, to)
			}
			covered, reach := int64(0), from
			for i := range list {
				e := &list[i]
				lo, hi := max(e.From, from), min(e.To, to)
				if lo >= hi {
					continue
				}
				if !slices.Contains(part, *e) {
					t.Fatalf("the step %d to %d leaves out %+v", from, to, *e)
				}
				seen[*e] += hi - lo
				if hi > reach {
					covered += hi - max(lo, reach)
					reach = hi
				}
			}
			if covered > expireLeaves {
				t.Fatalf("a step of %d leaves", covered)
			}
			p.next = to
		}
		for _, e := range list {
			if seen[e] != e.To-e.From {
				t.Fatalf("%+v: %d leaves were gone through", e, seen[e])
			}
		}
	})
}

// TestCutBetween: a cut is never beyond the limit, and where it is not the limit itself, no
// segment goes on there.
func TestCutBetween(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var rows []dueRow
		seq := int64(0)
		for range rapid.IntRange(0, 12).Draw(t, "segments") {
			no := seq << store.SegmentBits
			for range rapid.IntRange(1, 9).Draw(t, "rows") {
				r := dueRow{RowMark: store.RowMark{Seq: seq, Segment: no, ActorSegment: store.NoSegment}}
				if rapid.Bool().Draw(t, "bare") {
					r.Segment = store.NoSegment
				}
				rows = append(rows, r)
				seq++
			}
		}
		to := rapid.Int64Range(1, seq+3).Draw(t, "to")
		cut := cutBetween(rows, 0, to, seq)
		if cut > to || cut <= 0 {
			t.Fatalf("cut at %d of %d", cut, to)
		}
		crosses := func(at int64) bool {
			before, after := map[int64]bool{}, false
			for _, r := range rows {
				if r.Segment == store.NoSegment {
					continue
				}
				if r.Seq < at {
					before[r.Segment] = true
				} else if before[r.Segment] {
					after = true
				}
			}
			return after
		}
		if to >= seq || !crosses(to) {
			if cut != to {
				t.Fatalf("cut at %d though nothing goes on at %d", cut, to)
			}
			return
		}
		if cut != to && crosses(cut) {
			t.Fatalf("a segment goes on at %d", cut)
		}
		if cut == to { // none in the second half
			for at := to/2 + 1; at < to; at++ {
				if at < seq && !crosses(at) {
					t.Fatalf("%d would have been a place", at)
				}
			}
		}
	})
}

// TestIDOfLeaf: it is the one that parsing finds, whatever the leaf says.
func TestIDOfLeaf(t *testing.T) {
	for _, kind := range evidence.Kinds() {
		l := &evidence.Leaf{Log: "a.example/000000000000", ID: evidence.ID{1, 2, 3, 0x40, 0x40, 0, 0x70, 0, 0x80}, Kind: kind, H: []evidence.Commitment{{Path: "/actor"}}}
		raw, err := l.Append(nil)
		if err != nil {
			continue // it lacks facts that the kind requires
		}
		if id, ok := idOfLeaf(raw); !ok || id != l.ID {
			t.Errorf("%s: %s %v in %s", kind, id, ok, raw)
		}
	}
	for _, bad := range []string{"", `{"id":"`, `{"id":"x"}`, `{"h":{}}`} {
		if id, ok := idOfLeaf([]byte(bad)); ok {
			t.Errorf("%s: %s", bad, id)
		}
	}
}

// dueStore has a row at each leaf.
type dueStore struct{ store.Store }

func (dueStore) Marks(_ context.Context, _ store.LogRef, _ evidence.Kind, from, to int64, fn func(*store.RowMark) error) error {
	for seq := from; seq < to; seq++ {
		if err := fn(&store.RowMark{Seq: seq, RecordedAt: evidence.Micros(seq), Synthetic: seq%2 == 0}); err != nil {
			return err
		}
	}
	return nil
}

// TestSplitOrders: what would not fit the /targets of one record stands in several, and each
// counts its own rows.
func TestSplitOrders(t *testing.T) {
	l := &Ledger{store: dueStore{}}
	o := ExpiryOrder{LogNo: 1, Table: "aos_trace_steps", Class: evidence.ClassSynthetic, Before: 1 << 50, Rows: 7}
	for i := range int64(9000) {
		from := evidence.MaxInt - 40000 + 4*i
		o.Ranges = append(o.Ranges, evidence.TargetRange{From: from, To: from + 2})
	}
	o.Before = evidence.Micros(o.Ranges[8999].From) // the last one is too young
	out, err := l.splitOrders(context.Background(), "acme", []ExpiryOrder{o, {Table: store.TableLeaves, Ranges: o.Ranges[:1], Rows: 5}})
	if err != nil {
		t.Fatal(err)
	}
	var ranges []evidence.TargetRange
	rows := int64(0)
	for _, x := range out[:len(out)-1] {
		if text := (&evidence.Targets{Ranges: x.Ranges}).JSON(); len(x.Ranges) > targetsRanges || len(text) > targetsBytes {
			t.Errorf("%d ranges, %d bytes", len(x.Ranges), len(text))
		}
		ranges, rows = append(ranges, x.Ranges...), rows+x.Rows
	}
	if !slices.EqualFunc(ranges, o.Ranges, func(a, b evidence.TargetRange) bool { return a.From == b.From && a.To == b.To }) || rows != 8999 || len(out) != 4 {
		t.Errorf("%d orders of %d ranges, %d rows", len(out), len(ranges), rows)
	}
	if last := out[len(out)-1]; last.Rows != 5 {
		t.Errorf("%+v", last)
	}
}

// heldBy is a store in which one run is held.
type heldBy struct {
	store.Store
	run string
}

func (s heldBy) HeldRuns(_ context.Context, _ string, runs []string) (map[string]string, error) {
	if slices.Contains(runs, s.run) {
		return map[string]string{s.run: "hold"}, nil
	}
	return nil, nil
}

func (s heldBy) HeldRecords(context.Context, string, []store.Position) (map[store.Position]string, error) {
	return nil, nil
}

// TestHeldRowsKeepAllTheirExpiries: no expiry is through while a row is held that it names, though another one
// names it, too.
func TestHeldRowsKeepAllTheirExpiries(t *testing.T) {
	const table = "aos_trace_steps"
	list := []store.Expiry{
		{Table: table, LogNo: 1, From: 0, To: 10, Before: 100, Synthetic: true},
		{Table: table, LogNo: 1, From: 0, To: 10, Before: 100},
		{Table: table, LogNo: 1, From: 6, To: 10, Before: 100}, // behind it
		{Table: table, LogNo: 1, From: 0, To: 10, Before: 7},   // of what was recorded earlier
		{Table: "aos_traces", LogNo: 1, From: 0, To: 10, Before: 100},
	}
	row := func(seq int64, run string) dueRow {
		return dueRow{store.RowMark{Seq: seq, Run: run, RecordedAt: 50, Synthetic: true}, &list[0]}
	}
	l := &Ledger{store: heldBy{run: "held"}}
	kept, free, err := l.leaveHeld(t.Context(), "acme", list, []store.Hold{{ID: "hold", Scope: store.HoldRun}}, []dueRow{row(4, "free"), row(5, "held")})
	if err != nil {
		t.Fatal(err)
	}
	if len(free) != 1 || free[0].Run != "free" {
		t.Errorf("free are %+v", free)
	}
	if !slices.Equal(kept, list[:2]) {
		t.Errorf("kept are %+v, want %+v", kept, list[:2])
	}
}
