package replay

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/runledger/runledger/answer"
	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/facade"
	"github.com/runledger/runledger/internal/problem"
)

func mismatchID(i int) string { return fmt.Sprintf("0192f0c0-0000-7000-8000-%012x", i) }

func (r *rig) report(q *MismatchRequest) *answer.Mismatch {
	r.t.Helper()
	m, err := r.ReportMismatch(r.ctx, r.writer("acme"), q)
	r.must(err)
	return m
}

// TestMismatch is the life of one.
func TestMismatch(t *testing.T) {
	r := newRig(t)
	r.store("acme", r.sample("run-1"))
	before, err := r.ByRun(r.ctx, r.reader("acme"), "run-1", facade.Paging{})
	r.must(err)

	three := int64(3)
	q := MismatchRequest{
		ID: mismatchID(1), RunID: "run-1", OtherRunID: "run-2", StepIndex: &three, Field: "output_hash", Reason: "another hash",
		Expected: json.RawMessage(`{ "a" : 1.0 }`), Found: json.RawMessage(`null`), AgentID: "verifier",
	}
	m := r.report(&q)
	field, other, by := "output_hash", "run-2", "verifier"
	want := &answer.Mismatch{
		ID: q.ID, RunID: "run-1", OtherRunID: &other, StepIndex: &three, Field: &field, Status: "open",
		Reason: answer.Shown([]byte(`"another hash"`)), Expected: answer.Shown([]byte(`{ "a" : 1.0 }`)), Found: answer.Shown([]byte(`null`)),
		ReportedAt: m.ReportedAt, ReportedBy: &by, Metadata: m.Metadata,
	}
	if diff := cmp.Diff(want, m); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if m.Metadata.TenantID != r.tenant("acme") || *m.Metadata.RunID != "run-1" || *m.Metadata.AgentID != "verifier" || m.Metadata.SourceDomain != "LOGS" {
		t.Errorf("metadata %+v", m.Metadata)
	}
	if again := r.report(&q); again.ReportedAt != m.ReportedAt || cmp.Diff(m, again) != "" {
		t.Errorf("a retry gives %+v", again)
	}
	contrary := q
	contrary.Reason = "another reason"
	_, err = r.ReportMismatch(r.ctx, r.writer("acme"), &contrary)
	wantError(t, err, evidence.ErrConflict, "")

	// Without content everything sealed is withheld.
	hidden, err := r.Mismatch(r.ctx, r.plain("acme"), q.ID)
	r.must(err)
	for _, c := range []answer.Content{hidden.Reason, hidden.Expected, hidden.Found} {
		if c.Withheld == nil || c.Withheld.Reason != answer.NotPermitted || c.Withheld.Commitment == nil {
			t.Errorf("shown without permission: %+v", c)
		}
	}
	if hidden.StepIndex != nil || hidden.OtherRunID != nil || hidden.Field != nil || hidden.RunID != "run-1" {
		t.Errorf("%+v", hidden)
	}

	person := r.writer("acme")
	person.MaxRows, person.MaxRange = 0, 0 // a rule for writing says nothing of reading
	person.Person, person.Credential = true, "anna"
	done, err := r.ResolveMismatch(r.ctx, person, q.ID, &ResolutionRequest{Resolution: "a new model"})
	r.must(err)
	if done.Status != "resolved" || done.Resolution.Text() != "a new model" || *done.ResolvedBy != "anna" || *done.ReportedBy != "verifier" ||
		*done.ResolvedAt < done.ReportedAt || done.Metadata.RecordedAt <= m.Metadata.RecordedAt {
		t.Errorf("resolved %+v", done)
	}
	_, err = r.ResolveMismatch(r.ctx, r.writer("acme"), q.ID, &ResolutionRequest{Resolution: "again"})
	wantError(t, err, evidence.ErrConflict, "")

	// Nothing of this changed the run, but is counted of it.
	after, err := r.ByRun(r.ctx, r.reader("acme"), "run-1", facade.Paging{})
	r.must(err)
	if after.MismatchesReported != 1 || after.MismatchesResolved != 1 {
		t.Errorf("counts %d and %d", after.MismatchesReported, after.MismatchesResolved)
	}
	state, err := r.ledger.RunState(r.ctx, r.tenant("acme"), "run-1")
	r.must(err)
	if diff := cmp.Diff(before.Trace, after.Trace); diff != "" || state.NextN > 7 { // six records, and its end
		t.Errorf("the run has %d records, and changed: %s", state.NextN, diff)
	}
}

