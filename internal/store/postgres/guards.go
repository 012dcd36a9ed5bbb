package postgres

import (
	"context"
	_ "embed"
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
// follow from their parents: kind, name, the table that it is of, definition. Names
// are as SQL writes them, quotes and all. Constraints of NOT NULL are in the columns;
// later versions of PostgreSQL list them among the constraints, too.
const sqlSchema = `WITH rel AS (
		SELECT c.oid, quote_ident(c.relname) AS name, c.relkind, c.relpersistence FROM pg_class AS c
		WHERE c.relnamespace = quote_ident(current_schema())::regnamespace AND NOT c.relispartition)
	SELECT CASE relkind WHEN 'v' THEN 'view' ELSE 'table' END, name, '', CASE relkind
		WHEN 'v' THEN pg_get_viewdef(oid)
		ELSE relkind::text || relpersistence::text || ' ' || coalesce(pg_get_partkeydef(oid), '') || ' ' || coalesce((
			SELECT string_agg(format('%s %s%s%s%s', a.attname, format_type(a.atttypid, a.atttypmod),
				CASE WHEN a.attcollation <> 0 THEN ' ' || a.attcollation::regcollation END,
				CASE WHEN a.attnotnull THEN ' NOT NULL' END,
				CASE WHEN a.attidentity <> '' THEN ' IDENTITY' END), ', ' ORDER BY a.attnum)
			FROM pg_attribute AS a WHERE a.attrelid = rel.oid AND a.attnum > 0 AND NOT a.attisdropped), '')
		END FROM rel WHERE relkind NOT IN ('i', 'I', 'S', 't')
	UNION ALL
	SELECT 'index', i.indexrelid::regclass::text, rel.name, pg_get_indexdef(i.indexrelid) || CASE WHEN NOT i.indisvalid THEN ' INVALID' ELSE '' END
		FROM pg_index AS i JOIN rel ON i.indrelid = rel.oid
	UNION ALL
	SELECT 'constraint', rel.name || '.' || quote_ident(c.conname), rel.name, pg_get_constraintdef(c.oid) || CASE WHEN NOT c.convalidated THEN ' NOT VALID' ELSE '' END
		FROM pg_constraint AS c JOIN rel ON c.conrelid = rel.oid WHERE c.contype <> 'n'
	UNION ALL
	SELECT 'trigger', rel.name || '.' || quote_ident(t.tgname), rel.name, t.tgenabled::text || ' ' || pg_get_triggerdef(t.oid)
		FROM pg_trigger AS t JOIN rel ON t.tgrelid = rel.oid WHERE NOT t.tgisinternal
	UNION ALL
	SELECT 'rule', rel.name || '.' || quote_ident(r.rulename), rel.name, pg_get_ruledef(r.oid)
		FROM pg_rewrite AS r JOIN rel ON r.ev_class = rel.oid WHERE r.rulename <> '_RETURN' OR rel.relkind NOT IN ('v', 'm')
	UNION ALL
	SELECT 'function', p.oid::regprocedure::text, '', format('%s %s %s %s %s', l.lanname, p.prosecdef, p.prorettype::regtype,
			coalesce(array_to_string(p.proconfig, ' '), ''), md5(p.prosrc))
		FROM pg_proc AS p JOIN pg_language AS l ON l.oid = p.prolang WHERE p.pronamespace = quote_ident(current_schema())::regnamespace
	ORDER BY 1, 2, 4`

// object is one of a schema's.
type object struct {
	kind, name, definition string
	of                     string // the table of an index, constraint, trigger or rule
}

func (o *object) item() string { return o.kind + " " + o.name }

// readSchema returns the schema's objects.
func (r *reader) readSchema(ctx context.Context) ([]object, error) {
	var schema, name string
	if _, err := r.one(ctx, `SELECT quote_ident(current_schema()), current_schema()`, nil, &schema, &name); err != nil {
		return nil, err
	}
	// As connConfig writes it, and as a database that was dumped and restored does.
	paths := strings.NewReplacer("search_path="+pgx.Identifier{name}.Sanitize()+",", "search_path=*,", "search_path="+schema+",", "search_path=*,")
	var list []object
	err := r.run(ctx, sqlSchema, func(rows pgx.Rows) error {
		var o object
		if err := scan(rows, &o.kind, &o.name, &o.of, &o.definition); err != nil {
			return err
		}
		o.definition = strings.ReplaceAll(strings.Join(strings.Fields(o.definition), " "), schema+".", "")
		o.definition = paths.Replace(o.definition)
		list = append(list, o)
		return nil
	})
	return list, err
}

// wanted are the objects that the migrations make.
func wanted() []object {
	var list []object
	for line := range strings.Lines(schemaText) {
		part := strings.SplitN(strings.TrimSpace(line), "\t", 3)
		if len(part) != 3 {
			continue
		}
		o := object{kind: part[0], name: part[1], definition: part[2]}
		switch o.kind {
		case "index":
			_, table, _ := strings.Cut(strings.Replace(o.definition, " ON ONLY ", " ON ", 1), " ON ")
			o.of, _, _ = strings.Cut(table, " ")
		case "constraint", "trigger", "rule":
			o.of, _, _ = strings.Cut(o.name, ".")
		}
		list = append(list, o)
	}
	return list
}

// schemaFindings compares the schema with the one that the migrations make. What is
// there beyond it is named, too: a trigger of someone else may change what is written.
// A table stands for its indexes, and a constraint for its index: nobody mends those
// by themselves.
func (r *reader) schemaFindings(ctx context.Context) ([]Finding, error) {
	have, err := r.readSchema(ctx)
	if err != nil {
		return nil, err
	}
	return compareSchema(wanted(), have), nil
}

func compareSchema(want, have []object) (list []Finding) {
	s := schemas{want: map[string]*object{}, have: map[string]*object{}}
	for i := range want {
		s.want[want[i].item()] = &want[i]
	}
	for i := range have {
		s.have[have[i].item()] = &have[i]
	}
	for i := range want {
		o := &want[i]
		constraint := s.want[o.constraint()]
		switch got := s.have[o.item()]; {
		case got == nil && constraint != nil && s.have[o.constraint()] == nil:
		case got == nil:
			list = append(list, broken(CodeSchema, s.remake(o, false), "%s is missing", o.item()))
		case got.definition != o.definition && constraint != nil:
			list = append(list, broken(CodeSchema, s.remake(constraint, true), "%s has been altered", o.item()))
		case got.definition != o.definition:
			list = append(list, broken(CodeSchema, s.remake(o, true), "%s has been altered", o.item()))
		}
	}
	for i := range have {
		o := &have[i]
		switch {
		case s.want[o.item()] != nil && s.have[o.item()] == o: // of two with one name the other is a stranger
		case o.of != "" && s.want["table "+o.of] == nil && s.want["view "+o.of] == nil: // its table is named
		case s.have[o.constraint()] != nil && s.want[o.constraint()] == nil: // its constraint is
		default:
			list = append(list, s.stranger(o))
		}
	}
	return list
}

// constraint is the item of the constraint that an index may be of.
func (o *object) constraint() string {
	if o.kind != "index" {
		return ""
	}
	return "constraint " + o.of + "." + o.name
}
