package registry

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/runledger/runledger/evidence"
)

func TestRun(t *testing.T) {
	f := newFake(t)
	r := testRegistry()
	// Not there at once, and out of order: by then it is.
	var early atomic.Int64
	f.get = func(w http.ResponseWriter, r *http.Request, _ map[string]any) bool {
		if strings.HasSuffix(r.URL.Path, "/envelope") && early.Add(1) <= 2 {
			return problem(w, http.StatusNotFound, "not_found", "run: not found in this tenant")
		}
		return false
	}
	slices.Reverse(r.Scenarios[0].Observe)
	got, err := Run(t.Context(), f.config(r))
	if err != nil {
		t.Fatal(err)
	}
	if !got.Passed || got.Server != "1.2.3" || got.Program != "test" || got.Tenant != testTenant || got.Registry != "sha256:00" || got.Version != 1 {
		t.Errorf("%+v", got)
	}
	if err := got.check(); err != nil {
		t.Error(err)
	}
	one, two := got.Scenarios[0], got.Scenarios[1]
	if one.ID != "S-1" || two.ID != "S-2" || one.Panel != "LOG-REC-LLM-O1" || one.Failure != nil || one.StartedAt.String() != "2026-01-02T03:04:05.000006Z" {
		t.Errorf("%+v", one)
	}
	seen := one.Seen[0]
	if seen.Tries != 3 || seen.Status != 200 || seen.ID != "envelope" || seen.Bytes == 0 || len(seen.SHA256) != 64 || len(seen.Invariants) != 16 || len(seen.Expectations) != 2 {
		t.Errorf("%+v", seen)
	}
	if seen.WaitedMS < (firstPause + 2*firstPause).Milliseconds() {
		t.Errorf("waited %d ms", seen.WaitedMS)
	}
	if want := "/api/v1/logs/llm-runs?is_synthetic=true&run_id="; !strings.HasPrefix(two.Seen[0].Target, want) || len(two.Seen[0].Target) != len(want)+32 {
		t.Errorf("target %s", two.Seen[0].Target)
	}
	if diff := cmp.Diff([]string{"id-0", "id-1"}, two.Sent[0].Records); diff != "" {
		t.Error(diff)
	}
	body := f.sentTo(recordsPath)[0]
	sum := sha256.Sum256([]byte(body))
	if s := two.Sent[0]; s.SHA256 != hex.EncodeToString(sum[:]) || s.Bytes != int64(len(body)) || s.Target != recordsPath || s.Method != "POST" || s.Status != 200 {
		t.Errorf("%+v", s)
	}
	// Some of them only, in the registry's order.
	f.get = nil
	some, err := Run(t.Context(), f.config(r), "S-2", "S-2")
	if err != nil || len(some.Scenarios) != 1 || some.Scenarios[0].ID != "S-2" {
		t.Errorf("%+v, %v", some, err)
	}
}

// TestMarking: whatever is sent is synthetic, and says which scenario made it.
func TestMarking(t *testing.T) {
	f := newFake(t)
	if _, err := Run(t.Context(), f.config(testRegistry())); err != nil {
		t.Fatal(err)
	}
	var records []map[string]any
	if err := json.Unmarshal([]byte(f.sentTo(recordsPath)[0]), &records); err != nil || len(records) != 2 {
		t.Fatal(err, records)
	}
	for _, r := range records {
		if r["is_synthetic"] != true || r["synthetic_scenario_id"] != "S-2" {
			t.Errorf("%v", r)
		}
	}
	if _, ok := evidence.ParseID(records[0]["id"].(string)); !ok || records[0]["id"] == records[1]["id"] {
		t.Errorf("ids %v, %v", records[0]["id"], records[1]["id"])
	}
	var body struct {
		ResourceSpans []struct {
			Resource struct {
				Attributes []struct {
					Key   string
					Value map[string]any
				}
			}
			ScopeSpans []struct{ Spans []map[string]string }
		}
	}
	if err := json.Unmarshal([]byte(f.sentTo("/v1/traces")[0]), &body); err != nil || len(body.ResourceSpans) != 2 {
		t.Fatal(err, body)
	}
	for _, rs := range body.ResourceSpans {
		marks := map[string]any{}
		for _, a := range rs.Resource.Attributes {
			for _, v := range a.Value {
				marks[a.Key] = v
			}
		}
		delete(marks, "service.name")
		if diff := cmp.Diff(map[string]any{"runledger.synthetic": true, "runledger.scenario_id": "S-1"}, marks); diff != "" {
			t.Error(diff)
		}
	}
	if span := body.ResourceSpans[0].ScopeSpans[0].Spans[0]; span["startTimeUnixNano"] != "1767323040000006000" || len(span["traceId"]) != 32 || len(span["spanId"]) != 16 {
		t.Errorf("%v", span)
	}
	// Marks that are there already are replaced, and what is no resource is refused.
	own := map[string]any{"resourceLogs": []any{map[string]any{"resource": map[string]any{"attributes": []any{
		map[string]any{"key": "runledger.synthetic", "value": map[string]any{"boolValue": false}},
	}}}}}
	if err := markOTLP(own, "S"); err != nil || strings.Contains(excerpt(own), "false") {
		t.Errorf("%v, %v", own, err)
	}
	for _, bad := range []map[string]any{
		nil,
		{"spans": []any{}},
		{"resourceSpans": "x"},
		{"resourceSpans": []any{1}},
		{"resourceSpans": []any{map[string]any{"resource": 1}}},
		{"resourceSpans": []any{map[string]any{"resource": map[string]any{"attributes": 1}}}},
	} {
		if err := markOTLP(bad, "S"); !errors.Is(err, evidence.ErrInvalid) {
			t.Errorf("%v: %v", bad, err)
		}
	}
}

