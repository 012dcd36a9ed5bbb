package main

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/runledger/runledger/answer"
	"github.com/runledger/runledger/evidence"
)

var update = flag.Bool("update", false, "write the golden files anew")

const goldenRun = "4bf92f3577b34da6a3ce929d0e0e4736"

// goldenTime is the start of the run of the golden files.
var goldenTime = evidence.MicrosOf(time.Date(2026, 11, 23, 16, 0, 2, 123_456_000, time.UTC))

func after(ms float64) evidence.Micros { return goldenTime + micros(ms) }

func jsonOf(s string) answer.Content { return answer.Shown([]byte(s)) }

func goldenMeta() evidence.Metadata {
	return evidence.Metadata{
		TenantID: "acme", RunID: new(goldenRun), AgentID: new("support-bot"), OccurredAt: goldenTime, RecordedAt: after(13_000),
		SourceDomain: "ACTIVITY", SourceComponent: "TraceStore", Origin: "AGENT", PolicyIDs: []string{"refunds"}, IncidentIDs: []string{},
		Checksum: new("sha256:aa11bb22cc33dd44ee55ff6600112233445566778899aabbccddeeff00112233"),
		Log:      new("ledger.example/0123456789ab"), LeafIndex: new(int64(42)),
	}
}

// hostile is what a record may say to a terminal.
const hostile = "\x1b[2J\x1b]0;owned\a\u202egnp.exe\u2066 \r\nnext\x00 \u009b31m"

func goldenEnvelope() *answer.RunEnvelope {
	return &answer.RunEnvelope{
		RunID: goldenRun, Status: "FAILED", ExecutorType: "agent", Outcome: new("failure"), Provider: new("openai"), Model: new("gpt-5-mini-2026-08-07"),
		InputTokens: new(int64(1200)), OutputTokens: new(int64(300)), CachedInputTokens: new(int64(400)), ReasoningTokens: new(int64(100)),
		CostUSDNanos: new(int64(12_345_000)), StartedAt: goldenTime, CompletedAt: new(after(12_400)), TraceID: new(goldenRun), Source: "SDK",
		Prompt:   jsonOf(`[{"role":"system","content":"You are kind."},{"role":"user","parts":[{"type":"text","content":"Where is my order?\nI have waited for two weeks, and nobody at your shop has told me anything. Please give me my money back, all of it, now."}]}]`),
		Response: answer.WithheldFor(answer.NotPermitted, "00ff"), Models: []string{"gpt-5-mini-2026-08-07", "gpt-5"}, Completeness: []string{"cost_unknown"},
		Revision: 2, Revisions: []answer.Revision{
			{Revision: 1, Status: "SUCCEEDED", Outcome: new("success"), Metadata: goldenMeta()},
			{Revision: 2, Status: "FAILED", Outcome: new("failure"), Metadata: goldenMeta()},
			{Revision: 2, Status: "SUCCEEDED", Conflict: true, Metadata: goldenMeta()},
		},
		AgentName: new("support-bot"), RunAlias: new("order 42"), InflectionAt: new(after(8_200.5)), InflectionStepIndex: new(int64(3)),
		InflectionKind: new("breach"), InflectionReason: jsonOf(`"150 EUR is over the limit"`), StepCount: 5, RecordCount: 9, SealedBy: new("root_span"),
		Metadata: goldenMeta(),
	}
}

func goldenRuns() []answer.RunEnvelope {
	running := answer.RunEnvelope{RunID: "run-2", Status: "RUNNING", ExecutorType: "LLM", StartedAt: after(60_000), Source: "API", AgentName: new("注文サポート係"), Metadata: goldenMeta()}
	synthetic := answer.RunEnvelope{
		RunID: "run-3", Status: "SUCCEEDED", Outcome: new("success"), StartedAt: after(-86_400_000), CompletedAt: new(after(-86_399_000)), IsSynthetic: true,
		Model: new("m"), AgentName: new("an agent with a name that is so long that it does not fit" + hostile), StepCount: 1, CostUSDNanos: new(int64(2_000_000_000)),
	}
	return []answer.RunEnvelope{*goldenEnvelope(), running, synthetic}
}

