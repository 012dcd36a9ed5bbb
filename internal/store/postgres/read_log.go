package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

const (
	sqlLogs = `SELECT tenant_id, log_no, origin, vkey, wrapped_key FROM logs
		ORDER BY tenant_id, log_no`
	sqlLogsOf = `SELECT tenant_id, log_no, origin, vkey, wrapped_key FROM logs
		WHERE tenant_id = $1 ORDER BY log_no`
	sqlLog  = `SELECT 1 FROM logs WHERE tenant_id = $1 AND log_no = $2`
	sqlHead = `SELECT size, root, note FROM heads WHERE tenant_id = $1 AND log_no = $2`

	// A segment has at most maxSegment leaves: one that overlaps begins less than
	// that before $3.
	sqlSegments = `SELECT first, count, data FROM leaf_segments
		WHERE tenant_id = $1 AND log_no = $2 AND first > $3 AND first < $4 ORDER BY first LIMIT $5`
	sqlTile = `SELECT data FROM tiles
		WHERE tenant_id = $1 AND log_no = $2 AND level = $3 AND n = $4`
	sqlTiles = `SELECT level, n, data FROM tiles
		WHERE tenant_id = $1 AND log_no = $2 AND (level, n) > ($3, $4) ORDER BY level, n LIMIT $5`
	sqlCheckpoints = `SELECT size, note FROM checkpoints
		WHERE tenant_id = $1 AND log_no = $2 AND size >= $3 ORDER BY size LIMIT $4`
	sqlSetting = `SELECT value FROM settings WHERE name = $1`
)

// maxSegment is the greatest number of leaves in a leaf segment.
const maxSegment = 256

// Logs implements store.Reader.
func (q queries) Logs(ctx context.Context, tenant string) ([]store.Log, error) {
	var logs []store.Log
	query, args := sqlLogs, []any(nil)
	if tenant != "" {
		query, args = sqlLogsOf, []any{tenant}
	}
	err := q.with(ctx, func(r *reader) error {
		return r.run(ctx, query, func(rows pgx.Rows) error {
			var l store.Log
			err := scan(rows, &l.Tenant, &l.No, &l.Origin, &l.VKey, &l.WrappedKey)
			logs = append(logs, l)
			return err
		}, args...)
	})
	return logs, err
}

// Head implements store.Reader.
func (q queries) Head(ctx context.Context, log store.LogRef) (store.Head, error) {
	var h store.Head
	err := q.with(ctx, func(r *reader) error {
		var root []byte
		found, err := r.one(ctx, sqlHead, []any{log.Tenant, log.No}, &h.Size, &root, &h.Note)
		switch {
		case err != nil:
			return err
		case !found:
			return notFound("head of log %d of tenant %s", log.No, log.Tenant)
		case !array(root, h.Root[:]):
			return fmt.Errorf("postgres: root of log %d of tenant %s is no hash: %w", log.No, log.Tenant, evidence.ErrTampered)
		}
		return nil
	})
	return h, err
}

// inLog lends a connection for a log; one that is not there is
// evidence.ErrNotFound. A log that was there once is not asked for again: nothing
// removes one. A replica may be behind that, and is asked.
func (q queries) inLog(ctx context.Context, log store.LogRef, f func(r *reader) error) error {
	return q.with(ctx, func(r *reader) error {
		if r.answers == nil && q.places.isThere(log) {
			return f(r)
		}
		var one int
		found, err := r.one(ctx, sqlLog, []any{log.Tenant, log.No}, &one)
		if err == nil && !found {
			err = notFound("log %d of tenant %s", log.No, log.Tenant)
		}
		if err != nil {
			return err
		}
		q.places.there(log)
		return f(r)
	})
}

// Segments implements store.Reader.
func (q queries) Segments(ctx context.Context, log store.LogRef, from, to int64, fn func(store.LeafSegment) error) error {
	from = max(from, 0)
	if from >= to {
		return nil
	}
	return q.inLog(ctx, log, func(r *reader) error {
		after := from - maxSegment
		// One segment holds one leaf at least.
		return pagesOf(to-after, func(limit int) (n int, err error) {
			err = r.run(ctx, sqlSegments, func(rows pgx.Rows) error {
				var seg store.LeafSegment
				if err := scan(rows, &seg.First, &seg.Count, &seg.Data); err != nil {
					return err
				}
				n, after = n+1, seg.First
				if seg.First+int64(seg.Count) <= from {
					return nil
				}
				return fn(seg)
			}, log.Tenant, log.No, after, to, limit)
			return n, err
		})
	})
}

// Tile implements store.Reader.
func (q queries) Tile(ctx context.Context, log store.LogRef, level int, n int64) ([]byte, error) {
	var data []byte
	err := q.with(ctx, func(r *reader) error {
		found, err := r.one(ctx, sqlTile, []any{log.Tenant, log.No, int64(level), n}, &data)
		if err == nil && !found {
			err = notFound("tile %d/%d of log %d of tenant %s", level, n, log.No, log.Tenant)
		}
		return err
	})
	return data, err
}

// Tiles implements store.Reader.
func (q queries) Tiles(ctx context.Context, log store.LogRef, fn func(store.Tile) error) error {
	return q.inLog(ctx, log, func(r *reader) error {
		last := store.Tile{Level: -1}
		return pages(func(limit int) (n int, err error) {
			err = r.run(ctx, sqlTiles, func(rows pgx.Rows) error {
				var t store.Tile
				if err := scan(rows, &t.Level, &t.N, &t.Data); err != nil {
					return err
				}
				n, last = n+1, t
				return fn(t)
			}, log.Tenant, log.No, int64(last.Level), last.N, limit)
			return n, err
		})
	})
}

// Checkpoints implements store.Reader.
func (q queries) Checkpoints(ctx context.Context, log store.LogRef, from int64, fn func(store.Checkpoint) error) error {
	return q.inLog(ctx, log, func(r *reader) error {
		return pages(func(limit int) (n int, err error) {
			err = r.run(ctx, sqlCheckpoints, func(rows pgx.Rows) error {
				var c store.Checkpoint
				if err := scan(rows, &c.Size, &c.Note); err != nil {
					return err
				}
				n, from = n+1, c.Size+1
				return fn(c)
			}, log.Tenant, log.No, from, limit)
			return n, err
		})
	})
}

// Setting implements store.Reader.
func (q queries) Setting(ctx context.Context, name string) (string, error) {
	var value string
	err := q.with(ctx, func(r *reader) error {
		found, err := r.one(ctx, sqlSetting, []any{name}, &value)
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
		return r.run(ctx, sqlSettings, func(rows pgx.Rows) error {
			var name, value string
			if err := scan(rows, &name, &value); err != nil {
				return err
			}
			return fn(name, value)
		})
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
		return r.run(ctx, sqlSettingsUnder, func(rows pgx.Rows) error {
			var name, value string
			if err := scan(rows, &name, &value); err != nil {
				return err
			}
			return fn(name, value)
		}, prefix, end, most)
	})
}

const sqlSettingsUnder = `SELECT name, left(value, $3) FROM settings WHERE name >= $1 AND name < $2 ORDER BY name`

// array copies exactly len(dst) bytes; anything else leaves zeros, which no
// random id is, and is false.
func array(b, dst []byte) bool {
	if len(b) != len(dst) {
		clear(dst)
		return false
	}
	copy(dst, b)
	return true
}
