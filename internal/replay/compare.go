package replay

import (
	"context"
	"fmt"
	"slices"

	"github.com/runledger/runledger/answer"
	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/facade"
	"github.com/runledger/runledger/internal/problem"
)

// Compare compares a run with another, mostly its replay. The error wraps
// evidence.ErrNotFound where one of them is not there, evidence.ErrTooLarge
// where one has more than MaxSteps steps.
func (a *Replay) Compare(ctx context.Context, r facade.Reader, run, other string) (*answer.Comparison, error) {
	if run == "" {
		return nil, problem.Malformed("run_id", "is required")
	}
	if other == "" {
		return nil, problem.Malformed("other_run_id", "is required")
	}
	c := &comparison{a: a, r: r, notes: map[note]int{}}
	var err error
	if c.this, err = a.course(ctx, r, run); err != nil {
		return nil, err
	}
	if c.other, err = a.course(ctx, r, other); err != nil {
		return nil, err
	}
	c.out = answer.Comparison{
		RunID: c.this.trace.RunID, OtherRunID: c.other.trace.RunID,
		Differences: []answer.Divergence{}, Uncheckable: []answer.Uncheckable{},
	}
	c.traces()
	var first *difference
	for _, p := range align(c.this.steps, c.other.steps) {
		if d := c.pair(p); d != nil {
			c.out.Divergent++
			if first == nil {
				first = d
			}
		}
	}
	if first != nil {
		if c.out.Divergence, err = c.divergence(ctx, first); err != nil {
			return nil, err
		}
	}
	c.out.Comparable = len(c.out.Uncheckable) == 0
	c.out.Parity = c.out.Comparable && c.out.Divergent == 0 && len(c.out.Differences) == 0
	c.out.Metadata = a.union(r.Tenant, nil, slices.Concat(c.this.parts, c.other.parts)...)
	return &c.out, nil
}

// comparison is one on its way.
type comparison struct {
	a           *Replay
	r           facade.Reader
	this, other *course
	out         answer.Comparison
	notes       map[note]int // places in out.Uncheckable
}

type note struct{ field, reason string }

// difference is where two steps differ.
type difference struct {
	pair
	field string
	// content is the sealed field that differs, or -1; then this and other are
	// what differs.
	content     int
	left, right string
}

// uncheckable notes what cannot be compared; at is the position of the step, -1
// for the trace.
func (c *comparison) uncheckable(field, reason string, at int) {
	n := note{field, reason}
	i, ok := c.notes[n]
	if !ok {
		i = len(c.out.Uncheckable)
		c.notes[n] = i
		u := answer.Uncheckable{Field: field, Reason: reason}
		if at >= 0 {
			u.StepIndex = position(at)
		}
		c.out.Uncheckable = append(c.out.Uncheckable, u)
	}
	if at >= 0 {
		c.out.Uncheckable[i].Steps++
	}
}

func position(at int) *int64 {
	n := int64(at)
	return &n
}

// traces compares what the traces say.
func (c *comparison) traces() {
	t, o := c.this.trace, c.other.trace
	differ := func(field string, this, other answer.Content) {
		c.out.Differences = append(c.out.Differences, answer.Divergence{
			Field: field, Reason: answer.Differs, Detail: fmt.Sprintf("%s of the traces differs", field), This: this, Other: other,
		})
	}
	if textOf(t.Seed) != textOf(o.Seed) {
		differ("seed", quoted(textOf(t.Seed)), quoted(textOf(o.Seed)))
	}
	if x, y := timeOf(t.FrozenTimestamp), timeOf(o.FrozenTimestamp); x != y {
		differ("frozen_timestamp", quoted(x), quoted(y))
	}
	hash, otherHash := valueOf(t.PlanHash), valueOf(o.PlanHash)
	if hash.shown && otherHash.shown {
		if hash.digest != otherHash.digest {
			differ("plan_hash", t.PlanHash, o.PlanHash)
		}
		return
	}
	plan, otherPlan := valueOf(t.Plan), valueOf(o.Plan)
	switch {
	case plan.shown && otherPlan.shown:
		if plan.digest != otherPlan.digest {
			differ("plan", t.Plan, o.Plan)
		}
	case plan.captured() || otherPlan.captured():
		c.uncheckable("plan", why(plan, otherPlan), -1)
	case hash.captured() || otherHash.captured():
		c.uncheckable("plan_hash", why(hash, otherHash), -1)
	}
}

func timeOf(m *evidence.Micros) string {
	if m == nil {
		return ""
	}
	return m.String()
}

// quoted shows a public value; null where there is none.
func quoted(s string) answer.Content {
	if s == "" {
		return answer.Shown([]byte("null"))
	}
	return answer.Shown(evidence.QuoteJSON(s))
}

