package replay

import (
	"encoding/json"
	"strconv"

	"github.com/runledger/runledger/evidence"
)

// line writes a native record. What is empty is left out. JSON texts are put in
// as they are: what is sealed is kept byte for byte.
type line struct{ text []byte }

func newLine(kind evidence.Kind) *line {
	l := &line{text: []byte{'{'}}
	l.str("kind", kind.String())
	return l
}

func (l *line) name(name string) {
	if len(l.text) > 1 {
		l.text = append(l.text, ',')
	}
	l.text = append(append(l.text, evidence.QuoteJSON(name)...), ':')
}

func (l *line) str(name, value string) {
	if value != "" {
		l.name(name)
		l.text = append(l.text, evidence.QuoteJSON(value)...)
	}
}

func (l *line) num(name string, value *int64) {
	if value != nil {
		l.name(name)
		l.text = strconv.AppendInt(l.text, *value, 10)
	}
}

func (l *line) flag(name string, value bool) {
	if value {
		l.name(name)
		l.text = append(l.text, "true"...)
	}
}

func (l *line) list(name string, values []string) {
	if len(values) == 0 {
		return
	}
	l.name(name)
	l.text = append(l.text, '[')
	for i, v := range values {
		if i > 0 {
			l.text = append(l.text, ',')
		}
		l.text = append(l.text, evidence.QuoteJSON(v)...)
	}
	l.text = append(l.text, ']')
}

func (l *line) raw(name string, value json.RawMessage) {
	if value != nil {
		l.name(name)
		l.text = append(l.text, value...)
	}
}

// done returns the record; the line is not to be used any more.
func (l *line) done() []byte { return append(l.text, '}') }

// trace writes the trace record of a request.
func (q *TraceRequest) line() []byte {
	l := newLine(evidence.KindTrace)
	q.common(l)
	l.str("occurred_at", q.OccurredAt)
	l.str("plan_id", q.PlanID)
	l.raw("plan", q.Plan)
	l.str("seed", q.Seed)
	l.str("frozen_timestamp", q.FrozenTimestamp)
	l.str("root_hash", q.RootHash)
	l.str("plan_hash", q.PlanHash)
	l.str("schema_version", q.SchemaVersion)
	l.str("service_name", q.ServiceName)
	l.str("run_alias", q.RunAlias)
	l.num("producer_seq", q.ProducerSeq)
	l.raw("attrs", q.Attrs)
	return l.done()
}

// common writes what the trace says of its steps too.
func (q *TraceRequest) common(l *line) {
	l.str("run_id", q.RunID)
	l.str("trace_id", q.TraceID)
	l.str("human_actor_id", q.HumanActorID)
	l.str("agent_id", q.AgentID)
	l.str("system_id", q.SystemID)
	l.str("subject", q.Subject)
	l.str("correlation_id", q.CorrelationID)
	l.list("policy_ids", q.PolicyIDs)
	l.list("incident_ids", q.IncidentIDs)
	l.str("source_domain", orElse(q.SourceDomain, "ACTIVITY"))
	l.str("source_component", orElse(q.SourceComponent, "TraceStore"))
	l.str("origin", q.Origin)
	l.flag("is_synthetic", q.IsSynthetic)
	l.str("synthetic_scenario_id", q.SyntheticScenarioID)
}

func orElse(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// line writes the record of a step of a trace.
func (s *StepRequest) line(q *TraceRequest) []byte {
	l := newLine(evidence.KindTraceStep)
	q.common(l)
	for _, f := range []struct{ name, value string }{
		{"id", s.ID},
		{"occurred_at", s.OccurredAt},
		{"span_id", s.SpanID},
		{"parent_span_id", s.ParentSpanID},
		{"step_kind", s.StepKind},
		{"skill_id", s.SkillID},
		{"skill_name", s.SkillName},
		{"status", s.Status},
		{"outcome_category", s.OutcomeCategory},
		{"outcome_code", s.OutcomeCode},
		{"replay_behavior", s.ReplayBehavior},
		{"idempotency_key", s.IdempotencyKey},
		{"provider", s.Provider},
		{"request_model", s.RequestModel},
		{"model", s.Model},
		{"operation", s.Operation},
		{"finish_reason", s.FinishReason},
		{"tool_call_id", s.ToolCallID},
	} {
		l.str(f.name, f.value)
	}
	l.num("duration_us", s.DurationUS)
	l.num("retry_count", s.RetryCount)
	l.num("input_tokens", s.InputTokens)
	l.num("output_tokens", s.OutputTokens)
	l.num("cached_input_tokens", s.CachedInputTokens)
	l.num("cache_write_input_tokens", s.CacheWriteInputTokens)
	l.num("reasoning_tokens", s.ReasoningTokens)
	l.num("cost_usd_nanos", s.CostUSDNanos)
	l.num("first_token_us", s.FirstTokenUS)
	l.num("producer_seq", s.ProducerSeq)
	l.list("flags", s.Flags)
	l.raw("params", s.Params)
	l.raw("outcome_data", s.OutcomeData)
	l.raw("prompt", s.Prompt)
	l.raw("response", s.Response)
	l.raw("input_hash", s.InputHash)
	l.raw("output_hash", s.OutputHash)
	l.raw("status_message", s.StatusMessage)
	l.raw("rng_state_before", s.RNGStateBefore)
	l.raw("attrs", s.Attrs)
	return l.done()
}
