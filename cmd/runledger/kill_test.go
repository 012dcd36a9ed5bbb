package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/server"
)

// program is a server of ours in a process of its own.
type program struct {
	t    *testing.T
	data string
	otlp string
	cmd  *exec.Cmd
}

// freeAddress is freePort for tests that are no scripts.
func freeAddress(t *testing.T) string {
	t.Helper()
	address, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	return address
}

// freePort returns an address that nothing listens on, for a server that must come back
// at the same one. Its port is below those that systems give out by themselves (32768 and
// above on Linux, 49152 elsewhere), or the next who asks for any port would get it.
func freePort() (address string, err error) {
	for range 100 {
		var ln net.Listener
		if ln, err = net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 20000+rand.IntN(12000))); err == nil {
			return ln.Addr().String(), ln.Close()
		}
	}
	return "", err
}

func (p *program) start() {
	p.t.Helper()
	p.cmd = exec.Command("runledger", "serve", "--data", p.data, "--listen", "127.0.0.1:0", "--otlp-http", p.otlp, "--otlp-grpc", "off",
		"--run-root-quiet", "200ms")
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	lines := bufio.NewScanner(stderr)
	var seen []string
	for lines.Scan() {
		seen = append(seen, lines.Text())
		if strings.Contains(lines.Text(), `"msg":"ready"`) {
			go func() { _, _ = io.Copy(io.Discard, stderr) }()
			return
		}
	}
	p.t.Fatalf("the server does not start:\n%s", strings.Join(seen, "\n"))
}

func (p *program) kill() {
	if err := p.cmd.Process.Kill(); err != nil {
		p.t.Error(err)
	}
	_ = p.cmd.Wait() // "signal: killed"
}

func (p *program) cli(args ...string) []byte {
	p.t.Helper()
	out, err := exec.Command("runledger", append(args, "--data", p.data, "--json")...).Output()
	if err != nil {
		p.t.Fatalf("%v: %v", args, err)
	}
	return out
}

// exporter sends spans until ctx is done, each request until it is
// acknowledged, as OTLP asks of a client.
type exporter struct {
	url, key string
	acked    map[string]bool // trace:span
}

func (e *exporter) run(ctx context.Context, rng *rand.Rand) {
	for ctx.Err() == nil {
		td := ptrace.NewTraces()
		spans := td.ResourceSpans().AppendEmpty().ScopeSpans().AppendEmpty().Spans()
		var ids []string
		var trace [16]byte
		var root [8]byte
		for i := range 20 {
			if i%5 == 0 {
				binary.LittleEndian.PutUint64(trace[:8], rng.Uint64())
				binary.LittleEndian.PutUint64(trace[8:], rng.Uint64()|1)
			}
			var id [8]byte
			binary.LittleEndian.PutUint64(id[:], rng.Uint64()|1)
			s := spans.AppendEmpty()
			s.SetTraceID(trace)
			s.SetSpanID(id)
			if i%5 == 0 {
				root = id
			} else {
				s.SetParentSpanID(root)
			}
			s.SetName("step")
			s.SetStartTimestamp(1_700_000_000_000_000_000)
			s.SetEndTimestamp(1_700_000_001_000_000_000)
			s.Attributes().PutStr("gen_ai.operation.name", "chat")
			ids = append(ids, fmt.Sprintf("%x:%x", trace, id))
		}
		body, err := ptraceotlp.NewExportRequestFromTraces(td).MarshalProto()
		if err != nil {
			panic(err)
		}
		for ctx.Err() == nil {
			if e.post(body) {
				for _, id := range ids {
					e.acked[id] = true
				}
				break
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
}

func (e *exporter) post(body []byte) bool {
	req, err := http.NewRequest(http.MethodPost, e.url, bytes.NewReader(body))
	if err != nil {
		panic(err)
	}
	req.Header.Set("Content-Type", "application/x-protobuf")
	req.Header.Set("x-api-key", e.key)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	return err == nil && resp.StatusCode == http.StatusOK && len(answer) == 0
}

// TestKill kills the server again and again under load. Whatever was
// acknowledged is there once, and everything verifies.
func TestKill(t *testing.T) {
	p := &program{t: t, data: filepath.Join(t.TempDir(), "data"), otlp: freeAddress(t)}
	p.start()
	p.cli("tenants", "create", "acme")
	var made struct{ Key string }
	if err := json.Unmarshal(p.cli("apikeys", "create", "--tenant", "acme", "--role", "producer"), &made); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var sending sync.WaitGroup
	var exporters []*exporter
	for i := range 4 {
		e := &exporter{url: "http://" + p.otlp + "/v1/traces", key: made.Key, acked: map[string]bool{}}
		exporters = append(exporters, e)
		sending.Go(func() { e.run(ctx, rand.New(rand.NewPCG(7, uint64(i)))) })
	}
	rng := rand.New(rand.NewPCG(8, 9))
	for range 5 {
		time.Sleep(300*time.Millisecond + time.Duration(rng.Int64N(int64(700*time.Millisecond))))
		p.kill()
		p.start()
	}
	time.Sleep(500 * time.Millisecond)
	stop()
	sending.Wait()
	p.kill()

	rep, err := server.VerifyLive(context.Background(), server.LiveConfig{Data: p.data})
	if err != nil || !rep.OK() {
		t.Fatalf("verification after the last kill: %+v %v", rep, err)
	}
	stored := storedSpans(t, p.data)
	acked := 0
	for _, e := range exporters {
		acked += len(e.acked)
		for id := range e.acked {
			if stored[id] != 1 {
				t.Errorf("span %s was acknowledged and is there %d times", id, stored[id])
			}
		}
	}
	for id, n := range stored {
		if n != 1 {
			t.Errorf("span %s is there %d times", id, n)
		}
	}
	if acked < 200 {
		t.Errorf("only %d spans were acknowledged: that shows nothing", acked)
	}
	t.Logf("%d spans acknowledged, %d stored", acked, len(stored))
}

// storedSpans counts the steps of each span of tenant acme. No record may
// contradict another.
func storedSpans(t *testing.T, data string) map[string]int {
	t.Helper()
	d, err := server.Open(context.Background(), server.Config{Data: data})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	head, _, err := d.Ledger.PublishNow(context.Background(), "acme", 1)
	if err != nil {
		t.Fatal(err)
	}
	stored := map[string]int{}
	err = d.Ledger.Leaves(context.Background(), "acme", 1, 0, head.Size, func(_ int64, b []byte) error {
		leaf, err := evidence.ParseLeaf(b)
		if err != nil {
			return err
		}
		if of := leaf.Text("conflict_of"); of != "" {
			t.Errorf("%s %s contradicts %s", leaf.Kind, leaf.ID, of)
		}
		if leaf.Kind == evidence.KindTraceStep {
			stored[leaf.Text("trace_id")+":"+leaf.Text("span_id")]++
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return stored
}
