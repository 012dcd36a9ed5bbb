package server_test

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"

	"github.com/runledger/runledger/internal/access"
	"github.com/runledger/runledger/internal/server"
)

// provider is an identity provider on this machine.
type provider struct {
	*httptest.Server
	t *testing.T
}

var providerKey = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

func newProvider(t *testing.T) *provider {
	t.Helper()
	key, err := providerKey()
	if err != nil {
		t.Fatal(err)
	}
	p := &provider{t: t}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		var v any = jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "k1", Use: "sig"}}}
		if r.URL.Path != "/keys" {
			v = object{
				"issuer": p.URL, "jwks_uri": p.URL + "/keys", "authorization_endpoint": p.URL + "/auth", "token_endpoint": p.URL + "/token",
				"id_token_signing_alg_values_supported": []string{"RS256"},
			}
		}
		_ = json.NewEncoder(w).Encode(v)
	}))
	t.Cleanup(p.Close)
	return p
}

func (p *provider) claims(change object) object {
	now := time.Now().Unix()
	c := object{
		"iss": p.URL, "aud": "runledger", "sub": "u-ada", "email": "ada@example.com", "tenant": own, "groups": []string{"staff", "ops"},
		"exp": now + 3600, "iat": now - 60, "auth_time": now - 120,
	}
	maps.Copy(c, change)
	return c
}

// token signs claims; with none as algorithm it does not.
func (p *provider) token(alg jose.SignatureAlgorithm, change object) string {
	p.t.Helper()
	payload, err := json.Marshal(p.claims(change))
	if err != nil {
		p.t.Fatal(err)
	}
	if alg == "none" {
		b := base64.RawURLEncoding
		return b.EncodeToString([]byte(`{"alg":"none","typ":"JWT"}`)) + "." + b.EncodeToString(payload) + "."
	}
	key, err := providerKey()
	if err != nil {
		p.t.Fatal(err)
	}
	signing := jose.SigningKey{Algorithm: alg, Key: key}
	if alg == jose.HS256 { // with what everybody knows
		signing.Key = []byte("0123456789abcdef0123456789abcdef")
	}
	s, err := jose.NewSigner(signing, (&jose.SignerOptions{}).WithHeader("kid", "k1"))
	if err != nil {
		p.t.Fatal(err)
	}
	jws, err := s.Sign(payload)
	if err != nil {
		p.t.Fatal(err)
	}
	token, err := jws.CompactSerialize()
	if err != nil {
		p.t.Fatal(err)
	}
	return token
}

// newPersons is a server that takes tokens of a provider, with a run of acme's.
func newPersons(t *testing.T) (*reads, *provider) {
	t.Helper()
	p := newProvider(t)
	r := newReads(t, func(c *server.ServeConfig) {
		c.OIDC = []access.Issuer{{
			Issuer: p.URL, Audience: "runledger", TenantClaim: "tenant", RoleClaim: "groups", ActorClaim: "email", AllowHTTP: true,
			RoleMap: map[string]string{"ops": access.RoleOperator, "auditors": access.RoleAuditor, "admins": access.RoleTenantAdmin},
		}}
	})
	r.keys["producer@"+own] = r.newKey(t, own)
	r.newKey(t, foreign)
	r.run = r.nativeRun(t)
	return r, p
}

