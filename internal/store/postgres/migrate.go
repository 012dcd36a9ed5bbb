package postgres

import (
	"context"
	"embed"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

// Migration is one step of the schema. A backend of another dialect has the
// same numbers with the same meaning. A migration that has been released is
// never changed.
type Migration struct {
	Version int    // from 1, without gaps
	Name    string // of its file, without number and suffix
	sql     string
}

var migrations = loadMigrations()

// Migrations returns all migrations that the program knows, in order.
func Migrations() []Migration { return slices.Clone(migrations) }

// loadMigrations panics on a misnamed file: it is embedded, so a test sees it.
func loadMigrations() []Migration {
	files, err := migrationFiles.ReadDir("migrations")
	if err != nil {
		panic(err)
	}
	var list []Migration
	for i, f := range files { // sorted by name
		number, name, _ := strings.Cut(strings.TrimSuffix(f.Name(), ".sql"), "_")
		if v, err := strconv.Atoi(number); err != nil || v != i+1 || len(number) != 4 || name == "" {
			panic("postgres: migration " + f.Name() + " is out of order")
		}
		text, err := migrationFiles.ReadFile("migrations/" + f.Name())
		if err != nil {
			panic(err)
		}
		list = append(list, Migration{Version: i + 1, Name: name, sql: string(text)})
	}
	return list
}

const (
	sqlMigrationsTable = `CREATE TABLE IF NOT EXISTS schema_migrations (
		version    bigint PRIMARY KEY,
		name       text NOT NULL,
		applied_at bigint NOT NULL -- microseconds
	)`
	// Two processes that start together migrate one after the other.
	sqlMigrationsLock = `LOCK TABLE schema_migrations IN SHARE ROW EXCLUSIVE MODE`
	sqlMigrated       = `SELECT coalesce(max(version), 0) FROM schema_migrations`
	sqlAddMigration   = `INSERT INTO schema_migrations (version, name, applied_at) VALUES ($1, $2, $3)`
)

// Migrate makes or updates the schema as its owner, gives the application's
// role its rights, makes the partitions of the months to come, and returns the
// migrations that it ran. With cfg.Distributed it distributes the tables over the
// nodes of a Citus cluster (distribute.go), at first or any later time. Of cfg it
// uses OwnerDSN, Schema, Distributed, Logger, and the user of DSN.
func Migrate(ctx context.Context, cfg Config) ([]Migration, error) {
	cfg, err := cfg.complete()
	if err != nil {
		return nil, err
	}
	app, err := pgx.ParseConfig(cfg.DSN)
	if err != nil {
		return nil, fmt.Errorf("postgres: %w", err)
	}
	owner, err := cfg.connConfig(cfg.OwnerDSN, owning)
	if err != nil {
		return nil, err
	}
	conn, err := connect(ctx, owner)
	if err != nil {
		return nil, fmt.Errorf("postgres: connect as the owner: %w", fault(err))
	}
	defer func() { (&pooled{Conn: conn}).discard() }()
	for _, sql := range sqlDistributedSession {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return nil, fmt.Errorf("postgres: %w", fault(err))
		}
	}
	if err := makeSchema(ctx, conn, cfg.Schema); err != nil {
		return nil, fmt.Errorf("postgres: make schema %s: %w", cfg.Schema, fault(err))
	}
	var ran []Migration
	for _, m := range migrations {
		done, err := apply(ctx, conn, m)
		if err != nil {
			return ran, fmt.Errorf("postgres: migration %d (%s): %w", m.Version, m.Name, fault(err))
		}
		if done {
			ran = append(ran, m)
			cfg.Logger.InfoContext(ctx, "database migrated", "version", m.Version, "name", m.Name)
		}
	}
	if cfg.Distributed {
		if err := distribute(ctx, conn, cfg.Logger); err != nil {
			return ran, fmt.Errorf("postgres: distribute: %w", err)
		}
	}
	if err := grant(ctx, conn, cfg.Schema, app.User); err != nil {
		return ran, fmt.Errorf("postgres: rights of role %s: %w", app.User, fault(err))
	}
	now := monthOf(time.Now())
	if _, err := conn.Exec(ctx, sqlEnsurePartitions, now.date(), (now + monthsAhead).date()); err != nil {
		return ran, fmt.Errorf("postgres: partitions: %w", fault(err))
	}
	return ran, nil
}

// makeSchema makes the schema and the table of migrations. IF NOT EXISTS does not
// see what another process is about to commit, and fails on it then: it is there
// at the next try.
func makeSchema(ctx context.Context, conn *pgx.Conn, schema string) (err error) {
	for _, sql := range []string{`CREATE SCHEMA IF NOT EXISTS ` + pgx.Identifier{schema}.Sanitize(), sqlMigrationsTable} {
		for range 3 {
			if _, err = conn.Exec(ctx, sql); !isThere(err) {
				break
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// isThere reports that what is made is there, or was made by another at the same
// time: which of the catalogs tells first is chance.
func isThere(err error) bool {
	switch sqlState(err) {
	case codeUnique, "42710", "42P06", "42P07": // an object, a schema, a table
		return true
	}
	return false
}

// apply runs a migration if it is the next one. Each is a transaction, which
// records its number.
func apply(ctx context.Context, conn *pgx.Conn, m Migration) (done bool, err error) {
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, sqlMigrationsLock); err != nil {
			return err
		}
		var version int
		if err := tx.QueryRow(ctx, sqlMigrated).Scan(&version); err != nil {
			return err
		}
		switch {
		case version > len(migrations):
			return newer(version)
		case version >= m.Version:
			return nil
		case version != m.Version-1:
			return fmt.Errorf("the schema has version %d", version)
		}
		if _, err := tx.Conn().PgConn().Exec(ctx, m.sql).ReadAll(); err != nil { // several statements
			return err
		}
		done = true
		_, err := tx.Exec(ctx, sqlAddMigration, m.Version, m.Name, time.Now().UnixMicro())
		return err
	})
	return done && err == nil, err
}

func newer(version int) error {
	return fmt.Errorf("postgres: the schema has version %d and this program knows only %d: it was made by a newer runledger, use that one", version, len(migrations))
}
