package producers

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/store"
)

func TestList(t *testing.T) {
	r := newRig(t)
	tr := r.tracker(nil)
	start := r.clock.now()
	r.send("acme", "key_a", "DEPLOY", number(3), happened(start.Add(-time.Hour)))
	r.clock.move(time.Minute)
	r.send("acme", "key_a", "ERROR", number(6), drill)
	r.send("acme", "key_a", "ERROR", text("source_component", "api"))
	r.send("acme", "key_b", "ERROR", happened(start.Add(time.Hour)))
	r.send("acme", "key_b", "ERROR", happened(start))
	r.send("other", "key_a", "ERROR")
	list := r.list(tr, "acme")
	at := func(d time.Duration) evidence.Micros { return evidence.MicrosOf(start.Add(d)) }
	a, b := "key_a", "key_b"
	want := []Producer{
		{
			Credential: &a, Component: "api", State: StateSeen, Records: map[string]int64{"system": 1}, Total: 1,
			FirstRecorded: at(time.Minute), LastRecorded: at(time.Minute), FirstOccurred: at(time.Minute), LastOccurred: at(time.Minute),
		},
		{
			Credential: &a, Component: "worker", State: StateSeen, Records: map[string]int64{"system": 2}, Total: 2, Synthetic: 1,
			FirstRecorded: at(0), LastRecorded: at(time.Minute), FirstOccurred: at(-time.Hour), LastOccurred: at(time.Minute),
			Sequence: &Sequence{First: 3, Highest: 6, Last: 6, Missing: []Range{{4, 5, 0}}, MissingCount: 2},
		},
		{
			Credential: &b, Component: "worker", State: StateSeen, Records: map[string]int64{"system": 2}, Total: 2,
			FirstRecorded: at(time.Minute), LastRecorded: at(time.Minute), FirstOccurred: at(0), LastOccurred: at(time.Hour),
		},
	}
	if diff := cmp.Diff(want, list.Producers[len(list.Producers)-3:]); diff != "" {
		t.Error(diff)
	}
	// The server's own records stand first, by component.
	for _, p := range list.Producers[:len(list.Producers)-3] {
		if p.Credential != nil || p.State != StateServer {
			t.Errorf("%+v", p)
		}
	}
	if end, err := r.End(t.Context(), "acme"); err != nil || list.LogNo != end.LogNo || list.Size != end.Seq || list.Tenant != "acme" || list.At != at(time.Minute) {
		t.Errorf("%+v, the log ends at %v (%v)", list, end, err)
	}
	if _, err := tr.List(t.Context(), "nobody", false); !errors.Is(err, evidence.ErrNotFound) {
		t.Errorf("a tenant that is not there: %v", err)
	}
}

// counting counts the leaves that are read.
type counting struct {
	Ledger
	read int64
}

func (c *counting) Leaves(ctx context.Context, tenant string, no int, from, to int64, fn func(int64, []byte) error) error {
	c.read += to - from
	return c.Ledger.Leaves(ctx, tenant, no, from, to, fn)
}

// A list after a restart reads what is new, also over a rollover, and knows what one
// that reads everything knows.
func TestIncremental(t *testing.T) {
	r := newRig(t)
	r.beats("acme", "key_a", 4, 20*time.Second, number(1))
	r.list(r.tracker(nil), "acme")
	var read int64
	for round := range 4 {
		if round == 2 {
			if _, err := r.Rollover(t.Context(), "acme"); err != nil {
				t.Fatal(err)
			}
		}
		r.reopen()
		r.send("acme", "key_a", "ERROR", number(int64(5+2*round)))
		r.send("acme", fmt.Sprintf("key_%d", round), "ERROR")
		var c *counting
		got := r.list(r.tracker(func(cfg *Config) { c = &counting{Ledger: cfg.Ledger}; cfg.Ledger = c }), "acme")
		read = c.read
		all := r.list(r.tracker(func(cfg *Config) { cfg.Store = &forgetful{Store: cfg.Store} }), "acme")
		if diff := cmp.Diff(all, got); diff != "" {
			t.Errorf("round %d: read from the start it is other than read on (-from the start +on):\n%s", round, diff)
		}
	}
	if read != 3 { // the last that was counted, and two
		t.Errorf("%d leaves were read", read)
	}
}

// forgetful is a store without settings.
type forgetful struct{ Store }

func (*forgetful) Setting(context.Context, string) (string, error) { return "", evidence.ErrNotFound }

