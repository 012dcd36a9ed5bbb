package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/anchor"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/move"
	"github.com/runledger/runledger/internal/seal"
	"github.com/runledger/runledger/internal/server"
	"github.com/runledger/runledger/internal/store"
)

type copyCmd struct {
	From     string `required:"" help:"What is copied: a data directory, or the DSN of a PostgreSQL database as the application's role." placeholder:"DIR|DSN"`
	To       string `required:"" help:"Where it is copied to: a data directory that has nothing yet, or the DSN of a database whose schema is empty." placeholder:"DIR|DSN"`
	ToData   string `help:"The data directory of the first process that will use the DSN of --to. The master keyset is put there." placeholder:"DIR"`
	ToAnchor string `help:"Another anchor for the copy, which gets the notes of the first. Default: both have the same anchor, which tells them apart should both ever run." placeholder:"DIR"`
	Rehearse bool   `help:"Copy and verify, and leave the source in service. The copy can be read, and no server opens it."`
}

// Help implements kong.HelpProvider.
func (copyCmd) Help() string {
	return `Moves a deployment to another store, byte for byte: leaves, tree, signatures, sealed content, what was erased, credentials, settings. The source is verified first, both are compared and the copy is verified at the end, and then the copy takes the place of the source, which no server opens any more. Stop the servers of the source before.

    runledger copy --from runledger-data --to postgres://runledger_app@db/runledger --to-data node-1
    runledger copy --from postgres://runledger_app@db/runledger --anchor /mnt/anchor --data node-1 --to runledger-data

A copy that was interrupted goes on where it ended: give the same command again. While nobody has opened the copy, the way back is the same command with --from and --to exchanged.

The keyset is that of --master-keyset, or master.keyset.json in the source's data directory (--data, with a DSN). The anchor of a database is given by --anchor. The schema of the destination is made where --store-owner names its owner.`
}

const masterFile = "master.keyset.json"

// copyPlace is one side of a copy.
type copyPlace struct {
	spec server.StoreSpec
	name string
}

// placeOf reads how a side is named. A directory is named by its whole path, so that
// a copy is known again wherever the command is given.
func placeOf(text string) (copyPlace, error) {
	p := copyPlace{spec: server.ParseStore(text)}
	if p.spec.Store != "" {
		p.name = server.DescribeStore(p.spec.Store)
		p.spec.Store = namedDSN(p.spec.Store)
		return p, nil
	}
	dir, err := filepath.Abs(p.spec.Data)
	p.spec.Data, p.name = dir, dir
	return p, err
}

// copyProgram is the name of this program to a database, by which its connections
// are told from those of servers.
const copyProgram = "runledger copy"

// namedDSN names this program in a DSN.
func namedDSN(dsn string) string {
	u, err := url.Parse(dsn)
	if err != nil || !strings.HasPrefix(u.Scheme, "postgres") {
		return dsn + " application_name='" + copyProgram + "'"
	}
	q := u.Query()
	q.Set("application_name", copyProgram)
	u.RawQuery = q.Encode()
	return u.String()
}

// Run copies.
func (c *copyCmd) Run(e *env) (err error) {
	from, err := placeOf(c.From)
	if err != nil {
		return err
	}
	to, err := placeOf(c.To)
	if err != nil {
		return err
	}
	if err := c.check(e, &from, &to); err != nil {
		return err
	}
	to.spec.Owner, to.spec.Migrate = e.Owner, e.Owner != "" && to.spec.Store != ""
	to.spec.Create = true
	from.spec.Pool.StatementTimeout, to.spec.Pool.StatementTimeout = -1, -1 // some read all there is
	cfg := move.Config{FromName: from.name, ToName: to.name, Rehearse: c.Rehearse}
	anchorName, err := c.anchors(e, &from, &cfg)
	if err != nil {
		return err
	}
	closeSource, err := openSide(e, &from, &cfg.From)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeSource()) }()
	keyset := c.keyset(e, &from)
	if cfg.Master, err = seal.OpenMaster(keyset, false); err != nil {
		return inputError(err)
	}
	closeCopy, err := openSide(e, &to, &cfg.To)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeCopy()) }()
	if err := c.putKeyset(&to, keyset); err != nil {
		return err
	}
	bar := e.progress("copy")
	cfg.Progress = func(stage string, done, total int64) {
		bar.what = stage
		bar.set(done, total)
	}
	report, err := move.Copy(e.ctx, cfg)
	bar.end()
	if err != nil {
		e.printUnsound(err)
		return err
	}
	return c.answer(e, &from, &to, report, anchorName, keyset)
}

func (c *copyCmd) check(e *env, from, to *copyPlace) error {
	switch {
	case from.name == to.name:
		return usage("--from and --to are the same: %s", from.name)
	case from.spec.Store != "" && e.Anchor == "":
		return usage("the anchor of a database is not known by itself: give --anchor")
	case c.ToData != "" && to.spec.Store == "":
		return usage("--to-data is for a database: %s is the data directory itself", c.To)
	}
	return nil
}

