package ledger

import (
	"context"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/c2sp"
	"github.com/runledger/runledger/internal/store"
)

// rootAt returns the root that the tree had at an earlier size.
func rootAt(t *tree, size int64, tile func(int, int64) ([]byte, error)) (evidence.Hash, error) {
	h, err := tlog.TreeHash(size, hashReader{t, tile})
	if err != nil {
		return evidence.Hash{}, fmt.Errorf("root at size %d: %w", size, err)
	}
	return evidence.Hash(h), nil
}

// Proof is one record with its way into a published checkpoint.
type Proof struct {
	Leaf []byte // verbatim
	c2sp.Proof
}

// ProveSeq proves that a published checkpoint of a log holds its leaf at
// seq (C2SP tlog-proof). Where the newest checkpoint does not cover it yet
// the error wraps ErrNotPublished.
func (l *Ledger) ProveSeq(ctx context.Context, tenant string, logNo int, seq int64) (*Proof, error) {
	ctx = store.NoLag(ctx) // a replica may not have yet what is published
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
		return nil, err
	}
	st := o.state()
	if seq >= st.tree.size() {
		if st, err = l.latest(ctx, o); err != nil {
			return nil, err
		}
	}
	if seq < 0 || seq >= st.tree.size() {
		return nil, fmt.Errorf("leaf %d of log %s: %w", seq, o.Origin, evidence.ErrNotFound)
	}
	if seq >= c.Size {
		return nil, fmt.Errorf("leaf %d of log %s: %w", seq, o.Origin, ErrNotPublished)
	}
	raw, _, err := readLeaf(ctx, l.store, o.Log, seq)
	if err != nil {
		return nil, err
	}
	hashes, err := inclusion(&st.tree, c.Size, seq, l.tileOf(ctx, o.LogRef))
	if err != nil {
		return nil, err
	}
	// What leaves must verify, whatever the database said.
	if err := c2sp.CheckInclusion(hashes, c.Size, c.Root, seq, evidence.LeafHash(raw)); err != nil {
		return nil, fmt.Errorf("leaf %d of log %s: %w: %w", seq, o.Origin, evidence.ErrTampered, err)
	}
	return &Proof{Leaf: raw, Proof: c2sp.Proof{Index: seq, Hashes: hashes, Note: note}}, nil
}

// ErrNotPublished says that no published checkpoint covers the record yet;
// one will within a second.
var ErrNotPublished = fmt.Errorf("no checkpoint covers it yet: %w", evidence.ErrUnavailable)

func inclusion(t *tree, size, seq int64, tile func(int, int64) ([]byte, error)) ([]evidence.Hash, error) {
	proof, err := tlog.ProveRecord(size, seq, hashReader{t, tile})
	return evidenceHashes(proof), err
}

func evidenceHashes[T ~[]tlog.Hash](in T) []evidence.Hash {
	out := make([]evidence.Hash, len(in))
	for i, h := range in {
		out[i] = evidence.Hash(h)
	}
	return out
}

// ProveID is ProveSeq of the record with that id.
func (l *Ledger) ProveID(ctx context.Context, tenant string, id evidence.ID) (*Proof, error) {
	pos, err := l.Locate(ctx, tenant, id)
	if err != nil {
		return nil, err
	}
	return l.ProveSeq(ctx, tenant, pos.LogNo, pos.Seq)
}

// Locate returns where a tenant's record with that id stands. Steps of
// spans have no row of their own in the table of ids, since their id
// follows from trace and span: see LocateSpan. As a last resort Locate reads
// the leaves, which takes time in proportion to the log.
func (l *Ledger) Locate(ctx context.Context, tenant string, id evidence.ID) (store.Position, error) {
	logs, err := l.store.Logs(ctx, tenant)
	if err != nil || len(logs) == 0 {
		return store.Position{}, fmt.Errorf("tenant %q: %w", tenant, evidence.ErrNotFound)
	}
	found, err := l.store.FindIDs(ctx, tenant, []evidence.ID{id})
	if err != nil {
		return store.Position{}, err
	}
	if pos, ok := found[id]; ok {
		return pos, nil
	}
	if id.Version() == 8 {
		for i := len(logs) - 1; i >= 0; i-- {
			pos, ok, err := l.scanForID(ctx, logs[i], id)
			if err != nil || ok {
				return pos, err
			}
		}
	}
	return store.Position{}, fmt.Errorf("record %s: %w", id, evidence.ErrNotFound)
}

