package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"

	"github.com/runledger/runledger/internal/archive"
	"github.com/runledger/runledger/internal/store"
)

// StoreSpec says which store to open.
type StoreSpec struct {
	// Data is the directory of an SQLite store. It is not looked at where Store is given.
	Data string
	// Store is the DSN of a PostgreSQL database as the application's role; "" for
	// SQLite in Data.
	Store string
	// Owner is the same database as the role that owns its schema.
	Owner string
	// Migrate makes or updates the schema, for which Owner is needed. SQLite does so
	// whenever it is opened for writing.
	Migrate bool
	// Create makes an SQLite store where there is none.
	Create bool
	// ReadOnly opens it for reading, and takes no lock.
	ReadOnly bool
	// Pool are the limits of PostgreSQL.
	Pool    PoolConfig
	Logger  *slog.Logger          // default: none
	Metrics prometheus.Registerer // default: none
}

// PoolConfig bounds what a process asks of PostgreSQL. Zero values are the defaults
// of package postgres.
type PoolConfig struct {
	Readers, Writers              int           // connections
	StatementTimeout, LockTimeout time.Duration // below 0: none
	// Replicas are DSNs of read replicas. ReplicaLag is how old what they answer may be;
	// below 0: any age.
	Replicas   []string
	ReplicaLag time.Duration
}

// OpenStore opens a store by itself, without a ledger, and returns how to close it. What
// has moved to an archive is read from there.
func OpenStore(ctx context.Context, spec StoreSpec) (store.Store, func() error, error) {
	c := Config{Data: cmp.Or(spec.Data, os.TempDir()), Store: spec.Store, Logger: spec.Logger}
	if err := c.completeLifecycle(); err != nil {
		return nil, nil, err
	}
	archives, err := c.openArchives()
	if err != nil {
		return nil, nil, err
	}
	b, err := openBackend(ctx, spec)
	if err != nil {
		return nil, nil, err
	}
	return archive.Cold(b.Store, archives.find), b.Close, nil
}

// migration is a step of a schema, of which the log has a record.
type migration struct {
	version int
	name    string
}

// backend is an open store, with what the contract does not say about its kind.
type backend struct {
	store.Store
	// kind is "sqlite" or "postgres".
	kind string
	// migrations are those that the schema has had, in order.
	migrations []migration
	// doctor looks for what is wrong with the database itself.
	doctor func(ctx context.Context) ([]Finding, error)
	// upkeep makes what the months to come need; nil where they need nothing.
	upkeep func(ctx context.Context, now time.Time) error
	// replicas says which read replica does not answer; nil where there are none.
	replicas func(ctx context.Context) string
	// until is the first moment that has no partition; nil where there are none.
	until func(ctx context.Context) (time.Time, error)
}

// shared reports that other processes may have the store open too.
func (b *backend) shared() bool { return !b.SingleWriter() }

func openBackend(ctx context.Context, spec StoreSpec) (*backend, error) {
	if spec.Logger == nil {
		spec.Logger = slog.New(slog.DiscardHandler)
	}
	if spec.Store == "" {
		return openSQLite(ctx, spec)
	}
	return openPostgres(ctx, spec)
}

// lockName is the file that holds the lock of a data directory, whatever is in it.
const lockName = "lock"

// lockData takes the lock of a data directory that has no database: its keyset, its
// socket and its spool are of one process at a time, though the database is not.
func lockData(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	switch {
	case err == nil:
		return f, nil
	case errors.Is(err, unix.EWOULDBLOCK):
		return nil, errors.Join(fmt.Errorf("%w: %s", store.ErrLocked, dir), f.Close())
	default:
		return nil, errors.Join(fmt.Errorf("lock %s: %w", dir, err), f.Close())
	}
}
