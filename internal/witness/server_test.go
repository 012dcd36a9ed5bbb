package witness_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/c2sp"
	"github.com/runledger/runledger/internal/witness"
)

const origin = "test.example/0123456789ab"

// testLog is a log of made-up leaves.
type testLog struct {
	t      testing.TB
	signer *c2sp.Signer
	hashes []tlog.Hash // as package tlog stores them
	roots  []evidence.Hash
}

// newTestLog returns a log of n leaves; another salt is another history.
func newTestLog(t testing.TB, n int, salt func(i int) string) *testLog {
	t.Helper()
	signer, err := c2sp.NewSigner(origin, bytes.Repeat([]byte{1}, 32))
	if err != nil {
		t.Fatal(err)
	}
	l := &testLog{t: t, signer: signer, roots: []evidence.Hash{c2sp.EmptyRoot}}
	for i := range n {
		h, err := tlog.StoredHashes(int64(i), []byte(salt(i)), tlog.HashReaderFunc(l.read))
		if err != nil {
			t.Fatal(err)
		}
		l.hashes = append(l.hashes, h...)
		root, err := tlog.TreeHash(int64(i+1), tlog.HashReaderFunc(l.read))
		if err != nil {
			t.Fatal(err)
		}
		l.roots = append(l.roots, evidence.Hash(root))
	}
	return l
}

func (l *testLog) read(at []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(at))
	for i, n := range at {
		out[i] = l.hashes[n]
	}
	return out, nil
}

func (l *testLog) note(size int) []byte {
	l.t.Helper()
	note, err := c2sp.SignCheckpoint(c2sp.Checkpoint{Origin: origin, Size: int64(size), Root: l.roots[size]}, l.signer)
	if err != nil {
		l.t.Fatal(err)
	}
	return note
}

func (l *testLog) request(old, size int) *c2sp.Consistency {
	l.t.Helper()
	r := &c2sp.Consistency{Old: int64(old), Note: l.note(size)}
	if old > 0 && old < size {
		proof, err := tlog.ProveTree(int64(size), int64(old), tlog.HashReaderFunc(l.read))
		if err != nil {
			l.t.Fatal(err)
		}
		for _, h := range proof {
			r.Hashes = append(r.Hashes, evidence.Hash(h))
		}
	}
	return r
}

func same(i int) string { return fmt.Sprint("leaf ", i) }

// forked is another history from leaf n on.
func forked(n int) func(int) string {
	return func(i int) string {
		if i >= n {
			return fmt.Sprint("other ", i)
		}
		return same(i)
	}
}

type testWitness struct {
	*witness.Server
	t   testing.TB
	dir string
	cfg witness.ServerConfig
}

func newWitness(t testing.TB, dir string, logs ...string) *testWitness {
	t.Helper()
	w := &testWitness{t: t, dir: dir, cfg: witness.ServerConfig{Dir: dir, Name: "w.example", Logs: logs, PerSecond: 1 << 20}}
	w.open()
	t.Cleanup(func() { _ = w.Close() })
	return w
}

func (w *testWitness) open() {
	w.t.Helper()
	var err error
	if w.Server, err = witness.NewServer(w.cfg); err != nil {
		w.t.Fatal(err)
	}
}

func (w *testWitness) post(body []byte) *httptest.ResponseRecorder {
	rec := httptest.NewRecorder()
	w.ServeHTTP(rec, httptest.NewRequest(http.MethodPost, "/add-checkpoint", bytes.NewReader(body)))
	return rec
}

// wantSigned checks that an answer is a cosignature of that checkpoint.
func (w *testWitness) wantSigned(l *testLog, size int, rec *httptest.ResponseRecorder) {
	w.t.Helper()
	if rec.Code != http.StatusOK {
		w.t.Fatalf("size %d: %d %s", size, rec.Code, rec.Body)
	}
	key, err := c2sp.ParseVKey(w.VKey())
	if err != nil {
		w.t.Fatal(err)
	}
	v, err := c2sp.Verify(append(l.note(size), rec.Body.Bytes()...), l.signer.VKey(), key)
	if err != nil || len(v.Cosignatures) != 1 || time.Since(time.Unix(v.Cosignatures[0].Time, 0)).Abs() > time.Minute {
		w.t.Fatalf("size %d: %+v, %v", size, v, err)
	}
}

func wantConflict(t testing.TB, rec *httptest.ResponseRecorder, size int) {
	t.Helper()
	if rec.Code != http.StatusConflict || rec.Header().Get("Content-Type") != "text/x.tlog.size" || rec.Body.String() != fmt.Sprintf("%d\n", size) {
		t.Errorf("got %d %q %q, want a conflict with %d", rec.Code, rec.Header().Get("Content-Type"), rec.Body, size)
	}
}

