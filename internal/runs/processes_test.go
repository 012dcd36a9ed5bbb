package runs

import (
	"container/heap"
	"context"
	"testing"
	"time"
)

// TestInterleaved has two processes take in the steps of a long run in turn. Each reads
// it back only now and then, sees all of it when it is asked, and it ends once.
func TestInterleaved(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Quiet = time.Minute })
	first := r.Tracker
	second := r.track() // its metrics are r's from here on
	defer second.Close(context.Background())
	const steps = 40
	for i := range steps {
		it := call(i+1, 99, i, i+1, 1, 1, nil)(t)
		it.record.Run = "long"
		tr := []*Tracker{first, second}[i%2]
		tr.Observe("acme", r.append("acme", it))
		for _, tr := range []*Tracker{first, second} {
			live, err := tr.Live(context.Background(), "acme", "long")
			if err != nil {
				t.Fatal(err)
			}
			if n, _ := live.Fact("step_count"); n.Int != int64(i+1) {
				t.Fatalf("a process sees %d of %d steps", n.Int, i+1)
			}
		}
		r.clock.add(5 * time.Second)
		first.Drain()
		second.Drain()
	}
	if n := r.metric("runledger_runs_read_back_total"); n > 2 {
		t.Errorf("the second process read the run back %v times", n)
	}
	root := call(99, 0, 0, 100, 1, 1, nil)(t)
	root.record.Run = "long"
	second.Observe("acme", r.append("acme", root))
	for range 3 {
		r.clock.add(2 * time.Second)
		first.Drain()
		second.Drain()
	}
	if rev := r.wantRevisions("long", 1); rev["step_count"] != "41" {
		t.Errorf("%v", rev)
	}
	if _, err := first.Live(context.Background(), "acme", "long"); err == nil {
		t.Error("the first process shows it as open")
	}
	// The first, which has not seen the root, finds that it has ended.
	r.clock.add(2 * time.Minute)
	for range 3 {
		first.Drain()
		second.Drain()
	}
	r.wantRevisions("long", 1)
	for _, tr := range []*Tracker{first, second} {
		if n, bytes := tr.Following(); n != 0 || bytes != 0 {
			t.Errorf("%d runs are followed, %d bytes", n, bytes)
		}
	}
}

// TestOftenStale: that a run has more records each time is no contradiction of the
// database, however often; that it has as many, and is refused again, is one.
func TestOftenStale(t *testing.T) {
	r := newRig(t)
	s := r.shardOf("long")
	s.mu.Lock()
	e, _ := s.entry("acme", "long")
	s.mu.Unlock()
	stale := func(records int64) float64 {
		s.mu.Lock()
		s.advanceAll()
		s.mu.Unlock()
		r.stale([]*ending{{e: e, n: records}}, []string{"long"})
		return r.metric("runledger_run_end_failures_total")
	}
	for n := range int64(3 * maxStale) {
		if stale(n) > 0 {
			t.Fatalf("given up with %d records", n)
		}
	}
	for n := range maxStale - 1 {
		if stale(3*maxStale) > 0 {
			t.Fatalf("given up after %d attempts with as many records", n+1)
		}
	}
	if stale(3*maxStale) != 1 {
		t.Error("not given up")
	}
}

// advanceAll takes all entries out of the heap, as a worker has them.
func (s *shard) advanceAll() {
	for len(s.heap) > 0 {
		e := heap.Pop(&s.heap).(*entry)
		e.pos, e.state = none, writing
	}
}
