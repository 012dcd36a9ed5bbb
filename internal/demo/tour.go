package demo

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// Stop is a stop of the tour: a question, and how to ask it. Texts hold shell
// variables: URL, DIR, RUN, EXPORT, VKEY, and the keys by role.
type Stop struct {
	Question string
	// As is whose key is sent, "" for none.
	As     string
	Path   string // below $URL; "" where there is only a command
	Status int
	// Save is where the answer's bytes go instead of the terminal.
	Save string
	// Show names the members of the answer that are of interest here.
	Show []string
	// Command is the same on the command line, without the program's name.
	// Exit is how that ends.
	Command []string
	Exit    int
	See     string // what there is to see
}

const logs = "/api/v1/logs"

// Tour returns the stops.
func Tour() []Stop {
	return append(append(runStops(), systemStops()...), auditStops()...)
}

func ofRun(words ...string) []string {
	return append(words, "$RUN", "--data", "$DIR/data", "--tenant", Tenant)
}

func ofTenant(words ...string) []string {
	return append(words, "--data", "$DIR/data", "--tenant", Tenant)
}

func runStops() []Stop {
	return []Stop{
		{
			Question: "What runs exist?", As: Operator, Path: logs + "/llm-runs?limit=3", Status: http.StatusOK,
			Show:    []string{"items", "run_id", "status", "agent_name", "started_at", "total", "has_more"},
			Command: ofTenant("runs", "--limit", "3"), See: "The newest first; next_cursor leads to the rest.",
		},
		{
			Question: "What is the canonical record of the run?", As: Operator, Path: logs + "/llm-runs/$RUN/envelope", Status: http.StatusOK,
			Show: []string{
				"run_id", "status", "outcome", "model", "input_tokens", "output_tokens", "cost_cents", "prompt", "prompt_hash", "inflection_at",
				"inflection_kind", "inflection_reason", "step_count", "record_count", "revision", "metadata", "checksum", "incident_ids", "leaf_index",
			},
			Command: ofRun("run", "show"), See: "checksum is the hash of its leaf in the signed tree.",
		},
		{
			Question: "How did it execute, step by step?", As: Operator, Path: logs + "/llm-runs/$RUN/trace", Status: http.StatusOK,
			Show:    []string{"steps", "timestamp", "kind", "skill_name", "status", "outcome_code", "duration_ms", "total_steps", "total_tokens"},
			Command: ofRun("run", "trace"), See: "The guardrail fails, and so does the first try to refund.",
		},
		{
			Question: "How did policy and thresholds act on it?", As: Operator, Path: logs + "/llm-runs/$RUN/governance", Status: http.StatusOK,
			Show: []string{
				"threshold_checks", "limit_id", "limit_value", "observed_value", "decision", "policy_evaluations", "rule_id", "reason",
				"overrides", "who", "why", "until",
			},
			Command: ofRun("run", "governance"), See: "A denial, a breach, and the person who lifted the limit, with the reason.",
		},
		{
			Question: "What happened around the turning point?", As: Operator, Path: logs + "/llm-runs/$RUN/replay?window_seconds=60", Status: http.StatusOK,
			Show:    []string{"center_timestamp", "center_source", "llm_events", "system_events", "policy_events", "offset_ms", "action", "outcome"},
			Command: ofRun("run", "replay"), See: "The worker died between the override and the refund.",
		},
		{
			Question: "What does a viewer see of it?", As: Viewer, Path: logs + "/llm-runs/$RUN/envelope", Status: http.StatusOK,
			Show: []string{"run_id", "status", "prompt", "response", "inflection_reason"},
			See:  "Facts, and for content the commitment that the log holds.",
		},
		{
			Question: "What does an auditor of another tenant see?", As: Outsider, Path: logs + "/llm-runs/$RUN/envelope", Status: http.StatusNotFound,
			Show: []string{"status", "code", "detail"}, See: "The same as for a run that does not exist.",
		},
	}
}

