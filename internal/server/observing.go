package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/runledger/runledger/client"
	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/access"
	"github.com/runledger/runledger/internal/registry"
)

// LeastSelfObserve is the least time between two rounds of self-observation that may
// be asked for.
const LeastSelfObserve = time.Minute

const (
	observeRetry   = 5 * time.Minute  // after a round that failed, where rounds are further apart
	observeAtMost  = 5 * time.Minute  // a round takes no longer, or than the time between two
	observeAtLeast = time.Minute      // but so long in any case
	observeStart   = 30 * time.Second // the first round begins within this after the start
	observeKeys    = 24 * time.Hour   // the credentials of a round expire, should nobody revoke them

	observeLease = "self-observation"
	observeTurn  = 20 * time.Second // how often a process asks for the lease, or extends it
)

// observeName names the credentials of a round, and who makes them.
const observeName = "self-observation"

// observing is the self-observation of a server: all scenarios of the built-in registry
// through its own handler, in the tenant of scenarios, again and again. Of several
// processes on a database one does it, and the others show what it found.
type observing struct {
	s     *server
	every time.Duration
	in    *inProcess
	tries observeHooks
	mine  atomic.Bool               // this process does it
	due   atomic.Pointer[time.Time] // when the round that runs should have ended for long; nil: none runs
	seen  *outcomes

	definition *registry.Registry // of the goroutine of rounds; nil: not read yet
}

// observeHooks are for tests.
type observeHooks struct {
	wrap  func(http.Handler) http.Handler // before the handler; nil: none
	first time.Duration                   // the first round begins within this; default: observeStart, or a tenth of the time between two
	retry time.Duration                   // default: observeRetry
	turn  time.Duration                   // default: observeTurn
}

// openObserving returns nil where the server is not to observe itself.
func (s *server) openObserving(ctx context.Context) *observing {
	if s.cfg.SelfObserve <= 0 {
		return nil
	}
	o := &observing{s: s, every: s.cfg.SelfObserve, tries: s.cfg.observe, seen: newOutcomes(s.registry, s.cfg.SelfObserve)}
	o.learn(ctx)
	return o
}

// run makes rounds until ctx is done, and returns when nothing of them is left.
func (o *observing) run(ctx context.Context, handler http.Handler) {
	if o == nil {
		return
	}
	if o.tries.wrap != nil {
		handler = o.tries.wrap(handler)
	}
	o.in = &inProcess{handler: handler}
	defer o.in.wait()
	holding := make(chan struct{})
	go func() { defer close(holding); o.hold(ctx) }()
	defer func() { <-holding }()
	timer := time.NewTimer(rand.N(cmp.Or(o.tries.first, min(observeStart, o.every/10))))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		next := min(o.every, o.turn()) // another process does it, and may cease to
		if o.mine.Load() {
			began := time.Now()
			wait := o.every
			if !o.round(ctx) {
				wait = min(o.every, cmp.Or(o.tries.retry, observeRetry))
			}
			next = max(time.Until(began.Add(wait)), time.Second)
		}
		timer.Reset(next)
	}
}

func (o *observing) turn() time.Duration { return cmp.Or(o.tries.turn, observeTurn) }

// hold keeps the lease of rounds while this process has it or can get it, until ctx is
// done. Who has it not learns what the other found.
func (o *observing) hold(ctx context.Context) {
	lease := o.s.d.lease()
	if lease == nil {
		o.mine.Store(true)
		return
	}
	tick := time.NewTicker(o.turn())
	defer tick.Stop()
	for {
		held := o.ask(ctx, lease)
		if o.mine.Store(held); !held {
			o.learn(ctx)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			end, cancel := context.WithTimeout(context.WithoutCancel(ctx), probeTimeout)
			_, _ = lease(end, observeLease, 0) // else it ends by itself
			cancel()
			return
		}
	}
}

// ask extends the lease, or tries to get it, and reports whether this process has it. One
// that hangs in a round lets it go.
func (o *observing) ask(ctx context.Context, lease func(context.Context, string, time.Duration) (bool, error)) bool {
	if due := o.due.Load(); due != nil && time.Now().After(*due) {
		return false
	}
	asking, cancel := context.WithTimeout(ctx, o.turn())
	defer cancel()
	held, err := lease(asking, observeLease, 3*o.turn())
	if err != nil && ctx.Err() == nil {
		o.s.log.WarnContext(ctx, "self-observation: whose turn it is is not known", "err", err)
	}
	return held && err == nil
}

// learn takes over what the newest round found, whichever process made it.
func (o *observing) learn(ctx context.Context) {
	text, err := o.s.d.db.Setting(ctx, settingObservation)
	if err == nil {
		err = o.seen.read(text)
	}
	if err != nil && !errors.Is(err, evidence.ErrNotFound) && ctx.Err() == nil {
		o.s.log.WarnContext(ctx, "self-observation: the newest round is not known", "err", err)
	}
}

