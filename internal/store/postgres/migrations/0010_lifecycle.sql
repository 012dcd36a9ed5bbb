-- Lifecycle: what may leave the database, by which record; what must not, while a
-- legal hold is in force; what stands in an archive. All of it is append-only but for
-- one step each: an expiry is done, a hold is released.
--
-- What the guards below cannot see they do not replace: which records one means to
-- expire, and whether the archive is good, the ledger decides. They see to it that rows
-- go only where a record in the log says so, that is old enough by the database's own
-- clock, and that what is held stays, whatever the program does. Whoever writes rows of
-- the audit ledger himself can make such a record, but not its leaf: verification says
-- that it is in no log.

-- Which rows may leave a table: an order that a RetentionApplied gives.
CREATE TABLE expiries (
	tenant_id  text COLLATE "C" NOT NULL,
	log_no     bigint NOT NULL, -- of the rows
	table_name text COLLATE "C" NOT NULL,
	first      bigint NOT NULL, -- leaf index
	until      bigint NOT NULL, -- leaf index, not in it
	before     bigint NOT NULL, -- only rows that were recorded before this
	synthetic  boolean NOT NULL, -- only synthetic records
	by_log     bigint NOT NULL,
	by_leaf    bigint NOT NULL,
	done       boolean NOT NULL DEFAULT false,
	-- Written down in another store of the same deployment, whose clock was asked
	-- then. Only the owner's function says so.
	restored   boolean NOT NULL DEFAULT false,
	PRIMARY KEY (tenant_id, log_no, table_name, first, by_log, by_leaf)
);
-- Of which months rows are about to go, whosever: partitions are all tenants'.
CREATE INDEX expiries_open ON expiries (table_name, before) WHERE NOT done;

-- Legal holds. Times are a hold of time's, else 0.
CREATE TABLE holds (
	tenant_id     text COLLATE "C" NOT NULL,
	id            text COLLATE "C" NOT NULL, -- entity_id of its records
	scope         text COLLATE "C" NOT NULL,
	placed_log    bigint NOT NULL, -- of its LegalHoldPlaced
	placed_leaf   bigint NOT NULL,
	released_log  bigint, -- of its LegalHoldReleased; null: in force
	released_leaf bigint,
	from_at       bigint NOT NULL,
	until_at      bigint NOT NULL,
	PRIMARY KEY (tenant_id, id)
);
-- Asked for each row that goes.
CREATE INDEX holds_in_force ON holds (tenant_id, id) WHERE released_log IS NULL;

-- What a hold of a run or a subject covers: runs, and records without one.
CREATE TABLE hold_runs (
	tenant_id text COLLATE "C" NOT NULL,
	run_id    text COLLATE "C" NOT NULL,
	hold_id   text COLLATE "C" NOT NULL,
	PRIMARY KEY (tenant_id, run_id, hold_id)
);
CREATE INDEX hold_runs_hold ON hold_runs (tenant_id, hold_id, run_id);
CREATE TABLE hold_records (
	tenant_id  text COLLATE "C" NOT NULL,
	log_no     bigint NOT NULL,
	leaf_index bigint NOT NULL,
	hold_id    text COLLATE "C" NOT NULL,
	PRIMARY KEY (tenant_id, log_no, leaf_index, hold_id)
);
CREATE INDEX hold_records_hold ON hold_records (tenant_id, hold_id, log_no, leaf_index);

-- Stretches of logs that stand in an archive and were verified there.
CREATE TABLE archives (
	tenant_id text COLLATE "C" NOT NULL,
	log_no    bigint NOT NULL,
	first     bigint NOT NULL, -- leaf index
	until     bigint NOT NULL, -- leaf index, not in it
	first_at  bigint NOT NULL, -- when its first and last leaf were recorded
	last_at   bigint NOT NULL,
	archive   text COLLATE "C" NOT NULL, -- as configured
	name      text COLLATE "C" NOT NULL, -- of the unit within it
	manifest  bytea NOT NULL,  -- SHA-256 of its manifest
	bytes     bigint NOT NULL,
	sealed    boolean NOT NULL, -- it holds sealed content, encrypted
	at        bigint NOT NULL,
	PRIMARY KEY (tenant_id, log_no, first)
);

