package export_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/export"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/problem"
	"github.com/runledger/runledger/verify"
)

// TestRunSynthetic: a correlation id brings nobody what the rules hide from them,
// and a record of the other sort in the run itself shows no content.
func TestRunSynthetic(t *testing.T) {
	r := newRig(t)
	const synthetic = `,"is_synthetic":true`
	r.append("acme", policy(1, `,"correlation_id":"c"`), policy(2, `,"correlation_id":"c"`+synthetic),
		policy(3, `,"run_id":"run-1"`), end("run-1", 1, `,"correlation_id":"c"`+synthetic))
	yes, no := true, false
	for _, tt := range []struct {
		name            string
		see             *bool
		records, values int
	}{
		{"both", nil, 4, 4},
		{"synthetic", &yes, 3, 2},
		{"others", &no, 3, 2},
	} {
		z := zipOf(t, r.exportRun(export.Request{Run: "run-1", Synthetic: tt.see, Unrecorded: true}))
		r.good(z, verify.Options{})
		values := bytes.Count(fileOf(t, z, "logs/0/disclosures.jsonl"), []byte("refund over")) +
			bytes.Count(fileOf(t, z, "logs/0/disclosures.jsonl"), []byte("A-17"))
		leaves := slices.DeleteFunc(leavesOf(t, z, "logs/0"), func(l string) bool { return l == "/0 export" })
		if n := len(leaves); n != tt.records || values != tt.values {
			t.Errorf("%s: %d records with %d values", tt.name, n, values)
		}
	}
}

// TestErasedAfterwards: what was erased is not to be had from a bundle that was made
// before. One without content stays.
func TestErasedAfterwards(t *testing.T) {
	r := newRig(t)
	ctx := context.Background()
	x, _ := r.exports(0)
	before := open(t, x, runRequest("run-1"), "")
	plain := runRequest("run-1")
	plain.NotPermitted = true
	bare := open(t, x, plain, "")
	content(t, x, before.ExportID)
	if _, err := r.Erase(ctx, "acme", ledger.Erasure{Person: "operator-1@example.com", Reason: "asked"}); err != nil {
		t.Fatal(err)
	}
	if _, err := x.Content(ctx, "acme", before.ExportID); !errors.Is(err, problem.ErrGone) || errors.Is(err, evidence.ErrNotFound) {
		t.Errorf("after the erasure: %v", err)
	}
	content(t, x, bare.ExportID)
	after := open(t, x, runRequest("run-1"), "")
	if after.ExportID == before.ExportID {
		t.Error("the same request gives the bundle from before the erasure")
	}
	content(t, x, after.ExportID)
}
