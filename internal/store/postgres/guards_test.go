package postgres_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
	"github.com/runledger/runledger/internal/store/postgres"
)

const (
	noRight    = "42501"
	appendOnly = "RL001"
	noOrder    = "RL002"
	fixed      = "RL003"
	shrinks    = "RL004"
)

// refuses runs SQL that the database must not do, and undoes it if it does.
func refuses(t *testing.T, conn *pgx.Conn, sql string, codes ...string) {
	t.Helper()
	run(t, conn, "BEGIN")
	_, err := conn.Exec(t.Context(), sql)
	var pg *pgconn.PgError
	if !errors.As(err, &pg) || !slices.Contains(codes, pg.Code) {
		t.Errorf("%s: %v, want SQLSTATE %v", sql, err, codes)
	}
	run(t, conn, "ROLLBACK")
}

const (
	sqlTables = `SELECT relname::text FROM pg_class
		WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p') ORDER BY 1`
	sqlPartitionsOf = `SELECT h.inhrelid::regclass::text FROM pg_inherits AS h JOIN pg_class AS p ON p.oid = h.inhparent
		WHERE p.relkind = 'p' AND p.relnamespace = current_schema()::regnamespace ORDER BY 1`
)

// operational tables may change, within limits that have tests of their own.
var operational = []string{"run_states", "settings", "api_keys", "leases", "partition_drops", "schema_migrations"}

// TestAppRefused tries, as the application's role, every way to change what it
// may only add to.
func TestAppRefused(t *testing.T) {
	t.Parallel()
	dsns := migrated(t)
	fillAll(t, open(t, dsns))
	app := shell(t, dsns.App)
	partitions := texts(t, app, sqlPartitionsOf)
	for _, table := range texts(t, app, sqlTables) {
		for _, sql := range []string{"DELETE FROM %s", "TRUNCATE %s", "DROP TABLE %s", "ALTER TABLE %s DISABLE TRIGGER ALL", "ALTER TABLE %s ADD COLUMN x int"} {
			refuses(t, app, fmt.Sprintf(sql, table), noRight)
		}
		refuses(t, app, "CREATE RULE r AS ON UPDATE TO "+table+" DO INSTEAD NOTHING", noRight)
		refuses(t, app, "CREATE TRIGGER r BEFORE INSERT ON "+table+" FOR EACH ROW EXECUTE FUNCTION runledger_refuse()", noRight)
		switch {
		case slices.Contains(partitions, table):
			refuses(t, app, "INSERT INTO "+table+" (tenant_id) VALUES ('x')", noRight)
			refuses(t, app, "UPDATE "+table+" SET tenant_id = tenant_id", noRight)
		case !slices.Contains(operational, table) && table != "heads":
			column := texts(t, app, "SELECT attname::text FROM pg_attribute WHERE attnum = 1 AND attrelid = '"+table+"'::regclass")[0]
			refuses(t, app, "UPDATE "+table+" SET "+column+" = 'other'", noRight)
		}
	}
	refuses(t, app, "UPDATE heads SET size = size - 1", shrinks)
	refuses(t, app, "UPDATE heads SET tenant_id = 'other'", shrinks)
	refuses(t, app, "SET session_replication_role = replica", noRight)
	refuses(t, app, "ALTER TABLE audit_ledger DETACH PARTITION "+partitions[len(partitions)-1], noRight)
	refuses(t, app, "CREATE TABLE extra ()", noRight)
	refuses(t, app, "INSERT INTO removals SELECT 't-1', 'key', 0, 0, id, '', 1, 8 FROM data_keys", noRight)
	refuses(t, app, "INSERT INTO schema_migrations VALUES (99, 'x', 0)", noRight)
	refuses(t, app, "SELECT runledger_guard_truncate('heads')", noRight)
	refuses(t, app, "SET ROLE runledger_owner", noRight)
}

// TestOwnerRefused tries the same as the owner, whom the triggers stop, and as a
// superuser who has turned ordinary triggers off.
func TestOwnerRefused(t *testing.T) {
	t.Parallel()
	dsns := migrated(t)
	db := open(t, dsns)
	fillLifecycle(t, db, fillAll(t, db))
	owner, super := shell(t, dsns.Owner), shell(t, dsns.Super)
	run(t, owner, "INSERT INTO expired_partitions VALUES ('log_exports', 1, 0, 0, 0)")
	run(t, super, "SET session_replication_role = replica")
	for _, conn := range []*pgx.Conn{owner, super} {
		partitions := texts(t, conn, sqlPartitionsOf)
		for _, table := range texts(t, conn, sqlTables) {
			if slices.Contains(operational, table) {
				continue
			}
			refuses(t, conn, "TRUNCATE "+table, appendOnly)
			var rows int
			if err := conn.QueryRow(t.Context(), "SELECT count(*) FROM "+table).Scan(&rows); err != nil {
				t.Fatal(err)
			}
			if rows == 0 {
				if !slices.Contains(partitions, table) {
					t.Errorf("%s has no row to try on", table)
				}
				continue
			}
			refuses(t, conn, "DELETE FROM "+table, appendOnly, noOrder)
			if table != "heads" {
				for _, c := range texts(t, conn, `SELECT quote_ident(attname) FROM pg_attribute WHERE attrelid = '`+table+`'::regclass
					AND attnum > 0 AND attidentity = ''`) {
					refuses(t, conn, fmt.Sprintf("UPDATE %s SET %s = %s", table, c, c), appendOnly)
				}
			}
		}
		refuses(t, conn, "UPDATE heads SET size = size - 1", shrinks)
	}
}

