package main

import (
	"fmt"

	"github.com/runledger/runledger/internal/lifecycle"
)

type holdCmd struct {
	Place   holdPlaceCmd   `cmd:"" help:"Place a legal hold: what it covers stays."`
	List    holdListCmd    `cmd:"" help:"List legal holds."`
	Release holdReleaseCmd `cmd:"" help:"End a legal hold."`
}

type holdPlaceCmd struct {
	tenantFlag
	reasonFlag
	Run_    string `help:"On a run." name:"run" placeholder:"ID"`
	Subject string `help:"On a person: the runs that name them, and their records without a run, also those to come." placeholder:"NAME"`
	All     bool   `help:"On all that the tenant has."`
	From    string `help:"On what occurred or was recorded in a time: from here." placeholder:"TIME"`
	Until   string `help:"Until before here." placeholder:"TIME"`
}

// Help implements kong.HelpProvider.
func (holdPlaceCmd) Help() string {
	return `While a hold is in force, what it covers neither expires nor can be erased: the database itself refuses it. Placing it is recorded (LegalHoldPlaced), with the reason.

    runledger hold place --run run-1 --reason "case 2026-17" --tenant acme
    runledger hold place --subject ada@example.com --reason "claim" --tenant acme
    runledger hold place --from 2026-10-01 --until 2026-11-01 --reason "audit" --tenant acme
    runledger hold place --all --reason "litigation" --tenant acme`
}

// Run places a hold.
func (c *holdPlaceCmd) Run(e *env) error {
	q := lifecycle.HoldRequest{Run: c.Run_, Subject: c.Subject, All: c.All, Reason: c.Reason}
	period := c.From != "" || c.Until != ""
	if n := count(c.Run_ != "", c.Subject != "", c.All, period); n != 1 {
		return usage("say what is held by one of --run, --subject, --all, and --from with --until")
	}
	if period {
		var err error
		if q.From, err = timeFlag("--from", c.From); err != nil {
			return err
		}
		if q.Until, err = timeFlag("--until", c.Until); err != nil {
			return err
		}
	}
	return c.with(e, func(s *session, tenant string) error {
		h, err := s.PlaceHold(e.ctx, tenant, q)
		if err == nil && h.Scope == "subject" && h.Runs+h.Records == 0 {
			e.notef("nothing that is here names this person yet: names are compared letter by letter\n")
		}
		if err != nil {
			return err
		}
		if e.JSON {
			return e.json(h)
		}
		e.screen(false).hold(h)
		return nil
	})
}

// count is how many are true.
func count(list ...bool) (n int) {
	for _, b := range list {
		if b {
			n++
		}
	}
	return n
}

type holdListCmd struct {
	tenantFlag
	All bool `help:"Also those that were released."`
}

// Help implements kong.HelpProvider.
func (holdListCmd) Help() string {
	return `The newest first. That you looked is recorded.

    runledger hold list --tenant acme
    runledger hold list --tenant acme --all --json`
}

// Run lists holds.
func (c *holdListCmd) Run(e *env) error {
	return c.with(e, func(s *session, tenant string) error {
		list, err := s.Holds(e.ctx, tenant, c.All)
		if err != nil {
			return err
		}
		if e.JSON {
			return e.json(list)
		}
		for _, h := range list.Holds {
			e.screen(false).hold(h)
		}
		if len(list.Holds) == 0 {
			e.notef("no legal hold of %s is in force\n", tenant)
		}
		return nil
	})
}

func (s *screen) hold(h lifecycle.HoldInfo) {
	state := "in force"
	if !h.InForce {
		state = "released"
	}
	on := map[string]string{
		"tenant": "all", "time": h.From + " to " + h.Until, "run": "run " + h.Run,
		"subject": fmt.Sprintf("a person: %s, %s without a run", many(h.Runs, "run"), many(h.Records, "record")),
	}[h.Scope]
	s.printf("%s, %s\n", clean(h.ID), state)
	p := pairs{s, 9}
	p.put("  on", on)
	p.put("  placed", h.PlacedAt+by(h.PlacedBy))
	p.put("  reason", h.Reason)
	if !h.InForce {
		p.put("  released", h.ReleasedAt+by(h.ReleasedBy))
	}
	p.put("  record", h.Record)
}

func by(name string) string {
	if name == "" {
		return ""
	}
	return " by " + name
}

type holdReleaseCmd struct {
	tenantFlag
	reasonFlag
	ID string `arg:"" help:"The id of the hold, from hold list."`
}

// Help implements kong.HelpProvider.
func (holdReleaseCmd) Help() string {
	return `What it covered expires by its policy again, at the next run. The release is recorded (LegalHoldReleased), with the reason.

    runledger hold release hold-0123456789ab --reason "case closed" --tenant acme`
}

// Run releases a hold.
func (c *holdReleaseCmd) Run(e *env) error {
	return c.with(e, func(s *session, tenant string) error {
		h, err := s.ReleaseHold(e.ctx, tenant, c.ID, c.Reason)
		if err != nil {
			return err
		}
		if e.JSON {
			return e.json(h)
		}
		e.screen(false).hold(h)
		return nil
	})
}
