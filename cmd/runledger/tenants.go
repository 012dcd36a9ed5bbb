package main

import (
	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/control"
	"github.com/runledger/runledger/internal/ledger"
)

type tenantsCmd struct {
	Create tenantsCreateCmd `cmd:"" help:"Make a tenant and open its log."`
	List   tenantsListCmd   `cmd:"" help:"List the tenants."`
}

type tenantsCreateCmd struct {
	Name string `arg:"" help:"Its name, 1 to 63 of [a-z0-9-]. It is never used again."`
}

// Help implements kong.HelpProvider.
func (tenantsCreateCmd) Help() string {
	return `Prints the origin of the tenant's log and its verifier key. Give the key to whoever shall check the log, by another way than the evidence.

    runledger tenants create acme --data runledger-data`
}

// Run makes a tenant.
func (c *tenantsCreateCmd) Run(e *env) error {
	if !evidence.ValidTenant(c.Name) {
		return usage("tenant %q: must be 1 to 63 characters of [a-z0-9-]", c.Name)
	}
	return e.with(func(s *session) error {
		info, err := s.CreateTenant(e.ctx, c.Name)
		if err != nil {
			return err
		}
		if e.JSON {
			return e.json(info)
		}
		e.printLog(info)
		return nil
	})
}

type tenantsListCmd struct{}

// Help implements kong.HelpProvider.
func (tenantsListCmd) Help() string {
	return `The newest log of each tenant, with its verifier key; "system" holds the records of the system itself.

    runledger tenants list --json`
}

// Run lists the tenants.
func (c *tenantsListCmd) Run(e *env) error {
	return e.with(func(s *session) error {
		list, err := s.Tenants(e.ctx)
		if err != nil {
			return err
		}
		if e.JSON {
			return e.json(list)
		}
		for _, info := range list.Tenants {
			e.printLog(info)
		}
		return nil
	})
}

func (e *env) printLog(info ledger.LogInfo) {
	e.printf("%s\n  log  %s\n  key  %s\n", info.Tenant, info.Origin, info.VKey)
}

type keysCmd struct {
	List   keysListCmd   `cmd:"" help:"List the logs with the keys that verify them."`
	Rotate keysRotateCmd `cmd:"" help:"Close a tenant's log and open its successor with a new key."`
}

type keysListCmd struct {
	Tenant string `help:"Of this tenant only." placeholder:"NAME"`
	VKey   bool   `help:"Print the verifier keys alone, one a line." name:"vkey"`
}

// Help implements kong.HelpProvider.
func (keysListCmd) Help() string {
	return `All logs of all tenants, or of one; "current" is the one that takes records.

    runledger keys list --tenant acme
    VKEY=$(runledger keys list --tenant acme --vkey)`
}

// Run lists keys.
func (c *keysListCmd) Run(e *env) error {
	return e.with(func(s *session) error {
		list, err := s.Keys(e.ctx, c.Tenant)
		if err != nil {
			return err
		}
		if e.JSON {
			return e.json(list)
		}
		for _, k := range list.Keys {
			if c.VKey {
				e.printf("%s\n", k.VKey)
				continue
			}
			e.printKey(k)
		}
		return nil
	})
}

func (e *env) printKey(k control.Key) {
	state := "closed"
	if k.Current {
		state = "current"
	}
	e.printf("%s, log %d, %s\n  log  %s\n  key  %s\n", k.Tenant, k.No, state, k.Origin, k.VKey)
}

type keysRotateCmd struct {
	Tenant string `help:"The tenant." required:"" placeholder:"NAME"`
}

// Help implements kong.HelpProvider.
func (keysRotateCmd) Help() string {
	return `A key signs one log only. So a new key means a new log: the old one ends with LOG_CLOSED, which names the new key, and the new one begins with LOG_OPENED, which names the old log with its size and root. Auditors must be given the new key.

    runledger keys rotate --tenant acme`
}

// Run rotates a key.
func (c *keysRotateCmd) Run(e *env) error {
	return e.with(func(s *session) error {
		k, err := s.Rotate(e.ctx, c.Tenant)
		if err != nil {
			return err
		}
		if e.JSON {
			return e.json(k)
		}
		e.printKey(k)
		return nil
	})
}
