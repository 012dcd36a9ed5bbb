package main

import (
	"bytes"
	"encoding/json"
	"time"

	"github.com/runledger/runledger/evidence"
)

// The run of the demo.
const (
	demoRun    = "refund-7Q4"
	demoTrace  = "4bf92f3577b34da6a3ce929d0e0e4736"
	demoDenied = "00f067aa0ba902b4" // span of the guardrail that said no
)

// demoRecord is a native record, and what it is about.
type demoRecord struct {
	story string
	json  map[string]any
}

// demoRecords is the incident, as if it had ended a minute ago.
func demoRecords(now time.Time) []demoRecord {
	at := func(sec float64) string {
		return evidence.MicrosOf(now.Add(-90*time.Second + time.Duration(sec*1e9))).String()
	}
	var list []demoRecord
	add := func(story string, sec float64, kind string, fields map[string]any) {
		fields["kind"], fields["occurred_at"] = kind, at(sec)
		if _, ok := fields["source_domain"]; !ok {
			fields["source_domain"], fields["source_component"] = "ACTIVITY", "TraceStore"
		}
		list = append(list, demoRecord{story, fields})
	}
	step := func(story string, sec float64, span, stepKind, name, status string, us int, more map[string]any) {
		fields := map[string]any{
			"run_id": demoRun, "trace_id": demoTrace, "span_id": span, "step_kind": stepKind, "skill_name": name,
			"status": status, "duration_us": us, "agent_id": "refund-bot",
		}
		for k, v := range more {
			fields[k] = v
		}
		add(story, sec, "trace_step", fields)
	}
	audit := func(story string, sec float64, id, event, entityType, entity, decision string, more map[string]any) {
		fields := map[string]any{
			"id": id, "run_id": demoRun, "event_type": event, "entity_type": entityType, "entity_id": entity,
			"decision": decision, "actor_type": "SYSTEM", "system_id": "policy-engine",
			"source_domain": "POLICY", "source_component": "PolicyEngine",
		}
		for k, v := range more {
			fields[k] = v
		}
		add(story, sec, "audit", fields)
	}

	add("the run begins", 0, "trace", map[string]any{
		"run_id": demoRun, "trace_id": demoTrace, "service_name": "support", "agent_id": "refund-bot",
		"plan": []string{"find the order", "read the policy", "refund", "answer"},
	})
	step("the model plans (prompt, response sealed)", 0.1, "00f067aa0ba902b1", "llm", "chat", "success", 1_830_000, map[string]any{
		"provider": "example", "model": "example-large", "input_tokens": 412, "output_tokens": 96,
		"prompt":   "Order A-17 arrived broken. Refund it, please. It was 480.00.",
		"response": "I will look up the order, read the refund policy, and refund it if that is allowed.",
	})
	step("a tool looks up the order", 2.0, "00f067aa0ba902b2", "tool", "lookup_order", "success", 42_000, map[string]any{
		"params": map[string]any{"order": "A-17"}, "outcome_data": map[string]any{"total": "480.00", "state": "delivered"},
	})
	step("the refund policy is retrieved", 2.1, "00f067aa0ba902b3", "retrieval", "refund_policy", "success", 18_000, map[string]any{
		"params": map[string]any{"query": "refund of a broken delivery"},
	})
	step("a guardrail denies the refund", 2.2, demoDenied, "guardrail", "refund_limit", "failure", 3_000, map[string]any{
		"outcome_code": "over_limit", "policy_ids": []string{"refunds"},
	})
	audit("policy: blocked by rule refund-limit", 2.2, "0190f3a2-0000-7000-8000-000000000001",
		"PolicyEvaluated", "POLICY_RULE", "refund-limit", "BLOCKED", map[string]any{
			"policy_id": "refunds", "rule_id": "refund-limit", "action_reason": "A refund over 250.00 needs a person.",
		})
	audit("limit breached: 480.00 of 250.00", 2.2, "0190f3a2-0000-7000-8000-000000000002",
		"LimitBreached", "LIMIT", "refund-amount", "BREACHED", map[string]any{
			"limit_id": "refund-amount", "limit_value": "250.00", "observed_value": "480.00", "limit_unit": "EUR",
			"incident_ids": []string{"INC-1042"},
		})
	add("worker-3 restarts, out of memory", 9, "system", map[string]any{
		"id": "0190f3a2-0000-7000-8000-000000000003", "component": "worker", "event_type": "RESTART", "severity": "WARN",
		"caused_by": "SYSTEM", "system_id": "worker-3", "correlation_id": demoRun,
		"summary":       "Worker 3 was restarted: out of memory.",
		"source_domain": "SYSTEM", "source_component": "SystemRecordWriter",
	})
	audit("a person overrides the limit for an hour", 31, "0190f3a2-0000-7000-8000-000000000004",
		"LimitOverrideGranted", "LIMIT", "refund-amount", "ALLOWED", map[string]any{
			"actor_type": "HUMAN", "human_actor_id": "operator@example.com", "limit_id": "refund-amount",
			"valid_from": at(31), "valid_until": at(31 + 3600), "incident_ids": []string{"INC-1042"},
			"action_reason": "Photos seen, the delivery was broken.",
		})
	step("the tool refunds", 33, "00f067aa0ba902b5", "tool", "issue_refund", "success", 310_000, map[string]any{
		"params": map[string]any{"order": "A-17", "amount": "480.00"}, "idempotency_key": "refund-A-17", "retry_count": 1,
	})
	step("the model answers (prompt, response sealed)", 33.4, "00f067aa0ba902b6", "llm", "chat", "success", 950_000, map[string]any{
		"provider": "example", "model": "example-large", "input_tokens": 655, "output_tokens": 48,
		"prompt":   "The refund was issued. Tell the customer.",
		"response": "We have refunded 480.00 for order A-17. We are sorry that it arrived broken.",
	})
	add("the run ends: success", 0, "llm_run", map[string]any{
		"run_id": demoRun, "trace_id": demoTrace, "execution_status": "SUCCEEDED", "outcome": "success", "agent_id": "refund-bot",
		"provider": "example", "model": "example-large", "models": []string{"example-large"},
		"input_tokens": 1067, "output_tokens": 144, "completed_at": at(34.4),
		"inflection_at": at(2.2), "inflection_kind": "denial", "inflection_reason": "refund-limit",
		"prompt":   "Order A-17 arrived broken. Refund it, please. It was 480.00.",
		"response": "We have refunded 480.00 for order A-17. We are sorry that it arrived broken.",
	})
	return list
}

func ndjson(list []demoRecord) []byte {
	var b bytes.Buffer
	for _, r := range list {
		line, err := json.Marshal(r.json)
		if err != nil {
			panic("demo: " + err.Error()) // plain data of this file
		}
		b.Write(append(line, '\n'))
	}
	return b.Bytes()
}
