package evidence

// The field table. A field is added here and, in each backend, by a
// migration that adds its column; everything else follows: validation, leaf
// encoding, native JSON, JSON Schema and column lists.

// Enumerations of the contract, section 4, and of the field list.
var (
	enumActorType    = []string{"HUMAN", "AGENT", "SYSTEM"}
	enumSourceDomain = []string{"ACTIVITY", "POLICY", "INCIDENTS", "LOGS", "SYSTEM"}
	enumOrigin       = []string{"SYSTEM", "HUMAN", "AGENT", "MIGRATION", "REPLAY"}
	enumStepKind     = []string{"llm", "tool", "agent", "retrieval", "embedding", "guardrail", "evaluation", "other"}
	enumStepStatus   = []string{"success", "failure", "retry", "skipped"}
	enumReplay       = []string{"execute", "skip", "check"}
	enumRunStatus    = []string{"SUCCEEDED", "FAILED", "ABORTED", "TIMEOUT"}
	enumExecutor     = []string{"LLM", "agent", "human"}
	enumOutcome      = []string{"success", "failure", "near_threshold", "terminated"}
	enumRunSource    = []string{"API", "SDK", "SYSTEM", "SYNTHETIC", "WORKER"}
	enumInflection   = []string{"failure", "denial", "breach"}
	enumSealedBy     = []string{"root_span", "quiet", "completion", "timeout"}
	enumSeverity     = []string{"INFO", "WARN", "CRITICAL"}
	enumCausedBy     = []string{"SYSTEM", "HUMAN", "AUTOMATION"}
	enumVisibility   = []string{"tenant", "shared"}
	enumEntityType   = []string{"POLICY_RULE", "POLICY_PROPOSAL", "LIMIT", "INCIDENT", "SIGNAL", "LOG", "IDENTITY", "EXPORT", "RETENTION", "RBAC"}
	enumDecision     = []string{"ALLOWED", "DENIED", "PASSED", "WARNED", "BLOCKED", "BREACHED"}
	enumExportScope  = []string{"llm_run", "system", "audit", "compliance"}
	enumExportFormat = []string{"json", "csv", "pdf", "zip"}
	enumExportStatus = []string{"pending", "completed", "failed"}
)

var commonPublic = []Field{
	{Name: "actor_type", Type: TypeEnum, Enum: enumActorType, Intern: true},
	{Name: "agent_id", Type: TypeName, Optional: true, Intern: true},
	{Name: "system_id", Type: TypeName, Optional: true, Intern: true},
	{Name: "correlation_id", Type: TypeName, Optional: true},
	{Name: "policy_ids", Type: TypeNames, Intern: true},
	{Name: "incident_ids", Type: TypeNames, Intern: true},
	{Name: "source_domain", Type: TypeEnum, Enum: enumSourceDomain, Required: true, Intern: true},
	{Name: "source_component", Type: TypeName, Required: true, Intern: true},
	{Name: "origin", Type: TypeEnum, Enum: enumOrigin, Intern: true},
	{Name: "is_synthetic", Type: TypeBool, Default: "false"},
	{Name: "synthetic_scenario_id", Type: TypeName, Optional: true, Intern: true},
	{Name: "producer", Type: TypeName, Optional: true, Owner: Server, Intern: true},
	{Name: "producer_seq", Type: TypeCount, Optional: true},
	{Name: "conflict_of", Type: TypeName, Optional: true, Owner: Server},
}

var commonSealed = []SealedField{
	{Path: "/actor", Required: true, Shape: ShapeActor},
	{Path: "/subject", Shape: ShapeText, Indexed: true},
	{Path: "/attrs", Shape: ShapeAttrs},
}

var tokenFields = []Field{
	{Name: "input_tokens", Type: TypeCount, Optional: true},
	{Name: "output_tokens", Type: TypeCount, Optional: true},
	{Name: "cached_input_tokens", Type: TypeCount, Optional: true},
	{Name: "cache_write_input_tokens", Type: TypeCount, Optional: true},
	{Name: "reasoning_tokens", Type: TypeCount, Optional: true},
	{Name: "cost_usd_nanos", Type: TypeCount, Optional: true},
	{Name: "provider", Type: TypeName, Optional: true, Intern: true},
	{Name: "model", Type: TypeName, Optional: true, Intern: true},
}

