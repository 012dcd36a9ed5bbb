package anchor

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/runledger/runledger/evidence"
)

// What the service says, as far as it is told apart. ErrAbsent must not reach who asks for
// evidence but as evidence.ErrNotFound, and that only where the list of keys says so too.
var (
	ErrAbsent       = errors.New("no such object")
	ErrMoved        = fmt.Errorf("%w: the object is not the one that was read", evidence.ErrUnavailable)
	ErrNoConditions = fmt.Errorf("%w: the service does not know this request", evidence.ErrUnavailable)
	// ErrUploadLost: the service does not know an upload in parts, or not all its parts.
	ErrUploadLost = fmt.Errorf("%w: the service has lost an upload, or a part of it", evidence.ErrUnavailable)
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

// classify says what an error is, and whether asking again may help.
func (c *Client) classify(err error) (cause error, again bool) {
	var e minio.ErrorResponse
	if !errors.As(err, &e) || e.StatusCode == 0 {
		// No answer, or not all of it.
		return fmt.Errorf("%w: %w", evidence.ErrUnavailable, err), true
	}
	say := func(format string, args ...any) error {
		return fmt.Errorf("%w: "+format+" (%d %s: %w)", append(append([]any{evidence.ErrUnavailable}, args...), e.StatusCode, e.Code, e)...)
	}
	switch e.Code {
	case "NoSuchUpload", "InvalidPart", "InvalidPartOrder":
		return fmt.Errorf("%w (%d %s)", ErrUploadLost, e.StatusCode, e.Code), false
	}
	switch e.StatusCode {
	case http.StatusNotFound:
		if e.Code == minio.NoSuchKey {
			return ErrAbsent, false
		}
		return say("bucket %q is not there", e.BucketName), false
	case http.StatusPreconditionFailed, http.StatusNotModified: // some answer a write with the latter
		return ErrMoved, false
	case http.StatusConflict: // two conditional writes at once
		return ErrMoved, false
	case http.StatusNotImplemented:
		return ErrNoConditions, false
	case http.StatusForbidden:
		return say("access is denied; it takes %s", c.cfg.Rights), false
	case http.StatusRequestTimeout, http.StatusTooManyRequests:
		return say("it asks to wait"), true
	}
	if e.StatusCode >= 500 || e.Code == "RequestTimeout" || e.Code == "SlowDown" {
		return say("it has failed"), true
	}
	return say("it refuses"), false
}
