package runs

import (
	"slices"
	"strconv"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/dialect"
)

// The numbers of a model call that a run adds up. They are the public fields
// of trace_step and llm_run of the same names.
const (
	inputTokens = iota
	outputTokens
	cachedTokens
	cacheWriteTokens
	reasoningTokens
	costNanos
	numbers
)

var numberFields = [numbers]string{
	inputTokens:      "input_tokens",
	outputTokens:     "output_tokens",
	cachedTokens:     "cached_input_tokens",
	cacheWriteTokens: "cache_write_input_tokens",
	reasoningTokens:  "reasoning_tokens",
	costNanos:        "cost_usd_nanos",
}

// stepFlags are the honesty flags of a step that concern its run, as bits.
var stepFlags = []string{
	dialect.FlagAttrsDropped, dialect.FlagAttrsTruncated, dialect.FlagTimeReversed, dialect.FlagClockSkew,
	// Those of a model call that is counted:
	dialect.FlagTokensEstimated, dialect.FlagTokensUnknown, dialect.FlagCachedUnknown, dialect.FlagReasoning, dialect.FlagCostUnknown,
}

// callFlags is the bit from which on flags concern only what is counted.
const callFlags = 4

// span names a span within a run, which may hold several traces.
type span struct {
	trace int32 // index into run.traces, or -1
	id    uint64
}

// step is what a run remembers of one step.
type step struct {
	order
	index        int64
	span, parent span
	hasSpan      bool // without a span id nothing can be its child
	hasParent    bool
	call         bool // a model call: llm or embedding
	embedding    bool
	guardrail    bool
	failed       bool
	known        uint8 // bits of num
	flags        uint16
	provider     string
	model        string
	num          [numbers]int64
	response     []byte // message list, of calls and of roots
	output       []byte // outcome_data, of roots
}

// takeStep reads a step's record.
func (a *run) takeStep(r *evidence.Record, p place) *step {
	s := step{order: order{start: r.OccurredAt, end: r.OccurredAt, id: p.id}, index: p.step}
	s.span.trace, s.parent.trace = -1, -1
	var requestModel string
	for i := range r.Pub {
		f := &r.Pub[i]
		switch f.Field.Name {
		case "trace_id":
			s.span.trace = a.trace(f.Str)
			s.parent.trace = s.span.trace
		case "span_id":
			s.span.id, s.hasSpan = spanID(f.Str), true
		case "parent_span_id":
			s.parent.id, s.hasParent = spanID(f.Str), true
		case "step_kind":
			s.embedding = f.Str == "embedding"
			s.call = s.embedding || f.Str == "llm"
			s.guardrail = f.Str == "guardrail"
		case "status":
			s.failed = f.Str == "failure"
		case "duration_us":
			s.end = s.start + evidence.Micros(f.Int)
		case "provider":
			s.provider = a.intern(nameOf(r, f))
		case "request_model":
			requestModel = a.intern(nameOf(r, f))
		case "model":
			s.model = a.intern(nameOf(r, f))
		case "flags":
			for _, flag := range f.List {
				if bit := slices.Index(stepFlags, flag); bit >= 0 {
					s.flags |= 1 << bit
				}
			}
		default:
			if n := slices.Index(numberFields[:], f.Field.Name); n >= 0 {
				s.num[n], s.known = f.Int, s.known|1<<n
			}
		}
	}
	if s.model == "" {
		s.model = requestModel
	}
	a.steps = append(a.steps, s)
	a.grow(stepBytes)
	return &a.steps[len(a.steps)-1]
}

// stepBytes is about what a step takes, with the growth of its slice.
const stepBytes = 320

func (s *step) knows(n int) bool { return s.known&(1<<n) != 0 }

// usage reports whether the step says how many tokens it took.
func (s *step) usage() bool { return s.known&(1<<costNanos-1) != 0 }

// lacks reports whether a number that the step must have is unknown. A failed
// call that states no usage took none that anyone could know; its cost is
// unknown only if it did. An embedding has input and nothing else.
func (s *step) lacks(n int) bool {
	switch {
	case s.knows(n):
		return false
	case s.failed:
		return n == costNanos && s.usage()
	case s.embedding:
		return n == inputTokens || n == costNanos
	default:
		return true
	}
}

// spanID reads the 16 hex digits of a span id.
func spanID(s string) uint64 {
	id, _ := strconv.ParseUint(s, 16, 64)
	return id
}

// none is the index of no step.
const none = -1

// tree is how the steps of a run hang together.
type tree struct {
	steps  []step
	parent []int  // none for a top-level step
	below  []bool // a model call hangs below it
}

// newTree links the steps. Where spans are each other's ancestors, which no
// honest producer sends, the first of such a circle counts as top-level.
func newTree(steps []step) *tree {
	at := make(map[span]int, len(steps))
	for i := range steps {
		s := &steps[i]
		if !s.hasSpan {
			continue
		}
		// A conflict never gets here, so a span has one step.
		at[s.span] = i
	}
	t := &tree{steps: steps, parent: make([]int, len(steps)), below: make([]bool, len(steps))}
	for i := range steps {
		t.parent[i] = none
		if p, ok := at[steps[i].parent]; ok && steps[i].hasParent {
			t.parent[i] = p
		}
	}
	t.cut()
	for i := range steps {
		if !steps[i].call {
			continue
		}
		for p := t.parent[i]; p != none && !t.below[p]; p = t.parent[p] {
			t.below[p] = true
		}
	}
	return t
}

// cut opens circles.
func (t *tree) cut() {
	seen := make([]int, len(t.steps)) // by which walk; 0: not yet
	for i := range t.steps {
		walk := i + 1
		p := i
		for p != none && seen[p] == 0 {
			seen[p] = walk
			p = t.parent[p]
		}
		if p == none || seen[p] != walk {
			continue
		}
		head := p
		for q := t.parent[p]; q != p; q = t.parent[q] {
			if t.steps[q].before(t.steps[head].order) {
				head = q
			}
		}
		t.parent[head] = none
	}
}

// counted returns the model calls that totals count, by start: those below
// which there is no other. A call above another is the same one seen by
// another instrumentation, or the agent around it.
func (t *tree) counted() []int {
	var list []int
	for i := range t.steps {
		if t.steps[i].call && !t.below[i] {
			list = append(list, i)
		}
	}
	slices.SortFunc(list, func(a, b int) int {
		if t.steps[a].before(t.steps[b].order) {
			return -1
		}
		return 1
	})
	return list
}

// last returns the step among those that match that ends last.
func (t *tree) last(match func(i int) bool) int {
	last := none
	for i := range t.steps {
		if match(i) && (last == none || t.steps[i].endsAfter(t.steps[last].order)) {
			last = i
		}
	}
	return last
}

// decides returns the step whose outcome is the run's: the root, else the last
// top-level step to end; none where there are no steps.
func (t *tree) decides() int {
	if root := t.last(func(i int) bool { return !t.steps[i].hasParent }); root != none {
		return root
	}
	return t.last(func(i int) bool { return t.parent[i] == none })
}
