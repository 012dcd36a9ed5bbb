package ingest

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/otlp"
)

// signal is one of the three kinds of OTLP request.
type signal struct {
	name    string // traces, logs, metrics
	service string // of gRPC
	// rejected is the JSON name of its count in partial_success.
	rejected string
	// decode reads and maps a request. refused counts spans and the like that
	// are no evidence.
	decode func(m *otlp.Mapper, body []byte, enc otlp.Encoding) (*otlp.Batch, int, error)
	// size estimates the memory that decoding takes.
	size func(body []byte, enc otlp.Encoding) int64
	// weight is how many spans, log records or data points a record stands
	// for: those that only come along with them count nothing.
	weight func(r *evidence.Record) int
}

func (h *Handler) otlpSignals() []*signal {
	of := func(kinds ...evidence.Kind) func(*evidence.Record) int {
		return func(r *evidence.Record) int {
			for _, k := range kinds {
				if r.Kind == k {
					return 1
				}
			}
			return 0
		}
	}
	points := func(r *evidence.Record) int {
		f, _ := r.Fact("point_count")
		return int(f.Int)
	}
	const prefix = "opentelemetry.proto.collector."
	return []*signal{
		{
			name: "traces", service: prefix + "trace.v1.TraceService", rejected: "rejectedSpans", size: otlp.TracesSize, weight: of(evidence.KindTraceStep),
			decode: func(m *otlp.Mapper, body []byte, enc otlp.Encoding) (*otlp.Batch, int, error) {
				td, refused, err := otlp.DecodeTraces(body, enc)
				if err != nil {
					return nil, 0, err
				}
				return m.Traces(td), refused, nil
			},
		},
		{
			name: "logs", service: prefix + "logs.v1.LogsService", rejected: "rejectedLogRecords", size: otlp.LogsSize, weight: of(evidence.KindTraceEvent, evidence.KindSystem),
			decode: func(m *otlp.Mapper, body []byte, enc otlp.Encoding) (*otlp.Batch, int, error) {
				ld, refused, err := otlp.DecodeLogs(body, enc)
				if err != nil {
					return nil, 0, err
				}
				return m.Logs(ld), refused, nil
			},
		},
		{
			name: "metrics", service: prefix + "metrics.v1.MetricsService", rejected: "rejectedDataPoints", size: otlp.MetricsSize, weight: points,
			decode: func(m *otlp.Mapper, body []byte, enc otlp.Encoding) (*otlp.Batch, int, error) {
				md, err := otlp.DecodeMetrics(body, enc)
				if err != nil {
					return nil, 0, err
				}
				return m.Metrics(md), 0, nil
			},
		},
	}
}

var errPanic = errors.New("panic")

// safely is decode, where a panic is an error: grpc would let the process die of
// it, and net/http would keep the room.
func (s *signal) safely(ctx context.Context, m *otlp.Mapper, body []byte, enc otlp.Encoding, room *room) (b *otlp.Batch, refused int, err error) {
	defer recovered(&err)
	// What is decoded can be a hundred times its bytes, and records a thousand
	// times: it holds room like the bytes do.
	if err := room.grow(ctx, room.size+s.size(body, enc)); err != nil {
		return nil, 0, err
	}
	m = m.Within(func(n int) error { return room.grow(ctx, room.size+int64(n)) })
	if b, refused, err = s.decode(m, body, enc); err == nil {
		err = b.Err
	}
	return b, refused, err
}

// recovered makes a panic an error. It must be deferred itself.
func recovered(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("%w: %v\n%s", errPanic, p, debug.Stack())
	}
}

// outcome is what became of a request that was taken.
type outcome struct {
	refused int    // spans, log records or data points
	message string // why, and what else is to be said; "" for nothing
}

// export takes the bytes of a request in. It gives its room back. Errors are
// of the whole request.
func (h *Handler) export(ctx context.Context, c Caller, s *signal, enc otlp.Encoding, body []byte, room *room) (outcome, error) {
	h.metrics.bytes.WithLabelValues(s.name).Add(float64(len(body)))
	batch, undecoded, err := s.safely(ctx, h.cfg.Mapper, body, enc, room)
	if err != nil {
		room.done()
		if k := kindOf(err); !errors.Is(err, errPanic) && (k == &internal || k.status == 422) {
			err = fmt.Errorf("%w: %w", errMalformed, err)
		}
		return outcome{}, err
	}
	out := outcome{refused: undecoded + batch.Rejected}
	reasons := batch.Errors
	if undecoded > 0 {
		reasons = append(reasons, fmt.Sprintf("%d could not be decoded", undecoded))
	}
	total := 0
	for _, item := range batch.Items {
		total += s.weight(item.Record)
	}
	if len(batch.Items)+len(batch.Traces) == 0 {
		room.done()
	} else {
		a := &appending{h: h, caller: c, partial: true}
		err := h.detach(ctx, room, func(ctx context.Context) error {
			traces, err := h.newTraces(ctx, c.Tenant, batch.Traces)
			if err != nil {
				return err
			}
			a.items = slices.Concat(traces, batch.Items)
			return a.run(ctx)
		})
		if err != nil {
			return outcome{}, err
		}
		for _, e := range a.refused {
			n := s.weight(a.items[e.Index].Record)
			total -= n
			out.refused += n
		}
		reasons = append(reasons, refusedReasons(a.refused)...)
	}
	h.metrics.items.WithLabelValues(s.name, "accepted").Add(float64(total))
	h.metrics.items.WithLabelValues(s.name, "rejected").Add(float64(out.refused))
	out.message = message(out.refused, reasons)
	return out, nil
}

// maxReasons is how many refusals an answer explains.
const maxReasons = 10

func refusedReasons(refused []*ledger.RecordError) []string {
	var out []string
	for _, e := range refused[:min(len(refused), maxReasons)] {
		out = append(out, e.Err.Error())
	}
	return out
}

// maxMessage bounds the message of an answer, in bytes.
const maxMessage = 2 << 10

func message(refused int, reasons []string) string {
	if refused == 0 && len(reasons) == 0 {
		return ""
	}
	text := strings.Join(reasons[:min(len(reasons), maxReasons)], "; ")
	if text == "" {
		text = "not valid"
	}
	text = strings.ToValidUTF8(text, "\uFFFD")
	if len(text) > maxMessage {
		cut := maxMessage
		for !utf8.RuneStart(text[cut]) {
			cut--
		}
		text = text[:cut] + "…"
	}
	return text
}
