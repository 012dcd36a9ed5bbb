package sqlite

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"

	"zombiezen.com/go/sqlite"

	"github.com/runledger/runledger/evidence"
)

// Sweeping is for what secure_delete leaves (ADR 039). SQLite overwrites a row that it deletes and a
// page that it frees. But where it spreads rows over neighboring pages anew, after an insertion
// as well as after a deletion, it packs those that stay on a page at its end and lets be
// what stood before them (rebuildPage in SQLite's btree.c, of 3.53 as well): in the gap between the pointers to a
// page's rows and the first row there are pieces of rows that moved to another page. When such a
// row is deleted there, perhaps years later, its piece here stays, in any table: of sealed
// content, of a key that was destroyed.
//
// So gaps are overwritten before a page reaches the database file: whatever
// checkpoints the log sweeps it first. What may have come into the file otherwise (by
// an older program, an operator's shell, on a full disk, or by SQLite when a writer that failed is closed) is found by
// [DB.Scrub], which looks at every page where that can be: once in each process, at least.
//
// Pages are read and written through sqlite_dbpage, which is part of the
// transaction like any table. Of an overwritten page nothing changes that SQLite reads.

const (
	sqlPageCount = `PRAGMA page_count`
	sqlPage      = `SELECT data FROM sqlite_dbpage WHERE pgno = ?1`
	// The table finds a page by its number alone, not by a range.
	sqlPages = `WITH RECURSIVE n (no) AS (VALUES (?1) UNION ALL SELECT no + 1 FROM n WHERE no < ?2)
		SELECT p.pgno, p.data FROM n CROSS JOIN sqlite_dbpage AS p WHERE p.pgno = n.no`
	sqlSetPage = `UPDATE sqlite_dbpage SET data = ?2 WHERE pgno = ?1`

	walHeader   = 32   // bytes before the first frame of the write-ahead log
	frameHeader = 24   // bytes before the page of each
	sweepFrames = 64   // are read at once
	lookPages   = 1024 // are read in one transaction
	sweepPages  = 256  // and written, which commits wait for
)

// swept is how far the write-ahead log has been looked through.
type swept struct {
	// generation is what the log's header has anew each time that it begins anew.
	generation [12]byte
	frames     int64
}

// gap returns where in a page of a database of count pages the bytes are that belong to no
// row. It is empty of a page that is not one of a b-tree, and where that is in doubt: an overflow
// page, and a list of free ones, begins with a page's number, whose first byte can be that of an inner page of an
// index from 2 << 24 pages (128 GB) on, and that of a leaf from 10 << 24 (640 GB) on.
func gap(page []byte, no, count int64) (from, to int) {
	at := 0
	if no == 1 {
		at = 100 // behind the file's own header
	} else if count >= int64(page[0])<<24 {
		return 0, 0
	}
	from = at + 8
	switch page[at] {
	case 2, 5: // inner pages, of an index and of a table
		from += 4
	case 10, 13: // leaves of the two
	default:
		return 0, 0
	}
	from += 2 * int(binary.BigEndian.Uint16(page[at+3:]))
	to = int(binary.BigEndian.Uint16(page[at+5:]))
	if from > to || to > len(page) {
		return 0, 0
	}
	return from, to
}

// filled reports that there is something in a page's gap.
func filled(page []byte, no, count int64) bool {
	from, to := gap(page, no, count)
	return bytes.Count(page[from:to], []byte{0}) < to-from
}

// sweep overwrites the gaps of the pages that are in the first frames of the
// write-ahead log and were not looked at before. It must have succeeded before
// these frames are checkpointed.
func (w *writer) sweep(frames int64) error {
	if frames <= 0 {
		return nil
	}
	seen, pages, err := w.filledSince(frames)
	if err == nil {
		err = w.overwrite(pages)
	}
	if err != nil {
		return fmt.Errorf("sqlite: sweep: %w", err)
	}
	w.swept = seen
	return nil
}

