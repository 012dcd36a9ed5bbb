package server

import (
	"context"
	"time"
)

// lease is store.Lease in the name of this process; nil where there are no others.
func (d *Deployment) lease() func(ctx context.Context, name string, ttl time.Duration) (bool, error) {
	if !d.db.shared() {
		return nil
	}
	return func(ctx context.Context, name string, ttl time.Duration) (bool, error) {
		return d.db.Lease(ctx, name, d.holder, ttl)
	}
}
