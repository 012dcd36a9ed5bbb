package verify

import (
	"errors"
	"fmt"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/c2sp"
)

// linkProof is a file of consistency/, its checkpoint verified.
type linkProof struct {
	name  consistencyName
	path  string
	proof *c2sp.Consistency
	head  c2sp.Checkpoint // the newer tree
}

// readLinks reads the checkpoints of anchors/ and consistency/, as part of
// check 3, and asks for the roots that [checker.links] compares.
func (c *checker) readLinks(l *logState) error {
	for _, size := range l.files.anchors {
		path := anchorPath(l.Dir, size, "note")
		_, v, err := c.note(l, path)
		if err != nil || c.rep.class('E') {
			return err
		}
		if v.Size != size {
			return c.badSignature(l, path, errContainer(fmt.Sprintf("the checkpoint is of %d leaves", v.Size)))
		}
		l.anchors = append(l.anchors, v.Checkpoint)
		l.want(size)
	}
	for _, name := range l.files.consistency {
		p := linkProof{name: name, path: name.path(l.Dir)}
		b, err := c.src.read(p.path, maxSmall)
		if err == nil {
			p.proof, err = c2sp.ParseConsistency(b)
		}
		if err == nil {
			var v c2sp.Verified
			v, err = c2sp.Verify(p.proof.Note, l.key)
			p.head = v.Checkpoint
		}
		if err == nil && (p.head.Origin != l.Origin || p.head.Size != name.new || p.proof.Old != name.old) {
			err = errContainer("the proof is of other trees than its name says")
		}
		if err != nil {
			return c.badSignature(l, p.path, err)
		}
		l.proofs = append(l.proofs, p)
		l.want(name.old)
		l.want(name.new)
	}
	return nil
}

// links checks that every checkpoint in the directory is of the same log:
// older trees are computed again from the leaves, newer ones need a proof.
// Two signed trees that do not fit are a fork.
func (c *checker) links(l *logState) {
	if l.sparse {
		c.sparseLinks(l)
		return
	}
	for _, p := range l.proofs {
		newer := p.head.Root
		if m := l.marks[p.name.new]; m != nil && m.root != newer {
			c.fork(l, p.path, p.name.new, m.root, newer)
			continue
		}
		if err := c2sp.CheckConsistency(p.proof.Hashes, p.name.new, newer, p.name.old, l.marks[p.name.old].root); err != nil {
			c.rep.add(Finding{Code: EFork, Log: l.Origin, Dir: l.Dir, Path: p.path, Message: err.Error()})
		}
	}
	for _, a := range l.anchors {
		path := anchorPath(l.Dir, a.Size, "note")
		if root, ok := l.rootAt(a.Size); !ok {
			c.rep.add(Finding{Code: EFork, Log: l.Origin, Dir: l.Dir, Path: path, Message: "the checkpoint is newer than the directory's, and no consistency proof leads to it"})
		} else if root != a.Root {
			c.fork(l, path, a.Size, root, a.Root)
		}
	}
}

// rootAt returns the root of the log at a size: computed, or, for sizes
// beyond the directory's checkpoint, proven.
func (l *logState) rootAt(size int64) (evidence.Hash, bool) {
	if l.sparse {
		root, ok := l.linked[size]
		return root, ok
	}
	if m := l.marks[size]; m != nil {
		return m.root, true
	}
	for _, p := range l.proofs {
		if p.name.new == size && c2sp.CheckConsistency(p.proof.Hashes, size, p.head.Root, p.name.old, l.marks[p.name.old].root) == nil {
			return p.head.Root, true
		}
	}
	return evidence.Hash{}, false
}

func (c *checker) fork(l *logState, path string, size int64, want, got evidence.Hash) {
	c.rep.add(Finding{
		Code: EFork, Log: l.Origin, Dir: l.Dir, From: 0, To: size, Path: path,
		Expected: want.String(), Found: got.String(),
		Message: fmt.Sprintf("the log has signed two different trees of %d leaves: it shows different histories", size),
	})
}

// since is check 8: the log extends the checkpoint that the auditor kept.
func (c *checker) since() {
	kept := c.trust.kept
	if kept == nil {
		return
	}
	if c.trust.since == nil {
		c.rep.add(Finding{Code: USince, Log: kept.Origin, Message: "no key was given for the log of the checkpoint that was kept"})
		return
	}
	for _, l := range c.logs {
		if l == nil || l.Origin != kept.Origin {
			continue
		}
		if l.sparse {
			c.sparseSince(l, kept)
		} else if root, ok := l.rootAt(kept.Size); !ok {
			c.rep.add(Finding{Code: USince, Log: l.Origin, Dir: l.Dir, Message: fmt.Sprintf("the checkpoint that was kept is of %d leaves, newer than this bundle, and no consistency proof leads to it", kept.Size)})
		} else if root != kept.Root {
			c.fork(l, "", kept.Size, root, kept.Root)
		}
		return
	}
	c.rep.add(Finding{Code: USince, Log: kept.Origin, Message: "the bundle does not hold the log of the checkpoint that was kept"})
}