// TestPassingCondition: what is over before the wait is over counts for nothing.
func TestPassingCondition(t *testing.T) {
	f := newFake(t)
	var n atomic.Int64
	fail := func(w http.ResponseWriter, _ *http.Request, _ map[string]any) bool {
		if n.Add(1) <= 2 {
			return problem(w, 503, "unavailable", "not now")
		}
		return false
	}
	f.get = fail
	if o, err := Run(t.Context(), f.config(testRegistry()), "S-1"); err != nil || !o.Passed || o.Scenarios[0].Seen[0].Tries != 3 {
		t.Errorf("%+v, %v", o, err)
	}
	f.get, f.post = nil, fail
	n.Store(0)
	if o, err := Run(t.Context(), f.config(testRegistry()), "S-1"); err != nil || !o.Passed {
		t.Errorf("%+v, %v", o, err)
	}
	if sent := f.sentTo("/v1/traces"); len(sent) != 4 || sent[1] != sent[3] {
		t.Errorf("sent %d times, or not the same", len(sent))
	}
}

// TestAdvisory: an invariant that is advisory is told, and fails nothing.
func TestAdvisory(t *testing.T) {
	f, r := newFake(t), testRegistry()
	f.get = func(_ http.ResponseWriter, _ *http.Request, body map[string]any) bool {
		metadataOf(body)["origin"] = "NOBODY"
		return false
	}
	o, err := Run(t.Context(), f.config(r), "S-1")
	if err != nil || !o.Passed || o.Scenarios[0].Seen[0].Tries != 1 {
		t.Fatalf("%+v, %v", o, err)
	}
	i := slices.IndexFunc(o.Scenarios[0].Seen[0].Invariants, func(c Checked) bool { return !c.Passed })
	if i < 0 || o.Scenarios[0].Seen[0].Invariants[i].ID != "INV-LOG-004" {
		t.Errorf("%+v", o.Scenarios[0].Seen[0].Invariants)
	}
	r.Scenarios[0].Invariants[11].Level = Required
	cfg := f.config(r)
	cfg.MaxWait = time.Millisecond
	if o, err = Run(t.Context(), cfg, "S-1"); err != nil || o.Passed || o.Scenarios[0].Failure.Invariant != "INV-LOG-004" {
		t.Errorf("%+v, %v", o, err)
	}
}

