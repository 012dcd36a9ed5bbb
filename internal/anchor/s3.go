package anchor

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/c2sp"
)

// S3 is an anchor in a bucket of an S3-compatible object storage. Its methods may be
// called from several goroutines. What the service cannot do now is
// evidence.ErrUnavailable; that a note is not there is evidence.ErrNotFound only where
// the list of keys says so too, since the ledger stops a log whose anchor is gone.
type S3 struct {
	c      *Client
	cfg    S3Config
	client *minio.Core

	mu   sync.Mutex
	logs map[string]*s3Log

	asking      sync.Mutex
	conditional *bool // what the service does with conditional writes; nil: not asked yet
}

// s3Log is what is known of one log's anchor.
type s3Log struct {
	writing sync.Mutex // held while the anchor is written
	last    *object    // as it was last seen; guarded by S3.mu
}

// object is what a key has.
type object struct {
	data []byte
	etag string
}

func (o *object) bytes() []byte {
	if o == nil {
		return nil
	}
	return o.data
}

// rights is what an anchor must be allowed to do.
const rights = "s3:GetObject, s3:PutObject and s3:ListBucket, and s3:DeleteObject to accept the loss of a log"

// NewS3 returns an anchor in a bucket. It looks for credentials and asks the bucket
// nothing.
func NewS3(cfg S3Config) (*S3, error) {
	cfg.Rights = rights
	c, err := NewClient(cfg)
	if err != nil {
		return nil, fmt.Errorf("anchor: %w", err)
	}
	return &S3{c: c, cfg: c.cfg, client: c.Core, logs: map[string]*s3Log{}}, nil
}

// do asks the service. The ledger's anchor knows no context: patience is the limit.
func (s *S3) do(what string, ask func(context.Context) error) error {
	return s.c.Do(context.Background(), what, ask)
}

// String is the address of the anchor, for people.
func (s *S3) String() string { return s.cfg.String() }

func (s *S3) key(name string) string { return s.c.Key(name) }

// where names a key for people.
func (s *S3) where(key string) string { return s.c.Where(key) }

// known returns what was last seen of a log's anchor; nil for nothing.
func (s *S3) known(origin string) (*s3Log, *object) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.logs[origin]
	if l == nil {
		l = &s3Log{}
		s.logs[origin] = l
	}
	return l, l.last
}

func (s *S3) remember(origin string, o *object) {
	l, _ := s.known(origin)
	s.mu.Lock()
	defer s.mu.Unlock()
	l.last = o
}

// Read implements ledger.Anchor. It always asks the service.
func (s *S3) Read(origin string) ([]byte, error) {
	if err := checkOrigin(origin); err != nil {
		return nil, err
	}
	o, err := s.get(s.key(origin + ".note"))
	if err != nil {
		return nil, of(origin, err)
	}
	s.remember(origin, o)
	return o.data, nil
}

// writeTries is how often a write is begun anew because the anchor was not what it was
// when it was read. Each time another process has moved it forward.
const writeTries = 6

// Write implements ledger.Anchor. It never goes back.
func (s *S3) Write(origin string, note []byte) error {
	if err := checkOrigin(origin); err != nil {
		return err
	}
	conditional, err := s.conditionalWrites()
	if err != nil {
		return of(origin, err)
	}
	key := s.key(origin + ".note")
	l, have := s.known(origin)
	l.writing.Lock()
	defer l.writing.Unlock()
	seen := have != nil
	if !conditional {
		have = nil // only what was read just now may be compared
	}
	for try := range writeTries {
		fresh := have == nil
		if fresh {
			have, err = s.get(key)
			if err != nil && (seen || !errors.Is(err, ErrAbsent)) {
				return of(origin, err) // one that was there is not made anew
			}
		}
		put, err := forward(origin, have.bytes(), note)
		if !fresh && (err != nil || !put) {
			have = nil // it may have been true once
			continue
		}
		if err != nil || !put {
			return of(origin, err)
		}
		next, err := s.put(key, note, have, conditional)
		if err == nil && (conditional || s.stands(key, note)) {
			s.remember(origin, next)
			return nil
		}
		if err != nil && !errors.Is(err, ErrMoved) {
			return of(origin, err)
		}
		have = nil
		time.Sleep(pause(try))
	}
	return of(origin, fmt.Errorf("%w: %s has changed, or was answered as it was before, %d times in a row",
		evidence.ErrUnavailable, s.where(key), writeTries))
}

// stands looks whether a note that was written without a condition, or one of a larger
// tree, is there.
func (s *S3) stands(key string, note []byte) bool {
	o, err := s.get(key)
	if err != nil {
		return false
	}
	got, _, err := c2sp.ParseNote(o.data)
	want, _, werr := c2sp.ParseNote(note)
	return err == nil && werr == nil && got.Size >= want.Size
}

// Origins implements ledger.Anchor.
func (s *S3) Origins() ([]string, error) {
	keys, err := s.list(s.key(""))
	if err != nil {
		return nil, fmt.Errorf("anchor: %w", err)
	}
	var out []string
	seen := map[string]bool{}
	for _, key := range keys {
		name := strings.TrimPrefix(key, s.key(""))
		origin, ok := strings.CutSuffix(name, ".note")
		if !ok {
			origin, _, ok = strings.Cut(name, ".lost-")
		}
		if ok && evidence.ValidOrigin(origin) && !seen[origin] {
			seen[origin] = true
			out = append(out, origin)
		}
	}
	return out, nil
}
