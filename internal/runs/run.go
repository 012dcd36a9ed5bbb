package runs

import (
	"bytes"
	"encoding/json"
	"math"
	"slices"
	"strings"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/dialect"
)

// run accumulates the records of one run. It has no clock and does no I/O; what
// it says in the end depends on what it was given and not on the order.
type run struct {
	tenant, id    string
	nearThreshold int

	records int64 // how many it was given, conflicts and llm_run records included
	maxN    int64 // the greatest n among them
	bytes   int64 // about what it takes

	steps  []step
	names  []string // interned
	traces []string
	events map[span]*said
	audits audits

	traceID      first
	alias        first
	conversation first
	agentID      first
	agentName    first
	system       first
	correlation  first
	scenario     first
	source       first
	executor     first
	began        evidence.Micros // earliest occurred_at of all records
	actor        single
	subject      single
	origin       single
	synthetic    bool
	flags        uint16
	policies     set
	incidents    set
	callPrompt   first // user text of the first model call that has one
	otherPrompt  first // of the first other step
	failure      failure
	hasRoot      bool
}

// place is where a record stands and whether it contradicts another.
type place struct {
	id       evidence.ID
	n, step  int64
	conflict bool
}

// runBytes is about what an empty run takes.
const runBytes = 2048

func newRun(tenant, id string, nearThreshold int) *run {
	return &run{tenant: tenant, id: id, nearThreshold: nearThreshold, maxN: -1, bytes: runBytes, began: math.MaxInt64}
}

func (a *run) grow(n int) { a.bytes += int64(n) }

// complete reports whether nothing is missing between the records it was given.
func (a *run) complete() bool { return a.records == a.maxN+1 }

// add takes in a record. It keeps nothing of it but strings, and copies of
// contents. Records that contradict others count in n and in nothing else.
func (a *run) add(r *evidence.Record, p place, h *dialect.Hints) {
	a.records++
	a.maxN = max(a.maxN, p.n)
	if p.conflict || r.Kind == evidence.KindLLMRun {
		return
	}
	at := order{r.OccurredAt, r.OccurredAt, p.id}
	a.began = min(a.began, at.start)
	switch r.Kind {
	case evidence.KindTraceStep:
		s := a.takeStep(r, p)
		at = s.order
		a.hasRoot = a.hasRoot || !s.hasParent
		a.flags |= s.flags & (1<<callFlags - 1)
		a.contentOf(r, s)
		a.failureOf(r, s)
	case evidence.KindTraceEvent:
		a.takeEvent(r, at, h)
	case evidence.KindAudit:
		a.takeAudit(r, at)
	}
	a.common(r, at)
	a.hints(at, h)
}

// common reads the fields that all kinds have. Who acted, and for whom, is
// said by what was done; audit entries also name people who decided about it.
func (a *run) common(r *evidence.Record, at order) {
	activity := r.Kind == evidence.KindTraceStep || r.Kind == evidence.KindTraceEvent || r.Kind == evidence.KindTrace
	for i := range r.Pub {
		f := &r.Pub[i]
		switch f.Field.Name {
		case "policy_ids":
			a.policies.add(namesOf(r, f))
		case "incident_ids":
			a.incidents.add(namesOf(r, f))
		case "is_synthetic":
			a.synthetic = a.synthetic || f.Int != 0
		case "synthetic_scenario_id":
			a.scenario.offer(at, nameOf(r, f))
		case "trace_id":
			a.traceID.offer(at, f.Str)
		case "run_alias":
			a.alias.offer(at, nameOf(r, f))
		case "policy_id":
			a.policies.add([]string{nameOf(r, f)})
		}
		if !activity {
			continue
		}
		switch f.Field.Name {
		case "correlation_id":
			a.correlation.offer(at, nameOf(r, f))
		case "system_id":
			a.system.offer(at, nameOf(r, f))
		case "origin":
			a.origin.offer(f.Str)
		case "agent_id":
			if r.Kind == evidence.KindTraceStep {
				a.agentID.offer(at, nameOf(r, f))
			}
		}
	}
	if activity {
		a.actor.offer(r.HumanActor())
	}
	a.subject.offer(textOf(r.SealedJSON("/subject")))
}

