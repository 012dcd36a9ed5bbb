package main

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/control"
	"github.com/runledger/runledger/internal/zipstore"
	"github.com/runledger/runledger/verify"
)

type exportCmd struct {
	Tenant    string   `help:"The tenant." required:"" placeholder:"NAME"`
	Profile   string   `help:"What to export: log, the tenant's whole log, run, or period. Default: run where one is named, period where a scope or a time is, else log." default:"" enum:"log,run,period," placeholder:"PROFILE"`
	RunID     string   `help:"The run, by its id, its alias or its trace id." name:"run" placeholder:"ID"`
	Scope     string   `help:"Which records of a period are disclosed: system, audit or compliance." default:"" enum:"system,audit,compliance," placeholder:"SCOPE"`
	From      string   `help:"Begin of the period, by the time of recording: 2026-11-01 or 2026-11-01T12:00:00Z." placeholder:"TIME"`
	Until     string   `help:"End of the period: what was recorded then is no longer in it." placeholder:"TIME"`
	Tags      []string `help:"A compliance tag, such as SOC2, that the export's records carry. May be given more than once." name:"tag" sep:"none" placeholder:"NAME"`
	Format    string   `help:"zip, or of a run or period json, its files as one document, for programs; csv, its records as a table; pdf, the report. The ZIP is the form that can be verified." default:"zip" enum:"zip,json,csv,pdf" placeholder:"FORMAT"`
	Out       string   `help:"The file to write; with a slash at the end, a directory." required:"" placeholder:"FILE|DIR/"`
	Disclose  []string `help:"Disclose these sealed fields only: a path such as /prompt, or a pattern. May be given more than once." sep:"none" placeholder:"PATTERN"`
	Withhold  []string `help:"Do not disclose these sealed fields: a path such as /prompt, or a pattern such as *. May be given more than once." sep:"none" placeholder:"PATTERN"`
	SinceSize int64    `help:"Add the proof that the newest log extends its tree of this size." placeholder:"N"`
}

// Help implements kong.HelpProvider.
func (exportCmd) Help() string {
	return `A bundle holds all that is needed to check it offline, and a README.txt that says how. The export is itself recorded in the log, with the digest of what was given out.

    runledger export --tenant acme --out acme.zip
    runledger export --tenant acme --run run-1 --out run-1.zip
    runledger export --tenant acme --out acme/ --withhold /prompt --withhold /response
    runledger export --tenant acme --run run-1 --out run-1.pdf --format pdf
    runledger export --tenant acme --scope audit --from 2026-10-01 --until 2026-11-01 --out october.zip
    runledger export --tenant acme --scope compliance --from 2026-10-01 --until 2026-11-01 --out october.pdf --format pdf

A log of 4 GiB or more, or of more than 16 million records, does not fit a ZIP: export it as a directory.`
}

// Run exports.
func (c *exportCmd) Run(e *env) error {
	out := filepath.Clean(c.Out)
	form, err := c.form()
	if err != nil {
		return err
	}
	// Looked at before the export is made, since making it is recorded.
	if _, err := os.Lstat(out); err == nil {
		return usage("%s is there already", c.Out)
	}
	if _, err := os.Stat(filepath.Dir(out)); err != nil {
		return inputError(err)
	}
	from, until, err := c.period()
	if err != nil {
		return err
	}
	return e.with(func(s *session) error {
		what := "the log"
		switch c.Profile {
		case verify.ProfileRun:
			what = "run " + c.RunID
		case verify.ProfilePeriod:
			what = "what was recorded from " + c.From + " until " + c.Until
		}
		e.notef("exporting %s of %s …\n", what, c.Tenant)
		info, body, err := s.Export(e.ctx, c.Tenant, control.ExportRequest{
			Profile: c.Profile, Run: c.RunID, Form: form, Disclose: c.Disclose, Withhold: c.Withhold, SinceSize: c.SinceSize,
			Scope: c.Scope, From: from, Until: until, Tags: c.Tags,
		})
		if err != nil {
			return err
		}
		defer body.Close()
		bar := e.progress("write")
		stream := &reading{Reader: body, p: bar, total: info.Bytes}
		if form != control.FormDirectory {
			err = writeFile(out, stream, info.Checksum)
		} else {
			err = writeDirectory(out, stream, info.Checksum)
		}
		bar.end()
		if err != nil {
			return fmt.Errorf("%s: %w", c.Out, err)
		}
		if e.JSON {
			return e.json(struct {
				control.ExportInfo
				Out string `json:"out"`
			}{info, c.Out})
		}
		e.printf("export    %s\nlog       %s, %s\n", info.ExportID, info.Log, records(info.Size))
		if info.Run != "" {
			e.printf("run       %s, %s in the bundle\n", info.Run, records(info.Records))
		}
		if c.Profile == verify.ProfilePeriod {
			e.printf("period    %s until %s, %s in the bundle\n", from, until, records(info.Records))
		}
		e.printf("checksum  %s\nwritten   %s, %d bytes\n", info.Checksum, c.Out, info.Bytes)
		return nil
	})
}

