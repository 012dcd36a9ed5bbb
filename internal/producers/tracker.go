package producers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/store"
)

// Ledger is what is used of the ledger.
type Ledger interface {
	Tenants(ctx context.Context) ([]ledger.LogInfo, error)
	End(ctx context.Context, tenant string) (store.Position, error)
	Leaves(ctx context.Context, tenant string, logNo int, from, to int64, fn func(seq int64, leaf []byte) error) error
	Append(ctx context.Context, tenant string, records []*evidence.Record, opts ledger.AppendOptions) ([]ledger.Receipt, error)
}

// Store is what is used of the store.
type Store interface {
	Head(ctx context.Context, log store.LogRef) (store.Head, error)
	Setting(ctx context.Context, name string) (string, error)
	SetSetting(ctx context.Context, name, value string) error
}

// LeaseFunc makes this process the one that a name belongs to for ttl from now, unless
// it is another's: then it returns false. With ttl 0 it is given up. See store.Lease.
type LeaseFunc func(ctx context.Context, name string, ttl time.Duration) (held bool, err error)

// Config says what a Tracker stands on. Ledger and Store are required.
type Config struct {
	Ledger Ledger
	Store  Store
	// Lease says which of the processes on a store follows the logs. Default: this one
	// is alone.
	Lease   LeaseFunc
	Now     func() time.Time      // default time.Now
	Logger  *slog.Logger          // default: none
	Metrics prometheus.Registerer // default: none

	tempo tempo
}

// tempo is how fast things go. The zero value stands for the defaults; tests have others.
type tempo struct {
	rate  int           // leaves a second that Run reads at most
	idle  int           // times as long as something took Run waits after it; negative: not
	pass  time.Duration // between two looks at all logs
	save  time.Duration // between two times that a tenant's state is stored, at least
	saves time.Duration // between two of all tenants, at least
	lease time.Duration // after which another process takes over from one that died
	stall time.Duration // for which the process may stand still and still have listened
	held  int           // producers that are kept in memory of tenants that expect nothing
}

func (t *tempo) complete() {
	for _, d := range []struct {
		to    *time.Duration
		value time.Duration
	}{
		{&t.pass, 10 * time.Second},
		{&t.save, time.Minute},
		{&t.saves, time.Second},
		{&t.lease, 30 * time.Second},
		{&t.stall, 30 * time.Second},
	} {
		if *d.to == 0 {
			*d.to = d.value
		}
	}
	if t.rate == 0 {
		t.rate = 5000
	}
	if t.idle == 0 {
		t.idle = 4
	}
	if t.held == 0 {
		t.held = 100_000
	}
}

const (
	// maxStep is how many leaves are counted while others wait for a tenant's book.
	maxStep = 4096
	// maxTurn is how many leaves of a tenant are read before the next one's turn.
	maxTurn = 10 * 5000
	// lookCost is what the look for a log's end counts, in leaves.
	lookCost = 5
	// saveBytes bounds how much state is stored of one tenant, in bytes a second.
	saveBytes = 16 << 10
)

// Tracker follows the logs of all tenants. Its methods may be called from several
// goroutines, Run once.
type Tracker struct {
	cfg     Config
	log     *slog.Logger
	metrics *metrics

	mu      sync.Mutex // guards tenants
	tenants map[string]*entry

	// Of Run:
	ready   func() error    // why producers cannot be listened to now, or nil
	since   evidence.Micros // from then on producers have been listened to
	looked  time.Time       // when that was last looked at, by the wall clock
	savedAt time.Time       // of any tenant
	turn    turn
	// failures are what was said last of tenants that cannot be followed.
	failures map[string]string
}

// entry is a tenant.
type entry struct {
	mu      sync.Mutex // guards what follows
	book    *book      // nil: not loaded
	saved   store.Position
	savedAt time.Time
	size    int // of the stored state, in bytes
	// left is where the book was let go, with nothing expected of anybody.
	left store.Position
}

