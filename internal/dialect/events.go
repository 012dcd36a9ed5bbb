package dialect

import (
	"strings"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

// eventFacts is what the events of a span add to it.
type eventFacts struct {
	exception                    bool
	exceptionType, exceptionText string
	facts                        []Governance
	policies, incidents          []string
}

// events reads the events of a span: exceptions, content, the first token,
// evaluations, and governance facts.
func (v *view) events(r *Reading, span ptrace.Span) eventFacts {
	var out eventFacts
	var in, reply []message
	for _, e := range span.Events().All() {
		attrs := e.Attributes()
		switch name := e.Name(); {
		case name == "exception":
			if !out.exception { // the first one is the cause
				out.exceptionType = attrText(attrs, "exception.type")
				out.exceptionText = attrText(attrs, "exception.message")
			}
			out.exception = true
		case v.t.firstToken[name]:
			if !r.FirstTokenUS.OK && e.Timestamp() >= span.StartTimestamp() && r.Kind == "llm" {
				r.FirstTokenUS = Some(int64((e.Timestamp() - span.StartTimestamp()) / 1000)) //nolint:gosec // it is below 2^54
			}
		case name == "gen_ai.evaluation.result":
			if g, ok := v.t.evaluation(attrs); ok {
				out.facts = append(out.facts, g)
			}
		case strings.HasPrefix(name, "gen_ai."):
			p, a := v.eventMessages(name, attrs, pcommon.NewValueEmpty())
			in, reply = append(in, p...), append(reply, a...)
		}
		var o own
		o.fill(attrs)
		out.facts = v.t.facts(out.facts, &o, e.Name())
		out.policies = append(out.policies, o.policies...)
		out.incidents = append(out.incidents, o.incidents...)
	}
	if r.Kind == "llm" || r.Kind == "agent" {
		if r.Prompt == nil {
			r.Prompt = marshal(in)
		}
		if r.Response == nil {
			r.Response = marshal(reply)
			if r.FinishReason == "" && len(reply) > 0 {
				r.FinishReason = normal(v.t.finish, reply[len(reply)-1].finish)
			}
		}
	}
	return out
}

// eventMessages reads the content events of OpenTelemetry, old and older:
// gen_ai.user.message and its like, gen_ai.choice, gen_ai.content.prompt and
// gen_ai.content.completion, gen_ai.client.inference.operation.details. They
// come as log records with a body, or as span events with attributes.
func (v *view) eventMessages(name string, attrs pcommon.Map, body pcommon.Value) (in, out []message) {
	text := valueText(body)
	if text == "" {
		text = attrText(attrs, "gen_ai.event.content")
	}
	read := func(text, role string) []message {
		var r reader
		r.read(text, role, 0)
		v.cut = v.cut || r.cut
		return r.list
	}
	switch name {
	case "gen_ai.content.prompt":
		return read(attrText(attrs, "gen_ai.prompt"), "user"), nil
	case "gen_ai.content.completion":
		return nil, read(attrText(attrs, "gen_ai.completion"), "assistant")
	case "gen_ai.client.inference.operation.details":
		in = lead(read(attrText(attrs, "gen_ai.system_instructions"), "system"), read(attrText(attrs, "gen_ai.input.messages"), "user"))
		return in, read(attrText(attrs, "gen_ai.output.messages"), "assistant")
	case "gen_ai.choice":
		return nil, v.choice(text, attrs)
	}
	role, isMessage := strings.CutSuffix(strings.TrimPrefix(name, "gen_ai."), ".message")
	if !isMessage || role == "" {
		return nil, nil
	}
	if text == "" { // a span event whose attributes are the message
		text = string(appendMap(nil, attrs))
	}
	return v.oneMessage(text, role), nil
}

// choice reads {"index", "finish_reason", "message": {…}}.
func (v *view) choice(text string, attrs pcommon.Map) []message {
	if text == "" {
		text = string(appendMap(nil, attrs))
	}
	inner := member(text, "message")
	if !looksJSON(inner) {
		inner = text
	}
	list := v.oneMessage(inner, "assistant")
	if f := member(text, "finish_reason"); isString(f) && len(list) > 0 {
		list[len(list)-1].finish = unquote(f)
	}
	return list
}

func (v *view) oneMessage(text, role string) []message {
	var r reader
	if looksJSON(text) && text[skipSpace(text, 0)] == '{' {
		r.readMessage(text, role)
		if !anyContent(r.list) {
			return nil
		}
	} else {
		r.read(text, role, 0)
	}
	v.cut = v.cut || r.cut
	return r.list
}

func appendMap(dst []byte, m pcommon.Map) []byte {
	v := pcommon.NewValueMap()
	m.CopyTo(v.Map())
	return appendValue(dst, v, 0)
}

// logContent fills the messages of a log record. Only events of a model call
// have any: an application's own log line is no prompt.
func (v *view) logContent(r *Reading, name string, rec plog.LogRecord) {
	var in, out []message
	if strings.HasPrefix(name, "gen_ai.") {
		in, out = v.eventMessages(name, rec.Attributes(), rec.Body())
	}
	r.Hints.Prompt, r.Hints.Response = marshal(in), marshal(out)
	if r.FinishReason == "" && len(out) > 0 {
		r.FinishReason = normal(v.t.finish, out[len(out)-1].finish)
	}
}
