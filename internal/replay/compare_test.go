package replay

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/runledger/runledger/answer"
	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/facade"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/problem"
	"github.com/runledger/runledger/internal/store"
)

// replayed stores a sample as run and, changed, as its replay, and compares.
func (r *rig) replayed(name string, rd facade.Reader, change func(q *TraceRequest)) *answer.Comparison {
	r.t.Helper()
	this, other := r.sample("run "+name), r.sample("replay "+name)
	if change != nil {
		change(other)
	}
	r.store("acme", this)
	r.store("acme", other)
	c, err := r.Compare(r.ctx, rd, this.RunID, other.RunID)
	r.must(err)
	return c
}

func TestCompareEqual(t *testing.T) {
	r := newRig(t)
	c := r.replayed("equal", r.reader("acme"), func(q *TraceRequest) {
		// None of this is what must be the same.
		n := int64(99)
		q.OccurredAt = (r.start + 60_000_000).String()
		q.ServiceName, q.SchemaVersion, q.AgentID, q.Origin = "svc", "3", "other", "REPLAY"
		for i := range q.Steps {
			s := &q.Steps[i]
			at, _ := evidence.ParseMicros(s.OccurredAt)
			s.OccurredAt = (at + 60_000_000).String()
			s.DurationUS, s.CostUSDNanos, s.InputTokens, s.RetryCount, s.Flags = &n, &n, &n, &n, []string{"x"}
			s.Model, s.ToolCallID, s.StatusMessage = "m", "c", json.RawMessage(`"m"`)
		}
		q.Steps[1].Params = json.RawMessage(`{"z":[1,2.0],"id":12345678901234567890}`)
		q.Steps[2].Prompt = nil // the hashes decide
	})
	want := &answer.Comparison{
		RunID: "run equal", OtherRunID: "replay equal", Parity: true, Comparable: true, Compared: 5, ContentCompared: 4,
		Differences: []answer.Divergence{}, Uncheckable: []answer.Uncheckable{}, Metadata: c.Metadata,
	}
	if diff := cmp.Diff(want, c); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if c.Metadata.TenantID != r.tenant("acme") || c.Metadata.RunID != nil || c.Metadata.OccurredAt != r.start {
		t.Errorf("metadata %+v", c.Metadata)
	}
}

func TestCompareFields(t *testing.T) {
	r := newRig(t)
	for _, tc := range []struct {
		field       string
		at          int64
		behavior    string
		this, other string
		change      func(s []StepRequest)
	}{
		{"kind", 2, "execute", `"llm"`, `"other"`, func(s []StepRequest) { s[2].StepKind = "other"; s[2].SkillID = "llm" }},
		{"skill_id", 1, "execute", `"crm"`, `"crm2"`, func(s []StepRequest) { s[1].SkillID = "crm2" }},
		{"skill_name", 1, "execute", `"lookup"`, `"find"`, func(s []StepRequest) { s[1].SkillName = "find" }},
		{"replay_behavior", 1, "execute", `"execute"`, `"check"`, func(s []StepRequest) { s[1].ReplayBehavior = "check" }},
		{"status", 0, "execute", `"success"`, `"failure"`, func(s []StepRequest) { s[0].Status = "failure" }},
		{"outcome_category", 4, "check", `"SUCCESS"`, `"CREATED"`, func(s []StepRequest) { s[4].OutcomeCategory = "CREATED" }},
		{"outcome_code", 1, "execute", `"200"`, `"404"`, func(s []StepRequest) { s[1].OutcomeCode = "404" }},
		{"outcome_code", 2, "execute", `null`, `"404"`, func(s []StepRequest) { s[2].OutcomeCode = "404" }},
		{"input_hash", 2, "execute", `"in 2"`, `"in 3"`, func(s []StepRequest) { s[2].InputHash = json.RawMessage(`"in 3"`) }},
		{"output_hash", 2, "execute", `"out 2"`, `"out"`, func(s []StepRequest) { s[2].OutputHash = json.RawMessage(`"out"`) }},
		{"prompt", 2, "execute", `"hello"`, `"bye"`, func(s []StepRequest) { s[2].InputHash, s[2].Prompt = nil, json.RawMessage(`"bye"`) }},
		{"response", 2, "execute", `"hi"`, `"no"`, func(s []StepRequest) { s[2].OutputHash, s[2].Response = nil, json.RawMessage(`"no"`) }},
		{
			"params", 1, "execute", `{"id": 12345678901234567890, "z": [1, 2]}`, `{"id":12345678901234567891,"z":[1,2]}`,
			func(s []StepRequest) { s[1].Params = json.RawMessage(`{"id":12345678901234567891,"z":[1,2]}`) },
		},
		{"outcome_data", 4, "check", `201`, `500`, func(s []StepRequest) { s[4].OutcomeData = json.RawMessage(`500`) }},
		// Of a step that is skipped what it was given counts.
		{"params", 3, "skip", `{"cents":500}`, `1`, func(s []StepRequest) { s[3].Params = json.RawMessage(`1`) }},
		// Of several the first in the order of time and fields.
		{"status", 1, "execute", `"success"`, `"retry"`, func(s []StepRequest) {
			s[4].SkillName, s[1].Status, s[1].OutcomeCode = "x", "retry", "1"
		}},
	} {
		name := fmt.Sprintf("%s of %d", tc.field, tc.at)
		t.Run(name, func(t *testing.T) {
			c := r.replayed(name+tc.other, r.reader("acme"), func(q *TraceRequest) { tc.change(q.Steps) })
			d := c.Divergence
			if c.Parity || !c.Comparable || d == nil || c.Divergent == 0 {
				t.Fatalf("%+v", c)
			}
			want := &answer.Divergence{
				StepIndex: &tc.at, ThisStepIndex: &tc.at, OtherStepIndex: &tc.at, ReplayBehavior: &tc.behavior, Field: tc.field,
				Reason: answer.Differs, Detail: d.Detail, This: answer.Shown([]byte(tc.this)), Other: answer.Shown([]byte(tc.other)),
			}
			if diff := cmp.Diff(want, d); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			if strings.Contains(d.Detail, "checked") != (tc.behavior == "check") {
				t.Errorf("detail %q", d.Detail)
			}
		})
	}
}

