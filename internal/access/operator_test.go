package access

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/runledger/runledger/evidence"
)

// TestOperator reads as who holds the data directory: nothing is hidden, and
// each request is recorded, or not answered.
func TestOperator(t *testing.T) {
	r := newRig(t)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/v1/logs/audit/access", func(w http.ResponseWriter, req *http.Request) {
		g := GrantOf(req.Context())
		if !g.Content() || g.MaxRange != 0 || !g.IncludeSynthetic || g.SyntheticOnly || g.Tenant != "acme" || !g.Permissions.Has(AuditRead) {
			t.Errorf("%+v", g)
		}
		ViewOf(req.Context()).Records = 2
		_, _ = io.WriteString(w, strings.Repeat("x", 1000))
	})
	mux.HandleFunc("GET /elsewhere", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "y") })
	get := func(path string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		r.Operator(mux, "acme", ada).ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		return w
	}
	a, b := get("/api/v1/logs/audit/access"), get("/elsewhere")
	if a.Code != 200 || a.Body.Len() != 1000 || b.Code != 200 {
		t.Errorf("%d %d", a.Code, b.Code)
	}
	r.wantNames(t, "acme", eventView+" "+eventView)
	list := r.events(t, "acme")
	for i, want := range []string{"AUDIT", "unknown"} {
		e := list[i]
		if e.leaf.Text("entity_id") != want || e.leaf.Text("rule_id") != ruleOperator || e.leaf.Text("credential_id") != ada.ID ||
			e.sealed["/actor"] != `{"human_actor_id":"cli:ada"}` {
			t.Errorf("%+v %v", e.leaf, e.sealed)
		}
	}
	if list[0].sealed["/view_digest"] != digestOf(a.Body.Bytes()) {
		t.Error("digest")
	}
	r.f.append = func(string) error { return evidence.ErrUnavailable }
	if w := get("/api/v1/logs/audit/access"); w.Code != 503 || strings.Contains(w.Body.String(), "xx") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}
