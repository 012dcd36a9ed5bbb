-- Lifecycle: what may go, what must stay, and what stands in an archive.
--
-- A topic row goes where an expiry names it and no hold covers it; an expiry needs
-- its RetentionApplied record, the age that the tenant's policy asks for by this
-- computer's own clock, and nobody's hold on the whole tenant. Leaves go as a prefix
-- of their log that an archive has. All of it is asked by triggers, of whoever asks
-- to delete.

-- Which rows may go, by which record. Append-only, but that done is set once.
CREATE TABLE expiries (
	log_key   INTEGER NOT NULL, -- of the rows
	tbl       TEXT NOT NULL CHECK (tbl IN ('leaf_segments', 'llm_run_records', 'aos_traces', 'aos_trace_steps',
		'aos_trace_events', 'system_records', 'system_metrics', 'audit_ledger', 'log_exports')),
	from_leaf INTEGER NOT NULL CHECK (from_leaf >= 0),
	to_leaf   INTEGER NOT NULL CHECK (to_leaf > from_leaf), -- not in it
	by_row    INTEGER NOT NULL, -- the RetentionApplied record
	before    INTEGER NOT NULL, -- only what was recorded before
	synthetic INTEGER NOT NULL CHECK (synthetic IN (0, 1)), -- only synthetic records
	done      INTEGER NOT NULL CHECK (done IN (0, 1)),
	-- In a copy of a deployment the time at which the record was made stands in the
	-- place of the clock, where that has come to it, within a minute.
	restored  INTEGER NOT NULL CHECK (restored IN (0, 1)),
	PRIMARY KEY (log_key, tbl, from_leaf, by_row)
) STRICT, WITHOUT ROWID;

-- The expiry that names a row: the first that ends behind it mostly does, so that a
-- deletion finds its order at once, however many there have been.
CREATE INDEX expiries_end ON expiries (log_key, tbl, to_leaf, from_leaf, before, synthetic);

-- The days that records are kept where no RetentionPolicyChanged of the tenant says
-- otherwise; package evidence has the same numbers. The audit ledger is not here: of
-- it only synthetic records go.
CREATE VIEW retention_defaults (tbl, class, days) AS VALUES
	('llm_run_records', 'llm_runs', 90), ('aos_traces', 'llm_runs', 90),
	('aos_trace_steps', 'llm_runs', 90), ('aos_trace_events', 'llm_runs', 90),
	('system_records', 'system_logs', 30), ('system_metrics', 'system_logs', 30),
	('log_exports', 'log_exports', 365), ('synthetic', 'synthetic', 7);

-- Legal holds. Append-only, but that released_row is set once.
CREATE TABLE holds (
	hold_no      INTEGER PRIMARY KEY,
	tenant_no    INTEGER NOT NULL,
	id           TEXT NOT NULL,
	scope        TEXT NOT NULL CHECK (scope IN ('tenant', 'time', 'run', 'subject')),
	placed_row   INTEGER NOT NULL, -- the LegalHoldPlaced record
	released_row INTEGER,          -- the LegalHoldReleased record; null: in force
	from_at      INTEGER NOT NULL, -- of scope time
	until_at     INTEGER NOT NULL,
	UNIQUE (tenant_no, id)
) STRICT;

-- Those in force, which each deletion asks for.
CREATE INDEX holds_in_force ON holds (tenant_no) WHERE released_row IS NULL;

-- The runs that a hold covers, and the records without a run.
CREATE TABLE hold_runs (
	run_no  INTEGER NOT NULL, -- spine
	hold_no INTEGER NOT NULL,
	PRIMARY KEY (run_no, hold_no)
) STRICT, WITHOUT ROWID;
CREATE INDEX hold_runs_hold ON hold_runs (hold_no);

CREATE TABLE hold_rows (
	row     INTEGER NOT NULL, -- of the record
	hold_no INTEGER NOT NULL,
	PRIMARY KEY (row, hold_no)
) STRICT, WITHOUT ROWID;
CREATE INDEX hold_rows_hold ON hold_rows (hold_no);

