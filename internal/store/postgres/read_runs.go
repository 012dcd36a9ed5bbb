package postgres

import (
	"context"
	"math"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

const (
	runColumns = `SELECT first_seen, tenant_id, run_id, next_n, next_step, revision, last_log, last_leaf, open FROM run_states`
	sqlRuns    = runColumns + ` WHERE tenant_id = $1 AND run_id = ANY($2::text[])`
	sqlAllRuns = runColumns + ` WHERE tenant_id = $1 AND run_id > $2 ORDER BY run_id LIMIT $3`
	// The one question of a reader that is about all tenants: it is asked once, at
	// start.
	sqlOpenRuns = runColumns + ` WHERE open AND first_seen > $1 ORDER BY first_seen LIMIT $2`
)

// run is a run's state with its tenant and its place among all.
type run struct {
	store.RunState
	tenant string
	seen   int64
}

// runs yields the run states that a query finds, and how many.
func (r *reader) runs(ctx context.Context, fn func(run) error, query string, args ...any) (n int, err error) {
	err = r.run(ctx, query, func(rows pgx.Rows) error {
		n++
		var s run
		if err := scan(rows, &s.seen, &s.tenant, &s.Run, &s.NextN, &s.NextStep, &s.Revision, &s.Last.LogNo, &s.Last.Seq, &s.Open); err != nil {
			return err
		}
		return fn(s)
	}, args...)
	return n, err
}

// Runs implements store.Reader.
func (q queries) Runs(ctx context.Context, tenant string, runs []string) (map[string]store.RunState, error) {
	found := make(map[string]store.RunState)
	runs = slices.DeleteFunc(slices.Clone(runs), func(run string) bool { return !storable(run) })
	if len(runs) == 0 {
		return found, nil
	}
	err := q.with(ctx, func(r *reader) error {
		_, err := r.runs(ctx, func(s run) error {
			found[s.Run] = s.RunState
			return nil
		}, sqlRuns, tenant, runs)
		return err
	})
	return found, err
}

// AllRuns implements store.Reader.
func (q queries) AllRuns(ctx context.Context, tenant string, fn func(store.RunState) error) error {
	return q.with(ctx, func(r *reader) error {
		after := "" // no run is called that
		return pages(func(limit int) (int, error) {
			return r.runs(ctx, func(s run) error {
				after = s.Run
				return fn(s.RunState)
			}, sqlAllRuns, tenant, after, limit)
		})
	})
}

// OpenRuns implements store.Reader.
func (q queries) OpenRuns(ctx context.Context, fn func(tenant string, s store.RunState) error) error {
	return q.with(ctx, func(r *reader) error {
		after := int64(math.MinInt64)
		return pages(func(limit int) (int, error) {
			return r.runs(ctx, func(s run) error {
				after = s.seen
				return fn(s.tenant, s.RunState)
			}, sqlOpenRuns, after, limit)
		})
	})
}

// runRecordTerms says, for each kind, the conditions under which an index
// finds a run's records; $1 is the tenant and $2 the run. They exclude one
// another. Each says the order of its index too (see find_sql.go).
var runRecordTerms = map[evidence.Kind][]string{
	evidence.KindLLMRun: {
		`run_id BETWEEN $2 AND $2 AND conflict_of IS NULL ORDER BY run_id, revision`,
		`run_id BETWEEN $2 AND $2 AND conflict_of IS NOT NULL ORDER BY run_id`,
	},
	evidence.KindTrace: {`run_id BETWEEN $2 AND $2 ORDER BY run_id`},
	evidence.KindTraceStep: {
		`trace_id BETWEEN $2 AND $2 AND run_id = $2 ORDER BY trace_id`,
		`run_id BETWEEN $2 AND $2 AND run_id <> trace_id ORDER BY run_id`,
	},
	evidence.KindTraceEvent: {
		`trace_id BETWEEN $2 AND $2 AND trace_id IS NOT NULL AND run_id = $2 ORDER BY trace_id`,
		`run_id BETWEEN $2 AND $2 AND run_id <> trace_id ORDER BY run_id`,
		`run_id BETWEEN $2 AND $2 AND run_id IS NOT NULL AND trace_id IS NULL ORDER BY run_id`,
	},
	evidence.KindSystem: {`run_id BETWEEN $2 AND $2 AND run_id IS NOT NULL ORDER BY run_id`},
	evidence.KindMetric: {`run_id BETWEEN $2 AND $2 AND run_id IS NOT NULL ORDER BY run_id`},
	evidence.KindAudit:  {`run_id BETWEEN $2 AND $2 AND run_id IS NOT NULL ORDER BY run_id`},
}

// sqlRunRecords finds all records of a run, by n. An export has no run.
var sqlRunRecords = func() string {
	var parts []string
	for _, k := range evidence.Kinds() {
		for _, term := range runRecordTerms[k] {
			parts = append(parts, `(SELECT '`+k.String()+`', log_no, leaf_index, n, sealed_segment, actor_segment FROM `+
				k.Table()+` WHERE tenant_id = $1 AND `+term+`)`)
		}
	}
	return strings.Join(parts, "\nUNION ALL ") + "\nORDER BY 4"
}()

// RunRecords implements store.Reader.
func (q queries) RunRecords(ctx context.Context, tenant, run string, fn func(store.RunRecord) error) error {
	return q.with(ctx, func(r *reader) error {
		return r.run(ctx, sqlRunRecords, func(rows pgx.Rows) error {
			var kind string
			var rec store.RunRecord
			var n, segment, actor *int64
			if err := scan(rows, &kind, &rec.LogNo, &rec.Seq, &n, &segment, &actor); err != nil {
				return err
			}
			rec.Kind = evidence.ParseKind(kind)
			rec.N, rec.Segment, rec.ActorSegment = or(n, 0), or(segment, store.NoSegment), or(actor, store.NoSegment)
			return fn(rec)
		}, tenant, run)
	})
}

// or is what p points to, or, where that is null, v.
func or(p *int64, v int64) int64 {
	if p == nil {
		return v
	}
	return *p
}
