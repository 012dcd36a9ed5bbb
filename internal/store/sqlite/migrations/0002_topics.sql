-- Topic tables: one row a record, one column a public field (fields.md),
-- sorted by name. Every column but recorded_at and the two segments is a copy
-- of a fact of the leaf, and verification recomputes it.
--
-- row = log_key << 40 | leaf_index. Times are microseconds since 1970. What a
-- number stands for is written behind the column: a name (or array, as JSON)
-- in names, a run or trace id in spine; a span id is its 64 bits.
-- sealed_segment and actor_segment are numbers of sealed segments of the log.
--
-- Indexes. Newest first within a log is the row key itself, so that needs
-- none. The indexes that fields.md knows by name have the form that this
-- layout gives them: the tenant is in row >> 40 (its log), or implied by a
-- number of spine. Each further index says what asks for it.

CREATE TABLE r_trace_step (
	row INTEGER PRIMARY KEY,
	recorded_at INTEGER NOT NULL,
	occurred_at INTEGER NOT NULL,
	run_no INTEGER, -- spine
	n INTEGER,
	sealed_segment INTEGER,
	actor_segment INTEGER,
	actor_type INTEGER, -- names
	agent_id INTEGER, -- names
	cache_write_input_tokens INTEGER,
	cached_input_tokens INTEGER,
	conflict_of TEXT,
	correlation_id TEXT,
	cost_usd_nanos INTEGER,
	duration_us INTEGER,
	finish_reason INTEGER, -- names
	first_token_us INTEGER,
	flags INTEGER, -- names
	idempotency_key TEXT,
	incident_ids INTEGER, -- names
	input_tokens INTEGER,
	is_synthetic INTEGER,
	late INTEGER,
	model INTEGER, -- names
	operation INTEGER, -- names
	origin INTEGER, -- names
	outcome_category INTEGER, -- names
	outcome_code INTEGER, -- names
	output_tokens INTEGER,
	parent_span_id INTEGER,
	policy_ids INTEGER, -- names
	producer INTEGER, -- names
	producer_seq INTEGER,
	provider INTEGER, -- names
	reasoning_tokens INTEGER,
	replay_behavior INTEGER, -- names
	request_model INTEGER, -- names
	retry_count INTEGER,
	skill_id INTEGER, -- names
	skill_name INTEGER, -- names
	source_component INTEGER, -- names
	source_domain INTEGER, -- names
	span_id INTEGER,
	status INTEGER, -- names
	step_index INTEGER,
	step_kind INTEGER, -- names
	synthetic_scenario_id INTEGER, -- names
	system_id INTEGER, -- names
	tool_call_id TEXT,
	trace_id INTEGER -- spine
) STRICT;

-- Two indexes and no third: the speed of ingest is decided here.
CREATE INDEX idx_aos_trace_steps_trace_timestamp ON r_trace_step (trace_id, occurred_at);
-- A span is stored once: retries find the first.
CREATE UNIQUE INDEX r_trace_step_span ON r_trace_step (trace_id, span_id)
	WHERE conflict_of IS NULL AND span_id IS NOT NULL;

CREATE TABLE r_trace_event (
	row INTEGER PRIMARY KEY,
	recorded_at INTEGER NOT NULL,
	occurred_at INTEGER NOT NULL,
	run_no INTEGER, -- spine
	n INTEGER,
	sealed_segment INTEGER,
	actor_segment INTEGER,
	actor_type INTEGER, -- names
	agent_id INTEGER, -- names
	conflict_of TEXT,
	correlation_id TEXT,
	event_name INTEGER, -- names
	incident_ids INTEGER, -- names
	is_synthetic INTEGER,
	origin INTEGER, -- names
	policy_ids INTEGER, -- names
	producer INTEGER, -- names
	producer_seq INTEGER,
	severity INTEGER, -- names
	source_component INTEGER, -- names
	source_domain INTEGER, -- names
	span_id INTEGER,
	synthetic_scenario_id INTEGER, -- names
	system_id INTEGER, -- names
	trace_id INTEGER -- spine
) STRICT;

-- The events of a trace's steps; those of a run that name no trace.
CREATE INDEX r_trace_event_trace ON r_trace_event (trace_id, occurred_at)
	WHERE trace_id IS NOT NULL;
CREATE INDEX r_trace_event_run ON r_trace_event (run_no)
	WHERE trace_id IS NULL AND run_no IS NOT NULL;

