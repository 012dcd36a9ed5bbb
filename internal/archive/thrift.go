package archive

import (
	"encoding/binary"
	"errors"
)

// thriftSkim goes through what the compact protocol of Thrift encodes, and makes room for
// nothing. A Parquet library does for whatever a list says it has.
type thriftSkim struct {
	in   []byte
	pos  int
	left int // how many elements of lists there may be
}

// Types of the compact protocol.
const (
	thriftTrue   = 1
	thriftFalse  = 2
	thriftByte   = 3
	thriftI16    = 4
	thriftI32    = 5
	thriftI64    = 6
	thriftDouble = 7
	thriftBinary = 8
	thriftList   = 9
	thriftSet    = 10
	thriftStruct = 12
)

const thriftDepth = 12 // more than Parquet has

var errThrift = errors.New("what stands for its structure is not well formed, or too large")

func (s *thriftSkim) byte() (byte, error) {
	if s.pos >= len(s.in) {
		return 0, errThrift
	}
	s.pos++
	return s.in[s.pos-1], nil
}

func (s *thriftSkim) uvarint() (uint64, error) {
	v, n := binary.Uvarint(s.in[s.pos:])
	if n <= 0 {
		return 0, errThrift
	}
	s.pos += n
	return v, nil
}

func (s *thriftSkim) skip(n uint64) error {
	if n > uint64(len(s.in)-s.pos) {
		return errThrift
	}
	s.pos += int(n)
	return nil
}

// object goes through a struct. field is told each of its fields that is an integer, a text (its
// length) or a struct (depth first), by the path of numbers that leads there; nil: nobody is.
func (s *thriftSkim) object(depth int, path []int16, field func(path []int16, v int64)) error {
	if depth > thriftDepth {
		return errThrift
	}
	id, above := int16(0), len(path)
	for {
		b, err := s.byte()
		if err != nil || b == 0 {
			return err
		}
		if delta := b >> 4; delta > 0 {
			id += int16(delta)
		} else {
			v, err := s.uvarint()
			if err != nil {
				return err
			}
			id = int16(zigzag(v))
		}
		path = append(path[:above], id)
		if err := s.value(depth, b&15, path, field); err != nil {
			return err
		}
	}
}

func zigzag(v uint64) int64 { return int64(v>>1) ^ -int64(v&1) }

func (s *thriftSkim) value(depth int, kind byte, path []int16, field func(path []int16, v int64)) error {
	switch kind {
	case thriftTrue, thriftFalse:
		return nil
	case thriftByte:
		return s.skip(1)
	case thriftDouble:
		return s.skip(8)
	case thriftI16, thriftI32, thriftI64:
		v, err := s.uvarint()
		if err == nil && field != nil {
			field(path, zigzag(v))
		}
		return err
	case thriftBinary:
		n, err := s.uvarint()
		if err != nil {
			return err
		}
		if field != nil {
			field(path, int64(n))
		}
		return s.skip(n)
	case thriftList, thriftSet:
		return s.list(depth)
	case thriftStruct:
		if field != nil {
			field(path, 0)
		}
		return s.object(depth+1, path, field)
	}
	return errThrift // maps and the like, of which Parquet has none
}

func (s *thriftSkim) list(depth int) error {
	b, err := s.byte()
	if err != nil {
		return err
	}
	n := uint64(b >> 4)
	if n == 15 {
		if n, err = s.uvarint(); err != nil {
			return err
		}
	}
	if n > uint64(s.left) || n > uint64(len(s.in)-s.pos) { // each takes a byte at least
		return errThrift
	}
	s.left -= int(n)
	for range n {
		if kind := b & 15; kind == thriftTrue || kind == thriftFalse {
			err = s.skip(1)
		} else {
			err = s.value(depth+1, kind, nil, nil)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
