package registry

import (
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/runledger/runledger/evidence"
)

const (
	oneIntent     = "intents/AURORA_L2_INTENT_LOG-REC-LLM-O1.yaml"
	twoIntent     = "intents/AURORA_L2_INTENT_LOG-REC-LLM-O2.yaml"
	oneCapability = "capabilities/AURORA_L2_CAPABILITY_logs.llm_runs.yaml"
	oneScenario   = "scenarios/SDSR-LOG-LLM-O1-001.yaml"
	govScenario   = "scenarios/SDSR-LOG-LLM-GOV-001.yaml"
	recScenario   = "scenarios/SDSR-LOG-AUD-O4-001.yaml" // has records and a read
)

// Two scenarios in the place of the shipped ones with the same id, so that these may
// change.
const (
	recText = `id: SDSR-LOG-AUD-O4-001
version: "1.0.0"
title: Integrity tells whether anything was tampered with
capability: logs.audit
panel: LOG-REC-AUD-O4
cause: A policy is changed.
consequence: The log has grown.
invariants:
  - {id: INV-L0-001}
  - {id: INV-LOG-001}
inject:
  - read:
      path: /api/v1/logs/audit/integrity
      save:
        size: $.tree_size
  - records:
      - kind: audit
        id: "${uuid.rule}"
        occurred_at: "${now}"
        source_domain: POLICY
        source_component: PolicyEngine
        event_type: PolicyRuleModified
        entity_type: POLICY_RULE
        entity_id: "${word.rule}"
        actor_type: SYSTEM
        system_id: policy-engine
        rule_id: "${word.rule}"
observe:
  - id: integrity
    path: /api/v1/logs/audit/integrity
    expect:
      - {path: $.metadata.tenant_id, equals: "${tenant}"}
      - {path: "$[?@ == $.tree_size && @ > ${size}]", min: 1}
      - {path: "$.anomalies[*]", count: 0}
      - {path: $.root_hash, matches: "^[0-9a-f]{64}$"}
`
	govText = `id: SDSR-LOG-LLM-GOV-001
version: "1.0.0"
title: A threshold is breached, so a governance trace is present
capability: logs.llm_runs
panel: ""
cause: A model call went over a limit.
consequence: The breach is an audit entry of the run.
invariants:
  - {id: INV-L0-001}
  - {id: INV-LOG-005}
inject:
  - otlp: traces
    body:
      resourceSpans:
        - resource:
            attributes:
              - {key: service.name, value: {stringValue: drill}}
          scopeSpans:
            - scope: {name: runledger.scenario}
              spans:
                - traceId: "${trace_id}"
                  spanId: "${span.root}"
                  name: "invoke_agent ${word.agent}"
                  startTimeUnixNano: "${nanos-5s}"
                  endTimeUnixNano: "${nanos-1s}"
observe:
  - id: governance
    path: /api/v1/logs/llm-runs/{run_id}/governance
    params: {run_id: "${trace_id}"}
    query: {limit: "10"}
    wait: 15s
    items: threshold_checks
    item_metadata: true
    expect:
      - {path: $.run_id, equals: "${trace_id}"}
      - {path: "$.threshold_checks[*].limit_id", equals: "${word.limit}", count: 1}
      - {path: "$.threshold_checks[0].decision", equals: BREACHED}
  - id: envelope
    path: /api/v1/logs/llm-runs/{run_id}/envelope
    params: {run_id: "${trace_id}"}
    wait: 15s
    items: revisions
    expect:
      - {path: $.run_id, equals: "${trace_id}"}
`
)

// breakage is one way to break the registry, and the one problem that must be named.
type breakage struct {
	name          string
	file, old, by string // by in the place of old
	in            string // file of the problem; "": file
	line          string // text of its line, after the change; "": no line
	reason        string
}

