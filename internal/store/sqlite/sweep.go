package sqlite

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

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
// an older program, by another one that checkpoints, on a full disk, or by SQLite when a writer that failed is closed) is found by
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
	clearPages  = 1000 // are written in one transaction where the log is swept
)

// swept is what is known of the write-ahead log. Zero is one with nothing in it.
type swept struct {
	// generation is what the log's header has anew each time that it begins anew.
	generation [12]byte
	frames     int64 // in it, when it was looked at last
	clean      int64 // the first of them, which were swept
	// version is SQLite's data_version at the last sweep. It changes when another program has written to the
	// database, or has let the log begin anew.
	version int64
}

// look brings w.swept up to date, after each transaction, where the log has as many frames. It
// sees that frames were lost from sight: the log does not begin anew before all of it is in the database
// file, and what we checkpoint was swept. So another program has checkpointed what was not.
func (w *writer) look(frames int64) error {
	var generation [12]byte
	var err error
	if frames > 0 {
		generation, err = w.generation()
	}
	var version int64
	// An empty log says nothing of what another program has had in it since.
	if err == nil && (generation != w.swept.generation || frames < w.swept.frames || frames == 0) {
		version, _, err = number(w.st.version)
		if err == nil && (w.swept.clean < w.swept.frames || version != w.swept.version) {
			w.missed.Add(1)
		}
		w.swept = swept{generation: generation, version: version}
	}
	if err != nil {
		w.missed.Add(1)
		w.swept = swept{}
		return fmt.Errorf("sqlite: look at the log: %w", err)
	}
	w.swept.frames = frames
	return nil
}

// generation reads the log's header for what it has anew in each generation: a counter and two salts.
func (w *writer) generation() (g [12]byte, err error) {
	_, err = w.readLog(g[:], 12)
	return g, err
}

// readLog reads all of b. What fails is tried again with the next scrub, also where another program
// has truncated the log meanwhile.
func (w *writer) readLog(b []byte, at int64) (int, error) {
	n, err := w.wal.ReadAt(b, at)
	if n == len(b) {
		return n, nil
	}
	return n, fmt.Errorf("%w: %w", evidence.ErrUnavailable, err)
}

// sweep overwrites the gaps of the pages that are in the write-ahead log and were not looked at
// before. It must have succeeded before the log is checkpointed.
func (w *writer) sweep() error {
	if err := w.sweepLog(); err != nil {
		w.missed.Add(1)
		return fmt.Errorf("sqlite: sweep: %w", err)
	}
	return nil
}

func (w *writer) sweepLog() error {
	version, _, err := number(w.st.version)
	if err == nil {
		err = w.lookAgain()
	}
	if err != nil {
		return fault(err, false)
	}
	frames := w.swept.frames
	pages, err := w.filledLog()
	if err != nil {
		return fault(err, false)
	}
	for part := range slices.Chunk(pages, clearPages) {
		if err := w.overwrite(part); err != nil {
			return err
		}
	}
	w.swept.clean, w.swept.version = frames, version
	if len(pages) == 0 {
		return nil
	}
	if err := w.lookAgain(); err != nil {
		return fault(err, false)
	}
	// The frames behind are those of overwrite, unless another program has written too.
	now, _, err := number(w.st.version)
	if err == nil && now == version {
		w.swept.clean = w.swept.frames
	}
	return fault(err, false)
}

func (w *writer) lookAgain() error {
	frames, _, _, err := w.walState(w.st.frames)
	if err != nil {
		return err
	}
	return w.look(frames)
}

// filledLog reads the write-ahead log, behind what was swept of it, for pages whose gap is filled.
func (w *writer) filledLog() (pages []int64, err error) {
	left := w.swept.frames - w.swept.clean
	if left <= 0 {
		return nil, nil
	}
	l, pageSize, err := w.layout()
	if err != nil {
		return nil, err
	}
	size := frameHeader + pageSize
	at := walHeader + w.swept.clean*size
	buf := make([]byte, min(sweepFrames, left)*size)
	last := map[int64]bool{} // a page's last frame is the one that counts
	for left > 0 {
		part := buf[:min(left*size, int64(len(buf)))]
		if _, err := w.readLog(part, at); err != nil {
			return nil, err
		}
		at += int64(len(part))
		for frame := range slices.Chunk(part, int(size)) {
			no := int64(binary.BigEndian.Uint32(frame))
			last[no] = l.filled(frame[frameHeader:], no)
			left--
		}
	}
	maps.DeleteFunc(last, func(_ int64, is bool) bool { return !is })
	return slices.Sorted(maps.Keys(last)), nil
}

// overwrite clears the gaps of pages, in a transaction of its own.
func (w *writer) overwrite(pages []int64) error {
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
	l, _, err := w.layout()
	if err != nil {
		return err
	}
	for _, no := range pages {
		page, err := w.page(no)
		if err != nil {
			return err
		}
		if len(page) == 0 || !l.filled(page, no) {
			continue // it has become another since
		}
		from, to := l.gap(page, no)
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

// page returns a page of the database, or nil where it has none of that number.
func (w *writer) page(no int64) (page []byte, err error) {
	get := w.st.page
	get.BindInt64(1, no)
	found, err := get.Step()
	if err != nil {
		return nil, err
	}
	if found {
		page = blob(get, 0)
	}
	return page, get.Reset()
}

// layout returns the database's layout and the size of a page.
func (w *writer) layout() (l layout, size int64, err error) {
	count, _, err := number(w.st.pageCount)
	if err != nil {
		return l, 0, err
	}
	first, err := w.page(1)
	if err != nil {
		return l, 0, err
	}
	l, err = layoutOf(first, count)
	return l, int64(len(first)), err
}
