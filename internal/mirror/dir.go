package mirror

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/runledger/runledger/evidence"
)

// dir is the directory of a mirror. Paths are relative to it. It is for one goroutine.
type dir struct {
	root string
	lock *os.File
	// touched are the directories that were written to since the last sync.
	touched map[string]bool
}

// openDir makes a directory where there is none, and holds it until close.
func openDir(root string) (*dir, error) {
	if err := os.MkdirAll(root, 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(root, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = fmt.Errorf("%s: %w: another process holds it", root, evidence.ErrUnavailable)
		}
		return nil, errors.Join(err, f.Close())
	}
	return &dir{root: root, lock: f, touched: map[string]bool{}}, nil
}

func (d *dir) close() error { return d.lock.Close() }

// read returns a file of at most that size. One that is larger is none of a mirror's.
func (d *dir) read(path string, most int64) ([]byte, error) {
	f, err := os.Open(filepath.Join(d.root, path))
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(b)) > most {
		err = fmt.Errorf("%s: %w: over %d bytes", path, evidence.ErrTooLarge, most)
	}
	return b, errors.Join(err, f.Close())
}

// write puts a file in place, whole: aside, synced, renamed. It is there for good
// after sync.
func (d *dir) write(path string, data []byte) error {
	full := filepath.Join(d.root, path)
	if err := d.makeFor(filepath.Dir(full)); err != nil {
		return err
	}
	tmp := full + ".tmp"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(tmp, full)
}

// makeFor makes a directory and notes which ones have to be synced.
func (d *dir) makeFor(path string) error {
	if d.touched[path] {
		return nil
	}
	for at := path; ; at = filepath.Dir(at) {
		d.touched[at] = true
		if _, err := os.Stat(at); err == nil || at == d.root || at == filepath.Dir(at) {
			break
		}
	}
	return os.MkdirAll(path, 0o700)
}

// sync makes what was written durable.
func (d *dir) sync() error {
	for path := range d.touched {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		if err := errors.Join(f.Sync(), f.Close()); err != nil {
			return err
		}
	}
	clear(d.touched)
	return nil
}

// commit makes everything durable, and then a file that says so.
func (d *dir) commit(path string, data []byte) error {
	if err := d.sync(); err != nil {
		return err
	}
	if err := d.write(path, data); err != nil {
		return err
	}
	return d.sync()
}
