package ledger

import (
	"context"
	"errors"
	"fmt"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/c2sp"
	"github.com/runledger/runledger/internal/store"
)

type nearTile struct {
	log   store.LogRef
	level int
	n     int64
}

// signedHashes returns the hashes of a tile of a signed tree. Those at the right
// edge are in memory. A full tile is read and counts only if its root is the hash
// that its parent tile has of it, which is proven in the same way, up to the edge:
// so a leaf whose hash stands in what is returned is in the tree, as surely as by
// a proof of its own, at the price of one tile for all of 256.
func (l *Ledger) signedHashes(ctx context.Context, o *openLog, t *tree, level int, n int64) ([]evidence.Hash, error) {
	switch full := t.size() >> ((level + 1) * tileHeight); {
	case level >= maxLevels || n > full:
		return nil, errNoHash
	case n == full:
		return t.edge[level], nil
	}
	key := nearTile{o.LogRef, level, n}
	if hashes, ok := l.near.tiles.get(key); ok {
		return hashes, nil
	}
	// What is signed is judged by the newest tree, which a read replica may not have yet.
	data, err := l.store.Tile(store.NoLag(ctx), o.LogRef, level, n)
	switch {
	case errors.Is(err, evidence.ErrNotFound):
		return nil, fmt.Errorf("tile %d/%d of log %s: %w: it is missing", level, n, o.Origin, evidence.ErrTampered)
	case err != nil:
		return nil, err
	case len(data) != c2sp.TileWidth*len(evidence.Hash{}):
		return nil, fmt.Errorf("tile %d/%d of log %s: %w: it has %d bytes", level, n, o.Origin, evidence.ErrTampered, len(data))
	}
	parent, err := l.signedHashes(ctx, o, t, level+1, n/c2sp.TileWidth)
	if err != nil {
		return nil, err
	}
	hashes := tileHashes(data)
	if parent[n%c2sp.TileWidth] != perfectRoot(hashes) {
		return nil, fmt.Errorf("tile %d/%d of log %s: %w: it is not of the signed tree", level, n, o.Origin, evidence.ErrTampered)
	}
	l.near.tiles.put(key, hashes, len(data), nearTileBytes)
	return hashes, nil
}

// proveLeaf checks that a signed tree has a leaf at seq, which must be within it.
func (l *Ledger) proveLeaf(ctx context.Context, o *openLog, t *tree, seq int64, hash evidence.Hash) error {
	hashes, err := l.signedHashes(ctx, o, t, 0, seq/c2sp.TileWidth)
	if err != nil {
		return err
	}
	if hashes[seq%c2sp.TileWidth] != hash {
		l.near.forget(o.LogRef, seq) // the next reader looks at the database again
		return fmt.Errorf("leaf %d of log %s: %w: it is not the one that was signed", seq, o.Origin, evidence.ErrTampered)
	}
	return nil
}
