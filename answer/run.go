package answer

import "github.com/runledger/runledger/evidence"

// RunEnvelope is LLMRunEnvelope, O1 of LLM_RUNS: the canonical record of a run,
// which is its newest revision, or what is known of one that still runs.
type RunEnvelope struct {
	RunID        string           `json:"run_id"`
	Status       string           `json:"status" enum:"SUCCEEDED,FAILED,ABORTED,TIMEOUT,RUNNING"`
	ExecutorType string           `json:"executor_type" enum:"LLM,agent,human"`
	Outcome      *string          `json:"outcome" enum:"success,failure,near_threshold,terminated" doc:"null while RUNNING"`
	Provider     *string          `json:"provider"`
	Model        *string          `json:"model"`
	InputTokens  *int64           `json:"input_tokens"`
	OutputTokens *int64           `json:"output_tokens"`
	CostCents    *int64           `json:"cost_cents" doc:"cost_usd_nanos rounded half up; null: not known, never 0"`
	StartedAt    evidence.Micros  `json:"started_at"`
	CompletedAt  *evidence.Micros `json:"completed_at"`

	TraceID               *string          `json:"trace_id"`
	Source                string           `json:"source" enum:"API,SDK,SYSTEM,SYNTHETIC,WORKER"`
	IsSynthetic           bool             `json:"is_synthetic"`
	SyntheticScenarioID   *string          `json:"synthetic_scenario_id"`
	Prompt                Content          `json:"prompt"`
	Response              Content          `json:"response"`
	PromptHash            *string          `json:"prompt_hash" doc:"the commitment to the prompt, or the producer's own hash where content may be read"`
	ResponseHash          *string          `json:"response_hash"`
	CostUSDNanos          *int64           `json:"cost_usd_nanos"`
	Models                []string         `json:"models"`
	Completeness          []string         `json:"completeness" doc:"flags: what is not known of the run"`
	Revision              int64            `json:"revision" doc:"0 while RUNNING"`
	Revisions             []Revision       `json:"revisions" doc:"all revisions, oldest first"`
	CachedInputTokens     *int64           `json:"cached_input_tokens"`
	CacheWriteInputTokens *int64           `json:"cache_write_input_tokens"`
	ReasoningTokens       *int64           `json:"reasoning_tokens"`
	ConversationID        *string          `json:"conversation_id"`
	AgentName             *string          `json:"agent_name"`
	RunAlias              *string          `json:"run_alias" doc:"the producer's own id of the run"`
	InflectionAt          *evidence.Micros `json:"inflection_at"`
	InflectionStepIndex   *int64           `json:"inflection_step_index"`
	InflectionKind        *string          `json:"inflection_kind" enum:"failure,denial,breach"`
	InflectionReason      Content          `json:"inflection_reason"`
	StepCount             int64            `json:"step_count"`
	RecordCount           int64            `json:"record_count" doc:"records of this run in the log, up to and with this revision"`
	SealedBy              *string          `json:"sealed_by" doc:"root_span, quiet, completion or timeout; null while RUNNING"`

	Metadata evidence.Metadata `json:"metadata"`
}

// Revision is one llm_run record of a run.
type Revision struct {
	Revision    int64             `json:"revision"`
	Status      string            `json:"status"`
	Outcome     *string           `json:"outcome"`
	RecordCount int64             `json:"record_count"`
	SealedBy    *string           `json:"sealed_by"`
	Conflict    bool              `json:"conflict" doc:"it contradicts another record of the same revision and counts in no total"`
	Metadata    evidence.Metadata `json:"metadata"`
}

// RunTrace is LLMRunTrace, O2: how a run executed.
type RunTrace struct {
	RunID           string  `json:"run_id"`
	Steps           []Step  `json:"steps" doc:"by time, ties by leaf index"`
	TotalSteps      int64   `json:"total_steps" doc:"of the whole run, whatever the page"`
	TotalDurationMS float64 `json:"total_duration_ms" doc:"from the first start to the last end of a step"`
	TotalTokens     *int64  `json:"total_tokens" doc:"input and output; null: not known"`

	TraceID         *string          `json:"trace_id"`
	Plan            Content          `json:"plan"`
	Seed            *string          `json:"seed"`
	FrozenTimestamp *evidence.Micros `json:"frozen_timestamp"`
	RootHash        Content          `json:"root_hash"`
	PlanHash        Content          `json:"plan_hash"`
	SchemaVersion   *string          `json:"schema_version"`
	Events          []StepEvent      `json:"events" doc:"of the run that belong to none of its steps; on the first page"`
	EventsTruncated bool             `json:"events_truncated" doc:"there may be more such events than are shown"`

	HasMore    bool              `json:"has_more"`
	NextCursor *string           `json:"next_cursor"`
	Metadata   evidence.Metadata `json:"metadata"`
}

