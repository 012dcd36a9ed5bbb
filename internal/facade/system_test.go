package facade

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/runledger/runledger/answer"
	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/problem"
)

// event makes a system record and returns its id.
func (r *rig) event(tenant string, at evidence.Micros, more ...fields) string {
	r.t.Helper()
	usual := fields{"component": "worker", "event_type": "RESTART", "caused_by": "SYSTEM"}
	rec := r.native("system", at, append([]fields{usual}, more...)...)
	r.add(tenant, rec)
	return rec.ID.String()
}

// endedRun makes a run that took d.
func (r *rig) endedRun(tenant, run string, start evidence.Micros, d time.Duration, more ...fields) {
	r.t.Helper()
	usual := fields{"run_id": run, "execution_status": "SUCCEEDED", "completed_at": (start + micros(d)).String()}
	r.add(tenant, r.native("llm_run", start, append([]fields{usual}, more...)...))
}

func eventIDs(events []answer.SystemEvent) []string {
	ids := []string{}
	for _, e := range events {
		if e.EventType != "LOG_OPENED" {
			ids = append(ids, e.ID)
		}
	}
	return ids
}

func wantIDs(t testing.TB, what string, got, want []string) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func isField(err error, sentinel error, field string) bool {
	var fe *evidence.FieldError
	return errors.Is(err, sentinel) && errors.As(err, &fe) && fe.Field == field
}

// noNulls checks that no list of an answer is null.
func noNulls(t testing.TB, v any, lists ...string) {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var obj map[string]json.RawMessage
	if err := json.Unmarshal(b, &obj); err != nil {
		t.Fatal(err)
	}
	for _, list := range lists {
		if len(obj[list]) == 0 || obj[list][0] != '[' {
			t.Errorf("%s is %s", list, obj[list])
		}
	}
	var meta map[string]any
	if err := json.Unmarshal(obj["metadata"], &meta); err != nil || meta["immutable"] != true || meta["tenant_id"] == "" {
		t.Errorf("metadata %s: %v", obj["metadata"], err)
	}
}

func TestSystemList(t *testing.T) {
	r := newRig(t)
	shared := fields{"visibility": "shared"}
	own1 := r.event("acme", after(time.Minute))
	all1 := r.event("system", after(time.Minute), shared)
	hidden := r.event("system", after(2*time.Minute))
	r.clock.add(time.Second)
	all2 := r.event("system", after(time.Hour), shared)
	r.clock.add(time.Second)
	own2 := r.event("acme", after(3*time.Minute), fields{"summary": "restarted by hand", "details": fields{"why": "memory"}})
	foreign := r.event("other", after(3*time.Minute))

	l, err := r.System(r.ctx, r.reader(), SystemFilter{}, Paging{})
	r.must(err)
	wantIDs(t, "acme", eventIDs(l.Items), []string{own2, all2, own1, all1})
	if l.Total != 5 || !l.TotalIsExact || l.HasMore || l.NextCursor != nil { // with LOG_OPENED
		t.Errorf("%+v", l.Page)
	}
	if l.FiltersApplied["occurred_after"] == nil || l.FiltersApplied["is_synthetic"] != false {
		t.Errorf("filters applied: %v", l.FiltersApplied)
	}
	first, second := l.Items[0], l.Items[1]
	if first.Metadata.TenantID != "acme" || second.Metadata.TenantID != "system" || second.Visibility != "shared" {
		t.Errorf("%+v", l.Items[:2])
	}
	if w := first.Summary.Withheld; w == nil || w.Reason != answer.NotPermitted || w.Commitment == nil {
		t.Errorf("summary without permission: %+v", first.Summary)
	}
	if w := second.Details.Withheld; w == nil || w.Reason != answer.NotCaptured {
		t.Errorf("details that are not there: %+v", second.Details)
	}
	if m := l.Metadata; m.OccurredAt != after(time.Minute) || m.RecordedAt != evidence.MicrosOf(r.clock.Now()) || m.TenantID != "acme" || m.Checksum != nil {
		t.Errorf("metadata %+v", m)
	}

	l, err = r.System(r.ctx, r.privileged(), SystemFilter{}, Paging{})
	r.must(err)
	wantIDs(t, "with content", eventIDs(l.Items), []string{own2, all2, own1, all1})
	if got := l.Items[0]; got.Summary.Text() != "restarted by hand" || string(got.Details.Value) != `{"why":"memory"}` {
		t.Errorf("content: %+v", got)
	}
	if got := l.Items[1]; got.Summary.Text() != "something happened" || *got.Metadata.Checksum == "" || *got.Metadata.LeafIndex != got.LeafIndex {
		t.Errorf("shared: %+v", got)
	}

	l, err = r.System(r.ctx, readerOf("system"), SystemFilter{}, Paging{})
	r.must(err)
	wantIDs(t, "the platform", eventIDs(l.Items), []string{all2, hidden, all1})

	l, err = r.System(r.ctx, readerOf("other"), SystemFilter{}, Paging{})
	r.must(err)
	wantIDs(t, "another tenant", eventIDs(l.Items), []string{foreign, all2, all1})

	nothing, err := r.System(r.ctx, readerOf("empty"), SystemFilter{Component: "nothing"}, Paging{})
	r.must(err)
	noNulls(t, nothing, "items")
	if m := nothing.Metadata; m.OccurredAt != r.now() || m.RecordedAt != r.now() || nothing.Total != 0 || !nothing.TotalIsExact {
		t.Errorf("%+v", nothing)
	}
}

