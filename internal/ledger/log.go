package ledger

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/c2sp"
	"github.com/runledger/runledger/internal/seal"
	"github.com/runledger/runledger/internal/store"
)

// logState is a log as of one signed head.
type logState struct {
	tree  tree
	note  []byte
	lastT evidence.Micros
}

func (s *logState) head() store.Head {
	return store.Head{Size: s.tree.size(), Root: s.tree.root(), Note: s.note}
}

// openLog is a log in memory.
type openLog struct {
	store.Log
	signer *c2sp.Signer
	vkey   c2sp.VKey

	// next is the state that the next plan starts from: durable, or ahead of
	// it by what is being written. The committer owns it, and reload, which
	// says that the store must be asked for the state first.
	next     logState
	reload   bool
	lastKept time.Time // of a checkpoint

	publishing sync.Mutex // held, before mu, while a checkpoint is given out
	learning   sync.Mutex // held, before mu, while the store is asked for a newer state

	mu          sync.Mutex
	durable     logState
	loaded      logState      // what it had when it was opened
	closed      bool          // its last leaf is LOG_CLOSED, or a rollback was accepted
	broken      error         // why it takes no writes
	published   []byte        // newest note that was given out
	publishedTo int64         // its size
	wake        chan struct{} // closed and replaced at each publication
	anchored    []byte        // what the anchor has, as far as this process knows
	anchorAt    time.Time     // of the last look at the anchor
}

func (o *openLog) state() logState {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.durable
}

func (o *openLog) isClosed() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.closed
}

func (o *openLog) fail(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.broken == nil {
		o.broken = err
	}
}

// failure returns why the log is not signed any more, or nil.
func (o *openLog) failure() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.broken != nil {
		return fmt.Errorf("log %s takes no writes: %w: %w", o.Origin, o.broken, evidence.ErrUnavailable)
	}
	return nil
}

func (o *openLog) writable() error {
	if err := o.failure(); err != nil {
		return err
	}
	if o.isClosed() { // a rollover writes LOG_CLOSED and the successor together
		return fmt.Errorf("log %s takes no writes: %w: it is closed and its successor is missing: %w", o.Origin, evidence.ErrTampered, evidence.ErrUnavailable)
	}
	return nil
}

// current returns a tenant's newest log, loading it on first use.
func (l *Ledger) current(ctx context.Context, tenant string) (*openLog, error) {
	l.mu.Lock()
	o := l.newest[tenant]
	l.mu.Unlock()
	if o != nil {
		return o, nil
	}
	if !evidence.ValidTenant(tenant) {
		return nil, fmt.Errorf("tenant %q: %w", tenant, evidence.ErrNotFound)
	}
	ctx = store.NoLag(ctx) // it stays in memory
	logs, err := l.store.Logs(ctx, tenant)
	if err != nil {
		return nil, err
	}
	if len(logs) == 0 {
		return nil, fmt.Errorf("tenant %q: %w", tenant, evidence.ErrNotFound)
	}
	o, err = l.openStored(ctx, logs[len(logs)-1])
	if err != nil {
		return nil, err
	}
	for {
		l.mu.Lock()
		have, making := l.newest[tenant], l.making[tenant]
		if have == nil && !making {
			l.newest[tenant], have = o, o
		}
		l.mu.Unlock()
		if have != nil {
			return have, nil
		}
		// It is stored, and this process does not know yet by whom.
		select {
		case <-time.After(makingLook):
		case <-ctx.Done():
			return nil, fmt.Errorf("tenant %s is being made: %w: %w", tenant, evidence.ErrUnavailable, ctx.Err())
		case <-l.stop:
			return nil, errStopped
		}
	}
}

// makingLook is how often who waits for a tenant to be made looks.
const makingLook = 5 * time.Millisecond

// logByNo returns any log of a tenant.
func (l *Ledger) logByNo(ctx context.Context, tenant string, no int) (*openLog, error) {
	l.mu.Lock()
	o := l.logs[store.LogRef{Tenant: tenant, No: no}]
	l.mu.Unlock()
	if o != nil {
		return o, nil
	}
	ctx = store.NoLag(ctx) // it stays in memory
	logs, err := l.store.Logs(ctx, tenant)
	if err != nil {
		return nil, err
	}
	for _, lg := range logs {
		if lg.No == no {
			return l.openStored(ctx, lg)
		}
	}
	return nil, fmt.Errorf("log %d of tenant %q: %w", no, tenant, evidence.ErrNotFound)
}

