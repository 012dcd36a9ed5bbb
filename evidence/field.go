package evidence

import (
	"fmt"
	"slices"
	"strings"
)

// Type is the type of a public field.
type Type uint8

// Types of public fields. All text types refuse control characters.
const (
	TypeName    Type = iota + 1 // 1 to 128 bytes of [A-Za-z0-9 ._:/@-]
	TypeNames                   // array of names, never null
	TypeEnum                    // one of Field.Enum
	TypeInt                     // within ±(2^53−1)
	TypeCount                   // int, not negative
	TypeBool                    //
	TypeTime                    // RFC 3339 UTC with six decimals
	TypeInteger                 // decimal integer of any size, as a string
	TypeDecimal                 // decimal number, as a string
	TypeText                    // 1 to 1024 bytes of UTF-8
	TypeRun                     // 1 to 128 bytes of UTF-8
	TypeTraceID                 // 32 lower-case hex digits
	TypeSpanID                  // 16 lower-case hex digits
)

// Owner says who sets a public field.
type Owner uint8

// Owners.
const (
	Producer Owner = iota // the producer, or the default
	Server                // the server; an error if a producer sends it
)

// Field is one public field of one or all kinds.
type Field struct {
	Name     string
	Type     Type
	Enum     []string // of TypeEnum, in the contract's order
	Optional bool     // may be absent from a leaf; arrays never are
	Owner    Owner
	Required bool   // a producer must send it: there is no default
	Default  string // text form, put in where a producer sends none
	// Intern says that values repeat: a store may keep a number for them.
	Intern bool

	index int // position in the kind's list
}

// Column returns the name of the field's column in the kind's table.
func (f *Field) Column() string { return f.Name }

// Index returns the field's position in [PublicFields] of its kind.
func (f *Field) Index() int { return f.index }

// IsText reports whether values of the type are single strings.
func (t Type) IsText() bool {
	switch t {
	case TypeNames, TypeInt, TypeCount, TypeBool, TypeTime:
		return false
	default:
		return true
	}
}

// SealedField is one sealed field of one or all kinds.
type SealedField struct {
	Path     string // with the leading slash, as in the leaf's h
	Required bool   // every leaf of the kind has it
	Shape    Shape
	// UnfitOf is the public name field whose unfit values are sealed here;
	// empty for the sealed fields proper.
	UnfitOf string
	// Indexed fields are found through sealed_index.
	Indexed bool
}

// NativeName returns the field's name in native records: the path without
// its slash.
func (s *SealedField) NativeName() string { return strings.TrimPrefix(s.Path, "/") }

// Shape is what JSON a sealed field may hold.
type Shape uint8

// Shapes.
const (
	ShapeAny   Shape = iota // any JSON value
	ShapeText               // a JSON string
	ShapeActor              // {"human_actor_id": string} or {}
	ShapeAttrs              // list of [key, type, value]
)

type kindFields struct {
	public []*Field       // sorted by name
	sealed []*SealedField // sorted by path
	byName map[string]*Field
	byPath map[string]*SealedField
}

var tables = buildTables()

func buildTables() [len(kindNames)]kindFields {
	var out [len(kindNames)]kindFields
	for _, k := range Kinds() {
		var pub []*Field
		for _, list := range [][]Field{commonPublic, kindPublic[k]} {
			for _, f := range list {
				pub = append(pub, &f)
			}
		}
		slices.SortFunc(pub, func(a, b *Field) int { return strings.Compare(a.Name, b.Name) })
		var sealed []*SealedField
		for _, list := range [][]SealedField{commonSealed, kindSealed[k]} {
			for _, s := range list {
				sealed = append(sealed, &s)
			}
		}
		t := kindFields{public: pub, byName: map[string]*Field{}, byPath: map[string]*SealedField{}}
		for i, f := range pub {
			f.index = i
			f.Required = f.Required || slices.Contains(kindRequires[k], f.Name)
			if t.byName[f.Name] != nil {
				panic(fmt.Sprintf("evidence: field %s of %s stands twice", f.Name, k))
			}
			t.byName[f.Name] = f
			if f.Type == TypeName || f.Type == TypeNames {
				path := "/" + f.Name
				sealed = append(sealed, &SealedField{Path: path, UnfitOf: f.Name, Indexed: true})
			}
		}
		slices.SortFunc(sealed, func(a, b *SealedField) int { return strings.Compare(a.Path, b.Path) })
		for _, s := range sealed {
			if t.byPath[s.Path] != nil {
				panic(fmt.Sprintf("evidence: path %s of %s stands twice", s.Path, k))
			}
			t.byPath[s.Path] = s
		}
		t.sealed = sealed
		out[k] = t
	}
	return out
}

// PublicFields returns the kind's public fields, sorted by name. They are
// also the columns of its table, in this order. Not to be changed.
func PublicFields(k Kind) []*Field { return tables[k].public }

// SealedFields returns the kind's sealed fields, sorted by path. Not to be
// changed.
func SealedFields(k Kind) []*SealedField { return tables[k].sealed }

// PublicField returns the kind's public field of that name, or nil.
func PublicField(k Kind, name string) *Field { return tables[k].byName[name] }

// Sealed returns the kind's sealed field at that path, or nil.
func Sealed(k Kind, path string) *SealedField { return tables[k].byPath[path] }
