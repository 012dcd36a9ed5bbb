-- The database itself refuses mutation. Evidence: no UPDATE, no DELETE, no
-- way round by INSERT OR REPLACE, whose deletions fire delete triggers only
-- where a connection has recursive_triggers on, so an insert over an existing
-- key is refused too. Sealed content: the same, but for a DELETE that
-- removals names. Heads: no way back.
--
-- Someone who may alter the schema can drop a trigger; Store.Guards reports
-- that, and the signed log shows what was done behind it.

CREATE TRIGGER guard_tenants_update BEFORE UPDATE ON tenants
BEGIN SELECT RAISE(ABORT, 'tenants is append-only: update refused'); END;
CREATE TRIGGER guard_tenants_delete BEFORE DELETE ON tenants
BEGIN SELECT RAISE(ABORT, 'tenants is append-only: delete refused'); END;
CREATE TRIGGER guard_tenants_replace BEFORE INSERT ON tenants
WHEN EXISTS (SELECT 1 FROM tenants WHERE tenant_no = NEW.tenant_no)
	OR EXISTS (SELECT 1 FROM tenants WHERE tenant_id = NEW.tenant_id)
BEGIN SELECT RAISE(ABORT, 'tenants: row exists'); END;

CREATE TRIGGER guard_logs_update BEFORE UPDATE ON logs
BEGIN SELECT RAISE(ABORT, 'logs is append-only: update refused'); END;
CREATE TRIGGER guard_logs_delete BEFORE DELETE ON logs
BEGIN SELECT RAISE(ABORT, 'logs is append-only: delete refused'); END;
CREATE TRIGGER guard_logs_replace BEFORE INSERT ON logs
WHEN EXISTS (SELECT 1 FROM logs WHERE log_key = NEW.log_key)
	OR EXISTS (SELECT 1 FROM logs WHERE tenant_no = NEW.tenant_no AND log_no = NEW.log_no)
	OR EXISTS (SELECT 1 FROM logs WHERE origin = NEW.origin)
BEGIN SELECT RAISE(ABORT, 'logs: row exists'); END;

CREATE TRIGGER guard_names_update BEFORE UPDATE ON names
BEGIN SELECT RAISE(ABORT, 'names is append-only: update refused'); END;
CREATE TRIGGER guard_names_delete BEFORE DELETE ON names
BEGIN SELECT RAISE(ABORT, 'names is append-only: delete refused'); END;
CREATE TRIGGER guard_names_replace BEFORE INSERT ON names
WHEN EXISTS (SELECT 1 FROM names WHERE name_no = NEW.name_no)
	OR EXISTS (SELECT 1 FROM names WHERE text = NEW.text)
BEGIN SELECT RAISE(ABORT, 'names: row exists'); END;

CREATE TRIGGER guard_spine_update BEFORE UPDATE ON spine
BEGIN SELECT RAISE(ABORT, 'spine is append-only: update refused'); END;
CREATE TRIGGER guard_spine_delete BEFORE DELETE ON spine
BEGIN SELECT RAISE(ABORT, 'spine is append-only: delete refused'); END;
CREATE TRIGGER guard_spine_replace BEFORE INSERT ON spine
WHEN EXISTS (SELECT 1 FROM spine WHERE spine_no = NEW.spine_no)
	OR EXISTS (SELECT 1 FROM spine WHERE tenant_no = NEW.tenant_no AND text = NEW.text)
BEGIN SELECT RAISE(ABORT, 'spine: row exists'); END;

CREATE TRIGGER guard_leaf_segments_update BEFORE UPDATE ON leaf_segments
BEGIN SELECT RAISE(ABORT, 'leaf_segments is append-only: update refused'); END;
CREATE TRIGGER guard_leaf_segments_delete BEFORE DELETE ON leaf_segments
BEGIN SELECT RAISE(ABORT, 'leaf_segments is append-only: delete refused'); END;
CREATE TRIGGER guard_leaf_segments_replace BEFORE INSERT ON leaf_segments
WHEN EXISTS (SELECT 1 FROM leaf_segments WHERE row = NEW.row)
BEGIN SELECT RAISE(ABORT, 'leaf_segments: row exists'); END;

