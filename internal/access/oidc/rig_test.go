package oidc_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/access"
	"github.com/runledger/runledger/internal/access/oidc"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/seal"
	"github.com/runledger/runledger/internal/store"
	"github.com/runledger/runledger/internal/store/storerig"
)

// clock is a clock that is put.
type clock struct{ now atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.now.Store(time.Now().Unix())
	return c
}

func (c *clock) Now() time.Time           { return time.Unix(c.now.Load(), 0).UTC() }
func (c *clock) in(d time.Duration) int64 { return c.now.Load() + int64(d/time.Second) }
func (c *clock) pass(d time.Duration)     { c.now.Add(int64(d / time.Second)) }

// key is one of an issuer's.
type key struct {
	id      string
	private *rsa.PrivateKey
}

var makeKeys = sync.OnceValue(func() []key {
	var list []key
	for _, id := range []string{"k1", "k2", "k3"} {
		private, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			panic(err)
		}
		list = append(list, key{id, private})
	}
	return list
})

// provider is an identity provider on this machine.
type provider struct {
	*httptest.Server
	asked atomic.Int64 // for keys

	mu   sync.Mutex
	keys []key
	down int    // status of all answers; 0: it works
	name string // what it says its issuer is; "" for its URL
	set  string // instead of its keys
	path string // of its keys
}

func newProvider(t testing.TB) *provider {
	p := &provider{keys: makeKeys()[:1], path: "/keys"}
	p.Server = httptest.NewServer(http.HandlerFunc(p.answer))
	t.Cleanup(p.Close)
	return p
}

func (p *provider) change(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
}

