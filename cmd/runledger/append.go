package main

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/control"
)

type appendCmd struct {
	Tenant       string `help:"The tenant." required:"" placeholder:"NAME"`
	File         string `arg:"" optional:"" default:"-" help:"Records, one JSON object a line; - is standard input."`
	Partial      bool   `help:"Append the good records of input that has bad ones."`
	ConfirmClock bool   `help:"The clock is right, although it stands behind the newest record."`
}

// Help implements kong.HelpProvider.
func (appendCmd) Help() string {
	return `All of the input is checked first: if a record is bad, its line and field are named, nothing is written, and the exit status is 2. Then it is appended in batches of 1000; each line that is printed is a receipt: leaf index, id, leaf hash. A receipt means that the record is on disk, in the tree, and under a signed head. Appending the same input again gives the same receipts.

    runledger append --tenant acme records.ndjson
    agent --log-ndjson | runledger append --tenant acme --json

In a data directory that is not there yet it makes directory and tenant. With --partial bad records are left out, and the exit status is 1 if there were any.`
}

// Bounds of one batch.
const (
	batchRecords = 1000
	batchBytes   = 16 << 20
)

// maxListed is how many bad records are listed.
const maxListed = 20

// Run appends.
func (c *appendCmd) Run(e *env) error {
	if !evidence.ValidTenant(c.Tenant) {
		return usage("tenant %q: must be 1 to 63 characters of [a-z0-9-]", c.Tenant)
	}
	in, err := openInput(e, c.File)
	if err != nil {
		return err
	}
	defer in.close()
	if err := c.check(e, in); err != nil {
		return err
	}
	s, err := e.connect(true, openFlags{ConfirmClock: c.ConfirmClock})
	if err != nil {
		return err
	}
	return errors.Join(c.appendTo(e, s, in), s.close())
}

// check reads all of the input and refuses it if a record is bad.
func (c *appendCmd) check(e *env, in *input) error {
	if c.Partial {
		return nil
	}
	bar := e.progress("check")
	defer bar.end()
	var bad []control.RecordProblem
	more := 0
	err := in.lines(bar, func(n int, line []byte) error {
		_, err := control.ParseRecord(c.Tenant, line)
		if err == nil {
			return e.ctx.Err()
		}
		if len(bad) >= maxListed {
			more++
			return e.ctx.Err()
		}
		p := control.RecordProblem{Line: n, Code: control.CodeInvalid, Detail: err.Error()}
		var f *evidence.FieldError
		if errors.As(err, &f) {
			p.Field, p.Detail = f.Field, f.Reason
		}
		bad = append(bad, p)
		return e.ctx.Err()
	})
	if err != nil || bad == nil {
		return err
	}
	bar.end()
	return e.refuse(in.name, bad, more, "nothing was appended")
}

// refuse lists bad records and ends with wrong input.
func (e *env) refuse(name string, bad []control.RecordProblem, more int, so string) error {
	if e.JSON {
		return &control.Problem{
			Type: "about:blank", Title: "Invalid value", Status: 422, Code: bad[0].Code, Field: bad[0].Field,
			Detail: fmt.Sprintf("%s: %s; %s", name, bad[0], so), Errors: bad,
		}
	}
	for _, p := range bad {
		fmt.Fprintf(e.stderr, "runledger: %s: %s\n", name, p)
	}
	if more > 0 {
		fmt.Fprintf(e.stderr, "runledger: %s: %d more bad records\n", name, more)
	}
	fmt.Fprintf(e.stderr, "runledger: %s\n", so)
	return exit(statusUsage)
}

// sender appends batches and prints their receipts.
type sender struct {
	c   *appendCmd
	e   *env
	s   *session
	in  *input
	log string // of the last receipt printed

	batch   bytes.Buffer
	lines   []int // of the input, for each record of the batch
	sent    int   // receipts so far
	again   int   // of them, of records that were there already
	odd     int   // of them, of records that contradict another
	refused int
}

