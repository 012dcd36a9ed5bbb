package runs

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/runledger/runledger/internal/store"
)

// Tracker follows open runs and ends them. Its methods may be called from
// several goroutines. Close it before the ledger.
type Tracker struct {
	cfg     Config
	metrics *metrics
	shards  [shards]shard
	queue   queue
	open    atomic.Int64
	memory  atomic.Int64

	ctx    context.Context // of what workers do
	cancel context.CancelFunc
	stop   chan struct{}
	once   sync.Once
	wg     sync.WaitGroup

	scanMu   sync.Mutex
	scanAt   time.Time // when to look for runs that nobody follows
	scanMore bool      // there were more than one look takes
}

const (
	// tick is how often it is looked what is due.
	tick = 50 * time.Millisecond
	// workers is how many tenants are worked on at a time.
	workers = 4
	// maxScan is how many runs one look brings.
	maxScan = 50_000
)

// Open reads which runs are open and starts following them. They are read back
// one after another while the tracker already works.
func Open(ctx context.Context, cfg Config) (*Tracker, error) {
	if err := cfg.defaults(); err != nil {
		return nil, err
	}
	t := &Tracker{cfg: cfg, stop: make(chan struct{})}
	t.ctx, t.cancel = context.WithCancel(context.WithoutCancel(ctx))
	t.queue.init()
	for i := range t.shards {
		t.shards[i].t = t
		t.shards[i].runs = map[key]*entry{}
	}
	if err := t.scan(ctx); err != nil {
		t.cancel()
		return nil, fmt.Errorf("read open runs: %w", err)
	}
	t.metrics = newMetrics(cfg.Metrics, t)
	t.wg.Go(t.keepTime)
	for range workers {
		t.wg.Go(t.work)
	}
	return t, nil
}

// Observe takes in records of a tenant that have become durable, in the order
// of their receipts. It keeps none of them and does not block on I/O. Duplicates
// and records of no run may be among them.
func (t *Tracker) Observe(tenant string, records []Observed) {
	now := t.cfg.Now()
	for len(records) > 0 {
		run := records[0].Record.Run
		n := 1
		for n < len(records) && records[n].Record.Run == run {
			n++
		}
		if run != "" {
			t.shardOf(run).observe(tenant, records[:n], now)
		}
		records = records[n:]
	}
}

// Close stops. What is being written is finished, unless ctx is done before.
// Runs that are open stay open and are found by the next Open.
func (t *Tracker) Close(ctx context.Context) error {
	t.once.Do(func() {
		close(t.stop)
		t.queue.close()
	})
	done := make(chan struct{})
	go func() {
		t.wg.Wait()
		close(done)
	}()
	select {
	case <-done:
		t.cancel()
		return nil
	case <-ctx.Done():
		t.cancel() // a record whose outcome is unknown is found by the next Open
		<-done
		return ctx.Err()
	}
}

// keepTime brings what is due to the workers.
func (t *Tracker) keepTime() {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			t.advance()
			t.rescan()
		case <-t.stop:
			return
		}
	}
}

// advance queues what is due and lets the workers look.
func (t *Tracker) advance() {
	now := t.cfg.Now()
	for i := range t.shards {
		for _, e := range t.shards[i].advance(now) {
			t.queue.add(e.tenant, e)
		}
	}
	t.queue.wake()
}

// rescan looks for open runs that nobody here follows: more than one look took
// at start, or those of a process that is gone.
func (t *Tracker) rescan() {
	now := t.cfg.Now()
	t.scanMu.Lock()
	due := !now.Before(t.scanAt) || t.scanMore && t.queue.foundLeft() == 0
	t.scanMu.Unlock()
	if !due {
		return
	}
	if err := t.scan(t.ctx); err != nil && t.ctx.Err() == nil {
		t.cfg.Logger.Warn("cannot read open runs", "err", err)
	}
}

var errEnough = errors.New("enough")

// scan begins to follow open runs that are not followed yet.
func (t *Tracker) scan(ctx context.Context) error {
	t.scanMu.Lock()
	defer t.scanMu.Unlock()
	t.scanAt = t.cfg.Now().Add(t.cfg.Idle)
	t.scanMore = false
	type found struct {
		tenant string
		store.RunState
	}
	var list []found
	err := t.cfg.Ledger.OpenRuns(ctx, func(tenant string, s store.RunState) error {
		if t.follows(tenant, s.Run) {
			return nil
		}
		if len(list) == maxScan {
			return errEnough
		}
		list = append(list, found{tenant, s})
		return nil
	})
	if errors.Is(err, errEnough) {
		t.scanMore, err = true, nil
	}
	for _, f := range list {
		s := t.shardOf(f.Run)
		s.mu.Lock()
		if e, isNew := s.entry(f.tenant, f.Run); isNew {
			e.unknown, e.next, e.state = true, f.NextN, queued
			t.queue.addFound(e)
		}
		s.mu.Unlock()
	}
	return err
}

func (t *Tracker) follows(tenant, run string) bool {
	s := t.shardOf(run)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.runs[key{tenant, run}] != nil
}
