package replay

import (
	"context"
	"fmt"

	"github.com/runledger/runledger/answer"
	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/facade"
	"github.com/runledger/runledger/internal/problem"
)

// MismatchFilter are the filters of the list of mismatches. Empty fields filter
// nothing.
type MismatchFilter struct {
	RunID         string
	Status        string // answer.MismatchOpen or answer.MismatchResolved
	facade.Window        // of the report
}

// maxRounds is how many pages are read for one page of a list with a status.
const maxRounds = 10

// defaultLimit is the size of a page where none is asked for.
const defaultLimit = 50

// Mismatches lists mismatches, newest report first, each in its newest state.
// As a list it shows the window that the reader may ask for.
func (a *Replay) Mismatches(ctx context.Context, r facade.Reader, q MismatchFilter, p facade.Paging) (*answer.MismatchList, error) {
	switch q.Status {
	case "", answer.MismatchOpen, answer.MismatchResolved:
	default:
		return nil, problem.Invalid("status", fmt.Sprintf("must be %s or %s", answer.MismatchOpen, answer.MismatchResolved))
	}
	out := &answer.MismatchList{Items: []answer.Mismatch{}}
	left := p.Limit
	if left == 0 {
		left = max(1, min(defaultLimit, r.MaxRows))
	}
	for range maxRounds {
		list, err := a.cfg.Facade.Audit(ctx, r, facade.AuditFilter{
			EventType: eventReported, EntityType: entitySignal, RunID: q.RunID, Window: q.Window,
		}, facade.Paging{Cursor: p.Cursor, Limit: left})
		if err != nil {
			return nil, err
		}
		for i := range list.Items {
			e := &list.Items[i]
			if e.ID != e.EntityID || e.AboutRun == nil {
				continue // somebody's own event of that name
			}
			m, err := a.state(ctx, r, e)
			if err != nil {
				return nil, err
			}
			if q.Status == "" || q.Status == m.Status {
				out.Items = append(out.Items, *m)
				left--
			}
		}
		out.Page = list.Page
		if left == 0 || !list.HasMore || list.NextCursor == nil {
			break
		}
		p.Cursor = *list.NextCursor
	}
	out.TotalIsExact = out.TotalIsExact && q.Status == ""
	out.FiltersApplied = q.applied(out.FiltersApplied)
	parts := make([]evidence.Metadata, len(out.Items))
	for i := range out.Items {
		parts[i] = out.Items[i].Metadata
	}
	out.Metadata = a.union(r.Tenant, nil, parts...)
	return out, nil
}

// applied says which filters there are, in the words of this list.
func (q *MismatchFilter) applied(audit map[string]any) map[string]any {
	out := map[string]any{}
	for name, v := range audit {
		if name != "event_type" && name != "entity_type" {
			out[name] = v
		}
	}
	if q.Status != "" {
		out["status"] = q.Status
	}
	return out
}