func goldenTrace() *answer.RunTrace {
	step := func(n, parent int64, at, took float64, kind, name, status string) answer.Step {
		s := answer.Step{
			StepIndex: n, LeafIndex: 40 + n, Timestamp: after(at), DurationMS: took, Kind: kind, SkillName: name, Status: status,
			Events: []answer.StepEvent{}, Flags: []string{},
		}
		if parent >= 0 {
			s.ParentStepIndex = &parent
		}
		return s
	}
	steps := []answer.Step{
		step(0, -1, 0, 12_400, "agent", "support-bot", "failure"),
		step(1, 0, 100, 2_000, "llm", "chat gpt-5-mini", "success"),
		step(2, 1, 900.25, 0, "guardrail", "口調の確認", "success"),
		step(3, 0, 8_200, 4_000, "tool", "refund", "failure"),
		step(4, 99, 12_399.9, 0.1, "tool", "a tool with a very long name that cannot be shown whole"+hostile, "retry"),
	}
	steps[1].RequestModel = new("gpt-5-mini")
	steps[1].Model, steps[1].InputTokens, steps[1].OutputTokens = new("gpt-5-mini-2026-08-07"), new(int64(1200)), new(int64(300))
	steps[1].Prompt = jsonOf(`[{"role":"user","content":"Where is my order?` + `"}]`)
	steps[1].Response = jsonOf(`[{"role":"assistant","content":[{"type":"text","text":"` + "\\u001b[31mご注文は発送されました。" + `"},{"type":"tool_call","id":"c1","name":"refund"}],"finish_reason":"tool_calls"}]`)
	steps[2].Prompt, steps[2].Response = answer.WithheldFor(answer.NotPermitted, "aa"), answer.WithheldFor(answer.NotPermitted, "bb")
	steps[3].Params = jsonOf(`{"order": "42", "amount": 150.0, "note": "` + "שלום" + `"}`)
	steps[3].OutcomeData = answer.WithheldFor(answer.Erased, "cc")
	steps[3].StatusMessage, steps[3].OutcomeCode = jsonOf(`"limit exceeded"`), new("E42")
	steps[3].Events = []answer.StepEvent{{EventName: "exception", Timestamp: after(8_300), Severity: new("ERROR"), Body: jsonOf(`"LimitExceeded: 150 > 100"`)}}
	steps[4].Late, steps[4].RetryCount = true, 2
	return &answer.RunTrace{
		RunID: goldenRun, Steps: steps, TotalSteps: 5, TotalDurationMS: 12_400, TotalTokens: new(int64(1500)),
		Events: []answer.StepEvent{{EventName: "run.note", Timestamp: after(5), Body: jsonOf(`{"k":[1,2]}`), LeafIndex: 50}},
	}
}

func goldenGovernance() *answer.RunGovernance {
	return &answer.RunGovernance{
		RunID: goldenRun,
		ThresholdChecks: []answer.ThresholdCheck{
			{Timestamp: after(8_200), EventType: "LimitBreached", LimitID: new("refund-eur"), LimitValue: new("100"), ObservedValue: new("150.00"), LimitUnit: new("EUR"), Decision: new("BREACHED"), Reason: jsonOf(`"over the limit of the day"`), LeafIndex: 47},
		},
		PolicyEvaluations: []answer.PolicyEvaluation{
			{Timestamp: after(900), EventType: "PolicyEvaluated", EntityType: "POLICY_RULE", EntityID: "tone", PolicyID: new("tone"), Decision: new("ALLOWED"), Reason: answer.WithheldFor(answer.NotPermitted, "aa"), LeafIndex: 44},
		},
		Overrides: []answer.Override{
			{Timestamp: after(9_000), EventType: "LimitOverrideGranted", EntityType: "LIMIT", EntityID: "refund-eur", ActorType: "HUMAN", Why: answer.WithheldFor(answer.Expired, "bb"), From: new(after(9_000)), Until: new(after(3_609_000)), LeafIndex: 48},
		},
	}
}

