-- Topic tables: one row a record, one column a public field (fields.md),
-- sorted by name. Every column but recorded_at and the two segments is a copy
-- of a fact of the leaf, and verification recomputes it.
--
-- They have the contract's names and texts themselves, so 0003 has no views.
-- Times are microseconds since 1970, booleans 0 and 1, arrays their JSON text,
-- as SQLite's views show them. sealed_segment and actor_segment are numbers of
-- sealed segments of the log.
--
-- Partitioned by month of recorded_at, which is therefore part of the key. That
-- a leaf index is there once follows from the head: a commit holds its row while
-- it writes. The partitions are made by a function of 0004.
--
-- Indexes. Newest first within a log is the key itself. Each further index
-- begins with tenant_id and says what asks for it.

CREATE TABLE aos_trace_steps (
	tenant_id text COLLATE "C" NOT NULL,
	log_no bigint NOT NULL,
	leaf_index bigint NOT NULL,
	recorded_at bigint NOT NULL,
	occurred_at bigint NOT NULL,
	run_id text COLLATE "C",
	n bigint,
	sealed_segment bigint,
	actor_segment bigint,
	actor_type text COLLATE "C",
	agent_id text COLLATE "C",
	cache_write_input_tokens bigint,
	cached_input_tokens bigint,
	conflict_of text COLLATE "C",
	correlation_id text COLLATE "C",
	cost_usd_nanos bigint,
	duration_us bigint,
	finish_reason text COLLATE "C",
	first_token_us bigint,
	flags text COLLATE "C", -- JSON array
	idempotency_key text COLLATE "C",
	incident_ids text COLLATE "C", -- JSON array
	input_tokens bigint,
	is_synthetic bigint,
	late bigint,
	model text COLLATE "C",
	operation text COLLATE "C",
	origin text COLLATE "C",
	outcome_category text COLLATE "C",
	outcome_code text COLLATE "C",
	output_tokens bigint,
	parent_span_id text COLLATE "C",
	policy_ids text COLLATE "C", -- JSON array
	producer text COLLATE "C",
	producer_seq bigint,
	provider text COLLATE "C",
	reasoning_tokens bigint,
	replay_behavior text COLLATE "C",
	request_model text COLLATE "C",
	retry_count bigint,
	skill_id text COLLATE "C",
	skill_name text COLLATE "C",
	source_component text COLLATE "C",
	source_domain text COLLATE "C",
	span_id text COLLATE "C",
	status text COLLATE "C",
	step_index bigint,
	step_kind text COLLATE "C",
	synthetic_scenario_id text COLLATE "C",
	system_id text COLLATE "C",
	tool_call_id text COLLATE "C",
	trace_id text COLLATE "C",
	PRIMARY KEY (tenant_id, log_no, leaf_index, recorded_at)
) PARTITION BY RANGE (recorded_at);

-- One index and no other, but that of 0005, which is empty under OpenTelemetry:
-- the speed of ingest is decided here. Spans are unique by a table of their own.
CREATE INDEX idx_aos_trace_steps_trace_timestamp ON aos_trace_steps (tenant_id, trace_id, occurred_at);

CREATE TABLE aos_trace_events (
	tenant_id text COLLATE "C" NOT NULL,
	log_no bigint NOT NULL,
	leaf_index bigint NOT NULL,
	recorded_at bigint NOT NULL,
	occurred_at bigint NOT NULL,
	run_id text COLLATE "C",
	n bigint,
	sealed_segment bigint,
	actor_segment bigint,
	actor_type text COLLATE "C",
	agent_id text COLLATE "C",
	conflict_of text COLLATE "C",
	correlation_id text COLLATE "C",
	event_name text COLLATE "C",
	incident_ids text COLLATE "C", -- JSON array
	is_synthetic bigint,
	origin text COLLATE "C",
	policy_ids text COLLATE "C", -- JSON array
	producer text COLLATE "C",
	producer_seq bigint,
	severity text COLLATE "C",
	source_component text COLLATE "C",
	source_domain text COLLATE "C",
	span_id text COLLATE "C",
	synthetic_scenario_id text COLLATE "C",
	system_id text COLLATE "C",
	trace_id text COLLATE "C",
	PRIMARY KEY (tenant_id, log_no, leaf_index, recorded_at)
) PARTITION BY RANGE (recorded_at);

