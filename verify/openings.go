package verify

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"sync"

	"github.com/runledger/runledger/evidence"
)

// Bounds of lines in bytes. JSON text in a string can take six times its
// size (\u0001), and all sealed values of a record have a bound together.
const (
	maxDisclosureLine = 6*evidence.MaxSealed + 1024
	maxWithheldLine   = 1024
	batchSize         = 256 << 10
	minOpening        = 40 // less than any line has
)

// opening is what checks need of a line of disclosures.jsonl or
// withheld.jsonl. The value itself is gone by then: only its commitment, and
// the text of /targets, are kept.
type opening struct {
	seq     int64
	path    uint8 // in sealedPaths
	reason  uint8 // in reasons; withheld only
	commit  evidence.Hash
	targets []byte
}

// batch is a piece of a file of whole lines.
type batch struct {
	data []byte
	line int64 // number of its first line, from 1
}

type parsedBatch struct {
	openings []opening
	bad      string // what is wrong with the line after them, or ""
}

// openingStream gives the openings of one file by ranges of leaves. Lines
// must be in order of (seq, path); so memory does not grow with the file.
type openingStream struct {
	pull  func() (parsedBatch, error, bool)
	stop  func()
	cur   []opening
	after string // what is wrong with the line after cur, or ""
	bad   string // why the rest of the file cannot be used, or ""
	seq   int64  // of the last opening
	path  int    // of the last opening, −1 before the first
}

// stream opens a file of lines; without the file there are none.
func (c *checker) stream(ctx context.Context, path string, maxLine int, parse func(line []byte) (opening, error)) (*openingStream, error) {
	s := &openingStream{path: -1, stop: func() {}, pull: func() (parsedBatch, error, bool) { return parsedBatch{}, nil, false }}
	if _, ok := c.src.size[path]; !ok {
		return s, nil
	}
	f, err := c.src.fsys.Open(path)
	if err != nil {
		return nil, err
	}
	size := c.src.size[path]
	b := &batcher{r: bufio.NewReaderSize(f, int(min(size, 64<<10))), maxLine: maxLine, line: 1, small: size < batchSize}
	next, stop := iter.Pull2(inOrder(ctx, c.workers, b.next, func(in batch) parsedBatch { return parseBatch(in, parse) }))
	s.pull = next
	s.stop = func() {
		stop()
		_ = f.Close() // it was only read
	}
	return s, nil
}

// take returns the openings of leaves before to, in order. After a bad line
// there are no more.
func (s *openingStream) take(to int64) (out []opening, err error) {
	for s.bad == "" {
		n := 0
		for n < len(s.cur) && s.cur[n].seq < to {
			n++
		}
		if out == nil {
			out = s.cur[:n:n] // no copy, unless the range goes over two batches
		} else {
			out = append(out, s.cur[:n]...)
		}
		if s.cur = s.cur[n:]; len(s.cur) > 0 {
			return out, nil
		}
		if s.bad = s.after; s.bad != "" {
			break
		}
		b, err, ok := s.pull()
		if !ok || err != nil {
			return out, err
		}
		s.cur, s.after = b.openings, b.bad
		s.checkOrder()
	}
	s.cur = nil
	return out, nil
}

// checkOrder cuts a new batch where its lines are not in order.
func (s *openingStream) checkOrder() {
	for i, o := range s.cur {
		if o.seq < s.seq || o.seq == s.seq && int(o.path) <= s.path {
			s.after = fmt.Sprintf("the line for leaf %d, %s is not in order of leaf and path, or stands twice", o.seq, sealedPaths[o.path])
			s.cur = s.cur[:i]
			return
		}
		s.seq, s.path = o.seq, int(o.path)
	}
}

// batches recycles the memory of batches of the usual size.
var batches = sync.Pool{New: func() any { return make([]byte, 0, batchSize+64<<10) }}

func recycle(data []byte) {
	if n := cap(data); batchSize <= n && n <= 2*batchSize {
		batches.Put(data) //nolint:staticcheck // the slice header is small against the batch
	}
}

type batcher struct {
	r       *bufio.Reader
	maxLine int
	line    int64
	small   bool // the file is less than a batch
}

// next reads whole lines of about batchSize together.
func (b *batcher) next() (batch, error) {
	out := batch{line: b.line}
	if !b.small {
		out.data = batches.Get().([]byte)[:0]
	}
	start := 0 // of the current line
	for len(out.data) < batchSize || start < len(out.data) {
		frag, err := b.r.ReadSlice('\n')
		out.data = append(out.data, frag...)
		switch {
		case err == nil:
			b.line++
		case err != io.EOF && !errors.Is(err, bufio.ErrBufferFull):
			return batch{}, err
		case err == io.EOF && len(out.data) == 0:
			return batch{}, io.EOF
		}
		if len(out.data)-start > b.maxLine {
			// Too long for any line: cut it, so that it cannot be parsed.
			out.data = out.data[:start+16]
			return out, nil
		}
		if err == nil {
			start = len(out.data)
		}
		if err == io.EOF {
			break
		}
	}
	return out, nil
}

func parseBatch(in batch, parse func([]byte) (opening, error)) (out parsedBatch) {
	defer recycle(in.data)
	out.openings = make([]opening, 0, min(bytes.Count(in.data, []byte{'\n'}), len(in.data)/minOpening+1))
	line := in.line
	for rest := in.data; len(rest) > 0; line++ {
		text, after, ok := bytes.Cut(rest, []byte{'\n'})
		var o opening
		err := error(errContainer("does not end, or is too long"))
		if ok {
			o, err = parse(text)
		}
		if err != nil {
			out.bad = fmt.Sprintf("line %d: %v", line, err)
			return out
		}
		out.openings = append(out.openings, o)
		rest = after
	}
	return out
}

const pathTargets = "/targets"

var targetsIndex = uint8(pathIndex(pathTargets))

func parseDisclosed(line []byte) (opening, error) {
	var d Disclosure
	path, err := d.parse(line)
	if err != nil {
		return opening{}, err
	}
	o := opening{seq: d.Seq, path: uint8(path), commit: evidence.Commit(sealedPaths[path], d.Salt, d.Value)}
	if o.path == targetsIndex && len(d.Value) <= maxTargets {
		o.targets = d.Value
	}
	return o, nil
}

func parseWithheld(line []byte) (opening, error) {
	seq, path, reason, err := scanWithheld(line)
	return opening{seq: seq, path: uint8(path), reason: uint8(reason)}, err
}
