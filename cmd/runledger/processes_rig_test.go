package main

import (
	"bufio"
	"bytes"
	"context"
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
	"syscall"
	"testing"
	"time"

	"github.com/runledger/runledger/internal/store/pgtest"
	"github.com/runledger/runledger/internal/store/postgres"
)

// fleet is several servers of ours on one PostgreSQL, each a process of its own.
type fleet struct {
	t       *testing.T
	dir     string
	pg      *pgtest.Server
	dsn     pgtest.DSNs
	flags   []string // of every server
	members []*member
	keys    map[string]string // of producers, by tenant
}

// member is one of them. It comes back at the same address.
type member struct {
	f       *fleet
	name    string
	dsn     string
	api     string
	flags   []string
	mu      sync.Mutex // guards what follows
	cmd     *exec.Cmd
	said    []string // what it logged last
	ended   chan struct{}
	outcome error
}

// newFleet makes a database on the test process's PostgreSQL and starts n servers on it.
// flags are of all of them.
func newFleet(t *testing.T, n int, flags ...string) *fleet {
	t.Helper()
	f := &fleet{t: t, flags: flags, pg: pgtest.Get(t)}
	f.dsn = pgtest.Copy(t, "migrated", func(d pgtest.DSNs) error {
		db, err := postgres.Open(t.Context(), postgres.Config{DSN: d.App, OwnerDSN: d.Owner})
		if err != nil {
			return err
		}
		return db.Close()
	})
	f.settle(n)
	return f
}

// newFleetAlone is newFleet on a PostgreSQL of its own, for what stops or copies it; the
// database is empty at first.
func newFleetAlone(t *testing.T, n int) *fleet {
	t.Helper()
	f := &fleet{t: t, pg: pgtest.Start(t)}
	f.dsn = f.pg.Database(t)
	f.settle(n)
	return f
}

func (f *fleet) settle(n int) {
	t := f.t
	t.Helper()
	f.dir, f.keys = t.TempDir(), map[string]string{}
	f.cli("init", "--data", f.path("first"), "--store-owner", f.dsn.Owner)
	for i := range n {
		m := &member{f: f, name: fmt.Sprintf("p%d", i+1), dsn: f.dsn.App, api: freeAddress(t)}
		f.members = append(f.members, m)
	}
	t.Cleanup(func() {
		for _, m := range f.members {
			m.kill()
			if t.Failed() {
				t.Logf("%s said last:\n%s", m.name, strings.Join(m.said, "\n"))
			}
		}
	})
}

func (f *fleet) path(name string) string { return filepath.Join(f.dir, name) }

// start starts all members at the same time.
func (f *fleet) start() *fleet {
	f.t.Helper()
	var starting sync.WaitGroup
	for _, m := range f.members {
		starting.Go(func() {
			if err := m.start(); err != nil {
				f.t.Errorf("%s: %v", m.name, err)
			}
		})
	}
	starting.Wait()
	if f.t.Failed() {
		f.t.FailNow()
	}
	return f
}

// store are the flags by which a command finds the ledger.
func (f *fleet) store(dsn string) []string {
	return []string{"--store", dsn, "--anchor", f.path("anchor"), "--master-keyset", f.path("master.json")}
}

func (f *fleet) cli(args ...string) []byte {
	f.t.Helper()
	var stderr bytes.Buffer
	cmd := exec.Command("runledger", append(append(args, f.store(f.dsn.App)...), "--json")...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		f.t.Fatalf("%v: %v\n%s%s", args, err, out, stderr.Bytes())
	}
	return out
}

// tenant makes a tenant and a key of a producer, through one member.
func (f *fleet) tenant(m *member, name string) {
	f.t.Helper()
	f.cli("tenants", "create", name, "--data", f.path(m.name))
	f.keys[name] = f.key(m, name, "producer")
}

func (f *fleet) key(m *member, tenant, role string) string {
	f.t.Helper()
	var made struct{ Key string }
	if err := json.Unmarshal(f.cli("apikeys", "create", "--tenant", tenant, "--role", role, "--data", f.path(m.name)), &made); err != nil {
		f.t.Fatal(err)
	}
	return made.Key
}

// start starts a member and waits until it serves.
func (m *member) start() error {
	args := append([]string{
		"serve", "--data", m.f.path(m.name), "--process", m.name, "--listen", m.api, "--otlp-http", "off", "--otlp-grpc", "off",
		"--run-root-quiet", "300ms",
	}, m.f.store(m.dsn)...)
	cmd := exec.Command("runledger", append(append(args, m.f.flags...), m.flags...)...)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	ready, ended := make(chan struct{}), make(chan struct{})
	m.mu.Lock()
	m.cmd, m.ended = cmd, ended
	m.mu.Unlock()
	go func() {
		lines := bufio.NewScanner(stderr)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			m.mu.Lock()
			m.said = append(m.said[max(0, len(m.said)-60):], lines.Text())
			m.mu.Unlock()
			if strings.Contains(lines.Text(), `"msg":"ready"`) {
				close(ready)
			}
		}
		err := cmd.Wait()
		m.mu.Lock()
		m.outcome = err
		m.mu.Unlock()
		close(ended)
	}()
	select {
	case <-ready:
		return nil
	case <-ended:
	case <-time.After(90 * time.Second):
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return fmt.Errorf("it does not get ready:\n%s", strings.Join(m.said, "\n"))
}

