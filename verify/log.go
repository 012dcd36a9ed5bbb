package verify

import (
	"context"
	"fmt"
	"hash/maphash"
	"io"
	"slices"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/c2sp"
)

// pass is one pass over all leaves of a log: checks 4 and 5, the digests of check
// 2, and what 7 to 10 need of the leaves. Entry bundles are parsed and hashed in parallel and
// folded into the tree in order. Its memory is some bundles for each worker,
// 8 bytes for each leaf (ids), 24 for each erased or expired field, and one map
// entry for each run.
type pass struct {
	c         *checker
	l         *logState
	disclosed *openingStream
	withheld  *openingStream
	n         int64 // next bundle

	seed   maphash.Seed
	ids    []uint64 // keyed hash of each leaf's id; each bundle's part is its worker's
	tree   c2sp.Frontier
	marks  []int64 // sizes of l.marks, sorted
	last   evidence.Micros
	runs   runs
	claims []claim
	covers []cover
}

func (c *checker) pass(l *logState) (err error) {
	ctx, cancel := context.WithCancel(c.ctx)
	defer cancel()
	p := &pass{c: c, l: l, seed: maphash.MakeSeed(), ids: make([]uint64, l.Size)}
	for size := range l.marks {
		p.marks = append(p.marks, size)
	}
	slices.Sort(p.marks)
	if p.disclosed, err = c.stream(ctx, l.Dir+"/disclosures.jsonl", maxDisclosureLine, parseDisclosed); err != nil {
		return c.unreadable(l, err)
	}
	defer p.disclosed.stop()
	if p.withheld, err = c.stream(ctx, l.Dir+"/withheld.jsonl", maxWithheldLine, parseWithheld); err != nil {
		return c.unreadable(l, err)
	}
	defer p.withheld.stop()

	for out, err := range inOrder(ctx, c.workers, p.next, p.chunk) {
		if err != nil {
			return c.unreadable(l, err)
		}
		if fail := p.collect(out); fail != nil {
			c.rep.add(*fail)
			return nil
		}
		c.progress(l.Dir, out.to, l.Size)
		release(out)
	}
	return p.finish()
}

// unreadable tells a broken bundle from a broken machine.
func (c *checker) unreadable(l *logState, err error) error {
	if !broken(err) {
		return err
	}
	c.rep.add(Finding{Code: EContainer, Log: l.Origin, Dir: l.Dir, Message: err.Error()})
	return nil
}

// next reads the next bundle and what is said of its leaves' sealed fields.
func (p *pass) next() (*chunk, error) {
	from := p.n * c2sp.TileWidth
	if from >= p.l.Size {
		return nil, io.EOF
	}
	in := newChunk()
	in.from, in.to = from, min(from+c2sp.TileWidth, p.l.Size)
	path := p.l.Dir + "/" + c2sp.EntriesPath(p.n, entriesWidth(p.n, p.l.Size))
	p.n++
	in.file = p.c.entries[path]
	var err error
	if in.data, err = p.c.src.readInto(in.data, path, maxBundle); err != nil {
		return nil, err
	}
	if in.disclosed, err = p.disclosed.take(in.to); err != nil {
		return nil, err
	}
	if in.withheld, err = p.withheld.take(in.to); err != nil {
		return nil, err
	}
	// After a bad line nothing is known of the fields that follow.
	in.account = p.disclosed.bad == "" && p.withheld.bad == ""
	return in, nil
}

// collect takes the chunks in order. It returns the first failure.
func (p *pass) collect(out *chunk) *Finding {
	if out.fail != nil {
		return out.fail
	}
	if out.from > 0 && out.times[0] < p.last {
		return p.fail(ELeaf, out.from, "t is smaller than that of the leaf before")
	}
	p.last = out.times[len(out.times)-1]
	if out.from == 0 {
		p.l.opened = out.opened
		p.runs.anyStart = out.opened.predecessor != nil
		p.l.report.FirstAt = out.times[0].String()
	}
	p.l.report.Closed = out.closed
	p.fold(out)
	for _, s := range out.runs {
		if reason := p.runs.add(s); reason != "" {
			p.l.held.add(*p.fail(EGap, s.seq, reason))
		}
	}
	p.l.held.add(out.held.Findings...)
	p.l.held.dropped += out.held.dropped
	p.claims = append(p.claims, out.claims...)
	p.covers = append(p.covers, out.covers...)
	p.l.retention = append(p.l.retention, out.life...)
	p.tally(out)
	p.c.rep.Counts["leaves"] += out.to - out.from
	p.c.rep.Counts["disclosed"] += int64(len(out.disclosed))
	return nil
}

