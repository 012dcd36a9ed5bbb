package registry_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
	"golang.org/x/sync/errgroup"

	"github.com/runledger/runledger/client"
	"github.com/runledger/runledger/internal/registry"
)

// patience is how long a test waits for an effect, and how long an answer may take: one
// that is slow takes slower more. Where a loaded machine needs more, it gets more; a
// scenario whose endpoint is broken always waits as long as it may.
var patience = []struct{ wait, limit time.Duration }{
	{1500 * time.Millisecond, time.Second}, {6 * time.Second, 3 * time.Second}, {20 * time.Second, 7 * time.Second},
}

const slower = 300 * time.Millisecond

// faultsAtOnce is how many scenarios of the test of faults run at a time. They wait most
// of it.
const faultsAtOnce = 34

// fault is one way in which an endpoint can lie.
type fault struct {
	name      string
	invariant string // that must be named
	spoil     func(b *broken, answer map[string]any)
}

var faults = []fault{
	{"drops metadata", "INV-LOG-001", func(_ *broken, a map[string]any) { delete(a, "metadata") }},
	{"empties items", "INV-L0-008", func(b *broken, a map[string]any) {
		if b.items == "" {
			a[noItems] = ""
		} else {
			a[b.items] = []any{}
		}
	}},
	{answers500, "INV-L0-005", nil},
	{"leaks another tenant", "INV-LOG-006", func(_ *broken, a map[string]any) { metadataOf(a)["tenant_id"] = "acme" }},
	{isSlow, "INV-L0-006", nil},
	{"says immutable false", "INV-LOG-005", func(_ *broken, a map[string]any) { metadataOf(a)["immutable"] = false }},
	// In one entry of many.
	{"leaks an item", "INV-LOG-006", func(b *broken, a map[string]any) { metadataOf(b.last(a))["tenant_id"] = "acme" }},
	{"drops metadata of an item", "INV-LOG-001", func(b *broken, a map[string]any) { delete(b.last(a), "metadata") }},
}

const (
	answers500 = "answers 500"
	isSlow     = "is slow"
	// noItems is what is emptied of an answer that has no list which must have entries.
	// It is then an expectation that does not come true.
	noItems = "checkpoint"
)

// metadataOf returns metadata to be changed; of what has none it changes nothing.
func metadataOf(v map[string]any) map[string]any {
	if m, ok := v["metadata"].(map[string]any); ok {
		return m
	}
	return map[string]any{}
}

// broken is the endpoint of a panel with a fault.
type broken struct {
	fault
	panel    *registry.Intent
	scenario *registry.Scenario
	step     string // of the scenario, that looks at the panel
	items    string
	perItem  bool // items have metadata of their own
	// delay is of an answer that is slow, in nanoseconds.
	delay atomic.Int64
	// observation is that of the run that failed as it should.
	observation *registry.Observation
}

func (b *broken) String() string { return b.panel.PanelID + " " + b.name }

// last returns the last item. There may be none yet.
func (b *broken) last(a map[string]any) map[string]any {
	list, _ := a[b.items].([]any)
	if len(list) == 0 {
		return map[string]any{}
	}
	m, _ := list[len(list)-1].(map[string]any)
	return m
}

// brokenOnes breaks the endpoint of each panel in each way. What takes long is spread
// over the list.
func brokenOnes(t *testing.T, r *registry.Registry) []*broken {
	t.Helper()
	var out []*broken
	for _, f := range faults {
		for _, in := range r.Intents {
			b := &broken{fault: f, panel: in}
			i := slices.IndexFunc(r.Scenarios, func(s *registry.Scenario) bool { return s.ID == in.SDSR.Scenario })
			b.scenario = r.Scenarios[i]
			i = slices.IndexFunc(b.scenario.Observe, func(o registry.Observe) bool { return o.Path == in.Capability.Endpoint })
			o := b.scenario.Observe[i]
			b.step, b.items, b.perItem = o.ID, o.Items, o.ItemMetadata
			if b.perItem || !strings.HasSuffix(f.name, "item") {
				out = append(out, b)
			}
		}
	}
	return out
}

