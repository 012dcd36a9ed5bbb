package ledger

import (
	"errors"
	"fmt"
	"strings"
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
	now := time.Unix(1e9, 0)
	for n := range int64(2 * maxTold) {
		s.add([]Finding{anomaly(CodeColumn, "one", n)}, 1)
	}
	s.tell("acme", "x", s.verdict("acme", "me", nil, false, now))
	if s.isUntold("acme") {
		t.Error("what there is no place for is to be told")
	}
	s.add([]Finding{anomaly(CodeHead, "two", 1), anomaly(CodeHead, "two", 2)}, 1)
	if !s.isUntold("acme") {
		t.Error("a stop is not to be told")
	}
	v := s.verdict("acme", "me", nil, false, now)
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
		_, told := s.tail(ref)
		if got := x.toTell(told); got != tc.want {
			t.Errorf("%+v: %t", tc, got)
		}
	}
}

// TestOverdue: what was told is believed for so long, and what this process did itself for
// longer; a verification that takes long is waited for.
func TestOverdue(t *testing.T) {
	now := time.Unix(1e9, 0)
	ago := func(h int) moment { return at(now, -time.Duration(h)*time.Hour) }
	for _, tc := range []struct {
		name       string
		own        moment
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
			x.verified, x.took, x.told = tc.own, tc.took, verdict{At: ago(tc.told).said, Took: tc.took}
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
	now := time.Unix(1e9, 0)
	x := &tenantIntegrity{failed: errors.New("x"), failedAt: at(now, -time.Second)}
	for _, tc := range []struct {
		told  time.Duration
		fails bool
	}{{-2 * time.Second, true}, {0, false}, {time.Hour, true}} {
		x.told.At = evidence.MicrosOf(now.Add(tc.told))
		if got := x.fails(now) != nil; got != tc.fails {
			t.Errorf("another process verified %s from now: %t", tc.told, got)
		}
	}
}

// at is a moment of a clock that now says now, and was not set.
func at(now time.Time, d time.Duration) moment {
	return moment{evidence.MicrosOf(now.Add(d)), time.Now().Add(d)}
}

// TestClockBack: the clock was ahead when a process ended a full verification, or began, and was
// then set right. What it said then puts nothing off.
func TestClockBack(t *testing.T) {
	now := time.Unix(1e9, 0)
	const ahead, passed = 24 * time.Hour, 9 * time.Hour
	long := moment{evidence.MicrosOf(now.Add(ahead - passed)), time.Now().Add(-passed)}
	lately := moment{evidence.MicrosOf(now.Add(ahead)), time.Now().Add(-time.Minute)}
	for _, tc := range []struct {
		name            string
		own             moment
		told            time.Duration
		due, must, late bool
	}{
		{name: "verified long ago", own: long, due: true, must: true, late: true},
		{name: "told long ago", told: ahead - passed, due: true, must: true, late: true},
		{name: "verified lately", own: lately},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := &Ledger{shared: true, holder: "me"}
			l.clock = newClockGuard(Clock{Now: func() time.Time { return now }, Boot: func() time.Duration { return 0 }}, false, nil)
			l.state.every, l.state.began = time.Hour, long
			x := l.state.of("acme")
			x.since = time.Now().Add(-passed)
			x.verified = tc.own
			if tc.told != 0 {
				x.told = verdict{At: evidence.MicrosOf(now.Add(tc.told)), Full: "other"}
			}
			c := &sharedScrub{l: l, every: time.Hour, began: long}
			if due, must := c.due("acme"); due != tc.due || must != tc.must {
				t.Errorf("due %t, must %t", due, must)
			}
			if got := l.state.late(x, now); got != tc.late {
				t.Errorf("late: %t", got)
			}
			if v := l.state.verdict("acme", "me", nil, false, now); v.At > evidence.MicrosOf(now) {
				t.Errorf("told as of %s", v.At.Time())
			}
		})
	}
}

