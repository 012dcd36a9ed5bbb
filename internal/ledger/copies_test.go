package ledger_test

import (
	"context"
	"fmt"
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
	find := func(fields ...ledger.ErasedField) map[int64][]string {
		t.Helper()
		list, err := r.Copies(context.Background(), "acme", fields)
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
	want = map[int64][]string{4: {"/prompt_hash"}}
	fields := []ledger.ErasedField{{Position: at(0)}, {Position: at(1)}, {Position: at(4), Paths: []string{"/prompt"}}, {Position: at(5)}}
	if d := cmp.Diff(want, find(fields...)); d != "" {
		t.Error(d)
	}
	// What has a single short text is looked for by that.
	if d := cmp.Diff(map[int64][]string{4: {"/response_hash"}}, find(ledger.ErasedField{Position: at(4), Paths: []string{"/response"}})); d != "" {
		t.Error(d)
	}
	if got := find(ledger.ErasedField{Position: at(3)}); len(got) != 0 {
		t.Errorf("of another run: %v", got)
	}
}
