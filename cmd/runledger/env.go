package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/runledger/runledger/internal/control"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/server"
	"github.com/runledger/runledger/internal/store"
)

// env is what a command works with.
type env struct {
	*globals
	ctx    context.Context
	stdin  io.Reader
	stdout io.Writer
	stderr io.Writer
}

// printf writes to standard output.
func (e *env) printf(format string, args ...any) { fmt.Fprintf(e.stdout, format, args...) }

// notef writes to standard error what is for people only.
func (e *env) notef(format string, args ...any) {
	if !e.JSON {
		fmt.Fprintf(e.stderr, format, args...)
	}
}

// json prints a value in one line.
func (e *env) json(v any) error {
	enc := json.NewEncoder(e.stdout)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// isTerminal reports whether a stream is one.
func isTerminal(w any) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// clock is that of deployments which a command opens itself; the zero value is the real
// one. Tests set it.
var clock ledger.Clock

// session is a connection to the control API: of the server that holds the
// data directory, or of this process, which then holds it.
type session struct {
	*control.Client
	created bool // the data directory was made
	server  bool
	close   func() error
}

// lockWait is how long a command waits for another that holds the directory.
const lockWait = 10 * time.Second

// openFlags are flags of the commands that may open a data directory first.
type openFlags struct {
	migrate bool // the schema is made or updated, where its owner is known

	AcceptRollback bool `help:"Go on with a data directory that is older than its anchor, such as a restored backup: open a successor log that names both states."`
	ConfirmClock   bool `help:"The clock is right, although it stands behind the newest record."`
}

// connect opens the data directory, or reaches the server that holds it.
func (e *env) connect(create bool, flags openFlags) (*session, error) {
	deadline := time.Now().Add(lockWait)
	for {
		c, err := control.Dial(e.ctx, e.Data)
		if err == nil {
			return &session{Client: c, server: true, close: func() error { return nil }}, nil
		}
		if !errors.Is(err, control.ErrNoServer) {
			return nil, err
		}
		cfg := e.config()
		cfg.Create, cfg.AcceptRollback, cfg.ConfirmClock = create, flags.AcceptRollback, flags.ConfirmClock
		cfg.Migrate = flags.migrate && e.Owner != ""
		d, err := server.Open(e.ctx, cfg)
		if err == nil {
			return &session{Client: control.Local(d.Control), created: d.Created, close: d.Close}, nil
		}
		if !errors.Is(err, store.ErrLocked) {
			return nil, err
		}
		// Another command, or a server that has no socket yet.
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("%s: %w", e.Data, store.ErrLocked)
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-e.ctx.Done():
			return nil, e.ctx.Err()
		}
	}
}

// config says what to open, as the flags of all commands do.
func (e *env) config() server.Config {
	return server.Config{Data: e.Data, Anchor: e.Anchor, Store: e.Store, StoreOwner: e.Owner, Master: e.Master, Archive: os.Getenv(archiveEnv), Clock: clock, Version: version()}
}

// archiveEnv is the variable that names the archive, of serve and of commands that open
// a deployment themselves.
const archiveEnv = "RUNLEDGER_ARCHIVE"

// place names the store for people.
func (e *env) place() string {
	if e.Store == "" {
		return e.Data
	}
	return server.DescribeStore(e.Store)
}

// with runs f on a session.
func (e *env) with(f func(s *session) error) error {
	s, err := e.connect(false, openFlags{})
	if err != nil {
		return err
	}
	return errors.Join(f(s), s.close())
}

// version is that of the build, as a name that may stand in a record.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "devel"
	}
	v := strings.Trim(info.Main.Version, "()")
	if v == "" {
		v = "devel"
	}
	return strings.ReplaceAll(v, "+", "-")
}
