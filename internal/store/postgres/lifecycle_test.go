package postgres_test

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
	"github.com/runledger/runledger/internal/store/postgres"
)

// retention is an audit record of one of the events of lifecycle.
func retention(event, entity string, facts ...evidence.Fact) store.Entry {
	kind := evidence.KindAudit
	e := record(kind, append([]evidence.Fact{
		textFact(kind, "event_type", event), textFact(kind, "entity_type", "RETENTION"), textFact(kind, "entity_id", entity),
	}, facts...)...)
	e.Leaf.RecordedAt = evidence.Micros(time.Now().UnixMicro())
	return e
}

func audited(name, value string) evidence.Fact { return textFact(evidence.KindAudit, name, value) }

func auditedAt(name string, at evidence.Micros) evidence.Fact {
	return evidence.Fact{Field: evidence.PublicField(evidence.KindAudit, name), Int: int64(at)}
}

// expiry orders that rows of a table may go.
func (l *testLog) expiry(t testing.TB, db *postgres.DB, table string, from, to int64, before time.Time) store.Expiry {
	t.Helper()
	e := store.Expiry{
		By: store.Position{LogNo: l.ref.No, Seq: l.head.Size}, Table: table, LogNo: l.ref.No, From: from, To: to,
		Before: evidence.Micros(before.UnixMicro()),
	}
	c := l.next(retention("RetentionApplied", table, auditedAt("valid_until", e.Before)))
	c.Logs[0].Expiries = []store.Expiry{e}
	if err := l.commit(t.Context(), db, c); err != nil {
		t.Fatal(err)
	}
	return e
}

// hold places a hold.
func (l *testLog) hold(t testing.TB, db *postgres.DB, h store.Hold) {
	t.Helper()
	h.Placed = store.Position{LogNo: l.ref.No, Seq: l.head.Size}
	c := l.next(retention("LegalHoldPlaced", h.ID, audited("rule_id", h.Scope)))
	c.Logs[0].Holds = []store.Hold{h}
	if err := l.commit(t.Context(), db, c); err != nil {
		t.Fatal(err)
	}
}

func (l *testLog) release(t testing.TB, db *postgres.DB, id string) {
	t.Helper()
	at := store.Position{LogNo: l.ref.No, Seq: l.head.Size}
	c := l.next(retention("LegalHoldReleased", id))
	c.Logs[0].Releases = []store.Hold{{ID: id, Released: at}}
	if err := l.commit(t.Context(), db, c); err != nil {
		t.Fatal(err)
	}
}

// early is before the records of a test, and older than any policy.
var early = time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)

// fillLifecycle writes a row to every table of lifecycle behind fillAll: nothing of its
// records expires, and the hold covers a run that is not there.
func fillLifecycle(t testing.TB, db *postgres.DB, l *testLog) {
	t.Helper()
	if err := db.KeepArchive(t.Context(), store.ArchiveUnit{LogRef: l.ref, To: 2, Archive: "dir", Name: "0-2"}); err != nil {
		t.Fatal(err)
	}
	l.expiry(t, db, "aos_trace_steps", 0, l.head.Size, early)
	l.hold(t, db, store.Hold{ID: "hold-1", Scope: store.HoldSubject, Runs: []string{"other"}, Records: []store.Position{{LogNo: 1, Seq: 100}}})
}

// aged is a database of old steps: of the run that is held at 0 and 1, of others at 2
// to 4, and a young one at 5, with an expiry of all that is old.
func aged(t *testing.T) (*postgres.DB, *testLog, func(dsn string) *pgx.Conn) {
	t.Helper()
	dsns := migrated(t)
	db := open(t, dsns)
	l := newLog("t-1")
	var entries []store.Entry
	for i, run := range []string{"held", "held", "run", "run", "other", "young"} {
		e := record(evidence.KindTraceStep)
		e.Leaf.Run, e.Leaf.N = run, int64(i)
		if run == "young" {
			e.Leaf.RecordedAt += 3_600_000_000
		}
		entries = append(entries, e)
	}
	c := l.next(entries...)
	c.Logs[0].Index = []store.IndexEntry{
		{Name: "subject", MAC: [16]byte{1}, Position: store.Position{LogNo: 1, Seq: 0}}, {Name: "subject", MAC: [16]byte{1}, Position: store.Position{LogNo: 1, Seq: 3}},
	}
	if err := l.commit(t.Context(), db, c); err != nil {
		t.Fatal(err)
	}
	l.expiry(t, db, "aos_trace_steps", 0, 6, time.UnixMicro(1_764_000_000_000_002))
	l.hold(t, db, store.Hold{ID: "hold-1", Scope: store.HoldRun, Runs: []string{"held"}})
	return db, l, func(dsn string) *pgx.Conn {
		return shell(t, map[string]string{"app": dsns.App, "owner": dsns.Owner}[dsn])
	}
}

