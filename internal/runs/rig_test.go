package runs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/dialect"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/seal"
	"github.com/runledger/runledger/internal/store"
	"github.com/runledger/runledger/internal/store/storerig"
)

// clock stands still until it is told otherwise.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: testStart.Time().Add(time.Hour)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func (c *clock) boot() time.Duration { return c.Now().Sub(testStart.Time()) }

// full is a store that can be made to refuse commits.
type full struct {
	store.Store
	mu     sync.Mutex
	err    error
	hidden string // a run whose last record is not shown
	during func() // called once, while a commit is under way
}

func (f *full) hide(run string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hidden = run
}

func (f *full) RunRecords(ctx context.Context, tenant, run string, fn func(store.RunRecord) error) error {
	f.mu.Lock()
	hidden := f.hidden == run
	f.mu.Unlock()
	if !hidden {
		return f.Store.RunRecords(ctx, tenant, run, fn)
	}
	var list []store.RunRecord
	err := f.Store.RunRecords(ctx, tenant, run, func(r store.RunRecord) error { list = append(list, r); return nil })
	for i := 0; i < len(list)-1 && err == nil; i++ {
		err = fn(list[i])
	}
	return err
}

func (f *full) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}

func (f *full) failing() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

func (f *full) Commit(ctx context.Context, c *store.Commit) error {
	f.mu.Lock()
	during := f.during
	f.during = nil
	f.mu.Unlock()
	if during != nil {
		during()
	}
	if err := f.failing(); err != nil {
		return err
	}
	return f.Store.Commit(ctx, c)
}

func (f *full) SettleRuns(ctx context.Context, tenant string, runs map[string]int64) error {
	if err := f.failing(); err != nil {
		return err
	}
	return f.Store.SettleRuns(ctx, tenant, runs)
}

// rig is a tracker over a ledger over a real store.
type rig struct {
	*Tracker
	t     testing.TB
	dir   string
	clock *clock
	cfg   Config
	db    *full
	l     *ledger.Ledger

	registry *prometheus.Registry // of the tracker that was opened last
}

