package postgres

import (
	"encoding/json"

	"github.com/runledger/runledger/evidence"
)

// encoding is how a public field stands in its column.
type encoding uint8

const (
	encInt  encoding = iota // bigint; bool as 0 or 1, time in microseconds
	encText                 // text
	encList                 // text: the array as JSON
)

func encodingOf(f *evidence.Field) encoding {
	switch {
	case f.Type == evidence.TypeNames:
		return encList
	case f.Type.IsText():
		return encText
	default:
		return encInt
	}
}

// fixedColumns come before the fields in every topic table.
var fixedColumns = []string{
	"tenant_id", "log_no", "leaf_index", "recorded_at", "occurred_at", "run_id", "n", "sealed_segment", "actor_segment",
}

// topic is the topic table of one kind.
type topic struct {
	kind     evidence.Kind
	table    string
	columns  []string          // all, as in the table
	fields   []*evidence.Field // by Field.Index
	encoding []encoding        // by Field.Index
	one      string            // the row at $3 of log $2 of tenant $1, recorded from $4 to below $5
	marks    string            // as between, of what store.RowMark has
	between  string            // rows of log $2 of tenant $1 behind the one at $3 that was recorded at $4, to below $5, at most $6
}

var topics = buildTopics()

// topicOf returns the table of a kind, or nil where there is no such kind.
func topicOf(k evidence.Kind) *topic {
	if int(k) >= len(topics) {
		return nil
	}
	return topics[k]
}

func buildTopics() []*topic {
	var list []*topic
	for _, k := range evidence.Kinds() {
		t := &topic{kind: k, table: k.Table(), fields: evidence.PublicFields(k), columns: fixedColumns[:len(fixedColumns):len(fixedColumns)]}
		for _, f := range t.fields {
			t.encoding = append(t.encoding, encodingOf(f))
			t.columns = append(t.columns, f.Column())
		}
		from := "SELECT " + quoted(t.columns[firstRead:]) + " FROM " + t.table + ` WHERE tenant_id = $1 AND log_no = $2 AND `
		// BETWEEN: in an order that only the key has (find_sql.go).
		t.one = from + `leaf_index BETWEEN $3 AND $3 AND recorded_at >= $4 AND recorded_at < $5 ORDER BY leaf_index, recorded_at LIMIT 1`
		t.marks = `SELECT leaf_index, recorded_at, occurred_at, coalesce(run_id, ''), coalesce(is_synthetic, 0), coalesce(sealed_segment, -1), coalesce(actor_segment, -1)
			FROM ` + t.table + ` WHERE tenant_id = $1 AND log_no = $2 AND (leaf_index, recorded_at) > ($3, $4) AND leaf_index < $5 ORDER BY leaf_index, recorded_at LIMIT $6`
		t.between = from + `(leaf_index, recorded_at) > ($3, $4) AND leaf_index < $5 ORDER BY leaf_index, recorded_at LIMIT $6`
		for int(k) >= len(list) {
			list = append(list, nil)
		}
		list[k] = t
	}
	return list
}

// quoted is a list of columns in SQL: "from" is a word of SQL, too.
func quoted(columns []string) string {
	text := ""
	for i, c := range columns {
		if i > 0 {
			text += ", "
		}
		text += `"` + c + `"`
	}
	return text
}

// parseList reads the JSON text of an array. What is none is given back in a
// form that no leaf can have, so that verification sees it.
func parseList(text string) []string {
	list := []string{}
	if err := json.Unmarshal([]byte(text), &list); err != nil || list == nil {
		return []string{"!" + text}
	}
	return list
}
