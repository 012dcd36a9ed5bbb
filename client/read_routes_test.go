package client_test

import (
	"context"
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/runledger/runledger/answer"
	"github.com/runledger/runledger/client"
	"github.com/runledger/runledger/evidence"
)

const (
	at  = evidence.Micros(1_790_000_000_123_456)
	run = "4bf92f3577b34da6a3ce929d0e0e4736"
)

func meta() evidence.Metadata {
	return evidence.Union(evidence.Metadata{TenantID: tenant}, at)
}

func page(cursor string) answer.Page {
	p := answer.Page{Total: 3, TotalIsExact: true, FiltersApplied: map[string]any{}, Metadata: meta()}
	if cursor != "" {
		p.HasMore, p.NextCursor = true, &cursor
	}
	return p
}

func envelope(id string) answer.RunEnvelope {
	return answer.RunEnvelope{
		RunID: id, Status: "SUCCEEDED", ExecutorType: "agent", StartedAt: at, CompletedAt: new(at + 1),
		InputTokens: new(int64(1200)), Prompt: answer.Shown([]byte(`"where is my order?"`)),
		Response: answer.WithheldFor(answer.NotPermitted, "00ff"), Models: []string{"m"}, Completeness: []string{},
		Revisions: []answer.Revision{{Revision: 1, Status: "SUCCEEDED", Metadata: meta()}}, Metadata: meta(),
	}
}

func event() answer.SystemEvent {
	return answer.SystemEvent{ID: "e", Component: "worker", EventType: "RESTART", Severity: "WARN", OccurredAt: at, Metadata: meta()}
}

func entry() answer.AuditEntry {
	return answer.AuditEntry{ID: "a", EventType: "LimitBreached", EntityType: "LIMIT", EntityID: "refund", ActorType: "SYSTEM", Roles: []string{}, Metadata: meta()}
}

func replayed() *answer.ReplayWindow {
	return &answer.ReplayWindow{
		RunID: run, CenterTimestamp: at, CenterSource: "request", WindowStart: at - 30e6, WindowEnd: at + 30e6,
		LLMEvents:    []answer.ReplayEvent{{Source: "llm", Timestamp: at, OffsetMS: 0.001, Metadata: meta()}},
		SystemEvents: []answer.ReplayEvent{}, PolicyEvents: []answer.ReplayEvent{}, Metadata: meta(),
	}
}

// reading is one call of a route.
type reading struct {
	name   string
	call   func(ctx context.Context, c *client.Client) (any, error)
	want   string // path and query below /api/v1/logs
	answer any
}

