-- What a policy's limit says is read as PostgreSQL reads it: one to six digits. No days at all, and what
-- is no number of days, lets nothing go. (Partitions are dropped as planned there; here are none.)
DROP TRIGGER guard_expiries_age;
CREATE TRIGGER guard_expiries_age BEFORE INSERT ON expiries
WHEN NEW.tbl <> 'leaf_segments' AND NOT coalesce((
	SELECT NEW.before + 86400000000 * coalesce((
			SELECT CASE WHEN length(CAST(a.limit_value AS BLOB)) BETWEEN 1 AND 6 AND a.limit_value NOT GLOB '*[^0-9]*'
					AND instr(a.limit_value, char(0)) = 0 AND CAST(a.limit_value AS INTEGER) >= 1
				THEN CAST(a.limit_value AS INTEGER) ELSE 1000000000 END
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
-- None is done from the start but a copy's.
CREATE TRIGGER guard_expiries_done BEFORE INSERT ON expiries
WHEN NEW.done = 1 AND NEW.restored = 0
BEGIN SELECT RAISE(ABORT, 'expiries: no record orders this removal, which is said to be done'); END;
