package postgres

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// sqlRole tells what the session's role is, and what it may do beyond its rights.
const sqlRole = `SELECT current_user::text, pg_get_userbyid(c.relowner)::text,
		EXISTS (SELECT 1 FROM pg_class AS o WHERE o.relnamespace = c.relnamespace AND pg_has_role(current_user, o.relowner, 'MEMBER')),
		has_parameter_privilege(current_user, 'session_replication_role', 'SET'),
		has_schema_privilege(current_user, c.relnamespace, 'CREATE'),
		u.rolcreaterole,
		(SELECT coalesce(string_agg(g, ', '), '') FROM unnest(ARRAY['pg_execute_server_program', 'pg_write_server_files']) AS g WHERE pg_has_role(current_user, g, 'MEMBER'))
	FROM pg_class AS c JOIN pg_roles AS u ON u.rolname = current_user WHERE c.oid = 'heads'::regclass`

// sqlEffective names the rights of the session's role to change what is there, by
// whichever way it has them, and for partitions to write them directly.
const sqlEffective = `SELECT c.relname, c.relispartition, r.name
	FROM pg_class AS c
	CROSS JOIN unnest(ARRAY['INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'TRIGGER', 'REFERENCES']) AS r (name)
	WHERE c.relnamespace = quote_ident(current_schema())::regnamespace AND c.relkind IN ('r', 'p', 'v', 'f')
	AND (has_table_privilege(current_user, c.oid, r.name)
		OR r.name IN ('INSERT', 'UPDATE') AND has_any_column_privilege(current_user, c.oid, r.name))`

// sqlMissingRights names the rights that the application needs and does not have.
const sqlMissingRights = `SELECT r.name, 'TABLE ' || t.name FROM unnest($1::text[], $2::text[]) AS t (name, rights)
	CROSS JOIN LATERAL unnest(string_to_array(t.rights, ', ')) AS r (name)
	WHERE to_regclass(quote_ident(t.name)) IS NOT NULL AND NOT has_table_privilege(current_user, to_regclass(quote_ident(t.name)), r.name)
	UNION ALL
	SELECT 'EXECUTE', 'FUNCTION ' || f FROM unnest($3::text[]) AS f
	WHERE to_regprocedure(f) IS NOT NULL AND NOT has_function_privilege(current_user, to_regprocedure(f), 'EXECUTE')`

// sqlOthersRights names the rights that anybody else has, but for reading.
const sqlOthersRights = `WITH here AS (SELECT oid, nspname, nspacl, nspowner FROM pg_namespace WHERE oid = quote_ident(current_schema())::regnamespace),
	acl AS (
		SELECT 'TABLE ' || c.oid::regclass AS object, c.relowner AS owner, a.* FROM pg_class AS c JOIN here ON here.oid = c.relnamespace
			CROSS JOIN LATERAL aclexplode(c.relacl) AS a WHERE c.relkind IN ('r', 'p', 'v', 'f')
		UNION ALL
		SELECT 'SEQUENCE ' || c.oid::regclass, c.relowner, a.* FROM pg_class AS c JOIN here ON here.oid = c.relnamespace
			CROSS JOIN LATERAL aclexplode(c.relacl) AS a WHERE c.relkind = 'S'
		UNION ALL
		SELECT 'TABLE ' || c.oid::regclass, c.relowner, a.* FROM pg_class AS c JOIN here ON here.oid = c.relnamespace
			JOIN pg_attribute AS t ON t.attrelid = c.oid CROSS JOIN LATERAL aclexplode(t.attacl) AS a
		UNION ALL
		SELECT 'FUNCTION ' || p.oid::regprocedure, p.proowner, a.* FROM pg_proc AS p JOIN here ON here.oid = p.pronamespace
			CROSS JOIN LATERAL aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) AS a
		UNION ALL
		SELECT 'SCHEMA ' || quote_ident(here.nspname), here.nspowner, a.* FROM here CROSS JOIN LATERAL aclexplode(here.nspacl) AS a)
	SELECT DISTINCT CASE WHEN grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END, privilege_type, object FROM acl
	WHERE grantee <> owner AND privilege_type NOT IN ('SELECT', 'USAGE')
	AND NOT (grantee <> 0 AND pg_get_userbyid(grantee) = current_user AND left(object, 6) IN ('TABLE ', 'SCHEMA'))`

// sqlMembers are the roles that can become the owner's or the application's, by
// whichever way.
const sqlMembers = `WITH RECURSIVE o AS (SELECT DISTINCT relowner AS owner FROM pg_class WHERE relnamespace = quote_ident(current_schema())::regnamespace),
	m AS (SELECT owner AS target, owner AS role FROM o
		UNION SELECT oid, oid FROM pg_roles WHERE rolname = current_user
		UNION SELECT m.target, a.member FROM m JOIN pg_auth_members AS a ON a.roleid = m.role)
	SELECT quote_ident(pg_get_userbyid(a.member)), quote_ident(pg_get_userbyid(a.roleid)), m.target IN (SELECT owner FROM o)
	FROM m JOIN pg_auth_members AS a ON a.roleid = m.role WHERE pg_get_userbyid(a.member) <> current_user
	AND NOT (SELECT rolsuper FROM pg_roles WHERE oid = a.member)`