// signal sends a signal and waits for the end, whose error it returns.
func (m *member) signal(sig os.Signal) error {
	m.mu.Lock()
	cmd, ended := m.cmd, m.ended
	m.mu.Unlock()
	if cmd == nil {
		return nil
	}
	_ = cmd.Process.Signal(sig) // it may have ended
	<-ended
	return m.outcome
}

func (m *member) kill() { _ = m.signal(syscall.SIGKILL) }

// patient gives up a connection rather than to wait for a server that is gone.
var patient = &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true}}

// ask sends a request to a member and returns status and body; 0 where there was no
// answer.
func (m *member) ask(method, path, key string, header map[string]string, body string) (int, []byte) {
	req, err := http.NewRequest(method, "http://"+m.api+path, strings.NewReader(body))
	if err != nil {
		panic(err)
	}
	req.Header.Set("X-Api-Key", key)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for k, v := range header {
		req.Header.Set(k, v)
	}
	resp, err := patient.Do(req)
	if err != nil {
		return 0, nil
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, nil
	}
	return resp.StatusCode, b
}

// receipt is what a producer keeps of a record.
type receipt struct {
	ID        string
	LogNo     int    `json:"log_no"`
	LeafIndex int64  `json:"leaf_index"`
	LeafHash  string `json:"leaf_hash"`
	Duplicate bool
}

// producer sends batches of records, each until a server acknowledges it: whichever
// answers.
type producer struct {
	f       *fleet
	tenant  string
	rng     *rand.Rand
	acked   []receipt
	repeats int // attempts beyond the first of each batch
	refused []string
	slowest time.Duration
}

// run sends until ctx is done. What it has begun it brings to its end. Now and then it
// draws breath: a machine that does nothing but take records starts no server, and shows
// no more than one that is busy.
func (p *producer) run(ctx context.Context) {
	for ctx.Err() == nil {
		time.Sleep(time.Duration(p.rng.IntN(80)) * time.Millisecond)
		body := p.batch()
		began := time.Now()
		for try := 0; ; try++ {
			if try > 0 {
				p.repeats++
				time.Sleep(time.Duration(10+p.rng.IntN(40)) * time.Millisecond)
			}
			if time.Since(began) > 2*time.Minute {
				p.refused = append(p.refused, "a batch was not acknowledged for two minutes")
				return
			}
			m := p.f.members[p.rng.IntN(len(p.f.members))]
			status, answer := m.ask(http.MethodPost, "/api/v1/ingest/records", p.f.keys[p.tenant], nil, body)
			if status == http.StatusOK {
				p.keep(answer)
				break
			}
			if status != 0 && status != http.StatusServiceUnavailable && status != http.StatusTooManyRequests {
				p.refused = append(p.refused, fmt.Sprintf("%s answered %d %s", m.name, status, answer))
				return
			}
		}
		p.slowest = max(p.slowest, time.Since(began))
	}
}

func (p *producer) keep(answer []byte) {
	var got struct{ Receipts []receipt }
	if err := json.Unmarshal(answer, &got); err != nil || len(got.Receipts) == 0 {
		p.refused = append(p.refused, fmt.Sprintf("acknowledged by %q: %v", answer, err))
	}
	p.acked = append(p.acked, got.Receipts...)
}

// batch makes one to twenty records: steps of a run, or what a system did.
func (p *producer) batch() string {
	id := func() string {
		var b [16]byte
		for i := range b {
			b[i] = byte(p.rng.Uint32())
		}
		b[6], b[8] = b[6]&0x0f|0x70, b[8]&0x3f|0x80
		return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
	}
	at := time.Now().UTC().Format("2006-01-02T15:04:05.000000Z")
	var lines []string
	run := id()
	for i := range 1 + p.rng.IntN(20) {
		if i%3 == 0 {
			lines = append(lines, fmt.Sprintf(`{"kind":"system","id":%q,"occurred_at":%q,"source_domain":"SYSTEM","source_component":"test","component":"worker","event_type":"RESTART","severity":"INFO","summary":"again"}`, id(), at))
			continue
		}
		parent := ""
		if i > 1 {
			parent = `"parent_span_id":"0000000000000001",`
		}
		lines = append(lines, fmt.Sprintf(`{"kind":"trace_step","occurred_at":%q,"run_id":%q,"trace_id":%q,"span_id":"%016x",%s"source_domain":"ACTIVITY","source_component":"test","skill_name":"s","step_kind":"tool","status":"success"}`,
			at, run, strings.ReplaceAll(run, "-", ""), i, parent))
	}
	return "[" + strings.Join(lines, ",") + "]"
}

// load runs producers of the tenants until stop is called, which returns them.
func (f *fleet) load(perTenant int, tenants ...string) (stop func() []*producer) {
	ctx, cancel := context.WithCancel(f.t.Context())
	var sending sync.WaitGroup
	var all []*producer
	for i, tenant := range slices.Repeat(tenants, perTenant) {
		p := &producer{f: f, tenant: tenant, rng: rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), uint64(i)))}
		all = append(all, p)
		sending.Go(func() { p.run(ctx) })
	}
	return func() []*producer {
		cancel()
		sending.Wait()
		return all
	}
}
