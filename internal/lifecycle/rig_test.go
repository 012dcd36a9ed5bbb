package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/archive"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/seal"
	"github.com/runledger/runledger/internal/store"
	"github.com/runledger/runledger/internal/store/storerig"
)

const tenant = "acme"

// clock is one that stands until it is moved, and ends at the real time: the databases
// have clocks of their own.
type clock struct {
	mu   sync.Mutex
	at   time.Time
	boot time.Duration
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) booted() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.boot
}

func (c *clock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at, c.boot = c.at.Add(d), c.boot+d
}

// today is the same in all tests, whenever midnight is.
var today = time.Now().UTC().Truncate(time.Second)

func ago(days int) time.Time { return today.AddDate(0, 0, -days) }

// template has the history of makeHistory.
var template storerig.Template

func TestMain(m *testing.M) { os.Exit(template.Run(m)) }

type rig struct {
	*Service
	t      testing.TB
	base   string
	clock  *clock
	ledger *ledger.Ledger
	db     store.Store
	sealer *seal.Sealer
	anchor ledger.Anchor
	cfg    Config
	close  func()
}

// newRig returns a service over a copy of the history, with an archive in a directory.
func newRig(t testing.TB, change func(c *Config)) *rig {
	t.Helper()
	base := template.Copy(t, "data/master.json", func(dir string) {
		r := openRig(t, dir, &clock{at: ago(historyDays)}, nil)
		makeHistory(r)
		r.close()
	})
	r := openRig(t, base, &clock{at: today}, change)
	t.Cleanup(func() { r.close() })
	return r
}

func openRig(t testing.TB, base string, c *clock, change func(c *Config)) *rig {
	t.Helper()
	return openRigOver(t, base, c, change, func(s store.Store) store.Store { return s })
}

// openRigOver has something stand before the store.
func openRigOver(t testing.TB, base string, c *clock, change func(c *Config), over func(store.Store) store.Store) *rig {
	t.Helper()
	ctx := context.Background()
	dir := filepath.Join(base, "data")
	db, err := storerig.Open(ctx, dir)
	if err != nil {
		t.Fatal(err)
	}
	master, err := seal.OpenMaster(filepath.Join(dir, "master.json"), true)
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, base: base, clock: c}
	if r.anchor, err = ledger.NewDirAnchor(filepath.Join(base, "anchor")); err != nil {
		t.Fatal(err)
	}
	arch, err := archive.Open(archive.Config{Spec: filepath.Join(base, "archive"), Spool: filepath.Join(base, "spool")})
	if err != nil {
		t.Fatal(err)
	}
	r.db = over(archive.Cold(db, func(store.ArchiveUnit) (*archive.Archive, error) { return arch, nil }))
	r.sealer = seal.New(r.db, master)
	r.ledger, err = ledger.Open(ctx, ledger.Config{
		Store: r.db, Sealer: r.sealer, Anchor: r.anchor, Instance: "test.example", Logger: slog.New(slog.DiscardHandler),
		Clock: ledger.Clock{Now: c.now, Boot: c.booted},
	})
	if err != nil {
		t.Fatal(err)
	}
	r.cfg = Config{Ledger: r.ledger, Store: r.db, Sealer: r.sealer, Archive: arch, Now: c.now}
	if change != nil {
		change(&r.cfg)
	}
	if r.Service, err = New(r.cfg); err != nil {
		t.Fatal(err)
	}
	r.close = sync.OnceFunc(func() {
		if err := errors.Join(r.ledger.Close(), db.Close()); err != nil {
			t.Error(err)
		}
	})
	return r
}

// historyDays is how long ago the history begins; llmDays is the default of llm_runs.
const historyDays, llmDays = 100, 90

// makeHistory appends, for each day, a run that ends, system records and an audit entry;
// and runs that are special by their names.
func makeHistory(r *rig) {
	r.t.Helper()
	if _, err := r.ledger.CreateTenant(context.Background(), tenant); err != nil {
		r.t.Fatal(err)
	}
	for d := historyDays; d > 0; d-- {
		at := r.clock.now()
		r.add(append(ended(fmt.Sprintf("run-%03d", d), at, ""), event(at, d, "api", "HEALTH_CHECK", ""), audit(at, d, ""))...)
		switch d {
		case historyDays:
			r.run("risky", at, `,"policy_ids":["high-risk"]`)
			r.run("late", at, "")
			r.add(step("open", at, 1, ""))
			r.add(event(at, 1000, "worker", "STARTUP", ""), event(at, 1001, "api", "STARTUP", ""))
			r.export(at)
		case 40:
			r.add(event(at, 1002, "api", "STARTUP", ""))
		case 50:
			r.run("made-up", at, `,"is_synthetic":true`)
		case 3:
			r.run("made-up-now", at, `,"is_synthetic":true`)
			r.add(step("late", at, 9, ""))
			// What is said about a run does not keep it.
			r.add(audit(at, 1003, `,"run_id":"run-092"`), event(at, 1004, "api", "ERROR", `,"run_id":"run-093"`))
			r.add(completion("late", at, `,"revision":2`))
		}
		r.clock.move(24 * time.Hour)
	}
	if !r.clock.now().Equal(today) {
		r.t.Fatalf("the history ends at %s", r.clock.now())
	}
}

