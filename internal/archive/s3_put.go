package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/anchor"
)

const (
	// partSize is how much one request sends. What is larger is sent in parts, of which
	// there may be 10,000.
	partSize = 8 << 20
	// uploadTries is how often an upload in parts is begun anew because the service lost it.
	uploadTries = 3
)

func (b *bucket) put(ctx context.Context, name string, r io.ReaderAt, size int64) error {
	return b.upload(ctx, name, r, size, false)
}

func (b *bucket) create(ctx context.Context, name string, r io.ReaderAt, size int64) error {
	return b.upload(ctx, name, r, size, true)
}

func (b *bucket) upload(ctx context.Context, name string, r io.ReaderAt, size int64, anew bool) error {
	key := b.c.Key(name)
	var err error
	if size <= b.partSize {
		err = b.whole(ctx, key, r, size, anew)
	} else {
		err = b.parts(ctx, key, r, size, anew)
	}
	if errors.Is(err, anchor.ErrAbsent) {
		err = fmt.Errorf("write %s: %w: the service answers that there is no such object", b.c.Where(key), evidence.ErrUnavailable)
	}
	return err
}

// sums of a piece of what stands in the spool.
func sums(r io.ReaderAt, off, size int64) (anchor.Sums, error) {
	s, err := anchor.SumsOf(io.NewSectionReader(r, off, size))
	if err != nil {
		err = fmt.Errorf("spool: %w", err)
	}
	return s, err
}

func putOptions() minio.PutObjectOptions { return anchor.PutOptions("application/octet-stream") }

// whole sends an object in one request. anew: the service is to refuse it where there is
// one; where it knows no such condition, the object is looked for before.
func (b *bucket) whole(ctx context.Context, key string, r io.ReaderAt, size int64, anew bool) error {
	sent, err := sums(r, 0, size)
	if err != nil {
		return err
	}
	if anew {
		switch _, err := b.stat(ctx, key); {
		case err == nil:
			return b.taken(key)
		case !errors.Is(err, anchor.ErrAbsent):
			return err
		}
	}
	for {
		opts := putOptions()
		if anew {
			opts.SetMatchETagExcept("*")
		}
		err := b.c.Do(ctx, "write "+b.c.Where(key), func(ctx context.Context) error {
			_, err := b.c.Send(ctx, key, io.NewSectionReader(r, 0, size), size, sent, opts)
			return err
		})
		switch {
		case anew && errors.Is(err, anchor.ErrNoConditions):
			anew = false
			continue
		case anew && errors.Is(err, anchor.ErrMoved):
			return b.taken(key)
		}
		return err
	}
}

func (b *bucket) taken(key string) error {
	return fmt.Errorf("%s: %w: it is there already", b.c.Where(key), evidence.ErrConflict)
}

// parts sends an object in several requests; it is there once all have arrived. A part
// whose request fails is sent again, and the whole where the service has lost it.
func (b *bucket) parts(ctx context.Context, key string, r io.ReaderAt, size int64, anew bool) error {
	var err error
	for range uploadTries {
		err = b.partsOnce(ctx, key, r, size, anew)
		if !errors.Is(err, anchor.ErrUploadLost) {
			return err
		}
		// The last request may have been carried out though its answer was lost: then the
		// upload is gone because it is done. What is there is read back all the same.
		if info, serr := b.stat(ctx, key); serr == nil && info.Size == size && time.Since(info.LastModified) < time.Hour {
			return nil
		}
	}
	return fmt.Errorf("%w, %d times in a row", err, uploadTries)
}

// partsOnce looks, with anew, whether there is one by now before it says that all is sent.
func (b *bucket) partsOnce(ctx context.Context, key string, r io.ReaderAt, size int64, anew bool) (err error) {
	where := b.c.Where(key)
	var id string
	err = b.c.Do(ctx, "begin to write "+where, func(ctx context.Context) (err error) {
		id, err = b.c.NewMultipartUpload(ctx, b.c.Bucket(), key, putOptions())
		return err
	})
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			b.abort(ctx, key, id)
		}
	}()
	var done []minio.CompletePart
	for off := int64(0); off < size; off += b.partSize {
		n := min(b.partSize, size-off)
		sent, err := sums(r, off, n)
		if err != nil {
			return err
		}
		no := len(done) + 1
		var part minio.ObjectPart
		err = b.c.Do(ctx, fmt.Sprintf("write part %d of %s", no, where), func(ctx context.Context) (err error) {
			part, err = b.c.PutObjectPart(ctx, b.c.Bucket(), key, id, no, io.NewSectionReader(r, off, n), n,
				minio.PutObjectPartOptions{Md5Base64: sent.MD5, Sha256Hex: sent.SHA256, DisableContentSha256: true})
			return err
		})
		if err != nil {
			return err
		}
		done = append(done, minio.CompletePart{PartNumber: no, ETag: part.ETag})
	}
	if anew {
		if _, err := b.stat(ctx, key); !errors.Is(err, anchor.ErrAbsent) {
			if err == nil {
				err = b.taken(key)
			}
			return err
		}
	}
	return b.c.Do(ctx, "finish writing "+where, func(ctx context.Context) error {
		_, err := b.c.CompleteMultipartUpload(ctx, b.c.Bucket(), key, id, done, putOptions())
		return err
	})
}

// abort gives up an upload, so that its parts are not kept and paid for. Where that fails a
// rule of the bucket must do it.
func (b *bucket) abort(ctx context.Context, key, id string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	_ = b.c.AbortMultipartUpload(ctx, b.c.Bucket(), key, id)
}
