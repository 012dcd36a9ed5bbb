package server

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/runledger/runledger/internal/control"
	"github.com/runledger/runledger/internal/ledger"
)

// ServeConfig says how to serve.
type ServeConfig struct {
	Config
	// Listen is the address of the API. Default 127.0.0.1:8080; port 0 takes
	// a free one.
	Listen string
	// Watch says how continuous verification works.
	Watch ledger.WatchConfig
	// Grace is how long running requests may take to end when the server
	// stops. Default 10 s.
	Grace time.Duration
}

// server is a running server.
type server struct {
	cfg      ServeConfig
	log      *slog.Logger
	d        *Deployment
	registry *prometheus.Registry
	ln       net.Listener
	http     *http.Server
	socket   *control.Socket
}

// Serve runs a server until ctx is done, and then stops it in order. It
// returns nil if all of that went well.
func Serve(ctx context.Context, cfg ServeConfig) (err error) {
	if err := cfg.complete(); err != nil {
		return err
	}
	if cfg.Listen == "" {
		cfg.Listen = "127.0.0.1:8080"
	}
	if cfg.Grace <= 0 {
		cfg.Grace = 10 * time.Second
	}
	s := &server{cfg: cfg, log: cfg.Logger, registry: prometheus.NewRegistry()}
	s.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	s.cfg.Config.server, s.cfg.Config.Create, s.cfg.Config.Metrics = true, true, s.registry

	if s.d, err = Open(ctx, s.cfg.Config); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.d.Close()) }()
	if s.ln, err = net.Listen("tcp", cfg.Listen); err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	defer s.ln.Close() // where the server did not get so far as to take it
	if err := s.recordStart(ctx); err != nil {
		return err
	}
	if s.socket, err = control.Listen(s.cfg.Data, s.d.Control, s.log); err != nil {
		return err
	}
	return s.run(ctx)
}

// run serves until ctx is done or the listener fails.
func (s *server) run(ctx context.Context) error {
	s.http = &http.Server{
		Handler:           s.routes(),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
	}
	failed := make(chan error, 1)
	go func() { failed <- s.http.Serve(s.ln) }()
	watch, stopWatch := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWatch()
	var watching sync.WaitGroup
	watching.Go(func() { s.d.Ledger.Watch(watch, s.cfg.Watch) })
	s.log.Info("ready", "data", s.cfg.Data, "listen", s.ln.Addr().String(), "instance", s.d.Ledger.Instance(), "version", s.cfg.Version, "pid", os.Getpid())

	var cause error
	reason := "told to stop"
	select {
	case <-ctx.Done():
	case cause = <-failed:
		reason = "the listener failed"
	}
	s.log.Info("stopping", "reason", reason)
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.cfg.Grace)
	defer cancel()
	errs := []error{cause, s.stopHTTP(grace), s.socket.Close(grace)}
	stopWatch()
	watching.Wait()
	errs = append(errs, s.recordStop(context.WithoutCancel(ctx), reason))
	err := errors.Join(errs...)
	s.log.Info("stopped", "clean", err == nil)
	return err
}

func (s *server) stopHTTP(ctx context.Context) error {
	err := s.http.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		s.log.Warn("requests were cut off", "grace", s.cfg.Grace)
		return s.http.Close()
	}
	return err
}

// recordStart appends STARTUP. The digest of the configuration lets two
// environments be compared without showing either.
func (s *server) recordStart(ctx context.Context) error {
	config := map[string]any{
		"listen": s.cfg.Listen, "dev": s.cfg.Dev, "accept_rollback": s.cfg.AcceptRollback,
		"scrub_rate": s.cfg.Watch.ScrubRate, "scrub_every": s.cfg.Watch.ScrubEvery.String(),
	}
	b, err := json.Marshal(config)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(b)
	err = s.d.record(ctx, systemEvent{
		component: componentAPI, event: "STARTUP", version: s.cfg.Version, causedBy: "SYSTEM",
		configDigest: "sha256:" + hex.EncodeToString(sum[:]),
		summary:      "The server started.",
		details:      map[string]any{"config": config, "pid": os.Getpid(), "go": runtime.Version(), "listen": s.ln.Addr().String()},
	})
	if err != nil {
		return fmt.Errorf("record the start: %w", err)
	}
	return nil
}

// recordStop appends SHUTDOWN. A ledger that writes no more cannot: that it
// is missing then says something too.
func (s *server) recordStop(ctx context.Context, reason string) error {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Grace)
	defer cancel()
	err := s.d.record(ctx, systemEvent{
		component: componentAPI, event: "SHUTDOWN", version: s.cfg.Version, causedBy: "SYSTEM",
		summary: "The server stopped: " + reason + ".",
	})
	if err != nil {
		return fmt.Errorf("record the stop: %w", err)
	}
	return nil
}
