package registry_test

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"testing"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/access"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/registry"
	"github.com/runledger/runledger/internal/server"
)

// All scenarios hold on a real server of either backend, again and again; all that they
// leave is synthetic, and nobody sees it who has not asked for that and may.
func TestScenarios(t *testing.T) {
	for _, backend := range []string{onSQLite, onPostgres} {
		t.Run(backend, func(t *testing.T) {
			r := builtin(t)
			if len(r.Scenarios) != 19 {
				t.Errorf("there are %d scenarios", len(r.Scenarios))
			}
			l := serveLive(t, backend)
			l.tenant(t, "acme")
			cfg := l.config(t, r)
			others := map[string]registry.Key{}
			for _, role := range []string{access.RoleViewer, access.RoleAuditor} {
				others[role+" of the tenant"] = l.key(t, evidence.SyntheticTenant, role)
				others[role+" of another tenant"] = l.key(t, "acme", role)
			}
			before := l.size(t, cfg.Observer)
			first := run(t, cfg)
			mustPass(t, first)
			mustPass(t, run(t, cfg))
			cfg.Producer, cfg.Observer = l.key(t, evidence.SyntheticTenant, access.RoleProducer), l.key(t, evidence.SyntheticTenant, access.RoleObserver)
			mustPass(t, run(t, cfg)) // other keys, and what the first have left is there
			if advisory := notHeld(first); len(advisory) > 0 {
				t.Errorf("advisory invariants that did not hold: %q", advisory)
			}
			for name, key := range others {
				l.seesNothing(t, name, key, runsOf(first), before)
			}
			if err := l.stop(); err != nil {
				t.Fatal(err)
			}
			l.allSynthetic(t, before)
		})
	}
}

// notHeld returns what did not hold of what passed.
func notHeld(o *registry.Observation) (list []string) {
	for _, s := range o.Scenarios {
		for _, seen := range s.Seen {
			for _, c := range seen.Invariants {
				if !c.Passed {
					list = append(list, s.ID+" "+seen.ID+" "+c.ID+" "+c.Detail)
				}
			}
		}
	}
	return list
}

var runInTarget = regexp.MustCompile(`/(?:llm-runs|system)/([0-9a-f]{32})/`)

// runsOf returns the runs that were looked at.
func runsOf(o *registry.Observation) []string {
	runs := map[string]bool{}
	for _, s := range o.Scenarios {
		for _, seen := range s.Seen {
			if m := runInTarget.FindStringSubmatch(seen.Target); m != nil {
				runs[m[1]] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(runs))
}

// size is how many leaves the synthetic tenant's log has.
func (l *live) size(t *testing.T, key registry.Key) int64 {
	t.Helper()
	status, body := l.get(t, key, "/api/v1/logs/audit/integrity")
	size, _ := body["tree_size"].(float64)
	if status != http.StatusOK || size < 1 {
		t.Fatalf("%d %v", status, body)
	}
	return int64(size)
}

func (l *live) get(t *testing.T, key registry.Key, target string) (int, map[string]any) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, l.url+target, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+key.Secret)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	var body map[string]any
	if err := json.Unmarshal(text, &body); err != nil {
		t.Fatalf("%s: %d %.200s: %v", target, resp.StatusCode, text, err)
	}
	return resp.StatusCode, body
}

// lists are the answers that show records of a whole tenant, and the member that has
// them.
var lists = map[string]string{
	"/api/v1/logs/llm-runs": "items", "/api/v1/logs/system": "items", "/api/v1/logs/system/audit": "entries",
	"/api/v1/logs/audit": "items", "/api/v1/logs/audit/identity": "entries", "/api/v1/logs/audit/authorization": "decisions",
	"/api/v1/logs/audit/access": "access_events", "/api/v1/logs/audit/exports": "exports",
}

// seesNothing has a reader of production look everywhere. Of the tenant's own log only
// what stood there before the scenarios may show.
func (l *live) seesNothing(t *testing.T, name string, key registry.Key, runs []string, before int64) {
	t.Helper()
	for path, member := range lists {
		status, body := l.get(t, key, path+"?limit=100")
		if status == http.StatusForbidden {
			continue // a viewer reads no audit
		}
		list, ok := body[member].([]any)
		if status != http.StatusOK || !ok {
			t.Errorf("%s: %s: %d %v", name, path, status, body)
		}
		for _, item := range list {
			m, _ := item.(map[string]any)["metadata"].(map[string]any)
			index, _ := m["leaf_index"].(float64)
			if m["tenant_id"] == evidence.SyntheticTenant && int64(index) >= before {
				t.Errorf("%s: %s shows %v", name, path, item)
			}
		}
		if status, body := l.get(t, key, path+"?is_synthetic=true"); status == http.StatusOK {
			t.Errorf("%s: %s shows synthetic records: %v", name, path, body)
		}
	}
	for _, run := range runs {
		for _, path := range []string{"/api/v1/logs/llm-runs/" + run + "/envelope", "/api/v1/logs/llm-runs/" + run + "/trace", "/api/v1/logs/system/" + run + "/events"} {
			if status, body := l.get(t, key, path); status != http.StatusNotFound {
				t.Errorf("%s: %s: %d %v", name, path, status, body)
			}
		}
	}
}

// allSynthetic reads every leaf that came since. The server has stopped.
func (l *live) allSynthetic(t *testing.T, since int64) {
	t.Helper()
	d, err := server.Open(t.Context(), l.cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	head, _, err := d.Ledger.PublishNow(t.Context(), evidence.SyntheticTenant, 1)
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]int{}
	err = d.Ledger.Records(t.Context(), evidence.SyntheticTenant, 1, since, head.Size, func(r ledger.LogRecord) error {
		kinds[r.Leaf.Kind.String()]++
		if synthetic, _ := r.Leaf.Int("is_synthetic"); synthetic != 1 {
			t.Errorf("not synthetic: %s", r.Raw)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range evidence.Kinds() {
		if kinds[k.String()] == 0 {
			t.Errorf("no %s was left: %v", k, kinds)
		}
	}
}
