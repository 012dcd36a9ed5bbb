package client

import (
	"encoding/json"
	"time"
)

// Record is something that can be appended: one of the types below, or [Raw].
// What their fields mean is in fields.md and in the schema that the server serves
// at /schemas/record.json. Times keep their microseconds; a zero time, number or
// text is not sent, and neither is a nil pointer or value: what is not known stays
// unknown. For an integer that may be absent, new(int64(12)) makes the pointer.
//
// Fields marked "sealed" are encrypted at rest, and the log holds only a
// commitment to them. Where their type is any, it may be whatever encoding/json
// can write; a json.RawMessage is kept to the byte.
type Record interface {
	// kind is the record's kind, empty for Raw.
	kind() string
}

// Raw is a native record as JSON text. It is sent to the byte, but for an id
// where it needs one and has none.
type Raw json.RawMessage

// Common is what records of all kinds may say.
type Common struct {
	// ID is a UUID in lower case. Leave it empty and the client makes one,
	// except where the record has a natural key (Step with a SpanID, Trace, Run):
	// there the id follows from the key.
	ID string `native:"id"`
	// OccurredAt is when it happened: for a Step, Trace or Run its start.
	// Default: now.
	OccurredAt    time.Time `native:"occurred_at"`
	RunID         string    `native:"run_id"`
	CorrelationID string    `native:"correlation_id"`
	// HumanActorID, AgentID and SystemID say who acted: the first that is there,
	// in this order.
	HumanActorID string   `native:"human_actor_id"` // sealed
	AgentID      string   `native:"agent_id"`
	SystemID     string   `native:"system_id"`
	PolicyIDs    []string `native:"policy_ids"`
	IncidentIDs  []string `native:"incident_ids"`
	// SourceDomain is ACTIVITY, POLICY, INCIDENTS, LOGS or SYSTEM. Default:
	// SYSTEM for a System, POLICY for an Audit, else ACTIVITY.
	SourceDomain string `native:"source_domain"`
	// SourceComponent is the producer. Default: [Config].Component.
	SourceComponent string `native:"source_component"`
	// Origin is MIGRATION or REPLAY where the record is no first hand one.
	Origin      string `native:"origin"`
	IsSynthetic bool   `native:"is_synthetic"`
	ScenarioID  string `native:"synthetic_scenario_id"`
	ProducerSeq *int64 `native:"producer_seq"`
	Subject     string `native:"subject"` // sealed: the person whose data this is
	Attrs       []Attr `native:"attrs"`   // sealed
}

// Attr is one attribute in the form that OpenTelemetry ones are kept in.
type Attr struct {
	Key  string
	Type string // string, bool, int, double, bytes, array, kvlist
	// Value is the value; of an int and of a double that JSON has no number for
	// it is the text, of bytes base64.
	Value any
}

// MarshalJSON writes [key, type, value].
func (a Attr) MarshalJSON() ([]byte, error) { return marshal([]any{a.Key, a.Type, a.Value}) }

// Tokens is the use of a model. Input includes cached and written tokens, Output
// reasoning ones.
type Tokens struct {
	Provider    string `native:"provider"`
	Model       string `native:"model"`
	Input       *int64 `native:"input_tokens"`
	Output      *int64 `native:"output_tokens"`
	CachedInput *int64 `native:"cached_input_tokens"`
	CacheWrite  *int64 `native:"cache_write_input_tokens"`
	Reasoning   *int64 `native:"reasoning_tokens"`
	CostNanos   *int64 `native:"cost_usd_nanos"` // US dollars * 1e9
}

// Step is one step of a run (trace_step). RunID, TraceID, Name, Kind and Status
// are required.
type Step struct {
	Common
	Tokens
	TraceID        string        `native:"trace_id"` // 32 lower-case hex digits
	SpanID         string        `native:"span_id"`  // 16 lower-case hex digits
	ParentSpanID   string        `native:"parent_span_id"`
	Kind           string        `native:"step_kind"` // llm, tool, agent, retrieval, embedding, guardrail, evaluation, other
	Name           string        `native:"skill_name"`
	SkillID        string        `native:"skill_id"` // default: Kind
	Status         string        `native:"status"`   // success, failure, retry, skipped
	Outcome        string        `native:"outcome_category"`
	OutcomeCode    string        `native:"outcome_code"`
	Duration       time.Duration `native:"duration_us"`
	Retries        *int64        `native:"retry_count"`
	RequestModel   string        `native:"request_model"`
	Operation      string        `native:"operation"`
	FinishReason   string        `native:"finish_reason"`
	FirstToken     time.Duration `native:"first_token_us"` // from the start
	ToolCallID     string        `native:"tool_call_id"`
	ReplayBehavior string        `native:"replay_behavior"` // execute, skip, check
	IdempotencyKey string        `native:"idempotency_key"`
	Flags          []string      `native:"flags"`
	Params         any           `native:"params"`           // sealed
	Result         any           `native:"outcome_data"`     // sealed
	Prompt         any           `native:"prompt"`           // sealed
	Response       any           `native:"response"`         // sealed
	InputHash      any           `native:"input_hash"`       // sealed
	OutputHash     any           `native:"output_hash"`      // sealed
	StatusMessage  any           `native:"status_message"`   // sealed
	RNGState       any           `native:"rng_state_before"` // sealed
}

