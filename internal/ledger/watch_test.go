package ledger_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/store"
	"github.com/runledger/runledger/internal/store/storerig"
)

// watched is a copy of the base deployment with a running server that
// watches it.
type watched struct {
	*rig
	t   testing.TB
	d   *deployment
	reg *prometheus.Registry
}

func watch(t *testing.T, every time.Duration) *watched {
	t.Helper()
	w := &watched{t: t, d: copyOf(t), reg: prometheus.NewRegistry()}
	w.rig = openRig(t, w.d.dir, func(c *ledger.Config) { c.Metrics = w.reg })
	if got := w.Integrity("acme"); got.Status != ledger.StatusUnknown || got.LastVerified != nil {
		t.Fatalf("before any verification: %+v", got)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.Watch(ctx, ledger.WatchConfig{ScrubRate: -1, ScrubEvery: every})
	}()
	t.Cleanup(func() { cancel(); <-done; w.close() })
	return w
}

func (w *watched) await(what string, ok func() bool) {
	w.t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			w.t.Fatalf("still not: %s; acme: %+v", what, w.Integrity("acme"))
		}
	}
}

func (w *watched) status(tenant, status string) {
	w.t.Helper()
	w.await(tenant+" "+status, func() bool { return w.Integrity(tenant).Status == status })
}

// anomalies returns the INTEGRITY_ANOMALY records of the system log.
func (w *watched) anomalies() []*evidence.Leaf {
	w.t.Helper()
	head, err := w.db.Head(context.Background(), store.LogRef{Tenant: evidence.SystemTenant, No: 1})
	if err != nil {
		w.t.Fatal(err)
	}
	var out []*evidence.Leaf
	err = w.Leaves(context.Background(), evidence.SystemTenant, 1, 0, head.Size, func(_ int64, b []byte) error {
		leaf, err := evidence.ParseLeaf(b)
		if err == nil && leaf.Text("event_type") == "INTEGRITY_ANOMALY" {
			out = append(out, leaf)
		}
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

func (w *watched) metric() (n float64) {
	families, err := w.reg.Gather()
	if err != nil {
		w.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "runledger_integrity_anomalies_total" {
			for _, m := range f.GetMetric() {
				n += m.GetCounter().GetValue()
			}
		}
	}
	return n
}

func (w *watched) tryAppend(tenant string, span int) error {
	_, err := w.Append(context.Background(), tenant, native(w.t, step(950, span, `,"params":{"x":1}`)), ledger.AppendOptions{Producer: "key-1"})
	return err
}

// TestWatchScrub: an old leaf is altered behind a running server. The scrub
// finds it; the tenant is compromised, its log takes no more writes, others
// go on; each anomaly is recorded and counted once, however often it is seen.
func TestWatchScrub(t *testing.T) {
	t.Parallel()
	w := watch(t, 50*time.Millisecond)
	w.status("acme", ledger.StatusVerified)
	w.status("globex", ledger.StatusVerified)
	if err := w.tryAppend("acme", 1); err != nil {
		t.Fatal(err)
	}
	in := w.Integrity("acme")
	if in.LastVerified == nil || in.TreeSize != w.d.main().size+1 || len(in.Anomalies) != 0 {
		t.Fatalf("%+v", in)
	}
	w.await("verified through the new leaf", func() bool { return w.Integrity("acme").VerifiedThrough == w.d.main().size+1 })
	if n := len(w.anomalies()); n != 0 || w.metric() != 0 {
		t.Fatalf("%d anomalies, metric %v", n, w.metric())
	}
	var seq int64
	w.d.tamper(t, func(e *evil) {
		seq = e.middleStep()
		e.changeStep(seq)
	})
	w.status("acme", ledger.StatusCompromised)
	w.await("writes refused", func() bool { return w.tryAppend("acme", 2) != nil })
	if err := w.tryAppend("acme", 3); err == nil || !strings.Contains(err.Error(), "takes no writes") {
		t.Errorf("append to the compromised log: %v", err)
	}
	if err := w.tryAppend("globex", 1); err != nil {
		t.Errorf("append to a sound log: %v", err)
	}
	if got := w.Integrity("globex").Status; got != ledger.StatusVerified {
		t.Errorf("globex is %s", got)
	}
	found := false
	for _, a := range w.Integrity("acme").Anomalies {
		found = found || a.Code == ledger.CodeTile && a.From <= seq && seq < a.To && a.FirstSeen > 0
	}
	if !found {
		t.Errorf("no anomaly names the tile of leaf %d: %+v", seq, w.Integrity("acme").Anomalies)
	}
	// Several scrubs later nothing is recorded twice.
	count := func() int { return len(w.Integrity("acme").Anomalies) }
	w.await("all recorded", func() bool { return len(w.anomalies()) == count() })
	n := len(w.anomalies())
	last := w.Integrity("globex").LastVerified
	w.await("more scrubs", func() bool { return *w.Integrity("globex").LastVerified > *last+200_000 })
	if got := len(w.anomalies()); got != n || w.metric() != float64(n) || count() != n {
		t.Errorf("%d records, %v counted, %d anomalies; there were %d", got, w.metric(), count(), n)
	}
	for _, leaf := range w.anomalies() {
		if leaf.Text("severity") != "CRITICAL" || leaf.Text("producer") != "" {
			t.Errorf("anomaly record: %+v", leaf)
		}
	}
}

// TestWatchRestart: a restarted server finds it again.
func TestWatchRestart(t *testing.T) {
	t.Parallel()
	w := watch(t, time.Hour)
	w.status("acme", ledger.StatusVerified)
	w.close()
	w.d.tamper(t, func(e *evil) { e.changeStep(e.middleStep()) })
	w.rig = openRig(t, w.d.dir)
	if err := w.tryAppend("acme", 1); err != nil { // the right edge is sound
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); w.Watch(ctx, ledger.WatchConfig{ScrubRate: -1}) }()
	defer func() { cancel(); <-done }()
	w.status("acme", ledger.StatusCompromised)
	w.await("writes refused", func() bool { return w.tryAppend("acme", 2) != nil })
}

// TestWatchUnopened: what is found of a log that nobody has asked for yet keeps it from being signed
// when somebody does.
func TestWatchUnopened(t *testing.T) {
	t.Parallel()
	d := copyOf(t)
	d.tamper(t, func(e *evil) { e.changeStep(e.middleStep()) })
	w := &watched{t: t, d: d, rig: openRig(t, d.dir)}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); w.Watch(ctx, ledger.WatchConfig{ScrubRate: -1}) }()
	t.Cleanup(func() { cancel(); <-done; w.close() })
	w.status("acme", ledger.StatusCompromised)
	if err := w.tryAppend("acme", 1); err == nil || !strings.Contains(err.Error(), "takes no writes") {
		t.Errorf("append: %v", err)
	}
	if err := w.tryAppend("globex", 1); err != nil {
		t.Errorf("append to a sound log: %v", err)
	}
}

