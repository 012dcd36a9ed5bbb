package ledger

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/runledger/runledger/evidence"
)

// Anchor keeps the newest note of each log outside the database. It is what
// makes a restored backup visible: a head that does not extend the anchored
// one is a fork.
type Anchor interface {
	// Read returns the anchored note of a log, or evidence.ErrNotFound.
	Read(origin string) ([]byte, error)
	// Write replaces the note by a newer one, durably. Where several processes share an
	// anchor it may leave out a note of a smaller tree than the anchored one.
	Write(origin string, note []byte) error
	// Origins returns the logs that have an anchor, or had one that is lost.
	Origins() ([]string, error)
	// Accept replaces the note by one that does not extend it and keeps the
	// old one for good: the trace of an accepted rollback. note is nil where
	// the whole log is lost: Read then returns evidence.ErrNotFound.
	Accept(origin string, lost, note []byte) error
	// Lost returns the notes that Accept put aside.
	Lost(origin string) ([][]byte, error)
	// KeepFork keeps, for good, two notes that contradict each other: that of the
	// database, and that which somebody else has seen; nil where it was not shown.
	// The same two are kept once. It returns how people find them; "" where so many
	// are kept that these were not added.
	KeepFork(origin string, ours, seen []byte) (where string, err error)
	// Forks returns the notes that KeepFork keeps, ours before what was seen.
	Forks(origin string) ([][]byte, error)
}

// DirAnchor is an anchor in a directory: <dir>/<instance>/<hex>.note.
type DirAnchor struct {
	dir string
	mu  sync.Mutex
}

// NewDirAnchor returns an anchor in dir, made where it does not exist.
func NewDirAnchor(dir string) (*DirAnchor, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("anchor: %w", err)
	}
	return &DirAnchor{dir: dir}, nil
}

func (a *DirAnchor) path(origin string) (string, error) {
	if !evidence.ValidOrigin(origin) {
		return "", fmt.Errorf("anchor: %w: origin %q", evidence.ErrInvalid, origin)
	}
	return filepath.Join(a.dir, filepath.FromSlash(origin)+".note"), nil
}

// Read implements Anchor.
func (a *DirAnchor) Read(origin string) ([]byte, error) {
	path, err := a.path(origin)
	if err != nil {
		return nil, err
	}
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("anchor of %s: %w", origin, evidence.ErrNotFound)
	}
	return b, err
}

// Write implements Anchor: write aside, sync, rename, sync the directory.
func (a *DirAnchor) Write(origin string, note []byte) error {
	path, err := a.path(origin)
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.replace(path, note)
}

func (a *DirAnchor) replace(path string, note []byte) error {
	dir := filepath.Dir(path)
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		if err := errors.Join(os.MkdirAll(dir, 0o700), syncDir(a.dir)); err != nil {
			return err
		}
	}
	// A name of its own: another process may write to the same directory.
	f, err := os.CreateTemp(dir, filepath.Base(path)+".*.tmp")
	if err != nil {
		return err
	}
	_, err = f.Write(note)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return syncDir(dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Origins implements Anchor.
func (a *DirAnchor) Origins() ([]string, error) {
	var out []string
	err := filepath.WalkDir(a.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(a.dir, path)
		if err != nil {
			return err
		}
		origin, ok := strings.CutSuffix(filepath.ToSlash(rel), ".note")
		if !ok {
			origin, _, ok = strings.Cut(filepath.ToSlash(rel), ".lost-")
		}
		if ok && evidence.ValidOrigin(origin) && !slices.Contains(out, origin) {
			out = append(out, origin)
		}
		return nil
	})
	return out, err
}

// Accept implements Anchor.
func (a *DirAnchor) Accept(origin string, lost, note []byte) error {
	path, err := a.path(origin)
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if lost != nil {
		aside := strings.TrimSuffix(path, ".note")
		for i := 1; ; i++ {
			name := fmt.Sprintf("%s.lost-%d", aside, i)
			if _, err := os.Stat(name); err == nil {
				continue
			}
			if err := a.replace(name, lost); err != nil {
				return err
			}
			break
		}
	}
	if note == nil {
		return errors.Join(os.Remove(path), syncDir(filepath.Dir(path)))
	}
	return a.replace(path, note)
}

// Lost implements Anchor.
func (a *DirAnchor) Lost(origin string) ([][]byte, error) {
	path, err := a.path(origin)
	if err != nil {
		return nil, err
	}
	return readAside(strings.TrimSuffix(path, ".note") + ".lost-*")
}

// maxForks bounds the pairs of notes that are kept of one log: two are a proof.
const maxForks = 64

// KeepFork implements Anchor: <hex>.fork-<n>.ours and <hex>.fork-<n>.seen.
func (a *DirAnchor) KeepFork(origin string, ours, seen []byte) (string, error) {
	path, err := a.path(origin)
	if err != nil {
		return "", err
	}
	files := ".ours"
	if seen != nil {
		files += " and .seen"
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := 1; i <= maxForks; i++ {
		name := fmt.Sprintf("%s.fork-%d", strings.TrimSuffix(path, ".note"), i)
		have, err := os.ReadFile(name + ".ours")
		if errors.Is(err, fs.ErrNotExist) {
			if seen != nil {
				err = a.replace(name+".seen", seen)
			} else {
				err = nil
			}
			return name + files, errors.Join(err, a.replace(name+".ours", ours)) // last: it says that both are there
		}
		if err != nil {
			return "", err
		}
		other, err := os.ReadFile(name + ".seen")
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		if bytes.Equal(have, ours) && bytes.Equal(other, seen) {
			return name + files, nil
		}
	}
	return "", nil
}

// Forks implements Anchor.
func (a *DirAnchor) Forks(origin string) ([][]byte, error) {
	path, err := a.path(origin)
	if err != nil {
		return nil, err
	}
	return readAside(strings.TrimSuffix(path, ".note") + ".fork-*")
}

// readAside reads what was put aside under a pattern, in order of the names.
func readAside(pattern string) ([][]byte, error) {
	names, err := filepath.Glob(pattern)
	if err != nil {
		return nil, err
	}
	var out [][]byte
	for _, name := range names {
		if strings.HasSuffix(name, ".tmp") {
			continue // a crash while it was written
		}
		b, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		out = append(out, b)
	}
	return out, nil
}
