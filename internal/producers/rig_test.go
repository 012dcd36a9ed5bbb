package producers

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
	"github.com/runledger/runledger/internal/seal"
	"github.com/runledger/runledger/internal/store"
	"github.com/runledger/runledger/internal/store/storerig"
)

// clock is one that stands until it is moved.
type clock struct {
	mu   sync.Mutex
	at   time.Time
	boot time.Duration
}

func newClock() *clock { return &clock{at: time.Date(2026, 11, 23, 16, 0, 0, 0, time.UTC)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) booted() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.boot
}

func (c *clock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at, c.boot = c.at.Add(d), c.boot+d
}

// template is a data directory with the tenants acme, other and synthetic, made once.
var template storerig.Template

func TestMain(m *testing.M) { os.Exit(template.Run(m)) }

// rig is a ledger whose time stands still, of either backend.
type rig struct {
	t     testing.TB
	base  string
	clock *clock
	*ledger.Ledger
	db    store.Store
	close func()
}

func newRig(t testing.TB) *rig {
	t.Helper()
	dir := template.Copy(t, "data/master.json", func(dir string) {
		r := openRig(t, dir, newClock())
		for _, tenant := range []string{"acme", "other", evidence.SyntheticTenant} {
			if _, err := r.CreateTenant(context.Background(), tenant); err != nil {
				t.Fatal(err)
			}
		}
		r.close()
	})
	r := openRig(t, dir, newClock())
	t.Cleanup(func() { r.close() })
	return r
}

func openRig(t testing.TB, base string, c *clock) *rig {
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
	r := &rig{t: t, base: base, clock: c, db: db}
	r.Ledger, err = ledger.Open(ctx, ledger.Config{
		Store: db, Sealer: seal.New(db, master), Anchor: anchor, Instance: "test.example", Logger: slog.New(slog.DiscardHandler),
		Clock: ledger.Clock{Now: c.now, Boot: c.booted},
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

// reopen is a restart of the process.
func (r *rig) reopen() {
	r.t.Helper()
	r.close()
	again := openRig(r.t, r.base, r.clock)
	r.Ledger, r.db, r.close = again.Ledger, again.db, again.close
}

// fast reads as much as it likes, and never stands still.
var fast = tempo{rate: 1 << 30, idle: -1, pass: time.Millisecond, save: time.Nanosecond, saves: time.Nanosecond, stall: 1000 * time.Hour}

// tracker is one that has begun to listen.
func (r *rig) tracker(change func(*Config)) *Tracker {
	r.t.Helper()
	cfg := Config{Ledger: r.Ledger, Store: r.db, Now: r.clock.now, tempo: fast}
	if change != nil {
		change(&cfg)
	}
	tr, err := New(cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	tr.begin(func() error { return nil })
	return tr
}

// fact changes a record.
type fact func(*evidence.Record)

func text(name, value string) fact { return func(r *evidence.Record) { r.SetText(name, value) } }

func number(n int64) fact { return func(r *evidence.Record) { r.SetInt("producer_seq", n) } }

func drill(r *evidence.Record) { r.SetBool("is_synthetic", true) }

func happened(at time.Time) fact {
	return func(r *evidence.Record) { r.OccurredAt = evidence.MicrosOf(at) }
}

// send appends a system record of a producer.
func (r *rig) send(tenant, credential, event string, facts ...fact) {
	r.t.Helper()
	now := evidence.MicrosOf(r.clock.now())
	rec := &evidence.Record{Kind: evidence.KindSystem, ID: ledger.NewID(now), OccurredAt: now}
	rec.SetText("source_domain", "SYSTEM")
	rec.SetText("source_component", "worker")
	rec.SetText("component", "worker")
	rec.SetText("event_type", event)
	rec.SetText("severity", "INFO")
	rec.SetSealed("/summary", evidence.QuoteJSON("a sealed summary"))
	for _, f := range facts {
		f(rec)
	}
	if err := rec.Complete(); err != nil {
		r.t.Fatal(err)
	}
	if _, err := r.Append(context.Background(), tenant, []*evidence.Record{rec}, ledger.AppendOptions{Producer: credential}); err != nil {
		r.t.Fatal(err)
	}
}

// beats sends heartbeats, each a while after the one before.
func (r *rig) beats(tenant, credential string, n int, every time.Duration, facts ...fact) {
	r.t.Helper()
	for i := range n {
		if i > 0 {
			r.clock.move(every)
		}
		r.send(tenant, credential, eventHealth, facts...)
	}
}

// silences are the records PRODUCER_SILENT of a tenant.
func (r *rig) silences(tenant string) (out []ledger.LogRecord) {
	r.t.Helper()
	ctx := context.Background()
	end, err := r.End(ctx, tenant)
	if err != nil {
		r.t.Fatal(err)
	}
	for no := 1; no <= end.LogNo; no++ {
		head, err := r.db.Head(ctx, store.LogRef{Tenant: tenant, No: no})
		if err != nil {
			r.t.Fatal(err)
		}
		err = r.Records(ctx, tenant, no, 0, head.Size, func(rec ledger.LogRecord) error {
			if rec.Leaf.Text("event_type") == eventSilent {
				out = append(out, rec)
			}
			return nil
		})
		if err != nil {
			r.t.Fatal(err)
		}
	}
	return out
}

// list returns the list of a tenant.
func (r *rig) list(tr *Tracker, tenant string) *List {
	r.t.Helper()
	l, err := tr.List(context.Background(), tenant, false)
	if err != nil {
		r.t.Fatal(err)
	}
	return l
}

// find returns a producer of a list.
func find(t testing.TB, l *List, credential, component string) Producer {
	t.Helper()
	for _, p := range l.Producers {
		if (p.Credential == nil && credential == "" || p.Credential != nil && *p.Credential == credential) && p.Component == component {
			return p
		}
	}
	t.Fatalf("no producer %q %q in %+v", credential, component, l.Producers)
	return Producer{}
}
