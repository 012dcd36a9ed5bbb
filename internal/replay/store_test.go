package replay

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/runledger/runledger/answer"
	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/facade"
	"github.com/runledger/runledger/internal/problem"
)

func TestStore(t *testing.T) {
	r := newRig(t)
	q := r.sample("run-1")
	first := r.store("acme", q)
	if len(first.Receipts) != 6 || first.Duplicate || first.Conflicts != 0 || first.RunID != "run-1" || first.TraceID != q.TraceID {
		t.Fatalf("receipt %+v", first)
	}
	for i, rc := range first.Receipts {
		if rc.Index != i || rc.Log == "" || rc.LeafHash == "" || rc.Duplicate || rc.ConflictOf != nil {
			t.Errorf("receipt %d: %+v", i, rc)
		}
	}

	got, err := r.ByRun(r.ctx, r.reader("acme"), "run-1", facade.Paging{})
	r.must(err)
	tr := got.Trace
	if tr.TotalSteps != 5 || len(tr.Steps) != 5 || *tr.Seed != "7" || *tr.SchemaVersion != "2" || tr.RootHash.Text() != "root of run-1" ||
		tr.PlanHash.Text() != "plan 1" || tr.FrozenTimestamp.String() != "2026-01-01T00:00:00.000000Z" || *tr.TraceID != q.TraceID {
		t.Errorf("trace %+v", tr)
	}
	if s := tr.Steps[1]; string(s.Params.Value) != `{"id": 12345678901234567890, "z": [1, 2]}` || s.SkillID != "crm" || *s.OutcomeCode != "200" || *s.ParentStepIndex != 0 {
		t.Errorf("step %+v", s)
	}
	if m := tr.Steps[0].Metadata; m.SourceDomain != "ACTIVITY" || m.SourceComponent != "TraceStore" || *m.AgentID != "planner" || m.Origin != "AGENT" {
		t.Errorf("metadata %+v", m)
	}
	if diff := cmp.Diff([]string{"run-1"}, got.RunIDs); diff != "" || got.Metadata.TenantID != r.tenant("acme") || got.MismatchesReported != 0 {
		t.Errorf("stored trace %+v", got)
	}
	hidden, err := r.ByRun(r.ctx, r.plain("acme"), "run-1", facade.Paging{Limit: 2})
	r.must(err)
	if w := hidden.Trace.RootHash.Withheld; w == nil || w.Reason != answer.NotPermitted || len(hidden.Trace.Steps) != 2 || !hidden.Trace.HasMore {
		t.Errorf("without content %+v", hidden.Trace)
	}
	_, err = r.ByRun(r.ctx, r.reader("other"), "run-1", facade.Paging{})
	wantError(t, err, evidence.ErrNotFound, "")
}

// TestStoreAgain: a retry changes nothing; what contradicts is kept beside it.
func TestStoreAgain(t *testing.T) {
	r := newRig(t)
	first := r.store("acme", r.sample("run-1"))
	again := r.store("acme", r.sample("run-1"))
	if !again.Duplicate || again.Conflicts != 0 {
		t.Fatalf("again %+v", again)
	}
	for i := range first.Receipts {
		if first.Receipts[i].LeafHash != again.Receipts[i].LeafHash || first.Receipts[i].ID != again.Receipts[i].ID {
			t.Errorf("receipt %d: %+v, then %+v", i, first.Receipts[i], again.Receipts[i])
		}
	}
	other := r.sample("run-1")
	other.Steps[1].Status = "failure"
	other.Steps = append(other.Steps, StepRequest{
		OccurredAt: r.start.String(), SpanID: "00000000000000ff", StepKind: "tool", SkillName: "more", Status: "success",
	})
	got := r.store("acme", other)
	if got.Duplicate || got.Conflicts != 1 || got.Receipts[2].ConflictOf == nil || *got.Receipts[2].ConflictOf != first.Receipts[2].ID || got.Receipts[6].Duplicate {
		t.Errorf("contradiction %+v", got)
	}
	c, err := r.Compare(r.ctx, r.reader("acme"), "run-1", "run-1")
	r.must(err)
	if c.Compared != 6 || !c.Parity {
		t.Errorf("conflict records are compared: %+v", c)
	}
}

