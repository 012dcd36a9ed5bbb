package ledger

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/c2sp"
	"github.com/runledger/runledger/internal/seal"
	"github.com/runledger/runledger/internal/store"
)

// ProvenRecord is a record with its way into a checkpoint.
type ProvenRecord struct {
	LogRecord
	Proof []evidence.Hash // the leaf's sibling first
}

// RunPlaces returns where all records of a run stand, by n. The error wraps
// evidence.ErrNotFound where the tenant has no such run, ErrExpired where it had one,
// and evidence.ErrTampered where the database knows of more than it has.
func (l *Ledger) RunPlaces(ctx context.Context, tenant, run string) ([]store.Found, error) {
	state, err := l.RunState(ctx, tenant, run)
	if err != nil {
		return nil, err
	}
	places, err := l.runPlaces(ctx, tenant, run, state)
	if err == nil && len(places) == 0 {
		err = fmt.Errorf("run %q: %w", run, evidence.ErrNotFound)
	}
	return places, err
}

// Place returns what is needed to open the record at a position.
func (l *Ledger) Place(ctx context.Context, tenant string, at store.Position) (store.Found, error) {
	o, err := l.logByNo(ctx, tenant, at.LogNo)
	if err != nil {
		return store.Found{}, err
	}
	_, leaf, err := readLeaf(ctx, l.store, o.Log, at.Seq)
	if err != nil {
		return store.Found{}, err
	}
	row, err := l.store.Row(ctx, o.LogRef, leaf.Kind, at.Seq)
	if errors.Is(err, evidence.ErrNotFound) {
		err = fmt.Errorf("leaf %d of %s: %w: its row is missing", at.Seq, o.Origin, evidence.ErrTampered)
	}
	return store.Found{
		Kind: leaf.Kind, Position: at, OccurredAt: leaf.OccurredAt, Segment: row.Segment, ActorSegment: row.ActorSegment,
	}, err
}

