package runs

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/dialect"
)

// How a run ended: the values of sealed_by that the server writes.
const (
	byRoot    = "root_span"
	byQuiet   = "quiet"
	byTimeout = "timeout"
)

// flagListsCut says that a list of names had more than fit into a leaf.
const flagListsCut = "lists_truncated"

// facts returns the run's llm_run record. With sealedBy "" the run is still
// going on: the record says how far it has come, has no status, outcome or end,
// and is not for appending.
func (a *run) facts(sealedBy string, revision int64) *evidence.Record {
	t := newTree(a.steps)
	r := &evidence.Record{Kind: evidence.KindLLMRun, Run: a.id}
	flags := map[string]bool{}
	a.times(r)
	a.spine(r, flags)
	a.totals(r, t, flags)
	a.inflection(r)
	if !a.subject.many {
		a.content(r, t)
	}
	if !a.hasRoot {
		flags[dialect.FlagRootMissing] = true
	}
	for i, flag := range stepFlags[:callFlags] {
		if a.flags&(1<<i) != 0 {
			flags[flag] = true
		}
	}
	list := make([]string, 0, len(flags))
	for flag := range flags {
		list = append(list, flag)
	}
	slices.Sort(list)
	r.SetNames("completeness", list)
	r.SetInt("revision", revision)
	r.SetInt("step_count", int64(len(a.steps)))
	if sealedBy != "" {
		status := a.status(t, sealedBy)
		r.SetText("execution_status", status)
		r.SetText("outcome", a.outcome(status))
		r.SetText("sealed_by", sealedBy)
		a.completed(r)
	}
	return r
}

// times sets when the run began: with its earliest step, or where it has none
// with its earliest record.
func (a *run) times(r *evidence.Record) {
	began := a.began
	for i := range a.steps {
		if i == 0 || a.steps[i].start < began {
			began = a.steps[i].start
		}
	}
	r.OccurredAt = began
	r.SetInt("started_at", int64(began))
}

// completed sets when its last step ended.
func (a *run) completed(r *evidence.Record) {
	var end evidence.Micros
	for i := range a.steps {
		if i == 0 || a.steps[i].end > end {
			end = a.steps[i].end
		}
	}
	if len(a.steps) > 0 && end.InRange() {
		r.SetInt("completed_at", int64(end))
	}
}

// spine sets who and what the run is of.
func (a *run) spine(r *evidence.Record, flags map[string]bool) {
	r.SetText("source_domain", "ACTIVITY")
	r.SetText("source_component", "TraceStore")
	r.SetText("trace_id", a.traceID.text)
	r.SetText("run_alias", a.alias.text)
	r.SetText("conversation_id", a.conversation.text)
	r.SetText("agent_id", a.agentID.text)
	r.SetText("agent_name", a.agentName.text)
	r.SetText("system_id", a.system.text)
	r.SetText("correlation_id", a.correlation.text)
	r.SetText("synthetic_scenario_id", a.scenario.text)
	r.SetBool("is_synthetic", a.synthetic)
	r.SetHumanActor(a.actor.get())
	if s := a.subject.get(); s != "" {
		r.SetSealed("/subject", evidence.QuoteJSON(s))
	}
	if o := a.origin.get(); o == "MIGRATION" || o == "REPLAY" {
		r.SetText("origin", o)
	}
	source := a.source.text
	if source == "" && a.synthetic {
		source = "SYNTHETIC"
	}
	setEnum(r, "source", source)
	setEnum(r, "executor_type", a.executor.text)
	setNames(r, "policy_ids", a.policies, flags)
	setNames(r, "incident_ids", a.incidents, flags)
}

// setEnum sets what a hint says, where the contract has it.
func setEnum(r *evidence.Record, name, value string) {
	if slices.Contains(evidence.PublicField(r.Kind, name).Enum, value) {
		r.SetText(name, value)
	}
}

func setNames(r *evidence.Record, name string, list []string, flags map[string]bool) {
	if len(list) > maxSet {
		list = list[:maxSet]
		flags[flagListsCut] = true
	}
	r.SetNames(name, slices.Clone(list))
}

// unknownFlags say which flag stands for a total that is missing.
var unknownFlags = [numbers]string{
	inputTokens:  dialect.FlagTokensUnknown,
	outputTokens: dialect.FlagTokensUnknown,
	cachedTokens: dialect.FlagCachedUnknown,
	costNanos:    dialect.FlagCostUnknown,
}

