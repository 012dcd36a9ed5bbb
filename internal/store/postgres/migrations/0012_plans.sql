-- Plans that hold while tables grow, guards that look where a record is, and content that goes by the same
-- conditions as its rows.
--
-- A function keeps the plan that it made first. Made while a table is new, of which nothing is known, that reads
-- all of it, or all of a log by some index; and within one transaction, where nothing gathers statistics, n removals cost n
-- times n. So what is asked for each row is planned once, and so that there is one way to go: by an index, and by that of
-- the primary key where the order of leaves is asked for and nothing may be sorted. (What may not and is all the same counts
-- as dear, which is no reason to compile it.)
--
-- And who looks for one leaf looks into the partition of its month first. log_months says which that is. It is a
-- sign on the way: what is not found there is looked for everywhere.

-- As before, but for that.
CREATE OR REPLACE FUNCTION runledger_guard_removals() RETURNS trigger LANGUAGE plpgsql
SET search_path FROM CURRENT SET enable_seqscan = off SET enable_sort = off SET jit = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
	day_us constant bigint := 86400000000;
	epoch constant date := make_date(1970, 1, 1);
	number integer;
	month date;
BEGIN
	SELECT m.month INTO number FROM log_months AS m WHERE m.tenant_id = NEW.tenant_id AND m.log_no = NEW.by_log AND m.first <= NEW.by_leaf
		AND m.month BETWEEN 12 AND 119999 ORDER BY m.month DESC LIMIT 1;
	IF FOUND THEN
		month := make_date(number / 12, number % 12 + 1, 1);
		PERFORM 1 FROM audit_ledger WHERE tenant_id = NEW.tenant_id AND log_no = NEW.by_log AND leaf_index BETWEEN NEW.by_leaf AND NEW.by_leaf
			AND recorded_at >= (month - epoch) * day_us AND recorded_at < ((month + interval '1 month')::date - epoch) * day_us
			AND event_type IN ('ErasureExecuted', 'RetentionApplied') ORDER BY leaf_index LIMIT 1;
	END IF;
	IF NOT FOUND THEN
		PERFORM 1 FROM audit_ledger WHERE tenant_id = NEW.tenant_id AND log_no = NEW.by_log AND leaf_index BETWEEN NEW.by_leaf AND NEW.by_leaf
			AND event_type IN ('ErasureExecuted', 'RetentionApplied') ORDER BY leaf_index LIMIT 1;
	END IF;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'removals: no record orders this removal' USING ERRCODE = 'RL002';
	END IF;
	RETURN NEW;
END $$;

