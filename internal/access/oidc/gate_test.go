package oidc_test

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/access"
)

const person = `{"human_actor_id":"ada@example.com"}`

func TestLogin(t *testing.T) {
	r := newRig(t)
	p, err := r.try(r.token(t, r.claims()))
	if err != nil {
		t.Fatal(err)
	}
	want := access.Principal{
		Tenant: "acme", Credential: p.Credential, Role: access.RoleViewer, Permissions: access.Set(access.LogsRead),
		ActorKind: access.Human, Person: "ada@example.com",
	}
	if diff := cmp.Diff(want, p); diff != "" || !strings.HasPrefix(p.Credential, "oidc:") || len(p.Credential) != 21 || !evidence.FitName(p.Credential) {
		t.Errorf("%s %s", diff, p.Credential)
	}
	if strings.Contains(p.Actor().String(), "ada@") {
		t.Error("a row would hold the name of a person")
	}
	// One session, whatever its tokens are, and whichever process sees it.
	var group sync.WaitGroup
	for _, token := range []string{r.token(t, r.claims()), r.token(t, r.claims("jti", "t2", "iat", r.in(0), "exp", r.in(2*time.Hour)))} {
		for range 4 {
			group.Go(func() {
				if _, err := r.try(token); err != nil {
					t.Error(err)
				}
			})
		}
	}
	group.Wait()
	r.reopen(t)
	if _, err := r.try(r.token(t, r.claims())); err != nil {
		t.Error(err)
	}
	r.wantNames(t, "acme", "LOGIN")
	e := r.events(t, "acme")[0]
	if e.sealed["/actor"] != person || e.leaf.Text("actor_type") != "HUMAN" || e.leaf.Text("credential_id") != p.Credential ||
		!evidence.IsReplacement(e.leaf.Text("entity_id")) || e.leaf.Text("decision") != "ALLOWED" || int64(e.leaf.OccurredAt) != r.in(-time.Minute)*1e6 {
		t.Errorf("%+v %v", e.leaf, e.sealed)
	}
	if !strings.Contains(e.sealed["/after_state"], `"method":"oidc"`) || e.sealed["/client"] != `{"address":"192.0.2.7:1234","agent":"tests/1"}` {
		t.Errorf("%v", e.sealed)
	}
	if raw, _ := e.leaf.Append(nil); strings.Contains(string(raw), "ada@") || strings.Contains(string(raw), "user-1") {
		t.Errorf("the leaf names a person: %s", raw)
	}
	// Another session, another person, another tenant; and without auth_time each token.
	for _, c := range []map[string]any{
		r.claims("auth_time", r.in(0)), r.claims("sub", "user-2"), r.claims("auth_time", nil), r.claims("auth_time", nil, "jti", "t3"), r.claims("auth_time", nil, "jti", "t3"),
		r.claims("tenant", "other"),
	} {
		if _, err := r.try(r.token(t, c)); err != nil {
			t.Error(err)
		}
	}
	r.wantNames(t, "acme", "LOGIN LOGIN LOGIN LOGIN LOGIN")
	r.wantNames(t, "other", "LOGIN")
}

