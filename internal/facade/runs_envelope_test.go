package facade

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/runledger/runledger/answer"
	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/store"
)

func (r *rig) envelope(rd Reader, run string) *answer.RunEnvelope {
	r.t.Helper()
	e, err := r.Envelope(r.ctx, rd, run)
	r.must(err)
	return e
}

func TestEnvelope(t *testing.T) {
	r := newRig(t)
	r.add("acme", r.simpleRun(1, 0, fields{
		"human_actor_id": "alice@example.com", "correlation_id": "order-7", "agent_id": "planner", "actor_type": "HUMAN",
	})...)
	r.settle()
	e := r.envelope(r.privileged(), traceID(1))
	want(t, "status", e.Status, "SUCCEEDED")
	want(t, "outcome", said(e.Outcome), "success")
	want(t, "executor", e.ExecutorType, "agent")
	want(t, "model", said(e.Model), "gpt-5-2026")
	want(t, "tokens", said(e.InputTokens)+" "+said(e.OutputTokens)+" "+said(e.ReasoningTokens), "100 20 null")
	want(t, "cost", said(e.CostUSDNanos)+" "+said(e.CostCents), "15000000 2") // half up
	want(t, "times", e.StartedAt.String()+" "+said(e.CompletedAt), after(0).String()+" "+after(900*time.Millisecond).String())
	want(t, "steps", e.StepCount, 3)
	want(t, "records", e.RecordCount, 4)
	want(t, "sealed_by", said(e.SealedBy), "root_span")
	want(t, "prompt", e.Prompt.Text(), "what is due?")
	want(t, "response", e.Response.Text(), "nothing")
	want(t, "prompt_hash", strings.HasPrefix(said(e.PromptHash), "sha256:"), true)
	want(t, "revisions", len(e.Revisions), 1)
	want(t, "trace", said(e.TraceID), traceID(1))
	// Actor precedence: the person acts, though an agent is there too.
	m := e.Metadata
	want(t, "human", said(m.HumanActorID), "alice@example.com")
	want(t, "agent", said(m.AgentID), "planner")
	want(t, "origin", m.Origin, "HUMAN")
	want(t, "correlation", said(m.CorrelationID), "order-7")
	want(t, "domain", m.SourceDomain+" "+m.SourceComponent, "ACTIVITY TraceStore")
	if m.Checksum == nil || m.LeafIndex == nil || m.Log == nil || !m.Immutable || said(m.RunID) != traceID(1) {
		t.Errorf("metadata %+v", m)
	}
	if d := cmp.Diff(e.Metadata, e.Revisions[0].Metadata); d != "" {
		t.Error("metadata of the newest revision:", d)
	}
}

// TestEnvelopeWithheld: without permission neither texts nor the person, only
// commitments.
func TestEnvelopeWithheld(t *testing.T) {
	r := newRig(t)
	r.add("acme", r.simpleRun(1, 0, fields{"human_actor_id": "alice@example.com", "agent_id": "an unfit näme"})...)
	r.settle()
	e := r.envelope(r.reader(), traceID(1))
	for _, secret := range []string{"alice", "what is due", "nothing", "näme"} {
		if strings.Contains(r.text(e), secret) {
			t.Errorf("answer has %q: %s", secret, r.text(e))
		}
	}
	if w := e.Prompt.Withheld; w == nil || w.Reason != answer.NotPermitted || w.Commitment == nil {
		t.Errorf("prompt %+v", e.Prompt)
	} else {
		want(t, "prompt_hash", said(e.PromptHash), *w.Commitment)
	}
	if w := e.InflectionReason.Withheld; w == nil || w.Reason != answer.NotCaptured || w.Commitment != nil {
		t.Errorf("inflection_reason %+v", e.InflectionReason)
	}
	want(t, "origin", e.Metadata.Origin, "HUMAN") // that somebody acted is public
	want(t, "human", said(e.Metadata.HumanActorID), "null")
	want(t, "agent", evidence.IsReplacement(said(e.Metadata.AgentID)), true)
	want(t, "agent for the privileged", said(r.envelope(r.privileged(), traceID(1)).Metadata.AgentID), "an unfit näme")
}