CREATE TRIGGER guard_tiles_update BEFORE UPDATE ON tiles
BEGIN SELECT RAISE(ABORT, 'tiles is append-only: update refused'); END;
CREATE TRIGGER guard_tiles_delete BEFORE DELETE ON tiles
BEGIN SELECT RAISE(ABORT, 'tiles is append-only: delete refused'); END;
CREATE TRIGGER guard_tiles_replace BEFORE INSERT ON tiles
WHEN EXISTS (SELECT 1 FROM tiles WHERE row = NEW.row)
BEGIN SELECT RAISE(ABORT, 'tiles: row exists'); END;

CREATE TRIGGER guard_checkpoints_update BEFORE UPDATE ON checkpoints
BEGIN SELECT RAISE(ABORT, 'checkpoints is append-only: update refused'); END;
CREATE TRIGGER guard_checkpoints_delete BEFORE DELETE ON checkpoints
BEGIN SELECT RAISE(ABORT, 'checkpoints is append-only: delete refused'); END;
CREATE TRIGGER guard_checkpoints_replace BEFORE INSERT ON checkpoints
WHEN EXISTS (SELECT 1 FROM checkpoints WHERE row = NEW.row)
BEGIN SELECT RAISE(ABORT, 'checkpoints: row exists'); END;

CREATE TRIGGER guard_record_ids_update BEFORE UPDATE ON record_ids
BEGIN SELECT RAISE(ABORT, 'record_ids is append-only: update refused'); END;
CREATE TRIGGER guard_record_ids_delete BEFORE DELETE ON record_ids
BEGIN SELECT RAISE(ABORT, 'record_ids is append-only: delete refused'); END;
CREATE TRIGGER guard_record_ids_replace BEFORE INSERT ON record_ids
WHEN EXISTS (SELECT 1 FROM record_ids WHERE tenant_no = NEW.tenant_no AND id = NEW.id)
BEGIN SELECT RAISE(ABORT, 'record_ids: row exists'); END;

CREATE TRIGGER guard_removals_update BEFORE UPDATE ON removals
BEGIN SELECT RAISE(ABORT, 'removals is append-only: update refused'); END;
CREATE TRIGGER guard_removals_delete BEFORE DELETE ON removals
BEGIN SELECT RAISE(ABORT, 'removals is append-only: delete refused'); END;

CREATE TRIGGER guard_r_llm_run_update BEFORE UPDATE ON r_llm_run
BEGIN SELECT RAISE(ABORT, 'r_llm_run is append-only: update refused'); END;
CREATE TRIGGER guard_r_llm_run_delete BEFORE DELETE ON r_llm_run
BEGIN SELECT RAISE(ABORT, 'r_llm_run is append-only: delete refused'); END;
CREATE TRIGGER guard_r_llm_run_replace BEFORE INSERT ON r_llm_run
WHEN EXISTS (SELECT 1 FROM r_llm_run WHERE row = NEW.row)
	OR EXISTS (SELECT 1 FROM r_llm_run WHERE run_no = NEW.run_no AND revision = NEW.revision AND conflict_of IS NULL AND NEW.conflict_of IS NULL)
BEGIN SELECT RAISE(ABORT, 'r_llm_run: row exists'); END;

CREATE TRIGGER guard_r_trace_update BEFORE UPDATE ON r_trace
BEGIN SELECT RAISE(ABORT, 'r_trace is append-only: update refused'); END;
CREATE TRIGGER guard_r_trace_delete BEFORE DELETE ON r_trace
BEGIN SELECT RAISE(ABORT, 'r_trace is append-only: delete refused'); END;
CREATE TRIGGER guard_r_trace_replace BEFORE INSERT ON r_trace
WHEN EXISTS (SELECT 1 FROM r_trace WHERE row = NEW.row)
BEGIN SELECT RAISE(ABORT, 'r_trace: row exists'); END;

CREATE TRIGGER guard_r_trace_step_update BEFORE UPDATE ON r_trace_step
BEGIN SELECT RAISE(ABORT, 'r_trace_step is append-only: update refused'); END;
CREATE TRIGGER guard_r_trace_step_delete BEFORE DELETE ON r_trace_step
BEGIN SELECT RAISE(ABORT, 'r_trace_step is append-only: delete refused'); END;
CREATE TRIGGER guard_r_trace_step_replace BEFORE INSERT ON r_trace_step
WHEN EXISTS (SELECT 1 FROM r_trace_step WHERE row = NEW.row)
	OR EXISTS (SELECT 1 FROM r_trace_step WHERE trace_id = NEW.trace_id AND span_id = NEW.span_id AND conflict_of IS NULL AND NEW.conflict_of IS NULL)
