package postgres_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
	"github.com/runledger/runledger/internal/store/pgtest"
	"github.com/runledger/runledger/internal/store/postgres"
)

const steps = "aos_trace_steps"

// monthly is a database with steps of two tenants in each of three months, at 0 to 2,
// each with a sealed segment and an entry of the index, and their months.
func monthly(t *testing.T) (dsns pgtest.DSNs, db *postgres.DB, logs []*testLog, first func(i int) time.Time) {
	t.Helper()
	dsns = migrated(t)
	db = open(t, dsns)
	times := monthsOf(5) // but for the last but one: whatever the date, what is before it is a day old
	logs = []*testLog{newLog("a"), newLog("b")}
	for i, at := range times[:3] {
		for _, l := range logs {
			c := l.at(at, evidence.KindTraceStep)
			c.Logs[0].Entries[0].Leaf.Run = fmt.Sprint("run ", i)
			c.Logs[0].Index = []store.IndexEntry{{Name: "subject", MAC: [16]byte{1}, Position: store.Position{LogNo: 1, Seq: l.head.Size}}}
			if err := l.commit(t.Context(), db, c); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, l := range logs { // at 3, now
		l.append(t, db, retention("RetentionPolicyChanged", evidence.ClassLLMRuns, audited("limit_value", "1")))
	}
	return dsns, db, logs, func(i int) time.Time {
		return time.Date(times[i].Year(), times[i].Month(), 1, 0, 0, 0, 0, time.UTC)
	}
}

// TestExpirePartition sees that of a month goes what expiries name and nobody holds, and
// that what stays is guarded as before.
func TestExpirePartition(t *testing.T) {
	t.Parallel()
	dsns, db, logs, first := monthly(t)
	a, b := logs[0], logs[1]
	owner := shell(t, dsns.Owner)
	part := func(i int) string { return steps + "_p" + first(i).Format("200601") }
	refused := func(what, code, table string, at, before time.Time) {
		t.Helper()
		n, err := db.ExpirePartition(t.Context(), table, at, before)
		var pg *pgconn.PgError
		if !errors.Is(err, evidence.ErrForbidden) && !errors.Is(err, evidence.ErrInvalid) || !errors.As(err, &pg) || pg.Code != code || n != 0 {
			t.Errorf("%s: %d rows, %v; want SQLSTATE %s", what, n, err, code)
		}
	}
	refused("a month without an order", "RL002", steps, first(0), first(2))
	refused("a month that is younger than said", "RL005", steps, first(1), first(1))
	refused("the present month", "RL005", steps, first(4), first(4).AddDate(0, 1, 0))
	refused("a day that lies ahead", "RL005", steps, first(0), time.Now().AddDate(0, 0, 2))
	refused("a table without partitions", "22023", "tiles", first(0), first(2))
	refused("a name that is none", "22023", `x"; DROP TABLE heads`, first(0), first(2))
	refused("sealed content", "RL002", "sealed_segments", first(0), first(2))
	a.append(t, db, retention("RetentionApplied", steps, auditedAt("valid_until", evidence.Micros(first(2).UnixMicro()))))
	refused("a month with a record and no expiry", "RL002", steps, first(0), first(2))

	// Content goes with its row, step by step, and none is left over by a partition's end.
	mine := a.expiry(t, db, steps, 0, 2, first(2))
	refused("a month whose content is there", "RL002", steps, first(0), first(2))
	if n, err := db.Expire(t.Context(), "a", []store.Expiry{mine}, 0, 1, false, nil); !errors.Is(err, evidence.ErrForbidden) || n != 0 {
		t.Errorf("a row whose content is there: %d rows, %v", n, err)
	}
	a.erase(t, db, mine, 0, 1)
	// Nothing is moved beneath a view of before, which would see neither the old nor the new.
	snap, err := db.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	refuses(t, owner, fmt.Sprintf("SET LOCAL lock_timeout = '50ms'; SELECT runledger_expire_partition('%s', '%s', '%s')", steps,
		first(0).Format(time.DateOnly), first(2).Format(time.DateOnly)), "55P03")
	closeIt(t, snap)
	// The row of b, which has ordered nothing, is moved.
	if n, err := db.ExpirePartition(t.Context(), steps, first(0), first(2)); err != nil || n != 1 {
		t.Errorf("expiry of a's: %d rows, %v", n, err)
	}
	wantDoctor(t, db)
	wantRows(t, db, a, 1, 2)
	wantRows(t, db, b, 0, 1, 2)
	refused("what is left of it", "RL002", steps, first(0), first(2))
	refuses(t, owner, "DELETE FROM "+part(0), noOrder)
	refuses(t, owner, "UPDATE "+part(0)+" SET run_id = ''", appendOnly)
	refuses(t, owner, "TRUNCATE "+part(0), appendOnly)
	wantIndex(t, db, "a", 2, 1)
	wantIndex(t, db, "b", 2, 1, 0)

	// What is held stays.
	b.erase(t, db, b.expiry(t, db, steps, 0, 3, first(3)), 0)
	b.hold(t, db, store.Hold{ID: "hold-1", Scope: store.HoldRun, Runs: []string{"run 0"}})
	refused("a month that b holds", "RL006", steps, first(0), first(2))
	b.release(t, db, "hold-1")
	b.hold(t, db, store.Hold{ID: "hold-2", Scope: store.HoldTime, From: evidence.Micros(first(1).UnixMicro()), Until: evidence.Micros(first(2).UnixMicro())})
	if n, err := db.ExpirePartition(t.Context(), steps, first(1), first(2)); err != nil || n != 1 {
		t.Errorf("expiry of a's second: %d rows, %v", n, err)
	}
	wantRows(t, db, a, 2)
	wantRows(t, db, b, 0, 1, 2)

	for i, want := range []int64{1, 0} { // the second time it is gone
		if n, err := db.ExpirePartition(t.Context(), steps, first(0), first(2)); err != nil || n != want {
			t.Errorf("expiry %d: %d rows, %v", i, n, err)
		}
	}
	wantRows(t, db, b, 1, 2)
	wantIndex(t, db, "b", 2, 1)
	wantDoctor(t, db)
	want := fmt.Sprintf("%s %d 1 1", steps, first(0).Year()*12+int(first(0).Month())-1)
	if got := texts(t, owner, `SELECT relation || ' ' || month || ' ' || tenants || ' ' || row_count FROM expired_partitions`); len(got) != 1 || got[0] != want {
		t.Errorf("expired_partitions has %q, want %q", got, want)
	}
	// It does not come back, and the sealed content of the month is another matter.
	if err := db.PartitionsAhead(t.Context(), first(0), 0); err != nil {
		t.Error(err)
	}
	if err := a.commit(t.Context(), open(t, dsns), a.at(first(0), evidence.KindTraceStep)); !errors.Is(err, evidence.ErrUnavailable) {
		t.Errorf("a record of an expired month: %v", err)
	}
	if _, err := db.SealedSegment(t.Context(), "a", store.SegmentRef{LogNo: 1, No: 2 << 4}); err != nil {
		t.Errorf("a sealed segment: %v", err)
	}
	if list, err := db.Damage(t.Context()); err != nil || len(list) > 0 {
		t.Errorf("damage: %q, %v", list, err)
	}
}

// TestDropExpired sees which partitions are given back: empty ones of months that have
// ended, and those whose rows may go, all or most, as planned.
func TestDropExpired(t *testing.T) {
	t.Parallel()
	dsns, db, logs, first := monthly(t)
	a, b := logs[0], logs[1]
	owner := shell(t, dsns.Owner)
	same := func(what string, got []string, want ...string) {
		t.Helper()
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%d partitions %s: %q\nwant %d: %q", len(got), what, got, len(want), want)
		}
		wantDoctor(t, db)
	}
	give := func(want ...string) {
		t.Helper()
		got, err := db.DropExpired(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		same("given back", got, want...)
	}
	plan := func(want ...string) {
		t.Helper()
		got, err := db.PlanDrop(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		same("planned", got, want...)
	}
	drop := func(want ...string) (left []string) {
		t.Helper()
		got, left, err := db.DropPlanned(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		same("dropped", got, want...)
		if got := texts(t, shell(t, dsns.Owner), "SELECT relation FROM partition_drops"); len(got) > 0 {
			t.Errorf("planned still: %q", got)
		}
		return left
	}
	// carry takes the steps of an expiry as the ledger does, and returns how many rows went.
	carry := func(l *testLog, e store.Expiry) int64 {
		t.Helper()
		n, err := db.Expire(t.Context(), l.ref.Tenant, []store.Expiry{e}, 0, 10, true, nil)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	part := func(table string, i int) string { return table + "_p" + first(i).Format("200601") }
	// What is empty, of the months that have ended; steps and sealed content are not.
	var empty []string
	for i := range 3 {
		for _, k := range evidence.Kinds() {
			if k != evidence.KindTraceStep {
				empty = append(empty, part(k.Table(), i))
			}
		}
	}
	for _, table := range append([]string{"sealed_segments"}, tables()...) { // of the suite's records
		empty = append(empty, table+"_p202511")
	}
	give(empty...)
	give()
	plan()
	wantRows(t, db, a, 0, 1, 2)

	// Half of each month is a's.
	mine := a.expiry(t, db, steps, 0, 3, first(3))
	b.hold(t, db, store.Hold{ID: "hold-1", Scope: store.HoldRun, Runs: []string{"run 2"}})
	plan(part(steps, 0), part(steps, 1), part(steps, 2))
	theirs := b.expiry(t, db, steps, 1, 3, first(3))
	give() // a plan is none of its business
	// Rows wait for it, without their entries of the index, but for what is held.
	if n := carry(a, mine) + carry(b, theirs); n != 0 {
		t.Errorf("%d rows of planned drops went", n)
	}
	wantRows(t, db, a, 0, 1, 2)
	wantRows(t, db, b, 0, 1, 2)
	wantIndex(t, db, "a")
	wantIndex(t, db, "b", 2, 0)
	wantPending(t, db, "a", 1)
	// The content of the last is still there, which would be left over: it is given up.
	a.erase(t, db, mine, 0, 1)
	b.erase(t, db, theirs, 1)
	if left := drop(part(steps, 0), part(steps, 1)); !slices.Equal(left, []string{part(steps, 2)}) {
		t.Errorf("given up are %q", left)
	}
	wantRows(t, db, a, 2)
	wantRows(t, db, b, 0, 2)
	wantPending(t, db, "a", 1)
	a.erase(t, db, mine, 2)
	if n := carry(a, mine); n != 1 {
		t.Errorf("%d rows of the last went", n)
	}
	if n := carry(b, theirs); n != 0 {
		t.Errorf("%d rows went that are held", n)
	}
	wantPending(t, db, "a", 0)
	wantPending(t, db, "b", 1)
	give(part("sealed_segments", 1))

	// Released, it goes at once, as a whole, and its expiry is done.
	// Who reads for long makes it give up; another process plans anew.
	b.release(t, db, "hold-1")
	b.erase(t, db, theirs, 2)
	give(part("sealed_segments", 2))
	plan(part(steps, 2))
	run(t, owner, "BEGIN; SELECT 1 FROM aos_trace_steps")
	if left := drop(); !slices.Equal(left, []string{part(steps, 2)}) {
		t.Errorf("given up are %q", left)
	}
	run(t, owner, "COMMIT")
	plan() // nothing has changed
	if got, err := open(t, dsns).PlanDrop(t.Context()); err != nil || !slices.Equal(got, []string{part(steps, 2)}) {
		t.Errorf("planned anew: %q, %v", got, err)
	}
	drop(part(steps, 2))
	wantRows(t, db, b, 0)
	wantIndex(t, db, "b", 0)
	wantPending(t, db, "b", 0)

	// The rest of the log is written and read as before.
	for _, l := range logs {
		c := l.at(time.Now(), evidence.KindTraceStep)
		if err := l.commit(t.Context(), db, c); err != nil {
			t.Fatal(err)
		}
		if _, err := db.Row(t.Context(), l.ref, evidence.KindTraceStep, l.head.Size-1); err != nil {
			t.Error(err)
		}
		if _, err := db.Row(t.Context(), l.ref, evidence.KindTraceStep, 1); !errors.Is(err, evidence.ErrNotFound) {
			t.Errorf("a row that went: %v", err)
		}
		if _, err := db.SealedSegment(t.Context(), l.ref.Tenant, store.SegmentRef{LogNo: 1, No: 1 << 4}); !errors.Is(err, evidence.ErrNotFound) {
			t.Errorf("content that went: %v", err)
		}
	}
}

// TestEmptied: of a month whose content shares segments with content that stays, those rows go with their
// partition whose expiry says that its content has gone. None says so before it was gone through, or while
// its tenant has a hold.
func TestEmptied(t *testing.T) {
	t.Parallel()
	for _, held := range []bool{false, true} {
		t.Run(fmt.Sprint("held=", held), func(t *testing.T) {
			t.Parallel()
			_, db, logs, first := monthly(t)
			a, b := logs[0], logs[1]
			mine, theirs := a.expiry(t, db, steps, 0, 3, first(3)), b.expiry(t, db, steps, 0, 3, first(3))
			if held {
				b.hold(t, db, store.Hold{ID: "hold-1", Scope: store.HoldRun, Runs: []string{"run 2"}})
			}
			part := func(i int) string { return steps + "_p" + first(i).Format("200601") }
			months := []string{part(0), part(1), part(2)}
			if got, err := db.PlanDrop(t.Context()); err != nil || !slices.Equal(got, months) {
				t.Fatalf("planned: %q, %v", got, err)
			}
			a.sealAnew(t, db, mine, 0, 1, 2)
			b.sealAnew(t, db, theirs, 0, 1)
			for l, e := range map[*testLog]store.Expiry{a: mine, b: theirs} {
				if n, err := db.Expire(t.Context(), l.ref.Tenant, []store.Expiry{e}, 0, 10, l == a || held, nil); err != nil || n != 0 {
					t.Fatalf("%d rows of planned drops went, %v", n, err)
				}
			}
			dropped, left, err := db.DropPlanned(t.Context())
			if slices.Sort(dropped); err != nil || !slices.Equal(dropped, months) || len(left) > 0 {
				t.Errorf("dropped %q, given up %q, %v", dropped, left, err)
			}
			wantRows(t, db, a)
			wantRows(t, db, b, 0, 1, 2)
			wantPending(t, db, "a", 0)
			wantPending(t, db, "b", 1)
			wantDoctor(t, db)
			if held {
				b.release(t, db, "hold-1")
			}
			b.sealAnew(t, db, theirs, 2)
			if n, err := db.Expire(t.Context(), "b", []store.Expiry{theirs}, 0, 10, true, nil); err != nil || n != 3 {
				t.Errorf("%d rows went, %v", n, err)
			}
			wantPending(t, db, "b", 0)
		})
	}
}

// sealAnew puts other content in the place of that of records, as a step of an expiry does for what stays.
func (l *testLog) sealAnew(t *testing.T, db *postgres.DB, e store.Expiry, seqs ...int64) {
	t.Helper()
	r := &store.Removal{By: e.By}
	for _, seq := range seqs {
		ref := store.SegmentRef{LogNo: l.ref.No, No: seq << 4}
		r.Segments = append(r.Segments, ref)
		r.Replace = append(r.Replace, store.SealedSegment{SegmentRef: ref, ID: [16]byte{byte(seq), 8}, Key: store.KeyID{1}, Data: []byte("less")})
	}
	if err := db.Remove(t.Context(), l.ref.Tenant, r); err != nil {
		t.Fatal(err)
	}
}

// wantPending checks how many expiries of a tenant are not done.
func wantPending(t *testing.T, db *postgres.DB, tenant string, want int) {
	t.Helper()
	n := 0
	err := db.Expiries(t.Context(), tenant, func(e store.Expiry) error {
		if !e.Done {
			n++
		}
		return nil
	})
	if err != nil || n != want {
		t.Errorf("%d expiries of %s are not done, %v; want %d", n, tenant, err, want)
	}
}

// erase removes the content of records, as a step of an expiry does.
func (l *testLog) erase(t *testing.T, db *postgres.DB, e store.Expiry, seqs ...int64) {
	t.Helper()
	r := &store.Removal{By: e.By}
	for _, seq := range seqs {
		r.Segments = append(r.Segments, store.SegmentRef{LogNo: l.ref.No, No: seq << 4})
	}
	if err := db.Remove(t.Context(), l.ref.Tenant, r); err != nil {
		t.Fatal(err)
	}
}

// tables are those of all kinds.
func tables() (list []string) {
	for _, k := range evidence.Kinds() {
		list = append(list, k.Table())
	}
	return list
}

// wantRows checks at which leaves a log has steps.
func wantRows(t *testing.T, db *postgres.DB, l *testLog, want ...int64) {
	t.Helper()
	var got []int64
	if err := db.Rows(t.Context(), l.ref, evidence.KindTraceStep, 0, 1000, func(r *store.Row) error {
		got = append(got, r.Seq)
		return nil
	}); err != nil || !slices.Equal(got, want) {
		t.Errorf("rows of %s are at %d, %v; want %d", l.ref.Tenant, got, err, want)
	}
}

// wantIndex checks which steps the index has, newest first.
func wantIndex(t *testing.T, db *postgres.DB, tenant string, want ...int64) {
	t.Helper()
	list, err := db.FindIndex(t.Context(), tenant, "subject", [16]byte{1}, 100)
	var got []int64
	for _, e := range list {
		got = append(got, e.Seq)
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("index of %s has %d, %v; want %d", tenant, got, err, want)
	}
}

// TestStepLooksUpItsIndex: a step of many rows reads the entries of the index that are theirs, and not all that
// the tenant has.
func TestStepLooksUpItsIndex(t *testing.T) {
	t.Parallel()
	dsns := migrated(t)
	db, l := open(t, dsns), newLog("t-1")
	const rows, others = 3000, 6000
	for at := 0; at < rows; at += 250 { // the most that a leaf segment has
		var entries []store.Entry
		for i := range 250 {
			e := record(evidence.KindTraceStep)
			e.Leaf.Run, e.Leaf.N = "run", int64(at+i)
			entries = append(entries, e)
		}
		c := l.next(entries...)
		if at == 0 {
			c.Logs[0].Index = []store.IndexEntry{{Name: "subject", MAC: [16]byte{1}, Position: store.Position{LogNo: 1, Seq: 7}}}
		}
		if err := l.commit(t.Context(), db, c); err != nil {
			t.Fatal(err)
		}
	}
	e := l.expiry(t, db, steps, 0, rows, time.UnixMicro(1_764_000_000_000_002))
	run(t, shell(t, dsns.App), fmt.Sprintf(`INSERT INTO sealed_index (tenant_id, name, mac, log_no, leaf_index)
		SELECT 't-1', 'actor', '\x01', 1, %d + i FROM generate_series(1, %d) AS i`, 10*rows, others))
	conn := shell(t, dsns.App)
	run(t, conn, "BEGIN")
	got := texts(t, conn, fmt.Sprintf(`SELECT runledger_expire_rows('t-1', 1, '{%s}', '{0}', '{%d}', '{%d}', '{f}', '{1}', '{%d}', 0, %[2]d, true)::text`,
		steps, rows, int64(e.Before), e.By.Seq))
	if len(got) != 1 || got[0] != fmt.Sprint(rows) {
		t.Fatalf("rows went: %q", got)
	}
	got = texts(t, conn, `SELECT coalesce(idx_tup_fetch, 0) + coalesce(seq_tup_read, 0) || ' ' || n_tup_del FROM pg_stat_xact_user_tables WHERE relname = 'sealed_index'`)
	var read, gone int
	if len(got) != 1 {
		t.Fatalf("of the index: %q", got)
	}
	if _, err := fmt.Sscan(got[0], &read, &gone); err != nil || gone != 1 || read > 10 {
		t.Errorf("%d entries of the index were read and %d removed, %v; want some and 1", read, gone, err)
	}
}
