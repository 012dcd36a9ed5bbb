package main

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
)

// perTrace is how many spans a trace has: a root and its children.
const perTrace = 20

// template is an encoded request whose ids, times and two attributes are
// written anew before each send: every span on the wire is another one, at the
// cost of a few stores.
type template struct {
	body  []byte
	spans []marks
}

// marks are where the parts of a span stand in the body; parent is -1 for a
// root.
type marks struct{ trace, span, parent, start, end, request, digest int }

const startMark, endMark = 0x1122334455667788, 0x1122334455667789

// newTemplate encodes a request of n spans: about 1 KiB and 20 attributes
// each, as an instrumented agent sends them.
func newTemplate(rng *rand.Rand, n int) *template {
	td := ptrace.NewTraces()
	rs := td.ResourceSpans().AppendEmpty()
	res := rs.Resource().Attributes()
	res.PutStr("service.name", fmt.Sprintf("agent-%02d", rng.IntN(20)))
	res.PutStr("service.version", "1.4.2")
	res.PutStr("deployment.environment", "bench")
	ss := rs.ScopeSpans().AppendEmpty()
	ss.Scope().SetName("bench")
	ss.Scope().SetVersion("1")
	type sought struct {
		trace           [16]byte
		span, parent    [8]byte
		root            bool
		request, digest string
	}
	var list []sought
	var trace [16]byte
	var root [8]byte
	var conversation, agent, user, session string
	for i := range n {
		var s sought
		fill(rng, s.span[:])
		if s.root = i%perTrace == 0; s.root {
			fill(rng, trace[:])
			root = s.span
			conversation, agent = fmt.Sprintf("conv-%06d", rng.IntN(100_000)), fmt.Sprintf("checkout-agent-%d", rng.IntN(10))
			user, session = fmt.Sprintf("u-%05d", rng.IntN(50_000)), fmt.Sprintf("s-%08d", rng.IntN(1<<24))
		}
		s.trace, s.parent = trace, root
		s.request, s.digest = hexText(rng, 16), hexText(rng, 32)
		sp := ss.Spans().AppendEmpty()
		sp.SetTraceID(s.trace)
		sp.SetSpanID(s.span)
		if !s.root {
			sp.SetParentSpanID(s.parent)
		}
		sp.SetName([]string{"llm.chat", "tool.call", "retrieval.query", "policy.check", "plan.step"}[i%5])
		sp.SetKind(ptrace.SpanKindInternal)
		sp.SetStartTimestamp(startMark)
		sp.SetEndTimestamp(endMark)
		sp.Status().SetCode(ptrace.StatusCodeOk)
		attributes(rng, sp.Attributes(), i, conversation, agent, user, session, s.request, s.digest)
		list = append(list, s)
	}
	body, err := ptraceotlp.NewExportRequestFromTraces(td).MarshalProto()
	check(err)
	t := &template{body: body}
	find := func(from int, what []byte) int {
		k := bytes.Index(body[from:], what)
		if k < 0 {
			check(fmt.Errorf("mark %x is not in the encoded request", what))
		}
		return from + k
	}
	// pdata writes the fields of a message from the last to the first.
	at := 0
	for _, s := range list {
		m := marks{parent: -1}
		m.request = find(at, []byte(s.request))
		m.digest = find(m.request+32, []byte(s.digest))
		m.end = find(m.digest+64, binary.LittleEndian.AppendUint64(nil, endMark))
		m.start = find(m.end+8, binary.LittleEndian.AppendUint64(nil, startMark))
		at = m.start + 8
		if !s.root {
			m.parent = find(at, s.parent[:])
			at = m.parent + 8
		}
		m.span = find(at, s.span[:])
		m.trace = find(m.span+8, s.trace[:])
		at = m.trace + 16
		t.spans = append(t.spans, m)
	}
	return t
}

func attributes(rng *rand.Rand, a pcommon.Map, i int, conversation, agent, user, session, request, digest string) {
	a.PutStr("gen_ai.system", "openai")
	a.PutStr("gen_ai.operation.name", "chat")
	a.PutStr("gen_ai.request.model", "gpt-x-large-2026-01")
	a.PutStr("gen_ai.response.model", "gpt-x-large-2026-01-15")
	a.PutInt("gen_ai.usage.input_tokens", rng.Int64N(8000))
	a.PutInt("gen_ai.usage.output_tokens", rng.Int64N(900))
	a.PutInt("gen_ai.request.max_tokens", 4096)
	a.PutStr("gen_ai.request.temperature", "0.2")
	a.PutStr("gen_ai.conversation.id", conversation)
	a.PutStr("gen_ai.agent.name", agent)
	a.PutStr("gen_ai.tool.name", fmt.Sprintf("search_%d", rng.IntN(30)))
	a.PutStr("user.id", user)
	a.PutStr("session.id", session)
	a.PutStr("policy.decision", "allow")
	a.PutStr("policy.rule", fmt.Sprintf("rule-%02d", rng.IntN(40)))
	a.PutInt("step.index", int64(i%perTrace))
	a.PutInt("retry.count", 0)
	a.PutStr("request.id", request)
	a.PutStr("content.sha256", digest)
	var text strings.Builder
	for text.Len() < 270 {
		text.WriteString(words[rng.IntN(len(words))])
		text.WriteByte(' ')
	}
	a.PutStr("gen_ai.prompt.summary", text.String()[:270])
}

func fill(rng *rand.Rand, b []byte) {
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
}

func hexText(rng *rand.Rand, n int) string {
	b := make([]byte, n)
	fill(rng, b)
	return hex.EncodeToString(b)
}

// freshen makes all of the template's spans new ones.
func (t *template) freshen(rng *rand.Rand) {
	now := uint64(time.Now().UnixNano())
	var trace [16]byte
	var root, span [8]byte
	var raw [48]byte
	for i, m := range t.spans {
		if m.parent < 0 {
			binary.LittleEndian.PutUint64(trace[:8], rng.Uint64())
			binary.LittleEndian.PutUint64(trace[8:], rng.Uint64())
		}
		binary.LittleEndian.PutUint64(span[:], rng.Uint64())
		copy(t.body[m.trace:], trace[:])
		copy(t.body[m.span:], span[:])
		if m.parent < 0 {
			root = span
		} else {
			copy(t.body[m.parent:], root[:])
		}
		start := now - uint64(len(t.spans)-i)*50_000
		binary.LittleEndian.PutUint64(t.body[m.start:], start)
		binary.LittleEndian.PutUint64(t.body[m.end:], start+uint64(rng.Uint32N(40_000)))
		for k := 0; k < len(raw); k += 8 {
			binary.LittleEndian.PutUint64(raw[k:], rng.Uint64())
		}
		hex.Encode(t.body[m.request:], raw[:16])
		hex.Encode(t.body[m.digest:], raw[16:])
	}
}

// each calls fn with the bytes of each span as they stand in the request, but for
// the two or three that tell its length. What it is given is the template's own.
func (t *template) each(fn func(id, span []byte)) {
	from := 0
	for _, m := range t.spans {
		end := m.trace + 16 // the trace id is written last
		fn(t.body[m.span:m.span+8], t.body[from:end])
		from = end
	}
}