func goldenReplay() *answer.ReplayWindow {
	center := after(8_200.5)
	event := func(source string, offset float64, leaf int64, action, outcome string) answer.ReplayEvent {
		return answer.ReplayEvent{Source: source, Timestamp: center + micros(offset), OffsetMS: offset, Action: action, Outcome: outcome, LeafIndex: leaf}
	}
	step := event("llm", -0.5, 43, "tool refund", "failure")
	step.StepIndex = new(int64(3))
	return &answer.ReplayWindow{
		RunID: goldenRun, CenterTimestamp: center, CenterSource: "inflection_at", WindowStart: center - 30e6, WindowEnd: center + 30e6,
		LLMEvents:    []answer.ReplayEvent{event("llm", -8200.5, 40, "agent support-bot", "failure"), step},
		SystemEvents: []answer.ReplayEvent{event("system", -30_000, 3, "RESTART worker", "WARN"), event("system", 30_000, 60, "HEALTH_CHECK データベース", "INFO")},
		PolicyEvents: []answer.ReplayEvent{event("policy", 0, 47, "LimitBreached", "BREACHED"), event("policy", 800, 48, "LimitOverrideGranted", "")},
	}
}

func goldenEvents() []answer.SystemEvent {
	return []answer.SystemEvent{
		{Component: "worker", EventType: "RESTART", Severity: "WARN", CausedBy: new("AUTOMATION"), Version: new("1.4.2"), Summary: jsonOf(`"the worker was restarted\nafter it ran out of memory, which it does when a prompt is longer than any prompt should be"`), OccurredAt: goldenTime, LeafIndex: 12},
		{Component: "データベース", EventType: "HEALTH_CHECK", Severity: "CRITICAL", Summary: answer.WithheldFor(answer.NotPermitted, "aa"), OccurredAt: after(-1), LeafIndex: 9},
	}
}

func goldenEntries() []answer.AuditEntry {
	view := answer.AuditEntry{
		EventType: "LOG_VIEW", EntityType: "LOG", EntityID: "LLM_RUNS", ActorType: "HUMAN", ActorID: new("cli:anna"), AboutRun: new(goldenRun), Decision: new("ALLOWED"),
		Route: new("GET /api/v1/logs/llm-runs/{run_id}/trace"), StatusCode: new(int64(200)), RecordCount: new(int64(5)), ByteCount: new(int64(20480)), Roles: []string{"operator"},
		ViewDigest: jsonOf(`"sha256:aa11"`), OccurredAt: goldenTime, LeafIndex: 70, Metadata: evidence.Metadata{},
	}
	denial := answer.AuditEntry{
		EventType: "ACCESS_DECISION", EntityType: "RBAC", EntityID: "/api/v1/logs/audit", ActorType: "HUMAN", Decision: new("DENIED"), Roles: []string{"viewer"},
		ActionReason: jsonOf(`"needs audit.read"`), Client: jsonOf(`{"address":"192.0.2.1"}`), OccurredAt: after(-5_000), LeafIndex: 69, Metadata: goldenMeta(),
	}
	return []answer.AuditEntry{view, denial}
}