// TestRemovalRefused sees that sealed rows go only when a removal names them,
// and do not come back.
func TestRemovalRefused(t *testing.T) {
	t.Parallel()
	dsns := migrated(t)
	db := open(t, dsns)
	fillAll(t, db)
	app, owner := shell(t, dsns.App), shell(t, dsns.Owner)
	const add = `INSERT INTO removals (tenant_id, what, log_no, ref, id, name, by_log, by_leaf) `
	for _, by := range []string{"'t-1', 'key', 0, 0, id, '', 1, 0", "'t-1', 'key', 0, 0, id, '', 1, 999", "'t-2', 'key', 0, 0, id, '', 1, 8"} {
		refuses(t, owner, add+"SELECT "+by+" FROM data_keys", noOrder)
	}
	refuses(t, app, `SELECT runledger_remove_keys('t-1', 1, 0, (SELECT array_agg(id) FROM data_keys))`, noOrder)
	refuses(t, app, `SELECT runledger_remove_segments('t-1', 1, 999, ARRAY[1], ARRAY[0], '{}', '{}', '{}', '{}', '{}')`, noOrder)
	refuses(t, app, `SELECT runledger_remove_index('t-1', 2, 8, ARRAY['subject'], (SELECT array_agg(mac) FROM sealed_index WHERE leaf_index = 1), ARRAY[1], ARRAY[1])`, noOrder)
	// A removal names what goes, nothing else.
	run(t, owner, add+`SELECT 't-1', 'index', 1, 2, '', 'subject', 1, 8`)
	run(t, owner, add+`SELECT 't-1', 'segment', 1, 0, '\x99', '', 1, 8`)
	refuses(t, owner, `DELETE FROM data_keys`, noOrder)
	refuses(t, owner, `DELETE FROM sealed_segments`, noOrder)
	refuses(t, owner, `DELETE FROM sealed_index WHERE leaf_index = 1`, noOrder)
	run(t, owner, `DELETE FROM sealed_index WHERE leaf_index = 2`)
	refuses(t, app, `INSERT INTO sealed_segments SELECT tenant_id, log_no, ref, 1764000000000001, id, '', '' FROM removals WHERE what = 'segment' AND ref = 1`, fixed)
}

