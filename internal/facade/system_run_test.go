package facade

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"testing"
	"time"

	"github.com/runledger/runledger/answer"
	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/problem"
)

func TestEvents(t *testing.T) {
	r := newRig(t)
	start, d := after(time.Minute), 10*time.Second
	end := start + micros(d)
	r.endedRun("acme", "run-1", start, d, fields{"correlation_id": "req-1"})
	shared := fields{"visibility": "shared"}
	corr := fields{"correlation_id": "req-1"}
	later := r.event("acme", after(time.Hour/2), fields{"run_id": "run-1"})
	earlier := r.event("acme", after(0), corr)
	r.event("acme", start+5) // not bound
	r.event("acme", start+5, fields{"run_id": "run-2"})
	r.event("other", start+5, corr)
	r.event("system", start+5)       // not shared
	r.event("system", start+5, corr) // not shared
	r.event("system", start-5, corr) // not shared
	r.event("system", end+5, corr)   // not shared
	r.event("system", start-1, shared)
	first := r.event("system", start, shared)
	both := r.event("system", start+7, shared, corr)
	inside := r.event("acme", start+7, corr)
	last := r.event("system", end, shared)
	r.event("system", end+1, shared)
	before := r.event("system", start-2, shared, corr)
	behind := r.event("system", end+2, shared, corr)
	r.event("system", start+6, shared, fields{"is_synthetic": true})
	want := []string{earlier, before, first, inside, both, last, behind, later}

	e, err := r.Events(r.ctx, r.reader(), "run-1", Paging{})
	r.must(err)
	wantIDs(t, "events", eventIDs(e.Events), want)
	if e.Total != int64(len(want)) || !e.TotalIsExact || e.HasMore || e.NextCursor != nil || e.RunID != "run-1" {
		t.Errorf("%+v", e)
	}
	if m := e.Metadata; m.OccurredAt != after(0) || *m.RunID != "run-1" || m.TenantID != "acme" {
		t.Errorf("metadata %+v", m)
	}
	for _, limit := range []int{1, 2, 3, 7} {
		var got []string
		for cursor := ""; ; {
			e, err := r.Events(r.ctx, r.privileged(), "run-1", Paging{Limit: limit, Cursor: cursor})
			r.must(err)
			got = append(got, eventIDs(e.Events)...)
			if e.Total != int64(len(want)) || len(e.Events) > limit {
				t.Errorf("total %d, page of %d", e.Total, len(e.Events))
			}
			if !e.HasMore {
				break
			}
			cursor = *e.NextCursor
			r.event("acme", start+8, corr)
			r.event("system", start+8, shared)
		}
		wantIDs(t, "pages", got, want)
		anew, err := r.Events(r.ctx, r.reader(), "run-1", Paging{Limit: 100})
		r.must(err)
		if len(anew.Events) < len(want)+2 { // at least one page was followed by another
			t.Errorf("%d events after %d", len(anew.Events), len(want))
		}
		want = eventIDs(anew.Events)
	}

	for _, run := range []string{"run-9", "run-2"} {
		if _, err := r.Events(r.ctx, readerOf("other"), run, Paging{}); !errors.Is(err, evidence.ErrNotFound) {
			t.Errorf("%s: %v", run, err)
		}
	}
	if _, err := r.Events(r.ctx, readerOf("other"), "run-1", Paging{}); !errors.Is(err, evidence.ErrNotFound) {
		t.Errorf("another tenant's run: %v", err)
	}
	if _, err := r.Events(r.ctx, r.reader(), "run-1", Paging{Cursor: "bm8"}); !isField(err, problem.ErrMalformed, "cursor") {
		t.Error(err)
	}
}

