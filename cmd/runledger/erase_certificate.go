package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/lifecycle"
)

type eraseCertificateCmd struct {
	tenantFlag
	ID  string `arg:"" help:"The id of the erasure, from erase list."`
	Out string `help:"Where the certificate goes. Default: ID.json in this directory." placeholder:"FILE"`
	PDF string `help:"Write the certificate as a PDF for people, too." name:"pdf" placeholder:"FILE"`
}

// Help implements kong.HelpProvider.
func (eraseCertificateCmd) Help() string {
	return `The certificate as it was made when the erasure was executed; where that failed it is made now, from the log. That you looked is recorded.

    runledger erase certificate erasure-0123456789ab --tenant acme
    runledger verify erasure-0123456789ab.json --key "$VKEY"`
}

// Run writes a certificate.
func (c *eraseCertificateCmd) Run(e *env) error {
	files := certificateFiles{c.Out, c.PDF}
	if err := files.check(); err != nil {
		return err
	}
	return c.with(e, func(s *session, tenant string) error { return files.again(e, s, tenant, c.ID) })
}

// certificateFiles are where a certificate goes.
type certificateFiles struct{ out, pdf string }

// check sees to it that files can be written.
func (c *certificateFiles) check() error {
	for _, name := range []string{c.out, c.pdf} {
		if name == "" {
			continue
		}
		if _, err := os.Lstat(name); err == nil {
			return usage("%s is there already", name)
		}
		if _, err := os.Stat(filepath.Dir(name)); err != nil {
			return inputError(err)
		}
	}
	return nil
}

// again writes the certificate of an erasure of before.
func (c *certificateFiles) again(e *env, s *session, tenant, id string) error {
	if c.out == "" {
		c.out = id + ".json"
		if err := c.check(); err != nil { // before: that somebody looked is recorded
			return err
		}
	}
	text, err := s.Certificate(e.ctx, tenant, id)
	if err != nil {
		return err
	}
	return c.written(e, &lifecycle.ErasureAnswer{TenantID: tenant, ID: id, Certificate: text}, false, false)
}

// erasureAnswer is the answer for machines.
type erasureAnswer struct {
	lifecycle.ErasureAnswer
	Certificate string `json:"certificate_file"`
	PDF         string `json:"pdf_file,omitempty"`
}

// written writes the certificate and says what was done. That the erasure is done must be
// said in any case.
func (c *certificateFiles) written(e *env, a *lifecycle.ErasureAnswer, done, copies bool) error {
	out := c.out
	if out == "" {
		out = a.ID + ".json"
	}
	if done && len(bytes.TrimSpace(a.Certificate)) == 0 {
		return fmt.Errorf("the erasure %s is done, but its certificate could not be made yet (the server's log says why); runledger erase certificate %s makes it: %w", a.ID, a.ID, evidence.ErrUnavailable)
	}
	// The same file each time, however the certificate came here.
	err := putFile(out, append(bytes.TrimSpace(a.Certificate), '\n'))
	if err == nil && c.pdf != "" {
		var pdf []byte
		if pdf, err = lifecycle.CertificatePDF(a.Certificate); err == nil {
			err = putFile(c.pdf, pdf)
		}
	}
	if err != nil {
		what := "the certificate is not written (runledger erase certificate " + a.ID + " writes it again)"
		if done {
			what = fmt.Sprintf("the erasure %s is done, but %s", a.ID, what)
		}
		return fmt.Errorf("%s: %w", what, err)
	}
	if e.JSON {
		a.Certificate = nil
		return e.json(erasureAnswer{*a, out, c.pdf})
	}
	s := e.screen(false)
	if done {
		s.erasure(a, copies)
	}
	p := pairs{s, 11}
	p.put("certificate", out)
	p.put("", c.pdf)
	e.notef("It is proved by: runledger verify %s --key VKEY (runledger keys list --tenant %s --vkey)\n", out, a.TenantID)
	return nil
}

// putFile writes a file that is not there yet.
func putFile(name string, b []byte) error {
	if len(bytes.TrimSpace(b)) == 0 {
		return errors.New("it is empty")
	}
	return writeFile(name, bytes.NewReader(b), fmt.Sprintf("sha256:%x", sha256.Sum256(b)))
}
