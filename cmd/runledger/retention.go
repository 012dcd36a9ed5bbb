package main

import (
	"fmt"
	"strings"

	"github.com/runledger/runledger/internal/lifecycle"
)

type retentionCmd struct {
	Show    retentionShowCmd    `cmd:"" help:"How long evidence is kept, by class."`
	Set     retentionSetCmd     `cmd:"" help:"Keep a class for another time."`
	Preview retentionPreviewCmd `cmd:"" help:"What would expire, when, and why not what would not."`
	Run     retentionRunCmd     `cmd:"" help:"Archive and expire now what is due."`
}

// tenantFlag names the tenant of a command of lifecycle.
type tenantFlag struct {
	Tenant string `help:"The tenant, where there are several." placeholder:"NAME"`
}

// with runs f on a session, for the tenant.
func (t *tenantFlag) with(e *env, f func(s *session, tenant string) error) error {
	return e.with(func(s *session) error {
		tenant, err := (&readFlags{Tenant: t.Tenant}).tenant(e, s)
		if err != nil {
			return err
		}
		return f(s, tenant)
	})
}

// reasonFlag is why something is done. It is recorded.
type reasonFlag struct {
	Reason string `help:"Why. It is recorded." required:"" placeholder:"TEXT"`
}

type retentionShowCmd struct{ tenantFlag }

// Help implements kong.HelpProvider.
func (retentionShowCmd) Help() string {
	return `The policies of a tenant: how many days records of a class are kept, and whether they are in an archive before they expire. Audit records are never removed. That you looked is recorded.

    runledger retention show --tenant acme
    runledger retention show --tenant acme --json`
}

// Run shows policies.
func (c *retentionShowCmd) Run(e *env) error {
	return c.with(e, func(s *session, tenant string) error {
		list, err := s.Policies(e.ctx, tenant)
		if err != nil {
			return err
		}
		if e.JSON {
			return e.json(list)
		}
		e.screen(false).policies(list)
		return nil
	})
}

func (s *screen) policies(list lifecycle.PolicyList) {
	rows := make([][]string, len(list.Policies))
	for i, p := range list.Policies {
		since := "default"
		if !p.Default {
			since = p.Since
		}
		rows[i] = []string{p.Class, days(p.Days), thenText(p), since}
	}
	s.table([]column{{title: "CLASS"}, {title: "KEPT", right: true}, {title: "THEN"}, {title: "SINCE"}}, rows)
	p := pairs{s, 8}
	s.printf("\n")
	p.put("archive", orText(list.Archive, "none"))
	p.put("bounds", fmt.Sprintf("a policy is %s to %s; runs marked high risk are kept for at least %s", days(list.FloorDays), days(list.CeilingDays), days(list.HighRiskFloor)))
}

// thenText says what becomes of records of a class that are old enough.
func thenText(p lifecycle.Policy) string {
	switch {
	case p.Never:
		return "never removed"
	case p.Archive:
		return "archived, removed"
	}
	return "removed"
}

func days(n int) string { return many(n, "day") }

