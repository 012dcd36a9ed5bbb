package evidence

import (
	"bytes"
	"fmt"

	"github.com/go-json-experiment/json/jsontext"
)

// MaxDepth is the greatest depth of arrays and objects in a sealed value;
// the value [] has depth 1, a string has depth 0.
const MaxDepth = 128

// CheckJSON reports whether value is one JSON text (RFC 8259) that may be
// sealed: valid UTF-8 without lone surrogates, no object with a name twice,
// depth at most [MaxDepth]. Numbers may have any size and precision, and
// white space is kept: a sealed value is never parsed and written again. The
// error wraps [ErrInvalid] and says at which byte the value breaks a rule.
func CheckJSON(value []byte) error {
	if !jsontext.Value(value).IsValid() {
		return jsonError(value)
	}
	if at := tooDeep(value); at >= 0 {
		return fmt.Errorf("JSON value, byte %d: nested more than %d deep: %w", at, MaxDepth, ErrInvalid)
	}
	return nil
}

// jsonError finds out why a value is not valid. It is apart because the
// decoder that knows the reason is several times slower than IsValid.
func jsonError(value []byte) error {
	if len(bytes.TrimLeft(value, " \t\r\n")) == 0 {
		return fmt.Errorf("JSON value is empty: %w", ErrInvalid)
	}
	dec := jsontext.NewDecoder(bytes.NewReader(value))
	if err := dec.SkipValue(); err != nil {
		return fmt.Errorf("JSON value: %s: %w", err.Error(), ErrInvalid)
	}
	return fmt.Errorf("JSON value, byte %d: more than one value: %w", dec.InputOffset(), ErrInvalid)
}

// tooDeep returns the offset at which a valid JSON text goes deeper than
// [MaxDepth], or -1.
func tooDeep(value []byte) int {
	if len(value) <= MaxDepth {
		return -1
	}
	depth, quoted := 0, false
	for i := 0; i < len(value); i++ {
		switch c := value[i]; {
		case quoted && c == '\\':
			i++ // whatever is escaped does not end the string
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '[' || c == '{':
			if depth++; depth > MaxDepth {
				return i
			}
		case c == ']' || c == '}':
			depth--
		}
	}
	return -1
}
