package sqlite

import (
	"cmp"
	"slices"

	"github.com/runledger/runledger/internal/store"
)

// ranking holds the first hits in an order, at most limit. What is added
// between two calls of settle may come in any order.
type ranking struct {
	order store.Order
	limit int
	hits  []hit
}

func (k *ranking) add(h hit) { k.hits = append(k.hits, h) }

func (k *ranking) settle() {
	slices.SortFunc(k.hits, func(a, b hit) int {
		switch k.order {
		case store.ByTime:
			return cmp.Or(cmp.Compare(a.OccurredAt, b.OccurredAt), cmp.Compare(a.row, b.row))
		case store.ByTimeDown:
			return cmp.Or(cmp.Compare(b.OccurredAt, a.OccurredAt), cmp.Compare(b.row, a.row))
		default:
			return cmp.Compare(b.row, a.row)
		}
	})
	if len(k.hits) > k.limit {
		k.hits = k.hits[:k.limit]
	}
}

func (k *ranking) full() bool { return len(k.hits) == k.limit }

// done reports that newest first nothing of an older span can be a hit. A
// further branch of the same span still can.
func (k *ranking) done() bool { return k.order == store.Newest && k.full() }

// within leaves of a span what may still be among the first.
func (k *ranking) within(sp span) span {
	if !k.full() {
		return sp
	}
	last := k.hits[len(k.hits)-1]
	m := moment{int64(last.OccurredAt), last.row}
	switch k.order {
	case store.ByTime:
		sp.until = m
	case store.ByTimeDown:
		sp.from = m
	default:
		sp.lo = max(sp.lo, last.row+1)
	}
	return sp
}
