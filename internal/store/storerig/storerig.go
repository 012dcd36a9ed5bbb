// Package storerig gives tests of other packages a store of the backend that
// RUNLEDGER_TEST_STORE names: sqlite, which is the default, or postgres. The same
// tests run on both.
//
// A store belongs to a data directory, whatever the backend: SQLite has its files
// there, and of PostgreSQL a file there names a database that was made for the
// directory (see pgtest). So what a test does with directories it can do on both:
// open one again, copy one, hand one to another process.
//
// A database goes some time after its directory did, at the latest with the test
// process's cluster. Without PostgreSQL a test that asks for it fails: who sets the
// variable wants to know.
package storerig

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/runledger/runledger/internal/store"
	"github.com/runledger/runledger/internal/store/postgres"
	"github.com/runledger/runledger/internal/store/sqlite"
)

// Env names the backend.
const Env = "RUNLEDGER_TEST_STORE"

// Backends.
const (
	SQLite   = "sqlite"
	Postgres = "postgres"
)

// Backend returns the backend that tests run on.
func Backend() string {
	switch name := os.Getenv(Env); name {
	case "", SQLite:
		return SQLite
	case Postgres:
		return Postgres
	default:
		panic(fmt.Sprintf("%s is %q; it may be %s or %s", Env, name, SQLite, Postgres))
	}
}

// OnPostgres reports whether tests run on PostgreSQL.
func OnPostgres() bool { return Backend() == Postgres }

// Only skips a test on the other backend, and says why there is nothing of it to
// test there.
func Only(t testing.TB, backend, why string) {
	t.Helper()
	if Backend() != backend {
		t.Skipf("only on %s: %s", backend, why)
	}
}

// Open opens the store of a data directory, as a server does: on PostgreSQL with the
// rights of the application's role. Where there is none it makes one, and the
// directory.
func Open(ctx context.Context, dir string) (store.Store, error) {
	if !OnPostgres() {
		db, err := sqlite.Open(ctx, sqlite.Config{Dir: dir})
		if err != nil {
			return nil, err // not a store that is a nil pointer
		}
		return db, nil
	}
	return open(ctx, dir, false)
}

// OpenReadOnly opens the store of a data directory for reading, beside whoever
// writes there. There must be one.
func OpenReadOnly(ctx context.Context, dir string) (store.Store, error) {
	if !OnPostgres() {
		db, err := sqlite.OpenReadOnly(ctx, dir)
		if err != nil {
			return nil, err
		}
		return db, nil
	}
	return open(ctx, dir, true)
}

func open(ctx context.Context, dir string, readOnly bool) (store.Store, error) {
	if !readOnly {
		if err := Make(dir); err != nil {
			return nil, err
		}
	}
	dsns, err := read(dir)
	if err != nil {
		return nil, err
	}
	db, err := postgres.Open(ctx, postgres.Config{DSN: dsns.App, ReadOnly: readOnly})
	if err != nil {
		return nil, err
	}
	return db, nil
}

// Make makes a data directory whose store can be opened by another process, which
// could not make a database that outlives it. Where there is a store it does nothing.
func Make(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil || !OnPostgres() {
		return err
	}
	if _, err := read(dir); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return databases.make(dir, nil)
}

// Copy copies a data directory with its store, both closed, to a directory that is
// not there. Any other directory is copied too, as it is.
func Copy(to, from string) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return err
	}
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		return err
	}
	dsns, err := read(from)
	if errors.Is(err, os.ErrNotExist) {
		return nil // SQLite, or not a data directory
	}
	if err != nil {
		return err
	}
	return databases.make(to, &dsns)
}

// Replace is Copy in place of what is there.
func Replace(to, from string) error {
	if err := os.RemoveAll(to); err != nil {
		return err
	}
	return Copy(to, from)
}

// DSN returns what a server's configuration needs to know of the store of a data
// directory, which is made where there is none: the database as the application's
// role and as the owner's. On SQLite both are empty.
func DSN(dir string) (app, owner string, err error) {
	if !OnPostgres() {
		return "", "", nil
	}
	if err := Make(dir); err != nil {
		return "", "", err
	}
	dsns, err := read(dir)
	return dsns.App, dsns.Owner, err
}
