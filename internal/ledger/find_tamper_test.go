package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/runledger/runledger/evidence"
)

// TestFetchTampered: an altered database is noticed by who reads from it, before
// any verification.
func TestFetchTampered(t *testing.T) {
	run := fmt.Sprintf("%032x", 203)
	const ofRun = `run_no = (SELECT spine_no FROM spine WHERE text = ?1 AND tenant_no = (SELECT tenant_no FROM tenants WHERE tenant_id = 'acme'))`
	first := func(e *evil) *evidence.Leaf {
		return e.main().find(0, func(l *evidence.Leaf) bool { return l.Run == run })
	}
	tests := []struct {
		name   string
		tamper func(e *evil)
	}{
		{"nothing", func(*evil) {}},
		{"a leaf says something else", func(e *evil) {
			seq := first(e).Seq + 4
			e.setLeaf(e.main(), seq, altered(e, e.main().leaves[seq], `"status":"success"`, `"status":"failure"`))
		}},
		{"two leaves are exchanged", func(e *evil) {
			l, seq := e.main(), first(e).Seq+2
			e.setLeaf(l, seq, l.leaves[seq+1])
			e.setLeaf(l, seq+1, l.leaves[seq])
		}},
		{"the leaf of another log", func(e *evil) {
			e.setLeaf(e.main(), first(e).Seq+2, e.log("globex", 1).leaves[3])
		}},
		{"no leaf", func(e *evil) { e.setLeaf(e.main(), first(e).Seq+2, []byte(`{"v":1}`)) }},
		{"a leaf segment is missing", func(e *evil) {
			e.change(1, `DELETE FROM leaf_segments WHERE row = ?1`, e.segmentOf(e.main(), first(e).Seq+3))
		}},
		{"a leaf segment is noise", func(e *evil) {
			e.change(1, `UPDATE leaf_segments SET data = x'0102030405' WHERE row = ?1`, e.segmentOf(e.main(), first(e).Seq+3))
		}},
		{"a leaf segment has fewer leaves", func(e *evil) {
			seg := e.segmentOf(e.main(), first(e).Seq+3)
			e.change(1, `UPDATE leaf_segments SET data = ?2 WHERE row = ?1`, seg, packLeaves(e.segment(seg)[:1]))
		}},
		{"rows are exchanged", func(e *evil) { // the row of an event stands where a step does
			from := e.place(`SELECT row FROM r_trace_event WHERE n = 9 AND `+ofRun, run)
			to := e.place(`SELECT row FROM r_trace_step WHERE n = 3 AND `+ofRun, run)
			e.change(1, `DELETE FROM r_trace_step WHERE row = ?1`, to)
			e.change(1, `UPDATE r_trace_event SET row = ?2 WHERE row = ?1`, from, to)
		}},
		{"a tile is another", func(e *evil) {
			l, n := e.main(), first(e).Seq/256
			e.change(1, `UPDATE tiles SET data = ?2 WHERE row = ?1`, tileRow(l, 0, n), tileOf(l.leaves, 1-n))
		}},
		{"a tile is missing", func(e *evil) {
			e.change(1, `DELETE FROM tiles WHERE row = ?1`, tileRow(e.main(), 0, first(e).Seq/256))
		}},
		{"a tile is short", func(e *evil) {
			e.change(1, `UPDATE tiles SET data = substr(data, 1, 4096) WHERE row = ?1`, tileRow(e.main(), 0, first(e).Seq/256))
		}},
		{"a leaf and its tile", func(e *evil) {
			l, seq := e.main(), first(e).Seq+4
			leaves := slices.Clone(l.leaves)
			leaves[seq] = altered(e, leaves[seq], `"status":"success"`, `"status":"failure"`)
			e.setLeaf(l, seq, leaves[seq])
			e.change(1, `UPDATE tiles SET data = ?2 WHERE row = ?1`, tileRow(l, 0, seq/256), tileOf(leaves, seq/256))
		}},
		{"content of another segment", func(e *evil) {
			seg := row(e.main(), e.int(`SELECT sealed_segment FROM r_trace_step WHERE n = 3 AND `+ofRun, run))
			e.change(1, `UPDATE sealed_segments SET data = (SELECT data FROM sealed_segments WHERE row <> ?1 ORDER BY row LIMIT 1) WHERE row = ?1`, seg)
		}},
		{"a byte of content", func(e *evil) {
			seg := row(e.main(), e.int(`SELECT sealed_segment FROM r_trace_step WHERE n = 3 AND `+ofRun, run))
			data := e.blob(`SELECT data FROM sealed_segments WHERE row = ?1`, seg)
			data[len(data)/2] ^= 1
			e.change(1, `UPDATE sealed_segments SET data = ?2 WHERE row = ?1`, seg, data)
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			d := copyOf(t)
			d.tamper(t, test.tamper)
			r := openRig(t, d.dir)
			at := r.foundOf(t, "acme", run)
			for range 2 { // the second time from what is near
				out, err := r.Fetch(context.Background(), "acme", at, true)
				switch {
				case test.name == "nothing":
					if err != nil || len(out) != 11 {
						t.Errorf("%d records, %v", len(out), err)
					}
				case !errors.Is(err, evidence.ErrTampered):
					t.Errorf("%d records, %v", len(out), err)
				case out != nil:
					t.Error("records beside an error")
				}
			}
		})
	}
}

// TestFetchRepaired: what was found altered is looked at again, and what was good
// when it was read stays so.
func TestFetchRepaired(t *testing.T) {
	d := copyOf(t)
	r := openRig(t, d.dir)
	at := r.foundOf(t, "acme", fmt.Sprintf("%032x", 203))
	l, seq := d.main(), at[4].Seq
	alter := func(leaf []byte) { d.tamper(t, func(e *evil) { e.setLeaf(l, seq, leaf) }) }
	r.fetch(t, "acme", at, true)
	alter(altered(t, l.leaves[seq], `"status":"success"`, `"status":"failure"`))
	if got := r.fetch(t, "acme", at, true); string(got[4].Raw) != string(l.leaves[seq]) {
		t.Errorf("an altered leaf was given out: %s", got[4].Raw)
	}
	r.ForgetNear()
	if _, err := r.Fetch(context.Background(), "acme", at, true); !errors.Is(err, evidence.ErrTampered) {
		t.Errorf("altered: %v", err)
	}
	alter(l.leaves[seq])
	r.fetch(t, "acme", at, true)
}
