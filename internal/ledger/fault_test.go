package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/seal"
	"github.com/runledger/runledger/internal/store"
	"github.com/runledger/runledger/internal/store/storerig"
)

// fault is one that strikes at calls of an operation.
type fault struct {
	op      string
	skip    int  // calls that pass before
	times   int  // calls that it strikes
	persist bool // the call is carried out and then reported as failed
	err     error
	// on, if set, says which calls it strikes: commits, or anchors by origin.
	on func(c *store.Commit, origin string) bool
}

// faults are those of one store and anchor, and a count of what reached
// them. They may be armed at any time.
type faults struct {
	mu     sync.Mutex
	armed  []*fault
	fired  int
	calls  map[string]int
	failed int   // commits that returned an error
	last   error // of a commit
	gate   *gate
	keys   map[store.KeyID]int // how often each was written
}

// gate holds the next commit in the store.
type gate struct {
	entered chan struct{}
	open    chan struct{}
}

func (g *gate) release() { close(g.open) }

func (f *faults) hold() *gate {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.gate = &gate{make(chan struct{}), make(chan struct{})}
	return f.gate
}

func (f *faults) arm(list ...*fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.armed, f.fired = list, 0
}

func (f *faults) disarm() (fired int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.armed = nil
	return f.fired
}

func (f *faults) count(ops ...string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, op := range ops {
		n += f.calls[op]
	}
	return n
}

func (f *faults) failures() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.failed
}

func (f *faults) lastError() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.last
}

// strike returns the fault that is due at this call, or nil.
func (f *faults) strike(op string, c *store.Commit, origin string) *fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.calls == nil {
		f.calls = map[string]int{}
	}
	f.calls[op]++
	for _, x := range f.armed {
		if x.op != op || x.on != nil && !x.on(c, origin) {
			continue
		}
		if x.skip > 0 {
			x.skip--
			continue
		}
		if x.times > 0 {
			x.times--
			f.fired++
			return x
		}
	}
	return nil
}

// do carries out a call with its fault.
func (f *faults) do(op string, call func() error) error { return f.doOn(op, nil, "", call) }

func (f *faults) doOn(op string, c *store.Commit, origin string, call func() error) error {
	x := f.strike(op, c, origin)
	if x == nil {
		return call()
	}
	if x.persist {
		if err := call(); err != nil {
			return err
		}
	}
	return x.err
}

// faultyStore is a store whose calls fail as armed.
type faultyStore struct {
	store.Store
	f *faults
}

func (s faultyStore) Commit(ctx context.Context, c *store.Commit) error {
	return s.commit(c, func() error { return s.Store.Commit(ctx, c) })
}

// Claim gives a claim whose commits have the same faults.
func (s faultyStore) Claim(ctx context.Context, log store.LogRef) (store.Claim, error) {
	c, err := s.Store.Claim(ctx, log)
	if err != nil {
		return nil, err
	}
	return &faultyClaim{c, s}, nil
}

type faultyClaim struct {
	store.Claim
	s faultyStore
}

// Commit ends the claim also where the fault comes before it.
func (c *faultyClaim) Commit(ctx context.Context, commit *store.Commit) error {
	defer c.Release()
	return c.s.commit(commit, func() error { return c.Claim.Commit(ctx, commit) })
}

func (s faultyStore) commit(c *store.Commit, write func() error) error {
	s.f.mu.Lock()
	g := s.f.gate
	s.f.gate = nil
	s.f.mu.Unlock()
	if g != nil {
		close(g.entered)
		<-g.open
	}
	err := s.f.doOn("Commit", c, "", write)
	s.f.mu.Lock()
	defer s.f.mu.Unlock()
	if err != nil {
		s.f.failed++
		s.f.last = err
		return err
	}
	for i := range c.Logs {
		for _, k := range c.Logs[i].Keys {
			if s.f.keys == nil {
				s.f.keys = map[store.KeyID]int{}
			}
			s.f.keys[k.ID]++
		}
	}
	return nil
}

// keysOnce checks that no data key was written twice.
func (f *faults) keysOnce(t *testing.T) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	for id, n := range f.keys {
		if n != 1 {
			t.Errorf("data key %x was written %d times", id, n)
		}
	}
}

func (s faultyStore) KeepCheckpoint(ctx context.Context, log store.LogRef, c store.Checkpoint) error {
	return s.f.do("KeepCheckpoint", func() error { return s.Store.KeepCheckpoint(ctx, log, c) })
}

func (s faultyStore) SetSetting(ctx context.Context, name, value string) error {
	return s.f.do("SetSetting", func() error { return s.Store.SetSetting(ctx, name, value) })
}

func (s faultyStore) Scrub(ctx context.Context) error {
	return s.f.do("Scrub", func() error { return s.Store.Scrub(ctx) })
}

func faultyRead[T any](f *faults, op string, call func() (T, error)) (out T, err error) {
	err = f.do(op, func() (err error) { out, err = call(); return err })
	if err != nil {
		var zero T
		return zero, err
	}
	return out, nil
}

func (s faultyStore) Logs(ctx context.Context, tenant string) ([]store.Log, error) {
	return faultyRead(s.f, "Logs", func() ([]store.Log, error) { return s.Store.Logs(ctx, tenant) })
}

func (s faultyStore) Head(ctx context.Context, log store.LogRef) (store.Head, error) {
	return faultyRead(s.f, "Head", func() (store.Head, error) { return s.Store.Head(ctx, log) })
}

