package access

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
)

const body = `{"run_id":"r1","metadata":{}}`

// routes are patterns as a server has them, each with who may use it.
var guarded = []struct {
	pattern, path string
	roles         string // of a tenant; of the platform where it begins with +
	record        string // what is recorded of a permitted request
}{
	{"GET /api/v1/logs/llm-runs", "", "viewer operator auditor observer tenant_admin", eventView},
	{"GET /api/v1/logs/llm-runs/{run_id}/envelope", "/api/v1/logs/llm-runs/r1/envelope", "viewer operator auditor observer tenant_admin", eventView},
	{"GET /api/v1/logs/llm-runs/{run_id}/export", "/api/v1/logs/llm-runs/r1/export", "operator auditor observer", eventExport},
	{"GET /api/v1/logs/system", "", "viewer operator auditor observer tenant_admin", eventView},
	{"GET /api/v1/logs/audit", "", "auditor observer tenant_admin", eventView},
	{"GET /api/v1/logs/audit/access", "", "auditor observer tenant_admin", eventView},
	{"GET /guard/logs/{id}", "/guard/logs/r1", "viewer operator auditor observer tenant_admin", eventView},
	{"GET /guard/logs/export", "", "operator auditor observer", eventExport},
	{"POST /api/v1/exports", "", "auditor observer", eventExport},
	{"GET /api/v1/exports/{export_id}", "/api/v1/exports/e", "operator auditor observer", eventView},
	{"GET /api/v1/exports/{export_id}/content", "/api/v1/exports/e/content", "operator auditor observer", eventExport},
	{"GET /api/v1/traces/{run_id}", "/api/v1/traces/r1", "viewer operator auditor observer tenant_admin", eventView},
	{"POST /api/v1/traces", "", "producer", ""},
	{"POST /api/v1/ingest/records", "", "producer", ""},
	{"POST /v1/traces", "", "producer", ""},
	{"GET /api/v1/receipts/{id}", "/api/v1/receipts/x", "viewer operator auditor observer producer tenant_admin", ""},
	{"GET /api/v1/transparency/checkpoint", "", "viewer operator auditor observer tenant_admin", ""},
	{"GET /schemas/record.json", "", "viewer operator auditor observer producer tenant_admin +platform_admin", ""},
	{"GET /api/v1/apikeys", "", "tenant_admin +platform_admin", ""},
	{"GET /api/v1/tenants", "", "+platform_admin", ""},
	{"GET /metrics", "", "+platform_admin", ""},
}

// guardRig is a gate before a mux whose handlers answer as told.
type guardRig struct {
	*rig
	handler http.Handler
	handle  func(w http.ResponseWriter, r *http.Request)
}

func newGuardRig(t testing.TB, set ...func(*Config)) *guardRig {
	g := &guardRig{rig: newRig(t, set...)}
	mux := http.NewServeMux()
	for _, p := range append([]string{"GET /healthz", "/"}, patterns()...) {
		mux.HandleFunc(p, func(w http.ResponseWriter, r *http.Request) { g.handle(w, r) })
	}
	g.handle = func(w http.ResponseWriter, r *http.Request) {
		v := ViewOf(r.Context())
		v.Run, v.Records = "r1", 3
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, body)
	}
	g.handler = g.Guard(mux)
	return g
}

func patterns() (list []string) {
	for _, r := range guarded {
		list = append(list, r.pattern)
	}
	return list
}

func (g *guardRig) ask(method, path string, key Credential, header ...string) *httptest.ResponseRecorder {
	req := httptest.NewRequest(method, "http://localhost:8080"+path, nil)
	req.RemoteAddr = "192.0.2.7:1234"
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key.Reveal())
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	g.handler.ServeHTTP(w, req)
	return w
}

// last returns the records of a tenant's log from the from-th on.
func (g *guardRig) last(t testing.TB, tenant string, from int) []event {
	t.Helper()
	all := g.events(t, tenant)
	if len(all) < from {
		t.Fatalf("the log of %s holds %d records", tenant, len(all))
	}
	return all[from:]
}

func digestOf(b []byte) string {
	sum := sha256.Sum256(b)
	return `"sha256:` + hex.EncodeToString(sum[:]) + `"`
}