-- As before, but for that.
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
		SELECT t.* INTO r FROM (
			(SELECT 'aos_trace_steps' AS topic, recorded_at, occurred_at, run_id, is_synthetic FROM aos_trace_steps WHERE tenant_id = OLD.tenant_id AND log_no = OLD.log_no
				AND leaf_index BETWEEN OLD.leaf_index AND OLD.leaf_index AND recorded_at >= first_at AND recorded_at < until_at ORDER BY leaf_index LIMIT 1)
			UNION ALL (SELECT 'aos_trace_events', recorded_at, occurred_at, run_id, is_synthetic FROM aos_trace_events WHERE tenant_id = OLD.tenant_id AND log_no = OLD.log_no
				AND leaf_index BETWEEN OLD.leaf_index AND OLD.leaf_index AND recorded_at >= first_at AND recorded_at < until_at ORDER BY leaf_index LIMIT 1)) AS t LIMIT 1;
		IF NOT FOUND AND OLD.trace_id IS NULL THEN -- those of steps and events have a trace
			SELECT t.* INTO r FROM (
				(SELECT 'aos_traces' AS topic, recorded_at, occurred_at, run_id, is_synthetic FROM aos_traces WHERE tenant_id = OLD.tenant_id AND log_no = OLD.log_no
					AND leaf_index BETWEEN OLD.leaf_index AND OLD.leaf_index AND recorded_at >= first_at AND recorded_at < until_at ORDER BY leaf_index LIMIT 1)
				UNION ALL (SELECT 'llm_run_records', recorded_at, occurred_at, run_id, is_synthetic FROM llm_run_records WHERE tenant_id = OLD.tenant_id AND log_no = OLD.log_no
					AND leaf_index BETWEEN OLD.leaf_index AND OLD.leaf_index AND recorded_at >= first_at AND recorded_at < until_at ORDER BY leaf_index LIMIT 1)
				UNION ALL (SELECT 'system_records', recorded_at, occurred_at, run_id, is_synthetic FROM system_records WHERE tenant_id = OLD.tenant_id AND log_no = OLD.log_no
					AND leaf_index BETWEEN OLD.leaf_index AND OLD.leaf_index AND recorded_at >= first_at AND recorded_at < until_at ORDER BY leaf_index LIMIT 1)
				UNION ALL (SELECT 'system_metrics', recorded_at, occurred_at, run_id, is_synthetic FROM system_metrics WHERE tenant_id = OLD.tenant_id AND log_no = OLD.log_no
					AND leaf_index BETWEEN OLD.leaf_index AND OLD.leaf_index AND recorded_at >= first_at AND recorded_at < until_at ORDER BY leaf_index LIMIT 1)
				UNION ALL (SELECT 'audit_ledger', recorded_at, occurred_at, run_id, is_synthetic FROM audit_ledger WHERE tenant_id = OLD.tenant_id AND log_no = OLD.log_no
					AND leaf_index BETWEEN OLD.leaf_index AND OLD.leaf_index AND recorded_at >= first_at AND recorded_at < until_at ORDER BY leaf_index LIMIT 1)
				UNION ALL (SELECT 'log_exports', recorded_at, occurred_at, run_id, is_synthetic FROM log_exports WHERE tenant_id = OLD.tenant_id AND log_no = OLD.log_no
					AND leaf_index BETWEEN OLD.leaf_index AND OLD.leaf_index AND recorded_at >= first_at AND recorded_at < until_at ORDER BY leaf_index LIMIT 1)) AS t LIMIT 1;
		END IF;
		there := FOUND;
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

