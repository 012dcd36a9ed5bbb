package demo

import (
	"time"

	"github.com/runledger/runledger/client"
)

// Moments of the run, in seconds from its start.
const (
	denied     = 4.6
	overridden = 18.0
	killed     = 23
	restarted  = 26.0
)

const (
	rootSpan = "a11ce00000000001"
	provider = "example"
	model    = "example-large"

	question = "Order A-17 arrived broken. Refund it, please. It was 480.00."
	reply    = "We have refunded 480.00 for order A-17. We are sorry that it arrived broken."
)

func tokens(in, out, nanos int64) client.Tokens {
	return client.Tokens{Provider: provider, Model: model, Input: &in, Output: &out, CostNanos: &nanos}
}

// plan is what the agent does before anything is decided.
func (s *script) plan() {
	s.add(0, "refund-bot takes a ticket", client.Trace{
		Common: s.common(0), TraceID: traceID, ServiceName: "refunds",
		Plan: []string{"find the order", "read the policy", "refund", "answer"},
	})
	s.add(0, "", client.Step{
		Common: s.common(0), TraceID: traceID, SpanID: rootSpan, Kind: "agent", Name: agent, Status: "success", Duration: runTime,
	})
	s.step(0.4, "the model plans", client.Step{
		Tokens: tokens(412, 96, 3_100_000), SpanID: "a11ce00000000002", Kind: "llm", Name: "chat", Status: "success",
		Duration: 1830 * time.Millisecond, FinishReason: "stop", Prompt: question,
		Response: "I will look up the order, read the refund policy, and refund it if that is allowed.",
	})
	s.step(2.4, "a tool looks up the order", client.Step{
		SpanID: "a11ce00000000003", Kind: "tool", Name: "lookup_order", Status: "success", Duration: 42 * time.Millisecond,
		Params: map[string]any{"order": "A-17"}, Result: map[string]any{"total": "480.00", "currency": "EUR", "state": "delivered, reported broken"},
	})
	s.step(2.5, "the refund policy is retrieved", client.Step{
		SpanID: "a11ce00000000004", Kind: "retrieval", Name: "refund_policy", Status: "success", Duration: 18 * time.Millisecond,
		Params: map[string]any{"query": "refund of a broken delivery"},
		Result: []string{"Broken deliveries are refunded in full.", "More than 250.00 needs a person."},
	})
	s.step(2.9, "the model decides to refund", client.Step{
		Tokens: tokens(655, 88, 4_730_000), SpanID: "a11ce00000000005", Kind: "llm", Name: "chat", Status: "success",
		Duration: 1400 * time.Millisecond, FinishReason: "tool_calls",
		Prompt: "The order was 480.00 EUR and arrived broken. What next?", Response: "Refund 480.00 EUR for order A-17.",
	})
}

// denial is the turning point.
func (s *script) denial() {
	s.govern(4.5, "policy: broken deliveries may be refunded", "", client.Audit{
		EventType: "PolicyEvaluated", EntityType: "POLICY_RULE", EntityID: "delivery-damage", PolicyID: Policy, RuleID: "delivery-damage",
		Decision: "PASSED", ActionReason: "The delivery is reported broken.",
	})
	s.govern(4.5, "limit checked: model cost of the run", "", client.Audit{
		EventType: "LimitChecked", EntityType: "LIMIT", EntityID: "run-cost", LimitID: "run-cost", LimitValue: "0.05", ObservedValue: "0.0078",
		LimitUnit: "USD", Decision: "PASSED", ActionReason: "16 % of what a run may cost.",
	})
	s.step(denied, "the guardrail stops the refund", client.Step{
		SpanID: "a11ce00000000006", Kind: "guardrail", Name: "refund_limit", Status: "failure", OutcomeCode: "over_limit",
		Duration: 3 * time.Millisecond, Params: map[string]any{"amount": "480.00", "currency": "EUR"},
		StatusMessage: "480.00 is more than 250.00",
	})
	s.govern(denied, "policy: blocked by the rule refund-limit", "", client.Audit{
		EventType: "PolicyEvaluated", EntityType: "POLICY_RULE", EntityID: "refund-limit", PolicyID: Policy, RuleID: "refund-limit",
		Decision: "BLOCKED", ActionReason: "A refund over 250.00 needs a person.",
	})
	s.govern(denied, "limit breached: 480.00 of 250.00", "", client.Audit{
		EventType: "LimitBreached", EntityType: "LIMIT", EntityID: limit, PolicyID: Policy, LimitID: limit, LimitValue: "250.00",
		ObservedValue: "480.00", LimitUnit: "EUR", Decision: "BREACHED", ActionReason: "Refund of order A-17.",
	})
	s.step(4.8, "the agent asks a person", client.Step{
		SpanID: "a11ce00000000007", Kind: "tool", Name: "request_approval", Status: "success", Duration: 13200 * time.Millisecond,
		Params: map[string]any{"order": "A-17", "amount": "480.00", "photos": 3}, Result: map[string]any{"approved": true, "for": "1h"},
	})
}

