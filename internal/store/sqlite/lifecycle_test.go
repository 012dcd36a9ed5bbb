package sqlite_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	zombiezen "zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
	"github.com/runledger/runledger/internal/store/sqlite"
)

// longAgo is old enough for any policy: the database asks the real clock.
const (
	longAgo evidence.Micros = 1_704_067_200_000_000 // 2024-01-01
	aDay    evidence.Micros = 86_400_000_000
)

// audit is an audit record.
func (l *load) audit(facts map[string]any) *evidence.Leaf {
	leaf := &evidence.Leaf{ID: evidence.ID(l.random(16)), Kind: evidence.KindAudit, RecordedAt: l.at, OccurredAt: l.at}
	for name, v := range facts {
		f := fact(leaf.Kind, name)
		switch v := v.(type) {
		case string:
			f.Str = v
		case evidence.Micros:
			f.Int = int64(v)
		}
		leaf.SetFact(f)
	}
	return leaf
}

// applied is a RetentionApplied record.
func (l *load) applied(table, rule string, before evidence.Micros) *evidence.Leaf {
	return l.audit(map[string]any{
		"event_type": "RetentionApplied", "entity_type": "RETENTION", "entity_id": table, "rule_id": rule, "valid_until": before,
	})
}

// of makes a commit of these records.
func (l *load) of(leaves ...*evidence.Leaf) *store.Commit {
	c := store.LogCommit{Log: l.log.LogRef, Prev: l.head}
	if l.head.Size == 0 {
		c.Open = &l.log
	}
	for i, leaf := range leaves {
		leaf.Seq = l.head.Size + int64(i)
		c.Entries = append(c.Entries, store.Entry{Leaf: leaf, Segment: store.NoSegment, ActorSegment: store.NoSegment})
	}
	n := len(leaves)
	c.Next = store.Head{Size: l.head.Size + int64(n), Root: evidence.Hash(l.random(32)), Note: l.random(20)}
	if n > 0 {
		c.Segments = []store.LeafSegment{{First: l.head.Size, Count: n, Data: l.random(20)}}
	}
	return &store.Commit{Logs: []store.LogCommit{c}}
}

