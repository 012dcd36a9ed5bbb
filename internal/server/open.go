package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/tink-crypto/tink-go/v2/tink"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/access"
	"github.com/runledger/runledger/internal/control"
	"github.com/runledger/runledger/internal/export"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/seal"
	"github.com/runledger/runledger/internal/store/sqlite"
)

// Config says what to open.
type Config struct {
	Data string // the data directory
	// Anchor is the anchor directory. Default: Data with the suffix .anchor.
	Anchor string
	// Create makes what is not there. Without it a directory that holds no
	// store is evidence.ErrNotFound.
	Create bool
	// Dev only warns about a clock that jumps.
	Dev bool
	// AcceptRollback goes on with a restored backup, see ledger.Config.
	AcceptRollback bool
	// ConfirmClock says that the clock is right although it stands behind the
	// newest record.
	ConfirmClock bool
	Version      string
	Logger       *slog.Logger          // default: none
	Metrics      prometheus.Registerer // default: none

	server bool
}

func (c *Config) complete() error {
	if c.Data == "" {
		return errors.New("no data directory given")
	}
	// "." has no name to put a suffix to.
	data, err := filepath.Abs(c.Data)
	if err != nil {
		return err
	}
	c.Data = data
	if c.Anchor == "" {
		c.Anchor = data + ".anchor"
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return nil
}

const (
	databaseName = "runledger.db"
	masterName   = "master.keyset.json"
)

// Deployment is an open data directory. Close it.
type Deployment struct {
	Ledger *ledger.Ledger
	// Control is the handler of package control.
	Control http.Handler
	// Created: there was nothing before.
	Created bool

	db   *sqlite.DB
	gate *access.Gate
	// observe is told of records that came over the control socket; nil while
	// no server follows runs. Set before the socket is opened.
	observe func(tenant string, records []*evidence.Record, receipts []ledger.Receipt)
}

// exists reports whether a directory holds a store.
func exists(dir string) (bool, error) {
	_, err := os.Stat(filepath.Join(dir, databaseName))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// Open opens a data directory for writing. An error that wraps store.ErrLocked
// says that another process holds it, one that wraps ledger.ErrRollback that
// it is older than its anchor.
func Open(ctx context.Context, cfg Config) (_ *Deployment, err error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	there, err := exists(cfg.Data)
	if err != nil {
		return nil, err
	}
	if !there && !cfg.Create {
		return nil, fmt.Errorf("%s: %w: there is no ledger in it (runledger init makes one)", cfg.Data, evidence.ErrNotFound)
	}
	db, err := sqlite.Open(ctx, sqlite.Config{Dir: cfg.Data, Logger: cfg.Logger})
	if err != nil {
		return nil, err
	}
	d := &Deployment{db: db, Created: !there}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.Close())
		}
	}()
	master, err := openMaster(ctx, db, cfg.Data)
	if err != nil {
		return nil, err
	}
	anchor, err := ledger.NewDirAnchor(cfg.Anchor)
	if err != nil {
		return nil, err
	}
	d.Ledger, err = ledger.Open(ctx, ledger.Config{
		Store: db, Sealer: seal.New(db, master), Anchor: anchor, Logger: cfg.Logger, Metrics: cfg.Metrics,
		Dev: cfg.Dev, AcceptRollback: cfg.AcceptRollback,
	})
	if err != nil {
		return nil, err
	}
	if cfg.ConfirmClock {
		d.Ledger.ConfirmClock()
	}
	// Dev mode lets requests in, and a command has none.
	d.gate, err = access.New(ctx, access.Config{Store: db, Ledger: d.Ledger, Dev: cfg.Dev && cfg.server, Logger: cfg.Logger})
	if err != nil {
		return nil, fmt.Errorf("credentials: %w", err)
	}
	exporter := export.New(export.Config{Ledger: d.Ledger, SpoolDir: cfg.Data, Logger: cfg.Logger})
	d.Control = control.Handler(control.Config{
		Ledger: d.Ledger, Exporter: exporter, Access: d.gate, Version: cfg.Version, Server: cfg.server, Logger: cfg.Logger,
		Observe: func(tenant string, records []*evidence.Record, receipts []ledger.Receipt) {
			if d.observe != nil {
				d.observe(tenant, records, receipts)
			}
		},
	})
	return d, d.recordMigrations(ctx)
}

// openMaster reads the master keyset, or makes it where nothing is wrapped by
// one yet. Where it is lost a new one would be of no use and would hide why.
func openMaster(ctx context.Context, db *sqlite.DB, dir string) (tink.AEAD, error) {
	logs, err := db.Logs(ctx, "")
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, masterName)
	master, err := seal.OpenMaster(path, len(logs) == 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s is missing: put it back from its backup; without it nothing can be signed or read", path)
	}
	return master, err
}

// Close writes what waits, publishes the last checkpoints, and gives the
// directory back.
func (d *Deployment) Close() error {
	var errs []error
	if d.gate != nil {
		errs = append(errs, d.gate.Close())
	}
	if d.Ledger != nil {
		errs = append(errs, d.Ledger.Close())
	}
	return errors.Join(append(errs, d.db.Close())...)
}
