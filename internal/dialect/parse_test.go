package dialect

import (
	"errors"
	"strings"
	"testing"

	"github.com/runledger/runledger/evidence"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

func TestShippedTable(t *testing.T) {
	table, err := Parse(shipped)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(table.Dialects()); n < 15 {
		t.Errorf("%d dialects", n)
	}
	for _, d := range table.columns {
		if len(d.kind) == 0 || len(d.fields[fPrompt]) == 0 && d.name != "" {
			t.Errorf("%s: no kind rules or no prompt", d.name)
		}
	}
}

// A new dialect is data.
func TestNewDialect(t *testing.T) {
	table, err := Parse([]byte(`
version: 1
finish_reasons: {stop: [fin]}
families: {acme.msg: {}}
dialects:
  - name: acme-2
    match: [{scope: acme, from: "2.0", below: "3"}]
    like: acme
    fields:
      input: ["acme.use@in.0"]
  - name: acme
    match: [{scope: acme, exact: true, has: [acme.kind, acme.x]}]
    kind: [{key: acme.kind, is: {model: llm}}]
    fields:
      input: [acme.in]
      output: [{key: acme.out, when: ["acme.kind=model", "!acme.x*=no"]}, acme.out2]
      finish_reason: [acme.fin]
      prompt: [{family: acme.msg}]
`))
	if err != nil {
		t.Fatal(err)
	}
	attrs := map[string]any{
		"acme.kind": "model", "acme.in": 1, "acme.use": `{"in": [5, 6]}`, "acme.out": 2, "acme.out2": 3, "acme.fin": "FIN", "acme.msg.0.content": "hi",
	}
	for _, tt := range []struct {
		scope, version string
		dialect        string
		in, out        Opt
	}{
		{"acme", "1.9", "acme", Some(1), Some(2)},
		{"acme", "2.0.1-beta", "acme-2", Some(5), Some(2)},
		{"acme.sub", "2.1", "acme-2", Some(5), Some(2)},
		{"acme", "3.0", "acme", Some(1), Some(2)},
		{"acme.sub", "3.0", "", Opt{}, Opt{}},
		{"acme", "", "acme", Some(1), Some(2)},
	} {
		r := table.ReadSpan(pcommon.NewResource(), testScope(tt.scope, tt.version), testSpan(t, "s", attrs))
		if r.Dialect != tt.dialect || r.Input != tt.in || r.Output != tt.out {
			t.Errorf("%s %s: got %q %v %v", tt.scope, tt.version, r.Dialect, r.Input, r.Output)
		}
		if tt.dialect != "" && (r.FinishReason != "stop" || string(r.Prompt) != `[{"role":"user","content":"hi"}]`) {
			t.Errorf("%s %s: %q %s", tt.scope, tt.version, r.FinishReason, r.Prompt)
		}
	}
	attrs["acme.x"] = "well no"
	if r := table.ReadSpan(pcommon.NewResource(), testScope("acme", ""), testSpan(t, "s", attrs)); r.Output != Some(3) {
		t.Errorf("condition: got %v", r.Output)
	}
}

func TestParseErrors(t *testing.T) {
	one := func(entry string) string {
		return "version: 1\ndialects:\n  - {name: a, match: [{scope: s}], " + entry + "}\n"
	}
	for _, tt := range []struct{ name, yaml, want string }{
		{"empty", "", "it is empty"},
		{"no YAML", "a: [", "yaml"},
		{"two documents", "version: 1\n---\nversion: 1\n", "more than one document"},
		{"version", "version: 2\n", "version is 2"},
		{"unknown member", "version: 1\ndialect: []\n", "dialect"},
		{"unknown member of an entry", one("fild: {}"), "fild"},
		{"unknown member of a source", one("fields: {input: [{key: k, ass: ms}]}"), `"ass"`},
		{"no name", "version: 1\ndialects:\n  - {match: [{scope: s}]}\n", "dialects[0]: no name"},
		{"twice", one("x: 1")[:len(one("x: 1"))-8] + "}\n  - {name: a, match: [{scope: s}]}\n", "dialect a: stands twice"},
		{"no match", "version: 1\ndialects:\n  - {name: a}\n", "dialect a: no match"},
		{"empty match", "version: 1\ndialects:\n  - {name: a, match: [{}]}\n", "dialect a: match[0]: neither scope nor has"},
		{"version without scope", "version: 1\ndialects:\n  - {name: a, match: [{from: '1', has: [k]}]}\n", "dialect a: match[0]: from"},
		{"bad version", "version: 1\ndialects:\n  - {name: a, match: [{scope: s, below: x}]}\n", `below "x"`},
		{"unknown field", one("fields: {inputs: [k]}"), `dialect a: unknown field "inputs"`},
		{"unknown transform", one("fields: {input: [{key: k, as: double}]}"), `dialect a: field input[0]: unknown transform "double"`},
		{"empty key", one("fields: {input: ['']}"), `dialect a: field input[0]: "" is no attribute key`},
		{"empty path", one("fields: {input: ['k@']}"), `"k@" is no attribute key`},
		{"own attribute", one("fields: {user: [runledger.user_id]}"), "the project's own"},
		{"unknown family", one("fields: {prompt: [{family: f}]}"), `no family "f"`},
		{"family elsewhere", "version: 1\nfamilies: {f: {}}\n" + one("fields: {input: [{family: f}]}")[11:], "only prompt and response"},
		{"prefix", one("fields: {input: [{key: k, prefix: p}]}"), "prefix without json-sum"},
		{"condition", one("fields: {input: [{key: k, when: ['x=']}]}"), "compares with nothing"},
		{"kind", one("kind: [{key: k, is: {v: model}}]"), `dialect a: kind[0]: "model" is no step kind`},
		{"kind by suffix", one("kind: [{key: k, ends: {v: model}}]"), `"model" is no step kind`},
		{"kind twice", one("kind: [{key: k, is: {v: llm}, kind: llm}]"), "needs either"},
		{"kind of nothing", one("kind: [{}]"), "needs either"},
		{"kind key alone", one("kind: [{key: k, kind: llm}]"), "without is or ends"},
		{"like nobody", one("like: b"), `dialect a: like: no other dialect "b"`},
		{"like itself", one("like: a"), `like: no other dialect "a"`},
		{"then nobody", one("then: [b]"), `dialect a: then: no other dialect "b"`},
		{"zero", one("zero_when_absent: [input]"), `zero_when_absent: "input"`},
		{"estimated", one("estimated: [[x, '=y']]"), "dialect a: estimated[0]"},
		{"excludes", one("input_excludes_cached: [['!']]"), "dialect a: input_excludes_cached[0]"},
		{"decision", "version: 1\ndecisions: {MAYBE: []}\n", `"MAYBE" is no decision`},
		{"two meanings", "version: 1\nproviders: {a: [x], b: [X]}\n", "stands for both a and b"},
		{"common with a name", "version: 1\ncommon: {name: c}\n", "common: has only"},
		{"common", "version: 1\ncommon: {fields: {x: [k]}}\n", `common: unknown field "x"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Parse([]byte(tt.yaml))
			if err == nil || !errors.Is(err, evidence.ErrInvalid) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	// Not the shipped table: minimising a mutation of 20 KB takes longer than
	// the fuzzer is given.
	f.Add([]byte("version: 1\ndialects:\n  - {name: a, match: [{scope: s, from: '1.2'}], fields: {input: [{key: k@p.0, as: ms, when: ['!k^=v']}]}}\n"))
	f.Add([]byte("version: 1\nfamilies: {f: {}}\ncommon: {kind: [{kind: llm, when: [k]}]}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		table, err := Parse(data)
		if err != nil {
			if !errors.Is(err, evidence.ErrInvalid) {
				t.Fatalf("no sentinel: %v", err)
			}
			return
		}
		sp, scope := benchSpan()
		r := table.ReadSpan(benchResource(), scope, sp)
		if !kinds[r.Kind] {
			t.Fatalf("kind %q", r.Kind)
		}
	})
}

// FuzzContent: whatever stands in an attribute, what comes out may be sealed.
func FuzzContent(f *testing.F) {
	for _, s := range []string{
		"text", `"text"`, `[{"role":"user","content":"a\ud800"}]`, `[["user","x"]]`, `{"messages":[[{"lc":1,"id":["AIMessage"],"kwargs":{"content":""}}]]}`,
		`{"system":"s","prompt":"p"}`, `[{"type":"function_call","name":"f","arguments":"{\"a\":1,\"a\":2}"}]`, `{"a":1,"a":2}`,
		`{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f","args":{}}}]}}]}`, `[{"role":"tool","parts":[{"type":"tool_call_response","id":"1","response":[{}]}]}`,
		`{"text":"","toolCalls":[{"toolCallId":"1"}]}`, `[{"role":"user","parts":[{"type":"text","conte`, "[note] see", `[1,2]`, `{"output":[{"type":"message"}]}`, "\xff", strings.Repeat("[", 200),
	} {
		f.Add(s)
	}
	table := Default()
	f.Fuzz(func(t *testing.T, text string) {
		check := func(v []byte, list bool) {
			if v == nil {
				return
			}
			if err := evidence.CheckJSON(v); err != nil {
				t.Fatalf("%q: %v", v, err)
			}
			if list {
				UserText(v)
				AssistantText(v)
				for _, m := range ours(v) {
					if m.Content == nil {
						t.Fatalf("message without content: %s", v)
					}
				}
			}
		}
		for kind, scope := range map[string]string{"LLM": "@arizeai/openinference-instrumentation-langchain", "TOOL": "", "AGENT": ""} {
			r := table.ReadSpan(benchResource(), testScope(scope, ""), testSpan(t, text, map[string]any{
				"openinference.span.kind": kind, "input.value": text, "output.value": text, "metadata": text, "llm.invocation_parameters": text,
				"gen_ai.system_instructions": text, "ai.response.toolCalls": text, "runledger.limit_value": text, "gen_ai.usage.input_tokens": text,
			}))
			check(r.Params, false)
			check(r.Result, false)
			check(r.Prompt, true)
			check(r.Response, true)
		}
		rec := plog.NewLogRecord()
		rec.SetEventName("gen_ai.choice")
		rec.Body().SetStr(text)
		r := table.ReadLog(pcommon.NewResource(), testScope("", ""), rec)
		check(r.Hints.Response, true)
		UserText([]byte(text))
		AssistantText([]byte(text))
		check(repair([]byte(text)), false)
	})
}

// FuzzFamilies: the numbers and words of keys come from outside, too.
func FuzzFamilies(f *testing.F) {
	f.Add("0.message.content", "x")
	f.Add("999999.message.contents.999999.message_content.text", "x")
	f.Add("0.tool_calls.7.function.arguments", `{"a":1}`)
	f.Fuzz(func(t *testing.T, key, text string) {
		sp := ptrace.NewSpan()
		sp.Attributes().PutStr("openinference.span.kind", "LLM")
		for _, family := range []string{"llm.input_messages.", "llm.output_messages."} {
			sp.Attributes().PutStr(family+key, text)
			sp.Attributes().PutStr(family+"1."+key, text)
		}
		r := Default().ReadSpan(pcommon.NewResource(), testScope("", ""), sp)
		for _, v := range [][]byte{r.Prompt, r.Response} {
			if v != nil && evidence.CheckJSON(v) != nil {
				t.Fatalf("%q: %v", v, evidence.CheckJSON(v))
			}
		}
	})
}
