package witness

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/c2sp"
)

// maxKept bounds the requests that are kept of one log of each sort: one proves it.
const maxKept = 32

// Sorts of what is kept. A fork proves itself: two roots of one size. A doubt may: the
// log signed a larger tree, but the proof that came with it does not hold, which may
// be the fault of whoever sent it.
const (
	sortFork  = "fork"
	sortDoubt = "doubt"
)

// state is what a witness remembers, in a directory:
//
//	lock                    held while it runs
//	key                     its signing key
//	logs/<hash>.note        the checkpoint that it last cosigned, of the log whose
//	                        origin has that SHA-256 (16 bytes, hex)
//	forks/<sort>-<hash>-<n>.seen     that checkpoint, when the log signed another
//	forks/<sort>-<hash>-<n>.offered  that does not extend it: this one
type state struct {
	dir  string
	lock *os.File
	key  *c2sp.Cosigner
	log  *slog.Logger

	mu   sync.Mutex
	logs map[string]*witnessed // by origin
}

// witnessed is one log.
type witnessed struct {
	mu   sync.Mutex // held from the check of the old size to the answer
	vkey c2sp.VKey
	size int64
	root evidence.Hash
	note []byte // with the signatures of log and witness; nil before the first
}

func openState(dir, name string, log *slog.Logger) (*state, error) {
	for _, d := range []string{dir, filepath.Join(dir, "logs"), filepath.Join(dir, "forks")} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, err
		}
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	s := &state{dir: dir, lock: lock, log: log, logs: map[string]*witnessed{}}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w: another witness runs on it", dir, evidence.ErrConflict), lock.Close())
	}
	if s.key, err = OpenKey(dir, name); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return s, nil
}

func (s *state) close() error { return s.lock.Close() } // which unlocks

func (s *state) file(origin string) string {
	sum := sha256.Sum256([]byte(origin))
	return filepath.Join(s.dir, "logs", hex.EncodeToString(sum[:16])+".note")
}

// add loads the log of a key, or does nothing where it is there.
func (s *state) add(k c2sp.VKey) error {
	if k.Alg != c2sp.Ed25519 {
		return fmt.Errorf("log %s: %w: its key is that of a witness", k.Name, evidence.ErrInvalid)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if have := s.logs[k.Name]; have != nil {
		if have.vkey != k {
			return fmt.Errorf("log %s: %w: it has another key", k.Name, evidence.ErrConflict)
		}
		return nil
	}
	w := &witnessed{vkey: k, root: c2sp.EmptyRoot}
	note, err := os.ReadFile(s.file(k.Name))
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	default:
		v, err := c2sp.Verify(note, k, s.key.VKey())
		if err == nil && (v.Origin != k.Name || len(v.Cosignatures) != 1) {
			err = evidence.ErrTampered
		}
		if err != nil {
			return fmt.Errorf("%s: it is not what this witness wrote: %w", s.file(k.Name), err)
		}
		w.size, w.root, w.note = v.Size, v.Root, note
	}
	s.logs[k.Name] = w
	return nil
}

func (s *state) of(origin string) *witnessed {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.logs[origin]
}

// keep makes a checkpoint the log's newest, durably.
func (s *state) keep(w *witnessed, c c2sp.Checkpoint, note []byte) error {
	if err := writeFile(s.file(c.Origin), note); err != nil {
		return err
	}
	w.size, w.root, w.note = c.Size, c.Root, note
	return nil
}

// keepFork keeps a note that the log signed and that does not extend what it signed
// before. The same one is kept once. It returns the file, or "" where there are
// enough.
func (s *state) keepFork(w *witnessed, sort, origin string, note []byte) (string, error) {
	base := strings.TrimSuffix(filepath.Base(s.file(origin)), ".note")
	for i := 1; i <= maxKept; i++ {
		name := filepath.Join(s.dir, "forks", fmt.Sprintf("%s-%s-%d", sort, base, i))
		if sameFile(name+".offered", note) && sameFile(name+".seen", w.note) {
			return name + ".offered", nil
		}
		if _, err := os.Stat(name + ".offered"); err == nil {
			continue
		}
		// This one last: it says that both are there.
		return name + ".offered", errors.Join(writeFile(name+".seen", w.note), writeFile(name+".offered", note))
	}
	return "", nil
}