func TestMismatchRefuses(t *testing.T) {
	r := newRig(t)
	r.store("acme", r.sample("run-1"))
	r.store("other", r.sample("run-2"))
	negative := int64(-1)
	for _, tc := range []struct {
		name, field string
		sentinel    error
		q           MismatchRequest
	}{
		{"no run", "run_id", evidence.ErrInvalid, MismatchRequest{Reason: "r"}},
		{"no reason", "reason", evidence.ErrInvalid, MismatchRequest{RunID: "run-1"}},
		{"long reason", "reason", evidence.ErrInvalid, MismatchRequest{RunID: "run-1", Reason: strings.Repeat("x", maxReason+1)}},
		{"long field", "field", evidence.ErrInvalid, MismatchRequest{RunID: "run-1", Reason: "r", Field: strings.Repeat("x", maxField+1)}},
		{"long run", "other_run_id", evidence.ErrInvalid, MismatchRequest{RunID: "run-1", Reason: "r", OtherRunID: strings.Repeat("x", evidence.MaxRun+1)}},
		{"step", "step_index", evidence.ErrInvalid, MismatchRequest{RunID: "run-1", Reason: "r", StepIndex: &negative}},
		{"time", "occurred_at", evidence.ErrInvalid, MismatchRequest{RunID: "run-1", Reason: "r", OccurredAt: "now"}},
		{"id", "id", evidence.ErrInvalid, MismatchRequest{RunID: "run-1", Reason: "r", ID: "1", OccurredAt: r.start.String()}},
		{"natural id", "id", evidence.ErrInvalid, MismatchRequest{RunID: "run-1", Reason: "r", ID: "0192f0c0-0000-8000-8000-000000000001"}},
		{"expected", "expected", evidence.ErrInvalid, MismatchRequest{RunID: "run-1", Reason: "r", Expected: json.RawMessage(`{"a":1,"a":2}`)}},
		{"unknown run", "", evidence.ErrNotFound, MismatchRequest{RunID: "nothing", Reason: "r"}},
		{"foreign run", "", evidence.ErrNotFound, MismatchRequest{RunID: "run-2", Reason: "r"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := r.ReportMismatch(r.ctx, r.writer("acme"), &tc.q)
			wantError(t, err, tc.sentinel, tc.field)
		})
	}
	m := r.report(&MismatchRequest{RunID: "run-1", Reason: "r"})
	for _, tc := range []struct {
		name, id, field string
		writer          Writer
		sentinel        error
		q               ResolutionRequest
	}{
		{"unknown", mismatchID(9), "", r.writer("acme"), evidence.ErrNotFound, ResolutionRequest{Resolution: "r"}},
		{"foreign", m.ID, "", r.writer("other"), evidence.ErrNotFound, ResolutionRequest{Resolution: "r"}},
		{"no id", "x", "id", r.writer("acme"), problem.ErrMalformed, ResolutionRequest{Resolution: "r"}},
		{"nothing said", m.ID, "resolution", r.writer("acme"), evidence.ErrInvalid, ResolutionRequest{}},
		{"too much said", m.ID, "resolution", r.writer("acme"), evidence.ErrInvalid, ResolutionRequest{Resolution: strings.Repeat("x", maxReason+1)}},
		{"time", m.ID, "occurred_at", r.writer("acme"), evidence.ErrInvalid, ResolutionRequest{Resolution: "r", OccurredAt: "now"}},
	} {
		t.Run("resolve "+tc.name, func(t *testing.T) {
			_, err := r.ResolveMismatch(r.ctx, tc.writer, tc.id, &tc.q)
			wantError(t, err, tc.sentinel, tc.field)
		})
	}
	_, err := r.Mismatch(r.ctx, r.reader("other"), m.ID)
	wantError(t, err, evidence.ErrNotFound, "")
	if got, err := r.Mismatch(r.ctx, r.reader("acme"), m.ID); err != nil || got.Status != "open" || got.Expected.Withheld.Reason != answer.NotCaptured || *got.ReportedBy != "key-acme" {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestMismatches(t *testing.T) {
	r := newRig(t)
	r.store("acme", r.sample("run-1"))
	r.store("acme", r.sample("run-2"))
	for i := range 7 {
		run := "run-1"
		if i == 3 {
			run = "run-2"
		}
		r.report(&MismatchRequest{ID: mismatchID(i), RunID: run, Reason: fmt.Sprint(i)})
	}
	for _, i := range []int{0, 4, 5} {
		_, err := r.ResolveMismatch(r.ctx, r.writer("acme"), mismatchID(i), &ResolutionRequest{Resolution: "done"})
		r.must(err)
	}
	// Events of the same names that are not of this API's making.
	noise := func(event, id, entity string) []byte {
		l := newLine(evidence.KindAudit)
		l.str("id", id)
		l.str("occurred_at", evidence.MicrosOf(r.cfg.Now()).String())
		mismatchLine(l, event, entity, "run-1", false)
		r.writer("acme").actor(l, "", "")
		return l.done()
	}
	_, err := r.ingest.AppendNative(r.ctx, r.tenant("acme"), "other-key", [][]byte{
		noise(eventReported, mismatchID(100), mismatchID(1)),
		noise(eventResolved, mismatchID(101), mismatchID(1)),
		noise(eventReported, mismatchID(102), "no UUID"),
	})
	r.must(err)

	all := func(q MismatchFilter, limit int) (ids []string, pages int) {
		t.Helper()
		for p := (facade.Paging{Limit: limit}); ; pages++ {
			list, err := r.Mismatches(r.ctx, r.plain("acme"), q, p)
			r.must(err)
			if len(list.Items) > limit || list.Metadata.TenantID != r.tenant("acme") {
				t.Fatalf("page %+v", list)
			}
			for _, m := range list.Items {
				if q.Status != "" && m.Status != q.Status {
					t.Errorf("%s has status %s", m.ID, m.Status)
				}
				ids = append(ids, m.ID)
			}
			if !list.HasMore {
				return ids, pages + 1
			}
			p.Cursor = *list.NextCursor
		}
	}
	of := func(numbers ...int) (ids []string) {
		for _, i := range numbers {
			ids = append(ids, mismatchID(i))
		}
		return ids
	}
	for _, tc := range []struct {
		name  string
		q     MismatchFilter
		limit int
		want  []string
	}{
		{"all", MismatchFilter{}, 100, of(6, 5, 4, 3, 2, 1, 0)},
		{"pages", MismatchFilter{}, 2, of(6, 5, 4, 3, 2, 1, 0)},
		{"open", MismatchFilter{Status: "open"}, 2, of(6, 3, 2, 1)},
		{"resolved", MismatchFilter{Status: "resolved"}, 1, of(5, 4, 0)},
		{"of a run", MismatchFilter{RunID: "run-2"}, 100, of(3)},
		{"resolved of a run", MismatchFilter{RunID: "run-2", Status: "resolved"}, 100, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, _ := all(tc.q, tc.limit)
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}

	list, err := r.Mismatches(r.ctx, r.reader("acme"), MismatchFilter{RunID: "run-2", Status: "open"}, facade.Paging{})
	r.must(err)
	delete(list.FiltersApplied, "occurred_after")
	if diff := cmp.Diff(map[string]any{"run_id": "run-2", "status": "open", "is_synthetic": false}, list.FiltersApplied); diff != "" || list.Items[0].Reason.Text() != "3" {
		t.Errorf("%+v (-want +got)\n%s", list, diff)
	}
	if list.TotalIsExact {
		t.Error("the total of a list with a status is not exact")
	}
	empty, err := r.Mismatches(r.ctx, r.reader("other"), MismatchFilter{}, facade.Paging{})
	r.must(err)
	if len(empty.Items) != 0 || empty.Items == nil || empty.HasMore || empty.Metadata.TenantID != r.tenant("other") {
		t.Errorf("another tenant: %+v", empty)
	}
	_, err = r.Mismatches(r.ctx, r.reader("acme"), MismatchFilter{Status: "gone"}, facade.Paging{})
	wantError(t, err, evidence.ErrInvalid, "status")
	_, err = r.Mismatches(r.ctx, r.reader("acme"), MismatchFilter{}, facade.Paging{Limit: 101})
	wantError(t, err, evidence.ErrInvalid, "limit")
	_, err = r.Mismatches(r.ctx, r.reader("acme"), MismatchFilter{}, facade.Paging{Cursor: "x"})
	wantError(t, err, problem.ErrMalformed, "cursor")
}

// TestResolveRace: of several who resolve a mismatch at once one does.
func TestResolveRace(t *testing.T) {
	r := newRig(t)
	r.store("acme", r.sample("run-1"))
	m := r.report(&MismatchRequest{RunID: "run-1", Reason: "r"})
	const n = 8
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			_, errs[i] = r.ResolveMismatch(r.ctx, r.writer("acme"), m.ID, &ResolutionRequest{Resolution: fmt.Sprint(i)})
		})
	}
	wg.Wait()
	done := 0
	for i, err := range errs {
		switch {
		case err == nil:
			done++
		case !errors.Is(err, evidence.ErrConflict):
			t.Errorf("%d: %v", i, err)
		}
	}
	if done != 1 {
		t.Errorf("%d resolved it", done)
	}
}

