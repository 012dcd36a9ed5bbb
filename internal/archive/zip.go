package archive

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"sync"

	"github.com/klauspost/compress/flate"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/c2sp"
)

// zipWriter writes log.zip. Sizes and sums are known before an entry is written, so there
// are no data descriptors, and entries follow one another without gaps.
type zipWriter struct {
	z     *zip.Writer
	deflt *flate.Writer
	buf   bytes.Buffer
}

func newZipWriter(w io.Writer) (*zipWriter, error) {
	d, err := flate.NewWriter(nil, flate.BestSpeed)
	if err != nil {
		return nil, fmt.Errorf("archive: deflate: %w", err)
	}
	return &zipWriter{z: zip.NewWriter(w), deflt: d}, nil
}

// add writes an entry. Hashes do not get smaller, so only bundles are deflated.
func (w *zipWriter) add(id tileID, data []byte) error {
	h := &zip.FileHeader{
		Name: id.path(), Method: zip.Store, CRC32: crc32.ChecksumIEEE(data), ReaderVersion: 20,
		UncompressedSize64: uint64(len(data)), CompressedSize64: uint64(len(data)),
	}
	if id.level == c2sp.EntriesLevel {
		w.buf.Reset()
		w.deflt.Reset(&w.buf)
		if _, err := w.deflt.Write(data); err != nil {
			return fmt.Errorf("archive: deflate: %w", err)
		}
		if err := w.deflt.Close(); err != nil {
			return fmt.Errorf("archive: deflate: %w", err)
		}
		data = w.buf.Bytes()
		h.Method, h.CompressedSize64 = zip.Deflate, uint64(len(data))
	}
	out, err := w.z.CreateRaw(h)
	if err == nil {
		_, err = out.Write(data)
	}
	return err
}

func (w *zipWriter) close() error { return w.z.Close() }

// zipReader reads log.zip. Of what the directory says it believes names, sizes and sums,
// which must be those of a unit; where entries stand follows from that.
type zipReader struct {
	o       object
	entries map[tileID]zipEntry
}

type zipEntry struct {
	off        int64 // of the local header
	size, comp int64
	crc        uint32
	method     uint16
}

const (
	localHeader = 30 // bytes of a local header, less the name
	dirHeader   = 46 // of a header in the directory
	endRecord   = 22
	maxPlain    = 1<<32 - 1 // from this offset on ZIP64 says where an entry is
	// maxBundle is the size of 256 leaves of the greatest size.
	maxBundle = c2sp.TileWidth * (evidence.MaxLeafSize + 2)
)

var errZip = fmt.Errorf("it is not the ZIP of such a unit: %w", evidence.ErrTampered)

// openZip reads the directory of log.zip. It reads no more than such a directory has.
func openZip(ctx context.Context, o object, s span) (*zipReader, error) {
	want := s.entries()
	budget := int64(128 << 10)
	for _, id := range want {
		budget += dirHeader + 64 + int64(len(id.path()))
	}
	if n, err := entriesOf(ctx, o); err != nil {
		return nil, err
	} else if n != uint64(len(want)) {
		return nil, fmt.Errorf("%w: it says that it has %d entries instead of %d", errZip, n, len(want))
	}
	r := &budgeted{r: at{ctx, o}, left: 2 * budget} // the library looks for the end first
	z, err := zip.NewReader(r, o.size())
	if r.err != nil {
		return nil, r.err
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errZip, err)
	}
	if len(z.File) != len(want) || z.Comment != "" {
		return nil, fmt.Errorf("%w: it has %d entries instead of %d", errZip, len(z.File), len(want))
	}
	out := &zipReader{o, make(map[tileID]zipEntry, len(want))}
	off, dir := int64(0), int64(endRecord)
	for i, f := range z.File {
		id := want[i]
		e := zipEntry{off, int64(f.UncompressedSize64), int64(f.CompressedSize64), f.CRC32, f.Method}
		if f.Name != id.path() || !e.fits(id) || f.Flags != 0 || len(f.Extra) != 0 && off < maxPlain || f.Comment != "" {
			return nil, fmt.Errorf("%w: entry %q stands where %s is to be", errZip, f.Name, id.path())
		}
		out.entries[id] = e
		if off += localHeader + int64(len(f.Name)) + e.comp; off > o.size() {
			return nil, fmt.Errorf("%w: it ends within %s", errZip, f.Name)
		}
		dir += dirHeader + int64(len(f.Name))
	}
	if off+dir != o.size() && off < maxPlain { // a larger one has more in its directory
		return nil, fmt.Errorf("%w: there is something that no entry is", errZip)
	}
	return out, nil
}

// maxPacked is the most that an entry takes.
func maxPacked(id tileID) int64 {
	switch id.level {
	case c2sp.EntriesLevel:
		size := int64(id.width) * (evidence.MaxLeafSize + 2)
		return size + size/1000 + 64
	case noteLevel:
		return c2sp.MaxNoteSize
	}
	return int64(id.width * len(evidence.Hash{}))
}

