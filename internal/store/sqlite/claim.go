package sqlite

import (
	"context"
	"time"

	"github.com/runledger/runledger/internal/store"
)

// Claim implements store.Store. The data directory is this process's alone, and its
// commits come one after another, so there is nobody to wait for.
func (db *DB) Claim(ctx context.Context, log store.LogRef) (store.Claim, error) {
	if _, err := db.Head(ctx, log); err != nil {
		return nil, err
	}
	return claim{db}, nil
}

type claim struct{ db *DB }

// Commit implements store.Claim.
func (c claim) Commit(ctx context.Context, commit *store.Commit) error { return c.db.Commit(ctx, commit) }

// Release implements store.Claim.
func (claim) Release() {}

// Lease implements store.Store: there is no other process.
func (db *DB) Lease(_ context.Context, _, _ string, ttl time.Duration) (bool, error) {
	return ttl > 0, nil
}
