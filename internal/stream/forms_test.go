package stream

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	cloud "github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
)

// What OCSF 1.3.0 asks of each class that is used here: the attributes required of
// all events and of the class, and of which others at least one must be there
// (events/base_event.json, and the class's file, of the schema's release).
var ocsfRules = map[int]struct {
	required   []string
	anyOf      []string
	activities []int
}{
	classBase:      {activities: []int{0, 99}},
	classFinding:   {required: []string{"finding_info"}, activities: []int{0, 1, 2, 3, 99}},
	classAccount:   {required: []string{"user"}, activities: []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 99}},
	classAuth:      {required: []string{"user"}, anyOf: []string{"service", "dst_endpoint"}, activities: []int{0, 1, 2, 3, 4, 5, 6, 99}},
	classEntity:    {required: []string{"entity"}, activities: []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 99}},
	classLifecycle: {required: []string{"app"}, activities: []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 99}},
	classAPI:       {required: []string{"actor", "api", "src_endpoint"}, activities: []int{0, 1, 2, 3, 4, 99}},
}

var ocsfBase = []string{"activity_id", "category_uid", "class_uid", "metadata", "severity_id", "time", "type_uid"}

// ocsfObjects are the rules of objects: all of the first, at least one of the second.
var ocsfObjects = map[string][2][]string{
	"metadata":     {{"product", "version"}},
	"product":      {{"name"}},
	"app":          {{"name"}},
	"finding_info": {{"uid", "title"}},
	"api":          {{"operation"}},
	"actor":        {nil, {"process", "user", "session", "app_name", "app_uid"}},
	"user":         {nil, {"account", "name", "uid"}},
	"entity":       {nil, {"name", "uid"}},
	"src_endpoint": {nil, {"ip", "uid", "name", "hostname", "svc_name"}},
	"service":      {nil, {"name", "uid"}},
}

// checkOCSF reports what breaks the rules.
func checkOCSF(e map[string]any) (wrong []string) {
	number := func(name string) int { n, _ := e[name].(float64); return int(n) }
	class := number("class_uid")
	rules, ok := ocsfRules[class]
	if !ok {
		return []string{fmt.Sprintf("class %d", class)}
	}
	for _, name := range append(slices.Clone(ocsfBase), rules.required...) {
		if _, ok := e[name]; !ok {
			wrong = append(wrong, "missing "+name)
		}
	}
	if rules.anyOf != nil && !slices.ContainsFunc(rules.anyOf, func(n string) bool { return e[n] != nil }) {
		wrong = append(wrong, fmt.Sprintf("none of %v", rules.anyOf))
	}
	if !slices.Contains(rules.activities, number("activity_id")) {
		wrong = append(wrong, fmt.Sprintf("activity %d of class %d", number("activity_id"), class))
	}
	if number("activity_id") == 99 && e["activity_name"] == "" {
		wrong = append(wrong, "activity 99 without a name")
	}
	if number("type_uid") != class*100+number("activity_id") || number("category_uid") != class/1000 {
		wrong = append(wrong, "type_uid or category_uid")
	}
	if !slices.Contains([]int{1, 3, 5}, number("severity_id")) || number("time") < 1e12 {
		wrong = append(wrong, "severity_id or time")
	}
	return append(wrong, checkObjects(e)...)
}

func checkObjects(m map[string]any) (wrong []string) {
	for name, v := range m {
		o, ok := v.(map[string]any)
		if !ok || name == "unmapped" {
			continue
		}
		for _, r := range ocsfObjects[name][0] {
			if s := o[r]; s == nil || s == "" {
				wrong = append(wrong, "missing "+name+"."+r)
			}
		}
		if any := ocsfObjects[name][1]; any != nil && !slices.ContainsFunc(any, func(n string) bool { return o[n] != nil && o[n] != "" }) {
			wrong = append(wrong, fmt.Sprintf("%s has none of %v", name, any))
		}
		wrong = append(wrong, checkObjects(o)...)
	}
	return wrong
}

// eventTypes are those of the contract, and one of a producer's own.
var systemTypes = strings.Fields(`STARTUP SHUTDOWN RESTART DEPLOY MIGRATION AUTH_CHANGE CONFIG_CHANGE ERROR HEALTH_CHECK LOG_OPENED
	LOG_CLOSED CHECKPOINT_ANCHORED INTEGRITY_ANOMALY PRODUCER_SILENT LIFECYCLE_ACKNOWLEDGED OBSERVATION CACHE_FLUSHED`)

