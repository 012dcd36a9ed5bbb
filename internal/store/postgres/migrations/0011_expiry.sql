-- Whole months. Where most of what an ended month has of a table is to go at once, as after a
-- shorter policy, a long pause or an import, no row is deleted by itself: content and entries of the
-- index go step by step, as ever, then the partition with its rows, and what must stay of it is
-- moved before. Which partitions these are is planned once for all tenants and written down here, so
-- that every process leaves their rows alone until then, and the next goes on where one died.
--
-- A plan permits nothing: what is dropped is checked as it was without. It is kept only until the
-- drop is tried. Where that fails, for a hold that came or content that is there, the
-- rows go one by one.
CREATE TABLE partition_drops (
	relation text COLLATE "C" NOT NULL,
	month    bigint NOT NULL, -- counted from January of year 0
	first_at bigint NOT NULL, -- its rows were recorded from then on
	until_at bigint NOT NULL, -- and before
	PRIMARY KEY (relation, month)
);

-- As text, like runledger_held: that an expiry names a row r of the topic $1, be its content there or
-- not; and which rows of a partition have content still, a query by itself, so that it is one
-- join and not a look for each row.
CREATE FUNCTION runledger_ordered() RETURNS text LANGUAGE sql IMMUTABLE AS $$
	SELECT '(coalesce((SELECT true FROM expiries AS e WHERE e.tenant_id = r.tenant_id AND e.log_no = r.log_no AND e.table_name = $1
		AND e.first <= r.leaf_index AND e.until > r.leaf_index AND e.before > r.recorded_at AND (NOT e.synthetic OR r.is_synthetic = 1)
		ORDER BY e.first DESC LIMIT 1), false))'
