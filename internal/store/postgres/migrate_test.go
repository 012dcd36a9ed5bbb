package postgres_test

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/runledger/runledger/internal/store/pgtest"
	"github.com/runledger/runledger/internal/store/postgres"
)

// TestMigrateTogether has several processes start on an empty database.
func TestMigrateTogether(t *testing.T) {
	t.Parallel()
	dsns := pgtest.Database(t)
	var wg sync.WaitGroup
	var mu sync.Mutex
	ran := 0
	for range 4 {
		wg.Go(func() {
			db, err := postgres.Open(context.Background(), config(dsns))
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			ran += len(db.Applied())
			mu.Unlock()
			if err := db.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if want := len(postgres.Migrations()); ran != want {
		t.Errorf("%d migrations ran, want %d", ran, want)
	}
	if list, err := open(t, dsns).Guards(t.Context()); err != nil || len(list) > 0 {
		t.Errorf("guards say %q, %v", list, err)
	}
}

// TestOpenRefused sees that a schema which is not this program's is not used.
func TestOpenRefused(t *testing.T) {
	t.Parallel()
	dsns := pgtest.Database(t)
	wantRefused := func(cfg postgres.Config, why string) {
		t.Helper()
		db, err := postgres.Open(t.Context(), cfg)
		if err == nil {
			closeIt(t, db)
		}
		if err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("opened: %v, want %q", err, why)
		}
	}
	app := postgres.Config{DSN: dsns.App}
	wantRefused(postgres.Config{}, "no database")
	wantRefused(app, "no tables")
	db, err := postgres.Open(t.Context(), config(dsns))
	if err != nil {
		t.Fatal(err)
	}
	closeIt(t, db)
	owner := shell(t, dsns.Owner)
	list := postgres.Migrations()
	last := list[len(list)-1]
	run(t, owner, fmt.Sprintf("DELETE FROM schema_migrations WHERE version = %d", last.Version))
	wantRefused(app, fmt.Sprintf("version %d of %d", last.Version-1, last.Version))
	run(t, owner, fmt.Sprintf("INSERT INTO schema_migrations VALUES (%d, '%s', 0), (%d, 'later', 0)", last.Version, last.Name, last.Version+1))
	wantRefused(app, "newer runledger")
	wantRefused(config(dsns), "newer runledger")
}

// TestSchemaName puts two stores into one database, one in a schema whose name
// needs quotes.
func TestSchemaName(t *testing.T) {
	t.Parallel()
	dsns := migrated(t)
	cfg := config(dsns)
	cfg.Schema = `Odd "name", really`
	odd, err := postgres.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer closeIt(t, odd)
	l := fillAll(t, odd)
	if list, err := odd.Guards(t.Context()); err != nil || len(list) > 0 {
		t.Errorf("guards say %q, %v", list, err)
	}
	wantHead(t, odd, l, l.head)
	if logs, err := open(t, dsns).Logs(t.Context(), ""); err != nil || len(logs) != 0 {
		t.Errorf("the other schema has %v, %v", logs, err)
	}
}

// TestSameMigrations sees that a number means the same in both backends.
func TestSameMigrations(t *testing.T) {
	t.Parallel()
	theirs, err := filepath.Glob("../sqlite/migrations/*.sql")
	if err != nil {
		t.Fatal(err)
	}
	for i := range theirs {
		theirs[i] = filepath.Base(theirs[i])
	}
	var ours []string
	for _, m := range postgres.Migrations() {
		ours = append(ours, fmt.Sprintf("%04d_%s.sql", m.Version, m.Name))
	}
	if diff := cmp.Diff(theirs, ours); diff != "" {
		t.Errorf("migrations (-SQLite's +PostgreSQL's):\n%s", diff)
	}
}
