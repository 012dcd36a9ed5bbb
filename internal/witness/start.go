package witness

import (
	"context"
	"sync"
	"time"

	"github.com/runledger/runledger/internal/ledger"
)

// startWithin bounds how long a start waits for witnesses.
const startWithin = 15 * time.Second

// AtStart asks all witnesses, before the first append, what they have seen of each
// log. It is a ledger.WitnessFunc. One that does not answer says nothing: that is
// logged, and the first exchange of the running server makes up for it.
func (c *Client) AtStart(ctx context.Context, heads []ledger.SignedHead) []ledger.Seen {
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	var mu sync.Mutex
	var out []ledger.Seen
	var working sync.WaitGroup
	for _, p := range c.peers {
		next := make(chan ledger.SignedHead)
		working.Go(func() {
			defer close(next)
			for _, h := range heads {
				select {
				case next <- h:
				case <-ctx.Done():
					return
				}
			}
		})
		for range 8 {
			working.Go(func() {
				for h := range next {
					if p.resting(c.cfg.Now()) { // it has not answered for the logs before
						continue
					}
					p.setSize(h.Origin, h.Size) // so it is asked whether it knows just this tree
					r := c.exchange(ctx, p, h, nil)
					if r.err != nil {
						c.log.Warn("a witness was not heard at the start", "witness", p.name, "log", h.Origin, "err", r.err)
					}
					if r.seen != nil {
						mu.Lock()
						out = append(out, *r.seen)
						mu.Unlock()
					}
				}
			})
		}
	}
	working.Wait()
	return out
}
