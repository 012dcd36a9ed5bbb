package sqlite

import (
	"context"
	"strings"

	"zombiezen.com/go/sqlite"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

const (
	sqlRun = `SELECT next_n, next_step, revision, last_row, open FROM run_states WHERE run_no = ?1`

	sqlAllRuns = `SELECT s.text, r.next_n, r.next_step, r.revision, r.last_row, r.open
		FROM spine AS s CROSS JOIN run_states AS r ON r.run_no = s.spine_no
		WHERE s.tenant_no = ?1`

	sqlOpenRuns = `SELECT s.text, r.next_n, r.next_step, r.revision, r.last_row, r.open, t.tenant_id
		FROM run_states AS r
		CROSS JOIN spine AS s ON s.spine_no = r.run_no
		CROSS JOIN tenants AS t ON t.tenant_no = s.tenant_no
		WHERE r.open = 1 ORDER BY r.run_no`
)

// runRecordTerms says, for each kind, the conditions under which an index
// finds a run's records; ?1 is the run. They exclude one another.
var runRecordTerms = map[evidence.Kind][]string{
	evidence.KindLLMRun:    {`run_no = ?1 AND conflict_of IS NULL`, `run_no = ?1 AND conflict_of IS NOT NULL`},
	evidence.KindTrace:     {`run_no = ?1`},
	evidence.KindTraceStep: {`trace_id = ?1 AND run_no = ?1`, `run_no = ?1 AND run_no <> trace_id`},
	evidence.KindTraceEvent: {
		`trace_id = ?1 AND run_no = ?1`, `run_no = ?1 AND run_no <> trace_id`, `run_no = ?1 AND trace_id IS NULL`,
	},
	evidence.KindSystem: {`run_no = ?1`},
	evidence.KindMetric: {`run_no = ?1`},
	evidence.KindAudit:  {`run_no = ?1`},
}

// sqlRunRecords finds all records of a run, by n. An export has no run.
var sqlRunRecords = func() string {
	var parts []string
	for _, k := range evidence.Kinds() {
		for _, term := range runRecordTerms[k] {
			parts = append(parts, `SELECT '`+k.String()+`', row, n, sealed_segment, actor_segment FROM r_`+k.String()+` WHERE `+term)
		}
	}
	return strings.Join(parts, "\nUNION ALL ") + "\nORDER BY 3"
}()

// Runs implements store.Reader.
func (q queries) Runs(ctx context.Context, tenant string, runs []string) (map[string]store.RunState, error) {
	found := make(map[string]store.RunState)
	err := q.ofTenant(ctx, tenant, func(r *reader, no int64) error {
		for _, run := range runs {
			runNo, ok, err := r.spineNo(ctx, no, run)
			if err != nil {
				return err
			}
			if !ok {
				continue
			}
			state := store.RunState{Run: run}
			var last int64
			ok, err = r.one(ctx, sqlRun, func(s *sqlite.Stmt) { last = readRun(&state, s, 0) }, runNo)
			if err != nil {
				return err
			}
			if !ok {
				continue
			}
			if state.Last, err = r.position(ctx, last); err != nil {
				return err
			}
			found[run] = state
		}
		return ctx.Err()
	})
	return found, err
}

// AllRuns implements store.Reader.
func (q queries) AllRuns(ctx context.Context, tenant string, fn func(store.RunState) error) error {
	return q.ofTenant(ctx, tenant, func(r *reader, no int64) error {
		return r.run(ctx, sqlAllRuns, func(s *sqlite.Stmt) (err error) {
			state := store.RunState{Run: s.ColumnText(0)}
			if state.Last, err = r.position(ctx, readRun(&state, s, 1)); err != nil {
				return err
			}
			return fn(state)
		}, no)
	})
}

// OpenRuns implements store.Reader.
func (q queries) OpenRuns(ctx context.Context, fn func(tenant string, s store.RunState) error) error {
	return q.with(ctx, func(r *reader) error {
		return r.run(ctx, sqlOpenRuns, func(s *sqlite.Stmt) (err error) {
			state := store.RunState{Run: s.ColumnText(0)}
			if state.Last, err = r.position(ctx, readRun(&state, s, 1)); err != nil {
				return err
			}
			return fn(s.ColumnText(6), state)
		})
	})
}

// readRun reads a run's state from col on and returns the row of its last
// record.
func readRun(state *store.RunState, s *sqlite.Stmt, col int) (last int64) {
	state.NextN, state.NextStep, state.Revision = s.ColumnInt64(col), s.ColumnInt64(col+1), s.ColumnInt64(col+2)
	state.Open = s.ColumnInt64(col+4) != 0
	return s.ColumnInt64(col + 3)
}

// RunRecords implements store.Reader.
func (q queries) RunRecords(ctx context.Context, tenant, run string, fn func(store.RunRecord) error) error {
	return q.ofTenant(ctx, tenant, func(r *reader, no int64) error {
		runNo, ok, err := r.spineNo(ctx, no, run)
		if err != nil || !ok {
			return err
		}
		return r.run(ctx, sqlRunRecords, func(s *sqlite.Stmt) (err error) {
			rec := store.RunRecord{
				Kind: evidence.ParseKind(s.ColumnText(0)), N: s.ColumnInt64(2),
				Segment: store.NoSegment, ActorSegment: store.NoSegment,
			}
			if rec.Position, err = r.position(ctx, s.ColumnInt64(1)); err != nil {
				return err
			}
			if !s.ColumnIsNull(3) {
				rec.Segment = s.ColumnInt64(3)
			}
			if !s.ColumnIsNull(4) {
				rec.ActorSegment = s.ColumnInt64(4)
			}
			return fn(rec)
		}, runNo)
	})
}

const sqlSettleRun = `UPDATE run_states SET open = 0 WHERE next_n = ?3 AND run_no =
	(SELECT spine_no FROM spine WHERE text = ?2 AND tenant_no = (SELECT tenant_no FROM tenants WHERE tenant_id = ?1))`

// SettleRuns implements store.Store.
func (db *DB) SettleRuns(ctx context.Context, tenant string, runs map[string]int64) error {
	w, err := db.writing()
	if err != nil {
		return err
	}
	return w.transact(ctx, func() error {
		for run, n := range runs {
			w.st.settleRun.BindText(1, tenant)
			w.st.settleRun.BindText(2, run)
			w.st.settleRun.BindInt64(3, n)
			if err := step(w.st.settleRun); err != nil {
				return err
			}
		}
		return nil
	})
}
