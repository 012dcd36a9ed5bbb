package evidence

import (
	"bytes"
	"unicode/utf8"
)

// Nearly all sealed texts have one of three plain forms. They are recognised
// in one pass here, several times faster than by a decoder. What is not
// recognised is not wrong: the general check decides, and a fuzz test holds
// that nothing is recognised which it would refuse.

// plainString reports whether v is a JSON string without escapes, of
// printable ASCII.
func plainString(v []byte) bool {
	if len(v) < 2 || v[0] != '"' || v[len(v)-1] != '"' {
		return false
	}
	for _, c := range v[1 : len(v)-1] {
		if c < ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

var actorStart = []byte(`{"human_actor_id":`)

// plainActor returns the person in an actor as SetHumanActor writes it, if
// the id needs no escapes.
func plainActor(v []byte) (id string, ok bool) {
	if string(v) == "{}" {
		return "", true
	}
	rest, ok := bytes.CutPrefix(v, actorStart)
	if !ok || len(rest) < 4 || rest[len(rest)-1] != '}' {
		return "", false
	}
	rest = rest[:len(rest)-1]
	if !plainString(rest) {
		return "", false
	}
	return string(rest[1 : len(rest)-1]), true
}

// plainAttrs reports whether v is a list of [key, type, value] with values
// that are strings, plain numbers, booleans or arrays of these, without white
// space.
func plainAttrs(v []byte) bool {
	s := attrScanner{v: v}
	if !s.char('[') {
		return false
	}
	for first := true; !s.char(']'); first = false {
		if !first && !s.char(',') {
			return false
		}
		if !s.entry() {
			return false
		}
	}
	return s.at == len(v) && (!s.wide || utf8.Valid(v))
}

type attrScanner struct {
	v     []byte
	at    int
	wide  bool // a byte beyond ASCII was seen
	start int  // of the last string, behind its quote
}

func (s *attrScanner) char(c byte) bool {
	if s.at < len(s.v) && s.v[s.at] == c {
		s.at++
		return true
	}
	return false
}

func (s *attrScanner) entry() bool {
	if !s.char('[') || !s.str() || !s.char(',') || !s.str() || !s.isType() || !s.char(',') {
		return false
	}
	return s.value(0) && s.char(']')
}

// isType reports whether the string that was read last is a type.
func (s *attrScanner) isType() bool {
	switch string(s.v[s.start : s.at-1]) {
	case "string", "bool", "int", "double", "bytes", "array", "kvlist":
		return true
	}
	return false
}

// plainDepth bounds arrays in a value; deeper ones are for the general check.
const plainDepth = 32

func (s *attrScanner) value(depth int) bool {
	if s.at >= len(s.v) {
		return false
	}
	switch c := s.v[s.at]; {
	case c == '"':
		return s.str()
	case c == '[' && depth < plainDepth:
		return s.array(depth + 1)
	case c == 't':
		return s.word("true")
	case c == 'f':
		return s.word("false")
	default:
		return s.number()
	}
}

func (s *attrScanner) array(depth int) bool {
	s.at++
	for first := true; !s.char(']'); first = false {
		if !first && !s.char(',') || !s.value(depth) {
			return false
		}
	}
	return true
}

// number reads -?int frac? without exponent.
func (s *attrScanner) number() bool {
	s.char('-')
	if !s.char('0') && !s.digits() {
		return false
	}
	return !s.char('.') || s.digits()
}

func (s *attrScanner) digits() bool {
	from := s.at
	for s.at < len(s.v) && '0' <= s.v[s.at] && s.v[s.at] <= '9' {
		s.at++
	}
	return s.at > from
}

func (s *attrScanner) word(w string) bool {
	if !bytes.HasPrefix(s.v[s.at:], []byte(w)) {
		return false
	}
	s.at += len(w)
	return true
}

// str reads a string. \u escapes, of which two may belong together, are left
// to the general check.
func (s *attrScanner) str() bool {
	if !s.char('"') {
		return false
	}
	s.start = s.at
	for s.at < len(s.v) {
		switch c := s.v[s.at]; {
		case c == '"':
			s.at++
			return true
		case c == '\\':
			s.at++
			if s.at >= len(s.v) || bytes.IndexByte([]byte(`"\/bfnrt`), s.v[s.at]) < 0 {
				return false
			}
		case c < ' ':
			return false
		case c >= utf8.RuneSelf:
			s.wide = true
		}
		s.at++
	}
	return false
}