func (s faultyStore) Segments(ctx context.Context, log store.LogRef, from, to int64, fn func(store.LeafSegment) error) error {
	return s.f.do("Segments", func() error { return s.Store.Segments(ctx, log, from, to, fn) })
}

func (s faultyStore) Tile(ctx context.Context, log store.LogRef, level int, n int64) ([]byte, error) {
	return faultyRead(s.f, "Tile", func() ([]byte, error) { return s.Store.Tile(ctx, log, level, n) })
}

func (s faultyStore) FindIDs(ctx context.Context, tenant string, ids []evidence.ID) (map[evidence.ID]store.Position, error) {
	return faultyRead(s.f, "FindIDs", func() (map[evidence.ID]store.Position, error) { return s.Store.FindIDs(ctx, tenant, ids) })
}

func (s faultyStore) FindSpans(ctx context.Context, tenant string, spans []store.Span) (map[store.Span]store.Position, error) {
	return faultyRead(s.f, "FindSpans", func() (map[store.Span]store.Position, error) { return s.Store.FindSpans(ctx, tenant, spans) })
}

func (s faultyStore) Runs(ctx context.Context, tenant string, runs []string) (map[string]store.RunState, error) {
	return faultyRead(s.f, "Runs", func() (map[string]store.RunState, error) { return s.Store.Runs(ctx, tenant, runs) })
}

func (s faultyStore) DataKeys(ctx context.Context, tenant, scope, label string) ([]store.DataKey, error) {
	return faultyRead(s.f, "DataKeys", func() ([]store.DataKey, error) { return s.Store.DataKeys(ctx, tenant, scope, label) })
}

func (s faultyStore) DataKey(ctx context.Context, tenant string, id store.KeyID) (store.DataKey, error) {
	return faultyRead(s.f, "DataKey", func() (store.DataKey, error) { return s.Store.DataKey(ctx, tenant, id) })
}

func (s faultyStore) SealedSegment(ctx context.Context, tenant string, ref store.SegmentRef) (store.SealedSegment, error) {
	return faultyRead(s.f, "SealedSegment", func() (store.SealedSegment, error) { return s.Store.SealedSegment(ctx, tenant, ref) })
}

func (s faultyStore) SealedSegments(ctx context.Context, log store.LogRef, fn func(store.SealedSegment) error) error {
	return s.f.do("SealedSegments", func() error { return s.Store.SealedSegments(ctx, log, fn) })
}

func (s faultyStore) Row(ctx context.Context, log store.LogRef, kind evidence.Kind, seq int64) (store.Row, error) {
	return faultyRead(s.f, "Row", func() (store.Row, error) { return s.Store.Row(ctx, log, kind, seq) })
}

func (s faultyStore) Setting(ctx context.Context, name string) (string, error) {
	return faultyRead(s.f, "Setting", func() (string, error) { return s.Store.Setting(ctx, name) })
}

// faultyAnchor is an anchor whose calls fail as armed.
type faultyAnchor struct {
	ledger.Anchor
	f *faults
}

