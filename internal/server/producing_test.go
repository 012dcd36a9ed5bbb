package server_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/producers"
	"github.com/runledger/runledger/internal/registry"
	"github.com/runledger/runledger/internal/server"
	"github.com/runledger/runledger/internal/store"
	files "github.com/runledger/runledger/registry"
)

// owners are the rows of producers.yaml, by kind of record.
func owners(t *testing.T) map[evidence.Kind]registry.Owner {
	t.Helper()
	b, err := files.Files.ReadFile("producers.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var table struct {
		Owners []registry.Owner `yaml:"owners"`
	}
	if err := yaml.Unmarshal(b, &table); err != nil {
		t.Fatal(err)
	}
	out := map[evidence.Kind]registry.Owner{}
	for _, o := range table.Owners {
		for _, name := range o.Kinds {
			out[evidence.ParseKind(name)] = o
		}
	}
	return out
}

// serverOnly reports whether a row says that only the server states an event.
func serverOnly(o registry.Owner, event string) bool {
	return slices.ContainsFunc(o.ServerOnly, func(p string) bool {
		prefix, ok := strings.CutSuffix(p, "*")
		return p == event || ok && strings.HasPrefix(event, prefix)
	})
}

// The table of owners says of every event what the ledger enforces (contract sections 4
// and 5).
func TestOwnersAgreeWithLedger(t *testing.T) {
	events := strings.Fields(`STARTUP SHUTDOWN RESTART DEPLOY MIGRATION AUTH_CHANGE CONFIG_CHANGE ERROR HEALTH_CHECK LOG_OPENED LOG_CLOSED
		CHECKPOINT_ANCHORED INTEGRITY_ANOMALY PRODUCER_SILENT LIFECYCLE_ACKNOWLEDGED OBSERVATION ACCESS_DENIED
		PolicyRuleCreated PolicyRuleModified PolicyRuleRetired PolicyProposalApproved PolicyProposalRejected PolicyEvaluated
		LimitCreated LimitUpdated LimitChecked LimitBreached LimitOverrideGranted LimitOverrideRevoked
		IncidentAcknowledged IncidentResolved IncidentManuallyClosed EmergencyOverrideActivated EmergencyOverrideDeactivated
		SignalAcknowledged SignalSuppressed SignalEscalated LOGIN LOGOUT LOGIN_FAILED API_KEY_CREATED API_KEY_REVOKED API_KEY_USED_FIRST
		ACCESS_DECISION LOG_VIEW LOG_EXPORT RBACChanged RetentionPolicyChanged RetentionApplied LegalHoldPlaced LegalHoldReleased
		ErasureExecuted ConflictRecorded own_event LOGX LOG Retained RBAC LOGIN_ API_KEY_ LIFECYCLE LegalHo PRODUCER_SILENT_`)
	table := owners(t)
	for _, k := range evidence.Kinds() {
		o, ok := table[k]
		if !ok {
			t.Errorf("nobody owns %s", k)
			continue
		}
		has := events
		if evidence.PublicField(k, "event_type") == nil {
			has = []string{""}
		}
		for _, event := range has {
			if got, want := serverOnly(o, event), evidence.ServerOnly(k, event); got != want {
				t.Errorf("%s of kind %s: the table has server_only %v, the ledger %v", event, k, got, want)
			}
		}
		if o.External == evidence.ServerOnly(k, "own_event") {
			t.Errorf("%s: external %v", k, o.External)
		}
	}
}

// written is who wrote a record of a log.
type written struct {
	tenant string
	leaf   *evidence.Leaf
}

