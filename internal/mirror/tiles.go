package mirror

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/c2sp"
)

const (
	tileHeight = 8
	maxLevels  = 7 // of tiles in a tree of c2sp.MaxSize leaves
)

// signedTree reads hashes of a tree that a log signed, from the tiles that its server
// shows. tlog.TileHashReader sees to it that they are those of the signed root.
type signedTree struct {
	ctx  context.Context
	log  *logCopy
	of   signed
	hash tlog.HashReader
	// have are the tiles that were proven to belong to the tree, by path.
	have map[string][]byte
	err  error // of the network, which tlog would wrap
}

func (l *logCopy) signedTree(ctx context.Context, c signed) *signedTree {
	t := &signedTree{ctx: ctx, log: l, of: c, have: map[string][]byte{}}
	t.hash = tlog.TileHashReader(tlog.Tree{N: c.Size, Hash: tlog.Hash(c.Root)}, t)
	return t
}

// Height implements tlog.TileReader.
func (t *signedTree) Height() int { return tileHeight }

// ReadTiles implements tlog.TileReader.
func (t *signedTree) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	out := make([][]byte, len(tiles))
	for i, tile := range tiles {
		path := c2sp.TilePath(tile.L, tile.N, tile.W)
		if b, ok := t.have[path]; ok {
			out[i] = b
			continue
		}
		b, err := t.log.fetch(t.ctx, path, maxTile)
		if errors.Is(err, evidence.ErrNotFound) && tile.W < c2sp.TileWidth {
			// A server may drop a partial tile once it is full.
			b, err = t.log.fetch(t.ctx, c2sp.TilePath(tile.L, tile.N, c2sp.TileWidth), maxTile)
			b = b[:min(len(b), tile.W*32)]
		}
		if err != nil {
			t.err = err
			return nil, err
		}
		out[i] = b
	}
	return out, nil
}

// SaveTiles implements tlog.TileReader: it gets what was proven.
func (t *signedTree) SaveTiles(tiles []tlog.Tile, data [][]byte) {
	if len(t.have) > 1024 { // 8 MiB
		clear(t.have)
	}
	for i, tile := range tiles {
		t.have[c2sp.TilePath(tile.L, tile.N, tile.W)] = data[i]
	}
}

// failure makes an error of reading hashes one of the network, or of the server's.
func (t *signedTree) failure(err error) error {
	if t.err != nil {
		return t.err
	}
	return fmt.Errorf("%w: %w", errWrongTiles, err)
}

// errWrongTiles says that the tiles a server shows do not make the root of the tree.
var errWrongTiles = errors.New("the tiles are not those of the signed tree")

// rootAt returns the root that the tree had at an earlier size.
func (t *signedTree) rootAt(size int64) (evidence.Hash, error) {
	if size == 0 {
		return c2sp.EmptyRoot, nil
	}
	h, err := tlog.TreeHash(size, t.hash)
	if err != nil {
		return evidence.Hash{}, t.failure(err)
	}
	return evidence.Hash(h), nil
}

// holds reports whether the tree has these leaf hashes from the first leaf of a
// bundle on. A full bundle is compared by its root, which stands in a tile that is
// fetched once for 256 bundles.
func (t *signedTree) holds(n int64, leaves []evidence.Hash) (bool, error) {
	if len(leaves) == c2sp.TileWidth {
		got, err := t.hash.ReadHashes([]int64{tlog.StoredHashIndex(tileHeight, n)})
		if err != nil {
			return false, t.failure(err)
		}
		var f c2sp.Frontier
		for _, h := range leaves {
			f.Append(h, nil)
		}
		return evidence.Hash(got[0]) == f.Root(), nil
	}
	indexes := make([]int64, len(leaves))
	for i := range leaves {
		indexes[i] = tlog.StoredHashIndex(0, n*c2sp.TileWidth+int64(i))
	}
	got, err := t.hash.ReadHashes(indexes)
	if err != nil {
		return false, t.failure(err)
	}
	for i, h := range leaves {
		if evidence.Hash(got[i]) != h {
			return false, nil
		}
	}
	return true, nil
}
