package otlp

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strconv"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/dialect"
	"github.com/runledger/runledger/internal/prices"
)

// Traces maps spans. It may change strings of td that are not UTF-8.
func (m *Mapper) Traces(td ptrace.Traces) *Batch {
	q := newRequest(m, td.SpanCount())
	for _, rs := range td.ResourceSpans().All() {
		o := newOrigin(rs.Resource(), rs.SchemaUrl())
		for _, ss := range rs.ScopeSpans().All() {
			src := newSource(o, ss.Scope(), ss.SchemaUrl())
			for _, span := range ss.Spans().All() {
				q.span(src, span)
			}
		}
	}
	q.finish()
	return q.batch
}

// span appends the records of one span.
func (q *request) span(src *source, span ptrace.Span) {
	if span.TraceID().IsEmpty() || span.SpanID().IsEmpty() {
		q.batch.reject(1, "span without a trace id or span id: the ids must not be all zero")
		return
	}
	trace := q.trace(span.TraceID())
	key := evidence.SpanKey(trace, hexID(span.SpanID()))
	attrs, fault := q.spanAttrs(src, span)
	if fault != "" {
		q.batch.reject(1, "span "+key+": "+fault)
		return
	}
	rd := q.m.cfg.Dialects.ReadSpan(src.res, src.scope, span)
	w, truncated := src.who(&rd)
	if fault := q.spend(w.size()); fault != "" {
		q.batch.reject(1, "span "+key+": "+fault)
		return
	}
	s := spanState{src: src, span: span, rd: &rd, who: &w, trace: trace, key: key, truncated: truncated, arena: &q.arena}
	s.iv = q.m.interval(span.StartTimestamp(), span.EndTimestamp())
	rec := q.m.step(&s, attrs)
	if err := complete(rec); err != nil {
		q.batch.reject(1, "span "+key+": "+err.Error())
		return
	}
	q.add(rec, rd.Hints)
	q.seen(span.TraceID(), s.iv.at, src, &rd.Hints)
	q.events(&s)
	q.governance(&fact{who: &w, at: s.iv.at, run: trace, key: key}, rd.Governance)
}

// spanState is one span on its way.
type spanState struct {
	src        *source
	span       ptrace.Span
	rd         *dialect.Reading
	who        *who
	trace, key string // ids in hex
	iv         interval
	truncated  bool
	arena      *arena
}

// spanAttrs writes /attrs of a span, in the request's buffer.
func (q *request) spanAttrs(src *source, span ptrace.Span) ([]byte, string) {
	e, fault := q.begin(src)
	if fault != "" {
		return nil, fault
	}
	e.attrs("", span.Attributes())
	e.putText(keySpanName, span.Name())
	e.enum(keySpanKind, int32(span.Kind()), spanKinds)
	e.putCount(keySpanStart, uint64(span.StartTimestamp()))
	e.putCount(keySpanEnd, uint64(span.EndTimestamp()))
	if c := span.Status().Code(); c != ptrace.StatusCodeUnset {
		e.enum(keySpanStatus, int32(c), statusCodes)
	}
	if s := span.Status().Message(); s != "" {
		e.putText(keySpanMessage, s)
	}
	if s := span.TraceState().AsRaw(); s != "" {
		e.putText(keySpanState, s)
	}
	e.putCount(keySpanFlags, uint64(span.Flags()&0xff))
	e.putCount(keySpanDroppedAttrs, uint64(span.DroppedAttributesCount()))
	e.putCount(keySpanDroppedEvents, uint64(span.DroppedEventsCount()))
	e.putCount(keySpanDroppedLinks, uint64(span.DroppedLinksCount()))
	e.source(src)
	for i, l := range span.Links().All() {
		e.link(i, l)
	}
	if e.fault == "" {
		e.fault = q.spend(len(e.b) - len(src.suffix) - len(src.scopeSuffix))
	}
	if e.fault != "" {
		return nil, e.fault
	}
	if e.notUTF8 {
		span.SetName(toValid(span.Name()))
		span.Status().SetMessage(toValid(span.Status().Message()))
		scrub(span.Attributes())
		for _, l := range span.Links().All() {
			scrub(l.Attributes())
		}
	}
	return e.finish(), ""
}

