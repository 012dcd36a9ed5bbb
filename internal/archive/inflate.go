package archive

import (
	"encoding/binary"
	"errors"
	"io"
	"math/bits"
)

// inflater unpacks DEFLATE (RFC 1951). It is here because unpacking is a third of what
// checking a unit costs, and a decoder that has its output before it as one slice needs
// half of what one behind an io.Reader does. FuzzInflate compares it with the standard library.
type inflater struct {
	in   []byte
	pos  int
	bits uint64 // what of in was taken and not used: n bits; those above are zero or those of in[pos:]
	n    uint
	// more puts in more behind in[keep:] and returns it, or in[keep:] where there is none. nil:
	// in is all.
	more func(keep int) ([]byte, error)

	last   bool // the block that was begun is the last one
	state  blockState
	stored int // bytes that are left of a stored block

	lit   [litEntries]uint32
	dist  [distEntries]uint32
	count [maxCode + 1]uint16
	lens  [288 + 32]uint8
	codes [19]uint8
}

type blockState uint8

const (
	between blockState = iota // of two blocks
	inStored
	inCodes
	atEnd
)

const (
	maxCode  = 15
	litBits  = 11
	distBits = 8
	// A table of so many bits, and one of the rest for each beginning of codes that are longer,
	// which at least two of them share.
	litEntries  = 1<<litBits + 286/2<<(maxCode-litBits)
	distEntries = 1<<distBits + 30/2<<(maxCode-distBits)

	// The longest match, and what copying it by words writes behind it.
	maxMatch = 258
	slack    = 16
	// What fast reads of the input for one round: eight bytes twice, the second up to eight on.
	symbolBytes = 16
)

// An entry of a table: in bits 0 to 5 how many bits the symbol takes, its extra bits
// among them; in 8 to 11 its code alone; from 16 on what it is.
const (
	entLiteral = 1 << 31
	entSpecial = 1 << 15 // none of a literal, a length or a distance
	entTable   = 1 << 14 // the codes go on in the table that begins at what it is
	entEnd     = 1 << 13
)

var (
	errDeflate = errors.New("what was to be DEFLATE is not")
	errFull    = errors.New("it has more than it says")
)

func (z *inflater) reset(in []byte, more func(keep int) ([]byte, error)) {
	z.in, z.pos, z.bits, z.n, z.more = in, 0, 0, 0, more
	z.last, z.state = false, between
}

// run unpacks to out[o:], where out[:o] is what came before it, as far as there is room, and
// returns where it ends. io.EOF: that was all. With exact it fills out to its end, else it
// may leave some of it.
func (z *inflater) run(out []byte, o int, exact bool) (int, error) {
	for {
		var err error
		room := len(out) - o
		switch z.state {
		case between:
			if z.last {
				z.state = atEnd
				continue
			}
			err = z.header()
		case inStored:
			if z.stored == 0 {
				z.state = between
				continue
			}
			if room == 0 {
				if exact {
					return o, errFull
				}
				return o, nil
			}
			if z.pos == len(z.in) {
				if err = z.refill(); err == nil && z.pos == len(z.in) {
					err = io.ErrUnexpectedEOF
				}
				break
			}
			n := copy(out[o:o+min(room, z.stored)], z.in[z.pos:])
			o, z.pos, z.stored = o+n, z.pos+n, z.stored-n
		case inCodes:
			if !exact && room < maxMatch+slack {
				return o, nil
			}
			if room >= maxMatch+slack && z.pos+symbolBytes <= len(z.in) {
				o, err = z.fast(out, o)
			} else {
				o, err = z.one(out, o)
			}
		case atEnd:
			return o, io.EOF
		}
		if err != nil {
			return o, err
		}
	}
}

// refill sees to it that more of the input is there, where there is some.
func (z *inflater) refill() error {
	if z.more == nil {
		return nil
	}
	keep := max(z.pos-8, 0) // of which align may give back some
	in, err := z.more(keep)
	if err != nil {
		return err
	}
	z.in, z.pos = in, z.pos-keep
	return nil
}

