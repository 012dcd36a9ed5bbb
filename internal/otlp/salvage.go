package otlp

import (
	"bytes"
	"fmt"

	"github.com/go-json-experiment/json/jsontext"
	"google.golang.org/protobuf/encoding/protowire"
)

// salvage writes a request that pdata refuses again without those spans or
// log records that pdata refuses on their own. Everything else is copied.
type salvage struct {
	form    *form
	fits    func(request []byte) bool
	dropped int
}

// proto filters protobuf. The error says where the request ends too early or
// is none; inside single spans that only costs the span.
func (s *salvage) proto(body []byte) ([]byte, error) { return s.message(nil, body, 0, 0) }

// message appends the message b, which begins at byte at of the request and
// is level steps from its top.
func (s *salvage) message(dst, b []byte, at, level int) ([]byte, error) {
	for pos := 0; pos < len(b); {
		num, typ, n := protowire.ConsumeTag(b[pos:])
		if n < 0 {
			return nil, fmt.Errorf("byte %d: %w", at+pos, protowire.ParseError(n))
		}
		size := protowire.ConsumeFieldValue(num, typ, b[pos+n:])
		if size < 0 {
			return nil, fmt.Errorf("byte %d, field %d: %w", at+pos, num, protowire.ParseError(size))
		}
		field := b[pos : pos+n+size]
		if typ != protowire.BytesType || !onTheWay(level, num) {
			dst = append(dst, field...)
			pos += n + size
			continue
		}
		value, _ := protowire.ConsumeBytes(field[n:])
		if level < len(s.form.members)-1 {
			inner, err := s.message(nil, value, at+pos+len(field)-len(value), level+1)
			if err != nil {
				return nil, err
			}
			dst = protowire.AppendBytes(append(dst, field[:n]...), inner)
		} else if s.fits(alone(field)) {
			dst = append(dst, field...)
		} else {
			s.dropped++
		}
		pos += n + size
	}
	return dst, nil
}

func onTheWay(level int, num protowire.Number) bool {
	switch level {
	case 0:
		return num == 1
	case 1:
		return num == 2 || num == 1000
	default:
		return num == 2
	}
}

// alone wraps the field of one span or log record into a request.
func alone(field []byte) []byte {
	inScope := protowire.AppendBytes(protowire.AppendTag(nil, 2, protowire.BytesType), field)
	return protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), inScope)
}

// json filters OTLP/JSON, which is known to be JSON.
func (s *salvage) json(body []byte) ([]byte, error) { return s.object(body, 0) }

func decoderOf(v []byte) *jsontext.Decoder {
	return jsontext.NewDecoder(bytes.NewReader(v), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
}

// object filters one object that is level steps from the top.
func (s *salvage) object(v []byte, level int) ([]byte, error) {
	dec := decoderOf(v)
	if dec.PeekKind() != '{' {
		return v, nil // pdata will refuse it again
	}
	if _, err := dec.ReadToken(); err != nil {
		return nil, jsonFault(err, int64(len(v)))
	}
	dst := []byte{'{'}
	for dec.PeekKind() != '}' {
		name, err := dec.ReadValue()
		if err != nil {
			return nil, jsonFault(err, int64(len(v)))
		}
		if len(dst) > 1 {
			dst = append(dst, ',')
		}
		dst = append(append(dst, name...), ':')
		wanted := s.form.members[level]
		text := string(bytes.Trim(name, `"`))
		value, err := dec.ReadValue()
		if err != nil {
			return nil, jsonFault(err, int64(len(v)))
		}
		if (text == wanted[0] || text == wanted[1]) && value.Kind() == '[' {
			if value, err = s.list(value, level); err != nil {
				return nil, err
			}
		}
		dst = append(dst, value...)
	}
	return append(dst, '}'), nil
}

// list filters the list of the member at that level.
func (s *salvage) list(v []byte, level int) ([]byte, error) {
	dec := decoderOf(v)
	if _, err := dec.ReadToken(); err != nil {
		return nil, jsonFault(err, int64(len(v)))
	}
	dst := []byte{'['}
	for dec.PeekKind() != ']' {
		value, err := dec.ReadValue()
		if err != nil {
			return nil, jsonFault(err, int64(len(v)))
		}
		one := []byte(value)
		if level < len(s.form.members)-1 {
			if one, err = s.object(value, level+1); err != nil {
				return nil, err
			}
		} else if !s.fits(s.aloneJSON(one)) {
			s.dropped++
			continue
		}
		if len(dst) > 1 {
			dst = append(dst, ',')
		}
		dst = append(dst, one...)
	}
	return append(dst, ']'), nil
}

func (s *salvage) aloneJSON(one []byte) []byte {
	m := s.form.members
	return fmt.Appendf(nil, `{%q:[{%q:[{%q:[%s]}]}]}`, m[0][0], m[1][0], m[2][0], one)
}
