package seal

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/klauspost/compress/zstd"

	"github.com/runledger/runledger/evidence"
)

// Opening is what opens the commitments of one record. Either Seed is set
// and makes all salts, or Salts has those that are left after an erasure.
type Opening struct {
	Seed   evidence.Seed
	Salts  map[string]evidence.Salt // nil where Seed makes them
	Fields []Field                  // sorted by path
}

// Field is one sealed field with its exact JSON text.
type Field struct {
	Path string
	JSON string
}

// Field returns the JSON text at a path and whether it is there.
func (o *Opening) Field(path string) (string, bool) {
	for i := range o.Fields {
		if o.Fields[i].Path == path {
			return o.Fields[i].JSON, true
		}
	}
	return "", false
}

// Salt returns the salt of a path.
func (o *Opening) Salt(path string) evidence.Salt {
	if o.Salts != nil {
		return o.Salts[path]
	}
	return o.Seed.Salt(path)
}

var b64 = base64.RawURLEncoding.Strict()

// appendOpening writes one member of a segment's JSON. Paths and ids need
// no escapes.
func appendOpening(dst []byte, id evidence.ID, o *Opening) []byte {
	dst = append(dst, '"')
	dst = id.AppendText(dst)
	dst = append(dst, `":{`...)
	if o.Salts == nil {
		dst = append(dst, `"seed":"`...)
		dst = b64.AppendEncode(dst, o.Seed[:])
		dst = append(dst, `",`...)
	} else {
		dst = append(dst, `"salts":{`...)
		for i, f := range o.Fields {
			if i > 0 {
				dst = append(dst, ',')
			}
			salt := o.Salts[f.Path]
			dst = append(append(append(dst, '"'), f.Path...), `":"`...)
			dst = append(b64.AppendEncode(dst, salt[:]), '"')
		}
		dst = append(dst, `},`...)
	}
	dst = append(dst, `"fields":{`...)
	for i, f := range o.Fields {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(append(append(dst, '"'), f.Path...), `":`...)
		dst = appendQuoted(dst, f.JSON)
	}
	return append(dst, `}}`...)
}

var errSegment = errors.New("malformed segment")

// decodeSegment reads a segment's JSON.
func decodeSegment(data []byte) (map[evidence.ID]*Opening, error) {
	dec := jsontext.NewDecoder(bytes.NewBuffer(data))
	out := map[evidence.ID]*Opening{}
	err := object(dec, func(name string) error {
		id, ok := evidence.ParseID(name)
		if !ok {
			return errSegment
		}
		o, err := decodeOpening(dec)
		out[id] = o
		return err
	})
	if err == nil {
		if _, end := dec.ReadToken(); !errors.Is(end, io.EOF) {
			err = errSegment
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", evidence.ErrTampered, err)
	}
	return out, nil
}

func decodeOpening(dec *jsontext.Decoder) (*Opening, error) {
	o := &Opening{}
	err := object(dec, func(name string) error {
		switch name {
		case "seed":
			s, err := text(dec)
			if err != nil {
				return err
			}
			return decode16(o.Seed[:], s)
		case "salts":
			o.Salts = map[string]evidence.Salt{}
			return object(dec, func(path string) error {
				s, err := text(dec)
				if err != nil {
					return err
				}
				var salt evidence.Salt
				err = decode16(salt[:], s)
				o.Salts[path] = salt
				return err
			})
		case "fields":
			return object(dec, func(path string) error {
				s, err := text(dec)
				o.Fields = append(o.Fields, Field{path, s})
				return err
			})
		default:
			return errSegment
		}
	})
	return o, err
}

func decode16(dst []byte, s string) error {
	b, err := b64.DecodeString(s) // which skips line breaks
	if err != nil || len(b) != len(dst) || len(s) != b64.EncodedLen(len(b)) {
		return errSegment
	}
	copy(dst, b)
	return nil
}

func object(dec *jsontext.Decoder, member func(name string) error) error {
	tok, err := dec.ReadToken()
	if err != nil || tok.Kind() != '{' {
		return errors.Join(errSegment, err)
	}
	for dec.PeekKind() != '}' {
		if tok, err = dec.ReadToken(); err != nil {
			return err
		}
		if err := member(tok.String()); err != nil {
			return err
		}
	}
	_, err = dec.ReadToken()
	return err
}

func text(dec *jsontext.Decoder) (string, error) {
	tok, err := dec.ReadToken()
	if err != nil || tok.Kind() != '"' {
		return "", errors.Join(errSegment, err)
	}
	return tok.String(), nil
}

// The fixed sets of coders: an encoder or decoder serves as many callers at
// once as its concurrency says, others wait. A sync.Pool would lose them to
// the garbage collector.
var (
	encoder = must(zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderCRC(false),
		zstd.WithWindowSize(512<<10), zstd.WithLowerEncoderMem(true)))
	decoder = must(zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxMemory(4*evidence.MaxSealed)))
	// Leaf segments are not authenticated before they are unpacked.
	leafDecoder = must(zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxMemory(256*(evidence.MaxLeafSize+2))))
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// Compress compresses a leaf segment or content: zstd level 1.
func Compress(dst, src []byte) []byte { return encoder.EncodeAll(src, dst) }

// DecompressLeaves unpacks a leaf segment; the size of its output is bounded
// by that of 256 leaves.
func DecompressLeaves(src []byte) ([]byte, error) { return AppendLeaves(nil, src) }

// AppendLeaves is DecompressLeaves into the room that dst has.
func AppendLeaves(dst, src []byte) ([]byte, error) { return decompress(leafDecoder, dst, src) }

func decompress(d *zstd.Decoder, dst, src []byte) ([]byte, error) {
	out, err := d.DecodeAll(src, dst)
	if err != nil {
		return nil, fmt.Errorf("decompress: %w: %w", evidence.ErrTampered, err)
	}
	return out, nil
}
