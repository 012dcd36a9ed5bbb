package dialect

import (
	"strings"

	"github.com/runledger/runledger/evidence"
)

// message is one message of a model call. Content is JSON text.
type message struct {
	role    string // system, user, assistant, tool, or the SDK's own word
	content string
	calls   []call
	callID  string // of a tool message: the call that it answers
	name    string
	finish  string
}

// call is a tool call that a model asked for. Args is JSON text.
type call struct{ id, name, args string }

// reader collects messages of whatever form an SDK sends. The forms are told
// apart by their members and not by the dialect, so that a new dialect that
// uses one of them needs no code:
//
//   - OpenTelemetry: {"role", "parts": [{"type": "text", "content"}, {"type":
//     "tool_call", "id", "name", "arguments"}, {"type": "tool_call_response",
//     "id", "response"}], "finish_reason"}; events have {"message": {…}}
//   - OpenAI: {"role", "content", "tool_calls": [{"id", "function": {"name",
//     "arguments"}}], "tool_call_id"}, requests {"messages"}, answers {"choices"}
//   - OpenAI Responses: items {"type": "message" | "function_call" |
//     "function_call_output"}, requests {"instructions", "input"}, answers {"output"}
//   - Anthropic: content blocks text, tool_use, tool_result; {"system", "messages"}
//   - Vercel: content parts text, tool-call, tool-result; {"system", "prompt"}
//     or {"system", "messages"}; answers {"text", "toolCalls"}
//   - Google: {"contents": [{"role", "parts": [{"text"}, {"functionCall"}]}]}, {"candidates"}
//   - Genkit: content parts {"text"}, {"toolRequest"}, {"toolResponse"}; {"message"}
//   - LangChain: {"lc", "id": […, "AIMessage"], "kwargs"}, {"generations"}
//   - text
type reader struct {
	list []message
	// cut says that JSON ended in the middle. Messages before the cut are kept,
	// the one that is cut is not.
	cut bool
}

// maxNesting bounds lists of lists of messages.
const maxNesting = 8

// read adds the messages in text; role is that of messages that have none.
func (r *reader) read(text, role string, depth int) {
	i := skipSpace(text, 0)
	if i == len(text) || depth > maxNesting {
		return
	}
	switch text[i] {
	case '[':
		if !r.readList(text[i:], role, depth) {
			r.addText(text, role)
		}
	case '{':
		r.readObject(text[i:], role, depth)
	case '"':
		if stringEnd(text, i) == len(strings.TrimRight(text, " \t\r\n")) {
			r.list = append(r.list, message{role: role, content: text[i:]})
			return
		}
		r.addText(text, role)
	default:
		r.addText(text, role)
	}
}

// addText adds a message of plain text.
func (r *reader) addText(text, role string) {
	if text != "" {
		r.list = append(r.list, message{role: role, content: string(evidence.QuoteJSON(text))})
	}
}

// readList reads an array; false says that it is text in brackets.
func (r *reader) readList(text, role string, depth int) bool {
	if pair, ok := langChainPair(text); ok {
		r.list = append(r.list, pair)
		return true
	}
	if isParts(text) { // one message, given as its parts
		r.readMessage(`{"parts":`+text+`}`, role)
		return true
	}
	w, _ := walkOf(text)
	n := 0
	for {
		_, v, ok := w.next()
		if !ok {
			break
		}
		switch n++; v[0] {
		case '[', '{':
			r.read(v, role, depth+1)
		case '"':
			r.list = append(r.list, message{role: role, content: v})
		default:
			if n == 1 {
				return false
			}
		}
	}
	if w.cut && n == 0 && !strings.HasPrefix(text, `[{`) && !strings.HasPrefix(text, `["`) {
		return false
	}
	r.cut = r.cut || w.cut
	return true
}

// isParts reports whether an array holds the parts of one message: OpenTelemetry's
// gen_ai.system_instructions, for example.
func isParts(text string) bool {
	w, _ := walkOf(text)
	_, v, ok := w.next()
	if !ok || v[0] != '{' {
		return false
	}
	switch unquote(member(v, "type")) {
	case "text", "input_text", "output_text":
		return member(v, "role") == ""
	case "":
		return isString(member(v, "text")) && member(v, "role") == ""
	}
	return false
}

// langChainPair reads ["user", "text"].
func langChainPair(text string) (message, bool) {
	if i := skipSpace(text, 1); i >= len(text) || text[i] != '"' {
		return message{}, false
	}
	w, _ := walkOf(text)
	_, role, ok1 := w.next()
	_, content, ok2 := w.next()
	if _, _, more := w.next(); !ok1 || !ok2 || more || w.cut || !isString(role) || !isString(content) {
		return message{}, false
	}
	switch name := roleOf(unquote(role)); name {
	case "system", "user", "assistant":
		return message{role: name, content: content}, true
	}
	return message{}, false
}

// envelope is the members of an object that say what form it has.
type envelope struct {
	role, kind, kwargs, parts, content        string
	messages, contents, prompt, input, system string
	message, choices, output, generations     string
	candidates, text, toolCalls, finish       string
	cut                                       bool
}

func (e *envelope) read(obj string) {
	w, _ := walkOf(obj)
	for {
		k, v, ok := w.next()
		if !ok {
			e.cut = w.cut
			return
		}
		if p := e.member(k); p != nil && !isNull(v) {
			*p = v
		}
	}
}

