package answer

import "github.com/runledger/runledger/evidence"

// SystemEvent is one system record.
type SystemEvent struct {
	ID           string            `json:"id"`
	Component    string            `json:"component"`
	EventType    string            `json:"event_type"`
	Severity     string            `json:"severity" enum:"INFO,WARN,CRITICAL"`
	Summary      Content           `json:"summary"`
	Details      Content           `json:"details"`
	CausedBy     *string           `json:"caused_by" enum:"SYSTEM,HUMAN,AUTOMATION"`
	Visibility   string            `json:"visibility" enum:"tenant,shared"`
	Version      *string           `json:"version"`
	ConfigDigest *string           `json:"config_digest"`
	OccurredAt   evidence.Micros   `json:"occurred_at"`
	CreatedAt    evidence.Micros   `json:"created_at" doc:"recorded_at"`
	LeafIndex    int64             `json:"leaf_index"`
	Metadata     evidence.Metadata `json:"metadata"`
}

// SystemSnapshot is O1 of SYSTEM_LOGS: the environment when a run started.
// component to summary are of the newest record of the baseline; null where
// there is none.
type SystemSnapshot struct {
	RunID         string            `json:"run_id"`
	EnvironmentID string            `json:"environment_id" doc:"digest of the baseline: two runs in the same environment have the same one"`
	Component     *string           `json:"component"`
	EventType     *string           `json:"event_type"`
	Severity      *string           `json:"severity"`
	Summary       Content           `json:"summary"`
	Baseline      []SystemEvent     `json:"baseline" doc:"for every component the last STARTUP, DEPLOY, CONFIG_CHANGE or MIGRATION at or before the start, by component"`
	Metadata      evidence.Metadata `json:"metadata"`
}

// SystemTelemetry is O2 of SYSTEM_LOGS. Where nothing was collected Series is
// empty and Reason to FutureMilestone are set, else they are absent.
type SystemTelemetry struct {
	RunID           string            `json:"run_id"`
	Status          string            `json:"status" enum:"collected,telemetry_not_collected"`
	Series          []Series          `json:"series,omitempty"`
	Reason          string            `json:"reason,omitempty" enum:"infrastructure_telemetry_producer_not_implemented,no_telemetry_in_run_window"`
	AvailableData   []string          `json:"available_data,omitempty"`
	FutureMilestone string            `json:"future_milestone,omitempty"`
	HasMore         bool              `json:"has_more,omitempty"`
	NextCursor      *string           `json:"next_cursor,omitempty"`
	Metadata        evidence.Metadata `json:"metadata"`
}

// Series is one time series of metrics.
type Series struct {
	Name       string         `json:"name"`
	Unit       string         `json:"unit"`
	Type       string         `json:"type" doc:"gauge, sum, histogram, exponential_histogram or summary"`
	Attributes map[string]any `json:"attributes" doc:"of the resource and of the points"`
	Points     []Point        `json:"points"`
	LeafIndex  int64          `json:"leaf_index"`
	Withheld   *Withheld      `json:"withheld,omitempty" doc:"set where the points are not shown"`
}

// Point is one measured value. A histogram's is its count and sum.
type Point struct {
	Timestamp evidence.Micros `json:"timestamp"`
	Value     *float64        `json:"value"`
	Count     *int64          `json:"count,omitempty"`
	Sum       *float64        `json:"sum,omitempty"`
}

// SystemEvents is O3 of SYSTEM_LOGS: the infrastructure events that touched a
// run.
type SystemEvents struct {
	RunID        string            `json:"run_id"`
	Events       []SystemEvent     `json:"events" doc:"by time"`
	Total        int64             `json:"total"`
	TotalIsExact bool              `json:"total_is_exact"`
	HasMore      bool              `json:"has_more"`
	NextCursor   *string           `json:"next_cursor"`
	Metadata     evidence.Metadata `json:"metadata"`
}

// SystemAudit is O5 of SYSTEM_LOGS: who or what is responsible.
type SystemAudit struct {
	Entries        []SystemEvent     `json:"entries"`
	Responsibility []Responsibility  `json:"responsibility"`
	Total          int64             `json:"total"`
	TotalIsExact   bool              `json:"total_is_exact"`
	HasMore        bool              `json:"has_more"`
	NextCursor     *string           `json:"next_cursor"`
	FiltersApplied map[string]any    `json:"filters_applied"`
	Metadata       evidence.Metadata `json:"metadata"`
}

// Responsibility counts the events of one caused_by and component.
type Responsibility struct {
	CausedBy      *string         `json:"caused_by"`
	Component     string          `json:"component"`
	Count         int64           `json:"count"`
	WorstSeverity string          `json:"worst_severity"`
	First         evidence.Micros `json:"first"`
	Last          evidence.Micros `json:"last"`
}
