package mirror_test

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/c2sp"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/mirror"
	"github.com/runledger/runledger/internal/transparency"
	"github.com/runledger/runledger/verify"
)

// TestGrowing mirrors a log as it grows over the borders of tiles, each time with a
// process of its own. It reads what is new and nothing else.
func TestGrowing(t *testing.T) {
	r := newRig(t)
	for _, n := range []int{0, 4, 250, 1, 1, 255, 300, 7} { // 1, 5, 255, 256, 257, 512, 812, 819
		if n > 0 {
			r.d.add(t, n)
		}
		before := r.d.Integrity("acme").TreeSize - int64(n)
		must(t, r.sync(t))
		r.holds(t, r.d.newest(t))
		bundles := int((before+int64(n)+255)/256 - before/256)
		if n > 0 && before > 0 && r.count("entries/") != bundles {
			t.Errorf("%d leaves more than %d: other than %d bundles were asked for", n, before, bundles)
		}
		r.count("")
	}
	must(t, r.sync(t))
	if r.count("tile/") != 0 {
		t.Error("tiles are asked for although nothing is new")
	}
	// The directory is C2SP's: a mirror of the mirror.
	files := http.FileServer(http.Dir(r.cfg.Dir))
	r.tell(func(w http.ResponseWriter, req *http.Request) bool { files.ServeHTTP(w, req); return true })
	r.cfg.Dir, r.cfg.URL = filepath.Join(t.TempDir(), "second"), r.URL+"/"+transparency.Name(r.d.newest(t).Origin)+"/"
	must(t, r.sync(t))
	r.holds(t, r.d.newest(t))
}

// TestBroken breaks a mirror off at every request, and then lets the next one go on.
func TestBroken(t *testing.T) {
	r := newRig(t)
	r.d.add(t, 256*4+20)
	full := r.cfg.Dir
	for stop := 1; ; stop++ {
		r.cfg.Dir = filepath.Join(full, "broken") // of its own each time
		must(t, os.RemoveAll(r.cfg.Dir))
		left := stop
		r.tell(func(w http.ResponseWriter, _ *http.Request) bool {
			if left--; left == 0 {
				w.WriteHeader(http.StatusBadGateway)
			}
			return left == 0
		})
		err := r.sync(t)
		r.tell(nil)
		if err == nil {
			if stop < 8 {
				t.Fatalf("only %d requests", stop)
			}
			break
		}
		if !errors.Is(err, evidence.ErrUnavailable) {
			t.Fatalf("request %d: %v", stop, err)
		}
		r.count("")
		must(t, r.sync(t))
		r.holds(t, r.d.newest(t))
		if got, most := r.count("entries/"), 5; stop > 6 && got >= most {
			t.Errorf("after request %d all %d bundles were asked for again", stop, got)
		}
	}
}

// TestKilled leaves what a process that died may leave, at every point of a step from
// one checkpoint to the next: files that are half written or not renamed, and a
// checkpoint that is still the old one.
func TestKilled(t *testing.T) {
	r := newRig(t)
	r.d.add(t, 300)
	must(t, r.sync(t))
	old := filepath.Join(t.TempDir(), "old")
	must(t, os.CopyFS(old, os.DirFS(r.cfg.Dir)))
	r.d.add(t, 400)
	must(t, r.sync(t))
	done := filepath.Join(t.TempDir(), "done")
	must(t, os.CopyFS(done, os.DirFS(r.cfg.Dir)))
	var fresh []string // files of the step, in any order: each alone must do no harm
	must(t, filepath.WalkDir(done, func(path string, e os.DirEntry, err error) error {
		rel := strings.TrimPrefix(path, done)
		if _, serr := os.Stat(old + rel); err == nil && !e.IsDir() && serr != nil {
			fresh = append(fresh, rel)
		}
		return err
	}))
	if len(fresh) < 5 {
		t.Fatalf("the step wrote %v", fresh)
	}
	name := "/" + transparency.Name(r.d.newest(t).Origin)
	for _, rel := range append(fresh, name+"/checkpoint.seen") {
		data, err := os.ReadFile(done + rel)
		must(t, err)
		for _, left := range []struct {
			to   string
			data []byte
		}{{rel, data}, {rel + ".tmp", data[:len(data)/2]}} {
			must(t, os.RemoveAll(r.cfg.Dir))
			must(t, os.CopyFS(r.cfg.Dir, os.DirFS(old)))
			must(t, os.MkdirAll(filepath.Dir(r.cfg.Dir+left.to), 0o700))
			must(t, os.WriteFile(r.cfg.Dir+left.to, left.data, 0o600))
			must(t, r.sync(t))
			_ = os.Remove(r.cfg.Dir + rel + ".tmp") // what holds would wonder at
			r.holds(t, r.d.newest(t))
		}
	}
	// A full bundle that is wrong, as a failing disk leaves it, is fetched again.
	must(t, os.RemoveAll(r.cfg.Dir))
	must(t, os.CopyFS(r.cfg.Dir, os.DirFS(old)))
	must(t, os.WriteFile(r.path(r.d.newest(t), "tile/entries/001"), []byte("damaged"), 0o600))
	must(t, r.sync(t))
	r.holds(t, r.d.newest(t))
}

