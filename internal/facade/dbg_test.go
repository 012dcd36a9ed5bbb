package facade

import (
	"testing"

	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/store"
)

func TestDbg(t *testing.T) {
	r := newRig(t)
	steps := r.simpleRun(1, 0, fields{"human_actor_id": "alice"})
	rc := r.add("acme", steps[1:]...)
	_, err := r.ledger.Erase(r.ctx, "acme", ledger.Erasure{By: "op", Reason: "x", Fields: []ledger.ErasedField{{Position: store.Position{LogNo: 1, Seq: rc[0].LeafIndex}}}})
	r.must(err)
	_, err = r.ledger.Erase(r.ctx, "acme", ledger.Erasure{By: "op", Reason: "x", Person: "alice"})
	r.must(err)
	t.Log("live human", said(r.envelope(r.privileged(), traceID(1)).Metadata.HumanActorID))
	r.add("acme", steps[0])
	r.settle()
	e := r.envelope(r.privileged(), traceID(1))
	t.Log(e.Prompt.Text(), e.Response.Text(), said(e.Metadata.HumanActorID))
}
