package evidence

import (
	"bytes"
	"slices"

	"github.com/go-json-experiment/json/jsontext"
)

// QuoteJSON returns s as a JSON string in RFC 8785 form. Bytes that are not
// UTF-8 become U+FFFD.
func QuoteJSON(s string) []byte {
	b, err := jsontext.AppendQuote(nil, s)
	if err != nil { // only invalid UTF-8, which is replaced
		return b
	}
	return b
}

// unquote returns the text of a JSON string.
func unquote(v []byte) (string, bool) {
	if len(v) == 0 || v[0] != '"' {
		return "", false
	}
	b, err := jsontext.AppendUnquote(nil, v)
	return string(b), err == nil
}

// IndexText returns the text that the sealed index uses for a sealed value:
// a string's content, else the JSON text.
func IndexText(v []byte) string {
	if s, ok := unquote(v); ok {
		return s
	}
	return string(v)
}

// checkShape checks one sealed JSON text.
func (s *SealedField) checkShape(v []byte) error {
	if s.isPlain(v) {
		return nil
	}
	if err := CheckJSON(v); err != nil {
		return invalid(s.NativeName(), "%v", err)
	}
	switch s.Shape {
	case ShapeText:
		if t, ok := unquote(v); !ok || t == "" {
			return invalid(s.NativeName(), "must be a string that is not empty")
		}
	case ShapeActor:
		if _, err := decodeActor(v); err != nil {
			return err
		}
	case ShapeAttrs:
		return checkAttrs(v)
	}
	return nil
}

// isPlain reports whether v is right for certain; see fast.go.
func (s *SealedField) isPlain(v []byte) bool {
	switch s.Shape {
	case ShapeActor:
		_, ok := plainActor(v)
		return ok
	case ShapeAttrs:
		return plainAttrs(v)
	case ShapeText:
		return len(v) > len(`""`) && plainString(v)
	default:
		return plainString(v)
	}
}

func decodeActor(v []byte) (string, error) {
	if id, ok := plainActor(v); ok {
		return id, nil
	}
	return generalActor(v)
}

func generalActor(v []byte) (string, error) {
	bad := invalid("human_actor_id", "must be a string that is not empty")
	dec := jsontext.NewDecoder(bytes.NewReader(v))
	if tok, err := dec.ReadToken(); err != nil || tok.Kind() != '{' {
		return "", bad
	}
	tok, err := dec.ReadToken()
	if err != nil {
		return "", bad
	}
	if tok.Kind() == '}' {
		return "", nil
	}
	if tok.String() != "human_actor_id" {
		return "", bad
	}
	tok, err = dec.ReadToken()
	if err != nil || tok.Kind() != '"' || tok.String() == "" {
		return "", bad
	}
	id := tok.String()
	if tok, err = dec.ReadToken(); err != nil || tok.Kind() != '}' {
		return "", bad
	}
	return id, nil
}

var attrTypes = []string{"string", "bool", "int", "double", "bytes", "array", "kvlist"}

// checkAttrs accepts an ordered list of [key, type, value].
func checkAttrs(v []byte) error {
	bad := invalid("attrs", `must be a list of [key, type, value]; types are string, bool, int, double, bytes, array, kvlist`)
	dec := jsontext.NewDecoder(bytes.NewReader(v))
	if tok, err := dec.ReadToken(); err != nil || tok.Kind() != '[' {
		return bad
	}
	for dec.PeekKind() != ']' {
		if tok, err := dec.ReadToken(); err != nil || tok.Kind() != '[' {
			return bad
		}
		if tok, err := dec.ReadToken(); err != nil || tok.Kind() != '"' {
			return bad
		}
		if tok, err := dec.ReadToken(); err != nil || tok.Kind() != '"' || !slices.Contains(attrTypes, tok.String()) {
			return bad
		}
		if dec.PeekKind() == ']' || dec.SkipValue() != nil {
			return bad
		}
		if tok, err := dec.ReadToken(); err != nil || tok.Kind() != ']' {
			return bad
		}
	}
	return nil
}

// NamesIn returns the strings of a JSON array of strings, or nil.
func NamesIn(v []byte) []string {
	dec := jsontext.NewDecoder(bytes.NewReader(v))
	if tok, err := dec.ReadToken(); err != nil || tok.Kind() != '[' {
		return nil
	}
	names := []string{}
	for dec.PeekKind() != ']' {
		tok, err := dec.ReadToken()
		if err != nil || tok.Kind() != '"' {
			return nil
		}
		names = append(names, tok.String())
	}
	return names
}
