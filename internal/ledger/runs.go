package ledger

import (
	"context"
	"maps"

	"github.com/runledger/runledger/internal/store"
)

// runCacheSize is how many runs one generation of the cache holds. It is
// far more than two plans can touch, so what is in flight is never dropped.
const runCacheSize = 100_000

type runKey struct{ tenant, run string }

// runCache holds what sequencing must know of runs, ahead of the store by
// what is in flight. It has two generations: when the young one is full the
// old one goes. A committer owns it.
type runCache struct {
	young, old map[runKey]store.RunState
	past       map[runKey]store.RunState // what expire put aside: checked, but maybe not the newest
}

func newRunCache() *runCache { return &runCache{young: map[runKey]store.RunState{}} }

func (c *runCache) get(k runKey) (store.RunState, bool) {
	if s, ok := c.young[k]; ok {
		return s, true
	}
	s, ok := c.old[k]
	return s, ok
}

func (c *runCache) put(k runKey, s store.RunState) {
	if len(c.young) >= runCacheSize {
		if _, ok := c.young[k]; !ok {
			c.old, c.young = c.young, make(map[runKey]store.RunState, runCacheSize)
		}
	}
	c.young[k] = s
}

// drop forgets a run: the store knows better.
func (c *runCache) drop(k runKey) {
	delete(c.young, k)
	delete(c.old, k)
}

// expire forgets all states, for another process has written: they are read anew,
// and those that are the same still need no check, however often that happens.
func (c *runCache) expire() {
	if c.past == nil || len(c.past) >= runCacheSize {
		c.past = make(map[runKey]store.RunState, len(c.old)+len(c.young))
	}
	maps.Copy(c.past, c.old)
	maps.Copy(c.past, c.young)
	c.young, c.old = map[runKey]store.RunState{}, nil
}

// load brings the states of runs into the cache. A run that the store does
// not know begins at 0.
//
// check looks at a stored state: the state of a run is operational, and what
// is numbered by a wrong one is wrong for ever.
func (c *runCache) load(ctx context.Context, r store.Reader, tenant string, runs []string, check func(store.RunState) error) error {
	var missing []string
	for _, run := range runs {
		if _, ok := c.get(runKey{tenant, run}); !ok {
			missing = append(missing, run)
		}
	}
	if missing == nil {
		return nil
	}
	states, err := r.Runs(ctx, tenant, missing)
	if err != nil {
		return err
	}
	for _, run := range missing {
		k := runKey{tenant, run}
		s, ok := states[run]
		if !ok {
			s = store.RunState{Run: run}
		} else if past, known := c.past[k]; !known || past != s {
			if err := check(s); err != nil {
				return err
			}
		}
		delete(c.past, k)
		c.put(k, s)
	}
	return nil
}
