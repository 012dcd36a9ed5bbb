package dialect

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestGovernance(t *testing.T) {
	until := time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC).UnixMicro()
	for _, tt := range []struct {
		name  string
		attrs map[string]any
		want  []Governance
	}{
		{"nothing", map[string]any{"runledger.unknown": "x", "runledger.run_id": "r"}, nil},
		{
			"policy",
			map[string]any{"runledger.policy_id": "p", "runledger.rule_id": "r", "runledger.decision": "deny", "runledger.reason": "why"},
			[]Governance{{Event: "PolicyEvaluated", EntityType: "POLICY_RULE", EntityID: "r", Decision: "DENIED", PolicyID: "p", RuleID: "r", Reason: "why"}},
		},
		{
			"decision alone",
			map[string]any{"runledger.decision": "WARNED"},
			[]Governance{{Event: "PolicyEvaluated", EntityType: "POLICY_RULE", EntityID: "step", Decision: "WARNED"}},
		},
		{
			"unknown decision",
			map[string]any{"runledger.decision": "perhaps", "runledger.rule_id": "r"},
			[]Governance{{Event: "PolicyEvaluated", EntityType: "POLICY_RULE", EntityID: "r", RuleID: "r"}},
		},
		{
			"limit kept",
			map[string]any{"runledger.limit_id": "l", "runledger.limit_value": 100, "runledger.observed_value": 99.5, "runledger.limit_unit": "USD"},
			[]Governance{{Event: "LimitChecked", EntityType: "LIMIT", EntityID: "l", Decision: "PASSED", LimitID: "l", LimitValue: "100", ObservedValue: "99.5", LimitUnit: "USD"}},
		},
		{
			"limit breached by its numbers",
			map[string]any{"runledger.limit_id": "l", "runledger.limit_value": "100.0", "runledger.observed_value": "1e3"},
			[]Governance{{Event: "LimitBreached", EntityType: "LIMIT", EntityID: "l", Decision: "BREACHED", LimitID: "l", LimitValue: "100", ObservedValue: "1000"}},
		},
		{
			"limit breached by decision, with a policy and an incident",
			map[string]any{"runledger.limit_id": "l", "runledger.decision": "BLOCKED", "runledger.policy_id": "p", "runledger.incident_id": "i"},
			[]Governance{{Event: "LimitBreached", EntityType: "LIMIT", EntityID: "l", Decision: "BLOCKED", LimitID: "l", PolicyID: "p", IncidentID: "i"}},
		},
		{
			"override",
			map[string]any{"runledger.limit_id": "l", "runledger.override_reason": "urgent", "runledger.override_from": 1764547200, "runledger.override.until": "2026-12-01T00:00:00Z"},
			[]Governance{{
				Event: "LimitOverrideGranted", EntityType: "LIMIT", EntityID: "l", Decision: "ALLOWED", LimitID: "l", Reason: "urgent",
				ValidFrom: 1764547200_000000, ValidUntil: until,
			}},
		},
		{
			"check and override",
			map[string]any{"runledger.limit_id": "l", "runledger.decision": "BREACHED", "runledger.override": true, "runledger.reason": "why"},
			[]Governance{
				{Event: "LimitBreached", EntityType: "LIMIT", EntityID: "l", Decision: "BREACHED", LimitID: "l", Reason: "why"},
				{Event: "LimitOverrideGranted", EntityType: "LIMIT", EntityID: "l", Decision: "ALLOWED", LimitID: "l", Reason: "why"},
			},
		},
		{
			"incident",
			map[string]any{"runledger.incident_ids": []any{"i", "j"}},
			[]Governance{{Event: "IncidentReported", EntityType: "INCIDENT", EntityID: "i", IncidentID: "i"}},
		},
		{
			"named event",
			map[string]any{"runledger.event_type": "SignalEscalated", "runledger.entity_id": "s-1"},
			[]Governance{{Event: "SignalEscalated", EntityType: "SIGNAL", EntityID: "s-1"}},
		},
		{
			"the server's own entities are not a producer's",
			map[string]any{"runledger.event_type": "LOGIN", "runledger.entity_type": "IDENTITY", "runledger.entity_id": "x"},
			nil,
		},
		{
			"nor are its events",
			map[string]any{"runledger.event_type": "LOGIN", "runledger.rule_id": "r", "runledger.entity_type": "RBAC"},
			[]Governance{{Event: "PolicyEvaluated", EntityType: "POLICY_RULE", EntityID: "r", RuleID: "r"}},
		},
		{
			"draft guardrail",
			map[string]any{
				"gen_ai.guardrail.verdict.type": "modify", "gen_ai.guardrail.component.name": "pii", "gen_ai.guardrail.security.policy.id": "p",
				"gen_ai.guardrail.verdict.reason": "mail", "gen_ai.guardrail.security.risk.score": 0.7,
			},
			[]Governance{{Event: "PolicyEvaluated", EntityType: "POLICY_RULE", EntityID: "pii", Decision: "WARNED", PolicyID: "p", RuleID: "pii", Reason: "mail", ObservedValue: "0.7"}},
		},
		{
			"guardrail that passed, with own ids",
			map[string]any{"openinference.span.kind": "GUARDRAIL", "guardrail.triggered": false, "runledger.policy_id": "p"},
			[]Governance{{Event: "PolicyEvaluated", EntityType: "POLICY_RULE", EntityID: "p", Decision: "PASSED", PolicyID: "p", RuleID: "step"}},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := read(t, "x", "step", tt.attrs)
			if d := cmp.Diff(tt.want, r.Governance); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

func TestGovernanceOfEvents(t *testing.T) {
	sp := testSpan(t, "step", map[string]any{"runledger.policy_id": "p"})
	e := sp.Events().AppendEmpty()
	e.SetName("limit")
	e.Attributes().PutStr("runledger.limit_id", "l")
	e.Attributes().PutStr("runledger.incident_id", "i")
	r := Default().ReadSpan(benchResource(), testScope("x", ""), sp)
	want := []Governance{
		{Event: "PolicyEvaluated", EntityType: "POLICY_RULE", EntityID: "p", PolicyID: "p"},
		{Event: "LimitChecked", EntityType: "LIMIT", EntityID: "l", LimitID: "l", IncidentID: "i"},
	}
	if d := cmp.Diff(want, r.Governance); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if d := cmp.Diff([][]string{{"p"}, {"i"}}, [][]string{r.PolicyIDs, r.IncidentIDs}); d != "" {
		t.Errorf("ids (-want +got):\n%s", d)
	}
}

func TestDecimals(t *testing.T) {
	for in, want := range map[string]string{
		"0": "0", "-0.0": "0", "007": "7", "1.50": "1.5", "1e3": "1000", "1.25E-3": "0.00125", "-12.5": "-12.5", "+4": "4",
		"100": "100", "1e": "", "": "", ".": "", "1.2.3": "", "x": "", "1e2000": "",
	} {
		d, ok := parseDecimal(in)
		got := ""
		if ok {
			got = d.String()
		}
		if got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
	for _, tt := range []struct {
		in    string
		shift int
		want  Opt
	}{
		{"0.00001005", 9, Some(10050)},
		{"1.0049999999999999e-05", 9, Some(10050)},
		{"0.0000000005", 9, Some(1)}, // half up
		{"0.00000000049", 9, Some(0)},
		{"-0.0000000005", 9, Some(-1)},
		{"9007199254740991", 0, Some(9007199254740991)},
		{"9007199254740992", 0, Opt{}},
		{"1e18", 0, Opt{}},
		{"0.048", 6, Some(48000)},
	} {
		if got := scaledText(tt.in, tt.shift); got != tt.want && (got.OK || tt.want.OK) {
			t.Errorf("%s: got %v, want %v", tt.in, got, tt.want)
		}
	}
	for _, tt := range []struct {
		a, b  string
		above bool
	}{{"1", "1.0", false}, {"1.01", "1", true}, {"-1", "-2", true}, {"0", "-1", true}, {"100", "99.9", true}, {"9", "10", false}, {"0.1", "0.09", true}} {
		if above, ok := exceeds(tt.a, tt.b); !ok || above != tt.above {
			t.Errorf("%s above %s: %v, %v", tt.a, tt.b, above, ok)
		}
	}
}
