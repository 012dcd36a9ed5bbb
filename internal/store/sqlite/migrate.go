package sqlite

import (
	"context"
	"embed"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitemigration"
	"zombiezen.com/go/sqlite/sqlitex"
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

// applicationID marks the database file as one of runledger's ("rlgr").
const applicationID = 0x726c6772

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
			panic("sqlite: migration " + f.Name() + " is out of order")
		}
		text, err := migrationFiles.ReadFile("migrations/" + f.Name())
		if err != nil {
			panic(err)
		}
		list = append(list, Migration{Version: i + 1, Name: name, sql: string(text)})
	}
	return list
}

// migrate brings the database up to date and returns what it ran. Each
// migration is a transaction of its own, which records its number in the
// database's user_version.
func migrate(ctx context.Context, conn *sqlite.Conn) ([]Migration, error) {
	before, err := checkVersion(conn)
	if err != nil {
		return nil, err
	}
	if before == len(migrations) {
		return nil, nil
	}
	schema := sqlitemigration.Schema{AppID: applicationID}
	for _, m := range migrations {
		schema.Migrations = append(schema.Migrations, m.sql)
	}
	if err := sqlitemigration.Migrate(ctx, conn, schema); err != nil {
		return nil, fmt.Errorf("sqlite: %w", err)
	}
	return Migrations()[before:], nil
}

// checkVersion returns the number of the last migration that the database
// has, and refuses one that is not ours or that a newer program made.
func checkVersion(conn *sqlite.Conn) (int, error) {
	version, err := pragmaInt(conn, "user_version")
	if err != nil {
		return 0, err
	}
	app, err := pragmaInt(conn, "application_id")
	if err != nil {
		return 0, err
	}
	switch {
	case app != applicationID && (app != 0 || version != 0):
		return 0, fmt.Errorf("sqlite: the database is not runledger's (application id %#x)", app)
	case version > len(migrations):
		return 0, fmt.Errorf("sqlite: the database has version %d and this program knows only %d: it was made by a newer runledger, use that one", version, len(migrations))
	}
	return version, nil
}

func pragmaInt(conn *sqlite.Conn, name string) (int, error) {
	var v int
	err := sqlitex.ExecuteTransient(conn, "PRAGMA "+name, &sqlitex.ExecOptions{
		ResultFunc: func(stmt *sqlite.Stmt) error {
			v = stmt.ColumnInt(0)
			return nil
		},
	})
	if err != nil {
		return 0, fmt.Errorf("sqlite: %s: %w", name, err)
	}
	return v, nil
}
