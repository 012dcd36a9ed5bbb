package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/runledger/runledger/evidence"
)

// Bounds of what is read of an answer.
const (
	maxAnswer  = 64 << 20
	maxProblem = 1 << 20
)

// maxRetryAfter bounds what a Retry-After can ask for, so that a wrong header
// stops nobody for days.
const maxRetryAfter = 10 * time.Minute

const endless = -1

// request is one call of the API.
type request struct {
	method, path string // path with query
	body         []byte // JSON, or nil
	header       http.Header
	// retries is how often a failed try is repeated, or endless.
	retries int
	// accept reads a 2xx answer. Its error means that the answer is broken,
	// which is repeated as a failed connection is.
	accept func(status int, header http.Header, body []byte) error
}

// do tries until there is an answer that counts. The error is an *Error, or
// wraps evidence.ErrUnavailable where no answer came, or the context's error.
func (c *Client) do(ctx context.Context, rq request) error {
	return c.repeat(ctx, rq, func() error { return c.try(ctx, rq) })
}

func (c *Client) repeat(ctx context.Context, rq request, once func() error) error {
	for try := 0; ; try++ {
		err := once()
		if err == nil || !errors.Is(err, evidence.ErrUnavailable) {
			return err
		}
		if ctx.Err() != nil {
			return ended(ctx, err)
		}
		if rq.retries != endless && try >= rq.retries {
			return err
		}
		wait := max(c.backoff(try), retryAfterOf(err))
		c.cfg.Logger.WarnContext(ctx, "runledger: try failed", "path", rq.path, "try", try+1, "wait", wait, "err", err)
		if !sleep(ctx, wait) {
			return ended(ctx, err)
		}
	}
}

// ended is the error of a context that ended between or within tries. It wraps
// the context's error only: the caller has given up, not the server.
func ended(ctx context.Context, last error) error {
	return fmt.Errorf("%w (last try: %s)", context.Cause(ctx), last.Error())
}

// backoff returns the pause after try number n, counted from 0: twice the one
// before, and at random up to half less, so that clients that failed together
// do not come back together.
func (c *Client) backoff(n int) time.Duration {
	d := c.cfg.MinBackoff
	for ; n > 0 && d < c.cfg.MaxBackoff; n-- {
		d *= 2
	}
	d = min(d, c.cfg.MaxBackoff)
	return d - rand.N(d/2+1)
}

// sleep reports whether it slept to the end, the context being alive.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

func (c *Client) try(ctx context.Context, rq request) error {
	tryCtx, cancel := context.WithTimeout(ctx, c.cfg.TryTimeout)
	defer cancel()
	resp, err := c.answered(tryCtx, rq)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err == nil && len(body) > maxAnswer {
		err = fmt.Errorf("over %d MiB", maxAnswer>>20)
	}
	if err == nil {
		err = rq.accept(resp.StatusCode, resp.Header, body)
	}
	if err != nil {
		return fmt.Errorf("%w: broken answer: %w", evidence.ErrUnavailable, err)
	}
	return nil
}

// answered sends a request once and returns a 2xx answer, whose body the caller
// closes.
func (c *Client) answered(ctx context.Context, rq request) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, rq.method, c.base+rq.path, bytes.NewReader(rq.body))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", rq.path, err)
	}
	req.Header.Set("Accept", "application/json, application/problem+json")
	for name, values := range rq.header {
		req.Header[name] = values
	}
	req.Header.Set("User-Agent", c.cfg.UserAgent)
	if rq.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.cfg.Key != "" {
		req.Header.Set("Authorization", "Bearer "+c.cfg.Key)
	}
	if c.cfg.Tenant != "" {
		req.Header.Set("X-Tenant-ID", c.cfg.Tenant)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", evidence.ErrUnavailable, err)
	}
	if resp.StatusCode/100 != 2 {
		defer resp.Body.Close()
		return nil, problem(resp)
	}
	return resp, nil
}

// problem reads an RFC 9457 answer. What stands between client and server may
// answer anything else, which is kept as the detail.
func problem(resp *http.Response) error {
	e := &Error{Status: resp.StatusCode, RetryAfter: parseRetryAfter(resp.Header.Get("Retry-After"), time.Now())}
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxProblem)) // cut off: the status says enough
	var p struct {
		Code, Title, Detail, Field string
		Errors                     []RecordError
	}
	if json.Unmarshal(body, &p) == nil && p.Code != "" {
		e.Code, e.Detail, e.Field, e.Records = p.Code, p.Detail, p.Field, p.Errors
		if e.Detail == "" {
			e.Detail = p.Title
		}
	} else {
		e.Detail = firstLine(body)
	}
	if e.Detail == "" {
		e.Detail = http.StatusText(e.Status)
	}
	// A status that may be repeated is, whatever the code; and a code does not
	// make a final status one that may be repeated.
	if repeat := errors.Is(byStatus[e.Status], evidence.ErrUnavailable); repeat != errors.Is(e, evidence.ErrUnavailable) {
		e.Code = ""
	}
	return e
}

func firstLine(body []byte) string {
	line, _, _ := bytes.Cut(bytes.TrimSpace(body), []byte("\n"))
	line = bytes.ToValidUTF8(line[:min(len(line), 200)], nil)
	return strings.TrimSpace(string(line))
}

// parseRetryAfter reads the header (RFC 9110 section 10.2.3): seconds, or a
// date. What it cannot read is 0.
func parseRetryAfter(s string, now time.Time) time.Duration {
	if n, err := strconv.ParseUint(s, 10, 32); err == nil {
		return min(time.Duration(n)*time.Second, maxRetryAfter)
	}
	if t, err := http.ParseTime(s); err == nil {
		return min(max(t.Sub(now), 0), maxRetryAfter)
	}
	return 0
}

func retryAfterOf(err error) time.Duration {
	if e := (*Error)(nil); errors.As(err, &e) {
		return e.RetryAfter
	}
	return 0
}
