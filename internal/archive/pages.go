package archive

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"

	"github.com/klauspost/compress/zstd"
	"github.com/parquet-go/parquet-go"
	pq "github.com/parquet-go/parquet-go/format"

	"github.com/runledger/runledger/evidence"
)

// The library makes room for as many values and bytes as a page says it has. So the pages
// are read here, in the forms that a unit's files have: what is taken is bounded by what
// the columns of a unit can hold.
const (
	maxPageHeader = 64 << 10
	// maxPage is more than the largest page: a writer ends one of 256 KiB behind the entry bundle
	// that made it so large, one of texts behind maxTexts and a leaf, and begins no more of those that go by a
	// dictionary behind 1 MiB of it, which with the lengths of its words is some 2 MiB.
	maxPage = maxBundle + 2<<20
	// maxFilePages is what the pages may take that are unpacked at the same time, of a file's
	// columns together.
	maxFilePages = 4 * maxPage
	// maxLeft is how many bytes of a page may be left behind its last value: what fills up those that are packed together.
	maxLeft = 1 << 10
	// maxSpare is how much of what was unpacked is kept to be unpacked into again.
	maxSpare = 512 << 10
	// maxWords are the words of a dictionary: one of them is empty at most, and each has its length.
	maxWords = maxPage/5 + 1
)

// shape is what a column's values are.
type shape struct {
	kind     parquet.Kind
	size     int  // of parquet.FixedLenByteArray
	optional bool // a value may be missing: it has definition levels up to 1
	list     bool // there may be several: it has repetition levels, too
}

// shapes are those of a kind's columns.
func (c *columns) shapes() []shape {
	out := []shape{
		{kind: parquet.ByteArray},
		{kind: parquet.Int64},
		{kind: parquet.Int64},
		{kind: parquet.FixedLenByteArray, size: len(evidence.Hash{})},
		{kind: parquet.FixedLenByteArray, size: len(evidence.ID{})},
		{kind: parquet.Int64},
		{kind: parquet.Int64},
		{kind: parquet.ByteArray, optional: true},
		{kind: parquet.Int64, optional: true},
	}
	for _, f := range c.fields {
		s := shape{kind: parquet.ByteArray, optional: f.Optional}
		switch f.Type {
		case evidence.TypeNames:
			s.list, s.optional = true, true
		case evidence.TypeInt, evidence.TypeCount, evidence.TypeTime:
			s.kind = parquet.Int64
		case evidence.TypeBool:
			s.kind = parquet.Boolean
		}
		out = append(out, s)
	}
	return out
}

// chunk is a column's part of a row group, as the footer says.
type chunk struct {
	off, size int64
	dict      int64 // where its dictionary stands; 0: it has none
	data      int64 // and its first data page
	plain     int64 // bytes of its pages unpacked, with their headers
	values    int64
	rows      int64 // of the row group
	says      pq.Statistics
	encodings []pq.Encoding
}

// columnReader yields the values of a column through all row groups.
type columnReader struct {
	shape
	r      io.ReaderAt
	budget *int64  // of the file
	packed *[]byte // room for a page as it stands there, of the file: columns are unpacked one after another
	chunks []chunk

	in     *bufio.Reader // of the chunk that is being read
	rest   int64         // its bytes that are left
	values int64         // its values that are left
	now    chunk
	found  bounds // in its values so far
	plain  int64  // bytes of its pages so far, unpacked, with their headers

	page  []byte // unpacked
	count int    // its values that are left
	rep   hybrid
	def   hybrid
	data  decoder
	words dictionary
	room  int64 // words that were taken from the budget

	old   [][]byte // pages that values which were given out point into
	spare []byte   // one that nothing points into
	buf   []parquet.Value
}

var errBounds = errors.New("what stands for a row group's values, their number, size, least and greatest, is not what they are")

var errPage = errors.New("a page is not of the form, or larger, than those of a unit")

// unzstd is shared: it takes no more room for one page than it may have.
var unzstd = func() *zstd.Decoder {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxMemory(maxPage), zstd.WithDecoderLowmem(true))
	if err != nil {
		panic(err) // options that are no options
	}
	return d
}()

// next returns n values, valid until it is called again.
func (c *columnReader) next(n int) ([]parquet.Value, error) {
	c.letGo()
	c.buf = c.buf[:0]
	for len(c.buf) < n {
		if err := c.fill(n - len(c.buf)); err != nil {
			return c.buf, err
		}
	}
	return c.buf, nil
}

// some returns as many values as there are at once, valid until it is called again.
func (c *columnReader) some() ([]parquet.Value, error) {
	c.letGo()
	c.buf = c.buf[:0]
	err := c.fill(batchLeaves)
	return c.buf, err
}