// TestGuardRoles goes through all routes as every role: who may is answered, who
// may not is not, and of each there is exactly the record that the rule says.
func TestGuardRoles(t *testing.T) {
	g := newGuardRig(t)
	g.withSynthetic(t)
	type caller struct {
		role, tenant, log string
		key               MadeKey
		header            []string
	}
	var callers []caller
	for _, role := range Roles() {
		c := caller{role: role, tenant: "acme", log: "acme"}
		n := NewKey{Tenant: "acme", Role: role, ExpiresAt: evidence.Micros(g.now.Load()) + 60*minute}
		switch role {
		case RolePlatformAdmin:
			n.Tenant, c.log = "", evidence.SystemTenant
		case RoleObserver:
			n.Tenant, c.tenant, c.log = synthetic, synthetic, synthetic
		}
		var err error
		if c.key, err = g.Create(t.Context(), ada, n); err != nil {
			t.Fatal(err)
		}
		if _, err := g.try(c.key.Secret); err != nil {
			t.Fatal(err)
		}
		callers = append(callers, c)
		if role != RolePlatformAdmin && role != RoleTenantAdmin && role != RoleObserver { // one of the platform that names a tenant
			n.Tenant = ""
			p := caller{role: role, log: "other", header: []string{"X-Tenant-ID", "other"}}
			if p.key, err = g.Create(t.Context(), ada, n); err != nil {
				t.Fatal(err)
			}
			if _, err := g.try(p.key.Secret); err != nil {
				t.Fatal(err)
			}
			callers = append(callers, p)
		}
	}
	type expected struct {
		name, event string
		check       func(e event)
	}
	want, before := map[string][]expected{}, map[string]int{}
	for _, log := range []string{"acme", "other", synthetic, evidence.SystemTenant} {
		before[log] = len(g.events(t, log))
	}
	for _, route := range guarded {
		method, path, _ := strings.Cut(route.pattern, " ")
		path = cmp.Or(route.path, path)
		for _, c := range callers {
			name := fmt.Sprintf("%s as %s of %s", route.pattern, c.role, c.log)
			rule, _ := DefaultRules().Match(method, path, Production, day)
			status, record := http.StatusOK, route.record
			if roles := strings.Fields(route.roles); !slices.Contains(roles, c.role) && !slices.Contains(roles, "+"+c.role) {
				status, record = http.StatusForbidden, eventDecision
			}
			if c.role == RolePlatformAdmin && !rule.AnyTenant {
				status, record = http.StatusUnprocessableEntity, "" // it names no tenant
			}
			w := g.ask(method, path+"?limit=2&x=%20y", c.key.Secret, append([]string{"User-Agent", "tests/1"}, c.header...)...)
			if w.Code != status || w.Header().Get("Cache-Control") != "no-store" || w.Header().Get("X-Content-Type-Options") != "nosniff" {
				t.Errorf("%s: %d, want %d: %v %s", name, w.Code, status, w.Header(), w.Body)
			}
			if record != "" {
				want[c.log] = append(want[c.log], expected{name, record, func(e event) { checkRecord(t, name, e, w, rule, c.key, method, path) }})
			}
		}
	}
	for log, list := range want {
		got := g.last(t, log, before[log])
		if len(got) != len(list) {
			t.Errorf("the log of %s has %d records of %d requests", log, len(got), len(list))
		}
		for i, e := range got[:min(len(got), len(list))] {
			if e.name != list[i].event {
				t.Fatalf("%s: %s, want %s", list[i].name, e.name, list[i].event)
			}
			if isSynthetic(e) != (log == synthetic) {
				t.Errorf("%s: synthetic %v", list[i].name, isSynthetic(e))
			}
			list[i].check(e)
		}
	}
}

// checkRecord compares the record of a request with its answer.
func checkRecord(t *testing.T, name string, e event, w *httptest.ResponseRecorder, rule *Rule, key MadeKey, method, path string) {
	t.Helper()
	type facts struct {
		Decision, Rule, EntityType, EntityID, Run, Credential, System string
		Status, Records, Bytes                                        int64
		Roles                                                         []string
		Digest, Query, Client, Actor                                  string
	}
	want := facts{
		Decision: "ALLOWED", Rule: rule.ID, EntityType: "LOG", EntityID: rule.Topic, Run: "r1", Credential: key.ID, System: key.ID,
		Status: int64(w.Code), Records: 3, Bytes: int64(w.Body.Len()), Roles: []string{key.Role}, Digest: digestOf(w.Body.Bytes()),
		Query:  fmt.Sprintf(`{"method":%q,"path":%q,"query":"limit=2\u0026x=%%20y"}`, method, path),
		Client: `{"address":"192.0.2.7:1234","agent":"tests/1"}`, Actor: "{}",
	}
	if w.Code == http.StatusForbidden {
		want.Decision, want.EntityType, want.EntityID = "DENIED", "RBAC", rule.lacks(permissionsOf(key.Role, nil))
		want.Run, want.Records, want.Bytes, want.Digest = "", 0, 0, ""
	}
	l := e.leaf
	n := func(field string) int64 { v, _ := l.Int(field); return v }
	roles, _ := l.Fact("roles")
	got := facts{
		Decision: l.Text("decision"), Rule: l.Text("rule_id"), EntityType: l.Text("entity_type"), EntityID: l.Text("entity_id"),
		Run: l.Text("about_run"), Credential: l.Text("credential_id"), System: l.Text("system_id"), Status: n("status_code"),
		Records: n("record_count"), Bytes: n("byte_count"), Roles: roles.List, Digest: e.sealed["/view_digest"], Query: e.sealed["/query"],
		Client: e.sealed["/client"], Actor: e.sealed["/actor"],
	}
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Errorf("%s: %s", name, diff)
	}
	if l.Run != "" || l.Text("source_domain") != "LOGS" || l.Text("source_component") != "AuditLedgerWriter" {
		t.Errorf("%s: a look changes the run, or is somebody else's", name)
	}
}

