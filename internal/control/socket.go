package control

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// SocketName is the name of the control socket in a data directory.
const SocketName = "control.sock"

// Socket serves a handler on the control socket of a data directory.
type Socket struct {
	path string
	ln   *net.UnixListener
	srv  *http.Server
	done chan error
}

// Listen makes DIR/control.sock, mode 0600, and serves h on it. The caller
// must hold the directory's lock: a socket that is there already is then one
// that a dead process left, and is replaced. Anything else of that name, a
// symbolic link above all, is refused.
func Listen(dir string, h http.Handler, log *slog.Logger) (*Socket, error) {
	path := filepath.Join(dir, SocketName)
	if st, err := os.Lstat(path); err == nil && st.Mode().Type() != fs.ModeSocket {
		return nil, notSocket(path)
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	// Bound in a directory that nobody else can enter, so that there is no
	// moment in which the socket has another mode; then moved to its place,
	// which also replaces one that was left.
	private, err := os.MkdirTemp(dir, ".control-*")
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	defer func() { _ = os.RemoveAll(private) }() // empty by then
	ln, err := listenUnix(private)
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	ln.SetUnlinkOnClose(false) // under a name that it has no more
	made := filepath.Join(private, SocketName)
	if err := errors.Join(os.Chmod(made, 0o600), os.Rename(made, path)); err != nil {
		return nil, errors.Join(fmt.Errorf("control socket: %w", err), ln.Close())
	}
	s := &Socket{path: path, ln: ln, done: make(chan error, 1), srv: &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			u, ok := c.(*net.UnixConn)
			if !ok {
				return ctx
			}
			caller, err := peerOf(u)
			if err != nil {
				log.Warn("control socket: who calls is not known", "err", err)
			}
			return WithCaller(ctx, caller)
		},
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}}
	go func() { s.done <- s.srv.Serve(ln) }()
	return s, nil
}

// Close lets running requests end, at most until ctx is done, and removes the
// socket. The lock must still be held.
func (s *Socket) Close(ctx context.Context) error {
	err := s.srv.Shutdown(ctx)
	if err != nil {
		err = errors.Join(err, s.srv.Close())
	}
	if serr := <-s.done; !errors.Is(serr, http.ErrServerClosed) {
		err = errors.Join(err, serr)
	}
	return errors.Join(err, os.Remove(s.path))
}

// notSocket is about what an operator has to look at: it is not removed.
func notSocket(path string) error {
	return fmt.Errorf("%s is there and is no socket: see what it is, and remove it", path)
}

// maxSocketPath is what fits a socket address everywhere.
const maxSocketPath = 100

// shortPath calls f with a path of the socket in dir that fits an address.
func shortPath(dir string, f func(path string) error) error {
	path := filepath.Join(dir, SocketName)
	if len(path) <= maxSocketPath {
		return f(path)
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	short := fmt.Sprintf("/proc/self/fd/%d", d.Fd())
	if _, err := os.Stat(short); err != nil {
		return fmt.Errorf("%s: the path is too long for a socket", path)
	}
	return f(filepath.Join(short, SocketName))
}

func listenUnix(dir string) (ln *net.UnixListener, err error) {
	err = shortPath(dir, func(path string) (err error) {
		ln, err = net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		return err
	})
	return ln, err
}

// errNoServer says that nothing answers at the socket.
var errNoServer = errors.New("no server holds the data directory")

// dialUnix connects to the socket in dir. The error wraps errNoServer where
// nobody listens.
func dialUnix(ctx context.Context, dir string) (conn net.Conn, err error) {
	path := filepath.Join(dir, SocketName)
	st, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, errNoServer
	case err != nil:
		return nil, err
	case st.Mode().Type() != fs.ModeSocket:
		return nil, notSocket(path)
	}
	err = shortPath(dir, func(path string) (err error) {
		conn, err = (&net.Dialer{}).DialContext(ctx, "unix", path)
		return err
	})
	if isRefused(err) {
		return nil, errNoServer
	}
	return conn, err
}