func (b breakage) check(t *testing.T, broken func(files fstest.MapFS) error) {
	t.Helper()
	files := copyOf(t)
	files[recScenario], files[govScenario] = &fstest.MapFile{Data: []byte(recText)}, &fstest.MapFile{Data: []byte(govText)}
	edit(t, files, b.file, b.old, b.by)
	if b.in == "" {
		b.in = b.file
	}
	want := Problem{File: b.in, Reason: b.reason}
	if files[b.in] != nil {
		want.Line = lineOf(t, files, b.in, b.line)
	}
	err := broken(files)
	if !errors.Is(err, evidence.ErrInvalid) {
		t.Fatalf("no sentinel: %v", err)
	}
	got := Problems(err)
	for _, p := range got {
		if *p == want {
			return
		}
	}
	t.Errorf("want %v\ngot  %v", &want, err)
}

// broken are files that are wrong by themselves.
var broken = []breakage{
	{name: "malformed YAML", file: oneIntent, old: "display:", by: "display: [", line: "display: [", reason: "no YAML: did not find expected ',' or ']'"},
	{name: "empty", file: rulesPath, old: "", by: "---\n---\n", line: "---", reason: "the file is empty"},
	{name: "second document", file: rulesPath, old: "trusted:", by: "---\ntrusted:", line: "---", reason: "a second document"},
	{name: "unknown key", file: oneIntent, old: "notes:", by: "note:", line: "note:", reason: "unknown key note"},
	{name: "lacks a key", file: oneIntent, old: "  question:", by: "  # question:", line: "display:", reason: "display: lacks question"},
	{name: "unknown key below", file: oneScenario, old: "observe:\n  - id:", by: "observe:\n  - hurry: true\n    id:", line: "hurry", reason: "observe[0]: unknown key hurry"},
	{name: "key twice", file: oneIntent, old: "panel_class:", by: "panel_id: again\npanel_class:", line: "again", reason: "the key panel_id stands twice, first in line 1"},
	{name: "merge key", file: oneIntent, old: "data:\n", by: "data:\n  <<: {}\n", line: "<<", reason: `"<<" is not used here: write the keys out`},
	{name: "wrong type", file: oneCapability, old: "acceptance:\n", by: "acceptance: soon\nscenario_notes:\n", line: "acceptance", reason: "acceptance: must be a list, not a text"},
	{name: "number as version", file: oneIntent, old: `"1.0.0"`, by: "1.0", line: "version", reason: "version: must be a text, not a number"},
	{name: "enumeration", file: oneCapability, old: "status: DECLARED", by: "status: PROVEN", line: "status", reason: "status: PROVEN must be one of DECLARED, OBSERVED, TRUSTED, DEGRADED"},
	{name: "panel that writes", file: oneIntent, old: "write: false", by: "write: true", line: "write", reason: "data.write: true must be false"},
	{name: "method", file: oneIntent, old: "method: GET", by: "method: POST", line: "method", reason: "capability.method: POST must be GET"},
	{name: "order of another panel", file: oneIntent, old: "order: O1", by: "order: O2", line: "panel_id", reason: "panel_id: LOG-REC-LLM-O1 is not topic_id and order, LOG-REC-LLM-O2"},
	{name: "topic of another", file: oneIntent, old: "topic: LLM_RUNS", by: "topic: AUDIT", line: "topic_id", reason: "metadata.topic_id: LOG-REC-LLM is not that of AUDIT, LOG-REC-AUD"},
	{name: "verified by hand", file: oneIntent, old: "verified: false", by: "verified: true", line: "verified", reason: "sdsr.verified: true, but the capability is DECLARED: nothing was observed"},
	{name: "observed by hand", file: oneCapability, old: "status: DECLARED", by: "status: OBSERVED", line: "status", reason: "status: OBSERVED without an observation: registry apply sets it"},
	{name: "rule of trust", file: rulesPath, old: "observations: 5", by: "observations: 1", line: "observations:", reason: "trusted.observations: must be at least 2"},
	{name: "rule without unit", file: rulesPath, old: "over: 24h", by: "over: 24", line: "over:", reason: "trusted.over: must be a text, not a number"},
	{name: "rule of no time", file: rulesPath, old: "over: 24h", by: "over: 1s", line: "over:", reason: "trusted.over: 1s: must be 1m0s to 8784h0m0s"},
	{name: "no check", file: invariantsPath, old: "check: not_empty", by: "check: nice", line: "check: nice", reason: "invariants[0].check: there is no check nice, but immutable, items, metadata, metadata_fields, not_401_403, not_5xx, not_empty, object_or_list, origin, provenance, source_domain, spine, status_2xx, tenant, times, within"},
	{name: "limit", file: invariantsPath, old: "    limit: 10s\n", by: "", line: "id: INV-L0-006", reason: "invariants[5]: limit goes with the check within, and only with it"},
	{name: "kind without owner", file: producersPath, old: "kinds: [system, metric]", by: "kinds: [system]", line: "owners:", reason: "owners: nobody owns records of kind metric"},
	{name: "kind of two owners", file: producersPath, old: "kinds: [system, metric]", by: "kinds: [system, metric, trace]", line: "metric, trace", reason: "owners[1].kinds[2]: trace is owned by TraceStore already"},
	{name: "not the server's alone", file: producersPath, old: "PRODUCER_SILENT", by: "STARTUP", line: "STARTUP", reason: "owners[1].server_only[4]: STARTUP of system, metric may come from outside"},
}

