// Command provider is a model provider for trials: it speaks the protocols of
// OpenAI (chat completions with and without streaming, embeddings) and Anthropic
// (messages), and needs no network and no key. It is no model. What it answers
// follows from the request alone, so that what a ledger says of a run can be
// compared with what really happened:
//
//   - It calls a tool when a word of the tool's name, of four letters or more,
//     stands in the last message of the user, one tool for each answer, in the
//     order in which the request lists them. Then it answers with what the tools
//     returned.
//   - A token is four bytes of text, or what is left of them; a message costs four
//     more.
//   - "[429]" in the last message of the user fails once with that status and a
//     Retry-After of a second; "[500]" fails each time.
//
// With --truth FILE it writes one line of JSON for each request: what it was
// asked and what it answered.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"sync"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:9100", "`address`; port 0 takes a free one")
	addrFile := flag.String("addr-file", "", "`file` to write the address to when it listens")
	truth := flag.String("truth", "", "`file` to write a line of JSON to for each request")
	flag.Parse()
	if err := run(*listen, *addrFile, *truth); err != nil {
		log.Fatal(err)
	}
}

func run(listen, addrFile, truth string) error {
	p := &provider{failed: map[string]bool{}}
	if truth != "" {
		f, err := os.OpenFile(truth, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
		if err != nil {
			return err
		}
		defer f.Close()
		p.truth = json.NewEncoder(f)
	}
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	if addrFile != "" {
		if err := os.WriteFile(addrFile, []byte(l.Addr().String()), 0o644); err != nil {
			return err
		}
	}
	fmt.Printf("provider listens on http://%s\n", l.Addr())
	return http.Serve(l, p.routes())
}

// call is one request and its answer, as the truth file shows it.
type call struct {
	API          string   `json:"api"`
	Model        string   `json:"model"`
	Status       int      `json:"status"`
	ID           string   `json:"id,omitempty"` // of the answer
	InputTokens  int      `json:"input_tokens"`
	OutputTokens int      `json:"output_tokens"`
	Tools        []string `json:"tools,omitempty"` // that the answer calls
}

// provider holds what one request leaves for the next. It is safe for concurrent
// use.
type provider struct {
	mu     sync.Mutex
	truth  *json.Encoder   // nil: nobody asks
	failed map[string]bool // messages that have failed once
	calls  int
}

func (p *provider) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/chat/completions", p.chat)
	mux.HandleFunc("POST /v1/embeddings", p.embeddings)
	mux.HandleFunc("POST /v1/messages", p.messages)
	return mux
}

// note writes a call down.
func (p *provider) note(c call) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.truth == nil {
		return
	}
	if err := p.truth.Encode(c); err != nil {
		log.Print(err)
	}
}

// id returns the id of an answer.
func (p *provider) id(prefix string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls++
	return fmt.Sprintf("%s%06d", prefix, p.calls)
}

// failOnce reports whether a message is to fail now, which it does once.
func (p *provider) failOnce(message string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.failed[message] {
		return false
	}
	p.failed[message] = true
	return true
}

func reply(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // a client that is gone needs no answer
}
