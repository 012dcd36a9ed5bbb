package facade

import (
	"fmt"
	"testing"
	"time"

	"github.com/runledger/runledger/evidence"
)

// BenchmarkRuns measures the answers about a run in a log of 20,000 runs, with
// content opened. One run has 20 steps with an event each.
func BenchmarkRuns(b *testing.B) {
	r := newRig(b)
	const runs, steps = 20_000, 20
	var batch []*evidence.Record
	for n := 1; n <= runs; n++ {
		at := time.Duration(n) * 100 * time.Millisecond
		batch = append(batch, r.step(n, 1, 0, "llm", at, at+time.Second, fields{"prompt": "a question"}))
		if n == runs/2 {
			for i := 2; i <= steps; i++ {
				batch = append(batch, r.step(n, i, 1, "tool", at, at+time.Second, fields{"params": fields{"n": i}}), r.spanEvent(n, i, at, "event"))
			}
			batch = append(batch, r.entry(n, at, "LimitChecked", "LIMIT", "tokens"), r.system(at, "RESTART"))
		}
		batch = append(batch, r.doneRun(n, at, fields{"prompt": "a question", "completed_at": after(at + time.Second).String()}))
		if len(batch) > 5000 {
			r.add("acme", batch...)
			batch = nil
		}
	}
	r.add("acme", batch...)
	rd, run := r.privileged(), traceID(runs/2)
	for _, m := range []struct {
		name string
		ask  func() error
	}{
		{"envelope", func() error { _, err := r.Envelope(r.ctx, rd, run); return err }},
		{fmt.Sprintf("trace of %d steps", steps), func() error { _, err := r.Trace(r.ctx, rd, run, Paging{}); return err }},
		{"governance", func() error { _, err := r.Governance(r.ctx, rd, run, Paging{}); return err }},
		{"replay", func() error { _, err := r.Replay(r.ctx, rd, run, ReplayParams{}); return err }},
		{"list", func() error { _, err := r.Runs(r.ctx, rd, RunFilter{}, Paging{}); return err }},
	} {
		b.Run(m.name, func(b *testing.B) {
			for b.Loop() {
				if err := m.ask(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
