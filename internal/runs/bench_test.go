package runs

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
)

// agentRun is a run of 20 spans, five of them model calls with a growing
// conversation, as its requests bring it: children first, the root last.
func agentRun(t testing.TB) []Observed {
	var items []item
	history := []any{m{"role": "system", "content": strings.Repeat("Be kind. ", 100)}, m{"role": "user", "content": "What is the weather in Oslo?"}}
	for i := range 5 {
		items = append(items,
			call(10*i+3, 10*i+2, 100*i+20, 100*i+60, 900, 50, m{"prompt": history, "response": messages("assistant", strings.Repeat("Well. ", 50))})(t),
			spanItem(t, 10*i+4, 10*i+2, "tool", 100*i+60, 100*i+80, m{"params": m{"city": "Oslo"}, "outcome_data": m{"t": 7}}),
			spanItem(t, 10*i+2, 1, "agent", 100*i+10, 100*i+90, m{"agent_id": "planner"}),
		)
		history = append(history, m{"role": "assistant", "content": strings.Repeat("Well. ", 50)}, m{"role": "user", "content": strings.Repeat("And? ", 100)})
	}
	for i := range 4 {
		items = append(items, spanItem(t, 90+i, 1, "retrieval", 5, 9, nil))
	}
	items = append(items, spanItem(t, 1, 0, "agent", 0, 600, m{"agent_id": "planner", "system_id": "shop"}))
	var out []Observed
	for _, it := range numbered(items) {
		out = append(out, Observed{Record: it.record, Receipt: ledger.Receipt{ID: it.place.id, N: it.place.n, StepIndex: it.place.step}})
	}
	return out
}

// BenchmarkObserve takes in runs of 20 spans in requests of five; an operation
// is one span.
func BenchmarkObserve(b *testing.B) {
	r := newRig(b, func(c *Config) { c.MaxMemory = 64 << 20 })
	template := agentRun(b)
	var runs atomic.Int64
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		// Records of its own, which get another run each time around.
		own := make([]Observed, len(template))
		copies := make([]evidence.Record, len(template))
		for i := range own {
			copies[i] = *template[i].Record
			own[i] = template[i]
			own[i].Record = &copies[i]
		}
		for at := 0; pb.Next(); at++ {
			if at%len(own) == 0 {
				run := fmt.Sprint(runs.Add(1))
				for i := range copies {
					copies[i].Run = run
				}
				for from := 0; from < len(own); from += 5 {
					r.Observe("acme", own[from:from+5])
				}
			}
		}
	})
}

// BenchmarkFacts makes the record of a run of 20 spans.
func BenchmarkFacts(b *testing.B) {
	a := newRun("acme", testTrace, 80)
	for _, o := range agentRun(b) {
		a.add(o.Record, place{id: o.Receipt.ID, n: o.Receipt.N, step: o.Receipt.StepIndex}, &o.Hints)
	}
	b.ReportAllocs()
	for b.Loop() {
		x := ending{run: a, by: byRoot, rev: 1}
		if _, err := x.record(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(a.bytes), "B/run")
}

// BenchmarkEnd ends runs of 20 spans, from memory and from the store; an
// operation is one run, its llm_run record durable.
func BenchmarkEnd(b *testing.B) {
	for _, memory := range []int64{1 << 30, 1} {
		b.Run(fmt.Sprint("memory=", memory), func(b *testing.B) {
			r := newRig(b, func(c *Config) { c.MaxMemory = memory })
			for run := range b.N {
				var items []item
				for _, o := range agentRun(b) {
					o.Record.Run = fmt.Sprint("run ", run)
					o.Record.SetText("trace_id", fmt.Sprintf("%032x", run+1))
					o.Record.ID, o.Record.NaturalKey = evidence.ID{}, evidence.SpanKey(o.Record.Text("trace_id"), o.Record.Text("span_id"))
					items = append(items, item{record: o.Record})
				}
				r.send(items...)
			}
			b.ResetTimer()
			r.pass(2 * time.Second)
			b.StopTimer()
			if runs, _ := r.Following(); runs != 0 {
				b.Fatalf("%d runs have not ended", runs)
			}
		})
	}
}