func (a faultyAnchor) Read(origin string) ([]byte, error) {
	var out []byte
	err := a.f.doOn("anchor.Read", nil, origin, func() (err error) { out, err = a.Anchor.Read(origin); return err })
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (a faultyAnchor) Write(origin string, note []byte) error {
	return a.f.do("anchor.Write", func() error { return a.Anchor.Write(origin, note) })
}

func (a faultyAnchor) Accept(origin string, lost, note []byte) error {
	return a.f.do("anchor.Accept", func() error { return a.Anchor.Accept(origin, lost, note) })
}

func (a faultyAnchor) Origins() ([]string, error) {
	return faultyRead(a.f, "anchor.Origins", func() ([]string, error) { return a.Anchor.Origins() })
}

// withFaults puts faults between the ledger and its store and anchor.
func withFaults(f *faults) rigOption {
	return func(c *ledger.Config) {
		c.Store = faultyStore{c.Store, f}
		c.Anchor = faultyAnchor{c.Anchor, f}
	}
}

func openFaulty(t testing.TB, dir string, f *faults, opts ...rigOption) *rig {
	t.Helper()
	r, err := tryFaulty(t, dir, f, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func tryFaulty(t testing.TB, dir string, f *faults, opts ...rigOption) (*rig, error) {
	t.Helper()
	// The sealer reads through the faults too.
	sealer := func(c *ledger.Config) {
		master, err := seal.OpenMaster(filepath.Join(dir, "master.keyset.json"), false)
		if err != nil {
			t.Fatal(err)
		}
		c.Sealer = seal.New(c.Store, master)
	}
	return tryRig(t, dir, append([]rigOption{withFaults(f), sealer}, opts...)...)
}

var errOdd = errors.New("something nobody has thought of")

// faultErrors are the errors that a store may return: those of the contract,
// in place and out of place, and others.
var faultErrors = []struct {
	name string
	err  error
}{
	{"duplicate", fmt.Errorf("injected: %w", store.ErrDuplicate)},
	{"head moved", fmt.Errorf("injected: %w", store.ErrHeadMoved)},
	{"unavailable", fmt.Errorf("injected: %w", evidence.ErrUnavailable)},
	{"sync", fmt.Errorf("injected: %w", store.ErrSync)},
	{"cancelled", context.Canceled},
	{"deadline", context.DeadlineExceeded},
	{"odd", errOdd},
}

// allFaults runs the whole of each table.
var allFaults = os.Getenv("RUNLEDGER_FAULTS") == "all"

// raced says that the race detector is on, under which SQLite is slow.
var raced = func() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.ContainsFunc(info.Settings, func(s debug.BuildSetting) bool { return s.Key == "-race" && s.Value == "true" })
}()

// slow says that only such cases of a table are run as the ledger does not treat
// alike: PostgreSQL's connections take longer than all else that these tests do.
var slow = raced || storerig.OnPostgres()

// fewErrors are those that the tables beside that of Commit use.
func fewErrors() (out []error) {
	for _, e := range faultErrors {
		switch {
		case allFaults, errors.Is(e.err, errOdd), errors.Is(e.err, store.ErrSync), errors.Is(e.err, store.ErrHeadMoved) && !slow:
			out = append(out, e.err)
		}
	}
	return out
}

// deed is what an armed fault meets. It is repeated until it succeeds.
type deed struct {
	name string
	// prepare runs before the fault is armed.
	prepare func(t *testing.T, w *world)
	// do does it once and notes what is acknowledged.
	do func(t *testing.T, w *world) error
	// heads is how many heads it reads before it commits.
	heads int
}

// world is a rig with what was acknowledged by it.
type world struct {
	*rig
	f     *faults
	mu    sync.Mutex
	acked map[string][]ledger.Receipt // by tenant
	// erase is the record that is erased.
	erase ledger.Receipt
}

func (w *world) note(tenant string, receipts []ledger.Receipt) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.acked[tenant] = append(w.acked[tenant], receipts...)
}

func (w *world) add(t testing.TB, tenant string, lines ...string) error {
	t.Helper()
	receipts, err := w.tryAppend(t, tenant, lines...)
	if err == nil {
		w.note(tenant, receipts)
	}
	return err
}

// mixed is a batch of all that sequencing treats in its own way.
func mixed(base, n int) []string {
	var lines []string
	for i := range n {
		switch i % 4 {
		case 0:
			lines = append(lines, event(base+i, fmt.Sprintf(`,"run_id":"run-%d","body":{"n":%d},"human_actor_id":"ada"`, base/1000, i)))
		case 3:
			lines = append(lines, ended(base+i, 1))
		default:
			lines = append(lines, step(base+i, 1, fmt.Sprintf(`,"prompt":"p%d","human_actor_id":"bob"`, i)))
		}
	}
	return lines
}

var deeds = []deed{
	{name: "first commit of a tenant", do: func(t *testing.T, w *world) error {
		_, err := w.CreateTenant(patient(t), "fresh")
		if errors.Is(err, evidence.ErrConflict) { // it was stored after all
			err = nil
		}
		return err
	}},
	{name: "ordinary commit", do: func(t *testing.T, w *world) error { return w.add(t, "acme", mixed(20000, 12)...) }},
	{
		name: "commit with new keys",
		do: func(t *testing.T, w *world) error {
			return w.add(t, "acme", event(30000, `,"human_actor_id":"new-person","body":1`), event(30001, `,"subject":"new-subject","body":2`))
		},
	},
	{
		name: "commit with a tile",
		prepare: func(t *testing.T, w *world) {
			if err := w.add(t, "acme", mixed(40000, 220)...); err != nil {
				t.Fatal(err)
			}
		},
		do: func(t *testing.T, w *world) error { return w.add(t, "acme", mixed(50000, 60)...) },
	},
	{name: "commit with another behind it", do: func(t *testing.T, w *world) error {
		g := w.f.hold()
		var wg sync.WaitGroup
		errs := make([]error, 4)
		first := make(chan struct{})
		go func() {
			defer close(first)
			errs[0] = w.add(t, "acme", mixed(60000, 8)...)
		}()
		select {
		case <-g.entered:
		case <-first: // all of it is there already
		}
		// These stand on the plan that is being written: the same run, the
		// same new key, the same ids, another tenant.
		wg.Go(func() { errs[1] = w.add(t, "acme", mixed(61000, 8)...) })
		wg.Go(func() {
			errs[2] = w.add(t, "acme", event(60000, `,"run_id":"run-60","body":{"n":0},"human_actor_id":"ada"`), event(62000, ""))
		})
		wg.Go(func() { errs[3] = w.add(t, "other", mixed(63000, 8)...) })
		time.Sleep(5 * time.Millisecond)
		g.release()
		wg.Wait()
		<-first
		return errors.Join(errs...)
	}},
	{name: "rollover", do: func(t *testing.T, w *world) error {
		_, err := w.Rollover(patient(t), "acme")
		return err
	}},
	{
		name:    "erasure of a field",
		prepare: func(t *testing.T, w *world) { w.erase = w.acked["acme"][0] },
		do: func(t *testing.T, w *world) error {
			_, err := w.Erase(patient(t), "acme", ledger.Erasure{
				Fields: []ledger.ErasedField{{Position: store.Position{LogNo: 1, Seq: w.erase.LeafIndex}, Paths: []string{"/body"}}},
			})
			if errors.Is(err, evidence.ErrNotFound) { // it is erased
				err = nil
			}
			return err
		},
	},
	{name: "erasure of a person", heads: 3, prepare: func(t *testing.T, w *world) {
		// The person's key is in memory.
		if err := w.add(t, "acme", event(40000, `,"human_actor_id":"ada","body":7`)); err != nil {
			t.Fatal(err)
		}
	}, do: func(t *testing.T, w *world) error {
		_, err := w.Erase(patient(t), "acme", ledger.Erasure{Person: "ada"})
		if errors.Is(err, evidence.ErrNotFound) {
			err = nil
		}
		return err
	}},
}

// firstWorld is a deployment with two tenants that have some records. It is
// made once a test and copied.
type firstWorld struct {
	dir   string
	acked map[string][]ledger.Receipt
}

func makeWorld(t *testing.T) *firstWorld {
	t.Helper()
	w := &world{acked: map[string][]ledger.Receipt{}}
	first := &firstWorld{filepath.Join(t.TempDir(), "data"), w.acked}
	w.rig = openRig(t, first.dir)
	for i, tenant := range []string{"acme", "other"} {
		w.tenant(t, tenant)
		if err := w.add(t, tenant, mixed(10000+i*100, 12)...); err != nil {
			t.Fatal(err)
		}
	}
	w.close()
	return first
}

// open opens a copy, with faults.
func (first *firstWorld) open(t *testing.T, dir string) *world {
	t.Helper()
	w := &world{f: &faults{}, acked: map[string][]ledger.Receipt{}}
	for _, suffix := range []string{"", ".anchor"} {
		if err := storerig.Copy(dir+suffix, first.dir+suffix); err != nil {
			t.Fatal(err)
		}
	}
	w.rig = openFaulty(t, dir, w.f, func(c *ledger.Config) { c.PublishEvery = 5 * time.Millisecond })
	for tenant, receipts := range first.acked {
		w.acked[tenant] = slices.Clone(receipts)
		if _, err := w.Checkpoint(patient(t), tenant); err != nil { // so that the log is loaded
			t.Fatal(err)
		}
	}
	return w
}

// after is what must hold whatever happened: the deed succeeds, appends go
// on, all that was acknowledged is there, and verification finds nothing.
func (w *world) after(t *testing.T, d deed, allowed ...string) {
	t.Helper()
	if err := d.do(t, w); err != nil {
		t.Fatalf("repeated: %v", err)
	}
	for i, tenant := range []string{"acme", "other"} {
		if err := w.add(t, tenant, mixed(70000+i*1000, 12)...); err != nil {
			t.Fatalf("append afterwards: %v", err)
		}
		// Under the person's key, which an erasure may have destroyed.
		if err := w.add(t, tenant, event(75000+i, `,"human_actor_id":"ada","body":7`)); err != nil {
			t.Fatalf("append afterwards: %v", err)
		}
		// Under keys that a failed commit may have brought.
		if err := w.add(t, tenant, event(76000+i, `,"human_actor_id":"new-person","subject":"new-subject","body":7`)); err != nil {
			t.Fatalf("append afterwards: %v", err)
		}
	}
	for _, tenant := range []string{"acme", "other"} {
		c := w.contents(t, tenant)
		c.holds(t, w.acked[tenant])
		c.checkRuns(t)
		for i, leaf := range c.leaves {
			closed := leaf.Kind == evidence.KindSystem && leaf.Text("event_type") == "LOG_CLOSED"
			if last := i+1 == len(c.leaves) || c.leaves[i+1].Log != leaf.Log; closed && !last {
				t.Errorf("LOG_CLOSED at %d of %s is not the last leaf", leaf.Seq, leaf.Log)
			}
			if leaf.Text("conflict_of") != "" {
				t.Errorf("leaf %d of %s is a conflict; nothing contradicts", leaf.Seq, leaf.Log)
			}
		}
	}
	w.verifyClean(t, allowed...)
}

// TestFaultsOfCommit is the fault table of the write that matters: each deed
// x each error x {failed, persisted} x {the head can be read back, or not}.
// RUNLEDGER_FAULTS=all runs also what differs in name only.
func TestFaultsOfCommit(t *testing.T) {
	first := makeWorld(t)
	modes := []struct {
		name     string
		persist  bool
		readBack bool // the head cannot be read back either
	}{
		{"failed", false, false},
		{"persisted", true, false},
		{"failed, no reading back", false, true},
		{"persisted, no reading back", true, true},
	}
	for _, d := range deeds {
		for _, e := range faultErrors {
			for _, m := range modes {
				// Outcomes that the ledger treats alike are for a long run.
				odd := errors.Is(e.err, errOdd)
				switch {
				case allFaults || odd && !slow:
				case slow && !odd && !errors.Is(e.err, store.ErrDuplicate), slow && odd && m.persist != m.readBack:
					continue
				case m.readBack && !odd && !errors.Is(e.err, store.ErrHeadMoved), m.readBack && m.persist && !odd:
					continue
				case errors.Is(e.err, context.Canceled) && !m.persist, errors.Is(e.err, context.DeadlineExceeded):
					continue
				}
				t.Run(d.name+"/"+e.name+"/"+m.name, func(t *testing.T) {
					t.Parallel()
					dir := filepath.Join(t.TempDir(), "data")
					w := first.open(t, dir)
					if d.prepare != nil {
						d.prepare(t, w)
					}
					list := []*fault{{op: "Commit", times: 1, persist: m.persist, err: e.err}}
					if m.readBack {
						list = append(list, &fault{op: "Head", skip: d.heads, times: 1, err: errOdd})
					}
					w.f.arm(list...)
					err := d.do(t, w)
					if w.f.disarm() == 0 {
						t.Fatal("the fault did not strike")
					}
					if err != nil && !errors.Is(err, evidence.ErrUnavailable) {
						t.Errorf("the error is not one of unavailability: %v", err)
					}
					if errors.Is(e.err, store.ErrSync) {
						w.stopped(t)
						w.close()
						w.rig = openRig(t, dir)
						w.after(t, d)
						return
					}
					w.after(t, d)
					w.close()
					w.rig = openRig(t, dir)
					w.after(t, d)
				})
			}
		}
	}
}

// stopped checks that the ledger signs nothing any more.
func (w *world) stopped(t *testing.T) {
	t.Helper()
	if err := w.Writable(); !errors.Is(err, evidence.ErrUnavailable) {
		t.Fatalf("writable after a failed sync: %v", err)
	}
	// What was being published may still be.
	before := -1
	for n := 0; n != before; n = w.f.count("Commit", "KeepCheckpoint", "anchor.Write") {
		before = n
		time.Sleep(30 * time.Millisecond)
	}
	for name, do := range map[string]func() error{
		"append":      func() error { return w.add(t, "acme", event(90000, "")) },
		"append to 2": func() error { return w.add(t, "other", event(90000, "")) },
		"create":      func() error { _, err := w.CreateTenant(patient(t), "late"); return err },
		"rollover":    func() error { _, err := w.Rollover(patient(t), "acme"); return err },
		"erase":       func() error { _, err := w.Erase(patient(t), "acme", ledger.Erasure{Person: "bob"}); return err },
	} {
		if err := do(); !errors.Is(err, evidence.ErrUnavailable) {
			t.Errorf("%s after a failed sync: %v", name, err)
		}
	}
	time.Sleep(15 * time.Millisecond)
	if n := w.f.count("Commit", "KeepCheckpoint", "anchor.Write") - before; n != 0 {
		t.Errorf("%d writes after a failed sync", n)
	}
}

// TestSyncFailsUnderLoad: what waits behind a failed sync, controls
// included, is refused and signs nothing.
func TestSyncFailsUnderLoad(t *testing.T) {
	first := makeWorld(t)
	dir := filepath.Join(t.TempDir(), "data")
	w := first.open(t, dir)
	g := w.f.hold()
	w.f.arm(&fault{op: "Commit", times: 1, persist: true, err: store.ErrSync, on: func(c *store.Commit, _ string) bool {
		return slices.ContainsFunc(c.Logs, func(l store.LogCommit) bool { return l.Log.Tenant == "acme" })
	}})
	var wg, others sync.WaitGroup
	var errs [5]error
	wg.Go(func() { errs[0] = w.add(t, "acme", mixed(80000, 8)...) })
	<-g.entered
	wg.Go(func() { errs[1] = w.add(t, "acme", mixed(81000, 8)...) })
	wg.Go(func() { _, errs[2] = w.Rollover(patient(t), "acme") })
	others.Go(func() { _, errs[3] = w.CreateTenant(patient(t), "late") })
	others.Go(func() { errs[4] = w.add(t, "other", mixed(82000, 8)...) })
	time.Sleep(20 * time.Millisecond)
	waiting := errs[:]
	if storerig.OnPostgres() { // other tenants' commits do not wait behind it
		others.Wait()
		waiting = errs[:3]
		if err := errors.Join(errs[3:]...); err != nil {
			t.Errorf("other tenants meanwhile: %v", err)
		}
		for n := -1; n != w.f.count("Commit", "anchor.Write"); time.Sleep(100 * time.Millisecond) { // they publish, too
			n = w.f.count("Commit", "anchor.Write")
		}
	}
	before := w.f.count("Commit", "anchor.Write")
	g.release()
	wg.Wait()
	others.Wait()
	for i, err := range waiting {
		if !errors.Is(err, evidence.ErrUnavailable) {
			t.Errorf("request %d: %v", i, err)
		}
	}
	if n := w.f.count("Commit", "anchor.Write") - before - 1; n != 0 {
		t.Errorf("%d writes after the failed sync", n)
	}
	w.stopped(t)
	w.close()
	w.rig = openRig(t, dir)
	w.after(t, deeds[1])
}

// TestFaultsOfPublication: what publishes a checkpoint may fail in any way;
// appends go on, and so does publication, unless a sync failed.
func TestFaultsOfPublication(t *testing.T) {
	first := makeWorld(t)
	for _, op := range []string{"KeepCheckpoint", "anchor.Write", "anchor.Read"} {
		for _, e := range fewErrors() {
			for _, persist := range []bool{false, true} {
				if persist && op == "anchor.Read" {
					continue
				}
				moved := errors.Is(e, store.ErrHeadMoved) && op == "KeepCheckpoint"
				t.Run(fmt.Sprintf("%s/%v/persisted=%t", op, e, persist), func(t *testing.T) {
					t.Parallel()
					dir := filepath.Join(t.TempDir(), "data")
					w := first.open(t, dir)
					w.f.arm(&fault{op: op, times: 3, persist: persist, err: e})
					for i := 0; ; i++ {
						err := w.add(t, "acme", event(25000+i, ""))
						if err != nil && !errors.Is(err, evidence.ErrUnavailable) {
							t.Fatalf("append meanwhile: %v", err)
						}
						w.f.mu.Lock()
						fired := w.f.fired
						w.f.mu.Unlock()
						if fired == 3 || w.Writable() != nil || (moved && fired > 0) {
							break
						}
						if i > 2000 {
							t.Fatal("the fault does not strike")
						}
						time.Sleep(time.Millisecond)
					}
					w.f.disarm()
					switch {
					case errors.Is(e, store.ErrSync) && op == "KeepCheckpoint":
						w.stopped(t)
						w.close()
					case moved:
						// Another note at that size: a fork, and the log stops.
						if err := w.add(t, "acme", event(35000, "")); err != nil && !errors.Is(err, evidence.ErrUnavailable) {
							t.Fatal(err)
						}
						w.close()
					default:
						if err := w.add(t, "acme", event(35000, "")); err != nil {
							t.Fatalf("append afterwards: %v", err)
						}
						size := int64(len(w.contents(t, "acme").leaves))
						ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
						defer cancel()
						if _, err := w.WaitPublished(ctx, "acme", 1, size); err != nil {
							t.Errorf("publication does not go on: %v", err)
						}
						w.after(t, deeds[1])
						w.close()
					}
					w.rig = openRig(t, dir)
					w.after(t, deeds[1])
				})
			}
		}
	}
}

// TestFaultsOfNewLogs: the anchor fails where a log is made.
func TestFaultsOfNewLogs(t *testing.T) {
	first := makeWorld(t)
	for _, d := range []deed{deeds[0], deeds[5]} {
		for _, op := range []string{"anchor.Write", "anchor.Read", "Head", "Logs", "Runs", "DataKeys", "Segments"} {
			for _, persist := range []bool{false, true} {
				if persist && op != "anchor.Write" {
					continue
				}
				t.Run(fmt.Sprintf("%s/%s/persisted=%t", d.name, op, persist), func(t *testing.T) {
					t.Parallel()
					dir := filepath.Join(t.TempDir(), "data")
					w := first.open(t, dir)
					w.f.arm(&fault{op: op, times: 1, persist: persist, err: errOdd})
					err := d.do(t, w)
					w.f.disarm()
					if err != nil && !errors.Is(err, evidence.ErrUnavailable) && !errors.Is(err, errOdd) {
						t.Errorf("got %v", err)
					}
					w.after(t, d)
					w.close()
					w.rig = openRig(t, dir)
					w.after(t, d)
				})
			}
		}
	}
}

// TestFaultsOfOpening: each call of Open fails once, on a fresh directory
// and on a used one. Opening again needs no repair.
func TestFaultsOfOpening(t *testing.T) {
	first := makeWorld(t)
	ops := []string{"Setting", "SetSetting", "Logs", "Head", "Segments", "Commit", "anchor.Read", "anchor.Write", "anchor.Origins"}
	for _, fresh := range []bool{true, false} {
		for _, op := range ops {
			for _, persist := range []bool{false, true} {
				t.Run(fmt.Sprintf("fresh=%t/%s/persisted=%t", fresh, op, persist), func(t *testing.T) {
					t.Parallel()
					dir := filepath.Join(t.TempDir(), "data")
					if !fresh {
						w := first.open(t, dir)
						w.close()
					} else {
						// The master keyset, which the faulty rig does not make.
						f := &faults{}
						f.arm(&fault{op: "Setting", times: 1, err: errOdd})
						if _, err := tryRig(t, dir, withFaults(f)); !errors.Is(err, errOdd) {
							t.Fatalf("opened: %v", err)
						}
					}
					for _, e := range fewErrors() {
						f := &faults{}
						f.arm(&fault{op: op, times: 1, persist: persist, err: e})
						r, err := tryFaulty(t, dir, f)
						if err == nil {
							r.close()
						} else if !errors.Is(err, e) && !errors.Is(err, evidence.ErrUnavailable) {
							t.Errorf("opened: %v", err)
						}
					}
					r := openRig(t, dir)
					if fresh {
						r.tenant(t, "acme")
						r.tenant(t, "other")
					}
					w := &world{rig: r, f: &faults{}, acked: map[string][]ledger.Receipt{}}
					w.after(t, deeds[1])
				})
			}
		}
	}
}

// TestFaultsOfReading: each read of the write path fails, at its first and
// at later calls, while everything is done that reads.
func TestFaultsOfReading(t *testing.T) {
	first := makeWorld(t)
	ops := []string{"Head", "Runs", "FindIDs", "FindSpans", "Segments", "Tile", "DataKeys", "DataKey", "SealedSegment", "SealedSegments", "Row", "Logs", "anchor.Read"}
	for _, op := range ops {
		t.Run(op, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "data")
			w := first.open(t, dir)
			if err := w.add(t, "acme", mixed(40000, 300)...); err != nil {
				t.Fatal(err)
			}
			base := 100000
			struck := 0
			for _, e := range faultErrors {
				switch {
				case errors.Is(e.err, store.ErrSync), errors.Is(e.err, store.ErrDuplicate), errors.Is(e.err, store.ErrHeadMoved):
					continue // reads do not say so
				case !allFaults && !errors.Is(e.err, errOdd) && (slow || !errors.Is(e.err, evidence.ErrUnavailable)):
					continue
				}
				for skip := range 3 {
					base += 1000
					// Nothing is in memory, and the head is to be reloaded.
					w.close()
					w.rig = openFaulty(t, dir, w.f)
					w.f.arm(&fault{op: "Commit", times: 1, skip: skip, err: store.ErrHeadMoved}, &fault{op: op, times: 2, skip: skip, err: e.err})
					w.everything(t, base, false)
					struck += w.f.disarm()
					w.everything(t, base, true)
				}
			}
			if struck == 0 {
				t.Error("the fault did not strike")
			}
			w.after(t, deeds[1])
			w.close()
			w.rig = openRig(t, dir)
			w.after(t, deeds[1])
		})
	}
}