// Step is one step of a run.
type Step struct {
	StepIndex       int64           `json:"step_index"`
	Timestamp       evidence.Micros `json:"timestamp"`
	SkillID         string          `json:"skill_id"`
	SkillName       string          `json:"skill_name"`
	Kind            string          `json:"kind" enum:"llm,tool,agent,retrieval,embedding,guardrail,evaluation,other"`
	ParentStepIndex *int64          `json:"parent_step_index"`
	Params          Content         `json:"params"`
	Prompt          Content         `json:"prompt"`
	Response        Content         `json:"response"`
	Status          string          `json:"status" enum:"success,failure,retry,skipped"`
	StatusMessage   Content         `json:"status_message"`
	OutcomeCategory string          `json:"outcome_category"`
	OutcomeCode     *string         `json:"outcome_code"`
	OutcomeData     Content         `json:"outcome_data"`
	CostCents       *float64        `json:"cost_cents" doc:"null: not known"`
	DurationMS      float64         `json:"duration_ms"`
	RetryCount      int64           `json:"retry_count"`
	InputTokens     *int64          `json:"input_tokens"`
	OutputTokens    *int64          `json:"output_tokens"`
	InputHash       Content         `json:"input_hash"`
	OutputHash      Content         `json:"output_hash"`
	IdempotencyKey  *string         `json:"idempotency_key"`
	ReplayBehavior  string          `json:"replay_behavior" enum:"execute,skip,check"`
	Events          []StepEvent     `json:"events"`
	EventsTruncated bool            `json:"events_truncated" doc:"it has more events than are shown"`
	Flags           []string        `json:"flags"`
	Late            bool            `json:"late" doc:"it came after the run had ended"`
	LeafIndex       int64           `json:"leaf_index"`

	SpanID            *string           `json:"span_id"`
	ParentSpanID      *string           `json:"parent_span_id"`
	Provider          *string           `json:"provider"`
	RequestModel      *string           `json:"request_model"`
	Model             *string           `json:"model"`
	Operation         *string           `json:"operation"`
	FinishReason      *string           `json:"finish_reason"`
	CachedInputTokens *int64            `json:"cached_input_tokens"`
	ReasoningTokens   *int64            `json:"reasoning_tokens"`
	FirstTokenMS      *float64          `json:"first_token_ms"`
	ToolCallID        *string           `json:"tool_call_id"`
	CostUSDNanos      *int64            `json:"cost_usd_nanos"`
	ConflictOf        *string           `json:"conflict_of" doc:"id of the record that this one contradicts; it then counts in no total"`
	Attrs             Content           `json:"attrs" doc:"what the producer sent: a list of [key, type, value]"`
	Metadata          evidence.Metadata `json:"metadata"`
}

// StepEvent is a trace_event record of a span.
type StepEvent struct {
	EventName  string            `json:"event_name"`
	Timestamp  evidence.Micros   `json:"timestamp"`
	Severity   *string           `json:"severity"`
	Body       Content           `json:"body"`
	Attrs      Content           `json:"attrs"`
	ConflictOf *string           `json:"conflict_of" doc:"id of the record that this one contradicts"`
	LeafIndex  int64             `json:"leaf_index"`
	Metadata   evidence.Metadata `json:"metadata"`
}

// RunGovernance is LLMRunGovernance, O3: how policy and thresholds acted on a
// run.
type RunGovernance struct {
	RunID             string             `json:"run_id"`
	ThresholdChecks   []ThresholdCheck   `json:"threshold_checks"`
	PolicyEvaluations []PolicyEvaluation `json:"policy_evaluations"`
	Overrides         []Override         `json:"overrides"`
	HasMore           bool               `json:"has_more"`
	NextCursor        *string            `json:"next_cursor"`
	Metadata          evidence.Metadata  `json:"metadata"`
}

