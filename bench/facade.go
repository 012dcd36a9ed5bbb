package main

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/server"
)

// facadeTenant is the tenant whose logs are read.
const facadeTenant = "reading"

// facadeDays is over how many days the stored runs are spread: the standing
// rules show the last seven.
const facadeDays = 6

// facade measures the answers of the API through the real binary, the durable
// record of each access included, with -stored steps there.
func (b *bench) facade(ctx context.Context) {
	scratch, err := os.MkdirTemp(b.dir, "bench")
	check(err)
	defer os.RemoveAll(scratch)
	data := b.data
	if data == "" {
		data = filepath.Join(scratch, "data")
	}
	runs := b.fillRuns(ctx, server.Config{Data: data, Create: true}, func() int64 { return storedRuns(data) })
	f := startServer(ctx, scratch, data, 1)
	b.ask(ctx, f, runs)
	f.stop()
}

// ask measures the answers of the first server, without and with ingest.
func (b *bench) ask(ctx context.Context, f *fleet, runs int64) {
	r := &reader{base: f.servers[0].url, key: f.key(ctx, facadeTenant, "auditor"), runs: runs, client: &http.Client{}}
	r.measure(b, "idle")
	stop := make(chan struct{})
	var load sync.WaitGroup
	load.Go(func() { f.paced(stop) })
	time.Sleep(2 * time.Second)
	r.measure(b, "under ingest")
	close(stop)
	load.Wait()
	time.Sleep(4 * time.Second) // the last runs end
}

// runNo names a run: an id that looks random and can be told again.
func runNo(i int64) string {
	rng := rand.NewPCG(uint64(i), 0x5eed)
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], rng.Uint64())
	binary.BigEndian.PutUint64(b[8:], rng.Uint64())
	return hex.EncodeToString(b[:])
}

// fillRuns fills a deployment up to -stored steps and returns how many runs it has;
// stored counts those that are there.
func (b *bench) fillRuns(ctx context.Context, cfg server.Config, stored func() int64) int64 {
	want := int64(b.stored) / spansPerTrace
	if b.quick {
		want = 50
	}
	d, err := server.Open(ctx, cfg)
	check(err)
	_, err = d.Ledger.CreateTenant(ctx, facadeTenant)
	have := int64(0)
	if err != nil { // it is there from before
		have = stored()
	}
	start := evidence.MicrosOf(time.Now().Add(-facadeDays * 24 * time.Hour))
	step := int64(facadeDays*24*time.Hour/time.Microsecond) / max(want, 1)
	var next sync.Mutex
	at := have
	var fill sync.WaitGroup
	began := time.Now()
	for w := range 8 {
		fill.Go(func() {
			g := newGenerator(uint64(w) + uint64(have)*8 + 100)
			for {
				next.Lock()
				from := at
				at += 45
				next.Unlock()
				if from >= want {
					return
				}
				var batch []*evidence.Record
				for i := from; i < min(from+45, want); i++ {
					batch = append(batch, g.run(i, start+evidence.Micros(i*step))...)
				}
				_, err := d.Ledger.Append(ctx, facadeTenant, batch, ledger.AppendOptions{})
				check(err)
			}
		})
	}
	fill.Wait()
	if want > have {
		fmt.Printf("filled %d runs in %v\n", want-have, time.Since(began).Round(time.Second))
	}
	check(d.Close())
	return max(want, have)
}

// storedRuns counts the runs of the tenant whose logs are read.
func storedRuns(data string) int64 {
	conn, err := sqlite.OpenConn(filepath.Join(data, "runledger.db"), sqlite.OpenReadOnly)
	check(err)
	defer conn.Close()
	s := conn.Prep(`SELECT count(*) FROM r_llm_run AS r JOIN logs AS l ON l.log_key = r.row >> 40
		JOIN tenants AS t ON t.tenant_no = l.tenant_no WHERE t.tenant_id = $tenant`)
	s.SetText("$tenant", facadeTenant)
	n, err := sqlitex.ResultInt64(s)
	check(err)
	return n
}

