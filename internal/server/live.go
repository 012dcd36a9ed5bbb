package server

import (
	"context"
	"errors"
	"fmt"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/archive"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/seal"
	"github.com/runledger/runledger/internal/store"
)

// LiveConfig says what VerifyLive checks.
type LiveConfig struct {
	Data, Anchor, Store, Master string // as in Config
	Tenant                      string // "" for all
	Progress                    func(done, total int64)
}

// VerifyLive checks a data directory against what was signed, while another
// process holds it or none does. It opens everything for reading and asks
// nobody: a server under suspicion is not a witness in its own case.
func VerifyLive(ctx context.Context, cfg LiveConfig) (_ *ledger.LiveReport, err error) {
	c := Config{Data: cfg.Data, Anchor: cfg.Anchor, Store: cfg.Store, Master: cfg.Master}
	if err := c.complete(); err != nil {
		return nil, err
	}
	spec := c.spec()
	spec.ReadOnly = true
	db, err := openBackend(ctx, spec)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	master, err := seal.OpenMaster(c.Master, false)
	if err != nil {
		return nil, err
	}
	if err := c.completeLifecycle(); err != nil {
		return nil, err
	}
	archives, err := c.openArchives()
	if err != nil {
		return nil, err
	}
	snap, anchor, err := snapshot(ctx, archive.Cold(db.Store, archives.find), c.Anchor)
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
func snapshot(ctx context.Context, db store.Store, where string) (store.Snapshot, ledger.Anchor, error) {
	for try := 1; ; try++ {
		anchor, err := readAnchors(where)
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
