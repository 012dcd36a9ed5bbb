package sqlite_test

import (
	"strings"
	"testing"

	"github.com/runledger/runledger/internal/store/sqlite"
)

// TestRunQueriesUseIndexes: a run's records, and the runs that are open, are
// found without walking a table, however many runs there are.
func TestRunQueriesUseIndexes(t *testing.T) {
	dir := t.TempDir()
	open(t, dir)
	conn := shell(t, dir)
	for name, sql := range map[string]string{"RunRecords": sqlite.RunRecordsQuery, "OpenRuns": sqlite.OpenRunsQuery} {
		searches := 0
		var args []any
		if name == "RunRecords" {
			args = append(args, 1)
		}
		for _, step := range column(query(t, conn, "EXPLAIN QUERY PLAN "+sql, args...), 3) {
			switch {
			case strings.HasPrefix(step, "SEARCH"):
				searches++
			case strings.HasPrefix(step, "SCAN r USING COVERING INDEX run_states_open"), strings.HasPrefix(step, "SCAN r USING INDEX run_states_open"):
				searches++ // the index holds open runs and no others
			case strings.HasPrefix(step, "SCAN"):
				t.Errorf("%s: %s", name, step)
			}
		}
		// One for each condition of each kind; one for each of three tables.
		want := strings.Count(sql, "UNION ALL") + 1
		if name == "OpenRuns" {
			want = 3
		}
		if searches != want {
			t.Errorf("%s uses an index %d times, want %d:\n%s", name, searches, want, sql)
		}
	}
}