// TestGuards sees that what protects the database is missed when it is gone.
func TestGuards(t *testing.T) {
	t.Parallel()
	dsns := migrated(t)
	db := open(t, dsns)
	owner := shell(t, dsns.Owner)
	want := func(lines ...string) {
		t.Helper()
		slices.Sort(lines)
		got, err := db.Guards(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(lines, got); diff != "" {
			t.Errorf("guards (-want +got):\n%s", diff)
		}
	}
	want()
	triggers := texts(t, owner, `SELECT c.relname || ' ' || t.tgname FROM pg_trigger AS t JOIN pg_class AS c ON c.oid = t.tgrelid
		WHERE NOT t.tgisinternal AND t.tgparentid = 0 AND c.relnamespace = current_schema()::regnamespace`)
	if len(triggers) < 80 {
		t.Errorf("only %d triggers", len(triggers))
	}
	for _, name := range triggers {
		table, trigger, _ := strings.Cut(name, " ")
		run(t, owner, "ALTER TABLE "+table+" ENABLE TRIGGER "+trigger) // no longer ALWAYS
		got, err := db.Guards(t.Context())
		if err != nil || len(got) == 0 || !strings.Contains(got[0], trigger) || !strings.Contains(strings.Join(got, "\n"), table) {
			t.Errorf("guards say %q, %v when trigger %s is not ENABLE ALWAYS", got, err, name)
		}
		run(t, owner, "ALTER TABLE "+table+" ENABLE ALWAYS TRIGGER "+trigger)
	}
	want()
	part := "audit_ledger_p202511"
	for _, c := range []struct{ do, undo, line string }{
		{`DROP TRIGGER guard_truncate ON ` + part, `SELECT runledger_guard_truncate('` + part + `')`, "trigger guard_truncate of partition " + part + " is missing"},
		{`ALTER TABLE audit_ledger DETACH PARTITION ` + part, `ALTER TABLE audit_ledger ATTACH PARTITION ` + part + ` FOR VALUES FROM (1761955200000000) TO (1764547200000000)`, ""},
		{`GRANT DELETE ON sealed_index TO runledger_app`, `REVOKE DELETE ON sealed_index FROM runledger_app`, "role runledger_app may DELETE sealed_index"},
		{`GRANT UPDATE (note) ON checkpoints TO runledger_app`, `REVOKE UPDATE (note) ON checkpoints FROM runledger_app`, "role runledger_app may UPDATE checkpoints"},
		{`GRANT INSERT ON ` + part + ` TO runledger_app`, `REVOKE INSERT ON ` + part + ` FROM runledger_app`, "role runledger_app may INSERT " + part},
		{`GRANT CREATE ON SCHEMA runledger TO runledger_app`, `REVOKE CREATE ON SCHEMA runledger FROM runledger_app`, "role runledger_app may CREATE in the schema"},
		{`DROP INDEX audit_ledger_entity`, `CREATE INDEX audit_ledger_entity ON audit_ledger (tenant_id, entity_id, log_no, leaf_index)`, "index audit_ledger_entity is missing"},
		{`CREATE TABLE extra (a int)`, `DROP TABLE extra`, "table extra is not runledger's"},
		{`CREATE RULE r AS ON DELETE TO tiles DO INSTEAD NOTHING`, `DROP RULE r ON tiles`, "rule tiles.r is not runledger's"},
		{`CREATE RULE r AS ON INSERT TO ` + part + ` DO INSTEAD NOTHING`, `DROP RULE r ON ` + part, "rule r of partition " + part + " is not runledger's"},
		{
			`CREATE TRIGGER later AFTER INSERT ON ` + part + ` FOR EACH ROW EXECUTE FUNCTION runledger_refuse()`, `DROP TRIGGER later ON ` + part,
			"trigger later of partition " + part + " is not runledger's",
		},
		{`ALTER TABLE heads DROP CONSTRAINT heads_pkey`, `ALTER TABLE heads ADD PRIMARY KEY (tenant_id, log_no)`, "constraint heads.heads_pkey is missing"},
	} {
		run(t, owner, c.do)
		got, err := db.Guards(t.Context())
		if err != nil || len(got) == 0 || c.line != "" && !slices.Contains(got, c.line) {
			t.Errorf("after %s the guards say %q, %v; want %q", c.do, got, err, c.line)
		}
		run(t, owner, c.undo)
	}
	want()
	body := texts(t, owner, `SELECT pg_get_functiondef('runledger_refuse'::regproc)`)[0]
	run(t, owner, strings.Replace(body, "RAISE EXCEPTION", "RETURN NEW; RAISE EXCEPTION", 1))
	want("function runledger_refuse() has been altered")
	run(t, owner, body)
	want()
}

// TestOneRole opens a store as its owner, which works and is said to be wrong.
func TestOneRole(t *testing.T) {
	t.Parallel()
	dsns := migrated(t)
	db, err := postgres.Open(t.Context(), postgres.Config{DSN: dsns.Owner, OwnerDSN: dsns.Owner})
	if err != nil {
		t.Fatal(err)
	}
	defer closeIt(t, db)
	newLog("a").append(t, db, record(evidence.KindAudit))
	got, err := db.Guards(t.Context())
	if err != nil || len(got) != 1 || !strings.Contains(got[0], "runledger_owner") {
		t.Errorf("guards say %q, %v", got, err)
	}
}

// TestReadOnly sees that a store for reading reads and does not write.
func TestReadOnly(t *testing.T) {
	t.Parallel()
	dsns := migrated(t)
	l := fillAll(t, open(t, dsns))
	db, err := postgres.Open(t.Context(), postgres.Config{DSN: dsns.App, ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer closeIt(t, db)
	wantHead(t, db, l, l.head)
	for what, err := range map[string]error{
		"Commit":     db.Commit(t.Context(), l.next(record(evidence.KindAudit))),
		"SetSetting": db.SetSetting(t.Context(), "a", "b"),
		"SettleRuns": db.SettleRuns(t.Context(), "a", map[string]int64{"r": 1}),
		"ExtendHold": db.ExtendHold(t.Context(), "t-1", "h", []string{"r"}, nil),
		"PutAPIKey":  db.PutAPIKey(t.Context(), store.APIKey{ID: "k"}),
	} {
		if !errors.Is(err, evidence.ErrForbidden) {
			t.Errorf("%s: %v", what, err)
		}
	}
}
