package stream

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
)

func (r *rig) alarm(cfg *Config, out sink, workers ...*worker) (*alarmer, func()) {
	r.t.Helper()
	a := newAlarmer(cfg, &Alarm{Name: "duty", Format: FormatCloudEvents}, out, newMetrics(prometheus.NewRegistry()), workers)
	stop := r.run(a.run)
	eventually(r.t, "the beginning", func() bool {
		_, err := r.db.Setting(r.t.Context(), "stream_begun/duty")
		return err == nil
	})
	return a, stop
}

func system(event, component, severity string) *evidence.Record {
	return made(evidence.KindSystem, map[string]string{"event_type": event, "component": component, "severity": severity}, nil)
}

// notes are the counts of the alarms of a tenant, by the id of their first record.
func notes(t *testing.T, s *fakeSink) map[string]int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string]int64{}
	for _, e := range s.got {
		var v struct {
			Data struct {
				Alarm *alarmNote `json:"alarm"`
			} `json:"data"`
		}
		if err := json.Unmarshal(e.Body, &v); err != nil {
			t.Fatal(err)
		}
		if v.Data.Alarm != nil {
			out[e.ID] = v.Data.Alarm.Count
		}
	}
	return out
}

func TestAlarms(t *testing.T) {
	r := newRig(t)
	r.append("acme", system("ERROR", "before", "CRITICAL")) // before it began
	out := &fakeSink{}
	cfg := r.config()
	cfg.tempo.quiet = time.Hour
	_, stop := r.alarm(cfg, out)
	r.append("acme", system("ERROR", "db", "WARN"), system("DEPLOY", "db", "INFO"))
	first := r.append("acme", system("ERROR", "db", "CRITICAL"))
	eventually(t, "an alarm", func() bool { return holds(out.ids("acme"), first) })
	// More of the same waits, another component and another tenant do not.
	r.append("acme", system("ERROR", "db", "CRITICAL"), system("ERROR", "db", "CRITICAL"))
	more := r.append("acme", system("ERROR", "api", "CRITICAL"), system("PRODUCER_SILENT", "ledger", "WARN"), system("INTEGRITY_ANOMALY", "ledger", "CRITICAL"))
	other := r.append("other", system("ERROR", "db", "CRITICAL"))
	eventually(t, "other alarms", func() bool {
		got := out.ids("acme")
		return slices.Contains(got, more[0]) && slices.Contains(got, more[1]) && slices.Contains(got, more[2]) && holds(out.ids("other"), other)
	})
	if got := notes(t, out); len(got) != 5 {
		t.Errorf("alarms %v", got)
	}
	// What waits is not behind the position: after the quiet time, and after a restart
	// too, it is told of together.
	stop()
	cfg = r.config()
	again := &fakeSink{}
	r.append("acme", system("ERROR", "db", "CRITICAL"))
	r.alarm(cfg, again)
	eventually(t, "those that waited", func() bool {
		for _, n := range notes(t, again) {
			if n == 3 {
				return true
			}
		}
		return false
	})
	if slices.Contains(again.ids("acme"), first[0]) {
		t.Error("an alarm was told again, although its position was stored")
	}
}

// A drill raises no alarm, but where the configuration says so.
func TestAlarmSynthetic(t *testing.T) {
	r := newRig(t)
	out, drills := &fakeSink{}, &fakeSink{}
	r.alarm(r.config(), out)
	a := newAlarmer(r.config(), &Alarm{Name: "drills", Format: FormatCloudEvents, Synthetic: true}, drills, newMetrics(prometheus.NewRegistry()), nil)
	r.run(a.run)
	eventually(t, "the beginning", func() bool {
		_, err := r.db.Setting(t.Context(), "stream_begun/drills")
		return err == nil
	})
	drill := system("PRODUCER_SILENT", "worker", "WARN")
	drill.SetBool("is_synthetic", true)
	ids := r.append("acme", drill, system("ERROR", "db", "CRITICAL"))
	eventually(t, "the real one", func() bool { return holds(out.ids("acme"), ids[1:]) })
	eventually(t, "both", func() bool {
		return slices.Contains(drills.ids("acme"), ids[0]) && slices.Contains(drills.ids("acme"), ids[1])
	})
	if slices.Contains(out.ids("acme"), ids[0]) {
		t.Error("a drill raised an alarm")
	}
}

// What an alarm's sink does not take waits, and comes when it does.
func TestAlarmSinkDown(t *testing.T) {
	r := newRig(t)
	out := &fakeSink{do: func(*batch) error { return errors.New("down") }}
	a, stop := r.alarm(r.config(), out)
	ids := r.append("acme", system("ERROR", "db", "CRITICAL"))
	eventually(t, "attempts", func() bool { out.mu.Lock(); defer out.mu.Unlock(); return out.tries > 2 })
	stop()
	at := must(a.pos.load(t.Context(), "acme"))
	if where := must(r.Locate(t.Context(), "acme", must2(evidence.ParseID(ids[0])))); before(where, at) {
		t.Errorf("position %v is behind the alarm at %v, which was not delivered", at, where)
	}
	out.set(nil)
	r.alarm(r.config(), out)
	eventually(t, "the alarm", func() bool { return holds(out.ids("acme"), ids) })
}

// conditionsOf are the changes of conditions that were told of: "name state subject".
func conditionsOf(t *testing.T, s *fakeSink) (out []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.got {
		if e.Kind != "condition" {
			continue
		}
		var v struct {
			Data shownCondition `json:"data"`
		}
		if err := json.Unmarshal(e.Body, &v); err != nil {
			t.Fatal(err)
		}
		out = append(out, fmt.Sprintf("%s %s %s", v.Data.Name, v.Data.State, strings.Join(v.Data.Tenants, ",")))
	}
	return out
}

