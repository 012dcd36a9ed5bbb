package otlp

import (
	"strings"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/dialect"
)

// Logs maps log records. It may change strings of ld that are not UTF-8.
func (m *Mapper) Logs(ld plog.Logs) *Batch {
	q := newRequest(m, ld.LogRecordCount())
	for _, rl := range ld.ResourceLogs().All() {
		o := newOrigin(rl.Resource(), rl.SchemaUrl())
		for _, sl := range rl.ScopeLogs().All() {
			src := newSource(o, sl.Scope(), sl.SchemaUrl())
			alone := &loneLog{src: src}
			for _, rec := range sl.LogRecords().All() {
				q.log(src, alone, rec)
			}
		}
	}
	q.finish()
	return q.batch
}

// loneLog makes the content of a log record's key: the deterministic protobuf
// bytes of a request of that record alone. Resource and scope count, because
// two processes that say the same at the same time have said it twice.
type loneLog struct {
	src  *source
	ld   plog.Logs
	list plog.LogRecordSlice // of ld; made when there is a record to keep
	made bool
}

func (l *loneLog) content(rec plog.LogRecord) ([]byte, error) {
	if !l.made {
		l.ld, l.made = plog.NewLogs(), true
		rl := l.ld.ResourceLogs().AppendEmpty()
		l.src.res.CopyTo(rl.Resource())
		sl := rl.ScopeLogs().AppendEmpty()
		l.src.scope.CopyTo(sl.Scope())
		l.list = sl.LogRecords()
	}
	l.list.RemoveIf(func(plog.LogRecord) bool { return true })
	rec.CopyTo(l.list.AppendEmpty())
	var p plog.ProtoMarshaler
	return p.MarshalLogs(l.ld)
}

// log appends the records of one log record.
func (q *request) log(src *source, alone *loneLog, rec plog.LogRecord) {
	e, fault := q.begin(src)
	if fault != "" {
		q.batch.reject(1, "log record: "+fault)
		return
	}
	content, err := alone.content(rec)
	if err != nil {
		q.batch.reject(1, "log record: "+err.Error())
		return
	}
	body, exact := naturalBody(rec.Body())
	attrs, fault := e.log(src, rec, exact)
	rd := dialect.Reading{}
	if fault == "" {
		rd = q.m.cfg.Dialects.ReadLog(src.res, src.scope, rec)
	}
	w, _ := src.who(&rd)
	if fault = firstText(fault, q.spend(len(attrs)+len(content)+len(body)+w.size())); fault != "" {
		q.batch.reject(1, "log record: "+fault)
		return
	}
	s := logState{src: src, rec: rec, who: &w, at: logTime(rec), attrs: append([]byte(nil), attrs...), body: body}
	var r *evidence.Record
	if rec.TraceID().IsEmpty() {
		r = s.observation(systemEvent(rec))
	} else {
		s.trace = q.trace(rec.TraceID())
		r = s.event()
	}
	q.content(r, content)
	if err := complete(r); err != nil {
		q.batch.reject(1, "log record: "+err.Error())
		return
	}
	q.add(r, rd.Hints)
	if s.trace != "" {
		q.seen(rec.TraceID(), s.at, src, &rd.Hints)
	}
	q.governance(&fact{who: &w, at: s.at, run: s.trace, content: content}, rd.Governance)
}

// logState is one log record on its way.
type logState struct {
	src         *source
	rec         plog.LogRecord
	who         *who
	trace       string // in hex, empty for none
	at          evidence.Micros
	attrs, body []byte
}

func logTime(rec plog.LogRecord) evidence.Micros {
	if t := rec.Timestamp(); t != 0 {
		return micros(t)
	}
	return micros(rec.ObservedTimestamp())
}

// log writes /attrs of a log record, in the request's buffer.
func (e *encoder) log(src *source, rec plog.LogRecord, exact bool) ([]byte, string) {
	e.attrs("", rec.Attributes())
	e.putUint(keyLogTime, uint64(rec.Timestamp())) // always: it marks the border
	e.putCount(keyLogObserved, uint64(rec.ObservedTimestamp()))
	if n := rec.SeverityNumber(); n != 0 {
		e.enum(keyLogNumber, int32(n), nil)
	}
	if s := rec.SeverityText(); s != "" {
		e.putText(keyLogSeverity, s)
	}
	if s := rec.EventName(); s != "" {
		e.putText(keyLogName, s)
	}
	e.putCount(keyLogFlags, uint64(rec.Flags()&0xff))
	if rec.TraceID().IsEmpty() && !rec.SpanID().IsEmpty() {
		e.putText(keyLogSpan, hexID(rec.SpanID()))
	}
	e.putCount(keyLogDropped, uint64(rec.DroppedAttributesCount()))
	if !exact {
		e.key("", keyLogBody)
		e.value(rec.Body(), 0)
		e.b = append(e.b, ']', ',')
	}
	e.source(src)
	if e.fault != "" {
		return nil, e.fault
	}
	if e.notUTF8 {
		scrub(rec.Attributes())
		scrubValue(rec.Body(), 0)
		rec.SetSeverityText(toValid(rec.SeverityText()))
		rec.SetEventName(toValid(rec.EventName()))
	}
	return e.finish(), ""
}

