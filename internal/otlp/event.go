package otlp

import (
	"strconv"

	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/dialect"
)

// events appends the records of a span's events.
func (q *request) events(s *spanState) {
	for i, ev := range s.span.Events().All() {
		key := s.key + ":e" + strconv.Itoa(i)
		attrs, fault := q.eventAttrs(ev, s.who.size())
		if fault != "" {
			q.batch.note("span event " + key + ": " + fault)
			continue
		}
		rec := event(s, ev, key, attrs)
		if err := complete(rec); err != nil {
			q.batch.note("span event " + key + ": " + err.Error())
			continue
		}
		q.add(rec, dialect.Hints{})
	}
}

// eventAttrs writes /attrs of a span event, in the request's buffer. shared is
// the size of what the event's record has from its span.
func (q *request) eventAttrs(ev ptrace.SpanEvent, shared int) ([]byte, string) {
	if fault := q.spend(recordSize + shared); fault != "" {
		return nil, fault
	}
	e := q.encoder()
	e.attrs("", ev.Attributes())
	e.putText(keyEventName, ev.Name())
	e.putCount(keyEventTime, uint64(ev.Timestamp()))
	e.putCount(keyEventDropped, uint64(ev.DroppedAttributesCount()))
	if e.fault == "" {
		e.fault = q.spend(len(e.b))
	}
	return e.finish(), e.fault
}

// event makes the record of a span event. attrs is copied.
func event(s *spanState, ev ptrace.SpanEvent, key string, attrs []byte) *evidence.Record {
	f := &eventTable
	var b builder
	b.context(&f.common, s.who, "ACTIVITY")
	b.text(f.traceID, s.trace)
	b.text(f.spanID, s.key[len(s.trace)+1:])
	b.text(f.name, firstText(ev.Name(), "event"))
	content := append([]byte(nil), attrs...)
	b.seal("/attrs", content)
	at := s.iv.at
	if ev.Timestamp() != 0 {
		at = micros(ev.Timestamp())
	}
	rec := &evidence.Record{
		Kind: evidence.KindTraceEvent, NaturalKey: key, OccurredAt: at, Run: s.trace, Content: content, Said: saidByEvent,
	}
	b.into(rec)
	return rec
}
