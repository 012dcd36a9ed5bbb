package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

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
				IntegrityStatus: "verified", Anomalies: []answer.Anomaly{{Code: "c"}}, Witnesses: []string{}, Timestamps: []string{}, Metadata: meta(),
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

// TestRead: each route is asked as the contract says, and its answer is what the
// server's own type says.
func TestRead(t *testing.T) {
	all := readings()
	if len(all) != 18 {
		t.Errorf("%d routes, the contract has 18", len(all))
	}
	for _, test := range all {
		t.Run(test.name, func(t *testing.T) {
			body := text(t, test.answer)
			c := reader(t, func(w http.ResponseWriter, r *http.Request) {
				if got := r.URL.RequestURI(); got != "/behind/api/v1/logs"+test.want || r.Method != http.MethodGet {
					t.Errorf("%s %s\nwant %s", r.Method, got, test.want)
				}
				if r.Header.Get("Authorization") != "Bearer secret" || (r.Header.Get("Idempotency-Key") == "") != (test.name != "ExportRun") {
					t.Errorf("headers %v", r.Header)
				}
				fmt.Fprintln(w, body)
			})
			got, err := test.call(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(body, text(t, got)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestReadBroken spoils an answer of each route in each way. None is taken.
func TestReadBroken(t *testing.T) {
	ways := []struct{ name, old, with string }{
		{"no metadata", `"metadata":`, `"meta_data":`},
		{"another case", `"metadata":`, `"Metadata":`},
		{"no tenant", `"tenant_id":"acme"`, `"tenant_id":""`},
		{"mutable", `"immutable":true`, `"immutable":false`},
		{"another time zone", `"timezone":"UTC"`, `"timezone":"CET"`},
		{"null ids", `"policy_ids":[]`, `"policy_ids":null`},
		{"not recorded", `"recorded_at":"2`, `"recorded_at_":"2`},
		{"a name twice", `"tenant_id":`, `"tenant_id":"x","tenant_id":`},
		{"a bad time", `"recorded_at":"2`, `"recorded_at":"x2`},
		{"another type", `"tenant_id":"acme"`, `"tenant_id":["acme"]`},
	}
	for _, test := range readings() {
		body := text(t, test.answer)
		for _, way := range ways {
			for n := range strings.Count(body, way.old) { // each place of it
				t.Run(fmt.Sprintf("%s/%s/%d", test.name, way.name, n), func(t *testing.T) {
					refused(t, test, nth(body, way.old, way.with, n))
				})
			}
		}
		for name, bad := range map[string]string{"empty": "", "null": "null", "a list": "[]", "cut off": body[:len(body)-1], "more": body + "{}", "a page": "<html>"} {
			t.Run(test.name+"/"+name, func(t *testing.T) { refused(t, test, bad) })
		}
	}
}

func nth(s, old, with string, n int) string {
	parts := strings.Split(s, old)
	return strings.Join(parts[:n+1], old) + with + strings.Join(parts[n+1:], old)
}

func refused(t *testing.T, test reading, body string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		requests := 0
		c := reader(t, func(w http.ResponseWriter, _ *http.Request) {
			requests++
			fmt.Fprintln(w, body)
		})
		if got, err := test.call(t.Context(), c); !errors.Is(err, evidence.ErrUnavailable) {
			t.Errorf("%v, answer %s", err, text(t, got))
		}
		if requests != 9 {
			t.Errorf("%d requests", requests)
		}
	})
}

// TestReadLists: no list of an answer may be null or missing.
func TestReadLists(t *testing.T) {
	tests := []struct {
		name, list string
		of         any
	}{
		{"Runs", "items", answer.RunList{}},
		{"Runs", "filters_applied", answer.RunList{Items: []answer.RunEnvelope{}}},
		{"Trace", "steps", answer.RunTrace{Metadata: meta()}},
		{"Replay", "policy_events", answer.ReplayWindow{LLMEvents: []answer.ReplayEvent{}, SystemEvents: []answer.ReplayEvent{}, Metadata: meta()}},
		{"Integrity", "anomalies", answer.AuditIntegrity{Metadata: meta()}},
	}
	for _, test := range tests {
		for _, r := range readings() {
			if r.name != test.name {
				continue
			}
			c := reader(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, text(t, test.of)) })
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
			if _, err := r.call(ctx, c); err == nil || !strings.Contains(err.Error(), "answer."+test.list+" is missing or null") {
				t.Errorf("%s without %s: %v", test.name, test.list, err)
			}
			cancel()
		}
	}
}

// TestReadUnknownMember: the contract lets fields be added.
func TestReadUnknownMember(t *testing.T) {
	for _, test := range readings() {
		body := strings.Replace(text(t, test.answer), `"metadata":{`, `"added":{"x":[1]},"metadata":{"added":null,`, 1)
		c := reader(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, body) })
		if _, err := test.call(t.Context(), c); err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

func TestReadErrors(t *testing.T) {
	tests := []struct {
		status int
		code   string
		field  string
		want   error
	}{
		{400, "malformed", "colour", evidence.ErrInvalid},
		{401, "unauthenticated", "", evidence.ErrForbidden},
		{403, "forbidden", "human_actor_id", evidence.ErrForbidden},
		{404, "not_found", "", evidence.ErrNotFound},
		{405, "method_not_allowed", "", nil},
		{410, "gone", "", nil},
		{422, "invalid", "occurred_after", evidence.ErrInvalid},
		{500, "tampered", "", evidence.ErrTampered},
	}
	for _, test := range tests {
		for _, r := range readings() {
			c := reader(t, func(w http.ResponseWriter, _ *http.Request) {
				problem(w, test.status, map[string]any{"code": test.code, "field": test.field, "detail": "because", "status": test.status})
			})
			_, err := r.call(t.Context(), c)
			var e *client.Error
			if !errors.As(err, &e) || e.Status != test.status || e.Code != test.code || e.Field != test.field || e.Detail != "because" {
				t.Errorf("%s: %v", r.name, err)
			}
			if test.want != nil && !errors.Is(err, test.want) {
				t.Errorf("%s: %v does not wrap %v", r.name, err, test.want)
			}
		}
	}
}

// TestReadRetried: what may pass by itself is repeated, and an export keeps its
// key meanwhile.
func TestReadRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, test := range readings() {
			var keys []string
			c := reader(t, func(w http.ResponseWriter, r *http.Request) {
				keys = append(keys, r.Header.Get("Idempotency-Key"))
				switch len(keys) {
				case 1:
					problem(w, 503, map[string]any{"code": "unavailable"})
				case 2:
					panic(http.ErrAbortHandler)
				default:
					fmt.Fprintln(w, text(t, test.answer))
				}
			})
			if _, err := test.call(t.Context(), c); err != nil {
				t.Errorf("%s: %v", test.name, err)
			}
			if len(keys) != 3 || len(slices.Compact(keys)) != 1 {
				t.Errorf("%s: requests with the keys %q", test.name, keys)
			}
		}
	})
}

