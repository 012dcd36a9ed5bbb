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
	"slices"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/tink-crypto/tink-go/v2/tink"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/access"
	"github.com/runledger/runledger/internal/access/oidc"
	"github.com/runledger/runledger/internal/control"
	"github.com/runledger/runledger/internal/dialect"
	"github.com/runledger/runledger/internal/export"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/otlp"
	"github.com/runledger/runledger/internal/prices"
	"github.com/runledger/runledger/internal/problem"
	"github.com/runledger/runledger/internal/runs"
	"github.com/runledger/runledger/internal/seal"
	"github.com/runledger/runledger/internal/store/sqlite"
	"github.com/runledger/runledger/verify"
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
	// Rules say who may ask for what, Environment which of them count, and OIDC whose
	// bearer tokens are taken. Default: those of package access.
	Rules       *access.Rules
	Environment string
	OIDC        []access.Issuer
	Version     string
	// Witnesses is the policy of those who are asked to cosign, with its digest, and
	// Stamps says who stamps. Default: nobody is asked.
	Witnesses       *verify.Policy
	WitnessesDigest string
	Stamps          *StampConfig
	Logger          *slog.Logger          // default: none
	Metrics         prometheus.Registerer // default: none

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

	db       *sqlite.DB
	gate     *access.Gate
	operator atomic.Pointer[http.ServeMux] // the read API, for who holds the directory
	reading  *reading                      // of a command; a server has its own
	master   tink.AEAD
	exporter *export.Exporter
	outside  outside
	// refuse answers requests of OTLP that are not let in; nil before a server takes
	// them.
	refuse func(w http.ResponseWriter, r *http.Request, err error)
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
	if d.master, err = openMaster(ctx, db, cfg.Data); err != nil {
		return nil, err
	}
	anchor, err := ledger.NewDirAnchor(cfg.Anchor)
	if err != nil {
		return nil, err
	}
	if err := d.outside.open(&cfg); err != nil {
		return nil, err
	}
	d.Ledger, err = ledger.Open(ctx, ledger.Config{
		Store: db, Sealer: seal.New(db, d.master), Anchor: anchor, Logger: cfg.Logger, Metrics: cfg.Metrics,
		Dev: cfg.Dev, AcceptRollback: cfg.AcceptRollback, Witnesses: d.outside.atStart(),
	})
	if err != nil {
		return nil, err
	}
	if err := d.outside.use(d.Ledger, &cfg); err != nil {
		return nil, err
	}
	if cfg.ConfirmClock {
		d.Ledger.ConfirmClock()
	}
	// Dev mode lets requests in, and a command has none.
	d.gate, err = access.New(ctx, access.Config{
		Store: db, Ledger: d.Ledger, Dev: cfg.Dev && cfg.server, Logger: cfg.Logger,
		Rules: cfg.Rules, Environment: cfg.Environment, OIDC: cfg.OIDC, Verifier: verifier, Fail: d.fail(cfg.Logger),
	})
	if err != nil {
		return nil, fmt.Errorf("credentials: %w", err)
	}
	d.exporter = export.New(export.Config{Ledger: d.Ledger, SpoolDir: cfg.Data, Logger: cfg.Logger, Cosign: d.outside.cosign()})
	d.Control = control.Handler(control.Config{
		Ledger: d.Ledger, Exporter: d.exporter, Access: d.gate, Version: cfg.Version, Server: cfg.server, Logger: cfg.Logger,
		Read: d.readAs, Stamp: d.outside.stamp(),
		Observe: func(tenant string, records []*evidence.Record, receipts []ledger.Receipt) {
			if d.observe != nil {
				d.observe(tenant, records, receipts)
			}
		},
	})
	if !cfg.server {
		if err := d.openCommandReading(&cfg); err != nil {
			return nil, err
		}
	}
	return d, d.recordMigrations(ctx)
}

// openCommandReading lets a command read: it looks at open runs, and ends none.
func (d *Deployment) openCommandReading(cfg *Config) error {
	mapper := otlp.New(otlp.Config{Dialects: dialect.Default(), Prices: prices.Default()})
	viewer, err := runs.NewViewer(runs.Config{Ledger: d.Ledger, Reread: mapper.Reread})
	if err != nil {
		return err
	}
	d.reading, err = d.newReading(viewer, nil, cfg)
	return err
}

// fail answers requests that the gate does not let in.
func (d *Deployment) fail(logger *slog.Logger) func(http.ResponseWriter, *http.Request, error) {
	return func(w http.ResponseWriter, r *http.Request, err error) {
		if d.refuse != nil && r.Method == http.MethodPost && slices.Contains(otlpPaths, r.URL.Path) {
			d.refuse(w, r, err)
			return
		}
		switch k := problem.Write(w, err); {
		case k.Status == http.StatusServiceUnavailable:
			logger.WarnContext(r.Context(), "request", "route", r.Pattern, "err", err)
		case k.Status >= http.StatusInternalServerError:
			logger.ErrorContext(r.Context(), "request", "route", r.Pattern, "err", err)
		}
	}
}

// verifier checks the tokens of an identity provider.
func verifier(i access.Issuer) (access.TokenVerifier, error) {
	return oidc.New(oidc.Config{Issuer: i.Issuer, AllowHTTP: i.AllowHTTP})
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
	if d.reading != nil {
		errs = append(errs, d.reading.close())
	}
	if d.gate != nil {
		errs = append(errs, d.gate.Close())
	}
	if d.Ledger != nil {
		errs = append(errs, d.Ledger.Close())
	}
	return errors.Join(append(errs, d.db.Close())...)
}
