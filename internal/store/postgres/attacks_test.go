package postgres_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
	"github.com/runledger/runledger/internal/store/postgres"
)

// TestAttacks is what comes of attacks by the application's role, which may do none of
// them, and by the owner's, whom the database itself stops, or who is found out: by
// the guards, or because rows are missing or more than there are leaves, which is what
// verification looks at.
func TestAttacks(t *testing.T) {
	t.Parallel()
	const bounds = " FOR VALUES FROM (1761955200000000) TO (1764547200000000)"
	sharedDSNs := migrated(t)
	shared := open(t, sharedDSNs)
	fillAll(t, shared)
	gone := func(t *testing.T, db *postgres.DB) { wantAudit(t, db, 0) }
	for _, c := range []struct {
		name string
		sql  []string
		// warned: of the application's role nothing is done, which it is told by a
		// warning.
		warned bool
		owner  string // SQLSTATE that stops the owner; empty: nothing does
		found  string // what the guards say then; empty: nothing
		rows   func(*testing.T, *postgres.DB)
	}{
		{name: "update", sql: []string{"UPDATE audit_ledger SET event_type = 'x'"}, owner: appendOnly},
		{name: "update of a partition", sql: []string{"UPDATE " + part + " SET event_type = 'x'"}, owner: appendOnly},
		{name: "update that moves a row", sql: []string{"UPDATE audit_ledger SET recorded_at = recorded_at + 31::bigint * 86400000000"}, owner: appendOnly},
		{name: "delete", sql: []string{"DELETE FROM audit_ledger"}, owner: noOrder},
		{name: "delete of a partition", sql: []string{"DELETE FROM " + part}, owner: noOrder},
		{name: "delete of sealed content", sql: []string{"DELETE FROM sealed_segments_p202511"}, owner: noOrder},
		{name: "update of sealed content", sql: []string{"UPDATE sealed_segments_p202511 SET data = ''"}, owner: appendOnly},
		{name: "truncate", sql: []string{"TRUNCATE audit_ledger"}, owner: appendOnly},
		{name: "truncate of a partition", sql: []string{"TRUNCATE " + part}, owner: appendOnly},
		{name: "truncate of sealed content", sql: []string{"TRUNCATE sealed_segments_p202511"}, owner: appendOnly},
		{name: "merge", sql: []string{"MERGE INTO tiles USING (SELECT 1) AS s ON true WHEN MATCHED THEN DELETE"}, owner: appendOnly},
		{name: "upsert", sql: []string{"INSERT INTO tiles SELECT * FROM tiles ON CONFLICT (tenant_id, log_no, level, n) DO UPDATE SET data = ''"}, owner: appendOnly},
		{name: "a way back of the head", sql: []string{"UPDATE heads SET size = size - 1"}, owner: shrinks},
		{name: "replica", sql: []string{"SET session_replication_role = replica"}, owner: noRight},
		{
			name: "drop of a partition", sql: []string{"DROP TABLE " + part},
			found: "partition " + part + " of audit_ledger is missing", rows: gone,
		},
		{
			name: "drop of a table", sql: []string{"DROP TABLE tiles"},
			found: "table tiles is missing",
		},
		{
			name: "detach, delete", sql: []string{"ALTER TABLE audit_ledger DETACH PARTITION " + part, "DELETE FROM " + part},
			found: "partition " + part + " of audit_ledger is detached", rows: gone,
		},
		{ // the triggers that went with the first come back with the second
			name: "detach, delete, attach", sql: []string{
				"ALTER TABLE audit_ledger DETACH PARTITION " + part, "DELETE FROM " + part, "ALTER TABLE audit_ledger ATTACH PARTITION " + part + bounds,
			}, rows: gone,
		},
		{
			name: "detach, truncate, attach", sql: []string{
				"ALTER TABLE audit_ledger DETACH PARTITION " + part, "DROP TRIGGER guard_truncate ON " + part, "TRUNCATE " + part,
				"ALTER TABLE audit_ledger ATTACH PARTITION " + part + bounds,
			},
			found: "trigger guard_truncate of partition " + part + " is missing", rows: gone,
		},
		{
			name: "attach of another table", sql: []string{
				"CREATE TABLE mine (LIKE audit_ledger INCLUDING ALL)",
				"INSERT INTO mine (tenant_id, log_no, leaf_index, recorded_at, occurred_at) VALUES ('t-1', 1, 3, 1700000000000000, 0)",
				"ALTER TABLE audit_ledger ATTACH PARTITION mine FOR VALUES FROM (1698796800000000) TO (1701388800000000)",
				"SELECT runledger_guard_truncate('mine')",
			},
			found: "partition mine of audit_ledger is not runledger's", rows: func(t *testing.T, db *postgres.DB) { wantAudit(t, db, 3) },
		},
		{
			name: "attach of another table by the name of one", sql: []string{
				"ALTER TABLE audit_ledger DETACH PARTITION " + part, "ALTER TABLE " + part + " RENAME TO kept",
				"CREATE UNLOGGED TABLE " + part + " (LIKE audit_ledger INCLUDING ALL)",
				"ALTER TABLE audit_ledger ATTACH PARTITION " + part + bounds, "SELECT runledger_guard_truncate('" + part + "')",
			},
			found: "partition " + part + " of audit_ledger is not runledger's", rows: gone,
		},
		{
			name: "a default partition", sql: []string{
				"CREATE TABLE rest PARTITION OF audit_ledger DEFAULT", "SELECT runledger_guard_truncate('rest')",
			},
			found: "partition rest of audit_ledger is not runledger's",
		},
		{
			name: "triggers turned off", sql: []string{"ALTER TABLE leaf_segments DISABLE TRIGGER ALL", "DELETE FROM leaf_segments"},
			found: "trigger leaf_segments.guard_change has been altered",
		},
		{
			name: "triggers of a partition turned off", sql: []string{"ALTER TABLE " + part + " DISABLE TRIGGER USER", "DELETE FROM " + part},
			found: "trigger guard_change of partition " + part + " is missing", rows: gone,
		},
		{
			name: "triggers of rows turned off", sql: []string{"ALTER TABLE audit_ledger DISABLE TRIGGER guard_removal", "DELETE FROM audit_ledger"},
			found: "trigger audit_ledger.guard_removal has been altered", rows: gone,
		},
		{
			name: "a trigger of holds turned off", sql: []string{"ALTER TABLE " + part + " DISABLE TRIGGER guard_hold"},
			found: "trigger guard_hold of partition " + part + " is missing",
		},
		{
			name: "a rule", sql: []string{"CREATE RULE r AS ON INSERT TO leaf_segments DO INSTEAD NOTHING"},
			found: "rule leaf_segments.r is not runledger's",
		},
		{
			name: "a function replaced", sql: []string{
				"CREATE OR REPLACE FUNCTION runledger_guard_rows() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN OLD; END'", "DELETE FROM audit_ledger",
			},
			found: "function runledger_guard_rows() has been altered", rows: gone,
		},
		{
			name: "a trigger before ours", sql: []string{
				"CREATE FUNCTION quiet() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
				"CREATE TRIGGER a_first BEFORE INSERT ON leaf_segments FOR EACH ROW EXECUTE FUNCTION quiet()",
			},
			found: "trigger leaf_segments.a_first is not runledger's",
		},
		{
			name: "a view in the place of a table", sql: []string{
				"ALTER TABLE tiles RENAME TO tiles_kept", "CREATE VIEW tiles AS SELECT * FROM tiles_kept",
			},
			found: "table tiles is missing",
		},
		{
			name: "rows hidden by a policy", sql: []string{
				"ALTER TABLE audit_ledger ENABLE ROW LEVEL SECURITY", "GRANT SELECT ON audit_ledger TO PUBLIC",
			},
			found: "row security of audit_ledger is on: policies can hide rows", rows: gone,
		},
		{
			name: "rights given", sql: []string{"GRANT DELETE, TRUNCATE ON ALL TABLES IN SCHEMA runledger TO runledger_app"},
			found: "role runledger_app may DELETE tiles",
		},
		{
			name: "rights given to all", sql: []string{"GRANT UPDATE ON run_states TO PUBLIC"},
			warned: true, found: "role PUBLIC may UPDATE run_states",
		},
		{
			name: "a partition written directly", sql: []string{
				"INSERT INTO " + part + " (tenant_id, log_no, leaf_index, recorded_at, occurred_at) VALUES ('t-1', 1, 3, 1764000000000000, 0)",
			},
			rows: func(t *testing.T, db *postgres.DB) { wantAudit(t, db, 3) }, // one too many
		},
		{
			name: "an expiry that nobody ordered", sql: []string{"SELECT runledger_expire_partition('audit_ledger', '2025-11-01', '2026-01-01')"},
			owner: noOrder,
		},
		{
			name: "a removal that nobody ordered", sql: []string{"SELECT runledger_remove_segments('t-1', 1, 0, ARRAY[1], ARRAY[0], '{}', '{}', '{}', '{}', '{}')"},
			owner: noOrder,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			dsns, db := sharedDSNs, shared
			if c.owner == "" { // it is not as before afterwards
				dsns = migrated(t)
				db = open(t, dsns)
				fillAll(t, db)
			}
			app, owner := shell(t, dsns.App), shell(t, dsns.Owner)
			if !c.warned {
				stops(t, app, c.sql, noRight, noOrder, shrinks) // the last two: it may ask, and is told no
			}
			if c.owner != "" {
				stops(t, owner, c.sql, c.owner)
				wantAudit(t, db, 2)
				return
			}
			for _, sql := range c.sql {
				run(t, owner, sql)
			}
			list, err := db.Guards(t.Context())
			if err != nil || c.found != "" && !slices.Contains(list, c.found) || c.found == "" && len(list) > 0 {
				t.Errorf("the guards say %q, %v; want %q", list, err, c.found)
			}
			if c.rows != nil {
				c.rows(t, db)
			}
		})
	}
}

// stops sees that one of several statements is refused, and undoes them all.
func stops(t *testing.T, conn *pgx.Conn, list []string, codes ...string) {
	t.Helper()
	run(t, conn, "BEGIN")
	defer run(t, conn, "ROLLBACK")
	for _, sql := range list {
		_, err := conn.Exec(t.Context(), sql)
		var pg *pgconn.PgError
		if errors.As(err, &pg) && slices.Contains(codes, pg.Code) {
			return
		}
		if err != nil {
			t.Errorf("%s: %v, want SQLSTATE %v", sql, err, codes)
			return
		}
	}
	t.Errorf("%s: done", strings.Join(list, "; "))
}

// wantAudit counts the rows of the audit ledger.
func wantAudit(t *testing.T, db *postgres.DB, want int) {
	t.Helper()
	n := 0
	if err := db.Rows(t.Context(), store.LogRef{Tenant: "t-1", No: 1}, evidence.KindAudit, 0, 1000, func(*store.Row) error { n++; return nil }); err != nil || n != want {
		t.Errorf("%d rows, %v; want %d", n, err, want)
	}
}