func TestStoreRefuses(t *testing.T) {
	r := newRig(t)
	bad := int64(-1)
	for _, tc := range []struct {
		name, field string
		sentinel    error
		change      func(q *TraceRequest)
	}{
		{"no run", "run_id", evidence.ErrInvalid, func(q *TraceRequest) { q.RunID = "" }},
		{"trace id", "trace_id", evidence.ErrInvalid, func(q *TraceRequest) { q.TraceID = "XY" }},
		{"time", "occurred_at", evidence.ErrInvalid, func(q *TraceRequest) { q.OccurredAt = "yesterday" }},
		{"seed", "seed", evidence.ErrInvalid, func(q *TraceRequest) { q.Seed = "1.5" }},
		{"plan", "plan", evidence.ErrInvalid, func(q *TraceRequest) { q.Plan = json.RawMessage(`{"a":1,"a":2}`) }},
		{"root hash", "root_hash", evidence.ErrInvalid, func(q *TraceRequest) { q.RootHash = strings.Repeat("x", 257) }},
		{"actor", "origin", evidence.ErrInvalid, func(q *TraceRequest) { q.Origin = "HUMAN" }},
		{"step status", "steps[2].status", evidence.ErrInvalid, func(q *TraceRequest) { q.Steps[2].Status = "maybe" }},
		{"step time", "steps[0].occurred_at", evidence.ErrInvalid, func(q *TraceRequest) { q.Steps[0].OccurredAt = "" }},
		{"step id", "steps[4].id", evidence.ErrInvalid, func(q *TraceRequest) { q.Steps[4].SpanID = "" }},
		{"step count", "steps[3].retry_count", evidence.ErrInvalid, func(q *TraceRequest) { q.Steps[3].RetryCount = &bad }},
		{"step attrs", "steps[1].attrs", evidence.ErrInvalid, func(q *TraceRequest) { q.Steps[1].Attrs = json.RawMessage(`{}`) }},
		{"large", "", evidence.ErrTooLarge, func(q *TraceRequest) {
			q.Steps[1].Params = evidence.QuoteJSON(strings.Repeat("x", maxBody))
		}},
		{"many", "steps", evidence.ErrTooLarge, func(q *TraceRequest) { q.Steps = make([]StepRequest, MaxSteps+1) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			q := r.sample("run-1")
			tc.change(q)
			_, err := r.StoreTrace(r.ctx, r.writer("acme"), q)
			wantError(t, err, tc.sentinel, tc.field)
		})
	}
	_, err := r.ByRun(r.ctx, r.reader("acme"), "run-1", facade.Paging{})
	wantError(t, err, evidence.ErrNotFound, "") // nothing of a refused trace is kept

	nobody := r.writer("acme")
	nobody.Tenant = ""
	_, err = r.StoreTrace(r.ctx, nobody, r.sample("run-1"))
	wantError(t, err, evidence.ErrForbidden, "")
	_, err = r.StoreTrace(r.ctx, r.writer("unknown"), r.sample("run-1"))
	wantError(t, err, evidence.ErrNotFound, "")
	taken := r.sample("run-2")
	taken.Steps[4].SpanID, taken.Steps[4].ID = "", "0192f0c0-0000-7000-8000-000000000001"
	r.store("acme", taken)
	taken.Steps[4].SkillName = "other"
	_, err = r.StoreTrace(r.ctx, r.writer("acme"), taken)
	wantError(t, err, evidence.ErrConflict, "steps[4]")
	if problem.Of(err).Status != 409 {
		t.Errorf("%v is answered with %d", err, problem.Of(err).Status)
	}
}

// TestStoreStopped: what ingest refuses as a whole says so.
func TestStoreStopped(t *testing.T) {
	p, err := open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	r := rigOf(t, p)
	defer func() { r.must(p.close()) }()
	r.must(r.ingest.Close(r.ctx))
	_, err = r.StoreTrace(r.ctx, r.writer("acme"), r.sample("run-1"))
	wantError(t, err, evidence.ErrUnavailable, "")
	ctx, cancel := context.WithCancel(r.ctx)
	cancel()
	if _, err := r.StoreTrace(ctx, r.writer("acme"), r.sample("run-1")); err == nil {
		t.Error("a canceled request is stored")
	}
}

func TestRootHash(t *testing.T) {
	r := newRig(t)
	for i, run := range []string{"run-1", "run-2", "run-3"} {
		q := r.sample(run)
		q.RootHash = "same"
		if i == 2 {
			q.RootHash = "else"
		}
		r.store("acme", q)
	}
	contrary := r.sample("run-3") // its trace has another root hash
	contrary.RootHash = "same"
	if got := r.store("acme", contrary); got.Conflicts != 1 {
		t.Fatalf("%+v", got)
	}
	got, err := r.ByRootHash(r.ctx, r.reader("acme"), "same", facade.Paging{Limit: 2})
	r.must(err)
	if diff := cmp.Diff([]string{"run-2", "run-1"}, got.RunIDs); diff != "" || got.Trace.RunID != "run-2" || len(got.Trace.Steps) != 2 {
		t.Errorf("%+v", got)
	}
	next, err := r.ByRun(r.ctx, r.reader("acme"), got.RunIDs[0], facade.Paging{Limit: 2, Cursor: *got.Trace.NextCursor})
	r.must(err)
	if len(next.Trace.Steps) != 2 || next.Trace.Steps[0].StepIndex != 2 {
		t.Errorf("second page %+v", next.Trace)
	}
	for _, tc := range []struct {
		name, hash, field string
		reader            facade.Reader
		cursor            string
		sentinel          error
	}{
		{"unknown", "nothing", "", r.reader("acme"), "", evidence.ErrNotFound},
		{"foreign", "same", "", r.reader("other"), "", evidence.ErrNotFound},
		{"without content", "same", "root_hash", r.plain("acme"), "", evidence.ErrForbidden},
		{"empty", "", "root_hash", r.reader("acme"), "", problem.ErrMalformed},
		{"long", strings.Repeat("x", 257), "root_hash", r.reader("acme"), "", evidence.ErrInvalid},
		{"cursor", "same", "cursor", r.reader("acme"), "x", problem.ErrMalformed},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := r.ByRootHash(r.ctx, tc.reader, tc.hash, facade.Paging{Cursor: tc.cursor})
			wantError(t, err, tc.sentinel, tc.field)
		})
	}
}