func TestGolden(t *testing.T) {
	tests := map[string]struct {
		width   int
		content bool
		show    func(s *screen)
	}{
		"runs":           {120, false, func(s *screen) { s.runs(goldenRuns()) }},
		"run":            {100, false, func(s *screen) { s.run(goldenEnvelope()) }},
		"run_content":    {60, true, func(s *screen) { s.run(goldenEnvelope()) }},
		"run_running":    {100, false, func(s *screen) { s.run(&goldenRuns()[1]) }},
		"trace":          {120, false, func(s *screen) { s.trace(goldenTrace()) }},
		"trace_narrow":   {80, false, func(s *screen) { s.trace(goldenTrace()) }},
		"trace_content":  {90, true, func(s *screen) { s.trace(goldenTrace()) }},
		"trace_empty":    {90, true, func(s *screen) { s.trace(&answer.RunTrace{RunID: goldenRun}) }},
		"governance":     {120, false, func(s *screen) { s.governance(goldenGovernance()) }},
		"governance_no":  {120, false, func(s *screen) { s.governance(&answer.RunGovernance{RunID: goldenRun}) }},
		"replay":         {110, false, func(s *screen) { s.replay(goldenReplay()) }},
		"replay_nothing": {110, false, func(s *screen) { s.replay(&answer.ReplayWindow{RunID: goldenRun, CenterSource: "request"}) }},
		"system":         {110, false, func(s *screen) { s.events(goldenEvents()) }},
		"responsibility": {110, false, func(s *screen) {
			s.responsibility([]answer.Responsibility{{Component: "worker", Count: 12, WorstSeverity: "CRITICAL", First: goldenTime, Last: after(1e6)}, {CausedBy: new("HUMAN"), Component: "db", Count: 1, WorstSeverity: "INFO", First: goldenTime, Last: goldenTime}})
		}},
		"telemetry": {120, false, func(s *screen) {
			s.telemetry(&answer.SystemTelemetry{RunID: goldenRun, Status: "collected", Series: []answer.Series{
				{Name: "process.memory", Unit: "By", Type: "gauge", Attributes: map[string]any{"host": "a", "pid": 7.0}, Points: []answer.Point{{Value: new(12.5)}, {Value: new(99.0)}, {Value: new(3.0)}}, LeafIndex: 3},
				{Name: "latency", Unit: "ms", Type: "histogram", Points: []answer.Point{{Count: new(int64(4)), Sum: new(10.0)}}, LeafIndex: 4},
				{Name: "secret", Type: "sum", Withheld: &answer.Withheld{Withheld: true, Reason: answer.NotPermitted}, LeafIndex: 5},
			}})
		}},
		"telemetry_no": {120, false, func(s *screen) {
			s.telemetry(&answer.SystemTelemetry{RunID: goldenRun, Status: "telemetry_not_collected", Reason: "no_telemetry_in_run_window", AvailableData: []string{"events", "snapshot", "replay"}})
		}},
		"audit":    {120, false, func(s *screen) { s.entries(goldenEntries()) }},
		"access":   {150, false, func(s *screen) { s.accesses(goldenEntries()[:1]) }},
		"identity": {120, false, func(s *screen) { s.identities(goldenEntries()[1:]) }},
		"authorization": {140, false, func(s *screen) {
			s.decisions([]answer.AuthorizationDecision{{Timestamp: goldenTime, EventType: "ACCESS_DECISION", Roles: []string{"viewer"}, Action: "GET /api/v1/logs/audit", Resource: goldenRun, Decision: "DENIED", RuleID: new("audit"), Reason: jsonOf(`"needs audit.read"`), LeafIndex: 69}})
		}},
		"integrity": {110, false, func(s *screen) {
			s.integrity(&answer.AuditIntegrity{
				IntegrityStatus: "compromised", LastVerified: new(goldenTime), TreeSize: 70, VerifiedThrough: 68, RootHash: "ab12", Why: new("a leaf is another"),
				Checkpoint: "ledger.example/0123456789ab\n70\nqxI=\n\n— ledger.example/0123456789ab AAAA\n",
				Anomalies:  []answer.Anomaly{{Code: "leaf_hash", Table: "aos_trace_steps", Column: new("status"), LeafFrom: 40, LeafUntil: 42, Expected: new("aa"), Found: new("bb"), Message: "what is stored is not what was signed", FirstSeen: goldenTime}},
			})
		}},
		"exports": {150, false, func(s *screen) {
			s.exports([]answer.ExportState{{ExportID: "3f2a9c1e-5b7d-4e8a-9c60-1d2e3f4a5b6c", Scope: "llm_run", Format: "zip", Status: "completed", AboutRun: new(goldenRun), SizeBytes: new(int64(4096)), RecordCount: new(int64(9)), RequestedBy: answer.WithheldFor(answer.NotPermitted, "aa"), Checksum: goldenMeta().Checksum, LeafIndex: 71, Metadata: goldenMeta()}})
		}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			test.show(&screen{w: &b, width: test.width, content: test.content})
			harmless(t, b.String())
			golden(t, name, b.Bytes())

			// Colour changes nothing else.
			var coloured bytes.Buffer
			test.show(&screen{w: &coloured, width: test.width, content: test.content, colour: true})
			if diff := cmp.Diff(b.String(), uncoloured.ReplaceAllString(coloured.String(), "")); diff != "" {
				t.Errorf("with colour:\n%s", diff)
			}
		})
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", "golden", name+".txt")
	if *update {
		if err := os.WriteFile(path, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-update writes it anew):\n%s", path, diff)
	}
}
