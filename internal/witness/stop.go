package witness

import (
	"context"
	"sync"
	"time"

	"github.com/runledger/runledger/internal/ledger"
)

const (
	// stopWithin bounds how long a stop waits for witnesses.
	stopWithin = 3 * time.Second
	// maxLast is how many logs are shown at the same time then.
	maxLast = 64
)

// AtStop publishes the newest head of each log and shows it to the witnesses that have
// not signed it, once: what they have not seen, a backup that is restored later could
// leave out without a contradiction. Call it when Run has ended and nothing is appended
// any more, before the ledger is closed. A witness that does not answer in time, or is
// left alone at present, is logged like at other times, and the next start goes on
// without it.
func (c *Client) AtStop(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, stopWithin)
	defer cancel()
	c.mu.Lock()
	loaded := c.loaded
	c.mu.Unlock()
	if !loaded {
		some, cancel := context.WithTimeout(ctx, stopWithin/3) // the rest is for the asking
		c.loadAll(some)
		cancel()
	}
	if err := c.ledger.PublishAll(ctx); err != nil {
		c.log.Error("publish for witnesses", "err", err)
	}
	var working sync.WaitGroup
	defer working.Wait()
	room := make(chan struct{}, maxLast)
	for _, h := range c.ledger.Published() {
		select {
		case room <- struct{}{}:
		case <-ctx.Done():
			c.log.Warn("not all checkpoints were shown to witnesses before the stop", "log", h.Origin)
			return
		}
		working.Go(func() {
			defer func() { <-room }()
			c.askLast(ctx, h)
		})
	}
}

func (c *Client) askLast(ctx context.Context, h ledger.SignedHead) {
	l := c.of(logID{h.Tenant, h.No})
	for !l.round.TryLock() { // an export that was cut off may still be asking
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return
		}
	}
	defer l.round.Unlock()
	c.ask(ctx, l, h, hurried)
}
