package access

import (
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/runledger/runledger/internal/store"
)

// entry is what is remembered of one id: a key, or that there is none.
type entry struct {
	key         store.APIKey
	permissions Set
	absent      bool
	loaded      time.Time   // with its monotonic reading
	used        atomic.Bool // the first use has its record
}

// cache remembers keys for a short time: another process may revoke one. It is
// bounded, and ids that do not exist have room of their own, so that trying ids
// does not push out the keys in use.
type cache struct {
	ttl   time.Duration
	limit int

	mu      sync.RWMutex
	known   map[string]*entry
	unknown map[string]*entry
	tenants map[string]struct{} // that exist: one never ceases to
	change  uint64              // counts what was forgotten
}

func newCache(limit int, ttl time.Duration) *cache {
	return &cache{ttl: ttl, limit: limit, known: map[string]*entry{}, unknown: map[string]*entry{}, tenants: map[string]struct{}{}}
}

// get returns the entry of an id if it is fresh, else nil.
func (c *cache) get(id string) *entry {
	c.mu.RLock()
	e := c.known[id]
	if e == nil {
		e = c.unknown[id]
	}
	c.mu.RUnlock()
	if e == nil || time.Since(e.loaded) >= c.ttl {
		return nil
	}
	return e
}

// begin returns the state that put compares with, and whether the first use of
// a key is known to have its record.
func (c *cache) begin(id string) (change uint64, used bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	e := c.known[id]
	return c.change, e != nil && e.used.Load()
}

// put remembers an entry, unless something was forgotten since begin: it may
// then be older than that.
func (c *cache) put(id string, e *entry, change uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.change != change {
		return
	}
	m, other := c.known, c.unknown
	if e.absent {
		m, other = c.unknown, c.known
	}
	delete(other, id)
	if _, there := m[id]; !there && len(m) >= c.limit {
		for victim := range m { // any: what is in use comes back at once
			delete(m, victim)
			break
		}
	}
	m[strings.Clone(id)] = e // it is a part of a request's headers
}

// forget drops an id. What is being loaded is not remembered either.
func (c *cache) forget(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.change++
	delete(c.known, id)
	delete(c.unknown, id)
}

func (c *cache) hasTenant(tenant string) bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	_, ok := c.tenants[tenant]
	return ok
}

func (c *cache) addTenant(tenant string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.tenants) >= c.limit {
		clear(c.tenants)
	}
	c.tenants[strings.Clone(tenant)] = struct{}{}
}