// TestGuardRefuses asks for what nobody gets.
func TestGuardRefuses(t *testing.T) {
	g := newGuardRig(t)
	operator := g.make(t, "acme", RoleOperator)
	if _, err := g.try(operator.Secret); err != nil {
		t.Fatal(err)
	}
	_, stranger, _ := newKey()
	for _, tt := range []struct {
		name, method, path string
		key                Credential
		header             []string
		status             int
		code, allow        string
		decision           string // entity of the one denial, "" for none
	}{
		{"no credential", "GET", "/api/v1/logs/llm-runs", "", nil, 401, "unauthenticated", "", ""},
		{"bad credential", "GET", "/api/v1/logs/llm-runs", stranger, nil, 401, "unauthenticated", "", ""},
		{"no credential, no rule", "GET", "/nowhere", "", nil, 401, "unauthenticated", "", ""},
		{"no rule", "GET", "/nowhere", operator.Secret, nil, 403, "forbidden", "", "route"},
		{"no rule for the list of topics", "GET", "/api/v1/logs", operator.Secret, nil, 403, "forbidden", "", "route"},
		{"not clean", "GET", "/healthz/../api/v1/logs/llm-runs", operator.Secret, nil, 403, "forbidden", "", "route"},
		{"method", "POST", "/api/v1/logs/llm-runs", operator.Secret, nil, 405, "method_not_allowed", "GET, HEAD", ""},
		{"method without credential", "DELETE", "/api/v1/logs/llm-runs", "", nil, 401, "unauthenticated", "", ""},
		{"method of what is public", "POST", "/healthz", "", nil, 401, "unauthenticated", "", ""},
		{"another tenant", "GET", "/api/v1/logs/llm-runs", operator.Secret, []string{"X-Tenant-ID", "other"}, 403, "forbidden", "", "tenant"},
		{"export by HEAD", "HEAD", "/api/v1/logs/llm-runs/r1/export", operator.Secret, nil, 405, "method_not_allowed", "GET", ""},
		{"export in advance", "GET", "/api/v1/logs/llm-runs/r1/export", operator.Secret, []string{"Sec-Purpose", "prefetch;prerender"}, 403, "forbidden", "", "prefetch"},
		{"export in advance, HEAD", "HEAD", "/api/v1/exports/e/content", operator.Secret, []string{"Sec-Purpose", "prefetch"}, 403, "forbidden", "", "prefetch"},
		{"view in advance", "GET", "/api/v1/logs/llm-runs", operator.Secret, []string{"Sec-Purpose", "prefetch"}, 200, "", "", ""},
	} {
		before := len(g.events(t, "acme"))
		w := g.ask(tt.method, tt.path, tt.key, tt.header...)
		var p struct{ Code string }
		_ = json.Unmarshal(w.Body.Bytes(), &p)
		if w.Code != tt.status || p.Code != tt.code || w.Header().Get("Allow") != tt.allow || (w.Code == 401) != (w.Header().Get("WWW-Authenticate") != "") {
			t.Errorf("%s: %d %v %s", tt.name, w.Code, w.Header(), w.Body)
		}
		if w.Code >= 400 && strings.Contains(w.Body.String(), "r1") {
			t.Errorf("%s: the answer leaves", tt.name)
		}
		var denied []string
		for _, e := range g.last(t, "acme", before) {
			if e.name == eventDecision {
				denied = append(denied, e.leaf.Text("entity_id"))
				if e.leaf.Text("rule_id") == "role:operator" || e.sealed["/query"] == "" {
					t.Errorf("%s: denied by %s", tt.name, e.leaf.Text("rule_id"))
				}
			}
		}
		if got := strings.Join(denied, " "); got != tt.decision {
			t.Errorf("%s: denials %q, want %q", tt.name, got, tt.decision)
		}
	}
	// Requests without a valid credential are counted, as ever.
	if err := g.flush(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	if list := g.events(t, evidence.SystemTenant); len(list) != 1 || !strings.Contains(list[0].sealed["/details"], `"missing":4,"unknown":1`) {
		t.Errorf("%+v", list)
	}
	if w := g.ask("GET", "/healthz", ""); w.Code != 200 || w.Header().Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("public: %d", w.Code)
	}
}

