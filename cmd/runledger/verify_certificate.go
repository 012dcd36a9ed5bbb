package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/runledger/runledger/verify"
)

// certificate reads a file that is an erasure certificate; of any other it returns nil.
func (c *verifyCmd) certificate() ([]byte, error) {
	f, err := os.Open(c.Bundle)
	if err != nil {
		return nil, inputError(err)
	}
	defer f.Close()
	begin := make([]byte, 1)
	if _, err := io.ReadFull(f, begin); err != nil || begin[0] != '{' {
		return nil, nil // a directory, a ZIP, nothing: the others say what is wrong with it
	}
	data, err := io.ReadAll(io.LimitReader(io.MultiReader(bytes.NewReader(begin), f), verify.MaxCertificate+1))
	if err != nil || !verify.IsCertificate(data) {
		return nil, err
	}
	return data, nil
}

// runCertificate verifies an erasure certificate.
func (c *verifyCmd) runCertificate(e *env, data []byte, opts verify.Options) error {
	if c.TimeRoots != "" {
		return usage("--time-roots: a certificate has no time stamps")
	}
	rep, err := verify.Certificate(e.ctx, data, opts)
	if err != nil {
		return err
	}
	if e.JSON {
		if err := e.json(rep); err != nil {
			return err
		}
	} else {
		e.printCertificate(c.Bundle, rep)
	}
	return result(rep.ExitStatus())
}

// maxOrderLines bounds the orders that are printed; --json has all.
const maxOrderLines = 20

// printCertificate prints a verification of a certificate for people.
func (e *env) printCertificate(name string, r *verify.CertificateReport) {
	e.sayf("%s  %s\n", r.Verdict, name)
	e.printf("%s", wrap("", strings.ReplaceAll(meaning[r.Verdict], "bundle", "certificate")))
	if c := r.Erasure; c != nil {
		e.sayf("\nerasure %s of tenant %s\n", c.ErasureID, c.TenantID)
		e.sayf("  %-9s %s, recorded %s\n", "executed", c.ExecutedAt, c.RecordedAt)
		if c.OrderedBy != "" {
			e.sayf("  %-9s %s\n", "by", c.OrderedBy)
		}
		e.sayf("  %-9s %s of %s lost their content, in %s\n", "erased", many(c.Fields, "field"), many(c.Records, "record"), many(c.Runs, "run"))
		e.sayf("  %-9s %d destroyed", "keys", c.KeysDestroyed)
		if c.KeysToRetire > 0 {
			e.sayf(", %d to be destroyed once the rest under them is sealed anew", c.KeysToRetire)
		}
		e.sayf("\n")
		e.printOrders(c.Orders)
		e.printf("\nOut of its reach\n%s", wrapLines("  ", "  ", c.Backups))
	}
	for i := range r.Logs {
		e.printSigned(&r.Logs[i])
	}
	e.printFindings(&r.Report)
	if r.Erasure != nil {
		e.sayf("\nNot proven\n")
		for _, text := range r.NotProven {
			e.printf("%s", wrap("  ", text))
		}
	}
}

func (e *env) printOrders(orders []verify.CertifiedOrder) {
	for i, o := range orders {
		if i == maxOrderLines {
			e.sayf("  %-9s %d more\n", "", len(orders)-maxOrderLines)
			return
		}
		what := "no run"
		if o.RunID != "" {
			what = "run " + o.RunID
		}
		if o.TargetLog != "" {
			what += ", in log " + o.TargetLog
		}
		e.printf("%s", wrapLines(fmt.Sprintf("  %-9s ", "order"), "            ",
			fmt.Sprintf("leaf %d: %s of %s, %s", o.LeafIndex, many(o.Fields, "field"), many(o.Records, "record"), what)))
	}
}

// printSigned prints the checkpoint that a certificate leads to.
func (e *env) printSigned(l *verify.LogReport) {
	e.sayf("\nlog %s\n", l.Origin)
	if !l.Checked {
		e.sayf("  %-9s not checked\n", "records")
		return
	}
	e.sayf("  %-9s %d of %d\n  %-9s %s\n", "records", l.Records, l.Size, "root", l.Root)
	for _, w := range l.Witness {
		e.sayf("  %-9s %s, %s\n", "witness", w.Name, w.Time)
	}
}
