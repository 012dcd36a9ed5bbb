package facade

import "github.com/runledger/runledger/evidence"

// RunFilter are the filters of the list of runs. Empty fields filter nothing.
type RunFilter struct {
	RunID, TraceID, Provider, Model, Status, Outcome, AgentID, HumanActorID, CorrelationID, ConversationID string
	IsSynthetic                                                                                            *bool
	Window
}

// SystemFilter are the filters of the list of system records.
type SystemFilter struct {
	Component, EventType, Severity, CausedBy, CorrelationID string
	IsSynthetic                                             *bool
	Window
}

// AuditFilter are the filters of the list of audit entries.
type AuditFilter struct {
	EventType, EntityType, EntityID, ActorType, ActorID, RunID, CorrelationID string
	IsSynthetic                                                               *bool
	Window
}

// ReplayParams say which window of a run is wanted.
type ReplayParams struct {
	Center        *evidence.Micros // nil: the turning point of the run
	WindowSeconds int              // 0: 60; 2 to 3600
	Paging
}
