package facade

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/runledger/runledger/answer"
	"github.com/runledger/runledger/evidence"
)

func (r *rig) governance(rd Reader, run string, p Paging) *answer.RunGovernance {
	r.t.Helper()
	g, err := r.Governance(r.ctx, rd, run, p)
	r.must(err)
	return g
}

// entry is an audit entry of a run; of none where that is 0.
func (r *rig) entry(run int, at time.Duration, event, entityType, entity string, more ...fields) *evidence.Record {
	f := fields{"event_type": event, "entity_type": entityType, "entity_id": entity}
	if run != 0 {
		f["run_id"] = traceID(run)
	}
	return r.native("audit", after(at), append([]fields{f}, more...)...)
}

func TestGovernance(t *testing.T) {
	r := newRig(t)
	ms := time.Millisecond
	r.add("acme", r.simpleRun(1, 0, fields{"correlation_id": "order-7"})...)
	r.add("acme", r.simpleRun(2, 0)...)
	r.add("acme",
		r.entry(1, 300*ms, "LimitBreached", "LIMIT", "budget", fields{
			"limit_value": "10", "observed_value": "12.5", "limit_unit": "USD", "decision": "BREACHED", "action_reason": "too dear", "policy_ids": []any{"p-2"},
		}),
		r.entry(1, 100*ms, "LimitChecked", "LIMIT", "x", fields{"limit_id": "tokens", "decision": "PASSED"}),
		r.entry(1, 200*ms, "PolicyEvaluated", "POLICY_RULE", "no-pii", fields{"rule_id": "no-pii", "policy_id": "p-1", "decision": "DENIED", "action_reason": "a name"}),
		r.entry(0, 250*ms, "PolicyEvaluated", "POLICY_RULE", "by correlation", fields{"correlation_id": "order-7", "decision": "ALLOWED"}),
		r.entry(1, 260*ms, "EvaluationRecorded", "SIGNAL", "helpfulness", fields{"decision": "PASSED"}),
		r.entry(1, 270*ms, "PolicyProposalApproved", "POLICY_PROPOSAL", "proposal-1"),
		r.entry(1, 400*ms, "LimitOverrideGranted", "LIMIT", "budget", fields{
			"actor_type": "HUMAN", "human_actor_id": "bob", "action_reason": "the customer pays",
			"valid_from": after(400 * ms).String(), "valid_until": after(time.Hour).String(),
		}),
		r.entry(1, 500*ms, "EmergencyOverrideActivated", "POLICY_RULE", "no-pii", fields{"actor_type": "AGENT", "agent_id": "warden"}),
		r.entry(1, 600*ms, "IncidentReported", "INCIDENT", "INC-1", fields{"source_domain": "INCIDENTS", "incident_ids": []any{"INC-2"}}),
		// None of the run's governance:
		r.entry(2, 100*ms, "LimitChecked", "LIMIT", "of another run"),
		r.entry(0, 100*ms, "LimitChecked", "LIMIT", "of no run"),
		r.entry(0, 100*ms, "LimitChecked", "LIMIT", "of another order", fields{"correlation_id": "order-8"}),
	)
	r.addOwn("acme", r.view(1, "order-7"))
	r.add("other", r.entry(1, 100*ms, "LimitChecked", "LIMIT", "of another tenant"))
	r.settle()

	g := r.governance(r.privileged(), traceID(1), Paging{})
	var got []string
	for _, c := range g.ThresholdChecks {
		got = append(got, fmt.Sprintf("%s %s %s/%s %s %s", c.EventType, said(c.LimitID), said(c.ObservedValue), said(c.LimitValue), said(c.Decision), c.Reason.Text()))
	}
	for _, e := range g.PolicyEvaluations {
		got = append(got, fmt.Sprintf("%s %s %s %s %s %s", e.EntityType, e.EntityID, said(e.PolicyID), said(e.RuleID), said(e.Decision), e.Reason.Text()))
	}
	for _, o := range g.Overrides {
		got = append(got, fmt.Sprintf("%s %s %s %s %s %s", o.EventType, said(o.LimitID), o.ActorType, said(o.Who), o.Why.Text(), said(o.Until)))
	}
	if d := cmp.Diff([]string{
		"LimitChecked tokens null/null PASSED ",
		"LimitBreached budget 12.5/10 BREACHED too dear",
		"POLICY_RULE no-pii p-1 no-pii DENIED a name",
		"POLICY_RULE by correlation null null ALLOWED ",
		"SIGNAL helpfulness null null PASSED ",
		"POLICY_PROPOSAL proposal-1 null null null ",
		"LimitOverrideGranted budget HUMAN bob the customer pays " + after(time.Hour).String(),
		"EmergencyOverrideActivated null AGENT warden  null",
	}, got); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"p-1", "p-2"}, g.Metadata.PolicyIDs); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"INC-2", "INC-1"}, g.Metadata.IncidentIDs); d != "" {
		t.Error(d)
	}
	want(t, "occurred_at", g.Metadata.OccurredAt.String(), after(100*ms).String())

	closed := r.governance(r.reader(), traceID(1), Paging{})
	for _, secret := range []string{"bob", "too dear", "a name", "the customer"} {
		if strings.Contains(r.text(closed), secret) {
			t.Errorf("answer has %q", secret)
		}
	}
	want(t, "who", said(closed.Overrides[0].Who), "null")

	// In pages nothing is lost, and each says the incidents of the run.
	seen := 0
	for p := (Paging{Limit: 3}); ; {
		g := r.governance(r.reader(), traceID(1), p)
		seen += len(g.ThresholdChecks) + len(g.PolicyEvaluations) + len(g.Overrides)
		want(t, "incidents", len(g.Metadata.IncidentIDs), 2)
		if !g.HasMore {
			break
		}
		p.Cursor = *g.NextCursor
	}
	want(t, "entries", seen, 8)

	none := r.governance(r.reader(), traceID(2), Paging{})
	want(t, "entries of the other run", len(none.ThresholdChecks), 1)
}

