package client

import (
	"cmp"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/runledger/runledger/evidence"
	"golang.org/x/mod/sumdb/note"
)

// Config says where the server is and how patient the client is. Only BaseURL
// is required.
type Config struct {
	// BaseURL is the address of the server, such as https://ledger.example:8080,
	// with a path where the server is behind one.
	BaseURL string
	// Key is the API key, sent as a bearer token. Empty: none, which a server in
	// development mode accepts from its own machine.
	Key string
	// Tenant is only for credentials of the platform, which have to name the
	// tenant that they speak for. A producer's key has its tenant.
	Tenant string
	// Component is the source_component of typed records that name none.
	// Default "client".
	Component string
	// VerifierKeys are the keys of the logs that this client relies on, as
	// "runledger tenants create" prints them. They must come from there or from
	// another trusted place, never from an answer. Empty: proofs are fetched and
	// not checked.
	VerifierKeys []string
	// HTTPClient makes the requests. Default: one of its own, with the system's
	// proxy settings and TLS 1.2 or newer. Its Timeout bounds a try as
	// TryTimeout does. Redirects are never followed.
	HTTPClient *http.Client
	// MaxRetries is how often a request is repeated after its first try. Default
	// 8, negative: never. A [Writer] repeats without end.
	MaxRetries int
	// MinBackoff and MaxBackoff bound the pause before a repetition. Default
	// 200 ms and 30 s.
	MinBackoff, MaxBackoff time.Duration
	// TryTimeout bounds one try. Default 60 s.
	TryTimeout time.Duration
	// UserAgent is sent with every request. Default "runledger-client".
	UserAgent string
	// Logger hears of failed tries. Default: nobody does.
	Logger *slog.Logger
}

// Client speaks to one server. It may be used by many goroutines at a time.
type Client struct {
	cfg  Config
	base string // without a slash at the end
	http *http.Client
	keys []note.Verifier
}

// New returns a client. It does not connect. Errors wrap evidence.ErrInvalid.
func New(cfg Config) (*Client, error) {
	u, err := url.Parse(cfg.BaseURL)
	switch {
	case err != nil:
		return nil, configError("BaseURL", "%v", err)
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return nil, configError("BaseURL", "must begin with http:// or https:// and name a host")
	case u.User != nil:
		return nil, configError("BaseURL", "must hold no credential: use Key")
	case u.RawQuery != "" || u.Fragment != "":
		return nil, configError("BaseURL", "must have no query and no fragment")
	}
	if strings.ContainsAny(cfg.Key, " \r\n\t") {
		return nil, configError("Key", "has white space in it")
	}
	c := &Client{base: strings.TrimSuffix(u.String(), "/")}
	for _, key := range cfg.VerifierKeys {
		v, err := note.NewVerifier(key)
		if err != nil {
			return nil, configError("VerifierKeys", "%q is not a verifier key", key)
		}
		known := func(k note.Verifier) bool { return k.Name() == v.Name() && k.KeyHash() == v.KeyHash() }
		if !slices.ContainsFunc(c.keys, known) { // note.VerifierList takes none twice
			c.keys = append(c.keys, v)
		}
	}
	cfg.Component = cmp.Or(cfg.Component, "client")
	cfg.MaxRetries = cmp.Or(cfg.MaxRetries, 8)
	cfg.MinBackoff = cmp.Or(cfg.MinBackoff, 200*time.Millisecond)
	cfg.MaxBackoff = max(cfg.MinBackoff, cmp.Or(cfg.MaxBackoff, 30*time.Second))
	cfg.TryTimeout = cmp.Or(cfg.TryTimeout, time.Minute)
	cfg.UserAgent = cmp.Or(cfg.UserAgent, "runledger-client")
	if cfg.MinBackoff < 0 || cfg.TryTimeout < 0 {
		return nil, configError("MinBackoff, TryTimeout", "must not be negative")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	c.cfg, c.http = cfg, httpClient(cfg.HTTPClient)
	return c, nil
}

func configError(field, format string, args ...any) error {
	return &evidence.FieldError{Field: "client: " + field, Reason: fmt.Sprintf(format, args...), Err: evidence.ErrInvalid}
}

// httpClient returns a copy of the given client, or of the default one, that
// follows no redirect: a POST would become a GET, or take the key to another
// host.
func httpClient(given *http.Client) *http.Client {
	var h http.Client
	if given != nil {
		h = *given
	} else if t, ok := http.DefaultTransport.(*http.Transport); ok {
		t = t.Clone()
		t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
		h.Transport = t
	}
	h.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &h
}
