package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store/sqlite"
)

const databaseName = "runledger.db"

// exists reports whether a directory holds an SQLite store.
func exists(dir string) (bool, error) {
	_, err := os.Stat(filepath.Join(dir, databaseName))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

func openSQLite(ctx context.Context, spec StoreSpec) (*backend, error) {
	there, err := exists(spec.Data)
	if err != nil {
		return nil, err
	}
	if !there && (!spec.Create || spec.ReadOnly) {
		return nil, noLedger(spec.Data)
	}
	var db *sqlite.DB
	if spec.ReadOnly {
		db, err = sqlite.OpenReadOnly(ctx, spec.Data)
	} else {
		db, err = sqlite.Open(ctx, sqlite.Config{Dir: spec.Data, Logger: spec.Logger})
	}
	if err != nil {
		return nil, err
	}
	b := &backend{Store: db, kind: "sqlite"}
	for _, m := range sqlite.Migrations() {
		b.migrations = append(b.migrations, migration{m.Version, m.Name})
	}
	b.doctor = func(ctx context.Context) ([]Finding, error) {
		lines, err := db.Guards(ctx)
		var list []Finding
		for _, line := range lines {
			list = append(list, Finding{"D_SCHEMA", SeverityBroken, line, "Find out what changed the database, and put a backup back: runledger verify says what came of it."})
		}
		return list, err
	}
	return b, nil
}

func noLedger(where string) error {
	return fmt.Errorf("%s: %w: there is no ledger in it (runledger init makes one)", where, evidence.ErrNotFound)
}

// migrateSQLite opens a store for writing, which is all it takes.
func migrateSQLite(ctx context.Context, cfg Config, ran *[]Migrated) error {
	there, err := exists(cfg.Data)
	if err != nil {
		return err
	}
	if !there {
		return noLedger(cfg.Data)
	}
	db, err := sqlite.Open(ctx, sqlite.Config{Dir: cfg.Data, Logger: cfg.Logger})
	if err != nil {
		return err
	}
	for _, m := range db.Applied() {
		*ran = append(*ran, Migrated{m.Version, m.Name})
	}
	return db.Close()
}
