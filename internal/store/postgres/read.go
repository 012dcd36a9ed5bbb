package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/runledger/runledger/evidence"
)

// queries are the methods of store.Reader, over whatever lends a connection:
// the pool, or a snapshot.
type queries struct {
	with   func(ctx context.Context, f func(*reader) error) error
	places *places // of the store; nil: each read by position visits all partitions
}

// reader is one connection. It belongs to one goroutine at a time.
type reader struct {
	conn *pgx.Conn
	// answers is called before an answer is passed on, if it is set; its error is
	// the query's.
	answers func() error
}

// run asks a query and calls row for each row of the result. What is left when
// row returns an error is read and dropped, so a query without a bound of its
// own goes through pages. What is asked for by a text that no column can hold is
// not there.
func (r *reader) run(ctx context.Context, query string, row func(pgx.Rows) error, args ...any) error {
	for _, a := range args {
		if text, ok := a.(string); ok && !storable(text) {
			return nil
		}
	}
	rows, err := r.conn.Query(ctx, query, args...)
	if err != nil {
		return asked(ctx, err)
	}
	defer rows.Close()
	said := r.answers == nil
	for rows.Next() {
		if !said {
			if err := r.answers(); err != nil {
				return err
			}
			said = true
		}
		if err := row(rows); err != nil {
			return err
		}
	}
	if err := asked(ctx, rows.Err()); err != nil || said {
		return err
	}
	return r.answers() // that there is nothing
}

// one is run for a query that yields at most one row, which is scanned into to.
func (r *reader) one(ctx context.Context, query string, args []any, to ...any) (found bool, err error) {
	err = r.run(ctx, query, func(rows pgx.Rows) error {
		found = true
		return scan(rows, to...)
	}, args...)
	return found, err
}

// Rows of the first page of a long result, and of the greatest. Many callers
// stop at the first row that fits: they should not pay for those behind it.
const (
	firstPage = 16
	lastPage  = 1024
)

// pages calls read with growing limits, until it has yielded fewer rows than it
// might. read goes on behind its last row. What comes between two pages is
// seen, which for an append-only table is a later state of it.
func pages(read func(limit int) (n int, err error)) error {
	for limit := firstPage; ; limit = min(4*limit, lastPage) {
		if n, err := read(limit); err != nil || n < limit {
			return err
		}
	}
}

// pagesOf is pages where it is known that there are fewer than so many rows, unless
// something is wrong: few are one page.
func pagesOf(rows int64, read func(limit int) (n int, err error)) error {
	if rows <= lastPage {
		if n, err := read(int(rows)); err != nil || int64(n) < rows {
			return err
		}
	}
	return pages(read)
}

// widePage is how many rows of a few numbers one answer has.
const widePage = 8192

// wide is pagesOf for rows of a few numbers each, whose callers want most of them: its pages are as
// large as can be from the first on.
func wide(rows int64, read func(limit int) (n int, err error)) error {
	limit := int(min(rows, widePage))
	for {
		if n, err := read(limit); err != nil || n < limit {
			return err
		}
	}
}

// asked gives the error of a query its sentinel. Who has called it off gets
// the reason, and not what the driver made of it.
func asked(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	default:
		return fault(err)
	}
}

// scan reads a row. A value that does not fit its variable is damage: no commit
// writes one.
func scan(rows pgx.Rows, to ...any) error {
	if err := rows.Scan(to...); err != nil {
		return fmt.Errorf("postgres: a row cannot be read: %w: %w", evidence.ErrTampered, err)
	}
	return nil
}

func notFound(format string, args ...any) error {
	return fmt.Errorf("postgres: %w: %w", fmt.Errorf(format, args...), evidence.ErrNotFound)
}
