package main

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

type chatRequest struct {
	Model         string
	Stream        bool
	StreamOptions struct {
		IncludeUsage bool `json:"include_usage"`
	} `json:"stream_options"`
	Messages []chatMessage
	Tools    []struct{ Function tool }
}

type chatMessage struct {
	Role      string         `json:"role"`
	Content   any            `json:"content"`
	ToolCalls []chatToolCall `json:"tool_calls,omitempty"`
}

type chatToolCall struct {
	Index    *int   `json:"index,omitempty"` // in a stream only
	ID       string `json:"id"`
	Type     string `json:"type"`
	Function struct {
		Name      string `json:"name"`
		Arguments string `json:"arguments"`
	} `json:"function"`
}

func (r *chatRequest) turn() *turn {
	t := &turn{}
	for _, m := range r.Messages {
		text := textOf(m.Content)
		switch m.Role {
		case "user":
			t.user, t.results, t.called = text, nil, nil
		case "tool":
			t.results = append(t.results, text)
		}
		for _, c := range m.ToolCalls {
			t.called = append(t.called, c.Function.Name)
			text += c.Function.Name + c.Function.Arguments
		}
		t.texts = append(t.texts, text)
	}
	for _, tl := range r.Tools {
		t.tools = append(t.tools, tl.Function)
	}
	return t
}

// textOf returns the text of a content that is a string or a list of parts.
func textOf(content any) string {
	switch c := content.(type) {
	case string:
		return c
	case []any:
		text := ""
		for _, part := range c {
			if m, ok := part.(map[string]any); ok {
				text += textOf(m["text"]) + textOf(m["content"])
			}
		}
		return text
	default:
		return ""
	}
}

func (p *provider) chat(w http.ResponseWriter, r *http.Request) {
	var rq chatRequest
	if err := json.NewDecoder(r.Body).Decode(&rq); err != nil {
		openAIError(w, http.StatusBadRequest, err.Error())
		return
	}
	t := rq.turn()
	c := call{API: "chat", Model: rq.Model, Status: http.StatusOK}
	if status := p.failure(t.user); status != 0 {
		c.Status = status
		p.note(c)
		openAIError(w, status, "failed on demand")
		return
	}
	c.ID, c.InputTokens = p.id("chatcmpl-"), t.inputTokens()
	m, finish := chatMessage{Role: "assistant"}, "stop"
	if a := t.answer(); a.tool != "" {
		args, _ := json.Marshal(a.args)
		var tc chatToolCall
		tc.ID, tc.Type = "call_"+c.ID[len("chatcmpl-"):], "function"
		tc.Function.Name, tc.Function.Arguments = a.tool, string(args)
		m.ToolCalls, finish = []chatToolCall{tc}, "tool_calls"
		c.Tools, c.OutputTokens = []string{a.tool}, tokens(a.tool+string(args))
	} else {
		m.Content, c.OutputTokens = a.text, tokens(a.text)
	}
	p.note(c)
	if rq.Stream {
		stream(w, c, m, finish, rq.StreamOptions.IncludeUsage)
		return
	}
	reply(w, http.StatusOK, map[string]any{
		"id": c.ID, "object": "chat.completion", "created": time.Now().Unix(), "model": rq.Model,
		"choices": []any{map[string]any{"index": 0, "message": m, "finish_reason": finish}},
		"usage":   usage(c),
	})
}

func usage(c call) map[string]any {
	return map[string]any{
		"prompt_tokens": c.InputTokens, "completion_tokens": c.OutputTokens, "total_tokens": c.InputTokens + c.OutputTokens,
		"prompt_tokens_details":     map[string]int{"cached_tokens": 0},
		"completion_tokens_details": map[string]int{"reasoning_tokens": 0},
	}
}

// stream answers with server-sent events: the text in two pieces, the end, and
// the usage where it was asked for.
func stream(w http.ResponseWriter, c call, m chatMessage, finish string, withUsage bool) {
	w.Header().Set("Content-Type", "text/event-stream")
	send := func(choices []any, extra map[string]any) {
		chunk := map[string]any{"id": c.ID, "object": "chat.completion.chunk", "created": time.Now().Unix(), "model": c.Model, "choices": choices}
		for k, v := range extra {
			chunk[k] = v
		}
		b, _ := json.Marshal(chunk)
		fmt.Fprintf(w, "data: %s\n\n", b)
		if f, ok := w.(http.Flusher); ok {
			f.Flush()
		}
	}
	choice := func(delta map[string]any, finish any) []any {
		return []any{map[string]any{"index": 0, "delta": delta, "finish_reason": finish}}
	}
	send(choice(map[string]any{"role": "assistant", "content": ""}, nil), nil)
	if text, ok := m.Content.(string); ok {
		half := len([]rune(text)) / 2
		send(choice(map[string]any{"content": string([]rune(text)[:half])}, nil), nil)
		send(choice(map[string]any{"content": string([]rune(text)[half:])}, nil), nil)
	}
	for i := range m.ToolCalls {
		m.ToolCalls[i].Index = &i
		send(choice(map[string]any{"tool_calls": m.ToolCalls[i : i+1]}, nil), nil)
	}
	send(choice(map[string]any{}, finish), nil)
	if withUsage {
		send([]any{}, map[string]any{"usage": usage(c)})
	}
	fmt.Fprint(w, "data: [DONE]\n\n")
}

// embeddings answers with eight numbers that follow from the text's digest.
func (p *provider) embeddings(w http.ResponseWriter, r *http.Request) {
	var rq struct {
		Model string
		Input any
	}
	if err := json.NewDecoder(r.Body).Decode(&rq); err != nil {
		openAIError(w, http.StatusBadRequest, err.Error())
		return
	}
	inputs, ok := rq.Input.([]any)
	if !ok {
		inputs = []any{rq.Input}
	}
	c := call{API: "embeddings", Model: rq.Model, Status: http.StatusOK}
	data := make([]any, 0, len(inputs))
	for i, in := range inputs {
		text := textOf(in)
		c.InputTokens += tokens(text)
		sum := sha256.Sum256([]byte(text))
		vector := make([]float64, 8)
		for k := range vector {
			vector[k] = (float64(sum[k]) - 127.5) / 127.5
		}
		data = append(data, map[string]any{"object": "embedding", "index": i, "embedding": vector})
	}
	p.note(c)
	reply(w, http.StatusOK, map[string]any{
		"object": "list", "model": rq.Model, "data": data,
		"usage": map[string]int{"prompt_tokens": c.InputTokens, "total_tokens": c.InputTokens},
	})
}

func openAIError(w http.ResponseWriter, status int, message string) {
	kind := "server_error"
	if status == http.StatusTooManyRequests {
		w.Header().Set("Retry-After", "1")
		kind = "rate_limit_exceeded"
	}
	reply(w, status, map[string]any{"error": map[string]any{"message": message, "type": kind, "code": kind}})
}
