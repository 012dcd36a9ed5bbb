package sqlite

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"zombiezen.com/go/sqlite"

	"github.com/runledger/runledger/internal/store"
)

// Sizes of the writer's caches, in entries of each half. A trace or run takes
// about 120 bytes: one bounded cache for all tenants.
const (
	spineLimit = 32 << 10
	namesLimit = 32 << 10
	logsLimit  = 16 << 10
)

type spineKey struct {
	tenant int64
	text   string
}

// writer is the one connection that writes.
type writer struct {
	mu     sync.Mutex // guards all below
	conn   *sqlite.Conn
	wal    *os.File // the write-ahead log, for reading: see sweep.go
	log    *slog.Logger
	st     statements
	closed bool
	failed error // once set, nothing is written any more

	names   numbers[string]
	spine   numbers[spineKey]
	tenants numbers[string]
	logs    numbers[store.LogRef]
	scratch []byte

	// expiredTo is the greatest trace number in expired_spans, or more. Numbers rise, so
	// steps of younger traces, which is nearly all, need not be looked for there.
	expiredTo int64

	restartPages, restartAt int64 // see wal.go
	restartWait             time.Duration

	// swept, and how often pages may have come into the database file unswept, counted from 1:
	// see sweep.go.
	swept  swept
	missed atomic.Int64

	due due
}

// statements are the writer's prepared statements.
type statements struct {
	begin, commit, rollback *sqlite.Stmt
	frames, checkpoint      *sqlite.Stmt // states of the write-ahead log: wal.go
	restart, truncate       *sqlite.Stmt
	version, pageCount      *sqlite.Stmt // these: sweep.go
	page, setPage           *sqlite.Stmt

	findTenant, addTenant, findLog, lastLog, addLog, addHead, moveHead *sqlite.Stmt
	findName, addName, findSpine, addSpine                             *sqlite.Stmt
	addTopic                                                           []*sqlite.Stmt // by kind
	addID, addSegment, addTile, addCheckpoint, findCheckpoint          *sqlite.Stmt
	addSealed, addIndex, findKey, addKey, setRun, setSetting           *sqlite.Stmt
	settleRun                                                          *sqlite.Stmt
	addRemoval, findSealed, dropSealed, dropKey, dropIndex             *sqlite.Stmt
	addAttestation, findAttestation                                    *sqlite.Stmt
	expiredTo, findExpired                                             *sqlite.Stmt
}

func (st *statements) prepare(conn *sqlite.Conn) error {
	st.addTopic = make([]*sqlite.Stmt, len(topics))
	list := []struct {
		to  **sqlite.Stmt
		sql string
	}{
		{&st.begin, `BEGIN IMMEDIATE`},
		{&st.commit, `COMMIT`},
		{&st.rollback, `ROLLBACK`},
		{&st.frames, `PRAGMA wal_checkpoint(NOOP)`},
		{&st.checkpoint, `PRAGMA wal_checkpoint(PASSIVE)`},
		{&st.restart, `PRAGMA wal_checkpoint(RESTART)`},
		{&st.truncate, `PRAGMA wal_checkpoint(TRUNCATE)`},
		{&st.version, `PRAGMA data_version`},
		{&st.pageCount, sqlPageCount},
		{&st.page, sqlPage},
		{&st.setPage, sqlSetPage},
		{&st.findTenant, `SELECT tenant_no FROM tenants WHERE tenant_id = ?1`},
		{&st.addTenant, `INSERT INTO tenants (tenant_id) VALUES (?1)`},
		{&st.findLog, sqlFindLog},
		{&st.lastLog, `SELECT coalesce(max(log_no), 0) FROM logs WHERE tenant_no = ?1`},
		{&st.addLog, `INSERT INTO logs (tenant_no, log_no, origin, vkey, wrapped_key) VALUES (?1, ?2, ?3, ?4, ?5)`},
		{&st.addHead, `INSERT INTO heads (log_key, size, root, note) VALUES (?1, ?2, ?3, ?4)`},
		{&st.moveHead, `UPDATE heads SET size = ?2, root = ?3, note = ?4 WHERE log_key = ?1 AND size = ?5 AND root = ?6 AND note = ?7`},
		{&st.findName, `SELECT name_no FROM names WHERE text = ?1`},
		{&st.addName, `INSERT INTO names (text) VALUES (?1)`},
		{&st.findSpine, sqlFindSpine},
		{&st.addSpine, `INSERT INTO spine (tenant_no, text) VALUES (?1, ?2)`},
		{&st.addID, `INSERT INTO record_ids (tenant_no, id, row) VALUES (?1, ?2, ?3)`},
		{&st.addSegment, `INSERT INTO leaf_segments (row, count, data) VALUES (?1, ?2, ?3)`},
		{&st.addTile, `INSERT INTO tiles (row, data) VALUES (?1, ?2)`},
		{&st.addCheckpoint, `INSERT INTO checkpoints (row, note) VALUES (?1, ?2)`},
		{&st.findCheckpoint, `SELECT note FROM checkpoints WHERE row = ?1`},
		{&st.addSealed, `INSERT INTO sealed_segments (row, id, key_id, data) VALUES (?1, ?2, ?3, ?4)`},
		{&st.addIndex, sqlAddIndex},
		{&st.findKey, sqlKey},
		{&st.addKey, `INSERT INTO data_keys (tenant_no, id, scope, label, wrapped) VALUES (?1, ?2, ?3, ?4, ?5)`},
		{&st.setRun, sqlSetRun},
		{&st.settleRun, sqlSettleRun},
		{&st.setSetting, `INSERT INTO settings (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = ?2`},
		{&st.addRemoval, sqlAddRemoval},
		{&st.expiredTo, `SELECT coalesce(max(trace_no), 0) FROM expired_spans`},
		{&st.findExpired, sqlFindExpired},
		{&st.addAttestation, sqlAddAttestation},
		{&st.findAttestation, sqlFindAttestation},
		{&st.findSealed, `SELECT id FROM sealed_segments WHERE row = ?1`},
		{&st.dropSealed, `DELETE FROM sealed_segments WHERE row = ?1`},
		{&st.dropKey, `DELETE FROM data_keys WHERE tenant_no = ?1 AND id = ?2`},
		{&st.dropIndex, `DELETE FROM sealed_index WHERE tenant_no = ?1 AND name_no = ?2 AND mac = ?3 AND row = ?4`},
	}
	for _, t := range topics {
		if t != nil {
			list = append(list, struct {
				to  **sqlite.Stmt
				sql string
			}{&st.addTopic[t.kind], t.insert})
		}
	}
	for _, s := range list {
		var err error
		if *s.to, err = conn.Prepare(s.sql); err != nil {
			return fmt.Errorf("sqlite: %w", err)
		}
	}
	return nil
}