// openSide opens a store for writing, which holds a data directory.
func openSide(e *env, p *copyPlace, to *store.Store) (func() error, error) {
	db, closeIt, err := server.OpenStore(e.ctx, p.spec)
	if errors.Is(err, store.ErrLocked) {
		return nil, fmt.Errorf("%s is in use: stop its server first: %w", p.name, err)
	}
	*to = db
	return closeIt, err
}

// keyset is the file of the master keyset.
func (c *copyCmd) keyset(e *env, from *copyPlace) string {
	switch {
	case e.Master != "":
		return e.Master
	case from.spec.Store != "":
		return filepath.Join(e.Data, masterFile)
	default:
		return filepath.Join(from.spec.Data, masterFile)
	}
}

// anchors opens the anchors of both sides, and returns how the copy's is named.
func (c *copyCmd) anchors(e *env, from *copyPlace, cfg *move.Config) (name string, err error) {
	name = e.Anchor
	if name == "" {
		name = from.spec.Data + ".anchor"
	}
	if cfg.Anchor, err = openAnchor(name, true); err != nil || c.ToAnchor == "" {
		return name, err
	}
	cfg.ToAnchor, err = openAnchor(c.ToAnchor, false)
	return c.ToAnchor, err
}

// openAnchor opens an anchor. One that has to be there is not made.
func openAnchor(name string, there bool) (ledger.Anchor, error) {
	if _, err := os.Stat(name); there && !strings.HasPrefix(name, "s3://") && errors.Is(err, fs.ErrNotExist) {
		return nil, usage("there is no anchor in %s: give the one of the source by --anchor", name)
	}
	return anchor.Open(name)
}

// putKeyset puts the master keyset where the server of the copy looks for it.
func (c *copyCmd) putKeyset(to *copyPlace, keyset string) error {
	dir := to.spec.Data
	if to.spec.Store != "" {
		dir = c.ToData
	}
	if dir == "" {
		return nil
	}
	data, err := os.ReadFile(keyset)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	name := filepath.Join(dir, masterFile)
	have, err := os.ReadFile(name)
	switch {
	case err == nil && bytes.Equal(have, data):
		return nil
	case err == nil:
		return fmt.Errorf("%s is another keyset than %s: %w", name, keyset, evidence.ErrConflict)
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	return writeAside(name, data)
}

// writeAside writes a file that is whole or not there, and stays where it is.
func writeAside(name string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(name), ".master-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	dir, err := os.Open(filepath.Dir(name))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// copyAnswer is the answer about a copy.
type copyAnswer struct {
	From   string `json:"from"`
	To     string `json:"to"`
	Anchor string `json:"anchor"`
	*move.Report
	Erased int64 `json:"erased_fields"`
}

func (c *copyCmd) answer(e *env, from, to *copyPlace, r *move.Report, anchorName, keyset string) error {
	if e.JSON {
		return e.json(copyAnswer{from.name, to.name, anchorName, r, r.Destination.Erased})
	}
	how := "moved"
	if r.Rehearsal {
		how = "rehearsed"
	}
	e.printf("%s  %s\n    to  %s\n\n", how, from.name, to.name)
	for _, t := range r.Tables {
		e.printf("  %-16s %d\n", t.Name, t.Rows)
	}
	e.printf("\nThe same on both sides. The copy was verified: every leaf, column, tile, head, opening and index entry.\n")
	if r.Rehearsal {
		e.printf("%s stays in service. No server opens the copy.\n", from.name)
		return nil
	}
	e.printf("No server opens %s any more. Go on with\n\n    %s\n", from.name, c.serveLine(to, anchorName, keyset))
	return nil
}

// serveLine is how the copy is served.
func (c *copyCmd) serveLine(to *copyPlace, anchorName, keyset string) string {
	if to.spec.Store == "" {
		line := "runledger serve --data " + to.spec.Data
		if anchorName != to.spec.Data+".anchor" {
			line += " --anchor " + anchorName
		}
		return line
	}
	line := "runledger serve --store DSN --anchor " + anchorName + " --data "
	if c.ToData != "" {
		return line + c.ToData
	}
	return line + "DIR --master-keyset " + keyset
}

// maxUnsound bounds the findings that are shown of what does not verify.
const maxUnsound = 20

// printUnsound shows why a side does not verify.
func (e *env) printUnsound(err error) {
	var unsound *move.UnsoundError
	if !errors.As(err, &unsound) {
		return
	}
	for i, f := range unsound.Report.Findings {
		if i == maxUnsound {
			e.notef("  and %d more\n", len(unsound.Report.Findings)-i)
			return
		}
		e.notef("%s", wrap("  ", f.String()))
	}
}
