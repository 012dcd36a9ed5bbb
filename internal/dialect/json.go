package dialect

import (
	"encoding/json"
	"strings"

	"github.com/runledger/runledger/evidence"
)

// The content of model calls comes as JSON inside attributes, up to many
// megabytes of it, and most of it is only moved from one form to another. So
// it is not parsed into trees: a value is a piece of the text, and walking it
// costs a scan. The scanner finds borders; it does not validate. What is made
// of its pieces is checked as a whole before it leaves the package.

// skipSpace returns the index of the first byte of s at or after i that is no
// JSON white space.
func skipSpace(s string, i int) int {
	for i < len(s) && (s[i] == ' ' || s[i] == '\n' || s[i] == '\t' || s[i] == '\r') {
		i++
	}
	return i
}

// stringEnd returns the index behind the string that begins at s[i] == '"',
// or -1 if it does not end.
func stringEnd(s string, i int) int {
	i++
	quote := -1 // the next quotation mark at or after i
	for {
		if quote < i {
			j := strings.IndexByte(s[min(i, len(s)):], '"')
			if j < 0 {
				return -1
			}
			quote = i + j
		}
		k := strings.IndexByte(s[i:quote], '\\')
		if k < 0 {
			return quote + 1
		}
		i += k + 2 // the byte behind the backslash does not end the string
	}
}

// valueEnd returns the index behind the value that begins at s[i], or -1 if
// the text ends before it does.
func valueEnd(s string, i int) int {
	if i >= len(s) {
		return -1
	}
	switch s[i] {
	case '"':
		return stringEnd(s, i)
	case '{', '[':
		return nestedEnd(s, i)
	}
	for i < len(s) && !strings.ContainsRune(" \t\r\n,]}:", rune(s[i])) {
		i++
	}
	return i
}

func nestedEnd(s string, i int) int {
	depth := 0
	for i < len(s) {
		switch s[i] {
		case '"':
			if i = stringEnd(s, i); i < 0 {
				return -1
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return i + 1
			}
		}
		i++
	}
	return -1
}

// walk steps through the elements of an array or the members of an object.
type walk struct {
	s    string
	i    int
	open byte
	// cut says that the text ended, or stopped being JSON, before the value did.
	cut bool
}

// walkOf returns a walk through the array or object in s; ok is false if it
// holds neither.
func walkOf(s string) (w walk, ok bool) {
	i := skipSpace(s, 0)
	if i >= len(s) || s[i] != '{' && s[i] != '[' {
		return walk{}, false
	}
	return walk{s: s, i: i + 1, open: s[i]}, true
}

// next returns the next member; key is empty in an array.
func (w *walk) next() (key, value string, ok bool) {
	w.i = skipSpace(w.s, w.i)
	if w.i < len(w.s) && w.s[w.i] == ',' {
		w.i = skipSpace(w.s, w.i+1)
	}
	if w.i >= len(w.s) {
		w.cut = true
		return "", "", false
	}
	if c := w.s[w.i]; c == ']' || c == '}' {
		return "", "", false
	}
	if w.open == '{' {
		if w.s[w.i] != '"' {
			w.cut = true
			return "", "", false
		}
		end := stringEnd(w.s, w.i)
		if end < 0 {
			w.cut = true
			return "", "", false
		}
		key = unquote(w.s[w.i:end])
		w.i = skipSpace(w.s, end)
		if w.i >= len(w.s) || w.s[w.i] != ':' {
			w.cut = true
			return "", "", false
		}
		w.i = skipSpace(w.s, w.i+1)
	}
	end := valueEnd(w.s, w.i)
	if end <= w.i { // a value has at least one byte
		w.cut = true
		return "", "", false
	}
	value, w.i = w.s[w.i:end], end
	return key, value, true
}

// member returns the value of a key of the object in s, or "".
func member(s, key string) string {
	w, ok := walkOf(s)
	if !ok || w.open != '{' {
		return ""
	}
	for {
		k, v, ok := w.next()
		if !ok {
			return ""
		}
		if k == key {
			return v
		}
	}
}

// at returns the value at a path of keys and indexes, or "".
func at(s string, path []string) string {
	for _, p := range path {
		w, ok := walkOf(s)
		if !ok {
			return ""
		}
		if w.open == '{' {
			s = member(s, p)
			continue
		}
		n, found := index(p)
		if !found {
			return ""
		}
		s = ""
		for {
			_, v, ok := w.next()
			if !ok {
				break
			}
			if n == 0 {
				s = v
				break
			}
			n--
		}
	}
	return s
}

// index reads a small decimal number.
func index(s string) (int, bool) {
	if s == "" || len(s) > 6 {
		return 0, false
	}
	n := 0
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		n = n*10 + int(s[i]-'0')
	}
	return n, true
}

// unquote returns the text of a JSON string; what is no string is returned as
// it is.
func unquote(s string) string {
	if len(s) < 2 || s[0] != '"' || s[len(s)-1] != '"' {
		return s
	}
	inner := s[1 : len(s)-1]
	if strings.IndexByte(inner, '\\') < 0 {
		return inner
	}
	var out string
	if err := json.Unmarshal([]byte(s), &out); err != nil {
		return inner
	}
	return out
}

func isString(raw string) bool { return raw != "" && raw[0] == '"' }

func isNull(raw string) bool { return raw == "" || raw == "null" }

// looksJSON reports whether a text begins as an array or object does.
func looksJSON(s string) bool {
	i := skipSpace(s, 0)
	return i < len(s) && (s[i] == '{' || s[i] == '[')
}

// asJSON returns s if it is JSON that may be sealed, else s as a JSON string.
func asJSON(s string) []byte {
	if i := skipSpace(s, 0); i < len(s) {
		switch c := s[i]; {
		case c == '{' || c == '[' || c == '"' || c == '-' || c >= '0' && c <= '9',
			s == "true", s == "false", s == "null":
			if b := []byte(s); evidence.CheckJSON(b) == nil {
				return b
			}
		}
	}
	return evidence.QuoteJSON(s)
}

// repair makes JSON that may be sealed of JSON that may not: lone surrogates
// become U+FFFD, of a name that stands twice the last one counts. It returns
// nil if that is not enough.
func repair(b []byte) []byte {
	if evidence.CheckJSON(b) == nil {
		return b
	}
	var v any
	dec := json.NewDecoder(strings.NewReader(string(b)))
	dec.UseNumber()
	if dec.Decode(&v) != nil {
		return nil
	}
	out, err := json.Marshal(v)
	if err != nil || evidence.CheckJSON(out) != nil {
		return nil
	}
	return out
}