// everything does all that reads. Where must is set it may not fail.
func (w *world) everything(t *testing.T, base int, must bool) {
	t.Helper()
	ok := func(what string, err error) {
		if err != nil && must {
			t.Fatalf("%s: %v", what, err)
		}
		if errors.Is(err, evidence.ErrConflict) || errors.Is(err, evidence.ErrTampered) {
			t.Errorf("%s: %v", what, err)
		}
	}
	person := fmt.Sprintf("person-%d", base)
	lines := append(mixed(base, 8), event(base+500, fmt.Sprintf(`,"human_actor_id":"%s","body":1`, person)))
	ok("append", w.add(t, "acme", lines...))
	ok("repeat", w.add(t, "acme", lines...))
	ok("old", w.add(t, "acme", mixed(40000, 8)...))
	// One with an id of its own that is taken is refused as such.
	_, err := w.tryAppend(t, "acme", event(10000, `,"severity":"other"`))
	if !errors.Is(err, evidence.ErrConflict) {
		if err == nil {
			t.Errorf("a contradiction is accepted")
		}
		if must {
			t.Errorf("contradiction: %v", err)
		}
	}
	_, err = w.ProveID(patient(t), "acme", w.acked["acme"][0].ID)
	if !errors.Is(err, ledger.ErrNotPublished) {
		ok("prove", err)
	}
	_, err = w.Erase(patient(t), "acme", ledger.Erasure{Person: person})
	if !errors.Is(err, evidence.ErrNotFound) {
		ok("erase", err)
	}
}

