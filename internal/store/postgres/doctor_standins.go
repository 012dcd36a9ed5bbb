package postgres

import (
	"context"
	"strings"
	"unicode"

	"github.com/jackc/pgx/v5"
)

// sqlStandIns are what the schema has that the database may take instead of its own:
// a function quote_ident(name) there is the better match for a name than
// pg_catalog's, which takes a text, and could show whoever asks another schema. The
// migrations make no types, operators and the like, and no function with a name of
// pg_catalog's. All names in this one question are qualified, so it cannot be misled.
const sqlStandIns = `WITH s AS (
		SELECT n.oid, pg_catalog.quote_ident(n.nspname::pg_catalog.text) AS name FROM pg_catalog.pg_namespace AS n
		WHERE n.nspname OPERATOR(pg_catalog.=) pg_catalog.current_schema())
	SELECT 'ROUTINE', s.name, pg_catalog.quote_ident(p.proname::pg_catalog.text), pg_catalog.pg_get_function_identity_arguments(p.oid)
		FROM pg_catalog.pg_proc AS p JOIN s ON p.pronamespace OPERATOR(pg_catalog.=) s.oid
		WHERE EXISTS (SELECT 1 FROM pg_catalog.pg_proc AS o WHERE o.proname OPERATOR(pg_catalog.=) p.proname
			AND o.pronamespace OPERATOR(pg_catalog.=) 'pg_catalog'::pg_catalog.regnamespace::pg_catalog.oid)
	UNION ALL
	SELECT 'OPERATOR', s.name, p.oprname::pg_catalog.text, pg_catalog.concat(
			CASE WHEN p.oprleft OPERATOR(pg_catalog.=) 0::pg_catalog.oid THEN 'NONE'::pg_catalog.text ELSE pg_catalog.format_type(p.oprleft, NULL) END,
			', ', pg_catalog.format_type(p.oprright, NULL))
		FROM pg_catalog.pg_operator AS p JOIN s ON p.oprnamespace OPERATOR(pg_catalog.=) s.oid
	UNION ALL
	SELECT CASE WHEN t.typtype OPERATOR(pg_catalog.=) 'd'::pg_catalog."char" THEN 'DOMAIN' ELSE 'TYPE' END, s.name, pg_catalog.quote_ident(t.typname::pg_catalog.text), ''
		FROM pg_catalog.pg_type AS t JOIN s ON t.typnamespace OPERATOR(pg_catalog.=) s.oid
		WHERE t.typrelid OPERATOR(pg_catalog.=) 0::pg_catalog.oid AND t.typelem OPERATOR(pg_catalog.=) 0::pg_catalog.oid
		AND NOT t.typtype OPERATOR(pg_catalog.=) 'm'::pg_catalog."char"
	UNION ALL
	SELECT 'COLLATION', s.name, pg_catalog.quote_ident(c.collname::pg_catalog.text), ''
		FROM pg_catalog.pg_collation AS c JOIN s ON c.collnamespace OPERATOR(pg_catalog.=) s.oid
	UNION ALL
	SELECT 'OPERATOR CLASS', s.name, pg_catalog.quote_ident(c.opcname::pg_catalog.text), pg_catalog.concat('USING ', pg_catalog.quote_ident(a.amname::pg_catalog.text))
		FROM pg_catalog.pg_opclass AS c JOIN s ON c.opcnamespace OPERATOR(pg_catalog.=) s.oid
		JOIN pg_catalog.pg_am AS a ON a.oid OPERATOR(pg_catalog.=) c.opcmethod`

// standInFindings are to be mended before anything else is looked at.
func (r *reader) standInFindings(ctx context.Context) (list []Finding, err error) {
	err = r.run(ctx, sqlStandIns, func(rows pgx.Rows) error {
		var kind, schema, name, rest string
		if err := scan(rows, &kind, &schema, &name, &rest); err != nil {
			return err
		}
		what := strings.ToLower(kind) + " " + name
		switch kind {
		case "ROUTINE", "OPERATOR":
			what, rest = what+"("+rest+")", "("+rest+")"
		case "OPERATOR CLASS":
			rest = " " + rest
		}
		list = append(list, broken(CodeSchema, "/* what depends on it is said then, and goes first */ DROP "+kind+" "+schema+"."+name+rest,
			"%s is not runledger's, and can stand in for the database's own: nothing else was looked at", what))
		return nil
	})
	return list, err
}

// visible shows characters that a terminal obeys: names in the database may have any.
func visible(s string) string {
	return strings.Map(func(c rune) rune {
		if c != '\n' && c != '\t' && (unicode.IsControl(c) || unicode.Is(unicode.Cf, c)) {
			return unicode.ReplacementChar
		}
		return c
	}, s)
}