// event makes the record of a log record that is part of a trace.
func (s *logState) event() *evidence.Record {
	f := &eventTable
	var b builder
	b.context(&f.common, s.who, "ACTIVITY")
	b.text(f.traceID, s.trace)
	if id := s.rec.SpanID(); !id.IsEmpty() {
		b.text(f.spanID, hexID(id))
	}
	b.text(f.name, eventName(s.rec))
	b.text(f.severity, severityName(s.rec))
	b.seal("/attrs", s.attrs)
	if s.body != nil {
		b.seal("/body", s.body)
	}
	r := &evidence.Record{Kind: evidence.KindTraceEvent, OccurredAt: s.at, Run: s.trace, Said: saidByTrace}
	b.into(r)
	return r
}

// eventName falls back on the attribute in which events had their name before
// the log record got a field for it (OTel "Events", until 2024).
func eventName(rec plog.LogRecord) string {
	if n := rec.EventName(); n != "" {
		return n
	}
	if v, ok := rec.Attributes().Get("event.name"); ok && v.Type() == pcommon.ValueTypeStr && v.Str() != "" {
		return v.Str()
	}
	return "log"
}

// systemEvents are the events of the environment (contract section 4) that a log record
// without a trace may name. What only the server may state is not among them.
var systemEvents = []string{
	"STARTUP", "SHUTDOWN", "RESTART", "DEPLOY", "MIGRATION", "AUTH_CHANGE", "CONFIG_CHANGE", "ERROR", "HEALTH_CHECK",
}

// prefixSystemEvent stands before the event in the name of a log record, which is in
// lower case: runledger.health_check.
const prefixSystemEvent = "runledger."

// systemEvent is the event type of a log record without a trace: the one that its event
// name is, else OBSERVATION. (The attribute runledger.event_type is about policies.)
func systemEvent(rec plog.LogRecord) string {
	if name, ok := strings.CutPrefix(eventName(rec), prefixSystemEvent); ok {
		for _, e := range systemEvents {
			if strings.ToLower(e) == name {
				return e
			}
		}
	}
	return "OBSERVATION"
}

// observation makes the record of a log record that belongs to no trace.
func (s *logState) observation(event string) *evidence.Record {
	r := &evidence.Record{Kind: evidence.KindSystem, OccurredAt: s.at, Said: saidNothing}
	w := s.who
	r.SetHumanActor(w.human)
	if w.subject != "" {
		r.SetSealed("/subject", appendQuoted(nil, w.subject))
	}
	r.SetText("agent_id", w.agent)
	r.SetText("system_id", s.src.service)
	r.SetText("correlation_id", w.correlation)
	r.SetText("synthetic_scenario_id", w.scenario)
	r.SetBool("is_synthetic", w.synthetic)
	r.SetNames("policy_ids", w.policies)
	r.SetNames("incident_ids", w.incidents)
	r.SetText("source_domain", "SYSTEM")
	r.SetText("source_component", s.src.component)
	r.SetText("component", s.src.component)
	r.SetText("event_type", event)
	r.SetText("severity", systemSeverity(s.rec))
	r.SetSealed("/attrs", s.attrs)
	switch {
	case s.body == nil:
		r.SetSealed("/summary", appendQuoted(nil, eventName(s.rec)))
	case s.body[0] == '"':
		r.SetSealed("/summary", s.body)
	default:
		r.SetSealed("/summary", appendQuoted(nil, string(s.body)))
		r.SetSealed("/details", s.body)
	}
	return r
}

var severityNames = []string{"TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"}

// severityName is the short name of the number's range (OTel log data model),
// else the text.
func severityName(rec plog.LogRecord) string {
	if n := int(rec.SeverityNumber()); n >= 1 && n <= 24 {
		return severityNames[(n-1)/4]
	}
	return rec.SeverityText()
}

func systemSeverity(rec plog.LogRecord) string {
	switch s := strings.ToUpper(severityName(rec)); {
	case strings.HasPrefix(s, "FATAL"):
		return "CRITICAL"
	case strings.HasPrefix(s, "WARN"), strings.HasPrefix(s, "ERROR"):
		return "WARN"
	default:
		return "INFO"
	}
}
