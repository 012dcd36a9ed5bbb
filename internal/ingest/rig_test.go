package ingest

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/otlp"
	"github.com/runledger/runledger/internal/runs"
	"github.com/runledger/runledger/internal/seal"
	"github.com/runledger/runledger/internal/store/storerig"
)

// fakeGate knows credentials of the form <role>-<tenant>: producer, viewer,
// and others that may do nothing.
type fakeGate struct {
	mu     sync.Mutex
	denied int
	down   error
}

func (g *fakeGate) of(header string) (Caller, error) {
	if g.down != nil {
		return Caller{}, g.down
	}
	role, tenant, ok := strings.Cut(strings.TrimPrefix(header, "Bearer "), "-")
	if !ok {
		return Caller{}, fmt.Errorf("%w: %q", ErrUnauthenticated, header)
	}
	may := map[string]string{"producer": permIngest, "viewer": permRead}[role]
	return Caller{Tenant: tenant, Credential: "key-" + role + "-" + tenant, Has: func(p string) bool { return p == may }}, nil
}

func (g *fakeGate) Authenticate(r *http.Request) (Caller, error) {
	return g.of(r.Header.Get("Authorization"))
}

func (g *fakeGate) AuthenticateRPC(_ context.Context, _ net.Addr, header func(string) []string) (Caller, error) {
	return g.of(strings.Join(header("authorization"), ""))
}

func (g *fakeGate) Require(_ context.Context, c Caller, permission, _ string) error {
	if c.has(permission) {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.denied++
	return fmt.Errorf("%w: needs %s", evidence.ErrForbidden, permission)
}

// observer keeps what it is told.
type observer struct {
	mu   sync.Mutex
	seen []runs.Observed
}

func (o *observer) Observe(_ string, records []runs.Observed) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.seen = append(o.seen, records...)
}

func (o *observer) kinds() map[string]int {
	o.mu.Lock()
	defer o.mu.Unlock()
	out := map[string]int{}
	for _, s := range o.seen {
		out[s.Record.Kind.String()]++
	}
	return out
}

// rig is a handler behind real servers, over a real ledger.
type rig struct {
	*Handler
	t    testing.TB
	gate *fakeGate
	runs *observer
	http *httptest.Server
	rpc  *grpc.ClientConn
}