func TestSystemFilters(t *testing.T) {
	r := newRig(t)
	a := r.event("acme", after(0), fields{"component": "db", "severity": "CRITICAL", "caused_by": "HUMAN", "correlation_id": "req-1"})
	b := r.event("acme", after(time.Second), fields{"event_type": "DEPLOY", "component": "größer", "severity": "WARN"})
	c := r.event("system", after(2*time.Second), fields{"component": "größer", "visibility": "shared", "caused_by": "AUTOMATION"})
	d := r.event("acme", after(3*time.Second), fields{"is_synthetic": true})
	at := func(d time.Duration) *evidence.Micros { m := after(d); return &m }
	for _, tt := range []struct {
		name string
		q    SystemFilter
		want []string
	}{
		{"component", SystemFilter{Component: "db"}, []string{a}},
		{"component that is not fit, in both logs", SystemFilter{Component: "größer"}, []string{b, c}},
		{"event_type", SystemFilter{EventType: "DEPLOY"}, []string{b}},
		{"severity", SystemFilter{Severity: "CRITICAL"}, []string{a}},
		{"caused_by", SystemFilter{CausedBy: "AUTOMATION"}, []string{c}},
		{"correlation_id", SystemFilter{CorrelationID: "req-1"}, []string{a}},
		{"two", SystemFilter{Component: "größer", Severity: "WARN"}, []string{b}},
		{"from, included", SystemFilter{Window: Window{After: at(time.Second)}}, []string{b, c}},
		{"until, excluded", SystemFilter{Window: Window{After: at(0), Before: at(2 * time.Second)}}, []string{b, a}},
		{"a microsecond later", SystemFilter{Window: Window{After: at(time.Microsecond), Before: at(2*time.Second + time.Microsecond)}}, []string{b, c}},
		{"unknown", SystemFilter{EventType: "NEVER"}, []string{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.q.After == nil {
				tt.q.After = at(0) // without LOG_OPENED, which is of today
			}
			l, err := r.System(r.ctx, r.reader(), tt.q, Paging{})
			r.must(err)
			wantIDs(t, "found", eventIDs(l.Items), tt.want)
		})
	}

	yes := true
	_, err := r.System(r.ctx, r.reader(), SystemFilter{IsSynthetic: &yes}, Paging{})
	if !isField(err, evidence.ErrForbidden, "is_synthetic") {
		t.Error(err)
	}
	observer := r.reader()
	observer.SyntheticOnly = true
	l, err := r.System(r.ctx, observer, SystemFilter{}, Paging{})
	r.must(err)
	wantIDs(t, "an observer", eventIDs(l.Items), []string{d})

	for _, tt := range []struct {
		field string
		err   error
		q     SystemFilter
		p     Paging
	}{
		{"severity", evidence.ErrInvalid, SystemFilter{Severity: "BAD"}, Paging{}},
		{"caused_by", evidence.ErrInvalid, SystemFilter{CausedBy: "me"}, Paging{}},
		{"occurred_before", evidence.ErrInvalid, SystemFilter{Window: Window{After: at(1), Before: at(1)}}, Paging{}},
		{"occurred_after", evidence.ErrInvalid, SystemFilter{Window: Window{After: at(-7 * 24 * time.Hour)}}, Paging{}},
		{"limit", evidence.ErrInvalid, SystemFilter{}, Paging{Limit: 101}},
		{"cursor", problem.ErrMalformed, SystemFilter{}, Paging{Cursor: "x"}},
	} {
		if _, err := r.System(r.ctx, r.reader(), tt.q, tt.p); !isField(err, tt.err, tt.field) {
			t.Errorf("%s: %v", tt.field, err)
		}
	}
}

