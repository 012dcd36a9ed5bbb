package verify

import (
	"fmt"
	"slices"

	"github.com/runledger/runledger/evidence"
)

// PeriodReport says what a bundle of profile period holds of its time.
type PeriodReport struct {
	Kind    string `json:"kind"`
	From    string `json:"from"`
	Until   string `json:"until"`
	Records int64  `json:"records"` // recorded in that time, in the tenant's own logs
	// Open: the tenant's newest log ends before Until, so what was still to
	// come is not known.
	Open bool `json:"open"`
}

// periodComplete is check 9 for a bundle of profile period: of the tenant's
// logs it holds every leaf with from <= t < until, which the leaves next to them
// show, one before and one after, or the log's own beginning and end.
func (c *checker) periodComplete() {
	s := c.man.Scope
	from, _ := evidence.ParseMicros(s.From)
	until, _ := evidence.ParseMicros(s.Until)
	rep := &PeriodReport{Kind: s.Kind, From: s.From, Until: s.Until}
	c.rep.Period = rep
	for i, k := range c.order {
		l := c.logs[k]
		if l == nil {
			break // W_NO_KEY
		}
		rep.Records += l.stretch.inside
		if l.report.Records == 0 {
			c.rep.add(*gap(l, 0, 0, "the bundle holds no record of this log, not even the ones next to the period"))
			break
		}
		c.without(l)
		c.begins(l, from)
		c.ends(l, until, i == 0)
	}
	for k, l := range c.logs {
		if l != nil && !l.report.System && !slices.Contains(c.order, k) {
			c.rep.add(*gap(l, 0, 0, "nothing in the bundle leads from the newest log to this one, which does not hold shared records of the system only"))
		}
	}
}

// without says which leaves are missing between the records of a directory.
func (c *checker) without(l *logState) {
	for _, h := range l.stretch.holes {
		c.rep.add(*gap(l, h.from, h.to, "these leaves are missing between two that are here"))
	}
	c.rep.dropped += l.stretch.more
}

// begins checks that no leaf of the period stands before a directory's first.
func (c *checker) begins(l *logState, from evidence.Micros) {
	first := &l.stretch
	switch {
	case first.firstAt < from:
	case first.first > 0:
		c.rep.add(*gap(l, first.first-1, first.first, "the leaf before the first one is missing, and the first one is not older than the period"))
	case l.opened.predecessor == nil:
	default:
		pre := l.opened.predecessor
		k := c.dirOf(pre.Origin)
		if k < 0 {
			c.rep.add(*gap(l, 0, 0, "the period reaches into the log before, "+pre.Origin+", which is not in the bundle"))
		} else if older := c.logs[k]; older != nil && older.Size < pre.Size {
			c.rep.add(*gap(older, older.Size, pre.Size, l.Origin+" follows these leaves, which are not in the bundle"))
		}
	}
}

// ends checks that no leaf of the period stands behind a directory's last: t
// never decreases.
func (c *checker) ends(l *logState, until evidence.Micros, newest bool) {
	last := &l.stretch
	switch {
	case last.lastAt >= until:
	case last.last != l.Size-1:
		c.rep.add(*gap(l, last.last+1, last.last+2, "the leaf after the last one is missing, and the last one is older than the period's end"))
	case newest:
		c.rep.Period.Open = true
		c.rep.add(Finding{
			Code: WOpen, Log: l.Origin, Dir: l.Dir, Path: l.Dir + "/checkpoint",
			Message: fmt.Sprintf("the log ended, at %s, before the period did: nothing says what was still to come", last.lastAt),
		})
	}
}
