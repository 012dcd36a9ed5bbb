package storerig

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/runledger/runledger/internal/store/pgtest"
	"github.com/runledger/runledger/internal/store/postgres"
)

// errDropped: partitions of a database have gone, and do not come back.
var errDropped = errors.New("storerig: the database has lost partitions")

// errInUse: somebody is connected to a database that a test has done with.
var errInUse = errors.New("storerig: the database is in use")

// The tables that hold rows: partitions do so for their parents, and what the schema's
// version is stays.
const sqlTables = `SELECT quote_ident(relname) FROM pg_class WHERE relnamespace = current_schema()::regnamespace
	AND relkind IN ('r', 'p') AND NOT relispartition AND relname <> 'schema_migrations' ORDER BY 1`

// The sequences of identity columns.
const sqlSequences = `SELECT quote_ident(relname) FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind = 'S' ORDER BY 1`

// unguarded runs fn on a database past its triggers, in one transaction. The
// connection is kept: what a new one has to learn of hundreds of partitions takes
// longer than the rest.
func (m *made) unguarded(fn func(ctx context.Context, conn *pgx.Conn) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, err := m.connect(ctx)
	if err != nil {
		return err
	}
	a := &Attacker{ctx: ctx, pg: conn}
	return a.inPostgres(func(*Attacker) error { return fn(ctx, conn) })
}

func (m *made) connect(ctx context.Context) (*pgx.Conn, error) {
	if m.conn == nil || m.conn.IsClosed() {
		var err error
		if m.conn, err = pgtest.As(ctx, m.dsns.Super, postgres.DefaultSchema); err != nil {
			m.conn = nil
			return nil, err
		}
	}
	return m.conn, nil
}

// empty deletes all rows of a database that nobody uses.
func (m *made) empty() error {
	return m.unguarded(func(ctx context.Context, conn *pgx.Conn) error {
		if err := alone(ctx, conn); err != nil {
			return err
		}
		dropped := false
		if err := conn.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM expired_partitions)`).Scan(&dropped); err != nil {
			return err
		}
		if dropped {
			return errDropped
		}
		tables, err := names(ctx, conn, sqlTables)
		if err != nil {
			return err
		}
		for _, table := range tables {
			if _, err := conn.Exec(ctx, `DELETE FROM `+table); err != nil {
				return err
			}
		}
		return nil
	})
}

// alone waits a little for those who are leaving a database. A store that was not
// closed would write into the next test's.
func alone(ctx context.Context, conn *pgx.Conn) error {
	for end := time.Now().Add(time.Second); ; time.Sleep(5 * time.Millisecond) {
		others := 0
		if _, err := conn.Exec(ctx, `SELECT pg_stat_clear_snapshot()`); err != nil {
			return err
		}
		err := conn.QueryRow(ctx, `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
			AND backend_type = 'client backend'`).Scan(&others)
		switch {
		case err != nil:
			return err
		case others == 0:
			return nil
		case time.Now().After(end):
			return errInUse
		}
	}
}

// fill copies the rows of a database to an empty one.
func (m *made) fill(from *made) error {
	// Not past the triggers: what a new partition has of them, it has from its parent.
	if err := m.monthsOf(from); err != nil {
		return err
	}
	return m.unguarded(func(ctx context.Context, dest *pgx.Conn) (err error) {
		source, err := from.connect(ctx)
		if err != nil {
			return err
		}
		// What is copied is of one moment.
		if _, err := source.Exec(ctx, `BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY`); err != nil {
			return err
		}
		defer func() {
			_, end := source.Exec(ctx, `ROLLBACK`)
			err = errors.Join(err, end)
		}()
		tables, err := names(ctx, source, sqlTables)
		if err != nil {
			return err
		}
		for _, table := range tables {
			if err := copyTable(ctx, dest, source, table); err != nil {
				return fmt.Errorf("%s: %w", table, err)
			}
		}
		return numbersOf(ctx, dest, source)
	})
}

func copyTable(ctx context.Context, dest, source *pgx.Conn, table string) error {
	var rows bytes.Buffer
	tag, err := source.PgConn().CopyTo(ctx, &rows, `COPY (SELECT * FROM `+table+`) TO STDOUT (FORMAT binary)`)
	if err != nil || tag.RowsAffected() == 0 {
		return err
	}
	_, err = dest.PgConn().CopyFrom(ctx, &rows, `COPY `+table+` FROM STDIN (FORMAT binary)`)
	return err
}

// monthsOf makes the partitions that another database has.
func (m *made) monthsOf(from *made) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	dest, err := m.connect(ctx)
	if err != nil {
		return err
	}
	source, err := from.connect(ctx)
	if err != nil {
		return err
	}
	const sqlMonths = `SELECT DISTINCT to_char(to_date(right(relname, 6), 'YYYYMM'), 'YYYY-MM-DD') FROM pg_class
		WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r' AND relispartition AND relname ~ '_p[0-9]{6}$' ORDER BY 1`
	want, err := names(ctx, source, sqlMonths)
	if err != nil {
		return err
	}
	have, err := names(ctx, dest, sqlMonths)
	if err != nil {
		return err
	}
	there := map[string]bool{}
	for _, month := range have {
		there[month] = true
	}
	for _, month := range want {
		if !there[month] {
			if _, err := dest.Exec(ctx, `SELECT runledger_ensure_partitions($1::text::date, $1::text::date)`, month); err != nil {
				return err
			}
		}
	}
	return nil
}

// numbersOf sets the sequences to what they are in another database.
func numbersOf(ctx context.Context, dest, source *pgx.Conn) error {
	sequences, err := names(ctx, source, sqlSequences)
	if err != nil {
		return err
	}
	for _, s := range sequences {
		var last int64
		var called bool
		if err := source.QueryRow(ctx, `SELECT last_value, is_called FROM `+s).Scan(&last, &called); err != nil {
			return err
		}
		if _, err := dest.Exec(ctx, `SELECT setval($1::text::regclass, $2, $3)`, s, last, called); err != nil {
			return err
		}
	}
	return nil
}

func names(ctx context.Context, conn *pgx.Conn, sql string) ([]string, error) {
	rows, err := conn.Query(ctx, sql)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// Dump returns all that the database of a data directory holds in rows, by table, as
// bytes and texts lie in memory: for a search. SQLite's is in the directory's files,
// so of that there is none.
func Dump(dir string) (map[string][]byte, error) {
	dsns, err := read(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, err := pgtest.As(ctx, dsns.Super, postgres.DefaultSchema)
	if err != nil {
		return nil, err
	}
	out := map[string][]byte{}
	tables, err := names(ctx, conn, sqlTables)
	for _, table := range tables {
		var rows bytes.Buffer
		_, cerr := conn.PgConn().CopyTo(ctx, &rows, `COPY (SELECT * FROM `+table+`) TO STDOUT (FORMAT binary)`)
		err = errors.Join(err, cerr)
		out[table] = rows.Bytes()
	}
	return out, errors.Join(err, conn.Close(ctx))
}
