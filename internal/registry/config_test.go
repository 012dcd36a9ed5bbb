package registry

import (
	"errors"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/access"
	"github.com/runledger/runledger/internal/dialect"
	"github.com/runledger/runledger/internal/prices"
	"github.com/runledger/runledger/internal/stream"
)

// parsers are the server's own, by kind of file.
var parsers = map[string]func([]byte) error{
	"rbac":     func(b []byte) error { _, err := access.ParseRules(b); return err },
	"oidc":     func(b []byte) error { _, err := access.ParseIssuers(b); return err },
	"streams":  func(b []byte) error { _, err := stream.Parse(b); return err },
	"prices":   func(b []byte) error { _, err := prices.Parse(b); return err },
	"dialects": func(b []byte) error { _, err := dialect.Parse(b); return err },
}

const (
	ruleHead = "version: 1\npublic_paths: []\nrules:\n  - id: r\n    path: /api/v1/logs/audit\n    methods: [GET]\n    environments: [production]\n"
	ruleRest = "    tier: SESSION\n    permissions: [audit.read]\n    topic: AUDIT\n    record: view\n    authority: {include_synthetic: false, max_rows: 10, max_time_range_days: 7, export_allowed: false}\n"
	issuer   = "issuers:\n  - issuer: https://id.example\n    audience: runledger\n    role_claim: groups\n    roles: {readers: viewer}\n"
	oneTo    = "    to: {file: {path: /var/log/x.jsonl}}\n"
	aStream  = "streams:\n  - name: siem\n    tenants: [acme]\n    records: [audit]\n    format: ocsf\n"
	aPrice   = "version: 1\nprices:\n  - providers: [openai]\n    models: [gpt-x]\n    from: 2026-01-31\n"
	aDialect = "version: 1\ndialects:\n  - name: a\n"
)

