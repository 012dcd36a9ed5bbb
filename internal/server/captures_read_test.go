package server_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
)

// found is what a tenant's log holds of a capture.
type found struct {
	steps     []ledger.LogRecord
	runs      map[string]ledger.LogRecord // newest revisions
	audit     []ledger.LogRecord
	conflicts int
}

func find(ctx context.Context, l *ledger.Ledger, tenant string) (*found, error) {
	head, _, err := l.PublishNow(ctx, tenant, 1)
	if err != nil {
		return nil, err
	}
	f := &found{runs: map[string]ledger.LogRecord{}}
	err = l.Records(ctx, tenant, 1, 0, head.Size, func(r ledger.LogRecord) error {
		switch {
		case r.Leaf.Text("conflict_of") != "":
			f.conflicts++
		case r.Leaf.Kind == evidence.KindTraceStep:
			f.steps = append(f.steps, r)
		case r.Leaf.Kind == evidence.KindAudit:
			f.audit = append(f.audit, r)
		case r.Leaf.Kind == evidence.KindLLMRun:
			f.runs[r.Leaf.Run] = r
		}
		return nil
	})
	return f, err
}

// calls returns the model calls that are counted: those below which there is
// no other.
func (f *found) calls() (calls []ledger.LogRecord) {
	parent := map[string]string{}
	inner := map[string]bool{}
	key := func(r ledger.LogRecord, field string) string {
		if id := r.Leaf.Text(field); id != "" {
			return r.Leaf.Run + ":" + id
		}
		return ""
	}
	isCall := func(r ledger.LogRecord) bool {
		k := r.Leaf.Text("step_kind")
		return k == "llm" || k == "embedding"
	}
	for _, s := range f.steps {
		parent[key(s, "span_id")] = key(s, "parent_span_id")
	}
	for _, s := range f.steps {
		if isCall(s) {
			for p := key(s, "parent_span_id"); p != "" && !inner[p]; p = parent[p] {
				inner[p] = true
			}
		}
	}
	for _, s := range f.steps {
		if isCall(s) && !inner[key(s, "span_id")] {
			calls = append(calls, s)
		}
	}
	return calls
}

// text returns a public text or its sealed original.
func text(r ledger.LogRecord, field string) string {
	if o, ok := r.Open["/"+field]; ok {
		return evidence.IndexText([]byte(o.JSON))
	}
	return r.Leaf.Text(field)
}

func distinct(list []ledger.LogRecord, field string) []string {
	set := map[string]bool{}
	for _, r := range list {
		if s := text(r, field); s != "" {
			set[s] = true
		}
	}
	return slices.Sorted(maps.Keys(set))
}

func sorted(list []string) []string {
	out := append([]string{}, list...)
	slices.Sort(out)
	return out
}

func where(list []ledger.LogRecord, field, value string) (out []ledger.LogRecord) {
	for _, r := range list {
		if r.Leaf.Text(field) == value {
			out = append(out, r)
		}
	}
	return out
}

func names(list []ledger.LogRecord, field string) (out []string) {
	for _, r := range list {
		out = append(out, text(r, field))
	}
	slices.Sort(out)
	return out
}

// deviates reports whether the capture cannot hold a truth.
func (c *capture) deviates(about string) bool {
	return slices.ContainsFunc(c.Deviations, func(d string) bool { return strings.HasPrefix(d, about) })
}

// holds reports whether a text stands anywhere in what the SDK sent: what it
// did not send, no one can recover.
func (c *capture) holds(text string) bool {
	quoted := string(evidence.QuoteJSON(text))
	quoted = quoted[1 : len(quoted)-1]
	for _, f := range c.Files {
		b, err := os.ReadFile(filepath.Join(captures, f.Path))
		if err == nil && (bytes.Contains(b, []byte(text)) || bytes.Contains(b, []byte(quoted))) {
			return true
		}
	}
	return false
}

