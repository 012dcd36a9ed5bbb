package sqlite_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	zombiezen "zombiezen.com/go/sqlite"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
	"github.com/runledger/runledger/internal/store/sqlite"
	"github.com/runledger/runledger/internal/store/storetest"
)

// TestFindWays runs the random queries with ways chosen by nothing but
// preference, and by searches that see little: the answer is the same whichever
// way is followed.
func TestFindWays(t *testing.T) {
	for _, bounds := range [][]int64{{}, {1, 1}, {2, 5}} {
		t.Run(fmt.Sprint(bounds), func(t *testing.T) {
			defer sqlite.SetProbes(bounds...)()
			storetest.FindRandom(t, open(t, t.TempDir()))
		})
	}
}

// allIn finds by the rows what a query without conditions must find, newest
// first.
func allIn(t *testing.T, db *sqlite.DB, log store.LogRef, q store.Query, keep func(*store.Row) bool) []int64 {
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
	db := open(t, t.TempDir())
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
	defer sqlite.SetProbes()()
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
// where nothing shows a better one, and that none reads a table from end to end
// or sorts, but where it has found out that it sorts little.
func TestFindPlans(t *testing.T) {
	for total, bounds := range map[int64][]int64{100: {}, 30_000: {64, 512, 8192}} {
		defer sqlite.SetProbes(bounds...)()
		db := open(t, t.TempDir())
		l := newFindLoad("t-1", total)
		l.fill(t, db)
		name := func(c *store.Commit) *store.Commit { // names that no record has yet
			log := &c.Logs[0]
			for i, v := range []string{"old", "TIMEOUT", "terminated", "DEPLOY", "STARTUP", "CONFIG_CHANGE", "MIGRATION", "CRITICAL", "HUMAN", "shared", "LOGIN", "LOGOUT", "LOGIN_FAILED", "API_KEY_CREATED", "LOG_EXPORT", "LIMIT", "run-1", "actor"} {
				leaf := &evidence.Leaf{ID: evidence.ID(l.random(16)), Kind: evidence.KindTrace, Seq: log.Prev.Size + int64(i), Run: v}
				l.set(leaf, map[string]string{"service_name": v, "trace_id": fmt.Sprintf("%x", l.random(16))})
				log.Entries = append(log.Entries, store.Entry{Leaf: leaf, Segment: store.NoSegment, ActorSegment: store.NoSegment})
			}
			log.Next.Size = log.Prev.Size + int64(len(log.Entries))
			l.head = log.Next
			return c
		}
		if err := db.Commit(t.Context(), name(l.commit(0))); err != nil {
			t.Fatal(err)
		}
		for _, c := range l.listCases() {
			for _, counting := range []bool{false, true} {
				p, err := db.PlanOf(t.Context(), c.Query, counting)
				if err != nil {
					t.Fatalf("%s: %v", c.name, err)
				}
				if len(p.SQL) == 0 {
					t.Errorf("%s is not looked for", c.name)
				}
				if total == 100 && !counting && !slices.Contains(p.Indexes, c.index) {
					t.Errorf("%s follows %v, want %s", c.name, p.Indexes, c.index)
				}
				steps := strings.Join(p.Steps, "\n")
				sorts := strings.Contains(steps, "TEMP B-TREE") && !counting && !slices.Contains(p.Indexes, "r_llm_run_revision")
				// What sorts was seen to be little: by time, a person's, a window's.
				little := slices.ContainsFunc(p.Indexes, func(index string) bool {
					return strings.HasSuffix(index, "_occurred") || strings.HasSuffix(index, "_window") || c.Order != store.Newest
				})
				if strings.Contains(steps, "SCAN") || sorts && !little {
					t.Errorf("%s (counted: %v):\n%s\n%s", c.name, counting, strings.Join(p.SQL, "\n"), steps)
				}
			}
		}
	}
}

// TestFindChoice sees which way is followed where it matters.
func TestFindChoice(t *testing.T) {
	db := open(t, t.TempDir())
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
		{"an hour", run(l.ago(50), &day), []string{"r_llm_run_occurred"}, false},
		{"a frequent value", run(nil, nil, where("model", "o3")), []string{"r_llm_run_model"}, false},
		{"a frequent value in a week", run(l.ago(58), l.ago(50), where("model", "o3")), []string{"r_llm_run_model"}, true},
		{"a frequent value in an hour", run(l.ago(50), &day, where("model", "o3")), []string{"r_llm_run_occurred"}, false},
		{"a rare value", run(nil, nil, where("model", "o3"), where("execution_status", "TIMEOUT"), real), []string{"r_llm_run_status"}, false},
		{"a rare value in a week", run(l.ago(8), nil, real, where("provider", "old")), []string{"r_llm_run_provider"}, false},
		{"a person", run(l.ago(60), nil, real, where("model", "o3"), term), []string{"sealed_index"}, false},
		{"two frequent values", run(nil, nil, where("outcome", "failure"), where("agent_id", "agent-1")), []string{"r_llm_run_agent"}, false},
		{"the rarer alternative", run(nil, nil, store.Condition{Any: []store.Condition{where("model", "old"), where("provider", "old")}}, real), []string{"r_llm_run_model", "r_llm_run_provider"}, false},
		{"an alternative without an index", run(nil, nil, store.Condition{Any: []store.Condition{where("model", "old"), where("source", "SDK")}}), []string{""}, false},
		{"no index", run(nil, nil, where("source", "SDK")), []string{""}, false},
		{"governance", governance, []string{"r_audit_run", "r_audit_correlation"}, false},
		{"policy in a long window", policy, []string{"r_audit_window"}, false},
		{"views in a long window", window, []string{"r_audit_occurred"}, false},
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

// TestFindStatements asks for more combinations of filters than a connection
// keeps statements, also in a snapshot, which closes with statements kept.
func TestFindStatements(t *testing.T) {
	db := open(t, t.TempDir())
	l := newFindLoad("t-1", 100)
	l.fill(t, db)
	snap, err := db.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	fields := []string{"model", "provider", "outcome", "execution_status", "agent_id", "actor_type", "source"}
	for set := range 1 << len(fields) {
		q := store.Query{Tenant: "t-1", Kind: evidence.KindLLMRun, Limit: 1}
		for i, f := range fields {
			if set>>i&1 == 1 {
				q.Where = append(q.Where, where(f, "openai", "o3", "claude", "agent-1", "AGENT", "success", "SUCCEEDED", "SDK"))
			}
		}
		for _, r := range []store.Reader{db, snap} {
			found := 0
			if err := r.Find(t.Context(), q, func(store.Found) error {
				found++
				return nil
			}); err != nil {
				t.Fatalf("%v: %v", q.Where, err)
			}
		}
	}
	kept := db.Statements()
	if most := slices.Max(kept); most > sqlite.MaxFound || most < 2 {
		t.Errorf("connections keep %v statements", kept)
	}
	closeIt(t, snap)
}

// TestFindCancelled ends a query that finds nothing for long.
func TestFindCancelled(t *testing.T) {
	db := open(t, t.TempDir())
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

// TestComponentsQuery sees that components are read off an index.
func TestComponentsQuery(t *testing.T) {
	dir := t.TempDir()
	open(t, dir)
	p := plan(t, shell(t, dir), sqlite.ComponentsQuery)
	if strings.Count(p, "SEARCH r_system USING COVERING INDEX r_system_component") != 2 || strings.Contains(p, "SCAN r_system") || strings.Contains(p, "TEMP B-TREE") {
		t.Error(p)
	}
}

// TestFindMigrated sees that what was stored before there were these indexes is
// found by them.
func TestFindMigrated(t *testing.T) {
	dir := t.TempDir()
	conn, err := zombiezen.OpenConn(filepath.Join(dir, "runledger.db"), zombiezen.OpenReadWrite|zombiezen.OpenCreate)
	if err != nil {
		t.Fatal(err)
	}
	if err := sqlite.MigrateTo(t.Context(), conn, 6); err != nil {
		t.Fatal(err)
	}
	for _, sql := range []string{
		`INSERT INTO tenants VALUES (1, 't-1'), (2, 't-2')`,
		`INSERT INTO logs VALUES (1, 1, 1, 'one', 'v', x'00'), (2, 2, 1, 'two', 'v', x'00')`,
		`INSERT INTO names VALUES (1, 'api')`,
		`INSERT INTO spine VALUES (1, 1, 'a'), (2, 2, 'b'), (3, 1, 'c'), (4, 1, 'ended')`,
		`INSERT INTO run_states VALUES (1, 1, 1, 0, 1 << 40, 1), (2, 1, 1, 0, 2 << 40, 1), (3, 1, 1, 0, 1 << 40, 1), (4, 1, 1, 1, 1 << 40, 0)`,
		`INSERT INTO r_system (row, recorded_at, occurred_at, component) VALUES (1 << 40, 5, 5, 1), (2 << 40, 5, 5, 1)`,
	} {
		query(t, conn, sql)
	}
	closeIt(t, conn)
	db := open(t, dir)
	for tenant, want := range map[string][]string{"t-1": {"c", "a"}, "t-2": {"b"}} {
		var runs []string
		if err := db.OpenRunsOf(t.Context(), tenant, "", 9, func(s store.RunState) error {
			runs = append(runs, s.Run)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, runs); diff != "" {
			t.Errorf("running of %s (-want +got):\n%s", tenant, diff)
		}
		n, err := db.Count(t.Context(), store.Query{Tenant: tenant, Kind: evidence.KindSystem, Where: []store.Condition{where("component", "api")}}, 9)
		if err != nil || n != 1 {
			t.Errorf("%d records of %s, %v", n, tenant, err)
		}
	}
}
