package otlp

import (
	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/runledger/runledger/internal/dialect"
)

// origin is a resource of a request.
type origin struct {
	res     pcommon.Resource
	suffix  []byte // the entries of /attrs that all of its records share
	fault   string // why none of them can be kept
	service string // service.name
	schema  string // URL
}

// source is where spans or log records of a request come from: a scope of a
// resource.
type source struct {
	*origin
	scope pcommon.InstrumentationScope
	// scopeSuffix are further entries of /attrs.
	scopeSuffix []byte
	fault       string
	// component is service.name, else the scope, else "otlp".
	component string
	schema    string // URL, of the resource or else of the scope
	dropped   bool   // attributes of resource or scope were dropped
}

// serviceName is the resource attribute that names the producer (OTel
// semantic conventions, "Service").
const serviceName = "service.name"

func service(res pcommon.Resource) string {
	if v, ok := res.Attributes().Get(serviceName); ok && v.Type() == pcommon.ValueTypeStr {
		return v.Str()
	}
	return ""
}

func newOrigin(res pcommon.Resource, schema string) *origin {
	var e encoder
	if schema != "" {
		e.putText(keyResourceSchema, schema)
	}
	e.putCount(keyResourceDropped, uint64(res.DroppedAttributesCount()))
	e.attrs(prefixResource, res.Attributes())
	if e.notUTF8 {
		scrub(res.Attributes())
	}
	return &origin{res: res, suffix: e.b, fault: e.fault, service: service(res), schema: schema}
}

// newSource must not look at all of the resource: there may be a million
// scopes in it.
func newSource(o *origin, scope pcommon.InstrumentationScope, schema string) *source {
	s := &source{origin: o, scope: scope, schema: firstText(o.schema, schema)}
	s.dropped = o.res.DroppedAttributesCount() > 0 || scope.DroppedAttributesCount() > 0
	var e encoder
	if schema != "" {
		e.putText(keyScopeSchema, schema)
	}
	e.putCount(keyScopeDropped, uint64(scope.DroppedAttributesCount()))
	// Always both, so that a scope's own attribute "name" is never taken for
	// the scope's name.
	e.putText(keyScopeName, scope.Name())
	e.putText(keyScopeVersion, scope.Version())
	e.attrs(prefixScope, scope.Attributes())
	s.scopeSuffix, s.fault = e.b, firstText(o.fault, e.fault)
	if e.notUTF8 {
		scrub(scope.Attributes())
		scope.SetName(toValid(scope.Name()))
		scope.SetVersion(toValid(scope.Version()))
	}
	s.component = firstText(o.service, scope.Name(), "otlp")
	return s
}

// begin returns the request's encoder for a record from s, or says why there
// can be none. What the records share is counted before it is copied.
func (q *request) begin(s *source) (*encoder, string) {
	if s.fault != "" {
		return nil, s.fault
	}
	if fault := q.spend(recordSize + len(s.suffix) + len(s.scopeSuffix)); fault != "" {
		return nil, fault
	}
	return q.encoder(), ""
}

// source writes what the records of s share.
func (e *encoder) source(s *source) {
	e.b = append(append(e.b, s.suffix...), s.scopeSuffix...)
}

// Keys of entries that are ours; see the package comment.
const (
	keyResourceSchema  = "otlp.resource_schema_url"
	keyScopeSchema     = "otlp.scope_schema_url"
	keyResourceDropped = "otlp.resource_dropped_attributes_count"
	keyScopeDropped    = "otlp.scope_dropped_attributes_count"
	keyScopeName       = "scope.name"
	keyScopeVersion    = "scope.version"
	prefixResource     = "resource."
	prefixScope        = "scope."
	prefixLink         = "link."

	keySpanName          = "span.name"
	keySpanKind          = "span.kind"
	keySpanStart         = "span.start_time_unix_nano"
	keySpanEnd           = "span.end_time_unix_nano"
	keySpanStatus        = "span.status_code"
	keySpanMessage       = "span.status_message"
	keySpanState         = "span.trace_state"
	keySpanFlags         = "span.flags"
	keySpanDroppedAttrs  = "span.dropped_attributes_count"
	keySpanDroppedEvents = "span.dropped_events_count"
	keySpanDroppedLinks  = "span.dropped_links_count"

	keyEventName    = "event.name"
	keyEventTime    = "event.time_unix_nano"
	keyEventDropped = "event.dropped_attributes_count"

	keyLogTime     = "log.time_unix_nano"
	keyLogObserved = "log.observed_time_unix_nano"
	keyLogNumber   = "log.severity_number"
	keyLogSeverity = "log.severity_text"
	keyLogName     = "log.event_name"
	keyLogFlags    = "log.flags"
	keyLogSpan     = "log.span_id"
	keyLogDropped  = "log.dropped_attributes_count"
	keyLogBody     = "log.body"
)

// who takes from a reading what all records of a span or log share. truncated
// says that it names too many policies or incidents.
func (s *source) who(rd *dialect.Reading) (w who, truncated bool) {
	w = who{
		human: rd.User, subject: rd.Subject, agent: rd.AgentID, service: s.service, component: s.component,
		correlation: rd.Hints.CorrelationID, scenario: rd.Hints.ScenarioID, synthetic: rd.Hints.Synthetic,
	}
	if w.subject == "" {
		w.subject = rd.User
	}
	if w.agent == "" {
		w.agent = rd.AgentName
	}
	var a, b bool
	w.policies, a = bounded(rd.PolicyIDs)
	w.incidents, b = bounded(rd.IncidentIDs)
	return w, a || b
}

// size is how much of it stands in every record.
func (w *who) size() int {
	n := len(w.human) + len(w.subject) + len(w.agent) + len(w.service) + len(w.component) + len(w.correlation) + len(w.scenario)
	for _, list := range [][]string{w.policies, w.incidents} {
		for _, s := range list {
			n += len(s)
		}
	}
	return n
}
