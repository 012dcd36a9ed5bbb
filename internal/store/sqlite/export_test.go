package sqlite

import (
	"context"
	"os"
	"path/filepath"
	"time"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"
)

// ExecOnWriter runs SQL on the writing connection.
func (db *DB) ExecOnWriter(sql string) error {
	db.w.mu.Lock()
	defer db.w.mu.Unlock()
	return sqlitex.ExecuteTransient(db.w.conn, sql, nil)
}

// RestartLogAt sets the length in pages at which readers are waited for, and
// for how long.
func (db *DB) RestartLogAt(pages int64, wait time.Duration) {
	db.w.mu.Lock()
	defer db.w.mu.Unlock()
	db.w.restartPages, db.w.restartAt, db.w.restartWait = pages, pages, wait
}

// FailSync lets the store believe that a sync failed.
func (db *DB) FailSync() error {
	db.w.mu.Lock()
	defer db.w.mu.Unlock()
	return db.w.fail(sqlite.ResultIOErrFsync.ToError(), true)
}

// Fault is the mapping of database errors.
var Fault = fault

// ReadAsImmutable is how OpenReadOnly reads a directory that it cannot write.
func ReadAsImmutable(dir string) *DB {
	db := &DB{path: filepath.Join(dir, dbName)}
	db.pool = newPool(db.path, forImmutable, 1)
	db.queries = queries{db.pool.with}
	return db
}

// Queries are those of the Reader methods, by method.
func Queries() map[string][]string {
	m := map[string][]string{
		"Logs":           {sqlLogsOf},
		"Head":           {sqlFindLog, sqlHead},
		"Segments":       {sqlSegments},
		"Tile":           {sqlTile},
		"Tiles":          {sqlTiles},
		"Checkpoints":    {sqlCheckpoint},
		"FindIDs":        {sqlTenant, sqlFindID, sqlLogOf},
		"FindSpans":      {sqlFindSpine, sqlFindSpan, sqlFindExpired},
		"Runs":           {sqlRun},
		"AllRuns":        {sqlAllRuns},
		"DataKeys":       {sqlKeysFor, sqlKeys},
		"DataKey":        {sqlKey},
		"SealedSegment":  {sqlSealed},
		"SealedSegments": {sqlSealedAll},
		"RecordIDs":      {sqlRecordIDs},
		"FindIndex":      {sqlNameNo, sqlFindIndex},
		"Index":          {sqlIndex, sqlName, sqlSpine},
		"Setting":        {sqlSetting},
		"SettingsUnder":  {sqlSettingsUnder},
		"RunOfAlias":     {sqlLogKeys, sqlTraceAlias, sqlRunAlias},
		"RunOfTrace":     {sqlFindSpine, sqlTraceRun, sqlTraceOtherRun},
		"OpenRunsOf":     {sqlRunning},
		"Attestations":   {sqlAttestations, sqlAttestationsBack, sqlCosignatures, sqlCosignaturesBack, sqlStamps, sqlStampsBack},
		"Expiries":       {sqlExpiries},
		"HoldParts":      {sqlHoldRuns, sqlHoldRows},
		"HeldRuns":       {sqlHeldRun},
		"HeldRecords":    {sqlLogsFrom, sqlHeldRow},
		"Archives":       {sqlArchives},
		"SealedUnder":    {sqlSealedUnder},
		"Holds":          {sqlHolds},
		// Those of the writer.
		"Expire": {sqlFindExpiry, sqlInForce, sqlDropIndex},
		"Leaves": {sqlLeavesEnd, sqlLeavesOne, sqlLeavesLeft, sqlDropLeaves},
	}
	for _, t := range topics {
		if t != nil {
			m["Marks"] = append(m["Marks"], t.marks)
			m["Expire"] = append(m["Expire"], t.drop, t.drop+notHeld)
			m["Row"] = append(m["Row"], t.one)
			m["Rows"] = append(m["Rows"], t.between)
		}
	}
	return m
}

// Numbers is the writer's cache.
type Numbers = numbers[string]

// NewNumbers returns a cache of two halves of limit entries.
func NewNumbers(limit int) *Numbers { return &Numbers{limit: limit} }

func (c *numbers[K]) Get(k K) (int64, bool) { return c.get(k) }
func (c *numbers[K]) Put(k K, n int64)      { c.put(k, n) }
func (c *numbers[K]) Settle()               { c.settle() }
func (c *numbers[K]) Undo()                 { c.undo() }
func (c *numbers[K]) Len() int              { return len(c.young) + len(c.old) }

// Layout tells pages apart.
type Layout = layout

// LayoutOf is the layout by the first page.
var LayoutOf = layoutOf

// Gap is where the bytes of a page are that belong to no row.
func (l layout) Gap(page []byte, no int64) (from, to int) { return l.gap(page, no) }

// PointerMap reports that a page is one.
func (l layout) PointerMap(no int64) bool { return l.pointerMap(no) }

// Missed is how often pages may have come into the file unswept.
func (db *DB) Missed() int64 { return db.w.missed.Load() }

// SweepLog sweeps the log, and does not checkpoint it.
func (db *DB) SweepLog() error {
	db.w.mu.Lock()
	defer db.w.mu.Unlock()
	return db.w.sweep()
}

// SweepPart is the first part of SweepLog alone, and returns how many pages there are in all.
func (db *DB) SweepPart() (pages int, err error) {
	db.w.mu.Lock()
	defer db.w.mu.Unlock()
	if err := db.w.lookAgain(); err != nil {
		return 0, err
	}
	list, err := db.w.filledLog()
	if err != nil {
		return 0, err
	}
	return len(list), db.w.overwrite(list[:min(len(list), clearPages)])
}

// SweepFails lets reading the write-ahead log fail until restore.
func (db *DB) SweepFails() (restore func()) {
	var none *os.File
	swap := func() {
		db.w.mu.Lock()
		defer db.w.mu.Unlock()
		db.w.wal, none = none, db.w.wal
	}
	swap()
	return swap
}

// Looked says how far the look at all pages has come: to which page, or that it is done.
func (db *DB) Looked() (next int64, done bool) {
	db.all.mu.Lock()
	next = db.all.next
	db.all.mu.Unlock()
	return next, db.all.through(db.w.missed.Load())
}

// LookOn looks at the next pages, as Prepare does.
func (db *DB) LookOn(ctx context.Context) (more bool, err error) { return db.sweepSome(ctx, db.w) }

// LookPages is how many pages that are.
const LookPages = lookPages
