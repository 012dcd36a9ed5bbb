package registry

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/theory/jsonpath"
	"github.com/theory/jsonpath/spec"

	"github.com/runledger/runledger/evidence"
)

// expectation is an [Expect] whose variables have values.
type expectation struct {
	id      string // the path as the scenario has it
	path    *jsonpath.Path
	expect  *Expect
	equals  any
	in      []any
	matches *regexp.Regexp
}

// compile replaces the variables of an expectation. Errors wrap evidence.ErrInvalid.
func (e *Expect) compile(v *Vars) (*expectation, error) {
	out := &expectation{id: e.Path, expect: e}
	path, err := v.path(e.Path)
	if err != nil {
		return nil, err
	}
	if out.path, err = jsonpath.Parse(path); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", evidence.ErrInvalid, e.Path, err)
	}
	if out.equals, err = v.in(e.Equals); err != nil {
		return nil, err
	}
	for _, value := range e.In {
		if value, err = v.in(value); err != nil {
			return nil, err
		}
		out.in = append(out.in, value)
	}
	if e.Matches != "" {
		pattern, err := v.pattern(e.Matches)
		if err != nil {
			return nil, err
		}
		if out.matches, err = regexp.Compile(pattern); err != nil {
			return nil, fmt.Errorf("%w: %s: %w", evidence.ErrInvalid, e.Matches, err)
		}
	}
	return out, nil
}

// check says in which way an answer is not as expected, "" where it is. It shows at most
// maxShown characters of what was found. The value is as it was decoded with numbers as
// json.Number. Filters of the path compare numbers as float64.
func (e *expectation) check(value any) string {
	return safely(func() string {
		nodes := e.path.SelectLocated(value)
		if detail := e.expect.count(len(nodes)); detail != "" {
			return detail
		}
		for _, n := range nodes {
			if detail := e.node(n.Node); detail != "" {
				return cut(locationOf(n.Path) + " " + detail)
			}
		}
		return ""
	})
}

// count checks how many nodes were selected.
func (e *Expect) count(n int) string {
	switch {
	case e.Count != nil && n != *e.Count:
		return fmt.Sprintf("it selects %d, and not %d", n, *e.Count)
	case e.Min != nil && n < *e.Min:
		return fmt.Sprintf("it selects %d, and not at least %d", n, *e.Min)
	case e.Max != nil && n > *e.Max:
		return fmt.Sprintf("it selects %d, and not at most %d", n, *e.Max)
	case e.Count == nil && e.Min == nil && e.Max == nil && n == 0:
		return "it selects nothing"
	}
	return ""
}

// node checks one node that was selected.
func (e *expectation) node(v any) string {
	x := e.expect
	switch {
	case x.Equals != nil && !same(e.equals, v):
		return fmt.Sprintf("is %s, and not %s", excerpt(v), excerpt(e.equals))
	case x.In != nil && !e.isIn(v):
		return fmt.Sprintf("is %s, and none of %s", excerpt(v), excerpt(e.in))
	case e.matches != nil && !e.isMatch(v):
		return fmt.Sprintf("is %s, and does not match %s", excerpt(v), e.matches)
	case x.Type != "" && kindOfJSON(v) != x.Type:
		return fmt.Sprintf("is %s, and no %s", excerpt(v), x.Type)
	case x.NotNull && v == nil:
		return "is null"
	case x.NotEmpty:
		return emptiness(v)
	}
	return ""
}

func (e *expectation) isIn(v any) bool {
	for _, want := range e.in {
		if same(want, v) {
			return true
		}
	}
	return false
}

func emptiness(v any) string {
	n := 0
	switch v := v.(type) {
	case string:
		n = len(v)
	case map[string]any:
		n = len(v)
	case []any:
		n = len(v)
	default:
		return fmt.Sprintf("is %s, and no text, object or array", excerpt(v))
	}
	if n == 0 {
		return "is empty"
	}
	return ""
}

