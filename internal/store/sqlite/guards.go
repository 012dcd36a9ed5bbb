package sqlite

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"zombiezen.com/go/sqlite"
)

const sqlSchema = `SELECT type, name, tbl_name, coalesce(sql, '') FROM sqlite_schema`

// schemaItem is a table, index, view or trigger.
type schemaItem struct{ kind, name string }

// readSchema returns what the schema has, with its table and SQL.
func (r *reader) readSchema(ctx context.Context) (map[schemaItem]string, error) {
	schema := map[schemaItem]string{}
	err := r.run(ctx, sqlSchema, func(s *sqlite.Stmt) error {
		schema[schemaItem{s.ColumnText(0), s.ColumnText(1)}] = s.ColumnText(2) + "\n" + s.ColumnText(3)
		return nil
	})
	return schema, err
}

// Guards implements store.Reader: it compares the schema with the one that the
// migrations make. What is there beyond it is reported too: a trigger of
// someone else may change what is written.
func (q queries) Guards(ctx context.Context) ([]string, error) {
	want, err := freshSchema()
	if err != nil {
		return nil, err
	}
	var have map[schemaItem]string
	if err := q.with(ctx, func(r *reader) (err error) {
		have, err = r.readSchema(ctx)
		return err
	}); err != nil {
		return nil, err
	}
	var list []string
	for item, sql := range want {
		switch got, ok := have[item]; {
		case !ok:
			list = append(list, fmt.Sprintf("%s %s is missing", item.kind, item.name))
		case got != sql:
			list = append(list, fmt.Sprintf("%s %s has been altered", item.kind, item.name))
		}
	}
	for item := range have {
		if _, ok := want[item]; !ok && !isStatistics(item) {
			list = append(list, fmt.Sprintf("%s %s is not runledger's", item.kind, item.name))
		}
	}
	slices.Sort(list)
	return list, nil
}

// Damage implements store.Reader by SQLite's own check of pages and indexes.
func (q queries) Damage(ctx context.Context) (list []string, err error) {
	err = q.with(ctx, func(r *reader) error {
		return r.run(ctx, `PRAGMA integrity_check(100)`, func(s *sqlite.Stmt) error {
			if line := s.ColumnText(0); line != "ok" {
				list = append(list, line)
			}
			return nil
		})
	})
	return list, err
}

// isStatistics reports the tables of ANALYZE, which any operator may run.
func isStatistics(item schemaItem) bool {
	return item.kind == "table" && (item.name == "sqlite_stat1" || item.name == "sqlite_stat4")
}

// freshSchema is the schema of an empty database that was migrated in memory.
// It is made once: migrations do not change while the program runs.
var freshSchema = sync.OnceValues(func() (_ map[schemaItem]string, err error) {
	ctx := context.Background()
	conn, err := sqlite.OpenConn(":memory:", sqlite.OpenReadWrite)
	if err != nil {
		return nil, fmt.Errorf("sqlite: %w", err)
	}
	defer conn.Close()
	if _, err := migrate(ctx, conn); err != nil {
		return nil, err
	}
	return (&reader{conn: conn}).readSchema(ctx)
})
