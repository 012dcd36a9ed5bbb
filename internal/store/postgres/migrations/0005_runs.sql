-- Putting runs together. A run is open while a record of it has come after
-- its newest llm_run record (or it has none): its end is still to be written.
ALTER TABLE run_states ADD COLUMN open boolean NOT NULL DEFAULT false;
UPDATE run_states SET open = true WHERE revision = 0;
-- Found at start, for all tenants. Closed runs cost nothing here.
CREATE INDEX run_states_open ON run_states (first_seen) WHERE open;

-- All records of a run. Where the run is named after its trace, which is
-- always so for OpenTelemetry, the index by trace finds them; these have the
-- rest, and are empty otherwise.
CREATE INDEX aos_trace_steps_run ON aos_trace_steps (tenant_id, run_id) WHERE run_id <> trace_id;
CREATE INDEX aos_trace_events_other_run ON aos_trace_events (tenant_id, run_id) WHERE run_id <> trace_id;
CREATE INDEX llm_run_records_conflict ON llm_run_records (tenant_id, run_id) WHERE conflict_of IS NOT NULL;

-- A producer's own run id is accepted wherever a run id is.
CREATE INDEX aos_traces_alias ON aos_traces (tenant_id, run_alias, log_no, leaf_index) WHERE run_alias IS NOT NULL;
CREATE INDEX llm_run_records_alias ON llm_run_records (tenant_id, run_alias, log_no, leaf_index)
	WHERE run_alias IS NOT NULL;

-- The runs whose end has not been seen.
CREATE VIEW open_runs AS
	SELECT tenant_id, run_id, next_n AS record_count, next_step AS step_count, revision
	FROM run_states
	WHERE open;