// write commits records and what set adds, and returns where the first stands.
func (l *load) write(t testing.TB, db *sqlite.DB, set func(*store.LogCommit), leaves ...*evidence.Leaf) int64 {
	t.Helper()
	at := l.head.Size
	c := l.of(leaves...)
	if set != nil {
		set(&c.Logs[0])
	}
	if err := db.Commit(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	l.head = c.Logs[0].Next
	return at
}

// expiry orders one.
func (l *load) expiry(t testing.TB, db *sqlite.DB, table, rule string, from, to int64, before evidence.Micros) store.Expiry {
	t.Helper()
	e := store.Expiry{By: store.Position{LogNo: 1, Seq: l.head.Size}, Table: table, LogNo: 1, From: from, To: to, Before: before}
	l.write(t, db, func(c *store.LogCommit) { c.Expiries = []store.Expiry{e} }, l.applied(table, rule, before))
	return e
}

// oldStep is a step that was recorded long ago.
func (l *load) oldStep(i int) *evidence.Leaf {
	leaf := l.step(i)
	leaf.RecordedAt, leaf.OccurredAt = longAgo, longAgo-1
	return leaf
}

// fillLifecycle writes to the tables of lifecycle: an expiry that was carried out, holds
// and an archive.
func fillLifecycle(t *testing.T, db *sqlite.DB, l *load, head store.Head) {
	t.Helper()
	l.head = head
	at := l.write(t, db, nil, l.oldStep(0))
	e := l.expiry(t, db, "aos_trace_steps", "llm_runs", at, at+1, longAgo+aDay)
	if n, err := db.Expire(t.Context(), "t-1", []store.Expiry{e}, 0, at+1, false, nil); n != 1 || err != nil {
		t.Fatalf("%d rows went, %v", n, err)
	}
	h := store.Hold{
		ID: "hold-1", Scope: store.HoldSubject, Placed: store.Position{LogNo: 1, Seq: l.head.Size},
		Runs: []string{"a run"}, Records: []store.Position{{LogNo: 1, Seq: 5}},
	}
	l.write(t, db, func(c *store.LogCommit) { c.Holds = []store.Hold{h} }, l.placed("hold-1", store.HoldSubject))
	if err := db.KeepArchive(t.Context(), store.ArchiveUnit{LogRef: l.log.LogRef, To: 256, Archive: "dir", Name: "unit"}); err != nil {
		t.Fatal(err)
	}
}

func (l *load) placed(id, scope string) *evidence.Leaf {
	return l.audit(map[string]any{"event_type": "LegalHoldPlaced", "entity_type": "RETENTION", "entity_id": id, "rule_id": scope})
}

func (l *load) released(id string) *evidence.Leaf {
	return l.audit(map[string]any{"event_type": "LegalHoldReleased", "entity_type": "RETENTION", "entity_id": id})
}

// refusesAs is refuses, by a message that has this text.
func refusesAs(t *testing.T, conn *zombiezen.Conn, text, sql string) {
	t.Helper()
	err := sqlitex.ExecuteTransient(conn, sql, nil)
	if code := zombiezen.ErrCode(err); code != zombiezen.ResultConstraintTrigger || !strings.Contains(err.Error(), text) {
		t.Errorf("%s: %v, want a trigger's refusal: %s", sql, err, text)
	}
}

// TestExpiryByHand tries, from a connection that is not ours, to remove more than what
// the records order.
func TestExpiryByHand(t *testing.T) {
	dir := t.TempDir()
	db := open(t, dir)
	l := newLoad("t-1")
	var old []*evidence.Leaf
	for i := range 8 { // 1 to 8
		l.trace = []string{"held", "free"}[i/4]
		old = append(old, l.oldStep(i))
	}
	old[7].RecordedAt += 5 * aDay
	l.write(t, db, nil, l.audit(nil))
	l.write(t, db, nil, old...)
	l.write(t, db, func(c *store.LogCommit) {
		c.Index = []store.IndexEntry{{Name: "subject", MAC: [16]byte{1}, Position: store.Position{LogNo: 1, Seq: 6}}}
	}, l.audit(nil))
	conn := shell(t, dir)
	const (
		none  = "no record orders"
		first = "(SELECT min(row) FROM r_trace_step)"
	)
	for _, k := range evidence.Kinds() {
		if len(query(t, conn, "SELECT 1 FROM r_"+k.String())) > 0 {
			refusesAs(t, conn, none, "DELETE FROM r_"+k.String())
		}
	}
	refusesAs(t, conn, none, `DELETE FROM leaf_segments`)
	refusesAs(t, conn, none, `DELETE FROM sealed_index`)
	insert := func(table string, from, to, by, before any, synthetic int) string {
		return fmt.Sprintf(`INSERT INTO expiries SELECT l.log_key, '%s', %v, %v, (l.log_key << 40) + %v, %v, %d, 0, 0 FROM logs AS l`, table, from, to, by, before, synthetic)
	}
	refusesAs(t, conn, none, insert("aos_trace_steps", 1, 9, 9, int64(longAgo), 0))
	refuses(t, conn, insert("audit_ledger", 0, 1, 9, int64(longAgo), 0))

	e := l.expiry(t, db, "aos_trace_steps", "llm_runs", 1, 9, longAgo+aDay)
	hold := store.Hold{ID: "hold-1", Scope: store.HoldRun, Runs: []string{"held"}, Placed: store.Position{LogNo: 1, Seq: l.head.Size}}
	l.write(t, db, func(c *store.LogCommit) { c.Holds = []store.Hold{hold} }, l.placed("hold-1", store.HoldRun))
	refusesAs(t, conn, none, insert("aos_trace_steps", 1, 9, e.By.Seq, int64(longAgo+9*aDay), 0)) // another time than its record
	refusesAs(t, conn, none, insert("aos_trace_steps", 2, 90, e.By.Seq, int64(e.Before), 0))      // beyond its record
	refusesAs(t, conn, none, insert("aos_traces", 1, 9, e.By.Seq, int64(e.Before), 0))            // another table
	refuses(t, conn, `UPDATE expiries SET before = before + 1`)
	refuses(t, conn, `UPDATE expiries SET to_leaf = to_leaf + 1`)
	refuses(t, conn, `UPDATE expiries SET done = 1, restored = 1`)
	refuses(t, conn, `DELETE FROM expiries`)

	// A record by hand is not older than the clock says, whatever it claims.
	young := `unixepoch() * 1000000 - 86400000000 * 80`
	query(t, conn, `INSERT INTO r_audit (row, recorded_at, occurred_at, event_type, entity_type, entity_id, valid_until)
		SELECT max(row) + 1000, 1, 1, (SELECT name_no FROM names WHERE text = 'RetentionApplied'),
			(SELECT name_no FROM names WHERE text = 'RETENTION'), 'aos_trace_steps', `+young+` FROM r_audit`)
	by := `(SELECT max(row) FROM r_audit)`
	refusesAs(t, conn, "younger", `INSERT INTO expiries SELECT log_key, 'aos_trace_steps', 1, 9, `+by+`, (SELECT valid_until FROM r_audit WHERE row = `+by+`), 0, 0, 0 FROM logs`)
	refusesAs(t, conn, "younger", `INSERT INTO expiries SELECT log_key, 'aos_trace_steps', 1, 9, `+by+`, (SELECT valid_until FROM r_audit WHERE row = `+by+`), 0, 0, 1 FROM logs`)

	// What is held, younger, of another kind, or before the log's order stays.
	refusesAs(t, conn, "is held", `DELETE FROM r_trace_step WHERE row = `+first)
	refusesAs(t, conn, none, `DELETE FROM r_trace_step WHERE row = (SELECT max(row) FROM r_trace_step)`)
	refusesAs(t, conn, none, `DELETE FROM r_audit`)
	refusesAs(t, conn, none, `DELETE FROM sealed_index`)
	refuses(t, conn, `UPDATE holds SET released_row = placed_row`)
	refuses(t, conn, `UPDATE holds SET scope = 'subject', released_row = placed_row`)
	refuses(t, conn, `DELETE FROM holds`)
	refuses(t, conn, `DELETE FROM hold_runs`)
	refuses(t, conn, `UPDATE hold_runs SET run_no = run_no + 1`)
	refusesAs(t, conn, "no record places", `INSERT INTO holds SELECT 9, tenant_no, 'hold-9', scope, placed_row, NULL, 0, 0 FROM holds`)
	refusesAs(t, conn, "no such hold", `INSERT INTO hold_runs SELECT run_no, 9 FROM hold_runs`)
	refusesAs(t, conn, "no such hold", `INSERT INTO hold_rows VALUES (`+first+`, 9)`)

	// What the order names may go, by hand too: it is recorded.
	query(t, conn, `DELETE FROM r_trace_step WHERE row = `+first+` + 5`)
	query(t, conn, `DELETE FROM sealed_index`)
	if n := len(query(t, conn, `SELECT 1 FROM expired_spans`)); n != 1 {
		t.Errorf("%d spans are kept, want 1", n)
	}
	l.write(t, db, func(c *store.LogCommit) {
		c.Releases = []store.Hold{{ID: "hold-1", Released: store.Position{LogNo: 1, Seq: l.head.Size}}}
	}, l.released("hold-1"))
	refuses(t, conn, `UPDATE holds SET released_row = NULL`)
	refuses(t, conn, `UPDATE holds SET released_row = released_row + 1`)
	refusesAs(t, conn, "no such hold", `INSERT INTO hold_runs SELECT run_no + 1, hold_no FROM hold_runs`)
	query(t, conn, `DELETE FROM r_trace_step WHERE row = `+first)
	if n := len(query(t, conn, `SELECT 1 FROM r_trace_step`)); n != 6 {
		t.Errorf("%d steps are left, want 6", n)
	}
}

// TestLeavesByHand sees that leaves go only as the prefix that an archive has.
func TestLeavesByHand(t *testing.T) {
	dir := t.TempDir()
	db := open(t, dir)
	l := newLoad("t-1")
	for range 4 {
		l.write(t, db, nil, l.audit(nil), l.audit(nil))
	}
	conn := shell(t, dir)
	at := func(leaf int) string {
		return fmt.Sprintf(`(SELECT (log_key << 40) + %d FROM logs)`, leaf)
	}
	archive := func(leaf, to int) string {
		return `INSERT INTO archives VALUES (` + at(leaf) + `, ` + fmt.Sprint(to) + `, 0, 0, '', '', x'', 0, 0, 0)`
	}
	refuses(t, conn, archive(2, 4))  // a gap before it
	refuses(t, conn, archive(0, 0))  // nothing in it
	refuses(t, conn, archive(0, 99)) // beyond the log
	if err := db.KeepArchive(t.Context(), store.ArchiveUnit{LogRef: l.log.LogRef, To: 4}); err != nil {
		t.Fatal(err)
	}
	refuses(t, conn, archive(3, 6)) // over the one before
	refuses(t, conn, `UPDATE archives SET to_leaf = 8`)
	refuses(t, conn, `DELETE FROM archives`)
	refusesAs(t, conn, "no record orders", `DELETE FROM leaf_segments`)
	l.expiry(t, db, store.TableLeaves, "moved", 0, 4, longAgo)
	refusesAs(t, conn, "no record orders", `DELETE FROM leaf_segments WHERE row = `+at(4))
	refusesAs(t, conn, "no record orders", `DELETE FROM leaf_segments`)
	query(t, conn, `DELETE FROM leaf_segments WHERE row < `+at(4))
}

// TestExpiredSpansReopened sees that a new process too knows which spans have gone.
func TestExpiredSpansReopened(t *testing.T) {
	dir := t.TempDir()
	db := open(t, dir)
	l := newLoad("t-1")
	l.trace = "first"
	gone := l.oldStep(0)
	l.write(t, db, nil, gone)
	e := l.expiry(t, db, "aos_trace_steps", "llm_runs", 0, 1, longAgo+aDay)
	if n, err := db.Expire(t.Context(), "t-1", []store.Expiry{e}, 0, 1, true, nil); n != 1 || err != nil {
		t.Fatalf("%d rows went, %v", n, err)
	}
	again := *gone
	again.ID = evidence.ID(l.random(16))
	for range 2 {
		if err := db.Commit(t.Context(), l.of(&again)); !errors.Is(err, store.ErrDuplicate) {
			t.Errorf("the span again: %v, want ErrDuplicate", err)
		}
		closeIt(t, db)
		db = open(t, dir)
	}
	l.trace = "second"
	l.write(t, db, nil, l.step(0))
}

// TestScrubExpired looks for what expired rows and their content said in the bytes of
// every file.
func TestScrubExpired(t *testing.T) {
	dir := t.TempDir()
	db := open(t, dir)
	l := newLoad("t-1")
	const total = 400
	text := func(what string, n int) []byte { return fmt.Appendf(nil, "%s-%08d-SECRET", what, n) }
	for range 4 {
		var leaves []*evidence.Leaf
		at := l.head.Size
		for i := range int64(total / 4) {
			leaf := l.oldStep(0)
			// Stays and goes, of one page.
			if (at+i)%2 == 1 {
				leaf.RecordedAt += 30 * aDay
			}
			f := fact(leaf.Kind, "tool_call_id")
			f.Str = strings.Repeat(string(text("row", int(at+i))), 1+int(at+i)%7*40)
			leaf.SetFact(f)
			leaves = append(leaves, leaf)
		}
		l.write(t, db, func(c *store.LogCommit) {
			for i := range c.Entries {
				n := int(c.Entries[i].Leaf.Seq)
				c.Entries[i].Segment = int64(n)
				c.Sealed = append(c.Sealed, store.SealedSegment{
					SegmentRef: store.SegmentRef{LogNo: 1, No: int64(n)}, ID: [16]byte(l.random(16)), Data: bytes.Repeat(text("seg", n), 1+n%300),
				})
				c.Index = append(c.Index, store.IndexEntry{Name: "subject", MAC: [16]byte(text("ix", n)), Position: store.Position{LogNo: 1, Seq: int64(n)}})
			}
		}, leaves...)
	}
	e := l.expiry(t, db, "aos_trace_steps", "llm_runs", 0, total, longAgo+aDay)
	for from := int64(0); from < total; from += 70 {
		r := &store.Removal{By: e.By}
		for n := from; n < min(from+70, total); n += 2 {
			r.Segments = append(r.Segments, store.SegmentRef{LogNo: 1, No: n})
		}
		if _, err := db.Expire(t.Context(), "t-1", []store.Expiry{e}, from, from+70, false, r); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Scrub(t.Context()); err != nil {
		t.Fatal(err)
	}
	var all []byte
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		b, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b...)
	}
	for n := range total {
		for _, what := range [][]byte{text("row", n), text("seg", n), text("ix", n)[:16]} {
			if found, want := bytes.Contains(all, what), n%2 == 1; found != want {
				t.Errorf("%s: found %v, want %v", what, found, want)
			}
		}
	}
}

