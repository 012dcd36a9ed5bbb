package verify

import (
	"crypto/sha256"
	"hash/maphash"
	"strings"
	"sync"
	"unsafe"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/c2sp"
)

// chunk is one entry bundle on its way through a worker.
type chunk struct {
	from, to  int64
	data      []byte
	file      *ManifestFile // where it comes from
	disclosed []opening
	withheld  []opening
	account   bool // whether every sealed field must be accounted for

	fail    *Finding // the first failure of check 4
	hashes  []evidence.Hash
	times   []evidence.Micros
	root    evidence.Hash // of a full chunk
	opened  firstLeaf     // of the first chunk
	closed  bool          // the last leaf is LOG_CLOSED
	runs    []span
	held    Report    // findings of checks 9 and 10
	kinds   [16]int64 // leaves by kind
	reasons [4]int64  // withheld fields by reason
	claims  []claim
	covers  []cover
	life    []retentionFact

	leaf  evidence.Leaf
	index map[string]int // of runs
	d, w  []opening      // of disclosed and withheld, what is not matched yet
}

var chunks = sync.Pool{New: func() any { return &chunk{index: map[string]int{}} }}

func newChunk() *chunk {
	c := chunks.Get().(*chunk)
	data, leaf, index := c.data, c.leaf, c.index
	clear(index)
	*c = chunk{data: data, leaf: leaf, index: index, hashes: c.hashes[:0], times: c.times[:0], runs: c.runs[:0]}
	return c
}

// release gives the memory of a chunk back; spans hold the text of leaves.
func release(c *chunk) {
	clear(c.runs)
	chunks.Put(c)
}

// chunk runs checks 2 and 4 over the leaves of a bundle, hashes them, and gathers
// what is needed of them.
func (p *pass) chunk(c *chunk) *chunk {
	at := place{origin: p.l.Origin, vkey: p.l.report.Key}
	data := c.data
	if c.fail = c.file.differs(sha256.Sum256(data)); c.fail != nil {
		return c
	}
	c.d, c.w = c.disclosed, c.withheld
	for seq := c.from; seq < c.to; seq++ {
		leaf, rest, err := c2sp.NextEntry(data)
		if err != nil {
			c.fail = p.fail(ELeaf, seq, err.Error())
			return c
		}
		if err := c.leaf.ParseText(inPlace(leaf)); err != nil {
			c.fail = p.fail(ELeaf, seq, err.Error())
			return c
		}
		at.seq, at.last = seq, seq == p.l.Size-1
		reason := at.check(&c.leaf)
		if n := len(c.times); reason == "" && n > 0 && c.leaf.RecordedAt < c.times[n-1] {
			reason = "t is smaller than that of the leaf before"
		}
		if seq == 0 && reason == "" {
			reason = c.first()
		}
		if reason != "" {
			c.fail = p.fail(ELeaf, seq, reason)
			return c
		}
		// The low byte of the length stands before the leaf. With 0x00 in
		// its place the leaf is hashed where it lies, RFC 6962 section 2.1.
		data[1] = 0
		c.hashes = append(c.hashes, sha256.Sum256(data[1:2+len(leaf)]))
		c.times = append(c.times, c.leaf.RecordedAt)
		p.ids[seq] = maphash.Bytes(p.seed, c.leaf.ID[:])
		p.gather(c)
		data = rest
	}
	if len(data) > 0 {
		c.fail = p.fail(ELeaf, c.to-1, "bytes after the last entry of its bundle")
		return c
	}
	if len(c.hashes) == c2sp.TileWidth {
		c.root = subtree(c.hashes)
	}
	return c
}

// inPlace returns the bytes of a leaf as text without a copy, which would be a
// fifth of the work of a verification. The bytes must stay as they are while the
// text is used: those of a chunk until it is released.
func inPlace(leaf []byte) string {
	return unsafe.String(unsafe.SliceData(leaf), len(leaf)) //nolint:gosec // see above
}

// subtree returns the root of a full bundle.
func subtree(leaves []evidence.Hash) evidence.Hash {
	var level [c2sp.TileWidth / 2]evidence.Hash
	from := leaves
	for n := len(leaves) / 2; n > 0; n /= 2 {
		for i := range n {
			level[i] = evidence.NodeHash(from[2*i], from[2*i+1])
		}
		from = level[:]
	}
	return level[0]
}

func (c *chunk) first() string {
	text := c.leaf.Text("predecessor_log")
	if text == "" {
		return ""
	}
	pre, ok := parsePredecessor(text)
	if !ok {
		return "predecessor_log is not an origin, a size and a root"
	}
	c.opened.predecessor = pre
	return ""
}