-- As before, but for that; and entries of the index go before their rows, where their guard finds it.
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
	relation text;
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
		EXECUTE format('SELECT array_agg(r.leaf_index) FROM %I AS r WHERE ' || which, x.relation)
			INTO going USING tenant, log, greatest(x.first, start), least(x.until, stop), x.before, x.synthetic;
		DELETE FROM sealed_index AS s WHERE s.tenant_id = tenant AND s.log_no = log AND s.leaf_index = ANY (going);
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
	FOREACH relation IN ARRAY CASE WHEN finished THEN ARRAY(SELECT DISTINCT t FROM unnest(tables) AS t WHERE t <> 'leaf_segments') ELSE '{}' END LOOP
		EXECUTE format('UPDATE expiries AS e SET done = true FROM unnest($4, $5, $6) AS u (first, by_log, by_leaf)
			WHERE e.tenant_id = $1 AND e.log_no = $2 AND e.table_name = $3 AND e.first = u.first AND e.by_log = u.by_log AND e.by_leaf = u.by_leaf
			AND NOT e.done %s', 'AND ' || runledger_rowless(relation))
			USING tenant, log, relation, firsts, by_logs, by_leaves;
	END LOOP;
	RETURN total;
END $$;

-- Content goes by the conditions that its rows go by. What an erasure or an expiry removes without putting what is left in
-- its place, must be of no row that is held; and by an expiry, of none that no expiry names. Two things make
-- an exception. Content whose key is gone nobody can read. And of a segment that was sealed anew before nobody can say here which
-- rows it is still about: the program sees to these, and knows of each hold that is in force (Removal.Holds).
--
-- The rows of a segment are those that came with the record that it begins with: they have its time, and stand
-- behind it, up to the first that has a later one.
CREATE FUNCTION runledger_check_content(tenant text, order_log bigint, order_leaf bigint, logs bigint[], numbers bigint[], from_at bigint, until_at bigint)
RETURNS void LANGUAGE plpgsql SET search_path FROM CURRENT SET enable_seqscan = off SET enable_sort = off SET jit = off AS $$
DECLARE
	erased boolean;
	holding constant boolean := EXISTS (SELECT 1 FROM holds AS h WHERE h.tenant_id = tenant AND h.released_log IS NULL);
	whole record;
	relation text;
	r record;
BEGIN
	PERFORM 1 FROM audit_ledger AS a WHERE a.tenant_id = tenant AND a.log_no = order_log AND a.leaf_index BETWEEN order_leaf AND order_leaf
		AND a.event_type = 'ErasureExecuted' ORDER BY a.leaf_index LIMIT 1;
	erased := FOUND;
	IF erased AND NOT holding THEN
		RETURN;
	END IF;
	SELECT array_agg(u.log_no) AS logs, array_agg(u.no) AS numbers, array_agg(s.recorded_at) AS times INTO whole
		FROM unnest(logs, numbers) AS u (log_no, no) CROSS JOIN LATERAL (SELECT x.recorded_at, x.key_id FROM sealed_segments AS x
			WHERE x.tenant_id = tenant AND x.log_no = u.log_no AND x.no = u.no AND x.recorded_at >= from_at AND x.recorded_at < until_at LIMIT 1) AS s
		WHERE (SELECT true FROM data_keys AS k WHERE k.tenant_id = tenant AND k.id = s.key_id LIMIT 1)
		AND (SELECT true FROM removals AS m WHERE m.tenant_id = tenant AND m.what = 'segment' AND m.log_no = u.log_no AND m.ref = u.no LIMIT 1) IS NULL;
	FOREACH relation IN ARRAY array_remove(runledger_partitioned(), 'sealed_segments') LOOP
		EXECUTE format('SELECT g.log_no, f.leaf_index, f.held FROM (SELECT u.log_no, u.recorded_at, min(u.no) >> 4 AS leaf, array_agg(u.no) AS numbers
				FROM unnest($3, $4, $5) AS u (log_no, no, recorded_at) GROUP BY u.log_no, u.recorded_at) AS g
			CROSS JOIN LATERAL (SELECT coalesce((SELECT e.leaf_index FROM %2$I AS e WHERE e.tenant_id = $2 AND e.log_no = g.log_no
				AND e.leaf_index >= g.leaf AND e.recorded_at > g.recorded_at ORDER BY e.leaf_index LIMIT 1), 9223372036854775807) AS until OFFSET 0) AS z
			CROSS JOIN LATERAL (SELECT r.leaf_index, %3$s AS held FROM %2$I AS r WHERE r.tenant_id = $2 AND r.log_no = g.log_no
				AND r.leaf_index >= g.leaf AND r.leaf_index < z.until AND r.recorded_at = g.recorded_at
				AND (r.sealed_segment = ANY (g.numbers) OR r.actor_segment = ANY (g.numbers))
				AND (%3$s OR NOT ($6 OR %1$s)) ORDER BY r.leaf_index LIMIT 1) AS f LIMIT 1',
				runledger_ordered(), relation, CASE WHEN holding THEN runledger_held() ELSE 'false' END)
			INTO r USING relation, tenant, whole.logs, whole.numbers, whole.times, erased;
		IF r.held THEN
			RAISE EXCEPTION 'sealed_segments: the content of leaf % of log % of tenant % is held', r.leaf_index, r.log_no, tenant USING ERRCODE = 'RL006';
		ELSIF NOT r.held THEN
			RAISE EXCEPTION 'sealed_segments: no record orders that the content of leaf % of log % of tenant % goes', r.leaf_index, r.log_no, tenant USING ERRCODE = 'RL002';
		END IF;
	END LOOP;
