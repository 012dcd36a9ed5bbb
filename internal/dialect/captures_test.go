package dialect

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// absent lists what no reader can find in a capture although the manifest
// does not list it among the deviations. The test makes sure that it really
// is absent, so that the list cannot hide anything.
var absent = map[string]map[string]string{
	"vercel-ai-7.0.173/embed":                     {"function_id": "embedding spans name no function"},
	"vercel-ai-7.0.173/agent2_truncated":          {"tool requests": "cut off with the JSON around them"},
	"anthropic-sdk-native-1.12.0/stream":          {"final text": "the SDK does not collect what it streams"},
	"openai-agents-openinference-0.20.0/toolfail": {"tool error": "redacted by the SDK"},
	"openai-agents-openinference-0.20.0/err500": {
		"request model": "a failed response names none", "prompt": "nor its input", "system prompt": "nor its instructions",
	},
	"openai-agents-openinference-0.20.0/guardrail_trip": {
		"prompt": "the root, which has it, was never exported", "system prompt": "no model was called",
	},
	"openai-agents-openinference-0.20.0/grouped_two_runs": {"metadata.user": "trace metadata is not exported"},
	"langfuse-5.11.1/err429":                              {"provider": "Langfuse has no field for it"},
	"mastra-1.71.0/agent2":                                {"tool requests": "they are in spans around and below the call"},
	"mastra-1.71.0/agent2_json":                           {"tool requests": "they are in spans around and below the call"},
	"openlit-1.15.0/err500":                               {"prompt": "the span of a failed call has no content", "system prompt": "nor instructions"},
	"openlit-1.15.0/guard_deny":                           {"prompt": "there is no span", "system prompt": "nor a call"},
	"mastra-1.71.0/toolfail":                              {"tool requests": "they are in spans around and below the call"},
}

// manual entries call no provider: the application wrote the span itself.
var manual = map[string]int{"langfuse-5.11.1/manual_cost": 1}

type checker struct {
	*testing.T
	c   *capture
	e   *expected
	r   *reading
	dev deviations
	// used collects the facts that were looked for in absent.
	used map[string]bool
	// calls are leaf model calls, ok those that did not fail.
	calls, ok, embeds []*step
}

func TestCaptures(t *testing.T) {
	m := readManifest(t)
	table := Default()
	seen := make(map[string]int)
	for i := range m.Entries {
		c := &m.Entries[i]
		seen[c.SDK]++
		t.Run(c.ID, func(t *testing.T) {
			k := &checker{T: t, c: c, e: &c.Expected, r: readCapture(t, table, c), dev: parseDeviations(t, c.Deviations), used: map[string]bool{}}
			k.sort()
			k.counts()
			k.tokens()
			k.perCall()
			k.models()
			k.tools()
			k.failures()
			k.content()
			k.identity()
			k.governance()
			k.cost()
			k.forms()
			for fact := range absent[c.ID] {
				if !k.used[fact] {
					t.Errorf("absent lists %q, which was not looked for", fact)
				}
			}
		})
	}
	want := map[string]int{
		"otel-instrumentation-openai": 11, "vercel-ai": 29, "anthropic-sdk-native": 7, "traceloop": 8,
		"openinference": 13, "openai-agents-openinference": 8, "langfuse": 7, "mastra": 6, "openlit": 6, "mcp-traceloop": 2,
	}
	if d := cmp.Diff(want, seen); d != "" {
		t.Errorf("entries checked (-want +got):\n%s", d)
	}
	for id := range absent {
		if !slices.ContainsFunc(m.Entries, func(c capture) bool { return c.ID == id }) {
			t.Errorf("absent names %s, which is no entry", id)
		}
	}
}

func (k *checker) isAbsent(fact string) bool {
	k.used[fact] = true
	return absent[k.c.ID][fact] != ""
}

func (k *checker) sort() {
	for _, s := range k.r.steps {
		switch {
		case !s.leaf:
		case s.Kind == "embedding":
			k.embeds = append(k.embeds, s)
		default:
			k.calls = append(k.calls, s)
			if !s.Failed {
				k.ok = append(k.ok, s)
			}
		}
	}
}

func (k *checker) eq(what string, got, want any) {
	k.Helper()
	if d := cmp.Diff(want, got, cmpopts.EquateEmpty()); d != "" {
		k.Errorf("%s (-want +got):\n%s", what, d)
	}
}

