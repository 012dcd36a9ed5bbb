package archive

import (
	"io"
	"math/bits"
)

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
