package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"
)

// perTrace is how many spans a trace has: a root and its children.
const perTrace = 20

// template is an encoded request whose ids, times and two attributes are
// written anew before each send: every span on the wire is another one, at the
// cost of a few stores.
type template struct {
	body  []byte
	spans []marks
}

// marks are where the parts of a span stand in the body; parent is -1 for a
// root.
type marks struct{ trace, span, parent, start, end, request, digest int }

const startMark, endMark = 0x1122334455667788, 0x1122334455667789

// newTemplate encodes a request of n spans: about 1 KiB and 20 attributes
// each, as an instrumented agent sends them.
func newTemplate(rng *rand.Rand, n int) *template {
	td := ptrace.NewTraces()
	rs := td.ResourceSpans().AppendEmpty()
	res := rs.Resource().Attributes()
	res.PutStr("service.name", fmt.Sprintf("agent-%02d", rng.IntN(20)))
	res.PutStr("service.version", "1.4.2")
	res.PutStr("deployment.environment", "bench")
	ss := rs.ScopeSpans().AppendEmpty()
	ss.Scope().SetName("bench")
	ss.Scope().SetVersion("1")
	type sought struct {
		trace           [16]byte
		span, parent    [8]byte
		root            bool
		request, digest string
	}
	var list []sought
	var trace [16]byte
	var root [8]byte
	var conversation, agent, user, session string
	for i := range n {
		var s sought
		fill(rng, s.span[:])
		if s.root = i%perTrace == 0; s.root {
			fill(rng, trace[:])
			root = s.span
			conversation, agent = fmt.Sprintf("conv-%06d", rng.IntN(100_000)), fmt.Sprintf("checkout-agent-%d", rng.IntN(10))
			user, session = fmt.Sprintf("u-%05d", rng.IntN(50_000)), fmt.Sprintf("s-%08d", rng.IntN(1<<24))
		}
		s.trace, s.parent = trace, root
		s.request, s.digest = hexText(rng, 16), hexText(rng, 32)
		sp := ss.Spans().AppendEmpty()
		sp.SetTraceID(s.trace)
		sp.SetSpanID(s.span)
		if !s.root {
			sp.SetParentSpanID(s.parent)
		}
		sp.SetName([]string{"llm.chat", "tool.call", "retrieval.query", "policy.check", "plan.step"}[i%5])
		sp.SetKind(ptrace.SpanKindInternal)
		sp.SetStartTimestamp(startMark)
		sp.SetEndTimestamp(endMark)
		sp.Status().SetCode(ptrace.StatusCodeOk)
		attributes(rng, sp.Attributes(), i, conversation, agent, user, session, s.request, s.digest)
		list = append(list, s)
	}
	body, err := ptraceotlp.NewExportRequestFromTraces(td).MarshalProto()
	check(err)
	t := &template{body: body}
	find := func(from int, what []byte) int {
		k := bytes.Index(body[from:], what)
		if k < 0 {
			check(fmt.Errorf("mark %x is not in the encoded request", what))
		}
		return from + k
	}
	// pdata writes the fields of a message from the last to the first.
	at := 0
	for _, s := range list {
		m := marks{parent: -1}
		m.request = find(at, []byte(s.request))
		m.digest = find(m.request+32, []byte(s.digest))
		m.end = find(m.digest+64, binary.LittleEndian.AppendUint64(nil, endMark))
		m.start = find(m.end+8, binary.LittleEndian.AppendUint64(nil, startMark))
		at = m.start + 8
		if !s.root {
			m.parent = find(at, s.parent[:])
			at = m.parent + 8
		}
		m.span = find(at, s.span[:])
		m.trace = find(m.span+8, s.trace[:])
		at = m.trace + 16
		t.spans = append(t.spans, m)
	}
	return t
}

func attributes(rng *rand.Rand, a pcommon.Map, i int, conversation, agent, user, session, request, digest string) {
	a.PutStr("gen_ai.system", "openai")
	a.PutStr("gen_ai.operation.name", "chat")
	a.PutStr("gen_ai.request.model", "gpt-x-large-2026-01")
	a.PutStr("gen_ai.response.model", "gpt-x-large-2026-01-15")
	a.PutInt("gen_ai.usage.input_tokens", rng.Int64N(8000))
	a.PutInt("gen_ai.usage.output_tokens", rng.Int64N(900))
	a.PutInt("gen_ai.request.max_tokens", 4096)
	a.PutStr("gen_ai.request.temperature", "0.2")
	a.PutStr("gen_ai.conversation.id", conversation)
	a.PutStr("gen_ai.agent.name", agent)
	a.PutStr("gen_ai.tool.name", fmt.Sprintf("search_%d", rng.IntN(30)))
	a.PutStr("user.id", user)
	a.PutStr("session.id", session)
	a.PutStr("policy.decision", "allow")
	a.PutStr("policy.rule", fmt.Sprintf("rule-%02d", rng.IntN(40)))
	a.PutInt("step.index", int64(i%perTrace))
	a.PutInt("retry.count", 0)
	a.PutStr("request.id", request)
	a.PutStr("content.sha256", digest)
	var text strings.Builder
	for text.Len() < 270 {
		text.WriteString(words[rng.IntN(len(words))])
		text.WriteByte(' ')
	}
	a.PutStr("gen_ai.prompt.summary", text.String()[:270])
}

