package verify

import (
	"fmt"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/c2sp"
)

// sparseLinks is [checker.links] where not all leaves are there to compute
// older trees from: what other signed trees a directory holds must be linked
// to its checkpoint by proofs.
func (c *checker) sparseLinks(l *logState) {
	signed := map[int64]evidence.Hash{l.Size: l.head.Root}
	sign := func(path string, size int64, root evidence.Hash) {
		if have, ok := signed[size]; ok && have != root {
			c.fork(l, path, size, have, root)
			return
		}
		signed[size] = root
	}
	for _, a := range l.anchors {
		sign(anchorPath(l.Dir, a.Size, "note"), a.Size, a.Root)
	}
	for _, p := range l.proofs {
		sign(p.path, p.head.Size, p.head.Root)
	}
	l.linked = map[int64]evidence.Hash{0: c2sp.EmptyRoot, l.Size: l.head.Root}
	for _, p := range l.proofs {
		// A proof from a tree that nobody here has signed is for an auditor who
		// kept that tree: see since.
		was, ok := signed[p.name.old]
		if !ok {
			continue
		}
		if err := c2sp.CheckConsistency(p.proof.Hashes, p.name.new, p.head.Root, p.name.old, was); err != nil {
			c.rep.add(Finding{Code: EFork, Log: l.Origin, Dir: l.Dir, Path: p.path, Message: err.Error()})
			continue
		}
		switch l.Size {
		case p.name.old:
			l.linked[p.name.new] = p.head.Root
		case p.name.new:
			l.linked[p.name.old] = was
		}
	}
	for _, a := range l.anchors {
		if _, ok := l.linked[a.Size]; !ok {
			c.rep.add(Finding{
				Code: EFork, Log: l.Origin, Dir: l.Dir, Path: anchorPath(l.Dir, a.Size, "note"),
				Message: "no consistency proof leads between this checkpoint and the directory's",
			})
		}
	}
}

// sparseSince compares the checkpoint that the auditor kept with a directory
// that does not hold all leaves.
func (c *checker) sparseSince(l *logState, kept *c2sp.Checkpoint) {
	if root, ok := l.linked[kept.Size]; ok {
		if root != kept.Root {
			c.fork(l, "", kept.Size, root, kept.Root)
		}
		return
	}
	for _, p := range l.proofs {
		if p.name.old != kept.Size || p.name.new != l.Size {
			continue
		}
		if err := c2sp.CheckConsistency(p.proof.Hashes, l.Size, l.head.Root, kept.Size, kept.Root); err != nil {
			c.rep.add(Finding{Code: EFork, Log: l.Origin, Dir: l.Dir, Path: p.path, Message: "the bundle's log does not extend the checkpoint that was kept: " + err.Error()})
		}
		return
	}
	c.rep.add(Finding{
		Code: USince, Log: l.Origin, Dir: l.Dir,
		Message: fmt.Sprintf("no consistency proof leads from the checkpoint that was kept, of %d leaves, to this bundle: have it exported with since_size %d", kept.Size, kept.Size),
	})
}