// TestDamagedCopy changes what the checkpoint says is there: the mirror does not go
// on from it.
func TestDamagedCopy(t *testing.T) {
	r := newRig(t)
	r.d.add(t, 300)
	must(t, r.sync(t))
	info := r.d.newest(t)
	for name, change := range map[string]func([]byte) []byte{
		"tile/entries/000":      func(b []byte) []byte { return append(b[:len(b):len(b)], 0) },
		"tile/entries/001.p/45": func([]byte) []byte { return nil },
		"checkpoint":            func(b []byte) []byte { return []byte(strings.Replace(string(b), "\n301\n", "\n300\n", 1)) },
		"checkpoint.seen":       func(b []byte) []byte { return b[1:] },
	} {
		was, err := os.ReadFile(r.path(info, name))
		must(t, err)
		must(t, os.WriteFile(r.path(info, name), change(was), 0o600))
		if m, err := mirror.Open(r.cfg); err == nil {
			t.Errorf("%s is damaged and not noticed", name)
			must(t, m.Close())
		}
		must(t, os.WriteFile(r.path(info, name), was, 0o600))
	}
	must(t, r.sync(t))
}

func TestOneAtATime(t *testing.T) {
	r := newRig(t)
	m, err := mirror.Open(r.cfg)
	must(t, err)
	if _, err := mirror.Open(r.cfg); !errors.Is(err, evidence.ErrUnavailable) {
		t.Errorf("a second one: %v", err)
	}
	must(t, m.Close())
	must(t, r.sync(t))
}

// TestRestoredBackup puts a backup of data and anchor back behind the server.
func TestRestoredBackup(t *testing.T) {
	r := newRig(t)
	r.d.add(t, 300)
	info := r.d.newest(t)
	r.d.close(t)
	backup := copyDir(t, r.d.dir)
	r.d = open(t, r.d.dir, nil)
	r.d.steps = 300
	r.d.add(t, 100)
	r.serve(r.d)
	must(t, r.sync(t))
	r.d.close(t)

	restored := open(t, backup, nil)
	r.serve(restored)
	f := failed(t, r.sync(t), verify.EFork)
	if kept, shown := bothKept(t, f, info); kept.Size != 401 || shown.Size != 301 {
		t.Errorf("kept %d, shown %d", kept.Size, shown.Size)
	}
	// It goes on from there: another history of the same length and beyond.
	restored.steps = 1000
	for _, n := range []int{100, 50} {
		restored.add(t, n)
		f := failed(t, r.sync(t), verify.EFork)
		if kept, shown := bothKept(t, f, info); kept.Size != 401 || shown.Size != restored.Integrity("acme").TreeSize {
			t.Errorf("kept %d, shown %d", kept.Size, shown.Size)
		}
	}
	// What was copied is still there.
	entries, err := os.ReadDir(filepath.Join(r.cfg.Dir, "forks"))
	must(t, err)
	if len(entries) != 3 {
		t.Errorf("%d forks are kept, want 3", len(entries))
	}
}