func TestReadParameters(t *testing.T) {
	c := reader(t, func(http.ResponseWriter, *http.Request) { t.Error("a request was made") })
	ctx := t.Context()
	for name, call := range map[string]func() error{
		"no run":     func() error { _, err := c.Run(ctx, ""); return err },
		"dots":       func() error { _, err := c.Snapshot(ctx, ".."); return err },
		"dot":        func() error { _, err := c.ExportRun(ctx, ".", client.ExportOptions{}); return err },
		"limit":      func() error { _, err := c.Audit(ctx, client.AuditFilter{}, client.Paging{Limit: -1}); return err },
		"since_size": func() error { _, err := c.ExportRun(ctx, run, client.ExportOptions{SinceSize: -1}); return err },
		"time": func() error {
			_, err := c.System(ctx, client.SystemFilter{Window: client.Window{After: time.Date(12000, 1, 1, 0, 0, 0, 0, time.UTC)}}, client.Paging{})
			return err
		},
	} {
		var f *evidence.FieldError
		if err := call(); !errors.Is(err, evidence.ErrInvalid) || !errors.As(err, &f) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestAll follows the pages of each list to the end, with the filters of the
// first.
func TestAll(t *testing.T) {
	filters := client.RunFilter{Status: "FAILED"}
	var asked []url.Values
	answers := []*answer.RunList{
		{Items: []answer.RunEnvelope{envelope("a"), envelope("b")}, Page: page("1")},
		{Items: []answer.RunEnvelope{}, Page: page("2")},
		{Items: []answer.RunEnvelope{envelope("c")}, Page: page("")},
	}
	c := reader(t, func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.Query())
		fmt.Fprintln(w, text(t, answers[len(asked)-1]))
	})
	var got []string
	for r, err := range c.AllRuns(t.Context(), filters) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, r.RunID)
	}
	if diff := cmp.Diff([]string{"a", "b", "c"}, got); diff != "" {
		t.Error(diff)
	}
	want := []url.Values{{"status": {"FAILED"}}, {"status": {"FAILED"}, "cursor": {"1"}}, {"status": {"FAILED"}, "cursor": {"2"}}}
	if diff := cmp.Diff(want, asked); diff != "" {
		t.Error(diff)
	}

	// Who stops early asks no more.
	asked = nil
	for r, err := range c.AllRuns(t.Context(), filters) {
		if err != nil {
			t.Fatal(err)
		}
		if r.RunID == "b" {
			break
		}
	}
	if len(asked) != 1 {
		t.Errorf("asked %v", asked)
	}
}