// TestGuardAnswers has handlers answer in all ways: each is recorded once, with
// what left.
func TestGuardAnswers(t *testing.T) {
	g := newGuardRig(t)
	g.handler.(*guard).limit = 1 << 20
	key := g.make(t, "acme", RoleOperator)
	if _, err := g.try(key.Secret); err != nil {
		t.Fatal(err)
	}
	big := strings.Repeat("x", 1<<19)
	view, export := "/api/v1/logs/llm-runs/r1/envelope", "/api/v1/logs/llm-runs/r1/export"
	for _, tt := range []struct {
		name, method, path string
		handle             func(w http.ResponseWriter, r *http.Request)
		status             int
		body               string // what it holds
		event              string
		records            int64
		bytes              int64 // -1: of the body
	}{
		{"not found", "GET", view, func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no such run", http.StatusNotFound) }, 404, "no such run", eventView, 0, -1},
		{"invalid", "GET", view, func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "limit", http.StatusUnprocessableEntity) }, 422, "limit", eventView, 0, -1},
		{"nothing", "GET", view, func(http.ResponseWriter, *http.Request) {}, 200, "", eventView, 0, -1},
		{"no content", "GET", view, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }, 204, "", eventView, 0, -1},
		{"early hints", "GET", view, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(103)
			w.WriteHeader(201)
			w.WriteHeader(500)
		}, 201, "", eventView, 0, -1},
		{"panic", "GET", view, func(w http.ResponseWriter, r *http.Request) {
			ViewOf(r.Context()).Records = 9
			_, _ = io.WriteString(w, "half of it")
			panic("boom")
		}, 500, "Internal error", eventView, 0, -1},
		{"abort", "GET", view, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, 500, "Internal error", eventView, 0, -1},
		{"bad status", "GET", view, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(7) }, 500, "Internal error", eventView, 0, -1},
		{"too large", "GET", view, func(w http.ResponseWriter, r *http.Request) {
			ViewOf(r.Context()).Records = 9
			for range 3 {
				_, _ = io.WriteString(w, big)
			}
		}, 413, "over 1 MiB", eventView, 0, -1},
		{"by HEAD", "HEAD", view, func(w http.ResponseWriter, r *http.Request) {
			ViewOf(r.Context()).Records = 9
			_, _ = io.WriteString(w, "abc")
		}, 200, "", eventView, 0, 0},
		{"export", "GET", export, func(w http.ResponseWriter, r *http.Request) {
			v := ViewOf(r.Context())
			v.EntityType, v.EntityID, v.Digest, v.Bytes, v.Records = "EXPORT", "e1", "sha256:"+strings.Repeat("ab", 32), 1234, 5
			_, _ = io.WriteString(w, "{}")
		}, 200, "{}", eventExport, 5, 1234},
		{"export that failed", "GET", export, func(w http.ResponseWriter, r *http.Request) {
			v := ViewOf(r.Context())
			v.Digest, v.Bytes, v.Records = "sha256:"+strings.Repeat("ab", 32), 1234, 5
			http.Error(w, "no room", http.StatusServiceUnavailable)
		}, 503, "no room", eventView, 0, -1},
		{"export of nothing", "GET", export, func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "none", http.StatusNotFound) }, 404, "none", eventView, 0, -1},
		{"export by a view", "GET", view, func(w http.ResponseWriter, r *http.Request) { ViewOf(r.Context()).Event = eventExport }, 200, "", eventExport, 0, -1},
		{"no digest", "GET", export, func(w http.ResponseWriter, r *http.Request) { ViewOf(r.Context()).Digest = "abc" }, 500, "Internal error", "", 0, 0},
		{"entity of no kind", "GET", export, func(w http.ResponseWriter, r *http.Request) { ViewOf(r.Context()).EntityType = "RUN" }, 503, "cannot be recorded", "", 0, 0},
		{"refused", "GET", view, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(403)
			_, _ = io.WriteString(w, `{"detail":"a filter on content"}`)
		}, 403, "a filter", eventDecision, 0, -1},
		{"refused and recorded", "GET", view, func(w http.ResponseWriter, r *http.Request) {
			p, _ := From(r.Context())
			if err := g.Require(r.Context(), p, AuditRead, r.Pattern); errors.Is(err, evidence.ErrForbidden) {
				w.WriteHeader(403)
			}
		}, 403, "", eventDecision, 0, 0},
		{"recorded by itself", "GET", export, func(w http.ResponseWriter, r *http.Request) { ViewOf(r.Context()).Recorded = true }, 200, "", "", 0, 0},
		{"headers", "GET", view, func(w http.ResponseWriter, _ *http.Request) {
			for _, h := range []string{"Server-Timing", "Etag", "X-Run", "Set-Cookie"} {
				w.Header().Set(h, "x")
			}
			w.Header().Set("Cache-Control", "public")
			w.Header().Set("Content-Type", "text/x")
			_ = http.NewResponseController(w).Flush()
			if _, _, err := http.NewResponseController(w).Hijack(); err == nil {
				t.Error("hijacked")
			}
			_, _ = io.WriteString(w, "abc")
		}, 200, "abc", eventView, 0, -1},
		{"no such route", "GET", "/api/v1/logs/llm-runs/r1/nothing", func(w http.ResponseWriter, r *http.Request) { http.NotFound(w, r) }, 404, "not found", eventView, 0, -1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := len(g.events(t, "acme"))
			g.handle = tt.handle
			w := g.ask(tt.method, tt.path, key.Secret)
			if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.body) || tt.body == "" && w.Body.Len() > 0 {
				t.Errorf("%d %.200s", w.Code, w.Body)
			}
			for h := range w.Header() {
				if !slices.Contains([]string{"Cache-Control", "Content-Length", "Content-Type", "X-Content-Type-Options", "Retry-After"}, h) {
					t.Errorf("header %s: %s", h, w.Header().Get(h))
				}
			}
			if w.Header().Get("Cache-Control") != "no-store" {
				t.Error("may be cached")
			}
			got := g.last(t, "acme", before)
			if tt.event == "" {
				if len(got) != 0 {
					t.Errorf("%d records", len(got))
				}
				return
			}
			if len(got) != 1 || got[0].name != tt.event {
				t.Fatalf("%d records, want one %s", len(got), tt.event)
			}
			e := got[0]
			status, _ := e.leaf.Int("status_code")
			records, _ := e.leaf.Int("record_count")
			size, _ := e.leaf.Int("byte_count")
			if tt.bytes < 0 {
				tt.bytes = int64(w.Body.Len())
				if e.sealed["/view_digest"] != digestOf(w.Body.Bytes()) {
					t.Errorf("digest %s is not that of %.200s", e.sealed["/view_digest"], w.Body)
				}
			}
			if status != int64(tt.status) || records != tt.records || size != tt.bytes {
				t.Errorf("status %d, %d records, %d bytes", status, records, size)
			}
			if e.name == eventDecision && e.leaf.Text("decision") != "DENIED" || e.name != eventDecision && e.leaf.Text("decision") != "ALLOWED" {
				t.Errorf("decision %s", e.leaf.Text("decision"))
			}
		})
	}
}

