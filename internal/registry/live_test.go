package registry_test

import (
	"context"
	"log/slog"
	"net/http"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/access"
	"github.com/runledger/runledger/internal/control"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/registry"
	"github.com/runledger/runledger/internal/server"
	"github.com/runledger/runledger/internal/store/pgtest"
)

// Backends that scenarios run on.
const (
	onSQLite   = "sqlite"
	onPostgres = "postgres"
)

// live is a real server of this process with the reserved tenant.
type live struct {
	cfg  server.Config
	url  string
	vkey string // of the synthetic tenant's log, from where it was made
	stop func() error
}

// serveLive starts a server whose runs end soon.
func serveLive(t *testing.T, backend string) *live {
	t.Helper()
	ready := make(chan string, 1)
	dir := filepath.Join(t.TempDir(), "data")
	l := &live{cfg: server.Config{Data: dir, Create: true, Version: "1.2.3", Logger: slog.New(readyAt{slog.DiscardHandler, ready})}}
	if backend == onPostgres {
		db := pgtest.Database(t)
		l.cfg.Store, l.cfg.StoreOwner, l.cfg.Migrate, l.cfg.Anchor = db.App, db.Owner, true, dir+".anchor"
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- server.Serve(ctx, server.ServeConfig{
			Config: l.cfg, Listen: "127.0.0.1:0", OTLPHTTP: server.Off, OTLPGRPC: server.Off,
			RootQuiet: 200 * time.Millisecond, Watch: ledger.WatchConfig{ScrubRate: -1},
		})
	}()
	l.stop = sync.OnceValue(func() error { cancel(); return <-done })
	t.Cleanup(func() {
		if err := l.stop(); err != nil {
			t.Error(err)
		}
	})
	select {
	case at := <-ready:
		l.url = "http://" + at
	case err := <-done:
		t.Fatal(err)
	case <-time.After(time.Minute):
		t.Fatal("the server does not get ready")
	}
	l.vkey = l.tenant(t, evidence.SyntheticTenant)
	return l
}

// readyAt is a log that tells where the server listens.
type readyAt struct {
	slog.Handler
	at chan<- string
}

func (h readyAt) Enabled(context.Context, slog.Level) bool { return true }

func (h readyAt) Handle(_ context.Context, r slog.Record) error {
	if r.Message == "ready" {
		r.Attrs(func(a slog.Attr) bool {
			if a.Key == "listen" {
				h.at <- a.Value.String()
			}
			return true
		})
	}
	return nil
}

func (h readyAt) WithAttrs([]slog.Attr) slog.Handler { return h }
func (h readyAt) WithGroup(string) slog.Handler      { return h }

func (l *live) control(t *testing.T) *control.Client {
	t.Helper()
	c, err := control.Dial(t.Context(), l.cfg.Data)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// tenant makes one, and returns the verifier key of its log.
func (l *live) tenant(t *testing.T, name string) string {
	t.Helper()
	info, err := l.control(t).CreateTenant(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return info.VKey
}

func (l *live) key(t *testing.T, tenant, role string) registry.Key {
	t.Helper()
	made, err := l.control(t).CreateAPIKey(t.Context(), control.NewAPIKey{TenantID: tenant, Role: role, Expires: "1d"})
	if err != nil {
		t.Fatal(err)
	}
	return registry.Key{ID: made.ID, Secret: made.Secret.Reveal()}
}

// config is that of a run with keys that were never used.
func (l *live) config(t *testing.T, r *registry.Registry) registry.Config {
	t.Helper()
	return registry.Config{
		Registry: r, BaseURL: l.url, Tenant: evidence.SyntheticTenant, Program: "test", Parallel: 19,
		Producer: l.key(t, evidence.SyntheticTenant, access.RoleProducer),
		Observer: l.key(t, evidence.SyntheticTenant, access.RoleObserver),
	}
}

func builtin(t *testing.T) *registry.Registry {
	t.Helper()
	r, err := registry.Load(registry.Builtin(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func run(t *testing.T, cfg registry.Config, ids ...string) *registry.Observation {
	t.Helper()
	o, err := registry.Run(t.Context(), cfg, ids...)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// mustPass names all that did not hold.
func mustPass(t *testing.T, o *registry.Observation) {
	t.Helper()
	for _, s := range o.Scenarios {
		if s.Passed {
			continue
		}
		t.Errorf("%s: %+v", s.ID, *s.Failure)
		for _, seen := range s.Seen {
			for _, c := range append(seen.Invariants, seen.Expectations...) {
				if !c.Passed {
					t.Logf("  %s: %s: %s", seen.ID, c.ID, c.Detail)
				}
			}
		}
	}
	if !o.Passed && !t.Failed() {
		t.Error("it did not pass, and all scenarios did")
	}
}

// transport keeps as many connections as there are requests at a time.
func transport(t *testing.T, n int) *http.Client {
	t.Helper()
	tr := &http.Transport{MaxIdleConnsPerHost: n}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}
