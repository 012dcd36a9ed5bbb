package ledger

import (
	"context"
	"slices"

	"github.com/runledger/runledger/internal/store"
)

// Hear reads what other processes told.
func (l *Ledger) Hear(ctx context.Context) error { return l.hear(ctx) }

// Verified reports whether this process has ended a full verification of a tenant, and has given
// up its turn.
func (l *Ledger) Verified(tenant string) bool {
	if held, _ := l.turns.held(); slices.Contains(held, tenant) {
		return false
	}
	l.state.mu.Lock()
	defer l.state.mu.Unlock()
	return l.state.of(tenant).verified != moment{}
}

// Left are the logs of a tenant that have more than was told.
func (l *Ledger) Left(ctx context.Context, tenant string) ([]store.LogRef, error) {
	return l.moreThanTold(ctx, tenant)
}

// Met is of how many tenants something is kept of verification.
func (l *Ledger) Met() int {
	l.state.mu.Lock()
	defer l.state.mu.Unlock()
	return len(l.state.tenants)
}

// ForgetNear empties what is kept of the logs.
func (l *Ledger) ForgetNear() {
	l.near.leaves.mu.Lock()
	for k := range l.near.leaves.entries {
		l.near.leaves.remove(k)
	}
	l.near.leaves.mu.Unlock()
	l.near.tiles.mu.Lock()
	defer l.near.tiles.mu.Unlock()
	for k := range l.near.tiles.entries {
		l.near.tiles.remove(k)
	}
}

// FollowFrom verifies the leaves of a tenant's newest log from one on, as new ones are.
func (l *Ledger) FollowFrom(ctx context.Context, tenant string, from int64) error {
	o, err := l.current(ctx, tenant)
	if err != nil {
		return err
	}
	t := &tail{skip: from, from: from}
	if err := l.resume(ctx, o, t); err != nil {
		return err
	}
	return l.follow(ctx, o, t)
}