-- What stands under a key, without reading the rest: an erasure, and a key's end.
CREATE INDEX sealed_segments_key ON sealed_segments (tenant_id, key_id, log_no, no);
-- The entries of a record that goes. In SQLite its number finds them.
CREATE INDEX sealed_index_position ON sealed_index (tenant_id, log_no, leaf_index);

-- The conditions by which rows go, for r, a row of the topic $1: that an expiry names
-- it, and that a hold in force covers it, by whatever scope. They are kept in one place
-- as text, since each table has to be asked under its own name. The trigger has the
-- same, for a row at a time. Newest expiries first: it is theirs that goes.
--
-- A row whose sealed content is there is none of them: both go together, by
-- runledger_expire_rows, for nobody would find the content once the row is gone.
CREATE FUNCTION runledger_named() RETURNS text LANGUAGE sql IMMUTABLE AS $$
	SELECT '(coalesce((SELECT true FROM expiries AS e WHERE e.tenant_id = r.tenant_id AND e.log_no = r.log_no AND e.table_name = $1
		AND e.first <= r.leaf_index AND e.until > r.leaf_index AND e.before > r.recorded_at AND (NOT e.synthetic OR r.is_synthetic = 1)
		ORDER BY e.first DESC LIMIT 1), false) AND NOT EXISTS (SELECT 1 FROM sealed_segments AS s
		WHERE s.tenant_id = r.tenant_id AND s.log_no = r.log_no AND s.no IN (r.sealed_segment, r.actor_segment)))'
$$;
CREATE FUNCTION runledger_held() RETURNS text LANGUAGE sql IMMUTABLE AS $$
	SELECT '(EXISTS (SELECT 1 FROM holds AS h WHERE h.tenant_id = r.tenant_id AND h.released_log IS NULL AND (h.scope = ''tenant''
		OR h.scope = ''time'' AND (h.from_at <= r.occurred_at AND r.occurred_at < h.until_at OR h.from_at <= r.recorded_at AND r.recorded_at < h.until_at)
		OR EXISTS (SELECT 1 FROM hold_runs AS p WHERE p.tenant_id = h.tenant_id AND p.run_id = r.run_id AND p.hold_id = h.id)
		OR EXISTS (SELECT 1 FROM hold_records AS p WHERE p.tenant_id = h.tenant_id AND p.log_no = r.log_no AND p.leaf_index = r.leaf_index AND p.hold_id = h.id))))'
$$;

-- An expiry has its record, and is old enough; it is done once. What is written here of
-- classes and days is package evidence's.
--
-- The clock is the database's own. Of an expiry that another store ordered, that
-- was asked there, and stands for it here: its record's time, and the policy before it. A
-- record of the future (but for a minute) makes nothing old: anybody could write one.
CREATE FUNCTION runledger_guard_expiries() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
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
	-- What is no number of days is no permission.
	IF days !~ '^[0-9]{1,6}$' OR NEW.before::numeric + days::numeric * 86400000000 > at THEN
		RAISE EXCEPTION 'expiries: records of % are younger than the % days of class %', NEW.table_name, days, class USING ERRCODE = 'RL005';
	END IF;
	RETURN NEW;
END $$;
CREATE TRIGGER guard_order BEFORE INSERT OR UPDATE ON expiries
	FOR EACH ROW EXECUTE FUNCTION runledger_guard_expiries();

