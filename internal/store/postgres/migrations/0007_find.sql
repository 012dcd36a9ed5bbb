-- Finding: the lists of the three topics newest first, by each of their
-- filters, and windows of time.
--
-- An index on (tenant_id, col, log_no, leaf_index) holds a tenant's records of
-- one value in the order in which they are listed. So the list of a value is
-- that index backwards, merged over the partitions, and a further page is a
-- place in it. In SQLite the position follows the columns of every index by
-- itself; here it is named. A value that is frequent would be found by walking
-- back through the table too; one that is rare, or that has not come for long
-- (TIMEOUT, CRITICAL, a model that is no longer used), would make such a walk
-- read everything. Records that lack the value are left out where that is usual.
--
-- Steps and events get no index: the speed of ingest is decided there, and
-- what is asked of them is asked of one run or trace (0002, 0005).

-- Lists of runs, by each filter. By run, correlation and time: 0002.
CREATE INDEX llm_run_records_trace ON llm_run_records (tenant_id, trace_id, log_no, leaf_index) WHERE trace_id IS NOT NULL;
CREATE INDEX llm_run_records_conversation ON llm_run_records (tenant_id, conversation_id, log_no, leaf_index)
	WHERE conversation_id IS NOT NULL;
CREATE INDEX llm_run_records_agent ON llm_run_records (tenant_id, agent_id, log_no, leaf_index) WHERE agent_id IS NOT NULL;
CREATE INDEX llm_run_records_model ON llm_run_records (tenant_id, model, log_no, leaf_index) WHERE model IS NOT NULL;
CREATE INDEX llm_run_records_provider ON llm_run_records (tenant_id, provider, log_no, leaf_index) WHERE provider IS NOT NULL;
CREATE INDEX llm_run_records_status ON llm_run_records (tenant_id, execution_status, log_no, leaf_index);
CREATE INDEX llm_run_records_outcome ON llm_run_records (tenant_id, outcome, log_no, leaf_index);
-- Observers see synthetic records alone, others none of them: either may be
-- the rare ones.
CREATE INDEX llm_run_records_synthetic ON llm_run_records (tenant_id, is_synthetic, log_no, leaf_index);
-- A list shows the newest revision of a run. Which records are not it is known
-- by the later ones, in run_revisions, and those are few.
CREATE INDEX run_revisions_later ON run_revisions (tenant_id, run_id, revision) WHERE revision > 1;

-- Lists of system records, by each filter, and responsibility. Which
-- components there are is read off the first, too.
CREATE INDEX system_records_component ON system_records (tenant_id, component, log_no, leaf_index);
CREATE INDEX system_records_event ON system_records (tenant_id, event_type, log_no, leaf_index);
CREATE INDEX system_records_severity ON system_records (tenant_id, severity, log_no, leaf_index);
CREATE INDEX system_records_cause ON system_records (tenant_id, caused_by, log_no, leaf_index) WHERE caused_by IS NOT NULL;
CREATE INDEX system_records_synthetic ON system_records (tenant_id, is_synthetic, log_no, leaf_index);
-- The system's records that all tenants may see.
CREATE INDEX system_records_visibility ON system_records (tenant_id, visibility, log_no, leaf_index);
-- Baseline of a run: of each component the last start or change before it,
-- however many health checks came since.
CREATE INDEX system_records_baseline ON system_records (tenant_id, component, event_type, occurred_at, log_no, leaf_index);

-- Lists of audit entries, by each filter: identity, authorization, access by
-- event type; the acting one by agent, system or the sealed index.
CREATE INDEX audit_ledger_entity ON audit_ledger (tenant_id, entity_id, log_no, leaf_index);
CREATE INDEX audit_ledger_agent ON audit_ledger (tenant_id, agent_id, log_no, leaf_index) WHERE agent_id IS NOT NULL;
CREATE INDEX audit_ledger_system ON audit_ledger (tenant_id, system_id, log_no, leaf_index) WHERE system_id IS NOT NULL;
CREATE INDEX audit_ledger_event ON audit_ledger (tenant_id, event_type, log_no, leaf_index);
CREATE INDEX audit_ledger_entity_type ON audit_ledger (tenant_id, entity_type, log_no, leaf_index);
CREATE INDEX audit_ledger_actor_type ON audit_ledger (tenant_id, actor_type, log_no, leaf_index);
CREATE INDEX audit_ledger_synthetic ON audit_ledger (tenant_id, is_synthetic, log_no, leaf_index);
-- Policy events of a replay window, among millions of looks at the log.
CREATE INDEX audit_ledger_window ON audit_ledger (tenant_id, entity_type, occurred_at, log_no, leaf_index);

-- A list between two times, newest first. Positions follow the time of
-- recording, which is near that of occurrence and no more, so a walk back has
-- to know where records of the range may stand. A stretch is 16,384 leaves:
-- these tell with one search whether it has such a record, and the walk leaps
-- over those that have none, wherever the range lies and however long the log is.
CREATE INDEX llm_run_records_stretch ON llm_run_records (tenant_id, log_no, (leaf_index >> 14), occurred_at);
CREATE INDEX system_records_stretch ON system_records (tenant_id, log_no, (leaf_index >> 14), occurred_at);
CREATE INDEX audit_ledger_stretch ON audit_ledger (tenant_id, log_no, (leaf_index >> 14), occurred_at);

-- The run of a trace id. Where the run is named after its trace, as always
-- under OpenTelemetry, its trace record is found by the run, and this is empty.
CREATE INDEX aos_traces_other_run ON aos_traces (tenant_id, trace_id) WHERE run_id <> trace_id;

-- A tenant's RUNNING runs, whatever other tenants have open.
CREATE INDEX run_states_running ON run_states (tenant_id, first_seen) WHERE open AND revision = 0;
