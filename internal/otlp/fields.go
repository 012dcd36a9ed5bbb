package otlp

import "github.com/runledger/runledger/evidence"

// common are the public fields that all kinds have, looked up once.
type common struct {
	kind                                      evidence.Kind
	actorType, agentID, systemID, correlation *evidence.Field
	policyIDs, incidentIDs, domain, component *evidence.Field
	origin, synthetic, scenario               *evidence.Field
	traceID, spanID                           *evidence.Field // nil where the kind has none
}

func commonOf(k evidence.Kind) common {
	f := func(name string) *evidence.Field { return evidence.PublicField(k, name) }
	return common{
		kind:      k,
		actorType: f("actor_type"), agentID: f("agent_id"), systemID: f("system_id"), correlation: f("correlation_id"),
		policyIDs: f("policy_ids"), incidentIDs: f("incident_ids"), domain: f("source_domain"), component: f("source_component"),
		origin: f("origin"), synthetic: f("is_synthetic"), scenario: f("synthetic_scenario_id"),
		traceID: f("trace_id"), spanID: f("span_id"),
	}
}

// stepFields are the public fields of steps that spans fill.
type stepFields struct {
	common
	parent, stepKind, skillID, skillName, status, category, code   *evidence.Field
	duration, retries, replay, flags, provider, requestModel       *evidence.Field
	model, operation, input, output, cached, cacheWrite, reasoning *evidence.Field
	cost, finish, firstToken, toolCall                             *evidence.Field
}

func fieldsOfSteps() stepFields {
	f := func(name string) *evidence.Field { return evidence.PublicField(evidence.KindTraceStep, name) }
	return stepFields{
		common: commonOf(evidence.KindTraceStep),
		parent: f("parent_span_id"), stepKind: f("step_kind"), skillID: f("skill_id"), skillName: f("skill_name"),
		status: f("status"), category: f("outcome_category"), code: f("outcome_code"), duration: f("duration_us"),
		retries: f("retry_count"), replay: f("replay_behavior"), flags: f("flags"), provider: f("provider"),
		requestModel: f("request_model"), model: f("model"), operation: f("operation"), input: f("input_tokens"),
		output: f("output_tokens"), cached: f("cached_input_tokens"), cacheWrite: f("cache_write_input_tokens"),
		reasoning: f("reasoning_tokens"), cost: f("cost_usd_nanos"), finish: f("finish_reason"),
		firstToken: f("first_token_us"), toolCall: f("tool_call_id"),
	}
}

// eventFields are the public fields of trace events.
type eventFields struct {
	common
	name, severity *evidence.Field
}

func fieldsOfEvents() eventFields {
	k := evidence.KindTraceEvent
	return eventFields{commonOf(k), evidence.PublicField(k, "event_name"), evidence.PublicField(k, "severity")}
}

// Looked up once, never changed.
var (
	stepTable  = fieldsOfSteps()
	eventTable = fieldsOfEvents()
)

// Said lists: what decides whether a record is the same as a stored one.
var (
	// A status message is in /attrs; /status_message may be the dialect's reading.
	saidByStep  = []string{"/attrs", "duration_us", "occurred_at", "parent_span_id", "span_id", "trace_id"}
	saidByEvent = []string{"/attrs", "/body", "event_name", "occurred_at", "span_id", "trace_id"}
	saidByTrace = []string{"trace_id"}
	saidNothing = []string{}
)