// run returns all records of a run: trace, 20 steps, now and then governance
// and system events, and the run itself.
func (g *generator) run(i int64, at evidence.Micros) []*evidence.Record {
	id := runNo(i)
	g.trace, g.left, g.step, g.at = id, spansPerTrace, 0, at
	base := func(kind evidence.Kind, when evidence.Micros) *evidence.Record {
		r := &evidence.Record{Kind: kind, OccurredAt: when, Run: id}
		r.SetText("source_domain", "ACTIVITY")
		r.SetText("source_component", "TraceStore")
		return r
	}
	tr := base(evidence.KindTrace, at)
	tr.SetText("trace_id", id)
	tr.SetText("schema_version", "1")
	tr.SetInt("started_at", int64(at))
	list := []*evidence.Record{tr}
	for range spansPerTrace {
		list = append(list, g.record())
	}
	if i%20 == 0 {
		for k, event := range []string{"PolicyEvaluated", "LimitChecked", "LimitOverrideGranted"} {
			a := base(evidence.KindAudit, g.at)
			a.ID = ledger.NewID(g.at)
			a.SetText("event_type", event)
			a.SetText("entity_type", []string{"POLICY_RULE", "LIMIT", "LIMIT"}[k])
			a.SetText("entity_id", "rule-7")
			a.SetText("policy_id", "refunds")
			a.SetText("decision", []string{"PASSED", "WARNED", "ALLOWED"}[k])
			a.SetText("actor_type", "SYSTEM")
			a.SetText("system_id", "policy-engine")
			list = append(list, a)
		}
	}
	if i%50 == 0 {
		s := base(evidence.KindSystem, g.at)
		s.Run = ""
		s.ID = ledger.NewID(g.at)
		s.SetText("component", []string{"worker", "api", "db"}[i/50%3])
		s.SetText("event_type", []string{"HEALTH_CHECK", "RESTART", "DEPLOY", "ERROR"}[i/50%4])
		s.SetText("severity", pickRare(i, 100_000, "CRITICAL", "INFO"))
		s.SetText("caused_by", "AUTOMATION")
		s.SetSealed("/summary", []byte(`"a component said something"`))
		list = append(list, s)
	}
	run := base(evidence.KindLLMRun, at)
	run.SetText("trace_id", id)
	run.SetInt("revision", 1)
	run.SetText("execution_status", pickRare(i, 20_000, "TIMEOUT", "SUCCEEDED"))
	run.SetText("outcome", pickRare(i, 20_000, "terminated", "success"))
	run.SetText("provider", "openai")
	run.SetText("model", models[i%3])
	run.SetText("agent_id", fmt.Sprintf("agent-%d", i%5000))
	run.SetText("conversation_id", fmt.Sprintf("conversation-%d", i/4))
	run.SetText("correlation_id", fmt.Sprintf("order-%d", i/2))
	run.SetInt("started_at", int64(at))
	run.SetInt("completed_at", int64(g.at))
	run.SetInt("step_count", spansPerTrace)
	run.SetInt("record_count", int64(len(list)+1))
	run.SetText("sealed_by", "root_span")
	run.SetHumanActor(fmt.Sprintf("person-%d", i%1000))
	run.SetSealed("/prompt", []byte(`"`+g.text(200)+`"`))
	run.SetSealed("/response", []byte(`"`+g.text(300)+`"`))
	list = append(list, run)
	for _, r := range list {
		check(r.Complete())
	}
	return list
}

func pickRare(i, every int64, rare, usual string) string {
	if i%every == every-1 {
		return rare
	}
	return usual
}

// reader asks the API.
type reader struct {
	base, key string
	runs      int64
	client    *http.Client
}

// question is one kind of request; path is made for a random run.
type question struct {
	name string
	path func(run int64, at time.Time) string
}