-- A hold has its record, and is released once, by a later one.
CREATE FUNCTION runledger_guard_holds() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
	IF TG_OP = 'INSERT' THEN
		IF NEW.released_log IS NOT NULL OR NEW.released_leaf IS NOT NULL OR NOT EXISTS (SELECT 1 FROM audit_ledger WHERE tenant_id = NEW.tenant_id
				AND log_no = NEW.placed_log AND leaf_index = NEW.placed_leaf AND event_type = 'LegalHoldPlaced'
				AND entity_type = 'RETENTION' AND entity_id = NEW.id AND rule_id = NEW.scope AND (NEW.scope <> 'time'
				OR coalesce(valid_from, NEW.from_at) = NEW.from_at AND coalesce(valid_until, NEW.until_at) = NEW.until_at)) THEN
			RAISE EXCEPTION 'holds: no record places the hold %', NEW.id USING ERRCODE = 'RL002';
		END IF;
	ELSIF (NEW.tenant_id, NEW.id, NEW.scope, NEW.placed_log, NEW.placed_leaf, NEW.from_at, NEW.until_at)
			IS DISTINCT FROM (OLD.tenant_id, OLD.id, OLD.scope, OLD.placed_log, OLD.placed_leaf, OLD.from_at, OLD.until_at)
			OR NEW.released_log IS NULL OR NEW.released_leaf IS NULL THEN
		RAISE EXCEPTION 'holds is append-only: update refused' USING ERRCODE = 'RL001';
	ELSIF OLD.released_log IS NOT NULL THEN
		RAISE EXCEPTION 'holds: the hold % was released before', OLD.id USING ERRCODE = 'RL003';
	ELSIF (NEW.released_log, NEW.released_leaf) <= (OLD.placed_log, OLD.placed_leaf) OR NOT EXISTS (SELECT 1 FROM audit_ledger
			WHERE tenant_id = NEW.tenant_id AND log_no = NEW.released_log AND leaf_index = NEW.released_leaf
			AND event_type = 'LegalHoldReleased' AND entity_type = 'RETENTION' AND entity_id = NEW.id) THEN
		RAISE EXCEPTION 'holds: no record releases the hold %', OLD.id USING ERRCODE = 'RL002';
	END IF;
	RETURN NEW;
END $$;
CREATE TRIGGER guard_order BEFORE INSERT OR UPDATE ON holds
	FOR EACH ROW EXECUTE FUNCTION runledger_guard_holds();

CREATE FUNCTION runledger_guard_hold_parts() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
	IF NOT EXISTS (SELECT 1 FROM holds WHERE tenant_id = NEW.tenant_id AND id = NEW.hold_id AND released_log IS NULL AND scope IN ('run', 'subject')) THEN
		RAISE EXCEPTION '%: no hold % of a run or a subject is in force', TG_TABLE_NAME, NEW.hold_id USING ERRCODE = 'RL002';
	END IF;
	RETURN NEW;
END $$;

-- Units follow one another, and hold what the log has.
CREATE FUNCTION runledger_guard_archives() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
	IF NEW.first < 0 OR NEW.until <= NEW.first OR NOT EXISTS (SELECT 1 FROM heads WHERE tenant_id = NEW.tenant_id AND log_no = NEW.log_no AND size >= NEW.until)
		OR NEW.first <> 0 AND NOT EXISTS (SELECT 1 FROM archives WHERE tenant_id = NEW.tenant_id AND log_no = NEW.log_no AND until = NEW.first) THEN
		RAISE EXCEPTION 'archives: leaves % to % of log % do not follow what is archived', NEW.first, NEW.until, NEW.log_no USING ERRCODE = 'RL002';
	END IF;
	RETURN NEW;
END $$;
CREATE TRIGGER guard_order BEFORE INSERT ON archives
	FOR EACH ROW EXECUTE FUNCTION runledger_guard_archives();

-- A topic's row goes where an expiry of its table names it and no hold covers it. Of a
-- partition the trigger is the parent's, whose name is its argument.
CREATE FUNCTION runledger_guard_rows() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
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

