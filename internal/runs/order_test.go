package runs

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/runledger/runledger/internal/dialect"
)

var shaDone = func() string {
	h := sha256.Sum256([]byte("Done."))
	return hex.EncodeToString(h[:])
}()

// TestAnyOrder: the same records in any order of arrival give the same record.
// Each keeps its step_index, since that is what arrival once decided.
func TestAnyOrder(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		items := numbered(drawRun(t, rt))
		first := flat(fold(items).facts(byQuiet, 1))
		if diff := cmp.Diff(first, flat(fold(rapid.Permutation(items).Draw(rt, "order")).facts(byQuiet, 1))); diff != "" {
			rt.Fatalf("another order (-first +other):\n%s", diff)
		}
	})
}

func drawRun(t testing.TB, rt *rapid.T) []item {
	n := rapid.IntRange(1, 9).Draw(rt, "spans")
	id := func(what string) int { return rapid.IntRange(0, n).Draw(rt, what) }
	time := func(what string) int { return rapid.IntRange(0, 6).Draw(rt, what) }
	word := func(what string) string { return rapid.SampledFrom([]string{"", "a", "b", "größe"}).Draw(rt, what) }
	var items []item
	for i := 1; i <= n; i++ {
		start := time("start")
		obj := m{"status": rapid.SampledFrom([]string{"success", "failure"}).Draw(rt, "status")}
		for _, name := range numberFields {
			if v := rapid.IntRange(-3, 5).Draw(rt, name); v >= 0 {
				obj[name] = v
			}
		}
		for _, name := range []string{"provider", "model", "request_model", "agent_id", "human_actor_id", "subject", "status_message", "outcome_data", "correlation_id"} {
			if w := word(name); w != "" {
				obj[name] = w
			}
		}
		if w := word("prompt"); w != "" {
			obj["prompt"] = messages("user", w)
		}
		if w := word("response"); w != "" {
			obj["response"] = messages("assistant", w)
		}
		obj["policy_ids"] = []string{"p" + fmt.Sprint(time("policy"))}
		it := spanItem(t, i, id("parent"), rapid.SampledFrom([]string{"llm", "embedding", "agent", "tool", "guardrail"}).Draw(rt, "kind"), start, start+time("length"), obj)
		it.hints = dialect.Hints{RunAlias: word("alias"), Conversation: word("conversation"), AgentName: word("name"), Synthetic: time("synthetic") == 0}
		it.place.conflict = rapid.IntRange(0, 9).Draw(rt, "conflict") == 0
		items = append(items, it)
	}
	for i := range rapid.IntRange(0, 4).Draw(rt, "events") {
		h := dialect.Hints{Conversation: word("conversation")}
		if w := word("said"); w != "" {
			h.Prompt, h.Response = hintMessages("user", w), hintMessages("assistant", w+"!")
		}
		items = append(items, event(t, i, time("at"), id("span"), h))
	}
	for i := range rapid.IntRange(0, 3).Draw(rt, "audits") {
		items = append(items, audit(t, i, time("at"), m{
			"decision":    rapid.SampledFrom([]string{"ALLOWED", "DENIED", "BLOCKED", "BREACHED", "PASSED"}).Draw(rt, "decision"),
			"limit_value": "10", "observed_value": fmt.Sprint(time("observed") * 2), "policy_id": "q",
		}))
	}
	return items
}