// TestSynthetic: a synthetic trace is shown to who may ask for synthetic
// records, and to nobody else.
func TestSynthetic(t *testing.T) {
	r := newRig(t)
	q := r.sample("run-1")
	q.IsSynthetic, q.SyntheticScenarioID = true, "S-1"
	r.store("acme", q)
	_, err := r.ByRootHash(r.ctx, r.reader("acme"), q.RootHash, facade.Paging{})
	wantError(t, err, evidence.ErrNotFound, "")
	for _, set := range []func(*facade.Reader){
		func(rd *facade.Reader) { rd.IncludeSynthetic = true },
		func(rd *facade.Reader) { rd.SyntheticOnly = true },
	} {
		rd := r.reader("acme")
		set(&rd)
		got, err := r.ByRootHash(r.ctx, rd, q.RootHash, facade.Paging{})
		r.must(err)
		if got.Trace.RunID != "run-1" {
			t.Errorf("%+v", got)
		}
	}
}

// TestRequestFields: the request has every field of the table that a producer
// may send, under its name.
func TestRequestFields(t *testing.T) {
	names := func(v any) (list []string) {
		typ := reflect.TypeOf(v)
		for i := range typ.NumField() {
			name, _, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
			list = append(list, name)
		}
		return list
	}
	trace, step := names(TraceRequest{}), names(StepRequest{})
	for _, tc := range []struct {
		kind evidence.Kind
		have []string
	}{
		// started_at is occurred_at, and actor_type follows from who acts.
		{evidence.KindTrace, append(trace, "started_at", "actor_type")},
		{evidence.KindTraceStep, append(append(step, "actor_type"), trace...)},
	} {
		var want []string
		for _, f := range evidence.PublicFields(tc.kind) {
			if f.Owner != evidence.Server {
				want = append(want, f.Name)
			}
		}
		for _, s := range evidence.SealedFields(tc.kind) {
			if s.UnfitOf == "" && s.Shape != evidence.ShapeActor {
				want = append(want, s.NativeName())
			}
		}
		if slices.Contains(step, "") || slices.Contains(trace, "") {
			t.Fatal("a field without a name")
		}
		for _, name := range want {
			if !slices.Contains(tc.have, name) {
				t.Errorf("%s: the request has no %s", tc.kind, name)
			}
		}
	}
	// And what it has reaches the record.
	q := fill[TraceRequest](t)
	q.Steps = []StepRequest{fill[StepRequest](t)}
	lines := map[string][]byte{"trace": q.line(), "step": q.Steps[0].line(&q)}
	for _, tc := range []struct {
		line string
		want []string
	}{{"trace", trace}, {"step", step}} {
		var got map[string]json.RawMessage
		if err := json.Unmarshal(lines[tc.line], &got); err != nil {
			t.Fatalf("%s: %v: %s", tc.line, err, lines[tc.line])
		}
		for _, name := range tc.want {
			if _, ok := got[name]; !ok && name != "steps" {
				t.Errorf("%s: %s is lost", tc.line, name)
			}
		}
	}
}

// fill sets every field to something.
func fill[T any](t *testing.T) (v T) {
	t.Helper()
	n := int64(1)
	rv := reflect.ValueOf(&v).Elem()
	for i := range rv.NumField() {
		f := rv.Field(i)
		switch f.Interface().(type) {
		case string:
			f.SetString(fmt.Sprintf("text %d", i))
		case *int64:
			f.Set(reflect.ValueOf(&n))
		case bool:
			f.SetBool(true)
		case []string:
			f.Set(reflect.ValueOf([]string{"a", "b\""}))
		case json.RawMessage:
			f.SetBytes([]byte(`{"a":[1]}`))
		case []StepRequest:
		default:
			t.Fatalf("field %s has type %s", rv.Type().Field(i).Name, f.Type())
		}
	}
	return v
}
