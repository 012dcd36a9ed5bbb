package postgres

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/runledger/runledger/internal/store"
)

// Claim implements store.Store. It is a transaction that has locked the row of
// the log's head: other commits wait for that, and so do other claims, which get
// their turn in the order in which they came. What others committed before can
// be read by any connection, for a lock is given up behind the commit.
//
// It ends by itself where its holder does not go on, see defaultStandstill.
func (db *DB) Claim(ctx context.Context, log store.LogRef) (store.Claim, error) {
	if db.writers == nil {
		return nil, errReadOnly
	}
	began := time.Now()
	// Claims never have all connections: a commit makes its partitions, if there
	// is one to make, beside its own transaction.
	select {
	case db.claims <- struct{}{}:
	case <-ctx.Done():
		return nil, calledOff(ctx)
	}
	c := &claim{db: db, log: log}
	err := c.take(ctx)
	if err != nil {
		c.Release()
		return nil, err
	}
	db.metrics.claimed(time.Since(began))
	c.keep()
	return c, nil
}

type claim struct {
	db   *DB
	log  store.LogRef
	conn *pooled // nil before it is taken
	over bool
	rest chan struct{} // closed when it ends to rest; nil while it does not
	kept sync.WaitGroup
}

// keep lets the server know that the holder is alive, however long it takes to make
// its commit: an erasure may have to look at every segment of a tenant. A process
// that stands still does not, and loses its claim.
func (c *claim) keep() {
	c.rest = make(chan struct{})
	c.kept.Go(func() {
		tick := time.NewTicker(c.db.cfg.standstill / 3)
		defer tick.Stop()
		for {
			select {
			case <-c.rest:
				return
			case <-tick.C:
				ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
				_, err := c.conn.Exec(ctx, `SELECT 1`)
				cancel()
				if err != nil {
					return // its commit will say so
				}
			}
		}
	})
}

// wake ends the rest: the connection is its caller's again.
func (c *claim) wake() {
	if c.rest != nil {
		close(c.rest)
		c.kept.Wait()
		c.rest = nil
	}
}

func (c *claim) take(ctx context.Context) (err error) {
	if c.conn, err = c.db.writer(ctx); err != nil {
		return err
	}
	found := false
	b := c.conn.batch()
	b.Queue(sqlHoldHead, c.log.Tenant, c.log.No).Query(func(rows pgx.Rows) error {
		found = rows.Next()
		return nil
	})
	err = c.conn.SendBatch(ctx, b).Close()
	switch {
	case ctx.Err() != nil:
		return calledOff(ctx)
	case err != nil:
		return fault(err)
	case !found:
		return notFound("log %d of tenant %s", c.log.No, c.log.Tenant)
	}
	return nil
}

// Commit implements store.Claim.
func (c *claim) Commit(ctx context.Context, commit *store.Commit) error {
	if c.over {
		return errors.New("postgres: the claim has ended")
	}
	defer c.Release()
	for i := range commit.Logs {
		l := &commit.Logs[i]
		next := store.LogRef{Tenant: c.log.Tenant, No: c.log.No + 1}
		if l.Log != c.log && (l.Log != next || l.Open == nil) {
			return invalid("a commit to log %d of tenant %s under a claim of log %d of tenant %s", l.Log.No, l.Log.Tenant, c.log.No, c.log.Tenant)
		}
	}
	loads, err := c.db.prepareCommit(ctx, commit)
	if err != nil {
		return err
	}
	c.wake()
	return c.db.committed(commit, c.db.end(ctx, c.conn, c.db.writeCommit(ctx, c.conn, commit, loads)))
}

// Release implements store.Claim.
func (c *claim) Release() {
	if c.over {
		return
	}
	c.over = true
	c.wake()
	if c.conn != nil {
		rollback(c.conn)
		c.conn.release()
	}
	<-c.db.claims
}