// TestWatchFresh: rows are altered as they come, by a trigger of an
// attacker's: the leaf is signed, the row is not what it says. It is found at
// once, without waiting for a scrub.
func TestWatchFresh(t *testing.T) {
	t.Parallel()
	w := watch(t, time.Hour)
	for _, tenant := range []string{"acme", "globex", evidence.SystemTenant} {
		w.status(tenant, ledger.StatusVerified) // the scrub would find the trigger
	}
	// A trigger is the surest way to be first.
	w.d.tamper(t, func(e *evil) {
		if storerig.OnPostgres() {
			e.exec(`CREATE FUNCTION evil() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.duration_us := 99; RETURN NEW; END'`)
			e.exec(`CREATE TRIGGER evil BEFORE INSERT ON aos_trace_steps FOR EACH ROW EXECUTE FUNCTION evil()`)
			return
		}
		if err := e.a.DropTriggers("aos_trace_steps"); err != nil {
			t.Fatal(err)
		}
		e.exec(`CREATE TRIGGER evil AFTER INSERT ON r_trace_step BEGIN UPDATE r_trace_step SET duration_us = 99 WHERE row = NEW.row; END`)
	})
	if err := w.tryAppend("acme", 1); err != nil {
		t.Fatal(err)
	}
	w.status("acme", ledger.StatusCompromised)
	a := w.Integrity("acme").Anomalies
	if len(a) != 1 || a[0].Code != ledger.CodeColumn || a[0].Column != "duration_us" || a[0].From != w.d.main().size || a[0].Expected != "0" || a[0].Found != "99" {
		t.Fatalf("%+v", a)
	}
	w.await("recorded", func() bool { return len(w.anomalies()) == 1 })
	if w.metric() != 1 {
		t.Errorf("metric %v", w.metric())
	}
	// A column that differs says nothing against what is signed: the log
	// goes on.
	if err := w.tryAppend("acme", 2); err != nil {
		t.Errorf("append: %v", err)
	}
}

