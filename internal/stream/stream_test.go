package stream

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/store"
)

func TestStartAndNow(t *testing.T) {
	r := newRig(t)
	old := r.systems("acme", 3)
	all, now := &fakeSink{}, &fakeSink{}
	first := systemStream(FromStart)
	second := systemStream(FromNow)
	second.Name = "now"
	w, _ := r.start(first, all)
	_, _ = r.start(second, now)
	eventually(t, "old records", func() bool { return holds(all.ids("acme"), old) })
	eventually(t, "the beginning of the other", func() bool {
		_, err := r.db.Setting(t.Context(), "stream_begun/now")
		return err == nil
	})
	fresh := r.systems("acme", 2)
	eventually(t, "new records", func() bool { return holds(all.ids("acme"), fresh) && holds(now.ids("acme"), fresh) })
	for _, id := range old {
		if slices.Contains(now.ids("acme"), id) {
			t.Error("a stream from now has what was there before")
		}
	}
	// A tenant that is made later is read from its first record in both.
	if _, err := r.CreateTenant(t.Context(), "late"); err != nil {
		t.Fatal(err)
	}
	late := r.systems("late", 2)
	eventually(t, "a new tenant", func() bool { return holds(all.ids("late"), late) && holds(now.ids("late"), late) })
	if got := now.ids("late"); len(got) != 3 { // LOG_OPENED too
		t.Errorf("%d records of the new tenant, want 3", len(got))
	}
	if got := value(t, w.metrics.delivered.WithLabelValues("siem")); got == 0 {
		t.Error("nothing is counted")
	}
}

func TestTenantsAndFilters(t *testing.T) {
	r := newRig(t)
	s := systemStream(FromStart)
	s.Tenants = []string{"acme"}
	s.Kinds = []evidence.Kind{evidence.KindSystem, evidence.KindAudit}
	s.MinSeverity = severityWarn
	s.EventTypes = []string{"ERROR", "PolicyEvaluated"}
	out := &fakeSink{}
	r.append("other", made(evidence.KindSystem, map[string]string{"event_type": "ERROR", "severity": "WARN"}, nil))
	ids := r.append("acme",
		made(evidence.KindSystem, map[string]string{"event_type": "ERROR", "severity": "INFO"}, nil),
		made(evidence.KindSystem, map[string]string{"event_type": "ERROR", "severity": "CRITICAL"}, nil),
		made(evidence.KindAudit, map[string]string{"decision": "PASSED"}, nil),
		made(evidence.KindAudit, map[string]string{"decision": "BLOCKED"}, nil),
		made(evidence.KindSystem, map[string]string{"event_type": "DEPLOY", "severity": "WARN"}, nil),
		made(evidence.KindSystem, map[string]string{"event_type": "ERROR", "severity": "WARN"}, nil),
	)
	w, stop := r.start(s, out)
	want := []string{ids[1], ids[3], ids[5]}
	eventually(t, "selected records", func() bool { return holds(out.ids("acme"), want) })
	stop()
	if diff := cmp.Diff(want, out.ids("acme")); diff != "" {
		t.Error(diff)
	}
	if got := out.ids("other"); got != nil {
		t.Errorf("other tenant: %v", got)
	}
	// What was left out on purpose is behind the position all the same.
	end, err := r.End(t.Context(), "acme")
	if err != nil || w.tenants["acme"].saved != end {
		t.Errorf("position %v, want %v (%v)", w.tenants["acme"].saved, end, err)
	}
}

// Synthetic records are passed on only where the configuration says so.
func TestSynthetic(t *testing.T) {
	r := newRig(t)
	drill, real := made(evidence.KindSystem, nil, nil), made(evidence.KindSystem, nil, nil)
	drill.SetBool("is_synthetic", true)
	ids := r.append("acme", drill, real)
	without, with := systemStream(FromStart), systemStream(FromStart)
	with.Name, with.Synthetic = "drills", true
	for _, tt := range []struct {
		stream *Stream
		want   []string
	}{{without, ids[1:]}, {with, ids}} {
		out := &fakeSink{}
		_, stop := r.start(tt.stream, out)
		eventually(t, "records", func() bool { return holds(out.ids("acme"), tt.want) })
		stop()
		if got := slices.Contains(out.ids("acme"), ids[0]); got != tt.stream.Synthetic {
			t.Errorf("%s: passed on %v", tt.stream.Name, got)
		}
	}
}

