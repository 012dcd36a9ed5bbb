package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/store"
	"github.com/runledger/runledger/internal/store/storerig"
	"github.com/runledger/runledger/verify"
)

// opensCopies returns how many of these old copies of segments can be opened with what the
// store has now, by a process that was not there before.
func (r *rig) opensCopies(t testing.TB, list []store.SealedSegment) (n int) {
	t.Helper()
	logs, err := r.db.Logs(context.Background(), "acme")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range list {
		_, err := r.sealer.Open(context.Background(), r.db, "acme", logs[s.LogNo-1].Origin, s)
		if err != nil && !errors.Is(err, evidence.ErrNotFound) {
			t.Fatal(err)
		}
		if err == nil {
			n++
		}
	}
	return n
}

// size returns how many leaves acme's first log has.
func (r *rig) size(t testing.TB) int64 {
	t.Helper()
	head, err := r.db.Head(context.Background(), store.LogRef{Tenant: "acme", No: 1})
	if err != nil {
		t.Fatal(err)
	}
	return head.Size
}

// TestRetireKeys: once a day has expired, its key goes; what stays of that day stands under
// a key of its year, and old copies cannot be opened.
func TestRetireKeys(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	f := &lifeFaults{}
	r, h := pastRig(t, f.option)
	day := h.wall.Format(time.DateOnly)
	a := r.append(t, "acme", step(1, 1, content+`,"human_actor_id":"ada"`), step(2, 1, content), fmt.Sprintf(systemLine, 1))
	b := r.append(t, "acme", fmt.Sprintf(systemLine, 2))
	if out, err := r.RetireKeys(ctx, "acme", day); err != nil || out.Keys != 0 { // the day is not over
		t.Errorf("%+v, %v", out, err)
	}
	before := h.wall.AddDate(0, 0, -1).Format(time.DateOnly)
	r.order(t, h, 1, "aos_trace_steps", evidence.ClassLLMRuns, ranges(a...))
	r.expire(t)
	old := r.sealedSegments(t)
	if out, err := r.RetireKeys(ctx, "acme", before); err != nil || out.Keys != 1 { // ada's
		t.Errorf("%+v, %v", out, err)
	}
	h.move(72*time.Hour, 72*time.Hour)
	c := r.append(t, "acme", step(3, 1, content))
	size := r.size(t)
	f.remove.Store(1) // the day's segments are sealed anew, and the key is not gone
	if _, err := r.RetireKeys(ctx, "acme", day); !errors.Is(err, errLost) {
		t.Fatal(err)
	}
	r.close()
	r = openRig(t, r.dir, h.clock, f.option)
	if n := r.opensCopies(t, old); n != len(old) {
		t.Errorf("%d of %d copies can be opened", n, len(old))
	}
	out, err := r.RetireKeys(ctx, "acme", day)
	if err != nil || out.Keys != 1 || out.Segments != 0 {
		t.Errorf("%+v, %v", out, err)
	}
	if n := r.size(t); n != size+1 {
		t.Errorf("%d records of one retirement", n-size)
	}
	rec := r.record(t, "acme", 1, size)
	if rec.Leaf.Text("event_type") != "RetentionApplied" || rec.Leaf.Text("entity_id") != "data_keys" || !strings.Contains(rec.Open["/after_state"].JSON, day) {
		t.Errorf("%s %+v", rec.Raw, rec.Open)
	}
	r.close()
	r = openRig(t, r.dir, h.clock)
	if n := r.opensCopies(t, old); n != 1 { // that of the order, of a later day
		t.Errorf("%d of %d copies can be opened", n, len(old))
	}
	keys, err := r.db.DataKeys(ctx, "acme", store.ScopeDay, "kept "+day)
	if err != nil || len(keys) != 1 {
		t.Errorf("%v, %v", keys, err)
	}
	r.opens(t, "acme", 1, a[2].LeafIndex, "/actor", "/summary")
	r.opens(t, "acme", 1, b[0].LeafIndex, "/actor", "/summary")
	r.opens(t, "acme", 1, c[0].LeafIndex, "/actor", "/params", "/prompt", "/status_message")
	if out, err := r.RetireKeys(ctx, "acme", day); err != nil || out != (ledger.Retired{}) {
		t.Errorf("again: %+v, %v", out, err)
	}
	if _, err := r.RetireKeys(ctx, "acme", "yesterday"); !errors.Is(err, evidence.ErrInvalid) {
		t.Errorf("no day: %v", err)
	}
	r.sound(t)
}