var auditTypes = strings.Fields(`PolicyRuleCreated PolicyRuleModified PolicyRuleRetired PolicyProposalApproved PolicyProposalRejected
	PolicyEvaluated LimitCreated LimitUpdated LimitChecked LimitBreached LimitOverrideGranted LimitOverrideRevoked IncidentAcknowledged
	IncidentResolved IncidentManuallyClosed EmergencyOverrideActivated EmergencyOverrideDeactivated SignalAcknowledged SignalSuppressed
	SignalEscalated LOGIN LOGOUT LOGIN_FAILED API_KEY_CREATED API_KEY_REVOKED API_KEY_USED_FIRST ACCESS_DECISION LOG_VIEW LOG_EXPORT
	RBACChanged RetentionPolicyChanged RetentionApplied LegalHoldPlaced LegalHoldReleased ErasureExecuted ConflictRecorded ReviewHeld`)

// fetchedOf is a record as the ledger gives it out, for a form's test.
func fetchedOf(t testing.TB, rec *evidence.Record, sealed map[string]string) *ledger.Fetched {
	t.Helper()
	if err := rec.Complete(); err != nil {
		t.Fatal(err)
	}
	l := &evidence.Leaf{
		Log: "test.example/0123456789ab", Seq: 7, ID: rec.ID, Kind: rec.Kind, RecordedAt: rec.OccurredAt + 5, OccurredAt: rec.OccurredAt, Pub: rec.Pub,
		H: []evidence.Commitment{{Path: "/actor"}},
	}
	if rec.Kind == evidence.KindSystem {
		l.H = append(l.H, evidence.Commitment{Path: "/summary"})
	}
	raw, err := l.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	f := &ledger.Fetched{Tenant: "acme", Kind: l.Kind, Raw: raw, Hash: evidence.LeafHash(raw), Open: map[string]ledger.Opened{}}
	f.LogNo, f.Seq = 1, 7
	if f.Leaf, err = evidence.ParseLeaf(raw); err != nil {
		t.Fatal(err)
	}
	for path, v := range sealed {
		f.Open[path] = ledger.Opened{JSON: v}
	}
	return f
}

// everyRecord calls fn for each event type of the contract, with each decision.
func everyRecord(t *testing.T, fn func(name string, rec *evidence.Record)) {
	for _, e := range systemTypes {
		for _, severity := range severities {
			fn(e+" "+severity, made(evidence.KindSystem, map[string]string{"event_type": e, "severity": severity, "version": "2.1"}, nil))
		}
	}
	for _, e := range auditTypes {
		for n, decision := range []string{"", "ALLOWED", "DENIED", "PASSED", "WARNED", "BLOCKED", "BREACHED"} {
			facts := []map[string]string{
				{"credential_id": "rl_abc", "route": "/api/v1/logs/audit", "entity_type": "LOG"},
				{"about_run": "run-1", "entity_type": "INCIDENT", "agent_id": "agent-7"},
				{"system_id": "policy"},
			}[n%3]
			facts["event_type"], facts["decision"] = e, decision
			fn(e+" "+decision, made(evidence.KindAudit, facts, nil))
		}
	}
}

func TestOCSF(t *testing.T) {
	classes := map[float64]int{}
	everyRecord(t, func(name string, rec *evidence.Record) {
		for _, note := range []*alarmNote{nil, {Count: 3, LastIndex: 9, LastSeen: rec.OccurredAt + 9}} {
			enc := encoder{format: FormatOCSF, version: "1.0", instance: "test.example"}
			f := fetchedOf(t, rec, nil)
			ev, err := enc.record(f, note)
			if err != nil {
				t.Fatal(err)
			}
			m := body(t, ev)
			if wrong := checkOCSF(m); wrong != nil {
				t.Errorf("%s: %v\n%s", name, wrong, ev.Body)
			}
			if note != nil && m["class_uid"] != float64(classFinding) {
				t.Errorf("%s: an alarm is class %v", name, m["class_uid"])
			}
			classes[m["class_uid"].(float64)]++
			checkProvable(t, m["raw_data"].(string), m["unmapped"].(map[string]any)["record"].(map[string]any))
		}
	})
	if len(classes) != len(ocsfRules) {
		t.Errorf("classes %v: a rule that is not tried", classes)
	}
}

