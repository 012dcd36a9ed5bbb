package sqlite

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/runledger/runledger/internal/store"
)

// Claim implements store.Store. The data directory is this process's alone, and its
// commits come one after another, so there is nobody to wait for.
func (db *DB) Claim(ctx context.Context, log store.LogRef) (store.Claim, error) {
	if _, err := db.writing(); err != nil {
		return nil, err
	}
	if _, err := db.Head(ctx, log); err != nil {
		return nil, err
	}
	return &claim{db: db, log: log}, nil
}

type claim struct {
	db   *DB
	log  store.LogRef
	over bool
}

// Commit implements store.Claim.
func (c *claim) Commit(ctx context.Context, commit *store.Commit) error {
	if c.over {
		return errors.New("sqlite: the claim has ended")
	}
	c.over = true
	next := store.LogRef{Tenant: c.log.Tenant, No: c.log.No + 1}
	for i := range commit.Logs {
		if l := &commit.Logs[i]; l.Log != c.log && (l.Log != next || l.Open == nil) {
			return invalid("a commit to log %d of tenant %s under a claim of log %d of tenant %s", l.Log.No, l.Log.Tenant, c.log.No, c.log.Tenant)
		}
	}
	return c.db.Commit(ctx, commit)
}

// Release implements store.Claim.
func (c *claim) Release() { c.over = true }

// leases are kept in memory: when the process ends, so do they.
type leases struct {
	mu   sync.Mutex // guards what follows
	held map[string]lease
}

type lease struct {
	holder string
	until  time.Time
}

// Lease implements store.Store. There is no other process, but two parts of this one
// may ask under names of their own.
func (db *DB) Lease(_ context.Context, name, holder string, ttl time.Duration) (bool, error) {
	if name == "" || holder == "" {
		return false, invalid("lease %q of holder %q", name, holder)
	}
	if _, err := db.writing(); err != nil {
		return false, err
	}
	l, now := &db.leases, time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if h, ok := l.held[name]; ok && h.holder != holder && now.Before(h.until) {
		return false, nil
	}
	if ttl <= 0 {
		delete(l.held, name)
		return false, nil
	}
	if l.held == nil {
		l.held = map[string]lease{}
	}
	l.held[name] = lease{holder, now.Add(ttl)}
	return true, nil
}
