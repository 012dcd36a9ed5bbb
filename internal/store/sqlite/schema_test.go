package sqlite_test

import (
	"path/filepath"
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

// shell opens the database as a person with the sqlite3 program would.
func shell(t *testing.T, dir string) *zombiezen.Conn {
	t.Helper()
	conn, err := zombiezen.OpenConn(filepath.Join(dir, "runledger.db"), zombiezen.OpenReadWrite)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeIt(t, conn) })
	return conn
}

// query returns all rows of a result, columns as text, NULL as "NULL".
func query(t *testing.T, conn *zombiezen.Conn, sql string, args ...any) [][]string {
	t.Helper()
	var rows [][]string
	err := sqlitex.ExecuteTransient(conn, sql, &sqlitex.ExecOptions{
		Args: args,
		ResultFunc: func(s *zombiezen.Stmt) error {
			row := make([]string, s.ColumnCount())
			for i := range row {
				row[i] = "NULL"
				if !s.ColumnIsNull(i) {
					row[i] = s.ColumnText(i)
				}
			}
			rows = append(rows, row)
			return nil
		},
	})
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return rows
}

func column(rows [][]string, i int) []string {
	var list []string
	for _, r := range rows {
		list = append(list, r[i])
	}
	return list
}

// TestColumns fails for a field that was added to package evidence without a
// migration that adds its column.
func TestColumns(t *testing.T) {
	dir := t.TempDir()
	open(t, dir)
	conn := shell(t, dir)
	for _, k := range evidence.Kinds() {
		var fields []string
		for _, f := range evidence.PublicFields(k) {
			fields = append(fields, f.Column())
		}
		table := column(query(t, conn, `SELECT name FROM pragma_table_info(?)`, "r_"+k.String()), 0)
		own := []string{"row", "recorded_at", "occurred_at", "run_no", "n", "sealed_segment", "actor_segment"}
		if diff := cmp.Diff(sorted(own, fields), sorted(table)); diff != "" {
			t.Errorf("columns of r_%s (-fields +table):\n%s", k, diff)
		}
		view := column(query(t, conn, `SELECT name FROM pragma_table_info(?)`, k.Table()), 0)
		own = []string{"tenant_id", "log_no", "leaf_index", "recorded_at", "occurred_at", "run_id", "n", "sealed_segment", "actor_segment"}
		if diff := cmp.Diff(sorted(own, fields), sorted(view)); diff != "" {
			t.Errorf("columns of view %s (-fields +view):\n%s", k.Table(), diff)
		}
	}
}

func sorted(lists ...[]string) []string {
	all := slices.Concat(lists...)
	slices.Sort(all)
	return all
}

