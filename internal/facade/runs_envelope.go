package facade

import (
	"context"
	"fmt"
	"slices"

	"github.com/runledger/runledger/answer"
	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/store"
)

const statusRunning = "RUNNING"

// Envelope answers O1 of LLM_RUNS: the newest revision of a run with all its
// revisions, or what is known of a run whose end has not been seen.
func (f *Facade) Envelope(ctx context.Context, r Reader, run string) (*answer.RunEnvelope, error) {
	t, err := f.run(ctx, r, run)
	if err != nil {
		return nil, err
	}
	if t.newest == nil {
		e := f.liveEnvelope(r, t.state, t.live)
		return &e, nil
	}
	all, err := f.revisions(ctx, r, t.id)
	if err != nil {
		return nil, err
	}
	newest := slices.IndexFunc(all, func(rec record) bool { return rec.Position == t.newest.Position })
	if newest < 0 {
		return nil, fmt.Errorf("run %s: %w: its newest record is not among its records", t.id, evidence.ErrTampered)
	}
	e := envelopeOf(all[newest])
	e.Revisions = []answer.Revision{}
	for _, rec := range all {
		// One that came after the look at the newest is for the next answer.
		if rec.number("revision") <= e.Revision {
			e.Revisions = append(e.Revisions, revisionOf(rec))
		}
	}
	return &e, nil
}

// revisionsAtOnce bounds one query; how many revisions a run has is bounded by
// nothing.
const revisionsAtOnce = 500

// revisions returns all llm_run records of a run, conflicts included, as they
// stand in the logs.
func (f *Facade) revisions(ctx context.Context, r Reader, run string) ([]record, error) {
	q := store.Query{Tenant: r.Tenant, Kind: evidence.KindLLMRun, Where: ofRun(run), Limit: revisionsAtOnce}
	var found []store.Found
	for {
		some, err := f.cfg.Ledger.Find(ctx, q)
		if err != nil {
			return nil, err
		}
		found = append(found, some...)
		if len(some) < q.Limit {
			break
		}
		q.After = &some[len(some)-1].Position
	}
	slices.Reverse(found)
	return f.fetch(ctx, r, r.Tenant, found)
}

// envelopeOf is the envelope of an llm_run record, which is itself the only one
// of its revisions.
func envelopeOf(rec record) answer.RunEnvelope {
	e := answer.RunEnvelope{
		RunID:        rec.Leaf.Run,
		Status:       rec.text("execution_status"),
		ExecutorType: rec.text("executor_type"),
		Outcome:      rec.maybe("outcome"),
		Provider:     rec.maybe("provider"),
		Model:        rec.maybe("model"),
		InputTokens:  rec.maybeNumber("input_tokens"),
		OutputTokens: rec.maybeNumber("output_tokens"),
		CostCents:    maybeCents(rec.maybeNumber("cost_usd_nanos")),
		StartedAt:    evidence.Micros(rec.number("started_at")),
		CompletedAt:  rec.maybeTime("completed_at"),

		TraceID:               rec.maybe("trace_id"),
		Source:                rec.text("source"),
		IsSynthetic:           rec.flag("is_synthetic"),
		SyntheticScenarioID:   rec.maybe("synthetic_scenario_id"),
		Prompt:                rec.content("/prompt"),
		Response:              rec.content("/response"),
		PromptHash:            rec.contentHash("/prompt"),
		ResponseHash:          rec.contentHash("/response"),
		CostUSDNanos:          rec.maybeNumber("cost_usd_nanos"),
		Models:                rec.list("models"),
		Completeness:          rec.list("completeness"),
		Revision:              rec.number("revision"),
		Revisions:             []answer.Revision{revisionOf(rec)},
		CachedInputTokens:     rec.maybeNumber("cached_input_tokens"),
		CacheWriteInputTokens: rec.maybeNumber("cache_write_input_tokens"),
		ReasoningTokens:       rec.maybeNumber("reasoning_tokens"),
		ConversationID:        rec.maybe("conversation_id"),
		AgentName:             rec.maybe("agent_name"),
		RunAlias:              rec.maybe("run_alias"),
		InflectionAt:          rec.maybeTime("inflection_at"),
		InflectionStepIndex:   rec.maybeNumber("inflection_step_index"),
		InflectionKind:        rec.maybe("inflection_kind"),
		InflectionReason:      rec.content("/inflection_reason"),
		StepCount:             rec.number("step_count"),
		RecordCount:           rec.number("record_count"),
		SealedBy:              rec.maybe("sealed_by"),

		Metadata: rec.metadata(),
	}
	return e
}

