package otlp

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/runledger/runledger/evidence"
)

// Limits of what a request may need once it is decoded.
const (
	// maxDecoded bounds the estimated size in memory of decoded messages
	// without their text: 2.4 million spans or 10 million attributes.
	maxDecoded = 640 << 20
	// small requests cannot need much.
	smallRequest = 64 << 10
	// maxJSONDepth is more than any attribute that can be kept takes: 4 levels
	// a container and 16 around it.
	maxJSONDepth = 512
	// jsonObject is the estimated size of what an object becomes, packedSize
	// that of a number in a list: it becomes eight bytes, and then its text.
	jsonObject = 192
	packedSize = 16
)

// form is one kind of request.
type form struct {
	name string
	root *message
	// members are the JSON names on the way to single spans or log records,
	// in both spellings, nil where single ones are not left out. In protobuf
	// the way is field 1, 2 (1000 before OTLP 0.15), 2.
	members [][2]string
}

// message is what the guard knows of a protobuf message: its size in memory
// and the messages in it.
type message struct {
	size   int64
	fields map[protowire.Number]*message
	// packed is the field of numbers that take one byte each where they are
	// small, and eight in memory; 0 for none.
	packed protowire.Number
}

var (
	anyValue, keyValue = valueMessages()

	resource = &message{size: 128, fields: map[protowire.Number]*message{1: keyValue, 3: {size: 96}}}
	scope    = &message{size: 0, fields: map[protowire.Number]*message{3: keyValue}}

	traceForm = form{
		"traces request",
		request3(&message{size: 272, fields: map[protowire.Number]*message{
			9:  keyValue,
			11: {size: 80, fields: map[protowire.Number]*message{3: keyValue}},
			13: {size: 96, fields: map[protowire.Number]*message{4: keyValue}},
		}}),
		[][2]string{{"resourceSpans", "resource_spans"}, {"scopeSpans", "scope_spans"}, {"spans", "spans"}},
	}
	logForm = form{
		"logs request",
		request3(&message{size: 200, fields: map[protowire.Number]*message{5: anyValue, 6: keyValue}}),
		[][2]string{{"resourceLogs", "resource_logs"}, {"scopeLogs", "scope_logs"}, {"logRecords", "log_records"}},
	}
	metricForm = form{"metrics request", request3(metricMessage()), nil}
)

func valueMessages() (anyValue, keyValue *message) {
	anyValue = &message{size: 32}
	keyValue = &message{size: 64, fields: map[protowire.Number]*message{2: anyValue}}
	anyValue.fields = map[protowire.Number]*message{ // they contain each other
		5: {size: 48, fields: map[protowire.Number]*message{1: anyValue}},
		6: {size: 48, fields: map[protowire.Number]*message{1: keyValue}},
	}
	return anyValue, keyValue
}

// request3 is a request of resources of scopes of single things.
func request3(one *message) *message {
	inScope := &message{size: 128, fields: map[protowire.Number]*message{1: scope, 2: one}}
	inResource := &message{size: 200, fields: map[protowire.Number]*message{1: resource, 2: inScope, 1000: inScope}}
	return &message{fields: map[protowire.Number]*message{1: inResource}}
}

func metricMessage() *message {
	exemplar := &message{size: 96, fields: map[protowire.Number]*message{7: keyValue}}
	points := func(attrs, exemplars protowire.Number) *message {
		p := &message{size: 256, fields: map[protowire.Number]*message{attrs: keyValue, exemplars: exemplar}}
		return &message{size: 48, fields: map[protowire.Number]*message{1: p}}
	}
	summary := points(7, 6) // quantile values instead of exemplars
	exponential := points(1, 11)
	buckets := &message{size: 40, packed: 2}
	exponential.fields[1].fields[8], exponential.fields[1].fields[9] = buckets, buckets
	return &message{size: 112, fields: map[protowire.Number]*message{
		5: points(7, 5), 7: points(7, 5), 9: points(9, 8), 10: exponential, 11: summary, 12: keyValue,
	}}
}

// guard refuses what pdata must not be given.
func guard(body []byte, enc Encoding, f *form) error {
	if enc == JSON {
		if _, err := guardJSON(body); err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
		if err := checkJSON(body); err != nil {
			return fmt.Errorf("%s: %w: %w", f.name, err, evidence.ErrInvalid)
		}
		return nil
	}
	if len(body) > smallRequest && weigh(body, f.root, 0) > maxDecoded {
		return fmt.Errorf("%s: decoded it would take over %d MiB: %w", f.name, maxDecoded>>20, evidence.ErrTooLarge)
	}
	return nil
}

// weigh estimates the size of a message in memory. What is not protobuf is
// for pdata to refuse.
func weigh(b []byte, m *message, depth int) int64 {
	total := m.size
	if len(m.fields) == 0 && m.packed == 0 || depth > 100 { // pdata's own limit
		return total
	}
	for len(b) > 0 && total <= maxDecoded {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return total
		}
		b = b[n:]
		if typ != protowire.BytesType {
			if n = protowire.ConsumeFieldValue(num, typ, b); n < 0 {
				return total
			}
			b = b[n:]
			continue
		}
		v, n := protowire.ConsumeBytes(b)
		if n < 0 {
			return total
		}
		if sub := m.fields[num]; sub != nil {
			total += weigh(v, sub, depth+1)
		} else if num == m.packed {
			total += packedSize * int64(len(v))
		}
		b = b[n:]
	}
	return total
}

// guardJSON bounds depth and size in memory, and returns the latter.
func guardJSON(body []byte) (size int64, err error) {
	depth, quoted := 0, false
	for i := 0; i < len(body); i++ {
		switch c := body[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			if depth++; depth > maxJSONDepth {
				return size, fmt.Errorf("byte %d: nested more than %d deep: %w", i, maxJSONDepth, evidence.ErrInvalid)
			}
			if size += jsonObject; size > maxDecoded {
				return size, fmt.Errorf("decoded it would take over %d MiB: %w", maxDecoded>>20, evidence.ErrTooLarge)
			}
		case c == ',':
			size += packedSize
		case c == '}' || c == ']':
			depth--
		}
	}
	return size, nil
}

func size(body []byte, enc Encoding, f *form) int64 {
	if enc == JSON {
		n, _ := guardJSON(body)
		return n
	}
	return weigh(body, f.root, 0)
}

// TracesSize estimates the memory that a traces request takes once it is
// decoded, besides its text, in bytes. The request need not be valid.
func TracesSize(body []byte, enc Encoding) int64 { return size(body, enc, &traceForm) }

// LogsSize is TracesSize for logs.
func LogsSize(body []byte, enc Encoding) int64 { return size(body, enc, &logForm) }

// MetricsSize is TracesSize for metrics.
func MetricsSize(body []byte, enc Encoding) int64 { return size(body, enc, &metricForm) }