// hasRecord strikes commits that bring a record.
func hasRecord(id string) func(*store.Commit, string) bool {
	return func(c *store.Commit, _ string) bool {
		for i := range c.Logs {
			for _, e := range c.Logs[i].Entries {
				if e.Leaf.ID.String() == id {
					return true
				}
			}
		}
		return false
	}
}

// together makes appends that land in one plan: they wait while another is
// being written.
func (w *world) together(t *testing.T, do ...func() error) []error {
	t.Helper()
	g := w.f.hold()
	first := make(chan error, 1)
	go func() { first <- w.add(t, "acme", event(600_000+w.f.count("Commit"), "")) }()
	<-g.entered
	errs := make([]error, len(do))
	var wg sync.WaitGroup
	for i, fn := range do {
		wg.Go(func() { errs[i] = fn() })
	}
	time.Sleep(20 * time.Millisecond)
	g.release()
	wg.Wait()
	if err := <-first; err != nil {
		t.Errorf("the commit before: %v", err)
	}
	return errs
}

// TestBadRecordFailsAlone: a record that the store can never take does not
// take those of other clients with it.
func TestBadRecordFailsAlone(t *testing.T) {
	for _, e := range []error{errOdd, evidence.ErrInvalid, store.ErrDuplicate, store.ErrHeadMoved} {
		t.Run(e.Error(), func(t *testing.T) {
			w := makeWorld(t).open(t, filepath.Join(t.TempDir(), "data"))
			w.f.arm(&fault{op: "Commit", times: 1000, err: e, on: hasRecord(eventID(555))})
			errs := w.together(t,
				func() error { return w.add(t, "acme", mixed(61000, 8)...) },
				func() error { return w.add(t, "acme", event(555, "")) },
				func() error { return w.add(t, "acme", mixed(62000, 8)...) },
				func() error { return w.add(t, "other", mixed(63000, 8)...) },
			)
			for i, err := range errs {
				if bad := i == 1; bad != (err != nil) {
					t.Errorf("client %d: %v", i, err)
				}
			}
			if !errors.Is(errs[1], evidence.ErrUnavailable) {
				t.Errorf("the bad record: %v", errs[1])
			}
			w.f.disarm()
			if err := w.add(t, "acme", event(555, "")); err != nil {
				t.Error(err)
			}
			w.after(t, deeds[1])
		})
	}
}

