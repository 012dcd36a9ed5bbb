package stream

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/runledger/runledger/evidence"
)

const (
	testSecret  = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
	otherSecret = "whsec_ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA="
	testToken   = "Splunk secret-token-4711"
)

func writeFile(t testing.TB, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// receiver is a SIEM behind TLS.
type receiver struct {
	*httptest.Server
	mu     sync.Mutex
	bodies [][]byte
	heads  []http.Header
	answer func(w http.ResponseWriter, r *http.Request) bool // false: it has answered
}

func newReceiver(t testing.TB) *receiver {
	rc := &receiver{}
	rc.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		rc.mu.Lock()
		defer rc.mu.Unlock()
		if rc.answer != nil && !rc.answer(w, r) || err != nil {
			return
		}
		rc.bodies, rc.heads = append(rc.bodies, b), append(rc.heads, r.Header.Clone())
		w.WriteHeader(http.StatusNoContent)
	}))
	rc.Config.ErrorLog = log.New(io.Discard, "", 0) // of handshakes that are to fail
	rc.StartTLS()
	t.Cleanup(rc.Close)
	return rc
}

func (rc *receiver) set(answer func(w http.ResponseWriter, r *http.Request) bool) {
	rc.mu.Lock()
	defer rc.mu.Unlock()
	rc.answer = answer
}

func (rc *receiver) target(t testing.TB) *Webhook {
	ca := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: rc.Certificate().Raw}))
	return &Webhook{
		URL: rc.URL + "/in?token=in-the-address", SecretFile: writeFile(t, "secret", testSecret+"\n"+otherSecret+"\n"),
		Headers: map[string]string{"X-Source": "runledger"}, HeaderFiles: map[string]string{"Authorization": writeFile(t, "token", testToken+"\n")},
		CAFile: writeFile(t, "ca.pem", ca),
	}
}

// ids returns the ids of all events that were taken, in order.
func (rc *receiver) ids(t testing.TB) (out []string) {
	rc.mu.Lock()
	defer rc.mu.Unlock()
	for _, b := range rc.bodies {
		var list []struct {
			ID string `json:"id"`
		}
		if err := json.Unmarshal(b, &list); err != nil {
			t.Fatalf("%v: %s", err, b)
		}
		for _, e := range list {
			out = append(out, e.ID)
		}
	}
	return out
}

var testBatch = &batch{
	stream: "siem", format: FormatOCSF, id: "msg_1",
	events: []event{{ID: "a", Body: []byte(`{"n":1}`)}, {ID: "b", Body: []byte(`{"n":2}`)}},
}

