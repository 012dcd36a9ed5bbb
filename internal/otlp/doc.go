// Package otlp makes evidence of OpenTelemetry data: it decodes OTLP requests
// and turns spans, log records and metrics into records. It is pure but for
// the clock of its Config. What attributes mean is not decided here but in
// package dialect; this package keeps all that was said and puts the meaning
// into the fields of the record.
//
// # Decoding
//
// Requests are protobuf or OTLP/JSON (opentelemetry-proto 1.x), decoded by the
// Collector's pdata. Around it stand three guards, because pdata trusts its
// input: the size that a request would have in memory is bounded before it is
// decoded (an empty span is 2 bytes on the wire and 264 in memory), JSON is
// scanned for its depth (pdata recurses without limit), and what pdata refuses
// because of single spans or log records (an id of the wrong length, a value
// nested too deep) is decoded again without them, and they are counted.
// A request that is broken as a whole is an error that wraps
// evidence.ErrInvalid and says at which byte.
//
// # Records
//
//	span                    trace_step, key trace:span
//	its i-th event          trace_event, key trace:span:e<i>
//	its i-th policy fact    audit, key trace:span:g<i>
//	log record with trace   trace_event, key from its content
//	log record without      system record OBSERVATION, key from its content
//	its i-th policy fact    audit, key from its content and i
//	resource of metrics     metric, key from its content; several where there
//	                        are over 64 names
//	trace id                trace, for the server to keep when it is the first
//
// # /attrs
//
// The list of [key, type, value] holds everything that was said, in this
// order, and [Mapper.Reread] reads it back: the own attributes verbatim, with
// duplicates; then what is ours, beginning with span.name, event.name or
// log.time_unix_nano, which is always there and so marks the border (the last
// entry of that key: own attributes may have it too); then otlp.resource_*
// (schema URL, dropped count) and resource.<key>; otlp.scope_*, scope.name and
// scope.version, both always, and scope.<key>; for spans link.<i>.*. Span
// events have no resource and scope: their span has them. What is repeated so
// in all records of a request is bounded: what would take them over 512 MiB
// is rejected. The forms of values:
//
//	string  JSON string            bool    true or false
//	int     decimal in a string    double  number, or "NaN", "Infinity", "-Infinity"
//	bytes   base64 in a string     array   [[type, value], …]
//	kvlist  [[key, type, value], …], or null for a value that is empty
//
// A string that is not UTF-8 is written as its bytes. In a key such bytes
// become U+FFFD; that, entity references and NaN payloads are all that is lost.
// Of flags only the low 8 bits are kept. Containers nest at most 60 deep.
//
// # Times
//
// Nanoseconds become microseconds by truncation; /attrs keeps them whole. A
// duration is the truncated difference of the nanoseconds. A time of 0 means
// that there is none (flag time_missing): a span without a start is at its
// end, one without an end has no duration, a log record without a time is at
// its observed time, and what has no time at all is at 1970-01-01. Every time
// that OTLP can hold (to 2554) is accepted, but flagged clock_skew on steps.
package otlp

import (
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/dialect"
	"github.com/runledger/runledger/internal/prices"
)

// Encoding is how a request is encoded.
type Encoding int

// Encodings.
const (
	Protobuf Encoding = iota
	JSON
)

// Flags of a step that come from here and not from a dialect.
const (
	// FlagTimeMissing: the span has no start or no end.
	FlagTimeMissing = "time_missing"
	// FlagIDsTruncated: the span names more policies or incidents than a leaf
	// may hold; /attrs has them all.
	FlagIDsTruncated = "ids_truncated"
	// FlagContentUnread: content that the dialect found is not where it
	// belongs because it is not valid JSON or too large; /attrs has it.
	FlagContentUnread = "content_unread"
)

// Config says how to map.
type Config struct {
	// Dialects and Prices default to the tables that ship with the program.
	Dialects *dialect.Table
	Prices   *prices.Table
	// Now is the server's clock, for the flag of skewed times. Default the
	// system's clock.
	Now func() evidence.Micros
	// MaxSkew is the distance from Now beyond which times are flagged. Default 24 h.
	MaxSkew int64 // microseconds
}

// Mapper makes records of OTLP data. It may be used from several goroutines.
type Mapper struct {
	cfg  Config
	room int // bytes that a request may have; maxBatch but for tests
	grow func(n int) error
}

// Within returns a mapper for one request that calls grow before it takes
// another n bytes of memory. The error of grow becomes that of the batch.
func (m *Mapper) Within(grow func(n int) error) *Mapper { return &Mapper{m.cfg, m.room, grow} }

// New returns a mapper.
func New(cfg Config) *Mapper {
	if cfg.Dialects == nil {
		cfg.Dialects = dialect.Default()
	}
	if cfg.Prices == nil {
		cfg.Prices = prices.Default()
	}
	if cfg.Now == nil {
		cfg.Now = func() evidence.Micros { return evidence.MicrosOf(time.Now()) }
	}
	if cfg.MaxSkew == 0 {
		cfg.MaxSkew = 24 * time.Hour.Microseconds()
	}
	return &Mapper{cfg, maxBatch, nil}
}

// Item is a record with what it says about its run.
type Item struct {
	Record *evidence.Record
	Hints  dialect.Hints
}

// Batch is what a request becomes. Each record has passed Record.Complete.
type Batch struct {
	// Items are in the order of the request; a span comes before its events
	// and policy facts.
	Items []Item
	// Traces is one record of kind trace for each trace id of the request, for
	// those that are seen for the first time. Its hints are the first that a
	// span or log record of the trace in this request gave.
	Traces []Item
	// Rejected counts spans, log records or data points that are no evidence,
	// Errors says why, at most 10. An error may also concern only a part (an
	// event, a policy fact) of something that was kept.
	Rejected int
	Errors   []string
	// Err is the error of Within's grow: the batch is not complete, and the
	// request is to be repeated as a whole.
	Err error
}

// maxErrors bounds Batch.Errors.
const maxErrors = 10

func (b *Batch) note(message string) {
	if len(b.Errors) < maxErrors {
		b.Errors = append(b.Errors, message)
	}
}

func (b *Batch) reject(n int, message string) {
	b.Rejected += n
	b.note(message)
}
