package otlp

import (
	"math"
	"strconv"
	"unicode/utf8"
)

// appendQuoted writes s as a JSON string in the form of RFC 8785. What is not
// UTF-8 becomes U+FFFD.
func appendQuoted(b []byte, s string) []byte {
	b = append(b, '"')
	return append(appendText(b, s), '"')
}

// appendText writes what stands between the quotes.
func appendText(b []byte, s string) []byte {
	if !utf8.ValidString(s) {
		s = toValid(s)
	}
	start := 0
	for i := 0; i < len(s); {
		if i+8 <= len(s) && plainWord(load(s, i)) {
			i += 8
			continue
		}
		// One of the next eight bytes may need an escape.
		for end := min(i+8, len(s)); i < end; i++ {
			if c := s[i]; c < 0x20 || c == '"' || c == '\\' {
				b = appendEscape(append(b, s[start:i]...), c)
				start = i + 1
			}
		}
	}
	return append(b, s[start:]...)
}

// toValid replaces each byte that is not part of UTF-8 by U+FFFD.
func toValid(s string) string { return string([]rune(s)) }

func load(s string, i int) uint64 {
	s = s[i : i+8]
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
		uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
}

const (
	ones = 0x0101010101010101
	tops = 0x8080808080808080
)

// plainWord reports whether none of eight bytes needs an escape. It may say
// no where the answer is yes, never the reverse ("Bit Twiddling Hacks", zero
// byte and less-than tests). Bytes from 0x80 are part of UTF-8 and plain.
func plainWord(w uint64) bool {
	quote, slash := w^('"'*ones), w^('\\'*ones)
	return ((w-0x20*ones)&^w|(quote-ones)&^quote|(slash-ones)&^slash)&tops == 0
}

func appendEscape(b []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(b, '\\', c)
	case '\b':
		return append(b, '\\', 'b')
	case '\t':
		return append(b, '\\', 't')
	case '\n':
		return append(b, '\\', 'n')
	case '\f':
		return append(b, '\\', 'f')
	case '\r':
		return append(b, '\\', 'r')
	default:
		const hex = "0123456789abcdef"
		return append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
	}
}

// appendDouble writes the shortest number that reads back as f, in the form
// of RFC 8785 (that of ECMAScript), or the string for what JSON cannot write.
func appendDouble(b []byte, f float64) []byte {
	switch {
	case math.IsNaN(f):
		return append(b, `"NaN"`...)
	case math.IsInf(f, 1):
		return append(b, `"Infinity"`...)
	case math.IsInf(f, -1):
		return append(b, `"-Infinity"`...)
	}
	if abs := math.Abs(f); abs == 0 || abs >= 1e-6 && abs < 1e21 {
		return strconv.AppendFloat(b, f, 'f', -1, 64)
	}
	b = strconv.AppendFloat(b, f, 'e', -1, 64)
	if n := len(b); b[n-4] == 'e' && b[n-2] == '0' { // e-07 is e-7
		b[n-2] = b[n-1]
		b = b[:n-1]
	}
	return b
}