// TestSplitView serves two copies of a deployment, with one key, to one mirror.
func TestSplitView(t *testing.T) {
	r := newRig(t)
	r.d.add(t, 20)
	info := r.d.newest(t)
	r.d.close(t)
	other := open(t, copyDir(t, r.d.dir), nil)
	r.d = open(t, r.d.dir, nil)
	r.d.steps, other.steps = 20, 5000
	r.d.add(t, 10)
	other.add(t, 10)
	r.serve(r.d)
	must(t, r.sync(t))
	r.serve(other) // the same size
	bothKept(t, failed(t, r.sync(t), verify.EFork), info)
	other.add(t, 1) // larger
	kept, shown := bothKept(t, failed(t, r.sync(t), verify.EFork), info)
	if kept.Size != 31 || shown.Size != 32 {
		t.Errorf("kept %d, shown %d", kept.Size, shown.Size)
	}
	r.serve(r.d)
	r.d.add(t, 3)
	must(t, r.sync(t))
	r.holds(t, info)
}

// TestSeenBeforeCopied: a checkpoint binds the log as soon as it is seen, also where
// its leaves could not be copied.
func TestSeenBeforeCopied(t *testing.T) {
	r := newRig(t)
	r.d.add(t, 20)
	r.d.close(t)
	other := open(t, copyDir(t, r.d.dir), nil)
	r.d = open(t, r.d.dir, nil)
	r.d.steps = 20
	r.d.add(t, 10)
	r.serve(r.d)
	r.tell(func(w http.ResponseWriter, req *http.Request) bool {
		if strings.Contains(req.URL.Path, "entries") {
			w.WriteHeader(http.StatusServiceUnavailable)
			return true
		}
		return false
	})
	if err := r.sync(t); !errors.Is(err, evidence.ErrUnavailable) {
		t.Fatal(err)
	}
	r.tell(nil)
	r.serve(other)
	failed(t, r.sync(t), verify.EFork)
}

// TestLies changes what is served, each answer alone.
func TestLies(t *testing.T) {
	replace := func(part string, body func(b []byte) []byte) func(r *rig) func(http.ResponseWriter, *http.Request) bool {
		return func(r *rig) func(http.ResponseWriter, *http.Request) bool {
			return func(w http.ResponseWriter, req *http.Request) bool {
				if !strings.Contains(req.URL.Path, part) {
					return false
				}
				rec := record(*r.now.Load(), req)
				_, _ = w.Write(body(rec))
				return true
			}
		}
	}
	flip := func(at int) func(b []byte) []byte {
		return func(b []byte) []byte { b[at%len(b)] ^= 1; return b }
	}
	r := newRig(t)
	must(t, r.sync(t))
	old := r.cfg.Dir
	r.d.add(t, 300)
	for name, tt := range map[string]struct {
		lie  func(r *rig) func(http.ResponseWriter, *http.Request) bool
		want verify.Code
	}{
		"a byte of an entry":        {replace("/tile/entries/000", flip(700)), verify.EInclusion},
		"a length of an entry":      {replace("/tile/entries/000", flip(1)), verify.EInclusion},
		"the end of the entries":    {replace("/tile/entries/001", func(b []byte) []byte { return b[:len(b)-1] }), verify.EInclusion},
		"entries behind them":       {replace("/tile/entries/001", func(b []byte) []byte { return append(b, 0, 0) }), verify.EInclusion},
		"no entries":                {replace("/tile/entries/001", func([]byte) []byte { return nil }), verify.EInclusion},
		"entries of another bundle": {replace("/tile/entries/001", func(b []byte) []byte { return append(b[2000:], b[:2000]...) }), verify.EInclusion},
		"a byte of a tile":          {replace("/tile/1/", flip(3)), verify.EInclusion},
		"a byte of a partial tile":  {replace("/tile/0/", flip(3)), verify.EInclusion},
		"a short tile":              {replace("/tile/0/", func(b []byte) []byte { return b[:32] }), verify.EInclusion},
		"the signature":             {replace("/checkpoint", func(b []byte) []byte { return []byte(strings.Replace(string(b), "\n301\n", "\n300\n", 1)) }), verify.ELogSig},
		"a checkpoint of nothing":   {replace("/checkpoint", func([]byte) []byte { return []byte("nothing\n") }), verify.ELogSig},
	} {
		t.Run(name, func(t *testing.T) {
			r.cfg.Dir = filepath.Join(t.TempDir(), "copy")
			must(t, os.CopyFS(r.cfg.Dir, os.DirFS(old)))
			r.tell(tt.lie(r))
			failed(t, r.sync(t), tt.want)
			// Nothing of it is kept, and with the truth it goes on.
			r.tell(nil)
			must(t, r.sync(t))
			r.holds(t, r.d.newest(t))
		})
	}
}