CREATE TABLE r_trace (
	row INTEGER PRIMARY KEY,
	recorded_at INTEGER NOT NULL,
	occurred_at INTEGER NOT NULL,
	run_no INTEGER, -- spine
	n INTEGER,
	sealed_segment INTEGER,
	actor_segment INTEGER,
	actor_type INTEGER, -- names
	agent_id INTEGER, -- names
	conflict_of TEXT,
	correlation_id TEXT,
	frozen_timestamp INTEGER,
	incident_ids INTEGER, -- names
	is_synthetic INTEGER,
	origin INTEGER, -- names
	plan_id TEXT,
	policy_ids INTEGER, -- names
	producer INTEGER, -- names
	producer_seq INTEGER,
	run_alias TEXT,
	schema_version INTEGER, -- names
	seed TEXT,
	service_name INTEGER, -- names
	source_component INTEGER, -- names
	source_domain INTEGER, -- names
	started_at INTEGER,
	stored_by INTEGER, -- names
	synthetic_scenario_id INTEGER, -- names
	system_id INTEGER, -- names
	trace_id INTEGER -- spine
) STRICT;

CREATE INDEX idx_aos_traces_run_id ON r_trace (run_no);

CREATE TABLE r_llm_run (
	row INTEGER PRIMARY KEY,
	recorded_at INTEGER NOT NULL,
	occurred_at INTEGER NOT NULL,
	run_no INTEGER, -- spine
	n INTEGER,
	sealed_segment INTEGER,
	actor_segment INTEGER,
	actor_type INTEGER, -- names
	agent_id INTEGER, -- names
	agent_name INTEGER, -- names
	cache_write_input_tokens INTEGER,
	cached_input_tokens INTEGER,
	completed_at INTEGER,
	completeness INTEGER, -- names
	conflict_of TEXT,
	conversation_id TEXT,
	correlation_id TEXT,
	cost_usd_nanos INTEGER,
	execution_status INTEGER, -- names
	executor_type INTEGER, -- names
	incident_ids INTEGER, -- names
	inflection_at INTEGER,
	inflection_kind INTEGER, -- names
	inflection_step_index INTEGER,
	input_tokens INTEGER,
	is_synthetic INTEGER,
	model INTEGER, -- names
	models INTEGER, -- names
	origin INTEGER, -- names
	outcome INTEGER, -- names
	output_tokens INTEGER,
	policy_ids INTEGER, -- names
	producer INTEGER, -- names
	producer_seq INTEGER,
	provider INTEGER, -- names
	reasoning_tokens INTEGER,
	record_count INTEGER,
	revision INTEGER,
	run_alias TEXT,
	sealed_by INTEGER, -- names
	source INTEGER, -- names
	source_component INTEGER, -- names
	source_domain INTEGER, -- names
	started_at INTEGER,
	step_count INTEGER,
	synthetic_scenario_id INTEGER, -- names
	system_id INTEGER, -- names
	trace_id INTEGER -- spine
) STRICT;

CREATE INDEX idx_llm_run_records_tenant_created ON r_llm_run (row >> 40, recorded_at);
-- A revision is stored once; also finds a run's revisions.
CREATE UNIQUE INDEX r_llm_run_revision ON r_llm_run (run_no, revision)
	WHERE conflict_of IS NULL;
-- Lists between two times of occurrence, and retention.
CREATE INDEX r_llm_run_occurred ON r_llm_run (row >> 40, occurred_at);
-- Lists by correlation: the join to other systems.
CREATE INDEX r_llm_run_correlation ON r_llm_run (correlation_id)
	WHERE correlation_id IS NOT NULL;

CREATE TABLE r_system (
	row INTEGER PRIMARY KEY,
	recorded_at INTEGER NOT NULL,
	occurred_at INTEGER NOT NULL,
	run_no INTEGER, -- spine
	n INTEGER,
	sealed_segment INTEGER,
	actor_segment INTEGER,
	actor_type INTEGER, -- names
	agent_id INTEGER, -- names
	caused_by INTEGER, -- names
	component INTEGER, -- names
	config_digest TEXT,
	conflict_of TEXT,
	correlation_id TEXT,
	event_type INTEGER, -- names
	incident_ids INTEGER, -- names
	is_synthetic INTEGER,
	origin INTEGER, -- names
	policy_ids INTEGER, -- names
	predecessor_log TEXT,
	producer INTEGER, -- names
	producer_seq INTEGER,
	severity INTEGER, -- names
	source_component INTEGER, -- names
	source_domain INTEGER, -- names
	successor_log TEXT,
	synthetic_scenario_id INTEGER, -- names
	system_id INTEGER, -- names
	version INTEGER, -- names
	visibility INTEGER, -- names
	vkey TEXT
) STRICT;

CREATE INDEX idx_system_records_tenant_created ON r_system (row >> 40, recorded_at);
-- What happened around a run: replay window, snapshot, events.
CREATE INDEX r_system_occurred ON r_system (row >> 40, occurred_at);
CREATE INDEX r_system_run ON r_system (run_no) WHERE run_no IS NOT NULL;
CREATE INDEX r_system_correlation ON r_system (correlation_id)
	WHERE correlation_id IS NOT NULL;