func (*forgetful) SetSetting(context.Context, string, string) error {
	return nil
}

// What is stored counts only where it is of this log, and of this form.
func TestStateOfAnotherLog(t *testing.T) {
	r := newRig(t)
	r.send("acme", "key_a", "ERROR")
	r.send("other", "key_b", "ERROR")
	want := r.list(r.tracker(nil), "acme")
	r.list(r.tracker(nil), "other")
	stored, err := r.db.Setting(t.Context(), setting("other"))
	if err != nil {
		t.Fatal(err)
	}
	good, err := r.db.Setting(t.Context(), setting("acme"))
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"of another log":   stored,
		"no JSON":          "{",
		"another version":  `{"v":2,"log":1,"seq":0,"producers":[]}`,
		"no position":      `{"v":1,"log":0,"seq":0,"producers":[]}`,
		"beyond the end":   `{"v":1,"log":1,"seq":1000,"last":"` + evidence.ID{1}.String() + `","producers":[]}`,
		"beyond the logs":  `{"v":1,"log":9,"seq":0,"producers":[]}`,
		"without its leaf": `{"v":1,"log":1,"seq":2,"producers":[]}`,
		"start of a log":   `{"v":1,"log":1,"seq":0,"last":"","producers":[{"c":"key_x","s":"worker","k":{"system":1}}]}`,
		"no producer":      `{"v":1,"log":1,"seq":0,"producers":[null]}`,
	} {
		if err := r.db.SetSetting(t.Context(), setting("acme"), text); err != nil {
			t.Fatal(err)
		}
		got := r.list(r.tracker(nil), "acme")
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s:\n%s", name, diff)
		}
		if again, err := r.db.Setting(t.Context(), setting("acme")); err != nil || again != good {
			t.Errorf("%s: stored %s (%v)", name, again, err)
		}
	}
}

// A leaf that is not what stood there is an error, and nothing behind it is counted.
func TestTamperedLeaf(t *testing.T) {
	r := newRig(t)
	for range 3 {
		r.send("acme", "key_a", "ERROR")
	}
	for name, bad := range map[string]func([]byte) []byte{
		"no leaf":      func([]byte) []byte { return []byte("x") },
		"another leaf": func(b []byte) []byte { return []byte(string(b)) },
	} {
		tr := r.tracker(func(cfg *Config) {
			cfg.Ledger = &bent{Ledger: cfg.Ledger, bad: bad}
			cfg.Store = &forgetful{Store: cfg.Store}
		})
		if _, err := tr.List(t.Context(), "acme", false); !errors.Is(err, evidence.ErrTampered) {
			t.Errorf("%s: %v", name, err)
		}
		if at := tr.tenants["acme"].book.at; at.Seq != 2 {
			t.Errorf("%s: counted up to %v", name, at)
		}
	}
}

// bent gives out another leaf 2, or the leaf 1 in its place.
type bent struct {
	Ledger
	bad func([]byte) []byte
}

func (l *bent) Leaves(ctx context.Context, tenant string, no int, from, to int64, fn func(int64, []byte) error) error {
	var before []byte
	return l.Ledger.Leaves(ctx, tenant, no, from, to, func(seq int64, leaf []byte) error {
		if seq == 2 {
			return fn(seq, l.bad(before))
		}
		before = append([]byte(nil), leaf...)
		return fn(seq, leaf)
	})
}

// In memory no more is kept than there is room for, but for tenants of which something
// is expected.
func TestLetBooksGo(t *testing.T) {
	r := newRig(t)
	tr := r.tracker(func(cfg *Config) { cfg.tempo.held = 1 })
	r.send("acme", "key_a", "ERROR")
	r.beats("other", "key_b", 3, 20*time.Second)
	r.send(evidence.SyntheticTenant, "key_c", "ERROR")
	for range 2 {
		tr.pass(t.Context())
	}
	held := map[string]bool{}
	for name, e := range tr.tenants {
		held[name] = e.book != nil
	}
	want := map[string]bool{"acme": true, "other": true, evidence.SyntheticTenant: false, evidence.SystemTenant: false}
	if !maps.Equal(held, want) {
		t.Errorf("held %v", held)
	}
	// What was let go is still known, and read on when there is more.
	r.send(evidence.SyntheticTenant, "key_c", "ERROR")
	tr.pass(t.Context())
	if p := find(t, r.list(tr, evidence.SyntheticTenant), "key_c", "worker"); p.Total != 2 {
		t.Errorf("%+v", p)
	}
}

