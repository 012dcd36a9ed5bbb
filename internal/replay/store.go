package replay

import (
	"context"
	"fmt"

	"github.com/runledger/runledger/answer"
	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/facade"
	"github.com/runledger/runledger/internal/problem"
)

// StoreTrace takes a trace and its steps in. It returns when they are durable;
// what was there already is a duplicate and changes nothing. Errors are those
// of ingest, and name the step and field: steps[3].status.
func (a *Replay) StoreTrace(ctx context.Context, w Writer, q *TraceRequest) (*answer.TraceReceipt, error) {
	switch {
	case len(q.Steps) > a.maxSteps:
		return nil, tooManySteps(a.maxSteps)
	case len(q.RootHash) > maxHash:
		return nil, tooLong("root_hash", maxHash)
	case len(q.PlanHash) > maxHash:
		return nil, tooLong("plan_hash", maxHash)
	}
	lines := make([][]byte, 0, 1+len(q.Steps))
	lines = append(lines, q.line())
	for i := range q.Steps {
		lines = append(lines, q.Steps[i].line(q))
	}
	receipts, err := a.cfg.Ingest.AppendNative(ctx, w.Tenant, w.Credential, lines)
	if err != nil {
		return nil, fmt.Errorf("store trace: %w", lineError(err, stepField))
	}
	out := &answer.TraceReceipt{RunID: q.RunID, TraceID: q.TraceID, Receipts: receipts, Duplicate: true}
	for _, rc := range receipts {
		out.Duplicate = out.Duplicate && rc.Duplicate
		if rc.ConflictOf != nil {
			out.Conflicts++
		}
	}
	out.Metadata = evidence.Union(evidence.Metadata{TenantID: w.Tenant, RunID: &q.RunID, TraceID: &q.TraceID}, a.now())
	return out, nil
}

func tooLong(field string, limit int) error {
	return problem.Invalid(field, fmt.Sprintf("must not be over %d bytes", limit))
}

// stepField names a field of the request: the first line is the trace itself.
func stepField(line int, field string) string {
	if line <= 1 {
		return field
	}
	where := fmt.Sprintf("steps[%d]", line-2)
	if field == "" {
		return where
	}
	return where + "." + field
}

// ByRun returns the trace of a run. p pages its steps.
func (a *Replay) ByRun(ctx context.Context, r facade.Reader, run string, p facade.Paging) (*answer.StoredTrace, error) {
	trace, err := a.cfg.Facade.Trace(ctx, r, run, p)
	if err != nil {
		return nil, err
	}
	return a.stored(ctx, r, trace, []string{trace.RunID})
}

// ByRootHash returns the trace with a root hash, of which p gives the first page
// of steps; of several runs that of the newest. It needs the permission to read
// content, since the hash is sealed. The error wraps evidence.ErrNotFound where
// no run has it.
func (a *Replay) ByRootHash(ctx context.Context, r facade.Reader, rootHash string, p facade.Paging) (*answer.StoredTrace, error) {
	if p.Cursor != "" {
		return nil, problem.Malformed("cursor", "belongs to the trace of the run: read further pages by run_id")
	}
	if len(rootHash) > maxHash {
		return nil, tooLong("root_hash", maxHash)
	}
	runs, err := a.cfg.Facade.RunsByRootHash(ctx, r, rootHash, facade.Paging{Limit: r.MaxRows})
	if err != nil {
		return nil, err
	}
	if len(runs) == 0 {
		return nil, fmt.Errorf("trace: %w in this tenant", evidence.ErrNotFound)
	}
	trace, err := a.cfg.Facade.Trace(ctx, r, runs[0], p)
	if err != nil {
		return nil, err
	}
	return a.stored(ctx, r, trace, runs)
}

func (a *Replay) stored(ctx context.Context, r facade.Reader, trace *answer.RunTrace, runs []string) (*answer.StoredTrace, error) {
	out := &answer.StoredTrace{Trace: *trace, RunIDs: runs, Metadata: trace.Metadata}
	for event, count := range map[string]*int64{eventReported: &out.MismatchesReported, eventResolved: &out.MismatchesResolved} {
		list, err := a.cfg.Facade.Audit(ctx, byID(r), facade.AuditFilter{
			EventType: event, EntityType: entitySignal, RunID: trace.RunID,
		}, facade.Paging{Limit: 1})
		if err != nil {
			return nil, fmt.Errorf("mismatches: %w", err)
		}
		*count = list.Total
	}
	return out, nil
}
