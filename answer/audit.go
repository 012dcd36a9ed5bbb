package answer

import "github.com/runledger/runledger/evidence"

// AuditEntry is one audit record. entity_id is null where it names a person and
// may not be shown.
type AuditEntry struct {
	ID            string            `json:"id"`
	EventType     string            `json:"event_type"`
	EntityType    string            `json:"entity_type"`
	EntityID      string            `json:"entity_id"`
	ActorType     string            `json:"actor_type" enum:"HUMAN,AGENT,SYSTEM"`
	ActorID       *string           `json:"actor_id" doc:"null where it is a person who may not be shown"`
	AboutRun      *string           `json:"about_run"`
	RuleID        *string           `json:"rule_id"`
	PolicyID      *string           `json:"policy_id"`
	Decision      *string           `json:"decision"`
	LimitID       *string           `json:"limit_id"`
	LimitValue    *string           `json:"limit_value"`
	ObservedValue *string           `json:"observed_value"`
	LimitUnit     *string           `json:"limit_unit"`
	ValidFrom     *evidence.Micros  `json:"valid_from"`
	ValidUntil    *evidence.Micros  `json:"valid_until"`
	Route         *string           `json:"route"`
	StatusCode    *int64            `json:"status_code"`
	RecordCount   *int64            `json:"record_count"`
	ByteCount     *int64            `json:"byte_count"`
	CredentialID  *string           `json:"credential_id"`
	Roles         []string          `json:"roles"`
	ActionReason  Content           `json:"action_reason"`
	BeforeState   Content           `json:"before_state"`
	AfterState    Content           `json:"after_state"`
	ViewDigest    Content           `json:"view_digest"`
	Client        Content           `json:"client"`
	Query         Content           `json:"query"`
	OccurredAt    evidence.Micros   `json:"occurred_at"`
	CreatedAt     evidence.Micros   `json:"created_at" doc:"recorded_at"`
	LeafIndex     int64             `json:"leaf_index"`
	Metadata      evidence.Metadata `json:"metadata"`
}

// AuditIdentity is O1 of AUDIT: who logged in, when, how.
type AuditIdentity struct {
	Entries []AuditEntry `json:"entries"`
	Page
}

// AuditAuthorization is O2: what access was allowed or denied.
type AuditAuthorization struct {
	Decisions []AuthorizationDecision `json:"decisions"`
	Page
}

// AuthorizationDecision is an ACCESS_DECISION, LOG_VIEW or LOG_EXPORT read as a
// decision.
type AuthorizationDecision struct {
	Timestamp evidence.Micros   `json:"timestamp"`
	EventType string            `json:"event_type"`
	Subject   *string           `json:"subject" doc:"the credential, or null where it is a person who may not be shown"`
	Roles     []string          `json:"roles"`
	Action    string            `json:"action" doc:"the route"`
	Resource  string            `json:"resource"`
	Decision  string            `json:"decision" doc:"ALLOWED or DENIED"`
	RuleID    *string           `json:"rule_id"`
	Reason    Content           `json:"reason"`
	LeafIndex int64             `json:"leaf_index"`
	Metadata  evidence.Metadata `json:"metadata"`
}

// AuditAccess is O3: who viewed or exported logs.
type AuditAccess struct {
	AccessEvents []AuditEntry `json:"access_events"`
	Page
}

// AuditIntegrity is O4: was anything tampered with.
type AuditIntegrity struct {
	IntegrityStatus string            `json:"integrity_status" enum:"verified,degraded,compromised,unknown"`
	Anomalies       []Anomaly         `json:"anomalies"`
	LastVerified    *evidence.Micros  `json:"last_verified"`
	TreeSize        int64             `json:"tree_size"`
	RootHash        string            `json:"root_hash" doc:"hex"`
	Checkpoint      string            `json:"checkpoint" doc:"the newest signed checkpoint (C2SP signed note), with the cosignatures that are kept for its size"`
	VerifiedThrough int64             `json:"verified_through" doc:"leaves of the newest log that are checked"`
	Why             *string           `json:"why" doc:"what keeps a degraded log from being verified"`
	Witnesses       []Witness         `json:"witnesses" doc:"what others have cosigned of the newest log"`
	Timestamps      []Timestamp       `json:"timestamps" doc:"the newest time stamp of each authority over the newest log"`
	Metadata        evidence.Metadata `json:"metadata"`
}