// TestOwnAndServersParser gives files to the schema and to the server: both must take
// what is right, and refuse what is wrong.
func TestOwnAndServersParser(t *testing.T) {
	for _, tt := range []struct {
		name, kind, text string
		want             string // problem of ours, "" where all is right
	}{
		{"rule", "rbac", ruleHead + ruleRest, ""},
		{"temporary rule", "rbac", ruleHead + ruleRest + "    temporary: true\n    expires: 2099-01-01T00:00:00Z\n", ""},
		{"rule of roles", "rbac", ruleHead + ruleRest + "    roles: {auditor: {max_time_range_days: 0}, observer: {include_synthetic: true, synthetic_only: true}}\n", ""},
		{"expired rule", "rbac", ruleHead + ruleRest + "    temporary: true\n    expires: 2026-11-30T11:59:59Z\n", "f.yaml:14: rules[0].expires: the temporary rule r expired on 2026-11-30T11:59:59Z: remove it, or let it expire later"},
		{"expires for ever", "rbac", ruleHead + ruleRest + "    expires: 2099-01-01T00:00:00Z\n", "f.yaml:4: rules[0]: lacks temporary"},
		{"unknown key of a rule", "rbac", ruleHead + ruleRest + "    hide: true\n", "f.yaml:13: rules[0]: unknown key hide"},
		{"merged rules", "rbac", ruleHead + ruleRest + "    <<: {}\n", `f.yaml:13: "<<" is not used here: write the keys out`},
		{"no record", "rbac", ruleHead + strings.Replace(ruleRest, "    record: view\n", "", 1), "f.yaml:4: rules[0]: lacks record"},
		{"no permission", "rbac", ruleHead + strings.Replace(ruleRest, "    permissions: [audit.read]\n", "", 1), "f.yaml:4: rules[0]: is not as it must be: a rule needs permissions or any_of: permissions [] lets in every credential"},
		{"public rule that shows logs", "rbac", ruleHead + strings.Replace(ruleRest, "SESSION", "PUBLIC", 1), "f.yaml:4: rules[0]: is not as it must be: a PUBLIC rule has no permissions, any_of, topic, record, authority, roles, tenant"},
		{"observer of all", "rbac", ruleHead + ruleRest + "    roles: {observer: {include_synthetic: true}}\n", "f.yaml:13: rules[0].roles.observer: lacks synthetic_only"},

		{"issuer", "oidc", issuer + "    tenant: acme\n", ""},
		{"two ways to a tenant", "oidc", issuer + "    tenant: acme\n    tenant_claim: org\n", "f.yaml:2: issuers[0]: is not as it must be: either tenant or tenant_claim"},
		{"tenant of the system", "oidc", issuer + "    tenant: system\n", "f.yaml:6: issuers[0].tenant: is not as it must be: A tenant: 1 to 63 of a-z, 0-9 and -, and not system"},
		{"no role", "oidc", strings.Replace(issuer, "viewer", "king", 1) + "    tenant: acme\n", "f.yaml:5: issuers[0].roles.readers: king must be one of viewer, operator, auditor, observer, producer, tenant_admin, platform_admin"},

		{"stream", "streams", aStream + oneTo, ""},
		{"stream of all", "streams", strings.Replace(aStream, "[acme]", `"*"`, 1) + oneTo, ""},
		{"merged streams", "streams", aStream + "    <<: {min_severity: WARN}\n" + oneTo, ""},
		{"empty list", "streams", strings.Replace(aStream, "[acme]", "[]", 1) + oneTo, "f.yaml:3: streams[0].tenants: must not be empty"},
		{"two sinks", "streams", aStream + "    to: {file: {path: /x}, syslog: {address: \"h:1\"}}\n", "f.yaml:6: streams[0].to: is not as it must be: exactly one of webhook, file, syslog"},
		{"no such format", "streams", strings.Replace(aStream, "ocsf", "cef", 1) + oneTo, "f.yaml:5: streams[0].format: cef must be one of ocsf, cloudevents"},
		{"small files", "streams", aStream + "    to: {file: {path: /x, max_bytes: 1}}\n", "f.yaml:6: streams[0].to.file.max_bytes: must be at least 65536"},

		{"price", "prices", aPrice + "    input: \"0.15\"\n    long: {above: 5, input: 1}\n", ""},
		{"no price", "prices", aPrice, "f.yaml:3: prices[0]: lacks input"},
		{"price with a sign", "prices", aPrice + "    input: \"$1\"\n", "f.yaml:6: prices[0].input: $1 is not as it must be: US dollars for 1,000,000 tokens such as \"0.15\", with at most nine decimals, best in quotes"},

		{"dialect", "dialects", aDialect + "    match: [{scope: s, from: \"1.2\", below: 3}]\n    fields: {input: [k, {key: \"k@p.0\", as: ms, when: [\"!k^=v\"]}]}\n    kind: [{kind: llm, when: [k]}, {key: k, is: {v: tool}}]\n", ""},
		{"no match", "dialects", aDialect, "f.yaml:3: dialects[0]: lacks match"},
		{"match of nothing", "dialects", aDialect + "    match: [{}]\n", "f.yaml:4: dialects[0].match[0]: is not as it must be: scope, has or both"},
		{"unknown field", "dialects", aDialect + "    match: [{scope: s}]\n    fields: {inputs: [k]}\n", "f.yaml:5: dialects[0].fields: unknown key inputs"},
		{"unknown transform", "dialects", aDialect + "    match: [{scope: s}]\n    fields: {input: [{key: k, as: double}]}\n", "f.yaml:5: dialects[0].fields.input[0].as: double must be one of cut-dot, cut-slash, after-slash, seconds, ms, iso-since-start, json-sum, nonzero"},
		{"kind of nothing", "dialects", aDialect + "    match: [{scope: s}]\n    kind: [{}]\n", "f.yaml:5: dialects[0].kind[0]: is not as it must be: either kind, or key with is or ends"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := CheckFile(tt.kind, "f.yaml", []byte(tt.text), testNow)
			var got []string
			for _, p := range Problems(err) {
				got = append(got, p.Error())
			}
			if tt.want == "" && err != nil || tt.want != "" && !slices.Contains(got, tt.want) {
				t.Errorf("want %q, got %q", tt.want, got)
			}
			// The server's parser goes by the clock of this machine, which is later.
			if err := parsers[tt.kind]([]byte(tt.text)); (err != nil) != (tt.want != "") && tt.name != "expired rule" {
				t.Errorf("the server's parser says: %v", err)
			}
		})
	}
}

func TestGatewayTwice(t *testing.T) {
	text := "listen: x\notlp: {http: off}\notlp_http: off\n"
	err := CheckFile("gateway", "config.yaml", []byte(text), testNow)
	if diff := cmp.Diff([]*Problem{{File: "config.yaml", Line: 3, Reason: "otlp_http: otlp-http stands twice, first in line 2"}}, Problems(err)); diff != "" {
		t.Error(diff)
	}
}

func TestControls(t *testing.T) {
	text := "controls:\n  - framework: F\n    id: \"1\"\n    title: T\n    supports: S\n    evidence: E\n    select:\n      - kinds: [trace, run]\n"
	want := []*Problem{{File: "c", Line: 8, Reason: "controls[0].select[0].kinds[1]: run must be one of llm_run, trace, trace_step, trace_event, system, metric, audit, export"}}
	if diff := cmp.Diff(want, Problems(CheckFile("controls", "c", []byte(text), testNow))); diff != "" {
		t.Error(diff)
	}
}

