package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/runledger/runledger/internal/store/pgtest"
	"github.com/runledger/runledger/internal/store/postgres"
)

// TestProcessesTogether asks one process for what another was told.
func TestProcessesTogether(t *testing.T) {
	f := newFleet(t, 2)
	if err := os.WriteFile(f.path("streams.yaml"), []byte(fmt.Sprintf(`streams:
  - name: siem
    tenants: [acme]
    records: [system]
    format: cloudevents
    from: start
    to: {file: {path: %s}}
`, f.path("events.ndjson"))), 0o600); err != nil {
		t.Fatal(err)
	}
	f.flags = append(f.flags, "--streams", f.path("streams.yaml"), "--run-quiet", "5s")
	f.start()
	a, b := f.members[0], f.members[1]
	f.tenant(a, "acme")
	admin := f.key(b, "acme", "tenant_admin")
	t.Run("read after receipt", func(t *testing.T) { readAfterReceipt(t, f, admin) })
	t.Run("one run", func(t *testing.T) { runOfTwo(t, f, admin) })
	t.Run("revocation", func(t *testing.T) { revokedElsewhere(t, f, admin) })
	t.Run("exports", func(t *testing.T) { exportedElsewhere(t, f, f.key(a, "acme", "operator")) })
	t.Run("streams", func(t *testing.T) { streamGoesOn(t, f) })
	t.Run("verification", func(t *testing.T) { verifiedElsewhere(t, f, admin) })
}

// send appends records through a member and returns their receipts.
func (m *member) send(t *testing.T, key, body string) []receipt {
	t.Helper()
	status, answer := m.ask(http.MethodPost, "/api/v1/ingest/records", key, nil, body)
	var got struct{ Receipts []receipt }
	if err := json.Unmarshal(answer, &got); err != nil || status != http.StatusOK || len(got.Receipts) == 0 {
		t.Fatalf("%s: %d %s", m.name, status, answer)
	}
	return got.Receipts
}

const (
	aSystemRecord = `{"kind":"system","id":%q,"occurred_at":%q,"source_domain":"SYSTEM","source_component":"test","component":%q,"event_type":"RESTART","severity":"INFO","summary":"s"}`
	aStep         = `{"kind":"trace_step","occurred_at":%q,"run_id":%q,"trace_id":"0102030405060708090a0b0c0d0e0f10","span_id":"%016x",%s"source_domain":"ACTIVITY","source_component":"test","skill_name":"s","step_kind":"tool","status":"success"}`
)

func rightNow() string { return time.Now().UTC().Format("2006-01-02T15:04:05.000000Z") }

// readAfterReceipt asks a process for a record right after another has acknowledged it:
// as a part of a run that is open, in a list, and for its receipt.
func readAfterReceipt(t *testing.T, f *fleet, admin string) {
	key := f.keys["acme"]
	other := func(i int) (a, b *member) { return f.members[i%2], f.members[1-i%2] }
	for i := range 20 {
		a, b := other(i)
		a.send(t, key, fmt.Sprintf(aStep, rightNow(), "open", i+1, `"parent_span_id":"00000000000000aa",`))
		if run, err := b.run("open", admin); err != nil || run.StepCount != int64(i+1) || run.Status != "RUNNING" {
			t.Errorf("step %d: the run at %s: %+v %v", i+1, b.name, run, err)
		}
	}
	var sent []receipt
	for i := range 20 {
		a, b := other(i)
		component := fmt.Sprintf("worker-%d.", i)
		sent = append(sent, a.send(t, key, fmt.Sprintf(aSystemRecord, fmt.Sprintf("00000000-0000-7000-8000-%012d", i), rightNow(), component))...)
		status, body := b.ask(http.MethodGet, "/api/v1/logs/system?component="+component, admin, nil, "")
		if status != http.StatusOK || strings.Count(string(body), `"`+component+`"`) < 2 { // the filter is told too
			t.Errorf("the list of %s: %d %.300s", b.name, status, body)
		}
	}
	for i, rc := range sent {
		if _, b := other(i); b.prove(key, rc) != nil {
			t.Error(b.prove(key, rc))
		}
	}
}

