package postgres

import (
	"context"
	"math"

	"github.com/jackc/pgx/v5"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

// What lifecycle left, read. What decides whether something goes is asked of the
// primary, whatever a caller allows.

const (
	sqlExpiries = `SELECT log_no, table_name, first, until, before, synthetic, by_log, by_leaf, done FROM expiries
		WHERE tenant_id = $1 AND (log_no, table_name, first, by_log, by_leaf) > ($2, $3, $4, $5, $6)
		ORDER BY log_no, table_name, first, by_log, by_leaf LIMIT $7`

	// They are few.
	sqlHolds = `SELECT id, scope, placed_log, placed_leaf, coalesce(released_log, 0), coalesce(released_leaf, 0), from_at, until_at,
			(SELECT count(*) FROM hold_runs AS p WHERE p.tenant_id = h.tenant_id AND p.hold_id = h.id),
			(SELECT count(*) FROM hold_records AS p WHERE p.tenant_id = h.tenant_id AND p.hold_id = h.id)
		FROM holds AS h WHERE tenant_id = $1 ORDER BY placed_log, placed_leaf, id`
	sqlHoldRuns = `SELECT run_id FROM hold_runs
		WHERE tenant_id = $1 AND hold_id = $2 AND run_id > $3 ORDER BY run_id LIMIT $4`
	sqlHoldRecords = `SELECT log_no, leaf_index FROM hold_records
		WHERE tenant_id = $1 AND hold_id = $2 AND (log_no, leaf_index) > ($3, $4) ORDER BY log_no, leaf_index LIMIT $5`
	sqlHoldsMark = `SELECT (SELECT count(*) FROM holds WHERE tenant_id = $1), (SELECT count(*) FROM holds WHERE tenant_id = $1 AND released_log IS NOT NULL),
		(SELECT count(*) FROM hold_runs WHERE tenant_id = $1), (SELECT count(*) FROM hold_records WHERE tenant_id = $1)`
	sqlHeldRuns = `SELECT p.run_id, min(p.hold_id) FROM hold_runs AS p
		JOIN holds AS h ON h.tenant_id = p.tenant_id AND h.id = p.hold_id AND h.released_log IS NULL
		WHERE p.tenant_id = $1 AND p.run_id = ANY ($2::text[]) GROUP BY p.run_id`
	sqlHeldRecords = `SELECT p.log_no, p.leaf_index, min(p.hold_id) FROM unnest($2::bigint[], $3::bigint[]) AS u (log_no, leaf_index)
		JOIN hold_records AS p ON p.tenant_id = $1 AND p.log_no = u.log_no AND p.leaf_index = u.leaf_index
		JOIN holds AS h ON h.tenant_id = p.tenant_id AND h.id = p.hold_id AND h.released_log IS NULL
		GROUP BY p.log_no, p.leaf_index`

	archiveColumns = `SELECT first, until, first_at, last_at, archive, name, manifest, bytes, at FROM archives`
	sqlArchives    = archiveColumns + ` WHERE tenant_id = $1 AND log_no = $2 AND first > $3 ORDER BY first LIMIT $4`
	sqlArchive     = archiveColumns + ` WHERE tenant_id = $1 AND log_no = $2 AND first = $3`

	// BETWEEN: in an order that only the index of keys has (find_sql.go).
	sqlSealedUnder = `SELECT log_no, no, id, key_id, data FROM sealed_segments
		WHERE tenant_id = $1 AND key_id BETWEEN $2 AND $2 AND (log_no, no) > ($3, $4)
		ORDER BY key_id, log_no, no LIMIT $5`
)

// Expiries implements store.Reader.
func (q queries) Expiries(ctx context.Context, tenant string, fn func(store.Expiry) error) error {
	return q.with(ctx, func(r *reader) error {
		last := store.Expiry{LogNo: -1}
		return pages(func(limit int) (n int, err error) {
			err = r.run(ctx, sqlExpiries, func(rows pgx.Rows) error {
				var e store.Expiry
				err := scan(rows, &e.LogNo, &e.Table, &e.From, &e.To, &e.Before, &e.Synthetic, &e.By.LogNo, &e.By.Seq, &e.Done)
				if err != nil {
					return err
				}
				n, last = n+1, e
				return fn(e)
			}, tenant, last.LogNo, last.Table, last.From, last.By.LogNo, last.By.Seq, limit)
			return n, err
		})
	})
}

// Holds implements store.Reader.
func (q queries) Holds(ctx context.Context, tenant string, fn func(store.Hold) error) error {
	return q.with(ctx, func(r *reader) error {
		return r.run(ctx, sqlHolds, func(rows pgx.Rows) error {
			var h store.Hold
			err := scan(rows, &h.ID, &h.Scope, &h.Placed.LogNo, &h.Placed.Seq, &h.Released.LogNo, &h.Released.Seq, &h.From, &h.Until, &h.NRuns, &h.NRecord)
			if err != nil {
				return err
			}
			return fn(h)
		}, tenant)
	})
}

// HoldParts implements store.Reader.
func (q queries) HoldParts(ctx context.Context, tenant, id string, fn func(run string, at store.Position) error) error {
	return q.with(ctx, func(r *reader) error {
		after := "" // no run is called that
		err := pages(func(limit int) (n int, err error) {
			err = r.run(ctx, sqlHoldRuns, func(rows pgx.Rows) error {
				if err := scan(rows, &after); err != nil {
					return err
				}
				n++
				return fn(after, store.Position{})
			}, tenant, id, after, limit)
			return n, err
		})
		if err != nil {
			return err
		}
		last := store.Position{LogNo: -1}
		return pages(func(limit int) (n int, err error) {
			err = r.run(ctx, sqlHoldRecords, func(rows pgx.Rows) error {
				if err := scan(rows, &last.LogNo, &last.Seq); err != nil {
					return err
				}
				n++
				return fn("", last)
			}, tenant, id, last.LogNo, last.Seq, limit)
			return n, err
		})
	})
}

// HoldsMark implements store.Reader.
func (q queries) HoldsMark(ctx context.Context, tenant string) (m store.HoldsMark, err error) {
	err = q.with(store.NoLag(ctx), func(r *reader) error {
		_, err := r.one(ctx, sqlHoldsMark, []any{tenant}, &m.Placed, &m.Released, &m.Runs, &m.Records)
		return err
	})
	return m, err
}

// HeldRuns implements store.Reader.
func (q queries) HeldRuns(ctx context.Context, tenant string, runs []string) (map[string]string, error) {
	held := make(map[string]string)
	list := make([]string, 0, len(runs))
	for _, run := range runs {
		if storable(run) { // else no hold names it
			list = append(list, run)
		}
	}
	err := q.with(store.NoLag(ctx), func(r *reader) error {
		return r.run(ctx, sqlHeldRuns, func(rows pgx.Rows) error {
			var run, hold string
			err := scan(rows, &run, &hold)
			held[run] = hold
			return err
		}, tenant, list)
	})
	return held, err
}

// HeldRecords implements store.Reader.
func (q queries) HeldRecords(ctx context.Context, tenant string, at []store.Position) (map[store.Position]string, error) {
	held := make(map[store.Position]string)
	logs, leaves := positions(at)
	err := q.with(store.NoLag(ctx), func(r *reader) error {
		return r.run(ctx, sqlHeldRecords, func(rows pgx.Rows) error {
			var p store.Position
			var hold string
			err := scan(rows, &p.LogNo, &p.Seq, &hold)
			held[p] = hold
			return err
		}, tenant, logs, leaves)
	})
	return held, err
}

// positions are positions as two columns.
func positions(at []store.Position) (logs, leaves []int64) {
	logs, leaves = make([]int64, len(at)), make([]int64, len(at))
	for i, p := range at {
		logs[i], leaves[i] = int64(p.LogNo), p.Seq
	}
	return logs, leaves
}

// Marks implements store.Reader.
func (q queries) Marks(ctx context.Context, log store.LogRef, kind evidence.Kind, from, to int64, fn func(*store.RowMark) error) error {
	t := topicOf(kind)
	if t == nil || from >= to {
		return nil
	}
	return q.inLog(store.NoLag(ctx), log, func(r *reader) error {
		var m store.RowMark
		var synthetic int64
		last, at := from-1, int64(math.MaxInt64)
		return wide(to-from+1, func(limit int) (n int, err error) {
			err = r.run(ctx, t.marks, func(rows pgx.Rows) error {
				err := scan(rows, &m.Seq, &m.RecordedAt, &m.OccurredAt, &m.Run, &synthetic, &m.Segment, &m.ActorSegment)
				if err != nil {
					return err
				}
				m.Synthetic = synthetic == 1
				n, last, at = n+1, m.Seq, int64(m.RecordedAt)
				return fn(&m)
			}, log.Tenant, log.No, last, at, to, limit)
			return n, err
		})
	})
}

// Archives implements store.Reader.
func (q queries) Archives(ctx context.Context, log store.LogRef, fn func(store.ArchiveUnit) error) error {
	return q.with(ctx, func(r *reader) error {
		last := int64(-1)
		return pages(func(limit int) (n int, err error) {
			err = r.run(ctx, sqlArchives, func(rows pgx.Rows) error {
				u, err := readArchive(rows, log)
				if err != nil {
					return err
				}
				n, last = n+1, u.From
				return fn(u)
			}, log.Tenant, log.No, last, limit)
			return n, err
		})
	})
}

func readArchive(rows pgx.Rows, log store.LogRef) (store.ArchiveUnit, error) {
	u := store.ArchiveUnit{LogRef: log}
	var manifest []byte
	err := scan(rows, &u.From, &u.To, &u.FirstAt, &u.LastAt, &u.Archive, &u.Name, &manifest, &u.Bytes, &u.At)
	array(manifest, u.Manifest[:])
	return u, err
}

// SealedUnder implements store.Reader.
func (q queries) SealedUnder(ctx context.Context, tenant string, key store.KeyID, after store.SegmentRef, limit int, fn func(store.SealedSegment) error) error {
	if limit <= 0 {
		return nil
	}
	return q.with(store.NoLag(ctx), func(r *reader) error {
		return r.run(ctx, sqlSealedUnder, func(rows pgx.Rows) error {
			var seg store.SealedSegment
			var id, key []byte
			err := scan(rows, &seg.LogNo, &seg.No, &id, &key, &seg.Data)
			if err != nil {
				return err
			}
			array(id, seg.ID[:])
			array(key, seg.Key[:])
			return fn(seg)
		}, tenant, key[:], after.LogNo, after.No, limit)
	})
}
