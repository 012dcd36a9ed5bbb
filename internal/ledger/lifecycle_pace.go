package ledger

import (
	"context"
	"sync"
	"time"
)

// What can wait leaves time to producers by how long they wait for their receipts: as long as that is not longer while
// something is worked at than at other times, there is no reason to stand still.

const (
	// paceMost bounds one pause, and paceShare is the longest of them as a part of the work before.
	paceMost  = 100 * time.Millisecond
	paceShare = 0.5
	// paceFree and paceFull are how many times longer appends take than otherwise: up to one there is no
	// pause, from the other on the longest.
	paceFree, paceFull = 1.15, 1.75
	// paceLeast is how many appends must have been seen before anything is concluded from them.
	paceLeast = 8
	// waitsSeen is how many appends are remembered until it is known whether there was work beside them.
	waitsSeen = 256
)

// producerWaits compares how long appends take beside work that can wait with how long they take otherwise.
type producerWaits struct {
	mu   sync.Mutex
	seen []appendSeen // since the last pause began, at most waitsSeen
	// end is when the last piece of work ended.
	end          time.Time
	calm, strain recentMean
}

type appendSeen struct{ from, to time.Time }

// recentMean is a mean that forgets what is long ago.
type recentMean struct {
	n    int
	mean float64 // seconds
}

// add counts one more; of the last so many most is remembered.
func (r *recentMean) add(d time.Duration, most int) {
	r.n = min(r.n+1, most)
	r.mean += (d.Seconds() - r.mean) / float64(r.n)
}

// appended notes how long a producer waited.
func (p *producerWaits) appended(from, to time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.seen) == waitsSeen {
		p.seen = append(p.seen[:0], p.seen[waitsSeen/2:]...)
	}
	p.seen = append(p.seen, appendSeen{from, to})
}

// worked says how long to pause after a piece of work that ended now.
func (p *producerWaits) worked(took time.Duration, now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	began := now.Add(-took)
	for _, a := range p.seen {
		if a.from.Before(p.end) || a.to.After(began) {
			p.strain.add(a.to.Sub(a.from), 2*paceLeast)
		} else {
			p.calm.add(a.to.Sub(a.from), 16*paceLeast)
		}
	}
	p.seen, p.end = p.seen[:0], now
	share := paceShare
	if p.calm.n >= paceLeast && p.strain.n >= paceLeast {
		longer := p.strain.mean / p.calm.mean
		share *= min(max((longer-paceFree)/(paceFull-paceFree), 0), 1)
	}
	return min(time.Duration(share*float64(took)), paceMost)
}

// Pace is called after a piece of work that can wait, and pauses for producers if they
// wait longer for it: at most half as long as it took, and not for more than 100 ms. While none sends
// it returns at once. Its error is that of ctx.
func (l *Ledger) Pace(ctx context.Context, took time.Duration) error {
	if !l.Busy() {
		return ctx.Err()
	}
	// None at all would let a loop of small pieces have the store without a gap.
	t := time.NewTimer(max(l.waits.worked(took, time.Now()), 100*time.Microsecond))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
