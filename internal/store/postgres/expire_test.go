package postgres_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
	"github.com/runledger/runledger/internal/store/postgres"
)

// retention is an audit record of one of the events that expiry looks at.
func retention(event, entity string, from, until time.Time) store.Entry {
	kind := evidence.KindAudit
	e := record(kind, textFact(kind, "event_type", event), textFact(kind, "entity_type", "RETENTION"), textFact(kind, "entity_id", entity))
	e.Leaf.RecordedAt = evidence.Micros(time.Now().UnixMicro())
	for name, at := range map[string]time.Time{"valid_from": from, "valid_until": until} {
		if !at.IsZero() {
			e.Leaf.SetFact(evidence.Fact{Field: evidence.PublicField(kind, name), Int: at.UnixMicro()})
		}
	}
	return e
}

// TestExpirePartition sees that a month goes when everyone's record says so, and not
// before.
func TestExpirePartition(t *testing.T) {
	t.Parallel()
	dsns := migrated(t)
	db := open(t, dsns)
	times := monthsOf(4)
	logs := []*testLog{newLog("a"), newLog("b")}
	for _, at := range times[:3] {
		for _, l := range logs {
			if err := l.commit(t.Context(), db, l.at(at, evidence.KindTraceStep)); err != nil {
				t.Fatal(err)
			}
		}
	}
	first := func(i int) time.Time { return time.Date(times[i].Year(), times[i].Month(), 1, 0, 0, 0, 0, time.UTC) }
	refused := func(what, code, table string, at, before time.Time) {
		t.Helper()
		n, err := db.ExpirePartition(t.Context(), table, at, before)
		var pg *pgconn.PgError
		if !errors.Is(err, evidence.ErrForbidden) && !errors.Is(err, evidence.ErrInvalid) || !errors.As(err, &pg) || pg.Code != code || n != 0 {
			t.Errorf("%s: %d rows, %v; want SQLSTATE %s", what, n, err, code)
		}
	}
	const steps = "aos_trace_steps"
	refused("a month without an order", "RL002", steps, times[0], first(2))
	refused("a month that is younger than said", "RL005", steps, times[1], first(1))
	refused("the present month", "RL005", steps, times[3], first(3).AddDate(0, 1, 0))
	refused("a day that lies ahead", "RL005", steps, times[0], time.Now().AddDate(0, 0, 2))
	refused("a table without partitions", "22023", "tiles", times[0], first(2))
	refused("a name that is none", "22023", `x"; DROP TABLE heads`, times[0], first(2))

	logs[0].append(t, db, retention("RetentionApplied", steps, first(0), first(2)))
	refused("a month that b has not ordered", "RL002", steps, times[0], first(2))
	logs[1].append(t, db,
		retention("RetentionApplied", "aos_traces", first(0), first(2)), // another table
		retention("RetentionApplied", steps, first(0).Add(1000), first(1)), retention("RetentionApplied", steps, first(0), first(1).Add(-1000)),
		retention("RetentionPolicyChanged", steps, first(0), first(1)), retention("RetentionApplied", steps, time.Time{}, time.Time{}))
	refused("a month that b has not ordered whole", "RL002", steps, times[0], first(2))
	logs[1].append(t, db, retention("RetentionApplied", steps, first(0), first(1)), retention("LegalHoldPlaced", "case-7", time.Time{}, time.Time{}))
	refused("a month that b holds", "RL006", steps, times[0], first(2))
	logs[1].append(t, db, retention("LegalHoldReleased", "case-8", time.Time{}, time.Time{}))
	refused("a month that b holds", "RL006", steps, times[0], first(2))
	logs[1].append(t, db, retention("LegalHoldReleased", "case-7", time.Time{}, time.Time{}))
	refused("a month that b has not ordered", "RL002", steps, times[1], first(2))
	wantRows(t, db, logs, 0, 3)

	for i, want := range []int64{2, 0} { // the second time it is gone
		if n, err := db.ExpirePartition(t.Context(), steps, times[0], first(2)); err != nil || n != want {
			t.Errorf("expiry %d: %d rows, %v", i, n, err)
		}
	}
	wantRows(t, db, logs, 1, 3)
	wantDoctor(t, db)
	owner := shell(t, dsns.Owner)
	want := fmt.Sprintf("%s %d 2 2", steps, times[0].Year()*12+int(times[0].Month())-1)
	if got := texts(t, owner, `SELECT relation || ' ' || month || ' ' || tenants || ' ' || row_count FROM expired_partitions`); len(got) != 1 || got[0] != want {
		t.Errorf("expired_partitions has %q, want %q", got, want)
	}
	// It does not come back, and the sealed content of the month is another matter.
	if err := db.PartitionsAhead(t.Context(), times[0], 0); err != nil {
		t.Error(err)
	}
	if err := logs[0].commit(t.Context(), open(t, dsns), logs[0].at(times[0], evidence.KindTraceStep)); !errors.Is(err, evidence.ErrUnavailable) {
		t.Errorf("a record of an expired month: %v", err)
	}
	if _, err := db.SealedSegment(t.Context(), "a", store.SegmentRef{LogNo: 1}); err != nil {
		t.Errorf("a sealed segment: %v", err)
	}
	for _, l := range logs {
		l.append(t, db, retention("RetentionApplied", "sealed_segments", first(0), first(1)))
	}
	if n, err := db.ExpirePartition(t.Context(), "sealed_segments", times[0], first(1)); err != nil || n != 2 {
		t.Errorf("expiry of sealed content: %d, %v", n, err)
	}
	if _, err := db.SealedSegment(t.Context(), "a", store.SegmentRef{LogNo: 1}); !errors.Is(err, evidence.ErrNotFound) {
		t.Errorf("an expired sealed segment: %v", err)
	}
	wantDoctor(t, db)
}

func wantRows(t *testing.T, db *postgres.DB, logs []*testLog, from, to int64) {
	t.Helper()
	for _, l := range logs {
		n := from
		if err := db.Rows(t.Context(), l.ref, evidence.KindTraceStep, 0, 1000, func(r *store.Row) error {
			if r.Seq != n {
				t.Errorf("row %d is at %d", n, r.Seq)
			}
			n++
			return nil
		}); err != nil || n != to {
			t.Errorf("rows of %s end at %d, %v; want %d", l.ref.Tenant, n, err, to)
		}
	}
}