// The pace of the walk is bounded, and leaves it waits for are no reason to call anybody
// silent.
func TestPace(t *testing.T) {
	r := newRig(t)
	for range 40 {
		r.send("acme", "key_a", "ERROR")
	}
	tr := r.tracker(func(cfg *Config) { cfg.tempo.rate = 100 })
	begin := time.Now()
	tr.pass(t.Context())
	took := time.Since(begin)
	if took < 300*time.Millisecond {
		t.Errorf("40 leaves and more at 100 a second took %s", took)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	slow := r.tracker(func(cfg *Config) { cfg.tempo.rate = 1; cfg.Store = &forgetful{Store: cfg.Store} })
	slow.pass(ctx)
	if ctx.Err() == nil {
		t.Error("a walk of one leaf a second was faster")
	}
}

// The walk works no more than a fifth of the time, however little a second is: what a
// slow store costs is waited for four times over.
func TestPaceOfSlowStore(t *testing.T) {
	r := newRig(t)
	const slow = 20 * time.Millisecond
	tr := r.tracker(func(cfg *Config) { cfg.tempo.idle = 0; cfg.tempo.complete(); cfg.Ledger = &slowEnd{cfg.Ledger, slow} })
	tenants, err := r.Tenants(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	tr.pass(t.Context())
	if took, least := time.Since(begin), 5*slow*time.Duration(len(tenants)); took < least {
		t.Errorf("%d looks of %s each took %s, want at least %s", len(tenants), slow, took, least)
	}
}

// slowEnd takes its time to find the end of a log.
type slowEnd struct {
	Ledger
	wait time.Duration
}

func (s *slowEnd) End(ctx context.Context, tenant string) (store.Position, error) {
	time.Sleep(s.wait)
	return s.Ledger.End(ctx, tenant)
}

// A state that cannot be stored is counted again, and that is all.
type readOnly struct{ Store }

func (*readOnly) SetSetting(context.Context, string, string) error { return evidence.ErrUnavailable }

func TestUnsaved(t *testing.T) {
	r := newRig(t)
	r.send("acme", "key_a", "ERROR")
	tr := r.tracker(func(cfg *Config) { cfg.Store = &readOnly{Store: cfg.Store} })
	if p := find(t, r.list(tr, "acme"), "key_a", "worker"); p.Total != 1 {
		t.Errorf("%+v", p)
	}
}

// BenchmarkWalk reads a log of steps from its start.
func BenchmarkWalk(b *testing.B) {
	r := newRig(b)
	const leaves = 20_000
	steps(b, r, leaves)
	end, err := r.End(b.Context(), "acme")
	if err != nil {
		b.Fatal(err)
	}
	tr := r.tracker(nil)
	b.ResetTimer()
	var read int64
	for range b.N {
		book := newBook("acme")
		for before(book.at, end) {
			n, err := tr.step(b.Context(), book, end, maxStep)
			if err != nil {
				b.Fatal(err)
			}
			read += n
		}
	}
	b.ReportMetric(float64(read)/b.Elapsed().Seconds(), "leaves/s")
}

// steps appends steps of ten producers.
func steps(t testing.TB, r *rig, n int) {
	t.Helper()
	now := evidence.MicrosOf(r.clock.now())
	for done := 0; done < n; {
		var batch []*evidence.Record
		for ; len(batch) < 1000 && done < n; done++ {
			rec := &evidence.Record{Kind: evidence.KindTraceStep, OccurredAt: now, Run: fmt.Sprintf("run-%d", done/100)}
			rec.SetText("trace_id", fmt.Sprintf("%032x", done/100+1))
			rec.SetText("span_id", fmt.Sprintf("%016x", done+1))
			rec.SetText("source_domain", "ACTIVITY")
			rec.SetText("source_component", fmt.Sprintf("agent-%d", done%10))
			rec.SetText("skill_name", "answer")
			rec.SetText("step_kind", "llm")
			rec.SetText("status", "success")
			rec.SetText("model", "gpt-4o")
			rec.SetInt("producer_seq", int64(done/10))
			if err := rec.Complete(); err != nil {
				t.Fatal(err)
			}
			batch = append(batch, rec)
		}
		if _, err := r.Append(context.Background(), "acme", batch, ledger.AppendOptions{Producer: "key_a"}); err != nil {
			t.Fatal(err)
		}
	}
}

var _ Store = store.Store(nil)
