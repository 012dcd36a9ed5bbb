package dialect

import (
	"slices"
	"strings"

	"github.com/runledger/runledger/evidence"
)

// readMessage adds the message in obj, and one of role tool for each tool
// result that stands among its parts.
func (r *reader) readMessage(obj, role string) {
	m := message{role: role}
	var kind, id, args, output string
	var lc string // LangChain: the class
	own := len(r.list)
	r.list = append(r.list, m) // its place; results follow it
	if kw := member(obj, "kwargs"); kw != "" {
		lc = lastOf(member(obj, "id"))
		obj = kw
	}
	w, _ := walkOf(obj)
	for {
		k, v, ok := w.next()
		if !ok {
			break
		}
		if isNull(v) {
			continue
		}
		switch k {
		case "role":
			m.role = roleOf(unquote(v))
		case "content", "parts":
			r.readContent(&m, v)
		case "tool_calls", "toolCalls":
			if calls := readCalls(v); len(calls) > 0 {
				m.calls = calls
			}
		case "function_call":
			if v[0] == '{' {
				m.calls = append(m.calls, readCall(v))
			}
		case "additional_kwargs":
			if calls := readCalls(member(v, "tool_calls")); len(m.calls) == 0 {
				m.calls = calls
			}
		case "tool_call_id", "toolCallId", "call_id", "callId":
			m.callID = unquote(v)
		case "id":
			id = unquote(v)
		case "name":
			m.name = unquote(v)
		case "finish_reason", "finishReason", "stop_reason":
			m.finish = unquote(v)
		case "type":
			kind = unquote(v)
		case "arguments":
			args = argsOf(v)
		case "output":
			output = v
		}
	}
	if lc != "" {
		m.role = roleOf(lc)
	}
	r.finishMessage(own, m, kind, id, args, output)
}

// finishMessage settles what depends on members that come in any order.
func (r *reader) finishMessage(own int, m message, kind, id, args, output string) {
	switch kind {
	case "function_call": // an item of the Responses API
		m.role = "assistant"
		m.calls = append(m.calls, call{id: m.callID, name: m.name, args: args})
		m.callID, m.name = "", ""
	case "function_call_output", "function_call_result":
		m.role = "tool"
		m.content = resultOf(output)
	case "reasoning":
		m.role = "assistant"
	}
	if m.role == "tool" && m.callID == "" {
		m.callID = id // OpenTelemetry's gen_ai.tool.message
	}
	if m.content == `""` && len(m.calls) > 0 {
		m.content = ""
	}
	// A message that held nothing but tool results has become them.
	if m.content == "" && len(m.calls) == 0 && len(r.list) > own+1 {
		r.list = append(r.list[:own], r.list[own+1:]...)
		return
	}
	r.list[own] = m
}

// lastOf returns the last string of an array.
func lastOf(list string) string {
	w, ok := walkOf(list)
	last := ""
	for ok {
		var v string
		if _, v, ok = w.next(); ok {
			last = unquote(v)
		}
	}
	return last
}

// readContent reads content or parts. Text alone is a string; where there is
// more, what is no tool call and no result stays as the SDK sent it.
func (r *reader) readContent(m *message, v string) {
	if v[0] != '[' {
		m.content = v
		return
	}
	w, _ := walkOf(v)
	var rest []string
	text, texts := "", 0
	for {
		_, part, ok := w.next()
		if !ok {
			break
		}
		if isString(part) {
			rest, text = append(rest, part), part
			texts++
			continue
		}
		if part[0] != '{' || r.toolPart(m, part) {
			continue
		}
		rest = append(rest, part)
		if t := textOf(part); t != "" {
			text = t
			texts++
		}
	}
	switch {
	case len(rest) == 0:
	case len(rest) == 1 && texts == 1:
		m.content = text
	default:
		m.content = "[" + strings.Join(rest, ",") + "]"
	}
}

// textOf returns the text of a part as a JSON string, "" if it has none.
func textOf(part string) string {
	kind := unquote(member(part, "type"))
	switch kind {
	case "", "text", "input_text", "output_text":
	default:
		return ""
	}
	if t := member(part, "text"); isString(t) {
		return t
	}
	if t := member(part, "content"); kind != "" && isString(t) {
		return t
	}
	return ""
}

// toolPart takes a part that is a tool call or a tool result.
func (r *reader) toolPart(m *message, part string) bool {
	switch unquote(member(part, "type")) {
	case "tool_call", "tool-call", "tool_use", "server_tool_use", "function_call":
		m.calls = append(m.calls, readCall(part))
		return true
	case "tool_call_response", "tool-result", "tool_result":
		r.addResult(part)
		return true
	case "":
	default:
		return false
	}
	for _, k := range [...]string{"toolRequest", "functionCall"} {
		if v := member(part, k); strings.HasPrefix(v, "{") {
			m.calls = append(m.calls, readCall(v))
			return true
		}
	}
	for _, k := range [...]string{"toolResponse", "functionResponse"} {
		if v := member(part, k); strings.HasPrefix(v, "{") {
			r.addResult(v)
			return true
		}
	}
	return false
}

