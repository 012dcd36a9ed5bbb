package runs

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/dialect"
)

func TestContent(t *testing.T) {
	root := func(more m) item { return spanItem(t, 1, 0, "agent", 0, 1000, more) }
	user := func(s string) m { return m{"prompt": messages("user", s)} }
	tests := []struct {
		name             string
		items            []item
		prompt, response string
	}{
		{"nothing", []item{root(nil)}, "", ""},
		{"first and last call", []item{
			root(m{"prompt": messages("user", "root")}), call(3, 1, 50, 60, 1, 1, m{"prompt": messages("user", "second"), "response": messages("assistant", "b")})(t),
			call(2, 1, 10, 20, 1, 1, m{"prompt": messages("user", "first"), "response": messages("assistant", "a")})(t),
		}, "first", "b"},
		{"the first call has no user", []item{root(nil), call(2, 1, 10, 20, 1, 1, m{"prompt": messages("system", "be kind")})(t), call(3, 1, 30, 40, 1, 1, user("q"))(t)}, "q", ""},
		{"only the root has it", []item{root(m{"prompt": messages("user", "root"), "response": messages("assistant", "bye")}), call(2, 1, 10, 20, 1, 1, nil)(t)}, "root", "bye"},
		{"the last call asks for a tool, the root answers", []item{root(m{"outcome_data": "done"}), call(2, 1, 10, 20, 1, 1, m{"response": []any{m{"role": "assistant", "tool_calls": []any{}}}})(t)}, "", "done"},
		{"the root puts out JSON", []item{root(m{"outcome_data": m{"n": 1}})}, "", `{"n":1}`},
		{"the outer call has the content", []item{
			root(nil), call(2, 1, 10, 50, 1, 1, m{"prompt": messages("user", "o"), "response": messages("assistant", "outer")})(t), call(3, 2, 20, 40, 1, 1, nil)(t),
		}, "o", "outer"},
		{"the last call failed", []item{root(nil), call(2, 1, 10, 20, 1, 1, m{"response": messages("assistant", "a")})(t), call(3, 1, 30, 40, 1, 1, m{"status": "failure"})(t)}, "", ""},
		{"log events", []item{
			event(t, 1, 11, 2, dialect.Hints{Prompt: hintMessages("user", "from log")}), event(t, 2, 19, 2, dialect.Hints{Response: hintMessages("assistant", "log answer")}),
			event(t, 3, 12, 2, dialect.Hints{Prompt: hintMessages("user", "later")}), root(nil), call(2, 1, 10, 20, 1, 1, nil)(t),
		}, "from log", "log answer"},
		{"a step before its events", []item{
			event(t, 1, 1, 2, dialect.Hints{Prompt: hintMessages("user", "log"), Response: hintMessages("assistant", "log")}),
			call(2, 1, 10, 20, 1, 1, m{"prompt": messages("user", "step"), "response": messages("assistant", "step")})(t), root(nil),
		}, "step", "step"},
		{"events of the first call, steps of the second", []item{
			call(3, 1, 50, 60, 1, 1, user("second"))(t), call(2, 1, 10, 20, 1, 1, nil)(t), event(t, 1, 70, 2, dialect.Hints{Prompt: hintMessages("user", "first")}), root(nil),
		}, "first", ""},
		{"events of no step", []item{event(t, 1, 1, 0, dialect.Hints{Prompt: hintMessages("user", "q"), Response: hintMessages("assistant", "a")})}, "q", "a"},
		{"several subjects", []item{root(m{"subject": "ada"}), call(2, 1, 1, 2, 1, 1, m{"subject": "bob", "prompt": messages("user", "x"), "status": "failure"})(t)}, "", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := ended(t, test.items...)
			for path, w := range map[string]string{"/prompt": test.prompt, "/response": test.response} {
				if got := textOf(r.SealedJSON(path)); got != w {
					t.Errorf("%s is %q, want %q", path, got, w)
				}
				if has := r.SealedJSON(path+"_hash") != nil; has != (w != "") {
					t.Errorf("%s_hash: %v", path, has)
				}
			}
			if test.name == "several subjects" && (r.SealedJSON("/inflection_reason") != nil || r.SealedJSON("/subject") != nil) {
				t.Error("content is copied though there are several subjects")
			}
		})
	}
}

