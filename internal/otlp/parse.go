package otlp

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"math"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/runledger/runledger/evidence"
)

// attr is one entry of /attrs; its value is the protobuf bytes of an AnyValue.
type attr struct {
	key   string
	value []byte
}

type attrList []attr

func (l attrList) last(key string) int {
	for i := len(l) - 1; i >= 0; i-- {
		if l[i].key == key {
			return i
		}
	}
	return -1
}

func (a *attr) keyValue(key string) []byte {
	b := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), key)
	return appendMessage(b, 2, a.value)
}

// text returns an entry of ours; one that was not UTF-8 is repaired as scrub
// did it.
func (a *attr) text() string {
	num, typ, n := protowire.ConsumeTag(a.value)
	if n < 0 || typ != protowire.BytesType || num != fieldValueString && num != fieldValueBytes {
		return ""
	}
	v, _ := protowire.ConsumeBytes(a.value[n:])
	return toValid(string(v))
}

// uint returns an entry of ours.
func (a *attr) uint() uint64 {
	num, _, n := protowire.ConsumeTag(a.value)
	if n < 0 || num != fieldValueInt {
		return 0
	}
	v, _ := protowire.ConsumeVarint(a.value[n:])
	return v
}

func (a *attr) enum(names []string) uint64 {
	s := a.text()
	for i, name := range names {
		if s == name {
			return uint64(i)
		}
	}
	return a.uint()
}

// parseAttrs reads /attrs.
func parseAttrs(text []byte) (attrList, error) {
	if err := evidence.CheckJSON(text); err != nil {
		return nil, fmt.Errorf("attrs: %w", err)
	}
	p := attrParser{dec: jsontext.NewDecoder(bytes.NewReader(text))}
	list := p.entries()
	if p.failed {
		return nil, fmt.Errorf("attrs: not a list of [key, type, value]: %w", evidence.ErrInvalid)
	}
	return list, nil
}

// attrParser reads what encoder writes. After a failure it returns zeros; the
// text is known to be JSON of bounded depth.
type attrParser struct {
	dec    *jsontext.Decoder
	failed bool
}

func (p *attrParser) token(kind jsontext.Kind) jsontext.Token {
	if p.failed || p.dec.PeekKind() != kind {
		p.failed = true
		return jsontext.Token{}
	}
	t, err := p.dec.ReadToken()
	p.failed = err != nil
	return t
}

func (p *attrParser) string() string {
	t := p.token('"')
	if p.failed {
		return ""
	}
	return t.String()
}

// more reports whether the list goes on, and closes it.
func (p *attrParser) more() bool {
	if p.failed {
		return false
	}
	if p.dec.PeekKind() != ']' {
		return true
	}
	p.token(']')
	return false
}

func (p *attrParser) entries() (list attrList) {
	p.token('[')
	for p.more() {
		p.token('[')
		key := p.string()
		value := p.typed()
		p.token(']')
		list = append(list, attr{key, value})
	}
	return list
}

// typed reads type and value and returns an AnyValue.
func (p *attrParser) typed() []byte {
	switch p.string() {
	case "string":
		return protowire.AppendString(protowire.AppendTag(nil, fieldValueString, protowire.BytesType), p.string())
	case "bool":
		return p.bool()
	case "int":
		return appendVarint(nil, fieldValueInt, p.int())
	case "double":
		return appendFixed64(nil, fieldValueDouble, math.Float64bits(p.double()))
	case "bytes":
		raw, err := base64.StdEncoding.Strict().DecodeString(p.string())
		p.failed = p.failed || err != nil
		return appendMessage(nil, fieldValueBytes, raw)
	case "array":
		var list []byte
		for p.token('['); p.more(); {
			p.token('[')
			list = appendMessage(list, 1, p.typed())
			p.token(']')
		}
		return appendMessage(nil, fieldValueArray, list)
	case "kvlist":
		return p.kvlist()
	default:
		p.failed = true
		return nil
	}
}

func (p *attrParser) kvlist() []byte {
	if !p.failed && p.dec.PeekKind() == 'n' {
		p.token('n')
		return nil // an AnyValue without a value
	}
	var list []byte
	for _, a := range p.entries() {
		list = appendMessage(list, 1, a.keyValue(a.key))
	}
	return appendMessage(nil, fieldValueKvlist, list)
}

func (p *attrParser) bool() []byte {
	if !p.failed && p.dec.PeekKind() == 't' {
		p.token('t')
		return appendVarint(nil, fieldValueBool, 1)
	}
	p.token('f')
	return appendVarint(nil, fieldValueBool, 0)
}

// int reads an int64, or a uint64 of an entry of ours.
func (p *attrParser) int() uint64 {
	s := p.string()
	if p.failed {
		return 0
	}
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return uint64(n)
	}
	n, err := strconv.ParseUint(s, 10, 64)
	p.failed = err != nil
	return n
}

func (p *attrParser) double() float64 {
	if p.failed {
		return 0
	}
	var s string
	if p.dec.PeekKind() == '"' {
		s = p.string()
	} else {
		s = p.token('0').String()
	}
	f, err := strconv.ParseFloat(s, 64)
	p.failed = p.failed || err != nil
	return f
}

// naturalValue reads what naturalBody writes and returns an AnyValue.
func naturalValue(body []byte) ([]byte, error) {
	if err := evidence.CheckJSON(body); err != nil {
		return nil, fmt.Errorf("body: %w", err)
	}
	return natural(jsontext.NewDecoder(bytes.NewReader(body)))
}

func natural(dec *jsontext.Decoder) ([]byte, error) {
	t, err := dec.ReadToken()
	if err != nil {
		return nil, fmt.Errorf("body: not JSON: %w", evidence.ErrInvalid)
	}
	switch t.Kind() {
	case 'n':
		return nil, nil
	case 't', 'f':
		var n uint64
		if t.Bool() {
			n = 1
		}
		return appendVarint(nil, fieldValueBool, n), nil
	case '"':
		return protowire.AppendString(protowire.AppendTag(nil, fieldValueString, protowire.BytesType), t.String()), nil
	case '0':
		return naturalNumber(t.String()), nil
	case '[':
		var list []byte
		for dec.PeekKind() != ']' {
			v, err := natural(dec)
			if err != nil {
				return nil, err
			}
			list = appendMessage(list, 1, v)
		}
		_, err = dec.ReadToken()
		return appendMessage(nil, fieldValueArray, list), err
	default:
		return naturalObject(dec)
	}
}

func naturalObject(dec *jsontext.Decoder) ([]byte, error) {
	var list []byte
	for dec.PeekKind() != '}' {
		name, err := dec.ReadToken()
		if err != nil {
			return nil, fmt.Errorf("body: not JSON: %w", evidence.ErrInvalid)
		}
		key := name.String()
		v, err := natural(dec)
		if err != nil {
			return nil, err
		}
		list = appendMessage(list, 1, (&attr{key, v}).keyValue(key))
	}
	_, err := dec.ReadToken()
	return appendMessage(nil, fieldValueKvlist, list), err
}

func naturalNumber(s string) []byte {
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return appendVarint(nil, fieldValueInt, uint64(n))
	}
	f, _ := strconv.ParseFloat(s, 64) // a body of ours has no other number
	return appendFixed64(nil, fieldValueDouble, math.Float64bits(f))
}