// TestClaims sees what claims let in, and what is left behind where they do not.
func TestClaims(t *testing.T) {
	r := newRig(t, func(i *access.Issuer) { i.RequiredClaims = map[string]string{"mfa": "true", "scopes": "logs"} })
	for _, tt := range []struct {
		name    string
		pairs   []any
		role    string // "" where it is refused
		why     string
		failure string // in which log the failed login stands
	}{
		{"good", nil, access.RoleViewer, "", ""},
		{"audience in a list", []any{"aud", []string{"x", "runledger"}}, access.RoleViewer, "", ""},
		{"role as a text", []any{"groups", "readers"}, access.RoleViewer, "", ""},
		{"the same role twice", []any{"groups", []string{"readers", "readers2"}}, access.RoleViewer, "", ""},
		{"required in a list", []any{"scopes", []any{1, "logs"}}, access.RoleViewer, "", ""},
		{"clocks that differ", []any{"iat", r.in(time.Minute), "nbf", r.in(time.Minute)}, access.RoleViewer, "", ""},
		{"fractions", []any{"exp", float64(r.in(0)) + 0.5}, access.RoleViewer, "", ""},
		{"auditor", []any{"groups", "audit"}, access.RoleAuditor, "", ""},
		{"auditor until", []any{"groups", "audit", "access_until", r.in(time.Minute)}, access.RoleAuditor, "", ""},
		{"auditor until a day", []any{"groups", "audit", "access_until", r.Now().Add(time.Hour).Format(time.RFC3339)}, access.RoleAuditor, "", ""},
		{"platform", []any{"groups", "root", "tenant", nil}, access.RolePlatformAdmin, "", ""},
		{"observer", []any{"groups", "drills", "tenant", evidence.SyntheticTenant}, access.RoleObserver, "", ""},

		{"another audience", []any{"aud", "other"}, "", "another audience", "acme"},
		{"no audience", []any{"aud", nil}, "", "another audience", "acme"},
		{"expired", []any{"exp", r.in(0)}, "", "has expired", "acme"},
		{"not yet", []any{"nbf", r.in(2 * time.Minute)}, "", "not valid yet", "acme"},
		{"issued later", []any{"iat", r.in(2 * time.Minute)}, "", "not valid yet", "acme"},
		{"no expiry", []any{"exp", nil}, "", "a claim", "acme"},
		{"expiry of no time", []any{"exp", -5}, "", "a claim", "acme"},
		{"auth_time of another type", []any{"auth_time", "noon"}, "", "a claim", "acme"},
		{"no role", []any{"groups", nil}, "", "no role", "acme"},
		{"other roles", []any{"groups", []string{"staff", ""}}, "", "no role", "acme"},
		{"several roles", []any{"groups", []string{"readers", "audit"}}, "", "or several", "acme"},
		{"a role of ours that is not mapped", []any{"groups", "viewer"}, "", "no role", "acme"},
		{"roles of another type", []any{"groups", map[string]bool{"readers": true}}, "", "a claim", "acme"},
		{"platform in a tenant", []any{"groups", "root"}, "", "does not go with its tenant", "acme"},
		{"observer elsewhere", []any{"groups", "drills"}, "", "does not go with its tenant", "acme"},
		{"observer of the platform", []any{"groups", "drills", "tenant", nil}, "", "no tenant", ""},
		{"no tenant", []any{"tenant", nil}, "", "no tenant", ""},
		{"tenant that is not", []any{"tenant", "nobody"}, "", "no tenant", ""},
		{"system tenant", []any{"tenant", "system"}, "", "no tenant", ""},
		{"tenant of another type", []any{"tenant", []string{"acme"}}, "", "no tenant", ""},
		{"empty tenant", []any{"tenant", "", "groups", "root"}, "", "no tenant", ""},
		{"no person", []any{"email", nil}, "", "a claim", "acme"},
		{"long person", []any{"email", strings.Repeat("a", 300)}, "", "a claim", "acme"},
		{"no subject", []any{"sub", nil}, "", "a claim", ""},
		{"required of another value", []any{"mfa", false}, "", "a claim", "acme"},
		{"required missing", []any{"scopes", nil}, "", "a claim", "acme"},
		{"required null", []any{"mfa", []any{nil}}, "", "a claim", "acme"},
		{"auditor, over", []any{"groups", "audit", "access_until", r.in(0)}, "", "has expired", "acme"},
		{"auditor until never", []any{"groups", "audit", "access_until", "never"}, "", "a claim", "acme"},
		{"auditor for years", []any{"groups", "audit", "exp", r.in(367 * 24 * time.Hour)}, "", "a claim", "acme"},
		{"of a logout", []any{"events", map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}}}, "", "no or bad credential", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			sub := tt.name // each a person of their own
			c := r.claims(append([]any{"sub", sub, "mfa", true, "scopes", "logs"}, tt.pairs...)...)
			before := len(r.events(t, "acme"))
			p, err := r.try(r.token(t, c))
			if tt.role != "" {
				if err != nil || p.Role != tt.role || p.Platform != (tt.role == access.RolePlatformAdmin) || p.Permissions == 0 {
					t.Errorf("%+v %v", p, err)
				}
				return
			}
			if !errors.Is(err, access.ErrUnauthenticated) || !strings.Contains(err.Error(), tt.why) || p != (access.Principal{}) {
				t.Errorf("%+v %v", p, err)
			}
			got := r.events(t, "acme")[before:]
			switch {
			case tt.failure == "" && len(got) == 0:
			case tt.failure == "" || len(got) != 1 || got[0].name != "LOGIN_FAILED":
				t.Fatalf("%d records", len(got))
			default:
				e := got[0]
				status, _ := e.leaf.Int("status_code")
				if e.leaf.Text("decision") != "DENIED" || status != 401 || e.sealed["/actor"] == "{}" || !strings.Contains(e.sealed["/action_reason"], tt.why) {
					t.Errorf("%+v %v", e.leaf, e.sealed)
				}
			}
		})
	}
	for _, e := range r.events(t, evidence.SyntheticTenant) { // and nothing else is
		if n, _ := e.leaf.Int("is_synthetic"); n != 1 {
			t.Errorf("%s of an observer is not synthetic", e.name)
		}
	}
	for _, e := range r.events(t, "acme") {
		if n, _ := e.leaf.Int("is_synthetic"); n != 0 {
			t.Errorf("%s of a tenant is synthetic", e.name)
		}
	}
	if err := r.Gate.Close(); err != nil { // what names no tenant was counted
		t.Fatal(err)
	}
	var counted string
	for _, e := range r.events(t, evidence.SystemTenant) {
		counted += e.sealed["/details"]
	}
	for _, want := range []string{`"bad_claims":1`, `"bad_token":1`, `"no_tenant":6`} {
		if !strings.Contains(counted, want) {
			t.Errorf("%s lacks %s", counted, want)
		}
	}
}