-- What stands in archives: stretches of a log one behind another, from its start.
-- row = log_key << 40 | first leaf.
CREATE TABLE archives (
	row      INTEGER PRIMARY KEY,
	to_leaf  INTEGER NOT NULL, -- not in it
	first_at INTEGER NOT NULL, -- when its first leaf was recorded
	last_at  INTEGER NOT NULL,
	archive  TEXT NOT NULL,
	name     TEXT NOT NULL,
	manifest BLOB NOT NULL,    -- SHA-256
	bytes    INTEGER NOT NULL,
	sealed   INTEGER NOT NULL,
	at       INTEGER NOT NULL  -- when it was written down
) STRICT;

-- The spans of steps whose rows have gone, so that a retry finds the first still. (Other
-- records have their ids in record_ids, which stay.) The writer asks for them, and not
-- a trigger, because it knows what a trigger would have to look up at each insert: that
-- the trace is younger than any that is here.
CREATE TABLE expired_spans (
	trace_no INTEGER NOT NULL, -- spine
	span_id  INTEGER NOT NULL,
	row      INTEGER NOT NULL,
	PRIMARY KEY (trace_no, span_id)
) STRICT, WITHOUT ROWID;

-- What stands under a key, for its end; the entries of a row, for its end.
CREATE INDEX sealed_segments_key ON sealed_segments (key_id);
CREATE INDEX sealed_index_row ON sealed_index (row);

CREATE TRIGGER guard_expiries_update BEFORE UPDATE ON expiries
WHEN OLD.done <> 0 OR NEW.done <> 1 OR NEW.log_key <> OLD.log_key OR NEW.tbl <> OLD.tbl OR NEW.from_leaf <> OLD.from_leaf
	OR NEW.to_leaf <> OLD.to_leaf OR NEW.by_row <> OLD.by_row OR NEW.before <> OLD.before
	OR NEW.synthetic <> OLD.synthetic OR NEW.restored <> OLD.restored
BEGIN SELECT RAISE(ABORT, 'expiries is append-only: update refused'); END;
CREATE TRIGGER guard_expiries_delete BEFORE DELETE ON expiries
BEGIN SELECT RAISE(ABORT, 'expiries is append-only: delete refused'); END;
CREATE TRIGGER guard_expiries_replace BEFORE INSERT ON expiries
WHEN EXISTS (SELECT 1 FROM expiries WHERE log_key = NEW.log_key AND tbl = NEW.tbl AND from_leaf = NEW.from_leaf AND by_row = NEW.by_row)
BEGIN SELECT RAISE(ABORT, 'expiries: row exists'); END;
-- The record is of the same tenant, says the same, and comes after all that it names.
CREATE TRIGGER guard_expiries_order BEFORE INSERT ON expiries
WHEN NOT EXISTS (SELECT 1 FROM r_audit WHERE row = NEW.by_row
		AND event_type = (SELECT name_no FROM names WHERE text = 'RetentionApplied')
		AND entity_type = (SELECT name_no FROM names WHERE text = 'RETENTION')
		AND entity_id = NEW.tbl AND valid_until = NEW.before
		AND coalesce(rule_id = (SELECT name_no FROM names WHERE text = 'synthetic'), 0) = NEW.synthetic)
	OR (SELECT tenant_no FROM logs WHERE log_key = NEW.log_key) IS NOT (SELECT tenant_no FROM logs WHERE log_key = NEW.by_row >> 40)
	OR (NEW.log_key << 40) + NEW.to_leaf > NEW.by_row
	OR (NEW.tbl = 'audit_ledger' AND NEW.synthetic = 0)
BEGIN SELECT RAISE(ABORT, 'expiries: no record orders this removal'); END;
CREATE TRIGGER guard_expiries_leaves BEFORE INSERT ON expiries
WHEN NEW.tbl = 'leaf_segments' AND (NEW.synthetic = 1
	OR NOT EXISTS (SELECT 1 FROM archives WHERE row = (NEW.log_key << 40) + NEW.from_leaf AND to_leaf = NEW.to_leaf)
	OR (NEW.from_leaf > 0 AND NOT EXISTS (SELECT 1 FROM expiries
		WHERE log_key = NEW.log_key AND tbl = 'leaf_segments' AND to_leaf = NEW.from_leaf)))
