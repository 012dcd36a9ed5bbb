package ledger

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/runledger/runledger/internal/store"
)

// TestNearSegments: whatever segments are kept, in whatever order and again, each
// leaf of them is found, unless a segment goes beyond its block; nothing else is.
func TestNearSegments(t *testing.T) {
	log := store.LogRef{Tenant: "acme", No: 1}
	rapid.Check(t, func(t *rapid.T) {
		var segs []nearSegment
		kept := map[int64]int64{} // leaf to the first of its segment
		for seq := int64(0); seq < 600; {
			n := rapid.Int64Range(1, 256).Draw(t, "leaves")
			if rapid.Bool().Draw(t, "within its block") {
				n = min(n, segmentLeaves-seq%segmentLeaves)
			}
			s := nearSegment{seq, make([][]byte, n)}
			if seq/segmentLeaves == (s.end()-1)/segmentLeaves {
				for i := range n {
					kept[seq+i] = seq
				}
			}
			segs = append(segs, s)
			seq = s.end()
		}
		var n near
		for range 3 {
			from := rapid.IntRange(0, len(segs)).Draw(t, "from")
			n.keep(log, segs[from:])
		}
		n.keep(log, segs)
		n.keep(log, rapid.Permutation(slices.Clone(segs)).Draw(t, "again")[:1])
		for seq := range int64(900) {
			s, ok := n.segment(log, seq)
			first, want := kept[seq]
			if ok != want || ok && s.first != first {
				t.Fatalf("leaf %d: segment %d, %v; want %d, %v", seq, s.first, ok, first, want)
			}
			if _, ok := n.segment(store.LogRef{Tenant: "acme", No: 2}, seq); ok {
				t.Fatalf("leaf %d is near in another log", seq)
			}
		}
		n.forget(log, 300)
		if _, ok := n.segment(log, 300); ok {
			t.Fatal("a block that was forgotten is near")
		}
	})
}

// TestLRU compares with the plainest thing that does the same.
func TestLRU(t *testing.T) {
	const room = 10
	rapid.Check(t, func(t *rapid.T) {
		var c lru[int, int]
		type entry struct{ key, value, size int }
		var model []entry // last used first
		take := func(k int) (entry, bool) {
			i := slices.IndexFunc(model, func(e entry) bool { return e.key == k })
			if i < 0 {
				return entry{}, false
			}
			e := model[i]
			model = slices.Delete(model, i, i+1)
			return e, true
		}
		t.Repeat(map[string]func(*rapid.T){
			"get": func(t *rapid.T) {
				k := rapid.IntRange(0, 6).Draw(t, "key")
				v, ok := c.get(k)
				e, want := take(k)
				if want {
					model = slices.Insert(model, 0, e)
				}
				if ok != want || v != e.value {
					t.Fatalf("%d is %d, %v; want %d, %v", k, v, ok, e.value, want)
				}
			},
			"put": func(t *rapid.T) {
				e := entry{rapid.IntRange(0, 6).Draw(t, "key"), rapid.Int().Draw(t, "value"), rapid.IntRange(1, 12).Draw(t, "size")}
				c.put(e.key, e.value, e.size, room)
				take(e.key)
				model = slices.Insert(model, 0, e)
				for sum := 0; ; model = model[:len(model)-1] {
					sum = 0
					for _, e := range model {
						sum += e.size
					}
					if sum <= room {
						break
					}
				}
			},
			"drop": func(t *rapid.T) {
				k := rapid.IntRange(0, 6).Draw(t, "key")
				c.drop(k)
				take(k)
			},
			"": func(t *rapid.T) {
				sum := 0
				for _, e := range model {
					sum += e.size
				}
				if c.size != sum || len(c.entries) != len(model) || c.order.Len() != len(model) {
					t.Fatalf("size %d, %d entries; want %d, %d", c.size, len(c.entries), sum, len(model))
				}
			},
		})
	})
}
