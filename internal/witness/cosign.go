package witness

import (
	"context"
	"errors"
	"fmt"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
)

// contradicted stops a log that somebody has seen another tree of.
func (c *Client) contradicted(ctx context.Context, l *logState, h ledger.SignedHead, s ledger.Seen) {
	err := c.ledger.Contradicted(ctx, h.Tenant, h.No, s)
	if err == nil {
		return
	}
	if !errors.Is(err, ledger.ErrRollback) {
		c.log.Error("compare with what a witness has seen", "log", h.Origin, "err", err)
		return
	}
	c.metrics.contradictions.Inc()
	c.log.Error("a witness has seen another tree: the log is not signed any more", "code", "E_FORK", "log", h.Origin, "witness", s.By, "err", err)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stopped = true
}

// Cosign has the newest published checkpoint of a log cosigned, and returns nil once
// a quorum has. Where it takes those for one, witnesses are asked that are left alone
// at present: they may be back. Else the error wraps evidence.ErrUnavailable; what came is kept.
func (c *Client) Cosign(ctx context.Context, tenant string, logNo int) error {
	// A log that nobody has asked for since the start is not in memory yet.
	if _, err := c.ledger.Checkpoint(ctx, tenant); err != nil {
		return err
	}
	if _, _, err := c.ledger.PublishNow(ctx, tenant, logNo); err != nil {
		return err
	}
	l := c.of(logID{tenant, logNo})
	for how := hurried; ; how = urgent {
		if how == urgent { // another process may have shown them a newer one
			if _, _, err := c.ledger.PublishNow(ctx, tenant, logNo); err != nil {
				return err
			}
		}
		l.round.Lock() // no longer than one round, which has a timeout
		var h *ledger.SignedHead
		for _, p := range c.ledger.Published() {
			if p.Tenant == tenant && p.No == logNo {
				h = &p
			}
		}
		if h == nil {
			l.round.Unlock()
			return fmt.Errorf("log %d of tenant %s: %w: it is not published", logNo, tenant, evidence.ErrUnavailable)
		}
		c.ask(ctx, l, *h, how)
		l.round.Unlock()
		l.mu.Lock()
		met, stopped := c.met(l, h.Size), l.stopped
		l.mu.Unlock()
		switch {
		case met:
			return nil
		case stopped:
			return fmt.Errorf("log %s: %w: a witness has seen another tree", h.Origin, evidence.ErrUnavailable)
		case ctx.Err() != nil || how == urgent:
			return fmt.Errorf("log %s, %d records: %w: too few witnesses have cosigned", h.Origin, h.Size, evidence.ErrUnavailable)
		}
	}
}
