package sqlite

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"zombiezen.com/go/sqlite"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

const (
	sqlAddExpiry = `INSERT INTO expiries (log_key, tbl, from_leaf, to_leaf, by_row, before, synthetic, done, restored)
		VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)`
	sqlFindExpiry = `SELECT to_leaf, before, synthetic FROM expiries
		WHERE log_key = ?1 AND tbl = ?2 AND from_leaf = ?3 AND by_row = ?4`
	sqlExpiryDone = `UPDATE expiries SET done = 1
		WHERE log_key = ?1 AND tbl = ?2 AND from_leaf = ?3 AND by_row = ?4 AND done = 0`
	// What is in force of a tenant: 2 where a hold of the whole tenant is, 1 another.
	sqlInForce = `SELECT max(1 + (scope = 'tenant')) FROM holds WHERE tenant_no = ?1 AND released_row IS NULL`

	sqlLeavesEnd  = `SELECT max(to_leaf) FROM expiries WHERE log_key = ?1 AND tbl = 'leaf_segments'`
	sqlLeavesDone = `UPDATE expiries SET done = 1 WHERE log_key = ?1 AND tbl = 'leaf_segments' AND done = 0`
	sqlLeavesLeft = `SELECT count(*) FROM leaf_segments WHERE row >= ?1 AND row < ?2 AND row + count <= ?2`
	sqlLeavesOne  = `SELECT 1 FROM leaf_segments WHERE row >= ?1 AND row < ?2 AND row + count <= ?2 LIMIT 1`
	sqlDropLeaves = `DELETE FROM leaf_segments WHERE row IN (` +
		`SELECT row FROM leaf_segments WHERE row >= ?1 AND row < ?2 AND row + count <= ?2 ORDER BY row LIMIT ?3)`
)

// notHeld leaves out what holds of a time, a run or a subject cover; ?5 is the
// tenant. The triggers ask the same, and refuse where this does not leave out.
const notHeld = ` AND NOT EXISTS (SELECT 1 FROM holds AS h WHERE h.tenant_no = ?5 AND h.released_row IS NULL AND h.scope = 'time'
		AND ((r.occurred_at >= h.from_at AND r.occurred_at < h.until_at) OR (r.recorded_at >= h.from_at AND r.recorded_at < h.until_at)))
	AND NOT EXISTS (SELECT 1 FROM hold_runs AS p JOIN holds AS h ON h.hold_no = p.hold_no WHERE p.run_no = r.run_no AND h.released_row IS NULL)
	AND NOT EXISTS (SELECT 1 FROM hold_rows AS p JOIN holds AS h ON h.hold_no = p.hold_no WHERE p.row = r.row AND h.released_row IS NULL)`

// sqlDropIndex removes the index entries of rows that are no more.
var sqlDropIndex = func() string {
	q := `DELETE FROM sealed_index AS i WHERE row >= ?1 AND row < ?2`
	for _, k := range evidence.Kinds() {
		q += ` AND NOT EXISTS (SELECT 1 FROM ` + topicOf(k).table + ` AS r WHERE r.row = i.row)`
	}
	return q
}()

// run executes a statement that returns nothing.
func (w *writer) run(query string, args ...any) error {
	return w.query(query, func(*sqlite.Stmt) {}, args...)
}

// query executes a statement and calls row for each row of its result.
func (w *writer) query(query string, row func(*sqlite.Stmt), args ...any) error {
	s, err := w.conn.Prepare(query)
	if err != nil {
		return err
	}
	return exec(context.Background(), s, func(s *sqlite.Stmt) error {
		row(s)
		return nil
	}, args)
}

// forbidden gives what a trigger of lifecycle refused its sentinel.
func forbidden(err error, format string, args ...any) error {
	what := fmt.Sprintf(format, args...)
	switch {
	case err == nil || !isGuard(err):
		return err
	case isHeld(err):
		return fmt.Errorf("sqlite: %s: %w: %w", what, store.ErrHeld, err)
	case strings.Contains(err.Error(), "row exists"):
		return fmt.Errorf("sqlite: %s is there already, and another: %w: %w", what, evidence.ErrConflict, err)
	}
	return fmt.Errorf("sqlite: %s: %w: %w", what, evidence.ErrForbidden, err)
}

