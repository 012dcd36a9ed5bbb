package runs

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/runledger/runledger/internal/dialect"
)

func TestMemoryBound(t *testing.T) {
	ending := func(memory int64) map[string]string {
		r := newRig(t, func(c *Config) { c.MaxMemory = memory })
		root, child := someRun(t)
		child.record.SetSealed("/attrs", []byte(`[["k","int",{"not":"of a span"}]]`))
		r.send(child)
		r.send(event(t, 1, 5, 2, dialect.Hints{}))
		r.send(root)
		if _, bytes := r.Following(); bytes > memory {
			t.Errorf("%d bytes are kept, over %d", bytes, memory)
		}
		r.pass(2 * time.Second)
		r.wantIdle()
		return r.wantRevisions(testTrace, 1)
	}
	if diff := cmp.Diff(ending(1<<20), ending(1)); diff != "" {
		t.Errorf("ended from the store (-memory +store):\n%s", diff)
	}
}

func TestEvictsWhatHasLongestToGo(t *testing.T) {
	r := newRig(t, func(c *Config) { c.MaxMemory = 40 * runBytes })
	var items []item
	for i := range 200 {
		s := call(i+1, 7000, 1, 2, 1, 1, nil)(t)
		s.record.Run = fmt.Sprint("run ", i)
		items = append(items, s)
	}
	r.send(items...)
	runs, bytes := r.Following()
	if runs != 200 || bytes > 40*runBytes || bytes < 10*runBytes {
		t.Errorf("%d runs, %d bytes", runs, bytes)
	}
	if off := r.Leaks(); off != 0 {
		t.Errorf("the count of bytes is off by %d", off)
	}
	r.pass(time.Minute)
	for i := range 200 {
		r.wantRevisions(fmt.Sprint("run ", i), 1)
	}
	r.wantIdle()
}

func TestTwoTrackers(t *testing.T) {
	r := newRig(t)
	second := r.track()
	defer second.Close(context.Background())
	root, child := someRun(t)
	out := r.append("acme", child, root)
	r.Observe("acme", out)
	second.Observe("acme", out)
	// Half of another run each.
	a, b := call(5, 0, 1, 2, 1, 1, nil)(t), call(6, 5, 1, 2, 1, 1, nil)(t)
	a.record.Run, b.record.Run = "halves", "halves"
	r.Observe("acme", r.append("acme", a))
	second.Observe("acme", r.append("acme", b))
	r.clock.add(2 * time.Second)
	var wg sync.WaitGroup
	wg.Go(r.Drain)
	wg.Go(second.Drain)
	wg.Wait()
	for range 3 {
		r.pass(2 * time.Second)
		second.Drain()
	}
	r.wantRevisions(testTrace, 1)
	if rev := r.wantRevisions("halves", 1); rev["step_count"] != "2" {
		t.Errorf("%v", rev)
	}
	r.wantIdle()
	if runs, bytes := second.Following(); runs != 0 || bytes != 0 {
		t.Errorf("the second follows %d runs, %d bytes", runs, bytes)
	}
}

func TestTenantsAreApart(t *testing.T) {
	r := newRig(t)
	root, child := someRun(t)
	r.send(child, root)
	root, child = someRun(t)
	child.record.SetInt("input_tokens", 77)
	r.Observe("other", r.append("other", child))
	r.pass(2 * time.Second)
	if rev := r.wantRevisions(testTrace, 1); rev["input_tokens"] != "10" {
		t.Errorf("%v", rev)
	}
	if list := r.revisions("other", testTrace); len(list) != 0 {
		t.Errorf("the other tenant's run ended too: %v", list)
	}
	r.Observe("other", r.append("other", root))
	r.pass(2 * time.Second)
	if list := r.revisions("other", testTrace); len(list) != 1 || list[0]["input_tokens"] != "77" {
		t.Errorf("%v", list)
	}
	r.wantRevisions(testTrace, 1)
}