// TestGuardStreams gives out more than may be kept back, and less.
func TestGuardStreams(t *testing.T) {
	g := newGuardRig(t)
	key := g.make(t, "acme", RoleOperator)
	if _, err := g.try(key.Secret); err != nil {
		t.Fatal(err)
	}
	g.handler.(*guard).limit = 1 << 20
	server := httptest.NewServer(g.handler)
	defer server.Close()
	chunk := strings.Repeat("z", 1<<20)
	const chunks = 3
	h := sha256.New()
	for range chunks {
		_, _ = io.WriteString(h, chunk)
	}
	digest := "sha256:" + hex.EncodeToString(h.Sum(nil))
	// get reads the answer as a client does that checks what it gets.
	type got struct {
		status       int
		header       http.Header
		size, length int64
		digest, head string
	}
	get := func() (got, error) {
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/api/v1/exports/e/content", nil)
		req.Header.Set("X-Api-Key", key.Secret.Reveal())
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return got{}, err
		}
		defer resp.Body.Close()
		h, first := sha256.New(), make([]byte, 512)
		n, _ := io.ReadFull(resp.Body, first)
		_, _ = h.Write(first[:n])
		size, err := io.Copy(h, resp.Body)
		return got{
			resp.StatusCode, resp.Header, size + int64(n), resp.ContentLength, "sha256:" + hex.EncodeToString(h.Sum(nil)), string(first[:n]),
		}, err
	}
	describe := func(r *http.Request) {
		v := ViewOf(r.Context())
		v.Digest, v.Bytes, v.Records, v.EntityType, v.EntityID = digest, chunks<<20, 7, "EXPORT", "e"
	}
	stream := func(w http.ResponseWriter, n int) error {
		for range n {
			if _, err := io.WriteString(w, chunk); err != nil {
				return err
			}
		}
		return nil
	}

	before := len(g.events(t, "acme"))
	g.handle = func(w http.ResponseWriter, r *http.Request) {
		if err := RecordNow(r.Context()); err == nil {
			t.Error("recorded without a digest")
		}
		describe(r)
		w.Header().Set("Content-Type", "application/zip")
		w.Header().Set("Content-Disposition", "attachment")
		w.Header().Set("Server-Timing", "x")
		if err := errors.Join(RecordNow(r.Context()), RecordNow(r.Context())); err != nil {
			t.Error(err)
		}
		if n := len(g.last(t, "acme", before)); n != 1 {
			t.Errorf("%d records before the first byte", n)
		}
		if err := stream(w, chunks); err != nil {
			t.Error(err)
		}
		if err := http.NewResponseController(w).Flush(); err != nil {
			t.Error(err)
		}
	}
	a, err := get()
	if err != nil || a.status != 200 || a.size != chunks<<20 || a.digest != digest {
		t.Fatalf("%d bytes, %v", a.size, err)
	}
	if h := a.header; h.Get("Content-Type") != "application/zip" || h.Get("Content-Disposition") != "attachment" || h.Get("Server-Timing") != "" || a.length != chunks<<20 {
		t.Errorf("%v", h)
	}
	list := g.last(t, "acme", before)
	size, _ := list[0].leaf.Int("byte_count")
	if len(list) != 1 || list[0].name != eventExport || list[0].sealed["/view_digest"] != `"`+digest+`"` || size != chunks<<20 || list[0].leaf.Text("entity_id") != "e" {
		t.Errorf("%d records: %+v", len(list), list[0].leaf)
	}

	// No more leaves than was recorded, and less is seen to be less.
	for name, n := range map[string]int{"more": chunks + 1, "less": chunks - 1} {
		before = len(g.events(t, "acme"))
		g.handle = func(w http.ResponseWriter, r *http.Request) {
			describe(r)
			if err := RecordNow(r.Context()); err != nil {
				t.Error(err)
			}
			if err := stream(w, n); (name == "more") != errors.Is(err, evidence.ErrTooLarge) {
				t.Errorf("%s: %v", name, err)
			}
			if name == "less" {
				panic("the disk is gone")
			}
		}
		a, err := get()
		if name == "more" && (err != nil || a.digest != digest) || name == "less" && err == nil {
			t.Errorf("%s: %d bytes, %v", name, a.size, err)
		}
		if n := len(g.last(t, "acme", before)); n != 1 {
			t.Errorf("%s: %d records", name, n)
		}
	}

	// Where it cannot be recorded, nothing is given out.
	g.f.append = func(string) error { return errDisk }
	g.handle = func(w http.ResponseWriter, r *http.Request) {
		describe(r)
		if err := RecordNow(r.Context()); err == nil {
			t.Error("recorded")
		} else {
			http.Error(w, "secret", http.StatusServiceUnavailable)
		}
	}
	if a, err := get(); err != nil || a.status != 503 || strings.Contains(a.head, "secret") {
		t.Errorf("%d %s %v", a.status, a.head, err)
	}
	if err := RecordNow(t.Context()); !errors.Is(err, evidence.ErrUnavailable) {
		t.Errorf("without a guard: %v", err)
	}
}