func fill(rng *rand.Rand, b []byte) {
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
}

func hexText(rng *rand.Rand, n int) string {
	b := make([]byte, n)
	fill(rng, b)
	return hex.EncodeToString(b)
}

// freshen makes all of the template's spans new ones.
func (t *template) freshen(rng *rand.Rand) {
	now := uint64(time.Now().UnixNano())
	var trace [16]byte
	var root, span [8]byte
	var raw [48]byte
	for i, m := range t.spans {
		if m.parent < 0 {
			binary.LittleEndian.PutUint64(trace[:8], rng.Uint64())
			binary.LittleEndian.PutUint64(trace[8:], rng.Uint64())
		}
		binary.LittleEndian.PutUint64(span[:], rng.Uint64())
		copy(t.body[m.trace:], trace[:])
		copy(t.body[m.span:], span[:])
		if m.parent < 0 {
			root = span
		} else {
			copy(t.body[m.parent:], root[:])
		}
		start := now - uint64(len(t.spans)-i)*50_000
		binary.LittleEndian.PutUint64(t.body[m.start:], start)
		binary.LittleEndian.PutUint64(t.body[m.end:], start+uint64(rng.Uint32N(40_000)))
		for k := 0; k < len(raw); k += 8 {
			binary.LittleEndian.PutUint64(raw[k:], rng.Uint64())
		}
		hex.Encode(t.body[m.request:], raw[:16])
		hex.Encode(t.body[m.digest:], raw[16:])
	}
}

// otlpServer is a running server of ours.
type otlpServer struct {
	cmd  *exec.Cmd
	data string
	url  string
	keys []string
}

// startServer builds the program, starts it with a data directory, and makes
// as many tenants as asked for, each with a key.
func startServer(ctx context.Context, dir, data string, tenants int) *otlpServer {
	bin := filepath.Join(dir, "runledger")
	build := exec.CommandContext(ctx, "go", "build", "-C", "..", "-o", bin, "./cmd/runledger")
	build.Stderr = os.Stderr
	check(build.Run())
	s := &otlpServer{data: data}
	s.cmd = exec.CommandContext(ctx, bin, "serve", "--data", data, "--listen", "127.0.0.1:0", "--otlp-http", "127.0.0.1:0", "--otlp-grpc", "off")
	stderr, err := s.cmd.StderrPipe()
	check(err)
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // it shall not outlive a failed measurement
	check(s.cmd.Start())
	lines := bufio.NewScanner(stderr)
	for s.url == "" && lines.Scan() {
		var line struct {
			Msg  string `json:"msg"`
			OTLP string `json:"otlp_http"`
		}
		if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "ready" {
			s.url = "http://" + line.OTLP + "/v1/traces"
		}
	}
	if s.url == "" {
		check(fmt.Errorf("the server did not start"))
	}
	go func() { _, _ = io.Copy(io.Discard, stderr) }()
	for i := range tenants {
		name := fmt.Sprintf("bench-%d-%d", time.Now().UnixNano(), i)
		_, err := exec.CommandContext(ctx, bin, "tenants", "create", name, "--data", data).CombinedOutput()
		check(err)
		out, err := exec.CommandContext(ctx, bin, "apikeys", "create", "--tenant", name, "--role", "producer", "--json", "--data", data).Output()
		check(err)
		var made struct {
			Key string `json:"key"`
		}
		check(json.Unmarshal(out, &made))
		s.keys = append(s.keys, made.Key)
	}
	return s
}

func (s *otlpServer) stop() {
	check(s.cmd.Process.Signal(syscall.SIGTERM))
	check(s.cmd.Wait())
}

// proc reads the server's CPU time and resident memory.
func (s *otlpServer) proc() (cpu time.Duration, rss int64) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.cmd.Process.Pid))
	check(err)
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+2:]))
	var user, system, pages int64
	_, err = fmt.Sscan(f[11]+" "+f[12]+" "+f[21], &user, &system, &pages)
	check(err)
	return time.Duration(user+system) * 10 * time.Millisecond, pages * int64(os.Getpagesize())
}