// Two kinds are read by themselves, and come in the order of the log.
func TestOrderOfKinds(t *testing.T) {
	r := newRig(t)
	var want []string
	for range 15 {
		want = append(want, r.systems("acme", 3)...)
		want = append(want, r.append("acme", made(evidence.KindAudit, nil, nil))...)
	}
	s := systemStream(FromStart)
	s.Kinds = []evidence.Kind{evidence.KindAudit, evidence.KindSystem}
	out := &fakeSink{}
	_, stop := r.start(s, out)
	eventually(t, "all", func() bool { return holds(out.ids("acme"), want) })
	stop()
	if got := out.ids("acme"); !slices.Equal(got[len(got)-len(want):], want) {
		t.Error("the order is not that of the log, or something came twice")
	}
	// Whatever the batch's size.
	for limit := 1; limit < 9; limit++ {
		at, end := store.Position{LogNo: 1}, must(r.End(t.Context(), "acme"))
		var got []int64
		for before(at, end) {
			found, next, err := scan(t.Context(), r.db, "acme", at, end, s.Kinds, limit)
			if err != nil || !before(at, next) || len(found) > limit {
				t.Fatalf("at %v: next %v, %d found, %v", at, next, len(found), err)
			}
			for _, f := range found {
				got = append(got, f.Seq)
			}
			at = next
		}
		if !slices.IsSorted(got) || int64(len(got)) != end.Seq || len(slices.Compact(got)) != len(got) {
			t.Errorf("limit %d: %v", limit, got)
		}
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// A stream goes on in the successor of a log, and tells of the last record before.
func TestRollover(t *testing.T) {
	r := newRig(t)
	out := &fakeSink{}
	_, stop := r.start(systemStream(FromStart), out)
	first := r.systems("acme", 2)
	if _, err := r.Rollover(t.Context(), "acme"); err != nil {
		t.Fatal(err)
	}
	second := r.systems("acme", 2)
	eventually(t, "both logs", func() bool { return holds(out.ids("acme"), append(first, second...)) })
	stop()
	events := map[string]int{}
	for _, e := range out.got {
		if e.Tenant == "acme" {
			events[e.Type]++
		}
	}
	if events["LOG_CLOSED"] != 1 || events["LOG_OPENED"] != 2 {
		t.Errorf("events %v", events)
	}
}

// A stream that dies between delivery and position delivers again, and loses nothing.
func TestAtLeastOnce(t *testing.T) {
	r := newRig(t)
	var want []string
	sink := &fakeSink{}
	for round := range 6 {
		want = append(want, r.systems("acme", 30)...)
		s := systemStream(FromStart)
		batches := 0
		sink.set(func(*batch) error {
			if batches++; batches > 1+round%3 {
				return errors.New("gone")
			}
			return nil
		})
		w := newWorker(r.config(), s, sink, newMetrics(nil))
		// It dies: nothing is saved at its end.
		ctx, cancel := context.WithCancel(t.Context())
		w.pass(ctx)
		w.pass(ctx)
		cancel()
	}
	sink.set(nil)
	_, stop := r.start(systemStream(FromStart), sink)
	eventually(t, "all", func() bool { return holds(sink.ids("acme"), want) })
	stop()
	// In order, but for repeats: each first appearance is behind that of the one before.
	got := sink.ids("acme")
	at := -1
	for _, id := range want {
		i := slices.Index(got, id)
		if i <= at {
			t.Fatalf("%s came at %d, the one before it at %d", id, i, at)
		}
		at = i
	}
}

// The position moves only behind what the sink has confirmed.
func TestPositionAfterDelivery(t *testing.T) {
	r := newRig(t)
	r.systems("acme", 5)
	sink := &fakeSink{do: func(*batch) error { return errors.New("down") }}
	w, stop := r.start(systemStream(FromStart), sink)
	eventually(t, "some attempts", func() bool { sink.mu.Lock(); defer sink.mu.Unlock(); return sink.tries > 3 })
	stop()
	if at := must(w.pos.load(t.Context(), "acme")); at != (store.Position{LogNo: 1}) {
		t.Errorf("position %v although nothing was delivered", at)
	}
	cs := w.conditions(time.Now(), 0)
	if len(cs) != 1 || cs[0].Name != condDown || !strings.Contains(cs[0].Why, "down") {
		t.Errorf("conditions %+v", cs)
	}
	ids := r.systems("acme", 1)
	sink.set(nil)
	_, _ = r.start(systemStream(FromStart), sink)
	eventually(t, "the sink is up again", func() bool { return holds(sink.ids("acme"), ids) })
}

// A record that is refused for ever blocks its tenant, visibly, and nobody else.
func TestPoisonedRecord(t *testing.T) {
	r := newRig(t)
	ids := r.systems("acme", 20)
	bad := ids[10]
	sink := &fakeSink{}
	refuse := func(b *batch) error {
		for _, e := range b.events {
			if e.ID == bad {
				return &refusedError{split: true, err: errors.New("siem answered 400")}
			}
		}
		return nil
	}
	sink.set(refuse)
	w, _ := r.start(systemStream(FromStart), sink)
	others := r.systems("other", 3)
	eventually(t, "the other tenant", func() bool { return holds(sink.ids("other"), others) })
	eventually(t, "what stands before it", func() bool { return holds(sink.ids("acme"), ids[:10]) })
	eventually(t, "the metric", func() bool { return value(t, w.metrics.blocked.WithLabelValues("siem")) == 1 })
	cs := w.conditions(time.Now(), 0)
	if len(cs) != 1 || cs[0].Name != condBlocked || !slices.Equal(cs[0].Tenants, []string{"acme"}) {
		t.Errorf("conditions %+v", cs)
	}
	if slices.Contains(sink.ids("acme"), ids[11]) {
		t.Error("what stands behind a refused record was delivered")
	}
	if !strings.Contains(r.logs.String(), "blocked") {
		t.Error("the log does not say so")
	}
	sink.set(nil)
	eventually(t, "it is taken after all", func() bool { return holds(sink.ids("acme"), ids) })
	eventually(t, "nothing is blocked", func() bool { return value(t, w.metrics.blocked.WithLabelValues("siem")) == 0 })
}

// A sink that refuses everything (a wrong token) is one condition of the stream.
func TestRefusedAltogether(t *testing.T) {
	r := newRig(t)
	r.systems("acme", 3)
	sink := &fakeSink{do: func(*batch) error { return &refusedError{err: errors.New("siem answered 401")} }}
	w, _ := r.start(systemStream(FromStart), sink)
	eventually(t, "the condition", func() bool {
		cs := w.conditions(time.Now(), 1<<40)
		return len(cs) == 1 && cs[0].Name == condBlocked && cs[0].Count == 0
	})
}

// Content that is erased while a sink is down is not in the next attempt.
func TestErasedBetweenAttempts(t *testing.T) {
	r := newRig(t)
	const secret = "a-text-that-is-erased"
	ids := r.append("acme", made(evidence.KindSystem, map[string]string{"event_type": "ERROR"}, map[string]string{"/summary": `"` + secret + `"`}))
	s := systemStream(FromStart)
	s.Disclose = []string{"/summary"}
	s.EventTypes = []string{"ERROR"}
	var tried []event
	sink := &fakeSink{do: func(b *batch) error { tried = append(tried, b.events...); return errors.New("down") }}
	_, stop := r.start(s, sink)
	eventually(t, "an attempt", func() bool { sink.mu.Lock(); defer sink.mu.Unlock(); return len(tried) > 0 })
	stop()
	if !strings.Contains(string(tried[0].Body), secret) {
		t.Fatal("a disclosed field is not in the event: this test could not fail")
	}
	pos := must(r.Locate(t.Context(), "acme", must2(evidence.ParseID(ids[0]))))
	_, err := r.Erase(t.Context(), "acme", ledger.Erasure{Fields: []ledger.ErasedField{{Position: pos}}, Reason: "asked for", By: "cli:test"})
	if err != nil {
		t.Fatal(err)
	}
	sink.set(nil)
	_, _ = r.start(s, sink)
	eventually(t, "the record", func() bool { return holds(sink.ids("acme"), ids) })
	if strings.Contains(string(sink.got[0].Body), secret) {
		t.Error("erased content was streamed")
	}
}

func must2[T any](v T, ok bool) T {
	if !ok {
		panic("not ok")
	}
	return v
}

// A leaf that the signed tree does not have is never passed on as a record.
func TestTamperedRecordBlocks(t *testing.T) {
	r := newRig(t)
	ids := r.systems("acme", 10)
	cfg := r.config()
	cfg.Ledger = tampered{r.Ledger, ids[4]}
	sink := &fakeSink{}
	w := newWorker(cfg, systemStream(FromStart), sink, newMetrics(prometheus.NewRegistry()))
	r.run(w.run)
	eventually(t, "the metric", func() bool { return value(t, w.metrics.blocked.WithLabelValues("siem")) == 1 })
	eventually(t, "what stands before it", func() bool { return holds(sink.ids("acme"), ids[:4]) })
	if slices.Contains(sink.ids("acme"), ids[4]) || slices.Contains(sink.ids("acme"), ids[5]) {
		t.Error("a tampered record, or one behind it, was passed on")
	}
	if cs := w.conditions(time.Now(), 1<<40); len(cs) != 1 || !strings.HasPrefix(cs[0].Why, reasonUnreadable) {
		t.Errorf("conditions %+v", cs)
	}
}

// tampered is a ledger one of whose leaves does not match.
type tampered struct {
	*ledger.Ledger
	id string
}

func (l tampered) Fetch(ctx context.Context, tenant string, at []store.Found, content bool) ([]ledger.Fetched, error) {
	list, err := l.Ledger.Fetch(ctx, tenant, at, content)
	for i := range list {
		if list[i].Leaf.ID.String() == l.id {
			return nil, evidence.ErrTampered
		}
	}
	return list, err
}

func TestPositionText(t *testing.T) {
	r := newRig(t)
	p := positions{store: r.db, of: "x"}
	for _, text := range []string{"", "1", "1 2 3", " 1 2", "1 2 ", "01 2", "a b", "1  2"} {
		if err := r.db.SetSetting(t.Context(), p.setting("acme"), text); err != nil {
			t.Fatal(err)
		}
		if at, err := p.load(t.Context(), "acme"); err == nil {
			t.Errorf("%q is read as %v", text, at)
		}
	}
	want := store.Position{LogNo: 3, Seq: 1 << 40}
	if err := p.save(t.Context(), "acme", want); err != nil {
		t.Fatal(err)
	}
	if at := must(p.load(t.Context(), "acme")); at != want {
		t.Errorf("position %v", at)
	}
}
