-- Steps that cost what they remove, and months that go although others share the segments of their content.
--
-- The entries of the index that go with rows were looked for by the numbers of all rows that go: many thousands, for
-- which all entries of the tenant were read, and each compared with all of them. Now it is asked for the entries of a
-- stretch of leaves, and only those that there are are looked up among the rows.
--
-- And an expiry whose rows wait for their partition's drop says when all of their content has gone. Of a segment that
-- was sealed anew for the records that stay nobody could tell before whether it still has something of a row; so a month whose
-- requests had both was planned, was not dropped, and its rows went by DELETE after all. A row may go with its
-- partition by the same condition as by DELETE: its segment is gone, or was sealed anew and the content was removed by a step.

-- As before, but one table after the other: each costs what its partitions cost, before a row is looked for.
CREATE OR REPLACE FUNCTION runledger_guard_index() RETURNS trigger LANGUAGE plpgsql
SET search_path FROM CURRENT SET enable_seqscan = off SET enable_sort = off SET jit = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
	day_us constant bigint := 86400000000;
	epoch constant date := make_date(1970, 1, 1);
	first_at bigint;
	until_at bigint;
	number integer;
	month date;
	r record;
	there boolean;
BEGIN
	IF current_setting('transaction_isolation') <> 'read committed' THEN -- a hold placed meanwhile would not be seen
		RAISE EXCEPTION 'not in a transaction that is %', current_setting('transaction_isolation') USING ERRCODE = '25001';
	END IF;
	IF EXISTS (SELECT 1 FROM removals WHERE tenant_id = OLD.tenant_id AND what = 'index'
			AND log_no = OLD.log_no AND ref = OLD.leaf_index AND id = '' AND name = OLD.name) THEN
		RETURN OLD;
	END IF;
	SELECT m.month INTO number FROM log_months AS m WHERE m.tenant_id = OLD.tenant_id AND m.log_no = OLD.log_no AND m.first <= OLD.leaf_index
		AND m.month BETWEEN 12 AND 119999 ORDER BY m.month DESC LIMIT 1;
	FOR everywhere IN CASE WHEN FOUND THEN 0 ELSE 1 END .. 1 LOOP
		IF everywhere = 1 THEN
			first_at := -9223372036854775808;
			until_at := 9223372036854775807;
		ELSE
			month := make_date(number / 12, number % 12 + 1, 1);
			first_at := (month - epoch) * day_us;
			until_at := ((month + interval '1 month')::date - epoch) * day_us;
		END IF;
		there := false;
		IF OLD.trace_id IS NULL THEN -- those of steps and events have a trace
			SELECT 'llm_run_records' AS topic, recorded_at, occurred_at, run_id, is_synthetic INTO r FROM llm_run_records WHERE tenant_id = OLD.tenant_id AND log_no = OLD.log_no
				AND leaf_index BETWEEN OLD.leaf_index AND OLD.leaf_index AND recorded_at >= first_at AND recorded_at < until_at ORDER BY leaf_index LIMIT 1;
			IF NOT FOUND THEN
				SELECT 'audit_ledger' AS topic, recorded_at, occurred_at, run_id, is_synthetic INTO r FROM audit_ledger WHERE tenant_id = OLD.tenant_id AND log_no = OLD.log_no
					AND leaf_index BETWEEN OLD.leaf_index AND OLD.leaf_index AND recorded_at >= first_at AND recorded_at < until_at ORDER BY leaf_index LIMIT 1;
			END IF;
			IF NOT FOUND THEN
				SELECT 'aos_traces' AS topic, recorded_at, occurred_at, run_id, is_synthetic INTO r FROM aos_traces WHERE tenant_id = OLD.tenant_id AND log_no = OLD.log_no
					AND leaf_index BETWEEN OLD.leaf_index AND OLD.leaf_index AND recorded_at >= first_at AND recorded_at < until_at ORDER BY leaf_index LIMIT 1;
			END IF;
			IF NOT FOUND THEN
				SELECT 'system_records' AS topic, recorded_at, occurred_at, run_id, is_synthetic INTO r FROM system_records WHERE tenant_id = OLD.tenant_id AND log_no = OLD.log_no
					AND leaf_index BETWEEN OLD.leaf_index AND OLD.leaf_index AND recorded_at >= first_at AND recorded_at < until_at ORDER BY leaf_index LIMIT 1;
			END IF;
			IF NOT FOUND THEN
				SELECT 'system_metrics' AS topic, recorded_at, occurred_at, run_id, is_synthetic INTO r FROM system_metrics WHERE tenant_id = OLD.tenant_id AND log_no = OLD.log_no
					AND leaf_index BETWEEN OLD.leaf_index AND OLD.leaf_index AND recorded_at >= first_at AND recorded_at < until_at ORDER BY leaf_index LIMIT 1;
			END IF;
			IF NOT FOUND THEN
				SELECT 'log_exports' AS topic, recorded_at, occurred_at, run_id, is_synthetic INTO r FROM log_exports WHERE tenant_id = OLD.tenant_id AND log_no = OLD.log_no
					AND leaf_index BETWEEN OLD.leaf_index AND OLD.leaf_index AND recorded_at >= first_at AND recorded_at < until_at ORDER BY leaf_index LIMIT 1;
			END IF;
			there := FOUND;
		END IF;
		IF NOT there THEN
			SELECT 'aos_trace_steps' AS topic, recorded_at, occurred_at, run_id, is_synthetic INTO r FROM aos_trace_steps WHERE tenant_id = OLD.tenant_id AND log_no = OLD.log_no
				AND leaf_index BETWEEN OLD.leaf_index AND OLD.leaf_index AND recorded_at >= first_at AND recorded_at < until_at ORDER BY leaf_index LIMIT 1;
			IF NOT FOUND THEN
				SELECT 'aos_trace_events' AS topic, recorded_at, occurred_at, run_id, is_synthetic INTO r FROM aos_trace_events WHERE tenant_id = OLD.tenant_id AND log_no = OLD.log_no
					AND leaf_index BETWEEN OLD.leaf_index AND OLD.leaf_index AND recorded_at >= first_at AND recorded_at < until_at ORDER BY leaf_index LIMIT 1;
			END IF;
			there := FOUND;
		END IF;
		EXIT WHEN there;
	END LOOP;
	IF there AND (NOT EXISTS (SELECT 1 FROM expiries AS e WHERE e.tenant_id = OLD.tenant_id AND e.log_no = OLD.log_no AND e.table_name = r.topic
			AND e.first <= OLD.leaf_index AND e.until > OLD.leaf_index AND e.before > r.recorded_at AND (NOT e.synthetic OR r.is_synthetic = 1))
		OR EXISTS (SELECT 1 FROM holds AS h WHERE h.tenant_id = OLD.tenant_id AND h.released_log IS NULL AND (h.scope = 'tenant'
			OR h.scope = 'time' AND (h.from_at <= r.occurred_at AND r.occurred_at < h.until_at OR h.from_at <= r.recorded_at AND r.recorded_at < h.until_at)
			OR EXISTS (SELECT 1 FROM hold_runs AS p WHERE p.tenant_id = h.tenant_id AND p.run_id = r.run_id AND p.hold_id = h.id)
			OR EXISTS (SELECT 1 FROM hold_records AS p WHERE p.tenant_id = h.tenant_id AND p.log_no = OLD.log_no AND p.leaf_index = OLD.leaf_index AND p.hold_id = h.id)))) THEN
		RAISE EXCEPTION 'sealed_index: no record orders this removal' USING ERRCODE = 'RL002';
	END IF;
	RETURN OLD;
