package sqlite

import (
	"context"
	"math"
	"slices"

	"zombiezen.com/go/sqlite"

	"github.com/runledger/runledger/internal/store"
)

const (
	// From one component to the next: one search each, however many records.
	sqlComponents = `WITH RECURSIVE c(no) AS (
			SELECT (SELECT component FROM r_system INDEXED BY r_system_component
				WHERE row >> 40 = ?1 AND component IS NOT NULL ORDER BY component LIMIT 1)
			UNION ALL
			SELECT (SELECT component FROM r_system INDEXED BY r_system_component
				WHERE row >> 40 = ?1 AND component > c.no ORDER BY component LIMIT 1)
			FROM c WHERE c.no IS NOT NULL)
		SELECT no FROM c WHERE no IS NOT NULL`

	// The index is of all tenants: it is the rows that are of one log.
	sqlTraceAlias = `SELECT row, run_no FROM r_trace INDEXED BY r_trace_alias
		WHERE run_alias = ?1 AND row >= ?2 AND row < ?3 ORDER BY row DESC LIMIT 1`
	sqlRunAlias = `SELECT row, run_no FROM r_llm_run INDEXED BY r_llm_run_alias
		WHERE run_alias = ?1 AND row >= ?2 AND row < ?3 ORDER BY row DESC LIMIT 1`

	sqlTraceRun = `SELECT row, run_no FROM r_trace INDEXED BY idx_aos_traces_run_id
		WHERE run_no = ?1 AND trace_id = ?1 ORDER BY row DESC LIMIT 1`
	sqlTraceOtherRun = `SELECT row, run_no FROM r_trace INDEXED BY r_trace_other_run
		WHERE trace_id = ?1 AND run_no <> trace_id ORDER BY row DESC LIMIT 1`

	sqlRunning = `SELECT s.text, r.next_n, r.next_step, r.revision, r.last_row, r.open
		FROM run_states AS r INDEXED BY run_states_running CROSS JOIN spine AS s ON s.spine_no = r.run_no
		WHERE r.tenant_no = ?1 AND r.open = 1 AND r.revision = 0 AND r.run_no < ?2
		ORDER BY r.run_no DESC LIMIT ?3`
)

// eachLog calls f with the key of each log of a tenant, the newest first.
func (r *reader) eachLog(ctx context.Context, tenant int64, f func(key int64) (enough bool, err error)) error {
	var keys []int64
	if err := r.run(ctx, sqlLogKeys, func(s *sqlite.Stmt) error {
		keys = append(keys, s.ColumnInt64(0))
		return nil
	}, tenant); err != nil {
		return err
	}
	for _, key := range slices.Backward(keys) {
		if enough, err := f(key); err != nil || enough {
			return err
		}
	}
	return nil
}

// Components implements store.Reader.
func (q queries) Components(ctx context.Context, tenant string, limit int) ([]string, error) {
	var list []string
	err := q.ofTenant(ctx, tenant, func(r *reader, no int64) error {
		return r.eachLog(ctx, no, func(key int64) (bool, error) {
			return false, r.run(ctx, sqlComponents, func(s *sqlite.Stmt) error {
				text, err := r.name(ctx, s.ColumnInt64(0))
				list = append(list, text)
				return err
			}, key)
		})
	})
	if err != nil {
		return nil, err
	}
	slices.Sort(list)
	list = slices.Compact(list)
	return list[:max(0, min(limit, len(list)))], nil
}

// newest keeps the run of the newest row.
type newest struct{ row, run int64 }

func (n *newest) read(s *sqlite.Stmt) {
	if row := s.ColumnInt64(0); row > n.row && !s.ColumnIsNull(1) {
		n.row, n.run = row, s.ColumnInt64(1)
	}
}

// RunOfAlias implements store.Reader.
func (q queries) RunOfAlias(ctx context.Context, tenant, alias string) (string, error) {
	return q.runOf(ctx, tenant, func(r *reader, no int64, n *newest) error {
		return r.eachLog(ctx, no, func(key int64) (bool, error) {
			for _, query := range []string{sqlTraceAlias, sqlRunAlias} {
				if _, err := r.one(ctx, query, n.read, alias, rowKey(key, 0), rowKey(key+1, 0)); err != nil {
					return false, err
				}
			}
			return n.row > 0, nil
		})
	}, "alias "+alias)
}

// RunOfTrace implements store.Reader.
func (q queries) RunOfTrace(ctx context.Context, tenant, traceID string) (string, error) {
	return q.runOf(ctx, tenant, func(r *reader, no int64, n *newest) error {
		trace, found, err := r.spineNo(ctx, no, traceID)
		if err != nil || !found {
			return err
		}
		for _, query := range []string{sqlTraceRun, sqlTraceOtherRun} {
			if _, err := r.one(ctx, query, n.read, trace); err != nil {
				return err
			}
		}
		return nil
	}, "trace "+traceID)
}

// runOf returns the run that find finds, or evidence.ErrNotFound.
func (q queries) runOf(ctx context.Context, tenant string, find func(*reader, int64, *newest) error, what string) (run string, err error) {
	var n newest
	err = q.ofTenant(ctx, tenant, func(r *reader, no int64) error {
		if err := find(r, no, &n); err != nil || n.row == 0 {
			return err
		}
		run, err = r.spineText(ctx, no, n.run)
		return err
	})
	if err == nil && n.row == 0 {
		err = notFound("run of %s of tenant %s", what, tenant)
	}
	return run, err
}

// OpenRunsOf implements store.Reader. Runs are numbered in the order in which
// they were first seen.
func (q queries) OpenRunsOf(ctx context.Context, tenant, before string, limit int, fn func(store.RunState) error) error {
	return q.ofTenant(ctx, tenant, func(r *reader, no int64) error {
		below := int64(math.MaxInt64)
		if before != "" {
			var found bool
			var err error
			if below, found, err = r.spineNo(ctx, no, before); err != nil || !found {
				return err
			}
		}
		return r.run(ctx, sqlRunning, func(s *sqlite.Stmt) (err error) {
			state := store.RunState{Run: s.ColumnText(0)}
			if state.Last, err = r.position(ctx, readRun(&state, s, 1)); err != nil {
				return err
			}
			return fn(state)
		}, no, below, int64(max(limit, 0)))
	})
}