func files(t testing.TB, dir, pattern string) (list []string) {
	t.Helper()
	list, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestAddCheckpoint(t *testing.T) {
	l := newTestLog(t, 300, same)
	w := newWitness(t, t.TempDir(), l.signer.VKey().String())
	w.wantSigned(l, 0, w.post(l.request(0, 0).Marshal()))
	w.wantSigned(l, 5, w.post(l.request(0, 5).Marshal()))
	w.wantSigned(l, 5, w.post(l.request(5, 5).Marshal())) // again
	w.wantSigned(l, 290, w.post(l.request(5, 290).Marshal()))

	wantConflict(t, w.post(l.request(0, 300).Marshal()), 290)
	wantConflict(t, w.post(l.request(5, 300).Marshal()), 290)
	wantConflict(t, w.post(l.request(5, 5).Marshal()), 290)
	wantConflict(t, w.post(l.request(295, 300).Marshal()), 290)

	bad := l.request(290, 300)
	bad.Hashes[0][0] ^= 1
	none := l.request(290, 300)
	none.Hashes = nil
	stranger, err := c2sp.NewSigner(origin, bytes.Repeat([]byte{2}, 32))
	if err != nil {
		t.Fatal(err)
	}
	unsigned, err := c2sp.SignCheckpoint(c2sp.Checkpoint{Origin: origin, Size: 300, Root: l.roots[300]}, stranger)
	if err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		body []byte
		want int
	}{
		"a proof that does not hold":  {bad.Marshal(), http.StatusUnprocessableEntity},
		"no proof":                    {none.Marshal(), http.StatusUnprocessableEntity},
		"an old size beyond":          {append([]byte("old 301\n\n"), l.note(300)...), http.StatusBadRequest},
		"another key":                 {append([]byte("old 290\n\n"), unsigned...), http.StatusForbidden},
		"a changed note":              {bytes.Replace(l.request(290, 300).Marshal(), []byte("\n300\n"), []byte("\n299\n"), 1), http.StatusForbidden},
		"another log":                 {bytes.ReplaceAll(l.request(290, 300).Marshal(), []byte("0123456789ab"), []byte("aaaaaaaaaaaa")), http.StatusNotFound},
		"nothing":                     {nil, http.StatusBadRequest},
		"a leading zero":              {bytes.Replace(l.request(290, 300).Marshal(), []byte("old 290"), []byte("old 0290"), 1), http.StatusBadRequest},
		"too many hashes":             {append(append([]byte("old 290\n"), bytes.Repeat([]byte("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"), 64)...), l.note(300)...), http.StatusBadRequest},
		"a request that is too large": {bytes.Repeat([]byte("x"), 1<<20), http.StatusBadRequest},
	} {
		if rec := w.post(c.body); rec.Code != c.want {
			t.Errorf("%s: %d %s, want %d", what, rec.Code, rec.Body, c.want)
		}
	}
	w.wantSigned(l, 300, w.post(l.request(290, 300).Marshal())) // none of it changed anything
	for _, method := range []string{http.MethodGet, http.MethodPut} {
		rec := httptest.NewRecorder()
		w.ServeHTTP(rec, httptest.NewRequest(method, "/add-checkpoint", nil))
		if rec.Code != http.StatusMethodNotAllowed {
			t.Errorf("%s: %d", method, rec.Code)
		}
	}
}

// TestShow: who it is, and what it last cosigned.
func TestShow(t *testing.T) {
	l := newTestLog(t, 5, same)
	w := newWitness(t, t.TempDir(), l.signer.VKey().String())
	get := func(path string) *httptest.ResponseRecorder {
		rec := httptest.NewRecorder()
		w.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, path, nil))
		return rec
	}
	if rec := get("/"); rec.Code != http.StatusOK || rec.Body.String() != w.VKey()+"\n" {
		t.Errorf("/: %d %s", rec.Code, rec.Body)
	}
	for _, path := range []string{"/checkpoint?origin=" + origin, "/checkpoint?origin=another", "/checkpoint", "/x"} {
		if rec := get(path); rec.Code != http.StatusNotFound {
			t.Errorf("%s: %d", path, rec.Code)
		}
	}
	w.wantSigned(l, 5, w.post(l.request(0, 5).Marshal()))
	key, err := c2sp.ParseVKey(w.VKey())
	if err != nil {
		t.Fatal(err)
	}
	rec := get("/checkpoint?origin=" + origin)
	if v, err := c2sp.Verify(rec.Body.Bytes(), l.signer.VKey(), key); err != nil || v.Size != 5 || len(v.Cosignatures) != 1 {
		t.Errorf("%+v, %v", v, err)
	}
}