// brokenScenarios are scenarios that are wrong by themselves.
var brokenScenarios = []breakage{
	{name: "no invariants", file: oneScenario, old: "invariants:\n", by: "invariants: []\nothers:\n", line: "invariants:", reason: "invariants: must not be empty: a scenario checks at least one invariant"},
	{name: "two kinds of injection", file: govScenario, old: "  - otlp: traces\n", by: "  - otlp: traces\n    records: [{kind: audit, occurred_at: \"${now}\"}]\n", line: "- otlp", reason: "inject[0]: is not as it must be: exactly one of otlp with body, records, and read"},
	{name: "request of another signal", file: govScenario, old: "otlp: traces", by: "otlp: logs", line: "body:", reason: "inject[0].body: a request of logs has resourceLogs, a list that is not empty, and nothing else"},
	{name: "mark of the runner", file: govScenario, old: "- {key: service.name,", by: "- {key: runledger.synthetic,", line: "runledger.synthetic", reason: "inject[0].body.resourceSpans[0].resource.attributes[0]: runledger.synthetic is set by the runner"},
	{name: "consequence", file: recScenario, old: "kind: audit", by: "kind: llm_run", line: "kind:", reason: "inject[1].records[0].kind: a llm_run is a consequence: the product makes it of what comes, and a scenario injects causes only"},
	{name: "consequence of the server's own", file: recScenario, old: "PolicyRuleModified", by: "LOG_EXPORT", line: "event_type", reason: "inject[1].records[0].event_type: LOG_EXPORT is a consequence: only the server states it, and a scenario injects causes only"},
	{name: "no kind", file: recScenario, old: "kind: audit", by: "kind: rumour", line: "kind:", reason: "inject[1].records[0].kind: no kind of record rumour: causes are trace_step, trace_event, system, metric, audit"},
	{name: "not synthetic", file: recScenario, old: "rule_id:", by: "is_synthetic: false\n        rule_id:", line: "is_synthetic", reason: "inject[1].records[0].is_synthetic: what a scenario injects is synthetic: leave it to the runner"},
	{name: "unknown field", file: recScenario, old: "rule_id:", by: "rule_name:", line: "rule_name", reason: "inject[1].records[0].rule_name: is not a field of audit records"},
	{name: "field of the server", file: recScenario, old: "rule_id:", by: "conflict_of:", line: "conflict_of", reason: "inject[1].records[0].conflict_of: is set by the server and cannot be sent"},
	{name: "field that is missing", file: recScenario, old: "source_domain: POLICY", by: "# nothing", line: "- kind: audit", reason: "inject[1].records[0].source_domain: is required"},
	{name: "unknown variable", file: govScenario, old: "equals: \"${word.limit}\"", by: "equals: \"${wrod.limit}\"", line: "wrod", reason: "observe[0].expect[1].equals: unknown variable ${wrod.limit}"},
	{name: "unknown variable in a body", file: govScenario, old: `"${nanos-5s}"`, by: `"${nanos-5}"`, line: "${nanos-5}", reason: "inject[0].body.resourceSpans[0].scopeSpans[0].spans[0].startTimeUnixNano: unknown variable ${nanos-5}"},
	{name: "variable before it is saved", file: recScenario, old: "inject:\n", by: "inject:\n  - read: {path: /api/v1/logs/audit, query: {entity_id: \"${size}\"}}\n", line: "${size}", reason: "inject[0].read.query.entity_id: unknown variable ${size}"},
	{name: "variable without end", file: govScenario, old: "equals: \"${word.limit}\"", by: "equals: \"${word.limit\"", line: "\"${word.limit\"", reason: "observe[0].expect[1].equals: a variable has no end: ${ without }"},
	{name: "saved under a name that there is", file: recScenario, old: "size: $.tree_size", by: "tenant: $.tree_size", line: "tenant: $", reason: "inject[0].read.save.tenant: there is a variable ${tenant} already"},
	{name: "no variable in what is expected", file: "scenarios/SDSR-LOG-LLM-001.yaml", old: `equals: "${trace_id}", count`, by: "equals: x, count", line: "expect:", reason: "observe[0].expect: no expectation has a variable and must find something: it says nothing of what was injected"},
	{name: "expected of every run", file: "scenarios/SDSR-LOG-LLM-001.yaml", old: `equals: "${trace_id}", count`, by: `equals: "${tenant}${now-1m}", count`, line: "expect:", reason: "observe[0].expect: no expectation has a variable and must find something: it says nothing of what was injected"},
	{name: "expected of nothing", file: recScenario, old: "@ > ${size}]\", min: 1", by: "@ > ${size}]\", count: 0", line: "expect:", reason: "observe[0].expect: no expectation has a variable and must find something: it says nothing of what was injected"},
	{name: "expected of what there is", file: recScenario, old: "@ > ${size}]\", min: 1", by: "@ > ${size}]\", max: 1", line: "expect:", reason: "observe[0].expect: no expectation has a variable and must find something: it says nothing of what was injected"},
	{name: "bad JSONPath", file: govScenario, old: "path: $.run_id,", by: "path: \"$.run_id[\",", line: "$.run_id[", reason: "observe[0].expect[0].path: no JSONPath (RFC 9535): unexpected eof at position 10"},
	{name: "bad regular expression", file: recScenario, old: "[0-9a-f]{64}$", by: "[0-9a-f{64}$", line: "[0-9a-f{64}", reason: "observe[0].expect[3].matches: no regular expression (RE2): missing closing ]: `[0-9a-f{64}$`"},
	{name: "observe id twice", file: govScenario, old: "id: envelope", by: "id: governance #", line: "id: governance #", reason: "observe[1].id: governance stands twice"},
	{name: "not the facade", file: govScenario, old: "path: /api/v1/logs/llm-runs/{run_id}/governance", by: "path: /api/v1/traces/{run_id}", line: "/api/v1/traces", reason: "observe[0].path: /api/v1/traces/{run_id} is no path of the facade, which is below /api/v1/logs/"},
	{name: "parameter missing", file: govScenario, old: "    params: {run_id: \"${trace_id}\"}\n    wait: 15s\n    items: revisions", by: "    wait: 15s\n    items: revisions", line: "/envelope", reason: "observe[1].path: params lacks run_id"},
	{name: "empty query", file: govScenario, old: `query: {limit: "10"}`, by: `query: {limit: ""}`, line: "query:", reason: "observe[0].query.limit: must not be empty: A text; an empty one would ask for everything"},
	{name: "parameter too many", file: govScenario, old: "params: {run_id:", by: "params: {log: x, run_id:", line: "log: x", reason: "observe[0].params.log: the path has no {log}"},
	{name: "condition that cannot fail", file: recScenario, old: "count: 0}", by: "count: 0, not_null: true}", line: "count: 0", reason: "observe[0].expect[2]: a condition on values where no value may be: it can never fail"},
	{name: "waits for ever", file: govScenario, old: "wait: 15s", by: "wait: 15h", line: "15h", reason: "observe[0].wait: 15h0m0s: must be at most 10m0s"},
	{name: "no duration", file: govScenario, old: "wait: 15s", by: "wait: 15 s", line: "15 s", reason: `observe[0].wait: "15 s" is not as it must be: A duration such as 500ms, 2s, 10m`},
	{name: "null", file: govScenario, old: "equals: BREACHED", by: "equals: ~", line: "equals: ~", reason: `observe[0].expect[2].equals: is not as it must be: null is written as type: "null"`},
}

