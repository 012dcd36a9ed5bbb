package answer

import "github.com/runledger/runledger/evidence"

// ExportProgress says how far an export is: records, of those that it reads. Both are
// 0 while it waits, or where that is not known.
type ExportProgress struct {
	Done  int64 `json:"done"`
	Total int64 `json:"total"`
}

// ExportStatus is the state of an export: what POST /api/v1/exports answers, and GET
// /api/v1/exports/{export_id} from then on.
type ExportStatus struct {
	ExportID       string            `json:"export_id"`
	Status         string            `json:"status" enum:"pending,completed,failed"`
	Progress       ExportProgress    `json:"progress"`
	Reason         *string           `json:"reason" doc:"why it failed, where that is known: the server remembers it for a day"`
	Scope          string            `json:"scope" enum:"llm_run,system,audit,compliance"`
	Format         string            `json:"format" enum:"json,csv,pdf,zip"`
	RunID          *string           `json:"run_id" doc:"of an export of a run"`
	From           *evidence.Micros  `json:"from" doc:"of an export of a period, as is until: recorded_at"`
	Until          *evidence.Micros  `json:"until"`
	RetentionClass *string           `json:"retention_class"`
	ComplianceTags []string          `json:"compliance_tags"`
	Checksum       *string           `json:"checksum" doc:"sha256 of the bytes; of a ZIP while they are kept, since the record of it lies inside"`
	Manifest       *string           `json:"manifest" doc:"sha256 of manifest.json, in hex"`
	SizeBytes      *int64            `json:"size_bytes"`
	RecordCount    *int64            `json:"record_count"`
	Checkpoint     *string           `json:"checkpoint" doc:"the signed checkpoint that the bundle verifies against"`
	StatusURL      string            `json:"status_url" doc:"path of this answer"`
	DownloadURL    *string           `json:"download_url" doc:"path of the bytes while they are kept, for who may read them"`
	SignedURL      *string           `json:"signed_url" doc:"the same with a signature that stands for the credential for ten minutes"`
	KeptUntil      *evidence.Micros  `json:"kept_until" doc:"when the bytes are gone at the latest; then export again"`
	Metadata       evidence.Metadata `json:"metadata" doc:"of the record of this state"`
}