-- The events of a trace's steps; those of a run that name no trace.
CREATE INDEX aos_trace_events_trace ON aos_trace_events (tenant_id, trace_id, occurred_at)
	WHERE trace_id IS NOT NULL;
CREATE INDEX aos_trace_events_run ON aos_trace_events (tenant_id, run_id)
	WHERE trace_id IS NULL AND run_id IS NOT NULL;

CREATE TABLE aos_traces (
	tenant_id text COLLATE "C" NOT NULL,
	log_no bigint NOT NULL,
	leaf_index bigint NOT NULL,
	recorded_at bigint NOT NULL,
	occurred_at bigint NOT NULL,
	run_id text COLLATE "C",
	n bigint,
	sealed_segment bigint,
	actor_segment bigint,
	actor_type text COLLATE "C",
	agent_id text COLLATE "C",
	conflict_of text COLLATE "C",
	correlation_id text COLLATE "C",
	frozen_timestamp bigint,
	incident_ids text COLLATE "C", -- JSON array
	is_synthetic bigint,
	origin text COLLATE "C",
	plan_id text COLLATE "C",
	policy_ids text COLLATE "C", -- JSON array
	producer text COLLATE "C",
	producer_seq bigint,
	run_alias text COLLATE "C",
	schema_version text COLLATE "C",
	seed text COLLATE "C",
	service_name text COLLATE "C",
	source_component text COLLATE "C",
	source_domain text COLLATE "C",
	started_at bigint,
	stored_by text COLLATE "C",
	synthetic_scenario_id text COLLATE "C",
	system_id text COLLATE "C",
	trace_id text COLLATE "C",
	PRIMARY KEY (tenant_id, log_no, leaf_index, recorded_at)
) PARTITION BY RANGE (recorded_at);

CREATE INDEX idx_aos_traces_run_id ON aos_traces (tenant_id, run_id);

CREATE TABLE llm_run_records (
	tenant_id text COLLATE "C" NOT NULL,
	log_no bigint NOT NULL,
	leaf_index bigint NOT NULL,
	recorded_at bigint NOT NULL,
	occurred_at bigint NOT NULL,
	run_id text COLLATE "C",
	n bigint,
	sealed_segment bigint,
	actor_segment bigint,
	actor_type text COLLATE "C",
	agent_id text COLLATE "C",
	agent_name text COLLATE "C",
	cache_write_input_tokens bigint,
	cached_input_tokens bigint,
	completed_at bigint,
	completeness text COLLATE "C", -- JSON array
	conflict_of text COLLATE "C",
	conversation_id text COLLATE "C",
	correlation_id text COLLATE "C",
	cost_usd_nanos bigint,
	execution_status text COLLATE "C",
	executor_type text COLLATE "C",
	incident_ids text COLLATE "C", -- JSON array
	inflection_at bigint,
	inflection_kind text COLLATE "C",
	inflection_step_index bigint,
	input_tokens bigint,
	is_synthetic bigint,
	model text COLLATE "C",
	models text COLLATE "C", -- JSON array
	origin text COLLATE "C",
	outcome text COLLATE "C",
	output_tokens bigint,
	policy_ids text COLLATE "C", -- JSON array
	producer text COLLATE "C",
	producer_seq bigint,
	provider text COLLATE "C",
	reasoning_tokens bigint,
	record_count bigint,
	revision bigint,
	run_alias text COLLATE "C",
	sealed_by text COLLATE "C",
	source text COLLATE "C",
	source_component text COLLATE "C",
	source_domain text COLLATE "C",
	started_at bigint,
	step_count bigint,
	synthetic_scenario_id text COLLATE "C",
	system_id text COLLATE "C",
	trace_id text COLLATE "C",
	PRIMARY KEY (tenant_id, log_no, leaf_index, recorded_at)
) PARTITION BY RANGE (recorded_at);

CREATE INDEX idx_llm_run_records_tenant_created ON llm_run_records (tenant_id, recorded_at DESC);
-- A run's revisions, the newest last. Unique they are by run_revisions.
CREATE INDEX llm_run_records_revision ON llm_run_records (tenant_id, run_id, revision)
	WHERE conflict_of IS NULL;
