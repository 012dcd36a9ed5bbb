package storerig

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	sqlite3 "zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/runledger/runledger/internal/store/pgtest"
	"github.com/runledger/runledger/internal/store/postgres"
)

// File is SQLite's database in a data directory.
const File = "runledger.db"

// Attacker changes a database past everything that protects it, in one transaction:
// on SQLite as someone who owns the file, on PostgreSQL as a superuser. Nobody's
// triggers fire for its statements. Once it is done they are as before, so that the
// schema tells nothing, unless its statements changed them.
//
// Statements are written for SQLite's tables (see Pick), with arguments as ?1, ?2 and
// so on. What is read comes as nil, int64, float64, string or []byte.
type Attacker struct {
	ctx  context.Context
	lite *sqlite3.Conn
	keys keys // of SQLite's logs, when the attack began
	pg   *pgx.Conn
	// alters is called before a statement that alters the schema.
	alters func()
}

// Attack lets fn change the database of a data directory, and commits it unless fn
// fails.
func Attack(dir string, fn func(a *Attacker) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if !OnPostgres() {
		conn, err := sqlite3.OpenConn(filepath.Join(dir, File), sqlite3.OpenReadWrite)
		if err != nil {
			return err
		}
		return errors.Join((&Attacker{ctx: ctx, lite: conn}).inSQLite(fn), conn.Close())
	}
	dsns, err := read(dir)
	if err != nil {
		return err
	}
	conn, err := pgtest.As(ctx, dsns.Super, postgres.DefaultSchema)
	if err != nil {
		return err
	}
	a := &Attacker{ctx: ctx, pg: conn}
	err = a.inPostgres(func(a *Attacker) error {
		a.alters = func() { databases.alter(dsns) }
		defer func() { a.alters = nil }()
		return fn(a)
	})
	return errors.Join(err, conn.Close(ctx))
}

// inSQLite takes the triggers away as rows of sqlite_schema, not by DROP and CREATE: a
// hundred of each take time, and this puts them back byte for byte.
func (a *Attacker) inSQLite(fn func(a *Attacker) error) error {
	schema := func(sql string) []string {
		return []string{`PRAGMA writable_schema = ON`, sql, `PRAGMA writable_schema = RESET`}
	}
	a.lite.SetBusyTimeout(10 * time.Second)
	rows, err := a.Rows(`SELECT tenant_id, log_no, log_key FROM logs JOIN tenants USING (tenant_no)`)
	if err != nil {
		return err
	}
	a.keys = keys{}
	for _, r := range rows {
		a.keys[Log{r[0].(string), int(r[1].(int64))}] = r[2].(int64)
	}
	before := append([]string{
		`CREATE TEMP TABLE guards AS SELECT type, name, tbl_name, rootpage, sql FROM sqlite_schema WHERE type = 'trigger'`, `BEGIN IMMEDIATE`,
	}, schema(`DELETE FROM sqlite_schema WHERE type = 'trigger'`)...)
	return a.between(before, append(schema(`INSERT INTO sqlite_schema SELECT * FROM temp.guards`), `COMMIT`), fn)
}

// inPostgres turns the triggers off in the catalogue: ALTER TABLE would do the same one
// by one, for each partition, and wait for whoever uses the table.
func (a *Attacker) inPostgres(fn func(a *Attacker) error) error {
	return a.between([]string{
		`BEGIN`,
		`CREATE TEMP TABLE guards ON COMMIT DROP AS SELECT oid, tgenabled FROM pg_trigger`,
		`UPDATE pg_trigger SET tgenabled = 'D' WHERE tgenabled = 'A'`,
	}, []string{
		`UPDATE pg_trigger SET tgenabled = g.tgenabled FROM guards AS g WHERE g.oid = pg_trigger.oid AND g.tgenabled <> pg_trigger.tgenabled`,
		`COMMIT`,
	}, fn)
}

func (a *Attacker) between(before, after []string, fn func(a *Attacker) error) error {
	run := func(list []string) error {
		for _, sql := range list {
			if err := a.Exec(sql); err != nil {
				return err
			}
		}
		return nil
	}
	err := run(before)
	if err == nil {
		err = fn(a)
	}
	if err != nil {
		return errors.Join(err, a.Exec(`ROLLBACK`))
	}
	return run(after)
}

// Exec runs a statement.
func (a *Attacker) Exec(sql string, args ...any) error {
	_, err := a.Change(sql, args...)
	return err
}

// Change runs a statement and returns how many rows it changed.
func (a *Attacker) Change(sql string, args ...any) (int, error) {
	if a.lite != nil {
		err := sqlitex.ExecuteTransient(a.lite, sql, &sqlitex.ExecOptions{Args: a.keys.numbered(args)})
		return a.lite.Changes(), said(sql, err)
	}
	if a.alters != nil && definition.MatchString(sql) {
		a.alters()
	}
	sql, args = expand(translate(sql), args)
	tag, err := a.pg.Exec(a.ctx, sql, args...)
	return int(tag.RowsAffected()), said(sql, err)
}

var definition = regexp.MustCompile(`\b(CREATE|DROP|ALTER|GRANT|REVOKE)\b`)

