package anchor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
)

// Dir is an anchor in a directory that several processes may share, on one machine or
// on a network file system that has flock(2). Its methods may be called from several
// goroutines.
type Dir struct {
	*ledger.DirAnchor // reads need no lock: a file is replaced as a whole
	root              string
	patience          time.Duration
}

// lockPatience is how long a writer waits for the others. Each holds the lock for two
// syncs of a disk.
const lockPatience = 10 * time.Second

// NewDir returns an anchor in a directory, made where it does not exist.
func NewDir(root string) (*Dir, error) {
	d, err := ledger.NewDirAnchor(root)
	if err != nil {
		return nil, err
	}
	return &Dir{DirAnchor: d, root: root, patience: lockPatience}, nil
}

// Write implements ledger.Anchor. It never goes back.
func (d *Dir) Write(origin string, note []byte) error {
	return d.locked(origin, func() error {
		anchored, err := d.Read(origin)
		if err != nil && !errors.Is(err, evidence.ErrNotFound) {
			return err
		}
		put, err := forward(origin, anchored, note)
		if err != nil || !put {
			return of(origin, err)
		}
		return d.DirAnchor.Write(origin, note)
	})
}

// Accept implements ledger.Anchor.
func (d *Dir) Accept(origin string, lost, note []byte) error {
	return d.locked(origin, func() error { return d.DirAnchor.Accept(origin, lost, note) })
}

// KeepFork implements ledger.Anchor.
func (d *Dir) KeepFork(origin string, ours, seen []byte) (where string, err error) {
	err = d.locked(origin, func() error {
		where, err = d.DirAnchor.KeepFork(origin, ours, seen)
		return err
	})
	return where, err
}

// locked calls fn while no other process changes the directory. The lock is that of an
// open file, so it ends with the process, and goroutines wait for one another too.
func (d *Dir) locked(origin string, fn func() error) (err error) {
	if err := checkOrigin(origin); err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(d.root, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return of(origin, err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	const pause = 2 * time.Millisecond
	for end := time.Now().Add(d.patience); ; time.Sleep(pause) {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return fn()
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return of(origin, fmt.Errorf("lock %s: %w", f.Name(), err))
		}
		if time.Now().After(end) {
			return of(origin, fmt.Errorf("%w: another process has held %s for %v", evidence.ErrUnavailable, f.Name(), d.patience))
		}
	}
}