// TestView sees that views show values as fields.md writes them.
func TestView(t *testing.T) {
	dir := t.TempDir()
	db := open(t, dir)
	l := newLoad("t-1")
	c := l.commit()
	const k = evidence.KindTraceStep
	leaf := &evidence.Leaf{
		ID: evidence.ID{1}, Kind: k, Seq: c.Logs[0].Next.Size, Run: "läuft", N: 7,
		RecordedAt: -1, OccurredAt: 1_764_000_000_000_042,
	}
	for _, f := range evidence.PublicFields(k) {
		v := evidence.Fact{Field: f}
		switch {
		case f.Type == evidence.TypeNames:
			v.List = []string{"b", `"`}
		case f.Type == evidence.TypeTraceID:
			v.Str = strings.Repeat("0f", 16)
		case f.Name == "span_id":
			v.Str = "ff00000000000001"
		case f.Name == "parent_span_id":
			v.Str = "0000000000000001"
		case f.Name == "conflict_of":
			continue
		case f.Type.IsText():
			v.Str = f.Name
		default:
			v.Int = 1
		}
		leaf.SetFact(v)
	}
	log := &c.Logs[0]
	log.Entries = append(log.Entries, store.Entry{Leaf: leaf, Segment: 0, ActorSegment: store.NoSegment})
	log.Next.Size++
	if err := db.Commit(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	conn := shell(t, dir)
	got := query(t, conn, `SELECT tenant_id, log_no, leaf_index, recorded_at, occurred_at, run_id, n, sealed_segment, actor_segment,
		trace_id, span_id, parent_span_id, policy_ids, skill_name, idempotency_key, late, duration_us, conflict_of
		FROM aos_trace_steps WHERE leaf_index = ?`, leaf.Seq)
	want := [][]string{{
		"t-1", "1", "1050", "1969-12-31T23:59:59.999999Z", "2025-11-24T16:00:00.000042Z", "läuft", "7", "0", "NULL",
		strings.Repeat("0f", 16), "ff00000000000001", "0000000000000001", `["b","\""]`, "skill_name", "idempotency_key", "1", "1", "NULL",
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("aos_trace_steps (-want +got):\n%s", diff)
	}
	for _, k := range evidence.Kinds() {
		want := query(t, conn, `SELECT count(*) FROM r_`+k.String())
		if got := query(t, conn, `SELECT count(*) FROM `+k.Table()); !cmp.Equal(want, got) {
			t.Errorf("%s shows %v rows of %v", k.Table(), got, want)
		}
	}
}

// plan explains a query, its parameters left out.
func plan(t *testing.T, conn *zombiezen.Conn, sql string) string {
	t.Helper()
	s, _, err := conn.PrepareTransient("EXPLAIN QUERY PLAN " + sql)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Finalize(); err != nil {
			t.Error(err)
		}
	}()
	var lines []string
	for {
		more, err := s.Step()
		if err != nil {
			t.Fatal(err)
		}
		if !more {
			return strings.Join(lines, "\n")
		}
		lines = append(lines, s.ColumnText(3))
	}
}

// TestPlans sees that no query of a Reader method scans a table or sorts.
func TestPlans(t *testing.T) {
	dir := t.TempDir()
	open(t, dir)
	conn := shell(t, dir)
	methods := sqlite.Queries()
	for method, queries := range methods {
		for _, sql := range queries {
			p := plan(t, conn, sql)
			if !strings.Contains(p, "SEARCH") || strings.Contains(p, "SCAN") || strings.Contains(p, "TEMP B-TREE") {
				// The keys of a scope and label are few, and so are holds; sorting them is no matter.
				if slices.Contains([]string{"DataKeys", "Holds", "HoldParts"}, method) && !strings.Contains(p, "SCAN") {
					continue
				}
				t.Errorf("%s: %s\n%s", method, sql, p)
			}
		}
	}
	reader := []string{
		"Logs", "Head", "Segments", "Tile", "Tiles", "Checkpoints", "FindIDs", "FindSpans", "Runs", "AllRuns", "DataKeys", "DataKey",
		"SealedSegment", "SealedSegments", "Row", "Rows", "RecordIDs", "FindIndex", "Index", "Setting", "RunOfAlias", "RunOfTrace", "OpenRunsOf",
		"Attestations", "Expiries", "Holds", "HoldParts", "HeldRuns", "HeldRecords", "Archives", "SealedUnder", "Marks", "Expire", "Leaves",
	}
	for _, method := range reader {
		if len(methods[method]) == 0 {
			t.Errorf("no query of %s is looked at", method)
		}
	}
}

// TestIndexes sees that each index serves the query that it is there for.
func TestIndexes(t *testing.T) {
	const inLog = ` WHERE row >> 40 = ?1`
	uses := map[string]string{
		"idx_aos_trace_steps_trace_timestamp": `SELECT * FROM r_trace_step WHERE trace_id = ?1 ORDER BY occurred_at`,
		"r_trace_step_span":                   `SELECT * FROM r_trace_step WHERE trace_id = ?1 AND span_id = ?2 AND conflict_of IS NULL`,
		"r_trace_event_trace":                 `SELECT * FROM r_trace_event WHERE trace_id = ?1 ORDER BY occurred_at`,
		"r_trace_event_run":                   `SELECT * FROM r_trace_event WHERE run_no = ?1 AND trace_id IS NULL`,
		"idx_aos_traces_run_id":               `SELECT * FROM r_trace WHERE run_no = ?1`,
		"idx_llm_run_records_tenant_created":  `SELECT * FROM r_llm_run` + inLog + ` AND recorded_at < ?2 ORDER BY recorded_at DESC`,
		"r_llm_run_revision":                  `SELECT * FROM r_llm_run WHERE run_no = ?1 AND conflict_of IS NULL ORDER BY revision DESC`,
		"r_llm_run_occurred":                  `SELECT * FROM r_llm_run` + inLog + ` AND occurred_at BETWEEN ?2 AND ?3`,
		"r_llm_run_correlation":               `SELECT * FROM r_llm_run WHERE correlation_id = ?1`,
		"idx_system_records_tenant_created":   `SELECT * FROM r_system` + inLog + ` AND recorded_at < ?2 ORDER BY recorded_at DESC`,
		"r_system_occurred":                   `SELECT * FROM r_system` + inLog + ` AND occurred_at BETWEEN ?2 AND ?3`,
		"r_system_run":                        `SELECT * FROM r_system WHERE run_no = ?1`,
		"r_system_correlation":                `SELECT * FROM r_system WHERE correlation_id = ?1`,
		"r_metric_occurred":                   `SELECT * FROM r_metric` + inLog + ` AND occurred_at BETWEEN ?2 AND ?3`,
		"r_metric_run":                        `SELECT * FROM r_metric WHERE run_no = ?1`,
		"idx_audit_ledger_tenant_created":     `SELECT * FROM r_audit` + inLog + ` AND recorded_at < ?2 ORDER BY recorded_at DESC`,
		"r_audit_occurred":                    `SELECT * FROM r_audit` + inLog + ` AND occurred_at BETWEEN ?2 AND ?3`,
		"r_audit_run":                         `SELECT * FROM r_audit WHERE run_no = ?1`,
		"r_audit_about_run":                   `SELECT * FROM r_audit WHERE about_run = ?1`,
		"r_audit_correlation":                 `SELECT * FROM r_audit WHERE correlation_id = ?1`,
		"idx_log_exports_tenant_created":      `SELECT * FROM r_export` + inLog + ` AND recorded_at < ?2 ORDER BY recorded_at DESC`,
		"r_export_id":                         `SELECT * FROM r_export WHERE export_id = ?1 ORDER BY row DESC`,
		"r_export_about_run":                  `SELECT * FROM r_export WHERE about_run = ?1`,
		"data_keys_scope":                     sqlite.Queries()["DataKeys"][0],
		"run_states_open":                     `SELECT * FROM run_states WHERE open = 1 ORDER BY run_no`,
		"r_trace_step_run":                    `SELECT * FROM r_trace_step WHERE run_no = ?1 AND run_no <> trace_id`,
		"r_trace_event_other_run":             `SELECT * FROM r_trace_event WHERE run_no = ?1 AND run_no <> trace_id`,
		"r_llm_run_conflict":                  `SELECT * FROM r_llm_run WHERE run_no = ?1 AND conflict_of IS NOT NULL`,
		"r_trace_alias":                       `SELECT * FROM r_trace WHERE run_alias = ?1`,
		"r_llm_run_alias":                     `SELECT * FROM r_llm_run WHERE run_alias = ?1`,
		"r_llm_run_trace":                     `SELECT * FROM r_llm_run WHERE trace_id = ?1 ORDER BY row DESC`,
		"r_llm_run_conversation":              `SELECT * FROM r_llm_run` + inLog + ` AND conversation_id = ?2 AND row < ?3 ORDER BY row DESC`,
		"r_llm_run_agent":                     `SELECT * FROM r_llm_run` + inLog + ` AND agent_id = ?2 AND row < ?3 ORDER BY row DESC`,
		"r_llm_run_model":                     `SELECT * FROM r_llm_run` + inLog + ` AND model = ?2 AND row < ?3 ORDER BY row DESC`,
		"r_llm_run_provider":                  `SELECT * FROM r_llm_run` + inLog + ` AND provider = ?2 AND row < ?3 ORDER BY row DESC`,
		"r_llm_run_status":                    `SELECT * FROM r_llm_run` + inLog + ` AND execution_status = ?2 AND row < ?3 ORDER BY row DESC`,
		"r_llm_run_outcome":                   `SELECT * FROM r_llm_run` + inLog + ` AND outcome = ?2 AND row < ?3 ORDER BY row DESC`,
		"r_llm_run_synthetic":                 `SELECT * FROM r_llm_run` + inLog + ` AND is_synthetic = ?2 AND row < ?3 ORDER BY row DESC`,
		"r_llm_run_later":                     `SELECT 1 FROM r_llm_run INDEXED BY r_llm_run_later WHERE run_no = ?1 AND revision > ?2 AND revision > 1 AND conflict_of IS NULL`,
		"r_llm_run_stretch":                   `SELECT 1 FROM r_llm_run WHERE row >> 14 = ?1 AND occurred_at BETWEEN ?2 AND ?3`,
		"r_system_component":                  `SELECT * FROM r_system` + inLog + ` AND component = ?2 AND row < ?3 ORDER BY row DESC`,
		"r_system_event":                      `SELECT * FROM r_system` + inLog + ` AND event_type = ?2 AND row < ?3 ORDER BY row DESC`,
		"r_system_severity":                   `SELECT * FROM r_system` + inLog + ` AND severity = ?2 AND row < ?3 ORDER BY row DESC`,
		"r_system_cause":                      `SELECT * FROM r_system` + inLog + ` AND caused_by = ?2 AND row < ?3 ORDER BY row DESC`,
		"r_system_synthetic":                  `SELECT * FROM r_system` + inLog + ` AND is_synthetic = ?2 AND row < ?3 ORDER BY row DESC`,
		"r_system_visibility":                 `SELECT * FROM r_system` + inLog + ` AND visibility = ?2 AND row < ?3 ORDER BY row DESC`,
		"r_system_baseline":                   `SELECT * FROM r_system` + inLog + ` AND component = ?2 AND event_type = ?3 AND occurred_at <= ?4 ORDER BY occurred_at DESC, row DESC`,
		"r_system_stretch":                    `SELECT 1 FROM r_system WHERE row >> 14 = ?1 AND occurred_at BETWEEN ?2 AND ?3`,
		"r_audit_entity":                      `SELECT * FROM r_audit` + inLog + ` AND entity_id = ?2 AND row < ?3 ORDER BY row DESC`,
		"r_audit_agent":                       `SELECT * FROM r_audit` + inLog + ` AND agent_id = ?2 AND row < ?3 ORDER BY row DESC`,
		"r_audit_system":                      `SELECT * FROM r_audit` + inLog + ` AND system_id = ?2 AND row < ?3 ORDER BY row DESC`,
		"r_audit_event":                       `SELECT * FROM r_audit` + inLog + ` AND event_type = ?2 AND row < ?3 ORDER BY row DESC`,
		"r_audit_entity_type":                 `SELECT * FROM r_audit` + inLog + ` AND entity_type = ?2 AND row < ?3 ORDER BY row DESC`,
		"r_audit_actor_type":                  `SELECT * FROM r_audit` + inLog + ` AND actor_type = ?2 AND row < ?3 ORDER BY row DESC`,
		"r_audit_synthetic":                   `SELECT * FROM r_audit` + inLog + ` AND is_synthetic = ?2 AND row < ?3 ORDER BY row DESC`,
		"r_audit_window":                      `SELECT * FROM r_audit` + inLog + ` AND entity_type = ?2 AND occurred_at BETWEEN ?3 AND ?4 ORDER BY occurred_at, row`,
		"r_audit_stretch":                     `SELECT 1 FROM r_audit WHERE row >> 14 = ?1 AND occurred_at BETWEEN ?2 AND ?3`,
		"r_trace_other_run":                   `SELECT * FROM r_trace WHERE trace_id = ?1 AND run_no <> trace_id ORDER BY row DESC`,
		"run_states_running":                  `SELECT * FROM run_states WHERE tenant_no = ?1 AND open = 1 AND revision = 0 AND run_no < ?2 ORDER BY run_no DESC`,
		"api_keys_tenant":                     `SELECT * FROM api_keys WHERE tenant_id = ?1 ORDER BY created_at, id`,
		"attestations_stamps":                 `SELECT * FROM attestations WHERE row >= ?1 AND row <= ?2 AND kind = 'timestamp' ORDER BY row, by_name, key_id`,
		"expiries_end":                        `SELECT 1 FROM expiries WHERE log_key = ?1 AND tbl = 'aos_trace_steps' AND to_leaf > ?2 AND from_leaf <= ?2 AND before > ?3 AND (synthetic = 0 OR ?4 = 1)`,
		"holds_in_force":                      `SELECT 1 FROM holds WHERE released_row IS NULL AND tenant_no = ?1`,
		"hold_runs_hold":                      `SELECT run_no FROM hold_runs WHERE hold_no = ?1`,
		"hold_rows_hold":                      `SELECT row FROM hold_rows WHERE hold_no = ?1 ORDER BY row`,
		"sealed_segments_key":                 sqlite.Queries()["SealedUnder"][0],
		"sealed_index_row":                    `DELETE FROM sealed_index WHERE row >= ?1 AND row < ?2`,
		"sealed_index_once":                   `SELECT 1 FROM sealed_index WHERE trace_no = ?1 AND name_no = ?2 AND mac = ?3`,
	}
	dir := t.TempDir()
	open(t, dir)
	conn := shell(t, dir)
	for index, sql := range uses {
		if p := plan(t, conn, sql); !strings.Contains(p, "INDEX "+index) || strings.Contains(p, "TEMP B-TREE") {
			t.Errorf("%s is not used by %s:\n%s", index, sql, p)
		}
	}
	for _, name := range column(query(t, conn, `SELECT name FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL`), 0) {
		if uses[name] == "" {
			t.Errorf("no query here uses index %s", name)
		}
	}
	// That of runs that are not named after their trace stays empty under OpenTelemetry.
	if n := len(query(t, conn, `SELECT 1 FROM sqlite_schema WHERE type = 'index' AND tbl_name = 'r_trace_step' AND name <> 'r_trace_step_run'`)); n != 2 {
		t.Errorf("r_trace_step has %d indexes: the speed of ingest allows two", n)
	}
}
