package postgres

import (
	"context"
	"math"

	"github.com/jackc/pgx/v5"

	"github.com/runledger/runledger/internal/store"
)

const (
	// From one component to the next: one search each, however many records.
	sqlComponents = `WITH RECURSIVE c (name) AS (
			(SELECT component FROM system_records WHERE tenant_id = $1 AND component IS NOT NULL ORDER BY component, log_no, leaf_index LIMIT 1)
			UNION ALL
			SELECT (SELECT component FROM system_records WHERE tenant_id = $1 AND component > c.name ORDER BY component, log_no, leaf_index LIMIT 1)
			FROM c WHERE c.name IS NOT NULL)
		SELECT name FROM c WHERE name IS NOT NULL LIMIT $2`

	// The newest of each table, and of those the newest. Orders are those of the
	// indexes (find_sql.go).
	sqlRunOfAlias = `SELECT run_id FROM (
			(SELECT log_no, leaf_index, run_id FROM aos_traces
				WHERE tenant_id = $1 AND run_alias BETWEEN $2 AND $2 AND run_alias IS NOT NULL AND run_id IS NOT NULL
				ORDER BY run_alias DESC, log_no DESC, leaf_index DESC LIMIT 1)
			UNION ALL
			(SELECT log_no, leaf_index, run_id FROM llm_run_records
				WHERE tenant_id = $1 AND run_alias BETWEEN $2 AND $2 AND run_alias IS NOT NULL AND run_id IS NOT NULL
				ORDER BY run_alias DESC, log_no DESC, leaf_index DESC LIMIT 1)) AS t
		ORDER BY log_no DESC, leaf_index DESC LIMIT 1`

	// Trace records of one trace are few.
	sqlRunOfTrace = `SELECT run_id FROM (
			(SELECT log_no, leaf_index, run_id FROM aos_traces
				WHERE tenant_id = $1 AND run_id BETWEEN $2 AND $2 AND run_id = trace_id ORDER BY run_id)
			UNION ALL
			(SELECT log_no, leaf_index, run_id FROM aos_traces
				WHERE tenant_id = $1 AND trace_id BETWEEN $2 AND $2 AND run_id <> trace_id ORDER BY trace_id)) AS t
		ORDER BY log_no DESC, leaf_index DESC LIMIT 1`

	sqlRunning = runColumns + ` WHERE tenant_id = $1 AND open AND revision = 0 AND first_seen < $2
		ORDER BY first_seen DESC LIMIT $3`
	sqlFirstSeen = `SELECT first_seen FROM run_states WHERE tenant_id = $1 AND run_id = $2`
)

// Components implements store.Reader.
func (q queries) Components(ctx context.Context, tenant string, limit int) ([]string, error) {
	var list []string
	err := q.with(ctx, func(r *reader) error {
		return r.run(ctx, sqlComponents, func(rows pgx.Rows) error {
			var name string
			err := scan(rows, &name)
			list = append(list, name)
			return err
		}, tenant, max(limit, 0))
	})
	return list, err
}

// RunOfAlias implements store.Reader.
func (q queries) RunOfAlias(ctx context.Context, tenant, alias string) (string, error) {
	return q.runOf(ctx, sqlRunOfAlias, tenant, alias, "alias")
}

// RunOfTrace implements store.Reader.
func (q queries) RunOfTrace(ctx context.Context, tenant, traceID string) (string, error) {
	return q.runOf(ctx, sqlRunOfTrace, tenant, traceID, "trace")
}

// runOf returns the run that a query finds, or evidence.ErrNotFound.
func (q queries) runOf(ctx context.Context, query, tenant, id, what string) (run string, err error) {
	err = q.with(ctx, func(r *reader) error {
		found, err := r.one(ctx, query, []any{tenant, id}, &run)
		if err == nil && !found {
			err = notFound("run of %s %s of tenant %s", what, id, tenant)
		}
		return err
	})
	return run, err
}

// OpenRunsOf implements store.Reader.
func (q queries) OpenRunsOf(ctx context.Context, tenant, before string, limit int, fn func(store.RunState) error) error {
	return q.with(ctx, func(r *reader) error {
		below := int64(math.MaxInt64)
		if before != "" {
			if found, err := r.one(ctx, sqlFirstSeen, []any{tenant, before}, &below); err != nil || !found {
				return err
			}
		}
		_, err := r.runs(ctx, func(s run) error { return fn(s.RunState) }, sqlRunning, tenant, below, max(limit, 0))
		return err
	})
}