-- Lists between two times of occurrence, and retention.
CREATE INDEX llm_run_records_occurred ON llm_run_records (tenant_id, occurred_at, log_no, leaf_index);
-- Lists by correlation: the join to other systems.
CREATE INDEX llm_run_records_correlation ON llm_run_records (tenant_id, correlation_id, log_no, leaf_index)
	WHERE correlation_id IS NOT NULL;

CREATE TABLE system_records (
	tenant_id text COLLATE "C" NOT NULL,
	log_no bigint NOT NULL,
	leaf_index bigint NOT NULL,
	recorded_at bigint NOT NULL,
	occurred_at bigint NOT NULL,
	run_id text COLLATE "C",
	n bigint,
	sealed_segment bigint,
	actor_segment bigint,
	actor_type text COLLATE "C",
	agent_id text COLLATE "C",
	caused_by text COLLATE "C",
	component text COLLATE "C",
	config_digest text COLLATE "C",
	conflict_of text COLLATE "C",
	correlation_id text COLLATE "C",
	event_type text COLLATE "C",
	incident_ids text COLLATE "C", -- JSON array
	is_synthetic bigint,
	origin text COLLATE "C",
	policy_ids text COLLATE "C", -- JSON array
	predecessor_log text COLLATE "C",
	producer text COLLATE "C",
	producer_seq bigint,
	severity text COLLATE "C",
	source_component text COLLATE "C",
	source_domain text COLLATE "C",
	successor_log text COLLATE "C",
	synthetic_scenario_id text COLLATE "C",
	system_id text COLLATE "C",
	version text COLLATE "C",
	visibility text COLLATE "C",
	vkey text COLLATE "C",
	PRIMARY KEY (tenant_id, log_no, leaf_index, recorded_at)
) PARTITION BY RANGE (recorded_at);

CREATE INDEX idx_system_records_tenant_created ON system_records (tenant_id, recorded_at DESC);
-- What happened around a run: replay window, snapshot, events.
CREATE INDEX system_records_occurred ON system_records (tenant_id, occurred_at, log_no, leaf_index);
CREATE INDEX system_records_run ON system_records (tenant_id, run_id, log_no, leaf_index) WHERE run_id IS NOT NULL;
CREATE INDEX system_records_correlation ON system_records (tenant_id, correlation_id, log_no, leaf_index)
	WHERE correlation_id IS NOT NULL;

CREATE TABLE system_metrics (
	tenant_id text COLLATE "C" NOT NULL,
	log_no bigint NOT NULL,
	leaf_index bigint NOT NULL,
	recorded_at bigint NOT NULL,
	occurred_at bigint NOT NULL,
	run_id text COLLATE "C",
	n bigint,
	sealed_segment bigint,
	actor_segment bigint,
	actor_type text COLLATE "C",
	agent_id text COLLATE "C",
	conflict_of text COLLATE "C",
	correlation_id text COLLATE "C",
	"from" bigint,
	incident_ids text COLLATE "C", -- JSON array
	is_synthetic bigint,
	names text COLLATE "C", -- JSON array
	origin text COLLATE "C",
	point_count bigint,
	policy_ids text COLLATE "C", -- JSON array
	producer text COLLATE "C",
	producer_seq bigint,
	service_name text COLLATE "C",
	source_component text COLLATE "C",
	source_domain text COLLATE "C",
	synthetic_scenario_id text COLLATE "C",
	system_id text COLLATE "C",
	until bigint,
	PRIMARY KEY (tenant_id, log_no, leaf_index, recorded_at)
) PARTITION BY RANGE (recorded_at);

-- Telemetry in the time of a run; occurred_at is "from".
CREATE INDEX system_metrics_occurred ON system_metrics (tenant_id, occurred_at, log_no, leaf_index);
CREATE INDEX system_metrics_run ON system_metrics (tenant_id, run_id, log_no, leaf_index) WHERE run_id IS NOT NULL;

