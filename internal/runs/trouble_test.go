package runs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/dialect"
	"github.com/runledger/runledger/internal/ledger"
)

func TestLedgerUnavailable(t *testing.T) {
	r := newRig(t)
	root, child := someRun(t)
	r.send(child, root)
	done := spanItem(t, 9, 0, "agent", 1, 2, nil)
	done.record.Run = "settles"
	r.send(done)
	r.pass(0)
	r.db.fail(fmt.Errorf("disk is full: %w", evidence.ErrUnavailable))
	for range 8 {
		r.pass(2 * time.Second)
	}
	r.wantRevisions(testTrace, 0)
	if runs, bytes := r.Following(); runs != 2 || bytes == 0 {
		t.Errorf("%d runs, %d bytes", runs, bytes)
	}
	r.db.fail(nil)
	r.pass(maxBackoff)
	r.wantRevisions(testTrace, 1)
	r.wantRevisions("settles", 1)
	r.wantIdle()

	// The same for a run that is only to be settled.
	ev := event(t, 1, 5, 9, dialect.Hints{})
	ev.record.Run = "settles"
	r.send(ev)
	r.db.fail(fmt.Errorf("disk is full: %w", evidence.ErrUnavailable))
	r.pass(2 * time.Second)
	r.wantOpen("settles", true)
	r.db.fail(nil)
	r.pass(maxBackoff)
	r.wantOpen("settles", false)
	r.wantIdle()
}

// TestNativeCompletion: a producer ends its own run.
func TestNativeCompletion(t *testing.T) {
	r := newRig(t)
	root, child := someRun(t)
	completion := native(t, "llm_run", 0, m{"execution_status": "FAILED", "started_at": nil})
	r.send(child)
	r.send(completion)
	r.pass(2 * time.Second)
	if rev := r.wantRevisions(testTrace, 1); rev["execution_status"] != "FAILED" || rev["sealed_by"] != "completion" || rev["producer"] != "test" {
		t.Errorf("%v", rev)
	}
	r.wantIdle()
	r.send(root) // late
	r.wantOpen(testTrace, true)
	r.pass(2 * time.Second)
	r.wantRevisions(testTrace, 1)
	r.wantOpen(testTrace, false)
	r.wantIdle()

	// Completion and what comes after it at once: settled without reading.
	all := []item{
		native(t, "llm_run", 0, m{"execution_status": "SUCCEEDED", "run_id": "b"}),
		native(t, "trace_step", 0, m{"run_id": "b", "trace_id": testTrace, "span_id": spanOf(44), "skill_name": "x", "step_kind": "tool", "status": "success"}),
	}
	r.send(all...)
	r.wantOpen("b", true)
	r.pass(2 * time.Second)
	r.wantRevisions("b", 1)
	r.wantOpen("b", false)
	r.wantIdle()
}

// TestUntoldRecords: what nobody told the tracker of is not missed.
func TestUntoldRecords(t *testing.T) {
	r := newRig(t)
	root, child := someRun(t)
	r.send(child, root)
	r.append("acme", call(3, 1, 400, 500, 1, 1, nil)(t))
	r.pass(2 * time.Second)
	r.wantRevisions(testTrace, 0) // it is stale
	r.pass(2 * time.Second)
	if rev := r.wantRevisions(testTrace, 1); rev["input_tokens"] != "11" || rev["step_count"] != "3" {
		t.Errorf("%v", rev)
	}
	r.wantIdle()
	// A run of which it has heard nothing is found.
	alone := spanItem(t, 9, 0, "agent", 1, 2, nil)
	alone.record.Run = "alone"
	r.append("acme", alone)
	r.clock.add(10 * time.Second)
	if err := r.Rescan(); err != nil {
		t.Fatal(err)
	}
	r.Drain()
	r.wantRevisions("alone", 1)
	r.wantIdle()
}

