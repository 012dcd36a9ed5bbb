package sqlite

import (
	"bytes"
	"context"
	"fmt"

	"zombiezen.com/go/sqlite"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

// queries are the methods of store.Reader, over whatever lends a connection:
// the pool, or a snapshot.
type queries struct {
	with func(ctx context.Context, f func(*reader) error) error
}

const (
	sqlLogs = `SELECT t.tenant_id, l.log_no, l.origin, l.vkey, l.wrapped_key
		FROM tenants AS t JOIN logs AS l ON l.tenant_no = t.tenant_no
		ORDER BY t.tenant_id, l.log_no`
	sqlLogsOf = `SELECT t.tenant_id, l.log_no, l.origin, l.vkey, l.wrapped_key
		FROM tenants AS t JOIN logs AS l ON l.tenant_no = t.tenant_no
		WHERE t.tenant_id = ?1 ORDER BY l.log_no`
	sqlHead       = `SELECT size, root, note FROM heads WHERE log_key = ?1`
	sqlTenant     = `SELECT tenant_no FROM tenants WHERE tenant_id = ?1`
	sqlLogOf      = `SELECT tenant_no, log_no FROM logs WHERE log_key = ?1`
	sqlLogKeys    = `SELECT log_key FROM logs WHERE tenant_no = ?1 ORDER BY log_no`
	sqlSegments   = `SELECT row, count, data FROM leaf_segments WHERE row > ?1 AND row < ?2 ORDER BY row`
	sqlTile       = `SELECT data FROM tiles WHERE row = ?1`
	sqlTiles      = `SELECT row, data FROM tiles WHERE row >= ?1 AND row <= ?2 ORDER BY row`
	sqlCheckpoint = `SELECT row, note FROM checkpoints WHERE row >= ?1 AND row <= ?2 ORDER BY row`
)

// maxSegment is the greatest number of leaves in a leaf segment.
const maxSegment = 256

// logKey returns the keys of a log and its tenant, or evidence.ErrNotFound.
func (r *reader) logKey(ctx context.Context, ref store.LogRef) (key, tenant int64, err error) {
	found, err := r.one(ctx, sqlFindLog, func(s *sqlite.Stmt) {
		key, tenant = s.ColumnInt64(0), s.ColumnInt64(1)
	}, ref.Tenant, int64(ref.No))
	if err == nil && !found {
		err = notFound("log %d of tenant %s", ref.No, ref.Tenant)
	}
	return key, tenant, err
}

// tenant returns a tenant's number; found is false where it has none.
func (r *reader) tenant(ctx context.Context, id string) (no int64, found bool, err error) {
	found, err = r.one(ctx, sqlTenant, func(s *sqlite.Stmt) { no = s.ColumnInt64(0) }, id)
	return no, found, err
}

// logInfo returns what a log key stands for. One that stands for nothing has
// number 0, which no log has.
func (r *reader) logInfo(ctx context.Context, key int64) (logInfo, error) {
	if l, ok := r.logs[key]; ok {
		return l, nil
	}
	var l logInfo
	if _, err := r.one(ctx, sqlLogOf, func(s *sqlite.Stmt) {
		l = logInfo{s.ColumnInt64(0), s.ColumnInt(1)}
	}, key); err != nil {
		return logInfo{}, err
	}
	return remember(r.logs, key, l), nil
}

// position reads a row key.
func (r *reader) position(ctx context.Context, row int64) (store.Position, error) {
	l, err := r.logInfo(ctx, row>>numberBits)
	return store.Position{LogNo: l.no, Seq: row & numberMask}, err
}

// Logs implements store.Reader.
func (q queries) Logs(ctx context.Context, tenant string) ([]store.Log, error) {
	var logs []store.Log
	query, args := sqlLogs, []any(nil)
	if tenant != "" {
		query, args = sqlLogsOf, []any{tenant}
	}
	err := q.with(ctx, func(r *reader) error {
		return r.run(ctx, query, func(s *sqlite.Stmt) error {
			logs = append(logs, store.Log{
				LogRef: store.LogRef{Tenant: s.ColumnText(0), No: s.ColumnInt(1)},
				Origin: s.ColumnText(2), VKey: s.ColumnText(3), WrappedKey: blob(s, 4),
			})
			return nil
		}, args...)
	})
	return logs, err
}

// Head implements store.Reader.
func (q queries) Head(ctx context.Context, log store.LogRef) (store.Head, error) {
	var h store.Head
	err := q.with(ctx, func(r *reader) error {
		key, _, err := r.logKey(ctx, log)
		if err != nil {
			return err
		}
		whole := false
		found, err := r.one(ctx, sqlHead, func(s *sqlite.Stmt) {
			h.Size = s.ColumnInt64(0)
			whole = s.ColumnLen(1) == copy(h.Root[:], blob(s, 1))
			h.Note = blob(s, 2)
		}, key)
		switch {
		case err != nil:
			return err
		case !found:
			return notFound("head of log %d of tenant %s", log.No, log.Tenant)
		case !whole:
			return fmt.Errorf("sqlite: root of log %d of tenant %s is no hash: %w", log.No, log.Tenant, evidence.ErrTampered)
		}
		return nil
	})
	return h, err
}

// Segments implements store.Reader.
func (q queries) Segments(ctx context.Context, log store.LogRef, from, to int64, fn func(store.LeafSegment) error) error {
	from, to = max(from, 0), min(to, numberMask)
	if from >= to {
		return nil
	}
	return q.inLog(ctx, log, func(r *reader, key int64) error {
		// A segment has at most maxSegment leaves: one that overlaps begins
		// less than that before from.
		after := max(rowKey(key, from)-maxSegment, rowKey(key, 0)-1)
		return r.run(ctx, sqlSegments, func(s *sqlite.Stmt) error {
			seg := store.LeafSegment{First: s.ColumnInt64(0) & numberMask, Count: s.ColumnInt(1)}
			if seg.First+int64(seg.Count) <= from {
				return nil
			}
			seg.Data = blob(s, 2)
			return fn(seg)
		}, after, rowKey(key, to))
	})
}

// inLog lends a connection and the key of a log; a log that is not there is
// evidence.ErrNotFound.
func (q queries) inLog(ctx context.Context, log store.LogRef, f func(r *reader, key int64) error) error {
	return q.with(ctx, func(r *reader) error {
		key, _, err := r.logKey(ctx, log)
		if err != nil {
			return err
		}
		return f(r, key)
	})
}

// Tile implements store.Reader.
func (q queries) Tile(ctx context.Context, log store.LogRef, level int, n int64) ([]byte, error) {
	var data []byte
	if level < 0 || level >= maxLevels || n < 0 || n > tileMask {
		return nil, notFound("tile %d/%d", level, n)
	}
	err := q.inLog(ctx, log, func(r *reader, key int64) error {
		found, err := r.one(ctx, sqlTile, func(s *sqlite.Stmt) { data = blob(s, 0) }, tileKey(key, level, n))
		if err == nil && !found {
			err = notFound("tile %d/%d", level, n)
		}
		return err
	})
	return data, err
}

// Tiles implements store.Reader.
func (q queries) Tiles(ctx context.Context, log store.LogRef, fn func(store.Tile) error) error {
	return q.inLog(ctx, log, func(r *reader, key int64) error {
		return r.run(ctx, sqlTiles, func(s *sqlite.Stmt) error {
			row := s.ColumnInt64(0) & numberMask
			return fn(store.Tile{Level: int(row >> tileBits), N: row & tileMask, Data: blob(s, 1)})
		}, rowKey(key, 0), rowKey(key, numberMask))
	})
}

// Checkpoints implements store.Reader.
func (q queries) Checkpoints(ctx context.Context, log store.LogRef, from int64, fn func(store.Checkpoint) error) error {
	from = max(from, 0)
	if !inRange(from) {
		return nil
	}
	return q.inLog(ctx, log, func(r *reader, key int64) error {
		return r.run(ctx, sqlCheckpoint, func(s *sqlite.Stmt) error {
			return fn(store.Checkpoint{Size: s.ColumnInt64(0) & numberMask, Note: blob(s, 1)})
		}, rowKey(key, from), rowKey(key, numberMask))
	})
}

// Setting implements store.Reader.
func (q queries) Setting(ctx context.Context, name string) (string, error) {
	var value string
	err := q.with(ctx, func(r *reader) error {
		found, err := r.one(ctx, sqlSetting, func(s *sqlite.Stmt) { value = s.ColumnText(0) }, name)
		if err == nil && !found {
			err = notFound("setting %s", name)
		}
		return err
	})
	return value, err
}

// Settings implements store.Reader.
func (q queries) Settings(ctx context.Context, fn func(name, value string) error) error {
	return q.with(ctx, func(r *reader) error {
		return r.run(ctx, sqlSettings, func(s *sqlite.Stmt) error { return fn(s.ColumnText(0), s.ColumnText(1)) })
	})
}

const sqlSettings = `SELECT name, value FROM settings ORDER BY name`

// SettingsUnder implements store.Reader.
func (q queries) SettingsUnder(ctx context.Context, prefix string, most int, fn func(name, value string) error) error {
	end, err := store.EndOfSettings(prefix)
	if err != nil {
		return err
	}
	return q.with(ctx, func(r *reader) error {
		return r.run(ctx, sqlSettingsUnder, func(s *sqlite.Stmt) error {
			return fn(s.ColumnText(0), s.ColumnText(1))
		}, prefix, end, int64(most))
	})
}

const sqlSettingsUnder = `SELECT name, substr(value, 1, ?3) FROM settings WHERE name >= ?1 AND name < ?2 ORDER BY name`

const sqlSetting = `SELECT value FROM settings WHERE name = ?1`

// array copies a column of exactly len(dst) bytes; anything else is left as
// zeros, which no random id is.
func array(s *sqlite.Stmt, col int, dst []byte) {
	if b := blob(s, col); len(b) == len(dst) {
		copy(dst, b)
	} else {
		copy(dst, bytes.Repeat([]byte{0}, len(dst)))
	}
}