// round makes one and says what came of it, everywhere. It reports whether all passed.
// One that the end of the server cuts short is none.
func (o *observing) round(ctx context.Context) bool {
	limit := min(max(o.every, observeAtLeast), observeAtMost)
	inTime, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	began := time.Now()
	due := began.Add(2 * limit)
	o.due.Store(&due)
	defer o.due.Store(nil)
	obs, err := o.observe(inTime)
	if ctx.Err() != nil {
		o.s.log.Info("self-observation: a round was broken off: the server stops")
		return false
	}
	if err != nil && inTime.Err() != nil {
		err = fmt.Errorf("not within %s: %w", limit, err)
	}
	out := outcomeOf(obs, err, time.Now())
	o.tell(obs, out, time.Since(began))
	o.seen.add(out)
	if err := o.keep(ctx); err != nil && ctx.Err() == nil {
		o.s.log.WarnContext(ctx, "self-observation: the newest round is not kept", "err", err)
	}
	o.s.look(ctx, time.Now())
	return out.Passed
}

// keep stores what is known, for the other processes and the next start.
func (o *observing) keep(ctx context.Context) error {
	text, err := o.seen.text()
	if err != nil {
		return err
	}
	return o.s.d.db.SetSetting(ctx, settingObservation, text)
}

// tell logs a round, each scenario that failed by itself.
func (o *observing) tell(obs *registry.Observation, out outcome, took time.Duration) {
	if obs != nil {
		for _, r := range obs.Scenarios {
			if f := r.Failure; f != nil {
				o.s.log.Warn("self-observation: a scenario failed", "scenario", r.ID, "reason", f.Reason, "invariant", f.Invariant, "step", f.Step, "detail", f.Detail)
			}
		}
	}
	if out.Passed {
		o.s.log.Info("self-observation passed", "scenarios", len(out.Scenarios), "took", took.String())
		return
	}
	o.s.log.Warn("self-observation failed", "why", out.why(), "took", took.String())
}

// observe runs all scenarios and has the observation recorded. An observation may be
// returned with an error: it was made, and is not in the ledger.
func (o *observing) observe(ctx context.Context) (_ *registry.Observation, err error) {
	if n := o.in.left.Load(); n > 0 { // or they would be more with each round
		return nil, fmt.Errorf("%d requests of the round before have not ended", n)
	}
	if o.definition == nil {
		if o.definition, err = registry.Load(registry.Builtin(), time.Now()); err != nil {
			return nil, fmt.Errorf("registry: %w", err)
		}
	}
	if err := o.makeTenant(ctx); err != nil {
		return nil, fmt.Errorf("tenant %s: %w", evidence.SyntheticTenant, err)
	}
	producer, err := o.makeKey(ctx, access.RoleProducer)
	if err != nil {
		return nil, err
	}
	defer o.revoke(ctx, producer.ID)
	observer, err := o.makeKey(ctx, access.RoleObserver)
	if err != nil {
		return nil, err
	}
	defer o.revoke(ctx, observer.ID)
	const base = "http://self.invalid" // nobody is asked for it
	asks := &http.Client{Transport: o.in}
	obs, err := registry.Run(ctx, registry.Config{
		Registry: o.definition, BaseURL: base, HTTP: asks, Tenant: evidence.SyntheticTenant,
		Producer: registry.Key{ID: producer.ID, Secret: producer.Secret.Reveal()},
		Observer: registry.Key{ID: observer.ID, Secret: observer.Secret.Reveal()},
		Program:  o.s.cfg.Version, Logger: o.s.log,
	})
	if err != nil {
		return nil, err
	}
	c, err := client.New(client.Config{BaseURL: base, Key: producer.Secret.Reveal(), HTTPClient: asks, MaxRetries: 2, Logger: o.s.log})
	if err != nil {
		return obs, err
	}
	if _, err := registry.Record(ctx, c, obs); err != nil {
		return obs, fmt.Errorf("it is not in the ledger: %w", err)
	}
	return obs, nil
}

func (o *observing) makeTenant(ctx context.Context) error {
	_, err := o.s.d.Ledger.Logs(ctx, evidence.SyntheticTenant)
	if errors.Is(err, evidence.ErrNotFound) {
		made := func(ctx context.Context, tenant string) { o.s.d.acknowledge(ctx, o.s.log, tenant) }
		_, err = acknowledging{o.s.d.Ledger, made}.CreateTenant(ctx, evidence.SyntheticTenant)
	}
	if errors.Is(err, evidence.ErrConflict) { // another process was faster
		return nil
	}
	return err
}

func (o *observing) makeKey(ctx context.Context, role string) (access.MadeKey, error) {
	made, err := o.s.d.gate.Create(ctx, access.Actor{Kind: access.System, ID: observeName}, access.NewKey{
		Tenant: evidence.SyntheticTenant, Role: role, Name: observeName, ExpiresAt: evidence.MicrosOf(time.Now().Add(observeKeys)),
	})
	if err != nil {
		return made, fmt.Errorf("a key of role %s: %w", role, err)
	}
	return made, nil
}

// revoke revokes a key of a round, also where the server stops.
func (o *observing) revoke(ctx context.Context, id string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), o.s.cfg.Grace)
	defer cancel()
	if _, err := o.s.d.gate.Revoke(ctx, access.Actor{Kind: access.System, ID: observeName}, evidence.SyntheticTenant, id); err != nil {
		o.s.log.WarnContext(ctx, "self-observation: a key is not revoked", "credential_id", id, "err", err)
	}
}

// observationReason is why the server is degraded by what it observes of itself, or "".
func (s *server) observationReason(now time.Time) string {
	if s.observing == nil {
		return ""
	}
	return s.observing.seen.reason(now)
}