// records counts them.
func records(n int64) string {
	if n == 1 {
		return "1 record"
	}
	return fmt.Sprintf("%d records", n)
}

// form puts the default of the profile in, and returns what is to be sent.
func (c *exportCmd) form() (string, error) {
	if c.Profile == "" {
		c.Profile = verify.ProfileLog
		switch {
		case c.RunID != "":
			c.Profile = verify.ProfileRun
		case c.Scope != "" || c.From != "" || c.Until != "":
			c.Profile = verify.ProfilePeriod
		}
	}
	directory := strings.HasSuffix(c.Out, "/")
	switch {
	case c.Profile == verify.ProfileRun && c.RunID == "":
		return "", usage("--profile run needs --run ID")
	case c.Profile != verify.ProfileRun && c.RunID != "":
		return "", usage("--run is for --profile run")
	case c.Profile == verify.ProfilePeriod && (c.Scope == "" || c.From == "" || c.Until == ""):
		return "", usage("--profile period needs --scope, --from and --until")
	case c.Profile != verify.ProfilePeriod && (c.Scope != "" || c.From != "" || c.Until != ""):
		return "", usage("--scope, --from and --until are for --profile period")
	case c.Format != control.FormZIP && c.Profile == verify.ProfileLog:
		return "", usage("--format %s is for a run or a period", c.Format)
	case c.Format != control.FormZIP && directory:
		return "", usage("--format %s writes a file, not a directory", c.Format)
	case directory:
		return control.FormDirectory, nil
	}
	return c.Format, nil
}

// period returns the bounds of the period as records have them, or "".
func (c *exportCmd) period() (from, until string, err error) {
	if c.Profile != verify.ProfilePeriod {
		return "", "", nil
	}
	if from, err = timeFlag("--from", c.From); err != nil {
		return "", "", err
	}
	until, err = timeFlag("--until", c.Until)
	return from, until, err
}

// timeFlag reads a time, or a date, which stands for its first moment in UTC.
func timeFlag(name, value string) (string, error) {
	for _, layout := range []string{time.RFC3339Nano, time.DateOnly} {
		if t, err := time.Parse(layout, value); err == nil && evidence.MicrosOf(t).InRange() {
			return evidence.MicrosOf(t).String(), nil
		}
	}
	return "", usage("%s must be a time such as 2026-11-01 or 2026-11-01T12:00:00Z", name)
}

// writeFile writes beside the final place and moves the file there once it is
// whole and has the digest that the log knows.
func writeFile(name string, r io.Reader, want string) error {
	f, err := os.CreateTemp(filepath.Dir(name), ".export-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }() // of what did not get its name
	sum := sha256.New()
	_, err = io.Copy(io.MultiWriter(f, sum), r)
	if err == nil && "sha256:"+hex.EncodeToString(sum.Sum(nil)) != want {
		err = errors.New("what arrived is not what was sent")
	}
	if err := closeSynced(f, err); err != nil {
		return err
	}
	// A link does not replace a file that was made meanwhile.
	if err := os.Link(f.Name(), name); err != nil {
		if os.IsExist(err) {
			return usage("it is there already")
		}
		return os.Rename(f.Name(), name) // no links here
	}
	return syncDir(filepath.Dir(name))
}

// closeSynced syncs and closes a file that was written with err.
func closeSynced(f *os.File, err error) error {
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// writeDirectory unpacks a tar stream into a new directory.
func writeDirectory(name string, r io.Reader, want string) error {
	dir, err := os.MkdirTemp(filepath.Dir(name), ".export-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }() // of what did not get its name
	manifest := sha256.New()
	for t := tar.NewReader(r); ; {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if !zipstore.ValidName(h.Name) || h.Typeflag != tar.TypeReg {
			return fmt.Errorf("%w: a file %q in the stream", evidence.ErrInvalid, h.Name)
		}
		var src io.Reader = t
		if h.Name == "manifest.json" {
			src = io.TeeReader(t, manifest)
		}
		if err := writeIn(dir, h.Name, src); err != nil {
			return err
		}
	}
	if "sha256:"+hex.EncodeToString(manifest.Sum(nil)) != want {
		return errors.New("what arrived is not what was sent")
	}
	if err := os.Rename(dir, name); err != nil {
		return err
	}
	return syncDir(filepath.Dir(name))
}

func writeIn(dir, name string, r io.Reader) error {
	path := filepath.Join(dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	return closeSynced(f, err)
}
