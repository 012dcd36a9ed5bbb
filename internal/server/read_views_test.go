package server_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
)

// TestReadViews: a look at who looked is itself one look, and shows the ones
// before it, never itself.
func TestReadViews(t *testing.T) {
	r := newReads(t, nil)
	r.newKey(t, own)
	auditor := r.roleKey(t, own, "auditor")
	r.used(t, auditor)
	const n = 6
	var ids []string
	got := r.added(t, own, func() {
		for i := range n {
			out := r.ask(t, auditor, "/api/v1/logs/audit/access", http.StatusOK)
			seen := each(t, out, "access_events", "id")
			if len(seen) != i || fmt.Sprint(at(t, out, "total")) != fmt.Sprint(i) {
				t.Errorf("look %d shows %v", i, out)
			}
			// All that were there, and at most one more, in front.
			if i > 0 && !slices.Equal(seen[1:], ids) {
				t.Errorf("look %d shows %q, the one before %q", i, seen, ids)
			}
			for j, count := range each(t, out, "access_events", "record_count") {
				if count != fmt.Sprint(i-1-j) {
					t.Errorf("look %d: look %d disclosed %s", i, i-1-j, count)
				}
			}
			ids = seen
		}
	})
	if diff := cmp.Diff(map[string]int{"LOG_VIEW": n}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, path := range []string{"/audit", "/audit/authorization", "/audit/identity", "/audit/integrity", "/audit/exports"} {
		if got := r.added(t, own, func() { r.ask(t, auditor, "/api/v1/logs"+path, http.StatusOK) }); !cmp.Equal(got, map[string]int{"LOG_VIEW": 1}) {
			t.Errorf("%s adds %v", path, got)
		}
	}
}

// TestReadShared: what the system says to all reaches every tenant, what it keeps
// to itself none, and what a tenant says to all stays in that tenant.
func TestReadShared(t *testing.T) {
	t.Parallel()
	r := newReads(t, nil)
	keys := map[string]string{}
	for _, tenant := range []string{own, foreign} {
		producer := r.newKey(t, tenant)
		keys[tenant] = r.roleKey(t, tenant, "operator")
		r.put(t, producer,
			r.line("trace_step", 100, object{"run_id": "run-1", "trace_id": longTrace, "span_id": "00000000000000aa"}),
			r.line("llm_run", 100, object{"run_id": "run-1", "trace_id": longTrace, "completed_at": r.time(110)}),
			r.line("system", 105, object{"id": sharedID(tenant), "summary": "of " + tenant, "visibility": "shared", "event_type": "DEPLOY", "component": tenant}))
	}
	var system []string
	for i, v := range []string{"shared", "tenant"} {
		for j, at := range []float64{90, 105, 500} {
			system = append(system, r.line("system", at, object{
				"id": fmt.Sprintf("018f0000-0000-4000-8000-0000000000%d%d", i, j), "visibility": v, "event_type": "DEPLOY", "component": "db-" + v, "version": fmt.Sprint(j),
			}))
		}
	}
	answer, err := r.control(t).Append(t.Context(), "system", []byte(strings.Join(system, "\n")), false)
	if err != nil {
		t.Fatalf("%+v %v", answer, err)
	}
	shared := func(n ...int) (ids []string) {
		for _, j := range n {
			ids = append(ids, fmt.Sprintf("018f0000-0000-4000-8000-00000000000%d", j))
		}
		return ids
	}
	for tenant, key := range keys {
		list := r.ask(t, key, "/api/v1/logs/system?event_type=DEPLOY", http.StatusOK)
		if diff := cmp.Diff(append(shared(2, 1, 0), sharedID(tenant)), each(t, list, "items", "id")); diff != "" {
			t.Errorf("%s: list (-want +got):\n%s", tenant, diff)
		}
		wantAt(t, list, object{"total": 4, "items.0.metadata.tenant_id": "system", "items.0.visibility": "shared", "items.3.metadata.tenant_id": tenant})
		events := r.ask(t, key, "/api/v1/logs/system/run-1/events", http.StatusOK)
		// What is not bound to the run is there where it is of the system and in its time.
		if diff := cmp.Diff(shared(1), each(t, events, "events", "id")); diff != "" {
			t.Errorf("%s: events (-want +got):\n%s", tenant, diff)
		}
		window := r.ask(t, key, "/api/v1/logs/system/run-1/replay?center="+r.time(105), http.StatusOK)
		if got := each(t, window, "system_events", "metadata.tenant_id"); !slices.Equal(slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values([]string{"system", "system", tenant}))) {
			t.Errorf("%s: window has events of %q", tenant, got)
		}
		snapshot := r.ask(t, key, "/api/v1/logs/system/run-1/snapshot", http.StatusOK)
		components := each(t, snapshot, "baseline", "component")
		if !slices.Contains(components, "db-shared") || slices.Contains(components, "db-tenant") {
			t.Errorf("%s: baseline of %q", tenant, components)
		}
		responsible := r.ask(t, key, "/api/v1/logs/system/audit?event_type=DEPLOY", http.StatusOK)
		if got := each(t, responsible, "responsibility", "component"); len(got) != 2 || slices.Contains(got, "db-tenant") {
			t.Errorf("%s: responsible are %q", tenant, got)
		}
		if _, _, body := r.get(t, key, "/api/v1/logs/system", nil); bytes.Contains(body, []byte("db-tenant")) {
			t.Errorf("%s sees what the system keeps to itself", tenant)
		}
	}
}

