package server_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/runledger/runledger/internal/server"
)

// request makes a request with a body, and looks whether the document has that answer.
func (r *reads) request(t *testing.T, key, method, target, body string, want int) object {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, r.url+target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+key)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.checked(t, method, target, want, resp.StatusCode, resp.Header.Get("Content-Type"), b)
}

// lifecycleReads is a server with an archive, and keys of two tenants.
func lifecycleReads(t *testing.T) (*reads, map[string]string) {
	t.Helper()
	r := newReads(t, func(c *server.ServeConfig) { c.Archive = filepath.Join(t.TempDir(), "archive") })
	keys := map[string]string{"producer": r.newKey(t, own)}
	for _, role := range []string{"viewer", "operator", "auditor", "tenant_admin"} {
		keys[role] = r.roleKey(t, own, role)
	}
	r.newKey(t, foreign)
	keys["foreign"] = r.roleKey(t, foreign, "tenant_admin")
	for _, key := range keys {
		r.used(t, key)
	}
	return r, keys
}

// TestLifecyclePermissions: who administers may change, who audits or administers may
// look, and nobody else; and each request is on record.
func TestLifecyclePermissions(t *testing.T) {
	t.Parallel()
	r, keys := lifecycleReads(t)
	requests := []struct {
		method, target, body string
		roles                []string // that may
		status               int      // of who may
	}{
		{"GET", "/api/v1/retention", "", []string{"auditor", "tenant_admin"}, 200},
		{"GET", "/api/v1/retention/preview?at=2027-01-01T00:00:00Z", "", []string{"auditor", "tenant_admin"}, 200},
		{"GET", "/api/v1/holds?all=true", "", []string{"auditor", "tenant_admin"}, 200},
		{"GET", "/api/v1/archives", "", []string{"auditor", "tenant_admin"}, 200},
		{"GET", "/api/v1/archives/records?run_id=nobody", "", []string{"auditor", "tenant_admin"}, 404},
		{"GET", "/api/v1/erasures?limit=5", "", []string{"auditor", "tenant_admin"}, 200},
		{"GET", "/api/v1/erasures/erasure-000000000000/certificate", "", []string{"auditor", "tenant_admin"}, 404},
		{"PUT", "/api/v1/retention/llm_runs", `{"days":200,"reason":"r"}`, []string{"tenant_admin"}, 200},
		{"POST", "/api/v1/holds/hold-000000000000/release", `{"reason":"r"}`, []string{"tenant_admin"}, 404},
		{"POST", "/api/v1/erasures", `{"run_id":"nobody","dry_run":true,"reason":"r"}`, []string{"tenant_admin"}, 404},
	}
	for _, q := range requests {
		for _, role := range []string{"viewer", "operator", "auditor", "tenant_admin", "producer"} {
			want := http.StatusForbidden
			if slices.Contains(q.roles, role) {
				want = q.status
			}
			got := r.added(t, own, func() { r.request(t, keys[role], q.method, q.target, q.body, want) })
			delete(got, "RetentionPolicyChanged")
			event := "LOG_VIEW"
			if q.method != "GET" || want == http.StatusForbidden {
				event = "ACCESS_DECISION"
			}
			if diff := cmp.Diff(map[string]int{event: 1}, got); diff != "" {
				t.Errorf("%s %s as %s (%d): records (-want +got):\n%s", q.method, q.target, role, want, diff)
			}
		}
	}
}

