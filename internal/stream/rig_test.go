package stream

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/seal"
	"github.com/runledger/runledger/internal/store"
	"github.com/runledger/runledger/internal/store/storerig"
)

// template is a data directory with the tenants acme and other, made once: most of
// what a rig costs is the making of its database.
var template storerig.Template

func TestMain(m *testing.M) { os.Exit(template.Run(m)) }

// fast is a tempo for tests.
var fast = tempo{
	poll: 2 * time.Millisecond, refresh: 25 * time.Millisecond, pause: 2 * time.Millisecond, save: time.Nanosecond, idle: time.Nanosecond,
	conds: 10 * time.Millisecond, settle: time.Nanosecond, down: time.Nanosecond, quiet: 20 * time.Millisecond,
}

// rig is a real ledger.
type rig struct {
	*ledger.Ledger
	t     testing.TB
	db    store.Store
	logs  lockedBuffer
	next  int
	close func()
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func newRig(t testing.TB) *rig {
	t.Helper()
	dir := template.Copy(t, "data/master.json", func(dir string) {
		r := openRig(t, dir)
		for _, tenant := range []string{"acme", "other"} {
			if _, err := r.CreateTenant(context.Background(), tenant); err != nil {
				t.Fatal(err)
			}
		}
		r.close()
	})
	r := openRig(t, dir)
	t.Cleanup(r.close)
	return r
}

func openRig(t testing.TB, base string) *rig {
	t.Helper()
	ctx := context.Background()
	dir := filepath.Join(base, "data")
	db, err := storerig.Open(ctx, dir)
	if err != nil {
		t.Fatal(err)
	}
	master, err := seal.OpenMaster(filepath.Join(dir, "master.json"), true)
	if err != nil {
		t.Fatal(err)
	}
	anchor, err := ledger.NewDirAnchor(filepath.Join(base, "anchor"))
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, db: db}
	r.Ledger, err = ledger.Open(ctx, ledger.Config{
		Store: db, Sealer: seal.New(db, master), Anchor: anchor, Instance: "test.example", Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	r.close = sync.OnceFunc(func() {
		if err := errors.Join(r.Close(), db.Close()); err != nil {
			t.Error(err)
		}
	})
	return r
}

// made is a record for the logs of a rig.
func made(kind evidence.Kind, facts map[string]string, sealed map[string]string) *evidence.Record {
	now := evidence.MicrosOf(time.Now())
	r := &evidence.Record{Kind: kind, ID: ledger.NewID(now), OccurredAt: now}
	all := map[string]string{"source_domain": "SYSTEM", "source_component": "SystemRecordWriter"}
	if kind == evidence.KindSystem {
		all["component"], all["event_type"], all["severity"] = "worker", "OBSERVATION", "INFO"
		r.SetSealed("/summary", evidence.QuoteJSON("a sealed summary"))
	} else {
		all["event_type"], all["entity_type"], all["entity_id"], all["system_id"] = "PolicyEvaluated", "POLICY_RULE", "rule-1", "policy"
	}
	for name, value := range facts {
		all[name] = value
	}
	for name, value := range all {
		if value != "" {
			r.SetText(name, value)
		}
	}
	for path, value := range sealed {
		r.SetSealed(path, []byte(value))
	}
	return r
}

// append appends records and returns their ids.
func (r *rig) append(tenant string, records ...*evidence.Record) (ids []string) {
	r.t.Helper()
	for _, rec := range records {
		if err := rec.Complete(); err != nil {
			r.t.Fatal(err)
		}
		ids = append(ids, rec.ID.String())
	}
	if _, err := r.Append(context.Background(), tenant, records, ledger.AppendOptions{}); err != nil {
		r.t.Fatal(err)
	}
	return ids
}

// systems appends n system records with numbered event types.
func (r *rig) systems(tenant string, n int) []string {
	r.t.Helper()
	var list []*evidence.Record
	for range n {
		r.next++
		list = append(list, made(evidence.KindSystem, map[string]string{"event_type": fmt.Sprintf("EVENT_%d", r.next)}, nil))
	}
	return r.append(tenant, list...)
}

// fakeSink is a sink that does what it is told.
type fakeSink struct {
	mu    sync.Mutex
	got   []event
	tries int
	// do, where set, decides about each batch.
	do func(b *batch) error
}

func (s *fakeSink) deliver(_ context.Context, b *batch) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tries++
	if s.do != nil {
		if err := s.do(b); err != nil {
			return err
		}
	}
	s.got = append(s.got, b.events...)
	return nil
}

func (s *fakeSink) Close() error { return nil }

// ids returns the ids of a tenant's events that were delivered, in order.
func (s *fakeSink) ids(tenant string) (out []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.got {
		if e.Tenant == tenant {
			out = append(out, e.ID)
		}
	}
	return out
}

func (s *fakeSink) set(do func(b *batch) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.do = do
}

func (r *rig) config() *Config {
	c := &Config{Ledger: r.Ledger, Store: r.db, Version: "1.2.3", tempo: fast, Logger: slog.New(slog.NewTextHandler(&r.logs, nil))}
	c.Ready = r.Writable
	c.tempo.complete()
	return c
}

func systemStream(from string) *Stream {
	return &Stream{
		Name: "siem", Kinds: []evidence.Kind{evidence.KindSystem}, Format: FormatCloudEvents, MinSeverity: severityInfo, From: from,
		EventTypes: nil,
	}
}

// start runs a worker until the test ends or stop is called.
func (r *rig) start(s *Stream, out sink) (w *worker, stop func()) {
	r.t.Helper()
	w = newWorker(r.config(), s, out, newMetrics(prometheus.NewRegistry()))
	return w, r.run(w.run)
}

func (r *rig) run(run func(context.Context)) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); run(ctx) }()
	stop = sync.OnceFunc(func() { cancel(); <-done })
	r.t.Cleanup(stop)
	return stop
}

// eventually waits for something that must come.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: it did not come", what)
		}
	}
}

// holds reports whether got has all of want in their order, repeats and others between
// them left out.
func holds(got, want []string) bool {
	for _, id := range want {
		i := slices.Index(got, id)
		if i < 0 {
			return false
		}
		got = got[i:]
	}
	return true
}

// value returns the value of a counter or gauge.
func value(t testing.TB, m prometheus.Metric) float64 {
	t.Helper()
	var out dto.Metric
	if err := m.Write(&out); err != nil {
		t.Fatal(err)
	}
	return out.GetCounter().GetValue() + out.GetGauge().GetValue()
}

// body decodes an event.
func body(t testing.TB, e event) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal(e.Body, &m); err != nil {
		t.Fatalf("%v: %s", err, e.Body)
	}
	if strings.ContainsAny(string(e.Body), "\n\r") {
		t.Fatal("an event has more than one line")
	}
	return m
}