// TestMismatchSynthetic: what is said about a synthetic run is synthetic too.
func TestMismatchSynthetic(t *testing.T) {
	r := newRig(t)
	q := r.sample("run-1")
	q.IsSynthetic = true
	r.store("acme", q)
	_, err := r.ReportMismatch(r.ctx, r.writer("acme"), &MismatchRequest{RunID: "run-1", Reason: "r"})
	wantError(t, err, evidence.ErrNotFound, "")
	for i, set := range []func(*facade.Reader){
		func(rd *facade.Reader) { rd.IncludeSynthetic = true },
		func(rd *facade.Reader) { rd.SyntheticOnly = true },
	} {
		w := r.writer("acme")
		set(&w.Reader)
		m, err := r.ReportMismatch(r.ctx, w, &MismatchRequest{ID: mismatchID(i), RunID: "run-1", Reason: "r"})
		r.must(err)
		m, err = r.ResolveMismatch(r.ctx, w, m.ID, &ResolutionRequest{Resolution: "r"})
		r.must(err)
		if m.Status != "resolved" {
			t.Errorf("%+v", m)
		}
	}
	list, err := r.Mismatches(r.ctx, r.reader("acme"), MismatchFilter{}, facade.Paging{})
	r.must(err)
	if len(list.Items) != 0 {
		t.Errorf("shown: %+v", list.Items)
	}
}