// TestLifecycleByHand tries, as the application's role and as the owner's, to take away
// what must not go, or to say that it may.
func TestLifecycleByHand(t *testing.T) {
	t.Parallel()
	db, l, as := aged(t)
	app, owner := as("app"), as("owner")
	by := l.head.Size - 2 // the RetentionApplied
	young := time.Now().UnixMicro() - 89*86_400_000_000
	const expiries = "INSERT INTO expiries (tenant_id, log_no, table_name, first, until, before, synthetic, by_log, by_leaf, restored) VALUES "
	for _, c := range []struct {
		name, sql, code string
		// asks: the application may try, and is told no. Else it has no right to.
		asks bool
		app  string // SQLSTATE for the application, where it is another
	}{
		{name: "held rows", sql: "DELETE FROM aos_trace_steps WHERE run_id = 'held'", code: held},
		{name: "held rows of a partition", sql: "DELETE FROM aos_trace_steps_p202511 WHERE leaf_index = 1", code: held},
		{name: "a row that is younger", sql: "DELETE FROM aos_trace_steps WHERE run_id = 'young'", code: noOrder},
		{name: "all rows", sql: "DELETE FROM aos_trace_steps", code: held},
		{name: "rows of another table", sql: "DELETE FROM audit_ledger", code: noOrder},
		{name: "leaves", sql: "DELETE FROM leaf_segments", code: noOrder},
		{name: "the index of a row that is there", sql: "DELETE FROM sealed_index", code: noOrder},
		{name: "the index of what is held", sql: "DELETE FROM sealed_index WHERE leaf_index = 0", code: noOrder},
		{name: "an update", sql: "UPDATE aos_trace_steps SET run_id = 'run'", code: appendOnly},
		{name: "a run's name taken off a hold", sql: "DELETE FROM hold_runs", code: appendOnly},
		{name: "a hold changed to another scope", sql: "UPDATE holds SET scope = 'subject'", code: appendOnly},
		{name: "a hold released", sql: "UPDATE holds SET released_log = 1, released_leaf = 7", code: noOrder},
		{name: "a hold deleted", sql: "DELETE FROM holds", code: appendOnly},
		{name: "a hold truncated", sql: "TRUNCATE holds, hold_runs, hold_records, expiries, archives", code: appendOnly},
		{name: "an expiry widened", sql: "UPDATE expiries SET until = 1000", code: appendOnly},
		{name: "an expiry widened while done", sql: "UPDATE expiries SET done = true, before = before + 3600000000", code: appendOnly},
		{name: "an expiry deleted", sql: "DELETE FROM expiries", code: appendOnly},
		{name: "an expiry without a record", sql: expiries + "('t-1', 1, 'aos_trace_steps', 0, 6, 9, false, 1, 0, false)", code: noOrder, asks: true},
		{name: "an expiry of another table", sql: fmt.Sprint(expiries, "('t-1', 1, 'aos_traces', 0, 6, 1764000000000002, false, 1, ", by, ", false)"), code: noOrder, asks: true},
		{name: "an expiry of another tenant", sql: fmt.Sprint(expiries, "('t-2', 1, 'aos_trace_steps', 0, 6, 1764000000000002, false, 1, ", by, ", false)"), code: noOrder, asks: true},
		{
			name: "a record, and an expiry that is too young", asks: true, code: young5,
			sql: fmt.Sprint(auditRow("RetentionApplied", "aos_trace_steps", young), "; ", expiries, "('t-1', 1, 'aos_trace_steps', 0, 6, ", young, ", false, 1, 50, false)"),
		},
		{
			name: "the same, said to be a copy's", code: young5, // its record is as young
			sql:  fmt.Sprint(auditRow("RetentionApplied", "aos_trace_steps", young), "; ", expiries, "('t-1', 1, 'aos_trace_steps', 0, 6, ", young, ", false, 1, 50, true)"),
			asks: true, app: noOrder, // nor may it say so
		},
		{
			name: "an expiry of the audit ledger", asks: true, code: noOrder,
			sql: auditRow("RetentionApplied", "audit_ledger", 9) + "; " + expiries + "('t-1', 1, 'audit_ledger', 0, 6, 9, false, 1, 50, false)",
		},
		{
			name: "leaves that no archive has", asks: true, code: noOrder,
			sql: auditRow("RetentionApplied", "leaf_segments", 9) + "; " + expiries + "('t-1', 1, 'leaf_segments', 0, 6, 9, false, 1, 50, false)",
		},
		{name: "a part of no hold", sql: "INSERT INTO hold_runs VALUES ('t-1', 'run', 'hold-2')", code: noOrder, asks: true},
		{name: "a hold without a record", sql: "INSERT INTO holds VALUES ('t-1', 'hold-2', 'run', 1, 0, NULL, NULL, 0, 0)", code: noOrder, asks: true},
		{
			name: "an erasure of what is held", asks: true, code: held,
			sql: "INSERT INTO audit_ledger (tenant_id, log_no, leaf_index, recorded_at, occurred_at, event_type, run_id) VALUES ('t-1', 1, 50, 1764000000000001, 0, 'ErasureExecuted', 'held')",
		},
		{name: "a unit behind a gap", sql: "INSERT INTO archives VALUES ('t-1', 1, 1, 2, 0, 0, '', '', '', 0, false, 0)", code: noOrder, asks: true},
		{name: "an expiry by the function", sql: "SELECT runledger_expire_rows('t-1', 1, '{aos_trace_steps}', '{0}', '{6}', '{1764000000000003}', '{f}', '{1}', '{6}', 0, 6, true)", code: noOrder, asks: true},
		{
			name: "an expiry that is said to be done", asks: true, code: noOrder,
			sql: fmt.Sprint("INSERT INTO expiries (tenant_id, log_no, table_name, first, until, before, synthetic, by_log, by_leaf, done) VALUES ('t-1', 1, 'aos_trace_steps', 1, 6, 1764000000000002, false, 1, ", by, ", true)"),
		},
		{
			name: "an expiry that is said to be emptied", asks: true, code: noOrder,
			sql: fmt.Sprint("INSERT INTO expiries (tenant_id, log_no, table_name, first, until, before, synthetic, by_log, by_leaf, emptied) VALUES ('t-1', 1, 'aos_trace_steps', 1, 6, 1764000000000002, false, 1, ", by, ", true)"),
		},
		{name: "an expiry widened while emptied", sql: "UPDATE expiries SET emptied = true, until = 1000", code: appendOnly},
		{name: "an expiry that is emptied no more", sql: "UPDATE expiries SET emptied = true; UPDATE expiries SET emptied = false", code: appendOnly},
		{name: "rows by an old view", sql: repeatable + fmt.Sprint("SELECT runledger_expire_rows('t-1', 1, '{aos_trace_steps}', '{0}', '{6}', '{1764000000000002}', '{f}', '{1}', '{", by, "}', 0, 6, true)"), code: oldView, asks: true},
		{name: "a partition by an old view", sql: repeatable + "SELECT runledger_expire_partition('aos_trace_steps', '2025-11-01', '2026-01-01')", code: oldView, asks: true},
		{name: "a plan by an old view", sql: repeatable + "SELECT runledger_plan_drop('aos_trace_steps', '2025-11-01')", code: oldView, asks: true},
		{name: "what is done by an old view", sql: repeatable + "SELECT runledger_settle_expiries('aos_trace_steps')", code: oldView, asks: true},
		{name: "content by an old view", sql: repeatable + fmt.Sprint("SELECT runledger_remove_segments('t-1', 1, ", by, ", '{1}', '{0}', '{}', '{}', '{}', '{}', '{}')"), code: oldView, asks: true},
		{name: "rows by hand by an old view", sql: repeatable + "DELETE FROM aos_trace_steps WHERE run_id = 'run'", code: oldView},
		{name: "the index by an old view", sql: repeatable + "DELETE FROM sealed_index WHERE leaf_index = 3", code: oldView},
		{name: "a release by the function", sql: "SELECT runledger_release_hold('t-1', 'hold-1', 1, 6)", code: noOrder, asks: true},
	} {
		code := noRight
		if c.asks {
			code = cmp.Or(c.app, c.code)
		}
		for conn, code := range map[*pgx.Conn]string{app: code, owner: c.code} {
			stops(t, conn, strings.Split(c.sql, "; "), code)
		}
	}
	// What may go, goes, also by hand of the owner; its entry of the index before it, too.
	run(t, owner, "DELETE FROM sealed_index WHERE leaf_index = 3")
	run(t, owner, "DELETE FROM aos_trace_steps WHERE run_id = 'run'")
	wantLeft := func(want ...string) {
		t.Helper()
		if got := texts(t, owner, "SELECT leaf_index::text FROM aos_trace_steps ORDER BY leaf_index"); !slices.Equal(got, want) {
			t.Errorf("left are %v, want %v", got, want)
		}
	}
	wantLeft("0", "1", "4", "5")
	refuses(t, app, "DELETE FROM aos_trace_steps WHERE run_id = 'other'", noRight)

	// A plan that is forged permits nothing, and the application can forge none.
	for _, sql := range []string{"INSERT INTO partition_drops VALUES ('aos_trace_steps', 24310, 0, 9000000000000000)", "DELETE FROM partition_drops"} {
		refuses(t, app, sql, noRight)
	}
	run(t, owner, "INSERT INTO partition_drops VALUES ('aos_trace_steps', 24310, 0, 9000000000000000)")
	const drop = "SELECT runledger_expire_partition('aos_trace_steps', '2025-11-01', '2026-01-01')"
	for _, conn := range []*pgx.Conn{app, owner} {
		refuses(t, conn, drop, noOrder) // held are two of four, and one is young
		run(t, conn, "SELECT runledger_plan_drop('aos_trace_steps', '2025-11-01'), runledger_settle_expiries('aos_trace_steps')")
	}
	wantLeft("0", "1", "4", "5")
	if got := texts(t, owner, "SELECT 1::text FROM expiries WHERE done"); len(got) > 0 {
		t.Error("an expiry is done that names rows")
	}
	l.release(t, db, "hold-1")
	run(t, app, drop)
	wantLeft("5")
	if list, err := db.Guards(t.Context()); err != nil || len(list) > 0 {
		t.Errorf("guards: %q, %v", list, err)
	}
}

