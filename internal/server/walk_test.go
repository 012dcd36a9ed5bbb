package server_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/control"
	"github.com/runledger/runledger/internal/store/storerig"
)

// openAPI is what the walk needs of the document.
type openAPI struct {
	Paths map[string]map[string]*operation `json:"paths"`
}

type operation struct {
	ID       string           `json:"operationId"`
	Security *json.RawMessage `json:"security"`
	Params   []struct {
		Name     string `json:"name"`
		In       string `json:"in"`
		Required bool   `json:"required"`
	} `json:"parameters"`
	Responses map[string]struct {
		Content map[string]struct {
			Schema struct {
				Ref string `json:"$ref"`
			} `json:"schema"`
		} `json:"content"`
	} `json:"responses"`
}

// checker checks answers against the document.
type checker struct {
	doc      openAPI
	compiler *jsonschema.Compiler
	compiled map[string]*jsonschema.Schema
}

const docURL = "https://runledger.test/openapi.json"

func newChecker(t *testing.T, text []byte) *checker {
	t.Helper()
	c := &checker{compiler: jsonschema.NewCompiler(), compiled: map[string]*jsonschema.Schema{}}
	if err := json.Unmarshal(text, &c.doc); err != nil {
		t.Fatal(err)
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	c.compiler.DefaultDraft(jsonschema.Draft2020)
	if err := c.compiler.AddResource(docURL, v); err != nil {
		t.Fatal(err)
	}
	return c
}

// check reports what in an answer the document does not allow.
func (c *checker) check(op *operation, status int, contentType string, body []byte) error {
	r, ok := op.Responses[fmt.Sprint(status)]
	if !ok {
		if r, ok = op.Responses["default"]; !ok || status < 400 {
			return fmt.Errorf("status %d is not in the document", status)
		}
	}
	media, _, _ := strings.Cut(contentType, ";")
	m, ok := r.Content[media]
	if !ok {
		return fmt.Errorf("status %d: %q is not in the document", status, contentType)
	}
	if m.Schema.Ref == "" {
		return nil
	}
	s := c.compiled[m.Schema.Ref]
	if s == nil {
		var err error
		if s, err = c.compiler.Compile(docURL + m.Schema.Ref); err != nil {
			return err
		}
		c.compiled[m.Schema.Ref] = s
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err != nil {
		return err
	}
	return s.Validate(v)
}

// walk is two tenants with data, and a key of every role; and the tenant of scenarios
// with the same data, and a key of the role that is only there.
type walk struct {
	*running
	*checker
	run   string // of acme
	keys  map[string]string
	count func(t *testing.T) map[string]int64 // audit records by tenant
}

const (
	own       = "acme"
	foreign   = "globex"
	synthetic = evidence.SyntheticTenant
)

// home is the tenant that a role of the walk is of: observers are of one only.
func home(role string) string {
	if role == "observer" {
		return synthetic
	}
	return own
}

var walkRoles = []string{"viewer", "operator", "auditor", "observer", "producer", "tenant_admin"}

func newWalk(t *testing.T) *walk {
	t.Helper()
	w := &walk{running: serve(t, filepath.Join(t.TempDir(), "data")), keys: map[string]string{"none": ""}}
	for _, tenant := range []string{own, foreign, synthetic} {
		producer := w.newKey(t, tenant)
		w.keys["producer@"+tenant] = producer
		for _, role := range walkRoles {
			if role != "producer" && (role == "observer") == (tenant == synthetic) {
				w.keys[role+"@"+tenant] = w.roleKey(t, tenant, role)
			}
		}
	}
	w.keys["platform_admin"] = w.roleKey(t, "", "platform_admin")
	body, err := os.ReadFile("../../testdata/captures/vercel-ai-7.0.173/agent2.traces.pb")
	if err != nil {
		t.Fatal(err)
	}
	for _, tenant := range []string{own, foreign, synthetic} {
		if status, answer := w.post(t, w.otlp+"/v1/traces", "application/x-protobuf", w.keys["producer@"+tenant], body); status != http.StatusOK {
			t.Fatalf("%d %s", status, answer)
		}
	}
	w.waitRunsEnded(t)
	status, _, doc := w.get(t, "", "/openapi.json", nil)
	if status != http.StatusOK {
		t.Fatalf("openapi.json: %d", status)
	}
	w.checker = newChecker(t, doc)
	// What only acme has: its own run, under an id of its own. In the tenant of scenarios
	// there is one of that id too, which is not synthetic.
	w.run = w.nativeRun(t)
	w.nativeRunOf(t, synthetic)
	look, err := storerig.OpenLook(w.dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = look.Close() })
	w.count = func(t *testing.T) map[string]int64 {
		t.Helper()
		out := map[string]int64{}
		rows, err := look.Rows(`SELECT tenant_id, count(*) FROM audit_ledger GROUP BY 1`)
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range rows {
			out[row[0].(string)] = row[1].(int64)
		}
		return out
	}
	return w
}

func (r *running) roleKey(t *testing.T, tenant, role string) string {
	t.Helper()
	c, err := control.Dial(t.Context(), r.dir)
	if err != nil {
		t.Fatal(err)
	}
	made, err := c.CreateAPIKey(t.Context(), control.NewAPIKey{TenantID: tenant, Platform: tenant == "", Role: role, Expires: "1d"})
	if err != nil {
		t.Fatal(err)
	}
	return made.Secret.Reveal()
}

func (r *running) post(t *testing.T, url, contentType, key string, body []byte) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", contentType)
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// nativeRun sends a run of acme's with sealed content and governance.
func (w *walk) nativeRun(t *testing.T) string {
	t.Helper()
	return w.nativeRunOf(t, own)
}

// nativeRunOf sends the same run as another tenant's.
func (w *walk) nativeRunOf(t *testing.T, tenant string) string {
	t.Helper()
	const run = "walk-run"
	now := time.Now().UTC().Add(-time.Minute).Format("2006-01-02T15:04:05.000000Z")
	lines := []string{
		`{"kind":"trace_step","occurred_at":"` + now + `","run_id":"walk-run","trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","span_id":"00f067aa0ba902b7","skill_name":"lookup","step_kind":"tool","status":"success","agent_id":"bot","params":{"order":"secret-order"},"source_domain":"ACTIVITY","source_component":"TraceStore"}`,
		`{"kind":"audit","id":"3f2a9c1e-5b7d-4e8a-9c60-1d2e3f4a5b6c","occurred_at":"` + now + `","run_id":"walk-run","event_type":"LimitBreached","entity_type":"LIMIT","entity_id":"spend","limit_id":"spend","limit_value":"10","observed_value":"12","decision":"BREACHED","actor_type":"SYSTEM","system_id":"limits","source_domain":"POLICY","source_component":"Limits","policy_ids":["p1"]}`,
		`{"kind":"llm_run","occurred_at":"` + now + `","run_id":"walk-run","trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","execution_status":"SUCCEEDED","outcome":"success","agent_id":"bot","started_at":"` + now + `","completed_at":"` + now + `","prompt":"secret-prompt","response":"secret-response","source_domain":"ACTIVITY","source_component":"TraceStore"}`,
	}
	status, body := w.post(t, w.url+"/api/v1/ingest/records", "application/x-ndjson", w.keys["producer@"+tenant], []byte(strings.Join(lines, "\n")))
	if status != http.StatusOK {
		t.Fatalf("records: %d %s", status, body)
	}
	return run
}

func (w *walk) get(t *testing.T, key, path string, header http.Header) (int, http.Header, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range header {
		req.Header[k] = v
	}
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, b
}

// may says who may read what, apart from the program's own rules.
func may(role, path string) bool {
	reads := map[string][]string{
		"viewer":       {"logs"},
		"operator":     {"logs", "content", "export"},
		"auditor":      {"logs", "content", "export", "audit"},
		"observer":     {"logs", "content", "export", "audit"},
		"producer":     {"ingest"},
		"tenant_admin": {"logs", "audit", "keys"},
	}[role]
	need := "logs"
	switch {
	case path == "/api/v1/archives/records":
		need = "audit"
	case administered(path):
		return slices.Contains(reads, "audit") || slices.Contains(reads, "keys")
	case strings.HasSuffix(path, "/export") || strings.HasPrefix(path, "/api/v1/exports"):
		need = "export"
	case strings.HasPrefix(path, "/api/v1/logs/audit"):
		need = "audit"
	case strings.HasPrefix(path, "/api/v1/apikeys"):
		need = "keys"
	case strings.HasPrefix(path, "/api/v1/tenants"), path == "/metrics":
		need = "platform"
	case path == "/schemas/record.json":
		return true
	case strings.HasPrefix(path, "/api/v1/receipts"):
		return slices.Contains(reads, "logs") || slices.Contains(reads, "ingest")
	}
	return slices.Contains(reads, need)
}

// fill puts values into the parameters of a path.
func fill(path, run string) string {
	return strings.NewReplacer("{run_id}", run, "{root_hash}", "no-such-hash", "{export_id}", "no-such-export", "{erasure_id}", "erasure-000000000000", "{id}", "00000000-0000-7000-8000-000000000000").Replace(path)
}

// query gives the parameters that a route needs.
func (op *operation) query(run string) string {
	var parts []string
	for _, p := range op.Params {
		if p.In == "query" && p.Required {
			parts = append(parts, p.Name+"="+run)
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return "?" + strings.Join(parts, "&")
}

// administered reports whether a route is about how long evidence is kept.
func administered(path string) bool {
	for _, prefix := range []string{"/api/v1/retention", "/api/v1/holds", "/api/v1/archives", "/api/v1/erasures"} {
		if strings.HasPrefix(path, prefix) {
			return true
		}
	}
	return false
}

// viewed reports whether a request of the route is recorded, whoever reads.
func viewed(path string) bool {
	for _, prefix := range []string{"/api/v1/logs/", "/guard/", "/api/v1/traces", "/api/v1/exports"} {
		if strings.HasPrefix(path, prefix) {
			return true
		}
	}
	return administered(path)
}

// TestWalk goes through every route that reads, with every role, for what is the
// own tenant's and what is another's.
func TestWalk(t *testing.T) {
	w := newWalk(t)
	routes := 0
	for path, methods := range w.doc.Paths {
		op := methods["get"]
		if op == nil || strings.HasPrefix(path, "/api/v1/transparency/") { // see TestTransparencyWalk
			continue
		}
		routes++
		public := op.Security != nil && string(*op.Security) == "[]"
		for _, role := range walkRoles {
			tenants := []string{own, foreign}
			if role == "observer" {
				tenants = []string{home(role)}
			}
			for _, tenant := range tenants {
				w.step(t, op, path, role, tenant, public)
			}
		}
		// Without a credential nothing is said, not even what there is.
		status, header, body := w.get(t, "", fill(path, w.run)+op.query(w.run), nil)
		switch {
		case public && status != http.StatusOK:
			t.Errorf("%s without a key: %d", path, status)
		case !public && (status != http.StatusUnauthorized || header.Get("Www-Authenticate") == "" || bytes.Contains(body, []byte(w.run))):
			t.Errorf("%s without a key: %d %s", path, status, body)
		}
	}
	if routes < 30 {
		t.Fatalf("the document has %d routes that read", routes)
	}
}

// step makes one request and looks at all that is promised of it.
func (w *walk) step(t *testing.T, op *operation, path, role, tenant string, public bool) {
	t.Helper()
	key := w.keys[role+"@"+tenant]
	target := fill(path, w.run) + op.query(w.run)
	before := w.count(t)
	status, header, body := w.get(t, key, target, nil)
	after := w.count(t)
	name := fmt.Sprintf("%s as %s of %s: %d", path, role, tenant, status)
	if err := w.check(op, status, header.Get("Content-Type"), body); err != nil {
		t.Errorf("%s: %v\n%.300s", name, err, body)
	}
	about := strings.Contains(path, "{") || strings.Contains(op.query(""), "run_id")
	switch {
	case public:
	case !may(role, path):
		if status != http.StatusForbidden {
			t.Errorf("%s, want 403", name)
		}
	case about && (tenant == foreign || strings.Contains(path, "{id}") || strings.Contains(path, "{export_id}") || strings.Contains(path, "{root_hash}") || strings.Contains(path, "{erasure_id}") || path == "/api/v1/archives/records" || role == "observer"):
		// The run is another tenant's, or synthetic records are all that is shown.
		if strings.Contains(path, "{root_hash}") && role != "operator" && role != "auditor" && role != "observer" {
			if status != http.StatusForbidden {
				t.Errorf("%s, want 403: the hash is sealed", name)
			}
			break
		}
		if status != http.StatusNotFound {
			t.Errorf("%s, want 404", name)
		}
		unknown := strings.ReplaceAll(target, w.run, "no-such-run")
		if again, _, other := w.get(t, key, unknown, nil); again != status || !bytes.Equal(body, other) {
			t.Errorf("%s: %s, and %d %s of what there is not", name, body, again, other)
		}
	case status != http.StatusOK:
		t.Errorf("%s, want 200: %.300s", name, body)
	case viewed(path) && !administered(path):
		w.metadata(t, name, path, body)
	}
	if public || status == http.StatusOK && !viewed(path) {
		return
	}
	// One record, in the log of the tenant that was asked. Keys are used first once.
	got := map[string]int64{}
	for log, n := range after {
		if n != before[log] {
			got[log] = n - before[log]
		}
	}
	if status == http.StatusNotFound && !viewed(path) {
		w.firstUse(key)
		return
	}
	if got[tenant] == 2 && w.firstUse(key) {
		got[tenant]--
	}
	if diff := cmp.Diff(map[string]int64{tenant: 1}, got); diff != "" {
		t.Errorf("%s: audit records (-want +got):\n%s", name, diff)
	}
}

// firstUse reports, once for each key, that it is used for the first time.
func (w *walk) firstUse(key string) bool {
	if w.keys["used "+key] != "" {
		return false
	}
	w.keys["used "+key] = "yes"
	return true
}

// metadata looks for what every answer and item has to have.
func (w *walk) metadata(t *testing.T, name, path string, body []byte) {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal(body, &v); err != nil {
		t.Errorf("%s: %v", name, err)
		return
	}
	if _, ok := v["metadata"]; !ok {
		t.Errorf("%s: no metadata", name)
	}
	if err := metadataIn(v); err != nil {
		t.Errorf("%s: %v", name, err)
	}
}

// metadataIn finds every metadata object in an answer.
func metadataIn(v any) error {
	switch v := v.(type) {
	case map[string]any:
		if m, ok := v["metadata"].(map[string]any); ok {
			for _, field := range []string{
				"tenant_id", "run_id", "human_actor_id", "agent_id", "system_id", "occurred_at", "recorded_at", "timezone", "trace_id",
				"policy_ids", "incident_ids", "export_id", "correlation_id", "source_domain", "source_component", "origin", "checksum",
				"immutable", "log", "leaf_index",
			} {
				if _, ok := m[field]; !ok {
					return fmt.Errorf("metadata has no %s", field)
				}
			}
			if m["immutable"] != true || m["timezone"] != "UTC" || !slices.Contains([]any{own, foreign, synthetic, "system"}, m["tenant_id"]) {
				return fmt.Errorf("metadata: %v", m)
			}
			if m["policy_ids"] == nil || m["incident_ids"] == nil {
				return errors.New("metadata: a list is null")
			}
		}
		for _, inner := range v {
			if err := metadataIn(inner); err != nil {
				return err
			}
		}
	case []any:
		for _, inner := range v {
			if err := metadataIn(inner); err != nil {
				return err
			}
		}
	}
	return nil
}

// TestViewIsRecorded reads one answer and finds it in the log: who, what, how
// much, and the digest of the very bytes.
func TestViewIsRecorded(t *testing.T) {
	w := newWalk(t)
	status, _, body := w.get(t, w.keys["operator@"+own], "/api/v1/logs/llm-runs/"+w.run+"/trace", http.Header{"User-Agent": {"walk/1"}})
	if status != http.StatusOK || !bytes.Contains(body, []byte("secret-order")) {
		t.Fatalf("%d %s", status, body)
	}
	status, _, seen := w.get(t, w.keys["viewer@"+own], "/api/v1/logs/llm-runs/"+w.run+"/trace", nil)
	if status != http.StatusOK || bytes.Contains(seen, []byte("secret-order")) || !bytes.Contains(seen, []byte(`"reason":"not_permitted"`)) {
		t.Fatalf("%d %s", status, seen)
	}
	status, _, list := w.get(t, w.keys["auditor@"+own], "/api/v1/logs/audit/access?run_id="+w.run, nil)
	if status != http.StatusOK {
		t.Fatalf("%d %s", status, list)
	}
	var access struct {
		Events []struct {
			EventType  string   `json:"event_type"`
			AboutRun   string   `json:"about_run"`
			Route      string   `json:"route"`
			Status     int      `json:"status_code"`
			Records    int      `json:"record_count"`
			Bytes      int      `json:"byte_count"`
			Roles      []string `json:"roles"`
			Decision   string   `json:"decision"`
			RuleID     string   `json:"rule_id"`
			ViewDigest string   `json:"view_digest"`
		} `json:"access_events"`
	}
	if err := json.Unmarshal(list, &access); err != nil || len(access.Events) != 2 {
		t.Fatalf("%v: %s", err, list)
	}
	for i, want := range []struct {
		role string
		body []byte
	}{{"viewer", seen}, {"operator", body}} { // newest first
		sum := sha256.Sum256(want.body)
		e := access.Events[i]
		if e.EventType != "LOG_VIEW" || e.AboutRun != w.run || e.Route != "GET /api/v1/logs/llm-runs/:run_id/trace" || e.Status != 200 ||
			e.Records != 1 || e.Bytes != len(want.body) || !slices.Equal(e.Roles, []string{want.role}) || e.Decision != "ALLOWED" ||
			e.RuleID != "logs.llm-runs" || e.ViewDigest != "sha256:"+hex.EncodeToString(sum[:]) {
			t.Errorf("view %d: %+v, want one of %s with digest %x", i, e, want.role, sum)
		}
	}
}