func newRig(t testing.TB, change func(*Config)) *rig {
	t.Helper()
	ctx := context.Background()
	dir := filepath.Join(t.TempDir(), "data")
	db, err := storerig.Open(ctx, dir)
	must(t, err)
	master, err := seal.OpenMaster(filepath.Join(dir, "master.keyset.json"), true)
	must(t, err)
	anchor, err := ledger.NewDirAnchor(dir + ".anchor")
	must(t, err)
	l, err := ledger.Open(ctx, ledger.Config{
		Store: db, Sealer: seal.New(db, master), Anchor: anchor, Instance: "test.example",
		Logger: slog.New(slog.DiscardHandler), PublishEvery: 20 * time.Millisecond,
	})
	must(t, err)
	for _, tenant := range []string{"acme", "other"} {
		_, err := l.CreateTenant(ctx, tenant)
		must(t, err)
	}
	r := &rig{t: t, gate: &fakeGate{}, runs: &observer{}}
	cfg := Config{Ledger: l, Mapper: otlp.New(otlp.Config{}), Gate: r.gate, Runs: r.runs}
	if change != nil {
		change(&cfg)
	}
	r.Handler, err = New(cfg)
	must(t, err)
	mux := http.NewServeMux()
	r.Routes(mux, []string{"/api/public/otel/", ""})
	r.http = httptest.NewServer(mux)
	server := grpc.NewServer(r.ServerOptions()...)
	r.RegisterGRPC(server)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	go func() { _ = server.Serve(ln) }()
	r.rpc, err = grpc.NewClient(ln.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	must(t, err)
	t.Cleanup(func() {
		_ = r.rpc.Close()
		server.Stop()
		r.http.CloseClientConnections()
		r.http.Close()
		must(t, r.Close(ctx))
		must(t, l.Close())
		must(t, db.Close())
	})
	return r
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// roomBack waits until no request holds room.
func (r *rig) roomBack() {
	r.t.Helper()
	for range 1000 {
		if r.bytes.TryAcquire(r.cfg.MaxInFlight) {
			r.bytes.Release(r.cfg.MaxInFlight)
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	r.t.Error("room was not given back")
}

// call is one HTTP request.
type call struct {
	method, path string
	credential   string // default that of acme's producer
	contentType  string
	encoding     string
	body         []byte
	reader       io.Reader // instead of body: chunked
}

type reply struct {
	status int
	header http.Header
	body   []byte
}

func (r *rig) do(c call) reply {
	r.t.Helper()
	out, err := r.try(c)
	must(r.t, err)
	return out
}

func (r *rig) try(c call) (reply, error) {
	var body io.Reader = bytes.NewReader(c.body)
	if c.reader != nil {
		body = c.reader
	}
	if c.method == "" {
		c.method = http.MethodPost
	}
	req, err := http.NewRequest(c.method, r.http.URL+c.path, body)
	if err != nil {
		return reply{}, err
	}
	switch c.credential {
	case "":
		c.credential = "producer-acme"
		fallthrough
	default:
		req.Header.Set("Authorization", "Bearer "+c.credential)
	case "none":
	}
	if c.contentType != "" {
		req.Header.Set("Content-Type", c.contentType)
	}
	if c.encoding != "" {
		req.Header.Set("Content-Encoding", c.encoding)
	}
	resp, err := r.http.Client().Do(req)
	if err != nil {
		return reply{}, err
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	return reply{resp.StatusCode, resp.Header, got}, err
}

func (r *rig) traces(tenant string, td ptrace.Traces) reply {
	r.t.Helper()
	return r.do(call{path: "/v1/traces", credential: "producer-" + tenant, contentType: typeProtobuf, body: protoTraces(r.t, td)})
}

func protoTraces(t testing.TB, td ptrace.Traces) []byte {
	b, err := ptraceotlp.NewExportRequestFromTraces(td).MarshalProto()
	must(t, err)
	return b
}

func protoLogs(t testing.TB, ld plog.Logs) []byte {
	b, err := plogotlp.NewExportRequestFromLogs(ld).MarshalProto()
	must(t, err)
	return b
}

func protoMetrics(t testing.TB, md pmetric.Metrics) []byte {
	b, err := pmetricotlp.NewExportRequestFromMetrics(md).MarshalProto()
	must(t, err)
	return b
}

func gzipped(t testing.TB, b []byte) []byte {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	_, err := z.Write(b)
	must(t, errors.Join(err, z.Close()))
	return out.Bytes()
}

// spans is n spans of a trace, the first the root of the others.
func spans(trace byte, n int) ptrace.Traces {
	td := ptrace.NewTraces()
	rs := td.ResourceSpans().AppendEmpty()
	rs.Resource().Attributes().PutStr("service.name", "svc")
	ss := rs.ScopeSpans().AppendEmpty()
	for i := range n {
		s := ss.Spans().AppendEmpty()
		s.SetTraceID(pcommon.TraceID{15: trace, 0: 1})
		s.SetSpanID(pcommon.SpanID{byte(i >> 8), byte(i), 7: 1})
		if i > 0 {
			s.SetParentSpanID(pcommon.SpanID{7: 1})
		}
		s.SetName(fmt.Sprintf("step %d", i))
		s.SetStartTimestamp(pcommon.NewTimestampFromTime(time.Unix(1_790_000_000, int64(i)*1000)))
		s.SetEndTimestamp(pcommon.NewTimestampFromTime(time.Unix(1_790_000_001, 0)))
	}
	return td
}

func logs(n int) plog.Logs {
	ld := plog.NewLogs()
	rl := ld.ResourceLogs().AppendEmpty()
	rl.Resource().Attributes().PutStr("service.name", "svc")
	sl := rl.ScopeLogs().AppendEmpty()
	for i := range n {
		rec := sl.LogRecords().AppendEmpty()
		rec.SetTimestamp(pcommon.NewTimestampFromTime(time.Unix(1_790_000_000, 0)))
		rec.Body().SetStr(fmt.Sprintf("line %d", i))
	}
	return ld
}

func metricData() pmetric.Metrics {
	md := pmetric.NewMetrics()
	rm := md.ResourceMetrics().AppendEmpty()
	rm.Resource().Attributes().PutStr("service.name", "svc")
	m := rm.ScopeMetrics().AppendEmpty().Metrics().AppendEmpty()
	m.SetName("requests")
	p := m.SetEmptySum().DataPoints().AppendEmpty()
	p.SetTimestamp(pcommon.NewTimestampFromTime(time.Unix(1_790_000_000, 0)))
	p.SetIntValue(3)
	return md
}

// leaves returns the leaves of a tenant's log.
func (r *rig) leaves(tenant string) []*evidence.Leaf {
	r.t.Helper()
	ctx := context.Background()
	var out []*evidence.Leaf
	all, err := r.cfg.Ledger.Logs(ctx, tenant)
	must(r.t, err)
	_, _, err = r.cfg.Ledger.PublishNow(ctx, tenant, all[0].No)
	must(r.t, err)
	size := r.cfg.Ledger.Integrity(tenant).TreeSize
	must(r.t, r.cfg.Ledger.Leaves(ctx, tenant, all[0].No, 0, size, func(_ int64, raw []byte) error {
		leaf, err := evidence.ParseLeaf(bytes.Clone(raw))
		out = append(out, leaf)
		return err
	}))
	return out
}

// count returns how many records of a kind a tenant has, own ones of the
// ledger left out.
func (r *rig) count(tenant string) map[string]int {
	r.t.Helper()
	out := map[string]int{}
	for _, l := range r.leaves(tenant) {
		if l.Text("producer") != "" {
			out[l.Kind.String()]++
		}
	}
	return out
}
