package server_test

import (
	"fmt"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/runledger/runledger/internal/server"
	"github.com/runledger/runledger/internal/store/storerig"
)

// observes has a server observe itself, for the first time at once.
func observes(every time.Duration, o server.Observing) func(c *server.ServeConfig) {
	return func(c *server.ServeConfig) {
		o.First = 50 * time.Millisecond
		c.SelfObserve, c.RootQuiet, c.Quiet, c.Idle = every, 200*time.Millisecond, time.Second, 5*time.Second
		o.In(c)
	}
}

// waitReady asks /readyz until it is as it should be.
func (r *reads) waitReady(t *testing.T, what string, is func(answer object) bool) object {
	t.Helper()
	var last []byte
	for end := time.Now().Add(3 * time.Minute); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		_, _, body := r.get(t, "", "/readyz", nil)
		if answer := decode(t, body); is(answer) {
			return answer
		}
		last = body
	}
	t.Fatalf("%s: %s: %v", what, last, r.log.all("self-observation: a scenario failed"))
	return nil
}

// seen is what /readyz says was observed; nil before the first round.
func seen(answer object) object {
	o, _ := answer["observation"].(object)
	return o
}

func passedOnce(answer object) bool { return seen(answer) != nil && seen(answer)["passed"] == true }

// metric is the value of a metric as it is written, "" where there is none.
func (r *running) metric(t *testing.T, name string) string {
	t.Helper()
	_, body := get(t, r.metrics)
	for line := range strings.Lines(body) {
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			return strings.TrimSpace(rest)
		}
	}
	return ""
}

// wantRevoked looks at the keys of rounds, of which there are two each.
func (r *reads) wantRevoked(t *testing.T, rounds int) {
	t.Helper()
	list, err := r.control(t).APIKeys(t.Context(), synthetic)
	if err != nil {
		t.Fatal(err)
	}
	var roles []string
	for _, k := range list.Keys {
		if k.Name != "self-observation" {
			continue
		}
		roles = append(roles, k.Role)
		if k.Status != "revoked" || k.ExpiresAt == nil || k.ExpiresAt.Time().After(k.CreatedAt.Time().Add(24*time.Hour+time.Second)) || k.CreatedBy != "system:self-observation" {
			t.Errorf("a key of a round: %+v", k)
		}
	}
	slices.Sort(roles)
	if want := append(slices.Repeat([]string{"observer"}, rounds), slices.Repeat([]string{"producer"}, rounds)...); !slices.Equal(roles, want) {
		t.Errorf("keys of rounds: %q, want %q", roles, want)
	}
}