// seenRun is a run as the API shows it.
type seenRun struct {
	Status    string
	StepCount int64 `json:"step_count"`
	Revisions []any
}

func (m *member) run(id, key string) (r seenRun, err error) {
	status, body := m.ask(http.MethodGet, "/api/v1/logs/llm-runs/"+id+"/envelope", key, nil, "")
	if status != http.StatusOK {
		return r, fmt.Errorf("%s: %d %s", m.name, status, body)
	}
	return r, json.Unmarshal(body, &r)
}

// runOfTwo sends the steps of a run to two processes in turn, and its root last: it ends
// once, with all of them.
func runOfTwo(t *testing.T, f *fleet, admin string) {
	const steps = 9
	for i := range steps {
		span, parent := 0xf0+i, `"parent_span_id":"00000000000000ff",`
		if i == steps-1 {
			span, parent = 0xff, ""
		}
		f.members[i%2].send(t, f.keys["acme"], fmt.Sprintf(aStep, rightNow(), "halves", span, parent))
	}
	check := func(m *member) error {
		run, err := m.run("halves", admin)
		if err == nil && (run.Status != "SUCCEEDED" || run.StepCount != steps || len(run.Revisions) != 1) {
			err = fmt.Errorf("%s: %+v", m.name, run)
		}
		return err
	}
	for _, m := range f.members {
		within(t, 20*time.Second, func() error { return check(m) })
	}
	time.Sleep(6 * time.Second) // longer than who has not seen the root waits
	for _, m := range f.members {
		if err := check(m); err != nil {
			t.Error(err)
		}
	}
}

// revokedElsewhere revokes a key through one process while another has it in memory.
func revokedElsewhere(t *testing.T, f *fleet, admin string) {
	a, b := f.members[0], f.members[1]
	key := f.key(a, "acme", "producer")
	body := fmt.Sprintf(aSystemRecord, "00000000-0000-7000-8001-000000000000", rightNow(), "revoked")
	a.send(t, key, body)
	b.send(t, key, body)
	id := strings.Split(key, "_")[1]
	if status, answer := a.ask(http.MethodDelete, "/api/v1/apikeys/"+id, admin, nil, ""); status != http.StatusNoContent && status != http.StatusOK {
		t.Fatalf("%d %s", status, answer)
	}
	began := time.Now()
	if status, _ := a.ask(http.MethodPost, "/api/v1/ingest/records", key, nil, body); status != http.StatusUnauthorized {
		t.Errorf("where it was revoked: %d", status)
	}
	within(t, 6*time.Second, func() error { // five seconds, and a slow machine
		if status, answer := b.ask(http.MethodPost, "/api/v1/ingest/records", key, nil, body); status != http.StatusUnauthorized {
			return fmt.Errorf("%d %s", status, answer)
		}
		return nil
	})
	t.Logf("refused elsewhere after %s", time.Since(began).Round(time.Millisecond))
}

// exportedElsewhere asks one process for the bytes of an export that another made.
func exportedElsewhere(t *testing.T, f *fleet, operator string) {
	a, b := f.members[0], f.members[1]
	status, body := a.ask(http.MethodGet, "/api/v1/logs/llm-runs/halves/export", operator, nil, "")
	var made struct {
		ExportID string `json:"export_id"`
		URL      string `json:"download_url"`
	}
	if err := json.Unmarshal(body, &made); err != nil || status != http.StatusOK || made.URL == "" {
		t.Fatalf("%d %s", status, body)
	}
	if status, body := b.ask(http.MethodGet, "/api/v1/exports/"+made.ExportID, operator, nil, ""); status != http.StatusOK || !strings.Contains(string(body), `"completed"`) {
		t.Errorf("state: %d %s", status, body)
	}
	if status, body := b.ask(http.MethodGet, made.URL, operator, nil, ""); status != http.StatusServiceUnavailable || !strings.Contains(string(body), "another process") {
		t.Errorf("its bytes elsewhere: %d %.300s", status, body)
	}
	if status, _ := a.ask(http.MethodGet, made.URL, operator, nil, ""); status != http.StatusOK {
		t.Errorf("its bytes: %d", status)
	}
}

