package facade

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/runledger/runledger/answer"
	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/otlp"
)

func (r *rig) runs(rd Reader, q RunFilter, p Paging) *answer.RunList {
	r.t.Helper()
	l, err := r.Runs(r.ctx, rd, q, p)
	r.must(err)
	return l
}

// doneRun is a run that its producer has completed itself: one record.
func (r *rig) doneRun(run int, at time.Duration, more ...fields) *evidence.Record {
	f := fields{"run_id": traceID(run), "execution_status": "SUCCEEDED", "trace_id": traceID(run)}
	return r.native("llm_run", after(at), append([]fields{f}, more...)...)
}

// runNumbers are the runs of a list, in order.
func runNumbers(l *answer.RunList) string {
	var out []string
	for _, e := range l.Items {
		out = append(out, strings.TrimLeft(e.RunID, "0"))
	}
	return strings.Join(out, " ")
}

func TestRunFilters(t *testing.T) {
	r := newRig(t)
	r.add("acme",
		r.doneRun(1, 0, fields{"provider": "openai", "model": "gpt-5", "agent_id": "planner", "correlation_id": "c-1", "conversation_id": "talk 1"}),
		r.doneRun(2, time.Minute, fields{"provider": "anthropic", "model": "ein Modell für alles", "execution_status": "FAILED"}),
		r.doneRun(3, 2*time.Minute, fields{"execution_status": "ABORTED", "human_actor_id": "alice", "run_alias": "job-3"}),
	)
	r.add("other", r.doneRun(4, 0, fields{"provider": "openai", "run_alias": "job-4"}))
	at := func(d time.Duration) *evidence.Micros { m := after(d); return &m }
	for _, c := range []struct {
		name string
		q    RunFilter
		want string
	}{
		{"none", RunFilter{}, "3 2 1"},
		{"run_id", RunFilter{RunID: traceID(2)}, "2"},
		{"alias", RunFilter{RunID: "job-3"}, "3"},
		{"unknown run", RunFilter{RunID: "nobody's"}, ""},
		{"run of another", RunFilter{RunID: "job-4"}, ""},
		{"trace_id", RunFilter{TraceID: traceID(1)}, "1"},
		{"provider", RunFilter{Provider: "openai"}, "1"},
		{"model that is not fit to be public", RunFilter{Model: "ein Modell für alles"}, "2"},
		{"status", RunFilter{Status: "FAILED"}, "2"},
		{"outcome", RunFilter{Outcome: "terminated"}, "3"},
		{"agent", RunFilter{AgentID: "planner"}, "1"},
		{"human", RunFilter{HumanActorID: "alice"}, "3"},
		{"another human", RunFilter{HumanActorID: "bob"}, ""},
		{"correlation", RunFilter{CorrelationID: "c-1"}, "1"},
		{"conversation", RunFilter{ConversationID: "talk 1"}, "1"},
		{"two", RunFilter{Provider: "openai", Status: "FAILED"}, ""},
		{"from, included", RunFilter{Window: Window{After: at(time.Minute)}}, "3 2"},
		{"until, not included", RunFilter{Window: Window{Before: at(time.Minute)}}, "1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := r.runs(r.privileged(), c.q, Paging{})
			want(t, "runs", runNumbers(l), c.want)
			want(t, "total", l.Total, int64(len(l.Items)))
			want(t, "exact", l.TotalIsExact, true)
			want(t, "metadata", l.Metadata.TenantID, "acme")
			if l.Metadata.OccurredAt == 0 || l.FiltersApplied["occurred_after"] == nil || l.FiltersApplied["is_synthetic"] != false {
				t.Errorf("metadata %+v, filters %v", l.Metadata, l.FiltersApplied)
			}
			for _, e := range l.Items {
				want(t, "revisions of an item", len(e.Revisions), 1)
			}
		})
	}
	for name, c := range map[string]struct {
		q    RunFilter
		p    Paging
		want error
	}{
		"a sealed value without permission": {RunFilter{HumanActorID: "alice"}, Paging{}, evidence.ErrForbidden},
		"an unknown status":                 {RunFilter{Status: "DONE"}, Paging{}, evidence.ErrInvalid},
		"too many":                          {RunFilter{}, Paging{Limit: 101}, evidence.ErrInvalid},
		"too wide":                          {RunFilter{Window: Window{After: at(-8 * 24 * time.Hour)}}, Paging{}, evidence.ErrInvalid},
		"too wide, of open runs":            {RunFilter{Status: "RUNNING", Window: Window{After: at(-8 * 24 * time.Hour)}}, Paging{}, evidence.ErrInvalid},
	} {
		if _, err := r.Runs(r.ctx, r.reader(), c.q, c.p); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if e := r.runs(readerOf("empty"), RunFilter{}, Paging{}); e.Items == nil || len(e.Items) != 0 || e.Metadata.OccurredAt != r.now() {
		t.Errorf("empty tenant: %+v", e)
	}
}

