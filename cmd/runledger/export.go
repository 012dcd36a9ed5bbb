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

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/control"
	"github.com/runledger/runledger/internal/zipstore"
)

type exportCmd struct {
	Tenant    string   `help:"The tenant." required:"" placeholder:"NAME"`
	Profile   string   `help:"What to export: log, the tenant's whole log." default:"log" enum:"log" placeholder:"PROFILE"`
	Out       string   `help:"The ZIP to write; with a slash at the end, a directory." required:"" placeholder:"FILE.zip|DIR/"`
	Withhold  []string `help:"Do not disclose these sealed fields: a path such as /prompt, or a pattern such as *. May be given more than once." sep:"none" placeholder:"PATTERN"`
	SinceSize int64    `help:"Add the proof that the newest log extends its tree of this size." placeholder:"N"`
}

// Help implements kong.HelpProvider.
func (exportCmd) Help() string {
	return `A bundle holds all that is needed to check it offline, and a README.txt that says how. The export is itself recorded in the log, with the digest of what was given out.

    runledger export --tenant acme --out acme.zip
    runledger export --tenant acme --out acme/ --withhold /prompt --withhold /response

A log of 4 GiB or more, or of more than 16 million records, does not fit a ZIP: export it as a directory.`
}

// Run exports.
func (c *exportCmd) Run(e *env) error {
	form := control.FormZIP
	out := filepath.Clean(c.Out)
	if strings.HasSuffix(c.Out, "/") {
		form = control.FormDirectory
	}
	// Looked at before the export is made, since making it is recorded.
	if _, err := os.Lstat(out); err == nil {
		return usage("%s is there already", c.Out)
	}
	if _, err := os.Stat(filepath.Dir(out)); err != nil {
		return inputError(err)
	}
	return e.with(func(s *session) error {
		e.notef("exporting the log of %s …\n", c.Tenant)
		info, body, err := s.Export(e.ctx, c.Tenant, control.ExportRequest{
			Profile: c.Profile, Form: form, Withhold: c.Withhold, SinceSize: c.SinceSize,
		})
		if err != nil {
			return err
		}
		defer body.Close()
		bar := e.progress("write")
		stream := &reading{Reader: body, p: bar, total: info.Bytes}
		if form == control.FormZIP {
			err = writeZIP(out, stream, info.Checksum)
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
		e.printf("export    %s\nlog       %s, %d records\nchecksum  %s\nwritten   %s, %d bytes\n",
			info.ExportID, info.Log, info.Size, info.Checksum, c.Out, info.Bytes)
		return nil
	})
}

// writeZIP writes beside the final place and moves the file there once it is
// whole and has the digest that the log knows.
func writeZIP(name string, r io.Reader, want string) error {
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