// sqlOwners are what has another owner than the rest. That of the schema may drop
// what is in it; a superuser may do so anyhow, and often makes it.
const sqlOwners = `WITH o AS (SELECT relowner AS owner, relnamespace AS schema FROM pg_class WHERE oid = 'heads'::regclass),
	own AS (
		SELECT 'TABLE ' || c.oid::regclass AS object, c.relowner AS owner FROM pg_class AS c JOIN o ON c.relnamespace = o.schema WHERE c.relkind IN ('r', 'p', 'v', 'f')
		UNION ALL
		SELECT 'SEQUENCE ' || c.oid::regclass, c.relowner FROM pg_class AS c JOIN o ON c.relnamespace = o.schema WHERE c.relkind = 'S'
		UNION ALL
		SELECT 'FUNCTION ' || p.oid::regprocedure, p.proowner FROM pg_proc AS p JOIN o ON p.pronamespace = o.schema
		UNION ALL
		SELECT 'SCHEMA ' || quote_ident(n.nspname), n.nspowner FROM pg_namespace AS n JOIN o ON n.oid = o.schema
			JOIN pg_roles AS u ON u.oid = n.nspowner WHERE NOT u.rolsuper)
	SELECT object, quote_ident(pg_get_userbyid(own.owner)), quote_ident(pg_get_userbyid(o.owner)) FROM own, o WHERE own.owner <> o.owner`

// sqlBackdoors are ways to rights that none has yet, or not by its own: a right that
// comes with each table that the owner makes, such as a partition, and a function
// elsewhere that does for the application what the owner may, unless it is ours in
// another schema. What, and how to mend it.
const sqlBackdoors = `WITH o AS (SELECT c.relowner AS owner, c.relnamespace AS schema, u.rolsuper AS super
		FROM pg_class AS c JOIN pg_roles AS u ON u.oid = c.relowner WHERE c.oid = 'heads'::regclass),
	given AS (SELECT d.defaclnamespace, o.owner, a.privilege_type, CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END AS grantee
		FROM pg_default_acl AS d JOIN o ON d.defaclrole = o.owner AND d.defaclnamespace IN (0, o.schema) CROSS JOIN LATERAL aclexplode(d.defaclacl) AS a
		WHERE d.defaclobjtype = 'r' AND a.grantee <> o.owner AND a.privilege_type <> 'SELECT')
	SELECT 'role ' || grantee || ' may ' || privilege_type || ' each table that is made from now on',
		'ALTER DEFAULT PRIVILEGES' || CASE WHEN defaclnamespace <> 0 THEN ' IN SCHEMA ' || defaclnamespace::regnamespace ELSE '' END ||
		' REVOKE ' || privilege_type || ' ON TABLES FROM ' || grantee FROM given
	UNION ALL
	SELECT 'function ' || p.oid::regprocedure || ' does for the application''s role what its owner, the schema''s, may', 'DROP ROUTINE ' || p.oid::regprocedure
		FROM pg_proc AS p JOIN o ON p.proowner = o.owner AND p.pronamespace <> o.schema AND NOT o.super
		JOIN pg_namespace AS n ON n.oid = p.pronamespace
		WHERE p.prosecdef AND has_function_privilege(current_user, p.oid, 'EXECUTE')
		AND NOT EXISTS (SELECT 1 FROM pg_proc AS q WHERE q.pronamespace = o.schema AND q.proname = p.proname AND q.proargtypes = p.proargtypes
			AND q.prosrc = p.prosrc AND q.prolang = p.prolang AND p.proconfig[1] IN (format('search_path=%I, pg_temp', n.nspname),
				'search_path="' || replace(n.nspname, '"', '""') || '", pg_temp') AND p.proconfig[2:] = q.proconfig[2:])
	UNION ALL
	SELECT 'role ' || quote_ident(current_user) || ' owns the database, and may drop it', 'ALTER DATABASE ' || quote_ident(d.datname) || ' OWNER TO ' || quote_ident(pg_get_userbyid(o.owner))
		FROM pg_database AS d, o WHERE d.datname = current_database() AND pg_has_role(current_user, d.datdba, 'MEMBER')`

