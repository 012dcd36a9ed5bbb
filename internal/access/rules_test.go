package access

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/runledger/runledger/evidence"
)

// day is a day of tests: the shipped preflight rules count.
var day = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// after is a day when they have expired.
var after = time.Date(2027, 6, 30, 0, 0, 0, 0, time.UTC)

func ruleID(r *Rule, ok bool) string {
	if !ok {
		return "-"
	}
	return r.ID
}

// TestDefaultRules says for every route which rule is its.
func TestDefaultRules(t *testing.T) {
	rules := DefaultRules()
	for _, tt := range []struct{ method, path, production, preflight string }{
		{"GET", "/healthz", "public.healthz", "public.healthz"},
		{"GET", "/docs/style.css", "public.docs", "public.docs"},
		{"POST", "/console/login", "public.login", "public.login"},
		{"POST", "/healthz", "-", "-"},
		{"GET", "/", "-", "-"},
		{"GET", "/console", "-", "-"},
		{"GET", "/api/v1", "-", "-"},
		{"GET", "/api/v1/logs", "-", "-"},
		{"GET", "/api/v1/logs/llm-runs", "logs.llm-runs", "preflight.llm-runs"},
		{"HEAD", "/api/v1/logs/llm-runs", "logs.llm-runs", "preflight.llm-runs"},
		{"GET", "/api/v1/logs/llm-runs/", "logs.llm-runs", "preflight.llm-runs"},
		{"GET", "/api/v1/logs/llm-runs/{run_id}/trace", "logs.llm-runs", "preflight.llm-runs"},
		{"GET", "/api/v1/logs/llm-runs/{run_id}/export", "logs.llm-runs.export", "logs.llm-runs.export"},
		{"GET", "/api/v1/logs/llm-runs/a%2Fb/export", "logs.llm-runs.export", "logs.llm-runs.export"},
		{"GET", "/api/v1/logs/llm-runs/a/%65xport", "logs.llm-runs.export", "logs.llm-runs.export"},
		{"GET", "/api/v1/lo%67s/audit", "logs.audit", "preflight.audit"},
		{"GET", "/api/v1/lo%g7s/audit", "-", "-"},
		{"GET", "/api/v1/logs/llm-runs2", "-", "-"},
		{"GET", "/api/v1/LOGS/audit", "-", "-"},
		{"GET", "/healthz/../api/v1/logs/audit", "-", "-"},
		{"GET", "//api/v1/logs/audit", "-", "-"},
		{"GET", "/docs//x", "-", "-"},
		{"GET", "*", "-", "-"},
		{"GET", "", "-", "-"},
		{"POST", "/api/v1/logs/llm-runs", "-", "-"},
		{"DELETE", "/api/v1/logs/audit", "-", "-"},
		{"POST", "/api/v1/logs/llm-runs/r/export", "-", "-"},
		{"GET", "/api/v1/logs/system/{run_id}/replay", "logs.system", "preflight.system"},
		{"GET", "/api/v1/logs/audit/integrity", "logs.audit", "preflight.audit"},
		{"GET", "/guard/logs/{id}", "guard.logs", "preflight.guard"},
		{"GET", "/guard/logs/export", "guard.logs.export", "guard.logs.export"},
		{"GET", "/api/v1/exports/e", "exports", "exports"},
		{"POST", "/api/v1/exports", "exports.make", "exports.make"},
		{"GET", "/api/v1/exports/e/content", "exports.content", "exports.content"},
		{"GET", "/api/v1/traces/by-root/h", "traces", "traces"},
		{"POST", "/api/v1/traces", "traces.write", "traces.write"},
		{"POST", "/api/v1/traces/mismatches/{id}/resolve", "traces.write", "traces.write"},
		{"POST", "/api/v1/traces/compare", "traces.compare", "traces.compare"},
		{"GET", "/api/v1/traces/compare", "traces.compare", "traces.compare"},
		{"POST", "/api/v1/ingest/records", "ingest.records", "ingest.records"},
		{"POST", "/v1/logs", "ingest.otlp.logs", "ingest.otlp.logs"},
		{"POST", "/v1/other", "-", "-"},
		{"GET", "/api/v1/receipts/{id}", "receipts", "receipts"},
		{"GET", "/api/v1/transparency/checkpoint", "transparency", "transparency"},
		{"GET", "/schemas/record.json", "schemas", "schemas"},
		{"DELETE", "/api/v1/apikeys/{id}", "admin.apikeys", "admin.apikeys"},
		{"POST", "/api/v1/tenants", "admin.tenants", "admin.tenants"},
		{"GET", "/api/v1/retention/preview", "retention", "retention"},
		{"PUT", "/api/v1/retention/{class}", "admin.retention", "admin.retention"},
		{"POST", "/api/v1/retention/run", "admin.retention", "admin.retention"},
		{"GET", "/api/v1/holds", "holds", "holds"},
		{"POST", "/api/v1/holds/{hold_id}/release", "admin.holds", "admin.holds"},
		{"DELETE", "/api/v1/holds/{hold_id}", "-", "-"},
		{"GET", "/api/v1/archives", "archives", "archives"},
		{"GET", "/api/v1/archives/records", "archives.records", "archives.records"},
		{"POST", "/api/v1/archives", "admin.archives", "admin.archives"},
		{"POST", "/api/v1/archives/records", "-", "-"},
		{"GET", "/api/v1/erasures/{erasure_id}/certificate", "erasures", "erasures"},
		{"POST", "/api/v1/erasures", "admin.erasures", "admin.erasures"},
		{"GET", "/metrics", "admin.metrics", "admin.metrics"},
		{"OPTIONS", "/healthz", "-", "-"},
		{"CONNECT", "/healthz", "-", "-"},
	} {
		for env, want := range map[string]string{Production: tt.production, Preflight: tt.preflight, "elsewhere": "-", "": "-"} {
			if got := ruleID(rules.Match(tt.method, tt.path, env, day)); got != want {
				t.Errorf("%s %s in %q: %s, want %s", tt.method, tt.path, env, got, want)
			}
		}
		// A temporary rule falls back to the standing one.
		if got := ruleID(rules.Match(tt.method, tt.path, Preflight, after)); got != tt.production {
			t.Errorf("%s %s in preflight, later: %s, want %s", tt.method, tt.path, got, tt.production)
		}
	}
	if r, _ := rules.Match("GET", "/api/v1/logs/audit", Preflight, after.Add(-time.Nanosecond)); !r.Temporary() {
		t.Error("expired too early")
	}
	if got := rules.Methods("/api/v1/traces", Production, day); !cmp.Equal(got, []string{"GET", "POST"}) {
		t.Errorf("methods %v", got)
	}
}