func (e *envelope) member(key string) *string {
	switch key {
	case "role":
		return &e.role
	case "type":
		return &e.kind
	case "kwargs":
		return &e.kwargs
	case "parts":
		return &e.parts
	case "content":
		return &e.content
	case "messages":
		return &e.messages
	case "contents":
		return &e.contents
	case "prompt":
		return &e.prompt
	case "input":
		return &e.input
	case "system", "instructions":
		return &e.system
	case "message":
		return &e.message
	case "choices":
		return &e.choices
	case "output":
		return &e.output
	case "generations":
		return &e.generations
	case "candidates":
		return &e.candidates
	case "text":
		return &e.text
	case "toolCalls", "tool_calls":
		return &e.toolCalls
	case "finish_reason", "finishReason":
		return &e.finish
	}
	return nil
}

// isMessage reports whether the object itself is one message.
func (e *envelope) isMessage() bool {
	switch unquote(e.kind) {
	case "function_call", "function_call_result", "function_call_output", "message":
		return true
	}
	return e.role != "" || e.kwargs != "" || e.parts != ""
}

// readObject reads a message, or what stands around messages.
func (r *reader) readObject(obj, role string, depth int) {
	var e envelope
	e.read(obj)
	inner, innerRole := "", role
	switch {
	case e.isMessage():
		if e.cut {
			r.cut = true
			return
		}
		r.readMessage(obj, role)
		return
	case e.messages != "":
		inner, innerRole = e.messages, "user"
	case e.contents != "":
		inner, innerRole = e.contents, "user"
	case e.generations != "":
		inner, innerRole = e.generations, "assistant"
	case e.choices != "":
		inner, innerRole = e.choices, "assistant"
	case e.candidates != "":
		inner, innerRole = e.candidates, "assistant"
	case e.message != "":
		inner = e.message
	case strings.HasPrefix(e.output, "["):
		inner, innerRole = e.output, "assistant"
	case e.prompt != "":
		inner, innerRole = e.prompt, "user"
	case e.input != "" && (isString(e.input) || e.input[0] == '['):
		inner, innerRole = e.input, "user"
	case strings.HasPrefix(e.content, "{") && looksJSON(e.content): // a Google candidate
		inner = e.content
	}
	r.cut = r.cut || e.cut
	if inner == "" {
		r.readAnswer(obj, &e, role)
		return
	}
	if isString(e.system) || strings.HasPrefix(e.system, "[") {
		r.read(e.system, "system", depth+1)
	}
	before := len(r.list)
	r.read(inner, innerRole, depth+1)
	if e.finish != "" && len(r.list) > before {
		r.list[len(r.list)-1].finish = unquote(e.finish)
	}
}

// readAnswer reads {"text", "toolCalls"}; any other object is content as it is.
func (r *reader) readAnswer(obj string, e *envelope, role string) {
	if e.cut {
		return
	}
	if e.text == "" && e.toolCalls == "" && e.content == "" {
		r.list = append(r.list, message{role: role, content: obj})
		return
	}
	m := message{role: role, content: e.text, finish: unquote(e.finish)}
	if isString(e.content) {
		m.content = e.content
	}
	m.calls = readCalls(e.toolCalls)
	if m.content == `""` && len(m.calls) > 0 {
		m.content = ""
	}
	r.list = append(r.list, m)
}

func roleOf(role string) string {
	switch role {
	case "human", "HumanMessage", "HumanMessageChunk":
		return "user"
	case "ai", "model", "AIMessage", "AIMessageChunk":
		return "assistant"
	case "SystemMessage":
		return "system"
	case "function", "ToolMessage", "FunctionMessage":
		return "tool"
	}
	return role
}

// lead puts system messages in front, unless the list has one already: some
// SDKs send the instructions both ways.
func lead(system, list []message) []message {
	if len(system) == 0 || len(list) > 0 && list[0].role == "system" {
		return list
	}
	return append(system, list...)
}

// marshal returns the message list in our form (see the package comment), nil
// for none or if no form of it may be sealed.
func marshal(list []message) []byte {
	if len(list) == 0 {
		return nil
	}
	size := 2
	for i := range list {
		size += len(list[i].content) + 64
	}
	b := append(make([]byte, 0, size), '[')
	for i := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = list[i].append(b)
	}
	return repair(append(b, ']'))
}

func (m *message) append(b []byte) []byte {
	b = append(b, `{"role":`...)
	b = appendText(b, m.role)
	b = append(b, `,"content":`...)
	if m.content == "" {
		b = append(b, "null"...)
	} else {
		b = append(b, m.content...)
	}
	for i, c := range m.calls {
		if i == 0 {
			b = append(b, `,"tool_calls":[`...)
		} else {
			b = append(b, ',')
		}
		b = appendText(append(b, `{"id":`...), c.id)
		b = appendText(append(b, `,"name":`...), c.name)
		b = append(b, `,"arguments":`...)
		if c.args == "" {
			b = append(b, "null}"...)
		} else {
			b = append(append(b, c.args...), '}')
		}
	}
	if len(m.calls) > 0 {
		b = append(b, ']')
	}
	b = appendMember(b, "tool_call_id", m.callID)
	b = appendMember(b, "name", m.name)
	b = appendMember(b, "finish_reason", m.finish)
	return append(b, '}')
}

func appendMember(b []byte, name, value string) []byte {
	if value == "" {
		return b
	}
	b = append(append(append(b, `,"`...), name...), `":`...)
	return appendText(b, value)
}

func appendText(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c == '"' || c == '\\' || c >= 0x7f {
			return append(b, evidence.QuoteJSON(s)...)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}