// TestGuardFailsClosed has a ledger that takes nothing.
func TestGuardFailsClosed(t *testing.T) {
	g := newGuardRig(t)
	key := g.make(t, "acme", RoleOperator)
	if _, err := g.try(key.Secret); err != nil {
		t.Fatal(err)
	}
	before := g.names(t, "acme")
	ran := 0
	g.handle = func(w http.ResponseWriter, _ *http.Request) {
		ran++
		w.Header().Set("Content-Disposition", "secret")
		w.WriteHeader(http.StatusTeapot)
		_, _ = io.WriteString(w, "secret")
	}
	for _, fault := range []error{
		errDisk, fmt.Errorf("%w: 5 %% of the disk is left", evidence.ErrUnavailable), evidence.ErrTampered, evidence.ErrConflict, evidence.ErrNotFound, context.Canceled,
	} {
		g.f.append = func(string) error { return fault }
		want := 503
		if errors.Is(fault, evidence.ErrTampered) {
			want = 500
		}
		for _, path := range []string{"/api/v1/logs/llm-runs", "/api/v1/exports/e/content", "/api/v1/logs/audit"} {
			w := g.ask("GET", path, key.Secret)
			if w.Code != want || strings.Contains(fmt.Sprint(w.Header(), w.Body), "secret") || want == 503 && w.Header().Get("Retry-After") == "" {
				t.Errorf("%v at %s: %d %v %s", fault, path, w.Code, w.Header(), w.Body)
			}
		}
	}
	if ran != 2*6 {
		t.Errorf("the handler ran %d times", ran)
	}
	g.f.append = nil
	if after := g.names(t, "acme"); after != before {
		t.Errorf("recorded: %s", after)
	}
	// Without the records nobody keeps, ingest goes on.
	g.f.append = func(string) error { return errDisk }
	producer := func() int {
		p := Principal{Tenant: "acme", Credential: "k", Role: RoleProducer, Permissions: Set(IngestWrite), ActorKind: System}
		req := httptest.NewRequest("POST", "/v1/traces", nil)
		w := httptest.NewRecorder()
		g.handler.ServeHTTP(w, req.WithContext(With(req.Context(), p)))
		return w.Code
	}
	if code := producer(); code != http.StatusTeapot {
		t.Errorf("ingest: %d", code)
	}
}

