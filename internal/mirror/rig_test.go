package mirror_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/access"
	"github.com/runledger/runledger/internal/c2sp"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/mirror"
	"github.com/runledger/runledger/internal/seal"
	"github.com/runledger/runledger/internal/store"
	"github.com/runledger/runledger/internal/store/storerig"
	"github.com/runledger/runledger/internal/transparency"
	"github.com/runledger/runledger/verify"
)

// deployment is a ledger over files, which can be closed and opened again.
type deployment struct {
	*ledger.Ledger
	dir   string
	db    store.Store
	steps int
	// witnesses cosign what is served.
	witnesses []*c2sp.Cosigner
	at        time.Time // when they do
}

func open(t testing.TB, dir string, change func(*ledger.Config)) *deployment {
	t.Helper()
	ctx := context.Background()
	d := &deployment{dir: dir, at: time.Now()}
	var err error
	d.db, err = storerig.Open(ctx, dir)
	must(t, err)
	master, err := seal.OpenMaster(filepath.Join(dir, "master.keyset.json"), true)
	must(t, err)
	anchor, err := ledger.NewDirAnchor(dir + ".anchor")
	must(t, err)
	cfg := ledger.Config{
		Store: d.db, Sealer: seal.New(d.db, master), Anchor: anchor, Instance: "test.example",
		Logger: slog.New(slog.DiscardHandler), PublishEvery: time.Hour,
	}
	if change != nil {
		change(&cfg)
	}
	d.Ledger, err = ledger.Open(ctx, cfg)
	must(t, err)
	t.Cleanup(func() { d.close(t) })
	return d
}

func (d *deployment) close(t testing.TB) {
	t.Helper()
	if d.Ledger != nil {
		must(t, errors.Join(d.Ledger.Close(), d.db.Close()))
		d.Ledger = nil
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// add appends steps and publishes them.
func (d *deployment) add(t testing.TB, n int) {
	t.Helper()
	var lines []string
	for range n {
		d.steps++
		lines = append(lines, fmt.Sprintf(`{"kind":"trace_step","occurred_at":"2026-11-23T15:00:00.%06dZ","run_id":"%032x","trace_id":"%032x","span_id":"%016x",`+
			`"skill_name":"execute_tool","step_kind":"tool","status":"success","source_domain":"ACTIVITY","source_component":"TraceStore","agent_id":"agent-7"}`,
			d.steps%1000, 1+d.steps/10, 1+d.steps/10, d.steps))
	}
	records, err := evidence.ParseNDJSON([]byte(strings.Join(lines, "\n")))
	must(t, err)
	_, err = d.Append(t.Context(), "acme", records, ledger.AppendOptions{Producer: "key-1"})
	must(t, err)
	d.publish(t)
}

func (d *deployment) publish(t testing.TB) {
	t.Helper()
	_, _, err := d.PublishNow(t.Context(), "acme", d.newest(t).No)
	must(t, err)
}

func (d *deployment) newest(t testing.TB) ledger.LogInfo {
	t.Helper()
	logs, err := d.Logs(t.Context(), "acme")
	must(t, err)
	return logs[len(logs)-1]
}

// Cosigned implements transparency.Ledger: the witnesses of the test sign.
func (d *deployment) Cosigned(_ context.Context, _ string, _ int, note []byte) ([]byte, error) {
	c, sigs, err := c2sp.ParseNote(note)
	if err != nil {
		return nil, err
	}
	for _, w := range d.witnesses {
		s, err := w.Cosign(c, d.at.Unix())
		if err != nil {
			return nil, err
		}
		sigs = append(sigs, s)
	}
	return c2sp.FormatNote(c, sigs), nil
}

// witness makes a witness and the policy that asks for it.
func (d *deployment) witness(t testing.TB) (policy string) {
	t.Helper()
	seed := make([]byte, 32)
	rand.Read(seed)
	w, err := c2sp.NewCosigner("witness.example", seed)
	must(t, err)
	d.witnesses = append(d.witnesses, w)
	return fmt.Sprintf("witness w %s\nquorum w\n", w.VKey())
}

// server serves one deployment at a time, and can be told to lie.
type server struct {
	*httptest.Server
	now atomic.Pointer[http.Handler]

	mu      sync.Mutex                                        // guards what follows: a request may outlast its client
	lie     func(w http.ResponseWriter, r *http.Request) bool // true: it has answered
	asked   []string
	allowed string // the key that is asked for; "" for none
}

func newServer(t testing.TB, d *deployment) *server {
	t.Helper()
	s := &server{}
	s.serve(d)
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.asked = append(s.asked, strings.TrimPrefix(r.URL.Path, transparency.Prefix+"/log/"))
		allowed, lie := s.allowed, s.lie
		s.mu.Unlock()
		switch {
		case allowed != "" && r.Header.Get("Authorization") != "Bearer "+allowed:
			w.WriteHeader(http.StatusUnauthorized)
		case lie == nil || !lie(w, r):
			(*s.now.Load()).ServeHTTP(w, r)
		}
	}))
	t.Cleanup(s.Close)
	return s
}

