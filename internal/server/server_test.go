package server_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/control"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/server"
	"github.com/runledger/runledger/internal/store"
	"github.com/runledger/runledger/internal/store/storerig"
)

// logLines gathers JSON log lines.
type logLines struct {
	mu    sync.Mutex
	lines []map[string]any
}

func (l *logLines) Write(b []byte) (int, error) {
	var m map[string]any
	if err := json.Unmarshal(b, &m); err != nil {
		return 0, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, m)
	return len(b), nil
}

// find returns a field of the first line with that message.
func (l *logLines) find(msg, field string) (string, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range l.lines {
		if line["msg"] == msg {
			s, ok := line[field].(string)
			return s, ok
		}
	}
	return "", false
}

// running is a server in this process.
type running struct {
	dir  string
	url  string // of the API
	otlp string // of OTLP/HTTP
	rpc  string // address of OTLP/gRPC
	// metrics is the URL of /metrics where it needs no credential.
	metrics string
	stop    func() error
	log     *logLines
}

func serve(t *testing.T, dir string, change ...func(*server.ServeConfig)) *running {
	t.Helper()
	r := &running{dir: dir, log: &logLines{}}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	cfg := server.Stored(t, server.Config{Data: dir, Version: "1.2.3", Logger: slog.New(slog.NewJSONHandler(r.log, nil))})
	c := server.ServeConfig{
		Config: cfg,
		Listen: "127.0.0.1:0", OTLPHTTP: "127.0.0.1:0", OTLPGRPC: "127.0.0.1:0", MetricsAddress: "127.0.0.1:0",
		RootQuiet: 300 * time.Millisecond, Quiet: time.Second, Idle: 2 * time.Second,
		Watch: ledger.WatchConfig{ScrubRate: -1},
	}
	for _, f := range change {
		f(&c)
	}
	go func() { done <- server.Serve(ctx, c) }()
	var once sync.Once
	var stopped error
	r.stop = func() error {
		once.Do(func() {
			cancel()
			stopped = <-done
		})
		return stopped
	}
	t.Cleanup(func() { _ = r.stop() })
	for range 400 {
		if addr, ok := r.log.find("ready", "listen"); ok {
			r.url = "http://" + addr
			r.rpc, _ = r.log.find("ready", "otlp_grpc")
			otlp, _ := r.log.find("ready", "otlp_http")
			r.otlp = "http://" + otlp
			metrics, _ := r.log.find("ready", "metrics")
			r.metrics = "http://" + metrics + "/metrics"
			return r
		}
		select {
		case err := <-done:
			t.Fatalf("server ended: %v", err)
		case <-time.After(25 * time.Millisecond):
		}
	}
	t.Fatal("server did not become ready")
	return nil
}