func (c *capture) held(texts []string) (out []string) {
	for _, s := range texts {
		if c.holds(s) {
			out = append(out, s)
		}
	}
	return out
}

// check returns what of the evidence is not the truth.
func (c *capture) check(f *found) (wrong []string) {
	bad := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	same := func(what string, got, want []string) {
		if !slices.Equal(sorted(got), sorted(want)) {
			bad("%s: %q, truth %q", what, got, want)
		}
	}
	x := &c.Expected
	if len(f.steps) != c.Observed.Spans || len(f.runs) != c.Observed.Traces || f.conflicts != 0 {
		bad("%d steps of %d, %d runs of %d, %d conflicts", len(f.steps), c.Observed.Spans, len(f.runs), c.Observed.Traces, f.conflicts)
	}
	calls := f.calls()
	ok := where(calls, "status", "success")
	manual := strings.HasSuffix(c.ID, "manual_cost") // stated by hand, of no real call
	if n := len(where(ok, "step_kind", "llm")); n != x.CallsOK && !manual {
		bad("%d model calls, truth %d", n, x.CallsOK)
	}
	if n := len(where(ok, "step_kind", "embedding")); n != x.Embeddings {
		bad("%d embedding calls, truth %d", n, x.Embeddings)
	}
	if failed := len(calls) - len(ok); failed > len(x.ProviderErrors) || (failed == 0 && len(x.ProviderErrors) > 0 && !c.deviates("retries invisible")) {
		bad("%d failed calls, truth %v", failed, x.ProviderErrors)
	}
	c.checkTokens(f, bad)
	if !c.deviates("request model missing") {
		same("request models", distinct(calls, "request_model"), c.held(x.RequestModels))
	}
	if !c.deviates("response model missing") {
		same("response models", distinct(ok, "model"), x.ResponseModels)
	}
	if !c.deviates("provider missing") && x.Provider != "" {
		same("provider", distinct(calls, "provider"), c.held([]string{x.Provider}))
	}
	tools := where(f.steps, "step_kind", "tool")
	if x.ToolsExecuted && !c.deviates("no tool spans") {
		same("tools", names(tools, "skill_name"), x.ToolCalls)
		same("failed tools", names(where(tools, "status", "failure"), "skill_name"), x.FailedTools)
	}
	if c.ContentCapture && !c.deviates("no trace") {
		c.checkContent(f, same)
	}
	c.checkIdentity(f, bad)
	c.checkGovernance(f, bad)
	for run, r := range f.runs {
		status := r.Leaf.Text("execution_status")
		if failed := len(x.ProviderErrors) > 0 && x.CallsOK+x.Embeddings == 0; failed != (status == "FAILED") && (x.Guardrail == nil || !x.Guardrail.Triggered) {
			bad("run %s is %s", run, status)
		}
	}
	return wrong
}

