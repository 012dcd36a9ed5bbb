package server_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/runledger/runledger/internal/control"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/server"
	"github.com/runledger/runledger/internal/store/storerig"
)

// reads is a server that is read from: its answers are checked against its own
// document, and its database can be looked at beside it.
type reads struct {
	*walk
	look   *storerig.Look
	start  time.Time // when the records of the tests happen
	nextID int
}

// checkers are those of documents that a server of this process has shown: making
// one takes longer than most tests. checking guards it, and compiled of each.
var (
	checking sync.Mutex
	checkers = map[string]*checker{}
)

func checkerOf(t *testing.T, doc []byte) *checker {
	t.Helper()
	checking.Lock()
	defer checking.Unlock()
	if checkers[string(doc)] == nil {
		checkers[string(doc)] = newChecker(t, doc)
	}
	return checkers[string(doc)]
}

// newReads starts a server, changed from what tests are served with.
func newReads(t *testing.T, change func(*server.ServeConfig)) *reads {
	t.Helper()
	return openReads(t, freshData(t), change)
}

// fresh are the files of a data directory and its anchor with nothing in them, by
// name: half of what a server of a test costs is the making of its database.
var (
	making sync.Mutex // guards fresh
	fresh  map[string][]byte
)

// freshData makes a data directory.
func freshData(t *testing.T) string {
	t.Helper()
	making.Lock()
	defer making.Unlock()
	base := t.TempDir()
	dir := filepath.Join(base, "data")
	if fresh == nil || storerig.OnPostgres() { // there the files are the least of it
		d, err := server.Open(t.Context(), server.Stored(t, server.Config{Data: dir, Create: true}))
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		if storerig.OnPostgres() {
			return dir
		}
		fresh = map[string][]byte{}
		err = filepath.WalkDir(base, func(path string, e fs.DirEntry, err error) error {
			if err != nil || !e.Type().IsRegular() {
				return err
			}
			fresh[strings.TrimPrefix(path, base)], err = os.ReadFile(path)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return dir
	}
	for name, b := range fresh {
		path := filepath.Join(base, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// openReads is newReads on a directory that may hold something.
func openReads(t *testing.T, dir string, change func(*server.ServeConfig)) *reads {
	t.Helper()
	r := &reads{
		walk:  &walk{running: serveChanged(t, dir, change), keys: map[string]string{}},
		start: time.Now().UTC().Add(-time.Hour).Truncate(time.Second),
	}
	status, _, doc := r.walk.get(t, "", "/openapi.json", nil)
	if status != http.StatusOK {
		t.Fatalf("openapi.json: %d", status)
	}
	r.checker = checkerOf(t, doc)
	var err error
	if r.look, err = storerig.OpenLook(dir); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.look.Close() })
	return r
}

// serveChanged is serve with another configuration: a run of native records stays
// open until it is ended.
func serveChanged(t *testing.T, dir string, change func(*server.ServeConfig)) *running {
	t.Helper()
	r := &running{dir: dir, log: &logLines{}}
	cfg := server.ServeConfig{
		Config: server.Stored(t, server.Config{Data: dir, Version: "1.2.3", Logger: slog.New(slog.NewJSONHandler(r.log, nil))}),
		Listen: "127.0.0.1:0", OTLPHTTP: "127.0.0.1:0", OTLPGRPC: server.Off, MetricsAddress: "127.0.0.1:0",
		RootQuiet: time.Hour, Quiet: time.Hour, Idle: time.Hour, Watch: ledger.WatchConfig{ScrubRate: -1},
	}
	if change != nil {
		change(&cfg)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Serve(ctx, cfg) }()
	r.stop = sync.OnceValue(func() error { cancel(); return <-done })
	t.Cleanup(func() { _ = r.stop() })
	for range 2400 {
		if addr, ok := r.log.find("ready", "listen"); ok {
			otlp, _ := r.log.find("ready", "otlp_http")
			metrics, _ := r.log.find("ready", "metrics")
			r.url, r.otlp, r.metrics = "http://"+addr, "http://"+otlp, "http://"+metrics+"/metrics"
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

// operation finds the operation of the document that a request is.
func (r *reads) operation(method, target string) *operation {
	path, _, _ := strings.Cut(target, "?")
	segments := strings.Split(path, "/")
	best, literal := (*operation)(nil), -1
	for template, methods := range r.doc.Paths {
		parts, n := strings.Split(template, "/"), 0
		if len(parts) != len(segments) || methods[strings.ToLower(method)] == nil {
			continue
		}
		for i, p := range parts {
			switch {
			case p == segments[i]:
				n++
			case !strings.HasPrefix(p, "{"):
				n = -len(parts)
			}
		}
		if n > literal {
			best, literal = methods[strings.ToLower(method)], n
		}
	}
	return best
}

// object is a JSON object.
type object = map[string]any

// ask gets what must be there, and looks whether the document has that answer.
func (r *reads) ask(t *testing.T, key, target string, want int) object {
	t.Helper()
	out, _ := r.askWith(t, key, target, want, nil)
	return out
}

func (r *reads) askWith(t *testing.T, key, target string, want int, header http.Header) (object, http.Header) {
	t.Helper()
	status, got, body := r.get(t, key, target, header)
	return r.checked(t, "GET", target, want, status, got.Get("Content-Type"), body), got
}

// send posts JSON, and looks whether the document has that answer.
func (r *reads) send(t *testing.T, key, target string, want int, body any) object {
	t.Helper()
	b, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	status, text := r.post(t, r.url+target, "application/json", key, b)
	contentType := "application/json"
	if status >= http.StatusBadRequest {
		contentType = "application/problem+json"
	}
	return r.checked(t, "POST", target, want, status, contentType, []byte(text))
}

func (r *reads) checked(t *testing.T, method, target string, want, status int, contentType string, body []byte) object {
	t.Helper()
	if status != want {
		t.Fatalf("%s %s: %d, want %d: %.600s", method, target, status, want, body)
	}
	if op := r.operation(method, target); op != nil {
		checking.Lock()
		err := r.check(op, status, contentType, body)
		checking.Unlock()
		if err != nil {
			t.Errorf("%s %s: %v\n%.600s", method, target, err, body)
		}
	} else if status != http.StatusNotFound && status != http.StatusMethodNotAllowed {
		t.Errorf("%s %s is not in the document", method, target)
	}
	var out object
	if err := json.Unmarshal(body, &out); err != nil {
		t.Fatalf("%s %s: %v: %.600s", method, target, err, body)
	}
	return out
}

// at follows a path into an answer: items.0.metadata.run_id. What is not there is
// a failure, what is null is nil.
func at(t *testing.T, v any, path string) any {
	t.Helper()
	whole := v
	for _, name := range strings.Split(path, ".") {
		switch x := v.(type) {
		case object:
			inner, ok := x[name]
			if !ok {
				t.Fatalf("no %s in %v", path, whole)
			}
			v = inner
		case []any:
			i, err := strconv.Atoi(name)
			if err != nil || i >= len(x) {
				t.Fatalf("no %s in %v", path, whole)
			}
			v = x[i]
		default:
			t.Fatalf("no %s in %v", path, whole)
		}
	}
	return v
}

// listOf is the list at a path; it is there and not null.
func listOf(t *testing.T, v any, path string) []any {
	t.Helper()
	list, ok := at(t, v, path).([]any)
	if !ok {
		t.Fatalf("%s is no list in %v", path, v)
	}
	return list
}

// each returns a member of each item of a list.
func each(t *testing.T, v any, list, member string) (out []string) {
	t.Helper()
	for _, item := range listOf(t, v, list) {
		out = append(out, fmt.Sprint(at(t, item, member)))
	}
	return out
}

// wantAt compares what stands in an answer, numbers as they are written.
func wantAt(t *testing.T, v any, values object) {
	t.Helper()
	for _, path := range slices.Sorted(maps.Keys(values)) {
		if got := at(t, v, path); fmt.Sprint(got) != fmt.Sprint(values[path]) {
			t.Errorf("%s is %v, want %v", path, got, values[path])
		}
	}
}

// line makes a native record that happened some seconds after the start. What is
// not said is what is usual.
func (r *reads) line(kind string, seconds float64, more object) string {
	o := object{
		"kind": kind, "occurred_at": r.time(seconds), "source_domain": "ACTIVITY", "source_component": "TraceStore",
	}
	switch kind {
	case "audit":
		maps.Copy(o, object{"source_domain": "POLICY", "actor_type": "SYSTEM", "entity_type": "POLICY_RULE", "entity_id": "rule-1", "event_type": "PolicyEvaluated"})
	case "system":
		maps.Copy(o, object{"source_domain": "SYSTEM", "component": "worker", "event_type": "RESTART", "severity": "WARN", "summary": "The worker restarted."})
	case "trace_step":
		maps.Copy(o, object{"skill_name": "lookup", "step_kind": "tool", "status": "success"})
	case "llm_run":
		maps.Copy(o, object{"execution_status": "SUCCEEDED", "outcome": "success", "started_at": r.time(seconds), "completed_at": r.time(seconds + 1)})
	}
	if kind == "audit" || kind == "system" || kind == "trace_event" {
		r.nextID++
		o["id"] = fmt.Sprintf("018f0000-0000-7000-8000-%012x", r.nextID)
	}
	maps.Copy(o, more)
	b, err := json.Marshal(o)
	if err != nil {
		panic(err)
	}
	return string(b)
}

func (r *reads) time(seconds float64) string {
	return r.start.Add(time.Duration(seconds * float64(time.Second))).Format("2006-01-02T15:04:05.000000Z")
}

// put makes native records durable.
func (r *reads) put(t *testing.T, key string, lines ...string) {
	t.Helper()
	if status, body := r.tryPut(t, key, lines...); status != http.StatusOK {
		t.Fatalf("records: %d %s", status, body)
	}
}

func (r *reads) tryPut(t *testing.T, key string, lines ...string) (int, string) {
	t.Helper()
	return r.post(t, r.url+"/api/v1/ingest/records", "application/x-ndjson", key, []byte(strings.Join(lines, "\n")))
}

// narrowKey makes a key of a role with some of its permissions.
func (r *reads) narrowKey(t *testing.T, tenant, role string, scopes ...string) string {
	t.Helper()
	made, err := r.control(t).CreateAPIKey(t.Context(), control.NewAPIKey{TenantID: tenant, Role: role, Scopes: scopes, Expires: "1d"})
	if err != nil {
		t.Fatal(err)
	}
	return made.Secret.Reveal()
}

func (r *reads) control(t *testing.T) *control.Client {
	t.Helper()
	c, err := control.Dial(t.Context(), r.dir)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// audits counts a tenant's audit records by event. It makes none.
func (r *reads) audits(t *testing.T, tenant string) map[string]int {
	t.Helper()
	out := map[string]int{}
	rows, err := r.look.Rows(`SELECT event_type, count(*) FROM audit_ledger WHERE tenant_id = ?1 GROUP BY 1`, tenant)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range rows {
		out[row[0].(string)] = int(row[1].(int64))
	}
	return out
}

// added returns what records a function adds to a tenant's audit, by event.
func (r *reads) added(t *testing.T, tenant string, f func()) map[string]int {
	t.Helper()
	before := r.audits(t, tenant)
	f()
	out := map[string]int{}
	for event, n := range r.audits(t, tenant) {
		if n != before[event] {
			out[event] = n - before[event]
		}
	}
	return out
}

// used makes keys known: the first use of one is a record of its own.
func (r *reads) used(t *testing.T, keys ...string) {
	t.Helper()
	for _, key := range keys {
		if status, _, body := r.get(t, key, "/schemas/record.json", nil); status != http.StatusOK {
			t.Fatalf("%d %s", status, body)
		}
	}
}