const source = `"source_domain":"ACTIVITY","source_component":"TraceStore","agent_id":"bot"`

func stamp(at time.Time) string { return evidence.MicrosOf(at).String() }

func step(run string, at time.Time, n int, more string) string {
	h := fnv.New64()
	_, _ = h.Write([]byte(run))
	trace := fmt.Sprintf("%032x", h.Sum64())
	return fmt.Sprintf(`{"kind":"trace_step","occurred_at":%q,"run_id":%q,"trace_id":%q,"span_id":"%016x","skill_name":"tool","step_kind":"tool",`+
		`"status":"success","prompt":"secret of %s","subject":"sue-%s",%s%s}`, stamp(at), run, trace, n, run, run, source, more)
}

func completion(run string, at time.Time, more string) string {
	return fmt.Sprintf(`{"kind":"llm_run","occurred_at":%q,"run_id":%q,"execution_status":"SUCCEEDED","prompt":"secret of %s",%s%s}`, stamp(at), run, run, source, more)
}

func event(at time.Time, n int, component, what, more string) string {
	return fmt.Sprintf(`{"kind":"system","id":"00000000-0000-4000-8000-%012d","occurred_at":%q,"component":%q,"event_type":%q,"severity":"INFO",`+
		`"summary":"event","source_domain":"SYSTEM","source_component":"W"%s}`, n, stamp(at), component, what, more)
}

func audit(at time.Time, n int, more string) string {
	return fmt.Sprintf(`{"kind":"audit","id":"00000000-0000-4000-8001-%012d","occurred_at":%q,"event_type":"PolicyChecked","entity_type":"POLICY_RULE",`+
		`"entity_id":"rule","actor_type":"SYSTEM","action_reason":"reason of audit","source_domain":"POLICY","source_component":"W"%s}`, n, stamp(at), more)
}

// ended is a run of two steps that has ended.
func ended(name string, at time.Time, more string) []string {
	return []string{step(name, at, 1, more), step(name, at, 2, more), completion(name, at, more)}
}

func (r *rig) run(name string, at time.Time, more string) {
	r.t.Helper()
	r.add(ended(name, at, more)...)
}

func (r *rig) add(lines ...string) []ledger.Receipt {
	r.t.Helper()
	return r.addTo(tenant, lines...)
}

func (r *rig) addTo(tenant string, lines ...string) []ledger.Receipt {
	r.t.Helper()
	records, err := evidence.ParseNDJSON([]byte(strings.Join(lines, "\n")))
	if err != nil {
		r.t.Fatal(err)
	}
	receipts, err := r.ledger.Append(context.Background(), tenant, records, ledger.AppendOptions{Producer: "test"})
	if err != nil {
		r.t.Fatal(err)
	}
	return receipts
}

func (r *rig) export(at time.Time) {
	r.t.Helper()
	e := &evidence.Record{Kind: evidence.KindExport, ID: ledger.NewID(evidence.MicrosOf(at)), OccurredAt: evidence.MicrosOf(at)}
	for name, v := range map[string]string{
		"source_domain": "LOGS", "source_component": "E", "export_id": "x", "scope": "llm_run", "format": "zip", "status": "completed",
	} {
		e.SetText(name, v)
	}
	if err := e.Complete(); err != nil {
		r.t.Fatal(err)
	}
	if _, err := r.ledger.Append(context.Background(), tenant, []*evidence.Record{e}, ledger.AppendOptions{}); err != nil {
		r.t.Fatal(err)
	}
}

// sound checks that the deployment verifies.
func (r *rig) sound() {
	r.t.Helper()
	report, err := ledger.Verify(context.Background(), ledger.LiveConfig{Reader: r.db, Sealer: r.sealer, Anchor: r.anchor})
	if err != nil {
		r.t.Fatal(err)
	}
	for _, f := range report.Findings {
		r.t.Errorf("verify: %s", f)
	}
}

// rows returns the runs that have rows, each with how many, and the number of rows by kind.
func (r *rig) rows() (runs map[string]int, kinds map[evidence.Kind]int) {
	r.t.Helper()
	runs, kinds = map[string]int{}, map[evidence.Kind]int{}
	ref := store.LogRef{Tenant: tenant, No: 1}
	for _, k := range evidence.Kinds() {
		err := r.db.Marks(context.Background(), ref, k, 0, 1<<40, func(m *store.RowMark) error {
			if kinds[k]++; m.Run != "" {
				runs[m.Run]++
			}
			return nil
		})
		if err != nil {
			r.t.Fatal(err)
		}
	}
	return runs, kinds
}

func (r *rig) expire(req RunRequest) RunResult {
	r.t.Helper()
	res, err := r.Expire(context.Background(), tenant, req, Actor{Human: "op"})
	if err != nil {
		r.t.Fatal(err)
	}
	return res
}

// class returns what came of a class.
func (r *rig) class(res RunResult, name string) ClassResult {
	r.t.Helper()
	for _, c := range res.Classes {
		if c.Class == name {
			return c
		}
	}
	r.t.Fatalf("no class %s in %+v", name, res)
	return ClassResult{}
}

func keptOf(list []Kept) map[string]int64 {
	out := map[string]int64{}
	for _, k := range list {
		out[k.Why] += k.Records
	}
	return out
}

func ptr[T any](v T) *T { return &v }