// brokenTogether are files that are right by themselves and wrong together.
var brokenTogether = []breakage{
	{name: "no such capability", file: oneIntent, old: "id: logs.llm_runs", by: "id: logs.runs", line: "id: logs.runs", reason: "capability.id: there is no capability logs.runs"},
	{name: "other status", file: oneIntent, old: "status: DECLARED", by: "status: DEGRADED", line: "DEGRADED", reason: "capability.status: DEGRADED, but it is DECLARED in " + oneCapability},
	{name: "no such scenario", file: oneIntent, old: "SDSR-LOG-LLM-O1-001", by: "SDSR-LOG-LLM-O9-001", line: "scenario:", reason: "sdsr.scenario: there is no scenario SDSR-LOG-LLM-O9-001"},
	{name: "scenario of another panel", file: oneIntent, old: "SDSR-LOG-LLM-O1-001", by: "SDSR-LOG-LLM-O2-001", line: "scenario:", reason: "sdsr.scenario: SDSR-LOG-LLM-O2-001 proves the panel LOG-REC-LLM-O2, not this one (scenarios/SDSR-LOG-LLM-O2-001.yaml)"},
	{name: "endpoint of another panel", file: twoIntent, old: "{run_id}/trace", by: "{run_id}/envelope", line: "endpoint", reason: "capability.endpoint: /api/v1/logs/llm-runs/{run_id}/envelope is that of " + oneIntent + ", too"},
	{name: "endpoint that no scenario looks at", file: oneIntent, old: "{run_id}/envelope", by: "{run_id}/record", line: "scenario:", reason: "sdsr.scenario: SDSR-LOG-LLM-O1-001 never looks at the endpoint of the panel (" + oneScenario + ")"},
	{name: "endpoint of a capability", file: oneCapability, old: "{run_id}/envelope", by: "{run_id}/trace", line: "endpoint", reason: "endpoint: /api/v1/logs/llm-runs/{run_id}/trace is not that of its O1, /api/v1/logs/llm-runs/{run_id}/envelope (" + oneIntent + ")"},
	{name: "panel that is not listed", file: oneCapability, old: "  - LOG-REC-LLM-O2\n", by: "", in: twoIntent, line: "id: logs.llm_runs", reason: "capability.id: logs.llm_runs does not list LOG-REC-LLM-O2 in its panels (" + oneCapability + ")"},
	{name: "O1 without a capability", file: oneCapability, old: "  - LOG-REC-LLM-O1\n", by: "", in: oneIntent, line: "panel_id", reason: "panel_id: 0 capabilities back it, and an O1 has exactly one ()"},
	{name: "no O1", file: oneCapability, old: "  - LOG-REC-LLM-O1\n", by: "", line: "panels:", reason: "panels: no O1 is among them"},
	{name: "two O1", file: oneCapability, old: "  - LOG-REC-LLM-O2\n", by: "  - LOG-REC-SYS-O1\n", line: "LOG-REC-SYS-O1", reason: "panels[1]: LOG-REC-SYS-O1 is backed by logs.system_logs (intents/AURORA_L2_INTENT_LOG-REC-SYS-O1.yaml)"},
	{name: "scenario that is not listed", file: oneCapability, old: "  - SDSR-LOG-LLM-O1-001\n", by: "", in: oneScenario, line: "capability:", reason: "capability: logs.llm_runs does not list SDSR-LOG-LLM-O1-001 in its scenarios (" + oneCapability + ")"},
	{name: "scenario of another capability", file: oneCapability, old: "SDSR-LOG-LLM-O1-001", by: "SDSR-LOG-SYS-O1-001", line: "SDSR-LOG-SYS-O1-001", reason: "scenarios[2]: SDSR-LOG-SYS-O1-001 is of logs.system_logs (scenarios/SDSR-LOG-SYS-O1-001.yaml)"},
	{name: "panel proven by another", file: govScenario, old: `panel: ""`, by: "panel: LOG-REC-LLM-O3", line: "panel:", reason: "panel: LOG-REC-LLM-O3 is proven by SDSR-LOG-LLM-O3-001 (intents/AURORA_L2_INTENT_LOG-REC-LLM-O3.yaml)"},
	{name: "no such invariant", file: govScenario, old: "INV-LOG-005", by: "INV-LOG-009", line: "INV-LOG-009", reason: "invariants[1].id: there is no invariant INV-LOG-009"},
	{name: "lowered level", file: govScenario, old: "{id: INV-LOG-005}", by: "{id: INV-LOG-005, level: advisory}", line: "INV-LOG-005", reason: "invariants[1].level: INV-LOG-005 is required: a scenario may be stricter, and not laxer"},
	{name: "advisory invariants", file: recScenario, old: "  - {id: INV-L0-001}\n  - {id: INV-LOG-001}\n", by: "  - {id: INV-L0-006}\n  - {id: INV-L0-008}\n", line: "invariants:", reason: "invariants: none of them is required: they can never fail"},
	{name: "items of nothing", file: recScenario, old: "  - {id: INV-L0-001}\n", by: "  - {id: INV-L0-001}\n  - {id: INV-L0-008, level: required}\n", line: "INV-L0-008", reason: "invariants[1]: INV-L0-008 is required, and no answer is looked at for items: it can never fail"},
	{name: "duplicate scenario", file: oneScenario, old: "id: SDSR-LOG-LLM-O1-001", by: "id: SDSR-LOG-LLM-001", line: "id:", reason: "id: SDSR-LOG-LLM-001 is that of scenarios/SDSR-LOG-LLM-001.yaml, too"},
	{name: "name of a file", file: oneScenario, old: "id: SDSR-LOG-LLM-O1-001", by: "id: SDSR-LOG-LLM-O1-002", line: "id:", reason: "id: the file must be named SDSR-LOG-LLM-O1-002.yaml"},
}

