// Package postgres keeps evidence in a PostgreSQL database, 15 or later. It is
// the backend of package store for several processes and several machines; the
// contract is in that package's comment.
//
// # Layout
//
// The tables are described where they are made, in migrations/: those of the
// contract under their own names, one row a record, partitioned by month of
// recorded_at; every key begins with tenant_id. Their numbers mean the same as
// SQLite's, and each file says where it differs and why.
//
// # Roles
//
// The owner's role owns the schema and migrates it. The application's has the
// rights of the table classes (grants.go): what it must do beyond them, it does
// through functions of the owner that check for themselves. Triggers refuse
// mutation of evidence to both; [DB.Guards] reports what is missing.
//
// # Durability
//
// Each connection has synchronous_commit on, whatever the server's default. A
// commit is one transaction. Its first statement moves the head and so locks
// its row: commits to one log, by whichever process, come one after another,
// and the second finds the head moved. A connection that is lost while COMMIT
// is under way leaves the outcome unknown, which Commit says by an error
// without a sentinel.
package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/runledger/runledger/internal/store"
)

var _ store.Store = (*DB)(nil)

var errClosed = errors.New("postgres: store is closed")

// Defaults of Config.
const (
	DefaultSchema           = "runledger"
	DefaultReaders          = 16
	DefaultWriters          = 8
	DefaultStatementTimeout = time.Minute
)

// Config says what to open.
type Config struct {
	// DSN is the database as the application's role, a URL or key=value pairs.
	DSN string
	// OwnerDSN is the same database as the owner's role. It is needed to make or
	// migrate the schema; where it is empty the schema must be up to date.
	OwnerDSN string
	// Schema has the tables. Default: DefaultSchema.
	Schema string
	// Logger takes what is worth an operator's attention; nil is none.
	Logger *slog.Logger
	// Readers and Writers are the greatest numbers of connections that read and
	// write, snapshots not counted. 0 is the default.
	Readers, Writers int
	// StatementTimeout bounds each statement but those of snapshots. Default:
	// DefaultStatementTimeout; below 0: no bound.
	StatementTimeout time.Duration
	// ReadOnly opens the store for reading: what would write returns
	// evidence.ErrForbidden.
	ReadOnly bool
}

// DB is an open store. All methods may be called from several goroutines.
type DB struct {
	queries
	cfg     Config
	log     *slog.Logger
	readers *pool
	writers *pool // nil where read-only
	months  months
	applied []Migration
	closed  atomic.Bool
}

// Open connects to the database that cfg names, and migrates it where
// cfg.OwnerDSN is given. A database that a newer program made is refused.
func Open(ctx context.Context, cfg Config) (_ *DB, err error) {
	if cfg, err = cfg.complete(); err != nil {
		return nil, err
	}
	db := &DB{cfg: cfg, log: cfg.Logger}
	if cfg.OwnerDSN != "" && !cfg.ReadOnly {
		if db.applied, err = Migrate(ctx, cfg); err != nil {
			return nil, err
		}
	}
	reading, err := cfg.connConfig(cfg.DSN, true)
	if err != nil {
		return nil, err
	}
	db.readers = newPool(reading, cfg.Readers)
	db.queries = queries{db.readers.with}
	defer func() {
		if err != nil {
			err = errors.Join(err, db.Close())
		}
	}()
	if err := db.checkVersion(ctx); err != nil {
		return nil, err
	}
	if cfg.ReadOnly {
		return db, nil
	}
	writing, err := cfg.connConfig(cfg.DSN, false)
	if err != nil {
		return nil, err
	}
	db.writers = newPool(writing, cfg.Writers)
	if err := db.PartitionsAhead(ctx, time.Now(), monthsAhead); err != nil {
		return nil, err
	}
	return db, nil
}

func (cfg Config) complete() (Config, error) {
	if cfg.DSN == "" {
		return cfg, errors.New("postgres: no database given")
	}
	if cfg.Schema == "" {
		cfg.Schema = DefaultSchema
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Readers <= 0 {
		cfg.Readers = DefaultReaders
	}
	if cfg.Writers <= 0 {
		cfg.Writers = DefaultWriters
	}
	if cfg.StatementTimeout == 0 {
		cfg.StatementTimeout = DefaultStatementTimeout
	}
	return cfg, nil
}

// checkVersion refuses a schema that is not the one this program knows.
func (db *DB) checkVersion(ctx context.Context) error {
	return db.with(ctx, func(r *reader) error {
		var version int
		_, err := r.one(ctx, `SELECT coalesce(max(version), 0) FROM schema_migrations`, nil, &version)
		switch {
		case sqlState(err) == codeUndefinedTable:
			return fmt.Errorf("postgres: schema %s has no tables of runledger: migrate it, as its owner", db.cfg.Schema)
		case err != nil:
			return err
		case version > len(migrations):
			return newer(version)
		case version < len(migrations):
			return fmt.Errorf("postgres: schema %s has version %d of %d: migrate it, as its owner", db.cfg.Schema, version, len(migrations))
		}
		return nil
	})
}

// Applied returns the migrations that opening the store ran, in order.
func (db *DB) Applied() []Migration { return db.applied }

// SingleWriter reports false: each log is committed to by itself.
func (db *DB) SingleWriter() bool { return false }

// Scrub implements store.Store. There is nothing that this program could do:
// removed content stays in dead rows until VACUUM, in the write-ahead log until
// it is recycled, and in every backup, all of which are the operator's. It is
// encrypted under a key that is removed the same way, itself wrapped under the
// master keyset.
func (db *DB) Scrub(context.Context) error {
	if db.closed.Load() {
		return errClosed
	}
	return nil
}

// dial opens a connection of its own, outside of the pools and without a limit
// on statements: a snapshot lasts as long as its holder likes.
func (db *DB) dial(ctx context.Context) (*pgx.Conn, error) {
	if db.closed.Load() {
		return nil, errClosed
	}
	cfg := db.readers.cfg.Copy()
	cfg.RuntimeParams["statement_timeout"] = "0"
	return connect(ctx, cfg)
}

// Close closes the store. It waits for reads and commits that are running, not
// for snapshots, which stay open until they are closed.
func (db *DB) Close() error {
	if db.closed.Swap(true) {
		return nil
	}
	db.readers.close()
	if db.writers != nil {
		db.writers.close()
	}
	return nil
}
