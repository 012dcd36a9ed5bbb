package facade

import (
	"context"

	"github.com/runledger/runledger/answer"
	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/problem"
	"github.com/runledger/runledger/internal/store"
)

// Exports is O5 of AUDIT: what exports exist, each in its newest state, which is
// what the filters and the range are about.
func (f *Facade) Exports(ctx context.Context, r Reader, q AuditFilter, p Paging) (*answer.AuditExports, error) {
	for _, other := range []struct{ name, value string }{
		{"event_type", q.EventType},
		{"entity_type", q.EntityType},
		{"entity_id", q.EntityID},
		{"actor_type", q.ActorType},
		{"actor_id", q.ActorID},
	} {
		if other.value != "" {
			return nil, problem.Malformed(other.name, "is not a filter of exports")
		}
	}
	c := f.filters(ctx, r)
	c.aboutRun(q.RunID)
	c.name("correlation_id", "correlation_id", q.CorrelationID)
	c.synthetic(q.IsSynthetic)
	if c.err != nil {
		return nil, c.err
	}
	l, err := f.list(ctx, r, store.Query{
		Tenant: r.Tenant, Kind: evidence.KindExport, Where: c.where, NewestState: true,
	}, q.Window, p, c.applied)
	if err != nil {
		return nil, err
	}
	out := &answer.AuditExports{Exports: make([]answer.ExportState, len(l.records)), Page: l.Page}
	for i, rec := range l.records {
		out.Exports[i] = exportStateOf(rec)
	}
	return out, nil
}

func exportStateOf(r record) answer.ExportState {
	return answer.ExportState{
		ExportID:       r.text("export_id"),
		Scope:          r.text("scope"),
		Format:         r.text("format"),
		Status:         r.text("status"),
		AboutRun:       optional(r.Leaf.Text("about_run")),
		From:           r.maybeTime("from"),
		Until:          r.maybeTime("until"),
		Checksum:       r.maybe("checksum"),
		Manifest:       r.maybe("manifest"),
		SizeBytes:      r.maybeNumber("size_bytes"),
		RecordCount:    r.maybeNumber("record_count"),
		RetentionClass: r.maybe("retention_class"),
		ComplianceTags: r.list("compliance_tags"),
		DeliveredAt:    r.maybeTime("delivered_at"),
		RequestedBy:    r.content("/requested_by"),
		LeafIndex:      r.Leaf.Seq,
		Metadata:       r.metadata(),
	}
}
