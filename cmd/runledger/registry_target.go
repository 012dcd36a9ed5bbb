package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/runledger/runledger/internal/access"
	"github.com/runledger/runledger/internal/control"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/registry"
	"github.com/runledger/runledger/internal/server"
)

// targetFlags say which server is observed.
type targetFlags struct {
	URL         string `help:"The server to observe. Default: one that is started for it." name:"url" placeholder:"URL"`
	ProducerKey string `help:"With --url: a producer's key of the tenant of scenarios; better in the environment." env:"RUNLEDGER_PRODUCER_KEY" placeholder:"KEY"`
	ObserverKey string `help:"With --url: an observer's key of it." env:"RUNLEDGER_OBSERVER_KEY" placeholder:"KEY"`
	AdminKey    string `help:"With --url: a key of platform_admin, to make these two with." env:"RUNLEDGER_ADMIN_KEY" placeholder:"KEY"`
	Environment string `help:"Of the server that is started: which rules of access count." enum:"production,preflight" default:"production"`
}

// target is the server that is observed.
type target struct {
	url                string
	http               *http.Client
	producer, observer registry.Key
	vkeys              []string // of the log, where the deployment was asked without a network; else none
	undo               []func(ctx context.Context) error
}

// keyLife is how long a key counts that a run leaves behind where it cannot revoke it.
const keyLife = "1d"

// undoTimeout bounds the end of a run: revoking keys, and stopping a server.
const undoTimeout = 30 * time.Second

// close takes back what was made, the last first.
func (t *target) close(e *env) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(e.ctx), undoTimeout)
	defer cancel()
	var errs []error
	for _, f := range slices.Backward(t.undo) {
		errs = append(errs, f(ctx))
	}
	return errors.Join(errs...)
}

// open finds or starts the server, and sees to the keys.
func (f *targetFlags) open(e *env) (t *target, err error) {
	t = &target{url: strings.TrimSuffix(f.URL, "/"), http: &http.Client{Transport: http.DefaultTransport, CheckRedirect: staying}}
	defer func() {
		if err != nil {
			err = errors.Join(err, t.close(e))
		}
	}()
	if f.URL == "" {
		return t, f.start(e, t)
	}
	if u, err := url.Parse(f.URL); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" {
		return t, usage("--url %q: must begin with http:// or https:// and name a host", f.URL)
	}
	if err := t.reach(e.ctx); err != nil {
		return t, err
	}
	switch {
	case f.ProducerKey != "" && f.ObserverKey != "":
		t.producer = registry.Key{ID: access.KeyID(f.ProducerKey), Secret: f.ProducerKey}
		t.observer = registry.Key{ID: access.KeyID(f.ObserverKey), Secret: f.ObserverKey}
		return t, nil
	case f.ProducerKey != "" || f.ObserverKey != "":
		return t, usage("--producer-key and --observer-key go together")
	case f.AdminKey != "":
		return t, t.makeKeys(e.ctx, &adminAPI{t, f.AdminKey})
	case e.Store != "":
		s, err := e.connect(false, openFlags{})
		if err != nil {
			return t, err
		}
		t.undo = append(t.undo, func(context.Context) error { return s.close() })
		return t, t.local(e, s)
	}
	c, err := control.Dial(e.ctx, e.Data)
	if errors.Is(err, control.ErrNoServer) {
		return t, usage("no keys: give --admin-key, or --producer-key and --observer-key, or the --data of a server on this machine (none holds %s)", e.Data)
	} else if err != nil {
		return t, err
	}
	return t, t.local(e, &session{Client: c, server: true})
}

// tellsKeys reports whether the deployment is at hand, so that it says itself, and not
// over the network, what the keys of its logs are.
func (f *targetFlags) tellsKeys() bool {
	return f.URL == "" || f.ProducerKey == "" && f.ObserverKey == "" && f.AdminKey == ""
}

// reach says early and plainly where there is no server.
func (t *target) reach(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := t.call(ctx, http.MethodGet, "/healthz", nil, nil, nil); err != nil {
		return fmt.Errorf("no runledger server answers at %s: %w", t.url, err)
	}
	return nil
}

// local makes tenant and keys through a control API, which tells the log's keys, too.
func (t *target) local(e *env, s *session) error {
	if err := t.makeKeys(e.ctx, &controlAPI{s.Client}); err != nil {
		return err
	}
	var err error
	t.vkeys, err = verifierKeys(e, s)
	return err
}

// start starts a server: in a temporary directory, or where the flags say.
func (f *targetFlags) start(e *env, t *target) error {
	cfg := e.config()
	if given := e.Store != "" || e.Data != defaultData; !given {
		dir, err := os.MkdirTemp("", "runledger-observe-")
		if err != nil {
			return err
		}
		t.undo = append(t.undo, func(context.Context) error { return os.RemoveAll(dir) })
		cfg.Data, cfg.Anchor, cfg.Master = filepath.Join(dir, "data"), "", ""
	} else if _, err := control.Dial(e.ctx, e.Data); err == nil {
		return usage("a server holds %s: give its address with --url, and it is observed itself", e.Data)
	}
	if cfg.Store != "" && cfg.Anchor == "" {
		cfg.Anchor = filepath.Clean(cfg.Data) + ".anchor"
	}
	cfg.Migrate, cfg.Environment = cfg.StoreOwner != "", f.Environment
	ready := make(chan map[string]string, 1)
	// What goes wrong is for who runs the command; all else is not worth a word.
	cfg.Logger = slog.New(readyHandler{slog.NewTextHandler(e.stderr, &slog.HandlerOptions{Level: slog.LevelWarn}), ready})
	ctx, stop := context.WithCancel(context.WithoutCancel(e.ctx))
	stopped := make(chan error, 1)
	go func() {
		stopped <- server.Serve(ctx, server.ServeConfig{
			Config: cfg, Listen: "127.0.0.1:0", OTLPHTTP: server.Off, OTLPGRPC: server.Off,
			// A new tenant is checked from end to end by the next full verification, which
			// by default is an hour away.
			Watch: ledger.WatchConfig{ScrubEvery: time.Second},
		})
	}()
	select {
	case at := <-ready:
		t.url = "http://" + at["listen"]
	case err := <-stopped:
		stop()
		return err
	case <-e.ctx.Done():
		stop()
		return errors.Join(e.ctx.Err(), <-stopped)
	}
	t.undo = append(t.undo, func(context.Context) error { stop(); return <-stopped })
	c, err := control.Dial(e.ctx, cfg.Data)
	if err != nil {
		return err
	}
	return t.local(e, &session{Client: c, server: true})
}

// staying has no key follow a redirect to another host.
func staying(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
