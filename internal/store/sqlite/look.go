package sqlite

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"zombiezen.com/go/sqlite"

	"github.com/runledger/runledger/evidence"
)

const (
	// prepareShare is how many times as long as it worked a look in the background rests, prepareLeast the
	// least of it.
	prepareShare = 8
	prepareLeast = 20 * time.Millisecond
)

// lookAll is a look at each page of the database, for what came into the file without being swept. It goes on
// where it was left, be it by who had time or by who waits for it.
type lookAll struct {
	mu     sync.Mutex
	done   int64 // what writer.missed was when all pages were looked at last
	missed int64 // what it was when this look began
	next   int64 // page
	bytes  int64 // looked at
	filled []int64
}

// through reports whether all pages have been looked at since anything may have come in.
func (a *lookAll) through(missed int64) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.done == missed
}

// sweepAll looks at each page of the database, or at those that are left, and overwrites what it finds. What
// is written meanwhile is swept as it is checkpointed.
func (db *DB) sweepAll(ctx context.Context, w *writer) error {
	for more := true; more; {
		var err error
		if more, err = db.sweepSome(ctx, w); err != nil {
			return err
		}
	}
	return nil
}

// sweepSome looks at the next pages, and after the last ones overwrites what was found.
func (db *DB) sweepSome(ctx context.Context, w *writer) (more bool, err error) {
	a := &db.all
	a.mu.Lock()
	defer a.mu.Unlock()
	missed := w.missed.Load()
	if a.done == missed {
		return false, nil
	}
	if a.missed != missed || a.next == 0 { // something may have come in behind it
		a.missed, a.next, a.bytes, a.filled = missed, 1, 0, nil
	}
	last, err := db.lookFrom(ctx, a)
	if err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("%w: %w", evidence.ErrUnavailable, err)
		}
		return false, fmt.Errorf("sqlite: sweep: %w", err)
	}
	if !last {
		return true, nil
	}
	// Not in between: each of these makes the reader forget what it has read.
	for pages := range slices.Chunk(a.filled, sweepPages) {
		if err := w.transact(ctx, func() error { return w.clearGaps(pages) }); err != nil {
			return false, fmt.Errorf("sqlite: sweep: %w", err)
		}
	}
	// Now no page has anything in its gap. In the file some still do, for which the log has others:
	// also such that this has not written.
	a.done, a.next, a.filled = a.missed, 0, nil
	return false, nil
}

// lookFrom notes which of the next pages have something in the gap, and reports whether they were the last.
func (db *DB) lookFrom(ctx context.Context, a *lookAll) (last bool, err error) {
	var count int64
	var page []byte
	var filled []int64
	err = db.with(ctx, func(r *reader) error {
		if _, err := r.one(ctx, sqlPageCount, func(s *sqlite.Stmt) { count = s.ColumnInt64(0) }); err != nil {
			return err
		}
		if _, err := r.one(ctx, sqlPage, func(s *sqlite.Stmt) { page = blob(s, 0) }, int64(1)); err != nil {
			return err
		}
		l, err := layoutOf(page, count)
		if err != nil {
			return err
		}
		return r.run(ctx, sqlPages, func(s *sqlite.Stmt) error {
			page = slices.Grow(page[:0], s.ColumnLen(1))[:s.ColumnLen(1)]
			s.ColumnBytes(1, page)
			if no := s.ColumnInt64(0); len(page) > 0 && l.filled(page, no) {
				filled = append(filled, no)
			}
			return nil
		}, a.next, min(count, a.next+lookPages-1))
	})
	if err != nil {
		return false, err
	}
	a.filled = append(a.filled, filled...)
	a.bytes += max(min(lookPages, count-a.next+1), 0) * int64(len(page))
	a.next += lookPages
	return a.next > count, nil
}

// Prepare implements store.Store: it looks at each page beforehand, so that the first scrub need not. It
// works a ninth of the time, and holds no lock for longer than some pages take.
func (db *DB) Prepare(ctx context.Context) error {
	w, err := db.writing()
	if err != nil {
		return err
	}
	began := time.Now()
	if err := w.sweepNow(ctx); err != nil { // what comes later is known to come then
		return err
	}
	for {
		step := time.Now()
		more, err := db.sweepSome(ctx, w)
		if err != nil {
			return err
		}
		if !more {
			break
		}
		rest := time.NewTimer(max(prepareShare*time.Since(step), prepareLeast))
		select {
		case <-rest.C:
		case <-ctx.Done():
			rest.Stop()
			return nil
		}
	}
	db.all.mu.Lock()
	defer db.all.mu.Unlock()
	db.log.Info("the database file was looked through for what was removed", "bytes", db.all.bytes, "seconds", time.Since(began).Round(time.Millisecond).Seconds())
	return nil
}
