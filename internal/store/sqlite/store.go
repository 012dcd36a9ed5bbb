// Package sqlite keeps evidence in one SQLite database of a data directory.
// It is the embedded backend of package store, whose comment is the contract.
//
// # Files
//
//	DIR/lock          held by the process that writes (flock)
//	DIR/runledger.db  the database, with -wal and -shm beside it while in use
//
// # Layout
//
// The tables are described where they are made, in migrations/. In short:
// one row a record in a table of its kind (r_trace_step, …), keyed by
// log_key << 40 | leaf_index so that every log appends at a point of its own;
// names, enumerations and arrays are numbers into names, run and trace ids
// numbers into spine. Views show the contract's tables. Triggers refuse
// mutation of evidence; [DB.Guards] reports missing ones.
//
// # Durability
//
// WAL with synchronous=FULL: a commit is synced to the log before Commit
// returns. There is one writing connection behind a mutex, and a pool of
// reading ones. Checkpoints of the log run on the writing connection, by the
// page count SQLite would use itself, but seen: a failed sync of the database
// file, which SQLite's automatic checkpoint keeps to itself, stops the store.
package sqlite

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

var _ store.Store = (*DB)(nil)

const (
	dbName   = "runledger.db"
	lockName = "lock"
)

var errClosed = errors.New("sqlite: store is closed")

// Config says what to open.
type Config struct {
	// Dir is the data directory. It is made, with mode 0700, if there is none.
	Dir string
	// Logger takes what is worth an operator's attention; nil is none.
	Logger *slog.Logger
	// Readers is the greatest number of pooled reading connections, each with
	// a cache of up to 8 MB. 0 is two per processor, at least 4.
	Readers int
}

// DB is an open store. All methods may be called from several goroutines.
type DB struct {
	queries
	path    string
	log     *slog.Logger
	lock    *os.File // nil where read-only
	w       *writer  // nil where read-only
	pool    *pool
	applied []Migration
	leases  leases
	closed  atomic.Bool
	all     lookAll
}

// Open opens the store in cfg.Dir for writing, and makes or migrates it as
// needed. Another process that has it open for writing is store.ErrLocked; a
// database that a newer program made is refused.
func Open(ctx context.Context, cfg Config) (_ *DB, err error) {
	if cfg.Dir == "" {
		return nil, errors.New("sqlite: no data directory given")
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("sqlite: %w", err)
	}
	lock, err := acquireLock(filepath.Join(cfg.Dir, lockName))
	if err != nil {
		return nil, err
	}
	db := &DB{path: filepath.Join(cfg.Dir, dbName), log: cfg.Logger, lock: lock}
	if db.log == nil {
		db.log = slog.New(slog.DiscardHandler)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, db.Close())
		}
	}()
	if err := createFile(db.path); err != nil {
		return nil, err
	}
	conn, err := openConn(db.path, forWriting)
	if err != nil {
		return nil, err
	}
	if db.applied, err = migrate(ctx, conn); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	for _, m := range db.applied {
		db.log.InfoContext(ctx, "database migrated", "version", m.Version, "name", m.Name)
	}
	if db.path, err = fileOf(conn); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	w, err := newWriter(conn, db.path, db.log)
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	db.w = w
	db.pool = newPool(db.path, forReading, cfg.Readers)
	db.queries = queries{db.pool.with}
	return db, nil
}

// OpenReadOnly opens the store in dir without taking the lock, so that it can
// be verified while a server writes to it, or none does. What would write
// returns evidence.ErrForbidden. Nothing in dir is changed, but for the -wal
// and -shm files that SQLite keeps beside a database in use.
func OpenReadOnly(ctx context.Context, dir string) (*DB, error) {
	db := &DB{path: filepath.Join(dir, dbName), log: slog.New(slog.DiscardHandler)}
	if _, err := os.Stat(db.path); err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("sqlite: no store in %s: %w", dir, evidence.ErrNotFound)
		}
		return nil, fmt.Errorf("sqlite: %w", err)
	}
	db.pool = newPool(db.path, readOnlyUse(db.path), 0)
	db.queries = queries{db.pool.with}
	err := db.pool.with(ctx, func(r *reader) error {
		version, err := checkVersion(r.conn)
		if err == nil && version < len(Migrations()) {
			err = fmt.Errorf("sqlite: the database has version %d of %d: open it for writing once, which migrates it", version, len(Migrations()))
		}
		return err
	})
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// Applied returns the migrations that opening the store ran, in order.
func (db *DB) Applied() []Migration { return db.applied }

// SingleWriter reports true: SQLite has one writer.
func (db *DB) SingleWriter() bool { return true }

// writing returns the writer, or why there is none.
func (db *DB) writing() (*writer, error) {
	switch {
	case db.closed.Load():
		return nil, errClosed
	case db.w == nil:
		return nil, fmt.Errorf("sqlite: store is open for reading only: %w", evidence.ErrForbidden)
	default:
		return db.w, nil
	}
}

// Commit implements store.Store.
func (db *DB) Commit(ctx context.Context, c *store.Commit) error {
	w, err := db.writing()
	if err != nil {
		return err
	}
	return w.transact(ctx, func() error { return w.writeCommit(c) })
}

// KeepCheckpoint implements store.Store.
func (db *DB) KeepCheckpoint(ctx context.Context, log store.LogRef, c store.Checkpoint) error {
	w, err := db.writing()
	if err != nil {
		return err
	}
	return w.transact(ctx, func() error {
		key, _, err := w.logKey(log)
		if err != nil {
			return err
		}
		return w.keepCheckpoint(key, c)
	})
}

// SetSetting implements store.Store.
func (db *DB) SetSetting(ctx context.Context, name, value string) error {
	w, err := db.writing()
	if err != nil {
		return err
	}
	return w.transact(ctx, func() error { return w.setSetting(name, value) })
}

// Scrub implements store.Store. Deleted content is overwritten where it stood
// when it is deleted (secure_delete), and where it had stood before SQLite moved it
// (sweep.go); Scrub moves that into the
// database file and truncates the write-ahead log, which holds older pages. A
// reader that does not let go of an old snapshot makes it return
// evidence.ErrUnavailable. The first one after Open reads the whole database, and so does one that comes after another
// program has checkpointed the log.
func (db *DB) Scrub(ctx context.Context) error {
	w, err := db.writing()
	if err != nil {
		return err
	}
	// Before: what the end of a look overwrites behind this checkpoint is not in the file.
	through := db.all.through(w.missed.Load())
	removed, err := w.scrub(ctx)
	if err != nil {
		return err
	}
	if through && db.all.through(w.missed.Load()) {
		return w.scrubbed(ctx, removed)
	}
	if err := db.sweepAll(ctx, w); err != nil {
		return err
	}
	if removed, err = w.scrub(ctx); err != nil {
		return err
	}
	return w.scrubbed(ctx, removed)
}

// Close closes the store and gives the lock back. It waits for reads and a
// commit that are running, not for snapshots, which stay open until they are
// closed.
func (db *DB) Close() error {
	if db.closed.Swap(true) {
		return nil
	}
	var errs []error
	if db.pool != nil {
		errs = append(errs, db.pool.close())
	}
	if db.w != nil {
		errs = append(errs, db.w.close())
	}
	if db.lock != nil {
		errs = append(errs, db.lock.Close()) // which unlocks
	}
	return errors.Join(errs...)
}