// Try is Change that leaves no trace where it fails.
func (a *Attacker) Try(sql string, args ...any) (n int, err error) {
	if err := a.Exec(`SAVEPOINT attempt`); err != nil {
		return 0, err
	}
	if n, err = a.Change(sql, args...); err != nil {
		return 0, errors.Join(err, a.Exec(`ROLLBACK TO SAVEPOINT attempt`))
	}
	return n, a.Exec(`RELEASE SAVEPOINT attempt`)
}

// Columns returns the names of a table's columns, but for its key.
func (a *Attacker) Columns(table string) (out []string, err error) {
	if name := topics[table]; name != "" && OnPostgres() {
		table = name
	}
	rows, err := a.Rows(Pick(`SELECT name FROM pragma_table_info(?1) WHERE name <> 'row'`,
		`SELECT attname::text FROM pg_attribute WHERE attrelid = ?1::text::regclass AND attnum > 0 AND NOT attisdropped
			AND attname NOT IN ('tenant_id', 'log_no', 'leaf_index', 'first', 'no') ORDER BY attnum`), table)
	for _, r := range rows {
		out = append(out, r[0].(string))
	}
	return out, err
}

// DropTriggers takes the triggers of a table away for good.
func (a *Attacker) DropTriggers(table string) error {
	if a.lite != nil {
		return a.Exec(`DELETE FROM temp.guards WHERE tbl_name = ?1`, Table(table))
	}
	rows, err := a.Rows(`SELECT tgname::text FROM pg_trigger WHERE tgrelid = ?1::text::regclass AND NOT tgisinternal`, table)
	for _, r := range rows {
		err = errors.Join(err, a.Exec(`DROP TRIGGER `+r[0].(string)+` ON `+table))
	}
	return err
}

// Rows returns what a query finds.
func (a *Attacker) Rows(sql string, args ...any) (out [][]any, err error) {
	if a.lite != nil {
		err := sqlitex.ExecuteTransient(a.lite, sql, &sqlitex.ExecOptions{Args: a.keys.numbered(args), ResultFunc: func(s *sqlite3.Stmt) error {
			row := make([]any, s.ColumnCount())
			for i := range row {
				row[i] = column(s, i)
			}
			out = append(out, row)
			return nil
		}})
		return out, said(sql, err)
	}
	sql, args = expand(translate(sql), args)
	rows, err := a.pg.Query(a.ctx, sql, args...)
	if err != nil {
		return nil, said(sql, err)
	}
	out, err = pgx.CollectRows(rows, func(r pgx.CollectableRow) ([]any, error) { return r.Values() })
	for _, row := range out {
		for i := range row {
			row[i] = wide(row[i])
		}
	}
	return out, said(sql, err)
}

// Places returns the places that a query of row, and of nothing else, finds.
func (a *Attacker) Places(sql string, args ...any) ([]Place, error) {
	rows, err := a.Rows(sql, args...)
	if err != nil {
		return nil, err
	}
	out := make([]Place, len(rows))
	for i, row := range rows {
		switch v := row[0].(type) {
		case int64:
			if out[i], err = a.keys.place(v, strings.Contains(sql, "tiles")); err != nil {
				return nil, said(sql, err)
			}
		case []any:
			out[i] = Log{v[0].(string), int(v[1].(int64))}.Row(v[len(v)-1].(int64))
			if len(v) == 4 {
				out[i].Level = int(v[2].(int64))
			}
		default:
			return nil, said(sql, fmt.Errorf("%T is no place", v))
		}
	}
	return out, nil
}

func said(sql string, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", sql, err)
	}
	return nil
}

func column(s *sqlite3.Stmt, i int) any {
	switch s.ColumnType(i) {
	case sqlite3.TypeNull:
		return nil
	case sqlite3.TypeInteger:
		return s.ColumnInt64(i)
	case sqlite3.TypeFloat:
		return s.ColumnFloat(i)
	case sqlite3.TypeText:
		return s.ColumnText(i)
	default:
		b := make([]byte, s.ColumnLen(i))
		s.ColumnBytes(i, b)
		return b
	}
}

// wide makes one type of PostgreSQL's integers.
func wide(v any) any {
	switch v := v.(type) {
	case int16:
		return int64(v)
	case int32:
		return int64(v)
	default:
		return v
	}
}

// Look reads a database beside whoever has it open, past the store. Like Attacker's its
// statements are written for SQLite; the contract's tables are there on both.
type Look struct{ a Attacker }

// OpenLook opens the database of a data directory. Close it. It is for one goroutine.
func OpenLook(dir string) (*Look, error) {
	l := &Look{Attacker{ctx: context.Background()}}
	if !OnPostgres() {
		var err error
		l.a.lite, err = sqlite3.OpenConn(filepath.Join(dir, File), sqlite3.OpenReadOnly)
		return l, err
	}
	dsns, err := read(dir)
	if err != nil {
		return nil, err
	}
	l.a.pg, err = pgtest.As(l.a.ctx, dsns.Super, postgres.DefaultSchema)
	return l, err
}

// Rows returns what a query finds, as Attacker's method does.
func (l *Look) Rows(sql string, args ...any) ([][]any, error) { return l.a.Rows(sql, args...) }

// Close ends the connection.
func (l *Look) Close() error {
	if l.a.lite != nil {
		return l.a.lite.Close()
	}
	return l.a.pg.Close(l.a.ctx)
}
