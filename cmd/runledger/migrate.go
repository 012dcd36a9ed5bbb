package main

import "github.com/runledger/runledger/internal/server"

type migrateCmd struct {
	Distributed bool `help:"Distribute the tables over the workers of a Citus cluster, by tenant."`
}

// Help implements kong.HelpProvider.
func (migrateCmd) Help() string {
	return `Makes the schema of a PostgreSQL database, or brings it up to date, as the role that owns it; gives the application's role, which is the user of --store, its rights and no more; and makes the partitions of the months to come. Run it before a newer version is started. What has been done already is left as it is, so it may be run at any time and by several at once.

    runledger migrate --store postgres://runledger_app@db/runledger --store-owner postgres://runledger_owner@db/runledger

Of an SQLite store it does what each start does.`
}

// Run migrates.
func (c *migrateCmd) Run(e *env) error {
	switch {
	case e.Store == "" && c.Distributed:
		return usage("--distributed is for a PostgreSQL store: give --store")
	case e.Store != "" && e.Owner == "":
		return usage("the schema is made as its owner: give --store-owner")
	}
	ran, err := server.MigrateStore(e.ctx, e.config(), c.Distributed)
	if err != nil {
		return err
	}
	if e.JSON {
		return e.json(map[string]any{"store": e.place(), "migrations": ran, "distributed": c.Distributed})
	}
	for _, m := range ran {
		e.printf("migrated to version %d (%s)\n", m.Version, m.Name)
	}
	if len(ran) == 0 {
		e.printf("%s is up to date\n", e.place())
	}
	return nil
}
