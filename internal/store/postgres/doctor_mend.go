package postgres

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// What is advised. It is SQL that runs as it stands wherever there is such; what
// has to be done by eye before stands in front of it as a comment. No table is to be
// dropped that may hold evidence.

// schemas are the objects that the migrations make and those that are there, by item.
type schemas struct{ want, have map[string]*object }

// remake is the SQL that makes an object as the migrations do.
func (s *schemas) remake(o *object, altered bool) string {
	own := strings.TrimPrefix(o.name, o.of+".")
	sql := ""
	switch o.kind {
	case "index":
		// Of a partitioned table it is listed with ONLY, and made so it would never be
		// valid: without, the database makes those of the partitions, too.
		sql = strings.Replace(o.definition, " ON ONLY ", " ON ", 1)
	case "constraint":
		sql = "ALTER TABLE " + o.of + " ADD CONSTRAINT " + own + " " + o.definition
		if s.have[o.item()] == nil && s.have["index "+own] != nil {
			sql = "DROP INDEX " + own + "; " + sql
		}
	case "trigger":
		_, create, _ := strings.Cut(o.definition, " ") // of tgenabled, which is always A
		sql = create + "; ALTER TABLE " + o.of + " ENABLE ALWAYS TRIGGER " + own
	case "view":
		sql = "CREATE VIEW " + o.name + " AS " + strings.TrimSuffix(o.definition, ";") + "; /* and runledger migrate, which gives the application its rights */"
	case "function":
		return functionSQL(o.name)
	default:
		if altered {
			return "undo the change: the migrations of runledger make it; what it did to the evidence, runledger verify says"
		}
		if other := s.renamed(o); other != "" {
			return "/* look what was done to it, and runledger verify afterwards */ ALTER TABLE " + other + " RENAME TO " + o.name
		}
		return "restore the database from a backup: what it held is gone with it; what that was, runledger verify says"
	}
	if altered {
		sql = drop(o) + "; " + sql
	}
	return sql
}

// renamed is a table that is not ours and has the columns of one of ours.
func (s *schemas) renamed(o *object) string {
	for _, other := range s.have {
		if other.kind == "table" && s.want[other.item()] == nil && other.columns() == o.columns() {
			return other.name
		}
	}
	return ""
}

// columns are those of a table, by its definition.
func (o *object) columns() string {
	_, list, _ := strings.Cut(o.definition, " ")
	return strings.TrimPrefix(list, "RANGE (recorded_at) ")
}

// stranger is what is said of an object that the migrations do not make. Who looks at
// it first learns who put it there.
func (s *schemas) stranger(o *object) Finding {
	if o.kind != "table" {
		return broken(CodeSchema, drop(o), "%s is not runledger's", o.item())
	}
	if parent, m := partitionName(o.name); parent != "" {
		if want := s.want["table "+parent]; want != nil && want.columns() == o.columns() && o.definition[0] == 'r' {
			return broken(CodePartition, "/* look who detached it, and what was changed while nothing guarded it: runledger verify says that afterwards */ "+attach(parent, o.name, m),
				"partition %s of %s is detached", o.name, parent)
		}
		return broken(CodePartition, "look what it is and who made it: it has the name of a partition, and other columns; rename it, do not drop it before runledger verify finds nothing missing",
			"table %s is not runledger's", o.name)
	}
	for _, t := range s.want {
		if t.kind != "table" || t.columns() != o.columns() {
			continue
		}
		mend := "where it is a partition that was detached, ALTER TABLE " + o.name + " RENAME TO " + t.name + "_p and its year and month, and runledger doctor then says how to attach it"
		if !slices.Contains(partitioned, t.name) {
			mend = "it may be " + t.name + " under another name, or a copy of it"
		}
		return broken(CodeSchema, "look what it is and who made it, and keep it: "+mend, "table %s is not runledger's, but has the columns of %s", o.name, t.name)
	}
	return broken(CodeSchema, drop(o), "%s is not runledger's", o.item())
}

// partitionName splits the name of a partition into that of its table and the month.
func partitionName(name string) (parent string, m month) {
	parent, digits, _ := strings.Cut(name, "_p")
	for rest := digits; ; { // a table may have _p in its own name
		more, last, again := strings.Cut(rest, "_p")
		if !again {
			break
		}
		parent, digits, rest = parent+"_p"+more, last, last
	}
	if len(digits) != len("200601") || !slices.Contains(partitioned, parent) {
		return "", 0
	}
	n, err := strconv.Atoi(digits)
	if m = month(n/100*12 + n%100 - 1); err != nil || n < 0 || n%100 < 1 || n%100 > 12 || !m.known() {
		return "", 0
	}
	return parent, m
}

// attach is the SQL that attaches a partition. The trigger against TRUNCATE stayed on
// it, if nobody has dropped it, those of rows come from the parent.
func attach(parent, name string, m month) string {
	return fmt.Sprintf("DROP TRIGGER IF EXISTS guard_truncate ON %[2]s; ALTER TABLE %[1]s ATTACH PARTITION %[2]s FOR VALUES FROM (%[3]d) TO (%[4]d); SELECT runledger_guard_truncate('%[2]s')",
		parent, name, m.first().UnixMicro(), (m + 1).first().UnixMicro())
}

// drop is the SQL that removes an object.
func drop(o *object) string {
	own := strings.TrimPrefix(o.name, o.of+".")
	switch o.kind {
	case "trigger", "rule":
		return "DROP " + strings.ToUpper(o.kind) + " " + own + " ON " + o.of
	case "constraint":
		return "ALTER TABLE " + o.of + " DROP CONSTRAINT " + own
	case "function":
		return "DROP ROUTINE " + o.name
	case "table":
		return "DROP " + relkinds[o.definition[0]] + " " + o.name
	default:
		return "DROP " + strings.ToUpper(o.kind) + " " + o.name
	}
}

// relkinds are what pg_class lists, as DROP names them.
var relkinds = map[byte]string{'r': "TABLE", 'p': "TABLE", 'f': "FOREIGN TABLE", 'm': "MATERIALIZED VIEW", 'c': "TYPE"}

// functionSQL is the statement that makes a function, as the newest migration has it.
func functionSQL(signature string) string {
	name, _, _ := strings.Cut(signature, "(")
	for _, m := range slices.Backward(migrations) {
		_, text, ok := strings.Cut(m.sql, "CREATE FUNCTION "+name+"(")
		if !ok {
			if _, text, ok = strings.Cut(m.sql, "CREATE OR REPLACE FUNCTION "+name+"("); !ok {
				continue
			}
		}
		body, _, _ := strings.Cut(text, "$$;")
		return "CREATE OR REPLACE FUNCTION " + name + "(" + body + "$$"
	}
	return ""
}