// predecessors compares what LOG_OPENED says of the log before with that
// log, where it is in the bundle.
func (c *checker) predecessors() {
	for _, l := range c.logs {
		if l == nil || l.opened.predecessor == nil {
			continue
		}
		pre := l.opened.predecessor
		for _, older := range c.logs {
			if older == nil || older.Origin != pre.Origin || older == l {
				continue
			}
			if root, ok := older.rootAt(pre.Size); ok && root != pre.Root {
				c.fork(older, l.Dir, pre.Size, root, pre.Root)
			} else if !ok {
				c.rep.add(Finding{Code: WPredecessor, Log: older.Origin, Dir: older.Dir, Message: fmt.Sprintf("%s names it at %d leaves; that tree is not in the bundle", l.Origin, pre.Size)})
			}
		}
	}
}

// receipt is check 11: the export record that names this manifest is in the
// log, and the log that holds it extends that of the bundle.
func (c *checker) receipt() error {
	l := c.logs[0]
	err := c.checkReceipt(l)
	if err == nil {
		return nil
	}
	if !broken(err) && !errors.Is(err, evidence.ErrInvalid) && !errors.Is(err, evidence.ErrTampered) {
		return err
	}
	c.rep.add(Finding{Code: EReceipt, Log: l.Origin, Dir: l.Dir, Message: err.Error()})
	return nil
}

func (c *checker) checkReceipt(l *logState) error {
	for _, path := range receiptPaths {
		if _, ok := c.src.size[path]; !ok {
			return errContainer(path + " is missing")
		}
	}
	raw, err := c.src.read(receiptLeaf, evidence.MaxLeafSize)
	if err != nil {
		return err
	}
	var leaf evidence.Leaf
	if err := leaf.Parse(raw); err != nil {
		return err
	}
	if err := c.checkExport(l, &leaf); err != nil {
		return err
	}
	text, err := c.src.read(receiptProof, maxSmall)
	if err != nil {
		return err
	}
	proof, err := c2sp.ParseProof(text)
	if err != nil {
		return err
	}
	head, err := c2sp.Verify(proof.Note, l.key)
	switch {
	case err != nil:
		return err
	case head.Origin != l.Origin:
		return errContainer(receiptProof + ": the checkpoint is of the log " + head.Origin)
	case head.Unknown > 0:
		return errContainer(receiptProof + ": the checkpoint has more than the log's own signature")
	case proof.Index != leaf.Seq:
		return errContainer(fmt.Sprintf("%s is of leaf %d, the record is leaf %d", receiptProof, proof.Index, leaf.Seq))
	}
	if err := c2sp.CheckInclusion(proof.Hashes, head.Size, head.Root, leaf.Seq, evidence.LeafHash(raw)); err != nil {
		return err
	}
	if text, err = c.src.read(receiptConsistency, maxSmall); err != nil {
		return err
	}
	link, err := c2sp.ParseConsistency(text)
	switch {
	case err != nil:
		return err
	case string(link.Note) != string(proof.Note):
		return errContainer(receiptConsistency + " and " + receiptProof + " have different checkpoints")
	case link.Old != l.Size:
		return errContainer(fmt.Sprintf("%s begins at %d leaves, the bundle has %d", receiptConsistency, link.Old, l.Size))
	}
	return c2sp.CheckConsistency(link.Hashes, head.Size, head.Root, l.Size, l.head.Root)
}

// checkExport says whether the receipt's record is the one of this bundle.
func (c *checker) checkExport(l *logState, leaf *evidence.Leaf) error {
	_, hasProducer := leaf.Fact("producer")
	last, _ := evidence.ParseMicros(l.report.LastAt)
	switch {
	case leaf.Kind != evidence.KindExport || leaf.Text("status") != "completed":
		return errContainer(receiptLeaf + " is not a completed export")
	case leaf.Log != l.Origin:
		return errContainer(receiptLeaf + " is of the log " + leaf.Log)
	case hasProducer:
		return errContainer(receiptLeaf + " has a producer, but only the server may state exports")
	case leaf.Text("manifest") != c.manDigest:
		return errContainer(fmt.Sprintf("%s is of the manifest %q; this one has %s", receiptLeaf, leaf.Text("manifest"), c.manDigest))
	case leaf.Text("export_id") != c.man.ExportID:
		return errContainer(fmt.Sprintf("%s is of export %q, the manifest of %q", receiptLeaf, leaf.Text("export_id"), c.man.ExportID))
	case l.report.Closed:
		return errContainer(receiptLeaf + " stands behind LOG_CLOSED, which no leaf may follow")
	case leaf.Seq < l.Size:
		return errContainer(fmt.Sprintf("%s says leaf %d, which is in the bundle", receiptLeaf, leaf.Seq))
	case leaf.RecordedAt < last:
		return errContainer(receiptLeaf + ": t is smaller than that of the bundle's last leaf")
	}
	for _, s := range l.head.Cosignatures {
		if leaf.RecordedAt < cosignedAt(s)-tolerance {
			return errContainer(receiptLeaf + " says it was recorded before " + s.Witness.Name + " saw the log without it")
		}
	}
	for _, s := range l.stamps {
		switch {
		case s.size <= leaf.Seq && leaf.RecordedAt < s.at-tolerance:
			return errContainer(receiptLeaf + " says it was recorded before " + s.who + " saw the log without it")
		case s.size > leaf.Seq && leaf.RecordedAt > s.at+tolerance:
			return errContainer(receiptLeaf + " says it was recorded after " + s.who + " saw it")
		}
	}
	return nil
}