BEGIN SELECT RAISE(ABORT, 'expiries: these leaves are not the next in an archive'); END;
-- Nobody can make rows old but by waiting, or by a record of another policy. A limit
-- that is no whole number of days lets nothing go.
CREATE TRIGGER guard_expiries_age BEFORE INSERT ON expiries
WHEN NEW.tbl <> 'leaf_segments' AND NOT coalesce((
	SELECT NEW.before + 86400000000 * coalesce((
			SELECT CASE WHEN a.limit_value GLOB '[0-9]*' AND a.limit_value NOT GLOB '*[^0-9]*' THEN CAST(a.limit_value AS INTEGER) ELSE 1000000000 END
			FROM logs AS l JOIN r_audit AS a ON a.row >> 40 = l.log_key AND a.entity_id = c.class
			WHERE l.tenant_no = (SELECT tenant_no FROM logs WHERE log_key = NEW.log_key)
				AND a.event_type = (SELECT name_no FROM names WHERE text = 'RetentionPolicyChanged')
				AND a.entity_type = (SELECT name_no FROM names WHERE text = 'RETENTION')
				AND (NEW.restored = 0 OR a.row < NEW.by_row)
			ORDER BY a.row DESC LIMIT 1), c.days)
		<= CASE WHEN NEW.restored = 1 THEN min((SELECT recorded_at FROM r_audit WHERE row = NEW.by_row), (unixepoch() + 60) * 1000000)
			ELSE unixepoch() * 1000000 END
	FROM retention_defaults AS c WHERE c.tbl = CASE WHEN NEW.synthetic = 1 THEN 'synthetic' ELSE NEW.tbl END), 0)
BEGIN SELECT RAISE(ABORT, 'expiries: younger than the policy allows'); END;
CREATE TRIGGER guard_expiries_held BEFORE INSERT ON expiries
WHEN EXISTS (SELECT 1 FROM holds WHERE released_row IS NULL AND scope = 'tenant'
	AND tenant_no = (SELECT tenant_no FROM logs WHERE log_key = NEW.log_key))
BEGIN SELECT RAISE(ABORT, 'expiries: the tenant is held'); END;

CREATE TRIGGER guard_holds_update BEFORE UPDATE ON holds
WHEN OLD.released_row IS NOT NULL OR NEW.released_row IS NULL OR NEW.hold_no <> OLD.hold_no OR NEW.tenant_no <> OLD.tenant_no
	OR NEW.id <> OLD.id OR NEW.scope <> OLD.scope OR NEW.placed_row <> OLD.placed_row
	OR NEW.from_at <> OLD.from_at OR NEW.until_at <> OLD.until_at
BEGIN SELECT RAISE(ABORT, 'holds is append-only: update refused'); END;
CREATE TRIGGER guard_holds_delete BEFORE DELETE ON holds
BEGIN SELECT RAISE(ABORT, 'holds is append-only: delete refused'); END;
CREATE TRIGGER guard_holds_replace BEFORE INSERT ON holds
WHEN EXISTS (SELECT 1 FROM holds WHERE hold_no = NEW.hold_no)
	OR EXISTS (SELECT 1 FROM holds WHERE tenant_no = NEW.tenant_no AND id = NEW.id)
BEGIN SELECT RAISE(ABORT, 'holds: row exists'); END;
CREATE TRIGGER guard_holds_order BEFORE INSERT ON holds
WHEN NEW.released_row IS NOT NULL
	OR NOT EXISTS (SELECT 1 FROM r_audit WHERE row = NEW.placed_row
		AND event_type = (SELECT name_no FROM names WHERE text = 'LegalHoldPlaced')
		AND entity_type = (SELECT name_no FROM names WHERE text = 'RETENTION')
		AND entity_id = NEW.id AND rule_id = (SELECT name_no FROM names WHERE text = NEW.scope)
		AND (NEW.scope <> 'time' OR (coalesce(valid_from, NEW.from_at) = NEW.from_at AND coalesce(valid_until, NEW.until_at) = NEW.until_at)))
	OR NEW.tenant_no IS NOT (SELECT tenant_no FROM logs WHERE log_key = NEW.placed_row >> 40)
