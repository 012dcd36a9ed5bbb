package registry_test

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/runledger/runledger/client"
	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/access"
	"github.com/runledger/runledger/internal/registry"
)

func (l *live) client(t *testing.T, key registry.Key) *client.Client {
	t.Helper()
	c, err := client.New(client.Config{BaseURL: l.url, Key: key.Secret})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestRecord goes the whole way once: what was seen on a real server is recorded there,
// written, read, verified with the key that the operator has, and applied.
func TestRecord(t *testing.T) {
	r := builtin(t)
	l := serveLive(t, onSQLite)
	acme := l.tenant(t, "acme")
	cfg := l.config(t, r)
	c := l.client(t, cfg.Producer)
	var ids []string
	for _, s := range r.Scenarios {
		if s.Capability == "logs.system_logs" {
			ids = append(ids, s.ID)
		}
	}
	o := run(t, cfg, ids...)
	mustPass(t, o)

	receipt, err := registry.Record(t.Context(), c, o)
	if err != nil {
		t.Fatal(err)
	}
	// A second time it is the same record.
	if again, err := registry.Record(t.Context(), c, o); err != nil || again.ID != receipt.ID || again.LeafIndex != receipt.LeafIndex || again.Leaf != receipt.Leaf {
		t.Errorf("%v: %+v, want %+v", err, again, receipt)
	}
	// Who did not send it is not shown the leaf, and so has no receipt.
	other := l.client(t, l.key(t, evidence.SyntheticTenant, access.RoleProducer))
	if got, err := registry.Record(t.Context(), other, o); !errors.Is(err, evidence.ErrForbidden) {
		t.Errorf("%v: %+v", err, got)
	}
	status, body := l.get(t, cfg.Observer, "/api/v1/logs/system?event_type=OBSERVATION&component=registry")
	items, _ := body["items"].([]any)
	if status != http.StatusOK || len(items) != 1 {
		t.Fatalf("%d: %v", status, body)
	}
	item, _ := items[0].(map[string]any)
	meta, _ := item["metadata"].(map[string]any)
	if item["severity"] != "INFO" || item["summary"] != "Passed: all 6 scenarios." || meta["correlation_id"] != o.Digest() || meta["source_component"] != "registry" {
		t.Errorf("%v", item)
	}

	path, err := registry.WriteFile(filepath.Join(t.TempDir(), "observations"), &registry.File{Observation: *o, Receipt: receipt})
	if err != nil {
		t.Fatal(err)
	}
	f, err := registry.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(receipt, f.Receipt); diff != "" {
		t.Error(diff)
	}
	if err := f.Verify([]string{l.vkey}); err != nil {
		t.Error(err)
	}
	if err := f.Verify([]string{acme}); !errors.Is(err, evidence.ErrTampered) {
		t.Errorf("the key of another tenant's log will do: %v", err)
	}

	dir := filepath.Join(t.TempDir(), "registry")
	if err := os.CopyFS(dir, registry.Builtin()); err != nil {
		t.Fatal(err)
	}
	out, err := registry.Apply(dir, f, []string{l.vkey}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if len(out.Capabilities) != 1 || !out.Capabilities[0].Changed || out.Capabilities[0].To != registry.Observed {
		t.Errorf("%+v", out)
	}

	// What failed is recorded, too, and of one scenario alone.
	bad := run(t, cfg, ids[0])
	bad.Passed, bad.Scenarios[0].Passed = false, false
	bad.Scenarios[0].Failure = &registry.Failure{Reason: registry.Timeout, Step: "list"}
	receipt, err = registry.Record(t.Context(), c, bad)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := evidence.ParseLeaf([]byte(receipt.Leaf))
	if err != nil || leaf.Text("severity") != "WARN" || leaf.Text("synthetic_scenario_id") != ids[0] || leaf.Text("producer") != cfg.Producer.ID {
		t.Errorf("%v: %s", err, receipt.Leaf)
	}
	out, err = registry.Apply(dir, &registry.File{Observation: *bad, Receipt: receipt}, []string{l.vkey}, time.Now())
	if err != nil || out.Capabilities[0].To != registry.Degraded || !strings.Contains(out.Capabilities[0].Reason, ids[0]+" timeout at list") {
		t.Errorf("%v: %+v", err, out)
	}
	// The first is of the past by now.
	if _, err := registry.Apply(dir, f, []string{l.vkey}, time.Now()); !errors.Is(err, evidence.ErrConflict) {
		t.Error(err)
	}
}

// TestRecordRefuses: what does not agree with itself is not put on record.
func TestRecordRefuses(t *testing.T) {
	c, err := client.New(client.Config{BaseURL: "http://127.0.0.1:1", MaxRetries: -1})
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range []*registry.Observation{{}, {Version: 1}, {Version: 1, Scenarios: []registry.ScenarioResult{{ID: "SDSR-A"}}}} {
		if _, err := registry.Record(t.Context(), c, o); !errors.Is(err, evidence.ErrInvalid) {
			t.Errorf("%+v: %v", o, err)
		}
	}
	o := &registry.Observation{Version: 1, Passed: true, Scenarios: []registry.ScenarioResult{{ID: "SDSR-A", Passed: true, Seen: slices.Repeat([]registry.Seen{{}}, 1)}}}
	if _, err := registry.Record(t.Context(), c, o); !errors.Is(err, evidence.ErrUnavailable) {
		t.Errorf("there is no server: %v", err)
	}
}