func TestNames(t *testing.T) {
	// Names as they stand after sealing: the public place holds a replacement.
	step := spanItem(t, 1, 0, "agent", 0, 9, m{"agent_id": "Агент", "policy_ids": []string{"ok", "größe"}})
	for i, f := range step.record.Pub {
		switch f.Field.Name {
		case "agent_id":
			step.record.Pub[i].Str = "h:0123456789abcdef"
		case "policy_ids":
			step.record.Pub[i].List = []string{"ok", "h:0123456789abcdef"}
		}
	}
	r := ended(t, step)
	want(t, r, map[string]string{"agent_id": "Агент", "/agent_id": `"Агент"`, "/policy_ids": `["größe","ok"]`})

	// Where it was erased the name is not known.
	step.record.Sealed = slices.DeleteFunc(step.record.Sealed, func(v evidence.SealedValue) bool { return v.Path != "/actor" })
	r = ended(t, step)
	want(t, r, map[string]string{"agent_id": "", "policy_ids": `["ok"]`, "/agent_id": ""})

	var many []string
	for i := range 60 {
		many = append(many, fmt.Sprintf("%03d%s", 99-i, strings.Repeat("x", 125)))
	}
	r = ended(t, spanItem(t, 1, 0, "agent", 0, 9, m{"policy_ids": many[:30]}), spanItem(t, 2, 1, "tool", 0, 9, m{"policy_ids": many[30:], "incident_ids": many[:30]}))
	f, _ := r.Fact("policy_ids")
	if len(f.List) != maxSet || f.List[0] != many[59] {
		t.Errorf("%d policy ids, first %.3s", len(f.List), f.List[0])
	}
	want(t, r, map[string]string{"completeness": `["lists_truncated"]`})
}

func TestSyntheticAndOrigin(t *testing.T) {
	root := spanItem(t, 1, 0, "agent", 0, 9, m{"origin": "REPLAY"})
	want(t, ended(t, root), map[string]string{"origin": "REPLAY", "source": "API"})
	r := ended(t, root, spanItem(t, 2, 1, "tool", 1, 2, nil).with(dialect.Hints{Synthetic: true, ScenarioID: "SDSR-1", Source: "nonsense"}))
	want(t, r, map[string]string{"origin": "SYSTEM", "is_synthetic": "true", "synthetic_scenario_id": "SDSR-1"})
	r = ended(t, root, spanItem(t, 2, 1, "tool", 1, 2, nil).with(dialect.Hints{Synthetic: true}))
	want(t, r, map[string]string{"source": "SYNTHETIC"})
	// Two people: neither is the run's.
	r = ended(t, spanItem(t, 1, 0, "agent", 0, 9, m{"human_actor_id": "ada"}), spanItem(t, 2, 1, "tool", 1, 2, m{"human_actor_id": "bob"}))
	want(t, r, map[string]string{"/actor": "{}", "actor_type": "SYSTEM"})
	// Who decided about it did not act in it.
	r = ended(t, root, audit(t, 1, 1, m{"human_actor_id": "boss", "actor_type": "HUMAN", "event_type": "LimitOverrideGranted"}))
	want(t, r, map[string]string{"/actor": "{}"})
}

func TestRunning(t *testing.T) {
	a := fold(numbered([]item{spanItem(t, 1, 7, "agent", 0, 9, nil)}))
	r := a.facts("", 1)
	want(t, r, map[string]string{"execution_status": "", "outcome": "", "completed_at": "", "sealed_by": "", "step_count": "1", "started_at": `"` + at(0) + `"`})
	if diff := cmp.Diff(flat(r), flat(a.facts("", 1))); diff != "" {
		t.Errorf("asked twice (-first +second):\n%s", diff)
	}
}

// TestFarTimes has steps at the ends of what can be written.
func TestFarTimes(t *testing.T) {
	far := native(t, "trace_step", 0, m{
		"occurred_at": "9999-12-31T23:59:59.999999Z", "trace_id": testTrace, "span_id": spanOf(1), "skill_name": "x",
		"step_kind": "tool", "status": "failure", "duration_us": evidence.MaxInt,
	})
	want(t, ended(t, far), map[string]string{"completed_at": "", "inflection_at": "", "inflection_kind": "failure"})
}