// checkProvable checks that what a receiver needs to prove a record is there.
func checkProvable(t *testing.T, leaf string, record map[string]any) {
	t.Helper()
	if got := evidence.Checksum(evidence.LeafHash([]byte(leaf))); got != record["leaf_hash"] {
		t.Errorf("leaf hash %v, that of the leaf is %s", record["leaf_hash"], got)
	}
	l, err := evidence.ParseLeaf([]byte(leaf))
	if err != nil || l.Log != record["log"] || float64(l.Seq) != record["leaf_index"] || l.ID.String() != record["id"] {
		t.Errorf("the leaf is not that of the record: %v", err)
	}
	if len(record["facts"].(map[string]any)) != len(l.Pub) {
		t.Errorf("facts %v", record["facts"])
	}
}

func TestOCSFClasses(t *testing.T) {
	tests := []struct {
		kind      evidence.Kind
		event     string
		decision  string
		class, id int
		status    string
	}{
		{evidence.KindAudit, "LOGIN", "", classAuth, 1, "Success"},
		{evidence.KindAudit, "LOGIN_FAILED", "", classAuth, 1, "Failure"},
		{evidence.KindAudit, "LOGOUT", "", classAuth, 2, "Success"},
		{evidence.KindAudit, "API_KEY_CREATED", "", classAccount, 1, "Success"},
		{evidence.KindAudit, "API_KEY_REVOKED", "", classAccount, 6, "Success"},
		{evidence.KindAudit, "LOG_VIEW", "ALLOWED", classAPI, 2, "Success"},
		{evidence.KindAudit, "ACCESS_DECISION", "DENIED", classAPI, 99, "Failure"},
		{evidence.KindAudit, "PolicyEvaluated", "PASSED", classBase, 99, "Success"},
		{evidence.KindAudit, "PolicyEvaluated", "BLOCKED", classFinding, 1, "New"},
		{evidence.KindAudit, "PolicyRuleCreated", "", classEntity, 1, ""},
		{evidence.KindAudit, "LimitUpdated", "", classEntity, 3, ""},
		{evidence.KindAudit, "STARTUP", "", classEntity, 99, ""}, // a producer's own, of a rule
		{evidence.KindSystem, "STARTUP", "", classLifecycle, 3, ""},
		{evidence.KindSystem, "SHUTDOWN", "", classLifecycle, 4, ""},
		{evidence.KindSystem, "INTEGRITY_ANOMALY", "", classFinding, 1, "New"},
		{evidence.KindSystem, "LOGIN", "", classBase, 99, ""},
	}
	for _, test := range tests {
		enc := encoder{format: FormatOCSF}
		ev, err := enc.record(fetchedOf(t, made(test.kind, map[string]string{"event_type": test.event, "decision": test.decision}, nil), nil), nil)
		if err != nil {
			t.Fatal(err)
		}
		m := body(t, ev)
		status, _ := m["status"].(string)
		if m["class_uid"] != float64(test.class) || m["activity_id"] != float64(test.id) || status != test.status {
			t.Errorf("%s %s: class %v, activity %v, status %q", test.event, test.decision, m["class_uid"], m["activity_id"], status)
		}
	}
}

func TestCloudEvents(t *testing.T) {
	everyRecord(t, func(name string, rec *evidence.Record) {
		enc := encoder{format: FormatCloudEvents, instance: "test.example"}
		f := fetchedOf(t, rec, nil)
		ev, err := enc.record(f, nil)
		if err != nil {
			t.Fatal(err)
		}
		body(t, ev)
		var got cloud.Event
		if err := json.Unmarshal(ev.Body, &got); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := got.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		event := f.Leaf.Text("event_type")
		if got.SpecVersion() != "1.0" || got.ID() != f.Leaf.ID.String() || got.Source() != "/logs/"+f.Leaf.Log || got.Subject() == "" ||
			got.Type() != "dev.runledger."+f.Kind.String()+"."+event || got.DataSchema() != schemaRecord ||
			evidence.MicrosOf(got.Time()) != f.Leaf.OccurredAt || got.Extensions()["sequence"] != "0000000000000000007" {
			t.Errorf("%s: %s", name, ev.Body)
		}
		var data map[string]any
		if err := json.Unmarshal(got.Data(), &data); err != nil {
			t.Fatal(err)
		}
		checkProvable(t, data["leaf"].(string), data)
	})
}