// TestGuardGone has a client that goes while it is answered: what was asked for
// is recorded all the same.
func TestGuardGone(t *testing.T) {
	g := newGuardRig(t)
	key := g.make(t, "acme", RoleOperator)
	if _, err := g.try(key.Secret); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	g.handle = func(w http.ResponseWriter, _ *http.Request) {
		cancel()
		_, _ = io.WriteString(w, body)
	}
	req := httptest.NewRequest("GET", "/api/v1/logs/system", nil)
	req.Header.Set("X-Api-Key", key.Secret.Reveal())
	g.handler.ServeHTTP(httptest.NewRecorder(), req.WithContext(ctx))
	g.wantNames(t, "acme", created+" "+eventUsed+" "+eventView)
}

// TestGuardContext sees what a handler is told.
func TestGuardContext(t *testing.T) {
	for _, environment := range []string{Production, Preflight} {
		g := newGuardRig(t, func(c *Config) { c.Environment, c.Dev = environment, true })
		g.withSynthetic(t)
		g.now.Store(day.UnixMicro())
		g.handle = func(w http.ResponseWriter, r *http.Request) {
			grant := GrantOf(r.Context())
			p, _ := From(r.Context())
			if again, err := g.Authenticate(r); err != nil || again != p || grant.Principal != p {
				t.Errorf("%+v %v", again, err)
			}
			_ = json.NewEncoder(w).Encode(map[string]any{
				"tenant": grant.Tenant, "rule": grant.Rule, "rows": grant.MaxRows, "range": grant.MaxRange.String(), "synthetic": grant.IncludeSynthetic,
				"only": grant.SyntheticOnly, "content": grant.Content(), "id": r.PathValue("run_id"),
			})
		}
		ask := func(key Credential, header ...string) string {
			req := httptest.NewRequest("GET", "http://localhost/api/v1/logs/llm-runs/a%2Fb/envelope", nil)
			req.RemoteAddr = "127.0.0.1:9"
			if key != "" {
				req.Header.Set("X-Api-Key", key.Reveal())
			}
			for i := 0; i < len(header); i += 2 {
				req.Header.Set(header[i], header[i+1])
			}
			w := httptest.NewRecorder()
			g.handler.ServeHTTP(w, req)
			return w.Body.String()
		}
		rule, rows, window, synthetic := "logs.llm-runs", 100, "168h0m0s", false
		if environment == Preflight {
			rule, rows, window, synthetic = "preflight.llm-runs", 500, "720h0m0s", true
		}
		form := `{"content":%t,"id":"a/b","only":%t,"range":%q,"rows":%d,"rule":%q,"synthetic":%t,"tenant":%q}` + "\n"
		for _, tt := range []struct{ got, want string }{
			{ask(""), fmt.Sprintf(form, true, false, window, rows, rule, synthetic, "default")},
			{ask(g.make(t, "acme", RoleViewer).Secret), fmt.Sprintf(form, false, false, window, rows, rule, synthetic, "acme")},
			{ask(g.make(t, evidence.SyntheticTenant, RoleObserver).Secret), fmt.Sprintf(form, true, true, window, rows, rule, true, evidence.SyntheticTenant)},
			{ask(g.make(t, "", RoleOperator).Secret, "X-Tenant-ID", "system"), fmt.Sprintf(form, true, false, window, rows, rule, synthetic, "system")},
		} {
			if tt.got != tt.want {
				t.Errorf("%s: %s want %s", environment, tt.got, tt.want)
			}
		}
		// The system tenant's own log took the look at it.
		if names := strings.Fields(g.names(t, evidence.SystemTenant)); names[len(names)-1] != eventView {
			t.Errorf("the system log holds %v", names)
		}
		g.now.Store(after.UnixMicro())
		if got, want := ask(""), fmt.Sprintf(form, true, false, "168h0m0s", 100, "logs.llm-runs", false, "default"); got != want {
			t.Errorf("%s, after the rule expired: %s want %s", environment, got, want)
		}
	}
	if _, err := New(t.Context(), Config{Environment: "staging"}); !errors.Is(err, evidence.ErrInvalid) {
		t.Errorf("another environment: %v", err)
	}
}

// TestGuardSession has somebody log in to what stands before the guard.
func TestGuardSession(t *testing.T) {
	g := newGuardRig(t)
	p := Principal{
		Tenant: "acme", Credential: "oidc:0123456789abcdef", Role: RoleTenantAdmin, Permissions: permissionsOf(RoleTenantAdmin, nil),
		ActorKind: Human, Person: "ada@example.com", Session: true,
	}
	ask := func(path string) int {
		req := httptest.NewRequest("GET", path, nil)
		w := httptest.NewRecorder()
		g.handler.ServeHTTP(w, req.WithContext(With(req.Context(), p)))
		return w.Code
	}
	if a, b := ask("/api/v1/logs/llm-runs"), ask("/api/v1/apikeys"); a != 200 || b != 403 {
		t.Errorf("%d %d", a, b)
	}
	list := g.events(t, "acme")
	g.wantNames(t, "acme", eventView+" "+eventDecision)
	for _, e := range list {
		if e.sealed["/actor"] != `{"human_actor_id":"ada@example.com"}` || e.leaf.Text("actor_type") != Human || e.leaf.Text("system_id") != "" || e.leaf.Text("credential_id") != p.Credential {
			t.Errorf("%s by %s", e.name, e.sealed["/actor"])
		}
	}
	if list[1].leaf.Text("entity_id") != "tier" {
		t.Errorf("denied for %s", list[1].leaf.Text("entity_id"))
	}
}

