package postgres

import (
	"context"
	_ "embed"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// schemaText is what the migrations make, as sqlSchema reads it: one object a
// line. A test keeps it current. SQLite's backend makes a fresh database to
// compare with; here the application may make none.
//
//go:embed schema.txt
var schemaText string

// sqlSchema reads the schema's objects, but not those of partitions, which
// follow from their parents. Constraints of NOT NULL are in the columns; later
// versions of PostgreSQL list them among the constraints, too.
const sqlSchema = `WITH rel AS (
		SELECT c.oid, c.relname, c.relkind, c.relpersistence FROM pg_class AS c
		WHERE c.relnamespace = quote_ident(current_schema())::regnamespace AND NOT c.relispartition)
	SELECT CASE relkind WHEN 'v' THEN 'view' ELSE 'table' END, relname, CASE relkind
		WHEN 'v' THEN pg_get_viewdef(oid)
		ELSE relkind::text || relpersistence::text || ' ' || coalesce(pg_get_partkeydef(oid), '') || ' ' || (
			SELECT string_agg(format('%s %s%s%s%s', a.attname, format_type(a.atttypid, a.atttypmod),
				CASE WHEN a.attcollation <> 0 THEN ' ' || a.attcollation::regcollation END,
				CASE WHEN a.attnotnull THEN ' NOT NULL' END,
				CASE WHEN a.attidentity <> '' THEN ' IDENTITY' END), ', ' ORDER BY a.attnum)
			FROM pg_attribute AS a WHERE a.attrelid = rel.oid AND a.attnum > 0 AND NOT a.attisdropped)
		END FROM rel WHERE relkind NOT IN ('i', 'I', 'S', 't')
	UNION ALL
	SELECT 'index', i.indexrelid::regclass::text, pg_get_indexdef(i.indexrelid) || CASE WHEN NOT i.indisvalid THEN ' INVALID' ELSE '' END
		FROM pg_index AS i JOIN rel ON i.indrelid = rel.oid
	UNION ALL
	SELECT 'constraint', rel.relname || '.' || c.conname, pg_get_constraintdef(c.oid) || CASE WHEN NOT c.convalidated THEN ' NOT VALID' ELSE '' END
		FROM pg_constraint AS c JOIN rel ON c.conrelid = rel.oid WHERE c.contype <> 'n'
	UNION ALL
	SELECT 'trigger', rel.relname || '.' || t.tgname, t.tgenabled::text || ' ' || pg_get_triggerdef(t.oid)
		FROM pg_trigger AS t JOIN rel ON t.tgrelid = rel.oid WHERE NOT t.tgisinternal
	UNION ALL
	SELECT 'rule', rel.relname || '.' || r.rulename, pg_get_ruledef(r.oid)
		FROM pg_rewrite AS r JOIN rel ON r.ev_class = rel.oid WHERE r.rulename <> '_RETURN'
	UNION ALL
	SELECT 'function', p.oid::regprocedure::text, format('%s %s %s %s %s', l.lanname, p.prosecdef, p.prorettype::regtype,
			coalesce(array_to_string(p.proconfig, ' '), ''), md5(p.prosrc))
		FROM pg_proc AS p JOIN pg_language AS l ON l.oid = p.prolang WHERE p.pronamespace = quote_ident(current_schema())::regnamespace
	ORDER BY 1, 2, 3`

// sqlPartitions names what a partition lacks, or has beyond its parent.
const sqlPartitions = `WITH part AS (
		SELECT c.oid, c.relname, h.inhparent FROM pg_inherits AS h
		JOIN pg_class AS c ON c.oid = h.inhrelid JOIN pg_class AS p ON p.oid = h.inhparent
		WHERE p.relnamespace = quote_ident(current_schema())::regnamespace AND p.relkind = 'p'),
	trig AS (
		SELECT t.tgrelid, t.tgname, t.tgenabled, t.tgtype FROM pg_trigger AS t
		WHERE NOT t.tgisinternal AND t.tgfoid = to_regproc('runledger_refuse') AND t.tgqual IS NULL AND t.tgattr = '')
	SELECT 'trigger guard_change of partition ' || relname || ' is missing' FROM part
		WHERE NOT EXISTS (SELECT 1 FROM trig WHERE tgrelid = part.oid AND tgname = 'guard_change' AND tgenabled = 'A' AND tgtype = 27)
	UNION ALL
	SELECT 'trigger guard_truncate of partition ' || relname || ' is missing' FROM part
		WHERE NOT EXISTS (SELECT 1 FROM trig WHERE tgrelid = part.oid AND tgname = 'guard_truncate' AND tgenabled = 'A' AND tgtype = 34)
	UNION ALL
	SELECT 'trigger ' || t.tgname || ' of partition ' || relname || ' is not runledger''s' FROM part JOIN pg_trigger AS t ON t.tgrelid = part.oid
		WHERE NOT t.tgisinternal AND t.tgname NOT IN ('guard_change', 'guard_truncate')
	UNION ALL
	SELECT 'rule ' || r.rulename || ' of partition ' || relname || ' is not runledger''s' FROM part JOIN pg_rewrite AS r ON r.ev_class = part.oid
	UNION ALL
	SELECT 'index ' || i.indexrelid::regclass || ' has none on partition ' || relname FROM part JOIN pg_index AS i ON i.indrelid = part.inhparent
		WHERE NOT EXISTS (SELECT 1 FROM pg_inherits AS h JOIN pg_index AS o ON o.indexrelid = h.inhrelid
			WHERE h.inhparent = i.indexrelid AND o.indrelid = part.oid AND o.indisvalid)`

// sqlRole tells what the session's role is, and what its session is like.
const sqlRole = `SELECT current_user::text,
		pg_has_role(current_user, c.relowner, 'MEMBER'),
		has_parameter_privilege(current_user, 'session_replication_role', 'SET'),
		has_schema_privilege(current_user, c.relnamespace, 'CREATE'),
		current_setting('fsync'), current_setting('full_page_writes'), current_setting('synchronous_commit'),
		current_setting('session_replication_role')
	FROM pg_class AS c WHERE c.oid = 'heads'::regclass`

// sqlRights names the rights of the session's role to change what is there,
// and for partitions to write them directly.
const sqlRights = `SELECT c.relname, p.relname, r.name
	FROM pg_class AS c
	LEFT JOIN pg_inherits AS h ON h.inhrelid = c.oid AND c.relispartition
	LEFT JOIN pg_class AS p ON p.oid = h.inhparent
	CROSS JOIN unnest(ARRAY['INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'TRIGGER', 'REFERENCES']) AS r (name)
	WHERE c.relnamespace = quote_ident(current_schema())::regnamespace AND c.relkind IN ('r', 'p', 'v')
	AND (has_table_privilege(current_user, c.oid, r.name)
		OR r.name IN ('INSERT', 'UPDATE') AND has_any_column_privilege(current_user, c.oid, r.name))`

// Guards implements store.Reader: it compares the schema with the one that the
// migrations make, and looks at the partitions, the rights of its own role and
// the settings that durability depends on. What is there beyond it is reported
// too: a trigger of someone else may change what is written.
func (q queries) Guards(ctx context.Context) ([]string, error) {
	var list []string
	err := q.with(ctx, func(r *reader) error {
		for _, check := range []func(context.Context) ([]string, error){r.schemaGuards, r.partitionGuards, r.roleGuards} {
			found, err := check(ctx)
			if err != nil {
				return err
			}
			list = append(list, found...)
		}
		return nil
	})
	slices.Sort(list)
	return list, err
}

// readSchema returns the schema's objects as lines: kind, name and definition.
func (r *reader) readSchema(ctx context.Context) ([]string, error) {
	var schema, name string
	if _, err := r.one(ctx, `SELECT quote_ident(current_schema()), current_schema()`, nil, &schema, &name); err != nil {
		return nil, err
	}
	path := "search_path=" + pgx.Identifier{name}.Sanitize() // as connConfig writes it
	var lines []string
	err := r.run(ctx, sqlSchema, func(rows pgx.Rows) error {
		var kind, name, definition string
		if err := scan(rows, &kind, &name, &definition); err != nil {
			return err
		}
		definition = strings.ReplaceAll(strings.Join(strings.Fields(definition), " "), schema+".", "")
		definition = strings.ReplaceAll(definition, path+",", "search_path=*,")
		lines = append(lines, kind+"\t"+name+"\t"+definition)
		return nil
	})
	return lines, err
}

func (r *reader) schemaGuards(ctx context.Context) ([]string, error) {
	lines, err := r.readSchema(ctx)
	if err != nil {
		return nil, err
	}
	want, have := objects(strings.Split(strings.TrimSpace(schemaText), "\n")), objects(lines)
	var list []string
	for item, definition := range want {
		switch got, ok := have[item]; {
		case !ok:
			list = append(list, item+" is missing")
		case got != definition:
			list = append(list, item+" has been altered")
		}
	}
	for item := range have {
		if _, ok := want[item]; !ok {
			list = append(list, item+" is not runledger's")
		}
	}
	return list, nil
}

// objects maps what lines name to its definition.
func objects(lines []string) map[string]string {
	all := make(map[string]string, len(lines))
	for _, line := range lines {
		if part := strings.SplitN(line, "\t", 3); len(part) == 3 {
			all[part[0]+" "+part[1]] = part[2]
		}
	}
	return all
}

func (r *reader) partitionGuards(ctx context.Context) (list []string, err error) {
	err = r.run(ctx, sqlPartitions, func(rows pgx.Rows) error {
		var line string
		err := scan(rows, &line)
		list = append(list, line)
		return err
	})
	return list, err
}

func (r *reader) roleGuards(ctx context.Context) (list []string, err error) {
	var role, fsync, pages, sync, replication string
	var owns, setsReplication, creates bool
	found, err := r.one(ctx, sqlRole, nil, &role, &owns, &setsReplication, &creates, &fsync, &pages, &sync, &replication)
	if err != nil || !found {
		return nil, err
	}
	for _, c := range []struct {
		bad  bool
		line string
	}{
		{fsync != "on", "setting fsync is " + fsync + ": a commit is not on stable storage when it returns"},
		{pages != "on", "setting full_page_writes is " + pages + ": a loss of power may damage pages"},
		{sync != "on" && sync != "remote_apply", "setting synchronous_commit is " + sync},
		{replication != "origin", "setting session_replication_role is " + replication},
		{owns, "role " + role + " is the owner's, or a member of it: the application needs one of its own"},
		{!owns && setsReplication, "role " + role + " may set session_replication_role"},
		{!owns && creates, "role " + role + " may CREATE in the schema"},
	} {
		if c.bad {
			list = append(list, c.line)
		}
	}
	if owns { // it may do anything, and each line would say so again
		return list, nil
	}
	may := rights()
	err = r.run(ctx, sqlRights, func(rows pgx.Rows) error {
		var table, right string
		var parent *string
		if err := scan(rows, &table, &parent, &right); err != nil {
			return err
		}
		if parent != nil || !slices.Contains(strings.Split(may[table], ", "), right) {
			list = append(list, fmt.Sprintf("role %s may %s %s", role, right, table))
		}
		return nil
	})
	return list, err
}
