package dialect

import (
	"slices"
	"strings"
)

// messages reads the content of a field (prompt or response): the first of
// its sources that holds any. raw is the text that it came from.
func (v *view) messages(f field, role string) (list []message, raw string) {
	sources := v.col.fields[f]
	for i := range sources {
		src := &sources[i]
		if !v.holds(src.when) {
			continue
		}
		if src.family >= 0 {
			list, raw = v.familyMessages(src.family)
		} else if raw = v.raw(src); raw != "" {
			var r reader
			r.read(raw, role, 0)
			list = r.list
			v.cut = v.cut || r.cut
		}
		if anyContent(list) {
			return list, raw
		}
	}
	return nil, ""
}

func anyContent(list []message) bool {
	for i := range list {
		if m := &list[i]; m.content != "" && m.content != `""` || len(m.calls) > 0 {
			return true
		}
	}
	return false
}

// prompt returns what a model was asked, the system's instructions first.
func (v *view) prompt() (list []message, raw string) {
	list, raw = v.messages(fPrompt, "user")
	text := v.text(fSystem)
	if text == "" {
		return list, raw
	}
	var r reader
	r.read(text, "system", 0)
	v.cut = v.cut || r.cut
	for i := range r.list { // instructions are the system's whatever they say
		r.list[i].role = "system"
	}
	led := lead(r.list, list)
	switch {
	case len(led) == len(list):
	case raw == "":
		raw = text
	default:
		raw = text + "\n" + raw
	}
	return led, raw
}

// response returns what a model answered.
func (v *view) response() (list []message, raw string) {
	list, raw = v.messages(fResponse, "assistant")
	text := v.text(fResponseCalls)
	if text == "" {
		return list, raw
	}
	calls := readCalls(text)
	if len(calls) == 0 {
		v.cut = v.cut || looksJSON(text) && nestedEnd(text, skipSpace(text, 0)) < 0
		return list, raw
	}
	if n := len(list); n > 0 && list[n-1].role == "assistant" && len(list[n-1].calls) == 0 {
		list[n-1].calls = calls
	} else {
		list = append(list, message{role: "assistant", calls: calls})
	}
	if raw == "" {
		return list, text
	}
	return list, raw + "\n" + text
}

// familyMessages builds messages of attributes with numbers in their keys:
//
//	llm.input_messages.0.message.role
//	llm.input_messages.0.message.contents.0.message_content.text
//	llm.input_messages.1.message.tool_calls.0.tool_call.function.name
//	gen_ai.prompt.0.content
//	gen_ai.completion.0.tool_calls.0.arguments
//
// The words message, message_content, tool_call and function say nothing more
// and are passed over.
func (v *view) familyMessages(family int8) ([]message, string) {
	var own []indexed
	for _, e := range v.s.family {
		if e.family == family {
			own = append(own, e)
		}
	}
	if len(own) == 0 {
		return nil, ""
	}
	slices.SortStableFunc(own, func(a, b indexed) int { return a.n - b.n })
	role := "user"
	if strings.Contains(v.t.families[family], "completion") || strings.Contains(v.t.families[family], "output") {
		role = "assistant"
	}
	var list []message
	var raw strings.Builder
	for i := 0; i < len(own); {
		n := own[i].n
		b := familyMessage{m: message{role: role}}
		for ; i < len(own) && own[i].n == n; i++ {
			text := valueText(own[i].val)
			if raw.Len() > 0 {
				raw.WriteByte('\n')
			}
			raw.WriteString(text)
			if len(text) < 32 && v.t.redacted[text] {
				continue
			}
			b.set(own[i].rest, text)
		}
		list = append(list, b.done())
	}
	return list, raw.String()
}

type familyMessage struct {
	m     message
	text  string
	parts []familyPart
	// partAt and callsAt find parts and m.calls by their numbers, of which a
	// message may have many thousands.
	partAt, callsAt map[int]int
}

type familyPart struct {
	kind, text string
	other      []byte
}

func (b *familyMessage) set(rest, text string) {
	rest = strings.TrimPrefix(rest, "message.")
	head, tail, _ := strings.Cut(rest, ".")
	switch head {
	case "role":
		b.m.role = roleOf(text)
	case "content":
		b.text = text
	case "finish_reason":
		b.m.finish = text
	case "tool_call_id":
		b.m.callID = text
	case "name":
		b.m.name = text
	case "function_call_name":
		b.callAt(0).name = text
	case "function_call_arguments_json":
		b.setCall(0, "arguments", text)
	case "contents":
		if n, what, ok := cutIndex(tail); ok {
			b.setPart(n, strings.TrimPrefix(what, "message_content."), text)
		}
	case "tool_calls":
		if n, what, ok := cutIndex(tail); ok {
			what = strings.TrimPrefix(what, "tool_call.")
			b.setCall(n, strings.TrimPrefix(what, "function."), text)
		}
	}
}

// callAt returns the call with a number. Numbers name calls and do not size
// the list: they come from outside.
func (b *familyMessage) callAt(n int) *call {
	i, there := b.callsAt[n]
	if !there {
		if b.callsAt == nil {
			b.callsAt = map[int]int{}
		}
		i = len(b.m.calls)
		b.callsAt[n] = i
		b.m.calls = append(b.m.calls, call{})
	}
	return &b.m.calls[i]
}

func (b *familyMessage) setCall(n int, what, text string) {
	c := b.callAt(n)
	switch what {
	case "id":
		c.id = text
	case "name":
		c.name = text
	case "arguments":
		c.args = argsText(text, "")
	}
}

func (b *familyMessage) setPart(n int, what, text string) {
	i, there := b.partAt[n]
	if !there {
		if b.partAt == nil {
			b.partAt = map[int]int{}
		}
		i = len(b.parts)
		b.partAt[n] = i
		b.parts = append(b.parts, familyPart{})
	}
	switch p := &b.parts[i]; what {
	case "type":
		p.kind = text
	case "text":
		p.text = text
	default:
		p.other = append(appendText(append(p.other, ','), what), ':')
		p.other = appendText(p.other, text)
	}
}

func (b *familyMessage) done() message {
	m := b.m
	switch {
	case len(b.parts) == 0 && looksJSON(b.text) && strings.Contains(b.text, `"type"`):
		// Traceloop sends parts as JSON text.
		var r reader
		r.read(b.text, m.role, 0)
		if len(r.list) == 1 && r.list[0].content != "" && !r.cut {
			m.content = r.list[0].content
			m.calls = append(m.calls, r.list[0].calls...)
			return m
		}
		m.content = string(appendText(nil, b.text))
	case len(b.parts) == 0:
		if b.text != "" || len(m.calls) == 0 {
			m.content = string(appendText(nil, b.text))
		}
	case len(b.parts) == 1 && b.parts[0].text != "" && len(b.parts[0].other) == 0:
		m.content = string(appendText(nil, b.parts[0].text))
	default:
		m.content = b.partList()
	}
	return m
}

func (b *familyMessage) partList() string {
	out := []byte{'['}
	for i, p := range b.parts {
		if i > 0 {
			out = append(out, ',')
		}
		out = appendText(append(out, `{"type":`...), p.kind)
		if p.text != "" {
			out = appendText(append(out, `,"text":`...), p.text)
		}
		out = append(append(out, p.other...), '}')
	}
	return string(append(out, ']'))
}
