package evidence

import (
	"fmt"
	"strings"
)

// parser walks the only possible order of tokens. After a failure all its
// methods do nothing, so that the walk needs no error checks.
type parser struct {
	s   string
	at  int
	err *LeafError
}

func (p *parser) fail(format string, args ...any) {
	if p.err == nil {
		p.err = &LeafError{p.at, fmt.Sprintf(format, args...)}
	}
}

// lit consumes exactly that text.
func (p *parser) lit(text string) {
	if !p.try(text) {
		p.expected(text)
	}
}

// char is lit for one byte.
func (p *parser) char(c byte) {
	if !p.tryChar(c) {
		p.expected(string(c))
	}
}

// tryChar is try for one byte.
func (p *parser) tryChar(c byte) bool {
	if p.err == nil && p.at < len(p.s) && p.s[p.at] == c {
		p.at++
		return true
	}
	return false
}

// expected is apart so that the compiler can inline lit.
func (p *parser) expected(text string) { p.fail("expected %s", text) }

// try consumes the text if it stands here.
func (p *parser) try(text string) bool {
	if p.err == nil && strings.HasPrefix(p.s[p.at:], text) {
		p.at += len(text)
		return true
	}
	return false
}

// plain consumes n bytes up to a closing quote and returns them.
func (p *parser) plain(n int) string {
	if p.err != nil {
		return ""
	}
	if len(p.s)-p.at <= n || p.s[p.at+n] != '"' {
		p.fail("expected a string of %d bytes", n)
		return ""
	}
	v := p.s[p.at : p.at+n]
	p.at += n + 1
	return v
}

// word consumes a string without escapes up to and with its closing quote.
func (p *parser) word() string {
	if p.err != nil {
		return ""
	}
	i := strings.IndexByte(p.s[p.at:], '"')
	if i < 0 {
		p.fail("unterminated string")
		return ""
	}
	v := p.s[p.at : p.at+i]
	p.at += i + 1
	return v
}

// str consumes the rest of a string whose opening quote is consumed. The
// only escapes of the profile are \" and \\, since text without control
// characters needs no others in canonical form.
func (p *parser) str() string {
	if p.err != nil {
		return ""
	}
	for i := p.at; i < len(p.s); i++ {
		switch c := p.s[i]; {
		case c == '"':
			v := p.s[p.at:i]
			p.at = i + 1
			return v
		case c == '\\':
			return p.escaped()
		case c < 0x20:
			p.fail("control character in a string")
			return ""
		}
	}
	p.fail("unterminated string")
	return ""
}

func (p *parser) escaped() string {
	var out []byte
	for i := p.at; i < len(p.s); i++ {
		switch c := p.s[i]; {
		case c == '"':
			p.at = i + 1
			return string(out)
		case c == '\\':
			i++
			if i == len(p.s) || (p.s[i] != '"' && p.s[i] != '\\') {
				p.fail("escape that canonical text without control characters does not have")
				return ""
			}
			out = append(out, p.s[i])
		case c < 0x20:
			p.fail("control character in a string")
			return ""
		default:
			out = append(out, c)
		}
	}
	p.fail("unterminated string")
	return ""
}

// name consumes a name in its quotes.
func (p *parser) name(f *Field) string {
	if !p.tryChar('"') {
		p.expected(`"`)
		return ""
	}
	s, n := p.s[p.at:], 0
	for n < len(s) && nameByte[s[n]] {
		n++
	}
	if n == 0 || n > MaxName || n == len(s) || s[n] != '"' {
		p.fail("%s %s", f.Name, checkName(p.word()))
		return ""
	}
	p.at += n + 1
	return s[:n]
}

// enum consumes one of the field's values in its quotes, and returns the
// table's own string.
func (p *parser) enum(f *Field) string {
	if !p.tryChar('"') {
		p.expected(`"`)
		return ""
	}
	s := p.s[p.at:]
	for _, v := range f.Enum {
		if len(s) > len(v) && s[len(v)] == '"' && s[:len(v)] == v {
			p.at += len(v) + 1
			return v
		}
	}
	p.fail("%s %s", f.Name, f.check(p.word()))
	return ""
}

// integer consumes a canonical integer within ±(2^53−1).
func (p *parser) integer() int64 {
	if p.err != nil {
		return 0
	}
	neg := p.tryChar('-')
	from, v := p.at, int64(0)
	for p.at < len(p.s) {
		c := p.s[p.at] - '0'
		if c > 9 {
			break
		}
		v = v*10 + int64(c)
		p.at++
		if v > MaxInt {
			p.fail("integer beyond 2^53−1")
			return 0
		}
	}
	n := p.at - from
	if n == 0 || (n > 1 && p.s[from] == '0') || (neg && v == 0) {
		p.fail("expected a canonical integer")
		return 0
	}
	if neg {
		return -v
	}
	return v
}

func (p *parser) count() int64 {
	v := p.integer()
	if v < 0 {
		p.fail("negative")
	}
	return v
}

func (p *parser) time() Micros {
	s := p.plain(timeLen)
	if p.err != nil {
		return 0
	}
	m, ok := ParseMicros(s)
	if !ok {
		p.fail("%q is not a time in UTC with six decimals", s)
	}
	return m
}
