package report

import (
	"encoding/binary"
	"errors"
)

// The PDF writer embeds a glyph and the glyphs it is made of, but not those that these
// are made of in turn, so that letters of DejaVu such as a joined qaf would lose their
// body. flatten rewrites a TrueType font so that no glyph needs more than one step.

// Flags of a component of a composite glyph.
const (
	argWords  = 0x0001
	argsXY    = 0x0002
	oneScale  = 0x0008
	more      = 0x0020
	xyScale   = 0x0040
	twoByTwo  = 0x0080
	keepFlags = 0x0004 | oneScale | xyScale | twoByTwo | 0x0400 | 0x0800 | 0x1000 // rounding, scale, overlap, offsets
)

// component is a glyph inside another.
type component struct {
	flags  uint16
	glyph  int
	dx, dy int
	scale  []byte // verbatim
}

// outlines are the tables of a font that flatten rewrites.
type outlines struct {
	glyf []byte
	loca []uint32
}

var errFont = errors.New("font has a form that is not handled")

func flatten(font []byte) ([]byte, error) {
	dir, err := directory(font)
	if err != nil {
		return nil, err
	}
	head, loca, glyf := dir["head"], dir["loca"], dir["glyf"]
	if len(head.data) < 54 || binary.BigEndian.Uint16(head.data[50:]) != 1 || len(loca.data) < 8 {
		return nil, errFont // offsets of 16 bits could overflow
	}
	o := outlines{glyf: glyf.data}
	for i := 0; i+4 <= len(loca.data); i += 4 {
		o.loca = append(o.loca, binary.BigEndian.Uint32(loca.data[i:]))
		if n := len(o.loca); o.loca[n-1] > uint32(len(o.glyf)) || (n > 1 && o.loca[n-1] < o.loca[n-2]) {
			return nil, errFont
		}
	}
	newGlyf, newLoca, err := o.rewrite()
	if err != nil {
		return nil, err
	}
	// The new tables follow the font; only its directory learns of them.
	out := append([]byte(nil), font...)
	for _, t := range []struct {
		entry int
		data  []byte
	}{{glyf.entry, newGlyf}, {loca.entry, newLoca}} {
		for len(out)%4 != 0 {
			out = append(out, 0)
		}
		binary.BigEndian.PutUint32(out[t.entry+8:], uint32(len(out)))
		binary.BigEndian.PutUint32(out[t.entry+12:], uint32(len(t.data)))
		out = append(out, t.data...)
	}
	return append(out, 0, 0, 0, 0), nil // the writer pads to four bytes when it copies
}

type fontTable struct {
	entry int // of the directory
	data  []byte
}

func directory(font []byte) (map[string]fontTable, error) {
	if len(font) < 12 {
		return nil, errFont
	}
	dir := map[string]fontTable{}
	for i := range int(binary.BigEndian.Uint16(font[4:])) {
		e := 12 + 16*i
		if e+16 > len(font) {
			return nil, errFont
		}
		offset, length := uint64(binary.BigEndian.Uint32(font[e+8:])), uint64(binary.BigEndian.Uint32(font[e+12:]))
		if offset+length > uint64(len(font)) {
			return nil, errFont
		}
		dir[string(font[e:e+4])] = fontTable{e, font[offset : offset+length]}
	}
	return dir, nil
}

func (o *outlines) rewrite() (glyf, loca []byte, err error) {
	for g := range len(o.loca) - 1 {
		loca = binary.BigEndian.AppendUint32(loca, uint32(len(glyf)))
		data := o.glyf[o.loca[g]:o.loca[g+1]]
		if !composite(data) {
			glyf = append(glyf, data...)
			continue
		}
		flat, err := o.leaves(g, 0, 0, 0)
		if err != nil {
			return nil, nil, err
		}
		glyf = append(glyf, data[:10]...) // contours and bounds
		for i, c := range flat {
			flags := c.flags&keepFlags | argWords | argsXY
			if i+1 < len(flat) {
				flags |= more
			}
			for _, v := range []uint16{flags, uint16(c.glyph), uint16(int16(c.dx)), uint16(int16(c.dy))} {
				glyf = binary.BigEndian.AppendUint16(glyf, v)
			}
			glyf = append(glyf, c.scale...)
		}
		for len(glyf)%4 != 0 {
			glyf = append(glyf, 0)
		}
	}
	return glyf, binary.BigEndian.AppendUint32(loca, uint32(len(glyf))), nil
}

func composite(data []byte) bool {
	return len(data) >= 10 && int16(binary.BigEndian.Uint16(data)) < 0
}

// leaves are the simple glyphs that glyph g is made of, moved by dx and dy.
func (o *outlines) leaves(g, dx, dy, depth int) ([]component, error) {
	if depth > 8 || g >= len(o.loca)-1 {
		return nil, errFont
	}
	var out []component
	data := o.glyf[o.loca[g]:o.loca[g+1]]
	for rest := data[10:]; ; {
		c, after, err := parseComponent(rest)
		if err != nil {
			return nil, err
		}
		rest = after
		if c.glyph >= len(o.loca)-1 {
			return nil, errFont
		}
		last := c.flags&more == 0
		if composite(o.glyf[o.loca[c.glyph]:o.loca[c.glyph+1]]) {
			if c.flags&argsXY == 0 || len(c.scale) > 0 {
				return nil, errFont // points or a scale would have to be carried through
			}
			inner, err := o.leaves(c.glyph, dx+c.dx, dy+c.dy, depth+1)
			if err != nil {
				return nil, err
			}
			out = append(out, inner...)
		} else {
			if c.flags&argsXY == 0 {
				return nil, errFont
			}
			c.dx, c.dy = c.dx+dx, c.dy+dy
			out = append(out, c)
		}
		if last {
			return out, nil
		}
	}
}

func parseComponent(b []byte) (c component, rest []byte, err error) {
	if len(b) < 6 {
		return c, nil, errFont
	}
	c.flags, c.glyph = binary.BigEndian.Uint16(b), int(binary.BigEndian.Uint16(b[2:]))
	if b = b[4:]; c.flags&argWords != 0 {
		if len(b) < 4 {
			return c, nil, errFont
		}
		c.dx, c.dy = int(int16(binary.BigEndian.Uint16(b))), int(int16(binary.BigEndian.Uint16(b[2:])))
		b = b[4:]
	} else {
		c.dx, c.dy = int(int8(b[0])), int(int8(b[1]))
		b = b[2:]
	}
	n := 0
	switch {
	case c.flags&oneScale != 0:
		n = 2
	case c.flags&xyScale != 0:
		n = 4
	case c.flags&twoByTwo != 0:
		n = 8
	}
	if len(b) < n {
		return c, nil, errFont
	}
	c.scale = b[:n]
	return c, b[n:], nil
}
