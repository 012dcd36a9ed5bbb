package postgres_test

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

// TestHeldMeanwhile: a hold that is placed between the ledger's last look at holds and the
// transaction of a step keeps rows and content, of whatever the step is about: it is decided anew.
func TestHeldMeanwhile(t *testing.T) {
	t.Parallel()
	_, db, logs, first := monthly(t)
	a := logs[0]
	e := a.expiry(t, db, steps, 0, 3, first(3))
	mark, err := db.HoldsMark(t.Context(), "a")
	if err != nil || mark != (store.HoldsMark{}) {
		t.Fatalf("before a hold: %+v, %v", mark, err)
	}
	a.hold(t, db, store.Hold{ID: "hold-1", Scope: store.HoldRun, Runs: []string{"run 2"}})
	r := &store.Removal{By: e.By, Segments: []store.SegmentRef{{LogNo: 1, No: 0}}, Holds: &mark}
	expire := func() (int64, error) { return db.Expire(t.Context(), "a", []store.Expiry{e}, 0, 1, false, r) }
	if n, err := expire(); n != 0 || !errors.Is(err, evidence.ErrConflict) || errors.Is(err, store.ErrHeld) {
		t.Errorf("%d rows went by what was known before: %v", n, err)
	}
	if _, err := db.SealedSegment(t.Context(), "a", r.Segments[0]); err != nil {
		t.Errorf("the content of the row: %v", err)
	}
	if mark, err = db.HoldsMark(t.Context(), "a"); err != nil || mark != (store.HoldsMark{Placed: 1, Runs: 1}) {
		t.Fatalf("with a hold: %+v, %v", mark, err)
	}
	if n, err := expire(); n != 1 || err != nil {
		t.Errorf("%d rows went by what is known now: %v", n, err)
	}
	a.release(t, db, "hold-1")
	if mark, err = db.HoldsMark(t.Context(), "a"); err != nil || mark != (store.HoldsMark{Placed: 1, Released: 1, Runs: 1}) {
		t.Errorf("without it: %+v, %v", mark, err)
	}
}

// TestContentGuard: content is refused to the application's password as its rows are, where nothing
// is put in its place.
func TestContentGuard(t *testing.T) {
	t.Parallel()
	dsns, db, logs, first := monthly(t)
	a := logs[0]
	e := a.expiry(t, db, steps, 0, 2, first(2)) // of leaves 0 to 2
	a.hold(t, db, store.Hold{ID: "hold-1", Scope: store.HoldRun, Runs: []string{"run 1"}})
	app := shell(t, dsns.App)
	remove := func(seq int64) string {
		return fmt.Sprintf(`SELECT removed_no::text FROM runledger_remove_segments('a', %d, %d, '{1}', '{%d}', '{}', '{}', '{}', '{}', '{}')`, e.By.LogNo, e.By.Seq, seq<<4)
	}
	refuses(t, app, remove(1), "RL006") // held
	refuses(t, app, remove(2), "RL002") // no expiry names it
	// What log_months says is a sign on the way: where it lies, all is found.
	run(t, app, "INSERT INTO log_months VALUES ('a', 1, 99999, 0)")
	refuses(t, app, remove(1), "RL006")
	if got := texts(t, app, remove(0)); len(got) != 1 {
		t.Errorf("of an expired row went %q", got)
	}
}

// TestContentScattered: what the guard reads grows with the segments that go, however far apart they
// are, and is not planned for each: those of a person are a few of each day.
func TestContentScattered(t *testing.T) {
	t.Parallel()
	dsns, db, logs, first := monthly(t)
	a := logs[0]
	by := a.head.Size
	a.append(t, db, retention("ErasureExecuted", "e"))
	a.hold(t, db, store.Hold{ID: "hold-1", Scope: store.HoldRun, Runs: []string{"run 1"}})
	app := shell(t, dsns.App)
	const n = 500
	run(t, app, fmt.Sprintf(`INSERT INTO sealed_segments SELECT 'a', 1, (i * 3000) << 4, %d + i, int8send(i), '\x01000000000000000000000000000000', 'x'
		FROM generate_series(1, %d) AS i`, first(1).UnixMicro(), n))
	plan := strings.Join(texts(t, app, fmt.Sprintf(`EXPLAIN (ANALYZE, BUFFERS) SELECT count(*) FROM runledger_remove_segments('a', 1, %d, array_fill(1, ARRAY[%d]),
		(SELECT array_agg((i * 3000) << 4) FROM generate_series(1, %d) AS i), '{}', '{}', '{}', '{}', '{}')`, by, n, n)), "\n")
	pages := 0
	for _, m := range regexp.MustCompile(`(hit|read)=([0-9]+)`).FindAllStringSubmatch(strings.Split(plan, "\n")[1], -1) {
		k, err := strconv.Atoi(m[2])
		if err != nil {
			t.Fatal(err)
		}
		pages += k
	}
	if pages == 0 || pages > 400*n {
		t.Errorf("%d segments are removed by %d pages:\n%s", n, pages, plan)
	}
	if left := texts(t, app, "SELECT count(*)::text FROM sealed_segments WHERE tenant_id = 'a' AND data = 'x'"); left[0] != "0" {
		t.Errorf("%s segments are left", left[0])
	}
}

// TestKeyGuard: a key is refused under which content is.
func TestKeyGuard(t *testing.T) {
	t.Parallel()
	_, db, logs, first := monthly(t)
	a := logs[0]
	e := a.expiry(t, db, steps, 0, 3, first(3))
	keys := &store.Removal{By: e.By, Keys: []store.KeyID{{1}}}
	if err := db.Remove(t.Context(), "a", keys); !errors.Is(err, evidence.ErrForbidden) {
		t.Errorf("a key under which content is: %v", err)
	}
	all := &store.Removal{By: e.By, Keys: keys.Keys, Segments: []store.SegmentRef{{LogNo: 1, No: 0}, {LogNo: 1, No: 1 << 4}, {LogNo: 1, No: 2 << 4}}}
	if err := db.Remove(t.Context(), "a", all); err != nil {
		t.Errorf("the key with all of it: %v", err)
	}
}
