package archive

import (
	"container/list"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/c2sp"
	"github.com/runledger/runledger/internal/store"
)

// openedUnit is a unit of which the manifest, the checkpoint and the upper tiles were checked:
// the manifest has the digest on record, and all else follows from it.
type openedUnit struct {
	m    *manifest
	log  object
	zip  *zipReader
	tree *tree
}

func (r *openedUnit) close() { _ = r.log.Close() }

// openUnit opens a unit that is on record. It asks for no more than it needs.
func (a *Archive) openUnit(ctx context.Context, u store.ArchiveUnit) (*openedUnit, error) {
	m, err := a.readManifest(ctx, u)
	if err != nil {
		return nil, err
	}
	note, err := readAll(ctx, a.dest, u.Name+"/"+checkpointName, c2sp.MaxNoteSize)
	if err != nil {
		return nil, fmt.Errorf("archive: %w", err)
	}
	bad := func(object string, err error) error {
		return fmt.Errorf("archive: %s/%s: %w", u.Name, object, err)
	}
	if f := m.file(checkpointName); sha256.Sum256(note) != f.sum() {
		return nil, bad(checkpointName, fmt.Errorf("%w: its digest is not the one that the manifest says", evidence.ErrTampered))
	}
	c, err := c2sp.Verify(note, m.vkey())
	if err == nil && (c.Origin != m.Log.Origin || c.Size != m.CheckpointSize) {
		err = fmt.Errorf("%w: it is not the one that the manifest says", evidence.ErrTampered)
	}
	if err != nil {
		return nil, bad(checkpointName, err)
	}
	o, err := a.dest.open(ctx, u.Name+"/"+logName)
	if err != nil {
		return nil, fmt.Errorf("archive: %w", err)
	}
	r := &openedUnit{m: m, log: o}
	if r.tree, err = r.read(ctx, c.Root); err != nil {
		r.close()
		return nil, bad(logName, err)
	}
	return r, nil
}

// readManifest reads the manifest of a unit on record.
func (a *Archive) readManifest(ctx context.Context, u store.ArchiveUnit) (*manifest, error) {
	name := u.Name + "/" + manifestName
	if unit, _, ok := splitName(name); !ok || unit != u.Name {
		return nil, fmt.Errorf("archive: %w: %q is no name of a unit", evidence.ErrInvalid, u.Name)
	}
	text, err := readAll(ctx, a.dest, name, maxManifest)
	if err != nil {
		return nil, fmt.Errorf("archive: %w", err)
	}
	if got := evidence.Hash(sha256.Sum256(text)); got != u.Manifest {
		return nil, fmt.Errorf("archive: %s: %w: its digest is %s; the one on record is %s",
			name, evidence.ErrTampered, evidence.Checksum(got), evidence.Checksum(u.Manifest))
	}
	m, err := parseManifest(text)
	if err == nil && (m.name() != u.Name || m.TenantID != u.Tenant || m.Log.LogNo != u.No || m.From != u.From || m.To != u.To) {
		err = errors.New("it is not the unit on record")
	}
	if err != nil {
		return nil, fmt.Errorf("archive: %s: %w: %w", name, evidence.ErrTampered, err)
	}
	return m, nil
}

// read reads the directory of log.zip and the tiles that lead to the root.
func (r *openedUnit) read(ctx context.Context, root evidence.Hash) (*tree, error) {
	s := r.m.span()
	if got, want := r.log.size(), r.m.file(logName).Size; got != want {
		return nil, fmt.Errorf("%w: it has %d bytes; the manifest says %d", evidence.ErrTampered, got, want)
	}
	var err error
	if r.zip, err = openZip(ctx, r.log, s); err != nil {
		return nil, err
	}
	tiles := map[tileID][]byte{}
	ids := s.upper()
	if edge := s.tile(0, s.size/batchLeaves); edge.width > 0 {
		ids = append(ids, edge)
	}
	for _, id := range ids {
		if tiles[id] == nil {
			if tiles[id], err = r.zip.read(ctx, id); err != nil {
				return nil, err
			}
		}
	}
	return newTree(s, root, tiles)
}

// bundle returns the leaves of an entry bundle, each checked against the tree.
func (r *openedUnit) bundle(ctx context.Context, n int64) ([][]byte, error) {
	s := r.m.span()
	id, tile := tileID{c2sp.EntriesLevel, n, int(min(s.to-n*batchLeaves, batchLeaves))}, s.tile(0, n)
	data, err := r.zip.read(ctx, id)
	if err != nil {
		return nil, err
	}
	hashes, err := r.zip.read(ctx, tile)
	if err != nil {
		return nil, err
	}
	if have := r.tree.tiles[tile]; have != nil && string(have) != string(hashes) {
		return nil, fmt.Errorf("%w: %s is not the tile that leads to the root", evidence.ErrTampered, tile.path())
	} else if have == nil {
		if err := r.tree.check(tile, hashes); err != nil {
			return nil, err
		}
	}
	leaves, err := c2sp.SplitEntries(data, id.width)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %w", id.path(), evidence.ErrTampered, err)
	}
	for i, leaf := range leaves {
		if evidence.LeafHash(leaf) != hashAt(hashes, i) {
			return nil, fmt.Errorf("%w: leaf %d is not the one in the signed tree", evidence.ErrTampered, n*batchLeaves+int64(i))
		}
	}
	return leaves, nil
}

