package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// part are the partitions, and whatever else inherits from a table of the schema.
// The name of a partition tells its month, and its bounds have to be that month's.
const withPart = `WITH part AS (
		SELECT c.oid, c.relname, c.relkind, c.relpersistence, c.relispartition, c.relnamespace = p.relnamespace AS here,
			c.oid::regclass::text AS shown, h.inhparent, quote_ident(p.relname) AS parent, p.relkind AS of_kind,
			pg_get_expr(c.relpartbound, c.oid) AS bound,
			CASE WHEN left(c.relname, -6) = p.relname || '_p' AND right(c.relname, 6) ~ '^[0-9]{4}(0[1-9]|1[0-2])$' AND right(c.relname, 6) >= '000101'
				THEN make_date(substring(right(c.relname, 6) FROM 1 FOR 4)::integer, right(c.relname, 2)::integer, 1) END AS month
		FROM pg_inherits AS h JOIN pg_class AS c ON c.oid = h.inhrelid JOIN pg_class AS p ON p.oid = h.inhparent
		WHERE p.relnamespace = quote_ident(current_schema())::regnamespace AND p.relkind IN ('p', 'r')),
	trig AS (SELECT t.*, part.shown FROM part JOIN pg_trigger AS t ON t.tgrelid = part.oid AND NOT t.tgisinternal) `