// why says why two values of which at least one is captured cannot be
// compared.
func why(x, y value) string {
	switch {
	case x.withheld != "":
		return x.withheld
	case y.withheld != "":
		return y.withheld
	}
	return answer.NotCaptured
}

// pair compares two steps that belong together; nil where they are the same as
// far as it can be seen.
func (c *comparison) pair(p pair) *difference {
	if p.this < 0 || p.other < 0 {
		if p.skipped {
			c.out.Skipped++
			return nil
		}
		return &difference{pair: p, field: "step", content: -1}
	}
	c.out.Compared++
	x, y := &c.this.steps[p.this], &c.other.steps[p.other]
	public := func(fields ...[3]string) *difference {
		for _, f := range fields {
			if f[1] != f[2] {
				return &difference{pair: p, field: f[0], content: -1, left: f[1], right: f[2]}
			}
		}
		return nil
	}
	d := public(
		[3]string{"kind", x.kind, y.kind},
		[3]string{"skill_id", x.skillID, y.skillID},
		[3]string{"skill_name", x.skillName, y.skillName},
		[3]string{"replay_behavior", x.behavior, y.behavior},
	)
	in, given := c.content(p, inputHash, params, prompt)
	d = firstOf(d, in)
	if x.skips() || y.skips() { // it was not done again: what came of it says nothing
		c.count(given)
		return d
	}
	d = firstOf(d, public(
		[3]string{"status", x.status, y.status},
		[3]string{"outcome_category", x.category, y.category},
		[3]string{"outcome_code", x.code, y.code},
	))
	out, came := c.content(p, outputHash, outcomeData, response)
	c.count(given || came)
	return firstOf(d, out)
}

func firstOf(d, otherwise *difference) *difference {
	if d != nil {
		return d
	}
	return otherwise
}

func (c *comparison) count(content bool) {
	if content {
		c.out.ContentCompared++
	}
}

// content compares what was given to a step, or came of it: by hash, or else as
// it is. compared reports whether it could compare anything.
func (c *comparison) content(p pair, hash int, whole ...int) (d *difference, compared bool) {
	x, y := &c.this.steps[p.this].contents, &c.other.steps[p.other].contents
	check := func(f int) {
		compared = true
		if x[f].digest != y[f].digest && d == nil {
			d = &difference{pair: p, field: contentNames[f], content: f}
		}
	}
	if x[hash].shown && y[hash].shown {
		check(hash)
		return d, compared
	}
	captured := false
	for _, f := range whole {
		switch {
		case x[f].shown && y[f].shown:
			check(f)
		case x[f].captured() || y[f].captured():
			c.uncheckable(contentNames[f], why(x[f], y[f]), p.this)
		default:
			continue
		}
		captured = true
	}
	if !captured && (x[hash].captured() || y[hash].captured()) {
		c.uncheckable(contentNames[hash], why(x[hash], y[hash]), p.this)
	}
	return d, compared
}

// divergence writes a difference out, with the values as the reader may see
// them.
func (c *comparison) divergence(ctx context.Context, d *difference) (*answer.Divergence, error) {
	out := &answer.Divergence{StepIndex: position(d.order()), Field: d.field, Reason: answer.Differs}
	at := c.other
	behavior := ""
	if d.other >= 0 {
		out.OtherStepIndex = &c.other.steps[d.other].index
		behavior = c.other.steps[d.other].behavior
	}
	if d.this >= 0 {
		at = c.this
		out.ThisStepIndex = &c.this.steps[d.this].index
		behavior = c.this.steps[d.this].behavior
	}
	out.ReplayBehavior = &behavior
	out.This, out.Other = quoted(d.left), quoted(d.right)
	s := &at.steps[d.order()]
	what := fmt.Sprintf("%s %s", s.kind, s.skillName)
	switch {
	case d.this < 0:
		out.Reason, out.Detail = answer.OnlyInOther, fmt.Sprintf("only the other run has the step (%s)", what)
		out.Other = quoted(what)
	case d.other < 0:
		out.Reason, out.Detail = answer.OnlyInThis, fmt.Sprintf("the other run does not have the step (%s)", what)
		out.This = quoted(what)
	default:
		out.Detail = fmt.Sprintf("%s of the step (%s) differs", d.field, what)
	}
	if behavior == "check" {
		out.Detail += "; it is one to be checked in a replay"
	}
	if d.content < 0 {
		return out, nil
	}
	this, err := c.a.reread(ctx, c.r, c.this, d.this)
	if err != nil {
		return nil, err
	}
	other, err := c.a.reread(ctx, c.r, c.other, d.other)
	if err != nil {
		return nil, err
	}
	out.This, out.Other = contentOf(this, d.content), contentOf(other, d.content)
	return out, nil
}
