package ledger

import (
	"context"
	"errors"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

const (
	// settingScrub is "1" from the time at which something was to be scrubbed and could not
	// be, until it is.
	settingScrub = "scrub_due"
	// scrubTries is how often whoever asks waits for readers, scrubPause between.
	scrubTries = 8
	scrubPause = 100 * time.Millisecond
	// scrubEvery is how often it is tried when nobody waits.
	scrubEvery = time.Second
)

// Scrub makes what was removed unrecoverable from the store's own files. A reader may hold
// an older state for a while: then later is true, and it is done as soon as that lets go,
// by this process or by the next.
func (l *Ledger) Scrub(ctx context.Context) (later bool, err error) {
	for range scrubTries {
		if err = l.store.Scrub(ctx); !errors.Is(err, evidence.ErrUnavailable) {
			break
		}
		select {
		case <-time.After(scrubPause):
		case <-ctx.Done():
		}
	}
	switch {
	case errors.Is(err, store.ErrSync):
		l.halt(err)
		return false, err
	case errors.Is(err, evidence.ErrUnavailable):
		// Also where who asks is gone: what was removed is.
		if err := l.store.SetSetting(context.WithoutCancel(ctx), settingScrub, "1"); err != nil {
			return false, err
		}
		l.scrubSoon()
		return true, nil
	}
	return false, err
}

// scrubSoon tries until it is done.
func (l *Ledger) scrubSoon() {
	if l.scrubbing.Swap(true) {
		return
	}
	l.stopped.Go(func() {
		defer l.scrubbing.Store(false)
		ctx := context.Background()
		for {
			select {
			case <-time.After(scrubEvery):
			case <-l.stop:
				return
			}
			err := l.store.Scrub(ctx)
			if err == nil {
				err = l.store.SetSetting(ctx, settingScrub, "")
			}
			switch {
			case err == nil:
				return
			case errors.Is(err, store.ErrSync):
				l.halt(err)
				return
			case !errors.Is(err, evidence.ErrUnavailable):
				l.log.Error("scrub", "err", err)
			}
		}
	})
}

// scrubDue goes on with what a process before could not do.
func (l *Ledger) scrubDue(ctx context.Context) error {
	due, err := l.store.Setting(ctx, settingScrub)
	if err != nil && !errors.Is(err, evidence.ErrNotFound) {
		return err
	}
	if due == "1" {
		l.scrubSoon()
	}
	return nil
}