// TestFailedOnce refuses a person again and again.
func TestFailedOnce(t *testing.T) {
	r := newRig(t)
	r.now.Store(r.now.Load() / 60 * 60)
	token := r.token(t, r.claims("aud", "other"))
	for range 5 {
		if _, err := r.try(token); !errors.Is(err, access.ErrUnauthenticated) {
			t.Fatal(err)
		}
	}
	r.reopen(t)
	_, _ = r.try(token)
	r.wantNames(t, "acme", "LOGIN_FAILED")
	r.pass(time.Minute)
	_, _ = r.try(token)
	r.wantNames(t, "acme", "LOGIN_FAILED LOGIN_FAILED")
	r.reopen(t)
	total := 0
	for _, e := range r.events(t, evidence.SystemTenant) {
		var d struct {
			Count   int
			Reasons map[string]int
		}
		if err := json.Unmarshal([]byte(e.sealed["/details"]), &d); err != nil || d.Reasons["wrong_audience"] != d.Count {
			t.Errorf("%v %+v", err, d)
		}
		total += d.Count
	}
	if total != 4 {
		t.Errorf("%d more were counted", total)
	}
}

// TestPresented sends tokens in all ways.
func TestPresented(t *testing.T) {
	r := newRig(t)
	token := r.token(t, r.claims())
	made, err := r.Create(t.Context(), access.Actor{Kind: access.Human, ID: "cli:ada"}, access.NewKey{Tenant: "acme", Role: access.RoleViewer})
	if err != nil {
		t.Fatal(err)
	}
	if p, err := r.try(token, "X-Tenant-ID", "acme"); err != nil || p.Tenant != "acme" {
		t.Errorf("its own tenant: %v", err)
	}
	if _, err := r.try(token, "X-Tenant-ID", "other"); !errors.Is(err, evidence.ErrForbidden) {
		t.Errorf("another tenant: %v", err)
	}
	if p, err := r.try(r.token(t, r.claims("groups", "root", "tenant", nil)), "X-Tenant-ID", "other"); err != nil || p.Tenant != "other" || !p.Platform {
		t.Errorf("platform: %+v %v", p, err)
	}
	if p, err := r.try(made.Secret.Reveal()); err != nil || p.Credential != made.ID {
		t.Errorf("a key: %v", err)
	}
	for name, err := range map[string]error{
		"with a key":          second(r.try(token, "X-Api-Key", made.Secret.Reveal())),
		"twice":               second(r.try(token, "Authorization", "Bearer "+token)),
		"with another scheme": second(r.try(token, "Authorization", "Basic Og==")),
		"too long":            second(r.try(token + strings.Repeat("A", 20<<10))),
		"of another issuer":   second(r.try(r.token(t, r.claims("iss", "https://other.example")))),
		"of nobody":           second(r.try("a.b.c")),
		"no token":            second(r.try("abc")),
		"a key with dots":     second(r.try("rl_a.b.c")),
	} {
		if !errors.Is(err, access.ErrUnauthenticated) {
			t.Errorf("%s: %v", name, err)
		}
	}
	get := func(k string) []string {
		return map[string][]string{"authorization": {"Bearer " + token}}[k]
	}
	if p, err := r.AuthenticateCall(t.Context(), get, "192.0.2.7:1", "/service/Export"); err != nil || p.Person != "ada@example.com" {
		t.Errorf("gRPC: %+v %v", p, err)
	}
	r.change(func() { r.down = 500 })
	r.reopen(t)
	if _, err := r.try(token); !errors.Is(err, evidence.ErrUnavailable) || errors.Is(err, access.ErrUnauthenticated) {
		t.Errorf("the provider is down: %v", err)
	}
}

