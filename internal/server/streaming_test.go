package server_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/runledger/runledger/internal/server"
	"github.com/runledger/runledger/internal/stream"
)

// streamsFile is a configuration that writes into dir.
func streamsFile(t *testing.T, dir string) *stream.File {
	t.Helper()
	f, err := stream.Parse([]byte(`
streams:
  - name: siem
    tenants: "*"
    records: [audit, system]
    format: ocsf
    from: start
    to: {file: {path: "` + filepath.Join(dir, "siem.ndjson") + `"}}
alarms:
  - name: duty
    to: {file: {path: "` + filepath.Join(dir, "duty.ndjson") + `"}}
`))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// streamed returns the event codes of a tenant in a file of OCSF events.
func streamed(t *testing.T, path, tenant string) (codes []string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(b) {
		var e struct {
			Metadata struct {
				Tenant string `json:"tenant_uid"`
				Code   string `json:"event_code"`
			} `json:"metadata"`
		}
		if !bytes.HasSuffix(line, []byte("\n")) {
			break // it is being written
		}
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if e.Metadata.Tenant == tenant {
			codes = append(codes, e.Metadata.Code)
		}
	}
	return codes
}

func waitStreamed(t *testing.T, path, tenant, code string) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !slices.Contains(streamed(t, path, tenant), code); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s of %s did not come: %v", code, tenant, streamed(t, path, tenant))
		}
	}
}

// A server passes its records on, goes on where it was, and records which
// configuration of streams it runs with.
func TestStreaming(t *testing.T) {
	out := t.TempDir()
	file := streamsFile(t, out)
	siem := filepath.Join(out, "siem.ndjson")
	dir := filepath.Join(t.TempDir(), "data")
	r := serveChanged(t, dir, func(c *server.ServeConfig) { c.Streams = file })
	waitStreamed(t, siem, "system", "STARTUP")
	r.newKey(t, "acme")
	waitStreamed(t, siem, "acme", "API_KEY_CREATED")
	status, metrics := get(t, r.metrics)
	if status != 200 || !strings.Contains(metrics, `runledger_stream_events_total{stream="siem"}`) || !strings.Contains(metrics, `runledger_stream_blocked_tenants{stream="duty"} 0`) {
		t.Errorf("metrics: %d", status)
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	before := streamed(t, siem, "acme")
	// The next one begins where this one ended: with the stop of it.
	r = serveChanged(t, dir, func(c *server.ServeConfig) { c.Streams = file })
	waitStreamed(t, siem, "system", "SHUTDOWN")
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	if after := streamed(t, siem, "acme"); !slices.Equal(before, after) {
		t.Errorf("records came again after a stop in order: %v, then %v", before, after)
	}
	// Without it, that is a change of the configuration.
	r = serveChanged(t, dir, nil)
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(systemEvents(t, dir), func(e string) bool { return strings.Contains(e, "CONFIG_CHANGE") }) {
		t.Error("the change of streams is not recorded")
	}
}

// A sink that cannot be opened is a mistake of who starts the server.
func TestStreamingRefuses(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	err := server.Serve(context.Background(), server.ServeConfig{
		Config: server.Stored(t, server.Config{Data: dir, Logger: slog.New(slog.DiscardHandler)}),
		Listen: "127.0.0.1:0", OTLPHTTP: server.Off, OTLPGRPC: server.Off, Streams: streamsFile(t, filepath.Join(dir, "not", "there")),
	})
	if !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "stream siem") {
		t.Errorf("%v", err)
	}
	if events := systemEvents(t, dir); slices.ContainsFunc(events, func(e string) bool { return strings.Contains(e, "STARTUP") }) {
		t.Errorf("a start is recorded: %v", events)
	}
}