// TestKeysAreHidden: a server that sends back what it was sent does not bring a key into
// results or logs.
func TestKeysAreHidden(t *testing.T) {
	f := newFake(t)
	f.get = func(w http.ResponseWriter, r *http.Request, body map[string]any) bool {
		w.Header().Set("Content-Type", "text/"+r.Header.Get("Authorization"))
		body["run_id"] = r.Header.Get("Authorization")
		_ = json.NewEncoder(w).Encode(body)
		return true
	}
	f.post = func(w http.ResponseWriter, r *http.Request, _ map[string]any) bool {
		return r.URL.Path == recordsPath && problem(w, 422, "invalid", r.Header.Get("Authorization"))
	}
	var log bytes.Buffer
	cfg := f.config(testRegistry())
	cfg.MaxWait, cfg.Logger = time.Millisecond, slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	o, err := Run(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{observerKey, producerKey} {
		if bytes.Contains(text, []byte(key)) || strings.Contains(log.String(), key) {
			t.Errorf("%s is in\n%s\n%s", key, text, log.String())
		}
	}
	if strings.Count(string(text), "[key]") < 2 || !strings.Contains(log.String(), "S-2") {
		t.Errorf("nothing was to be hidden:\n%s\n%s", text, log.String())
	}
}

func TestRunErrors(t *testing.T) {
	f := newFake(t)
	gone := newFake(t)
	gone.Close()
	other := newFake(t)
	other.doc = map[string]any{"paths": 1}
	loose := newFake(t) // its schema is in a file of ours
	loose.doc["components"].(map[string]any)["schemas"].(map[string]any)["Envelope"] = map[string]any{"$ref": "file:///etc/hostname"}
	broken := testRegistry()
	broken.Scenarios[0].Observe[0].Params["run_id"] = "${nobody}"
	for name, c := range map[string]struct {
		change func(cfg *Config)
		ids    []string
		want   error
	}{
		"unknown id":      {func(*Config) {}, []string{"S-1", "S-9"}, evidence.ErrNotFound},
		"no URL":          {func(c *Config) { c.BaseURL = "localhost:80" }, nil, evidence.ErrInvalid},
		"no tenant":       {func(c *Config) { c.Tenant = "" }, nil, evidence.ErrInvalid},
		"no key":          {func(c *Config) { c.Observer = Key{} }, nil, evidence.ErrInvalid},
		"no id of a key":  {func(c *Config) { c.Observer.ID = "" }, nil, evidence.ErrInvalid},
		"empty query":     {func(c *Config) { c.Registry.Scenarios[1].Observe[0].Query["run_id"] = "" }, nil, evidence.ErrInvalid},
		"no scenario":     {func(c *Config) { c.Registry = &Registry{} }, nil, evidence.ErrInvalid},
		"no server":       {func(c *Config) { c.BaseURL = gone.URL }, nil, evidence.ErrUnavailable},
		"no such server":  {func(c *Config) { c.BaseURL = f.URL + "/elsewhere" }, nil, evidence.ErrUnavailable},
		"no document":     {func(c *Config) { c.BaseURL = other.URL }, nil, evidence.ErrUnavailable},
		"schema outside":  {func(c *Config) { c.BaseURL = loose.URL }, nil, evidence.ErrUnavailable},
		"broken scenario": {func(c *Config) { c.Registry = broken }, nil, evidence.ErrInvalid},
	} {
		cfg := f.config(testRegistry())
		c.change(&cfg)
		if o, err := Run(t.Context(), cfg, c.ids...); o != nil || !errors.Is(err, c.want) || strings.Contains(err.Error(), observerKey) {
			t.Errorf("%s: %v, %v, want %v", name, o, err, c.want)
		}
	}
}

// TestCancelled: a run ends with its context, within a request and between two.
func TestCancelled(t *testing.T) {
	for name, get := range map[string]func(w http.ResponseWriter, r *http.Request, _ map[string]any) bool{
		"never answers": func(_ http.ResponseWriter, r *http.Request, _ map[string]any) bool {
			<-r.Context().Done()
			return true
		},
		"never there": func(w http.ResponseWriter, _ *http.Request, _ map[string]any) bool {
			return problem(w, 404, "not_found", "run: not found in this tenant")
		},
	} {
		f := newFake(t)
		f.get = get
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(100*time.Millisecond, cancel)
		began := time.Now()
		o, err := Run(ctx, f.config(testRegistry()))
		if o != nil || !errors.Is(err, context.Canceled) || time.Since(began) > 5*time.Second {
			t.Errorf("%s: %v, %v after %s", name, o, err, time.Since(began))
		}
	}
}

// TestParallel: many scenarios at a time, no more than are allowed, each with variables
// of its own.
func TestParallel(t *testing.T) {
	f, r := newFake(t), testRegistry()
	var now, most atomic.Int64
	all := make(chan struct{})
	three := sync.OnceFunc(func() { close(all) })
	f.post = func(http.ResponseWriter, *http.Request, map[string]any) bool {
		n := now.Add(1)
		defer now.Add(-1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		if n == 3 { // as many as may be
			three()
		}
		select {
		case <-all:
		case <-time.After(10 * time.Second):
		}
		return false
	}
	for i := range 24 {
		s := *r.Scenarios[i%2]
		s.ID += string(rune('a' + i))
		r.Scenarios = append(r.Scenarios, &s)
	}
	slices.SortFunc(r.Scenarios, func(x, y *Scenario) int { return strings.Compare(x.ID, y.ID) })
	cfg := f.config(r)
	cfg.Parallel = 3
	o, err := Run(t.Context(), cfg)
	if err != nil || !o.Passed || len(o.Scenarios) != 26 {
		t.Fatalf("%+v, %v", o, err)
	}
	if err := o.check(); err != nil {
		t.Error(err)
	}
	if most.Load() != 3 {
		t.Errorf("%d at a time", most.Load())
	}
	bodies := f.sentTo("/v1/traces")
	slices.Sort(bodies)
	if len(slices.Compact(bodies)) != 13 {
		t.Error("two scenarios sent the same")
	}
}
