package c2sp

import (
	"math/bits"

	"github.com/runledger/runledger/evidence"
)

// EmptyRoot is the root of the empty tree, SHA-256(""), RFC 6962 section 2.1.
var EmptyRoot = evidence.Hash{
	0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24,
	0x27, 0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
}

// Frontier is the compact range of a growing tree: the hashes of the perfect
// subtrees that its leaves fill, at most one of each height. The zero value
// is the empty tree. It holds no pointers, so an assignment is a snapshot;
// nothing it does allocates. It is for one goroutine at a time.
type Frontier struct {
	size  int64
	nodes [maxHeight]evidence.Hash // nodes[h] is in use where bit h of size is set
}

const maxHeight = 53 // MaxSize < 2^53

// NewFrontier returns the frontier of a tree of that size. nodes are the
// perfect subtrees from left to right, the largest first, as
// [Frontier.Nodes] returns them. The error wraps evidence.ErrInvalid.
func NewFrontier(size int64, nodes []evidence.Hash) (*Frontier, error) {
	if size < 0 || size > MaxSize || len(nodes) != bits.OnesCount64(uint64(size)) {
		return nil, invalid("a tree of %d leaves does not have %d perfect subtrees", size, len(nodes))
	}
	f := &Frontier{size: size}
	for h := maxHeight - 1; h >= 0; h-- {
		if size>>h&1 == 1 {
			f.nodes[h], nodes = nodes[0], nodes[1:]
		}
	}
	return f, nil
}

// Size returns the number of leaves.
func (f *Frontier) Size() int64 { return f.size }

// Append adds a leaf hash. node, which may be nil, is called with the leaf
// and then with each node that it completes, upwards: its height (0 for
// leaves), its index at that height, and its hash. Every node of the tree is
// reported once, so that tiles fill in one pass: the tile of level L holds
// the nodes of height 8*L, and node index i is hash i%256 of tile i/256.
// Append panics if the tree has MaxSize leaves.
func (f *Frontier) Append(leaf evidence.Hash, node func(height int, index int64, h evidence.Hash)) {
	f.AppendSubtree(0, leaf, node)
}

// AppendSubtree adds 2^height leaves by the hash of their perfect subtree,
// as [Frontier.Append] does; the nodes below it are not reported. The size
// must be a multiple of 2^height, else it panics: the caller has lost count,
// and any root from then on would be wrong.
func (f *Frontier) AppendSubtree(height int, h evidence.Hash, node func(height int, index int64, h evidence.Hash)) {
	width := int64(1) << height
	if f.size&(width-1) != 0 || f.size > MaxSize-width {
		panic("c2sp: subtree does not fit the frontier")
	}
	at := height
	index := f.size >> height
	for {
		if node != nil {
			node(at, index, h)
		}
		if f.size>>at&1 == 0 {
			break
		}
		h = evidence.NodeHash(f.nodes[at], h)
		at++
		index >>= 1
	}
	f.nodes[at] = h
	f.size += width
}

// Root returns the root of the tree, RFC 6962 section 2.1.
func (f *Frontier) Root() evidence.Hash {
	if f.size == 0 {
		return EmptyRoot
	}
	at := bits.TrailingZeros64(uint64(f.size))
	h := f.nodes[at]
	for at++; f.size>>at != 0; at++ {
		if f.size>>at&1 == 1 {
			h = evidence.NodeHash(f.nodes[at], h)
		}
	}
	return h
}

// Nodes appends the hashes of the perfect subtrees from left to right, the
// largest first.
func (f *Frontier) Nodes(dst []evidence.Hash) []evidence.Hash {
	for h := maxHeight - 1; h >= 0; h-- {
		if f.size>>h&1 == 1 {
			dst = append(dst, f.nodes[h])
		}
	}
	return dst
}

// Checkpoint returns the unsigned checkpoint of the tree.
func (f *Frontier) Checkpoint(origin string) Checkpoint {
	return Checkpoint{Origin: origin, Size: f.size, Root: f.Root()}
}
