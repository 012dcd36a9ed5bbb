package sqlite

import (
	"encoding/json"
	"strings"

	"github.com/runledger/runledger/evidence"
)

// encoding is how a public field stands in its column.
type encoding uint8

const (
	encInt   encoding = iota // the integer; bool as 0 or 1, time in microseconds
	encText                  // the text
	encName                  // number of the text in names
	encNames                 // number of the array's JSON text in names
	encSpine                 // number of the run or trace id in spine
	encSpan                  // the 64 bits of a span id
)

func encodingOf(f *evidence.Field) encoding {
	switch f.Type {
	case evidence.TypeTraceID, evidence.TypeRun:
		return encSpine
	case evidence.TypeSpanID:
		return encSpan
	case evidence.TypeNames:
		return encNames
	case evidence.TypeInt, evidence.TypeCount, evidence.TypeBool, evidence.TypeTime:
		return encInt
	}
	if f.Intern {
		return encName
	}
	return encText
}

// fixedColumns come before the fields in every topic table.
const fixedColumns = "row, recorded_at, occurred_at, run_no, n, sealed_segment, actor_segment"

// Positions of the fixed columns in results; parameters are one higher.
const (
	colRow = iota
	colRecordedAt
	colOccurredAt
	colRun
	colN
	colSegment
	colActorSegment
	colFields
)

// topic is the topic table of one kind.
type topic struct {
	kind     evidence.Kind
	table    string
	fields   []*evidence.Field // by Field.Index
	encoding []encoding        // by Field.Index
	insert   string
	one      string // row = ?1
	between  string // ?1 <= row < ?2, in order
	marks    string // the same, of the fixed columns and is_synthetic
	drop     string // deletes what was recorded before ?3 of ?1 <= row < ?2, only synthetic records where ?4 is 1
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
		t := &topic{kind: k, table: "r_" + k.String(), fields: evidence.PublicFields(k)}
		columns := fixedColumns
		for _, f := range t.fields {
			t.encoding = append(t.encoding, encodingOf(f))
			columns += `, "` + f.Column() + `"`
		}
		params := "?" + strings.Repeat(", ?", colFields+len(t.fields)-1)
		t.insert = "INSERT INTO " + t.table + " (" + columns + ") VALUES (" + params + ")"
		t.one = "SELECT " + columns + " FROM " + t.table + " WHERE row = ?1"
		t.between = "SELECT " + columns + " FROM " + t.table + " WHERE row >= ?1 AND row < ?2 ORDER BY row"
		t.marks = "SELECT " + fixedColumns + ", is_synthetic FROM " + t.table + " WHERE row >= ?1 AND row < ?2 ORDER BY row"
		t.drop = "DELETE FROM " + t.table + " AS r WHERE row >= ?1 AND row < ?2 AND recorded_at < ?3 AND (?4 = 0 OR is_synthetic = 1)"
		for int(k) >= len(list) {
			list = append(list, nil)
		}
		list[k] = t
	}
	return list
}

// A row key has the log in its upper and the number in its lower bits.
const (
	numberBits = 40
	numberMask = 1<<numberBits - 1
)

func rowKey(log, number int64) int64 { return log<<numberBits | number }

// inRange reports whether a number fits the lower bits of a row key.
func inRange(number int64) bool { return 0 <= number && number <= numberMask }

const (
	tileBits  = 32
	tileMask  = 1<<tileBits - 1
	maxLevels = 1 << (numberBits - tileBits)
)

func tileKey(log int64, level int, n int64) int64 {
	return log<<numberBits | int64(level)<<tileBits | n
}

// spanBits turns the 16 hex digits of a span id into an integer.
func spanBits(s string) (int64, error) {
	if len(s) != 16 {
		return 0, invalid("span id %q", s)
	}
	v := uint64(0)
	for i := range len(s) {
		switch c := s[i]; {
		case '0' <= c && c <= '9':
			v = v<<4 | uint64(c-'0')
		case 'a' <= c && c <= 'f':
			v = v<<4 | uint64(c-'a'+10)
		default:
			return 0, invalid("span id %q", s)
		}
	}
	return int64(v), nil
}

func spanText(v int64) string {
	var b [16]byte
	for i := range b {
		b[i] = "0123456789abcdef"[uint64(v)>>(60-4*i)&15]
	}
	return string(b[:])
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
