package control_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/control"
)

func TestSocket(t *testing.T) {
	ctx := context.Background()
	ok := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, control.SocketName)
	if _, err := control.Dial(ctx, dir); !errors.Is(err, control.ErrNoServer) {
		t.Errorf("no socket: %v", err)
	}
	// What a dead process leaves.
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	if err := dead.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := control.Dial(ctx, dir); !errors.Is(err, control.ErrNoServer) {
		t.Errorf("dead socket: %v", err)
	}
	s, err := control.Listen(dir, ok, quiet)
	if err != nil {
		t.Fatal(err)
	}
	st, err := os.Lstat(path)
	if err != nil || st.Mode() != os.ModeSocket|0o600 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
	c, err := control.Dial(ctx, dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.ConfirmClock(ctx); err != nil {
		t.Error(err)
	}
	if err := s.Close(ctx); err != nil {
		t.Error(err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	if err := c.ConfirmClock(ctx); !errors.Is(err, control.ErrNoServer) {
		t.Errorf("after Close: %v", err)
	}
}

// TestServerDies: who was asking is told where and what to do, and not EOF alone.
func TestServerDies(t *testing.T) {
	dir := t.TempDir()
	var half atomic.Bool
	s, err := control.Listen(dir, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if half.Load() {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, `{"version":`)
		}
		panic(http.ErrAbortHandler)
	}), quiet)
	if err != nil {
		t.Fatal(err)
	}
	c, err := control.Dial(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, control.SocketName)
	for _, now := range []bool{false, true} {
		half.Store(now)
		_, err := c.Version(t.Context())
		if !errors.Is(err, evidence.ErrUnavailable) || !strings.HasPrefix(err.Error(), path+": ") || !strings.Contains(err.Error(), "start it again") {
			t.Errorf("half an answer %v: %v", now, err)
		}
	}
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Version(t.Context()); !errors.Is(err, control.ErrNoServer) || !strings.HasPrefix(err.Error(), path+": ") {
		t.Errorf("after its end: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Version(ctx); !errors.Is(err, context.Canceled) || strings.Contains(err.Error(), "start it") {
		t.Errorf("given up: %v", err)
	}
}

// TestNoSocket puts other things where the socket should be.
func TestNoSocket(t *testing.T) {
	for name, put := range map[string]func(path string) error{
		"file":            func(path string) error { return os.WriteFile(path, []byte("precious"), 0o600) },
		"directory":       func(path string) error { return os.Mkdir(path, 0o700) },
		"link to nothing": func(path string) error { return os.Symlink("/nowhere/else", path) },
		"link to a socket": func(path string) error {
			other := path + ".other"
			ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: other})
			if err != nil {
				return err
			}
			t.Cleanup(func() { _ = ln.Close() })
			return os.Symlink(other, path)
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, control.SocketName)
			if err := put(path); err != nil {
				t.Fatal(err)
			}
			before, err := os.Lstat(path)
			if err != nil {
				t.Fatal(err)
			}
			if s, err := control.Listen(dir, http.NotFoundHandler(), quiet); err == nil {
				_ = s.Close(context.Background())
				t.Error("listened")
			}
			if _, err := control.Dial(context.Background(), dir); err == nil || errors.Is(err, control.ErrNoServer) {
				t.Errorf("dial: %v", err)
			}
			if after, err := os.Lstat(path); err != nil || !os.SameFile(before, after) {
				t.Errorf("what was there is gone: %v", err)
			}
		})
	}
}

// TestLongPath uses a directory whose path does not fit a socket address.
func TestLongPath(t *testing.T) {
	if _, err := os.Stat("/proc/self/fd"); err != nil {
		t.Log("SKIPPED: there is no /proc here, so long paths cannot work")
		return
	}
	dir := filepath.Join(t.TempDir(), strings.Repeat("d", 120))
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	ok := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	s, err := control.Listen(dir, ok, quiet)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close(context.Background())
	c, err := control.Dial(context.Background(), dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.ConfirmClock(context.Background()); err != nil {
		t.Error(err)
	}
}

// TestBrokenStream breaks an answer off after its status: both transports
// must show it.
func TestBrokenStream(t *testing.T) {
	abort := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Runledger-Export", `{"export_id":"e","size_bytes":100}`)
		w.WriteHeader(http.StatusOK)
		_, _ = w.Write([]byte("half"))
		panic(http.ErrAbortHandler)
	})
	check := func(t *testing.T, c *control.Client) {
		_, body, err := c.Export(context.Background(), "acme", control.ExportRequest{})
		if err != nil {
			return // nothing had arrived yet: also an error
		}
		defer body.Close()
		if b, err := io.ReadAll(body); err == nil {
			t.Errorf("read %q without an error", b)
		}
	}
	t.Run("local", func(t *testing.T) { check(t, control.Local(abort)) })
	t.Run("socket", func(t *testing.T) {
		dir := t.TempDir()
		s, err := control.Listen(dir, abort, quiet)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close(context.Background())
		c, err := control.Dial(context.Background(), dir)
		if err != nil {
			t.Fatal(err)
		}
		check(t, c)
	})
}

// TestStreams holds a local answer to being a stream: the first bytes arrive
// while the handler still runs.
func TestStreams(t *testing.T) {
	release := make(chan struct{})
	h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Runledger-Export", `{"export_id":"e"}`)
		_, _ = w.Write([]byte("first"))
		<-release
		_, _ = w.Write([]byte("second"))
	})
	_, body, err := control.Local(h).Export(context.Background(), "acme", control.ExportRequest{})
	if err != nil {
		t.Fatal(err)
	}
	first := make([]byte, 5)
	if _, err := io.ReadFull(body, first); err != nil || string(first) != "first" {
		t.Fatalf("%q %v", first, err)
	}
	close(release)
	rest, err := io.ReadAll(body)
	if err != nil || string(rest) != "second" {
		t.Fatalf("%q %v", rest, err)
	}
}

// TestCanceled ends a request whose handler does not answer.
func TestCanceled(t *testing.T) {
	stop := make(chan struct{})
	h := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-stop })
	defer close(stop)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if err := control.Local(h).ConfirmClock(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}