// gather is checks 9 and 10 for one leaf.
func (p *pass) gather(c *chunk) {
	l := &c.leaf
	c.kinds[l.Kind]++
	if l.Run != "" {
		p.count(c)
	}
	if reason := checkEnding(l); reason != "" {
		c.held.add(*p.fail(EGap, l.Seq, reason))
	}
	var event string
	if l.Kind == evidence.KindSystem {
		c.closed = l.Text("event_type") == logClosed
	} else if l.Kind == evidence.KindAudit {
		event = l.Text("event_type")
	}
	if f, ok := retentionOf(l); ok {
		c.life = append(c.life, f)
	}
	p.openings(c, coverReasons[event])
}

// count adds the leaf to the span of its run.
func (p *pass) count(c *chunk) {
	l := &c.leaf
	i := len(c.runs) - 1
	if i < 0 || c.runs[i].run != l.Run {
		var ok bool
		if i, ok = c.index[l.Run]; !ok {
			i = len(c.runs)
			c.index[l.Run] = i
			c.runs = append(c.runs, span{run: l.Run, first: l.N, next: l.N, seq: l.Seq})
		}
	}
	s := &c.runs[i]
	if l.N != s.next {
		c.held.add(*p.fail(EGap, l.Seq, gapMessage(l.Run, s.next)))
	}
	s.next = l.N + 1
	s.ended = s.ended || l.Kind == evidence.KindLLMRun
}

// openings matches the sealed fields of the leaf with what the bundle says
// of them; all three lists are in order of path.
func (p *pass) openings(c *chunk, covers Reason) {
	l := &c.leaf
	d := ofLeaf(&c.d, l.Seq)
	w := ofLeaf(&c.w, l.Seq)
	for _, h := range l.H {
		var open, held *opening
		for len(d) > 0 && sealedPaths[d[0].path] <= h.Path {
			if sealedPaths[d[0].path] == h.Path {
				open = &d[0]
			} else {
				p.stray(c, &d[0], ECommit, "is disclosed, but the leaf does not commit to it")
			}
			d = d[1:]
		}
		for len(w) > 0 && sealedPaths[w[0].path] <= h.Path {
			if sealedPaths[w[0].path] == h.Path {
				held = &w[0]
			} else {
				p.stray(c, &w[0], EUnaccounted, "is withheld, but the leaf does not commit to it")
			}
			w = w[1:]
		}
		p.field(c, h, open, held, covers)
	}
	for i := range d {
		p.stray(c, &d[i], ECommit, "is disclosed, but the leaf does not commit to it")
	}
	for i := range w {
		p.stray(c, &w[i], EUnaccounted, "is withheld, but the leaf does not commit to it")
	}
}

// field checks one sealed field: disclosed so that it makes the commitment,
// or else withheld.
func (p *pass) field(c *chunk, h evidence.Commitment, open, held *opening, covers Reason) {
	seq := c.leaf.Seq
	bad := func(code Code, message string) *Finding {
		f := p.fail(code, seq, message)
		f.Path = strings.Clone(h.Path) // part of the leaf's text
		return f
	}
	switch {
	case open != nil && held != nil:
		c.held.add(*bad(EUnaccounted, "is disclosed and withheld"))
	case open != nil && open.commit != h.Hash:
		f := bad(ECommit, "what is disclosed is not what was committed to")
		f.Expected, f.Found = evidence.EncodeCommitment(h.Hash), evidence.EncodeCommitment(open.commit)
		c.held.add(*f)
	case open != nil && covers != "" && open.path == targetsIndex:
		list, err := parseTargets(open.targets, p.l.Origin, seq, about(&c.leaf, covers))
		if err != nil {
			c.held.add(*bad(ECommit, "is no list of ranges: "+err.Error()))
		}
		c.covers = append(c.covers, list...)
	case open != nil:
	case held == nil && c.account:
		c.held.add(*bad(EUnaccounted, "is neither disclosed nor said to be withheld, erased or expired"))
	case held != nil:
		c.reasons[held.reason]++
		if r := reasons[held.reason]; r == Erased || r == Expired {
			c.claims = append(c.claims, claim{seq, c.leaf.RecordedAt, held.path, c.leaf.Kind, isMade(&c.leaf), held.reason})
		}
	}
}

func (p *pass) stray(c *chunk, o *opening, code Code, message string) {
	f := p.fail(code, o.seq, message)
	f.Path = sealedPaths[o.path]
	c.held.add(*f)
}

// ofLeaf takes the openings of one leaf off the front of the list.
func ofLeaf(list *[]opening, seq int64) []opening {
	n := 0
	for n < len(*list) && (*list)[n].seq == seq {
		n++
	}
	out := (*list)[:n]
	*list = (*list)[n:]
	return out
}
