package main

import (
	"errors"
	"runtime"

	"github.com/runledger/runledger/internal/control"
)

type initCmd struct {
	openFlags
}

// Help implements kong.HelpProvider.
func (initCmd) Help() string {
	return `Makes the data directory with its database, its master keyset and the system log, and the anchor directory beside it. Where they are there already it checks that they open, and changes nothing.

With --store the ledger is in PostgreSQL; with --store-owner too, its schema is made or updated first. Each process needs a data directory of its own there, and a copy of the same master keyset.

Back up DIR/master.keyset.json apart from the rest: without it nothing can be read or signed.

    runledger init --data runledger-data
    runledger init --data a --anchor /mnt/anchors --store postgres://runledger_app@db/runledger --store-owner postgres://runledger_owner@db/runledger`
}

// Run makes the data directory.
func (c *initCmd) Run(e *env) error {
	c.migrate = true
	s, err := e.connect(true, c.openFlags)
	if err != nil {
		return err
	}
	if err := s.close(); err != nil {
		return err
	}
	if e.JSON {
		out := map[string]any{"data": e.Data, "created": s.created}
		if e.Store != "" {
			out["store"] = e.place()
		}
		return e.json(out)
	}
	if s.created {
		e.printf("created %s\n", e.place())
	} else {
		e.printf("%s is there already\n", e.place())
	}
	return nil
}

type versionCmd struct{}

// Run prints the version.
func (versionCmd) Run(e *env) error {
	if e.JSON {
		return e.json(map[string]string{"version": version(), "go": runtime.Version(), "os": runtime.GOOS, "arch": runtime.GOARCH})
	}
	e.printf("runledger %s (%s, %s/%s)\n", version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return nil
}

type clockCmd struct {
	Confirm clockConfirmCmd `cmd:"" help:"Say that the clock is right: writing goes on."`
}

type clockConfirmCmd struct{}

// Help implements kong.HelpProvider.
func (clockConfirmCmd) Help() string {
	return `A server whose clock was set by more than a minute stops writing until somebody says that the time is right now. Look at the clock, then

    runledger clock confirm --data runledger-data

Without a server use --confirm-clock of append, init or serve.`
}

// Run confirms the clock.
func (clockConfirmCmd) Run(e *env) error {
	c, err := control.Dial(e.ctx, e.Data)
	if errors.Is(err, control.ErrNoServer) {
		return usage("no server holds %s: give --confirm-clock to the command that writes", e.Data)
	}
	if err != nil {
		return err
	}
	if err := c.ConfirmClock(e.ctx); err != nil {
		return err
	}
	if e.JSON {
		return e.json(map[string]bool{"confirmed": true})
	}
	e.printf("the clock is confirmed\n")
	return nil
}