// states is a ledger whose integrity is what a test says.
type states struct {
	*ledger.Ledger
	of atomic.Pointer[map[string]ledger.Integrity]
}

func (l *states) Integrity(tenant string) ledger.Integrity { return (*l.of.Load())[tenant] }

func TestConditions(t *testing.T) {
	r := newRig(t)
	l := &states{Ledger: r.Ledger}
	l.of.Store(&map[string]ledger.Integrity{})
	var ready atomic.Pointer[error]
	cfg := r.config()
	cfg.Ledger = l
	cfg.Ready = func() error {
		if err := ready.Load(); err != nil {
			return *err
		}
		return nil
	}
	out := &fakeSink{}
	w := newWorker(cfg, systemStream(FromStart), &fakeSink{}, newMetrics(nil))
	r.alarm(cfg, out, w)

	var want []string
	told := func(change string) {
		t.Helper()
		want = append(want, change)
		eventually(t, change, func() bool { return len(conditionsOf(t, out)) >= len(want) })
		if got := conditionsOf(t, out); !slices.Equal(got, want) {
			t.Fatalf("told %q, want %q", got, want)
		}
	}
	full := errors.New("the disk is full")
	ready.Store(&full)
	l.of.Store(&map[string]ledger.Integrity{"acme": {Status: ledger.StatusDegraded, Why: "not writable"}})
	told("not_writable raised ")
	ready.Store(nil)
	l.of.Store(&map[string]ledger.Integrity{})
	told("not_writable over ")
	degraded := ledger.Integrity{Status: ledger.StatusDegraded, Why: "verification does not run"}
	l.of.Store(&map[string]ledger.Integrity{"acme": degraded, "other": degraded})
	told("integrity_degraded raised acme,other")
	anomaly := ledger.Anomaly{Finding: ledger.Finding{Code: "E_TILE", Tenant: "acme", Table: "tiles", Message: "a tile differs"}}
	l.of.Store(&map[string]ledger.Integrity{"acme": {Status: ledger.StatusCompromised, Anomalies: []ledger.Anomaly{anomaly}}, "other": degraded})
	told("integrity_compromised raised acme")
	l.of.Store(&map[string]ledger.Integrity{"acme": {Status: ledger.StatusCompromised, Anomalies: []ledger.Anomaly{anomaly}}})
	told("integrity_degraded over acme,other")
	// A stream that is blocked, of which nobody would know else.
	w.mu.Lock()
	w.status.blocked = map[string]blockage{"acme": {since: time.Now(), why: "refused: 400"}}
	w.mu.Unlock()
	told("stream_blocked raised acme")
	w.mu.Lock()
	w.status = status{}
	w.mu.Unlock()
	told("stream_blocked over acme")

	out.mu.Lock()
	defer out.mu.Unlock()
	seen := map[string]bool{}
	for _, e := range out.got {
		if e.Kind != "condition" {
			continue
		}
		if seen[e.ID] {
			t.Errorf("the id %s stands twice", e.ID)
		}
		seen[e.ID] = true
		if strings.Contains(e.Type, "compromised") && !strings.Contains(string(e.Body), "E_TILE") {
			t.Errorf("%s does not say why", e.Body)
		}
	}
}

// A condition that does not stand for long enough is not told of; one that ended while
// the sink was down is, with its end.
func TestConditionSettles(t *testing.T) {
	r := newRig(t)
	cfg := r.config()
	cfg.tempo.settle = time.Second
	var why error
	cfg.Ready = func() error { return why }
	w := watch{cfg: cfg, seen: map[string]*tracked{}}
	now := time.Now()
	why = errors.New("full")
	w.look(now, nil)
	why = nil
	w.look(now.Add(time.Millisecond), nil)
	if len(w.due()) != 0 || len(w.seen) != 0 {
		t.Errorf("due %v", w.due())
	}
	why = errors.New("full")
	w.look(now, nil)
	w.look(now.Add(2*time.Second), nil)
	if got := w.due(); len(got) != 1 || got[0].Over {
		t.Fatalf("due %+v", got)
	}
	why = nil
	w.look(now.Add(3*time.Second), nil)
	w.look(now.Add(4*time.Second), nil)
	list := w.due()
	if len(list) != 1 || list[0].Over {
		t.Fatalf("due %+v", list)
	}
	w.told(list[0])
	if list = w.due(); len(list) != 1 || !list[0].Over || list[0].Ended != evidence.MicrosOf(now.Add(3*time.Second)) {
		t.Fatalf("due %+v", list)
	}
	w.told(list[0])
	if len(w.seen) != 0 {
		t.Errorf("still followed: %v", w.seen)
	}
}

// A refusal of a batch of alarms does not keep all of them back.
func TestAlarmsAreSplit(t *testing.T) {
	r := newRig(t)
	out := &fakeSink{do: func(b *batch) error {
		if len(b.events) > 1 {
			return &refusedError{split: true, err: errors.New("413")}
		}
		return nil
	}}
	r.alarm(r.config(), out)
	var list []*evidence.Record
	for n := range 10 {
		list = append(list, system("ERROR", fmt.Sprintf("c%d", n), "CRITICAL"))
	}
	ids := r.append("acme", list...)
	eventually(t, "all", func() bool {
		return !slices.ContainsFunc(ids, func(id string) bool { return !slices.Contains(out.ids("acme"), id) })
	})
}
