package server

import (
	"context"
	"crypto/rand"
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
	"github.com/runledger/runledger/internal/archive"
	"github.com/runledger/runledger/internal/control"
	"github.com/runledger/runledger/internal/dialect"
	"github.com/runledger/runledger/internal/export"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/lifecycle"
	"github.com/runledger/runledger/internal/move"
	"github.com/runledger/runledger/internal/otlp"
	"github.com/runledger/runledger/internal/prices"
	"github.com/runledger/runledger/internal/problem"
	"github.com/runledger/runledger/internal/producers"
	"github.com/runledger/runledger/internal/runs"
	"github.com/runledger/runledger/internal/seal"
	"github.com/runledger/runledger/verify"
)

// Config says what to open.
type Config struct {
	// Data is the data directory: it has the master keyset, the control socket and
	// what is spooled, and with SQLite the database. One process holds it.
	Data string
	// Anchor is the anchor directory, or s3://… (package anchor). Default: Data with
	// the suffix .anchor; with Store it must be given, for all processes share it.
	Anchor string
	// Store is the DSN of a PostgreSQL database as the application's role. Default:
	// SQLite in Data. StoreOwner is the same as its owner's role; it is used where
	// Migrate asks for the schema to be made or updated.
	Store, StoreOwner string
	Migrate           bool
	// Pool bounds what is asked of PostgreSQL.
	Pool PoolConfig
	// Archive is where evidence goes before it expires: a directory, s3://… as of an
	// anchor, or Off. Default: Data with the suffix .archive; with Store there is none.
	Archive string
	// Lifecycle says how long evidence is kept.
	Lifecycle LifecycleConfig
	// Master is the file of the master keyset. Default: master.keyset.json in Data.
	// All processes on one database need the same.
	Master string
	// Process names this process among those on one database, in records and settings.
	// Default: the name of the host and of Data.
	Process string
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
	// Clock is that of the ledger and of what expires, for tests and measurements. The
	// database has its own. Default: the real one.
	Clock ledger.Clock

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
	if err := c.completeStore(); err != nil {
		return err
	}
	if c.Master == "" {
		c.Master = filepath.Join(data, masterName)
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return nil
}

// completeStore checks what belongs to the choice of the store.
func (c *Config) completeStore() error {
	if c.Process == "" {
		c.Process = defaultProcess(c.Data)
	}
	if !validProcess(c.Process) {
		return fmt.Errorf("%w: the name of a process, %q, must be 1 to 63 of [a-z0-9.-]", evidence.ErrInvalid, c.Process)
	}
	if c.Store == "" {
		if c.Anchor == "" {
			c.Anchor = c.Data + ".anchor"
		}
		return nil
	}
	if c.Anchor == "" {
		return fmt.Errorf("%w: with a PostgreSQL store an anchor must be given (--anchor): all processes share it, "+
			"and it must not be lost with the database", evidence.ErrInvalid)
	}
	there, err := exists(c.Data)
	if err == nil && there {
		err = fmt.Errorf("%w: %s holds an SQLite store: a process on PostgreSQL needs a data directory of its own "+
			"(move %s away if it was copied and is not used any more)", evidence.ErrConflict, c.Data, databaseName)
	}
	return err
}

// spec is how the store of a deployment is opened.
func (c *Config) spec() StoreSpec {
	return StoreSpec{
		Data: c.Data, Store: c.Store, Owner: c.StoreOwner, Migrate: c.Migrate, Create: c.Create,
		Pool: c.Pool, Logger: c.Logger, Metrics: c.Metrics,
	}
}

// Deployment is an open data directory. Close it.
type Deployment struct {
	Ledger *ledger.Ledger
	// Control is the handler of package control.
	Control http.Handler
	// Lifecycle keeps evidence for as long as the rules say.
	Lifecycle *lifecycle.Service
	// Created: there was nothing before.
	Created bool

	db       *backend
	process  string   // its name among those on one database
	holder   string   // of leases: that, and what no other process has
	lock     *os.File // of the data directory; nil where the store has one
	gate     *access.Gate
	operator atomic.Pointer[http.ServeMux] // the read API, for who holds the directory
	reading  *reading                      // of a command; a server has its own
	master   tink.AEAD
	archives *archives
	exporter *export.Exporter
	outside  outside
	// producers knows who writes, and producing asks it for the operator.
	producers *producers.Tracker
	producing *http.ServeMux
	// refuse answers requests of OTLP that are not let in; nil before a server takes
	// them.
	refuse func(w http.ResponseWriter, r *http.Request, err error)
	// observe is told of records that came over the control socket; nil while
	// no server follows runs. Set before the socket is opened.
	observe func(tenant string, records []*evidence.Record, receipts []ledger.Receipt)
}

// Open opens a data directory for writing. An error that wraps store.ErrLocked
// says that another process holds it, one that wraps ledger.ErrRollback that
// it is older than its anchor.
func Open(ctx context.Context, cfg Config) (_ *Deployment, err error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	d := &Deployment{process: cfg.Process, holder: cfg.Process + "/" + rand.Text()}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.Close())
		}
	}()
	if err := d.openStore(ctx, &cfg); err != nil {
		return nil, err
	}
	anchor, err := openAnchor(cfg.Anchor)
	if err != nil {
		return nil, err
	}
	if err := d.outside.open(&cfg); err != nil {
		return nil, err
	}
	sealer := seal.New(d.db.Store, d.master)
	d.Ledger, err = ledger.Open(ctx, ledger.Config{
		Store: d.db.Store, Sealer: sealer, Anchor: anchor, Logger: cfg.Logger, Metrics: cfg.Metrics,
		Dev: cfg.Dev, AcceptRollback: cfg.AcceptRollback, Witnesses: d.outside.atStart(), Clock: cfg.Clock,
	})
	if err != nil {
		if other := checkMaster(ctx, d.db, d.master, cfg.Master); other != nil {
			err = other // a process with another keyset was faster
		}
		return nil, err
	}
	if err := d.outside.use(d, &cfg); err != nil {
		return nil, err
	}
	if cfg.ConfirmClock {
		d.Ledger.ConfirmClock()
	}
	if err := d.openLifecycle(&cfg, sealer); err != nil {
		return nil, err
	}
	made := func(ctx context.Context, tenant string) { d.acknowledge(ctx, cfg.Logger, tenant) }
	if d.Created {
		made(ctx, evidence.SystemTenant)
	}
	// Dev mode lets requests in, and a command has none.
	d.gate, err = access.New(ctx, access.Config{
		Store: d.db.Store, Ledger: acknowledging{d.Ledger, made}, Dev: cfg.Dev && cfg.server, Logger: cfg.Logger,
		Rules: cfg.Rules, Environment: cfg.Environment, OIDC: cfg.OIDC, Verifier: verifier, Fail: d.fail(cfg.Logger),
	})
	if err != nil {
		return nil, fmt.Errorf("credentials: %w", err)
	}
	d.exporter = export.New(export.Config{Ledger: d.Ledger, SpoolDir: cfg.Data, Logger: cfg.Logger, Cosign: d.outside.cosign(), Lease: d.lease()})
	if err := d.openProducers(&cfg); err != nil {
		return nil, err
	}
	d.Control = control.Handler(control.Config{
		Ledger: d.Ledger, Exporter: d.exporter, Access: d.gate, Version: cfg.Version, Server: cfg.server, Logger: cfg.Logger,
		Read: d.readAs, Producers: d.producersAs, Stamp: d.outside.stamp(), Lifecycle: d.Lifecycle, Created: made,
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

// openStore takes the data directory and opens the store.
func (d *Deployment) openStore(ctx context.Context, cfg *Config) (err error) {
	if cfg.Store != "" {
		if _, err := os.Stat(cfg.Data); errors.Is(err, fs.ErrNotExist) && !cfg.Create {
			return fmt.Errorf("%s: %w: there is no such data directory", cfg.Data, evidence.ErrNotFound)
		}
		if d.lock, err = lockData(cfg.Data); err != nil {
			return err
		}
	} else if d.Created, err = exists(cfg.Data); err != nil {
		return err
	}
	d.Created = cfg.Store == "" && !d.Created
	if d.db, err = openBackend(ctx, cfg.spec()); err != nil {
		return err
	}
	if err := move.Check(ctx, d.db); err != nil { // one of two may write
		return err
	}
	if d.db.shared() {
		logs, err := d.db.Logs(ctx, "")
		if err != nil {
			return err
		}
		if d.Created = len(logs) == 0; d.Created && !cfg.Create {
			return noLedger(DescribeStore(cfg.Store))
		}
	}
	if cfg.server {
		if err := d.refuseBroken(ctx, cfg); err != nil {
			return err
		}
	} else if last, err := readSettings(ctx, d.db, settingConfig); err != nil {
		return err
	} else {
		cfg.as(last)
	}
	if err := cfg.completeLifecycle(); err != nil {
		return err
	}
	if d.archives, err = cfg.openArchives(); err != nil {
		return err
	}
	d.db.Store = archive.Cold(d.db.Store, d.archives.find)
	d.master, err = openMaster(ctx, d.db, cfg.Master)
	return err
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
	if d.db != nil {
		errs = append(errs, d.db.Close())
	}
	if d.lock != nil {
		errs = append(errs, d.lock.Close()) // which unlocks
	}
	return errors.Join(errs...)
}