func (a *run) hints(at order, h *dialect.Hints) {
	a.alias.offer(at, h.RunAlias)
	a.conversation.offer(at, h.Conversation)
	a.agentName.offer(at, h.AgentName)
	a.scenario.offer(at, h.ScenarioID)
	a.correlation.offer(at, h.CorrelationID)
	a.source.offer(at, h.Source)
	a.executor.offer(at, h.Executor)
	a.synthetic = a.synthetic || h.Synthetic
}

// failure is the failed step that failed first: a step fails when it ends, so
// what fails because of another fails after it.
type failure struct {
	order
	set    bool
	span   span
	index  int64
	reason string
}

func (a *run) failureOf(r *evidence.Record, s *step) {
	if !s.failed {
		return
	}
	f := &a.failure
	if f.set && (s.end > f.end || s.end == f.end && f.order.endsAfter(s.order)) {
		return
	}
	reason := textOf(r.SealedJSON("/status_message"))
	if reason == "" {
		reason = named(r, "outcome_code")
	}
	if reason == "" {
		reason = named(r, "skill_name") + " failed"
	}
	a.grow(len(reason) - len(f.reason))
	*f = failure{order: s.order, set: true, span: s.span, index: s.index, reason: reason}
	if !s.hasSpan {
		f.span.trace = -1
	}
}

// trace returns the index of a trace id of the run.
func (a *run) trace(id string) int32 { return int32(a.index(&a.traces, id)) }

func (a *run) index(list *[]string, s string) int {
	for i := range *list {
		if (*list)[i] == s {
			return i
		}
	}
	*list = append(*list, strings.Clone(s))
	a.grow(len(s) + 32)
	return len(*list) - 1
}

// maxNames bounds the search of a run's names; beyond it they are kept apart.
const maxNames = 64

// intern returns the run's own copy of a name, so that a record is not kept for
// the sake of one.
func (a *run) intern(s string) string {
	switch {
	case s == "":
		return ""
	case len(a.names) < maxNames:
		return a.names[a.index(&a.names, s)]
	default:
		if i := slices.Index(a.names, s); i >= 0 {
			return a.names[i]
		}
		a.grow(len(s))
		return strings.Clone(s)
	}
}

// set keeps distinct names, sorted.
type set []string

// maxSet bounds a list of a run: its leaf must stay within 16 KiB.
const maxSet = 24

func (s *set) add(names []string) {
	for _, n := range names {
		if n == "" {
			continue
		}
		i, found := slices.BinarySearch(*s, n)
		if !found {
			*s = slices.Insert(*s, i, strings.Clone(n))
		}
		// One more is kept than is shown, so that it is known that there are
		// more; which ones are shown does not depend on the order of arrival.
		if len(*s) > maxSet+1 {
			*s = (*s)[:maxSet+1]
		}
	}
}

// nameOf returns a name as its producer sent it: an unfit one stands sealed.
// One that was erased is none.
func nameOf(r *evidence.Record, f *evidence.Fact) string {
	if f.Field.Type == evidence.TypeName && evidence.IsReplacement(f.Str) {
		return textOf(r.SealedJSON("/" + f.Field.Name))
	}
	return f.Str
}

func named(r *evidence.Record, name string) string {
	f, _ := r.Fact(name)
	if f.Field == nil {
		return ""
	}
	return nameOf(r, &f)
}

// namesOf is nameOf for an array, which is sealed whole.
func namesOf(r *evidence.Record, f *evidence.Fact) []string {
	if !slices.ContainsFunc(f.List, evidence.IsReplacement) {
		return f.List
	}
	if list := evidence.NamesIn(r.SealedJSON("/" + f.Field.Name)); list != nil {
		return list
	}
	return slices.DeleteFunc(slices.Clone(f.List), evidence.IsReplacement)
}

// textOf returns the content of a JSON string, or "".
func textOf(text []byte) string {
	if len(text) < 2 || text[0] != '"' {
		return ""
	}
	if body := text[1 : len(text)-1]; bytes.IndexByte(body, '\\') < 0 {
		return string(body)
	}
	var s string
	if json.Unmarshal(text, &s) != nil {
		return ""
	}
	return s
}
