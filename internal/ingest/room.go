package ingest

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"golang.org/x/sync/semaphore"
)

// room is a request's share of the bytes that all requests may hold. It grows
// in one goroutine; done may be called from any, and more than once.
type room struct {
	h    *Handler
	size int64
	gone atomic.Bool
}

// makeRoom waits for n bytes, at most Config.QueueWait.
func (h *Handler) makeRoom(ctx context.Context, n int64) (*room, error) {
	r := &room{h: h}
	return r, r.grow(ctx, n)
}

// grow makes the share at least n bytes.
func (r *room) grow(ctx context.Context, n int64) error {
	more := min(n, r.h.cfg.MaxInFlight) - r.size
	if more <= 0 {
		return nil
	}
	if err := r.h.acquire(ctx, r.h.bytes, more); err != nil {
		return fmt.Errorf("%w: requests in flight hold all of %d bytes", err, r.h.cfg.MaxInFlight)
	}
	r.size += more
	r.h.metrics.inFlight.Add(float64(more))
	return nil
}

// shrink makes the share n bytes, if it is more.
func (r *room) shrink(n int64) {
	if less := r.size - n; less > 0 && !r.gone.Load() {
		r.h.bytes.Release(less)
		r.size = n
		r.h.metrics.inFlight.Sub(float64(less))
	}
}

// done gives the share back.
func (r *room) done() {
	if !r.gone.Swap(true) && r.size > 0 {
		r.h.bytes.Release(r.size)
		r.h.metrics.inFlight.Sub(float64(r.size))
	}
}

// acquire waits for n of a semaphore, at most Config.QueueWait. The error is
// errFull, or that of ctx.
func (h *Handler) acquire(ctx context.Context, s *semaphore.Weighted, n int64) error {
	wait, cancel := context.WithTimeout(ctx, h.cfg.QueueWait)
	defer cancel()
	err := s.Acquire(wait, n)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, context.DeadlineExceeded):
		return errFull
	}
	return err
}
