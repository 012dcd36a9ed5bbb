package facade

import "github.com/runledger/runledger/answer"

// step shows a step of the page. The events of a span are those of the step
// that came first, not of those that contradict it.
func (b *traceBuilder) step(rec record) answer.Step {
	s := stepOf(rec)
	if parent, ok := b.indexes[spanOf(rec, "parent_span_id")]; ok && s.ParentSpanID != nil {
		s.ParentStepIndex = &parent
	}
	if s.ConflictOf != nil || s.SpanID == nil {
		return s
	}
	for _, e := range b.bySpan[spanOf(rec, "span_id")] {
		s.Events = append(s.Events, eventOf(e))
	}
	s.EventsTruncated = b.spanMore
	return s
}

func stepOf(rec record) answer.Step {
	s := answer.Step{
		StepIndex:       rec.number("step_index"),
		Timestamp:       rec.Leaf.OccurredAt,
		SkillID:         rec.text("skill_id"),
		SkillName:       rec.text("skill_name"),
		Kind:            rec.text("step_kind"),
		Params:          rec.content("/params"),
		Prompt:          rec.content("/prompt"),
		Response:        rec.content("/response"),
		Status:          rec.text("status"),
		StatusMessage:   rec.content("/status_message"),
		OutcomeCategory: rec.text("outcome_category"),
		OutcomeCode:     rec.maybe("outcome_code"),
		OutcomeData:     rec.content("/outcome_data"),
		DurationMS:      milliseconds(rec.number("duration_us")),
		RetryCount:      rec.number("retry_count"),
		InputTokens:     rec.maybeNumber("input_tokens"),
		OutputTokens:    rec.maybeNumber("output_tokens"),
		InputHash:       rec.content("/input_hash"),
		OutputHash:      rec.content("/output_hash"),
		IdempotencyKey:  rec.maybe("idempotency_key"),
		ReplayBehavior:  rec.text("replay_behavior"),
		Events:          []answer.StepEvent{},
		Flags:           rec.list("flags"),
		Late:            rec.flag("late"),
		LeafIndex:       rec.Leaf.Seq,

		SpanID:            rec.maybe("span_id"),
		ParentSpanID:      rec.maybe("parent_span_id"),
		Provider:          rec.maybe("provider"),
		RequestModel:      rec.maybe("request_model"),
		Model:             rec.maybe("model"),
		Operation:         rec.maybe("operation"),
		FinishReason:      rec.maybe("finish_reason"),
		CachedInputTokens: rec.maybeNumber("cached_input_tokens"),
		ReasoningTokens:   rec.maybeNumber("reasoning_tokens"),
		ToolCallID:        rec.maybe("tool_call_id"),
		CostUSDNanos:      rec.maybeNumber("cost_usd_nanos"),
		ConflictOf:        rec.conflictOf(),
		Attrs:             rec.content("/attrs"),
		Metadata:          rec.metadata(),
	}
	if n := s.CostUSDNanos; n != nil {
		c := float64(*n) / nanosPerCent
		s.CostCents = &c
	}
	if us, ok := rec.Leaf.Int("first_token_us"); ok {
		ms := milliseconds(us)
		s.FirstTokenMS = &ms
	}
	return s
}

func eventOf(rec record) answer.StepEvent {
	return answer.StepEvent{
		EventName: rec.text("event_name"), Timestamp: rec.Leaf.OccurredAt, Severity: rec.maybe("severity"),
		Body: rec.content("/body"), Attrs: rec.content("/attrs"), ConflictOf: rec.conflictOf(),
		LeafIndex: rec.Leaf.Seq, Metadata: rec.metadata(),
	}
}
