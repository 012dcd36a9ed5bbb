package control_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/runledger/runledger/client"
	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/access"
	"github.com/runledger/runledger/internal/control"
	"github.com/runledger/runledger/internal/export"
)

// reads answers reads with f over a ledger with the tenant acme: through a
// socket, and within the process.
func reads(t *testing.T, f control.ReadFunc, test func(t *testing.T, c *control.Client)) {
	handler := func(t *testing.T) http.Handler {
		_, l := newHandler(t)
		return control.Handler(control.Config{Ledger: l, Exporter: export.New(export.Config{Ledger: l, SpoolDir: t.TempDir()}), Read: f})
	}
	t.Run("socket", func(t *testing.T) {
		dir := t.TempDir()
		s, err := control.Listen(dir, handler(t), quiet)
		if err != nil {
			t.Fatal(err)
		}
		c, err := control.Dial(context.Background(), dir)
		if err != nil {
			t.Fatal(err)
		}
		test(t, c)
		if err := s.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	t.Run("local", func(t *testing.T) { test(t, control.Local(handler(t))) })
}

func get(t *testing.T, c *control.Client, tenant, path string) (status int, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://anything"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.Reader(tenant).RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// TestRead: the hook gets what was asked and by whom, byte for byte, and its
// answer comes back as it is.
func TestRead(t *testing.T) {
	const path = "/api/v1/logs/llm-runs/order%2F42%20%2e%2E/trace?cursor=a%2Bb&limit=5"
	reads(t, func(_ context.Context, tenant string, by access.Actor, pathAndQuery string) (int, string, []byte, error) {
		if tenant != "acme" || pathAndQuery != path {
			t.Errorf("asked %s of %s", pathAndQuery, tenant)
		}
		if want := (access.Actor{Kind: access.Human, ID: "cli:" + control.CurrentUser().Name}); by != want {
			t.Errorf("asked by %v, want %v", by, want)
		}
		return http.StatusTeapot, "text/verbatim", []byte("{ \"as\": \"it is\" }\n\n"), nil
	}, func(t *testing.T, c *control.Client) {
		status, body := get(t, c, "acme", path)
		if status != http.StatusTeapot || body != "{ \"as\": \"it is\" }\n\n" {
			t.Errorf("%d %q", status, body)
		}
	})
}

func TestReadRefused(t *testing.T) {
	calls := 0
	reads(t, func(context.Context, string, access.Actor, string) (int, string, []byte, error) {
		calls++
		return 0, "", nil, fmt.Errorf("record access: %w: disk full", evidence.ErrUnavailable)
	}, func(t *testing.T, c *control.Client) {
		calls = 0
		tests := []struct {
			name, tenant, path string
			status             int
			says               string
			calls              int
		}{
			{"not recorded", "acme", "/api/v1/logs/audit", 503, `"code":"unavailable"`, 1},
			{"unknown tenant", "nobody", "/api/v1/logs/audit", 404, `tenant \"nobody\": not found`, 0},
			{"another API", "acme", "/api/v1/apikeys", 422, `"field":"path"`, 0},
			{"the prefix alone", "acme", "/api/v1/logs", 422, `"field":"path"`, 0},
		}
		for _, test := range tests {
			calls = 0
			status, body := get(t, c, test.tenant, test.path)
			if status != test.status || !strings.Contains(body, test.says) || calls != test.calls {
				t.Errorf("%s: %d %s after %d calls", test.name, status, body, calls)
			}
		}
		// It only reads.
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://x/api/v1/logs/audit", strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		if resp, err := c.Reader("acme").RoundTrip(req); !errors.Is(err, evidence.ErrInvalid) {
			t.Error(err)
			if resp != nil {
				_ = resp.Body.Close()
			}
		}
	})
	// Without a hook.
	reads(t, nil, func(t *testing.T, c *control.Client) {
		if status, body := get(t, c, "acme", "/api/v1/logs/audit"); status != 503 || !strings.Contains(body, "nothing is read here") {
			t.Errorf("%d %s", status, body)
		}
	})
}

// TestReadClient: package client reads through it, with the errors it has over
// the network.
func TestReadClient(t *testing.T) {
	reads(t, func(_ context.Context, _ string, _ access.Actor, path string) (int, string, []byte, error) {
		if path != "/api/v1/logs/llm-runs/x/envelope" {
			t.Errorf("asked %s", path)
		}
		return 404, "application/problem+json", []byte(`{"code":"not_found","detail":"run x: not found","status":404}`), nil
	}, func(t *testing.T, c *control.Client) {
		cl, err := client.New(client.Config{BaseURL: "http://runledger", HTTPClient: &http.Client{Transport: c.Reader("acme")}})
		if err != nil {
			t.Fatal(err)
		}
		var e *client.Error
		if _, err := cl.Run(t.Context(), "x"); !errors.Is(err, evidence.ErrNotFound) || !errors.As(err, &e) || e.Detail != "run x: not found" {
			t.Error(err)
		}
	})
}
