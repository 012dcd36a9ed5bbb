package dialect

// Opt is an integer that may be absent. Absent is never 0.
type Opt struct {
	V  int64
	OK bool
}

// Some returns an Opt that is there.
func Some(v int64) Opt { return Opt{v, true} }

// Reading is what a dialect makes of one span: the meaning of its
// attributes in our terms. What an SDK did not say is zero.
type Reading struct {
	Dialect string // the column of the table that spoke first, "" for none

	Kind string // step_kind of fields.md
	// Name is what the step is called: tool, agent or guardrail, else the
	// span's name.
	Name string

	Provider     string // normalised, lower case: openai, anthropic, aws.bedrock …
	RequestModel string
	// Model is the model as the provider answered. It is empty where a dialect
	// names only the one that was asked for, and must not be filled from it.
	Model        string
	Operation    string
	FinishReason string // normalised: stop, length, tool_calls, content_filter, error …; else theirs in lower case
	ResponseID   string

	// Tokens of a model call or embedding, Input with cached and written ones,
	// Output with reasoning ones. Other kinds have none: agents repeat them.
	Input, Output, Cached, CacheWrite, Reasoning Opt
	CostNanos                                    Opt // US dollars * 1e9, only as the producer states it
	FirstTokenUS                                 Opt

	Failed    bool
	ErrorType string // outcome_code: error.type, else an HTTP status, else an exception's type
	ErrorText string

	AgentID, AgentName string
	ToolCallID         string
	Params, Result     []byte // JSON text: tool arguments and result; nil for none
	// Prompt and Response of model calls and agents are message lists (see the
	// package comment), JSON text; nil where the SDK sent none. Some SDKs send
	// the messages as log records: see Hints.Prompt and [Join].
	Prompt, Response []byte
	// InputRaw and OutputRaw are the raw bytes of the attributes that
	// Prompt or Params, and Response or Result, came from.
	InputRaw, OutputRaw []byte

	User, Subject string // user.id and the like; runledger.subject
	Hints         Hints
	Flags         []string // honesty flags of this step, sorted; see the constants
	Governance    []Governance
	PolicyIDs     []string
	IncidentIDs   []string
}

// Hints is what a span or event says about its run and no public field of
// its record holds.
type Hints struct {
	RunAlias     string // the producer's own run id
	Conversation string
	AgentName    string
	Source       string // of llm_run: API, SDK, SYSTEM, SYNTHETIC, WORKER; "" for the default
	// Prompt and Response are message lists, JSON text, of log events that
	// carry the content of a model call: often one message each, to be joined
	// in the order of arrival by [Join], after the messages of the step where
	// that has none but the system's. For spans they are nil: the step has them.
	Prompt, Response []byte
	Synthetic        bool
	ScenarioID       string
	CorrelationID    string
	Executor         string // human, agent or LLM where the producer says so
}

// Governance is a governance fact: it becomes an audit entry of the run.
type Governance struct {
	Event      string // PolicyEvaluated, LimitChecked, LimitBreached, LimitOverrideGranted …
	EntityType string // POLICY_RULE, LIMIT, INCIDENT …
	EntityID   string
	Decision   string // of the contract's enumeration, "" for none
	PolicyID, RuleID,
	LimitID, LimitValue, ObservedValue, LimitUnit string // values are decimal strings
	IncidentID string
	Reason     string
	ValidFrom  int64 // microseconds since 1970, 0 for none
	ValidUntil int64
	// Fields of the reading's own span or log that have no place above stay in
	// its /attrs.
}

// Honesty flags (completeness[] of the run, flags[] of the step).
const (
	FlagRootMissing     = "root_missing"
	FlagTokensUnknown   = "tokens_unknown"
	FlagTokensEstimated = "tokens_maybe_estimated"
	FlagCachedUnknown   = "cached_tokens_unknown"
	FlagReasoning       = "reasoning_tokens_unknown"
	FlagAttrsDropped    = "attrs_dropped"
	FlagAttrsTruncated  = "attrs_truncated"
	FlagCostUnknown     = "cost_unknown"
	FlagTimeReversed    = "time_reversed" // the span ended before it began
	FlagClockSkew       = "clock_skew"    // its times are far from the server's
)
