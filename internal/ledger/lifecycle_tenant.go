package ledger

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

// lifecycles is what this process knows of the removals of each tenant.
type lifecycles struct {
	mu sync.Mutex
	of map[string]*tenantLife
}

// tenantLife lets one removal or hold of a tenant be under way at a time: who looks
// for holds and removes then finds that none was placed in between.
type tenantLife struct {
	mu     sync.Mutex
	holder string
	// pass goes through the expiries of one log; skip are those of this round that had a
	// pass, some of which keep rows.
	pass *expiryPass
	skip map[store.Expiry]bool
	// turn is when others last had one, while this goes on step by step.
	turn time.Time
	// named is how far the index was looked through for a hold of a subject.
	named map[string]namedUntil
}

// life locks a tenant's lifecycle within this process.
func (l *Ledger) life(tenant string) (t *tenantLife, unlock func()) {
	l.lives.mu.Lock()
	t = l.lives.of[tenant]
	if t == nil {
		t = &tenantLife{holder: randomHex(8), named: map[string]namedUntil{}}
		if l.lives.of == nil {
			l.lives.of = map[string]*tenantLife{}
		}
		l.lives.of[tenant] = t
	}
	l.lives.mu.Unlock()
	t.mu.Lock()
	return t, t.mu.Unlock
}

// lifeAlone locks a tenant's lifecycle. Where other processes write, a lease keeps them
// out too; it ends by itself, so bound is done before.
func (l *Ledger) lifeAlone(ctx context.Context, tenant string) (t *tenantLife, bound context.Context, unlock func(), err error) {
	t, free := l.life(tenant) // not unlock, which is what is returned below
	if !l.shared {
		return t, ctx, free, nil
	}
	if err := l.lifeLease(ctx, tenant, t.holder); err != nil {
		free()
		return nil, nil, nil, err
	}
	bound, cancel := context.WithTimeout(ctx, lifeFor/2)
	return t, bound, func() {
		cancel()
		if _, err := l.store.Lease(context.WithoutCancel(ctx), lifeLeaseName(tenant), t.holder, 0); err != nil {
			l.log.Warn("give up the lease of a tenant's lifecycle", "tenant", tenant, "err", err)
		}
		free()
	}, nil
}

const (
	// lifeFor is how long another process waits for one that died.
	lifeFor = time.Minute
	// lifeLook is how often who waits looks; who goes on step by step leaves a longer
	// pause between two of them, once he was at it for lifeTurn.
	lifeLook  = 5 * time.Millisecond
	lifePause = 4 * lifeLook
	lifeTurn  = 200 * time.Millisecond
)

func lifeLeaseName(tenant string) string { return "lifecycle-of/" + tenant }

func (l *Ledger) lifeLease(ctx context.Context, tenant, holder string) error {
	until := time.Now().Add(lifeFor + lifeFor/2)
	for {
		held, err := l.store.Lease(ctx, lifeLeaseName(tenant), holder, lifeFor)
		if err != nil || held {
			return err
		}
		if time.Now().After(until) {
			return fmt.Errorf("another process is at work on what tenant %s keeps: %w", tenant, evidence.ErrUnavailable)
		}
		select {
		case <-time.After(lifeLook):
		case <-ctx.Done():
			return ctx.Err()
		case <-l.stop:
			return errStopped
		}
	}
}