// TestHostile: whatever a server answers, it ends soon and takes little.
func TestHostile(t *testing.T) {
	r := newRig(t)
	for name, lie := range map[string]func(http.ResponseWriter, *http.Request) bool{
		"endless redirect": func(w http.ResponseWriter, r *http.Request) bool {
			http.Redirect(w, r, r.URL.Path, http.StatusFound)
			return true
		},
		"a body without end": func(w http.ResponseWriter, _ *http.Request) bool {
			b := make([]byte, 64<<10)
			for {
				if _, err := w.Write(b); err != nil {
					return true
				}
			}
		},
		"a body that does not come": func(w http.ResponseWriter, r *http.Request) bool {
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
			return true
		},
		"an error": func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Retry-After", "60000")
			w.WriteHeader(http.StatusTooManyRequests)
			return true
		},
		"a connection that ends": func(http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) },
	} {
		t.Run(name, func(t *testing.T) {
			r.cfg.Timeout = 300 * time.Millisecond
			r.tell(lie)
			if err := r.sync(t); !errors.Is(err, evidence.ErrUnavailable) {
				t.Errorf("%v", err)
			}
		})
	}
	r.tell(func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(http.StatusForbidden); return true })
	if err := r.sync(t); !errors.Is(err, evidence.ErrForbidden) || !strings.Contains(err.Error(), "audit.read and logs.read") {
		t.Errorf("a key that may not: %v", err)
	}
	r.tell(nil)
	r.cfg.Timeout = time.Minute
	r.allow("rl_right")
	if err := r.sync(t); !errors.Is(err, evidence.ErrForbidden) {
		t.Errorf("without the key: %v", err)
	}
	r.cfg.APIKey = "rl_right"
	must(t, r.sync(t))
	r.cfg.URL += "/elsewhere"
	if err := r.sync(t); !errors.Is(err, evidence.ErrNotFound) {
		t.Errorf("elsewhere: %v", err)
	}
}

// TestBadLog mirrors a log whose operator signs what no honest log holds.
func TestBadLog(t *testing.T) {
	for name, tt := range map[string]struct {
		leaves func(good [][]byte) [][]byte
		at     int64
	}{
		"no leaf":         {func(l [][]byte) [][]byte { return append(l, []byte("{}")) }, 11},
		"a leaf twice":    {func(l [][]byte) [][]byte { return append(l, l[10]) }, 11},
		"another's id":    {func(l [][]byte) [][]byte { return append(l, again(l[10], 11)) }, 11},
		"no LOG_OPENED":   {func(l [][]byte) [][]byte { return l[1:] }, 0},
		"a leaf left out": {func(l [][]byte) [][]byte { return append(l[:5:5], l[6:]...) }, 5},
	} {
		t.Run(name, func(t *testing.T) {
			f := newForger(t)
			r := &rig{server: f.server, cfg: mirror.Config{URL: f.server.URL, Keys: []string{f.key.String()}, Dir: filepath.Join(t.TempDir(), "copy"), Tries: 1}}
			f.sign(t, f.good(t, 11))
			must(t, r.sync(t))
			f.sign(t, f.good(t, 11))
			r.cfg.Dir = filepath.Join(t.TempDir(), "fresh")
			f.sign(t, tt.leaves(f.good(t, 11)))
			fail := failed(t, r.sync(t), verify.ELeaf)
			if fail.From != tt.at || fail.Kept == "" {
				t.Errorf("%+v", fail)
			}
			for _, name := range []string{"checkpoint", "entries-0"} {
				if _, err := os.Stat(filepath.Join(fail.Kept, name)); err != nil {
					t.Errorf("not kept: %v", err)
				}
			}
			failed(t, r.sync(t), verify.ELeaf) // and again, with the same proof
		})
	}
}

