package archive

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"

	"github.com/runledger/runledger/evidence"
)

// destination is where objects are. Names are relative, with slashes. Errors wrap
// evidence.ErrUnavailable where the storage does not do it and name the object.
type destination interface {
	// put writes an object; size bytes of r. What it is put over is gone, or another
	// version. Where the answer was lost it may be there though an error is returned.
	put(ctx context.Context, name string, r io.ReaderAt, size int64) error
	// create is put where there is none yet, else evidence.ErrConflict.
	create(ctx context.Context, name string, r io.ReaderAt, size int64) error
	// open returns an object, or evidence.ErrNotFound.
	open(ctx context.Context, name string) (object, error)
	// list calls fn for the objects whose names begin with a prefix, by name. What cannot be looked into has a slash
	// at its end.
	list(ctx context.Context, prefix string, fn func(name string) error) error
	problems(ctx context.Context) ([]string, error)
}

// object is one that is there. It may be read from several goroutines.
type object interface {
	size() int64
	// readAt fills p from an offset. Fewer bytes than that are evidence.ErrTampered.
	readAt(ctx context.Context, p []byte, off int64) error
	io.Closer
}

// pieceSize is how much of an object is read at once where all of it is read.
const pieceSize = 4 << 20

// copyObject writes an object to w and returns its digest.
func copyObject(ctx context.Context, w io.Writer, o object) (evidence.Hash, error) {
	h := sha256.New()
	buf := make([]byte, min(o.size(), pieceSize))
	for off := int64(0); off < o.size(); off += int64(len(buf)) {
		buf = buf[:min(o.size()-off, int64(len(buf)))]
		if err := o.readAt(ctx, buf, off); err != nil {
			return evidence.Hash{}, err
		}
		h.Write(buf)
		if _, err := w.Write(buf); err != nil {
			return evidence.Hash{}, fmt.Errorf("spool: %w: %w", evidence.ErrUnavailable, err)
		}
	}
	return evidence.Hash(h.Sum(nil)), nil
}

// readAll reads an object that has to be small.
func readAll(ctx context.Context, d destination, name string, limit int64) ([]byte, error) {
	o, err := d.open(ctx, name)
	if err != nil {
		return nil, err
	}
	defer o.Close()
	if o.size() > limit {
		return nil, fmt.Errorf("%s: %w: it has %d bytes; at most %d", name, evidence.ErrTampered, o.size(), limit)
	}
	b := make([]byte, o.size())
	return b, o.readAt(ctx, b, 0)
}

// at is an object as an io.ReaderAt, for one call.
type at struct {
	ctx context.Context
	o   object
}

func (a at) ReadAt(p []byte, off int64) (int, error) {
	n := max(min(int64(len(p)), a.o.size()-off), 0)
	if err := a.o.readAt(a.ctx, p[:n], off); err != nil {
		return 0, err
	}
	if int(n) < len(p) {
		return int(n), io.EOF
	}
	return int(n), nil
}
