package sqlite

import (
	"context"
	"errors"
	"fmt"

	"zombiezen.com/go/sqlite"
)

// maxFound bounds the statements that a connection keeps for queries. There
// are as many as there are combinations of filters, and who asks chooses them.
const maxFound = 64

// cached is run for a query whose SQL is made as it is asked for. row may not
// call cached.
func (r *reader) cached(ctx context.Context, query string, row func(s *sqlite.Stmt) error, args ...any) error {
	s, ok := r.found[query]
	if !ok {
		if len(r.found) >= maxFound {
			if err := r.dropFound(); err != nil {
				return fault(err, false)
			}
		}
		var err error
		if s, _, err = r.conn.PrepareTransient(query); err != nil {
			return fmt.Errorf("sqlite: %w", fault(err, false))
		}
		r.found[query] = s
	}
	return exec(ctx, s, row, args)
}

func (r *reader) dropFound() error {
	var errs []error
	for _, s := range r.found {
		errs = append(errs, s.Finalize())
	}
	clear(r.found)
	return errors.Join(errs...)
}

// close closes the connection, which is refused while it has statements.
func (r *reader) close() error { return errors.Join(r.dropFound(), r.conn.Close()) }

// interruptible lets the end of ctx end what the connection does, however long
// it takes to the next row, until the function returned is called.
func (r *reader) interruptible(ctx context.Context) (end func()) {
	old := r.conn.SetInterrupt(ctx.Done())
	return func() { r.conn.SetInterrupt(old) }
}