// TestBroken looks at single files as [Load] does with each, which would read all of
// them again every time.
func TestBroken(t *testing.T) {
	kinds := map[string]string{
		intentsDir: "intent", capabilitiesDir: "capability", scenariosDir: "scenario",
		invariantsPath: "invariants", rulesPath: "rules", producersPath: "producers",
	}
	for _, b := range slices.Concat(broken, brokenScenarios) {
		t.Run(b.name, func(t *testing.T) {
			b.check(t, func(files fstest.MapFS) error {
				dir, _, _ := strings.Cut(b.file, "/")
				return CheckFile(kinds[dir], b.file, files[b.file].Data, testNow)
			})
		})
	}
}

func TestBrokenTogether(t *testing.T) {
	for _, b := range append(brokenTogether, broken[0], brokenScenarios[0]) {
		t.Run(b.name, func(t *testing.T) {
			b.check(t, func(files fstest.MapFS) error {
				_, err := Load(files, testNow)
				return err
			})
		})
	}
}

// TestBrokenAPI holds the registry against a document that differs from it.
func TestBrokenAPI(t *testing.T) {
	text, err := os.ReadFile(apiGolden)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range []breakage{
		{name: "endpoint", file: oneIntent, old: "{run_id}/envelope", by: "{id}/envelope", line: "endpoint", reason: "the OpenAPI document has no path /api/v1/logs/llm-runs/{id}/envelope"},
		{name: "control", file: twoIntent, old: "parameter: cursor", by: "parameter: page", line: "parameter: page", reason: "GET /api/v1/logs/llm-runs/{run_id}/trace has no parameter page"},
		{name: "rows", file: twoIntent, old: "rows: steps", by: "rows: spans", line: "rows:", reason: "the answer of /api/v1/logs/llm-runs/{run_id}/trace has no list spans"},
		{name: "field", file: oneIntent, old: "executor_type", by: "executor_kind", line: "executor_kind", reason: "the answer of /api/v1/logs/llm-runs/{run_id}/envelope has no member executor_kind"},
		{name: "query", file: govScenario, old: "query: {limit:", by: "query: {most:", line: "most", reason: "GET /api/v1/logs/llm-runs/{run_id}/governance has no parameter most"},
		{name: "items", file: govScenario, old: "items: threshold_checks", by: "items: limits", line: "items: limits", reason: "the answer of /api/v1/logs/llm-runs/{run_id}/governance has no list limits"},
		{name: "observed path", file: govScenario, old: "{run_id}/governance", by: "{run_id}/policies", line: "/policies", reason: "the OpenAPI document has no path /api/v1/logs/llm-runs/{run_id}/policies"},
		{name: "read path", file: recScenario, old: "path: /api/v1/logs/audit/integrity", by: "path: /v1/traces", line: "/v1/traces", reason: "the OpenAPI document has no GET of /v1/traces"},
	} {
		t.Run(b.name, func(t *testing.T) {
			b.check(t, func(files fstest.MapFS) error { return unchecked(t, files).CheckAPI(text) })
		})
	}
}