// entriesOf is how many entries the end of a ZIP without a comment says there are: the library makes room for
// them before it looks for one.
func entriesOf(ctx context.Context, o object) (uint64, error) {
	const locator, end64 = 20, 56
	b := make([]byte, endRecord)
	if o.size() < endRecord {
		return 0, errZip
	}
	if err := o.readAt(ctx, b, o.size()-endRecord); err != nil {
		return 0, err
	}
	n := uint64(binary.LittleEndian.Uint16(b[10:]))
	if binary.LittleEndian.Uint32(b) != 0x06054b50 {
		return 0, errZip
	}
	at := o.size() - endRecord - locator - end64
	if at < 0 {
		return n, nil
	}
	b = make([]byte, end64+locator)
	if err := o.readAt(ctx, b, at); err != nil {
		return 0, err
	}
	if binary.LittleEndian.Uint32(b[end64:]) != 0x07064b50 { // no ZIP64
		return n, nil
	}
	if binary.LittleEndian.Uint32(b) != 0x06064b50 || binary.LittleEndian.Uint64(b[end64+8:]) != uint64(at) {
		return 0, errZip
	}
	return binary.LittleEndian.Uint64(b[32:]), nil
}

// fits reports whether an entry has a size that what it holds can have.
func (e zipEntry) fits(id tileID) bool {
	switch {
	case id.level == c2sp.EntriesLevel:
		return e.method == zip.Deflate && e.size >= 0 && e.size <= maxBundle && e.comp >= 0 && e.comp <= maxPacked(id)
	case e.method != zip.Store || e.comp != e.size:
		return false
	case id.level == noteLevel:
		return e.size >= 0 && e.size <= c2sp.MaxNoteSize
	}
	return e.size == int64(id.width*len(evidence.Hash{}))
}

// budgeted refuses to read more than what is left.
type budgeted struct {
	r    io.ReaderAt
	left int64
	err  error // of the storage, not of the format
}

func (b *budgeted) ReadAt(p []byte, off int64) (int, error) {
	if b.left -= int64(len(p)); b.left < 0 {
		return 0, fmt.Errorf("the directory is too large")
	}
	n, err := b.r.ReadAt(p, off)
	if err != nil && !errors.Is(err, io.EOF) && b.err == nil {
		b.err = err
	}
	return n, err
}

// inflaters keeps decompressors, which are large.
var inflaters sync.Pool

// read returns an entry's data, its sum checked.
func (z *zipReader) read(ctx context.Context, id tileID) ([]byte, error) {
	return z.readInto(ctx, id, &readBuffer{})
}

// readBuffer is used again by readInto.
type readBuffer struct{ raw, data []byte }

// sized returns a buffer of n bytes, b where it is large enough.
func sized(b []byte, n int64) []byte {
	if int64(cap(b)) < n {
		return make([]byte, n)
	}
	return b[:n]
}

// readInto is read with memory that the caller gives: what it returns is part of it.
func (z *zipReader) readInto(ctx context.Context, id tileID, buf *readBuffer) ([]byte, error) {
	e, ok := z.entries[id]
	if !ok {
		return nil, fmt.Errorf("%s: %w: %w", id.path(), errZip, evidence.ErrNotFound)
	}
	name := id.path()
	buf.raw = sized(buf.raw, localHeader+int64(len(name))+e.comp)
	raw := buf.raw
	if err := z.o.readAt(ctx, raw, e.off); err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	head := raw[:localHeader]
	if le.Uint32(head) != 0x04034b50 || le.Uint16(head[6:]) != 0 || le.Uint16(head[8:]) != e.method || le.Uint32(head[14:]) != e.crc ||
		int64(le.Uint32(head[18:])) != e.comp || int64(le.Uint32(head[22:])) != e.size ||
		int(le.Uint16(head[26:])) != len(name) || le.Uint16(head[28:]) != 0 || string(raw[localHeader:localHeader+len(name)]) != name {
		return nil, fmt.Errorf("%w: what stands before %s is not its header", errZip, name)
	}
	data := raw[localHeader+len(name):]
	if e.method == zip.Deflate {
		buf.data = sized(buf.data, e.size+1)
		var err error
		if data, err = inflate(buf.data, data); err != nil {
			return nil, fmt.Errorf("%w: %s: %w", errZip, name, err)
		}
	}
	if crc32.ChecksumIEEE(data) != e.crc {
		return nil, fmt.Errorf("%w: %s: its sum", errZip, name)
	}
	return data, nil
}

// inflate unpacks one byte less than out has, exactly.
func inflate(out, src []byte) ([]byte, error) {
	size := len(out) - 1
	in := bytes.NewReader(src)
	r, _ := inflaters.Get().(io.ReadCloser)
	if r == nil {
		r = flate.NewReader(in)
	} else if err := r.(flate.Resetter).Reset(in, nil); err != nil {
		return nil, err
	}
	defer inflaters.Put(r)
	n, err := io.ReadFull(r, out)
	if n != size || !errors.Is(err, io.ErrUnexpectedEOF) && (size > 0 || !errors.Is(err, io.EOF)) {
		return nil, errors.Join(fmt.Errorf("it has not the %d bytes that its header says", size), err)
	}
	if in.Len() > 0 {
		return nil, fmt.Errorf("bytes stand behind its data")
	}
	return out[:size], nil
}