// filledSince reads the write-ahead log, behind what was swept of it, for pages whose gap is filled.
func (w *writer) filledSince(frames int64) (seen swept, pages []int64, err error) {
	f, err := os.Open(w.path + "-wal")
	if err != nil {
		return seen, nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	var head [walHeader]byte
	if _, err := f.ReadAt(head[:], 0); err != nil {
		return seen, nil, err
	}
	seen = swept{generation: [12]byte(head[12:]), frames: frames}
	from := int64(0)
	if w.swept.generation == seen.generation {
		from = min(w.swept.frames, frames)
	}
	count, _, err := number(w.st.pageCount)
	if err != nil {
		return seen, nil, err
	}
	size := frameHeader + int64(binary.BigEndian.Uint32(head[8:]))
	r := io.NewSectionReader(f, walHeader+from*size, (frames-from)*size)
	buf := make([]byte, min(sweepFrames, max(frames-from, 1))*size)
	last := map[int64]bool{} // a page's last frame is the one that counts
	for left := frames - from; left > 0; {
		part := buf[:min(left*size, int64(len(buf)))]
		if _, err := io.ReadFull(r, part); err != nil {
			return seen, nil, err
		}
		for frame := range slices.Chunk(part, int(size)) {
			no := int64(binary.BigEndian.Uint32(frame))
			last[no] = filled(frame[frameHeader:], no, count)
			left--
		}
	}
	maps.DeleteFunc(last, func(_ int64, is bool) bool { return !is })
	return seen, slices.Sorted(maps.Keys(last)), nil
}

// overwrite clears the gaps of pages, in a transaction of its own.
func (w *writer) overwrite(pages []int64) error {
	if len(pages) == 0 {
		return nil
	}
	err := step(w.st.begin)
	committing := false
	if err == nil {
		err = w.clearGaps(pages)
	}
	if err == nil {
		committing = true
		err = step(w.st.commit)
	}
	if err != nil {
		return w.fail(err, committing)
	}
	return nil
}

func (w *writer) clearGaps(pages []int64) error {
	count, _, err := number(w.st.pageCount)
	if err != nil {
		return err
	}
	for _, no := range pages {
		get := w.st.page
		get.BindInt64(1, no)
		found, err := get.Step()
		if err != nil {
			return err
		}
		var page []byte
		if found {
			page = blob(get, 0)
		}
		if err := get.Reset(); err != nil {
			return err
		}
		if len(page) == 0 || !filled(page, no, count) {
			continue // it has become another since
		}
		from, to := gap(page, no, count)
		clear(page[from:to])
		set := w.st.setPage
		set.BindInt64(1, no)
		set.BindBytes(2, page)
		if err := step(set); err != nil {
			return err
		}
	}
	return nil
}

// sweepAll looks at each page of the database file, and reports whether it found something. What
// is written meanwhile is swept as it is checkpointed.
func (db *DB) sweepAll(ctx context.Context, w *writer) (found bool, err error) {
	var list []int64
	var page []byte
	for from, count := int64(1), int64(1); from <= count; from += lookPages {
		err := db.with(ctx, func(r *reader) error {
			if _, err := r.one(ctx, sqlPageCount, func(s *sqlite.Stmt) { count = s.ColumnInt64(0) }); err != nil {
				return err
			}
			return r.run(ctx, sqlPages, func(s *sqlite.Stmt) error {
				page = slices.Grow(page[:0], s.ColumnLen(1))[:s.ColumnLen(1)]
				s.ColumnBytes(1, page)
				if no := s.ColumnInt64(0); len(page) > 0 && filled(page, no, count) {
					list = append(list, no)
				}
				return nil
			}, from, min(count, from+lookPages-1))
		})
		if err != nil {
			if ctx.Err() != nil {
				err = fmt.Errorf("%w: %w", evidence.ErrUnavailable, err)
			}
			return false, fmt.Errorf("sqlite: sweep: %w", err)
		}
	}
	// Not in between: each of these makes the reader forget what it has read.
	for pages := range slices.Chunk(list, sweepPages) {
		if err := w.transact(ctx, func() error { return w.clearGaps(pages) }); err != nil {
			return false, fmt.Errorf("sqlite: sweep: %w", err)
		}
	}
	return len(list) > 0, nil
}
