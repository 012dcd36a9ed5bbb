package otlp

import (
	"bytes"
	"encoding/base64"
	"math"
	"strconv"
	"unicode/utf8"

	"go.opentelemetry.io/collector/pdata/pcommon"
)

// naturalBody writes the body of a log record as JSON for people: text as a
// string, a kvlist as an object, an integer without and a double with a
// fraction or exponent, so that types can be told apart. It is nil for no
// body. exact says that nothing was lost; where JSON has no form of its own
// (bytes, NaN, two values with one key, text that is not UTF-8) it is not,
// and /attrs has log.body too.
func naturalBody(v pcommon.Value) (body []byte, exact bool) {
	if v.Type() == pcommon.ValueTypeEmpty {
		return nil, true
	}
	w := bodyWriter{exact: true}
	w.value(v, 0)
	return w.b, w.exact
}

type bodyWriter struct {
	b     []byte
	exact bool
}

func (w *bodyWriter) value(v pcommon.Value, depth int) {
	switch v.Type() {
	case pcommon.ValueTypeStr:
		w.exact = w.exact && utf8.ValidString(v.Str())
		w.b = appendQuoted(w.b, v.Str())
	case pcommon.ValueTypeInt:
		w.b = strconv.AppendInt(w.b, v.Int(), 10)
	case pcommon.ValueTypeDouble:
		w.double(v.Double())
	case pcommon.ValueTypeBool:
		w.b = strconv.AppendBool(w.b, v.Bool())
	case pcommon.ValueTypeBytes:
		w.exact = false
		w.b = append(base64.StdEncoding.AppendEncode(append(w.b, '"'), v.Bytes().AsRaw()), '"')
	case pcommon.ValueTypeSlice:
		w.array(v.Slice(), depth+1)
	case pcommon.ValueTypeMap:
		w.object(v.Map(), depth+1)
	default:
		w.b = append(w.b, "null"...)
	}
}

func (w *bodyWriter) double(f float64) {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		w.exact = false
	}
	start := len(w.b)
	w.b = appendDouble(w.b, f)
	if !bytes.ContainsAny(w.b[start:], `.e"`) {
		w.b = append(w.b, ".0"...)
	}
}

// tooDeep stops where /attrs, in which log.body then stands, refuses the
// record.
func (w *bodyWriter) tooDeep(depth int) bool {
	if depth <= maxNesting {
		return false
	}
	w.exact = false
	w.b = append(w.b, "null"...)
	return true
}

func (w *bodyWriter) array(s pcommon.Slice, depth int) {
	if w.tooDeep(depth) {
		return
	}
	w.b = append(w.b, '[')
	for i := range s.Len() {
		if i > 0 {
			w.b = append(w.b, ',')
		}
		w.value(s.At(i), depth)
	}
	w.b = append(w.b, ']')
}

func (w *bodyWriter) object(m pcommon.Map, depth int) {
	if w.tooDeep(depth) {
		return
	}
	w.b = append(w.b, '{')
	seen := make(map[string]struct{}, m.Len())
	for k, v := range m.All() {
		if !utf8.ValidString(k) {
			w.exact = false
			k = toValid(k)
		}
		if _, ok := seen[k]; ok {
			w.exact = false
			continue
		}
		if len(seen) > 0 {
			w.b = append(w.b, ',')
		}
		seen[k] = struct{}{}
		w.b = append(appendQuoted(w.b, k), ':')
		w.value(v, depth)
	}
	w.b = append(w.b, '}')
}
