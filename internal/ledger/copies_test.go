package ledger_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/store"
)

func TestCopies(t *testing.T) {
	t.Parallel()
	r := eraseRig(t)
	const secret = "the password is swordfish"
	messages := fmt.Sprintf(`[{"role":"assistant","tool_call_id":"call-1","content":%q}]`, secret)
	a := r.append(t, "acme",
		step(1, 1, fmt.Sprintf(`,"prompt":%s,"params":{"tool_call_id":"call-2"},"attrs":[["gen_ai.input.messages","string",%q],["model.name.long","string","other"]]`, messages, messages)),
		step(1, 2, fmt.Sprintf(`,"prompt":"more","response":%q,"attrs":[["model.name.long","string","other"]]`, "I heard: "+secret+", twice")),
		step(1, 3, `,"prompt":"nothing of it, for the assistant","params":{"tool_call_id":"call-1x"}`),
		step(2, 1, fmt.Sprintf(`,"prompt":%q`, secret)), // of another run
		fmt.Sprintf(`{"kind":"llm_run","occurred_at":"2026-11-23T15:01:00Z","run_id":%q,"execution_status":"SUCCEEDED","prompt":%s,"prompt_hash":"abc","response":"fine","response_hash":"def","source_domain":"ACTIVITY","source_component":"TraceStore"}`, runOf(1), messages),
		said(1, 1, `,"attrs":[["k","string","the password is swordfish"]]`), said(2, 1, ""))
	at := func(i int) store.Position { return store.Position{LogNo: 1, Seq: a[i].LeafIndex} }
	text := ""
	find := func(fields ...ledger.ErasedField) map[int64][]string {
		t.Helper()
		list, err := r.Copies(context.Background(), "acme", fields, text)
		if err != nil {
			t.Fatal(err)
		}
		out := map[int64][]string{}
		for _, c := range list {
			if c.Paths != nil {
				out[c.Seq-a[0].LeafIndex] = c.Paths
			}
		}
		return out
	}
	want := map[int64][]string{0: {"/attrs"}, 1: {"/response"}, 4: {"/prompt", "/prompt_hash"}, 5: {"/attrs"}}
	if d := cmp.Diff(want, find(ledger.ErasedField{Position: at(0), Paths: []string{"/prompt"}})); d != "" {
		t.Error(d)
	}
	// Of all of the record; and of what is a part of another text.
	want = map[int64][]string{1: {"/response"}, 4: {"/prompt", "/prompt_hash"}, 5: {"/attrs"}}
	if d := cmp.Diff(want, find(ledger.ErasedField{Position: at(0)})); d != "" {
		t.Error(d)
	}
	want = map[int64][]string{4: {"/prompt_hash"}, 6: {"/action_reason", "/after_state", "/before_state"}}
	fields := []ledger.ErasedField{{Position: at(0)}, {Position: at(1)}, {Position: at(4), Paths: []string{"/prompt"}}, {Position: at(5)}}
	if d := cmp.Diff(want, find(fields...)); d != "" {
		t.Error(d)
	}
	// What is short is looked for as a whole.
	if d := cmp.Diff(map[int64][]string{4: {"/response_hash"}}, find(ledger.ErasedField{Position: at(4), Paths: []string{"/response"}})); d != "" {
		t.Error(d)
	}
	if got := find(ledger.ErasedField{Position: at(3)}); len(got) != 0 {
		t.Errorf("of another run: %v", got)
	}
	text = "swordfish"
	want = map[int64][]string{0: {"/attrs"}, 1: {"/response"}, 4: {"/prompt", "/prompt_hash"}, 5: {"/attrs"}}
	if d := cmp.Diff(want, find(ledger.ErasedField{Position: at(0), Paths: []string{"/prompt"}})); d != "" {
		t.Error(d)
	}
	text = "another word"
	if got := find(ledger.ErasedField{Position: at(0), Paths: []string{"/prompt"}}); len(got) != 0 {
		t.Errorf("of another text: %v", got)
	}
}

// TestCopiesOfAllSorts: short texts, numbers, parts, texts within texts, and many of them.
func TestCopiesOfAllSorts(t *testing.T) {
	t.Parallel()
	r := eraseRig(t)
	var many strings.Builder
	for i := range 300 {
		fmt.Fprintf(&many, `{"role":"user","content":"message %d, which is rather long and harmless"},`, i)
	}
	const iban = `User: my IBAN is DE02120300000000202051\nplease pay`
	arguments := `{"card": 4111111111111111, "amount": 5}`
	a := r.append(t, "acme",
		step(1, 1, fmt.Sprintf(`,"params":{"card":4111111111111111,"amount":5},"attrs":[["gen_ai.tool.call.arguments","string",%q]]`, arguments)),
		step(1, 2, `,"prompt":"`+iban+`"`),
		step(1, 3, `,"response":"well, User: my IBAN is DE02120300000000202051"`),
		step(1, 4, fmt.Sprintf(`,"response":%q`, `Result: {"text":"User: my IBAN is DE02120300000000202051\nplease pay"}`)),
		step(1, 5, `,"prompt":[`+many.String()+`{"role":"user","content":"the PIN is 471199"}]`),
		step(1, 6, `,"prompt":"the PIN is 471199"`),
		step(1, 7, `,"response":"no","params":{"q":"notary"}`),
		step(1, 8, `,"response":"no","params":{"q":"a notary knows"}`),
		step(1, 9, `,"response":"nope"`), step(1, 10, `,"response":"nope"`), step(1, 11, `,"response":"a nope, he said"`),
		strings.ReplaceAll(said(1, 1, ""), "the prompt", "the long prompt"))
	for what, test := range map[string]struct {
		of   int
		path string
		want map[int64][]string
	}{
		"numbers":            {0, "/params", map[int64][]string{0: {"/attrs"}}},
		"lines":              {1, "/prompt", map[int64][]string{2: {"/response"}, 3: {"/response"}}},
		"one of many":        {4, "/prompt", map[int64][]string{5: {"/prompt"}}},
		"two letters":        {6, "/response", map[int64][]string{}},
		"a word":             {8, "/response", map[int64][]string{9: {"/response"}}},
		"what is said of it": {11, "/before_state", map[int64][]string{11: {"/action_reason"}}},
	} {
		list, err := r.Copies(context.Background(), "acme", []ledger.ErasedField{
			{Position: store.Position{LogNo: 1, Seq: a[test.of].LeafIndex}, Paths: []string{test.path}},
		}, "")
		if err != nil {
			t.Fatal(err)
		}
		got := map[int64][]string{}
		for _, c := range list {
			got[c.Seq-a[0].LeafIndex] = c.Paths
		}
		if d := cmp.Diff(test.want, got); d != "" {
			t.Errorf("%s: %s", what, d)
		}
	}
}
