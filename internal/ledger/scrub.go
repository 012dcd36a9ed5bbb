package ledger

import (
	"context"
	"errors"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

const (
	// scrubTries is how often whoever asks waits for readers, scrubPause between.
	scrubTries = 8
	scrubPause = 100 * time.Millisecond
	// scrubEvery is how often it is tried when nobody waits, scrubSeldom where an error is not likely to
	// pass.
	scrubEvery  = time.Second
	scrubSeldom = time.Hour
)

// Scrub makes what was removed unrecoverable from the store's own files. A reader may hold
// an older state for a while, or the disk be full: then later is true, and it is done as soon as it can be, by
// this process or by the next (store.SettingScrub).
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
	case err == nil:
		return false, nil
	case errors.Is(err, store.ErrSync):
		l.halt(err)
		return false, err
	}
	l.scrubSoon()
	if errors.Is(err, evidence.ErrUnavailable) {
		err = nil // also where who asks is gone: what was removed is
	}
	return true, err
}

// ScrubDue is Scrub where something is to be scrubbed, by what the store has kept in mind.
func (l *Ledger) ScrubDue(ctx context.Context) error {
	due, err := l.scrubIsDue(ctx)
	if err == nil && due {
		_, err = l.Scrub(ctx)
	}
	return err
}

func (l *Ledger) scrubIsDue(ctx context.Context) (bool, error) {
	due, err := l.store.Setting(ctx, store.SettingScrub)
	if errors.Is(err, evidence.ErrNotFound) {
		return false, nil
	}
	return due == "1", err
}

// scrubSoon tries until it is done.
func (l *Ledger) scrubSoon() {
	if l.scrubs.Add(1) > 1 {
		return // whoever is at it sees that more is asked for
	}
	l.stopped.Go(func() {
		ctx := context.Background()
		pause := scrubEvery
		for {
			select {
			case <-time.After(pause):
			case <-l.stop:
				return
			}
			asked := l.scrubs.Load()
			err := l.store.Scrub(ctx)
			switch {
			case err == nil && l.scrubs.CompareAndSwap(asked, 0):
				return
			case errors.Is(err, store.ErrSync):
				l.halt(err)
				return
			case err != nil && !errors.Is(err, evidence.ErrUnavailable):
				l.log.Error("scrub", "err", err)
				pause = min(2*pause, scrubSeldom)
			}
		}
	})
}

// startScrub goes on with what a process before did not come to.
func (l *Ledger) startScrub(ctx context.Context) error {
	due, err := l.scrubIsDue(ctx)
	if err == nil && due {
		l.scrubSoon()
	}
	return err
}