// Event is something that happened within a trace (trace_event). Name is
// required.
type Event struct {
	Common
	TraceID  string `native:"trace_id"`
	SpanID   string `native:"span_id"`
	Name     string `native:"event_name"`
	Severity string `native:"severity"`
	Body     any    `native:"body"` // sealed
}

// Trace is the beginning of a trace (trace). RunID and TraceID are required.
type Trace struct {
	Common
	TraceID         string    `native:"trace_id"`
	PlanID          string    `native:"plan_id"`
	Seed            string    `native:"seed"` // a decimal integer of any size
	FrozenTimestamp time.Time `native:"frozen_timestamp"`
	SchemaVersion   string    `native:"schema_version"`
	ServiceName     string    `native:"service_name"`
	RunAlias        string    `native:"run_alias"`
	Plan            any       `native:"plan"`      // sealed
	RootHash        any       `native:"root_hash"` // sealed
	PlanHash        any       `native:"plan_hash"` // sealed
}

// Run is the explicit completion of a run (llm_run). RunID and Status are
// required; OccurredAt is the run's start.
type Run struct {
	Common
	Tokens
	Revision        *int64    `native:"revision"` // default 1
	TraceID         string    `native:"trace_id"`
	RunAlias        string    `native:"run_alias"`
	Status          string    `native:"execution_status"` // SUCCEEDED, FAILED, ABORTED, TIMEOUT
	ExecutorType    string    `native:"executor_type"`    // LLM, agent, human
	Outcome         string    `native:"outcome"`          // success, failure, near_threshold, terminated
	Models          []string  `native:"models"`
	CompletedAt     time.Time `native:"completed_at"`
	Source          string    `native:"source"` // API, SDK, SYSTEM, SYNTHETIC, WORKER
	ConversationID  string    `native:"conversation_id"`
	AgentName       string    `native:"agent_name"`
	InflectionAt    time.Time `native:"inflection_at"`
	InflectionStep  *int64    `native:"inflection_step_index"`
	InflectionKind  string    `native:"inflection_kind"` // failure, denial, breach
	Completeness    []string  `native:"completeness"`
	Prompt          any       `native:"prompt"`            // sealed
	Response        any       `native:"response"`          // sealed
	PromptHash      any       `native:"prompt_hash"`       // sealed
	ResponseHash    any       `native:"response_hash"`     // sealed
	InflectionCause any       `native:"inflection_reason"` // sealed
}

// System is something that the environment did (system). Component, EventType,
// Severity and Summary are required.
type System struct {
	Common
	Component    string `native:"component"`
	EventType    string `native:"event_type"` // STARTUP, SHUTDOWN, RESTART, DEPLOY, CONFIG_CHANGE, ERROR …
	Severity     string `native:"severity"`   // INFO, WARN, CRITICAL
	CausedBy     string `native:"caused_by"`  // SYSTEM, HUMAN, AUTOMATION
	Visibility   string `native:"visibility"` // tenant, shared
	Version      string `native:"version"`
	ConfigDigest string `native:"config_digest"`
	Summary      any    `native:"summary"` // sealed
	Details      any    `native:"details"` // sealed
}

// Audit is a decision, or another act of governance (audit). EventType,
// EntityType and EntityID are required; the type of the actor follows from
// HumanActorID and AgentID.
type Audit struct {
	Common
	EventType     string    `native:"event_type"`  // PolicyEvaluated, LimitChecked, LimitBreached …
	EntityType    string    `native:"entity_type"` // POLICY_RULE, LIMIT, INCIDENT …
	EntityID      string    `native:"entity_id"`
	AboutRun      string    `native:"about_run"`
	PolicyID      string    `native:"policy_id"`
	RuleID        string    `native:"rule_id"`
	Decision      string    `native:"decision"` // ALLOWED, DENIED, PASSED, WARNED, BLOCKED, BREACHED
	LimitID       string    `native:"limit_id"`
	LimitValue    string    `native:"limit_value"`    // a decimal number
	ObservedValue string    `native:"observed_value"` // a decimal number
	LimitUnit     string    `native:"limit_unit"`
	ValidFrom     time.Time `native:"valid_from"`
	ValidUntil    time.Time `native:"valid_until"`
	Route         string    `native:"route"`
	StatusCode    *int64    `native:"status_code"`
	ByteCount     *int64    `native:"byte_count"`
	CredentialID  string    `native:"credential_id"`
	Roles         []string  `native:"roles"`
	ActionReason  any       `native:"action_reason"` // sealed
	BeforeState   any       `native:"before_state"`  // sealed
	AfterState    any       `native:"after_state"`   // sealed
	ViewDigest    any       `native:"view_digest"`   // sealed
	Client        any       `native:"client"`        // sealed
	Query         any       `native:"query"`         // sealed
	Targets       any       `native:"targets"`       // sealed
}

func (Raw) kind() string    { return "" }
func (Step) kind() string   { return "trace_step" }
func (Event) kind() string  { return "trace_event" }
func (Trace) kind() string  { return "trace" }
func (Run) kind() string    { return "llm_run" }
func (System) kind() string { return "system" }
func (Audit) kind() string  { return "audit" }