// tally adds what a chunk counted to the report.
func (p *pass) tally(out *chunk) {
	counts := p.c.rep.Counts
	for k, n := range out.kinds {
		if n > 0 {
			counts[evidence.Kind(k).String()] += n
		}
	}
	for i, n := range out.reasons {
		if n > 0 {
			counts["withheld_"+string(reasons[i])] += n
		}
	}
}

// fold adds the chunk's leaves to the tree: all at once where nobody asks
// for a tree that ends among them.
func (p *pass) fold(out *chunk) {
	i, _ := slices.BinarySearch(p.marks, out.from)
	inside := false
	for ; i < len(p.marks) && p.marks[i] <= out.to; i++ {
		size := p.marks[i]
		m := p.l.marks[size]
		if size > out.from {
			m.before, m.beforeSeq, m.early = out.times[size-1-out.from], size-1, true
			inside = true
		}
		if size < out.to {
			m.after, m.afterSeq, m.late = out.times[size-out.from], size, true
		}
	}
	if !inside && len(out.hashes) == c2sp.TileWidth {
		p.tree.AppendSubtree(8, out.root, nil)
		return
	}
	for _, h := range out.hashes {
		p.tree.Append(h, nil)
		if m := p.l.marks[p.tree.Size()]; m != nil {
			m.root = p.tree.Root()
		}
	}
}

// finish checks what only the whole log shows.
func (p *pass) finish() error {
	l := p.l
	if fail, err := p.duplicateIDs(); err != nil {
		return p.c.unreadable(l, err)
	} else if fail != nil {
		p.c.rep.add(*fail)
		return nil
	}
	if root := p.tree.Root(); root != l.head.Root {
		p.c.rep.add(Finding{
			Code: EInclusion, Log: l.Origin, Dir: l.Dir, From: 0, To: l.Size,
			Expected: l.head.Root.String(), Found: root.String(),
			Message: "the leaves do not make the tree that the log signed: at least one was changed, added, removed or moved",
		})
		return nil
	}
	l.report.LastAt, l.report.Records, l.next = p.last.String(), l.Size, l.Size
	if err := p.leftover(p.disclosed, "disclosures.jsonl", ECommit); err != nil {
		return p.c.unreadable(l, err)
	}
	if err := p.leftover(p.withheld, "withheld.jsonl", EUnaccounted); err != nil {
		return p.c.unreadable(l, err)
	}
	if p.disclosed.bad == "" && p.withheld.bad == "" {
		l.claims = p.claims
	}
	p.c.cover(l, p.covers)
	p.c.rep.Counts["runs"] += int64(len(p.runs.states))
	for _, s := range p.runs.states {
		if s.ended {
			p.c.rep.Counts["runs_ended"]++
		}
	}
	return nil
}

// cover keeps what the records of a log say is gone.
func (c *checker) cover(l *logState, covers []cover) {
	by := c.dirOf(l.Origin)
	for _, v := range covers {
		v.by = by
		c.covers = append(c.covers, v)
	}
}

// accountFor checks what is said to be erased or expired, once every log has
// been read: the record may stand in a later log of the tenant.
func (c *checker) accountFor(l *logState) {
	for _, claim := range uncovered(l.Origin, c.dirOf(l.Origin), l.claims, c.covers) {
		l.held.add(Finding{
			Code: EUnaccounted, Log: l.Origin, Dir: l.Dir, From: claim.seq, To: claim.seq + 1, Path: sealedPaths[claim.path],
			Message: "said to be " + string(reasons[claim.reason]) + ", but no record of the tenant's logs says so of this field",
		})
	}
}

// leftover reports lines that cannot be used, or that speak of leaves beyond
// the log.
func (p *pass) leftover(s *openingStream, name string, code Code) error {
	rest, err := s.take(evidence.MaxInt)
	if err != nil {
		return err
	}
	f := Finding{Code: code, Log: p.l.Origin, Dir: p.l.Dir, Path: p.l.Dir + "/" + name}
	if len(rest) > 0 || len(s.cur) > 0 {
		f.Message = fmt.Sprintf("speaks of leaves beyond the %d of the log", p.l.Size)
		p.l.held.add(f)
	}
	if s.bad != "" {
		f.Message = s.bad
		p.l.held.add(f)
	}
	return nil
}

func (p *pass) fail(code Code, seq int64, message string) *Finding {
	return &Finding{Code: code, Log: p.l.Origin, Dir: p.l.Dir, From: seq, To: seq + 1, Message: message}
}
