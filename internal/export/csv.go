package export

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/runledger/runledger/evidence"
)

// table is the form csv of an export: RFC 4180, a header row, one row a record.
// Columns are the public facts of its kinds and their sealed fields, these as JSON
// text, or as plain text where they are one string. Where a name was not fit to be
// public, its column has the name if it is disclosed, else what stands in its place.
// Sealed fields that are not disclosed are empty, and named in the column withheld
// with the reason. Times are as in leaves, booleans true or false, lists JSON.
//
// The first row has a salt. The table's digest stands in public for good, and else what is erased later
// could be found by it: whoever guesses the cells would see whether they guessed right.
//
// A cell that a spreadsheet would take for a formula begins with an apostrophe.
type table struct {
	file   *fileWriter
	wanted func(*shown) bool
	kinds  []evidence.Kind
	at     map[string]int // column by name
	row    []string
	line   []byte
	salt   string // of the first row, "" behind it
}

// Columns of every table, before those of its kinds and after them.
var (
	columnsBefore = []string{"record", "log", "leaf_index", "leaf_hash", "record_id", "run_id", "n", "occurred_at", "recorded_at", "human_actor_id"}
	columnsAfter  = []string{"withheld", "salt", "verifiable_form"}
)

func newTable(file *fileWriter, wanted func(*shown) bool, kinds []evidence.Kind, salt string, extra ...string) (*table, error) {
	t := &table{file: file, wanted: wanted, kinds: kinds, salt: salt, at: map[string]int{}}
	columns := columnsOf(kinds, extra...)
	for i, name := range columns {
		t.at[name] = i
	}
	t.row = make([]string, len(columns))
	return t, t.write(columns)
}

// columnsOf returns the columns of a table of some kinds of record; extra are those of
// rows that are no records.
func columnsOf(kinds []evidence.Kind, extra ...string) []string {
	out := slices.Clone(columnsBefore)
	add := func(name string) {
		if !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	for _, k := range kinds {
		for _, f := range evidence.PublicFields(k) {
			add(f.Name)
		}
	}
	for _, k := range kinds {
		for _, f := range evidence.SealedFields(k) {
			if f.Shape != evidence.ShapeActor { // it is human_actor_id
				add(f.NativeName())
			}
		}
	}
	return slices.Concat(out, extra, columnsAfter)
}

// record implements view.
func (t *table) record(s *shown) error {
	l := s.leaf
	if !slices.Contains(t.kinds, l.Kind) || !t.wanted(s) {
		return nil
	}
	clear(t.row)
	t.set("record", l.Kind.String())
	t.set("log", l.Log)
	t.set("leaf_index", strconv.FormatInt(l.Seq, 10))
	t.set("leaf_hash", evidence.Checksum(evidence.LeafHash(s.raw)))
	t.set("record_id", l.ID.String())
	if l.Run != "" {
		t.set("run_id", l.Run)
		t.set("n", strconv.FormatInt(l.N, 10))
	}
	t.set("occurred_at", l.OccurredAt.String())
	t.set("recorded_at", l.RecordedAt.String())
	for i := range l.Pub {
		t.set(l.Pub[i].Field.Name, factText(&l.Pub[i]))
	}
	var withheld []string
	for _, f := range s.fields {
		switch {
		case f.withheld != "":
			withheld = append(withheld, f.path+"="+string(f.withheld))
		case f.path == pathActor:
			t.set("human_actor_id", evidence.ActorOf([]byte(f.json)))
		default:
			t.set(strings.TrimPrefix(f.path, "/"), plainText(f.json))
		}
	}
	t.set("withheld", strings.Join(withheld, ";"))
	t.set("salt", t.salt)
	t.salt = ""
	t.set("verifiable_form", FormatZIP)
	return t.write(t.row)
}

func (t *table) set(column, text string) { t.row[t.at[column]] = defused(text) }

// defused returns a text that no spreadsheet takes for a formula: an apostrophe stands
// before whatever begins one, at the start and wherever a spreadsheet with other
// separators than commas could begin a cell.
func defused(text string) string {
	if !strings.ContainsAny(text, "=+-@＝＋－＠\t\r\n") {
		return text
	}
	var b strings.Builder
	begins := true
	for i, r := range text {
		if begins && strings.ContainsRune("=+-@＝＋－＠", r) || i == 0 && strings.ContainsRune("\t\r\n", r) {
			b.WriteByte('\'')
		}
		b.WriteRune(r)
		begins = strings.ContainsRune(";\t\r\n", r)
	}
	return b.String()
}

// write writes a row. Package encoding/csv is no help: with the line ends of RFC 4180
// it changes those inside of cells too.
func (t *table) write(cells []string) error {
	t.line = t.line[:0]
	for i, text := range cells {
		if i > 0 {
			t.line = append(t.line, ',')
		}
		if !strings.ContainsAny(text, "\",\r\n") {
			t.line = append(t.line, text...)
			continue
		}
		t.line = append(t.line, '"')
		t.line = append(t.line, strings.ReplaceAll(text, `"`, `""`)...)
		t.line = append(t.line, '"')
	}
	t.line = append(t.line, '\r', '\n')
	_, err := t.file.Write(t.line)
	return err
}

func (t *table) finish() file { return t.file.finish("records.csv") }

// pathActor is the sealed field of the acting person.
const pathActor = "/actor"

// factText returns a public fact as text: of a list its JSON.
func factText(f *evidence.Fact) string {
	switch f.Field.Type {
	case evidence.TypeBool:
		return strconv.FormatBool(f.Int != 0)
	case evidence.TypeInt, evidence.TypeCount:
		return strconv.FormatInt(f.Int, 10)
	case evidence.TypeTime:
		return evidence.Micros(f.Int).String()
	case evidence.TypeNames:
		if len(f.List) == 0 {
			return ""
		}
		return string(f.AppendJSON(nil))
	default:
		return f.Str
	}
}

// plainText returns the content of a JSON string, or the JSON text of anything else.
func plainText(value string) string {
	if strings.HasPrefix(value, `"`) {
		var s string
		if json.Unmarshal([]byte(value), &s) == nil {
			return s
		}
	}
	return value
}