// TestBrokenInvariantStopsTheLog: what stands behind the head of a log is
// not written over; other logs go on.
func TestBrokenInvariantStopsTheLog(t *testing.T) {
	w := makeWorld(t).open(t, filepath.Join(t.TempDir(), "data"))
	acme := func(c *store.Commit, _ string) bool {
		for i := range c.Logs {
			if c.Logs[i].Log.Tenant == "acme" {
				return true
			}
		}
		return false
	}
	w.f.arm(&fault{op: "Commit", times: 1000, err: fmt.Errorf("injected: %w", evidence.ErrTampered), on: acme})
	if err := w.add(t, "acme", event(1, "")); !errors.Is(err, evidence.ErrUnavailable) || !errors.Is(err, evidence.ErrTampered) {
		t.Errorf("append: %v", err)
	}
	w.f.disarm()
	before := w.f.count("Commit")
	if err := w.add(t, "acme", event(1, "")); !errors.Is(err, evidence.ErrUnavailable) {
		t.Errorf("the log takes writes again: %v", err)
	}
	if n := w.f.count("Commit") - before; n != 0 {
		t.Errorf("%d commits", n)
	}
	if err := w.add(t, "other", event(1, "")); err != nil {
		t.Errorf("append to another log: %v", err)
	}
}