func sharedID(tenant string) string {
	if tenant == own {
		return "018f0000-0000-4000-8000-0000000000a1"
	}
	return "018f0000-0000-4000-8000-0000000000a2"
}

// TestReadEmpty: of a tenant that has nothing every list is there, empty, with
// metadata.
func TestReadEmpty(t *testing.T) {
	r := newReads(t, nil)
	c := r.control(t)
	if _, err := c.CreateTenant(t.Context(), "empty"); err != nil {
		t.Fatal(err)
	}
	auditor := r.roleKey(t, "empty", "auditor")
	r.used(t, auditor)
	empty := object{"total": 0, "total_is_exact": true, "has_more": false, "next_cursor": nil, "metadata.tenant_id": "empty", "metadata.immutable": true}
	for _, tt := range []struct {
		path, list string
		more       object
	}{
		// The first one asks who looked before anybody did.
		{"/api/v1/logs/audit/access", "access_events", empty},
		{"/api/v1/logs/audit/exports", "exports", empty},
		{"/api/v1/logs/llm-runs", "items", empty},
		{"/api/v1/logs/llm-runs?status=RUNNING", "items", empty},
		{"/guard/logs", "items", empty},
		{"/api/v1/traces/mismatches", "items", empty},
		{"/api/v1/logs/system?component=nothing", "items", empty},
		{"/api/v1/logs/system/audit?component=nothing", "entries", empty},
		{"/api/v1/logs/audit?entity_type=LIMIT", "items", empty},
		{"/api/v1/logs/audit/identity?event_type=LOGIN", "entries", empty},
		{"/api/v1/logs/audit/authorization?event_type=ACCESS_DECISION", "decisions", empty},
	} {
		out := r.ask(t, auditor, tt.path, http.StatusOK)
		if list := listOf(t, out, tt.list); len(list) != 0 {
			t.Errorf("%s: %v", tt.path, list)
		}
		wantAt(t, out, tt.more)
		// Where nothing was found both times are that of the answer.
		if at(t, out, "metadata.occurred_at") != at(t, out, "metadata.recorded_at") || at(t, out, "filters_applied.is_synthetic") != false {
			t.Errorf("%s: %v", tt.path, out)
		}
	}
	if got := listOf(t, r.ask(t, auditor, "/api/v1/logs/system/audit?component=nothing", http.StatusOK), "responsibility"); len(got) != 0 {
		t.Errorf("responsible: %v", got)
	}
	integrity := r.ask(t, auditor, "/api/v1/logs/audit/integrity", http.StatusOK)
	if len(listOf(t, integrity, "anomalies")) != 0 || len(listOf(t, integrity, "witnesses")) != 0 || len(listOf(t, integrity, "timestamps")) != 0 {
		t.Errorf("integrity: %v", integrity)
	}
	for _, depth := range []string{
		"llm-runs/none/envelope", "llm-runs/none/trace", "llm-runs/none/governance", "llm-runs/none/replay", "llm-runs/none/export",
		"system/none/snapshot", "system/none/telemetry", "system/none/events", "system/none/replay",
	} {
		wantAt(t, r.ask(t, auditor, "/api/v1/logs/"+depth, http.StatusNotFound), object{"code": "not_found", "status": 404})
	}
}

