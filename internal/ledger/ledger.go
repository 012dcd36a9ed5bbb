package ledger

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/semaphore"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/seal"
	"github.com/runledger/runledger/internal/store"
)

// Config says what a ledger stands on. Store, Sealer and Anchor are
// required.
type Config struct {
	Store  store.Store
	Sealer *seal.Sealer
	Anchor Anchor
	// Instance is the instance name of new logs, [a-z0-9.-]+; it reaches
	// witnesses. Default: the one the store has, else a random one.
	Instance string
	Logger   *slog.Logger          // default slog.Default()
	Metrics  prometheus.Registerer // default none
	Clock    Clock
	// Dev only warns about a clock that jumps.
	Dev bool
	// AcceptRollback goes on with a database whose head does not extend the
	// anchor (a restored backup): it opens a successor log that names both.
	AcceptRollback bool
	// Witnesses, where not nil, is asked by Open, before anything is written, whether
	// the heads extend what witnesses last saw. One that contradicts is treated as an
	// anchor that does.
	Witnesses WitnessFunc
	// PublishEvery is the time between two published checkpoints of a log.
	// Default 1 s.
	PublishEvery time.Duration
	// MaxCommitRecords closes a commit that has as many records. Default
	// 1000. A single Append is never split.
	MaxCommitRecords int
	// MaxQueuedRecords bounds what waits for the committer; Append blocks
	// beyond it. Default 20000.
	MaxQueuedRecords int
}

// MaxAppend is the greatest number of records of one Append.
const MaxAppend = 50000