// TestWatchNewLog: a tenant that is made, and a log that is rolled over, are verified at
// once, not at the next scrub.
func TestWatchNewLog(t *testing.T) {
	t.Parallel()
	w := watch(t, time.Hour)
	w.status(evidence.SystemTenant, ledger.StatusVerified)
	if _, err := w.CreateTenant(t.Context(), "initech"); err != nil {
		t.Fatal(err)
	}
	w.status("initech", ledger.StatusVerified)
	w.status("acme", ledger.StatusVerified)
	if _, err := w.Rollover(t.Context(), "acme"); err != nil {
		t.Fatal(err)
	}
	w.await("the successor is verified", func() bool {
		in := w.Integrity("acme")
		return in.TreeSize == 1 && in.VerifiedThrough == 1
	})
}

// TestWatchGone: what is gone altogether is seen too, although a running
// server still knows it: a data key, a log, a tenant.
func TestWatchGone(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		sql, tenant, code string
	}{
		"data key":  {`DELETE FROM data_keys WHERE scope = 'day' AND tenant_no = (SELECT tenant_no FROM tenants WHERE tenant_id = 'acme')`, "acme", ledger.CodeCommit},
		"index key": {`DELETE FROM data_keys WHERE scope = 'index' AND tenant_no = (SELECT tenant_no FROM tenants WHERE tenant_id = 'acme')`, "acme", ledger.CodeIndex},
		"log": {storerig.Pick(`DELETE FROM logs WHERE log_key = (SELECT max(log_key) FROM logs WHERE tenant_no = (SELECT tenant_no FROM tenants WHERE tenant_id = 'acme'))`,
			`DELETE FROM logs WHERE tenant_id = 'acme' AND log_no = (SELECT max(log_no) FROM logs WHERE tenant_id = 'acme')`), evidence.SystemTenant, ledger.CodeFork},
		"tenant": {storerig.Pick(`DELETE FROM tenants WHERE tenant_id = 'globex'`, `DELETE FROM logs WHERE tenant_id = 'globex'`), evidence.SystemTenant, ledger.CodeFork},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := watch(t, 50*time.Millisecond)
			w.status("acme", ledger.StatusVerified)
			w.status("globex", ledger.StatusVerified)
			w.d.tamper(t, func(e *evil) { e.exec(tc.sql) })
			w.await(fmt.Sprintf("%s of %s", tc.code, tc.tenant), func() bool {
				for _, a := range w.Integrity(tc.tenant).Anomalies {
					if a.Code == tc.code {
						return true
					}
				}
				return false
			})
		})
	}
}

// TestWatchAnchor: the anchor of a running server is altered: it stops before
// it signs again.
func TestWatchAnchor(t *testing.T) {
	t.Parallel()
	w := watch(t, time.Hour)
	w.status("acme", ledger.StatusVerified)
	if err := os.WriteFile(w.d.anchorFile(w.d.main()), w.d.log("globex", 1).note, 0o600); err != nil {
		t.Fatal(err)
	}
	w.await("writes refused", func() bool { return w.tryAppend("acme", 1) != nil })
	if err := w.tryAppend("globex", 1); err != nil {
		t.Errorf("append to another log: %v", err)
	}
}

// TestWatchEndsQuietly: ending verification in the middle of its work is no
// anomaly.
func TestWatchEndsQuietly(t *testing.T) {
	t.Parallel()
	d := copyOf(t)
	r := openRig(t, d.dir)
	for i := range 10 {
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(1+i*4)*time.Millisecond)
		go func() {
			for j := 0; ctx.Err() == nil; j++ {
				r.Append(context.Background(), "acme", native(t, step(960+i, j+1, `,"params":{"x":1},"human_actor_id":"ada-1"`)), ledger.AppendOptions{Producer: "key-1"})
			}
		}()
		r.Watch(ctx, ledger.WatchConfig{ScrubRate: -1, ScrubEvery: time.Millisecond})
		cancel()
	}
	for _, tenant := range []string{"acme", "globex", evidence.SystemTenant} {
		if in := r.Integrity(tenant); len(in.Anomalies) != 0 {
			t.Errorf("%s: %+v", tenant, in.Anomalies)
		}
	}
}
