package sqlite_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
	"github.com/runledger/runledger/internal/store/sqlite"
)

func TestLock(t *testing.T) {
	dir := t.TempDir()
	db := open(t, dir)
	if _, err := sqlite.Open(t.Context(), sqlite.Config{Dir: dir}); !errors.Is(err, store.ErrLocked) {
		t.Errorf("second opening: %v, want ErrLocked", err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, dir)
}

func TestFileModes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "data")
	db := open(t, dir)
	if err := db.SetSetting(t.Context(), "a", "b"); err != nil {
		t.Fatal(err)
	}
	want := map[string]fs.FileMode{
		".": fs.ModeDir | 0o700, "lock": 0o600, "runledger.db": 0o600, "runledger.db-wal": 0o600, "runledger.db-shm": 0o600,
	}
	got := map[string]fs.FileMode{}
	if err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		st, err := d.Info()
		name, _ := filepath.Rel(dir, path)
		got[name] = st.Mode()
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("modes (-want +got):\n%s", diff)
	}
}

func TestPragmas(t *testing.T) {
	dir := t.TempDir()
	open(t, dir)
	conn := shell(t, dir)
	for pragma, want := range map[string]string{
		"journal_mode": "wal", "page_size": "4096", "user_version": fmt.Sprint(len(sqlite.Migrations())), "integrity_check": "ok",
	} {
		if got := query(t, conn, "PRAGMA "+pragma)[0][0]; got != want {
			t.Errorf("%s is %s, want %s", pragma, got, want)
		}
	}
}

func TestReopen(t *testing.T) {
	dir := t.TempDir()
	db := open(t, dir)
	if got := len(db.Applied()); got != len(sqlite.Migrations()) {
		t.Errorf("a new store ran %d migrations", got)
	}
	l := newLoad("t-1")
	for i := range 3 {
		if err := db.Commit(t.Context(), l.commit()); err != nil {
			t.Fatal(err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		db = open(t, dir)
		if len(db.Applied()) != 0 {
			t.Error("reopening ran migrations")
		}
		head, err := db.Head(t.Context(), l.log.LogRef)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(l.head, head); diff != "" {
			t.Errorf("head after reopening %d (-want +got):\n%s", i, diff)
		}
	}
}

func TestVersions(t *testing.T) {
	dir := t.TempDir()
	if err := open(t, dir).Close(); err != nil {
		t.Fatal(err)
	}
	both := func(what, want string) {
		t.Helper()
		db, err := sqlite.Open(t.Context(), sqlite.Config{Dir: dir})
		if err == nil {
			closeIt(t, db)
		}
		ro, roErr := sqlite.OpenReadOnly(t.Context(), dir)
		if roErr == nil {
			closeIt(t, ro)
		}
		for _, err := range []error{err, roErr} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %q", what, err, want)
			}
		}
	}
	conn := shell(t, dir)
	query(t, conn, "PRAGMA user_version = 99")
	both("a newer database", "newer runledger")
	newest := len(sqlite.Migrations())
	query(t, conn, fmt.Sprintf("PRAGMA user_version = %d", newest))
	ours := query(t, conn, "PRAGMA application_id")[0][0]
	query(t, conn, "PRAGMA application_id = 7")
	both("a foreign database", "not runledger's")
	query(t, conn, "PRAGMA application_id = "+ours)
	db := open(t, dir) // the lock was given back each time
	closeIt(t, db)

	query(t, conn, fmt.Sprintf("PRAGMA user_version = %d", newest-1))
	if _, err := sqlite.OpenReadOnly(t.Context(), dir); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("version %d of %d", newest-1, newest)) {
		t.Errorf("an older database, to read: %v", err)
	}
}

func TestMigrations(t *testing.T) {
	for i, m := range sqlite.Migrations() {
		if m.Version != i+1 || m.Name == "" {
			t.Errorf("migration %d is %+v", i, m)
		}
	}
}