BEGIN SELECT RAISE(ABORT, 'holds: no record places it'); END;
CREATE TRIGGER guard_holds_release BEFORE UPDATE ON holds
WHEN NOT EXISTS (SELECT 1 FROM r_audit WHERE row = NEW.released_row AND row > OLD.placed_row
		AND event_type = (SELECT name_no FROM names WHERE text = 'LegalHoldReleased')
		AND entity_type = (SELECT name_no FROM names WHERE text = 'RETENTION')
		AND entity_id = OLD.id)
	OR OLD.tenant_no IS NOT (SELECT tenant_no FROM logs WHERE log_key = NEW.released_row >> 40)
BEGIN SELECT RAISE(ABORT, 'holds: no record releases it'); END;

CREATE TRIGGER guard_hold_runs_update BEFORE UPDATE ON hold_runs
BEGIN SELECT RAISE(ABORT, 'hold_runs is append-only: update refused'); END;
CREATE TRIGGER guard_hold_runs_delete BEFORE DELETE ON hold_runs
BEGIN SELECT RAISE(ABORT, 'hold_runs is append-only: delete refused'); END;
CREATE TRIGGER guard_hold_runs_replace BEFORE INSERT ON hold_runs
WHEN EXISTS (SELECT 1 FROM hold_runs WHERE run_no = NEW.run_no AND hold_no = NEW.hold_no)
BEGIN SELECT RAISE(ABORT, 'hold_runs: row exists'); END;
CREATE TRIGGER guard_hold_runs_order BEFORE INSERT ON hold_runs
WHEN NOT EXISTS (SELECT 1 FROM holds WHERE hold_no = NEW.hold_no AND released_row IS NULL
	AND tenant_no = (SELECT tenant_no FROM spine WHERE spine_no = NEW.run_no))
BEGIN SELECT RAISE(ABORT, 'hold_runs: no such hold is in force'); END;

CREATE TRIGGER guard_hold_rows_update BEFORE UPDATE ON hold_rows
BEGIN SELECT RAISE(ABORT, 'hold_rows is append-only: update refused'); END;
CREATE TRIGGER guard_hold_rows_delete BEFORE DELETE ON hold_rows
BEGIN SELECT RAISE(ABORT, 'hold_rows is append-only: delete refused'); END;
CREATE TRIGGER guard_hold_rows_replace BEFORE INSERT ON hold_rows
WHEN EXISTS (SELECT 1 FROM hold_rows WHERE row = NEW.row AND hold_no = NEW.hold_no)
BEGIN SELECT RAISE(ABORT, 'hold_rows: row exists'); END;
CREATE TRIGGER guard_hold_rows_order BEFORE INSERT ON hold_rows
WHEN NOT EXISTS (SELECT 1 FROM holds WHERE hold_no = NEW.hold_no AND released_row IS NULL
	AND tenant_no = (SELECT tenant_no FROM logs WHERE log_key = NEW.row >> 40))
BEGIN SELECT RAISE(ABORT, 'hold_rows: no such hold is in force'); END;

CREATE TRIGGER guard_archives_update BEFORE UPDATE ON archives
BEGIN SELECT RAISE(ABORT, 'archives is append-only: update refused'); END;
CREATE TRIGGER guard_archives_delete BEFORE DELETE ON archives
BEGIN SELECT RAISE(ABORT, 'archives is append-only: delete refused'); END;
CREATE TRIGGER guard_archives_replace BEFORE INSERT ON archives
WHEN EXISTS (SELECT 1 FROM archives WHERE row = NEW.row)
BEGIN SELECT RAISE(ABORT, 'archives: row exists'); END;
CREATE TRIGGER guard_archives_order BEFORE INSERT ON archives
WHEN NEW.row & 1099511627775 <> coalesce((SELECT to_leaf FROM archives
		WHERE row >= (NEW.row >> 40) << 40 AND row <= (NEW.row | 1099511627775) ORDER BY row DESC LIMIT 1), 0)
	OR NEW.to_leaf <= NEW.row & 1099511627775
	OR NOT EXISTS (SELECT 1 FROM heads WHERE log_key = NEW.row >> 40 AND size >= NEW.to_leaf)
BEGIN SELECT RAISE(ABORT, 'archives: not the next leaves of the log'); END;