// TestAnchorTroubleStaysWithItsLog: a log whose anchor cannot be read takes
// no appends meanwhile; others in the same plan are not held up.
func TestAnchorTroubleStaysWithItsLog(t *testing.T) {
	w := makeWorld(t).open(t, filepath.Join(t.TempDir(), "data"))
	origin := w.acked["acme"][0].Log
	for _, e := range []error{errOdd, evidence.ErrTampered} {
		last := w.acked["acme"][len(w.acked["acme"])-1] // who publishes looks, too
		if _, err := w.WaitPublished(patient(t), "acme", last.LogNo, last.LeafIndex+1); err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond) // it looks once in PublishEvery
		g := w.f.hold()
		w.f.arm(&fault{op: "anchor.Read", times: 1_000_000, err: e, on: func(_ *store.Commit, o string) bool { return o == origin }})
		first := make(chan error, 1)
		go func() { first <- w.add(t, "other", event(700_000+w.f.count("Commit"), "")) }()
		<-g.entered
		var errs [2]error
		var wg sync.WaitGroup
		wg.Go(func() { errs[0] = w.add(t, "acme", event(700_001, "")) })
		wg.Go(func() { errs[1] = w.add(t, "other", event(710_000+w.f.count("Commit"), "")) })
		time.Sleep(20 * time.Millisecond)
		g.release()
		wg.Wait()
		if err := <-first; err != nil {
			t.Error(err)
		}
		if !errors.Is(errs[0], evidence.ErrUnavailable) || errs[1] != nil {
			t.Errorf("anchor: %v; append to its log: %v; to another: %v", e, errs[0], errs[1])
		}
		w.f.disarm()
		err := w.add(t, "acme", event(700_001, ""))
		if stopped := e != errOdd; stopped != (err != nil) { //nolint:errorlint // it is this very one
			t.Errorf("anchor was %v; append afterwards: %v", e, err)
		}
	}
}

