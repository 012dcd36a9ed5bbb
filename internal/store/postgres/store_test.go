package postgres_test

import (
	"errors"
	"io"
	"testing"
	"time"

	"github.com/runledger/runledger/internal/store"
	"github.com/runledger/runledger/internal/store/pgtest"
	"github.com/runledger/runledger/internal/store/postgres"
	"github.com/runledger/runledger/internal/store/storetest"
)

// migrated returns a database that has the schema.
func migrated(t testing.TB) pgtest.DSNs {
	t.Helper()
	return pgtest.Copy(t, "migrated", func(dsns pgtest.DSNs) error {
		db, err := postgres.Open(t.Context(), config(dsns))
		if err != nil {
			return err
		}
		// The month of the suite's records: making it takes as long as a test.
		err = db.PartitionsAhead(t.Context(), time.UnixMicro(1_764_000_000_000_001), 0)
		return errors.Join(err, db.Close())
	})
}

func config(dsns pgtest.DSNs) postgres.Config {
	return postgres.Config{DSN: dsns.App, OwnerDSN: dsns.Owner}
}

// open opens a store as a server does, with the application's role alone.
func open(t testing.TB, dsns pgtest.DSNs) *postgres.DB {
	t.Helper()
	db, err := postgres.Open(t.Context(), postgres.Config{DSN: dsns.App})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeIt(t, db) })
	return db
}

func closeIt(t testing.TB, c io.Closer) {
	t.Helper()
	if err := c.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store { return open(t, migrated(t)) })
}

func TestShared(t *testing.T) {
	storetest.RunShared(t, func(t *testing.T) (a, b store.Store) {
		dsns := migrated(t)
		return open(t, dsns), open(t, dsns)
	})
}