// openStored opens a log that the store has. Nothing the store says of it
// is believed until the key opens, the note verifies, the root recomputed
// from tiles and segments is the signed one, and the first leaf, proven to be
// in that tree, opens this log for this tenant with this key: who exchanges
// the logs of two tenants must not get the records of one signed into the
// log of the other.
func (l *Ledger) openStored(ctx context.Context, lg store.Log) (*openLog, error) {
	o, err := l.openKey(lg)
	if err != nil {
		return nil, err
	}
	st, err := l.loadState(ctx, o)
	if err != nil {
		return nil, err
	}
	// Only what is anchored counts as published: this head may be one whose process
	// died before it came so far. Where others look for what was given out, it has to be
	// kept in the store too: publish sees to that.
	if anchored, err := l.anchor.Read(o.Origin); err == nil && bytes.Equal(anchored, st.note) {
		if o.anchored = anchored; !l.shared {
			o.published, o.publishedTo = st.note, st.tree.size()
		}
	}
	if err := l.checkOpened(ctx, lg, &st.tree); err != nil {
		return nil, err
	}
	last, _, err := l.provenLeaf(ctx, lg, &st.tree, st.tree.size()-1)
	if err != nil {
		return nil, err
	}
	o.closed = isClosing(last)
	st.lastT = last.RecordedAt
	o.next, o.durable, o.loaded = st, st, st
	l.mu.Lock()
	defer l.mu.Unlock()
	if have := l.logs[lg.LogRef]; have != nil {
		return have, nil
	}
	l.logs[lg.LogRef] = o
	// While l.mu is held: what is found or heard from now on finds it open (stopFor).
	if f, ok := l.state.stopOf(o); ok {
		o.stop(f)
	}
	return o, nil
}

// openKey unwraps the signing key and checks that it is the log's.
func (l *Ledger) openKey(lg store.Log) (*openLog, error) {
	seed, err := l.sealer.Unwrap(lg.WrappedKey, lg.Origin)
	if err != nil {
		return nil, err
	}
	signer, err := c2sp.NewSigner(lg.Origin, seed)
	if err != nil {
		return nil, err
	}
	if signer.VKey().String() != lg.VKey {
		return nil, fmt.Errorf("log %s: %w: its verifier key in the database is not that of its signing key", lg.Origin, evidence.ErrTampered)
	}
	return &openLog{Log: lg, signer: signer, vkey: signer.VKey(), wake: make(chan struct{})}, nil
}

// checkedHead reads a head and checks its signature.
func checkedHead(ctx context.Context, r store.Reader, o *openLog) (store.Head, error) {
	head, err := r.Head(ctx, o.LogRef)
	if err != nil {
		return head, fmt.Errorf("head of %s: %w", o.Origin, err)
	}
	v, err := c2sp.Verify(head.Note, o.vkey)
	if err != nil {
		return head, fmt.Errorf("head of %s: %w: %w", o.Origin, evidence.ErrTampered, err)
	}
	if v.Origin != o.Origin || v.Size != head.Size || v.Root != head.Root {
		return head, fmt.Errorf("head of %s: %w: size and root are not those of its signed note", o.Origin, evidence.ErrTampered)
	}
	return head, nil
}

// loadState rebuilds the tree at its right edge and compares the root. It
// reads at most 255 leaves and 255 tiles of each level, whatever the size.
func (l *Ledger) loadState(ctx context.Context, o *openLog) (logState, error) {
	head, err := checkedHead(ctx, l.store, o)
	if err != nil {
		return logState{}, err
	}
	t, err := loadTree(ctx, l.store, o.LogRef, head.Size)
	if err != nil {
		return logState{}, fmt.Errorf("log %s: %w", o.Origin, err)
	}
	if t.root() != head.Root {
		return logState{}, fmt.Errorf("log %s: %w: tiles and leaves do not have the signed root", o.Origin, evidence.ErrTampered)
	}
	return logState{tree: t, note: head.Note}, nil
}

