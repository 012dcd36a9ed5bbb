package facade

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/otlp"
	"github.com/runledger/runledger/internal/runs"
	"github.com/runledger/runledger/internal/seal"
	"github.com/runledger/runledger/internal/store"
	"github.com/runledger/runledger/internal/store/storerig"
)

// rigStart is when the records of a rig begin to happen; its clock starts an
// hour later.
var rigStart, _ = evidence.ParseMicros("2026-11-23T15:00:00.000000Z")

// after is a moment d after rigStart.
func after(d time.Duration) evidence.Micros { return rigStart + evidence.Micros(d/time.Microsecond) }

// rigClock stands still until it is told otherwise.
type rigClock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *rigClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *rigClock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func (c *rigClock) boot() time.Duration { return c.Now().Sub(rigStart.Time()) }

// rig is a facade over a real ledger, run tracker and database, with the
// tenants acme, other and empty beside the system's.
type rig struct {
	*Facade
	t       testing.TB
	ctx     context.Context
	clock   *rigClock
	ledger  *ledger.Ledger
	tracker *runs.Tracker
	mapper  *otlp.Mapper
	asked   *askedLedger
	nextID  int
	close   func()
}

// template is a data directory with the tenants of a rig, made once: most of
// what a rig costs is the making of its database.
var template storerig.Template

func TestMain(m *testing.M) { os.Exit(template.Run(m)) }

func newRig(t testing.TB) *rig {
	t.Helper()
	dir := template.Copy(t, rigMaster, func(dir string) {
		r := openRig(t, dir)
		for _, tenant := range []string{"acme", "other", "empty"} {
			_, err := r.ledger.CreateTenant(r.ctx, tenant)
			r.must(err)
		}
		r.close()
	})
	r := openRig(t, dir)
	t.Cleanup(r.close)
	return r
}

const rigMaster = "data/master.keyset.json"

func openRig(t testing.TB, base string) *rig {
	t.Helper()
	return openRigAt(t, base, rigStart.Time().Add(time.Hour))
}

// openRigAt is openRig with a clock that stands elsewhere.
func openRigAt(t testing.TB, base string, now time.Time) *rig {
	t.Helper()
	r := &rig{t: t, ctx: context.Background(), clock: &rigClock{now: now}, mapper: otlp.New(otlp.Config{})}
	dir := filepath.Join(base, "data")
	db, err := storerig.Open(r.ctx, dir)
	r.must(err)
	master, err := seal.OpenMaster(filepath.Join(base, rigMaster), true)
	r.must(err)
	anchor, err := ledger.NewDirAnchor(filepath.Join(base, "anchor"))
	r.must(err)
	r.ledger, err = ledger.Open(r.ctx, ledger.Config{
		Store: db, Sealer: seal.New(db, master), Anchor: anchor, Instance: "test.example",
		Logger: slog.New(slog.DiscardHandler), Clock: ledger.Clock{Now: r.clock.Now, Boot: r.clock.boot},
	})
	r.must(err)
	r.tracker, err = runs.Open(r.ctx, runs.Config{
		Ledger: r.ledger, Reread: r.mapper.Reread, Logger: slog.New(slog.DiscardHandler), Now: r.clock.Now,
	})
	r.must(err)
	r.asked = &askedLedger{Ledger: r.ledger}
	r.Facade = New(Config{Ledger: r.asked, Runs: r.tracker, Now: r.clock.Now})
	r.close = func() {
		if err := errors.Join(r.tracker.Close(r.ctx), r.ledger.Close(), db.Close()); err != nil {
			t.Error(err)
		}
	}
	return r
}

