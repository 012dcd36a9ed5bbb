package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

const (
	// leaseFor is how long another process waits for one that died at its work.
	leaseFor = 30 * time.Second
	// beginWait is how long a request waits for the scheduler, or another request.
	beginWait = 5 * time.Second
)

// begin makes this call the only one that expires or archives for a tenant, of all
// processes. The error wraps evidence.ErrUnavailable where another one is at it.
func (s *Service) begin(ctx context.Context, tenant string) (release func(), err error) {
	wait := time.NewTimer(beginWait)
	defer wait.Stop()
	select {
	case s.working <- struct{}{}:
	case <-wait.C:
		return nil, busy(tenant)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	free, held, err := s.lease(ctx, "lifecycle/"+tenant)
	if err == nil && !held {
		err = busy(tenant)
	}
	if err != nil {
		<-s.working
		return nil, err
	}
	return func() {
		free()
		<-s.working
	}, nil
}

// errBusy is no failure: another call is at what this one would do.
var errBusy = fmt.Errorf("%w: another one is under way; try again later", evidence.ErrUnavailable)

func busy(tenant string) error { return fmt.Errorf("expiry of %s: %w", tenant, errBusy) }

// lease makes this process the only one that has something of this name, where no other has it.
func (s *Service) lease(ctx context.Context, name string) (free func(), held bool, err error) {
	if held, err = s.cfg.Lease(ctx, name, leaseFor); err != nil || !held {
		return nil, held, err
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		s.extend(ctx, name, stop)
	}()
	return func() {
		close(stop)
		<-stopped
		if _, err := s.cfg.Lease(context.WithoutCancel(ctx), name, 0); err != nil {
			s.cfg.Logger.Warn("give up a lease", "name", name, "err", err)
		}
	}, true, nil
}

// extend keeps a lease until stop is closed. Who loses it goes on: the database lets
// nothing happen twice.
func (s *Service) extend(ctx context.Context, name string, stop <-chan struct{}) {
	tick := time.NewTicker(leaseFor / 3)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
			if held, err := s.cfg.Lease(ctx, name, leaseFor); (err != nil || !held) && ctx.Err() == nil {
				s.cfg.Logger.Warn("extend a lease", "name", name, "held", held, "err", err)
			}
		}
	}
}

// Run finishes what was begun and then does what is due, every Config.Every, until ctx is done.
func (s *Service) Run(ctx context.Context, ready <-chan struct{}) {
	if ready != nil {
		select {
		case <-ready:
		case <-ctx.Done():
			return
		}
	}
	s.round(ctx, s.finishAll)
	every := s.cfg.Every
	// The clock is looked at more often than anything is expired, and where nothing is, too.
	look := time.NewTicker(minPositive(every, seenEvery))
	defer look.Stop()
	last := time.Time{} // by the clock that runs on, whatever the time of day is set to
	for {
		if every > 0 && (last.IsZero() || time.Since(last) >= every-every/100) {
			last = time.Now()
			s.round(ctx, s.expireAll)
			s.metrics.last.Set(float64(s.now()) / 1e6)
		} else if why, err := s.see(ctx, false); err != nil && ctx.Err() == nil {
			s.cfg.Logger.Warn("look at the clock", "err", err)
		} else if why != "" {
			s.cfg.Logger.Warn("nothing expires", "why", why)
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return
		}
	}
}

func minPositive(a, b time.Duration) time.Duration {
	if a <= 0 {
		return b
	}
	return min(a, b)
}

// round does something for all tenants, unless another process is at it, and counts.
func (s *Service) round(ctx context.Context, do func(ctx context.Context, tenants []string) (removed bool)) {
	list, err := s.cfg.Ledger.Tenants(ctx)
	if err != nil {
		s.failed(ctx, "", err)
		return
	}
	var tenants []string
	for _, t := range list {
		tenants = append(tenants, t.Tenant)
	}
	switch free, held, err := s.lease(ctx, "lifecycle"); {
	case err != nil:
		s.failed(ctx, "", err)
	case held:
		if do(ctx, tenants) {
			if _, err := s.clean(ctx); err != nil {
				s.failed(ctx, "", err)
			}
		}
		free()
	}
	if ctx.Err() != nil {
		return
	}
	s.countHolds(ctx)
	s.countPending(ctx, tenants)
	s.forgetCertificates(ctx)
	s.certifyMissing(ctx)
	if err := s.cfg.Ledger.ScrubDue(ctx); err != nil {
		s.failed(ctx, "", err)
	}
}