func (c *Config) validate() error {
	if c.Store == nil || c.Sealer == nil || c.Anchor == nil {
		return errors.New("ledger: Store, Sealer and Anchor are required")
	}
	if c.Instance != "" && !evidence.ValidInstance(c.Instance) {
		return fmt.Errorf("ledger: %w: instance name %q is not of [a-z0-9.-]", evidence.ErrInvalid, c.Instance)
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.PublishEvery <= 0 {
		c.PublishEvery = time.Second
	}
	if c.MaxCommitRecords <= 0 {
		c.MaxCommitRecords = 1000
	}
	if c.MaxQueuedRecords <= 0 {
		c.MaxQueuedRecords = 20000
	}
	return nil
}

// Ledger is the logs of all tenants of a store. Its methods may be called
// from several goroutines. Close it before the store.
type Ledger struct {
	cfg      Config
	store    store.Store
	sealer   *seal.Sealer
	anchor   Anchor
	log      *slog.Logger
	clock    *clockGuard
	metrics  *metrics
	instance string

	// shared: other processes may write the same logs. holder is who this one is to them.
	shared     bool
	holder     string
	turns      turns
	committers committers
	room       *semaphore.Weighted // records that wait for a committer
	near       near                // what was read of the logs
	lives      lifecycles

	mu     sync.Mutex
	logs   map[store.LogRef]*openLog
	newest map[string]*openLog // by tenant
	// making are the tenants that this process is about to make: until it is known
	// whether another one was faster, the sealer may have a key for them that is not theirs.
	making map[string]bool

	halted atomic.Pointer[haltError]
	// unpublished is why the last round of publishing failed; nil before the first.
	unpublished atomic.Pointer[error]
	scrubs      atomic.Int64 // asked for, see scrubSoon
	sent        atomic.Int64 // boot-time clock of a producer's last batch, see Busy
	waits       producerWaits
	stop        chan struct{} // closed by Close
	stopped     sync.WaitGroup
	closing     sync.Once
	state       integrityState
	recording   recording
}

// haltError is why the ledger stopped writing for good.
type haltError struct{ err error }

// Open opens the ledger of a store, checks every log's head against its
// signature and its anchor, makes the system tenant where there is none,
// and starts the committer and the publisher. An error that wraps
// [ErrRollback] says that the database is older than the anchor.
func Open(ctx context.Context, cfg Config) (*Ledger, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	l := &Ledger{
		cfg: cfg, store: cfg.Store, sealer: cfg.Sealer, anchor: cfg.Anchor, log: cfg.Logger,
		clock:  newClockGuard(cfg.Clock, cfg.Dev, cfg.Logger),
		shared: !cfg.Store.SingleWriter(),
		holder: randomHex(8),
		room:   semaphore.NewWeighted(int64(cfg.MaxQueuedRecords)),
		logs:   map[store.LogRef]*openLog{},
		newest: map[string]*openLog{},
		making: map[string]bool{},
		stop:   make(chan struct{}),
	}
	l.committers.l, l.turns.l, l.turns.lease = l, l, defaultLease
	l.metrics = newMetrics(cfg.Metrics, l)
	if l.shared {
		// Of two processes that find an empty database, one makes what all share.
		release, err := l.alone(ctx, "ledger-start")
		if err != nil {
			return nil, err
		}
		defer release()
	}
	if err := l.loadInstance(ctx); err != nil {
		return nil, err
	}
	rolledBack, err := l.checkHeads(ctx)
	if err != nil {
		return nil, err
	}
	if err := l.start(ctx, rolledBack); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

func (l *Ledger) start(ctx context.Context, rolledBack []rollback) error {
	for _, r := range rolledBack {
		if err := l.succeed(ctx, r); err != nil {
			return err
		}
	}
	// Not before: it would find the anchor of a log that was rolled back ahead of it, and stop the log.
	l.stopped.Go(l.publishLoop)
	if err := l.startScrub(ctx); err != nil {
		return err
	}
	_, err := l.current(ctx, evidence.SystemTenant)
	if errors.Is(err, evidence.ErrNotFound) {
		_, err = l.createTenant(ctx, evidence.SystemTenant)
		if l.shared && errors.Is(err, evidence.ErrConflict) {
			err = nil // another process was faster
		}
	}
	return err
}

const (
	// aloneFor is how long a process has to start before another one may.
	aloneFor = 30 * time.Second
	// aloneEvery is how often who waits for that looks.
	aloneEvery = 100 * time.Millisecond
)

// alone waits for a lease of that name. It ends by itself if this process dies.
func (l *Ledger) alone(ctx context.Context, name string) (release func(), err error) {
	holder := randomHex(8)
	for {
		held, err := l.store.Lease(ctx, name, holder, aloneFor)
		if err != nil {
			return nil, err
		}
		if held {
			stop := make(chan struct{})
			var extending sync.WaitGroup
			extending.Go(func() { l.extendLease(ctx, name, holder, stop) })
			return func() {
				close(stop)
				extending.Wait()
				if _, err := l.store.Lease(context.WithoutCancel(ctx), name, holder, 0); err != nil {
					l.log.Warn("give up the lease of the start", "err", err)
				}
			}, nil
		}
		select {
		case <-time.After(aloneEvery):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// extendLease keeps a lease until stop is closed.
func (l *Ledger) extendLease(ctx context.Context, name, holder string, stop <-chan struct{}) {
	tick := time.NewTicker(aloneFor / 3)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
			if held, err := l.store.Lease(ctx, name, holder, aloneFor); err != nil || !held {
				l.log.Warn("extend the lease of the start", "held", held, "err", err)
			}
		}
	}
}

const settingInstance = "instance"

func (l *Ledger) loadInstance(ctx context.Context) error {
	name, err := l.store.Setting(ctx, settingInstance)
	switch {
	case err == nil && (l.cfg.Instance == "" || l.cfg.Instance == name):
		l.instance = name
		return nil
	case err != nil && !errors.Is(err, evidence.ErrNotFound):
		return err
	}
	l.instance = l.cfg.Instance
	if l.instance == "" {
		l.instance = "runledger-" + randomHex(4)
	}
	return l.store.SetSetting(ctx, settingInstance, l.instance)
}

func randomHex(n int) string {
	b := make([]byte, n)
	rand.Read(b)
	return hex.EncodeToString(b)
}

// NewID returns a random UUID of version 7 (RFC 9562 section 5.7).
func NewID(now evidence.Micros) evidence.ID {
	var id evidence.ID
	rand.Read(id[:])
	ms := uint64(now) / 1000
	for i := range 6 {
		id[i] = byte(ms >> (8 * (5 - i)))
	}
	id[6] = id[6]&0x0f | 0x70
	id[8] = id[8]&0x3f | 0x80
	return id
}

// halt stops writing for good: nothing is signed any more by this process.
func (l *Ledger) halt(err error) {
	if l.halted.CompareAndSwap(nil, &haltError{err}) {
		l.log.Error("writing stopped for good; restart to recover", "err", err)
	}
}

// running returns nil, or why nothing is signed any more.
func (l *Ledger) running() error {
	if h := l.halted.Load(); h != nil {
		return fmt.Errorf("the ledger stopped writing: %w: %w", h.err, evidence.ErrUnavailable)
	}
	return nil
}

// Writable returns nil, or why appends are refused. The error wraps
// evidence.ErrUnavailable.
func (l *Ledger) Writable() error {
	if err := l.running(); err != nil {
		return err
	}
	select {
	case <-l.stop:
		return errStopped
	default:
	}
	_, err := l.clock.look()
	return err
}

// ConfirmClock says that the wall clock is right: writing goes on after a
// jump. What is recorded stays in order: t stands still until the clock has
// caught up.
func (l *Ledger) ConfirmClock() { l.clock.confirm() }

// Close stops taking appends, writes what waits, publishes the last
// checkpoints and returns. It does not close the store.
func (l *Ledger) Close() error {
	l.closing.Do(func() {
		close(l.stop)
		l.committers.shut()
	})
	l.stopped.Wait()
	if l.halted.Load() != nil {
		return nil
	}
	return l.publishAll(context.Background())
}

// Instance returns the instance name of new logs.
func (l *Ledger) Instance() string { return l.instance }

// Tenants returns the tenants of the store with their newest logs.
func (l *Ledger) Tenants(ctx context.Context) ([]LogInfo, error) {
	logs, err := l.store.Logs(ctx, "")
	if err != nil {
		return nil, err
	}
	var out []LogInfo
	for _, lg := range logs {
		info := infoOf(lg)
		if n := len(out); n > 0 && out[n-1].Tenant == lg.Tenant {
			out[n-1] = info
			continue
		}
		out = append(out, info)
	}
	return out, nil
}

// Logs returns all logs of a tenant, oldest first, or evidence.ErrNotFound.
func (l *Ledger) Logs(ctx context.Context, tenant string) ([]LogInfo, error) {
	logs, err := l.store.Logs(ctx, tenant)
	if err != nil {
		return nil, err
	}
	if tenant == "" || len(logs) == 0 {
		return nil, fmt.Errorf("tenant %q: %w", tenant, evidence.ErrNotFound)
	}
	var out []LogInfo
	for _, lg := range logs {
		out = append(out, infoOf(lg))
	}
	return out, nil
}

// LogInfo names a log and the key that verifies it.
type LogInfo struct {
	Tenant string `json:"tenant_id"`
	No     int    `json:"log_no"`
	Origin string `json:"log"`
	VKey   string `json:"vkey"`
}

func infoOf(lg store.Log) LogInfo {
	return LogInfo{Tenant: lg.Tenant, No: lg.No, Origin: lg.Origin, VKey: lg.VKey}
}
