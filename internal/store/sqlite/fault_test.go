package sqlite_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	zombiezen "zombiezen.com/go/sqlite"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
	"github.com/runledger/runledger/internal/store/sqlite"
	"github.com/runledger/runledger/internal/testneeds"
)

func TestFaults(t *testing.T) {
	for _, test := range []struct {
		code       zombiezen.ResultCode
		committing bool
		want       error
	}{
		{zombiezen.ResultFull, false, evidence.ErrUnavailable},
		{zombiezen.ResultFull, true, evidence.ErrUnavailable},
		{zombiezen.ResultBusy, false, evidence.ErrUnavailable},
		{zombiezen.ResultBusySnapshot, false, evidence.ErrUnavailable},
		{zombiezen.ResultNoMem, false, evidence.ErrUnavailable},
		{zombiezen.ResultIOErrWrite, false, evidence.ErrUnavailable},
		{zombiezen.ResultIOErrWrite, true, store.ErrSync},
		{zombiezen.ResultIOErrFsync, false, store.ErrSync},
		{zombiezen.ResultIOErrFsync, true, store.ErrSync},
		{zombiezen.ResultIOErrDirFsync, false, store.ErrSync},
		{zombiezen.ResultIOErrSHMSize, true, store.ErrSync},
		{zombiezen.ResultCorrupt, false, evidence.ErrTampered},
		{zombiezen.ResultNotADB, false, evidence.ErrTampered},
	} {
		err := sqlite.Fault(fmt.Errorf("step: %w", test.code.ToError()), test.committing)
		if !errors.Is(err, test.want) {
			t.Errorf("%v (committing %v): %v, want %v", test.code, test.committing, err, test.want)
		}
		if zombiezen.ErrCode(err) != test.code {
			t.Errorf("%v: the cause is lost in %v", test.code, err)
		}
	}
}

// TestSyncFailure sees that nothing is written after a failed sync, and that
// reading goes on.
func TestSyncFailure(t *testing.T) {
	dir := t.TempDir()
	db := open(t, dir)
	l := newLoad("t-1")
	if err := db.Commit(t.Context(), l.commit()); err != nil {
		t.Fatal(err)
	}
	head := l.head
	if err := db.FailSync(); !errors.Is(err, store.ErrSync) {
		t.Errorf("a failed sync: %v", err)
	}
	for what, err := range map[string]error{
		"Commit":         db.Commit(t.Context(), l.commit()),
		"SetSetting":     db.SetSetting(t.Context(), "a", "b"),
		"KeepCheckpoint": db.KeepCheckpoint(t.Context(), l.log.LogRef, store.Checkpoint{Size: 1}),
		"Scrub":          db.Scrub(t.Context()),
	} {
		if !errors.Is(err, store.ErrSync) {
			t.Errorf("%s after a failed sync: %v", what, err)
		}
	}
	wantHead(t, db, l, head)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	wantHead(t, open(t, dir), l, head)
}

// TestWALStaysShort commits while readers overlap without end.
func TestWALStaysShort(t *testing.T) {
	dir := t.TempDir()
	db := open(t, dir)
	db.RestartLogAt(1500, 5*time.Second) // however slow the machine is
	l := newLoad("t-1")
	if err := db.Commit(t.Context(), l.commit()); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	var from atomic.Pointer[store.Snapshot] // closed only when the next is open
	wg.Go(func() {
		for ctx.Err() == nil {
			next, err := db.Snapshot(t.Context())
			if err != nil {
				t.Error(err)
				return
			}
			if old := from.Swap(&next); old != nil {
				time.Sleep(time.Millisecond)
				closeIt(t, *old)
			}
		}
	})
	longest := int64(0)
	for range 40 { // some 9,000 pages, 36 MB
		if err := db.Commit(t.Context(), l.commit()); err != nil {
			t.Error(err)
			break
		}
		st, err := os.Stat(filepath.Join(dir, "runledger.db-wal"))
		if err != nil {
			t.Fatal(err)
		}
		longest = max(longest, st.Size())
	}
	stop()
	wg.Wait()
	closeIt(t, *from.Load())
	t.Logf("the log has grown to %d MB", longest>>20)
	if longest > 20<<20 {
		t.Errorf("the write-ahead log has grown to %d MB", longest>>20)
	}
}

