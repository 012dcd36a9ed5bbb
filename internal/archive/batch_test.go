package archive

import (
	"context"
	"runtime"
	"sync/atomic"
	"testing"
)

// TestPaced: while somebody is busy, batches are worked at by one at a time, all of them and in
// order.
func TestPaced(t *testing.T) {
	t.Parallel()
	const batches = 40
	var now, most, asked atomic.Int32
	work := func(next *int64) func(b *batch) error {
		return func(b *batch) error {
			if n := now.Add(1); n > most.Load() {
				most.Store(n)
			}
			for range 20 {
				runtime.Gosched()
			}
			if b.first != *next {
				t.Errorf("batch %d comes where %d is to come", b.first, *next)
			}
			*next++
			now.Add(-1)
			return nil
		}
	}
	ctx := Paced(t.Context(), func() bool { asked.Add(1); return true })
	var ends [3]int64
	err := newPipe().run(ctx, func(_ context.Context, next func() (*batch, error), send func(*batch) error) error {
		for i := range int64(batches) {
			b, err := next()
			if err != nil {
				return err
			}
			if b.first = i; send(b) != nil {
				return context.Canceled
			}
		}
		return nil
	}, work(&ends[0]), work(&ends[1]), work(&ends[2]))
	if err != nil || ends != [3]int64{batches, batches, batches} {
		t.Fatalf("%v, %v", ends, err)
	}
	if most.Load() != 1 || asked.Load() != 3*batches {
		t.Errorf("%d at once, asked %d times", most.Load(), asked.Load())
	}
}