func TestWebhookSigns(t *testing.T) {
	rc := newReceiver(t)
	w := must(newWebhook(rc.target(t)))
	w.now = func() time.Time { return time.Unix(1_800_000_000, 0) }
	if err := w.deliver(t.Context(), testBatch); err != nil {
		t.Fatal(err)
	}
	if got := string(rc.bodies[0]); got != `[{"n":1},{"n":2}]` {
		t.Errorf("body %s", got)
	}
	h := rc.heads[0]
	for name, want := range map[string]string{
		"Content-Type": "application/json", "Webhook-Id": "msg_1", "Webhook-Timestamp": "1800000000", "X-Source": "runledger", "Authorization": testToken,
	} {
		if h.Get(name) != want {
			t.Errorf("%s is %q, want %q", name, h.Get(name), want)
		}
	}
	// Computed here as a receiver does.
	var want []string
	for _, secret := range []string{testSecret, otherSecret} {
		key := must(base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_")))
		mac := hmac.New(sha256.New, key)
		_, _ = mac.Write([]byte("msg_1.1800000000." + string(rc.bodies[0])))
		want = append(want, "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	}
	if got := h.Get("Webhook-Signature"); got != strings.Join(want, " ") {
		t.Errorf("signature %q, want %q", got, want)
	}
	cloudy := *testBatch
	cloudy.format = FormatCloudEvents
	if err := w.deliver(t.Context(), &cloudy); err != nil || rc.heads[1].Get("Content-Type") != "application/cloudevents-batch+json" {
		t.Errorf("content type %q, %v", rc.heads[1].Get("Content-Type"), err)
	}
}

// The example of the Standard Webhooks specification.
func TestWebhookVector(t *testing.T) {
	secrets := must(readSecrets(writeFile(t, "s", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")))
	got := sign(secrets, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", []byte(`{"test": 2432232314}`))
	if want := "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestWebhookAnswers(t *testing.T) {
	rc := newReceiver(t)
	elsewhere := newReceiver(t)
	w := must(newWebhook(rc.target(t)))
	for code, want := range map[int]string{
		200: "", 202: "", 204: "", 301: "refused", 302: "refused", 307: "refused", 400: "split", 401: "refused", 403: "refused",
		404: "refused", 408: "busy", 409: "split", 410: "refused", 413: "split", 422: "split", 429: "busy", 500: "busy", 503: "busy",
	} {
		rc.set(func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Location", elsewhere.URL)
			w.Header().Set("Retry-After", "77")
			w.WriteHeader(code)
			_, _ = io.WriteString(w, "an answer with a secret in it")
			return false
		})
		err := w.deliver(t.Context(), testBatch)
		got := ""
		var refused *refusedError
		var busy *busyError
		switch {
		case errors.As(err, &refused) && refused.split:
			got = "split"
		case errors.As(err, &refused):
			got = "refused"
		case errors.As(err, &busy):
			got = "busy"
			if busy.after != 77*time.Second {
				t.Errorf("%d: again after %s", code, busy.after)
			}
		case err != nil:
			got = err.Error()
		}
		if got != want {
			t.Errorf("%d: %s (%v), want %s", code, got, err, want)
		}
		if err != nil && (strings.Contains(err.Error(), "an answer") || strings.Contains(err.Error(), "in-the-address")) {
			t.Errorf("%v shows too much", err)
		}
	}
	if len(elsewhere.bodies) != 0 {
		t.Error("a redirect was followed")
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	for text, want := range map[string]time.Duration{
		"": 0, "5": 5 * time.Second, "-5": 0, "soon": 0, "99999999999999": 0, "86400": maxRetryAfter,
		now.Add(time.Minute).UTC().Format(http.TimeFormat):  time.Minute,
		now.Add(-time.Minute).UTC().Format(http.TimeFormat): 0,
	} {
		if got := retryAfter(text, now); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

func TestBackoff(t *testing.T) {
	now := time.Now()
	b := backoff{first: time.Second}
	for n := range 40 {
		b.failed(now, errors.New("down"))
		full := min(time.Second<<min(n, 20), maxPause)
		if got := b.until.Sub(now); got < full/2 || got > full {
			t.Fatalf("failure %d: pause %s, want %s to %s", n+1, got, full/2, full)
		}
	}
	b.worked()
	b.failed(now, &busyError{after: 100 * time.Second})
	if got := b.until.Sub(now); got != 100*time.Second {
		t.Errorf("pause %s", got)
	}
	b.failed(now, &busyError{after: time.Hour})
	if got := b.until.Sub(now); got != maxPause {
		t.Errorf("pause %s: a sink may not stop a stream for long", got)
	}
}

// A certificate that does not go back to the given ones is no sink.
func TestWebhookTLS(t *testing.T) {
	rc := newReceiver(t)
	target := rc.target(t)
	target.CAFile = ""
	if err := must(newWebhook(target)).deliver(t.Context(), testBatch); err == nil {
		t.Error("an unknown certificate is taken")
	} else if strings.Contains(err.Error(), "in-the-address") {
		t.Errorf("%v shows the address", err)
	}
	target.CAFile = writeFile(t, "none.pem", "no certificate")
	if _, err := newWebhook(target); !errors.Is(err, evidence.ErrInvalid) {
		t.Errorf("no certificate: %v", err)
	}
}

func TestSecretFiles(t *testing.T) {
	rc := newReceiver(t)
	for name, text := range map[string]string{
		"empty": "", "no prefix": strings.TrimPrefix(testSecret, "whsec_"), "no base64": "whsec_!!", "short": "whsec_c2hvcnQ=",
		"long":  "whsec_" + base64.StdEncoding.EncodeToString(make([]byte, 65)),
		"spare": "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZW5=", "five": strings.Repeat(testSecret+"\n", 5), "huge": strings.Repeat("x", maxSecretFile+1),
	} {
		target := rc.target(t)
		target.SecretFile = writeFile(t, "secret", text)
		_, err := newWebhook(target)
		if !errors.Is(err, evidence.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
		if len(text) > 8 && err != nil && strings.Contains(err.Error(), text[6:]) {
			t.Errorf("%s: %v shows the secret", name, err)
		}
	}
	for name, text := range map[string]string{"empty": " \n", "two lines": "a\nb"} {
		target := rc.target(t)
		target.HeaderFiles["Authorization"] = writeFile(t, "token", text)
		if _, err := newWebhook(target); !errors.Is(err, evidence.ErrInvalid) {
			t.Errorf("header file, %s: %v", name, err)
		}
	}
	target := rc.target(t)
	target.SecretFile = filepath.Join(t.TempDir(), "none")
	if _, err := newWebhook(target); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no secret file: %v", err)
	}
}

// End to end: a ledger, TLS, a sink that goes away and comes back, a process that
// ends in the middle. Everything comes at least once and in order, every request is
// signed, and no secret is in the log.
func TestEndToEnd(t *testing.T) {
	r := newRig(t)
	rc := newReceiver(t)
	file := &File{Streams: []Stream{*systemStream(FromStart)}}
	file.Streams[0].To.Webhook = rc.target(t)
	newStreamer := func() *Streamer {
		cfg := *r.config()
		cfg.File = file
		s, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	want := r.systems("acme", 150)
	for round := range 4 {
		s := newStreamer()
		served := 0
		rc.set(func(w http.ResponseWriter, _ *http.Request) bool {
			if served++; served > 1 {
				w.WriteHeader([]int{500, 429, 401, 400}[round])
				return false
			}
			return true
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); s.Run(ctx) }()
		want = append(want, r.systems("acme", 120)...)
		eventually(t, "requests", func() bool { rc.mu.Lock(); defer rc.mu.Unlock(); return served > 3 })
		cancel()
		<-done
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	// Now there is nobody at the address at all, and then there is.
	s := newStreamer()
	defer s.Close()
	rc.set(func(w http.ResponseWriter, _ *http.Request) bool {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			_ = conn.Close()
		}
		return false
	})
	r.run(s.Run)
	eventually(t, "the log says so", func() bool { return strings.Contains(r.logs.String(), "the sink does not take events") })
	rc.set(nil)
	eventually(t, "all", func() bool { return holds(rc.ids(t), want) })
	seen := map[string]int{}
	for i, id := range rc.ids(t) {
		if _, ok := seen[id]; !ok {
			seen[id] = i
		}
	}
	if !slices.IsSortedFunc(want, func(a, b string) int { return seen[a] - seen[b] }) {
		t.Error("the first appearances are not in the order of the log")
	}
	for _, h := range rc.heads {
		if len(strings.Fields(h.Get("Webhook-Signature"))) != 2 || !strings.HasPrefix(h.Get("Webhook-Id"), "msg_") {
			t.Fatalf("headers %v", h)
		}
	}
	noSecrets(t, r.logs.String())
}

func noSecrets(t *testing.T, text string) {
	t.Helper()
	for _, secret := range []string{testSecret[6:], otherSecret[6:], "secret-token", "in-the-address"} {
		if strings.Contains(text, secret) {
			t.Errorf("the log holds %q", secret)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	r := newRig(t)
	if _, err := New(Config{}); err == nil {
		t.Error("a Streamer of nothing")
	}
	for name, to := range map[string]Target{
		"webhook": {Webhook: &Webhook{URL: "https://siem.example", SecretFile: "/nowhere/secret"}},
		"file":    {File: &LogFile{Path: filepath.Join(t.TempDir(), "none", "x"), MaxBytes: defaultMaxBytes, Keep: 1}},
		"syslog":  {Syslog: &Syslog{Address: "siem.example:6514", Network: "tls", Facility: "audit", CAFile: "/nowhere/ca"}},
	} {
		s := systemStream(FromNow)
		s.To = to
		for _, file := range []*File{{Streams: []Stream{*s}}, {Alarms: []Alarm{{Name: "duty", To: to}}}} {
			cfg := *r.config()
			cfg.File = file
			if _, err := New(cfg); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}