// Names of OTLP's enumerations in /attrs; other values are ints.
var (
	spanKinds   = []string{"unspecified", "internal", "server", "client", "producer", "consumer"}
	statusCodes = []string{"unset", "ok", "error"}
)

func (e *encoder) enum(key string, n int32, names []string) {
	if n >= 0 && int(n) < len(names) {
		e.putText(key, names[n])
		return
	}
	e.b = append(append(append(e.b, '[', '"'), key...), `","int","`...)
	e.b = append(strconv.AppendInt(e.b, int64(n), 10), '"', ']', ',')
}

func (e *encoder) link(i int, l ptrace.SpanLink) {
	prefix := prefixLink + strconv.Itoa(i) + "."
	e.putText(prefix+"trace_id", hexTrace(l.TraceID()))
	e.putText(prefix+"span_id", hexID(l.SpanID()))
	if s := l.TraceState().AsRaw(); s != "" {
		e.putText(prefix+"trace_state", s)
	}
	e.putCount(prefix+"flags", uint64(l.Flags()&0xff))
	e.putCount(prefix+"dropped_attributes_count", uint64(l.DroppedAttributesCount()))
	e.attrs(prefix, l.Attributes())
}

func hexTrace(id pcommon.TraceID) string { return hex.EncodeToString(id[:]) }

func hexID(id pcommon.SpanID) string { return hex.EncodeToString(id[:]) }

// step makes the record of a span. attrs is copied.
func (m *Mapper) step(s *spanState, attrs []byte) *evidence.Record {
	rd, f := s.rd, &stepTable
	b := builder{arena: s.arena}
	b.context(&f.common, s.who, "ACTIVITY")
	b.text(f.traceID, s.trace)
	b.text(f.spanID, s.key[len(s.trace)+1:])
	parent := ""
	if id := s.span.ParentSpanID(); !id.IsEmpty() {
		parent = hexID(id)
		b.text(f.parent, parent)
	}
	kind := rd.Kind
	if !slices.Contains(f.stepKind.Enum, kind) {
		kind = "other"
	}
	b.text(f.stepKind, kind)
	b.text(f.skillID, kind)
	b.text(f.skillName, firstText(rd.Name, s.span.Name(), kind))
	outcome(&b, rd)
	b.int(f.duration, s.iv.duration)
	b.int(f.retries, 0)
	b.text(f.replay, "execute")
	b.text(f.provider, rd.Provider)
	b.text(f.requestModel, rd.RequestModel)
	b.text(f.model, rd.Model)
	b.text(f.operation, rd.Operation)
	b.text(f.finish, rd.FinishReason)
	b.text(f.toolCall, rd.ToolCallID)
	usage(&b, rd)
	cost := m.cost(rd, kind, s.iv.at)
	b.count(f.cost, cost)
	b.names(f.flags, s.flags(kind, cost.OK))
	b.content(rd)
	if msg := firstText(s.span.Status().Message(), rd.ErrorText); msg != "" {
		b.seal("/status_message", appendQuoted(nil, msg))
	}
	// The content is what was said: /attrs and what is not in it.
	content := s.arena.roomForBytes(len(attrs) + 1 + len(parent))
	content = append(append(append(content, attrs...), 0), parent...)
	b.seal("/attrs", content[:len(attrs):len(attrs)])
	rec := &evidence.Record{
		Kind: evidence.KindTraceStep, NaturalKey: s.key, OccurredAt: s.iv.at, Run: s.trace, Content: content, Said: saidByStep,
	}
	b.into(rec)
	return rec
}

func firstText(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}

func outcome(b *builder, rd *dialect.Reading) {
	f := &stepTable
	if rd.Failed {
		b.text(f.status, "failure")
		b.text(f.category, "FAILURE")
		b.text(f.code, rd.ErrorType)
		return
	}
	b.text(f.status, "success")
	b.text(f.category, "SUCCESS")
}

func (b *builder) count(f *evidence.Field, n dialect.Opt) {
	if usable(n) {
		b.int(f, n.V)
	}
}

// usable reports whether a number may stand in a leaf.
func usable(n dialect.Opt) bool { return n.OK && n.V >= 0 && n.V <= evidence.MaxInt }

