package main

import (
	"encoding/json"
	"net/http"
)

type messagesRequest struct {
	Model    string
	System   any
	Messages []struct {
		Role    string
		Content any
	}
	Tools []struct {
		Name        string
		InputSchema json.RawMessage `json:"input_schema"`
	}
}

func (r *messagesRequest) turn() (*turn, error) {
	t := &turn{}
	if system := textOf(r.System); system != "" {
		t.texts = append(t.texts, system)
	}
	for _, m := range r.Messages {
		text := textOf(m.Content)
		parts, _ := m.Content.([]any)
		toolResult := false
		for _, part := range parts {
			block, _ := part.(map[string]any)
			switch block["type"] {
			case "tool_use":
				name, _ := block["name"].(string)
				args, _ := json.Marshal(block["input"])
				t.called = append(t.called, name)
				text += name + string(args)
			case "tool_result":
				toolResult = true
				t.results = append(t.results, textOf(block["content"]))
			}
		}
		if m.Role == "user" && !toolResult {
			t.user, t.results, t.called = text, nil, nil
		}
		t.texts = append(t.texts, text)
	}
	for _, tl := range r.Tools {
		out := tool{Name: tl.Name}
		if err := json.Unmarshal(tl.InputSchema, &out.Parameters); err != nil {
			return nil, err
		}
		t.tools = append(t.tools, out)
	}
	return t, nil
}

func (p *provider) messages(w http.ResponseWriter, r *http.Request) {
	var rq messagesRequest
	if err := json.NewDecoder(r.Body).Decode(&rq); err != nil {
		anthropicError(w, http.StatusBadRequest, "invalid_request_error", err.Error())
		return
	}
	t, err := rq.turn()
	if err != nil {
		anthropicError(w, http.StatusBadRequest, "invalid_request_error", err.Error())
		return
	}
	c := call{API: "messages", Model: rq.Model, Status: http.StatusOK}
	if status := p.failure(t.user); status != 0 {
		c.Status = status
		p.note(c)
		anthropicError(w, status, "api_error", "failed on demand")
		return
	}
	c.ID, c.InputTokens = p.id("msg_"), t.inputTokens()
	block, stop := map[string]any{}, "end_turn"
	if a := t.answer(); a.tool != "" {
		args, _ := json.Marshal(a.args)
		block = map[string]any{"type": "tool_use", "id": "toolu_" + c.ID[len("msg_"):], "name": a.tool, "input": a.args}
		stop, c.Tools, c.OutputTokens = "tool_use", []string{a.tool}, tokens(a.tool+string(args))
	} else {
		block["type"], block["text"] = "text", a.text
		c.OutputTokens = tokens(a.text)
	}
	p.note(c)
	reply(w, http.StatusOK, map[string]any{
		"id": c.ID, "type": "message", "role": "assistant", "model": rq.Model,
		"content": []any{block}, "stop_reason": stop, "stop_sequence": nil,
		"usage": map[string]int{
			"input_tokens": c.InputTokens, "output_tokens": c.OutputTokens,
			"cache_read_input_tokens": 0, "cache_creation_input_tokens": 0,
		},
	})
}

func anthropicError(w http.ResponseWriter, status int, kind, message string) {
	if status == http.StatusTooManyRequests {
		w.Header().Set("Retry-After", "1")
		kind = "rate_limit_error"
	}
	reply(w, status, map[string]any{"type": "error", "error": map[string]any{"type": kind, "message": message}})
}