// need takes bits until there are so many. At the end of the input there may be less.
func (z *inflater) need(n uint) error {
	for z.n < n {
		if z.pos == len(z.in) {
			if err := z.refill(); err != nil {
				return err
			}
			if z.pos == len(z.in) {
				return nil
			}
		}
		z.bits = z.bits&(1<<z.n-1) | uint64(z.in[z.pos])<<z.n
		z.pos++
		z.n += 8
	}
	return nil
}

func (z *inflater) take(n uint) (int, error) {
	if err := z.need(n); err != nil {
		return 0, err
	}
	if z.n < n {
		return 0, io.ErrUnexpectedEOF
	}
	v := int(z.bits & (1<<n - 1))
	z.bits >>= n
	z.n -= n
	return v, nil
}

// align gives back what was taken of whole bytes. What is left of one is skipped.
func (z *inflater) align() {
	z.pos -= int(z.n / 8)
	z.bits, z.n = 0, 0
}

func (z *inflater) header() error {
	h, err := z.take(3)
	if err != nil {
		return err
	}
	z.last = h&1 != 0
	switch h >> 1 {
	case 0:
		z.align()
		size, err := z.take(16)
		if err != nil {
			return err
		}
		not, err := z.take(16)
		if err != nil {
			return err
		}
		if size != ^not&0xffff {
			return errDeflate
		}
		z.align()
		z.stored, z.state = size, inStored
		return nil
	case 1:
		for i := range 288 {
			switch {
			case i < 144:
				z.lens[i] = 8
			case i < 256:
				z.lens[i] = 9
			case i < 280:
				z.lens[i] = 7
			default:
				z.lens[i] = 8
			}
		}
		for i := range 32 {
			z.lens[288+i] = 5
		}
		return z.tables(288, 32)
	case 2:
		return z.dynamic()
	}
	return errDeflate
}

var codeOrder = [19]uint8{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}

// dynamic reads the lengths of a block's codes.
func (z *inflater) dynamic() error {
	h, err := z.take(14)
	if err != nil {
		return err
	}
	nlit, ndist, ncode := 257+h&31, 1+h>>5&31, 4+h>>10
	if nlit > 286 || ndist > 30 {
		return errDeflate
	}
	z.codes = [19]uint8{}
	for _, at := range codeOrder[:ncode] {
		n, err := z.take(3)
		if err != nil {
			return err
		}
		z.codes[at] = uint8(n)
	}
	// The table of these is where that of distances will be.
	if err := z.table(z.dist[:], 7, z.codes[:], func(i int) uint32 { return uint32(i) << 16 }); err != nil {
		return err
	}
	for i := 0; i < nlit+ndist; {
		if err := z.need(14); err != nil {
			return err
		}
		e := z.dist[z.bits&(1<<7-1)]
		if uint(e&63) > z.n || e&entSpecial != 0 {
			return z.wrong()
		}
		z.bits >>= e & 63
		z.n -= uint(e & 63)
		sym := int(e >> 16)
		if sym < 16 {
			z.lens[i] = uint8(sym)
			i++
			continue
		}
		extra, times, value := uint(2), 3, uint8(0)
		switch {
		case sym == 16 && i == 0:
			return errDeflate
		case sym == 16:
			value = z.lens[i-1]
		case sym == 17:
			extra = 3
		case sym == 18:
			extra, times = 7, 11
		}
		more, err := z.take(extra)
		if err != nil {
			return err
		}
		if times += more; i+times > nlit+ndist {
			return errDeflate
		}
		for range times {
			z.lens[i] = value
			i++
		}
	}
	if z.lens[256] == 0 {
		return errDeflate
	}
	return z.tables(nlit, ndist)
}

// wrong is what a code that there is not means: the end of the input, or no code at all.
func (z *inflater) wrong() error {
	if z.n < maxCode && z.pos == len(z.in) {
		return io.ErrUnexpectedEOF
	}
	return errDeflate
}

