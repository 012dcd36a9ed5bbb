package sqlite_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	zombiezen "zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
	"github.com/runledger/runledger/internal/store/sqlite"
)

// operational tables may change.
var operational = []string{"run_states", "settings", "api_keys"}

// fillAll writes at least one row to every table.
func fillAll(t *testing.T, db *sqlite.DB) {
	t.Helper()
	l := newLoad("t-1")
	c := l.commit()
	log := &c.Logs[0]
	add := func(k evidence.Kind, set ...evidence.Fact) int64 {
		leaf := l.leaf(evidence.KindTraceStep)
		leaf.Pub, leaf.Kind, leaf.Seq = nil, k, log.Next.Size
		for _, f := range set {
			leaf.SetFact(f)
		}
		log.Entries = append(log.Entries, store.Entry{Leaf: leaf, Segment: store.NoSegment, ActorSegment: store.NoSegment})
		log.Next.Size++
		return leaf.Seq
	}
	for _, k := range evidence.Kinds() {
		switch k {
		case evidence.KindTraceStep, evidence.KindTrace:
		case evidence.KindLLMRun:
			add(k, evidence.Fact{Field: evidence.PublicField(k, "revision"), Int: 1})
		default:
			add(k)
		}
	}
	by := add(evidence.KindAudit, evidence.Fact{Field: evidence.PublicField(evidence.KindAudit, "event_type"), Str: "ErasureExecuted"})
	log.Sealed = append(log.Sealed, store.SealedSegment{SegmentRef: store.SegmentRef{LogNo: 1, No: 99}, ID: [16]byte{9}, Data: []byte("x")})
	log.Keys = []store.DataKey{{ID: store.KeyID{1}, Scope: store.ScopeDay, Label: "d", Wrapped: []byte("w")}}
	log.Index = []store.IndexEntry{
		{Name: "subject", MAC: [16]byte{1}, Position: store.Position{LogNo: 1, Seq: 1}, Trace: l.trace},
		{Name: "subject", MAC: [16]byte{2}, Position: store.Position{LogNo: 1, Seq: 2}},
	}
	log.Removal = &store.Removal{By: store.Position{LogNo: 1, Seq: by}, Segments: []store.SegmentRef{{LogNo: 1, No: 99}}}
	if err := db.Commit(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	fillLifecycle(t, db, l, log.Next)
	if err := db.SetSetting(t.Context(), "a", "b"); err != nil {
		t.Fatal(err)
	}
	err := db.KeepAttestations(t.Context(), log.Log, []store.Attestation{{Size: 1, Kind: store.KindTimestamp, By: "authority", Data: []byte("x")}})
	if err != nil {
		t.Fatal(err)
	}
}

func tables(t *testing.T, conn *zombiezen.Conn) []string {
	return column(query(t, conn, `SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'`), 0)
}

// refuses runs SQL that the database must not do.
func refuses(t *testing.T, conn *zombiezen.Conn, sql string) {
	t.Helper()
	err := sqlitex.ExecuteTransient(conn, sql, nil)
	if code := zombiezen.ErrCode(err); code != zombiezen.ResultConstraintTrigger {
		t.Errorf("%s: %v, want a trigger's refusal", sql, err)
	}
}

// TestMutationRefused tries every way to change or remove a row of every
// table that is not operational, from a connection that is not ours.
func TestMutationRefused(t *testing.T) {
	dir := t.TempDir()
	db := open(t, dir)
	fillAll(t, db)
	conn := shell(t, dir)
	for _, recursive := range []string{"OFF", "ON"} {
		query(t, conn, "PRAGMA recursive_triggers = "+recursive)
		for _, table := range tables(t, conn) {
			if slices.Contains(operational, table) {
				continue
			}
			before := query(t, conn, "SELECT * FROM "+table+" LIMIT 50")
			if len(before) == 0 {
				t.Errorf("%s has no row to try on", table)
			}
			mutate(t, conn, table)
			if diff := cmp.Diff(before, query(t, conn, "SELECT * FROM "+table+" LIMIT 50")); diff != "" {
				t.Errorf("%s has changed (-before +after):\n%s", table, diff)
			}
		}
	}
}

func mutate(t *testing.T, conn *zombiezen.Conn, table string) {
	columns := column(query(t, conn, `SELECT '"' || name || '"' FROM pragma_table_info(?)`, table), 0)
	for _, c := range columns {
		switch {
		case table != "heads":
			refuses(t, conn, fmt.Sprintf("UPDATE %s SET %s = %s", table, c, c))
			refuses(t, conn, fmt.Sprintf("UPDATE OR REPLACE %s SET %s = %s", table, c, c))
		case c == `"size"`:
			refuses(t, conn, "UPDATE heads SET size = size - 1")
		case c == `"log_key"`:
			refuses(t, conn, "UPDATE heads SET log_key = log_key + 1")
		}
	}
	refuses(t, conn, "DELETE FROM "+table)
	if table == "removals" { // every column is part of its key: replacing a row changes nothing
		return
	}
	refuses(t, conn, fmt.Sprintf("REPLACE INTO %s SELECT * FROM %s LIMIT 1", table, table))
	// Over each further unique key, under a row key of its own.
	if !slices.Contains([]string{"tenants", "logs", "names", "spine", "data_keys", "r_trace_step", "r_llm_run", "holds"}, table) {
		if table == "sealed_index" {
			refuses(t, conn, "REPLACE INTO sealed_index SELECT tenant_no, name_no, mac, row + 5, trace_no FROM sealed_index WHERE trace_no IS NOT NULL")
		}
		return
	}
	others := strings.Join(columns[1:], ", ")
	refuses(t, conn, fmt.Sprintf("REPLACE INTO %s (%s, %s) SELECT (SELECT max(%s) + 9 FROM %s), %s FROM %s LIMIT 1",
		table, columns[0], others, columns[0], table, others, table))
}

// TestRemovalRefused sees that sealed rows go only when a removal names them.
func TestRemovalRefused(t *testing.T) {
	dir := t.TempDir()
	fillAll(t, open(t, dir))
	conn := shell(t, dir)
	by := query(t, conn, `SELECT by_row FROM removals`)[0][0]
	another := query(t, conn, `SELECT min(row) FROM r_audit`)[0][0]
	// A removal needs its order.
	refuses(t, conn, `INSERT INTO removals SELECT 1, 'key', 0, id, 0, `+another+` FROM data_keys`)
	refuses(t, conn, `INSERT INTO removals SELECT 1, 'key', 0, id, 0, 12345 FROM data_keys`)
	refuses(t, conn, `INSERT INTO removals SELECT 2, 'key', 0, id, 0, `+by+` FROM data_keys`)
	// And names what goes, nothing else.
	query(t, conn, `INSERT INTO removals SELECT 1, 'index', row, x'', name_no, `+by+` FROM sealed_index WHERE trace_no IS NULL`)
	query(t, conn, `INSERT INTO removals SELECT 1, 'segment', row, x'00', 0, `+by+` FROM sealed_segments LIMIT 1`)
	refuses(t, conn, `DELETE FROM data_keys`)
	refuses(t, conn, `DELETE FROM sealed_segments`)
	refuses(t, conn, `DELETE FROM sealed_index WHERE trace_no IS NOT NULL`)
	query(t, conn, `DELETE FROM sealed_index WHERE trace_no IS NULL`)
	if n := len(query(t, conn, `SELECT 1 FROM sealed_index`)); n != 1 {
		t.Errorf("%d index rows are left, want 1", n)
	}
}

// TestGuards sees that what protects the database is missed when it is gone.
func TestGuards(t *testing.T) {
	dir := t.TempDir()
	db := open(t, dir)
	conn := shell(t, dir)
	want := func(lines ...string) {
		t.Helper()
		got, err := db.Guards(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(lines, got); diff != "" {
			t.Errorf("guards (-want +got):\n%s", diff)
		}
	}
	want()
	triggers := column(query(t, conn, `SELECT name FROM sqlite_schema WHERE type = 'trigger'`), 0)
	if len(triggers) < 60 {
		t.Errorf("only %d triggers", len(triggers))
	}
	for _, name := range triggers {
		sql := query(t, conn, `SELECT sql FROM sqlite_schema WHERE name = ?`, name)[0][0]
		query(t, conn, "DROP TRIGGER "+name)
		want("trigger " + name + " is missing")
		query(t, conn, sql)
		want()
	}
	query(t, conn, `DROP TRIGGER guard_names_update`)
	query(t, conn, `CREATE TRIGGER guard_names_update BEFORE UPDATE ON names WHEN 0 BEGIN SELECT RAISE(ABORT, 'x'); END`)
	query(t, conn, `DROP INDEX r_trace_step_span`)
	query(t, conn, `DROP VIEW audit_ledger`)
	query(t, conn, `CREATE TABLE extra (a)`)
	query(t, conn, `CREATE TRIGGER later AFTER INSERT ON r_audit BEGIN INSERT INTO extra VALUES (1); END`)
	want("index r_trace_step_span is missing", "table extra is not runledger's", "trigger guard_names_update has been altered",
		"trigger later is not runledger's", "view audit_ledger is missing")
	query(t, conn, `ANALYZE`)
	want("index r_trace_step_span is missing", "table extra is not runledger's", "trigger guard_names_update has been altered",
		"trigger later is not runledger's", "view audit_ledger is missing")
}
