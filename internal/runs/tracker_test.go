package runs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/dialect"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/seal"
	"github.com/runledger/runledger/internal/store"
	"github.com/runledger/runledger/internal/store/sqlite"
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
	if attrs != nil && json.Unmarshal(attrs, &list) == nil {
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
	db, err := sqlite.Open(ctx, sqlite.Config{Dir: r.dir})
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

func TestEndsByRoot(t *testing.T) {
	r := newRig(t)
	root, child := someRun(t)
	r.send(child)
	r.pass(59 * time.Second)
	r.wantRevisions(testTrace, 0)
	r.send(root)
	r.pass(1900 * time.Millisecond)
	r.wantRevisions(testTrace, 0)
	r.send(event(t, 1, 5, 2, dialect.Hints{})) // something came: it waits again
	r.pass(1900 * time.Millisecond)
	r.wantRevisions(testTrace, 0)
	r.wantOpen(testTrace, true)
	r.pass(100 * time.Millisecond)
	rev := r.wantRevisions(testTrace, 1)
	for name, w := range map[string]string{
		"sealed_by": "root_span", "execution_status": "SUCCEEDED", "record_count": "4", "n": "3", "step_count": "2", "input_tokens": "10",
		"/prompt": `"hello"`, "/response": `"hi"`, "producer": "", "conversation_id": "c-1",
	} {
		if rev[name] != w {
			t.Errorf("%s is %q, want %q", name, rev[name], w)
		}
	}
	r.wantOpen(testTrace, false)
	r.wantIdle()
	r.pass(time.Hour)
	r.wantRevisions(testTrace, 1)
	for name, want := range map[string]float64{
		"runledger_runs_ended_total": 1, "runledger_run_revisions_total": 0, "runledger_runs_open": 0, "runledger_runs_read_back_total": 0,
	} {
		if got := r.metric(name); got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
}

func TestEndsByQuietAndIdle(t *testing.T) {
	r := newRig(t)
	_, child := someRun(t)
	r.send(child)
	ev := event(t, 9, 5, 0, dialect.Hints{})
	ev.record.Run = "only events"
	r.send(ev)
	r.pass(59900 * time.Millisecond)
	r.wantRevisions(testTrace, 0)
	r.pass(100 * time.Millisecond)
	if rev := r.wantRevisions(testTrace, 1); rev["sealed_by"] != "quiet" || rev["completeness"] != `["root_missing"]` {
		t.Errorf("%v", rev)
	}
	r.pass(8 * time.Minute)
	r.wantRevisions("only events", 0)
	r.pass(time.Minute)
	if rev := r.wantRevisions("only events", 1); rev["sealed_by"] != "timeout" || rev["execution_status"] != "TIMEOUT" {
		t.Errorf("%v", rev)
	}
	r.wantIdle()
}

func TestLateSpanMakesARevision(t *testing.T) {
	r := newRig(t)
	root, child := someRun(t)
	r.send(child)
	r.pass(time.Minute)
	r.wantRevisions(testTrace, 1)
	if receipt := r.send(root)[0]; !receipt.Late {
		t.Errorf("the root is not late: %+v", receipt)
	}
	r.wantOpen(testTrace, true)
	r.pass(1900 * time.Millisecond)
	r.wantRevisions(testTrace, 1)
	r.pass(100 * time.Millisecond)
	rev := r.wantRevisions(testTrace, 2)
	if rev["sealed_by"] != "root_span" || rev["completeness"] != "[]" || rev["step_count"] != "2" || rev["record_count"] != "4" {
		t.Errorf("%v", rev)
	}
	r.wantOpen(testTrace, false)
	r.wantIdle()
}

func TestLateRecordThatChangesNothing(t *testing.T) {
	r := newRig(t)
	root, child := someRun(t)
	r.send(child, root)
	r.pass(2 * time.Second)
	r.wantRevisions(testTrace, 1)
	r.send(event(t, 1, 5, 2, dialect.Hints{}))
	r.wantOpen(testTrace, true)
	r.pass(2 * time.Second)
	r.wantRevisions(testTrace, 1)
	r.wantOpen(testTrace, false)
	r.wantIdle()

	// After a restart in between as well.
	r.send(event(t, 2, 6, 2, dialect.Hints{}))
	r.reopen()
	r.pass(2 * time.Second)
	r.wantRevisions(testTrace, 1)
	r.wantOpen(testTrace, false)

	// A duplicate is nothing that came.
	root, child = someRun(t)
	if receipts := r.send(child, root); !receipts[0].Duplicate {
		t.Errorf("%+v", receipts[0])
	}
	r.wantIdle()

	// A conflict record counts in n, and changes nothing.
	other := spanItem(t, 1, 0, "agent", 0, 901, m{"status": "failure"})
	if receipts := r.send(other); receipts[0].ConflictOf == (evidence.ID{}) {
		t.Errorf("%+v", receipts[0])
	}
	r.pass(2 * time.Second)
	r.wantRevisions(testTrace, 1)
	r.wantOpen(testTrace, false)
	r.wantIdle()
}

// TestLateWithoutRoot: a late event of a run that ended without root waits as
// long as that run did.
func TestLateWithoutRoot(t *testing.T) {
	r := newRig(t)
	_, child := someRun(t)
	r.send(child)
	r.pass(time.Minute)
	late := call(3, 1, 400, 500, 1, 1, nil)(t)
	r.send(late)
	r.pass(30 * time.Second)
	r.wantRevisions(testTrace, 1)
	r.pass(30 * time.Second)
	if rev := r.wantRevisions(testTrace, 2); rev["input_tokens"] != "11" || rev["sealed_by"] != "quiet" {
		t.Errorf("%v", rev)
	}
	r.wantIdle()
}

func TestRestart(t *testing.T) {
	ending := func(restart bool) map[string]string {
		r := newRig(t)
		root, child := someRun(t)
		r.send(child, event(t, 1, 5, 2, dialect.Hints{}))
		r.send(spanItem(t, 3, 1, "tool", 300, 400, m{"status": "failure", "status_message": "no"}))
		if restart {
			r.reopen()
			r.Drain()
			r.wantRevisions(testTrace, 0) // it has time yet
			r.clock.add(30 * time.Second)
		}
		r.send(audit(t, 1, 350, m{"decision": "WARNED", "limit_value": "10", "observed_value": "9", "entity_type": "LIMIT"}), root)
		if restart {
			r.reopen()
			r.clock.add(-30 * time.Second)
		}
		r.pass(2 * time.Second)
		if restart {
			r.pass(30 * time.Second)
		}
		rev := r.wantRevisions(testTrace, 1)
		r.wantIdle()
		r.wantOpen(testTrace, false)
		return rev
	}
	if diff := cmp.Diff(ending(false), ending(true)); diff != "" {
		t.Errorf("ended after a restart (-without +with):\n%s", diff)
	}
}

// TestStartFindsOldRuns: what is past its time ends at once.
func TestStartFindsOldRuns(t *testing.T) {
	r := newRig(t)
	root, child := someRun(t)
	r.send(child, root)
	young := event(t, 9, 5, 0, dialect.Hints{})
	young.record.Run = "young"
	r.send(young)
	r.close()
	r.clock.add(9 * time.Minute)
	r.open()
	r.Drain()
	if rev := r.wantRevisions(testTrace, 1); rev["sealed_by"] != "root_span" {
		t.Errorf("%v", rev)
	}
	r.wantRevisions("young", 0)
	r.pass(time.Minute)
	r.wantRevisions("young", 1)
	r.wantIdle()
}

func TestMemoryBound(t *testing.T) {
	ending := func(memory int64) map[string]string {
		r := newRig(t, func(c *Config) { c.MaxMemory = memory })
		root, child := someRun(t)
		r.send(child)
		r.send(event(t, 1, 5, 2, dialect.Hints{}))
		r.send(root)
		if _, bytes := r.Following(); bytes > memory {
			t.Errorf("%d bytes are kept, over %d", bytes, memory)
		}
		r.pass(2 * time.Second)
		r.wantIdle()
		return r.wantRevisions(testTrace, 1)
	}
	if diff := cmp.Diff(ending(1<<20), ending(1)); diff != "" {
		t.Errorf("ended from the store (-memory +store):\n%s", diff)
	}
}

func TestEvictsWhatHasLongestToGo(t *testing.T) {
	r := newRig(t, func(c *Config) { c.MaxMemory = 40 * runBytes })
	var items []item
	for i := range 200 {
		s := call(i+1, 7000, 1, 2, 1, 1, nil)(t)
		s.record.Run = fmt.Sprint("run ", i)
		items = append(items, s)
	}
	r.send(items...)
	runs, bytes := r.Following()
	if runs != 200 || bytes > 40*runBytes || bytes < 10*runBytes {
		t.Errorf("%d runs, %d bytes", runs, bytes)
	}
	if off := r.Leaks(); off != 0 {
		t.Errorf("the count of bytes is off by %d", off)
	}
	r.pass(time.Minute)
	for i := range 200 {
		r.wantRevisions(fmt.Sprint("run ", i), 1)
	}
	r.wantIdle()
}

func TestTwoTrackers(t *testing.T) {
	r := newRig(t)
	second := r.track()
	defer second.Close(context.Background())
	root, child := someRun(t)
	out := r.append("acme", child, root)
	r.Observe("acme", out)
	second.Observe("acme", out)
	// Half of another run each.
	a, b := call(5, 0, 1, 2, 1, 1, nil)(t), call(6, 5, 1, 2, 1, 1, nil)(t)
	a.record.Run, b.record.Run = "halves", "halves"
	r.Observe("acme", r.append("acme", a))
	second.Observe("acme", r.append("acme", b))
	r.clock.add(2 * time.Second)
	var wg sync.WaitGroup
	wg.Go(r.Drain)
	wg.Go(second.Drain)
	wg.Wait()
	for range 3 {
		r.pass(2 * time.Second)
		second.Drain()
	}
	r.wantRevisions(testTrace, 1)
	if rev := r.wantRevisions("halves", 1); rev["step_count"] != "2" {
		t.Errorf("%v", rev)
	}
	r.wantIdle()
	if runs, bytes := second.Following(); runs != 0 || bytes != 0 {
		t.Errorf("the second follows %d runs, %d bytes", runs, bytes)
	}
}

func TestTenantsAreApart(t *testing.T) {
	r := newRig(t)
	root, child := someRun(t)
	r.send(child, root)
	root, child = someRun(t)
	child.record.SetInt("input_tokens", 77)
	r.Observe("other", r.append("other", child))
	r.pass(2 * time.Second)
	if rev := r.wantRevisions(testTrace, 1); rev["input_tokens"] != "10" {
		t.Errorf("%v", rev)
	}
	if list := r.revisions("other", testTrace); len(list) != 0 {
		t.Errorf("the other tenant's run ended too: %v", list)
	}
	r.Observe("other", r.append("other", root))
	r.pass(2 * time.Second)
	if list := r.revisions("other", testTrace); len(list) != 1 || list[0]["input_tokens"] != "77" {
		t.Errorf("%v", list)
	}
	r.wantRevisions(testTrace, 1)
}

func TestLedgerUnavailable(t *testing.T) {
	r := newRig(t)
	root, child := someRun(t)
	r.send(child, root)
	done := spanItem(t, 9, 0, "agent", 1, 2, nil)
	done.record.Run = "settles"
	r.send(done)
	r.pass(0)
	r.db.fail(fmt.Errorf("disk is full: %w", evidence.ErrUnavailable))
	for range 8 {
		r.pass(2 * time.Second)
	}
	r.wantRevisions(testTrace, 0)
	if runs, bytes := r.Following(); runs != 2 || bytes == 0 {
		t.Errorf("%d runs, %d bytes", runs, bytes)
	}
	r.db.fail(nil)
	r.pass(maxBackoff)
	r.wantRevisions(testTrace, 1)
	r.wantRevisions("settles", 1)
	r.wantIdle()

	// The same for a run that is only to be settled.
	ev := event(t, 1, 5, 9, dialect.Hints{})
	ev.record.Run = "settles"
	r.send(ev)
	r.db.fail(fmt.Errorf("disk is full: %w", evidence.ErrUnavailable))
	r.pass(2 * time.Second)
	r.wantOpen("settles", true)
	r.db.fail(nil)
	r.pass(maxBackoff)
	r.wantOpen("settles", false)
	r.wantIdle()
}

// TestNativeCompletion: a producer ends its own run.
func TestNativeCompletion(t *testing.T) {
	r := newRig(t)
	root, child := someRun(t)
	completion := native(t, "llm_run", 0, m{"execution_status": "FAILED", "started_at": nil})
	r.send(child)
	r.send(completion)
	r.pass(2 * time.Second)
	if rev := r.wantRevisions(testTrace, 1); rev["execution_status"] != "FAILED" || rev["sealed_by"] != "completion" || rev["producer"] != "test" {
		t.Errorf("%v", rev)
	}
	r.wantIdle()
	r.send(root) // late
	r.wantOpen(testTrace, true)
	r.pass(2 * time.Second)
	r.wantRevisions(testTrace, 1)
	r.wantOpen(testTrace, false)
	r.wantIdle()

	// Completion and what comes after it at once: settled without reading.
	all := []item{
		native(t, "llm_run", 0, m{"execution_status": "SUCCEEDED", "run_id": "b"}),
		native(t, "trace_step", 0, m{"run_id": "b", "trace_id": testTrace, "span_id": spanOf(44), "skill_name": "x", "step_kind": "tool", "status": "success"}),
	}
	r.send(all...)
	r.wantOpen("b", true)
	r.pass(2 * time.Second)
	r.wantRevisions("b", 1)
	r.wantOpen("b", false)
	r.wantIdle()
}

// TestUntoldRecords: what nobody told the tracker of is not missed.
func TestUntoldRecords(t *testing.T) {
	r := newRig(t)
	root, child := someRun(t)
	r.send(child, root)
	r.append("acme", call(3, 1, 400, 500, 1, 1, nil)(t))
	r.pass(2 * time.Second)
	r.wantRevisions(testTrace, 0) // it is stale
	r.pass(2 * time.Second)
	if rev := r.wantRevisions(testTrace, 1); rev["input_tokens"] != "11" || rev["step_count"] != "3" {
		t.Errorf("%v", rev)
	}
	r.wantIdle()
	// A run of which it has heard nothing is found.
	alone := spanItem(t, 9, 0, "agent", 1, 2, nil)
	alone.record.Run = "alone"
	r.append("acme", alone)
	r.clock.add(10 * time.Second)
	if err := r.Rescan(); err != nil {
		t.Fatal(err)
	}
	r.Drain()
	r.wantRevisions("alone", 1)
	r.wantIdle()
}

// TestRefusedRunHoldsNobodyUp: one that cannot be ended does not keep the others
// of its batch from it, and is not tried again before long.
func TestRefusedRunHoldsNobodyUp(t *testing.T) {
	r := newRig(t)
	for i := range 5 {
		s := spanItem(t, i+1, 0, "agent", 0, 9, nil)
		s.record.Run = fmt.Sprint("run ", i)
		r.send(s)
	}
	s := r.shardOf("run 2")
	s.mu.Lock()
	s.runs[key{"acme", "run 2"}].run.traceID.text = "no trace id" // as no record can say
	s.mu.Unlock()
	check := func(after time.Duration, failed float64, revisions int) {
		t.Helper()
		r.pass(after)
		if got := r.metric("runledger_run_end_failures_total"); got != failed {
			t.Errorf("%v failures, want %v", got, failed)
		}
		r.wantRevisions("run 2", revisions)
	}
	check(2*time.Second, 1, 0)
	for _, i := range []int{0, 1, 3, 4} {
		r.wantRevisions(fmt.Sprint("run ", i), 1)
	}
	check(9*time.Minute, 1, 0)
	check(time.Minute, 1, 1) // read back, it is good
	r.wantIdle()

	// Where the ledger refuses a batch, each is tried by itself.
	ghost, _ := someRun(t)
	other := spanItem(t, 9, 0, "agent", 0, 9, nil)
	other.record.Run = "other"
	r.Observe("ghost", []Observed{{Record: ghost.record}, {Record: other.record}})
	check(2*time.Second, 3, 1)
	check(9*time.Minute, 3, 1)
	if runs, bytes := r.Following(); runs != 2 || bytes != 0 {
		t.Errorf("%d runs, %d bytes", runs, bytes)
	}
}

// TestContradictingDatabase: a run whose last record the database hides is not
// ended, and not read for ever.
func TestContradictingDatabase(t *testing.T) {
	r := newRig(t, func(c *Config) { c.MaxMemory = 1 })
	root, child := someRun(t)
	r.send(child, root)
	r.db.hide(testTrace)
	for range 60 {
		r.pass(2 * time.Second)
	}
	if got := r.metric("runledger_run_end_failures_total"); got != 1 {
		t.Errorf("%v failures", got)
	}
	r.db.hide("")
	r.wantRevisions(testTrace, 0)
	r.pass(10 * time.Minute)
	r.wantRevisions(testTrace, 1)
}

// TestErased: after an erasure a late record does not bring content back, and
// what can no longer be known is no change.
func TestErased(t *testing.T) {
	for _, conversation := range []string{"c-1", "größe"} { // fit to be public, and not
		t.Run(conversation, func(t *testing.T) { testErased(t, conversation) })
	}
}

func testErased(t *testing.T, conversation string) {
	r := newRig(t)
	root, child := someRun(t)
	root.record.SetSealed("/subject", []byte(`"ada"`))
	root.record.SetSealed("/attrs", []byte(`[["session.id","string","`+conversation+`"]]`))
	child.record.SetSealed("/subject", []byte(`"ada"`))
	r.send(child, root)
	r.pass(2 * time.Second)
	first := r.wantRevisions(testTrace, 1)
	if first["/prompt"] == "" || first["conversation_id"] == "" {
		t.Fatalf("%v", first)
	}
	if _, err := r.l.Erase(context.Background(), "acme", ledger.Erasure{Person: "ada", Reason: "asked", By: "op"}); err != nil {
		t.Fatal(err)
	}
	r.send(event(t, 1, 5, 2, dialect.Hints{}))
	r.pass(2 * time.Second)
	r.wantRevisions(testTrace, 1)
	r.wantOpen(testTrace, false)
	r.send(call(3, 1, 400, 500, 1, 1, m{"prompt": messages("user", "again")})(t))
	r.pass(2 * time.Second)
	rev := r.wantRevisions(testTrace, 2)
	if rev["/prompt"] != "" || rev["input_tokens"] != "11" || conversation == "c-1" && rev["conversation_id"] != "c-1" {
		t.Errorf("%v", rev)
	}
}

func TestLive(t *testing.T) {
	for _, memory := range []int64{1, 1 << 20} {
		r := newRig(t, func(c *Config) { c.MaxMemory = memory })
		ctx := context.Background()
		root, child := someRun(t)
		_, err := r.Live(ctx, "acme", testTrace)
		if !errors.Is(err, evidence.ErrNotFound) {
			t.Errorf("before it began: %v", err)
		}
		r.send(child)
		rec, err := r.Live(ctx, "acme", testTrace)
		if err != nil {
			t.Fatal(err)
		}
		want(t, rec, map[string]string{"execution_status": "", "input_tokens": "10", "step_count": "1", "/prompt": `"hello"`})
		if _, err = r.Live(ctx, "other", testTrace); !errors.Is(err, evidence.ErrNotFound) {
			t.Errorf("of another tenant: %v", err)
		}
		r.send(root)
		r.pass(2 * time.Second)
		if _, err = r.Live(ctx, "acme", testTrace); !errors.Is(err, evidence.ErrNotFound) {
			t.Errorf("after it ended: %v", err)
		}
	}
}

// TestManyAtOnce ends many runs of two tenants while records still come.
func TestManyAtOnce(t *testing.T) {
	r := newRig(t, func(c *Config) { c.MaxMemory = 30 * runBytes })
	const runs = 50
	var wg sync.WaitGroup
	for _, tenant := range []string{"acme", "other"} {
		wg.Go(func() {
			for i := range runs {
				run := fmt.Sprint("run ", i)
				for j := range 3 {
					s := spanItem(t, 10*i+j+1, j*(10*i+1), "tool", j, j+1, nil)
					s.record.Run = run
					r.Observe(tenant, r.append(tenant, s))
				}
				r.clock.add(100 * time.Millisecond)
			}
		})
	}
	wg.Wait()
	for range 4 {
		r.pass(2 * time.Second)
	}
	for _, tenant := range []string{"acme", "other"} {
		for i := range runs {
			list := r.revisions(tenant, fmt.Sprint("run ", i))
			if n := len(list); n == 0 || list[n-1]["step_count"] != "3" {
				t.Fatalf("run %d of %s: %v", i, tenant, list)
			}
			if slices.ContainsFunc(list, func(f map[string]string) bool { return f["conflict_of"] != "" }) {
				t.Fatalf("run %d of %s has a conflict", i, tenant)
			}
		}
	}
	r.wantIdle()
}

// TestClosesInTime sees that Close waits for a record in flight and no longer
// than it may.
func TestClosesInTime(t *testing.T) {
	r := newRig(t)
	root, child := someRun(t)
	r.send(child, root)
	r.clock.add(2 * time.Second)
	if err := r.Tracker.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := r.Tracker.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	r.reopen()
	r.Drain()
	r.wantRevisions(testTrace, 1)
}
