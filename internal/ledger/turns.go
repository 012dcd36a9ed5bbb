package ledger

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// turns are the tenants that it is this process's turn to verify, where several serve one
// database (ADR 036). A turn is a lease: it ends by itself where the process dies. It is
// asked for beside commits, never in one, and for as long as there is something to verify.
type turns struct {
	l     *Ledger
	lease time.Duration

	mu  sync.Mutex
	all map[string]*turn
	// deaf is until when nothing is asked: the store did not answer the last time, and to wait
	// for that again for each tenant would hold up what needs no turn.
	deaf time.Time
}

type turn struct {
	held  bool
	asked time.Time // when the store last said so
	// used is when something was last verified in it. To ask for it is no use: who asks and
	// then does not verify must not keep it from others.
	used time.Time
	// refuse is until when this process does not want it: it could not verify, and another
	// one may be able to.
	refuse time.Time
}

func leaseOf(tenant string) string { return "verify/" + tenant }

func (t *turns) of(tenant string) *turn {
	if t.all == nil {
		t.all = map[string]*turn{}
	}
	x := t.all[tenant]
	if x == nil {
		x = &turn{}
		t.all[tenant] = x
	}
	return x
}

// every is how often the store is asked again, whatever it said.
func (t *turns) every() time.Duration { return t.lease / 3 }

// What a turn can do is to delay: whoever holds one that does not verify, or who only says
// so, is not waited for any longer than this.
const (
	patience = 4  // leases for which new leaves wait
	stuck    = 10 // leases for which a full verification may come to no more leaves
	refusal  = 2  // leases for which who could not verify leaves the turn to others
)

// take reports whether this process is the one to verify a tenant, and extends its turn.
// Who cannot ask does not have it; nor may it be kept waiting by whoever locks the row.
func (t *turns) take(ctx context.Context, tenant string) bool {
	if !t.l.shared {
		return true
	}
	t.mu.Lock()
	x := t.of(tenant)
	if now := time.Now(); now.Before(x.refuse) || now.Before(t.deaf) {
		t.mu.Unlock()
		return false
	}
	held, fresh := x.held, time.Since(x.asked) < t.every()
	t.mu.Unlock()
	if fresh {
		return held
	}
	asked := time.Now() // before: the lease ends no earlier than is known here
	asking, cancel := context.WithTimeout(ctx, t.every())
	defer cancel()
	held, err := t.l.store.Lease(asking, leaseOf(tenant), t.l.holder, t.lease)
	if err != nil && ctx.Err() == nil {
		t.l.log.Warn("ask for the turn to verify", "tenant", tenant, "err", err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if held && !x.held {
		x.used = asked
	}
	if err != nil && ctx.Err() != nil {
		return false // who asked has ended: that says nothing of the turn
	}
	if err != nil {
		t.deaf = time.Now().Add(t.lease)
	}
	x.held, x.asked = held, asked
	return held
}

// use notes that something was verified.
func (t *turns) use(tenant string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.of(tenant).used = time.Now()
}

// keep extends a turn until stop is called, or until there was no progress for long.
func (t *turns) keep(ctx context.Context, tenant string) (progress, stop func()) {
	if !t.l.shared {
		return func() {}, func() {}
	}
	t.use(tenant) // from the start: one that was not used for long may just be given up
	ctx, cancel := context.WithCancel(ctx)
	var keeping sync.WaitGroup
	began := time.Now()
	var last atomic.Int64 // since began, when there was progress
	keeping.Go(func() {
		tick := time.NewTicker(t.every() / 2)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				if time.Since(began)-time.Duration(last.Load()) > stuck*t.lease {
					return
				}
				t.use(tenant)
				t.take(ctx, tenant)
			case <-ctx.Done():
				return
			}
		}
	})
	progress = func() { last.Store(int64(time.Since(began))) }
	return progress, func() {
		cancel()
		keeping.Wait()
	}
}

// held are the tenants of this process, and of them those in which it has had nothing to
// verify for as long as a lease.
func (t *turns) held() (all, idle []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for tenant, x := range t.all {
		if !x.held {
			continue
		}
		if all = append(all, tenant); time.Since(x.used) > t.lease {
			idle = append(idle, tenant)
		}
	}
	return all, idle
}

// give gives a turn up, so that who writes the tenant now can have it.
func (t *turns) give(ctx context.Context, tenant string) {
	t.mu.Lock()
	delete(t.all, tenant)
	t.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, t.every())
	defer cancel()
	if _, err := t.l.store.Lease(ctx, leaseOf(tenant), t.l.holder, 0); err != nil {
		t.l.log.Warn("give up the turn to verify", "tenant", tenant, "err", err)
	}
}

// refuse gives a turn up in which nothing could be verified, and leaves it to others.
func (t *turns) refuse(ctx context.Context, tenant string) {
	if !t.l.shared {
		return
	}
	t.mu.Lock()
	held := t.of(tenant).held
	t.mu.Unlock()
	if held {
		t.give(ctx, tenant)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.of(tenant).refuse = time.Now().Add(refusal * t.lease)
}

// giveAll is the end of Watch. What it cannot give up ends by itself.
func (t *turns) giveAll(ctx context.Context) {
	if !t.l.shared {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), refreshWait)
	defer cancel()
	all, _ := t.held()
	for _, tenant := range all {
		t.give(ctx, tenant)
	}
}
