package producers

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/store/storerig"
)

// passes lets time go by with a pass every ten seconds, or twelve.
func (r *rig) passes(tr *Tracker, d time.Duration) {
	r.t.Helper()
	for step := max(10*time.Second, d/12); d > 0; d -= step {
		r.clock.move(min(d, step))
		for tr.pass(context.Background()) {
		}
	}
}

func (r *rig) wantSilences(tenant string, want int, when string) []ledger.LogRecord {
	r.t.Helper()
	got := r.silences(tenant)
	if len(got) != want {
		r.t.Fatalf("%s: %d silences are on record, want %d", when, len(got), want)
	}
	return got
}

func TestSilence(t *testing.T) {
	r := newRig(t)
	reg := prometheus.NewRegistry()
	tr := r.tracker(func(cfg *Config) { cfg.Metrics = reg })
	r.beats("acme", "key_a", 2, 30*time.Second, number(1))
	r.passes(tr, 10*time.Minute)
	r.wantSilences("acme", 0, "after two heartbeats")

	r.beats("acme", "key_a", 3, 30*time.Second, number(9))
	r.send("acme", "key_a", "ERROR", text("source_component", "other"))
	last := r.clock.now()
	r.passes(tr, 89*time.Second)
	r.wantSilences("acme", 0, "before three intervals")
	r.passes(tr, 2*time.Second)
	got := r.wantSilences("acme", 1, "after three intervals")[0]
	for name, want := range map[string]string{
		"event_type": eventSilent, "severity": "WARN", "component": "worker", "source_component": "SystemRecordWriter",
		"correlation_id": "key_a", "producer": "", "visibility": "tenant",
	} {
		if v := got.Leaf.Text(name); v != want {
			t.Errorf("%s is %q, want %q", name, v, want)
		}
	}
	var said map[string]any
	if err := json.Unmarshal([]byte(got.Open["/details"].JSON), &said); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"credential": "key_a", "source_component": "worker", "last_seen": evidence.MicrosOf(last).String(),
		"interval_seconds": 30.0, "patience_seconds": 90.0, "last_producer_seq": 9.0,
	}
	for name, v := range want {
		if said[name] != v {
			t.Errorf("details: %s is %v, want %v", name, said[name], v)
		}
	}
	// Once, however long it lasts.
	r.passes(tr, time.Hour)
	r.wantSilences("acme", 1, "after an hour")
	if got := silentValues(t, reg); !maps.Equal(got, map[string]float64{"acme": 1}) {
		t.Errorf("the metric is %v", got)
	}
	silent, err := tr.List(t.Context(), "acme", true)
	if err != nil || len(silent.Producers) != 1 || silent.Producers[0].State != StateSilent || silent.Producers[0].Component != "worker" {
		t.Errorf("%+v %v", silent, err)
	}
	// Whatever comes ends it, and the next one is another.
	r.send("acme", "key_a", "ERROR")
	r.passes(tr, 10*time.Second)
	if p := find(t, r.list(tr, "acme"), "key_a", "worker"); p.State != StateActive {
		t.Errorf("%+v", p)
	}
	if got := silentValues(t, reg); len(got) != 0 {
		t.Errorf("the metric is %v", got)
	}
	r.passes(tr, time.Hour)
	r.wantSilences("acme", 2, "after it came back and went again")
	r.wantSilences("other", 0, "in another tenant")
}

// The interval is the median, so neither one batch of several nor one long pause counts.
func TestInterval(t *testing.T) {
	r := newRig(t)
	tr := r.tracker(nil)
	for _, wait := range []time.Duration{0, 0, 0, 120 * time.Second, 300 * time.Millisecond, 119700 * time.Millisecond, time.Hour, 100 * time.Second, 110 * time.Second, 0} {
		r.clock.move(wait)
		r.send("acme", "key_a", eventHealth)
	}
	p := find(t, r.list(tr, "acme"), "key_a", "worker")
	if p.Heartbeat == nil || p.Heartbeat.Count != 10 || p.Heartbeat.Interval == nil || *p.Heartbeat.Interval != 120 || *p.Heartbeat.Patience != 360 {
		t.Errorf("%+v", p.Heartbeat)
	}
	// Quick ones are given a minute.
	r.beats("acme", "key_b", 4, 2*time.Second)
	r.passes(tr, 50*time.Second)
	r.wantSilences("acme", 0, "before a minute")
	r.passes(tr, 10*time.Second)
	r.wantSilences("acme", 1, "after a minute")
}