func readings() []reading {
	after, before := time.Unix(0, 1_790_000_000_123_456_999).In(time.FixedZone("", 3600)), time.Unix(1_790_000_001, 0)
	window := client.Window{After: after, Before: before}
	const times = "&occurred_after=2026-09-21T14%3A13%3A20.123456Z&occurred_before=2026-09-21T14%3A13%3A21.000000Z"
	runs := client.RunFilter{
		RunID: "r", TraceID: "t", Provider: "p", Model: "m", Status: "FAILED", Outcome: "failure", AgentID: "a", HumanActorID: "h",
		CorrelationID: "co", ConversationID: "cv", IsSynthetic: new(true), Window: window,
	}
	system := client.SystemFilter{
		Component: "c", EventType: "e", Severity: "WARN", CausedBy: "HUMAN", CorrelationID: "co", IsSynthetic: new(false), Window: window,
	}
	audit := client.AuditFilter{
		EventType: "e", EntityType: "LIMIT", EntityID: "i", ActorType: "HUMAN", ActorID: "a", RunID: "r", CorrelationID: "co",
		IsSynthetic: new(true), Window: window,
	}
	const auditQuery = "?actor_id=a&actor_type=HUMAN&correlation_id=co&cursor=x&entity_id=i&entity_type=LIMIT&event_type=e&is_synthetic=true&limit=7" + times + "&run_id=r"
	p := client.Paging{Cursor: "x", Limit: 7}
	around := client.ReplayOptions{Center: after, WindowSeconds: 10}
	const replayQuery = "?center=2026-09-21T14%3A13%3A20.123456Z&cursor=x&limit=7&window_seconds=10"
	return []reading{
		{
			"Runs", func(ctx context.Context, c *client.Client) (any, error) { return c.Runs(ctx, runs, p) },
			"/llm-runs?agent_id=a&conversation_id=cv&correlation_id=co&cursor=x&human_actor_id=h&is_synthetic=true&limit=7&model=m" + times +
				"&outcome=failure&provider=p&run_id=r&status=FAILED&trace_id=t",
			&answer.RunList{Items: []answer.RunEnvelope{envelope(run)}, Page: page("")},
		},
		{"Run", func(ctx context.Context, c *client.Client) (any, error) { return c.Run(ctx, run) }, "/llm-runs/" + run + "/envelope", new(envelope(run))},
		{
			"Trace", func(ctx context.Context, c *client.Client) (any, error) { return c.Trace(ctx, "order 42/a?b", p) },
			"/llm-runs/order%2042%2Fa%3Fb/trace?cursor=x&limit=7",
			&answer.RunTrace{RunID: run, Steps: []answer.Step{{
				SkillName: "chat", Kind: "llm", CostCents: new(0.5), Events: []answer.StepEvent{{EventName: "e", Metadata: meta()}}, Flags: []string{}, Metadata: meta(),
			}}, Events: []answer.StepEvent{}, Metadata: meta()},
		},
		{
			"Governance", func(ctx context.Context, c *client.Client) (any, error) {
				return c.Governance(ctx, run, client.Paging{})
			},
			"/llm-runs/" + run + "/governance",
			&answer.RunGovernance{
				RunID: run, ThresholdChecks: []answer.ThresholdCheck{{LimitID: new("l"), Metadata: meta()}},
				PolicyEvaluations: []answer.PolicyEvaluation{}, Overrides: []answer.Override{}, Metadata: meta(),
			},
		},
		{"Replay", func(ctx context.Context, c *client.Client) (any, error) { return c.Replay(ctx, run, around, p) }, "/llm-runs/" + run + "/replay" + replayQuery, replayed()},
		{
			"ExportRun", func(ctx context.Context, c *client.Client) (any, error) {
				return c.ExportRun(ctx, run, client.ExportOptions{Format: "json", Withhold: []string{"/prompt", "/params"}, Disclose: []string{"*"}, SinceSize: 9})
			},
			"/llm-runs/" + run + "/export?disclose=%2A&format=json&since_size=9&withhold=%2Fprompt%2C%2Fparams",
			&answer.EvidenceBundle{RunID: run, ExportID: "x", Format: "json", ComplianceTags: []string{}, Metadata: meta()},
		},
		{
			"System", func(ctx context.Context, c *client.Client) (any, error) { return c.System(ctx, system, p) },
			"/system?caused_by=HUMAN&component=c&correlation_id=co&cursor=x&event_type=e&is_synthetic=false&limit=7" + times + "&severity=WARN",
			&answer.SystemList{Items: []answer.SystemEvent{event()}, Page: page("")},
		},
		{
			"Snapshot", func(ctx context.Context, c *client.Client) (any, error) { return c.Snapshot(ctx, run) }, "/system/" + run + "/snapshot",
			&answer.SystemSnapshot{RunID: run, EnvironmentID: "e", Baseline: []answer.SystemEvent{event()}, Metadata: meta()},
		},
		{
			"Telemetry", func(ctx context.Context, c *client.Client) (any, error) { return c.Telemetry(ctx, run, p) }, "/system/" + run + "/telemetry?cursor=x&limit=7",
			&answer.SystemTelemetry{RunID: run, Status: "collected", Series: []answer.Series{{
				Name: "cpu", Attributes: map[string]any{"a": "b"}, Points: []answer.Point{{Timestamp: at, Value: new(0.25)}},
			}}, Metadata: meta()},
		},
		{
			"Events", func(ctx context.Context, c *client.Client) (any, error) { return c.Events(ctx, run, p) }, "/system/" + run + "/events?cursor=x&limit=7",
			&answer.SystemEvents{RunID: run, Events: []answer.SystemEvent{event()}, Metadata: meta()},
		},
		{"SystemReplay", func(ctx context.Context, c *client.Client) (any, error) { return c.SystemReplay(ctx, run, around, p) }, "/system/" + run + "/replay" + replayQuery, replayed()},
		{
			"SystemAudit", func(ctx context.Context, c *client.Client) (any, error) {
				return c.SystemAudit(ctx, client.SystemFilter{}, client.Paging{})
			},
			"/system/audit",
			&answer.SystemAudit{Entries: []answer.SystemEvent{}, Responsibility: []answer.Responsibility{{Component: "db"}}, FiltersApplied: map[string]any{}, Metadata: meta()},
		},
		{
			"Audit", func(ctx context.Context, c *client.Client) (any, error) { return c.Audit(ctx, audit, p) }, "/audit" + auditQuery,
			&answer.AuditList{Items: []answer.AuditEntry{entry()}, Page: page("")},
		},
		{
			"Identity", func(ctx context.Context, c *client.Client) (any, error) { return c.Identity(ctx, audit, p) }, "/audit/identity" + auditQuery,
			&answer.AuditIdentity{Entries: []answer.AuditEntry{entry()}, Page: page("")},
		},
		{
			"Authorization", func(ctx context.Context, c *client.Client) (any, error) { return c.Authorization(ctx, audit, p) }, "/audit/authorization" + auditQuery,
			&answer.AuditAuthorization{Decisions: []answer.AuthorizationDecision{{Action: "GET", Roles: []string{}, Metadata: meta()}}, Page: page("")},
		},
		{
			"Access", func(ctx context.Context, c *client.Client) (any, error) { return c.Access(ctx, audit, p) }, "/audit/access" + auditQuery,
			&answer.AuditAccess{AccessEvents: []answer.AuditEntry{entry()}, Page: page("")},
		},
		{
			"Integrity", func(ctx context.Context, c *client.Client) (any, error) { return c.Integrity(ctx) }, "/audit/integrity",
			&answer.AuditIntegrity{
				IntegrityStatus: "verified", Anomalies: []answer.Anomaly{{Code: "c"}}, Witnesses: []answer.Witness{}, Timestamps: []answer.Timestamp{}, Metadata: meta(),
			},
		},
		{
			"Exports", func(ctx context.Context, c *client.Client) (any, error) {
				return c.Exports(ctx, client.ExportFilter{RunID: "r", Window: window}, p)
			},
			"/audit/exports?cursor=x&limit=7" + times + "&run_id=r",
			&answer.AuditExports{Exports: []answer.ExportState{{ExportID: "x", ComplianceTags: []string{}, Metadata: meta()}}, Page: page("")},
		},
	}
}

// reader returns a client whose requests f answers.
func reader(t *testing.T, f http.HandlerFunc) *client.Client {
	t.Helper()
	c, err := client.New(client.Config{BaseURL: "http://ledger.example/behind", Key: "secret", HTTPClient: &http.Client{Transport: direct{f}}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func text(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