// view is a look at a run.
func (r *rig) view(run int, correlation string) *evidence.Record {
	r.t.Helper()
	r.nextID++
	rec := &evidence.Record{Kind: evidence.KindAudit, OccurredAt: after(time.Second)}
	id, ok := evidence.ParseID(fmt.Sprintf("018f0000-0000-7000-8000-%012x", r.nextID))
	if !ok {
		r.t.Fatal("not an id")
	}
	rec.ID = id
	for name, text := range map[string]string{
		"event_type": "LOG_VIEW", "entity_type": "LOG", "entity_id": "envelope", "about_run": traceID(run), "actor_type": "SYSTEM",
		"correlation_id": correlation, "source_domain": "LOGS", "source_component": "test",
	} {
		rec.SetText(name, text)
	}
	return rec
}

// TestGovernanceOfOpenRun: a run that still runs is bound by the same ids.
func TestGovernanceOfOpenRun(t *testing.T) {
	r := newRig(t)
	r.add("acme", r.simpleRun(1, 0, fields{"correlation_id": "Auftrag für Anna"})[1:]...)
	r.add("acme", r.entry(0, 0, "LimitChecked", "LIMIT", "tokens", fields{"correlation_id": "Auftrag für Anna"}))
	for _, rd := range []Reader{r.reader(), r.privileged()} {
		want(t, "checks", len(r.governance(rd, traceID(1), Paging{}).ThresholdChecks), 1)
	}
}

// TestGovernanceConflict: a contradicting entry is shown as what it is. Only
// facts that come with a span have a key that can be contradicted.
func TestGovernanceConflict(t *testing.T) {
	r := newRig(t)
	r.add("acme", r.simpleRun(1, 0)...)
	for _, decision := range []string{"PASSED", "BREACHED"} {
		rec := r.entry(1, 0, "LimitChecked", "LIMIT", "tokens", fields{"decision": decision})
		rec.ID, rec.NaturalKey = evidence.ID{}, traceID(1)+":"+spanID(1)+":g0"
		r.add("acme", rec)
	}
	g := r.governance(r.reader(), traceID(1), Paging{})
	want(t, "checks", len(g.ThresholdChecks), 2)
	want(t, "first", said(g.ThresholdChecks[0].ConflictOf), "null")
	if g.ThresholdChecks[1].ConflictOf == nil {
		t.Error("the conflict is not flagged")
	}
}