var kindPublic = [len(kindNames)][]Field{
	KindTraceStep: append([]Field{
		{Name: "trace_id", Type: TypeTraceID, Required: true},
		{Name: "span_id", Type: TypeSpanID, Optional: true},
		{Name: "parent_span_id", Type: TypeSpanID, Optional: true},
		{Name: "step_index", Type: TypeCount, Owner: Server},
		{Name: "step_kind", Type: TypeEnum, Enum: enumStepKind, Required: true, Intern: true},
		{Name: "skill_id", Type: TypeName, Intern: true},
		{Name: "skill_name", Type: TypeName, Required: true, Intern: true},
		{Name: "status", Type: TypeEnum, Enum: enumStepStatus, Required: true, Intern: true},
		{Name: "outcome_category", Type: TypeName, Intern: true},
		{Name: "outcome_code", Type: TypeName, Optional: true, Intern: true},
		{Name: "duration_us", Type: TypeCount, Default: "0"},
		{Name: "retry_count", Type: TypeCount, Default: "0"},
		{Name: "request_model", Type: TypeName, Optional: true, Intern: true},
		{Name: "operation", Type: TypeName, Optional: true, Intern: true},
		{Name: "finish_reason", Type: TypeName, Optional: true, Intern: true},
		{Name: "first_token_us", Type: TypeCount, Optional: true},
		{Name: "tool_call_id", Type: TypeName, Optional: true},
		{Name: "replay_behavior", Type: TypeEnum, Enum: enumReplay, Default: "execute", Intern: true},
		{Name: "idempotency_key", Type: TypeName, Optional: true},
		{Name: "late", Type: TypeBool, Owner: Server},
		{Name: "flags", Type: TypeNames, Intern: true},
	}, tokenFields...),
	KindTraceEvent: {
		{Name: "trace_id", Type: TypeTraceID, Optional: true},
		{Name: "span_id", Type: TypeSpanID, Optional: true},
		{Name: "event_name", Type: TypeName, Required: true, Intern: true},
		{Name: "severity", Type: TypeName, Optional: true, Intern: true},
	},
	KindTrace: {
		{Name: "trace_id", Type: TypeTraceID, Required: true},
		{Name: "plan_id", Type: TypeName, Optional: true},
		{Name: "seed", Type: TypeInteger, Optional: true},
		{Name: "frozen_timestamp", Type: TypeTime, Optional: true},
		{Name: "schema_version", Type: TypeName, Default: "1", Intern: true},
		{Name: "started_at", Type: TypeTime},
		{Name: "stored_by", Type: TypeName, Optional: true, Owner: Server, Intern: true},
		{Name: "service_name", Type: TypeName, Optional: true, Intern: true},
		{Name: "run_alias", Type: TypeName, Optional: true},
	},
	KindLLMRun: append([]Field{
		{Name: "revision", Type: TypeCount, Default: "1"},
		{Name: "trace_id", Type: TypeTraceID, Optional: true},
		{Name: "run_alias", Type: TypeName, Optional: true},
		{Name: "execution_status", Type: TypeEnum, Enum: enumRunStatus, Required: true, Intern: true},
		{Name: "executor_type", Type: TypeEnum, Enum: enumExecutor, Intern: true},
		{Name: "outcome", Type: TypeEnum, Enum: enumOutcome, Intern: true},
		{Name: "models", Type: TypeNames, Intern: true},
		{Name: "started_at", Type: TypeTime},
		{Name: "completed_at", Type: TypeTime, Optional: true},
		{Name: "source", Type: TypeEnum, Enum: enumRunSource, Default: "API", Intern: true},
		{Name: "conversation_id", Type: TypeName, Optional: true},
		{Name: "agent_name", Type: TypeName, Optional: true, Intern: true},
		{Name: "inflection_at", Type: TypeTime, Optional: true},
		{Name: "inflection_step_index", Type: TypeCount, Optional: true},
		{Name: "inflection_kind", Type: TypeEnum, Enum: enumInflection, Optional: true, Intern: true},
		{Name: "step_count", Type: TypeCount, Owner: Server},
		{Name: "record_count", Type: TypeCount, Owner: Server},
		{Name: "sealed_by", Type: TypeEnum, Enum: enumSealedBy, Owner: Server, Intern: true},
		{Name: "completeness", Type: TypeNames, Intern: true},
	}, tokenFields...),
	KindSystem: {
		{Name: "component", Type: TypeName, Required: true, Intern: true},
		{Name: "event_type", Type: TypeName, Required: true, Intern: true},
		{Name: "severity", Type: TypeEnum, Enum: enumSeverity, Required: true, Intern: true},
		{Name: "caused_by", Type: TypeEnum, Enum: enumCausedBy, Optional: true, Intern: true},
		{Name: "visibility", Type: TypeEnum, Enum: enumVisibility, Default: "tenant", Intern: true},
		{Name: "version", Type: TypeName, Optional: true, Intern: true},
		{Name: "config_digest", Type: TypeName, Optional: true},
		{Name: "predecessor_log", Type: TypeText, Optional: true},
		{Name: "successor_log", Type: TypeText, Optional: true},
		{Name: "vkey", Type: TypeText, Optional: true},
	},
	KindMetric: {
		{Name: "service_name", Type: TypeName, Optional: true, Intern: true},
		{Name: "names", Type: TypeNames, Intern: true},
		{Name: "from", Type: TypeTime, Required: true},
		{Name: "until", Type: TypeTime, Required: true},
		{Name: "point_count", Type: TypeCount, Required: true},
	},
	KindAudit: {
		{Name: "event_type", Type: TypeName, Required: true, Intern: true},
		{Name: "entity_type", Type: TypeEnum, Enum: enumEntityType, Required: true, Intern: true},
		{Name: "entity_id", Type: TypeName, Required: true},
		{Name: "about_run", Type: TypeRun, Optional: true},
		{Name: "rule_id", Type: TypeName, Optional: true, Intern: true},
		{Name: "policy_id", Type: TypeName, Optional: true, Intern: true},
		{Name: "decision", Type: TypeEnum, Enum: enumDecision, Optional: true, Intern: true},
		{Name: "limit_id", Type: TypeName, Optional: true, Intern: true},
		{Name: "limit_value", Type: TypeDecimal, Optional: true},
		{Name: "observed_value", Type: TypeDecimal, Optional: true},
		{Name: "limit_unit", Type: TypeName, Optional: true, Intern: true},
		{Name: "valid_from", Type: TypeTime, Optional: true},
		{Name: "valid_until", Type: TypeTime, Optional: true},
		{Name: "route", Type: TypeName, Optional: true, Intern: true},
		{Name: "status_code", Type: TypeCount, Optional: true},
		{Name: "record_count", Type: TypeCount, Optional: true, Owner: Server},
		{Name: "byte_count", Type: TypeCount, Optional: true},
		{Name: "credential_id", Type: TypeName, Optional: true, Intern: true},
		{Name: "roles", Type: TypeNames, Intern: true},
	},
	KindExport: {
		{Name: "export_id", Type: TypeName, Required: true},
		{Name: "scope", Type: TypeEnum, Enum: enumExportScope, Required: true, Intern: true},
		{Name: "format", Type: TypeEnum, Enum: enumExportFormat, Required: true, Intern: true},
		{Name: "status", Type: TypeEnum, Enum: enumExportStatus, Required: true, Intern: true},
		{Name: "about_run", Type: TypeRun, Optional: true},
		{Name: "from", Type: TypeTime, Optional: true},
		{Name: "until", Type: TypeTime, Optional: true},
		{Name: "checksum", Type: TypeName, Optional: true},
		{Name: "manifest", Type: TypeName, Optional: true},
		{Name: "size_bytes", Type: TypeCount, Optional: true},
		{Name: "record_count", Type: TypeCount, Optional: true, Owner: Server},
		{Name: "retention_class", Type: TypeName, Optional: true, Intern: true},
		{Name: "compliance_tags", Type: TypeNames, Intern: true},
		{Name: "delivered_at", Type: TypeTime, Optional: true},
	},
}

