package facade

import (
	"context"

	"github.com/runledger/runledger/answer"
	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

// System is the list of SYSTEM_LOGS: the tenant's own records, and of the
// system-wide ones those that are shared. Who reads the system tenant itself
// sees all of its.
//
// Two logs have no common order of leaves, so the list is by recorded_at,
// newest first; ties: the tenant's own before the system-wide ones, then by leaf.
// Within each log that is the order of its leaves, since recorded_at never
// decreases there. A cursor pins both logs and knows the place in each.
func (f *Facade) System(ctx context.Context, r Reader, q SystemFilter, p Paging) (*answer.SystemList, error) {
	m, err := f.systemMerge(ctx, r, q, p)
	if err != nil {
		return nil, err
	}
	l, err := m.page(ctx)
	if err != nil {
		return nil, err
	}
	return &answer.SystemList{Items: systemEventsOf(l.records), Page: l.Page}, nil
}

// systemMerge makes the merged list of a filter.
func (f *Facade) systemMerge(ctx context.Context, r Reader, q SystemFilter, p Paging) (*merge, error) {
	own, applied, err := f.systemSource(ctx, r, q)
	if err != nil {
		return nil, err
	}
	sources := []source{own}
	if r.Tenant != evidence.SystemTenant {
		// Unfit names have another replacement in another log, so each log has
		// conditions of its own.
		shared, _, err := f.systemSource(ctx, r.of(evidence.SystemTenant), q)
		if err != nil {
			return nil, err
		}
		shared.query.Where = append(shared.query.Where, sharedOnly)
		sources = append(sources, shared)
	}
	return f.openMerge(ctx, r, sources, q.Window, p, applied)
}

// sharedOnly holds for the system-wide records that reach tenants.
var sharedOnly = store.Condition{Field: "visibility", Values: []string{"shared"}}

// of returns who reads, as reader of another log that shares with theirs.
func (r Reader) of(tenant string) Reader {
	r.Tenant = tenant
	return r
}

// systemSource says what a filter finds in the log of the reader's tenant, and
// what to tell of it.
func (f *Facade) systemSource(ctx context.Context, r Reader, q SystemFilter) (source, map[string]any, error) {
	c := f.filters(ctx, r)
	c.name("component", "component", q.Component)
	c.name("event_type", "event_type", q.EventType)
	c.enum("severity", "severity", q.Severity, enumOf(evidence.KindSystem, "severity"))
	c.enum("caused_by", "caused_by", q.CausedBy, enumOf(evidence.KindSystem, "caused_by"))
	c.name("correlation_id", "correlation_id", q.CorrelationID)
	c.synthetic(q.IsSynthetic)
	if c.err != nil {
		return source{}, nil, c.err
	}
	return source{r, store.Query{Tenant: r.Tenant, Kind: evidence.KindSystem, Where: c.where}}, c.applied, nil
}

// enumOf returns the values of an enumeration of the field table.
func enumOf(kind evidence.Kind, field string) []string { return evidence.PublicField(kind, field).Enum }

func systemEventsOf(records []record) []answer.SystemEvent {
	events := make([]answer.SystemEvent, len(records))
	for i, rec := range records {
		events[i] = systemEventOf(rec)
	}
	return events
}

func systemEventOf(r record) answer.SystemEvent {
	return answer.SystemEvent{
		ID:           r.Leaf.ID.String(),
		Component:    r.text("component"),
		EventType:    r.text("event_type"),
		Severity:     r.text("severity"),
		Summary:      r.content("/summary"),
		Details:      r.content("/details"),
		CausedBy:     r.maybe("caused_by"),
		Visibility:   r.text("visibility"),
		Version:      r.maybe("version"),
		ConfigDigest: r.maybe("config_digest"),
		OccurredAt:   r.Leaf.OccurredAt,
		CreatedAt:    r.Leaf.RecordedAt,
		LeafIndex:    r.Leaf.Seq,
		Metadata:     r.metadata(),
	}
}

// metadataOf returns the metadata of each record.
func metadataOf(records []record) []evidence.Metadata {
	parts := make([]evidence.Metadata, len(records))
	for i, rec := range records {
		parts[i] = rec.metadata()
	}
	return parts
}
