package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/runledger/runledger/evidence"
)

// How much of one text is shown. What is cut says so, and names where the rest is.
const (
	maxCell    = 600    // bytes in a cell of a table
	maxFact    = 4000   // bytes of a fact, a notice or a paragraph
	maxContent = 4000   // bytes of one sealed field
	maxLines   = 80     // and its lines
	maxMarks   = 4      // combining marks on one letter
	maxAll     = 400000 // bytes of all sealed fields of a report
)

// visible makes text safe to be read by people: what has no shape of its own, or
// changes how its neighbours are read, is spelled out (bidirectional controls can
// turn "approved" around; a newline can forge a row). Newlines stay, because every
// caller breaks lines at them or joins them with oneLine.
func visible(s string) string {
	if plain(s) {
		return s
	}
	var b strings.Builder
	b.Grow(len(s) + 16)
	runes := s
	var before rune
	marks := 0
	for len(runes) > 0 {
		r, n := utf8.DecodeRuneInString(runes)
		after, _ := utf8.DecodeRuneInString(runes[n:])
		if unicode.In(r, unicode.Mn, unicode.Me) {
			marks++
		} else {
			marks = 0
		}
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, "⟨0x%02X⟩", runes[0])
		case r == '\n':
			b.WriteByte('\n')
		case r == '\r' && after == '\n':
		case r == '\t':
			b.WriteString("    ")
		case joiner(r) && joins(before) && joins(after):
			b.WriteRune(r)
		case shapeless(r), marks > maxMarks: // a pile of marks grows over other rows
			fmt.Fprintf(&b, "⟨U+%04X⟩", r)
		case unicode.Is(unicode.Zs, r):
			b.WriteByte(' ')
		default:
			b.WriteRune(r)
		}
		before = r
		runes = runes[n:]
	}
	return b.String()
}

// plain reports whether s is printable ASCII and newlines: most text is.
func plain(s string) bool {
	for i := range len(s) {
		if (s[i] < ' ' && s[i] != '\n') || s[i] > '~' {
			return false
		}
	}
	return true
}

func joiner(r rune) bool { return r == 0x200c || r == 0x200d }

// joins: between letters of these scripts a joiner is spelling, not a disguise.
func joins(r rune) bool {
	return unicode.In(r, unicode.Arabic, unicode.Syriac, unicode.Devanagari, unicode.Bengali,
		unicode.Gurmukhi, unicode.Gujarati, unicode.Oriya, unicode.Tamil, unicode.Telugu,
		unicode.Kannada, unicode.Malayalam, unicode.Sinhala)
}

func shapeless(r rune) bool {
	return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Co, unicode.Cs, unicode.Zl, unicode.Zp,
		unicode.Variation_Selector, unicode.Noncharacter_Code_Point, unicode.Other_Default_Ignorable_Code_Point)
}

// oneLine is for cells and labels.
func oneLine(s string) string {
	if !strings.Contains(s, "\n") {
		return s
	}
	return strings.ReplaceAll(s, "\n", " ⏎ ")
}

// cut keeps at most n bytes of s, ending between runes, and returns how many follow.
func cut(s string, n int) (kept string, follow int) {
	if len(s) <= n {
		return s, 0
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n], len(s) - n
}

// short is cut for what has no room to say where the rest is.
func short(s string, n int) string {
	kept, follow := cut(s, n)
	kept = visible(kept)
	if follow > 0 {
		kept += fmt.Sprintf("… (+%d bytes)", follow)
	}
	return kept
}

// cutLines keeps at most n lines of s.
func cutLines(s string, n int) (kept string, follow int) {
	at := 0
	for range n {
		i := strings.IndexByte(s[at:], '\n')
		if i < 0 {
			return s, 0
		}
		at += i + 1
	}
	return s[:at], len(s) - at
}

// readable gives JSON objects and arrays indents, but for short ones of plain values,
// which stay on a line. That moves white space only: digits, escapes and order stay.
func readable(text string) string {
	if text == "" || len(text) > 16*maxContent || (text[0] != '{' && text[0] != '[') {
		return text
	}
	var b bytes.Buffer
	if json.Indent(&b, []byte(text), "", "  ") != nil {
		return text
	}
	return fold(b.String())
}