// TestRestart: what was cosigned is remembered, and nobody else runs on the state.
func TestRestart(t *testing.T) {
	l := newTestLog(t, 9, same)
	w := newWitness(t, t.TempDir(), l.signer.VKey().String())
	key := w.VKey()
	w.wantSigned(l, 7, w.post(l.request(0, 7).Marshal()))
	if _, err := witness.NewServer(w.cfg); !errors.Is(err, evidence.ErrConflict) {
		t.Errorf("a second witness: %v", err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	w.cfg.Name = ""
	w.open()
	if w.VKey() != key {
		t.Error("another key after the restart")
	}
	wantConflict(t, w.post(l.request(0, 9).Marshal()), 7)
	w.wantSigned(l, 9, w.post(l.request(7, 9).Marshal()))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}

	for what, spoil := range map[string]func(path string) error{
		"a state that was cut":      func(path string) error { return os.Truncate(path, 40) },
		"a state of the log's only": func(path string) error { return os.WriteFile(path, l.note(9), 0o600) },
	} {
		path := files(t, w.dir, "logs/*.note")[0]
		was, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := spoil(path); err != nil {
			t.Fatal(err)
		}
		if _, err := witness.NewServer(w.cfg); err == nil {
			t.Errorf("%s is taken", what)
		}
		if err := os.WriteFile(path, was, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	w.open()
}

// TestServerKeepsForks: two roots of one size prove themselves; a tree that does not
// extend the last one is kept too.
func TestServerKeepsForks(t *testing.T) {
	l, other := newTestLog(t, 20, same), newTestLog(t, 20, forked(6))
	w := newWitness(t, t.TempDir(), l.signer.VKey().String())
	w.wantSigned(l, 8, w.post(l.request(0, 8).Marshal()))
	for range 3 {
		wantConflict(t, w.post(other.request(8, 8).Marshal()), 8)
	}
	if rec := w.post(other.request(8, 20).Marshal()); rec.Code != http.StatusUnprocessableEntity {
		t.Errorf("a forked tree: %d", rec.Code)
	}
	for _, c := range []struct {
		sort string
		size int
	}{{"fork", 8}, {"doubt", 20}} {
		seen, offered := files(t, w.dir, "forks/"+c.sort+"-*.seen"), files(t, w.dir, "forks/"+c.sort+"-*.offered")
		if len(seen) != 1 || len(offered) != 1 {
			t.Fatalf("%s: %q, %q", c.sort, seen, offered)
		}
		a, err := os.ReadFile(seen[0])
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(offered[0])
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.HasPrefix(a, l.note(8)) || !bytes.Equal(b, other.note(c.size)) {
			t.Errorf("%s: kept\n%s\nand\n%s", c.sort, a, b)
		}
	}
	w.wantSigned(l, 20, w.post(l.request(8, 20).Marshal())) // it goes on with the one it knows
}

// TestForksAreBounded: who sends rubbish with a signed note does not fill the disk.
func TestForksAreBounded(t *testing.T) {
	l := newTestLog(t, 200, same)
	w := newWitness(t, t.TempDir(), l.signer.VKey().String())
	w.wantSigned(l, 8, w.post(l.request(0, 8).Marshal()))
	for size := 9; size < 100; size++ {
		r := l.request(8, size)
		r.Hashes = append(r.Hashes, evidence.Hash{1})
		w.post(r.Marshal())
	}
	if n := len(files(t, w.dir, "forks/*")); n > 64 {
		t.Errorf("%d files", n)
	}
}

// TestParallel: however many ask, it never goes back.
func TestParallel(t *testing.T) {
	const n = 60
	l := newTestLog(t, n, same)
	w := newWitness(t, t.TempDir(), l.signer.VKey().String())
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			size := 0
			for target := 1; target <= n; {
				rec := w.post(l.request(size, max(size, target)).Marshal())
				switch rec.Code {
				case http.StatusOK:
					size = max(size, target)
					target = size + 1
				case http.StatusConflict:
					now := 0
					if _, err := fmt.Sscan(rec.Body.String(), &now); err != nil || now < size {
						t.Errorf("from %d to %q", size, rec.Body)
						return
					}
					size = now
				default:
					t.Errorf("%d %s", rec.Code, rec.Body)
					return
				}
			}
		})
	}
	wg.Wait()
	wantConflict(t, w.post(l.request(0, 1).Marshal()), n)
}

