package dialect

import (
	"encoding/base64"
	"math"
	"strconv"

	"github.com/runledger/runledger/evidence"
	"go.opentelemetry.io/collector/pdata/pcommon"
)

// maxValueDepth bounds how deep an attribute value is followed.
const maxValueDepth = 100

// valueText returns the text of a value: a string as it is, anything else as
// JSON. The text of an empty value is "".
func valueText(v pcommon.Value) string {
	switch v.Type() {
	case pcommon.ValueTypeStr:
		return v.Str()
	case pcommon.ValueTypeEmpty:
		return ""
	case pcommon.ValueTypeInt:
		return strconv.FormatInt(v.Int(), 10)
	case pcommon.ValueTypeBool:
		return strconv.FormatBool(v.Bool())
	case pcommon.ValueTypeBytes:
		return base64.StdEncoding.EncodeToString(v.Bytes().AsRaw())
	}
	return string(appendValue(nil, v, 0))
}

// appendValue writes a value as JSON. Bytes are base64, numbers that JSON does
// not know are strings, the order of maps is kept.
func appendValue(dst []byte, v pcommon.Value, depth int) []byte {
	if depth > maxValueDepth {
		return append(dst, "null"...)
	}
	switch v.Type() {
	case pcommon.ValueTypeStr:
		return append(dst, evidence.QuoteJSON(v.Str())...)
	case pcommon.ValueTypeDouble:
		f := v.Double()
		if math.IsNaN(f) || math.IsInf(f, 0) {
			return strconv.AppendQuote(dst, strconv.FormatFloat(f, 'g', -1, 64))
		}
		return strconv.AppendFloat(dst, f, 'g', -1, 64)
	case pcommon.ValueTypeSlice:
		dst = append(dst, '[')
		for i, e := range v.Slice().All() {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendValue(dst, e, depth+1)
		}
		return append(dst, ']')
	case pcommon.ValueTypeMap:
		dst = append(dst, '{')
		first := true
		for k, e := range v.Map().All() {
			if !first {
				dst = append(dst, ',')
			}
			first = false
			dst = append(dst, evidence.QuoteJSON(k)...)
			dst = append(dst, ':')
			dst = appendValue(dst, e, depth+1)
		}
		return append(dst, '}')
	case pcommon.ValueTypeBytes:
		dst = append(dst, '"')
		dst = base64.StdEncoding.AppendEncode(dst, v.Bytes().AsRaw())
		return append(dst, '"')
	case pcommon.ValueTypeInt, pcommon.ValueTypeBool:
		return append(dst, valueText(v)...)
	case pcommon.ValueTypeEmpty:
	}
	return append(dst, "null"...)
}

// decimal is a decimal number: digits * 10^exp.
type decimal struct {
	neg    bool
	digits string // without leading zeros, "" for zero
	exp    int
}

// parseDecimal reads a number as JSON and Go write it. Not every number has
// to be exact in binary: money is read from its text.
func parseDecimal(s string) (d decimal, ok bool) {
	if s != "" && (s[0] == '-' || s[0] == '+') {
		d.neg = s[0] == '-'
		s = s[1:]
	}
	var buf [40]byte
	digits := buf[:0]
	point, seen := false, false
	for i := range len(s) {
		switch c := s[i]; {
		case c >= '0' && c <= '9':
			seen = true
			if point {
				d.exp--
			}
			if len(digits) == cap(digits) {
				return d, false
			}
			if c != '0' || len(digits) > 0 {
				digits = append(digits, c)
			}
		case c == '.' && !point:
			point = true
		case (c == 'e' || c == 'E') && seen:
			e, err := strconv.Atoi(s[i+1:])
			if err != nil || e > 1000 || e < -1000 {
				return d, false
			}
			d.exp += e
			d.digits = string(digits)
			return d, true
		default:
			return d, false
		}
	}
	d.digits = string(digits)
	return d, seen
}

// scaled returns the number times 10^shift as an integer, half rounded up
// (away from zero); ok is false beyond ±[evidence.MaxInt].
func (d decimal) scaled(shift int) (n int64, ok bool) {
	if d.digits == "" {
		return 0, true
	}
	exp := d.exp + shift
	keep := len(d.digits) + exp // digits before the point
	if keep > 16 {
		return 0, false
	}
	for i := range keep {
		n *= 10
		if i < len(d.digits) {
			n += int64(d.digits[i] - '0')
		}
	}
	if keep >= 0 && keep < len(d.digits) && d.digits[keep] >= '5' {
		n++
	}
	if d.neg {
		n = -n
	}
	return n, n <= evidence.MaxInt && n >= -evidence.MaxInt
}

// numberText returns the decimal text of a number value, "" for others.
func numberText(v pcommon.Value) string {
	switch v.Type() {
	case pcommon.ValueTypeInt:
		return strconv.FormatInt(v.Int(), 10)
	case pcommon.ValueTypeDouble:
		return strconv.FormatFloat(v.Double(), 'g', -1, 64)
	case pcommon.ValueTypeStr:
		return v.Str()
	default:
		return ""
	}
}
