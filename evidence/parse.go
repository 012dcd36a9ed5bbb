package evidence

import (
	"fmt"
	"strings"
)

// LeafError says why bytes are no leaf. It is verdict code E_LEAF.
type LeafError struct {
	Offset int
	Reason string
}

func (e *LeafError) Error() string { return fmt.Sprintf("leaf, byte %d: %s", e.Offset, e.Reason) }

// Unwrap returns ErrInvalid.
func (e *LeafError) Unwrap() error { return ErrInvalid }

// ParseLeaf reads one leaf; see [Leaf.Parse].
func ParseLeaf(b []byte) (*Leaf, error) {
	l := new(Leaf)
	if err := l.Parse(b); err != nil {
		return nil, err
	}
	return l, nil
}

// Parse reads the bytes of one leaf into l, reusing its slices. It accepts
// exactly what formats.md section 2 allows: canonical (RFC 8785), in
// profile, keys and paths from the closed sets of the kind, every required
// field present. The error is a [*LeafError].
//
// What a leaf may say only at a certain place of a log (LOG_OPENED first,
// LOG_CLOSED last, times in order) is the verifier's to check.
func (l *Leaf) Parse(b []byte) error {
	if len(b) > MaxLeafSize {
		return &LeafError{MaxLeafSize, "over 16 KiB"}
	}
	p := parser{s: string(b)}
	p.leaf(l)
	if p.err == nil && p.at != len(p.s) {
		p.fail("bytes after the end")
	}
	if p.err != nil {
		return p.err
	}
	return nil
}

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

func (p *parser) leaf(l *Leaf) {
	p.lit(`{"et":"`)
	l.OccurredAt = p.time()
	p.lit(`,"h":{`)
	p.commitments(l)
	p.lit(`,"id":"`)
	id, ok := ParseID(p.plain(36))
	if !ok {
		p.fail("id is not a lower-case UUID")
	}
	l.ID = id
	p.lit(`,"kind":"`)
	l.Kind = ParseKind(p.word())
	if l.Kind == 0 {
		p.fail("unknown kind")
	}
	p.lit(`,"log":"`)
	l.Log = p.word()
	if !ValidOrigin(l.Log) {
		p.fail("log is not an origin")
	}
	hasRun := p.try(`,"n":`)
	l.N = 0
	if hasRun {
		l.N = p.count()
	}
	p.lit(`,"pub":{`)
	p.facts(l)
	l.Run = ""
	if hasRun {
		p.lit(`,"run":"`)
		l.Run = p.str()
		if reason := checkRun(l.Run); reason != "" {
			p.fail("run %s", reason)
		}
	}
	p.lit(`,"seq":`)
	l.Seq = p.count()
	p.lit(`,"t":"`)
	l.RecordedAt = p.time()
	p.lit(`,"v":1}`)
	if p.err == nil {
		p.closedPaths(l)
	}
}

// commitments reads h up to its closing brace.
func (p *parser) commitments(l *Leaf) {
	l.H = l.H[:0]
	for p.err == nil && !p.tryChar('}') {
		if len(l.H) > 0 {
			p.char(',')
		}
		p.char('"')
		path := p.word()
		if n := len(l.H); n > 0 && path <= l.H[n-1].Path {
			p.fail("sealed paths are not in order")
		}
		p.lit(`:"`)
		h, ok := ParseCommitment(p.plain(commitLen))
		if !ok {
			p.fail("commitment of %s is not strict base64url of 32 bytes", path)
		}
		l.H = append(l.H, Commitment{path, h})
	}
}

// closedPaths checks that the kind has each path, and the leaf each
// required one.
func (p *parser) closedPaths(l *Leaf) {
	fields := SealedFields(l.Kind)
	i := 0
	for _, f := range fields {
		if i < len(l.H) && l.H[i].Path == f.Path {
			i++
		} else if f.Required {
			p.fail("no commitment at %s", f.Path)
			return
		}
	}
	if i < len(l.H) {
		p.fail("unknown sealed path %q", l.H[i].Path)
	}
}

// facts reads pub up to its closing brace.
func (p *parser) facts(l *Leaf) {
	l.Pub = l.Pub[:0]
	if p.err != nil {
		return
	}
	// The kind's fields in their order: the next one of the leaf must be among
	// those that are still to come, and none passed over may be required.
	name := p.key(`"`)
	for _, f := range PublicFields(l.Kind) {
		if f.Name != name {
			if !f.Optional {
				p.misplaced(l.Kind, name, f)
				return
			}
			continue
		}
		l.Pub = append(l.Pub, Fact{Field: f})
		p.fact(&l.Pub[len(l.Pub)-1])
		name = p.key(`,"`)
	}
	if name != "" {
		p.misplaced(l.Kind, name, nil)
	}
}

// key consumes the name of the next public field with its colon, or the
// brace after the last, and then returns "".
func (p *parser) key(before string) string {
	if !p.try(before) {
		p.char('}')
		return ""
	}
	n := strings.IndexByte(p.s[p.at:], '"')
	if n <= 0 || p.at+n+1 >= len(p.s) || p.s[p.at+n+1] != ':' {
		p.fail("expected a field name and a colon")
		return ""
	}
	name := p.s[p.at : p.at+n]
	p.at += n + 2
	return name
}

// misplaced says what is wrong where the required field want should stand,
// or no field at all.
func (p *parser) misplaced(kind Kind, name string, want *Field) {
	switch f := PublicField(kind, name); {
	case f == nil && name != "":
		p.fail("public field %q is unknown", name)
	case want == nil || f != nil && f.index < want.index:
		p.fail("public field %q is out of order or twice", name)
	default:
		p.fail("public field %q is missing", want.Name)
	}
}

func (p *parser) fact(f *Fact) {
	switch f.Field.Type {
	case TypeInt:
		f.Int = p.integer()
	case TypeCount:
		f.Int = p.count()
	case TypeBool:
		if p.try("true") {
			f.Int = 1
		} else {
			p.lit("false")
		}
	case TypeTime:
		p.char('"')
		f.Int = int64(p.time())
	case TypeNames:
		p.char('[')
		f.List = []string{}
		for p.err == nil && !p.tryChar(']') {
			if len(f.List) > 0 {
				p.char(',')
			}
			f.List = append(f.List, p.name(f.Field))
		}
	case TypeName:
		f.Str = p.name(f.Field)
	case TypeEnum:
		f.Str = p.enum(f.Field)
	default:
		p.char('"')
		f.Str = p.str()
		if p.err == nil {
			if reason := f.Field.check(f.Str); reason != "" {
				p.fail("%s %s", f.Field.Name, reason)
			}
		}
	}
}