// sqlPartitionFindings are what partitions lack, or have beyond their parents: what,
// and how to mend it. Row triggers of the parent are cloned by the database, and
// cannot be dropped, but turned off, on a partition; that against TRUNCATE is a
// partition's own. A partition has an index for each of the parent's that is valid:
// one of the parent that is not was named.
const sqlPartitionFindings = withPart + `
	SELECT 'trigger ' || quote_ident(t.tgname) || ' of partition ' || part.shown || ' is missing',
		'ALTER TABLE ' || part.shown || ' ENABLE ALWAYS TRIGGER ' || quote_ident(t.tgname)
		FROM part JOIN pg_trigger AS t ON t.tgrelid = part.inhparent AND NOT t.tgisinternal AND t.tgtype & 1 = 1
		WHERE NOT EXISTS (SELECT 1 FROM trig AS o WHERE o.tgrelid = part.oid AND o.tgname = t.tgname AND o.tgenabled = 'A'
			AND o.tgtype = t.tgtype AND o.tgfoid = t.tgfoid AND o.tgattr = ''
			AND split_part(pg_get_triggerdef(o.oid), ' FOR EACH ROW ', 2) = split_part(pg_get_triggerdef(t.oid), ' FOR EACH ROW ', 2))
	UNION ALL
	SELECT 'trigger guard_truncate of partition ' || shown || ' is missing',
		'DROP TRIGGER IF EXISTS guard_truncate ON ' || shown || '; SELECT runledger_guard_truncate(' || quote_literal(relname) || ')' FROM part
		WHERE NOT EXISTS (SELECT 1 FROM trig WHERE tgrelid = part.oid AND tgname = 'guard_truncate' AND tgenabled = 'A' AND tgtype = 34
			AND tgfoid = to_regproc('runledger_refuse') AND tgqual IS NULL)
	UNION ALL
	SELECT 'trigger ' || quote_ident(t.tgname) || ' of partition ' || part.shown || ' is not runledger''s',
		'DROP TRIGGER ' || quote_ident(t.tgname) || ' ON ' || part.shown
		FROM trig AS t JOIN part ON part.oid = t.tgrelid
		WHERE t.tgname <> 'guard_truncate' AND NOT EXISTS (SELECT 1 FROM pg_trigger AS o
			WHERE o.tgrelid = part.inhparent AND o.tgname = t.tgname AND NOT o.tgisinternal)
	UNION ALL
	SELECT 'rule ' || quote_ident(r.rulename) || ' of partition ' || shown || ' is not runledger''s', 'DROP RULE ' || quote_ident(r.rulename) || ' ON ' || shown
		FROM part JOIN pg_rewrite AS r ON r.ev_class = part.oid
	UNION ALL
	SELECT 'index ' || i.indexrelid::regclass || ' has no valid one on partition ' || shown,
		coalesce((SELECT 'REINDEX INDEX ' || h.inhrelid::regclass FROM pg_inherits AS h JOIN pg_index AS o ON o.indexrelid = h.inhrelid
			WHERE h.inhparent = i.indexrelid AND o.indrelid = part.oid), 'detach the partition and attach it again')
		FROM part JOIN pg_index AS i ON i.indrelid = part.inhparent AND of_kind = 'p' AND i.indisvalid
		WHERE NOT EXISTS (SELECT 1 FROM pg_inherits AS h JOIN pg_index AS o ON o.indexrelid = h.inhrelid
			WHERE h.inhparent = i.indexrelid AND o.indrelid = part.oid AND o.indisvalid)
	UNION ALL
	SELECT 'index ' || i.indexrelid::regclass || ' of partition ' || shown || ' is not runledger''s', 'DROP INDEX ' || i.indexrelid::regclass
		FROM part JOIN pg_index AS i ON i.indrelid = part.oid
		WHERE NOT EXISTS (SELECT 1 FROM pg_inherits WHERE inhrelid = i.indexrelid)
		AND NOT EXISTS (SELECT 1 FROM pg_constraint WHERE conindid = i.indexrelid AND conrelid = part.oid)
	UNION ALL
	SELECT 'constraint ' || quote_ident(c.conname) || ' of partition ' || shown || ' is not runledger''s',
		'ALTER TABLE ' || shown || ' DROP CONSTRAINT ' || quote_ident(c.conname)
		FROM part JOIN pg_constraint AS c ON c.conrelid = part.oid WHERE c.contype <> 'n' AND c.conparentid = 0
	UNION ALL
	SELECT 'partition ' || shown || ' of ' || parent || ' is not runledger''s',
		'/* look who attached it */ ALTER TABLE ' || parent || ' DETACH PARTITION ' || shown FROM part
		WHERE of_kind = 'p' AND (NOT here OR month IS NULL OR relkind <> 'r' OR relpersistence <> 'p' OR bound <> format('FOR VALUES FROM (%L) TO (%L)',
			(month - make_date(1970, 1, 1)) * 86400000000, ((month + interval '1 month')::date - make_date(1970, 1, 1)) * 86400000000))
	UNION ALL
	SELECT 'table ' || shown || ' inherits from ' || parent || ', and is not runledger''s',
		'/* look who made it */ ALTER TABLE ' || shown || ' NO INHERIT ' || parent FROM part
		WHERE NOT relispartition
	UNION ALL
	SELECT 'table ' || c.oid::regclass || ' inherits from ' || p.oid::regclass || ', by which it can be changed',
		'ALTER TABLE ' || CASE WHEN c.relispartition THEN p.oid::regclass || ' DETACH PARTITION ' || c.oid::regclass
			ELSE c.oid::regclass || ' NO INHERIT ' || p.oid::regclass END
		FROM pg_inherits AS h JOIN pg_class AS c ON c.oid = h.inhrelid JOIN pg_class AS p ON p.oid = h.inhparent
		WHERE c.relnamespace = quote_ident(current_schema())::regnamespace AND p.relnamespace <> c.relnamespace AND p.relkind IN ('p', 'r')
	UNION ALL
	SELECT 'triggers of table ' || c.oid::regclass || ' do not fire: the catalog says that it has none',
		'as a superuser: UPDATE pg_class SET relhastriggers = true WHERE oid = ' || quote_literal(c.oid::regclass) || '::regclass'
		FROM pg_class AS c WHERE c.relnamespace = quote_ident(current_schema())::regnamespace AND NOT c.relhastriggers
		AND EXISTS (SELECT 1 FROM pg_trigger AS t WHERE t.tgrelid = c.oid)
	UNION ALL
	SELECT 'trigger ' || quote_ident(t.tgname) || ' of ' || c.oid::regclass || ' is not runledger''s, and hidden as the database''s own',
		'as a superuser: UPDATE pg_trigger SET tgisinternal = false WHERE tgrelid = ' || quote_literal(c.oid::regclass) || '::regclass AND tgname = ' || quote_literal(t.tgname)
		FROM pg_trigger AS t JOIN pg_class AS c ON c.oid = t.tgrelid JOIN pg_proc AS p ON p.oid = t.tgfoid
		WHERE t.tgisinternal AND c.relnamespace = quote_ident(current_schema())::regnamespace AND p.pronamespace <> 'pg_catalog'::regnamespace
	UNION ALL
	SELECT 'table ' || c.oid::regclass || ' belongs to extension ' || quote_ident(e.extname) || ': dumps leave it out',
		'ALTER EXTENSION ' || quote_ident(e.extname) || ' DROP TABLE ' || c.oid::regclass
		FROM pg_depend AS d JOIN pg_class AS c ON d.classid = 'pg_class'::regclass AND d.objid = c.oid JOIN pg_extension AS e ON e.oid = d.refobjid
		WHERE d.deptype = 'e' AND d.refclassid = 'pg_extension'::regclass AND c.relkind IN ('r', 'p') AND c.relnamespace = quote_ident(current_schema())::regnamespace`

