package evidence

import (
	"slices"
	"strconv"
)

// MaxLeafSize is the greatest size of a leaf in bytes.
const MaxLeafSize = 16 << 10

// MaxInt is the greatest integer of a public fact, 2^53−1.
const MaxInt = 1<<53 - 1

// Fact is one public fact: a field and its value. Which member holds the
// value follows from Field.Type: List for names, Int for int, count, time
// (as Micros) and bool (0 or 1), Str for all text types.
type Fact struct {
	Field *Field
	Int   int64
	Str   string
	List  []string
}

// Commitment is one entry of a leaf's h.
type Commitment struct {
	Path string
	Hash Hash
}

// Leaf is the content of one leaf. Pub is sorted by field name, H by path.
type Leaf struct {
	Log        string
	Seq        int64
	ID         ID
	Kind       Kind
	RecordedAt Micros // t
	OccurredAt Micros // et
	Run        string // empty where the record has none
	N          int64  // meaningful only with Run
	Pub        []Fact
	H          []Commitment
}

// Fact returns the fact of that name and whether the leaf has it.
func (l *Leaf) Fact(name string) (Fact, bool) { return findFact(l.Pub, name) }

// Text returns a text fact, or "".
func (l *Leaf) Text(name string) string {
	f, _ := l.Fact(name)
	return f.Str
}

// Int returns an integer, time or bool fact and whether it is there.
func (l *Leaf) Int(name string) (int64, bool) {
	f, ok := l.Fact(name)
	return f.Int, ok
}

// Commitment returns the commitment at a sealed path.
func (l *Leaf) Commitment(path string) (Hash, bool) {
	for i := range l.H {
		if l.H[i].Path == path {
			return l.H[i].Hash, true
		}
	}
	return Hash{}, false
}

func findFact(pub []Fact, name string) (Fact, bool) {
	for i := range pub {
		if pub[i].Field.Name == name {
			return pub[i], true
		}
	}
	return Fact{}, false
}

// setFact puts a fact in its place, replacing one of the same field.
func setFact(pub []Fact, f Fact) []Fact {
	i, found := slices.BinarySearchFunc(pub, f, func(a, b Fact) int { return a.Field.index - b.Field.index })
	if found {
		pub[i] = f
		return pub
	}
	if pub == nil {
		pub = make([]Fact, 0, factsRoom) // the usual record grows no further
	}
	return slices.Insert(pub, i, f)
}

// What the usual record has.
const (
	factsRoom       = 32
	commitmentsRoom = 6
)

// SetFact sets a public fact of the leaf; the field must be of its kind.
func (l *Leaf) SetFact(f Fact) { l.Pub = setFact(l.Pub, f) }

// Append writes the canonical bytes of the leaf, RFC 8785. It checks only
// the size: what is in the leaf has been validated when it was made, and
// [Leaf.Parse] accepts what Append writes.
func (l *Leaf) Append(dst []byte) ([]byte, error) {
	start := len(dst)
	dst = append(dst, `{"et":"`...)
	dst = l.OccurredAt.append(dst)
	dst = append(dst, `","h":{`...)
	for i := range l.H {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, '"')
		dst = append(dst, l.H[i].Path...)
		dst = append(dst, `":"`...)
		dst = b64.AppendEncode(dst, l.H[i].Hash[:])
		dst = append(dst, '"')
	}
	dst = append(dst, `},"id":"`...)
	dst = l.ID.append(dst)
	dst = append(dst, `","kind":"`...)
	dst = append(dst, l.Kind.String()...)
	dst = append(dst, `","log":"`...)
	dst = append(dst, l.Log...)
	dst = append(dst, '"')
	if l.Run != "" {
		dst = append(dst, `,"n":`...)
		dst = strconv.AppendInt(dst, l.N, 10)
	}
	dst = append(dst, `,"pub":{`...)
	for i := range l.Pub {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, '"')
		dst = append(dst, l.Pub[i].Field.Name...)
		dst = append(dst, `":`...)
		dst = l.Pub[i].AppendJSON(dst)
	}
	dst = append(dst, '}')
	if l.Run != "" {
		dst = append(dst, `,"run":`...)
		dst = appendString(dst, l.Run)
	}
	dst = append(dst, `,"seq":`...)
	dst = strconv.AppendInt(dst, l.Seq, 10)
	dst = append(dst, `,"t":"`...)
	dst = l.RecordedAt.append(dst)
	dst = append(dst, `","v":1}`...)
	if n := len(dst) - start; n > MaxLeafSize {
		return dst[:start], tooLarge("record", "its public facts and commitments make a leaf of %d bytes; at most %d", n, MaxLeafSize)
	}
	return dst, nil
}

// AppendJSON writes the fact's value in canonical form.
func (f *Fact) AppendJSON(dst []byte) []byte {
	switch f.Field.Type {
	case TypeInt, TypeCount:
		return strconv.AppendInt(dst, f.Int, 10)
	case TypeBool:
		return strconv.AppendBool(dst, f.Int != 0)
	case TypeTime:
		dst = append(dst, '"')
		dst = Micros(f.Int).append(dst)
		return append(dst, '"')
	case TypeNames:
		dst = append(dst, '[')
		for i, s := range f.List {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendString(dst, s)
		}
		return append(dst, ']')
	default:
		return appendString(dst, f.Str)
	}
}

// appendString writes a string that has no control characters.
func appendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	for i := 0; i < len(s); i++ {
		if s[i] == '"' || s[i] == '\\' {
			dst = append(dst, '\\')
		}
		dst = append(dst, s[i])
	}
	return append(dst, '"')
}