// tell sets what answers in place of the deployment; nil: nothing.
func (s *server) tell(lie func(w http.ResponseWriter, r *http.Request) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lie = lie
}

// allow sets the key that is asked for.
func (s *server) allow(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.allowed = key
}

// serve takes another deployment behind the same address.
func (s *server) serve(d *deployment) {
	mux := http.NewServeMux()
	grant := access.Grant{
		Principal: access.Principal{Tenant: "acme", Permissions: access.Set(access.LogsRead | access.AuditRead)},
		Authority: access.Authority{IncludeSynthetic: true},
	}
	transparency.New(transparency.Config{
		Ledger: d, Grant: func(context.Context) access.Grant { return grant }, Every: time.Nanosecond,
		Deny: func(*http.Request, string, string) error { return evidence.ErrForbidden },
	}).Routes(mux)
	h := http.Handler(mux)
	s.now.Store(&h)
}

// count returns how many answers of a kind were asked for since the last time.
func (s *server) count(part string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, path := range s.asked {
		if strings.Contains(path, part) {
			n++
		}
	}
	s.asked = nil
	return n
}

// rig is a deployment, its server, and the configuration of a mirror of it.
type rig struct {
	*server
	d   *deployment
	cfg mirror.Config
}

func newRig(t testing.TB) *rig {
	t.Helper()
	d := open(t, filepath.Join(t.TempDir(), "data"), nil)
	_, err := d.CreateTenant(t.Context(), "acme")
	must(t, err)
	d.publish(t)
	r := &rig{d: d, server: newServer(t, d)}
	r.cfg = mirror.Config{
		URL: r.URL, Keys: []string{d.newest(t).VKey}, Dir: filepath.Join(t.TempDir(), "copy"), Tries: 1, Timeout: 10 * time.Second,
	}
	return r
}

// sync is one whole run of a mirror: open, sync, close.
func (r *rig) sync(t testing.TB) error {
	t.Helper()
	m, err := mirror.Open(r.cfg)
	must(t, err)
	return errors.Join(m.Sync(t.Context()), m.Close())
}

// path is that of a file of the copy of a log.
func (r *rig) path(info ledger.LogInfo, name string) string {
	return filepath.Join(r.cfg.Dir, transparency.Name(info.Origin), filepath.FromSlash(name))
}

// holds checks the directory against the ledger: checkpoint, every tile, every entry,
// and nothing else.
func (r *rig) holds(t testing.TB, info ledger.LogInfo) {
	t.Helper()
	s, err := r.d.Serve(t.Context(), "acme", info.No)
	must(t, err)
	want := map[string][]byte{"key": []byte(info.VKey + "\n")}
	for level := range 3 {
		hashes := s.Size >> (8 * level)
		for n := int64(0); n*256 < hashes; n++ {
			w := int(min(256, hashes-n*256))
			want[c2sp.TilePath(level, n, w)], err = s.Tile(t.Context(), level, n, w)
			must(t, err)
			if level == 0 {
				want[c2sp.EntriesPath(n, w)], err = s.Entries(t.Context(), n, w)
				must(t, err)
			}
		}
	}
	root := r.path(info, "")
	must(t, filepath.WalkDir(root, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		name := filepath.ToSlash(strings.TrimPrefix(path, root+string(filepath.Separator)))
		got, err := os.ReadFile(path)
		must(t, err)
		if strings.HasPrefix(name, "checkpoint") {
			key, err := c2sp.ParseVKey(info.VKey)
			must(t, err)
			if c, err := c2sp.Verify(got, key); err != nil || c.Size != s.Size {
				t.Errorf("%s: %+v, %v; want size %d", name, c, err, s.Size)
			}
			return nil
		}
		if !slices.Equal(got, want[name]) {
			t.Errorf("%s: %d bytes, want %d", name, len(got), len(want[name]))
		}
		delete(want, name)
		return nil
	}))
	for name := range want {
		t.Errorf("%s is missing", name)
	}
}

// failed demands a failure of a code, and returns it.
func failed(t testing.TB, err error, code verify.Code) mirror.Failure {
	t.Helper()
	var f *mirror.Failure
	if !errors.As(err, &f) || f.Code != code || !errors.Is(err, evidence.ErrTampered) {
		t.Fatalf("%v, want %s", err, code)
	}
	return *f // a value, which is no error that somebody has to look at
}

// bothKept demands that the two notes of a fork are there, both signed by the log.
func bothKept(t testing.TB, f mirror.Failure, info ledger.LogInfo) (kept, shown c2sp.Verified) {
	t.Helper()
	key, err := c2sp.ParseVKey(info.VKey)
	must(t, err)
	for name, to := range map[string]*c2sp.Verified{"kept.note": &kept, "shown.note": &shown} {
		note, err := os.ReadFile(filepath.Join(f.Kept, name))
		must(t, err)
		*to, err = c2sp.Verify(note, key)
		must(t, err)
	}
	return kept, shown
}

// copyDir copies a deployment that is closed, its anchor too.
func copyDir(t testing.TB, dir string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "data")
	for _, suffix := range []string{"", ".anchor"} {
		must(t, storerig.Copy(to+suffix, dir+suffix))
	}
	return to
}
