package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/runledger/runledger/evidence"
)

// READ COMMITTED: each statement sees what was committed before it, so behind
// the lock of a head's row all that the commits before it wrote.
const sqlBegin = `BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE`

// transact runs f in one write transaction. Errors of the database get their
// sentinels, errors of f come back as they are. An error of COMMIT itself has
// none where the outcome is unknown.
func (db *DB) transact(ctx context.Context, f func(ctx context.Context, c *pooled) error) error {
	switch {
	case db.closed.Load():
		return errClosed
	case db.writers == nil:
		return fmt.Errorf("postgres: store is open for reading only: %w", evidence.ErrForbidden)
	}
	c, err := db.writers.acquire(ctx)
	if err != nil {
		return err
	}
	defer db.writers.release(c)
	if _, err = c.Exec(ctx, sqlBegin); err == nil {
		err = f(ctx, c)
	}
	if err == nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		rollback(c)
		if ctx.Err() != nil {
			return calledOff(ctx)
		}
		return fault(err)
	}
	return commit(c)
}

// commit ends a transaction. From here on nobody can call it off: a caller that
// went away would leave an outcome that is unknown for no reason.
func commit(c *pooled) error {
	tag, err := c.Exec(context.Background(), `COMMIT`)
	if err == nil && tag.String() != "COMMIT" {
		err = pgx.ErrTxCommitRollback
	}
	if err != nil {
		rollback(c)
		return commitFault(err)
	}
	return nil
}

// rollback undoes a transaction. If it fails the connection is closed when it
// is released, and the server undoes it.
func rollback(c *pooled) {
	if c.IsClosed() || c.PgConn().TxStatus() == 'I' {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	_, _ = c.Exec(ctx, `ROLLBACK`)
}
