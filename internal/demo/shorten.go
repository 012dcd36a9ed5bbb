package demo

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// Bounds of what Shorten shows.
const (
	maxEntries = 2   // of an array
	maxText    = 56  // characters of a text
	maxLine    = 104 // columns
)

// Shorten shows an answer in lines for people: only the members named by show, the
// first entries of arrays, the beginning of long texts. What was left out of an
// array is said.
func Shorten(body []byte, show []string) ([]string, error) {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	v, err := read(d)
	if err != nil {
		return nil, fmt.Errorf("the answer: %w", err)
	}
	return lines("", "", pick(v, show), ""), nil
}

// object keeps the order of its members.
type object []member

type member struct {
	name  string
	value any
}

// more stands for the entries of an array that are not shown.
type more int

// read reads a value: object, []any, string, json.Number, bool or nil.
func read(d *json.Decoder) (any, error) {
	t, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch t {
	case json.Delim('{'):
		o := object{}
		for d.More() {
			name, err := d.Token()
			if err != nil {
				return nil, err
			}
			v, err := read(d)
			if err != nil {
				return nil, err
			}
			o = append(o, member{fmt.Sprint(name), v})
		}
		_, err := d.Token()
		return o, err
	case json.Delim('['):
		list := []any{}
		for d.More() {
			v, err := read(d)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err := d.Token()
		return list, err
	}
	return t, nil
}

// pick leaves out what is not shown.
func pick(v any, show []string) any {
	switch v := v.(type) {
	case object:
		// What stands for withheld content, and all of what is content, is shown whole.
		if len(v) > 0 && v[0].name == "withheld" {
			return v
		}
		out := object{}
		for _, m := range v {
			if slices.Contains(show, m.name) && m.value != nil {
				out = append(out, member{m.name, pick(m.value, show)})
			}
		}
		return out
	case []any:
		out := []any{}
		for i, entry := range v {
			if i == maxEntries {
				return append(out, more(len(v)-i))
			}
			out = append(out, pick(entry, show))
		}
		return out
	}
	return v
}

// lines writes a value after its label in one line where it fits, else over
// several.
func lines(indent, label string, v any, end string) []string {
	if s := indent + label + inline(v) + end; utf8.RuneCountInString(s) <= maxLine || scalar(v) {
		return []string{s}
	}
	const step = "  "
	comma := func(i, n int) string {
		if i+1 < n {
			return ","
		}
		return ""
	}
	var out []string
	switch v := v.(type) {
	case object:
		out = append(out, indent+label+"{")
		for i, m := range v {
			out = append(out, lines(indent+step, quoted(m.name)+": ", m.value, comma(i, len(v)))...)
		}
		out = append(out, indent+"}"+end)
	case []any:
		out = append(out, indent+label+"[")
		for i, entry := range v {
			out = append(out, lines(indent+step, "", entry, comma(i, len(v)))...)
		}
		out = append(out, indent+"]"+end)
	}
	return out
}

func scalar(v any) bool {
	switch v.(type) {
	case object, []any:
		return false
	}
	return true
}

func inline(v any) string {
	switch v := v.(type) {
	case object:
		parts := make([]string, len(v))
		for i, m := range v {
			parts[i] = quoted(m.name) + ": " + inline(m.value)
		}
		return "{" + strings.Join(parts, ", ") + "}"
	case []any:
		parts := make([]string, len(v))
		for i, entry := range v {
			parts[i] = inline(entry)
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case more:
		return fmt.Sprintf("… %d more", int(v))
	case string:
		return quoted(v)
	case nil:
		return "null"
	}
	return fmt.Sprint(v)
}

func quoted(s string) string {
	if r := []rune(s); len(r) > maxText {
		s = string(r[:maxText-1]) + "…"
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(s) // a string can be encoded
	return strings.TrimSpace(b.String())
}