// unchecked reads a registry whose files need not go together.
func unchecked(t *testing.T, files fstest.MapFS) *Registry {
	t.Helper()
	l := &loader{fsys: files, now: testNow, r: &Registry{documents: map[string]*document{}}, found: &findings{}, texts: map[string][]byte{}}
	l.all()
	if err := l.found.err(); err != nil {
		t.Fatal(err)
	}
	return l.r
}

// TestChangedAPI changes the document: either side fails when the other changes.
func TestChangedAPI(t *testing.T) {
	text, err := os.ReadFile(apiGolden)
	if err != nil {
		t.Fatal(err)
	}
	r := loaded(t, Builtin())
	const envelope = "/api/v1/logs/llm-runs/{run_id}/envelope"
	for _, tt := range []struct {
		name   string
		change func(paths map[string]any)
		want   string
	}{
		{"a route without an intent", func(p map[string]any) { p["/api/v1/logs/audit/weather"] = p["/api/v1/logs/audit"] }, "openapi.json: GET /api/v1/logs/audit/weather has no intent"},
		{"a route of runs", func(p map[string]any) { p["/api/v1/logs/llm-runs/{run_id}/cost"] = p[envelope] }, "openapi.json: GET /api/v1/logs/llm-runs/{run_id}/cost has no intent"},
		{"a way to change", func(p map[string]any) { p[envelope].(map[string]any)["delete"] = p[envelope].(map[string]any)["get"] }, "openapi.json: DELETE " + envelope + ": nothing below /api/v1/logs/ may be changed"},
		{"a route is gone", func(p map[string]any) { delete(p, envelope) }, "the OpenAPI document has no path " + envelope},
		{"another method", func(p map[string]any) { p[envelope] = map[string]any{"post": map[string]any{}} }, "the OpenAPI document has no GET of " + envelope},
		{"a parameter is gone", func(p map[string]any) { delete(p[envelope].(map[string]any)["get"].(map[string]any), "parameters") }, "GET " + envelope + " has no parameter run_id"},
		{"nothing", func(map[string]any) {}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var doc map[string]any
			if err := json.Unmarshal(text, &doc); err != nil {
				t.Fatal(err)
			}
			tt.change(doc["paths"].(map[string]any))
			changed, err := json.Marshal(doc)
			if err != nil {
				t.Fatal(err)
			}
			err = r.CheckAPI(changed)
			if tt.want == "" && err != nil || tt.want != "" && (!errors.Is(err, evidence.ErrInvalid) || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("want %q, got %v", tt.want, err)
			}
		})
	}
	if err := r.CheckAPI([]byte("[")); !errors.Is(err, evidence.ErrInvalid) {
		t.Errorf("no JSON: %v", err)
	}
}

