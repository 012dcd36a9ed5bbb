package postgres

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
	hits  []store.Found
}

func (k *ranking) add(f store.Found) { k.hits = append(k.hits, f) }

func (k *ranking) settle() {
	slices.SortFunc(k.hits, func(a, b store.Found) int {
		at := cmp.Compare(a.OccurredAt, b.OccurredAt)
		place := cmp.Or(cmp.Compare(a.LogNo, b.LogNo), cmp.Compare(a.Seq, b.Seq))
		switch k.order {
		case store.ByTime:
			return cmp.Or(at, place)
		case store.ByTimeDown:
			return -cmp.Or(at, place)
		default:
			return -place
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