func TestEnvelopeErased(t *testing.T) {
	r := newRig(t)
	r.add("acme", r.simpleRun(1, 0, fields{"human_actor_id": "alice"})...)
	r.settle()
	at := *r.envelope(r.reader(), traceID(1)).Metadata.LeafIndex
	_, err := r.ledger.Erase(r.ctx, "acme", ledger.Erasure{By: "op", Reason: "asked", Fields: []ledger.ErasedField{
		{Position: store.Position{LogNo: 1, Seq: at}, Paths: []string{"/prompt", "/prompt_hash"}},
	}})
	r.must(err)
	e := r.envelope(r.privileged(), traceID(1))
	if w := e.Prompt.Withheld; w == nil || w.Reason != answer.Erased || w.Commitment == nil {
		t.Errorf("prompt %+v", e.Prompt)
	} else {
		want(t, "prompt_hash", said(e.PromptHash), *w.Commitment)
	}
	want(t, "response", e.Response.Text(), "nothing")
	want(t, "human", said(e.Metadata.HumanActorID), "alice")
	_, err = r.ledger.Erase(r.ctx, "acme", ledger.Erasure{By: "op", Reason: "asked", Person: "alice"})
	r.must(err)
	want(t, "human", said(r.envelope(r.privileged(), traceID(1)).Metadata.HumanActorID), "null")
}

// TestEnvelopeRevisions: a late step makes a new revision, which is the
// canonical one; both are listed, and so is a contradicting record.
func TestEnvelopeRevisions(t *testing.T) {
	r := newRig(t)
	r.add("acme", r.simpleRun(1, 0)...)
	r.settle()
	r.add("acme", r.step(1, 9, 1, "tool", time.Second, 3*time.Second, fields{"status": "failure"}))
	r.settle()
	// Another program claims revision 1.
	r.add("acme", r.native("llm_run", after(0), fields{
		"run_id": traceID(1), "revision": 1, "execution_status": "FAILED", "outcome": "failure",
	}))
	e := r.envelope(r.reader(), traceID(1))
	want(t, "revision", e.Revision, 2)
	want(t, "steps", e.StepCount, 4)
	want(t, "completed", said(e.CompletedAt), after(3*time.Second).String())
	want(t, "inflection", said(e.InflectionKind)+" "+said(e.InflectionStepIndex), "failure 3")
	type revision struct {
		n, records int64
		conflict   bool
	}
	var got []revision
	for _, rev := range e.Revisions {
		got = append(got, revision{rev.Revision, rev.RecordCount, rev.Conflict})
	}
	if d := cmp.Diff([]revision{{1, 4, false}, {2, 6, false}, {1, 7, true}}, got, cmp.AllowUnexported(revision{})); d != "" {
		t.Error(d)
	}
	want(t, "revision of the list", r.runs(r.reader(), RunFilter{}, Paging{}).Items[0].Revision, 2)
}

func TestEnvelopeRunning(t *testing.T) {
	r := newRig(t)
	steps := r.simpleRun(1, 0, fields{"human_actor_id": "alice", "correlation_id": "order 7 für Anna"})
	r.add("acme", steps[1:]...) // the root is still to come
	e := r.envelope(r.reader(), traceID(1))
	want(t, "status", e.Status, "RUNNING")
	want(t, "outcome", said(e.Outcome), "null")
	want(t, "revision", e.Revision, 0)
	want(t, "counts", e.RecordCount*10+e.StepCount, 22)
	want(t, "started", e.StartedAt.String(), after(100*time.Millisecond).String())
	want(t, "completed", said(e.CompletedAt), "null")
	want(t, "sealed_by", said(e.SealedBy), "null")
	want(t, "cents", said(e.CostCents), "2")
	want(t, "source", e.Source+" "+e.ExecutorType, "API LLM")
	if e.Revisions == nil || len(e.Revisions) != 0 {
		t.Errorf("revisions %v", e.Revisions)
	}
	m := e.Metadata
	if m.Checksum != nil || m.LeafIndex != nil || m.Log != nil || m.RecordedAt != r.now() || m.OccurredAt != e.StartedAt || m.Origin != "HUMAN" {
		t.Errorf("metadata %+v", m)
	}
	for _, secret := range []string{"alice", "Anna", "due"} {
		if strings.Contains(r.text(e), secret) {
			t.Errorf("answer has %q", secret)
		}
	}
	open := r.envelope(r.privileged(), traceID(1)).Metadata
	want(t, "human", said(open.HumanActorID), "alice")
	want(t, "correlation", said(open.CorrelationID), "order 7 für Anna")
	r.add("acme", steps[0])
	r.settle()
	e = r.envelope(r.reader(), traceID(1))
	want(t, "status", e.Status, "SUCCEEDED")
	want(t, "replacement", said(e.Metadata.CorrelationID), said(m.CorrelationID))
}

