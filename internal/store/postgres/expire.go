package postgres

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

// Rows go through functions of the owner, which check for themselves; triggers check
// each row again. Neither takes the lock of a head: appends go on meanwhile, and whoever
// holds a claim may remove content beside it. Against holds that are placed at the same
// time the tables of holds are locked, see migrations/0010.

const (
	sqlExpireRows   = `SELECT runledger_expire_rows($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)`
	sqlExpireLeaves = `SELECT runledger_expire_leaves($1, $2, $3)`
)

// expiryColumns are expiries, a column each.
type expiryColumns struct {
	tables                                      []string
	logs, froms, tos, befores, byLogs, byLeaves []int64
	synthetic, done                             []bool
}

func columnsOf(list []store.Expiry) (c expiryColumns) {
	for i := range list {
		e := &list[i]
		c.tables, c.logs = append(c.tables, e.Table), append(c.logs, int64(e.LogNo))
		c.froms, c.tos, c.befores = append(c.froms, e.From), append(c.tos, e.To), append(c.befores, int64(e.Before))
		c.byLogs, c.byLeaves = append(c.byLogs, int64(e.By.LogNo)), append(c.byLeaves, e.By.Seq)
		c.synthetic, c.done = append(c.synthetic, e.Synthetic), append(c.done, e.Done)
	}
	return c
}

// Expire implements store.Store.
func (db *DB) Expire(ctx context.Context, tenant string, list []store.Expiry, from, to int64, done bool, r *store.Removal) (rows int64, err error) {
	if len(list) == 0 {
		return 0, invalid("no expiry")
	}
	if err := checkRemoval(r); err != nil {
		return 0, err
	}
	log := store.LogRef{Tenant: tenant, No: list[0].LogNo}
	for i := range list {
		if list[i].LogNo != log.No {
			return 0, invalid("expiries of logs %d and %d", log.No, list[i].LogNo)
		}
		if !storable(list[i].Table) {
			return 0, invalid("table %q", list[i].Table)
		}
	}
	if r != nil && !slices.ContainsFunc(list, func(e store.Expiry) bool { return e.By == r.By }) {
		return 0, fmt.Errorf("postgres: record %d of log %d is none of the expiries': %w", r.By.Seq, r.By.LogNo, evidence.ErrForbidden)
	}
	c := columnsOf(list)
	err = db.transact(ctx, func(ctx context.Context, conn *pooled) error {
		if err := beside(ctx, conn, log); err != nil {
			return err
		}
		expire := func(from, to int64, done bool) error {
			return conn.QueryRow(ctx, sqlExpireRows, tenant, log.No, c.tables, c.froms, c.tos, c.befores, c.synthetic, c.byLogs, c.byLeaves, from, to, done).Scan(&rows)
		}
		if r != nil { // first: no row goes before its content
			if err := expire(0, 0, false); err != nil { // removes nothing, and locks holds until the end
				return err
			}
			if err := sameHolds(ctx, conn, tenant, r.Holds); err != nil {
				return err
			}
			if err := removeBeside(ctx, conn, log, r); err != nil {
				return err
			}
		}
		return expire(from, to, done)
	})
	if err != nil {
		return 0, fmt.Errorf("expire: %w", err)
	}
	return rows, nil
}

// sameHolds sees that holds are those that a removal was decided by: who decided may have
// stood still since for longer than his turn was.
func sameHolds(ctx context.Context, conn *pooled, tenant string, want *store.HoldsMark) error {
	if want == nil {
		return nil
	}
	var have store.HoldsMark
	if err := conn.QueryRow(ctx, sqlHoldsMark, tenant).Scan(&have.Placed, &have.Released, &have.Runs, &have.Records); err != nil {
		return err
	}
	if have != *want {
		return fmt.Errorf("postgres: legal holds of tenant %s have changed meanwhile: %w", tenant, evidence.ErrConflict)
	}
	return nil
}

// ExpireLeaves implements store.Store.
func (db *DB) ExpireLeaves(ctx context.Context, log store.LogRef, limit int) (left int64, err error) {
	err = db.transact(ctx, func(ctx context.Context, conn *pooled) error {
		if err := beside(ctx, conn, log); err != nil {
			return err
		}
		return conn.QueryRow(ctx, sqlExpireLeaves, log.Tenant, log.No, limit).Scan(&left)
	})
	return left, err
}

// Remove implements store.Store.
func (db *DB) Remove(ctx context.Context, tenant string, r *store.Removal) error {
	if r == nil {
		return nil
	}
	if err := checkRemoval(r); err != nil {
		return err
	}
	return db.transact(ctx, func(ctx context.Context, conn *pooled) error {
		log := store.LogRef{Tenant: tenant, No: r.By.LogNo}
		if err := beside(ctx, conn, log); err != nil {
			return err
		}
		return removeBeside(ctx, conn, log, r)
	})
}

// beside begins what changes a log beside its commits: the log must be there, and its
// store in service. A copy of a store that is arriving is changed by who copies.
func beside(ctx context.Context, conn *pooled, log store.LogRef) error {
	mark, found := "", false
	b := &pgx.Batch{}
	queueFence(b, &mark)
	b.Queue(sqlLog, log.Tenant, log.No).Query(func(rows pgx.Rows) error {
		found = rows.Next()
		return nil
	})
	err := conn.SendBatch(ctx, b).Close()
	switch {
	case err != nil:
		return err
	case !found:
		return notFound("log %d of tenant %s", log.No, log.Tenant)
	}
	return fenced(ctx, mark)
}

// removeBeside carries out a removal outside of a commit. A key that the replacements
// need must be there; that it stays, its caller's claim sees to.
func removeBeside(ctx context.Context, conn *pooled, log store.LogRef, r *store.Removal) error {
	if err := addKeys(ctx, conn, log.Tenant, r.NewKeys); err != nil {
		return err
	}
	if needs := keysNeeded(&store.LogCommit{Removal: r}); len(needs) > 0 {
		have := 0
		if err := conn.QueryRow(ctx, sqlKeysHere, log.Tenant, needs).Scan(&have); err != nil {
			return err
		}
		if have < len(needs) {
			return fmt.Errorf("%w: %d of those that replacements of tenant %s are sealed under", store.ErrKeyGone, len(needs)-have, log.Tenant)
		}
	}
	return remove(ctx, conn, log, r)
}

// checkRemoval refuses a removal that does not fit together.
func checkRemoval(r *store.Removal) error {
	if r != nil && r.IDs != nil && len(r.IDs) != len(r.Segments) {
		return invalid("%d ids of %d sealed segments", len(r.IDs), len(r.Segments))
	}
	return nil
}

// wantIDs sees that the segments that went are those that a removal expects.
func wantIDs(r *store.Removal, gone map[store.SegmentRef][]byte) error {
	for i, id := range r.IDs {
		ref := r.Segments[i]
		if had, ok := gone[ref]; !ok || !bytes.Equal(had, id[:]) {
			return fmt.Errorf("postgres: sealed segment %d of log %d is gone, or was sealed anew: %w", ref.No, ref.LogNo, evidence.ErrConflict)
		}
	}
	return nil
}
