package mirror

import (
	"fmt"
	"hash/maphash"
	"path/filepath"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/c2sp"
	"github.com/runledger/runledger/verify"
)

// leaves is what a copy knows of the leaves that it has read, in order.
type leaves struct {
	rules verify.LogRules
	tree  c2sp.Frontier
	// edge are the hashes of the tiles that are not full yet, by level; full are the
	// tiles that were completed and not yet written.
	edge [maxLevels][]evidence.Hash
	full []fullTile
	last evidence.Micros // t of the newest

	seed maphash.Seed
	ids  map[uint64]struct{} // keyed hashes: 8 bytes tell apart what is not hostile

	first  *evidence.Leaf // leaf 0
	newest *evidence.Leaf
}

type fullTile struct {
	level  int
	n      int64
	hashes []evidence.Hash
}

func newLeaves(key c2sp.VKey) leaves {
	return leaves{
		rules: verify.LogRules{Origin: key.Name, Key: key.String()},
		seed:  maphash.MakeSeed(), ids: map[uint64]struct{}{},
	}
}

func (s *leaves) size() int64 { return s.tree.Size() }

// add reads the next leaf, and returns what is wrong with it, or "". known is asked
// whether an earlier leaf has an id whose keyed hash was seen before.
func (s *leaves) add(raw []byte, known func(evidence.ID) (bool, error)) (string, error) {
	leaf, err := evidence.ParseLeaf(raw)
	if err != nil {
		return err.Error(), nil
	}
	if err := s.rules.Next(leaf); err != nil {
		return err.Error(), nil
	}
	id := maphash.Bytes(s.seed, leaf.ID[:])
	if _, ok := s.ids[id]; ok {
		if twice, err := known(leaf.ID); err != nil || twice {
			return "its id " + leaf.ID.String() + " is that of an earlier leaf", err
		}
	}
	s.ids[id] = struct{}{}
	if s.first == nil {
		s.first = leaf
	}
	s.newest, s.last = leaf, leaf.RecordedAt
	s.grow(evidence.LeafHash(raw))
	return "", nil
}

// grow adds a hash to the tree and to the tiles at its right edge.
func (s *leaves) grow(leaf evidence.Hash) {
	s.tree.Append(leaf, func(height int, index int64, h evidence.Hash) {
		if height%tileHeight != 0 {
			return
		}
		level := height / tileHeight
		s.edge[level] = append(s.edge[level], h)
		if len(s.edge[level]) == c2sp.TileWidth {
			s.full = append(s.full, fullTile{level, index / c2sp.TileWidth, s.edge[level]})
			s.edge[level] = nil
		}
	})
}

// successor returns what LOG_CLOSED says where it is the newest leaf.
func (s *leaves) successor() (origin, vkey string, closed bool) {
	l := s.newest
	if l == nil || l.Kind != evidence.KindSystem || l.Text("event_type") != "LOG_CLOSED" {
		return "", "", false
	}
	return l.Text("successor_log"), l.Text("vkey"), true
}

// width is how many leaves of a tree of that size stand in a bundle.
func width(n, size int64) int { return int(min(c2sp.TileWidth, size-n*c2sp.TileWidth)) }

// replay reads what the directory has of the log, and checks it as if it came anew.
func (l *logCopy) replay() error {
	for n := int64(0); n*c2sp.TileWidth < l.kept.Size; n++ {
		path := c2sp.EntriesPath(n, width(n, l.kept.Size))
		bundle, err := l.dir.read(l.path(path), maxEntries)
		if err != nil {
			return fmt.Errorf("the copy of %s is damaged: %w", l.key.Name, err)
		}
		entries, err := c2sp.SplitEntries(bundle, width(n, l.kept.Size))
		if err != nil {
			return fmt.Errorf("the copy of %s is damaged: %s: %w", l.key.Name, path, err)
		}
		for i, raw := range entries {
			wrong, err := l.state.add(raw, func(id evidence.ID) (bool, error) { return l.hasID(id, n, entries[:i]) })
			if err != nil {
				return err
			}
			if wrong != "" {
				return fmt.Errorf("the copy of %s is damaged: %s: leaf %d: %s: %w", l.key.Name, path, n*c2sp.TileWidth+int64(i), wrong, evidence.ErrTampered)
			}
		}
		l.state.full = nil // written already
	}
	if l.state.tree.Root() != l.kept.Root {
		return fmt.Errorf("the copy of %s is damaged: its leaves do not make the tree that the log signed: %w", l.key.Name, evidence.ErrTampered)
	}
	return nil
}

// hasID looks for an id among the leaves before those of a bundle, which are in
// files, and some of the bundle itself.
func (l *logCopy) hasID(id evidence.ID, bundle int64, more [][]byte) (bool, error) {
	var leaf evidence.Leaf
	has := func(entries [][]byte) bool {
		for _, raw := range entries {
			if leaf.Parse(raw) == nil && leaf.ID == id {
				return true
			}
		}
		return false
	}
	for n := range bundle {
		b, err := l.dir.read(l.path(c2sp.EntriesPath(n, c2sp.TileWidth)), maxEntries)
		if err != nil {
			return false, err
		}
		entries, err := c2sp.SplitEntries(b, c2sp.TileWidth)
		if err != nil || has(entries) {
			return true, err
		}
	}
	return has(more), nil
}

// path is that of a file of the log in the directory.
func (l *logCopy) path(name string) string { return filepath.Join(l.name, filepath.FromSlash(name)) }

// writeTiles writes the tiles that were completed.
func (l *logCopy) writeTiles() error {
	for _, t := range l.state.full {
		if err := l.dir.write(l.path(c2sp.TilePath(t.level, t.n, c2sp.TileWidth)), tileBytes(t.hashes)); err != nil {
			return err
		}
	}
	l.state.full = nil
	return nil
}

// writeEdge writes the partial tiles of the tree as it is now.
func (l *logCopy) writeEdge() error {
	for level, hashes := range l.state.edge {
		if len(hashes) == 0 {
			continue
		}
		n := l.state.size() >> ((level + 1) * tileHeight)
		if err := l.dir.write(l.path(c2sp.TilePath(level, n, len(hashes))), tileBytes(hashes)); err != nil {
			return err
		}
	}
	return nil
}

func tileBytes(hashes []evidence.Hash) []byte {
	b := make([]byte, 0, len(hashes)*len(evidence.Hash{}))
	for _, h := range hashes {
		b = append(b, h[:]...)
	}
	return b
}
