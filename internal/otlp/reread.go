package otlp

import (
	"fmt"
	"strings"

	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/dialect"
)

// Reread returns the hints of a stored record from its opened /attrs and
// /body, as Traces or Logs gave them when it came. For a system record body
// is /details, or /summary where it has none. Records that did not come from
// OTLP, span events and other kinds have no hints. The error wraps
// evidence.ErrInvalid: attrs is not what this package writes.
func (m *Mapper) Reread(kind evidence.Kind, attrs, body []byte) (dialect.Hints, error) {
	switch kind {
	case evidence.KindTraceStep:
		return m.rereadSpan(attrs)
	case evidence.KindTraceEvent, evidence.KindSystem:
		return m.rereadLog(attrs, body)
	default:
		return dialect.Hints{}, nil
	}
}

func (m *Mapper) rereadSpan(attrs []byte) (dialect.Hints, error) {
	req, err := spanRequest(attrs)
	if err != nil || req == nil {
		return dialect.Hints{}, err
	}
	r := ptraceotlp.NewExportRequest()
	if err := r.UnmarshalProto(req); err != nil {
		return dialect.Hints{}, fmt.Errorf("attrs: %w: %w", err, evidence.ErrInvalid)
	}
	rs := r.Traces().ResourceSpans().At(0)
	ss := rs.ScopeSpans().At(0)
	return m.cfg.Dialects.ReadSpan(rs.Resource(), ss.Scope(), ss.Spans().At(0)).Hints, nil
}

func (m *Mapper) rereadLog(attrs, body []byte) (dialect.Hints, error) {
	req, err := logRequest(attrs, body)
	if err != nil || req == nil {
		return dialect.Hints{}, err
	}
	r := plogotlp.NewExportRequest()
	if err := r.UnmarshalProto(req); err != nil {
		return dialect.Hints{}, fmt.Errorf("attrs: %w: %w", err, evidence.ErrInvalid)
	}
	rl := r.Logs().ResourceLogs().At(0)
	sl := rl.ScopeLogs().At(0)
	return m.cfg.Dialects.ReadLog(rl.Resource(), sl.Scope(), sl.LogRecords().At(0)).Hints, nil
}

// Numbers of protobuf fields (opentelemetry-proto 1.x).
const (
	fieldValueString, fieldValueBool, fieldValueInt, fieldValueDouble = 1, 2, 3, 4
	fieldValueArray, fieldValueKvlist, fieldValueBytes                = 5, 6, 7

	fieldSpanState, fieldSpanName, fieldSpanKind, fieldSpanStart, fieldSpanEnd = 3, 5, 6, 7, 8
	fieldSpanAttrs, fieldSpanDroppedAttrs, fieldSpanDroppedEvents              = 9, 10, 12
	fieldSpanDroppedLinks, fieldSpanStatus, fieldSpanFlags                     = 14, 15, 16

	fieldLogTime, fieldLogNumber, fieldLogSeverity, fieldLogBody, fieldLogAttrs = 1, 2, 3, 5, 6
	fieldLogDropped, fieldLogFlags, fieldLogObserved, fieldLogName              = 7, 8, 11, 12
)

// spanRequest makes the protobuf bytes of a request with the span, which
// keeps attributes that stand twice, as pdata's setters would not. The span
// has neither ids nor links nor events. It is nil where no span wrote attrs.
func spanRequest(attrs []byte) ([]byte, error) {
	list, err := parseAttrs(attrs)
	if err != nil {
		return nil, err
	}
	border := list.last(keySpanName)
	if border < 0 {
		return nil, nil
	}
	var span []byte
	for _, a := range list[:border] {
		span = appendMessage(span, fieldSpanAttrs, a.keyValue(a.key))
	}
	for _, a := range list[border:] {
		switch a.key {
		case keySpanName:
			span = protowire.AppendString(protowire.AppendTag(span, fieldSpanName, protowire.BytesType), a.text())
		case keySpanState:
			span = protowire.AppendString(protowire.AppendTag(span, fieldSpanState, protowire.BytesType), a.text())
		case keySpanKind:
			span = appendVarint(span, fieldSpanKind, a.enum(spanKinds))
		case keySpanStatus: // both make one message: protobuf merges them
			span = appendMessage(span, fieldSpanStatus, appendVarint(nil, 3, a.enum(statusCodes)))
		case keySpanMessage:
			span = appendMessage(span, fieldSpanStatus, protowire.AppendString(protowire.AppendTag(nil, 2, protowire.BytesType), a.text()))
		case keySpanStart:
			span = appendFixed64(span, fieldSpanStart, a.uint())
		case keySpanEnd:
			span = appendFixed64(span, fieldSpanEnd, a.uint())
		case keySpanFlags:
			span = protowire.AppendFixed32(protowire.AppendTag(span, fieldSpanFlags, protowire.Fixed32Type), uint32(a.uint()))
		case keySpanDroppedAttrs:
			span = appendVarint(span, fieldSpanDroppedAttrs, a.uint())
		case keySpanDroppedEvents:
			span = appendVarint(span, fieldSpanDroppedEvents, a.uint())
		case keySpanDroppedLinks:
			span = appendVarint(span, fieldSpanDroppedLinks, a.uint())
		}
	}
	return list[border:].around(span), nil
}

