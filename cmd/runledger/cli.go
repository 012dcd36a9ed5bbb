package main

import (
	"context"
	"errors"
	"io"

	"github.com/alecthomas/kong"
)

// globals are the flags that every command has.
type globals struct {
	Data   string `help:"The data directory. Default: ./runledger-data" default:"./runledger-data" env:"RUNLEDGER_DATA" placeholder:"DIR"`
	Anchor string `help:"Where the newest signed heads are kept, best on another disk: a directory, or s3://BUCKET/PREFIX. Default: the data directory with the suffix .anchor; with --store it must be given." env:"RUNLEDGER_ANCHOR" placeholder:"DIR"`
	Store  string `help:"A PostgreSQL database, as the application's role: a URL or key=value pairs. Default: SQLite in the data directory." env:"RUNLEDGER_STORE" placeholder:"DSN"`
	Owner  string `help:"The same database as the role that owns its schema, where migrate, init and serve --dev need it." name:"store-owner" env:"RUNLEDGER_STORE_OWNER" placeholder:"DSN"`
	Master string `help:"The master keyset, the same for all processes on one database. Default: master.keyset.json in the data directory." name:"master-keyset" env:"RUNLEDGER_MASTER_KEYSET" placeholder:"FILE"`
	JSON   bool   `help:"Print JSON, for machines." name:"json"`
}

// defaultData is the default of --data, which tells whether one was named.
const defaultData = "./runledger-data"

// cli is the command line.
type cli struct {
	globals

	Serve      serveCmd      `cmd:"" help:"Run the server."`
	Demo       demoCmd       `cmd:"" help:"A server with real data, and a tour of it."`
	Init       initCmd       `cmd:"" help:"Make a data directory."`
	Tenants    tenantsCmd    `cmd:"" help:"Create and list tenants."`
	APIKeys    apiKeysCmd    `cmd:"" name:"apikeys" help:"Create, list and revoke credentials."`
	Append     appendCmd     `cmd:"" help:"Append records and print their receipts."`
	Runs       runsCmd       `cmd:"" help:"List runs."`
	Run        runCmd        `cmd:"" help:"Show a run: its record, trace, governance, replay."`
	System     systemCmd     `cmd:"" help:"Show what the infrastructure did."`
	Audit      auditCmd      `cmd:"" help:"Show who did, decided, looked, exported."`
	Checkpoint checkpointCmd `cmd:"" help:"Print the newest signed checkpoint of a tenant's log."`
	Prove      proveCmd      `cmd:"" help:"Prove that a record is in the log."`
	Export     exportCmd     `cmd:"" help:"Write an evidence bundle."`
	Retention  retentionCmd  `cmd:"" help:"How long evidence is kept, and what becomes of it then."`
	Hold       holdCmd       `cmd:"" help:"Legal holds: what must not go."`
	Archive    archiveCmd    `cmd:"" help:"Evidence elsewhere: write, list, check and read it."`
	Erase      eraseCmd      `cmd:"" help:"Erase content for good, prove it, and list what was erased."`
	Migrate    migrateCmd    `cmd:"" help:"Make the schema of a PostgreSQL database, or bring it up to date."`
	Doctor     doctorCmd     `cmd:"" help:"Look for what is wrong with the database itself."`
	Copy       copyCmd       `cmd:"" help:"Move a deployment to another store, SQLite or PostgreSQL."`
	Verify     verifyCmd     `cmd:"" help:"Check a bundle, or a whole data directory."`
	Mirror     mirrorCmd     `cmd:"" help:"Copy a log from its server, and check it as it grows."`
	Producers  producersCmd  `cmd:"" help:"Who writes, what is missing, and who has fallen silent."`
	Witness    witnessCmd    `cmd:"" help:"Cosign the checkpoints of others' logs."`
	Registry   registryCmd   `cmd:"" help:"What the product says that it can do, and whether it does."`
	Keys       keysCmd       `cmd:"" help:"List and rotate signing keys."`
	Clock      clockCmd      `cmd:"" help:"Tell a server that its clock is right."`
	Version    versionCmd    `cmd:"" help:"Print the version."`
}

const description = `Evidence of what agents, policies and systems did, in signed append-only logs that anyone can check.

Exit status: 0 done, 1 the answer is bad, 2 wrong use or input, 3 the environment failed; verify also 4 could not check, 10 verified with limits.`

// helpShown ends a parse that printed help.
type helpShown struct{}

// run is the program. It returns the exit status.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) (status int) {
	defer func() {
		if p := recover(); p != nil {
			if _, ok := p.(helpShown); !ok {
				panic(p)
			}
		}
	}()
	var c cli
	e := &env{ctx: ctx, stdin: stdin, stdout: stdout, stderr: stderr, globals: &c.globals}
	config, err := configFromEnv(args)
	if err != nil {
		return e.fail(err)
	}
	parser, err := kong.New(&c, append(config,
		kong.Name("runledger"), kong.Description(description), kong.Writers(stdout, stderr),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoExpandSubcommands: true, WrapUpperBound: 80}),
		kong.Exit(func(int) { panic(helpShown{}) }),
	)...)
	if err != nil {
		return e.fail(err)
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	kctx, err := parser.Parse(args)
	if err != nil {
		return e.fail(&usageError{err.Error() + hint(err)})
	}
	return e.fail(kctx.Run(e))
}

// hint says where help is.
func hint(err error) string {
	var p *kong.ParseError
	if errors.As(err, &p) && p.Context != nil {
		words := ""
		for n := p.Context.Selected(); n != nil && n.Type == kong.CommandNode; n = n.Parent {
			words = n.Name + " " + words
		}
		return " (see runledger " + words + "--help)"
	}
	return " (see runledger --help)"
}