// BenchmarkExpire measures the removal of steps and traces with their spans and index
// entries, 5,000 leaves a transaction. RUNLEDGER_BENCH_ROWS says of how many.
func BenchmarkExpire(b *testing.B) {
	const window = 5000
	commits := 20
	if v := os.Getenv("RUNLEDGER_BENCH_ROWS"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil {
			b.Fatal(err)
		}
		commits = max(commits, n/benchSteps)
	}
	rows := int64(0)
	for b.Loop() {
		b.StopTimer()
		db, err := sqlite.Open(b.Context(), sqlite.Config{Dir: b.TempDir()})
		if err != nil {
			b.Fatal(err)
		}
		l := newLoad("bench")
		l.at = longAgo
		for range commits {
			c := l.commit()
			for i := range c.Logs[0].Entries {
				if e := &c.Logs[0].Entries[i]; e.Leaf.Kind == evidence.KindTrace {
					c.Logs[0].Index = append(c.Logs[0].Index, store.IndexEntry{
						Name: "subject", MAC: [16]byte(l.random(16)), Position: store.Position{LogNo: 1, Seq: e.Leaf.Seq + 1}, Trace: e.Leaf.Run,
					})
				}
			}
			if err := db.Commit(b.Context(), c); err != nil {
				b.Fatal(err)
			}
		}
		end := l.head.Size
		steps := l.expiry(b, db, "aos_trace_steps", "llm_runs", 0, end, longAgo+aDay)
		traces := l.expiry(b, db, "aos_traces", "llm_runs", 0, end, longAgo+aDay)
		b.StartTimer()
		for from := int64(0); from < end; from += window {
			n, err := db.Expire(b.Context(), "bench", []store.Expiry{steps, traces}, from, from+window, false, nil)
			if err != nil {
				b.Fatal(err)
			}
			rows += n
		}
		b.StopTimer()
		if err := db.Close(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
	b.ReportMetric(float64(rows)/b.Elapsed().Seconds(), "rows/s")
}
