package verify

import (
	"hash/maphash"
	"slices"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/c2sp"
)

// duplicateIDs checks that ids are unique within the log. The passes over
// the leaves kept a keyed 64-bit hash of each id; only where two are the same
// are the ids themselves read again.
func (p *pass) duplicateIDs() (*Finding, error) {
	twice := repeated(p.ids, p.c.workers)
	if len(twice) == 0 {
		return nil, nil
	}
	seen := map[evidence.ID]int64{}
	var leaf evidence.Leaf
	var buf []byte
	for n := int64(0); n*c2sp.TileWidth < p.l.Size; n++ {
		width := entriesWidth(n, p.l.Size)
		b, err := p.c.src.readInto(buf, p.l.Dir+"/"+c2sp.EntriesPath(n, width), maxBundle)
		if err != nil {
			return nil, err
		}
		buf = b
		entries, err := c2sp.SplitEntries(b, width)
		if err != nil {
			return p.fail(ELeaf, n*c2sp.TileWidth, err.Error()), nil
		}
		for i, e := range entries {
			seq := n*c2sp.TileWidth + int64(i)
			if err := leaf.Parse(e); err != nil {
				return p.fail(ELeaf, seq, err.Error()), nil
			}
			if _, ok := slices.BinarySearch(twice, maphash.Bytes(p.seed, leaf.ID[:])); !ok {
				continue
			}
			if first, ok := seen[leaf.ID]; ok {
				f := p.fail(ELeaf, seq, "the id is that of an earlier leaf")
				f.Expected, f.Found = "an id that no other leaf has", leaf.ID.String()
				if first == seq-1 {
					f.From = first
				}
				return f, nil
			}
			seen[leaf.ID] = seq
		}
	}
	return nil, nil // two ids with the same keyed hash: chance
}

// repeated returns, sorted, the values that stand in the list more than
// once. It changes the order of the list: first by the top byte, in place,
// then each part is sorted, the parts in parallel.
func repeated(list []uint64, workers int) []uint64 {
	var ends [257]int
	for _, v := range list {
		ends[v>>56+1]++
	}
	for i := 1; i < len(ends); i++ {
		ends[i] += ends[i-1]
	}
	at := ends // where the next value of each part goes
	for part := range 256 {
		for at[part] < ends[part+1] {
			v := list[at[part]]
			to := v >> 56
			if int(to) == part {
				at[part]++
				continue
			}
			list[at[part]], list[at[to]] = list[at[to]], v
			at[to]++
		}
	}
	found := make([][]uint64, 256)
	parallel(workers, 256, func(part int) {
		part64 := list[ends[part]:ends[part+1]]
		slices.Sort(part64)
		for i := 1; i < len(part64); i++ {
			if part64[i] == part64[i-1] {
				found[part] = append(found[part], part64[i])
			}
		}
	})
	return slices.Compact(slices.Concat(found...))
}