func loadTree(ctx context.Context, r store.Reader, ref store.LogRef, size int64) (tree, error) {
	var edge [maxLevels][]evidence.Hash
	from := size &^ (c2sp.TileWidth - 1)
	err := eachLeaf(ctx, r, ref, from, size, func(_ int64, leaf []byte) error {
		edge[0] = append(edge[0], evidence.LeafHash(leaf))
		return nil
	})
	if err != nil {
		return tree{}, err
	}
	for level := 1; level < maxLevels; level++ {
		full := size >> (level * tileHeight)
		for n := full &^ (c2sp.TileWidth - 1); n < full; n++ {
			data, err := r.Tile(ctx, ref, level-1, n)
			if errors.Is(err, evidence.ErrNotFound) {
				err = fmt.Errorf("%w: it is missing", evidence.ErrTampered) // not what was asked for, whatever that was
			}
			if err != nil {
				return tree{}, fmt.Errorf("tile %d/%d: %w", level-1, n, err)
			}
			edge[level] = append(edge[level], perfectRoot(tileHashes(data)))
		}
	}
	t, err := rebuild(size, edge)
	if err != nil {
		return t, fmt.Errorf("%w: %w", evidence.ErrTampered, err)
	}
	return t, nil
}

// leafRooms lends room for the leaves of a segment.
var leafRooms = sync.Pool{New: func() any { return new([]byte) }}

// eachLeaf calls fn for the leaves from <= seq < to, in order. A gap, or a
// segment that does not hold what it says, is evidence.ErrTampered. fn may
// keep nothing.
func eachLeaf(ctx context.Context, r store.Reader, ref store.LogRef, from, to int64, fn func(seq int64, leaf []byte) error) error {
	next := from
	room := leafRooms.Get().(*[]byte)
	defer leafRooms.Put(room)
	err := r.Segments(ctx, ref, from, to, func(s store.LeafSegment) error {
		data, err := seal.AppendLeaves((*room)[:0], s.Data)
		if err != nil {
			return fmt.Errorf("leaf segment %d: %w", s.First, err)
		}
		*room = data
		leaves, err := c2sp.SplitEntries(data, s.Count)
		if err != nil {
			return fmt.Errorf("leaf segment %d: %w: %w", s.First, evidence.ErrTampered, err)
		}
		if s.First > next {
			return fmt.Errorf("%w: leaves %d to %d are missing", evidence.ErrTampered, next, s.First-1)
		}
		for i, leaf := range leaves {
			if seq := s.First + int64(i); seq >= next && seq < to {
				if err := fn(seq, leaf); err != nil {
					return err
				}
				next = seq + 1
			}
		}
		return nil
	})
	if err == nil && next < to {
		err = fmt.Errorf("%w: leaves %d to %d are missing", evidence.ErrTampered, next, to-1)
	}
	return err
}

