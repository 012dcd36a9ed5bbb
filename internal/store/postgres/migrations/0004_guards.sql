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
-- removal, RL003 taken, fixed or removed before, RL004 a log never shrinks, RL005
-- too young to expire, RL006 held.
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
	'record_ids', 'spans', 'run_revisions', 'log_months', 'removals', 'expired_partitions']) AS t;

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
RETURNS TABLE (removed_log bigint, removed_no bigint, removed_at bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
	INSERT INTO removals (tenant_id, what, log_no, ref, id, name, by_log, by_leaf)
		SELECT tenant, 'segment', s.log_no, s.no, s.id, '', order_log, order_leaf
		FROM sealed_segments AS s JOIN unnest(logs, numbers) AS u (log_no, no) ON s.log_no = u.log_no AND s.no = u.no
		WHERE s.tenant_id = tenant
		ON CONFLICT DO NOTHING;
	RETURN QUERY DELETE FROM sealed_segments AS s USING unnest(logs, numbers) AS u (log_no, no)
		WHERE s.tenant_id = tenant AND s.log_no = u.log_no AND s.no = u.no
		RETURNING s.log_no, s.no, s.recorded_at;
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

-- What was taken away in another store of the same deployment, for a copy of it:
-- written down, so that it does not come here. The order is checked as ever.
CREATE FUNCTION runledger_keep_removals(tenant text, whats text[], logs bigint[], refs bigint[], ids bytea[], names text[], order_logs bigint[], order_leaves bigint[])
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
	INSERT INTO removals (tenant_id, what, log_no, ref, id, name, by_log, by_leaf)
		SELECT tenant, u.what, u.log_no, u.ref, u.id, u.name, u.by_log, u.by_leaf
		FROM unnest(whats, logs, refs, ids, names, order_logs, order_leaves)
			AS u (what, log_no, ref, id, name, by_log, by_leaf)
		ON CONFLICT DO NOTHING;
END $$;

-- The tables that have a partition for each month of recorded_at.
CREATE FUNCTION runledger_partitioned() RETURNS text[] LANGUAGE sql IMMUTABLE AS $$
	SELECT ARRAY['llm_run_records', 'aos_traces', 'aos_trace_steps', 'aos_trace_events',
		'system_records', 'system_metrics', 'audit_ledger', 'log_exports', 'sealed_segments']
$$;

-- Makes the partitions for the months from first to last, and says how many tables
-- that made. A partition is made by itself and then attached, which takes no lock
-- that a reader or writer of the parent waits for. One caller at a time: the lock
-- is one that nothing but this and expiry takes.
--
-- The settings are a distributed database's, and nobody's elsewhere: triggers
-- have to be allowed, and a partition gets its shards over one connection.
CREATE FUNCTION runledger_ensure_partitions(first date, last date)
RETURNS integer LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
	day_us constant bigint := 86400000000;
	epoch constant date := make_date(1970, 1, 1);
	month date := make_date(extract(year FROM first)::integer, extract(month FROM first)::integer, 1);
	next date;
	number bigint; -- of the month
	parent text;
	partition text;
	made integer := 0;
BEGIN
	IF first < make_date(1, 1, 1) OR last > make_date(9999, 12, 31) OR last > first + 3660 THEN
		RAISE EXCEPTION 'partitions from % to %: out of range', first, last USING ERRCODE = '22023';
	END IF;
	PERFORM set_config('citus.enable_unsafe_triggers', 'on', true);
	PERFORM set_config('citus.multi_shard_modify_mode', 'sequential', true);
	LOCK TABLE llm_run_records IN SHARE UPDATE EXCLUSIVE MODE;
	WHILE month <= last LOOP
		next := (month + interval '1 month')::date;
		number := extract(year FROM month) * 12 + extract(month FROM month) - 1;
		FOREACH parent IN ARRAY runledger_partitioned() LOOP
			partition := parent || '_p' || to_char(month, 'YYYYMM');
			CONTINUE WHEN to_regclass(quote_ident(partition)) IS NOT NULL OR EXISTS (SELECT 1 FROM expired_partitions AS e
				WHERE e.relation = parent AND e.month = number);
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

-- Removes the partition of a table and month, and returns how many rows went with
-- it, or null where it is gone already. The month must have ended before the day
-- given, and that day not lie ahead. Each tenant that has rows in it must have a
-- RetentionApplied that names the table (entity_id) and a time that covers the
-- month (valid_from, valid_until), and no legal hold that was not released: which
-- rows one means is not known here. Rows that must stay are moved before.
--
-- What is dropped is no longer guarded from the moment it is detached, so both
-- happen here, in one transaction, behind locks: none may write to the partition
-- while it is looked at, and none read it while it goes.
CREATE FUNCTION runledger_expire_partition(relation text, month date, before date)
RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
#variable_conflict use_variable
DECLARE
	day_us constant bigint := 86400000000;
	epoch constant date := make_date(1970, 1, 1);
	next constant date := (month + interval '1 month')::date;
	number constant bigint := extract(year FROM month) * 12 + extract(month FROM month) - 1;
	partition constant text := relation || '_p' || to_char(month, 'YYYYMM');
	tenant text;
	n bigint;
	tenants bigint := 0;
	total bigint := 0;
BEGIN
	IF relation IS NULL OR month IS NULL OR before IS NULL OR NOT relation = ANY (runledger_partitioned()) OR extract(day FROM month) <> 1 THEN
		RAISE EXCEPTION 'no partition of % for %', relation, month USING ERRCODE = '22023';
	ELSIF next > before OR before > (now() AT TIME ZONE 'UTC')::date THEN
		RAISE EXCEPTION '% is younger than %', partition, before USING ERRCODE = 'RL005';
	END IF;
	PERFORM set_config('citus.multi_shard_modify_mode', 'sequential', true);
	LOCK TABLE llm_run_records IN SHARE UPDATE EXCLUSIVE MODE;
	IF to_regclass(quote_ident(partition)) IS NULL THEN
		RETURN NULL;
	END IF;
	EXECUTE format('LOCK TABLE %I IN SHARE ROW EXCLUSIVE MODE', partition);
	FOR tenant, n IN EXECUTE format('SELECT tenant_id, count(*) FROM %I GROUP BY tenant_id', partition) LOOP
		IF NOT EXISTS (SELECT 1 FROM audit_ledger AS a WHERE a.tenant_id = tenant AND a.event_type = 'RetentionApplied'
				AND a.entity_type = 'RETENTION' AND a.entity_id = relation
				AND a.valid_from <= (month - epoch) * day_us AND a.valid_until >= (next - epoch) * day_us) THEN
			RAISE EXCEPTION '%: no record of tenant % orders its expiry', partition, tenant USING ERRCODE = 'RL002';
		ELSIF EXISTS (SELECT 1 FROM audit_ledger AS h WHERE h.tenant_id = tenant AND h.event_type = 'LegalHoldPlaced'
				AND NOT EXISTS (SELECT 1 FROM audit_ledger AS r WHERE r.tenant_id = tenant AND r.event_type = 'LegalHoldReleased'
					AND r.entity_id = h.entity_id AND (r.log_no, r.leaf_index) > (h.log_no, h.leaf_index))) THEN
			RAISE EXCEPTION '%: tenant % has a legal hold', partition, tenant USING ERRCODE = 'RL006';
		END IF;
		tenants := tenants + 1;
		total := total + n;
	END LOOP;
	EXECUTE format('ALTER TABLE %I DETACH PARTITION %I', relation, partition);
	EXECUTE format('DROP TABLE %I', partition);
	INSERT INTO expired_partitions (relation, month, tenants, row_count, expired_at)
		VALUES (relation, number, tenants, total, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint);
	RETURN total;
END $$;

REVOKE ALL ON FUNCTION runledger_refuse(), runledger_guard_truncate(text), runledger_guard_evidence(text),
	runledger_guard_removals(), runledger_guard_segments(), runledger_guard_keys(), runledger_guard_index(),
	runledger_guard_heads(),
	runledger_remove_segments(text, bigint, bigint, bigint[], bigint[]),
	runledger_remove_keys(text, bigint, bigint, bytea[]),
	runledger_remove_index(text, bigint, bigint, text[], bytea[], bigint[], bigint[]),
	runledger_keep_removals(text, text[], bigint[], bigint[], bytea[], text[], bigint[], bigint[]),
	runledger_partitioned(), runledger_ensure_partitions(date, date), runledger_expire_partition(text, date, date)
FROM PUBLIC;
