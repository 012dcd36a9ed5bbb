// Package dialect reads what instrumented SDKs mean: which attribute of an
// OpenTelemetry span or log record holds the model, the tokens, the messages,
// the tool, the user. SDKs disagree about all of it, and the same SDK from one
// version to the next, so that what they mean is data: dialects.yaml, which is
// embedded. This package is the engine that reads it, and the rules that hold
// for all dialects. It is pure: what it returns follows from the table and the
// span alone. The source of the table is otlp.md, section 3.
//
// It does not keep anything: raw attributes are the caller's to store.
//
// # The table
//
//	version: 1
//	providers, finish_reasons, decisions: {ours: [theirs, …]}   compared in lower case
//	redacted: [text that stands for content that was not sent]
//	embedding_models: [parts of the names of embedding models]
//	first_token_events: [names of span events]
//	families: {prefix: {}}       attributes prefix.N.rest hold the N-th message
//	common: {kind, fields}       for all spans, after the dialect's own
//	dialects: [entry, …]         the first that matches a span reads it
//
// An entry:
//
//	name:   unique
//	match:  [{scope: prefix of the scope's name, exact: bool, from, below: versions
//	        of the scope, has: [attribute keys]}]
//	        one of them must hold; of has, one key must be there
//	like:   another entry: its fields, kind rules and settings hold where this
//	        entry has none of its own
//	then:   entries whose fields and kind rules are tried after these
//	kind:   rules for the step kind, the first that speaks wins:
//	        {key: source, is: {value: kind}} | {key: source, ends: {suffix: kind}}
//	        | {kind: kind}, each with when: [conditions]
//	fields: {field: [source, …]}, the first that says something wins
//	input_excludes_cached: [[conditions], …]   input tokens lack cached and
//	        written ones where one of the lists holds
//	estimated: [[conditions], …]   tokens may be the SDK's own estimate there
//	zero_when_absent: [cached, cache_write, reasoning]   the SDK leaves out zeros
//	finish_from_calls: bool      "stop" of an answer with tool calls is tool_calls
//
// A source is an attribute key, key@path for a value inside its JSON (keys and
// indexes with dots between them), $name for the span's name, or an object
// {key, as, prefix, when} or {family, when}. as is one of cut-dot (what stands
// before the first dot), cut-slash, after-slash, seconds, ms (to microseconds),
// iso-since-start (a time, to microseconds since the start), json-sum (the sum
// of the members of a JSON object whose names begin with prefix), nonzero (0
// says that it is not known). A condition is "key" (it is there), "key=value",
// "key^=prefix" or "key*=part", with "!" in front for not; all must hold.
//
// # Rules for all dialects
//
// Absent is never 0, except where zero_when_absent says so. Input contains
// cached and written tokens: input < cached + written proves that they are to
// be added. A step failed if its status is an error, if it has error.type or
// an exception event, if its dialect says so, or if it finished with "error".
// The error type is error.type, else an HTTP status of 400 and more, else the
// type of the first exception. Tokens and costs are those of model calls and
// embeddings; what agents repeat of them is left out. The vectors of
// embeddings stay in the attributes.
//
// # Messages
//
// Prompt and Response are JSON arrays of
//
//	{"role", "content"[, "tool_calls": [{"id", "name", "arguments"}]]
//	 [, "tool_call_id"][, "name"][, "finish_reason"]}
//
// content is a string where it is text, null where there is none, else what
// the SDK sent; arguments is the JSON value, also where the SDK sent it as
// text. Instructions are a message of role system in front. Each tool result is
// a message of role tool. Where JSON is cut off (SDKs limit the length of
// attributes), the messages before the cut are kept and the step is flagged
// attrs_truncated.
//
// InputRaw and OutputRaw, which are hashed, are the bytes of the attribute;
// where several make one content, their bytes with a line feed between them.
//
// # The project's own attributes
//
// They may stand on spans, span events and log records; those of the first
// group on resources, too, for all that the resource sends.
//
//	runledger.run_id           the producer's own id of the run: an alias
//	runledger.user_id          who acted
//	runledger.subject          whom the content is about, for erasure
//	runledger.conversation_id
//	runledger.agent_id, runledger.agent_name
//	runledger.correlation_id
//	runledger.synthetic        bool
//	runledger.scenario_id      implies synthetic
//	runledger.source           API, SDK, SYSTEM, SYNTHETIC, WORKER
//	runledger.executor         human, agent, LLM
//
//	runledger.policy_id, runledger.policy_ids    text or array of texts
//	runledger.rule_id
//	runledger.decision         ALLOWED, DENIED, PASSED, WARNED, BLOCKED, BREACHED, or a synonym
//	runledger.reason
//	runledger.limit_id, runledger.limit_value, runledger.observed_value, runledger.limit_unit
//	runledger.incident_id, runledger.incident_ids
//	runledger.override         bool
//	runledger.override_reason, runledger.override_from, runledger.override_until
//	                           (also override.reason and so on); times in RFC 3339
//	                           or as integers since 1970
//	runledger.event_type, runledger.entity_type, runledger.entity_id
//
// The second group makes facts ([Governance]) of the carrier: a limit_id,
// limit_value or observed_value makes LimitChecked, or LimitBreached where the
// decision is BREACHED, BLOCKED or DENIED or, without a decision, the observed
// value is above the limit; else a policy, rule or decision makes
// PolicyEvaluated; an override makes LimitOverrideGranted besides; an incident
// alone makes IncidentReported. event_type and entity_type replace these names
// (events and entity types that are the server's to write are ignored). Facts are also
// made of guardrail spans (PolicyEvaluated) and of gen_ai.evaluation.result
// (EvaluationRecorded of a SIGNAL; a failed evaluation is WARNED, because it
// stops nothing).
package dialect
