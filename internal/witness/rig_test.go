package witness_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/c2sp"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/seal"
	"github.com/runledger/runledger/internal/store"
	"github.com/runledger/runledger/internal/store/storerig"
	"github.com/runledger/runledger/internal/witness"
	"github.com/runledger/runledger/verify"
)

var ctx = context.Background()

// served is a witness on the network, which can be cut off.
type served struct {
	*testWitness
	http *httptest.Server
	down atomic.Bool
	// answer, where it returns true, answers in place of the witness.
	answer func(w http.ResponseWriter, r *http.Request) bool
}

func serveWitness(t *testing.T, name string) *served {
	t.Helper()
	s := &served{testWitness: &testWitness{t: t, dir: t.TempDir()}}
	s.cfg = witness.ServerConfig{Dir: s.dir, Name: name, PerSecond: 1 << 20}
	s.open()
	t.Cleanup(func() { _ = s.Close() })
	s.http = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case s.down.Load():
			w.WriteHeader(http.StatusBadGateway)
		case s.answer != nil && s.answer(w, r):
		default:
			s.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(s.http.Close)
	return s
}

// policyOf asks all of them for a quorum of need.
func policyOf(t *testing.T, need string, list ...*served) *verify.Policy {
	t.Helper()
	var text, names strings.Builder
	for i, w := range list {
		fmt.Fprintf(&text, "witness w%d %s %s\n", i, w.VKey(), w.http.URL)
		fmt.Fprintf(&names, " w%d", i)
	}
	fmt.Fprintf(&text, "group all %s%s\nquorum all\n", need, &names)
	p, err := verify.ParsePolicy([]byte(text.String()))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// rig is a ledger with a client.
type rig struct {
	*ledger.Ledger
	t      *testing.T
	dir    string
	db     store.Store
	sealer *seal.Sealer
	anchor *ledger.DirAnchor
	client *witness.Client
}

// openRig opens a ledger in dir; policy may be nil.
func openRig(t *testing.T, dir string, policy *verify.Policy, opts ...func(*ledger.Config, *witness.ClientConfig)) (*rig, error) {
	t.Helper()
	r := &rig{t: t, dir: dir}
	var err error
	if r.db, err = storerig.Open(ctx, dir); err != nil {
		return nil, err
	}
	master, err := seal.OpenMaster(filepath.Join(dir, "master.keyset.json"), true)
	if err != nil {
		return nil, err
	}
	if r.anchor, err = ledger.NewDirAnchor(dir + ".anchor"); err != nil {
		return nil, err
	}
	r.sealer = seal.New(r.db, master)
	cfg := ledger.Config{
		Store: r.db, Sealer: r.sealer, Anchor: r.anchor, Instance: "test.example",
		Logger: slog.New(slog.DiscardHandler), PublishEvery: 10 * time.Millisecond,
	}
	client := witness.ClientConfig{Policy: policy, Every: 10 * time.Millisecond, Timeout: 5 * time.Second}
	for _, o := range opts {
		o(&cfg, &client)
	}
	if policy != nil {
		if r.client, err = witness.NewClient(client); err != nil {
			return nil, errors.Join(err, r.db.Close())
		}
		cfg.Witnesses = r.client.AtStart
	}
	if r.Ledger, err = ledger.Open(ctx, cfg); err != nil {
		return nil, errors.Join(err, r.db.Close())
	}
	if r.client != nil {
		r.client.Use(r.Ledger)
	}
	t.Cleanup(r.close)
	return r, nil
}

func mustRig(t *testing.T, dir string, policy *verify.Policy, opts ...func(*ledger.Config, *witness.ClientConfig)) *rig {
	t.Helper()
	r, err := openRig(t, dir, policy, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *rig) close() {
	if r.Ledger != nil {
		_ = r.Close()
		_ = r.db.Close()
		r.Ledger = nil
	}
}

// running lets the client run until the rig is closed.
func (r *rig) running() *rig {
	c, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() { defer close(done); r.client.Run(c) }()
	r.t.Cleanup(func() { cancel(); <-done })
	return r
}

func (r *rig) tenant(name string, witnesses ...*served) ledger.LogInfo {
	r.t.Helper()
	info, err := r.CreateTenant(ctx, name)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, w := range witnesses {
		if err := w.AddLogs([]string{info.VKey}); err != nil {
			r.t.Fatal(err)
		}
	}
	return info
}

var spans atomic.Int64

func (r *rig) add(n int) error {
	r.t.Helper()
	var lines []string
	for range n {
		i := spans.Add(1)
		lines = append(lines, fmt.Sprintf(`{"kind":"trace_step","occurred_at":"2026-11-23T15:00:00Z","run_id":"%032x","trace_id":"%032x","span_id":"%016x",`+
			`"skill_name":"x","step_kind":"tool","status":"success","source_domain":"ACTIVITY","source_component":"TraceStore"}`, 7, 7, i))
	}
	records, err := evidence.ParseNDJSON([]byte(strings.Join(lines, "\n")))
	if err != nil {
		r.t.Fatal(err)
	}
	_, err = r.Append(ctx, "acme", records, ledger.AppendOptions{Producer: "test"})
	return err
}

func (r *rig) mustAdd(n int) {
	r.t.Helper()
	if err := r.add(n); err != nil {
		r.t.Fatal(err)
	}
}

// cosign publishes and has the checkpoint cosigned. It returns its size.
func (r *rig) cosign() (int64, error) {
	r.t.Helper()
	c, _, err := r.PublishNow(ctx, "acme", 1)
	if err != nil {
		return 0, err
	}
	return c.Size, r.client.Cosign(ctx, "acme", 1)
}

func (r *rig) mustCosign() int64 {
	r.t.Helper()
	size, err := r.cosign()
	if err != nil {
		r.t.Fatal(err)
	}
	return size
}

// signers returns who has cosigned the published checkpoint of acme's log.
func (r *rig) signers(info ledger.LogInfo, list ...*served) (size int64, names []string) {
	r.t.Helper()
	note, err := r.Checkpoint(ctx, "acme")
	if err != nil {
		r.t.Fatal(err)
	}
	if note, err = r.Cosigned(ctx, "acme", 1, note); err != nil {
		r.t.Fatal(err)
	}
	keys := []c2sp.VKey{vkey(r.t, info.VKey)}
	for _, w := range list {
		keys = append(keys, vkey(r.t, w.VKey()))
	}
	v, err := c2sp.Verify(note, keys...)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, s := range v.Cosignatures {
		names = append(names, s.Witness.Name)
	}
	return v.Size, names
}

func vkey(t *testing.T, s string) c2sp.VKey {
	t.Helper()
	k, err := c2sp.ParseVKey(s)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// copyDeployment copies data directory and anchor, as a full backup does.
func copyDeployment(t *testing.T, to, from string) {
	t.Helper()
	for _, suffix := range []string{"", ".anchor"} {
		if err := storerig.Replace(to+suffix, from+suffix); err != nil {
			t.Fatal(err)
		}
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

// newRun runs something in the background.
func newRun(fn func(context.Context)) (cancel func(), done chan struct{}) {
	c, cancel := context.WithCancel(ctx)
	done = make(chan struct{})
	go func() { defer close(done); fn(c) }()
	return cancel, done
}
