package oidc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"

	lib "github.com/coreos/go-oidc/v3/oidc"

	"github.com/runledger/runledger/evidence"
)

// algorithms are those that a token may be signed with. None of them takes a
// public key for a secret, and none signs nothing.
var algorithms = []string{
	lib.RS256, lib.RS384, lib.RS512, lib.PS256, lib.PS384, lib.PS512, lib.ES256, lib.ES384, lib.ES512, lib.EdDSA,
}

// Config says whose tokens a verifier checks. Issuer is required.
type Config struct {
	Issuer string // URL, letter by letter as iss has it
	// AllowHTTP allows an issuer on this machine without TLS.
	AllowHTTP bool
	Transport http.RoundTripper // default: http.DefaultTransport
	Now       func() time.Time  // default: time.Now
	// Timeout bounds a request to the provider. Default 10 s.
	Timeout time.Duration
	// Refresh is how long an answer of the provider, or its failure, is kept before
	// it is asked for the same again. Default 10 s.
	Refresh time.Duration
}

// Verifier checks tokens of one issuer. It may be used from several
// goroutines.
type Verifier struct {
	issuer string
	client *http.Client

	mu    sync.Mutex
	ready *lib.IDTokenVerifier // nil until the provider has been found
}

// New returns a verifier. It asks the provider for nothing yet. The error is of
// an issuer that is no URL to be trusted; it wraps evidence.ErrInvalid.
func New(cfg Config) (*Verifier, error) {
	if cfg.Transport == nil {
		cfg.Transport = http.DefaultTransport
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = 10 * time.Second
	}
	if cfg.Refresh <= 0 {
		cfg.Refresh = 10 * time.Second
	}
	u, err := url.Parse(cfg.Issuer)
	if err != nil || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("issuer %q: %w: it must be a URL without user, query and fragment", cfg.Issuer, evidence.ErrInvalid)
	}
	if err := mayAsk(u, cfg.AllowHTTP); err != nil {
		return nil, fmt.Errorf("issuer %q: %w: %w", cfg.Issuer, evidence.ErrInvalid, err)
	}
	return &Verifier{issuer: cfg.Issuer, client: &http.Client{
		Transport: &keeper{base: cfg.Transport, allowHTTP: cfg.AllowHTTP, now: cfg.Now, every: cfg.Refresh, kept: map[string]*kept{}},
		Timeout:   cfg.Timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		},
	}}, nil
}

// mayAsk says whether a URL of the provider is asked.
func mayAsk(u *url.URL, allowHTTP bool) error {
	switch {
	case u.Scheme == "https" && u.Host != "":
		return nil
	case u.Scheme == "http" && allowHTTP && isLocal(u.Hostname()):
		return nil
	}
	return errors.New("it must be https")
}

func isLocal(host string) bool {
	addr, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || err == nil && addr.Unmap().IsLoopback()
}

// Verify returns the claims of a token, if its signature and issuer are right.
// Other claims are not looked at. An error that wraps evidence.ErrUnavailable
// says that the provider's keys cannot be had now; any other, that the token is
// bad.
func (v *Verifier) Verify(ctx context.Context, token string) ([]byte, error) {
	if !isCompact(token) {
		return nil, errors.New("no token in the compact form")
	}
	ready, err := v.discover(ctx)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", evidence.ErrUnavailable, err)
	}
	var failure error // of the keys: the library tells only its text
	id, err := ready.Verify(context.WithValue(ctx, failureKey{}, &failure), token)
	if failure != nil {
		return nil, fmt.Errorf("%w: %w", evidence.ErrUnavailable, failure)
	}
	if err != nil {
		return nil, err
	}
	var c claims
	if err := id.Claims(&c); err != nil {
		return nil, err
	}
	return c, nil
}

// isCompact reports whether a text is of the characters of a compact JWS (RFC
// 7515 section 7.1): the library reads other forms too, and drops spaces.
func isCompact(token string) bool {
	return strings.Count(token, ".") == 2 && !strings.ContainsFunc(token, func(r rune) bool {
		return !(r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' || r == '_' || r == '.')
	})
}

// claims is the payload of a token as it was signed.
type claims []byte

// UnmarshalJSON implements json.Unmarshaler.
func (c *claims) UnmarshalJSON(b []byte) error {
	*c = append((*c)[:0], b...)
	return nil
}

// discover finds the provider, once. Whoever waits for it may go, which breaks
// nothing off.
func (v *Verifier) discover(ctx context.Context) (*lib.IDTokenVerifier, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.ready != nil {
		return v.ready, nil
	}
	ctx = lib.ClientContext(context.WithoutCancel(ctx), v.client)
	provider, err := lib.NewProvider(ctx, v.issuer)
	if err != nil {
		return nil, err
	}
	var found struct {
		Keys string `json:"jwks_uri"`
	}
	if err := provider.Claims(&found); err != nil {
		return nil, err
	}
	set := keySet{lib.NewRemoteKeySet(lib.ClientContext(context.Background(), v.client), found.Keys)}
	// Audience and times are compared with our own clock, after the signature: a
	// token that is refused for them is somebody's.
	v.ready = lib.NewVerifier(v.issuer, set, &lib.Config{
		SupportedSigningAlgs: algorithms, SkipClientIDCheck: true, SkipExpiryCheck: true,
	})
	return v.ready, nil
}

type failureKey struct{}

// keySet tells a key that cannot be had from a signature that is wrong.
type keySet struct{ *lib.RemoteKeySet }

// VerifySignature implements oidc.KeySet.
func (s keySet) VerifySignature(ctx context.Context, token string) ([]byte, error) {
	payload, err := s.RemoteKeySet.VerifySignature(ctx, token)
	if failure, ok := ctx.Value(failureKey{}).(*error); ok && err != nil {
		var network net.Error
		if strings.HasPrefix(err.Error(), "fetching keys") || errors.As(err, &network) || ctx.Err() != nil {
			*failure = err
		}
	}
	return payload, err
}
