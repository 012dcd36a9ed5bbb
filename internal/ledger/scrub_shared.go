package ledger

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/runledger/runledger/evidence"
)

// sharedScrub verifies the tenants whose last full verification is long ago, whoever
// made it.
type sharedScrub struct {
	l     *Ledger
	every time.Duration
	began moment
	// apart is this process's share of a quarter of every, so that those that do not wait for
	// a turn do not all begin at once.
	apart time.Duration
	again map[string]time.Time // when a tenant may be tried again that could not be verified
}

func (l *Ledger) scrubShared(ctx context.Context, cfg WatchConfig) {
	s := &sharedScrub{
		l: l, every: cfg.ScrubEvery, began: l.moment(),
		apart: time.Duration(rand.Float64() * float64(cfg.ScrubEvery/4)), again: map[string]time.Time{},
	}
	anchors := time.Time{}
	for ctx.Err() == nil {
		if time.Since(anchors) >= cfg.ScrubEvery {
			l.scrubAnchors(ctx)
			anchors = time.Now()
		}
		s.tenants(ctx, cfg)
		select {
		case <-time.After(min(cfg.ScrubEvery, l.turns.every())):
		case <-ctx.Done():
		}
	}
}

func (s *sharedScrub) tenants(ctx context.Context, cfg WatchConfig) {
	l := s.l
	tenants, err := l.Tenants(ctx)
	if err != nil {
		if ctx.Err() == nil {
			l.log.Error("verify", "err", err)
		}
		return
	}
	began, verified := time.Now(), false
	first := rand.IntN(max(len(tenants), 1)) // so that processes share the work
	for i := range tenants {
		verified = s.tenant(ctx, cfg, tenants[(first+i)%len(tenants)].Tenant) || verified
		if ctx.Err() != nil {
			return
		}
	}
	if verified {
		l.state.passed(time.Since(began))
	}
	now := l.clock.Now()
	oldest := evidence.MicrosOf(now)
	for _, info := range tenants {
		at, _ := l.state.verifiedAt(info.Tenant, l.holder, now)
		oldest = min(oldest, at)
	}
	l.metrics.scrubbedAt.Set(float64(oldest) / 1e6)
}

// tenant verifies a tenant if it is due, and reports whether it did.
func (s *sharedScrub) tenant(ctx context.Context, cfg WatchConfig, tenant string) bool {
	l := s.l
	due, must := s.due(tenant)
	if !due || time.Now().Before(s.again[tenant]) || !l.turns.take(ctx, tenant) && !must {
		return false
	}
	// Who had the turn before may have just done it. Where that is not to be known, who must
	// does not wait for it.
	err := l.hearOf(ctx, tenant)
	if due, must = s.due(tenant); !due || err != nil && !must {
		return false
	}
	progress, stop := l.turns.keep(ctx, tenant)
	whole := l.scrubTenant(ctx, cfg, tenant, progress)
	stop()
	if ctx.Err() != nil {
		return false
	}
	if err := l.tell(ctx, tenant, nil, whole); err != nil && ctx.Err() == nil {
		l.log.Warn("tell other processes what was verified", "tenant", tenant, "err", err)
	}
	delete(s.again, tenant)
	if !whole { // perhaps another one can
		s.again[tenant] = time.Now().Add(min(s.every/10, 5*time.Minute))
		l.turns.refuse(ctx, tenant)
	}
	return true
}

// due reports whether a tenant is to be verified: if nobody did so since this process
// began, for much can happen while one is down, or not for long. Who did so last
// leaves the others the first go.
//
// It must be, whoever's turn it is, where the others should have done so and did not, and
// where this process has not done so itself for long: what a turn stands for may not be true,
// and nor may what was told. A verification that takes long is waited for.
func (s *sharedScrub) due(tenant string) (due, must bool) {
	every, now := s.every, s.l.clock.Now()
	at, mine := s.l.state.verifiedAt(tenant, s.l.holder, now)
	if mine {
		every += every / 8
	}
	must = s.l.state.overdue(tenant, now, s.every+s.every/4+s.apart, ownEvery*s.every+s.apart)
	return must || at < s.began.by(now) || now.Sub(at.Time()) >= every, must
}

// ownEvery is after how many times ScrubEvery each process makes a full verification of its
// own at the latest.
const ownEvery = 4

// overdue reports whether no full verification ended for known, as far as is known, or none of
// this process for own, and twice as long as the last one took.
func (s *integrityState) overdue(tenant string, now time.Time, known, own time.Duration) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.of(tenant)
	at, took := t.lastFull(now)
	if t.age(at, now) >= known+2*took {
		return true
	}
	return t.age(t.verified.by(now), now) >= own+2*t.took
}

// lastFull is the end of the last full verification by whichever process, 0 where there was
// none, and how long it took.
func (t *tenantIntegrity) lastFull(now time.Time) (at evidence.Micros, took time.Duration) {
	at, took = t.verified.by(now), t.took
	if told := t.toldAt(now); told > at {
		at, took = told, max(t.told.Took, 0)
	}
	return at, took
}

// toldAt is the end of the last full verification of which this process was told. One that is
// still to come, by the clock, says nothing.
func (t *tenantIntegrity) toldAt(now time.Time) evidence.Micros {
	if t.told.At > evidence.MicrosOf(now)+fromAhead {
		return 0
	}
	return t.told.At
}

// age is how long ago that was, or how long a tenant is known if that is less.
func (t *tenantIntegrity) age(at evidence.Micros, now time.Time) time.Duration {
	return min(now.Sub(at.Time()), time.Since(t.since))
}

// lateBy is what a full verification may be late by beside what its length explains.
const lateBy = 30 * time.Second

// late reports whether the last full verification is longer ago than can be.
func (s *integrityState) late(t *tenantIntegrity, now time.Time) bool {
	at, took := t.lastFull(now)
	return s.every > 0 && t.age(at, now) > 2*(s.every+max(took, s.pass))+lateBy
}

// byFull is the status of a tenant by its last full verification. While none has ended since this
// process began, nobody knows how long they take, so that they are not late as long as they go
// on.
func (s *integrityState) byFull(t *tenantIntegrity, now time.Time) string {
	at, _ := t.lastFull(now)
	late := s.late(t, now)
	switch {
	case late && (at >= s.began.by(now) || time.Since(s.came) > goesOn):
		return StatusDegraded
	case late || at == 0:
		return StatusUnknown
	}
	return StatusVerified
}

// goesOn is for how long a full verification that is said to go on may come to no more leaves. What
// it does after the last leaf of a tenant takes a while where there are many records.
const goesOn = 15 * time.Minute

// comes notes that a full verification has come farther.
func (s *integrityState) comes() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.came = time.Now()
}

// passed notes how long it took to verify all tenants that were due.
func (s *integrityState) passed(took time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pass = max(took, s.pass-s.pass/16)
}
