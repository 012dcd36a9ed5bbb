package runs

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/dialect"
)

func TestEndsByRoot(t *testing.T) {
	r := newRig(t)
	root, child := someRun(t)
	r.send(child)
	r.pass(59 * time.Second)
	r.wantRevisions(testTrace, 0)
	r.send(root)
	r.pass(1900 * time.Millisecond)
	r.wantRevisions(testTrace, 0)
	r.send(event(t, 1, 5, 2, dialect.Hints{})) // something came: it waits again
	r.pass(1900 * time.Millisecond)
	r.wantRevisions(testTrace, 0)
	r.wantOpen(testTrace, true)
	r.pass(100 * time.Millisecond)
	rev := r.wantRevisions(testTrace, 1)
	for name, w := range map[string]string{
		"sealed_by": "root_span", "execution_status": "SUCCEEDED", "record_count": "4", "n": "3", "step_count": "2", "input_tokens": "10",
		"/prompt": `"hello"`, "/response": `"hi"`, "producer": "", "conversation_id": "c-1",
	} {
		if rev[name] != w {
			t.Errorf("%s is %q, want %q", name, rev[name], w)
		}
	}
	r.wantOpen(testTrace, false)
	r.wantIdle()
	r.pass(time.Hour)
	r.wantRevisions(testTrace, 1)
	for name, want := range map[string]float64{
		"runledger_runs_ended_total": 1, "runledger_run_revisions_total": 0, "runledger_runs_open": 0, "runledger_runs_read_back_total": 0,
	} {
		if got := r.metric(name); got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
}

func TestEndsByQuietAndIdle(t *testing.T) {
	r := newRig(t)
	_, child := someRun(t)
	r.send(child)
	ev := event(t, 9, 5, 0, dialect.Hints{})
	ev.record.Run = "only events"
	r.send(ev)
	r.pass(59900 * time.Millisecond)
	r.wantRevisions(testTrace, 0)
	r.pass(100 * time.Millisecond)
	if rev := r.wantRevisions(testTrace, 1); rev["sealed_by"] != "quiet" || rev["completeness"] != `["root_missing"]` {
		t.Errorf("%v", rev)
	}
	r.pass(8 * time.Minute)
	r.wantRevisions("only events", 0)
	r.pass(time.Minute)
	if rev := r.wantRevisions("only events", 1); rev["sealed_by"] != "timeout" || rev["execution_status"] != "TIMEOUT" {
		t.Errorf("%v", rev)
	}
	r.wantIdle()
}

func TestLateSpanMakesARevision(t *testing.T) {
	r := newRig(t)
	root, child := someRun(t)
	r.send(child)
	r.pass(time.Minute)
	r.wantRevisions(testTrace, 1)
	if receipt := r.send(root)[0]; !receipt.Late {
		t.Errorf("the root is not late: %+v", receipt)
	}
	r.wantOpen(testTrace, true)
	r.pass(1900 * time.Millisecond)
	r.wantRevisions(testTrace, 1)
	r.pass(100 * time.Millisecond)
	rev := r.wantRevisions(testTrace, 2)
	if rev["sealed_by"] != "root_span" || rev["completeness"] != "[]" || rev["step_count"] != "2" || rev["record_count"] != "4" {
		t.Errorf("%v", rev)
	}
	r.wantOpen(testTrace, false)
	r.wantIdle()
}

func TestLateRecordThatChangesNothing(t *testing.T) {
	r := newRig(t)
	root, child := someRun(t)
	r.send(child, root)
	r.pass(2 * time.Second)
	r.wantRevisions(testTrace, 1)
	r.send(event(t, 1, 5, 2, dialect.Hints{}))
	r.wantOpen(testTrace, true)
	r.pass(2 * time.Second)
	r.wantRevisions(testTrace, 1)
	r.wantOpen(testTrace, false)
	r.wantIdle()

	// After a restart in between as well.
	r.send(event(t, 2, 6, 2, dialect.Hints{}))
	r.reopen()
	r.pass(2 * time.Second)
	r.wantRevisions(testTrace, 1)
	r.wantOpen(testTrace, false)

	// A duplicate is nothing that came.
	root, child = someRun(t)
	if receipts := r.send(child, root); !receipts[0].Duplicate {
		t.Errorf("%+v", receipts[0])
	}
	r.wantIdle()

	// A conflict record counts in n, and changes nothing.
	other := spanItem(t, 1, 0, "agent", 0, 901, m{"status": "failure"})
	if receipts := r.send(other); receipts[0].ConflictOf == (evidence.ID{}) {
		t.Errorf("%+v", receipts[0])
	}
	r.pass(2 * time.Second)
	r.wantRevisions(testTrace, 1)
	r.wantOpen(testTrace, false)
	r.wantIdle()
}

// TestLateWithoutRoot: a late event of a run that ended without root waits as
// long as that run did.
func TestLateWithoutRoot(t *testing.T) {
	r := newRig(t)
	_, child := someRun(t)
	r.send(child)
	r.pass(time.Minute)
	late := call(3, 1, 400, 500, 1, 1, nil)(t)
	r.send(late)
	r.pass(30 * time.Second)
	r.wantRevisions(testTrace, 1)
	r.pass(30 * time.Second)
	if rev := r.wantRevisions(testTrace, 2); rev["input_tokens"] != "11" || rev["sealed_by"] != "quiet" {
		t.Errorf("%v", rev)
	}
	r.wantIdle()
}

func TestRestart(t *testing.T) {
	ending := func(restart bool) map[string]string {
		r := newRig(t)
		root, child := someRun(t)
		r.send(child, event(t, 1, 5, 2, dialect.Hints{}))
		r.send(spanItem(t, 3, 1, "tool", 300, 400, m{"status": "failure", "status_message": "no"}))
		if restart {
			r.reopen()
			r.Drain()
			r.wantRevisions(testTrace, 0) // it has time yet
			r.clock.add(30 * time.Second)
		}
		r.send(audit(t, 1, 350, m{"decision": "WARNED", "limit_value": "10", "observed_value": "9", "entity_type": "LIMIT"}), root)
		if restart {
			r.reopen()
			r.clock.add(-30 * time.Second)
		}
		r.pass(2 * time.Second)
		if restart {
			r.pass(30 * time.Second)
		}
		rev := r.wantRevisions(testTrace, 1)
		r.wantIdle()
		r.wantOpen(testTrace, false)
		return rev
	}
	if diff := cmp.Diff(ending(false), ending(true)); diff != "" {
		t.Errorf("ended after a restart (-without +with):\n%s", diff)
	}
}

// TestStartFindsOldRuns: what is past its time ends at once.
func TestStartFindsOldRuns(t *testing.T) {
	r := newRig(t)
	root, child := someRun(t)
	r.send(child, root)
	young := event(t, 9, 5, 0, dialect.Hints{})
	young.record.Run = "young"
	r.send(young)
	r.close()
	r.clock.add(9 * time.Minute)
	r.open()
	r.Drain()
	if rev := r.wantRevisions(testTrace, 1); rev["sealed_by"] != "root_span" {
		t.Errorf("%v", rev)
	}
	r.wantRevisions("young", 0)
	r.pass(time.Minute)
	r.wantRevisions("young", 1)
	r.wantIdle()
}
