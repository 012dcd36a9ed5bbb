package sqlite

import (
	"context"
	"errors"
	"fmt"
	"time"

	"zombiezen.com/go/sqlite"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

const (
	// checkpointPages is the number of pages in the write-ahead log that are
	// not yet in the database file at which they are written back. Longer
	// logs stall for 100 ms and more.
	checkpointPages = 1000
	// restartPages is the length of the log at which readers are waited for,
	// so that it begins anew: readers that overlap without end would let it
	// grow without end. Tried again after as many pages more, because a
	// snapshot may hold it for long.
	restartPages = 16 * checkpointPages
	// restartTimeout and scrubTimeout are how long readers are waited for.
	// Commits wait meanwhile.
	restartTimeout = 20 * time.Millisecond
	scrubTimeout   = 250 * time.Millisecond
)

// writeBack does what SQLite's automatic checkpoint would: it copies pages of
// the log to the database file as far as readers allow. The commit before it
// is durable already and stays good. But a database file that cannot be
// synced may have lost what the log is about to forget, so that stops the
// writer; SQLite's own checkpoint would not say so.
func (w *writer) writeBack(ctx context.Context) {
	pages, done, _, err := w.walState(w.st.frames)
	if err == nil {
		if err := w.look(pages); err != nil {
			w.log.ErrorContext(ctx, "write-ahead log not looked at", "error", err)
		}
	}
	// Of what a reader holds back it is tried again after as many pages more, not after each commit.
	if err == nil && min(pages-done, pages-w.swept.clean) >= checkpointPages {
		// A full disk may have room for a checkpoint, and needs it, where it has none for sweeping.
		if err := w.sweep(); err != nil {
			w.log.ErrorContext(ctx, "write-ahead log not swept", "error", err)
		}
		if w.failed != nil {
			return
		}
		pages, _, _, err = w.walState(w.st.checkpoint)
		if err == nil && pages >= w.restartAt {
			err = w.restart(pages)
		}
	}
	if err == nil {
		return
	}
	if err = fault(err, false); errors.Is(err, store.ErrSync) {
		w.failed = fmt.Errorf("write back: %w", err)
	}
	w.log.ErrorContext(ctx, "write-ahead log not written back", "error", err)
}

// restart lets the log begin anew, if readers leave it soon.
func (w *writer) restart(pages int64) error {
	w.conn.SetBusyTimeout(w.restartWait)
	defer w.conn.SetBusyTimeout(busyTimeout)
	_, _, busy, err := w.walState(w.st.restart)
	w.restartAt = w.restartPages
	if busy {
		w.restartAt += pages
	}
	return err
}

// walState runs a checkpoint pragma: pages in the log, how many of them are in
// the database file, and whether readers or a writer were in the way.
func (w *writer) walState(s *sqlite.Stmt) (pages, done int64, busy bool, err error) {
	if _, err = s.Step(); err != nil {
		return 0, 0, false, err
	}
	busy, pages, done = s.ColumnBool(0), s.ColumnInt64(1), s.ColumnInt64(2)
	return pages, done, busy, s.Reset()
}

// sweepNow is sweep for who has not the lock.
func (w *writer) sweepNow(ctx context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.usable(ctx); err != nil {
		return err
	}
	return w.sweep()
}

// usable returns why nothing can be done, if so.
func (w *writer) usable(ctx context.Context) error {
	switch {
	case w.closed:
		return errClosed
	case w.failed != nil:
		return w.failed
	case ctx.Err() != nil:
		return fmt.Errorf("sqlite: %w: %w", evidence.ErrUnavailable, context.Cause(ctx))
	}
	return nil
}

// scrub moves all that is in the log into the database file, and returns how many removals
// that were.
func (w *writer) scrub(ctx context.Context) (removed int64, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.usable(ctx); err != nil {
		return 0, err
	}
	w.conn.SetBusyTimeout(scrubTimeout)
	defer w.conn.SetBusyTimeout(busyTimeout)
	unswept := w.sweep()
	if w.failed != nil {
		return 0, w.failed
	}
	// Also where sweeping has failed: a full disk needs it (as in writeBack).
	_, _, busy, err := w.walState(w.st.truncate)
	if err != nil {
		if err = fault(err, false); errors.Is(err, store.ErrSync) {
			w.failed = err
		}
	}
	if err = errors.Join(unswept, err); err != nil {
		return 0, fmt.Errorf("sqlite: scrub: %w", err)
	}
	if busy {
		return 0, fmt.Errorf("sqlite: scrub: a reader holds an older state: %w", evidence.ErrUnavailable)
	}
	return w.due.removed, nil
}
