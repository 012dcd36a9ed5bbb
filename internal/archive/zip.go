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

// zipReader reads log.zip.
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
	dirHeader   = 46 // of a header in the directory, less the name
	dirExtra    = 28 // and what ZIP64 adds to one
	endRecord   = 22
	maxPlain    = 1<<32 - 1 // from this offset on ZIP64 says where an entry is
	// maxBundle is the size of 256 leaves of the greatest size.
	maxBundle = c2sp.TileWidth * (evidence.MaxLeafSize + 2)
)

var errZip = fmt.Errorf("it is not the ZIP of such a unit: %w", evidence.ErrTampered)

// openZip reads the directory of log.zip, which must have the one form that archive/zip writes: whatever reads the file
// by its directory finds the same entries, and there is nothing that none of them is.
func openZip(ctx context.Context, o object, s span) (*zipReader, error) {
	want := s.entries()
	end, err := readEnd(ctx, o)
	if err != nil {
		return nil, err
	}
	room := int64(0)
	for _, id := range want {
		room += dirHeader + int64(len(id.path())) + dirExtra
	}
	if end.entries != uint64(len(want)) || end.size > uint64(room) {
		return nil, fmt.Errorf("%w: it has %d entries instead of %d", errZip, end.entries, len(want))
	}
	if end.off+end.size != uint64(end.stands) {
		return nil, fmt.Errorf("%w: its directory does not stand at its end", errZip)
	}
	dir := make([]byte, end.size)
	if err := o.readAt(ctx, dir, int64(end.off)); err != nil {
		return nil, err
	}
	out, off := &zipReader{o, make(map[tileID]zipEntry, len(want))}, int64(0)
	for _, id := range want {
		var e zipEntry
		if e, dir, err = parseEntry(dir, id, off); err != nil {
			return nil, err
		}
		out.entries[id] = e
		off += localHeader + int64(len(id.path())) + e.comp
	}
	if uint64(off) != end.off || len(dir) > 0 {
		return nil, fmt.Errorf("%w: there is something that no entry is", errZip)
	}
	return out, nil
}

// parseEntry reads the next header of a directory, which must be that of an entry at an offset.
func parseEntry(dir []byte, id tileID, off int64) (e zipEntry, rest []byte, err error) {
	name := id.path()
	wrong := fmt.Errorf("%w: the directory says something else of %s than where it stands and what it is", errZip, name)
	le, long := binary.LittleEndian, off >= maxPlain
	n := dirHeader + len(name)
	if long {
		n += dirExtra
	}
	if len(dir) < n || le.Uint32(dir) != 0x02014b50 || string(dir[dirHeader:dirHeader+len(name)]) != name {
		return e, nil, wrong
	}
	e = zipEntry{off, int64(le.Uint32(dir[24:])), int64(le.Uint32(dir[20:])), le.Uint32(dir[16:]), le.Uint16(dir[10:])}
	stands, extra := uint64(le.Uint32(dir[42:])), dir[dirHeader+len(name):n]
	if long { // ZIP64: all that is too long stands in a field of its own
		if stands != maxPlain || e.size != maxPlain || e.comp != maxPlain || le.Uint16(extra) != 1 || le.Uint16(extra[2:]) != dirExtra-4 {
			return e, nil, wrong
		}
		e.size, e.comp, stands = int64(le.Uint64(extra[4:])), int64(le.Uint64(extra[12:])), le.Uint64(extra[20:])
	}
	// Flags, lengths of name, extra and comment, and the disk.
	if le.Uint16(dir[8:]) != 0 || int(le.Uint16(dir[28:])) != len(name) || int(le.Uint16(dir[30:])) != len(extra) || le.Uint32(dir[32:]) != 0 ||
		stands != uint64(off) || !e.fits(id) {
		return e, nil, wrong
	}
	return e, dir[n:], nil
}

// zipEnd is what the end of a ZIP says of its directory.
type zipEnd struct {
	entries, off, size uint64
	stands             int64 // where the end begins
}

// readEnd reads the records at the end, in their one form.
func readEnd(ctx context.Context, o object) (end zipEnd, err error) {
	const locator, end64, many = 20, 56, 1<<16 - 1
	end.stands = o.size() - endRecord
	if end.stands < 0 {
		return end, errZip
	}
	b := make([]byte, endRecord)
	if err := o.readAt(ctx, b, end.stands); err != nil {
		return end, err
	}
	le := binary.LittleEndian
	end.entries, end.size, end.off = uint64(le.Uint16(b[10:])), uint64(le.Uint32(b[12:])), uint64(le.Uint32(b[16:]))
	if le.Uint32(b) != 0x06054b50 || le.Uint32(b[4:]) != 0 || le.Uint16(b[8:]) != le.Uint16(b[10:]) || le.Uint16(b[20:]) != 0 {
		return end, errZip
	}
	if end.entries < many && end.size < maxPlain && end.off < maxPlain {
		return end, nil
	}
	if end.entries != many || end.size != maxPlain || end.off != maxPlain || end.stands < end64+locator {
		return end, errZip
	}
	end.stands -= end64 + locator
	b = make([]byte, end64+locator)
	if err := o.readAt(ctx, b, end.stands); err != nil {
		return end, err
	}
	if le.Uint32(b) != 0x06064b50 || le.Uint64(b[4:]) != end64-12 || le.Uint64(b[16:]) != 0 || le.Uint64(b[24:]) != le.Uint64(b[32:]) ||
		le.Uint32(b[end64:]) != 0x07064b50 || le.Uint32(b[end64+4:]) != 0 || le.Uint64(b[end64+8:]) != uint64(end.stands) || le.Uint32(b[end64+16:]) != 1 {
		return end, errZip
	}
	end.entries, end.size, end.off = le.Uint64(b[32:]), le.Uint64(b[40:]), le.Uint64(b[48:])
	if end.entries < many && end.size < maxPlain && end.off < maxPlain || end.off > uint64(o.size()) || end.size > uint64(o.size()) {
		return end, errZip
	}
	return end, nil
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

// fits reports whether an entry has a size that what it holds can have.
func (e zipEntry) fits(id tileID) bool {
	switch {
	case id.level == c2sp.EntriesLevel:
		return e.method == zip.Deflate && e.size >= 0 && e.size <= maxBundle && e.comp >= 0 && e.comp <= e.size+e.size/1000+64
	case e.method != zip.Store || e.comp != e.size:
		return false
	case id.level == noteLevel:
		return e.size >= 0 && e.size <= c2sp.MaxNoteSize
	}
	return e.size == int64(id.width*len(evidence.Hash{}))
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
