package sqlite

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"

	"zombiezen.com/go/sqlite"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

// reader is one reading connection. It belongs to one goroutine at a time.
type reader struct {
	conn *sqlite.Conn
	// What numbers stand for, remembered for the length of one call: a later
	// one must see what the database has by then, so that verification in a
	// running process sees a name that was changed behind it.
	names map[int64]string
	lists map[int64][]string
	spine map[spineNo]string
	logs  map[int64]logInfo
	// Statements that are made as they are asked for, by their SQL: see cached.
	found map[string]*sqlite.Stmt
}

type spineNo struct{ tenant, no int64 }

type logInfo struct {
	tenant int64
	no     int
}

// cacheLimit bounds each of a reader's maps within one call.
const cacheLimit = 8 << 10

func newReader(path string, u use) (*reader, error) {
	conn, err := openConn(path, u)
	if err != nil {
		return nil, err
	}
	return &reader{
		conn: conn, names: map[int64]string{}, lists: map[int64][]string{},
		spine: map[spineNo]string{}, logs: map[int64]logInfo{}, found: map[string]*sqlite.Stmt{},
	}, nil
}

func (r *reader) forget() {
	clear(r.names)
	clear(r.lists)
	clear(r.spine)
	clear(r.logs)
}

func remember[K comparable, V any](m map[K]V, k K, v V) V {
	if len(m) >= cacheLimit {
		clear(m)
	}
	m[k] = v
	return v
}

// run prepares a query, binds what is given (int64, string, []byte) and calls
// row for each row of the result.
func (r *reader) run(ctx context.Context, query string, row func(s *sqlite.Stmt) error, args ...any) error {
	s, err := r.conn.Prepare(query)
	if err != nil {
		return fmt.Errorf("sqlite: %w", fault(err, false))
	}
	return exec(ctx, s, row, args)
}

// exec binds args to a statement and calls row for each row of its result.
func exec(ctx context.Context, s *sqlite.Stmt, row func(s *sqlite.Stmt) error, args []any) (err error) {
	defer func() {
		if rerr := s.Reset(); err == nil && rerr != nil {
			err = fault(rerr, false)
		}
	}()
	for i, a := range args {
		switch v := a.(type) {
		case int64:
			s.BindInt64(i+1, v)
		case string:
			s.BindText(i+1, v)
		case []byte:
			s.BindBytes(i+1, v)
		default:
			return fmt.Errorf("sqlite: cannot bind %T", a)
		}
	}
	for n := 0; ; n++ {
		if n%64 == 63 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		more, err := s.Step()
		if err != nil {
			return fault(err, false)
		}
		if !more {
			return nil
		}
		if err := row(s); err != nil {
			return err
		}
	}
}

// one is run for a query that yields at most one row.
func (r *reader) one(ctx context.Context, query string, row func(s *sqlite.Stmt), args ...any) (found bool, err error) {
	err = r.run(ctx, query, func(s *sqlite.Stmt) error {
		found = true
		row(s)
		return nil
	}, args...)
	return found, err
}

// blob returns a copy of a column's bytes.
func blob(s *sqlite.Stmt, col int) []byte {
	n := s.ColumnLen(col)
	if n == 0 {
		return nil
	}
	b := make([]byte, n)
	s.ColumnBytes(col, b)
	return b
}

// pool lends reading connections. It opens them as they are wanted, and lends the one first that
// came back last: a commit empties the page cache of each connection that reads after it, so
// that who reads one thing after another should not go round all of them.
type pool struct {
	path string
	use  use
	lent chan struct{} // has room for as many as may be lent
	done chan struct{} // closed by close
	once sync.Once

	mu   sync.Mutex
	idle []*reader // the one that came back last at the end
}

func newPool(path string, u use, size int) *pool {
	if size <= 0 {
		size = max(4, 2*runtime.GOMAXPROCS(0))
	}
	return &pool{path: path, use: u, lent: make(chan struct{}, size), done: make(chan struct{})}
}

// with lends a connection to f.
func (p *pool) with(ctx context.Context, f func(*reader) error) error {
	select {
	case <-p.done:
		return errClosed
	default:
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	select {
	case p.lent <- struct{}{}:
	case <-p.done:
		return errClosed
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	r := p.take()
	// Given back also where f panics, else the pool would run dry.
	defer func() { p.giveBack(r) }()
	if r == nil {
		var err error
		if r, err = newReader(p.path, p.use); err != nil {
			r = nil
			return fault(err, false)
		}
	}
	r.forget()
	return f(r)
}

// take returns nil where none is open that is not lent.
func (p *pool) take() *reader {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.idle)
	if n == 0 {
		return nil
	}
	r := p.idle[n-1]
	p.idle = p.idle[:n-1]
	return r
}

func (p *pool) giveBack(r *reader) {
	if r != nil {
		p.mu.Lock()
		p.idle = append(p.idle, r)
		p.mu.Unlock()
	}
	<-p.lent
}

// close waits for lent connections.
func (p *pool) close() error {
	var errs []error
	p.once.Do(func() {
		close(p.done)
		for range cap(p.lent) {
			p.lent <- struct{}{}
		}
		for r := p.take(); r != nil; r = p.take() {
			errs = append(errs, r.close())
		}
	})
	return errors.Join(errs...)
}

// snapshot is a connection of its own in a read transaction.
type snapshot struct {
	queries
	mu     sync.Mutex // guards r: its methods may be called from several goroutines
	r      *reader
	closed bool
}

// Snapshot implements store.Store. While it is open, the write-ahead log
// cannot begin anew and grows: close it when done.
func (db *DB) Snapshot(ctx context.Context) (store.Snapshot, error) {
	switch {
	case db.closed.Load():
		return nil, errClosed
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	}
	r, err := newReader(db.path, db.pool.use)
	if err != nil {
		return nil, fault(err, false)
	}
	s := &snapshot{r: r}
	s.queries = queries{s.with}
	// The transaction begins with its first read.
	for _, q := range []string{"BEGIN", "SELECT 1 FROM tenants"} {
		if _, err := r.one(ctx, q, func(*sqlite.Stmt) {}); err != nil {
			return nil, errors.Join(err, r.close())
		}
	}
	return s, nil
}

func (s *snapshot) with(ctx context.Context, f func(*reader) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return fmt.Errorf("sqlite: snapshot is closed")
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	return f(s.r)
}

// Close ends the snapshot.
func (s *snapshot) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	return s.r.close()
}

func notFound(format string, args ...any) error {
	return fmt.Errorf("sqlite: %w: %w", fmt.Errorf(format, args...), evidence.ErrNotFound)
}