// TestSelfObserve: a server that observes itself passes, says so everywhere, and leaves
// nothing that a reader in production would see.
func TestSelfObserve(t *testing.T) {
	t.Parallel()
	r := newReads(t, observes(time.Hour, server.Observing{}))
	if state, _, body := r.get(t, "", "/readyz", nil); state != http.StatusOK || !strings.Contains(string(body), `"observation":`) {
		t.Errorf("%d %s", state, body)
	}
	answer := r.waitReady(t, "no round has passed", passedOnce)
	scenarios := int(seen(answer)["scenarios"].(float64))
	if answer["status"] != "ready" || len(seen(answer)["failed"].([]any)) != 0 || scenarios < 19 {
		t.Errorf("%v", answer)
	}
	at, err := time.Parse(time.RFC3339Nano, seen(answer)["at"].(string))
	if err != nil || time.Since(at) > 3*time.Minute {
		t.Errorf("%v %v", at, err)
	}
	_, metrics := get(t, r.metrics)
	if n := strings.Count(metrics, "\nrunledger_observation_passed{scenario=\"SDSR-LOG-"); n != scenarios || strings.Contains(metrics, "\"} 0\nrunledger_observation_passed") {
		t.Errorf("%d of %d scenarios in metrics", n, scenarios)
	}
	for name, want := range map[string]string{
		`runledger_observation_passed{scenario="SDSR-LOG-LLM-001"}`: "1", `runledger_observations_total{result="passed"}`: "1",
		`runledger_observations_total{result="failed"}`: "0", `runledger_observations_total{result="error"}`: "0", `runledger_degraded{reason="observation"}`: "0",
	} {
		if got := r.metric(t, name); got != want {
			t.Errorf("%s is %q, want %s", name, got, want)
		}
	}
	if r.metric(t, "runledger_observation_last_timestamp_seconds") == "0" {
		t.Error("metrics do not say when")
	}
	r.wantRevoked(t, 1)
	// It is in the ledger, for who sees what is synthetic.
	observer := r.roleKey(t, synthetic, "observer")
	list := r.ask(t, observer, "/api/v1/logs/system?event_type=OBSERVATION", http.StatusOK)
	wantAt(t, list, object{"total": 1, "items.0.component": "registry", "items.0.severity": "INFO", "items.0.metadata.tenant_id": synthetic})
	// As of every tenant it is on record, from the first, for how long its evidence is kept.
	kept := r.ask(t, r.roleKey(t, synthetic, "auditor"), "/api/v1/logs/system?event_type=LIFECYCLE_ACKNOWLEDGED", http.StatusOK)
	wantAt(t, kept, object{"total": 1, "items.0.component": "lifecycle"})
	if runs := listOf(t, r.ask(t, observer, "/api/v1/logs/llm-runs", http.StatusOK), "items"); len(runs) == 0 {
		t.Error("an observer sees no run of the scenarios")
	}
	r.newKey(t, own)
	for _, tenant := range []string{synthetic, own} {
		for _, role := range []string{"viewer", "auditor"} {
			key := r.roleKey(t, tenant, role)
			for path, list := range map[string]string{
				"/llm-runs": "items", "/system?event_type=OBSERVATION": "items", "/system?component=registry": "items", "/system/audit": "entries",
				"/audit": "items", "/audit/identity": "entries", "/audit/authorization": "decisions", "/audit/access": "access_events", "/audit/exports": "exports",
			} {
				if !may(role, "/api/v1/logs"+path) || tenant == own && strings.HasPrefix(path, "/audit") {
					continue
				}
				for _, item := range listOf(t, r.ask(t, key, "/api/v1/logs"+path, http.StatusOK), list) {
					// That there is a log at all is not synthetic, nor for how long it is kept.
					if of := item.(object)["component"]; item.(object)["metadata"].(object)["tenant_id"] == synthetic && of != "ledger" && of != "lifecycle" {
						t.Errorf("%s as %s of %s: %v", path, role, tenant, item)
					}
				}
			}
		}
	}
	r.wantNoKey(t)
}

// wantNoKey looks for keys in all that was logged.
func (r *reads) wantNoKey(t *testing.T) {
	t.Helper()
	r.log.mu.Lock()
	defer r.log.mu.Unlock()
	if text := fmt.Sprint(r.log.lines); regexp.MustCompile(`rl_[a-z2-7]{16}_`).MatchString(text) {
		t.Error("the log has a key in it")
	}
}

// lines are the log's with a message.
func (l *logLines) all(msg string) (list []map[string]any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range l.lines {
		if line["msg"] == msg {
			list = append(list, line)
		}
	}
	return list
}

// TestSelfObserveFails: where an answer is broken the server is degraded and says why,
// and it is well again when the answer is. A refusal is not waited out.
func TestSelfObserveFails(t *testing.T) {
	t.Parallel()
	var broken atomic.Bool
	broken.Store(true)
	wrap := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if broken.Load() && strings.HasSuffix(r.URL.Path, "/snapshot") {
				http.Error(w, "broken", http.StatusForbidden)
				return
			}
			next.ServeHTTP(w, r)
		})
	}
	r := newReads(t, observes(time.Hour, server.Observing{Wrap: wrap, Retry: time.Second}))
	answer := r.waitReady(t, "it is not degraded", func(answer object) bool { return answer["status"] == "degraded" })
	if !slices.Equal(answer["reasons"].([]any), []any{"observation"}) || seen(answer)["passed"] != false || !slices.Contains(seen(answer)["failed"].([]any), any("SDSR-LOG-SYS-O1-001")) {
		t.Errorf("%v", answer)
	}
	for name, want := range map[string]string{`runledger_observation_passed{scenario="SDSR-LOG-SYS-O1-001"}`: "0", `runledger_degraded{reason="observation"}`: "1"} {
		if got := r.metric(t, name); got != want {
			t.Errorf("%s is %q, want %s", name, got, want)
		}
	}
	named := slices.ContainsFunc(r.log.all("self-observation: a scenario failed"), func(line map[string]any) bool {
		return line["scenario"] == "SDSR-LOG-SYS-O1-001" && line["reason"] == "auth_failed" && line["invariant"] == ""
	})
	if !named {
		t.Errorf("the log does not name what failed: %v", r.log.all("self-observation: a scenario failed"))
	}
	// What is observed does not keep evidence out.
	r.put(t, r.newKey(t, own), r.line("system", 0, nil))
	broken.Store(false)
	r.waitReady(t, "it is not well again", func(answer object) bool { return answer["status"] == "ready" && passedOnce(answer) })
	if got := r.metric(t, `runledger_degraded{reason="observation"}`); got != "0" {
		t.Errorf("degraded is %q", got)
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	if events := systemEvents(t, r.dir); slices.Index(events, "api HEALTH_CHECK") < 0 {
		t.Errorf("no record says that the server was degraded: %q", events)
	}
}