// TestLifecycleRequests: what is not understood is refused and changes nothing.
func TestLifecycleRequests(t *testing.T) {
	t.Parallel()
	r, keys := lifecycleReads(t)
	admin := keys["tenant_admin"]
	before := r.audits(t, own)
	for _, q := range []struct {
		method, target, body, field string
		status                      int
	}{
		{"GET", "/api/v1/retention?class=audit", "", "class", 400},
		{"GET", "/api/v1/retention/preview?at=tomorrow", "", "at", 422},
		{"GET", "/api/v1/holds?all=yes", "", "all", 422},
		{"GET", "/api/v1/erasures?limit=0", "", "limit", 422},
		{"PUT", "/api/v1/retention/llm_runs", `{"dayz":3,"reason":"r"}`, "dayz", 422},
		{"PUT", "/api/v1/retention/llm_runs", `{"days":"3","reason":"r"}`, "days", 422},
		{"PUT", "/api/v1/retention/llm_runs", `{"days":4000,"reason":"r"}`, "days", 422},
		{"PUT", "/api/v1/retention/llm_runs", `{"days":100}`, "reason", 422},
		{"PUT", "/api/v1/retention/nothing", `{"days":100,"reason":"r"}`, "class", 422},
		{"POST", "/api/v1/holds", `{"reason":"r"}`, "", 422},
		{"POST", "/api/v1/holds", `[]`, "body", 400},
		{"POST", "/api/v1/erasures", `{"run_id":"a","subject":"b","reason":"r"}`, "", 422},
	} {
		p := r.request(t, admin, q.method, q.target, q.body, q.status)
		if q.field != "" && p["field"] != q.field {
			t.Errorf("%s %s %s: field %v, want %s", q.method, q.target, q.body, p["field"], q.field)
		}
	}
	after := r.audits(t, own)
	for _, event := range []string{"RetentionPolicyChanged", "LegalHoldPlaced", "ErasureExecuted"} {
		if after[event] != before[event] {
			t.Errorf("%d %s", after[event]-before[event], event)
		}
	}
	if status, header, _ := r.get(t, admin, "/api/v1/holds/hold-1/release", nil); status != http.StatusMethodNotAllowed && status != http.StatusNotFound || status == 405 && header.Get("Allow") == "" {
		t.Errorf("release by GET: %d", status)
	}
}