// TestReadOIDC: a person reads by a token. Their login is recorded once, each look
// names them to who may see it, and the auditor's role has no bound on the range.
func TestReadOIDC(t *testing.T) {
	t.Parallel()
	r, p := newPersons(t)
	r.used(t, r.keys["producer@"+own])
	ada := p.token(jose.RS256, nil)
	again := p.token(jose.RS256, object{"iat": time.Now().Unix() - 5}) // of the same session
	trace := "/api/v1/logs/llm-runs/" + r.run + "/trace"
	got := r.added(t, own, func() {
		for _, token := range []string{ada, ada, again} {
			out := r.ask(t, token, trace, http.StatusOK)
			wantAt(t, out, object{"steps.0.params.order": "secret-order"})
		}
	})
	if diff := cmp.Diff(map[string]int{"LOGIN": 1, "LOG_VIEW": 3}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	eve := p.token(jose.RS256, object{"sub": "u-eve", "email": "eve@example.com", "groups": "auditors"})
	identity := r.ask(t, eve, "/api/v1/logs/audit/identity?event_type=LOGIN", http.StatusOK)
	wantAt(t, identity, object{
		"total": 2, "entries.0.actor_id": "eve@example.com", "entries.1.actor_id": "ada@example.com", "entries.1.actor_type": "HUMAN",
		"entries.1.metadata.human_actor_id": "ada@example.com", "entries.1.metadata.origin": "HUMAN", "entries.1.decision": "ALLOWED",
		"entries.1.roles": []any{"operator"}, "entries.1.after_state.subject": "u-ada",
	})
	views := "/api/v1/logs/audit/access?run_id=" + r.run
	wantAt(t, r.ask(t, eve, views, http.StatusOK), object{
		"total": 3, "access_events.2.metadata.human_actor_id": "ada@example.com", "access_events.2.actor_id": "ada@example.com",
		"access_events.2.event_type": "LOG_VIEW", "access_events.2.roles": []any{"operator"},
	})
	// Who may not read content sees that a person looked, not who.
	admin := r.roleKey(t, own, "tenant_admin")
	out := r.ask(t, admin, views, http.StatusOK)
	wantAt(t, out, object{
		"total": 3, "access_events.0.metadata.human_actor_id": nil, "access_events.0.actor_id": nil, "access_events.0.actor_type": "HUMAN",
		"access_events.0.view_digest.reason": "not_permitted",
	})
	if _, _, body := r.get(t, admin, views, nil); strings.Contains(string(body), "example.com") {
		t.Errorf("a person is named: %s", body)
	}
	// The one finds a person by their name, the other may not ask.
	found := r.ask(t, eve, "/api/v1/logs/audit?actor_type=HUMAN&actor_id=ada@example.com", http.StatusOK)
	wantAt(t, found, object{"total": 4})
	wantAt(t, r.ask(t, admin, "/api/v1/logs/audit?actor_type=HUMAN&actor_id=ada@example.com", http.StatusForbidden), object{"field": "actor_id"})
	year := "?occurred_after=" + r.start.AddDate(-1, 0, 0).Format(time.RFC3339)
	r.ask(t, eve, "/api/v1/logs/llm-runs"+year, http.StatusOK)
	r.ask(t, eve, "/api/v1/logs/audit"+year, http.StatusOK)
	wantAt(t, r.ask(t, ada, "/api/v1/logs/llm-runs"+year, http.StatusUnprocessableEntity), object{"field": "occurred_after"})
	r.ask(t, ada, "/api/v1/logs/audit", http.StatusForbidden)
	r.ask(t, p.token(jose.RS256, object{"sub": "u-tom", "email": "tom@example.com", "groups": "admins"}), "/api/v1/apikeys", http.StatusOK)
	// A person's token does not reach beyond their tenant.
	beyond := r.added(t, own, func() {
		r.askWith(t, ada, trace, http.StatusForbidden, http.Header{"X-Tenant-Id": {foreign}})
	})
	if diff := cmp.Diff(map[string]int{"ACCESS_DECISION": 1}, beyond); diff != "" {
		t.Errorf("another tenant (-want +got):\n%s", diff)
	}
}

// TestReadOIDCRefused: a token that is not good lets nobody see anything. What says
// whose it is, signed, is a LOGIN_FAILED there; all else is counted.
func TestReadOIDCRefused(t *testing.T) {
	r, p := newPersons(t)
	r.used(t, r.keys["producer@"+own])
	now := time.Now().Unix()
	counted := 0
	for _, tt := range []struct {
		name   string
		alg    jose.SignatureAlgorithm
		change object
		detail string
		failed bool // it has a record in the tenant's log
	}{
		{"audience", jose.RS256, object{"aud": "somebody-else"}, "audience", true},
		{"expired", jose.RS256, object{"exp": now - 1}, "expired", true},
		{"not yet", jose.RS256, object{"nbf": now + 3600}, "not valid yet", true},
		{"no role", jose.RS256, object{"groups": "guests"}, "role", true},
		{"two roles", jose.RS256, object{"groups": []string{"ops", "auditors"}}, "role", true},
		{"auditor for ever", jose.RS256, object{"groups": "auditors", "exp": now + 400*24*3600}, "claim", true},
		{"alg none", "none", nil, "no or bad credential", false},
		{"symmetric", jose.HS256, nil, "no or bad credential", false},
		{"unknown tenant", jose.RS256, object{"tenant": "nobody"}, "no tenant", false},
		{"system tenant", jose.RS256, object{"tenant": "system"}, "no tenant", false},
		{"another issuer", jose.RS256, object{"iss": "https://else.example"}, "no or bad credential", false},
	} {
		want := map[string]int{}
		if tt.failed {
			want["LOGIN_FAILED"] = 1
		} else {
			counted++
		}
		got := r.added(t, own, func() {
			token := p.token(tt.alg, object{"sub": tt.name})
			if tt.change != nil {
				maps.Copy(tt.change, object{"sub": tt.name})
				token = p.token(tt.alg, tt.change)
			}
			out, header := r.askWith(t, token, "/api/v1/logs/llm-runs/"+r.run+"/envelope", http.StatusUnauthorized, nil)
			if d, _ := at(t, out, "detail").(string); !strings.Contains(d, tt.detail) || header.Get("WWW-Authenticate") == "" {
				t.Errorf("%s: %v %v", tt.name, out, header)
			}
		})
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
	if got := r.audits(t, foreign)["LOGIN_FAILED"]; got != 0 {
		t.Errorf("%d failed logins of another tenant", got)
	}
	tenants, err := r.control(t).Tenants(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, info := range tenants.Tenants {
		if info.Tenant == "nobody" {
			t.Error("a claim made a tenant")
		}
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	// All in one minute, or two.
	if n := len(slices.DeleteFunc(systemEvents(t, r.dir), func(e string) bool { return e != "auth ACCESS_DENIED" })); n < 1 || n > counted {
		t.Errorf("%d records of %d requests that were counted", n, counted)
	}
}