func TestReadOnly(t *testing.T) {
	dir := t.TempDir()
	if _, err := sqlite.OpenReadOnly(t.Context(), dir); !errors.Is(err, evidence.ErrNotFound) {
		t.Errorf("an empty directory: %v", err)
	}
	db := open(t, dir)
	l := newLoad("t-1")
	if err := db.Commit(t.Context(), l.commit()); err != nil {
		t.Fatal(err)
	}
	check := func(what string, ro *sqlite.DB) {
		t.Helper()
		if head, err := ro.Head(t.Context(), l.log.LogRef); err != nil || head.Size != l.head.Size {
			t.Errorf("%s: head %d, %v", what, head.Size, err)
		}
		if list, err := ro.Guards(t.Context()); err != nil || len(list) != 0 {
			t.Errorf("%s: guards %v, %v", what, list, err)
		}
		snap, err := ro.Snapshot(t.Context())
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		closeIt(t, snap)
		for name, err := range map[string]error{
			"Commit":         ro.Commit(t.Context(), &store.Commit{}),
			"KeepCheckpoint": ro.KeepCheckpoint(t.Context(), l.log.LogRef, store.Checkpoint{}),
			"SetSetting":     ro.SetSetting(t.Context(), "a", "b"),
			"Scrub":          ro.Scrub(t.Context()),
			"Prepare":        ro.Prepare(t.Context()),
		} {
			if !errors.Is(err, evidence.ErrForbidden) {
				t.Errorf("%s: %s: %v, want ErrForbidden", what, name, err)
			}
		}
		if err := ro.Close(); err != nil {
			t.Error(err)
		}
	}
	ro, err := sqlite.OpenReadOnly(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Commit(t.Context(), l.commit()); err != nil {
		t.Fatal(err)
	}
	check("beside a writer", ro)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(filepath.Join(dir, "runledger.db"))
	if err != nil {
		t.Fatal(err)
	}
	if ro, err = sqlite.OpenReadOnly(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	check("without a writer", ro)
	check("as immutable", sqlite.ReadAsImmutable(dir))
	after, err := os.ReadFile(filepath.Join(dir, "runledger.db"))
	if err != nil || string(before) != string(after) {
		t.Errorf("reading has changed the database file (%v)", err)
	}
}

const childDir = "RUNLEDGER_SQLITE_TEST_CHILD"

// TestChild is the other process of TestKill: it writes until it is killed.
func TestChild(t *testing.T) {
	dir := os.Getenv(childDir)
	if dir == "" {
		t.Skip("only run by TestKill")
	}
	db := open(t, dir)
	l := newLoad("t-1")
	for range 1000 { // it ends even if nobody kills it
		if err := db.Commit(t.Context(), l.commit()); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stdout.WriteString("."); err != nil {
			t.Fatal(err)
		}
	}
}

// TestKill reads while another process writes, kills it, and finds whole
// commits.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	child := exec.Command(os.Args[0], "-test.run=^TestChild$")
	child.Env = append(os.Environ(), childDir+"="+dir)
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = child.Process.Kill() }() // again is no harm
	acknowledged := int64(0)
	read := func(n int) {
		t.Helper()
		b := make([]byte, n)
		for range n {
			if _, err := out.Read(b[:1]); err != nil {
				t.Fatalf("the child ended: %v", err)
			}
			acknowledged++
		}
	}
	ref := store.LogRef{Tenant: "t-1", No: 1}
	read(1)
	ro, err := sqlite.OpenReadOnly(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sqlite.Open(t.Context(), sqlite.Config{Dir: dir}); !errors.Is(err, store.ErrLocked) {
		t.Errorf("opening beside another process: %v, want ErrLocked", err)
	}
	for range 5 {
		read(2)
		if size := wholeSize(t, ro, ref); size < acknowledged*1050 {
			t.Errorf("size %d after %d commits", size, acknowledged)
		}
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait() // it was killed
	if size := wholeSize(t, ro, ref); size < acknowledged*1050 {
		t.Errorf("read-only, after the kill: size %d after %d commits", size, acknowledged)
	}
	if err := ro.Close(); err != nil {
		t.Fatal(err)
	}
	if ro, err = sqlite.OpenReadOnly(t.Context(), dir); err != nil { // must recover the log itself
		t.Fatal(err)
	}
	wholeSize(t, ro, ref)
	if err := ro.Close(); err != nil {
		t.Fatal(err)
	}
	if size := wholeSize(t, open(t, dir), ref); size < acknowledged*1050 {
		t.Errorf("reopened: size %d after %d commits", size, acknowledged)
	}
}

// wholeSize checks in a snapshot that there are as many rows as leaves.
func wholeSize(t *testing.T, db *sqlite.DB, ref store.LogRef) int64 {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	snap, err := db.Snapshot(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer snap.Close()
	head, err := snap.Head(ctx, ref)
	if err != nil {
		t.Fatal(err)
	}
	n := int64(0)
	for _, k := range []evidence.Kind{evidence.KindTrace, evidence.KindTraceStep} {
		if err := snap.Rows(ctx, ref, k, 0, 1<<39, func(*store.Row) error { n++; return nil }); err != nil {
			t.Fatal(err)
		}
	}
	if n != head.Size || n%1050 != 0 {
		t.Errorf("%d rows under a head of size %d", n, head.Size)
	}
	return head.Size
}
