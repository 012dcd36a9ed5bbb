package control

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/access"
)

// NewAPIKey is the request of POST /v1/apikeys; its answer is an
// access.MadeKey.
type NewAPIKey struct {
	// TenantID, or Platform: just one of them.
	TenantID string   `json:"tenant_id,omitempty"`
	Platform bool     `json:"platform,omitempty"`
	Role     string   `json:"role"`
	Name     string   `json:"name,omitempty"`
	Scopes   []string `json:"scopes,omitempty"`
	Expires  string   `json:"expires,omitempty"` // see access.ParseExpiry
}

// APIKeyList is the answer of GET /v1/apikeys.
type APIKeyList = access.KeyList

// actor is the person who runs a command.
func (c Caller) actor() access.Actor { return access.Actor{Kind: access.Human, ID: c.producer()} }

// gate returns what manages credentials.
func (h *handler) gate() (*access.Gate, error) {
	if h.cfg.Access == nil {
		return nil, fmt.Errorf("credentials: %w: they are not managed here", evidence.ErrUnavailable)
	}
	return h.cfg.Access, nil
}

func (h *handler) createAPIKey(w http.ResponseWriter, r *http.Request) error {
	gate, err := h.gate()
	if err != nil {
		return err
	}
	var req NewAPIKey
	if err := decode(w, r, &req); err != nil {
		return err
	}
	if req.Platform == (req.TenantID != "") {
		return invalid("tenant_id", "name a tenant, or the platform, and not both")
	}
	expires, err := access.ParseExpiry(req.Expires, time.Now())
	if err != nil {
		return err
	}
	made, err := gate.Create(r.Context(), callerOf(r.Context()).actor(), access.NewKey{
		Tenant: req.TenantID, Role: req.Role, Name: req.Name, Scopes: req.Scopes, ExpiresAt: expires,
	})
	if err != nil {
		return err
	}
	return answer(w, http.StatusCreated, made)
}

func (h *handler) apiKeys(w http.ResponseWriter, r *http.Request) error {
	gate, err := h.gate()
	if err != nil {
		return err
	}
	tenant := access.AllTenants
	if q := r.URL.Query(); q.Has("tenant") {
		if tenant = q.Get("tenant"); tenant != "" { // of the platform
			if _, err := h.newest(r.Context(), tenant); err != nil {
				return err
			}
		}
	}
	keys, err := gate.List(r.Context(), tenant)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, APIKeyList{Keys: keys})
}

func (h *handler) revokeAPIKey(w http.ResponseWriter, r *http.Request) error {
	gate, err := h.gate()
	if err != nil {
		return err
	}
	key, err := gate.Revoke(r.Context(), callerOf(r.Context()).actor(), access.AllTenants, r.PathValue("id"))
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, key)
}

// CreateAPIKey makes a credential. Its secret is in the answer, and nowhere
// else.
func (c *Client) CreateAPIKey(ctx context.Context, req NewAPIKey) (v access.MadeKey, err error) {
	return v, c.call(ctx, http.MethodPost, "/v1/apikeys", req, &v)
}

// APIKeys lists the credentials of a tenant, "" for those of the platform, or
// access.AllTenants.
func (c *Client) APIKeys(ctx context.Context, tenant string) (v APIKeyList, err error) {
	path := "/v1/apikeys"
	if tenant != access.AllTenants {
		path += "?" + url.Values{"tenant": {tenant}}.Encode()
	}
	return v, c.call(ctx, http.MethodGet, path, nil, &v)
}

// RevokeAPIKey revokes a credential for good.
func (c *Client) RevokeAPIKey(ctx context.Context, id string) (v access.Key, err error) {
	return v, c.call(ctx, http.MethodDelete, "/v1/apikeys/"+url.PathEscape(id), nil, &v)
}
