package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/runledger/runledger/internal/store"
)

// SetProbes sets the bounds of the searches that choose a way, until the
// function returned is called. Not beside other queries.
func SetProbes(bounds ...int64) (restore func()) {
	old := probes
	probes = bounds
	return func() { probes = old }
}

// Plan is how a query is answered.
type Plan struct {
	Indexes []string // that its branches follow; "" where it is the table
	Leaps   bool     // it walks by stretches
	Nodes   []Node   // what PostgreSQL makes of it
}

// Node is a step of a plan of PostgreSQL's.
type Node struct {
	Statement   string
	Type        string
	Index       string // that it reads; of a partition that of its parent
	Alias       string
	Cond        string
	Depth       int
	Parent      string // its type
	Partitioned bool
	Relation    string // that it reads
}

type jsonNode struct {
	Type  string     `json:"Node Type"`
	Index string     `json:"Index Name"`
	Alias string     `json:"Alias"`
	Table string     `json:"Relation Name"`
	Cond  string     `json:"Index Cond"`
	Plans []jsonNode `json:"Plans"`
}

// PlanOf tells how a query is answered.
func (db *DB) PlanOf(ctx context.Context, query store.Query, counting bool) (Plan, error) {
	var p Plan
	err := db.search(ctx, &query, counting, func(s *search) error {
		w, err := s.choose(ctx)
		if err != nil {
			return err
		}
		p.Leaps = s.leaps(w)
		parents, err := s.r.parents(ctx)
		if err != nil {
			return err
		}
		explain := func(text string, args ...any) error {
			nodes, err := s.r.explain(ctx, parents, text, args)
			p.Nodes = append(p.Nodes, nodes...)
			return err
		}
		for i := range w.branches {
			b := &w.branches[i]
			index := ""
			switch {
			case b.seal != nil:
				index = "sealed_index"
			case b.part != nil:
				index = b.part.index
			}
			if !slices.Contains(p.Indexes, index) {
				p.Indexes = append(p.Indexes, index)
			}
			text, args := s.rowsOf(w, b, s.span)
			if err := explain(text, args...); err != nil {
				return err
			}
			text, args = s.countOf(w, b, s.span, 100)
			if err := explain(text, args...); err != nil {
				return err
			}
			text, args = s.probeOf(b, s.span, 100)
			if err := explain(text, args...); err != nil {
				return err
			}
		}
		if !p.Leaps {
			return nil
		}
		for _, order := range []string{"ASC", "DESC"} {
			if err := explain(s.topic.edge(order), s.q.Tenant, 1, 0, 9); err != nil {
				return err
			}
		}
		for i := range w.branches {
			text, args := s.rowsOf(w, &w.branches[i], s.span.part(1, 0, 1))
			if err := explain(text, args...); err != nil {
				return err
			}
		}
		return explain(s.topic.stretches(), s.q.Tenant, 1, 9, 0, 1, 2, 3)
	})
	return p, err
}

// parents are the indexes that those of partitions belong to.
func (r *reader) parents(ctx context.Context) (map[string]string, error) {
	m := map[string]string{}
	err := r.run(ctx, `SELECT inhrelid::regclass::text, inhparent::regclass::text FROM pg_inherits`, func(rows pgx.Rows) error {
		var child, parent string
		err := rows.Scan(&child, &parent)
		m[child] = parent
		return err
	})
	return m, err
}

func (r *reader) explain(ctx context.Context, parents map[string]string, text string, args []any) ([]Node, error) {
	var plans []struct{ Plan jsonNode }
	err := r.run(ctx, "EXPLAIN (FORMAT JSON) "+text, func(rows pgx.Rows) error {
		return json.Unmarshal(rows.RawValues()[0], &plans)
	}, append([]any{pgx.QueryExecModeCacheDescribe}, args...)...)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", text, err)
	}
	var nodes []Node
	var walk func(n *jsonNode, depth int, parent string)
	walk = func(n *jsonNode, depth int, parent string) {
		index, of := parents[n.Index]
		if !of {
			index = n.Index
		}
		nodes = append(nodes, Node{text, n.Type, index, n.Alias, n.Cond, depth, parent, of, n.Table})
		for i := range n.Plans {
			walk(&n.Plans[i], depth+1, n.Type)
		}
	}
	for i := range plans {
		walk(&plans[i].Plan, 0, "")
	}
	return nodes, nil
}

// Fixed is a statement that is always the same.
type Fixed struct {
	Name, SQL string
	Args      []any
	Indexes   []string // that it is to follow
}

// ExplainFixed tells how a fixed statement is answered.
func (db *DB) ExplainFixed(ctx context.Context, f Fixed) (nodes []Node, err error) {
	err = db.with(ctx, func(r *reader) error {
		parents, err := r.parents(ctx)
		if err == nil {
			nodes, err = r.explain(ctx, parents, f.SQL, f.Args)
		}
		return err
	})
	return nodes, err
}