func TestDefaultAuthority(t *testing.T) {
	const days = 24 * time.Hour
	for _, tt := range []struct {
		environment, role string
		want              Authority
	}{
		{Production, RoleViewer, Authority{false, false, 100, 7 * days, true}},
		{Production, "dev", Authority{false, false, 100, 7 * days, true}},
		{Production, RoleAuditor, Authority{false, false, 100, 0, true}},
		{Production, RoleObserver, Authority{true, true, 100, 7 * days, true}},
		{Preflight, RoleViewer, Authority{true, false, 500, 30 * days, true}},
		{Preflight, RoleAuditor, Authority{true, false, 500, 0, true}},
		{Preflight, RoleObserver, Authority{true, true, 500, 30 * days, true}},
	} {
		for _, path := range []string{"/api/v1/logs/llm-runs", "/api/v1/logs/system", "/api/v1/logs/audit", "/guard/logs"} {
			r, _ := DefaultRules().Match("GET", path, tt.environment, day)
			if diff := cmp.Diff(tt.want, r.For(tt.role)); diff != "" {
				t.Errorf("%s %s %s: %s", tt.environment, tt.role, path, diff)
			}
		}
	}
	var r Rule // that says nothing of roles
	if a := r.For(RoleObserver); !a.SyntheticOnly {
		t.Error("an observer sees more than synthetic records")
	}
}