func TestShutdown(t *testing.T) {
	r := newRig(t)
	tr := r.tracker(nil)
	r.beats("acme", "key_a", 3, 20*time.Second)
	r.clock.move(time.Second)
	stopped := r.clock.now()
	r.send("acme", "key_a", eventStop)
	// What was on its way: a heartbeat from before, and another record.
	r.send("acme", "key_a", eventHealth, happened(stopped.Add(-time.Millisecond)))
	r.send("acme", "key_a", "ERROR")
	r.passes(tr, time.Hour)
	r.wantSilences("acme", 0, "after it stopped in order")
	p := find(t, r.list(tr, "acme"), "key_a", "worker")
	if p.State != StateStopped || p.Heartbeat.Stopped == nil || *p.Heartbeat.Stopped != evidence.MicrosOf(stopped) {
		t.Errorf("%+v %+v", p, p.Heartbeat)
	}
	// It starts, and dies before its first heartbeat.
	r.send("acme", "key_a", eventStart)
	r.passes(tr, time.Hour)
	r.wantSilences("acme", 1, "after it started again")
	// A shutdown that was overtaken by what came after it is of the past.
	r.send("acme", "key_a", eventHealth)
	r.send("acme", "key_a", eventStop, happened(r.clock.now().Add(-time.Second)))
	r.passes(tr, time.Hour)
	r.wantSilences("acme", 2, "after an old shutdown")
}

// Drills are expected to go on in their own tenant only; there the record is one too.
func TestSilenceSynthetic(t *testing.T) {
	r := newRig(t)
	tr := r.tracker(nil)
	for range 4 {
		r.clock.move(20 * time.Second)
		r.send("acme", "key_a", eventHealth, drill)
		r.send(evidence.SyntheticTenant, "key_b", eventHealth, drill)
	}
	r.passes(tr, time.Hour)
	r.wantSilences("acme", 0, "of drills")
	got := r.wantSilences(evidence.SyntheticTenant, 1, "in the tenant of drills")[0]
	if made, _ := got.Leaf.Int("is_synthetic"); made != 1 {
		t.Error("a silence of a drill is not synthetic")
	}
	if p := find(t, r.list(tr, "acme"), "key_a", "worker"); p.Heartbeat != nil || p.Synthetic != 4 {
		t.Errorf("%+v", p)
	}
}

// Time in which nobody listened is no silence: before the start, while nothing could be
// written, and while the process stood still.
func TestNobodyListened(t *testing.T) {
	r := newRig(t)
	r.beats("acme", "key_a", 3, 30*time.Second)
	r.clock.move(5 * time.Hour) // the server was down
	var full atomic.Bool
	tr := r.tracker(func(cfg *Config) { cfg.tempo.stall = 30 * time.Second })
	tr.begin(func() error {
		if full.Load() {
			return errors.New("the disk is full")
		}
		return nil
	})
	tr.pass(t.Context())
	r.passes(tr, 80*time.Second)
	r.wantSilences("acme", 0, "just after the start")
	full.Store(true)
	r.passes(tr, time.Hour)
	full.Store(false)
	r.passes(tr, 80*time.Second)
	r.wantSilences("acme", 0, "just after the disk was full")
	r.clock.move(time.Hour) // a laptop that slept
	r.passes(tr, 80*time.Second)
	r.wantSilences("acme", 0, "just after standing still")
	r.passes(tr, 20*time.Second)
	r.wantSilences("acme", 1, "after three intervals of listening")
}