// fillUp commits until the store is full, and returns the last good head.
func fillUp(t *testing.T, db *sqlite.DB, l *load) store.Head {
	t.Helper()
	for range 200 {
		before := *l
		err := db.Commit(t.Context(), l.commit())
		if err == nil {
			continue
		}
		if !errors.Is(err, evidence.ErrUnavailable) {
			t.Fatalf("a full disk: %v, want ErrUnavailable", err)
		}
		*l = before
		return before.head
	}
	t.Fatal("the disk never got full")
	return store.Head{}
}

// wantHead sees that the store has the head and its rows, and writes on.
func wantHead(t *testing.T, db *sqlite.DB, l *load, head store.Head) {
	t.Helper()
	if size := wholeSize(t, db, l.log.LogRef); size != head.Size {
		t.Fatalf("size %d, want %d", size, head.Size)
	}
}

func TestFull(t *testing.T) {
	db := open(t, t.TempDir())
	l := newLoad("t-1")
	if err := db.Commit(t.Context(), l.commit()); err != nil {
		t.Fatal(err)
	}
	if err := db.ExecOnWriter("PRAGMA max_page_count = 1000"); err != nil {
		t.Fatal(err)
	}
	head := fillUp(t, db, l)
	wantHead(t, db, l, head)
	if err := db.ExecOnWriter("PRAGMA max_page_count = 1000000"); err != nil {
		t.Fatal(err)
	}
	// The next commit goes on where the last good one ended, with names and
	// traces that the refused one had numbered.
	if err := db.Commit(t.Context(), l.commit()); err != nil {
		t.Fatal(err)
	}
	wantHead(t, db, l, l.head)
}

// TestFullDisk is TestFull on a file system that is full.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=16m"); err != nil {
		testneeds.Missing(t, "no small file system can be mounted (TestFull covers the database's own limit): %v", err)
	}
	defer func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	}()
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 6<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	db := open(t, filepath.Join(dir, "data"))
	l := newLoad("t-1")
	head := fillUp(t, db, l)
	wantHead(t, db, l, head)
	fillUp(t, db, l) // it stays full, and says so again
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	if err := db.Commit(t.Context(), l.commit()); err != nil {
		t.Fatal(err)
	}
	wantHead(t, db, l, l.head)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	db = open(t, filepath.Join(dir, "data"))
	wantHead(t, db, l, l.head)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestNumbers(t *testing.T) {
	c := sqlite.NewNumbers(3)
	c.Put("a", 1)
	c.Settle()
	c.Put("b", 2)
	c.Put("a", 1) // what is there already counts as new: forgetting is safe
	c.Undo()
	for _, k := range []string{"a", "b"} {
		if n, ok := c.Get(k); ok {
			t.Errorf("%s is %d after undo", k, n)
		}
	}
	for i := range int64(50) {
		c.Put(fmt.Sprint(i), i)
		c.Settle()
		if n, ok := c.Get("0"); !ok || n != 0 { // used all along, it stays
			t.Fatalf("0 is forgotten after %d", i)
		}
		if c.Len() > 6 {
			t.Fatalf("%d entries", c.Len())
		}
	}
	if _, ok := c.Get("10"); ok {
		t.Error("10 is not forgotten")
	}
	c.Put("x", 1)
	for i := range int64(4) { // x moves to the older half within the transaction
		c.Put(fmt.Sprint("y", i), i)
	}
	c.Undo()
	if _, ok := c.Get("x"); ok {
		t.Error("x is there after undo")
	}
}
