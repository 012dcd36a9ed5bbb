package stream

import (
	"context"
	"crypto/rand"
	"sync"
	"time"
)

// LeaseFunc makes holder the one that a name belongs to for ttl from now, unless it is
// another's: then it returns false. With ttl 0 it is given up. See store.Lease.
type LeaseFunc func(ctx context.Context, name, holder string, ttl time.Duration) (held bool, err error)

// turn says which of several processes runs a stream or an alarm. It is no lock: a
// process that stands still for longer than its lease may deliver what another one
// has delivered since, which at least once allows.
type turn struct {
	lease  LeaseFunc // nil: there are no other processes
	name   string
	holder string
	ttl    time.Duration
	failed func(err error)

	mu    sync.Mutex
	held  bool
	asked time.Time // when it was last given, on our clock: before the store's began
}

func newTurn(cfg *Config, name string, failed func(err error)) *turn {
	return &turn{lease: cfg.Lease, name: name, holder: rand.Text(), ttl: cfg.tempo.lease, failed: failed}
}

// mine reports whether it is this process's turn.
func (t *turn) mine() bool {
	if t.lease == nil {
		return true
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.held && time.Since(t.asked) < t.ttl
}

// during runs a worker that asks whether it is its turn.
func (t *turn) during(ctx context.Context, run func(ctx context.Context)) {
	var asking sync.WaitGroup
	// Behind ctx: what the worker does last is still of its turn.
	keep, stop := context.WithCancel(context.WithoutCancel(ctx))
	asking.Go(func() { t.keep(keep) })
	run(ctx)
	stop()
	asking.Wait()
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	t.giveUp(last)
}

// keep asks for the turn until ctx is done, and extends it while it is had, however
// long a delivery takes.
func (t *turn) keep(ctx context.Context) {
	for t.lease != nil {
		t.ask(ctx)
		if !pause(ctx, t.ttl/4) {
			return
		}
	}
}

func (t *turn) ask(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, t.ttl/2)
	defer cancel()
	at := time.Now()
	held, err := t.lease(ctx, t.name, t.holder, t.ttl)
	if err != nil {
		if ctx.Err() == nil {
			t.failed(err)
		}
		return // what it has counts until it is over
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.held, t.asked = held, at
}

// giveUp lets another process have the turn at once.
func (t *turn) giveUp(ctx context.Context) {
	if t.lease == nil || !t.mine() {
		return
	}
	t.mu.Lock()
	t.held = false
	t.mu.Unlock()
	if _, err := t.lease(ctx, t.name, t.holder, 0); err != nil {
		t.failed(err)
	}
}
