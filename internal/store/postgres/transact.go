package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/runledger/runledger/evidence"
)

// READ COMMITTED: each statement sees what was committed before it, so behind
// the lock of a head's row all that the commits before it wrote. That it writes
// is the session's setting: a standby says so at the first write then, by a
// SQLSTATE of its own.
const sqlBegin = `BEGIN ISOLATION LEVEL READ COMMITTED`

var errReadOnly = fmt.Errorf("postgres: store is open for reading only: %w", evidence.ErrForbidden)

// tries is how often a transaction is run that loses against another one.
const tries = 5

// transact runs f in one write transaction; f may be run again. Errors of the
// database get their sentinels, errors of f come back as they are. An error of
// COMMIT itself has none where the outcome is unknown.
func (db *DB) transact(ctx context.Context, f func(ctx context.Context, c *pooled) error) (err error) {
	for range tries {
		if err = db.transactOnce(ctx, f); !lost(err) {
			return err
		}
		db.metrics.retries.Inc()
	}
	return err
}

func (db *DB) transactOnce(ctx context.Context, f func(ctx context.Context, c *pooled) error) error {
	return db.lend(ctx, func(c *pooled) error {
		_, err := c.Exec(ctx, sqlBegin)
		if err == nil {
			err = f(ctx, c)
		}
		return db.end(ctx, c, err)
	})
}

// lend lends f a connection that writes.
func (db *DB) lend(ctx context.Context, f func(c *pooled) error) error {
	c, err := db.writer(ctx)
	if err != nil {
		return err
	}
	defer c.release()
	return f(c)
}

// writer returns a connection that writes, which must be released.
func (db *DB) writer(ctx context.Context) (*pooled, error) {
	switch {
	case db.closed.Load():
		return nil, errClosed
	case db.writers == nil:
		return nil, errReadOnly
	}
	return db.writers.acquire(ctx)
}

// end ends a transaction with what came of it: it commits where that was good,
// and undoes it otherwise.
func (db *DB) end(ctx context.Context, c *pooled, err error) error {
	if err == nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	switch {
	case err == nil:
		err = commit(c)
	case ctx.Err() != nil:
		rollback(c)
		return calledOff(ctx)
	default:
		rollback(c)
		err = fault(err)
	}
	if sqlState(err) == codeReadOnly { // the primary has become a standby: look for the new one
		db.writers.Reset()
		db.readers.Reset()
	}
	return err
}

// commit ends a transaction. From here on nobody can call it off: a caller that
// went away would leave an outcome that is unknown for no reason. Nor does the
// server's time-out, which ends with the statement, before it waits for its disk and
// for synchronous standbys.
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
