package oidc

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

// maxDocument bounds what a provider answers, in bytes.
const maxDocument = 1 << 20

// maxKept bounds how many URLs are kept: a provider has two.
const maxKept = 8

// keeper is a transport that asks for a URL at most once in a while, whoever
// wants it, and gives the same answer or failure meanwhile.
type keeper struct {
	base      http.RoundTripper
	allowHTTP bool
	now       func() time.Time
	every     time.Duration

	mu   sync.Mutex // held while the provider is asked: one question at a time
	kept map[string]*kept
}

type kept struct {
	at     time.Time
	header http.Header
	body   []byte
	err    error
}

// RoundTrip implements http.RoundTripper.
func (k *keeper) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method != http.MethodGet {
		return nil, errors.New("only GET is sent to an identity provider")
	}
	if err := mayAsk(r.URL, k.allowHTTP); err != nil {
		return nil, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	a, now := k.kept[r.URL.String()], k.now()
	if age := k.age(a, now); a == nil || age < 0 || age >= k.every {
		a = k.ask(r)
		a.at = now
		if len(k.kept) >= maxKept {
			clear(k.kept)
		}
		k.kept[r.URL.String()] = a
	}
	if a.err != nil {
		return nil, a.err
	}
	return &http.Response{
		Status: "200 OK", StatusCode: http.StatusOK, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: a.header.Clone(), Body: io.NopCloser(bytes.NewReader(a.body)), ContentLength: int64(len(a.body)), Request: r,
	}, nil
}

// age is negative after the clock was put back.
func (k *keeper) age(a *kept, now time.Time) time.Duration {
	if a == nil {
		return 0
	}
	return now.Sub(a.at)
}

// ask asks the provider. Anything but 200 is a failure.
func (k *keeper) ask(r *http.Request) *kept {
	resp, err := k.base.RoundTrip(r)
	if err != nil {
		return &kept{err: err}
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxDocument+1))
	switch {
	case err != nil:
		return &kept{err: err}
	case resp.StatusCode != http.StatusOK:
		return &kept{err: fmt.Errorf("the provider answers %s with %d", r.URL.Path, resp.StatusCode)}
	case len(body) > maxDocument:
		return &kept{err: fmt.Errorf("the provider answers %s with over %d KiB", r.URL.Path, maxDocument>>10)}
	}
	return &kept{header: resp.Header, body: body}
}