// Pages of two logs, while both grow: what was there at first comes once, in
// order, and nothing else.
func TestSystemPages(t *testing.T) {
	for _, moving := range []bool{false, true} {
		t.Run(fmt.Sprintf("clock moves %v", moving), func(t *testing.T) {
			r := newRig(t)
			for i := range 30 {
				if moving && i%3 == 0 {
					r.clock.add(time.Millisecond)
				}
				r.event("acme", after(time.Duration(i)))
				if i%2 == 0 {
					r.event("system", after(time.Duration(i)), fields{"visibility": "shared"})
				}
				r.event("system", after(time.Duration(i)))
			}
			var stop sync.WaitGroup
			done := make(chan struct{})
			page, cursor := 9, "" // the last page has one event, of the own log
			whole, err := r.System(r.ctx, r.reader(), SystemFilter{}, Paging{Limit: 100})
			r.must(err)
			var pages []answer.SystemEvent
			for {
				l, err := r.System(r.ctx, r.privileged(), SystemFilter{}, Paging{Limit: page, Cursor: cursor})
				r.must(err)
				if cursor == "" {
					stop.Go(func() { r.writeUntil(done, moving) })
					r.event("system", after(0), fields{"visibility": "shared"})
					r.event("acme", after(0))
				}
				pages = append(pages, l.Items...)
				if l.Total != whole.Total || len(l.Items) > page || l.HasMore != (l.NextCursor != nil) || l.HasMore != (int64(len(pages)) < l.Total) {
					t.Errorf("page of %d: %+v", len(l.Items), l.Page)
				}
				if !l.HasMore {
					break
				}
				cursor = *l.NextCursor
				r.clock.add(time.Second)
			}
			close(done)
			stop.Wait()
			wantIDs(t, "pages", eventIDs(pages), eventIDs(whole.Items))
			if len(pages) != 46 || !slices.IsSortedFunc(pages, func(a, b answer.SystemEvent) int { return int(b.CreatedAt - a.CreatedAt) }) {
				t.Errorf("%d events, or not by recorded_at", len(pages))
			}
			if _, err := r.System(r.ctx, r.reader(), SystemFilter{Component: "worker"}, Paging{Cursor: cursor}); !isField(err, problem.ErrMalformed, "cursor") {
				t.Errorf("cursor of another query: %v", err)
			}
		})
	}
}

// writeUntil adds shared records to both logs until done. It fails no test by
// itself.
func (r *rig) writeUntil(done <-chan struct{}, moving bool) {
	for i := 0; ; i++ {
		select {
		case <-done:
			return
		default:
		}
		for n, tenant := range []string{"acme", "system"} {
			rec := &evidence.Record{Kind: evidence.KindSystem, ID: ledger.NewID(r.now()), OccurredAt: after(time.Duration(i))}
			for k, v := range map[string]string{
				"source_domain": "SYSTEM", "source_component": "test", "component": "writer", "event_type": "ERROR",
				"severity": "WARN", "visibility": "shared",
			} {
				rec.SetText(k, v)
			}
			rec.SetSealed("/summary", []byte(`"late"`))
			err := rec.Complete()
			if err == nil {
				_, err = r.ledger.Append(r.ctx, tenant, []*evidence.Record{rec}, ledger.AppendOptions{Producer: "writer"})
			}
			if err != nil {
				r.t.Errorf("writer %d of %s: %v", n, tenant, err)
				return
			}
		}
		if moving {
			r.clock.add(time.Microsecond)
		}
	}
}

func TestSystemErased(t *testing.T) {
	r := newRig(t)
	rec := r.native("system", after(0), fields{"component": "worker", "event_type": "RESTART", "subject": "patient 7"})
	r.add("acme", rec)
	_, err := r.ledger.Erase(r.ctx, "acme", ledger.Erasure{Person: "patient 7", Reason: "asked", By: "cli:root"})
	r.must(err)
	from := after(0)
	l, err := r.System(r.ctx, r.privileged(), SystemFilter{Component: "worker", Window: Window{After: &from}}, Paging{})
	r.must(err)
	if len(l.Items) != 1 || l.Items[0].Summary.Withheld == nil || l.Items[0].Summary.Withheld.Reason != answer.Erased {
		t.Errorf("%+v", l.Items)
	}
}

