package replay

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/problem"
)

// MaxSteps is the greatest number of steps of a trace that is stored, and of a
// run that is compared.
const MaxSteps = 10_000

// TraceRequest is the body of POST /api/v1/traces: a native trace record with
// its steps. Empty fields are left out. What is said of the actor, the source
// and synthetic records holds for the steps too.
type TraceRequest struct {
	RunID           string          `json:"run_id" minLength:"1" maxLength:"128"`
	TraceID         string          `json:"trace_id" pattern:"^[0-9a-f]{32}$" doc:"32 lower-case hex digits"`
	OccurredAt      string          `json:"occurred_at" format:"date-time" doc:"when the trace began"`
	PlanID          string          `json:"plan_id,omitempty"`
	Plan            json.RawMessage `json:"plan,omitempty" doc:"any JSON; sealed, and kept byte for byte"`
	Seed            string          `json:"seed,omitempty" pattern:"^-?[0-9]+$" maxLength:"128" doc:"a decimal integer of any size"`
	FrozenTimestamp string          `json:"frozen_timestamp,omitempty" format:"date-time" doc:"the time that the run was made to see"`
	RootHash        string          `json:"root_hash,omitempty" maxLength:"256" doc:"of the trace, by the producer's own rule; sealed, and found by /api/v1/traces/by-root-hash"`
	PlanHash        string          `json:"plan_hash,omitempty" maxLength:"256" doc:"sealed"`
	SchemaVersion   string          `json:"schema_version,omitempty" doc:"default 1"`
	ServiceName     string          `json:"service_name,omitempty"`
	RunAlias        string          `json:"run_alias,omitempty" doc:"another id by which the run is found"`

	HumanActorID        string          `json:"human_actor_id,omitempty" doc:"sealed"`
	AgentID             string          `json:"agent_id,omitempty"`
	SystemID            string          `json:"system_id,omitempty"`
	Subject             string          `json:"subject,omitempty" doc:"the data subject; sealed"`
	CorrelationID       string          `json:"correlation_id,omitempty"`
	PolicyIDs           []string        `json:"policy_ids,omitempty" nullable:"false"`
	IncidentIDs         []string        `json:"incident_ids,omitempty" nullable:"false"`
	SourceDomain        string          `json:"source_domain,omitempty" enum:"ACTIVITY,POLICY,INCIDENTS,LOGS,SYSTEM" doc:"default ACTIVITY"`
	SourceComponent     string          `json:"source_component,omitempty" doc:"default TraceStore"`
	Origin              string          `json:"origin,omitempty" enum:"SYSTEM,HUMAN,AGENT,MIGRATION,REPLAY" doc:"REPLAY where the run is one; default: as the actor"`
	IsSynthetic         bool            `json:"is_synthetic,omitempty"`
	SyntheticScenarioID string          `json:"synthetic_scenario_id,omitempty"`
	ProducerSeq         *int64          `json:"producer_seq,omitempty"`
	Attrs               json.RawMessage `json:"attrs,omitempty" doc:"a list of [key, type, value]; sealed"`

	Steps []StepRequest `json:"steps,omitempty" maxItems:"10000" nullable:"false"`
}