func systemStops() []Stop {
	return []Stop{
		{
			Question: "What was the environment at its start?", As: Operator, Path: logs + "/system/$RUN/snapshot", Status: http.StatusOK,
			Show:    []string{"environment_id", "baseline", "component", "event_type", "version", "occurred_at"},
			Command: ofRun("system", "snapshot"), See: "Runs in the same environment have the same environment_id.",
		},
		{
			Question: "What did the infrastructure measure during it?", As: Operator, Path: logs + "/system/$RUN/telemetry", Status: http.StatusOK,
			Show:    []string{"status", "series", "name", "unit", "points", "timestamp", "value"},
			Command: ofRun("system", "telemetry"), See: "Memory grows until the worker is killed.",
		},
		{
			Question: "What infrastructure events touched it?", As: Operator, Path: logs + "/system/$RUN/events", Status: http.StatusOK,
			Show:    []string{"events", "component", "event_type", "severity", "summary", "occurred_at", "total"},
			Command: ofRun("system", "events"), See: "One of them is CRITICAL.",
		},
	}
}

func auditStops() []Stop {
	return []Stop{
		{
			Question: "Who looked at it?", As: Auditor, Path: logs + "/audit/access?run_id=$RUN&limit=4", Status: http.StatusOK,
			Show:    []string{"access_events", "event_type", "actor_id", "roles", "route", "status_code", "record_count", "view_digest", "total"},
			Command: ofTenant("audit", "access", "--run-id", "$RUN", "--limit", "4"), See: "Every read above, with the digest of the bytes that were shown.",
		},
		{
			Question: "What access was denied?", As: Auditor, Path: logs + "/audit/authorization?event_type=ACCESS_DECISION", Status: http.StatusOK,
			Show:    []string{"decisions", "event_type", "subject", "roles", "action", "decision", "rule_id", "reason", "total"},
			Command: ofTenant("audit", "authorization", "--event-type", "ACCESS_DECISION"), See: "The producer that asked for the audit.",
		},
		{
			Question: "Was anything tampered with?", As: Auditor, Path: logs + "/audit/integrity", Status: http.StatusOK,
			Show:    []string{"integrity_status", "anomalies", "last_verified", "tree_size", "verified_through", "root_hash", "why"},
			Command: ofTenant("audit", "integrity"), See: "The running server verifies what is new at once, and all of it over and over.",
		},
		{
			Question: "Can it be taken away?", As: Operator, Path: logs + "/llm-runs/$RUN/export", Status: http.StatusOK,
			Show: []string{"export_id", "format", "checksum", "size_bytes", "record_count", "download_url"},
			See:  "Making a bundle is recorded, too.",
		},
		{
			Question: "The operator's bundle of before, downloaded again", As: Operator, Path: "/api/v1/exports/$EXPORT/content",
			Status: http.StatusOK, Save: "$DIR/again.zip", See: "README.txt in it says how to check it with other tools.",
		},
		{
			Question: "Is the bundle genuine?", Command: []string{"verify", "$DIR/again.zip", "--key", "$VKEY"}, Exit: 10,
			See: "Checked offline, with the tenant's verifier key alone. The limits: no witness and no time stamp yet.",
		},
		{
			Question: "Is the whole deployment intact, every table and column?", Command: []string{"verify", "--data", "$DIR/data"},
			See: "It works while the server runs.",
		},
		{
			Question: "What else can be asked?", Path: "/docs", Status: http.StatusOK, See: "Open it in a browser. It needs no key.",
		},
	}
}

// Curl is the stop as it is typed, empty where there is nothing to ask over HTTP.
func (s *Stop) Curl() string {
	if s.Path == "" {
		return ""
	}
	words := []string{"curl -s"}
	if s.As != "" {
		words = append(words, fmt.Sprintf(`-H "x-api-key: $%s"`, s.As))
	}
	if s.Save != "" {
		words = append(words, fmt.Sprintf(`-o "%s"`, s.Save))
	}
	return strings.Join(append(words, fmt.Sprintf(`"$URL%s"`, s.Path)), " ")
}

// Ask asks what Curl asks, and returns the body of the answer.
func (s *Stop) Ask(ctx context.Context, values map[string]string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, Expand("$URL"+s.Path, values), nil)
	if err != nil {
		return nil, err
	}
	if s.As != "" {
		req.Header.Set("X-Api-Key", values[s.As])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != s.Status {
		err = fmt.Errorf("%s: status %d instead of %d: %.300s", s.Path, resp.StatusCode, s.Status, body)
	}
	return body, err
}
