package main

import (
	"fmt"

	"github.com/runledger/runledger/internal/lifecycle"
)

type eraseListCmd struct {
	tenantFlag
	listFlags
}

// Help implements kong.HelpProvider.
func (eraseListCmd) Help() string {
	return `What the log states of each erasure, the newest first: when, by whom and why, and how much. Of whom it was is not in it. That you looked is recorded.

    runledger erase list --tenant acme
    runledger erase list --tenant acme --all --json`
}

// Run lists erasures.
func (c *eraseListCmd) Run(e *env) error {
	if c.Limit < 0 {
		return usage("--limit must be at least 1")
	}
	return c.with(e, func(s *session, tenant string) error {
		list := lifecycle.ErasureList{TenantID: tenant, Erasures: []lifecycle.ErasureInfo{}, More: true}
		for want := c.want(); list.More && (want == everything || len(list.Erasures) < want); {
			q := lifecycle.ErasureQuery{}
			if n := len(list.Erasures); n > 0 {
				q.Before = list.Erasures[n-1].ID
			}
			if want != everything {
				q.Limit = min(want-len(list.Erasures), lifecycle.MaxErasures)
			}
			page, err := s.Erasures(e.ctx, tenant, q)
			if err != nil {
				return err
			}
			list.Erasures, list.More = append(list.Erasures, page.Erasures...), page.More
		}
		if e.JSON {
			return e.json(list)
		}
		e.screen(false).erasures(list.Erasures)
		switch {
		case len(list.Erasures) == 0:
			e.notef("nothing of %s was erased\n", tenant)
		case list.More:
			e.notef("there are more (--all shows all)\n")
		}
		return nil
	})
}

func (s *screen) erasures(list []lifecycle.ErasureInfo) {
	for i := range list {
		x := &list[i]
		s.printf("%s\n", clean(x.ID))
		p := pairs{s, 13}
		if x.Unreadable {
			p.put("  recorded", x.RecordedAt)
			p.put("  statement", "cannot be opened")
			p.put("  record", x.Record)
			continue
		}
		p.put("  executed", x.ExecutedAt+by(x.OrderedBy))
		p.put("  reason", x.Reason)
		p.put("  erased", fmt.Sprintf("%s of %s in %s", many(x.Fields, "field"), many(x.Records, "record"), many(x.Runs, "run")))
		keys := many(x.Keys, "key") + " destroyed"
		if x.Retire > 0 {
			keys += fmt.Sprintf("; %s to follow, ", many(x.Retire, "key"))
			if x.Retiring > 0 {
				keys += fmt.Sprintf("%d of them not destroyed yet", x.Retiring)
			} else {
				keys += "destroyed since"
			}
		}
		p.put("  keys", keys)
		if x.Until != "" {
			p.put("  certificate", "can be had until "+x.Until)
		}
		p.put("  record", x.Record)
	}
}