// isHeld reports that a trigger refused because of a hold.
func isHeld(err error) bool { return isGuard(err) && strings.Contains(err.Error(), "is held") }

// expiryKey is what names an expiry in its table.
type expiryKey struct {
	log, by int64
	t       *topic // nil: of leaf segments
}

// expiryKey looks up what an expiry is about.
func (w *writer) expiryKey(tenant string, e *store.Expiry) (k expiryKey, err error) {
	if e.From < 0 || e.From >= e.To || !inRange(e.To) {
		return k, invalid("an expiry of leaves %d to %d", e.From, e.To)
	}
	if k.t = topicOf(evidence.KindOfTable(e.Table)); k.t == nil && e.Table != store.TableLeaves {
		return k, invalid("an expiry of %q", e.Table)
	}
	if k.log, _, err = w.logKey(store.LogRef{Tenant: tenant, No: e.LogNo}); err != nil {
		return k, err
	}
	k.by, err = w.position(tenant, e.By)
	return k, err
}

// addExpiries writes down which rows may go; triggers ask whether they may.
func (w *writer) addExpiries(tenant string, list []store.Expiry, restored bool) error {
	for i := range list {
		e := &list[i]
		k, err := w.expiryKey(tenant, e)
		if err != nil {
			return err
		}
		flags := map[bool]int64{true: 1}
		err = w.run(sqlAddExpiry, k.log, e.Table, e.From, e.To, k.by, int64(e.Before), flags[e.Synthetic], flags[e.Done], flags[restored])
		if err = forbidden(err, "expiry of %s by record %d of log %d", e.Table, e.By.Seq, e.By.LogNo); err != nil {
			return err
		}
	}
	return nil
}

// written looks an expiry up and says whether it is there, and the same.
func (w *writer) written(k expiryKey, e *store.Expiry) (found, same bool, err error) {
	err = w.query(sqlFindExpiry, func(s *sqlite.Stmt) {
		found = true
		same = s.ColumnInt64(0) == e.To && s.ColumnInt64(1) == int64(e.Before) && s.ColumnBool(2) == e.Synthetic
	}, k.log, e.Table, e.From, k.by)
	return found, same, err
}

// Expire implements store.Store.
func (db *DB) Expire(ctx context.Context, tenant string, list []store.Expiry, from, to int64, done bool, r *store.Removal) (rows int64, err error) {
	w, err := db.writing()
	if err != nil {
		return 0, err
	}
	err = w.transact(ctx, func() (err error) {
		rows, err = w.expire(tenant, list, from, to, done, r)
		return err
	})
	if err != nil {
		return 0, err
	}
	return rows, nil
}

func (w *writer) expire(tenant string, list []store.Expiry, from, to int64, done bool, r *store.Removal) (rows int64, err error) {
	if len(list) == 0 {
		return 0, invalid("no expiry to carry out")
	}
	if r != nil && !slices.ContainsFunc(list, func(e store.Expiry) bool { return e.By == r.By }) {
		return 0, fmt.Errorf("sqlite: record %d of log %d orders none of these expiries: %w", r.By.Seq, r.By.LogNo, evidence.ErrForbidden)
	}
	_, no, err := w.logKey(store.LogRef{Tenant: tenant, No: list[0].LogNo})
	if err == nil {
		err = w.removing()
	}
	if err != nil {
		return 0, err
	}
	var inForce int64
	if err := w.query(sqlInForce, func(s *sqlite.Stmt) { inForce = s.ColumnInt64(0) }, no); err != nil {
		return 0, err
	}
	if inForce > 1 {
		return 0, fmt.Errorf("sqlite: expiry of tenant %s: %w", tenant, store.ErrHeld)
	}
	keys := make([]expiryKey, len(list))
	for i := range list {
		e := &list[i]
		if e.LogNo != list[0].LogNo {
			return 0, invalid("expiries of log %d and log %d at once", list[0].LogNo, e.LogNo)
		}
		if keys[i], err = w.expiryKey(tenant, e); err != nil {
			return 0, err
		}
		if _, same, err := w.written(keys[i], e); err != nil || !same {
			if err == nil {
				err = fmt.Errorf("sqlite: expiry of %s by record %d of log %d is not written down: %w", e.Table, e.By.Seq, e.By.LogNo, evidence.ErrForbidden)
			}
			return 0, err
		}
	}
	for i := range list {
		n, err := w.dropRows(keys[i], &list[i], from, to, no, inForce > 0)
		if err != nil {
			return 0, err
		}
		rows += n
	}
	for i := range list {
		if done && list[i].Table != store.TableLeaves { // of leaves ExpireLeaves says it
			if err := w.run(sqlExpiryDone, keys[i].log, list[i].Table, list[i].From, keys[i].by); err != nil {
				return 0, err
			}
		}
	}
	if r != nil {
		return rows, w.remove(tenant, no, r)
	}
	return rows, nil
}