// TestShippedFile reads the shipped text as an operator's own file.
func TestShippedFile(t *testing.T) {
	rules, err := parseRules(DefaultRulesFile(), day)
	if err != nil || len(rules.All()) != len(DefaultRules().All()) || rules.Digest != DefaultRules().Digest || !strings.HasPrefix(rules.Digest, "sha256:") {
		t.Errorf("%v", err)
	}
	if _, err := parseRules(DefaultRulesFile(), after); err == nil || !strings.Contains(err.Error(), "rule preflight.llm-runs: expired on 2027-06-30") {
		t.Errorf("after they expired: %v", err)
	}
}

const goodRule = `version: 1
public_paths: [/healthz]
rules:
  - {id: h, path: /healthz, methods: [GET], tier: PUBLIC, environments: [production]}
  - id: runs
    path: /api/v1/logs/llm-runs
    methods: [GET]
    tier: SESSION
    permissions: [logs.read]
    environments: [production]
    topic: LLM_RUNS
    record: view
    authority: {include_synthetic: false, max_rows: 10, max_time_range_days: 1, export_allowed: false}
`

// TestParseRules changes a good file and sees what is said of it.
func TestParseRules(t *testing.T) {
	if _, err := parseRules([]byte(goodRule), day); err != nil {
		t.Fatal(err)
	}
	more := func(s string) string { return goodRule + s }
	twin := func(id, more string) string {
		return "  - {id: " + id + ", path: /x/*/y, methods: [GET, POST], tier: KEY, permissions: [], environments: [production, preflight], record: none" + more + "}\n"
	}
	for name, tt := range map[string]struct{ text, want string }{
		"empty":               {"", "line 1: the file is empty"},
		"only a comment":      {"# x", "line 1: the file is empty"},
		"no YAML":             {"a: [", "yaml:"},
		"a list":              {"[]", "line 1: the file must be a mapping"},
		"second document":     {more("---\nversion: 1\n"), "second document"},
		"large":               {strings.Repeat("#", maxRulesFile+1), "over 1024 KiB"},
		"no version":          {strings.Replace(goodRule, "version: 1\n", "", 1), "line 1: the file lacks version"},
		"other version":       {strings.Replace(goodRule, "version: 1", "version: 2", 1), "line 1: version must be a number from 1 to 1"},
		"version as text":     {strings.Replace(goodRule, "version: 1", `version: "1"`, 1), "line 1: version must be"},
		"unknown key":         {more("extra: 1\n"), `line 14: unknown key "extra": the file has public_paths, rules, version`},
		"unknown rule key":    {strings.Replace(goodRule, "    topic:", "    topics:", 1), `line 11: rule runs: unknown key "topics"`},
		"key twice":           {strings.Replace(goodRule, "    topic:", "    record: none\n    topic:", 1), "line 13: rule runs: the key record stands twice"},
		"merge":               {strings.Replace(goodRule, "    topic:", "    <<: {a: b}\n    topic:", 1), `unknown key "<<"`},
		"rule is a text":      {more("  - x\n"), "line 14: a rule must be a mapping"},
		"rules are a mapping": {"version: 1\npublic_paths: []\nrules: {}\n", "line 3: rules must be a list"},
		"id twice":            {more(strings.Replace(twin("runs", ""), "/x/*/y", "/z", 1)), "line 14: rule runs: the id is that of the rule of line 5"},
		"id unfit":            {strings.Replace(goodRule, "id: runs", `id: "rüns"`, 1), "id must be at most 64 characters"},
		"id as number":        {strings.Replace(goodRule, "id: runs", "id: 7", 1), "line 5: rule 7: id must be a text"},
		"no id":               {more("  - {path: /x, methods: [GET], tier: KEY, permissions: [], environments: [production], record: none}\n"), "line 14: a rule lacks id"},
		"method":              {strings.Replace(goodRule, "    methods: [GET]", "    methods: [GET, get]", 1), "line 7: rule runs: methods must be one of GET, POST"},
		"HEAD":                {strings.Replace(goodRule, "    methods: [GET]", "    methods: [HEAD]", 1), "methods must be one of"},
		"method twice":        {strings.Replace(goodRule, "    methods: [GET]", "    methods: [GET, GET]", 1), "methods has GET twice"},
		"no method":           {strings.Replace(goodRule, "    methods: [GET]", "    methods: []", 1), "methods must name at least one"},
		"tier":                {strings.Replace(goodRule, "tier: SESSION", "tier: ANY", 1), "line 8: rule runs: tier must be one of PUBLIC, SESSION, KEY"},
		"permission":          {strings.Replace(goodRule, "[logs.read]", "[logs.delete]", 1), "line 9: rule runs: permissions must be one of logs.read,"},
		"no permission":       {strings.Replace(goodRule, "    permissions: [logs.read]\n", "", 1), "line 5: rule runs: a rule lacks permissions"},
		"view for all":        {strings.Replace(goodRule, "[logs.read]", "[]", 1), "line 5: rule runs: a rule with record view needs a permission"},
		"any of none":         {strings.Replace(goodRule, "permissions: [logs.read]", "any_of: []", 1), "any_of must name at least one"},
		"environment":         {strings.Replace(goodRule, "    environments: [production]", "    environments: [prod]", 1), "line 10: rule runs: environments must be one of production, preflight"},
		"no environment":      {strings.Replace(goodRule, "    environments: [production]\n", "", 1), "line 5: rule runs: a rule lacks environments"},
		"topic":               {strings.Replace(goodRule, "LLM_RUNS", "RUNS", 1), "line 11: rule runs: topic must be one of"},
		"no topic":            {strings.Replace(goodRule, "    topic: LLM_RUNS\n", "", 1), "a rule with record view lacks topic"},
		"record":              {strings.Replace(goodRule, "record: view", "record: maybe", 1), "line 12: rule runs: record must be one of view, export, self, none"},
		"no record":           {strings.Replace(goodRule, "    record: view\n", "", 1), "a rule lacks record"},
		"logs unrecorded":     {strings.Replace(goodRule, "record: view", "record: none", 1), "line 5: rule runs: record must be view or export: the path covers /api/v1/logs"},
		"above logs":          {more("  - {id: a, path: /api/*, methods: [GET], tier: KEY, permissions: [], environments: [production], record: self}\n"), "line 14: rule a: record must be view or export"},
		"above guard":         {more("  - {id: a, path: /guard, methods: [GET], tier: KEY, permissions: [], environments: [production], record: none}\n"), "covers /guard/logs"},
		"view of no tenant":   {strings.Replace(goodRule, "    record: view", "    tenant: optional\n    record: view", 1), "tenant must be required"},
		"tenant":              {strings.Replace(goodRule, "    record: view", "    tenant: maybe\n    record: view", 1), "tenant must be one of required, optional"},
		"no authority":        {goodRule[:strings.Index(goodRule, "    authority")], "lacks authority"},
		"authority lacks":     {strings.Replace(goodRule, "max_rows: 10, ", "", 1), "line 13: rule runs: authority lacks max_rows"},
		"rows":                {strings.Replace(goodRule, "max_rows: 10", "max_rows: 0", 1), "line 13: rule runs: max_rows must be a number from 1 to 10000"},
		"rows in hex":         {strings.Replace(goodRule, "max_rows: 10", "max_rows: 0x10", 1), "max_rows must be a number"},
		"no range limit":      {strings.Replace(goodRule, "max_time_range_days: 1", "max_time_range_days: 0", 1), "max_time_range_days must be a number from 1"},
		"yes":                 {strings.Replace(goodRule, "include_synthetic: false", "include_synthetic: yes", 1), "include_synthetic must be true or false"},
		"synthetic for all":   {strings.Replace(goodRule, "max_rows: 10", "synthetic_only: true, max_rows: 10", 1), `unknown key "synthetic_only"`},
		"role":                {more("    roles: {boss: {max_rows: 5}}\n"), `line 14: rule runs: unknown key "boss"`},
		"observer":            {more("    roles: {observer: {max_rows: 5}}\n"), "line 14: rule runs: an observer sees synthetic records only"},
		"synthetic, not so":   {more("    roles: {viewer: {synthetic_only: true}}\n"), "viewer: synthetic_only goes with include_synthetic"},
		"path":                {strings.Replace(goodRule, "path: /api/v1/logs/llm-runs", "path: api", 1), "line 5: rule runs: path must begin with /"},
		"path to all":         {strings.Replace(goodRule, "path: /api/v1/logs/llm-runs", "path: /", 1), "path must begin with the name of a segment"},
		"any path":            {strings.Replace(goodRule, "path: /api/v1/logs/llm-runs", `path: "/*"`, 1), "path must begin with the name of a segment"},
		"path with an end":    {strings.Replace(goodRule, "llm-runs", "llm-runs/", 1), "path must be clean"},
		"path up":             {strings.Replace(goodRule, "llm-runs", "../x", 1), "path must be clean"},
		"path escaped":        {strings.Replace(goodRule, "llm-runs", "llm%2Druns", 1), "path must be of plain segments"},
		"path with a pattern": {strings.Replace(goodRule, "llm-runs", `"{id}"`, 1), "plain segments"},
		"half a star":         {strings.Replace(goodRule, "llm-runs", "llm-*", 1), "plain segments"},
		"long path":           {strings.Replace(goodRule, "llm-runs", strings.Repeat("a/", 20)+"b", 1), "path is too long"},
		"public":              {strings.Replace(goodRule, "[/healthz]", "[/healthz, /api]", 1), "line 2: public_paths must be one of /healthz,"},
		"public without rule": {strings.Replace(goodRule, "[/healthz]", "[/healthz, /docs]", 1), "line 2: the public path /docs has no PUBLIC rule"},
		"rule not public":     {strings.Replace(goodRule, "[/healthz]", "[]", 1), "line 4: rule h: the path of a PUBLIC rule must be in public_paths"},
		"public as a prefix":  {strings.Replace(goodRule, "path: /healthz", "path: /healthz2", 1), "must be in public_paths"},
		"public permissions":  {strings.Replace(goodRule, "tier: PUBLIC", "tier: PUBLIC, permissions: [logs.read]", 1), "line 4: rule h: a PUBLIC rule has no permissions"},
		"public logs":         {strings.Replace(goodRule, "tier: SESSION", "tier: PUBLIC", 1), "a PUBLIC rule has no topic"},
		"hidden":              {more(twin("a", "") + strings.Replace(twin("b", ""), "GET, ", "", 1)), "line 15: rule b: is hidden by the rule a of line 14, which has the same path, method POST and environment production"},
		"temporary hidden":    {more(twin("a", ", temporary: true, expires: 2027-01-01T00:00:00Z") + twin("b", ", temporary: true, expires: 2027-02-01T00:00:00Z")), "rule b: is hidden by the rule a"},
		"no expiry":           {more(twin("a", ", temporary: true")), "line 14: rule a: a temporary rule has expires"},
		"expiry of standing":  {more(twin("a", ", expires: 2027-01-01T00:00:00Z")), "only a temporary rule"},
		"not temporary":       {more(twin("a", ", temporary: false, expires: 2027-01-01T00:00:00Z")), "temporary must be true"},
		"expired":             {more(twin("a", ", temporary: true, expires: 2026-11-24T12:00:00Z")), "line 14: rule a: expired on 2026-11-24T12:00:00Z"},
		"expiry":              {more(twin("a", ", temporary: true, expires: soon")), "line 14: rule a: expires must be a time"},
		"expiry as a day":     {more(twin("a", ", temporary: true, expires: 2027-01-01")), "expires must be a time"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parseRules([]byte(tt.text), day)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v\nwant %s", err, tt.want)
			}
			if !errors.Is(err, evidence.ErrInvalid) {
				t.Error("no ErrInvalid")
			}
		})
	}
	// All that is wrong is said at once.
	_, err := parseRules([]byte(strings.NewReplacer("SESSION", "x", "view", "y", "LLM_RUNS", "z").Replace(goodRule)), day)
	if n := len(strings.Split(err.Error(), "\n")); n < 3 {
		t.Errorf("%d errors: %v", n, err)
	}
	if _, err := parseRules([]byte(more(twin("a", ", temporary: true, expires: 2027-01-01T00:00:00Z")+twin("b", ""))), day); err != nil {
		t.Errorf("temporary before standing: %v", err)
	}
}