// override is what the person does.
func (s *script) override() {
	s.govern(9.2, "an operator takes the incident", human, client.Audit{
		EventType: "IncidentAcknowledged", EntityType: "INCIDENT", EntityID: Incident, ActionReason: "Looking at the photos.",
	})
	s.govern(overridden, "the operator overrides the limit for an hour", human, client.Audit{
		EventType: "LimitOverrideGranted", EntityType: "LIMIT", EntityID: limit, PolicyID: Policy, LimitID: limit, Decision: "ALLOWED",
		ValidFrom: s.at(overridden), ValidUntil: s.at(overridden + 3600), ActionReason: "Photos seen, the delivery was broken.",
	})
}

// outage is the worker that dies in the middle, and the second try.
func (s *script) outage() {
	retried := int64(1)
	refund := map[string]any{"order": "A-17", "amount": "480.00", "currency": "EUR"}
	s.step(18.4, "the first try to refund is lost", client.Step{
		SpanID: "a11ce00000000008", Kind: "tool", Name: "issue_refund", Status: "failure", OutcomeCode: "worker_lost",
		Duration: 4600 * time.Millisecond, IdempotencyKey: "refund-A-17", Params: refund, StatusMessage: "worker-3 does not answer",
	})
	worker := func(sec float64, story, event, severity, summary string, details map[string]any) {
		s.add(sec, story, client.System{
			Common:    client.Common{OccurredAt: s.at(sec), CorrelationID: Case, SystemID: "worker-3", SourceComponent: "SystemRecordWriter", IncidentIDs: []string{Incident}},
			Component: "worker", EventType: event, Severity: severity, CausedBy: "SYSTEM", Version: "2.14.0", Summary: summary, Details: details,
		})
	}
	worker(killed, "worker-3 is killed: out of memory", "ERROR", "CRITICAL", "Worker 3 was killed: out of memory.",
		map[string]any{"memory_limit": "2 GiB", "jobs_lost": 1})
	worker(restarted, "worker-3 is restarted", "RESTART", "WARN", "Worker 3 was restarted.", map[string]any{"down": "3.0s"})
	s.govern(26.9, "limit checked again: the override counts", "", client.Audit{
		EventType: "LimitChecked", EntityType: "LIMIT", EntityID: limit, PolicyID: Policy, LimitID: limit, LimitValue: "250.00",
		ObservedValue: "480.00", LimitUnit: "EUR", Decision: "ALLOWED", ActionReason: "Overridden until the hour is over.",
	})
	s.step(27.0, "the second try refunds", client.Step{
		SpanID: "a11ce00000000009", Kind: "tool", Name: "issue_refund", Status: "success", Duration: 310 * time.Millisecond, Retries: &retried,
		IdempotencyKey: "refund-A-17", Params: refund, Result: map[string]any{"refund": "rf-5521", "state": "booked"},
	})
	s.step(28.3, "the model answers the customer", client.Step{
		Tokens: tokens(655, 60, 4_520_000), SpanID: "a11ce0000000000a", Kind: "llm", Name: "chat", Status: "success",
		Duration: 2650 * time.Millisecond, FinishReason: "stop", Prompt: "The refund is booked. Tell the customer.", Response: reply,
	})
}