BEGIN SELECT RAISE(ABORT, 'r_trace_step: row exists'); END;

CREATE TRIGGER guard_r_trace_event_update BEFORE UPDATE ON r_trace_event
BEGIN SELECT RAISE(ABORT, 'r_trace_event is append-only: update refused'); END;
CREATE TRIGGER guard_r_trace_event_delete BEFORE DELETE ON r_trace_event
BEGIN SELECT RAISE(ABORT, 'r_trace_event is append-only: delete refused'); END;
CREATE TRIGGER guard_r_trace_event_replace BEFORE INSERT ON r_trace_event
WHEN EXISTS (SELECT 1 FROM r_trace_event WHERE row = NEW.row)
BEGIN SELECT RAISE(ABORT, 'r_trace_event: row exists'); END;

CREATE TRIGGER guard_r_system_update BEFORE UPDATE ON r_system
BEGIN SELECT RAISE(ABORT, 'r_system is append-only: update refused'); END;
CREATE TRIGGER guard_r_system_delete BEFORE DELETE ON r_system
BEGIN SELECT RAISE(ABORT, 'r_system is append-only: delete refused'); END;
CREATE TRIGGER guard_r_system_replace BEFORE INSERT ON r_system
WHEN EXISTS (SELECT 1 FROM r_system WHERE row = NEW.row)
BEGIN SELECT RAISE(ABORT, 'r_system: row exists'); END;

CREATE TRIGGER guard_r_metric_update BEFORE UPDATE ON r_metric
BEGIN SELECT RAISE(ABORT, 'r_metric is append-only: update refused'); END;
CREATE TRIGGER guard_r_metric_delete BEFORE DELETE ON r_metric
BEGIN SELECT RAISE(ABORT, 'r_metric is append-only: delete refused'); END;
CREATE TRIGGER guard_r_metric_replace BEFORE INSERT ON r_metric
WHEN EXISTS (SELECT 1 FROM r_metric WHERE row = NEW.row)
BEGIN SELECT RAISE(ABORT, 'r_metric: row exists'); END;

CREATE TRIGGER guard_r_audit_update BEFORE UPDATE ON r_audit
BEGIN SELECT RAISE(ABORT, 'r_audit is append-only: update refused'); END;
CREATE TRIGGER guard_r_audit_delete BEFORE DELETE ON r_audit
BEGIN SELECT RAISE(ABORT, 'r_audit is append-only: delete refused'); END;
CREATE TRIGGER guard_r_audit_replace BEFORE INSERT ON r_audit
WHEN EXISTS (SELECT 1 FROM r_audit WHERE row = NEW.row)
BEGIN SELECT RAISE(ABORT, 'r_audit: row exists'); END;

CREATE TRIGGER guard_r_export_update BEFORE UPDATE ON r_export
BEGIN SELECT RAISE(ABORT, 'r_export is append-only: update refused'); END;
CREATE TRIGGER guard_r_export_delete BEFORE DELETE ON r_export
BEGIN SELECT RAISE(ABORT, 'r_export is append-only: delete refused'); END;
CREATE TRIGGER guard_r_export_replace BEFORE INSERT ON r_export
WHEN EXISTS (SELECT 1 FROM r_export WHERE row = NEW.row)
BEGIN SELECT RAISE(ABORT, 'r_export: row exists'); END;

CREATE TRIGGER guard_sealed_segments_update BEFORE UPDATE ON sealed_segments
BEGIN SELECT RAISE(ABORT, 'sealed_segments is append-only: update refused'); END;
CREATE TRIGGER guard_sealed_segments_delete BEFORE DELETE ON sealed_segments
WHEN NOT EXISTS (SELECT 1 FROM removals WHERE tenant_no = (SELECT tenant_no FROM logs WHERE log_key = OLD.row >> 40)
		AND what = 'segment' AND ref = OLD.row AND id = OLD.id)
BEGIN SELECT RAISE(ABORT, 'sealed_segments: no record orders this removal'); END;
CREATE TRIGGER guard_sealed_segments_replace BEFORE INSERT ON sealed_segments
WHEN EXISTS (SELECT 1 FROM sealed_segments WHERE row = NEW.row)
BEGIN SELECT RAISE(ABORT, 'sealed_segments: row exists'); END;

