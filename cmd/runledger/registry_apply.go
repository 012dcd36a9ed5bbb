package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/runledger/runledger/internal/registry"
)

type registryApplyCmd struct {
	registryFlags
	Key   []string `help:"A verifier key that a receipt may hold with. May be given several times. Default: those of the deployment that --data or --store names." sep:"none" placeholder:"VKEY"`
	Files []string `arg:"" help:"Observation files, the oldest first." type:"path" name:"file"`
}

// Help implements kong.HelpProvider.
func (registryApplyCmd) Help() string {
	return `Moves capabilities: DECLARED to OBSERVED where all their scenarios passed, OBSERVED to TRUSTED by the rule of rules.yaml, and to DEGRADED where one failed. Each change is kept in the capability's history.

    runledger registry apply observation.json --key "$VKEY"
    runledger registry apply observation.json --data runledger-data

An observation counts only if the log that was observed has its digest, under a signature of the key. A file that was edited is refused with status 1. The same file once more changes nothing, and one that is older than the newest that was applied is refused.`
}

// appliedFile is what a file did.
type appliedFile struct {
	Path         string            `json:"path"`
	Capabilities []registry.Change `json:"capabilities"`
}

// Run applies.
func (c *registryApplyCmd) Run(e *env) error {
	at, err := c.writable(e)
	if err != nil {
		return err
	}
	files := make([]*registry.File, len(c.Files))
	for i, path := range c.Files {
		if files[i], err = registry.ReadFile(path); err != nil {
			return inputError(err)
		}
	}
	keys := c.Key
	if len(keys) == 0 {
		err := e.with(func(s *session) (err error) {
			keys, err = verifierKeys(e, s)
			return err
		})
		if err != nil {
			return fmt.Errorf("without --key the keys are those of a deployment: %w", err)
		}
	}
	done := []appliedFile{}
	for i, f := range files {
		path := shortPath(c.Files[i])
		outcome, err := registry.Apply(at.dir, f, keys, now())
		if err != nil {
			return errors.Join(c.say(e, done), fmt.Errorf("%s: %w", path, err))
		}
		done = append(done, appliedFile{path, outcome.Capabilities})
	}
	return c.say(e, done)
}

func (c *registryApplyCmd) say(e *env, done []appliedFile) error {
	if e.JSON {
		return e.json(map[string]any{"applied": done})
	}
	for _, d := range done {
		e.printf("%s\n", d.Path)
		e.printChanges(d.Capabilities)
	}
	return nil
}

type registryProjectCmd struct {
	registryFlags
	Out string `help:"Write it to this file. Default: standard output." type:"path" placeholder:"FILE"`
}

// Help implements kong.HelpProvider.
func (registryProjectCmd) Help() string {
	return `What a console draws its panels from: each panel with its order, endpoint, controls and display, and the status of what backs it. The same registry gives the same bytes. It is JSON with --json or without.

    runledger registry project --out panels.json`
}

// Run prints the projection.
func (c *registryProjectCmd) Run(e *env) error {
	at, err := c.find()
	if err != nil {
		return err
	}
	reg, err := at.load()
	if err != nil {
		return err
	}
	text := registry.Project(reg)
	if c.Out != "" {
		return os.WriteFile(c.Out, text, 0o644)
	}
	_, err = e.stdout.Write(text)
	return err
}
