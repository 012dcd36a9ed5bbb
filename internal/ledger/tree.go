package ledger

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/c2sp"
	"github.com/runledger/runledger/internal/store"
)

// tileHeight is that of C2SP tlog-tiles.
const tileHeight = 8

// maxLevels levels of tiles hold 2^40 leaves, the most a row key can name.
const maxLevels = 5

// tree is the state of a Merkle tree that grows at its right edge: its
// frontier, and the hashes of the tiles that are not full yet. An assignment
// is a snapshot that stays right while the original grows, since memory is
// only ever appended to. Only one of the two may grow: see fork.
type tree struct {
	frontier c2sp.Frontier
	edge     [maxLevels][]evidence.Hash
}

func (t *tree) size() int64 { return t.frontier.Size() }

func (t *tree) root() evidence.Hash { return t.frontier.Root() }

// fork returns a tree that may grow beside this one.
func (t *tree) fork() tree {
	c := *t
	for i := range c.edge {
		c.edge[i] = slices.Clone(c.edge[i])
	}
	return c
}

// append adds a leaf. It calls full for each tile that the leaf completes.
func (t *tree) append(leaf evidence.Hash, full func(store.Tile)) {
	t.frontier.Append(leaf, func(height int, index int64, h evidence.Hash) {
		if height%tileHeight != 0 {
			return
		}
		level := height / tileHeight
		if level > 0 {
			full(store.Tile{Level: level - 1, N: index, Data: tileBytes(t.edge[level-1])})
			t.edge[level-1] = nil
		}
		if t.edge[level] == nil {
			t.edge[level] = make([]evidence.Hash, 0, c2sp.TileWidth)
		}
		t.edge[level] = append(t.edge[level], h)
	})
}

func tileBytes(hashes []evidence.Hash) []byte {
	b := make([]byte, 0, len(hashes)*len(evidence.Hash{}))
	for _, h := range hashes {
		b = append(b, h[:]...)
	}
	return b
}

func tileHashes(data []byte) []evidence.Hash {
	out := make([]evidence.Hash, len(data)/len(evidence.Hash{}))
	for i := range out {
		copy(out[i][:], data[i*len(out[i]):])
	}
	return out
}

// perfectRoot returns the root of 2^k hashes.
func perfectRoot(hashes []evidence.Hash) evidence.Hash {
	if len(hashes) == 1 {
		return hashes[0]
	}
	buf := slices.Clone(hashes)
	for n := len(buf); n > 1; n /= 2 {
		for i := range n / 2 {
			buf[i] = evidence.NodeHash(buf[2*i], buf[2*i+1])
		}
	}
	return buf[0]
}

// rebuild makes the state of a tree of that size from its edge.
func rebuild(size int64, edge [maxLevels][]evidence.Hash) (tree, error) {
	var t tree
	var nodes []evidence.Hash
	for level := maxLevels - 1; level >= 0; level-- {
		width := int(size >> (level * tileHeight) & (c2sp.TileWidth - 1))
		if len(edge[level]) != width {
			return t, fmt.Errorf("tile level %d has %d of %d hashes at the right edge", level, len(edge[level]), width)
		}
		if width == 0 {
			continue
		}
		t.edge[level] = append(make([]evidence.Hash, 0, c2sp.TileWidth), edge[level]...)
		at := 0
		for bit := tileHeight - 1; bit >= 0; bit-- {
			if n := 1 << bit; width&n != 0 {
				nodes = append(nodes, perfectRoot(edge[level][at:at+n]))
				at += n
			}
		}
	}
	f, err := c2sp.NewFrontier(size, nodes)
	if err != nil {
		return t, err
	}
	t.frontier = *f
	return t, nil
}

// hashReader gives golang.org/x/mod/sumdb/tlog the hashes of a tree from
// full tiles in the store and the edge in memory.
type hashReader struct {
	tree *tree
	tile func(level int, n int64) ([]byte, error)
}

var errNoHash = errors.New("hash is not in the tree")

// ReadHashes implements tlog.HashReader.
func (r hashReader) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	type coord struct {
		level int
		n     int64
	}
	read := map[coord][]evidence.Hash{} // a proof asks a tile more than once
	for i, x := range indexes {
		height, n := tlog.SplitStoredHashIndex(x)
		level, sub := height/tileHeight, height%tileHeight
		first := n << sub
		c := coord{level, first >> tileHeight}
		hashes, ok := read[c]
		if !ok {
			var err error
			if hashes, err = r.hashes(c.level, c.n); err != nil {
				return nil, err
			}
			read[c] = hashes
		}
		at := int(first & (c2sp.TileWidth - 1))
		if at+1<<sub > len(hashes) {
			return nil, errNoHash
		}
		out[i] = tlog.Hash(perfectRoot(hashes[at : at+1<<sub]))
	}
	return out, nil
}

// hashes returns what there is of a tile.
func (r hashReader) hashes(level int, n int64) ([]evidence.Hash, error) {
	if level >= maxLevels {
		return nil, errNoHash
	}
	switch have := r.tree.size() >> ((level + 1) * tileHeight); {
	case n < have:
		data, err := r.tile(level, n)
		if err != nil {
			return nil, err
		}
		return tileHashes(data), nil
	case n == have:
		return r.tree.edge[level], nil
	default:
		return nil, errNoHash
	}
}
