package main

import (
	"fmt"
	"os"

	"github.com/runledger/runledger/internal/server"
	"github.com/runledger/runledger/internal/tsp"
	"github.com/runledger/runledger/verify"
)

// outside reads who is asked about the logs: witnesses, and a time-stamping
// authority.
func (c *serveCmd) outside(cfg *server.ServeConfig) error {
	if c.WitnessPolicy != "" {
		b, err := os.ReadFile(c.WitnessPolicy)
		if err != nil {
			return err
		}
		if cfg.Witnesses, err = verify.ParsePolicy(b); err != nil {
			return &usageError{fmt.Sprintf("%s: %v", c.WitnessPolicy, err)}
		}
		cfg.WitnessesDigest = digest(b)
	}
	if c.TimestampURL == "" {
		if c.TimestampRoots != "" || c.TimestampName != "" {
			return &usageError{"--timestamp-roots and --timestamp-name go with --timestamp-url"}
		}
		return nil
	}
	cfg.Stamps = &server.StampConfig{URL: c.TimestampURL, Name: c.TimestampName}
	if c.TimestampRoots == "" {
		return nil
	}
	b, err := os.ReadFile(c.TimestampRoots)
	if err != nil {
		return err
	}
	if cfg.Stamps.Roots, err = tsp.ParseRoots(b); err != nil {
		return &usageError{fmt.Sprintf("%s: %v", c.TimestampRoots, err)}
	}
	cfg.Stamps.RootsDigest = digest(b)
	return nil
}
