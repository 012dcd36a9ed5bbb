package facade

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/runledger/runledger/answer"
	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/otlp"
)

func (r *rig) trace(rd Reader, run string, p Paging) *answer.RunTrace {
	r.t.Helper()
	tr, err := r.Trace(r.ctx, rd, run, p)
	r.must(err)
	return tr
}

func stepNames(tr *answer.RunTrace) string {
	var out []string
	for _, s := range tr.Steps {
		out = append(out, s.SkillName)
	}
	return strings.Join(out, " ")
}

// spanEvent is an event of a span of a run; of none where the span is 0.
func (r *rig) spanEvent(run, span int, at time.Duration, name string, more ...fields) *evidence.Record {
	f := fields{"run_id": traceID(run), "trace_id": traceID(run), "event_name": name}
	if span != 0 {
		f["span_id"] = spanID(span)
	}
	return r.native("trace_event", after(at), append([]fields{f}, more...)...)
}

func TestTrace(t *testing.T) {
	r := newRig(t)
	steps := r.simpleRun(1, 0)
	r.add("acme", r.native("trace", after(0), fields{
		"run_id": traceID(1), "trace_id": traceID(1), "seed": "42", "plan": fields{"goal": "x"}, "root_hash": "abc", "schema_version": "1.1",
		"frozen_timestamp": after(0).String(),
	}))
	// The order of arrival is not that of time.
	r.add("acme", steps[2], steps[1], steps[0])
	r.add("acme",
		r.spanEvent(1, 2, 200*time.Millisecond, "first", fields{"body": "text", "severity": "WARN"}),
		r.spanEvent(1, 2, 300*time.Millisecond, "second"),
		r.spanEvent(1, 0, 250*time.Millisecond, "loose"),
		r.spanEvent(1, 77, 250*time.Millisecond, "of an unknown span"),
	)
	r.settle()
	tr := r.trace(r.privileged(), traceID(1), Paging{})
	want(t, "steps", stepNames(tr), "step 1 step 2 step 3")
	want(t, "indexes", fmt.Sprint(tr.Steps[0].StepIndex, tr.Steps[1].StepIndex, tr.Steps[2].StepIndex), "2 1 0")
	want(t, "parents", said(tr.Steps[0].ParentStepIndex)+" "+said(tr.Steps[1].ParentStepIndex)+" "+said(tr.Steps[2].ParentStepIndex), "null 2 2")
	want(t, "total", tr.TotalSteps, 3)
	want(t, "duration", tr.TotalDurationMS, 900.0)
	want(t, "tokens", said(tr.TotalTokens), "120")
	want(t, "trace", said(tr.TraceID)+" "+said(tr.Seed)+" "+said(tr.SchemaVersion)+" "+said(tr.FrozenTimestamp), traceID(1)+" 42 1.1 "+after(0).String())
	want(t, "plan", string(tr.Plan.Value)+string(tr.RootHash.Value), `{"goal":"x"}"abc"`)
	s := tr.Steps[1]
	want(t, "kind", s.Kind+" "+s.Status+" "+s.OutcomeCategory+" "+s.ReplayBehavior, "llm success SUCCESS execute")
	want(t, "cost", said(s.CostCents)+" "+said(s.CostUSDNanos), "1.5 15000000")
	want(t, "no cost", said(tr.Steps[2].CostCents)+" "+said(tr.Steps[2].InputTokens), "null null")
	want(t, "duration of a step", s.DurationMS, 300.0)
	want(t, "params", string(s.Params.Value), `{"temperature":0}`)
	want(t, "events", len(s.Events), 2)
	want(t, "event", s.Events[0].EventName+" "+said(s.Events[0].Severity)+" "+s.Events[0].Body.Text(), "first WARN text")
	want(t, "no event", len(tr.Steps[0].Events), 0)
	want(t, "loose events", len(tr.Events), 2)
	want(t, "metadata", said(tr.Metadata.TraceID)+" "+said(tr.Metadata.RunID)+" "+tr.Metadata.OccurredAt.String(), traceID(1)+" "+traceID(1)+" "+after(0).String())
	want(t, "checksum", said(tr.Metadata.Checksum), "null")
	if tr.HasMore || tr.NextCursor != nil {
		t.Error("there is a next page")
	}

	closed := r.text(r.trace(r.reader(), traceID(1), Paging{}))
	for _, secret := range []string{"temperature", "what is due", "nothing", `"abc"`, "goal"} {
		if strings.Contains(closed, secret) {
			t.Errorf("answer has %q", secret)
		}
	}
	want(t, "withheld", strings.Contains(closed, `"reason":"not_permitted"`), true)
}