func (p *provider) answer(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	switch {
	case p.down != 0:
		if p.down == http.StatusFound {
			w.Header().Set("Location", "/elsewhere")
		}
		w.WriteHeader(p.down)
	case r.URL.Path == "/.well-known/openid-configuration":
		name := p.name
		if name == "" {
			name = p.URL
		}
		keys := p.path
		if strings.HasPrefix(keys, "/") {
			keys = p.URL + keys
		}
		_ = json.NewEncoder(w).Encode(map[string]any{
			"issuer": name, "jwks_uri": keys, "authorization_endpoint": p.URL + "/auth", "token_endpoint": p.URL + "/token",
			"id_token_signing_alg_values_supported": []string{"RS256", "HS256", "none"},
		})
	case r.URL.Path == "/keys":
		p.asked.Add(1)
		if p.set != "" {
			_, _ = w.Write([]byte(p.set))
			return
		}
		var set jose.JSONWebKeySet
		for _, k := range p.keys {
			set.Keys = append(set.Keys, jose.JSONWebKey{Key: k.private.Public(), KeyID: k.id, Use: "sig"})
		}
		_ = json.NewEncoder(w).Encode(set)
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

// sign makes a token.
func sign(t testing.TB, alg jose.SignatureAlgorithm, with any, id string, claims any) string {
	t.Helper()
	opts := (&jose.SignerOptions{}).WithType("JWT")
	if id != "" {
		opts = opts.WithHeader("kid", id)
	}
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: with}, opts)
	if err != nil {
		t.Fatal(err)
	}
	payload, ok := claims.([]byte)
	if !ok {
		if payload, err = json.Marshal(claims); err != nil {
			t.Fatal(err)
		}
	}
	jws, err := s.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	token, err := jws.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func (p *provider) token(t testing.TB, claims any) string {
	return sign(t, jose.RS256, makeKeys()[0].private, "k1", claims)
}

// raw makes a token by hand: of a header that no library would write.
func raw(header, payload, signature string) string {
	b := base64.RawURLEncoding
	return b.EncodeToString([]byte(header)) + "." + b.EncodeToString([]byte(payload)) + "." + b.EncodeToString([]byte(signature))
}

// rig is a gate on a real store and ledger, with a provider.
type rig struct {
	*access.Gate
	*clock
	*provider
	ledger *ledger.Ledger
	db     store.Store
	cfg    access.Config
}

func newRig(t testing.TB, set ...func(*access.Issuer)) *rig {
	t.Helper()
	ctx, dir := context.Background(), filepath.Join(t.TempDir(), "data")
	r := &rig{clock: newClock(), provider: newProvider(t)}
	var err error
	if r.db, err = storerig.Open(ctx, dir); err != nil {
		t.Fatal(err)
	}
	master, err := seal.OpenMaster(filepath.Join(dir, "master.keyset.json"), true)
	if err != nil {
		t.Fatal(err)
	}
	anchor, err := ledger.NewDirAnchor(dir + ".anchor")
	if err != nil {
		t.Fatal(err)
	}
	r.ledger, err = ledger.Open(ctx, ledger.Config{Store: r.db, Sealer: seal.New(r.db, master), Anchor: anchor, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(r.Gate.Close(), r.ledger.Close(), r.db.Close()); err != nil {
			t.Error(err)
		}
	})
	for _, tenant := range []string{"acme", "other", evidence.SyntheticTenant} {
		if _, err := r.ledger.CreateTenant(ctx, tenant); err != nil {
			t.Fatal(err)
		}
	}
	issuer := access.Issuer{
		Issuer: r.URL, Audience: "runledger", TenantClaim: "tenant", RoleClaim: "groups", AllowHTTP: true, ActorClaim: "email",
		RoleMap: map[string]string{"readers": access.RoleViewer, "audit": access.RoleAuditor, "root": access.RolePlatformAdmin, "readers2": access.RoleViewer, "drills": access.RoleObserver},
	}
	for _, f := range set {
		f(&issuer)
	}
	r.cfg = access.Config{
		Store: r.db, Ledger: r.ledger, Now: r.Now, Tick: time.Hour, OIDC: []access.Issuer{issuer},
		Verifier: func(i access.Issuer) (access.TokenVerifier, error) {
			return oidc.New(oidc.Config{Issuer: i.Issuer, AllowHTTP: i.AllowHTTP, Now: r.Now})
		},
	}
	r.reopen(t)
	return r
}

// reopen stands for another process.
func (r *rig) reopen(t testing.TB) {
	t.Helper()
	if r.Gate != nil {
		if err := r.Gate.Close(); err != nil {
			t.Fatal(err)
		}
	}
	g, err := access.New(context.Background(), r.cfg)
	if err != nil {
		t.Fatal(err)
	}
	r.Gate = g
}

// claims are good ones, changed by pairs of a name and a value; nil drops one.
func (r *rig) claims(pairs ...any) map[string]any {
	c := map[string]any{
		"iss": r.URL, "aud": "runledger", "sub": "user-1", "email": "ada@example.com", "tenant": "acme", "groups": []string{"readers", "staff"},
		"exp": r.in(time.Hour), "iat": r.in(-time.Minute), "auth_time": r.in(-time.Minute), "jti": "t1",
	}
	for i := 0; i < len(pairs); i += 2 {
		name := pairs[i].(string)
		if c[name] = pairs[i+1]; pairs[i+1] == nil {
			delete(c, name)
		}
	}
	return c
}

func (r *rig) try(token string, header ...string) (access.Principal, error) {
	req := httptest.NewRequest(http.MethodGet, "http://localhost/x", nil)
	req.RemoteAddr, req.Pattern = "192.0.2.7:1234", "GET /x/{id}"
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("User-Agent", "tests/1")
	for i := 0; i < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	return r.Authenticate(req)
}

// event is a record of a log, opened.
type event struct {
	name   string
	leaf   *evidence.Leaf
	sealed map[string]string
}

func (r *rig) events(t testing.TB, tenant string) (list []event) {
	t.Helper()
	head, _, err := r.ledger.PublishNow(context.Background(), tenant, 1)
	if err != nil {
		t.Fatal(err)
	}
	err = r.ledger.Records(context.Background(), tenant, 1, 0, head.Size, func(lr ledger.LogRecord) error {
		leaf, err := evidence.ParseLeaf(lr.Raw)
		if err != nil {
			return err
		}
		e := event{name: leaf.Text("event_type"), leaf: leaf, sealed: map[string]string{}}
		for path, o := range lr.Open {
			e.sealed[path] = o.JSON
		}
		if e.name != "LOG_OPENED" {
			list = append(list, e)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func (r *rig) wantNames(t testing.TB, tenant, want string) {
	t.Helper()
	var names []string
	for _, e := range r.events(t, tenant) {
		names = append(names, e.name)
		if of := e.leaf.Text("conflict_of"); of != "" {
			t.Errorf("%s contradicts %s", e.name, of)
		}
	}
	if got := strings.Join(names, " "); got != want {
		t.Errorf("the log of %s holds %q, want %q", tenant, got, want)
	}
}
