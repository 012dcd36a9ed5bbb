package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Config says what a Streamer stands on. File, Ledger and Store are required.
type Config struct {
	File   *File
	Ledger Ledger
	Store  Store
	// Ready returns why evidence cannot be made durable, or nil. Default: the
	// ledger's Writable.
	Ready func() error
	// Lease says which of the processes on a store runs a stream or an alarm. Default:
	// this one is alone. Process is its name then, in what alarms say of it.
	Lease   LeaseFunc
	Process string
	Version string                // of the program, as events say it
	Logger  *slog.Logger          // default: none
	Metrics prometheus.Registerer // default: none

	tempo tempo
}

// tempo is how fast things go. The zero value stands for the defaults; tests are
// faster.
type tempo struct {
	poll    time.Duration // between two looks for new records
	refresh time.Duration // between two looks for new tenants
	pause   time.Duration // the first one after a failure
	save    time.Duration // between two saved positions while there is more to deliver
	idle    time.Duration // between two saved positions where nothing was delivered
	conds   time.Duration // between two looks at conditions
	settle  time.Duration // how long a condition stands before it is told of
	down    time.Duration // how long a sink may fail before that is a condition
	quiet   time.Duration // between two alarms about records alike
	lease   time.Duration // after which another process takes over from one that died
}

func (t *tempo) complete() {
	for _, d := range []struct {
		to    *time.Duration
		value time.Duration
	}{
		{&t.poll, 500 * time.Millisecond},
		{&t.refresh, 2 * time.Second},
		{&t.pause, time.Second},
		{&t.save, time.Second},
		{&t.idle, 30 * time.Second},
		{&t.conds, 5 * time.Second},
		{&t.settle, 5 * time.Second},
		{&t.down, 5 * time.Minute},
		{&t.quiet, 5 * time.Minute},
		{&t.lease, 15 * time.Second},
	} {
		if *d.to == 0 {
			*d.to = d.value
		}
	}
}

// Streamer passes records on. Run it, and Close it when Run has returned.
type Streamer struct {
	cfg     Config
	workers []*worker
	alarms  []*alarmer
}

// New opens the sinks of a configuration. It connects to nothing: a sink that does not
// answer is no reason not to start.
func New(cfg Config) (*Streamer, error) {
	if cfg.File == nil || cfg.Ledger == nil || cfg.Store == nil {
		return nil, errors.New("stream: File, Ledger and Store are required")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Ready == nil {
		cfg.Ready = cfg.Ledger.Writable
	}
	cfg.tempo.complete()
	host, err := os.Hostname()
	if err != nil {
		host = "" // the nil value of syslog stands for it
	}
	s := &Streamer{cfg: cfg}
	m := newMetrics(cfg.Metrics)
	for i := range cfg.File.Streams {
		c := &cfg.File.Streams[i]
		out, err := openSink(&c.To, host)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("stream %s: %w", c.Name, err), s.Close())
		}
		s.workers = append(s.workers, newWorker(&s.cfg, c, out, m))
	}
	for i := range cfg.File.Alarms {
		c := &cfg.File.Alarms[i]
		out, err := openSink(&c.To, host)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("alarm %s: %w", c.Name, err), s.Close())
		}
		s.alarms = append(s.alarms, newAlarmer(&s.cfg, c, out, m, s.workers))
	}
	return s, nil
}

// Run passes records on until ctx is done. It may be called once.
func (s *Streamer) Run(ctx context.Context) {
	var running sync.WaitGroup
	for _, w := range s.workers {
		running.Go(func() { w.turn.during(ctx, w.run) })
	}
	for _, a := range s.alarms {
		running.Go(func() { a.turn.during(ctx, a.run) })
	}
	running.Wait()
}

// Close closes the sinks.
func (s *Streamer) Close() error {
	var errs []error
	for _, w := range s.workers {
		errs = append(errs, w.sink.Close())
	}
	for _, a := range s.alarms {
		errs = append(errs, a.sink.Close())
	}
	return errors.Join(errs...)
}

// pause waits, and returns false when ctx is done.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