// fill appends up to n values of one page to buf, at least one.
func (c *columnReader) fill(n int) error {
	for c.count == 0 {
		if err := c.advance(); err != nil {
			return err
		}
	}
	n = min(n, c.count)
	c.count -= n
	c.values -= int64(n)
	c.buf = slices.Grow(c.buf, n)
	from := len(c.buf)
	defer func() { c.found.note(c.buf[from:], &c.shape) }()
	for ; n > 0; n-- {
		if k := c.missing(n); k > 0 { // mostly they are many
			c.buf = append(c.buf, make([]parquet.Value, k)...)
			if n -= k; n == 0 {
				return nil
			}
		}
		var v parquet.Value
		rep, def := 0, 0
		if c.list {
			r, err := c.rep.next()
			if err != nil {
				return err
			}
			rep = int(r)
		}
		if c.optional {
			d, err := c.def.next()
			if err != nil {
				return err
			}
			def = int(d)
		}
		if def == 1 || !c.optional {
			var err error
			if v, err = c.data.next(); err != nil {
				return err
			}
		}
		v.SetRepetitionLevel(rep)
		v.SetDefinitionLevel(def)
		c.buf = append(c.buf, v)
	}
	return nil
}

// missing takes up to n values that are not there, of those that the page says are none in a row.
func (c *columnReader) missing(n int) int {
	if !c.optional || c.list || c.def.run == 0 || c.def.bits >= 0 || c.def.value != 0 {
		return 0
	}
	n = int(min(c.def.run, uint64(n)))
	c.def.run -= uint64(n)
	return n
}

// letGo forgets pages that nothing points into any more.
func (c *columnReader) letGo() {
	for _, p := range c.old {
		*c.budget += int64(cap(p))
		if cap(p) > cap(c.spare) && cap(p) <= maxSpare {
			c.spare = p
		}
	}
	c.old = c.old[:0]
}

func (c *columnReader) release() {
	c.turn()
	c.dropWords()
	c.letGo()
	c.chunks, c.in = nil, nil
}

// turn puts the page that was read away.
func (c *columnReader) turn() {
	if c.page != nil {
		c.old, c.page = append(c.old, c.page), nil
	}
}

func (c *columnReader) dropWords() {
	if c.words.page != nil {
		c.old = append(c.old, c.words.page)
	}
	*c.budget += 4 * c.room
	c.words, c.room = dictionary{}, 0
}

// advance goes to the next data page.
func (c *columnReader) advance() error {
	if c.page != nil && c.data.left()+c.rep.left()+c.def.left() > maxLeft {
		return fmt.Errorf("%w: something stands behind its values", errPage)
	}
	c.turn()
	for c.rest == 0 {
		if c.values != 0 {
			return fmt.Errorf("%w: %d values are missing", errPage, c.values)
		}
		if c.now.size > 0 && (c.plain != c.now.plain || !c.found.same(&c.now, c.kind)) {
			return errBounds
		}
		c.now = chunk{}
		if len(c.chunks) == 0 {
			return io.EOF
		}
		now := c.chunks[0]
		c.chunks, c.now = c.chunks[1:], now
		c.found.reset()
		c.plain = 0
		if c.in == nil {
			c.in = bufio.NewReaderSize(nil, maxPageHeader)
		}
		c.in.Reset(io.NewSectionReader(c.r, now.off, now.size))
		c.rest, c.values = now.size, now.values
		c.dropWords()
	}
	at := c.now.off + c.now.size - c.rest
	h, err := c.header()
	if err != nil {
		return err
	}
	// Readers go to where the footer says that they stand.
	if want := map[bool]int64{true: c.now.data, false: c.now.dict}[h.kind == pq.DataPage]; want != 0 {
		if at != want {
			return fmt.Errorf("%w: it does not stand where the footer says", errPage)
		}
		if h.kind == pq.DataPage {
			c.now.data = 0
		}
	}
	page, err := c.unpack(h)
	if err != nil {
		return err
	}
	switch {
	case h.kind == pq.DictionaryPage && c.kind == parquet.ByteArray && c.words.page == nil && at == c.now.dict && h.encoding == pq.Plain:
		c.words.page = page
		*c.budget -= 4 * h.values
		if c.room = h.values; h.values > maxWords || *c.budget < 0 {
			return errPage
		}
		return c.words.read(h.values)
	case h.kind == pq.DataPage && slices.Contains(c.now.encodings, h.encoding):
		c.page = page
		return c.begin(h)
	}
	*c.budget += int64(cap(page))
	return errPage
}

// pageHeader is what is believed of one.
type pageHeader struct {
	kind         pq.PageType
	size, packed int64
	crc          int64
	values       int64
	encoding     pq.Encoding
	bounds       bool // there are least and greatest values, or levels in another form
}