// do makes a request of any method.
func (r *reads) do(t *testing.T, method, url, key, contentType string) (int, http.Header, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if key != "" {
		req.Header.Set("X-Api-Key", key)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
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

// TestReadRoutes: who gets to what at all.
func TestReadRoutes(t *testing.T) {
	r := newReads(t, nil)
	producer := r.newKey(t, own)
	viewer, admin, platform := r.roleKey(t, own, "viewer"), r.roleKey(t, own, "tenant_admin"), r.roleKey(t, "", "platform_admin")
	for _, tt := range []struct {
		method, path, key string
		status            int
		code              string
		header            string // "Name: value" that must be there
	}{
		{"GET", "/metrics", "", 401, "unauthenticated", `Www-Authenticate: Bearer realm="runledger"`},
		{"GET", "/metrics", viewer, 403, "forbidden", ""},
		{"GET", "/metrics", admin, 403, "forbidden", ""},
		{"GET", "/metrics", producer, 403, "forbidden", ""},
		{"GET", "/metrics", platform, 200, "", ""},
		{"GET", "/no/such/route", "", 401, "unauthenticated", `Www-Authenticate: Bearer realm="runledger"`},
		{"GET", "/no/such/route", viewer, 404, "not_found", ""},
		{"GET", "/api/v1/logs/no-such-topic", "", 401, "unauthenticated", ""},
		{"GET", "/api/v1/logs/no-such-topic", viewer, 404, "not_found", ""},
		{"GET", "/api/v1/logs/llm-runs/x/no-such-depth", viewer, 404, "not_found", ""},
		{"GET", "/api/v1/logs/llm-runs/", viewer, 404, "not_found", ""},
		{"GET", "/schemas/other.json", viewer, 404, "not_found", ""},
		{"POST", "/api/v1/traces/x", producer, 405, "method_not_allowed", "Allow: GET"},
		{"POST", "/api/v1/traces/x/y/z", producer, 404, "not_found", ""},
		{"POST", "/api/v1/logs/llm-runs", "", 401, "unauthenticated", ""},
		{"POST", "/api/v1/logs/llm-runs", viewer, 405, "method_not_allowed", "Allow: GET, HEAD"},
		{"DELETE", "/api/v1/logs/llm-runs/x/envelope", platform, 405, "method_not_allowed", "Allow: GET, HEAD"},
		{"PUT", "/api/v1/logs/audit", viewer, 405, "method_not_allowed", "Allow: GET, HEAD"},
		{"PATCH", "/guard/logs", viewer, 405, "method_not_allowed", "Allow: GET, HEAD"},
		{"GET", "/v1/traces", producer, 405, "method_not_allowed", "Allow: POST"},
		{"DELETE", "/api/v1/traces/x", viewer, 405, "method_not_allowed", ""},
		{"GET", "/api/v1/logs/llm-runs?color=red", viewer, 400, "malformed", ""},
		{"GET", "/api/v1/logs/llm-runs?limit=1&limit=2", viewer, 400, "malformed", ""},
		{"GET", "/api/v1/logs/llm-runs?cursor=x", viewer, 400, "malformed", ""},
		{"GET", "/api/v1/logs/llm-runs?limit=101", viewer, 422, "invalid", ""},
		{"GET", "/api/v1/logs/llm-runs", platform, 422, "invalid", ""}, // of whose tenant?
	} {
		status, header, body := r.do(t, tt.method, r.url+tt.path, tt.key, "")
		name := fmt.Sprintf("%s %s", tt.method, tt.path)
		if status != tt.status || tt.code != "" && !bytes.Contains(body, []byte(`"code":"`+tt.code+`"`)) {
			t.Errorf("%s: %d %.300s, want %d %s", name, status, body, tt.status, tt.code)
		}
		if field, value, ok := strings.Cut(tt.header, ": "); ok && header.Get(field) != value {
			t.Errorf("%s: %s is %q, want %q", name, field, header.Get(field), value)
		}
		if tt.status == http.StatusOK && !bytes.Contains(body, []byte("runledger_writable 1")) {
			t.Errorf("%s: %.300s", name, body)
		}
		if tt.status >= 400 && header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: %s", name, header.Get("Content-Type"))
		}
	}
	if status, body := get(t, r.metrics); status != http.StatusOK || !strings.Contains(body, "runledger_writable 1") {
		t.Errorf("metrics on an address of their own: %d", status)
	}
	if status, body := get(t, strings.TrimSuffix(r.metrics, "/metrics")+"/api/v1/logs/llm-runs"); status != http.StatusNotFound {
		t.Errorf("something else is served beside the metrics: %d %s", status, body)
	}
	// An exporter gets its refusal in the form that it reads.
	got := r.added(t, own, func() {
		status, header, body := r.do(t, "POST", r.otlp+"/v1/traces", viewer, "application/x-protobuf")
		var st spb.Status
		if err := proto.Unmarshal(body, &st); err != nil || status != http.StatusForbidden ||
			header.Get("Content-Type") != "application/x-protobuf" || codes.Code(st.GetCode()) != codes.PermissionDenied ||
			!strings.Contains(st.GetMessage(), "ingest.write") {
			t.Errorf("%d %v %v %v", status, header, &st, err)
		}
		status, header, body = r.do(t, "POST", r.otlp+"/v1/logs", viewer, "application/json")
		if status != http.StatusForbidden || header.Get("Content-Type") != "application/json" || !bytes.Contains(body, []byte(`"code":7`)) {
			t.Errorf("%d %v %s", status, header, body)
		}
		status, _, body = r.do(t, "POST", r.otlp+"/v1/metrics", "", "application/x-protobuf")
		if err := proto.Unmarshal(body, &st); err != nil || status != http.StatusUnauthorized || codes.Code(st.GetCode()) != codes.Unauthenticated {
			t.Errorf("%d %v %v", status, &st, err)
		}
	})
	if diff := cmp.Diff(map[string]int{"ACCESS_DECISION": 2}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
