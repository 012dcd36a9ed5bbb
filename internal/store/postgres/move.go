package postgres

import (
	"context"
	"math"

	"github.com/jackc/pgx/v5"

	"github.com/runledger/runledger/internal/store"
)

const (
	sqlSealedRange = `SELECT no, id, key_id, data, recorded_at FROM sealed_segments
		WHERE tenant_id = $1 AND log_no = $2 AND (no, recorded_at) > ($3, $4) AND no < $5
		ORDER BY no, recorded_at LIMIT $6`

	sqlRemovals = `SELECT what, log_no, ref, id, name, by_log, by_leaf FROM removals
		WHERE tenant_id = $1 AND (what, log_no, ref, id, name, by_log, by_leaf) > ($2, $3, $4, $5, $6, $7, $8)
		ORDER BY what, log_no, ref, id, name, by_log, by_leaf LIMIT $9`

	sqlKeepRemovals = `SELECT runledger_keep_removals($1, $2, $3, $4, $5, $6, $7, $8)`

	sqlAddCheckpoints = `INSERT INTO checkpoints (tenant_id, log_no, size, note)
		SELECT $1, $2, u.size, u.note FROM unnest($3::bigint[], $4::bytea[]) AS u (size, note)
		ON CONFLICT DO NOTHING`

	// Whoever is connected to this database in the same role, under a name as
	// runledger's processes have it, but for this one's. Another role's sessions
	// cannot be seen by all.
	sqlOthers = `SELECT DISTINCT application_name FROM pg_stat_activity
		WHERE datname = current_database() AND usename = session_user
		AND application_name LIKE 'runledger%' AND application_name <> current_setting('application_name')
		ORDER BY application_name`
)

// SealedRange implements store.Mover.
func (q queries) SealedRange(ctx context.Context, log store.LogRef, from, to int64, fn func(store.SealedSegment) error) error {
	return q.inLog(ctx, log, func(r *reader) error {
		last, at := from-1, int64(math.MaxInt64)
		return pages(func(limit int) (n int, err error) {
			err = r.run(ctx, sqlSealedRange, func(rows pgx.Rows) error {
				seg, recorded, err := readSealed(rows, log.No)
				if err != nil {
					return err
				}
				n, last, at = n+1, seg.No, recorded
				return fn(seg)
			}, log.Tenant, log.No, last, at, to, limit)
			return n, err
		})
	})
}

// Removals implements store.Mover.
func (q queries) Removals(ctx context.Context, tenant string, fn func(store.Removed) error) error {
	return q.with(ctx, func(r *reader) error {
		var last store.Removed
		lastID := []byte{}
		return pages(func(limit int) (n int, err error) {
			err = r.run(ctx, sqlRemovals, func(rows pgx.Rows) error {
				var e store.Removed
				var id []byte
				if err := scan(rows, &e.What, &e.LogNo, &e.No, &id, &e.Name, &e.By.LogNo, &e.By.Seq); err != nil {
					return err
				}
				array(id, e.ID[:])
				n, last, lastID = n+1, e, note(id)
				return fn(e)
			}, tenant, last.What, last.LogNo, last.No, lastID, last.Name, last.By.LogNo, last.By.Seq, limit)
			return n, err
		})
	})
}

// KeepRemovals implements store.Mover.
func (db *DB) KeepRemovals(ctx context.Context, tenant string, list []store.Removed) error {
	n := len(list)
	what, names, ids := make([]string, n), make([]string, n), make([][]byte, n)
	logs, refs, byLogs, byLeaves := make([]int64, n), make([]int64, n), make([]int64, n), make([]int64, n)
	for i := range list {
		e := &list[i]
		switch e.What {
		case store.RemovedSegment:
			logs[i], refs[i], ids[i] = int64(e.LogNo), e.No, e.ID[:]
		case store.RemovedIndex:
			logs[i], refs[i], ids[i], names[i] = int64(e.LogNo), e.No, []byte{}, e.Name
		case store.RemovedKey:
			ids[i] = e.ID[:]
		default:
			return invalid("a removal of %q", e.What)
		}
		what[i], byLogs[i], byLeaves[i] = e.What, int64(e.By.LogNo), e.By.Seq
	}
	return db.transact(ctx, func(ctx context.Context, c *pooled) error {
		if err := wantLog(ctx, c, store.LogRef{Tenant: tenant, No: 1}); err != nil || n == 0 { // every tenant has it
			return err
		}
		_, err := c.Exec(ctx, sqlKeepRemovals, tenant, what, logs, refs, ids, names, byLogs, byLeaves)
		return refusedRemoval(err, list[0].By)
	})
}

// KeepCheckpoints implements store.Mover.
func (db *DB) KeepCheckpoints(ctx context.Context, log store.LogRef, list []store.Checkpoint) error {
	sizes, notes := make([]int64, len(list)), make([][]byte, len(list))
	for i, c := range list {
		if c.Size < 0 {
			return invalid("checkpoint of size %d", c.Size)
		}
		sizes[i], notes[i] = c.Size, note(c.Note)
	}
	return db.transact(ctx, func(ctx context.Context, c *pooled) error {
		if err := wantLog(ctx, c, log); err != nil {
			return err
		}
		tag, err := c.Exec(ctx, sqlAddCheckpoints, log.Tenant, log.No, sizes, notes)
		if err != nil || tag.RowsAffected() == int64(len(list)) {
			return err
		}
		for _, point := range list { // which of them is there, and is it the same?
			if err := keepCheckpoint(ctx, c, log, point); err != nil {
				return err
			}
		}
		return nil
	})
}

// Others implements store.Mover.
func (db *DB) Others(ctx context.Context) (list []string, err error) {
	err = db.with(ctx, func(r *reader) error {
		return r.run(ctx, sqlOthers, func(rows pgx.Rows) error {
			var name string
			if err := scan(rows, &name); err != nil {
				return err
			}
			list = append(list, name)
			return nil
		})
	})
	return list, err
}