// drive sends batches from several senders, as exporters do: a refused
// request is sent again.
func (s *otlpServer) drive(length time.Duration, spans int64, senders, batch int) result {
	var n atomic.Int64
	var mu sync.Mutex
	var waits []time.Duration
	var wg sync.WaitGroup
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: senders, DisableCompression: true}}
	ready := make(chan struct{})
	for i := range senders {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), uint64(i)))
			var templates []*template
			for range 4 {
				templates = append(templates, newTemplate(rng, batch))
			}
			<-ready
			var own []time.Duration
			start := time.Now()
			for k := 0; (length == 0 || time.Since(start) < length) && (spans == 0 || n.Load() < spans); k++ {
				t := templates[k%len(templates)]
				t.freshen(rng)
				at := time.Now()
				s.post(client, t.body, s.keys[(i+k)%len(s.keys)])
				own = append(own, time.Since(at))
				n.Add(int64(batch))
			}
			mu.Lock()
			defer mu.Unlock()
			waits = append(waits, own...)
		})
	}
	time.Sleep(300 * time.Millisecond) // templates are being made
	cpu, start := cpuTime(), time.Now()
	server, _ := s.proc()
	close(ready)
	wg.Wait()
	took := time.Since(start).Seconds()
	after, rss := s.proc()
	slices.Sort(waits)
	ms := func(q float64) float64 { return float64(waits[int(float64(len(waits)-1)*q)].Microseconds()) / 1000 }
	per := func(d time.Duration) float64 { return d.Seconds() / float64(n.Load()) * 1e5 }
	return result{
		What: "otlp", Clients: senders, Batch: batch, Records: n.Load(), PerSec: float64(n.Load()) / took, P50: ms(0.5), P99: ms(0.99),
		CPU: per(cpuTime() - cpu + after - server), ServerCPU: per(after - server), RSS: rss >> 20,
	}
}

func (s *otlpServer) post(client *http.Client, body []byte, key string) {
	for {
		req, err := http.NewRequest(http.MethodPost, s.url, bytes.NewReader(body))
		check(err)
		req.Header.Set("Content-Type", "application/x-protobuf")
		req.Header.Set("Authorization", "Bearer "+key)
		resp, err := client.Do(req)
		check(err)
		answer, err := io.ReadAll(resp.Body)
		check(err)
		check(resp.Body.Close())
		switch {
		case resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode == http.StatusServiceUnavailable:
			time.Sleep(5 * time.Millisecond)
			continue
		case resp.StatusCode != http.StatusOK || len(answer) > 0:
			check(fmt.Errorf("%s: %q", resp.Status, answer))
		}
		return
	}
}

// otlp measures ingest through the real binary, with -stored spans there.
func (b *bench) otlp(ctx context.Context) {
	scratch, err := os.MkdirTemp(b.dir, "bench")
	check(err)
	defer os.RemoveAll(scratch)
	data := b.data
	if data == "" {
		data = filepath.Join(scratch, "data")
	}
	type shape struct{ senders, batch, tenants int }
	shapes := []shape{{8, 1000, 1}, {8, 100, 16}, {8, 1, 1}}
	if b.shape != "" {
		s := shape{tenants: 1}
		_, err := fmt.Sscanf(b.shape, "%dx%d", &s.senders, &s.batch)
		check(err)
		shapes = []shape{s}
	}
	s := startServer(ctx, scratch, data, 16)
	all := s.keys
	if have := int64(b.stored) - storedSpans(data); have > 0 && !b.quick {
		r := s.drive(0, have, 8, 1000)
		r.What = "fill"
		say(r)
	}
	for round := range b.rounds {
		for _, sh := range shapes {
			s.keys = all[:sh.tenants]
			r := s.drive(b.length, 0, sh.senders, sh.batch)
			r.What = fmt.Sprintf("otlp round %d, %d tenants", round+1, sh.tenants)
			say(r)
		}
	}
	time.Sleep(4 * time.Second) // the last runs end
	s.stop()
	sizes(data)
}

// storedSpans counts the steps of a data directory.
func storedSpans(data string) int64 {
	conn, err := sqlite.OpenConn(filepath.Join(data, "runledger.db"), sqlite.OpenReadOnly)
	check(err)
	defer conn.Close()
	n, err := sqlitex.ResultInt64(conn.Prep(`SELECT count(*) FROM r_trace_step`))
	check(err)
	return n
}

// sizes prints how many bytes each table and index takes for a span.
func sizes(data string) {
	spans := storedSpans(data)
	conn, err := sqlite.OpenConn(filepath.Join(data, "runledger.db"), sqlite.OpenReadOnly)
	check(err)
	defer conn.Close()
	total := int64(0)
	check(sqlitex.Execute(conn, `SELECT name, sum(pgsize) FROM dbstat GROUP BY name ORDER BY 2 DESC`, &sqlitex.ExecOptions{
		ResultFunc: func(s *sqlite.Stmt) error {
			total += s.ColumnInt64(1)
			if per := float64(s.ColumnInt64(1)) / float64(spans); per >= 1 {
				fmt.Printf("%-40s %7.1f B per span\n", s.ColumnText(0), per)
			}
			return nil
		},
	}))
	fmt.Printf("%-40s %7.1f B per span, %d spans\n", "all", float64(total)/float64(spans), spans)
}
