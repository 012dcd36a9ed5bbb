package registry

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// Bounds of a request.
const (
	maxAnswer      = 16 << 20         // a page of the facade has far less
	requestTimeout = 15 * time.Second // longer than the limit of INV-L0-006, which is then seen
)

// Pauses between tries.
const (
	firstPause   = 50 * time.Millisecond
	longestPause = 500 * time.Millisecond
	maxAfter     = 5 * time.Second // of a Retry-After
)

// reply is an answer of the server, or that there was none.
type reply struct {
	err         error // no answer; all else but took is then zero
	status      int
	contentType string
	sum         string // SHA-256 of the body, in hex
	size        int64
	took        time.Duration // until the body was there
	retryAfter  time.Duration
	empty       bool  // nothing but white space
	value       any   // of the body; numbers are json.Number
	notJSON     error // then there is no value
}

// ask makes one request. The answer is read whole, and redirects are not followed.
// Neither error nor value holds a key.
func (r *runner) ask(ctx context.Context, method, target string, key Key, body []byte) *reply {
	began := time.Now()
	tryCtx, cancel := context.WithTimeout(ctx, r.cfg.timeout)
	defer cancel()
	a, err := r.answered(tryCtx, method, target, key, body)
	if err != nil {
		if tryCtx.Err() != nil && ctx.Err() == nil {
			err = fmt.Errorf("none within %s", r.cfg.timeout)
		}
		// What net/http says begins with the whole URL.
		if ue := (*url.Error)(nil); errors.As(err, &ue) {
			err = ue.Err
		}
		a = &reply{err: errors.New(r.hide(err.Error()))}
	}
	a.took = time.Since(began)
	r.cfg.Logger.DebugContext(ctx, "registry: asked", "method", method, "target", target, "status", a.status, "took", a.took)
	return a
}

func (r *runner) answered(ctx context.Context, method, target string, key Key, body []byte) (*reply, error) {
	req, err := http.NewRequestWithContext(ctx, method, r.base+target, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json, application/problem+json")
	req.Header.Set("User-Agent", strings.TrimSpace("runledger-registry "+r.cfg.Program))
	if body != nil {
		req.Header.Set("Content-Type", typeJSON)
	}
	if key.Secret != "" {
		req.Header.Set("Authorization", "Bearer "+key.Secret)
	}
	resp, err := r.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxAnswer {
		return nil, fmt.Errorf("one of over %d MiB", maxAnswer>>20)
	}
	sum := sha256.Sum256(text)
	a := &reply{
		status: resp.StatusCode, contentType: r.hide(resp.Header.Get("Content-Type")), sum: hex.EncodeToString(sum[:]), size: int64(len(text)),
		empty: len(bytes.TrimSpace(text)) == 0,
	}
	if s, err := strconv.ParseUint(resp.Header.Get("Retry-After"), 10, 16); err == nil {
		a.retryAfter = min(time.Duration(s)*time.Second, maxAfter)
	}
	a.value, a.notJSON = parseAnswer(r.hide(string(text)))
	return a, nil
}

// parseAnswer decodes a text of JSON, numbers as json.Number. An object in which a name
// stands twice says two things, of which a reader takes one: it is no JSON here
// (RFC 7493), and neither is text that is no UTF-8.
func parseAnswer(text string) (any, error) {
	v, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	if err != nil {
		return nil, err
	}
	if !jsontext.Value(text).IsValid() {
		return nil, errors.New("a name stands twice in an object, or the text is no UTF-8")
	}
	return v, nil
}

// hide takes the keys out of a text: a server may send back what it was sent.
func (r *runner) hide(s string) string {
	for _, key := range []Key{r.cfg.Producer, r.cfg.Observer} {
		if key.Secret != "" {
			s = strings.ReplaceAll(s, key.Secret, "[key]")
		}
	}
	return s
}

// says returns what an answer that is no success says of itself, for people.
func (a *reply) says() string {
	out := strconv.Itoa(a.status)
	m, _ := a.value.(map[string]any)
	for _, name := range []string{"code", "title", "detail", "message"} { // RFC 9457, and google.rpc.Status
		if s, ok := m[name].(string); ok && s != "" && (name != "title" || m["detail"] == nil) {
			out += ": " + s
		}
	}
	return cut(out)
}

// noRoute reports whether a 404 is about the route, and not about what it would show.
// Every route of the API answers with a problem.
func (a *reply) noRoute() bool {
	if a.status != http.StatusNotFound {
		return false
	}
	m, _ := a.value.(map[string]any)
	code, _ := m["code"].(string)
	detail, _ := m["detail"].(string)
	return code == "" || strings.Contains(detail, "no such route")
}

// passing reports whether another try may well be answered otherwise.
func (a *reply) passing() bool {
	return a.err != nil || a.status == http.StatusTooManyRequests || a.status >= http.StatusInternalServerError
}

// again calls try until it is done or the wait is over, with a pause that grows, or is
// as long as try asks for. The last try is at the end of the wait. The error is the
// context's.
func again(ctx context.Context, wait time.Duration, try func() (done bool, atLeast time.Duration)) error {
	end := time.Now().Add(wait)
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		done, atLeast := try()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		left := time.Until(end)
		if done || left <= 0 {
			return nil
		}
		t := time.NewTimer(min(max(pause, atLeast), left))
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return context.Cause(ctx)
		}
	}
}