func TestSystemAuditResponsibility(t *testing.T) {
	r := newRig(t)
	shared := fields{"visibility": "shared"}
	r.event("acme", after(0), fields{"severity": "WARN"})
	r.event("acme", after(2*time.Second))
	r.event("system", after(time.Second), shared, fields{"severity": "CRITICAL"})
	r.event("system", after(time.Second), fields{"severity": "CRITICAL", "component": "secret"})
	r.event("acme", after(5*time.Second), fields{"component": "größer", "caused_by": nil, "severity": "CRITICAL"})
	r.event("acme", after(6*time.Second), fields{"caused_by": "HUMAN"})
	from := after(0)
	q := SystemFilter{Window: Window{After: &from}}

	a, err := r.SystemAudit(r.ctx, r.privileged(), q, Paging{Limit: 2})
	r.must(err)
	by := func(s string) *string { return &s }
	want := []answer.Responsibility{
		{CausedBy: by("SYSTEM"), Component: "worker", Count: 3, WorstSeverity: "CRITICAL", First: after(0), Last: after(2 * time.Second)},
		{CausedBy: nil, Component: "größer", Count: 1, WorstSeverity: "CRITICAL", First: after(5 * time.Second), Last: after(5 * time.Second)},
		{CausedBy: by("HUMAN"), Component: "worker", Count: 1, WorstSeverity: "INFO", First: after(6 * time.Second), Last: after(6 * time.Second)},
	}
	if diff := cmp.Diff(want, withoutLedger(a.Responsibility)); diff != "" {
		t.Errorf("responsibility (-want +got):\n%s", diff)
	}
	if len(a.Entries) != 2 || !a.HasMore || a.Total != 6 || a.FiltersApplied["responsibility_over"] != 6 { // with LOG_OPENED
		t.Errorf("%d entries, total %d, %v", len(a.Entries), a.Total, a.FiltersApplied)
	}
	r.event("acme", after(9*time.Second))
	next, err := r.SystemAudit(r.ctx, r.reader(), q, Paging{Limit: 2, Cursor: *a.NextCursor})
	r.must(err)
	if got := withoutLedger(next.Responsibility); len(next.Entries) != 2 || len(got) != 3 || got[0].Count != 3 || !evidence.IsReplacement(got[1].Component) {
		t.Errorf("second page: %+v", next)
	}

	one, err := r.SystemAudit(r.ctx, r.reader(), SystemFilter{CausedBy: "HUMAN", Window: q.Window}, Paging{})
	r.must(err)
	if len(one.Responsibility) != 1 || len(one.Entries) != 1 {
		t.Errorf("filtered: %+v", one)
	}
	none, err := r.SystemAudit(r.ctx, readerOf("empty"), SystemFilter{Component: "none"}, Paging{})
	r.must(err)
	noNulls(t, none, "entries", "responsibility")
}

// withoutLedger leaves out what the ledger says of itself.
func withoutLedger(list []answer.Responsibility) []answer.Responsibility {
	return slices.DeleteFunc(slices.Clone(list), func(r answer.Responsibility) bool { return r.Component == "ledger" })
}

// A scan in several chunks is the whole list, in order.
func TestSystemAuditScan(t *testing.T) {
	r := newRig(t)
	var own, shared []*evidence.Record
	for i := range scanChunk + 40 {
		own = append(own, r.native("system", after(time.Duration(i)), fields{"component": "a", "event_type": "E"}))
		shared = append(shared, r.native("system", after(time.Duration(i)), fields{"component": "b", "event_type": "E", "visibility": "shared"}))
	}
	r.add("acme", own...)
	r.add("system", shared...)
	a, err := r.SystemAudit(r.ctx, r.reader(), SystemFilter{EventType: "E"}, Paging{Limit: 1})
	r.must(err)
	n := int64(scanChunk + 40)
	if len(a.Responsibility) != 2 || a.Responsibility[0].Count != n || a.Responsibility[1].Count != n || a.Total != 2*n ||
		a.FiltersApplied["responsibility_over"] != int(2*n) {
		t.Errorf("%+v, %v", a.Responsibility, a.FiltersApplied)
	}
	m, err := r.systemMerge(r.ctx, r.reader(), SystemFilter{EventType: "E"}, Paging{})
	r.must(err)
	for _, limit := range []int{1, scanChunk + 1, 700} {
		group := tally{groups: map[tallyKey]*tallyGroup{}}
		over, err := m.scan(r.ctx, limit, group.add)
		r.must(err)
		if over != limit {
			t.Errorf("scanned %d of at most %d", over, limit)
		}
	}
}
