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
	busy := fmt.Errorf("expiry of %s: %w: another one is under way; try again later", tenant, evidence.ErrUnavailable)
	wait := time.NewTimer(beginWait)
	defer wait.Stop()
	select {
	case s.working <- struct{}{}:
	case <-wait.C:
		return nil, busy
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	name := "lifecycle/" + tenant
	held, err := s.cfg.Lease(ctx, name, leaseFor)
	if err == nil && !held {
		err = busy
	}
	if err != nil {
		<-s.working
		return nil, err
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
		<-s.working
	}, nil
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
	s.round(ctx, s.finish)
	every := s.cfg.Every
	// The clock is looked at more often than anything is expired, and where nothing is, too.
	look := time.NewTicker(minPositive(every, seenEvery))
	defer look.Stop()
	last := time.Time{} // by the clock that runs on, whatever the time of day is set to
	for {
		if every > 0 && (last.IsZero() || time.Since(last) >= every-every/100) {
			last = time.Now()
			s.round(ctx, s.scheduled)
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

// round does something for each tenant. One that fails does not stop the others.
func (s *Service) round(ctx context.Context, do func(ctx context.Context, tenant string) error) {
	list, err := s.cfg.Ledger.Tenants(ctx)
	if err != nil {
		s.failed(ctx, "", err)
		return
	}
	var tenants []string
	for _, t := range list {
		began := time.Now()
		tenants = append(tenants, t.Tenant)
		if err := do(ctx, t.Tenant); err != nil {
			s.failed(ctx, t.Tenant, err)
		}
		if s.pause(ctx, time.Since(began)) != nil {
			return
		}
	}
	s.countHolds(ctx)
	s.countPending(ctx, tenants)
	s.forgetCertificates(ctx)
	s.certifyMissing(ctx)
}

func (s *Service) failed(ctx context.Context, tenant string, err error) {
	if ctx.Err() != nil {
		return
	}
	s.metrics.failures.Inc()
	s.cfg.Logger.Error("lifecycle", "tenant", tenant, "err", err)
}

// finish goes on with what a process began that is no more.
func (s *Service) finish(ctx context.Context, tenant string) error {
	release, err := s.begin(ctx, tenant)
	if errors.Is(err, evidence.ErrUnavailable) {
		return nil // another process is at it
	}
	if err != nil {
		return err
	}
	defer release()
	var errs []error
	_, err = s.finishErasures(ctx, tenant)
	errs = append(errs, err)
	n, err := s.resume(ctx, tenant)
	if !errors.Is(err, store.ErrHeld) { // what is held goes on when it is not
		errs = append(errs, err)
	}
	if n > 0 { // keys may have to follow what has gone
		_, err := s.finishErasures(ctx, tenant)
		errs = append(errs, err)
		_, err = s.clean(ctx)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// scheduled is what the scheduler does for a tenant.
func (s *Service) scheduled(ctx context.Context, tenant string) error {
	if err := s.Acknowledge(ctx, tenant); err != nil {
		return err
	}
	res, err := s.Expire(ctx, tenant, RunRequest{}, Actor{})
	if errors.Is(err, evidence.ErrUnavailable) && len(res.Classes) == 0 {
		return nil // another process is at it
	}
	for _, c := range res.Classes {
		if c.Removed > 0 || c.Blocked != "" {
			s.cfg.Logger.Info("expired", "tenant", tenant, "class", c.Class, "records", c.Removed, "blocked", c.Blocked)
		}
	}
	return err
}
