package main

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/runledger/runledger/evidence"
)

// generator makes steps as an instrumented agent sends them: traces of 20
// spans, about 1 KiB each with facts and content.
type generator struct {
	rand  *rand.Rand
	at    evidence.Micros
	trace string
	left  int
	span  uint64
	step  int
}

const spansPerTrace = 20

func newGenerator(seed uint64) *generator {
	return &generator{rand: rand.New(rand.NewPCG(seed, 7)), at: 1_764_000_000_000_000}
}

var words = strings.Fields(`the loan of this customer was checked against policy and limits before
an answer is given weather in paris tomorrow looks mild with light rain while account balance shows
three open invoices please summarise for operator what changed since yesterday tool returned result
with status ok and latency below threshold agent decided to retry after timeout user asked again
about refund approval needs human review because amount exceeds four thousand euro`)

// pool is text to cut content from: making words costs more than the ledger
// does.
var pool = func() string {
	r := rand.New(rand.NewPCG(3, 5))
	var b strings.Builder
	for b.Len() < 4<<20 {
		if r.IntN(8) == 0 {
			fmt.Fprintf(&b, "%d ", r.IntN(1_000_000))
			continue
		}
		b.WriteString(words[r.IntN(len(words))] + " ")
	}
	return b.String()
}()

func (g *generator) text(n int) string {
	at := g.rand.IntN(len(pool) - n)
	return pool[at : at+n]
}

func (g *generator) hex(n int) string {
	b := make([]byte, 0, 16)
	for len(b) < n {
		b = binary.BigEndian.AppendUint64(b, g.rand.Uint64())
	}
	return hex.EncodeToString(b[:n])
}

var models = []string{"gpt-5.2-mini", "claude-5-sonnet", "mistral-large-3"}

// record returns the next step.
func (g *generator) record() *evidence.Record {
	if g.left == 0 {
		g.trace, g.left, g.step = g.hex(16), spansPerTrace, 0
	}
	g.left--
	g.step++
	g.at += evidence.Micros(1000 + g.rand.IntN(90_000))
	r := &evidence.Record{Kind: evidence.KindTraceStep, OccurredAt: g.at, Run: g.trace}
	r.SetText("trace_id", g.trace)
	r.SetText("span_id", g.hex(8))
	r.SetText("source_domain", "ACTIVITY")
	r.SetText("source_component", "TraceStore")
	r.SetText("agent_id", fmt.Sprintf("agent-%d", g.rand.IntN(12)))
	r.SetText("status", "success")
	r.SetInt("duration_us", int64(800+g.rand.IntN(3_000_000)))
	if g.step%3 == 0 {
		r.SetText("step_kind", "tool")
		r.SetText("skill_name", "execute_tool get_weather")
		r.SetText("tool_call_id", "call_"+g.hex(8))
		r.SetSealed("/params", []byte(`{"city":"Paris","q":"`+g.text(100)+`"}`))
		r.SetSealed("/outcome_data", []byte(`{"answer":"`+g.text(250)+`"}`))
	} else {
		r.SetText("step_kind", "llm")
		r.SetText("skill_name", "chat "+models[g.rand.IntN(3)])
		r.SetText("provider", "openai")
		r.SetText("request_model", models[0])
		r.SetText("model", models[0])
		r.SetText("operation", "chat")
		r.SetText("finish_reason", "stop")
		r.SetInt("input_tokens", int64(g.rand.IntN(4000)))
		r.SetInt("output_tokens", int64(g.rand.IntN(800)))
		r.SetSealed("/prompt", []byte(`[{"role":"user","content":"`+g.text(220)+`"}]`))
		r.SetSealed("/response", []byte(`"`+g.text(160)+`"`))
	}
	if err := r.Complete(); err != nil {
		panic(err)
	}
	return r
}

func (g *generator) batch(n int) []*evidence.Record {
	out := make([]*evidence.Record, n)
	for i := range out {
		out[i] = g.record()
	}
	return out
}

// flat returns a record's bytes as one text, for systems that keep text.
func flat(r *evidence.Record) []byte {
	b := append([]byte(nil), r.OccurredAt.String()...)
	for i := range r.Pub {
		b = append(append(b, ' '), r.Pub[i].Field.Name...)
		b = r.Pub[i].AppendJSON(append(b, ':'))
	}
	for _, v := range r.Sealed {
		b = append(append(b, ' '), v.Path...)
		b = append(append(b, ':'), v.JSON...)
	}
	return b
}
