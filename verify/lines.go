package verify

import (
	"encoding/base64"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/runledger/runledger/evidence"
)

// Disclosure is one line of disclosures.jsonl: the opening of one sealed
// field.
type Disclosure struct {
	Seq   int64
	Path  string
	Salt  evidence.Salt
	Value []byte // the exact JSON text
}

// Append writes the line with its newline: RFC 8785,
// {"path":…,"salt":…,"seq":…,"value":…}, the salt in unpadded base64url and
// the JSON text as a string. Lines of a file are in order of (Seq, Path).
func (d *Disclosure) Append(dst []byte) []byte {
	dst = append(dst, `{"path":`...)
	dst = appendJSON(dst, d.Path)
	dst = append(dst, `,"salt":"`...)
	dst = base64.RawURLEncoding.AppendEncode(dst, d.Salt[:])
	dst = append(dst, `","seq":`...)
	dst = strconv.AppendInt(dst, d.Seq, 10)
	dst = append(dst, `,"value":`...)
	dst = appendJSON(dst, string(d.Value))
	return append(dst, '}', '\n')
}

// ParseDisclosure reads what [Disclosure.Append] writes, without its newline,
// and nothing else. The value is checked by [evidence.CheckJSON], the path
// for being one that some kind of record has. Errors wrap
// evidence.ErrInvalid.
func ParseDisclosure(line []byte) (*Disclosure, error) {
	d := new(Disclosure)
	path, err := d.parse(line)
	if err != nil {
		return nil, err
	}
	d.Path = sealedPaths[path]
	return d, nil
}

// parse reads a line into d, but for the path, of which it returns the place
// in sealedPaths.
func (d *Disclosure) parse(line []byte) (path int, err error) {
	s := scanner{b: line}
	s.lit(`{"path":"`)
	name := s.plain()
	s.lit(`,"salt":"`)
	salt, ok := parseSalt(s.plain())
	s.lit(`,"seq":`)
	d.Salt, d.Seq = salt, s.count()
	s.lit(`,"value":"`)
	d.Value = s.text()
	s.lit(`}`)
	if s.bad || len(s.b) > 0 || !ok {
		return 0, invalid("not a canonical {path, salt, seq, value}")
	}
	if path = pathIndex(name); path < 0 {
		return 0, invalid("no kind of record has the sealed path %.100q", name)
	}
	return path, evidence.CheckJSON(d.Value)
}

// Reason says why a sealed field is not disclosed.
type Reason string

// The reasons, formats.md section 7.
const (
	NotPermitted Reason = "not_permitted"
	Requested    Reason = "requested"
	Erased       Reason = "erased"  // its ErasureExecuted must be in the bundle
	Expired      Reason = "expired" // its RetentionApplied must be in the bundle
)

var reasons = []Reason{NotPermitted, Requested, Erased, Expired}

// Withheld is one line of withheld.jsonl.
type Withheld struct {
	Seq    int64
	Path   string
	Reason Reason
}

// Append writes the line with its newline: RFC 8785,
// {"path":…,"reason":…,"seq":…}. Lines of a file are in order of (Seq, Path).
func (w *Withheld) Append(dst []byte) []byte {
	dst = append(dst, `{"path":`...)
	dst = appendJSON(dst, w.Path)
	dst = append(dst, `,"reason":`...)
	dst = appendJSON(dst, string(w.Reason))
	dst = append(dst, `,"seq":`...)
	dst = strconv.AppendInt(dst, w.Seq, 10)
	return append(dst, '}', '\n')
}

// ParseWithheld reads what [Withheld.Append] writes, without its newline,
// and nothing else. Errors wrap evidence.ErrInvalid.
func ParseWithheld(line []byte) (*Withheld, error) {
	seq, path, reason, err := scanWithheld(line)
	if err != nil {
		return nil, err
	}
	return &Withheld{seq, sealedPaths[path], reasons[reason]}, nil
}

// scanWithheld is [ParseWithheld] with the places of path and reason in
// their lists. There can be several such lines for each leaf of a log, so it
// does not allocate.
func scanWithheld(line []byte) (seq int64, path, reason int, err error) {
	s := scanner{b: line}
	s.lit(`{"path":"`)
	name := s.plain()
	s.lit(`,"reason":"`)
	why := s.plain()
	s.lit(`,"seq":`)
	seq = s.count()
	s.lit(`}`)
	if s.bad || len(s.b) > 0 {
		return 0, 0, 0, invalid("not a canonical {path, reason, seq}")
	}
	if path = pathIndex(name); path < 0 {
		return 0, 0, 0, invalid("no kind of record has the sealed path %.100q", name)
	}
	for i, r := range reasons {
		if string(why) == string(r) {
			return seq, path, i, nil
		}
	}
	return 0, 0, 0, invalid("unknown reason %.100q", why)
}