// roleFindings are about what the application's role is. Where it is the owner's, as
// with a schema that has one role, there is one fence less.
func (r *reader) roleFindings(ctx context.Context) (list []Finding, err error) {
	var role, owner, server string
	var owns, replicates, creates, grants bool
	found, err := r.one(ctx, sqlRole, nil, &role, &owner, &owns, &replicates, &creates, &grants, &server)
	if err != nil || !found {
		return nil, err
	}
	if owns { // it may do anything, and each line would say so again
		return []Finding{broken(CodeRole, "make a role for the application, with LOGIN and nothing else, and run runledger migrate with a DSN of it",
			"role %s is the owner's, or a member of it: the application needs one of its own", role)}, nil
	}
	name := pgx.Identifier{role}.Sanitize()
	for _, c := range []struct {
		bad        bool
		what, mend string
	}{
		{replicates, "may set session_replication_role", "as a superuser: REVOKE SET ON PARAMETER session_replication_role FROM " + name},
		{creates, "may CREATE in the schema", "REVOKE CREATE ON SCHEMA " + pgx.Identifier{r.schema(ctx)}.Sanitize() + " FROM PUBLIC, " + name},
		{grants, "may make itself a member of the owner's role (CREATEROLE)", "as a superuser: ALTER ROLE " + name + " NOCREATEROLE"},
		{server != "", "may write files of the server as a member of " + server, "as a superuser: REVOKE " + server + " FROM " + name},
	} {
		if c.bad {
			list = append(list, broken(CodeRole, c.mend, "role %s %s", role, c.what))
		}
	}
	may := rights()
	err = r.run(ctx, sqlEffective, func(rows pgx.Rows) error {
		var table, right string
		var partition bool
		if err := scan(rows, &table, &partition, &right); err != nil {
			return err
		}
		if partition || !slices.Contains(strings.Split(may[table], ", "), right) {
			list = append(list, broken(CodeExcess, fmt.Sprintf("REVOKE %s ON %s FROM PUBLIC, %s, and from the roles that it is a member of",
				right, pgx.Identifier{table}.Sanitize(), name), "role %s may %s %s", role, right, table))
		}
		return nil
	})
	return list, err
}

// grantFindings are about who may do what: what the application lacks, and what
// others have.
func (r *reader) grantFindings(ctx context.Context) (list []Finding, err error) {
	var app string
	var owns bool
	found, err := r.one(ctx, `SELECT current_user::text, pg_has_role(current_user, relowner, 'MEMBER') FROM pg_class WHERE oid = 'heads'::regclass`, nil, &app, &owns)
	if err != nil || !found || owns { // which role is the application's is not known
		return nil, err
	}
	var tables, each []string
	for table, list := range rights() {
		tables, each = append(tables, table), append(each, list)
	}
	err = r.run(ctx, sqlMissingRights, func(rows pgx.Rows) error {
		var right, object string
		err := scan(rows, &right, &object)
		list = append(list, broken(CodeGrant, "runledger migrate, or as the owner: GRANT "+right+" ON "+object+" TO the application's role",
			"the application's role may not %s %s", right, shown(object)))
		return err
	}, tables, each, appFunctions)
	if err != nil {
		return nil, err
	}
	err = r.run(ctx, sqlOthersRights, func(rows pgx.Rows) error {
		var role, right, object string
		if err := scan(rows, &role, &right, &object); err != nil {
			return err
		}
		if slices.Contains(appFunctions, strings.ReplaceAll(strings.TrimPrefix(object, "FUNCTION "), ",", ", ")) && role == app {
			return nil
		}
		list = append(list, broken(CodeExcess, "REVOKE "+right+" ON "+object+" FROM "+role, "role %s may %s %s", role, right, shown(object)))
		return nil
	})
	if err != nil {
		return nil, err
	}
	err = r.run(ctx, sqlBackdoors, func(rows pgx.Rows) error {
		var what, mend string
		err := scan(rows, &what, &mend)
		list = append(list, broken(CodeExcess, mend, "%s", what))
		return err
	})
	if err != nil {
		return nil, err
	}
	err = r.run(ctx, sqlMembers, func(rows pgx.Rows) error {
		var member, of string
		var owner bool
		err := scan(rows, &member, &of, &owner)
		who := "application's"
		if owner {
			who = "owner's"
		}
		list = append(list, warning(CodeRole, "REVOKE "+of+" FROM "+member, "role %s is a member of the %s, %s", member, who, of))
		return err
	})
	return list, err
}

// shown is an object without its kind where that is a table.
func shown(object string) string { return strings.ToLower(strings.TrimPrefix(object, "TABLE ")) }

func (r *reader) schema(ctx context.Context) (name string) {
	if _, err := r.one(ctx, `SELECT current_schema()`, nil, &name); err != nil {
		return DefaultSchema
	}
	return name
}

func (r *reader) ownerFindings(ctx context.Context) (list []Finding, err error) {
	err = r.run(ctx, sqlOwners, func(rows pgx.Rows) error {
		var object, owner, want string
		err := scan(rows, &object, &owner, &want)
		list = append(list, broken(CodeOwner, "ALTER "+object+" OWNER TO "+want, "%s belongs to %s, while the schema's owner is %s", shown(object), owner, want))
		return err
	})
	return list, err
}