CREATE TABLE audit_ledger (
	tenant_id text COLLATE "C" NOT NULL,
	log_no bigint NOT NULL,
	leaf_index bigint NOT NULL,
	recorded_at bigint NOT NULL,
	occurred_at bigint NOT NULL,
	run_id text COLLATE "C",
	n bigint,
	sealed_segment bigint,
	actor_segment bigint,
	about_run text COLLATE "C",
	actor_type text COLLATE "C",
	agent_id text COLLATE "C",
	byte_count bigint,
	conflict_of text COLLATE "C",
	correlation_id text COLLATE "C",
	credential_id text COLLATE "C",
	decision text COLLATE "C",
	entity_id text COLLATE "C",
	entity_type text COLLATE "C",
	event_type text COLLATE "C",
	incident_ids text COLLATE "C", -- JSON array
	is_synthetic bigint,
	limit_id text COLLATE "C",
	limit_unit text COLLATE "C",
	limit_value text COLLATE "C",
	observed_value text COLLATE "C",
	origin text COLLATE "C",
	policy_id text COLLATE "C",
	policy_ids text COLLATE "C", -- JSON array
	producer text COLLATE "C",
	producer_seq bigint,
	record_count bigint,
	roles text COLLATE "C", -- JSON array
	route text COLLATE "C",
	rule_id text COLLATE "C",
	source_component text COLLATE "C",
	source_domain text COLLATE "C",
	status_code bigint,
	synthetic_scenario_id text COLLATE "C",
	system_id text COLLATE "C",
	valid_from bigint,
	valid_until bigint,
	PRIMARY KEY (tenant_id, log_no, leaf_index, recorded_at)
) PARTITION BY RANGE (recorded_at);

CREATE INDEX idx_audit_ledger_tenant_created ON audit_ledger (tenant_id, recorded_at DESC);
-- Policy events of a replay window.
CREATE INDEX audit_ledger_occurred ON audit_ledger (tenant_id, occurred_at, log_no, leaf_index);
-- Governance binds to a run by run id or correlation id; looks at a run and
-- orders about it by about_run.
CREATE INDEX audit_ledger_run ON audit_ledger (tenant_id, run_id, log_no, leaf_index) WHERE run_id IS NOT NULL;
CREATE INDEX audit_ledger_about_run ON audit_ledger (tenant_id, about_run, log_no, leaf_index) WHERE about_run IS NOT NULL;
CREATE INDEX audit_ledger_correlation ON audit_ledger (tenant_id, correlation_id, log_no, leaf_index)
	WHERE correlation_id IS NOT NULL;

CREATE TABLE log_exports (
	tenant_id text COLLATE "C" NOT NULL,
	log_no bigint NOT NULL,
	leaf_index bigint NOT NULL,
	recorded_at bigint NOT NULL,
	occurred_at bigint NOT NULL,
	run_id text COLLATE "C",
	n bigint,
	sealed_segment bigint,
	actor_segment bigint,
	about_run text COLLATE "C",
	actor_type text COLLATE "C",
	agent_id text COLLATE "C",
	checksum text COLLATE "C",
	compliance_tags text COLLATE "C", -- JSON array
	conflict_of text COLLATE "C",
	correlation_id text COLLATE "C",
	delivered_at bigint,
	export_id text COLLATE "C",
	format text COLLATE "C",
	"from" bigint,
	incident_ids text COLLATE "C", -- JSON array
	is_synthetic bigint,
	manifest text COLLATE "C",
	origin text COLLATE "C",
	policy_ids text COLLATE "C", -- JSON array
	producer text COLLATE "C",
	producer_seq bigint,
	record_count bigint,
	retention_class text COLLATE "C",
	scope text COLLATE "C",
	size_bytes bigint,
	source_component text COLLATE "C",
	source_domain text COLLATE "C",
	status text COLLATE "C",
	synthetic_scenario_id text COLLATE "C",
	system_id text COLLATE "C",
	until bigint,
	PRIMARY KEY (tenant_id, log_no, leaf_index, recorded_at)
) PARTITION BY RANGE (recorded_at);

CREATE INDEX idx_log_exports_tenant_created ON log_exports (tenant_id, recorded_at DESC);
-- The newest row of an export is its state.
CREATE INDEX log_exports_id ON log_exports (tenant_id, export_id, log_no, leaf_index);
CREATE INDEX log_exports_about_run ON log_exports (tenant_id, about_run, log_no, leaf_index) WHERE about_run IS NOT NULL;