// Leaves yields the leaves from <= seq < to of a unit, in order, each checked against the
// unit's signed tree. It reads only the entry bundles that they are in. fn may keep what it
// is given. Errors: evidence.ErrUnavailable, evidence.ErrTampered (the object is named),
// evidence.ErrNotFound where an object is missing, evidence.ErrInvalid for a range outside
// the unit.
func (a *Archive) Leaves(ctx context.Context, u store.ArchiveUnit, from, to int64, fn func(seq int64, leaf []byte) error) error {
	if from < u.From || to > u.To {
		return fmt.Errorf("archive: %s: %w: leaves %d to %d", u.Name, evidence.ErrInvalid, from, to)
	}
	for n := from / batchLeaves; n*batchLeaves < to; n++ {
		leaves, err := a.bundle(ctx, u, n)
		if err != nil {
			return err
		}
		for i, leaf := range leaves {
			if seq := n*batchLeaves + int64(i); seq >= from && seq < to {
				if err := fn(seq, leaf); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// bundle returns the leaves of an entry bundle, from the cache where it has them.
func (a *Archive) bundle(ctx context.Context, u store.ArchiveUnit, n int64) ([][]byte, error) {
	key := bundleKey{u.Manifest, n}
	if leaves := a.cache.bundle(key); leaves != nil {
		return leaves, nil
	}
	slot := a.cache.unit(u.Manifest)
	slot.mu.Lock()
	defer slot.mu.Unlock()
	if slot.u == nil {
		r, err := a.openUnit(ctx, u)
		if err != nil {
			return nil, err
		}
		slot.u = r
	}
	leaves, err := slot.u.bundle(ctx, n)
	if err != nil {
		// It is opened anew the next time: it may have been replaced by a good copy.
		slot.u.close()
		slot.u = nil
		return nil, fmt.Errorf("archive: %s/%s: %w", u.Name, logName, err)
	}
	a.cache.keep(key, leaves)
	return leaves, nil
}

// cache is of units that were opened, and of bundles that were read.
type cache struct {
	mu      sync.Mutex
	units   map[evidence.Hash]*list.Element // of slot, by the manifest's digest
	inUse   *list.List
	bundles map[bundleKey]*list.Element // of *cached
	order   *list.List                  // the one used last first
	bytes   int
}

// slot is a unit that is opened once. Its lock is held while it is read.
type slot struct {
	id evidence.Hash
	mu sync.Mutex
	u  *openedUnit
}

type bundleKey struct {
	unit evidence.Hash
	n    int64
}

type cached struct {
	key    bundleKey
	leaves [][]byte
	bytes  int
}

const (
	maxOpen   = 8
	maxCached = 16 << 20 // bytes of leaves
)

func newCache() *cache {
	return &cache{
		units: map[evidence.Hash]*list.Element{}, inUse: list.New(),
		bundles: map[bundleKey]*list.Element{}, order: list.New(),
	}
}

// unit returns the place of a unit. What falls out is closed once nobody reads it.
func (c *cache) unit(id evidence.Hash) *slot {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.units[id]; e != nil {
		c.inUse.MoveToFront(e)
		return e.Value.(*slot)
	}
	s := &slot{id: id}
	c.units[id] = c.inUse.PushFront(s)
	if c.inUse.Len() > maxOpen {
		old := c.inUse.Remove(c.inUse.Back()).(*slot)
		delete(c.units, old.id)
		go func() {
			old.mu.Lock()
			defer old.mu.Unlock()
			if old.u != nil {
				old.u.close()
				old.u = nil
			}
		}()
	}
	return s
}

func (c *cache) bundle(key bundleKey) [][]byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.bundles[key]
	if e == nil {
		return nil
	}
	c.order.MoveToFront(e)
	return e.Value.(*cached).leaves
}

func (c *cache) keep(key bundleKey, leaves [][]byte) {
	x := &cached{key: key, leaves: leaves}
	for _, l := range leaves {
		x.bytes += len(l)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.bundles[key] != nil {
		return
	}
	c.bundles[key] = c.order.PushFront(x)
	c.bytes += x.bytes
	for c.bytes > maxCached && c.order.Len() > 1 {
		old := c.order.Remove(c.order.Back()).(*cached)
		delete(c.bundles, old.key)
		c.bytes -= old.bytes
	}
}
