package stream

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
)

// maxConditions bounds how many conditions are followed at once; beyond it those that
// are there are told of first.
const maxConditions = 200

// watch follows conditions: each is told of once when it has stood for a while, and
// once when it is over.
type watch struct {
	cfg     *Config
	workers []*worker
	seen    map[string]*tracked
	tenants []string
}

// tracked is a condition that is followed.
type tracked struct {
	condition
	from  time.Time
	due   bool // it stood for long enough to be told of
	raise bool // its beginning was told of
}

// look takes up what is the case now.
func (w *watch) look(now time.Time, own *condition) {
	current := map[string]bool{}
	for _, c := range w.current(now, own) {
		key := c.key()
		current[key] = true
		t := w.seen[key]
		if t == nil {
			if len(w.seen) >= maxConditions {
				continue
			}
			t = &tracked{condition: *c, from: now}
			t.Since = evidence.MicrosOf(now)
			w.seen[key] = t
		}
		if !t.raise && !t.Over {
			t.Why, t.Tenants, t.Count = c.Why, c.Tenants, c.Count
		}
		t.due = t.due || now.Sub(t.from) >= w.cfg.tempo.settle
	}
	for key, t := range w.seen {
		switch {
		case current[key] || t.Over:
		case t.due:
			t.Over, t.Ended = true, evidence.MicrosOf(now)
		default:
			delete(w.seen, key) // gone before it stood for long enough
		}
	}
}

// hand forgets the conditions that one process tells of for all: another does from now
// on, or did so far.
func (w *watch) hand() {
	for key, t := range w.seen {
		if t.Name == condCompromised || t.Name == condDegraded {
			delete(w.seen, key)
		}
	}
}

// change is one beginning or end of a condition to tell of.
type change struct {
	condition
	of *tracked
}

// due returns the changes to tell of, in the order in which they came.
func (w *watch) due() (list []change) {
	for _, t := range w.seen {
		c := change{condition: t.condition, of: t}
		switch {
		case t.due && !t.raise:
			c.Over = false
			list = append(list, c)
		case t.Over:
			list = append(list, c)
		}
	}
	slices.SortFunc(list, func(a, b change) int {
		if a.changed() != b.changed() {
			return int(a.changed() - b.changed())
		}
		return strings.Compare(a.key(), b.key())
	})
	return list
}

// told notes that a change was delivered.
func (w *watch) told(c change) {
	if c.Over {
		delete(w.seen, c.key())
		return
	}
	c.of.raise = true
}

// current returns what is the case now.
func (w *watch) current(now time.Time, own *condition) (list []*condition) {
	if own != nil {
		list = append(list, own)
	}
	for _, s := range w.workers {
		list = append(list, s.conditions(now, w.cfg.tempo.down)...)
	}
	unwritable := w.cfg.Ready()
	if unwritable != nil {
		list = append(list, &condition{Name: condUnwritable, Subject: w.cfg.Process, Why: why(unwritable)})
	}
	degraded := &condition{Name: condDegraded}
	for _, tenant := range w.tenants {
		in := w.cfg.Ledger.Integrity(tenant)
		switch in.Status {
		case ledger.StatusCompromised:
			c := &condition{Name: condCompromised, Subject: tenant, Why: compromisedBy(in)}
			c.add(tenant)
			list = append(list, c)
		case ledger.StatusDegraded:
			// Of a ledger that does not write every tenant is degraded: that is told
			// once, above.
			if unwritable == nil {
				if degraded.Why == "" {
					degraded.Why = in.Why
				}
				degraded.add(tenant)
			}
		}
	}
	if degraded.Count > 0 {
		list = append(list, degraded)
	}
	return list
}

func compromisedBy(in ledger.Integrity) string {
	var n int
	first := ""
	for i := range in.Anomalies {
		if in.Anomalies[i].Code[0] != 'E' {
			continue
		}
		if n++; n == 1 {
			first = in.Anomalies[i].String()
		}
	}
	return fmt.Sprintf("%d anomalies, the first: %s", n, first)
}