// TestHolds: a hold keeps a run from being erased, is another tenant's 404, and says who
// placed it only to who may read content.
func TestHolds(t *testing.T) {
	t.Parallel()
	r, keys := lifecycleReads(t)
	admin := keys["tenant_admin"]
	r.keys["producer@"+own] = keys["producer"]
	run := r.nativeRun(t)
	var id string
	got := r.added(t, own, func() {
		h := r.request(t, admin, "POST", "/api/v1/holds", `{"run_id":"`+run+`","reason":"case secret-17"}`, http.StatusCreated)
		wantAt(t, h, object{"scope": "run", "run_id": run, "in_force": true})
		if _, shown := h["reason"]; shown {
			t.Errorf("an administrator reads content: %v", h)
		}
		id, _ = h["hold_id"].(string)
	})
	if diff := cmp.Diff(map[string]int{"ACCESS_DECISION": 1, "LegalHoldPlaced": 1}, got); diff != "" {
		t.Error(diff)
	}
	list := r.ask(t, keys["auditor"], "/api/v1/holds", http.StatusOK)
	wantAt(t, list, object{"holds.0.hold_id": id, "holds.0.reason": "case secret-17"})
	if other := r.ask(t, keys["foreign"], "/api/v1/holds?all=true", http.StatusOK); len(listOf(t, other, "holds")) != 0 {
		t.Errorf("another tenant sees %v", other)
	}
	foreignly := r.request(t, keys["foreign"], "POST", "/api/v1/holds/"+id+"/release", `{"reason":"r"}`, http.StatusNotFound)
	unknown := r.request(t, keys["foreign"], "POST", "/api/v1/holds/hold-ffffffffffff/release", `{"reason":"r"}`, http.StatusNotFound)
	if a, b := strings.ReplaceAll(jsonText(t, foreignly), id, "ID"), strings.ReplaceAll(jsonText(t, unknown), "hold-ffffffffffff", "ID"); a != b {
		t.Errorf("a hold of another tenant is told from none: %s, %s", a, b)
	}
	dry := r.request(t, admin, "POST", "/api/v1/erasures", `{"run_id":"`+run+`","dry_run":true,"reason":"r"}`, http.StatusOK)
	wantAt(t, dry, object{"dry_run": true, "held_by": []any{id}})
	p := r.request(t, admin, "POST", "/api/v1/erasures", `{"run_id":"`+run+`","reason":"r"}`, http.StatusConflict)
	wantAt(t, p, object{"code": "held"})
	if s := jsonText(t, r.ask(t, keys["auditor"], "/api/v1/logs/llm-runs/"+run+"/envelope", http.StatusOK)); s == "" {
		t.Error("no envelope")
	}
	r.request(t, admin, "POST", "/api/v1/holds/"+id+"/release", `{"reason":"closed"}`, http.StatusOK)
	r.request(t, admin, "POST", "/api/v1/holds/"+id+"/release", `{"reason":"closed"}`, http.StatusConflict)
	e := r.request(t, admin, "POST", "/api/v1/erasures", `{"run_id":"`+run+`","reason":"r"}`, http.StatusOK)
	wantAt(t, e, object{"dry_run": false, "runs": 1})
	status, header, pdf := r.get(t, admin, e["certificate_url"].(string)+"?format=pdf", nil)
	if status != http.StatusOK || header.Get("Content-Type") != "application/pdf" || !bytes.HasPrefix(pdf, []byte("%PDF-")) {
		t.Errorf("certificate: %d %s", status, header.Get("Content-Type"))
	}
	wantAt(t, r.ask(t, admin, e["certificate_url"].(string), http.StatusOK), object{"format": "runledger erasure certificate v1", "tenant_id": own})
	r.ask(t, keys["foreign"], e["certificate_url"].(string), http.StatusNotFound)
	for key, shown := range map[string]bool{admin: false, keys["auditor"]: true} { // who ordered it
		if s := jsonText(t, r.ask(t, key, e["certificate_url"].(string), http.StatusOK)); strings.Contains(s, `"/actor"`) != shown {
			t.Errorf("who ordered it is shown: %v, wanted %v", !shown, shown)
		}
	}
	// Who may read content is told why; nobody is told of another tenant.
	wantAt(t, r.ask(t, keys["auditor"], "/api/v1/erasures", http.StatusOK), object{"more": false, "erasures.0.erasure_id": e["erasure_id"], "erasures.0.reason": "r"})
	for _, x := range listOf(t, r.ask(t, admin, "/api/v1/erasures", http.StatusOK), "erasures") {
		if m := x.(object); m["erasure_id"] != e["erasure_id"] || m["reason"] != nil || m["ordered_by"] != nil {
			t.Errorf("to an administrator: %v", m)
		}
	}
	if other := r.ask(t, keys["foreign"], "/api/v1/erasures", http.StatusOK); len(listOf(t, other, "erasures")) != 0 {
		t.Errorf("another tenant sees %v", other)
	}
	r.ask(t, keys["foreign"], "/api/v1/erasures?before="+e["erasure_id"].(string), http.StatusNotFound)
}

func jsonText(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestArchiveRoutes: what is archived is read from there, by who may see all of it.
func TestArchiveRoutes(t *testing.T) {
	t.Parallel()
	r, keys := lifecycleReads(t)
	r.keys["producer@"+own] = keys["producer"]
	run := r.nativeRun(t)
	list := r.request(t, keys["tenant_admin"], "POST", "/api/v1/archives", `{}`, http.StatusOK)
	if len(listOf(t, list, "units")) == 0 {
		t.Fatalf("nothing is archived: %v", list)
	}
	units := each(t, r.ask(t, keys["auditor"], "/api/v1/archives", http.StatusOK), "units", "name")
	if diff := cmp.Diff(each(t, list, "units", "name"), units); diff != "" {
		t.Error(diff)
	}
	shown := r.ask(t, keys["auditor"], "/api/v1/archives/records?run_id="+run, http.StatusOK)
	if n := len(listOf(t, shown, "records")); n != 3 {
		t.Errorf("%d records of the run in the archive", n)
	}
	r.ask(t, keys["foreign"], "/api/v1/archives/records?run_id="+run, http.StatusNotFound)
}
