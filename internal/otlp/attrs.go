package otlp

import (
	"encoding/base64"
	"strconv"
	"unicode/utf8"

	"github.com/runledger/runledger/evidence"

	"go.opentelemetry.io/collector/pdata/pcommon"
)

// maxNesting is the greatest depth of containers in an attribute. Each takes
// two levels of JSON, and a sealed value may have evidence.MaxDepth.
const maxNesting = 60

// encoder writes the entries of /attrs; see the package comment. Each entry
// ends with a comma, of which finish makes the closing bracket.
type encoder struct {
	b []byte
	// notUTF8: some string was written as its bytes or with U+FFFD.
	notUTF8 bool
	// fault says why what was written is no evidence, "" for nothing.
	fault string
}

// attrs writes the attributes with their keys prefixed.
func (e *encoder) attrs(prefix string, m pcommon.Map) {
	for k, v := range m.All() {
		if e.fault != "" {
			return
		}
		if len(e.b) > evidence.MaxSealed {
			e.fault = "attrs: too large"
			return
		}
		e.key(prefix, k)
		e.value(v, 0)
		e.b = append(e.b, ']', ',')
	}
}

func (e *encoder) key(prefix, k string) {
	if !utf8.ValidString(k) {
		e.notUTF8 = true
	}
	e.b = append(append(e.b, '[', '"'), prefix...)
	e.b = append(appendText(e.b, k), '"', ',')
}

// value writes type and value.
func (e *encoder) value(v pcommon.Value, depth int) {
	switch v.Type() {
	case pcommon.ValueTypeStr:
		e.text(v.Str())
	case pcommon.ValueTypeInt:
		e.b = append(e.b, `"int","`...)
		e.b = append(strconv.AppendInt(e.b, v.Int(), 10), '"')
	case pcommon.ValueTypeDouble:
		e.b = appendDouble(append(e.b, `"double",`...), v.Double())
	case pcommon.ValueTypeBool:
		e.b = strconv.AppendBool(append(e.b, `"bool",`...), v.Bool())
	case pcommon.ValueTypeBytes:
		e.bytes(v.Bytes().AsRaw())
	case pcommon.ValueTypeSlice:
		e.array(v.Slice(), depth+1)
	case pcommon.ValueTypeMap:
		e.kvlist(v.Map(), depth+1)
	default:
		e.b = append(e.b, `"kvlist",null`...)
	}
}

func (e *encoder) text(s string) {
	if !utf8.ValidString(s) {
		e.notUTF8 = true
		e.bytes([]byte(s))
		return
	}
	e.b = appendQuoted(append(e.b, `"string",`...), s)
}

func (e *encoder) bytes(raw []byte) {
	e.b = append(e.b, `"bytes","`...)
	e.b = append(base64.StdEncoding.AppendEncode(e.b, raw), '"')
}

func (e *encoder) tooDeep(depth int) bool {
	if depth > maxNesting {
		e.fault = "attrs: nested more than " + strconv.Itoa(maxNesting) + " deep"
	}
	return e.fault != ""
}

func (e *encoder) array(s pcommon.Slice, depth int) {
	if e.tooDeep(depth) {
		return
	}
	e.b = append(e.b, `"array",[`...)
	for i := range s.Len() {
		e.b = append(e.b, '[')
		e.value(s.At(i), depth)
		e.b = append(e.b, ']', ',')
	}
	e.closeList(s.Len() > 0)
}

func (e *encoder) kvlist(m pcommon.Map, depth int) {
	if e.tooDeep(depth) {
		return
	}
	e.b = append(e.b, `"kvlist",[`...)
	for k, v := range m.All() {
		e.key("", k)
		e.value(v, depth)
		e.b = append(e.b, ']', ',')
	}
	e.closeList(m.Len() > 0)
}

func (e *encoder) closeList(comma bool) {
	if comma {
		e.b[len(e.b)-1] = ']'
		return
	}
	e.b = append(e.b, ']')
}

// putText writes an entry of ours.
func (e *encoder) putText(key, s string) {
	e.b = append(append(append(e.b, '[', '"'), key...), '"', ',')
	e.text(s)
	e.b = append(e.b, ']', ',')
}

// putUint writes an entry of ours as an int, which holds a uint64 too.
func (e *encoder) putUint(key string, n uint64) {
	e.b = append(append(append(e.b, '[', '"'), key...), `","int","`...)
	e.b = append(strconv.AppendUint(e.b, n, 10), '"', ']', ',')
}

// putCount writes an entry of ours unless it is zero.
func (e *encoder) putCount(key string, n uint64) {
	if n != 0 {
		e.putUint(key, n)
	}
}

// finish closes the list. There is an entry in it, always.
func (e *encoder) finish() []byte {
	e.b[len(e.b)-1] = ']'
	return e.b
}

// scrub makes all strings UTF-8, once they have been written as they are, so
// that a dialect sees the same now and when it reads the record again.
func scrub(m pcommon.Map) {
	for _, v := range m.All() {
		scrubValue(v, 0)
	}
}

func scrubValue(v pcommon.Value, depth int) {
	if depth > maxNesting {
		return
	}
	switch v.Type() {
	case pcommon.ValueTypeStr:
		if s := v.Str(); !utf8.ValidString(s) {
			v.SetEmptyBytes().FromRaw([]byte(s))
		}
	case pcommon.ValueTypeMap:
		for _, w := range v.Map().All() {
			scrubValue(w, depth+1)
		}
	case pcommon.ValueTypeSlice:
		for i := range v.Slice().Len() {
			scrubValue(v.Slice().At(i), depth+1)
		}
	}
}
