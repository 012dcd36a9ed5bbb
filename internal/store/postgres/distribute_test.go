package postgres_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
	"github.com/runledger/runledger/internal/store/pgtest"
	"github.com/runledger/runledger/internal/store/postgres"
	"github.com/runledger/runledger/internal/store/storetest"
)

// envCitus names a database of a Citus cluster, as a superuser on its coordinator.
// The schemas that the tests make in it go with them; its roles runledger_owner and
// runledger_app, with rights of this database, are made where they are not there.
const envCitus = "RUNLEDGER_TEST_CITUS_DSN"

// TestDistributeWithout sees what is said where there is no Citus.
func TestDistributeWithout(t *testing.T) {
	t.Parallel()
	cfg := config(pgtest.Database(t))
	cfg.Distributed = true
	ran, err := postgres.Migrate(t.Context(), cfg)
	if err == nil || !strings.Contains(err.Error(), "CREATE EXTENSION citus") {
		t.Errorf("distributed without Citus: %v", err)
	}
	if len(ran) != len(postgres.Migrations()) {
		t.Errorf("%d migrations ran", len(ran))
	}
	// It is whole, and works undistributed.
	cfg.Distributed = false
	if _, err := postgres.Migrate(t.Context(), cfg); err != nil {
		t.Error(err)
	}
	db := open(t, pgtest.DSNs{App: cfg.DSN})
	fillAll(t, db)
	wantDoctor(t, db)
}

// TestTenantTables sees that every table has a place: with its tenant, everywhere, or on the
// coordinator.
func TestTenantTables(t *testing.T) {
	t.Parallel()
	dsns := migrated(t)
	placed := map[string]bool{}
	distributed, copied, local := postgres.Places()
	if !slices.Equal(local, []string{"leases", "settings", "api_keys"}) {
		t.Errorf("the coordinator alone has %v", local)
	}
	for _, table := range slices.Concat(distributed, copied, local) {
		if placed[table] {
			t.Errorf("%s has two places", table)
		}
		placed[table] = true
	}
	for _, table := range texts(t, shell(t, dsns.Owner), `SELECT relname::text FROM pg_class
		WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition`) {
		if !placed[table] {
			t.Errorf("%s has no place", table)
		}
		delete(placed, table)
	}
	if len(placed) > 0 {
		t.Errorf("there is no %v", placed)
	}
}

// citus is a cluster that the environment names.
func citus(t *testing.T) pgtest.DSNs {
	t.Helper()
	super := os.Getenv(envCitus)
	if super == "" {
		t.Skipf("SKIPPED: NO CITUS, so the distributed schema was NOT tested. Set %s to a DSN of a superuser on the coordinator of a cluster.", envCitus)
	}
	conn, err := pgx.Connect(t.Context(), super)
	if err != nil {
		t.Fatal(err)
	}
	defer closeConn(conn)
	cfg := conn.Config()
	const secret = "runledger-test"
	for _, role := range []string{pgtest.OwnerRole, pgtest.AppRole} {
		run(t, conn, fmt.Sprintf(`DO $$ BEGIN CREATE ROLE %s LOGIN PASSWORD '%s'; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$`, role, secret))
	}
	run(t, conn, `GRANT CREATE ON DATABASE `+pgx.Identifier{cfg.Database}.Sanitize()+` TO `+pgtest.OwnerRole)
	as := func(role string) string {
		return fmt.Sprintf("host=%s port=%d dbname=%s user=%s password=%s", cfg.Host, cfg.Port, cfg.Database, role, secret)
	}
	return pgtest.DSNs{App: as(pgtest.AppRole), Owner: as(pgtest.OwnerRole), Super: super}
}

var schemas atomic.Int64

// distributed opens a store in a schema of its own, on Citus.
func distributed(t *testing.T, dsns pgtest.DSNs) *postgres.DB {
	t.Helper()
	cfg := config(dsns)
	cfg.Schema = fmt.Sprintf("runledger_test_%d_%d", os.Getpid(), schemas.Add(1))
	cfg.Distributed = true
	t.Cleanup(func() {
		ctx := context.Background() // the test's has ended
		conn, err := pgx.Connect(ctx, dsns.Super)
		if err != nil {
			t.Error(err)
			return
		}
		defer closeConn(conn)
		if _, err := conn.Exec(ctx, "DROP SCHEMA IF EXISTS "+cfg.Schema+" CASCADE"); err != nil {
			t.Error(err)
		}
	})
	if _, err := postgres.Migrate(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	cfg.OwnerDSN = ""
	db, err := postgres.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeIt(t, db) })
	return db
}

// TestCitus runs the suite of all stores on a cluster, and what is said of guards.
func TestCitus(t *testing.T) {
	dsns := citus(t)
	t.Run("store", func(t *testing.T) {
		storetest.Run(t, func(t *testing.T) store.Store { return distributed(t, dsns) })
	})
	t.Run("doctor", func(t *testing.T) {
		db := distributed(t, dsns)
		fillAll(t, db)
		found, err := db.Doctor(t.Context())
		for _, f := range found {
			if f.Severity == postgres.Broken {
				t.Errorf("%+v", f)
			}
		}
		if err != nil {
			t.Error(err)
		}
	})
	t.Run("months", func(t *testing.T) {
		db := distributed(t, dsns)
		l := newLog("t-1")
		for _, at := range monthsOf(5) {
			if err := l.commit(t.Context(), db, l.at(at, evidence.KindAudit)); err != nil {
				t.Fatal(err)
			}
		}
	})
}
