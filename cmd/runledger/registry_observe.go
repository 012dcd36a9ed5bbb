package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/runledger/runledger/client"
	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/registry"
)

type registryObserveCmd struct {
	registryFlags
	targetFlags
	Scenario []string      `help:"Only this one. May be given several times. Default: all." sep:"none" placeholder:"ID"`
	Out      string        `help:"Where the observation is written. Default: observations in the registry's directory." type:"path" placeholder:"DIR"`
	JUnit    string        `help:"Write the results as JUnit XML, too." name:"junit" type:"path" placeholder:"FILE"`
	Apply    bool          `help:"Change the status of the capabilities by it."`
	Key      []string      `help:"With --apply: the verifier key that the receipt must hold with. May be given several times." sep:"none" placeholder:"VKEY"`
	Parallel int           `help:"How many scenarios run at a time." default:"8" placeholder:"N"`
	MaxWait  time.Duration `help:"Wait no longer than this for any effect. Default: as the scenario says." placeholder:"TIME"`
}

// Help implements kong.HelpProvider.
func (registryObserveCmd) Help() string {
	return `Runs scenarios: each sends causes through the public API, marked as synthetic, and waits until what the product must make of them can be read. What was sent and seen becomes an observation: a file, whose digest is appended to the log that was observed. Exits 1 where a scenario failed.

    runledger registry observe --apply
    runledger registry observe --url https://ledger.example --scenario SDSR-LOG-LLM-001

Without --url it starts a server of its own, in a temporary directory which it removes; in --data, or on --store with its keyset in --data, where these are given, and then all of it stays.

With --url the scenarios run in the tenant ` + evidence.SyntheticTenant + ` of that server. Keys for it are given, or made for a day and revoked at the end: with --admin-key over the network, else by the server that holds --data on this machine.

Only a receipt that holds with a key from elsewhere counts for --apply: from --key, or from a deployment that is at hand. A server's own word does not.`
}

// observed is what a run of the command leaves.
type observed struct {
	Path string `json:"path"`
	*registry.File
	Applied []registry.Change `json:"applied,omitempty"`
}

// Run observes.
func (c *registryObserveCmd) Run(e *env) (err error) {
	if c.Parallel < 1 {
		return usage("--parallel must be 1 or more")
	}
	if c.Apply && len(c.Key) == 0 && !c.tellsKeys() {
		return usage("--apply trusts no key that the server states: give the one of the log of tenant %s with --key", evidence.SyntheticTenant)
	}
	at, reg, err := c.definition(e)
	if err != nil {
		return err
	}
	t, err := c.targetFlags.open(e)
	if err != nil {
		return err
	}
	// What was made is taken back, also when somebody interrupts.
	defer func() {
		if cerr := t.close(e); cerr != nil && err != nil {
			e.notef("%s\n", oneLine(cerr.Error())) // what went wrong first counts
		} else if err == nil {
			err = cerr
		}
	}()
	o, err := registry.Run(e.ctx, registry.Config{
		Registry: reg, BaseURL: t.url, HTTP: t.http, Tenant: evidence.SyntheticTenant, Producer: t.producer, Observer: t.observer,
		Program: version(), Parallel: c.Parallel, MaxWait: c.MaxWait,
	}, c.Scenario...)
	if err != nil {
		return err
	}
	out := &observed{File: &registry.File{Observation: *o}}
	wrong := c.record(e, t, out.File)
	if err := c.write(at, out); err != nil {
		return errors.Join(wrong, err)
	}
	if c.Apply && wrong == nil {
		wrong = c.apply(at, t, out)
	}
	said := c.say(e, out)
	if wrong != nil {
		return wrong
	}
	return said
}

// apply changes capabilities by what was observed.
func (c *registryObserveCmd) apply(at *registryAt, t *target, out *observed) error {
	keys := c.Key
	if len(keys) == 0 {
		keys = t.vkeys
	}
	outcome, err := registry.Apply(at.dir, out.File, keys, now())
	if err != nil {
		return fmt.Errorf("%s is not applied: %w", out.Path, err)
	}
	out.Applied = outcome.Capabilities
	return nil
}

// definition returns the registry, with a directory to write to where it is to be changed.
func (c *registryObserveCmd) definition(e *env) (*registryAt, *registry.Registry, error) {
	find := c.find
	if c.Apply {
		find = func() (*registryAt, error) { return c.writable(e) }
	}
	at, err := find()
	if err != nil {
		return nil, nil, err
	}
	reg, err := at.load()
	if err != nil {
		return nil, nil, err
	}
	for _, id := range c.Scenario {
		if !slices.ContainsFunc(reg.Scenarios, func(s *registry.Scenario) bool { return s.ID == id }) {
			return nil, nil, usage("--scenario %s: %s has none of that id", id, at.name)
		}
	}
	return at, reg, nil
}

// recordTimeout bounds how long the record of an observation and its proof may take.
const recordTimeout = 30 * time.Second

// record appends the observation to the log that was observed. Where that fails the file
// is written without a receipt: it says what was seen, and cannot be applied.
func (c *registryObserveCmd) record(e *env, t *target, f *registry.File) error {
	ctx, cancel := context.WithTimeout(e.ctx, recordTimeout)
	defer cancel()
	api, err := client.New(client.Config{
		BaseURL: t.url, Key: t.producer.Secret, HTTPClient: t.http, Component: "registry", UserAgent: "runledger-registry", MaxRetries: 3,
	})
	if err == nil {
		f.Receipt, err = registry.Record(ctx, api, &f.Observation)
	}
	if err != nil {
		return fmt.Errorf("the observation is not in the log: %w", err)
	}
	return nil
}

// write writes the files.
func (c *registryObserveCmd) write(at *registryAt, out *observed) (err error) {
	dir := c.Out
	if dir == "" {
		dir = filepath.Join(at.dir, "observations") // of the built-in registry: here
	}
	if out.Path, err = registry.WriteFile(dir, out.File); err != nil {
		return err
	}
	out.Path = shortPath(out.Path)
	if c.JUnit == "" {
		return nil
	}
	return os.WriteFile(c.JUnit, registry.JUnit(&out.Observation), 0o644)
}

// say prints what was found.
func (c *registryObserveCmd) say(e *env, out *observed) error {
	if e.JSON {
		if err := e.json(out); err != nil {
			return err
		}
	} else {
		registry.Table(e.stdout, &out.Observation)
		e.printf("\nobservation  %s\n", out.Path)
		if r := out.Receipt; r != nil {
			e.printf("record       %s, leaf %d of %s\n", r.ID, r.LeafIndex, r.Log)
		}
		e.printChanges(out.Applied)
	}
	if !out.Observation.Passed {
		return exit(statusBad)
	}
	return nil
}

// printChanges prints what became of capabilities.
func (e *env) printChanges(changes []registry.Change) {
	for _, c := range changes {
		what := c.From
		if c.To != c.From {
			what += " -> " + c.To
		}
		e.printf("%-17s %s  (%s)\n", c.ID, what, c.Reason)
	}
}
