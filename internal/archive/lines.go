package archive

import (
	"bufio"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"

	"github.com/runledger/runledger/evidence"
)

// gzipLines reads lines of one gzip member, and sees that nothing stands behind it.
type gzipLines struct {
	in   *bufio.Reader
	r    *bufio.Reader
	long []byte
}

func openGzip(r io.ReaderAt, size int64) (*gzipLines, error) {
	in := bufio.NewReaderSize(io.NewSectionReader(r, 0, size), 64<<10)
	z, err := gzip.NewReader(in)
	if errors.Is(err, evidence.ErrUnavailable) {
		return nil, err
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", evidence.ErrTampered, err)
	}
	z.Multistream(false)
	return &gzipLines{in: in, r: bufio.NewReaderSize(z, 64<<10)}, nil
}

// next returns a line without its end, valid until the next call. io.EOF: there is none.
func (g *gzipLines) next(limit int) ([]byte, error) {
	line, err := g.r.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		g.long = append(g.long[:0], line...)
		for errors.Is(err, bufio.ErrBufferFull) && len(g.long) <= limit {
			line, err = g.r.ReadSlice('\n')
			g.long = append(g.long, line...)
		}
		line = g.long
	}
	switch {
	case err == nil && len(line) <= limit:
		return line[:len(line)-1], nil
	case errors.Is(err, io.EOF) && len(line) == 0:
		if _, err := g.in.ReadByte(); !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("%w: bytes stand behind its end", evidence.ErrTampered)
		}
		return nil, io.EOF
	case errors.Is(err, io.EOF):
		return nil, fmt.Errorf("%w: its last line has no end", evidence.ErrTampered)
	case errors.Is(err, evidence.ErrUnavailable):
		return nil, err
	case err == nil || errors.Is(err, bufio.ErrBufferFull):
		return nil, fmt.Errorf("%w: a line of more than %d bytes", evidence.ErrTampered, limit)
	}
	return nil, fmt.Errorf("%w: %w", evidence.ErrTampered, err)
}

// lineChecker compares the lines of a kind's file with leaves.
type lineChecker struct{ *gzipLines }

func openLines(r io.ReaderAt, size int64) (*lineChecker, error) {
	g, err := openGzip(r, size)
	if err != nil {
		return nil, err
	}
	return &lineChecker{g}, nil
}

// line sees to it that the next line is this leaf.
func (l *lineChecker) line(leaf string) error {
	got, err := l.next(evidence.MaxLeafSize + 1)
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: lines end before it", evidence.ErrTampered)
	}
	if err == nil && string(got) != leaf {
		err = fmt.Errorf("%w: its line is not the leaf", evidence.ErrTampered)
	}
	return err
}

// end sees to it that there are no more.
func (l *lineChecker) end() error {
	_, err := l.next(evidence.MaxLeafSize + 1)
	if errors.Is(err, io.EOF) {
		return nil
	}
	if err == nil {
		err = fmt.Errorf("%w: it has more lines than leaves", evidence.ErrTampered)
	}
	return err
}