// Whatever an endpoint does wrong, the scenario of its panel fails, names what did not
// hold, and takes the capability from OBSERVED to DEGRADED.
func TestFaults(t *testing.T) {
	r := builtin(t)
	l := serveLive(t, onSQLite)
	cfg := l.config(t, r)
	list := brokenOnes(t, r)
	if n := len(list); n < 90 {
		t.Fatalf("%d endpoints are broken", n)
	}
	proxy := newBreaker(t, l.url, list)
	cfg.HTTP = transport(t, len(list))

	observed := t.TempDir()
	if err := os.CopyFS(observed, registry.Builtin()); err != nil {
		t.Fatal(err)
	}
	whole := cfg
	whole.BaseURL = proxy.URL + "/none"
	o := run(t, whole)
	mustPass(t, o)
	l.apply(t, observed, cfg, o)

	var g errgroup.Group
	g.SetLimit(faultsAtOnce)
	for i, b := range list {
		g.Go(func() error {
			c := cfg
			c.BaseURL = proxy.URL + "/" + strconv.Itoa(i)
			b.mustFail(t, c)
			return nil
		})
	}
	_ = g.Wait()
	// Not beside the runs: what they measure is time, too.
	for _, b := range worthApplying(list) {
		g.Go(func() error { b.mustDegrade(t, l, cfg, observed); return nil })
	}
	_ = g.Wait()
}

// worthApplying are one observation of each panel and one of each fault. What becomes of
// a capability depends on nothing else of it: see TestLife for the reasons to fail.
func worthApplying(list []*broken) (some []*broken) {
	panels, faults := map[string]bool{}, map[string]bool{}
	for _, b := range list {
		if b.observation == nil || panels[b.panel.PanelID] && faults[b.name] {
			continue
		}
		panels[b.panel.PanelID], faults[b.name] = true, true
		some = append(some, b)
	}
	return some
}

// withLimit is the registry with another limit of INV-L0-006.
func withLimit(r *registry.Registry, limit time.Duration) *registry.Registry {
	out := *r
	out.Invariants = slices.Clone(r.Invariants)
	for i, inv := range out.Invariants {
		if inv.Check == "within" {
			other := *inv
			other.Limit = limit
			out.Invariants[i] = &other
		}
	}
	return &out
}

// mustFail runs the scenario of the panel.
func (b *broken) mustFail(t *testing.T, cfg registry.Config) {
	want := registry.Failure{Reason: registry.InvariantViolated, Invariant: b.invariant, Step: b.step}
	detail := ""
	if b.invariant == "INV-L0-008" && b.items == "" {
		want.Reason, want.Invariant, detail = registry.Timeout, "", "$."+noItems
	}
	whole := cfg.Registry
	for i, p := range patience {
		cfg.MaxWait, cfg.Registry = p.wait, withLimit(whole, time.Minute)
		if b.name == isSlow {
			cfg.Registry = withLimit(whole, p.limit)
			b.delay.Store(int64(p.limit + slower))
		}
		o, err := registry.Run(t.Context(), cfg, b.scenario.ID)
		if err != nil {
			t.Errorf("%s: %v", b, err)
			return
		}
		f := o.Scenarios[0].Failure
		if f != nil && f.Reason == want.Reason && f.Invariant == want.Invariant && f.Step == want.Step && strings.HasPrefix(f.Detail, detail) {
			b.observation = o
			return
		}
		if i == len(patience)-1 || b.name != isSlow && (f == nil || f.Reason != registry.Timeout) {
			t.Errorf("%s: %+v, want %+v %s", b, f, want, detail)
			return
		}
	}
}

// mustDegrade applies what was found to a registry whose capabilities are OBSERVED.
func (b *broken) mustDegrade(t *testing.T, l *live, cfg registry.Config, observed string) {
	dir := filepath.Join(t.TempDir(), "registry")
	if err := os.CopyFS(dir, os.DirFS(observed)); err != nil {
		t.Errorf("%s: %v", b, err)
		return
	}
	out, err := l.tryApply(t, dir, cfg, b.observation)
	if err != nil {
		t.Errorf("%s: %v", b, err)
		return
	}
	if len(out.Capabilities) != 1 {
		t.Errorf("%s: %+v", b, out)
		return
	}
	c := out.Capabilities[0]
	if c.ID != b.panel.Capability.ID || c.From != registry.Observed || c.To != registry.Degraded || !c.Changed {
		t.Errorf("%s: %+v", b, c)
	}
	if err := b.degraded(dir); err != nil {
		t.Errorf("%s: %v", b, err)
	}
}