func (l *Ledger) scanForID(ctx context.Context, lg store.Log, id evidence.ID) (store.Position, bool, error) {
	head, err := l.store.Head(ctx, lg.LogRef)
	if err != nil {
		return store.Position{}, false, err
	}
	var leaf evidence.Leaf
	at := int64(-1)
	err = eachLeaf(ctx, l.store, lg.LogRef, 0, head.Size, func(seq int64, b []byte) error {
		if err := leaf.Parse(b); err != nil {
			return fmt.Errorf("leaf %d: %w: %w", seq, evidence.ErrTampered, err)
		}
		if leaf.ID == id {
			at = seq
			return errFound
		}
		return ctx.Err()
	})
	if at >= 0 {
		return store.Position{LogNo: lg.No, Seq: at}, true, nil
	}
	return store.Position{}, false, err
}

var errFound = fmt.Errorf("found")

// LocateSpan returns where the step of a span stands.
func (l *Ledger) LocateSpan(ctx context.Context, tenant string, span store.Span) (store.Position, error) {
	found, err := l.store.FindSpans(ctx, tenant, []store.Span{span})
	if err != nil {
		return store.Position{}, err
	}
	pos, ok := found[span]
	if !ok {
		return pos, fmt.Errorf("span %s of trace %s: %w", span.SpanID, span.TraceID, evidence.ErrNotFound)
	}
	return pos, nil
}

// Consistency proves that the log's tree at size extends the one at old.
// size must be that of a published or durable state; the note of the result
// is the caller's to set.
func (l *Ledger) Consistency(ctx context.Context, tenant string, logNo int, old, size int64) ([]evidence.Hash, error) {
	ctx = store.NoLag(ctx)
	o, err := l.logByNo(ctx, tenant, logNo)
	if err != nil {
		return nil, err
	}
	st := o.state()
	if size > st.tree.size() {
		if st, err = l.latest(ctx, o); err != nil {
			return nil, err
		}
	}
	if old < 0 || old > size || size > st.tree.size() {
		return nil, &evidence.FieldError{Field: "size", Reason: fmt.Sprintf("no tree of %d and %d leaves in a log of %d", old, size, st.tree.size()), Err: evidence.ErrInvalid}
	}
	if old == 0 || old == size {
		return nil, nil
	}
	tile := l.tileOf(ctx, o.LogRef)
	proof, newer, err := consistency(&st.tree, old, size, tile)
	if err != nil {
		return nil, err
	}
	if size < st.tree.size() {
		// The way on to the durable root: so both roots are those of the log.
		_, newest, err := consistency(&st.tree, size, st.tree.size(), tile)
		if err != nil {
			return nil, err
		}
		if newest != st.tree.root() {
			return nil, fmt.Errorf("log %s: %w: tiles do not have the signed root", o.Origin, evidence.ErrTampered)
		}
	} else if newer != st.tree.root() {
		return nil, fmt.Errorf("log %s: %w: tiles do not have the signed root", o.Origin, evidence.ErrTampered)
	}
	return proof, nil
}

// consistency returns a proof that holds, and the root it leads to.
func consistency(t *tree, old, size int64, tile func(int, int64) ([]byte, error)) ([]evidence.Hash, evidence.Hash, error) {
	var none evidence.Hash
	tp, err := tlog.ProveTree(size, old, hashReader{t, tile})
	if err != nil {
		return nil, none, err
	}
	was, err := rootAt(t, old, tile)
	if err != nil {
		return nil, none, err
	}
	is, err := rootAt(t, size, tile)
	if err != nil {
		return nil, none, err
	}
	proof := evidenceHashes(tp)
	return proof, is, c2sp.CheckConsistency(proof, size, is, old, was)
}
