package sqlite

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/runledger/runledger/internal/store"
)

// use is what a connection is for.
type use int

const (
	forWriting   use = iota
	forReading       // beside a writer of this process
	forReadOnly      // without the lock
	forImmutable     // without the lock, in a directory that cannot be written
)

// acquireLock takes the lock of a data directory. The file stays where it is:
// removing it would let two processes hold locks on two files of that name.
func acquireLock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("sqlite: %w", err)
	}
	for {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	switch {
	case err == nil:
		return f, nil
	case errors.Is(err, unix.EWOULDBLOCK):
		return nil, errors.Join(fmt.Errorf("%w: %s", store.ErrLocked, filepath.Dir(path)), f.Close())
	default:
		return nil, errors.Join(fmt.Errorf("sqlite: lock %s: %w", path, err), f.Close())
	}
}

// createFile makes the database file with its mode before SQLite, which gives
// the files beside it the same mode. The directory is synced, so that a
// machine that fails right after the first commit still has the file.
func createFile(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if errors.Is(err, os.ErrExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("sqlite: %w", err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("sqlite: %w", err)
	}
	dir := filepath.Dir(path)
	return errors.Join(syncDir(dir), syncDir(filepath.Dir(dir)))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sqlite: %w", err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("sqlite: sync %s: %w", dir, err)
	}
	return nil
}

// readOnlyUse decides how a directory is read. SQLite needs a -shm file to
// read a database in WAL mode. Where it can make none and there is none, no
// process has the database open, and it can be read as immutable.
func readOnlyUse(path string) use {
	if unix.Access(filepath.Dir(path), unix.W_OK) == nil {
		return forReadOnly
	}
	if _, err := os.Stat(path + "-shm"); err == nil {
		return forReadOnly
	}
	if st, err := os.Stat(path + "-wal"); err == nil && st.Size() > 0 {
		return forReadOnly // it fails, rather than miss what is in the log
	}
	return forImmutable
}

// busyTimeout is how long a connection waits for another process: a reader
// that recovers the log, or an operator's shell. Within the process nothing
// waits for SQLite's locks.
const busyTimeout = 10 * time.Second

var pragmas = [...][]string{
	forWriting: {
		"page_size = 4096", // small blobs waste less than on larger pages
		"journal_mode = WAL",
		"synchronous = FULL",
		"wal_autocheckpoint = 0", // see wal.go
		"journal_size_limit = 67108864",
		"cache_size = -65536", // 64 MB; 256 MB doubled memory for nothing
		"secure_delete = ON",
		"recursive_triggers = ON", // REPLACE then fires delete triggers too
	},
	forReading:   {"query_only = ON", "cache_size = -8192"},
	forReadOnly:  {"query_only = ON", "cache_size = -8192"},
	forImmutable: {"query_only = ON", "cache_size = -8192"},
}

var commonPragmas = []string{
	"trusted_schema = OFF", // a tampered schema calls no function of harm
	"cell_size_check = ON",
	"mmap_size = 0",
	"temp_store = MEMORY", // nothing of content in temporary files
}

func openConn(path string, u use) (_ *sqlite.Conn, err error) {
	flags := sqlite.OpenReadWrite
	switch u {
	case forReadOnly:
		flags = sqlite.OpenReadOnly
	case forImmutable:
		flags = sqlite.OpenReadOnly | sqlite.OpenURI
		path = (&url.URL{Scheme: "file", OmitHost: true, Path: path, RawQuery: "immutable=1"}).String()
	}
	conn, err := sqlite.OpenConn(path, flags)
	if err != nil {
		return nil, fmt.Errorf("sqlite: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, conn.Close())
		}
	}()
	conn.SetBusyTimeout(busyTimeout)
	// Not conn.SetDefensive: of driver v1.4.2 it passes one of the two arguments
	// that SQLite reads, and so at times lets it write to a stray address.
	for _, list := range [][]string{commonPragmas, pragmas[u]} {
		for _, p := range list {
			if err := sqlitex.ExecuteTransient(conn, "PRAGMA "+p, nil); err != nil {
				return nil, fmt.Errorf("sqlite: open %s: %s: %w", path, p, err)
			}
		}
	}
	return conn, nil
}

// fileOf returns the absolute name of the database file itself, behind symbolic links. SQLite's other
// files stand beside it.
func fileOf(conn *sqlite.Conn) (name string, err error) {
	err = sqlitex.ExecuteTransient(conn, "PRAGMA database_list", &sqlitex.ExecOptions{ResultFunc: func(s *sqlite.Stmt) error {
		if s.ColumnText(1) == "main" {
			name = s.ColumnText(2)
		}
		return nil
	}})
	if err != nil {
		return "", fmt.Errorf("sqlite: %w", err)
	}
	return name, nil
}