func (r *rig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// askedLedger notes what the facade asks of a ledger.
type askedLedger struct {
	Ledger
	mu    sync.Mutex
	calls []string
	// before, where it is set, is called with the name of each call.
	before func(call string)
}

func (a *askedLedger) note(call string) {
	a.mu.Lock()
	a.calls = append(a.calls, call)
	before := a.before
	a.mu.Unlock()
	if before != nil {
		before(call)
	}
}

func (a *askedLedger) Find(ctx context.Context, q store.Query) ([]store.Found, error) {
	a.note("find " + q.Kind.String())
	return a.Ledger.Find(ctx, q)
}

func (a *askedLedger) Finder() store.Finder { return askedFinder{a.Ledger.Finder(), a} }

func (a *askedLedger) Fetch(ctx context.Context, tenant string, at []store.Found, content bool) ([]ledger.Fetched, error) {
	a.note("fetch")
	return a.Ledger.Fetch(ctx, tenant, at, content)
}

func (a *askedLedger) RunState(ctx context.Context, tenant, run string) (store.RunState, error) {
	a.note("state")
	return a.Ledger.RunState(ctx, tenant, run)
}

func (a *askedLedger) ResolveRun(ctx context.Context, tenant, id string) (string, error) {
	a.note("resolve")
	return a.Ledger.ResolveRun(ctx, tenant, id)
}

func (a *askedLedger) take() (calls []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	calls, a.calls = a.calls, nil
	return calls
}

type askedFinder struct {
	store.Finder
	a *askedLedger
}

func (f askedFinder) Count(ctx context.Context, q store.Query, limit int64) (int64, error) {
	f.a.note("count " + q.Kind.String())
	return f.Finder.Count(ctx, q, limit)
}

func (f askedFinder) OpenRunsOf(ctx context.Context, tenant, before string, limit int, fn func(store.RunState) error) error {
	f.a.note("open runs")
	return f.Finder.OpenRunsOf(ctx, tenant, before, limit, fn)
}

// reader reads acme without content, with synthetic records left out.
func (r *rig) reader() Reader { return readerOf("acme") }

func readerOf(tenant string) Reader {
	return Reader{Tenant: tenant, MaxRows: 100, MaxRange: 7 * 24 * time.Hour}
}

// privileged reads acme with content.
func (r *rig) privileged() Reader {
	rd := r.reader()
	rd.Content = true
	return rd
}

// add makes records of a producer durable in a tenant's log and tells the tracker, in
// one batch.
func (r *rig) add(tenant string, records ...*evidence.Record) []ledger.Receipt {
	r.t.Helper()
	items := make([]otlp.Item, len(records))
	for i, rec := range records {
		items[i].Record = rec
	}
	return r.addItems(tenant, "test", items)
}

// addOwn makes records of the server itself durable.
func (r *rig) addOwn(tenant string, records ...*evidence.Record) []ledger.Receipt {
	r.t.Helper()
	items := make([]otlp.Item, len(records))
	for i, rec := range records {
		r.must(rec.Complete())
		items[i].Record = rec
	}
	return r.addItems(tenant, "", items)
}

func (r *rig) addItems(tenant, producer string, items []otlp.Item) []ledger.Receipt {
	r.t.Helper()
	receipts, err := r.tryItems(tenant, producer, items)
	r.must(err)
	return receipts
}

// tryItems may be used from several goroutines.
func (r *rig) tryItems(tenant, producer string, items []otlp.Item) ([]ledger.Receipt, error) {
	records := make([]*evidence.Record, len(items))
	for i := range items {
		records[i] = items[i].Record
	}
	receipts, err := r.ledger.Append(r.ctx, tenant, records, ledger.AppendOptions{Producer: producer})
	if err != nil {
		return nil, err
	}
	var seen []runs.Observed
	for i := range items {
		h := items[i].Hints
		if attrs, body := records[i].SealedJSON("/attrs"), records[i].SealedJSON("/body"); attrs != nil || body != nil {
			if reread, err := r.mapper.Reread(records[i].Kind, attrs, body); err == nil {
				h = reread
			}
		}
		if !receipts[i].Duplicate {
			seen = append(seen, runs.Observed{Record: records[i], Receipt: receipts[i], Hints: h})
		}
	}
	r.tracker.Observe(tenant, seen)
	return receipts, nil
}

// settle lets time pass until every run in the logs has ended.
func (r *rig) settle() {
	r.t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		r.clock.add(15 * time.Minute)
		for range 20 {
			open := 0
			r.must(r.ledger.OpenRuns(r.ctx, func(string, store.RunState) error { open++; return nil }))
			if open == 0 && r.allDurable() {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
		if time.Now().After(deadline) {
			r.t.Fatal("runs stay open")
		}
	}
}

// allDurable reports whether the ledger has noticed all that the store has: for a
// moment after a commit the end of a log is still the one before.
func (r *rig) allDurable() bool {
	r.t.Helper()
	logs, err := r.ledger.Tenants(r.ctx)
	r.must(err)
	for _, l := range logs {
		end, err := r.ledger.End(r.ctx, l.Tenant)
		r.must(err)
		found, err := r.ledger.Find(r.ctx, store.Query{Tenant: l.Tenant, Kind: evidence.KindLLMRun, Limit: 1})
		r.must(err)
		if len(found) > 0 && found[0].LogNo == end.LogNo && found[0].Seq >= end.Seq {
			return false
		}
	}
	return true
}

// capturedFile is a file of testdata/captures.
type capturedFile struct {
	Path     string `json:"path"`
	Signal   string `json:"signal"`
	Encoding string `json:"encoding"`
}

// send takes in what an SDK sent, as the server does.
func (r *rig) send(tenant string, files ...capturedFile) {
	r.t.Helper()
	for _, file := range files {
		body, err := os.ReadFile(filepath.Join("../../testdata/captures", file.Path))
		r.must(err)
		enc := otlp.Protobuf
		if file.Encoding == "json" {
			enc = otlp.JSON
		}
		var batch *otlp.Batch
		switch file.Signal {
		case "traces":
			td, _, err := otlp.DecodeTraces(body, enc)
			r.must(err)
			batch = r.mapper.Traces(td)
		case "logs":
			ld, _, err := otlp.DecodeLogs(body, enc)
			r.must(err)
			batch = r.mapper.Logs(ld)
		default:
			md, err := otlp.DecodeMetrics(body, enc)
			r.must(err)
			batch = r.mapper.Metrics(md)
		}
		if batch.Rejected > 0 {
			r.t.Fatalf("%s: %v", file.Path, batch.Errors)
		}
		var items []otlp.Item
		for _, item := range batch.Traces {
			id := evidence.NaturalID(tenant, evidence.KindTrace, item.Record.NaturalKey)
			found, err := r.ledger.FindIDs(r.ctx, tenant, []evidence.ID{id})
			r.must(err)
			if len(found) == 0 {
				items = append(items, item)
			}
		}
		if items = append(items, batch.Items...); len(items) > 0 {
			r.addItems(tenant, "test", items)
		}
	}
}
