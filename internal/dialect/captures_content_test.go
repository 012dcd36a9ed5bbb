package dialect

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/runledger/runledger/evidence"
)

func (k *checker) content() {
	steps := slices.Concat(k.calls, k.r.steps) // leaf calls first
	var prompts, systems []string
	for i, s := range steps {
		if s.Kind != "llm" && s.Kind != "agent" {
			continue
		}
		if t, ok := UserText(s.Prompt); ok && (i < len(k.calls) || len(prompts) == 0) {
			prompts = appendNew(prompts, t)
		}
		for _, m := range ours(s.Prompt) {
			if t, ok := contentText(string(m.Content)); ok && m.Role == "system" {
				systems = appendNew(systems, t)
			}
		}
	}
	final := ""
	for _, s := range steps {
		if s.Kind == "llm" || s.Kind == "agent" && final == "" {
			if t, ok := AssistantText(s.Response); ok && (s.leaf || final == "") {
				final = t
			}
		}
	}
	if !k.c.ContentCapture {
		k.eq("prompt without content", len(prompts)+len(systems), 0)
		k.eq("answer without content", final, "")
		return
	}
	k.text("prompt", prompts, k.e.Prompt)
	k.text("system prompt", systems, nonEmpty(k.e.System))
	if k.e.Final != "" {
		k.text("final text", nonEmpty(final), nonEmpty(k.e.Final))
	}
}

func (k *checker) text(what string, got, want []string) {
	k.Helper()
	if len(want) == 0 {
		return
	}
	if k.isAbsent(what) {
		k.eq(what+", listed as absent", len(got), 0)
		return
	}
	g, w := slices.Clone(got), slices.Clone(want)
	slices.Sort(g)
	slices.Sort(w)
	k.eq(what, g, w)
}

func (k *checker) identity() {
	for key, raw := range k.e.Identity {
		var want []string
		var one string
		var meta map[string]any
		switch {
		case json.Unmarshal(raw, &one) == nil:
			want = []string{one}
		case json.Unmarshal(raw, &want) == nil:
		case json.Unmarshal(raw, &meta) == nil:
		default:
			k.Fatalf("identity %s: %s", key, raw)
		}
		var get func(*step) string
		switch key {
		case "user_id":
			get = func(s *step) string { return s.User }
		case "session_id", "session_ids":
			get = func(s *step) string { return s.Hints.Conversation }
		case "agent_name", "function_id":
			get = func(s *step) string { return s.AgentName }
		case "agent_id":
			get = func(s *step) string { return s.AgentID }
		case "metadata": // only its user is ours
			u, _ := meta["user"].(string)
			if u == "" {
				continue
			}
			want, get = []string{u}, func(s *step) string { return s.User }
			key = "metadata.user"
		case "tags", "trace_name", "release", "environment", "workflow_name", "thread_id", "group_id":
			continue // they stay in /attrs
		default:
			k.Fatalf("unknown identity %s", key)
		}
		k.text(key, set(k.r.steps, get), want)
	}
}

func (k *checker) governance() {
	var facts []Governance
	for _, s := range k.r.steps {
		if s.Kind == "guardrail" && len(s.Governance) == 0 {
			k.Errorf("guardrail %s without a fact", s.Name)
		}
		facts = append(facts, s.Governance...)
	}
	g := k.e.Guardrail
	if g == nil || k.dev.plain["no trace at all"] {
		k.eq("governance facts", len(facts), 0)
		return
	}
	want := Governance{Event: "PolicyEvaluated", EntityType: "POLICY_RULE", EntityID: g.Name, RuleID: g.Name, PolicyID: g.Policy, ObservedValue: g.Score.String()}
	switch {
	case g.Triggered:
		want.Decision = "BLOCKED"
	case g.Verdict == "allow":
		want.Decision = "ALLOWED"
	default:
		k.Fatalf("guardrail %+v", g)
	}
	k.eq("governance facts", facts, []Governance{want})
}

func (k *checker) cost() {
	if k.e.Cost != nil {
		k.eq("cost", k.ok[0].CostNanos, scaledText(k.e.Cost.Total.String(), 9))
	}
	for _, s := range k.ok {
		if k.e.Pricing == nil {
			continue
		}
		p, known := k.e.Pricing[s.RequestModel]
		if !known {
			k.eq("cost of "+s.RequestModel, s.CostNanos, Opt{})
			continue
		}
		in, out := scaledText(p.Input.String(), 9), scaledText(p.Output.String(), 9) // per 1,000 tokens
		k.eq("cost", s.CostNanos, Some((s.Input.V*in.V+s.Output.V*out.V+500)/1000))
	}
}

// forms: everything that leaves the package may be sealed.
func (k *checker) forms() {
	cut := len(set(k.r.steps, func(s *step) string {
		if slices.Contains(s.Flags, FlagAttrsTruncated) {
			return s.id
		}
		return ""
	}))
	k.eq("has cut steps", cut > 0, strings.HasSuffix(k.c.ID, "_truncated"))
	for _, s := range k.r.steps {
		if !kinds[s.Kind] || s.Name == "" {
			k.Errorf("kind %q, name %q", s.Kind, s.Name)
		}
		for what, v := range map[string][]byte{"params": s.Params, "result": s.Result, "prompt": s.Prompt, "response": s.Response} {
			if v != nil && evidence.CheckJSON(v) != nil {
				k.Errorf("%s: %v", what, evidence.CheckJSON(v))
			}
		}
		if !slices.IsSorted(s.Flags) {
			k.Errorf("flags %v", s.Flags)
		}
		ours(s.Prompt)
		ours(s.Response)
	}
}