// TestErasedOpenRun: what the tracker still knows of an erased person is not told.
func TestErasedOpenRun(t *testing.T) {
	r := newRig(t)
	r.add("acme", r.simpleRun(1, 0, fields{"human_actor_id": "alice"})[1:]...)
	byAlice := func() int {
		return len(r.runs(r.privileged(), RunFilter{Status: "RUNNING", HumanActorID: "alice"}, Paging{}).Items)
	}
	want(t, "runs by alice", byAlice(), 1)
	_, err := r.ledger.Erase(r.ctx, "acme", ledger.Erasure{By: "op", Reason: "asked", Person: "alice"})
	r.must(err)
	m := r.envelope(r.privileged(), traceID(1)).Metadata
	want(t, "human", said(m.HumanActorID)+" "+m.Origin, "null HUMAN")
	want(t, "runs by alice", byAlice(), 0)
	if l := r.runs(r.privileged(), RunFilter{Status: "RUNNING"}, Paging{}); len(l.Items) != 1 || strings.Contains(r.text(l), "alice") {
		t.Errorf("list: %s", r.text(l))
	}
}

// TestEnvelopeEndsBetweenLooks: the run has no record at the first look and is
// not followed any more at the second.
func TestEnvelopeEndsBetweenLooks(t *testing.T) {
	r := newRig(t)
	r.add("acme", r.simpleRun(1, 0)...)
	once := false
	r.cfg.Runs = liveFunc(func(tenant, run string) (*evidence.Record, error) {
		if !once {
			once = true
			r.settle()
		}
		return r.tracker.Live(r.ctx, tenant, run)
	})
	want(t, "status", r.envelope(r.reader(), traceID(1)).Status, "SUCCEEDED")
	want(t, "the run ended at the look", once, true)
}

func TestEnvelopeAlias(t *testing.T) {
	r := newRig(t)
	for _, alias := range []string{"job-42", "job ä 43"} {
		n := map[string]int{"job-42": 1, "job ä 43": 2}[alias]
		r.add("acme", append(r.simpleRun(n, 0), r.native("trace", after(0), fields{
			"run_id": traceID(n), "trace_id": traceID(n), "run_alias": alias,
		}))...)
	}
	r.settle()
	for alias, run := range map[string]string{"job-42": traceID(1), "job ä 43": traceID(2)} {
		e := r.envelope(r.privileged(), alias)
		want(t, "run", e.RunID, run)
		want(t, "alias", said(e.RunAlias), alias)
	}
}

// TestRunOverRollover: a run whose records stand in two logs is one run.
func TestRunOverRollover(t *testing.T) {
	r := newRig(t)
	steps := r.simpleRun(1, 0)
	r.add("acme", steps[1:]...)
	_, err := r.ledger.Rollover(r.ctx, "acme")
	r.must(err)
	r.add("acme", steps[0])
	r.settle()
	e := r.envelope(r.reader(), traceID(1))
	want(t, "records", e.RecordCount, 4)
	tr := r.trace(r.reader(), traceID(1), Paging{})
	want(t, "steps", stepNames(tr), "step 1 step 2 step 3")
	want(t, "logs differ", *tr.Steps[0].Metadata.Log != *tr.Steps[1].Metadata.Log, true)
	if tr.Steps[1].ParentStepIndex == nil || *tr.Steps[1].ParentStepIndex != tr.Steps[0].StepIndex {
		t.Errorf("parent %v", tr.Steps[1].ParentStepIndex)
	}
	_, err = r.ledger.Rollover(r.ctx, "acme")
	r.must(err)
	r.add("acme", r.step(1, 4, 1, "tool", time.Second, 2*time.Second))
	r.settle()
	e = r.envelope(r.reader(), traceID(1))
	want(t, "revisions", len(e.Revisions), 2)
	want(t, "first", e.Revisions[0].Revision, 1)
	want(t, "list", r.runs(r.reader(), RunFilter{}, Paging{}).Total, 1)
}