func revisionOf(rec record) answer.Revision {
	return answer.Revision{
		Revision:    rec.number("revision"),
		Status:      rec.text("execution_status"),
		Outcome:     rec.maybe("outcome"),
		RecordCount: rec.number("record_count"),
		SealedBy:    rec.maybe("sealed_by"),
		Conflict:    rec.conflictOf() != nil,
		Metadata:    rec.metadata(),
	}
}

// contentHash returns the producer's own digest of prompt or response where the
// reader may see it and there is one, else the commitment to the text.
func (r record) contentHash(path string) *string {
	if h := r.content(path + "_hash").Text(); h != "" {
		return &h
	}
	c, ok := r.Leaf.Commitment(path)
	if !ok {
		return nil
	}
	return optional(evidence.EncodeCommitment(c))
}

// liveEnvelope shows a run whose end has not been seen. No record commits to it
// yet: it has neither checksum nor place, and content, which the steps have,
// is not said to be the run's before a record says so.
func (f *Facade) liveEnvelope(r Reader, state store.RunState, live *evidence.Record) answer.RunEnvelope {
	text := func(field string) *string { return optional(live.Text(field)) }
	number := func(field string) *int64 {
		if fact, ok := live.Fact(field); ok {
			return &fact.Int
		}
		return nil
	}
	list := func(field string) []string {
		fact, _ := live.Fact(field)
		return append([]string{}, fact.List...)
	}
	e := answer.RunEnvelope{
		RunID:        live.Run,
		Status:       statusRunning,
		ExecutorType: live.Text("executor_type"),
		Provider:     text("provider"),
		Model:        text("model"),
		InputTokens:  number("input_tokens"),
		OutputTokens: number("output_tokens"),
		CostCents:    maybeCents(number("cost_usd_nanos")),
		StartedAt:    live.OccurredAt,

		TraceID:               text("trace_id"),
		Source:                live.Text("source"),
		SyntheticScenarioID:   text("synthetic_scenario_id"),
		CostUSDNanos:          number("cost_usd_nanos"),
		Models:                list("models"),
		Completeness:          list("completeness"),
		Revisions:             []answer.Revision{},
		CachedInputTokens:     number("cached_input_tokens"),
		CacheWriteInputTokens: number("cache_write_input_tokens"),
		ReasoningTokens:       number("reasoning_tokens"),
		ConversationID:        text("conversation_id"),
		AgentName:             text("agent_name"),
		RunAlias:              text("run_alias"),
		InflectionStepIndex:   number("inflection_step_index"),
		InflectionKind:        text("inflection_kind"),
		RecordCount:           state.NextN,
		Metadata:              f.liveMetadata(r, live),
	}
	fact, _ := live.Fact("is_synthetic")
	e.IsSynthetic = fact.Int != 0
	if fact, ok := live.Fact("inflection_at"); ok {
		at := evidence.Micros(fact.Int)
		e.InflectionAt = &at
	}
	if fact, ok := live.Fact("step_count"); ok {
		e.StepCount = fact.Int
	}
	if e.ExecutorType == "" {
		e.ExecutorType = "LLM"
		if live.Text("agent_id") != "" {
			e.ExecutorType = "agent"
		}
	}
	if e.Source == "" {
		e.Source = "API"
	}
	return e
}

// liveMetadata is what the metadata of the run's record would be now.
func (f *Facade) liveMetadata(r Reader, live *evidence.Record) evidence.Metadata {
	m := evidence.Metadata{
		TenantID: r.Tenant, RunID: optional(live.Run), TraceID: optional(live.Text("trace_id")),
		AgentID: optional(live.Text("agent_id")), SystemID: optional(live.Text("system_id")),
		CorrelationID: optional(live.Text("correlation_id")),
		OccurredAt:    live.OccurredAt, RecordedAt: f.now(),
		SourceDomain: live.Text("source_domain"), SourceComponent: live.Text("source_component"),
		Origin: live.Text("origin"), Timezone: "UTC", Immutable: true, HumanActorID: optional(live.HumanActor()),
	}
	for field, to := range map[string]*[]string{"policy_ids": &m.PolicyIDs, "incident_ids": &m.IncidentIDs} {
		fact, _ := live.Fact(field)
		*to = append([]string{}, fact.List...)
	}
	return m
}

func maybeCents(nanos *int64) *int64 {
	if nanos == nil {
		return nil
	}
	c := cents(*nanos)
	return &c
}
