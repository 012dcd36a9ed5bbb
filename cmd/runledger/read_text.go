package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/width"

	"github.com/runledger/runledger/answer"
)

// What records say was written by others, and by the people and models that
// they talk to. clean makes it text of one line that does nothing to a terminal:
// no control characters, none that turn the direction of the text around them,
// white space as single spaces. What is taken out leaves U+FFFD.
func clean(s string) string { return strings.Join(strings.Fields(strings.Map(printable, s)), " ") }

// cleanLines is clean for a text of several lines.
func cleanLines(s string) []string {
	lines := strings.Split(strings.ReplaceAll(s, "\r\n", "\n"), "\n")
	for i, line := range lines {
		line = strings.ReplaceAll(line, "\t", "    ")
		lines[i] = strings.TrimRight(strings.Map(printable, line), " ")
	}
	return lines
}

// Joiners shape emoji and the scripts of Persia and India; they do no harm.
const zeroWidthNonJoiner, zeroWidthJoiner = '\u200c', '\u200d'

func printable(r rune) rune {
	switch {
	case unicode.IsSpace(r):
		return ' '
	case unicode.IsPrint(r), r == zeroWidthNonJoiner, r == zeroWidthJoiner:
		return r
	}
	return utf8.RuneError
}

// columnsOf returns how many columns of a terminal clean text takes.
func columnsOf(s string) int {
	n := 0
	for _, r := range s {
		n += runeColumns(r)
	}
	return n
}

func runeColumns(r rune) int {
	switch {
	case r < utf8.RuneSelf:
		return 1
	case r == zeroWidthNonJoiner, r == zeroWidthJoiner, unicode.In(r, unicode.Mn, unicode.Me),
		'\u1160' <= r && r <= '\u11ff': // Hangul vowels and finals, which join the syllable
		return 0
	}
	switch width.LookupRune(r).Kind() {
	case width.EastAsianWide, width.EastAsianFullwidth:
		return 2
	default:
		return 1
	}
}

// cut shortens clean text to n columns.
func cut(s string, n int) string {
	if columnsOf(s) <= n {
		return s
	}
	return prefix(s, max(n-1, 0)) + "…"
}

// prefix returns the longest beginning of n columns, marks with their letters.
func prefix(s string, n int) string {
	for i, r := range s {
		if n -= runeColumns(r); n < 0 {
			return s[:i]
		}
	}
	return s
}

// fill pads clean text with spaces to n columns.
func fill(s string, n int) string { return s + spaces(n-columnsOf(s)) }

func spaces(n int) string { return strings.Repeat(" ", max(n, 0)) }

// fold breaks a clean line into lines of at most n columns: at spaces, and
// where there are none, as in Chinese or in a hash, within the word.
func fold(line string, n int) []string {
	n = max(n, 2) // a wide rune must fit
	rest := strings.TrimLeft(line, " ")
	indent := prefix(line[:len(line)-len(rest)], n/2)
	var lines []string
	current := indent
	for _, word := range strings.Fields(rest) {
		if current != indent {
			if columnsOf(current)+1+columnsOf(word) <= n {
				current += " " + word
				continue
			}
			lines, current = append(lines, current), indent
		}
		for columnsOf(current)+columnsOf(word) > n {
			head := prefix(word, n-columnsOf(current))
			lines = append(lines, current+head)
			current, word = indent, word[len(head):]
		}
		current += word
	}
	return append(lines, current)
}

const notPermitted = "[withheld: not permitted]"

// nobodyShown stands for a person that the answer does not name: the command line sees all that there is.
const nobodyShown = "[erased]"

// withheldText says why sealed content is not there.
func withheldText(w *answer.Withheld) string {
	switch {
	case w == nil || w.Reason == answer.NotCaptured:
		return "[not captured]"
	case w.Reason == answer.NotPermitted:
		return notPermitted
	case w.Reason == answer.Erased, w.Reason == answer.Expired:
		return "[" + w.Reason + "]"
	}
	return "[withheld: " + clean(w.Reason) + "]"
}

// captured reports whether there is content, shown or not.
func captured(c answer.Content) bool {
	return c.Value != nil || c.Withheld != nil && c.Withheld.Reason != answer.NotCaptured
}

// brief is sealed content in one line, of any length. Of a conversation it is
// the last message.
func brief(c answer.Content) string {
	if c.Value == nil {
		return withheldText(c.Withheld)
	}
	if list := messages(c.Value); len(list) > 0 {
		return clean(list[len(list)-1])
	}
	return clean(plain(c.Value))
}

// full is sealed content in lines, all of it.
func full(c answer.Content) []string {
	if c.Value == nil {
		return []string{withheldText(c.Withheld)}
	}
	if list := messages(c.Value); len(list) > 0 {
		return cleanLines(strings.Join(list, "\n"))
	}
	var b bytes.Buffer
	if _, ok := quoted(c.Value); !ok && json.Indent(&b, c.Value, "", "  ") == nil {
		return cleanLines(b.String())
	}
	return cleanLines(plain(c.Value))
}

// quoted reads a JSON string. Null is none.
func quoted(raw json.RawMessage) (s string, ok bool) {
	var p *string
	if json.Unmarshal(raw, &p) != nil || p == nil {
		return "", false
	}
	return *p, true
}

// plain is the text of a JSON string, or JSON.
func plain(raw json.RawMessage) string {
	if s, ok := quoted(raw); ok {
		return s
	}
	var b bytes.Buffer
	if json.Compact(&b, raw) != nil {
		return string(raw)
	}
	return b.String()
}

// messages reads a conversation, which SDKs write in several ways: a list of
// objects with a role. It returns "role: text" of each, and nil for other JSON.
// What a message has beside its text stands after it as JSON: nothing is lost.
func messages(raw json.RawMessage) []string {
	var list []map[string]json.RawMessage
	if json.Unmarshal(raw, &list) != nil {
		return nil
	}
	lines := make([]string, len(list))
	for i, m := range list {
		role, ok := quoted(m["role"])
		if !ok {
			return nil
		}
		delete(m, "role")
		parts := []string{role + ":"}
		for _, name := range []string{"content", "parts"} {
			if v, ok := m[name]; ok {
				parts = append(parts, texts(v)...)
				delete(m, name)
			}
		}
		for _, name := range slices.Sorted(maps.Keys(m)) {
			parts = append(parts, fmt.Sprintf("%s=%s", name, plain(m[name])))
		}
		lines[i] = strings.Join(parts, " ")
	}
	return lines
}

// texts is the content of a message: a text, or a list of parts.
func texts(raw json.RawMessage) []string {
	var list []map[string]json.RawMessage
	if json.Unmarshal(raw, &list) != nil {
		return []string{plain(raw)}
	}
	out := make([]string, len(list))
	for i, part := range list {
		text, ok := part["text"]
		if !ok {
			text = part["content"]
		}
		if s, ok := quoted(text); ok && len(part) == 2 && plain(part["type"]) == "text" {
			out[i] = s
			continue
		}
		b, err := json.Marshal(part)
		if err != nil {
			b = raw
		}
		out[i] = string(b)
	}
	return out
}