// everything reads the leaves of all logs of a directory that nobody holds.
func everything(t *testing.T, dir string) (out []written) {
	t.Helper()
	d, err := server.Open(t.Context(), server.Stored(t, server.Config{Data: dir}))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	tenants, err := d.Ledger.Tenants(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, info := range tenants {
		end, err := d.Ledger.End(t.Context(), info.Tenant)
		if err != nil {
			t.Fatal(err)
		}
		for no := 1; no <= end.LogNo; no++ {
			logs, err := d.Ledger.Logs(t.Context(), info.Tenant)
			if err != nil {
				t.Fatal(err)
			}
			size := end.Seq
			if no < len(logs) {
				size = sizeOf(t, d, store.LogRef{Tenant: info.Tenant, No: no})
			}
			err = d.Ledger.Leaves(t.Context(), info.Tenant, no, 0, size, func(_ int64, b []byte) error {
				l, err := evidence.ParseLeaf(slices.Clone(b))
				out = append(out, written{info.Tenant, l})
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	return out
}

func sizeOf(t *testing.T, d *server.Deployment, ref store.LogRef) int64 {
	t.Helper()
	head, _, err := d.Ledger.PublishNow(t.Context(), ref.Tenant, ref.No)
	if err != nil {
		t.Fatal(err)
	}
	return head.Size
}

// Whatever a server writes by itself is its owner's, and all that comes from outside
// says from whom (INV-LOG-PROD-001).
func TestEveryRecordHasItsOwner(t *testing.T) {
	r := newReads(t, func(c *server.ServeConfig) {
		c.RootQuiet, c.Quiet, c.Idle = 200*time.Millisecond, 300*time.Millisecond, 500*time.Millisecond
	})
	producer := r.newKey(t, own)
	auditor, operator, revoked := r.roleKey(t, own, "auditor"), r.roleKey(t, own, "operator"), r.roleKey(t, own, "viewer")
	r.used(t, producer, auditor, operator, revoked)
	keys, err := r.control(t).APIKeys(t.Context(), own)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.control(t).RevokeAPIKey(t.Context(), keys.Keys[len(keys.Keys)-1].ID); err != nil {
		t.Fatal(err)
	}
	capture, err := os.ReadFile(filepath.Join("..", "..", "testdata", "captures", "openai-agents-openinference-0.20.0", "agent2.traces.pb"))
	if err != nil {
		t.Fatal(err)
	}
	if status, body := r.post(t, r.otlp+"/v1/traces", "application/x-protobuf", producer, capture); status != http.StatusOK {
		t.Fatalf("%d %s", status, body)
	}
	r.put(t, producer, r.line("system", 0, nil), r.line("audit", 1, nil), r.line("trace_event", 1, object{"event_name": "e", "trace_id": strings.Repeat("c", 32)}))
	if status, _ := r.tryPut(t, producer, r.line("system", 0, object{"event_type": "PRODUCER_SILENT"})); status != http.StatusUnprocessableEntity {
		t.Errorf("a producer states that one is silent: %d", status)
	}
	r.waitRunsEnded(t)
	r.ask(t, auditor, "/api/v1/logs/audit", http.StatusOK)
	r.ask(t, operator, "/api/v1/logs/llm-runs/6a1464e6903196b8b9347c8681f04d51/export", http.StatusOK)
	r.get(t, producer, "/api/v1/logs/llm-runs", nil) // refused
	r.get(t, "", "/api/v1/logs/llm-runs", nil)       // so is nobody
	if _, err := r.control(t).Rotate(t.Context(), own); err != nil {
		t.Fatal(err)
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}

	table := owners(t)
	by := map[string]int{}
	for _, w := range everything(t, r.dir) {
		l := w.leaf
		o, event := table[l.Kind], l.Text("event_type")
		if l.Text("producer") != "" {
			if !o.External || serverOnly(o, event) {
				t.Errorf("%s: %s %s came from outside", w.tenant, l.Kind, event)
			}
			continue
		}
		by[o.Owner]++
		if c := l.Text("source_component"); c != o.Owner {
			t.Errorf("%s: %s %s of the server is from %s, not %s", w.tenant, l.Kind, event, c, o.Owner)
		}
	}
	for _, o := range table {
		if by[o.Owner] == 0 {
			t.Errorf("nothing was seen of %s", o.Owner)
		}
	}
}

// The operator's look at producers through a running server: it counts up to now, is on
// record, and OTLP can send heartbeats.
func TestProducers(t *testing.T) {
	r := newReads(t, nil)
	producer := r.newKey(t, own)
	r.used(t, producer)
	r.put(t, producer, r.line("system", 0, object{"source_component": "worker", "producer_seq": 1}), r.line("system", 1, object{"source_component": "worker", "producer_seq": 4}))
	beat := func(name string) string {
		return fmt.Sprintf(`{"resourceLogs":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"shop"}}]},`+
			`"scopeLogs":[{"logRecords":[{"timeUnixNano":"%d","eventName":%q}]}]}]}`, time.Now().UnixNano(), name)
	}
	for _, name := range []string{"runledger.health_check", "runledger.shutdown"} {
		if status, body := r.post(t, r.otlp+"/v1/logs", "application/json", producer, []byte(beat(name))); status != http.StatusOK {
			t.Fatalf("%d %s", status, body)
		}
	}
	var list producers.List
	if got := r.added(t, own, func() {
		var err error
		if list, err = r.control(t).Producers(t.Context(), own, false); err != nil {
			t.Fatal(err)
		}
	}); len(got) != 1 || got["LOG_VIEW"] != 1 {
		t.Errorf("a look at producers is on record as %v", got)
	}
	seen := map[string]producers.Producer{}
	for _, p := range list.Producers {
		seen[p.Component] = p
	}
	if p := seen["worker"]; p.Credential == nil || p.Total != 2 || p.Sequence == nil || p.Sequence.MissingCount != 2 || p.State != producers.StateSeen {
		t.Errorf("%+v", p)
	}
	if p := seen["shop"]; p.Credential == nil || p.State != producers.StateStopped || p.Heartbeat == nil || p.Heartbeat.Count != 1 {
		t.Errorf("%+v", p)
	}
	if p := seen["AuditLedgerWriter"]; p.Credential != nil || p.State != producers.StateServer {
		t.Errorf("%+v", p)
	}
	rows, err := r.look.Rows(`SELECT route, entity_id, record_count FROM audit_ledger WHERE tenant_id = ?1 AND event_type = 'LOG_VIEW'`, own)
	if err != nil || len(rows) != 1 || fmt.Sprint(rows[0]) != fmt.Sprintf("[GET /producers producers %d]", len(list.Producers)) {
		b, _ := json.Marshal(rows)
		t.Errorf("%s %v", b, err)
	}
	if body := r.metric(t, "runledger_producer_behind_leaves"); body == "" {
		t.Error("no metrics of producers")
	}
}