func (c *columnReader) header() (h pageHeader, err error) {
	peek, err := c.in.Peek(int(min(maxPageHeader, c.rest)))
	if err != nil {
		return h, err
	}
	h.values, h.encoding = -1, -1
	h.kind = -1
	s := thriftSkim{in: peek, left: 64}
	err = s.object(0, nil, func(path []int16, v int64) {
		switch {
		case len(path) == 3 && path[0] == 5 && path[1] == 5:
			h.bounds = h.bounds || path[2] != 3 || v != 0 // the library says 0 nulls where it says nothing
		case len(path) == 2 && (path[0] == 5 && h.kind == pq.DataPage || path[0] == 7 && h.kind == pq.DictionaryPage):
			if path[1] == 1 {
				h.values = v
			} else if path[1] == 2 {
				h.encoding = pq.Encoding(v)
			} else if (path[1] == 3 || path[1] == 4) && v != int64(pq.RLE) { // of levels
				h.bounds = true
			}
		case len(path) > 1:
		case path[0] == 1:
			h.kind = pq.PageType(v)
		case path[0] == 2:
			h.size = v
		case path[0] == 3:
			h.packed = v
		case path[0] == 4:
			h.crc = v
		}
	})
	if err != nil {
		return h, err
	}
	c.rest -= int64(s.pos)
	c.plain += int64(s.pos) + h.size
	switch {
	case h.size < 0 || h.size > maxPage || h.packed < 0 || h.packed > c.rest || h.packed > h.size+h.size>>7+maxPageHeader,
		h.values < 0, h.bounds, h.kind == pq.DataPage && (h.values == 0 || h.values > c.values):
		return h, errPage
	}
	_, err = c.in.Discard(s.pos)
	return h, err
}

// unpack reads what a page holds.
func (c *columnReader) unpack(h pageHeader) ([]byte, error) {
	packed := sized(*c.packed, h.packed)
	*c.packed = packed
	if _, err := io.ReadFull(c.in, packed); err != nil {
		return nil, err
	}
	c.rest -= h.packed
	if !oneFrame(packed) {
		return nil, fmt.Errorf("%w: something stands behind it", errPage)
	}
	if h.crc != 0 && crc32.ChecksumIEEE(packed) != uint32(h.crc) {
		return nil, fmt.Errorf("%w: its sum", errPage)
	}
	out := c.spare
	c.spare = nil
	if int64(cap(out)) < h.size {
		out = make([]byte, 0, max(h.size, min(2*h.size, maxSpare)))
	}
	if *c.budget < int64(cap(out)) {
		return nil, errPage
	}
	page, err := unzstd.DecodeAll(packed, out[:0])
	if err == nil && int64(len(page)) != h.size {
		err = errPage
	}
	if err != nil {
		return nil, err
	}
	*c.budget -= int64(cap(page))
	return page, nil
}

// oneFrame reports whether data is one frame of zstd (RFC 8878 section 3.1.1) from its first byte to its last: decoders
// pass over frames that are to be skipped, and what stands in them others may find.
func oneFrame(data []byte) bool {
	var h zstd.Header
	if err := h.Decode(data); err != nil || h.Skippable {
		return false
	}
	at := h.HeaderSize
	for last := false; !last; {
		if at+3 > len(data) {
			return false
		}
		block := int(data[at]) | int(data[at+1])<<8 | int(data[at+2])<<16
		last = block&1 != 0
		switch at += 3; block >> 1 & 3 {
		case 0, 2: // raw, compressed
			at += block >> 3
		case 1: // a byte that repeats
			at++
		default:
			return false
		}
	}
	if h.HasCheckSum {
		at += 4
	}
	return at == len(data)
}

// begin begins to read the values of a data page.
func (c *columnReader) begin(h pageHeader) error {
	data := c.page
	if c.list {
		var err error
		if data, err = c.rep.levels(data); err != nil {
			return err
		}
	}
	if c.optional {
		var err error
		if data, err = c.def.levels(data); err != nil {
			return err
		}
	}
	c.count = int(h.values)
	switch {
	case h.encoding == pq.RLEDictionary && c.kind == parquet.ByteArray && c.words.page != nil:
		return c.data.dictionary(data, &c.words)
	case h.encoding == pq.Plain:
		c.data.plain(data, c.shape)
		return nil
	case h.encoding == pq.DeltaBinaryPacked && c.kind == parquet.Int64:
		return c.data.delta(data)
	case h.encoding == pq.DeltaLengthByteArray && c.kind == parquet.ByteArray && !c.list: // of a list nothing bounds the sizes
		return c.data.deltaLength(data, c.count)
	case h.encoding == pq.RLE && c.kind == parquet.Boolean:
		return c.data.bits(data)
	}
	return errPage
}

// dictionary is the words of a chunk.
type dictionary struct {
	page []byte
	at   []uint32 // where each begins
}

func (d *dictionary) read(n int64) error {
	pos := 0
	for range n {
		if len(d.page)-pos < 4 {
			return errPage
		}
		size := int64(binary.LittleEndian.Uint32(d.page[pos:]))
		if size > int64(len(d.page)-pos-4) {
			return errPage
		}
		d.at = append(d.at, uint32(pos))
		pos += 4 + int(size)
	}
	return nil
}

func (d *dictionary) word(i uint64) (parquet.Value, error) {
	if i >= uint64(len(d.at)) {
		return parquet.Value{}, errPage
	}
	at := d.at[i]
	size := binary.LittleEndian.Uint32(d.page[at:])
	return parquet.ByteArrayValue(d.page[at+4:][:size]), nil
}
