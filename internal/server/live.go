package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/seal"
	"github.com/runledger/runledger/internal/store"
	"github.com/runledger/runledger/internal/store/sqlite"
)

// LiveConfig says what VerifyLive checks.
type LiveConfig struct {
	Data, Anchor string // as in Config
	Tenant       string // "" for all
	Progress     func(done, total int64)
}

// VerifyLive checks a data directory against what was signed, while another
// process holds it or none does. It opens everything for reading and asks
// nobody: a server under suspicion is not a witness in its own case.
func VerifyLive(ctx context.Context, cfg LiveConfig) (_ *ledger.LiveReport, err error) {
	c := Config{Data: cfg.Data, Anchor: cfg.Anchor}
	if err := c.complete(); err != nil {
		return nil, err
	}
	if there, err := exists(c.Data); err != nil {
		return nil, err
	} else if !there {
		return nil, fmt.Errorf("%s: %w: there is no ledger in it", c.Data, evidence.ErrNotFound)
	}
	db, err := sqlite.OpenReadOnly(ctx, c.Data)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	master, err := seal.OpenMaster(filepath.Join(c.Data, masterName), false)
	if err != nil {
		return nil, err
	}
	snap, anchor, err := snapshot(ctx, db, c.Anchor)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, snap.Close()) }()
	if cfg.Tenant != "" {
		if logs, err := snap.Logs(ctx, cfg.Tenant); err != nil {
			return nil, err
		} else if len(logs) == 0 {
			return nil, fmt.Errorf("tenant %q: %w", cfg.Tenant, evidence.ErrNotFound)
		}
	}
	return ledger.Verify(ctx, ledger.LiveConfig{
		Reader: snap, Sealer: seal.New(snap, master), Anchor: anchor, Tenant: cfg.Tenant, Progress: cfg.Progress,
	})
}

// snapshot takes the anchors and then a snapshot of the store. The order
// matters beside a running server: an anchor is written after its commit, so
// what was anchored first is in what is read then. A log that was opened in
// between has no anchor yet in what was taken: then both are taken again.
func snapshot(ctx context.Context, db *sqlite.DB, dir string) (store.Snapshot, ledger.Anchor, error) {
	for try := 1; ; try++ {
		anchor, err := readAnchors(dir)
		if err != nil {
			return nil, nil, err
		}
		snap, err := db.Snapshot(ctx)
		if err != nil {
			return nil, nil, err
		}
		logs, err := snap.Logs(ctx, "")
		if err != nil {
			return nil, nil, errors.Join(err, snap.Close())
		}
		missing := 0
		for _, lg := range logs {
			if _, ok := anchor.notes[lg.Origin]; !ok {
				missing++
			}
		}
		if missing == 0 || try == 3 {
			return snap, anchor, nil
		}
		if err := snap.Close(); err != nil {
			return nil, nil, err
		}
	}
}

// takenAnchor is an anchor directory as it was at one time. It cannot be
// written.
type takenAnchor struct {
	notes map[string][]byte
	lost  map[string][][]byte
	forks map[string][][]byte
}

// readAnchors reads an anchor directory without making it: that it is gone is
// a finding.
func readAnchors(dir string) (*takenAnchor, error) {
	a := &takenAnchor{notes: map[string][]byte{}, lost: map[string][][]byte{}, forks: map[string][][]byte{}}
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return a, nil
	}
	d, err := ledger.NewDirAnchor(dir)
	if err != nil {
		return nil, err
	}
	origins, err := d.Origins()
	if err != nil {
		return nil, err
	}
	for _, origin := range origins {
		if a.notes[origin], err = d.Read(origin); err != nil {
			return nil, err
		}
		if a.lost[origin], err = d.Lost(origin); err != nil {
			return nil, err
		}
		if a.forks[origin], err = d.Forks(origin); err != nil {
			return nil, err
		}
	}
	return a, nil
}

var errTaken = errors.New("this anchor is a copy")

// Read implements ledger.Anchor.
func (a *takenAnchor) Read(origin string) ([]byte, error) {
	if note, ok := a.notes[origin]; ok {
		return note, nil
	}
	return nil, fmt.Errorf("anchor of %s: %w", origin, evidence.ErrNotFound)
}

// Origins implements ledger.Anchor.
func (a *takenAnchor) Origins() (list []string, err error) {
	for origin := range a.notes {
		list = append(list, origin)
	}
	return list, nil
}

// Lost implements ledger.Anchor.
func (a *takenAnchor) Lost(origin string) ([][]byte, error) { return a.lost[origin], nil }

// Forks implements ledger.Anchor.
func (a *takenAnchor) Forks(origin string) ([][]byte, error) { return a.forks[origin], nil }

// KeepFork implements ledger.Anchor.
func (a *takenAnchor) KeepFork(string, []byte, []byte) (string, error) { return "", errTaken }

// Write implements ledger.Anchor.
func (a *takenAnchor) Write(string, []byte) error { return errTaken }

// Accept implements ledger.Anchor.
func (a *takenAnchor) Accept(string, []byte, []byte) error { return errTaken }