// kindRequires names the common fields that have a default but must be sent
// for records of that kind (contract section 10).
var kindRequires = [len(kindNames)][]string{
	KindAudit: {"actor_type"},
}

var kindSealed = [len(kindNames)][]SealedField{
	KindTraceStep: {
		{Path: "/params"},
		{Path: "/outcome_data"},
		{Path: "/prompt"},
		{Path: "/response"},
		{Path: "/input_hash"},
		{Path: "/output_hash"},
		{Path: "/status_message"},
		{Path: "/rng_state_before"},
	},
	KindTraceEvent: {{Path: "/body"}},
	KindTrace: {
		{Path: "/plan"},
		{Path: "/root_hash", Indexed: true},
		{Path: "/plan_hash", Indexed: true},
	},
	KindLLMRun: {
		{Path: "/prompt"},
		{Path: "/response"},
		{Path: "/prompt_hash"},
		{Path: "/response_hash"},
		{Path: "/inflection_reason"},
	},
	KindSystem: {{Path: "/summary", Required: true}, {Path: "/details"}},
	KindMetric: {{Path: "/resource"}, {Path: "/points"}},
	KindAudit: {
		{Path: "/action_reason"},
		{Path: "/before_state"},
		{Path: "/after_state"},
		{Path: "/view_digest"},
		{Path: "/client"},
		{Path: "/query"},
		{Path: "/targets"},
	},
	KindExport: {{Path: "/requested_by"}, {Path: "/request"}},
}
