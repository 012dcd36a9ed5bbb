package main

import (
	"bytes"
	"crypto/x509"
	"errors"
	"os"
	"time"

	"github.com/runledger/runledger/internal/mirror"
)

type mirrorCmd struct {
	URL        string        `help:"Address of the server; or that of a directory as a mirror keeps it, ending in the log's 12 hex digits." name:"url" required:"" env:"RUNLEDGER_URL" placeholder:"URL"`
	Key        []string      `help:"Verifier key of the log, as you got it from its operator. Further ones are of logs that follow it." required:"" sep:"none" placeholder:"VKEY"`
	Dir        string        `help:"Where the copy is kept." required:"" type:"path" placeholder:"DIR"`
	APIKeyFile string        `help:"A file with the credential. Default: the environment variable RUNLEDGER_API_KEY." name:"api-key-file" type:"path" placeholder:"FILE"`
	Tenant     string        `help:"The tenant, with a credential of the platform." placeholder:"NAME"`
	Policy     string        `help:"A tlog-policy file: the witnesses that must have cosigned." type:"path" placeholder:"FILE"`
	CA         string        `help:"Certificates that the server's is checked with, PEM, in place of the system's." name:"ca" type:"path" placeholder:"FILE"`
	Follow     bool          `help:"Go on until told to stop."`
	Interval   time.Duration `help:"With --follow: pause between two looks." default:"5s" placeholder:"TIME"`
	Timeout    time.Duration `help:"How long one request may take." default:"60s" placeholder:"TIME"`
}

// Help implements kong.HelpProvider.
func (mirrorCmd) Help() string {
	return `Keeps every leaf of a log and the signatures under it, on a machine of your own. Each checkpoint must be signed by the key, extend the one before and, with --policy, have the quorum of witnesses; each leaf must be one that an honest log can have.

    runledger mirror --url https://ledger.example --key "$VKEY" --dir acme-mirror
    runledger mirror --url https://ledger.example --key "$VKEY" --dir acme-mirror --follow

The credential needs logs.read and audit.read and a rule that shows synthetic records: that of an auditor has them. It can be narrowed: runledger apikeys create --role auditor --scope logs.read --scope audit.read

A log that was cut, put back from a backup or shown differently to others ends it with status 1 and E_FORK; both checkpoints are kept in DIR/forks. A log that is closed is followed to its successor where that has a --key, or where the witnesses of --policy stand for its end.`
}

// Run copies.
func (c *mirrorCmd) Run(e *env) (err error) {
	cfg := mirror.Config{
		URL: c.URL, Keys: c.Key, Dir: c.Dir, APIKey: os.Getenv("RUNLEDGER_API_KEY"), Tenant: c.Tenant,
		Timeout: c.Timeout, Report: c.reporter(e),
	}
	if c.Interval <= 0 || c.Timeout <= 0 {
		return usage("--interval and --timeout must be more than 0")
	}
	if err := c.files(&cfg); err != nil {
		return err
	}
	m, err := mirror.Open(cfg)
	if err != nil {
		return inputError(err)
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	if c.Follow {
		err = m.Follow(e.ctx, c.Interval)
	} else {
		err = m.Sync(e.ctx)
	}
	if f := (*mirror.Failure)(nil); errors.As(err, &f) && e.JSON {
		return errors.Join(e.json(f), exit(statusBad))
	}
	return err
}

// files reads what flags name.
func (c *mirrorCmd) files(cfg *mirror.Config) error {
	if c.APIKeyFile != "" {
		b, err := os.ReadFile(c.APIKeyFile)
		if err != nil {
			return inputError(err)
		}
		cfg.APIKey = string(bytes.TrimSpace(b))
	}
	if c.Policy != "" {
		b, err := os.ReadFile(c.Policy)
		if err != nil {
			return inputError(err)
		}
		cfg.Policy = b
	}
	if c.CA != "" {
		b, err := os.ReadFile(c.CA)
		if err != nil {
			return inputError(err)
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(b) {
			return usage("%s: holds no certificate", c.CA)
		}
	}
	return nil
}

// progressEvery is the least time between two notes of progress.
const progressEvery = time.Second

// reporter says what was kept, a line each, and what is waited for.
func (c *mirrorCmd) reporter(e *env) func(mirror.Progress) {
	var said time.Time
	return func(p mirror.Progress) {
		switch {
		case e.JSON && (p.Kept || p.Trouble != ""):
			_ = e.json(p) // standard output is gone: the copy goes on
		case p.Trouble != "":
			e.notef("waiting: %s\n", oneLine(p.Trouble))
		case p.Kept:
			e.printf("%s: %d leaves\n", p.Log, p.Size)
		case p.Size < p.Of && time.Since(said) >= progressEvery: // the last is said when it is kept
			said = time.Now()
			e.notef("%s: %d of %d leaves\n", p.Log, p.Size, p.Of)
		}
	}
}