// logRequest is spanRequest for log records.
func logRequest(attrs, body []byte) ([]byte, error) {
	list, err := parseAttrs(attrs)
	if err != nil {
		return nil, err
	}
	border := list.last(keyLogTime)
	if border < 0 || list.last(keyEventName) > border {
		return nil, nil // a span event, or no OTLP at all
	}
	var rec []byte
	for _, a := range list[:border] {
		rec = appendMessage(rec, fieldLogAttrs, a.keyValue(a.key))
	}
	typed := false
	for _, a := range list[border:] {
		switch a.key {
		case keyLogTime:
			rec = appendFixed64(rec, fieldLogTime, a.uint())
		case keyLogObserved:
			rec = appendFixed64(rec, fieldLogObserved, a.uint())
		case keyLogNumber:
			rec = appendVarint(rec, fieldLogNumber, a.enum(nil))
		case keyLogSeverity:
			rec = protowire.AppendString(protowire.AppendTag(rec, fieldLogSeverity, protowire.BytesType), a.text())
		case keyLogName:
			rec = protowire.AppendString(protowire.AppendTag(rec, fieldLogName, protowire.BytesType), a.text())
		case keyLogFlags:
			rec = protowire.AppendFixed32(protowire.AppendTag(rec, fieldLogFlags, protowire.Fixed32Type), uint32(a.uint()))
		case keyLogDropped:
			rec = appendVarint(rec, fieldLogDropped, a.uint())
		case keyLogBody:
			rec, typed = appendMessage(rec, fieldLogBody, a.value), true
		}
	}
	if len(body) > 0 && !typed {
		v, err := naturalValue(body)
		if err != nil {
			return nil, err
		}
		rec = appendMessage(rec, fieldLogBody, v)
	}
	return list[border:].around(rec), nil
}

// around wraps a span or log record with its scope and resource.
func (l attrList) around(one []byte) []byte {
	var res, sc, inScope, inResource []byte
	names := 0 // scope.name and scope.version come first
	for _, a := range l {
		key, isScope := strings.CutPrefix(a.key, prefixScope)
		switch {
		case isScope && names < 2:
			names++
			sc = protowire.AppendString(protowire.AppendTag(sc, protowire.Number(names), protowire.BytesType), a.text())
		case isScope:
			sc = appendMessage(sc, 3, a.keyValue(key))
		case strings.HasPrefix(a.key, prefixResource):
			res = appendMessage(res, 1, a.keyValue(a.key[len(prefixResource):]))
		case a.key == keyResourceSchema:
			inResource = protowire.AppendString(protowire.AppendTag(inResource, 3, protowire.BytesType), a.text())
		case a.key == keyScopeSchema:
			inScope = protowire.AppendString(protowire.AppendTag(inScope, 3, protowire.BytesType), a.text())
		case a.key == keyResourceDropped:
			res = appendVarint(res, 2, a.uint())
		case a.key == keyScopeDropped:
			sc = appendVarint(sc, 4, a.uint())
		}
	}
	inScope = appendMessage(appendMessage(inScope, 1, sc), 2, one)
	inResource = appendMessage(appendMessage(inResource, 1, res), 2, inScope)
	return appendMessage(nil, 1, inResource)
}

func appendMessage(b []byte, num protowire.Number, m []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, num, protowire.BytesType), m)
}

func appendVarint(b []byte, num protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, num, protowire.VarintType), v)
}

func appendFixed64(b []byte, num protowire.Number, v uint64) []byte {
	return protowire.AppendFixed64(protowire.AppendTag(b, num, protowire.Fixed64Type), v)
}
