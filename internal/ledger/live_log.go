package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/c2sp"
	"github.com/runledger/runledger/internal/store"
	"github.com/runledger/runledger/verify"
)

// logFold takes the chunks of one log in order. What is wrong with the
// order of leaves, the tree, the tiles, the head and the checkpoints shows
// here.
type logFold struct {
	v        *liveVerifier
	t        *tenantFold
	lg       store.Log
	key      c2sp.VKey
	head     store.Head
	end      int64 // leaves are read up to here: the head's size, if that is signed
	rules    verify.LogRules
	tree     tree
	done     int64 // leaves that were folded
	broken   bool  // a leaf is missing: hashes mean nothing from there on
	points   []store.Checkpoint
	pointsTo int64 // checkpoints below this size were read
	saidTo   int64 // attestations below this size were read
	segments map[int64]segmentUse
	tiles    map[tileKey]evidence.Hash // that the log must have
	days     []firstOfDay
	opened   *evidence.Leaf // leaf 0
	closed   bool           // its last leaf is LOG_CLOSED
	previous *logFold       // the tenant's log before
	usable   bool           // there is a key and a head to compare with
	anchor   []byte         // as read before the snapshot
	lost     int            // accepted rollbacks
	noAnchor bool
}

func (f *logFold) finding(x Finding) {
	x.Tenant, x.Log = f.lg.Tenant, f.lg.Origin
	f.v.add(x)
}

// newLogFold checks the log's key. Without a key there is nothing to compare
// with.
func (t *tenantFold) newLogFold(ctx context.Context, lg store.Log) (*logFold, error) {
	f := &logFold{
		v: t.v, t: t, lg: lg, rules: verify.LogRules{Origin: lg.Origin, Key: lg.VKey},
		segments: map[int64]segmentUse{}, tiles: map[tileKey]evidence.Hash{},
	}
	if n := len(t.logs); n > 0 {
		f.previous = t.logs[n-1]
	}
	bad := func(column, message string) {
		f.finding(Finding{Code: CodeHead, Table: "logs", Column: column, Message: message})
	}
	key, err := c2sp.ParseVKey(lg.VKey)
	if err != nil || key.Name != lg.Origin {
		bad("vkey", "the verifier key of the log is malformed")
		return f, nil
	}
	f.key, f.usable = key, true
	seed, err := t.v.cfg.Sealer.Unwrap(lg.WrappedKey, lg.Origin)
	if err != nil {
		bad("wrapped_key", "the signing key does not open under the master keyset as that of this log")
	} else if signer, err := c2sp.NewSigner(lg.Origin, seed); err != nil || signer.VKey() != key {
		bad("vkey", "the verifier key is not that of the signing key")
	}
	return f, nil
}

// leaves reads the head and the leaves up to it that were not read yet.
func (f *logFold) leaves(ctx context.Context) error {
	head, err := f.t.read.Head(ctx, f.lg.LogRef)
	if errors.Is(err, evidence.ErrNotFound) {
		f.usable = false
		f.finding(Finding{Code: CodeHead, Table: "heads", Message: "the log has no head"})
		return nil
	}
	if err != nil {
		return err
	}
	f.head = head
	f.head.Note = bytes.Clone(head.Note)
	if err := f.bound(ctx); err != nil {
		return err
	}
	if err := f.readCheckpoints(ctx); err != nil {
		return err
	}
	if err := f.readAttestations(ctx); err != nil {
		return err
	}
	return f.chunks(ctx)
}

// bound keeps someone who wrote a size of 2^40 into the head from keeping
// verification busy for days: where nobody signed the size, leaves are read
// only as far as there are some.
func (f *logFold) bound(ctx context.Context) error {
	f.end = f.head.Size
	if c, err := c2sp.Verify(f.head.Note, f.key); err == nil && c.Size == f.head.Size {
		return nil
	}
	end := int64(0)
	err := f.t.read.Segments(ctx, f.lg.LogRef, 0, 1<<40, func(s store.LeafSegment) error {
		end = max(end, s.First+int64(s.Count))
		return nil
	})
	f.end = min(f.end, end)
	return err
}

