package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

const (
	sqlMoveHead = `UPDATE heads SET size = $3, root = $4, note = $5
		WHERE tenant_id = $1 AND log_no = $2 AND size = $6 AND root = $7 AND note = $8`
	sqlHoldHead  = `SELECT size FROM heads WHERE tenant_id = $1 AND log_no = $2 FOR UPDATE`
	sqlAddLog    = `INSERT INTO logs (tenant_id, log_no, origin, vkey, wrapped_key) VALUES ($1, $2, $3, $4, $5)`
	sqlAddOrigin = `INSERT INTO origins (origin, tenant_id, log_no) VALUES ($1, $2, $3)`
	sqlAddHead   = `INSERT INTO heads (tenant_id, log_no, size, root, note) VALUES ($1, $2, $3, $4, $5)`
	sqlKeysHere  = `SELECT count(*) FROM data_keys WHERE tenant_id = $1 AND id = ANY ($2::bytea[])`
	sqlLastLog   = `SELECT (SELECT coalesce(max(log_no), 0) FROM logs WHERE tenant_id = $1),
		(SELECT count(*) FROM data_keys WHERE tenant_id = $1 AND id = ANY ($2::bytea[]))`
)

// moveHead swaps the head, or opens the log with it. Where no transaction is
// open yet, it begins one.
//
// The head first: whoever moved it meanwhile, the rest is in vain, and who comes
// after waits here. All else is asked behind that lock, in statements of their
// own: in READ COMMITTED each sees what was committed before it began, but a
// part of the UPDATE would see what was there when that began to wait. All go to
// the server together and take one round trip.
//
// A log with a successor takes no commits: whoever opens one holds the head of
// its predecessor, so it is seen here, or waits. Nor does one of a store that a
// copy has taken out of service, see store.MoveMark.Fence.
func moveHead(ctx context.Context, conn *pooled, c *store.LogCommit) error {
	if c.Open != nil {
		return openLog(ctx, conn, c)
	}
	moved := false
	b := conn.batch()
	b.Queue(sqlMoveHead, c.Log.Tenant, c.Log.No, c.Next.Size, c.Next.Root[:], note(c.Next.Note),
		c.Prev.Size, c.Prev.Root[:], note(c.Prev.Note)).Exec(func(tag pgconn.CommandTag) error {
		moved = tag.RowsAffected() == 1
		return nil
	})
	last, lost, err := standing(ctx, conn, b, c)
	if err != nil {
		return err
	}
	if !moved {
		if err := wantLog(ctx, conn, c.Log); err != nil {
			return err
		}
		return fmt.Errorf("%w: log %d of tenant %s is not at size %d with that root and note", store.ErrHeadMoved, c.Log.No, c.Log.Tenant, c.Prev.Size)
	}
	if last > int64(c.Log.No) {
		return fmt.Errorf("%w: log %d of tenant %s has a successor, log %d", store.ErrHeadMoved, c.Log.No, c.Log.Tenant, last)
	}
	return lost
}

// openLog makes a log and its head. Another process may open the same at the
// same time, or extend its predecessor: they meet at the head of that one, and
// for a tenant's first log at the key of logs.
func openLog(ctx context.Context, conn *pooled, c *store.LogCommit) error {
	l, b := c.Open, conn.batch()
	if l.No > 1 {
		b.Queue(sqlHoldHead, l.Tenant, l.No-1)
	} else {
		b.Queue(sqlHoldSettings)
	}
	last, lost, err := standing(ctx, conn, b, c)
	switch {
	case err != nil:
		return err
	case int64(l.No) <= last:
		return openAlready(l)
	case int64(l.No) != last+1:
		return invalid("log %d of tenant %s is opened after log %d", l.No, l.Tenant, last)
	case lost != nil:
		return lost
	}
	_, err = conn.Exec(ctx, sqlAddLog, l.Tenant, l.No, l.Origin, l.VKey, note(l.WrappedKey))
	switch {
	case isUnique(err):
		return openAlready(l)
	case err != nil:
		return err
	}
	if _, err := conn.Exec(ctx, sqlAddOrigin, l.Origin, l.Tenant, l.No); isUnique(err) {
		return fmt.Errorf("postgres: origin %s is another log's: %w: %w", l.Origin, evidence.ErrConflict, err)
	} else if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, sqlAddHead, l.Tenant, l.No, c.Next.Size, c.Next.Root[:], note(c.Next.Note))
	return occupied(err, fmt.Sprintf("the head of log %d", l.No))
}

func openAlready(l *store.Log) error {
	return fmt.Errorf("%w: log %d of tenant %s is open already", store.ErrHeadMoved, l.No, l.Tenant)
}

// standing sends b, and behind it asks whether the store is in service, for the number
// of the tenant's newest log, and for the data keys that a commit needs; lost is the
// error that one is gone.
func standing(ctx context.Context, conn *pooled, b *pgx.Batch, c *store.LogCommit) (last int64, lost, err error) {
	mark := ""
	queueFence(b, &mark)
	needs, have := keysNeeded(c), 0
	b.Queue(sqlLastLog, c.Log.Tenant, needs).QueryRow(func(row pgx.Row) error { return row.Scan(&last, &have) })
	if err = conn.SendBatch(ctx, b).Close(); err == nil {
		err = fenced(ctx, mark)
	}
	if err == nil && have < len(needs) {
		lost = fmt.Errorf("%w: %d of those that content for log %d of tenant %s is sealed under", store.ErrKeyGone, len(needs)-have, c.Log.No, c.Log.Tenant)
	}
	return last, lost, err
}

// batch returns statements to be, the first of which begins a transaction where
// none is open.
func (c *pooled) batch() *pgx.Batch {
	b := &pgx.Batch{}
	if c.PgConn().TxStatus() == 'I' {
		b.Queue(sqlBegin)
	}
	return b
}

// keysNeeded are the data keys that the content of a commit is sealed under and
// that it does not bring.
func keysNeeded(c *store.LogCommit) [][]byte {
	if len(c.Sealed) == 0 && c.Removal == nil {
		return nil
	}
	known := make(map[store.KeyID]bool, len(c.Keys)+1)
	for i := range c.Keys {
		known[c.Keys[i].ID] = true
	}
	if c.Removal != nil {
		for i := range c.Removal.NewKeys {
			known[c.Removal.NewKeys[i].ID] = true
		}
	}
	var needs [][]byte
	need := func(list []store.SealedSegment) {
		for i := range list {
			if k := &list[i].Key; !known[*k] {
				known[*k] = true
				needs = append(needs, k[:])
			}
		}
	}
	need(c.Sealed)
	if c.Removal != nil {
		need(c.Removal.Replace)
	}
	return needs
}
