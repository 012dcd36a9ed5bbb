package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/c2sp"
	"github.com/runledger/runledger/internal/store"
)

// Served is a log as far as it is published: what may be shown of it to those who
// watch it from outside. Everything it returns belongs to the tree that the log
// signed: a tile or a leaf of the database that does not is evidence.ErrTampered,
// and what no published checkpoint covers is evidence.ErrNotFound.
//
// It stands still while the log grows. It is for one goroutine.
type Served struct {
	LogInfo
	Size int64  // of the newest published checkpoint
	Note []byte // that checkpoint, with the log's signature alone

	ledger *Ledger
	log    *openLog
	tree   tree // at least Size leaves
	read   map[tileAt][]byte
}

// Serve returns a log of a tenant as it is published now.
func (l *Ledger) Serve(ctx context.Context, tenant string, logNo int) (*Served, error) {
	o, err := l.logByNo(ctx, tenant, logNo)
	if err != nil {
		return nil, err
	}
	note, err := l.publishedNote(ctx, o)
	if err != nil {
		return nil, err
	}
	c, err := c2sp.Verify(note, o.vkey)
	if err != nil {
		return nil, fmt.Errorf("checkpoint of %s: %w", o.Origin, err)
	}
	// Read after the note, so that the tree is no smaller than it says.
	st := o.state()
	return &Served{
		LogInfo: infoOf(o.Log), Size: c.Size, Note: note,
		ledger: l, log: o, tree: st.tree, read: map[tileAt][]byte{},
	}, nil
}

// NoteAt returns the checkpoint that was signed at a size, with the log's signature
// alone. Most sizes have none: evidence.ErrNotFound.
func (s *Served) NoteAt(ctx context.Context, size int64) ([]byte, error) {
	if size == s.Size {
		return s.Note, nil
	}
	var note []byte
	if size >= 0 && size < s.Size {
		err := s.ledger.store.Checkpoints(ctx, s.log.LogRef, size, func(c store.Checkpoint) error {
			if c.Size == size {
				note = bytes.Clone(c.Note)
			}
			return errFound // the first one is the nearest
		})
		if err != nil && !errors.Is(err, errFound) {
			return nil, err
		}
	}
	if note == nil {
		return nil, fmt.Errorf("checkpoint %d of %s: %w", size, s.Origin, evidence.ErrNotFound)
	}
	c, err := c2sp.Verify(note, s.log.vkey)
	if err == nil && c.Size != size {
		err = evidence.ErrTampered
	}
	if err != nil {
		return nil, fmt.Errorf("checkpoint %d of %s: %w", size, s.Origin, err)
	}
	return note, nil
}

// Tile returns the first width hashes of a tile, C2SP tlog-tiles.
func (s *Served) Tile(ctx context.Context, level int, n int64, width int) ([]byte, error) {
	if !s.covers(level, n, width) {
		return nil, fmt.Errorf("%s of %s: %w", c2sp.TilePath(level, n, width), s.Origin, evidence.ErrNotFound)
	}
	hashes, err := s.reader(ctx).hashes(level, n)
	if err != nil {
		return nil, err
	}
	return tileBytes(hashes[:width]), nil
}

// covers reports whether the published tree has so many hashes in a tile.
func (s *Served) covers(level int, n int64, width int) bool {
	if level < 0 || level >= maxLevels || n < 0 || n > s.Size || width < 1 || width > c2sp.TileWidth {
		return false
	}
	return s.Size>>(level*tileHeight)-n*c2sp.TileWidth >= int64(width)
}

