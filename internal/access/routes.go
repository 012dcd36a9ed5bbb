package access

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/ledger"
)

// Route is one route of the API. What Handle returns is for the server's table
// of errors; it has then written nothing.
type Route struct {
	Pattern string // of http.ServeMux
	Handle  func(w http.ResponseWriter, r *http.Request) error
}

// Routes returns the routes that manage credentials and tenants. They
// authenticate unless the context holds the principal already.
func (g *Gate) Routes() []Route {
	return []Route{
		{"POST /api/v1/apikeys", g.postKey},
		{"GET /api/v1/apikeys", g.getKeys},
		{"DELETE /api/v1/apikeys/{id}", g.deleteKey},
		{"POST /api/v1/tenants", g.postTenant},
		{"GET /api/v1/tenants", g.getTenants},
	}
}

// KeyRequest is the body of POST /api/v1/apikeys. The tenant is that of the
// request; a credential of the platform that names none makes one of the
// platform.
type KeyRequest struct {
	Role    string   `json:"role"`
	Name    string   `json:"name,omitempty"`
	Scopes  []string `json:"scopes,omitempty"`
	Expires string   `json:"expires,omitempty"` // see ParseExpiry
}

// New returns what the request asks for.
func (q KeyRequest) New(g *Gate, tenant string) (NewKey, error) {
	expires, err := ParseExpiry(q.Expires, g.cfg.Now())
	return NewKey{Tenant: tenant, Role: q.Role, Name: q.Name, Scopes: q.Scopes, ExpiresAt: expires}, err
}

// KeyList is the answer of GET /api/v1/apikeys.
type KeyList struct {
	Keys []Key `json:"keys"`
}

// TenantRequest is the body of POST /api/v1/tenants; the answer is a
// ledger.LogInfo.
type TenantRequest struct {
	TenantID string `json:"tenant_id"`
}

// TenantList is the answer of GET /api/v1/tenants.
type TenantList struct {
	Tenants []ledger.LogInfo `json:"tenants"` // with their newest logs
}

func (g *Gate) principal(r *http.Request) (Principal, error) {
	if p, ok := From(r.Context()); ok {
		return p, nil
	}
	return g.Authenticate(r)
}

// keyAdmin returns who manages keys, and what permission that takes.
func (g *Gate) keyAdmin(r *http.Request) (Principal, Permission, error) {
	p, err := g.principal(r)
	if p.Platform {
		return p, PlatformAdmin, err
	}
	return p, TenantAdmin, err
}

func (g *Gate) postKey(w http.ResponseWriter, r *http.Request) error {
	p, permission, err := g.keyAdmin(r)
	if err != nil {
		return err
	}
	if err := g.Require(r.Context(), p, permission, r.Pattern); err != nil {
		return err
	}
	var req KeyRequest
	if err := decode(w, r, &req); err != nil {
		return err
	}
	n, err := req.New(g, p.Tenant)
	if err != nil {
		return err
	}
	made, err := g.Create(r.Context(), p.Actor(), n)
	if err != nil {
		return err
	}
	return answer(w, http.StatusCreated, made)
}

func (g *Gate) getKeys(w http.ResponseWriter, r *http.Request) error {
	p, permission, err := g.keyAdmin(r)
	if err != nil {
		return err
	}
	if err := g.Allow(r.Context(), p, permission, r.Pattern, "apikeys"); err != nil {
		return err
	}
	keys, err := g.List(r.Context(), p.keysOf())
	if err != nil {
		return unavailable("credentials", err)
	}
	return answer(w, http.StatusOK, KeyList{keys})
}

// keysOf says whose keys a principal manages: the tenant's of the request, or
// with a credential of the platform that names none, all.
func (p Principal) keysOf() string {
	if p.Tenant == "" && p.Platform {
		return AllTenants
	}
	return p.Tenant
}

func (g *Gate) deleteKey(w http.ResponseWriter, r *http.Request) error {
	p, permission, err := g.keyAdmin(r)
	if err != nil {
		return err
	}
	if err := g.Require(r.Context(), p, permission, r.Pattern); err != nil {
		return err
	}
	if _, err := g.Revoke(r.Context(), p.Actor(), p.keysOf(), r.PathValue("id")); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (g *Gate) postTenant(w http.ResponseWriter, r *http.Request) error {
	p, err := g.principal(r)
	if err != nil {
		return err
	}
	if err := g.Require(r.Context(), p, PlatformAdmin, r.Pattern); err != nil {
		return err
	}
	var req TenantRequest
	if err := decode(w, r, &req); err != nil {
		return err
	}
	if !evidence.ValidTenant(req.TenantID) {
		return invalid("tenant_id", "must be 1 to 63 characters of [a-z0-9-]")
	}
	p.Tenant = "" // it is about the platform, whatever tenant the request named
	if err := g.Allow(r.Context(), p, PlatformAdmin, r.Pattern, "tenant:"+req.TenantID); err != nil {
		return err
	}
	info, err := g.cfg.Ledger.CreateTenant(r.Context(), req.TenantID)
	if err != nil {
		return err
	}
	return answer(w, http.StatusCreated, info)
}

func (g *Gate) getTenants(w http.ResponseWriter, r *http.Request) error {
	p, err := g.principal(r)
	if err != nil {
		return err
	}
	if p.Platform {
		p.Tenant = ""
	}
	if err := g.Allow(r.Context(), p, PlatformAdmin, r.Pattern, "tenants"); err != nil {
		return err
	}
	list, err := g.cfg.Ledger.Tenants(r.Context())
	if err != nil {
		return unavailable("tenants", err)
	}
	return answer(w, http.StatusOK, TenantList{append([]ledger.LogInfo{}, list...)})
}

// maxBody bounds a request in bytes.
const maxBody = 64 << 10

func decode(w http.ResponseWriter, r *http.Request, v any) error {
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	dec.DisallowUnknownFields()
	err := dec.Decode(v)
	if err == nil {
		if _, end := dec.Token(); !errors.Is(end, io.EOF) {
			err = errors.New("text after the JSON object")
		}
	}
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return fmt.Errorf("request: %w: at most %d KiB", evidence.ErrTooLarge, maxBody>>10)
	} else if err != nil {
		return fmt.Errorf("request: %w: %w", evidence.ErrInvalid, err)
	}
	return nil
}

// answer writes JSON that no cache may keep: it may hold a secret.
func answer(w http.ResponseWriter, status int, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n')) // a client that is gone needs no answer
	return nil
}