CREATE TRIGGER guard_sealed_index_update BEFORE UPDATE ON sealed_index
BEGIN SELECT RAISE(ABORT, 'sealed_index is append-only: update refused'); END;
CREATE TRIGGER guard_sealed_index_delete BEFORE DELETE ON sealed_index
WHEN NOT EXISTS (SELECT 1 FROM removals WHERE tenant_no = OLD.tenant_no
		AND what = 'index' AND ref = OLD.row AND id = x'' AND name_no = OLD.name_no)
BEGIN SELECT RAISE(ABORT, 'sealed_index: no record orders this removal'); END;
CREATE TRIGGER guard_sealed_index_replace BEFORE INSERT ON sealed_index
WHEN EXISTS (SELECT 1 FROM sealed_index WHERE tenant_no = NEW.tenant_no AND name_no = NEW.name_no AND mac = NEW.mac AND row = NEW.row)
	OR EXISTS (SELECT 1 FROM sealed_index WHERE trace_no = NEW.trace_no AND name_no = NEW.name_no AND mac = NEW.mac)
BEGIN SELECT RAISE(ABORT, 'sealed_index: row exists'); END;

CREATE TRIGGER guard_data_keys_update BEFORE UPDATE ON data_keys
BEGIN SELECT RAISE(ABORT, 'data_keys is append-only: update refused'); END;
CREATE TRIGGER guard_data_keys_delete BEFORE DELETE ON data_keys
WHEN NOT EXISTS (SELECT 1 FROM removals WHERE tenant_no = OLD.tenant_no
		AND what = 'key' AND ref = 0 AND id = OLD.id)
BEGIN SELECT RAISE(ABORT, 'data_keys: no record orders this removal'); END;
CREATE TRIGGER guard_data_keys_replace BEFORE INSERT ON data_keys
WHEN EXISTS (SELECT 1 FROM data_keys WHERE key_no = NEW.key_no)
	OR EXISTS (SELECT 1 FROM data_keys WHERE tenant_no = NEW.tenant_no AND id = NEW.id)
BEGIN SELECT RAISE(ABORT, 'data_keys: row exists'); END;

-- What was removed does not come back: a commit that was under way when a key
-- was destroyed must not bring it again, nor an old copy of a segment be put
-- in the place of the new one.
CREATE TRIGGER guard_data_keys_removed BEFORE INSERT ON data_keys
WHEN EXISTS (SELECT 1 FROM removals WHERE tenant_no = NEW.tenant_no
		AND what = 'key' AND ref = 0 AND id = NEW.id)
BEGIN SELECT RAISE(ABORT, 'data_keys: the key was removed'); END;
CREATE TRIGGER guard_sealed_segments_removed BEFORE INSERT ON sealed_segments
WHEN EXISTS (SELECT 1 FROM removals WHERE tenant_no = (SELECT tenant_no FROM logs WHERE log_key = NEW.row >> 40)
		AND what = 'segment' AND ref = NEW.row AND id = NEW.id)
BEGIN SELECT RAISE(ABORT, 'sealed_segments: the segment was removed'); END;

-- A removal is ordered by an audit record of the same tenant that says so.
CREATE TRIGGER guard_removals_order BEFORE INSERT ON removals
WHEN NOT EXISTS (SELECT 1 FROM r_audit WHERE row = NEW.by_row AND event_type IN
		(SELECT name_no FROM names WHERE text IN ('ErasureExecuted', 'RetentionApplied')))
	OR NEW.tenant_no IS NOT (SELECT tenant_no FROM logs WHERE log_key = NEW.by_row >> 40)
BEGIN SELECT RAISE(ABORT, 'removals: no record orders this removal'); END;

CREATE TRIGGER guard_heads_update BEFORE UPDATE ON heads
WHEN NEW.log_key IS NOT OLD.log_key OR NEW.size < OLD.size
BEGIN SELECT RAISE(ABORT, 'heads: a log never shrinks'); END;
CREATE TRIGGER guard_heads_delete BEFORE DELETE ON heads
BEGIN SELECT RAISE(ABORT, 'heads: delete refused'); END;
CREATE TRIGGER guard_heads_replace BEFORE INSERT ON heads
WHEN EXISTS (SELECT 1 FROM heads WHERE log_key = NEW.log_key)
BEGIN SELECT RAISE(ABORT, 'heads: row exists'); END;