// dropRows removes, by one statement, what of an expiry lies between two leaves, and
// then the index entries of what is gone.
func (w *writer) dropRows(k expiryKey, e *store.Expiry, from, to, tenant int64, held bool) (int64, error) {
	from, to = max(from, e.From), min(to, e.To)
	if k.t == nil || from >= to {
		return 0, nil
	}
	query := k.t.drop
	args := []any{rowKey(k.log, from), rowKey(k.log, to), int64(e.Before), map[bool]int64{true: 1}[e.Synthetic]}
	if held {
		query, args = query+notHeld, append(args, tenant)
	}
	if err := forbidden(w.run(query, args...), "rows of %s", e.Table); err != nil {
		return 0, err
	}
	n := int64(w.conn.Changes())
	if n == 0 {
		return 0, nil
	}
	if err := w.seeExpired(); err != nil {
		return 0, err
	}
	return n, forbidden(w.run(sqlDropIndex, args[:2]...), "index entries")
}

// ExpireLeaves implements store.Store. What is left is counted outside of the
// transaction, for that can take a while.
func (db *DB) ExpireLeaves(ctx context.Context, log store.LogRef, limit int) (left int64, err error) {
	w, err := db.writing()
	if err != nil {
		return 0, err
	}
	var first, end int64
	more := false
	err = w.transact(ctx, func() error {
		key, _, err := w.logKey(log)
		if err != nil {
			return err
		}
		first = rowKey(key, 0)
		if err := w.query(sqlLeavesEnd, func(s *sqlite.Stmt) { end = first + s.ColumnInt64(0) }, key); err != nil {
			return err
		}
		if end == first { // nothing was ordered
			return nil
		}
		if limit > 0 {
			if err := w.removing(); err != nil {
				return err
			}
			if err := forbidden(w.run(sqlDropLeaves, first, end, int64(limit)), "leaf segments"); err != nil {
				return err
			}
		}
		if err := w.query(sqlLeavesOne, func(*sqlite.Stmt) { more = true }, first, end); err != nil || more {
			return err
		}
		return w.run(sqlLeavesDone, key)
	})
	if err != nil || !more {
		return 0, err
	}
	err = db.with(ctx, func(r *reader) error {
		_, err := r.one(ctx, sqlLeavesLeft, func(s *sqlite.Stmt) { left = s.ColumnInt64(0) }, first, end)
		return err
	})
	return left, err
}

// Remove implements store.Store.
func (db *DB) Remove(ctx context.Context, tenant string, r *store.Removal) error {
	w, err := db.writing()
	if err != nil || r == nil {
		return err
	}
	return w.transact(ctx, func() error {
		_, no, err := w.logKey(store.LogRef{Tenant: tenant, No: r.By.LogNo})
		if err != nil {
			return err
		}
		return w.remove(tenant, no, r)
	})
}

// DropExpired implements store.Store: there are no partitions. Pages that are free are
// used again.
func (db *DB) DropExpired(context.Context) ([]string, error) { return nil, db.isOpen() }

// PlanDrop implements store.Store: there are no partitions.
func (db *DB) PlanDrop(context.Context) ([]string, error) { return nil, db.isOpen() }

// DropPlanned implements store.Store: there are no partitions.
func (db *DB) DropPlanned(context.Context) (dropped, left []string, err error) {
	return nil, nil, db.isOpen()
}

func (db *DB) isOpen() error {
	if db.closed.Load() {
		return errClosed
	}
	return nil
}
