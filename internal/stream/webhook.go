package stream

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

const (
	requestTime   = 20 * time.Second
	maxAnswerRead = 64 << 10
	maxSecretFile = 64 << 10
	maxSecrets    = 4
	maxRetryAfter = time.Hour
)

// webhook posts a batch as one JSON array, signed as Standard Webhooks 1.0 says.
type webhook struct {
	url     string
	host    string
	headers http.Header
	secrets [][]byte
	client  *http.Client
	now     func() time.Time
}

func newWebhook(w *Webhook) (*webhook, error) {
	u, err := url.Parse(w.URL)
	if err != nil {
		return nil, invalid("webhook.url is no URL")
	}
	out := &webhook{url: w.URL, host: u.Host, headers: http.Header{}, now: time.Now}
	if out.secrets, err = readSecrets(w.SecretFile); err != nil {
		return nil, err
	}
	for name, value := range w.Headers {
		out.headers.Set(name, value)
	}
	for name, path := range w.HeaderFiles {
		value, err := readSecretFile(path)
		if err != nil {
			return nil, err
		}
		if value = strings.TrimSpace(value); value == "" || !validHeaderValue(value) {
			return nil, invalid("%s: it holds no value of a header", path)
		}
		out.headers.Set(name, value)
	}
	roots, err := readRoots(w.CAFile)
	if err != nil {
		return nil, err
	}
	out.client = &http.Client{
		Timeout: requestTime,
		// An answer from elsewhere is not the sink's, and evidence is not sent on to
		// where the sink says.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			DialContext:            (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
			TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
			TLSHandshakeTimeout:    10 * time.Second,
			ForceAttemptHTTP2:      true,
			MaxIdleConns:           2,
			IdleConnTimeout:        90 * time.Second,
			MaxResponseHeaderBytes: 64 << 10,
		},
	}
	return out, nil
}

// readSecretFile reads a file that holds a secret.
func readSecretFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSecretFile+1))
	if err != nil {
		return "", err
	}
	if len(b) > maxSecretFile {
		return "", invalid("%s: it has more than %d bytes", path, maxSecretFile)
	}
	return string(b), nil
}

// readSecrets reads signing secrets, one a line: "whsec_" and the base64 of 24 to 64
// bytes, as Standard Webhooks asks for. Errors show none of it.
func readSecrets(path string) (list [][]byte, err error) {
	text, err := readSecretFile(path)
	if err != nil {
		return nil, err
	}
	for n, line := range strings.Split(text, "\n") {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		encoded, ok := strings.CutPrefix(line, "whsec_")
		secret, err := base64.StdEncoding.Strict().DecodeString(encoded)
		if !ok || err != nil || len(secret) < 24 || len(secret) > 64 {
			return nil, invalid("%s: line %d is not whsec_ and the base64 of 24 to 64 bytes", path, n+1)
		}
		list = append(list, secret)
	}
	if len(list) == 0 || len(list) > maxSecrets {
		return nil, invalid("%s: it holds %d secrets: 1 to %d, one a line", path, len(list), maxSecrets)
	}
	return list, nil
}

// readRoots reads certificates; nil, the system's, where there is no file.
func readRoots(path string) (*x509.CertPool, error) {
	if path == "" {
		return nil, nil
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(b) {
		return nil, invalid("%s: it holds no certificate in PEM", path)
	}
	return pool, nil
}

// contentTypes of a JSON array of events.
var contentTypes = map[string]string{
	FormatOCSF:        "application/json",
	FormatCloudEvents: "application/cloudevents-batch+json",
}

// body is the JSON array of a batch's events.
func (b *batch) body() []byte {
	size := 2
	for i := range b.events {
		size += len(b.events[i].Body) + 1
	}
	out := make([]byte, 0, size)
	out = append(out, '[')
	for i := range b.events {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, b.events[i].Body...)
	}
	return append(out, ']')
}

// deliver implements sink: only 2xx confirms.
func (w *webhook) deliver(ctx context.Context, b *batch) error {
	body := b.body()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url, bytes.NewReader(body))
	if err != nil {
		return w.plain(err)
	}
	req.Header = w.headers.Clone()
	req.Header.Set("Content-Type", contentTypes[b.format])
	req.Header.Set("Webhook-Id", b.id)
	at := strconv.FormatInt(w.now().Unix(), 10)
	req.Header.Set("Webhook-Timestamp", at)
	req.Header.Set("Webhook-Signature", sign(w.secrets, b.id, at, body))
	resp, err := w.client.Do(req)
	if err != nil {
		return w.plain(err)
	}
	defer resp.Body.Close()
	// Read, so that the connection can be used again; what it says is not trusted.
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, maxAnswerRead))
	return w.judge(resp)
}

// judge says what an answer means.
func (w *webhook) judge(resp *http.Response) error {
	code := resp.StatusCode
	err := fmt.Errorf("%s answered %d", w.host, code)
	switch {
	case code >= 200 && code < 300:
		return nil
	case code == http.StatusTooManyRequests, code == http.StatusRequestTimeout, code >= 500:
		return &busyError{after: retryAfter(resp.Header.Get("Retry-After"), w.now()), err: err}
	// Not about what was sent, but about who sends it and where to.
	case code == http.StatusUnauthorized, code == http.StatusForbidden, code == http.StatusNotFound,
		code == http.StatusMethodNotAllowed, code == http.StatusProxyAuthRequired, code == http.StatusGone, code < 400:
		return &refusedError{err: err}
	}
	return &refusedError{split: true, err: err}
}

// retryAfter reads seconds or a date.
func retryAfter(v string, now time.Time) time.Duration {
	if n, err := strconv.ParseUint(v, 10, 31); err == nil {
		return min(time.Duration(n)*time.Second, maxRetryAfter)
	}
	if t, err := http.ParseTime(v); err == nil {
		return min(max(t.Sub(now), 0), maxRetryAfter)
	}
	return 0
}

// plain takes the URL out of an error: it may hold a token.
func (w *webhook) plain(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	return fmt.Errorf("%s: %w", w.host, err)
}

// sign makes the value of webhook-signature: one signature for each secret.
func sign(secrets [][]byte, id, at string, body []byte) string {
	var out []string
	for _, secret := range secrets {
		mac := hmac.New(sha256.New, secret)
		mac.Write([]byte(id + "." + at + "."))
		mac.Write(body)
		out = append(out, "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	}
	return strings.Join(out, " ")
}

func (w *webhook) Close() error {
	w.client.CloseIdleConnections()
	return nil
}
