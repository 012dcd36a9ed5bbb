package postgres_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
	"github.com/runledger/runledger/internal/store/postgres"
)

// monthsOf are the times of a test's records: one in each of n months, up to this one.
func monthsOf(n int) (list []time.Time) {
	now := time.Now().UTC()
	for i := range n {
		list = append(list, time.Date(now.Year(), now.Month()-time.Month(n-1-i), 2, 3, 4, 5, 0, time.UTC))
	}
	return list
}

// at is a record of a time with a sealed segment of its own.
func (l *testLog) at(when time.Time, kind evidence.Kind, facts ...evidence.Fact) *store.Commit {
	e := record(kind, facts...)
	e.Leaf.RecordedAt = evidence.Micros(when.UnixMicro())
	e.Segment = l.head.Size << 4
	c := l.next(e)
	log := &c.Logs[0]
	log.Sealed = []store.SealedSegment{{
		SegmentRef: store.SegmentRef{LogNo: l.ref.No, No: l.head.Size << 4}, ID: [16]byte{byte(l.head.Size), 7}, Key: store.KeyID{1}, Data: []byte(when.String()),
	}}
	if l.head.Size == 0 {
		log.Keys = []store.DataKey{{ID: store.KeyID{1}, Scope: store.ScopeDay, Label: "d", Wrapped: []byte("w")}}
	}
	return c
}

// TestLogMonths writes to a log month after month, by two processes, and sees that
// rows and segments are found where they are, by whatever a process knows of it.
func TestLogMonths(t *testing.T) {
	t.Parallel()
	dsns := migrated(t)
	first, second := open(t, dsns), open(t, dsns)
	times := monthsOf(5)
	l := newLog("t-1")
	for i := range 3 * len(times) {
		db := first
		if i%3 == 1 {
			db = second
		}
		c := l.at(times[i/3], evidence.KindAudit)
		if err := l.commit(t.Context(), db, c); err != nil {
			t.Fatal(err)
		}
	}
	owner := shell(t, dsns.Owner)
	want := ""
	for i, at := range times {
		want += fmt.Sprintf("%d %d;", at.Year()*12+int(at.Month())-1, 3*i)
	}
	if got := texts(t, owner, `SELECT string_agg(month || ' ' || first || ';', '' ORDER BY month) FROM log_months`)[0]; got != want {
		t.Errorf("log_months has %s, want %s", got, want)
	}
	wantAll := func(db *postgres.DB) {
		t.Helper()
		for seq := range l.head.Size {
			row, err := db.Row(t.Context(), l.ref, evidence.KindAudit, seq)
			if err != nil || row.Seq != seq || row.RecordedAt != evidence.Micros(times[seq/3].UnixMicro()) {
				t.Errorf("row %d: %+v, %v", seq, row, err)
			}
			seg, err := db.SealedSegment(t.Context(), "t-1", store.SegmentRef{LogNo: 1, No: seq << 4})
			if err != nil || string(seg.Data) != times[seq/3].String() {
				t.Errorf("segment %d: %+v, %v", seq, seg, err)
			}
		}
		if _, err := db.Row(t.Context(), l.ref, evidence.KindAudit, l.head.Size); !errors.Is(err, evidence.ErrNotFound) {
			t.Errorf("a row that is not there: %v", err)
		}
		n := int64(0)
		if err := db.SealedSegments(t.Context(), l.ref, func(s store.SealedSegment) error {
			if s.No != n<<4 {
				t.Errorf("segment %d has number %d", n, s.No)
			}
			n++
			return nil
		}); err != nil || n != l.head.Size {
			t.Errorf("%d segments, %v", n, err)
		}
	}
	wantAll(first)
	wantAll(second)
	wantAll(open(t, dsns))
	snap, err := first.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer closeIt(t, snap)
	if seg, err := snap.SealedSegment(t.Context(), "t-1", store.SegmentRef{LogNo: 1, No: 3 << 4}); err != nil || seg.No != 3<<4 {
		t.Errorf("of a snapshot: %+v, %v", seg, err)
	}

	// What log_months says is a sign on the way: where it lies, all is found.
	run(t, shell(t, dsns.App), fmt.Sprintf("INSERT INTO log_months VALUES ('t-1', 1, %d, 4), ('t-1', 1, -5, 7), ('t-1', 1, 99999, 8)", 2000*12))
	wantAll(open(t, dsns))

	// What is put in the place of a segment has the old one's month.
	c := l.at(times[4], evidence.KindAudit, textFact(evidence.KindAudit, "event_type", "ErasureExecuted"))
	c.Logs[0].Removal = &store.Removal{
		By: store.Position{LogNo: 1, Seq: l.head.Size}, Segments: []store.SegmentRef{{LogNo: 1, No: 16}},
		Replace: []store.SealedSegment{{SegmentRef: store.SegmentRef{LogNo: 1, No: 16}, ID: [16]byte{99}, Key: store.KeyID{1}, Data: []byte("less")}},
	}
	if err := l.commit(t.Context(), first, c); err != nil {
		t.Fatal(err)
	}
	if seg, err := second.SealedSegment(t.Context(), "t-1", store.SegmentRef{LogNo: 1, No: 16}); err != nil || string(seg.Data) != "less" {
		t.Errorf("a replaced segment: %+v, %v", seg, err)
	}
	if got := texts(t, owner, `SELECT tableoid::regclass::text FROM sealed_segments WHERE no = 16`); len(got) != 1 || got[0] != "sealed_segments_p"+times[0].Format("200601") {
		t.Errorf("a replaced segment is in %s", got)
	}
}