CREATE FUNCTION runledger_guard_leaves() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
	IF EXISTS (SELECT 1 FROM unnest(ARRAY[OLD.first, OLD.first + OLD.count - 1]) AS u (leaf) WHERE NOT EXISTS (SELECT 1 FROM expiries AS e
			WHERE e.tenant_id = OLD.tenant_id AND e.log_no = OLD.log_no AND e.table_name = 'leaf_segments' AND e.first <= u.leaf AND e.until > u.leaf)) THEN
		RAISE EXCEPTION 'leaf_segments: no record orders this removal' USING ERRCODE = 'RL002';
	END IF;
	RETURN OLD;
END $$;

DO $$
DECLARE t text;
BEGIN
	FOREACH t IN ARRAY array_append(array_remove(runledger_partitioned(), 'sealed_segments'), 'leaf_segments') LOOP
		EXECUTE format('DROP TRIGGER guard_change ON %I', t);
		EXECUTE format('CREATE TRIGGER guard_change BEFORE UPDATE ON %I
			FOR EACH ROW EXECUTE FUNCTION runledger_refuse()', t);
		EXECUTE format('ALTER TABLE %I ENABLE ALWAYS TRIGGER guard_change', t);
		EXECUTE format('CREATE TRIGGER guard_removal BEFORE DELETE ON %I
			FOR EACH ROW EXECUTE FUNCTION %s', t, CASE t WHEN 'leaf_segments' THEN 'runledger_guard_leaves()' ELSE format('runledger_guard_rows(%L)', t) END);
		EXECUTE format('ALTER TABLE %I ENABLE ALWAYS TRIGGER guard_removal', t);
	END LOOP;
	FOREACH t IN ARRAY ARRAY['hold_runs', 'hold_records'] LOOP
		EXECUTE format('CREATE TRIGGER guard_order BEFORE INSERT ON %I
			FOR EACH ROW EXECUTE FUNCTION runledger_guard_hold_parts()', t);
	END LOOP;
	FOREACH t IN ARRAY ARRAY['hold_runs', 'hold_records', 'archives'] LOOP
		EXECUTE format('ALTER TABLE %I ENABLE ALWAYS TRIGGER guard_order', t);
		PERFORM runledger_guard_evidence(t);
	END LOOP;
	FOREACH t IN ARRAY ARRAY['expiries', 'holds'] LOOP
		EXECUTE format('ALTER TABLE %I ENABLE ALWAYS TRIGGER guard_order', t);
		EXECUTE format('CREATE TRIGGER guard_change BEFORE DELETE ON %I
			FOR EACH ROW EXECUTE FUNCTION runledger_refuse()', t);
		EXECUTE format('ALTER TABLE %I ENABLE ALWAYS TRIGGER guard_change', t);
		PERFORM runledger_guard_truncate(t);
	END LOOP;
END $$;

-- Nobody says that something was erased which is held. After the row and for these
-- records alone: a trigger before it would make every copy to the table go row by row.
CREATE FUNCTION runledger_guard_erasure() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
	hold text := (SELECT h.id FROM holds AS h WHERE h.tenant_id = NEW.tenant_id AND h.released_log IS NULL AND (h.scope = 'tenant'
		OR EXISTS (SELECT 1 FROM hold_runs AS p WHERE p.tenant_id = h.tenant_id AND p.run_id IN (NEW.run_id, NEW.about_run) AND p.hold_id = h.id)) LIMIT 1);
BEGIN
	IF hold IS NOT NULL THEN
		RAISE EXCEPTION 'audit_ledger: the legal hold % forbids this erasure', hold USING ERRCODE = 'RL006';
	END IF;
	RETURN NULL;
END $$;
CREATE TRIGGER guard_hold AFTER INSERT ON audit_ledger
	FOR EACH ROW WHEN (NEW.event_type = 'ErasureExecuted') EXECUTE FUNCTION runledger_guard_erasure();
ALTER TABLE audit_ledger ENABLE ALWAYS TRIGGER guard_hold;

-- An entry of the index goes where removals names it, or with its record: once no
-- topic has a row there. Those with a trace are of steps and events.
CREATE OR REPLACE FUNCTION runledger_guard_index() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
	there boolean;
BEGIN
	IF EXISTS (SELECT 1 FROM removals WHERE tenant_id = OLD.tenant_id AND what = 'index'
			AND log_no = OLD.log_no AND ref = OLD.leaf_index AND id = '' AND name = OLD.name) THEN
		RETURN OLD;
	END IF;
	there := EXISTS (SELECT 1 FROM aos_trace_steps WHERE tenant_id = OLD.tenant_id AND log_no = OLD.log_no AND leaf_index = OLD.leaf_index)
		OR EXISTS (SELECT 1 FROM aos_trace_events WHERE tenant_id = OLD.tenant_id AND log_no = OLD.log_no AND leaf_index = OLD.leaf_index);
	IF NOT there AND OLD.trace_id IS NULL THEN -- by itself: each looks into all partitions
		there := EXISTS (SELECT 1 FROM aos_traces WHERE tenant_id = OLD.tenant_id AND log_no = OLD.log_no AND leaf_index = OLD.leaf_index)
			OR EXISTS (SELECT 1 FROM llm_run_records WHERE tenant_id = OLD.tenant_id AND log_no = OLD.log_no AND leaf_index = OLD.leaf_index)
			OR EXISTS (SELECT 1 FROM system_records WHERE tenant_id = OLD.tenant_id AND log_no = OLD.log_no AND leaf_index = OLD.leaf_index)
			OR EXISTS (SELECT 1 FROM system_metrics WHERE tenant_id = OLD.tenant_id AND log_no = OLD.log_no AND leaf_index = OLD.leaf_index)
			OR EXISTS (SELECT 1 FROM audit_ledger WHERE tenant_id = OLD.tenant_id AND log_no = OLD.log_no AND leaf_index = OLD.leaf_index)
			OR EXISTS (SELECT 1 FROM log_exports WHERE tenant_id = OLD.tenant_id AND log_no = OLD.log_no AND leaf_index = OLD.leaf_index);
	END IF;
	IF there THEN
		RAISE EXCEPTION 'sealed_index: no record orders this removal' USING ERRCODE = 'RL002';
	END IF;
	RETURN OLD;
END $$;

-- As before, but it says which segments went, and none can be put in the place of one
-- between the first look and the removal.
DROP FUNCTION runledger_remove_segments(text, bigint, bigint, bigint[], bigint[]);
CREATE FUNCTION runledger_remove_segments(tenant text, order_log bigint, order_leaf bigint, logs bigint[], numbers bigint[])
RETURNS TABLE (removed_log bigint, removed_no bigint, removed_at bigint, removed_id bytea)
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
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

-- Removes, of the rows that these expiries of one log name, those from start to below
-- stop, with their entries of the sealed index, and returns how many rows went. Rows that are
-- held stay. Each expiry must be written down as it is given.
--
-- No hold can be placed meanwhile: the lock lets through those who expire, and none who
-- places or extends one.
CREATE FUNCTION runledger_expire_rows(tenant text, log bigint, tables text[], firsts bigint[], untils bigint[], befores bigint[], synthetics boolean[],
	by_logs bigint[], by_leaves bigint[], start bigint, stop bigint, finished boolean)
RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
	x record;
	gone bigint[];
	total bigint := 0;
	holding boolean;
BEGIN
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
		EXECUTE format('WITH d AS (DELETE FROM %I AS r WHERE r.tenant_id = $1 AND r.log_no = $2 AND r.leaf_index >= $3 AND r.leaf_index < $4
				AND r.recorded_at < $5 AND (NOT $6 OR r.is_synthetic = 1) %s RETURNING r.leaf_index) SELECT array_agg(leaf_index) FROM d',
				x.relation, CASE WHEN holding THEN 'AND NOT ' || runledger_held() END)
			INTO gone USING tenant, log, greatest(x.first, start), least(x.until, stop), x.before, x.synthetic;
		IF gone IS NOT NULL THEN
			total := total + cardinality(gone);
			DELETE FROM sealed_index AS s WHERE s.tenant_id = tenant AND s.log_no = log AND s.leaf_index = ANY (gone);
		END IF;
	END LOOP;
	IF finished THEN
		UPDATE expiries AS e SET done = true
			FROM unnest(tables, firsts, by_logs, by_leaves) AS u (relation, first, by_log, by_leaf)
			WHERE e.tenant_id = tenant AND e.log_no = log AND e.table_name = u.relation AND e.first = u.first
			AND e.by_log = u.by_log AND e.by_leaf = u.by_leaf AND NOT e.done;
	END IF;
	RETURN total;
END $$;

-- Removes leaf segments of the prefix that has gone to the archive, at most so many, and
-- returns how many of it are left; with none the expiries are done. One that the prefix
-- ends within stays.
CREATE FUNCTION runledger_expire_leaves(tenant text, log bigint, most bigint)
RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
	prefix constant bigint := coalesce((SELECT max(e.until) FROM expiries AS e WHERE e.tenant_id = tenant AND e.log_no = log AND e.table_name = 'leaf_segments'), 0);
	remaining bigint;
BEGIN
	DELETE FROM leaf_segments AS l WHERE l.tenant_id = tenant AND l.log_no = log AND l.first IN (SELECT o.first FROM leaf_segments AS o
		WHERE o.tenant_id = tenant AND o.log_no = log AND o.first < prefix AND o.first + o.count <= prefix ORDER BY o.first LIMIT greatest(most, 0));
	remaining := (SELECT count(*) FROM leaf_segments AS l WHERE l.tenant_id = tenant AND l.log_no = log AND l.first < prefix AND l.first + l.count <= prefix);
	IF remaining = 0 THEN
		UPDATE expiries AS e SET done = true WHERE e.tenant_id = tenant AND e.log_no = log AND e.table_name = 'leaf_segments' AND NOT e.done;
	END IF;
	RETURN remaining;
END $$;

-- Releases a hold, and says whether there is one of that name.
CREATE FUNCTION runledger_release_hold(tenant text, hold text, by_log bigint, by_leaf bigint)
RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
	UPDATE holds SET released_log = by_log, released_leaf = by_leaf WHERE tenant_id = tenant AND id = hold;
	RETURN FOUND;
END $$;

-- What another store of the same deployment has of expiries, for a copy of it. The clock
-- is asked for no more than that it has come to the time of their records: theirs was. All
-- else is checked as ever.
CREATE FUNCTION runledger_restore_expiries(tenant text, logs bigint[], tables text[], firsts bigint[], untils bigint[], befores bigint[], synthetics boolean[],
	order_logs bigint[], order_leaves bigint[], finished boolean[])
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
	INSERT INTO expiries AS e (tenant_id, log_no, table_name, first, until, before, synthetic, by_log, by_leaf, done, restored)
		SELECT tenant, u.log_no, u.relation, u.first, u.until, u.before, u.synthetic, u.by_log, u.by_leaf, u.done, true
		FROM unnest(logs, tables, firsts, untils, befores, synthetics, order_logs, order_leaves, finished)
			AS u (log_no, relation, first, until, before, synthetic, by_log, by_leaf, done)
		ORDER BY u.log_no, u.relation, u.first
		ON CONFLICT (tenant_id, log_no, table_name, first, by_log, by_leaf) DO UPDATE SET done = true
			WHERE excluded.done AND NOT e.done;
END $$;

-- Counts the rows of a partition, those that no expiry names, and those that are held
-- all the same.
CREATE FUNCTION runledger_count_partition(relation text, partition text, OUT total bigint, OUT unnamed bigint, OUT held bigint, OUT tenants bigint)
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
	EXECUTE format('SELECT count(*), count(*) FILTER (WHERE NOT named), count(*) FILTER (WHERE named AND held), count(DISTINCT tenant_id)
		FROM (SELECT r.tenant_id, %s AS named, %s AS held FROM %I AS r) AS r', runledger_named(), runledger_held(), partition)
		INTO total, unnamed, held, tenants USING relation;
END $$;

-- Whether the partition of a table and month can be given back: the month has ended, by
-- the clock and for the logs, and its rows have gone, or all may, or most. That is
-- counted only where an expiry is under way that may be about it: it takes as long as
-- reading it does.
CREATE FUNCTION runledger_expirable(relation text, month date)
RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
#variable_conflict use_variable
DECLARE
	day_us constant bigint := 86400000000;
	epoch constant date := make_date(1970, 1, 1);
	next constant date := (month + interval '1 month')::date;
	number constant bigint := extract(year FROM month) * 12 + extract(month FROM month) - 1;
	partition constant text := relation || '_p' || to_char(month, 'YYYYMM');
	filled boolean;
	n record;
BEGIN
	IF relation IS NULL OR month IS NULL OR NOT relation = ANY (runledger_partitioned()) OR extract(day FROM month) <> 1
		OR next > (now() AT TIME ZONE 'UTC')::date OR to_regclass(quote_ident(partition)) IS NULL THEN
		RETURN false;
	END IF;
	EXECUTE format('SELECT EXISTS (SELECT 1 FROM %I)', partition) INTO filled;
	IF filled AND (relation = 'sealed_segments' OR NOT EXISTS (SELECT 1 FROM expiries AS e
			WHERE e.table_name = relation AND NOT e.done AND e.before > (month - epoch) * day_us)) THEN
		RETURN false;
	ELSIF number >= coalesce((SELECT max(m.month) FROM log_months AS m), 0) THEN
		RETURN false;
	ELSIF NOT filled THEN
		RETURN true;
	END IF;
	n := runledger_count_partition(relation, partition);
	RETURN 2 * (n.unnamed + n.held) <= n.total;
END $$;

-- Removes what may go of the partition of a table and month, as whole as it is, and
-- returns how many rows went, or null where it is gone already. The month must have ended
-- before the day given, that day not lie ahead, and some log have records of a later month.
-- Its rows must be named by expiries. Where some are not, or are held, they are written
-- to a new partition that takes the place of the old, if that is the cheaper way: they are
-- at most half. What is sealed goes segment by segment, since each is written down, so
-- of sealed_segments only an empty partition goes.
--
-- What is dropped is no longer guarded from the moment it is detached, so both
-- happen here, in one transaction, behind locks: none may write to the partition
-- while it is looked at, and none read it while it goes. Holds are locked last, when
-- nobody who waits for a table can have them; one that came while rows were counted makes
-- the caller try again.
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
	staying bigint;
	holding bigint[];
BEGIN
	IF relation IS NULL OR month IS NULL OR before IS NULL OR NOT relation = ANY (runledger_partitioned()) OR extract(day FROM month) <> 1 THEN
		RAISE EXCEPTION 'no partition of % for %', relation, month USING ERRCODE = '22023';
	ELSIF next > before OR before > (now() AT TIME ZONE 'UTC')::date THEN
		RAISE EXCEPTION '% is younger than %', partition, before USING ERRCODE = 'RL005';
	END IF;
	PERFORM set_config('citus.enable_unsafe_triggers', 'on', true);
	PERFORM set_config('citus.multi_shard_modify_mode', 'sequential', true);
	LOCK TABLE llm_run_records IN SHARE UPDATE EXCLUSIVE MODE;
	IF to_regclass(quote_ident(partition)) IS NULL THEN
		RETURN NULL;
	END IF;
	EXECUTE format('LOCK TABLE %I IN SHARE ROW EXCLUSIVE MODE', partition);
	holding := ARRAY[(SELECT count(*) FROM holds), (SELECT count(*) FROM hold_runs), (SELECT count(*) FROM hold_records)];
	IF relation = 'sealed_segments' THEN
		EXECUTE format('SELECT count(*) AS total, count(*) AS unnamed, 0::bigint AS held, 0::bigint AS tenants FROM %I', partition) INTO n;
	ELSE
		n := runledger_count_partition(relation, partition);
	END IF;
	staying := n.unnamed + n.held;
	IF 2 * staying > n.total THEN
		IF n.unnamed = 0 THEN
			RAISE EXCEPTION '%: most of it is under legal holds', partition USING ERRCODE = 'RL006';
		END IF;
		RAISE EXCEPTION '%: no record orders the expiry of % of % rows', partition, n.unnamed, n.total USING ERRCODE = 'RL002';
	END IF;
	IF number >= coalesce((SELECT max(m.month) FROM log_months AS m), 0) THEN
		RAISE EXCEPTION '%: no log has records of a later month', partition USING ERRCODE = 'RL005';
	END IF;
	IF staying > 0 THEN
		EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE)', rest, partition);
		EXECUTE format('INSERT INTO %I SELECT r.* FROM %I AS r WHERE NOT %s OR %s', rest, partition, runledger_named(), runledger_held()) USING relation;
	END IF;
	EXECUTE format('ALTER TABLE %I DETACH PARTITION %I', relation, partition);
	LOCK TABLE holds, hold_runs, hold_records IN SHARE MODE;
	IF holding <> ARRAY[(SELECT count(*) FROM holds), (SELECT count(*) FROM hold_runs), (SELECT count(*) FROM hold_records)] THEN
		RAISE EXCEPTION '%: a legal hold was placed meanwhile', partition USING ERRCODE = '40001';
	END IF;
	IF n.total > 0 THEN
		EXECUTE format('DELETE FROM sealed_index AS s USING %I AS r WHERE s.tenant_id = r.tenant_id AND s.log_no = r.log_no AND s.leaf_index = r.leaf_index
			AND %s AND NOT %s', partition, runledger_named(), runledger_held()) USING relation;
	END IF;
	EXECUTE format('DROP TABLE %I', partition);
	IF staying > 0 THEN
		EXECUTE format('ALTER TABLE %I RENAME TO %I', rest, partition);
		EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%s) TO (%s)',
			relation, partition, (month - epoch) * day_us, (next - epoch) * day_us);
		PERFORM runledger_guard_truncate(partition);
	ELSE
		INSERT INTO expired_partitions (relation, month, tenants, row_count, expired_at)
			VALUES (relation, number, n.tenants, n.total, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint)
			ON CONFLICT DO NOTHING;
	END IF;
	RETURN n.total - staying;
END $$;

REVOKE ALL ON FUNCTION runledger_named(), runledger_held(),
	runledger_guard_expiries(), runledger_guard_holds(), runledger_guard_hold_parts(), runledger_guard_archives(),
	runledger_guard_rows(), runledger_guard_leaves(), runledger_guard_erasure(), runledger_guard_index(),
	runledger_remove_segments(text, bigint, bigint, bigint[], bigint[]),
	runledger_expire_rows(text, bigint, text[], bigint[], bigint[], bigint[], boolean[], bigint[], bigint[], bigint, bigint, boolean),
	runledger_expire_leaves(text, bigint, bigint), runledger_release_hold(text, text, bigint, bigint),
	runledger_restore_expiries(text, bigint[], text[], bigint[], bigint[], bigint[], boolean[], bigint[], bigint[], boolean[]),
	runledger_count_partition(text, text), runledger_expirable(text, date), runledger_expire_partition(text, date, date)
FROM PUBLIC;
