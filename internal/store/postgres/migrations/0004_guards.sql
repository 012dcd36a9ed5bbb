-- The database itself refuses mutation. Evidence: no UPDATE, DELETE or
-- TRUNCATE. Sealed content: the same, but for a DELETE that removals names.
-- Heads: no way back. SQLite also has to refuse an insert over an existing key;
-- here that is an UPDATE, or an error.
--
-- Two fences. The role of the application has no right to do any of it
-- (grants are given after the migrations), and triggers stop the owner, too.
-- They are ENABLE ALWAYS: others do not fire under session_replication_role =
-- replica. Row triggers of a partitioned table are cloned to its partitions,
-- those against TRUNCATE are not, so partitions get theirs when they are made.
--
-- Someone who may alter the schema can drop a trigger; Store.Guards reports
-- that, and the signed log shows what was done behind it.
--
-- SQLSTATE of refusals, for names of tables and constraints are not the same on
-- a distributed database: RL001 append-only, RL002 no record orders this
-- removal, RL003 taken, fixed or removed before, RL004 a log never shrinks.
--
-- SET search_path FROM CURRENT: functions see this schema, and neither a
-- temporary table nor an operator of the caller's stands in for one of it.

CREATE FUNCTION runledger_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	RAISE EXCEPTION '% is append-only: % refused', TG_TABLE_NAME, lower(TG_OP) USING ERRCODE = 'RL001';
END $$;