func (k *checker) counts() {
	k.Helper()
	want := k.e.CallsOK
	if n, ok := manual[k.c.ID]; ok {
		want = n
	}
	if k.dev.plain["no trace at all"] {
		k.eq("spans", len(k.r.steps), 0)
	}
	k.eq("successful calls", len(k.ok), want)
	k.eq("embeddings", len(k.embeds), k.e.Embeddings)
	failed := len(k.e.ProviderErrors)
	if k.dev.plain["retries invisible"] {
		failed = 0
	}
	k.eq("failed calls", len(k.calls)-len(k.ok), failed)
	if k.dev.plain["1 nested duplicate llm spans"] {
		n := 0
		for _, s := range k.r.steps {
			if s.Kind == "llm" && !s.leaf {
				n++
			}
		}
		k.eq("nested duplicates", n, 1)
	}
}

// tokens compares sums; a class is known only if all counted calls say it.
func (k *checker) tokens() {
	for _, class := range []struct {
		name string
		want int64
		get  func(*step) Opt
		flag string
	}{
		{"input_tokens", k.e.Input, func(s *step) Opt { return s.Input }, FlagTokensUnknown},
		{"output_tokens", k.e.Output, func(s *step) Opt { return s.Output }, FlagTokensUnknown},
		{"cached_input_tokens", k.e.Cached, func(s *step) Opt { return s.Cached }, FlagCachedUnknown},
		{"cache_write_input_tokens", k.e.CacheWrite, func(s *step) Opt { return s.CacheWrite }, ""},
		{"reasoning_output_tokens", k.e.Reasoning, func(s *step) Opt { return s.Reasoning }, FlagReasoning},
	} {
		calls := k.ok
		if class.name == "input_tokens" {
			calls = append(slices.Clone(k.ok), k.embeds...)
		}
		sum, known, estimated := int64(0), true, true
		for _, s := range calls {
			o := class.get(s)
			known = known && o.OK
			sum += o.V
			estimated = estimated && slices.Contains(s.Flags, FlagTokensEstimated)
			if !o.OK && class.flag != "" && !slices.Contains(s.Flags, class.flag) {
				k.Errorf("%s absent from a call without flag %s: %v", class.name, class.flag, s.Flags)
			}
			if o.OK && slices.Contains(s.Flags, class.flag) && class.flag != FlagTokensUnknown {
				k.Errorf("%s is there and flagged %s", class.name, class.flag)
			}
		}
		said, deviates := k.dev.wrong[class.name]
		switch {
		case k.dev.missing[class.name]:
			if known {
				k.Errorf("%s: got %d, the capture does not hold it", class.name, sum)
			}
		case deviates && sum == said:
			if !estimated {
				k.Errorf("%s: got %d, which is wrong, without a flag", class.name, sum)
			}
		case class.want == 0 && !known: // 0 may be absent
		case !known:
			k.Errorf("%s: not known to all calls, want %d", class.name, class.want)
		default:
			k.eq(class.name, sum, class.want)
		}
	}
}

// perCall compares what belongs to single calls.
func (k *checker) perCall() {
	var ids, finish, gotFinish, tools []string
	var want, got []string
	for _, p := range k.e.PerCall {
		if p.Status != 200 {
			continue
		}
		ids = append(ids, p.ResponseID)
		if p.Op == "chat" {
			finish = append(finish, normal(Default().finish, p.Finish))
			tools = append(tools, p.ToolCalls...)
			want = append(want, num(p.Input)+"/"+num(p.Output))
		}
	}
	var gotTools []string
	for _, s := range k.ok {
		if s.ResponseID != "" && !slices.Contains(ids, s.ResponseID) {
			k.Errorf("response id %q is none of %v", s.ResponseID, ids)
		}
		gotFinish = append(gotFinish, s.FinishReason)
		gotTools = append(gotTools, s.tools...)
		got = append(got, num(s.Input.V)+"/"+num(s.Output.V))
	}
	if manual[k.c.ID] > 0 {
		return
	}
	slices.Sort(finish)
	slices.Sort(gotFinish)
	if k.dev.missing["finish reason"] {
		gotFinish = slices.DeleteFunc(gotFinish, func(s string) bool { return s == "" })
		finish = finish[:min(len(finish), len(gotFinish))]
	}
	k.eq("finish reasons", gotFinish, finish)
	if len(k.dev.missing)+len(k.dev.wrong) == 0 || !k.dev.missing["input_tokens"] && len(k.dev.wrong) == 0 {
		slices.Sort(want)
		slices.Sort(got)
		k.eq("tokens of each call", got, want)
	}
	switch {
	case k.isAbsent("tool requests"):
		k.eq("tool requests", len(gotTools), 0)
	case k.c.ContentCapture:
		slices.Sort(tools)
		slices.Sort(gotTools)
		k.eq("tool requests", gotTools, tools)
	default:
		k.eq("tool requests without content", len(gotTools), 0)
	}
}