// checkTokens: equal to the truth, or absent with a flag; never another number.
func (c *capture) checkTokens(f *found, bad func(string, ...any)) {
	x := &c.Expected
	for _, t := range []struct {
		field, name string
		want        int64
		flag        string
	}{
		{"input_tokens", "input_tokens", x.Input, "tokens_unknown"},
		{"output_tokens", "output_tokens", x.Output, "tokens_unknown"},
		{"cached_input_tokens", "cached_input_tokens", x.Cached, "cached_tokens_unknown"},
		{"cache_write_input_tokens", "cache_write_input_tokens", x.CacheWrite, ""},
		{"reasoning_tokens", "reasoning_output_tokens", x.Reasoning, "reasoning_tokens_unknown"},
	} {
		sum, absent, flagged := int64(0), 0, true
		for _, r := range f.runs {
			n, ok := r.Leaf.Int(t.field)
			sum += n
			if !ok {
				absent++
				flags, _ := r.Leaf.Fact("completeness")
				flagged = flagged && slices.Contains(flags.List, t.flag)
			}
		}
		missing := c.deviates(t.name + " missing")
		switch {
		case absent == 0 && sum == t.want: // the truth, even where the capture does not seem to hold it
		case absent == len(f.runs) && missing && (flagged || t.flag == ""):
		case absent > 0 && sum == t.want && t.want == 0 && !missing: // not said, and none
		case absent > 0 && sum == t.want && t.flag != "tokens_unknown" && !missing: // some calls said it, the others had none
		case c.deviates(t.name + " "): // an estimate: flagged as one
			for run, r := range f.runs {
				if flags, _ := r.Leaf.Fact("completeness"); !slices.Contains(flags.List, "tokens_maybe_estimated") {
					bad("run %s: %s is %d, truth %d, and no flag says so (%v)", run, t.field, sum, t.want, flags.List)
				}
			}
		default:
			bad("%s: %d, absent in %d of %d runs (flagged: %v), truth %d", t.field, sum, absent, len(f.runs), flagged, t.want)
		}
	}
	if x.Cost != nil {
		sum := int64(0)
		for _, r := range f.runs {
			n, _ := r.Leaf.Int("cost_usd_nanos")
			sum += n
		}
		if want := int64(math.Round(x.Cost.Total * 1e9)); sum != want {
			bad("cost %d, truth %d", sum, want)
		}
	}
}

func (c *capture) checkContent(f *found, same func(string, []string, []string)) {
	x := &c.Expected
	var prompts, answers []string
	for _, r := range f.runs {
		if o, ok := r.Open["/prompt"]; ok {
			prompts = append(prompts, evidence.IndexText([]byte(o.JSON)))
		}
		if o, ok := r.Open["/response"]; ok {
			answers = append(answers, evidence.IndexText([]byte(o.JSON)))
		}
	}
	want := c.held(x.Prompt)
	if len(f.runs) < len(want) { // several workflows in one trace are one run, which begins with the first
		want = want[:len(f.runs)]
	}
	if x.Prompt != nil {
		same("prompt", prompts, want)
	}
	if x.FinalText != nil {
		same("final text", answers, c.held(x.FinalText))
	}
}

func (c *capture) checkIdentity(f *found, bad func(string, ...any)) {
	id := &c.Expected.Identity
	runs := slices.Collect(maps.Values(f.runs))
	if id.User != "" && !c.deviates("root/parent") {
		seen := false
		for _, s := range f.steps {
			if o, ok := s.Open["/actor"]; ok && evidence.ActorOf([]byte(o.JSON)) == id.User {
				seen = true
			}
		}
		if !seen {
			bad("user %s is nowhere", id.User)
		}
	}
	for _, want := range []string{id.Session, id.Thread, id.Group} {
		if want == "" || !c.holds(want) {
			continue
		}
		if got := distinct(runs, "conversation_id"); !slices.Equal(got, []string{want}) {
			bad("conversation %q, truth %q", got, want)
		}
		break
	}
	if id.Agent != "" {
		if got := distinct(runs, "agent_name"); !slices.Contains(got, id.Agent) {
			bad("agent %q, truth %q", got, id.Agent)
		}
	}
}

func (c *capture) checkGovernance(f *found, bad func(string, ...any)) {
	g := c.Expected.Guardrail
	if g == nil || c.deviates("no trace") {
		return
	}
	for _, a := range f.audit {
		if text(a, "rule_id") != g.Name && text(a, "entity_id") != g.Name {
			continue
		}
		d := a.Leaf.Text("decision")
		if blocked := d == "BLOCKED" || d == "DENIED"; blocked != g.Triggered {
			bad("guardrail %s: %s", g.Name, d)
		}
		if g.Triggered {
			for run, r := range f.runs {
				if s := r.Leaf.Text("execution_status"); s != "ABORTED" {
					bad("run %s is %s though a guardrail blocked it", run, s)
				}
			}
		}
		return
	}
	list, _ := json.Marshal(names(f.audit, "entity_id"))
	bad("no audit entry of guardrail %s, only of %s", g.Name, list)
}