// The time of a run that goes on ends now, and stays so for its pages.
func TestEventsOfRunningRun(t *testing.T) {
	r := newRig(t)
	now := r.now()
	r.add("acme", r.native("trace_step", now-micros(time.Second), fields{
		"run_id": "run-1", "trace_id": "000000000000000000000000000000aa", "span_id": "00000000000000aa", "parent_span_id": "00000000000000bb",
		"skill_name": "look up", "step_kind": "tool", "status": "success",
	}))
	shared := fields{"visibility": "shared"}
	one := r.event("system", now-3, shared)
	two := r.event("system", now, shared)
	future := r.event("system", now+1, shared)
	e, err := r.Events(r.ctx, r.reader(), "run-1", Paging{Limit: 1})
	r.must(err)
	wantIDs(t, "first page", eventIDs(e.Events), []string{one})
	if e.Total != 2 || !e.HasMore {
		t.Errorf("%+v", e)
	}
	r.clock.add(time.Second)
	next, err := r.Events(r.ctx, r.reader(), "run-1", Paging{Limit: 1, Cursor: *e.NextCursor})
	r.must(err)
	wantIDs(t, "second page", eventIDs(next.Events), []string{two})
	if next.Total != 2 || next.HasMore {
		t.Errorf("%+v", next)
	}
	anew, err := r.Events(r.ctx, r.reader(), "run-1", Paging{})
	r.must(err)
	wantIDs(t, "a second later", eventIDs(anew.Events), []string{one, two, future})
}

func TestEventsOfNothing(t *testing.T) {
	r := newRig(t)
	r.endedRun("acme", "run-1", after(0), time.Second)
	e, err := r.Events(r.ctx, r.reader(), "run-1", Paging{})
	r.must(err)
	noNulls(t, e, "events")
	if e.Total != 0 || e.Metadata.OccurredAt != r.now() || e.Metadata.RecordedAt != r.now() {
		t.Errorf("%+v", e)
	}
}

// The system tenant's own runs: all its records of their time, shared or not.
func TestEventsOfSystemRun(t *testing.T) {
	r := newRig(t)
	r.endedRun("system", "run-1", after(time.Minute), time.Second, fields{"correlation_id": "req-1"})
	early := r.event("system", after(0), fields{"run_id": "run-1"})
	inside := r.event("system", after(time.Minute), fields{"correlation_id": "req-1"})
	other := r.event("system", after(time.Minute)+5)
	late := r.event("system", after(2*time.Minute), fields{"correlation_id": "req-1"})
	r.event("system", after(2*time.Minute))
	e, err := r.Events(r.ctx, readerOf("system"), "run-1", Paging{})
	r.must(err)
	wantIDs(t, "events", eventIDs(e.Events), []string{early, inside, other, late})
	if e.Total != 4 {
		t.Errorf("total %d", e.Total)
	}
}

