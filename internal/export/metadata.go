package export

import (
	"fmt"

	"github.com/runledger/runledger/evidence"
)

// runMetadata keeps what the metadata of a run's records have to say to that of
// its bundle: one of each that differs in more than its times.
type runMetadata struct {
	parts []evidence.Metadata
	known map[string]int
}

func (m *runMetadata) add(p evidence.Metadata) {
	// The acting actor and the source of an export are its own.
	p.AgentID, p.SystemID, p.SourceDomain, p.SourceComponent, p.Origin = nil, nil, "", "", ""
	p.Checksum, p.Log, p.LeafIndex = nil, nil, nil
	key := fmt.Sprintf("%q %q %q %q", text(p.TraceID), text(p.CorrelationID), p.PolicyIDs, p.IncidentIDs)
	i, ok := m.known[key]
	if !ok {
		if m.known == nil {
			m.known = map[string]int{}
		}
		m.known[key] = len(m.parts)
		m.parts = append(m.parts, p)
		return
	}
	m.parts[i].OccurredAt = min(m.parts[i].OccurredAt, p.OccurredAt)
	m.parts[i].RecordedAt = max(m.parts[i].RecordedAt, p.RecordedAt)
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// metadata returns the metadata of an answer about the bundle: of the run's
// records, but made by the export service for who asked.
func (j *job) metadata(digest string) evidence.Metadata {
	m := evidence.Union(evidence.Metadata{
		TenantID: j.req.Tenant, RunID: &j.req.Run, ExportID: &j.req.ExportID, Checksum: &digest,
		SourceDomain: "LOGS", SourceComponent: "LogExportService", Origin: "SYSTEM",
	}, j.e.now(), j.run.meta.parts...)
	m.HumanActorID, m.AgentID, m.SystemID = nil, nil, nil
	switch name := j.req.By.Name; {
	case !j.req.By.Human:
		m.SystemID = &name
	case j.req.NotPermitted:
		m.Origin = "HUMAN" // who is sealed content
	default:
		m.Origin, m.HumanActorID = "HUMAN", &name
	}
	return m
}
