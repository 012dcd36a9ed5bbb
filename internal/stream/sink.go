package stream

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"
)

// sink is where events go. deliver returns nil only when the sink has confirmed all
// of them, as far as it can. Its methods are called by one goroutine at a time.
type sink interface {
	deliver(ctx context.Context, b *batch) error
	Close() error
}

// batch is what one attempt delivers: events of one tenant's log, in its order, or
// those of an alarm.
type batch struct {
	stream string
	format string
	// id is the same when the same events are delivered again.
	id     string
	events []event
}

// Bounds of a batch. One event may be larger than maxBatchBytes alone.
const (
	maxBatchEvents = 100
	maxBatchBytes  = 1 << 20
)

// refusedError says that the sink answered and will not have the batch, so that it is
// of no use to send it again as it is.
type refusedError struct {
	// split: fewer events at a time may be taken.
	split bool
	err   error
}

func (e *refusedError) Error() string { return e.err.Error() }
func (e *refusedError) Unwrap() error { return e.err }

// busyError says when the sink wants to be asked again.
type busyError struct {
	after time.Duration
	err   error
}

func (e *busyError) Error() string { return e.err.Error() }
func (e *busyError) Unwrap() error { return e.err }

// openSink opens a target. What it needs of files is read now, so that a mistake
// shows at the start; it connects to nothing.
func openSink(t *Target, host string) (sink, error) {
	switch {
	case t.Webhook != nil:
		return newWebhook(t.Webhook)
	case t.File != nil:
		return newFileSink(t.File)
	case t.Syslog != nil:
		return newSyslog(t.Syslog, host)
	}
	return nil, errors.New("stream: a target without a sink")
}

// maxPause is the longest pause between two attempts.
const maxPause = 5 * time.Minute

// backoff is how long a sink is left alone after failures one behind the other.
type backoff struct {
	first    time.Duration // the first pause
	failures int
	since    time.Time // of the first failure
	until    time.Time
	err      error // the last failure
}

// failed notes a failure. The pause doubles each time, and is shortened by up to half
// of it by chance, so that many senders do not come back at once.
func (b *backoff) failed(now time.Time, err error) {
	if b.failures == 0 {
		b.since = now
	}
	pause := min(b.first<<min(b.failures, 16), maxPause)
	b.failures++
	pause -= rand.N(pause/2 + 1)
	var busy *busyError
	if errors.As(err, &busy) {
		pause = min(max(pause, busy.after), maxPause)
	}
	b.until, b.err = now.Add(pause), err
}

func (b *backoff) waits(now time.Time) bool { return now.Before(b.until) }

func (b *backoff) worked() { *b = backoff{first: b.first} }