// TestForeignRun: another tenant's run and one that nobody has are told apart by
// nothing, nor by what is asked of the store.
func TestForeignRun(t *testing.T) {
	r := newRig(t)
	r.add("other", append(r.simpleRun(1, 0), r.native("trace", after(0), fields{
		"run_id": traceID(1), "trace_id": traceID(1), "run_alias": "job-42",
	}))...)
	r.settle()
	r.add("other", r.simpleRun(2, 0)[1:]...) // open
	r.add("acme", r.simpleRun(3, 0, fields{"is_synthetic": true})...)
	r.settle()
	calls := map[string]func(run string) error{
		"envelope":   func(run string) error { _, err := r.Envelope(r.ctx, r.reader(), run); return err },
		"trace":      func(run string) error { _, err := r.Trace(r.ctx, r.reader(), run, Paging{}); return err },
		"governance": func(run string) error { _, err := r.Governance(r.ctx, r.reader(), run, Paging{}); return err },
		"replay":     func(run string) error { _, err := r.Replay(r.ctx, r.reader(), run, ReplayParams{}); return err },
		"system":     func(run string) error { _, err := r.SystemReplay(r.ctx, r.reader(), run, ReplayParams{}); return err },
	}
	for name, call := range calls {
		r.asked.take()
		unknown := call("ffffffffffffffffffffffffffffffff")
		asked := r.asked.take()
		if !errors.Is(unknown, evidence.ErrNotFound) {
			t.Fatalf("%s of an unknown run: %v", name, unknown)
		}
		for _, run := range []string{traceID(1), traceID(2), "job-42"} {
			err := call(run)
			if err == nil || err.Error() != unknown.Error() || !errors.Is(err, evidence.ErrNotFound) {
				t.Errorf("%s of %s: %v, unknown: %v", name, run, err, unknown)
			}
			if d := cmp.Diff(asked, r.asked.take()); d != "" {
				t.Errorf("%s of %s asks otherwise: %s", name, run, d)
			}
		}
		if err := call(traceID(3)); err == nil || err.Error() != unknown.Error() {
			t.Errorf("%s of a hidden run: %v", name, err)
		}
	}
}

func TestSyntheticRuns(t *testing.T) {
	r := newRig(t)
	r.add("acme", r.simpleRun(1, 0)...)
	r.settle()
	r.add("acme", r.simpleRun(2, 0, fields{"is_synthetic": true, "synthetic_scenario_id": "SDSR-1"})...)
	r.settle()
	yes, no := true, false
	for _, c := range []struct {
		name          string
		include, only bool
		asked         *bool
		want          string // runs of the list; their envelopes are there
		err           error
	}{
		{name: "production", want: "1"},
		{name: "production asks for real ones", asked: &no, want: "1"},
		{name: "production asks for synthetic", asked: &yes, err: evidence.ErrForbidden},
		{name: "preflight", include: true, want: "21"},
		{name: "preflight asks for synthetic", include: true, asked: &yes, want: "2"},
		{name: "preflight asks for real ones", include: true, asked: &no, want: "1"},
		{name: "observer", include: true, only: true, want: "2"},
		{name: "observer asks for real ones", include: true, only: true, asked: &no, err: evidence.ErrInvalid},
	} {
		t.Run(c.name, func(t *testing.T) {
			rd := r.reader()
			rd.IncludeSynthetic, rd.SyntheticOnly = c.include, c.only
			l, err := r.Runs(r.ctx, rd, RunFilter{IsSynthetic: c.asked}, Paging{})
			if !errors.Is(err, c.err) {
				t.Fatal(err)
			}
			if err != nil {
				return
			}
			got := ""
			for _, e := range l.Items {
				got += e.RunID[31:]
				if r.envelope(rd, e.RunID).IsSynthetic != (e.RunID == traceID(2)) {
					t.Error("is_synthetic is wrong")
				}
			}
			want(t, "runs", got, c.want)
		})
	}
}

// liveFunc is Runs as a function.
type liveFunc func(tenant, run string) (*evidence.Record, error)

func (f liveFunc) Live(_ context.Context, tenant, run string) (*evidence.Record, error) {
	return f(tenant, run)
}
