package access

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/runledger/runledger/evidence"
)

// serve is a mux as a server makes one, with the errors as statuses.
func (r *rig) serve() http.Handler {
	mux := http.NewServeMux()
	for _, route := range r.Routes() {
		mux.HandleFunc(route.Pattern, func(w http.ResponseWriter, req *http.Request) {
			status := http.StatusInternalServerError
			err := route.Handle(w, req)
			for _, s := range []struct {
				err    error
				status int
			}{
				{ErrUnauthenticated, 401},
				{evidence.ErrForbidden, 403},
				{evidence.ErrNotFound, 404},
				{evidence.ErrConflict, 409},
				{evidence.ErrTooLarge, 413},
				{evidence.ErrInvalid, 422},
				{evidence.ErrUnavailable, 503},
			} {
				if errors.Is(err, s.err) {
					status = s.status
				}
			}
			if err != nil {
				http.Error(w, err.Error(), status)
			}
		})
	}
	return mux
}

func (r *rig) do(method, path, body string, key Credential, header ...string) *httptest.ResponseRecorder {
	req := httptest.NewRequest(method, path, strings.NewReader(body))
	if key != "" {
		req.Header.Set("X-Api-Key", key.Reveal())
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	r.serve().ServeHTTP(w, req)
	return w
}

// TestRoutes goes through who may do what, in order.
func TestRoutes(t *testing.T) {
	r := newRig(t)
	admin, viewer := r.make(t, "acme", RoleTenantAdmin), r.make(t, "acme", RoleViewer)
	foreign, platform := r.make(t, "other", RoleTenantAdmin), r.make(t, "", RolePlatformAdmin)
	keys, tenants := "/api/v1/apikeys", "/api/v1/tenants"
	for i, tt := range []struct {
		method, path, body string
		key                Credential
		tenant             string
		status             int
		has                string
	}{
		{"POST", keys, `{"role":"viewer"}`, "", "", 401, "credential is required"},
		{"POST", keys, `{"role":"viewer"}`, viewer.Secret, "", 403, "no permission tenant.admin"},
		{"POST", keys, `{"role":"viewer","name":"new","expires":"1h"}`, admin.Secret, "", 201, `"tenant_id":"acme"`},
		{"POST", keys, `{"role":"platform_admin"}`, admin.Secret, "", 422, "role of the platform"},
		{"POST", keys, `{"role":"viewer","tenant_id":"other"}`, admin.Secret, "", 422, "tenant_id"},
		{"POST", keys, `{"role":"viewer"}`, admin.Secret, "other", 403, "another tenant"},
		{"POST", keys, `{"role":"viewer"}{}`, admin.Secret, "", 422, "after the JSON"},
		{"POST", keys, `{"name":"` + strings.Repeat("x", maxBody) + `"}`, admin.Secret, "", 413, "KiB"},
		{"POST", keys, `{"role":"viewer"}`, platform.Secret, "other", 201, `"tenant_id":"other"`},
		{"POST", keys, `{"role":"operator"}`, platform.Secret, "", 201, `"tenant_id":null`},
		{"GET", keys, "", viewer.Secret, "", 403, "no permission"},
		{"GET", keys, "", admin.Secret, "", 200, `"name":"new"`},
		{"GET", keys, "", platform.Secret, "", 200, `"role":"platform_admin"`},
		{"DELETE", keys + "/" + foreign.ID, "", admin.Secret, "", 404, "not found"},
		{"DELETE", keys + "/nothing", "", admin.Secret, "", 404, "not found"},
		{"DELETE", keys + "/" + viewer.ID, "", admin.Secret, "", 204, ""},
		{"DELETE", keys + "/" + viewer.ID, "", admin.Secret, "", 204, ""},
		{"GET", keys, "", viewer.Secret, "", 401, "was revoked"},
		{"DELETE", keys + "/" + foreign.ID, "", platform.Secret, "acme", 404, "not found"},
		{"DELETE", keys + "/" + foreign.ID, "", platform.Secret, "", 204, ""},
		{"POST", tenants, `{"tenant_id":"new"}`, admin.Secret, "", 403, "platform.admin"},
		{"GET", tenants, "", admin.Secret, "", 403, "platform.admin"},
		{"POST", tenants, `{"tenant_id":"new"}`, platform.Secret, "", 201, `"vkey":`},
		{"POST", tenants, `{"tenant_id":"new"}`, platform.Secret, "", 409, "exists"},
		{"POST", tenants, `{"tenant_id":"New"}`, platform.Secret, "", 422, "tenant_id"},
		{"GET", tenants, "", platform.Secret, "acme", 200, `"tenant_id":"new"`},
	} {
		var header []string
		if tt.tenant != "" {
			header = []string{"X-Tenant-ID", tt.tenant}
		}
		w := r.do(tt.method, tt.path, tt.body, tt.key, header...)
		if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.has) {
			t.Errorf("%d %s %s: %d %s", i, tt.method, tt.path, w.Code, w.Body)
		}
		if tt.method == "GET" && strings.Contains(w.Body.String(), "rl_") {
			t.Errorf("%d: a list shows a key", i)
		}
		if w.Code < 300 && w.Code != 204 && w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%d: may be cached", i)
		}
	}
	if w := r.do("GET", keys, "", admin.Secret); strings.Contains(w.Body.String(), "other") || strings.Contains(w.Body.String(), "platform") {
		t.Errorf("acme sees %s", w.Body)
	}
	// What was decided stands in the log it is about.
	for tenant, want := range map[string]string{
		"acme": "DENIED POST /api/v1/apikeys tenant.admin, DENIED POST /api/v1/apikeys tenant, DENIED GET /api/v1/apikeys tenant.admin, " +
			"ALLOWED GET /api/v1/apikeys apikeys, DENIED POST /api/v1/tenants platform.admin, DENIED GET /api/v1/tenants platform.admin, " +
			"ALLOWED GET /api/v1/apikeys apikeys",
		"other": "",
		evidence.SystemTenant: "ALLOWED GET /api/v1/apikeys apikeys, ALLOWED POST /api/v1/tenants tenant:new, " +
			"ALLOWED POST /api/v1/tenants tenant:new, ALLOWED GET /api/v1/tenants tenants",
	} {
		var got []string
		for _, e := range r.events(t, tenant) {
			if e.name == eventDecision {
				got = append(got, fmt.Sprint(e.leaf.Text("decision"), " ", e.leaf.Text("route"), " ", e.leaf.Text("entity_id")))
			}
		}
		if list := strings.Join(got, ", "); list != want {
			t.Errorf("decisions in the log of %s:\n%s\nwant %s", tenant, list, want)
		}
	}
}

// TestMadeKey uses the key that an answer shows.
func TestMadeKey(t *testing.T) {
	r := newRig(t)
	admin := r.make(t, "acme", RoleTenantAdmin)
	w := r.do("POST", "/api/v1/apikeys", `{"role":"operator","scopes":["logs.read"]}`, admin.Secret)
	var made MadeKey
	if err := json.Unmarshal(w.Body.Bytes(), &made); err != nil {
		t.Fatal(err)
	}
	p, err := r.try(made.Secret)
	if err != nil || p.Credential != made.ID || p.Permissions != Set(LogsRead) || made.CreatedBy != "system:"+admin.ID {
		t.Errorf("%+v %v %+v", p, err, made.Key)
	}
}

// TestPrincipalOfContext has a middleware authenticate.
func TestPrincipalOfContext(t *testing.T) {
	r := newRig(t)
	p := Principal{Tenant: "acme", Credential: "k", Role: RoleTenantAdmin, Permissions: Set(TenantAdmin), ActorKind: System}
	req := httptest.NewRequest(http.MethodGet, "/api/v1/apikeys", nil)
	w := httptest.NewRecorder()
	r.serve().ServeHTTP(w, req.WithContext(With(req.Context(), p)))
	if w.Code != http.StatusOK {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}
