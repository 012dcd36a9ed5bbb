package server

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/anchor"
	"github.com/runledger/runledger/internal/archive"
	"github.com/runledger/runledger/internal/store"
)

// archives are those of a deployment: the one that it is configured with, and those that
// its units were written to.
type archives struct {
	own   *archive.Archive // nil: there is none
	spec  string           // of own
	spool string
	log   *slog.Logger

	mu   sync.Mutex // guards what follows
	open map[string]*archive.Archive
}

// openArchive opens an archive; Off is nil.
func (c *Config) openArchive(spec string) (*archive.Archive, error) {
	if spec == Off {
		return nil, nil
	}
	return archive.Open(archive.Config{Spec: spec, Spool: c.Data, Logger: c.Logger})
}

func (c *Config) openArchives() (*archives, error) {
	own, err := c.openArchive(c.Archive)
	if err != nil {
		return nil, fmt.Errorf("archive %s: %w", c.Archive, err)
	}
	return &archives{own: own, spec: c.Archive, spool: c.Data, log: c.Logger, open: map[string]*archive.Archive{}}, nil
}

// find returns the archive of a unit. A directory that was moved, with the rest of the
// deployment, is looked for where the archive is now; what is read there is checked, so
// another one cannot pass for it.
func (a *archives) find(u store.ArchiveUnit) (*archive.Archive, error) {
	if a.own != nil && (u.Archive == a.spec || u.Archive == a.own.String() || directoryGone(u.Archive)) {
		return a.own, nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if at := a.open[u.Archive]; at != nil {
		return at, nil
	}
	at, err := archive.Open(archive.Config{Spec: u.Archive, Spool: a.spool, Logger: a.log})
	if err != nil {
		return nil, fmt.Errorf("%w: archive %s of unit %s: %w", evidence.ErrUnavailable, u.Archive, u.Name, err)
	}
	a.open[u.Archive] = at
	return at, nil
}

// directoryGone reports a directory that is not there; a bucket is never gone.
func directoryGone(spec string) bool {
	s, err := anchor.Parse(spec)
	if err != nil || s.S3 != nil {
		return false
	}
	_, err = os.Stat(s.Dir)
	return errors.Is(err, fs.ErrNotExist)
}