// Only what the configuration names is shown of what is sealed, in every form.
func TestDisclosure(t *testing.T) {
	const person, address, summary = "ada@example.com", "192.0.2.7", "what happened <&>"
	sealed := map[string]string{
		"/actor":  `{"human_actor_id":"` + person + `"}`,
		"/client": `{"address":"` + address + `:4711","agent":"curl/8"}`,
		"/query":  `"q=` + person + `"`, "/action_reason": `"` + summary + `"`,
	}
	facts := map[string]string{"event_type": "LOG_VIEW", "entity_type": "LOG", "credential_id": "rl_abc"}
	for _, format := range []string{FormatOCSF, FormatCloudEvents} {
		f := fetchedOf(t, made(evidence.KindAudit, facts, nil), sealed)
		none := encoder{format: format}
		ev := must(none.record(f, nil))
		for _, text := range []string{person, address, "what happened", "curl"} {
			if strings.Contains(string(ev.Body), text) {
				t.Errorf("%s: %q is shown", format, text)
			}
		}
		some := encoder{format: format, disclose: []string{"/actor", "/client", "/attrs", "/action_reason"}}
		ev = must(some.record(f, nil))
		for _, text := range []string{person, address, summary} {
			if !strings.Contains(string(ev.Body), text) {
				t.Errorf("%s: %q is not shown", format, text)
			}
		}
		if strings.Contains(string(ev.Body), "q=") {
			t.Errorf("%s: /query is shown", format)
		}
		if format == FormatOCSF {
			m := body(t, ev)
			if wrong := checkOCSF(m); wrong != nil {
				t.Error(wrong)
			}
			if diff := cmp.Diff(map[string]any{"uid": person}, m["actor"].(map[string]any)["user"]); diff != "" {
				t.Error(diff)
			}
			if ip := m["src_endpoint"].(map[string]any)["ip"]; ip != address {
				t.Errorf("address %v", ip)
			}
		}
	}
}

// Numbers keep their digits, and what is too large is left out and named.
func TestSealedValues(t *testing.T) {
	big := `"` + strings.Repeat("x", maxSealed) + `"`
	f := fetchedOf(t, made(evidence.KindSystem, nil, nil), map[string]string{
		"/details": `{"n": 123456789012345678901234567890.10, "html": "<a>"}`, "/summary": big,
	})
	for _, format := range []string{FormatOCSF, FormatCloudEvents} {
		enc := encoder{format: format, disclose: []string{"/details", "/summary"}}
		ev := must(enc.record(f, nil))
		if !strings.Contains(string(ev.Body), "123456789012345678901234567890.10") || !strings.Contains(string(ev.Body), "<a>") {
			t.Errorf("%s: %s", format, ev.Body)
		}
		if len(ev.Body) > maxSealed || !strings.Contains(string(ev.Body), fmt.Sprintf(`"left_out":{"/summary":%d}`, len(big))) {
			t.Errorf("%s: an event of %d bytes", format, len(ev.Body))
		}
	}
}

func TestConditionForms(t *testing.T) {
	since := evidence.MicrosOf(time.Unix(1_800_000_000, 0))
	for _, over := range []bool{false, true} {
		c := &condition{Name: condCompromised, Subject: "acme", Why: "E_TILE", Since: since, Over: over}
		if over {
			c.Ended = since + 1e6
		}
		c.add("acme")
		enc := encoder{format: FormatOCSF, instance: "test.example"}
		m := body(t, must(enc.condition(c)))
		if wrong := checkOCSF(m); wrong != nil {
			t.Error(wrong)
		}
		if want := map[bool]float64{false: 1, true: 3}[over]; m["activity_id"] != want {
			t.Errorf("activity %v, want %v", m["activity_id"], want)
		}
		enc.format = FormatCloudEvents
		var got cloud.Event
		if err := json.Unmarshal(must(enc.condition(c)).Body, &got); err != nil || got.Validate() != nil {
			t.Errorf("%v, %v", err, got.Validate())
		}
	}
	c := &condition{Name: condDegraded, Since: since}
	for i := range 50 {
		c.add(fmt.Sprintf("t%d", i))
	}
	if len(c.Tenants) != maxTenants || c.Count != 50 {
		t.Errorf("%d of %d tenants", len(c.Tenants), c.Count)
	}
}