func TestUnknownKindOfFile(t *testing.T) {
	if err := CheckFile("weather", "x", nil, testNow); !errors.Is(err, evidence.ErrInvalid) || Problems(err) != nil {
		t.Errorf("got %v", err)
	}
}

// TestStatusByHand edits what Apply writes.
func TestStatusByHand(t *testing.T) {
	const file = "capabilities/AURORA_L2_CAPABILITY_logs.audit.yaml"
	for _, tt := range []struct{ name, old, by, line, reason string }{
		{"promoted", "status: OBSERVED", "status: TRUSTED", "status: TRUSTED", "status: TRUSTED, but its history ends at OBSERVED"},
		{"did not pass", "passed: true", "passed: false", "status:", "status: OBSERVED, but the newest observation did not pass"},
		{"begins elsewhere", "from: DECLARED", "from: DEGRADED", "from:", "history[0].from: DEGRADED, but the capability was DECLARED"},
		{"trusted at once", "to: OBSERVED", "to: TRUSTED", "to:", "history[0].to: nothing leads from DECLARED to TRUSTED at once"},
		{"observed before it changed", "leaf_index: 7\n  observed_at: 2026-11-30T11", "leaf_index: 7\n  observed_at: 2026-11-30T10", "observed_at", "observation.observed_at: before the last entry of the history"},
		{"no time", "leaf_index: 7\n  observed_at: 2026-11-30T11", "leaf_index: 7\n  observed_at: 2026-11-31T11", "observed_at", "observation.observed_at: 2026-11-31T11:00:00.000000Z is no time"},
		{"digest", "digest: sha256:ab", "digest: sha256:zz", "digest:", "observation.digest: sha256:zz" + strings.Repeat("ab", 31) + " is not as it must be: sha256: and 64 hex digits, of an observation"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			files := copyOf(t)
			observed(t, files)
			edit(t, files, file, tt.old, tt.by)
			want := &Problem{File: file, Line: lineOf(t, files, file, tt.line), Reason: tt.reason}
			got := Problems(CheckFile("capability", file, files[file].Data, testNow))
			if diff := cmp.Diff([]*Problem{want}, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestProblemsOfOthers(t *testing.T) {
	if p := Problems(errors.New("x")); p != nil {
		t.Errorf("got %v", p)
	}
	one := &Problem{File: "f", Reason: "r"}
	if diff := cmp.Diff([]*Problem{one}, Problems(one)); diff != "" || one.Error() != "f: r" {
		t.Error(diff, one)
	}
}

// FuzzScenario: whatever stands in a file of a scenario, it is read or refused, with a
// line that the file has.
func FuzzScenario(f *testing.F) {
	f.Add(recText)
	f.Add(govText)
	f.Add("id: &a [*a]\n")
	f.Add("<<: {}\n? [x]\n: y\n")
	f.Add("id: !!binary x\nversion: .nan\n")
	f.Fuzz(func(t *testing.T, text string) { fuzzed(t, "scenario", text) })
}

// FuzzCheckFile does the same with all kinds.
func FuzzCheckFile(f *testing.F) {
	for i, text := range []string{ruleHead + ruleRest, issuer, aStream + oneTo, aPrice, aDialect, "otlp: {http: off}\notlp-http: off\n"} {
		f.Add(uint8(i+6), text) //nolint:gosec // a handful
	}
	f.Fuzz(func(t *testing.T, kind uint8, text string) { fuzzed(t, Kinds()[int(kind)%len(Kinds())], text) })
}

func fuzzed(t *testing.T, kind, text string) {
	began := time.Now()
	err := CheckFile(kind, "f.yaml", []byte(text), testNow)
	if err != nil && !errors.Is(err, evidence.ErrInvalid) {
		t.Fatalf("no sentinel: %v", err)
	}
	problems := Problems(err)
	if (err != nil) != (len(problems) > 0) || len(problems) > maxProblems {
		t.Fatalf("%d problems, but %v", len(problems), err)
	}
	for _, p := range problems {
		if p.File != "f.yaml" || p.Line < 1 || p.Line > strings.Count(text, "\n")+strings.Count(text, "\r")+2 {
			t.Fatalf("%v", p)
		}
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Fatalf("took %v", took)
	}
}

// TestNoPropertyNames: of an error of propertyNames the validator tells a place that it
// changes later, so that a problem would be named at another line now and then.
func TestNoPropertyNames(t *testing.T) {
	for _, k := range Kinds() {
		text, err := fs.ReadFile(Builtin(), "schemas/"+k+".schema.json")
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), "propertyNames") {
			t.Errorf("the schema of %s: write properties or patternProperties, and additionalProperties: false", k)
		}
	}
}