// Statements are the fixed ones that ask for few rows of many.
func Statements() []Fixed {
	list := []Fixed{
		{"LogMonths", sqlLogMonths, []any{"t", 1}, []string{"log_months_pkey"}},
		{"Head", sqlHead, []any{"t", 1}, []string{"heads_pkey"}},
		{"Logs", sqlLogsOf, []any{"t"}, []string{"logs_pkey"}},
		{"Segments", sqlSegments, []any{"t", 1, 0, 9, 9}, []string{"leaf_segments_pkey"}},
		{"Tile", sqlTile, []any{"t", 1, 0, 9}, []string{"tiles_pkey"}},
		{"Tiles", sqlTiles, []any{"t", 1, 0, 9, 9}, []string{"tiles_pkey"}},
		{"Checkpoints", sqlCheckpoints, []any{"t", 1, 0, 9}, []string{"checkpoints_pkey"}},
		{"FindIDs", sqlFindIDs, []any{"t", [][]byte{{1}, {2}}}, []string{"record_ids_pkey"}},
		{"FindSpans", sqlFindSpans, []any{"t", [][]byte{{1}, {2}}, [][]byte{{1}, {2}}}, []string{"spans_pkey"}},
		{"Runs", sqlRuns, []any{"t", []string{"a", "b"}}, []string{"run_states_pkey"}},
		{"OpenRuns", sqlOpenRuns, []any{0, 9}, []string{"run_states_open"}},
		{"OpenRunsOf", sqlRunning, []any{"t", 9, 9}, []string{"run_states_running"}},
		{"DataKeys", sqlKeysFor, []any{"t", "day", "l"}, []string{"data_keys_scope"}},
		{"DataKey", sqlKey, []any{"t", []byte{1}}, []string{"data_keys_pkey"}},
		{"SealedSegment", sqlSealed, []any{"t", 1, 9, 1_761_955_200_000_000, 1_764_547_200_000_000}, []string{"sealed_segments_pkey"}},
		{"SealedSegments", sqlSealedAll, []any{"t", 1, 9, 9, 9}, []string{"sealed_segments_pkey"}},
		{"FindIndex", sqlFindIndex, []any{"t", "n", []byte{1}, 9}, []string{"sealed_index_pkey"}},
		{"Index", sqlIndex, []any{"t", "n", []byte{1}, 1, 1, 9}, []string{"sealed_index_pkey"}},
		{"RecordIDs", sqlRecordIDs, []any{"t", []byte{1}, 9}, []string{"record_ids_pkey"}},
		{"AllRuns", sqlAllRuns, []any{"t", "r", 9}, []string{"run_states_pkey"}},
		{"Components", sqlComponents, []any{"t", 9}, []string{"system_records_component"}},
		{"RunOfAlias", sqlRunOfAlias, []any{"t", "a"}, []string{"aos_traces_alias", "llm_run_records_alias"}},
		{"RunOfTrace", sqlRunOfTrace, []any{"t", "a"}, []string{"idx_aos_traces_run_id", "aos_traces_other_run"}},
		{"RunRecords", sqlRunRecords, []any{"t", "r"}, []string{
			"llm_run_records_revision", "llm_run_records_conflict", "idx_aos_traces_run_id",
			"idx_aos_trace_steps_trace_timestamp", "aos_trace_steps_run",
			"aos_trace_events_trace", "aos_trace_events_other_run", "aos_trace_events_run",
			"system_records_run", "system_metrics_run", "audit_ledger_run",
		}},
		{"Expiries", sqlExpiries, []any{"t", 1, "a", 1, 1, 1, 9}, []string{"expiries_pkey"}},
		{"HoldRuns", sqlHoldRuns, []any{"t", "h", "r", 9}, []string{"hold_runs_hold"}},
		{"HoldRecords", sqlHoldRecords, []any{"t", "h", 1, 1, 9}, []string{"hold_records_hold"}},
		{"Archives", sqlArchives, []any{"t", 1, 1, 9}, []string{"archives_pkey"}},
		{"SealedUnder", sqlSealedUnder, []any{"t", []byte{1}, 1, 1, 9}, []string{"sealed_segments_key"}},
		{"APIKey", sqlAPIKey, []any{"k"}, []string{"api_keys_pkey"}},
		{"APIKeys", sqlAPIKeysOf, []any{"t"}, []string{"api_keys_tenant"}},
	}
	for kind, sql := range attestationQueries {
		index := "attestations_pkey"
		if kind == store.KindTimestamp {
			index = "attestations_stamps"
		}
		for _, text := range sql {
			list = append(list, Fixed{"Attestations " + kind, text, []any{"t", 1, 0, 9, 9}, []string{index}})
		}
	}
	for _, t := range topics {
		if t != nil {
			list = append(list,
				Fixed{"Row of " + t.table, t.one, []any{"t", 1, 9, 1_761_955_200_000_000, 1_764_547_200_000_000}, []string{t.table + "_pkey"}},
				Fixed{"Marks of " + t.table, t.marks, []any{"t", 1, 0, 9, 9, 9}, []string{t.table + "_pkey"}},
				Fixed{"Rows of " + t.table, t.between, []any{"t", 1, 0, 9, 9, 9}, []string{t.table + "_pkey"}})
		}
	}
	return list
}

// ExplainDamage tells which index each reading through an index follows.
func (db *DB) ExplainDamage(ctx context.Context, f func(index string, nodes []Node)) error {
	return db.with(ctx, func(r *reader) error {
		indexes, err := r.indexes(ctx)
		if err != nil {
			return err
		}
		parents, err := r.parents(ctx)
		for i := 0; err == nil && i < len(indexes); i++ {
			var nodes []Node
			if nodes, err = r.explain(ctx, parents, indexes[i].sumSQL(true), nil); err == nil {
				f(indexes[i].name, nodes)
			}
		}
		return err
	})
}

// MaxStatements is how many statements a connection keeps.
const MaxStatements = maxStatements

// OnReader calls f with a connection that reads.
func (db *DB) OnReader(ctx context.Context, f func(context.Context, *pgx.Conn) error) error {
	return db.with(ctx, func(r *reader) error { return f(ctx, r.conn) })
}
