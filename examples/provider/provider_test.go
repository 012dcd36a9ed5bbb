package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// post sends a request and returns status and body.
func post(t *testing.T, s *httptest.Server, path, body string) (int, string) {
	t.Helper()
	resp, err := http.Post(s.URL+path, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func newServer(t *testing.T) (*httptest.Server, *strings.Builder) {
	var truth strings.Builder
	p := &provider{failed: map[string]bool{}, truth: json.NewEncoder(&truth)}
	s := httptest.NewServer(p.routes())
	t.Cleanup(s.Close)
	return s, &truth
}

const (
	openAITools = `"tools":[{"type":"function","function":{"name":"lookup_order","parameters":{
		"properties":{"order_id":{"type":"string"},"amount":{"type":"number"},"city":{"type":"string"}},
		"required":["order_id","amount","city"]}}}]`
	anthropicTools = `"tools":[{"name":"lookup_order","input_schema":{
		"properties":{"order_id":{"type":"string"}},"required":["order_id"]}}]`
)

func TestAnswers(t *testing.T) {
	tests := []struct {
		name, path, body string
		status           int
		want             []string // parts of the answer
	}{
		{
			"text", "/v1/chat/completions", `{"model":"m","messages":[{"role":"user","content":"Hello"}]}`, 200,
			[]string{`"There is no tool for that. You said: Hello"`, `"finish_reason":"stop"`, `"prompt_tokens":6,`, `"completion_tokens":11,`},
		},
		{
			"tool call", "/v1/chat/completions", `{"model":"m","messages":[{"role":"user","content":"order A-17, 3.5 euros, in Paris"}],` + openAITools + `}`, 200,
			[]string{`"name":"lookup_order"`, `\"order_id\":\"A-17\"`, `\"amount\":3.5`, `\"city\":\"Paris\"`, `"finish_reason":"tool_calls"`},
		},
		{
			"after the tool", "/v1/chat/completions", `{"model":"m","messages":[{"role":"user","content":"order A-17"},
				{"role":"assistant","tool_calls":[{"id":"1","type":"function","function":{"name":"lookup_order","arguments":"{}"}}]},
				{"role":"tool","tool_call_id":"1","content":"shipped"}],` + openAITools + `}`, 200,
			[]string{`"This is what I know: shipped"`},
		},
		{
			"stream", "/v1/chat/completions", `{"model":"m","stream":true,"stream_options":{"include_usage":true},"messages":[{"role":"user","content":"Hello"}]}`, 200,
			[]string{`"content":"There is no tool for`, `"finish_reason":"stop"`, `"choices":[],`, `"prompt_tokens":6,`, "data: [DONE]\n\n"},
		},
		{
			"tool call in a stream", "/v1/chat/completions", `{"model":"m","stream":true,"messages":[{"role":"user","content":"order A-17"}],` + openAITools + `}`, 200,
			[]string{`"tool_calls":[{"index":0,"id":"call_`, `"finish_reason":"tool_calls"`},
		},
		{
			"embeddings", "/v1/embeddings", `{"model":"m","input":["12345","x"]}`, 200,
			[]string{`"index":1`, `"prompt_tokens":3`},
		},
		{
			"messages", "/v1/messages", `{"model":"m","system":"be brief","messages":[{"role":"user","content":[{"type":"text","text":"Hello"}]}]}`, 200,
			[]string{`"stop_reason":"end_turn"`, `"input_tokens":12,`, `You said: Hello`},
		},
		{
			"messages with a tool", "/v1/messages", `{"model":"m","messages":[{"role":"user","content":"order A-17"}],` + anthropicTools + `}`, 200,
			[]string{`"stop_reason":"tool_use"`, `"input":{"order_id":"A-17"}`},
		},
		{
			"messages after the tool", "/v1/messages", `{"model":"m","messages":[{"role":"user","content":"order A-17"},
				{"role":"assistant","content":[{"type":"tool_use","id":"1","name":"lookup_order","input":{}}]},
				{"role":"user","content":[{"type":"tool_result","tool_use_id":"1","content":"shipped"}]}],` + anthropicTools + `}`, 200,
			[]string{`This is what I know: shipped`},
		},
		{"fails", "/v1/chat/completions", `{"messages":[{"role":"user","content":"[500]"}]}`, 500, []string{`"server_error"`}},
		{"fails", "/v1/messages", `{"messages":[{"role":"user","content":"[500]"}]}`, 500, []string{`"api_error"`}},
		{"no JSON", "/v1/chat/completions", `{`, 400, []string{`"error"`}},
	}
	for _, test := range tests {
		s, truth := newServer(t)
		status, body := post(t, s, test.path, test.body)
		if status != test.status {
			t.Errorf("%s: status %d: %s", test.name, status, body)
		}
		for _, want := range test.want {
			if !strings.Contains(body, want) {
				t.Errorf("%s: no %s in %s", test.name, want, body)
			}
		}
		if lines := strings.Count(truth.String(), "\n"); status != 400 && lines != 1 {
			t.Errorf("%s: truth %q", test.name, truth)
		}
	}
}

func TestFailsOnce(t *testing.T) {
	s, truth := newServer(t)
	for _, want := range []int{429, 200, 200} {
		if status, body := post(t, s, "/v1/messages", `{"messages":[{"role":"user","content":"[429] please"}]}`); status != want {
			t.Errorf("status %d, want %d: %s", status, want, body)
		}
	}
	if got := strings.Count(truth.String(), `"status":429`); got != 1 {
		t.Errorf("truth %s", truth)
	}
}
