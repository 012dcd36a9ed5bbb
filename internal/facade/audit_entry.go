package facade

import (
	"github.com/runledger/runledger/answer"
)

func auditEntriesOf(records []record) []answer.AuditEntry {
	entries := make([]answer.AuditEntry, len(records))
	for i, rec := range records {
		entries[i] = auditEntryOf(rec)
	}
	return entries
}

func auditEntryOf(r record) answer.AuditEntry {
	return answer.AuditEntry{
		ID:            r.Leaf.ID.String(),
		EventType:     r.text("event_type"),
		EntityType:    r.text("entity_type"),
		EntityID:      r.text("entity_id"),
		ActorType:     r.text("actor_type"),
		ActorID:       r.actor(),
		AboutRun:      optional(r.Leaf.Text("about_run")),
		RuleID:        r.maybe("rule_id"),
		PolicyID:      r.maybe("policy_id"),
		Decision:      r.maybe("decision"),
		LimitID:       r.maybe("limit_id"),
		LimitValue:    r.maybe("limit_value"),
		ObservedValue: r.maybe("observed_value"),
		LimitUnit:     r.maybe("limit_unit"),
		ValidFrom:     r.maybeTime("valid_from"),
		ValidUntil:    r.maybeTime("valid_until"),
		Route:         r.maybe("route"),
		StatusCode:    r.maybeNumber("status_code"),
		RecordCount:   r.maybeNumber("record_count"),
		ByteCount:     r.maybeNumber("byte_count"),
		CredentialID:  r.maybe("credential_id"),
		Roles:         r.list("roles"),
		ActionReason:  r.content("/action_reason"),
		BeforeState:   r.content("/before_state"),
		AfterState:    r.content("/after_state"),
		ViewDigest:    r.content("/view_digest"),
		Client:        r.content("/client"),
		Query:         r.content("/query"),
		OccurredAt:    r.Leaf.OccurredAt,
		CreatedAt:     r.Leaf.RecordedAt,
		LeafIndex:     r.Leaf.Seq,
		Metadata:      r.metadata(),
	}
}

// decisionOf reads an entry as a decision about access. A view or export that
// names no decision took place, so it was allowed.
func decisionOf(r record) answer.AuthorizationDecision {
	d := answer.AuthorizationDecision{
		Timestamp: r.Leaf.OccurredAt,
		EventType: r.text("event_type"),
		Subject:   r.maybe("credential_id"),
		Roles:     r.list("roles"),
		Action:    r.text("route"),
		Resource:  r.text("entity_id"),
		Decision:  r.text("decision"),
		RuleID:    r.maybe("rule_id"),
		Reason:    r.content("/action_reason"),
		LeafIndex: r.Leaf.Seq,
		Metadata:  r.metadata(),
	}
	if d.Subject == nil || r.text("actor_type") == "HUMAN" {
		d.Subject = r.actor()
	}
	if d.Action == "" { // one that came by no route, such as an export of the command line
		d.Action = d.EventType
	}
	if run := r.Leaf.Text("about_run"); run != "" {
		d.Resource = run
	}
	if d.Decision == "" && d.EventType != eventDecision {
		d.Decision = "ALLOWED"
	}
	return d
}