// isMatch reports whether a text, or a number as it is written, is as the pattern says.
// Nothing else ever is: null would be the text null.
func (e *expectation) isMatch(v any) bool {
	switch v := v.(type) {
	case string:
		return e.matches.MatchString(v)
	case json.Number:
		return e.matches.MatchString(v.String())
	}
	return false
}

// locationOf writes where a node stands as a path: $.items[3].name.
func locationOf(path spec.NormalizedPath) string {
	var b strings.Builder
	b.WriteByte('$')
	for _, step := range path {
		switch step := step.(type) {
		case spec.Name:
			b.WriteString(member(string(step)))
		case spec.Index:
			fmt.Fprintf(&b, "[%d]", int(step))
		}
	}
	return b.String()
}

// same reports whether a value of a scenario, as YAML is decoded or as it was saved, is
// the value of an answer. Numbers are compared by what they say, exactly: 1, 1.0 and 1e0
// are the same, and a text is never a number. A time in YAML is the text that says it.
func same(want, got any) bool {
	switch want := want.(type) {
	case nil:
		return got == nil
	case string:
		return got == want
	case bool:
		return got == want
	case time.Time:
		s, _ := got.(string)
		t, err := time.Parse(time.RFC3339Nano, s)
		return err == nil && t.Equal(want)
	case []any:
		list, ok := got.([]any)
		if !ok || len(list) != len(want) {
			return false
		}
		for i := range want {
			if !same(want[i], list[i]) {
				return false
			}
		}
		return true
	case map[string]any:
		m, ok := got.(map[string]any)
		if !ok || len(m) != len(want) {
			return false
		}
		for name, inner := range want {
			v, there := m[name]
			if !there || !same(inner, v) {
				return false
			}
		}
		return true
	}
	w, ok := decimalOf(want)
	g, also := decimalOf(got)
	return ok && also && w == g
}

// decimal is a number exactly: 0.digits times ten to the power of exp. Digits neither
// begin nor end with 0; the zero value is 0.
type decimal struct {
	negative bool
	digits   string
	exp      int64
}

// decimalOf reads a json.Number, or a number of Go as its shortest decimal form.
func decimalOf(v any) (decimal, bool) {
	if n, ok := v.(json.Number); ok {
		return parseDecimal(string(n))
	}
	switch r := reflect.ValueOf(v); {
	case !r.IsValid():
	case r.CanInt():
		return parseDecimal(strconv.FormatInt(r.Int(), 10))
	case r.CanUint():
		return parseDecimal(strconv.FormatUint(r.Uint(), 10))
	case r.CanFloat() && !math.IsInf(r.Float(), 0) && !math.IsNaN(r.Float()):
		return parseDecimal(strconv.FormatFloat(r.Float(), 'e', -1, r.Type().Bits()))
	}
	return decimal{}, false
}

// maxExponent bounds exponents, so that they can be added.
const maxExponent = 1 << 40

// parseDecimal reads a number in the form of JSON.
func parseDecimal(s string) (decimal, bool) {
	var d decimal
	s, d.negative = strings.TrimPrefix(s, "-"), strings.HasPrefix(s, "-")
	mantissa, exponent := s, ""
	if i := strings.IndexAny(s, "eE"); i >= 0 {
		mantissa, exponent = s[:i], s[i+1:]
	}
	whole, fraction, _ := strings.Cut(mantissa, ".")
	d.digits = strings.TrimLeft(whole+fraction, "0")
	if strings.Trim(d.digits, "0123456789") != "" || whole == "" {
		return decimal{}, false
	}
	if d.digits == "" {
		return decimal{}, true
	}
	if exponent != "" {
		var err error
		if d.exp, err = strconv.ParseInt(exponent, 10, 64); err != nil || d.exp > maxExponent || d.exp < -maxExponent {
			return decimal{}, false
		}
	}
	d.exp += int64(len(whole)) - int64(len(whole)+len(fraction)-len(d.digits))
	d.digits = strings.TrimRight(d.digits, "0")
	return d, true
}
