package main

import (
	"errors"
	"os"
	"path/filepath"
)

type demoCmd struct {
	Keep    string `help:"A new directory for the demo's files. Default: one among the temporary files; it stays, too." placeholder:"DIR"`
	Once    bool   `help:"Play, take the whole tour, and stop."`
	Offline bool   `help:"Another tour, without a server: append, sign, prove, export, verify, forge."`
}

// Help implements kong.HelpProvider.
func (demoCmd) Help() string {
	return `Starts a server with what real SDKs once sent and an incident: an agent wants to refund more than it may, a guardrail stops it, a person overrides the limit, a worker dies meanwhile. An operator looks at it and exports it. Then the tour: commands to try, until Ctrl-C. The files stay.

    runledger demo
    runledger demo --once
    runledger demo --offline --keep tour`
}

// Run shows one of the two demos.
func (c *demoCmd) Run(e *env) error {
	if e.JSON {
		return usage("the demo is for people: it has no --json")
	}
	dir, err := c.directory()
	if err != nil {
		return err
	}
	if c.Offline {
		return c.runOffline(e, dir)
	}
	return c.runServer(e, dir)
}

func (c *demoCmd) directory() (string, error) {
	if c.Keep == "" {
		return os.MkdirTemp("", "runledger-demo-")
	}
	if err := os.Mkdir(c.Keep, 0o700); errors.Is(err, os.ErrExist) {
		return "", usage("%s is there already: give a directory that is not", c.Keep)
	} else if err != nil {
		return "", err
	}
	return filepath.Abs(c.Keep)
}
