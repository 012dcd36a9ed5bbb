package anchor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/runledger/runledger/internal/c2sp"
)

// errDamaged: what was read is not a note. It is read again, for it may be an answer of
// something between here and the service.
var errDamaged = errors.New("what was read is not a signed note")

// get reads an object. ErrAbsent: there is none, and the list of keys says so too. What is not a note
// after some tries is returned as it is, never nil: that it is not one is for the
// ledger to find.
func (s *S3) get(key string) (*object, error) {
	for range 3 {
		o, err := s.getNote(key)
		if !errors.Is(err, ErrAbsent) {
			return o, err
		}
		listed, err := s.c.Listed(context.Background(), key)
		if err != nil {
			return nil, err
		}
		if !listed {
			return nil, ErrAbsent
		}
		time.Sleep(pause(0)) // made just now by another process, perhaps
	}
	return nil, s.c.Hidden(key)
}

func (s *S3) getNote(key string) (*object, error) {
	var o *object
	tries := 0
	err := s.do("read "+s.where(key), func(ctx context.Context) error {
		tries++
		var err error
		if o, err = s.getOnce(ctx, key); err != nil {
			return err
		}
		if _, _, err := c2sp.ParseNote(o.data); err == nil {
			return nil
		}
		if o.etag == "" { // no object storage answers so
			return fmt.Errorf("%w, and the answer has no ETag", errDamaged)
		}
		if tries < 3 {
			return errDamaged
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return o, nil
}

func (s *S3) getOnce(ctx context.Context, key string) (*object, error) {
	r, info, _, err := s.client.GetObject(ctx, s.cfg.Bucket, key, minio.GetObjectOptions{})
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(r, c2sp.MaxNoteSize+1))
	if err = errors.Join(err, r.Close()); err != nil {
		return nil, err
	}
	return &object{data: append([]byte{}, data...), etag: info.ETag}, nil
}

// put writes an object: only over the one it was when it was read, nil for none, where
// the service has conditional writes. ErrMoved: it is another now; or this was written
// and the answer was lost.
func (s *S3) put(key string, data []byte, over *object, conditional bool) (*object, error) {
	opts := options()
	switch {
	case !conditional:
	case over == nil:
		opts.SetMatchETagExcept("*")
	default:
		opts.SetMatchETag(over.etag)
	}
	etag := ""
	err := s.do("write "+s.where(key), func(ctx context.Context) error {
		info, err := s.putOnce(ctx, key, data, opts)
		etag = info.ETag
		return err
	})
	if errors.Is(err, ErrAbsent) {
		err = errOdd
		if conditional && over != nil {
			err = ErrMoved // it is gone
		}
	}
	if err != nil {
		return nil, err
	}
	if etag == "" {
		return nil, nil // written, and to be read before it is written again
	}
	return &object{data: bytes.Clone(data), etag: etag}, nil
}

func options() minio.PutObjectOptions { return PutOptions("text/plain; charset=utf-8") }

func (s *S3) putOnce(ctx context.Context, key string, data []byte, opts minio.PutObjectOptions) (minio.UploadInfo, error) {
	sums, err := SumsOf(bytes.NewReader(data))
	if err != nil {
		return minio.UploadInfo{}, err
	}
	return s.c.Send(ctx, key, bytes.NewReader(data), int64(len(data)), sums, opts)
}

// list returns the keys with a prefix, in order.
func (s *S3) list(prefix string) ([]string, error) {
	var keys []string
	err := s.c.List(context.Background(), prefix, func(key string, _ int64) error {
		keys = append(keys, key)
		return nil
	})
	return keys, err
}

const probeName = "conditional-writes"

const probeText = "This object shows runledger whether the service refuses a write whose condition does not hold.\n"

// conditionalWrites finds out, once, whether the service refuses a write whose condition
// does not hold, of both kinds that are used. Some do not know conditions and say so;
// some write all the same.
func (s *S3) conditionalWrites() (bool, error) {
	s.asking.Lock()
	defer s.asking.Unlock()
	if s.conditional != nil {
		return *s.conditional, nil
	}
	anew, over := options(), options()
	anew.SetMatchETagExcept("*")
	over.SetMatchETag("00000000000000000000000000000000")
	known := true
	// The first makes the object where there is none; the others must be refused.
	for i, opts := range []minio.PutObjectOptions{anew, anew, over} {
		refused, err := s.refuses(opts)
		if err != nil {
			return false, err
		}
		if i > 0 && !refused {
			known = false
			break
		}
	}
	s.conditional = &known
	return known, nil
}

func (s *S3) refuses(opts minio.PutObjectOptions) (bool, error) {
	key := s.key(probeName)
	err := s.do("write "+s.where(key), func(ctx context.Context) error {
		_, err := s.putOnce(ctx, key, []byte(probeText), opts)
		return err
	})
	switch {
	case errors.Is(err, ErrMoved):
		return true, nil
	case err == nil, errors.Is(err, ErrNoConditions):
		return false, nil
	case errors.Is(err, ErrAbsent):
		err = errOdd
	}
	return false, err
}

// Problems returns what weakens this anchor, one line each, for people; none is good.
func (s *S3) Problems() ([]string, error) {
	conditional, err := s.conditionalWrites()
	if err != nil {
		return nil, err
	}
	var out []string
	if !conditional {
		out = append(out, fmt.Sprintf("the service of %s does not refuse a write whose condition does not hold: "+
			"of two processes that write at once, one may set the anchor back until it is next written", &s.cfg))
	}
	if s.c.Plain() {
		out = append(out, fmt.Sprintf("%s is reached without TLS: who is on the way can answer with an older note", &s.cfg))
	}
	if p := s.c.VersioningProblem(context.Background()); p != "" {
		out = append(out, p)
	}
	return out, nil
}