// tables makes the tables of a block, of lens.
func (z *inflater) tables(nlit, ndist int) error {
	if err := z.table(z.lit[:], litBits, z.lens[:nlit], litEntry); err != nil {
		return err
	}
	z.state = inCodes
	return z.table(z.dist[:], distBits, z.lens[nlit:nlit+ndist], distEntry)
}

func litEntry(i int) uint32 {
	switch {
	case i < 256:
		return entLiteral | uint32(i)<<16
	case i == 256:
		return entSpecial | entEnd
	case i < 265:
		return uint32(i-254) << 16
	case i == 285:
		return maxMatch << 16
	case i > 285:
		return entSpecial
	}
	extra := uint32(i-261) / 4
	return (uint32(4+(i-265)%4)<<extra+3)<<16 | extra
}

func distEntry(i int) uint32 {
	switch {
	case i < 4:
		return uint32(i+1) << 16
	case i > 29:
		return entSpecial
	}
	extra := uint32(i-2) / 2
	return (uint32(2+i%2)<<extra+1)<<16 | extra
}

// table makes the table of a canonical code: of symbols with these lengths, first those of
// up to so many bits, and behind them tables for those that are longer. A code that leaves
// some words without meaning is accepted where it has at most one symbol, as others do.
func (z *inflater) table(t []uint32, first uint, lens []uint8, entry func(i int) uint32) error {
	z.count = [maxCode + 1]uint16{}
	for _, n := range lens {
		z.count[n]++
	}
	used := len(lens) - int(z.count[0])
	var next [maxCode + 2]uint32 // the next code of each length
	code := uint32(0)
	for n := 1; n <= maxCode; n++ {
		next[n] = code
		code = (code + uint32(z.count[n])) << 1
	}
	if code > 1<<(maxCode+1) || code < 1<<(maxCode+1) && (used > 1 || used == 1 && z.count[1] != 1) {
		return errDeflate
	}
	for i := range t[:1<<first] {
		t[i] = entSpecial | 1
	}
	end := uint32(1) << first // of what is in use
	for i, n8 := range lens {
		n := uint(n8)
		if n == 0 {
			continue
		}
		e := entry(i)
		e += uint32(n)
		e |= uint32(n) << 8
		word := uint(bits.Reverse16(uint16(next[n])) >> (16 - n))
		next[n]++
		if n <= first {
			for ; word < 1<<first; word += 1 << n {
				t[word] = e
			}
			continue
		}
		head := &t[word&(1<<first-1)]
		if *head&entTable == 0 {
			*head = end<<16 | entSpecial | entTable
			for i := range t[end : end+1<<(maxCode-first)] {
				t[int(end)+i] = entSpecial | 1
			}
			end += 1 << (maxCode - first)
		}
		sub := t[*head>>16:]
		for w := word >> first; w < 1<<(maxCode-first); w += 1 << (n - first) {
			sub[w] = e
		}
	}
	return nil
}