CREATE TRIGGER guard_expired_spans_update BEFORE UPDATE ON expired_spans
BEGIN SELECT RAISE(ABORT, 'expired_spans is append-only: update refused'); END;
CREATE TRIGGER guard_expired_spans_delete BEFORE DELETE ON expired_spans
BEGIN SELECT RAISE(ABORT, 'expired_spans is append-only: delete refused'); END;
CREATE TRIGGER guard_expired_spans_replace BEFORE INSERT ON expired_spans
WHEN EXISTS (SELECT 1 FROM expired_spans WHERE trace_no = NEW.trace_no AND span_id = NEW.span_id)
BEGIN SELECT RAISE(ABORT, 'expired_spans: row exists'); END;

-- An erasure is refused where it is recorded: the content of a run that is held, or of
-- anybody where the tenant is. (Whom holds of time cover the ledger looks up.)
CREATE TRIGGER guard_r_audit_held BEFORE INSERT ON r_audit
WHEN EXISTS (SELECT 1 FROM holds WHERE released_row IS NULL)
	AND NEW.event_type = (SELECT name_no FROM names WHERE text = 'ErasureExecuted')
	AND (EXISTS (SELECT 1 FROM holds WHERE released_row IS NULL AND scope = 'tenant'
			AND tenant_no = (SELECT tenant_no FROM logs WHERE log_key = NEW.row >> 40))
		OR EXISTS (SELECT 1 FROM hold_runs AS p JOIN holds AS h ON h.hold_no = p.hold_no
			WHERE p.run_no IN (NEW.run_no, NEW.about_run) AND h.released_row IS NULL))
BEGIN SELECT RAISE(ABORT, 'r_audit: an erasure of what is held'); END;

-- Rows go by the order of an expiry, and not while they are held.
DROP TRIGGER guard_r_llm_run_delete;
CREATE TRIGGER guard_r_llm_run_delete BEFORE DELETE ON r_llm_run
BEGIN
	SELECT RAISE(ABORT, 'r_llm_run: no record orders this removal') WHERE NOT EXISTS (SELECT 1 FROM expiries
		WHERE log_key = OLD.row >> 40 AND tbl = 'llm_run_records' AND to_leaf > OLD.row & 1099511627775 AND from_leaf <= OLD.row & 1099511627775
			AND before > OLD.recorded_at AND (synthetic = 0 OR OLD.is_synthetic = 1));
	SELECT RAISE(ABORT, 'r_llm_run: the row is held') WHERE EXISTS (SELECT 1 FROM holds WHERE released_row IS NULL) AND (
		EXISTS (SELECT 1 FROM holds WHERE released_row IS NULL
			AND tenant_no = (SELECT tenant_no FROM logs WHERE log_key = OLD.row >> 40)
			AND (scope = 'tenant' OR (scope = 'time' AND ((OLD.occurred_at >= from_at AND OLD.occurred_at < until_at)
				OR (OLD.recorded_at >= from_at AND OLD.recorded_at < until_at)))))
		OR EXISTS (SELECT 1 FROM hold_runs AS p JOIN holds AS h ON h.hold_no = p.hold_no
			WHERE p.run_no = OLD.run_no AND h.released_row IS NULL)
		OR EXISTS (SELECT 1 FROM hold_rows AS p JOIN holds AS h ON h.hold_no = p.hold_no
			WHERE p.row = OLD.row AND h.released_row IS NULL));
END;
DROP TRIGGER guard_r_trace_delete;
CREATE TRIGGER guard_r_trace_delete BEFORE DELETE ON r_trace
BEGIN
	SELECT RAISE(ABORT, 'r_trace: no record orders this removal') WHERE NOT EXISTS (SELECT 1 FROM expiries
		WHERE log_key = OLD.row >> 40 AND tbl = 'aos_traces' AND to_leaf > OLD.row & 1099511627775 AND from_leaf <= OLD.row & 1099511627775
			AND before > OLD.recorded_at AND (synthetic = 0 OR OLD.is_synthetic = 1));
	SELECT RAISE(ABORT, 'r_trace: the row is held') WHERE EXISTS (SELECT 1 FROM holds WHERE released_row IS NULL) AND (
		EXISTS (SELECT 1 FROM holds WHERE released_row IS NULL
			AND tenant_no = (SELECT tenant_no FROM logs WHERE log_key = OLD.row >> 40)
			AND (scope = 'tenant' OR (scope = 'time' AND ((OLD.occurred_at >= from_at AND OLD.occurred_at < until_at)
				OR (OLD.recorded_at >= from_at AND OLD.recorded_at < until_at)))))
		OR EXISTS (SELECT 1 FROM hold_runs AS p JOIN holds AS h ON h.hold_no = p.hold_no
			WHERE p.run_no = OLD.run_no AND h.released_row IS NULL)
		OR EXISTS (SELECT 1 FROM hold_rows AS p JOIN holds AS h ON h.hold_no = p.hold_no
			WHERE p.row = OLD.row AND h.released_row IS NULL));