// StepRequest is a step of a TraceRequest: a native trace_step record without
// what the trace says.
type StepRequest struct {
	ID                    string          `json:"id,omitempty" format:"uuid" doc:"required of a step without a span_id: it makes retries harmless"`
	OccurredAt            string          `json:"occurred_at" format:"date-time" doc:"when the step began"`
	SpanID                string          `json:"span_id,omitempty" pattern:"^[0-9a-f]{16}$"`
	ParentSpanID          string          `json:"parent_span_id,omitempty" pattern:"^[0-9a-f]{16}$"`
	StepKind              string          `json:"step_kind" enum:"llm,tool,agent,retrieval,embedding,guardrail,evaluation,other"`
	SkillID               string          `json:"skill_id,omitempty" doc:"default: step_kind"`
	SkillName             string          `json:"skill_name"`
	Status                string          `json:"status" enum:"success,failure,retry,skipped"`
	OutcomeCategory       string          `json:"outcome_category,omitempty" doc:"default: status in capitals"`
	OutcomeCode           string          `json:"outcome_code,omitempty"`
	DurationUS            *int64          `json:"duration_us,omitempty" minimum:"0"`
	RetryCount            *int64          `json:"retry_count,omitempty" minimum:"0"`
	ReplayBehavior        string          `json:"replay_behavior,omitempty" enum:"execute,skip,check" doc:"default execute"`
	IdempotencyKey        string          `json:"idempotency_key,omitempty"`
	Provider              string          `json:"provider,omitempty"`
	RequestModel          string          `json:"request_model,omitempty"`
	Model                 string          `json:"model,omitempty"`
	Operation             string          `json:"operation,omitempty"`
	FinishReason          string          `json:"finish_reason,omitempty"`
	ToolCallID            string          `json:"tool_call_id,omitempty"`
	InputTokens           *int64          `json:"input_tokens,omitempty" minimum:"0"`
	OutputTokens          *int64          `json:"output_tokens,omitempty" minimum:"0"`
	CachedInputTokens     *int64          `json:"cached_input_tokens,omitempty" minimum:"0"`
	CacheWriteInputTokens *int64          `json:"cache_write_input_tokens,omitempty" minimum:"0"`
	ReasoningTokens       *int64          `json:"reasoning_tokens,omitempty" minimum:"0"`
	CostUSDNanos          *int64          `json:"cost_usd_nanos,omitempty" minimum:"0"`
	FirstTokenUS          *int64          `json:"first_token_us,omitempty" minimum:"0"`
	ProducerSeq           *int64          `json:"producer_seq,omitempty" minimum:"0"`
	Flags                 []string        `json:"flags,omitempty" nullable:"false"`
	Params                json.RawMessage `json:"params,omitempty" doc:"any JSON; sealed, as all that follows"`
	OutcomeData           json.RawMessage `json:"outcome_data,omitempty"`
	Prompt                json.RawMessage `json:"prompt,omitempty"`
	Response              json.RawMessage `json:"response,omitempty"`
	InputHash             json.RawMessage `json:"input_hash,omitempty" doc:"of the input, by the producer's own rule; mostly a string"`
	OutputHash            json.RawMessage `json:"output_hash,omitempty"`
	StatusMessage         json.RawMessage `json:"status_message,omitempty"`
	RNGStateBefore        json.RawMessage `json:"rng_state_before,omitempty"`
	Attrs                 json.RawMessage `json:"attrs,omitempty" doc:"a list of [key, type, value]"`
}

// MismatchRequest is the body of POST /api/v1/traces/mismatches.
type MismatchRequest struct {
	ID           string          `json:"id,omitempty" format:"uuid" doc:"makes retries harmless; made where it is left out"`
	RunID        string          `json:"run_id" minLength:"1" maxLength:"128" doc:"the run that was replayed"`
	OtherRunID   string          `json:"other_run_id,omitempty" maxLength:"128" doc:"the run that is the replay; need not be stored"`
	StepIndex    *int64          `json:"step_index,omitempty" minimum:"0"`
	Field        string          `json:"field,omitempty" maxLength:"128" doc:"what differs, such as output_hash"`
	Reason       string          `json:"reason" minLength:"1" maxLength:"4096"`
	Expected     json.RawMessage `json:"expected,omitempty" doc:"any JSON"`
	Found        json.RawMessage `json:"found,omitempty" doc:"any JSON"`
	OccurredAt   string          `json:"occurred_at,omitempty" format:"date-time" doc:"default: now"`
	AgentID      string          `json:"agent_id,omitempty" doc:"who reports, where it is not the credential itself"`
	HumanActorID string          `json:"human_actor_id,omitempty"`
}