// degraded looks at what stands in the registry. That it is well formed, Apply has seen.
func (b *broken) degraded(dir string) error {
	files, err := filepath.Glob(filepath.Join(dir, "capabilities", "*.yaml"))
	if err != nil {
		return err
	}
	if len(files) != 3 {
		return fmt.Errorf("there are %d capabilities", len(files))
	}
	f := b.observation.Scenarios[0].Failure
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		var c registry.Capability
		if err := yaml.Unmarshal(text, &c); err != nil {
			return err
		}
		last := c.History[len(c.History)-1]
		switch {
		case c.ID != b.panel.Capability.ID:
			if c.Status != registry.Observed {
				return fmt.Errorf("%s is %s", c.ID, c.Status)
			}
		case c.Status != registry.Degraded || last.To != registry.Degraded || last.Observation != b.observation.Digest():
			return fmt.Errorf("%s is %s: %+v", c.ID, c.Status, last)
		case !strings.Contains(last.Reason, b.scenario.ID) || !strings.Contains(last.Reason, f.Reason) || !strings.Contains(last.Reason, f.Invariant):
			return fmt.Errorf("%s: the reason is %s", c.ID, last.Reason)
		}
	}
	return nil
}

// apply records an observation, and applies it: all capabilities are OBSERVED after it.
func (l *live) apply(t *testing.T, dir string, cfg registry.Config, o *registry.Observation) {
	t.Helper()
	out, err := l.tryApply(t, dir, cfg, o)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range out.Capabilities {
		if c.To != registry.Observed || !c.Changed {
			t.Errorf("%+v", c)
		}
	}
	if len(out.Capabilities) != 3 {
		t.Errorf("%+v", out)
	}
}

func (l *live) tryApply(t *testing.T, dir string, cfg registry.Config, o *registry.Observation) (*registry.Outcome, error) {
	c, err := client.New(client.Config{BaseURL: l.url, Key: cfg.Producer.Secret, VerifierKeys: []string{l.vkey}, HTTPClient: cfg.HTTP})
	if err != nil {
		return nil, err
	}
	receipt, err := registry.Record(t.Context(), c, o)
	if err != nil {
		return nil, err
	}
	return registry.Apply(dir, &registry.File{Observation: *o, Receipt: receipt}, []string{l.vkey}, time.Now())
}

// newBreaker serves what is behind it below /N, with the fault of number N, and below
// every other name as it is.
func newBreaker(t *testing.T, to string, list []*broken) *httptest.Server {
	t.Helper()
	behind, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(behind) },
		Transport: transport(t, len(list)).Transport,
		ErrorLog:  log.New(io.Discard, "", 0), // of who has gone
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name, path, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
		r.URL.Path, r.URL.RawPath = "/"+path, ""
		n, err := strconv.Atoi(name)
		if err != nil || r.Method != http.MethodGet || !matches(list[n].panel.Capability.Endpoint, r.URL.Path) {
			proxy.ServeHTTP(w, r)
			return
		}
		r.Header.Set("Accept-Encoding", "identity")
		answer := httptest.NewRecorder()
		proxy.ServeHTTP(answer, r)
		list[n].serve(t, w, answer)
	}))
	t.Cleanup(s.Close)
	return s
}

// matches reports whether a path is one of a template.
func matches(template, path string) bool {
	want, got := strings.Split(template, "/"), strings.Split(path, "/")
	return len(want) == len(got) && !slices.ContainsFunc(want, func(s string) bool {
		i := slices.Index(want, s)
		return !strings.HasPrefix(s, "{") && s != got[i]
	})
}

// serve spoils an answer. One that is no success is left as it is: what there is not yet
// is not broken.
func (b *broken) serve(t *testing.T, w http.ResponseWriter, answer *httptest.ResponseRecorder) {
	body := answer.Body.Bytes()
	status := answer.Code
	if status == http.StatusOK {
		switch b.name {
		case answers500:
			status, body = http.StatusInternalServerError, []byte(`{"title":"internal error","status":500,"code":"internal"}`)
		case isSlow:
			time.Sleep(time.Duration(b.delay.Load()))
		default:
			body = b.spoiled(t, body)
		}
	}
	w.Header().Set("Content-Type", answer.Header().Get("Content-Type"))
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

// spoiled keeps numbers as they are written.
func (b *broken) spoiled(t *testing.T, body []byte) []byte {
	d := json.NewDecoder(io.Reader(bytes.NewReader(body)))
	d.UseNumber()
	var v map[string]any
	if err := d.Decode(&v); err != nil {
		t.Errorf("%s: %v", b.panel.PanelID, err)
		return body
	}
	b.spoil(b, v)
	out, err := json.Marshal(v)
	if err != nil {
		t.Errorf("%s: %v", b.panel.PanelID, err)
		return body
	}
	return out
}