// TestGuardExportAllowed has rules that allow none.
func TestGuardExportAllowed(t *testing.T) {
	text := strings.ReplaceAll(string(DefaultRulesFile()), "export_allowed: true", "export_allowed: false")
	rules, err := parseRules([]byte(strings.ReplaceAll(text, "  auditor: {max", "  auditor: {export_allowed: true, max")), time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	g := newGuardRig(t, func(c *Config) { c.Rules = rules })
	key := g.make(t, "acme", RoleOperator)
	auditor, err := g.Create(t.Context(), ada, NewKey{Tenant: "acme", Role: RoleAuditor, ExpiresAt: evidence.Micros(g.now.Load()) + minute})
	if err != nil {
		t.Fatal(err)
	}
	path := "/api/v1/logs/llm-runs/r1/export"
	if a, b := g.ask("GET", path, key.Secret).Code, g.ask("GET", path, auditor.Secret).Code; a != 403 || b != 200 {
		t.Errorf("%d %d", a, b)
	}
}

// TestGuardTogether has many look at the same time: none waits for another, and
// each has its record.
func TestGuardTogether(t *testing.T) {
	g := newGuardRig(t)
	key := g.make(t, "acme", RoleOperator)
	if _, err := g.try(key.Secret); err != nil {
		t.Fatal(err)
	}
	const n = 24
	var inside sync.WaitGroup
	inside.Add(n)
	g.handle = func(w http.ResponseWriter, r *http.Request) {
		inside.Done()
		inside.Wait() // for all others
		_, _ = io.WriteString(w, r.URL.RawQuery)
	}
	var group sync.WaitGroup
	bodies := make([]string, n)
	for i := range n {
		group.Go(func() { bodies[i] = g.ask("GET", fmt.Sprintf("/api/v1/logs/system?n=%d", i), key.Secret).Body.String() })
	}
	group.Wait()
	seen := map[string]bool{}
	for _, e := range g.last(t, "acme", 3) {
		if e.name == eventView {
			seen[e.sealed["/view_digest"]] = true
		}
	}
	for i, b := range bodies {
		if b != fmt.Sprintf("n=%d", i) || !seen[digestOf([]byte(b))] {
			t.Errorf("request %d: %q", i, b)
		}
	}
	if len(seen) != n {
		t.Errorf("%d records", len(seen))
	}
}

// noLedger takes records for nothing: what is left is the guard's own work.
type noLedger struct{ *faults }

func (noLedger) Append(_ context.Context, _ string, records []*evidence.Record, _ ledger.AppendOptions) ([]ledger.Receipt, error) {
	return make([]ledger.Receipt, len(records)), nil
}

// BenchmarkGuard is what the guard adds to a handler that does nothing, without
// the ledger's own time.
func BenchmarkGuard(b *testing.B) {
	g := newGuardRig(b)
	key := g.make(b, "acme", RoleOperator)
	producer := g.make(b, "acme", RoleProducer)
	g.cfg.Ledger = noLedger{g.f}
	answer := []byte(strings.Repeat("x", 4096))
	g.handle = func(w http.ResponseWriter, r *http.Request) {
		ViewOf(r.Context()).Records = 1
		_, _ = w.Write(answer)
	}
	for name, req := range map[string]*http.Request{
		"view":   httptest.NewRequest("GET", "/api/v1/logs/llm-runs/r1/envelope?limit=2", nil),
		"ingest": httptest.NewRequest("POST", "/v1/traces", nil),
		"public": httptest.NewRequest("GET", "/healthz", nil),
	} {
		req.Header.Set("X-Api-Key", key.Secret.Reveal())
		if name == "ingest" {
			req.Header.Set("X-Api-Key", producer.Secret.Reveal())
		}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				w := &sink{header: http.Header{}}
				g.handler.ServeHTTP(w, req)
				if w.status != 0 && w.status != http.StatusOK {
					b.Fatal(w.status)
				}
			}
		})
	}
}

type sink struct {
	header http.Header
	status int
}

func (s *sink) Header() http.Header         { return s.header }
func (s *sink) WriteHeader(status int)      { s.status = status }
func (s *sink) Write(b []byte) (int, error) { return len(b), nil }