// newWriter returns the writer of the database file at path, which conn has open.
func newWriter(conn *sqlite.Conn, path string, log *slog.Logger) (*writer, error) {
	w := &writer{
		conn:    conn,
		log:     log,
		names:   numbers[string]{limit: namesLimit},
		spine:   numbers[spineKey]{limit: spineLimit},
		tenants: numbers[string]{limit: logsLimit},
		logs:    numbers[store.LogRef]{limit: logsLimit},

		restartPages: restartPages, restartAt: restartPages, restartWait: restartTimeout,
	}
	w.missed.Store(1) // what was before is not known
	if err := w.st.prepare(conn); err != nil {
		return w, err
	}
	if err := w.seeExpired(); err != nil {
		return w, err
	}
	if err := w.seeDue(); err != nil {
		return w, err
	}
	// It is there while the connection is, under this name. No lock of SQLite's is on it.
	var err error
	if w.wal, err = os.Open(path + "-wal"); err != nil {
		return w, fmt.Errorf("sqlite: %w", err)
	}
	return w, nil
}

// seeExpired reads expiredTo.
func (w *writer) seeExpired() error {
	n, _, err := number(w.st.expiredTo)
	w.expiredTo = max(w.expiredTo, n)
	return err
}

// transact runs f in one write transaction and settles the caches by its
// outcome. Errors of f other than the database's come back as they are.
func (w *writer) transact(ctx context.Context, f func() error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.usable(ctx); err != nil {
		return err
	}
	committing := false
	err := step(w.st.begin)
	if err == nil {
		err = f()
	}
	if err == nil {
		committing = true
		err = step(w.st.commit)
	}
	if err != nil {
		return w.fail(err, committing)
	}
	w.settle()
	w.writeBack(ctx)
	return nil
}

func (w *writer) settle() {
	w.names.settle()
	w.spine.settle()
	w.tenants.settle()
	w.logs.settle()
	w.due.settle()
}

func (w *writer) undo() {
	w.names.undo()
	w.spine.undo()
	w.tenants.undo()
	w.logs.undo()
	w.due.undo()
}

// fail rolls back and returns the error with its sentinel. A transaction that
// cannot be rolled back, and a sync that failed, stop the writer for good.
func (w *writer) fail(err error, committing bool) error {
	err = fault(err, committing)
	if !w.conn.AutocommitEnabled() {
		if rerr := step(w.st.rollback); rerr != nil && !w.conn.AutocommitEnabled() {
			err = fmt.Errorf("%w: rollback: %w (after: %w)", store.ErrSync, rerr, err)
		}
	}
	w.undo()
	if errors.Is(err, store.ErrSync) {
		w.failed = err
	}
	return err
}

func (w *writer) close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.closed && w.failed == nil { // SQLite checkpoints when it closes
		if err := w.sweep(); err != nil { // the first scrub of the next process finds what is left
			w.log.Warn("write-ahead log not swept", "error", err)
		}
	}
	if w.closed {
		return nil
	}
	w.closed = true
	return errors.Join(w.conn.Close(), w.wal.Close())
}

// step runs a statement that returns no rows.
func step(s *sqlite.Stmt) error {
	if _, err := s.Step(); err != nil {
		return err
	}
	return s.Reset()
}

// number runs a query for one integer.
func number(s *sqlite.Stmt) (n int64, found bool, err error) {
	if found, err = s.Step(); err != nil {
		return 0, false, err
	}
	if found {
		n = s.ColumnInt64(0)
	}
	return n, found, s.Reset()
}
