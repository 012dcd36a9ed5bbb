package postgres_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/runledger/runledger/internal/store/pgtest"
	"github.com/runledger/runledger/internal/store/postgres"
)

// part is the partition of the month of the tests' records.
const (
	part     = "audit_ledger_p202511"
	reattach = "ALTER TABLE audit_ledger ATTACH PARTITION " + part + " FOR VALUES FROM (1761955200000000) TO (1764547200000000)"
)

// TestDoctor breaks one thing after the other, and sees that it is named, and mended
// by what the finding says.
func TestDoctor(t *testing.T) {
	t.Parallel()
	dsns := migrated(t)
	db := open(t, dsns)
	fillAll(t, db)
	owner, super := shell(t, dsns.Owner), shell(t, dsns.Super)
	wantDoctor(t, db)
	for _, c := range []struct {
		do, undo string // undo where the finding has no SQL for it; "-" the same as do's opposite by the finding
		code     string
		severity string
		what     string
		alone    bool // it is all that is found
	}{
		{do: "DROP TRIGGER guard_change ON leaf_segments", code: "D_SCHEMA", what: "trigger leaf_segments.guard_change is missing"},
		{do: "DROP TRIGGER guard_removal ON aos_trace_steps", code: "D_SCHEMA", what: "trigger aos_trace_steps.guard_removal is missing"},
		{do: "DROP TRIGGER guard_hold ON audit_ledger", code: "D_SCHEMA", what: "trigger audit_ledger.guard_hold is missing"},
		{do: "DROP TRIGGER guard_order ON expiries", alone: true, code: "D_SCHEMA", what: "trigger expiries.guard_order is missing"},
		{do: "DROP INDEX sealed_segments_key", code: "D_SCHEMA", what: "index sealed_segments_key is missing"},
		{do: "CREATE OR REPLACE FUNCTION runledger_held() RETURNS text LANGUAGE sql IMMUTABLE AS $$SELECT 'false'$$", alone: true, code: "D_SCHEMA", what: "function runledger_held() has been altered"},
		{do: "REVOKE EXECUTE ON FUNCTION runledger_expire_leaves(text, bigint, bigint) FROM runledger_app", undo: "GRANT EXECUTE ON FUNCTION runledger_expire_leaves(text, bigint, bigint) TO runledger_app", code: "D_GRANT", what: "the application's role may not EXECUTE function runledger_expire_leaves(text, bigint, bigint)"},
		{do: "GRANT UPDATE ON holds TO runledger_app", undo: "REVOKE UPDATE ON holds FROM runledger_app", code: "D_EXCESS", what: "role runledger_app may UPDATE holds"},
		{do: "DROP TRIGGER guard_truncate ON heads", code: "D_SCHEMA", what: "trigger heads.guard_truncate is missing"},
		{do: "ALTER TABLE tiles DISABLE TRIGGER guard_change", code: "D_SCHEMA", what: "trigger tiles.guard_change has been altered"},
		{do: "DROP INDEX audit_ledger_entity", code: "D_SCHEMA", what: "index audit_ledger_entity is missing"},
		{do: "ALTER INDEX audit_ledger_entity RENAME TO other; CREATE INDEX audit_ledger_entity ON ONLY audit_ledger (tenant_id, entity_id, log_no, leaf_index); DROP INDEX other", alone: true, code: "D_SCHEMA", what: "index audit_ledger_entity has been altered"},
		{do: "ALTER TABLE audit_ledger DROP CONSTRAINT audit_ledger_pkey", alone: true, code: "D_SCHEMA", what: "constraint audit_ledger.audit_ledger_pkey is missing"},
		{do: "ALTER TABLE audit_ledger DROP CONSTRAINT audit_ledger_pkey; ALTER TABLE ONLY audit_ledger ADD PRIMARY KEY (tenant_id, log_no, leaf_index, recorded_at)", alone: true, code: "D_SCHEMA", what: "index audit_ledger_pkey has been altered"},
		{do: "ALTER TABLE tiles DROP CONSTRAINT tiles_pkey; CREATE UNIQUE INDEX tiles_pkey ON tiles (tenant_id, log_no, level, n)", alone: true, code: "D_SCHEMA", what: "constraint tiles.tiles_pkey is missing"},
		{do: "ALTER TABLE tiles ADD CONSTRAINT more UNIQUE (n, tenant_id, log_no, level)", alone: true, code: "D_SCHEMA", what: "constraint tiles.more is not runledger's"},
		{do: "CREATE TABLE \"a.b\" (tenant_id text NOT NULL, PRIMARY KEY (tenant_id)); CREATE TRIGGER \"x ON a; DROP TABLE heads\" BEFORE INSERT ON tiles FOR EACH ROW EXECUTE FUNCTION runledger_refuse(); DROP TABLE \"a.b\"", alone: true, code: "D_SCHEMA", what: "trigger tiles.\"x ON a; DROP TABLE heads\" is not runledger's"},
		{do: "CREATE TABLE \"a.b\" (tenant_id text NOT NULL, PRIMARY KEY (tenant_id))", alone: true, code: "D_SCHEMA", what: "table \"a.b\" is not runledger's"},
		{do: "ALTER TABLE tiles DROP CONSTRAINT tiles_pkey", code: "D_SCHEMA", what: "constraint tiles.tiles_pkey is missing"},
		{do: "ALTER TABLE leaf_segments DROP CONSTRAINT leaf_segments_count_check", code: "D_SCHEMA", what: "constraint leaf_segments.leaf_segments_count_check is missing"},
		{do: "CREATE TABLE extra (tenant_id text NOT NULL)", code: "D_SCHEMA", what: "table extra is not runledger's"},
		{do: "CREATE RULE r AS ON DELETE TO tiles DO INSTEAD NOTHING", code: "D_SCHEMA", what: "rule tiles.r is not runledger's"},
		{do: "CREATE OR REPLACE FUNCTION runledger_refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'", code: "D_SCHEMA", what: "function runledger_refuse() has been altered"},
		{do: "CREATE OR REPLACE FUNCTION runledger_partitioned() RETURNS text[] LANGUAGE sql IMMUTABLE AS $$SELECT ARRAY['tiles']$$", code: "D_SCHEMA", what: "function runledger_partitioned() has been altered"},
		{do: "ALTER TABLE heads ALTER COLUMN note DROP NOT NULL", undo: "ALTER TABLE heads ALTER COLUMN note SET NOT NULL", code: "D_SCHEMA", what: "table heads has been altered"},
		{do: "ALTER TABLE leases RENAME TO leasing", code: "D_SCHEMA", what: "table leases is missing"},

		{do: "DROP TRIGGER guard_truncate ON " + part, code: "D_PARTITION", what: "trigger guard_truncate of partition " + part + " is missing"},
		{do: "ALTER TABLE " + part + " DISABLE TRIGGER guard_change", code: "D_PARTITION", what: "trigger guard_change of partition " + part + " is missing"},
		{do: "ALTER TABLE sealed_segments_p202511 ENABLE TRIGGER guard_removal", code: "D_PARTITION", what: "trigger guard_removal of partition sealed_segments_p202511 is missing"},
		{do: "CREATE TRIGGER later AFTER INSERT ON " + part + " FOR EACH ROW EXECUTE FUNCTION runledger_refuse()", code: "D_PARTITION", what: "trigger later of partition " + part + " is not runledger's"},
		{do: "CREATE RULE r AS ON INSERT TO " + part + " DO INSTEAD NOTHING", code: "D_PARTITION", what: "rule r of partition " + part + " is not runledger's"},
		{do: "ALTER TABLE " + part + " ADD CONSTRAINT c CHECK (leaf_index < 1000000)", code: "D_PARTITION", what: "constraint c of partition " + part + " is not runledger's"},
		{do: "ALTER TABLE audit_ledger DETACH PARTITION " + part, alone: true, code: "D_PARTITION", what: "partition " + part + " of audit_ledger is detached"},
		{do: "ALTER TABLE audit_ledger DETACH PARTITION " + part + "; DROP TRIGGER guard_truncate ON " + part, alone: true, code: "D_PARTITION", what: "partition " + part + " of audit_ledger is detached"},
		{do: "ALTER TABLE sealed_segments DETACH PARTITION sealed_segments_p202511", alone: true, code: "D_PARTITION", what: "partition sealed_segments_p202511 of sealed_segments is detached"},
		{
			do: "ALTER TABLE audit_ledger DETACH PARTITION " + part + "; ALTER TABLE " + part + " RENAME TO kept", code: "D_SCHEMA", what: "table kept is not runledger's, but has the columns of audit_ledger",
			undo: "ALTER TABLE kept RENAME TO " + part + "; " + reattach,
		},
		{
			do: "ALTER TABLE audit_ledger DETACH PARTITION " + part + "; ALTER TABLE " + part + " SET SCHEMA public", code: "D_PARTITION", what: "partition " + part + " of audit_ledger is missing",
			undo: "ALTER TABLE public." + part + " SET SCHEMA runledger; " + reattach,
		},
		{do: "ALTER TABLE " + part + " RENAME TO other", undo: "ALTER TABLE other RENAME TO " + part, code: "D_PARTITION", what: "partition other of audit_ledger is not runledger's"},
		{do: "CREATE TABLE public.beside () INHERITS (tiles)", undo: "DROP TABLE public.beside", code: "D_PARTITION", what: "table public.beside inherits from tiles, and is not runledger's"},
		{do: "CREATE INDEX beside ON " + part + " (recorded_at)", alone: true, code: "D_PARTITION", what: "index beside of partition " + part + " is not runledger's"},
		{do: "CREATE TABLE public.above (tenant_id text COLLATE \"C\" NOT NULL); ALTER TABLE api_keys INHERIT public.above", alone: true, code: "D_PARTITION", what: "table api_keys inherits from public.above"},
		{do: "super: UPDATE pg_class SET relhastriggers = false WHERE oid = 'runledger.tiles'::regclass", alone: true, code: "D_PARTITION", what: "triggers of table tiles do not fire"},
		{
			do: "super: CREATE TRIGGER a_first BEFORE INSERT ON runledger.tiles FOR EACH ROW EXECUTE FUNCTION runledger_refuse(); UPDATE pg_trigger SET tgisinternal = true WHERE tgname = 'a_first'", alone: true,
			undo: "super: UPDATE pg_trigger SET tgisinternal = false WHERE tgname = 'a_first'; DROP TRIGGER a_first ON tiles", code: "D_PARTITION", what: "trigger a_first of tiles is not runledger's, and hidden",
		},
		{do: "super: CREATE RULE r AS ON INSERT TO runledger.tiles DO INSTEAD NOTHING; UPDATE pg_rewrite SET rulename = '_RETURN' WHERE rulename = 'r'", alone: true, code: "D_SCHEMA", what: "rule tiles.\"_RETURN\" is not runledger's"},
		{do: "super: ALTER EXTENSION plpgsql ADD TABLE runledger.tiles", undo: "super: ALTER EXTENSION plpgsql DROP TABLE runledger.tiles", alone: true, code: "D_PARTITION", what: "table tiles belongs to extension plpgsql"},
		{do: "DROP TABLE log_exports_p202511", undo: "SELECT runledger_ensure_partitions('2025-11-01', '2025-11-01')", code: "D_PARTITION", what: "partition log_exports_p202511 of log_exports is missing"},

		{do: "GRANT DELETE ON sealed_index TO runledger_app", undo: "REVOKE DELETE ON sealed_index FROM runledger_app", code: "D_EXCESS", what: "role runledger_app may DELETE sealed_index"},
		{do: "GRANT UPDATE (note) ON checkpoints TO runledger_app", undo: "REVOKE UPDATE (note) ON checkpoints FROM runledger_app", code: "D_EXCESS", what: "role runledger_app may UPDATE checkpoints"},
		{do: "GRANT INSERT ON " + part + " TO runledger_app", undo: "REVOKE INSERT ON " + part + " FROM runledger_app", code: "D_EXCESS", what: "role runledger_app may INSERT " + part},
		{do: "GRANT TRUNCATE ON tiles TO PUBLIC", code: "D_EXCESS", what: "role PUBLIC may TRUNCATE tiles", undo: "REVOKE TRUNCATE ON tiles FROM PUBLIC"},
		{do: "GRANT EXECUTE ON FUNCTION runledger_remove_keys(text, bigint, bigint, bytea[]) TO PUBLIC", code: "D_EXCESS", what: "role PUBLIC may EXECUTE function runledger_remove_keys(text,bigint,bigint,bytea[])"},
		{do: "GRANT EXECUTE ON FUNCTION runledger_guard_truncate(text) TO runledger_app", code: "D_EXCESS", what: "role runledger_app may EXECUTE function runledger_guard_truncate(text)"},
		{do: "REVOKE INSERT ON spans FROM runledger_app", undo: "GRANT INSERT ON spans TO runledger_app", code: "D_GRANT", what: "the application's role may not INSERT spans"},
		{do: "REVOKE EXECUTE ON FUNCTION runledger_ensure_partitions(date, date) FROM runledger_app", undo: "GRANT EXECUTE ON FUNCTION runledger_ensure_partitions(date, date) TO runledger_app", code: "D_GRANT", what: "the application's role may not EXECUTE function runledger_ensure_partitions(date, date)"},
		{do: "GRANT CREATE ON SCHEMA runledger TO runledger_app", code: "D_ROLE", what: "role runledger_app may CREATE in the schema"},

		{do: "ALTER DEFAULT PRIVILEGES IN SCHEMA runledger GRANT DELETE ON TABLES TO PUBLIC", alone: true, code: "D_EXCESS", what: "role PUBLIC may DELETE each table that is made from now on"},
		{do: "ALTER DEFAULT PRIVILEGES GRANT INSERT ON TABLES TO runledger_app", alone: true, code: "D_EXCESS", what: "role runledger_app may INSERT each table that is made from now on"},
		{do: "CREATE SCHEMA side; GRANT USAGE ON SCHEMA side TO PUBLIC; CREATE FUNCTION side.wipe() RETURNS void LANGUAGE sql SECURITY DEFINER AS 'DROP TABLE runledger.tiles'", alone: true, code: "D_EXCESS", what: "function side.wipe() does for the application's role"},
		{do: "super: ALTER DATABASE DB OWNER TO runledger_app", undo: "super: ALTER DATABASE DB OWNER TO runledger_owner", code: "D_EXCESS", what: "role runledger_app owns the database"},
		{do: "super: CREATE ROLE schemer; ALTER SCHEMA runledger OWNER TO schemer", undo: "super: ALTER SCHEMA runledger OWNER TO runledger_owner; DROP ROLE schemer", code: "D_OWNER", what: "schema runledger belongs to schemer"},

		{do: "CREATE FUNCTION quote_ident(name) RETURNS text LANGUAGE sql AS $$SELECT 'elsewhere'$$", alone: true, code: "D_SCHEMA", what: "routine quote_ident(name) is not runledger's, and can stand in"},
		{do: "CREATE FUNCTION same(oid, regnamespace) RETURNS boolean LANGUAGE sql AS 'SELECT false'; CREATE OPERATOR = (LEFTARG = oid, RIGHTARG = regnamespace, FUNCTION = same)", undo: "DROP OPERATOR =(oid, regnamespace); DROP FUNCTION same", alone: true, code: "D_SCHEMA", what: "operator =(oid, regnamespace) is not runledger's"},
		{do: "CREATE DOMAIN text AS pg_catalog.text CHECK (VALUE <> 'x')", alone: true, code: "D_SCHEMA", what: "domain text is not runledger's"},
		{do: "CREATE TYPE regnamespace AS ENUM ('a')", alone: true, code: "D_SCHEMA", what: "type regnamespace is not runledger's"},
		{do: "CREATE COLLATION \"C\" FROM \"en-x-icu\"", alone: true, code: "D_SCHEMA", what: "collation \"C\" is not runledger's"},
		{do: "super: ALTER FUNCTION runledger_refuse() OWNER TO super", undo: "super: ALTER FUNCTION runledger_refuse() OWNER TO runledger_owner", code: "D_OWNER", what: "function runledger_refuse() belongs to super, while the schema's owner is runledger_owner"},
		{do: "CREATE UNIQUE INDEX once ON record_ids (id)", undo: "DROP INDEX once", code: "D_TENANT", what: "key once of record_ids has no tenant_id"},
		{do: "ALTER TABLE origins ENABLE ROW LEVEL SECURITY", code: "D_ROW_SECURITY", what: "row security of origins is on: policies can hide rows"},
		{do: "super: ALTER DATABASE DB SET synchronous_commit = off", code: "D_SETTING", severity: postgres.Warning, what: "setting synchronous_commit=off of database DB"},
	} {
		name := dbName(t, owner)
		exec := func(sql string) {
			t.Helper()
			sql = strings.ReplaceAll(sql, "DB", name)
			if rest, ok := strings.CutPrefix(sql, "super: "); ok {
				run(t, super, rest)
			} else if rest, ok := strings.CutPrefix(sql, "as a superuser: "); ok {
				run(t, super, rest)
			} else {
				run(t, owner, sql)
			}
		}
		exec(c.do)
		found, err := db.Doctor(t.Context())
		if err != nil {
			t.Errorf("after %s: %v", c.do, err)
		}
		if c.severity == "" {
			c.severity = postgres.Broken
		}
		c.what = strings.ReplaceAll(c.what, "DB", name)
		mend, ok := "", false
		for _, f := range found {
			if f.Code == c.code && f.Severity == c.severity && strings.HasPrefix(f.What, c.what) {
				mend, ok = f.Mend, true
			}
		}
		if !ok || mend == "" || c.alone && len(found) > 1 {
			t.Errorf("after %s the doctor says %+v, want %q", c.do, found, c.what)
		}
		if c.undo != "" {
			mend = c.undo
		}
		exec(mend)
		wantDoctor(t, db)
		if t.Failed() {
			t.Fatalf("after %s, mended by %s", c.do, mend)
		}
	}
}

