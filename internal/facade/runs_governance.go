package facade

import (
	"context"
	"slices"

	"github.com/runledger/runledger/answer"
	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

// overrideEvents are the audit events by which somebody sets a rule or limit aside,
// whatever they are about.
var overrideEvents = []string{
	"LimitOverrideGranted", "LimitOverrideRevoked", "EmergencyOverrideActivated", "EmergencyOverrideDeactivated",
}

const (
	entityLimit    = "LIMIT"
	entityIncident = "INCIDENT"
)

// governing are the kinds of entity whose entries say how policy acted on a run.
// A signal is a judgement on it, above all EvaluationRecorded.
var governing = []string{entityLimit, "POLICY_RULE", "POLICY_PROPOSAL", "SIGNAL"}

// maxIncidents bounds how many incident entries of a run give their ids to one
// answer.
const maxIncidents = 100

// Governance answers O3 of LLM_RUNS from the audit entries that are bound to the
// run by its id or by its correlation_id. Entries about limits are threshold
// checks; about rules, proposals and signals evaluations; those of overrides
// neither. Entries about incidents only give their ids. Looks at the run, its
// exports and access to it are no governance. An entry that contradicts another
// is shown, flagged by conflict_of.
func (f *Facade) Governance(ctx context.Context, r Reader, run string, p Paging) (*answer.RunGovernance, error) {
	t, err := f.run(ctx, r, run)
	if err != nil {
		return nil, err
	}
	limit, err := r.limit(p.Limit, r.MaxRows)
	if err != nil {
		return nil, err
	}
	l, err := f.timeline(ctx, r, digest("governance", t.id, r.where()), p.Cursor, false)
	if err != nil {
		return nil, err
	}
	entries := l.lane(store.Query{
		Tenant: r.Tenant, Kind: evidence.KindAudit, Where: r.where(t.bound(), about(governing...)),
	})
	records, more, err := l.read(ctx, limit, entries)
	if err != nil {
		return nil, err
	}
	incidents, err := f.incidents(ctx, r, t, l.own)
	if err != nil {
		return nil, err
	}
	out := &answer.RunGovernance{
		RunID: t.id, ThresholdChecks: []answer.ThresholdCheck{}, PolicyEvaluations: []answer.PolicyEvaluation{},
		Overrides: []answer.Override{}, HasMore: more,
	}
	for _, rec := range records {
		switch {
		case slices.Contains(overrideEvents, rec.Leaf.Text("event_type")):
			out.Overrides = append(out.Overrides, overrideOf(rec))
		case rec.Leaf.Text("entity_type") == entityLimit:
			out.ThresholdChecks = append(out.ThresholdChecks, thresholdOf(rec))
		default:
			out.PolicyEvaluations = append(out.PolicyEvaluations, evaluationOf(rec))
		}
	}
	if more {
		out.NextCursor = l.next()
	}
	parts := governanceMetadata(append(records, incidents...))
	if parts == nil {
		parts = t.metadata()
	}
	out.Metadata = f.union(r, t.id, parts)
	return out, nil
}

// bound holds for audit entries of the run.
func (t *theRun) bound() store.Condition {
	c := store.Condition{Any: ofRun(t.id)}
	if t.correlation != "" {
		c.Any = append(c.Any, anyOf("correlation_id", []string{t.correlation}))
	}
	return c
}

// about holds for audit entries about entities of these types, and for overrides.
func about(entities ...string) store.Condition {
	return store.Condition{Any: []store.Condition{anyOf("entity_type", entities), anyOf("event_type", overrideEvents)}}
}

// incidents returns the entries of the run that are about incidents.
func (f *Facade) incidents(ctx context.Context, r Reader, t *theRun, pin store.Position) ([]record, error) {
	found, err := f.cfg.Ledger.Find(ctx, store.Query{
		Tenant: r.Tenant, Kind: evidence.KindAudit, Where: r.where(t.bound(), anyOf("entity_type", []string{entityIncident})),
		Below: pin, Order: store.ByTime, Limit: maxIncidents,
	})
	if err != nil || len(found) == 0 {
		return nil, err
	}
	all, err := f.fetch(ctx, r, r.Tenant, found)
	return slices.DeleteFunc(all, func(rec record) bool {
		return slices.Contains(overrideEvents, rec.Leaf.Text("event_type")) // it is among the others
	}), err
}

// governanceMetadata returns the metadata of entries with the policy and the
// incident that each is about among the ids.
func governanceMetadata(records []record) []evidence.Metadata {
	var out []evidence.Metadata
	for _, rec := range records {
		m := rec.metadata()
		m.PolicyIDs = withID(m.PolicyIDs, rec.text("policy_id"))
		if rec.Leaf.Text("entity_type") == entityIncident {
			m.IncidentIDs = withID(m.IncidentIDs, rec.text("entity_id"))
		}
		out = append(out, m)
	}
	return out
}

func withID(ids []string, id string) []string {
	if id == "" || slices.Contains(ids, id) {
		return ids
	}
	return append(slices.Clone(ids), id)
}

// limitID is the limit that an entry is about.
func (r record) limitID() *string {
	if id := r.maybe("limit_id"); id != nil || r.Leaf.Text("entity_type") != entityLimit {
		return id
	}
	return r.maybe("entity_id")
}

func thresholdOf(rec record) answer.ThresholdCheck {
	return answer.ThresholdCheck{
		Timestamp: rec.Leaf.OccurredAt, EventType: rec.text("event_type"),
		LimitID: rec.limitID(), LimitValue: rec.maybe("limit_value"), ObservedValue: rec.maybe("observed_value"),
		LimitUnit: rec.maybe("limit_unit"), Decision: rec.maybe("decision"), Reason: rec.content("/action_reason"),
		ConflictOf: rec.conflictOf(), LeafIndex: rec.Leaf.Seq, Metadata: rec.metadata(),
	}
}

func evaluationOf(rec record) answer.PolicyEvaluation {
	return answer.PolicyEvaluation{
		Timestamp: rec.Leaf.OccurredAt, EventType: rec.text("event_type"),
		EntityType: rec.text("entity_type"), EntityID: rec.text("entity_id"),
		PolicyID: rec.maybe("policy_id"), RuleID: rec.maybe("rule_id"), Decision: rec.maybe("decision"),
		Reason: rec.content("/action_reason"), ConflictOf: rec.conflictOf(), LeafIndex: rec.Leaf.Seq, Metadata: rec.metadata(),
	}
}

func overrideOf(rec record) answer.Override {
	return answer.Override{
		Timestamp: rec.Leaf.OccurredAt, EventType: rec.text("event_type"),
		EntityType: rec.text("entity_type"), EntityID: rec.text("entity_id"), LimitID: rec.limitID(),
		Who: rec.actor(), ActorType: rec.text("actor_type"), Why: rec.content("/action_reason"),
		From: rec.maybeTime("valid_from"), Until: rec.maybeTime("valid_until"),
		ConflictOf: rec.conflictOf(), LeafIndex: rec.Leaf.Seq, Metadata: rec.metadata(),
	}
}
