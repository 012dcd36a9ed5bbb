package server

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/runledger/runledger/evidence"
)

// probe asks a database that other processes have too, again and again, for what a
// process needs of it: a durable write. It does so by holding the lease of the
// process's name, which also shows when another one has that name.
type probe struct {
	mu      sync.Mutex // guards what follows
	failed  error
	another string // that another process has the name; "" for no
}

const (
	probeEvery   = 2 * time.Second
	probeTimeout = 5 * time.Second
	// probeLease is how long a name stays taken after its process died.
	probeLease = 20 * time.Second
)

func (p *probe) err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.failed
}

func (p *probe) taken() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.another
}

// probeStore probes until ctx is done, and then gives the name up.
func (s *server) probeStore(ctx context.Context) {
	if !s.d.db.shared() {
		return
	}
	name := "process/" + s.d.process
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	since := time.Time{} // when another process was first seen to have the name
	for {
		asking, cancel := context.WithTimeout(ctx, probeTimeout)
		held, err := s.d.db.Lease(asking, name, s.d.holder, probeLease)
		cancel()
		now := time.Now()
		switch {
		case err != nil || held:
			since = time.Time{}
		case since.IsZero():
			since = now
		}
		s.probe.set(err, s.d.process, !since.IsZero() && now.Sub(since) > probeLease)
		select {
		case <-tick.C:
		case <-ctx.Done():
			end, cancel := context.WithTimeout(context.WithoutCancel(ctx), probeTimeout)
			_, _ = s.d.db.Lease(end, name, s.d.holder, 0) // else it ends by itself
			cancel()
			return
		}
	}
}

func (p *probe) set(err error, name string, taken bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failed = nil
	if err != nil {
		p.failed = fmt.Errorf("%w: %w", evidence.ErrUnavailable, err)
	}
	p.another = ""
	if taken {
		p.another = "another process has the name " + name + ": give each its own (--process)"
	}
}

// Upkeep is daily, and sooner where it failed.
const (
	upkeepEvery = 24 * time.Hour
	upkeepRetry = 5 * time.Minute
)

// upkeep makes what the database needs for the months to come, until ctx is done.
func (s *server) upkeep(ctx context.Context) {
	if s.d.db.upkeep == nil {
		return
	}
	for {
		next := upkeepEvery
		err := s.d.db.upkeep(ctx, time.Now())
		if err != nil && ctx.Err() == nil {
			next = upkeepRetry
			s.log.ErrorContext(ctx, "upkeep of the database failed", "err", err)
		}
		var until time.Time
		if s.d.db.until != nil {
			var uerr error
			if until, uerr = s.d.db.until(ctx); uerr != nil && ctx.Err() == nil {
				next = upkeepRetry
				s.log.ErrorContext(ctx, "how far partitions reach is not known", "err", uerr)
			}
		}
		s.state.mu.Lock()
		s.state.upkeep = err
		if !until.IsZero() {
			s.state.until = until
		}
		s.state.mu.Unlock()
		select {
		case <-time.After(next):
		case <-ctx.Done():
			return
		}
	}
}
