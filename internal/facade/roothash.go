package facade

import (
	"context"
	"slices"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/problem"
	"github.com/runledger/runledger/internal/store"
)

// RunsByRootHash returns the runs of which a trace was stored with this root
// hash, newest first, each once. The hash is sealed: who may not read content
// may not ask for it (evidence.ErrForbidden). No such run is an empty list.
// There is one page, of p.Limit traces.
func (f *Facade) RunsByRootHash(ctx context.Context, r Reader, rootHash string, p Paging) ([]string, error) {
	if rootHash == "" {
		return nil, problem.Malformed("root_hash", "is required")
	}
	if p.Cursor != "" {
		return nil, problem.Malformed("cursor", "is not a parameter of this list")
	}
	limit, err := r.limit(p.Limit, defaultLimit)
	if err != nil {
		return nil, err
	}
	q := f.filters(ctx, r)
	q.sealed("root_hash", "root_hash", rootHash)
	q.synthetic(nil)
	if q.err != nil {
		return nil, q.err
	}
	found, err := f.cfg.Ledger.Find(ctx, store.Query{
		Tenant: r.Tenant, Kind: evidence.KindTrace, Where: q.where, Limit: limit,
	})
	if err != nil {
		return nil, err
	}
	records, err := f.fetch(ctx, r, r.Tenant, found)
	if err != nil {
		return nil, err
	}
	runs := []string{}
	for _, rec := range records {
		// A trace that contradicts one stored before is not the trace of its run.
		if rec.Leaf.Text("conflict_of") == "" && !slices.Contains(runs, rec.Leaf.Run) {
			runs = append(runs, rec.Leaf.Run)
		}
	}
	return runs, nil
}
