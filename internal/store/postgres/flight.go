package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// A flight is statements that go to the server together and so take one round trip. They
// run in order, and none behind one that fails. Each is prepared once a connection.
//
// pgx has batches of its own; their arguments are values behind interfaces, and here rows
// are encoded already, as a copier has them: what a column is in COPY's binary format it is
// as an argument, too.
type flight struct {
	conn    *pooled
	batch   pgconn.Batch
	settled []func(pgconn.CommandTag, error) error
	err     error // why a statement could not be added
}

// inBinary says that all arguments are in binary format.
var inBinary = []int16{pgx.BinaryFormatCode}

// add adds a statement with arguments that are encoded. settled is told how it went.
func (f *flight) add(ctx context.Context, sql string, args [][]byte, settled func(pgconn.CommandTag, error) error) {
	d := f.prepare(ctx, sql)
	if d != nil {
		f.batch.ExecStatement(d, args, inBinary, nil)
		f.settled = append(f.settled, settled)
	}
}

// query adds a statement with arguments as pgx takes them.
func (f *flight) query(ctx context.Context, sql string, args ...any) {
	d := f.prepare(ctx, sql)
	if d == nil {
		return
	}
	var q pgx.ExtendedQueryBuilder
	if f.err = q.Build(f.conn.TypeMap(), d, args); f.err == nil {
		f.batch.ExecStatement(d, q.ParamValues, q.ParamFormats, nil)
		f.settled = append(f.settled, func(_ pgconn.CommandTag, err error) error { return err })
	}
}

func (f *flight) prepare(ctx context.Context, sql string) *pgconn.StatementDescription {
	if f.err != nil {
		return nil
	}
	var d *pgconn.StatementDescription
	d, f.err = f.conn.Prepare(ctx, sql, sql)
	return d
}

// fly sends what was added and returns the first error.
func (f *flight) fly(ctx context.Context) error {
	if f.err != nil || len(f.settled) == 0 {
		return f.err
	}
	results := f.conn.PgConn().ExecBatch(ctx, &f.batch)
	var failed error
	n := 0
	for ; results.NextResult(); n++ {
		tag, err := results.ResultReader().Close()
		if err = f.settled[n](tag, err); err != nil && failed == nil {
			failed = err
		}
	}
	err := results.Close()
	if failed == nil && err != nil && n < len(f.settled) {
		return f.settled[n](pgconn.CommandTag{}, err)
	}
	if failed != nil {
		return failed
	}
	return err
}
