package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

// committers are those that run: one for each tenant that something is appended to,
// or a single one where the store has one writer anyway.
type committers struct {
	l *Ledger

	mu      sync.Mutex // guards what follows, and users of each
	running map[string]*committer
	stopped bool
}

const (
	// queueOfAll and queueOfOne are how many requests wait in a committer's channel
	// before Append blocks; that of all tenants is the longer one.
	queueOfAll = 1024
	queueOfOne = 64
	// idleFor is how long a tenant's committer stays without a request.
	idleFor = time.Minute
)

// enter returns the committer of a tenant, started where none runs; nil after the
// end. Each needs an exit.
func (s *committers) enter(tenant string) *committer {
	size := queueOfOne
	if !s.l.shared {
		tenant, size = "", queueOfAll
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return nil
	}
	c := s.running[tenant]
	if c == nil {
		c = &committer{
			l: s.l, tenant: tenant, queue: make(chan *request, size), ended: make(chan struct{}),
			runs: newRunCache(), written: make(chan error),
		}
		if s.running == nil {
			s.running = map[string]*committer{}
		}
		s.running[tenant] = c
		s.l.stopped.Go(c.run)
	}
	c.users++
	return c
}

func (s *committers) exit(c *committer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.users--
}

// leave lets an idle committer go, unless somebody has entered it meanwhile.
func (s *committers) leave(c *committer) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.users > 0 || len(c.queue) > 0 {
		return false
	}
	delete(s.running, c.tenant)
	return true
}

// shut starts no committer any more.
func (s *committers) shut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = true
}

func (s *committers) waiting() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.running {
		n += len(c.queue)
	}
	return n
}

// idle yields when a tenant's committer has had nothing to do for a while.
func (c *committer) idle() <-chan time.Time {
	if c.writing != nil || !c.l.shared {
		return nil
	}
	return time.After(idleFor)
}

// contended reports that another process was faster of late: racing it again would
// lose again, since who has just won knows the newest head.
func (c *committer) contended() bool { return time.Now().Before(c.claimUntil) }

// claimWait bounds the wait for a claim.
const claimWait = 30 * time.Second

// claimIfContended claims a tenant's log before a plan is made. Nothing is in flight.
func (c *committer) claimIfContended(tenant string) error {
	if !c.contended() {
		return nil
	}
	if err := c.claimLog(tenant); err != nil {
		return err
	}
	c.drain() // what came while it waited goes along
	return nil
}

// claimLog waits until this process alone extends a tenant's newest log. What it knew of
// the log is read anew.
func (c *committer) claimLog(tenant string) error {
	ctx, cancel := context.WithTimeout(context.Background(), claimWait)
	defer cancel()
	for {
		o, err := c.l.current(ctx, tenant)
		if errors.Is(err, evidence.ErrNotFound) {
			return err
		}
		if err == nil {
			err = c.claimOne(ctx, o)
		}
		if err != nil {
			c.release()
			return fmt.Errorf("claim the log of tenant %s: %w: %w", tenant, evidence.ErrUnavailable, err)
		}
		if c.claim != nil {
			c.l.metrics.claims.Inc()
			return nil
		}
	}
}

// claimOne claims a log. It takes no claim on one that another process has rolled over,
// and lets the tenant's newest be looked up again.
func (c *committer) claimOne(ctx context.Context, o *openLog) (err error) {
	if err := o.failure(); err != nil {
		return err
	}
	if !o.isClosed() {
		if c.claim, err = c.l.store.Claim(ctx, o.LogRef); err != nil {
			return err
		}
		o.reload = true
		if err := c.ready(o); err != nil {
			return err
		}
		if !o.isClosed() {
			return nil
		}
		c.release()
	}
	logs, err := c.l.store.Logs(ctx, o.Tenant)
	if err == nil && len(logs) > 0 && logs[len(logs)-1].No == o.No {
		return o.writable() // its successor is missing
	}
	c.l.forget(o)
	return err
}

// release gives back a claim that was not used.
func (c *committer) release() {
	if c.claim != nil {
		c.claim.Release()
		c.claim = nil
	}
}

// refuse fails what waits: it cannot be sequenced now.
func (c *committer) refuse(err error) {
	for _, r := range append(c.redo, c.waiting...) {
		r.fail(err)
	}
	c.redo, c.waiting = nil, nil
}

// overtaken reports that another process was seen to have extended a log beyond what
// the next plan would start from.
func (c *committer) overtaken(o *openLog) bool {
	if !c.l.shared || c.writing != nil || c.next != nil && c.next.records > 0 {
		return false
	}
	st := o.state()
	return st.tree.size() > o.next.tree.size()
}

// forgetKeys forgets the data keys of a plan that the store does not have any more:
// another process has destroyed them. What was sealed under them is sealed anew.
func (l *Ledger) forgetKeys(p *plan) error {
	for _, lp := range p.logs {
		seen := map[store.KeyID]bool{}
		var gone []store.KeyID
		sealed := lp.commit.Sealed
		if lp.commit.Removal != nil {
			sealed = slices.Concat(sealed, lp.commit.Removal.Replace)
		}
		for i := range sealed {
			id := sealed[i].Key
			if seen[id] {
				continue
			}
			seen[id] = true
			_, err := l.store.DataKey(context.Background(), lp.log.Tenant, id)
			if errors.Is(err, evidence.ErrNotFound) {
				gone = append(gone, id)
			} else if err != nil {
				return err
			}
		}
		l.sealer.Destroyed(gone)
	}
	return nil
}