END $$;

-- As before, but no content may be left under a key: what somebody else has sealed under it meanwhile would be lost. Who
-- removes a key holds the claim to the tenant's head, in another transaction, so that none can be sealed at this moment; this
-- sees what was, while he had lost it without knowing.
CREATE OR REPLACE FUNCTION runledger_remove_keys(tenant text, order_log bigint, order_leaf bigint, ids bytea[])
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
	IF EXISTS (SELECT 1 FROM unnest(ids) AS i CROSS JOIN LATERAL (SELECT 1 FROM sealed_segments AS s WHERE s.tenant_id = tenant AND s.key_id = i LIMIT 1) AS s) THEN
		RAISE EXCEPTION 'data_keys: content is there under the key' USING ERRCODE = 'RL002';
	END IF;
	INSERT INTO removals (tenant_id, what, log_no, ref, id, name, by_log, by_leaf)
		SELECT tenant, 'key', 0, 0, i, '', order_log, order_leaf FROM unnest(ids) AS i
		ON CONFLICT DO NOTHING;
	DELETE FROM data_keys WHERE tenant_id = tenant AND id = ANY (ids);
END $$;

-- As before, but for that, and what is left of segments is put in their place here.
DROP FUNCTION runledger_remove_segments(text, bigint, bigint, bigint[], bigint[]);
CREATE FUNCTION runledger_remove_segments(tenant text, order_log bigint, order_leaf bigint, logs bigint[], numbers bigint[],
	left_logs bigint[], left_numbers bigint[], left_ids bytea[], left_keys bytea[], left_data bytea[])
RETURNS TABLE (removed_log bigint, removed_no bigint, removed_id bytea)
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT SET enable_seqscan = off SET jit = off AS $$
DECLARE
	day_us constant bigint := 86400000000;
	epoch constant date := make_date(1970, 1, 1);
	w record; -- months
	first_at bigint := -9223372036854775808;
	until_at bigint := 9223372036854775807;
	found_rows bigint;
	whole record;
	removed_at bigint;
