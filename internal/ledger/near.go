package ledger

import (
	"container/list"
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/c2sp"
	"github.com/runledger/runledger/internal/seal"
	"github.com/runledger/runledger/internal/store"
)

// near keeps what was last read of the logs: leaf segments, unpacked, and tiles
// that were proven to be of a signed tree. Neither ever changes, and neither holds
// sealed content: that is read anew each time, so that what is erased is gone.
// A leaf is proven each time it is given out, wherever it comes from. The zero
// value is empty.
type near struct {
	leaves lru[blockKey, []nearSegment]
	tiles  lru[nearTile, []evidence.Hash]
}

// How much is kept. A block of 256 leaves takes about 250 KB, a tile 8 KB.
const (
	nearLeafBytes = 16 << 20
	nearTileBytes = 8 << 20
)

// blockKey names the leaves of one tile. A commit's leaf segments never go
// beyond one.
type blockKey struct {
	log store.LogRef
	no  int64 // leaf index / 256
}

// nearSegment is an unpacked leaf segment. A list of them is sorted and not
// changed once it is kept.
type nearSegment struct {
	first  int64
	leaves [][]byte
}

func (s nearSegment) end() int64 { return s.first + int64(len(s.leaves)) }

// segment returns the segment that has a leaf, if it is near.
func (n *near) segment(log store.LogRef, seq int64) (nearSegment, bool) {
	segs, _ := n.leaves.get(blockKey{log, seq / segmentLeaves})
	i, found := slices.BinarySearchFunc(segs, seq, func(s nearSegment, seq int64) int {
		switch {
		case s.end() <= seq:
			return -1
		case s.first > seq:
			return 1
		}
		return 0
	})
	if !found {
		return nearSegment{}, false
	}
	return segs[i], true
}

// keep adds segments. Of two calls at once for one block, one may be lost.
func (n *near) keep(log store.LogRef, segs []nearSegment) {
	for len(segs) > 0 {
		k := blockKey{log, segs[0].first / segmentLeaves}
		have, _ := n.leaves.get(k)
		list := slices.Clone(have)
		more := 0
		for ; more < len(segs) && segs[more].first/segmentLeaves == k.no; more++ {
			if (segs[more].end()-1)/segmentLeaves == k.no {
				list = append(list, segs[more])
			}
		}
		slices.SortFunc(list, func(a, b nearSegment) int { return int(a.first - b.first) })
		list = slices.CompactFunc(list, func(a, b nearSegment) bool { return a.first < b.end() && b.first < a.end() })
		size := 0
		for _, s := range list {
			for _, leaf := range s.leaves {
				size += cap(leaf) + 32
			}
		}
		n.leaves.put(k, list, size, nearLeafBytes)
		segs = segs[more:]
	}
}

// forget drops the segments around a leaf.
func (n *near) forget(log store.LogRef, seq int64) {
	n.leaves.drop(blockKey{log, seq / segmentLeaves})
}

// nearGap is the number of leaves that are rather read in vain than left out by
// another query.
const nearGap = 64

// leavesAt calls fn for the leaves at these indexes of a log, which must not
// descend. Each leaf segment is read at most once, and what stands far between
// two leaves is not. fn gets the place in seqs and may keep nothing, nor call the
// store. A leaf that is not there is evidence.ErrTampered.
func (l *Ledger) leavesAt(ctx context.Context, log store.LogRef, seqs []int64, fn func(i int, raw []byte) error) error {
	for i := 0; i < len(seqs); {
		if s, ok := l.near.segment(log, seqs[i]); ok {
			for ; i < len(seqs) && seqs[i] < s.end(); i++ {
				if err := fn(i, s.leaves[seqs[i]-s.first]); err != nil {
					return err
				}
			}
			continue
		}
		end := i + 1
		for end < len(seqs) && seqs[end]-seqs[end-1] <= nearGap {
			end++
		}
		first := i
		err := l.readLeaves(ctx, log, seqs[first:end], func(i int, raw []byte) error { return fn(first+i, raw) })
		if err != nil {
			return err
		}
		i = end
	}
	return nil
}

// readLeaves is leavesAt for leaves that stand together.
func (l *Ledger) readLeaves(ctx context.Context, log store.LogRef, seqs []int64, fn func(i int, raw []byte) error) error {
	next := 0
	var read []nearSegment
	err := l.store.Segments(ctx, log, seqs[0], seqs[len(seqs)-1]+1, func(s store.LeafSegment) error {
		end := s.First + int64(s.Count)
		if next == len(seqs) || seqs[next] >= end {
			return nil
		}
		if seqs[next] < s.First {
			return missingLeaf(seqs[next])
		}
		seg, ok := l.near.segment(log, seqs[next])
		if !ok || seg.first != s.First || seg.end() != end {
			data, err := seal.DecompressLeaves(s.Data)
			if err != nil {
				return fmt.Errorf("leaf segment %d: %w", s.First, err)
			}
			leaves, err := c2sp.SplitEntries(data, s.Count)
			if err != nil {
				return fmt.Errorf("leaf segment %d: %w: %w", s.First, evidence.ErrTampered, err)
			}
			seg = nearSegment{s.First, leaves}
			read = append(read, seg)
		}
		for ; next < len(seqs) && seqs[next] < end; next++ {
			if err := fn(next, seg.leaves[seqs[next]-seg.first]); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil && next < len(seqs) {
		err = missingLeaf(seqs[next])
	}
	if err == nil {
		l.near.keep(log, read)
	}
	return err
}

func missingLeaf(seq int64) error {
	return fmt.Errorf("%w: leaf %d is missing", evidence.ErrTampered, seq)
}

// lru is a map that drops what was not used for longest. Its methods may be
// called from several goroutines. The zero value is empty.
type lru[K comparable, V any] struct {
	mu      sync.Mutex
	entries map[K]*list.Element
	order   list.List // of *lruEntry, last used first
	size    int
}

type lruEntry[K comparable, V any] struct {
	key   K
	value V
	size  int
}

func (c *lru[K, V]) get(k K) (v V, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.entries[k]
	if e == nil {
		return v, false
	}
	c.order.MoveToFront(e)
	return e.Value.(*lruEntry[K, V]).value, true
}

// put keeps a value of that size, and drops others until all have room.
func (c *lru[K, V]) put(k K, v V, size, room int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.entries == nil {
		c.entries = map[K]*list.Element{}
	}
	c.remove(k)
	c.entries[k] = c.order.PushFront(&lruEntry[K, V]{k, v, size})
	c.size += size
	for c.size > room {
		c.remove(c.order.Back().Value.(*lruEntry[K, V]).key)
	}
}

func (c *lru[K, V]) drop(k K) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.remove(k)
}

func (c *lru[K, V]) remove(k K) {
	if e := c.entries[k]; e != nil {
		c.size -= c.order.Remove(e).(*lruEntry[K, V]).size
		delete(c.entries, k)
	}
}