END;
DROP TRIGGER guard_r_trace_step_delete;
CREATE TRIGGER guard_r_trace_step_delete BEFORE DELETE ON r_trace_step
BEGIN
	SELECT RAISE(ABORT, 'r_trace_step: no record orders this removal') WHERE NOT EXISTS (SELECT 1 FROM expiries
		WHERE log_key = OLD.row >> 40 AND tbl = 'aos_trace_steps' AND to_leaf > OLD.row & 1099511627775 AND from_leaf <= OLD.row & 1099511627775
			AND before > OLD.recorded_at AND (synthetic = 0 OR OLD.is_synthetic = 1));
	SELECT RAISE(ABORT, 'r_trace_step: the row is held') WHERE EXISTS (SELECT 1 FROM holds WHERE released_row IS NULL) AND (
		EXISTS (SELECT 1 FROM holds WHERE released_row IS NULL
			AND tenant_no = (SELECT tenant_no FROM logs WHERE log_key = OLD.row >> 40)
			AND (scope = 'tenant' OR (scope = 'time' AND ((OLD.occurred_at >= from_at AND OLD.occurred_at < until_at)
				OR (OLD.recorded_at >= from_at AND OLD.recorded_at < until_at)))))
		OR EXISTS (SELECT 1 FROM hold_runs AS p JOIN holds AS h ON h.hold_no = p.hold_no
			WHERE p.run_no = OLD.run_no AND h.released_row IS NULL)
		OR EXISTS (SELECT 1 FROM hold_rows AS p JOIN holds AS h ON h.hold_no = p.hold_no
			WHERE p.row = OLD.row AND h.released_row IS NULL));
END;
DROP TRIGGER guard_r_trace_event_delete;
CREATE TRIGGER guard_r_trace_event_delete BEFORE DELETE ON r_trace_event
BEGIN
	SELECT RAISE(ABORT, 'r_trace_event: no record orders this removal') WHERE NOT EXISTS (SELECT 1 FROM expiries
		WHERE log_key = OLD.row >> 40 AND tbl = 'aos_trace_events' AND to_leaf > OLD.row & 1099511627775 AND from_leaf <= OLD.row & 1099511627775
			AND before > OLD.recorded_at AND (synthetic = 0 OR OLD.is_synthetic = 1));
	SELECT RAISE(ABORT, 'r_trace_event: the row is held') WHERE EXISTS (SELECT 1 FROM holds WHERE released_row IS NULL) AND (
		EXISTS (SELECT 1 FROM holds WHERE released_row IS NULL
			AND tenant_no = (SELECT tenant_no FROM logs WHERE log_key = OLD.row >> 40)
			AND (scope = 'tenant' OR (scope = 'time' AND ((OLD.occurred_at >= from_at AND OLD.occurred_at < until_at)
				OR (OLD.recorded_at >= from_at AND OLD.recorded_at < until_at)))))
		OR EXISTS (SELECT 1 FROM hold_runs AS p JOIN holds AS h ON h.hold_no = p.hold_no
			WHERE p.run_no = OLD.run_no AND h.released_row IS NULL)
		OR EXISTS (SELECT 1 FROM hold_rows AS p JOIN holds AS h ON h.hold_no = p.hold_no
			WHERE p.row = OLD.row AND h.released_row IS NULL));