// each does something for each tenant that nobody else is at. One that fails does not stop
// the others.
func (s *Service) each(ctx context.Context, tenants []string, do func(ctx context.Context, tenant string) error) {
	for _, tenant := range tenants {
		began := time.Now()
		release, err := s.begin(ctx, tenant)
		if err == nil {
			err = do(ctx, tenant)
			release()
		} else if errors.Is(err, evidence.ErrUnavailable) {
			err = nil // another process is at it
		}
		if err != nil {
			s.failed(ctx, tenant, err)
		}
		if s.pause(ctx, time.Since(began)) != nil {
			return
		}
	}
}

func (s *Service) failed(ctx context.Context, tenant string, err error) {
	if ctx.Err() != nil {
		return
	}
	s.metrics.failures.Inc()
	s.cfg.Logger.Error("lifecycle", "tenant", tenant, "err", err)
}

// monthsOf does wholeMonths for these tenants together. What was ordered
// of each is carried out before.
func (s *Service) monthsOf(ctx context.Context, tenants []string) (removed bool) {
	dropped, err := s.wholeMonths(ctx, func(ctx context.Context) error {
		s.each(ctx, tenants, func(ctx context.Context, tenant string) error {
			_, _ = s.resume(ctx, tenant) // what fails is tried again right after, and said then
			removed = true
			return nil
		})
		return ctx.Err()
	})
	if err != nil {
		s.failed(ctx, "", err)
	}
	return removed || len(dropped) > 0
}

// finishAll goes on with what a process began that is no more.
func (s *Service) finishAll(ctx context.Context, tenants []string) (removed bool) {
	removed = s.monthsOf(ctx, tenants)
	s.each(ctx, tenants, func(ctx context.Context, tenant string) error {
		n, err := s.finish(ctx, tenant)
		removed = removed || n > 0
		return err
	})
	return removed
}

func (s *Service) finish(ctx context.Context, tenant string) (removed int64, err error) {
	var errs []error
	_, err = s.finishErasures(ctx, tenant)
	errs = append(errs, err)
	n, dropped, err := s.settle(ctx, tenant)
	if !errors.Is(err, store.ErrHeld) && !errors.Is(err, errBusy) { // what is held goes on when it is not
		errs = append(errs, err)
	}
	if n += int64(len(dropped)); n > 0 { // keys may have to follow what has gone
		_, err := s.finishErasures(ctx, tenant)
		errs = append(errs, err)
	}
	return n, errors.Join(errs...)
}

// expireAll is what the scheduler does. The expiries of all tenants are ordered before any is
// carried out, so that a month of all of them can go as a whole.
func (s *Service) expireAll(ctx context.Context, tenants []string) (removed bool) {
	removed = s.monthsOf(ctx, tenants) // what was begun before
	goes := map[string]*expiry{}
	s.each(ctx, tenants, func(ctx context.Context, tenant string) error {
		if err := s.Acknowledge(ctx, tenant); err != nil {
			return err
		}
		e := s.newExpiry(tenant, RunRequest{}, Actor{})
		e.do(ctx, e.order)
		e.forgetRanges()
		goes[tenant] = e
		return nil
	})
	removed = s.monthsOf(ctx, tenants) || removed
	s.each(ctx, tenants, func(ctx context.Context, tenant string) error {
		e := goes[tenant]
		if e == nil {
			return nil
		}
		if errors.Is(e.err, errBusy) {
			return nil // in the next round
		}
		e.do(ctx, e.finish)
		e.end()
		for _, c := range e.result().Classes {
			if c.Removed > 0 || c.Blocked != "" {
				s.cfg.Logger.Info("expired", "tenant", tenant, "class", c.Class, "records", c.Removed, "blocked", c.Blocked)
			}
		}
		removed = removed || e.removed > 0
		return e.err
	})
	return removed
}
