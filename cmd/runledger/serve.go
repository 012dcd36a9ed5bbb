package main

import (
	"log/slog"
	"time"

	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/server"
)

type serveCmd struct {
	openFlags
	Listen     string        `help:"Address of the API." default:"127.0.0.1:8080" placeholder:"HOST:PORT"`
	Dev        bool          `help:"For development: a clock that jumps is only warned about."`
	ScrubRate  int           `help:"Leaves a second that continuous verification checks again; negative: as fast as it can." default:"5000" placeholder:"N"`
	ScrubEvery time.Duration `help:"Pause between two full verifications." default:"1h" placeholder:"TIME"`
}

// Help implements kong.HelpProvider.
func (serveCmd) Help() string {
	return `Holds the data directory, which it makes where there is none, answers the other commands through DIR/control.sock, verifies what it has without end, and logs JSON to standard error. Stops in order on SIGTERM and on an interrupt.

    runledger serve --data runledger-data
    runledger serve --data /var/lib/runledger --anchor /mnt/other/anchor

GET /healthz answers while it lives, /readyz while evidence can be made durable, /metrics for Prometheus.`
}

// Run serves until it is told to stop.
func (c *serveCmd) Run(e *env) error {
	return server.Serve(e.ctx, server.ServeConfig{
		Config: server.Config{
			Data: e.Data, Anchor: e.Anchor, Version: version(), Dev: c.Dev,
			AcceptRollback: c.AcceptRollback, ConfirmClock: c.ConfirmClock,
			Logger: slog.New(slog.NewJSONHandler(e.stderr, nil)),
		},
		Listen: c.Listen,
		Watch:  ledger.WatchConfig{ScrubRate: c.ScrubRate, ScrubEvery: c.ScrubEvery},
	})
}