// addResult adds a tool result as a message of its own.
func (r *reader) addResult(part string) {
	m := message{role: "tool"}
	w, _ := walkOf(part)
	for {
		k, v, ok := w.next()
		if !ok {
			break
		}
		switch k {
		case "id", "toolCallId", "tool_use_id", "tool_call_id", "ref":
			m.callID = unquote(v)
		case "name", "toolName":
			m.name = unquote(v)
		case "response", "result", "output", "content":
			if !isNull(v) {
				m.content = resultOf(v)
			}
		}
	}
	r.list = append(r.list, m)
}

// resultOf returns the content of a tool result: Vercel and the Agents SDK
// wrap it as {"type", "value"} or {"type", "text"}, Anthropic in text blocks.
func resultOf(v string) string {
	if v == "" {
		return ""
	}
	switch v[0] {
	case '{':
		if member(v, "type") != "" {
			for _, k := range [...]string{"value", "text"} {
				if inner := member(v, k); inner != "" {
					return inner
				}
			}
		}
	case '[':
		w, _ := walkOf(v)
		_, first, ok := w.next()
		if _, _, more := w.next(); ok && !more && first[0] == '{' {
			if t := textOf(first); t != "" {
				return t
			}
		}
	}
	return v
}

// readCalls reads an array of tool calls.
func readCalls(list string) []call {
	w, ok := walkOf(list)
	if !ok || w.open != '[' {
		return nil
	}
	var calls []call
	for {
		_, v, ok := w.next()
		if !ok {
			return calls
		}
		if v[0] == '{' {
			calls = append(calls, readCall(v))
		}
	}
}

// readCall reads one tool call.
func readCall(obj string) call {
	var c call
	w, _ := walkOf(obj)
	for {
		k, v, ok := w.next()
		if !ok {
			return c
		}
		if isNull(v) {
			continue
		}
		switch k {
		case "id", "toolCallId", "call_id", "ref":
			c.id = unquote(v)
		case "name", "toolName":
			c.name = unquote(v)
		case "arguments", "args", "input":
			c.args = argsOf(v)
		case "function":
			if v[0] == '{' {
				f := readCall(v)
				c.name, c.args = f.name, f.args
			}
		}
	}
}

// argsOf returns arguments as JSON: what an SDK sends as a string that holds
// an object becomes the object, so that all SDKs look the same.
func argsOf(v string) string {
	if !isString(v) {
		return v
	}
	return argsText(unquote(v), v)
}

// argsText returns text if it is an object or array, else quoted; quoted is
// "" where that has to be made.
func argsText(text, quoted string) string {
	if looksJSON(text) && evidence.CheckJSON([]byte(text)) == nil {
		return text
	}
	if quoted == "" {
		return string(evidence.QuoteJSON(text))
	}
	return quoted
}

// Join returns the messages of several lists as one: log records carry the
// messages of a model call one by one. A system message that follows an equal
// one is left out. It returns nil for no messages.
func Join(lists ...[]byte) []byte {
	var all, system []string
	for _, list := range lists {
		w, ok := walkOf(string(list))
		for ok {
			var m string
			if _, m, ok = w.next(); !ok {
				break
			}
			if unquote(member(m, "role")) == "system" {
				if slices.Contains(system, m) {
					continue
				}
				system = append(system, m)
			}
			all = append(all, m)
		}
	}
	if len(all) == 0 {
		return nil
	}
	return []byte("[" + strings.Join(all, ",") + "]")
}

// UserText returns the text of the first user message of a message list, ok
// false if it has none. Parts of text are joined without anything between.
func UserText(messages []byte) (text string, ok bool) {
	w, found := walkOf(string(messages))
	for found {
		_, m, more := w.next()
		if !more {
			break
		}
		if unquote(member(m, "role")) == "user" {
			if t, has := contentText(member(m, "content")); has {
				return t, true
			}
		}
	}
	return "", false
}

// AssistantText returns the text of the last assistant message of a message
// list that has any, ok false if there is none.
func AssistantText(messages []byte) (text string, ok bool) {
	w, found := walkOf(string(messages))
	for found {
		_, m, more := w.next()
		if !more {
			break
		}
		if unquote(member(m, "role")) == "assistant" {
			if t, has := contentText(member(m, "content")); has {
				text, ok = t, true
			}
		}
	}
	return text, ok
}

// contentText returns the text of a message's content.
func contentText(content string) (string, bool) {
	switch {
	case content == "" || content == "null":
		return "", false
	case isString(content):
		return unquote(content), content != `""`
	case content[0] != '[':
		return "", false
	}
	var b strings.Builder
	w, _ := walkOf(content)
	for {
		_, part, ok := w.next()
		if !ok {
			break
		}
		if isString(part) {
			b.WriteString(unquote(part))
		} else if t := textOf(part); t != "" {
			b.WriteString(unquote(t))
		}
	}
	return b.String(), b.Len() > 0
}
