package archive

import (
	"fmt"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/c2sp"
)

// span is a unit's leaves and the size of the tree that it proves them in.
type span struct{ from, to, size int64 }

func (s span) check() error {
	if s.from < 0 || s.to <= s.from || s.size < s.to || s.size > c2sp.MaxSize {
		return fmt.Errorf("leaves %d to %d in a tree of %d", s.from, s.to, s.size)
	}
	if s.to-s.from > maxUnit {
		return fmt.Errorf("%d leaves; at most %d", s.to-s.from, maxUnit)
	}
	return nil
}

// start is where the entry bundle that from lies in starts.
func (s span) start() int64 { return s.from / c2sp.TileWidth * c2sp.TileWidth }

// bundles returns the numbers of the first entry bundle and of the one behind the last.
func (s span) bundles() (first, end int64) {
	return s.from / c2sp.TileWidth, (s.to + c2sp.TileWidth - 1) / c2sp.TileWidth
}

// tileID names a tile, or with level c2sp.EntriesLevel an entry bundle.
type tileID struct {
	level int
	n     int64
	width int
}

// noteLevel is the level of what is not a tile in log.zip: the checkpoint.
const noteLevel = -2

func (t tileID) path() string {
	switch t.level {
	case noteLevel:
		return checkpointName
	case c2sp.EntriesLevel:
		return c2sp.EntriesPath(t.n, t.width)
	}
	return c2sp.TilePath(t.level, t.n, t.width)
}

// tile returns the tile of a level and number as the tree of that size has it.
func (s span) tile(level int, n int64) tileID {
	have := s.size>>(8*level) - n*c2sp.TileWidth
	return tileID{level, n, int(min(have, c2sp.TileWidth))}
}

// entries lists what log.zip has, in order.
func (s span) entries() []tileID {
	first, end := s.bundles()
	out := make([]tileID, 0, 2*(end-first)+16)
	for n := first; n < end; n++ {
		out = append(out, tileID{c2sp.EntriesLevel, n, int(min(s.to-n*c2sp.TileWidth, c2sp.TileWidth))}, s.tile(0, n))
	}
	return append(append(out, s.upper()...), tileID{level: noteLevel})
}

// upper lists the tiles of log.zip that are not beside an entry bundle.
func (s span) upper() []tileID {
	var out []tileID
	lo, end := s.bundles() // of the tiles of this level that the unit needs
	for level := 0; s.size>>(8*level) > 0; level++ {
		if level > 0 {
			for n := lo; n < end; n++ {
				out = append(out, s.tile(level, n))
			}
		}
		edge := s.tile(level, s.size>>(8*level)/c2sp.TileWidth)
		if edge.width > 0 && (edge.n < lo || edge.n >= end) {
			out = append(out, edge)
		}
		end = min(end, edge.n) // the partial tile has no hash above
		if lo >= end {
			lo, end = 0, 0
			continue
		}
		lo, end = lo/c2sp.TileWidth, (end+c2sp.TileWidth-1)/c2sp.TileWidth
	}
	return out
}

// tree is the hashes of a unit's tiles. Those that Add has accepted lead to the root.
type tree struct {
	span
	tiles map[tileID][]byte
}

// newTree checks the upper tiles of a unit, and those at the right edge, against the root
// that a checkpoint names. tiles has at least those of span.upper and, where it is beside an
// entry bundle, the one at the right edge of level 0.
func newTree(s span, root evidence.Hash, tiles map[tileID][]byte) (*tree, error) {
	t := &tree{s, map[tileID][]byte{}}
	var f c2sp.Frontier
	top := 0
	for s.size>>(8*(top+1)) > 0 {
		top++
	}
	for level := top; level >= 0; level-- {
		edge := s.tile(level, s.size>>(8*level)/c2sp.TileWidth)
		if edge.width == 0 {
			continue
		}
		data, err := tileOf(tiles, edge)
		if err != nil {
			return nil, err
		}
		for i := range edge.width {
			f.AppendSubtree(8*level, hashAt(data, i), nil)
		}
		t.tiles[edge] = data
	}
	if f.Root() != root {
		return nil, fmt.Errorf("%w: the tiles at the right edge do not lead to the root that the checkpoint names", evidence.ErrTampered)
	}
	upper := s.upper()
	for i := len(upper) - 1; i >= 0; i-- { // from above, so that what is above is known
		if t.tiles[upper[i]] != nil {
			continue
		}
		data, err := tileOf(tiles, upper[i])
		if err != nil {
			return nil, err
		}
		if err := t.add(upper[i], data); err != nil {
			return nil, err
		}
	}
	return t, nil
}

func tileOf(tiles map[tileID][]byte, id tileID) ([]byte, error) {
	data := tiles[id]
	if len(data) != id.width*len(evidence.Hash{}) {
		return nil, fmt.Errorf("%w: %s has %d bytes", evidence.ErrTampered, id.path(), len(data))
	}
	return data, nil
}

// add accepts a tile whose hash stands in the one above it, or that is known already.
func (t *tree) add(id tileID, data []byte) error {
	if have := t.tiles[id]; have != nil {
		if string(have) != string(data) {
			return fmt.Errorf("%w: %s is not the tile that leads to the root", evidence.ErrTampered, id.path())
		}
		return nil
	}
	if err := t.check(id, data); err != nil {
		return err
	}
	if id.level > 0 {
		t.tiles[id] = data
	}
	return nil
}

// check compares the hash of a full tile with the tile above it, which must be accepted.
func (t *tree) check(id tileID, data []byte) error {
	if len(data) != c2sp.TileWidth*len(evidence.Hash{}) || id.width != c2sp.TileWidth {
		return fmt.Errorf("%w: %s is not whole", evidence.ErrTampered, id.path())
	}
	above := t.tiles[t.tile(id.level+1, id.n/c2sp.TileWidth)]
	at := int(id.n % c2sp.TileWidth)
	if (at+1)*len(evidence.Hash{}) > len(above) {
		return fmt.Errorf("%w: %s has no tile above it", evidence.ErrTampered, id.path())
	}
	var f c2sp.Frontier
	for i := range c2sp.TileWidth {
		f.Append(hashAt(data, i), nil)
	}
	if f.Root() != hashAt(above, at) {
		return fmt.Errorf("%w: %s is not in the tree that the checkpoint signs", evidence.ErrTampered, id.path())
	}
	return nil
}

func hashAt(tile []byte, i int) evidence.Hash {
	return evidence.Hash(tile[i*len(evidence.Hash{}):])
}
