package ingest

import (
	"context"
	"fmt"
	"sync"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/otlp"
)

// traceCacheSize is how many traces one generation of the cache holds, 16
// bytes each.
const traceCacheSize = 100_000

// traceCache remembers which `trace` records are durable. It has two
// generations: when the young one is full the old one goes. What it does not
// know is looked up, so it may forget.
type traceCache struct {
	size int

	mu         sync.Mutex // guards what follows
	young, old map[evidence.ID]struct{}
}

func newTraceCache(size int) *traceCache {
	return &traceCache{size: size, young: map[evidence.ID]struct{}{}}
}

func (c *traceCache) has(id evidence.ID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.young[id]; ok {
		return true
	}
	if _, ok := c.old[id]; ok {
		c.put(id) // it is in use
		return true
	}
	return false
}

func (c *traceCache) add(id evidence.ID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.put(id)
}

// put must be called with mu held.
func (c *traceCache) put(id evidence.ID) {
	if len(c.young) >= c.size {
		c.old, c.young = c.young, make(map[evidence.ID]struct{}, c.size)
	}
	c.young[id] = struct{}{}
}

// traceID returns the id of a `trace` record, which depends on the tenant.
func traceID(tenant string, r *evidence.Record) evidence.ID {
	return evidence.NaturalID(tenant, evidence.KindTrace, r.NaturalKey)
}

// newTraces returns those of a request's `trace` records that the log does
// not hold.
func (h *Handler) newTraces(ctx context.Context, tenant string, traces []otlp.Item) ([]otlp.Item, error) {
	var ids []evidence.ID
	var unknown []otlp.Item
	for _, t := range traces {
		id := traceID(tenant, t.Record)
		if !h.traces.has(id) {
			ids = append(ids, id)
			unknown = append(unknown, t)
		}
	}
	if ids == nil {
		return nil, nil
	}
	found, err := h.cfg.Ledger.FindIDs(ctx, tenant, ids)
	if err != nil {
		return nil, fmt.Errorf("look up traces: %w: %w", evidence.ErrUnavailable, err)
	}
	var out []otlp.Item
	for i, id := range ids {
		if _, ok := found[id]; ok {
			h.traces.add(id)
			continue
		}
		out = append(out, unknown[i])
	}
	return out, nil
}
