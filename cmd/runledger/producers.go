package main

import (
	"fmt"
	"strings"

	"github.com/runledger/runledger/internal/producers"
)

type producersCmd struct {
	Tenant string `help:"The tenant, where there are several." placeholder:"NAME"`
	Silent bool   `help:"Only those that have fallen silent."`
}

// Help implements kong.HelpProvider.
func (producersCmd) Help() string {
	return `Who wrote into a tenant's logs, when it was first and last heard of, how many records, which of its numbers never came, and whether it has fallen silent. All records up to now are counted first. That you looked is recorded in the log of the tenant.

    runledger producers --tenant acme
    runledger producers --tenant acme --silent --json`
}

// Run lists producers.
func (c *producersCmd) Run(e *env) error {
	return e.with(func(s *session) error {
		tenant, err := (&readFlags{Tenant: c.Tenant}).tenant(e, s)
		if err != nil {
			return err
		}
		list, err := s.Producers(e.ctx, tenant, c.Silent)
		if err != nil {
			return err
		}
		if e.JSON {
			return e.json(list)
		}
		e.screen(false).producers(list.Producers)
		e.notef("%s\n", countedText(&list, c.Silent))
		return nil
	})
}

// producers prints a line for each in a table, and what does not fit there below it.
func (s *screen) producers(list []producers.Producer) {
	rows := make([][]string, len(list))
	for i := range list {
		p := &list[i]
		missing := ""
		if p.Sequence != nil {
			missing = fmt.Sprint(p.Sequence.MissingCount + p.Sequence.More)
		}
		rows[i] = []string{
			credentialText(p), p.Component, p.State, p.FirstRecorded.Time().Format("2006-01-02"), moment(p.LastRecorded), fmt.Sprint(p.Total),
			missing, beatText(p.Heartbeat),
		}
	}
	if len(rows) == 0 {
		return
	}
	s.table([]column{
		{title: "CREDENTIAL"},
		{title: "COMPONENT", free: true},
		{title: "STATE", state: true},
		{title: "SINCE"},
		{title: "LAST SEEN (UTC)"},
		{title: "RECORDS", right: true},
		{title: "MISSING", right: true},
		{title: "HEARTBEAT"},
	}, rows)
	s.printf("\n")
	for i := range list {
		p := &list[i]
		line := clean(credentialText(p)+" "+p.Component) + ": " + recordsText(p)
		if p.Sequence != nil {
			line += "; numbers " + sequenceText(p.Sequence)
		}
		for n, part := range fold(line, s.width-gap) {
			s.printf("%s%s\n", spaces(min(n, 1)*gap), part)
		}
	}
}

// credentialText names who wrote.
func credentialText(p *producers.Producer) string {
	if p.Credential == nil {
		return "(server)"
	}
	return *p.Credential
}

// recordsText counts records by kind.
func recordsText(p *producers.Producer) string {
	text := countText(p.Records)
	if p.Synthetic > 0 {
		text += fmt.Sprintf(" (%d synthetic)", p.Synthetic)
	}
	return text
}

// maxMissing bounds the ranges that a line shows; --json has all.
const maxMissing = 3

// sequenceText says what the numbers say.
func sequenceText(s *producers.Sequence) string {
	if s == nil {
		return ""
	}
	parts := []string{fmt.Sprintf("%d-%d", s.First, s.Highest)}
	if n := len(s.Missing); n > 0 {
		var ranges []string
		for _, m := range s.Missing[:min(n, maxMissing)] {
			ranges = append(ranges, rangeText(m))
		}
		if n > maxMissing {
			ranges = append(ranges, "…")
		}
		parts = append(parts, fmt.Sprintf("%d missing: %s", s.MissingCount, strings.Join(ranges, " ")))
	}
	for _, c := range []struct {
		n    int64
		text string
	}{{s.More, "more missing"}, {s.Late, "late"}, {s.Repeated, "repeated"}, {s.Restarts, "restarts"}} {
		if c.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", c.n, c.text))
		}
	}
	return strings.Join(parts, ", ")
}

func rangeText(m producers.Range) string {
	if m.From == m.To {
		return fmt.Sprint(m.From)
	}
	return fmt.Sprintf("%d-%d", m.From, m.To)
}

func beatText(h *producers.Heartbeat) string {
	switch {
	case h == nil:
		return ""
	case h.Interval == nil:
		return fmt.Sprintf("%d so far", h.Count)
	}
	return "every " + span(millis(*h.Interval*1000))
}

// countedText says what was counted.
func countedText(l *producers.List, silent bool) string {
	what := "producers"
	if silent {
		what = "silent producers"
	}
	text := fmt.Sprintf("%d %s of %s, at %s", len(l.Producers), what, l.Tenant, moment(l.At))
	if l.More > 0 {
		text += fmt.Sprintf("; %d more with %d records are not told apart any more", l.More, l.MoreRecords)
	}
	return text
}