func readLeaf(ctx context.Context, r store.Reader, lg store.Log, seq int64) (raw []byte, leaf *evidence.Leaf, err error) {
	err = eachLeaf(ctx, r, lg.LogRef, seq, seq+1, func(_ int64, b []byte) error {
		raw = append([]byte(nil), b...)
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	leaf, err = evidence.ParseLeaf(raw)
	if err != nil {
		return nil, nil, fmt.Errorf("leaf %d of %s: %w: %w", seq, lg.Origin, evidence.ErrTampered, err)
	}
	if leaf.Seq != seq || leaf.Log != lg.Origin {
		return nil, nil, fmt.Errorf("leaf %d of %s: %w: it is leaf %d of %s", seq, lg.Origin, evidence.ErrTampered, leaf.Seq, leaf.Log)
	}
	return raw, leaf, nil
}

// provenLeaf reads a leaf and proves that it is in the tree: the right edge
// alone says nothing of a leaf in a full tile.
func (l *Ledger) provenLeaf(ctx context.Context, lg store.Log, t *tree, seq int64) (*evidence.Leaf, evidence.Hash, error) {
	var none evidence.Hash
	if t.size() == 0 {
		return nil, none, fmt.Errorf("log %s: %w: it is empty", lg.Origin, evidence.ErrTampered)
	}
	raw, leaf, err := readLeaf(ctx, l.store, lg, seq)
	if err != nil {
		return nil, none, err
	}
	hash := evidence.LeafHash(raw)
	proof, err := inclusion(t, t.size(), seq, l.tileOf(ctx, lg.LogRef))
	if err != nil && !errors.Is(err, evidence.ErrNotFound) {
		return nil, none, err // of reading
	}
	if err == nil {
		err = c2sp.CheckInclusion(proof, t.size(), t.root(), seq, hash)
	}
	if err != nil {
		return nil, none, fmt.Errorf("leaf %d of %s: %w: %w", seq, lg.Origin, evidence.ErrTampered, err)
	}
	return leaf, hash, nil
}

// storedLeaf reads and proves a leaf that the database knows.
func (l *Ledger) storedLeaf(ctx context.Context, o *openLog, seq int64) (*evidence.Leaf, evidence.Hash, error) {
	st, err := l.stateWith(ctx, o, seq)
	if err != nil {
		return nil, evidence.Hash{}, err
	}
	return l.provenLeaf(ctx, o.Log, &st.tree, seq)
}

// stateWith returns a signed state of a log that has the leaf at seq. It may
// stand beyond what this process saw committed: by a transaction whose outcome
// was unknown, or by another process.
func (l *Ledger) stateWith(ctx context.Context, o *openLog, seq int64) (logState, error) {
	st := o.state()
	if seq >= st.tree.size() {
		var err error
		if st, err = l.newer(ctx, o); err != nil {
			return logState{}, err
		}
	}
	if seq < 0 || seq >= st.tree.size() {
		return logState{}, fmt.Errorf("log %s: %w: a record is said to stand at %d of %d", o.Origin, evidence.ErrTampered, seq, st.tree.size())
	}
	return st, nil
}

// checkOpened checks that leaf 0 opened this log, for this tenant, with this
// key.
func (l *Ledger) checkOpened(ctx context.Context, lg store.Log, t *tree) error {
	first, _, err := l.provenLeaf(ctx, lg, t, 0)
	if err != nil {
		return err
	}
	if first.ID != evidence.NaturalID(lg.Tenant, evidence.KindSystem, openedKey(lg.Origin)) {
		return fmt.Errorf("log %s: %w: it was opened for another tenant than %s", lg.Origin, evidence.ErrTampered, lg.Tenant)
	}
	if first.Text("vkey") != lg.VKey {
		return fmt.Errorf("log %s: %w: it was opened with another key", lg.Origin, evidence.ErrTampered)
	}
	return nil
}

// reloadLog replaces the state of a log by what the store has, which must
// extend what this process last saw durable.
func (l *Ledger) reloadLog(ctx context.Context, o *openLog) error {
	known := o.state() // first: a reader may learn of more while the store is read here
	st, last, err := l.extended(ctx, o, known)
	if err != nil {
		return err
	}
	o.next, o.reload = st, false
	o.mu.Lock()
	defer o.mu.Unlock()
	if st.tree.size() >= o.durable.tree.size() {
		o.durable = st
	}
	o.closed = o.closed || last != nil && isClosing(last)
	return nil
}

// tileOf reads full tiles of the log, never from a replica: they are asked for by a
// tree that may be newer than it.
func (l *Ledger) tileOf(ctx context.Context, ref store.LogRef) func(int, int64) ([]byte, error) {
	ctx = store.NoLag(ctx)
	return func(level int, n int64) ([]byte, error) { return l.store.Tile(ctx, ref, level, n) }
}

// extends reports whether the tree has the tree of that size and root as a
// prefix.
func extends(t *tree, size int64, root evidence.Hash, tile func(int, int64) ([]byte, error)) error {
	switch {
	case size > t.size():
		return fmt.Errorf("%w: %d leaves where %d were signed", ErrRollback, t.size(), size)
	case size == t.size() || size == 0:
		if size == t.size() && t.root() != root {
			return fmt.Errorf("%w: another root at size %d", ErrRollback, size)
		}
		return nil
	}
	was, err := rootAt(t, size, tile)
	if err != nil {
		return err
	}
	if was != root {
		return fmt.Errorf("%w: another root at size %d", ErrRollback, size)
	}
	return nil
}

// ErrRollback says that a log's head does not extend what was signed
// before: the database is a restored backup, or was changed. It wraps
// evidence.ErrTampered.
var ErrRollback = fmt.Errorf("the head does not extend what was signed before: %w", evidence.ErrTampered)

// segmentNo numbers the sealed segment that begins with a record: unique in
// its log without a sequence.
func segmentNo(seq int64, actor bool) int64 {
	if actor {
		return seq<<4 | 1
	}
	return seq << 4
}

// appendEntry is c2sp.AppendEntry for leaves whose size is known to fit.
func appendEntry(dst, leaf []byte) []byte {
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(leaf)))
	return append(dst, leaf...)
}

// errStopped is what a request gets that no committer will take.
var errStopped = fmt.Errorf("the ledger is closed: %w", evidence.ErrUnavailable)
