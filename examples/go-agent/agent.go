package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
)

const (
	maxTurns  = 8
	maxTokens = 512
)

// agent asks a model that may call tools, until it answers.
type agent struct {
	provider, model string
	tracer          trace.Tracer
	ledger          *ledger
}

// run answers a question. The run's id in the ledger is the trace id.
func (a *agent) run(ctx context.Context, question string) (run, answer string, err error) {
	ctx, span := a.tracer.Start(ctx, "invoke_agent billing-agent", trace.WithAttributes(
		attribute.String("gen_ai.operation.name", "invoke_agent"),
		attribute.String("gen_ai.provider.name", "anthropic"),
		attribute.String("gen_ai.agent.name", "billing-agent"),
		attribute.String("gen_ai.agent.id", "agent-billing"),
		attribute.String("gen_ai.conversation.id", "conversation-9"),
	))
	defer func() { end(span, err) }()
	run = span.SpanContext().TraceID().String()
	if err := a.ledger.allowed(ctx, run, "clerk-3", time.Now().Add(time.Hour)); err != nil {
		return run, "", err
	}
	messages := []message{{Role: "user", Content: []block{{Type: "text", Text: question}}}}
	for range maxTurns {
		resp, err := a.ask(ctx, messages)
		if err != nil {
			return run, "", err
		}
		messages = append(messages, message{Role: "assistant", Content: resp.Content})
		var results []block
		for _, b := range resp.Content {
			switch b.Type {
			case "text":
				answer += b.Text
			case "tool_use":
				results = append(results, a.call(ctx, b))
			}
		}
		if results == nil {
			return run, answer, nil
		}
		messages = append(messages, message{Role: "user", Content: results})
	}
	return run, "", fmt.Errorf("no answer after %d turns", maxTurns)
}

// end ends a span, as failed where there is an error.
func end(span trace.Span, err error) {
	if err != nil {
		span.RecordError(err)
		span.SetStatus(codes.Error, err.Error())
		span.SetAttributes(attribute.String("error.type", fmt.Sprintf("%T", err)))
	}
	span.End()
}

// Messages as the provider takes and gives them.
type message struct {
	Role    string  `json:"role"`
	Content []block `json:"content"`
}

type block struct {
	Type      string          `json:"type"`
	Text      string          `json:"text,omitempty"`
	ID        string          `json:"id,omitempty"`
	Name      string          `json:"name,omitempty"`
	Input     json.RawMessage `json:"input,omitempty"`
	ToolUseID string          `json:"tool_use_id,omitempty"`
	Content   string          `json:"content,omitempty"`
}

type response struct {
	ID         string
	Model      string
	Content    []block
	StopReason string `json:"stop_reason"`
	Usage      struct {
		Input      int `json:"input_tokens"`
		Output     int `json:"output_tokens"`
		CacheRead  int `json:"cache_read_input_tokens"`
		CacheWrite int `json:"cache_creation_input_tokens"`
	}
}

// ask makes one model call, in a span that says what was asked and answered.
func (a *agent) ask(ctx context.Context, messages []message) (resp *response, err error) {
	ctx, span := a.tracer.Start(ctx, "chat "+a.model, trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(
		attribute.String("gen_ai.operation.name", "chat"),
		attribute.String("gen_ai.provider.name", "anthropic"),
		attribute.String("gen_ai.request.model", a.model),
		attribute.Int("gen_ai.request.max_tokens", maxTokens),
		attribute.String("gen_ai.input.messages", conventional(messages, "")),
	))
	defer func() { end(span, err) }()
	resp, err = a.post(ctx, messages)
	if err != nil {
		return nil, err
	}
	u := resp.Usage
	span.SetAttributes(
		attribute.String("gen_ai.response.id", resp.ID),
		attribute.String("gen_ai.response.model", resp.Model),
		attribute.StringSlice("gen_ai.response.finish_reasons", []string{resp.StopReason}),
		// By the conventions the total, which Anthropic states without the cache.
		attribute.Int("gen_ai.usage.input_tokens", u.Input+u.CacheRead+u.CacheWrite),
		attribute.Int("gen_ai.usage.output_tokens", u.Output),
		attribute.Int("gen_ai.usage.cache_read.input_tokens", u.CacheRead),
		attribute.Int("gen_ai.usage.cache_creation.input_tokens", u.CacheWrite),
		attribute.String("gen_ai.output.messages", conventional([]message{{Role: "assistant", Content: resp.Content}}, resp.StopReason)),
	)
	return resp, nil
}

func (a *agent) post(ctx context.Context, messages []message) (*response, error) {
	body, err := json.Marshal(map[string]any{
		"model": a.model, "max_tokens": maxTokens, "messages": messages, "tools": toolsOffered(),
	})
	if err != nil {
		return nil, err
	}
	rq, err := http.NewRequestWithContext(ctx, http.MethodPost, a.provider+"/v1/messages", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	rq.Header.Set("Content-Type", "application/json")
	r, err := http.DefaultClient.Do(rq)
	if err != nil {
		return nil, err
	}
	defer r.Body.Close()
	answer, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	if r.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("provider: %s: %s", r.Status, answer)
	}
	resp := &response{}
	return resp, json.Unmarshal(answer, resp)
}

// call runs a tool in a span and returns what the model is told.
func (a *agent) call(ctx context.Context, b block) block {
	_, span := a.tracer.Start(ctx, "execute_tool "+b.Name, trace.WithAttributes(
		attribute.String("gen_ai.operation.name", "execute_tool"),
		attribute.String("gen_ai.tool.name", b.Name),
		attribute.String("gen_ai.tool.type", "function"),
		attribute.String("gen_ai.tool.call.id", b.ID),
		attribute.String("gen_ai.tool.call.arguments", string(b.Input)),
	))
	result, err := runTool(b.Name, b.Input)
	if err != nil {
		result = fmt.Sprintf(`{"error":%q}`, err)
	}
	span.SetAttributes(attribute.String("gen_ai.tool.call.result", result))
	end(span, err)
	return block{Type: "tool_result", ToolUseID: b.ID, Content: result}
}

// conventional returns messages in the form of the semantic conventions: roles
// with parts.
func conventional(messages []message, finish string) string {
	var out []map[string]any
	for _, m := range messages {
		role := m.Role
		var parts []map[string]any
		for _, b := range m.Content {
			switch b.Type {
			case "text":
				parts = append(parts, map[string]any{"type": "text", "content": b.Text})
			case "tool_use":
				parts = append(parts, map[string]any{"type": "tool_call", "id": b.ID, "name": b.Name, "arguments": b.Input})
			case "tool_result":
				role = "tool"
				parts = append(parts, map[string]any{"type": "tool_call_response", "id": b.ToolUseID, "response": b.Content})
			}
		}
		one := map[string]any{"role": role, "parts": parts}
		if finish != "" {
			one["finish_reason"] = finish
		}
		out = append(out, one)
	}
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(out) // strings and valid JSON only
	return strings.TrimSpace(b.String())
}