func TestSnapshot(t *testing.T) {
	r := newRig(t)
	shared := fields{"visibility": "shared"}
	is := func(component, event, version string) fields {
		return fields{"component": component, "event_type": event, "version": version}
	}
	r.event("acme", after(0), is("worker", "STARTUP", "1"))
	worker := r.event("acme", after(time.Minute), is("worker", "DEPLOY", "2"), fields{"config_digest": "sha256:aa", "summary": "two is out"})
	r.event("acme", after(time.Minute+time.Second), is("worker", "RESTART", "2")) // not of a baseline
	r.event("acme", after(10*time.Minute)+1, is("worker", "DEPLOY", "3"))         // too late
	api := r.event("acme", after(time.Second), is("api", "CONFIG_CHANGE", "1"))
	r.event("acme", after(time.Second), is("scheduler", "HEALTH_CHECK", "1"))
	allAPI := r.event("system", after(10*time.Minute), is("api", "STARTUP", "0.4"), shared)
	r.event("system", after(time.Minute), is("db", "MIGRATION", "7"))
	db := r.event("system", after(time.Second), is("db", "MIGRATION", "6"), shared)
	r.event("other", after(time.Minute), is("worker", "DEPLOY", "9"))
	r.event("acme", after(2*time.Minute), is("worker", "DEPLOY", "4"), fields{"is_synthetic": true})
	r.endedRun("acme", "run-1", after(10*time.Minute), time.Minute)

	s, err := r.Snapshot(r.ctx, r.privileged(), "run-1")
	r.must(err)
	wantIDs(t, "baseline", eventIDs(s.Baseline), []string{api, allAPI, db, worker})
	if *s.Component != "api" || *s.EventType != "STARTUP" || *s.Severity != "INFO" || s.Summary.Text() != "something happened" {
		t.Errorf("newest: %+v", s)
	}
	text := "runledger/environment/v1\n" +
		"tenant\tapi\tCONFIG_CHANGE\t1\t\n" +
		"system\tapi\tSTARTUP\t0.4\t\n" +
		"system\tdb\tMIGRATION\t6\t\n" +
		"tenant\tworker\tDEPLOY\t2\tsha256:aa\n"
	sum := sha256.Sum256([]byte(text))
	if s.EnvironmentID != hex.EncodeToString(sum[:]) {
		t.Errorf("environment_id %s", s.EnvironmentID)
	}
	if m := s.Metadata; m.OccurredAt != after(time.Second) || *m.RunID != "run-1" || m.TenantID != "acme" {
		t.Errorf("metadata %+v", m)
	}

	// The reader makes no difference, nor does time; a deployment does.
	environment := func(rd Reader, run string) string {
		t.Helper()
		s, err := r.Snapshot(r.ctx, rd, run)
		r.must(err)
		return s.EnvironmentID
	}
	preflight := r.reader()
	preflight.IncludeSynthetic = true
	if environment(preflight, "run-1") != s.EnvironmentID || environment(r.reader(), "run-1") != s.EnvironmentID {
		t.Error("the environment depends on who looks")
	}
	r.event("acme", after(11*time.Minute), is("worker", "DEPLOY", "2"), fields{"config_digest": "sha256:aa"})
	r.endedRun("acme", "run-2", after(12*time.Minute), time.Minute)
	if environment(r.reader(), "run-2") != s.EnvironmentID {
		t.Error("the same deployment again is another environment")
	}
	r.event("acme", after(12*time.Minute+time.Second), is("worker", "DEPLOY", "3"), fields{"config_digest": "sha256:aa"})
	r.endedRun("acme", "run-3", after(13*time.Minute), time.Minute)
	if environment(r.reader(), "run-3") == s.EnvironmentID {
		t.Error("a deployment makes no difference")
	}
	if environment(r.reader(), "run-1") != s.EnvironmentID {
		t.Error("a later deployment changes an earlier run")
	}

	r.endedRun("acme", "made-up", after(13*time.Minute), time.Minute, fields{"is_synthetic": true})
	made, err := r.Snapshot(r.ctx, preflight, "made-up")
	r.must(err)
	if len(made.Baseline) != 1 || *made.Baseline[0].Version != "4" {
		t.Errorf("a synthetic run: %+v", made.Baseline)
	}
	if _, err := r.Snapshot(r.ctx, r.reader(), "made-up"); !errors.Is(err, evidence.ErrNotFound) {
		t.Errorf("a synthetic run that is hidden: %v", err)
	}
	if _, err := r.Snapshot(r.ctx, readerOf("other"), "run-1"); !errors.Is(err, evidence.ErrNotFound) {
		t.Errorf("another tenant's run: %v", err)
	}
}

func TestSnapshotOfNothing(t *testing.T) {
	r := newRig(t)
	r.endedRun("acme", "run-1", after(0), time.Second)
	s, err := r.Snapshot(r.ctx, r.reader(), "run-1")
	r.must(err)
	noNulls(t, s, "baseline")
	sum := sha256.Sum256([]byte("runledger/environment/v1\n"))
	if s.Component != nil || s.EventType != nil || s.Severity != nil || s.EnvironmentID != hex.EncodeToString(sum[:]) {
		t.Errorf("%+v", s)
	}
	if w := s.Summary; w.Value != nil || w.Withheld != nil && w.Withheld.Reason != answer.NotCaptured {
		t.Errorf("summary %+v", w)
	}
}