const (
	young5  = "RL005"
	held    = "RL006"
	oldView = "25001"
	// A hold that is placed later is not seen.
	repeatable = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; "
)

// auditRow is a forged record of retention at leaf 50.
func auditRow(event, entity string, until int64) string {
	return fmt.Sprintf(`INSERT INTO audit_ledger (tenant_id, log_no, leaf_index, recorded_at, occurred_at, event_type, entity_type, entity_id, valid_until, rule_id)
		VALUES ('t-1', 1, 50, 1764000000000001, 0, '%s', 'RETENTION', '%s', %d, 'x')`, event, entity, until)
}

// TestLifecycleRaces sees that a hold which is placed while rows go is either seen, or
// comes behind them.
func TestLifecycleRaces(t *testing.T) {
	t.Parallel()
	db, l, as := aged(t)
	owner := as("owner")
	var list []store.Expiry
	if err := db.Expiries(t.Context(), "t-1", func(e store.Expiry) error { list = append(list, e); return nil }); err != nil || len(list) != 1 {
		t.Fatalf("%v, %v", list, err)
	}
	run(t, owner, "ALTER FUNCTION runledger_expire_rows SET lock_timeout = '1min'") // however busy the machine is
	run(t, owner, "BEGIN")
	run(t, owner, "LOCK TABLE aos_trace_steps IN SHARE MODE") // rows cannot go
	gone := make(chan error, 1)
	var rows int64
	go func() {
		var err error
		rows, err = db.Expire(t.Context(), "t-1", list, 0, 6, true, nil)
		gone <- err
	}()
	waits := func(n string) {
		t.Helper()
		waitFor(t, func() bool {
			return texts(t, owner, "SELECT count(*)::text FROM pg_locks WHERE NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())")[0] == n
		})
	}
	waits("1")
	placed := make(chan error, 1)
	h := store.Hold{ID: "hold-2", Scope: store.HoldRun, Runs: []string{"run"}, Placed: store.Position{LogNo: 1, Seq: l.head.Size}}
	c := l.next(retention("LegalHoldPlaced", h.ID, audited("rule_id", h.Scope)))
	c.Logs[0].Holds = []store.Hold{h}
	go func() { placed <- l.commit(t.Context(), db, c) }()
	waits("2") // the hold waits for them
	run(t, owner, "COMMIT")
	if err := <-gone; err != nil || rows != 3 {
		t.Errorf("%d rows went, %v", rows, err)
	}
	if err := <-placed; err != nil {
		t.Error(err)
	}
	if rows, err := db.Expire(t.Context(), "t-1", list, 0, 6, true, nil); err != nil || rows != 0 {
		t.Errorf("%d rows went, %v", rows, err)
	}
	l.hold(t, db, store.Hold{ID: "hold-3", Scope: store.HoldTenant})
	if _, err := db.Expire(t.Context(), "t-1", list, 0, 6, true, nil); !errors.Is(err, store.ErrHeld) {
		t.Errorf("under a hold of all: %v", err)
	}
}