END;
DROP TRIGGER guard_r_system_delete;
CREATE TRIGGER guard_r_system_delete BEFORE DELETE ON r_system
BEGIN
	SELECT RAISE(ABORT, 'r_system: no record orders this removal') WHERE NOT EXISTS (SELECT 1 FROM expiries
		WHERE log_key = OLD.row >> 40 AND tbl = 'system_records' AND to_leaf > OLD.row & 1099511627775 AND from_leaf <= OLD.row & 1099511627775
			AND before > OLD.recorded_at AND (synthetic = 0 OR OLD.is_synthetic = 1));
	SELECT RAISE(ABORT, 'r_system: the row is held') WHERE EXISTS (SELECT 1 FROM holds WHERE released_row IS NULL) AND (
		EXISTS (SELECT 1 FROM holds WHERE released_row IS NULL
			AND tenant_no = (SELECT tenant_no FROM logs WHERE log_key = OLD.row >> 40)
			AND (scope = 'tenant' OR (scope = 'time' AND ((OLD.occurred_at >= from_at AND OLD.occurred_at < until_at)
				OR (OLD.recorded_at >= from_at AND OLD.recorded_at < until_at)))))
		OR EXISTS (SELECT 1 FROM hold_runs AS p JOIN holds AS h ON h.hold_no = p.hold_no
			WHERE p.run_no = OLD.run_no AND h.released_row IS NULL)
		OR EXISTS (SELECT 1 FROM hold_rows AS p JOIN holds AS h ON h.hold_no = p.hold_no
			WHERE p.row = OLD.row AND h.released_row IS NULL));
END;
DROP TRIGGER guard_r_metric_delete;
CREATE TRIGGER guard_r_metric_delete BEFORE DELETE ON r_metric
BEGIN
	SELECT RAISE(ABORT, 'r_metric: no record orders this removal') WHERE NOT EXISTS (SELECT 1 FROM expiries
		WHERE log_key = OLD.row >> 40 AND tbl = 'system_metrics' AND to_leaf > OLD.row & 1099511627775 AND from_leaf <= OLD.row & 1099511627775
			AND before > OLD.recorded_at AND (synthetic = 0 OR OLD.is_synthetic = 1));
	SELECT RAISE(ABORT, 'r_metric: the row is held') WHERE EXISTS (SELECT 1 FROM holds WHERE released_row IS NULL) AND (
		EXISTS (SELECT 1 FROM holds WHERE released_row IS NULL
			AND tenant_no = (SELECT tenant_no FROM logs WHERE log_key = OLD.row >> 40)
			AND (scope = 'tenant' OR (scope = 'time' AND ((OLD.occurred_at >= from_at AND OLD.occurred_at < until_at)
				OR (OLD.recorded_at >= from_at AND OLD.recorded_at < until_at)))))
		OR EXISTS (SELECT 1 FROM hold_runs AS p JOIN holds AS h ON h.hold_no = p.hold_no
			WHERE p.run_no = OLD.run_no AND h.released_row IS NULL)
		OR EXISTS (SELECT 1 FROM hold_rows AS p JOIN holds AS h ON h.hold_no = p.hold_no
			WHERE p.row = OLD.row AND h.released_row IS NULL));
END;
DROP TRIGGER guard_r_audit_delete;
CREATE TRIGGER guard_r_audit_delete BEFORE DELETE ON r_audit
BEGIN
	SELECT RAISE(ABORT, 'r_audit: no record orders this removal') WHERE NOT EXISTS (SELECT 1 FROM expiries
		WHERE log_key = OLD.row >> 40 AND tbl = 'audit_ledger' AND to_leaf > OLD.row & 1099511627775 AND from_leaf <= OLD.row & 1099511627775
			AND before > OLD.recorded_at AND (synthetic = 0 OR OLD.is_synthetic = 1));
	SELECT RAISE(ABORT, 'r_audit: the row is held') WHERE EXISTS (SELECT 1 FROM holds WHERE released_row IS NULL) AND (
		EXISTS (SELECT 1 FROM holds WHERE released_row IS NULL
			AND tenant_no = (SELECT tenant_no FROM logs WHERE log_key = OLD.row >> 40)
			AND (scope = 'tenant' OR (scope = 'time' AND ((OLD.occurred_at >= from_at AND OLD.occurred_at < until_at)
				OR (OLD.recorded_at >= from_at AND OLD.recorded_at < until_at)))))
		OR EXISTS (SELECT 1 FROM hold_runs AS p JOIN holds AS h ON h.hold_no = p.hold_no
			WHERE p.run_no = OLD.run_no AND h.released_row IS NULL)
		OR EXISTS (SELECT 1 FROM hold_rows AS p JOIN holds AS h ON h.hold_no = p.hold_no
			WHERE p.row = OLD.row AND h.released_row IS NULL));
