package replay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/runledger/runledger/answer"
	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/facade"
	"github.com/runledger/runledger/internal/ingest"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/otlp"
	"github.com/runledger/runledger/internal/runs"
	"github.com/runledger/runledger/internal/seal"
	"github.com/runledger/runledger/internal/store/storerig"
)

// noGate lets nobody in: what comes through it in these tests is a mistake.
type noGate struct{}

func (noGate) Authenticate(*http.Request) (ingest.Caller, error) {
	return ingest.Caller{}, ingest.ErrUnauthenticated
}

func (noGate) AuthenticateRPC(context.Context, net.Addr, func(string) []string) (ingest.Caller, error) {
	return ingest.Caller{}, ingest.ErrUnauthenticated
}

func (noGate) Require(context.Context, ingest.Caller, string, string) error {
	return evidence.ErrForbidden
}

// rig is the API over a real facade, ingest, tracker, ledger and database, with
// tenants of its own, which tests call acme and other.
type rig struct {
	*Replay
	*parts
	t     testing.TB
	ctx   context.Context
	n     int
	start evidence.Micros // when the traces of the tests begin
}

// parts are what the rigs of several tests have in common: it takes a while to
// open a database.
type parts struct {
	ledger *ledger.Ledger
	ingest *ingest.Handler
	facade *facade.Facade
	close  func() error
	rigs   atomic.Int64
}

var shared = sync.OnceValues(func() (*parts, error) {
	dir, err := os.MkdirTemp("", "replay")
	if err != nil {
		return nil, err
	}
	p, err := open(dir)
	if err != nil {
		return nil, err
	}
	files := p.close
	p.close = func() error { return errors.Join(files(), os.RemoveAll(dir)) }
	return p, nil
})

func TestMain(m *testing.M) {
	status := m.Run()
	if p, err := shared(); err != nil {
		fmt.Println(err)
		status = 1
	} else if err := p.close(); err != nil {
		fmt.Println(err)
		status = 1
	}
	os.Exit(status)
}

// maxBody bounds what ingest takes at once, so that too much is not very much.
const maxBody = 4 << 20

func open(dir string) (*parts, error) {
	ctx, quiet := context.Background(), slog.New(slog.DiscardHandler)
	db, err := storerig.Open(ctx, filepath.Join(dir, "data"))
	if err != nil {
		return nil, err
	}
	master, err := seal.OpenMaster(filepath.Join(dir, "data", "master.keyset.json"), true)
	if err != nil {
		return nil, err
	}
	anchor, err := ledger.NewDirAnchor(filepath.Join(dir, "anchor"))
	if err != nil {
		return nil, err
	}
	p := &parts{}
	p.ledger, err = ledger.Open(ctx, ledger.Config{
		Store: db, Sealer: seal.New(db, master), Anchor: anchor, Instance: "test.example", Logger: quiet,
	})
	if err != nil {
		return nil, err
	}
	mapper := otlp.New(otlp.Config{})
	tracker, err := runs.Open(ctx, runs.Config{Ledger: p.ledger, Reread: mapper.Reread, Logger: quiet})
	if err != nil {
		return nil, err
	}
	p.ingest, err = ingest.New(ingest.Config{Ledger: p.ledger, Mapper: mapper, Runs: tracker, Gate: noGate{}, MaxBody: maxBody})
	p.facade = facade.New(facade.Config{Ledger: p.ledger, Runs: tracker})
	p.close = func() error {
		return errors.Join(p.ingest.Close(ctx), tracker.Close(ctx), p.ledger.Close(), db.Close())
	}
	return p, err
}

func newRig(t testing.TB) *rig {
	t.Helper()
	p, err := shared()
	if err != nil {
		t.Fatal(err)
	}
	return rigOf(t, p)
}

