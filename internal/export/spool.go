package export

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
)

// Spool is a temporary file that is written once from its beginning and then
// read. It has no name, and its bytes are encrypted (AES-256-CTR) under a key
// that lives in this process only: sealed content passes through it, and must
// not be found on the disk afterwards. It is for one goroutine at a time, but
// for ReadAt after Flush.
type Spool struct {
	f    *os.File
	aes  cipher.Block
	enc  cipher.Stream
	buf  []byte
	size int64
	err  error
}

// spoolBuffer is how much is encrypted and written at once.
const spoolBuffer = 64 << 10

// NewSpool makes a spool in dir, or where temporary files go if dir is "".
func NewSpool(dir string) (*Spool, error) {
	f, err := os.CreateTemp(dir, ".spool-*")
	if err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	// Without its name nothing is left when the process dies.
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(fmt.Errorf("spool: %w", err), f.Close())
	}
	var key [32]byte
	rand.Read(key[:])
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	s := &Spool{f: f, aes: block, buf: make([]byte, 0, spoolBuffer)}
	s.enc = s.stream(0)
	return s, nil
}

// stream returns the key stream from an offset. The counter begins at 0: a
// key serves one spool, and no byte of it is written twice.
func (s *Spool) stream(off int64) cipher.Stream {
	var iv [aes.BlockSize]byte
	binary.BigEndian.PutUint64(iv[8:], uint64(off/aes.BlockSize))
	ctr := cipher.NewCTR(s.aes, iv[:])
	skip := make([]byte, off%aes.BlockSize)
	ctr.XORKeyStream(skip, skip)
	return ctr
}

// Size returns how many bytes were written.
func (s *Spool) Size() int64 { return s.size }

// Write appends. After an error it stays failed.
func (s *Spool) Write(p []byte) (int, error) {
	n := 0
	for s.err == nil && len(p) > 0 {
		k := min(len(p), cap(s.buf)-len(s.buf))
		s.buf = append(s.buf, p[:k]...)
		p = p[k:]
		n += k
		s.size += int64(k)
		if len(s.buf) == cap(s.buf) {
			s.flush()
		}
	}
	return n, s.err
}

func (s *Spool) flush() {
	if s.err != nil || len(s.buf) == 0 {
		return
	}
	s.enc.XORKeyStream(s.buf, s.buf)
	if _, err := s.f.Write(s.buf); err != nil {
		s.err = fmt.Errorf("spool: %w", err)
	}
	s.buf = s.buf[:0]
}

// Flush writes what is held back, and ends the writing.
func (s *Spool) Flush() error {
	s.flush()
	return s.err
}

// ReadAt implements io.ReaderAt, for what was flushed.
func (s *Spool) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, errors.New("spool: negative offset")
	}
	n, err := s.f.ReadAt(p, off)
	s.stream(off).XORKeyStream(p[:n], p[:n])
	return n, err
}

// Section returns a reader of the bytes from off to off+n.
func (s *Spool) Section(off, n int64) io.Reader {
	s.flush()
	if s.err != nil {
		return failed{s.err}
	}
	return cipher.StreamReader{S: s.stream(off), R: io.NewSectionReader(s.f, off, n)}
}

type failed struct{ err error }

func (f failed) Read([]byte) (int, error) { return 0, f.err }

// Close frees the file.
func (s *Spool) Close() error { return s.f.Close() }
