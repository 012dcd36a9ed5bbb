package evidence

import (
	"encoding/json"
	"slices"
)

// Metadata is the EvidenceMetadata that every answer under /api/v1/logs and
// every item of a list carries (contract section 2, INV-LOG-META-001). A nil
// pointer is null in JSON: every field is always there. Make one with
// [MetadataOf] or [Union].
type Metadata struct {
	TenantID     string  `json:"tenant_id"` // "system" for system-wide records
	RunID        *string `json:"run_id"`
	HumanActorID *string `json:"human_actor_id"` // sealed: nil where it may not be read
	AgentID      *string `json:"agent_id"`
	SystemID     *string `json:"system_id"`
	OccurredAt   Micros  `json:"occurred_at"`
	RecordedAt   Micros  `json:"recorded_at"`
	// Timezone is always "UTC".
	Timezone string  `json:"timezone"`
	TraceID  *string `json:"trace_id"`
	// PolicyIDs and IncidentIDs are arrays in JSON, never null.
	PolicyIDs       []string `json:"policy_ids"`
	IncidentIDs     []string `json:"incident_ids"`
	ExportID        *string  `json:"export_id"`
	CorrelationID   *string  `json:"correlation_id"`
	SourceDomain    string   `json:"source_domain"`
	SourceComponent string   `json:"source_component"`
	Origin          string   `json:"origin"`
	// Checksum is "sha256:" and hex: the leaf hash of one record, or the
	// digest of a bundle's bytes.
	Checksum *string `json:"checksum"`
	// Immutable is always true.
	Immutable bool `json:"immutable"`
	// Log and LeafIndex say where one record stands; null in composed answers.
	Log       *string `json:"log"`
	LeafIndex *int64  `json:"leaf_index"`
}

// What a composed answer says of its own source, unless all its records
// agree on another.
const (
	composedDomain    = "LOGS"
	composedComponent = "LogsFacade"
	composedOrigin    = "SYSTEM"
)

// MarshalJSON writes all fields. It puts in what never varies, so that not
// even a zero Metadata breaks the contract.
func (m Metadata) MarshalJSON() ([]byte, error) {
	type plain Metadata // without this method
	m.Timezone, m.Immutable = "UTC", true
	m.PolicyIDs = orEmpty(m.PolicyIDs)
	m.IncidentIDs = orEmpty(m.IncidentIDs)
	return json.Marshal(plain(m))
}

// MetadataOf returns the metadata of one record. The human actor is sealed
// and not in the leaf: human is the opened id, or "" where there is none or
// the reader may not see it. The leaf hash must be that of the leaf's bytes.
func MetadataOf(tenant string, l *Leaf, human string, leafHash Hash) Metadata {
	seq := l.Seq // the leaf may be reused
	return Metadata{
		TenantID:        tenant,
		RunID:           optional(l.Run),
		HumanActorID:    optional(human),
		AgentID:         optional(l.Text("agent_id")),
		SystemID:        optional(l.Text("system_id")),
		OccurredAt:      l.OccurredAt,
		RecordedAt:      l.RecordedAt,
		Timezone:        "UTC",
		TraceID:         optional(l.Text("trace_id")),
		PolicyIDs:       listOf(l, "policy_ids"),
		IncidentIDs:     listOf(l, "incident_ids"),
		ExportID:        optional(l.Text("export_id")),
		CorrelationID:   optional(l.Text("correlation_id")),
		SourceDomain:    l.Text("source_domain"),
		SourceComponent: l.Text("source_component"),
		Origin:          l.Text("origin"),
		Checksum:        optional(Checksum(leafHash)),
		Immutable:       true,
		Log:             optional(l.Log),
		LeafIndex:       &seq,
	}
}

// Checksum returns "sha256:" and the digest in hex, as answers show it.
func Checksum(h Hash) string { return "sha256:" + h.String() }

// Union returns the metadata of an answer that is composed of records: the
// earliest occurred_at, the latest recorded_at, policy and incident ids in
// the order of their first appearance, or now where there are no records.
//
// What answer says itself (at least its tenant; a run id that the request
// named, a checksum, a component) stays. Each other field has the value on
// which all records that have one agree, else null; source_domain, component
// and origin are then the facade's own.
func Union(answer Metadata, now Micros, parts ...Metadata) Metadata {
	m := answer
	m.OccurredAt, m.RecordedAt = now, now
	m.Timezone, m.Immutable = "UTC", true
	m.PolicyIDs, m.IncidentIDs = orEmpty(slices.Clone(m.PolicyIDs)), orEmpty(slices.Clone(m.IncidentIDs))
	m.Log, m.LeafIndex = nil, nil

	policies, incidents := newIDSet(&m.PolicyIDs), newIDSet(&m.IncidentIDs)
	for i := range parts {
		p := &parts[i]
		if i == 0 || p.OccurredAt < m.OccurredAt {
			m.OccurredAt = p.OccurredAt
		}
		if i == 0 || p.RecordedAt > m.RecordedAt {
			m.RecordedAt = p.RecordedAt
		}
		policies.add(p.PolicyIDs)
		incidents.add(p.IncidentIDs)
	}
	for _, field := range []func(*Metadata) **string{
		func(m *Metadata) **string { return &m.RunID },
		func(m *Metadata) **string { return &m.HumanActorID },
		func(m *Metadata) **string { return &m.AgentID },
		func(m *Metadata) **string { return &m.SystemID },
		func(m *Metadata) **string { return &m.TraceID },
		func(m *Metadata) **string { return &m.ExportID },
		func(m *Metadata) **string { return &m.CorrelationID },
	} {
		if own := field(&m); *own == nil {
			*own = optional(agreed(parts, func(p *Metadata) string { return deref(*field(p)) }))
		}
	}
	for _, own := range []struct {
		field    func(*Metadata) *string
		fallback string
	}{
		{func(m *Metadata) *string { return &m.SourceDomain }, composedDomain},
		{func(m *Metadata) *string { return &m.SourceComponent }, composedComponent},
		{func(m *Metadata) *string { return &m.Origin }, composedOrigin},
	} {
		v := own.field(&m)
		if *v == "" {
			*v = agreed(parts, func(p *Metadata) string { return *own.field(p) })
		}
		if *v == "" {
			*v = own.fallback
		}
	}
	return m
}

// agreed returns the one value of all parts that have a value, or "".
func agreed(parts []Metadata, of func(*Metadata) string) string {
	value := ""
	for i := range parts {
		switch v := of(&parts[i]); {
		case v == "" || v == value:
		case value == "":
			value = v
		default:
			return ""
		}
	}
	return value
}

// idSet appends ids to a list, each once.
type idSet struct {
	list *[]string
	seen map[string]bool
}

func newIDSet(list *[]string) idSet {
	s := idSet{list, map[string]bool{}}
	for _, id := range *list {
		s.seen[id] = true
	}
	return s
}

func (s idSet) add(ids []string) {
	for _, id := range ids {
		if !s.seen[id] {
			s.seen[id] = true
			*s.list = append(*s.list, id)
		}
	}
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func orEmpty(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

func listOf(l *Leaf, name string) []string {
	f, _ := l.Fact(name)
	return orEmpty(slices.Clone(f.List))
}