// fast unpacks symbols while there is input for a whole one, and room for a match and slack.
func (z *inflater) fast(out []byte, o int) (int, error) {
	in, pos, acc, n := z.in, z.pos, z.bits, z.n
	acc &= 1<<n - 1
	lit, dist := &z.lit, &z.dist
	end, room := len(in)-symbolBytes, len(out)-maxMatch-slack
	var err error
	for pos <= end && o <= room {
		acc |= binary.LittleEndian.Uint64(in[pos:]) << (n & 63)
		pos += int(63-n) >> 3
		n |= 56
		e := lit[acc&(1<<litBits-1)]
		if e&entLiteral != 0 { // of up to litBits each, so that the bits do for two and a length
			acc >>= e & 63
			n -= uint(e & 63)
			out[o] = byte(e >> 16)
			o++
			if e = lit[acc&(1<<litBits-1)]; e&entLiteral != 0 {
				acc >>= e & 63
				n -= uint(e & 63)
				out[o] = byte(e >> 16)
				o++
				e = lit[acc&(1<<litBits-1)]
			}
		}
		if e&entSpecial != 0 {
			if e&entTable != 0 {
				e = lit[uint(e>>16)+uint(acc>>litBits)&(1<<(maxCode-litBits)-1)]
			}
			if e&entSpecial != 0 {
				if e&entEnd == 0 {
					err = errDeflate
					break
				}
				acc >>= e & 63
				n -= uint(e & 63)
				z.state = between
				break
			}
		}
		if e&entLiteral != 0 {
			acc >>= e & 63
			n -= uint(e & 63)
			out[o] = byte(e >> 16)
			o++
			continue
		}
		length := int(e>>16) + int(acc&(1<<(e&63)-1)>>(e>>8&15))
		acc >>= e & 63
		n -= uint(e & 63)
		acc |= binary.LittleEndian.Uint64(in[pos:]) << (n & 63)
		pos += int(63-n) >> 3
		n |= 56
		e = dist[acc&(1<<distBits-1)]
		if e&entTable != 0 {
			e = dist[uint(e>>16)+uint(acc>>distBits)&(1<<(maxCode-distBits)-1)]
		}
		if e&entSpecial != 0 {
			err = errDeflate
			break
		}
		from := o - int(e>>16) - int(acc&(1<<(e&63)-1)>>(e>>8&15))
		acc >>= e & 63
		n -= uint(e & 63)
		if from < 0 {
			err = errDeflate
			break
		}
		copyMatch(out, from, o, length)
		o += length
	}
	z.pos, z.bits, z.n = pos, acc, n
	return o, err
}

// copyMatch copies a match, with up to slack bytes behind it.
func copyMatch(out []byte, from, o, length int) {
	if o-from >= 16 {
		for i := 0; i < length; i += 16 {
			a, b := out[from+i:][:16], out[o+i:][:16]
			binary.LittleEndian.PutUint64(b, binary.LittleEndian.Uint64(a))
			binary.LittleEndian.PutUint64(b[8:], binary.LittleEndian.Uint64(a[8:]))
		}
		return
	}
	for i := range length {
		out[o+i] = out[from+i]
	}
}

// one unpacks one symbol, at the end of the input or of the room.
func (z *inflater) one(out []byte, o int) (int, error) {
	e, length, err := z.symbol(z.lit[:], litBits)
	switch {
	case err != nil:
		return o, err
	case e&entLiteral != 0:
		if o == len(out) {
			return o, errFull
		}
		out[o] = byte(e >> 16)
		return o + 1, nil
	case e&entEnd != 0:
		z.state = between
		return o, nil
	}
	e, away, err := z.symbol(z.dist[:], distBits)
	switch {
	case err != nil:
		return o, err
	case e&entSpecial != 0 || away > o:
		return o, errDeflate
	case length > len(out)-o:
		return o, errFull
	}
	for i := range length {
		out[o+i] = out[o-away+i]
	}
	return o + length, nil
}

// symbol takes one symbol with its extra bits.
func (z *inflater) symbol(t []uint32, first uint) (e uint32, value int, err error) {
	if err := z.need(maxCode); err != nil {
		return 0, 0, err
	}
	e = t[z.bits&(1<<first-1)]
	if e&entTable != 0 {
		e = t[uint64(e>>16)+z.bits>>first&(1<<(maxCode-first)-1)]
	}
	if e&entSpecial != 0 && e&entEnd == 0 {
		return 0, 0, z.wrong()
	}
	code := uint(e >> 8 & 15)
	if code > z.n {
		return 0, 0, io.ErrUnexpectedEOF
	}
	z.bits >>= code
	z.n -= code
	if e&(entLiteral|entEnd) != 0 {
		return e, 0, nil
	}
	extra, err := z.take(uint(e&63) - code)
	return e, int(e>>16) + extra, err
}