// Entries returns the first width leaves of an entry bundle, C2SP tlog-tiles.
func (s *Served) Entries(ctx context.Context, n int64, width int) ([]byte, error) {
	if !s.covers(0, n, width) {
		return nil, fmt.Errorf("%s of %s: %w", c2sp.EntriesPath(n, width), s.Origin, evidence.ErrNotFound)
	}
	signed, err := s.reader(ctx).hashes(0, n)
	if err != nil {
		return nil, err
	}
	from := n * c2sp.TileWidth
	var out []byte
	err = eachLeaf(ctx, s.ledger.store, s.log.LogRef, from, from+int64(width), func(seq int64, leaf []byte) error {
		if evidence.LeafHash(leaf) != signed[seq-from] {
			return fmt.Errorf("leaf %d: %w: it is not the one that was signed", seq, evidence.ErrTampered)
		}
		var err error
		out, err = c2sp.AppendEntry(out, leaf)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("log %s: %w", s.Origin, err)
	}
	return out, nil
}

// Inclusion proves that the tree of that size has the leaf at index.
func (s *Served) Inclusion(ctx context.Context, index, size int64) ([]evidence.Hash, error) {
	if index < 0 || index >= size || size > s.Size {
		return nil, fmt.Errorf("leaf %d in a tree of %d leaves of %s: %w", index, size, s.Origin, evidence.ErrNotFound)
	}
	proof, err := tlog.ProveRecord(size, index, s.reader(ctx))
	if err != nil {
		return nil, fmt.Errorf("leaf %d of %s: %w", index, s.Origin, err)
	}
	return evidenceHashes(proof), nil
}

// Consistency proves that the tree of that size extends the older one.
func (s *Served) Consistency(ctx context.Context, old, size int64) ([]evidence.Hash, error) {
	if old < 0 || old > size || size > s.Size {
		return nil, fmt.Errorf("trees of %d and %d leaves of %s: %w", old, size, s.Origin, evidence.ErrNotFound)
	}
	if old == 0 || old == size {
		return nil, nil // every tree extends these
	}
	proof, err := tlog.ProveTree(size, old, s.reader(ctx))
	if err != nil {
		return nil, fmt.Errorf("trees of %d and %d leaves of %s: %w", old, size, s.Origin, err)
	}
	return evidenceHashes(proof), nil
}

// reader reads hashes that are those of the signed tree.
func (s *Served) reader(ctx context.Context) hashReader {
	return hashReader{&s.tree, func(level int, n int64) ([]byte, error) { return s.tile(ctx, level, n) }}
}

// tile returns a full tile whose root is the hash that the tile above has of it. The
// topmost is at the right edge, which was compared with the signed root when the log
// was opened and has been kept in memory since.
func (s *Served) tile(ctx context.Context, level int, n int64) ([]byte, error) {
	at := tileAt{level, n}
	if data, ok := s.read[at]; ok {
		return data, nil
	}
	data, err := s.ledger.store.Tile(ctx, s.log.LogRef, level, n)
	if errors.Is(err, evidence.ErrNotFound) {
		err = fmt.Errorf("%w: it is missing", evidence.ErrTampered) // not what was asked for
	}
	if err != nil {
		return nil, fmt.Errorf("tile %d/%d of %s: %w", level, n, s.Origin, err)
	}
	above, err := s.reader(ctx).hashes(level+1, n/c2sp.TileWidth)
	if err != nil {
		return nil, err
	}
	hashes := tileHashes(data)
	if i := int(n % c2sp.TileWidth); len(hashes) != c2sp.TileWidth || i >= len(above) || perfectRoot(hashes) != above[i] {
		return nil, fmt.Errorf("tile %d/%d of %s: %w: it is not part of the signed tree", level, n, s.Origin, evidence.ErrTampered)
	}
	s.read[at] = data
	return data, nil
}

// servedCosignatures bounds what Cosignatures returns: what is further back than that
// will not be the newest that has a quorum.
const servedCosignatures = 256

// Cosignatures returns cosignatures of a log with from <= size, those of the largest
// trees first.
func (l *Ledger) Cosignatures(ctx context.Context, tenant string, logNo int, from int64) ([]Attestation, error) {
	return l.attestations(ctx, store.LogRef{Tenant: tenant, No: logNo}, store.AttestationQuery{
		Kind: AttestCosignature, From: from, To: evidence.MaxInt, Newest: true, Limit: servedCosignatures,
	})
}
