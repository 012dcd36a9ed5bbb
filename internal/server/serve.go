package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"google.golang.org/grpc"

	"github.com/runledger/runledger/internal/control"
	"github.com/runledger/runledger/internal/dialect"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/prices"
	"github.com/runledger/runledger/internal/stream"
)

// Off is the address that stands for no listener.
const Off = "off"

// ServeConfig says how to serve.
type ServeConfig struct {
	Config
	// Listen is the address of the API. Default 127.0.0.1:8080. OTLPHTTP is
	// that of the same routes where exporters look for OTLP/HTTP, default
	// 127.0.0.1:4318; OTLPGRPC that of OTLP/gRPC, default 127.0.0.1:4317. Of
	// these two "off" stands for none; port 0 takes a free one.
	Listen, OTLPHTTP, OTLPGRPC string
	// MetricsAddress is an address for /metrics alone, which needs no credential there.
	// Default: none.
	MetricsAddress string
	// Prefixes are further path prefixes of OTLP/HTTP.
	Prefixes []string
	// MaxBody bounds an ingest request after decompression, MaxInFlight all of
	// them together, in bytes. Default: those of package ingest.
	MaxBody, MaxInFlight int64
	// TLSCert and TLSKey are PEM files. Without them nothing is encrypted.
	TLSCert, TLSKey string
	// RootQuiet, Quiet, Idle and NearThreshold are those of package runs.
	RootQuiet, Quiet, Idle time.Duration
	NearThreshold          int
	Prices                 *prices.Table  // default: the built-in ones
	Dialects               *dialect.Table // default: the built-in ones
	// PricesDigest to OIDCDigest name what is not built in, in records.
	PricesDigest, DialectsDigest, RulesDigest, OIDCDigest string
	// Streams are what records are passed on to. Default: none.
	Streams *stream.File
	// DiskReserve is how many bytes ingest leaves free. Default: 5 % of the
	// disk, at most 256 MiB.
	DiskReserve int64
	// Watch says how continuous verification works.
	Watch ledger.WatchConfig
	// SelfObserve is the time between two rounds in which the server runs all scenarios
	// of the built-in registry against itself. Default: it does not. Who configures it
	// keeps to LeastSelfObserve.
	SelfObserve time.Duration
	// Grace is how long running requests may take to end when the server
	// stops. Default 10 s.
	Grace time.Duration

	observe observeHooks
}

func (c *ServeConfig) complete() error {
	if err := c.Config.complete(); err != nil {
		return err
	}
	for _, d := range []struct {
		to    *string
		value string
	}{{&c.Listen, "127.0.0.1:8080"}, {&c.OTLPHTTP, "127.0.0.1:4318"}, {&c.OTLPGRPC, "127.0.0.1:4317"}, {&c.MetricsAddress, Off}} {
		if *d.to == "" {
			*d.to = d.value
		}
	}
	if err := c.completeLifecycle(); err != nil {
		return err
	}
	if c.Grace <= 0 {
		c.Grace = 10 * time.Second
	}
	if c.Prices == nil {
		c.Prices = prices.Default()
	}
	if c.Dialects == nil {
		c.Dialects = dialect.Default()
	}
	return nil
}

// server is a running server.
type server struct {
	cfg      ServeConfig
	log      *slog.Logger
	d        *Deployment
	registry *prometheus.Registry
	tls      *tls.Config
	disk     *disk
	state    state
	probe    probe
	in       *intake
	out      *reading
	api      net.Listener
	otlp     net.Listener // nil: off
	rpc      net.Listener // nil: off
	scrape   net.Listener // nil: off
	http     *http.Server
	grpc     *grpc.Server // nil: off
	scraped  *http.Server // of metrics; nil: off
	socket   *control.Socket
	streams  *stream.Streamer // nil: none
	// observing is nil where the server does not observe itself.
	observing *observing
}

// Serve runs a server until ctx is done, and then stops it in order. It
// returns nil if all of that went well.
func Serve(ctx context.Context, cfg ServeConfig) (err error) {
	if err := cfg.complete(); err != nil {
		return err
	}
	s := &server{cfg: cfg, log: cfg.Logger, registry: prometheus.NewRegistry()}
	s.disk = &disk{dir: cfg.Data, reserve: cfg.DiskReserve, stat: statDisk}
	s.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	s.cfg.Config.server, s.cfg.Create, s.cfg.Metrics = true, true, s.registry

	if s.tls, err = newTLS(cfg.TLSCert, cfg.TLSKey); err != nil {
		return err
	}
	if s.d, err = Open(ctx, s.cfg.Config); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.d.Close()) }()
	s.register()
	s.observing = s.openObserving(ctx)
	if err := s.listen(); err != nil {
		return err
	}
	if err := s.openStreams(); err != nil {
		s.closeListeners()
		return err
	}
	defer func() { err = errors.Join(err, s.closeStreams()) }()
	defer s.closeListeners() // where the servers did not get so far as to take them
	if err := s.recordStart(ctx); err != nil {
		return err
	}
	if s.in, err = s.openIntake(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.in.close(context.WithoutCancel(ctx))) }() // again where run did
	if s.out, err = s.d.newReading(s.in.runs, s.in.ingest, &s.cfg.Config); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.out.close()) }() // again where run did
	if s.socket, err = control.Listen(s.cfg.Data, s.d.Control, s.log); err != nil {
		return err
	}
	return s.run(ctx)
}

