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
	return l.ParseText(string(b))
}

// ParseText is [Leaf.Parse] without a copy: the texts of l are parts of s, so it
// is for callers that read many leaves and keep none.
func (l *Leaf) ParseText(s string) error {
	if len(s) > MaxLeafSize {
		return &LeafError{MaxLeafSize, "over 16 KiB"}
	}
	p := parser{s: s}
	p.leaf(l)
	if p.err == nil && p.at != len(p.s) {
		p.fail("bytes after the end")
	}
	if p.err != nil {
		return p.err
	}
	return nil
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
	if l.H == nil {
		l.H = make([]Commitment, 0, commitmentsRoom)
	}
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
	if l.Pub == nil {
		l.Pub = make([]Fact, 0, factsRoom)
	}
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
		l.Pub = append(l.Pub, p.fact(f))
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

// fact reads the value of a field.
func (p *parser) fact(f *Field) Fact {
	switch f.Type {
	case TypeInt:
		return Fact{Field: f, Int: p.integer()}
	case TypeCount:
		return Fact{Field: f, Int: p.count()}
	case TypeBool:
		return Fact{Field: f, Int: p.bool()}
	case TypeTime:
		p.char('"')
		return Fact{Field: f, Int: int64(p.time())}
	case TypeNames:
		return Fact{Field: f, List: p.names(f)}
	case TypeName:
		return Fact{Field: f, Str: p.name(f)}
	case TypeEnum:
		return Fact{Field: f, Str: p.enum(f)}
	default:
		p.char('"')
		v := p.str()
		if p.err == nil {
			if reason := f.check(v); reason != "" {
				p.fail("%s %s", f.Name, reason)
			}
		}
		return Fact{Field: f, Str: v}
	}
}

func (p *parser) bool() int64 {
	if p.try("true") {
		return 1
	}
	p.lit("false")
	return 0
}

// noNames is shared: nobody appends to a list of capacity 0 in place.
var noNames = []string{}

func (p *parser) names(f *Field) []string {
	p.char('[')
	if p.tryChar(']') {
		return noNames
	}
	list := []string{}
	for p.err == nil && !p.tryChar(']') {
		if len(list) > 0 {
			p.char(',')
		}
		list = append(list, p.name(f))
	}
	return list
}
