package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/c2sp"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/server"
	"github.com/runledger/runledger/verify"
)

type verifyCmd struct {
	Bundle    string   `arg:"" optional:"" help:"A bundle: a ZIP, or a directory; or an erasure certificate. Without it the data directory is checked."`
	Key       []string `help:"The verifier key of a log, from its operator and not from the bundle. May be given more than once." sep:"none" placeholder:"VKEY"`
	Policy    string   `help:"A C2SP tlog-policy file: witnesses and their quorum." placeholder:"FILE"`
	Since     string   `help:"A checkpoint kept from before, which the log must extend." placeholder:"FILE"`
	TimeRoots string   `help:"Root certificates (PEM) of the time-stamping authorities that are trusted. Without them RFC 3161 time stamps are not checked." placeholder:"FILE"`
	Tenant    string   `help:"Of a data directory: this tenant only." placeholder:"NAME"`
}

// Help implements kong.HelpProvider.
func (verifyCmd) Help() string {
	return `Of a bundle, everything is checked offline: files, signatures, every leaf, the tree, runs and periods without gaps, times, disclosed fields against their commitments, the record of the export.

    runledger verify acme.zip --key "$VKEY"
    runledger verify acme.zip --key "$VKEY" --since acme.checkpoint
    runledger verify acme.zip --key "$VKEY" --policy witnesses --time-roots roots.pem

Of an erasure certificate, what the log signed of the erasure, and that the certificate says nothing else.

    runledger verify erasure-0123456789ab.json --key "$VKEY"

Of a data directory, also every table and column, whether or not a server holds it. It is opened for reading only.

    runledger verify --data runledger-data

Verdicts: VERIFIED 0, FAILED 1, COULD-NOT-CHECK 4, VERIFIED-WITH-LIMITS 10.`
}

// maxPolicyFile bounds what is read of --policy and --time-roots.
const maxPolicyFile = 1 << 20

// Run verifies.
func (c *verifyCmd) Run(e *env) error {
	if c.Bundle == "" {
		if len(c.Key) > 0 || c.Policy != "" || c.Since != "" || c.TimeRoots != "" {
			return usage("--key, --policy, --since and --time-roots are for a bundle: name it")
		}
		return c.live(e)
	}
	if c.Tenant != "" {
		return usage("--tenant is for a data directory")
	}
	opts := verify.Options{Keys: c.Key}
	var err error
	if opts.Policy, err = readSmall(c.Policy, maxPolicyFile); err != nil {
		return err
	}
	if opts.Since, err = readSmall(c.Since, c2sp.MaxNoteSize); err != nil {
		return err
	}
	if opts.TimeRoots, err = readSmall(c.TimeRoots, maxPolicyFile); err != nil {
		return err
	}
	if data, err := c.certificate(); err != nil || data != nil {
		if err != nil {
			return err
		}
		return c.runCertificate(e, data, opts)
	}
	if form := otherForm(c.Bundle); form != "" {
		return c.runOther(e, form)
	}
	bar := e.progress("verify")
	opts.Progress = func(p verify.Progress) {
		bar.what = p.Stage
		bar.set(p.Done, p.Total)
	}
	rep, err := c.bundle(e, opts)
	bar.end()
	if err != nil {
		return err
	}
	return c.answer(e, rep)
}

// answer prints what was found, and makes the verdict the exit status.
func (c *verifyCmd) answer(e *env, rep *verify.Report) error {
	if e.JSON {
		if err := e.json(rep); err != nil {
			return err
		}
	} else {
		e.printReport(c.Bundle, rep)
	}
	return result(rep.ExitStatus())
}

// result makes an exit status an error of run, 0 none.
func result(status int) error {
	if status == statusDone {
		return nil
	}
	return exit(status)
}