// totals adds up the model calls that count. A total that lacks one call's
// number is absent, never partial. Reasoning and cache writes are missing
// silently where no call states them: most providers have none.
func (a *run) totals(r *evidence.Record, t *tree, flags map[string]bool) {
	calls := t.counted()
	var models []string
	for _, i := range calls {
		s := &a.steps[i]
		for bit := callFlags; bit < len(stepFlags); bit++ {
			if s.flags&(1<<bit) != 0 && (!s.failed || s.usage()) {
				flags[stepFlags[bit]] = true
			}
		}
		if s.model != "" && !slices.Contains(models, s.model) {
			models = append(models, s.model)
		}
		if _, ok := r.Fact("provider"); !ok {
			r.SetText("provider", s.provider)
		}
		if _, ok := r.Fact("model"); !ok {
			r.SetText("model", s.model)
		}
	}
	setNames(r, "models", models, flags)
	for n := range numbers {
		sum, lacking, stated := a.sum(calls, n)
		switch {
		case len(calls) == 0:
		case !lacking:
			r.SetInt(numberFields[n], sum)
		case unknownFlags[n] != "":
			flags[unknownFlags[n]] = true
		case n == reasoningTokens && stated:
			flags[dialect.FlagReasoning] = true
		}
	}
}

// sum adds up one number of calls. A sum beyond what a leaf can hold is as
// unknown as one that lacks a part.
func (a *run) sum(calls []int, n int) (sum int64, lacking, stated bool) {
	for _, i := range calls {
		s := &a.steps[i]
		lacking = lacking || s.lacks(n)
		stated = stated || s.knows(n)
		sum += s.num[n] // each is at most 2^53, and there are less than 2^10 of those
		if sum > evidence.MaxInt {
			lacking, sum = true, 0
		}
	}
	return sum, lacking, stated
}

// status says how the run ended.
func (a *run) status(t *tree, sealedBy string) string {
	decides := t.decides()
	switch {
	case a.aborted():
		return "ABORTED"
	case decides == none && sealedBy == byTimeout:
		return "TIMEOUT"
	case decides != none && a.steps[decides].failed:
		return "FAILED"
	default:
		return "SUCCEEDED"
	}
}

// aborted reports whether a guardrail or policy blocked the run: an entry says
// BLOCKED, or a policy rule denied something and a guardrail step failed.
func (a *run) aborted() bool {
	if a.audits.blocked {
		return true
	}
	return a.audits.denied && slices.ContainsFunc(a.steps, func(s step) bool { return s.guardrail && s.failed })
}

func (a *run) outcome(status string) string {
	switch {
	case status == "FAILED":
		return "failure"
	case status != "SUCCEEDED":
		return "terminated"
	case a.audits.near && !a.audits.breached:
		return "near_threshold"
	default:
		return "success"
	}
}

// inflection sets the turning point: the first failed or denied step by time,
// else the first breach of a threshold.
func (a *run) inflection(r *evidence.Record) {
	f, d, b := &a.failure, &a.audits.denial, &a.audits.breach
	switch {
	case d.set && (!f.set || d.start <= f.end || a.isOf(d, f.span)):
		a.turn(r, "denial", d)
	case f.set:
		r.SetInt("inflection_step_index", f.index)
		a.setInflection(r, "failure", f.end, f.reason)
	case b.set:
		a.turn(r, "breach", b)
	}
}

// turn makes an entry the turning point.
func (a *run) turn(r *evidence.Record, kind string, v *verdict) {
	if index, ok := a.stepOf(v); ok {
		r.SetInt("inflection_step_index", index)
	}
	a.setInflection(r, kind, v.start, v.reason)
}

func (a *run) setInflection(r *evidence.Record, kind string, at evidence.Micros, reason string) {
	if at.InRange() {
		r.SetInt("inflection_at", int64(at))
	}
	r.SetText("inflection_kind", kind)
	// The reason is content of a step or entry; see content.
	if reason != "" && !a.subject.many {
		r.SetSealed("/inflection_reason", evidence.QuoteJSON(strings.ToValidUTF8(reason, "\uFFFD")))
	}
}

// content sets prompt and response with their digests. Where the run's records
// name several data subjects it is left out: a copy in the run's record would
// outlive the erasure of one of them.
func (a *run) content(r *evidence.Record, t *tree) {
	for path, text := range map[string]string{"/prompt": a.prompt(t), "/response": a.response(t)} {
		if text == "" {
			continue
		}
		r.SetSealed(path, evidence.QuoteJSON(text))
		digest := sha256.Sum256([]byte(text))
		r.SetSealed(path+"_hash", []byte(`"sha256:`+hex.EncodeToString(digest[:])+`"`))
	}
}
