package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/runledger/runledger/internal/lifecycle"
)

type eraseCmd struct {
	Run         eraseRunCmd         `cmd:"" default:"withargs" help:"Erase content of a person, a run or single records."`
	List        eraseListCmd        `cmd:"" help:"List what was erased."`
	Certificate eraseCertificateCmd `cmd:"" help:"Write the certificate of an erasure of the last 30 days once more."`
}

// Help implements kong.HelpProvider.
func (eraseCmd) Help() string {
	return `What is erased is gone for good; "runledger erase run --help" says what that takes.

    runledger erase --subject ada@example.com --dry-run --tenant acme`
}

type eraseRunCmd struct {
	tenantFlag
	Subject     string   `help:"All that is sealed about a person." placeholder:"NAME"`
	Run_        string   `help:"All that is sealed of a run." name:"run" placeholder:"ID"`
	Record      []string `help:"Of this record, by its id, or a step by TRACE:SPAN. May be given several times." sep:"none" placeholder:"ID"`
	Path        []string `help:"Of --record: only this sealed field. May be given several times." sep:"none" placeholder:"/PATH"`
	Copies      *bool    `help:"Of --record: also every other field of their runs in which the same text stands; --no-copies leaves it there. --dry-run shows where." negatable:""`
	Text        string   `help:"Of --copies: look for the text in this file (- for standard input) alone, and not for all that the fields have. It is not recorded." placeholder:"FILE"`
	Reason      string   `help:"Why. It is recorded, and must not name the person." placeholder:"TEXT"`
	DryRun      bool     `help:"Only count what would be erased."`
	Certificate string   `help:"Write the certificate of an erasure of the last 30 days once more." placeholder:"ID"`
	Out         string   `help:"Where the certificate goes. Default: ID.json in this directory." placeholder:"FILE"`
	PDF         string   `help:"Write the certificate as a PDF for people, too." name:"pdf" placeholder:"FILE"`
}

// Help implements kong.HelpProvider.
func (eraseRunCmd) Help() string {
	return `Content is erased for good, at once and without a question: try it with --dry-run first. What is erased is gone with its keys; leaves, which hold only commitments, stay in the log, so every proof stays valid. The log signs a statement of it, and the certificate lets anyone check that. Backups keep what they have, with the keys of then; archives hold no content.

    runledger erase --subject ada@example.com --dry-run --tenant acme
    runledger erase --subject ada@example.com --reason "request 2026-42" --tenant acme
    runledger erase --run run-1 --reason "sent by mistake" --pdf run-1.pdf --tenant acme
    runledger erase --record 0192d3c4-5e6f-7a8b-9c0d-1e2f3a4b5c6d --path /prompt --copies --dry-run --tenant acme
    runledger erase --record 0192d3c4-5e6f-7a8b-9c0d-1e2f3a4b5c6d --path /prompt --copies --reason "secret in a prompt" --tenant acme

An agent says the same in several places: what it was told stands in the next step again, in /attrs (all that telemetry said, verbatim), and in the run's record at its end. Of --record these copies are looked for, line by line, and named; --copies erases them, too, and without a word on it nothing is erased where there are some. --text says which text alone is meant: else what all prompts of a run have in common counts as a copy as well. What was said in other words is not found.

A legal hold forbids it, exit status 2.`
}

// Run erases.
func (c *eraseRunCmd) Run(e *env) error {
	if err := c.check(); err != nil {
		return err
	}
	return c.with(e, func(s *session, tenant string) error {
		files := certificateFiles{c.Out, c.PDF}
		if c.Certificate != "" {
			return files.again(e, s, tenant, c.Certificate)
		}
		text, err := c.sought(e)
		if err != nil {
			return err
		}
		q := lifecycle.ErasureRequest{Subject: c.Subject, Run: c.Run_, Records: c.Record, Paths: c.Path, Copies: c.Copies != nil && *c.Copies, Text: text, DryRun: c.DryRun, Reason: c.Reason}
		if c.DryRun && q.Reason == "" {
			q.Reason = "dry run" // of which nothing is recorded
		}
		if !c.DryRun && len(c.Record) > 0 && c.Copies == nil {
			if err := c.decided(e, s, tenant, q); err != nil {
				return err
			}
		}
		a, err := s.Erase(e.ctx, tenant, q)
		if err != nil {
			return err
		}
		if c.DryRun {
			if e.JSON {
				return e.json(a)
			}
			e.screen(false).erasure(&a, q.Copies)
			if a.Records == 0 {
				e.notef("nothing of it is sealed here: it was erased, has expired, or never was. Names are compared letter by letter\n")
			}
			return nil
		}
		return files.written(e, &a, true, q.Copies)
	})
}

