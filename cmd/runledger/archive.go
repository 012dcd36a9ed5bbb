package main

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/lifecycle"
)

type archiveCmd struct {
	Run    archiveRunCmd    `cmd:"" help:"Archive what is not archived yet."`
	List   archiveListCmd   `cmd:"" help:"List the units of the archive."`
	Verify archiveVerifyCmd `cmd:"" help:"Check an archive by what it holds alone."`
	Show   archiveShowCmd   `cmd:"" help:"Show a run from the archive."`
}

type archiveRunCmd struct {
	tenantFlag
	Until string `help:"What was recorded before this time, or date. Default: all that is published." placeholder:"TIME"`
}

// Help implements kong.HelpProvider.
func (archiveRunCmd) Help() string {
	return `Writes to the archive what does not stand there yet, be it due or not, and checks it there. Removes nothing. Once more after a failure goes on where it ended.

The archive is the one of the server (serve --archive); where none runs, the one of RUNLEDGER_ARCHIVE, or that the server was last started with, or the data directory with the suffix .archive.

    runledger archive run --tenant acme
    runledger archive run --tenant acme --until 2026-11-01`
}

// Run archives.
func (c *archiveRunCmd) Run(e *env) error {
	q := lifecycle.ArchiveRequest{}
	if c.Until != "" {
		var err error
		if q.Until, err = timeFlag("--until", c.Until); err != nil {
			return err
		}
	}
	return c.with(e, func(s *session, tenant string) error {
		list, err := s.Archive(e.ctx, tenant, q)
		if err != nil {
			return err
		}
		none := "nothing new of " + tenant + ": all that is published was archived before, or is on record of archiving itself"
		if q.Until != "" {
			none = "nothing new of " + tenant + ": all that was recorded before " + q.Until + " was archived before, or is on record of archiving itself"
		}
		return e.showUnits(list, none)
	})
}

type archiveListCmd struct{ tenantFlag }

// Help implements kong.HelpProvider.
func (archiveListCmd) Help() string {
	return `Each unit is a stretch of a log, with its place and the digest of its manifest, as they are on record. That you looked is recorded.

    runledger archive list --tenant acme`
}

// Run lists units.
func (c *archiveListCmd) Run(e *env) error {
	return c.with(e, func(s *session, tenant string) error {
		list, err := s.Archives(e.ctx, tenant)
		if err != nil {
			return err
		}
		return e.showUnits(list, "nothing of "+tenant+" is archived")
	})
}

func (e *env) showUnits(list lifecycle.ArchiveList, none string) error {
	if e.JSON {
		return e.json(list)
	}
	e.screen(false).units(list.Units)
	if len(list.Units) == 0 {
		e.notef("%s\n", none)
	}
	return nil
}

func (s *screen) units(list []lifecycle.UnitInfo) {
	for _, u := range list {
		s.printf("%s\n", clean(u.Name))
		p := pairs{s, 10}
		p.put("  log", u.Log)
		p.put("  leaves", fmt.Sprintf("%d to %d, recorded %s to %s", u.From, u.To-1, u.FirstAt, u.LastAt))
		p.put("  in", fmt.Sprintf("%s, %d bytes, since %s", u.Archive, u.Bytes, u.At))
		p.put("  manifest", u.Manifest)
	}
}

type archiveShowCmd struct {
	tenantFlag
	Run_ string `help:"The run." name:"run" required:"" placeholder:"ID"`
}

// Help implements kong.HelpProvider.
func (archiveShowCmd) Help() string {
	return `The records of a run as they stand in the archive, each leaf checked against the signed tree. With --json the leaves themselves, verbatim, as they were hashed. That you looked is recorded.

    runledger archive show --run run-1 --tenant acme
    runledger archive show --run run-1 --json --tenant acme`
}

// Run shows a run.
func (c *archiveShowCmd) Run(e *env) error {
	return c.with(e, func(s *session, tenant string) error {
		a, err := s.Archived(e.ctx, tenant, lifecycle.ShowRequest{Run: c.Run_})
		if err != nil {
			return err
		}
		if e.JSON {
			return e.json(a)
		}
		return e.screen(false).archived(a)
	})
}

// archived shows the records of a run: a table of what they say in public.
func (s *screen) archived(a lifecycle.ShowAnswer) error {
	rows := make([][]string, len(a.Records))
	var units []string
	for i, r := range a.Records {
		l, err := evidence.ParseLeaf([]byte(r.Leaf))
		if err != nil {
			return fmt.Errorf("leaf %d of %s: %w", r.Index, r.Log, err)
		}
		said := func(names ...string) string {
			for _, name := range names {
				if v := l.Text(name); v != "" {
					return v
				}
			}
			return ""
		}
		rows[i] = []string{
			fmt.Sprint(r.Index), fmt.Sprint(l.N), moment(l.OccurredAt), l.Kind.String(),
			said("skill_name", "event_name", "event_type", "agent_id"), said("status", "execution_status", "decision", "severity"),
		}
		if !slices.Contains(units, r.Unit) {
			units = append(units, r.Unit)
		}
	}
	s.table([]column{
		{title: "LEAF", right: true}, {title: "N", right: true}, {title: "TIME (UTC)"}, {title: "KIND"}, {title: "WHAT", free: true}, {title: "STATUS", state: true},
	}, rows)
	s.printf("\n")
	p := pairs{s, 5}
	p.put("run", a.Run)
	for i, u := range units {
		p.put(map[bool]string{true: "unit"}[i == 0], u)
	}
	return nil
}

// archiveInput is an error about an archive that the user named.
func archiveInput(spec string) error {
	if strings.Contains(spec, "://") {
		return nil
	}
	st, err := os.Stat(spec)
	if err == nil && !st.IsDir() {
		return usage("%s is no directory", spec)
	}
	return inputError(err)
}
