package ingest

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/otlp"
)

// hasMember reports whether a JSON object, which has been parsed once, has a
// member of that name.
func hasMember(object []byte, name string) bool {
	dec := jsontext.NewDecoder(bytes.NewReader(object))
	if _, err := dec.ReadToken(); err != nil {
		return false
	}
	for dec.PeekKind() == '"' {
		tok, err := dec.ReadToken()
		if err != nil {
			return false
		}
		if tok.String() == name {
			return true
		}
		if err := dec.SkipValue(); err != nil {
			return false
		}
	}
	return false
}

func isStale(err error) bool {
	var stale *ledger.StaleError
	return errors.As(err, &stale)
}

// settleRevisions gives the llm_run records that do not say their revision
// one: the newest of their run where that came from a producer, so that a
// retry is a duplicate; the next where it is the server's own reading of the
// run; 1 where there is none. It returns how many records the runs have whose next
// revision the server may write meanwhile, for the ledger to see whether that
// still holds.
func (h *Handler) settleRevisions(ctx context.Context, tenant string, items []otlp.Item, open []bool) (map[string]int64, error) {
	var guard map[string]int64
	for i, item := range items {
		if !open[i] {
			continue
		}
		r := item.Record
		state, err := h.cfg.Ledger.RunState(ctx, tenant, r.Run)
		if err != nil {
			return nil, fmt.Errorf("run %q: %w: %w", r.Run, evidence.ErrUnavailable, err)
		}
		revision, guarded := max(state.Revision, 1), true
		if state.Revision > 0 {
			own, err := h.isServers(ctx, tenant, r.Run, state.Revision)
			if err != nil {
				return nil, fmt.Errorf("run %q: %w: %w", r.Run, evidence.ErrUnavailable, err)
			}
			if own {
				revision = state.Revision + 1
			} else {
				guarded = false // such a run is not revised by the server
			}
		}
		r.SetInt("revision", revision)
		r.NaturalKey = evidence.RunKey(r.Run, revision)
		if !guarded {
			continue
		}
		if guard == nil {
			guard = map[string]int64{}
		}
		guard[r.Run] = state.NextN
	}
	return guard, nil
}

// isServers reports whether a revision of a run is the server's own.
func (h *Handler) isServers(ctx context.Context, tenant, run string, revision int64) (own bool, err error) {
	id := evidence.NaturalID(tenant, evidence.KindLLMRun, evidence.RunKey(run, revision))
	found, err := h.cfg.Ledger.FindIDs(ctx, tenant, []evidence.ID{id})
	if err != nil {
		return false, err
	}
	pos, ok := found[id]
	if !ok {
		return false, fmt.Errorf("revision %d is not where its id says", revision)
	}
	err = h.cfg.Ledger.Leaves(ctx, tenant, pos.LogNo, pos.Seq, pos.Seq+1, func(_ int64, raw []byte) error {
		leaf, err := evidence.ParseLeaf(raw)
		if err != nil {
			return err
		}
		own = leaf.Text("producer") == ""
		return nil
	})
	return own, err
}