// TestFilesOfRegistry breaks what files there are.
func TestFilesOfRegistry(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(files fstest.MapFS)
		want   string // the first problem
	}{
		{"no rules", func(f fstest.MapFS) { delete(f, rulesPath) }, "rules.yaml: is missing"},
		{"another ending", func(f fstest.MapFS) { f["scenarios/new.yml"] = f[oneScenario] }, "scenarios/new.yml: is no file of the registry: those end in .yaml"},
		{"a stranger", func(f fstest.MapFS) { f["rule.yaml"] = f[rulesPath] }, "rule.yaml: is no file of the registry"},
		{"an editor's", func(f fstest.MapFS) { f["scenarios/.x.yaml.swp"] = f[rulesPath] }, ""},
		{"observations", func(f fstest.MapFS) { f["observations/x.json"] = f[rulesPath] }, ""},
		{"an intent is missing", func(f fstest.MapFS) { delete(f, twoIntent) }, oneCapability + ":5: panels[1]: there is no intent LOG-REC-LLM-O2"},
		{
			"an intent twice", func(f fstest.MapFS) { f["intents/Z.yaml"] = f[twoIntent] },
			"intents/Z.yaml:1: panel_id: LOG-REC-LLM-O2 is that of " + twoIntent + ", too",
		},
		{
			"a capability twice", func(f fstest.MapFS) { f["capabilities/Z.yaml"] = f[oneCapability] },
			"capabilities/Z.yaml:1: id: logs.llm_runs is that of " + oneCapability + ", too",
		},
		{"too large", func(f fstest.MapFS) { f[rulesPath] = &fstest.MapFile{Data: make([]byte, maxFile+1)} }, "rules.yaml:1: the file is over 1024 KiB"},
		{
			"aliases without end", func(f fstest.MapFS) {
				text := "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
				for i := 1; i < 10; i++ {
					text += strings.NewReplacer("N", string(rune('0'+i)), "P", string(rune('0'+i-1))).Replace("aN: &aN [*aP, *aP, *aP, *aP, *aP, *aP, *aP, *aP, *aP, *aP]\n")
				}
				f[rulesPath] = &fstest.MapFile{Data: []byte(text)}
			},
			"rules.yaml:1: the file is too deep or, with its aliases, too large",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			files := copyOf(t)
			tt.change(files)
			_, err := Load(files, testNow)
			got := ""
			if p := Problems(err); len(p) > 0 {
				got = p[0].Error()
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("%s\nall: %v", diff, err)
			}
		})
	}
}
