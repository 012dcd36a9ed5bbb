package otlp

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"

	"github.com/runledger/runledger/evidence"
)

// DecodeTraces reads an ExportTraceServiceRequest. rejected counts spans that
// had to be left out of it. The error wraps evidence.ErrInvalid, or
// evidence.ErrTooLarge for a request that would need too much memory.
func DecodeTraces(body []byte, enc Encoding) (td ptrace.Traces, rejected int, err error) {
	req, rejected, err := decode(body, enc, &traceForm, ptraceotlp.NewExportRequest)
	return req.Traces(), rejected, err
}

// DecodeLogs reads an ExportLogsServiceRequest, as DecodeTraces.
func DecodeLogs(body []byte, enc Encoding) (ld plog.Logs, rejected int, err error) {
	req, rejected, err := decode(body, enc, &logForm, plogotlp.NewExportRequest)
	return req.Logs(), rejected, err
}

// DecodeMetrics reads an ExportMetricsServiceRequest. One that pdata refuses
// is refused whole.
func DecodeMetrics(body []byte, enc Encoding) (pmetric.Metrics, error) {
	req, _, err := decode(body, enc, &metricForm, pmetricotlp.NewExportRequest)
	return req.Metrics(), err
}

// unmarshaler is a request of pdata.
type unmarshaler interface {
	UnmarshalProto(data []byte) error
	UnmarshalJSON(data []byte) error
}

func decode[R unmarshaler](body []byte, enc Encoding, f *form, fresh func() R) (R, int, error) {
	if err := guard(body, enc, f); err != nil {
		return fresh(), 0, err
	}
	req := fresh()
	first := unmarshal(req, body, enc)
	if first == nil {
		return req, 0, nil
	}
	invalid := func(err error) (R, int, error) {
		return fresh(), 0, fmt.Errorf("%s: %w: %w", f.name, err, evidence.ErrInvalid)
	}
	if f.members == nil {
		return invalid(first)
	}
	s := salvage{form: f, fits: func(one []byte) bool { return unmarshal(fresh(), one, enc) == nil }}
	var rest []byte
	var err error
	if enc == JSON {
		rest, err = s.json(body)
	} else {
		rest, err = s.proto(body)
	}
	if err != nil {
		return invalid(err)
	}
	req = fresh()
	if s.dropped == 0 || unmarshal(req, rest, enc) != nil {
		return invalid(first) // it is not the single ones
	}
	return req, s.dropped, nil
}

// unmarshal decodes with pdata. Its errors in JSON quote the input, which is
// content and must not get into logs.
func unmarshal(req unmarshaler, body []byte, enc Encoding) (err error) {
	// A panic would end the process under gRPC. None is known.
	defer func() {
		if p := recover(); p != nil {
			err = errors.New("decoder failed")
		}
	}()
	if enc == Protobuf {
		return req.UnmarshalProto(body)
	}
	if err := req.UnmarshalJSON(body); err != nil {
		text, _, _ := strings.Cut(err.Error(), ", error found in #")
		return errors.New(quoteFree(text))
	}
	return nil
}

// quoteFree cuts an error text where it begins to quote.
func quoteFree(text string) string {
	if i := strings.IndexAny(text, "\"`"); i >= 0 {
		text = text[:i]
	}
	return strings.TrimRight(text, " :")
}

// checkJSON reports where the text is no JSON. Names that stand twice and
// text that is not UTF-8 are for later.
func checkJSON(body []byte) error {
	dec := jsontext.NewDecoder(bytes.NewReader(body), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	if err := dec.SkipValue(); err != nil {
		return jsonFault(err, int64(len(body)))
	}
	at := dec.InputOffset()
	if rest := bytes.TrimLeft(body[at:], " \t\r\n"); len(rest) > 0 {
		return fmt.Errorf("byte %d: more than one JSON value", int64(len(body)-len(rest)))
	}
	return nil
}

func jsonFault(err error, size int64) error {
	at := size
	if se := (*jsontext.SyntacticError)(nil); errors.As(err, &se) {
		at = se.ByteOffset
	}
	if at >= size {
		return fmt.Errorf("byte %d: unexpected end", at)
	}
	return fmt.Errorf("byte %d: not JSON", at)
}