// The clock of the machine is set ahead, and back: that is no silence, and hides none. It
// is the wall clock that counts, which records have; the monotonic one does not show it.
func TestSilenceClockSet(t *testing.T) {
	r := newRig(t)
	var set atomic.Int64
	tr := r.tracker(func(cfg *Config) {
		cfg.tempo.stall = 30 * time.Second
		cfg.Now = func() time.Time { return r.clock.now().Add(time.Duration(set.Load())) }
	})
	r.beats("acme", "key_a", 3, 30*time.Second)
	tr.pass(t.Context())
	for _, by := range []time.Duration{time.Hour, 0} {
		set.Store(int64(by))
		r.passes(tr, 80*time.Second)
		r.wantSilences("acme", 0, "just after the clock was set by "+by.String())
		r.send("acme", "key_a", eventHealth)
	}
	r.passes(tr, 5*time.Minute)
	r.wantSilences("acme", 1, "after three intervals by the clock that was set back")
	tr.cfg.Now = time.Now
	tr.listen()
	if tr.looked != tr.looked.Round(0) {
		t.Error("the monotonic clock counts")
	}
}

// One whose clock is ahead is believed no later than its records came.
func TestShutdownAhead(t *testing.T) {
	r := newRig(t)
	tr := r.tracker(nil)
	r.beats("acme", "key_a", 3, 20*time.Second)
	r.clock.move(time.Second)
	r.send("acme", "key_a", eventStop, happened(r.clock.now().Add(1000*time.Hour)))
	r.passes(tr, time.Hour)
	r.wantSilences("acme", 0, "after it stopped")
	r.send("acme", "key_a", eventStart)
	r.passes(tr, time.Hour)
	r.wantSilences("acme", 1, "after it started with its clock set right")
	r.send("acme", "key_a", eventHealth, happened(r.clock.now().Add(1000*time.Hour)))
	r.clock.move(time.Second)
	r.send("acme", "key_a", eventStop)
	r.passes(tr, time.Hour)
	r.wantSilences("acme", 1, "after it stopped with its clock set right")
}

// A silence is looked for only where all has been read.
func TestSilenceBehind(t *testing.T) {
	r := newRig(t)
	tr := r.tracker(nil)
	r.beats("acme", "key_a", 3, 30*time.Second)
	tr.pass(t.Context())
	r.clock.move(time.Hour)
	r.send("acme", "key_a", "ERROR") // not read yet
	broken := &broken{Ledger: tr.cfg.Ledger, err: evidence.ErrUnavailable}
	tr.cfg.Ledger = broken
	r.passes(tr, 10*time.Second)
	r.wantSilences("acme", 0, "while the log cannot be read")
	broken.err = nil
	r.passes(tr, 10*time.Second)
	r.wantSilences("acme", 0, "after it came")
	r.passes(tr, 90*time.Second)
	r.wantSilences("acme", 1, "after it went")
}

// broken cannot read leaves.
type broken struct {
	Ledger
	err error
}

func (b *broken) Leaves(ctx context.Context, tenant string, no int, from, to int64, fn func(int64, []byte) error) error {
	if b.err != nil {
		return b.err
	}
	return b.Ledger.Leaves(ctx, tenant, no, from, to, fn)
}

// deaf appends, and does not hear that it has.
type deaf struct{ Ledger }

func (d *deaf) Append(ctx context.Context, tenant string, records []*evidence.Record, opts ledger.AppendOptions) ([]ledger.Receipt, error) {
	if _, err := d.Ledger.Append(ctx, tenant, records, opts); err != nil {
		return nil, err
	}
	return nil, evidence.ErrUnavailable
}

