package oidc_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/access/oidc"
)

func newVerifier(t testing.TB, p *provider, c *clock) *oidc.Verifier {
	t.Helper()
	v, err := oidc.New(oidc.Config{Issuer: p.URL, AllowHTTP: true, Now: c.Now, Timeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestNew(t *testing.T) {
	for issuer, want := range map[string]bool{
		"https://login.example.com": true, "https://login.example.com/realms/x/": true, "http://127.0.0.1:8080": true, "http://localhost": true, "http://[::1]:1/a": true,
		"": false, "login.example.com": false, "http://login.example.com": false, "ftp://x": false, "https://": false, "https://u:p@x.example": false,
		"https://x.example?a=b": false, "https://x.example#a": false, "https://%zz": false, "http://127.0.0.1.example.com": false,
	} {
		if _, err := oidc.New(oidc.Config{Issuer: issuer, AllowHTTP: true}); (err == nil) != want || err != nil && !errors.Is(err, evidence.ErrInvalid) {
			t.Errorf("%q: %v", issuer, err)
		}
	}
	if _, err := oidc.New(oidc.Config{Issuer: "http://127.0.0.1"}); err == nil {
		t.Error("http without being allowed")
	}
}

// TestVerify tries signatures of all kinds.
func TestVerify(t *testing.T) {
	p, c := newProvider(t), newClock()
	v := newVerifier(t, p, c)
	keys := makeKeys()
	// Times and audience are not looked at, and what is signed comes back as it is.
	good := []byte(`{"iss":"` + p.URL + `","sub":"a","aud":"x","exp":1,"nbf":9999999999,"z":1.50}`)
	got, err := v.Verify(t.Context(), sign(t, jose.RS256, keys[0].private, "k1", good))
	if err != nil || string(got) != string(good) {
		t.Fatalf("%s %v", got, err)
	}
	if _, err := v.Verify(t.Context(), sign(t, jose.PS512, keys[0].private, "", good)); err != nil {
		t.Errorf("another algorithm, no key named: %v", err)
	}
	der, _ := x509.MarshalPKIXPublicKey(keys[0].private.Public())
	public := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	jwk, _ := json.Marshal(jose.JSONWebKey{Key: keys[1].private.Public(), KeyID: "k1"})
	other, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	embedded, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: other}, &jose.SignerOptions{EmbedJWK: true})
	if err != nil {
		t.Fatal(err)
	}
	own, _ := embedded.Sign(good)
	ownToken, _ := own.CompactSerialize()
	signed := sign(t, jose.RS256, keys[0].private, "k1", good)
	parts := strings.Split(signed, ".")
	full, _ := jose.ParseSignedCompact(signed, []jose.SignatureAlgorithm{jose.RS256})
	_, edKey, _ := ed25519.GenerateKey(rand.Reader)
	for name, token := range map[string]string{
		"another key under its name": sign(t, jose.RS256, keys[1].private, "k1", good),
		"another key":                sign(t, jose.RS256, keys[1].private, "k9", good),
		"its key under another name": sign(t, jose.RS256, keys[0].private, "k9", good),
		"another kind of key":        sign(t, jose.EdDSA, edKey, "k1", good),
		"none":                       raw(`{"alg":"none"}`, string(good), ""),
		"None, with its name":        raw(`{"alg":"None","kid":"k1"}`, string(good), "x"),
		"no algorithm":               raw(`{"kid":"k1"}`, string(good), "x"),
		"the public key as a secret": sign(t, jose.HS256, public, "k1", good),
		"its DER as a secret":        sign(t, jose.HS512, der, "k1", good),
		"a key in the token":         ownToken,
		"a key in the header":        raw(`{"alg":"RS256","kid":"k1","jwk":`+string(jwk)+`}`, string(good), "x"),
		"another payload":            parts[0] + "." + strings.Split(sign(t, jose.RS256, keys[1].private, "k1", []byte(`{"iss":"`+p.URL+`","sub":"b"}`)), ".")[1] + "." + parts[2],
		"no signature":               parts[0] + "." + parts[1] + ".",
		"two parts":                  parts[0] + "." + parts[1],
		"spaces":                     parts[0] + "." + parts[1] + ". " + parts[2],
		"as JSON":                    full.FullSerialize(),
		"critical":                   raw(`{"alg":"RS256","kid":"k1","crit":["x"],"x":1}`, string(good), "x"),
		"another issuer":             p.token(t, map[string]any{"iss": p.URL + "/", "sub": "a"}),
		"no issuer":                  p.token(t, map[string]any{"sub": "a"}),
		"issuer of another type":     p.token(t, map[string]any{"iss": []string{p.URL}}),
		"audience of another type":   p.token(t, map[string]any{"iss": p.URL, "aud": 7}),
		"expiry of another type":     p.token(t, map[string]any{"iss": p.URL, "exp": "soon"}),
		"no object":                  sign(t, jose.RS256, keys[0].private, "k1", []byte(`["iss"]`)),
		"no JSON":                    sign(t, jose.RS256, keys[0].private, "k1", []byte(`x`)),
		"empty":                      "",
	} {
		if got, err := v.Verify(t.Context(), token); err == nil || errors.Is(err, evidence.ErrUnavailable) || got != nil {
			t.Errorf("%s: %s %v", name, got, err)
		}
	}
	// All those bad tokens made it ask for the keys once.
	if n := p.asked.Load(); n != 1 {
		t.Errorf("asked for keys %d times", n)
	}
}

// TestRotation changes the keys while tokens come.
func TestRotation(t *testing.T) {
	p, c := newProvider(t), newClock()
	v := newVerifier(t, p, c)
	keys := makeKeys()
	claims := map[string]any{"iss": p.URL, "sub": "a"}
	old, fresh := sign(t, jose.RS256, keys[0].private, "k1", claims), sign(t, jose.RS256, keys[1].private, "k2", claims)
	try := func(token string) error {
		_, err := v.Verify(t.Context(), token)
		return err
	}
	// until tries for a while: who asks while the library still puts the last answer away gets that one.
	until := func(ok func() bool) bool {
		for range 1000 {
			if ok() {
				return true
			}
			time.Sleep(time.Millisecond)
		}
		return false
	}
	unavailable := func() bool { return errors.Is(try(old), evidence.ErrUnavailable) }
	if try(old) != nil || try(fresh) == nil {
		t.Fatal("before")
	}
	p.change(func() { p.keys = keys[:2] })
	if try(fresh) == nil {
		t.Error("the keys were asked for again at once")
	}
	c.pass(10 * time.Second)
	if !until(func() bool { return try(fresh) == nil }) || try(old) != nil {
		t.Error("both keys")
	}
	p.change(func() { p.keys = keys[1:2] })
	c.pass(10 * time.Second)
	never := sign(t, jose.RS256, keys[2].private, "k3", claims)
	gone := func() bool {
		if try(never) == nil { // makes it look
			t.Error("a key that it never had")
		}
		return try(old) != nil
	}
	if !until(gone) || try(fresh) != nil {
		t.Error("the old key is gone")
	}
	// Keys that are known count while the provider is down.
	p.change(func() { p.down = 500 })
	c.pass(time.Hour)
	if err := try(fresh); err != nil {
		t.Error(err)
	}
	if !until(unavailable) {
		t.Errorf("an unknown key while the provider is down: %v", try(old))
	}
	p.change(func() { p.down, p.set = 0, `{"keys":[{"kty":"RSA","n":7}]}` })
	c.pass(time.Hour)
	if !until(unavailable) {
		t.Errorf("keys that are none: %v", try(old))
	}
}

// TestDiscovery has a provider that is not there, or another.
func TestDiscovery(t *testing.T) {
	p, c := newProvider(t), newClock()
	token := p.token(t, map[string]any{"iss": p.URL, "sub": "a"})
	v := newVerifier(t, p, c)
	for _, status := range []int{503, 404, http.StatusFound} {
		p.change(func() { p.down = status })
		if _, err := v.Verify(t.Context(), token); !errors.Is(err, evidence.ErrUnavailable) {
			t.Errorf("status %d: %v", status, err)
		}
		c.pass(10 * time.Second)
	}
	p.change(func() { p.down, p.name = 0, "https://other.example" })
	if _, err := v.Verify(t.Context(), token); !errors.Is(err, evidence.ErrUnavailable) {
		t.Errorf("another issuer's document: %v", err)
	}
	p.change(func() { p.name = "" })
	if _, err := v.Verify(t.Context(), token); !errors.Is(err, evidence.ErrUnavailable) {
		t.Errorf("the failure is not kept: %v", err)
	}
	c.pass(10 * time.Second)
	if _, err := v.Verify(t.Context(), token); err != nil {
		t.Errorf("when it is there: %v", err)
	}
	// Keys elsewhere are asked for over https only.
	p.change(func() { p.path = "http://keys.example.com/keys" })
	v = newVerifier(t, p, c)
	if _, err := v.Verify(t.Context(), token); !errors.Is(err, evidence.ErrUnavailable) || !strings.Contains(err.Error(), "https") {
		t.Errorf("keys over http: %v", err)
	}
	p.change(func() { p.path = "/keys" })
	v = newVerifier(t, p, c)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := v.Verify(ctx, token); !errors.Is(err, evidence.ErrUnavailable) {
		t.Errorf("a caller who has gone: %v", err)
	}
	if _, err := v.Verify(t.Context(), token); err != nil {
		t.Errorf("and the next one: %v", err)
	}
}