func TestQuorum(t *testing.T) {
	r := newRig(t)
	policy := r.d.witness(t)
	witnesses := r.d.witnesses
	r.cfg.Policy = []byte(policy)
	r.d.add(t, 5)
	must(t, r.sync(t))
	note, err := os.ReadFile(r.path(r.d.newest(t), "checkpoint"))
	must(t, err)
	if !strings.Contains(string(note), "witness.example") {
		t.Errorf("the cosignature is not kept: %s", note)
	}
	r.d.add(t, 5)
	r.d.witnesses = nil
	failed(t, r.sync(t), verify.EQuorum)
	// A follower waits for it.
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	cfg := r.cfg
	cfg.Report = func(p mirror.Progress) {
		switch {
		case p.Trouble != "":
			r.d.witnesses = witnesses
		case p.Kept && p.Size == 11:
			cancel()
		}
	}
	m, err := mirror.Open(cfg)
	must(t, err)
	must(t, m.Follow(ctx, time.Millisecond))
	must(t, m.Close())
	r.holds(t, r.d.newest(t))
	// A witness that signed long before the newest leaf.
	r.d.at = time.Now().Add(-time.Hour)
	r.d.add(t, 1)
	failed(t, r.sync(t), verify.ETime)
}

// TestRollover follows a closed log only where something vouches for the next key.
func TestRollover(t *testing.T) {
	r := newRig(t)
	r.d.add(t, 10)
	first := r.d.newest(t)
	_, err := r.d.Rollover(t.Context(), "acme")
	must(t, err)
	second := r.d.newest(t)
	for _, no := range []int{1, 2} {
		_, _, err := r.d.PublishNow(t.Context(), "acme", no)
		must(t, err)
	}
	r.d.add(t, 300)

	// The key alone is not enough.
	if f := failed(t, r.sync(t), verify.WNoKey); !strings.Contains(f.Message, second.VKey) {
		t.Errorf("%v", f)
	}
	r.holds(t, first)
	// Nor is a policy that asks for nobody, or whose witnesses did not sign.
	r.cfg.Policy = []byte("quorum none\n")
	failed(t, r.sync(t), verify.WNoKey)
	// The successor's key is.
	keep := r.cfg
	r.cfg.Policy, r.cfg.Keys = nil, []string{first.VKey, second.VKey}
	must(t, r.sync(t))
	r.holds(t, first)
	r.holds(t, second)
	// So is a witnessed end.
	r.cfg = keep
	r.cfg.Policy, r.cfg.Dir = []byte(r.d.witness(t)), filepath.Join(t.TempDir(), "witnessed")
	must(t, r.sync(t))
	r.holds(t, second)
	r.d.add(t, 3)
	must(t, r.sync(t))
	r.holds(t, second)
	// Another key for that log than LOG_CLOSED names is not.
	r.cfg.Policy, r.cfg.Keys = nil, []string{first.VKey, otherKey(t, second)}
	failed(t, r.sync(t), verify.EFork)
}

func TestConfig(t *testing.T) {
	r := newRig(t)
	info := r.d.newest(t)
	witness := &deployment{}
	witness.witness(t)
	for name, change := range map[string]func(c *mirror.Config){
		"no key":            func(c *mirror.Config) { c.Keys = nil },
		"a bad key":         func(c *mirror.Config) { c.Keys = []string{"x"} },
		"a witness's key":   func(c *mirror.Config) { c.Keys = []string{witness.witnesses[0].VKey().String()} },
		"two keys":          func(c *mirror.Config) { c.Keys = []string{info.VKey, otherKey(t, info)} },
		"no URL":            func(c *mirror.Config) { c.URL = "" },
		"a file":            func(c *mirror.Config) { c.URL = "file:///etc" },
		"a credential":      func(c *mirror.Config) { c.URL = "http://user:pass@localhost" },
		"a query":           func(c *mirror.Config) { c.URL += "?x=1" },
		"a policy of words": func(c *mirror.Config) { c.Policy = []byte("trust me\n") },
	} {
		cfg := r.cfg
		change(&cfg)
		if m, err := mirror.Open(cfg); !errors.Is(err, evidence.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
			if err == nil {
				must(t, m.Close())
			}
		}
	}
}

// otherKey is a key that names a log and is not its own.
func otherKey(t testing.TB, info ledger.LogInfo) string {
	t.Helper()
	s, err := c2sp.NewSigner(info.Origin, make([]byte, 32))
	must(t, err)
	return s.VKey().String()
}