// TestSpecific has rules that differ in how they name a path.
func TestSpecific(t *testing.T) {
	text := "version: 1\npublic_paths: []\nrules:\n"
	for i, path := range []string{"/x", "/x/*", "/x/a", "/x/*/c", "/x/b/*", "/x/b/c/d"} {
		text += fmt.Sprintf("  - {id: r%d, path: %s, methods: [%s], tier: KEY, permissions: [], environments: [production], record: none}\n", i, path, []string{"GET", "POST"}[i/5])
	}
	rules, err := parseRules([]byte(text), day)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"/x": "r0", "/x/": "r0", "/x/q": "r1", "/x/a": "r2", "/x/a/b": "r2", "/x/a/c": "r3", "/x/q/c": "r3", "/x/b/c": "r4", "/x/b/c/": "r4",
		"/x/b/c/d": "-", "/x/b/c/d/e": "-", // its rule has another method, and no other counts
		"/x/b/c/e": "r4", "/y": "-", "/xy": "-",
	} {
		if got := ruleID(rules.Match("GET", path, Production, day)); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
}

// TestMatchAsMux sees that rules take a path apart as a ServeMux does: what a
// mux gives to a handler below /api/v1/logs is always matched by that rule.
func TestMatchAsMux(t *testing.T) {
	mux := http.NewServeMux()
	reached := false
	mux.HandleFunc("/api/v1/logs/audit/{rest...}", func(http.ResponseWriter, *http.Request) { reached = true })
	mux.HandleFunc("/healthz/{rest...}", func(http.ResponseWriter, *http.Request) {})
	rnd, hits := rand.New(rand.NewPCG(1, 2)), 0
	spell := func(s string) string { // in one of the ways there are
		if i := rnd.IntN(4 * len(s)); i < len(s) {
			return fmt.Sprintf("%s%%%02x%s", s[:i], s[i], s[i+1:])
		}
		return s
	}
	odd := []string{"", ".", "..", "%2e%2e", "%2F", "healthz", "%", "*"}
	for range 20000 {
		p := ""
		for _, s := range []string{"api", "v1", "logs", "audit", "x"} {
			if rnd.IntN(8) == 0 {
				p += "/" + odd[rnd.IntN(len(odd))]
			}
			if rnd.IntN(16) > 0 {
				p += "/" + spell(s)
			}
		}
		u, err := url.Parse("http://localhost" + p)
		if err != nil {
			continue
		}
		reached = false
		mux.ServeHTTP(httptest.NewRecorder(), &http.Request{Method: http.MethodGet, URL: u, Host: "localhost"})
		if !reached {
			continue
		}
		hits++
		if got := ruleID(DefaultRules().Match("GET", u.EscapedPath(), Production, day)); got != "logs.audit" {
			t.Fatalf("%s reaches the audit log under the rule %s", p, got)
		}
	}
	if hits < 1000 {
		t.Errorf("only %d paths reach the handler", hits)
	}
}