END $$;

-- The content of all rows that it names has gone. Only runledger_expire_rows says so.
ALTER TABLE expiries ADD COLUMN emptied boolean NOT NULL DEFAULT false;

-- As before, but for that column: from false to true, once, and not from the start.
CREATE OR REPLACE FUNCTION runledger_guard_expiries() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT SET enable_seqscan = off SET jit = off AS $$
DECLARE
	class constant text := CASE WHEN NEW.synthetic THEN 'synthetic'
		WHEN NEW.table_name IN ('llm_run_records', 'aos_traces', 'aos_trace_steps', 'aos_trace_events') THEN 'llm_runs'
		WHEN NEW.table_name IN ('system_records', 'system_metrics') THEN 'system_logs'
		WHEN NEW.table_name = 'log_exports' THEN 'log_exports' END;
	days text;
	at numeric := extract(epoch FROM clock_timestamp()) * 1000000;
	ordered bigint;
BEGIN
	IF TG_OP = 'UPDATE' THEN
		IF OLD.done OR OLD.emptied AND NOT NEW.emptied OR NOT (NEW.done OR NEW.emptied AND NOT OLD.emptied) OR (NEW.tenant_id, NEW.log_no, NEW.table_name, NEW.first, NEW.until, NEW.before, NEW.synthetic, NEW.by_log, NEW.by_leaf, NEW.restored)
			IS DISTINCT FROM (OLD.tenant_id, OLD.log_no, OLD.table_name, OLD.first, OLD.until, OLD.before, OLD.synthetic, OLD.by_log, OLD.by_leaf, OLD.restored) THEN
			RAISE EXCEPTION 'expiries is append-only: update refused' USING ERRCODE = 'RL001';
		END IF;
		RETURN NEW;
	END IF;
	IF NEW.emptied OR NEW.done AND NOT NEW.restored THEN
		RAISE EXCEPTION 'expiries: nothing is done before it is ordered' USING ERRCODE = 'RL002';
	END IF;
	SELECT recorded_at INTO ordered FROM audit_ledger WHERE tenant_id = NEW.tenant_id AND log_no = NEW.by_log AND leaf_index = NEW.by_leaf
		AND event_type = 'RetentionApplied' AND entity_type = 'RETENTION' AND entity_id = NEW.table_name AND valid_until = NEW.before
		AND (coalesce(rule_id, '') = 'synthetic') = NEW.synthetic;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'expiries: no record orders this expiry of %', NEW.table_name USING ERRCODE = 'RL002';
	ELSIF NEW.first < 0 OR NEW.until <= NEW.first OR NEW.log_no > NEW.by_log OR NEW.log_no = NEW.by_log AND NEW.until > NEW.by_leaf THEN
		RAISE EXCEPTION 'expiries: leaves % to % of log % are not before the record that orders it', NEW.first, NEW.until, NEW.log_no USING ERRCODE = 'RL002';
	ELSIF NEW.restored AND current_user <> (SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = TG_RELID) THEN
		RAISE EXCEPTION 'expiries: only a copy says that it is one' USING ERRCODE = 'RL002';
	ELSIF NOT NEW.restored AND EXISTS (SELECT 1 FROM holds WHERE tenant_id = NEW.tenant_id AND scope = 'tenant' AND released_log IS NULL) THEN
		RAISE EXCEPTION 'expiries: a legal hold of the whole tenant is in force' USING ERRCODE = 'RL006';
	END IF;
	IF NEW.table_name = 'leaf_segments' THEN
		-- Leaves are no content, and have no age: they go as a prefix, from an archive's
		-- unit to the next.
		IF NEW.synthetic OR NOT EXISTS (SELECT 1 FROM archives WHERE tenant_id = NEW.tenant_id AND log_no = NEW.log_no AND first = NEW.first AND until = NEW.until)
			OR NEW.first <> 0 AND NOT EXISTS (SELECT 1 FROM expiries WHERE tenant_id = NEW.tenant_id AND log_no = NEW.log_no
				AND table_name = 'leaf_segments' AND until = NEW.first) THEN
			RAISE EXCEPTION 'expiries: leaves % to % of log % are no unit of an archive, behind those that went', NEW.first, NEW.until, NEW.log_no USING ERRCODE = 'RL002';
		END IF;
		RETURN NEW;
	ELSIF class IS NULL OR NEW.table_name = 'sealed_segments' OR NOT EXISTS (SELECT 1 FROM pg_class
			WHERE oid = to_regclass(quote_ident(NEW.table_name)) AND relkind = 'p') THEN
		RAISE EXCEPTION 'expiries: the records of % do not expire', NEW.table_name USING ERRCODE = 'RL002';
	END IF;
	SELECT coalesce(limit_value, '') INTO days FROM audit_ledger WHERE tenant_id = NEW.tenant_id AND entity_id = class
		AND event_type = 'RetentionPolicyChanged' AND entity_type = 'RETENTION' AND (NOT NEW.restored OR (log_no, leaf_index) < (NEW.by_log, NEW.by_leaf))
		ORDER BY log_no DESC, leaf_index DESC LIMIT 1;
	IF NOT FOUND THEN
		days := CASE class WHEN 'llm_runs' THEN '90' WHEN 'system_logs' THEN '30' WHEN 'log_exports' THEN '365' ELSE '7' END;
	END IF;
	IF NEW.restored THEN
		at := least(ordered, at + 60000000);
	END IF;
	-- What is no number of days is no permission, nor is less than one.
	IF days !~ '^[0-9]{1,6}$' OR days::numeric < 1 OR NEW.before::numeric + days::numeric * 86400000000 > at THEN
		RAISE EXCEPTION 'expiries: records of % are younger than the % days of class %', NEW.table_name, days, class USING ERRCODE = 'RL005';
	END IF;
	RETURN NEW;
