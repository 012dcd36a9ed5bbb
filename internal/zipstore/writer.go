package zipstore

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// Writer writes an archive to a stream, which need not be seekable. After
// an error it stays failed. It is for one goroutine at a time.
type Writer struct {
	w       io.Writer
	at      int64
	entries []Entry
	names   names
	central int64 // size of the central directory so far
	buf     []byte
	err     error
}

// NewWriter returns a writer; the caller buffers w where it matters.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w, names: newNames(0)} }

// Add writes one entry.
func (w *Writer) Add(name string, data []byte) error {
	return w.AddReader(name, bytes.NewReader(data), int64(len(data)), crc32.ChecksumIEEE(data))
}

// AddReader writes one entry whose size in bytes and CRC-32 (IEEE) are known
// beforehand, since the header comes first. If r gives other bytes the error
// wraps [ErrFormat], and what is written is no archive.
func (w *Writer) AddReader(name string, r io.Reader, size int64, crc uint32) error {
	if w.err != nil {
		return w.err
	}
	if err := w.add(Entry{Name: name, Size: size, CRC32: crc, offset: w.at}, r); err != nil {
		w.err = fmt.Errorf("zip entry %s: %w", name, err)
	}
	return w.err
}

func (w *Writer) add(e Entry, r io.Reader) error {
	if len(w.entries) == MaxEntries {
		return fmt.Errorf("over %d entries: %w", MaxEntries, ErrFormat)
	}
	if !w.names.add(e.Name) {
		return fmt.Errorf("name not allowed or taken: %w", ErrFormat)
	}
	central := w.central + centralSize + int64(len(e.Name))
	if e.Size < 0 || e.Size > MaxSize || e.end()+central+endSize > MaxSize {
		return fmt.Errorf("archive of 4 GiB or more: %w", ErrFormat)
	}
	w.buf = e.appendLocal(w.buf[:0])
	if _, err := w.w.Write(w.buf); err != nil {
		return err
	}
	sum := crc32.NewIEEE()
	n, err := io.Copy(io.MultiWriter(w.w, sum), io.LimitReader(r, e.Size))
	if err != nil {
		return err
	}
	if n != e.Size {
		return fmt.Errorf("%d bytes announced, %d given: %w", e.Size, n, ErrFormat)
	}
	if extra, err := io.CopyN(io.Discard, r, 1); extra != 0 || !errors.Is(err, io.EOF) {
		return fmt.Errorf("more than the %d bytes announced: %w", e.Size, ErrFormat)
	}
	if sum.Sum32() != e.CRC32 {
		return fmt.Errorf("CRC-32 announced %08x, data have %08x: %w", e.CRC32, sum.Sum32(), ErrFormat)
	}
	w.entries = append(w.entries, e)
	w.central, w.at = central, e.end()
	return nil
}

// Size returns the number of bytes that the archive would have if it were
// closed now.
func (w *Writer) Size() int64 { return w.at + w.central + endSize }

// Close writes central directory and end record. It does not close the
// stream. An archive without entries is an error: no bundle is empty.
func (w *Writer) Close() error {
	if w.err != nil {
		return w.err
	}
	if len(w.entries) == 0 {
		w.err = fmt.Errorf("no entries: %w", ErrFormat)
		return w.err
	}
	for i := range w.entries {
		w.buf = w.entries[i].appendCentral(w.buf[:0])
		if i == len(w.entries)-1 {
			w.buf = appendEnd(w.buf, len(w.entries), w.central, w.at)
		}
		if _, err := w.w.Write(w.buf); err != nil {
			w.err = err
			return err
		}
	}
	w.err = fmt.Errorf("zip writer is closed: %w", ErrFormat)
	return nil
}