// TestEraseRetires: the key that opened what was erased goes, and so do the copies under it,
// while appends go on under the same label; the rest stays readable.
func TestEraseRetires(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	f := &lifeFaults{}
	r := openRig(t, t.TempDir()+"/data", f.option)
	r.tenant(t, "acme")
	a := r.append(t, "acme", step(1, 1, content), step(2, 1, content+`,"subject":"sue"`), step(2, 2, content))
	b := r.append(t, "acme", step(3, 1, content+`,"subject":"sue"`), step(3, 2, content))
	old := r.sealedSegments(t)
	e := ledger.Erasure{Run: runOf(2), Reason: "asked", By: "op"}
	plan, err := r.PlanErasure(ctx, "acme", e)
	if err != nil || plan.Records != 2 || plan.Fields != 9 || plan.Runs != 1 || plan.Keys != 0 || plan.Retire != 2 || len(plan.Held) != 0 {
		t.Errorf("%+v, %v", plan, err)
	}
	out := r.erase(t, "acme", e)
	if out.Records != plan.Records || out.Fields != plan.Fields || out.Runs != 1 || len(out.Receipts) != 1 {
		t.Errorf("%+v", out)
	}
	if left, err := r.Retiring(ctx, "acme"); err != nil || left[out.ID] != 2 {
		t.Errorf("keys that are to go: %v, %v", left, err)
	}
	f.remove.Store(0)
	begun, err := r.FinishErasures(ctx, "acme")
	if !errors.Is(err, errLost) {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { // appends meanwhile
		var failed error
		for i := range 20 {
			_, err := r.Append(ctx, "acme", native(t, step(4, i+1, content+`,"subject":"sue"`)), ledger.AppendOptions{Producer: "k"})
			failed = errors.Join(failed, err)
		}
		done <- failed
	}()
	retired, err := r.FinishErasures(ctx, "acme")
	if err := errors.Join(err, <-done); err != nil || begun.Keys+retired.Keys != 2 {
		t.Fatalf("%+v, %v", retired, err)
	}
	c := r.append(t, "acme", step(4, 100, content+`,"subject":"sue"`))
	all := []string{"/actor", "/params", "/prompt", "/status_message"}
	check := func() {
		t.Helper()
		if n := r.opensCopies(t, old); n != 0 {
			t.Errorf("%d of %d copies can be opened", n, len(old))
		}
		r.opens(t, "acme", 1, a[0].LeafIndex, all...)
		r.opens(t, "acme", 1, a[1].LeafIndex)
		r.opens(t, "acme", 1, a[2].LeafIndex)
		r.opens(t, "acme", 1, b[0].LeafIndex, append(all, "/subject")...)
		r.opens(t, "acme", 1, b[1].LeafIndex, all...)
		r.opens(t, "acme", 1, c[0].LeafIndex, append(all, "/subject")...)
	}
	check()
	r.sound(t)
	r.close()
	r = openRig(t, r.dir)
	check()
	if left, err := r.Retiring(ctx, "acme"); err != nil || len(left) != 0 {
		t.Errorf("keys that are still to go: %v, %v", left, err)
	}
	if again, err := r.FinishErasures(ctx, "acme"); err != nil || again != (ledger.Retired{}) {
		t.Errorf("again: %+v, %v", again, err)
	}
	// Once more of the same key's label, then the person.
	r.erase(t, "acme", ledger.Erasure{Run: runOf(3)})
	if retired, err := r.FinishErasures(ctx, "acme"); err != nil || retired.Keys != 2 {
		t.Errorf("%+v, %v", retired, err)
	}
	r.erase(t, "acme", ledger.Erasure{Person: "sue"})
	r.opens(t, "acme", 1, c[0].LeafIndex)
	r.opens(t, "acme", 1, a[0].LeafIndex, all...)
	r.sound(t)
}

// statement checks the record of an erasure as a whole.
func (r *rig) statement(t testing.TB, out ledger.Erased) {
	t.Helper()
	rec := r.record(t, "acme", out.Statement.LogNo, out.Statement.LeafIndex)
	s, err := verify.ParseErasureStatement([]byte(rec.Open["/after_state"].JSON))
	if err != nil {
		t.Fatal(err)
	}
	var hashes []evidence.Hash
	for _, x := range out.Receipts {
		hashes = append(hashes, x.LeafHash)
	}
	want := verify.ErasureStatement{
		TenantID: "acme", ErasureID: out.ID, ExecutedAt: out.At, Records: int64(out.Records), Fields: int64(out.Fields), Runs: int64(out.Runs),
		KeysDestroyed: int64(out.Keys), KeysToRetire: s.KeysToRetire, Orders: int64(len(out.Receipts)), OrdersDigest: verify.OrdersDigest(hashes),
	}
	if *s != want || rec.Open["/after_state"].JSON != out.Body {
		t.Errorf("statement %+v, not %+v", *s, want)
	}
	if _, has := rec.Leaf.Commitment("/targets"); has || rec.Leaf.Run != "" || rec.Leaf.Text("entity_id") != out.ID || rec.Leaf.Text("event_type") != "ErasureExecuted" {
		t.Errorf("%s", rec.Raw)
	}
}

// TestEraseStatement: it says what was done, also where the process ends before it is written.
func TestEraseStatement(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	f := &removalFaults{}
	r := openRig(t, t.TempDir()+"/data", func(c *ledger.Config) { f.Store = c.Store; c.Store = f })
	r.tenant(t, "acme")
	a := r.append(t, "acme", step(1, 1, content+`,"subject":"sue"`), step(2, 1, content+`,"subject":"sue"`), step(3, 1, content+`,"subject":"eve"`))
	out := r.erase(t, "acme", ledger.Erasure{Person: "sue", By: "op", Reason: "asked"})
	r.statement(t, out)
	// The commit is there, its outcome never came: the process ends.
	f.fail, f.persisted = store.ErrSync, true
	if _, err := r.Erase(ctx, "acme", ledger.Erasure{Person: "eve"}); err == nil {
		t.Fatal("a failed sync is no error")
	}
	f.fail = nil
	r.close()
	r = openRig(t, r.dir)
	size := r.size(t)
	for _, want := range []int{1, 0} { // said once, so that it is counted once
		if done, err := r.FinishErasures(ctx, "acme"); err != nil || done.Erasures != want {
			t.Fatal(done, err)
		}
	}
	if n := r.size(t); n != size+1 {
		t.Errorf("%d records", n-size)
	}
	order, last := r.record(t, "acme", 1, size-1), r.record(t, "acme", 1, size)
	s, err := verify.ParseErasureStatement([]byte(last.Open["/after_state"].JSON))
	if err != nil || s.Orders != 1 || s.Records != 1 || s.KeysDestroyed != 1 || s.OrdersDigest != verify.OrdersDigest([]evidence.Hash{evidence.LeafHash(order.Raw)}) {
		t.Errorf("%+v, %v", s, err)
	}
	// One that never came to be leaves nothing.
	r.opens(t, "acme", 1, a[2].LeafIndex)
	r.sound(t)
}

// TestErasePersonReads: an erasure reads what stands under the person's keys, whatever else
// there is.
func TestErasePersonReads(t *testing.T) {
	t.Parallel()
	f := &lifeFaults{}
	r := openRig(t, t.TempDir()+"/data", f.option)
	r.tenant(t, "acme")
	for i := range 4 {
		var lines []string
		for j := range 1000 {
			more := `,"prompt":"p"`
			if j%2 == 0 {
				more += `,"subject":"sue"`
			}
			lines = append(lines, step(i*10+j%10+1, j+1, more))
		}
		r.append(t, "acme", lines...)
	}
	own := 0
	keys, err := r.sealer.PersonKeys(context.Background(), "acme", "sue")
	if err != nil || len(keys) != 1 {
		t.Fatal(keys, err)
	}
	for _, s := range r.sealedSegments(t) {
		if s.Key == keys[0].ID {
			own++
		}
	}
	f.sealed.Store(0)
	f.under.Store(0)
	start := time.Now()
	out := r.erase(t, "acme", ledger.Erasure{Person: "sue"})
	t.Logf("%d records in %s", out.Records, time.Since(start))
	if out.Records != 2000 || out.Runs != 20 || out.Keys != 1 {
		t.Errorf("%+v", out)
	}
	// Once before appends wait, and once while they do.
	if n := f.under.Load(); n != int64(2*own) || f.sealed.Load() != 0 {
		t.Errorf("%d segments read, of %d; %d scans", n, own, f.sealed.Load())
	}
	r.statement(t, out)
}

// TestFinishOthers: an erasure whose note does not open does not keep others from being finished.
func TestFinishOthers(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	r, _ := pastRig(t)
	r.append(t, "acme", step(1, 1, content), step(2, 1, content))
	for _, name := range []string{"erasure/acme/erasure-000000000000", "erasure/acme/erasure-ffffffffffff", "erasure_retire/acme/0"} {
		if err := r.db.SetSetting(ctx, name, "AAAA"); err != nil {
			t.Fatal(err)
		}
	}
	r.erase(t, "acme", ledger.Erasure{Run: runOf(1)})
	done, err := r.FinishErasures(ctx, "acme")
	if !errors.Is(err, evidence.ErrTampered) || done.Keys != 1 {
		t.Errorf("%+v, %v", done, err)
	}
}

// beforeCommit is a store in which something else happens before an erasure is committed.
type beforeCommit struct {
	store.Store
	hook func()
}

func (s *beforeCommit) SetSetting(ctx context.Context, name, value string) error {
	err := s.Store.SetSetting(ctx, name, value)
	if h := s.hook; h != nil && strings.HasPrefix(name, "erasure/") {
		s.hook = nil
		h()
	}
	return err
}

// TestEraseMeetsExpiry: an expiry of another process seals what is to be erased anew, between
// the look at it and its end.
func TestEraseMeetsExpiry(t *testing.T) {
	t.Parallel()
	storerig.Only(t, storerig.Postgres, "SQLite has one process")
	r, h := pastRig(t)
	a := r.append(t, "acme", step(1, 1, content), step(2, 1, content))
	r.order(t, h, 1, "aos_trace_steps", evidence.ClassLLMRuns, ranges(a[0]))
	s := &beforeCommit{}
	other := openRig(t, r.dir, h.clock, func(c *ledger.Config) { s.Store = c.Store; c.Store = s })
	s.hook = func() {
		if n := r.expire(t); n != 1 {
			t.Errorf("%d rows went", n)
		}
	}
	other.erase(t, "acme", ledger.Erasure{Run: runOf(2)})
	r.opens(t, "acme", 1, a[1].LeafIndex)
	r.sound(t)
}
