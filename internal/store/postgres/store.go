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
//
// # Several processes
//
// Whoever loses the race for a head again and again takes a claim, which is that
// lock without a commit yet ([DB.Claim]). A log's successor is opened under the lock
// of its predecessor's head, and a data key is destroyed under that of its tenant's
// log, so a commit that holds it sees both as they stay. What an error means is
// told by SQLSTATE alone (errors.go).
//
// # Read replicas
//
// Reads that store.MayLag allows are answered by one of Config.Replicas, which is
// chosen once for their context; all others, and snapshots, by the primary. A
// replica has to be a streaming standby of it.
package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"

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
	DefaultLockTimeout      = 10 * time.Second
	DefaultReplicaLag       = 10 * time.Second
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
	// LockTimeout bounds how long a commit or a claim waits for another one.
	// Default: DefaultLockTimeout; below 0: no bound.
	LockTimeout time.Duration
	// Replicas are databases that follow the one of DSN by streaming replication,
	// as the application's role. They answer the reads that store.MayLag allows.
	Replicas []string
	// ReplicaLag is how old what a replica answers may be, by the time of its last
	// transaction, whatever a reader allows. Default: DefaultReplicaLag; below 0: no
	// bound.
	ReplicaLag time.Duration
	// Metrics takes the store's metrics; nil is none.
	Metrics prometheus.Registerer
	// Distributed is for Migrate alone: the tables are distributed over the nodes of
	// a Citus cluster. What is distributed stays so without it.
	Distributed bool
	// ReadOnly opens the store for reading: what would write returns
	// evidence.ErrForbidden.
	ReadOnly bool

	standstill time.Duration // 0: defaultStandstill
}

// DB is an open store. All methods may be called from several goroutines.
type DB struct {
	queries
	cfg      Config
	log      *slog.Logger
	readers  *pool
	writers  *pool // nil where read-only
	replicas replicas
	claims   chan struct{} // as many places as there may be claims
	metrics  *metrics
	months   months
	planned  planState
	applied  []Migration
	closed   atomic.Bool
}

// Open connects to the database that cfg names, and migrates it where
// cfg.OwnerDSN is given. A database that a newer program made is refused.
func Open(ctx context.Context, cfg Config) (_ *DB, err error) {
	if cfg, err = cfg.complete(); err != nil {
		return nil, err
	}
	db := &DB{cfg: cfg, log: cfg.Logger, metrics: newMetrics()}
	if cfg.OwnerDSN != "" && !cfg.ReadOnly {
		if db.applied, err = Migrate(ctx, cfg); err != nil {
			return nil, err
		}
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, db.Close())
		}
	}()
	if err := db.connect(); err != nil {
		return nil, err
	}
	if err := db.checkVersion(ctx); err != nil {
		return nil, err
	}
	if cfg.ReadOnly {
		return db, nil
	}
	err = db.with(ctx, func(r *reader) error {
		version, err := r.citusVersion(ctx)
		db.writers.spread.Store(version != "")
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := db.PartitionsAhead(ctx, time.Now(), monthsAhead); err != nil {
		return nil, err
	}
	return db, nil
}

// connect makes the pools. They connect when they are asked to.
func (db *DB) connect() (err error) {
	if db.readers, err = db.pool(db.cfg.DSN, reading); err != nil {
		return err
	}
	if !db.cfg.ReadOnly {
		if db.writers, err = db.pool(db.cfg.DSN, writing); err != nil {
			return err
		}
		db.claims = make(chan struct{}, db.cfg.Writers-1)
	}
	for _, dsn := range db.cfg.Replicas {
		p, err := db.pool(dsn, replaying)
		if err != nil {
			return fmt.Errorf("replica %d: %w", len(db.replicas.all)+1, err)
		}
		db.replicas.all = append(db.replicas.all, &replica{pool: p})
	}
	db.queries = queries{with: db.read, places: &places{}}
	return db.metrics.watch(db)
}

func (db *DB) pool(dsn string, as role) (*pool, error) {
	cfg, err := db.cfg.poolConfig(dsn, as)
	if err != nil {
		return nil, err
	}
	return newPool(cfg)
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
	cfg.Writers = max(cfg.Writers, 2) // one of them is never a claim's
	cfg.StatementTimeout = cmp.Or(cfg.StatementTimeout, DefaultStatementTimeout)
	cfg.standstill = cmp.Or(cfg.standstill, defaultStandstill)
	cfg.LockTimeout = cmp.Or(cfg.LockTimeout, DefaultLockTimeout)
	cfg.ReplicaLag = cmp.Or(cfg.ReplicaLag, DefaultReplicaLag)
	return cfg, nil
}

// checkVersion refuses a schema that is not the one this program knows.
func (db *DB) checkVersion(ctx context.Context) error {
	return db.with(ctx, func(r *reader) error {
		var version int
		_, err := r.one(ctx, `SELECT coalesce(max(version), 0) FROM schema_migrations`, nil, &version)
		switch {
		case sqlState(err) == codeUndefinedTable:
			return fmt.Errorf("postgres: schema %s has no tables of runledger: migrate it, as its owner (runledger migrate)", db.cfg.Schema)
		case err != nil:
			return err
		case version > len(migrations):
			return newer(version)
		case version < len(migrations):
			return fmt.Errorf("postgres: schema %s has version %d of %d: migrate it, as its owner (runledger migrate)", db.cfg.Schema, version, len(migrations))
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

// Prepare implements store.Store: nothing takes long here.
func (db *DB) Prepare(context.Context) error {
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
	cfg := db.readers.Config().ConnConfig
	cfg.RuntimeParams["statement_timeout"] = "0"
	cfg.RuntimeParams["idle_in_transaction_session_timeout"] = "0"
	return connect(ctx, cfg)
}

// Close closes the store. It waits for reads and commits that are running, not
// for snapshots, which stay open until they are closed.
func (db *DB) Close() error {
	if db.closed.Swap(true) {
		return nil
	}
	db.metrics.unwatch()
	for _, p := range append(db.replicas.pools(), db.readers, db.writers) {
		if p != nil {
			p.close()
		}
	}
	return nil
}