$$;
CREATE FUNCTION runledger_full(partition text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
	SELECT '(' || string_agg(format('SELECT f.tenant_id, f.log_no, f.leaf_index FROM %I AS f
		JOIN sealed_segments AS s ON s.tenant_id = f.tenant_id AND s.log_no = f.log_no AND s.no = f.%I', partition, c), ' UNION ') || ')'
	FROM unnest(ARRAY['sealed_segment', 'actor_segment']) AS c
$$;
DROP FUNCTION runledger_count_partition(text, text);
DROP FUNCTION runledger_named();

-- That an expiry e names no row of its table that is left. Leaf segments are counted elsewhere.
CREATE FUNCTION runledger_rowless(relation text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
	SELECT CASE WHEN relation <> 'leaf_segments' THEN format('NOT EXISTS (SELECT 1 FROM %I AS r WHERE r.tenant_id = e.tenant_id AND r.log_no = e.log_no
		AND r.leaf_index >= e.first AND r.leaf_index < e.until AND r.recorded_at < e.before AND (NOT e.synthetic OR r.is_synthetic = 1))', relation) END
$$;

-- As before, but a limit of no days at all lets nothing go either, and none is done from the start but
-- a copy's.
CREATE OR REPLACE FUNCTION runledger_guard_expiries() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
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
		IF OLD.done OR NOT NEW.done OR (NEW.tenant_id, NEW.log_no, NEW.table_name, NEW.first, NEW.until, NEW.before, NEW.synthetic, NEW.by_log, NEW.by_leaf, NEW.restored)
			IS DISTINCT FROM (OLD.tenant_id, OLD.log_no, OLD.table_name, OLD.first, OLD.until, OLD.before, OLD.synthetic, OLD.by_log, OLD.by_leaf, OLD.restored) THEN
			RAISE EXCEPTION 'expiries is append-only: update refused' USING ERRCODE = 'RL001';
		END IF;
		RETURN NEW;
	END IF;
	IF NEW.done AND NOT NEW.restored THEN
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

-- What goes, goes only in a transaction whose statements each see what was committed before: behind a lock, that is all
-- holds there are. As before, but this is asked.
CREATE OR REPLACE FUNCTION runledger_guard_rows() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
	IF current_setting('transaction_isolation') <> 'read committed' THEN -- a hold placed meanwhile would not be seen
		RAISE EXCEPTION 'not in a transaction that is %', current_setting('transaction_isolation') USING ERRCODE = '25001';
	END IF;
	PERFORM 1 FROM expiries AS e WHERE e.tenant_id = OLD.tenant_id AND e.log_no = OLD.log_no AND e.table_name = TG_ARGV[0]
		AND e.first <= OLD.leaf_index AND e.until > OLD.leaf_index AND e.before > OLD.recorded_at AND (NOT e.synthetic OR OLD.is_synthetic = 1)
		ORDER BY e.first DESC LIMIT 1;
	IF NOT FOUND THEN
		RAISE EXCEPTION '%: no record orders this removal', TG_ARGV[0] USING ERRCODE = 'RL002';
	END IF;
	PERFORM 1 FROM holds AS h WHERE h.tenant_id = OLD.tenant_id AND h.released_log IS NULL AND (h.scope = 'tenant'
		OR h.scope = 'time' AND (h.from_at <= OLD.occurred_at AND OLD.occurred_at < h.until_at OR h.from_at <= OLD.recorded_at AND OLD.recorded_at < h.until_at)
		OR EXISTS (SELECT 1 FROM hold_runs AS p WHERE p.tenant_id = h.tenant_id AND p.run_id = OLD.run_id AND p.hold_id = h.id)
		OR EXISTS (SELECT 1 FROM hold_records AS p WHERE p.tenant_id = h.tenant_id AND p.log_no = OLD.log_no AND p.leaf_index = OLD.leaf_index AND p.hold_id = h.id));
	IF FOUND THEN
		RAISE EXCEPTION '%: leaf % of log % of tenant % is held', TG_ARGV[0], OLD.leaf_index, OLD.log_no, OLD.tenant_id USING ERRCODE = 'RL006';
	END IF;
	RETURN OLD;
END $$;
CREATE OR REPLACE FUNCTION runledger_remove_segments(tenant text, order_log bigint, order_leaf bigint, logs bigint[], numbers bigint[])
RETURNS TABLE (removed_log bigint, removed_no bigint, removed_at bigint, removed_id bytea)
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
	IF current_setting('transaction_isolation') <> 'read committed' THEN -- a hold placed meanwhile would not be seen
		RAISE EXCEPTION 'not in a transaction that is %', current_setting('transaction_isolation') USING ERRCODE = '25001';
	END IF;
	PERFORM 1 FROM sealed_segments AS s JOIN unnest(logs, numbers) AS u (log_no, no) ON s.log_no = u.log_no AND s.no = u.no
		WHERE s.tenant_id = tenant FOR UPDATE OF s;
	INSERT INTO removals (tenant_id, what, log_no, ref, id, name, by_log, by_leaf)
		SELECT tenant, 'segment', s.log_no, s.no, s.id, '', order_log, order_leaf
		FROM sealed_segments AS s JOIN unnest(logs, numbers) AS u (log_no, no) ON s.log_no = u.log_no AND s.no = u.no
		WHERE s.tenant_id = tenant
		ON CONFLICT DO NOTHING;
	RETURN QUERY DELETE FROM sealed_segments AS s USING unnest(logs, numbers) AS u (log_no, no)
		WHERE s.tenant_id = tenant AND s.log_no = u.log_no AND s.no = u.no
		RETURNING s.log_no, s.no, s.recorded_at, s.id;
END $$;

-- As before, but an entry may also go before its row, where that may: an expiry names it and no hold
-- covers it.
CREATE OR REPLACE FUNCTION runledger_guard_index() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
	r record;
BEGIN
	IF current_setting('transaction_isolation') <> 'read committed' THEN -- a hold placed meanwhile would not be seen
		RAISE EXCEPTION 'not in a transaction that is %', current_setting('transaction_isolation') USING ERRCODE = '25001';
	END IF;
	IF EXISTS (SELECT 1 FROM removals WHERE tenant_id = OLD.tenant_id AND what = 'index'
			AND log_no = OLD.log_no AND ref = OLD.leaf_index AND id = '' AND name = OLD.name) THEN
		RETURN OLD;
	END IF;
	SELECT t.* INTO r FROM (
		SELECT 'aos_trace_steps' AS topic, recorded_at, occurred_at, run_id, is_synthetic FROM aos_trace_steps
			WHERE tenant_id = OLD.tenant_id AND log_no = OLD.log_no AND leaf_index = OLD.leaf_index
		UNION ALL SELECT 'aos_trace_events', recorded_at, occurred_at, run_id, is_synthetic FROM aos_trace_events
			WHERE tenant_id = OLD.tenant_id AND log_no = OLD.log_no AND leaf_index = OLD.leaf_index) AS t LIMIT 1;
	IF NOT FOUND AND OLD.trace_id IS NULL THEN -- by itself: each looks into all partitions
		SELECT t.* INTO r FROM (
			SELECT 'aos_traces' AS topic, recorded_at, occurred_at, run_id, is_synthetic FROM aos_traces
				WHERE tenant_id = OLD.tenant_id AND log_no = OLD.log_no AND leaf_index = OLD.leaf_index
			UNION ALL SELECT 'llm_run_records', recorded_at, occurred_at, run_id, is_synthetic FROM llm_run_records
				WHERE tenant_id = OLD.tenant_id AND log_no = OLD.log_no AND leaf_index = OLD.leaf_index
			UNION ALL SELECT 'system_records', recorded_at, occurred_at, run_id, is_synthetic FROM system_records
				WHERE tenant_id = OLD.tenant_id AND log_no = OLD.log_no AND leaf_index = OLD.leaf_index
			UNION ALL SELECT 'system_metrics', recorded_at, occurred_at, run_id, is_synthetic FROM system_metrics
				WHERE tenant_id = OLD.tenant_id AND log_no = OLD.log_no AND leaf_index = OLD.leaf_index
			UNION ALL SELECT 'audit_ledger', recorded_at, occurred_at, run_id, is_synthetic FROM audit_ledger
				WHERE tenant_id = OLD.tenant_id AND log_no = OLD.log_no AND leaf_index = OLD.leaf_index
			UNION ALL SELECT 'log_exports', recorded_at, occurred_at, run_id, is_synthetic FROM log_exports
				WHERE tenant_id = OLD.tenant_id AND log_no = OLD.log_no AND leaf_index = OLD.leaf_index) AS t LIMIT 1;
	END IF;
	IF FOUND AND (NOT EXISTS (SELECT 1 FROM expiries AS e WHERE e.tenant_id = OLD.tenant_id AND e.log_no = OLD.log_no AND e.table_name = r.topic
			AND e.first <= OLD.leaf_index AND e.until > OLD.leaf_index AND e.before > r.recorded_at AND (NOT e.synthetic OR r.is_synthetic = 1))
		OR EXISTS (SELECT 1 FROM holds AS h WHERE h.tenant_id = OLD.tenant_id AND h.released_log IS NULL AND (h.scope = 'tenant'
			OR h.scope = 'time' AND (h.from_at <= r.occurred_at AND r.occurred_at < h.until_at OR h.from_at <= r.recorded_at AND r.recorded_at < h.until_at)
			OR EXISTS (SELECT 1 FROM hold_runs AS p WHERE p.tenant_id = h.tenant_id AND p.run_id = r.run_id AND p.hold_id = h.id)
			OR EXISTS (SELECT 1 FROM hold_records AS p WHERE p.tenant_id = h.tenant_id AND p.log_no = OLD.log_no AND p.leaf_index = OLD.leaf_index AND p.hold_id = h.id)))) THEN
		RAISE EXCEPTION 'sealed_index: no record orders this removal' USING ERRCODE = 'RL002';
	END IF;
	RETURN OLD;
END $$;

-- As before, but rows whose partition is to be dropped stay for now, without their entries of the
-- index, and an expiry that names one is not done. And content goes before its row, or nobody would find it: where
-- others share the segment it was sealed anew, so it is asked whether anything was ever taken from it.
CREATE OR REPLACE FUNCTION runledger_expire_rows(tenant text, log bigint, tables text[], firsts bigint[], untils bigint[], befores bigint[], synthetics boolean[],
	by_logs bigint[], by_leaves bigint[], start bigint, stop bigint, finished boolean)
RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT SET lock_timeout = '2s' AS $$
DECLARE
	x record;
	gone bigint[];
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
		EXECUTE format('WITH d AS (DELETE FROM %I AS r WHERE r.tenant_id = $1 AND r.log_no = $2 AND r.leaf_index >= $3 AND r.leaf_index < $4
				AND r.recorded_at < $5 AND (NOT $6 OR r.is_synthetic = 1) %s %s RETURNING r.leaf_index, r.sealed_segment, r.actor_segment)
				SELECT array_agg(leaf_index), array_agg(sealed_segment) || array_agg(actor_segment) FROM d',
				x.relation, CASE WHEN holding THEN 'AND NOT ' || runledger_held() END, 'AND NOT ' || waits)
			INTO gone, segments USING tenant, log, greatest(x.first, start), least(x.until, stop), x.before, x.synthetic;
		total := total + coalesce(cardinality(gone), 0);
		SELECT u.no INTO left_over FROM (SELECT DISTINCT unnest(segments)) AS u (no)
			WHERE CASE WHEN (SELECT true FROM removals AS m WHERE m.tenant_id = tenant AND m.what = 'segment' AND m.log_no = log AND m.ref = u.no LIMIT 1) THEN false
				ELSE (SELECT true FROM sealed_segments AS s WHERE s.tenant_id = tenant AND s.log_no = log AND s.no = u.no LIMIT 1) END LIMIT 1;
		IF FOUND THEN
			RAISE EXCEPTION '%: the content of rows is there, in sealed segment % of log %', x.relation, left_over, log USING ERRCODE = 'RL002';
		END IF;
		IF waits IS NOT NULL THEN
			EXECUTE format('SELECT coalesce($7, ''{}'') || array_agg(r.leaf_index) FROM %I AS r WHERE r.tenant_id = $1 AND r.log_no = $2 AND r.leaf_index >= $3 AND r.leaf_index < $4
				AND r.recorded_at < $5 AND (NOT $6 OR r.is_synthetic = 1) AND %s %s', x.relation, waits, CASE WHEN holding THEN 'AND NOT ' || runledger_held() END)
				INTO gone USING tenant, log, greatest(x.first, start), least(x.until, stop), x.before, x.synthetic, gone;
		END IF;
		DELETE FROM sealed_index AS s WHERE s.tenant_id = tenant AND s.log_no = log AND s.leaf_index = ANY (gone);
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

-- Counts the rows of a partition, those that no expiry names, and those that are held all the
-- same. Each row is asked once, which OFFSET sees to.
CREATE FUNCTION runledger_count_partition(relation text, partition text, OUT total bigint, OUT unnamed bigint, OUT held bigint)
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
	EXECUTE format('SELECT count(*), count(*) FILTER (WHERE goes IS NULL), count(*) FILTER (WHERE NOT goes)
		FROM (SELECT CASE WHEN %s THEN NOT %s END AS goes FROM %I AS r OFFSET 0) AS r', runledger_ordered(), runledger_held(), partition)
		INTO total, unnamed, held USING relation;
END $$;

-- Whether the month of a partition of a table has ended, by the clock and for the logs.
CREATE FUNCTION runledger_ended(relation text, month date) RETURNS boolean LANGUAGE sql STABLE SET search_path FROM CURRENT AS $$
	SELECT coalesce(relation = ANY (runledger_partitioned()) AND extract(day FROM month) = 1
		AND (month + interval '1 month')::date <= (now() AT TIME ZONE 'UTC')::date
		AND to_regclass(quote_ident(relation || '_p' || to_char(month, 'YYYYMM'))) IS NOT NULL
		AND extract(year FROM month) * 12 + extract(month FROM month) - 1 < (SELECT max(m.month) FROM log_months AS m), false)
$$;

-- Whether the partition of a table and month can be given back as it is: its month has ended, and
-- nothing is in it.
CREATE OR REPLACE FUNCTION runledger_expirable(relation text, month date)
RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
	filled boolean := true;
BEGIN
	IF runledger_ended(relation, month) THEN
		EXECUTE format('SELECT EXISTS (SELECT 1 FROM %I)', relation || '_p' || to_char(month, 'YYYYMM')) INTO filled;
	END IF;
	RETURN NOT filled;
END $$;

-- Plans that the partition of a table and month is dropped, and says whether it is to be: where
-- expiries that are not done name at least half of its rows that nobody holds, whoever's. That is counted, which
-- takes as long as reading it does, so it is not where the ranges of these expiries cannot have as many.
CREATE FUNCTION runledger_plan_drop(relation text, month date)
RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
#variable_conflict use_variable
DECLARE
	day_us constant bigint := 86400000000;
	epoch constant date := make_date(1970, 1, 1);
	number constant bigint := extract(year FROM month) * 12 + extract(month FROM month) - 1;
	first_at constant bigint := (month - epoch) * day_us;
	until_at constant bigint := ((month + interval '1 month')::date - epoch) * day_us;
	partition constant text := relation || '_p' || to_char(month, 'YYYYMM');
	most numeric; -- leaves that they name
	n record;
BEGIN
	IF current_setting('transaction_isolation') <> 'read committed' THEN -- a hold placed meanwhile would not be seen
		RAISE EXCEPTION 'not in a transaction that is %', current_setting('transaction_isolation') USING ERRCODE = '25001';
	END IF;
	IF NOT runledger_ended(relation, month) OR relation = 'sealed_segments' THEN
		RETURN false;
	END IF;
	SELECT sum(least(e.until, m.until) - greatest(e.first, m.first)) INTO most
		FROM expiries AS e JOIN (SELECT o.tenant_id, o.log_no, o.month, o.first, coalesce(lead(o.first) OVER (PARTITION BY o.tenant_id, o.log_no ORDER BY o.month),
			9223372036854775807) AS until FROM log_months AS o) AS m ON m.tenant_id = e.tenant_id AND m.log_no = e.log_no AND m.month = number
		WHERE e.table_name = relation AND NOT e.done AND e.before > first_at AND e.first < m.until AND e.until > m.first;
	IF most IS NULL OR 2 * most < (SELECT c.reltuples FROM pg_class AS c WHERE c.oid = to_regclass(quote_ident(partition))) THEN
		RETURN false;
	END IF;
	n := runledger_count_partition(relation, partition);
	IF n.total = 0 OR 2 * (n.unnamed + n.held) > n.total THEN
		RETURN false;
	END IF;
	INSERT INTO partition_drops AS d (relation, month, first_at, until_at) VALUES (relation, number, first_at, until_at)
		ON CONFLICT DO NOTHING;
	RETURN true;
END $$;

-- Gives up a plan: the rows go one by one.
CREATE FUNCTION runledger_forget_drop(relation text, month date)
RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path FROM CURRENT AS $$
	DELETE FROM partition_drops AS d WHERE d.relation = $1 AND d.month = extract(year FROM $2) * 12 + extract(month FROM $2) - 1
$$;

-- That the lock which a drop takes at its end can be had. Whoever reads or writes the table waits meanwhile, so
-- this waits for short transactions only. To be called in a transaction of its own, which ends with it.
CREATE FUNCTION runledger_lock_free(relation text)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT SET lock_timeout = '300ms' AS $$
BEGIN
	IF relation = ANY (runledger_partitioned()) THEN
		EXECUTE format('LOCK TABLE %I IN ACCESS EXCLUSIVE MODE', relation);
	END IF;
END $$;

-- Marks the expiries of a table as done that name no row any more. A row goes with its content,
-- or after it.
CREATE FUNCTION runledger_settle_expiries(relation text)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
	IF current_setting('transaction_isolation') <> 'read committed' THEN -- a hold placed meanwhile would not be seen
		RAISE EXCEPTION 'not in a transaction that is %', current_setting('transaction_isolation') USING ERRCODE = '25001';
	END IF;
	IF relation = ANY (array_remove(runledger_partitioned(), 'sealed_segments')) THEN
		EXECUTE format('UPDATE expiries AS e SET done = true WHERE e.table_name = $1 AND NOT e.done AND %s', runledger_rowless(relation)) USING relation;
	END IF;
END $$;

-- As before, but what takes long is done before the table is locked: entries of the index go, which few
-- are by then, and the new partition has its indexes and its bounds when it is attached.
CREATE OR REPLACE FUNCTION runledger_expire_partition(relation text, month date, before date)
RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
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
			WHERE %s AND NOT %s', partition, runledger_full(partition), runledger_ordered(), runledger_held()) INTO filled USING relation;
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
			WHERE f.leaf_index IS NOT NULL OR NOT %s OR %s', rest, partition, runledger_full(partition), runledger_ordered(), runledger_held()) USING relation;
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

REVOKE ALL ON FUNCTION runledger_ordered(), runledger_full(text), runledger_rowless(text), runledger_count_partition(text, text), runledger_ended(text, date), runledger_plan_drop(text, date),
	runledger_forget_drop(text, date), runledger_lock_free(text), runledger_settle_expiries(text)
FROM PUBLIC;