// TestTwinsOfWhatIsStored: a batch that repeats itself, sequenced again after
// it turned out to be stored, gets all its receipts.
func TestTwinsOfWhatIsStored(t *testing.T) {
	for _, e := range faultErrors {
		if errors.Is(e.err, store.ErrSync) {
			continue
		}
		t.Run(e.name, func(t *testing.T) {
			w := makeWorld(t).open(t, filepath.Join(t.TempDir(), "data"))
			twins := []string{
				step(900, 1, `,"params":1`), event(1, ""), step(900, 1, `,"params":2`), event(1, ""), step(900, 1, `,"params":2`), step(900, 1, `,"params":1`),
			}
			w.f.arm(&fault{op: "Commit", times: 1, persist: true, err: e.err}, &fault{op: "Head", times: 1, err: errOdd})
			receipts, err := w.tryAppend(t, "acme", twins...)
			w.f.disarm()
			for range 3 {
				if err == nil {
					break
				}
				receipts, err = w.tryAppend(t, "acme", twins...)
			}
			if err != nil {
				t.Fatal(err)
			}
			for i, of := range []int{0, 1, 2, 1, 2, 0} {
				if !sameReceipt(receipts[i], receipts[of]) {
					t.Errorf("twin %d: %+v, and %+v", i, receipts[i], receipts[of])
				}
			}
			if receipts[2].ConflictOf != receipts[0].ID || receipts[0].ConflictOf != (evidence.ID{}) || receipts[2].ID == receipts[0].ID {
				t.Errorf("contradiction: %+v of %+v", receipts[2], receipts[0])
			}
			c := w.contents(t, "acme")
			c.holds(t, receipts)
			c.checkRuns(t)
			for _, leaf := range c.leaves {
				if leaf.ID == receipts[2].ID {
					first := c.leaves[receipts[0].LeafIndex]
					a, _ := leaf.Int("step_index")
					b, _ := first.Int("step_index")
					if a != b {
						t.Errorf("the contradiction has step_index %d and the step %d", a, b)
					}
				}
			}
			w.verifyClean(t)
		})
	}
}

// TestRefusalIsRecorded: who is told that a record contradicts one with its
// id can rely on the record of it, whatever happened to the commit.
func TestRefusalIsRecorded(t *testing.T) {
	first := makeWorld(t)
	for _, e := range faultErrors {
		if errors.Is(e.err, store.ErrSync) {
			continue
		}
		for _, persist := range []bool{false, true} {
			for _, partial := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/persisted=%t/partial=%t", e.name, persist, partial), func(t *testing.T) {
					t.Parallel()
					w := first.open(t, filepath.Join(t.TempDir(), "data"))
					if err := w.add(t, "acme", event(1, "")); err != nil {
						t.Fatal(err)
					}
					contradict := func() error {
						_, err := w.Append(patient(t), "acme", native(t, event(1, `,"severity":"ERROR"`)), ledger.AppendOptions{Producer: "test", Partial: partial})
						return err
					}
					// The first commit meets the id, the second records the refusal.
					w.f.arm(&fault{op: "Commit", times: 1, skip: 1, persist: persist, err: e.err})
					var err error
					for range 3 {
						if err = contradict(); errors.Is(err, evidence.ErrConflict) {
							break
						}
						if !errors.Is(err, evidence.ErrUnavailable) {
							t.Fatalf("contradiction: %v", err)
						}
					}
					if !errors.Is(err, evidence.ErrConflict) {
						t.Fatalf("contradiction: %v", err)
					}
					// One that comes after, so that the refusal's commit is over.
					if err := w.add(t, "acme", event(2, "")); err != nil {
						t.Fatal(err)
					}
					w.f.disarm()
					n := 0
					for _, leaf := range w.contents(t, "acme").leaves {
						if leaf.Kind == evidence.KindAudit && leaf.Text("event_type") == "ConflictRecorded" {
							n++
						}
					}
					if n != 1 {
						t.Errorf("it is recorded %d times", n)
					}
					w.after(t, deeds[1])
				})
			}
		}
	}
}
