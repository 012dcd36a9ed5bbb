package mirror

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/c2sp"
)

// Greatest sizes of answers, after decompression.
const (
	maxNote    = c2sp.MaxNoteSize
	maxTile    = c2sp.TileWidth * 32
	maxEntries = c2sp.TileWidth * (2 + evidence.MaxLeafSize)
)

// maxWait bounds what a Retry-After can ask for.
const maxWait = 30 * time.Second

// fetcher gets files of one server. Whatever that answers, it costs a bounded time
// and a bounded number of bytes.
type fetcher struct {
	http    *http.Client
	key     string
	tenant  string
	timeout time.Duration // of one try
	tries   int
	pause   time.Duration // before the second try
}

func newFetcher(cfg *Config) *fetcher {
	transport := cfg.Transport
	if transport == nil {
		t := &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: cfg.RootCAs},
			ForceAttemptHTTP2:      true,
			TLSHandshakeTimeout:    10 * time.Second,
			IdleConnTimeout:        90 * time.Second,
			MaxResponseHeaderBytes: 64 << 10,
			MaxIdleConnsPerHost:    4,
		}
		transport = t
	}
	return &fetcher{
		// A redirect could take the key elsewhere, and could go on for ever.
		http: &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
		key:  cfg.APIKey, tenant: cfg.Tenant, timeout: cfg.Timeout, tries: cfg.Tries, pause: 200 * time.Millisecond,
	}
}

// get returns a file of at most that size. The error wraps evidence.ErrNotFound,
// evidence.ErrForbidden (the credential may not), or evidence.ErrUnavailable: it may
// be asked for again.
func (f *fetcher) get(ctx context.Context, url string, most int64) ([]byte, error) {
	for try := 1; ; try++ {
		b, after, err := f.once(ctx, url, most)
		if err == nil || try >= f.tries || !errors.Is(err, evidence.ErrUnavailable) || ctx.Err() != nil {
			return b, err
		}
		wait := f.pause << (try - 1)
		if !sleep(ctx, max(wait-rand.N(wait/2+1), min(after, maxWait))) {
			return nil, err
		}
	}
}

func (f *fetcher) once(ctx context.Context, url string, most int64) (b []byte, after time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, 0, err
	}
	req.Header.Set("User-Agent", "runledger-mirror")
	if f.key != "" {
		req.Header.Set("Authorization", "Bearer "+f.key)
	}
	if f.tenant != "" {
		req.Header.Set("X-Tenant-ID", f.tenant)
	}
	resp, err := f.http.Do(req)
	if err != nil {
		return nil, 0, fmt.Errorf("%w: %w", evidence.ErrUnavailable, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		after = retryAfter(resp.Header)
		return nil, after, fmt.Errorf("%s: status %d: %w%s", req.URL.Path, resp.StatusCode, sentinel(resp.StatusCode), advice(resp.StatusCode))
	}
	b, err = io.ReadAll(io.LimitReader(resp.Body, most+1))
	switch {
	case err != nil:
		return nil, 0, fmt.Errorf("%s: %w: %w", req.URL.Path, evidence.ErrUnavailable, err)
	case int64(len(b)) > most:
		return nil, 0, fmt.Errorf("%s: %w: the answer is over %d bytes", req.URL.Path, evidence.ErrUnavailable, most)
	}
	return b, 0, nil
}

func sentinel(status int) error {
	switch status {
	case http.StatusNotFound, http.StatusGone:
		return evidence.ErrNotFound
	case http.StatusUnauthorized, http.StatusForbidden:
		return evidence.ErrForbidden
	}
	return evidence.ErrUnavailable
}

// advice says which credential it takes, where that is what is missing.
func advice(status int) string {
	switch status {
	case http.StatusUnauthorized:
		return ": the server takes no such key"
	case http.StatusForbidden:
		return ": it takes a key with audit.read and logs.read that may see synthetic records, as the role auditor may"
	}
	return ""
}

// retryAfter reads the header in seconds; another form is 0.
func retryAfter(h http.Header) time.Duration {
	n, err := strconv.ParseUint(h.Get("Retry-After"), 10, 16)
	if err != nil {
		return 0
	}
	return time.Duration(n) * time.Second
}

// sleep reports whether it slept to the end.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