func FuzzParseRules(f *testing.F) {
	f.Add(goodRule)
	f.Add(string(DefaultRulesFile()))
	f.Add("version: 1\npublic_paths: &a [*a]\nrules: [*a]\n")
	f.Add("&a {rules: *a}")
	f.Add("? {a: b}\n: c\n")
	f.Fuzz(func(t *testing.T, text string) {
		rules, err := parseRules([]byte(text), day)
		if err != nil {
			if !errors.Is(err, evidence.ErrInvalid) {
				t.Fatalf("%v", err)
			}
			return
		}
		ids := map[string]bool{}
		for _, r := range rules.All() {
			if ids[r.ID] || !evidence.FitName(r.ID) {
				t.Fatalf("id %q", r.ID)
			}
			ids[r.ID] = true
			path := strings.ReplaceAll(r.Path, "*", "x")
			for _, m := range r.Methods {
				for _, e := range r.Environments {
					got, ok := rules.Match(m, path, e, day)
					if !ok || got.ID != r.ID && len(got.segments) < len(r.segments) {
						t.Fatalf("%s %s is matched by %v", m, path, got)
					}
				}
			}
			covered := covers(r.segments, "/api/v1/logs/x") || covers(r.segments, "/guard/logs")
			if covered && r.Record != RecordView && r.Record != RecordExport || r.Tier == Public && !rulesFilePublic(r.Path) {
				t.Fatalf("%+v", r)
			}
		}
	})
}

func rulesFilePublic(path string) bool {
	return (&rulesFile{rules: &Rules{PublicPaths: publicPaths}}).isPublic(path)
}