func dbName(t *testing.T, conn *pgx.Conn) string {
	t.Helper()
	return texts(t, conn, "SELECT quote_ident(current_database())")[0]
}

func wantDoctor(t *testing.T, db *postgres.DB, want ...postgres.Finding) {
	t.Helper()
	found, err := db.Doctor(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, found); diff != "" {
		t.Errorf("doctor (-want +got):\n%s", diff)
	}
}

// TestDoctorRoles sees what roles may do by being what they are.
func TestDoctorRoles(t *testing.T) {
	s := pgtest.Start(t) // roles are a server's, not a database's
	dsns := s.Database(t)
	made, err := postgres.Open(t.Context(), config(dsns))
	if err != nil {
		t.Fatal(err)
	}
	closeIt(t, made)
	super := shell(t, dsns.Super)
	for _, c := range []struct{ do, undo, what string }{
		{"GRANT SET ON PARAMETER session_replication_role TO runledger_app", "REVOKE SET ON PARAMETER session_replication_role FROM runledger_app", "role runledger_app may set session_replication_role"},
		{"ALTER ROLE runledger_app CREATEROLE", "ALTER ROLE runledger_app NOCREATEROLE", "role runledger_app may make itself a member of the owner's role (CREATEROLE)"},
		{"GRANT pg_write_server_files TO runledger_app", "REVOKE pg_write_server_files FROM runledger_app", "role runledger_app may write files of the server as a member of pg_write_server_files"},
		{"GRANT pg_write_all_data TO runledger_app", "REVOKE pg_write_all_data FROM runledger_app", "role runledger_app may DELETE tiles"},
		{"GRANT runledger_owner TO runledger_app", "REVOKE runledger_owner FROM runledger_app", "role runledger_app is the owner's, or a member of it"},
		{"ALTER ROLE runledger_app SUPERUSER", "ALTER ROLE runledger_app NOSUPERUSER", "role runledger_app is the owner's, or a member of it"},
		{"CREATE ROLE friend IN ROLE runledger_owner", "DROP ROLE friend", "role friend is a member of the owner's, runledger_owner"},
		{"CREATE ROLE friend IN ROLE runledger_owner; CREATE ROLE stranger IN ROLE friend", "DROP ROLE friend; DROP ROLE stranger", "role stranger is a member of the owner's, friend"},
		{"CREATE ROLE friend IN ROLE runledger_app", "DROP ROLE friend", "role friend is a member of the application's, runledger_app"},
		{"ALTER SYSTEM SET full_page_writes = off; SELECT pg_reload_conf()", "ALTER SYSTEM RESET full_page_writes; SELECT pg_reload_conf()", "setting full_page_writes is off"},
		{"ALTER SYSTEM SET zero_damaged_pages = on; SELECT pg_reload_conf()", "ALTER SYSTEM RESET zero_damaged_pages; SELECT pg_reload_conf()", "setting zero_damaged_pages is on"},
		{"ALTER ROLE runledger_app SET session_replication_role = 'replica'", "ALTER ROLE runledger_app RESET session_replication_role", "setting session_replication_role=replica of role runledger_app"},
	} {
		for _, sql := range strings.Split(c.do, ";") {
			run(t, super, sql)
		}
		found, named := []postgres.Finding(nil), false
		for deadline := time.Now().Add(10 * time.Second); !named && time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
			db := open(t, dsns)
			var err error
			if found, err = db.Doctor(t.Context()); err != nil {
				t.Fatal(err)
			}
			for _, f := range found {
				named = named || strings.HasPrefix(f.What, c.what)
			}
		}
		if !named {
			t.Errorf("after %s the doctor says %+v, want %q", c.do, found, c.what)
		}
		for _, sql := range strings.Split(c.undo, ";") {
			run(t, super, sql)
		}
	}
}