// written returns how many bytes of text stand for the beginning of readable(text): both
// have the same bytes but for the white space between the tokens of JSON.
func written(text, begin string) (n int) {
	inString, escaped := false, false
	for i := range len(begin) {
		c := begin[i]
		if !inString {
			if isSpace(c) {
				continue
			}
			for n < len(text) && isSpace(text[n]) {
				n++
			}
		}
		n++
		switch {
		case escaped:
			escaped = false
		case c == '\\' && inString:
			escaped = true
		case c == '"':
			inString = !inString
		}
	}
	return min(n, len(text))
}

func isSpace(c byte) bool { return c == ' ' || c == '\n' || c == '\t' || c == '\r' }

// foldWidth is how long a line may be that an array or object is put on.
const foldWidth = 88

// fold puts what is innermost in indented JSON on one line where it is short: a list of
// attributes would fill pages otherwise. Text has no newline in JSON, so lines are safe.
func fold(indented string) string {
	var out []string
	opened := -1 // the line in out that opened what holds plain values only
	for line := range strings.SplitSeq(indented, "\n") {
		out = append(out, line)
		word := strings.TrimLeft(line, " ")
		switch {
		case strings.HasSuffix(word, "[") || strings.HasSuffix(word, "{"):
			opened = len(out) - 1
		case strings.HasPrefix(word, "]") || strings.HasPrefix(word, "}"):
			if opened >= 0 {
				out = append(out[:opened], foldLines(out[opened:])...)
			}
			opened = -1
		}
	}
	return strings.Join(out, "\n")
}

// foldLines joins an array or object of plain values, or returns it as it is.
func foldLines(lines []string) []string {
	n := -3 // no space after the first bracket, none before the last, none after it
	for i, line := range lines {
		if i > 0 {
			line = strings.TrimLeft(line, " ")
		}
		if n += utf8.RuneCountInString(line) + 1; n > foldWidth {
			return lines
		}
	}
	var b strings.Builder
	last := len(lines) - 1
	for i, line := range lines {
		if i > 0 {
			line = strings.TrimLeft(line, " ")
		}
		if i > 1 && i < last {
			b.WriteByte(' ')
		}
		b.WriteString(line)
	}
	return []string{b.String()}
}

// Clock is the form of times in a report: the leaf's, easier on the eye. The zero value
// is none.
func Clock(m evidence.Micros) string {
	if m == 0 {
		return "–"
	}
	return m.Time().Format("2006-01-02 15:04:05.000000") + " UTC"
}

// timeCell is the same in a table, in two lines; that it is UTC says the column's title.
func timeCell(m evidence.Micros) cell {
	day, rest, _ := strings.Cut(strings.TrimSuffix(Clock(m), " UTC"), " ")
	return cell{Text: day, Sub: rest}
}

// span writes a duration in microseconds.
func span(us int64) string {
	switch {
	case us <= 0:
		return "–"
	case us < 1000:
		return fmt.Sprintf("%d µs", us)
	case us < 1000_000:
		return fmt.Sprintf("%d ms", (us+500)/1000)
	case us < 120_000_000:
		return fmt.Sprintf("%.2f s", float64(us)/1e6)
	default:
		return (time.Duration(us) * time.Microsecond).Round(time.Second).String()
	}
}

// count writes an integer with thin groups of three.
func count(n int64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// tone is what a word of the evidence means to a reader at a glance. It only
// chooses a colour; the word itself is always there.
type tone string

const (
	neutral tone = ""
	good    tone = "good"
	warn    tone = "warn"
	bad     tone = "bad"
	quiet   tone = "quiet"
)

var tones = []struct {
	tone  tone
	words []string
}{
	{bad, []string{"fail", "block", "den", "critical", "breach", "abort", "timeout", "terminat", "error", "reject", "compromis", "anomaly"}},
	{warn, []string{"warn", "retry", "near_threshold", "skip", "degraded", "override", "late", "pending", "running", "unknown", "escalat"}},
	{good, []string{"success", "succeed", "allow", "pass", "verified", "approve", "ok", "complete"}},
}

func toneOf(word string) tone {
	word = strings.ToLower(word)
	for _, t := range tones {
		for _, w := range t.words {
			if strings.HasPrefix(word, w) || strings.Contains(word, "_"+w) {
				return t.tone
			}
		}
	}
	return neutral
}