// LeavesAt calls fn for the leaves at places in one log, which are in order of
// seq. They are as the database has them, proven to be in no tree.
func (l *Ledger) LeavesAt(ctx context.Context, tenant string, logNo int, at []store.Found, fn func(*evidence.Leaf) error) error {
	o, err := l.logByNo(ctx, tenant, logNo)
	if err != nil {
		return err
	}
	leaves := &leafReader{read: l.store, log: o.Log}
	for _, f := range at {
		_, leaf, err := leaves.leaf(ctx, f.Seq)
		if err == nil {
			err = fn(leaf)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// ProveRecords calls fn for the records at places in one log, which are in
// order of seq, each with the proof that the tree of a checkpoint of that log
// holds it, and with its sealed content opened. The checkpoint is one that was
// published. What the tree does not hold is evidence.ErrTampered; that content
// opens its commitment is for [evidence.Commit] to decide. Tiles and segments
// are read once each, so many records cost little more than their hashes.
func (l *Ledger) ProveRecords(ctx context.Context, tenant string, logNo int, head c2sp.Checkpoint, at []store.Found, fn func(*ProvenRecord) error) error {
	ctx = store.NoLag(ctx) // head is published, and a replica may not have come so far
	o, err := l.logByNo(ctx, tenant, logNo)
	if err != nil {
		return err
	}
	st := o.state()
	if head.Size > st.tree.size() {
		if st, err = l.latest(ctx, o); err != nil {
			return err
		}
	}
	if head.Origin != o.Origin || head.Size > st.tree.size() {
		return fmt.Errorf("checkpoint of %d leaves of %s: %w: it is none of log %s", head.Size, head.Origin, evidence.ErrInvalid, o.Origin)
	}
	prove := &prover{read: hashReader{&st.tree, l.tileOf(ctx, o.LogRef)}, tiles: map[tileAt]*pyramid{}}
	leaves := &leafReader{read: l.store, log: o.Log}
	c := newContent(l.sealer, l.store, o.Log)
	for _, f := range at {
		raw, leaf, err := leaves.leaf(ctx, f.Seq)
		if err != nil {
			return err
		}
		r := &ProvenRecord{LogRecord: LogRecord{Seq: f.Seq, Raw: raw, Leaf: leaf}}
		if r.Proof, err = prove.leaf(head, f.Seq, evidence.LeafHash(raw)); err != nil {
			return fmt.Errorf("leaf %d of %s: %w", f.Seq, o.Origin, err)
		}
		if r.Open, err = c.open(ctx, leaf, [2]int64{f.Segment, f.ActorSegment}); err != nil {
			return fmt.Errorf("leaf %d of %s: %w", f.Seq, o.Origin, err)
		}
		if err := fn(r); err != nil {
			return err
		}
	}
	return nil
}

// leafReader reads single leaves of a log. It keeps the segment of the last, so
// that leaves in order cost each segment once.
type leafReader struct {
	read   store.Reader
	log    store.Log
	first  int64
	leaves [][]byte
}

func (r *leafReader) leaf(ctx context.Context, seq int64) ([]byte, *evidence.Leaf, error) {
	if seq < r.first || seq >= r.first+int64(len(r.leaves)) {
		if err := r.load(ctx, seq); err != nil {
			return nil, nil, err
		}
	}
	raw := r.leaves[seq-r.first]
	leaf, err := evidence.ParseLeaf(raw)
	if err != nil {
		return nil, nil, fmt.Errorf("leaf %d of %s: %w: %w", seq, r.log.Origin, evidence.ErrTampered, err)
	}
	if leaf.Seq != seq || leaf.Log != r.log.Origin {
		return nil, nil, fmt.Errorf("leaf %d of %s: %w: it is leaf %d of %s", seq, r.log.Origin, evidence.ErrTampered, leaf.Seq, leaf.Log)
	}
	return raw, leaf, nil
}

func (r *leafReader) load(ctx context.Context, seq int64) error {
	r.leaves = nil
	err := r.read.Segments(ctx, r.log.LogRef, seq, seq+1, func(s store.LeafSegment) error {
		data, err := seal.DecompressLeaves(s.Data)
		if err != nil {
			return fmt.Errorf("leaf segment %d: %w", s.First, err)
		}
		r.first = s.First
		if r.leaves, err = c2sp.SplitEntries(data, s.Count); err != nil {
			return fmt.Errorf("leaf segment %d: %w: %w", s.First, evidence.ErrTampered, err)
		}
		return nil
	})
	if err == nil && (seq < r.first || seq >= r.first+int64(len(r.leaves))) {
		err = fmt.Errorf("%w: leaf %d of %s is missing", evidence.ErrTampered, seq, r.log.Origin)
	}
	return err
}

// prover makes many proofs of one tree. It keeps every tile that it has read,
// with all nodes inside, up to maxPyramids of them. It is for one goroutine.
type prover struct {
	read  hashReader
	tiles map[tileAt]*pyramid
}

type tileAt struct {
	level int
	n     int64
}

// pyramid holds the nodes of a tile by height above its own hashes.
type pyramid [tileHeight][]evidence.Hash

// maxPyramids of 16 KiB each are what a proof of every record in a large log
// may keep.
const maxPyramids = 4096

// leaf proves a leaf, and checks what it proves.
func (p *prover) leaf(head c2sp.Checkpoint, seq int64, hash evidence.Hash) ([]evidence.Hash, error) {
	if seq < 0 || seq >= head.Size {
		return nil, fmt.Errorf("%w: it is not below the %d leaves of the checkpoint", evidence.ErrTampered, head.Size)
	}
	proof, err := tlog.ProveRecord(head.Size, seq, p)
	if err != nil {
		return nil, err
	}
	hashes := evidenceHashes(proof)
	return hashes, c2sp.CheckInclusion(hashes, head.Size, head.Root, seq, hash)
}

// ReadHashes implements tlog.HashReader.
func (p *prover) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, x := range indexes {
		height, n := tlog.SplitStoredHashIndex(x)
		sub := height % tileHeight
		first := n << sub
		t, err := p.tile(tileAt{height / tileHeight, first >> tileHeight})
		if err != nil {
			return nil, err
		}
		at := int(first&(c2sp.TileWidth-1)) >> sub
		if at >= len(t[sub]) {
			return nil, errNoHash
		}
		out[i] = tlog.Hash(t[sub][at])
	}
	return out, nil
}

func (p *prover) tile(at tileAt) (*pyramid, error) {
	if t := p.tiles[at]; t != nil {
		return t, nil
	}
	hashes, err := p.read.hashes(at.level, at.n)
	if err != nil {
		return nil, err
	}
	t := &pyramid{hashes}
	for h := 1; h < tileHeight; h++ {
		below := t[h-1]
		for i := 0; i+1 < len(below); i += 2 {
			t[h] = append(t[h], evidence.NodeHash(below[i], below[i+1]))
		}
	}
	if len(p.tiles) >= maxPyramids {
		clear(p.tiles)
	}
	p.tiles[at] = t
	return t, nil
}