CREATE TABLE r_metric (
	row INTEGER PRIMARY KEY,
	recorded_at INTEGER NOT NULL,
	occurred_at INTEGER NOT NULL,
	run_no INTEGER, -- spine
	n INTEGER,
	sealed_segment INTEGER,
	actor_segment INTEGER,
	actor_type INTEGER, -- names
	agent_id INTEGER, -- names
	conflict_of TEXT,
	correlation_id TEXT,
	"from" INTEGER,
	incident_ids INTEGER, -- names
	is_synthetic INTEGER,
	names INTEGER, -- names
	origin INTEGER, -- names
	point_count INTEGER,
	policy_ids INTEGER, -- names
	producer INTEGER, -- names
	producer_seq INTEGER,
	service_name INTEGER, -- names
	source_component INTEGER, -- names
	source_domain INTEGER, -- names
	synthetic_scenario_id INTEGER, -- names
	system_id INTEGER, -- names
	until INTEGER
) STRICT;

-- Telemetry in the time of a run; occurred_at is "from".
CREATE INDEX r_metric_occurred ON r_metric (row >> 40, occurred_at);
CREATE INDEX r_metric_run ON r_metric (run_no) WHERE run_no IS NOT NULL;

CREATE TABLE r_audit (
	row INTEGER PRIMARY KEY,
	recorded_at INTEGER NOT NULL,
	occurred_at INTEGER NOT NULL,
	run_no INTEGER, -- spine
	n INTEGER,
	sealed_segment INTEGER,
	actor_segment INTEGER,
	about_run INTEGER, -- spine
	actor_type INTEGER, -- names
	agent_id INTEGER, -- names
	byte_count INTEGER,
	conflict_of TEXT,
	correlation_id TEXT,
	credential_id INTEGER, -- names
	decision INTEGER, -- names
	entity_id TEXT,
	entity_type INTEGER, -- names
	event_type INTEGER, -- names
	incident_ids INTEGER, -- names
	is_synthetic INTEGER,
	limit_id INTEGER, -- names
	limit_unit INTEGER, -- names
	limit_value TEXT,
	observed_value TEXT,
	origin INTEGER, -- names
	policy_id INTEGER, -- names
	policy_ids INTEGER, -- names
	producer INTEGER, -- names
	producer_seq INTEGER,
	record_count INTEGER,
	roles INTEGER, -- names
	route INTEGER, -- names
	rule_id INTEGER, -- names
	source_component INTEGER, -- names
	source_domain INTEGER, -- names
	status_code INTEGER,
	synthetic_scenario_id INTEGER, -- names
	system_id INTEGER, -- names
	valid_from INTEGER,
	valid_until INTEGER
) STRICT;

CREATE INDEX idx_audit_ledger_tenant_created ON r_audit (row >> 40, recorded_at);
-- Policy events of a replay window.
CREATE INDEX r_audit_occurred ON r_audit (row >> 40, occurred_at);
-- Governance binds to a run by run id or correlation id; looks at a run and
-- orders about it by about_run.
CREATE INDEX r_audit_run ON r_audit (run_no) WHERE run_no IS NOT NULL;
CREATE INDEX r_audit_about_run ON r_audit (about_run) WHERE about_run IS NOT NULL;
CREATE INDEX r_audit_correlation ON r_audit (correlation_id)
	WHERE correlation_id IS NOT NULL;

CREATE TABLE r_export (
	row INTEGER PRIMARY KEY,
	recorded_at INTEGER NOT NULL,
	occurred_at INTEGER NOT NULL,
	run_no INTEGER, -- spine
	n INTEGER,
	sealed_segment INTEGER,
	actor_segment INTEGER,
	about_run INTEGER, -- spine
	actor_type INTEGER, -- names
	agent_id INTEGER, -- names
	checksum TEXT,
	compliance_tags INTEGER, -- names
	conflict_of TEXT,
	correlation_id TEXT,
	delivered_at INTEGER,
	export_id TEXT,
	format INTEGER, -- names
	"from" INTEGER,
	incident_ids INTEGER, -- names
	is_synthetic INTEGER,
	manifest TEXT,
	origin INTEGER, -- names
	policy_ids INTEGER, -- names
	producer INTEGER, -- names
	producer_seq INTEGER,
	record_count INTEGER,
	retention_class INTEGER, -- names
	scope INTEGER, -- names
	size_bytes INTEGER,
	source_component INTEGER, -- names
	source_domain INTEGER, -- names
	status INTEGER, -- names
	synthetic_scenario_id INTEGER, -- names
	system_id INTEGER, -- names
	until INTEGER
) STRICT;

CREATE INDEX idx_log_exports_tenant_created ON r_export (row >> 40, recorded_at);
-- The newest row of an export is its state.
CREATE INDEX r_export_id ON r_export (export_id);
CREATE INDEX r_export_about_run ON r_export (about_run) WHERE about_run IS NOT NULL;