// New makes a Tracker. It reads nothing yet.
func New(cfg Config) (*Tracker, error) {
	if cfg.Ledger == nil || cfg.Store == nil {
		return nil, errors.New("producers: Ledger and Store are required")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	cfg.tempo.complete()
	return &Tracker{
		cfg: cfg, log: cfg.Logger, metrics: newMetrics(cfg.Metrics), tenants: map[string]*entry{}, failures: map[string]string{},
	}, nil
}

func (t *Tracker) now() evidence.Micros { return evidence.MicrosOf(t.cfg.Now()) }

func (t *Tracker) entry(tenant string) *entry {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.tenants[tenant]
	if e == nil {
		e = &entry{}
		t.tenants[tenant] = e
	}
	return e
}

// List counts a tenant's logs to their end, and returns what is known of its producers,
// or with silentOnly of those that are silent. The error wraps evidence.ErrNotFound
// where there is no such tenant, evidence.ErrTampered where a leaf is not what stood
// there.
func (t *Tracker) List(ctx context.Context, tenant string, silentOnly bool) (*List, error) {
	now := t.now()
	end, err := t.cfg.Ledger.End(ctx, tenant)
	if err != nil {
		return nil, err
	}
	e := t.entry(tenant)
	for {
		list, err := t.listed(ctx, e, tenant, end, now, silentOnly)
		if list != nil || err != nil {
			return list, err
		}
	}
}

// listed counts some leaves, and returns the list once it is at the end.
func (t *Tracker) listed(ctx context.Context, e *entry, tenant string, end store.Position, now evidence.Micros, silentOnly bool) (*List, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := t.open(ctx, e, tenant, end); err != nil {
		return nil, err
	}
	if before(e.book.at, end) {
		if _, err := t.step(ctx, e.book, end, maxStep); err != nil || before(e.book.at, end) {
			return nil, err
		}
	}
	t.save(ctx, e)
	return e.book.shown(now, silentOnly), nil
}

// open loads the book where there is none. e.mu is held.
func (t *Tracker) open(ctx context.Context, e *entry, tenant string, end store.Position) (err error) {
	if e.book != nil {
		return nil
	}
	if e.book, err = t.load(ctx, tenant, end); err != nil {
		return err
	}
	e.saved, e.savedAt = e.book.at, t.cfg.Now()
	return nil
}

// step counts at most n leaves up to end, and returns how many. At the end of a log
// it goes over to the next.
func (t *Tracker) step(ctx context.Context, b *book, end store.Position, n int64) (read int64, err error) {
	to := end.Seq
	if b.at.LogNo < end.LogNo {
		head, err := t.cfg.Store.Head(ctx, store.LogRef{Tenant: b.tenant, No: b.at.LogNo})
		if err != nil {
			return 0, fmt.Errorf("head of log %d of %s: %w", b.at.LogNo, b.tenant, err)
		}
		if to = head.Size; b.at.Seq >= to {
			b.at, b.last = store.Position{LogNo: b.at.LogNo + 1}, evidence.ID{}
			return 0, nil
		}
	}
	from := b.at.Seq
	to = min(to, from+n)
	var leaf evidence.Leaf
	err = t.cfg.Ledger.Leaves(ctx, b.tenant, b.at.LogNo, from, to, func(seq int64, raw []byte) error {
		if err := leaf.ParseText(string(raw)); err != nil {
			return fmt.Errorf("leaf %d of log %d of %s: %w: %w", seq, b.at.LogNo, b.tenant, evidence.ErrTampered, err)
		}
		if leaf.Seq != seq {
			return fmt.Errorf("leaf %d of log %d of %s: %w: it is leaf %d", seq, b.at.LogNo, b.tenant, evidence.ErrTampered, leaf.Seq)
		}
		b.apply(&leaf)
		return nil
	})
	read = b.at.Seq - from
	t.metrics.read.Add(float64(read))
	return read, err
}

// save stores the book, if it has changed. e.mu is held. What is not stored is counted
// again after a restart, so it is no failure. At the start of a log there is no leaf yet
// by which it would be known again.
func (t *Tracker) save(ctx context.Context, e *entry) {
	if e.book == nil || e.book.at == e.saved || e.book.at.Seq == 0 {
		return
	}
	e.savedAt = t.cfg.Now()
	text, err := e.book.text()
	if err == nil {
		err = t.cfg.Store.SetSetting(ctx, setting(e.book.tenant), text)
	}
	if err != nil {
		if ctx.Err() == nil {
			t.log.Warn("what is known of producers is not stored", "tenant", e.book.tenant, "err", err)
		}
		return
	}
	e.saved, e.size = e.book.at, len(text)
}