// TestCompareTraces: what was given to the runs.
func TestCompareTraces(t *testing.T) {
	r := newRig(t)
	for _, tc := range []struct {
		field, this, other string
		change             func(q *TraceRequest)
	}{
		{"seed", `"7"`, `"8"`, func(q *TraceRequest) { q.Seed = "8" }},
		{"seed", `"7"`, `null`, func(q *TraceRequest) { q.Seed = "" }},
		{"frozen_timestamp", `"2026-01-01T00:00:00.000000Z"`, `null`, func(q *TraceRequest) { q.FrozenTimestamp = "" }},
		{"plan_hash", `"plan 1"`, `"plan 2"`, func(q *TraceRequest) { q.PlanHash = "plan 2" }},
		{"plan", `{"goal":"refund"}`, `1`, func(q *TraceRequest) { q.PlanHash, q.Plan = "", json.RawMessage(`1`) }},
	} {
		t.Run(tc.field+tc.other, func(t *testing.T) {
			c := r.replayed(tc.field+tc.other, r.reader("acme"), tc.change)
			if c.Parity || c.Divergence != nil || len(c.Differences) != 1 {
				t.Fatalf("%+v", c)
			}
			want := answer.Divergence{
				Field: tc.field, Reason: answer.Differs, Detail: c.Differences[0].Detail,
				This: answer.Shown([]byte(tc.this)), Other: answer.Shown([]byte(tc.other)),
			}
			if diff := cmp.Diff(want, c.Differences[0]); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// TestCompareSteps: steps that only one run has, or has elsewhere.
func TestCompareSteps(t *testing.T) {
	r := newRig(t)
	extra := func(at int, span string) StepRequest {
		return StepRequest{
			OccurredAt: (r.start + evidence.Micros(at)).String(), SpanID: span, ParentSpanID: "0000000000000001",
			StepKind: "tool", SkillName: "extra", Status: "success",
		}
	}
	for _, tc := range []struct {
		name, field, reason string
		at                  int64
		skipped, divergent  int64
		change              func(q *TraceRequest)
	}{
		{"missing", "step", answer.OnlyInThis, 1, 0, 1, func(q *TraceRequest) { q.Steps = append(q.Steps[:1], q.Steps[2:]...) }},
		{"missing with what is below", "step", answer.OnlyInThis, 0, 2, 3, func(q *TraceRequest) { q.Steps = nil }},
		{"extra", "step", answer.OnlyInOther, 3, 0, 1, func(q *TraceRequest) { q.Steps = append(q.Steps, extra(2500, "00000000000000aa")) }},
		{"replaced", "skill_id", answer.Differs, 1, 0, 1, func(q *TraceRequest) { s := extra(1000, "0000000000000002"); s.SkillID = "x"; q.Steps[1] = s }},
		{"skipped, with what is below", "", "", 0, 2, 0, func(q *TraceRequest) { q.Steps = q.Steps[:3] }},
		{"skipped is not replaced", "step", answer.OnlyInOther, 3, 2, 1, func(q *TraceRequest) { q.Steps = append(q.Steps[:3], extra(3000, "00000000000000aa")) }},
		{"skipped did not succeed", "", "", 0, 0, 0, func(q *TraceRequest) {
			q.Steps[3].Status, q.Steps[3].OutcomeData, q.Steps[3].OutcomeCode = "skipped", nil, "x"
		}},
		{"another order", "", "", 0, 0, 0, func(q *TraceRequest) {
			q.Steps[1].OccurredAt, q.Steps[3].OccurredAt = q.Steps[3].OccurredAt, q.Steps[1].OccurredAt
		}},
		{"another parent", "step", answer.OnlyInThis, 2, 0, 2, func(q *TraceRequest) { q.Steps[2].ParentSpanID = "0000000000000002" }},
		{"a circle", "step", answer.OnlyInThis, 1, 0, 2, func(q *TraceRequest) { q.Steps[1].ParentSpanID = q.Steps[1].SpanID }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := r.replayed(tc.name, r.reader("acme"), tc.change)
			if c.Skipped != tc.skipped || c.Divergent != tc.divergent || c.Parity != (tc.divergent == 0) {
				t.Errorf("%+v", c)
			}
			if tc.field == "" {
				if c.Divergence != nil {
					t.Errorf("divergence %+v", c.Divergence)
				}
				return
			}
			d := c.Divergence
			if d == nil || d.Field != tc.field || d.Reason != tc.reason || *d.StepIndex != tc.at ||
				(d.ThisStepIndex == nil) != (tc.reason == answer.OnlyInOther) || (d.OtherStepIndex == nil) != (tc.reason == answer.OnlyInThis) {
				t.Errorf("divergence %+v", d)
			}
		})
	}
}

// TestCompareKeys: calls of one skill side by side go by their idempotency keys,
// whichever began first.
func TestCompareKeys(t *testing.T) {
	r := newRig(t)
	side := func(q *TraceRequest, turned bool, keys ...string) *TraceRequest {
		q.Steps = q.Steps[:1]
		for i, key := range keys {
			at := i
			if turned {
				at = len(keys) - i
			}
			q.Steps = append(q.Steps, StepRequest{
				OccurredAt: (r.start + evidence.Micros(1000+at)).String(), SpanID: fmt.Sprintf("%016x", 100+i), ParentSpanID: q.Steps[0].SpanID,
				StepKind: "tool", SkillName: "pay", Status: "success", IdempotencyKey: key, Params: evidence.QuoteJSON(fmt.Sprint(i)),
			})
		}
		return q
	}
	compare := func(name string, turned bool, keys ...string) *answer.Comparison {
		this, other := side(r.sample("run "+name), false, keys...), side(r.sample("replay "+name), turned, keys...)
		r.store("acme", this)
		r.store("acme", other)
		c, err := r.Compare(r.ctx, r.reader("acme"), this.RunID, other.RunID)
		r.must(err)
		return c
	}
	if c := compare("keys", true, "a", "b", "c"); !c.Parity {
		t.Errorf("with keys: %+v", c.Divergence)
	}
	if c := compare("no keys", true, "", "", ""); c.Parity || c.Divergence.Field != "params" {
		t.Errorf("without keys: %+v", c)
	}
	if c := compare("keys twice", false, "a", "a", "b"); !c.Parity {
		t.Errorf("keys that stand twice: %+v", c.Divergence)
	}
}

// TestCompareWithheld: without content no parity is claimed, but what is public
// is still compared, and no content is shown.
func TestCompareWithheld(t *testing.T) {
	r := newRig(t)
	c := r.replayed("withheld", r.plain("acme"), nil)
	if c.Parity || c.Comparable || c.Divergence != nil || c.Divergent != 0 || c.ContentCompared != 0 {
		t.Errorf("%+v", c)
	}
	one, three := int64(1), int64(3)
	two := int64(2)
	want := []answer.Uncheckable{
		{Field: "plan", Reason: answer.NotPermitted},
		{Field: "params", Reason: answer.NotPermitted, Steps: 3, StepIndex: &one},
		{Field: "outcome_data", Reason: answer.NotPermitted, Steps: 2, StepIndex: &one},
		{Field: "prompt", Reason: answer.NotPermitted, Steps: 1, StepIndex: &two},
		{Field: "response", Reason: answer.NotPermitted, Steps: 1, StepIndex: &two},
	}
	if diff := cmp.Diff(want, c.Uncheckable); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	c = r.replayed("withheld, differs", r.plain("acme"), func(q *TraceRequest) {
		q.Steps[1].Params, q.Steps[3].SkillName = json.RawMessage(`"SECRET"`), "else"
	})
	if d := c.Divergence; d == nil || d.Field != "skill_name" || *d.StepIndex != three || c.Comparable {
		t.Errorf("%+v", c)
	}
	if b, err := json.Marshal(c); err != nil || strings.Contains(string(b), "SECRET") {
		t.Errorf("%v: %s", err, b)
	}
}

// TestCompareNotCaptured: content of one run only cannot be compared; content
// of neither is no difference.
func TestCompareNotCaptured(t *testing.T) {
	r := newRig(t)
	c := r.replayed("one", r.reader("acme"), func(q *TraceRequest) {
		q.Plan, q.PlanHash, q.Steps[1].Params, q.Steps[2].InputHash, q.Steps[2].Prompt = nil, "", nil, nil, nil
	})
	one, two := int64(1), int64(2)
	want := []answer.Uncheckable{
		{Field: "plan", Reason: answer.NotCaptured},
		{Field: "params", Reason: answer.NotCaptured, Steps: 1, StepIndex: &one},
		{Field: "prompt", Reason: answer.NotCaptured, Steps: 1, StepIndex: &two},
	}
	if diff := cmp.Diff(want, c.Uncheckable); diff != "" || c.Parity || c.Comparable || c.Divergence != nil {
		t.Errorf("%+v (-want +got)\n%s", c, diff)
	}
}

// TestCompareErased: what was erased cannot be compared, nor is it a difference.
func TestCompareErased(t *testing.T) {
	r := newRig(t)
	got := r.store("acme", r.sample("run-1"))
	r.store("acme", r.sample("run-2"))
	at := store.Position{LogNo: got.Receipts[2].LogNo, Seq: got.Receipts[2].LeafIndex}
	_, err := r.ledger.Erase(r.ctx, r.tenant("acme"), ledger.Erasure{Fields: []ledger.ErasedField{{Position: at, Paths: []string{"/params"}}}})
	r.must(err)
	c, err := r.Compare(r.ctx, r.reader("acme"), "run-1", "run-2")
	r.must(err)
	one := int64(1)
	want := []answer.Uncheckable{{Field: "params", Reason: answer.Erased, Steps: 1, StepIndex: &one}}
	if diff := cmp.Diff(want, c.Uncheckable); diff != "" || c.Parity || c.Comparable || c.Divergence != nil {
		t.Errorf("%+v (-want +got)\n%s", c, diff)
	}
}

// TestCompareMany: steps of several pages, with the difference on the last.
func TestCompareMany(t *testing.T) {
	r := newRig(t)
	const n, odd = pageSize + 70, pageSize + 33
	many := func(run string) *TraceRequest {
		q := r.sample(run)
		q.Steps = nil
		for i := range n {
			q.Steps = append(q.Steps, StepRequest{
				OccurredAt: (r.start + evidence.Micros(i)).String(), SpanID: fmt.Sprintf("%016x", i+1),
				StepKind: "tool", SkillName: "s", Status: "success", Params: evidence.QuoteJSON(fmt.Sprint(i)),
			})
			if i > 0 { // as deep as there are steps
				q.Steps[i].ParentSpanID = q.Steps[i-1].SpanID
			}
		}
		return q
	}
	this, other := many("run-1"), many("run-2")
	other.Steps[odd].Params = json.RawMessage(`"odd"`)
	r.store("acme", this)
	r.store("acme", other)
	c, err := r.Compare(r.ctx, r.reader("acme"), "run-1", "run-2")
	r.must(err)
	if d := c.Divergence; c.Compared != n || c.Divergent != 1 || d == nil || *d.StepIndex != odd || d.Field != "params" || d.Other.Text() != "odd" || d.This.Text() != fmt.Sprint(odd) {
		t.Errorf("%+v, %+v", c, c.Divergence)
	}
}

func TestCompareTooLarge(t *testing.T) {
	r := newRig(t)
	r.maxSteps = 5
	r.store("acme", r.sample("run-1"))
	c, err := r.Compare(r.ctx, r.reader("acme"), "run-1", "run-1")
	r.must(err)
	if c.Compared != 5 || !c.Parity {
		t.Errorf("as many as may be: %+v", c)
	}
	more := r.sample("run-1")
	more.TraceID, more.Steps = strings.Repeat("ab", 16), more.Steps[:1]
	r.store("acme", more)
	_, err = r.Compare(r.ctx, r.reader("acme"), "run-1", "run-1")
	wantError(t, err, evidence.ErrTooLarge, "")
}

func TestCompareRefuses(t *testing.T) {
	r := newRig(t)
	r.store("acme", r.sample("run-1"))
	r.store("other", r.sample("run-2"))
	for _, tc := range []struct {
		name, run, other, field string
		sentinel                error
	}{
		{"unknown", "nothing", "run-1", "", evidence.ErrNotFound},
		{"foreign", "run-1", "run-2", "", evidence.ErrNotFound},
		{"no run", "", "run-1", "run_id", problem.ErrMalformed},
		{"no other", "run-1", "", "other_run_id", problem.ErrMalformed},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := r.Compare(r.ctx, r.reader("acme"), tc.run, tc.other)
			wantError(t, err, tc.sentinel, tc.field)
		})
	}
}