// A process that dies after a silence is durable, and before anything of it is stored,
// leaves one record, whoever looks again and however often.
func TestSilenceAfterCrash(t *testing.T) {
	r := newRig(t)
	r.beats("acme", "key_a", 3, 30*time.Second)
	r.list(r.tracker(nil), "acme") // the state that is stored is from before the silence
	tr := r.tracker(func(cfg *Config) { cfg.Store = &readOnly{Store: cfg.Store}; cfg.Ledger = &deaf{Ledger: cfg.Ledger} })
	r.passes(tr, 3*time.Minute)
	r.wantSilences("acme", 1, "of one that does not hear")
	for range 3 {
		r.reopen()
		tr = r.tracker(func(cfg *Config) { cfg.Store = &readOnly{Store: cfg.Store} })
		r.passes(tr, 3*time.Minute)
		r.wantSilences("acme", 1, "after a restart")
	}
	// It is known from the log alone, also to who has never followed it.
	for _, tr := range []*Tracker{r.tracker(nil), r.tracker(func(cfg *Config) { cfg.Store = &forgetful{Store: cfg.Store} })} {
		if p := find(t, r.list(tr, "acme"), "key_a", "worker"); p.State != StateSilent {
			t.Errorf("%+v", p)
		}
	}
}

// Two processes, with and without leases, state a silence once.
func TestSilenceTwoProcesses(t *testing.T) {
	r := newRig(t)
	second := r
	if storerig.OnPostgres() {
		second = openRig(t, r.base, r.clock)
		t.Cleanup(second.close)
	}
	r.beats("acme", "key_a", 3, 30*time.Second)
	r.beats("acme", "key_b", 3, 30*time.Second)
	both := []*Tracker{r.tracker(nil), second.tracker(nil)}
	r.clock.move(10 * time.Minute)
	var passing sync.WaitGroup
	for _, tr := range both {
		passing.Go(func() { tr.pass(context.Background()) })
	}
	passing.Wait()
	r.wantSilences("acme", 2, "of two processes that do not know of each other")
	for _, tr := range both {
		tr.pass(t.Context())
	}
	r.wantSilences("acme", 2, "when they look again")

	// With a lease one of them works, and the other when it is gone.
	leased := func(r *rig, holder string) *Tracker {
		return r.tracker(func(cfg *Config) {
			cfg.Lease = func(ctx context.Context, name string, ttl time.Duration) (bool, error) {
				return r.db.Lease(ctx, name, holder, ttl)
			}
		})
	}
	one, two := leased(r, "one"), leased(second, "two")
	one.pass(t.Context())
	two.pass(t.Context())
	if len(one.tenants) == 0 || len(two.tenants) != 0 {
		t.Errorf("the first looked at %d tenants, the second at %d", len(one.tenants), len(two.tenants))
	}
	stopped, stop := context.WithCancel(t.Context())
	stop()
	one.Run(stopped, func() error { return nil })
	two.pass(t.Context())
	if len(one.tenants) != 0 || len(two.tenants) == 0 {
		t.Errorf("after the first stopped it knows %d tenants, the second %d", len(one.tenants), len(two.tenants))
	}
}

// A component that is not fit to be public is in no record, and the silence is known.
func TestSilenceUnfitComponent(t *testing.T) {
	r := newRig(t)
	tr := r.tracker(nil)
	r.beats("acme", "key_a", 3, 30*time.Second, text("source_component", "Büro 7"))
	r.passes(tr, 3*time.Minute)
	got := r.wantSilences("acme", 1, "of an unfit component")[0]
	if c := got.Leaf.Text("component"); c != componentOther {
		t.Errorf("component %q", c)
	}
	silent, err := r.tracker(func(cfg *Config) { cfg.Store = &forgetful{Store: cfg.Store} }).List(t.Context(), "acme", true)
	if err != nil || len(silent.Producers) != 1 {
		t.Errorf("%+v %v", silent, err)
	}
}

// Many that stop at once are all on record.
func TestSilenceOfMany(t *testing.T) {
	r := newRig(t)
	tr := r.tracker(nil)
	const many = maxTold + 20
	for i := range 3 {
		r.clock.move(20 * time.Second)
		for n := range many {
			r.send("acme", "key_"+strings.Repeat("a", n%7)+string(rune('a'+n/26))+string(rune('a'+n%26)), eventHealth, number(int64(i)))
		}
	}
	r.passes(tr, 2*time.Minute)
	r.wantSilences("acme", many, "of many")
	r.passes(tr, 2*time.Minute)
	r.wantSilences("acme", many, "of many, again")
}
