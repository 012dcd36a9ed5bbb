package replay

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/runledger/runledger/answer"
	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/facade"
)

// Sealed fields that are compared.
const (
	inputHash = iota
	params
	prompt
	outputHash
	outcomeData
	response
	contentFields
)

var contentNames = [contentFields]string{"input_hash", "params", "prompt", "output_hash", "outcome_data", "response"}

// contentOf returns a sealed field of a step.
func contentOf(s *answer.Step, field int) answer.Content {
	return [contentFields]answer.Content{s.InputHash, s.Params, s.Prompt, s.OutputHash, s.OutcomeData, s.Response}[field]
}

// value is what is kept of sealed content: enough to compare it. The zero value
// was not captured.
type value struct {
	shown    bool
	withheld string // why it cannot be compared, "" where it can or is not there
	digest   [sha256.Size]byte
}

func valueOf(c answer.Content) value {
	switch {
	case c.Value != nil:
		return value{shown: true, digest: sha256.Sum256(canonical(c.Value))}
	case c.Withheld == nil || c.Withheld.Reason == answer.NotCaptured:
		return value{}
	}
	return value{withheld: c.Withheld.Reason}
}

func (v value) captured() bool { return v.shown || v.withheld != "" }

// canonical returns JSON in the form of RFC 8785, but keeps integers as they
// are: beyond 2^53 two different ones would else be the same.
func canonical(text []byte) []byte {
	v := jsontext.Value(bytes.Clone(text))
	if err := v.Canonicalize(jsontext.CanonicalizeRawInts(false)); err != nil {
		return text // then it is the same only byte for byte
	}
	return v
}

// step is what is kept of a step: what must be the same in a replay. Content is
// kept as digests, so that runs of any size can be compared.
type step struct {
	index  int64 // its step_index
	leaf   int64
	parent int    // position of the step above it, -1 where there is none
	page   string // cursor of the page it stands on
	size   int    // of that page

	kind, skillID, skillName, behavior string
	status, category, code, key        string
	contents                           [contentFields]value
}

func (s *step) skips() bool { return s.behavior == "skip" }

// course is a run as it is compared.
type course struct {
	trace *answer.RunTrace // of the first page, without its steps
	steps []step           // in their order, without conflict records
	parts []evidence.Metadata
}

// pageSize is how many steps are read at a time. They are read, not shown, so it
// does not follow what the reader may see on one page.
const pageSize = 500

func (a *Replay) course(ctx context.Context, r facade.Reader, run string) (*course, error) {
	r.MaxRows = pageSize
	c := &course{}
	var parents []*int64 // step_index of the parent, by position
	size := pageSize
	for cursor, first := "", true; first || cursor != ""; {
		trace, err := a.cfg.Facade.Trace(ctx, r, run, facade.Paging{Cursor: cursor, Limit: size})
		if errors.Is(err, evidence.ErrTooLarge) && size > 1 {
			size /= 2 // the steps have much content
			continue
		}
		if err != nil {
			return nil, err
		}
		if trace.TotalSteps > int64(a.maxSteps) || len(c.steps)+len(trace.Steps) > a.maxSteps {
			return nil, fmt.Errorf("run %s: %w: it has more than the %d steps that can be compared", trace.RunID, evidence.ErrTooLarge, a.maxSteps)
		}
		for i := range trace.Steps {
			if s := &trace.Steps[i]; s.ConflictOf == nil {
				c.steps = append(c.steps, keep(s, cursor, size))
				parents = append(parents, s.ParentStepIndex)
			}
		}
		c.parts = append(c.parts, trace.Metadata)
		if first {
			head := *trace
			head.Steps, head.Events = nil, nil
			c.trace, first = &head, false
		}
		cursor = ""
		if trace.HasMore && trace.NextCursor != nil {
			cursor = *trace.NextCursor
		}
	}
	c.link(parents)
	return c, nil
}

func keep(s *answer.Step, page string, size int) step {
	k := step{
		index: s.StepIndex, leaf: s.LeafIndex, parent: -1, page: page, size: size,
		kind: s.Kind, skillID: s.SkillID, skillName: s.SkillName, behavior: s.ReplayBehavior,
		status: s.Status, category: s.OutcomeCategory, code: textOf(s.OutcomeCode), key: textOf(s.IdempotencyKey),
	}
	for f := range k.contents {
		k.contents[f] = valueOf(contentOf(s, f))
	}
	return k
}

func textOf(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// link finds the steps' parents. A step whose parent is not there has none; nor
// has one of a circle, which a producer can send.
func (c *course) link(parents []*int64) {
	at := make(map[int64]int, len(c.steps))
	for i := range c.steps {
		at[c.steps[i].index] = i
	}
	for i, p := range parents {
		if p == nil {
			continue
		}
		if pos, ok := at[*p]; ok {
			c.steps[i].parent = pos
		}
	}
	const onPath, done = 1, 2
	seen := make([]uint8, len(c.steps))
	for i := range c.steps {
		var path []int
		for s := i; s >= 0 && seen[s] != done; s = c.steps[s].parent {
			if seen[s] == onPath {
				c.steps[path[len(path)-1]].parent = -1
				break
			}
			seen[s] = onPath
			path = append(path, s)
		}
		for _, s := range path {
			seen[s] = done
		}
	}
}

// reread returns the step as the facade answers it.
func (a *Replay) reread(ctx context.Context, r facade.Reader, c *course, at int) (*answer.Step, error) {
	s := &c.steps[at]
	r.MaxRows = pageSize
	trace, err := a.cfg.Facade.Trace(ctx, r, c.trace.RunID, facade.Paging{Cursor: s.page, Limit: s.size})
	if err != nil {
		return nil, err
	}
	for i := range trace.Steps {
		if t := &trace.Steps[i]; t.StepIndex == s.index && t.LeafIndex == s.leaf {
			return t, nil
		}
	}
	return nil, fmt.Errorf("run %s: step %d: %w: the run changed while it was compared", c.trace.RunID, s.index, evidence.ErrUnavailable)
}
