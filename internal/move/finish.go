package move

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// takeBackTimeout bounds the one write that a copy which was called off still makes.
const takeBackTimeout = 10 * time.Second

// finish gives the destination the place of the source. Between the two marks
// neither may be written to, and the same call goes on.
//
// The source is marked before its heads are read once more, not behind that: what is
// committed from the mark on is refused, so heads that stand still then stay so.
func (c *copier) finish(ctx context.Context) error {
	to, err := MarkOf(ctx, c.cfg.To)
	if err != nil {
		return err
	}
	if c.cfg.Rehearse {
		if err := c.unmoved(ctx); err != nil || to.State == Arrived {
			return err // where it is in service, it stays so
		}
		return c.mark(ctx, c.cfg.To, Rehearsed, c.cfg.FromName)
	}
	was, err := MarkOf(ctx, c.cfg.From)
	if err != nil {
		return err
	}
	if err := c.mark(ctx, c.cfg.From, Gone, c.cfg.ToName); err != nil {
		return fmt.Errorf("%s: %w", c.cfg.FromName, err)
	}
	if err := c.still(ctx); err != nil {
		switch {
		case to.State == Arrived: // the destination is in service already: two must not be
			return err
		case was.State != Gone:
			return c.takeBack(ctx, was, err)
		case errors.Is(err, ErrMoved):
			return c.takeBack(ctx, Mark{}, err)
		default: // as it was
			return err
		}
	}
	return c.mark(ctx, c.cfg.To, Arrived, c.cfg.FromName)
}

// still sees that a source which is marked stands where it was copied. A commit that
// looked for the mark before it was there holds the head of its tenant's newest log
// until it has ended; a claim waits for that.
func (c *copier) still(ctx context.Context) error {
	for i, lg := range c.logs {
		if i+1 < len(c.logs) && c.logs[i+1].Tenant == lg.Tenant {
			continue // it has a successor
		}
		claim, err := c.cfg.From.Claim(ctx, lg.LogRef)
		if err != nil {
			return fmt.Errorf("%s: wait for what writes to log %s: %w", c.cfg.FromName, lg.Origin, err)
		}
		claim.Release()
	}
	return c.unmoved(ctx)
}

// overtaken reports a move that ended between the marks, and whose source is found to
// have moved on only now: by a commit that was under way when it was marked. The
// destination did not come into service.
func (c *copier) overtaken(from, to Mark) bool {
	if c.cfg.Rehearse || from.State != Gone || from.Other != c.cfg.ToName || from.Heads == c.digest ||
		to.Other != c.cfg.FromName || to.Heads != from.Heads {
		return false
	}
	// On the way back the destination has gone too, and before the source.
	return to.State == Arriving || to.State == Rehearsed || to.State == Gone && to.At < from.At
}

// takeBack puts a source that did not move into service again. It returns why it did
// not move.
func (c *copier) takeBack(ctx context.Context, was Mark, why error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), takeBackTimeout)
	defer cancel()
	if err := setMark(ctx, c.cfg.From, was); err != nil {
		return fmt.Errorf("%w; and %s, which is marked as moved, could not be put into service again: give the same command once more: %w",
			why, c.cfg.FromName, err)
	}
	return fmt.Errorf("%w (%s did not move, and is in service again)", why, c.cfg.FromName)
}
