package verify

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/c2sp"
)

const recordsName = "records.jsonl"

// runRecord is a line of records.jsonl on its way through the checks.
type runRecord struct {
	leaf    evidence.Leaf
	wrong   string // what is wrong with the leaf by itself, or ""
	outside bool   // its proof does not lead to the checkpoint
	opened  firstLeaf
}

// recordBatch is what a worker makes of some lines.
type recordBatch struct {
	records []runRecord
	bad     string // what is wrong with the line after them, or ""
}

// runPass is the pass over the records of one log of a bundle of profile run:
// checks 4, 5 and 10, and what 9 needs of the leaves. Lines are parsed and
// their proofs checked in parallel.
type runPass struct {
	pass
	cur     *chunk // its leaf is the current one
	ids     map[evidence.ID]bool
	outside *Finding // the first failure of check 5: 4 comes before
	next    int64    // the smallest seq that may follow
	mark    int      // the first of marks that no record has reached
	from    evidence.Micros
	until   evidence.Micros // of profile period
}

// records runs a [runPass]. It stops at the first failure of check 4, else of 5.
func (c *checker) records(l *logState) (err error) {
	ctx, cancel := context.WithCancel(c.ctx)
	defer cancel()
	p := &runPass{pass: pass{c: c, l: l}, cur: newChunk(), ids: map[evidence.ID]bool{}}
	defer func() { release(p.cur) }()
	p.from, _ = evidence.ParseMicros(c.man.Scope.From)
	p.until, _ = evidence.ParseMicros(c.man.Scope.Until)
	p.marks = slices.Sorted(maps.Keys(l.marks))
	if p.disclosed, err = c.stream(ctx, l.Dir+"/disclosures.jsonl", maxDisclosureLine, parseDisclosed); err != nil {
		return c.unreadable(l, err)
	}
	defer p.disclosed.stop()
	if p.withheld, err = c.stream(ctx, l.Dir+"/withheld.jsonl", maxWithheldLine, parseWithheld); err != nil {
		return c.unreadable(l, err)
	}
	defer p.withheld.stop()
	path := l.Dir + "/" + recordsName
	f, err := c.src.fsys.Open(path)
	if err != nil {
		return c.unreadable(l, err)
	}
	defer f.Close()
	size := c.src.size[path]
	b := &batcher{r: bufio.NewReaderSize(f, int(min(max(size, 16), 64<<10))), maxLine: maxRecordLine, line: 1, small: size < batchSize}
	for out, err := range inOrder(ctx, c.workers, b.next, p.parse) {
		if err != nil {
			return c.unreadable(l, err)
		}
		if fail, err := p.take(&out); err != nil {
			return c.unreadable(l, err)
		} else if fail != nil {
			c.rep.add(*fail)
			return nil
		}
	}
	return p.finish()
}

// parse checks the lines of a batch one by one.
func (p *runPass) parse(in batch) (out recordBatch) {
	defer recycle(in.data)
	out.records = make([]runRecord, 0, min(bytes.Count(in.data, []byte{'\n'}), len(in.data)/minLeaf+1))
	line := in.line
	for rest := in.data; len(rest) > 0; line++ {
		text, after, ok := bytes.Cut(rest, []byte{'\n'})
		err := error(errContainer("does not end, or is too long"))
		var rec *Record
		if ok {
			rec, err = ParseRecord(text)
		}
		if err != nil {
			out.bad = fmt.Sprintf("line %d: %v", line, err)
			return out
		}
		out.records = append(out.records, p.record(rec))
		rest = after
	}
	return out
}

// record is what one line shows: check 4 but for its neighbours, and check 5.
func (p *runPass) record(rec *Record) (r runRecord) {
	at := place{origin: p.l.Origin, vkey: p.l.report.Key, seq: rec.Seq, last: rec.Seq == p.l.Size-1}
	if err := r.leaf.ParseText(inPlace(rec.Leaf)); err != nil {
		r.leaf.Seq, r.wrong = rec.Seq, err.Error()
		return r
	}
	if r.wrong = at.check(&r.leaf); r.wrong == "" && rec.Seq == 0 {
		c := chunk{leaf: r.leaf}
		r.wrong = c.first()
		r.opened = c.opened
	}
	if r.wrong != "" {
		r.leaf.Seq = rec.Seq
	}
	r.outside = c2sp.CheckInclusion(rec.Proof, p.l.Size, p.l.head.Root, rec.Seq, evidence.LeafHash(rec.Leaf)) != nil
	return r
}

// take goes on with the records of a batch, in order. It returns the first
// failure of check 4.
func (p *runPass) take(out *recordBatch) (*Finding, error) {
	for i := range out.records {
		r := &out.records[i]
		seq := r.leaf.Seq
		switch {
		case r.wrong != "":
			return p.fail(ELeaf, seq, r.wrong), nil
		case seq < p.next:
			return p.fail(ELeaf, seq, "the record is not in order of seq, or stands twice"), nil
		case r.leaf.RecordedAt < p.last:
			return p.fail(ELeaf, seq, "t is smaller than that of an earlier leaf"), nil
		case p.ids[r.leaf.ID]:
			return p.fail(ELeaf, seq, "the id is that of an earlier leaf"), nil
		}
		if p.c.man.Profile == ProfileRun {
			if reason := p.c.scope(p.l, &r.leaf); reason != "" {
				return p.fail(ELeaf, seq, reason), nil
			}
		}
		if r.outside && p.outside == nil {
			p.outside = p.fail(EInclusion, seq, "the proof does not lead from this leaf to the signed tree: leaf or proof was changed, or the log never had it")
		}
		p.reach(&r.leaf)
		p.next, p.last = seq+1, r.leaf.RecordedAt
		p.ids[r.leaf.ID] = true
		if err := p.gather(r); err != nil {
			return nil, err
		}
	}
	if out.bad != "" {
		f := p.fail(ELeaf, 0, out.bad)
		f.To, f.Path = 0, p.l.Dir+"/"+recordsName
		return f, nil
	}
	return nil, nil
}

