package archive

import (
	"encoding/binary"
	"errors"
	"io"
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