// streamGoesOn kills the process that runs a stream: until then each record was
// delivered once, and behind it the other goes on.
func streamGoesOn(t *testing.T, f *fleet) {
	component := func(i int) string { return fmt.Sprintf(`worker-%d.`, i) }
	lines := func() (of map[string]int) {
		of = map[string]int{}
		b, _ := os.ReadFile(f.path("events.ndjson"))
		for _, line := range strings.Split(string(b), "\n") {
			var event struct{ ID string }
			if line == "" {
				continue
			}
			if err := json.Unmarshal([]byte(line), &event); err != nil {
				t.Errorf("a line that is no event: %.200q", line)
			}
			of[event.ID]++
			for i := range 40 {
				if strings.Contains(line, component(i)) {
					of[component(i)]++
				}
			}
		}
		return of
	}
	all := func(n int) func() error {
		return func() error {
			got := lines()
			for i := range n {
				if got[component(i)] == 0 {
					return fmt.Errorf("%s is not delivered", component(i))
				}
			}
			return nil
		}
	}
	within(t, 30*time.Second, all(20))
	for id, n := range lines() {
		if n > 1 && !strings.HasPrefix(id, "worker-") {
			t.Errorf("event %s was delivered %d times", id, n)
		}
	}
	var runs, other *member
	for i, m := range f.members {
		if m.has("this process runs the stream") {
			runs, other = m, f.members[1-i]
		}
	}
	if runs == nil || other.has("this process runs the stream") {
		t.Fatal("not one of the two runs the stream")
	}
	runs.kill()
	for i := 20; i < 40; i++ {
		other.send(t, f.keys["acme"], fmt.Sprintf(aSystemRecord, fmt.Sprintf("00000000-0000-7000-8000-%012d", i), rightNow(), component(i)))
	}
	within(t, 60*time.Second, all(40))
}

// verifiedElsewhere kills the process that verifies a tenant. Another one goes on, and finds
// that what it writes is altered as it comes.
func verifiedElsewhere(t *testing.T, f *fleet, admin string) {
	alive, verifies := f.members[0], f.members[1]
	for _, m := range f.members { // one was killed before
		m.kill()
		if err := m.start(); err != nil {
			t.Fatal(err)
		}
	}
	conn, err := pgtest.As(t.Context(), f.dsn.Super, postgres.DefaultSchema)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	integrity := func(m *member, status string) func() error {
		return func() error {
			if code, answer := m.ask(http.MethodGet, "/api/v1/logs/audit/integrity", admin, nil, ""); code != http.StatusOK || !strings.Contains(string(answer), `"integrity_status":"`+status+`"`) {
				return fmt.Errorf("%s: %d %s", m.name, code, answer)
			}
			return nil
		}
	}
	for _, m := range f.members {
		within(t, 60*time.Second, integrity(m, "verified"))
	}
	verifies.send(t, f.keys["acme"], fmt.Sprintf(aStep, rightNow(), "verified", 9001, ""))
	time.Sleep(time.Second)
	verifies.kill()
	for _, sql := range []string{
		`CREATE FUNCTION evil() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.status := ''failure''; RETURN NEW; END'`,
		`CREATE TRIGGER evil BEFORE INSERT ON aos_trace_steps FOR EACH ROW EXECUTE FUNCTION evil()`,
	} {
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	alive.send(t, f.keys["acme"], fmt.Sprintf(aStep, rightNow(), "verified", 9002, ""))
	within(t, 60*time.Second, integrity(alive, "compromised"))
}

// has reports whether a member has logged something of late.
func (m *member) has(text string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, line := range m.said {
		if strings.Contains(line, text) {
			return true
		}
	}
	return false
}