// reach notes where the record stands among the others.
func (p *runPass) reach(l *evidence.Leaf) {
	none := p.l.report.Records == 0
	p.l.stretch.add(l, none)
	p.l.end = l.Seq
	if p.from <= l.RecordedAt && l.RecordedAt < p.until {
		p.l.stretch.inside++
	}
	p.l.unshared = p.l.unshared || !shared(l)
	for ; p.mark < len(p.marks) && p.marks[p.mark] <= l.Seq; p.mark++ {
		m := p.l.marks[p.marks[p.mark]]
		m.before, m.beforeSeq, m.early = p.last, p.next-1, !none
		m.after, m.afterSeq, m.late = l.RecordedAt, l.Seq, true
	}
}

// gather is check 10 for one record, and the numbers for check 9.
func (p *runPass) gather(r *runRecord) error {
	l, c := &r.leaf, p.cur
	if p.l.report.Records == 0 {
		p.l.report.FirstAt = l.RecordedAt.String()
	}
	if l.Seq == 0 {
		p.l.opened = r.opened
	}
	p.l.report.Records++
	p.l.report.Closed = l.Kind == evidence.KindSystem && l.Text("event_type") == logClosed
	p.life(l)
	c.kinds[l.Kind]++
	p.l.own = append(p.l.own, p.c.ownOf(l)...)
	if reason := checkEnding(l); reason != "" {
		p.l.held.add(*p.fail(EGap, l.Seq, reason))
	}
	if err := p.strays(l.Seq); err != nil {
		return err
	}
	var err error
	if c.d, err = p.disclosed.take(l.Seq + 1); err != nil {
		return err
	}
	if c.w, err = p.withheld.take(l.Seq + 1); err != nil {
		return err
	}
	p.c.rep.Counts["disclosed"] += int64(len(c.d))
	// After a bad line nothing is known of the fields that follow.
	c.account = p.disclosed.bad == "" && p.withheld.bad == ""
	c.leaf = *l
	var event string
	if l.Kind == evidence.KindAudit {
		event = l.Text("event_type")
	}
	p.openings(c, coverReasons[event])
	return nil
}

// life notes what the record says of how long evidence is kept.
func (p *runPass) life(l *evidence.Leaf) {
	to := p.l
	to.apart = to.apart || l.Seq != to.next
	to.next = l.Seq + 1
	if f, ok := retentionOf(l); ok {
		f.apart, to.apart = to.apart, false
		to.retention = append(to.retention, f)
	}
}

// strays reports what is said of leaves before seq that the bundle does not
// hold.
func (p *runPass) strays(seq int64) error {
	d, err := p.disclosed.take(seq)
	if err != nil {
		return err
	}
	w, err := p.withheld.take(seq)
	if err != nil {
		return err
	}
	for i := range d {
		p.stray(p.cur, &d[i], ECommit, "is disclosed of a leaf that is not in the bundle")
	}
	for i := range w {
		p.stray(p.cur, &w[i], EUnaccounted, "is withheld of a leaf that is not in the bundle")
	}
	return nil
}

// finish checks what only the whole file shows.
func (p *runPass) finish() error {
	l := p.l
	if p.outside != nil {
		p.c.rep.add(*p.outside)
		return nil
	}
	if l.report.Records > 0 {
		l.report.LastAt = p.last.String()
		for _, size := range p.marks[p.mark:] {
			m := l.marks[size]
			m.before, m.beforeSeq, m.early = p.last, p.next-1, true
		}
	}
	if err := p.strays(evidence.MaxInt + 1); err != nil {
		return p.c.unreadable(l, err)
	}
	l.held.add(p.cur.held.Findings...)
	l.held.dropped += p.cur.held.dropped
	for _, s := range []struct {
		stream *openingStream
		name   string
		code   Code
	}{{p.disclosed, "disclosures.jsonl", ECommit}, {p.withheld, "withheld.jsonl", EUnaccounted}} {
		if s.stream.bad != "" {
			l.held.add(Finding{Code: s.code, Log: l.Origin, Dir: l.Dir, Path: l.Dir + "/" + s.name, Message: s.stream.bad})
		}
	}
	if p.disclosed.bad == "" && p.withheld.bad == "" {
		l.claims = p.cur.claims
	}
	p.c.cover(l, p.cur.covers)
	p.c.rep.Counts["leaves"] += l.report.Records
	p.tally(p.cur)
	if n := l.report.Records; n > 0 {
		p.c.progress(l.Dir, n, n)
	}
	return nil
}
