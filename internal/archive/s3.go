package archive

import (
	"bytes"
	"container/list"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/minio/minio-go/v7"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/anchor"
)

// bucket is an archive in a bucket of an S3-compatible service.
type bucket struct {
	c        *anchor.Client
	partSize int64
}

func (b *bucket) open(ctx context.Context, name string) (object, error) {
	key := b.c.Key(name)
	info, err := b.stat(ctx, key)
	if errors.Is(err, anchor.ErrAbsent) {
		listed, lerr := b.c.Listed(ctx, key)
		if lerr != nil {
			return nil, lerr
		}
		if listed {
			return nil, b.c.Hidden(key)
		}
		return nil, fmt.Errorf("%s: %w", b.c.Where(key), evidence.ErrNotFound)
	}
	if err != nil {
		return nil, err
	}
	if info.Size < 0 {
		return nil, fmt.Errorf("%s: %w: the service does not say how large it is", b.c.Where(key), evidence.ErrUnavailable)
	}
	return &s3Object{b: b, key: key, n: info.Size, etag: info.ETag, blocks: map[int64]*list.Element{}, order: list.New()}, nil
}

func (b *bucket) stat(ctx context.Context, key string) (minio.ObjectInfo, error) {
	var info minio.ObjectInfo
	err := b.c.Do(ctx, "look for "+b.c.Where(key), func(ctx context.Context) (err error) {
		info, err = b.c.StatObject(ctx, b.c.Bucket(), key, minio.StatObjectOptions{})
		return err
	})
	return info, err
}

func (b *bucket) list(ctx context.Context, prefix string, fn func(name string) error) error {
	root := b.c.Key("")
	return b.c.List(ctx, root+prefix, func(key string, _ int64) error { return fn(strings.TrimPrefix(key, root)) })
}

// errFound ends a listing.
var errFound = errors.New("found")

func (b *bucket) problems(ctx context.Context) ([]string, error) {
	err := b.c.List(ctx, b.c.Key(""), func(string, int64) error { return errFound })
	if err != nil && !errors.Is(err, errFound) {
		return nil, err
	}
	var out []string
	if b.c.Plain() {
		out = append(out, fmt.Sprintf("%s is reached without TLS: who is on the way sees what is archived", b.c))
	}
	for _, p := range []string{b.lockProblem(ctx), b.c.VersioningProblem(ctx)} {
		if p != "" {
			out = append(out, p)
		}
	}
	return out, nil
}

// minLock is how long objects should be locked at least: longer than it takes until what stands in them stands
// nowhere else.
const minLock = 2 * 365

func (b *bucket) lockProblem(ctx context.Context) string {
	days, governed, problem := b.c.LockTerm(ctx)
	switch {
	case problem != "":
		return problem
	case governed:
		return fmt.Sprintf("%s has object lock in governance mode: who may bypass it can delete what the archive has", b.c)
	case days < minLock:
		return fmt.Sprintf("%s locks objects for %d days: leaves stand in the archive alone after a year, and must be kept for as long as evidence is", b.c, days)
	}
	return ""
}

// s3Object reads ranges. Small ones come from blocks, of which the last few are kept.
type s3Object struct {
	b    *bucket
	key  string
	n    int64
	etag string

	mu     sync.Mutex
	blocks map[int64]*list.Element // of block, by number
	order  *list.List              // the one used last first
}

type block struct {
	no   int64
	data []byte
}

const (
	blockSize = 512 << 10
	maxBlocks = 16
)

func (o *s3Object) size() int64  { return o.n }
func (o *s3Object) Close() error { return nil }

func (o *s3Object) readAt(ctx context.Context, p []byte, off int64) error {
	if off < 0 || off+int64(len(p)) > o.n {
		return fmt.Errorf("%s: %w: it ends at byte %d", o.b.c.Where(o.key), evidence.ErrTampered, o.n)
	}
	if len(p) > blockSize {
		return o.fetch(ctx, p, off)
	}
	for len(p) > 0 {
		data, err := o.block(ctx, off/blockSize)
		if err != nil {
			return err
		}
		n := copy(p, data[off%blockSize:])
		p, off = p[n:], off+int64(n)
	}
	return nil
}

// block returns a block of the object. Two callers at once may both fetch it.
func (o *s3Object) block(ctx context.Context, no int64) ([]byte, error) {
	o.mu.Lock()
	if e := o.blocks[no]; e != nil {
		o.order.MoveToFront(e)
		o.mu.Unlock()
		return e.Value.(*block).data, nil
	}
	o.mu.Unlock()
	data := make([]byte, min(blockSize, o.n-no*blockSize))
	if err := o.fetch(ctx, data, no*blockSize); err != nil {
		return nil, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.blocks[no] == nil {
		o.blocks[no] = o.order.PushFront(&block{no, data})
	}
	if o.order.Len() > maxBlocks {
		last := o.order.Remove(o.order.Back()).(*block)
		delete(o.blocks, last.no)
	}
	return data, nil
}

// fetch asks for a range. What is not the object that was opened is another by now.
func (o *s3Object) fetch(ctx context.Context, p []byte, off int64) error {
	if len(p) == 0 {
		return nil
	}
	where := o.b.c.Where(o.key)
	var opts minio.GetObjectOptions
	if err := opts.SetRange(off, off+int64(len(p))-1); err != nil {
		return fmt.Errorf("%s: %w", where, err)
	}
	if o.etag != "" {
		if err := opts.SetMatchETag(o.etag); err != nil {
			return fmt.Errorf("%s: %w", where, err)
		}
	}
	err := o.b.c.Do(ctx, "read "+where, func(ctx context.Context) error {
		r, _, _, err := o.b.c.GetObject(ctx, o.b.c.Bucket(), o.key, opts)
		if err != nil {
			return err
		}
		_, err = io.ReadFull(r, p)
		if err == nil { // a service that knows no ranges sends more
			var more [1]byte
			if n, _ := r.Read(more[:]); n > 0 {
				err = fmt.Errorf("the answer is longer than what was asked for")
			}
		}
		return errors.Join(err, r.Close())
	})
	switch {
	case errors.Is(err, anchor.ErrAbsent):
		return fmt.Errorf("%s: %w: it was there when it was opened", where, evidence.ErrNotFound)
	case errors.Is(err, anchor.ErrMoved):
		return fmt.Errorf("%w: %s has been replaced while it was read", evidence.ErrUnavailable, where)
	}
	return err
}

// bytesAt is a small object to be written.
func bytesAt(b []byte) (io.ReaderAt, int64) { return bytes.NewReader(b), int64(len(b)) }
