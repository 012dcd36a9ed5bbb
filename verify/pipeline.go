package verify

import (
	"context"
	"errors"
	"io"
	"iter"
	"sync"
)

// inOrder runs f over what next returns, up to n at a time, and yields the
// results in the order of next. next runs in one goroutine of its own, ends
// with io.EOF, and is not called after another error, which is yielded last.
// When the loop ends, for whatever reason, no goroutine is left.
func inOrder[I, O any](ctx context.Context, n int, next func() (I, error), f func(I) O) iter.Seq2[O, error] {
	type result struct {
		out O
		err error
	}
	return func(yield func(O, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		var wg sync.WaitGroup
		defer wg.Wait()
		defer cancel()
		// The results to come, in order; its capacity bounds how many.
		slots := make(chan chan result, max(n-1, 0))
		wg.Go(func() {
			defer close(slots)
			for {
				in, err := next()
				if errors.Is(err, io.EOF) {
					return
				}
				slot := make(chan result, 1)
				if err == nil {
					err = ctx.Err()
				}
				if err != nil {
					slot <- result{err: err}
				}
				select {
				case slots <- slot:
				case <-ctx.Done():
					return
				}
				if err != nil {
					return
				}
				wg.Go(func() { slot <- result{out: f(in)} })
			}
		})
		for slot := range slots {
			r := <-slot
			if !yield(r.out, r.err) || r.err != nil {
				return
			}
		}
		if err := ctx.Err(); err != nil {
			var zero O
			yield(zero, err)
		}
	}
}

// parallel calls f for 0 to n−1, some of them at the same time.
func parallel(workers, n int, f func(i int)) {
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := w; i < n; i += workers {
				f(i)
			}
		})
	}
	wg.Wait()
}