func second[T any](_ T, err error) error { return err }

// TestIssuerConfig opens gates with providers that make no sense.
func TestIssuerConfig(t *testing.T) {
	r := newRig(t)
	for name, change := range map[string]func(c *access.Config){
		"no issuer":            func(c *access.Config) { c.OIDC[0].Issuer = "" },
		"http":                 func(c *access.Config) { c.OIDC[0].AllowHTTP = false },
		"no audience":          func(c *access.Config) { c.OIDC[0].Audience = "" },
		"no tenant":            func(c *access.Config) { c.OIDC[0].TenantClaim = "" },
		"tenant twice":         func(c *access.Config) { c.OIDC[0].Tenant = "acme" },
		"system tenant":        func(c *access.Config) { c.OIDC[0].Tenant, c.OIDC[0].TenantClaim = "system", "" },
		"platform of a tenant": func(c *access.Config) { c.OIDC[0].Tenant, c.OIDC[0].TenantClaim = "acme", "" },
		"observer elsewhere": func(c *access.Config) {
			c.OIDC[0].Tenant, c.OIDC[0].TenantClaim, c.OIDC[0].RoleMap = "acme", "", map[string]string{"a": access.RoleObserver}
		},
		"no role claim":     func(c *access.Config) { c.OIDC[0].RoleClaim = "" },
		"no roles":          func(c *access.Config) { c.OIDC[0].RoleMap = nil },
		"role that is none": func(c *access.Config) { c.OIDC[0].RoleMap = map[string]string{"a": "dev"} },
		"twice":             func(c *access.Config) { c.OIDC = append(c.OIDC, c.OIDC[0]) },
		"no verifier":       func(c *access.Config) { c.Verifier = nil },
	} {
		cfg := r.cfg
		cfg.OIDC = append([]access.Issuer{}, r.cfg.OIDC...)
		change(&cfg)
		if _, err := access.New(t.Context(), cfg); !errors.Is(err, evidence.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A tenant that is fixed, and claims that lie deep.
	cfg := r.cfg
	cfg.OIDC = []access.Issuer{{
		Issuer: r.URL, Audience: "runledger", Tenant: "other", RoleClaim: "realm.roles", AllowHTTP: true,
		RoleMap: map[string]string{"r": access.RoleOperator},
	}}
	r.cfg = cfg
	r.reopen(t)
	p, err := r.try(r.token(t, r.claims("groups", nil, "realm", map[string]any{"roles": []string{"r"}})))
	if err != nil || p.Tenant != "other" || p.Role != access.RoleOperator || p.Person != "user-1" {
		t.Errorf("%+v %v", p, err)
	}
}

// TestGuarded goes the whole way: a person reads, and their login and look stand
// in the log of their tenant.
func TestGuarded(t *testing.T) {
	r := newRig(t)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/v1/logs/llm-runs", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "{}") })
	server := httptest.NewServer(r.Guard(mux))
	defer server.Close()
	get := func(token string) int {
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/api/v1/logs/llm-runs", nil)
		req.Header.Set("Authorization", "Bearer "+token)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		return resp.StatusCode
	}
	token := r.token(t, r.claims("exp", r.in(time.Minute)))
	if a, b := get(token), get(token); a != 200 || b != 200 {
		t.Errorf("%d %d", a, b)
	}
	r.pass(time.Minute)
	if a := get(token); a != 401 {
		t.Errorf("after it expired: %d", a)
	}
	r.wantNames(t, "acme", "LOGIN LOG_VIEW LOG_VIEW LOGIN_FAILED")
	for _, e := range r.events(t, "acme") {
		if e.sealed["/actor"] != person || !strings.HasPrefix(e.leaf.Text("credential_id"), "oidc:") {
			t.Errorf("%s by %s", e.name, e.sealed["/actor"])
		}
	}
}