// Witness is somebody who cosigns the log's checkpoints.
type Witness struct {
	Name  string           `json:"name"`
	Key   *string          `json:"key" doc:"verifier key; null where the server has no policy that names it"`
	URL   *string          `json:"url"`
	Size  int64            `json:"size" doc:"of the newest tree that it has cosigned; 0 where it has none"`
	Time  *evidence.Micros `json:"time" doc:"when, as it says"`
	Error *string          `json:"error" doc:"why it does not cosign at present"`
}

// Timestamp is what a time-stamping authority (RFC 3161) has stamped.
type Timestamp struct {
	Authority string          `json:"authority"`
	Size      int64           `json:"size" doc:"of the tree whose checkpoint was stamped"`
	Time      evidence.Micros `json:"time" doc:"when, as it says"`
}

// Anomaly is something that does not match what was signed.
type Anomaly struct {
	Code      string          `json:"code"`
	Table     string          `json:"table"`
	Column    *string         `json:"column"`
	Log       *string         `json:"log"`
	LeafFrom  int64           `json:"leaf_from"`
	LeafUntil int64           `json:"leaf_until" doc:"the first leaf after the range; both 0 where it concerns no leaf"`
	Expected  *string         `json:"expected"`
	Found     *string         `json:"found"`
	Message   string          `json:"message"`
	FirstSeen evidence.Micros `json:"first_seen"`
}

// AuditExports is O5: what exports exist, each in its newest state.
type AuditExports struct {
	Exports []ExportState `json:"exports"`
	Page
}

// ExportState is the newest state of an export.
type ExportState struct {
	ExportID       string            `json:"export_id"`
	Scope          string            `json:"scope" enum:"llm_run,system,audit,compliance"`
	Format         string            `json:"format" enum:"json,csv,pdf,zip"`
	Status         string            `json:"status" enum:"pending,completed,failed"`
	AboutRun       *string           `json:"about_run"`
	From           *evidence.Micros  `json:"from"`
	Until          *evidence.Micros  `json:"until"`
	Checksum       *string           `json:"checksum"`
	Manifest       *string           `json:"manifest"`
	SizeBytes      *int64            `json:"size_bytes"`
	RecordCount    *int64            `json:"record_count"`
	RetentionClass *string           `json:"retention_class"`
	ComplianceTags []string          `json:"compliance_tags"`
	DeliveredAt    *evidence.Micros  `json:"delivered_at"`
	RequestedBy    Content           `json:"requested_by"`
	LeafIndex      int64             `json:"leaf_index"`
	Metadata       evidence.Metadata `json:"metadata"`
}

// EvidenceBundle is O5 of LLM_RUNS: the description of an export, whose bytes are
// at DownloadURL.
type EvidenceBundle struct {
	RunID          string            `json:"run_id"`
	ExportID       string            `json:"export_id"`
	Format         string            `json:"format" enum:"json,csv,pdf,zip"`
	Checksum       string            `json:"checksum" doc:"sha256 of the bytes"`
	RetentionClass string            `json:"retention_class"`
	ComplianceTags []string          `json:"compliance_tags"`
	DownloadURL    *string           `json:"download_url" doc:"path of the bytes, for the same credential"`
	SignedURL      *string           `json:"signed_url" doc:"the same with a signature that stands for the credential for ten minutes"`
	SizeBytes      int64             `json:"size_bytes"`
	RecordCount    int64             `json:"record_count"`
	Checkpoint     string            `json:"checkpoint" doc:"the signed checkpoint that the bundle verifies against"`
	Metadata       evidence.Metadata `json:"metadata"`
}
