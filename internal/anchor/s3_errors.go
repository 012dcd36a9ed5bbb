package anchor

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/runledger/runledger/evidence"
)

// What the service says, as far as it is told apart. errAbsent must not leave the
// package but as evidence.ErrNotFound, and that only for a note that is not there.
var (
	errAbsent       = errors.New("no such object")
	errMoved        = fmt.Errorf("%w: the object is not the one that was read", evidence.ErrUnavailable)
	errNoConditions = fmt.Errorf("%w: the service does not know this request", evidence.ErrUnavailable)
)

// errOdd: 404 was answered to what cannot be missing.
var errOdd = fmt.Errorf("%w: the service answers that there is no such object", evidence.ErrUnavailable)

const (
	firstPause = 100 * time.Millisecond
	maxPause   = 2 * time.Second
	// restFor is how long nothing is asked after patience ran out, so that a round over
	// all logs does not take the patience of each.
	restFor = time.Second
)

// pause is how long to wait before try n+1: longer each time, and not for all the same.
func pause(n int) time.Duration {
	d := min(firstPause<<min(n, 10), maxPause)
	return d/2 + rand.N(d/2)
}

// do asks the service, again where that may help, until patience runs out. Errors but
// errAbsent wrap evidence.ErrUnavailable.
func (s *S3) do(what string, ask func(context.Context) error) error {
	if err := s.resting(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	end := time.Now().Add(s.cfg.Patience)
	var said error // the last that was answered: it tells more than that time ran out
	for try := 0; ; try++ {
		ctx, cancel := context.WithTimeout(context.Background(), min(s.cfg.Timeout, time.Until(end)))
		err := ask(ctx)
		cancel()
		if err == nil {
			return nil
		}
		err, again := classify(err)
		if !again {
			return fmt.Errorf("%s: %w", what, err)
		}
		if !errors.Is(err, context.DeadlineExceeded) {
			said = err
		}
		wait := pause(try)
		if time.Until(end) < wait+firstPause {
			if said != nil {
				err = said
			}
			err = fmt.Errorf("%w, %d times in %v", err, try+1, s.cfg.Patience)
			s.giveUp(err)
			return fmt.Errorf("%s: %w", what, err)
		}
		time.Sleep(wait)
	}
}

func (s *S3) resting() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Now().Before(s.rest) {
		return fmt.Errorf("not asked, just now it was: %w", s.reason)
	}
	return nil
}

func (s *S3) giveUp(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rest, s.reason = time.Now().Add(restFor), err
}

// classify says what an error is, and whether asking again may help.
func classify(err error) (cause error, again bool) {
	var e minio.ErrorResponse
	if !errors.As(err, &e) || e.StatusCode == 0 {
		// No answer, or not all of it.
		return fmt.Errorf("%w: %w", evidence.ErrUnavailable, err), true
	}
	say := func(format string, args ...any) error {
		return fmt.Errorf("%w: "+format+" (%d %s: %w)", append(append([]any{evidence.ErrUnavailable}, args...), e.StatusCode, e.Code, e)...)
	}
	switch e.StatusCode {
	case http.StatusNotFound:
		if e.Code == minio.NoSuchKey {
			return errAbsent, false
		}
		return say("bucket %q is not there", e.BucketName), false
	case http.StatusPreconditionFailed, http.StatusNotModified: // some answer a write with the latter
		return errMoved, false
	case http.StatusConflict: // two conditional writes at once
		return errMoved, false
	case http.StatusNotImplemented:
		return errNoConditions, false
	case http.StatusForbidden:
		return say("access is denied; it takes s3:GetObject, s3:PutObject and s3:ListBucket, and s3:DeleteObject to accept the loss of a log"), false
	case http.StatusRequestTimeout, http.StatusTooManyRequests:
		return say("it asks to wait"), true
	}
	if e.StatusCode >= 500 || e.Code == "RequestTimeout" || e.Code == "SlowDown" {
		return say("it has failed"), true
	}
	return say("it refuses"), false
}