// TestMoreComesWhileItIsWritten: what is observed while the run's record is under
// way is not forgotten, whether that record gets through or not.
func TestMoreComesWhileItIsWritten(t *testing.T) {
	for _, fails := range []error{nil, fmt.Errorf("disk is full: %w", evidence.ErrUnavailable)} {
		r := newRig(t)
		root, child := someRun(t)
		r.send(child, root)
		n := int64(2) // where the late record will stand
		if fails == nil {
			n = 3
		}
		late := call(3, 1, 400, 500, 1, 1, nil)(t)
		r.db.mu.Lock()
		r.db.during = func() {
			r.db.fail(fails)
			r.Observe("acme", []Observed{{Record: late.record, Receipt: ledger.Receipt{ID: late.place.id, N: n, StepIndex: 2, Late: fails == nil}}})
		}
		r.db.mu.Unlock()
		r.pass(2 * time.Second)
		r.db.fail(nil)
		if got := r.append("acme", late)[0].Receipt.N; got != n {
			t.Fatalf("the late record is number %d", got)
		}
		r.pass(4 * time.Second)
		r.pass(4 * time.Second)
		if rev := r.wantRevisions(testTrace, int(n)-1); rev["input_tokens"] != "11" {
			t.Errorf("%v", rev)
		}
		r.wantIdle()
	}
}

// TestRefusedRunHoldsNobodyUp: one that cannot be ended does not keep the others
// of its batch from it, and is not tried again before long.
func TestRefusedRunHoldsNobodyUp(t *testing.T) {
	r := newRig(t)
	for i := range 5 {
		s := spanItem(t, i+1, 0, "agent", 0, 9, nil)
		s.record.Run = fmt.Sprint("run ", i)
		r.send(s)
	}
	s := r.shardOf("run 2")
	s.mu.Lock()
	s.runs[key{"acme", "run 2"}].run.traceID.text = "no trace id" // as no record can say
	s.mu.Unlock()
	check := func(after time.Duration, failed float64, revisions int) {
		t.Helper()
		r.pass(after)
		if got := r.metric("runledger_run_end_failures_total"); got != failed {
			t.Errorf("%v failures, want %v", got, failed)
		}
		r.wantRevisions("run 2", revisions)
	}
	check(2*time.Second, 1, 0)
	for _, i := range []int{0, 1, 3, 4} {
		r.wantRevisions(fmt.Sprint("run ", i), 1)
	}
	check(9*time.Minute, 1, 0)
	check(time.Minute, 1, 1) // read back, it is good
	r.wantIdle()

	// Where the ledger refuses a batch, each is tried by itself.
	ghost, _ := someRun(t)
	other := spanItem(t, 9, 0, "agent", 0, 9, nil)
	other.record.Run = "other"
	r.Observe("ghost", []Observed{{Record: ghost.record}, {Record: other.record}})
	check(2*time.Second, 3, 1)
	check(9*time.Minute, 3, 1)
	if runs, bytes := r.Following(); runs != 2 || bytes != 0 {
		t.Errorf("%d runs, %d bytes", runs, bytes)
	}
}

// TestContradictingDatabase: a run whose last record the database hides is not
// ended, and not read for ever.
func TestContradictingDatabase(t *testing.T) {
	r := newRig(t, func(c *Config) { c.MaxMemory = 1 })
	root, child := someRun(t)
	r.send(child, root)
	r.db.hide(testTrace)
	for range 60 {
		r.pass(2 * time.Second)
	}
	if got := r.metric("runledger_run_end_failures_total"); got != 1 {
		t.Errorf("%v failures", got)
	}
	r.db.hide("")
	r.wantRevisions(testTrace, 0)
	r.pass(10 * time.Minute)
	r.wantRevisions(testTrace, 1)
}

// TestErased: after an erasure a late record does not bring content back, and
// what can no longer be known is no change.
func TestErased(t *testing.T) {
	for _, conversation := range []string{"c-1", "größe"} { // fit to be public, and not
		t.Run(conversation, func(t *testing.T) { testErased(t, conversation) })
	}
}