// TestTracePages: a page has the events of its steps and the parents of other
// pages; what comes while it is paged is not shown.
func TestTracePages(t *testing.T) {
	r := newRig(t)
	const n = 25
	var records []*evidence.Record
	for i := 1; i <= n; i++ {
		records = append(records, r.step(1, i, btoi(i > 1), "tool", time.Duration(i)*time.Second, time.Duration(i)*time.Second+1))
		records = append(records, r.spanEvent(1, i, time.Duration(i)*time.Second, fmt.Sprintf("event %d", i)))
	}
	r.add("acme", records...)
	late := make([]*evidence.Record, 200)
	for i := range late {
		late[i] = r.step(1, 1000+i, 1, "llm", time.Duration(i)*time.Second/8, time.Minute)
	}
	tr := r.trace(r.reader(), traceID(1), Paging{Limit: 4})
	var wg sync.WaitGroup
	wg.Go(func() {
		for _, rec := range late {
			if _, err := r.tryItems("acme", "test", []otlp.Item{{Record: rec}}); err != nil {
				t.Error(err)
			}
		}
	})
	defer wg.Wait()
	var names []string
	for page := 0; ; page++ {
		for _, s := range tr.Steps {
			names = append(names, s.SkillName)
			if len(s.Events) != 1 || s.Events[0].EventName != strings.Replace(s.SkillName, "step", "event", 1) {
				t.Errorf("%s has events %v", s.SkillName, s.Events)
			}
			if s.SkillName != "step 1" {
				want(t, "parent of "+s.SkillName, said(s.ParentStepIndex), "0")
			}
		}
		want(t, "loose", len(tr.Events), 0)
		if !tr.HasMore {
			break
		}
		tr = r.trace(r.reader(), traceID(1), Paging{Limit: 4, Cursor: *tr.NextCursor})
	}
	want(t, "steps", len(names), n)
	for i, name := range names {
		want(t, "order", name, fmt.Sprintf("step %d", i+1))
	}
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// TestTraceTies: steps of one moment stand as they came.
func TestTraceTies(t *testing.T) {
	r := newRig(t)
	r.add("acme", r.step(1, 3, 1, "tool", 0, time.Second), r.step(1, 1, 0, "agent", 0, time.Second), r.step(1, 2, 1, "tool", 0, time.Second))
	var got []string
	for p := (Paging{Limit: 1}); ; {
		tr := r.trace(r.reader(), traceID(1), p)
		got = append(got, stepNames(tr))
		if !tr.HasMore {
			break
		}
		p.Cursor = *tr.NextCursor
	}
	want(t, "steps", strings.Join(got, " "), "step 3 step 1 step 2")
}

// TestTraceConflict: what contradicts a step is shown beside it and flagged; it
// has no part in totals, events and parents.
func TestTraceConflict(t *testing.T) {
	r := newRig(t)
	r.add("acme", r.step(1, 1, 0, "agent", 0, time.Second), r.step(1, 2, 1, "tool", 100*time.Millisecond, time.Second))
	r.add("acme", r.step(1, 1, 0, "agent", 50*time.Millisecond, time.Hour, fields{"skill_name": "other"}))
	r.add("acme", r.spanEvent(1, 1, 0, "event"))
	r.settle()
	tr := r.trace(r.reader(), traceID(1), Paging{})
	want(t, "steps", stepNames(tr), "step 1 other step 2")
	want(t, "total", tr.TotalSteps, 2)
	want(t, "duration", tr.TotalDurationMS, 1000.0)
	if tr.Steps[0].ConflictOf != nil || tr.Steps[1].ConflictOf == nil {
		t.Errorf("conflict_of %v %v", tr.Steps[0].ConflictOf, tr.Steps[1].ConflictOf)
	}
	want(t, "events", fmt.Sprint(len(tr.Steps[0].Events), len(tr.Steps[1].Events)), "1 0")
	want(t, "parent", said(tr.Steps[2].ParentStepIndex), "0")
}

func TestTraceRunningAndLate(t *testing.T) {
	r := newRig(t)
	steps := r.simpleRun(1, 0)
	r.add("acme", steps[1:]...)
	for _, p := range []Paging{{}, {Limit: 1}} {
		tr := r.trace(r.reader(), traceID(1), p)
		want(t, "duration so far", tr.TotalDurationMS, 700.0)
		want(t, "tokens so far", said(tr.TotalTokens), "120")
		want(t, "parent that has not come", said(tr.Steps[0].ParentStepIndex), "null")
		want(t, "schema", said(tr.SchemaVersion), "null")
	}
	r.add("acme", steps[0])
	r.settle()
	r.add("acme", r.step(1, 4, 1, "tool", time.Second, 2*time.Second))
	tr := r.trace(r.reader(), traceID(1), Paging{})
	want(t, "late", fmt.Sprint(tr.Steps[2].Late, tr.Steps[3].Late), "false true")
	want(t, "steps", tr.TotalSteps, 4)
	want(t, "duration before the revision", tr.TotalDurationMS, 900.0)
	r.settle()
	want(t, "duration after it", r.trace(r.reader(), traceID(1), Paging{}).TotalDurationMS, 2000.0)
}

// TestTraceSeveral: steps of other traces of the run are its steps too.
func TestTraceSeveral(t *testing.T) {
	r := newRig(t)
	run := func(trace, id, parent int, at time.Duration) *evidence.Record {
		return r.step(trace, id, parent, "tool", at, at+time.Second, fields{"run_id": "job"})
	}
	for n := 1; n <= 2; n++ {
		r.add("acme", r.native("trace", after(0), fields{"run_id": "job", "trace_id": traceID(n), "seed": fmt.Sprint(n)}))
		r.add("acme", run(n, 1, 0, time.Duration(n)*time.Second), run(n, 2, 1, time.Duration(n)*time.Second))
	}
	r.settle()
	tr := r.trace(r.reader(), "job", Paging{})
	want(t, "steps", stepNames(tr), "step 1 step 2 step 1 step 2")
	want(t, "parents", said(tr.Steps[1].ParentStepIndex)+said(tr.Steps[3].ParentStepIndex), "02")
	want(t, "trace", said(tr.TraceID)+said(tr.Seed), traceID(1)+"1")
	want(t, "metadata", said(tr.Metadata.TraceID), traceID(1))
}

// TestTraceManyEvents: a page ends where its events take the room; all come.
func TestTraceManyEvents(t *testing.T) {
	r := newRig(t)
	var records []*evidence.Record
	for i := 1; i <= 4; i++ {
		at := time.Duration(i) * time.Second
		records = append(records, r.step(1, i, 0, "tool", at, at+time.Second))
		for range 400 {
			records = append(records, r.spanEvent(1, i, at, "tick"))
		}
	}
	r.add("acme", records...)
	r.settle()
	steps, events := 0, 0
	for p := (Paging{}); ; {
		tr := r.trace(r.reader(), traceID(1), p)
		steps += len(tr.Steps)
		for _, s := range tr.Steps {
			events += len(s.Events)
			want(t, "truncated", s.EventsTruncated, false)
		}
		if !tr.HasMore {
			break
		}
		p.Cursor = *tr.NextCursor
	}
	want(t, "steps and events", fmt.Sprint(steps, events), "4 1600")

	records = []*evidence.Record{r.step(2, 1, 0, "tool", 0, time.Second)}
	for range maxEvents + 1 {
		records = append(records, r.spanEvent(2, 1, 0, "tick"))
	}
	r.add("acme", records...)
	tr := r.trace(r.reader(), traceID(2), Paging{})
	want(t, "events of one step", len(tr.Steps[0].Events), maxEvents)
	want(t, "truncated", tr.Steps[0].EventsTruncated, true)
}