// TestFirstPass: the first full verification of a large deployment takes long. That is no reason to
// be degraded, while it goes on.
func TestFirstPass(t *testing.T) {
	now := time.Unix(1e9, 0)
	for _, tc := range []struct {
		name     string
		verified time.Duration // ago; 0: never
		told     time.Duration
		began    time.Duration
		came     time.Duration
		want     string
	}{
		{name: "it goes on", began: 3 * time.Hour, came: time.Minute, want: StatusUnknown},
		{name: "it does not", began: 3 * time.Hour, came: time.Hour, want: StatusDegraded},
		{name: "it has just begun", began: time.Minute, came: time.Hour, want: StatusUnknown},
		{name: "others made one before", told: 5 * time.Hour, began: 3 * time.Hour, came: time.Minute, want: StatusUnknown},
		{name: "others made one not long before", told: time.Hour, began: time.Minute, came: time.Minute, want: StatusVerified},
		{name: "it has ended", verified: time.Minute, began: 3 * time.Hour, came: time.Minute, want: StatusVerified},
		{name: "the next is late", verified: 5 * time.Hour, began: 8 * time.Hour, came: time.Minute, want: StatusDegraded},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := integrityState{every: time.Hour, began: at(now, -tc.began), came: time.Now().Add(-tc.came)}
			x := s.of("acme")
			x.since = time.Now().Add(-tc.began)
			if tc.verified != 0 {
				x.verified = at(now, -tc.verified)
			}
			if tc.told != 0 {
				x.told.At = at(now, -tc.told).said
			}
			if got := s.byFull(x, now); got != tc.want {
				t.Errorf("%s, want %s", got, tc.want)
			}
		})
	}
}

// TestFadingFinding: who makes a full verification does not tell what another process found. That
// has been heard, and is said until the other one has told it again, and is not new then; if that
// has died, it is said no more.
func TestFadingFinding(t *testing.T) {
	s := integrityState{lease: time.Hour}
	found := verdict{By: "other", Findings: []Anomaly{{Finding: anomaly(CodeInclusion, "one", 1)}}}
	now, n := time.Unix(1e9, 0), 0
	tell := func(v verdict) []Finding {
		n++
		return s.tell("acme", fmt.Sprint(n), v)
	}
	said := func(want int) {
		t.Helper()
		if n := len(s.of("acme").all()); n != want {
			t.Errorf("%d findings are said", n)
		}
	}
	if fresh := tell(found); len(fresh) != 1 {
		t.Errorf("new: %v", fresh)
	}
	whole := s.verdict("acme", "me", nil, true, now)
	if len(whole.Findings) != 0 {
		t.Errorf("told: %v", whole.Findings)
	}
	tell(whole)
	said(1)
	if v := s.verdict("acme", "me", nil, false, now); len(v.Findings) != 0 {
		t.Errorf("who only heard of it tells it: %v", v.Findings)
	}
	if fresh := tell(found); len(fresh) != 0 {
		t.Errorf("told again, it is new: %v", fresh)
	}
	said(1)
	s.lease = time.Nanosecond
	tell(whole)
	time.Sleep(time.Millisecond)
	said(0)
	if fresh := tell(found); len(fresh) != 1 {
		t.Errorf("long after: %v", fresh)
	}
}

// TestStopAmongMany: that a log is not to be signed any more is known however much else was found.
func TestStopAmongMany(t *testing.T) {
	var s integrityState
	for n := range int64(maxAnomalies + 1) {
		s.add([]Finding{anomaly(CodeColumn, "one", n)}, 1)
	}
	stop := []Finding{anomaly(CodeLeaf, "one", 1), anomaly(CodeLeaf, "one", 2), anomaly(CodeLeaf, "two", 1)}
	if fresh := s.add(stop, 1); len(fresh) != 2 {
		t.Errorf("noted: %v", fresh)
	}
	for log, want := range map[string]bool{"one": true, "two": true, "three": false} {
		if _, ok := s.stopOf(&openLog{Log: store.Log{LogRef: store.LogRef{Tenant: "acme"}, Origin: log}}); ok != want {
			t.Errorf("log %s is stopped: %t", log, ok)
		}
	}
}

// TestToldShort: of what a database holds a verdict has no more than is read of one.
func TestToldShort(t *testing.T) {
	var s integrityState
	f := anomaly(CodeColumn, "one", 1)
	f.Expected, f.Found = "x", strings.Repeat("ü", 2*maxShown)
	s.add([]Finding{f}, 1)
	v := s.verdict("acme", "me", nil, false, time.Unix(1e9, 0))
	if got := v.Findings[0]; got.Expected != "x" || len(got.Found) != 2*maxShown || len(s.of("acme").anomalies[0].Found) != 4*maxShown {
		t.Errorf("%d, %d", len(got.Found), len(s.of("acme").anomalies[0].Found))
	}
	if s.tell("acme", "x", v); s.isUntold("acme") {
		t.Error("it is not told")
	}
}
