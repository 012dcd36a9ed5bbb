package postgres

import (
	"context"
	"time"
)

const (
	// One statement, so that of two that ask at once one waits for the other and
	// then compares with what that wrote. What is compared is in the rows: a
	// distributed database takes no function of the clock there.
	// statement_timestamp is one time for the statement, however long it waits.
	sqlLease = `INSERT INTO leases AS l (name, holder, asked, until)
		VALUES ($1, $2, (extract(epoch FROM statement_timestamp()) * 1000000)::bigint,
			(extract(epoch FROM statement_timestamp()) * 1000000)::bigint + $3)
		ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, asked = excluded.asked, until = excluded.until
		WHERE l.holder = excluded.holder OR l.until <= excluded.asked OR l.until > excluded.asked + $4`
	sqlEndLease = `UPDATE leases SET until = 0 WHERE name = $1 AND holder = $2`
)

// longestLease is how long one lasts at most. A row that says more was not written here, or
// before the database's clock went back: it is not waited for.
const longestLease = 24 * time.Hour

// Lease implements store.Store.
func (db *DB) Lease(ctx context.Context, name, holder string, ttl time.Duration) (held bool, err error) {
	if name == "" || holder == "" || !storable(name) || !storable(holder) {
		return false, invalid("lease %q of holder %q", name, holder)
	}
	err = db.transact(ctx, func(ctx context.Context, c *pooled) error {
		if ttl <= 0 {
			_, err := c.Exec(ctx, sqlEndLease, name, holder)
			return err
		}
		ttl := min(ttl, longestLease)
		tag, err := c.Exec(ctx, sqlLease, name, holder, max(ttl.Microseconds(), 1), longestLease.Microseconds())
		held = tag.RowsAffected() == 1
		return err
	})
	return held && err == nil, err
}
