package archive

import (
	"encoding/binary"

	"github.com/parquet-go/parquet-go"
)

// hybrid yields numbers in runs, or packed to so many bits (RLE of Parquet).
type hybrid struct {
	in    []byte
	width uint
	run   uint64 // how many are left
	value uint64 // of a run
	bits  int    // of what is packed, where the next begins; -1: it is a run of one value
}

// levels begins with the levels of a page, which are 0 or 1, and returns what stands behind them.
func (h *hybrid) levels(data []byte) (rest []byte, err error) {
	if len(data) < 4 {
		return nil, errPage
	}
	n := uint64(binary.LittleEndian.Uint32(data))
	if n > uint64(len(data)-4) {
		return nil, errPage
	}
	*h = hybrid{in: data[4 : 4+n], width: 1}
	return data[4+n:], nil
}

func (h *hybrid) next() (uint64, error) {
	for h.run == 0 {
		if err := h.begin(); err != nil {
			return 0, err
		}
	}
	h.run--
	if h.bits < 0 {
		return h.value, nil
	}
	v := bitsAt(h.in, h.bits, h.width)
	h.bits += int(h.width)
	if h.run == 0 {
		h.in = h.in[h.bits/8:]
	}
	return v, nil
}

// left is how many bytes are not read.
func (h *hybrid) left() int {
	if h.run > 0 && h.bits >= 0 {
		return len(h.in) - h.bits/8
	}
	return len(h.in)
}

func (h *hybrid) begin() error {
	u, n := binary.Uvarint(h.in)
	if n <= 0 || u>>1 > 1<<31 {
		return errPage
	}
	h.in = h.in[n:]
	if u&1 != 0 {
		size := u >> 1 * uint64(h.width) // eight values take as many bytes as one bits
		if size > uint64(len(h.in)) {
			return errPage
		}
		h.run, h.bits = u>>1*8, 0
		return nil
	}
	size := int(h.width+7) / 8
	if size > len(h.in) {
		return errPage
	}
	h.run, h.bits, h.value = u>>1, -1, bitsAt(h.in[:size], 0, uint(8*size))
	if h.width < 64 && h.value>>h.width != 0 {
		return errPage
	}
	h.in = h.in[size:]
	return nil
}

// bitsAt is the number of so many bits, at most 64, that begins at a bit, the lowest first.
// What is behind the end is zero.
func bitsAt(in []byte, at int, width uint) uint64 {
	if width == 0 {
		return 0
	}
	i, shift := at/8, uint(at%8)
	if i+9 <= len(in) {
		v := binary.LittleEndian.Uint64(in[i:]) >> shift
		if shift+width > 64 {
			v |= uint64(in[i+8]) << (64 - shift)
		}
		return v & (1<<(width-1)<<1 - 1)
	}
	v := uint64(0)
	for got := uint(0); got < width+shift && i < len(in); i++ {
		if got >= shift {
			v |= uint64(in[i]) << (got - shift)
		} else {
			v |= uint64(in[i]) >> (shift - got)
		}
		got += 8
	}
	return v & (1<<(width-1)<<1 - 1)
}

// deltas yields numbers of DELTA_BINARY_PACKED.
type deltas struct {
	in     []byte
	left   uint64 // values
	mini   uint64 // values of a miniblock
	widths []byte // of the miniblocks of the block that are to come
	minis  int
	base   int64
	last   int64
	first  bool

	room  uint64 // values left of the miniblock
	width uint
	bit   int
}

func (d *deltas) begin(in []byte) error {
	*d = deltas{in: in, first: true}
	var h [4]uint64 // size of a block, miniblocks of one, values, the first value
	for i := range h {
		v, n := binary.Uvarint(d.in)
		if n <= 0 {
			return errPage
		}
		h[i], d.in = v, d.in[n:]
	}
	if h[0] > 1<<16 || h[0]%128 != 0 || h[1] == 0 || h[1] > 512 || h[0]%h[1] != 0 || h[0]/h[1]%32 != 0 {
		return errPage
	}
	d.mini, d.minis, d.left, d.last = h[0]/h[1], int(h[1]), h[2], zigzag(h[3])
	return nil
}

func (d *deltas) next() (int64, error) {
	if d.left == 0 {
		return 0, errPage
	}
	d.left--
	if d.first {
		d.first = false
		return d.last, nil
	}
	if d.room == 0 {
		if err := d.miniblock(); err != nil {
			return 0, err
		}
	}
	d.room--
	d.last += d.base + int64(bitsAt(d.in, d.bit, d.width))
	if d.bit += int(d.width); d.room == 0 || d.left == 0 {
		d.in = d.in[min(int(d.mini)*int(d.width)/8, len(d.in)):]
	}
	return d.last, nil
}

