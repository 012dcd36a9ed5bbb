package server_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"

	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/server"
)

// loadBody is a request of n spans with 20 attributes each, 20 spans a trace.
func loadBody(b *testing.B, no, n int) []byte {
	td := ptrace.NewTraces()
	rs := td.ResourceSpans().AppendEmpty()
	rs.Resource().Attributes().PutStr("service.name", "agent")
	rs.Resource().Attributes().PutStr("service.version", "1.4.2")
	ss := rs.ScopeSpans().AppendEmpty()
	ss.Scope().SetName("bench")
	now := uint64(time.Now().UnixNano())
	var trace [16]byte
	var root, span [8]byte
	for i := range n {
		if i%20 == 0 {
			binary.BigEndian.PutUint64(trace[:8], uint64(no)*1_000_003+uint64(i)+1)
			binary.BigEndian.PutUint64(trace[8:], now)
		}
		binary.BigEndian.PutUint64(span[:], uint64(no)<<32+uint64(i)+1)
		s := ss.Spans().AppendEmpty()
		s.SetTraceID(trace)
		s.SetSpanID(span)
		if i%20 == 0 {
			root = span
		} else {
			s.SetParentSpanID(root)
		}
		s.SetName("llm.chat")
		s.SetStartTimestamp(1_790_000_000_000_000_000)
		s.SetEndTimestamp(1_790_000_000_040_000_000)
		a := s.Attributes()
		for _, kv := range [][2]string{
			{"gen_ai.system", "openai"},
			{"gen_ai.operation.name", "chat"},
			{"gen_ai.request.model", "gpt-x-large-2026-01"},
			{"gen_ai.response.model", "gpt-x-large-2026-01-15"},
			{"gen_ai.request.temperature", "0.2"},
			{"gen_ai.conversation.id", fmt.Sprintf("conv-%d-%d", no, i/20)},
			{"gen_ai.agent.name", "checkout-agent-7"},
			{"gen_ai.tool.name", "search_12"},
			{"user.id", fmt.Sprintf("u-%d", (no*50+i/20)%50_000)},
			{"session.id", fmt.Sprintf("s-%d-%d", no, i/20)},
			{"policy.decision", "allow"},
			{"policy.rule", "rule-07"},
			{"request.id", fmt.Sprintf("%032x", now+uint64(no*n+i)*0x9e3779b97f4a7c15)},
			{"content.sha256", fmt.Sprintf("%064x", now+uint64(no*n+i)*0xc2b2ae3d27d4eb4f)},
			{"gen_ai.prompt.summary", strings.Repeat("review of the customer's request ", 8)},
		} {
			a.PutStr(kv[0], kv[1])
		}
		a.PutInt("gen_ai.usage.input_tokens", int64(i))
		a.PutInt("gen_ai.usage.output_tokens", int64(i%900))
		a.PutInt("gen_ai.request.max_tokens", 4096)
		a.PutInt("step.index", int64(i%20))
		a.PutInt("retry.count", 0)
	}
	body, err := ptraceotlp.NewExportRequestFromTraces(td).MarshalProto()
	if err != nil {
		b.Fatal(err)
	}
	return body
}

// BenchmarkIngest sends requests of 1000 spans from 8 senders to a server in
// this process: the whole way, for profiles. bench/ measures the real binary.
func BenchmarkIngest(b *testing.B) {
	const spans, senders = 1000, 8
	dir := filepath.Join(b.TempDir(), "data")
	log := &logLines{}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	cfg := server.Stored(b, server.Config{Data: dir, Dev: true, Logger: slog.New(slog.NewJSONHandler(log, nil))})
	go func() {
		done <- server.Serve(ctx, server.ServeConfig{
			Config: cfg,
			Listen: "127.0.0.1:0", OTLPHTTP: server.Off, OTLPGRPC: server.Off, Watch: ledger.WatchConfig{ScrubRate: 1},
		})
	}()
	var addr string
	for ok := false; !ok; addr, ok = log.find("ready", "listen") {
		time.Sleep(20 * time.Millisecond)
	}
	bodies := make(chan []byte, b.N)
	for i := range b.N {
		bodies <- loadBody(b, i, spans)
	}
	close(bodies)
	b.ResetTimer()
	var sending sync.WaitGroup
	for range senders {
		sending.Go(func() {
			for body := range bodies {
				for {
					resp, err := http.Post("http://"+addr+"/v1/traces", "application/x-protobuf", bytes.NewReader(body))
					if err != nil {
						b.Error(err)
						return
					}
					answer, err := io.ReadAll(resp.Body)
					_ = resp.Body.Close()
					if resp.StatusCode == http.StatusTooManyRequests {
						time.Sleep(5 * time.Millisecond)
						continue
					}
					if err != nil || resp.StatusCode != http.StatusOK {
						b.Errorf("%s %s %v", resp.Status, answer, err)
					}
					break
				}
			}
		})
	}
	sending.Wait()
	b.ReportMetric(float64(b.N*spans)/b.Elapsed().Seconds(), "spans/s")
	b.StopTimer()
	cancel()
	if err := <-done; err != nil {
		b.Error(err)
	}
}