func (s *server) listen() error {
	for _, l := range []struct {
		to      *net.Listener
		address string
	}{{&s.api, s.cfg.Listen}, {&s.otlp, s.cfg.OTLPHTTP}, {&s.rpc, s.cfg.OTLPGRPC}, {&s.scrape, s.cfg.MetricsAddress}} {
		if l.address == Off && l.to != &s.api {
			continue
		}
		ln, err := net.Listen("tcp", l.address)
		if err != nil {
			s.closeListeners()
			return fmt.Errorf("listen: %w", err)
		}
		if host, _, err := net.SplitHostPort(ln.Addr().String()); err == nil && s.tls == nil && !net.ParseIP(host).IsLoopback() {
			s.log.Warn("listening without TLS beyond this machine: keys and evidence can be read on the way", "address", ln.Addr().String())
		}
		*l.to = ln
	}
	return nil
}

func (s *server) closeListeners() {
	for _, ln := range []net.Listener{s.api, s.otlp, s.rpc, s.scrape} {
		if ln != nil {
			_ = ln.Close() // closed already where a server took it
		}
	}
}

// address shows where a listener listens.
func address(ln net.Listener) string {
	if ln == nil {
		return Off
	}
	return ln.Addr().String()
}

// prepare spares the first erasure what can be done beforehand.
func (s *server) prepare(ctx context.Context) {
	if err := s.d.db.Prepare(ctx); err != nil && ctx.Err() == nil {
		s.log.Warn("prepare the store for scrubs: the first one does it", "err", err)
	}
}

// run serves until ctx is done or a listener fails.
func (s *server) run(ctx context.Context) error {
	failed := make(chan error, 4)
	s.serveHTTP(failed)
	s.serveGRPC(failed)
	s.serveMetrics(failed)
	background, stopBackground := context.WithCancel(context.WithoutCancel(ctx))
	defer stopBackground()
	var working sync.WaitGroup
	working.Go(func() { s.d.Ledger.Watch(background, s.cfg.Watch) })
	working.Go(func() { s.watchHealth(background) })
	working.Go(func() { s.probeStore(background) })
	working.Go(func() { s.upkeep(background) })
	working.Go(func() { s.stream(background) })
	working.Go(func() { s.followProducers(background) })
	working.Go(func() { s.d.outside.run(background) })
	working.Go(func() { s.prepare(background) })
	ready := make(chan struct{})
	working.Go(func() { s.keep(background, ready) })
	observe, stopObserving := context.WithCancel(background)
	defer stopObserving()
	observed := make(chan struct{})
	go func() { defer close(observed); s.observing.run(observe, s.http.Handler) }()
	s.log.Info("ready", "data", s.cfg.Data, "store", DescribeStore(s.cfg.Store), "process", s.d.process, "listen", address(s.api), "otlp_http", address(s.otlp), "otlp_grpc", address(s.rpc),
		"metrics", address(s.scrape), "instance", s.d.Ledger.Instance(), "version", s.cfg.Version, "pid", os.Getpid())
	close(ready)

	var cause error
	reason := "told to stop"
	select {
	case <-ctx.Done():
	case cause = <-failed:
		reason = "a listener failed"
	}
	s.log.Info("stopping", "reason", reason)
	stopObserving()
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.cfg.Grace)
	defer cancel()
	errs := []error{cause, s.stopServers(grace), ended(grace, observed), s.socket.Close(grace), s.in.close(grace), s.out.close(), s.d.gate.Close()}
	stopBackground()
	working.Wait()
	errs = append(errs, s.recordStop(context.WithoutCancel(ctx), reason))
	s.d.outside.atStop(context.WithoutCancel(ctx)) // nothing is appended after this
	err := errors.Join(errs...)
	s.log.Info("stopped", "clean", err == nil)
	return err
}

func (s *server) serveHTTP(failed chan<- error) {
	protocols := &http.Protocols{}
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(s.tls != nil)
	s.http = &http.Server{
		Handler:           s.routes(),
		ReadHeaderTimeout: 10 * time.Second,
		MaxHeaderBytes:    64 << 10,
		IdleTimeout:       2 * time.Minute,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
		TLSConfig:         s.tls,
		Protocols:         protocols,
	}
	for _, ln := range []net.Listener{s.api, s.otlp} {
		switch {
		case ln == nil:
		case s.tls != nil:
			go func() { failed <- s.http.ServeTLS(ln, "", "") }()
		default:
			go func() { failed <- s.http.Serve(ln) }()
		}
	}
}

// serveMetrics serves /metrics on an address of its own, for who scrapes without
// a credential.
func (s *server) serveMetrics(failed chan<- error) {
	if s.scrape == nil {
		return
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", s.metrics())
	s.scraped = &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, TLSConfig: s.tls, ErrorLog: s.http.ErrorLog}
	if s.tls != nil {
		go func() { failed <- s.scraped.ServeTLS(s.scrape, "", "") }()
		return
	}
	go func() { failed <- s.scraped.Serve(s.scrape) }()
}

// ended waits until self-observation has ended: it asks like a client, and its requests
// are in no server that could be waited for.
func ended(ctx context.Context, done <-chan struct{}) error {
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	select {
	case <-done: // while other things took all the time
		return nil
	default:
		return errors.New("self-observation did not end")
	}
}

// stopServers ends all servers: running requests may end, new ones are
// refused.
func (s *server) stopServers(ctx context.Context) error {
	var stopping sync.WaitGroup
	if s.grpc != nil {
		stopping.Go(func() {
			done := make(chan struct{})
			go func() { s.grpc.GracefulStop(); close(done) }()
			select {
			case <-done:
			case <-ctx.Done():
				s.grpc.Stop()
			}
		})
	}
	err := s.http.Shutdown(ctx)
	if s.scraped != nil {
		err = errors.Join(err, s.scraped.Shutdown(ctx))
	}
	stopping.Wait()
	if errors.Is(err, context.DeadlineExceeded) {
		s.log.Warn("requests were cut off", "grace", s.cfg.Grace)
		return s.http.Close()
	}
	return err
}
