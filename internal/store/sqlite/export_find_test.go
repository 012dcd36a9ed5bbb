package sqlite

import (
	"context"
	"slices"
	"strings"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitemigration"

	"github.com/runledger/runledger/internal/store"
)

// ComponentsQuery is that of Components.
const ComponentsQuery = sqlComponents

// MaxFound is how many statements a connection keeps.
const MaxFound = maxFound

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
	SQL     []string // of its branches, in the first span
	Steps   []string // what SQLite makes of it
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
			text, args := s.rowsOf(w, b, s.spansOf(w)[0])
			p.SQL = append(p.SQL, text)
			if err := s.r.cached(ctx, "EXPLAIN QUERY PLAN "+text, func(st *sqlite.Stmt) error {
				p.Steps = append(p.Steps, st.ColumnText(3))
				return nil
			}, args...); err != nil {
				return err
			}
		}
		if !p.Leaps {
			return nil
		}
		for _, text := range []string{s.topic.stretches(s.finding.stretch), s.topic.edge("ASC"), s.topic.edge("DESC")} {
			p.SQL = append(p.SQL, text)
			if err := s.r.run(ctx, "EXPLAIN QUERY PLAN "+text, func(st *sqlite.Stmt) error {
				// The stretches themselves are counted, not read.
				if step := st.ColumnText(3); !strings.HasPrefix(step, "SCAN stretch") && step != "SCAN CONSTANT ROW" {
					p.Steps = append(p.Steps, step)
				}
				return nil
			}); err != nil {
				return err
			}
		}
		return nil
	})
	return p, err
}

// Statements is how many statements each idle connection keeps for queries.
func (db *DB) Statements() (kept []int) {
	db.pool.mu.Lock()
	defer db.pool.mu.Unlock()
	for _, r := range db.pool.idle {
		kept = append(kept, len(r.found))
	}
	return kept
}

// MigrateTo makes an empty database what it was at a version.
func MigrateTo(ctx context.Context, conn *sqlite.Conn, version int) error {
	schema := sqlitemigration.Schema{AppID: applicationID}
	for _, m := range migrations[:version] {
		schema.Migrations = append(schema.Migrations, m.sql)
	}
	return sqlitemigration.Migrate(ctx, conn, schema)
}
