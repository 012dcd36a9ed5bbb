package postgres

import (
	"context"
	"errors"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"

	"github.com/runledger/runledger/internal/store"
)

// sqlKeepPartitions keeps partitions from being dropped until the transaction's end. A partition
// is found in the catalogue as it is now, and rows as they were: of one that took
// another's place since, a transaction with an older view would see no row. Who wants
// to drop one gives up meanwhile, as for any reader.
var sqlKeepPartitions = `LOCK TABLE ` + strings.Join(partitioned, ", ") + ` IN ACCESS SHARE MODE`

// snapshot is a connection of its own in a transaction that reads: all its
// queries see what the first one saw. A query that is called off ends the
// connection, and with it the snapshot.
type snapshot struct {
	queries
	mu     sync.Mutex // guards what follows: methods may be called from several goroutines
	conn   *pgx.Conn
	closed bool
}

// Snapshot implements store.Store. It is of the primary, whatever ctx allows. While
// it is open, the server cannot clean up what was deleted or updated since: close it
// when done.
func (db *DB) Snapshot(ctx context.Context) (store.Snapshot, error) {
	if ctx.Err() != nil {
		return nil, calledOff(ctx)
	}
	conn, err := db.dial(ctx)
	if err != nil {
		return nil, asked(ctx, err)
	}
	s := &snapshot{conn: conn}
	s.queries = queries{with: s.with, places: db.places}
	// The view is taken by the first query. A lock is none.
	for _, sql := range []string{`BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY`, sqlKeepPartitions, `SELECT 1`} {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return nil, errors.Join(asked(ctx, err), s.Close())
		}
	}
	return s, nil
}

func (s *snapshot) with(ctx context.Context, f func(*reader) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return errors.New("postgres: snapshot is closed")
	case ctx.Err() != nil:
		return calledOff(ctx)
	}
	return f(&reader{conn: s.conn})
}

// Close ends the snapshot.
func (s *snapshot) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.closed = true
		(&pooled{Conn: s.conn}).discard()
	}
	return nil
}