// finish checks what must agree with the head.
func (f *logFold) finish(ctx context.Context) error {
	f.checkHead()
	f.checkRoot()
	f.checkBinding()
	f.t.sizes[f.lg.No] = f.head.Size
	f.checkAnchor(ctx)
	for _, check := range []func(context.Context) error{f.checkTiles, f.checkBeyond, f.checkSegments} {
		if err := check(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (f *logFold) checkHead() {
	c, err := c2sp.Verify(f.head.Note, f.key)
	x := Finding{Code: CodeHead, Table: "heads", Column: "note", From: 0, To: f.head.Size}
	switch {
	case err != nil:
		x.Message = fmt.Sprintf("the head is not signed by the log's key: %v", err)
	case c.Origin != f.lg.Origin || c.Size != f.head.Size || c.Root != f.head.Root:
		x.Message = "size and root are not those of the signed note"
	default:
		return
	}
	f.finding(x)
}

// readCheckpoints checks the signatures of the checkpoints that were not
// read yet. One may have been kept since, of a size that was folded already.
func (f *logFold) readCheckpoints(ctx context.Context) error {
	var late []store.Checkpoint
	err := f.t.read.Checkpoints(ctx, f.lg.LogRef, f.pointsTo, func(p store.Checkpoint) error {
		f.pointsTo = p.Size + 1
		at := Finding{Code: CodeHead, Table: "checkpoints", From: max(p.Size-1, 0), To: p.Size}
		c, err := c2sp.Verify(p.Note, f.key)
		switch {
		case err != nil:
			at.Message = "the checkpoint is not signed by the log's key"
		case c.Origin != f.lg.Origin || c.Size != p.Size:
			at.Message = "the checkpoint is of another log or size than its place"
		default:
			p.Note = bytes.Clone(p.Note)
			if p.Size <= f.tree.size() {
				late = append(late, p)
			} else {
				f.points = append(f.points, p)
			}
			return nil
		}
		f.finding(at)
		return nil
	})
	if err != nil || f.broken {
		return err
	}
	tile := func(level int, n int64) ([]byte, error) { return f.t.read.Tile(ctx, f.lg.LogRef, level, n) }
	for _, p := range late {
		if p.Size == 0 {
			continue
		}
		root, err := rootAt(&f.tree, p.Size, tile)
		if err != nil && !errors.Is(err, evidence.ErrNotFound) && !errors.Is(err, errNoHash) { // without its tile the root is none
			return err
		}
		f.checkPoint(p, root)
	}
	return nil
}

// chunks examines the leaves in parallel and folds them in order.
func (f *logFold) chunks(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var workers sync.WaitGroup // none may outlive what it reads from
	defer func() { cancel(); workers.Wait() }()
	type job struct {
		from, to int64
		out      chan *chunk
	}
	start := f.done
	f.done = max(start, f.end)
	jobs := make(chan job)
	order := make(chan chan *chunk, f.v.workers)
	for range f.v.workers {
		e := &examiner{
			read: f.t.read, sealer: f.v.cfg.Sealer, log: f.lg, key: f.t.indexKey,
			content: newContent(f.v.cfg.Sealer, f.t.read, f.lg),
		}
		workers.Go(func() {
			for j := range jobs {
				began := time.Now()
				c := e.examine(ctx, j.from, j.to)
				c.took = time.Since(began)
				j.out <- c
			}
		})
	}
	go func() {
		defer close(order)
		defer close(jobs)
		for from := start; from < f.end; from += readChunk {
			j := job{from, min(from+readChunk, f.end), make(chan *chunk, 1)}
			select {
			case order <- j.out:
			case <-ctx.Done():
				return
			}
			select {
			case jobs <- j:
			case <-ctx.Done():
				return
			}
		}
	}()
	for out := range order {
		var c *chunk
		select {
		case c = <-out:
		case <-ctx.Done():
			return ctx.Err()
		}
		if c.err != nil {
			return c.err
		}
		f.fold(c)
		f.v.progress(c.to - c.from)
		if f.v.cfg.pace != nil {
			if err := f.v.cfg.pace(ctx, int(c.to-c.from), c.took); err != nil {
				return err
			}
		}
	}
	return ctx.Err()
}

func (f *logFold) fold(c *chunk) {
	for _, x := range c.findings {
		f.v.add(x)
	}
	for i := range c.leaves {
		l := &c.leaves[i]
		if l.leaf == nil && l.hash == (evidence.Hash{}) {
			f.broken = true
			continue
		}
		if l.leaf != nil {
			if err := f.rules.Next(l.leaf); err != nil {
				f.finding(Finding{Code: CodeLeaf, Table: "leaf_segments", From: l.seq, To: l.seq + 1, Message: err.Error()})
			}
			f.t.leaf(f, l.leaf)
			f.t.absent.leaf(f.lg.No, l.leaf, l.gone)
			if l.gone {
				f.t.goneTerm(l.leaf)
			}
		}
		f.tree.append(l.hash, func(tile store.Tile) {
			f.tiles[tileKey{tile.Level, tile.N}] = evidence.LeafHash(tile.Data)
		})
		if !f.broken {
			f.checkPoints()
		}
	}
	f.t.missing = append(f.t.missing, c.missing...)
	f.t.targets = append(f.t.targets, c.targets...)
	for _, term := range c.terms {
		f.t.term(f.lg.No, term)
	}
	for no, use := range c.segments {
		have := f.segments[no]
		if have.openings == 0 {
			have = segmentUse{id: use.id, openings: use.openings}
		}
		have.mixed = have.mixed || (have.id != use.id && use.openings > 0)
		have.used += use.used
		f.segments[no] = have
	}
}

// checkPoints compares the checkpoints of the present size.
func (f *logFold) checkPoints() {
	for len(f.points) > 0 && f.points[0].Size <= f.tree.size() {
		p := f.points[0]
		f.points = f.points[1:]
		if p.Size == 0 {
			continue
		}
		f.checkPoint(p, f.tree.root())
	}
}

// checkPoint compares a checkpoint with the root of the leaves.
func (f *logFold) checkPoint(p store.Checkpoint, root evidence.Hash) {
	if c, _, err := c2sp.ParseNote(p.Note); err != nil || c.Root != root {
		f.finding(Finding{
			Code: CodeFork, Table: "checkpoints", From: 0, To: p.Size, Expected: c.Root.String(), Found: root.String(),
			Message: "the leaves do not have the root of a checkpoint that was signed: they were changed after, or the log was forked",
		})
	}
}

func (f *logFold) checkRoot() {
	if !f.broken {
		f.checkPoints() // those kept since the last leaf was folded
	}
	for _, p := range f.points {
		if p.Size <= f.head.Size {
			continue // cannot be compared: leaves are missing
		}
		f.finding(Finding{
			Code: CodeHead, Table: "checkpoints", From: f.head.Size, To: p.Size,
			Message: "a checkpoint is of a larger tree than the head: the log was cut",
		})
	}
	if f.broken || f.tree.size() != f.head.Size {
		f.finding(Finding{
			Code: CodeInclusion, Table: "leaf_segments", From: 0, To: f.head.Size,
			Message: "leaves are missing, so the signed root cannot be recomputed",
		})
		return
	}
	if root := f.tree.root(); root != f.head.Root {
		f.finding(Finding{
			Code: CodeInclusion, Table: "leaf_segments", From: 0, To: f.head.Size, Expected: f.head.Root.String(), Found: root.String(),
			Message: "the leaves do not have the signed root",
		})
	}
	f.v.report.Logs = append(f.v.report.Logs, LiveLog{LogInfo: infoOf(f.lg), Size: f.head.Size, Root: f.head.Root, Note: string(f.head.Note)})
}

// checkBinding checks that leaf 0 commits to this tenant, and that the log
// goes on from the tenant's last one.
func (f *logFold) checkBinding() {
	first := f.opened
	if first == nil {
		return // E_LEAF said so
	}
	if want := evidence.NaturalID(f.lg.Tenant, evidence.KindSystem, openedKey(f.lg.Origin)); first.ID != want {
		f.finding(Finding{
			Code: CodeID, Table: "logs", Column: "tenant_id", From: 0, To: f.head.Size, Expected: want.String(), Found: first.ID.String(),
			Message: "the log was opened for another tenant",
		})
	}
	want := ""
	if prev := f.previous; prev != nil {
		want = predecessor(prev.lg.Origin, prev.head.Size, prev.head.Root)
	}
	if got := first.Text("predecessor_log"); got != want {
		f.finding(Finding{
			Code: CodeHead, Table: "logs", Column: "log_no", From: 0, To: 1, Expected: want, Found: got,
			Message: "the log does not go on from the tenant's log before it",
		})
	}
}

func (f *logFold) checkTiles(ctx context.Context) error {
	err := f.t.read.Tiles(ctx, f.lg.LogRef, func(tile store.Tile) error {
		first := tile.N << ((tile.Level + 1) * tileHeight)
		x := Finding{
			Code: CodeTile, Table: "tiles", From: first, To: first + 1<<((tile.Level+1)*tileHeight),
		}
		key := tileKey{tile.Level, tile.N}
		want, ok := f.tiles[key]
		delete(f.tiles, key)
		switch {
		case !ok:
			x.Message = fmt.Sprintf("tile %d/%d is not one of the tree", tile.Level, tile.N)
		case want != evidence.LeafHash(tile.Data):
			x.Message = fmt.Sprintf("tile %d/%d does not hold the hashes of the leaves", tile.Level, tile.N)
		default:
			return nil
		}
		if !f.broken {
			f.finding(x)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for key := range f.tiles {
		if !f.broken {
			first := key.n << ((key.level + 1) * tileHeight)
			f.finding(Finding{
				Code: CodeTile, Table: "tiles", From: first, To: first + 1<<((key.level+1)*tileHeight),
				Message: fmt.Sprintf("tile %d/%d is missing", key.level, key.n),
			})
		}
	}
	clear(f.tiles)
	return nil
}

// checkBeyond looks for rows and leaves after the head: nothing that is not
// signed may stand there.
func (f *logFold) checkBeyond(ctx context.Context) error {
	end := int64(1) << 40
	err := f.t.read.Segments(ctx, f.lg.LogRef, f.head.Size, end, func(s store.LeafSegment) error {
		f.finding(Finding{
			Code: CodeInclusion, Table: "leaf_segments", From: max(s.First, f.head.Size), To: s.First + int64(s.Count),
			Message: "leaves stand beyond the signed head",
		})
		return nil
	})
	if err != nil {
		return err
	}
	for _, k := range evidence.Kinds() {
		err := f.t.read.Rows(ctx, f.lg.LogRef, k, f.head.Size, end, func(r *store.Row) error {
			f.finding(Finding{Code: CodeColumn, Table: k.Table(), From: r.Seq, To: r.Seq + 1, Message: "a row without a leaf"})
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// checkSegments looks for sealed content that no record claims.
func (f *logFold) checkSegments(ctx context.Context) error {
	return f.t.read.SealedSegments(ctx, f.lg.LogRef, func(s store.SealedSegment) error {
		use, ok := f.segments[s.No]
		seq := s.No >> store.SegmentBits
		if !f.t.keys[s.Key] { // an erasure takes both: this key is missing even if a running server still knows it
			f.finding(Finding{Code: CodeCommit, Table: "data_keys", From: seq, To: seq + 1, Found: fmt.Sprintf("%x", s.Key), Message: "the data key of sealed content is missing"})
		}
		switch {
		case f.t.leaving(f.lg.No, seq):
		case !ok:
			f.finding(Finding{Code: CodeCommit, Table: "sealed_segments", From: seq, To: seq + 1, Message: "sealed content that no record refers to"})
		case use.used != use.openings && !use.mixed && use.id == s.ID:
			f.finding(Finding{
				Code: CodeCommit, Table: "sealed_segments", From: seq, To: seq + 1,
				Message: fmt.Sprintf("the segment holds content of %d records and %d refer to it", use.openings, use.used),
			})
		}
		return nil
	})
}

// readAnchors reads the anchors before the snapshot is taken: an anchor is
// never ahead of the database at that time or later.
func (t *tenantFold) readAnchors() error {
	a := t.v.cfg.Anchor
	for _, f := range t.logs {
		if a == nil || !f.usable {
			continue
		}
		lost, err := a.Lost(f.lg.Origin)
		if err != nil {
			return err
		}
		f.lost = len(lost)
		f.anchor, err = a.Read(f.lg.Origin)
		f.noAnchor = errors.Is(err, evidence.ErrNotFound)
		if err != nil && !f.noAnchor {
			return err
		}
	}
	return nil
}

func (f *logFold) checkAnchor(ctx context.Context) {
	bad := func(code, message string) {
		f.finding(Finding{Code: code, Table: "anchor", From: 0, To: f.head.Size, Message: message})
	}
	if f.lost > 0 {
		bad(CodeRollback, "a rollback of this log was accepted by an operator; what the anchor had beyond it is lost")
	}
	if f.noAnchor {
		bad(CodeHead, "the anchor of the log is missing")
	}
	if f.anchor == nil {
		return
	}
	c, err := c2sp.Verify(f.anchor, f.key)
	switch {
	case err != nil || c.Origin != f.lg.Origin:
		bad(CodeHead, "the anchored note is not signed by the log's key")
	case c.Size > f.head.Size:
		bad(CodeFork, fmt.Sprintf("the anchor has %d records and the database %d: the log was cut, or a backup was restored", c.Size, f.head.Size))
	case !f.broken && f.tree.size() == f.head.Size:
		read := func(level int, n int64) ([]byte, error) { return f.t.read.Tile(ctx, f.lg.LogRef, level, n) }
		if err := extends(&f.tree, c.Size, c.Root, read); err != nil {
			bad(CodeFork, "the log does not extend its anchor")
		}
	}
}