// TestRate: a log that asks all the time is told to wait, and another is not.
func TestRate(t *testing.T) {
	l := newTestLog(t, 3, same)
	now := time.Unix(1_800_000_000, 0)
	w, err := witness.NewServer(witness.ServerConfig{
		Dir: t.TempDir(), Name: "w.example", Logs: []string{l.signer.VKey().String()}, PerSecond: 5, Now: func() time.Time { return now },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	send := func(r *c2sp.Consistency) int {
		rec := httptest.NewRecorder()
		w.ServeHTTP(rec, httptest.NewRequest(http.MethodPost, "/add-checkpoint", bytes.NewReader(r.Marshal())))
		return rec.Code
	}
	if code := send(l.request(0, 2)); code != http.StatusOK {
		t.Fatal(code)
	}
	rubbish := l.request(2, 3)
	rubbish.Hashes[0][0] ^= 1
	for i := range 9 { // two seconds' worth, one of them used
		if code := send(rubbish); code != http.StatusUnprocessableEntity {
			t.Fatalf("request %d: %d", i, code)
		}
	}
	// What anyone can send again is answered, and takes nothing from the log.
	for _, tt := range []struct{ old, size, want int }{{2, 3, http.StatusTooManyRequests}, {0, 2, http.StatusConflict}, {2, 2, http.StatusOK}} {
		if code := send(l.request(tt.old, tt.size)); code != tt.want {
			t.Errorf("%d to %d: %d, want %d", tt.old, tt.size, code, tt.want)
		}
	}
	now = now.Add(time.Second)
	for range 10 {
		send(l.request(2, 2))
	}
	if code := send(l.request(2, 3)); code != http.StatusOK {
		t.Errorf("a second later: %d", code)
	}
}

func TestKey(t *testing.T) {
	dir := t.TempDir()
	key, err := witness.OpenKey(dir, "w.example/1")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "key")
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("%v, %v", info.Mode(), err)
	}
	for _, name := range []string{"", "w.example/1"} {
		again, err := witness.OpenKey(dir, name)
		if err != nil || again.VKey() != key.VKey() {
			t.Errorf("%q: %v", name, err)
		}
	}
	if _, err := witness.OpenKey(dir, "another"); !errors.Is(err, evidence.ErrInvalid) {
		t.Errorf("another name: %v", err)
	}
	if _, err := witness.OpenKey(t.TempDir(), ""); err == nil {
		t.Error("a key without a name is made")
	}
	if _, err := witness.OpenKey(t.TempDir(), "a name"); !errors.Is(err, evidence.ErrInvalid) {
		t.Errorf("a bad name: %v", err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"", "x\n", strings.TrimSuffix(string(text), "\n"), strings.Replace(string(text), "w.example", "x.example", 1), string(text[:len(text)-9]) + "\n"} {
		if err := os.WriteFile(path, []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := witness.OpenKey(dir, ""); !errors.Is(err, evidence.ErrInvalid) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if err := errors.Join(os.WriteFile(path, text, 0o600), os.Chmod(path, 0o644)); err != nil {
		t.Fatal(err)
	}
	if _, err := witness.OpenKey(dir, ""); !errors.Is(err, evidence.ErrForbidden) {
		t.Errorf("a key that others can read: %v", err)
	}
}

// FuzzAddCheckpoint: nothing that is sent is cosigned but what extends the log.
func FuzzAddCheckpoint(f *testing.F) {
	l, other := newTestLog(f, 12, same), newTestLog(f, 12, forked(4))
	w := newWitness(f, f.TempDir(), l.signer.VKey().String())
	w.wantSigned(l, 8, w.post(l.request(0, 8).Marshal()))
	f.Add(l.request(0, 12).Marshal())
	f.Add(l.request(5, 8).Marshal())
	f.Add(other.request(8, 12).Marshal())
	f.Add([]byte("old 8\n\n"))
	f.Fuzz(func(t *testing.T, body []byte) {
		rec := w.post(body)
		got, _ := io.ReadAll(rec.Body)
		switch rec.Code {
		case http.StatusOK:
			req, err := c2sp.ParseConsistency(body)
			if err != nil {
				t.Fatalf("signed what is no request: %v", err)
			}
			c, _, err := c2sp.ParseNote(req.Note)
			if err != nil || c.Origin != origin || c.Size > 12 || c.Root != l.roots[c.Size] {
				t.Errorf("signed %+v", c)
			}
		case http.StatusBadRequest, http.StatusForbidden, http.StatusNotFound, http.StatusConflict, http.StatusUnprocessableEntity:
		default:
			t.Errorf("%d %s", rec.Code, got)
		}
	})
}