func (c *appendCmd) appendTo(e *env, s *session, in *input) error {
	if s.created {
		info, err := s.CreateTenant(e.ctx, c.Tenant)
		if err != nil {
			return err
		}
		e.notef("created %s and the tenant %s\n  key  %s\n", e.place(), c.Tenant, info.VKey)
	}
	bar := e.progress("append")
	defer bar.end()
	w := &sender{c: c, e: e, s: s, in: in}
	err := in.lines(bar, func(n int, line []byte) error {
		if len(w.lines) > 0 && w.batch.Len()+len(line) > batchBytes {
			if err := w.flush(); err != nil {
				return err
			}
		}
		w.batch.Write(line)
		w.batch.WriteByte('\n')
		if w.lines = append(w.lines, n); len(w.lines) == batchRecords {
			return w.flush()
		}
		return nil
	})
	if err == nil {
		err = w.flush()
	}
	bar.end()
	if w.sent == 0 && w.refused == 0 && err == nil {
		// A tenant that does not exist is an error without records too.
		_, err = s.Checkpoint(e.ctx, c.Tenant)
	}
	if err != nil {
		return w.broken(err)
	}
	e.notef("%s\n", w.summary())
	if w.refused > 0 {
		return exit(statusBad)
	}
	return nil
}

func (w *sender) summary() string {
	text := fmt.Sprintf("%d appended", w.sent-w.again)
	for _, part := range []struct {
		n    int
		what string
	}{{w.again, "there already"}, {w.odd, "contradict an earlier record"}, {w.refused, "refused"}} {
		if part.n > 0 {
			text += fmt.Sprintf(", %d %s", part.n, part.what)
		}
	}
	return text
}

// flush appends the batch.
func (w *sender) flush() error {
	if len(w.lines) == 0 {
		return nil
	}
	out, err := w.s.Append(w.e.ctx, w.c.Tenant, w.batch.Bytes(), w.c.Partial)
	if err != nil {
		return err
	}
	for _, r := range out.Receipts {
		r.Line = w.lines[r.Line-1]
		if err := w.print(r); err != nil {
			return err
		}
	}
	for _, p := range out.Errors {
		p.Line = w.lines[p.Line-1]
		w.refused++
		if w.e.JSON {
			if err := w.e.json(p); err != nil {
				return err
			}
			continue
		}
		fmt.Fprintf(w.e.stderr, "runledger: %s: %s\n", w.in.name, p)
	}
	w.batch.Reset()
	w.lines = w.lines[:0]
	return w.e.ctx.Err()
}

func (w *sender) print(r control.Receipt) error {
	w.sent++
	note := ""
	if r.ConflictOf != "" {
		w.odd++
		note = "  contradicts " + r.ConflictOf
	}
	if r.Duplicate {
		w.again++
		note += "  there already"
	}
	if w.e.JSON {
		return w.e.json(r)
	}
	if r.Log != w.log {
		w.log = r.Log
		w.e.printf("log %s\n", r.Log)
	}
	w.e.printf("%8d  %s  %s%s\n", r.LeafIndex, r.ID, r.LeafHash, note)
	return nil
}

// broken says how far an append came before it failed.
func (w *sender) broken(err error) error {
	so := "nothing was appended"
	if w.sent > 0 {
		so = fmt.Sprintf("%d records before it were appended", w.sent)
	}
	var p *control.Problem
	if errors.As(err, &p) && len(p.Errors) > 0 {
		bad := p.Errors[:min(len(p.Errors), maxListed)]
		for i := range bad {
			bad[i].Line = w.lines[bad[i].Line-1]
		}
		return w.e.refuse(w.in.name, bad, len(p.Errors)-len(bad), so)
	}
	if w.sent == 0 {
		return err
	}
	return fmt.Errorf("%w; %s", err, so)
}
