package ledger

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

func anomaly(code, log string, n int64) Finding {
	return Finding{Code: code, Tenant: "acme", Log: log, Table: "t", From: n, To: n + 1}
}

// TestToldStops: however many findings there are, what stops a log is told, and then told
// no more.
func TestToldStops(t *testing.T) {
	var s integrityState
	for n := range int64(2 * maxTold) {
		s.add([]Finding{anomaly(CodeColumn, "one", n)}, 1)
	}
	s.tell("acme", "x", s.verdict("acme", "me", nil, false))
	if s.isUntold("acme") {
		t.Error("what there is no place for is to be told")
	}
	s.add([]Finding{anomaly(CodeHead, "two", 1), anomaly(CodeHead, "two", 2)}, 1)
	if !s.isUntold("acme") {
		t.Error("a stop is not to be told")
	}
	v := s.verdict("acme", "me", nil, false)
	if len(v.Findings) != maxTold || v.Findings[0].Code != CodeHead {
		t.Errorf("%d findings, the first %v", len(v.Findings), v.Findings[0])
	}
	s.tell("acme", "x", v)
	if s.isUntold("acme") {
		t.Error("a stop that was told is to be told")
	}
}

func (s *integrityState) isUntold(tenant string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.of(tenant).untold()
}

// TestToldGone: what is gone is told again, once.
func TestToldGone(t *testing.T) {
	var s integrityState
	s.gone(nil)
	s.tell("acme", "x", verdict{})
	s.gone(map[string]string{"acme": "x"})
	if len(s.untold()) != 0 {
		t.Error("nothing is gone")
	}
	s.gone(map[string]string{"other": "x"})
	if list := s.untold(); len(list) != 1 || list[0] != "acme" {
		t.Errorf("untold: %v", list)
	}
	s.tell("acme", "x", verdict{})
	if len(s.untold()) != 0 {
		t.Error("it was told again")
	}
}

// TestToldTail: a tail that began behind what was told says nothing of what is between.
func TestToldTail(t *testing.T) {
	var s integrityState
	ref := store.LogRef{Tenant: "acme", No: 1}
	for _, tc := range []struct {
		from, told int64
		want       bool
	}{{0, 0, true}, {5, 0, false}, {5, 4, false}, {5, 5, true}, {5, 9, true}, {5, 10, false}} {
		s.tell("acme", fmt.Sprint(tc), verdict{Through: map[int]int64{1: tc.told}})
		x := &tail{from: tc.from}
		for range 10 {
			x.tree.append(evidence.Hash{}, func(store.Tile) {})
		}
		if got := x.toTell(s.tail(ref)); got != tc.want {
			t.Errorf("%+v: %t", tc, got)
		}
	}
}

// TestOverdue: what was told is believed for so long, and what this process did itself for
// longer; a verification that takes long is waited for.
func TestOverdue(t *testing.T) {
	now := time.Unix(1e9, 0)
	ago := func(h int) *evidence.Micros {
		at := evidence.MicrosOf(now.Add(-time.Duration(h) * time.Hour))
		return &at
	}
	for _, tc := range []struct {
		name       string
		own        *evidence.Micros
		told       int
		took       time.Duration
		since      time.Duration
		must, late bool
	}{
		{name: "told of late", own: ago(3), told: 1, since: 9 * time.Hour},
		{name: "nothing told for long", own: ago(3), told: 3, since: 9 * time.Hour, must: true, late: true},
		{name: "it took long", own: ago(3), told: 3, took: time.Hour, since: 9 * time.Hour},
		{name: "none of its own for long", own: ago(5), told: 1, since: 9 * time.Hour, must: true},
		{name: "never any of its own", told: 1, since: 9 * time.Hour, must: true},
		{name: "has just come", told: 20, since: time.Minute},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := integrityState{every: time.Hour}
			x := s.of("acme")
			x.since = time.Now().Add(-tc.since)
			x.lastVerified, x.took, x.told = tc.own, tc.took, verdict{At: *ago(tc.told), Took: tc.took}
			if got := s.overdue("acme", now, 2*time.Hour, 4*time.Hour); got != tc.must {
				t.Errorf("must be verified: %t", got)
			}
			if got := s.late(x, now); got != tc.late {
				t.Errorf("late: %t", got)
			}
		})
	}
}

// TestUnguardedBlind: guards that could not be looked at again and again are not well.
func TestUnguardedBlind(t *testing.T) {
	l := &Ledger{}
	for n := range mostBlind {
		if got := l.Unguarded(); got != "" {
			t.Errorf("after %d failures: %s", n, got)
		}
		l.state.unseen()
	}
	if l.Unguarded() == "" {
		t.Error("nothing is said")
	}
	l.state.guard(nil, 1)
	if got := l.Unguarded(); got != "" {
		t.Error(got)
	}
}

// TestFailedBefore: what failed here is of no more matter when another process could since.
func TestFailedBefore(t *testing.T) {
	x := &tenantIntegrity{failed: errors.New("x"), failedAt: 5}
	if x.fails() == nil {
		t.Error("it has failed")
	}
	x.told.At = 6
	if x.fails() != nil {
		t.Error("another process verified since")
	}
}