func (d *deltas) miniblock() error {
	if len(d.widths) == 0 {
		v, n := binary.Uvarint(d.in)
		if n <= 0 || n+d.minis > len(d.in) {
			return errPage
		}
		d.base, d.widths, d.in = zigzag(v), d.in[n:n+d.minis], d.in[n+d.minis:]
	}
	d.width, d.widths = uint(d.widths[0]), d.widths[1:]
	need := int(min(d.mini, d.left+1)) * int(d.width)
	if d.width > 64 || (need+7)/8 > len(d.in) {
		return errPage
	}
	d.room, d.bit = d.mini, 0
	return nil
}

// decoder yields the values of a data page.
type decoder struct {
	shape
	from    source
	in      []byte
	bit     int
	runs    hybrid
	words   *dictionary
	numbers deltas
	sizes   []uint32
}

type source uint8

const (
	fromPlain source = iota
	fromWords
	fromDeltas
	fromSizes
	fromBits
)

func (d *decoder) plain(in []byte, s shape) { d.from, d.in, d.bit, d.shape = fromPlain, in, 0, s }

func (d *decoder) dictionary(in []byte, words *dictionary) error {
	if len(in) == 0 { // of a page without values
		in = []byte{0}
	}
	if in[0] > 32 {
		return errPage
	}
	d.from, d.words, d.runs = fromWords, words, hybrid{in: in[1:], width: uint(in[0])}
	return nil
}

func (d *decoder) delta(in []byte) error {
	d.from = fromDeltas
	return d.numbers.begin(in)
}

// deltaLength reads the sizes of all texts, behind which they stand.
func (d *decoder) deltaLength(in []byte, most int) error {
	d.from = fromSizes
	if err := d.numbers.begin(in); err != nil {
		return err
	}
	if d.numbers.left > uint64(most) {
		return errPage
	}
	d.sizes = d.sizes[:0]
	for d.numbers.left > 0 {
		n, err := d.numbers.next()
		if err != nil || n < 0 || n > maxPage {
			return errPage
		}
		d.sizes = append(d.sizes, uint32(n))
	}
	d.in = d.numbers.in
	return nil
}

func (d *decoder) bits(in []byte) error {
	d.from = fromBits
	rest, err := d.runs.levels(in)
	if err == nil && len(rest) > 0 {
		err = errPage
	}
	return err
}

// left is how many bytes of a page were not read.
func (d *decoder) left() int {
	switch {
	case d.from == fromWords || d.from == fromBits:
		return d.runs.left()
	case d.from == fromDeltas:
		return len(d.numbers.in)
	case d.from == fromPlain && d.kind == parquet.Boolean:
		return len(d.in) - d.bit/8
	}
	return len(d.in)
}

func (d *decoder) next() (v parquet.Value, err error) {
	switch d.from {
	case fromWords:
		i, err := d.runs.next()
		if err != nil {
			return v, err
		}
		return d.words.word(i)
	case fromDeltas:
		n, err := d.numbers.next()
		return parquet.Int64Value(n), err
	case fromSizes:
		if len(d.sizes) == 0 {
			return v, errPage
		}
		size := int(d.sizes[0])
		d.sizes = d.sizes[1:]
		text, err := d.take(size)
		return parquet.ByteArrayValue(text), err
	case fromBits:
		b, err := d.runs.next()
		return parquet.BooleanValue(b != 0), err
	}
	switch d.kind {
	case parquet.Boolean:
		if d.bit >= 8*len(d.in) {
			return v, errPage
		}
		d.bit++
		return parquet.BooleanValue(bitsAt(d.in, d.bit-1, 1) != 0), nil
	case parquet.Int64:
		b, err := d.take(8)
		if err != nil {
			return v, err
		}
		return parquet.Int64Value(int64(binary.LittleEndian.Uint64(b))), nil
	case parquet.FixedLenByteArray:
		b, err := d.take(d.size)
		return parquet.FixedLenByteArrayValue(b), err
	}
	b, err := d.take(4)
	if err != nil {
		return v, err
	}
	n := binary.LittleEndian.Uint32(b)
	if n > maxPage {
		return v, errPage
	}
	text, err := d.take(int(n))
	return parquet.ByteArrayValue(text), err
}

func (d *decoder) take(n int) ([]byte, error) {
	if n > len(d.in) {
		return nil, errPage
	}
	b := d.in[:n:n]
	d.in = d.in[n:]
	return b, nil
}