// ResolutionRequest is the body of POST /api/v1/traces/mismatches/{id}/resolve.
type ResolutionRequest struct {
	Resolution   string `json:"resolution" minLength:"1" maxLength:"4096" doc:"why the mismatch counts as resolved"`
	OccurredAt   string `json:"occurred_at,omitempty" format:"date-time" doc:"default: now"`
	AgentID      string `json:"agent_id,omitempty" doc:"who resolves, where it is not the credential itself"`
	HumanActorID string `json:"human_actor_id,omitempty"`
}

// Bounds of text that the field table does not bound.
const (
	maxReason = 4096
	maxHash   = 256
	maxField  = 128
)

// ParseTrace reads a TraceRequest. Errors are [*evidence.FieldError]s: an
// unknown or repeated field, or one of another type, is invalid; what is no JSON
// is malformed.
func ParseTrace(body []byte) (*TraceRequest, error) { return parse[TraceRequest](body) }

// ParseMismatch reads a MismatchRequest, see [ParseTrace].
func ParseMismatch(body []byte) (*MismatchRequest, error) { return parse[MismatchRequest](body) }

// ParseResolution reads a ResolutionRequest, see [ParseTrace].
func ParseResolution(body []byte) (*ResolutionRequest, error) {
	return parse[ResolutionRequest](body)
}

func parse[T any](body []byte) (*T, error) {
	if k := jsontext.Value(body).Kind(); k != '{' {
		return nil, problem.Malformed("body", "must be a JSON object")
	}
	// Counted while they are read: an empty step is two bytes in a body, and hundreds
	// in memory.
	steps := 0
	count := jsonv2.UnmarshalFromFunc(func(*jsontext.Decoder, *StepRequest) error {
		if steps++; steps > MaxSteps {
			return tooManySteps(MaxSteps)
		}
		return errors.ErrUnsupported
	})
	v := new(T)
	err := jsonv2.Unmarshal(body, v, jsonv2.RejectUnknownMembers(true), jsonv2.WithUnmarshalers(count))
	if errors.Is(err, evidence.ErrTooLarge) {
		return nil, tooManySteps(MaxSteps)
	} else if err != nil {
		return nil, readError(err)
	}
	return v, nil
}

func tooManySteps(limit int) error {
	return &evidence.FieldError{Field: "steps", Reason: fmt.Sprintf("are more than %d", limit), Err: evidence.ErrTooLarge}
}

func readError(err error) error {
	var syntax *jsontext.SyntacticError
	if errors.As(err, &syntax) {
		if errors.Is(syntax.Err, jsontext.ErrDuplicateName) {
			return problem.Invalid(fieldName(syntax.JSONPointer), "stands twice")
		}
		return problem.Malformed("body", "is not complete and valid JSON")
	}
	var semantic *jsonv2.SemanticError
	if !errors.As(err, &semantic) {
		return problem.Malformed("body", "is not complete and valid JSON")
	}
	field := fieldName(semantic.JSONPointer)
	if errors.Is(semantic.Err, jsonv2.ErrUnknownName) {
		return problem.Invalid(field, "is not a field of this request")
	}
	return problem.Invalid(field, "has a value of another type")
}

// fieldName writes a pointer as problems name fields: /steps/3/status is
// steps[3].status. A name that is not fit to be shown as it is is quoted.
func fieldName(p jsontext.Pointer) string {
	var b strings.Builder
	for token := range p.Tokens() {
		if n, err := strconv.ParseUint(token, 10, 31); err == nil && b.Len() > 0 {
			b.WriteString("[" + strconv.FormatUint(n, 10) + "]")
			continue
		}
		if b.Len() > 0 {
			b.WriteByte('.')
		}
		if !evidence.FitName(token) {
			token = strconv.Quote(token)
		}
		b.WriteString(token)
	}
	if b.Len() == 0 {
		return "body"
	}
	return b.String()
}
