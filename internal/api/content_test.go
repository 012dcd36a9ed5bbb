package api_test

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/runledger/runledger/answer"
	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/control"
	"github.com/runledger/runledger/internal/server"
)

// rig is a running server with the tenant acme.
type rig struct {
	url, dir string
}

func serve(t *testing.T) *rig {
	t.Helper()
	free, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listen := free.Addr().String()
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}
	r := &rig{url: "http://" + listen, dir: filepath.Join(t.TempDir(), "data")}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- server.Serve(ctx, server.ServeConfig{
			Config: server.Config{Data: r.dir, Logger: slog.New(slog.DiscardHandler)},
			Listen: listen, OTLPHTTP: server.Off, OTLPGRPC: server.Off,
		})
	}()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	for range 400 {
		if resp, err := r.do(t, http.MethodGet, "/readyz", "", nil, nil); err == nil && resp.status == http.StatusOK {
			c, err := control.Dial(t.Context(), r.dir)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := c.CreateTenant(t.Context(), evidence.SyntheticTenant); err != nil {
				t.Fatal(err)
			}
			return r
		}
		time.Sleep(25 * time.Millisecond)
	}
	t.Fatal("the server did not become ready")
	return nil
}

// key makes a key of the tenant of scenarios, where all roles are.
func (r *rig) key(t *testing.T, role string) string {
	t.Helper()
	c, err := control.Dial(t.Context(), r.dir)
	if err != nil {
		t.Fatal(err)
	}
	made, err := c.CreateAPIKey(t.Context(), control.NewAPIKey{TenantID: evidence.SyntheticTenant, Role: role, Expires: "1d"})
	if err != nil {
		t.Fatal(err)
	}
	return made.Secret.Reveal()
}

type response struct {
	status int
	header http.Header
	body   []byte
}

func (r *rig) do(t *testing.T, method, path, key string, header http.Header, body []byte) (response, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, r.url+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range header {
		req.Header[k] = v
	}
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return response{}, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return response{resp.StatusCode, resp.Header, b}, err
}

// TestContent: the bytes of an export are given out whole, or the one range that is
// asked for; and a signed link opens what its credential may see, and no more.
func TestContent(t *testing.T) {
	r := serve(t)
	producer, observer, operator := r.key(t, "producer"), r.key(t, "observer"), r.key(t, "operator")
	const source = `"occurred_at":"2026-11-23T15:00:00Z","correlation_id":"c","source_domain":"ACTIVITY","source_component":"test"`
	records := strings.Join([]string{
		`{"kind":"llm_run","run_id":"tried","execution_status":"SUCCEEDED","is_synthetic":true,"prompt":"tried-prompt",` + source + `}`,
		`{"kind":"llm_run","run_id":"real","execution_status":"SUCCEEDED","prompt":"real-prompt",` + source + `}`,
		`{"kind":"audit","id":"00000000-0000-4000-8000-000000000001","event_type":"PolicyEvaluated","entity_type":"POLICY_RULE","entity_id":"real-rule","actor_type":"SYSTEM","system_id":"s","action_reason":"real-reason",` + source + `}`,
	}, "\n")
	if resp, err := r.do(t, http.MethodPost, "/api/v1/ingest/records", producer, http.Header{"Content-Type": {"application/x-ndjson"}}, []byte(records)); err != nil || resp.status != http.StatusOK {
		t.Fatalf("%v %d %s", err, resp.status, resp.body)
	}
	for key, run := range map[string]string{observer: "tried", operator: "real"} {
		resp, err := r.do(t, http.MethodGet, "/api/v1/logs/llm-runs/"+run+"/export?format=json", key, nil, nil)
		if err != nil || resp.status != http.StatusOK {
			t.Fatalf("%v %d %s", err, resp.status, resp.body)
		}
		var b answer.EvidenceBundle
		if err := json.Unmarshal(resp.body, &b); err != nil {
			t.Fatal(err)
		}
		var whole []byte
		for _, tt := range []struct {
			header http.Header
			status int
			from   int64
			to     int64 // 0: the end
		}{
			{nil, http.StatusOK, 0, 0},
			{http.Header{"Range": {"bytes=0-9"}}, http.StatusPartialContent, 0, 10},
			{http.Header{"Range": {"bytes=20-"}}, http.StatusPartialContent, 20, 0},
			{http.Header{"Range": {"bytes=0-9"}, "If-Range": {`"` + b.Checksum + `"`}}, http.StatusPartialContent, 0, 10},
			{http.Header{"Range": {"bytes=0-9"}, "If-Range": {`"x"`}}, http.StatusOK, 0, 0},
			{http.Header{"Range": {"bytes=0-999,1001-2000"}}, http.StatusOK, 0, 0},
			{http.Header{"Range": {"bytes=99999999-"}}, http.StatusRequestedRangeNotSatisfiable, 0, 0},
			{http.Header{"If-None-Match": {"*"}}, http.StatusOK, 0, 0},
			{http.Header{"If-Match": {`"x"`}}, http.StatusOK, 0, 0},
			{http.Header{"If-Modified-Since": {"Mon, 02 Jan 2040 15:04:05 GMT"}}, http.StatusOK, 0, 0},
		} {
			for path, key := range map[string]string{*b.DownloadURL: key, *b.SignedURL: ""} {
				resp, err := r.do(t, http.MethodGet, path, key, tt.header, nil)
				if err != nil || resp.status != tt.status {
					t.Errorf("%s %v: %d, %v", run, tt.header, resp.status, err)
				}
				switch {
				case tt.status == http.StatusRequestedRangeNotSatisfiable:
					continue
				case whole == nil:
					whole = resp.body
				}
				to := cmp.Or(tt.to, int64(len(whole)))
				if !bytes.Equal(resp.body, whole[tt.from:to]) {
					t.Errorf("%s %v: %d bytes, not %d to %d", run, tt.header, len(resp.body), tt.from, to)
				}
			}
		}
		if evidence.Checksum(evidence.Hash(sha256.Sum256(whole))) != b.Checksum {
			t.Errorf("%s: not the bytes that were described", run)
		}
		if run == "tried" && bytes.Contains(whole, []byte("real-")) {
			t.Error("who sees synthetic records only got others")
		}
		if !bytes.Contains(whole, []byte(run+"-prompt")) {
			t.Errorf("%s: its content is not there", run)
		}
		other := map[string]string{observer: operator, operator: observer}[key]
		if resp, err := r.do(t, http.MethodGet, *b.DownloadURL, other, nil, nil); err != nil || resp.status != http.StatusNotFound {
			t.Errorf("%s: to who does not see the run: %d %v", run, resp.status, err)
		}
	}
}