// sqlMissingPartitions are the months that some table has a partition of, or some log
// a record, while another table has none, though none expired, and where else there
// is a table of its name. One of this schema that was detached is named as that.
const sqlMissingPartitions = withPart + `, name AS (
		SELECT t.parent, m.month, t.parent || '_p' || lpad((m.month / 12)::text, 4, '0') || lpad((m.month % 12 + 1)::text, 2, '0') AS relname
		FROM unnest($1::text[]) AS t (parent) CROSS JOIN (
			SELECT (extract(year FROM month) * 12 + extract(month FROM month) - 1)::bigint FROM part WHERE month IS NOT NULL
			UNION SELECT DISTINCT month FROM log_months WHERE month BETWEEN 12 AND 119999) AS m (month))
	SELECT parent, month, coalesce((SELECT string_agg(c.oid::regclass::text, ', ') FROM pg_class AS c WHERE c.relname = name.relname AND c.relkind = 'r'), '')
	FROM name
	WHERE NOT EXISTS (SELECT 1 FROM part WHERE part.parent = name.parent AND part.relname = name.relname AND part.month IS NOT NULL)
	AND NOT EXISTS (SELECT 1 FROM expired_partitions AS e WHERE e.relation = name.parent AND e.month = name.month)
	AND NOT EXISTS (SELECT 1 FROM pg_class AS c WHERE c.relnamespace = quote_ident(current_schema())::regnamespace
		AND c.relname = name.relname AND c.relkind IN ('r', 'p', 'f') AND NOT c.relispartition)`

func (r *reader) partitionFindings(ctx context.Context) (list []Finding, err error) {
	err = r.run(ctx, sqlPartitionFindings, func(rows pgx.Rows) error {
		var what, mend string
		err := scan(rows, &what, &mend)
		list = append(list, broken(CodePartition, mend, "%s", what))
		return err
	})
	if err != nil {
		return nil, err
	}
	err = r.run(ctx, sqlMissingPartitions, func(rows pgx.Rows) error {
		var parent, elsewhere string
		var m month
		if err := scan(rows, &parent, &m, &elsewhere); err != nil {
			return err
		}
		name := parent + "_p" + m.first().Format("200601")
		mend := fmt.Sprintf("look whether a table has another name or schema now and is the partition: give it name and schema back, and runledger doctor says how to attach it; "+
			"where no record was in it: SELECT runledger_ensure_partitions('%[1]s', '%[1]s'); else restore it from a backup, and runledger verify", m.date())
		if elsewhere != "" {
			mend = "table " + elsewhere + " has its name; " + mend
		}
		list = append(list, broken(CodePartition, mend, "partition %s of %s is missing", name, parent))
		return nil
	}, partitioned)
	return list, err
}