END;
DROP TRIGGER guard_r_export_delete;
CREATE TRIGGER guard_r_export_delete BEFORE DELETE ON r_export
BEGIN
	SELECT RAISE(ABORT, 'r_export: no record orders this removal') WHERE NOT EXISTS (SELECT 1 FROM expiries
		WHERE log_key = OLD.row >> 40 AND tbl = 'log_exports' AND to_leaf > OLD.row & 1099511627775 AND from_leaf <= OLD.row & 1099511627775
			AND before > OLD.recorded_at AND (synthetic = 0 OR OLD.is_synthetic = 1));
	SELECT RAISE(ABORT, 'r_export: the row is held') WHERE EXISTS (SELECT 1 FROM holds WHERE released_row IS NULL) AND (
		EXISTS (SELECT 1 FROM holds WHERE released_row IS NULL
			AND tenant_no = (SELECT tenant_no FROM logs WHERE log_key = OLD.row >> 40)
			AND (scope = 'tenant' OR (scope = 'time' AND ((OLD.occurred_at >= from_at AND OLD.occurred_at < until_at)
				OR (OLD.recorded_at >= from_at AND OLD.recorded_at < until_at)))))
		OR EXISTS (SELECT 1 FROM hold_runs AS p JOIN holds AS h ON h.hold_no = p.hold_no
			WHERE p.run_no = OLD.run_no AND h.released_row IS NULL)
		OR EXISTS (SELECT 1 FROM hold_rows AS p JOIN holds AS h ON h.hold_no = p.hold_no
			WHERE p.row = OLD.row AND h.released_row IS NULL));
END;
CREATE TRIGGER keep_r_trace_step_span AFTER DELETE ON r_trace_step
WHEN OLD.conflict_of IS NULL AND OLD.span_id IS NOT NULL AND OLD.trace_id IS NOT NULL
BEGIN INSERT INTO expired_spans (trace_no, span_id, row) VALUES (OLD.trace_id, OLD.span_id, OLD.row); END;

-- Leaves go where an archive has them and all before them.
DROP TRIGGER guard_leaf_segments_delete;
CREATE TRIGGER guard_leaf_segments_delete BEFORE DELETE ON leaf_segments
WHEN NOT EXISTS (SELECT 1 FROM expiries WHERE log_key = OLD.row >> 40 AND tbl = 'leaf_segments'
	AND to_leaf >= (OLD.row & 1099511627775) + OLD.count)
BEGIN SELECT RAISE(ABORT, 'leaf_segments: no record orders this removal'); END;

-- An entry of the index goes as a removal says, or once its record's row has gone,
-- which was lawful.
DROP TRIGGER guard_sealed_index_delete;
CREATE TRIGGER guard_sealed_index_delete BEFORE DELETE ON sealed_index
WHEN NOT EXISTS (SELECT 1 FROM removals WHERE tenant_no = OLD.tenant_no
		AND what = 'index' AND ref = OLD.row AND id = x'' AND name_no = OLD.name_no)
	AND (EXISTS (SELECT 1 FROM r_llm_run WHERE row = OLD.row)
		OR EXISTS (SELECT 1 FROM r_trace WHERE row = OLD.row)
		OR EXISTS (SELECT 1 FROM r_trace_step WHERE row = OLD.row)
		OR EXISTS (SELECT 1 FROM r_trace_event WHERE row = OLD.row)
		OR EXISTS (SELECT 1 FROM r_system WHERE row = OLD.row)
		OR EXISTS (SELECT 1 FROM r_metric WHERE row = OLD.row)
		OR EXISTS (SELECT 1 FROM r_audit WHERE row = OLD.row)
		OR EXISTS (SELECT 1 FROM r_export WHERE row = OLD.row))
BEGIN SELECT RAISE(ABORT, 'sealed_index: no record orders this removal'); END;
