package dialect

import (
	"slices"
	"strconv"
	"strings"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

// ReadSpan says what a span means.
func (t *Table) ReadSpan(res pcommon.Resource, scope pcommon.InstrumentationScope, span ptrace.Span) Reading {
	s := t.get()
	defer t.put(s)
	s.own.fill(res.Attributes())
	s.own = s.own.hintsOnly()
	t.load(s, span.Attributes())
	v := view{t: t, s: s, col: t.columnOf(s, scope), name: span.Name(), start: span.StartTimestamp()}

	r := Reading{Dialect: v.col.name}
	v.identity(&r)
	v.modelFacts(&r)
	r.Kind = v.stepKind(&r)
	v.naming(&r)
	if r.Kind == "llm" || r.Kind == "embedding" {
		v.usage(&r) // agents and roots repeat what their calls used
	}
	v.content(&r)
	ev := v.events(&r, span)
	v.failure(&r, span, &ev)
	v.governance(&r, span.Attributes(), &ev)
	v.flags(&r, span)
	return r
}

// ReadLog says what a log record means: Hints with the messages that it
// carries, Governance, User and the like. Kind is empty.
func (t *Table) ReadLog(res pcommon.Resource, scope pcommon.InstrumentationScope, rec plog.LogRecord) Reading {
	s := t.get()
	defer t.put(s)
	s.own.fill(res.Attributes())
	s.own = s.own.hintsOnly()
	attrs := rec.Attributes()
	t.load(s, attrs)
	name := or(rec.EventName(), attrText(attrs, "event.name"))
	v := view{t: t, s: s, col: t.columnOf(s, scope), name: name, start: rec.Timestamp()}

	r := Reading{Dialect: v.col.name, Name: name}
	v.identity(&r)
	v.modelFacts(&r)
	v.logContent(&r, name, rec)
	r.ErrorType = or(v.text(fErrorType), attrText(attrs, "exception.type"))
	r.ErrorText = or(attrText(attrs, "exception.message"), v.text(fErrorText))
	r.Governance = t.facts(nil, &s.own, name)
	if name == "gen_ai.evaluation.result" {
		if g, ok := t.evaluation(attrs); ok {
			r.Governance = append(r.Governance, g)
		}
	}
	v.ids(&r)
	if v.cut {
		r.Flags = append(r.Flags, FlagAttrsTruncated)
	}
	if rec.DroppedAttributesCount() > 0 {
		r.Flags = append(r.Flags, FlagAttrsDropped)
	}
	slices.Sort(r.Flags)
	return r
}

// ResourceHints says what a resource says of all that it sends: whether it is synthetic,
// of which scenario, and its correlation id. It is for what no dialect reads, such as
// metrics.
func ResourceHints(res pcommon.Resource) Hints {
	var o own
	o.fill(res.Attributes())
	return Hints{Synthetic: o.synthetic || o.scenario != "", ScenarioID: o.scenario, CorrelationID: o.correlation}
}

// hintsOnly keeps of a resource what it may say of all that it sends: a
// decision belongs to one span.
func (o own) hintsOnly() own {
	return own{
		run: o.run, subject: o.subject, user: o.user, conversation: o.conversation,
		agentID: o.agentID, agentName: o.agentName, correlation: o.correlation,
		scenario: o.scenario, source: o.source, who: o.who, synthetic: o.synthetic,
	}
}

// identity fills who and which run.
func (v *view) identity(r *Reading) {
	o := &v.s.own
	r.User = or(o.user, v.text(fUser))
	r.Subject = o.subject
	r.AgentID = or(o.agentID, v.text(fAgentID))
	r.AgentName = or(o.agentName, v.text(fAgentName))
	r.Hints = Hints{
		RunAlias:      or(o.run, v.text(fRunAlias)),
		Conversation:  or(o.conversation, v.text(fConversation)),
		AgentName:     r.AgentName,
		Source:        runSource(o.source),
		Synthetic:     o.synthetic,
		ScenarioID:    o.scenario,
		CorrelationID: o.correlation,
		Executor:      executor(o.who),
	}
	if o.scenario != "" {
		r.Hints.Synthetic = true
	}
}

func (v *view) modelFacts(r *Reading) {
	r.Provider = normal(v.t.providers, v.text(fProvider))
	r.RequestModel = v.text(fRequestModel)
	r.Model = v.text(fModel)
	r.Operation = v.text(fOperation)
	r.ResponseID = v.text(fResponseID)
	r.FinishReason = v.finish()
}

// stepKind returns the kind; calls to embedding models are embeddings even
// where an SDK calls them generations.
func (v *view) stepKind(r *Reading) string {
	kind := v.kind()
	if kind == "" {
		return "other"
	}
	if kind != "llm" {
		return kind
	}
	model := r.RequestModel
	if model == "" {
		model = r.Model
	}
	for _, part := range v.t.embedding {
		if containsFold(model, part) {
			return "embedding"
		}
	}
	return kind
}

// containsFold reports whether s contains part, which is in lower case.
func containsFold(s, part string) bool {
	for i := 0; i+len(part) <= len(s); i++ {
		if strings.EqualFold(s[i:i+len(part)], part) {
			return true
		}
	}
	return false
}

// naming fills Name and what belongs to tools alone: some SDKs name the tool
// that a model asked for on the model's span.
func (v *view) naming(r *Reading) {
	switch r.Kind {
	case "tool":
		r.Name = v.text(fToolName)
		r.ToolCallID = v.text(fToolCallID)
	case "agent":
		r.Name = r.AgentName
	case "guardrail":
		r.Name = v.text(fGuardName)
	}
	if r.Name == "" {
		r.Name = v.name
	}
}

// usage fills the tokens of a model call.
func (v *view) usage(r *Reading) {
	r.Input, r.Output = v.count(fInput), v.count(fOutput)
	r.Cached, r.CacheWrite, r.Reasoning = v.count(fCached), v.count(fCacheWrite), v.count(fReasoning)
	r.CostNanos = v.cost()
	r.FirstTokenUS = v.firstToken()
	if !r.Input.OK {
		return
	}
	for _, z := range []struct {
		f field
		o *Opt
	}{{fCached, &r.Cached}, {fCacheWrite, &r.CacheWrite}, {fReasoning, &r.Reasoning}} {
		if !z.o.OK && v.col.zero[z.f] {
			*z.o = Some(0)
		}
	}
	switch extra := r.Cached.V + r.CacheWrite.V; {
	case v.any(v.col.excludesCached):
		if !r.Cached.OK {
			r.Input = Opt{} // part of it is missing
			return
		}
		r.Input.V += extra
	case r.Input.V < extra: // it cannot contain them
		r.Input.V += extra
	}
}

// content fills what went in and what came out.
func (v *view) content(r *Reading) {
	var in, out string
	switch r.Kind {
	case "llm", "agent":
		var list []message
		list, in = v.prompt()
		r.Prompt = marshal(list)
		list, out = v.response()
		r.Response = marshal(list)
		if v.col.callsFinish && r.FinishReason == "stop" && hasCalls(list) {
			r.FinishReason = "tool_calls"
		}
		if r.FinishReason == "" && len(list) > 0 {
			r.FinishReason = normal(v.t.finish, list[len(list)-1].finish)
		}
		if r.Kind == "llm" {
			break
		}
		if r.Prompt == nil {
			r.Params, in = v.json(fParams)
		}
		if r.Response == nil {
			r.Result, out = v.json(fResult)
		}
	case "embedding": // the vectors stay in /attrs alone
		r.Params, in = v.json(fParams)
		if r.Params == nil {
			var list []message
			list, in = v.messages(fPrompt, "user")
			r.Prompt = marshal(list)
		}
	default:
		r.Params, in = v.json(fParams)
		r.Result, out = v.json(fResult)
	}
	if in != "" {
		r.InputRaw = []byte(in)
	}
	if out != "" {
		r.OutputRaw = []byte(out)
	}
}

func hasCalls(list []message) bool {
	for i := range list {
		if len(list[i].calls) > 0 {
			return true
		}
	}
	return false
}

// json returns a field as JSON text and the raw text that it was.
func (v *view) json(f field) (value []byte, raw string) {
	raw = v.text(f)
	if raw == "" {
		return nil, ""
	}
	value = asJSON(raw)
	if looksJSON(raw) && value[0] == '"' && nestedEnd(raw, skipSpace(raw, 0)) < 0 {
		v.cut = true
	}
	return value, raw
}

// failure fills Failed, ErrorType and ErrorText. A step failed if its status
// is an error, if it has an error type or an exception, if its dialect says
// so, or if it finished by error: SDKs set status OK on failures.
func (v *view) failure(r *Reading, span ptrace.Span, ev *eventFacts) {
	errorType := v.text(fErrorType)
	r.Failed = span.Status().Code() == ptrace.StatusCodeError || errorType != "" ||
		ev.exception || r.FinishReason == "error" || v.text(fFailed) != ""
	if !r.Failed {
		return
	}
	r.ErrorType = errorType
	if r.ErrorType == "" {
		if code, err := strconv.Atoi(v.text(fHTTPStatus)); err == nil && code >= 400 && code < 600 {
			r.ErrorType = strconv.Itoa(code)
		}
	}
	r.ErrorType = or(r.ErrorType, ev.exceptionType)
	r.ErrorText = or(span.Status().Message(), v.text(fErrorText), ev.exceptionText)
}

// governance fills the facts of the span and of its events.
func (v *view) governance(r *Reading, attrs pcommon.Map, ev *eventFacts) {
	facts := v.t.facts(nil, &v.s.own, r.Name)
	if r.Kind == "guardrail" {
		facts = mergeGuardrail(facts, v.guardrail(r.Name))
	}
	if r.Kind == "evaluation" {
		if g, ok := v.t.evaluation(attrs); ok {
			facts = append(facts, g)
		}
	}
	facts = append(facts, ev.facts...)
	r.Governance = facts
	v.ids(r)
	for _, p := range ev.policies {
		r.PolicyIDs = appendNew(r.PolicyIDs, p)
	}
	for _, p := range ev.incidents {
		r.IncidentIDs = appendNew(r.IncidentIDs, p)
	}
}

// mergeGuardrail completes the first own evaluation with what the dialect
// says, or takes the dialect's alone.
func mergeGuardrail(own []Governance, g Governance) []Governance {
	for i := range own {
		if o := &own[i]; o.Event == eventPolicy {
			o.Decision = or(o.Decision, g.Decision)
			o.PolicyID = or(o.PolicyID, g.PolicyID)
			o.RuleID = or(o.RuleID, g.RuleID)
			o.Reason = or(o.Reason, g.Reason)
			o.ObservedValue = or(o.ObservedValue, g.ObservedValue)
			return own
		}
	}
	return append([]Governance{g}, own...)
}

// ids collects the policies and incidents that the reading names.
func (v *view) ids(r *Reading) {
	for _, p := range v.s.own.policies {
		r.PolicyIDs = appendNew(r.PolicyIDs, p)
	}
	for _, p := range v.s.own.incidents {
		r.IncidentIDs = appendNew(r.IncidentIDs, p)
	}
	for i := range r.Governance {
		r.PolicyIDs = appendNew(r.PolicyIDs, r.Governance[i].PolicyID)
		r.IncidentIDs = appendNew(r.IncidentIDs, r.Governance[i].IncidentID)
	}
}

// maxIDs bounds the policies and the incidents of a reading. It is more than a
// record may name (package otlp says so where it leaves some out), and small
// because each is looked for among all.
const maxIDs = 64

func appendNew(list []string, s string) []string {
	if s == "" || len(list) >= maxIDs || slices.Contains(list, s) {
		return list
	}
	return append(list, s)
}

// flags fills the honesty flags.
func (v *view) flags(r *Reading, span ptrace.Span) {
	if v.cut {
		r.Flags = append(r.Flags, FlagAttrsTruncated)
	}
	if span.DroppedAttributesCount() > 0 {
		r.Flags = append(r.Flags, FlagAttrsDropped)
	}
	if !r.Failed && (r.Kind == "llm" || r.Kind == "embedding") {
		v.tokenFlags(r)
	}
	slices.Sort(r.Flags)
}

func (v *view) tokenFlags(r *Reading) {
	if !r.Input.OK || r.Kind == "llm" && !r.Output.OK {
		r.Flags = append(r.Flags, FlagTokensUnknown)
	} else if v.any(v.col.estimated) {
		r.Flags = append(r.Flags, FlagTokensEstimated)
	}
	if r.Kind == "embedding" { // nothing is cached or thought
		return
	}
	if !r.Cached.OK {
		r.Flags = append(r.Flags, FlagCachedUnknown)
	}
	if !r.Reasoning.OK {
		r.Flags = append(r.Flags, FlagReasoning)
	}
}