func usage(b *builder, rd *dialect.Reading) {
	f := &stepTable
	b.count(f.input, rd.Input)
	b.count(f.output, rd.Output)
	b.count(f.cached, rd.Cached)
	b.count(f.cacheWrite, rd.CacheWrite)
	b.count(f.reasoning, rd.Reasoning)
	b.count(f.firstToken, rd.FirstTokenUS)
}

func isModelCall(kind string) bool { return kind == "llm" || kind == "embedding" }

// cost is the producer's own or computed from the prices of that day.
func (m *Mapper) cost(rd *dialect.Reading, kind string, at evidence.Micros) dialect.Opt {
	if usable(rd.CostNanos) {
		return rd.CostNanos
	}
	output := rd.Output
	if kind == "embedding" && !output.OK {
		output = dialect.Some(0) // embeddings have none
	}
	if !isModelCall(kind) || !usable(rd.Input) || !usable(output) {
		return dialect.Opt{}
	}
	// A dialect that can report cached tokens says so where there were none;
	// embeddings have none.
	u := prices.Usage{
		Input: rd.Input.V, Output: output.V,
		CachedKnown: rd.Cached.OK || kind == "embedding", CacheWriteUnknown: !rd.CacheWrite.OK && kind != "embedding",
	}
	if usable(rd.Cached) {
		u.Cached = rd.Cached.V
	}
	if usable(rd.CacheWrite) {
		u.CacheWrite = rd.CacheWrite.V
	}
	nanos, known := m.cfg.Prices.Cost(rd.Provider, firstText(rd.Model, rd.RequestModel), at, u)
	return dialect.Opt{V: nanos, OK: known && nanos >= 0 && nanos <= evidence.MaxInt}
}

// flags are the dialect's, sorted in with ours.
func (s *spanState) flags(kind string, costKnown bool) []string {
	rd := s.rd
	ours := []struct {
		name string
		set  bool
	}{
		{dialect.FlagAttrsDropped, s.dropped()},
		{dialect.FlagTimeReversed, s.iv.reversed},
		{dialect.FlagClockSkew, s.iv.skewed},
		{FlagTimeMissing, s.iv.missing},
		{FlagIDsTruncated, s.truncated},
		{dialect.FlagCostUnknown, isModelCall(kind) && !costKnown},
		{dialect.FlagTokensUnknown, outOfRange(rd.Input) || outOfRange(rd.Output)},
	}
	flags := rd.Flags[:len(rd.Flags):len(rd.Flags)]
	for _, o := range ours {
		if o.set {
			flags = append(flags, o.name)
		}
	}
	slices.Sort(flags)
	return slices.Compact(flags)
}

func outOfRange(n dialect.Opt) bool { return n.OK && !usable(n) }

func (s *spanState) dropped() bool {
	if s.src.dropped || s.span.DroppedAttributesCount()|s.span.DroppedEventsCount()|s.span.DroppedLinksCount() != 0 {
		return true
	}
	for _, e := range s.span.Events().All() {
		if e.DroppedAttributesCount() != 0 {
			return true
		}
	}
	for _, l := range s.span.Links().All() {
		if l.DroppedAttributesCount() != 0 {
			return true
		}
	}
	return false
}

// Sealed content that repeats, for reading, what /attrs has.
const (
	pathPrompt   = "/prompt"
	pathResponse = "/response"
	pathParams   = "/params"
	pathOutcome  = "/outcome_data"
)

func (b *builder) content(rd *dialect.Reading) {
	for _, c := range []struct {
		path string
		text []byte
	}{{pathPrompt, rd.Prompt}, {pathResponse, rd.Response}, {pathParams, rd.Params}, {pathOutcome, rd.Result}} {
		if len(c.text) > 0 {
			b.seal(c.path, c.text)
		}
	}
	if len(rd.InputRaw) > 0 {
		b.seal("/input_hash", hashJSON(rd.InputRaw))
	}
	if len(rd.OutputRaw) > 0 {
		b.seal("/output_hash", hashJSON(rd.OutputRaw))
	}
}

func hashJSON(raw []byte) []byte {
	sum := sha256.Sum256(raw)
	text := make([]byte, 0, len(`"sha256:"`)+2*len(sum))
	return append(hex.AppendEncode(append(text, `"sha256:`...), sum[:]), '"')
}