// TestRunsNewestRevisionOnly: a run is found by what its newest revision says.
func TestRunsNewestRevisionOnly(t *testing.T) {
	r := newRig(t)
	r.add("acme", r.doneRun(1, 0, fields{"revision": 1, "execution_status": "FAILED"}))
	r.add("acme", r.doneRun(1, 0, fields{"revision": 2}))
	want(t, "failed", runNumbers(r.runs(r.reader(), RunFilter{Status: "FAILED"}, Paging{})), "")
	want(t, "succeeded", runNumbers(r.runs(r.reader(), RunFilter{Status: "SUCCEEDED"}, Paging{})), "1")
}

// TestRunsQueries: a page costs the same number of questions however many runs
// it has.
func TestRunsQueries(t *testing.T) {
	r := newRig(t)
	for n := range 60 {
		r.add("acme", r.doneRun(n+1, 0))
	}
	r.asked.take()
	l := r.runs(r.reader(), RunFilter{}, Paging{})
	want(t, "runs", len(l.Items), 50)
	asked := slices.Sorted(slices.Values(r.asked.take())) // counting goes beside
	if d := cmp.Diff([]string{"count llm_run", "fetch", "find llm_run"}, asked); d != "" {
		t.Error(d)
	}
}

// TestRunsPagingUnderWrites reads all pages while runs end and get revisions:
// what was there when the first page was read is shown once, in the newest
// revision of that time.
func TestRunsPagingUnderWrites(t *testing.T) {
	r := newRig(t)
	const before = 40
	for n := range before {
		r.add("acme", r.doneRun(n+1, time.Duration(n)*time.Second, fields{"revision": 1}))
	}
	first := r.runs(r.reader(), RunFilter{}, Paging{Limit: 7})
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for w := range 2 {
		records := make([]*evidence.Record, 300)
		for i := range records {
			n := 1000*(w+1) + i
			more := fields{}
			if w == 1 && i < before { // new revisions of runs of pages to come
				n, more = i+1, fields{"revision": 2, "execution_status": "FAILED"}
			}
			records[i] = r.doneRun(n, time.Duration(i)*time.Second, more)
		}
		wg.Go(func() {
			for _, rec := range records {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := r.tryItems("acme", "test", []otlp.Item{{Record: rec}}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	defer wg.Wait()
	defer close(stop)
	seen := map[string]bool{}
	for l := first; ; {
		for _, e := range l.Items {
			if seen[e.RunID] {
				t.Errorf("%s is there twice", e.RunID)
			}
			seen[e.RunID] = true
			want(t, "revision", e.Revision, 1)
		}
		want(t, "total", l.Total, before)
		want(t, "more", l.HasMore, l.NextCursor != nil)
		if !l.HasMore {
			break
		}
		l = r.runs(r.reader(), RunFilter{}, Paging{Limit: 7, Cursor: *l.NextCursor})
	}
	want(t, "runs", len(seen), before)
}

func TestRunsCursor(t *testing.T) {
	r := newRig(t)
	for n := range 3 {
		r.add("acme", r.doneRun(n+1, 0))
	}
	l := r.runs(r.reader(), RunFilter{}, Paging{Limit: 2})
	for name, p := range map[string]struct {
		q RunFilter
		p Paging
	}{
		"another filter": {RunFilter{Provider: "openai"}, Paging{Cursor: *l.NextCursor}},
		"no cursor":      {RunFilter{}, Paging{Cursor: "nonsense"}},
		"a long one":     {RunFilter{}, Paging{Cursor: strings.Repeat("A", 5000)}},
		"of open runs":   {RunFilter{Status: "RUNNING"}, Paging{Cursor: *l.NextCursor}},
	} {
		var fe *evidence.FieldError
		if _, err := r.Runs(r.ctx, r.reader(), p.q, p.p); !errors.As(err, &fe) || fe.Field != "cursor" {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A cursor of another tenant shows the reader's own runs.
	want(t, "foreign", runNumbers(r.runs(readerOf("other"), RunFilter{}, Paging{Cursor: *l.NextCursor})), "")
}

func TestOpenRuns(t *testing.T) {
	r := newRig(t)
	for n := 1; n <= 5; n++ {
		more := fields{"agent_id": fmt.Sprintf("agent-%d", n%2)}
		if n == 4 {
			more["is_synthetic"] = true
		}
		if n == 2 {
			more["human_actor_id"], more["correlation_id"] = "alice", "Auftrag für Anna"
		}
		r.add("acme", r.simpleRun(n, time.Duration(n)*time.Minute, more)[1:]...)
	}
	r.add("acme", r.doneRun(6, 0))
	r.add("other", r.simpleRun(7, 0)[1:]...)
	list := func(q RunFilter) string {
		q.Status = "RUNNING"
		return runNumbers(r.runs(r.privileged(), q, Paging{}))
	}
	want(t, "all", list(RunFilter{}), "5 3 2 1")
	want(t, "agent", list(RunFilter{AgentID: "agent-1"}), "5 3 1")
	want(t, "human", list(RunFilter{HumanActorID: "alice"}), "2")
	want(t, "correlation", list(RunFilter{CorrelationID: "Auftrag für Anna"}), "2")
	want(t, "run", list(RunFilter{RunID: traceID(3)}), "3")
	want(t, "outcome", list(RunFilter{Outcome: "success"}), "")
	from := after(2*time.Minute + 100*time.Millisecond) // when the second began
	want(t, "window", list(RunFilter{Window: Window{After: &from}}), "5 3 2")
	want(t, "ended", runNumbers(r.runs(r.reader(), RunFilter{}, Paging{})), "6")
	l := r.runs(r.reader(), RunFilter{Status: "RUNNING"}, Paging{})
	want(t, "status", l.Items[0].Status, "RUNNING")
	want(t, "total", l.Total, 4)
	want(t, "exact", l.TotalIsExact, true)
	if strings.Contains(r.text(l), "Anna") || strings.Contains(r.text(l), "alice") {
		t.Error("names that are not public:", r.text(l))
	}

	var got []string
	p := Paging{Limit: 3}
	for {
		l := r.runs(r.reader(), RunFilter{Status: "RUNNING"}, p)
		got = append(got, runNumbers(l))
		if !l.HasMore {
			break
		}
		want(t, "exact", l.TotalIsExact, false)
		p.Cursor = *l.NextCursor
	}
	want(t, "pages", strings.Join(got, " | "), "5 3 2 | 1")
	r.settle()
	want(t, "after the end", list(RunFilter{}), "")
}

// TestErasedNames: a name that was not fit to be public is found no more where it is erased, although what stands in its
// place stays: nobody can ask whether it was that.
func TestErasedNames(t *testing.T) {
	r := newRig(t)
	const conversation, agent = "Ada Müller, geboren 1990", "Ärztin Müller"
	for n, person := range []string{1: "ada", 2: "bob"} {
		if person != "" {
			r.add("acme", r.doneRun(n, 0, fields{"subject": person, "conversation_id": conversation, "agent_id": agent}))
		}
	}
	list := func(q RunFilter) string { return runNumbers(r.runs(r.privileged(), q, Paging{})) }
	for _, step := range []struct{ person, left string }{{"", "2 1"}, {"ada", "2"}, {"bob", ""}} {
		if step.person != "" {
			if _, err := r.ledger.Erase(r.ctx, "acme", ledger.Erasure{Person: step.person, Reason: "asked"}); err != nil {
				t.Fatal(err)
			}
		}
		want(t, "conversation", list(RunFilter{ConversationID: conversation}), step.left)
		want(t, "agent", list(RunFilter{AgentID: agent}), step.left)
	}
}
