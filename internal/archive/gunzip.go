package archive

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

const (
	gzipHeader  = 10
	gzipTrailer = 8
	window      = 32 << 10 // what a match may go back
	ahead       = 128 << 10
)

// gunzip reads one gzip member (RFC 1952) without a name and the like, behind which nothing stands.
type gunzip struct {
	r    io.Reader
	z    inflater
	in   []byte // a buffer; z.in is what is in use of it
	out  []byte
	from int // what of out[:to] was not yet given out begins here
	to   int
	sum  uint32
	size uint32
	err  error
}

func newGunzip(r io.Reader) (*gunzip, error) {
	g := &gunzip{r: r, in: make([]byte, 64<<10), out: make([]byte, window+ahead)}
	head := g.in[:gzipHeader]
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, err
	}
	if head[0] != 0x1f || head[1] != 0x8b || head[2] != 8 || head[3] != 0 {
		return nil, errors.New("it is not such a gzip file")
	}
	g.z.reset(g.in[:0], g.more)
	return g, nil
}

// more reads on behind what is kept.
func (g *gunzip) more(keep int) ([]byte, error) {
	n := copy(g.in, g.z.in[keep:])
	m, err := io.ReadAtLeast(g.r, g.in[n:], 1)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return g.in[:n+m], err
}

func (g *gunzip) Read(p []byte) (int, error) {
	for g.from == g.to && g.err == nil {
		g.unpack()
	}
	if g.from == g.to {
		return 0, g.err
	}
	n := copy(p, g.out[g.from:g.to])
	g.from += n
	return n, nil
}

// unpack unpacks more, all of out having been given out.
func (g *gunzip) unpack() {
	if keep := g.to - window; keep > 0 {
		copy(g.out, g.out[keep:g.to])
		g.to = window
	}
	g.from = g.to
	g.to, g.err = g.z.run(g.out, g.to, false)
	g.sum = crc32.Update(g.sum, crc32.IEEETable, g.out[g.from:g.to])
	g.size += uint32(g.to - g.from)
	if errors.Is(g.err, io.EOF) {
		g.err = g.trailer()
	}
}

// trailer compares the sum and the size, and returns io.EOF where they are right.
func (g *gunzip) trailer() error {
	var t [gzipTrailer]byte
	g.z.align()
	for i := range t {
		b, err := g.z.take(8)
		if err != nil {
			return err
		}
		t[i] = byte(b)
	}
	if binary.LittleEndian.Uint32(t[:]) != g.sum || binary.LittleEndian.Uint32(t[4:]) != g.size {
		return errors.New("its sum or size is not that of what it has")
	}
	if err := g.z.need(8); err != nil {
		return err
	}
	if g.z.n > 0 {
		return fmt.Errorf("bytes stand behind its end")
	}
	return io.EOF
}