func num(n int64) string { return strconv.FormatInt(n, 10) }

func set(list []*step, get func(*step) string) []string {
	var out []string
	for _, s := range list {
		if v := get(s); v != "" {
			out = appendNew(out, v)
		}
	}
	slices.Sort(out)
	return out
}

// models compares models and providers: equal, or a part of the truth where
// the capture lacks some.
func (k *checker) models() {
	all := append(slices.Clone(k.calls), k.embeds...)
	good := append(slices.Clone(k.ok), k.embeds...)
	for _, f := range []struct {
		name string
		got  []string
		want []string
	}{
		{"request model", set(all, func(s *step) string { return s.RequestModel }), slices.Clone(k.e.RequestModels)},
		{"response model", set(good, func(s *step) string { return s.Model }), slices.Clone(k.e.ResponseModels)},
		{"provider", set(all, func(s *step) string { return s.Provider }), nonEmpty(k.e.Provider)},
	} {
		slices.Sort(f.want)
		if k.dev.missing[f.name] || k.isAbsent(f.name) {
			for _, g := range f.got {
				if !slices.Contains(f.want, g) {
					k.Errorf("%s: got %q, the truth is %v", f.name, g, f.want)
				}
			}
			if k.isAbsent(f.name) && len(f.got) > 0 {
				k.Errorf("%s: got %v, which is listed as absent", f.name, f.got)
			}
			continue
		}
		if manual[k.c.ID] > 0 && len(f.want) == 0 {
			continue
		}
		k.eq(f.name, f.got, f.want)
	}
}

func nonEmpty(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}

func (k *checker) tools() {
	var names, failed []string
	for _, s := range k.r.steps {
		if s.Kind != "tool" {
			continue
		}
		names = append(names, s.Name)
		if s.Failed {
			failed = append(failed, s.Name)
			if k.e.ToolError != "" && !strings.Contains(s.ErrorText, k.e.ToolError) && !k.isAbsent("tool error") {
				k.Errorf("tool error %q, want %q", s.ErrorText, k.e.ToolError)
			}
		}
		if k.c.ContentCapture && (s.Params == nil || s.Result == nil && !s.Failed) {
			k.Errorf("tool %s: params %q, result %q", s.Name, s.Params, s.Result)
		}
	}
	want, wantFailed := slices.Clone(k.e.ToolCalls), slices.Clone(k.e.FailedTools)
	if k.dev.plain["no tool spans"] || !k.e.ToolsExecuted {
		want, wantFailed = nil, nil
	}
	slices.Sort(names)
	slices.Sort(failed)
	slices.Sort(want)
	slices.Sort(wantFailed)
	k.eq("tools", strings.Join(names, " "), strings.Join(want, " "))
	k.eq("failed tools", strings.Join(failed, " "), strings.Join(wantFailed, " "))
}

// failures: a failed call has a text, and a type unless the SDK sends none.
func (k *checker) failures() {
	for _, s := range k.calls {
		if !s.Failed {
			if s.ErrorType != "" || s.ErrorText != "" {
				k.Errorf("error %q %q without failure", s.ErrorType, s.ErrorText)
			}
			continue
		}
		if s.ErrorType == "" && !k.dev.plain["no error.type on the failed span"] {
			k.Errorf("failed call without error type")
		}
	}
	if k.dev.plain["failed llm span not marked error"] {
		k.eq("calls known to have failed by their finish reason", len(set(k.calls, func(s *step) string {
			if s.Failed && s.FinishReason == "error" {
				return s.id
			}
			return ""
		})), 1)
	}
}
