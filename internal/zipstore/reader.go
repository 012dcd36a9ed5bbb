package zipstore

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Reader is an open archive. It implements fs.FS, fs.ReadFileFS and
// fs.ReadDirFS, and is safe for concurrent use if its io.ReaderAt is.
type Reader struct {
	r       io.ReaderAt
	entries []Entry
	byName  map[string]int
}

// Open reads and checks the structure of an archive of that size in bytes:
// it builds each header again from name, size, CRC and offset, and refuses
// whatever is not the same bytes, in the same order, without a gap. It does
// not read the data; a CRC that does not match is found on reading. Its
// memory is proportional to the number of entries. Errors about the form
// wrap [ErrFormat], others are those of r.
func Open(r io.ReaderAt, size int64) (*Reader, error) {
	entries, central, err := readEnd(r, size)
	if err != nil {
		return nil, err
	}
	z := &Reader{r: r, entries: make([]Entry, 0, entries), byName: make(map[string]int, entries)}
	dir := bufio.NewReader(io.NewSectionReader(r, central, size-endSize-central))
	seen := newNames(entries)
	at := int64(0)
	for range entries {
		e, err := readEntry(dir, at)
		if err != nil {
			return nil, fmt.Errorf("central directory, entry %d: %w", len(z.entries)+1, err)
		}
		if !seen.add(e.Name) {
			return nil, formatError("name %q is not allowed or stands twice", e.Name)
		}
		if at = e.end(); at > central {
			return nil, formatError("%s: its data reach into the central directory", e.Name)
		}
		if err := checkLocal(r, &e); err != nil {
			return nil, err
		}
		z.byName[e.Name] = len(z.entries)
		z.entries = append(z.entries, e)
	}
	if _, err := dir.ReadByte(); err != io.EOF {
		return nil, formatError("central directory is longer than its entries")
	}
	if at != central {
		return nil, formatError("%d bytes between the last entry and the central directory", central-at)
	}
	return z, nil
}

// readEnd checks the last 22 bytes and returns what they say: the number of
// entries and the offset of the central directory.
func readEnd(r io.ReaderAt, size int64) (entries int, central int64, err error) {
	if size < endSize || size > MaxSize {
		return 0, 0, formatError("%d bytes are no archive", size)
	}
	var end [endSize]byte
	if err := readAt(r, end[:], size-endSize); err != nil {
		return 0, 0, err
	}
	le := binary.LittleEndian
	entries = int(le.Uint16(end[8:]))
	central = int64(le.Uint32(end[16:]))
	length := size - endSize - central
	if length < int64(entries)*centralSize || entries == 0 ||
		!bytes.Equal(end[:], appendEnd(nil, entries, length, central)) {
		return 0, 0, formatError("the last %d bytes are not the end record of this archive", endSize)
	}
	return entries, central, nil
}

// readEntry reads one header of the central directory. offset is where its
// local header has to stand.
func readEntry(dir *bufio.Reader, offset int64) (Entry, error) {
	var head [centralSize + MaxName]byte
	if err := readFull(dir, head[:centralSize]); err != nil {
		return Entry{}, err
	}
	le := binary.LittleEndian
	n := int(le.Uint16(head[28:]))
	if n > MaxName {
		return Entry{}, formatError("a name of %d bytes", n)
	}
	if err := readFull(dir, head[centralSize:centralSize+n]); err != nil {
		return Entry{}, err
	}
	e := Entry{
		Name:   string(head[centralSize : centralSize+n]),
		Size:   int64(le.Uint32(head[24:])),
		CRC32:  le.Uint32(head[16:]),
		offset: offset,
	}
	if !bytes.Equal(head[:centralSize+n], e.appendCentral(make([]byte, 0, centralSize+MaxName))) {
		return Entry{}, formatError("header of %q is not what its name, size, CRC and place make it", e.Name)
	}
	return e, nil
}

func checkLocal(r io.ReaderAt, e *Entry) error {
	var got [localSize + MaxName]byte
	want := e.appendLocal(make([]byte, 0, localSize+MaxName))
	if err := readAt(r, got[:len(want)], e.offset); err != nil {
		return err
	}
	if !bytes.Equal(got[:len(want)], want) {
		return formatError("local header of %s is not what the central directory makes it", e.Name)
	}
	return nil
}

// Entries returns the entries in their order. Not to be changed.
func (z *Reader) Entries() []Entry { return z.entries }

func readAt(r io.ReaderAt, b []byte, off int64) error {
	n, err := r.ReadAt(b, off)
	switch {
	case n == len(b):
		return nil
	case err == io.EOF:
		return formatError("archive is shorter than its size")
	default:
		return err
	}
}

func readFull(r io.Reader, b []byte) error {
	_, err := io.ReadFull(r, b)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return formatError("archive is shorter than its directory says")
	}
	return err
}

func formatError(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrFormat}, args...)...)
}