// many is a number and what it counts.
func many[N int | int64](n N, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// orText is text, or what stands for none.
func orText(text, none string) string {
	if text == "" {
		return none
	}
	return text
}

type retentionSetCmd struct {
	tenantFlag
	reasonFlag
	Class   string `arg:"" help:"llm_runs, system_logs, audit, log_exports or synthetic."`
	Days    *int   `help:"How long its records are kept." placeholder:"N"`
	Archive *bool  `help:"Its records are in an archive before they expire. Without an archive they do not expire." negatable:""`
}

// Help implements kong.HelpProvider.
func (retentionSetCmd) Help() string {
	return `What is left out stays as it is. The policy counts from the next run on, for what is stored already, too; before and after are in its record (RetentionPolicyChanged). A class can be kept for no less than the server's floor (--retention-floor) and no longer than its ceiling.

    runledger retention set llm_runs --days 365 --reason "contract 4711" --tenant acme
    runledger retention set system_logs --archive --reason "audit finding 12" --tenant acme`
}

// Run sets a policy.
func (c *retentionSetCmd) Run(e *env) error {
	if c.Days == nil && c.Archive == nil {
		return usage("nothing to set: give --days or --archive")
	}
	return c.with(e, func(s *session, tenant string) error {
		p, err := s.SetPolicy(e.ctx, tenant, lifecycle.PolicyChange{
			Class: c.Class, Days: c.Days, Archive: c.Archive, Reason: c.Reason,
		})
		if err != nil {
			return err
		}
		if e.JSON {
			return e.json(p)
		}
		e.printf("%s: %s, then %s\n  record   %s\n", p.Class, days(p.Days), thenText(p), p.Record)
		return nil
	})
}

type retentionPreviewCmd struct {
	tenantFlag
	At    string `help:"What would be done at this time, or date. Default: now." placeholder:"TIME"`
	Class string `help:"Of this class only." placeholder:"CLASS"`
}

// Help implements kong.HelpProvider.
func (retentionPreviewCmd) Help() string {
	return `Counts what an expiry would remove, by table, and what stays although it is old enough: under a legal hold, of a run that is open or goes on, marked high risk, the baseline of runs to come. Removes nothing. That you looked is recorded.

    runledger retention preview --tenant acme
    runledger retention preview --tenant acme --at 2027-01-01 --class llm_runs`
}

// Run previews.
func (c *retentionPreviewCmd) Run(e *env) error {
	at := ""
	if c.At != "" {
		var err error
		if at, err = timeFlag("--at", c.At); err != nil {
			return err
		}
	}
	return c.with(e, func(s *session, tenant string) error {
		p, err := s.Preview(e.ctx, tenant, at)
		if err != nil {
			return err
		}
		if c.Class != "" {
			if p.Classes, err = onlyClass(p.Classes, c.Class); err != nil {
				return err
			}
		}
		if e.JSON {
			return e.json(p)
		}
		e.screen(false).preview(p)
		return nil
	})
}

func onlyClass(list []lifecycle.ClassPreview, class string) ([]lifecycle.ClassPreview, error) {
	var known []string
	for _, c := range list {
		if c.Class == class {
			return []lifecycle.ClassPreview{c}, nil
		}
		known = append(known, c.Class)
	}
	return nil, usage("--class %q: there are %s", class, strings.Join(known, ", "))
}

func (s *screen) preview(p lifecycle.Preview) {
	for _, c := range p.Classes {
		s.printf("%s: %d due, of what was recorded before %s (%s)\n", clean(c.Class), c.Due, clean(c.Before), days(c.Days))
		s.tables(c.Tables)
		s.kept(c.Kept)
		if c.NextAt != "" {
			s.printf("  the next is due at %s\n", clean(c.NextAt))
		}
		s.blocked(c.Blocked)
	}
	s.blocked(p.Blocked)
}

func (s *screen) tables(list []lifecycle.TablePreview) {
	for _, t := range list {
		s.printf("  %8d  %s\n", t.Records, clean(t.Table))
	}
}

// kept says what stays although it is old enough.
func (s *screen) kept(list []lifecycle.Kept) {
	for _, k := range list {
		line := fmt.Sprintf("  %8d  stay: %s", k.Records, clean(strings.ReplaceAll(k.Why, "_", " ")))
		if k.Detail != "" {
			line += " (" + clean(k.Detail) + ")"
		}
		s.printf("%s\n", line)
	}
}

func (s *screen) blocked(why string) {
	if why != "" {
		s.printf("%s %s\n", s.paint(yellow, "  nothing is removed:"), clean(why))
	}
}

type retentionRunCmd struct {
	tenantFlag
	Class        string `help:"Of this class only." placeholder:"CLASS"`
	ConfirmClock bool   `help:"The clock is right, although nothing has looked for what is due for two days, or it was set."`
	Reason       string `help:"Why. It is recorded." placeholder:"TEXT"`
}

// Help implements kong.HelpProvider.
func (retentionRunCmd) Help() string {
	return `What a server does by itself every --lifecycle-every: writes to the archive what is due, checks it there, records what is removed and where it stands (RetentionApplied), and only then removes it. Leaves stay in the log, so that every proof that was ever given stays valid.

    runledger retention run --tenant acme
    runledger retention run --tenant acme --class synthetic
    runledger retention run --tenant acme --confirm-clock

Exit status 1: something that is due was not removed, and it is said why.`
}

// Run expires.
func (c *retentionRunCmd) Run(e *env) error {
	return c.with(e, func(s *session, tenant string) error {
		r, err := s.Expire(e.ctx, tenant, lifecycle.RunRequest{Class: c.Class, ConfirmClock: c.ConfirmClock, Reason: c.Reason})
		if err != nil {
			return err
		}
		if e.JSON {
			err = e.json(r)
		} else {
			e.screen(false).expired(r)
		}
		if err != nil {
			return err
		}
		for _, class := range r.Classes {
			if class.Blocked != "" {
				return exit(statusBad)
			}
		}
		return nil
	})
}

func (s *screen) expired(r lifecycle.RunResult) {
	for _, c := range r.Classes {
		s.printf("%s: %d removed\n", clean(c.Class), c.Removed)
		s.tables(c.Tables)
		s.kept(c.Kept)
		for _, id := range c.Records {
			s.printf("  record    %s\n", clean(id))
		}
		s.blocked(c.Blocked)
	}
	s.units(r.Archived)
	for _, n := range []struct {
		n    int64
		what string
	}{{int64(r.Retired), "keys destroyed"}, {r.Segments, "segments of leaves moved to the archive"}, {int64(len(r.Dropped)), "partitions dropped"}} {
		if n.n > 0 {
			s.printf("%d %s\n", n.n, n.what)
		}
	}
}