// ThresholdCheck is an audit entry about a LIMIT.
type ThresholdCheck struct {
	Timestamp     evidence.Micros   `json:"timestamp"`
	EventType     string            `json:"event_type"`
	LimitID       *string           `json:"limit_id"`
	LimitValue    *string           `json:"limit_value" doc:"decimal"`
	ObservedValue *string           `json:"observed_value" doc:"decimal"`
	LimitUnit     *string           `json:"limit_unit"`
	Decision      *string           `json:"decision"`
	Reason        Content           `json:"reason"`
	ConflictOf    *string           `json:"conflict_of" doc:"id of the record that this one contradicts"`
	LeafIndex     int64             `json:"leaf_index"`
	Metadata      evidence.Metadata `json:"metadata"`
}

// PolicyEvaluation is an audit entry about a policy rule, guardrail or
// evaluation.
type PolicyEvaluation struct {
	Timestamp  evidence.Micros   `json:"timestamp"`
	EventType  string            `json:"event_type"`
	EntityType string            `json:"entity_type"`
	EntityID   string            `json:"entity_id"`
	PolicyID   *string           `json:"policy_id"`
	RuleID     *string           `json:"rule_id"`
	Decision   *string           `json:"decision"`
	Reason     Content           `json:"reason"`
	ConflictOf *string           `json:"conflict_of" doc:"id of the record that this one contradicts"`
	LeafIndex  int64             `json:"leaf_index"`
	Metadata   evidence.Metadata `json:"metadata"`
}

// Override is an audit entry by which somebody set a rule or limit aside.
type Override struct {
	Timestamp  evidence.Micros   `json:"timestamp"`
	EventType  string            `json:"event_type"`
	EntityType string            `json:"entity_type"`
	EntityID   string            `json:"entity_id"`
	LimitID    *string           `json:"limit_id"`
	Who        *string           `json:"who" doc:"the acting actor; null where a person acted and may not be shown"`
	ActorType  string            `json:"actor_type"`
	Why        Content           `json:"why"`
	From       *evidence.Micros  `json:"from"`
	Until      *evidence.Micros  `json:"until"`
	ConflictOf *string           `json:"conflict_of" doc:"id of the record that this one contradicts"`
	LeafIndex  int64             `json:"leaf_index"`
	Metadata   evidence.Metadata `json:"metadata"`
}

// ReplayWindow is O4 of LLM_RUNS and, with system events only, of SYSTEM_LOGS:
// what happened around a moment. It is a query over existing records, never a
// stored data set (INV-LOG-REPLAY-001).
type ReplayWindow struct {
	RunID           string            `json:"run_id"`
	CenterTimestamp evidence.Micros   `json:"center_timestamp"`
	CenterSource    string            `json:"center_source" enum:"request,inflection_at,completed_at,started_at"`
	WindowStart     evidence.Micros   `json:"window_start"`
	WindowEnd       evidence.Micros   `json:"window_end"`
	LLMEvents       []ReplayEvent     `json:"llm_events"`
	SystemEvents    []ReplayEvent     `json:"system_events"`
	PolicyEvents    []ReplayEvent     `json:"policy_events"`
	HasMore         bool              `json:"has_more"`
	NextCursor      *string           `json:"next_cursor"`
	Metadata        evidence.Metadata `json:"metadata"`
}

// ReplayEvent is one event of a window. Both ends of the window belong to it.
type ReplayEvent struct {
	Source     string            `json:"source" doc:"llm, system or policy"`
	Timestamp  evidence.Micros   `json:"timestamp"`
	OffsetMS   float64           `json:"offset_ms" doc:"from the center, negative before it"`
	StepIndex  *int64            `json:"step_index"`
	Action     string            `json:"action" doc:"kind and name of a step, or the event type"`
	Outcome    string            `json:"outcome" doc:"status of a step, severity of a system event, decision of a policy event; may be empty"`
	ConflictOf *string           `json:"conflict_of" doc:"id of the record that this one contradicts"`
	LeafIndex  int64             `json:"leaf_index"`
	Metadata   evidence.Metadata `json:"metadata"`
}