// newKey makes a tenant and a producer's key for it.
func (r *running) newKey(t *testing.T, tenant string) string {
	t.Helper()
	c, err := control.Dial(t.Context(), r.dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.CreateTenant(t.Context(), tenant); err != nil {
		t.Fatal(err)
	}
	made, err := c.CreateAPIKey(t.Context(), control.NewAPIKey{TenantID: tenant, Role: "producer"})
	if err != nil {
		t.Fatal(err)
	}
	return made.Secret.Reveal()
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	resp, err := http.Get(url)
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

// systemEvents returns component and event of the system log's records.
func systemEvents(t *testing.T, dir string) []string {
	t.Helper()
	d, err := server.Open(context.Background(), server.Stored(t, server.Config{Data: dir}))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	head, _, err := d.Ledger.PublishNow(context.Background(), evidence.SystemTenant, 1)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	err = d.Ledger.Records(context.Background(), evidence.SystemTenant, 1, 0, head.Size, func(r ledger.LogRecord) error {
		l := r.Leaf
		// Tenants see what runs below them, not who knocked at the door.
		own := slices.Contains([]string{"LOG_OPENED", "ACCESS_DENIED", "LIFECYCLE_ACKNOWLEDGED", "INTEGRITY_ANOMALY"}, l.Text("event_type"))
		if shared := l.Text("visibility") == "shared"; shared == own {
			t.Errorf("%s: shared %v", r.Raw, shared)
		}
		out = append(out, strings.TrimSpace(l.Text("component")+" "+l.Text("event_type")+" "+l.Text("version")))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestServe(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	r := serve(t, dir)
	for path, want := range map[string]struct {
		status int
		text   string
	}{
		"/healthz": {200, `"ok"`},
		"/readyz":  {200, `"ready"`},
		"/metrics": {401, `"code":"unauthenticated"`},
		"/":        {401, `"code":"unauthenticated"`},
	} {
		if status, body := get(t, r.url+path); status != want.status || !strings.Contains(body, want.text) {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	if status, body := get(t, r.metrics); status != 200 || !strings.Contains(body, "runledger_writable 1") {
		t.Errorf("%s: %d %s", r.metrics, status, body)
	}
	c, err := control.Dial(context.Background(), dir)
	if err != nil {
		t.Fatal(err)
	}
	if v, err := c.Version(context.Background()); err != nil || !v.Server || v.Version != "1.2.3" {
		t.Errorf("%+v %v", v, err)
	}
	// Continuous verification gets to the end of what there is.
	deadline := time.Now().Add(20 * time.Second)
	for {
		in, err := c.Integrity(context.Background(), evidence.SystemTenant)
		if err != nil {
			t.Fatal(err)
		}
		if in.Status == ledger.StatusVerified && in.VerifiedThrough == in.TreeSize {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%+v", in)
		}
		time.Sleep(20 * time.Millisecond)
	}
	// Nobody else gets in.
	if err := server.Serve(context.Background(), server.ServeConfig{Config: server.Stored(t, server.Config{Data: dir}), Listen: "127.0.0.1:0", OTLPHTTP: server.Off, OTLPGRPC: server.Off}); !errors.Is(err, store.ErrLocked) {
		t.Errorf("a second server: %v", err)
	}
	if _, err := server.Open(context.Background(), server.Stored(t, server.Config{Data: dir})); !errors.Is(err, store.ErrLocked) {
		t.Errorf("a command beside a server: %v", err)
	}
	if rep, err := server.VerifyLive(context.Background(), server.StoredLive(t, server.LiveConfig{Data: dir})); err != nil || !rep.OK() {
		t.Errorf("verification beside a server: %+v %v", rep, err)
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(filepath.Join(dir, control.SocketName)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is left: %v", err)
	}
	got := systemEvents(t, dir)
	migrations := slices.DeleteFunc(slices.Clone(got), func(s string) bool { return !strings.HasPrefix(s, "migration MIGRATION") })
	if len(migrations) == 0 {
		t.Error("no migration is recorded")
	}
	rest := slices.DeleteFunc(got, func(s string) bool { return strings.HasPrefix(s, "migration") })
	if want := []string{"ledger LOG_OPENED 1", "lifecycle LIFECYCLE_ACKNOWLEDGED", "api STARTUP 1.2.3", "auth ACCESS_DENIED", "api SHUTDOWN 1.2.3"}; !slices.Equal(rest, want) {
		t.Errorf("system log has %q, want %q", rest, want)
	}
	if again := systemEvents(t, dir); len(again) != len(migrations)+len(rest) {
		t.Errorf("opening again recorded something: %q", again)
	}
}

// TestListenFails: a server that cannot listen leaves no trace but says why.
func TestListenFails(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	r := serve(t, dir)
	other := filepath.Join(t.TempDir(), "data")
	err := server.Serve(context.Background(), server.ServeConfig{
		Config: server.Stored(t, server.Config{Data: other}), Listen: strings.TrimPrefix(r.url, "http://"), OTLPHTTP: server.Off, OTLPGRPC: server.Off,
	})
	if err == nil || !strings.Contains(err.Error(), "listen") {
		t.Error(err)
	}
	if slices.Contains(systemEvents(t, other), "api STARTUP") {
		t.Error("a start is recorded that did not happen")
	}
}

func TestOpen(t *testing.T) {
	ctx := context.Background()
	dir := filepath.Join(t.TempDir(), "data")
	if _, err := server.Open(ctx, server.Stored(t, server.Config{Data: dir})); !errors.Is(err, evidence.ErrNotFound) {
		t.Errorf("nothing there: %v", err)
	}
	if _, err := os.Stat(dir); !storerig.OnPostgres() && !errors.Is(err, os.ErrNotExist) { // there the rig makes it
		t.Errorf("the directory was made: %v", err)
	}
	d, err := server.Open(ctx, server.Stored(t, server.Config{Data: dir, Create: true}))
	if err != nil || !d.Created || d.Close() != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, dir + ".anchor"} {
		if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v %v", path, st.Mode(), err)
		}
	}
	// A key that is lost is not replaced.
	key := filepath.Join(dir, "master.keyset.json")
	b, err := os.ReadFile(key)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(key); err != nil {
		t.Fatal(err)
	}
	if _, err := server.Open(ctx, server.Stored(t, server.Config{Data: dir, Create: true})); err == nil || !strings.Contains(err.Error(), "master.keyset.json is missing") {
		t.Errorf("without master keyset: %v", err)
	}
	if err := os.WriteFile(key, b, 0o600); err != nil {
		t.Fatal(err)
	}
	// An anchor that is lost is not taken for a new one.
	if err := os.Rename(dir+".anchor", dir+".aside"); err != nil {
		t.Fatal(err)
	}
	if _, err := server.Open(ctx, server.Stored(t, server.Config{Data: dir})); !errors.Is(err, ledger.ErrRollback) {
		t.Errorf("without anchor: %v", err)
	}
	d, err = server.Open(ctx, server.Stored(t, server.Config{Data: dir, Anchor: dir + ".aside"}))
	if err != nil || d.Created || d.Close() != nil {
		t.Fatal(err)
	}
}

// held returns what the database of a directory holds.
func held(t *testing.T, dir string) []byte {
	t.Helper()
	if !storerig.OnPostgres() {
		b, err := os.ReadFile(filepath.Join(dir, storerig.File))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	tables, err := storerig.Dump(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []byte
	for _, name := range slices.Sorted(maps.Keys(tables)) {
		all = append(append(all, name...), tables[name]...)
	}
	return all
}

// TestVerifyLive checks what verification itself leaves alone.
func TestVerifyLive(t *testing.T) {
	ctx := context.Background()
	dir := filepath.Join(t.TempDir(), "data")
	missing := evidence.ErrNotFound
	if storerig.OnPostgres() { // the rig has made the database; its master keyset is not there
		missing = fs.ErrNotExist
	}
	if _, err := server.VerifyLive(ctx, server.StoredLive(t, server.LiveConfig{Data: dir})); !errors.Is(err, missing) {
		t.Errorf("nothing there: %v", err)
	}
	d, err := server.Open(ctx, server.Stored(t, server.Config{Data: dir, Create: true}))
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	before := held(t, dir)
	rep, err := server.VerifyLive(ctx, server.StoredLive(t, server.LiveConfig{Data: dir}))
	if err != nil || !rep.OK() || len(rep.Findings) > 0 {
		t.Fatalf("%+v %v", rep, err)
	}
	if !bytes.Equal(before, held(t, dir)) {
		t.Error("verification changed the database")
	}
	if err := os.RemoveAll(dir + ".anchor"); err != nil {
		t.Fatal(err)
	}
	if rep, err = server.VerifyLive(ctx, server.StoredLive(t, server.LiveConfig{Data: dir})); err != nil || rep.OK() {
		t.Errorf("a missing anchor is no finding: %+v %v", rep, err)
	}
	if _, err := os.Stat(dir + ".anchor"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("verification made an anchor: %v", err)
	}
}