END $$;

-- As before, but for the index; and where rows wait for a drop, their expiries are emptied when the caller has gone through
-- them. While a hold of the tenant is in force none is: what it covers keeps its content, and may be free later.
CREATE OR REPLACE FUNCTION runledger_expire_rows(tenant text, log bigint, tables text[], firsts bigint[], untils bigint[], befores bigint[], synthetics boolean[],
	by_logs bigint[], by_leaves bigint[], start bigint, stop bigint, finished boolean)
RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER
SET search_path FROM CURRENT SET lock_timeout = '2s' SET enable_seqscan = off SET jit = off AS $$
DECLARE
	x record;
	which text; -- rows of a table go
	going bigint[];
	gone bigint;
	segments bigint[]; -- of what is gone
	left_over bigint;
	total bigint := 0;
	holding boolean;
	dropping constant jsonb := (SELECT jsonb_object_agg(d.relation, d.rows) FROM (SELECT p.relation,
		'(' || string_agg(format('r.recorded_at >= %s AND r.recorded_at < %s', p.first_at, p.until_at), ' OR ') || ')' AS rows
		FROM partition_drops AS p GROUP BY p.relation) AS d);
	waits text; -- which rows of a table go with their partition
	of_table text;
BEGIN
	IF current_setting('transaction_isolation') <> 'read committed' THEN -- a hold placed meanwhile would not be seen
		RAISE EXCEPTION 'not in a transaction that is %', current_setting('transaction_isolation') USING ERRCODE = '25001';
	END IF;
	LOCK TABLE holds, hold_runs, hold_records IN SHARE MODE;
	IF EXISTS (SELECT 1 FROM holds AS h WHERE h.tenant_id = tenant AND h.released_log IS NULL AND h.scope = 'tenant') THEN
		RAISE EXCEPTION 'a legal hold of the whole tenant % is in force', tenant USING ERRCODE = 'RL006';
	END IF;
	holding := EXISTS (SELECT 1 FROM holds AS h WHERE h.tenant_id = tenant AND h.released_log IS NULL);
	FOR x IN SELECT u.*, e.log_no IS NOT NULL AS written
			FROM unnest(tables, firsts, untils, befores, synthetics, by_logs, by_leaves) AS u (relation, first, until, before, synthetic, by_log, by_leaf)
			LEFT JOIN expiries AS e ON e.tenant_id = tenant AND e.log_no = log AND e.table_name = u.relation AND e.first = u.first
				AND e.by_log = u.by_log AND e.by_leaf = u.by_leaf AND e.until = u.until AND e.before = u.before AND e.synthetic = u.synthetic LOOP
		IF NOT x.written THEN
			RAISE EXCEPTION 'expiries: leaves % to % of % are not written down so', x.first, x.until, x.relation USING ERRCODE = 'RL002';
		END IF;
		CONTINUE WHEN x.relation = 'leaf_segments' OR greatest(x.first, start) >= least(x.until, stop);
		waits := dropping ->> x.relation;
		which := 'r.tenant_id = $1 AND r.log_no = $2 AND r.leaf_index >= $3 AND r.leaf_index < $4 AND r.recorded_at < $5 AND (NOT $6 OR r.is_synthetic = 1)'
			|| CASE WHEN holding THEN ' AND NOT ' || runledger_held() ELSE '' END;
		-- Planned each time: for the list as it is, which is then looked up and not compared with one by one.
		EXECUTE 'SELECT array_agg(DISTINCT s.leaf_index) FROM sealed_index AS s WHERE s.tenant_id = $1 AND s.log_no = $2 AND s.leaf_index >= $3 AND s.leaf_index < $4'
			INTO going USING tenant, log, greatest(x.first, start), least(x.until, stop);
		IF going IS NOT NULL THEN
			EXECUTE format('SELECT array_agg(r.leaf_index) FROM %I AS r WHERE r.leaf_index = ANY ($7) AND ' || which, x.relation)
				INTO going USING tenant, log, greatest(x.first, start), least(x.until, stop), x.before, x.synthetic, going;
			EXECUTE 'DELETE FROM sealed_index AS s WHERE s.tenant_id = $1 AND s.log_no = $2 AND s.leaf_index >= $3 AND s.leaf_index < $4 AND s.leaf_index = ANY ($5)'
				USING tenant, log, greatest(x.first, start), least(x.until, stop), going;
		END IF;
		EXECUTE format('WITH d AS (DELETE FROM %I AS r WHERE ' || which || coalesce(' AND NOT ' || waits, '') || ' RETURNING r.sealed_segment, r.actor_segment)
				SELECT count(*), array_agg(sealed_segment) || array_agg(actor_segment) FROM d', x.relation)
			INTO gone, segments USING tenant, log, greatest(x.first, start), least(x.until, stop), x.before, x.synthetic;
		total := total + gone;
		SELECT u.no INTO left_over FROM (SELECT DISTINCT unnest(segments)) AS u (no)
			WHERE CASE WHEN (SELECT true FROM removals AS m WHERE m.tenant_id = tenant AND m.what = 'segment' AND m.log_no = log AND m.ref = u.no LIMIT 1) THEN false
				ELSE (SELECT true FROM sealed_segments AS s WHERE s.tenant_id = tenant AND s.log_no = log AND s.no = u.no LIMIT 1) END LIMIT 1;
		IF FOUND THEN
			RAISE EXCEPTION '%: the content of rows is there, in sealed segment % of log %', x.relation, left_over, log USING ERRCODE = 'RL002';
		END IF;
	END LOOP;
	-- Whatever the caller says: rows may wait for a drop that was planned while he went through them. Of
	-- leaves runledger_expire_leaves says it.
	FOREACH of_table IN ARRAY CASE WHEN finished THEN ARRAY(SELECT DISTINCT t FROM unnest(tables) AS t WHERE t <> 'leaf_segments') ELSE '{}' END LOOP
		EXECUTE format('UPDATE expiries AS e SET done = true FROM unnest($4, $5, $6) AS u (first, by_log, by_leaf)
			WHERE e.tenant_id = $1 AND e.log_no = $2 AND e.table_name = $3 AND e.first = u.first AND e.by_log = u.by_log AND e.by_leaf = u.by_leaf
			AND NOT e.done %s', 'AND ' || runledger_rowless(of_table))
			USING tenant, log, of_table, firsts, by_logs, by_leaves;
		IF dropping ? of_table AND NOT holding THEN
			UPDATE expiries AS e SET emptied = true FROM unnest(tables, firsts, by_logs, by_leaves) AS u (relation, first, by_log, by_leaf)
				WHERE e.tenant_id = tenant AND e.log_no = log AND e.table_name = u.relation AND u.relation = of_table AND e.first = u.first
				AND e.by_log = u.by_log AND e.by_leaf = u.by_leaf AND NOT e.done AND NOT e.emptied;
		END IF;
	END LOOP;
	RETURN total;
END $$;

-- As before, but content that was sealed anew for others is not a row's that an emptied expiry names.
DROP FUNCTION runledger_full(text);
CREATE FUNCTION runledger_full(relation text, partition text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
	SELECT '(' || string_agg(format('SELECT f.tenant_id, f.log_no, f.leaf_index FROM %1$I AS f
		JOIN sealed_segments AS s ON s.tenant_id = f.tenant_id AND s.log_no = f.log_no AND s.no = f.%2$I
		WHERE NOT (coalesce((SELECT true FROM expiries AS e WHERE e.tenant_id = f.tenant_id AND e.log_no = f.log_no AND e.table_name = %3$L AND e.emptied
			AND e.first <= f.leaf_index AND e.until > f.leaf_index AND e.before > f.recorded_at AND (NOT e.synthetic OR f.is_synthetic = 1)
			ORDER BY e.first DESC LIMIT 1), false)
		AND coalesce((SELECT true FROM removals AS m WHERE m.tenant_id = s.tenant_id AND m.what = ''segment'' AND m.log_no = s.log_no AND m.ref = s.no LIMIT 1), false))',
		partition, c, relation), ' UNION ') || ')'
	FROM unnest(ARRAY['sealed_segment', 'actor_segment']) AS c
$$;
CREATE OR REPLACE FUNCTION runledger_expire_partition(relation text, month date, before date)
RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT SET enable_nestloop = off SET jit = off AS $$
#variable_conflict use_variable
DECLARE
	day_us constant bigint := 86400000000;
	epoch constant date := make_date(1970, 1, 1);
	next constant date := (month + interval '1 month')::date;
	number constant bigint := extract(year FROM month) * 12 + extract(month FROM month) - 1;
	partition constant text := relation || '_p' || to_char(month, 'YYYYMM');
	rest constant text := partition || '_rest';
	n record;
	filled bigint := 0; -- rows that may go, but for their content
	tenants bigint := 0;
	staying bigint;
	holding bigint[];
BEGIN
	IF current_setting('transaction_isolation') <> 'read committed' THEN -- a hold placed meanwhile would not be seen
		RAISE EXCEPTION 'not in a transaction that is %', current_setting('transaction_isolation') USING ERRCODE = '25001';
	END IF;
	IF relation IS NULL OR month IS NULL OR before IS NULL OR NOT relation = ANY (runledger_partitioned()) OR extract(day FROM month) <> 1 THEN
		RAISE EXCEPTION 'no partition of % for %', relation, month USING ERRCODE = '22023';
	ELSIF next > before OR before > (now() AT TIME ZONE 'UTC')::date THEN
		RAISE EXCEPTION '% is younger than %', partition, before USING ERRCODE = 'RL005';
	END IF;
	PERFORM set_config('citus.enable_unsafe_triggers', 'on', true);
	PERFORM set_config('citus.multi_shard_modify_mode', 'sequential', true);
	LOCK TABLE llm_run_records IN SHARE UPDATE EXCLUSIVE MODE;
	DELETE FROM partition_drops AS d WHERE d.relation = relation AND d.month = number;
	IF to_regclass(quote_ident(partition)) IS NULL THEN
		RETURN NULL;
	END IF;
	EXECUTE format('LOCK TABLE %I IN SHARE ROW EXCLUSIVE MODE', partition);
	holding := ARRAY[(SELECT count(*) FROM holds), (SELECT count(*) FROM hold_runs), (SELECT count(*) FROM hold_records)];
	IF relation = 'sealed_segments' THEN
		EXECUTE format('SELECT count(*) AS total, count(*) AS unnamed, 0::bigint AS held FROM %I', partition) INTO n;
	ELSE
		n := runledger_count_partition(relation, partition);
		EXECUTE format('SELECT count(*) FROM (SELECT r.* FROM %I AS r WHERE (r.tenant_id, r.log_no, r.leaf_index) IN %s OFFSET 0) AS r
			WHERE %s AND NOT %s', partition, runledger_full(relation, partition), runledger_ordered(), runledger_held()) INTO filled USING relation;
		EXECUTE format('SELECT count(*) FROM (SELECT DISTINCT tenant_id FROM %I) AS r', partition) INTO tenants;
	END IF;
	staying := n.unnamed + n.held + filled;
	IF 2 * staying > n.total THEN
		IF n.unnamed + filled = 0 THEN
			RAISE EXCEPTION '%: most of it is under legal holds', partition USING ERRCODE = 'RL006';
		END IF;
		RAISE EXCEPTION '%: of % rows no record orders the expiry of %, and content is there of %', partition, n.total, n.unnamed, filled USING ERRCODE = 'RL002';
	END IF;
	IF number >= coalesce((SELECT max(m.month) FROM log_months AS m), 0) THEN
		RAISE EXCEPTION '%: no log has records of a later month', partition USING ERRCODE = 'RL005';
	END IF;
	IF staying > 0 THEN
		EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE INCLUDING INDEXES)', rest, partition);
		-- One statement: content that goes between two would make a row stay twice, or not at all.
		EXECUTE format('INSERT INTO %I SELECT r.* FROM %I AS r LEFT JOIN %s AS f ON f.tenant_id = r.tenant_id AND f.log_no = r.log_no AND f.leaf_index = r.leaf_index
			WHERE f.leaf_index IS NOT NULL OR NOT %s OR %s', rest, partition, runledger_full(relation, partition), runledger_ordered(), runledger_held()) USING relation;
		EXECUTE format('ALTER TABLE %I ADD CONSTRAINT of_month CHECK (recorded_at >= %s AND recorded_at < %s)', rest, (month - epoch) * day_us, (next - epoch) * day_us);
	END IF;
	IF n.total > staying THEN
		EXECUTE format('DELETE FROM sealed_index AS s USING %I AS r WHERE s.tenant_id = r.tenant_id AND s.log_no = r.log_no AND s.leaf_index = r.leaf_index %s', partition,
			CASE WHEN staying > 0 THEN format('AND NOT EXISTS (SELECT 1 FROM %I AS x WHERE x.tenant_id = r.tenant_id AND x.log_no = r.log_no AND x.leaf_index = r.leaf_index)', rest) END);
	END IF;
	EXECUTE format('ALTER TABLE %I DETACH PARTITION %I', relation, partition);
	LOCK TABLE holds, hold_runs, hold_records IN SHARE MODE;
	IF holding <> ARRAY[(SELECT count(*) FROM holds), (SELECT count(*) FROM hold_runs), (SELECT count(*) FROM hold_records)] THEN
		RAISE EXCEPTION '%: a legal hold was placed meanwhile', partition USING ERRCODE = '40001';
	END IF;
	EXECUTE format('DROP TABLE %I', partition);
	IF staying > 0 THEN
		EXECUTE format('ALTER TABLE %I RENAME TO %I', rest, partition);
		EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%s) TO (%s)',
			relation, partition, (month - epoch) * day_us, (next - epoch) * day_us);
		EXECUTE format('ALTER TABLE %I DROP CONSTRAINT of_month', partition);
		PERFORM runledger_guard_truncate(partition);
	ELSE
		INSERT INTO expired_partitions (relation, month, tenants, row_count, expired_at)
			VALUES (relation, number, tenants, n.total, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint)
			ON CONFLICT DO NOTHING;
	END IF;
	RETURN n.total - staying;
END $$;

REVOKE ALL ON FUNCTION runledger_full(text, text) FROM PUBLIC;