// sought is the text of --text.
func (c *eraseRunCmd) sought(e *env) (string, error) {
	if c.Text == "" {
		return "", nil
	}
	var data []byte
	var err error
	if c.Text == "-" {
		data, err = io.ReadAll(e.stdin)
	} else {
		data, err = os.ReadFile(c.Text)
	}
	if err != nil {
		return "", inputError(err)
	}
	text := strings.TrimSpace(string(data))
	if text == "" {
		return "", usage("--text: there is no text")
	}
	return text, nil
}

// decided sees to it that somebody has said what becomes of copies: once the text is erased here, nothing knows any
// more what to look for.
func (c *eraseRunCmd) decided(e *env, s *session, tenant string, q lifecycle.ErasureRequest) error {
	q.DryRun = true
	a, err := s.Erase(e.ctx, tenant, q)
	if err != nil || a.CopyCount == 0 {
		return err
	}
	if !e.JSON {
		e.screen(false).erasure(&a, false)
	}
	return usage("nothing is erased yet: the same text stands in %s as well. Say --copies to erase it there, too, or --no-copies to leave it", many(a.CopyCount, "record"))
}

// check looks at all that can be looked at before: what is erased is gone.
func (c *eraseRunCmd) check() error {
	named := count(c.Subject != "", c.Run_ != "", len(c.Record) > 0)
	switch {
	case c.Certificate != "" && (named > 0 || c.DryRun || c.Reason != "" || len(c.Path) > 0):
		return usage("--certificate goes with --out and --pdf only")
	case c.Certificate == "" && named != 1:
		return usage("say what is erased by one of --subject, --run and --record")
	case len(c.Path) > 0 && len(c.Record) == 0:
		return usage("--path goes with --record")
	case (c.Copies != nil || c.Text != "") && len(c.Record) == 0:
		return usage("--copies and --text go with --record")
	case c.Certificate == "" && !c.DryRun && strings.TrimSpace(c.Reason) == "":
		return usage("--reason is required")
	case c.DryRun && (c.Out != "" || c.PDF != ""):
		return usage("a dry run has no certificate: --out and --pdf do not go with --dry-run")
	}
	return (&certificateFiles{c.Out, c.PDF}).check()
}

func (s *screen) erasure(a *lifecycle.ErasureAnswer, copies bool) {
	did := "erased"
	if a.DryRun {
		did = "would be erased"
	}
	s.printf("%s: %s of %s in %s\n", did, many(a.Fields, "field"), many(a.Records, "record"), many(a.Runs, "run"))
	p := pairs{s, 11}
	p.put("erasure", a.ID)
	keys := fmt.Sprintf("%d destroyed", a.Keys)
	if a.DryRun {
		keys = fmt.Sprintf("%d would be destroyed", a.Keys)
	}
	if a.Retire > 0 {
		keys += fmt.Sprintf("; %d of the day follow, once the rest under them is sealed anew", a.Retire)
	}
	p.put("keys", keys)
	if len(a.Held) > 0 {
		p.put("held", "it is forbidden by "+strings.Join(a.Held, ", "))
	}
	if a.Beside > 0 {
		p.put("beside", many(a.Beside, "other record")+" of these runs would keep content: they name nobody, or somebody else. --run erases a run as a whole")
	}
	s.copies(a, copies)
}

// maxCopyLines bounds the records with copies that are shown; --json has more.
const maxCopyLines = 20

// copies shows where the text that is erased stands as well.
func (s *screen) copies(a *lifecycle.ErasureAnswer, too bool) {
	if a.CopyCount == 0 {
		return
	}
	s.printf("\nThe same text stands as well in %s. ", many(a.CopyCount, "record"))
	switch {
	case too && a.DryRun:
		s.printf("It would go there, too:\n")
	case too:
		s.printf("It is gone there, too:\n")
	case a.DryRun:
		s.printf("With --copies it goes there, too:\n")
	default:
		s.printf("It stays there until these are erased:\n")
	}
	for i, c := range a.Copies {
		if i == maxCopyLines {
			break
		}
		s.printf("  leaf %d  %s  %s  %s\n", c.Index, c.Record, c.Kind, strings.Join(c.Paths, " "))
	}
	if n := a.CopyCount - min(len(a.Copies), maxCopyLines); n > 0 {
		s.printf("  and %d more\n", n)
	}
}
