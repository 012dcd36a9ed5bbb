package export

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"slices"
	"strings"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
	"github.com/runledger/runledger/internal/zipstore"
	"github.com/runledger/runledger/verify"
)

// file is one file of a bundle, in a spool or in memory.
type file struct {
	path   string
	size   int64
	sha256 [sha256.Size]byte
	crc32  uint32

	spool *Spool
	off   int64
	data  []byte // where spool is nil
}

func (f *file) open() io.Reader {
	if f.spool == nil {
		return bytes.NewReader(f.data)
	}
	return f.spool.Section(f.off, f.size)
}

func memoryFile(path string, data []byte) file {
	return file{
		path: path, size: int64(len(data)), data: data,
		sha256: sha256.Sum256(data), crc32: crc32.ChecksumIEEE(data),
	}
}

// fileWriter writes one file after the other into a spool of its own.
type fileWriter struct {
	spool *Spool
	off   int64
	sha   hash.Hash
	crc   hash.Hash32
}

func newFileWriter(dir string) (*fileWriter, error) {
	s, err := NewSpool(dir)
	if err != nil {
		return nil, err
	}
	return &fileWriter{spool: s, sha: sha256.New(), crc: crc32.NewIEEE()}, nil
}

// Write adds to the current file.
func (w *fileWriter) Write(p []byte) (int, error) {
	w.sha.Write(p)
	w.crc.Write(p)
	return w.spool.Write(p)
}

// finish ends the current file.
func (w *fileWriter) finish(path string) file {
	f := file{path: path, size: w.spool.Size() - w.off, crc32: w.crc.Sum32(), spool: w.spool, off: w.off}
	w.sha.Sum(f.sha256[:0])
	w.off = w.spool.Size()
	w.sha.Reset()
	w.crc.Reset()
	return f
}

// makeManifest sorts the files and returns manifest.json.
func makeManifest(m *verify.Manifest, files []file) []byte {
	slices.SortFunc(files, func(a, b file) int { return strings.Compare(a.path, b.path) })
	for _, f := range files {
		m.Files = append(m.Files, verify.ManifestFile{Path: f.path, Size: f.size, SHA256: hex.EncodeToString(f.sha256[:])})
	}
	return m.Marshal()
}

// Bundle is a finished export, recorded and ready to be given out. Close it.
// It is for one goroutine at a time.
type Bundle struct {
	ExportID   string
	Tenant     string
	Run        string // of profile run
	Format     string
	Log        string // origin of logs/0
	Size       int64  // leaves of logs/0
	Checkpoint []byte // of logs/0
	Records    int64  // leaves in the bundle, of all logs
	Bytes      int64  // of the ZIP or JSON, or of all files of a directory
	// Digest is "sha256:" and hex: of the ZIP or JSON, or of manifest.json for a
	// directory, which has no bytes of its own.
	Digest string
	// Metadata is that of an answer about the bundle; of profile run only.
	Metadata evidence.Metadata

	files  []file // in the order of a ZIP: manifest.json, its files, the receipt
	doc    *file  // of formats csv and pdf: all that is given out
	spools []*Spool
	// What stands at end or behind came after it was made, of the system log at shared or behind (zero: nothing of it is in it).
	end, shared store.Position
	expiring    bool // there were expiries under way
}

// Close frees what the bundle holds on the disk.
func (b *Bundle) Close() error {
	var errs []error
	for _, s := range b.spools {
		errs = append(errs, s.Close())
	}
	b.spools = nil
	return errors.Join(errs...)
}

// Write writes the bundle in its format.
func (b *Bundle) Write(w io.Writer) error {
	if b.doc != nil {
		if _, err := io.Copy(w, b.doc.open()); err != nil {
			return fmt.Errorf("%s: %w", b.Format, err)
		}
		return nil
	}
	if b.Format == FormatJSON {
		return b.writeJSON(w)
	}
	return b.WriteZIP(w)
}

// WriteZIP writes the bundle as a ZIP.
func (b *Bundle) WriteZIP(w io.Writer) error {
	z := zipstore.NewWriter(w)
	for i := range b.files {
		f := &b.files[i]
		if err := z.AddReader(f.path, f.open(), f.size, f.crc32); err != nil {
			return err
		}
	}
	return z.Close()
}

// WriteTar writes the bundle's files as a tar stream, for a reader that puts
// them into a directory. The tar is transport, not evidence.
func (b *Bundle) WriteTar(w io.Writer) error {
	t := tar.NewWriter(w)
	for i := range b.files {
		f := &b.files[i]
		if err := t.WriteHeader(&tar.Header{Name: f.path, Mode: 0o600, Size: f.size, Format: tar.FormatPAX}); err != nil {
			return fmt.Errorf("tar %s: %w", f.path, err)
		}
		if _, err := io.Copy(t, f.open()); err != nil {
			return fmt.Errorf("tar %s: %w", f.path, err)
		}
	}
	return t.Close()
}

// measure sets Bytes and Digest, without keeping a second copy.
func (b *Bundle) measure(directory bool) error {
	if directory {
		for i := range b.files {
			b.Bytes += b.files[i].size
		}
		b.Digest = digest(b.files[0].sha256[:])
		return nil
	}
	c := &counter{hash: sha256.New()}
	if err := b.Write(c); err != nil {
		return err
	}
	b.Bytes, b.Digest = c.n, digest(c.hash.Sum(nil))
	return nil
}

type counter struct {
	hash hash.Hash
	n    int64
}

func (c *counter) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	return c.hash.Write(p)
}

func digest(sum []byte) string { return "sha256:" + hex.EncodeToString(sum) }