// TestAllRoutes: each iterator asks its own route and takes its own entries.
func TestAllRoutes(t *testing.T) {
	ctx := t.Context()
	iterators := map[string]func(c *client.Client) (int, error){
		"Runs":       func(c *client.Client) (int, error) { return drain(c.AllRuns(ctx, client.RunFilter{})) },
		"Trace":      func(c *client.Client) (int, error) { return drain(c.AllSteps(ctx, run)) },
		"Governance": func(c *client.Client) (int, error) { return drain(c.GovernancePages(ctx, run, client.Paging{})) },
		"Replay": func(c *client.Client) (int, error) {
			return drain(c.ReplayPages(ctx, run, client.ReplayOptions{}, client.Paging{}))
		},
		"System": func(c *client.Client) (int, error) { return drain(c.AllSystem(ctx, client.SystemFilter{})) },
		"Events": func(c *client.Client) (int, error) { return drain(c.AllEvents(ctx, run)) },
		"SystemReplay": func(c *client.Client) (int, error) {
			return drain(c.SystemReplayPages(ctx, run, client.ReplayOptions{}, client.Paging{}))
		},
		"Audit":         func(c *client.Client) (int, error) { return drain(c.AllAudit(ctx, client.AuditFilter{})) },
		"Identity":      func(c *client.Client) (int, error) { return drain(c.AllIdentity(ctx, client.AuditFilter{})) },
		"Authorization": func(c *client.Client) (int, error) { return drain(c.AllAuthorization(ctx, client.AuditFilter{})) },
		"Access":        func(c *client.Client) (int, error) { return drain(c.AllAccess(ctx, client.AuditFilter{})) },
		"Exports":       func(c *client.Client) (int, error) { return drain(c.AllExports(ctx, client.ExportFilter{})) },
	}
	for _, test := range readings() {
		all, ok := iterators[test.name]
		if !ok {
			continue
		}
		delete(iterators, test.name)
		path, _, _ := strings.Cut(test.want, "?")
		if test.name == "Trace" {
			path = "/llm-runs/" + run + "/trace"
		}
		n := 0
		c := reader(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/behind/api/v1/logs"+path {
				t.Errorf("%s asked %s", test.name, r.URL.Path)
			}
			body := text(t, test.answer)
			if n++; n == 1 { // two pages of the same
				body = strings.Replace(body, `"has_more":false,"next_cursor":null`, `"has_more":true,"next_cursor":"n"`, 1)
			} else if r.URL.RawQuery != "cursor=n" {
				t.Errorf("%s asked with %s", test.name, r.URL.RawQuery)
			}
			fmt.Fprintln(w, body)
		})
		if got, err := all(c); err != nil || got != 2 || n != 2 {
			t.Errorf("%s: %d of %d pages, %v", test.name, got, n, err)
		}
	}
	for name := range iterators {
		t.Errorf("%s was not tried", name)
	}
}

func drain[E any](seq func(func(E, error) bool)) (n int, err error) {
	for _, err := range seq {
		if err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

func TestAllEnds(t *testing.T) {
	first := text(t, &answer.RunList{Items: []answer.RunEnvelope{envelope("a")}, Page: page("1")})
	tests := []struct {
		name   string
		second func(w http.ResponseWriter)
		want   error
	}{
		{"an error", func(w http.ResponseWriter) { problem(w, 422, map[string]any{"code": "invalid", "field": "cursor"}) }, evidence.ErrInvalid},
		{"the same cursor", func(w http.ResponseWriter) { fmt.Fprintln(w, first) }, evidence.ErrUnavailable},
		{"no cursor", func(w http.ResponseWriter) {
			p := page("")
			p.HasMore = true
			fmt.Fprintln(w, text(t, &answer.RunList{Items: []answer.RunEnvelope{}, Page: p}))
		}, evidence.ErrUnavailable},
	}
	for _, test := range tests {
		n := 0
		c := reader(t, func(w http.ResponseWriter, _ *http.Request) {
			if n++; n == 1 {
				fmt.Fprintln(w, first)
				return
			}
			test.second(w)
		})
		if _, err := drain(c.AllRuns(t.Context(), client.RunFilter{})); !errors.Is(err, test.want) || n != 2 {
			t.Errorf("%s: %v after %d requests", test.name, err, n)
		}
	}
}
