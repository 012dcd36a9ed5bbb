package verify

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"sync"
)

var copyBuffers = sync.Pool{New: func() any { return new([128 << 10]byte) }}

// digests is check 2: every file of the manifest has its SHA-256.
func (c *checker) digests() error {
	files := c.man.Files
	total := int64(0)
	for _, f := range files {
		total += f.Size
	}
	i := 0
	next := func() (ManifestFile, error) {
		if i == len(files) {
			return ManifestFile{}, io.EOF
		}
		i++
		return files[i-1], nil
	}
	type sum struct {
		file ManifestFile
		sum  [sha256.Size]byte
		err  error
	}
	done := int64(0)
	for s, err := range inOrder(c.ctx, c.workers, next, func(f ManifestFile) sum {
		h, err := c.src.digest(f)
		return sum{f, h, err}
	}) {
		if err != nil {
			return err
		}
		if s.err != nil {
			if !broken(s.err) {
				return s.err
			}
			c.rep.add(Finding{Code: EContainer, Path: s.file.Path, Message: s.err.Error()})
			return nil
		}
		if got := hex.EncodeToString(s.sum[:]); got != s.file.SHA256 {
			c.rep.add(Finding{
				Code: EFile, Path: s.file.Path, Expected: s.file.SHA256, Found: got,
				Message: "the file is not the one that the manifest lists: its SHA-256 differs",
			})
			return nil
		}
		done += s.file.Size
		c.progress("files", done, total)
	}
	return nil
}

// digest hashes a file, which must be as long as listed.
func (s *source) digest(f ManifestFile) (sum [sha256.Size]byte, err error) {
	r, err := s.fsys.Open(f.Path)
	if err != nil {
		return sum, err
	}
	defer r.Close()
	h := sha256.New()
	buf := copyBuffers.Get().(*[128 << 10]byte)
	defer copyBuffers.Put(buf)
	n := int64(0)
	for {
		k, err := r.Read(buf[:])
		h.Write(buf[:k])
		if n += int64(k); n > f.Size {
			return sum, errContainer(f.Path + " has changed while it was read")
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return sum, err
		}
	}
	if n != f.Size {
		return sum, errContainer(fmt.Sprintf("%s has %d bytes, not the manifest's %d", f.Path, n, f.Size))
	}
	h.Sum(sum[:0])
	return sum, nil
}
