-- Finding: the lists of the three topics newest first, by each of their
-- filters, and windows of time.
--
-- An index on (row >> 40, col) holds one log's records of one value in the
-- order of their rows, for the row follows the columns of every index. So the
-- list of a value is that index backwards, and a further page is a place in
-- it. A value that is frequent would be found by walking back through the
-- table too; one that is rare, or that has not come for long (TIMEOUT,
-- CRITICAL, a model that is no longer used), would make such a walk read
-- everything. Records that lack the value are left out where that is usual.
--
-- Steps and events get no index: the speed of ingest is decided there, and
-- what is asked of them is asked of one run or trace (0002, 0005).

-- Lists of runs, by each filter. By run, correlation and time: 0002.
CREATE INDEX r_llm_run_trace ON r_llm_run (trace_id) WHERE trace_id IS NOT NULL;
CREATE INDEX r_llm_run_conversation ON r_llm_run (row >> 40, conversation_id)
	WHERE conversation_id IS NOT NULL;
CREATE INDEX r_llm_run_agent ON r_llm_run (row >> 40, agent_id) WHERE agent_id IS NOT NULL;
CREATE INDEX r_llm_run_model ON r_llm_run (row >> 40, model) WHERE model IS NOT NULL;
CREATE INDEX r_llm_run_provider ON r_llm_run (row >> 40, provider) WHERE provider IS NOT NULL;
CREATE INDEX r_llm_run_status ON r_llm_run (row >> 40, execution_status);
CREATE INDEX r_llm_run_outcome ON r_llm_run (row >> 40, outcome);
-- Observers see synthetic records alone, others none of them: either may be
-- the rare ones.
CREATE INDEX r_llm_run_synthetic ON r_llm_run (row >> 40, is_synthetic);
-- A list shows the newest revision of a run. Which records are not it is known
-- by the later ones, and those are few: looking for one here costs a third of
-- what it costs among all revisions.
CREATE INDEX r_llm_run_later ON r_llm_run (run_no, revision)
	WHERE revision > 1 AND conflict_of IS NULL;

-- Lists of system records, by each filter, and responsibility. Which
-- components there are is read off the first, too.
CREATE INDEX r_system_component ON r_system (row >> 40, component);
CREATE INDEX r_system_event ON r_system (row >> 40, event_type);
CREATE INDEX r_system_severity ON r_system (row >> 40, severity);
CREATE INDEX r_system_cause ON r_system (row >> 40, caused_by) WHERE caused_by IS NOT NULL;
CREATE INDEX r_system_synthetic ON r_system (row >> 40, is_synthetic);
-- The system's records that all tenants may see.
CREATE INDEX r_system_visibility ON r_system (row >> 40, visibility);
-- Baseline of a run: of each component the last start or change before it,
-- however many health checks came since.
CREATE INDEX r_system_baseline ON r_system (row >> 40, component, event_type, occurred_at);

-- Lists of audit entries, by each filter: identity, authorization, access by
-- event type; the acting one by agent, system or the sealed index.
CREATE INDEX r_audit_entity ON r_audit (row >> 40, entity_id);
CREATE INDEX r_audit_agent ON r_audit (row >> 40, agent_id) WHERE agent_id IS NOT NULL;
CREATE INDEX r_audit_system ON r_audit (row >> 40, system_id) WHERE system_id IS NOT NULL;
CREATE INDEX r_audit_event ON r_audit (row >> 40, event_type);
CREATE INDEX r_audit_entity_type ON r_audit (row >> 40, entity_type);
CREATE INDEX r_audit_actor_type ON r_audit (row >> 40, actor_type);
CREATE INDEX r_audit_synthetic ON r_audit (row >> 40, is_synthetic);
-- Policy events of a replay window, among millions of looks at the log.
CREATE INDEX r_audit_window ON r_audit (row >> 40, entity_type, occurred_at);

-- A list between two times, newest first. Rows follow the time of recording,
-- which is near that of occurrence and no more, so a walk back has to know
-- where records of the range may stand. A stretch is 16,384 leaves: these tell
-- with one search whether it has such a record, and the walk leaps over those
-- that have none, wherever the range lies and however long the log is.
CREATE INDEX r_llm_run_stretch ON r_llm_run (row >> 14, occurred_at);
CREATE INDEX r_system_stretch ON r_system (row >> 14, occurred_at);
CREATE INDEX r_audit_stretch ON r_audit (row >> 14, occurred_at);

-- The run of a trace id. Where the run is named after its trace, as always
-- under OpenTelemetry, its trace record is found by the run, and this is empty.
CREATE INDEX r_trace_other_run ON r_trace (trace_id) WHERE run_no <> trace_id;

-- A tenant's RUNNING runs, whatever other tenants have open.
ALTER TABLE run_states ADD COLUMN tenant_no INTEGER NOT NULL DEFAULT 0;
UPDATE run_states SET tenant_no = coalesce((SELECT tenant_no FROM spine WHERE spine_no = run_no), 0);
CREATE INDEX run_states_running ON run_states (tenant_no, run_no) WHERE open = 1 AND revision = 0;