CREATE FUNCTION runledger_guard_truncate(relation text) RETURNS void LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
	EXECUTE format('CREATE TRIGGER guard_truncate BEFORE TRUNCATE ON %I
		FOR EACH STATEMENT EXECUTE FUNCTION runledger_refuse()', relation);
	EXECUTE format('ALTER TABLE %I ENABLE ALWAYS TRIGGER guard_truncate', relation);
END $$;

CREATE FUNCTION runledger_guard_evidence(relation text) RETURNS void LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
	EXECUTE format('CREATE TRIGGER guard_change BEFORE UPDATE OR DELETE ON %I
		FOR EACH ROW EXECUTE FUNCTION runledger_refuse()', relation);
	EXECUTE format('ALTER TABLE %I ENABLE ALWAYS TRIGGER guard_change', relation);
	PERFORM runledger_guard_truncate(relation);
END $$;

SELECT runledger_guard_evidence(t) FROM unnest(ARRAY[
	'llm_run_records', 'aos_traces', 'aos_trace_steps', 'aos_trace_events',
	'system_records', 'system_metrics', 'audit_ledger', 'log_exports',
	'logs', 'origins', 'leaf_segments', 'tiles', 'checkpoints',
	'record_ids', 'spans', 'run_revisions', 'removals']) AS t;

-- A removal is ordered by an audit record of the same tenant that says so.
CREATE FUNCTION runledger_guard_removals() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
	IF NOT EXISTS (SELECT 1 FROM audit_ledger WHERE tenant_id = NEW.tenant_id
			AND log_no = NEW.by_log AND leaf_index = NEW.by_leaf
			AND event_type IN ('ErasureExecuted', 'RetentionApplied')) THEN
		RAISE EXCEPTION 'removals: no record orders this removal' USING ERRCODE = 'RL002';
	END IF;
	RETURN NEW;
END $$;
CREATE TRIGGER guard_order BEFORE INSERT ON removals
	FOR EACH ROW EXECUTE FUNCTION runledger_guard_removals();
ALTER TABLE removals ENABLE ALWAYS TRIGGER guard_order;

-- Sealed content goes only where removals names it, and what was removed does
-- not come back: a commit that was under way when a key was destroyed must not
-- bring it again, nor an old copy of a segment be put in the place of the new one.
CREATE FUNCTION runledger_guard_segments() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
	r sealed_segments := CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
	removed boolean := EXISTS (SELECT 1 FROM removals WHERE tenant_id = r.tenant_id AND what = 'segment'
		AND log_no = r.log_no AND ref = r.no AND id = r.id);
BEGIN
	IF TG_OP = 'DELETE' AND NOT removed THEN
		RAISE EXCEPTION 'sealed_segments: no record orders this removal' USING ERRCODE = 'RL002';
	ELSIF TG_OP = 'INSERT' AND removed THEN
		RAISE EXCEPTION 'sealed_segments: the segment was removed' USING ERRCODE = 'RL003';
	END IF;
	RETURN r;
END $$;
CREATE TRIGGER guard_removal BEFORE INSERT OR DELETE ON sealed_segments
	FOR EACH ROW EXECUTE FUNCTION runledger_guard_segments();

CREATE FUNCTION runledger_guard_keys() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
	r data_keys := CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
	removed boolean := EXISTS (SELECT 1 FROM removals WHERE tenant_id = r.tenant_id AND what = 'key'
		AND log_no = 0 AND ref = 0 AND id = r.id);
BEGIN
	IF TG_OP = 'DELETE' AND NOT removed THEN
		RAISE EXCEPTION 'data_keys: no record orders this removal' USING ERRCODE = 'RL002';
	ELSIF TG_OP = 'INSERT' AND removed THEN
		RAISE EXCEPTION 'data_keys: the key was removed' USING ERRCODE = 'RL003';
	END IF;
	RETURN r;
END $$;
CREATE TRIGGER guard_removal BEFORE INSERT OR DELETE ON data_keys
	FOR EACH ROW EXECUTE FUNCTION runledger_guard_keys();

CREATE FUNCTION runledger_guard_index() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
	IF NOT EXISTS (SELECT 1 FROM removals WHERE tenant_id = OLD.tenant_id AND what = 'index'
			AND log_no = OLD.log_no AND ref = OLD.leaf_index AND id = '' AND name = OLD.name) THEN
		RAISE EXCEPTION 'sealed_index: no record orders this removal' USING ERRCODE = 'RL002';
	END IF;
	RETURN OLD;
END $$;
CREATE TRIGGER guard_removal BEFORE DELETE ON sealed_index
	FOR EACH ROW EXECUTE FUNCTION runledger_guard_index();

DO $$
DECLARE t text;
BEGIN
	FOREACH t IN ARRAY ARRAY['sealed_segments', 'data_keys', 'sealed_index'] LOOP
		EXECUTE format('ALTER TABLE %I ENABLE ALWAYS TRIGGER guard_removal', t);
		EXECUTE format('CREATE TRIGGER guard_change BEFORE UPDATE ON %I
			FOR EACH ROW EXECUTE FUNCTION runledger_refuse()', t);
		EXECUTE format('ALTER TABLE %I ENABLE ALWAYS TRIGGER guard_change', t);
		PERFORM runledger_guard_truncate(t);
	END LOOP;
END $$;

CREATE FUNCTION runledger_guard_heads() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
	IF NEW.tenant_id <> OLD.tenant_id OR NEW.log_no <> OLD.log_no OR NEW.size < OLD.size THEN
		RAISE EXCEPTION 'heads: a log never shrinks' USING ERRCODE = 'RL004';
	END IF;
	RETURN NEW;
END $$;
CREATE TRIGGER guard_shrink BEFORE UPDATE ON heads
	FOR EACH ROW EXECUTE FUNCTION runledger_guard_heads();
CREATE TRIGGER guard_change BEFORE DELETE ON heads
	FOR EACH ROW EXECUTE FUNCTION runledger_refuse();
ALTER TABLE heads ENABLE ALWAYS TRIGGER guard_shrink;
ALTER TABLE heads ENABLE ALWAYS TRIGGER guard_change;
SELECT runledger_guard_truncate('heads');

-- What the application has no right to do itself, it does through these. They
-- write down what is removed by which order, which is what the triggers ask
-- for, and return nothing about what is not there.
CREATE FUNCTION runledger_remove_segments(tenant text, order_log bigint, order_leaf bigint, logs bigint[], numbers bigint[])
RETURNS TABLE (removed_log bigint, removed_no bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
	INSERT INTO removals (tenant_id, what, log_no, ref, id, name, by_log, by_leaf)
		SELECT tenant, 'segment', s.log_no, s.no, s.id, '', order_log, order_leaf
		FROM sealed_segments AS s JOIN unnest(logs, numbers) AS u (log_no, no) ON s.log_no = u.log_no AND s.no = u.no
		WHERE s.tenant_id = tenant
		ON CONFLICT DO NOTHING;
	RETURN QUERY DELETE FROM sealed_segments AS s USING unnest(logs, numbers) AS u (log_no, no)
		WHERE s.tenant_id = tenant AND s.log_no = u.log_no AND s.no = u.no
		RETURNING s.log_no, s.no;
END $$;

-- A key that is not there is written down all the same: it does not come later.
CREATE FUNCTION runledger_remove_keys(tenant text, order_log bigint, order_leaf bigint, ids bytea[])
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
	INSERT INTO removals (tenant_id, what, log_no, ref, id, name, by_log, by_leaf)
		SELECT tenant, 'key', 0, 0, i, '', order_log, order_leaf FROM unnest(ids) AS i
		ON CONFLICT DO NOTHING;
	DELETE FROM data_keys WHERE tenant_id = tenant AND id = ANY (ids);
END $$;

CREATE FUNCTION runledger_remove_index(tenant text, order_log bigint, order_leaf bigint, names text[], macs bytea[], logs bigint[], leaves bigint[])
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
	INSERT INTO removals (tenant_id, what, log_no, ref, id, name, by_log, by_leaf)
		SELECT DISTINCT tenant, 'index', u.log_no, u.leaf_index, ''::bytea, u.name, order_log, order_leaf
		FROM unnest(names, logs, leaves) AS u (name, log_no, leaf_index)
		ON CONFLICT DO NOTHING;
	DELETE FROM sealed_index AS s USING unnest(names, macs, logs, leaves) AS u (name, mac, log_no, leaf_index)
		WHERE s.tenant_id = tenant AND s.name = u.name AND s.mac = u.mac
		AND s.log_no = u.log_no AND s.leaf_index = u.leaf_index;
END $$;

-- Makes the partitions of the topic tables for the months from first to last,
-- and says how many tables that made. A partition is made by itself and then
-- attached, which takes no lock that a reader or writer of the parent waits
-- for. One caller at a time: the lock is one that nothing else here takes.
CREATE FUNCTION runledger_ensure_partitions(first date, last date)
RETURNS integer LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
	day_us constant bigint := 86400000000;
	epoch constant date := make_date(1970, 1, 1);
	month date := make_date(extract(year FROM first)::integer, extract(month FROM first)::integer, 1);
	next date;
	parent text;
	partition text;
	made integer := 0;
BEGIN
	IF first < make_date(1, 1, 1) OR last > make_date(9999, 12, 31) OR last > first + 3660 THEN
		RAISE EXCEPTION 'partitions from % to %: out of range', first, last USING ERRCODE = '22023';
	END IF;
	LOCK TABLE llm_run_records IN SHARE UPDATE EXCLUSIVE MODE;
	WHILE month <= last LOOP
		next := (month + interval '1 month')::date;
		FOREACH parent IN ARRAY ARRAY['llm_run_records', 'aos_traces', 'aos_trace_steps', 'aos_trace_events',
				'system_records', 'system_metrics', 'audit_ledger', 'log_exports'] LOOP
			partition := parent || '_p' || to_char(month, 'YYYYMM');
			CONTINUE WHEN to_regclass(quote_ident(partition)) IS NOT NULL;
			EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE)', partition, parent);
			EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%s) TO (%s)',
				parent, partition, (month - epoch) * day_us, (next - epoch) * day_us);
			PERFORM runledger_guard_truncate(partition);
			made := made + 1;
		END LOOP;
		month := next;
	END LOOP;
	RETURN made;
END $$;

REVOKE ALL ON FUNCTION runledger_refuse(), runledger_guard_truncate(text), runledger_guard_evidence(text),
	runledger_guard_removals(), runledger_guard_segments(), runledger_guard_keys(), runledger_guard_index(),
	runledger_guard_heads(),
	runledger_remove_segments(text, bigint, bigint, bigint[], bigint[]),
	runledger_remove_keys(text, bigint, bigint, bytea[]),
	runledger_remove_index(text, bigint, bigint, text[], bytea[], bigint[], bigint[]),
	runledger_ensure_partitions(date, date)
FROM PUBLIC;