// TestSelfObserveStops stops a server while nothing that its round asks for is answered:
// it stops at once and in order, and the keys of the round are revoked.
func TestSelfObserveStops(t *testing.T) {
	t.Parallel()
	asked := make(chan struct{}, 1000)
	wrap := func(http.Handler) http.Handler {
		return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			asked <- struct{}{}
			<-r.Context().Done()
		})
	}
	dir := freshData(t)
	r := openReads(t, dir, func(c *server.ServeConfig) {
		observes(time.Hour, server.Observing{Wrap: wrap})(c)
		c.Grace = time.Minute
	})
	select {
	case <-asked:
	case <-time.After(time.Minute):
		t.Fatal("there was no round")
	}
	began := time.Now()
	if err := r.stop(); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > 30*time.Second { // it would wait a minute for requests
		t.Errorf("it took %s to stop", took)
	}
	if _, ok := r.log.find("stopped", "msg"); !ok {
		t.Error("it did not stop in order")
	}
	r = openReads(t, dir, nil)
	r.wantRevoked(t, 1)
	if _, _, body := r.get(t, "", "/readyz", nil); strings.TrimSpace(string(body)) != `{"status":"ready"}` {
		t.Errorf("of a server that does not observe itself: %s", body)
	}
}

// TestSelfObserveOnce: of two processes on a database one observes, and both say what
// it found. Where it stops, the other goes on.
func TestSelfObserveOnce(t *testing.T) {
	storerig.Only(t, storerig.Postgres, "SQLite has one process")
	t.Parallel()
	dir := freshData(t)
	tries := server.Observing{Turn: 500 * time.Millisecond}
	first := server.Stored(t, server.Config{Data: dir})
	const every = 2 * time.Second // a round takes longer, and the next one begins at once
	one := openReads(t, dir, func(c *server.ServeConfig) { observes(every, tries)(c); c.Process = "one" })
	one.waitReady(t, "one has not passed", passedOnce)
	other := openReads(t, filepath.Join(t.TempDir(), "data"), func(c *server.ServeConfig) {
		observes(every, tries)(c)
		c.Store, c.StoreOwner, c.Anchor, c.Process = first.Store, first.StoreOwner, first.Anchor, "two"
		c.Master = filepath.Join(dir, "master.keyset.json")
	})
	answer := other.waitReady(t, "two does not know", passedOnce)
	if got := other.metric(t, `runledger_observation_passed{scenario="SDSR-LOG-LLM-001"}`); got != "1" {
		t.Errorf("%v, %q", answer, got)
	}
	// A further round is of the same process.
	at := seen(answer)["at"]
	other.waitReady(t, "no other round", func(answer object) bool { return passedOnce(answer) && seen(answer)["at"] != at })
	if a, b := one.metric(t, `runledger_observations_total{result="passed"}`), other.metric(t, `runledger_observations_total{result="passed"}`); a == "0" || a == "1" || b != "0" {
		t.Errorf("rounds of the first: %s, of the other: %s", a, b)
	}
	if err := one.stop(); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(2 * time.Minute); other.metric(t, `runledger_observations_total{result="passed"}`) == "0"; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("nobody goes on")
		}
	}
}