func rigOf(t testing.TB, p *parts) *rig {
	t.Helper()
	r := &rig{parts: p, t: t, ctx: context.Background(), n: int(p.rigs.Add(1)), start: evidence.MicrosOf(time.Now().Add(-time.Hour))}
	for _, name := range []string{"acme", "other"} {
		_, err := r.ledger.CreateTenant(r.ctx, r.tenant(name))
		r.must(err)
	}
	var err error
	r.Replay, err = New(Config{Facade: p.facade, Ingest: p.ingest})
	r.must(err)
	return r
}

func (r *rig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// tenant is the tenant that this test calls by a name.
func (r *rig) tenant(name string) string { return fmt.Sprintf("%s-%d", name, r.n) }

// reader reads a tenant with content; plain without.
func (r *rig) reader(name string) facade.Reader {
	rd := r.plain(name)
	rd.Content = true
	return rd
}

func (r *rig) plain(name string) facade.Reader {
	return facade.Reader{Tenant: r.tenant(name), MaxRows: 100, MaxRange: 7 * 24 * time.Hour}
}

func (r *rig) writer(name string) Writer {
	return Writer{Reader: r.reader(name), Credential: "key-" + name}
}

// sample is a trace of a run: a root, a tool, a model call, and a second tool
// with a call below it.
func (r *rig) sample(run string) *TraceRequest {
	h := evidence.NaturalID("", evidence.KindTrace, run)
	at := func(i int) string { return (r.start + evidence.Micros(i*1000)).String() }
	span := func(i int) string { return fmt.Sprintf("%016x", i+1) }
	raw := func(v any) json.RawMessage {
		b, err := json.Marshal(v)
		r.must(err)
		return b
	}
	n := int64(12)
	return &TraceRequest{
		RunID: run, TraceID: fmt.Sprintf("%x", h[:]), OccurredAt: at(0), Seed: "7", FrozenTimestamp: "2026-01-01T00:00:00Z",
		RootHash: "root of " + run, PlanHash: "plan 1", Plan: raw(map[string]any{"goal": "refund"}), SchemaVersion: "2", AgentID: "planner",
		Steps: []StepRequest{
			{OccurredAt: at(0), SpanID: span(0), StepKind: "agent", SkillName: "refund", Status: "success", DurationUS: &n},
			{
				OccurredAt: at(1), SpanID: span(1), ParentSpanID: span(0), StepKind: "tool", SkillID: "crm", SkillName: "lookup", Status: "success",
				Params: json.RawMessage(`{"id": 12345678901234567890, "z": [1, 2]}`), OutcomeData: raw("found"), OutcomeCode: "200",
			},
			{
				OccurredAt: at(2), SpanID: span(2), ParentSpanID: span(0), StepKind: "llm", SkillName: "chat", Status: "success",
				Prompt: raw("hello"), Response: raw("hi"), InputHash: raw("in 2"), OutputHash: raw("out 2"), InputTokens: &n, OutputTokens: &n,
			},
			{
				OccurredAt: at(3), SpanID: span(3), ParentSpanID: span(0), StepKind: "tool", SkillID: "pay", SkillName: "refund", Status: "success",
				IdempotencyKey: "refund-1", ReplayBehavior: "skip", Params: raw(map[string]any{"cents": 500}), OutcomeData: raw("done"),
			},
			{
				OccurredAt: at(4), SpanID: span(4), ParentSpanID: span(3), StepKind: "tool", SkillName: "http", Status: "success",
				ReplayBehavior: "check", Params: raw("POST"), OutcomeData: raw(201),
			},
		},
	}
}

func (r *rig) store(tenant string, q *TraceRequest) *answer.TraceReceipt {
	r.t.Helper()
	out, err := r.StoreTrace(r.ctx, r.writer(tenant), q)
	r.must(err)
	return out
}

// wantError checks the sentinel, and the field where it is not "".
func wantError(t *testing.T, err, sentinel error, field string) {
	t.Helper()
	if !errors.Is(err, sentinel) {
		t.Errorf("error %v, want one that is %q", err, sentinel)
	}
	var fe *evidence.FieldError
	if field != "" && (!errors.As(err, &fe) || fe.Field != field) {
		t.Errorf("error %v, want one of field %q", err, field)
	}
}
