package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/runledger/runledger/internal/access"
	"github.com/runledger/runledger/internal/control"
	"github.com/runledger/runledger/internal/demo"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/server"
)

// demoServer is a server of this process, on a directory of its own.
type demoServer struct {
	data      string
	api, otlp string // where it listens
	elsewhere bool   // not on the usual ports
	stopped   chan error
	log       *os.File
}

// startDemo starts a server on the usual addresses, or on free ones where those
// are taken. It stops with ctx.
func startDemo(ctx context.Context, dir string) (_ *demoServer, err error) {
	s := &demoServer{data: filepath.Join(dir, "data"), stopped: make(chan error, 1)}
	if s.log, err = os.OpenFile(filepath.Join(dir, "server.log"), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600); err != nil {
		return nil, err
	}
	ready := make(chan map[string]string, 1)
	cfg := server.ServeConfig{
		Config: server.Config{
			Data: s.data, Version: version(),
			Logger: slog.New(readyHandler{slog.NewJSONHandler(s.log, nil), ready}),
		},
		// New tenants are checked from end to end by the next full verification, which
		// by default is an hour away.
		Watch:  ledger.WatchConfig{ScrubEvery: time.Second},
		Listen: s.free("127.0.0.1:8080"), OTLPHTTP: s.free("127.0.0.1:4318"), OTLPGRPC: s.free("127.0.0.1:4317"),
	}
	go func() { s.stopped <- server.Serve(ctx, cfg) }()
	select {
	case at := <-ready:
		s.api, s.otlp = at["listen"], at["otlp_http"]
		return s, nil
	case err := <-s.stopped:
		return nil, errors.Join(err, s.log.Close())
	}
}

// free returns the address, or one with any free port where it is taken.
func (s *demoServer) free(address string) string {
	ln, err := net.Listen("tcp", address)
	if err == nil && ln.Close() == nil {
		return address
	}
	s.elsewhere = true
	return "127.0.0.1:0"
}

// wait waits until the server has stopped.
func (s *demoServer) wait() error { return errors.Join(<-s.stopped, s.log.Close()) }

// keys makes the tenants and a key for each role. It returns them, and the verifier
// key of the tenant that the tour is about.
func (s *demoServer) keys(ctx context.Context) (keys map[string]string, vkey string, err error) {
	c, err := control.Dial(ctx, s.data)
	if err != nil {
		return nil, "", err
	}
	for _, tenant := range []string{demo.Tenant, demo.Other} {
		info, err := c.CreateTenant(ctx, tenant)
		if err != nil {
			return nil, "", err
		}
		if tenant == demo.Tenant {
			vkey = info.VKey
		}
	}
	keys = map[string]string{}
	for _, k := range []struct{ who, tenant, role, name string }{
		{demo.Producer, demo.Tenant, access.RoleProducer, "refunds"},
		{demo.Operator, demo.Tenant, access.RoleOperator, "operator on duty"},
		{demo.Viewer, demo.Tenant, access.RoleViewer, "dashboard"},
		{demo.Auditor, demo.Tenant, access.RoleAuditor, "yearly audit"},
		{demo.Outsider, demo.Other, access.RoleAuditor, "auditor of another tenant"},
	} {
		made, err := c.CreateAPIKey(ctx, control.NewAPIKey{TenantID: k.tenant, Role: k.role, Name: k.name, Expires: "7d"})
		if err != nil {
			return nil, "", fmt.Errorf("key of %s: %w", k.name, err)
		}
		keys[k.who] = made.Secret.Reveal()
	}
	return keys, vkey, nil
}

// readyHandler tells where the server listens once it says that it is ready.
type readyHandler struct {
	slog.Handler
	ready chan<- map[string]string
}

// Enabled implements slog.Handler. That it is ready is said at info.
func (h readyHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelInfo || h.Handler.Enabled(ctx, level)
}

// Handle implements slog.Handler.
func (h readyHandler) Handle(ctx context.Context, r slog.Record) error {
	if r.Message == "ready" {
		at := map[string]string{}
		r.Attrs(func(a slog.Attr) bool {
			at[a.Key] = a.Value.String()
			return true
		})
		select {
		case h.ready <- at:
		default: // it says so once
		}
	}
	if !h.Handler.Enabled(ctx, r.Level) {
		return nil
	}
	return h.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (h readyHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return readyHandler{h.Handler.WithAttrs(attrs), h.ready}
}

// WithGroup implements slog.Handler.
func (h readyHandler) WithGroup(name string) slog.Handler {
	return readyHandler{h.Handler.WithGroup(name), h.ready}
}
