package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/runledger/runledger/internal/store"
)

// Claim implements store.Store.
func (db *DB) Claim(ctx context.Context, log store.LogRef) (store.Claim, error) {
	return nil, errors.New("postgres: claims are still to come")
}

// Lease implements store.Store.
func (db *DB) Lease(_ context.Context, _, _ string, ttl time.Duration) (bool, error) {
	return false, errors.New("postgres: leases are still to come")
}
