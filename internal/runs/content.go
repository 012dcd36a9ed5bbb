package runs

import (
	"bytes"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/dialect"
)

// said is what log events say about the content of the span they belong to.
type said struct {
	user      first // earliest user text
	assistant last  // latest assistant message list
}

// last keeps the bytes of the latest record that has some.
type last struct {
	at   order
	json []byte
}

func (l *last) offer(at order, json []byte) (grown int) {
	if json == nil || l.json != nil && at.before(l.at) {
		return 0
	}
	grown = len(json) - len(l.json)
	l.at, l.json = at, bytes.Clone(json)
	return grown
}

// contentOf keeps of a step's content what the run may show in the end: the
// first user text, and what each model call answered, since which one is the
// last is not known before.
func (a *run) contentOf(r *evidence.Record, s *step) {
	prompt := &a.otherPrompt
	if s.call {
		prompt = &a.callPrompt
	}
	for i := range r.Sealed {
		v := &r.Sealed[i]
		switch {
		case v.Path == "/prompt" && prompt.wants(s.order):
			if text, ok := dialect.UserText(v.JSON); ok {
				a.grow(len(text) - len(prompt.text))
				prompt.offer(s.order, text)
			}
		case v.Path == "/response" && (s.call || !s.hasParent):
			s.response = bytes.Clone(v.JSON)
			a.grow(len(s.response))
		case v.Path == "/outcome_data" && !s.call && !s.hasParent:
			s.output = bytes.Clone(v.JSON)
			a.grow(len(s.output))
		}
	}
}

// takeEvent joins the content of a log event to its span.
func (a *run) takeEvent(r *evidence.Record, at order, h *dialect.Hints) {
	if h.Prompt == nil && h.Response == nil {
		return
	}
	key := span{trace: -1}
	if id := r.Text("span_id"); id != "" {
		key = span{a.trace(r.Text("trace_id")), spanID(id)}
	}
	e := a.events[key]
	if e == nil {
		if a.events == nil {
			a.events = map[span]*said{}
		}
		e = &said{}
		a.events[key] = e
		a.grow(256)
	}
	if e.user.wants(at) && h.Prompt != nil {
		if text, ok := dialect.UserText(h.Prompt); ok {
			a.grow(len(text) - len(e.user.text))
			e.user.offer(at, text)
		}
	}
	a.grow(e.assistant.offer(at, h.Response))
}

// prompt returns the text of the first user message of the first model call
// that has one, else of the first step or event that has one.
func (a *run) prompt(t *tree) string {
	best := a.callPrompt
	for i := range t.steps {
		if s := &t.steps[i]; s.call && s.hasSpan {
			if e := a.events[s.span]; e != nil {
				best.offer(s.order, e.user.text)
			}
		}
	}
	if best.text != "" {
		return best.text
	}
	if a.otherPrompt.text != "" {
		return a.otherPrompt.text
	}
	for _, e := range a.events {
		best.offer(e.user.at, e.user.text)
	}
	return best.text
}

// response returns the text of the last assistant message of the last model
// call, as that call or one that stands for the same says it; else what the
// root puts out; else, where the run has no model call, what the last event
// says.
func (a *run) response(t *tree) string {
	call := t.last(func(i int) bool { return t.steps[i].call && !t.below[i] })
	for i := call; i != none; i = t.parent[i] {
		if !t.steps[i].call {
			continue
		}
		if text := a.answer(&t.steps[i]); text != "" {
			return text
		}
	}
	root := t.last(func(i int) bool {
		s := &t.steps[i]
		return !s.hasParent && (s.response != nil || s.output != nil)
	})
	if root != none {
		s := &t.steps[root]
		if text, ok := dialect.AssistantText(s.response); ok && text != "" {
			return text
		}
		if text := textOf(s.output); text != "" {
			return text
		}
		if len(s.output) > 0 && s.output[0] != '"' {
			return string(s.output)
		}
	}
	if call != none {
		return ""
	}
	var l last
	for _, e := range a.events {
		l.offer(e.assistant.at, e.assistant.json)
	}
	text, _ := dialect.AssistantText(l.json)
	return text
}

func (a *run) answer(s *step) string {
	if text, ok := dialect.AssistantText(s.response); ok {
		return text
	}
	if !s.hasSpan {
		return ""
	}
	if e := a.events[s.span]; e != nil {
		text, _ := dialect.AssistantText(e.assistant.json)
		return text
	}
	return ""
}
