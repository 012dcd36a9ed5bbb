package sqlite

import (
	"context"

	"zombiezen.com/go/sqlite"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

const (
	sqlExpiries = `SELECT tbl, from_leaf, to_leaf, by_row, before, synthetic, done
		FROM expiries WHERE log_key = ?1 ORDER BY tbl, from_leaf, by_row`
	sqlHolds = `SELECT id, scope, placed_row, released_row, from_at, until_at,
		(SELECT count(*) FROM hold_runs AS p WHERE p.hold_no = h.hold_no), (SELECT count(*) FROM hold_rows AS p WHERE p.hold_no = h.hold_no)
		FROM holds AS h WHERE tenant_no = ?1 ORDER BY placed_row`
	sqlHoldRuns = `SELECT s.text FROM holds AS h JOIN hold_runs AS p ON p.hold_no = h.hold_no JOIN spine AS s ON s.spine_no = p.run_no
		WHERE h.tenant_no = ?1 AND h.id = ?2 ORDER BY s.text`
	sqlHoldRows = `SELECT p.row FROM holds AS h JOIN hold_rows AS p ON p.hold_no = h.hold_no
		WHERE h.tenant_no = ?1 AND h.id = ?2 ORDER BY p.row`
	sqlHeldRun = `SELECT h.id FROM hold_runs AS p JOIN holds AS h ON h.hold_no = p.hold_no
		WHERE p.run_no = ?1 AND h.released_row IS NULL LIMIT 1`
	sqlHeldRow = `SELECT h.id FROM hold_rows AS p JOIN holds AS h ON h.hold_no = p.hold_no
		WHERE p.row = ?1 AND h.released_row IS NULL LIMIT 1`
	sqlArchives = `SELECT row, to_leaf, first_at, last_at, archive, name, manifest, bytes, at
		FROM archives WHERE row >= ?1 AND row <= ?2 ORDER BY row`
	// Of one log, so that the index by key has them in order.
	sqlSealedUnder = `SELECT row, id, key_id, data FROM sealed_segments
		WHERE key_id = ?1 AND row > ?2 AND row <= ?3 ORDER BY row LIMIT ?4`
	sqlLogsFrom = `SELECT log_key, log_no FROM logs WHERE tenant_no = ?1 AND log_no >= ?2 ORDER BY log_no`
)

// tenantLog is a log of a tenant.
type tenantLog struct {
	key int64
	no  int
}

// logsFrom returns a tenant's logs from a number on, in order.
func (r *reader) logsFrom(ctx context.Context, tenant int64, no int) ([]tenantLog, error) {
	var logs []tenantLog
	err := r.run(ctx, sqlLogsFrom, func(s *sqlite.Stmt) error {
		logs = append(logs, tenantLog{s.ColumnInt64(0), s.ColumnInt(1)})
		return nil
	}, tenant, int64(no))
	return logs, err
}

// Expiries implements store.Reader.
func (q queries) Expiries(ctx context.Context, tenant string, fn func(store.Expiry) error) error {
	return q.ofTenant(ctx, tenant, func(r *reader, no int64) error {
		logs, err := r.logsFrom(ctx, no, 0)
		if err != nil {
			return err
		}
		for _, l := range logs {
			err := r.run(ctx, sqlExpiries, func(s *sqlite.Stmt) (err error) {
				e := store.Expiry{
					LogNo: l.no, Table: s.ColumnText(0), From: s.ColumnInt64(1), To: s.ColumnInt64(2),
					Before: evidence.Micros(s.ColumnInt64(4)), Synthetic: s.ColumnBool(5), Done: s.ColumnBool(6),
				}
				if e.By, err = r.position(ctx, s.ColumnInt64(3)); err != nil {
					return err
				}
				return fn(e)
			}, l.key)
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// Holds implements store.Reader.
func (q queries) Holds(ctx context.Context, tenant string, fn func(store.Hold) error) error {
	return q.ofTenant(ctx, tenant, func(r *reader, no int64) error {
		return r.run(ctx, sqlHolds, func(s *sqlite.Stmt) (err error) {
			h := store.Hold{
				ID: s.ColumnText(0), Scope: s.ColumnText(1),
				From: evidence.Micros(s.ColumnInt64(4)), Until: evidence.Micros(s.ColumnInt64(5)),
				NRuns: s.ColumnInt64(6), NRecord: s.ColumnInt64(7),
			}
			if h.Placed, err = r.position(ctx, s.ColumnInt64(2)); err != nil {
				return err
			}
			if !s.ColumnIsNull(3) {
				if h.Released, err = r.position(ctx, s.ColumnInt64(3)); err != nil {
					return err
				}
			}
			return fn(h)
		}, no)
	})
}

// HoldParts implements store.Reader.
func (q queries) HoldParts(ctx context.Context, tenant, id string, fn func(run string, at store.Position) error) error {
	return q.ofTenant(ctx, tenant, func(r *reader, no int64) error {
		err := r.run(ctx, sqlHoldRuns, func(s *sqlite.Stmt) error { return fn(s.ColumnText(0), store.Position{}) }, no, id)
		if err != nil {
			return err
		}
		return r.run(ctx, sqlHoldRows, func(s *sqlite.Stmt) error {
			at, err := r.position(ctx, s.ColumnInt64(0))
			if err != nil {
				return err
			}
			return fn("", at)
		}, no, id)
	})
}

// HoldsMark implements store.Reader. It is always the same: nobody but this process places
// a hold, and that does not while it decides what goes.
func (q queries) HoldsMark(context.Context, string) (store.HoldsMark, error) {
	return store.HoldsMark{}, nil
}

// HeldRuns implements store.Reader.
func (q queries) HeldRuns(ctx context.Context, tenant string, runs []string) (map[string]string, error) {
	held := make(map[string]string)
	err := q.ofTenant(ctx, tenant, func(r *reader, no int64) error {
		for _, run := range runs {
			runNo, found, err := r.spineNo(ctx, no, run)
			if err != nil {
				return err
			}
			if !found {
				continue
			}
			if _, err := r.one(ctx, sqlHeldRun, func(s *sqlite.Stmt) { held[run] = s.ColumnText(0) }, runNo); err != nil {
				return err
			}
		}
		return ctx.Err()
	})
	return held, err
}

// HeldRecords implements store.Reader.
func (q queries) HeldRecords(ctx context.Context, tenant string, at []store.Position) (map[store.Position]string, error) {
	held := make(map[store.Position]string)
	err := q.ofTenant(ctx, tenant, func(r *reader, no int64) error {
		logs, err := r.logsFrom(ctx, no, 0)
		if err != nil {
			return err
		}
		keys := make(map[int]int64, len(logs))
		for _, l := range logs {
			keys[l.no] = l.key
		}
		for _, p := range at {
			key, found := keys[p.LogNo]
			if !found || !inRange(p.Seq) {
				continue
			}
			if _, err := r.one(ctx, sqlHeldRow, func(s *sqlite.Stmt) { held[p] = s.ColumnText(0) }, rowKey(key, p.Seq)); err != nil {
				return err
			}
		}
		return ctx.Err()
	})
	return held, err
}

// Marks implements store.Reader.
func (q queries) Marks(ctx context.Context, log store.LogRef, kind evidence.Kind, from, to int64, fn func(*store.RowMark) error) error {
	t := topicOf(kind)
	from, to = max(from, 0), min(to, numberMask)
	if t == nil || from >= to {
		return nil
	}
	return q.with(ctx, func(r *reader) error {
		key, tenant, err := r.logKey(ctx, log)
		if err != nil {
			return err
		}
		var m store.RowMark
		return r.run(ctx, t.marks, func(s *sqlite.Stmt) (err error) {
			m = store.RowMark{
				Seq:          s.ColumnInt64(colRow) & numberMask,
				RecordedAt:   evidence.Micros(s.ColumnInt64(colRecordedAt)),
				OccurredAt:   evidence.Micros(s.ColumnInt64(colOccurredAt)),
				Synthetic:    s.ColumnBool(colFields),
				Segment:      segmentNo(s, colSegment),
				ActorSegment: segmentNo(s, colActorSegment),
			}
			if !s.ColumnIsNull(colRun) {
				if m.Run, err = r.spineText(ctx, tenant, s.ColumnInt64(colRun)); err != nil {
					return err
				}
			}
			return fn(&m)
		}, rowKey(key, from), rowKey(key, to))
	})
}

// Archives implements store.Reader.
func (q queries) Archives(ctx context.Context, log store.LogRef, fn func(store.ArchiveUnit) error) error {
	return q.with(ctx, func(r *reader) error {
		var key int64
		found, err := r.one(ctx, sqlFindLog, func(s *sqlite.Stmt) { key = s.ColumnInt64(0) }, log.Tenant, int64(log.No))
		if err != nil || !found {
			return err
		}
		return r.run(ctx, sqlArchives, func(s *sqlite.Stmt) error { return fn(readArchive(s, log)) }, rowKey(key, 0), rowKey(key, numberMask))
	})
}

func readArchive(s *sqlite.Stmt, log store.LogRef) store.ArchiveUnit {
	u := store.ArchiveUnit{
		LogRef: log, From: s.ColumnInt64(0) & numberMask, To: s.ColumnInt64(1),
		FirstAt: evidence.Micros(s.ColumnInt64(2)), LastAt: evidence.Micros(s.ColumnInt64(3)),
		Archive: s.ColumnText(4), Name: s.ColumnText(5), Bytes: s.ColumnInt64(7),
		At: evidence.Micros(s.ColumnInt64(8)),
	}
	array(s, 6, u.Manifest[:])
	return u
}

// SealedUnder implements store.Reader.
func (q queries) SealedUnder(ctx context.Context, tenant string, key store.KeyID, after store.SegmentRef, limit int, fn func(store.SealedSegment) error) error {
	if limit <= 0 {
		return nil
	}
	return q.ofTenant(ctx, tenant, func(r *reader, no int64) error {
		logs, err := r.logsFrom(ctx, no, after.LogNo)
		if err != nil {
			return err
		}
		for _, l := range logs {
			from := rowKey(l.key, 0) - 1
			if l.no == after.LogNo {
				from = rowKey(l.key, min(max(after.No, -1), numberMask))
			}
			err := r.run(ctx, sqlSealedUnder, func(s *sqlite.Stmt) error {
				limit--
				return fn(readSealed(s, l.no))
			}, key[:], from, rowKey(l.key, numberMask), int64(limit))
			if err != nil || limit == 0 {
				return err
			}
		}
		return nil
	})
}