func (r *reader) questions() []question {
	of := func(format string) func(int64, time.Time) string {
		return func(run int64, _ time.Time) string { return fmt.Sprintf(format, runNo(run)) }
	}
	list := func(query string) func(int64, time.Time) string {
		return func(run int64, _ time.Time) string {
			return "/api/v1/logs/" + strings.NewReplacer("{run}", runNo(run), "{n4}", fmt.Sprint(run/4), "{n2}", fmt.Sprint(run/2),
				"{n5000}", fmt.Sprint(run%5000), "{n1000}", fmt.Sprint(run%1000)).Replace(query)
		}
	}
	return []question{
		{"integrity: nothing read, only recorded", func(int64, time.Time) string { return "/api/v1/logs/audit/integrity" }},
		{"envelope", of("/api/v1/logs/llm-runs/%s/envelope")},
		{"trace, 20 steps", of("/api/v1/logs/llm-runs/%s/trace")},
		{"governance", of("/api/v1/logs/llm-runs/%s/governance")},
		{"replay", of("/api/v1/logs/llm-runs/%s/replay")},
		{"system snapshot", of("/api/v1/logs/system/%s/snapshot")},
		{"system replay", of("/api/v1/logs/system/%s/replay")},
		{"runs", list("llm-runs")},
		{"runs, run_id", list("llm-runs?run_id={run}")},
		{"runs, trace_id", list("llm-runs?trace_id={run}")},
		{"runs, provider", list("llm-runs?provider=openai")},
		{"runs, model", list("llm-runs?model=" + models[1])},
		{"runs, status=TIMEOUT (rare)", list("llm-runs?status=TIMEOUT")},
		{"runs, status=RUNNING", list("llm-runs?status=RUNNING")},
		{"runs, outcome", list("llm-runs?outcome=success")},
		{"runs, agent_id", list("llm-runs?agent_id=agent-{n5000}")},
		{"runs, human_actor_id", list("llm-runs?human_actor_id=person-{n1000}")},
		{"runs, correlation_id", list("llm-runs?correlation_id=order-{n2}")},
		{"runs, conversation_id", list("llm-runs?conversation_id=conversation-{n4}")},
		{"runs, an hour long ago", func(run int64, at time.Time) string {
			from := at.Add(-time.Duration(24+run%100) * time.Hour)
			return "/api/v1/logs/llm-runs?occurred_after=" + from.UTC().Format(time.RFC3339) +
				"&occurred_before=" + from.Add(time.Hour).UTC().Format(time.RFC3339)
		}},
		{"system", list("system")},
		{"system, severity=CRITICAL (rare)", list("system?severity=CRITICAL")},
		{"system, component", list("system?component=db")},
		{"system, event_type", list("system?event_type=DEPLOY")},
		{"audit", list("audit")},
		{"audit, event_type", list("audit?event_type=LimitChecked")},
		{"audit, run_id", list("audit?run_id={run}")},
		{"audit, actor_id", list("audit?actor_id=policy-engine")},
		{"audit, access", list("audit/access")},
	}
}

// measure asks each question for a while and prints what it took.
func (r *reader) measure(b *bench, when string) {
	rng := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 3))
	fmt.Printf("\n%d runs of 20 steps, %s; durable access record included\n", r.runs, when)
	for _, q := range r.questions() {
		var waits []time.Duration
		for start := time.Now(); time.Since(start) < b.length && len(waits) < 2000; {
			path := q.path(rng.Int64N(r.runs), time.Now())
			at := time.Now()
			r.get(path)
			waits = append(waits, time.Since(at))
		}
		slices.Sort(waits)
		ms := func(f float64) float64 { return float64(waits[int(float64(len(waits)-1)*f)].Microseconds()) / 1000 }
		fmt.Printf("| %s | %.2f | %.2f | %d |\n", q.name, ms(0.5), ms(0.99), len(waits))
	}
}

func (r *reader) get(path string) {
	req, err := http.NewRequest(http.MethodGet, r.base+path, nil)
	check(err)
	req.Header.Set("Authorization", "Bearer "+r.key)
	resp, err := r.client.Do(req)
	check(err)
	body, err := io.ReadAll(resp.Body)
	check(err)
	check(resp.Body.Close())
	if resp.StatusCode != http.StatusOK {
		check(fmt.Errorf("%s: %s: %s", path, resp.Status, body))
	}
}