BEGIN
	IF current_setting('transaction_isolation') <> 'read committed' THEN -- a hold placed meanwhile would not be seen
		RAISE EXCEPTION 'not in a transaction that is %', current_setting('transaction_isolation') USING ERRCODE = '25001';
	END IF;
	SELECT min(m.first) AS first, max(m.last) AS last, bool_and(m.first IS NOT NULL) AS known INTO w FROM (
		SELECT (SELECT l.month FROM log_months AS l WHERE l.tenant_id = tenant AND l.log_no = u.log_no AND l.first <= min(u.no) >> 4
				AND l.month BETWEEN 12 AND 119999 ORDER BY l.month DESC LIMIT 1)::integer AS first,
			(SELECT l.month FROM log_months AS l WHERE l.tenant_id = tenant AND l.log_no = u.log_no AND l.first <= max(u.no) >> 4
				AND l.month BETWEEN 12 AND 119999 ORDER BY l.month DESC LIMIT 1)::integer AS last
		FROM unnest(logs, numbers) AS u (log_no, no) GROUP BY u.log_no) AS m;
	IF w.known THEN
		first_at := (make_date(w.first / 12, w.first % 12 + 1, 1) - epoch) * day_us;
		until_at := ((make_date(w.last / 12, w.last % 12 + 1, 1) + interval '1 month')::date - epoch) * day_us;
	END IF;
	LOOP
		PERFORM 1 FROM sealed_segments AS s JOIN unnest(logs, numbers) AS u (log_no, no) ON s.log_no = u.log_no AND s.no = u.no
			WHERE s.tenant_id = tenant AND s.recorded_at >= first_at AND s.recorded_at < until_at FOR UPDATE OF s;
		GET DIAGNOSTICS found_rows = ROW_COUNT;
		EXIT WHEN found_rows >= cardinality(numbers) OR first_at = -9223372036854775808;
		first_at := -9223372036854775808;
		until_at := 9223372036854775807;
	END LOOP;
	SELECT array_agg(u.log_no) AS logs, array_agg(u.no) AS numbers INTO whole FROM unnest(logs, numbers) AS u (log_no, no)
		WHERE NOT EXISTS (SELECT 1 FROM unnest(left_logs, left_numbers) AS l (log_no, no) WHERE l.log_no = u.log_no AND l.no = u.no);
	PERFORM runledger_check_content(tenant, order_log, order_leaf, whole.logs, whole.numbers, first_at, until_at);
	INSERT INTO removals (tenant_id, what, log_no, ref, id, name, by_log, by_leaf)
		SELECT tenant, 'segment', s.log_no, s.no, s.id, '', order_log, order_leaf
		FROM sealed_segments AS s JOIN unnest(logs, numbers) AS u (log_no, no) ON s.log_no = u.log_no AND s.no = u.no
		WHERE s.tenant_id = tenant AND s.recorded_at >= first_at AND s.recorded_at < until_at
		ON CONFLICT DO NOTHING;
	FOR removed_log, removed_no, removed_at, removed_id IN DELETE FROM sealed_segments AS s USING unnest(logs, numbers) AS u (log_no, no)
			WHERE s.tenant_id = tenant AND s.log_no = u.log_no AND s.no = u.no AND s.recorded_at >= first_at AND s.recorded_at < until_at
			RETURNING s.log_no, s.no, s.recorded_at, s.id LOOP
		INSERT INTO sealed_segments (tenant_id, log_no, no, recorded_at, id, key_id, data) -- it keeps its place
			SELECT tenant, l.log_no, l.no, removed_at, l.id, l.key_id, l.data FROM unnest(left_logs, left_numbers, left_ids, left_keys, left_data) AS l (log_no, no, id, key_id, data)
			WHERE l.log_no = removed_log AND l.no = removed_no;
		RETURN NEXT;
	END LOOP;
END $$;
REVOKE ALL ON FUNCTION runledger_check_content(text, bigint, bigint, bigint[], bigint[], bigint, bigint),
	runledger_remove_segments(text, bigint, bigint, bigint[], bigint[], bigint[], bigint[], bytea[], bytea[], bytea[]) FROM PUBLIC;

-- These are asked for each row, too, or remove many.
DO $$
DECLARE f regprocedure;
BEGIN
	FOREACH f IN ARRAY ARRAY['runledger_guard_segments()', 'runledger_guard_keys()', 'runledger_guard_rows()', 'runledger_guard_leaves()',
		'runledger_guard_expiries()', 'runledger_guard_holds()', 'runledger_guard_hold_parts()', 'runledger_guard_archives()', 'runledger_guard_erasure()',
		'runledger_remove_keys(text, bigint, bigint, bytea[])',
		'runledger_remove_index(text, bigint, bigint, text[], bytea[], bigint[], bigint[])', 'runledger_expire_leaves(text, bigint, bigint)']::regprocedure[] LOOP
		EXECUTE format('ALTER FUNCTION %s SET enable_seqscan = off', f);
		EXECUTE format('ALTER FUNCTION %s SET jit = off', f);
	END LOOP;
	FOREACH f IN ARRAY ARRAY['runledger_guard_segments()', 'runledger_guard_keys()', 'runledger_guard_rows()', 'runledger_guard_erasure()']::regprocedure[] LOOP
		EXECUTE format('ALTER FUNCTION %s SET plan_cache_mode = force_generic_plan', f);
	END LOOP;
END $$;

-- And what looks at a whole month joins it as a whole: by the size that a new table is taken for, each row would be
-- looked up in every partition.
ALTER FUNCTION runledger_expire_partition(text, date, date) SET enable_nestloop = off;
ALTER FUNCTION runledger_expire_partition(text, date, date) SET jit = off;
