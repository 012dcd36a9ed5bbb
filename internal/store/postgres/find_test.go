package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/jackc/pgx/v5"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
	"github.com/runledger/runledger/internal/store/pgtest"
	"github.com/runledger/runledger/internal/store/postgres"
	"github.com/runledger/runledger/internal/store/storetest"
)

// TestFindWays runs the random queries with ways chosen by nothing but
// preference, and by searches that see little: the answer is the same whichever
// way is followed.
func TestFindWays(t *testing.T) {
	for _, bounds := range [][]int64{{}, {1, 1}, {2, 5}} {
		t.Run(fmt.Sprint(bounds), func(t *testing.T) {
			defer postgres.SetProbes(bounds...)()
			storetest.FindRandom(t, open(t, migrated(t)))
		})
	}
}

// allIn finds by the rows what a query without conditions must find, newest
// first.
func allIn(t *testing.T, db *postgres.DB, log store.LogRef, q store.Query, keep func(*store.Row) bool) []int64 {
	t.Helper()
	var list []int64
	if err := db.Rows(t.Context(), log, q.Kind, 0, 1<<39, func(r *store.Row) error {
		if (q.From == nil || r.OccurredAt >= *q.From) && (q.Until == nil || r.OccurredAt <= *q.Until) && keep(r) {
			list = append(list, r.Seq)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	slices.Reverse(list)
	return list
}

func nameOf(r *store.Row, field string) string {
	for _, f := range r.Facts {
		if f.Field.Name == field {
			return f.Str
		}
	}
	return ""
}

// TestFindStretches has a log of several stretches, among them ones without
// records of a kind, and records that came long after they happened.
func TestFindStretches(t *testing.T) {
	db := open(t, migrated(t))
	l := newLoad("t-1")
	const stretch, size = 1 << 14, 5*1<<14 + 100
	at := func(seq int64) evidence.Micros { return evidence.Micros(1_764_000_000_000_000 + seq*1000) }
	for l.head.Size < size {
		c := store.LogCommit{Log: l.log.LogRef, Prev: l.head}
		if l.head.Size == 0 {
			c.Open = &l.log
		}
		for range min(4096, size-l.head.Size) {
			seq := l.head.Size + int64(len(c.Entries))
			leaf := &evidence.Leaf{ID: evidence.ID(l.random(16)), Kind: evidence.KindTraceEvent, Seq: seq, RecordedAt: at(seq), OccurredAt: at(seq)}
			if n := seq / stretch; n != 2 && seq%7 == 0 {
				leaf.Kind = evidence.KindAudit
				l.set(leaf, map[string]string{"event_type": [...]string{"LOGIN", "LOG_VIEW"}[min(1, seq%3)]})
				if seq%1001 == 0 {
					leaf.OccurredAt = at(seq - seq/2) // it came late
				}
			}
			c.Entries = append(c.Entries, store.Entry{Leaf: leaf, Segment: store.NoSegment, ActorSegment: store.NoSegment})
		}
		c.Next = store.Head{Size: l.head.Size + int64(len(c.Entries)), Root: evidence.Hash(l.random(32)), Note: l.random(9)}
		l.head = c.Next
		if err := db.Commit(t.Context(), &store.Commit{Logs: []store.LogCommit{c}}); err != nil {
			t.Fatal(err)
		}
	}
	defer postgres.SetProbes()()
	for _, window := range [][2]int64{
		{0, size}, {0, stretch}, {stretch + 500, stretch + 900}, {2 * stretch, 3*stretch - 1}, {stretch, 4*stretch + 3}, {size - 10, size}, {size, 2 * size},
	} {
		for _, event := range []string{"", "LOGIN"} {
			from, until := at(window[0]), at(window[1])
			q := store.Query{Tenant: "t-1", Kind: evidence.KindAudit, From: &from, Until: &until}
			if event != "" {
				q.Where = []store.Condition{where("event_type", event)}
			}
			if p, err := db.PlanOf(t.Context(), q, false); err != nil || !p.Leaps {
				t.Fatalf("%v %s: %+v, %v", window, event, p, err)
			}
			want := allIn(t, db, l.log.LogRef, q, func(r *store.Row) bool { return event == "" || nameOf(r, "event_type") == event })
			for _, q.Limit = range []int{1, 50, 100_000} {
				q.After = nil
				for i := 0; ; { // three pages
					var page []int64
					if err := db.Find(t.Context(), q, func(f store.Found) error {
						page = append(page, f.Seq)
						return nil
					}); err != nil {
						t.Fatal(err)
					}
					if diff := cmp.Diff(want[min(i, len(want)):min(i+q.Limit, len(want))], page, cmpopts.EquateEmpty()); diff != "" {
						t.Fatalf("%v %s, %d from %d (-want +got):\n%s", window, event, q.Limit, i, diff)
					}
					if i += len(page); len(page) < q.Limit || i >= 3*q.Limit {
						break
					}
					q.After = &store.Position{LogNo: 1, Seq: page[len(page)-1]}
				}
			}
			q.After = nil
			for _, limit := range []int64{10, 1 << 40} {
				if n, err := db.Count(t.Context(), q, limit); err != nil || n != min(limit, int64(len(want))) {
					t.Errorf("%v %s: %d, %v, want %d to %d", window, event, n, err, len(want), limit)
				}
			}
		}
	}
}

// TestFindPlans sees that each list and view of the contract follows its index
// where nothing shows a better one, and that PostgreSQL follows the index that is
// meant, whether it has statistics or none.
func TestFindPlans(t *testing.T) {
	for total, bounds := range map[int64][]int64{100: {}, 30_000: {64, 512, 8192}} {
		defer postgres.SetProbes(bounds...)()
		dsns := migrated(t)
		db := open(t, dsns)
		l := newFindLoad("t-1", total)
		l.fill(t, db)
		for _, analyzed := range []bool{false, true} {
			if analyzed && total < 1000 {
				break // of tables with one page, any index is as good
			}
			if analyzed {
				asOwner(t, dsns, "ANALYZE")
			}
			for _, c := range l.listCases() {
				for _, counting := range []bool{false, true} {
					p, err := db.PlanOf(t.Context(), c.Query, counting)
					if err != nil {
						t.Fatalf("%s: %v", c.name, err)
					}
					if total == 100 && !counting && !slices.Contains(p.Indexes, c.index) {
						t.Errorf("%s follows %v, want %s", c.name, p.Indexes, c.index)
					}
					checkPlan(t, fmt.Sprintf("%s (of %d, analyzed: %v, counted: %v)", c.name, total, analyzed, counting), p)
				}
			}
		}
	}
}

// checkPlan sees that a query's plan has the indexes that it means and sorts
// nothing but what it has found.
func checkPlan(t *testing.T, what string, p postgres.Plan) {
	t.Helper()
	if len(p.Nodes) == 0 {
		t.Errorf("%s is not looked for", what)
	}
	for _, n := range p.Nodes {
		fits := true
		switch n.Type {
		case "Seq Scan", "Bitmap Heap Scan", "Bitmap Index Scan", "Incremental Sort", "Hash Join", "Merge Join", "Materialize":
			fits = false
		case "Sort":
			fits = n.Parent == "Limit" && n.Depth == 1
		case "Index Scan", "Index Only Scan":
			// A row of columns up to which a scan goes does not end it.
			fits = strings.Contains(n.Cond, "tenant_id") && isMeant(p, n) && !strings.Contains(n.Cond, "ROW(log_no, leaf_index) <= ROW(i.")
		}
		if !fits {
			t.Errorf("%s, by %v: %+v", what, p.Indexes, n)
		}
	}
}

// isMeant reports whether a plan means the index that a node of it reads.
func isMeant(p postgres.Plan, n postgres.Node) bool {
	switch {
	case strings.HasPrefix(n.Alias, "n"), strings.HasPrefix(n.Alias, "e"), strings.HasPrefix(n.Alias, "i"):
		// Whether there is a newer one, or an entry of the sealed index.
		return strings.HasPrefix(n.Index, "run_revisions_") || n.Index == "log_exports_id" || strings.HasPrefix(n.Index, "sealed_index_")
	case slices.Contains(p.Indexes, n.Index), !n.Partitioned:
		return true
	case p.Leaps && strings.HasSuffix(n.Index, "_stretch"):
		return true
	default: // the table by position
		return strings.HasSuffix(n.Index, "_pkey") && (p.Leaps || slices.Contains(p.Indexes, "") || slices.Contains(p.Indexes, "sealed_index"))
	}
}

// TestFixedPlans does so for the statements that are always the same.
func TestFixedPlans(t *testing.T) {
	dsns := migrated(t)
	// A server to which parallel workers and reading tables seem to cost nothing, as they
	// do beside what a plan costs that guesses too many rows.
	dsns.App += "&parallel_setup_cost=0&parallel_tuple_cost=0&min_parallel_index_scan_size=0&min_parallel_table_scan_size=0"
	db := open(t, dsns)
	newFindLoad("t", 1000).fill(t, db)
	for _, analyzed := range []bool{false, true} {
		if analyzed {
			asOwner(t, dsns, "ANALYZE")
		}
		for _, f := range postgres.Statements() {
			nodes, err := db.ExplainFixed(t.Context(), f)
			if err != nil {
				t.Fatalf("%s: %v", f.Name, err)
			}
			found := map[string]bool{}
			for _, n := range nodes {
				if n.Index != "" {
					found[n.Index] = true
				}
				if strings.HasPrefix(n.Type, "Seq") || strings.HasPrefix(n.Type, "Bitmap") || strings.HasPrefix(n.Type, "Gather") ||
					strings.HasSuffix(n.Type, "Sort") && n.Depth > 1 {
					t.Errorf("%s (analyzed: %v): %+v", f.Name, analyzed, n)
				}
			}
			if diff := cmp.Diff(slices.Sorted(slices.Values(f.Indexes)), slices.Sorted(maps.Keys(found))); diff != "" {
				t.Errorf("%s (analyzed: %v) follows (-want +got):\n%s", f.Name, analyzed, diff)
			}
		}
	}
}

func asOwner(t *testing.T, dsns pgtest.DSNs, sql string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsns.Owner)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if _, err := conn.Exec(t.Context(), sql); err != nil {
		t.Fatal(err)
	}
}

// TestFindChoice sees which way is followed where it matters.
func TestFindChoice(t *testing.T) {
	db := open(t, migrated(t))
	l := newFindLoad("t-1", 30_000)
	l.fill(t, db)
	day := *l.ago(50) + 3_600_000_000
	run := func(from, until *evidence.Micros, where ...store.Condition) store.Query {
		return store.Query{Tenant: "t-1", Kind: evidence.KindLLMRun, Where: where, From: from, Until: until, Limit: 50, NewestRevision: true}
	}
	term := store.Condition{Index: &store.IndexTerm{Name: "actor", MAC: [16]byte{7}}}
	real := where("is_synthetic", "false")
	policy := store.Query{Tenant: "t-1", Kind: evidence.KindAudit, From: l.ago(60), Until: l.ago(40), Order: store.ByTime, Limit: 1000, Where: []store.Condition{where("entity_type", "POLICY_RULE")}}
	window := policy
	window.Where = []store.Condition{where("event_type", "LOG_VIEW")}
	governance := store.Query{Tenant: "t-1", Kind: evidence.KindAudit, Order: store.ByTime, Limit: 1000, Where: []store.Condition{
		{Any: []store.Condition{where("run", "run-1"), where("correlation_id", "order-3", "order-9")}},
	}}
	for _, test := range []struct {
		name  string
		query store.Query
		index []string
		leaps bool
	}{
		{"nothing asked", run(nil, nil), []string{""}, false},
		{"a week", run(l.ago(8), nil), []string{""}, true},
		{"an hour", run(l.ago(50), &day), []string{"llm_run_records_occurred"}, false},
		{"a frequent value", run(nil, nil, where("model", "o3")), []string{"llm_run_records_model"}, false},
		{"a frequent value in a week", run(l.ago(58), l.ago(50), where("model", "o3")), []string{"llm_run_records_model"}, true},
		{"a frequent value in an hour", run(l.ago(50), &day, where("model", "o3")), []string{"llm_run_records_occurred"}, false},
		{"a rare value", run(nil, nil, where("model", "o3"), where("execution_status", "TIMEOUT"), real), []string{"llm_run_records_status"}, false},
		{"a rare value in a week", run(l.ago(8), nil, real, where("provider", "old")), []string{"llm_run_records_provider"}, false},
		{"a person", run(l.ago(60), nil, real, where("model", "o3"), term), []string{"sealed_index"}, false},
		{"two frequent values", run(nil, nil, where("outcome", "failure"), where("agent_id", "agent-1")), []string{"llm_run_records_agent"}, false},
		{"the rarer alternative", run(nil, nil, store.Condition{Any: []store.Condition{where("model", "old"), where("provider", "old")}}, real), []string{"llm_run_records_model", "llm_run_records_provider"}, false},
		{"an alternative without an index", run(nil, nil, store.Condition{Any: []store.Condition{where("model", "old"), where("source", "SDK")}}), []string{""}, false},
		{"no index", run(nil, nil, where("source", "SDK")), []string{""}, false},
		{"governance", governance, []string{"audit_ledger_run", "audit_ledger_correlation"}, false},
		{"policy in a long window", policy, []string{"audit_ledger_window"}, false},
		{"views in a long window", window, []string{"audit_ledger_occurred"}, false},
	} {
		p, err := db.PlanOf(t.Context(), test.query, false)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(test.index, p.Indexes); diff != "" || p.Leaps != test.leaps {
			t.Errorf("%s: follows %q, leaps: %v, want %q, %v", test.name, p.Indexes, p.Leaps, test.index, test.leaps)
		}
	}
}

// TestFindCancelled ends a query that finds nothing for long.
func TestFindCancelled(t *testing.T) {
	db := open(t, migrated(t))
	l := newFindLoad("t-1", 10_000)
	l.fill(t, db)
	cause := errors.New("gone")
	q := store.Query{Tenant: "t-1", Kind: evidence.KindAudit, Limit: 1, Where: []store.Condition{where("source_domain", "ACTIVITY"), where("route", "none", "LOG")}}
	for _, wait := range []time.Duration{0, time.Millisecond, 3 * time.Millisecond} {
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(wait, func() { cancel(cause) })
		var err error
		for err == nil {
			err = db.Find(ctx, q, func(store.Found) error { return nil })
		}
		if !errors.Is(err, cause) {
			t.Errorf("after %v: %v, want %v", wait, err, cause)
		}
		if n, err := db.Count(t.Context(), q, 1); err != nil || n != 0 { // the connection is as good as before
			t.Errorf("after %v: %d, %v", wait, n, err)
		}
	}
}

// TestFindUnstorable asks by texts that no column can hold: they are not there,
// which is no error.
func TestFindUnstorable(t *testing.T) {
	db := open(t, migrated(t))
	newFindLoad("t-1", 100).fill(t, db)
	for _, text := range []string{"a\x00b", "\xff"} {
		for _, q := range []store.Query{
			{Tenant: "t-1", Kind: evidence.KindAudit, Limit: 1, Where: []store.Condition{where("entity_id", text)}},
			{Tenant: text, Kind: evidence.KindAudit, Limit: 1},
		} {
			if n, err := db.Count(t.Context(), q, 1); err != nil || n != 0 {
				t.Errorf("%q: %d, %v", text, n, err)
			}
		}
		if runs, err := db.Runs(t.Context(), "t-1", []string{text}); err != nil || len(runs) != 0 {
			t.Errorf("runs %v, %v", runs, err)
		}
		if _, err := db.RunOfAlias(t.Context(), "t-1", text); !errors.Is(err, evidence.ErrNotFound) {
			t.Errorf("alias %q: %v", text, err)
		}
	}
}