func testErased(t *testing.T, conversation string) {
	r := newRig(t)
	root, child := someRun(t)
	root.record.SetSealed("/subject", []byte(`"ada"`))
	root.record.SetSealed("/attrs", []byte(`[["session.id","string","`+conversation+`"]]`))
	child.record.SetSealed("/subject", []byte(`"ada"`))
	r.send(child, root)
	r.pass(2 * time.Second)
	first := r.wantRevisions(testTrace, 1)
	if first["/prompt"] == "" || first["conversation_id"] == "" {
		t.Fatalf("%v", first)
	}
	if _, err := r.l.Erase(context.Background(), "acme", ledger.Erasure{Person: "ada", Reason: "asked", By: "op"}); err != nil {
		t.Fatal(err)
	}
	r.send(event(t, 1, 5, 2, dialect.Hints{}))
	r.pass(2 * time.Second)
	r.wantRevisions(testTrace, 1)
	r.wantOpen(testTrace, false)
	r.send(call(3, 1, 400, 500, 1, 1, m{"prompt": messages("user", "again")})(t))
	r.pass(2 * time.Second)
	rev := r.wantRevisions(testTrace, 2)
	if rev["/prompt"] != "" || rev["input_tokens"] != "11" || conversation == "c-1" && rev["conversation_id"] != "c-1" {
		t.Errorf("%v", rev)
	}
}

func TestLive(t *testing.T) {
	for _, memory := range []int64{1, 1 << 20} {
		r := newRig(t, func(c *Config) { c.MaxMemory = memory })
		ctx := context.Background()
		root, child := someRun(t)
		_, err := r.Live(ctx, "acme", testTrace)
		if !errors.Is(err, evidence.ErrNotFound) {
			t.Errorf("before it began: %v", err)
		}
		r.send(child)
		rec, err := r.Live(ctx, "acme", testTrace)
		if err != nil {
			t.Fatal(err)
		}
		want(t, rec, map[string]string{"execution_status": "", "input_tokens": "10", "step_count": "1", "/prompt": `"hello"`})
		if _, err = r.Live(ctx, "other", testTrace); !errors.Is(err, evidence.ErrNotFound) {
			t.Errorf("of another tenant: %v", err)
		}
		r.send(root)
		r.pass(2 * time.Second)
		if _, err = r.Live(ctx, "acme", testTrace); !errors.Is(err, evidence.ErrNotFound) {
			t.Errorf("after it ended: %v", err)
		}
	}
}

// TestManyAtOnce ends many runs of two tenants while records still come.
func TestManyAtOnce(t *testing.T) {
	r := newRig(t, func(c *Config) { c.MaxMemory = 30 * runBytes })
	const runs = 50
	var wg sync.WaitGroup
	for _, tenant := range []string{"acme", "other"} {
		wg.Go(func() {
			for i := range runs {
				run := fmt.Sprint("run ", i)
				for j := range 3 {
					s := spanItem(t, 10*i+j+1, j*(10*i+1), "tool", j, j+1, nil)
					s.record.Run = run
					r.Observe(tenant, r.append(tenant, s))
				}
				r.clock.add(100 * time.Millisecond)
			}
		})
	}
	wg.Wait()
	for range 4 {
		r.pass(2 * time.Second)
	}
	for _, tenant := range []string{"acme", "other"} {
		for i := range runs {
			list := r.revisions(tenant, fmt.Sprint("run ", i))
			if n := len(list); n == 0 || list[n-1]["step_count"] != "3" {
				t.Fatalf("run %d of %s: %v", i, tenant, list)
			}
			if slices.ContainsFunc(list, func(f map[string]string) bool { return f["conflict_of"] != "" }) {
				t.Fatalf("run %d of %s has a conflict", i, tenant)
			}
		}
	}
	r.wantIdle()
}

// TestClosesInTime sees that Close waits for a record in flight and no longer
// than it may.
func TestClosesInTime(t *testing.T) {
	r := newRig(t)
	root, child := someRun(t)
	r.send(child, root)
	r.clock.add(2 * time.Second)
	if err := r.Tracker.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := r.Tracker.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	r.reopen()
	r.Drain()
	r.wantRevisions(testTrace, 1)
}