func (c *verifyCmd) bundle(e *env, opts verify.Options) (*verify.Report, error) {
	f, err := os.Open(c.Bundle)
	if err != nil {
		return nil, inputError(err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !st.IsDir() {
		return verify.ZIP(e.ctx, f, st.Size(), opts)
	}
	if _, err := os.Stat(filepath.Join(c.Bundle, "runledger.db")); err == nil {
		return nil, usage("%s is a data directory: verify --data %s", c.Bundle, c.Bundle)
	}
	return verify.Dir(e.ctx, os.DirFS(c.Bundle), opts)
}

// otherForm names the form of an export that is no bundle, or returns "".
func otherForm(name string) string {
	f, err := os.Open(name)
	if err != nil {
		return ""
	}
	defer f.Close()
	begin := make([]byte, 32)
	n, _ := io.ReadFull(f, begin)
	for form, with := range map[string]string{"PDF": "%PDF-", "JSON": `{"format":"json"`, "CSV": "record,log,leaf_index,"} {
		if strings.HasPrefix(string(begin[:n]), with) {
			return form
		}
	}
	return ""
}

// runOther answers for a file that is an export, or a certificate, for people.
func (c *verifyCmd) runOther(e *env, form string) error {
	what := fmt.Sprintf("it is the %s form of an export, of which only the ZIP form can be verified", form)
	if form == "PDF" {
		what = "it is a PDF: of an export only the ZIP form can be verified, of an erasure's certificate the JSON form"
	}
	rep := &verify.Report{Verdict: verify.CouldNotCheck, Findings: []verify.Finding{{Code: verify.UFormat, Message: what}}}
	return c.answer(e, rep)
}

// readSmall reads a file that the user names; without a name it is nil.
func readSmall(name string, limit int64) ([]byte, error) {
	if name == "" {
		return nil, nil
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, inputError(err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = usage("%s has over %d bytes", name, limit)
	}
	return b, err
}

// liveAnswer is the answer about a data directory.
type liveAnswer struct {
	Verdict verify.Verdict `json:"verdict"`
	*ledger.LiveReport
}

// live checks the data directory itself.
func (c *verifyCmd) live(e *env) error {
	if c.Tenant != "" && !evidence.ValidTenant(c.Tenant) {
		return usage("tenant %q: must be 1 to 63 characters of [a-z0-9-]", c.Tenant)
	}
	bar := e.progress("verify")
	rep, err := server.VerifyLive(e.ctx, server.LiveConfig{
		Data: e.Data, Anchor: e.Anchor, Store: e.Store, Master: e.Master, Tenant: c.Tenant, Progress: bar.set,
	})
	bar.end()
	// A store that is too broken to be read on is an answer, not a failure.
	if err != nil && (rep == nil || !errors.Is(err, evidence.ErrTampered)) {
		return err
	}
	out := liveAnswer{verdictOf(rep, err), rep}
	if err != nil {
		out.Findings = append(out.Findings, ledger.Finding{Code: "E_STORE", Table: "store", Message: err.Error()})
	}
	if e.JSON {
		if err := e.json(out); err != nil {
			return err
		}
	} else {
		e.printLive(out)
	}
	return result((&verify.Report{Verdict: out.Verdict}).ExitStatus())
}

func verdictOf(rep *ledger.LiveReport, err error) verify.Verdict {
	switch {
	case err != nil || !rep.OK():
		return verify.Failed
	case len(rep.Findings) > 0:
		return verify.VerifiedWithLimits
	default:
		return verify.Verified
	}
}

func (e *env) printLive(a liveAnswer) {
	e.sayf("%s  %s\n\n", a.Verdict, e.place())
	for _, l := range a.Logs {
		e.sayf("  %-12s %s, %d records\n", l.Tenant, l.Origin, l.Size)
	}
	e.sayf("  %-12s %d, with every column, tile, head, id and index entry\n", "records", a.Leaves)
	if a.Erased > 0 {
		e.sayf("  %-12s %d\n", "erased", a.Erased)
	}
	if a.Expired > 0 {
		e.sayf("  %-12s %d\n", "expired", a.Expired)
	}
	for i, f := range a.Findings {
		if i == 0 {
			e.sayf("\nFindings\n")
		}
		e.printf("%s", wrap("  ", f.String()))
		if f.Expected != "" || f.Found != "" {
			e.printf("%s", wrap("      ", fmt.Sprintf("expected %s, found %s", f.Expected, f.Found)))
		}
	}
	if a.Truncated {
		e.sayf("  and more\n")
	}
}
