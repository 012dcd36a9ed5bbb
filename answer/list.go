package answer

import "github.com/runledger/runledger/evidence"

// Page is what all lists have in common: newest first, by keyset. A cursor pins
// the size of the log, so paging neither repeats nor skips.
type Page struct {
	Total          int64             `json:"total" doc:"matching records; counting stops at 10000"`
	TotalIsExact   bool              `json:"total_is_exact"`
	HasMore        bool              `json:"has_more"`
	NextCursor     *string           `json:"next_cursor" doc:"opaque; for the same filters"`
	FiltersApplied map[string]any    `json:"filters_applied" doc:"the filters of the request, and those that the rules of access added"`
	Metadata       evidence.Metadata `json:"metadata"`
}

// RunList is the list of LLM_RUNS.
type RunList struct {
	Items []RunEnvelope `json:"items"`
	Page
}

// SystemList is the list of SYSTEM_LOGS.
type SystemList struct {
	Items []SystemEvent `json:"items"`
	Page
}

// AuditList is the list of AUDIT.
type AuditList struct {
	Items []AuditEntry `json:"items"`
	Page
}
