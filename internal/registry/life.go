package registry

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/runledger/runledger/evidence"
)

// verdict is what an observation says of one capability.
type verdict struct {
	ran    map[string]bool // its scenarios that were run, and whether they passed
	failed []string        // of each that failed its id and why, in order
}

// judge returns what an observation says of a capability.
func (o *Observation) judge(c *Capability) verdict {
	v := verdict{ran: map[string]bool{}}
	for i := range o.Scenarios {
		s := &o.Scenarios[i]
		if !slices.Contains(c.Scenarios, s.ID) {
			continue
		}
		v.ran[s.ID] = s.Passed
		if !s.Passed {
			v.failed = append(v.failed, s.ID+" "+s.Failure.short())
		}
	}
	return v
}

// short is the failure without what differs from one run to the next.
func (f *Failure) short() string {
	text := f.Reason
	if f.Invariant != "" {
		text += " " + f.Invariant
	}
	if f.Step != "" {
		text += " at " + f.Step
	}
	return text
}

// isOlder says whether an observation was made before the one that was applied last: by
// the order of their log, and where they are in two, by the time of the ledgers.
func (a *Applied) isOlder(than *Applied) bool {
	if than == nil || a.Digest == than.Digest {
		return false
	}
	if a.Log == than.Log {
		return a.LeafIndex <= than.LeafIndex
	}
	return a.ObservedAt <= than.ObservedAt
}

// next returns what becomes of a capability, and how that is told. The capability is not
// changed.
func (c *Capability) next(v verdict, a Applied, rule TrustedRule) (*Capability, Change) {
	change := Change{ID: c.ID, From: c.Status, To: c.Status}
	all := len(c.Scenarios)
	switch {
	case c.Observation != nil && c.Observation.Digest == a.Digest:
		change.Reason = "this observation was applied before"
		return c, change
	case len(v.failed) == 0 && len(v.ran) < all:
		change.Reason = countOf(len(v.ran), all) + " passed: only a run of all of them changes the status"
		return c, change
	}
	n := *c
	n.History = slices.Clone(c.History)
	a.Passed = len(v.failed) == 0
	if c.Observation != nil && c.Observation.Registry != a.Registry {
		n.Passing = nil // what passed by another definition does not count
	}
	n.Observation = &a
	if a.Passed {
		change.Reason = n.pass(a.ObservedAt, rule)
	} else {
		change.Reason = n.fail(v, all)
	}
	change.To, change.Changed = n.Status, true
	if change.From != change.To || !a.Passed {
		n.note(Transition{At: a.ObservedAt, From: change.From, To: change.To, Reason: change.Reason, Observation: a.Digest})
	}
	return &n, change
}

func (c *Capability) fail(v verdict, all int) (reason string) {
	c.Passing = nil
	if c.Status != Declared {
		c.Status = Degraded
	}
	return countOf(len(v.failed), all) + " failed: " + strings.Join(v.failed, "; ")
}

func (c *Capability) pass(at evidence.Micros, rule TrustedRule) (reason string) {
	p := Passing{Since: at}
	if c.Passing != nil && (c.Status == Observed || c.Status == Trusted) {
		p = *c.Passing
	}
	p.Count++
	c.Passing = &p
	over := at.Time().Sub(p.Since.Time())
	switch {
	case c.Status != Observed && c.Status != Trusted:
		c.Status = Observed
		return countOf(len(c.Scenarios), len(c.Scenarios)) + " passed"
	case c.Status == Observed && p.Count >= rule.Observations && over >= rule.Over:
		c.Status = Trusted
		return fmt.Sprintf("passed %d times in a row over %s", p.Count, over.Round(time.Second))
	default:
		return fmt.Sprintf("passed, %d times in a row since %s", p.Count, p.Since)
	}
}

// note adds a transition to the history. A failure that changed nothing and has the
// reason of an earlier one since the last change takes that one's place, so a
// capability that stays broken does not grow without end.
func (c *Capability) note(t Transition) {
	if t.From == t.To {
		for i := len(c.History) - 1; i >= 0 && c.History[i].From == c.History[i].To; i-- {
			if c.History[i].repeats(t) {
				c.History = slices.Delete(c.History, i, i+1)
				break
			}
		}
	}
	c.History = append(c.History, t)
}

// repeats says whether two failures that changed nothing are the same one again.
func (t *Transition) repeats(other Transition) bool {
	changed := t.From != t.To
	return !changed && t.From == other.From && t.To == other.To && t.Reason == other.Reason
}

// verifiedBy says whether an intent is verified, whose capability has that status after
// what v says: by all scenarios together, or, where some failed, by its own one.
func (i *Intent) verifiedBy(status string, v verdict) bool {
	switch status {
	case Observed, Trusted:
		return true
	case Degraded:
		if passed, ran := v.ran[i.SDSR.Scenario]; ran {
			return passed
		}
		return i.SDSR.Verified
	default:
		return false
	}
}

// knows checks that the scenarios of an observation are those of the registry, and that
// all was looked at of those that passed.
func (r *Registry) knows(o *Observation) error {
	for i := range o.Scenarios {
		s := &o.Scenarios[i]
		at, found := slices.BinarySearchFunc(r.Scenarios, s.ID, func(have *Scenario, id string) int { return cmp.Compare(have.ID, id) })
		if !found {
			return fmt.Errorf("the registry has no scenario %s: %w", s.ID, evidence.ErrInvalid)
		}
		if have := r.Scenarios[at]; have.Version != s.Version || have.Capability != s.Capability || have.Panel != s.Panel {
			return fmt.Errorf("scenario %s is of another version, capability or panel than the registry's: %w", s.ID, evidence.ErrInvalid)
		}
		if s.Passed && !r.Scenarios[at].isShownBy(s, r.Invariants) {
			return fmt.Errorf("scenario %s passed, and not all of it was sent, seen and checked: %w", s.ID, evidence.ErrInvalid)
		}
	}
	return nil
}

// isShownBy reports whether a result has all that the scenario sends, and of each answer
// that it looks at all invariants, at their level, and all expectations. That what is
// required holds, the result says itself.
func (s *Scenario) isShownBy(result *ScenarioResult, all []*Invariant) bool {
	if len(result.Sent) != len(s.Inject) || len(result.Seen) != len(s.Observe) {
		return false
	}
	used := usedInvariants(all, s.Invariants)
	for i := range s.Observe {
		o, seen := &s.Observe[i], &result.Seen[i]
		if seen.ID != stepOf(i, o) || seen.Status != http.StatusOK ||
			!slices.EqualFunc(seen.Invariants, used, func(c Checked, inv *Invariant) bool { return c.ID == inv.ID && c.Level == inv.Level }) ||
			!slices.EqualFunc(seen.Expectations, o.Expect, func(c Checked, e Expect) bool { return c.ID == e.Path && c.Level == Required }) {
			return false
		}
	}
	return true
}