// TestRowsTwice sees that a false row beside the true one is yielded, in whichever
// partition and at whichever page it is: verification must see it.
func TestRowsTwice(t *testing.T) {
	t.Parallel()
	dsns := migrated(t)
	db := open(t, dsns)
	times := monthsOf(2)
	l := newLog("t-1")
	var entries []store.Entry
	for range 40 {
		e := record(evidence.KindAudit)
		e.Leaf.RecordedAt = evidence.Micros(times[0].UnixMicro())
		entries = append(entries, e)
	}
	l.append(t, db, entries...)
	app := shell(t, dsns.App)
	for _, seq := range []int{15, 16, 30} { // the first page has 16 rows
		run(t, app, fmt.Sprintf(`INSERT INTO audit_ledger (tenant_id, log_no, leaf_index, recorded_at, occurred_at, event_type)
			VALUES ('t-1', 1, %d, %d, 0, 'false')`, seq, times[1].UnixMicro()))
	}
	seen := map[int64]int{}
	if err := db.Rows(t.Context(), l.ref, evidence.KindAudit, 0, 100, func(r *store.Row) error {
		seen[r.Seq]++
		return nil
	}); err != nil || len(seen) != 40 || seen[15] != 2 || seen[16] != 2 || seen[30] != 2 {
		t.Errorf("rows %v, %v", seen, err)
	}
	if row, err := db.Row(t.Context(), l.ref, evidence.KindAudit, 16); err != nil || len(row.Facts) != 0 {
		t.Errorf("row 16 is %+v, %v", row, err)
	}
}

// TestPartitionsVisited sees that a read by position of a known month visits one
// partition of each table, though there are many.
func TestPartitionsVisited(t *testing.T) {
	t.Parallel()
	dsns := migrated(t)
	db := open(t, dsns)
	times := monthsOf(30)
	l := newLog("t-1")
	for _, at := range times {
		if err := l.commit(t.Context(), db, l.at(at, evidence.KindAudit)); err != nil {
			t.Fatal(err)
		}
	}
	for seq, at := range times {
		nodes, err := db.ExplainPosition(t.Context(), l.ref, evidence.KindAudit, int64(seq))
		if err != nil {
			t.Fatal(err)
		}
		var visited []string
		for _, n := range nodes {
			if n.Relation != "" && !slices.Contains(visited, n.Relation) {
				visited = append(visited, n.Relation)
			}
		}
		slices.Sort(visited)
		want := []string{"audit_ledger_p" + at.Format("200601"), "sealed_segments_p" + at.Format("200601")}
		if seq == len(times)-1 { // the last one known: its month or a later one
			if len(visited) > 2*(1+4) || !strings.HasPrefix(visited[0], want[0]) {
				t.Errorf("the last row is looked for in %s", visited)
			}
			continue
		}
		if !slices.Equal(visited, want) {
			t.Errorf("row %d is looked for in %s, want %s", seq, visited, want)
		}
	}
}