// sealedPaths are the sealed paths of all kinds, sorted: a path is kept as
// its place in this list.
var sealedPaths = func() (paths []string) {
	for _, k := range evidence.Kinds() {
		for _, f := range evidence.SealedFields(k) {
			paths = append(paths, f.Path)
		}
	}
	slices.Sort(paths)
	return slices.Compact(paths)
}()

var pathPlaces = func() map[string]int {
	m := map[string]int{}
	for i, p := range sealedPaths {
		m[p] = i
	}
	return m
}()

// pathIndex returns the place of a path in sealedPaths, or −1.
func pathIndex[T string | []byte](path T) int {
	if i, ok := pathPlaces[string(path)]; ok {
		return i
	}
	return -1
}

// parseSalt reads 22 characters of strict base64url.
func parseSalt(s []byte) (salt evidence.Salt, ok bool) {
	if len(s) != 22 {
		return salt, false
	}
	var b [18]byte // the decoder wants room for whole groups
	n, err := base64.RawURLEncoding.Strict().Decode(b[:], s)
	return evidence.Salt(b[:len(salt)]), err == nil && n == len(salt)
}

// scanner walks the only order of tokens that a canonical line can have.
type scanner struct {
	b   []byte
	bad bool
}

func (s *scanner) lit(text string) {
	if s.bad || len(s.b) < len(text) || string(s.b[:len(text)]) != text {
		s.bad = true
		return
	}
	s.b = s.b[len(text):]
}

// plain reads a string without escapes up to and with its closing quote.
func (s *scanner) plain() []byte {
	for i, c := range s.b {
		switch {
		case s.bad || c < 0x20 || c == '\\':
			s.bad = true
			return nil
		case c == '"':
			v := s.b[:i]
			s.b = s.b[i+1:]
			return v
		}
	}
	s.bad = true
	return nil
}

func (s *scanner) count() int64 {
	n, v := 0, int64(0)
	for ; n < len(s.b) && s.b[n]-'0' <= 9; n++ {
		if v = v*10 + int64(s.b[n]-'0'); v > evidence.MaxInt {
			s.bad = true
			return 0
		}
	}
	if n == 0 || n > 1 && s.b[0] == '0' {
		s.bad = true
		return 0
	}
	s.b = s.b[n:]
	return v
}

// text reads a string with the escapes of RFC 8785 and no others.
func (s *scanner) text() []byte {
	if s.bad {
		return nil
	}
	out := make([]byte, 0, len(s.b))
	for i := 0; i < len(s.b); i++ {
		c := s.b[i]
		switch {
		case c == '"':
			s.b = s.b[i+1:]
			s.bad = !utf8.Valid(out)
			return out
		case c < 0x20:
			s.bad = true
			return nil
		case c != '\\':
			out = append(out, c)
			continue
		}
		r, n := unescape(s.b[i:])
		if n == 0 {
			break
		}
		out = append(out, r)
		i += n - 1
	}
	s.bad = true
	return nil
}

// quoted reads a string with its quotes.
func (s *scanner) quoted() string {
	s.lit(`"`)
	for i := 0; i < len(s.b) && !s.bad; i++ {
		switch s.b[i] {
		case '\\':
			i++
		case '"':
			part := scanner{b: s.b[:i+1]}
			s.b = s.b[i+1:]
			text := part.text()
			s.bad = part.bad
			return string(text)
		}
	}
	s.bad = true
	return ""
}

// more reports whether another entry of a list follows, which begins with that
// byte, and takes the comma before it.
func (s *scanner) more(first byte, before int) bool {
	rest := s.b
	if before > 0 {
		if len(rest) == 0 || rest[0] != ',' {
			return false
		}
		rest = rest[1:]
	}
	if s.bad || len(rest) == 0 || rest[0] != first {
		return false
	}
	s.b = rest
	return true
}

// unescape reads one escape in its canonical form and returns the byte and
// the length of the escape, 0 if it is none.
func unescape(b []byte) (c byte, n int) {
	if len(b) < 2 {
		return 0, 0
	}
	if at := strings.IndexByte(`"\btnfr`, b[1]); at >= 0 {
		return "\"\\\b\t\n\f\r"[at], 2
	}
	if len(b) < 6 || string(b[1:4]) != "u00" {
		return 0, 0
	}
	v, err := strconv.ParseUint(string(b[4:6]), 16, 8)
	// Only what has no short form, in lower case.
	if err != nil || v >= 0x20 || string(appendJSON(nil, string(rune(v)))) != `"`+string(b[:6])+`"` {
		return 0, 0
	}
	return byte(v), 6
}