// TestDoctorFuture sees that it is said when partitions run out.
func TestDoctorFuture(t *testing.T) {
	t.Parallel()
	db := open(t, migrated(t))
	now := time.Now().UTC()
	month := func(n int) time.Time {
		return time.Date(now.Year(), now.Month()+time.Month(n), 1, 0, 0, 0, 0, time.UTC)
	}
	for _, c := range []struct {
		now, want time.Time
	}{
		{now, month(4)},
		{month(3).Add(time.Hour), month(4)},
		{month(4), month(4)},
		{month(6).Add(time.Hour), month(6).Add(time.Hour)}, // it has none
		{time.Date(2025, 11, 3, 0, 0, 0, 0, time.UTC), time.Date(2025, 12, 1, 0, 0, 0, 0, time.UTC)},
	} {
		if got, err := db.PartitionsUntil(t.Context(), c.now); err != nil || !got.Equal(c.want.Truncate(time.Microsecond)) {
			t.Errorf("partitions at %s until %s, %v; want %s", c.now, got, err, c.want)
		}
	}
	for _, n := range []int{0, 1} {
		found, err := db.DoctorFuture(t.Context(), month(n+1).Add(time.Hour))
		if want := n; err != nil || len(found) != want {
			t.Errorf("%d months on: %+v, %v", n+1, found, err)
		}
	}
	want := fmt.Sprintf("partitions are made only until %s", month(4).Format(time.DateOnly))
	if found, err := db.DoctorFuture(t.Context(), month(3)); err != nil || len(found) != 1 || found[0].What != want {
		t.Errorf("in three months: %+v, %v; want %q", found, err, want)
	}
}
