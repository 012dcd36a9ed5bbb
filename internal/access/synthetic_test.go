package access

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
	"github.com/runledger/runledger/internal/store"
)

const synthetic = evidence.SyntheticTenant

// withSynthetic makes the tenant of scenarios.
func (r *rig) withSynthetic(t testing.TB) {
	t.Helper()
	if _, err := r.f.CreateTenant(t.Context(), synthetic); err != nil {
		t.Fatal(err)
	}
}

func isSynthetic(e event) bool {
	n, ok := e.leaf.Int("is_synthetic")
	return ok && n == 1
}

// wantSynthetic looks at all that the gate has recorded in a tenant.
func (r *rig) wantSynthetic(t testing.TB, tenant string, want bool) {
	t.Helper()
	list := r.events(t, tenant)
	if len(list) == 0 {
		t.Errorf("the log of %s is empty", tenant)
	}
	for _, e := range list {
		if isSynthetic(e) != want {
			t.Errorf("%s in the log of %s: synthetic %v", e.name, tenant, !want)
		}
	}
}

// TestSyntheticTenant does the same in three tenants: whatever the gate records is
// synthetic in one of them, and nothing is in the others, whoever does it.
func TestSyntheticTenant(t *testing.T) {
	g := newGuardRig(t)
	g.withSynthetic(t)
	platform := g.make(t, "", RolePlatformAdmin)
	for _, tenant := range []string{"acme", synthetic} {
		reader, admin := g.make(t, tenant, RoleOperator), g.make(t, tenant, RoleTenantAdmin)
		for path, want := range map[string]int{
			"/api/v1/logs/llm-runs": http.StatusOK, "/api/v1/logs/audit": http.StatusForbidden, "/api/v1/logs/llm-runs/r1/export": http.StatusOK,
		} {
			if w := g.ask("GET", path, reader.Secret); w.Code != want {
				t.Errorf("%s of %s: %d", path, tenant, w.Code)
			}
		}
		if w := g.ask("GET", "/api/v1/logs/llm-runs", reader.Secret, "X-Tenant-ID", "other"); w.Code != http.StatusForbidden {
			t.Errorf("another tenant: %d", w.Code)
		}
		if _, err := g.Revoke(t.Context(), ada, tenant, admin.ID); err != nil {
			t.Fatal(err)
		}
		mux := http.NewServeMux()
		mux.HandleFunc("GET /api/v1/logs/audit/access", func(http.ResponseWriter, *http.Request) {})
		g.handlerOf(g.Operator(mux, tenant, ada), "/api/v1/logs/audit/access")
		// By who is of the platform and names it.
		if w := g.ask("GET", "/api/v1/logs/llm-runs", platform.Secret, "X-Tenant-ID", tenant); w.Code != http.StatusForbidden {
			t.Errorf("the platform in %s: %d", tenant, w.Code)
		}
		names := g.names(t, tenant)
		for _, want := range []string{eventCreated, eventChange, eventUsed, eventView, eventExport, eventDecision, eventRevoked} {
			if !strings.Contains(" "+names+" ", " "+want+" ") {
				t.Errorf("the log of %s has no %s", tenant, want)
			}
		}
		g.wantSynthetic(t, tenant, tenant == synthetic)
	}
	g.wantSynthetic(t, evidence.SystemTenant, false)
}

// handlerOf asks another handler than the guard's.
func (g *guardRig) handlerOf(h http.Handler, path string) {
	was := g.handler
	defer func() { g.handler = was }()
	g.handler = h
	g.ask("GET", path, "")
}

// TestSyntheticSaid has a program record what one has recorded that knew no synthetic
// tenant: it is the same, and nobody is contradicted.
func TestSyntheticSaid(t *testing.T) {
	r := newRig(t)
	r.withSynthetic(t)
	id, secret, hash := newKey()
	now := evidence.Micros(r.now.Load())
	k := store.APIKey{ID: id, Tenant: synthetic, Role: RoleOperator, Hash: hash, CreatedAt: now, CreatedBy: ada.String(), UsedAt: now, RevokedAt: now + 1}
	for _, records := range [][]*evidence.Record{createdRecords(k), {usedRecord(k, "192.0.2.7:1")}, revokedRecords(k, Actor{System, component})} {
		for _, rec := range records { // as append did
			if err := rec.Complete(); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := r.f.Ledger.Append(t.Context(), synthetic, records, ledger.AppendOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	r.wantSynthetic(t, synthetic, false)
	if err := r.f.Store.PutAPIKey(t.Context(), k); err != nil {
		t.Fatal(err)
	}
	r.reopen(t) // records the revocation again, and looks for the others
	for _, records := range [][]*evidence.Record{createdRecords(k), {usedRecord(k, "")}, revokedRecords(k, ada)} {
		if err := r.append(t.Context(), synthetic, records...); err != nil {
			t.Fatal(err)
		}
	}
	r.wantWhy(t, secret, reasonRevoked)
	r.wantNames(t, synthetic, created+" "+eventUsed+" "+revoked)
}

// TestObserver makes observers where they may be, and nowhere else.
func TestObserver(t *testing.T) {
	r := newRig(t)
	r.withSynthetic(t)
	made := r.make(t, synthetic, RoleObserver)
	p, err := r.try(made.Secret)
	if err != nil || p.Permissions != permissionsOf(RoleObserver, nil) || p.Tenant != synthetic {
		t.Errorf("%+v %v", p, err)
	}
	for _, tenant := range []string{"acme", "other", "", "synthetic-2"} {
		_, err := r.Create(t.Context(), ada, NewKey{Tenant: tenant, Role: RoleObserver})
		var f *evidence.FieldError
		if !errors.As(err, &f) || f.Field != "role" || !errors.Is(err, evidence.ErrInvalid) || !strings.Contains(err.Error(), "tenant synthetic only") {
			t.Errorf("in %q: %v", tenant, err)
		}
	}
}

// TestObserverElsewhere has keys of observers that an earlier program made: they are
// listed, and may do nothing.
func TestObserverElsewhere(t *testing.T) {
	g := newGuardRig(t)
	for _, tenant := range []string{"acme", ""} {
		id, secret, hash := newKey()
		err := g.f.Store.PutAPIKey(t.Context(), store.APIKey{
			ID: id, Tenant: tenant, Role: RoleObserver, Hash: hash, CreatedAt: evidence.Micros(g.now.Load()), CreatedBy: ada.String(),
		})
		if err != nil {
			t.Fatal(err)
		}
		var header []string
		if tenant == "" {
			header = []string{"X-Tenant-ID", "other"}
		}
		p, err := g.try(secret, header...)
		if err != nil || p.Permissions != 0 {
			t.Errorf("%+v %v", p, err)
		}
		for _, route := range guarded {
			method, path, _ := strings.Cut(route.pattern, " ")
			if route.path != "" {
				path = route.path
			}
			want := http.StatusForbidden
			if path == "/schemas/record.json" { // any credential will do
				want = http.StatusOK
			}
			if w := g.ask(method, path, secret, header...); w.Code != want {
				t.Errorf("%s as an observer of %q: %d", route.pattern, tenant, w.Code)
			}
		}
		keys, err := g.List(t.Context(), tenant)
		if err != nil || len(keys) != 1 || len(keys[0].Permissions) != 0 || keys[0].Role != RoleObserver {
			t.Errorf("%+v %v", keys, err)
		}
		log := logTenant(tenant)
		if tenant == "" {
			log = "other"
		}
		g.wantSynthetic(t, log, false)
		if !strings.Contains(g.names(t, log), eventDecision) {
			t.Errorf("the log of %s has no denial", log)
		}
	}
}