func newRig(t testing.TB, set ...func(*Config)) *rig {
	t.Helper()
	r := &rig{t: t, dir: filepath.Join(t.TempDir(), "data"), clock: newClock()}
	r.cfg = Config{Reread: rereadNative, Logger: slog.New(slog.DiscardHandler), Now: r.clock.Now}
	for _, f := range set {
		f(&r.cfg)
	}
	r.open()
	t.Cleanup(r.close)
	for _, tenant := range []string{"acme", "other"} {
		if _, err := r.l.CreateTenant(context.Background(), tenant); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

// metric returns the sum of a metric's values.
func (r *rig) metric(name string) (sum float64) {
	r.t.Helper()
	families, err := r.registry.Gather()
	if err != nil {
		r.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			for _, m := range f.GetMetric() {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
			return sum
		}
	}
	r.t.Fatalf("no metric %s", name)
	return 0
}

// rereadNative takes the conversation from /attrs, as the tests put it there.
func rereadNative(_ evidence.Kind, attrs, body []byte) (dialect.Hints, error) {
	var h dialect.Hints
	var list [][]string
	if attrs != nil {
		if err := json.Unmarshal(attrs, &list); err != nil {
			return h, err
		}
		h.Conversation = list[0][2]
	}
	if text, ok := dialect.UserText(body); ok {
		h.Prompt = hintMessages("user", text)
	}
	return h, nil
}

func (r *rig) open() {
	r.t.Helper()
	ctx := context.Background()
	db, err := storerig.Open(ctx, r.dir)
	if err != nil {
		r.t.Fatal(err)
	}
	r.db = &full{Store: db}
	master, err := seal.OpenMaster(filepath.Join(r.dir, "master.keyset.json"), true)
	if err != nil {
		r.t.Fatal(err)
	}
	anchor, err := ledger.NewDirAnchor(r.dir + ".anchor")
	if err != nil {
		r.t.Fatal(err)
	}
	r.l, err = ledger.Open(ctx, ledger.Config{
		Store: r.db, Sealer: seal.New(r.db, master), Anchor: anchor, Instance: "test.example",
		Logger: slog.New(slog.DiscardHandler), Clock: ledger.Clock{Now: r.clock.Now, Boot: r.clock.boot},
	})
	if err != nil {
		r.t.Fatal(err)
	}
	r.cfg.Ledger = r.l
	r.Tracker = r.track()
}

func (r *rig) track() *Tracker {
	r.t.Helper()
	r.registry = prometheus.NewRegistry()
	r.cfg.Metrics = r.registry
	tr, err := Open(context.Background(), r.cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	return tr
}

func (r *rig) close() {
	if r.l == nil {
		return
	}
	if err := errors.Join(r.Tracker.Close(context.Background()), r.l.Close(), r.db.Close()); err != nil {
		r.t.Error(err)
	}
	r.l = nil
}

func (r *rig) reopen() {
	r.t.Helper()
	r.close()
	r.open()
}

// append makes records durable without telling anyone.
func (r *rig) append(tenant string, items ...item) []Observed {
	r.t.Helper()
	var records []*evidence.Record
	for _, it := range items {
		if tenant != "acme" { // ids were made for acme
			if it.record.NaturalKey != "" {
				it.record.ID = evidence.ID{}
			}
		}
		records = append(records, it.record)
	}
	receipts, err := r.l.Append(context.Background(), tenant, records, ledger.AppendOptions{Producer: "test"})
	if err != nil {
		r.t.Fatal(err)
	}
	var out []Observed
	for i, it := range items {
		o := Observed{Record: records[i], Receipt: receipts[i], Hints: it.hints}
		if attrs := records[i].SealedJSON("/attrs"); attrs != nil || records[i].SealedJSON("/body") != nil {
			o.Hints, _ = rereadNative(0, attrs, records[i].SealedJSON("/body"))
		}
		out = append(out, o)
	}
	return out
}

func (r *rig) send(items ...item) []ledger.Receipt {
	r.t.Helper()
	out := r.append("acme", items...)
	r.Observe("acme", out)
	var receipts []ledger.Receipt
	for _, o := range out {
		receipts = append(receipts, o.Receipt)
	}
	return receipts
}

// pass lets time go by and does what is due.
func (r *rig) pass(d time.Duration) {
	r.clock.add(d)
	r.Drain()
}

// revisions returns what the ledger has of a run's llm_run records.
func (r *rig) revisions(tenant, run string) (list []map[string]string) {
	r.t.Helper()
	err := r.l.RunRecords(context.Background(), tenant, run, func(rr ledger.RunRecord) error {
		if rr.Leaf.Kind == evidence.KindLLMRun {
			rec, _ := recordOf(&rr)
			facts := flat(rec)
			facts["n"] = fmt.Sprint(rr.Leaf.N)
			list = append(list, facts)
		}
		return nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return list
}

func (r *rig) isOpen(run string) bool {
	r.t.Helper()
	s, err := r.l.RunState(context.Background(), "acme", run)
	if err != nil {
		r.t.Fatal(err)
	}
	return s.Open
}

// wantRevisions checks how many there are and returns the newest.
func (r *rig) wantRevisions(run string, n int) map[string]string {
	r.t.Helper()
	list := r.revisions("acme", run)
	if len(list) != n {
		r.t.Fatalf("run has %d revisions, want %d: %v", len(list), n, list)
	}
	for i, rev := range list {
		if rev["revision"] != fmt.Sprint(i+1) || rev["conflict_of"] != "" {
			r.t.Errorf("revision %d: %v", i+1, rev)
		}
	}
	if n == 0 {
		return nil
	}
	return list[n-1]
}

// wantIdle checks that nothing is followed any more and all memory given back.
func (r *rig) wantIdle() {
	r.t.Helper()
	if runs, bytes := r.Following(); runs != 0 || bytes != 0 {
		r.t.Errorf("%d runs are followed, %d bytes kept", runs, bytes)
	}
}

func (r *rig) wantOpen(run string, open bool) {
	r.t.Helper()
	if got := r.isOpen(run); got != open {
		r.t.Errorf("run is open: %v, want %v", got, open)
	}
}

// someRun is a run of a root and a call below it.
func someRun(t testing.TB) (root, child item) {
	root = spanItem(t, 1, 0, "agent", 0, 900, m{"agent_id": "planner", "attrs": []any{[]any{"session.id", "string", "c-1"}}})
	child = call(2, 1, 100, 300, 10, 5, m{"prompt": messages("user", "hello"), "response": messages("assistant", "hi")})(t)
	return root, child
}
