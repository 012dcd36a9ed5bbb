package dialect

// field is a fact that a dialect may name sources for.
type field uint8

const (
	fProvider field = iota
	fRequestModel
	fModel
	fOperation
	fFinish
	fResponseID
	fInput
	fOutput
	fCached
	fCacheWrite
	fReasoning
	fCost
	fFirstToken
	fFailed
	fErrorType
	fHTTPStatus
	fErrorText
	fAgentID
	fAgentName
	fToolName
	fToolCallID
	fParams
	fResult
	fSystem
	fPrompt
	fResponse
	fResponseCalls
	fUser
	fConversation
	fRunAlias
	fGuardName
	fGuardDecision
	fGuardTriggered
	fGuardPolicy
	fGuardRule
	fGuardReason
	fGuardScore
	numFields
)

// fieldNames are the words of the file.
var fieldNames = map[string]field{
	"provider": fProvider, "request_model": fRequestModel, "model": fModel, "operation": fOperation,
	"finish_reason": fFinish, "response_id": fResponseID,
	"input": fInput, "output": fOutput, "cached": fCached, "cache_write": fCacheWrite, "reasoning": fReasoning,
	"cost": fCost, "first_token": fFirstToken,
	"failed": fFailed, "error_type": fErrorType, "http_status": fHTTPStatus, "error_text": fErrorText,
	"agent_id": fAgentID, "agent_name": fAgentName, "tool_name": fToolName, "tool_call_id": fToolCallID,
	"params": fParams, "result": fResult,
	"system": fSystem, "prompt": fPrompt, "response": fResponse, "response_calls": fResponseCalls,
	"user": fUser, "conversation": fConversation, "run_alias": fRunAlias,
	"guardrail_name": fGuardName, "guardrail_decision": fGuardDecision, "guardrail_triggered": fGuardTriggered,
	"guardrail_policy": fGuardPolicy, "guardrail_rule": fGuardRule, "guardrail_reason": fGuardReason,
	"guardrail_score": fGuardScore,
}

// transform is what happens to the value of a source.
type transform uint8

const (
	asIs transform = iota
	asCutDot
	asCutSlash
	asAfterSlash
	asSeconds
	asMS
	asISOSinceStart
	asJSONSum
	asNonzero
)

var transformNames = map[string]transform{
	"": asIs, "cut-dot": asCutDot, "cut-slash": asCutSlash, "after-slash": asAfterSlash,
	"seconds": asSeconds, "ms": asMS, "iso-since-start": asISOSinceStart,
	"json-sum": asJSONSum, "nonzero": asNonzero,
}

// kinds are the step kinds of fields.md.
var kinds = map[string]bool{
	"llm": true, "tool": true, "agent": true, "retrieval": true, "embedding": true,
	"guardrail": true, "evaluation": true, "other": true,
}

// decisions are those of the contract.
var decisions = map[string]bool{
	"ALLOWED": true, "DENIED": true, "PASSED": true, "WARNED": true, "BLOCKED": true, "BREACHED": true,
}
