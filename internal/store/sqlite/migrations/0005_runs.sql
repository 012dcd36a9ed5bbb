-- Putting runs together. A run is open while a record of it has come after
-- its newest llm_run record (or it has none): its end is still to be written.
ALTER TABLE run_states ADD COLUMN open INTEGER NOT NULL DEFAULT 0;
UPDATE run_states SET open = 1 WHERE revision = 0;
-- Found at start, and listed as RUNNING. Closed runs cost nothing here.
CREATE INDEX run_states_open ON run_states (run_no) WHERE open = 1;

-- All records of a run. Where the run is named after its trace, which is
-- always so for OpenTelemetry, the index by trace finds them; these have the
-- rest, and are empty otherwise.
CREATE INDEX r_trace_step_run ON r_trace_step (run_no) WHERE run_no <> trace_id;
CREATE INDEX r_trace_event_other_run ON r_trace_event (run_no) WHERE run_no <> trace_id;
CREATE INDEX r_llm_run_conflict ON r_llm_run (run_no) WHERE conflict_of IS NOT NULL;

-- A producer's own run id is accepted wherever a run id is.
CREATE INDEX r_trace_alias ON r_trace (run_alias) WHERE run_alias IS NOT NULL;
CREATE INDEX r_llm_run_alias ON r_llm_run (run_alias) WHERE run_alias IS NOT NULL;

-- The runs whose end has not been seen.
CREATE VIEW open_runs AS
	SELECT t.tenant_id, s.text AS run_id, r.next_n AS record_count, r.next_step AS step_count, r.revision
	FROM run_states AS r
	JOIN spine AS s ON s.spine_no = r.run_no
	JOIN tenants AS t ON t.tenant_no = s.tenant_no
	WHERE r.open = 1;
